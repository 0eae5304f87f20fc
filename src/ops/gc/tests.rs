//! What gc drops, what it must not, and what it says about it. Histories and power cuts are in `tests/reclaim.rs`.

use super::*;
use crate::catalog::recipe::{Pieces, What};
use crate::catalog::tree::{Found, lookup};
use crate::error::Error;
use crate::format::entry::{Content, EntryKind};
use crate::format::event::Event;
use crate::format::{ChunkKind, SnapshotId};
use crate::index::{Index, MemoryIndex};
use crate::ops::check::{self, CheckOptions};
use crate::ops::forget;
use crate::ops::snapshots::{self, SnapshotInfo};
use crate::ops::tag;
use crate::ops::testing::{DAY_NS, Shelf, disk_id, disk_path, noise};
use crate::pack::ReadChunks;
use std::path::Path;
use std::sync::Arc;

mod dissolve;
mod unreadable;

const NOW: GcOptions = GcOptions {
    grace_ns: 0,
    trust_clock: false,
    threshold_percent: Some(100),
    max_bytes: None,
    max_duration_ns: None,
    full: false,
};

/// As [`NOW`], by a full mark.
const FULL: GcOptions = GcOptions { full: true, ..NOW };

fn forget(shelf: &Shelf, ids: &[SnapshotId]) {
    let store = shelf.write();
    let list = snapshots::list(&store, &[]).into_iter().filter(|s| ids.contains(&s.id)).collect();
    forget::run(&store, &forget::by_name(list).unwrap(), "t", "t", &Control::default()).unwrap();
}

fn ids(shelf: &Shelf) -> Vec<SnapshotId> {
    snapshots::list(&shelf.read(), &[]).iter().map(|s| s.id).collect()
}

fn gc(shelf: &Shelf, options: &GcOptions) -> Result<(Plan, GcReport)> {
    let store = shelf.open(Mode::Write { verb: "gc" })?.store;
    let control = Control::default();
    let again = plan(&store, options, "test", &control)?;
    let report = run(&store, plan(&store, options, "test", &control)?, options, "test", &control)?;
    Ok((again, report))
}

/// The bytes of the file `name` of a snapshot.
fn content(store: &Store, info: &SnapshotInfo, name: &str) -> Vec<u8> {
    let found = lookup(store, &info.snapshot.tree, name.as_bytes()).unwrap();
    let Some(Found::Entry(entry)) = found else { panic!("no {name}") };
    let EntryKind::File { bytes, content: Content::Recipe(recipe) } = entry.kind else { panic!("no recipe") };
    let mut out = Vec::new();
    for piece in Pieces::new(store, &recipe, 0, bytes) {
        let What::Chunk { id, .. } = piece.unwrap().what else { panic!("not plain") };
        out.extend(store.chunk(ChunkKind::Data, &id).unwrap());
    }
    out
}

fn stored(shelf: &Shelf) -> u64 {
    shelf.read().with_state(|s| s.packs().map(|p| p.sealed.bytes).sum())
}

fn is_sound(shelf: &Shelf) {
    let differ = audit(&shelf.read(), &Control::default()).unwrap();
    assert_eq!(differ, Some(0), "counts that were followed are not those of a full mark");
    let options = CheckOptions { read_data: true, rebuild: false };
    let report = check::run(&shelf.read(), &options, &Control::default()).unwrap();
    assert_eq!((report.lost, report.problems), (vec![], vec![]));
}

/// The same store on a machine that has no index of it.
fn without_index(shelf: &Shelf) -> Shelf {
    let (io, fs, keys) = (shelf.io.clone(), shelf.fs.clone(), shelf.keys.clone());
    Shelf {
        index: Arc::new(MemoryIndex::new()),
        io,
        fs,
        world: Arc::clone(&shelf.world),
        keys,
        memory_bytes: shelf.memory_bytes,
    }
}

#[test]
fn what_is_forgotten_goes_after_its_grace_and_what_is_kept_comes_back() {
    let shelf = Shelf::new(2);
    let (a, b) = (noise(1, 3_000_000), noise(2, 3_000_000));
    shelf.stream("f", &a);
    let one = ids(&shelf)[0];
    shelf.stream("f", &[&a[..1_000_000], &b[..]].concat());
    forget(&shelf, &[one]);
    let before = stored(&shelf);
    let (within, report) = gc(&shelf, &GcOptions { grace_ns: DAY_NS, ..NOW }).unwrap();
    assert_eq!((within.in_grace, within.given_up.len(), report), (1, 0, GcReport::default()));
    let control = Control::default();
    tag::undelete(&shelf.write(), &one.to_string(), "t", &control).unwrap();
    assert_eq!(content(&shelf.read(), &snapshots::list(&shelf.read(), &[])[0], "f"), a);
    forget(&shelf, &[one]);
    shelf.world.advance(DAY_NS + 1);
    let (plan, report) = gc(&shelf, &GcOptions { grace_ns: DAY_NS, ..NOW }).unwrap();
    assert_eq!((plan.given_up.len(), report.snapshots_dropped, plan.missing), (1, 1, 0));
    assert!(report.packs_dropped + report.packs_rewritten > 0, "{report:?}");
    let after = stored(&shelf);
    assert!(after + 1_900_000 < before, "{before} before, {after} after");
    assert!(report.freed_bytes - report.written_bytes == before - after, "{report:?}");
    let store = shelf.read();
    assert_eq!(content(&store, &snapshots::list(&store, &[])[0], "f"), [&a[..1_000_000], &b[..]].concat());
    drop(store);
    is_sound(&shelf);
    let gone = tag::undelete(&shelf.write(), &one.to_string(), "t", &control);
    assert!(matches!(gone, Err(Error::NoForgotten { .. })), "{gone:?}");
    assert!(gc(&shelf, &NOW).unwrap().0.is_empty());
}

#[test]
fn a_clock_that_jumped_ends_no_grace() {
    let shelf = Shelf::new(1);
    shelf.stream("f", &noise(1, 500_000));
    shelf.stream("f", &noise(2, 500_000));
    forget(&shelf, &ids(&shelf)[..1]);
    shelf.world.advance(30 * DAY_NS);
    let grace = GcOptions { grace_ns: 7 * DAY_NS, ..NOW };
    assert!(matches!(gc(&shelf, &grace), Err(Error::ClockJumped { days: 30 })));
    assert!(gc(&shelf, &GcOptions { trust_clock: true, ..grace }).unwrap().1.packs_dropped > 0);
    // back in the year 2000: the log's own time counts
    shelf.stream("f", &noise(3, 500_000));
    forget(&shelf, &ids(&shelf)[..1]);
    shelf.world.set(946_684_800_000_000_000);
    assert_eq!(gc(&shelf, &grace).unwrap().0.in_grace, 1);
}

#[test]
fn what_a_live_delta_needs_stays_and_goes_with_it() {
    let shelf = Shelf::new(1);
    let a = noise(1, 600_000);
    let mut b = a.clone();
    (0..600_000).step_by(20_000).for_each(|i| b[i] ^= 1);
    shelf.stream("f", &a);
    shelf.stream("f", &b);
    let deltas = |shelf: &Shelf| {
        let store = shelf.read();
        let packs: Vec<_> = store.with_state(|s| s.packs().map(|p| p.sealed).collect());
        let rows = |p: &crate::format::event::SealedPack| store.ends(p).unwrap().footer.rows;
        packs.iter().flat_map(rows).filter(|r| !r.header.bases.is_empty()).count()
    };
    assert!(deltas(&shelf) > 5, "the second file is coded against the first");
    let chunks = u64::from(shelf.read().with_state(|s| s.packs().map(|p| p.sealed.records).sum::<u32>()));
    assert_eq!(gc(&shelf, &FULL).unwrap().0.chunks_live, chunks, "bases that snapshots reach are counted once");
    forget(&shelf, &ids(&shelf)[..1]);
    gc(&shelf, &NOW).unwrap();
    assert!(deltas(&shelf) > 5);
    let store = shelf.read();
    assert_eq!(content(&store, &snapshots::list(&store, &[])[0], "f"), b);
    drop(store);
    is_sound(&shelf);
    shelf.stream("f", &noise(3, 10_000));
    forget(&shelf, &ids(&shelf)[..1]);
    gc(&shelf, &NOW).unwrap();
    assert_eq!(deltas(&shelf), 0);
    assert!(stored(&shelf) < 40_000, "{}", stored(&shelf));
}

#[test]
fn an_index_that_lies_or_lacks_drops_nothing() {
    let shelf = Shelf::new(2);
    let (a, b) = (noise(1, 1_500_000), noise(2, 1_500_000));
    shelf.stream("f", &a);
    shelf.stream("f", &b);
    shelf.stream("f", &a[..700_000]);
    let list = ids(&shelf);
    let mut all = Vec::new();
    shelf
        .index
        .for_each(None, &mut |id, place| {
            all.push((id, place));
            Ok(true)
        })
        .unwrap();
    // Every third chunk is gone from it, every other third lies where another one does.
    for (i, window) in all.windows(2).enumerate() {
        match i % 3 {
            0 => shelf.index.remove(&[window[0].0]).unwrap(),
            1 => shelf.index.apply(&[(window[0].0, window[1].1)], None).unwrap(),
            _ => {}
        }
    }
    forget(&shelf, &list[1..2]);
    let (plan, report) = gc(&shelf, &NOW).unwrap();
    assert_eq!(plan.missing, 0);
    assert!(report.packs_dropped + report.packs_rewritten > 0);
    let whole = without_index(&shelf);
    let store = whole.read();
    let left = snapshots::list(&store, &[]);
    assert_eq!(content(&store, &left[0], "f"), a);
    assert_eq!(content(&store, &left[1], "f"), a[..700_000]);
}

#[test]
fn a_folder_that_cannot_be_read_stops_it_before_anything_goes() {
    let shelf = Shelf::new(1);
    let dir = tempfile::tempdir().unwrap();
    let lib = dir.path().join("lib");
    let files: Vec<(String, Vec<u8>)> = (0..80).map(|i| (format!("{i}"), noise(i, 700))).collect();
    shelf.library(&lib, &files.iter().map(|(n, b)| (n.as_str(), b.as_slice())).collect::<Vec<_>>());
    shelf.back_up(&lib);
    shelf.stream("f", &noise(1, 900_000));
    let list = ids(&shelf);
    forget(&shelf, &list[1..]);
    let store = shelf.read();
    let node = snapshots::list(&store, &[])[0].snapshot.tree.clone();
    let mut found = None;
    let mut todo = vec![node];
    while let Some(root) = todo.pop() {
        match root {
            crate::format::node::MapRoot::Node { id, .. } => found = Some(id),
            crate::format::node::MapRoot::Inline(items) => {
                for item in crate::format::node::Items::new(&items) {
                    let entry = crate::format::entry::Entry::decode(item.unwrap().1).unwrap();
                    if let EntryKind::Dir(root) = entry.kind {
                        todo.push(root);
                    }
                }
            }
        }
    }
    drop(store);
    shelf.spoil(ChunkKind::Tree, &found.unwrap());
    let before = stored(&shelf);
    assert!(matches!(gc(&shelf, &NOW), Err(Error::UnreadableTree { .. })));
    assert_eq!(stored(&shelf), before);
    assert_eq!(snapshots::forgotten(&shelf.read()).len(), 1, "it was not given up either");
}

#[test]
fn of_two_copies_one_stays_and_of_damaged_ones_none_goes_without_another() {
    let shelf = Shelf::new(2);
    let a = noise(1, 2_000_000);
    shelf.stream("f", &a);
    // one disk is away: what lies there is stored again
    let biggest = shelf.read().with_state(|s| s.packs().map(|p| p.sealed).max_by_key(|p| p.bytes)).unwrap();
    let away = usize::from(biggest.disk == disk_id(1));
    let marker = disk_path(away).join("onefold-disk");
    let held = shelf.fs.read(&marker).unwrap();
    shelf.fs.remove(&marker).unwrap();
    shelf.stream("f", &a);
    shelf.fs.write(&marker, &held).unwrap();
    assert!(stored(&shelf) > 2_600_000, "{}", stored(&shelf));
    gc(&shelf, &FULL).unwrap();
    assert!(stored(&shelf) < 2_200_000, "{}", stored(&shelf));
    is_sound(&shelf);
    let store = shelf.read();
    assert_eq!(content(&store, &shelf.latest(&store), "f"), a);
    // known damage: its pack is not rewritten, and not dropped
    let pack = store.with_state(|s| s.packs().find(|p| p.sealed.bytes > 500_000).unwrap().sealed);
    drop(store);
    let found = Event::DamageFound { pack: pack.pack, offset: 100_000, bytes: 10, by: "test".into() };
    shelf.write().append(|_| vec![found]).unwrap();
    shelf.stream("g", &noise(9, 10_000));
    let list = ids(&shelf);
    forget(&shelf, &list[..1]);
    let (plan, _) = gc(&shelf, &FULL).unwrap();
    assert_eq!((plan.missing, plan.stuck), (1, 1));
    assert!(shelf.read().with_state(|s| s.pack_by_id(&pack.pack).is_some()));
    // stored anew, the copy on the damage is needed no more
    shelf.stream("f", &a);
    let (plan, _) = gc(&shelf, &FULL).unwrap();
    assert_eq!((plan.missing, plan.stuck), (0, 0));
    assert!(shelf.read().with_state(|s| s.pack_by_id(&pack.pack).is_none() && s.damage.is_empty()));
    is_sound(&shelf);
}

#[test]
fn an_index_that_cannot_be_told_which_copy_stays_ends_a_gc_before_the_others_go() {
    let shelf = Shelf::new(2);
    let a = noise(1, 2_000_000);
    shelf.stream("f", &a);
    let data = shelf.read().with_state(|s| s.packs().map(|p| p.sealed).max_by_key(|p| p.bytes)).unwrap();
    let marker = disk_path(usize::from(data.disk == disk_id(1))).join("onefold-disk");
    let held = shelf.fs.read(&marker).unwrap();
    shelf.fs.remove(&marker).unwrap();
    shelf.stream("f", &a);
    shelf.fs.write(&marker, &held).unwrap();
    let packs = || shelf.read().with_state(|s| s.packs().map(|p| p.sealed.pack).collect::<Vec<_>>());
    let before = packs();
    shelf.index.fails.store(true, Ordering::Relaxed);
    let failed = gc(&shelf, &FULL);
    shelf.index.fails.store(false, Ordering::Relaxed);
    assert!(matches!(failed, Err(Error::Index { .. })), "{:?}", failed.map(|(_, report)| report));
    assert_eq!(packs(), before);
    gc(&shelf, &FULL).unwrap();
    assert!(packs().len() < before.len());
    is_sound(&shelf);
}

#[test]
fn a_reader_that_opened_before_a_gc_reads_on() {
    let shelf = Shelf::new(2);
    let (a, b) = (noise(1, 2_500_000), noise(2, 2_500_000));
    shelf.stream("f", &[&a[..1_200_000], &b[..]].concat());
    shelf.stream("f", &a);
    let other_process = || {
        // its own index
        let index = Arc::new(shelf.index.snapshot());
        let options = crate::store::OpenOptions {
            memory_bytes: crate::store::MEMORY_MIN,
            mode: Mode::Read,
            index: crate::store::IndexKind::Memory(index),
        };
        Store::open(&shelf.io, std::path::Path::new("/store"), &options).unwrap().store
    };
    let reader = other_process();
    let latest = shelf.latest(&reader);
    let list = ids(&shelf);
    forget(&shelf, &list[..1]);
    let (_, report) = gc(&shelf, &NOW).unwrap();
    assert!(report.packs_rewritten > 0, "{report:?}");
    // A check that began before it says nothing of packs that went, and finds every chunk.
    let options = CheckOptions { read_data: true, rebuild: false };
    let checked = check::run(&other_process(), &options, &Control::default());
    assert!(checked.is_ok_and(|r| r.lost.is_empty() && r.problems.is_empty()));
    let checked = check::run(&reader, &options, &Control::default()).unwrap();
    assert_eq!((checked.lost, checked.problems), (vec![], vec![]));
    assert_eq!(content(&reader, &latest, "f"), a);
}

#[test]
fn readers_go_on_while_gcs_run() {
    let shelf = Shelf::new(2);
    let keep = noise(1, 1_500_000);
    let churn = |i: u64| [&keep[..], &noise(100 + i, 700_000)[..]].concat();
    shelf.stream("f", &keep);
    let kept = ids(&shelf)[0];
    let stop = std::sync::atomic::AtomicBool::new(false);
    let rounds = std::sync::atomic::AtomicU64::new(0);
    /// Ends the readers also where the writer's side fails: nobody waits for them for ever then.
    struct Ends<'a>(&'a std::sync::atomic::AtomicBool);
    impl Drop for Ends<'_> {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Relaxed);
        }
    }
    std::thread::scope(|scope| {
        let ends = Ends(&stop);
        let reader = || {
            while !stop.load(Ordering::Relaxed) {
                let index = Arc::new(shelf.index.snapshot());
                let options = crate::store::OpenOptions {
                    memory_bytes: crate::store::MEMORY_MIN,
                    mode: Mode::Read,
                    index: crate::store::IndexKind::Memory(index),
                };
                let opened = Store::open(&shelf.io, std::path::Path::new("/store"), &options);
                let opened = match opened {
                    Ok(opened) => opened,
                    // A pack may go between the look at the log and the reading of its table.
                    Err(Error::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => continue,
                    Err(e) => panic!("{e}"),
                };
                let list = snapshots::list(&opened.store, &[]);
                let info = list.iter().find(|s| s.id == kept).unwrap();
                assert_eq!(content(&opened.store, info, "f"), keep);
                rounds.fetch_add(1, Ordering::Relaxed);
            }
        };
        let readers = [scope.spawn(reader), scope.spawn(reader)];
        for i in 0..8 {
            shelf.stream("f", &churn(i));
            let last = *ids(&shelf).last().unwrap();
            forget(&shelf, &[last]);
            // the writer's lock is taken for a moment by readers that bring the index up to date
            let mut done = gc(&shelf, &NOW);
            for _ in 0..5000 {
                if !matches!(done, Err(Error::Locked { .. })) {
                    break;
                }
                std::thread::sleep(std::time::Duration::from_millis(1));
                done = gc(&shelf, &NOW);
            }
            done.unwrap();
        }
        // On a busy machine the readers get their turn late.
        for _ in 0..30_000 {
            if rounds.load(Ordering::Relaxed) > 4 || readers.iter().all(|r| r.is_finished()) {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        drop(ends);
        readers.into_iter().for_each(|r| r.join().unwrap());
    });
    assert!(rounds.load(Ordering::Relaxed) > 4, "{rounds:?}");
    is_sound(&shelf);
}

/// A shelf whose packs are half needed, and what the file `f` of its latest snapshot holds.
fn half_needed() -> (Shelf, Vec<u8>) {
    let shelf = Shelf::new(1);
    let keep = noise(1, 4_000_000);
    let mut mixed = Vec::new();
    for i in 0..20 {
        mixed.extend_from_slice(&keep[i * 200_000..(i + 1) * 200_000]);
        mixed.extend(noise(100 + i as u64, 200_000));
    }
    shelf.stream("f", &mixed);
    let kept: Vec<u8> = mixed.chunks(400_000).flat_map(|c| c[..200_000].to_vec()).collect();
    shelf.stream("f", &kept);
    let list = ids(&shelf);
    forget(&shelf, &list[..1]);
    (shelf, kept)
}

#[test]
fn limits_end_a_run_early_and_the_next_one_goes_on() {
    let (shelf, kept) = half_needed();
    let (plan, report) = gc(&shelf, &GcOptions { max_bytes: Some(1), ..NOW }).unwrap();
    assert!(plan.rewritten() > 1 && report.stopped_at_limit && report.packs_rewritten == 1, "{report:?}");
    assert!(!report.gave_way, "{report:?}");
    let (_, report) = gc(&shelf, &GcOptions { max_duration_ns: Some(0), ..NOW }).unwrap();
    assert!(report.stopped_at_limit && report.packs_rewritten == 0, "{report:?}");
    let (again, report) = gc(&shelf, &NOW).unwrap();
    assert!(again.rewritten() < plan.rewritten() && !report.stopped_at_limit, "{report:?}");
    let store = shelf.read();
    assert_eq!(content(&store, &shelf.latest(&store), "f"), kept);
    drop(store);
    is_sound(&shelf);
}

#[test]
fn a_gc_gives_way_to_who_waits_behind_a_pack_and_goes_on_later() {
    let (shelf, kept) = half_needed();
    let (io, home) = (shelf.io.clone(), shelf.read().path().to_owned());
    let asked = crate::store::ask_for_lock(&io, &home).unwrap();
    assert!(crate::store::ask_for_lock(&io, &home).is_none(), "one asks for all");
    let (plan, report) = gc(&shelf, &NOW).unwrap();
    assert!(plan.rewritten() > 1 && report.gave_way && report.packs_rewritten == 1, "{report:?}");
    // Who waits for ever does not keep it from its work for ever.
    let (_, second) = gc(&shelf, &NOW).unwrap();
    assert_eq!(second.packs_rewritten, 1, "{second:?}");
    drop(asked);
    assert!(!crate::store::is_asked_for(&io, &home));
    shelf.stream("g", &noise(7, 300_000)); // who waited
    let (_, third) = gc(&shelf, &NOW).unwrap();
    assert!(!third.gave_way && !third.stopped_at_limit, "{third:?}");
    let mut all = report;
    all.add(&second);
    all.add(&third);
    assert_eq!((all.gave_way, all.packs_rewritten), (false, 2 + third.packs_rewritten));
    let store = shelf.read();
    let list = snapshots::list(&store, &[]);
    assert!(list.iter().any(|s| lookup(&store, &s.snapshot.tree, b"g").unwrap().is_some()));
    let with_f = list.iter().find(|s| lookup(&store, &s.snapshot.tree, b"f").unwrap().is_some()).unwrap();
    assert_eq!(content(&store, with_f, "f"), kept);
    drop(store);
    is_sound(&shelf);
}

#[test]
fn small_packs_are_merged_when_enough_have_gathered() {
    let shelf = Shelf::new(1);
    let dir = tempfile::tempdir().unwrap();
    let lib = dir.path().join("lib");
    for i in 0..12u64 {
        shelf.library(&lib, &[(format!("{i}").as_str(), noise(i, 30_000).as_slice())]);
        shelf.back_up(&lib);
    }
    let packs = |shelf: &Shelf| shelf.read().with_state(|s| s.pack_count());
    let before = packs(&shelf);
    assert!(before >= 12, "{before}");
    let (_, report) = gc(&shelf, &GcOptions { threshold_percent: None, ..NOW }).unwrap();
    assert_eq!((report.snapshots_dropped, report.packs_dropped), (0, 0));
    assert!(packs(&shelf) <= 2, "{}", packs(&shelf));
    assert!(gc(&shelf, &NOW).unwrap().0.is_empty());
    is_sound(&shelf);
}

#[test]
fn features_and_counts_on_bases_outlive_a_move() {
    let shelf = Shelf::new(1);
    let a = noise(1, 500_000);
    shelf.stream("f", &[a.clone(), noise(2, 500_000)].concat());
    shelf.stream("f", &a);
    let list = ids(&shelf);
    forget(&shelf, &list[..1]);
    let (_, first) = gc(&shelf, &NOW).unwrap();
    assert!(first.chunks_moved > 10, "{first:?}");
    // As a machine that lost its index has it: from the footers alone.
    let anew = without_index(&shelf);
    let mut b = a.clone();
    (0..500_000).step_by(20_000).for_each(|i| b[i] ^= 1);
    let before = stored(&anew);
    anew.stream("g", &b);
    let cost = stored(&anew) - before;
    assert!(cost < 60_000, "a near-duplicate of a moved file costs {cost} bytes");
    let counts = |shelf: &Shelf| -> u32 {
        let mut ids = Vec::new();
        shelf
            .index
            .for_each(None, &mut |id, _| {
                ids.push(id);
                Ok(true)
            })
            .unwrap();
        shelf.index.deltas_on(&ids).unwrap().iter().sum()
    };
    let counted = counts(&anew);
    anew.stream("h", &noise(7, 100_000));
    let list = ids(&anew);
    forget(&anew, &list[list.len() - 1..]);
    let mut all = GcOptions { threshold_percent: Some(100), ..NOW };
    all.max_bytes = None;
    let (_, report) = gc(&anew, &all).unwrap();
    // One that was stored plain, since only it held its base, is gone with that.
    let undone = u32::try_from(first.chunks_undone + report.chunks_undone).unwrap();
    assert!(undone < 3);
    assert_eq!(counts(&anew) + undone, counted, "moving a delta counts it once more");
}

/// Four files of their own snapshots on six disks, with two parity packs a group; only the last one lives.
fn with_parity() -> Shelf {
    let shelf = Shelf::with_parity(6, 2);
    for n in 0..4u64 {
        shelf.stream(&format!("f{n}"), &noise(n + 1, 1_500_000));
    }
    let all = ids(&shelf);
    forget(&shelf, &all[..3]);
    shelf
}

fn parity_files(shelf: &Shelf) -> usize {
    let of = |dir: &Path| shelf.io.fs.list(dir).unwrap_or_default();
    let roots = (0..6).map(|i| disk_path(i).join(crate::pool::disk::PARITY_DIR));
    roots.flat_map(|root| of(&root).into_iter().map(move |f| root.join(f.name))).map(|dir| of(&dir).len()).sum()
}

#[test]
fn groups_go_whole_and_what_stays_has_parity() {
    let shelf = with_parity();
    let before = stored(&shelf);
    let groups = shelf.read().with_state(|s| s.groups().count());
    assert!(groups >= 4, "each commit made its groups: {groups}");
    let packs = || shelf.read().with_state(|s| s.packs().map(|p| p.sealed.pack).collect::<BTreeSet<_>>());
    let there = packs();
    let (_, report) = gc(&shelf, &FULL).unwrap();
    let went = there.difference(&packs()).count() as u64;
    assert_eq!(report.packs_dropped + report.packs_rewritten, went, "{report:?}");
    is_sound(&shelf);
    assert!(stored(&shelf) < before / 2, "{} of {before}", stored(&shelf));
    let store = shelf.read();
    let unprotected = store.with_state(|s| s.packs().filter(|p| s.group_of(&p.sealed.pack).is_none()).count());
    assert_eq!(unprotected, 0, "what was moved has groups of its own");
    assert!(store.redundancy(|_, _| ()).is_full());
    // Files of parity that no group has any more are gone.
    let known: usize = store.with_state(|s| s.groups().map(|g| g.parity_disks.len()).sum());
    assert_eq!(parity_files(&shelf), known);
    assert_eq!(shelf.bytes_of(&store, "f3").unwrap(), noise(4, 1_500_000));
}

#[test]
fn packs_that_wait_for_their_group_are_not_called_gone() {
    let shelf = Shelf::with_parity(6, 2);
    let kept = noise(1, 3_000_000);
    shelf.stream("f", &[kept.clone(), noise(2, 5_000_000)].concat());
    shelf.stream("f", &kept);
    forget(&shelf, &ids(&shelf)[..1]);
    let packs = || shelf.read().with_state(|s| s.packs().map(|p| p.sealed.pack).collect::<BTreeSet<_>>());
    for max_bytes in [Some(1), Some(1), None] {
        let there = packs();
        let (plan, report) = gc(&shelf, &GcOptions { max_bytes, ..FULL }).unwrap();
        let went = there.difference(&packs()).count() as u64;
        let told = report.packs_dropped + report.packs_rewritten;
        assert_eq!(told, went, "{} and {} planned: {report:?}", plan.dead.len(), plan.rewritten());
    }
}

#[test]
fn with_a_disk_away_groups_that_count_on_it_stay() {
    let shelf = with_parity();
    let before = shelf.read().with_state(|s| s.groups().count());
    shelf.take_away(2);
    gc(&shelf, &FULL).unwrap();
    shelf.bring_back(2);
    let options = CheckOptions { read_data: true, rebuild: false };
    let report = check::run(&shelf.read(), &options, &Control::default()).unwrap();
    assert_eq!((report.lost, report.problems), (vec![], vec![]));
    assert!(shelf.read().with_state(|s| s.groups().count()) >= before - 1, "most groups count on each disk");
    let store = shelf.read();
    assert!(store.redundancy(|_, _| ()).is_full(), "no group lost a member to the gc");
}

/// What stays of a shelf with parity may lose as many disks as before, and everything comes back without them.
#[test]
fn a_gc_of_a_shelf_with_parity_gives_space_back_and_leaves_everything_redundant() {
    let shelf = Shelf::with_parity(6, 2);
    let kept = noise(1, 3_000_000);
    shelf.stream("f", &[kept.clone(), noise(2, 5_000_000)].concat());
    shelf.stream("f", &kept);
    let first = ids(&shelf)[0];
    forget(&shelf, &[first]);
    let parity = |shelf: &Shelf| -> u64 {
        shelf.read().with_state(|s| s.groups().flat_map(|g| s.members(g)).filter(|m| m.parity).map(|m| m.bytes).sum())
    };
    let before = (stored(&shelf), parity(&shelf));
    for options in [NOW, FULL] {
        gc(&shelf, &options).unwrap();
    }
    let after = (stored(&shelf), parity(&shelf));
    assert!(after.0 < before.0 - 4_000_000, "{before:?} {after:?}");
    assert!(after.1 < before.1, "parity of what is gone is gone: {before:?} {after:?}");
    assert!(shelf.read().redundancy(|_, _| {}).is_full());
    let options = CheckOptions { read_data: true, ..Default::default() };
    let report = check::run(&shelf.read(), &options, &Control::default()).unwrap();
    assert_eq!((report.lost, report.problems), (vec![], vec![]));
    is_sound(&shelf);
    for gone in [[0, 1], [2, 5], [3, 4]] {
        gone.iter().for_each(|d| shelf.take_away(*d));
        assert!(shelf.bytes_of(&shelf.read(), "/f").unwrap() == kept);
        gone.iter().for_each(|d| shelf.bring_back(*d));
    }
}
