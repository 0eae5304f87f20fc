//! Bases that only deltas hold.

use super::*;
use crate::io::faulty::{Action, FaultPlan, Op, When};

/// Of each 100 KB of `a` half as it is; of the other half every second 2 KiB are new.
fn half_alike(a: &[u8]) -> Vec<u8> {
    let new = noise(77, a.len());
    let keeps = |i: usize| i % 100_000 < 50_000 || (i / 2048).is_multiple_of(2);
    (0..a.len()).map(|i| if keeps(i) { a[i] } else { new[i] }).collect()
}

/// A store whose second snapshot is coded against chunks that the first one alone had; that one is forgotten.
fn hanging() -> (Shelf, Vec<u8>) {
    let shelf = Shelf::new(2);
    let a = noise(3, 1_500_000);
    let b = half_alike(&a);
    shelf.stream("f", &a);
    shelf.stream("f", &b);
    forget(&shelf, &ids(&shelf)[..1]);
    (shelf, b)
}

fn deltas(shelf: &Shelf) -> usize {
    let store = shelf.read();
    let packs: Vec<_> = store.with_state(|s| s.packs().map(|p| p.sealed).collect());
    let rows = |p: &crate::format::event::SealedPack| store.ends(p).unwrap().footer.rows;
    packs.iter().flat_map(rows).filter(|r| !r.header.bases.is_empty()).count()
}

fn newest(shelf: &Shelf) -> Vec<u8> {
    let store = shelf.read();
    content(&store, &shelf.latest(&store), "f")
}

#[test]
fn a_base_that_only_deltas_hold_goes_where_that_takes_less() {
    let (shelf, b) = hanging();
    let hung = deltas(&shelf);
    assert!(hung > 5, "{hung} deltas");
    let all = GcOptions { threshold_percent: Some(100), ..NOW };
    let (plan, report) = gc(&shelf, &GcOptions { full: true, ..all }).unwrap();
    assert!(plan.dissolving.bases > 0 && report.chunks_undone > 0, "{report:?}");
    assert!(plan.dissolving.written_bytes < plan.dissolving.freed_bytes);
    assert_eq!(newest(&shelf), b);
    is_sound(&shelf);
    let between = stored(&shelf);
    // One that follows the counts gives it back.
    gc(&shelf, &all).unwrap();
    let after = stored(&shelf);
    assert!(between - after > plan.dissolving.freed_bytes * 9 / 10, "{between} between, {after} after: {report:?}");
    assert!(deltas(&shelf) < hung);
    assert_eq!(newest(&shelf), b);
    is_sound(&shelf);
    // What is left of a base's deltas may be few enough now; that comes to an end.
    let mut rounds = 0;
    while !gc(&shelf, &GcOptions { full: true, ..all }).unwrap().0.is_empty() {
        rounds += 1;
        assert!(rounds < 6, "it never ends");
    }
    assert_eq!(newest(&shelf), b);
    is_sound(&shelf);
}

#[test]
fn what_hangs_on_a_base_keeps_it_when_its_plain_copy_is_found_damaged() {
    let (shelf, b) = hanging();
    let first_new = shelf.read().with_state(|s| s.next_serial());
    let (_, report) = gc(&shelf, &FULL).unwrap();
    assert!(report.chunks_undone > 0, "{report:?}");
    let store = shelf.write();
    let new: Vec<_> = store.with_state(|s| s.packs_from(first_new).map(|p| p.sealed).collect());
    let is_plain = |p: &&crate::format::event::SealedPack| {
        p.kind == PackKind::Data && store.ends(p).unwrap().footer.rows.iter().all(|r| r.header.bases.is_empty())
    };
    let plain: Vec<_> = new.iter().filter(is_plain).copied().collect();
    let found = |p: &crate::format::event::SealedPack| Event::DamageFound {
        pack: p.pack,
        offset: 0,
        bytes: p.bytes,
        by: "check".into(),
    };
    // only what was undone: the last packs of the run
    let undone = plain.last().unwrap();
    store.append(|_| vec![found(undone)]).unwrap();
    drop(store);
    let was_whole = newest_may_be(&shelf) == Some(b.clone());
    let (plan, _) = gc(&shelf, &NOW).unwrap();
    assert!(plan.full_because.is_some(), "counts name one copy, and that one may be out of reach");
    assert!(was_whole && newest_may_be(&shelf) == Some(b), "the deltas and their bases are still there");
}

/// As [`newest`]; `None` where it cannot be had whole.
fn newest_may_be(shelf: &Shelf) -> Option<Vec<u8>> {
    let store = shelf.read();
    let info = shelf.latest(&store);
    let tree = info.snapshot.tree.clone();
    let Some(Found::Entry(entry)) = lookup(&store, &tree, b"f").unwrap() else { panic!("no f") };
    let EntryKind::File { bytes, content: Content::Recipe(recipe) } = entry.kind else { panic!("no recipe") };
    let mut out = Vec::new();
    for piece in Pieces::new(&store, &recipe, 0, bytes) {
        let What::Chunk { id, .. } = piece.unwrap().what else { panic!("not plain") };
        out.extend(store.chunk(ChunkKind::Data, &id).ok()?);
    }
    Some(out)
}

#[test]
fn deltas_that_spare_much_stay() {
    let shelf = Shelf::new(1);
    let a = noise(1, 600_000);
    let mut b = a.clone();
    (0..600_000).step_by(20_000).for_each(|i| b[i] ^= 1);
    shelf.stream("f", &a);
    shelf.stream("f", &b);
    let hung = deltas(&shelf);
    forget(&shelf, &ids(&shelf)[..1]);
    let (plan, report) = gc(&shelf, &GcOptions { full: true, ..NOW }).unwrap();
    assert_eq!((plan.dissolving.bases, report.chunks_undone, deltas(&shelf)), (0, 0, hung));
}

#[test]
fn a_power_cut_while_bases_are_dissolved_leaves_what_is_live() {
    let (shelf, b) = hanging();
    let all = GcOptions { threshold_percent: Some(100), full: true, ..NOW };
    let untouched = {
        let (clean, _) = shelf.with_faults(FaultPlan::new());
        let clean = Shelf { index: Arc::new(shelf.index.snapshot()), ..clean };
        assert!(gc(&clean, &all).unwrap().1.chunks_undone > 0);
        gc(&clean, &GcOptions { full: false, ..all }).unwrap();
        stored(&clean)
    };
    let mut cuts = 0;
    for op in [Op::Sync, Op::Rename, Op::SyncDir] {
        for nth in (1..).step_by(2) {
            let (hurt, faulty) = shelf.with_faults(FaultPlan::new().with(op, When::Nth(nth), Action::PowerCut));
            let hurt = Shelf { index: Arc::new(shelf.index.snapshot()), ..hurt };
            let outcome = gc(&hurt, &all);
            if !faulty.is_cut() {
                outcome.unwrap();
                break;
            }
            cuts += 1;
            let fs = hurt.fs.crash_strict();
            let io = crate::io::Io { fs: Arc::new(fs.clone()), world: Arc::clone(&hurt.io.world) };
            // As it was, of a moment before, or lost.
            let index = match nth % 3 {
                0 => Arc::clone(&hurt.index),
                1 => Arc::new(shelf.index.snapshot()),
                _ => Arc::default(),
            };
            let after = Shelf { fs, io, index, ..hurt };
            assert_eq!(newest(&after), b, "{op:?} {nth}");
            gc(&after, &GcOptions { full: false, ..all }).unwrap();
            assert_eq!(newest(&after), b, "{op:?} {nth}, followed");
            let differ = audit(&after.read(), &Control::default()).unwrap();
            assert!(differ.is_none_or(|n| n == 0), "{op:?} {nth}, followed: {differ:?}");
            for full in [true, false] {
                gc(&after, &GcOptions { full, ..all }).unwrap();
            }
            assert_eq!(newest(&after), b, "{op:?} {nth}");
            let differ = audit(&after.read(), &Control::default()).unwrap();
            assert!(differ.is_none_or(|n| n == 0), "{op:?} {nth}: {differ:?}");
            let left = stored(&after);
            assert!(left < untouched + untouched / 20, "{op:?} {nth}: {left}, without a cut {untouched}");
        }
    }
    assert!(cuts > 5, "{cuts}");
}
