//! Mending over disks in memory, with power cuts and disks that fail.

use super::*;
use crate::io::faulty::{Action, FaultPlan, Op, When};
use crate::ops::testing::{Shelf, noise};

/// A shelf with one stream, and a pack of data on it: the disk it lies on and its file.
fn filled(disks: usize, parity: usize) -> (Shelf, GroupMember, PathBuf) {
    let shelf = Shelf::with_parity(disks, parity);
    shelf.stream("s", &noise(1, 3 << 20));
    let store = shelf.read();
    let member = store.with_state(|s| {
        let group = s.groups().max_by_key(|g| g.data()).unwrap();
        s.members(group).into_iter().find(|m| !m.parity).unwrap()
    });
    let path = path_on(&store.pool().disk(&member.disk).unwrap().path, member.pack, false);
    drop(store);
    (shelf, member, path)
}

#[test]
fn a_power_cut_in_a_mend_leaves_the_old_bytes_or_the_proven_ones_in_their_place() {
    let (shelf, member, path) = filled(4, 1);
    let whole = shelf.fs.read(&path).unwrap();
    shelf.fs.flip(&path, 8 * 5000).unwrap();
    let spoiled = shelf.fs.read(&path).unwrap();
    let disk = path.ancestors().nth(3).unwrap().to_string_lossy().into_owned();
    let mut cuts = 0;
    for op in [Op::Create, Op::Sync, Op::SyncDir, Op::Rename, Op::Remove] {
        for n in 1.. {
            let plan = FaultPlan::new().with_path(op, When::Nth(n), &disk, Action::PowerCut);
            let (shelf, faulty) = shelf.with_faults(plan);
            let opened = shelf.open(crate::store::Mode::Write { verb: "repair" });
            let mended = opened.and_then(|o| mend(&o.store, &[member.pack], &Control::default()));
            for after in (0..6).map(|seed| shelf.fs.crash(seed)).chain([shelf.fs.crash_strict()]) {
                let stands = after.read(&path).unwrap_or_else(|e| panic!("{op:?} {n}: the pack is nowhere: {e}"));
                assert!(stands == whole || stands == spoiled, "{op:?} {n}");
            }
            if !faulty.is_cut() {
                assert_eq!(mended.unwrap()[0].failed, None);
                assert!(shelf.fs.read(&path).unwrap() == whole);
                let bad = format!("{disk}/bad/{}.pack.1", member.pack);
                assert!(shelf.fs.read(bad).unwrap() == spoiled, "its sectors are not used again");
                break;
            }
            cuts += 1;
        }
    }
    assert!(cuts > 8);
}

#[test]
fn a_name_that_cannot_be_given_leaves_the_damaged_file_in_its_place() {
    let (shelf, member, path) = filled(4, 1);
    shelf.fs.flip(&path, 8 * 5000).unwrap();
    let spoiled = shelf.fs.read(&path).unwrap();
    let plan = FaultPlan::new().with_path(
        Op::Rename,
        When::Nth(2), // behind the link into bad/
        &member.pack.to_string(),
        Action::Fail(crate::io::faulty::Failure::Io),
    );
    let (shelf, _) = shelf.with_faults(plan);
    let mended = mend(&shelf.write(), &[member.pack], &Control::default()).unwrap();
    assert!(mended[0].failed.is_some());
    assert!(shelf.fs.read(&path).unwrap() == spoiled);
}

#[test]
fn a_disk_that_does_not_keep_what_is_written_is_not_trusted_and_the_pack_goes_elsewhere() {
    let (shelf, member, path) = filled(4, 1);
    let new = crate::ops::shelf::AddOptions { path: "/new".into(), ..Default::default() };
    crate::ops::shelf::add::run(&shelf.write(), &new).unwrap();
    drop(shelf.write()); // the log comes to stand on it
    let whole = shelf.fs.read(&path).unwrap();
    shelf.fs.flip(&path, 8 * 5000).unwrap();
    let half_written = format!("/.{}", member.pack);
    let plan = FaultPlan::new().with_path(Op::Write, When::Nth(1), &half_written, Action::Lose);
    let (shelf, _) = shelf.with_faults(plan);
    let store = shelf.write();
    let mended = mend(&store, &[member.pack], &Control::default()).unwrap();
    assert_eq!(mended[0].failed, None);
    assert!(!store.is_sound(&member.disk));
    let now = store.with_state(|s| s.pack_by_id(&member.pack).unwrap().sealed.disk);
    assert_ne!(now, member.disk);
    assert!(shelf.fs.read(path_on(&store.pool().disk(&now).unwrap().path, member.pack, false)).unwrap() == whole);
}
