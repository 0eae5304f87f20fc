//! The disk in memory keeps its promises, and keeps no more than those.

use super::*;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{ErrorKind, IoSlice};

const SEEDS: std::ops::Range<u64> = 0..200;

fn put(file: &Arc<dyn File>, bytes: &[u8], offset: u64) {
    file.write_all_at(&[IoSlice::new(bytes)], offset).unwrap();
}

fn create(fs: &MemFs, path: &str) -> Arc<dyn File> {
    fs.create_new(Path::new(path)).unwrap()
}

fn kind<T>(answer: io::Result<T>) -> ErrorKind {
    answer.err().expect("it was refused").kind()
}

#[test]
fn bytes_names_and_folders_each_need_their_own_sync() {
    let fs = MemFs::new();
    fs.create_dir_all(Path::new("/a/b")).unwrap();
    let file = create(&fs, "/a/b/f");
    put(&file, b"bytes", 0);
    assert_eq!(fs.read("/a/b/f").unwrap(), b"bytes");
    let exists = |path: &str| fs.crash_strict().stat(Path::new(path)).unwrap().is_some();
    assert!(!exists("/a"));
    fs.sync_dir(Path::new("/")).unwrap();
    assert!(exists("/a") && !exists("/a/b"));
    fs.sync_dir(Path::new("/a")).unwrap();
    assert!(exists("/a/b") && !exists("/a/b/f"));
    fs.sync_dir(Path::new("/a/b")).unwrap();
    assert_eq!(fs.crash_strict().read("/a/b/f").unwrap(), b"", "the name is durable, the bytes are not");
    file.sync().unwrap();
    assert_eq!(fs.crash_strict().read("/a/b/f").unwrap(), b"bytes");
}

#[test]
fn bytes_that_are_synced_under_a_name_that_is_not_are_lost_or_kept_whole() {
    let fs = MemFs::new();
    let file = create(&fs, "/f");
    put(&file, &[7; 2000], 0);
    file.sync().unwrap();
    assert!(fs.crash_strict().paths().is_empty());
    let outcomes: BTreeSet<Option<Vec<u8>>> = SEEDS.map(|seed| fs.crash(seed).read("/f").ok()).collect();
    assert_eq!(outcomes, BTreeSet::from([None, Some(vec![7; 2000])]));
}

#[test]
fn a_rename_within_a_folder_leaves_the_old_name_or_the_new_one() {
    let fs = MemFs::new();
    fs.write("/d/temporary", b"new").unwrap();
    fs.write("/d/name", b"old").unwrap();
    fs.rename(Path::new("/d/temporary"), Path::new("/d/name")).unwrap();
    let outcomes: BTreeSet<Vec<(PathBuf, Vec<u8>)>> = SEEDS.map(|seed| contents(&fs.crash(seed))).collect();
    let before = vec![("/d/name".into(), b"old".to_vec()), ("/d/temporary".into(), b"new".to_vec())];
    let after = vec![("/d/name".into(), b"new".to_vec())];
    assert_eq!(outcomes, BTreeSet::from([before, after]));
}

#[test]
fn a_rename_between_folders_may_leave_both_names_either_or_none() {
    let fs = MemFs::new();
    fs.write("/a/f", b"1").unwrap();
    fs.create_dir_all(Path::new("/b")).unwrap();
    fs.sync_dir(Path::new("/")).unwrap();
    fs.rename(Path::new("/a/f"), Path::new("/b/f")).unwrap();
    let outcomes: BTreeSet<Vec<PathBuf>> = SEEDS.map(|seed| fs.crash(seed).paths()).collect();
    let expected: [&[&str]; 4] = [&[], &["/a/f"], &["/b/f"], &["/a/f", "/b/f"]];
    assert_eq!(outcomes, expected.iter().map(|paths| paths.iter().map(PathBuf::from).collect()).collect());
    fs.sync_dir(Path::new("/b")).unwrap();
    assert!(SEEDS.into_iter().all(|seed| fs.crash(seed).read("/b/f").unwrap() == b"1"));
}

#[test]
fn a_file_that_a_crash_left_under_two_names_takes_room_once() {
    let fs = MemFs::new();
    fs.write("/a/f", &[1; 100]).unwrap();
    fs.write("/b/g", b"").unwrap();
    fs.rename(Path::new("/a/f"), Path::new("/b/f")).unwrap();
    let both = SEEDS.map(|seed| fs.crash(seed)).find(|fs| fs.paths().len() == 3).unwrap();
    let used = |fs: &MemFs| fs.space(Path::new("/")).map(|s| s.total - s.free).unwrap();
    assert_eq!(used(&both), 100);
    both.rename(Path::new("/a/f"), Path::new("/b/f")).unwrap();
    assert_eq!(both.paths().len(), 3, "POSIX: two names of one file both stay");
    both.remove_file(Path::new("/a/f")).unwrap();
    assert_eq!((used(&both), both.read("/b/f").unwrap()), (100, vec![1; 100]));
    both.remove_file(Path::new("/b/f")).unwrap();
    assert_eq!(used(&both), 0);
}

#[test]
fn a_write_tears_at_sector_borders_only_and_every_way_of_it_comes_up() {
    let fs = MemFs::new();
    fs.write("/f", &[1; 2048]).unwrap();
    fs.create_new(Path::new("/g")).unwrap();
    let file = create(&fs, "/new");
    put(&file, &[2; 1400], 100);
    file.sync().unwrap();
    fs.sync_dir(Path::new("/")).unwrap();
    put(&file, &[3; 2000], 300);
    let (mut torn, mut with_zeros, mut lengths) = (0, 0, BTreeSet::new());
    for seed in 0..500 {
        let bytes = fs.crash(seed).read("/new").unwrap();
        lengths.insert(bytes.len());
        let mut at = 300;
        let mut values = BTreeSet::new();
        while at < bytes.len() {
            let end = ((at / 512 + 1) * 512).min(bytes.len());
            let sector = &bytes[at..end];
            let old = |i: usize| if i < 1500 { 2 } else { 0 };
            let kept = sector.iter().all(|b| *b == 3);
            let dropped = sector.iter().enumerate().all(|(i, b)| *b == old(at + i));
            assert!(kept || dropped, "seed {seed}: the sector at {at} is mixed");
            values.insert(kept);
            with_zeros += usize::from(dropped && end == 2300 && at >= 1536);
            at = end;
        }
        assert_eq!((&bytes[..100], &bytes[100..300]), (&[0; 100][..], &[2; 200][..]));
        torn += usize::from(values.len() == 2);
    }
    assert!(torn > 20 && with_zeros > 5, "{torn} torn, {with_zeros} with a length but no bytes");
    assert_eq!((lengths.first(), lengths.last()), (Some(&1500), Some(&2300)));
    assert!(lengths.len() > 2, "{lengths:?}");
}

#[test]
fn later_writes_may_survive_earlier_ones() {
    let fs = MemFs::new();
    fs.write("/f", &[0; 1024]).unwrap();
    let file = create(&fs, "/x");
    put(&file, &[1; 512], 0);
    put(&file, &[2; 512], 512);
    fs.sync_dir(Path::new("/")).unwrap();
    let outcomes: BTreeSet<Vec<u8>> = SEEDS.map(|seed| fs.crash(seed).read("/x").unwrap()).collect();
    let gap = [vec![0; 512], vec![2; 512]].concat();
    let whole = [vec![1; 512], vec![2; 512]].concat();
    assert!(outcomes.contains(&gap) && outcomes.contains(&whole) && outcomes.contains(&vec![]));
    assert!(outcomes.contains(&vec![1; 512]));
}

#[test]
fn what_was_removed_comes_back_unless_its_folder_was_synced() {
    let fs = MemFs::new();
    fs.write("/d/f", b"1").unwrap();
    fs.remove_file(Path::new("/d/f")).unwrap();
    assert_eq!(fs.stat(Path::new("/d/f")).unwrap(), None);
    assert_eq!(fs.crash_strict().read("/d/f").unwrap(), b"1");
    fs.remove_dir(Path::new("/d")).unwrap();
    assert_eq!(fs.crash_strict().read("/d/f").unwrap(), b"1");
    fs.sync_dir(Path::new("/")).unwrap();
    assert_eq!(fs.crash_strict().list(Path::new("/")).unwrap(), []);
}

#[test]
fn folders_that_moved_around_each_other_never_stand_in_a_circle() {
    let fs = MemFs::new();
    fs.write("/a/f", b"1").unwrap();
    fs.write("/b/g", b"2").unwrap();
    fs.rename(Path::new("/a"), Path::new("/b/a")).unwrap();
    fs.rename(Path::new("/b/a"), Path::new("/a")).unwrap();
    fs.rename(Path::new("/b"), Path::new("/a/b")).unwrap();
    for seed in SEEDS {
        let left = fs.crash(seed);
        assert!(left.paths().len() <= 2);
        assert_eq!(contents(&left.crash_strict()), contents(&left));
    }
    assert_eq!(kind(fs.rename(Path::new("/a"), Path::new("/a/b/c"))), ErrorKind::InvalidInput);
}

#[test]
fn locks_exclude_until_dropped_and_do_not_survive_a_crash_or_a_snapshot() {
    let fs = MemFs::new();
    fs.write("/lock", b"a long note").unwrap();
    let held = fs.try_lock(Path::new("/lock")).unwrap().unwrap();
    assert!(fs.clone().try_lock(Path::new("/lock")).unwrap().is_none());
    fs.write_lock_note(Path::new("/lock"), b"pid 1").unwrap();
    assert_eq!(fs.read("/lock").unwrap(), b"pid 1");
    assert_eq!(fs.crash_strict().read("/lock").unwrap(), b"a long note");
    assert!(fs.crash(1).try_lock(Path::new("/lock")).unwrap().is_some());
    assert!(fs.snapshot().try_lock(Path::new("/lock")).unwrap().is_some());
    drop(held);
    assert!(fs.try_lock(Path::new("/lock")).unwrap().is_some());
    assert_eq!(kind(fs.try_lock(Path::new("/none"))), ErrorKind::NotFound);
}

#[test]
fn a_full_disk_takes_what_fits_says_so_and_its_neighbours_do_not_notice() {
    let fs = MemFs::new();
    for disk in ["/one", "/two"] {
        fs.set_capacity(disk, 1000).unwrap();
    }
    let free = |path: &str| fs.space(Path::new(path)).unwrap().free;
    let ids: BTreeSet<u64> = ["/", "/one", "/two"].map(|p| fs.space(Path::new(p)).unwrap().filesystem).into();
    assert_eq!(ids.len(), 3);
    let file = create(&fs, "/one/f");
    put(&file, &[1; 900], 0);
    put(&file, &[2; 900], 0);
    assert_eq!((free("/one"), free("/one/f"), free("/two")), (100, 100, 1000));
    assert_eq!(kind(file.write_all_at(&[IoSlice::new(&[3; 500])], 900)), ErrorKind::StorageFull);
    assert_eq!((file.len().unwrap(), free("/one")), (1000, 0));
    assert_eq!(kind(file.write_all_at(&[IoSlice::new(&[3; 500])], 1200)), ErrorKind::StorageFull);
    put(&file, &[4; 1000], 0);
    assert_eq!(kind(fs.write("/one/g", b"x")), ErrorKind::StorageFull);
    put(&create(&fs, "/two/f"), &[1; 1000], 0);
    assert_eq!(kind(fs.rename(Path::new("/one/f"), Path::new("/two/h"))), ErrorKind::CrossesDevices);
    assert_eq!(kind(fs.rename(Path::new("/one"), Path::new("/three"))), ErrorKind::ResourceBusy);
    fs.truncate("/one/f", 600).unwrap();
    assert_eq!(free("/one"), 400);
    assert_eq!(kind(fs.truncate("/one/f", 1001)), ErrorKind::StorageFull);
    assert_eq!((free("/one"), fs.read("/one/f").unwrap().len()), (400, 600));
    let left = fs.crash_strict();
    assert_eq!(left.space(Path::new("/one")).unwrap().total, 1000);
    assert_eq!(fs.snapshot().space(Path::new("/one")).unwrap(), fs.space(Path::new("/one")).unwrap());
    fs.remove_file(Path::new("/one/f")).unwrap();
    assert_eq!(free("/one"), 1000);
    put(&file, &[5; 5000], 0); // without a name it takes no room
    assert_eq!(free("/one"), 1000);
    fs.set_capacity("/two", 10).unwrap();
    assert_eq!(free("/two"), 0);
}

#[test]
fn a_prefix_that_becomes_a_filesystem_takes_its_files_along() {
    let fs = MemFs::new();
    fs.write("/disk/a", &[1; 300]).unwrap();
    fs.write("/else", &[1; 50]).unwrap();
    fs.set_capacity("/disk", 1000).unwrap();
    assert_eq!(fs.space(Path::new("/disk")).unwrap().free, 700);
    let root = fs.space(Path::new("/")).unwrap();
    assert_eq!(root.total - root.free, 50);
    fs.rename(Path::new("/disk/a"), Path::new("/disk/b")).unwrap();
    fs.write("/disk/c", &[1; 100]).unwrap();
    fs.rename(Path::new("/disk/c"), Path::new("/disk/b")).unwrap();
    assert_eq!(fs.space(Path::new("/disk")).unwrap().free, 900);
}

#[test]
fn names_are_refused_as_a_real_filesystem_refuses_them() {
    let fs = MemFs::new();
    fs.write("/d/f", b"1").unwrap();
    let at = Path::new;
    assert_eq!(kind(fs.create_new(at("/d/f"))), ErrorKind::AlreadyExists);
    assert_eq!(kind(fs.create_new(at("/none/f"))), ErrorKind::NotFound);
    assert_eq!(kind(fs.create_new(at("/d/f/g"))), ErrorKind::NotADirectory);
    assert_eq!(kind(fs.open(at("/d"))), ErrorKind::IsADirectory);
    assert_eq!(kind(fs.open(at("/d/../d/f"))), ErrorKind::InvalidInput);
    assert_eq!(kind(fs.create_dir_all(at("/d/f"))), ErrorKind::AlreadyExists);
    assert_eq!(kind(fs.create_dir_all(at("/d/f/g"))), ErrorKind::NotADirectory);
    assert_eq!(kind(fs.remove_dir(at("/d"))), ErrorKind::DirectoryNotEmpty);
    assert_eq!(kind(fs.remove_dir(at("/"))), ErrorKind::ResourceBusy);
    assert_eq!(kind(fs.remove_file(at("/d"))), ErrorKind::IsADirectory);
    assert_eq!(kind(fs.sync_dir(at("/d/f"))), ErrorKind::NotADirectory);
    assert_eq!(kind(fs.rename(at("/d/g"), at("/d/h"))), ErrorKind::NotFound);
    fs.write("/d/g", b"2").unwrap();
    assert_eq!(kind(fs.rename_new(at("/d/g"), at("/d/f"))), ErrorKind::AlreadyExists);
    assert_eq!(kind(fs.rename(at("/d/g"), at("/d"))), ErrorKind::IsADirectory);
    assert_eq!(kind(fs.rename(at("/d"), at("/d/g"))), ErrorKind::InvalidInput);
    fs.rename_new(at("/d/g"), at("/d/h")).unwrap();
    assert_eq!(fs.paths(), [at("/d/f"), at("/d/h")]);
    let file = fs.open(at("d/./h")).unwrap();
    assert_eq!(kind(file.write_all_at(&[IoSlice::new(b"x")], 0)), kind::<()>(Err(Errno::BADF.into())));
    let mut into = [0; 4];
    assert_eq!((file.read_at(&mut into, 0).unwrap(), file.read_at(&mut into, u64::MAX).unwrap()), (1, 0));
    let wild = create(&fs, "/wild");
    assert_eq!(kind(wild.write_all_at(&[IoSlice::new(b"x")], FILE_BYTES_MAX)), ErrorKind::FileTooLarge);
    assert_eq!(kind(wild.write_all_at(&[IoSlice::new(b"x")], u64::MAX)), ErrorKind::FileTooLarge);
}

#[test]
fn damage_by_hand_is_seen_at_once_and_stays() {
    let fs = MemFs::new();
    let file = create(&fs, "/f");
    fs.sync_dir(Path::new("/")).unwrap();
    put(&file, &[0; 4], 0);
    fs.flip("/f", 8 + 3).unwrap();
    for fs in [&fs, &fs.crash_strict()] {
        assert_eq!(fs.read("/f").unwrap(), [0, 8, 0, 0]);
    }
    assert_eq!(kind(fs.flip("/f", 32)), ErrorKind::InvalidInput);
    fs.truncate("/f", 2).unwrap();
    put(&file, &[9], 3);
    assert_eq!(fs.crash_strict().read("/f").unwrap(), [0, 8]);
    assert_eq!(fs.read("/f").unwrap(), [0, 8, 0, 9]);
    file.sync().unwrap();
    assert_eq!(fs.crash_strict().read("/f").unwrap(), [0, 8, 0, 9]);
    fs.remove("/f").unwrap();
    assert!(SEEDS.into_iter().all(|seed| fs.crash(seed).paths().is_empty()));
}

#[test]
fn a_snapshot_shares_nothing_and_crashes_as_its_original() {
    let fs = MemFs::new();
    fs.write("/d/f", &[1; 600]).unwrap();
    let file = create(&fs, "/d/g");
    put(&file, &[2; 3000], 0);
    let copy = fs.snapshot();
    for seed in SEEDS {
        assert_eq!(contents(&copy.crash(seed)), contents(&fs.crash(seed)), "seed {seed}");
    }
    put(&file, b"later", 0);
    fs.flip("/d/f", 0).unwrap();
    fs.remove("/d/g").unwrap();
    assert_eq!(contents(&copy), [("/d/f".into(), vec![1; 600]), ("/d/g".into(), vec![2; 3000])]);
}

fn contents(fs: &MemFs) -> Vec<(PathBuf, Vec<u8>)> {
    fs.paths().into_iter().map(|path| (path.clone(), fs.read(&path).unwrap())).collect()
}

/// One step of a random run, on few names so that steps meet.
#[derive(Clone, Debug)]
enum Step {
    Create(usize),
    Write(usize, u64, usize, u8),
    Sync(usize),
    SyncDir(usize),
    Rename(usize, usize),
    Remove(usize),
}

const PLACES: [&str; 6] = ["/a/x", "/a/y", "/a/z", "/b/x", "/b/y", "/b/z"];
const FOLDERS: [&str; 2] = ["/a", "/b"];

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let place = 0..PLACES.len();
    let step = prop_oneof![
        place.clone().prop_map(Step::Create),
        (place.clone(), 0..3000_u64, 0..3000_usize, 1..=255_u8).prop_map(|(p, o, l, b)| Step::Write(p, o, l, b)),
        place.clone().prop_map(Step::Sync),
        (0..FOLDERS.len()).prop_map(Step::SyncDir),
        (place.clone(), place.clone()).prop_map(|(a, b)| Step::Rename(a, b)),
        place.prop_map(Step::Remove),
    ];
    prop::collection::vec(step, 0..60)
}

/// The plainest model: numbered files, maps of names, every state copied whole.
#[derive(Default)]
struct Model {
    files: Vec<ModelFile>,
    names: BTreeMap<usize, usize>,
    durable_names: BTreeMap<usize, usize>,
    /// Every file that a name may stand for after a crash.
    ever: BTreeMap<usize, BTreeSet<usize>>,
}

#[derive(Default)]
struct ModelFile {
    now: Vec<u8>,
    durable: Vec<u8>,
    /// For every offset the bytes that were written there since the last sync.
    loose: BTreeMap<usize, BTreeSet<u8>>,
    handle: Option<Arc<dyn File>>,
}

fn run(fs: &MemFs, steps: &[Step]) -> Model {
    let mut model = Model::default();
    for folder in FOLDERS {
        fs.create_dir_all(Path::new(folder)).unwrap();
    }
    fs.sync_dir(Path::new("/")).unwrap();
    for step in steps {
        match *step {
            Step::Create(place) => {
                let made = fs.create_new(Path::new(PLACES[place]));
                assert_eq!(made.is_ok(), !model.names.contains_key(&place));
                if let Ok(handle) = made {
                    model.names.insert(place, model.files.len());
                    model.ever.entry(place).or_default().insert(model.files.len());
                    model.files.push(ModelFile { handle: Some(handle), ..ModelFile::default() });
                }
            }
            Step::Write(place, offset, len, byte) => {
                let Some(id) = model.names.get(&place) else { continue };
                let file = &mut model.files[*id];
                put(file.handle.as_ref().unwrap(), &vec![byte; len], offset);
                let (from, to) = (offset as usize, offset as usize + len);
                if len > 0 {
                    file.now.resize(file.now.len().max(to), 0);
                    file.now[from..to].fill(byte);
                }
                (from..to).for_each(|at| _ = file.loose.entry(at).or_default().insert(byte));
            }
            Step::Sync(place) => {
                let Some(id) = model.names.get(&place) else { continue };
                let file = &mut model.files[*id];
                file.handle.as_ref().unwrap().sync().unwrap();
                file.durable.clone_from(&file.now);
                file.loose.clear();
            }
            Step::SyncDir(folder) => {
                fs.sync_dir(Path::new(FOLDERS[folder])).unwrap();
                for place in (0..PLACES.len()).filter(|place| place / 3 == folder) {
                    model.ever.remove(&place);
                    model.durable_names.remove(&place);
                    if let Some(id) = model.names.get(&place) {
                        model.durable_names.insert(place, *id);
                        model.ever.entry(place).or_default().insert(*id);
                    }
                }
            }
            Step::Rename(from, to) => {
                let renamed = fs.rename(Path::new(PLACES[from]), Path::new(PLACES[to]));
                assert_eq!(renamed.is_ok(), model.names.contains_key(&from));
                if let Some(id) = model.names.remove(&from) {
                    model.names.insert(to, id);
                    model.ever.entry(to).or_default().insert(id);
                }
            }
            Step::Remove(place) => {
                let removed = fs.remove_file(Path::new(PLACES[place]));
                assert_eq!(removed.is_ok(), model.names.remove(&place).is_some());
            }
        }
    }
    model
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_crash_keeps_what_was_synced_and_invents_nothing(steps in steps(), seed: u64) {
        let fs = MemFs::new();
        let model = run(&fs, &steps);
        let expected = |names: &BTreeMap<usize, usize>, bytes: fn(&ModelFile) -> &Vec<u8>| -> Vec<(PathBuf, Vec<u8>)> {
            names.iter().map(|(place, id)| (PLACES[*place].into(), bytes(&model.files[*id]).clone())).collect()
        };
        prop_assert_eq!(contents(&fs), expected(&model.names, |f| &f.now));
        prop_assert_eq!(contents(&fs.snapshot()), expected(&model.names, |f| &f.now));
        prop_assert_eq!(contents(&fs.crash_strict()), expected(&model.durable_names, |f| &f.durable));
        let used: usize = model.names.values().map(|id| model.files[*id].now.len()).sum();
        let space = fs.space(Path::new("/")).unwrap();
        prop_assert_eq!(space.total - space.free, used as u64);

        let left = fs.crash(seed);
        prop_assert_eq!(contents(&left), contents(&fs.crash(seed)), "one seed, two outcomes");
        prop_assert_eq!(contents(&left), contents(&left.crash(!seed)), "what a crash left is durable");
        // A name that stood and was not touched since its folder's sync is there.
        for place in model.durable_names.keys() {
            if !touched_since_sync(&steps, *place) {
                prop_assert!(left.stat(Path::new(PLACES[*place])).unwrap().is_some(), "{} is gone", PLACES[*place]);
            }
        }
        // Every byte was durable or written since, or is a zero where nothing was durable.
        for (path, bytes) in contents(&left) {
            let place = PLACES.iter().position(|p| Path::new(p) == path).unwrap();
            let possible = model.ever.get(&place).into_iter().flatten();
            let explained = possible.map(|id| &model.files[*id]).any(|file| {
                bytes.len() >= file.durable.len() && bytes.len() <= file.now.len() && bytes.iter().enumerate().all(|(at, byte)| {
                    *byte == file.durable.get(at).copied().unwrap_or(0) || file.loose.get(&at).is_some_and(|b| b.contains(byte))
                })
            });
            prop_assert!(explained, "{} holds what nobody wrote there", path.display());
        }
    }
}

fn touched_since_sync(steps: &[Step], place: usize) -> bool {
    let synced = steps.iter().rposition(|s| matches!(s, Step::SyncDir(folder) if *folder == place / 3));
    steps[synced.map_or(0, |at| at + 1)..].iter().any(|s| match s {
        Step::Create(p) | Step::Remove(p) => *p == place,
        Step::Rename(a, b) => *a == place || *b == place,
        _ => false,
    })
}

#[test]
fn a_link_is_a_second_name_that_a_rename_over_the_first_leaves() {
    let fs = MemFs::new();
    fs.write("/d/f", b"old").unwrap();
    fs.write("/d/new", b"new").unwrap();
    let link = |to: &str| fs.link(Path::new("/d/f"), Path::new(to));
    assert_eq!(kind(link("/d/new")), ErrorKind::AlreadyExists);
    assert_eq!(kind(fs.link(Path::new("/d/none"), Path::new("/d/g"))), ErrorKind::NotFound);
    link("/d/g").unwrap();
    assert!(fs.crash_strict().read("/d/g").is_err(), "its name needs a sync");
    fs.sync_dir(Path::new("/d")).unwrap();
    fs.rename(Path::new("/d/new"), Path::new("/d/f")).unwrap();
    assert_eq!((fs.read("/d/f").unwrap(), fs.read("/d/g").unwrap()), (b"new".to_vec(), b"old".to_vec()));
    let outcomes: BTreeSet<Vec<u8>> = SEEDS.map(|seed| fs.crash(seed).read("/d/f").unwrap()).collect();
    assert_eq!(outcomes, BTreeSet::from([b"new".to_vec(), b"old".to_vec()]));
}
