//! How chunks get into packs and packs into the log: one run of a verb that writes.
//!
//! Any number of threads ask [`Ingest::claim`] which of their chunks are new and hand those to a *lane*. A
//! lane is a thread with one open pack; what is sent to one lane lies together. When a lane's pack is
//! full it is sealed and, with others, *published* by threads of its own: given its parity, logged, then indexed. [`run`] ends with the entry
//! that makes the run's purpose true (a snapshot, say) in the same breath as its last packs.
//!
//! # Invariants
//!
//! 1. A chunk counts as stored only if its pack's own table says so (packs of earlier runs) or this run
//!    holds it (claimed, on its way). An index that lies costs space, never a chunk.
//! 2. The log entry that ends a run is written after every pack of the run was sealed and a sample of it
//!    read back. If any lane failed for good, no such entry is written.
//! 3. Memory: the lanes' queues and unsynced bytes, a table cache, and 48 bytes for each chunk that is
//!    not published yet; lanes wait while twice as many packs wait as are published at once (eight, or with
//!    parity the next multiple of the groups' width).

use super::{Control, Notice};
use crate::catalog::state::LogState;
use crate::chunk::jpeg::Start;
use crate::chunk::{Coding, Form, Payload, Squeezer};
use crate::error::{Error, Result};
use crate::format::event::{Event, Outcome, SealedPack};
use crate::format::footer::{PackKind, Row};
use crate::format::record::Codec;
use crate::format::{ChunkId, ChunkKind, PackId, SnapshotId, WriterId};
use crate::io::threads::{self, Mutex, MutexGuard};
use crate::pack::WriteChunks;
use crate::pack::payload::Payload as Bytes;
use crate::pack::write::{NewRecord, PackWriter};
use crate::pool::InWork;
use crate::store::{Located, Mode, Store};
use lanes::{EndLanes, LANE_MEMORY_BYTES, Lane};
use publish::EndPublisher;
use resemble::Hit;
use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, PoisonError};

pub(in crate::ops) mod adopt;
mod groups;
mod lanes;
pub mod locality;
mod publish;
pub(in crate::ops) mod resemble;

/// Data lanes at most: beyond that a machine with this many disks is limited by its cores.
const LANES_MAX: usize = 8;
/// What a claim takes in memory, about.
const CLAIM_BYTES: u64 = 64;

/// What a run has stored so far.
#[derive(Debug, Default)]
pub struct Counters {
    pub chunks_seen: AtomicU64,
    pub chunks_new: AtomicU64,
    /// Plain bytes of new data chunks.
    pub data_added: AtomicU64,
    /// Bytes of the packs that were sealed.
    pub bytes_written: AtomicU64,
    pub packs_sealed: AtomicU64,
    /// Chunks that were stored already and are stored again to keep a file together, and their records' bytes.
    pub chunks_again: AtomicU64,
    pub bytes_again: AtomicU64,
    /// Bytes of parity packs.
    pub redundancy_written: AtomicU64,
}

/// What a pack's table says of a record, as far as it confirms hits.
#[derive(Clone)]
struct TableRow {
    offset: u32,
    id: ChunkId,
    bases: Box<[ChunkId]>,
}

impl TableRow {
    fn of(row: &Row) -> TableRow {
        TableRow { offset: row.offset, id: row.header.id, bases: row.header.bases.clone().into() }
    }
}

/// A pack's rows, by offset.
type Table = Arc<Vec<TableRow>>;

#[derive(Default)]
struct Tables {
    held: HashMap<PackId, Option<Table>>,
    order: VecDeque<PackId>,
    bytes: u64,
}

/// Ids on their way into packs, in shards so that threads seldom meet.
struct Claims {
    shards: Vec<Mutex<HashSet<ChunkId>>>,
}

impl Claims {
    fn new() -> Self {
        Claims { shards: (0..64).map(|_| Mutex::default()).collect() }
    }

    fn shard(&self, id: &ChunkId) -> MutexGuard<'_, HashSet<ChunkId>> {
        // ids are uniform: six bits of one byte choose one of 64 shards
        self.shards[usize::from(id.0[31] & 63)].lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn holds(&self, id: &ChunkId) -> bool {
        self.shard(id).contains(id)
    }

    /// Whether the id was free. With `most`, a shard holds no more than so many ids; beyond that every id
    /// counts as free.
    fn claim(&self, id: &ChunkId, most: Option<usize>) -> bool {
        let mut shard = self.shard(id);
        if most.is_some_and(|most| shard.len() >= most) {
            return !shard.contains(id);
        }
        shard.insert(*id)
    }

    fn release(&self, id: &ChunkId) {
        self.shard(id).remove(id);
    }
}

/// One run of a verb that makes packs.
pub struct Ingest<'s> {
    store: &'s Store,
    control: &'s Control,
    writer: WriterId,
    began: Mutex<bool>,
    sequence: AtomicU32,
    claims: Claims,
    tables: Mutex<Tables>,
    resemblance: resemble::Resemblance,
    lanes: Vec<Lane>,
    runs: Mutex<lanes::Runs>,
    in_work: Mutex<InWork>,
    /// Parity that was in work is written, or given up.
    promise_kept: threads::Condvar,
    unpublished: publish::Unpublished,
    protection: groups::Protection,
    failure: Mutex<Option<Error>>,
    failed: AtomicBool,
    /// Dead writers whose leavings this run takes over, and whether it has all of them.
    dead: Vec<WriterId>,
    salvaged: AtomicBool,
    dry_run: bool,
    coding: Coding,
    moves: bool,
    frees: bool,
    /// The lane of data that is held safer, where other data has others.
    safer_lane: Option<usize>,
    max_fragments_per_gib: Option<u64>,
    bases_from: u32,
    /// Records that this run stores again.
    superseded: Mutex<super::gc::Superseded>,
    parent: Option<SnapshotId>,
    verb: &'static str,
    program: String,
    /// Reused entries must be looked at: something is damaged or away.
    pub reuse_needs_proof: bool,
    pub counters: Counters,
}

/// What a run is for.
pub struct Purpose {
    pub parent: Option<SnapshotId>,
    pub program: String,
    pub dry_run: bool,
    pub coding: Coding,
    /// Its records are copies of stored ones: their bases are counted already.
    pub moves: bool,
    /// It frees more than it takes, so it may use the disks' reserve.
    pub frees: bool,
    /// Fragments that a file may come to have for each GiB; what would break that is stored again.
    pub max_fragments_per_gib: Option<u64>,
    /// Chunks are coded against others in packs from this serial on alone; 0: against any.
    pub bases_from: u32,
    /// What the log calls the writer, where that is not the verb that the store was opened for.
    pub verb: Option<&'static str>,
    /// All data of the run is to be held safer.
    pub safer: bool,
}

impl Purpose {
    /// To take over snapshots of another store.
    pub fn copying(program: &str) -> Purpose {
        let coding = Coding::default();
        Purpose {
            parent: None,
            program: program.to_owned(),
            dry_run: false,
            coding,
            moves: false,
            frees: false,
            max_fragments_per_gib: None,
            bases_from: 0,
            verb: None,
            safer: false,
        }
    }
}

/// Runs `work` with an [`Ingest`], then seals, logs `work`'s events with the last packs, and indexes.
///
/// `work` returns its value and a function that makes the final events: it is called once every pack is
/// sealed, so it may tell how much was written.
///
/// # Errors
/// What `work` or a lane met. The packs that were sealed by then are logged all the same, so that the
/// next run finds their chunks.
pub fn run<T, E>(
    store: &Store,
    control: &Control,
    purpose: Purpose,
    work: impl FnOnce(&Ingest<'_>) -> Result<(T, E)>,
) -> Result<T>
where
    E: FnOnce(&mut T, &Counters) -> Vec<Event>,
{
    let Mode::Write { verb } = store.mode() else {
        return Err(Error::Argument { what: "the store".into(), why: "it was opened for reading only".into() });
    };
    let mut random = [0; 8];
    store.io().world.random(&mut random);
    let disks = store.pool().disks().filter(|d| d.takes_data()).count();
    let by_memory = (store.memory_bytes() / 2 / LANE_MEMORY_BYTES).max(2) as usize - 1; // small numbers
    let kind = if purpose.safer { PackKind::Shared } else { PackKind::Data };
    // What moves chunks leaves those that are held safer so.
    let has_safer = || store.with_state(|s| s.packs().any(|p| p.sealed.kind == PackKind::Shared));
    let apart = purpose.moves && kind == PackKind::Data && has_safer();
    let data_lanes = disks.clamp(1, LANES_MAX).min(by_memory.saturating_sub(usize::from(apart)).max(1));
    let queue_bytes = lanes::queue_bytes(store.memory_bytes(), data_lanes + 1 + usize::from(apart));
    let mut lanes = Vec::new();
    let mut ends = Vec::new();
    let of_data = std::iter::repeat_n(kind, data_lanes).chain(apart.then_some(PackKind::Shared));
    for kind in std::iter::once(PackKind::Metadata).chain(of_data) {
        let (lane, end) = Lane::new(queue_bytes);
        lanes.push(lane);
        ends.push((kind, end));
    }
    let reuse_needs_proof = store.may_lack_copies();
    let mut ingest = Ingest {
        store,
        control,
        writer: WriterId(random),
        began: Mutex::new(false),
        sequence: AtomicU32::new(1),
        claims: Claims::new(),
        tables: Mutex::default(),
        resemblance: resemble::Resemblance::default(),
        lanes,
        runs: Mutex::default(),
        in_work: Mutex::default(),
        promise_kept: threads::Condvar::new(),
        unpublished: publish::Unpublished::default(),
        protection: groups::Protection::new(store.shapes(), kind, data_lanes),
        failure: Mutex::default(),
        failed: AtomicBool::new(false),
        dead: Vec::new(),
        salvaged: AtomicBool::new(false),
        dry_run: purpose.dry_run,
        coding: purpose.coding,
        moves: purpose.moves,
        frees: purpose.frees,
        safer_lane: apart.then_some(data_lanes + 1),
        max_fragments_per_gib: purpose.max_fragments_per_gib,
        bases_from: purpose.bases_from,
        superseded: Mutex::default(),
        parent: purpose.parent,
        verb: purpose.verb.unwrap_or(verb),
        program: purpose.program,
        reuse_needs_proof,
        counters: Counters::default(),
    };
    let leftovers = if ingest.dry_run { Vec::new() } else { adopt::dead_writers(&mut ingest)? };
    let shared = &ingest;
    let outcome = threads::scope(|scope| {
        let handles: Vec<_> = ends
            .into_iter()
            .map(|(kind, end)| {
                let name = if kind.is_data() { "onefold-data" } else { "onefold-meta" };
                scope.spawn_named(name, move || shared.lane(kind, &end))
            })
            .collect();
        let publish = |_| scope.spawn_named("onefold-publish", || shared.publish_meanwhile());
        let publishers: Vec<_> = (0..publish::PUBLISHERS).map(publish).collect();
        let mut outcome = Ok(());
        for handle in handles.iter().chain(&publishers) {
            if let Err(e) = handle {
                let source = std::io::Error::new(e.kind(), e.to_string());
                outcome = Err(Error::Io { action: "start a thread for", path: shared.store.path().to_owned(), source });
            }
        }
        let (ending, publishing) = (EndLanes(&shared.lanes), EndPublisher(&shared.unpublished));
        let worked = outcome.and_then(|()| adopt::salvage(shared, &leftovers)).and_then(|()| work(shared));
        drop(ending);
        let join = |handle: threads::ScopedJoinHandle<'_, ()>| {
            if handle.join().is_err() {
                shared.fail(Error::WorkerLost { verb: shared.verb });
            }
        };
        handles.into_iter().flatten().for_each(join);
        drop(publishing);
        publishers.into_iter().flatten().for_each(join);
        worked
    });
    let failure = ingest.failure.get_mut().unwrap_or_else(PoisonError::into_inner).take();
    match (outcome, failure) {
        (Ok((mut value, events)), None) => {
            let events = events(&mut value, &ingest.counters);
            ingest.finish(events, Outcome::Done)?;
            for why in ingest.protection.shortfalls() {
                control.notice(Notice::Note(why));
            }
            ingest.clear(&leftovers);
            Ok(value)
        }
        (outcome, failure) => {
            // A lane's failure is the cause of what the threads before it met.
            let error = failure.or(outcome.err()).unwrap_or(Error::Interrupted);
            match ingest.finish(Vec::new(), Outcome::Stopped) {
                Ok(()) => ingest.clear(&leftovers),
                Err(e) => control.notice(Notice::Note(format!("what was stored so far could not be logged: {e}"))),
            }
            Err(error)
        }
    }
}

impl<'s> Ingest<'s> {
    pub fn store(&self) -> &'s Store {
        self.store
    }

    fn fail(&self, error: Error) {
        let mut failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner);
        failure.get_or_insert(error);
        self.failed.store(true, Ordering::Relaxed);
        self.unpublished.wake();
        for lane in &self.lanes {
            lane.close();
        }
    }

    /// Ends the run with this error, which a thread met that can return none.
    pub fn stop(&self, error: Error) {
        if !matches!(error, Error::Interrupted) {
            self.fail(error);
        }
        self.failed.store(true, Ordering::Relaxed);
        self.unpublished.wake();
    }

    /// Tells something that a person should know.
    pub fn notice(&self, notice: Notice) {
        self.control.notice(notice);
    }

    /// The verb that runs.
    pub fn verb(&self) -> &'static str {
        self.verb
    }

    /// Counts bytes of sources as done.
    pub fn progress(&self, bytes: u64) {
        self.control.progress.bytes_done.fetch_add(bytes, Ordering::Relaxed);
    }

    /// # Errors
    /// [`Error::Interrupted`] when asked to stop or when a lane failed (its own error comes from [`run`]).
    pub fn proceed(&self) -> Result<()> {
        if self.failed.load(Ordering::Relaxed) { Err(Error::Interrupted) } else { self.control.proceed() }
    }

    /// As [`Ingest::proceed`], and waits until so many bytes may be moved; no longer once another process waits to write, for
    /// which what was begun is ended first.
    ///
    /// # Errors
    /// As [`Ingest::proceed`].
    pub fn pace(&self, bytes: u64) -> Result<()> {
        self.control.pace_unless(bytes, &|| self.store.is_asked_for(), &|| self.proceed())
    }

    /// How new chunks are coded.
    pub fn coding(&self) -> Coding {
        self.coding
    }

    /// Whether a chunk is stored or on its way, or resembles one that is. A guess: nothing is proven.
    pub fn knows_of(&self, plain: &[u8], samples: &[u32]) -> bool {
        let id = self.store.keys().chunk_id(ChunkKind::Data, plain);
        self.claims.holds(&id)
            || self.store.locate(&[id]).is_ok_and(|at| at.iter().any(Option::is_some))
            || self.resemblance.knows_of(self.store, plain, samples)
    }

    /// What new data chunks are coded with. One a thread.
    pub fn squeezer(&self) -> Squeezer {
        Squeezer::new(self.coding)
    }

    /// The lane for what moves out of a pack of this kind, the `n`th run of it.
    pub fn lane_for(&self, kind: PackKind, n: u64) -> usize {
        match (kind, self.safer_lane) {
            (PackKind::Metadata, _) => 0,
            (PackKind::Shared, Some(lane)) => lane,
            _ => self.lane_of(n),
        }
    }

    /// For each id whether it must be stored by the caller: it is neither stored nor on its way. What is
    /// claimed must be sent. Ids may repeat; the first is claimed.
    ///
    /// # Errors
    /// [`Error::Index`].
    pub fn claim(&self, ids: &[ChunkId]) -> Result<Vec<bool>> {
        Ok(self.claim_hits(ids)?.into_iter().map(|hit| hit.new).collect())
    }

    /// Claims that a shard may hold. A dry run publishes nothing, so its claims grow with what it claims: beyond a quarter of
    /// the budget repetitions are counted as new.
    fn claims_most(&self) -> Option<usize> {
        self.dry_run.then(|| (self.store.memory_bytes() / 4 / CLAIM_BYTES) as usize / self.claims.shards.len())
    }

    /// As [`Ingest::claim`], and tells where the others are.
    ///
    /// # Errors
    /// [`Error::Index`].
    pub fn claim_hits(&self, ids: &[ChunkId]) -> Result<Vec<Hit>> {
        self.counters.chunks_seen.fetch_add(ids.len() as u64, Ordering::Relaxed);
        let mut hits = vec![Hit::default(); ids.len()];
        let unknown: Vec<usize> = (0..ids.len()).filter(|&i| !self.claims.holds(&ids[i])).collect(); // i < len
        let wanted: Vec<ChunkId> = unknown.iter().map(|&i| ids[i]).collect();
        let located = self.store.locate(&wanted)?;
        let most = self.claims_most();
        for (i, at) in unknown.into_iter().zip(located) {
            let stored = match &at {
                Some(at) => self.confirms(at, &ids[i])?,
                None => false,
            };
            hits[i] = Hit {
                at: at.filter(|_| stored),
                new: !stored && self.claims.claim(&ids[i], most),
                // There is a copy that cannot be used now, or there may be one: other chunks may be coded against it.
                plain: at.is_some() || self.reuse_needs_proof,
            };
        }
        self.counters.chunks_new.fetch_add(hits.iter().filter(|h| h.new).count() as u64, Ordering::Relaxed);
        Ok(hits)
    }

    /// Whether all these chunks are stored, and what they are coded against.
    ///
    /// # Errors
    /// [`Error::Index`].
    pub fn can_be_had(&self, ids: &[ChunkId]) -> Result<bool> {
        for (id, at) in ids.iter().zip(self.store.locate(ids)?) {
            let Some(at) = at else { return Ok(false) };
            if !self.confirms(&at, id)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Whether the pack's own table has this chunk at this place, and all that it is coded against can be had.
    fn confirms(&self, at: &Located, id: &ChunkId) -> Result<bool> {
        if cfg!(feature = "canary-check") {
            return Ok(true); // the canary: the index is believed
        }
        let Some(row) = self.row(at, id) else { return Ok(false) };
        for (base, at) in row.bases.iter().zip(self.store.locate(&row.bases)?) {
            let there = at.and_then(|at| self.row(&at, base)).is_some_and(|row| row.bases.is_empty());
            if !there {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Whether a chunk was claimed in this run and its pack is not published yet.
    pub fn is_on_its_way(&self, id: &ChunkId) -> bool {
        self.claims.holds(id)
    }

    /// Whether the chunk at this place is coded against no other: it may be a base.
    pub fn is_plain(&self, at: &Located, id: &ChunkId) -> bool {
        self.row(at, id).is_some_and(|row| row.bases.is_empty())
    }

    /// What the pack's own table says of this chunk, if it has it at this place.
    fn row(&self, at: &Located, id: &ChunkId) -> Option<TableRow> {
        let table = self.table(&at.sealed)?;
        let i = table.binary_search_by_key(&at.place.offset, |row| row.offset).ok()?;
        table.get(i).filter(|row| row.id == *id).cloned()
    }

    fn table(&self, sealed: &SealedPack) -> Option<Table> {
        {
            let tables = self.tables.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(table) = tables.held.get(&sealed.pack) {
                return table.clone();
            }
        }
        let table = match self.store.ends(sealed) {
            Ok(ends) => Some(Arc::new(ends.footer.rows.iter().map(TableRow::of).collect::<Vec<_>>())),
            Err(e) => {
                self.control.notice(Notice::Note(format!("{e}; its chunks are stored again")));
                None
            }
        };
        self.keep_table(sealed.pack, table.clone());
        table
    }

    fn keep_table(&self, pack: PackId, table: Option<Table>) {
        let budget = self.store.memory_bytes() / 8;
        let mut tables = self.tables.lock().unwrap_or_else(PoisonError::into_inner);
        let size = |t: &Option<Table>| 64 + t.as_ref().map_or(0, |t| t.len() as u64 * 56);
        tables.bytes += size(&table);
        if let Some(old) = tables.held.insert(pack, table) {
            tables.bytes -= size(&old);
        } else {
            tables.order.push_back(pack);
        }
        while tables.bytes > budget
            && let Some(oldest) = tables.order.pop_front()
        {
            let old = tables.held.remove(&oldest).unwrap_or_default();
            tables.bytes -= size(&old);
        }
    }

    /// Hands claimed chunks to a lane, in order. Waits while the lane's queue is full.
    ///
    /// # Errors
    /// [`Error::Interrupted`] if a lane failed.
    pub fn send(&self, lane: usize, records: Vec<NewRecord>) -> Result<()> {
        if records.is_empty() {
            return Ok(());
        }
        let data: u64 = records.iter().filter(|r| r.kind.is_data()).map(|r| u64::from(r.plain_bytes)).sum();
        self.counters.data_added.fetch_add(data, Ordering::Relaxed);
        self.control.progress.bytes_new.fetch_add(data, Ordering::Relaxed);
        if self.dry_run {
            let stored: u64 = records.iter().map(|r| r.payload.len() as u64 + PackWriter::overhead(r)).sum();
            self.counters.bytes_written.fetch_add(stored, Ordering::Relaxed);
            return Ok(());
        }
        if lane > 0 && self.safer_lane != Some(lane) && self.protection.is_spreading() {
            for piece in groups::pieces(records, |r| r.payload.len() as u64) {
                let bytes = piece.iter().map(|r| r.payload.len() as u64).sum();
                self.hand(self.protection.lane(bytes).map_or(lane, |n| n + 1), piece)?;
            }
            return Ok(());
        }
        self.hand(lane, records)
    }

    /// As [`Ingest::send`], of records that are to lie together, also while the run is spread over the lanes.
    ///
    /// # Errors
    /// [`Error::Interrupted`] if a lane failed.
    pub fn send_together(&self, lane: usize, records: Vec<NewRecord>) -> Result<()> {
        if records.is_empty() { Ok(()) } else { self.hand(lane, records) }
    }

    /// So many lanes take data.
    pub fn data_lanes(&self) -> u64 {
        self.lanes.len() as u64 - 1 - u64::from(self.safer_lane.is_some()) // there is always one for metadata and one for data
    }

    fn hand(&self, lane: usize, records: Vec<NewRecord>) -> Result<()> {
        self.lanes[lane].hand(records) // lane_of, the spread and the constants give lanes that are there
    }

    /// Seals every open pack and publishes: what was sent before this call is in the log and in the index behind it.
    ///
    /// # Errors
    /// [`Error::Interrupted`] if a lane failed; those of the log.
    pub fn settle(&self) -> Result<()> {
        for wait in self.lanes.iter().map(Lane::settle).collect::<Result<Vec<_>>>()? {
            let _ = wait.recv(); // the other end is dropped when the pack is sealed, or with the lane
        }
        self.proceed()?;
        self.publish(Vec::new())?;
        self.proceed() // another thread may have failed to publish a part
    }

    /// Whether all these chunks stand in packs that were sealed from this serial on, by those packs' own tables.
    ///
    /// # Errors
    /// [`Error::Index`].
    pub fn stands_in_new(&self, ids: &[ChunkId], first_new: u32) -> Result<bool> {
        for ids in ids.chunks(4096) {
            for (id, at) in ids.iter().zip(self.store.locate(ids)?) {
                if !at.is_some_and(|at| at.place.pack >= first_new && self.row(&at, id).is_some()) {
                    return Ok(false);
                }
            }
        }
        Ok(true)
    }

    /// Makes a record of a claimed chunk. What stays raw keeps the bytes it was given.
    pub fn record(
        &self,
        squeezer: &mut Squeezer,
        kind: ChunkKind,
        id: ChunkId,
        form: Form,
        plain: &Bytes,
    ) -> NewRecord {
        NewRecord { kind, ..self.record_within(squeezer, id, form, None, plain) }
    }

    /// As [`Ingest::record`], for data of which it is known where in a JPEG file it begins.
    pub fn record_within(
        &self,
        squeezer: &mut Squeezer,
        id: ChunkId,
        form: Form,
        start: Option<&Start>,
        plain: &Bytes,
    ) -> NewRecord {
        let kind = ChunkKind::Data;
        let (codec, parameters, payload) = match squeezer.squeeze_within(plain, form, start) {
            Payload::Raw => (Codec::RAW, Vec::new(), plain.clone()),
            Payload::Coded { codec, parameters, bytes } => (codec, parameters, bytes.into()),
        };
        let plain_bytes = plain.len() as u32; // a chunk is at most CHUNK_BYTES long
        NewRecord { kind, id, codec, parameters, bases: Vec::new(), plain_bytes, features: Vec::new(), payload }
    }

    // ---- the log --------------------------------------------------------------------------------

    /// Logs that this writer began, once, before its first pack.
    fn begin(&self) -> Result<()> {
        self.begin_with(Vec::new())
    }

    /// As [`Ingest::begin`], with other events in the same entry.
    ///
    /// # Errors
    /// Those of the log.
    pub(in crate::ops) fn begin_with(&self, events: Vec<Event>) -> Result<()> {
        let mut began = self.began.lock().unwrap_or_else(PoisonError::into_inner);
        if !*began {
            let event = Event::WriterBegan {
                writer: self.writer,
                time_ns: self.store.io().world.now_ns(),
                verb: self.verb.to_owned(),
                host: crate::io::source::hostname(),
                pid: crate::io::source::process_id(),
                program: self.program.clone(),
                parent: self.parent,
            };
            self.log(|_| std::iter::once(event).chain(events).collect())?;
            *began = true;
        } else if !events.is_empty() {
            self.log(|_| events)?;
        }
        Ok(())
    }

    fn log(&self, events: impl FnOnce(&LogState) -> Vec<Event>) -> Result<()> {
        for note in self.store.append(events)? {
            self.control.notice(Notice::Note(note));
        }
        Ok(())
    }

    fn finish(&self, mut events: Vec<Event>, outcome: Outcome) -> Result<()> {
        if self.dry_run {
            return Ok(());
        }
        if *self.began.lock().unwrap_or_else(PoisonError::into_inner) {
            events.push(Event::WriterEnded { writer: self.writer, outcome });
        }
        self.publish(events)
    }

    /// Puts away what dead writers left, behind the entry that ends the run: whether it succeeds is nothing to that.
    fn clear(&self, leftovers: &[adopt::Leftover]) {
        if let Err(e) = adopt::clear(self, leftovers) {
            self.control.notice(Notice::Note(format!("what an earlier run left is put away by the next one: {e}")));
        }
    }

    /// A sink for metadata chunks, one a thread.
    pub fn sink(&self) -> Sink<'_, 's> {
        Sink { ingest: self, squeezer: Squeezer::default() } // metadata is read often: never the dense tier
    }
}

/// Stores chunks one by one: metadata to the metadata lane, data to the first data lane.
pub struct Sink<'i, 's> {
    ingest: &'i Ingest<'s>,
    squeezer: Squeezer,
}

impl WriteChunks for Sink<'_, '_> {
    fn put(&mut self, kind: ChunkKind, bytes: &[u8]) -> Result<ChunkId> {
        let id = self.ingest.store.keys().chunk_id(kind, bytes);
        if self.ingest.claim(&[id])?.first() == Some(&true) {
            let record = self.ingest.record(&mut self.squeezer, kind, id, Form::Bytes, &bytes.to_vec().into());
            self.ingest.send(if kind.is_data() { 1 } else { 0 }, vec![record])?;
        }
        Ok(id)
    }
}
