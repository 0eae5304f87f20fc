//! Bringing the index up to date: forward along the log, or anew from the footers of all packs.

use super::{Mode, Store, lock};
use crate::error::{Error, Result};
use crate::format::ChunkId;
use crate::format::event::SealedPack;
use crate::format::footer::Footer;
use crate::format::log::file_name;
use crate::index::memory::MemoryIndex;
use crate::index::{BulkLoad, Index, NextEntry, Place, Reflected, Statistics, Visit, VisitCount};
use crate::io::{Io, threads};
use crate::pack::read::{self, Found};
use crate::pool::PackStore;
use crate::pool::disk::LOG_DIR;
use crate::pool::log::LogRead;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// The index's folder in `STORE`.
pub const INDEX_DIR: &str = "index";
/// Serials of packs that could not be indexed, because their disks were away: text, one a line.
const UNINDEXED_FILE: &str = "unindexed";
/// Bytes of memory that a chunk takes in a reader's overlay.
const OVERLAY_CHUNK_BYTES: u64 = 96;

/// Which index a store uses.
#[derive(Clone)]
pub enum IndexKind {
    /// RocksDB in `STORE/index`.
    #[cfg(feature = "rocksdb")]
    Rocks,
    /// A twin in memory, which the caller keeps: for simulations.
    Memory(Arc<MemoryIndex>),
}

impl IndexKind {
    /// One of the same kind, for another store.
    pub fn anew(&self) -> IndexKind {
        match self {
            #[cfg(feature = "rocksdb")]
            IndexKind::Rocks => IndexKind::Rocks,
            IndexKind::Memory(_) => IndexKind::Memory(Arc::default()),
        }
    }
}

impl Default for IndexKind {
    #[cfg(feature = "rocksdb")]
    fn default() -> Self {
        IndexKind::Rocks
    }

    #[cfg(not(feature = "rocksdb"))]
    fn default() -> Self {
        IndexKind::Memory(Arc::default())
    }
}

/// An index that its maker shares.
struct Shared(Arc<MemoryIndex>);

impl Index for Shared {
    fn get(&self, id: &ChunkId) -> Result<Option<Place>> {
        self.0.get(id)
    }
    fn get_many(&self, ids: &[ChunkId]) -> Result<Vec<Option<Place>>> {
        self.0.get_many(ids)
    }
    fn reflected(&self) -> Result<Option<Reflected>> {
        self.0.reflected()
    }
    fn apply(&self, chunks: &[(ChunkId, Place)], reflected: Option<Reflected>) -> Result<()> {
        self.0.apply(chunks, reflected)
    }
    fn remove(&self, ids: &[ChunkId]) -> Result<()> {
        self.0.remove(ids)
    }
    fn for_each(&self, start: Option<ChunkId>, visit: Visit<'_>) -> Result<()> {
        self.0.for_each(start, visit)
    }
    fn load_sorted(&self, next: NextEntry<'_>, reflected: Reflected) -> Result<u64> {
        self.0.load_sorted(next, reflected)
    }
    fn resembling(&self, features: &[u64]) -> Result<Vec<Option<Place>>> {
        self.0.resembling(features)
    }
    fn put_features(&self, features: &[(u64, Place)]) -> Result<()> {
        self.0.put_features(features)
    }
    fn deltas_on(&self, bases: &[ChunkId]) -> Result<Vec<u32>> {
        self.0.deltas_on(bases)
    }
    fn count_deltas(&self, bases: &[ChunkId]) -> Result<()> {
        self.0.count_deltas(bases)
    }
    fn counts(&self, ids: &[ChunkId]) -> Result<Vec<Option<Vec<u8>>>> {
        self.0.counts(ids)
    }
    fn put_counts(&self, counts: &[(ChunkId, Vec<u8>)], state: Option<&[u8]>) -> Result<()> {
        self.0.put_counts(counts, state)
    }
    fn counts_state(&self) -> Result<Option<Vec<u8>>> {
        self.0.counts_state()
    }
    fn clear_counts(&self, all: bool) -> Result<()> {
        self.0.clear_counts(all)
    }
    fn for_each_count(&self, visit: VisitCount<'_>) -> Result<()> {
        self.0.for_each_count(visit)
    }
    fn statistics(&self) -> Result<Statistics> {
        self.0.statistics()
    }
    fn flush(&self) -> Result<()> {
        self.0.flush()
    }
}

/// What was opened, and whether it may be written.
enum Tried {
    Ready(Box<dyn Index>),
    /// Nothing usable, and why; `None` where there simply is none.
    Nothing(Option<String>),
}

/// Which index, where, and what it may use.
struct Wanted<'a> {
    kind: &'a IndexKind,
    #[cfg(feature = "rocksdb")]
    path: PathBuf,
    #[cfg(feature = "rocksdb")]
    store: crate::format::StoreId,
    /// A quarter of the budget, for other things run beside it.
    #[cfg(feature = "rocksdb")]
    memory_bytes: u64,
    #[cfg(not(feature = "rocksdb"))]
    _store: std::marker::PhantomData<&'a Store>,
}

impl Wanted<'_> {
    #[cfg_attr(
        not(feature = "rocksdb"),
        allow(unused_variables, reason = "the twin in memory knows no such difference")
    )]
    fn open(&self, write: bool) -> Result<Tried> {
        match self.kind {
            IndexKind::Memory(shared) => Ok(match shared.reflected()? {
                Some(_) => Tried::Ready(Box::new(Shared(Arc::clone(shared)))),
                None => Tried::Nothing(None),
            }),
            #[cfg(feature = "rocksdb")]
            IndexKind::Rocks => {
                use crate::index::rocks::{self, Opened, Options, RocksIndex};
                let mode = if write { rocks::Mode::ReadWrite } else { rocks::Mode::ReadOnly };
                Ok(match RocksIndex::open(&self.path, self.store, Options { memory_bytes: self.memory_bytes, mode })? {
                    Opened::Ready(index) => match index.reflected() {
                        Ok(Some(_)) => Tried::Ready(Box::new(index)),
                        Ok(None) => Tried::Nothing(Some("it was never filled".into())),
                        Err(e) => Tried::Nothing(Some(e.to_string())),
                    },
                    Opened::Missing => Tried::Nothing(None),
                    Opened::Unusable { why } => Tried::Nothing(Some(why)),
                })
            }
        }
    }

    fn create(&self) -> Result<Box<dyn Index>> {
        match self.kind {
            IndexKind::Memory(shared) => {
                let mut ids = Vec::new();
                shared.for_each(None, &mut |id, _| {
                    ids.push(id);
                    Ok(true)
                })?;
                shared.remove(&ids)?;
                shared.clear_counts(true)?;
                Ok(Box::new(Shared(Arc::clone(shared))))
            }
            #[cfg(feature = "rocksdb")]
            IndexKind::Rocks => {
                use crate::index::rocks::{Mode, Options, RocksIndex};
                RocksIndex::destroy(&self.path)?;
                let options = Options { memory_bytes: self.memory_bytes, mode: Mode::ReadWrite };
                Ok(Box::new(RocksIndex::create(&self.path, self.store, options)?))
            }
        }
    }
}

/// What a pack gives to the index.
#[derive(Default)]
pub struct PackRows {
    pub chunks: Vec<(ChunkId, Place)>,
    pub features: Vec<(u64, Place)>,
    /// Each delta's bases, one behind the other.
    pub bases: Vec<ChunkId>,
}

impl PackRows {
    /// Of the pack with this serial, by its footer.
    pub fn of(serial: u32, footer: &Footer) -> PackRows {
        let chunks: Vec<_> = footer.rows.iter().map(|r| (r.header.id, Place::of(serial, r))).collect();
        let features = footer
            .features
            .iter()
            .filter_map(|(row, f)| Some((chunks.get(*row as usize)?.1, f)))
            .flat_map(|(place, features)| features.iter().map(move |f| (*f, place)))
            .collect();
        let bases = footer.rows.iter().flat_map(|r| r.header.bases.iter().copied()).collect();
        PackRows { chunks, features, bases }
    }
}

/// The packs that wait to be indexed. A list that is there and cannot be read must not pass for an empty one: what it
/// names would stay out of the index, which would say that it has all.
fn unindexed(io: &Io, home: &Path) -> Result<Vec<u32>> {
    let path = home.join(UNINDEXED_FILE);
    let text = match io.read_small(&path, 64 << 20) {
        Ok(text) => text,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(Error::io("read the list of packs that wait for the index", path)(e)),
    };
    let serials = String::from_utf8_lossy(&text).lines().map(str::parse).collect::<std::result::Result<_, _>>();
    let why = || "a line of it is no number; `onefold recover` makes the index anew".to_owned();
    serials.map_err(|_| Error::Damaged {
        what: "the list of packs that wait for the index",
        path,
        offset: 0,
        why: why(),
    })
}

fn write_unindexed(io: &Io, home: &Path, serials: &[u32]) -> Result<()> {
    let path = home.join(UNINDEXED_FILE);
    if serials.is_empty() {
        return match io.fs.remove_file(&path) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(Error::io("remove", path)(e)),
            _ => Ok(()),
        };
    }
    let text: String = serials.iter().map(|s| format!("{s}\n")).collect();
    io.write_durable(&path, text.as_bytes(), true).map_err(Error::io("write", path))
}

impl Store {
    /// The chunks of a pack, as its footer has them, its own or what its group makes of it; of a pack whose end is
    /// damaged for good, as its records have them.
    pub(super) fn rows_of(&self, pack: &SealedPack, notices: &mut Vec<String>) -> Result<PackRows> {
        match self.ends(pack) {
            Ok(ends) => Ok(PackRows::of(pack.serial, &ends.footer)),
            Err(e @ (Error::Io { .. } | Error::DiskMissing { .. })) => Err(e),
            Err(e) => {
                notices.push(format!("{e}; its records are searched one by one"));
                let path = self.pool.place(pack);
                let file = self.io.fs.open(&path).map_err(Error::io("open the pack", &path))?;
                let (mut rows, mut bases) = (Vec::new(), Vec::new());
                read::walk(&*file, &path, pack.pack, |found| {
                    if let Found::Record(record, at) = found {
                        let stored = record.record_bytes() as u32; // a record is at most RECORD_BYTES long
                        let offset = u32::try_from(at).unwrap_or(u32::MAX); // a pack ends below 2^32
                        rows.push((record.id, Place { pack: pack.serial, offset, stored, plain: record.plain_bytes }));
                        bases.extend_from_slice(&record.bases);
                    }
                    Ok(())
                })?;
                Ok(PackRows { chunks: rows, features: Vec::new(), bases })
            }
        }
    }

    fn index_path(&self) -> PathBuf {
        self.path.join(INDEX_DIR)
    }

    fn wanted<'k>(&self, kind: &'k IndexKind) -> Wanted<'k> {
        Wanted {
            kind,
            #[cfg(feature = "rocksdb")]
            path: self.index_path(),
            #[cfg(feature = "rocksdb")]
            store: self.superblock.store,
            #[cfg(feature = "rocksdb")]
            memory_bytes: (self.memory_bytes / 4).max(32 << 20),
            #[cfg(not(feature = "rocksdb"))]
            _store: std::marker::PhantomData,
        }
    }

    /// Opens the index and brings it up to date, as far as the mode allows.
    pub(super) fn open_index(&mut self, kind: &IndexKind, notices: &mut Vec<String>) -> Result<()> {
        if self.mode != Mode::Read {
            let read = LogRead::read(&self.io, &self.path, &self.pool)?;
            let head = Reflected { number: read.state.number, hash: read.state.hash };
            if head != self.reflected() {
                // Nobody else writes: it could not be read as it was a moment ago. An index that was brought to an earlier
                // entry now would stand for the next one without what lies between.
                let damaged = Error::LogDamaged { number: self.reflected().number, places: vec![self.path.clone()] };
                return Err(read.blocked.unwrap_or(damaged));
            }
            let opened = self.wanted(kind).open(true)?;
            self.index = self.brought_forward(kind, opened, &read, notices)?;
            return Ok(());
        }
        let opened = self.wanted(kind).open(false);
        let here = self.reflected();
        let (base, lacking) = match opened {
            Ok(Tried::Ready(index)) => {
                let stands_for = index.reflected()?.unwrap_or(Reflected { number: 0, hash: here.hash });
                let packs_wait = unindexed(&self.io, &self.path)?.iter().any(|s| self.is_held(*s));
                if stands_for == here && !packs_wait {
                    self.index = index;
                    return Ok(());
                }
                let read = LogRead::read(&self.io, &self.path, &self.pool)?;
                // A writer may have gone on since our state was read: what it added does us no harm.
                let ahead = stands_for.number > here.number
                    && read.sealed_since(&self.io, stands_for.number, stands_for.hash)?.is_some();
                if ahead && !packs_wait {
                    self.index = index;
                    return Ok(());
                }
                match read.sealed_since(&self.io, stands_for.number, stands_for.hash)? {
                    Some(sealed) => (Some(index), sealed),
                    None => (None, self.all_packs()),
                }
            }
            Ok(Tried::Nothing(_)) | Err(_) => (None, self.all_packs()),
        };
        drop(base);
        match self.mended(kind, notices) {
            Ok(true) => Ok(()),
            _ => self.overlaid(kind, lacking, notices),
        }
    }

    fn is_held(&self, serial: u32) -> bool {
        self.with_state(|s| s.pack(serial).is_some_and(|p| self.reaches_in(s, &p.sealed)))
    }

    fn all_packs(&self) -> Vec<SealedPack> {
        self.with_state(|s| s.packs().map(|p| p.sealed).collect())
    }

    /// A reader's try to bring the index up to date itself, for which it needs the writer's lock for a
    /// moment. False where it cannot have it.
    fn mended(&mut self, kind: &IndexKind, notices: &mut Vec<String>) -> Result<bool> {
        let Ok(held) = lock(&self.io, &self.path, "bringing the index up to date") else { return Ok(false) };
        // A writer may have ended since: read the log again, under the lock.
        let read = LogRead::read(&self.io, &self.path, &self.pool)?;
        if read.state.number < self.reflected().number {
            return Ok(false); // it can be read worse than a moment ago
        }
        let opened = self.wanted(kind).open(true)?;
        self.state = threads::Mutex::new(read.state.clone());
        let index = self.brought_forward(kind, opened, &read, notices)?;
        index.flush()?;
        if matches!(kind, IndexKind::Memory(_)) {
            self.index = index;
            return Ok(true);
        }
        drop(index);
        drop(held);
        match self.wanted(kind).open(false)? {
            Tried::Ready(index) => {
                self.index = index;
                Ok(true)
            }
            Tried::Nothing(_) => Ok(false),
        }
    }

    /// What the index lacks is kept in memory, for a reader beside a writer or on a read-only filesystem.
    fn overlaid(&mut self, kind: &IndexKind, lacking: Vec<SealedPack>, notices: &mut Vec<String>) -> Result<()> {
        let chunks: u64 = lacking.iter().map(|p| u64::from(p.records)).sum();
        if chunks * OVERLAY_CHUNK_BYTES > self.memory_bytes / 2 {
            let why = format!(
                "it lacks {chunks} chunks, too many to keep in memory; run `onefold recover` when no writer is at work"
            );
            return Err(Error::Index { action: "be used", path: self.index_path(), why });
        }
        if let Ok(Tried::Ready(index)) = self.wanted(kind).open(false) {
            self.index = index;
        }
        for pack in lacking.iter().filter(|p| self.reaches(p)) {
            match self.rows_of(pack, notices) {
                Ok(rows) => self.overlay.apply(&rows.chunks, None)?,
                Err(e) => notices.push(e.to_string()),
            }
        }
        if !lacking.is_empty() {
            notices.push(format!(
                "the index lacks {} packs and cannot be written now; they were read for this run",
                lacking.len()
            ));
        }
        Ok(())
    }

    fn brought_forward(
        &self,
        kind: &IndexKind,
        opened: Tried,
        read: &LogRead,
        notices: &mut Vec<String>,
    ) -> Result<Box<dyn Index>> {
        let head = Reflected { number: read.state.number, hash: read.state.hash };
        let why = match opened {
            Tried::Ready(index) => {
                let stands_for = index.reflected()?;
                let since = match stands_for {
                    Some(r) if r.number <= head.number => read.sealed_since(&self.io, r.number, r.hash)?,
                    _ => None,
                };
                match since {
                    Some(mut sealed) => {
                        let behind = head.number - stands_for.map_or(0, |r| r.number);
                        let waiting = unindexed(&self.io, &self.path)?;
                        sealed.extend(waiting.iter().filter_map(|s| read.state.pack(*s)).map(|p| p.sealed));
                        if behind > 0 || waiting.iter().any(|s| self.is_held(*s)) {
                            self.feed_forward(&*index, &sealed, head, notices)?;
                            if behind > 0 {
                                notices.push(format!(
                                    "the index was {behind} log entries behind and was brought up to date"
                                ));
                            }
                        }
                        return Ok(index);
                    }
                    None => "it stands for another history than the log's".to_owned(),
                }
            }
            Tried::Nothing(why) => why.unwrap_or_else(|| "there was none".to_owned()),
        };
        let fresh = self.wanted(kind).create()?;
        let chunks = self.rebuild(&*fresh, &read.state, head, notices)?;
        if read.state.pack_count() > 0 {
            notices
                .push(format!("the index was rebuilt from {} packs, {chunks} chunks: {why}", read.state.pack_count()));
        }
        Ok(fresh)
    }

    fn feed_forward(
        &self,
        index: &dyn Index,
        sealed: &[SealedPack],
        head: Reflected,
        notices: &mut Vec<String>,
    ) -> Result<()> {
        let mut left_out = Vec::new();
        for pack in sealed {
            if !self.reaches(pack) {
                left_out.push(pack.serial);
                continue;
            }
            match self.rows_of(pack, notices) {
                Ok(rows) => {
                    let rows = self.sound(pack, rows);
                    index.put_features(&rows.features)?;
                    index.count_deltas(&rows.bases)?;
                    index.apply(&rows.chunks, None)?;
                }
                Err(e) => {
                    notices.push(e.to_string());
                    left_out.push(pack.serial);
                }
            }
        }
        write_unindexed(&self.io, &self.path, &left_out)?;
        index.apply(&[], Some(head))
    }

    /// The rows that do not lie on known damage, or come out of their group all the same: of the others another copy must win.
    fn sound(&self, pack: &SealedPack, mut rows: PackRows) -> PackRows {
        self.with_state(|state| {
            let can_be_had = |p: &Place| self.reaches_place(state, pack, u64::from(p.offset), u64::from(p.stored));
            rows.chunks.retain(|(_, p)| can_be_had(p));
            rows.features.retain(|(_, p)| can_be_had(p));
        });
        rows
    }

    /// Fills an empty index from the footers of all packs, one thread a disk, in bounded memory.
    fn rebuild(
        &self,
        index: &dyn Index,
        state: &crate::catalog::state::LogState,
        head: Reflected,
        notices: &mut Vec<String>,
    ) -> Result<u64> {
        let mut by_disk: BTreeMap<_, Vec<SealedPack>> = BTreeMap::new();
        let mut left_out = Vec::new();
        for p in state.packs() {
            if self.reaches(&p.sealed) {
                by_disk.entry(p.sealed.disk).or_default().push(p.sealed);
            } else {
                left_out.push(p.sealed.serial);
            }
        }
        let temporary = self.path.clone();
        let mut load = BulkLoad::new(&self.io, &temporary, (self.memory_bytes / 4) as usize)?;
        // One table of a pack of 256 MiB is some 50 KB; the queue holds 16.
        let (send, receive) = threads::bounded::<(SealedPack, Result<PackRows>, Vec<String>)>(16);
        threads::scope(|scope| -> Result<()> {
            for packs in by_disk.values() {
                let send = send.clone();
                scope.spawn(move || {
                    for pack in packs {
                        let mut noticed = Vec::new();
                        let rows = self.rows_of(pack, &mut noticed);
                        if send.send((*pack, rows, noticed)).is_err() {
                            return; // the receiver met an error
                        }
                    }
                });
            }
            drop(send);
            for (pack, rows, noticed) in receive.iter() {
                notices.extend(noticed);
                match rows {
                    Ok(rows) => {
                        let rows = self.sound(&pack, rows);
                        index.put_features(&rows.features)?;
                        index.count_deltas(&rows.bases)?;
                        load.feed(&rows.chunks)?;
                    }
                    Err(e) => {
                        notices.push(e.to_string());
                        left_out.push(pack.serial);
                    }
                }
            }
            Ok(())
        })?;
        write_unindexed(&self.io, &self.path, &left_out)?;
        load.finish(index, head)
    }

    /// Reads the log again, for a reader that found less than it should while its log stood at entry `seen`. What was
    /// sealed since goes into the overlay, from footers. True if the log stands further than `seen` now; a writer's own
    /// log is always at its head.
    ///
    /// # Errors
    /// [`Error::FromTheFuture`], [`Error::Index`] where the overlay would grow beyond the budget.
    pub fn follow(&self, seen: u64) -> Result<bool> {
        if self.mode != Mode::Read {
            return Ok(false);
        }
        let _one = self.following.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let here = self.reflected();
        if here.number > seen {
            return Ok(true); // another thread was first
        }
        let next = self.path.join(LOG_DIR).join(file_name(here.number + 1));
        if !self.io.fs.stat(&next).is_ok_and(|s| s.is_some()) {
            return Ok(false);
        }
        let read = LogRead::read(&self.io, &self.path, &self.pool)?;
        if read.state.number <= here.number {
            return Ok(false);
        }
        let since = read.sealed_since(&self.io, here.number, here.hash)?;
        let since = since.unwrap_or_else(|| read.state.packs().map(|p| p.sealed).collect());
        let chunks: u64 = since.iter().map(|p| u64::from(p.records)).sum();
        let held = self.overlay.statistics()?.chunks_estimate;
        if (held + chunks) * OVERLAY_CHUNK_BYTES > self.memory_bytes / 2 {
            let why = "too much was written since it was opened; start again".to_owned();
            return Err(Error::Index { action: "be followed", path: self.index_path(), why });
        }
        let (here, away): (Vec<&SealedPack>, Vec<&SealedPack>) = since.iter().partition(|p| self.pool.holds(p));
        for pack in here {
            // A pack that was dropped after our look at the log is met again by whoever misses its chunks.
            if let Ok(rows) = self.rows_of(pack, &mut Vec::new()) {
                self.overlay.apply(&rows.chunks, None)?;
            }
        }
        *self.state() = read.state;
        self.forget_files(); // packs may have moved, and groups been made anew
        for pack in away.into_iter().filter(|p| self.reaches(p)) {
            if let Ok(rows) = self.rows_of(pack, &mut Vec::new()) {
                self.overlay.apply(&rows.chunks, None)?;
            }
        }
        Ok(true)
    }

    /// Puts chunks into the index; with `reflect` it stands for the log's head from then on. The index is a
    /// cache: if it fails, its chunks are kept in memory, and a note comes back.
    pub fn index_apply(&self, rows: &PackRows, reflect: bool) -> Option<String> {
        // Once it lacks something, it must not stand for a later entry than it does.
        let reflect = reflect && !self.index_failed.load(Ordering::Relaxed);
        let applied = self.index.put_features(&rows.features).and_then(|()| self.index.count_deltas(&rows.bases));
        match applied.and_then(|()| self.index.apply(&rows.chunks, reflect.then(|| self.durable()))) {
            Ok(()) => None,
            Err(e) => {
                self.index_failed.store(true, Ordering::Relaxed);
                let kept = self.overlay.apply(&rows.chunks, None);
                Some(match kept {
                    Ok(()) => format!("{e}; it will be brought up to date by the next run"),
                    Err(again) => format!("{e}; {again}"),
                })
            }
        }
    }
}
