//! The power goes at every sync of a backup: what was acknowledged before comes back, and so does the
//! next backup.
//!
//! The store lies on the disk in memory ([`onefold::io::memory`]), which forgets what was not synced. A first backup
//! is acknowledged; then a second one runs again and again, each time with the power cut at another of
//! its durable steps (syncs of files and folders, renames). After each cut the disk holds what was
//! durable plus a seeded choice of what was not; the store is opened anew, the first snapshot is read
//! back whole, a third backup runs, and it is read back too. The index is missing, or as it was at the
//! cut, in turns.

use crate::support::{noise, options};
use onefold::format::ChunkKind;
use onefold::format::entry::{Content, EntryKind};
use onefold::index::MemoryIndex;
use onefold::io::faulty::{Action, FaultPlan, FaultyFs, Op, When};
use onefold::io::memory::{ManualWorld, MemFs};
use onefold::io::{Fs, Io};
use onefold::ops::backup::{self, Source};
use onefold::ops::init::{self, InitOptions};
use onefold::ops::{Control, snapshots};
use onefold::pack::ReadChunks;
use onefold::store::{IndexKind, Mode, OpenOptions, Store};
use onefold::{Error, catalog};
use std::path::Path;
use std::sync::Arc;

fn io_of(fs: Arc<dyn Fs>, seed: u64) -> Io {
    let world = ManualWorld::new(1_700_000_000_000_000_000 + seed as i64, seed);
    world.set_tick(1000);
    Io { fs, world: Arc::new(world) }
}

fn open(io: &Io, index: &Arc<MemoryIndex>, mode: Mode) -> onefold::Result<Store> {
    let options = OpenOptions { memory_bytes: 256 << 20, mode, index: IndexKind::Memory(Arc::clone(index)) };
    Store::open(io, Path::new("/store"), &options).map(|o| o.store)
}

/// Backs up one file of these bytes.
fn backup(io: &Io, index: &Arc<MemoryIndex>, bytes: Vec<u8>) -> onefold::Result<()> {
    let store = open(io, index, Mode::Write { verb: "backup" })?;
    let source = Source::Stream { name: b"file".to_vec(), input: Box::new(std::io::Cursor::new(bytes)) };
    backup::run(&store, options(source, false), &Control::default()).map(|_| ())
}

/// The bytes of `/file` in every snapshot, oldest first.
fn contents(store: &Store) -> Vec<Vec<u8>> {
    let all = snapshots::list(store, &[]);
    all.iter()
        .map(|s| {
            let found = catalog::tree::lookup(store, &s.snapshot.tree, b"/file").unwrap().unwrap();
            let catalog::tree::Found::Entry(entry) = found else { panic!("/file is an entry") };
            match entry.kind {
                EntryKind::File { content: Content::Inline(bytes), .. } => bytes,
                EntryKind::File { bytes, content: Content::Recipe(recipe) } => {
                    let mut out = Vec::new();
                    for piece in catalog::recipe::Pieces::new(store, &recipe, 0, bytes) {
                        match piece.unwrap().what {
                            catalog::recipe::What::Chunk { id, .. } => {
                                out.extend(store.chunk(ChunkKind::Data, &id).unwrap())
                            }
                            other => panic!("a pipe has no {other:?}"),
                        }
                    }
                    out
                }
                other => panic!("/file is {other:?}"),
            }
        })
        .collect()
}

/// A store with one acknowledged snapshot.
fn begun() -> (MemFs, Vec<u8>) {
    begun_with(&["/disks/a", "/disks/b", "/disks/c"], 0)
}

fn begun_with(disks: &[&str], parity: usize) -> (MemFs, Vec<u8>) {
    let fs = MemFs::new();
    let io = io_of(Arc::new(fs.clone()), 1);
    let disks = disks.iter().map(Into::into).collect();
    for dir in ["/disks", "/store"] {
        fs.create_dir_all(Path::new(dir)).unwrap();
    }
    fs.sync_dir(Path::new("/")).unwrap();
    let (pack_bytes, parity) = (Some(1 << 20), Some(parity));
    init::run(&io, &InitOptions { store: "/store".into(), disks, pack_bytes, parity, ..Default::default() }).unwrap();
    let first = noise(1, 2_500_000);
    backup(&io, &Arc::default(), first.clone()).unwrap();
    (fs, first)
}

const STEPS: [Op; 4] = [Op::Sync, Op::SyncDir, Op::Rename, Op::Write];

#[test]
fn a_power_cut_at_any_durable_step_of_a_backup_loses_nothing_acknowledged() {
    let (before, first) = begun();
    // 3 packs of data and more, so that cuts fall into sealing, publishing and the last commit
    let second = [first[..700_000].to_vec(), noise(2, 3_400_000)].concat();
    // how often each kind of step happens when nothing fails
    let counting = Arc::new(FaultyFs::new(Arc::new(before.snapshot()), FaultPlan::new()));
    backup(&io_of(counting.clone(), 2), &Arc::default(), second.clone()).unwrap();
    let (mut cuts, mut survived) = (0, 0);
    for op in STEPS {
        let total = counting.counts().of(op);
        assert!(total > 3, "{op:?} happens {total} times");
        // every sync; the more frequent steps in strides
        let stride = if op == Op::Sync { 1 } else { (total / 24).max(1) };
        for nth in (1..=total).step_by(stride as usize) {
            let disk = before.snapshot();
            let faulty = Arc::new(FaultyFs::new(
                Arc::new(disk.clone()),
                FaultPlan::new().with(op, When::Nth(nth), Action::PowerCut),
            ));
            let index: Arc<MemoryIndex> = Arc::default();
            let outcome = backup(&io_of(faulty.clone(), 2), &index, second.clone());
            if !faulty.is_cut() {
                // threads share the work in another order each time: this step was not reached
                assert!(outcome.is_ok());
                continue;
            }
            // Durable in STORE and on one disk is enough to be acknowledged; then it must be there.
            let acknowledged = outcome.is_ok();
            cuts += 1;
            for seed in 0..3 {
                let what = format!("{op:?} {nth} seed {seed}");
                let after = if seed == 0 { disk.crash_strict() } else { disk.crash(seed * 1000 + nth) };
                let io = io_of(Arc::new(after.clone()), 10 + seed);
                let index = if seed % 2 == 0 { Arc::default() } else { Arc::new(index.snapshot()) };
                let found = contents(&open(&io, &index, Mode::Read).unwrap_or_else(|e| panic!("{what}: {e}")));
                assert!(found[0] == first, "{what}: the acknowledged snapshot changed");
                assert!(found.len() <= 2 && (found.len() == 2 || !acknowledged), "{what}: acknowledged {acknowledged}");
                if found.len() == 2 {
                    assert!(found[1] == second, "{what}: a snapshot that no one acknowledged is there and wrong");
                    survived += 1;
                }
                let third = [second[..1_000_000].to_vec(), noise(3, 500_000)].concat();
                backup(&io, &index, third.clone()).unwrap_or_else(|e| panic!("{what}: the next backup: {e}"));
                let store = open(&io, &index, Mode::Read).unwrap();
                let all = contents(&store);
                assert!(all[0] == first && *all.last().unwrap() == third, "{what}: after the next backup");
                assert_eq!(store.with_state(|s| s.writers.len()), 0, "{what}: a dead writer was not taken over");
            }
        }
    }
    println!("{cuts} cuts, of which {survived} left the snapshot that was being written");
    assert!(cuts > 15, "only {cuts} cuts were made");
}

/// The same where parity is made: whatever was acknowledged comes back after the cut although a disk is lost with it, and
/// the next run clears what parity was made for nothing.
#[test]
fn a_power_cut_while_parity_is_made_costs_neither_snapshots_nor_their_redundancy() {
    const DISKS: [&str; 4] = ["/disks/a", "/disks/b", "/disks/c", "/disks/d"];
    let (before, first) = begun_with(&DISKS, 1);
    let second = [first[..700_000].to_vec(), noise(2, 3_400_000)].concat();
    let counting = Arc::new(FaultyFs::new(Arc::new(before.snapshot()), FaultPlan::new()));
    backup(&io_of(counting.clone(), 2), &Arc::default(), second.clone()).unwrap();
    let mut cuts = 0u64;
    for op in STEPS {
        let total = counting.counts().of(op);
        for nth in (1..=total).step_by((total / 16).max(1) as usize) {
            let disk = before.snapshot();
            let plan = FaultPlan::new().with(op, When::Nth(nth), Action::PowerCut);
            let faulty = Arc::new(FaultyFs::new(Arc::new(disk.clone()), plan));
            let outcome = backup(&io_of(faulty.clone(), 2), &Arc::default(), second.clone());
            if !faulty.is_cut() {
                continue;
            }
            cuts += 1;
            let what = format!("{op:?} {nth}");
            let after = disk.crash_strict();
            let lost = DISKS[nth as usize % DISKS.len()];
            let without = after.snapshot();
            without.remove(Path::new(lost).join("onefold-disk")).unwrap();
            let found = contents(&open(&io_of(Arc::new(without), 10), &Arc::default(), Mode::Read).unwrap());
            assert!(found[0] == first, "{what} without {lost}: the acknowledged snapshot changed");
            assert!(found.len() == 2 || outcome.is_err(), "{what} without {lost}");
            assert!(found.len() == 1 || found[1] == second, "{what} without {lost}");
            if cuts.is_multiple_of(4) {
                backup(&io_of(Arc::new(after.clone()), 11), &Arc::default(), second.clone()).unwrap();
                let index: Arc<MemoryIndex> = Arc::default();
                let store = open(&io_of(Arc::new(after.clone()), 12), &index, Mode::Read).unwrap();
                assert!(store.redundancy(|_, _| {}).is_full(), "{what}");
                let live: usize = store.with_state(|s| s.groups().map(|g| g.parity_disks.len()).sum());
                let files = |disk: &str| {
                    let root = Path::new(disk).join("parity");
                    let folders = after.list(&root).unwrap_or_default();
                    let names = folders.iter().flat_map(|f| after.list(&root.join(&f.name)).unwrap());
                    names.filter(|e| !e.name.to_string_lossy().starts_with('.')).count()
                };
                assert_eq!(DISKS.iter().map(|d| files(d)).sum::<usize>(), live, "{what}: parity of nothing is left");
            }
        }
    }
    assert!(cuts > 30, "{cuts} cuts");
}

#[test]
fn what_an_interrupted_backup_had_sealed_is_not_stored_twice() {
    let (disk, first) = begun();
    let second = noise(7, 6_000_000);
    // cut late: most packs are sealed, none of this run's are logged
    let counting = Arc::new(FaultyFs::new(Arc::new(disk.snapshot()), FaultPlan::new()));
    backup(&io_of(counting.clone(), 2), &Arc::default(), second.clone()).unwrap();
    let late = counting.counts().of(Op::Rename) - 3;
    let target = disk.snapshot();
    let faulty = Arc::new(FaultyFs::new(
        Arc::new(target.clone()),
        FaultPlan::new().with(Op::Rename, When::Nth(late), Action::PowerCut),
    ));
    let outcome = backup(&io_of(faulty, 2), &Arc::default(), second.clone());
    assert!(outcome.is_err());
    let after = target.crash_strict();
    let io = io_of(Arc::new(after), 5);
    let index: Arc<MemoryIndex> = Arc::default();
    let store = open(&io, &index, Mode::Write { verb: "backup" }).unwrap();
    let source = Source::Stream { name: b"file".to_vec(), input: Box::new(std::io::Cursor::new(second.clone())) };
    let report = backup::run(&store, options(source, false), &Control::default()).unwrap();
    assert!(
        report.counts.data_added < 3_000_000,
        "{} of {} bytes were stored again though most had been sealed",
        report.counts.data_added,
        second.len()
    );
    drop(store);
    let found = contents(&open(&io, &index, Mode::Read).unwrap());
    assert!(found == [first, second]);
}

#[test]
fn a_disk_that_fails_in_the_middle_of_a_backup_is_left_out_and_the_backup_goes_on() {
    let (disk, first) = begun();
    for (op, action) in [
        (Op::Sync, Action::Fail(onefold::io::faulty::Failure::Io)),
        (Op::Write, Action::Fail(onefold::io::faulty::Failure::Io)),
        (Op::Write, Action::Fail(onefold::io::faulty::Failure::Full)),
        (Op::Rename, Action::Fail(onefold::io::faulty::Failure::Io)),
        (Op::Create, Action::Fail(onefold::io::faulty::Failure::ReadOnly)),
    ] {
        let fs = disk.snapshot();
        let plan = FaultPlan::new().with_path(op, When::From(2), "/disks/b/packs", action);
        let faulty = Arc::new(FaultyFs::new(Arc::new(fs.clone()), plan));
        let io = io_of(faulty, 3);
        let second = noise(4, 9_000_000);
        let index: Arc<MemoryIndex> = Arc::default();
        backup(&io, &index, second.clone()).unwrap_or_else(|e| panic!("{op:?}: {e}"));
        // and it is there on a machine that never saw the failure
        let found = contents(&open(&io_of(Arc::new(fs.crash_strict()), 4), &Arc::default(), Mode::Read).unwrap());
        assert!(found == [first.clone(), second], "{op:?}");
    }
}

/// Found by the simulation: where the other history was longer, the log was called damaged, and no place was named.
#[test]
fn a_fork_is_called_one_whichever_side_is_longer() {
    for longer in [false, true] {
        let (disk, first) = begun();
        let other = disk.snapshot();
        let backup_at = |fs: &MemFs, seed| {
            backup(&io_of(Arc::new(fs.clone()), seed), &Arc::default(), noise(seed, 300_000)).unwrap();
        };
        (0..if longer { 3 } else { 1 }).for_each(|i| backup_at(&other, 20 + i));
        backup_at(&disk, 30);
        for path in other.paths().iter().filter(|p| p.starts_with("/disks/c/log")) {
            disk.write(path, &other.read(path).unwrap()).unwrap();
        }
        let io = io_of(Arc::new(disk.clone()), 40);
        let refused = open(&io, &Arc::default(), Mode::Write { verb: "backup" }).map(|_| ()).unwrap_err();
        let Error::LogFork { one, other, .. } = &refused else { panic!("longer {longer}: {refused}") };
        assert!(one != other);
        let found = contents(&open(&io, &Arc::default(), Mode::Read).unwrap());
        assert!(found[0] == first, "what both sides have can be read");
    }
}

/// The log keeps which disk failed until every byte of it was read and proven.
#[test]
fn a_disk_that_failed_is_named_by_later_runs_until_it_was_looked_at() {
    use onefold::ops::check::{self, CheckOptions};
    use onefold::ops::disks::{self, DiskState};
    let states = |io: &Io, index: &Arc<MemoryIndex>| {
        let list = disks::list(&open(io, index, Mode::Read).unwrap()).unwrap();
        list.into_iter().map(|d| d.state).collect::<Vec<_>>()
    };
    let (disk, _) = begun();
    for (op, path) in [(Op::Sync, "/disks/b/packs"), (Op::Write, "/disks/b/packs"), (Op::SyncDir, "/disks/b/log")] {
        let fs = disk.snapshot();
        // new packs go to the largest
        for (disk, mib) in [("/disks/a", 64), ("/disks/b", 1024), ("/disks/c", 64)] {
            fs.set_capacity(disk, mib << 20).unwrap();
        }
        let plan = FaultPlan::new().with_path(op, When::From(1), path, Action::Fail(onefold::io::faulty::Failure::Io));
        let index: Arc<MemoryIndex> = Arc::default();
        backup(&io_of(Arc::new(FaultyFs::new(Arc::new(fs.clone()), plan)), 3), &index, noise(4, 9_000_000)).unwrap();
        let io = io_of(Arc::new(fs.clone()), 4);
        let named = [DiskState::Healthy, DiskState::Suspect, DiskState::Healthy];
        assert_eq!(states(&io, &index), named, "{op:?}");
        // another run, which the disk does not fail: it is named all the same, and takes nothing
        let packs = |fs: &MemFs| {
            fs.paths()
                .iter()
                .filter(|p| p.starts_with("/disks/b/packs") && p.extension().is_some_and(|e| e == "pack"))
                .count()
        };
        let before = packs(&fs);
        backup(&io, &index, noise(5, 5_000_000)).unwrap();
        assert_eq!((states(&io, &index), packs(&fs)), (named.to_vec(), before), "{op:?}");
        let store = open(&io, &index, Mode::Read).unwrap();
        let report =
            check::run(&store, &CheckOptions { read_data: true, rebuild: false }, &Control::default()).unwrap();
        assert_eq!(report.looked_at.len(), 1, "{:?}", report.problems);
        drop(store);
        let store = open(&io, &index, Mode::Write { verb: "check" }).unwrap();
        check::record_looked_at(&store, &report.looked_at).unwrap();
        drop(store);
        assert_eq!(states(&io, &index), [DiskState::Healthy; 3], "{op:?}");
        backup(&io, &index, noise(6, 9_000_000)).unwrap();
        assert!(packs(&fs) > before, "{op:?}: it takes data again");
    }
}

#[test]
fn a_shelf_that_is_full_fails_the_backup_and_keeps_what_was_acknowledged() {
    let (disk, first) = begun();
    let fs = disk.snapshot();
    let plan = FaultPlan::new().with_path(
        Op::Write,
        When::From(4),
        "/packs/",
        Action::Fail(onefold::io::faulty::Failure::Full),
    );
    let io = io_of(Arc::new(FaultyFs::new(Arc::new(fs.clone()), plan)), 3);
    let error = backup(&io, &Arc::default(), noise(4, 9_000_000)).unwrap_err();
    assert!(matches!(error, Error::NoSpace { .. }), "{error}");
    let found = contents(&open(&io_of(Arc::new(fs.crash_strict()), 4), &Arc::default(), Mode::Read).unwrap());
    assert!(found == [first]);
}

#[test]
fn a_panic_in_the_middle_of_a_backup_ends_it_and_loses_nothing_acknowledged() {
    /// Gives some bytes, then panics.
    struct Breaks(usize);
    impl std::io::Read for Breaks {
        fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
            assert!(self.0 < 5_000_000, "a source that panics, on purpose");
            let n = into.len().min(100_000);
            into[..n].copy_from_slice(&noise(self.0 as u64, n));
            self.0 += n;
            Ok(n)
        }
    }
    let (disk, first) = begun();
    let io = io_of(Arc::new(disk.clone()), 3);
    let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let store = open(&io, &Arc::default(), Mode::Write { verb: "backup" }).unwrap();
        let source = Source::Stream { name: b"file".to_vec(), input: Box::new(Breaks(0)) };
        backup::run(&store, options(source, false), &Control::default()).map(|_| ())
    }));
    assert!(!matches!(outcome, Ok(Ok(()))), "a backup that panicked was acknowledged");
    let index: Arc<MemoryIndex> = Arc::default();
    let second = noise(9, 1_000_000);
    backup(&io, &index, second.clone()).unwrap();
    assert!(contents(&open(&io, &index, Mode::Read).unwrap()) == [first, second]);
}
