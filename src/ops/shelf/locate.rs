//! Which disks hold the data of a file or folder.

use super::{Named, find};
use crate::catalog::tree::{self, Found, Step, Walk};
use crate::catalog::{list, tree::names};
use crate::error::{Error, Result};
use crate::format::entry::{Content, Entry, EntryKind};
use crate::format::{ChunkId, DiskId};
use crate::ops::Control;
use crate::ops::snapshots::SnapshotInfo;
use crate::store::Store;
use std::collections::BTreeMap;

/// Chunks that are looked up at once.
const BATCH: usize = 4096;

/// What one disk holds of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OnDisk {
    pub disk: Named,
    pub chunks: u64,
    /// As they are stored.
    pub bytes: u64,
}

/// Where it lies. What several files share is counted for each.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Located {
    pub files: u64,
    /// Most bytes first.
    pub disks: Vec<OnDisk>,
    /// Chunks that are in no pack that can be had.
    pub nowhere: u64,
}

struct Counting<'s> {
    store: &'s Store,
    ids: Vec<ChunkId>,
    on: BTreeMap<DiskId, (u64, u64)>,
    nowhere: u64,
}

impl Counting<'_> {
    fn flush(&mut self) -> Result<()> {
        for at in self.store.locate(&std::mem::take(&mut self.ids))? {
            match at {
                None => self.nowhere += 1,
                Some(at) => {
                    let (chunks, bytes) = self.on.entry(at.sealed.disk).or_default();
                    *chunks += 1;
                    *bytes += u64::from(at.place.stored);
                }
            }
        }
        Ok(())
    }

    fn file(&mut self, entry: &Entry) -> Result<()> {
        let EntryKind::File { content: Content::Recipe(recipe), .. } = &entry.kind else { return Ok(()) };
        for stream in &recipe.streams {
            for reference in list::References::new(self.store, stream, 0)? {
                self.ids.push(reference?.1.id);
                if self.ids.len() >= BATCH {
                    self.flush()?;
                }
            }
        }
        Ok(())
    }
}

/// Looks it up; `None` where the snapshot has no such path.
///
/// # Errors
/// [`Error::Index`], [`Error::Interrupted`], damage in what leads to it.
pub fn run(store: &Store, snapshot: &SnapshotInfo, path: &[u8], control: &Control) -> Result<Option<Located>> {
    let root = &snapshot.snapshot.tree;
    let mut counting = Counting { store, ids: Vec::new(), on: BTreeMap::new(), nowhere: 0 };
    let mut files = 0;
    let below = match tree::lookup(store, root, path)? {
        None => return Ok(None),
        Some(Found::Root) => Some((root.clone(), Vec::new())),
        Some(Found::Entry(entry)) => match &entry.kind {
            EntryKind::Dir(children) => {
                Some((children.clone(), names(path).iter().flat_map(|n| [b"/", *n].concat()).collect()))
            }
            _ => {
                files = 1;
                counting.file(&entry)?;
                None
            }
        },
    };
    if let Some((root, at)) = below {
        for step in Walk::new(store, &root, &at) {
            control.proceed()?;
            match step {
                Step::Entry(_, entry) if matches!(entry.kind, EntryKind::File { .. }) => {
                    files += 1;
                    match counting.file(&entry) {
                        Err(e @ (Error::Index { .. } | Error::Interrupted)) => return Err(e),
                        Err(_) => counting.nowhere += 1, // a list of it
                        Ok(()) => {}
                    }
                }
                Step::Unreadable(_, e @ (Error::Index { .. } | Error::Interrupted)) => return Err(e),
                Step::Unreadable(..) => counting.nowhere += 1,
                Step::Entry(..) | Step::Leave(_) => {}
            }
        }
    }
    counting.flush()?;
    let mut disks = Vec::new();
    for (id, (chunks, bytes)) in counting.on {
        let disk = find(store, &id.to_string(), std::path::Path::new(""))?;
        disks.push(OnDisk { disk, chunks, bytes });
    }
    disks.sort_by_key(|d| std::cmp::Reverse(d.bytes));
    Ok(Some(Located { files, disks, nowhere: counting.nowhere }))
}
