//! find: entries of one or many snapshots whose name or path fits a pattern.
//!
//! Snapshots of one library share most of their folders. A folder below which nothing fitted is
//! remembered by its root, and passed over in the snapshots that follow.

use super::Control;
use super::ls::{Listed, LsReport};
use super::snapshots::{self, SnapshotInfo};
use crate::catalog::tree::{Step, Walk};
use crate::error::{Error, Result};
use crate::format::check::blake3;
use crate::format::entry::EntryKind;
use crate::format::node::MapRoot;
use crate::store::Store;
use globset::{GlobBuilder, GlobMatcher};
use std::collections::{HashSet, VecDeque};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::atomic::Ordering;

/// Folders without a fit that are remembered: about 20 MB. A folder comes after those in it, so the oldest
/// are the ones that a later one made superfluous.
const BARE_MAX: usize = 1 << 18;

/// What to look for, and where.
#[derive(Clone, Debug)]
pub struct FindOptions {
    /// A glob for the name; for the whole path if it holds a slash.
    pub pattern: String,
    pub ignore_case: bool,
    /// All that are not forgotten if empty.
    pub snapshots: Vec<SnapshotInfo>,
}

/// The glob, and what it is held against.
struct Pattern {
    glob: GlobMatcher,
    by_path: bool,
}

/// Whether an entry at `path` is one that `find` with this pattern tells.
///
/// # Errors
/// [`Error::Argument`] for a pattern that is none.
pub fn fits(pattern: &str, ignore_case: bool, path: &[u8]) -> Result<bool> {
    Ok(Pattern::new(pattern, ignore_case)?.fits(path))
}

impl Pattern {
    fn new(text: &str, ignore_case: bool) -> Result<Pattern> {
        let bad = |why: String| Error::Argument { what: format!("the pattern {text:?}"), why };
        if text.is_empty() {
            return Err(bad("it is empty".into()));
        }
        let by_path = text.contains('/');
        // `a/b` stands for the end of a path, as it does for `backup --exclude`.
        let anchored = if by_path && !text.starts_with('/') { format!("**/{text}") } else { text.to_owned() };
        let mut builder = GlobBuilder::new(&anchored);
        let glob = builder.literal_separator(true).case_insensitive(ignore_case).build();
        Ok(Pattern { glob: glob.map_err(|e| bad(e.kind().to_string()))?.compile_matcher(), by_path })
    }

    fn fits(&self, path: &[u8]) -> bool {
        let of = if self.by_path { path } else { path.rsplit(|&b| b == b'/').next().unwrap_or_default() };
        self.glob.is_match(Path::new(OsStr::from_bytes(of)))
    }

    /// Names a folder such that what fits below it is the same wherever the name is the same; `None` for one
    /// that stands in its parent's entry and costs nothing to look at.
    fn key(&self, root: &MapRoot, path: &[u8]) -> Option<[u8; 32]> {
        match root {
            MapRoot::Inline(_) => None,
            MapRoot::Node { id, .. } if self.by_path => Some(blake3(&[&id.0, path])),
            MapRoot::Node { id, .. } => Some(id.0),
        }
    }
}

/// Folders below which nothing fits, the newest of them.
#[derive(Default)]
struct Bare {
    held: HashSet<[u8; 32]>,
    order: VecDeque<[u8; 32]>,
}

impl Bare {
    fn insert(&mut self, key: [u8; 32]) {
        if self.held.insert(key) {
            self.order.push_back(key);
        }
        while self.order.len() > BARE_MAX {
            if let Some(oldest) = self.order.pop_front() {
                self.held.remove(&oldest);
            }
        }
    }
}

/// Hands out every entry that fits, snapshot by snapshot, in the order of the walk.
///
/// # Errors
/// [`Error::Argument`] for a pattern that is none, [`Error::Interrupted`], and what `each` returns. Damage is in
/// the report.
pub fn run(
    store: &Store,
    options: &FindOptions,
    each: &mut dyn FnMut(&SnapshotInfo, Listed) -> Result<()>,
    control: &Control,
) -> Result<LsReport> {
    control.progress.set_phase("searching");
    let pattern = Pattern::new(&options.pattern, options.ignore_case)?;
    let all;
    let snapshots = if options.snapshots.is_empty() {
        all = snapshots::list(store, &[]);
        &all
    } else {
        &options.snapshots
    };
    let mut report = LsReport::default();
    let mut bare = Bare::default();
    for snapshot in snapshots {
        one(store, snapshot, &pattern, &mut bare, &mut report, each, control)?;
    }
    Ok(report)
}

/// A folder that is being gone through: its key, and whether nothing fitted so far.
struct Open {
    key: Option<[u8; 32]>,
    bare: bool,
}

fn one(
    store: &Store,
    snapshot: &SnapshotInfo,
    pattern: &Pattern,
    bare: &mut Bare,
    report: &mut LsReport,
    each: &mut dyn FnMut(&SnapshotInfo, Listed) -> Result<()>,
    control: &Control,
) -> Result<()> {
    let tree = &snapshot.snapshot.tree;
    let key = pattern.key(tree, b"");
    if key.is_some_and(|k| bare.held.contains(&k)) {
        return Ok(());
    }
    let mut open = vec![Open { key, bare: true }];
    let mut walk = Walk::new(store, tree, b"");
    while let Some(step) = walk.next() {
        control.proceed()?;
        match step {
            Step::Entry(path, entry) => {
                control.progress.files_done.fetch_add(1, Ordering::Relaxed);
                let fits = pattern.fits(&path);
                if fits && let Some(parent) = open.last_mut() {
                    parent.bare = false;
                }
                if let EntryKind::Dir(root) = &entry.kind {
                    let key = pattern.key(root, &path);
                    if key.is_some_and(|k| bare.held.contains(&k)) {
                        walk.leave_out();
                    } else {
                        open.push(Open { key, bare: true });
                    }
                }
                if fits {
                    report.entries += 1;
                    each(snapshot, Listed { path, entry })?;
                }
            }
            Step::Leave(_) => close(&mut open, bare),
            Step::Unreadable(path, e) => {
                // What was not seen may fit, and another copy may be readable.
                if let Some(parent) = open.last_mut() {
                    parent.bare = false;
                }
                report.pass_over(path, e)?;
            }
        }
    }
    close(&mut open, bare); // the root has no step of its own
    Ok(())
}

/// Ends the innermost folder and tells the one around it.
fn close(open: &mut Vec<Open>, bare: &mut Bare) {
    let Some(done) = open.pop() else { return };
    match (done.bare, done.key) {
        (true, Some(key)) => bare.insert(key),
        (true, None) => {}
        (false, _) => {
            if let Some(parent) = open.last_mut() {
                parent.bare = false;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::Shelf;
    use super::*;

    fn found(shelf: &Shelf, pattern: &str, ignore_case: bool) -> Vec<(usize, String)> {
        let store = shelf.read();
        let all = snapshots::list(&store, &[]);
        let options = FindOptions { pattern: pattern.into(), ignore_case, snapshots: Vec::new() };
        let mut out = Vec::new();
        let mut each = |s: &SnapshotInfo, l: Listed| {
            let name = String::from_utf8_lossy(&l.path).rsplit('/').next().unwrap_or_default().to_owned();
            out.push((all.iter().position(|a| a.id == s.id).unwrap(), name));
            Ok(())
        };
        let report = run(&store, &options, &mut each, &Control::default()).unwrap();
        assert_eq!(report.entries, out.len() as u64);
        out
    }

    fn filled() -> (Shelf, tempfile::TempDir) {
        let shelf = Shelf::new(1);
        let library = tempfile::tempdir().unwrap();
        let many: Vec<(String, Vec<u8>)> = (0..300).map(|i| (format!("m/{i:04}.wav"), vec![1; 100])).collect();
        let files: Vec<(&str, &[u8])> = many.iter().map(|(n, b)| (n.as_str(), b.as_slice())).collect();
        shelf.library(library.path(), &files);
        shelf.library(library.path(), &[("a/Cover.JPG", b"c"), ("a/deep/cover.jpg", b"d"), ("b", b"e")]);
        shelf.back_up(library.path());
        shelf.library(library.path(), &[("late/cover.jpg", b"f")]);
        shelf.back_up(library.path());
        (shelf, library)
    }

    #[test]
    fn a_name_is_found_in_every_snapshot_that_holds_it() {
        let (shelf, _library) = filled();
        let name = |i, n: &str| (i, n.to_owned());
        assert_eq!(
            found(&shelf, "cover.jpg", false),
            [name(0, "cover.jpg"), name(1, "cover.jpg"), name(1, "cover.jpg")]
        );
        assert_eq!(found(&shelf, "COVER.*", true).len(), 5);
        assert_eq!(found(&shelf, "0299.wav", false), [name(0, "0299.wav"), name(1, "0299.wav")]);
        assert_eq!(found(&shelf, "*.flac", false), []);
        assert_eq!(found(&shelf, "late", false), [name(1, "late")], "folders are entries too");
    }

    #[test]
    fn a_pattern_with_a_slash_is_held_against_the_path() {
        let (shelf, library) = filled();
        assert_eq!(found(&shelf, "a/*.JPG", false).len(), 2);
        assert_eq!(found(&shelf, "a/**/*.jpg", false).len(), 2);
        let whole = format!("{}/late/*", library.path().display());
        assert_eq!(found(&shelf, &whole, false), [(1, "cover.jpg".to_owned())]);
        assert_eq!(found(&shelf, "/late/*", false), []);
    }

    #[test]
    fn a_pattern_that_is_none_is_refused() {
        let shelf = Shelf::new(1);
        for pattern in ["", "[a"] {
            let options = FindOptions { pattern: pattern.into(), ignore_case: false, snapshots: Vec::new() };
            let got = run(&shelf.write(), &options, &mut |_, _| Ok(()), &Control::default());
            assert!(matches!(got, Err(Error::Argument { .. })), "{pattern:?}");
        }
    }

    #[test]
    fn folders_without_a_fit_are_gone_through_once() {
        let (shelf, library) = filled();
        shelf.library(library.path(), &[("later", b"g")]);
        shelf.back_up(library.path());
        let store = shelf.read();
        let control = Control::default();
        let options = FindOptions { pattern: "cover.jpg".into(), ignore_case: false, snapshots: Vec::new() };
        run(&store, &options, &mut |_, _| Ok(()), &control).unwrap();
        let seen = control.progress.files_done.load(Ordering::Relaxed);
        assert!((300..400).contains(&seen), "{seen} entries were looked at; three times 300 lie in one folder");
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut bare = Bare::default();
        for i in 0..BARE_MAX as u64 + 100 {
            bare.insert(blake3(&[&i.to_le_bytes()]));
        }
        assert_eq!((bare.held.len(), bare.order.len()), (BARE_MAX, BARE_MAX));
        assert!(!bare.held.contains(&blake3(&[&99u64.to_le_bytes()])));
        assert!(bare.held.contains(&blake3(&[&100u64.to_le_bytes()])));
    }
}
