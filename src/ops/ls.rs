//! ls: what a snapshot holds below a path.
//!
//! Reads metadata only. What cannot be read of a tree is named and passed over; the walk goes on.

use super::Control;
use super::snapshots::SnapshotInfo;
use crate::catalog::tree::{Found, Step, Walk, lookup, names};
use crate::error::{Error, Result};
use crate::format::entry::{Entry, EntryKind};
use crate::format::text::escape;
use crate::store::Store;
use std::sync::atomic::Ordering;

/// Unreadable places that a report names. Each can hide a folder of any size, and no report grows with a store.
const UNREADABLE_NAMED: usize = 100_000;

/// An entry and where it lies in its snapshot; the path begins with `/`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    pub path: Vec<u8>,
    pub entry: Entry,
}

/// What a walk met.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LsReport {
    /// Entries that were handed out.
    pub entries: u64,
    /// Paths at or below which something cannot be read, and why. At most 100,000.
    pub unreadable: Vec<(Vec<u8>, String)>,
}

impl LsReport {
    /// Notes a place that cannot be read.
    ///
    /// # Errors
    /// `error` itself where it says nothing about that place alone: going on would blame the store for it.
    pub(super) fn pass_over(&mut self, path: Vec<u8>, error: Error) -> Result<()> {
        if !(error.is_damage() || matches!(error, Error::Io { .. } | Error::DiskMissing { .. })) {
            return Err(error);
        }
        if self.unreadable.len() < UNREADABLE_NAMED {
            self.unreadable.push((path, error.to_string()));
        }
        Ok(())
    }
}

/// The error for a path that a snapshot does not hold.
pub(super) fn no_path(snapshot: &SnapshotInfo, path: &[u8]) -> Error {
    Error::NoPath { snapshot: snapshot.id.short(), path: escape(&absolute(path)) }
}

/// The path as entries have it: `/` before every name.
pub(super) fn absolute(path: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(path.len() + 1);
    for name in names(path) {
        out.push(b'/');
        out.extend_from_slice(name);
    }
    if out.is_empty() {
        out.push(b'/');
    }
    out
}

/// Lists a snapshot's entries below `path`, folders before their content, names in order. A path of a file
/// or symlink lists that one. Returns when `each` has had them all.
///
/// # Errors
/// [`Error::NoPath`], [`Error::Interrupted`], and what `each` returns. Damage is in the report.
pub fn run(
    store: &Store,
    snapshot: &SnapshotInfo,
    path: Option<&[u8]>,
    each: &mut dyn FnMut(Listed) -> Result<()>,
    control: &Control,
) -> Result<LsReport> {
    control.progress.set_phase("listing");
    let mut report = LsReport::default();
    let path = path.unwrap_or_default();
    let root = match lookup(store, &snapshot.snapshot.tree, path) {
        Ok(Some(Found::Root)) => snapshot.snapshot.tree.clone(),
        Ok(Some(Found::Entry(entry))) => match &entry.kind {
            EntryKind::Dir(children) => children.clone(),
            _ => {
                report.entries = 1;
                each(Listed { path: absolute(path), entry: *entry })?;
                return Ok(report);
            }
        },
        Ok(None) => return Err(no_path(snapshot, path)),
        Err(e) => {
            report.pass_over(absolute(path), e)?;
            return Ok(report);
        }
    };
    for step in Walk::new(store, &root, path) {
        control.proceed()?;
        match step {
            Step::Entry(path, entry) => {
                report.entries += 1;
                control.progress.files_done.fetch_add(1, Ordering::Relaxed);
                each(Listed { path, entry })?;
            }
            Step::Leave(_) => {}
            Step::Unreadable(path, e) => report.pass_over(path, e)?,
        }
    }
    Ok(report)
}

#[cfg(test)]
mod tests {
    use super::super::testing::Shelf;
    use super::*;
    use crate::format::ChunkKind;
    use crate::format::node::MapRoot;

    fn paths(shelf: &Shelf, path: Option<&[u8]>) -> (Vec<String>, LsReport) {
        let store = shelf.read();
        let latest = shelf.latest(&store);
        let mut out = Vec::new();
        let mut each = |l: Listed| {
            out.push(String::from_utf8_lossy(&l.path).into_owned());
            Ok(())
        };
        let report = run(&store, &latest, path, &mut each, &Control::default()).unwrap();
        (out, report)
    }

    #[test]
    fn everything_below_a_path_comes_in_the_order_of_the_walk() {
        let shelf = Shelf::new(2);
        let library = tempfile::tempdir().unwrap();
        let at = library.path().to_string_lossy().into_owned();
        shelf.library(library.path(), &[("b/two", b"2"), ("b/c/three", b"3"), ("a", b"1"), ("z", b"26")]);
        shelf.back_up(library.path());
        let (all, report) = paths(&shelf, Some(at.as_bytes()));
        let want = ["/a", "/b", "/b/c", "/b/c/three", "/b/two", "/z"].map(|p| format!("{at}{p}"));
        assert_eq!((all.as_slice(), report.entries), (&want[..], 6));
        let inner = format!("{at}/b//./c/");
        assert_eq!(paths(&shelf, Some(inner.as_bytes())).0, [format!("{at}/b/c/three")]);
        let file = format!("{at}/z");
        assert_eq!(paths(&shelf, Some(file.trim_start_matches('/').as_bytes())).0, [file]);
        assert!(paths(&shelf, None).0.ends_with(&want));
    }

    #[test]
    fn a_path_that_is_not_there_is_named() {
        let shelf = Shelf::new(1);
        shelf.stream("one", b"1");
        let store = shelf.read();
        let latest = shelf.latest(&store);
        let got = run(&store, &latest, Some(b"one/two"), &mut |_| Ok(()), &Control::default());
        assert!(matches!(got, Err(Error::NoPath { path, .. }) if path == "/one/two"));
    }

    #[test]
    fn a_lost_folder_is_named_and_the_walk_goes_on() {
        let shelf = Shelf::new(1);
        let library = tempfile::tempdir().unwrap();
        let many: Vec<(String, Vec<u8>)> = (0..400).map(|i| (format!("m/{i:04}"), vec![i as u8; 100])).collect();
        let mut files: Vec<(&str, &[u8])> = many.iter().map(|(n, b)| (n.as_str(), b.as_slice())).collect();
        files.extend([("a", &b"1"[..]), ("z", b"2")]);
        shelf.library(library.path(), &files);
        shelf.back_up(library.path());
        let store = shelf.read();
        let latest = shelf.latest(&store);
        let folder = crate::pool::bytes_of(&library.path().join("m"));
        let Ok(Some(Found::Entry(entry))) = lookup(&store, &latest.snapshot.tree, &folder) else {
            panic!("m is there")
        };
        let EntryKind::Dir(MapRoot::Node { id, .. }) = entry.kind else { panic!("so many files have nodes") };
        drop(store);
        shelf.spoil(ChunkKind::Tree, &id);
        let (all, report) = paths(&shelf, None);
        assert!(all.iter().any(|p| p.ends_with("/z")) && all.iter().any(|p| p.ends_with("/a")));
        assert!(!all.iter().any(|p| p.contains("/m/")));
        assert_eq!(report.unreadable.len(), 1);
        assert_eq!(report.unreadable[0].0, folder);
    }

    #[test]
    fn what_the_receiver_says_ends_the_listing() {
        let shelf = Shelf::new(1);
        shelf.stream("one", b"1");
        let store = shelf.read();
        let latest = shelf.latest(&store);
        let got = run(&store, &latest, None, &mut |_| Err(Error::Interrupted), &Control::default());
        assert!(matches!(got, Err(Error::Interrupted)));
        let control = Control::default();
        control.cancel();
        assert!(matches!(run(&store, &latest, None, &mut |_| Ok(()), &control), Err(Error::Interrupted)));
    }
}
