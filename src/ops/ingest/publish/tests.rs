//! Publications beside one who waits for them, in many orders of their threads.

use super::super::{Purpose, run};
use super::*;
use crate::format::footer::PackKind;
use crate::format::{ChunkKind, PackId};
use crate::io::threads::{Schedule, simulate};
use crate::ops::Control;
use crate::ops::testing::{Shelf, disk_path, noise};
use crate::pack::sealed_path;
use crate::pack::write::{NewRecord, PackWriter};
use crate::pool::disk::Disk;
use crate::pool::parity::parity_path;

/// A sealed pack of this run with one chunk in it.
fn a_pack(ingest: &Ingest<'_>, disk: &Disk, n: u64) -> Result<Sealed> {
    let (store, pack) = (ingest.store, PackId::new(ingest.writer, ingest.sequence.fetch_add(1, Ordering::Relaxed)));
    let of = store.superblock().store;
    let mut w = PackWriter::create(store.io(), of, &disk.path, disk.id, pack, PackKind::Data)?;
    let plain = noise(n, 5000);
    w.append(vec![NewRecord::raw(store.keys().chunk_id(ChunkKind::Data, &plain), plain)])?;
    w.seal().map_err(|(_, e)| e)
}

fn harm(shelf: &Shelf, disk: &Disk, pack: PackId) {
    let path = sealed_path(&disk.path, pack);
    let mut bytes = shelf.fs.read(&path).unwrap();
    bytes[3000] ^= 1;
    shelf.fs.remove(&path).unwrap();
    shelf.fs.write(&path, &bytes).unwrap();
}

/// Hands over packs of a run that has parity 1, one a disk in turn, and settles. One of the packs, if any, is harmed behind its
/// seal. Returns how the settling ended, and how many packs were left that count as in work.
fn hand_over_and_settle(seed: u64, packs: usize, harmed: Option<usize>) -> (Result<()>, usize) {
    simulate(Schedule { seed, parallelism: 2, pauses: 3 }, || {
        let shelf = Shelf::with_parity(4, 1);
        let store = shelf.write();
        let (mut settled, mut left) = (Ok(()), 0);
        let ended = run(&store, &Control::default(), Purpose::copying("test"), |ingest| {
            ingest.begin()?;
            let disks: Vec<_> = store.pool().disks().collect();
            for i in 0..packs {
                let disk = disks[i % disks.len()];
                let sealed = a_pack(ingest, disk, i as u64)?;
                if harmed == Some(i) {
                    harm(&shelf, disk, sealed.pack);
                }
                ingest.in_work().without_parity.push(disk.id);
                ingest.hand_over(sealed);
            }
            settled = ingest.settle();
            let in_work = ingest.in_work();
            left = in_work.without_parity.len() + in_work.written.len() + in_work.parity.len();
            drop(in_work);
            Ok(((), |_: &mut (), _: &_| Vec::new()))
        });
        // Who settles may have met the harmed one himself.
        assert_eq!(ended.is_err() || settled.is_err(), harmed.is_some(), "{ended:?} {settled:?}");
        (settled, left)
    })
}

#[test]
fn who_settles_is_told_what_others_could_not_publish() {
    for seed in 0..80 {
        for harmed in [0, 3, 7] {
            let (settled, _) = hand_over_and_settle(seed, 8, Some(harmed));
            assert!(settled.is_err(), "seed {seed}: all is well, and pack {harmed} is in no log");
        }
    }
}

#[test]
fn what_was_handed_over_is_protected_when_it_has_settled_and_nothing_stays_in_work() {
    for seed in 0..40 {
        for packs in [1, 3, 8, 11] {
            let (settled, left) = hand_over_and_settle(seed, packs, None);
            assert!(settled.is_ok() && left == 0, "seed {seed}, {packs} packs: {settled:?}, {left} in work");
        }
    }
}

/// Has six packs wait, three on each of two disks of ten, when the run ends: fewer than are published before that. It fails if
/// one of them is `harmed`. Returns the log's entries since, and the packs that it knows.
fn hand_over_and_end(seed: u64, harmed: Option<usize>) -> (u64, usize) {
    simulate(Schedule { seed, parallelism: 2, pauses: 3 }, || {
        let shelf = Shelf::with_parity(10, 1);
        let store = shelf.write();
        let mut before = 0;
        let ended = run(&store, &Control::default(), Purpose::copying("test"), |ingest| {
            ingest.begin()?;
            before = store.with_state(|s| s.number);
            let mut waiting = ingest.unpublished.lock();
            assert!(ingest.publish_at() > 6);
            let disks: Vec<_> = store.pool().disks().take(2).collect();
            for (i, disk) in disks.into_iter().cycle().take(6).enumerate() {
                let sealed = a_pack(ingest, disk, i as u64)?;
                if harmed == Some(i) {
                    harm(&shelf, disk, sealed.pack);
                }
                waiting.packs.push(sealed);
            }
            Ok(((), |_: &mut (), _: &_| Vec::new()))
        });
        assert_eq!(ended.is_err(), harmed.is_some(), "{ended:?}");
        store.with_state(|s| (s.number - before, s.packs().count()))
    })
}

#[test]
fn what_waits_at_the_end_of_a_run_is_named_by_one_entry() {
    for seed in 0..40 {
        assert_eq!(hand_over_and_end(seed, None), (1, 6), "seed {seed}");
    }
}

#[test]
fn what_others_have_protected_is_logged_when_a_pack_of_the_last_ones_is_bad() {
    for seed in 0..40 {
        assert_eq!(hand_over_and_end(seed, Some(2)).1, 5, "seed {seed}");
    }
}

/// A group of a run that lost a disk is as wide as the disks that are left let it be.
#[test]
fn a_disk_that_dies_in_a_run_makes_groups_narrower_by_one_and_no_more() {
    let shelf = Shelf::with_parity(6, 2);
    let store = shelf.write();
    assert_eq!(store.shape(PackKind::Data).width, 4);
    run(&store, &Control::default(), Purpose::copying("test"), |ingest| {
        ingest.begin()?;
        let disks: Vec<_> = store.pool().disks().collect();
        disks[5].suspect();
        for i in 0..6 {
            ingest.hand_over(a_pack(ingest, disks[i % 3], i as u64)?);
        }
        ingest.settle()?;
        Ok(((), |_: &mut (), _: &_| Vec::new()))
    })
    .unwrap();
    let parities = |g: &crate::format::group::Group| g.members.iter().filter(|m| m.parity).count();
    let groups: Vec<(usize, usize)> = store
        .with_state(|s| s.groups().map(|g| (g.group.members.len() - parities(&g.group), parities(&g.group))).collect());
    assert_eq!(groups, [(3, 2), (3, 2)]);
    let parity =
        |m: &crate::format::group::Member| (0..6).any(|i| shelf.fs.read(parity_path(&disk_path(i), m.pack)).is_ok());
    assert!(store.with_state(|s| s.groups().all(|g| g.group.members.iter().filter(|m| m.parity).all(&parity))));
}
