//! That what is drawn is what the files are.

use super::*;
use crate::format::record::Codec;
use crate::ops::testing::{Shelf, noise};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

fn map(shelf: &Shelf, paths: &[&Path]) -> MapReport {
    let store = shelf.read();
    let mut paths = paths.iter().map(|p| p.as_os_str().as_bytes().to_vec());
    let options = MapOptions { snapshot: shelf.latest(&store), path: paths.next().unwrap(), more: paths.collect() };
    run(&store, &options, &Control::default()).unwrap()
}

fn strips(report: MapReport) -> Strips {
    match report.picture {
        Picture::Strips(s) => s,
        Picture::Overview(o) => panic!("{o:?}"),
    }
}

fn edited(bytes: &[u8], at: usize) -> Vec<u8> {
    let mut out = bytes.to_vec();
    out.splice(at..at, *b"inserted in the middle");
    out
}

const DELTA: Means = Means::Coded(Codec::DELTA);

#[test]
fn two_files_are_tied_where_they_share_and_nowhere_else() {
    let shelf = Shelf::new(1);
    let library = tempfile::tempdir().unwrap();
    let at = library.path();
    let one = noise(1, 600_000);
    let two = [&noise(9, 200_000)[..], &edited(&one[300_000..], 150_000)].concat();
    shelf.library(at, &[("one", &one), ("unrelated", &noise(3, 100_000))]);
    shelf.back_up(at);
    shelf.library(at, &[("two", &two)]);
    shelf.back_up(at);
    let s = strips(map(&shelf, &[&at.join("one"), &at.join("two")]));
    assert_eq!(s.files.len(), 2);
    assert!(s.ribbons.iter().any(|r| r.means == DELTA), "{s:?}");
    for r in &s.ribbons {
        assert_eq!((r.upper, r.lower), (0, 1));
        assert!(r.of_upper.to <= 600_000 && r.of_lower.to <= two.len() as u64);
        assert!(r.of_lower.from >= 130_000, "the new head shares nothing: {r:?}");
        if r.means == Means::Chunk {
            let (a, b) = (r.of_upper, r.of_lower);
            assert!(one[a.from as usize..a.to as usize] == two[b.from as usize..b.to as usize], "{r:?}");
        }
    }
    let tied: u64 = s.ribbons.iter().map(|r| r.of_lower.bytes()).sum();
    assert!(tied > 250_000, "{s:?}");
    assert!(s.ribbons.len() < 8, "ribbons that go on are one: {}", s.ribbons.len());
    assert!(strips(map(&shelf, &[&at.join("one"), &at.join("unrelated")])).ribbons.is_empty());
}

#[test]
fn relatives_stand_beside_each_other_and_repeats_and_holes_are_the_files_own() {
    let shelf = Shelf::new(1);
    let library = tempfile::tempdir().unwrap();
    let at = library.path();
    let (a, b) = (noise(1, 200_000), noise(2, 200_000));
    shelf.library(at, &[("1a", &a), ("2b", &b), ("3a", &a[50_000..]), ("4b", &b[50_000..]), ("5r", &vec![7; 400_000])]);
    let sparse = std::fs::File::create(at.join("6h")).unwrap();
    sparse.set_len(2 << 20).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&sparse, &b"x".repeat(5000), 1 << 20).unwrap();
    shelf.back_up(at);
    let s = strips(map(&shelf, &[at]));
    let names: Vec<String> =
        s.files.iter().map(|f| String::from_utf8_lossy(&f.path).rsplit('/').next().unwrap().to_owned()).collect();
    let place = |n: &str| names.iter().position(|m| m == n).unwrap();
    assert_eq!(place("1a").abs_diff(place("3a")), 1, "{names:?}");
    assert_eq!(place("2b").abs_diff(place("4b")), 1, "{names:?}");
    assert!(!s.files[place("5r")].repeats.is_empty());
    assert!(s.files[place("6h")].holes.iter().map(|h| h.bytes()).sum::<u64>() > 1 << 20);
}

#[test]
fn many_files_are_told_by_pairs_that_agree_with_what_they_are() {
    let shelf = Shelf::new(2);
    let library = tempfile::tempdir().unwrap();
    let at = library.path();
    let base = noise(1, 120_000);
    shelf.library(at, &[("a/0", &base)]);
    shelf.back_up(at);
    for i in 0..20u64 {
        shelf.library(at, &[(&format!("b/{i:02}"), &noise(100 + i, 30_000))]);
    }
    shelf.library(at, &[("a/copy", &base), ("c/edited", &edited(&base, 60_000))]);
    shelf.back_up(at);
    let report = map(&shelf, &[at]);
    assert_eq!((report.files, report.unreadable), (23, 0));
    let Picture::Overview(o) = report.picture else { panic!("23 files are many") };
    assert_eq!(o.leaves.len(), 23);
    let place = |end: &str| o.leaves.iter().position(|l| l.path.ends_with(end.as_bytes())).unwrap() as u32;
    let pair = |a: &str, b: &str| o.pairs.get(&(place(a).min(place(b)), place(a).max(place(b))));
    assert_eq!(pair("a/0", "a/copy").unwrap().bytes.get(&Means::Chunk), Some(&120_000));
    assert!(pair("a/0", "c/edited").unwrap().bytes[&DELTA] > 5_000, "{o:?}");
    assert_eq!(o.pairs.len(), 2, "nothing else is related: {:?}", o.pairs);
    assert_eq!(o.leaves[place("a/copy") as usize].shared, 120_000);
    let edited = &o.leaves[place("c/edited") as usize];
    assert!(edited.shared + edited.coded[&Codec::DELTA] > 115_000, "{edited:?}");
    let sums = o.shared();
    assert_eq!(sums[&Means::Chunk], 120_000 + edited.shared);
    // a part of the library whose base lies outside of it
    for i in 0..20 {
        shelf.library(at, &[(&format!("c/{i}"), b"inline")]);
    }
    shelf.back_up(at);
    let Picture::Overview(o) = map(&shelf, &[&at.join("c")]).picture else { panic!("21 files are many") };
    assert!(o.coded_outside > 5_000 && o.pairs.is_empty(), "{o:?}");
}
