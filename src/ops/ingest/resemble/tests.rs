//! Near-duplicates through the whole store: what they cost, that they come back, and what a lost base takes along.

use crate::format::record::Codec;
use crate::index::MemoryIndex;
use crate::io::Fs;
use crate::ops::check::{self, CheckOptions, CheckReport};
use crate::ops::testing::{Shelf, noise};
use crate::ops::{Control, cat};
use crate::pack::read;
use crate::pool::PackStore;
use std::path::PathBuf;
use std::sync::Arc;

fn cat(shelf: &Shelf, path: &str) -> crate::Result<Vec<u8>> {
    let store = shelf.read();
    let mut out = Vec::new();
    cat::run(&store, &shelf.latest(&store), path.as_bytes(), None, &mut out, &Control::default()).map(|_| out)
}

fn check(shelf: &Shelf, read_data: bool) -> CheckReport {
    check::run(&shelf.read(), &CheckOptions { read_data, rebuild: false }, &Control::default()).unwrap()
}

/// Per data pack, in the order of the log: its path, how many of its records are deltas, and bytes of all payloads.
fn packs(shelf: &Shelf) -> Vec<(PathBuf, usize, usize, u64)> {
    let store = shelf.read();
    let all: Vec<_> = store.with_state(|s| s.packs().map(|p| p.sealed).collect());
    let mut out = Vec::new();
    for sealed in all.into_iter().filter(|p| p.kind == crate::format::footer::PackKind::Data) {
        let path = store.pool().place(&sealed);
        let file = store.pool().open(&sealed).unwrap();
        let rows = read::ends(&*file, &path, sealed.pack).unwrap().footer.rows;
        let deltas = rows.iter().filter(|r| r.header.codec == Codec::DELTA).count();
        assert!(rows.iter().all(|r| r.header.bases.is_empty() == (r.header.codec != Codec::DELTA)));
        out.push((path, deltas, rows.len(), rows.iter().map(|r| u64::from(r.header.stored_bytes)).sum()));
    }
    out
}

/// The same bytes with ten others in each 3000, so that no chunk is the same.
fn edited(bytes: &[u8], seed: u64) -> Vec<u8> {
    let mut out = bytes.to_vec();
    for (i, part) in out.chunks_mut(3000).enumerate() {
        let own = noise(seed + i as u64, 10);
        if let Some(into) = part.get_mut(1000..1010) {
            into.copy_from_slice(&own);
        }
    }
    out
}

#[test]
fn a_near_duplicate_costs_what_is_new_and_comes_back() {
    let mut shelf = Shelf::new(2);
    let old = noise(1, 600_000);
    let new = edited(&old, 100);
    shelf.stream("old", &old);
    shelf.stream("new", &new);
    let stored = packs(&shelf);
    assert_eq!((stored[0].1, stored[0].3), (0, old.len() as u64));
    assert_eq!(stored[1].1, stored[1].2, "all chunks of the second are deltas");
    assert!(stored[1].3 < 30_000, "{} bytes for 2000 new ones", stored[1].3);
    assert!(cat(&shelf, "new").unwrap() == new);
    // The features are rebuilt from the footers; a delta is never a base, its base is.
    shelf.index = Arc::new(MemoryIndex::new());
    let newer = edited(&new, 5000);
    shelf.stream("newer", &newer);
    let stored = packs(&shelf);
    assert_eq!(stored[2].1, stored[2].2);
    assert!(stored[2].3 < 60_000, "{}", stored[2].3);
    assert!(cat(&shelf, "newer").unwrap() == newer);
    assert_eq!(check(&shelf, true).problems.len(), 0);
}

#[test]
fn near_duplicates_within_one_run_come_back() {
    let shelf = Shelf::new(1);
    let folder = tempfile::tempdir().unwrap();
    let old = noise(1, 900_000);
    shelf.library(folder.path(), &[("a", &old), ("b", &noise(2, 9_000_000)), ("c", &edited(&old, 9))]);
    shelf.back_up(folder.path());
    // How many of them are deltas depends on which reader was first; none may stand on another.
    assert_eq!(check(&shelf, true).problems.len(), 0);
    assert!(cat(&shelf, &folder.path().join("c").to_string_lossy()).unwrap() == edited(&old, 9));
}

#[test]
fn a_lost_base_loses_what_needs_it_by_name_and_a_new_backup_heals_it() {
    for read_data in [false, true] {
        let shelf = Shelf::new(1);
        let old = noise(1, 300_000);
        let new = edited(&old, 100);
        shelf.stream("old", &old);
        shelf.stream("new", &new);
        let (path, ..) = packs(&shelf)[0].clone();
        shelf.fs.remove_file(&path).unwrap();
        let report = check(&shelf, read_data);
        assert_eq!(report.files_lost, 2, "{:?}", report.problems);
        assert!(cat(&shelf, "new").is_err());
        shelf.stream("new", &new);
        assert_eq!(packs_there(&shelf), 0, "no delta without a base");
        assert!(cat(&shelf, "new").unwrap() == new);
    }
}

#[test]
fn a_base_bears_a_bounded_number_of_deltas_also_after_its_index_was_rebuilt() {
    let mut shelf = Shelf::new(1);
    let old = noise(1, 70_000); // one chunk
    shelf.stream("old", &old);
    let n = u64::from(super::FAN_OUT) + 40;
    for i in 0..n {
        if i == 100 {
            shelf.index = Arc::new(MemoryIndex::new());
        }
        shelf.stream(&format!("new {i}"), &edited(&old, 1000 + 100 * i));
    }
    let store = shelf.read();
    let mut on: std::collections::BTreeMap<_, u32> = Default::default();
    let all: Vec<_> = store.with_state(|s| s.packs().map(|p| p.sealed).collect());
    for sealed in all {
        let file = store.pool().open(&sealed).unwrap();
        let rows = read::ends(&*file, &store.pool().place(&sealed), sealed.pack).unwrap().footer.rows;
        rows.iter().flat_map(|r| &r.header.bases).for_each(|base| *on.entry(*base).or_default() += 1);
    }
    assert!(on.values().all(|n| *n <= super::FAN_OUT), "{:?}", on.values());
    assert!(on.len() > 1, "what came after the bound is coded against another base");
    assert!(on.values().map(|n| u64::from(*n)).sum::<u64>() > n - 10, "{:?}", on.values());
    for (id, n) in on {
        assert_eq!(store.deltas_on(&[id]).unwrap(), [n], "the index counts what the footers say");
    }
}

/// Deltas in the newest pack.
fn packs_there(shelf: &Shelf) -> usize {
    let store = shelf.read();
    let sealed = store
        .with_state(|s| s.packs().map(|p| p.sealed).filter(|p| p.kind == crate::format::footer::PackKind::Data).last());
    let sealed = sealed.unwrap();
    let file = store.pool().open(&sealed).unwrap();
    let ends = read::ends(&*file, &store.pool().place(&sealed), sealed.pack).unwrap();
    ends.footer.rows.iter().filter(|r| r.header.codec == Codec::DELTA).count()
}

#[test]
fn a_rotten_base_is_one_damaged_record_and_a_loss_for_each_file() {
    let shelf = Shelf::new(1);
    let old = noise(1, 300_000);
    let new = edited(&old, 100);
    shelf.stream("old", &old);
    shelf.stream("new", &new);
    let (path, ..) = packs(&shelf)[0].clone();
    let bytes = shelf.fs.read(&path).unwrap().len() as u64;
    shelf.fs.flip(path, bytes / 2 * 8).unwrap();
    let report = check(&shelf, true);
    assert_eq!(report.files_lost, 2, "{:?}", report.problems);
    assert_eq!(report.damage.len(), 1, "one record is damaged; what is coded against it is whole");
}
