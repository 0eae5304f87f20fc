//! Reclaiming against a plain map: whatever is forgotten, brought back, reclaimed, cut off or lost on the way, each live
//! snapshot gives what it was given, each forgotten one that is still listed too, and what nothing needs is gone at the end.
//!
//! The store lies on the disk in memory, the sources are real folders. Each seed runs its own history of backups (near-duplicates and
//! copies among them), forgets, undeletes, gcs with other thresholds and limits, compacts of both kinds, power cuts within a gc or compact at any of its durable
//! steps and between runs, indexes that are lost or old. `ONEFOLD_RECLAIM_SEEDS` (how many) and
//! `ONEFOLD_RECLAIM_FIRST` (from which) make longer runs.

use crate::support::{Files, Rng, noise, options};
use onefold::catalog::recipe::{Pieces, What};
use onefold::catalog::tree::{Step, Walk};
use onefold::format::entry::{Content, EntryKind};
use onefold::format::{ChunkKind, SnapshotId};
use onefold::index::MemoryIndex;
use onefold::io::faulty::{Action, FaultPlan, FaultyFs, Op, When};
use onefold::io::memory::{ManualWorld, MemFs};
use onefold::io::{Fs, Io};
use onefold::ops::backup::{self, Source};
use onefold::ops::check::{self, CheckOptions};
use onefold::ops::compact::{self, CompactOptions, CompactReport};
use onefold::ops::gc::{self, GcOptions, GcReport, Plan};
use onefold::ops::init::{self, InitOptions};
use onefold::ops::{Control, forget, snapshots, tag};
use onefold::pack::ReadChunks;
use onefold::store::{IndexKind, Mode, OpenOptions, Store};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A store on the disk in memory.
struct Shelf {
    fs: MemFs,
    index: Arc<MemoryIndex>,
    now_ns: i64,
}

impl Shelf {
    fn new(disks: u64) -> Shelf {
        let shelf = Shelf { fs: MemFs::new(), index: Arc::default(), now_ns: 1_700_000_000_000_000_000 };
        for dir in ["/disks", "/store"] {
            shelf.fs.create_dir_all(Path::new(dir)).unwrap();
        }
        shelf.fs.sync_dir(Path::new("/")).unwrap();
        let disks = (0..disks).map(|i| format!("/disks/{i}").into()).collect(); // from four on: one parity pack a group
        let options = InitOptions { store: "/store".into(), disks, pack_bytes: Some(1 << 20), ..Default::default() };
        init::run(&shelf.io(1), &options).unwrap();
        shelf
    }

    fn io_on(&self, fs: Arc<dyn Fs>, seed: u64) -> Io {
        let world = ManualWorld::new(self.now_ns, seed);
        world.set_tick(1_000_000);
        Io { fs, world: Arc::new(world) }
    }

    fn io(&self, seed: u64) -> Io {
        self.io_on(Arc::new(self.fs.clone()), seed)
    }

    fn open_on(&self, io: &Io, mode: Mode) -> onefold::Result<Store> {
        let options = OpenOptions { memory_bytes: 256 << 20, mode, index: IndexKind::Memory(Arc::clone(&self.index)) };
        Store::open(io, Path::new("/store"), &options).map(|o| o.store)
    }

    fn read(&self) -> Store {
        self.open_on(&self.io(3), Mode::Read).unwrap()
    }

    fn write(&self, verb: &'static str, seed: u64) -> Store {
        self.open_on(&self.io(seed), Mode::Write { verb }).unwrap()
    }

    fn back_up(&self, source: &Path, seed: u64) -> SnapshotId {
        let source = Source::Paths(vec![source.to_owned()]);
        let store = self.write("backup", seed);
        backup::run(&store, options(source, false), &Control::default()).unwrap().snapshot.unwrap()
    }

    fn gc(&self, options: &GcOptions, seed: u64) -> onefold::Result<(Summary, GcReport)> {
        gc_on(self, &self.io(seed), options)
    }

    /// Bytes of everything below `packs/` on all disks.
    fn stored(&self) -> u64 {
        let packs = self.fs.paths().into_iter().filter(|p| p.components().any(|c| c.as_os_str() == "packs"));
        packs.map(|p| self.fs.read(&p).map_or(0, |b| b.len() as u64)).sum()
    }

    /// Nothing is lost, nothing is wrong, no file is nobody's.
    fn prove(&self, what: &str) {
        let store = self.read();
        let options = CheckOptions { read_data: true, rebuild: false };
        let report = check::run(&store, &options, &Control::default()).unwrap();
        assert_eq!(report.lost, vec![], "{what}");
        assert_eq!(report.problems, vec![], "{what}");
    }
}

/// What of a plan is looked at afterwards.
#[derive(Debug)]
struct Summary {
    dead: u64,
    missing: u64,
    empty: bool,
}

fn gc_on(shelf: &Shelf, io: &Io, options: &GcOptions) -> onefold::Result<(Summary, GcReport)> {
    let store = shelf.open_on(io, Mode::Write { verb: "gc" })?;
    let plan: Plan = gc::plan(&store, options, "test", &Control::default())?;
    let summary = Summary { dead: plan.chunks_dead, missing: plan.missing, empty: plan.is_empty() };
    let report = gc::run(&store, plan, options, "test", &Control::default())?;
    Ok((summary, report))
}

fn compact_on(shelf: &Shelf, io: &Io, options: &CompactOptions) -> onefold::Result<CompactReport> {
    let store = shelf.open_on(io, Mode::Write { verb: "compact" })?;
    let plan = compact::plan(&store, options, "test", &Control::default())?;
    compact::run(&store, plan, options, "test", &Control::default())
}

/// Every file below `root` of a snapshot.
fn files(store: &Store, info: &snapshots::SnapshotInfo, root: &Path) -> Files {
    let mut out = Files::new();
    for step in Walk::new(store, &info.snapshot.tree, b"") {
        let (path, entry) = match step {
            Step::Entry(path, entry) => (path, entry),
            Step::Leave(_) => continue,
            Step::Unreadable(path, e) => panic!("{}: {e}", String::from_utf8_lossy(&path)),
        };
        let EntryKind::File { bytes, content } = entry.kind else { continue };
        let name = Path::new(std::str::from_utf8(&path).unwrap()).strip_prefix(root).unwrap().to_str().unwrap();
        let content = match content {
            Content::Inline(bytes) => bytes,
            Content::Recipe(recipe) => {
                let mut all = Vec::new();
                for piece in Pieces::new(store, &recipe, 0, bytes) {
                    let piece = piece.unwrap();
                    match piece.what {
                        What::Chunk { id, skip, .. } => {
                            let plain = store.chunk(ChunkKind::Data, &id).unwrap();
                            all.extend_from_slice(&plain[skip as usize..][..piece.bytes as usize]);
                        }
                        What::Mapped(segment) => {
                            let skip = (piece.at - segment.at) as usize;
                            all.extend_from_slice(&store.rebuilt(&segment).unwrap()[skip..][..piece.bytes as usize]);
                        }
                        What::Hole => all.resize(all.len() + piece.bytes as usize, 0),
                        What::Fill(value) => all.resize(all.len() + piece.bytes as usize, value),
                    }
                }
                all
            }
        };
        out.insert(name.to_owned(), content);
    }
    out
}

fn fill(source: &Path, files: &Files) {
    let _ = fs::remove_dir_all(source);
    fs::create_dir_all(source).unwrap();
    for (name, bytes) in files {
        let path = source.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
}

/// A short FLAC-free wave file: its samples are a mapped segment.
fn wave(rng: &mut Rng, samples: u64) -> Vec<u8> {
    let bytes = samples as u32 * 2;
    let mut out = Vec::new();
    out.extend_from_slice(b"RIFF");
    out.extend_from_slice(&(36 + bytes).to_le_bytes());
    out.extend_from_slice(b"WAVEfmt \x10\0\0\0\x01\0\x01\0\x44\xac\0\0\x88\x58\x01\0\x02\0\x10\0data");
    out.extend_from_slice(&bytes.to_le_bytes());
    let (mut at, step) = (0f64, 0.01 + rng.next(100) as f64 / 3000.0);
    for _ in 0..samples {
        at += step;
        let value = (at.sin() * 9000.0) as i16 + rng.next(64) as i16;
        out.extend_from_slice(&value.to_le_bytes());
    }
    out
}

struct World {
    shelf: Shelf,
    dir: tempfile::TempDir,
    files: Files,
    live: BTreeMap<SnapshotId, Files>,
    forgotten: BTreeMap<SnapshotId, Files>,
    runs: u64,
}

impl World {
    fn source(&self) -> PathBuf {
        self.dir.path().join("lib")
    }

    fn seed(&mut self, rng: &mut Rng) -> u64 {
        self.runs += 1;
        self.shelf.now_ns += 3_600_000_000_000;
        rng.0.wrapping_add(self.runs)
    }

    fn edit(&mut self, rng: &mut Rng) {
        for _ in 0..=rng.next(4) {
            let name = format!("{}/{}", ["a", "b", "c/d"][rng.next(3) as usize], rng.next(12));
            let old = self.files.get(&name).cloned();
            let new = match (rng.next(8), old) {
                (0, Some(_)) => {
                    self.files.remove(&name);
                    continue;
                }
                // a near-duplicate in its own place, or in another
                (1, Some(mut bytes)) => {
                    let at = rng.next(bytes.len() as u64 + 1) as usize;
                    bytes.splice(at..at, noise(rng.0, rng.next(2000) as usize));
                    bytes
                }
                (2, Some(mut bytes)) => {
                    let n = bytes.len().max(1);
                    for i in 0..20 {
                        let at = (rng.next(n as u64) as usize).min(bytes.len().saturating_sub(1));
                        if let Some(b) = bytes.get_mut(at) {
                            *b ^= 1 + i;
                        }
                    }
                    self.files.insert(format!("{name}-like"), bytes);
                    continue;
                }
                (3, _) => vec![rng.next(256) as u8; rng.next(1_000_000) as usize],
                (4, _) => noise(rng.0, rng.next(600) as usize),
                (5, _) => {
                    let samples = 1 + rng.next(100_000);
                    wave(rng, samples)
                }
                _ => noise(rng.0, rng.next(1_200_000) as usize),
            };
            self.files.insert(name, new);
        }
    }

    fn back_up(&mut self, rng: &mut Rng) {
        fill(&self.source(), &self.files);
        let seed = self.seed(rng);
        let id = self.shelf.back_up(&self.source(), seed);
        self.live.insert(id, self.files.clone());
    }

    fn forget(&mut self, id: SnapshotId, seed: u64) {
        let store = self.shelf.write("forget", seed);
        let list = snapshots::list(&store, &[]).into_iter().filter(|s| s.id == id).collect();
        let plan = forget::by_name(list).unwrap();
        forget::run(&store, &plan, "test", "test", &Control::default()).unwrap();
        let files = self.live.remove(&id).unwrap();
        self.forgotten.insert(id, files);
    }

    /// A gc, which the power may cut at any durable step.
    fn gc(&mut self, rng: &mut Rng) {
        let options = GcOptions {
            grace_ns: [0, 0, 5 * 3_600_000_000_000][rng.next(3) as usize],
            threshold_percent: [None, Some(95), Some(50), Some(100)][rng.next(4) as usize],
            max_bytes: (rng.next(4) == 0).then(|| 1 + rng.next(2_000_000)),
            full: rng.next(4) == 0,
            ..Default::default()
        };
        let seed = self.seed(rng);
        if rng.next(2) == 0 {
            self.shelf.gc(&options, seed).unwrap();
        } else {
            let op = [Op::Sync, Op::SyncDir, Op::Rename, Op::Remove, Op::Write, Op::Create][rng.next(6) as usize];
            let cut = FaultPlan::new().with(op, When::Nth(1 + rng.next(30)), Action::PowerCut);
            let faulty = Arc::new(FaultyFs::new(Arc::new(self.shelf.fs.clone()), cut));
            let outcome = gc_on(&self.shelf, &self.shelf.io_on(faulty.clone(), seed), &options);
            assert!(outcome.is_ok() || faulty.is_cut(), "{:?}", outcome.err());
            if faulty.is_cut() {
                let fs = &self.shelf.fs;
                self.shelf.fs = if rng.next(2) == 0 { fs.crash_strict() } else { fs.crash(rng.0) };
            }
        }
        self.notice_what_is_gone();
    }

    /// A compact of one kind or both, which the power may cut as well.
    fn compact(&mut self, rng: &mut Rng) {
        let disks = self.shelf.read().pool().disks().count();
        let options = CompactOptions {
            max_fragments: (rng.next(4) > 0).then(|| 1 + rng.next(3)),
            recompress: rng.next(3) == 0,
            resplit: None,
            protect_shared: (rng.next(3) == 0).then(|| if disks > 1 { rng.next(4) } else { 0 }),
            max_bytes: (rng.next(4) == 0).then(|| 1 + rng.next(2_000_000)),
            max_duration_ns: None,
        };
        let seed = self.seed(rng);
        if rng.next(2) == 0 {
            compact_on(&self.shelf, &self.shelf.io(seed), &options).unwrap();
            return;
        }
        let op = [Op::Sync, Op::SyncDir, Op::Rename, Op::Write, Op::Create][rng.next(5) as usize];
        let cut = FaultPlan::new().with(op, When::Nth(1 + rng.next(20)), Action::PowerCut);
        let faulty = Arc::new(FaultyFs::new(Arc::new(self.shelf.fs.clone()), cut));
        let outcome = compact_on(&self.shelf, &self.shelf.io_on(faulty.clone(), seed), &options);
        assert!(outcome.is_ok() || faulty.is_cut(), "{:?}", outcome.err());
        if faulty.is_cut() {
            let fs = &self.shelf.fs;
            self.shelf.fs = if rng.next(2) == 0 { fs.crash_strict() } else { fs.crash(rng.0) };
        }
    }

    /// What was given up is gone for good; what is still listed is whole.
    fn notice_what_is_gone(&mut self) {
        let listed: Vec<SnapshotId> = snapshots::forgotten(&self.shelf.read()).iter().map(|s| s.id).collect();
        self.forgotten.retain(|id, _| listed.contains(id));
        assert_eq!(self.forgotten.len(), listed.len());
    }

    /// Every snapshot, forgotten ones too, gives what it was given.
    fn prove(&self, what: &str) {
        let store = self.shelf.read();
        let live = snapshots::list(&store, &[]);
        let forgotten = snapshots::forgotten(&store);
        assert_eq!(live.len(), self.live.len(), "{what}");
        for info in live.iter().chain(&forgotten) {
            let want = self.live.get(&info.id).or_else(|| self.forgotten.get(&info.id));
            let Some(want) = want else { panic!("{what}: {} is there (forgotten: {:?})", info.id, info.forgotten) };
            let got = files(&store, info, &self.source());
            assert!(got == *want, "{what}: {}: {:?} / {:?}", info.id, got.keys(), want.keys());
        }
        // Counts that were followed along are those that a full mark finds.
        let differ = gc::audit(&store, &Control::default()).unwrap();
        assert!(differ.is_none_or(|n| n == 0), "{what}: {differ:?} counts differ");
        drop(store);
        self.shelf.prove(what);
    }
}

fn history(seed: u64) {
    let mut rng = Rng(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let shelf = Shelf::new([1, 2, 3, 5][rng.next(4) as usize]);
    let mut world = World {
        shelf,
        dir: tempfile::tempdir().unwrap(),
        files: Files::new(),
        live: BTreeMap::new(),
        forgotten: BTreeMap::new(),
        runs: 0,
    };
    world.edit(&mut rng);
    world.back_up(&mut rng);
    let mut old_index = world.shelf.index.snapshot();
    for step in 0..14 {
        let what = match rng.next(18) {
            0 => {
                world.shelf.index = Arc::default();
                "index lost"
            }
            1 => {
                old_index = world.shelf.index.snapshot();
                continue;
            }
            2 => {
                world.shelf.index = Arc::new(old_index.snapshot());
                "index of an earlier moment"
            }
            3 => {
                world.shelf.fs = world.shelf.fs.crash(rng.0);
                "power cut"
            }
            4..=6 if world.live.len() > 1 => {
                let nth = rng.next(world.live.len() as u64) as usize;
                let id = *world.live.keys().nth(nth).unwrap();
                let seed = world.seed(&mut rng);
                world.forget(id, seed);
                "forget"
            }
            7 if !world.forgotten.is_empty() => {
                let nth = rng.next(world.forgotten.len() as u64) as usize;
                let id = *world.forgotten.keys().nth(nth).unwrap();
                let seed = world.seed(&mut rng);
                let store = world.shelf.write("undelete", seed);
                tag::undelete(&store, &id.to_string(), "test", &Control::default()).unwrap();
                let files = world.forgotten.remove(&id).unwrap();
                world.live.insert(id, files);
                "undelete"
            }
            8..=11 => {
                world.gc(&mut rng);
                "gc"
            }
            16..=17 => {
                world.compact(&mut rng);
                "compact"
            }
            _ => {
                world.edit(&mut rng);
                world.back_up(&mut rng);
                "backup"
            }
        };
        world.prove(&format!("seed {seed}, step {step}, after {what}"));
    }
    // All but two go; after a bounded number of gcs nothing of them is left.
    while world.live.len() > 2 {
        let nth = rng.next(world.live.len() as u64) as usize;
        let id = *world.live.keys().nth(nth).unwrap();
        let seed = world.seed(&mut rng);
        world.forget(id, seed);
    }
    let options = GcOptions { grace_ns: 0, threshold_percent: Some(100), ..Default::default() };
    for _ in 0..2 {
        let seed = world.seed(&mut rng);
        world.shelf.gc(&options, seed).unwrap();
    }
    world.notice_what_is_gone(); // one that shares all its chunks may still be listed
    world.prove(&format!("seed {seed}, at the end"));
    let again = world.seed(&mut rng);
    let (summary, report) = world.shelf.gc(&options, again).unwrap();
    assert_eq!((summary.dead, summary.missing), (0, 0), "seed {seed}: {summary:?} {report:?}");
    assert!(summary.empty, "seed {seed}: {summary:?}");
    let full = world.seed(&mut rng);
    let (summary, _) = world.shelf.gc(&GcOptions { full: true, ..options }, full).unwrap();
    assert!(summary.empty && summary.dead == 0, "seed {seed}, by a full mark: {summary:?}");
    let fresh = Shelf::new(1);
    for info in snapshots::list(&world.shelf.read(), &[]) {
        fill(&world.source(), &world.live[&info.id]);
        fresh.back_up(&world.source(), 5);
    }
    let (stored, want) = (world.shelf.stored(), fresh.stored());
    println!("seed {seed}: {stored} bytes are stored, {want} in a fresh store");
    assert!(stored <= want + want / 10 + (64 << 10), "seed {seed}: {stored} bytes are stored, {want} in a fresh store");
}

#[test]
fn nothing_live_is_dropped_and_nothing_dead_stays() {
    let setting = |name: &str, default: u64| std::env::var(name).ok().and_then(|v| v.parse().ok()).unwrap_or(default);
    let (first, count) = (setting("ONEFOLD_RECLAIM_FIRST", 1), setting("ONEFOLD_RECLAIM_SEEDS", 12));
    for seed in first..first + count {
        println!("seed {seed}"); // shown when the test fails
        history(seed);
    }
}

#[test]
fn a_power_cut_at_any_durable_step_of_a_gc_leaves_every_live_snapshot_whole() {
    cuts(false, 2);
}

#[test]
fn a_power_cut_in_a_gc_that_follows_what_changed_leaves_every_live_snapshot_whole() {
    cuts(true, 2);
}

#[test]
fn a_power_cut_in_a_gc_of_groups_leaves_every_live_snapshot_whole() {
    cuts(true, 4);
}

/// With `counted`, counts are there when the gc begins that is cut.
fn cuts(counted: bool, disks: u64) {
    let dir = tempfile::tempdir().unwrap();
    let source = dir.path().join("lib");
    let mut shelf = Shelf::new(disks);
    let mut files = Files::new();
    let (mut kept, mut given) = (Vec::new(), Vec::new());
    for generation in 0..3 {
        // what stays and what goes lie in the same packs
        for i in 0..30 {
            files.insert(format!("{i:02} stays"), noise(i, 40_000));
            files.insert(format!("{i:02} goes"), noise(100 * (generation + 1) + i, 40_000));
        }
        if generation == 1 {
            files.retain(|name, _| name.ends_with("stays"));
        }
        fill(&source, &files);
        shelf.now_ns += 3_600_000_000_000;
        let id = shelf.back_up(&source, generation);
        if generation == 1 { kept.push((id, files.clone())) } else { given.push((id, files.clone())) }
    }
    let options = GcOptions { grace_ns: 0, threshold_percent: Some(100), ..Default::default() };
    if counted {
        shelf.gc(&options, 6).unwrap();
    }
    let store = shelf.write("forget", 7);
    let list = snapshots::list(&store, &[]).into_iter().filter(|s| given.iter().any(|g| g.0 == s.id)).collect();
    forget::run(&store, &forget::by_name(list).unwrap(), "t", "t", &Control::default()).unwrap();
    drop(store);
    let (before, index) = (shelf.fs.snapshot(), shelf.index.snapshot());
    let counting = Arc::new(FaultyFs::new(Arc::new(before.snapshot()), FaultPlan::new()));
    shelf.index = Arc::new(index.snapshot());
    let (_, report) = gc_on(&shelf, &shelf.io_on(counting.clone(), 9), &options).unwrap();
    assert!(report.packs_dropped > 0 && report.packs_rewritten > 0, "{report:?}");
    let mut cuts = 0;
    for op in [Op::Sync, Op::SyncDir, Op::Rename, Op::Remove, Op::Create, Op::Write] {
        let total = counting.counts().of(op);
        assert!(total > 1, "{op:?} happens {total} times");
        for nth in (1..=total).step_by((total / 40).max(1) as usize) {
            let disk = before.snapshot();
            let plan = FaultPlan::new().with(op, When::Nth(nth), Action::PowerCut);
            let faulty = Arc::new(FaultyFs::new(Arc::new(disk.clone()), plan));
            shelf.fs = disk.clone();
            shelf.index = Arc::new(index.snapshot());
            let _ = gc_on(&shelf, &shelf.io_on(faulty.clone(), 9), &options);
            if !faulty.is_cut() {
                continue; // threads share the work in another order each time: this step was not reached
            }
            cuts += 1;
            for seed in 0..2 {
                let what = format!("{op:?} {nth} seed {seed}");
                shelf.fs = if seed == 0 { disk.crash_strict() } else { disk.crash(nth) };
                if seed == 1 {
                    shelf.index = Arc::default();
                }
                let whole = |shelf: &Shelf, what: &str| {
                    let store = shelf.read();
                    let list = snapshots::list(&store, &[]);
                    assert_eq!(list.len(), 1, "{what}");
                    assert!(self::files(&store, &list[0], &source) == kept[0].1, "{what}");
                    // either it can be brought back whole, or it is not there
                    for info in snapshots::forgotten(&store) {
                        let want = given.iter().find(|g| g.0 == info.id);
                        let got = self::files(&store, &info, &source);
                        assert!(want.is_some_and(|(_, files)| *files == got), "{what}: a forgotten one");
                    }
                    drop(store);
                    shelf.prove(what);
                };
                whole(&shelf, &what);
                // the next one ends what this one began, and nothing is left
                shelf.gc(&options, 11).unwrap_or_else(|e| panic!("{what}: the next gc: {e}"));
                let (summary, _) = shelf.gc(&options, 12).unwrap();
                assert_eq!((summary.dead, summary.missing), (0, 0), "{what}: {summary:?}");
                whole(&shelf, &format!("{what}, then two gcs"));
                let live = shelf.read().with_state(|s| s.packs().map(|p| p.sealed.bytes).sum::<u64>());
                assert_eq!(shelf.stored(), live, "{what}: a file is left that is no pack");
                let known = shelf.read().with_state(|s| s.groups().map(|g| g.parity_disks.len()).sum::<usize>());
                let left = shelf.fs.paths().into_iter().filter(|p| p.extension().is_some_and(|e| e == "parity"));
                assert_eq!(left.count(), known, "{what}: parity is left that no group has");
            }
        }
    }
    println!("{cuts} cuts");
    assert!(cuts > 40, "only {cuts} cuts were made");
}
