//! Which snapshots reach a chunk: one, or several.

use super::is_of_one_chunk;
use crate::catalog::map::read_node;
use crate::error::Result;
use crate::format::check::blake3;
use crate::format::entry::{Attributes, Content, Entry, EntryKind, Witness};
use crate::format::node::{Items, MapRoot, Node, SegmentNode, decode_segment_node, decode_stream_list};
use crate::format::recipe::{Recipe, Segment, Segments, Stream};
use crate::format::snapshot::Snapshot;
use crate::format::{ChunkId, ChunkKind};
use crate::index::Sorter;
use crate::ops::Control;
use crate::pack::ReadChunks;
use crate::store::Store;
use std::collections::HashMap;

/// The colour of what several snapshots reach.
pub(super) const SEVERAL: u32 = u32::MAX;
/// What a node takes in the map of colours, the table's slack included.
const COLOURED_BYTES: u64 = 72;

/// The splitter of what no splitter saw: metadata, and files that stand in their folders' nodes.
pub(super) const NO_SPLITTER: u16 = u16::MAX;

/// `id:32 colour:u32 splitter:u16 of-file:u8`, the numbers big-endian: of a chunk's records that of the oldest snapshot
/// comes first, and of its files one whose format a splitter knows before an opaque one (the splitter less one, modulo
/// 2^16).
pub(super) const REACHED_RECORD_BYTES: usize = 39;
/// `check:32 bytes:u64 holes:u64 streams:u64 splitter:u16`
pub(super) const FILE_RECORD_BYTES: usize = 58;

/// A chunk that is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Reached {
    pub id: ChunkId,
    pub colour: u32,
    /// Of the file whose bytes it holds; [`NO_SPLITTER`] for a folder, a list or attributes.
    pub splitter: u16,
    /// By the bytes of a file, rather than by a folder, a list or attributes.
    pub of_file: bool,
}

impl Reached {
    pub fn encode(&self) -> [u8; REACHED_RECORD_BYTES] {
        let mut out = [0; REACHED_RECORD_BYTES];
        out[..32].copy_from_slice(&self.id.0);
        out[32..36].copy_from_slice(&self.colour.to_be_bytes());
        out[36..38].copy_from_slice(&self.splitter.wrapping_sub(1).to_be_bytes());
        out[38] = u8::from(self.of_file);
        out
    }

    pub fn decode(record: &[u8; REACHED_RECORD_BYTES]) -> Self {
        let (mut id, mut colour) = ([0; 32], [0; 4]);
        id.copy_from_slice(&record[..32]);
        colour.copy_from_slice(&record[32..36]);
        Reached {
            id: ChunkId(id),
            colour: u32::from_be_bytes(colour),
            splitter: u16::from_be_bytes([record[36], record[37]]).wrapping_add(1),
            of_file: record[38] != 0,
        }
    }

    /// Adds another way to the same chunk, which comes later in the order of records.
    pub fn join(&mut self, other: &Reached) {
        if self.colour != other.colour {
            self.colour = SEVERAL;
        }
        if other.of_file && !self.of_file {
            (self.of_file, self.splitter) = (true, other.splitter);
        }
    }
}

/// A file's content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FileRecord {
    pub check: [u8; 32],
    pub bytes: u64,
    pub holes: u64,
    /// Bytes of its streams.
    pub streams: u64,
    /// [`NO_SPLITTER`]: it stands in its folder's node.
    pub splitter: u16,
}

impl FileRecord {
    fn encode(&self) -> [u8; FILE_RECORD_BYTES] {
        let mut out = [0; FILE_RECORD_BYTES];
        out[..32].copy_from_slice(&self.check);
        out[32..40].copy_from_slice(&self.bytes.to_le_bytes());
        out[40..48].copy_from_slice(&self.holes.to_le_bytes());
        out[48..56].copy_from_slice(&self.streams.to_le_bytes());
        out[56..].copy_from_slice(&self.splitter.to_le_bytes());
        out
    }

    pub fn decode(record: &[u8; FILE_RECORD_BYTES]) -> Self {
        let number = |at: usize| {
            let mut b = [0; 8];
            b.copy_from_slice(&record[at..at + 8]); // 32, 40 or 48 of 58
            u64::from_le_bytes(b)
        };
        let mut check = [0; 32];
        check.copy_from_slice(&record[..32]);
        let splitter = u16::from_le_bytes([record[56], record[57]]);
        FileRecord { check, bytes: number(32), holes: number(40), streams: number(48), splitter }
    }
}

/// Which of a snapshot's two maps is walked.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Map {
    Tree,
    Witness,
}

/// A folder, or a node of one, to go through in a colour.
struct Task {
    root: MapRoot,
    colour: u32,
}

/// What the snapshots reach.
pub(super) struct Colours<'s> {
    store: &'s Store,
    control: &'s Control,
    /// By sixteen bytes of a node's or list's id.
    seen: HashMap<u128, u32>,
    seen_max: usize,
    pub reached: Sorter<REACHED_RECORD_BYTES>,
    pub files: Sorter<FILE_RECORD_BYTES>,
    pub unreadable: u64,
}

impl<'s> Colours<'s> {
    pub fn new(
        store: &'s Store,
        control: &'s Control,
        reached: Sorter<REACHED_RECORD_BYTES>,
        files: Sorter<FILE_RECORD_BYTES>,
    ) -> Self {
        let seen_max = usize::try_from(store.memory_bytes() / 4 / COLOURED_BYTES).unwrap_or(usize::MAX);
        Colours { store, control, seen: HashMap::new(), seen_max, reached, files, unreadable: 0 }
    }

    /// Walks a snapshot's tree and witness in its colour.
    ///
    /// # Errors
    /// As [`super::run`].
    pub fn walk(&mut self, colour: u32, snapshot: &Snapshot) -> Result<()> {
        self.map(Map::Tree, Task { root: snapshot.tree.clone(), colour })?;
        match &snapshot.witness {
            Some(root) => self.map(Map::Witness, Task { root: root.clone(), colour }),
            None => Ok(()),
        }
    }

    /// A tree, or a part of one.
    ///
    /// # Errors
    /// As [`super::run`].
    pub fn map_tree(&mut self, colour: u32, root: &MapRoot) -> Result<()> {
        self.map(Map::Tree, Task { root: root.clone(), colour })
    }

    /// A witness.
    ///
    /// # Errors
    /// As [`super::run`].
    pub fn map_witness(&mut self, colour: u32, root: &MapRoot) -> Result<()> {
        self.map(Map::Witness, Task { root: root.clone(), colour })
    }

    /// Colours a node or list; the colour to go on with below it, or `None` where nothing changes.
    ///
    /// Without room in the map it is gone through again: that costs time, for the sort makes no difference
    /// of how often a chunk was given.
    fn enter(&mut self, id: &ChunkId, colour: u32) -> Result<Option<u32>> {
        let short = id.0.first_chunk::<16>().map_or(0, |b| u128::from_le_bytes(*b)); // an id is longer
        let now = match self.seen.get_mut(&short) {
            Some(seen) if *seen == colour || *seen == SEVERAL => return Ok(None),
            Some(seen) => {
                *seen = SEVERAL;
                SEVERAL
            }
            None => {
                if self.seen.len() < self.seen_max {
                    self.seen.insert(short, colour);
                }
                colour
            }
        };
        self.give(id, now, None)?;
        Ok(Some(now))
    }

    /// `splitter` is the file's whose bytes it holds.
    pub fn give(&mut self, id: &ChunkId, colour: u32, splitter: Option<u16>) -> Result<()> {
        let (of_file, splitter) = (splitter.is_some(), splitter.unwrap_or(NO_SPLITTER));
        self.reached.push(&Reached { id: *id, colour, splitter, of_file }.encode())
    }

    /// `Ok(None)` and counted where a chunk cannot be read or does not decode.
    pub fn readable<T>(&mut self, read: Result<T>) -> Result<Option<T>> {
        match read {
            Ok(value) => Ok(Some(value)),
            Err(e) if is_of_one_chunk(&e) => {
                self.unreadable += 1;
                Ok(None)
            }
            Err(e) => Err(e),
        }
    }

    fn map(&mut self, map: Map, first: Task) -> Result<()> {
        let mut todo = vec![first];
        while let Some(Task { root, colour }) = todo.pop() {
            self.control.proceed()?;
            let (level, id) = match root {
                MapRoot::Inline(items) => {
                    self.items(map, &items, colour, &mut todo)?;
                    continue;
                }
                MapRoot::Node { level, id, .. } => (level, id),
            };
            let Some(colour) = self.enter(&id, colour)? else { continue };
            let node = read_node(self.store, level, &id);
            match self.readable(node)? {
                Some(Node::Leaf(items)) => self.items(map, &items, colour, &mut todo)?,
                Some(Node::Inner(children)) => todo.extend(children.into_iter().map(|c| {
                    let below = level - 1; // an inner node stands at level 2 or above
                    Task { root: MapRoot::Node { level: below, id: c.id, entries: c.entries }, colour }
                })),
                None => {}
            }
        }
        Ok(())
    }

    fn items(&mut self, map: Map, items: &[u8], colour: u32, todo: &mut Vec<Task>) -> Result<()> {
        for item in Items::new(items) {
            let Some((_, value)) = self.readable(item)? else { break };
            if map == Map::Witness {
                let witness = self.readable(Witness::decode(value))?;
                todo.extend(witness.and_then(|w| w.children).map(|root| Task { root, colour }));
                continue;
            }
            todo.extend(self.entry(value, colour)?.map(|root| Task { root, colour }));
        }
        Ok(())
    }

    /// Colours what an entry refers to, but for a folder's own map, which comes back.
    ///
    /// # Errors
    /// As [`super::run`].
    pub fn entry(&mut self, value: &[u8], colour: u32) -> Result<Option<MapRoot>> {
        let Some(entry) = self.readable(Entry::decode(value))? else { return Ok(None) };
        if let Attributes::Stream(stream) = &entry.attributes {
            self.stream(stream, colour, None)?;
        }
        match entry.kind {
            EntryKind::Dir(root) => return Ok(Some(root)),
            EntryKind::Symlink(_) => {}
            EntryKind::File { bytes, content: Content::Inline(content) } => {
                let check = blake3(&[b"inline", &content]);
                let file = FileRecord { check, bytes, holes: 0, streams: 0, splitter: NO_SPLITTER };
                self.files.push(&file.encode())?;
            }
            EntryKind::File { bytes, content: Content::Recipe(recipe) } => self.file(bytes, &recipe, colour)?,
        }
        Ok(None)
    }

    fn file(&mut self, bytes: u64, recipe: &Recipe, colour: u32) -> Result<()> {
        let (splitter, mut streams) = (recipe.splitter.0, 0u64);
        for stream in &recipe.streams {
            streams = streams.saturating_add(stream.bytes());
            self.stream(stream, colour, Some(splitter))?;
        }
        let empty = |segments: &[Segment]| {
            let holes = segments.iter().filter(|s| matches!(s, Segment::Hole { .. } | Segment::Fill { .. }));
            holes.fold(0u64, |sum, s| sum.saturating_add(s.bytes()))
        };
        let mut holes = 0u64;
        match &recipe.segments {
            Segments::Inline(segments) => holes = empty(segments),
            Segments::List { level, id } => {
                // Gone through for each file, since the sum of holes is the file's.
                let mut todo = vec![(*level, *id)];
                while let Some((level, id)) = todo.pop() {
                    self.enter(&id, colour)?;
                    let read = self.store.chunk(ChunkKind::List, &id).and_then(|b| decode_segment_node(level, &b));
                    match self.readable(read)? {
                        Some(SegmentNode::Leaf(segments)) => holes = holes.saturating_add(empty(&segments)),
                        Some(SegmentNode::Inner(children)) => {
                            todo.extend(children.into_iter().map(|c| (level - 1, c.id))); // level 2 or above
                        }
                        None => {}
                    }
                }
            }
        }
        self.files.push(&FileRecord { check: recipe.check, bytes, holes, streams, splitter }.encode())
    }

    fn stream(&mut self, stream: &Stream, colour: u32, splitter: Option<u16>) -> Result<()> {
        let mut todo: Vec<(u8, ChunkId, u32)> =
            stream.references.iter().map(|r| (stream.level, r.id, colour)).collect();
        while let Some((level, id, colour)) = todo.pop() {
            if level == 0 {
                self.give(&id, colour, splitter)?;
                continue;
            }
            let Some(colour) = self.enter(&id, colour)? else { continue };
            self.control.proceed()?;
            let read = self.store.chunk(ChunkKind::List, &id).and_then(|b| decode_stream_list(level, &b));
            if let Some(below) = self.readable(read)? {
                todo.extend(below.into_iter().map(|r| (level - 1, r.id, colour)));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn records_come_back(id: [u8; 32], colour: u32, splitter: u16, of_file: bool, bytes: u64, holes: u64) {
            let reached = Reached { id: ChunkId(id), colour, splitter, of_file };
            prop_assert_eq!(Reached::decode(&reached.encode()), reached);
            let file = FileRecord { check: id, bytes, holes, streams: bytes ^ holes, splitter };
            prop_assert_eq!(FileRecord::decode(&file.encode()), file);
        }
    }

    #[test]
    fn two_colours_are_several_and_several_stay_so() {
        let reached = |colour| Reached { id: ChunkId([1; 32]), colour, splitter: NO_SPLITTER, of_file: false };
        let mut r = reached(3);
        r.join(&reached(3));
        assert_eq!(r.colour, 3);
        r.join(&Reached { of_file: true, splitter: 2, ..reached(4) });
        assert_eq!((r.colour, r.splitter, r.of_file), (SEVERAL, 2, true));
        r.join(&Reached { of_file: true, splitter: 1, ..reached(3) });
        assert_eq!((r.colour, r.splitter), (SEVERAL, 2), "the oldest snapshot's");
    }
}
