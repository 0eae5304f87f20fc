//! What `disk add` takes, and what it empties, over disks in memory.

use crate::format::text::Marker;
use crate::format::{PackId, StoreId};
use crate::io::faulty::{Action, FaultPlan, FaultyFs, Op, When};
use crate::io::{Io, World};
use crate::ops::shelf::add::{self, AddOptions};
use crate::ops::testing::{STORE, Shelf, disk_id, noise};
use crate::pool::disk::furnish;
use std::path::Path;
use std::sync::Arc;

fn filled() -> Shelf {
    let shelf = Shelf::with_parity(3, 1);
    shelf.stream("s0", &noise(0, 3 << 20));
    shelf
}

fn adding(path: &str, reuse: bool) -> AddOptions {
    AddOptions { path: path.into(), reuse, ..Default::default() }
}

/// Another store's disk at `/other`, with a pack and a file in `bad/`.
fn with_a_foreign_disk() -> Shelf {
    let shelf = filled();
    let other = Shelf::of(shelf.fs.clone(), StoreId([9; 16]), "/store9", &[(disk_id(90), "/other".into())]);
    let pack = PackId([7; 12]);
    other.fs.write(crate::pack::sealed_path(Path::new("/other"), pack), b"a pack").unwrap();
    other.fs.write(Path::new("/other/bad").join(format!("{pack}.pack.1")), b"was a pack").unwrap();
    shelf
}

#[test]
fn a_folder_without_a_marker_is_never_emptied() {
    let shelf = filled();
    let mine = Path::new("/mine/packs/photos/1.jpg");
    shelf.fs.write(mine, b"x").unwrap();
    assert!(add::run(&shelf.write(), &adding("/mine", true)).is_err());
    assert_eq!(shelf.fs.read(mine).unwrap(), b"x");
    // a disk of this very store that lost its marker
    let packs = || shelf.io.fs.list(Path::new("/disk2/packs")).unwrap().len();
    let before = packs();
    shelf.fs.remove("/disk2/onefold-disk").unwrap();
    assert!(add::run(&shelf.write(), &adding("/disk2", true)).is_err());
    assert_eq!(packs(), before);
}

#[test]
fn emptying_removes_nothing_where_one_name_is_not_ours() {
    for name in ["/other/film.mkv", "/other/packs/film.mkv", "/other/packs/07/film.mkv", "/other/bad/film.mkv"] {
        let shelf = with_a_foreign_disk();
        shelf.fs.write(name, b"x").unwrap();
        assert!(add::run(&shelf.write(), &adding("/other", true)).is_err(), "{name}");
        assert_eq!(shelf.fs.read(name).unwrap(), b"x");
        assert_eq!(shelf.fs.read(crate::pack::sealed_path(Path::new("/other"), PackId([7; 12]))).unwrap(), b"a pack");
        assert!(shelf.fs.read("/other/onefold-disk").is_ok());
    }
}

#[test]
fn emptying_that_was_cut_short_leaves_no_disk_and_goes_on() {
    let shelf = with_a_foreign_disk();
    let held = add::removes(&shelf.write(), &adding("/other", true)).unwrap().unwrap();
    assert_eq!((held.packs, held.marker.disk), (1, disk_id(90)));
    for op in [Op::Rename, Op::Remove, Op::SyncDir] {
        for n in 1.. {
            let fs = with_a_foreign_disk().fs;
            let plan = FaultPlan::new().with_path(op, When::Nth(n), "/other", Action::PowerCut);
            let faulty = FaultyFs::new(Arc::new(fs.clone()), plan);
            let io = Io { fs: Arc::new(faulty.clone()), world: Arc::clone(&shelf.world) as Arc<dyn World> };
            let done = super::run(&io, Path::new("/other"));
            assert_eq!(done.is_err(), faulty.is_cut());
            for seed in 0..4 {
                let after = fs.crash(seed);
                let io = Io { fs: Arc::new(after.clone()), world: Arc::clone(&shelf.world) as Arc<dyn World> };
                let names: Vec<_> = io.fs.list(Path::new("/other")).unwrap();
                if after.read("/other/onefold-disk").is_ok() {
                    assert_eq!(super::look(&io, Path::new("/other")).unwrap(), held, "{op:?} {n}: half a disk");
                } else if !names.is_empty() {
                    super::run(&io, Path::new("/other")).unwrap();
                    assert_eq!(io.fs.list(Path::new("/other")).unwrap(), [], "{op:?} {n}");
                }
            }
            if !faulty.is_cut() {
                assert!(n > 1);
                break;
            }
        }
    }
}

#[test]
fn a_disk_that_another_process_writes_to_is_not_emptied() {
    let shelf = with_a_foreign_disk();
    let lock = shelf.io.fs.try_lock(Path::new("/other/onefold-disk")).unwrap().unwrap();
    let refused = add::run(&shelf.write(), &adding("/other", true));
    assert!(matches!(refused, Err(crate::Error::Locked { .. })));
    assert!(shelf.fs.read("/other/onefold-disk").is_ok());
    drop(lock);
    assert!(add::run(&shelf.write(), &adding("/other", true)).is_ok());
}

#[test]
fn a_disk_that_knows_a_longer_log_than_the_store_is_not_added() {
    for name in ["log/000000000009", "packs/07/0707.pack", "parity/07/0707.parity"] {
        let shelf = filled();
        let path = Path::new("/joined/later");
        let marker = Marker { store: STORE, disk: disk_id(77), label: "later".into() };
        furnish(&shelf.io, path, &marker, b"", b"").unwrap();
        shelf.fs.write(path.join(name), b"x").unwrap();
        for reuse in [false, true] {
            assert!(add::run(&shelf.write(), &adding("/joined/later", reuse)).is_err(), "{name}");
        }
        assert!(shelf.read().with_state(|s| !s.disks.contains_key(&disk_id(77))));
        // what a run leaves that was cut short is taken
        shelf.fs.remove(path.join(name)).unwrap();
        shelf.io.fs.remove_dir(path.join(name).parent().unwrap()).unwrap();
        assert_eq!(add::run(&shelf.write(), &adding("/joined/later", false)).unwrap().id, disk_id(77));
    }
}
