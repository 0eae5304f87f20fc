//! What a scrub may say of damage, and when.

use super::*;
use crate::catalog::state::LogState;
use crate::format::event::SealedPack;
use crate::format::footer::PackKind;
use crate::format::{ChunkId, ChunkKind};
use crate::ops::shelf::{self, Purpose, moves, plan};
use crate::ops::testing::{STORE, Shelf, disk_id, disk_path, noise};
use crate::pack::write::{NewRecord, PackWriter};
use std::path::Path;

fn filled(disks: usize, parity: usize) -> Shelf {
    let shelf = Shelf::with_parity(disks, parity);
    shelf.stream("s", &noise(1, 3 << 20));
    shelf
}

fn spoil_all(shelf: &Shelf) -> usize {
    let store = shelf.read();
    let packs: Vec<SealedPack> = store.with_state(|s| s.packs().map(|p| p.sealed).collect());
    for p in &packs {
        shelf
            .fs
            .flip(crate::pack::sealed_path(&store.pool().disk(&p.disk).unwrap().path, p.pack), 4 * p.bytes)
            .unwrap();
    }
    packs.len()
}

fn scrub_with(shelf: &Shelf, store: &Store, options: &ScrubOptions) -> ScrubReport {
    let (pass, _) = pass_of(store);
    let mut with =
        |found: &mut Found, at: Moment| settle(&shelf.write(), found, pass, at.complete, &Control::default());
    run(store, options, &Control::default(), &mut with).unwrap()
}

#[test]
fn damage_is_told_with_the_last_call_although_time_ran_out() {
    let shelf = filled(4, 1);
    spoil_all(&shelf);
    let options = ScrubOptions {
        rate: Some(4 << 20), // each disk's first pack takes longer than the time there is
        max_duration: Some(Duration::from_millis(50)),
        ..ScrubOptions::default()
    };
    let mut calls = Vec::new();
    let mut locked_out = |found: &mut Found, at: Moment| {
        calls.push((at, found.damaged.len()));
        Ok(Vec::new())
    };
    let report = run(&shelf.read(), &options, &Control::default(), &mut locked_out).unwrap();
    let (last, damaged) = *calls.last().unwrap();
    assert_eq!(last, Moment { last: true, complete: false });
    assert!(damaged > 0 && !report.complete);
    assert!(calls.iter().rev().skip(1).all(|(at, _)| !at.last));
}

#[test]
fn damage_is_settled_soon_and_not_only_at_the_end() {
    let shelf = filled(4, 1);
    shelf.stream("t", &noise(2, 3 << 20));
    let store = shelf.read();
    // The first of several on its disk, whose worker then has more to read.
    let packs: Vec<SealedPack> = store.with_state(|s| s.packs().map(|p| p.sealed).collect());
    let has_more =
        |p: &&SealedPack| packs.iter().filter(|o| o.disk == p.disk).map(|o| o.bytes).sum::<u64>() > p.bytes + 500_000;
    let first = *packs.iter().find(has_more).unwrap();
    let disk = store.pool().disk(&first.disk).unwrap().path.clone();
    shelf.fs.flip(crate::pack::sealed_path(&disk, first.pack), 4 * first.bytes).unwrap();
    let mut calls = Vec::new();
    let mut with = |found: &mut Found, at: Moment| {
        calls.push((at.last, found.damaged.contains_key(&first.pack)));
        Ok(Vec::new())
    };
    let options = ScrubOptions { rate: Some(1 << 20), ..ScrubOptions::default() };
    run(&store, &options, &Control::default(), &mut with).unwrap();
    assert_eq!(calls, [(false, true), (true, true)], "and one that could not be settled waits");
}

/// Seals a pack with two records, of which the second does not hash to its name; returns it and the two ranges.
fn with_a_misnamed_record(shelf: &Shelf) -> (PackId, [(u64, u64); 2]) {
    let store = shelf.write();
    let pack = PackId([5; 12]);
    let mut writer = PackWriter::create(&shelf.io, STORE, &disk_path(0), disk_id(0), pack, PackKind::Data).unwrap();
    let plain = [noise(50, 5000), noise(51, 5000)];
    let ids = [store.keys().chunk_id(ChunkKind::Data, &plain[0]), ChunkId([8; 32])];
    let record = |i: usize| NewRecord::raw(ids[i], plain[i].clone());
    writer.append(vec![record(0), record(1)]).unwrap();
    let sealed = writer.seal().map_err(|(_, e)| e).unwrap();
    store.append(|s| vec![Event::PackSealed(sealed.event(s.next_serial()))]).unwrap();
    let range = |i: usize| {
        let row = &sealed.footer.rows[i];
        (u64::from(row.offset), row.header.record_bytes())
    };
    (pack, [range(0), range(1)])
}

fn known(shelf: &Shelf, pack: &PackId) -> usize {
    shelf.read().with_state(|s: &LogState| s.damage.get(pack).map_or(0, Vec::len))
}

#[test]
fn damage_that_units_cannot_see_outlives_a_scrub_and_a_repair() {
    let shelf = Shelf::new(1);
    let (pack, [good, misnamed]) = with_a_misnamed_record(&shelf);
    let found = |(at, n): (u64, u64)| {
        check::record(&shelf.write(), &[(pack, at, n)], &[]).unwrap();
        scrub_with(&shelf, &shelf.read(), &ScrubOptions::default())
    };
    let report = found(good);
    assert_eq!((report.mended.len(), known(&shelf, &pack)), (0, 0), "it proves by its name");
    let report = found(misnamed);
    assert_eq!((report.mended.len(), known(&shelf, &pack)), (0, 1));
    repair::mend(&shelf.write(), &[pack], &Control::default()).unwrap();
    assert_eq!(known(&shelf, &pack), 1);
}

#[test]
fn a_move_does_not_heal_damage_that_units_cannot_see() {
    let shelf = Shelf::new(2);
    let (pack, [_, (at, n)]) = with_a_misnamed_record(&shelf);
    check::record(&shelf.write(), &[(pack, at, n)], &[]).unwrap();
    drained(&shelf, 0);
    assert_eq!(known(&shelf, &pack), 1);
}

#[test]
fn damage_that_was_found_after_a_pack_was_read_is_not_healed_by_that_reading() {
    let shelf = filled(4, 1);
    let store = shelf.read();
    let pack = store.with_state(|s| s.packs().next().unwrap().sealed.pack);
    let mut found = Found::default();
    found.proven.push(Proven { pack, time_ns: 1, known: Vec::new() });
    shelf.write().append(|_| vec![Event::DamageFound { pack, offset: 0, bytes: 0, by: BY.into() }]).unwrap();
    settle(&shelf.write(), &mut found, 0, true, &Control::default()).unwrap();
    assert_eq!(known(&shelf, &pack), 1);
    // who reads it again, knowing of it, heals it
    scrub_with(&shelf, &shelf.read(), &ScrubOptions::default());
    assert_eq!(known(&shelf, &pack), 0);
}

fn drained(shelf: &Shelf, disk: usize) {
    let store = shelf.write();
    let from = shelf::find(&store, &disk_id(disk).to_string(), Path::new("")).unwrap();
    let moved = moves::run(&store, &plan::plan(&store, from, Purpose::Drain), &Control::default()).unwrap();
    assert_eq!(moved.failed, []);
}

#[test]
fn a_scrub_and_a_check_beside_moves_call_nothing_damaged() {
    let shelf = filled(7, 1);
    let (before, checked) = (shelf.read(), shelf.read());
    drained(&shelf, 2); // both readers still have the packs there
    let report = scrub_with(&shelf, &before, &ScrubOptions::default());
    assert_eq!((report.mended, report.complete), (vec![], true));
    assert!(shelf.read().with_state(|s| s.damage.is_empty()));
    for read_data in [true, false] {
        let options = check::CheckOptions { read_data, rebuild: false };
        let report = check::run(&checked, &options, &Control::default()).unwrap();
        assert_eq!((report.files_lost, report.damage), (0, vec![]));
        assert!(report.problems.is_empty(), "{:?}", report.problems);
    }
}

/// Found by the simulation: without parity the whole MiB round a flipped bit was noted as damage, and every file in it was called lost.
#[test]
fn damage_that_cannot_be_mended_loses_the_records_that_it_hits_and_no_others() {
    let mut shelf = Shelf::new(1);
    for seed in 0..6 {
        shelf.stream(&format!("s{seed}"), &noise(seed, 100_000));
    }
    let packs = shelf.fs.paths().into_iter().filter(|p| p.extension().is_some_and(|e| e == "pack"));
    let pack = packs.max_by_key(|p| shelf.fs.read(p).unwrap().len()).unwrap();
    shelf.fs.flip(&pack, 30_000 * 8).unwrap();
    let scrub = || {
        let store = shelf.read();
        let (pass, _) = pass_of(&store);
        run(&store, &ScrubOptions::default(), &Control::default(), &mut |found, at| {
            settle(&shelf.write(), found, pass, at.complete, &Control::default())
        })
        .unwrap()
    };
    for _ in 0..2 {
        let report = scrub();
        assert_eq!(report.mended.iter().filter(|m| m.failed.is_some()).count(), 1);
        let known: Vec<_> = shelf.read().with_state(|s| s.damage.values().flatten().cloned().collect());
        assert_eq!(known.len(), 1, "{known:?}");
        assert!(known[0].bytes <= 65 << 10 && (1..=30_000).contains(&known[0].offset), "one record: {known:?}");
    }
    for read_data in [false, true] {
        let report = check::run(&shelf.read(), &check::CheckOptions { read_data, rebuild: false }, &Control::default());
        assert_eq!(report.unwrap().files_lost, 1, "read_data: {read_data}");
    }
    shelf.forget_index();
    let report = check::run(&shelf.read(), &check::CheckOptions::default(), &Control::default());
    assert_eq!(report.unwrap().files_lost, 1);
}

#[test]
fn a_disk_that_worries_is_read_whatever_was_proven_lately() {
    let shelf = filled(4, 1);
    let first = scrub_with(&shelf, &shelf.read(), &ScrubOptions::default());
    assert!(first.complete && first.left_out == 0);
    let month = ScrubOptions { older_than: Some(Duration::from_secs(30 * 86_400)), ..ScrubOptions::default() };
    assert_eq!(scrub_with(&shelf, &shelf.read(), &month).packs, 0);
    let disk = shelf.read().pool().disks().next().unwrap().id;
    let there = shelf.read().with_state(|s| {
        let parity = s.groups().flat_map(|g| s.members(g)).filter(|m| m.parity && m.disk == disk).count();
        parity + s.packs().filter(|p| p.sealed.disk == disk).count()
    });
    let worried = ScrubOptions { worried: [disk].into(), ..month };
    assert_eq!(scrub_with(&shelf, &shelf.read(), &worried).packs, there as u64);
}
