//! What the live snapshots reach: every link below their trees and witnesses, as ids to be sorted.
//!
//! A node is gone through once, as far as sixteen bytes of its id are remembered; beyond a quarter of the budget nodes are
//! gone through again. That costs time, and the number of links is then no longer exact, so no counts are founded on it.

use super::elsewhere::Elsewhere;
use super::links::{self, Link};
use crate::error::{Error, Result};
use crate::format::snapshot::Snapshot;
use crate::format::{ChunkId, SnapshotId};
use crate::index::Sorter;
use crate::ops::Control;
use std::collections::HashSet;
use std::sync::atomic::Ordering;

/// What a node takes in the set of seen ones, the table's slack included.
const SEEN_BYTES: u64 = 36;

/// Ids that are reached, once for each link.
pub(super) type Reached = Sorter<{ ChunkId::BYTES }>;

/// Walks snapshots.
pub(super) struct Mark<'s> {
    chunks: Elsewhere<'s>,
    control: &'s Control,
    seen: HashSet<u128>,
    seen_max: usize,
    reached: Reached,
    /// Every node was remembered, so every link was given once.
    exact: bool,
}

/// What a mark found.
pub(super) struct Marked {
    pub reached: Reached,
    pub exact: bool,
    /// Nodes that were read elsewhere than where the index has them.
    pub beside_index: u64,
}

impl<'s> Mark<'s> {
    pub fn new(chunks: Elsewhere<'s>, control: &'s Control, reached: Reached, memory_bytes: u64) -> Self {
        let seen_max = usize::try_from(memory_bytes / 4 / SEEN_BYTES).unwrap_or(usize::MAX);
        Mark { chunks, control, seen: HashSet::new(), seen_max, reached, exact: true }
    }

    pub fn finish(self) -> Marked {
        Marked { reached: self.reached, exact: self.exact, beside_index: self.chunks.found() }
    }

    /// Walks a snapshot's tree and witness.
    ///
    /// # Errors
    /// [`Error::UnreadableTree`] where a node or list cannot be had: what lies below it is not known then.
    /// [`Error::Interrupted`], [`Error::Index`], [`Error::Io`] of the sort.
    pub fn walk(&mut self, id: &SnapshotId, snapshot: &Snapshot) -> Result<()> {
        self.links(snapshot).map_err(|e| match e {
            e if crate::ops::share::is_of_one_place(&e) => {
                Error::UnreadableTree { snapshot: id.short(), source: Box::new(e) }
            }
            e => e,
        })
    }

    fn links(&mut self, snapshot: &Snapshot) -> Result<()> {
        let mut todo: Vec<(ChunkId, Link)> = Vec::new();
        let mut push = |id, link| {
            todo.push((id, link));
            Ok(())
        };
        links::of_root(&snapshot.tree, true, &mut push)?;
        if let Some(root) = &snapshot.witness {
            links::of_root(root, false, &mut push)?;
        }
        while let Some((id, link)) = todo.pop() {
            self.reached.push(&id.0)?;
            if link == Link::Data || !self.is_new(&id) {
                continue;
            }
            self.control.proceed()?;
            self.control.progress.files_done.fetch_add(1, Ordering::Relaxed);
            links::below(&self.chunks, &id, link, &mut |id, link| {
                todo.push((id, link));
                Ok(())
            })?;
        }
        Ok(())
    }

    /// Whether it was not met before, as far as that is remembered.
    fn is_new(&mut self, id: &ChunkId) -> bool {
        let short = id.half();
        if self.seen.contains(&short) {
            return false;
        }
        if self.seen.len() < self.seen_max {
            self.seen.insert(short);
        } else {
            self.exact = false;
        }
        true
    }
}
