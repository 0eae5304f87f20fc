//! Records into a store that shares the keys: as they stand, deltas with their bases.
//!
//! A snapshot's maps are walked; nodes and lists are stored as they are met, chunks of data are gathered, asked for in batches and
//! read in the order of the source's packs. A delta goes untouched only if each of its bases is, or comes to be, a plain
//! record in the target (DESIGN, invariant 11); else its chunk is stored plain. So is one of which the target may have a
//! copy that cannot be used now: it may be the base of others there.

use crate::chunk::{Form, Squeezer, Unsqueezer};
use crate::error::{Error, Result};
use crate::format::entry::{Attributes, Content, Entry, EntryKind, Witness};
use crate::format::footer::{Features, Row};
use crate::format::node::{Items, MapRoot, Node, SegmentNode, decode_node, decode_segment_node, decode_stream_list};
use crate::format::recipe::{Recipe, Segments, Stream};
use crate::format::snapshot::Snapshot;
use crate::format::{ChunkId, ChunkKind, PackId};
use crate::ops::Control;
use crate::ops::ingest::{Ingest, Sink};
use crate::pack::write::NewRecord;
use crate::pack::{ReadChunks, WriteChunks, read};
use crate::store::{Located, Store};
use std::collections::HashSet;

/// Chunks of data that are asked for at once.
const BATCH: usize = 2048;
/// Bytes of records that are sent at once.
const SEND_BYTES: u64 = 4 << 20;
/// Bytes that lie together in the target.
const RUN_BYTES: u64 = 64 << 20;
/// What an id takes in a set, the table's slack included.
const SEEN_BYTES: u64 = 36;

/// Which of a snapshot's two maps is walked.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Map {
    Tree,
    Witness,
}

/// A source's pack whose table is at hand.
struct Open {
    pack: PackId,
    rows: Vec<Row>,
    features: Vec<(u32, Features)>,
}

/// Sends snapshots, one after another; what it went through for one it does not go through again for the next.
pub(super) struct Sender<'f> {
    from: &'f Store,
    control: &'f Control,
    /// Nodes and lists that were gone through, by sixteen bytes of their ids. Beyond the bound they are gone through again.
    seen: HashSet<u128>,
    seen_max: usize,
    /// Chunks that this run sent as deltas and that are not published yet: none may be a base. Of published ones the
    /// packs' tables tell it.
    as_delta: HashSet<ChunkId>,
    /// So many are gone through next, for those that were published meanwhile.
    prune_at: usize,
    /// Bases on their way, some of them still to come in this batch: they are sent plain.
    relied_on: HashSet<ChunkId>,
    wanted: Vec<ChunkId>,
    open: Option<Open>,
    unsqueezer: Unsqueezer,
    squeezer: Squeezer,
    sent: u64,
    batch: Vec<NewRecord>,
    batch_bytes: u64,
}

impl<'f> Sender<'f> {
    pub fn new(from: &'f Store, control: &'f Control, memory_bytes: u64) -> Self {
        Sender {
            from,
            control,
            seen: HashSet::new(),
            seen_max: usize::try_from(memory_bytes / SEEN_BYTES).unwrap_or(usize::MAX),
            as_delta: HashSet::new(),
            prune_at: BATCH,
            relied_on: HashSet::new(),
            wanted: Vec::new(),
            open: None,
            unsqueezer: Unsqueezer::default(),
            squeezer: Squeezer::default(),
            sent: 0,
            batch: Vec::new(),
            batch_bytes: 0,
        }
    }

    /// Sends all that a snapshot reaches and the target lacks.
    ///
    /// # Errors
    /// Damage in the source; those of an ingest.
    pub fn send(&mut self, ingest: &Ingest<'_>, snapshot: &Snapshot) -> Result<()> {
        let mut sink = ingest.sink();
        let sent = (|| {
            self.map(ingest, &mut sink, Map::Tree, snapshot.tree.clone())?;
            if let Some(root) = &snapshot.witness {
                self.map(ingest, &mut sink, Map::Witness, root.clone())?;
            }
            self.flush(ingest)
        })();
        if sent.is_err() {
            // What was gone through did not all arrive: the next run goes through it again.
            self.seen.clear();
            self.wanted.clear();
            self.batch.clear();
            self.batch_bytes = 0;
            self.relied_on.clear();
        }
        self.as_delta.clear();
        sent
    }

    /// The bytes of a node or list that was not gone through yet. It is stored in the target.
    fn metadata(&mut self, sink: &mut Sink<'_, '_>, kind: ChunkKind, id: &ChunkId) -> Result<Option<Vec<u8>>> {
        self.control.proceed()?;
        if self.seen.contains(&id.half()) {
            return Ok(None);
        }
        if self.seen.len() < self.seen_max {
            self.seen.insert(id.half());
        }
        let bytes = self.from.chunk(kind, id)?;
        sink.put(kind, &bytes)?;
        Ok(Some(bytes))
    }

    fn map(&mut self, ingest: &Ingest<'_>, sink: &mut Sink<'_, '_>, map: Map, first: MapRoot) -> Result<()> {
        let mut todo = vec![first];
        while let Some(root) = todo.pop() {
            let (level, id) = match root {
                MapRoot::Inline(items) => {
                    self.items(ingest, sink, map, &items, &mut todo)?;
                    continue;
                }
                MapRoot::Node { level, id, .. } => (level, id),
            };
            let Some(bytes) = self.metadata(sink, ChunkKind::Tree, &id)? else { continue };
            match decode_node(level, &bytes)? {
                Node::Leaf(items) => self.items(ingest, sink, map, &items, &mut todo)?,
                Node::Inner(children) => todo.extend(children.into_iter().map(|c| {
                    let below = level - 1; // an inner node stands at level 2 or above
                    MapRoot::Node { level: below, id: c.id, entries: c.entries }
                })),
            }
        }
        Ok(())
    }

    fn items(
        &mut self,
        ingest: &Ingest<'_>,
        sink: &mut Sink<'_, '_>,
        map: Map,
        items: &[u8],
        todo: &mut Vec<MapRoot>,
    ) -> Result<()> {
        for item in Items::new(items) {
            let (_, value) = item?;
            if map == Map::Witness {
                todo.extend(Witness::decode(value)?.children);
                continue;
            }
            let entry = Entry::decode(value)?;
            if let Attributes::Stream(stream) = &entry.attributes {
                self.stream(ingest, sink, stream)?;
            }
            match entry.kind {
                EntryKind::Dir(root) => todo.push(root),
                EntryKind::File { bytes, content } => {
                    if let Content::Recipe(recipe) = content {
                        self.recipe(ingest, sink, &recipe)?;
                    }
                    ingest.progress(bytes);
                }
                EntryKind::Symlink(_) => {}
            }
        }
        Ok(())
    }

    fn recipe(&mut self, ingest: &Ingest<'_>, sink: &mut Sink<'_, '_>, recipe: &Recipe) -> Result<()> {
        for stream in &recipe.streams {
            self.stream(ingest, sink, stream)?;
        }
        let Segments::List { level, id } = &recipe.segments else { return Ok(()) };
        let mut todo = vec![(*level, *id)];
        while let Some((level, id)) = todo.pop() {
            let Some(bytes) = self.metadata(sink, ChunkKind::List, &id)? else { continue };
            match decode_segment_node(level, &bytes)? {
                SegmentNode::Leaf(_) => {}
                // level 2 or above
                SegmentNode::Inner(children) => todo.extend(children.into_iter().map(|c| (level - 1, c.id))),
            }
        }
        Ok(())
    }

    fn stream(&mut self, ingest: &Ingest<'_>, sink: &mut Sink<'_, '_>, stream: &Stream) -> Result<()> {
        // In order: neighbours stay neighbours.
        let mut todo: Vec<(u8, ChunkId)> = stream.references.iter().rev().map(|r| (stream.level, r.id)).collect();
        while let Some((level, id)) = todo.pop() {
            if level == 0 {
                self.wanted.push(id);
                if self.wanted.len() >= BATCH {
                    self.flush(ingest)?;
                }
                continue;
            }
            let Some(bytes) = self.metadata(sink, ChunkKind::List, &id)? else { continue };
            todo.extend(decode_stream_list(level, &bytes)?.into_iter().rev().map(|r| (level - 1, r.id)));
        }
        Ok(())
    }

    /// Sends the gathered chunks that the target lacks.
    fn flush(&mut self, ingest: &Ingest<'_>) -> Result<()> {
        let ids = std::mem::take(&mut self.wanted);
        let new: Vec<(ChunkId, bool)> = ids
            .iter()
            .zip(ingest.claim_hits(&ids)?)
            .filter(|(_, hit)| hit.new)
            .map(|(id, hit)| (*id, hit.plain))
            .collect();
        let new_ids: Vec<ChunkId> = new.iter().map(|(id, _)| *id).collect();
        let mut places = Vec::with_capacity(new.len());
        for ((id, plain), at) in new.into_iter().zip(self.from.locate(&new_ids)?) {
            places.push((at.ok_or_else(|| Error::ChunkMissing { chunk: id.to_string() })?, id, plain));
        }
        places.sort_unstable_by_key(|(at, ..)| (at.sealed.disk, at.place.pack, at.place.offset));
        for (at, id, plain) in places {
            self.control.proceed()?;
            self.chunk(ingest, &at, &id, plain)?;
        }
        self.relied_on.clear(); // all of the batch is sent
        if self.as_delta.len() >= self.prune_at {
            self.as_delta.retain(|id| ingest.is_on_its_way(id));
            self.prune_at = BATCH.max(2 * self.as_delta.len());
        }
        self.hand_over(ingest)
    }

    /// Sends one claimed chunk: its record as it stands if that will do; as no delta where it has to be `plain`.
    fn chunk(&mut self, ingest: &Ingest<'_>, at: &Located, id: &ChunkId, plain: bool) -> Result<()> {
        let plain = plain || self.relied_on.contains(id);
        if let Some(record) = self.record(at, id)
            && (record.bases.is_empty() || !plain && self.bases(ingest, &record)?)
        {
            if !record.bases.is_empty() {
                self.as_delta.insert(*id);
            }
            return self.put(ingest, record);
        }
        let plain = self.from.read_at(ChunkKind::Data, id, at, &mut self.unsqueezer)?;
        let record = ingest.record(&mut self.squeezer, ChunkKind::Data, *id, Form::Bytes, &plain.into());
        self.put(ingest, record)
    }

    /// The record at a place, proven down to its chunk's name. `None` where it cannot be had as it stands.
    fn record(&mut self, at: &Located, id: &ChunkId) -> Option<NewRecord> {
        let file = self.from.open_pack(&at.sealed).ok()?;
        if self.open.as_ref().is_none_or(|o| o.pack != at.sealed.pack) {
            let footer = self.from.ends(&at.sealed).ok()?.footer;
            self.open = Some(Open { pack: at.sealed.pack, rows: footer.rows, features: footer.features });
        }
        let open = self.open.as_ref()?;
        let n = open.rows.binary_search_by_key(&at.place.offset, |row| row.offset).ok()?;
        let row = open.rows.get(n).filter(|row| row.header.id == *id)?;
        let mut record = read::record_at(&*file, at.sealed.pack, row).ok()?;
        let first = open.features.partition_point(|(row, _)| (*row as usize) < n);
        record.features =
            open.features.iter().skip(first).take_while(|(row, _)| *row as usize == n).map(|(_, f)| *f).collect();
        let bases: Vec<_> = record.bases.iter().map(|base| self.from.base(base)).collect::<Result<_>>().ok()?;
        let bases: Vec<&[u8]> = bases.iter().map(|b| b.as_slice()).collect();
        let mut plain = Vec::new();
        let opened = self.unsqueezer.open(
            record.codec,
            &record.parameters,
            &record.payload,
            record.plain_bytes,
            &bases,
            &mut plain,
        );
        let is_it = opened.is_ok() && self.from.keys().chunk_id(ChunkKind::Data, &plain) == *id;
        is_it.then_some(record)
    }

    /// Whether all bases of a record are plain records in the target. Those that it lacks are sent.
    fn bases(&mut self, ingest: &Ingest<'_>, record: &NewRecord) -> Result<bool> {
        for base in &record.bases {
            let Some(hit) = ingest.claim_hits(std::slice::from_ref(base))?.pop() else { return Ok(false) };
            if hit.new {
                let missing = || Error::ChunkMissing { chunk: base.to_string() };
                let at = self.from.locate(std::slice::from_ref(base))?.pop().flatten().ok_or_else(missing)?;
                match self.record(&at, base).filter(|r| r.bases.is_empty()) {
                    Some(plain) => self.put(ingest, plain)?,
                    None => {
                        let plain = self.from.base(base)?;
                        let plain = plain.as_ref().clone().into();
                        let record = ingest.record(&mut self.squeezer, ChunkKind::Data, *base, Form::Bytes, &plain);
                        self.put(ingest, record)?;
                    }
                }
            } else {
                match &hit.at {
                    Some(at) if !ingest.is_plain(at, base) => return Ok(false),
                    Some(_) => {}
                    // On its way: sent as a delta already, sent plain, or still to come in this batch.
                    None if self.as_delta.contains(base) => return Ok(false),
                    None => drop(self.relied_on.insert(*base)),
                }
            }
        }
        Ok(true)
    }

    fn put(&mut self, ingest: &Ingest<'_>, record: NewRecord) -> Result<()> {
        self.batch_bytes += record.record_bytes();
        self.batch.push(record);
        if self.batch_bytes >= SEND_BYTES { self.hand_over(ingest) } else { Ok(()) }
    }

    fn hand_over(&mut self, ingest: &Ingest<'_>) -> Result<()> {
        let lane = ingest.lane_of(self.sent / RUN_BYTES);
        self.sent += std::mem::take(&mut self.batch_bytes);
        ingest.send(lane, std::mem::take(&mut self.batch))
    }
}
