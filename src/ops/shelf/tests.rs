//! Disks that come, go and are emptied, over disks in memory: after each act everything restores, and any m disks may be
//! lost again.

use super::add::{self, AddOptions};
use super::moves::{self, Moved};
use super::plan::{self, Purpose};
use super::{Named, find, rebalance, retire, set_parity};
use crate::format::DiskId;
use crate::format::event::Event;
use crate::io::faulty::{Action, Failure, FaultPlan, Op, When};
use crate::io::{Io, World};
use crate::ops::Control;
use crate::ops::check::{self, CheckOptions};
use crate::ops::risk;
use crate::ops::scrub::{self, Found, Moment, ScrubOptions, ScrubReport};
use crate::ops::testing::{Shelf, disk_id, disk_path, noise};
use crate::store::Store;
use std::path::Path;
use std::sync::Arc;

const STREAM_BYTES: usize = 3 << 20;

fn filled(disks: usize, parity: usize, streams: u64) -> Shelf {
    let shelf = Shelf::with_parity(disks, parity);
    for seed in 0..streams {
        shelf.stream(&format!("s{seed}"), &noise(seed, STREAM_BYTES));
    }
    shelf
}

/// Everything of every snapshot can be had, byte for byte, by `check` with all data read.
fn whole(shelf: &Shelf) {
    let store = shelf.read();
    let report = check::run(&store, &CheckOptions { read_data: true, rebuild: false }, &Control::default()).unwrap();
    assert_eq!(report.files_lost, 0, "{:?}", report.lost);
    let last = shelf.latest(&store).snapshot.roots[0].clone();
    let name = String::from_utf8(last).unwrap();
    let seed: u64 = name.trim_start_matches("/s").parse().unwrap();
    assert!(shelf.bytes_of(&store, &name).unwrap() == noise(seed, STREAM_BYTES));
}

/// Moves all that a disk holds to the others; it has not left.
fn drained(shelf: &Shelf, disk: usize) -> Named {
    let store = shelf.write();
    let from = find(&store, &disk_id(disk).to_string(), Path::new("")).unwrap();
    moves::run(&store, &plan::plan(&store, from.clone(), Purpose::Drain), &Control::default()).unwrap();
    from
}

/// Without faults, and with an entry that was written while a disk was away.
fn gone_on_without(faulty: &Shelf, disk: usize) -> Shelf {
    let (shelf, _) = faulty.with_faults(FaultPlan::new());
    shelf.take_away(disk);
    set_parity(&shelf.write(), 0, Some(2)).unwrap();
    shelf.bring_back(disk);
    shelf
}

fn fully_redundant(shelf: &Shelf) {
    let store = shelf.read();
    let r = store.redundancy(|pack, n| panic!("pack {pack} may lose {n:?} disks"));
    assert!(r.is_full());
}

fn scrubbed(shelf: &Shelf) -> ScrubReport {
    let store = shelf.read();
    let (pass, _) = scrub::pass_of(&store);
    let mut settle =
        |found: &mut Found, at: Moment| scrub::settle(&shelf.write(), found, pass, at.complete, &Control::default());
    scrub::run(&store, &ScrubOptions::default(), &Control::default(), &mut settle).unwrap()
}

fn join(shelf: &Shelf, path: &str) -> DiskId {
    let options = AddOptions { path: path.into(), ..Default::default() };
    let added = add::run(&shelf.write(), &options).unwrap();
    drop(shelf.write()); // the log comes to stand on it
    added.id
}

fn moved(shelf: &Shelf, disk: usize, purpose: Purpose) -> Moved {
    let store = shelf.write();
    let from = find(&store, &disk_id(disk).to_string(), Path::new("")).unwrap();
    let planned = plan::plan(&store, from, purpose);
    assert_eq!(planned.lost, []);
    moves::run(&store, &planned, &Control::default()).unwrap()
}

fn packs_on(shelf: &Shelf, disk: DiskId) -> usize {
    plan::standing_on(&shelf.read(), &disk).len()
}

#[test]
fn two_dead_disks_are_replaced_and_two_others_may_die_then() {
    let shelf = filled(8, 2, 3);
    shelf.take_away(0);
    shelf.take_away(1);
    shelf.stream("s7", &noise(7, STREAM_BYTES));
    for (old, new) in [(0, "/new0"), (1, "/new1")] {
        let by = join(&shelf, new);
        let moved = moved(&shelf, old, Purpose::Replace { by: Some(by) });
        assert_eq!(moved.failed, []);
        let store = shelf.write();
        let from = find(&store, &disk_id(old).to_string(), Path::new("")).unwrap();
        retire(&store, &from, false).unwrap();
        drop(store);
        assert!(packs_on(&shelf, by) > 0);
    }
    assert_eq!(shelf.read().missing_disks(), []);
    fully_redundant(&shelf);
    assert_eq!(scrubbed(&shelf).mended, []);
    shelf.take_away(2);
    shelf.take_away(3);
    whole(&shelf);
}

#[test]
fn a_disk_replaced_by_one_that_holds_members_of_its_groups_leaves_no_two_on_one_disk() {
    let shelf = filled(6, 2, 3);
    let moved = moved(&shelf, 0, Purpose::Replace { by: Some(disk_id(3)) });
    assert!(moved.groups > 0, "groups with members on both are made anew");
    assert_eq!((moved.failed.len(), packs_on(&shelf, disk_id(0))), (0, 0));
    fully_redundant(&shelf);
    shelf.take_away(0);
    for gone in [[1, 3], [3, 5]] {
        gone.iter().for_each(|d| shelf.take_away(*d));
        whole(&shelf);
        gone.iter().for_each(|d| shelf.bring_back(*d));
    }
}

#[test]
fn a_replacement_that_was_stopped_and_had_a_backup_in_between_goes_on_without_harm() {
    let shelf = filled(6, 2, 2);
    let by = join(&shelf, "/new");
    let store = shelf.write();
    let from = find(&store, &disk_id(0).to_string(), Path::new("")).unwrap();
    let mut planned = plan::plan(&store, from, Purpose::Replace { by: Some(by) });
    planned.moves.truncate(1); // it was stopped behind the first
    moves::run(&store, &planned, &Control::default()).unwrap();
    drop(store);
    shelf.stream("s8", &noise(8, 8 << 20)); // groups over both disks
    let moved = moved(&shelf, 0, Purpose::Replace { by: Some(by) });
    assert_eq!((moved.failed.len(), packs_on(&shelf, disk_id(0))), (0, 0));
    fully_redundant(&shelf);
}

#[test]
fn a_drained_disk_is_empty_and_groups_that_were_too_wide_are_narrower() {
    let shelf = filled(8, 2, 0);
    shelf.stream("wide", &noise(77, 8 << 20)); // a piece for every lane
    shelf.stream("s1", &noise(1, STREAM_BYTES));
    let moved = moved(&shelf, 7, Purpose::Drain);
    assert!(moved.groups > 0, "groups of eight members do not fit seven disks");
    assert_eq!((moved.failed.len(), packs_on(&shelf, disk_id(7))), (0, 0));
    let of_packs = |kind: &str| {
        let store = shelf.read();
        let fs = &store.io().fs;
        let root = disk_path(7).join(kind);
        let folders = fs.list(&root).unwrap_or_default();
        folders.iter().map(|f| fs.list(&root.join(&f.name)).unwrap().len()).sum::<usize>()
    };
    assert_eq!((of_packs("packs"), of_packs("parity")), (0, 0));
    fully_redundant(&shelf);
    let store = shelf.write();
    let from = find(&store, "bay 7", Path::new("")).unwrap();
    retire(&store, &from, false).unwrap();
    drop(store);
    for gone in [[0, 1], [3, 6]] {
        gone.iter().for_each(|d| shelf.take_away(*d));
        whole(&shelf);
        gone.iter().for_each(|d| shelf.bring_back(*d));
    }
}

#[test]
fn what_lay_on_a_lost_disk_is_rebuilt_onto_the_others() {
    let shelf = filled(9, 2, 2);
    shelf.take_away(4);
    let moved = moved(&shelf, 4, Purpose::Drain);
    assert_eq!(moved.failed, []);
    let store = shelf.write();
    let from = find(&store, &disk_path(4).to_string_lossy(), &disk_path(4)).unwrap();
    assert!(!from.is_here);
    retire(&store, &from, true).unwrap();
    drop(store);
    fully_redundant(&shelf);
    assert_eq!(scrubbed(&shelf).mended, []);
    whole(&shelf);
}

#[test]
fn a_store_begun_without_parity_gets_it_and_small_groups_are_joined() {
    let shelf = filled(6, 0, 4);
    assert_eq!(shelf.read().with_state(|s| s.groups().count()), 0);
    set_parity(&shelf.write(), 2, None).unwrap();
    assert!(!shelf.read().redundancy(|_, _| {}).is_full());
    let store = shelf.write();
    let planned = rebalance::plan(&store);
    assert!(!planned.alone.is_empty());
    rebalance::run(&store, &planned, &Control::default()).unwrap();
    drop(store);
    fully_redundant(&shelf);
    // many short runs make many small groups
    for seed in 10..16 {
        shelf.stream(&format!("s{seed}"), &noise(seed, STREAM_BYTES));
    }
    let parity = |store: &Store| {
        store.with_state(|s| {
            let members = s.groups().flat_map(|g| s.members(g)).filter(|m| m.parity);
            members.map(|m| m.bytes).sum::<u64>()
        })
    };
    let store = shelf.write();
    let before = parity(&store);
    let planned = rebalance::plan(&store);
    if !planned.is_empty() {
        rebalance::run(&store, &planned, &Control::default()).unwrap();
        assert!(parity(&store) < before);
    }
    drop(store);
    fully_redundant(&shelf);
    assert!(rebalance::plan(&shelf.read()).is_empty(), "once is enough");
    shelf.take_away(1);
    shelf.take_away(5);
    whole(&shelf);
}

#[test]
fn a_scrub_mends_rot_in_data_and_parity_and_the_next_is_clean() {
    let shelf = filled(6, 2, 2);
    let files: Vec<_> = {
        let store = shelf.read();
        store.with_state(|s| {
            let on = |d: &DiskId| store.pool().disk(d).unwrap().path.clone();
            let group = s.groups().max_by_key(|g| g.group.members.len()).unwrap();
            let members = s.members(group);
            members.iter().map(|m| crate::ops::repair::path_on(&on(&m.disk), m.pack, m.parity)).collect()
        })
    };
    // three of a group that may lose two, each at other places; then an end, a header, a lost file
    let flip = |file: usize, at: usize| {
        let mut bytes = shelf.fs.read(&files[file]).unwrap();
        let at = at.min(bytes.len() - 1);
        bytes[at] ^= 1;
        shelf.fs.write(&files[file], &bytes).unwrap();
    };
    let n = files.len();
    flip(0, 5_000);
    flip(1, 90_000);
    flip(n - 1, 200_000);
    let report = scrubbed(&shelf);
    assert_eq!(report.mended.len(), 3);
    assert!(report.mended.iter().all(|m| m.failed.is_none()), "{:?}", report.mended);
    assert_eq!(scrubbed(&shelf).mended, []);
    let length = shelf.fs.read(&files[0]).unwrap().len();
    flip(0, length - 50);
    flip(n - 1, 100);
    assert_eq!(scrubbed(&shelf).mended.len(), 2);
    shelf.fs.remove(&files[1]).unwrap();
    shelf.fs.remove(&files[n - 2]).unwrap();
    let report = scrubbed(&shelf);
    assert_eq!(report.mended.iter().filter(|m| m.failed.is_none()).count(), 2);
    let last = scrubbed(&shelf);
    assert_eq!((last.mended.len(), last.complete), (0, true));
    fully_redundant(&shelf);
    whole(&shelf);
}

#[test]
fn what_cannot_be_mended_is_named_by_file() {
    let shelf = filled(4, 1, 1);
    let store = shelf.read();
    let data: Vec<_> = store.with_state(|s| {
        let group = s.groups().max_by_key(|g| g.data()).unwrap();
        s.members(group).into_iter().filter(|m| !m.parity).collect()
    });
    for m in &data {
        let disk = store.pool().disk(&m.disk).unwrap();
        let path = crate::pack::sealed_path(&disk.path, m.pack);
        let mut bytes = shelf.fs.read(&path).unwrap();
        let half = bytes.len() / 2;
        bytes[..half].iter_mut().for_each(|b| *b ^= 1);
        shelf.fs.write(&path, &bytes).unwrap();
    }
    drop(store);
    let mut report = scrubbed(&shelf);
    assert!(report.mended.iter().any(|m| m.failed.is_some()));
    scrub::name_losses(&shelf.read(), &mut report, &Control::default()).unwrap();
    assert!(report.files_lost > 0 && report.lost[0].path == b"/s0");
}

#[test]
fn risk_names_just_what_a_check_without_those_disks_finds_lost() {
    let shelf = filled(6, 1, 4);
    for gone in [vec![0], vec![0, 1], vec![2, 5], vec![1, 3, 4]] {
        let ids: Vec<DiskId> = gone.iter().map(|d| disk_id(*d)).collect();
        let told = risk::without(&shelf.read(), &ids, &Control::default()).unwrap();
        assert!(gone.len() > 1 || told.files_lost == 0);
        gone.iter().for_each(|d| shelf.take_away(*d));
        let found = check::run(&shelf.read(), &CheckOptions::default(), &Control::default()).unwrap();
        gone.iter().for_each(|d| shelf.bring_back(*d));
        // a check cannot name what lies below a folder that it cannot read; here folders stand in their snapshots
        let names = |list: &[crate::ops::FileLost]| {
            list.iter().map(|l| (l.snapshot.clone(), l.path.clone())).collect::<Vec<_>>()
        };
        assert_eq!(names(&told.lost), names(&found.lost), "{gone:?}");
    }
}

#[test]
fn disks_are_found_by_path_label_and_id_and_odd_folders_are_refused() {
    let shelf = filled(3, 1, 1);
    let store = shelf.write();
    for (named, path) in [("bay 1", "/x"), ("/disk1", "/disk1"), (&disk_id(1).to_string()[..8], "/x")] {
        assert_eq!(find(&store, named, Path::new(path)).unwrap().id, disk_id(1), "{named}");
    }
    assert!(find(&store, "bay 9", Path::new("/bay 9")).is_err());
    let from = find(&store, "bay 1", Path::new("/x")).unwrap();
    assert!(retire(&store, &from, false).is_err(), "packs lie on it");
    let add = |path: &str, reuse| add::run(&store, &AddOptions { path: path.into(), reuse, ..Default::default() });
    assert!(add("/disk2", false).is_err() && add("/disk2/packs", false).is_err(), "it belongs to the store");
    shelf.fs.write(Path::new("/mine/film.mkv"), b"x").unwrap();
    assert!(add("/mine", true).is_err(), "other files");
    assert!(set_parity(&store, 3, None).is_err(), "three disks cannot lose three");
    store.append(|_| vec![Event::DiskRetired { disk: disk_id(2) }]).unwrap();
    drop(store);
    let store = shelf.write();
    assert!(add::run(&store, &AddOptions { path: "/disk2".into(), ..Default::default() }).is_err(), "retired");
    let again = add::run(&store, &AddOptions { path: "/disk2".into(), reuse: true, ..Default::default() }).unwrap();
    assert_ne!(again.id, disk_id(2));
}

#[test]
fn old_parity_of_a_rebalance_that_died_behind_its_entry_is_removed_by_the_next_writer() {
    let shelf = filled(6, 1, 2);
    set_parity(&shelf.write(), 2, None).unwrap();
    // Nothing is removed any more, nor its end logged.
    let plan = FaultPlan::new().with_path(Op::Remove, When::From(1), ".parity", Action::PowerCut);
    let (dying, _) = shelf.with_faults(plan);
    let store = dying.write();
    assert!(rebalance::run(&store, &rebalance::plan(&store), &Control::default()).is_err());
    drop(store);
    let shelf = Shelf {
        io: Io { fs: Arc::new(dying.fs.clone()), world: Arc::clone(&shelf.world) as Arc<dyn World> },
        fs: dying.fs.clone(),
        ..shelf
    };
    let strays = || {
        let store = shelf.read();
        let known = store.with_state(|s| s.groups().flat_map(|g| s.members(g)).filter(|m| m.parity).count());
        let files = shelf.fs.paths().into_iter().filter(|p| p.extension().is_some_and(|e| e == "parity")).count();
        files - known
    };
    assert!(strays() > 0);
    shelf.stream("s8", &noise(8, 100_000));
    assert_eq!(strays(), 0);
    fully_redundant(&shelf);
}

#[test]
fn old_parity_is_given_up_only_for_new_parity_that_was_read_back() {
    let shelf = filled(8, 1, 2);
    set_parity(&shelf.write(), 2, Some(3)).unwrap(); // a disk that fails leaves enough
    for n in 1..6 {
        let lost = FaultPlan::new().with_path(Op::Write, When::Nth(n), "/parity/", Action::Lose);
        let (faulty, _) = shelf.with_faults(lost);
        let store = faulty.write();
        rebalance::run(&store, &rebalance::plan(&store), &Control::default()).unwrap();
        drop(store);
        assert_eq!(scrubbed(&faulty).mended, [], "write {n}");
        fully_redundant(&faulty);
    }
}

#[test]
fn what_rotted_is_mended_before_parity_is_given_up() {
    let shelf = filled(4, 1, 6);
    let store = shelf.read();
    let data = store.with_state(|s| s.packs().map(|p| p.sealed).max_by_key(|p| p.bytes)).unwrap();
    let place = crate::pool::PackStore::place(store.pool(), &data);
    drop(store);
    shelf.fs.flip(place, data.bytes / 2 * 8).unwrap();
    set_parity(&shelf.write(), 0, None).unwrap();
    let store = shelf.write();
    rebalance::run(&store, &rebalance::plan(&store), &Control::default()).unwrap();
    assert_eq!(store.with_state(|s| s.groups().count()), 0);
    drop(store);
    whole(&shelf);
}

#[test]
fn a_group_that_cannot_be_made_anew_does_not_keep_the_others_from_it() {
    let shelf = filled(8, 2, 0);
    for seed in [77, 78, 79] {
        shelf.stream(&format!("wide{seed}"), &noise(seed, 8 << 20)); // a piece for every lane
    }
    let store = shelf.read();
    let group = store.with_state(|s| {
        let there = s.groups().filter(|g| s.members(g).iter().any(|m| m.disk == disk_id(7)));
        let wide = there.max_by_key(|g| g.data()).unwrap();
        s.members(wide).into_iter().filter(|m| !m.parity && m.disk != disk_id(7)).collect::<Vec<_>>()
    });
    for m in &group[..3] {
        let path = crate::pack::sealed_path(&store.pool().disk(&m.disk).unwrap().path, m.pack);
        let mut bytes = shelf.fs.read(&path).unwrap();
        bytes.iter_mut().for_each(|b| *b ^= 1);
        shelf.fs.write(&path, &bytes).unwrap();
    }
    drop(store);
    let before = packs_on(&shelf, disk_id(7));
    let moved = moved(&shelf, 7, Purpose::Drain);
    assert_eq!(moved.failed.len(), packs_on(&shelf, disk_id(7)), "{:?}", moved.failed);
    assert!(moved.failed.len() == 1 && before > 1, "{before} {:?}", moved);
}

#[test]
fn too_few_disks_for_the_parity_are_called_so() {
    let shelf = filled(3, 2, 1);
    let moved = moved(&shelf, 0, Purpose::Drain);
    assert!(!moved.failed.is_empty());
    for (_, why) in moved.failed {
        assert!(why.contains("too few disks for parity 2") && why.contains("`onefold disk parity 1`"), "{why}");
    }
    whole(&shelf);
    set_parity(&shelf.write(), 1, None).unwrap();
    let moved = self::moved(&shelf, 0, Purpose::Drain);
    assert_eq!((moved.failed, packs_on(&shelf, disk_id(0))), (vec![], 0));
    whole(&shelf);
}

#[test]
fn a_disk_that_fails_while_packs_move_to_it_is_chosen_no_more() {
    let shelf = filled(8, 1, 3);
    for action in [Failure::Io, Failure::Full] {
        let plan = FaultPlan::new()
            .with_path(Op::Write, When::From(1), "/disk1/packs", Action::Fail(action))
            .with_path(Op::Write, When::From(1), "/disk1/parity", Action::Fail(action));
        let (shelf, _) = shelf.with_faults(plan);
        let before = packs_on(&shelf, disk_id(1));
        let moved = moved(&shelf, 0, Purpose::Drain);
        assert_eq!((moved.failed, packs_on(&shelf, disk_id(0))), (vec![], 0));
        assert!(packs_on(&shelf, disk_id(1)) <= before);
        whole(&shelf);
    }
}

#[test]
fn a_replacement_by_a_disk_that_is_too_small_is_refused_before_anything_moves() {
    let shelf = filled(4, 1, 2);
    shelf.fs.set_capacity("/small", 100_000).unwrap();
    let by = join(&shelf, "/small");
    let store = shelf.write();
    let from = find(&store, &disk_id(0).to_string(), Path::new("")).unwrap();
    let planned = plan::plan(&store, from, Purpose::Replace { by: Some(by) });
    let refused = moves::run(&store, &planned, &Control::default());
    assert!(matches!(refused, Err(crate::Error::NoSpace { .. })));
    assert_eq!(plan::standing_on(&store, &by), []);
}

#[test]
fn moves_that_were_stopped_leave_nothing_in_bad_nor_half_written() {
    let shelf = filled(6, 1, 1);
    let store = shelf.read();
    for m in plan::standing_on(&store, &disk_id(0)) {
        let path = crate::ops::repair::path_on(&disk_path(0), m.pack, m.parity);
        for to in 1..6 {
            let stray = crate::ops::repair::path_on(&disk_path(to), m.pack, m.parity);
            shelf.fs.write(&stray, &shelf.fs.read(&path).unwrap()).unwrap();
            shelf.fs.write(stray.with_file_name(format!(".{}.0123456789abcdef", m.pack)), b"half").unwrap();
        }
    }
    drop(store);
    let moved = moved(&shelf, 0, Purpose::Drain);
    assert_eq!(moved.failed, []);
    let kept: Vec<_> = shelf
        .fs
        .paths()
        .into_iter()
        .filter(|p| {
            let name = p.file_name().unwrap().to_string_lossy();
            p.components().any(|c| c.as_os_str() == "bad") || (name.starts_with('.') && name.ends_with("cdef"))
        })
        .collect();
    assert_eq!(kept, Vec::<std::path::PathBuf>::new());
}

#[test]
fn what_is_left_of_a_broken_group_gets_parity_again_once_its_disks_are_given_up() {
    let shelf = filled(6, 1, 3);
    for disk in [0, 1] {
        shelf.take_away(disk);
    }
    let packs = |store: &Store| store.redundancy(|_, _| {});
    let lost = packs(&shelf.read()).lost;
    assert!(lost > 0);
    assert!(rebalance::plan(&shelf.read()).groups.is_empty(), "they may come back");
    for disk in [0, 1] {
        let store = shelf.write();
        let from = find(&store, &disk_id(disk).to_string(), Path::new("")).unwrap();
        retire(&store, &from, true).unwrap();
    }
    let store = shelf.write();
    let made = rebalance::run(&store, &rebalance::plan(&store), &Control::default()).unwrap().made;
    assert!(made.groups > 0 && made.failed.is_empty());
    let after = packs(&store);
    // What was lost is known until nothing needs it.
    assert_eq!((after.degraded, after.at_risk, after.lost), (0, 0, lost));
}

mod degraded;

/// Found by the simulation: the entry that retired a disk stood in `STORE` and on that disk alone; with `STORE` lost nobody knew
/// where its packs had gone.
#[test]
fn a_disk_leaves_only_when_the_log_says_so_on_one_that_stays() {
    let shelf = filled(2, 0, 2);
    let from = drained(&shelf, 1);
    let plan = FaultPlan::new().with_path(Op::Create, When::Every(1), "/disk0/log", Action::Fail(Failure::Full));
    let (faulty, _) = shelf.with_faults(plan);
    let store = faulty.write();
    assert!(retire(&store, &from, false).is_err());
    drop(store);
    let again = faulty.read();
    assert!(
        again.pool().disk(&disk_id(1)).is_some() && !again.with_state(|s| s.disks[&disk_id(1)].retired),
        "it stays"
    );
    drop(again);
    // Where it is known already that the other one failed, nothing is written.
    let (faulty, _) = shelf.with_faults(FaultPlan::new());
    let store = faulty.write();
    store.pool().disk(&disk_id(0)).unwrap().suspect();
    let before = store.reflected();
    let told = retire(&store, &from, false).unwrap_err().to_string();
    assert!(told.contains("no other disk takes the log"), "{told}");
    assert_eq!(store.reflected(), before);
    drop(store);
    retire(&shelf.write(), &from, false).unwrap();
    shelf.take_away(1);
    whole(&shelf);
}

/// Found by the simulation: one disk that stays took the entry, `STORE` did not; the disk was away while others went on with the log,
/// and forked it when it came back.
#[test]
fn an_entry_that_a_disk_leaves_with_stands_on_no_disk_when_it_is_not_in_store() {
    let shelf = filled(3, 0, 2);
    let from = drained(&shelf, 1);
    let full = |plan: FaultPlan, log| plan.with_path(Op::Create, When::Every(1), log, Action::Fail(Failure::Full));
    let plan = full(full(FaultPlan::new(), "/store/log"), "/disk2/log");
    let (faulty, _) = shelf.with_faults(plan);
    assert!(retire(&faulty.write(), &from, false).is_err());
    let shelf = gone_on_without(&faulty, 0);
    retire(&shelf.write(), &from, false).unwrap();
    drop(shelf.write()); // brought up to date
    shelf.take_away(1);
    whole(&shelf);
}

/// A disk shows the entry that it could not make durable: taken out of `STORE`, it would fork the log as above.
#[test]
fn an_entry_that_failed_stays_in_store_while_a_disk_shows_it() {
    let shelf = filled(3, 0, 2);
    let from = drained(&shelf, 1);
    let fails = |plan: FaultPlan, op, log| plan.with_path(op, When::Every(1), log, Action::Fail(Failure::Io));
    let plan = fails(fails(FaultPlan::new(), Op::SyncDir, "/disk0/log"), Op::Create, "/disk2/log");
    let (faulty, _) = shelf.with_faults(plan);
    assert!(retire(&faulty.write(), &from, false).is_err());
    let shelf = gone_on_without(&faulty, 0);
    assert!(shelf.write().with_state(|s| s.disks[&disk_id(1)].retired), "it is in force");
    shelf.take_away(1);
    whole(&shelf);
}

#[test]
fn a_place_that_is_noted_beside_a_run_outlives_it() {
    let shelf = filled(3, 0, 2);
    shelf.take_away(2);
    let from = drained(&shelf, 1);
    let store = shelf.write();
    shelf.io.fs.rename(Path::new("/away2"), Path::new("/elsewhere")).unwrap();
    add::note_place(&shelf.io, store.path(), Path::new("/elsewhere")).unwrap().unwrap();
    retire(&store, &from, false).unwrap();
    drop(store);
    assert_eq!(shelf.read().pool().disk(&disk_id(2)).unwrap().path, Path::new("/elsewhere"));
}
