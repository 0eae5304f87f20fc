//! Every file of one or several snapshots, each folder of one path and content once.

use super::is_of_one_place;
use crate::catalog::list::References;
use crate::catalog::tree::{Found, Step, Walk, lookup};
use crate::error::Result;
use crate::format::check::blake3;
use crate::format::entry::{Content, EntryKind};
use crate::format::node::MapRoot;
use crate::format::recipe::Recipe;
use crate::ops::Control;
use crate::ops::ls::{absolute, no_path};
use crate::ops::snapshots::SnapshotInfo;
use crate::store::Store;
use std::collections::{HashSet, VecDeque};
use std::sync::atomic::Ordering;

/// Folders that are remembered as gone through: about 20 MB.
const SEEN_MAX: usize = 1 << 18;

/// A file that was met.
pub struct Met<'a> {
    pub snapshot: &'a SnapshotInfo,
    pub path: &'a [u8],
    pub bytes: u64,
    pub content: &'a Content,
}

impl Met<'_> {
    pub fn recipe(&self) -> Option<&Recipe> {
        match self.content {
            Content::Recipe(recipe) => Some(recipe),
            Content::Inline(_) => None,
        }
    }
}

/// What a walk met.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Walked {
    pub files: u64,
    /// Folders and lists that cannot be read: what is below them was not met.
    pub unreadable: u64,
}

/// Folders that were gone through, by path and content; the newest of them.
#[derive(Default)]
struct Seen {
    held: HashSet<[u8; 32]>,
    order: VecDeque<[u8; 32]>,
}

impl Seen {
    /// Whether it is there; remembers it if not.
    fn is_old(&mut self, root: &MapRoot, path: &[u8]) -> bool {
        let MapRoot::Node { id, .. } = root else { return false };
        self.is_known(blake3(&[&id.0, path]))
    }

    fn is_known(&mut self, key: [u8; 32]) -> bool {
        if !self.held.insert(key) {
            return true;
        }
        self.order.push_back(key);
        if self.order.len() > SEEN_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.held.remove(&oldest);
        }
        false
    }
}

/// Hands out the files of these snapshots, in their order. A folder that an earlier one of them has at the same path
/// with the same content is passed over, as far as that is remembered: the same file may come twice, none is left out.
///
/// # Errors
/// [`crate::Error::Interrupted`], [`crate::Error::Index`], and what `each` returns.
pub fn each(
    store: &Store,
    snapshots: &[SnapshotInfo],
    control: &Control,
    each: &mut dyn FnMut(Met<'_>) -> Result<()>,
) -> Result<Walked> {
    let mut walked = Walked::default();
    let mut seen = Seen::default();
    for snapshot in snapshots {
        if !seen.is_old(&snapshot.snapshot.tree, b"") {
            below(store, snapshot, &snapshot.snapshot.tree, b"", &mut seen, control, &mut walked, each)?;
        }
    }
    Ok(walked)
}

/// As [`each`], each recipe at a path once, as far as that is remembered: a folder that changed from snapshot to snapshot has
/// mostly files that did not. Files that stand in their entries as a whole are left out.
///
/// # Errors
/// As [`each`].
pub fn each_once(
    store: &Store,
    snapshots: &[SnapshotInfo],
    control: &Control,
    once: &mut dyn FnMut(Met<'_>, &Recipe) -> Result<()>,
) -> Result<Walked> {
    let (mut seen, mut files) = (Seen::default(), 0);
    let walked = each(store, snapshots, control, &mut |met| {
        let Content::Recipe(recipe) = met.content else { return Ok(()) };
        if seen.is_known(blake3(&[&recipe.encode(), met.path])) {
            return Ok(());
        }
        files += 1;
        once(met, recipe)
    })?;
    Ok(Walked { files, ..walked })
}

/// As [`each`], each recipe once, wherever and however often it stands, as far as that is remembered: it may come twice, none
/// is left out. One content that was split in two ways has two, of other chunks, though their checks may be the same: those of
/// mapped segments are of the bytes. Files that stand in their entries as a whole are left out.
///
/// # Errors
/// As [`each`].
pub fn each_content(
    store: &Store,
    snapshots: &[SnapshotInfo],
    control: &Control,
    once: &mut dyn FnMut(&Recipe) -> Result<()>,
) -> Result<Walked> {
    let mut seen = Seen::default();
    each(store, snapshots, control, &mut |met| match met.recipe() {
        Some(recipe) if !seen.is_known(blake3(&[&recipe.encode()])) => once(recipe),
        _ => Ok(()),
    })
}

/// The files at or below a path of one snapshot.
///
/// # Errors
/// As [`each`], and [`crate::Error::NoPath`].
pub fn at(
    store: &Store,
    snapshot: &SnapshotInfo,
    path: &[u8],
    control: &Control,
    each: &mut dyn FnMut(Met<'_>) -> Result<()>,
) -> Result<Walked> {
    let mut walked = Walked::default();
    let root = match lookup(store, &snapshot.snapshot.tree, path)? {
        None => return Err(no_path(snapshot, path)),
        Some(Found::Root) => snapshot.snapshot.tree.clone(),
        Some(Found::Entry(entry)) => match entry.kind {
            EntryKind::Dir(root) => root,
            EntryKind::Symlink(_) => return Ok(walked),
            EntryKind::File { bytes, content } => {
                walked.files = 1;
                let path = absolute(path);
                each(Met { snapshot, path: &path, bytes, content: &content })?;
                return Ok(walked);
            }
        },
    };
    below(store, snapshot, &root, path, &mut Seen::default(), control, &mut walked, each)?;
    Ok(walked)
}

#[expect(clippy::too_many_arguments, reason = "the two callers above differ in all of them")]
fn below(
    store: &Store,
    snapshot: &SnapshotInfo,
    root: &MapRoot,
    at: &[u8],
    seen: &mut Seen,
    control: &Control,
    walked: &mut Walked,
    each: &mut dyn FnMut(Met<'_>) -> Result<()>,
) -> Result<()> {
    let mut walk = Walk::new(store, root, at);
    while let Some(step) = walk.next() {
        control.proceed()?;
        match step {
            Step::Entry(path, entry) => match &entry.kind {
                EntryKind::Dir(root) => {
                    if seen.is_old(root, &path) {
                        walk.leave_out();
                    }
                }
                EntryKind::Symlink(_) => {}
                EntryKind::File { bytes, content } => {
                    walked.files += 1;
                    control.progress.files_done.fetch_add(1, Ordering::Relaxed);
                    each(Met { snapshot, path: &path, bytes: *bytes, content })?;
                }
            },
            Step::Leave(_) => {}
            Step::Unreadable(_, e) if is_of_one_place(&e) => walked.unreadable += 1,
            Step::Unreadable(_, e) => return Err(e),
        }
    }
    Ok(())
}

/// Gives `each` the references of a recipe: stream, where in it, and the reference. False where a list cannot be read.
///
/// # Errors
/// [`crate::Error::Index`], and what `each` returns.
pub fn references(
    store: &Store,
    recipe: &Recipe,
    each: &mut dyn FnMut(u8, u64, &crate::format::recipe::Reference) -> Result<()>,
) -> Result<bool> {
    let mut whole = true;
    for (number, stream) in (0..).zip(&recipe.streams) {
        let mut go = || -> Result<()> {
            for reference in References::new(store, stream, 0)? {
                let (at, reference) = reference?;
                each(number, at, &reference)?;
            }
            Ok(())
        };
        match go() {
            Ok(()) => {}
            Err(e) if is_of_one_place(&e) => whole = false,
            Err(e) => return Err(e),
        }
    }
    Ok(whole)
}
