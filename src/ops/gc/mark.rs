//! What the live snapshots reach: every node, list and chunk below their trees and witnesses, as sorted ids.
//!
//! A node is gone through once, as far as sixteen bytes of its id are remembered; beyond a quarter of the budget nodes are
//! gone through again, which costs time only: the sort takes an id twice as well as once.

use super::elsewhere::Elsewhere;
use crate::catalog::map::read_node;
use crate::error::{Error, Result};
use crate::format::entry::{Attributes, Content, Entry, EntryKind, Witness};
use crate::format::node::{Items, MapRoot, Node, SegmentNode, decode_segment_node, decode_stream_list};
use crate::format::recipe::{Recipe, Segments, Stream};
use crate::format::snapshot::Snapshot;
use crate::format::{ChunkId, ChunkKind, SnapshotId};
use crate::index::Sorter;
use crate::ops::Control;
use crate::pack::ReadChunks;
use std::collections::HashSet;
use std::sync::atomic::Ordering;

/// What a node takes in the set of seen ones, the table's slack included.
const SEEN_BYTES: u64 = 36;

/// Which of a snapshot's two maps is walked.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Map {
    Tree,
    Witness,
}

/// Ids that are reached.
pub(super) type Reached = Sorter<{ ChunkId::BYTES }>;

/// Walks snapshots.
pub(super) struct Mark<'s> {
    chunks: Elsewhere<'s>,
    control: &'s Control,
    seen: HashSet<u128>,
    seen_max: usize,
    reached: Reached,
    pub nodes: u64,
}

/// Sixteen bytes of an id: of 2^64 nodes two would agree in them by chance.
fn short(id: &ChunkId) -> u128 {
    id.0.first_chunk::<16>().map_or(0, |b| u128::from_le_bytes(*b)) // an id is longer
}

impl<'s> Mark<'s> {
    pub fn new(chunks: Elsewhere<'s>, control: &'s Control, reached: Reached, memory_bytes: u64) -> Self {
        let seen_max = usize::try_from(memory_bytes / 4 / SEEN_BYTES).unwrap_or(usize::MAX);
        Mark { chunks, control, seen: HashSet::new(), seen_max, reached, nodes: 0 }
    }

    /// The ids, and how many nodes were read elsewhere than where the index has them.
    pub fn finish(self) -> (Reached, u64) {
        (self.reached, self.chunks.found())
    }

    /// Walks a snapshot's tree and witness.
    ///
    /// # Errors
    /// [`Error::UnreadableTree`] where a node or list cannot be had: what lies below it is not known then.
    /// [`Error::Interrupted`], [`Error::Index`], [`Error::Io`] of the sort.
    pub fn walk(&mut self, id: &SnapshotId, snapshot: &Snapshot) -> Result<()> {
        let tree = self.map(Map::Tree, snapshot.tree.clone());
        let walked = match &snapshot.witness {
            Some(root) => tree.and_then(|()| self.map(Map::Witness, root.clone())),
            None => tree,
        };
        walked.map_err(|e| match e {
            e if crate::ops::share::is_of_one_place(&e) => {
                Error::UnreadableTree { snapshot: id.short(), source: Box::new(e) }
            }
            e => e,
        })
    }

    /// Whether it was not met before, as far as that is remembered.
    fn is_new(&mut self, id: &ChunkId) -> Result<bool> {
        let short = short(id);
        if self.seen.contains(&short) {
            return Ok(false);
        }
        if self.seen.len() < self.seen_max {
            self.seen.insert(short);
        }
        self.nodes += 1;
        self.control.progress.files_done.fetch_add(1, Ordering::Relaxed);
        self.reached.push(&id.0)?;
        Ok(true)
    }

    fn map(&mut self, map: Map, first: MapRoot) -> Result<()> {
        let mut todo = vec![first];
        while let Some(root) = todo.pop() {
            self.control.proceed()?;
            let (level, id) = match root {
                MapRoot::Inline(items) => {
                    self.items(map, &items, &mut todo)?;
                    continue;
                }
                MapRoot::Node { level, id, .. } => (level, id),
            };
            if !self.is_new(&id)? {
                continue;
            }
            match read_node(&self.chunks, level, &id)? {
                Node::Leaf(items) => self.items(map, &items, &mut todo)?,
                Node::Inner(children) => todo.extend(children.into_iter().map(|c| {
                    let below = level - 1; // an inner node stands at level 2 or above
                    MapRoot::Node { level: below, id: c.id, entries: c.entries }
                })),
            }
        }
        Ok(())
    }

    fn items(&mut self, map: Map, items: &[u8], todo: &mut Vec<MapRoot>) -> Result<()> {
        for item in Items::new(items) {
            let (_, value) = item?;
            if map == Map::Witness {
                todo.extend(Witness::decode(value)?.children);
                continue;
            }
            let entry = Entry::decode(value)?;
            if let Attributes::Stream(stream) = &entry.attributes {
                self.stream(stream)?;
            }
            match entry.kind {
                EntryKind::Dir(root) => todo.push(root),
                EntryKind::Symlink(_) | EntryKind::File { content: Content::Inline(_), .. } => {}
                EntryKind::File { content: Content::Recipe(recipe), .. } => self.recipe(&recipe)?,
            }
        }
        Ok(())
    }

    fn recipe(&mut self, recipe: &Recipe) -> Result<()> {
        recipe.streams.iter().try_for_each(|stream| self.stream(stream))?;
        let Segments::List { level, id } = &recipe.segments else { return Ok(()) };
        let mut todo = vec![(*level, *id)];
        while let Some((level, id)) = todo.pop() {
            if !self.is_new(&id)? {
                continue;
            }
            match decode_segment_node(level, &self.chunks.chunk(ChunkKind::List, &id)?)? {
                SegmentNode::Leaf(_) => {}
                // level 2 or above
                SegmentNode::Inner(children) => todo.extend(children.into_iter().map(|c| (level - 1, c.id))),
            }
        }
        Ok(())
    }

    fn stream(&mut self, stream: &Stream) -> Result<()> {
        let mut todo: Vec<(u8, ChunkId)> = stream.references.iter().map(|r| (stream.level, r.id)).collect();
        while let Some((level, id)) = todo.pop() {
            if level == 0 {
                self.reached.push(&id.0)?;
                continue;
            }
            self.control.proceed()?;
            if self.is_new(&id)? {
                let below = decode_stream_list(level, &self.chunks.chunk(ChunkKind::List, &id)?)?;
                todo.extend(below.into_iter().map(|r| (level - 1, r.id)));
            }
        }
        Ok(())
    }
}
