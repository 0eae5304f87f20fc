//! What many files share, held safer: which chunks those are, what they outlive, and that the store's verbs keep it so.

use super::super::tests::{GATHER, compact, gc_at, held, is_sound};
use super::super::{CompactOptions, CompactReport};
use super::*;
use crate::format::footer::PackKind;
use crate::format::{ChunkId, ChunkKind, DiskId};
use crate::io::Fs;
use crate::io::faulty::{Action, FaultPlan, Op, When};
use crate::ops::check::{self, CheckOptions};
use crate::ops::share::{facts, walk};
use crate::ops::shelf::{self, add::AddOptions, plan::Purpose, rebalance};
use crate::ops::testing::{Shelf, disk_id, disk_path, noise};
use crate::ops::{risk, snapshots};
use crate::pack::sealed_path;
use crate::store::Mode;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

fn protect(more_than: u64) -> CompactOptions {
    CompactOptions { max_fragments: None, protect_shared: Some(more_than), ..GATHER }
}

/// How many files need each chunk, by a walk and a map.
fn counted(store: &Store) -> BTreeMap<ChunkId, u64> {
    let mut files: BTreeMap<ChunkId, BTreeSet<[u8; 32]>> = BTreeMap::new();
    walk::each(store, &snapshots::list(store, &[]), &Control::default(), &mut |met| {
        let Some(recipe) = met.recipe() else { return Ok(()) };
        walk::references(store, recipe, &mut |_, _, r| {
            files.entry(r.id).or_default().insert(recipe.check);
            Ok(())
        })?;
        Ok(())
    })
    .unwrap();
    for (id, of) in files.clone() {
        for base in facts::of(store, &[id]).unwrap().pop().flatten().unwrap().bases {
            files.entry(base).or_default().extend(of.iter());
        }
    }
    files.into_iter().map(|(id, of)| (id, of.len() as u64)).collect()
}

fn shared(store: &Store, more_than: u64) -> Vec<ChunkId> {
    counted(store).into_iter().filter(|(_, n)| *n > more_than).map(|(id, _)| id).collect()
}

/// Each chunk that more than so many files need lies in a pack that is held safer and whose group says so, and no other does.
fn are_safer(shelf: &Shelf, more_than: u64, parity: usize) -> Vec<ChunkId> {
    let store = shelf.read();
    let ids = shared(&store, more_than);
    assert!(!ids.is_empty());
    for at in store.locate(&ids).unwrap() {
        let at = at.unwrap();
        assert_eq!(at.sealed.kind, PackKind::Shared);
        store.with_state(|s| {
            let group = s.group_of(&at.sealed.pack).expect("a group");
            assert_eq!(group.parity_disks.len(), parity);
            assert_eq!(s.kinds_of(group), [PackKind::Shared]);
            let mut on: Vec<DiskId> = s.members(group).iter().map(|m| m.disk).collect();
            let n = on.len();
            on.sort();
            on.dedup();
            assert_eq!(on.len(), n, "members on distinct disks");
        });
    }
    let safer: BTreeSet<ChunkId> = ids.iter().copied().collect();
    for (id, at) in counted(&store).keys().map(|id| (id, store.locate(&[*id]).unwrap().pop().unwrap().unwrap())) {
        assert_eq!(at.sealed.kind == PackKind::Shared, safer.contains(id));
    }
    assert!(store.redundancy(|pack, n| panic!("pack {pack} may lose {n:?} disks")).is_full());
    ids
}

/// `files` files that share their beginning, each with bytes of its own behind it.
fn library(shelf: &Shelf, files: u64) {
    let dir = tempfile::tempdir().unwrap();
    let same = noise(1000, 250_000);
    let all: Vec<(String, Vec<u8>)> =
        (0..files).map(|i| (format!("f{i}"), [same.clone(), noise(i, 150_000)].concat())).collect();
    let files: Vec<(&str, &[u8])> = all.iter().map(|(name, bytes)| (name.as_str(), bytes.as_slice())).collect();
    shelf.library(dir.path(), &files);
    shelf.back_up(dir.path());
}

/// Without any two disks the shared chunks can be read, and just the files are lost of which `risk` says so. Returns how many
/// were lost in all.
fn outlive_two(shelf: &Shelf, disks: &[DiskId], ids: &[ChunkId]) -> u64 {
    let at = |disk: &DiskId| shelf.read().pool().disk(disk).unwrap().path.clone();
    let mut lost = 0;
    for (i, a) in disks.iter().enumerate() {
        for b in &disks[i + 1..] {
            let told = risk::without(&shelf.read(), &[*a, *b], &Control::default()).unwrap();
            let paths = [at(a), at(b)];
            let aside = |n: usize| std::path::PathBuf::from(format!("/aside{n}"));
            (0..2).for_each(|n| shelf.fs.rename(&paths[n], &aside(n)).unwrap());
            let store = shelf.read();
            for (id, at) in ids.iter().zip(store.locate(ids).unwrap()) {
                let at = at.unwrap_or_else(|| panic!("shared chunk {id} is gone"));
                store.read_at(ChunkKind::Data, id, &at, &mut crate::chunk::Unsqueezer::default()).unwrap();
            }
            let found =
                check::run(&store, &CheckOptions { read_data: true, rebuild: true }, &Control::default()).unwrap();
            let named = |lost: &[crate::ops::FileLost]| lost.iter().map(|l| l.path.clone()).collect::<Vec<_>>();
            assert_eq!(named(&told.lost), named(&found.lost));
            lost += found.files_lost;
            drop(store);
            (0..2).for_each(|n| shelf.fs.rename(&aside(n), &paths[n]).unwrap());
        }
    }
    lost
}

fn here(shelf: &Shelf) -> Vec<DiskId> {
    shelf.read().pool().disks().map(|d| d.id).collect()
}

fn rebalanced(shelf: &Shelf) -> rebalance::RebalancePlan {
    let store = shelf.write();
    let planned = rebalance::plan(&store);
    let made = rebalance::run(&store, &planned, &Control::default()).unwrap();
    assert_eq!((made.made.failed, made.moved.failed), (vec![], vec![]));
    planned
}

#[test]
fn files_are_counted_by_content_and_bases_by_what_hangs_on_them() {
    let shelf = Shelf::new(2);
    let (a, b, c) = (noise(1, 200_000), noise(2, 200_000), noise(3, 200_000));
    let like_c = |seed: usize| {
        let mut bytes = c.clone();
        bytes.iter_mut().skip(seed).step_by(9_000).for_each(|b| *b ^= 1);
        bytes
    };
    let dir = tempfile::tempdir().unwrap();
    let files: Vec<(&str, Vec<u8>)> = vec![
        ("one", a.clone()),
        ("copies/one again", a.clone()),
        ("two", [a.clone(), b.clone()].concat()),
        ("three", [b.clone(), a.clone()].concat()),
        ("c", c.clone()),
    ];
    let files: Vec<(&str, &[u8])> = files.iter().map(|(n, b)| (*n, b.as_slice())).collect();
    shelf.library(dir.path(), &files);
    std::fs::hard_link(dir.path().join("one"), dir.path().join("a link")).unwrap();
    shelf.back_up(dir.path());
    for i in 1..5 {
        shelf.library(dir.path(), &[(format!("like c {i}").as_str(), &like_c(i))]);
        shelf.back_up(dir.path());
    }
    let store = shelf.read();
    let counts = counted(&store);
    let deltas = counts.keys().filter(|id| !facts::of(&store, &[**id]).unwrap()[0].as_ref().unwrap().bases.is_empty());
    assert!(deltas.count() > 10);
    assert_eq!(counts.values().max(), Some(&5), "what the first c has, as base of the four others");
    for n in 1..7 {
        let found = needs::find(&store, n, &Control::default()).unwrap();
        let want = shared(&store, n);
        let places: BTreeSet<(u32, u32)> =
            store.locate(&want).unwrap().into_iter().flatten().map(|at| (at.place.pack, at.place.offset)).collect();
        assert_eq!((found.chunks, found.missing, found.unreadable), (want.len() as u64, 0, 0), "{n}");
        let (mut rest, mut got, bytes) = (Vec::new(), BTreeSet::new(), found.bytes);
        let mut lying = found.into_rest().unwrap();
        while let Some(lies) = lying.next_place().unwrap() {
            rest.push(lies);
            got.insert((lies.serial, lies.offset));
        }
        assert!(rest.is_sorted_by_key(|l| (l.serial, l.offset)) && rest.len() == got.len());
        assert_eq!((got, rest.iter().map(|l| u64::from(l.bytes)).sum::<u64>()), (places, bytes));
    }
}

#[test]
fn what_many_share_outlives_a_disk_more_through_gc_rebalance_and_replace() {
    let shelf = Shelf::with_parity(6, 1);
    library(&shelf, 8);
    gc_at(&shelf, 100, true);
    let before = held(&shelf);
    let (shown, report) = compact(&shelf, &protect(2));
    let shown = shown.shared.unwrap();
    assert_eq!((shown.chunks(), shown.move_bytes()), (report.chunks_protected, report.protected_bytes));
    assert!(report.chunks_protected > 10, "{report:?}");
    let ids = are_safer(&shelf, 2, 2);
    assert_eq!(ids.len() as u64, report.chunks_protected);
    assert_eq!(compact(&shelf, &protect(2)).1, CompactReport::default(), "it is done");
    is_sound(&shelf);
    assert!(outlive_two(&shelf, &here(&shelf), &ids) > 0, "other data is lost with two disks");

    for full in [false, true] {
        gc_at(&shelf, 100, full);
        assert_eq!(are_safer(&shelf, 2, 2), ids);
        is_sound(&shelf);
    }
    let twice: u64 = shelf.read().with_state(|s| s.packs().map(|p| u64::from(p.sealed.records)).sum());
    let data = counted(&shelf.read()).len() as u64;
    assert!(twice < data + data / 4, "the old copies are gone: {twice} records, {data} chunks");
    outlive_two(&shelf, &here(&shelf)[..3], &ids);

    rebalanced(&shelf);
    assert_eq!(are_safer(&shelf, 2, 2), ids);
    outlive_two(&shelf, &here(&shelf)[3..], &ids);

    shelf.take_away(0);
    let options = AddOptions { path: "/new".into(), ..Default::default() };
    let by = shelf::add::run(&shelf.write(), &options).unwrap().id;
    let store = shelf.write();
    let from = shelf::find(&store, &disk_id(0).to_string(), Path::new("")).unwrap();
    let planned = shelf::plan::plan(&store, from.clone(), Purpose::Replace { by: Some(by) });
    let moved = shelf::moves::run(&store, &planned, &Control::default()).unwrap();
    assert_eq!((planned.lost, moved.failed), (vec![], vec![]));
    shelf::retire(&store, &from, false).unwrap();
    drop(store);
    assert_eq!(are_safer(&shelf, 2, 2), ids);
    outlive_two(&shelf, &here(&shelf), &ids);
    assert_eq!(held(&shelf), before);
    assert_eq!(compact(&shelf, &protect(2)).1, CompactReport::default());
}

#[test]
fn a_store_without_parity_holds_what_is_shared_on_two_disks() {
    let shelf = Shelf::with_parity(3, 0);
    library(&shelf, 4);
    compact(&shelf, &protect(1));
    gc_at(&shelf, 100, true);
    let ids = are_safer(&shelf, 1, 1);
    let mut lost = 0;
    for disk in 0..3 {
        shelf.take_away(disk);
        let store = shelf.read();
        for (id, at) in ids.iter().zip(store.locate(&ids).unwrap()) {
            store.read_at(ChunkKind::Data, id, &at.unwrap(), &mut crate::chunk::Unsqueezer::default()).unwrap();
        }
        lost += check::run(&store, &CheckOptions::default(), &Control::default()).unwrap().files_lost;
        drop(store);
        shelf.bring_back(disk);
    }
    assert!(lost > 0, "other data lies on one disk");
    is_sound(&shelf);
}

#[test]
fn the_class_outlives_a_change_of_parity_and_is_given_up_by_a_setting() {
    let shelf = Shelf::with_parity(6, 1);
    library(&shelf, 6);
    compact(&shelf, &protect(2));
    gc_at(&shelf, 100, true);
    let ids = are_safer(&shelf, 2, 2);
    for parity in [2, 0, 1] {
        shelf::set_parity(&shelf.write(), parity, None).unwrap();
        rebalanced(&shelf);
        if parity > 0 {
            assert_eq!(are_safer(&shelf, 2, parity + 1), ids);
        }
        assert!(rebalance::plan(&shelf.read()).is_empty(), "once is enough");
        assert_eq!(compact(&shelf, &protect(2)).1, CompactReport::default());
    }
    assert!(shelf::set_parity(&shelf.write(), 5, None).is_err());
    compact(&shelf, &protect(0));
    let store = shelf.read();
    assert_eq!(
        store.with_state(|s| (s.protects_shared(), s.wanted(PackKind::Shared) == s.wanted(PackKind::Data))),
        (None, true)
    );
    drop(store);
    rebalanced(&shelf);
    assert!(
        shelf.read().with_state(|s| s.groups().all(|g| g.parity_disks.len() == 1)),
        "the further parity is taken away"
    );
    compact(&shelf, &protect(2));
    rebalanced(&shelf);
    assert_eq!(are_safer(&shelf, 2, 2), ids, "what lies in such packs gets it back by a rebalance alone");
    is_sound(&shelf);
}

#[test]
fn other_compacts_leave_it_held_safer() {
    let shelf = Shelf::with_parity(6, 1);
    let dir = tempfile::tempdir().unwrap();
    // Text, which the dense tier codes smaller, and several snapshots of it, so that files lie in several places.
    let text = |seed: u64| -> Vec<u8> {
        let mut out = Vec::new();
        for pick in noise(seed, 200_000).chunks_exact(2) {
            out.extend_from_slice(&noise(7, 4096)[usize::from(pick[0]) * 8..][..3 + usize::from(pick[1] & 1)]);
        }
        out
    };
    let same = text(1);
    for i in 0..6 {
        shelf.library(
            dir.path(),
            &[(format!("f{i}").as_str(), &[noise(i, 150_000), same.clone(), text(50 + i)].concat())],
        );
        shelf.back_up(dir.path());
    }
    compact(&shelf, &protect(2));
    let ids = are_safer(&shelf, 2, 2);
    let others = CompactOptions { max_fragments: Some(1), recompress: true, protect_shared: None, ..GATHER };
    let report = compact(&shelf, &others).1;
    assert!(report.chunks_recoded > 10, "{report:?}");
    assert_eq!(are_safer(&shelf, 2, 2), ids);
    gc_at(&shelf, 100, false);
    assert_eq!(are_safer(&shelf, 2, 2), ids);
    // All at once, of a plan that was made before anything moved.
    shelf.library(dir.path(), &[("g", &[same.clone(), text(99)].concat()), ("h", &[text(99), same].concat())]);
    shelf.back_up(dir.path());
    compact(&shelf, &CompactOptions { protect_shared: Some(1), ..others });
    assert!(are_safer(&shelf, 1, 2).len() > ids.len());
    gc_at(&shelf, 100, true);
    are_safer(&shelf, 1, 2);
    is_sound(&shelf);
}

#[test]
fn a_bound_at_backup_leaves_it_where_it_is() {
    let shelf = Shelf::with_parity(6, 1);
    let parts: Vec<Vec<u8>> = (0..14).map(|i| noise(i, 60_000)).collect();
    for part in &parts {
        (0..3).for_each(|n| shelf.stream("f", &[part.clone(), vec![n; 70_000]].concat()));
        compact(&shelf, &protect(2));
    }
    let ids = are_safer(&shelf, 2, 2);
    let places = |store: &Store| -> BTreeSet<u32> {
        store.locate(&ids).unwrap().into_iter().flatten().map(|at| at.place.pack).collect()
    };
    assert!(places(&shelf.read()).len() > 10, "more places than a file has free");
    shelf.stream_bounded("f", &parts.concat(), 0);
    gc_at(&shelf, 100, true);
    assert!(are_safer(&shelf, 2, 2).len() >= ids.len());
}

#[test]
fn a_limit_ends_it_and_the_next_run_does_the_rest() {
    let shelf = Shelf::with_parity(6, 1);
    let dir = tempfile::tempdir().unwrap();
    let same = noise(1000, 12 << 20);
    for i in 0..3u8 {
        shelf.library(dir.path(), &[(format!("f{i}").as_str(), &[same.clone(), vec![i; 100]].concat())]);
    }
    shelf.back_up(dir.path());
    let before = held(&shelf);
    let limited = CompactOptions { max_bytes: Some(1), ..protect(2) };
    let (_, report) = compact(&shelf, &limited);
    assert!(report.stopped_at_limit && report.protected_bytes > 0);
    let mut runs = 1;
    while compact(&shelf, &limited).1.chunks_protected > 0 {
        runs += 1;
    }
    assert!((4..13).contains(&runs), "{runs} runs of a part of what is left, a MiB at least");
    are_safer(&shelf, 2, 2);
    assert_eq!(held(&shelf), before);
}

#[test]
fn a_power_cut_at_any_durable_step_leaves_every_file_and_the_next_run_ends_it() {
    let shelf = Shelf::with_parity(5, 1);
    library(&shelf, 4);
    gc_at(&shelf, 100, true);
    let before = held(&shelf);
    let (mut cuts, mut adopted) = (0, 0);
    for op in [Op::Sync, Op::Rename, Op::SyncDir] {
        for nth in (1..).step_by(3) {
            let plan = FaultPlan::new().with(op, When::Nth(nth), Action::PowerCut);
            let (mut cut, faulty) = shelf.with_faults(plan);
            cut.index = Default::default();
            let outcome = (|| -> Result<()> {
                let store = cut.open(Mode::Write { verb: "compact" })?.store;
                let planned = super::super::plan(&store, &protect(2), "test", &Control::default())?;
                super::super::run(&store, planned, &protect(2), "test", &Control::default()).map(drop)
            })();
            assert!(outcome.is_ok() || faulty.is_cut(), "{:?}", outcome.err());
            if !faulty.is_cut() {
                break;
            }
            cuts += 1;
            let fs = cut.fs.crash_strict();
            let io =
                crate::io::Io { fs: std::sync::Arc::new(fs.clone()), world: std::sync::Arc::clone(&shelf.io.world) };
            let after = Shelf {
                io,
                fs,
                index: Default::default(),
                world: std::sync::Arc::clone(&shelf.world),
                keys: shelf.keys.clone(),
                ..cut
            };
            assert_eq!(held(&after), before, "{op:?} {nth}");
            // Packs that it sealed and that the log did not know are taken over as what they are.
            let safer =
                |store: &Store| store.with_state(|s| s.packs().filter(|p| p.sealed.kind == PackKind::Shared).count());
            let logged = safer(&after.read());
            let store = after.open(Mode::Write { verb: "compact" }).unwrap().store;
            super::super::plan(&store, &CompactOptions::default(), "test", &Control::default()).unwrap();
            adopted += safer(&store) - logged;
            drop(store);
            compact(&after, &protect(2));
            assert_eq!(compact(&after, &protect(2)).1, CompactReport::default());
            gc_at(&after, 100, true);
            are_safer(&after, 2, 2);
            assert_eq!(held(&after), before, "{op:?} {nth}");
            is_sound(&after);
        }
    }
    assert!(cuts > 10 && adopted > 0, "{cuts} cuts, {adopted} adopted");
}

#[test]
fn a_packs_file_says_what_it_is_and_is_data_to_a_reader() {
    let shelf = Shelf::with_parity(5, 1);
    library(&shelf, 4);
    compact(&shelf, &protect(2));
    let store = shelf.read();
    for sealed in store.with_state(|s| s.packs().map(|p| p.sealed).collect::<Vec<_>>()) {
        assert_eq!(store.ends(&sealed).unwrap().header.kind, sealed.kind, "the file says it too");
        let at = (0..5).find(|i| disk_id(*i) == sealed.disk).unwrap();
        let bytes = shelf.fs.read(sealed_path(&disk_path(at), sealed.pack)).unwrap();
        assert_eq!(bytes[10], if sealed.kind == PackKind::Metadata { 2 } else { 1 }, "to a reader it is data");
    }
}

#[test]
fn too_few_disks_are_called_so() {
    let shelf = Shelf::with_parity(2, 1);
    library(&shelf, 3);
    let refused = super::plan(&shelf.read(), 1, &Control::default()).err().unwrap();
    assert!(matches!(refused, Error::Argument { .. }), "{refused}");
    let shelf = Shelf::with_parity(3, 1);
    compact(&shelf, &protect(1));
    assert!(shelf::set_parity(&shelf.write(), 2, None).is_err(), "three disks are too few for one parity pack more");
}
