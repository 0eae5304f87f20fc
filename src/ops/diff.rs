//! diff: two snapshots' trees side by side.
//!
//! Nothing is read but nodes that differ: equal folders have equal roots, equal files equal checks. A folder
//! that is on one side only is listed with all that is below it.

use super::Control;
use super::snapshots::SnapshotInfo;
use crate::error::{Error, Result};
use crate::format::entry::{Content, Entry, EntryKind};
use crate::format::limits;
use crate::format::node::MapRoot;
use crate::store::Store;
use pairs::{Pair, Pairs};
use std::sync::atomic::Ordering;

mod pairs;

/// What became of an entry from the first snapshot to the second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    Added,
    Removed,
    /// `kind`: a file became a folder, say; its content counts as changed then. `metadata`: mode, time of the
    /// last change, owner, attributes.
    Changed {
        content: bool,
        metadata: bool,
        kind: bool,
    },
}

/// How much differs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DiffReport {
    pub added: u64,
    pub removed: u64,
    pub changed: u64,
    /// Bytes of files that were added, and the new length of those whose content changed.
    pub bytes_added: u64,
    /// Bytes of files that were removed, and the old length of those whose content changed.
    pub bytes_removed: u64,
}

/// What [`run`] hands each difference to: the path, and the entry in either snapshot.
pub type Each<'a> = &'a mut dyn FnMut(&[u8], Change, Option<&Entry>, Option<&Entry>) -> Result<()>;

fn file_bytes(entry: &Entry) -> u64 {
    if let EntryKind::File { bytes, .. } = entry.kind { bytes } else { 0 }
}

fn children(entry: Option<&Entry>) -> Option<&MapRoot> {
    match entry.map(|e| &e.kind) {
        Some(EntryKind::Dir(root)) => Some(root),
        _ => None,
    }
}

/// Compares two entries of one name; `None` where nothing of what counts differs.
fn compare(a: &Entry, b: &Entry) -> Option<Change> {
    let metadata = (a.mode, a.mtime, a.uid, a.gid) != (b.mode, b.mtime, b.uid, b.gid) || a.attributes != b.attributes;
    let (content, kind) = match (&a.kind, &b.kind) {
        (EntryKind::File { bytes: na, content: ca }, EntryKind::File { bytes: nb, content: cb }) => {
            let same = match (ca, cb) {
                (Content::Inline(a), Content::Inline(b)) => a == b,
                (Content::Recipe(a), Content::Recipe(b)) => na == nb && a.check == b.check,
                _ => false,
            };
            (!same, false)
        }
        (EntryKind::Symlink(a), EntryKind::Symlink(b)) => (a != b, false),
        (EntryKind::Dir(_), EntryKind::Dir(_)) => (false, false), // what is in it speaks for itself
        _ => (true, true),
    };
    (content || metadata || kind).then_some(Change::Changed { content, metadata, kind })
}

/// Hands out every entry that differs, in order of path, folders before their content.
///
/// # Errors
/// Damage of a node that differs, [`Error::Limit`] for folders nested too deeply, [`Error::Interrupted`], and
/// what `each` returns.
pub fn run(store: &Store, a: &SnapshotInfo, b: &SnapshotInfo, each: Each<'_>, control: &Control) -> Result<DiffReport> {
    control.progress.set_phase("comparing");
    let mut report = DiffReport::default();
    if a.snapshot.tree == b.snapshot.tree {
        return Ok(report);
    }
    let mut path = Vec::new();
    // Folders on the way down, and where the path of each one's parent ends.
    let mut stack = vec![(Pairs::new(store, &a.snapshot.tree, &b.snapshot.tree)?, 0)];
    while let Some((pairs, parent)) = stack.last_mut() {
        control.proceed()?;
        let Some(Pair { name, a, b }) = pairs.next()? else {
            path.truncate(*parent);
            stack.pop();
            continue;
        };
        let before = path.len();
        path.push(b'/');
        path.extend_from_slice(&name);
        let a = a.map(|v| Entry::decode(&v)).transpose()?;
        let b = b.map(|v| Entry::decode(&v)).transpose()?;
        control.progress.files_done.fetch_add(1, Ordering::Relaxed);
        let change = match (&a, &b) {
            (Some(a), Some(b)) => compare(a, b),
            (Some(_), None) => Some(Change::Removed),
            (None, _) => Some(Change::Added),
        };
        if let Some(change) = change {
            count(&mut report, change, a.as_ref(), b.as_ref());
            each(&path, change, a.as_ref(), b.as_ref())?;
        }
        let empty = MapRoot::empty();
        match (children(a.as_ref()), children(b.as_ref())) {
            (None, None) => path.truncate(before),
            (Some(a), Some(b)) if a == b => path.truncate(before),
            (a, b) => {
                if stack.len() >= limits::DEPTH {
                    let max = limits::DEPTH as u64;
                    return Err(Error::Limit { what: "the depth of folders", got: max + 1, max });
                }
                stack.push((Pairs::new(store, a.unwrap_or(&empty), b.unwrap_or(&empty))?, before));
            }
        }
    }
    Ok(report)
}

fn count(report: &mut DiffReport, change: Change, a: Option<&Entry>, b: Option<&Entry>) {
    let content = match change {
        Change::Added => {
            report.added += 1;
            true
        }
        Change::Removed => {
            report.removed += 1;
            true
        }
        Change::Changed { content, .. } => {
            report.changed += 1;
            content
        }
    };
    if content {
        // lengths are below 2^62 each; a sum that passes 64 bits is of no use to anyone
        report.bytes_removed = report.bytes_removed.saturating_add(a.map_or(0, file_bytes));
        report.bytes_added = report.bytes_added.saturating_add(b.map_or(0, file_bytes));
    }
}

#[cfg(test)]
mod tests {
    use super::super::snapshots;
    use super::super::testing::{Shelf, noise};
    use super::*;
    use std::os::unix::fs::PermissionsExt;
    use std::path::Path;

    /// What changed below a folder. Folders above it (the system's temporary one) may change at any time: they are
    /// taken out of the report.
    fn diff(shelf: &Shelf, below: &Path) -> (Vec<(String, Change)>, DiffReport) {
        let store = shelf.read();
        let all = snapshots::list(&store, &[]);
        let [.., a, b] = all.as_slice() else { panic!("there are two snapshots") };
        let (mut out, mut above) = (Vec::new(), 0);
        let prefix = format!("{}/", below.display());
        let mut each = |path: &[u8], change: Change, a: Option<&Entry>, b: Option<&Entry>| {
            assert_eq!((a.is_some(), b.is_some()), (change != Change::Added, change != Change::Removed));
            match String::from_utf8_lossy(path).strip_prefix(&prefix) {
                Some(rest) => out.push((rest.to_owned(), change)),
                None => above += u64::from(path.len() + 1 < prefix.len()),
            }
            Ok(())
        };
        let mut report = run(&store, a, b, &mut each, &Control::default()).unwrap();
        report.changed -= above;
        (out, report)
    }

    const CONTENT: Change = Change::Changed { content: true, metadata: true, kind: false };
    const METADATA: Change = Change::Changed { content: false, metadata: true, kind: false };

    #[test]
    fn every_kind_of_change_is_told_and_what_is_equal_is_not() {
        let shelf = Shelf::new(1);
        let library = tempfile::tempdir().unwrap();
        let at = library.path();
        let (one, two) = (noise(1, 70_000), noise(2, 80_000));
        shelf
            .library(at, &[("big", &one), ("same", &one), ("gone/x", b"12345"), ("gone/deep/y", b"1"), ("mode", b"m")]);
        shelf.library(at, &[("swap", b"was a file"), ("keep/z", b"z")]);
        std::os::unix::fs::symlink("one", at.join("link")).unwrap();
        shelf.back_up(at);
        std::fs::write(at.join("big"), &two).unwrap();
        std::fs::remove_dir_all(at.join("gone")).unwrap();
        std::fs::set_permissions(at.join("mode"), PermissionsExt::from_mode(0o600)).unwrap();
        std::fs::remove_file(at.join("link")).unwrap();
        std::os::unix::fs::symlink("two", at.join("link")).unwrap();
        std::fs::remove_file(at.join("swap")).unwrap();
        shelf.library(at, &[("swap/in", b"now a folder"), ("new/a", b"123")]);
        shelf.back_up(at);
        let (got, report) = diff(&shelf, at);
        let kind = Change::Changed { content: true, metadata: true, kind: true };
        let want = [
            ("big", CONTENT),
            ("gone", Change::Removed),
            ("gone/deep", Change::Removed),
            ("gone/deep/y", Change::Removed),
            ("gone/x", Change::Removed),
            ("link", CONTENT),
            ("mode", METADATA),
            ("new", Change::Added),
            ("new/a", Change::Added),
            ("swap", kind),
            ("swap/in", Change::Added),
        ];
        let want: Vec<_> = want.iter().map(|(p, c)| ((*p).to_owned(), *c)).collect();
        assert_eq!(got, want);
        assert_eq!((report.added, report.removed), (3, 4));
        assert_eq!(report.changed, 5, "the library's own folder changed too");
        assert_eq!(report.bytes_added, 80_000 + 3 + 12);
        assert_eq!(report.bytes_removed, 70_000 + 6 + 10);
    }

    #[test]
    fn equal_snapshots_do_not_differ_and_are_not_read() {
        let shelf = Shelf::new(1);
        let library = tempfile::tempdir().unwrap();
        shelf.library(library.path(), &[("a", b"1"), ("b/c", b"2")]);
        shelf.back_up(library.path());
        shelf.back_up(library.path());
        let (got, report) = diff(&shelf, library.path());
        assert_eq!((got, report), (Vec::new(), DiffReport::default()));
    }
}
