//! Harm to every kind of file, met by every reading verb: never a panic, never wrong data, and what is lost is
//! named.
//!
//! A small store with two snapshots is made once. Then, for each kind of file and each harm, a copy of it is harmed and
//! checked, listed, restored, recovered and restored again. What a restore gives back must be right or absent;
//! `Ok` without losses must mean that everything is right.

use crate::support::{Shelf, copy, facts, noise};
use onefold::io::Io;
use onefold::ops::check::{self, CheckOptions};
use onefold::ops::recover::{self, RecoverOptions};
use onefold::ops::restore::{self, RestoreOptions, RestoreReport};
use onefold::ops::{Control, Notice, ls, snapshots};
use onefold::store::{Mode, OpenOptions, Store};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock};

fn files(root: &Path) -> Vec<PathBuf> {
    let mut out = Vec::new();
    let mut todo = vec![root.to_owned()];
    while let Some(dir) = todo.pop() {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { todo.push(path) } else { out.push(path) }
        }
    }
    out.sort();
    out
}

/// What kind of file a path stands for: the part of the store and the extension.
fn kind_of(path: &Path, root: &Path) -> String {
    let relative = path.strip_prefix(root).unwrap();
    let parts: Vec<_> = relative.components().map(|c| c.as_os_str().to_string_lossy().into_owned()).collect();
    let place = if parts[0] == "store" { "store" } else { "disk" };
    let extension = path.extension().map(|e| e.to_string_lossy().into_owned()).unwrap_or_default();
    format!("{place}/{}{}", parts[1], if extension.chars().all(char::is_numeric) { "" } else { &extension })
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Harm {
    Flip,
    /// A sector of zeros.
    Zeros,
    /// Anywhere.
    Truncate,
    /// At the end of a header, of a sector, a byte before the end.
    TruncateAtBorder,
    Empty,
    Remove,
    Grow,
    /// The same file as it was before the last backup.
    Older,
    /// The same file of another store.
    Foreign,
    /// What lies under another name of the kind.
    Swapped,
}

const HARMS: [Harm; 10] = [
    Harm::Flip,
    Harm::Zeros,
    Harm::Truncate,
    Harm::TruncateAtBorder,
    Harm::Empty,
    Harm::Remove,
    Harm::Grow,
    Harm::Older,
    Harm::Foreign,
    Harm::Swapped,
];

/// Does the harm; `others` are the file as it was, that of another store, and another of its kind. False where there is
/// none to do it with.
fn harm(path: &Path, harm: Harm, seed: u64, others: [Option<PathBuf>; 3]) -> bool {
    let [older, foreign, swapped] = others;
    let from = match harm {
        Harm::Older => older,
        Harm::Foreign => foreign,
        Harm::Swapped => swapped,
        _ => return harm_alone(path, harm, seed),
    };
    let Some(bytes) = from.and_then(|p| fs::read(p).ok()).filter(|b| *b != fs::read(path).unwrap()) else {
        return false;
    };
    fs::write(path, bytes).unwrap();
    true
}

fn harm_alone(path: &Path, harm: Harm, seed: u64) -> bool {
    let mut bytes = fs::read(path).unwrap();
    let at = if bytes.is_empty() { 0 } else { (seed as usize * 7919 + 13) % bytes.len() };
    match harm {
        _ if bytes.is_empty() && !matches!(harm, Harm::Remove | Harm::Grow) => return false,
        Harm::Flip => bytes[at] ^= 1 << (seed % 8),
        Harm::Zeros => {
            let end = bytes.len().min(at + 512);
            bytes[at..end].fill(0);
        }
        Harm::Truncate => bytes.truncate(at),
        Harm::TruncateAtBorder => {
            let borders = [4, 8, 16, 64, 512, 4096, bytes.len() - bytes.len().min(128), bytes.len() - 1];
            let border = borders[seed as usize % borders.len()];
            if border >= bytes.len() {
                return false;
            }
            bytes.truncate(border);
        }
        Harm::Empty => bytes.clear(),
        Harm::Grow => bytes.extend(noise(seed, 100)),
        Harm::Remove => {
            fs::remove_file(path).unwrap();
            return true;
        }
        Harm::Older | Harm::Foreign | Harm::Swapped => return false, // not done alone
    }
    fs::write(path, bytes).unwrap();
    true
}

/// Every other verb that reads: whatever it says, it neither panics nor gives anything wrong.
fn other_verbs(home: &Path, root: &[u8], want: &BTreeMap<String, Vec<u8>>, what: &str) {
    let Ok(opened) = Store::open(&Io::real(), home, &OpenOptions::new(Mode::Read, 256 << 20)) else { return };
    let store = opened.store;
    let control = Control::default();
    let _ = check::run(&store, &CheckOptions::default(), &control);
    let _ = onefold::ops::disks::status(&store);
    let _ = onefold::ops::stats::run(&store, &control);
    let Ok(snapshot) = snapshots::resolve(&store, "latest") else { return };
    for (name, bytes) in want {
        let path = [root, b"/", name.as_bytes()].concat();
        let mut out = Vec::new();
        let read = onefold::ops::cat::run(&store, &snapshot, &path, None, &mut out, &control);
        // what came before an error is right, too
        assert!(bytes.starts_with(&out) && (read.is_err() || out == *bytes), "{what}: cat {name} is wrong");
        let mut part = Vec::new();
        let (from, to) = (bytes.len() / 3, bytes.len() / 2);
        if onefold::ops::cat::run(&store, &snapshot, &path, Some((from as u64, to as u64)), &mut part, &control).is_ok()
        {
            assert!(part == bytes[from..=to], "{what}: a range of {name} is wrong");
        }
    }
    if let Ok(first) = snapshots::resolve(&store, &snapshots::list(&store, &[])[0].id.to_string()) {
        let _ = onefold::ops::diff::run(&store, &first, &snapshot, &mut |_, _, _, _| Ok(()), &control);
    }
}

fn restored(home: &Path, root: &[u8], target: &Path) -> onefold::Result<RestoreReport> {
    let store = Store::open(&Io::real(), home, &OpenOptions::new(Mode::Read, 256 << 20))?.store;
    let snapshot = snapshots::resolve(&store, "latest")?;
    let _ = ls::run(&store, &snapshot, None, &mut |_| Ok(()), &Control::default())?;
    let path = Some(root.to_vec());
    let options = RestoreOptions {
        snapshot,
        path,
        target: target.to_owned(),
        includes: vec![],
        overwrite: false,
        owner: false,
        partial: false,
    };
    restore::run(&store, &options, &Control::default())
}

/// A restored file is right, or not there.
fn assert_right_or_absent(want: &BTreeMap<Vec<u8>, String>, target: &Path, report: &RestoreReport, what: &str) {
    let (got, _) = facts(target);
    for (path, fact) in &got {
        if fact.starts_with("file") {
            assert_eq!(Some(fact), want.get(path), "{what}: {} is wrong", String::from_utf8_lossy(path));
        }
    }
    if report.files_lost + report.failed == 0 {
        assert!(got == *want, "{what}: nothing is said to be lost, and something is");
    }
}

#[test]
fn no_harm_to_any_kind_of_file_gives_wrong_data_or_goes_unnoticed() {
    let shelf = Shelf::new(2);
    let source = shelf.path("library");
    fs::create_dir_all(source.join("many")).unwrap();
    for i in 0..5 {
        fs::write(source.join(format!("{i}.bin")), noise(i, 300_000)).unwrap();
    }
    for i in 0..300 {
        fs::write(source.join(format!("many/{i}")), noise(i, 700)).unwrap();
    }
    shelf.backup(&source);
    let older = shelf.path("older");
    for part in ["store", "disk0", "disk1"] {
        copy(&shelf.path(part), &older.join(part));
    }
    fs::write(source.join("text"), "a line\n".repeat(30_000)).unwrap();
    shelf.backup(&source);
    let want = facts(&source).0;
    let some: BTreeMap<String, Vec<u8>> = ["0.bin", "3.bin", "text", "many/7"]
        .iter()
        .map(|n| (n.to_string(), fs::read(source.join(n)).unwrap()))
        .collect();
    let stranger = Shelf::new(2);
    stranger.backup(&source);
    let root = source.as_os_str().as_encoded_bytes().to_vec();
    let clean = shelf.path("clean");
    for part in ["store", "disk0", "disk1"] {
        copy(&shelf.path(part), &clean.join(part));
    }
    let mut kinds: BTreeMap<String, Vec<PathBuf>> = BTreeMap::new();
    for path in files(&clean) {
        kinds.entry(kind_of(&path, &clean)).or_default().push(path.strip_prefix(&clean).unwrap().to_owned());
    }
    println!("{:?}", kinds.keys());
    let least = if cfg!(feature = "rocksdb") { 12 } else { 11 }; // the index's files are RocksDB's
    assert!(kinds.len() >= least, "too few kinds of files: {:?}", kinds.keys());
    let (home, disks) = (shelf.store(), vec![shelf.disk(0), shelf.disk(1)]);
    let (mut seed, mut done) = (0, 0);
    for (kind, paths) in &kinds {
        for how in HARMS {
            seed += 1;
            let victim = &paths[seed as usize % paths.len()];
            let what = format!("{how:?} {}", victim.display());
            for part in ["store", "disk0", "disk1"] {
                let _ = fs::remove_dir_all(shelf.path(part));
                copy(&clean.join(part), &shelf.path(part));
            }
            let of_kind = paths.iter().find(|p| p.extension() == victim.extension() && *p != victim);
            let others = [
                Some(older.join(victim)),
                Some(stranger.path("").join(victim)),
                of_kind.map(|p| shelf.path("").join(p)),
            ];
            if !harm(&shelf.path("").join(victim), how, seed, others) {
                continue;
            }
            done += 1;
            other_verbs(&home, &root, &some, &what);
            let store = Store::open(&Io::real(), &home, &OpenOptions::new(Mode::Read, 256 << 20));
            if let Ok(opened) = store {
                let report =
                    check::run(&opened.store, &CheckOptions { read_data: true, rebuild: false }, &Control::default())
                        .unwrap();
                // FORMAT.txt is for people: a later version's may say something else
                let is_truth = (kind.starts_with("disk/") && kind != "disk/FORMAT.txttxt")
                    || kind == "store/log"
                    || kind == "store/superblock"
                    || kind == "store/keys";
                if is_truth && !(matches!(how, Harm::Zeros) && kind == "disk/packspack") {
                    let noticed = !report.problems.is_empty() || report.files_lost > 0 || !opened.notices.is_empty();
                    assert!(noticed, "{what}: check says nothing");
                }
            } else {
                assert!(!kind.starts_with("store/index"), "{what}: the index is only a cache");
            }
            let target = shelf.path("out");
            if let Ok(report) = restored(&home, &root, &target) {
                assert_right_or_absent(&want, &target, &report, &what);
            }
            let _ = fs::remove_dir_all(&target);
            let options = RecoverOptions { store: home.clone(), disks: disks.clone(), memory_bytes: 256 << 20 };
            let recovered = recover::run(&Io::real(), &options, &Control::default());
            // A folder that says that it is another store's is not written over.
            let is_anothers = how == Harm::Foreign && (kind == "store/disks" || kind == "store/superblock");
            if is_anothers {
                assert!(recovered.is_err(), "{what}: another store's folder was taken over");
                continue;
            }
            if kind.starts_with("store/") {
                assert!(recovered.is_ok(), "{what}: the disks alone are enough: {:?}", recovered.err());
            }
            match restored(&home, &root, &target) {
                Ok(report) => {
                    assert_right_or_absent(&want, &target, &report, &what);
                    if kind.starts_with("store/") {
                        assert_eq!(report.files_lost, 0, "{what}: nothing on the disks was harmed");
                    }
                }
                Err(e) => assert!(!kind.starts_with("store/"), "{what}: after recover: {e}"),
            }
            let _ = fs::remove_dir_all(&target);
            // A backup over what is there now is whole, or it says why there is none.
            let opened = Store::open(&Io::real(), &home, &OpenOptions::new(Mode::Write { verb: "backup" }, 256 << 20));
            let Ok(opened) = opened else { continue };
            let of = onefold::ops::backup::Source::Paths(vec![source.clone()]);
            let backed_up =
                onefold::ops::backup::run(&opened.store, crate::support::options(of, true), &Control::default());
            drop(opened);
            if backed_up.is_ok() && !kind.starts_with("disk/packs") {
                let report = restored(&home, &root, &target).unwrap_or_else(|e| panic!("{what}: {e}"));
                assert_eq!(report.files_lost, 0, "{what}: a backup afterwards is not whole");
                assert_right_or_absent(&want, &target, &report, &what);
            }
            let _ = fs::remove_dir_all(&target);
        }
    }
    println!("{done} harms of {} kinds of files", kinds.len());
    assert!(done >= 6 * kinds.len(), "{done} harms of {} kinds: too many could not be done", kinds.len());
}

/// What is lost of a file is a hole; what is not comes back, under the file's name only where that was asked for.
#[test]
fn a_file_with_holes_gets_its_name_only_when_it_is_asked_for() {
    let shelf = Shelf::new(1);
    let source = shelf.path("library");
    fs::create_dir_all(&source).unwrap();
    let bytes = noise(5, 3_000_000);
    fs::write(source.join("broken"), &bytes).unwrap();
    fs::hard_link(source.join("broken"), source.join("twin")).unwrap();
    fs::write(source.join("whole"), noise(6, 100_000)).unwrap();
    shelf.backup(&source);
    // rot in two places of the long file's pack
    let packs: Vec<PathBuf> =
        files(&shelf.disk(0)).into_iter().filter(|p| p.extension().is_some_and(|e| e == "pack")).collect();
    let pack = packs.iter().max_by_key(|p| fs::metadata(p).unwrap().len()).unwrap();
    let mut rotten = fs::read(pack).unwrap();
    for at in [rotten.len() / 3, rotten.len() * 2 / 3] {
        rotten[at] ^= 1;
    }
    fs::write(pack, rotten).unwrap();
    let run = |partial: bool, target: &str| {
        let (store, _) = shelf.open(Mode::Read);
        let options = RestoreOptions {
            snapshot: snapshots::resolve(&store, "latest").unwrap(),
            path: Some(source.as_os_str().as_encoded_bytes().to_vec()),
            target: shelf.path(target),
            includes: vec![],
            overwrite: false,
            owner: false,
            partial,
        };
        restore::run(&store, &options, &Control::default()).unwrap()
    };
    let strict = run(false, "strict");
    assert_eq!((strict.files, strict.files_lost, strict.files_partial, &strict.holes), (1, 2, 0, &None));
    assert_eq!(facts(&shelf.path("strict")).0.len(), 1, "a broken file has its name");
    let partial = run(true, "partial");
    assert_eq!((partial.files, partial.files_lost, partial.files_partial), (1, 2, 2));
    let list = fs::read_to_string(shelf.path("partial").join(partial.holes.unwrap())).unwrap();
    let mut lost_in_all = 0;
    for name in ["broken", "twin"] {
        let (mut want, mut lost) = (bytes.clone(), 0);
        for (path, first, last) in holes_of(&list) {
            assert!(["broken", "twin"].iter().any(|n| path.ends_with(n)), "{path}");
            if path.ends_with(name) {
                want[first..=last].fill(0);
                lost += last - first + 1;
            }
        }
        assert!((64 << 10..=2 << 20).contains(&lost), "{name}: two chunks: {lost} bytes");
        assert!(fs::read(shelf.path("partial").join(name)).unwrap() == want, "{name}");
        lost_in_all += lost as u64;
    }
    assert_eq!(partial.bytes_lost, lost_in_all, "under each of its names");
}

/// Lines of a list of holes: path, first and last byte.
fn holes_of(list: &str) -> Vec<(&str, usize, usize)> {
    list.lines()
        .filter(|l| !l.starts_with('#'))
        .map(|l| {
            let fields: Vec<&str> = l.split('\t').collect();
            (fields[0], fields[1].parse().unwrap(), fields[2].parse().unwrap())
        })
        .collect()
}

/// A restore that is stopped has files with holes in its target all the same: they are listed and named.
#[test]
fn a_partial_restore_that_is_stopped_lists_the_holes_that_it_left() {
    let shelf = Shelf::new(1);
    let source = shelf.path("library");
    fs::create_dir_all(&source).unwrap();
    fs::write(source.join("a"), noise(5, 3_000_000)).unwrap();
    shelf.backup(&source);
    let packs: Vec<PathBuf> =
        files(&shelf.disk(0)).into_iter().filter(|p| p.extension().is_some_and(|e| e == "pack")).collect();
    let pack = packs.iter().max_by_key(|p| fs::metadata(p).unwrap().len()).unwrap();
    let mut rotten = fs::read(pack).unwrap();
    let at = rotten.len() / 2;
    rotten[at] ^= 1;
    fs::write(pack, rotten).unwrap();
    // What comes behind the broken file: enough that a stop falls into it.
    (0..400u64).for_each(|i| fs::write(source.join(format!("b{i:03}")), noise(100 + i, 30_000)).unwrap());
    shelf.backup(&source);
    let (store, _) = shelf.open(Mode::Read);
    let snapshot = snapshots::resolve(&store, "latest").unwrap();
    // Threads restore side by side: nearly always the first file is done before the 350th.
    let were_there = (0..10).filter(|nth| {
        let target = shelf.path(&format!("target{nth}"));
        // One of them cannot get its name, which a folder that is not empty has, and that stops the restore.
        fs::create_dir_all(target.join("b350/full")).unwrap();
        let options = RestoreOptions {
            snapshot: snapshot.clone(),
            path: Some(source.as_os_str().as_encoded_bytes().to_vec()),
            target: target.clone(),
            includes: vec![],
            overwrite: true,
            owner: false,
            partial: true,
        };
        let (named, stopped) = (Arc::new(Mutex::new(Vec::new())), Arc::new(OnceLock::<Arc<Control>>::new()));
        let (sink, to_stop) = (Arc::clone(&named), Arc::clone(&stopped));
        let control = Arc::new(Control::with_sink(move |notice| match notice {
            Notice::FileLost(lost) => sink.lock().unwrap().push(lost.path),
            _ => to_stop.get().unwrap().cancel(),
        }));
        assert!(stopped.set(Arc::clone(&control)).is_ok());
        let outcome = restore::run(&store, &options, &control);
        assert!(matches!(outcome, Err(onefold::Error::Interrupted)), "{outcome:?}");
        let (is_there, named) = (target.join("a").exists(), named.lock().unwrap());
        let list = fs::read_to_string(target.join("onefold-holes.txt")).unwrap_or_default();
        let holes = holes_of(&list);
        assert_eq!(is_there, holes.iter().any(|(path, ..)| path.ends_with("/a")), "{list}");
        assert!(holes.iter().all(|(path, ..)| path.ends_with("/a")), "{list}");
        assert!(!is_there || (named.len() == 1 && named[0].ends_with(b"/a")), "{named:?}");
        is_there
    });
    assert!(were_there.count() > 0, "no restore was stopped behind the file with a hole");
}
