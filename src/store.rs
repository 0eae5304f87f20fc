//! A store: open, lock, close. It hands out the parts and has no verbs.
//!
//! # Opening
//!
//! `STORE/disks` names the disks (a store with no other disk is its own one). Any of them gives the
//! superblock and the keys, all of them together the log. The index is a cache: one that is missing,
//! stale, of another history or unusable is brought up to date from log and packs. A reader does that
//! only if it can have the writer's lock for a moment; else it keeps what the index lacks in memory.
//!
//! # Beside a gc
//!
//! A reader holds no lock, so a gc may drop a pack that it was about to read. It then reads the log again
//! ([`Store::follow`]) and looks up once more.

use crate::catalog::recipe::MappedSegment;
use crate::catalog::state::LogState;
use crate::chunk::{Cutter, Pcm, Unsqueezer, pcm};
use crate::error::{Error, Result};
use crate::format::event::SealedPack;
use crate::format::record::{HEADER_BYTES_MAX, Header};
use crate::format::superblock::Superblock;
use crate::format::text::{KnownDisk, MARKER_FILE, Marker};
use crate::format::{ChunkId, ChunkKind, Keys, limits};
use crate::index::memory::MemoryIndex;
use crate::index::{Index, Place, Reflected};
use crate::io::threads::{Mutex, MutexGuard};
use crate::io::{File, Io, Lock};
use crate::media::{self, SplitterId};
use crate::pack::{ReadChunks, read};
use crate::pool::disk::{Disk, KEY_SLOT_FILE, KEYS_DIR, SUPERBLOCK_FILE};
use crate::pool::log::{LogRead, LogWriter};
use crate::pool::{PackStore, Pool, bytes_of, read_known, read_marker, write_known};
use std::collections::{HashMap, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError};

mod index;
mod rebuilt;
mod redundancy;
mod spares;

pub use index::{INDEX_DIR, IndexKind, PackRows};
pub use redundancy::{IsThere, Redundancy, Shapes, tolerance};

/// The lock file of a store.
pub const LOCK_FILE: &str = "lock";
/// Locked by who waits for the writer's lock.
pub const WAITING_FILE: &str = "waiting";
/// Smallest memory budget that anything is promised for.
pub const MEMORY_MIN: u64 = 128 << 20;
/// The budget where none is given.
pub const MEMORY_DEFAULT: u64 = 1 << 30;

/// Reading, or writing on behalf of a verb.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    Read,
    Write { verb: &'static str },
}

/// How to open a store.
#[derive(Clone)]
pub struct OpenOptions {
    pub memory_bytes: u64,
    pub mode: Mode,
    pub index: IndexKind,
}

impl OpenOptions {
    /// The defaults: the machine's RocksDB and this budget.
    pub fn new(mode: Mode, memory_bytes: u64) -> Self {
        OpenOptions { memory_bytes, mode, index: IndexKind::default() }
    }
}

/// An open store and what was noticed on the way.
pub struct Opened {
    pub store: Store,
    pub notices: Vec<String>,
}

/// An open store.
pub struct Store {
    io: Io,
    path: PathBuf,
    mode: Mode,
    superblock: Superblock,
    keys: Keys,
    cutter: Cutter,
    pool: Pool,
    index: Box<dyn Index>,
    /// A write to the index failed: it lacks chunks of this run.
    index_failed: std::sync::atomic::AtomicBool,
    /// Chunks that the index lacks, for a reader that may not write it.
    overlay: MemoryIndex,
    /// What the log means now. Held for moments.
    state: Mutex<LogState>,
    /// Held while an entry is written; taken before the state. None in a store that is open for reading.
    writer: Mutex<Option<LogWriter>>,
    stale: Vec<crate::format::DiskId>,
    blocked: Option<String>,
    memory_bytes: u64,
    nodes: Mutex<NodeCache>,
    /// Plain bytes of bases of deltas.
    bases: Mutex<NodeCache>,
    /// Second copies, once they were asked for.
    spares: Mutex<Option<Arc<spares::Spares>>>,
    /// One thread at a time follows the log.
    following: Mutex<()>,
    rebuilding: rebuilt::Rebuilding,
    /// Held as long as the store is open for writing.
    _locks: Vec<Box<dyn Lock>>,
}

/// Chunks that were read lately, by id, bounded in bytes.
#[derive(Default)]
struct NodeCache {
    held: HashMap<ChunkId, Arc<Vec<u8>>>,
    order: VecDeque<ChunkId>,
    bytes: u64,
}

impl NodeCache {
    fn insert(&mut self, id: ChunkId, node: Arc<Vec<u8>>, budget: u64) {
        self.bytes += node.len() as u64;
        if self.held.insert(id, node).is_none() {
            self.order.push_back(id);
        }
        while self.bytes > budget
            && let Some(oldest) = self.order.pop_front()
        {
            self.bytes -= self.held.remove(&oldest).map_or(0, |n| n.len() as u64);
        }
    }
}

/// What a lock file says of its holder, for people.
pub fn lock_note(verb: &str, now_ns: i64) -> String {
    let host = crate::io::source::hostname();
    format!("pid {} on {host}, {verb}, since {now_ns}\n", crate::io::source::process_id())
}

/// The verb of a [`lock_note`]; `None` where a note is none.
pub fn verb_of_note(note: &str) -> Option<&str> {
    let (before, _) = note.rsplit_once(", since ")?;
    before.rsplit_once(", ").map(|(_, verb)| verb)
}

/// Says that somebody waits for the writer's lock of a store folder, as long as what comes back is held: a holder that moves
/// data for its own sake gives way then. `None` where another one has said so already, or where it cannot be said.
pub fn ask_for_lock(io: &Io, path: &Path) -> Option<Box<dyn Lock>> {
    let file = path.join(WAITING_FILE);
    match io.fs.stat(&file) {
        Ok(Some(_)) => {}
        // The file says nothing, so it need not be durable. If another one makes it meanwhile, it is there.
        Ok(None) => drop(io.fs.create_new(&file)),
        Err(_) => return None,
    }
    io.fs.try_lock(&file).ok().flatten()
}

/// Whether somebody waits for the writer's lock. The lock of a file is the kernel's: who died does not wait.
pub fn is_asked_for(io: &Io, path: &Path) -> bool {
    let file = path.join(WAITING_FILE);
    matches!(io.fs.stat(&file), Ok(Some(_))) && matches!(io.fs.try_lock(&file), Ok(None))
}

/// Takes the writer's lock of a store folder.
///
/// # Errors
/// [`Error::Locked`] with what the holder wrote about itself.
pub fn lock(io: &Io, path: &Path, verb: &'static str) -> Result<Box<dyn Lock>> {
    let file = path.join(LOCK_FILE);
    if io.fs.stat(&file).map_err(Error::io("look for the lock file", &file))?.is_none() {
        match io.fs.create_new(&file) {
            Err(e) if e.kind() != std::io::ErrorKind::AlreadyExists => {
                return Err(Error::io("create the lock file", file)(e));
            }
            _ => {}
        }
    }
    match io.fs.try_lock(&file).map_err(Error::io("lock", &file))? {
        Some(lock) => {
            let note = lock_note(verb, io.world.now_ns());
            match io.fs.write_lock_note(&file, note.as_bytes()) {
                // Whoever takes the lock means to write: better told now than by the index.
                Err(e) if e.kind() == std::io::ErrorKind::ReadOnlyFilesystem => {
                    Err(Error::io("write to the store at", path)(e))
                }
                _ => Ok(lock), // the note is for people only: the lock is the kernel's
            }
        }
        None => {
            let note = io.read_small(&file, 4096).unwrap_or_default();
            let holder = String::from_utf8_lossy(&note).trim().to_owned();
            let holder = if holder.is_empty() { "it did not say who it is".to_owned() } else { holder };
            Err(Error::Locked { path: path.to_owned(), holder })
        }
    }
}

/// Reads the first superblock and key slot that are good, of this store if it is known, and fit each other,
/// from any of these folders.
///
/// # Errors
/// The last error where none is good; [`Error::FromTheFuture`] at once.
pub fn read_constants(
    io: &Io,
    folders: &[PathBuf],
    store: Option<crate::format::StoreId>,
    notices: &mut Vec<String>,
) -> Result<(Superblock, Keys)> {
    let mut superblock: Option<Superblock> = None;
    let mut keys = None;
    let mut last = None;
    let another =
        |what, path: PathBuf| Error::Damaged { what, path, offset: 0, why: "it belongs to another store".into() };
    for folder in folders {
        if superblock.is_none() {
            let path = folder.join(SUPERBLOCK_FILE);
            let read = io.read_small(&path, limits::SMALL_FILE_BYTES).map_err(Error::io("read the superblock", &path));
            match read.and_then(|bytes| Superblock::decode(&path, &bytes)) {
                Ok(s) if store.is_some_and(|id| id != s.store) => last = Some(another("the superblock", path)),
                Ok(s) => superblock = Some(s),
                Err(e @ Error::FromTheFuture { .. }) => return Err(e),
                Err(e) => last = Some(e),
            }
        }
    }
    for folder in folders {
        if keys.is_none() {
            let path = folder.join(KEYS_DIR).join(KEY_SLOT_FILE);
            let read = io.read_small(&path, limits::SMALL_FILE_BYTES).map_err(Error::io("read the key slot", &path));
            match read.and_then(|bytes| Keys::decode_slot(&path, &bytes)) {
                Ok(k) if superblock.as_ref().is_some_and(|s| s.key_id != k.key_id()) => {
                    last = Some(another("the key slot", path))
                }
                Ok(k) => keys = Some(k),
                Err(e @ Error::FromTheFuture { .. }) => return Err(e),
                Err(e) => last = Some(e),
            }
        }
    }
    match (superblock, keys) {
        (Some(superblock), Some(keys)) => {
            if let Some(e) = last {
                notices.push(format!("{e}; another copy is good"));
            }
            Ok((superblock, keys))
        }
        _ => Err(last.unwrap_or(Error::NoDisks { known: folders.len() })),
    }
}

/// The disks that a store folder knows. A folder that is a disk itself and lists none is its own disk.
///
/// # Errors
/// [`Error::NoStore`], or damage.
pub fn known_disks(io: &Io, path: &Path) -> Result<Vec<KnownDisk>> {
    let own = |marker: Marker| KnownDisk {
        disk: marker.disk,
        label: marker.label,
        path: bytes_of(path),
        serial: String::new(),
    };
    match read_known(io, path) {
        Ok(Some(mut list)) => {
            // a store that is its own disk may have been moved
            if let Ok(Some(marker)) = read_marker(io, path)
                && let Some(known) = list.disks.iter_mut().find(|d| d.disk == marker.disk)
            {
                *known = own(marker);
            }
            Ok(list.disks)
        }
        listed => match read_marker(io, path)? {
            Some(marker) => Ok(vec![own(marker)]),
            None => match listed {
                Err(e) => Err(e),
                Ok(_) => Err(Error::NoStore { path: path.to_owned() }),
            },
        },
    }
}

impl Store {
    /// Opens a store.
    ///
    /// # Errors
    /// [`Error::NoStore`], [`Error::Locked`], [`Error::NoDisks`], [`Error::FromTheFuture`], damage that no
    /// copy makes good, and for writing whatever forbids it.
    pub fn open(io: &Io, path: &Path, options: &OpenOptions) -> Result<Opened> {
        Self::open_under(io, path, options, None)
    }

    /// Opens a store whose lock ([`lock`]) the caller may hold already; it is held on for as long as the store
    /// is open.
    ///
    /// # Errors
    /// As [`Store::open`].
    pub fn open_under(io: &Io, path: &Path, options: &OpenOptions, held: Option<Box<dyn Lock>>) -> Result<Opened> {
        let mut notices = Vec::new();
        let known = known_disks(io, path)?;
        let mut locks: Vec<Box<dyn Lock>> = held.into_iter().collect();
        if let (Mode::Write { verb }, true) = (options.mode, locks.is_empty()) {
            locks.push(lock(io, path, verb)?);
        }
        let store_id = Self::identity(io, path, &known)?;
        let mut counted = known.clone();
        let (mut pool, held, read) = loop {
            let (mut pool, mut noticed) = Pool::join(io, store_id, &counted)?;
            if pool.disks().next().is_none() {
                return Err(Error::NoDisks { known: known.len() });
            }
            // Before the log is read: another STORE of these disks may be writing it.
            let held = if options.mode == Mode::Read { Vec::new() } else { pool.lock(&mut noticed)? };
            let read = LogRead::read(io, path, &pool)?;
            let is_retired = |id: &crate::format::DiskId| read.state.disks.get(id).is_some_and(|d| d.retired);
            if !counted.iter().any(|d| is_retired(&d.disk)) {
                notices.extend(noticed);
                break (pool, held, read);
            }
            // A run was cut short between the log and the list: nothing of it counts, its copy of the log neither.
            counted.retain(|d| !is_retired(&d.disk));
        };
        locks.extend(held);
        for d in pool.missing() {
            notices.push(format!(
                "disk {} ({}) is missing; it was last seen at {}",
                d.label,
                d.disk,
                crate::pool::path_of(&d.path).display()
            ));
        }
        let mut folders = vec![path.to_owned()];
        folders.extend(pool.disks().map(|d| d.path.clone()));
        let (superblock, keys) = read_constants(io, &folders, Some(store_id), &mut notices)?;
        let cutter = Cutter::new(superblock.chunker, &keys)?;
        notices.extend(read.notices.iter().cloned());
        pool.set_domains(read.state.disks.iter().map(|(id, d)| (*id, d.domain.clone())));
        let stale = read.stale().map(|d| d.id).collect();
        for disk in pool.disks() {
            if read.state.settings.get(&Disk::suspect_key(&disk.id)).is_some_and(|since| !since.is_empty()) {
                disk.note();
                notices.push(format!(
                    "disk {} failed an earlier run; look into the kernel's log, then run `onefold check --read-data`",
                    disk.label
                ));
            }
        }
        let blocked = read.blocked.as_ref().map(ToString::to_string);
        let (state, writer) = match options.mode {
            Mode::Read => (read.state, None),
            Mode::Write { .. } => {
                if !superblock.may_write() {
                    return Err(Error::FromTheFuture {
                        what: "the superblock",
                        path: path.join(SUPERBLOCK_FILE),
                        needs: format!("{} to write", superblock.min_writer),
                        ours: crate::format::FORMAT_VERSION.to_string(),
                    });
                }
                if superblock.table_check != cutter.table_check(&keys) {
                    let why = "this program would cut differently than the store was cut so far";
                    return Err(Error::Malformed { what: "the chunker's table", offset: 0, why });
                }
                let (state, writer) = read.into_writer(io)?;
                (state, Some(writer))
            }
        };
        let mut store = Store {
            io: io.clone(),
            path: path.to_owned(),
            mode: options.mode,
            superblock,
            keys,
            cutter,
            pool,
            index: Box::new(MemoryIndex::default()),
            index_failed: std::sync::atomic::AtomicBool::new(false),
            overlay: MemoryIndex::default(),
            state: Mutex::new(state),
            writer: Mutex::new(writer),
            stale,
            blocked,
            memory_bytes: options.memory_bytes.max(MEMORY_MIN),
            nodes: Mutex::default(),
            bases: Mutex::default(),
            spares: Mutex::default(),
            following: Mutex::default(),
            rebuilding: rebuilt::Rebuilding::default(),
            _locks: locks,
        };
        store.open_index(&options.index, &mut notices)?;
        let floor = store.memory_floor_bytes();
        if options.memory_bytes + (1 << 20) <= floor {
            let needs = floor.div_ceil(1 << 20);
            notices.push(format!(
                "the memory budget is below this store's floor of {needs} MiB: it may be exceeded, and things get slow"
            ));
        }
        if matches!(options.mode, Mode::Write { .. }) && store.pool.known().disks != known {
            write_known(io, path, &store.pool.known())?;
        }
        Ok(Opened { store, notices })
    }

    /// The store's id: from the list of disks, or from the first marker that is there.
    fn identity(io: &Io, path: &Path, known: &[KnownDisk]) -> Result<crate::format::StoreId> {
        if let Ok(Some(list)) = read_known(io, path) {
            return Ok(list.store);
        }
        for d in known {
            if let Some(marker) = read_marker(io, &crate::pool::path_of(&d.path))? {
                return Ok(marker.store);
            }
        }
        Err(Error::NoStore { path: path.to_owned() })
    }

    pub fn io(&self) -> &Io {
        &self.io
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// Whether another process waits for the writer's lock.
    pub fn is_asked_for(&self) -> bool {
        is_asked_for(&self.io, self.path())
    }

    pub fn superblock(&self) -> &Superblock {
        &self.superblock
    }

    pub fn keys(&self) -> &Keys {
        &self.keys
    }

    pub fn cutter(&self) -> &Cutter {
        &self.cutter
    }

    pub fn pool(&self) -> &Pool {
        &self.pool
    }

    pub fn index(&self) -> &dyn Index {
        &*self.index
    }

    /// The memory that may be used, in bytes.
    pub fn memory_bytes(&self) -> u64 {
        self.memory_bytes
    }

    /// The least memory budget that this store is meant to be used with, in bytes: what everything needs, what
    /// the log's state takes (230 bytes a pack), and what the index's filters take (1.1 bytes a chunk).
    pub fn memory_floor_bytes(&self) -> u64 {
        let (packs, chunks) =
            self.with_state(|s| (s.pack_count() as u64, s.packs().map(|p| u64::from(p.sealed.records)).sum::<u64>()));
        MEMORY_MIN + packs * 230 + chunks * 11 / 10
    }

    pub fn missing_disks(&self) -> &[KnownDisk] {
        self.pool.missing()
    }

    /// Disks whose log was behind when the store was opened.
    pub fn stale_disks(&self) -> &[crate::format::DiskId] {
        &self.stale
    }

    /// Why nothing may be written, where that is so.
    pub fn blocked(&self) -> Option<&str> {
        self.blocked.as_deref()
    }

    /// Folders that a backup leaves out: the store and its disks.
    pub fn own_folders(&self) -> Vec<PathBuf> {
        let mut folders = vec![self.path.clone()];
        folders.extend(self.pool.disks().map(|d| d.path.clone()));
        folders
    }

    fn state(&self) -> MutexGuard<'_, LogState> {
        // A poisoned lock means a thread panicked while it appended; the writer refuses by itself then.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs `f` on what the log means now.
    pub fn with_state<T>(&self, f: impl FnOnce(&LogState) -> T) -> T {
        f(&self.state())
    }

    /// Appends to the log, durably. The events may depend on the state they are appended to.
    ///
    /// # Errors
    /// As [`LogWriter::append`]; a store that is open for reading has no log to append to.
    pub fn append(&self, events: impl FnOnce(&LogState) -> Vec<crate::format::event::Event>) -> Result<Vec<String>> {
        match &mut *self.writer.lock().unwrap_or_else(PoisonError::into_inner) {
            None => Err(Error::Argument { what: "the store".into(), why: "it was opened for reading only".into() }),
            Some(writer) => writer.append(&self.state, events),
        }
    }

    /// As [`Store::append`], and the index stands for that entry then: for events that concern no chunk.
    ///
    /// # Errors
    /// As [`Store::append`].
    pub fn append_indexed(&self, events: Vec<crate::format::event::Event>) -> Result<Vec<String>> {
        let mut notes = self.append(|_| events)?;
        notes.extend(self.index_apply(&PackRows::default(), true));
        Ok(notes)
    }

    /// The newest log entry that is durable, for what outlives this process and stands for the log up to there. Waits while an
    /// entry is written.
    pub fn durable(&self) -> Reflected {
        let writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        let durable = writer.as_ref().map(LogWriter::durable);
        durable.map_or_else(|| self.reflected(), |(number, hash)| Reflected { number, hash })
    }

    /// The log entry that the state stands for, which may be one that is being written.
    pub fn reflected(&self) -> Reflected {
        self.with_state(|s| Reflected { number: s.number, hash: s.hash })
    }

    /// Where chunks lie, in the order asked. Only places in live packs on disks that are here and outside
    /// known damage count, and such as can be rebuilt; whether the bytes there are the chunk's is proven when they are read.
    /// A reader is given another copy where the index's place is of no use.
    ///
    /// # Errors
    /// [`Error::Index`].
    pub fn locate(&self, ids: &[ChunkId]) -> Result<Vec<Option<Located>>> {
        let places = self.indexed(ids)?;
        let mut located: Vec<Option<Located>> =
            self.with_state(|state| places.iter().map(|p| p.and_then(|p| self.usable(state, p))).collect());
        for ((id, place), found) in ids.iter().zip(&places).zip(&mut located) {
            if let (Some(place), None) = (place, &found) {
                *found = self.elsewhere(id, Some(*place))?.into_iter().next();
            }
        }
        Ok(located)
    }

    /// As [`Store::locate`], by the index's places alone: for those who judge the index.
    ///
    /// # Errors
    /// [`Error::Index`].
    pub fn locate_indexed(&self, ids: &[ChunkId]) -> Result<Vec<Option<Located>>> {
        let places = self.indexed(ids)?;
        Ok(self.with_state(|state| places.iter().map(|p| p.and_then(|p| self.usable(state, p))).collect()))
    }

    /// What the index, and what is kept beside it, say.
    fn indexed(&self, ids: &[ChunkId]) -> Result<Vec<Option<Place>>> {
        let mut places = self.overlay.get_many(ids)?;
        let rest: Vec<usize> = (0..ids.len()).filter(|&i| places[i].is_none()).collect(); // one place an id
        if !rest.is_empty() {
            let wanted: Vec<ChunkId> = rest.iter().map(|&i| ids[i]).collect();
            for (i, place) in rest.into_iter().zip(self.index.get_many(&wanted)?) {
                places[i] = place;
            }
        }
        Ok(places)
    }

    /// A place, if it can be read or rebuilt by what is known.
    fn usable(&self, state: &LogState, place: Place) -> Option<Located> {
        let sealed = state.pack(place.pack)?.sealed;
        if place.stored as usize > limits::RECORD_BYTES {
            return None; // the index lies
        }
        let (offset, bytes) = (u64::from(place.offset), u64::from(place.stored));
        self.reaches_place(state, &sealed, offset, bytes).then_some(Located { sealed, place })
    }

    /// As [`Store::locate`], for reading: where a chunk is nowhere and the log has gone on, it is followed first. A reader for
    /// whose chunk nothing better is known is given a place that the log calls damaged, and proves what it reads.
    ///
    /// # Errors
    /// [`Error::Index`].
    pub fn find(&self, ids: &[ChunkId]) -> Result<Vec<Option<Located>>> {
        let seen = self.reflected().number;
        let mut found = self.locate(ids)?;
        if found.iter().any(Option::is_none) && self.follow(seen)? {
            found = self.locate(ids)?;
        }
        for (id, found) in ids.iter().zip(&mut found).filter(|(_, found)| found.is_none()) {
            *found = self.worth_a_try(id)?.into_iter().next();
        }
        Ok(found)
    }

    /// As [`Store::find`], by the index's places alone.
    ///
    /// # Errors
    /// [`Error::Index`].
    pub fn find_indexed(&self, ids: &[ChunkId]) -> Result<Vec<Option<Located>>> {
        let seen = self.reflected().number;
        let found = self.locate_indexed(ids)?;
        if found.iter().all(Option::is_some) || !self.follow(seen)? { Ok(found) } else { self.locate_indexed(ids) }
    }

    /// Opens the pack that holds a chunk. Where a gc dropped it meanwhile, the log is followed and the chunk looked up
    /// again.
    fn open_at(&self, id: &ChunkId, at: &Located) -> Result<(Arc<dyn File>, Located)> {
        let seen = self.reflected().number;
        match self.pool.open(&at.sealed) {
            Ok(file) => Ok((file, *at)),
            Err(e) if matches!(&e, Error::Io { source, .. } if source.kind() == std::io::ErrorKind::NotFound) => {
                let still = self.with_state(|s| s.pack(at.place.pack).is_some());
                if still && !self.follow(seen)? {
                    return Err(e);
                }
                let missing = || Error::ChunkMissing { chunk: id.to_string() };
                let again = self.locate(std::slice::from_ref(id))?.pop().flatten().ok_or_else(missing)?;
                Ok((self.pool.open(&again.sealed)?, again))
            }
            Err(e) => Err(e),
        }
    }

    /// Reads and proves one chunk at its place; a reader whose place fails it takes another copy, if there is one.
    ///
    /// # Errors
    /// [`Error::ChunkDamaged`], [`Error::Io`], [`Error::DiskMissing`]: its own bytes do not do, and its group cannot make
    /// them good.
    pub fn read_at(&self, kind: ChunkKind, id: &ChunkId, at: &Located, unsqueezer: &mut Unsqueezer) -> Result<Vec<u8>> {
        self.read_there(kind, id, at, unsqueezer).or_else(|e| self.read_elsewhere(kind, id, at, unsqueezer, e))
    }

    fn read_there(&self, kind: ChunkKind, id: &ChunkId, at: &Located, unsqueezer: &mut Unsqueezer) -> Result<Vec<u8>> {
        self.with_record(id, at, |at, record| {
            let (pack, offset) = (at.sealed.pack, u64::from(at.place.offset));
            let bases = &mut |base: &ChunkId| self.base(base);
            read::open_record(&self.keys, unsqueezer, pack, offset, record, (kind, id), bases)
        })
    }

    /// The plain bytes of a base, from its own record: a base is never a delta. Bases that were read lately are kept in a
    /// sixteenth of the memory budget.
    ///
    /// # Errors
    /// [`Error::ChunkMissing`], [`Error::ChunkDamaged`], [`Error::Io`], [`Error::Index`].
    pub fn base(&self, id: &ChunkId) -> Result<Arc<Vec<u8>>> {
        if let Some(held) = self.bases.lock().unwrap_or_else(PoisonError::into_inner).held.get(id) {
            return Ok(Arc::clone(held));
        }
        let missing = || Error::ChunkMissing { chunk: id.to_string() };
        let at = self.find(std::slice::from_ref(id))?.pop().flatten().ok_or_else(missing)?;
        self.base_at(id, &at).or_else(|e| {
            let mut others = self.elsewhere(id, Some(at.place))?;
            others.extend(self.worth_a_try(id)?.into_iter().filter(|o| o.place != at.place));
            others.iter().find_map(|other| self.base_at(id, other).ok()).ok_or(e)
        })
    }

    /// As [`Store::base`], for a base whose place is known.
    ///
    /// # Errors
    /// As [`Store::base`].
    pub fn base_at(&self, id: &ChunkId, at: &Located) -> Result<Arc<Vec<u8>>> {
        if let Some(held) = self.bases.lock().unwrap_or_else(PoisonError::into_inner).held.get(id) {
            return Ok(Arc::clone(held));
        }
        // Not the caller's: that one is in use for what this is the base of.
        let mut unsqueezer = Unsqueezer::default();
        let plain = self.with_record(id, at, |at, record| {
            let (pack, offset) = (at.sealed.pack, u64::from(at.place.offset));
            let no_bases = &mut read::no_bases;
            read::open_record(&self.keys, &mut unsqueezer, pack, offset, record, (ChunkKind::Data, id), no_bases)
        })?;
        let plain = Arc::new(plain);
        let mut bases = self.bases.lock().unwrap_or_else(PoisonError::into_inner);
        bases.insert(*id, Arc::clone(&plain), self.memory_bytes / 16);
        Ok(plain)
    }

    /// What its record tells of a chunk of sound. `None` for any other, and where it cannot be read.
    pub fn pcm_form(&self, at: &Located) -> Option<Pcm> {
        let file = self.open_pack(&at.sealed).ok()?;
        let most = (at.place.stored as usize).min(HEADER_BYTES_MAX + pcm::FORM_BYTES);
        let mut bytes = vec![0; most];
        file.read_exact_at(&mut bytes, u64::from(at.place.offset)).ok()?;
        let header = Header::decode(at.sealed.pack, u64::from(at.place.offset), &bytes).ok()?;
        pcm::form_of(header.codec, bytes.get(header.header_bytes()..)?)
    }

    /// The plain bytes of a data chunk, kept for a while: mapped segments come back to the chunks they share.
    ///
    /// # Errors
    /// As [`Store::base`].
    pub fn data(&self, id: &ChunkId) -> Result<Arc<Vec<u8>>> {
        if let Some(held) = self.bases.lock().unwrap_or_else(PoisonError::into_inner).held.get(id) {
            return Ok(Arc::clone(held));
        }
        let plain = Arc::new(self.chunk(ChunkKind::Data, id)?);
        let mut bases = self.bases.lock().unwrap_or_else(PoisonError::into_inner);
        bases.insert(*id, Arc::clone(&plain), self.memory_bytes / 16);
        Ok(plain)
    }

    /// The file's bytes that a mapped segment stands for, proven.
    ///
    /// # Errors
    /// As [`Store::base`]; [`Error::Malformed`] where what comes out is not what was stored.
    pub fn rebuilt(&self, segment: &MappedSegment) -> Result<Vec<u8>> {
        let bad = |why| Error::Malformed { what: "a mapped segment", offset: segment.at, why };
        let mut parts = Vec::with_capacity(segment.parts.len());
        for chunks in &segment.parts {
            let mut bytes = Vec::new(); // bounded by the recipe's reader
            for part in chunks {
                let chunk = self.data(&part.id)?;
                let from = part.skip as usize;
                let of = chunk.get(from..from + part.bytes as usize);
                bytes.extend_from_slice(of.ok_or_else(|| bad("a chunk of it is shorter than its recipe says"))?);
            }
            parts.push(bytes);
        }
        let parts: Vec<&[u8]> = parts.iter().map(Vec::as_slice).collect();
        let how = SplitterId { number: segment.how.splitter, version: segment.how.version };
        // A segment is at most SEGMENT_BYTES long.
        let file = media::inverse(how, &segment.how.parameters, &parts, segment.bytes as usize)?;
        if self.keys.keyed_check(&file) == segment.how.check {
            Ok(file)
        } else {
            Err(bad("what was rebuilt is not what was stored"))
        }
    }

    /// How many deltas were counted on each base.
    ///
    /// # Errors
    /// [`Error::Index`].
    pub fn deltas_on(&self, bases: &[ChunkId]) -> Result<Vec<u32>> {
        self.index.deltas_on(bases)
    }

    /// For each feature the place of a chunk that had it last, as far as that is in a live pack on a disk that is here. Nothing
    /// is promised: whoever uses a place asks the pack's table what lies there.
    ///
    /// # Errors
    /// [`Error::Index`].
    pub fn resembling(&self, features: &[u64]) -> Result<Vec<Option<Located>>> {
        let places = self.index.resembling(features)?;
        Ok(self.with_state(|state| {
            let live = |place: Place| {
                let sealed = state.pack(place.pack)?.sealed;
                let whole = !state.is_damaged(&sealed.pack, u64::from(place.offset), u64::from(place.stored));
                (self.pool.holds(&sealed) && whole).then_some(Located { sealed, place })
            };
            places.into_iter().map(|p| p.and_then(live)).collect()
        }))
    }

    /// Bytes of the record at a place, if that can be.
    fn record_bytes(&self, at: &Located) -> Result<usize> {
        let n = at.place.stored as usize;
        if n > limits::RECORD_BYTES {
            return Err(Error::Limit {
                what: "a record's length in the index",
                got: n as u64,
                max: limits::RECORD_BYTES as u64,
            });
        }
        Ok(n)
    }

    /// The error for a record that the disk would not give.
    pub fn read_failed(&self, id: &ChunkId, at: &Located, e: std::io::Error) -> Error {
        let offset = u64::from(at.place.offset);
        Error::ChunkDamaged {
            chunk: id.to_string(),
            pack: at.sealed.pack.to_string(),
            offset,
            why: format!("it cannot be read: {e}"),
        }
    }
}

/// A chunk's place and the pack it is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Located {
    pub sealed: SealedPack,
    pub place: Place,
}

thread_local! {
    /// zstd's working memory for single reads; one a thread, since it is some hundred KiB.
    static UNSQUEEZER: std::cell::RefCell<Unsqueezer> = std::cell::RefCell::default();
}

impl ReadChunks for Store {
    /// Metadata chunks are kept in a cache of a sixteenth of the memory budget.
    fn chunk(&self, kind: ChunkKind, id: &ChunkId) -> Result<Vec<u8>> {
        let cached = !kind.is_data();
        if cached && let Some(node) = self.nodes.lock().unwrap_or_else(PoisonError::into_inner).held.get(id) {
            return Ok(node.as_ref().clone());
        }
        let missing = || Error::ChunkMissing { chunk: id.to_string() };
        let at = self.find(std::slice::from_ref(id))?.pop().flatten().ok_or_else(missing)?;
        let plain = UNSQUEEZER.with_borrow_mut(|u| self.read_at(kind, id, &at, u))?;
        if cached {
            let mut nodes = self.nodes.lock().unwrap_or_else(PoisonError::into_inner);
            nodes.insert(*id, Arc::new(plain.clone()), self.memory_bytes / 16);
        }
        Ok(plain)
    }
}

/// Whether a folder looks like a store or a disk of one.
///
/// # Errors
/// [`Error::Io`].
pub fn is_taken(io: &Io, folder: &Path) -> Result<bool> {
    for name in [MARKER_FILE, crate::format::text::DISKS_FILE] {
        let path = folder.join(name);
        if io.fs.stat(&path).map_err(Error::io("look at", path))?.is_some() {
            return Ok(true);
        }
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_note_tells_its_verb() {
        for verb in ["gc", "compact", "disk replace"] {
            assert_eq!(verb_of_note(lock_note(verb, 5).trim()), Some(verb));
        }
        assert_eq!(verb_of_note("pid 7 on a, gc, b, backup, since 5"), Some("backup"), "a host may be named so");
        assert_eq!(verb_of_note("it did not say who it is"), None);
    }
}
