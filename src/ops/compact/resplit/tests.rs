//! Splitting anew in memory.

use super::super::tests::{is_sound, stored};
use super::super::{CompactOptions, CompactReport, Plan, plan, run};
use super::Split;
use crate::chunk::{Coding, Technique};
use crate::error::{Error, Result};
use crate::format::entry::Content;
use crate::format::event::Event;
use crate::format::snapshot::Snapshot;
use crate::format::{Keys, SnapshotId, StoreId};
use crate::io::Io;
use crate::io::faulty::{Action, FaultPlan, Op, When};
use crate::io::memory::MemFs;
use crate::media::testing::{flac_file, id3v2, mp3_frames};
use crate::media::{FLAC, MP3, OPAQUE};
use crate::ops::backup::{self, BackupOptions, Source};
use crate::ops::gc::{self, GcOptions};
use crate::ops::testing::{DAY_NS, HOME, Shelf, disk_path, noise};
use crate::ops::{Control, Notice, copy, forget, recover, snapshots, tag};
use crate::store::{IndexKind, MEMORY_MIN, Mode};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};

pub(super) const OLDER: CompactOptions = CompactOptions {
    max_fragments: None,
    recompress: false,
    resplit: Some(Split::Older),
    protect_shared: None,
    max_bytes: None,
    max_duration_ns: None,
};

fn back_up_with(shelf: &Shelf, folder: &Path, coding: Coding) {
    let source = Source::Paths(vec![folder.to_owned()]);
    let options =
        BackupOptions { coding, host: Some("host".into()), user: "u".into(), ..BackupOptions::of(source, "old") };
    backup::run(&shelf.write(), options, &Control::default()).unwrap();
}

/// As a program without splitters would.
pub(super) fn back_up_opaque(shelf: &Shelf, folder: &Path) {
    back_up_with(shelf, folder, Coding::default().without(Technique::Splitters));
}

pub(super) fn try_resplit(shelf: &Shelf, options: &CompactOptions) -> Result<CompactReport> {
    let store = shelf.open(Mode::Write { verb: "compact" })?.store;
    let control = Control::default();
    run(&store, plan(&store, options, "new", &control)?, options, "new", &control)
}

fn resplit(shelf: &Shelf) -> CompactReport {
    try_resplit(shelf, &OLDER).unwrap()
}

fn shown(shelf: &Shelf, options: &CompactOptions) -> Plan {
    plan(&shelf.read(), options, "new", &Control::default()).unwrap()
}

pub(super) fn gc(shelf: &Shelf, grace_ns: i64, full: bool) {
    let store = shelf.open(Mode::Write { verb: "gc" }).unwrap().store;
    let options = GcOptions { full, threshold_percent: Some(100), grace_ns, trust_clock: true, ..GcOptions::default() };
    let control = Control::default();
    gc::run(&store, gc::plan(&store, &options, "test", &control).unwrap(), &options, "test", &control).unwrap();
}

/// A snapshot without its tree and program, and the bytes of its files with their times.
pub(super) type Facts = (Snapshot, bool, Vec<(Vec<u8>, Vec<u8>)>);

/// All that a user knows of the live snapshots, in order.
pub(super) fn held(shelf: &Shelf) -> Vec<Facts> {
    let store = shelf.read();
    let mut out = Vec::new();
    for info in snapshots::list(&store, &[]) {
        let mut files = Vec::new();
        crate::ops::share::walk::each(&store, std::slice::from_ref(&info), &Control::default(), &mut |met| {
            let mut bytes = Vec::new();
            crate::ops::cat::run(&store, met.snapshot, met.path, None, &mut bytes, &Control::default())?;
            files.push((met.path.to_vec(), bytes));
            Ok(())
        })
        .unwrap();
        let snapshot =
            Snapshot { tree: crate::format::node::MapRoot::empty(), program: String::new(), ..info.snapshot };
        out.push((snapshot, info.pinned, files));
    }
    out
}

fn ids(shelf: &Shelf) -> Vec<SnapshotId> {
    snapshots::list(&shelf.read(), &[]).iter().map(|s| s.id).collect()
}

/// How many files of all live snapshots each splitter took.
fn splitters(shelf: &Shelf) -> BTreeMap<u16, u64> {
    let store = shelf.read();
    let mut out = BTreeMap::new();
    for info in snapshots::list(&store, &[]) {
        crate::ops::share::walk::each(&store, std::slice::from_ref(&info), &Control::default(), &mut |met| {
            if let Content::Recipe(recipe) = met.content {
                *out.entry(recipe.splitter.0).or_default() += 1;
            }
            Ok(())
        })
        .unwrap();
    }
    out
}

/// The shelf as it is now, on disks of its own.
fn twin(shelf: &Shelf) -> Shelf {
    let (twin, _) = shelf.with_faults(FaultPlan::new());
    Shelf { index: Arc::new(shelf.index.snapshot()), ..twin }
}

/// Frames of noise, behind a tag.
pub(super) fn mp3(seed: u64, sound: usize, tag: Option<usize>) -> Vec<u8> {
    let mut frames = mp3_frames(sound);
    let body = noise(seed, frames.len());
    frames.chunks_mut(417).zip(body.chunks(417)).for_each(|(f, b)| f[4..].copy_from_slice(&b[4..])); // 128 kbit/s
    let mut file = tag.map_or_else(Vec::new, |n| id3v2(3, n));
    file.extend(frames);
    file
}

pub(super) fn flac(seed: u64, sound: usize) -> Vec<u8> {
    let mut file = flac_file(sound, &[(4, 300)], false);
    let from = file.len() - sound + 2;
    file[from..].copy_from_slice(&noise(seed, sound - 2));
    file
}

/// A library that was stored without splitters, twice, and changed in between.
fn library(folder: &Path, shelf: &Shelf) {
    shelf.world.advance(10 * 365 * DAY_NS); // what was made just now is old
    let (flac, two) = (flac(11, 90_000), mp3(12, 60_000, Some(400)));
    shelf.library(
        folder,
        &[
            ("album/one.flac", &flac),
            ("album/copy.flac", &flac),
            ("album/two.mp3", &two),
            ("other/noise", &noise(1, 50_000)),
            ("other/deep/er/three.mp3", &mp3(13, 30_000, Some(9))),
            ("other/small", b"small"),
        ],
    );
    let sparse = std::fs::File::create(folder.join("other/sparse.flac")).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&sparse, &flac[..40_000], 0).unwrap();
    sparse.set_len(400_000).unwrap();
    std::fs::hard_link(folder.join("album/two.mp3"), folder.join("other/linked.mp3")).unwrap();
    std::os::unix::fs::symlink("one.flac", folder.join("album/link")).unwrap();
    back_up_opaque(shelf, folder);
    shelf.world.advance(1_000_000_000);
    shelf.library(folder, &[("album/new.mp3", &mp3(14, 44_000, Some(30))), ("other/more", &noise(2, 9_000))]);
    back_up_opaque(shelf, folder);
    shelf.world.advance(1_000_000_000);
}

#[test]
fn files_are_split_anew_in_all_snapshots_and_nothing_else_changes() {
    let shelf = Shelf::new(2);
    let folder = tempfile::tempdir().unwrap();
    library(folder.path(), &shelf);
    let list = snapshots::list(&shelf.read(), &[]);
    tag::pin(&shelf.write(), &list[..1], true, &Control::default()).unwrap();
    tag::rename(&shelf.write(), &list[1], Some("named".into()), &Control::default()).unwrap();
    let (before, old) = (held(&shelf), ids(&shelf));
    assert_eq!(splitters(&shelf).keys().copied().collect::<Vec<_>>(), [OPAQUE.number]);
    let p = shown(&shelf, &OLDER).resplit.unwrap();
    assert_eq!(p.files, 4, "one.flac, two.mp3, three.mp3, new.mp3: each content once");
    assert_eq!(p.by_splitter.keys().copied().collect::<Vec<_>>(), [FLAC.number, MP3.number]);
    assert_eq!(ids(&shelf), old, "a plan changes nothing");
    let report = resplit(&shelf);
    assert_eq!((report.files_resplit, report.resplit_kept, report.snapshots_resplit), (4, 0, 2), "{report:?}");
    assert_eq!(report.resplit_bytes, p.bytes);
    assert_eq!(held(&shelf), before);
    assert_eq!(splitters(&shelf), BTreeMap::from([(OPAQUE.number, 5), (FLAC.number, 4), (MP3.number, 7)]));
    let new = ids(&shelf);
    assert!(new.iter().all(|id| !old.contains(id)));
    // An old id in a script finds what it was.
    for (old, new) in old.iter().zip(&new) {
        for name in [old.to_string(), old.short(), new.short()] {
            assert_eq!(snapshots::resolve(&shelf.read(), &name).unwrap().id, *new);
        }
    }
    assert_eq!(snapshots::resolve(&shelf.read(), "named").unwrap().id, new[1]);
    is_sound(&shelf);
    // The second run finds nothing, and looks at no file.
    let p = shown(&shelf, &OLDER).resplit.unwrap();
    assert_eq!((p.files, p.looked_at), (0, 0));
    assert_eq!(resplit(&shelf), CompactReport::default());
    // Within the grace what was is kept, for readers that began before; then it goes.
    gc(&shelf, 7 * DAY_NS, false);
    assert_eq!(snapshots::forgotten(&shelf.read()).len(), 2);
    let with_old = stored(&shelf);
    gc(&shelf, 0, false);
    assert_eq!(snapshots::forgotten(&shelf.read()).len(), 0);
    assert!(stored(&shelf) + 30_000 < with_old, "{} of {with_old}", stored(&shelf));
    gc(&shelf, 0, true);
    assert_eq!(held(&shelf), before);
    assert_eq!(
        snapshots::resolve(&shelf.read(), &old[0].short()).unwrap().id,
        new[0],
        "the old one is gone, its id stays"
    );
    is_sound(&shelf);
}

#[test]
fn the_next_backup_takes_the_new_recipes_over() {
    let shelf = Shelf::new(1);
    let folder = tempfile::tempdir().unwrap();
    library(folder.path(), &shelf);
    resplit(&shelf);
    let before = splitters(&shelf);
    let report = shelf.try_back_up(Source::Paths(vec![folder.path().to_owned()])).unwrap();
    assert_eq!((report.counts.files_new, report.counts.files_changed, report.counts.data_added), (0, 0, 0));
    let after = splitters(&shelf);
    assert_eq!(after[&FLAC.number], before[&FLAC.number] + 2);
    // The same down to the bytes, also as what a program of today stores from scratch. Folders above it change by themselves.
    let below = |shelf: &Shelf, nth: usize| {
        let (store, path) = (shelf.read(), folder.path().to_str().unwrap().as_bytes().to_vec());
        let tree = snapshots::list(&store, &[])[nth].snapshot.tree.clone();
        match crate::catalog::tree::lookup(&store, &tree, &path).unwrap() {
            Some(crate::catalog::tree::Found::Entry(entry)) => entry.encode(),
            other => panic!("{other:?}"),
        }
    };
    assert!(below(&shelf, 1) == below(&shelf, 2));
    let fresh = Shelf::new(1);
    fresh.back_up(folder.path());
    assert!(below(&fresh, 0) == below(&shelf, 2));
}

#[test]
fn forgotten_ones_stay_as_they_were_and_come_back_so() {
    let shelf = Shelf::new(1);
    let folder = tempfile::tempdir().unwrap();
    library(folder.path(), &shelf);
    let (before, old) = (held(&shelf), ids(&shelf));
    let forget = |id: SnapshotId| {
        let store = shelf.write();
        let list = snapshots::list(&store, &[]).into_iter().filter(|s| s.id == id).collect();
        forget::run(&store, &forget::by_name(list).unwrap(), "t", "t", &Control::default()).unwrap();
    };
    forget(old[0]);
    let report = resplit(&shelf);
    assert_eq!(report.snapshots_resplit, 1);
    let control = Control::default();
    let back = tag::undelete(&shelf.write(), &old[0].short(), "t", &control).unwrap();
    assert_eq!((back.id, ids(&shelf)[0]), (old[0], old[0]));
    assert_eq!(held(&shelf), before);
    assert_eq!(splitters(&shelf)[&OPAQUE.number], 7 + 3, "the old one has its old recipes");
    is_sound(&shelf);
    // It is live again, so the next run takes it.
    assert_eq!(resplit(&shelf).snapshots_resplit, 1);
    assert_eq!(held(&shelf), before);
    // One whose place another has does not come back, its successor does.
    let e = tag::undelete(&shelf.write(), &old[1].short(), "t", &control).unwrap_err();
    assert!(matches!(e, Error::NoForgotten { .. }), "{e}");
    let new = ids(&shelf)[1];
    forget(new);
    assert!(matches!(snapshots::resolve(&shelf.read(), &old[1].short()), Err(Error::NoSnapshot { .. })));
    assert_eq!(tag::undelete(&shelf.write(), &old[1].short(), "t", &control).unwrap().id, new);
    assert_eq!(held(&shelf), before);
    // And when it is given up, its old ids are, too.
    forget(new);
    gc(&shelf, 0, true);
    assert_eq!(shelf.read().with_state(|s| s.aliases().count()), 1);
    assert_eq!(held(&shelf), before[..1]);
    is_sound(&shelf);
}

#[test]
fn limits_end_it_between_files_and_the_next_run_goes_on() {
    let shelf = Shelf::new(1);
    let folder = tempfile::tempdir().unwrap();
    library(folder.path(), &shelf);
    let before = held(&shelf);
    let one = CompactOptions { max_bytes: Some(1), ..OLDER };
    let mut runs = 0;
    loop {
        let report = try_resplit(&shelf, &one).unwrap();
        assert_eq!(held(&shelf), before);
        is_sound(&shelf);
        if report.files_resplit == 0 {
            break;
        }
        assert_eq!(report.files_resplit, 1);
        runs += 1;
        assert_eq!(report.stopped_at_limit, runs < 4, "{runs}");
    }
    assert_eq!(runs, 4);
    gc(&shelf, 0, false);
    assert_eq!(held(&shelf), before);
    assert_eq!(
        shelf.read().with_state(|s| s.aliases().map(|(_, new)| *new).collect::<std::collections::BTreeSet<_>>()),
        ids(&shelf).into_iter().collect(),
        "every id that a snapshot ever had leads to what it is"
    );
    is_sound(&shelf);
}

#[test]
fn a_limit_does_not_keep_all_from_its_end() {
    let shelf = Shelf::new(1);
    let folder = tempfile::tempdir().unwrap();
    library(folder.path(), &shelf);
    resplit(&shelf);
    // All come out as they are: only what is remembered tells one run from the next.
    let all = CompactOptions { resplit: Some(Split::All), max_bytes: Some(1), ..OLDER };
    let (mut runs, mut same) = (0, 0);
    loop {
        let report = try_resplit(&shelf, &all).unwrap();
        assert_eq!(report.files_resplit, 0, "{report:?}");
        same += report.resplit_same;
        if !report.stopped_at_limit {
            break;
        }
        runs += 1;
        assert!(runs < 20, "it never ends");
    }
    assert!(runs > 2 && same > 3, "{runs} runs, {same} files");
    assert_eq!(try_resplit(&shelf, &all).unwrap(), CompactReport::default());
}

#[test]
fn what_no_splitter_takes_is_looked_at_once() {
    let shelf = Shelf::new(1);
    shelf.stream("a", &noise(1, 90_000));
    shelf.stream("b", &noise(2, 90_000));
    let looked_at = || plan(&shelf.read(), &OLDER, "test", &Control::default()).unwrap().resplit.unwrap().looked_at;
    assert_eq!(looked_at(), 2);
    assert_eq!(try_resplit(&shelf, &OLDER).unwrap(), CompactReport::default());
    assert_eq!(looked_at(), 0);
}

#[test]
fn a_store_is_recovered_from_its_disks_alone_and_reads_the_same() {
    let mut shelf = Shelf::new(2);
    let folder = tempfile::tempdir().unwrap();
    library(folder.path(), &shelf);
    let (before, old) = (held(&shelf), ids(&shelf));
    resplit(&shelf);
    gc(&shelf, 0, true);
    let new = ids(&shelf);
    shelf.forget_index();
    assert_eq!((held(&shelf), ids(&shelf)), (before.clone(), new.clone()));
    shelf.forget_index();
    for path in shelf.fs.paths().into_iter().filter(|p| p.starts_with(HOME)) {
        let _ = shelf.fs.remove(&path);
    }
    let options = recover::RecoverOptions {
        store: HOME.into(),
        disks: vec![disk_path(0), disk_path(1)],
        memory_bytes: MEMORY_MIN,
    };
    recover::run_with(&shelf.io, &options, IndexKind::Memory(Arc::clone(&shelf.index)), &Control::default()).unwrap();
    assert_eq!((held(&shelf), ids(&shelf)), (before, new.clone()));
    assert_eq!(snapshots::resolve(&shelf.read(), &old[1].short()).unwrap().id, new[1]);
    // The list of what was looked at is lost: it is looked at again, nothing is to be done.
    assert_eq!(shown(&shelf, &OLDER).resplit.unwrap().files, 0);
    is_sound(&shelf);
}

fn copied(from: &Shelf, to: &Shelf) -> copy::CopyReport {
    let source = from.read();
    copy::run(&to.write(), &source, &snapshots::list(&source, &[]), "test", &Control::default()).unwrap()
}

#[test]
fn a_copy_knows_a_snapshot_again_whichever_side_split_it_anew() {
    for secret in [3, 4] {
        let disks = [(crate::format::DiskId([99; 16]), "/other0".into())];
        let other = || Shelf::with_keys(MemFs::new(), StoreId([2; 16]), HOME, &disks, Keys::new([secret; 32], 5));
        let (from, to, late) = (Shelf::new(1), other(), other());
        let folder = tempfile::tempdir().unwrap();
        library(folder.path(), &from);
        let before = held(&from);
        copied(&from, &to);
        resplit(&from);
        assert_eq!(copied(&from, &to).there, 2, "keys {secret}");
        resplit(&to);
        assert_eq!(copied(&from, &to).there, 2, "keys {secret}");
        assert_eq!(copied(&from, &late).copied.len(), 2);
        for shelf in [&to, &late] {
            let files = |h: Vec<Facts>| h.into_iter().map(|(_, _, files)| files).collect::<Vec<_>>();
            assert_eq!(files(held(shelf)), files(before.clone()));
            is_sound(shelf);
        }
    }
}

#[test]
fn a_power_cut_at_any_durable_step_leaves_the_old_or_the_new() {
    let shelf = Shelf::new(2);
    let folder = tempfile::tempdir().unwrap();
    library(folder.path(), &shelf);
    gc(&shelf, 0, true);
    let before = held(&shelf);
    let done = twin(&shelf);
    resplit(&done);
    let (old, new) = (ids(&shelf), ids(&done));
    let (mut cuts, mut were_new) = (0, 0);
    for op in [Op::Sync, Op::SyncDir, Op::Rename, Op::Create, Op::Write] {
        for nth in (1..).step_by(if op == Op::Rename { 1 } else { 3 }) {
            let (hurt, faulty) = shelf.with_faults(FaultPlan::new().with(op, When::Nth(nth), Action::PowerCut));
            let hurt = Shelf { index: Arc::new(shelf.index.snapshot()), ..hurt };
            let outcome = try_resplit(&hurt, &OLDER);
            if !faulty.is_cut() {
                outcome.unwrap();
                break;
            }
            cuts += 1;
            let fs = hurt.fs.crash_strict();
            let after = Shelf {
                io: Io { fs: Arc::new(fs.clone()), world: Arc::clone(&hurt.io.world) },
                fs,
                // lost with the power, or not
                index: if nth % 2 == 0 { Arc::default() } else { Arc::clone(&hurt.index) },
                world: Arc::clone(&hurt.world),
                keys: hurt.keys.clone(),
                memory_bytes: hurt.memory_bytes,
            };
            assert_eq!(held(&after), before, "{op:?} {nth}");
            let now = ids(&after);
            assert!(now == old || now == new, "{op:?} {nth}: a snapshot of a half");
            were_new += u64::from(now == new);
            after.world.advance(DAY_NS);
            let report = try_resplit(&after, &OLDER).unwrap();
            assert_eq!(report.files_resplit, if now == old { 4 } else { 0 }, "{op:?} {nth}");
            assert_eq!(ids(&after), new, "it comes out the same");
            // A dead writer's packs stay for one gc, as a backup's do.
            gc(&after, 0, true);
            gc(&after, 0, true);
            assert_eq!(held(&after), before, "{op:?} {nth}, ended");
            assert!(after.read().with_state(|s| s.writers.is_empty()));
            is_sound(&after);
        }
    }
    assert!(cuts > 20 && were_new > 0, "{cuts} cuts, {were_new} behind the entry");
}

#[test]
fn a_flipped_bit_in_any_read_keeps_the_old_recipe_or_harms_nothing() {
    let shelf = Shelf::new(1);
    let folder = tempfile::tempdir().unwrap();
    library(folder.path(), &shelf);
    let before = held(&shelf);
    let (mut kept, mut told) = (0, 0);
    for nth in 1.. {
        let plan = FaultPlan::new().with_path(Op::Read, When::Nth(nth), "packs/", Action::FlipBit(nth * 7919));
        let (hurt, faulty) = shelf.with_faults(plan);
        let hurt = Shelf { index: Arc::new(shelf.index.snapshot()), ..hurt };
        let notes = Arc::new(Mutex::new(Vec::new()));
        let sink = Arc::clone(&notes);
        let control = Control::with_sink(move |n| {
            if let Notice::Note(note) = n {
                sink.lock().unwrap().push(note);
            }
        });
        let store = hurt.open(Mode::Write { verb: "compact" }).unwrap().store;
        let made = plan_of(&store, &control);
        let report = made.and_then(|p| run(&store, p, &OLDER, "new", &control));
        drop(store);
        if let Ok(report) = &report {
            kept += report.resplit_kept;
            told += notes.lock().unwrap().iter().filter(|n| n.contains("stays as it is")).count();
            assert_eq!(report.resplit_kept > 0, report.has_losses() && report.resplit_kept > 0);
        }
        let sound = twin(&hurt);
        assert_eq!(held(&sound), before, "read {nth}: {report:?}");
        is_sound(&sound);
        if faulty.counts().of(Op::Read) < nth {
            break;
        }
    }
    assert!(kept > 0 && told > 0, "no flip met the proof");
}

fn plan_of(store: &crate::store::Store, control: &Control) -> Result<Plan> {
    plan(store, &OLDER, "new", control)
}

#[test]
fn damage_in_an_old_chunk_keeps_the_file_and_is_told_each_time() {
    let shelf = Shelf::new(1);
    let folder = tempfile::tempdir().unwrap();
    library(folder.path(), &shelf);
    let store = shelf.read();
    let info = shelf.latest(&store);
    let mut flac = None;
    crate::ops::share::walk::each(&store, &[info], &Control::default(), &mut |met| {
        if met.path.ends_with(b"one.flac") {
            flac = met.recipe().map(|r| r.streams[1].references.last().unwrap().id);
        }
        Ok(())
    })
    .unwrap();
    drop(store);
    shelf.spoil(crate::format::ChunkKind::Data, &flac.unwrap());
    for _ in 0..2 {
        let report = resplit(&shelf);
        assert_eq!(report.resplit_kept, 1, "{report:?}");
        assert!(report.has_losses());
    }
    assert_eq!(splitters(&shelf).get(&FLAC.number), None);
    assert_eq!(splitters(&shelf)[&MP3.number], 7, "the others are split");
}

#[test]
fn all_takes_what_a_splitter_took_and_ends() {
    let shelf = Shelf::new(1);
    let folder = tempfile::tempdir().unwrap();
    library(folder.path(), &shelf);
    shelf.back_up(folder.path());
    let all = CompactOptions { resplit: Some(Split::All), ..OLDER };
    let before = held(&shelf);
    let report = try_resplit(&shelf, &all).unwrap();
    assert!(report.files_resplit > 0, "{report:?}");
    assert_eq!(held(&shelf), before);
    let report = try_resplit(&shelf, &all).unwrap();
    assert_eq!((report.files_resplit, report.resplit_kept), (0, 0), "{report:?}");
    assert_eq!(shown(&shelf, &all).resplit.unwrap().files, 0);
    is_sound(&shelf);
}

#[test]
fn many_rounds_come_to_the_same() {
    let shelf = Shelf::new(1);
    let folder = tempfile::tempdir().unwrap();
    for i in 0..30 {
        let name = format!("{}/{i}.mp3", i % 4);
        shelf.library(folder.path(), &[(&name, &mp3(i, 3_000 + 100 * i as usize, Some(10 + i as usize)))]);
        if i % 10 == 9 {
            back_up_opaque(&shelf, folder.path());
            shelf.world.advance(1_000_000_000);
        }
    }
    let (before, whole) = (held(&shelf), twin(&shelf));
    assert_eq!(resplit(&whole).files_resplit, 30);
    let some = CompactOptions { max_bytes: Some(20_000), ..OLDER };
    while try_resplit(&shelf, &some).unwrap().files_resplit > 0 {}
    assert_eq!((held(&shelf), held(&whole)), (before.clone(), before));
    let trees = |s: &Shelf| snapshots::list(&s.read(), &[]).into_iter().map(|s| s.snapshot.tree).collect::<Vec<_>>();
    assert_eq!(trees(&shelf), trees(&whole));
}

#[test]
fn a_log_that_says_what_cannot_be_is_refused() {
    let shelf = Shelf::new(1);
    let folder = tempfile::tempdir().unwrap();
    library(folder.path(), &shelf);
    let store = shelf.write();
    let (ids, records): (Vec<_>, Vec<_>) =
        store.with_state(|s| s.live_snapshots().into_iter().map(|(id, s)| (id, s.record.clone())).unzip());
    let tree = crate::format::node::MapRoot::empty();
    let good = Snapshot::with_tree(&records[0], &tree, "p").unwrap();
    let mut other = Snapshot::decode(&good).unwrap();
    other.host.push('x');
    let resplit = |old: SnapshotId, record: &[u8]| Event::SnapshotResplit { old, record: record.to_vec() };
    drop(store);
    let bad = [
        resplit(ids[0], &other.encode()),
        resplit(ids[1], &good),
        resplit(SnapshotId([7; 32]), &good),
        resplit(ids[0], &records[0]),
        resplit(ids[0], &records[1]),
        Event::SnapshotWas { old: ids[0], new: ids[1] },
        Event::SnapshotWas { old: SnapshotId([7; 32]), new: SnapshotId([8; 32]) },
    ];
    for event in bad {
        let e = shelf.write().append(|_| vec![event.clone()]).unwrap_err();
        assert!(matches!(e, Error::Malformed { .. }), "{event:?}: {e}");
    }
    assert_eq!(shelf.read().with_state(|s| s.features), (0, 0), "nothing of it was written");
    let store = shelf.write();
    store.append(|_| vec![resplit(ids[0], &good)]).unwrap();
    assert_eq!(store.with_state(|s| s.features), (1, 0));
    drop(store);
    for event in [
        Event::SnapshotUndeleted { id: ids[0], who: String::new() },
        Event::SnapshotAdded { record: records[0].clone() },
        resplit(ids[0], &good),
    ] {
        assert!(shelf.write().append(|_| vec![event.clone()]).is_err(), "{event:?}");
    }
    assert_eq!(shelf.read().with_state(|s| s.features), (1, 0), "once set, in every later entry");
}

#[test]
fn a_folder_that_cannot_be_read_stays_and_all_else_is_split() {
    let shelf = Shelf::new(1);
    let folder = tempfile::tempdir().unwrap();
    for i in 0..120 {
        shelf.library(folder.path(), &[(&format!("big/{i}"), &noise(i, 90))]);
    }
    library(folder.path(), &shelf); // of which two snapshots are made
    shelf.library(folder.path(), &[("big/0", b"other"), ("album/last.mp3", &mp3(77, 9_000, Some(8)))]);
    back_up_opaque(&shelf, folder.path());
    let old = ids(&shelf);
    let store = shelf.read();
    let at = folder.path().join("big");
    let node = |nth: usize| {
        let tree = snapshots::list(&store, &[])[nth].snapshot.tree.clone();
        match crate::catalog::tree::lookup(&store, &tree, at.to_str().unwrap().as_bytes()).unwrap() {
            Some(crate::catalog::tree::Found::Entry(entry)) => match entry.kind {
                crate::format::entry::EntryKind::Dir(crate::format::node::MapRoot::Node { id, .. }) => id,
                other => panic!("{other:?}"),
            },
            other => panic!("{other:?}"),
        }
    };
    let (bad, good) = (node(0), node(2));
    assert_ne!(bad, good);
    drop(store);
    let before = held(&shelf);
    shelf.spoil(crate::format::ChunkKind::Tree, &bad);
    for nth in 0..2 {
        let report = resplit(&shelf);
        assert!(report.snapshots_kept == 0 && report.resplit_unreadable == 1 && report.has_losses(), "{report:?}");
        assert_eq!(report.snapshots_resplit, if nth == 0 { 3 } else { 0 }, "{report:?}");
        assert_eq!(ids(&shelf).iter().filter(|id| old.contains(id)).count(), 0);
    }
    shelf.spoil(crate::format::ChunkKind::Tree, &bad); // the bit is as it was
    assert_eq!(held(&shelf), before);
    is_sound(&shelf);
}
