//! A disk that joined late gets its share; nothing is less redundant for it; what is even is left alone.

use super::*;
use crate::ops::check::{self, CheckOptions};
use crate::ops::shelf::add::{self, AddOptions};
use crate::ops::shelf::rebalance;
use crate::ops::testing::{Shelf, disk_path, noise};
use std::path::{Path, PathBuf};

const MIB: u64 = 1 << 20;

/// Each disk is a filesystem of its own, filled by some backups.
fn filled(disks: &[u64], parity: usize, streams: u64) -> Shelf {
    let shelf = Shelf::with_parity(disks.len(), parity);
    for (i, bytes) in disks.iter().enumerate() {
        shelf.fs.set_capacity(disk_path(i), *bytes).unwrap();
    }
    for seed in 0..streams {
        shelf.stream(&format!("s{seed}"), &noise(seed, 3 << 20));
    }
    shelf
}

fn join(shelf: &Shelf, path: &str, bytes: u64) -> DiskId {
    crate::io::Fs::create_dir_all(&shelf.fs, Path::new(path)).unwrap();
    shelf.fs.set_capacity(path, bytes).unwrap();
    let added = add::run(&shelf.write(), &AddOptions { path: PathBuf::from(path), ..Default::default() }).unwrap();
    drop(shelf.write()); // the log comes to stand on it
    added.id
}

fn per_mille(store: &Store) -> BTreeMap<DiskId, i64> {
    super::shelf(store).iter().map(|(id, d)| (*id, d.per_mille())).collect()
}

/// No two members of a group lie on one disk, everything may lose what it should, and everything is there.
fn sound(shelf: &Shelf) {
    let store = shelf.read();
    store.with_state(|s| {
        for group in s.groups() {
            let mut on: Vec<DiskId> = s.members(group).iter().map(|m| m.disk).collect();
            let n = on.len();
            on.sort();
            on.dedup();
            assert_eq!(on.len(), n, "two members of a group on one disk");
        }
    });
    assert!(store.redundancy(|_, _| {}).is_full());
    let options = CheckOptions { read_data: true, rebuild: false };
    let report = check::run(&store, &options, &Control::default()).unwrap();
    assert_eq!((report.lost, report.problems), (vec![], vec![]));
}

#[test]
fn a_new_disk_gets_its_share_and_once_is_enough() {
    for (disks, parity, streams, new) in [
        (&[64 * MIB; 4][..], 1, 24, 64 * MIB),
        (&[48 * MIB, 64 * MIB, 96 * MIB, 64 * MIB, 48 * MIB], 2, 20, 96 * MIB),
        (&[64 * MIB, 64 * MIB], 0, 20, 64 * MIB),
    ] {
        let shelf = filled(disks, parity, streams);
        let id = join(&shelf, "/new", new);
        let store = shelf.write();
        let before = per_mille(&store);
        let planned = plan(&store);
        let (onto, all) =
            planned.iter().fold((0, 0), |(onto, all), e| (onto + if e.to == id { e.bytes } else { 0 }, all + e.bytes));
        assert!(all > 0 && onto * 10 >= all * 9, "{onto} of {all} bytes go there, {before:?}");
        let moved = run(&store, &planned, &Control::default()).unwrap();
        assert_eq!((moved.packs, moved.failed), (planned.len() as u64, vec![]));
        let after = per_mille(&store);
        let (total, used) = super::shelf(&store).values().fold((0, 0), |(t, u), d| (t + d.total, u + d.used));
        let mean = (used * 1000 / total) as i64;
        assert!(before[&id] < 100 && after[&id] > before[&id] + 100 && after[&id] <= mean, "{before:?} {after:?}");
        assert!(plan(&store).is_empty(), "once is enough: {after:?}");
        drop(store);
        sound(&shelf);
    }
}

#[test]
fn what_was_stopped_goes_on() {
    let shelf = filled(&[64 * MIB; 4], 1, 24);
    let id = join(&shelf, "/new", 64 * MIB);
    let store = shelf.write();
    let planned = plan(&store);
    let (some, _) = planned.split_at(planned.len() / 3);
    let before_last: u64 = some.iter().rev().skip(1).map(|e| e.bytes).sum();
    assert!(before_last > 3 << 20, "{before_last}: too little to tell a pace");
    let (begun, rate) = (std::time::Instant::now(), 4 << 20);
    let control = Control::default();
    control.set_rate(Some(rate));
    run(&store, some, &control).unwrap();
    // Any of them may be begun last; the longest is about a MiB.
    assert!(begun.elapsed().as_secs_f64() > before_last.saturating_sub(2 << 20) as f64 / rate as f64, "it is paced");
    drop(store);
    sound(&shelf);
    let store = shelf.write();
    let rest = plan(&store);
    assert!(rest.len() < planned.len() && rest.iter().any(|e| e.to == id));
    // A rebalance carries it out too.
    let all = rebalance::plan(&store);
    assert_eq!(all.moves, rest);
    rebalance::run(&store, &all, &Control::default()).unwrap();
    assert!(plan(&store).is_empty());
    drop(store);
    sound(&shelf);
}

#[test]
fn a_plan_that_is_old_brings_no_two_members_onto_one_disk() {
    let shelf = filled(&[64 * MIB; 4], 1, 24);
    join(&shelf, "/new", 64 * MIB);
    let store = shelf.write();
    let planned = plan(&store);
    let first = run(&store, &planned, &Control::default()).unwrap();
    assert_eq!((first.packs, first.failed), (planned.len() as u64, vec![]));
    // All that is left would go to the new disk, where a member of each of these groups lies by now.
    let to = planned[0].to;
    let went = planned.iter().filter(|e| e.to == to); // a few may have gone to other disks
    let there: BTreeSet<[u8; 16]> =
        store.with_state(|s| went.filter_map(|e| s.group_of(&e.pack).map(|g| g.group.id)).collect());
    let old: Vec<Even> = store.with_state(|s| {
        let groups = s.groups().filter(|g| there.contains(&g.group.id));
        let members = groups.flat_map(|g| s.members(g)).filter(|m| m.disk != to);
        members.map(|m| Even { pack: m.pack, parity: m.parity, bytes: m.bytes, from: m.disk, to }).collect()
    });
    let moved = run(&store, &old, &Control::default()).unwrap();
    assert_eq!((moved.packs, moved.failed.len()), (0, old.len()));
    drop(store);
    sound(&shelf);
}

#[test]
fn an_even_shelf_and_one_on_a_single_filesystem_are_left_alone() {
    assert!(plan(&filled(&[64 * MIB; 4], 1, 24).read()).is_empty());
    let shelf = Shelf::with_parity(4, 1);
    (0..4).for_each(|seed| shelf.stream(&format!("s{seed}"), &noise(seed, 3 << 20)));
    assert!(plan(&shelf.read()).is_empty());
}
