//! Compacting stores in memory.

use super::*;
use crate::format::ChunkId;
use crate::format::SnapshotId;
use crate::format::record::Codec;
use crate::io::Fs;
use crate::io::faulty::{Action, FaultPlan, Op, When};
use crate::ops::check::{self, CheckOptions};
use crate::ops::gc::GcOptions;
use crate::ops::snapshots;
use crate::ops::testing::{DAY_NS, Shelf, noise};
use crate::store::Mode;
use std::collections::BTreeMap;
use std::sync::Arc;

pub(super) const GATHER: CompactOptions = CompactOptions {
    max_fragments: Some(2),
    recompress: false,
    resplit: None,
    protect_shared: None,
    max_bytes: None,
    max_duration_ns: None,
};
const RECOMPRESS: CompactOptions = CompactOptions { max_fragments: None, recompress: true, ..GATHER };

fn try_compact(shelf: &Shelf, options: &CompactOptions) -> Result<(Plan, CompactReport)> {
    let store = shelf.open(Mode::Write { verb: "compact" })?.store;
    let control = Control::default();
    let shown = plan(&store, options, "test", &control)?;
    let report = run(&store, plan(&store, options, "test", &control)?, options, "test", &control)?;
    Ok((shown, report))
}

pub(super) fn compact(shelf: &Shelf, options: &CompactOptions) -> (Plan, CompactReport) {
    try_compact(shelf, options).unwrap()
}

fn gc(shelf: &Shelf, full: bool) -> gc::GcReport {
    gc_at(shelf, 90, full)
}

pub(super) fn gc_at(shelf: &Shelf, percent: u8, full: bool) -> gc::GcReport {
    let store = shelf.open(Mode::Write { verb: "gc" }).unwrap().store;
    let threshold_percent = Some(percent);
    let (options, control) = (GcOptions { full, threshold_percent, ..GcOptions::default() }, Control::default());
    let options = GcOptions { grace_ns: 0, trust_clock: true, ..options };
    gc::run(&store, gc::plan(&store, &options, "test", &control).unwrap(), &options, "test", &control).unwrap()
}

/// Every file of every snapshot.
pub(super) type Held = BTreeMap<SnapshotId, Vec<(Vec<u8>, Vec<u8>)>>;

pub(super) fn held(shelf: &Shelf) -> Held {
    let store = shelf.read();
    let mut out = Held::new();
    for info in snapshots::list(&store, &[]) {
        let mut files = Vec::new();
        let one = std::slice::from_ref(&info);
        crate::ops::share::walk::each(&store, one, &Control::default(), &mut |met| {
            let mut bytes = Vec::new();
            crate::ops::cat::run(&store, met.snapshot, met.path, None, &mut bytes, &Control::default())?;
            files.push((met.path.to_vec(), bytes));
            Ok(())
        })
        .unwrap();
        out.insert(info.id, files);
    }
    out
}

pub(super) fn is_sound(shelf: &Shelf) {
    let options = CheckOptions { read_data: true, rebuild: false };
    let report = check::run(&shelf.read(), &options, &Control::default()).unwrap();
    assert_eq!((report.lost, report.problems), (vec![], vec![]));
    let differ = gc::audit(&shelf.read(), &Control::default()).unwrap();
    assert!(differ.is_none_or(|n| n == 0), "{differ:?}");
}

pub(super) fn stored(shelf: &Shelf) -> u64 {
    shelf.read().with_state(|s| s.packs().map(|p| p.sealed.bytes).sum())
}

/// Fragments of the file `path` of the newest snapshot.
fn fragments_of(shelf: &Shelf, path: &str) -> usize {
    let store = shelf.read();
    let mut n = 0;
    let info = shelf.latest(&store);
    crate::ops::share::walk::at(&store, &info, path.as_bytes(), &Control::default(), &mut |met| {
        fragments::windows(&store, met.recipe().unwrap(), met.bytes, &mut |ids| {
            let places: Vec<_> = store.locate(ids)?.into_iter().map(|at| at.map(|at| at.place)).collect();
            n += fragments::stretches(&places).len();
            Ok(())
        })?;
        Ok(())
    })
    .unwrap();
    n
}

/// Parts that came with one snapshot each, and a last one of all of them.
fn scattered(shelf: &Shelf, parts: u64) -> Vec<u8> {
    let all: Vec<Vec<u8>> = (0..parts).map(|i| noise(i, 300_000)).collect();
    all.iter().for_each(|part| shelf.stream("f", part));
    let whole = all.concat();
    shelf.stream("f", &whole);
    whole
}

/// Words: what zstd finds more of the longer it looks.
fn words(seed: u64, bytes: usize) -> Vec<u8> {
    let (picks, stock) = (noise(seed, bytes), noise(99, 4 * 4096));
    let mut out = Vec::new();
    for pick in picks.chunks_exact(2) {
        let n = (usize::from(pick[0]) * usize::from(pick[1])) % 4096;
        out.extend_from_slice(&stock[n * 4..][..3 + usize::from(pick[0] & 1)]);
    }
    out.truncate(bytes);
    out
}

/// Chunks of the newest file, by codec, and their records' bytes.
fn codecs(shelf: &Shelf) -> BTreeMap<Codec, (u64, u64)> {
    let store = shelf.read();
    let mut out = BTreeMap::new();
    let mut add = |ids: &[ChunkId]| -> Result<()> {
        for fact in crate::ops::share::facts::of(&store, ids)?.into_iter().flatten() {
            let of: &mut (u64, u64) = out.entry(fact.codec).or_default();
            *of = (of.0 + 1, of.1 + fact.record_bytes);
        }
        Ok(())
    };
    crate::ops::share::walk::at(&store, &shelf.latest(&store), b"f", &Control::default(), &mut |met| {
        fragments::windows(&store, met.recipe().unwrap(), met.bytes, &mut add)?;
        Ok(())
    })
    .unwrap();
    out
}

#[test]
fn a_scattered_file_lies_together_afterwards_and_the_old_copies_go_with_the_next_gc() {
    let shelf = Shelf::new(2);
    scattered(&shelf, 9);
    gc(&shelf, true);
    let (before, bytes) = (held(&shelf), stored(&shelf));
    assert!(fragments_of(&shelf, "f") > 2);
    let (plan, report) = compact(&shelf, &GATHER);
    let shown = plan.gather.unwrap();
    assert_eq!((shown.chosen, report.files_gathered), (1, 1));
    assert_eq!(shown.move_bytes, report.moved_bytes, "the plan told what it costs");
    assert!(fragments_of(&shelf, "f") <= 2, "{report:?}");
    assert_eq!(held(&shelf), before);
    is_sound(&shelf);
    let between = stored(&shelf);
    assert!(between >= bytes + report.moved_bytes);
    gc(&shelf, false); // which follows counts: it must have been told
    assert!(stored(&shelf) < bytes + bytes / 20, "{bytes} before, {between} between, {} after", stored(&shelf));
    assert!(fragments_of(&shelf, "f") <= 2);
    assert_eq!(held(&shelf), before);
    is_sound(&shelf);
    assert_eq!(compact(&shelf, &GATHER).1, CompactReport::default(), "it is done");
}

#[test]
fn files_that_share_all_they_have_are_not_moved_to_and_fro() {
    let shelf = Shelf::new(1);
    let parts: Vec<Vec<u8>> = (0..8).map(|i| noise(i, 150_000)).collect();
    parts.iter().for_each(|part| shelf.stream("f", part));
    shelf.stream("f", &parts.concat());
    let turned: Vec<u8> = parts.iter().rev().flatten().copied().collect();
    shelf.stream("f", &turned);
    let mixed: Vec<u8> = [3, 0, 7, 4, 1].iter().flat_map(|i: &usize| parts[*i].clone()).collect();
    shelf.stream("f", &mixed);
    let before = held(&shelf);
    let one = CompactOptions { max_fragments: Some(1), ..GATHER };
    let mut runs = 0;
    while compact(&shelf, &one).1 != CompactReport::default() {
        runs += 1;
        assert!(runs < 4, "it never ends");
        gc(&shelf, runs % 2 == 0);
    }
    assert!(runs > 0);
    assert_eq!(fragments_of(&shelf, "f"), 1, "the newest comes first");
    assert_eq!(held(&shelf), before);
    is_sound(&shelf);
}

#[test]
fn a_limit_ends_it_and_the_next_run_goes_on() {
    let shelf = Shelf::new(1);
    let dir = tempfile::tempdir().unwrap();
    let parts: Vec<Vec<u8>> = (0..40).map(|i| noise(i, 60_000)).collect();
    for part in &parts {
        shelf.library(dir.path(), &[("x", part)]);
        shelf.back_up(dir.path());
    }
    let whole = |n: usize| parts[n * 10..][..10].concat();
    let all: Vec<Vec<u8>> = (0..4).map(whole).collect();
    let files: Vec<(&str, &[u8])> = ["a", "b", "c", "d"].into_iter().zip(all.iter().map(Vec::as_slice)).collect();
    shelf.library(dir.path(), &files);
    shelf.back_up(dir.path());
    let before = held(&shelf);
    let limited = CompactOptions { max_bytes: Some(200_000), ..GATHER };
    let (plan, report) = compact(&shelf, &limited);
    assert!(plan.gather.unwrap().left > 0 && report.files_gathered < 4, "{report:?}");
    let mut gathered = report.files_gathered;
    while gathered < 4 {
        let report = compact(&shelf, &limited).1;
        assert!(report.files_gathered > 0);
        gathered += report.files_gathered;
    }
    assert_eq!(compact(&shelf, &GATHER).1, CompactReport::default());
    assert_eq!(held(&shelf), before);
    is_sound(&shelf);
}

#[test]
fn what_the_dense_tier_codes_smaller_is_kept_and_is_tried_once() {
    let mut shelf = Shelf::new(2);
    let text = words(1, 1_500_000);
    shelf.stream("f", &[&text[..], &noise(5, 300_000)[..]].concat());
    gc(&shelf, true);
    let (before, bytes, was) = (held(&shelf), stored(&shelf), codecs(&shelf));
    let (plan, report) = compact(&shelf, &RECOMPRESS);
    let shown = plan.recompress.unwrap();
    assert!(shown.sample.after_bytes < shown.sample.before_bytes && shown.spares_bytes() > 0);
    assert!(report.chunks_recoded > 0 && report.chunks_recoded < report.chunks_tried, "{report:?}");
    assert_eq!(held(&shelf), before);
    is_sound(&shelf);
    let total = |c: &BTreeMap<Codec, (u64, u64)>| c.values().map(|v| v.1).sum::<u64>();
    assert_eq!(total(&was) - total(&codecs(&shelf)), report.saved_bytes);
    let again = compact(&shelf, &RECOMPRESS);
    assert_eq!((again.0.recompress.unwrap().packs, again.1), (0, CompactReport::default()));
    gc_at(&shelf, 100, false);
    assert!(stored(&shelf) + report.saved_bytes * 9 / 10 < bytes, "{bytes} before, {} after", stored(&shelf));
    // What gc moved was tried, too.
    assert_eq!(compact(&shelf, &RECOMPRESS).1, CompactReport::default());
    // The list is a cache.
    shelf.fs.remove_file(std::path::Path::new("/store/dense")).unwrap();
    shelf.forget_index();
    let tried = compact(&shelf, &RECOMPRESS).1;
    assert!(tried.chunks_tried > 0 && tried.chunks_recoded == 0, "{tried:?}");
    assert_eq!(held(&shelf), before);
    is_sound(&shelf);
}

/// The front of this one is a chunk of its own: what the picture begins with is no start of a JPEG file.
#[test]
fn a_photo_of_the_fast_tier_is_coded_where_it_begins() {
    let photo = std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/media/Photos/2008/Wood.jpg")).unwrap();
    let shelf = Shelf::new(1);
    shelf.stream("f", &photo);
    gc(&shelf, true);
    let before = held(&shelf);
    assert!(!codecs(&shelf).contains_key(&Codec::JPEG));
    let (_, report) = compact(&shelf, &RECOMPRESS);
    let coded = codecs(&shelf).get(&Codec::JPEG).copied().unwrap_or_default();
    assert!(coded.0 == 1 && report.saved_bytes > 3_000, "{coded:?}, {report:?}");
    assert_eq!(held(&shelf), before);
    is_sound(&shelf);
}

#[test]
fn what_is_coded_against_a_chunk_reads_its_new_copy() {
    let shelf = Shelf::new(1);
    let a = words(2, 900_000);
    let mut b = a.clone();
    (0..b.len()).step_by(9_000).for_each(|i| b[i] ^= 1);
    shelf.stream("f", &a);
    shelf.stream("f", &b);
    assert!(codecs(&shelf).contains_key(&Codec::DELTA));
    gc(&shelf, true);
    let before = held(&shelf);
    let (_, report) = compact(&shelf, &RECOMPRESS);
    assert!(report.chunks_recoded > 0);
    assert_eq!(held(&shelf), before);
    gc(&shelf, false);
    gc(&shelf, true);
    assert_eq!(held(&shelf), before);
    assert!(codecs(&shelf).contains_key(&Codec::DELTA));
    is_sound(&shelf);
    // Bases alone: nobody else needs the first snapshot's chunks, but what is coded against them.
    let first = *before.keys().next().unwrap();
    let store = shelf.write();
    let list = snapshots::list(&store, &[]);
    let list: Vec<_> = list.into_iter().filter(|s| s.id == first).collect();
    assert_eq!(list.len(), 1);
    crate::ops::forget::run(&store, &crate::ops::forget::by_name(list).unwrap(), "t", "t", &Control::default())
        .unwrap();
    drop(store);
    gc(&shelf, false);
    let left: Held = before.into_iter().filter(|(id, _)| *id != first).collect();
    assert_eq!(held(&shelf), left);
    is_sound(&shelf);
}

#[test]
fn a_store_with_parity_may_lose_a_disk_afterwards() {
    let shelf = Shelf::with_parity(4, 1);
    scattered(&shelf, 7);
    shelf.stream("g", &words(4, 700_000));
    let before = held(&shelf);
    let both = CompactOptions { recompress: true, ..GATHER };
    let (_, report) = compact(&shelf, &both);
    assert!(report.files_gathered == 1 && report.chunks_recoded > 0, "{report:?}");
    for clean in [false, true] {
        if clean {
            gc(&shelf, true);
        }
        assert!(shelf.read().redundancy(|_, _| {}).is_full());
        for disk in 0..4 {
            shelf.take_away(disk);
            assert_eq!(held(&shelf), before, "without disk {disk}");
            shelf.bring_back(disk);
        }
    }
    is_sound(&shelf);
}

#[test]
fn a_power_cut_at_any_durable_step_leaves_every_file_and_the_next_run_ends_it() {
    let shelf = Shelf::new(2);
    scattered(&shelf, 4);
    shelf.stream("g", &words(4, 120_000));
    gc(&shelf, true);
    let before = held(&shelf);
    let both = CompactOptions { recompress: true, ..GATHER };
    let mut cuts = 0;
    for op in [Op::Sync, Op::SyncDir, Op::Rename, Op::Create, Op::Write] {
        // The log's entries alone take many steps, which are those of any run: every third of them.
        for nth in (1..).step_by(if op == Op::Rename { 1 } else { 3 }) {
            let (hurt, faulty) = shelf.with_faults(FaultPlan::new().with(op, When::Nth(nth), Action::PowerCut));
            let hurt = Shelf { index: Arc::new(shelf.index.snapshot()), ..hurt };
            let outcome = try_compact(&hurt, &both);
            if !faulty.is_cut() {
                assert!(outcome.is_ok());
                break;
            }
            cuts += 1;
            let after = Shelf {
                io: crate::io::Io { fs: Arc::new(hurt.fs.crash_strict()), world: Arc::clone(&hurt.io.world) },
                fs: hurt.fs.crash_strict(),
                // lost with the power, or not
                index: if nth % 2 == 0 { Arc::default() } else { Arc::clone(&hurt.index) },
                world: Arc::clone(&hurt.world),
                keys: hurt.keys.clone(),
                memory_bytes: hurt.memory_bytes,
            };
            let after = Shelf { io: crate::io::Io { fs: Arc::new(after.fs.clone()), ..after.io }, ..after };
            assert_eq!(held(&after), before, "{op:?} {nth}");
            after.world.advance(DAY_NS);
            // One that follows the counts frees as much as a full mark, or is one: what was cut off told nobody.
            let (follow, _) = after.with_faults(FaultPlan::new());
            let follow = Shelf { index: Arc::new(after.index.snapshot()), ..follow };
            gc_at(&follow, 100, false);
            let followed = stored(&follow);
            assert_eq!(held(&follow), before, "{op:?} {nth}, followed");
            gc_at(&follow, 100, true);
            assert!(followed <= stored(&follow) + (16 << 10), "{op:?} {nth}: {followed}, then {}", stored(&follow));
            compact(&after, &both);
            gc(&after, true);
            assert_eq!(held(&after), before, "{op:?} {nth}, ended");
            assert_eq!(compact(&after, &both).1, CompactReport::default(), "{op:?} {nth}");
            assert!(after.read().with_state(|s| s.writers.is_empty()));
            is_sound(&after);
        }
    }
    assert!(cuts > 20, "{cuts}");
}

#[test]
fn a_bound_at_backup_stores_duplicates_again_and_stats_tell_what_that_takes() {
    let shelf = Shelf::new(2);
    let parts: Vec<Vec<u8>> = (0..24).map(|i| noise(i, 150_000)).collect();
    parts.iter().for_each(|part| shelf.stream("f", part));
    let whole = parts.concat();
    let superseded = || crate::ops::stats::run(&shelf.read(), &Control::default()).unwrap().superseded_bytes;
    shelf.stream("g", &whole);
    gc(&shelf, true);
    // gc merged the small packs: scatter them anew
    let parts: Vec<Vec<u8>> = (100..124).map(|i| noise(i, 150_000)).collect();
    parts.iter().for_each(|part| shelf.stream("f", part));
    let whole = [whole, parts.concat()].concat();
    assert_eq!(superseded(), 0);
    let loose = shelf.stream_bounded("g", &whole, 1 << 20);
    assert_eq!(loose.chunks_again, 0, "so much is allowed");
    assert!(fragments_of(&shelf, "g") > 20);
    let before = held(&shelf);
    let report = shelf.stream_bounded("g", &whole, 0);
    assert!(report.chunks_again > 0 && report.counts.data_added > 0, "{report:?}");
    // What was stored again does not fit into one of these small packs.
    assert!(fragments_of(&shelf, "g") <= 16, "{}", fragments_of(&shelf, "g"));
    let takes = superseded();
    assert!(takes >= report.bytes_again && takes < report.bytes_again * 12 / 10, "{takes} for {report:?}");
    let told = crate::ops::stats::locality(&shelf.read(), &Control::default()).unwrap();
    assert!(told.files > 0 && told.most <= 16 && told.fragments >= told.files, "{told:?}");
    let all = held(&shelf);
    assert!(before.iter().all(|(id, files)| all.get(id) == Some(files)));
    is_sound(&shelf);
    // It lies well now: next to nothing is stored again, where a window meets the end of one of these small packs.
    assert!(shelf.stream_bounded("g", &whole, 0).chunks_again * 10 <= report.chunks_again);
    let all = held(&shelf);
    gc_at(&shelf, 100, false);
    gc_at(&shelf, 100, true);
    assert_eq!((superseded(), held(&shelf)), (0, all));
    is_sound(&shelf);
}

#[test]
fn what_is_coded_against_others_is_not_stored_again_by_a_bound() {
    let shelf = Shelf::new(1);
    let like = |seed: u64| {
        let mut bytes = words(seed, 60_000);
        bytes.iter_mut().step_by(5_000).for_each(|b| *b ^= 1);
        bytes
    };
    let parts: Vec<Vec<u8>> = (0..15).map(|i| words(i, 60_000)).collect();
    parts.iter().for_each(|part| shelf.stream("f", part));
    let likes: Vec<Vec<u8>> = (0..15).map(like).collect();
    likes.iter().for_each(|part| shelf.stream("f", part));
    assert!(codecs(&shelf).contains_key(&Codec::DELTA));
    gc_at(&shelf, 0, true);
    shelf.stream_bounded("f", &[parts.concat(), likes.concat()].concat(), 0);
    assert!(codecs(&shelf).contains_key(&Codec::DELTA));
    let all = held(&shelf);
    is_sound(&shelf);
    gc_at(&shelf, 100, true);
    assert_eq!(held(&shelf), all);
    is_sound(&shelf);
}
