//! Metadata that is kept several times: how, what it outlives, and that the store's verbs keep it so.

use super::{rebalance, set_copies, set_parity};
use crate::format::DiskId;
use crate::format::event::SealedPack;
use crate::format::footer::PackKind;
use crate::ops::check::{self, CheckOptions};
use crate::ops::gc::{self, GcOptions};
use crate::ops::testing::{Shelf, disk_id, disk_path, noise};
use crate::ops::{Control, forget, snapshots};
use crate::pack::sealed_path;
use crate::pool::parity::parity_path;
use crate::store::Store;

const STREAM_BYTES: usize = 2 << 20;

fn packs(store: &Store, kind: PackKind) -> Vec<SealedPack> {
    store.with_state(|s| s.packs().map(|p| p.sealed).filter(|p| p.kind == kind).collect())
}

/// Each pack of metadata is a group of its own, on `disks` disks; nothing else has its shape changed.
fn kept(shelf: &Shelf, disks: usize) {
    let store = shelf.read();
    let all = packs(&store, PackKind::Metadata);
    assert!(!all.is_empty());
    for pack in all {
        let (data, mut on) = store.with_state(|s| {
            let group = s.group_of(&pack.pack).unwrap_or_else(|| panic!("pack {} has no group", pack.pack));
            (group.data(), s.members(group).iter().map(|m| m.disk).collect::<Vec<DiskId>>())
        });
        on.sort();
        on.dedup();
        assert_eq!((data, on.len()), (1, disks), "pack {}", pack.pack);
    }
    let r = store.redundancy(|pack, n| panic!("pack {pack} may lose {n:?} disks"));
    assert!(r.is_full());
}

fn whole(shelf: &Shelf) {
    let options = CheckOptions { read_data: true, rebuild: false };
    let report = check::run(&shelf.read(), &options, &Control::default()).unwrap();
    assert_eq!((report.lost, report.problems), (vec![], vec![]));
}

#[test]
fn metadata_outlives_more_disks_than_parity_allows_and_its_parity_is_its_bytes() {
    let shelf = Shelf::with_parity(6, 1);
    set_copies(&shelf.write(), 3).unwrap();
    for seed in 0..2 {
        shelf.stream(&format!("s{seed}"), &noise(seed, STREAM_BYTES));
    }
    kept(&shelf, 4);
    whole(&shelf);
    let store = shelf.read();
    for pack in packs(&store, PackKind::Metadata) {
        let members = store.with_state(|s| s.members(s.group_of(&pack.pack).unwrap()));
        let on = |disk: &DiskId| disk_path((0..6).find(|i| disk_id(*i) == *disk).unwrap());
        let own = shelf.fs.read(sealed_path(&on(&pack.disk), pack.pack)).unwrap();
        for m in members.iter().filter(|m| m.parity) {
            let copy = shelf.fs.read(parity_path(&on(&m.disk), m.pack)).unwrap();
            assert!((0..copy.len()).step_by(64).any(|at| copy[at..].starts_with(&own)), "parity of one is its bytes");
        }
    }
    drop(store);
    let mut losses = 0;
    for gone in [[0, 1, 2], [3, 4, 5], [0, 2, 4], [1, 3, 5], [0, 1, 5]] {
        gone.iter().for_each(|d| shelf.take_away(*d));
        let store = shelf.read();
        for pack in packs(&store, PackKind::Metadata) {
            assert!(store.ends(&pack).is_ok(), "{gone:?}");
        }
        // Files are lost by their data alone: each is named, none is hidden behind a folder or a list.
        let report = check::run(&store, &CheckOptions::default(), &Control::default()).unwrap();
        losses += report.lost.len();
        assert!(report.lost.iter().all(|l| l.path.starts_with(b"/s")), "{gone:?}: {:?}", report.lost);
        drop(store);
        gone.iter().for_each(|d| shelf.bring_back(*d));
    }
    assert!(losses > 0, "three disks are more than the parity of data");
}

#[test]
fn a_store_without_parity_keeps_copies_of_its_metadata_alone() {
    let shelf = Shelf::with_parity(4, 0);
    set_copies(&shelf.write(), 2).unwrap();
    shelf.stream("s", &noise(1, STREAM_BYTES));
    kept(&shelf, 2);
    let store = shelf.read();
    for pack in packs(&store, PackKind::Data) {
        assert!(store.with_state(|s| s.group_of(&pack.pack).is_none()));
    }
    assert!(rebalance::plan(&store).is_empty());
}

#[test]
fn old_metadata_gets_its_copies_by_a_rebalance_and_gives_them_up_by_one() {
    let shelf = Shelf::with_parity(6, 1);
    for seed in 0..3 {
        shelf.stream(&format!("s{seed}"), &noise(seed, STREAM_BYTES));
    }
    set_copies(&shelf.write(), 2).unwrap();
    assert!(!shelf.read().redundancy(|_, _| {}).is_full(), "what is not there yet is not counted");
    let rebalanced = || {
        let store = shelf.write();
        let planned = rebalance::plan(&store);
        let made = rebalance::run(&store, &planned, &Control::default()).unwrap();
        assert!(!planned.is_empty() && made.made.failed.is_empty());
        assert!(rebalance::plan(&store).is_empty(), "once is enough");
    };
    rebalanced();
    kept(&shelf, 3);
    whole(&shelf);
    set_copies(&shelf.write(), 1).unwrap();
    rebalanced();
    whole(&shelf);
    let store = shelf.read();
    assert!(
        packs(&store, PackKind::Metadata)
            .iter()
            .all(|p| store.with_state(|s| { s.group_of(&p.pack).is_some_and(|g| g.parity_disks.len() == 1) }))
    );
}

#[test]
fn a_gc_keeps_copies_and_leaves_none_of_what_is_dropped() {
    let shelf = Shelf::with_parity(5, 1);
    set_copies(&shelf.write(), 2).unwrap();
    for seed in 0..3 {
        shelf.stream("s", &noise(seed, STREAM_BYTES));
    }
    let store = shelf.write();
    let list: Vec<_> = snapshots::list(&store, &[]).into_iter().take(2).collect();
    forget::run(&store, &forget::by_name(list).unwrap(), "t", "t", &Control::default()).unwrap();
    drop(store);
    let options = GcOptions {
        grace_ns: 0,
        trust_clock: false,
        threshold_percent: Some(100),
        max_bytes: None,
        max_duration_ns: None,
        full: false,
    };
    let store = shelf.write();
    let planned = gc::plan(&store, &options, "test", &Control::default()).unwrap();
    let report = gc::run(&store, planned, &options, "test", &Control::default()).unwrap();
    assert!(report.packs_dropped + report.packs_rewritten > 0, "{report:?}");
    drop(store);
    kept(&shelf, 3);
    whole(&shelf); // files that nothing counts on would be problems
}

#[test]
fn copies_need_disks_of_their_own() {
    let shelf = Shelf::with_parity(4, 2);
    for (copies, fits) in [(0, false), (1, true), (2, true), (3, false), (5, false)] {
        assert_eq!(set_copies(&shelf.write(), copies).is_ok(), fits, "{copies}");
    }
    set_copies(&shelf.write(), 2).unwrap();
    assert!(set_parity(&shelf.write(), 3, None).is_err(), "both do not fit on four disks");
}
