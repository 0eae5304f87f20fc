//! What the simulation of whole stores found of shelves that lack a disk.

use super::*;
use crate::error::Error;
use crate::format::footer::PackKind;
use crate::io::Fs;
use crate::ops::backup::{self, BackupOptions, Source};
use crate::ops::testing::HOME;
use crate::pool::disk::PARITY_DIR;
use crate::pool::{read_known, write_known};
use crate::store::Mode;
use std::path::PathBuf;

fn parity_files(shelf: &Shelf, disk: usize) -> Vec<PathBuf> {
    let root = disk_path(disk).join(PARITY_DIR);
    shelf.fs.paths().into_iter().filter(|p| p.starts_with(&root)).collect()
}

/// Two disks where one pack stands for another: data on one, parity on the other. Returns both.
fn pair(shelf: &Shelf) -> (usize, usize) {
    shelf.stream("s0", &noise(0, 10_000));
    let store = shelf.read();
    let (data, parity) = store.with_state(|s| {
        let group = s.groups().max_by_key(|g| g.group.members.iter().map(|m| m.bytes).max()).unwrap();
        let members = s.members(group);
        (members[0].disk, members[1].disk)
    });
    let number = |id: DiskId| (0..9).find(|i| disk_id(*i) == id).unwrap();
    (number(data), number(parity))
}

#[test]
fn a_check_does_not_count_on_parity_that_it_finds_damaged() {
    let shelf = Shelf::with_parity(2, 1);
    let (data, parity) = pair(&shelf);
    shelf.take_away(data);
    let check = || {
        let options = CheckOptions { read_data: true, rebuild: false };
        check::run(&shelf.read(), &options, &Control::default()).unwrap()
    };
    assert_eq!(check().files_lost, 0);
    for path in parity_files(&shelf, parity) {
        shelf.fs.truncate(&path, 4200).unwrap();
    }
    assert_eq!(check().files_lost, 1, "the log knows nothing of it yet");
}

#[test]
fn a_parity_pack_leaves_its_disk_while_a_member_of_its_group_is_away() {
    let shelf = Shelf::with_parity(3, 1);
    let (data, parity) = pair(&shelf);
    shelf.take_away(data);
    join(&shelf, "/new");
    let store = shelf.write();
    let by = store.pool().disks().find(|d| d.path == Path::new("/new")).unwrap().id;
    drop(store);
    let done = moved(&shelf, parity, Purpose::Replace { by: Some(by) });
    assert_eq!(done.failed, []);
    assert_eq!(parity_files(&shelf, parity), Vec::<PathBuf>::new());
    assert!(shelf.bytes_of(&shelf.read(), "/s0").unwrap() == noise(0, 10_000), "it is rebuilt from there");
}

#[test]
fn a_disk_of_the_store_that_its_list_does_not_have_is_told_its_place() {
    let shelf = filled(3, 1, 1);
    // as a cut between the log and the list leaves it, or a list that is older than the disk
    let mut list = read_known(&shelf.io, Path::new(crate::ops::testing::HOME)).unwrap().unwrap();
    list.disks.retain(|d| d.disk != disk_id(1));
    write_known(&shelf.io, Path::new(crate::ops::testing::HOME), &list).unwrap();
    assert_eq!(shelf.read().pool().disks().count(), 2);
    let options = AddOptions { path: disk_path(1), ..Default::default() };
    let added = add::run(&shelf.write(), &options).unwrap();
    assert!(added.known && added.id == disk_id(1) && added.label == "bay 1", "{added:?}");
    assert_eq!(shelf.read().pool().disks().count(), 3);
    assert!(add::run(&shelf.write(), &options).is_err(), "its place is known now");
    whole(&shelf);
}

#[test]
fn a_disk_that_was_retired_while_the_list_still_has_it_is_emptied_and_joins() {
    let shelf = filled(3, 1, 1);
    let home = Path::new(crate::ops::testing::HOME);
    let old = read_known(&shelf.io, home).unwrap().unwrap();
    moved(&shelf, 1, Purpose::Drain);
    let store = shelf.write();
    retire(&store, &find(&store, &disk_id(1).to_string(), Path::new("")).unwrap(), false).unwrap();
    drop(store);
    // as a cut between the log and the list leaves it
    write_known(&shelf.io, home, &old).unwrap();
    let mut open = || Ok(shelf.write());
    let options = AddOptions { path: disk_path(1), ..Default::default() };
    let refused = add::join(&mut open, &shelf.io, home, &options);
    assert!(matches!(refused, Err(Error::DiskForeign { .. })), "it was retired: {refused:?}");
    write_known(&shelf.io, home, &old).unwrap();
    let options = AddOptions { reuse: true, ..options };
    let added = add::join(&mut open, &shelf.io, home, &options).unwrap();
    assert!(!added.known && added.id != disk_id(1), "{added:?}");
    assert!(shelf.read().pool().disk(&added.id).is_some());
    whole(&shelf);
}

#[test]
fn what_was_lost_with_a_disk_that_was_given_up_is_stored_again_and_a_gc_lets_go_of_it() {
    let library = tempfile::tempdir().unwrap();
    let shelf = Shelf::new(3);
    let bytes: Vec<Vec<u8>> = (0..6).map(|n| noise(200 + n, 400_000)).collect();
    let names: Vec<String> = (0..6).map(|n| n.to_string()).collect();
    let files: Vec<(&str, &[u8])> = names.iter().zip(&bytes).map(|(n, b)| (n.as_str(), b.as_slice())).collect();
    shelf.library(library.path(), &files);
    shelf.back_up(library.path());
    let held = |d: usize| {
        let on = |s: &crate::catalog::state::LogState| {
            s.packs().any(|p| p.sealed.disk == disk_id(d) && p.sealed.kind == PackKind::Data)
        };
        shelf.read().with_state(on)
    };
    let gone = (0..3).find(|d| held(*d)).unwrap();
    shelf.take_away(gone);
    let store = shelf.write();
    let from = find(&store, &disk_id(gone).to_string(), Path::new("")).unwrap();
    retire(&store, &from, true).unwrap();
    let lost = store.redundancy(|_, _| {}).lost;
    assert!(lost > 0, "the log knows what was lost");
    drop(store);
    let is_whole = |n: usize| {
        let path = format!("{}/{n}", library.path().display());
        shelf.bytes_of(&shelf.read(), &path).is_ok_and(|b| b == bytes[n])
    };
    assert!(!(0..6).all(is_whole));
    // Nothing of the sources has changed.
    shelf.back_up(library.path());
    assert!((0..6).all(is_whole), "what was lost is read and stored again");
    let options = crate::ops::gc::GcOptions { grace_ns: 0, ..Default::default() };
    let store = shelf.write();
    let control = Control::default();
    let plan = crate::ops::gc::plan(&store, &options, "test", &control).unwrap();
    crate::ops::gc::run(&store, plan, &options, "test", &control).unwrap();
    assert_eq!(store.redundancy(|_, _| {}).lost, 0, "nothing needs it any more");
    drop(store);
    assert!((0..6).all(is_whole));
    let options = CheckOptions { read_data: true, rebuild: false };
    let checked = check::run(&shelf.read(), &options, &control).unwrap();
    assert!(checked.files_lost == 0 && checked.problems.is_empty(), "{checked:?}");
}

#[test]
fn a_rebalance_gives_up_on_nothing_that_a_disk_which_is_only_away_would_rebuild() {
    let shelf = filled(6, 1, 3);
    let store = shelf.read();
    // A group's data and its parity, on two disks.
    let (data, parity) = store.with_state(|s| {
        let group = s.groups().max_by_key(|g| g.data()).unwrap();
        let members = s.members(group);
        (members[0].disk, members.iter().find(|m| m.parity).unwrap().disk)
    });
    drop(store);
    let number = |id: DiskId| (0..9).find(|i| disk_id(*i) == id).unwrap();
    shelf.take_away(number(data));
    let store = shelf.write();
    let from = find(&store, &data.to_string(), Path::new("")).unwrap();
    retire(&store, &from, true).unwrap();
    drop(store);
    shelf.take_away(number(parity));
    let store = shelf.write();
    rebalance::run(&store, &rebalance::plan(&store), &Control::default()).unwrap();
    drop(store);
    shelf.bring_back(number(parity));
    whole(&shelf);
}

#[test]
fn a_backup_goes_on_when_a_disk_takes_packs_along_that_had_no_parity_yet() {
    let library = tempfile::tempdir().unwrap();
    let shelf = Shelf::with_parity(4, 1);
    for n in 0..6 {
        let bytes = noise(100 + n, 700_000);
        shelf.library(library.path(), &[(&format!("{n}"), &bytes)]);
    }
    let mut met = 0;
    for nth in 1..40 {
        // what it wrote is synced, and cannot be read back for its parity
        let fail = |op, when| (op, when, "/disk1/packs");
        let mut plan = FaultPlan::new();
        for (op, when, path) in [fail(Op::Open, When::From(nth)), fail(Op::Read, When::From(nth))] {
            plan = plan.with_path(op, when, path, Action::Fail(Failure::Io));
        }
        let (faulty, _) = shelf.with_faults(plan);
        let mut opened = 0;
        let mut open = || {
            opened += 1;
            Ok(faulty.open(Mode::Write { verb: "backup" })?.store)
        };
        let options = BackupOptions::of(Source::Paths(vec![library.path().to_owned()]), "test");
        let report = backup::over::run(&mut open, options, &Control::default()).unwrap();
        assert!(report.snapshot.is_some() && opened <= 2);
        met += usize::from(opened == 2);
        let whole = faulty.bytes_of(&faulty.read(), &format!("{}/3", library.path().display())).unwrap();
        assert!(whole == noise(103, 700_000));
    }
    assert!(met > 0, "no attempt had to begin anew");
}

#[test]
fn a_disk_that_comes_back_elsewhere_is_there_when_the_backup_begins_anew() {
    let library = tempfile::tempdir().unwrap();
    let shelf = Shelf::with_parity(4, 1);
    for n in 0..6 {
        shelf.library(library.path(), &[(&format!("{n}"), &noise(100 + n, 700_000))]);
    }
    let elsewhere = Path::new("/elsewhere");
    let mut met = 0;
    for nth in (1..20).step_by(2) {
        let fail = Action::Fail(Failure::Io);
        let plan = [Op::Open, Op::Read].into_iter();
        let plan = plan.fold(FaultPlan::new(), |plan, op| plan.with_path(op, When::From(nth), "/disk1/packs", fail));
        let (faulty, _) = shelf.with_faults(plan);
        let mut opened = 0;
        let mut open = || {
            opened += 1;
            if opened == 2 {
                // The bus was reset: it is mounted somewhere else, and `disk add` was told so in another window.
                faulty.fs.rename(&disk_path(1), elsewhere).unwrap();
                let locked = crate::Error::Locked { path: HOME.into(), holder: "a backup".into() };
                let (mut locked, options) = (Some(locked), AddOptions { path: elsewhere.into(), ..Default::default() });
                let mut beside = || Err(locked.take().unwrap());
                assert!(add::join(&mut beside, &faulty.io, Path::new(HOME), &options).unwrap().known);
            }
            let store = faulty.open(Mode::Write { verb: "backup" })?.store;
            let is_here = store.pool().disk(&disk_id(1)).is_some_and(|d| opened < 2 || d.path == elsewhere);
            assert!(is_here && store.missing_disks().is_empty());
            Ok(store)
        };
        let options = BackupOptions::of(Source::Paths(vec![library.path().to_owned()]), "test");
        let report = backup::over::run(&mut open, options, &Control::default()).unwrap();
        assert!(report.snapshot.is_some() && opened <= 2);
        met += usize::from(opened == 2);
        let store = faulty.read();
        assert_eq!(store.missing_disks(), []);
        let whole = faulty.bytes_of(&store, &format!("{}/3", library.path().display())).unwrap();
        assert!(whole == noise(103, 700_000));
    }
    assert!(met > 0, "no attempt had to begin anew");
}
