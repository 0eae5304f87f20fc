//! recover over disks in memory: what of `STORE` may be lost, and what is refused.

use super::super::testing::{HOME, STORE, Shelf, disk_id, disk_path, noise};
use super::*;
use crate::format::event::Event;
use crate::io::Fs;
use crate::ops::cat;
use crate::store::MEMORY_MIN;
use std::sync::Arc;

fn recover(shelf: &mut Shelf, disks: &[usize]) -> Result<RecoverReport> {
    recover_at(shelf, HOME, &disks.iter().map(|i| disk_path(*i)).collect::<Vec<_>>())
}

fn recover_at(shelf: &mut Shelf, home: &str, disks: &[PathBuf]) -> Result<RecoverReport> {
    shelf.index = Arc::default();
    let options = RecoverOptions { store: home.into(), disks: disks.to_vec(), memory_bytes: MEMORY_MIN };
    run_with(&shelf.io, &options, shelf.kind(), &Control::default())
}

/// A store with one snapshot of some packs on every disk.
fn filled(disks: usize) -> (Shelf, Vec<u8>) {
    let shelf = Shelf::new(disks);
    let bytes = noise(4, 4_000_000);
    shelf.stream("f", &bytes);
    (shelf, bytes)
}

fn assert_whole(shelf: &Shelf, bytes: &[u8]) {
    let opened = shelf.open(Mode::Read).unwrap();
    assert_eq!(opened.notices, Vec::<String>::new());
    let mut out = Vec::new();
    cat::run(&opened.store, &shelf.latest(&opened.store), b"f", None, &mut out, &Control::default()).unwrap();
    assert!(out == bytes);
}

fn remove_home(shelf: &Shelf, keep: &[&str]) {
    for path in shelf.fs.paths() {
        if path.starts_with(HOME) && !keep.iter().any(|k| path == Path::new(HOME).join(k)) {
            shelf.fs.remove(path).unwrap();
        }
    }
    for folder in ["log", "keys", ""] {
        let folder = Path::new(HOME).join(folder);
        if shelf.fs.list(&folder).unwrap().is_empty() {
            shelf.fs.remove_dir(&folder).unwrap();
        }
    }
}

#[test]
fn the_index_is_made_anew_and_nothing_else_changes() {
    let (mut shelf, bytes) = filled(3);
    shelf.fs.write(Path::new(HOME).join("index/CURRENT"), b"x").unwrap();
    shelf.fs.write(Path::new(HOME).join("index/lost/0001.sst"), b"x").unwrap();
    let before: Vec<_> = shelf.fs.paths();
    let report = recover(&mut shelf, &[]).unwrap();
    let seen =
        shelf.read().with_state(|s| (s.number, s.pack_count() as u64, s.packs().map(|p| p.sealed.records).sum()));
    assert_eq!((report.log_number, report.packs, report.chunks as u32), seen);
    assert_eq!((report.store, report.snapshots, report.disks.len()), (STORE, 1, 3));
    assert!(report.missing.is_empty() && report.problems.is_empty(), "{:?}", report.problems);
    let gone: Vec<_> = before.into_iter().filter(|p| !shelf.fs.paths().contains(p)).collect();
    assert_eq!(gone.len(), 2, "only the index's files went: {gone:?}");
    assert_whole(&shelf, &bytes);
}

#[test]
fn a_store_that_was_lost_is_made_anew_from_its_disks() {
    let (mut shelf, bytes) = filled(3);
    remove_home(&shelf, &[]);
    assert!(shelf.fs.stat(Path::new(HOME)).unwrap().is_none());
    let report = recover(&mut shelf, &[2, 0, 1]).unwrap();
    assert_eq!((report.snapshots, report.disks.len()), (1, 3));
    assert_eq!(report.problems, Vec::<String>::new());
    // durable: a power cut right after leaves the same store
    let fs = shelf.fs.crash_strict();
    shelf.io.fs = Arc::new(fs.clone());
    shelf.fs = fs;
    assert_whole(&shelf, &bytes);
    shelf.stream("f", &bytes);
    assert_whole(&shelf, &bytes);
}

#[test]
fn disks_at_new_places_are_followed() {
    let (mut shelf, bytes) = filled(2);
    for i in 0..2 {
        shelf.fs.rename(&disk_path(i), Path::new(&format!("/elsewhere{i}"))).unwrap();
    }
    let places = [PathBuf::from("/elsewhere0"), PathBuf::from("/elsewhere1")];
    let report = recover_at(&mut shelf, HOME, &places[..1]).unwrap();
    assert_eq!(report.missing.iter().map(|d| d.path.as_slice()).collect::<Vec<_>>(), [&b"/disk1"[..]]);
    let report = recover_at(&mut shelf, HOME, &places).unwrap();
    assert!(report.missing.is_empty() && report.problems.is_empty(), "{:?}", report.problems);
    assert_whole(&shelf, &bytes);
}

#[test]
fn a_disk_that_only_the_log_knows_is_missing_without_a_place() {
    let (mut shelf, _) = filled(2);
    remove_home(&shelf, &["lock"]);
    let report = recover(&mut shelf, &[1]).unwrap();
    assert_eq!(
        report.missing,
        [KnownDisk { disk: disk_id(0), label: "bay 0".into(), path: Vec::new(), serial: String::new() }]
    );
    assert_eq!((report.disks.len(), report.snapshots), (1, 1));
    assert!(report.problems.is_empty(), "{:?}", report.problems);
}

#[test]
fn any_harm_to_any_file_of_the_store_is_mended_from_the_disks() {
    let (shelf, bytes) = filled(2);
    let files: Vec<PathBuf> = shelf.fs.paths().into_iter().filter(|p| p.starts_with(HOME)).collect();
    assert!(files.len() >= 6, "{files:?}");
    for file in &files {
        for harm in ["flip", "truncate", "empty", "remove"] {
            let fs = shelf.fs.snapshot();
            let len = fs.read(file).unwrap().len() as u64;
            match harm {
                "flip" if len > 0 => fs.flip(file, len * 4).unwrap(),
                "truncate" => fs.truncate(file, len * 2 / 3).unwrap(),
                "empty" => fs.truncate(file, 0).unwrap(),
                _ => fs.remove(file).unwrap(),
            }
            let mut io = shelf.io.clone();
            io.fs = Arc::new(fs.clone());
            let (world, keys) = (Arc::clone(&shelf.world), shelf.keys.clone());
            let mut harmed =
                Shelf { io, fs, world, index: Arc::default(), keys, memory_bytes: crate::store::MEMORY_MIN };
            let what = format!("{harm} {}", file.display());
            let report = recover(&mut harmed, &[0, 1]).unwrap_or_else(|e| panic!("{what}: {e}"));
            assert!(report.missing.is_empty() && report.snapshots == 1, "{what}");
            let is_told = report.problems.iter().any(|p| p.contains(&*file.to_string_lossy()));
            let is_caught_up = file.parent() == Some(&Path::new(HOME).join(LOG_DIR)) && harm == "remove";
            assert!(is_told || is_caught_up || file.ends_with(LOCK_FILE), "{what}: {:?}", report.problems);
            assert_whole(&harmed, &bytes);
        }
    }
}

#[test]
fn damaged_copies_on_disks_are_mended_too() {
    let (mut shelf, bytes) = filled(2);
    shelf.fs.truncate(disk_path(1).join(SUPERBLOCK_FILE), 5).unwrap();
    shelf.fs.remove(disk_path(0).join(KEYS_DIR).join(KEY_SLOT_FILE)).unwrap();
    let report = recover(&mut shelf, &[]).unwrap();
    assert_eq!(report.problems.len(), 2, "{:?}", report.problems);
    assert_eq!(recover(&mut shelf, &[]).unwrap().problems, Vec::<String>::new());
    assert_whole(&shelf, &bytes);
}

#[test]
fn a_store_that_is_its_own_disk_recovers_either_way() {
    let fs = crate::io::memory::MemFs::new();
    let mut shelf = Shelf::of(fs, STORE, HOME, &[(disk_id(0), PathBuf::from(HOME))]);
    let bytes = noise(5, 500_000);
    shelf.stream("f", &bytes);
    assert!(recover(&mut shelf, &[]).unwrap().problems.is_empty());
    assert_whole(&shelf, &bytes);
    shelf.fs.remove(Path::new(HOME).join(DISKS_FILE)).unwrap();
    assert!(recover(&mut shelf, &[]).unwrap().problems.is_empty());
    let report = recover_at(&mut shelf, HOME, &[HOME.into()]).unwrap();
    assert_eq!((report.disks.len(), report.problems.len()), (1, 0));
    assert_whole(&shelf, &bytes);
}

#[test]
fn foreign_retired_and_absent_disks_are_refused_before_anything_is_written() {
    let (mut shelf, _) = filled(2);
    let other = Shelf::of(shelf.fs.clone(), StoreId([9; 16]), "/store2", &[(disk_id(7), disk_path(7))]);
    shelf.fs.create_dir_all(Path::new("/empty")).unwrap();
    shelf.write().append(|_| vec![Event::DiskRetired { disk: disk_id(1) }]).unwrap();
    let before: Vec<_> = shelf.fs.paths().into_iter().map(|p| (shelf.fs.read(&p).unwrap(), p)).collect();
    let foreign = recover_at(&mut shelf, "/new", &[disk_path(0), disk_path(7)]);
    assert!(matches!(&foreign, Err(Error::DiskForeign { path, .. }) if *path == disk_path(7)), "{foreign:?}");
    let retired = recover_at(&mut shelf, "/new", &[disk_path(0), disk_path(1)]);
    assert!(matches!(&retired, Err(Error::DiskForeign { why, .. }) if why.contains("retired")), "{retired:?}");
    let absent = recover_at(&mut shelf, "/new", &["/empty".into()]);
    assert!(matches!(absent, Err(Error::Argument { .. })), "{absent:?}");
    assert!(matches!(recover_at(&mut shelf, "/new", &["disk0".into()]), Err(Error::Argument { .. })));
    assert!(matches!(recover_at(&mut shelf, "/new", &[]), Err(Error::NoStore { .. })));
    let taken = recover_at(&mut shelf, "/store2", &[disk_path(0)]);
    assert!(matches!(taken, Err(Error::NotEmpty { .. })), "{taken:?}");
    drop(other);
    let after: Vec<_> = shelf.fs.paths().into_iter().map(|p| (shelf.fs.read(&p).unwrap(), p)).collect();
    assert!(before == after, "a refusal left something behind");
    assert!(shelf.fs.stat(Path::new("/new")).unwrap().is_none());
}

#[test]
fn a_folder_with_anything_else_in_it_is_refused() {
    let (mut shelf, _) = filled(1);
    shelf.fs.write("/photos/one.jpg", b"x").unwrap();
    let got = recover_at(&mut shelf, "/photos", &[disk_path(0)]);
    assert!(matches!(&got, Err(Error::NotEmpty { why, .. }) if why.contains("one.jpg")), "{got:?}");
    assert_eq!(shelf.fs.list(Path::new("/photos")).unwrap().len(), 1);
}

#[test]
fn a_store_at_work_is_left_alone() {
    let (mut shelf, _) = filled(1);
    let index = shelf.kind();
    let writer = shelf.write();
    assert!(matches!(recover(&mut shelf, &[]), Err(Error::Locked { .. })));
    assert!(matches!(recover(&mut shelf, &[0]), Err(Error::Locked { .. })));
    drop((writer, index));
    assert!(recover(&mut shelf, &[]).is_ok());
}

#[cfg(feature = "rocksdb")]
#[test]
fn a_real_index_is_replaced_whatever_became_of_it() {
    let folder = tempfile::tempdir().unwrap();
    let (home, disk) = (folder.path().join("store"), folder.path().join("disk"));
    let shelf = Shelf::real(&home, &[(disk_id(0), disk)]);
    let options = RecoverOptions { store: home.clone(), disks: Vec::new(), memory_bytes: MEMORY_MIN };
    let first = run(&shelf, &options, &Control::default()).unwrap();
    assert_eq!((first.problems.len(), first.packs), (0, 0));
    let files: Vec<_> = std::fs::read_dir(home.join(INDEX_DIR)).unwrap().map(|e| e.unwrap().path()).collect();
    assert!(!files.is_empty());
    for file in files {
        let n = std::fs::metadata(&file).map_or(0, |m| m.len());
        if n > 0 {
            std::fs::write(&file, vec![0xff; n as usize]).unwrap();
        }
    }
    let again = run(&shelf, &options, &Control::default()).unwrap();
    assert_eq!((again.problems.len(), again.log_number), (0, first.log_number));
}

/// Found by the simulation: an opening reads each entry until one copy is good, so rot in the others stayed until the good
/// one was lost too.
#[test]
fn copies_of_the_log_that_no_opening_met_are_mended() {
    let (mut shelf, bytes) = filled(2);
    let entry = disk_path(0).join("log/000000000002");
    let good = shelf.fs.read(&entry).unwrap();
    for harm in [Vec::new(), good[..good.len() / 2].to_vec(), vec![7; 300]] {
        shelf.fs.write(&entry, &harm).unwrap();
        let report = recover(&mut shelf, &[0, 1]).unwrap();
        assert!(report.problems.iter().any(|p| p.contains("000000000002")), "{:?}", report.problems);
        assert!(shelf.fs.read(&entry).unwrap() == good);
    }
    shelf.fs.remove(&entry).unwrap();
    recover(&mut shelf, &[0, 1]).unwrap();
    assert!(shelf.fs.read(&entry).unwrap() == good);
    assert_whole(&shelf, &bytes);
}
