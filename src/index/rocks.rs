//! The index on disk: RocksDB, in the folder `index/` of a store.
//!
//! Owns that folder: it is made, opened, filled and destroyed here. Whether an index is brought forward
//! or made anew is for whoever knows the log. RocksDB does its own reading and writing; it is a cache,
//! so no promise on durability depends on it.
//!
//! ```text
//! column family  key                  value
//! chunk          chunk id, 32 bytes   Place, 16 bytes
//! feature        feature, 8 bytes     Place of the chunk that had it last, 16 bytes
//! deltas         chunk id, 32 bytes   deltas that were coded against it, 4 bytes little-endian
//! count          chunk id, 32 bytes   what gc keeps of it (`ops::gc`)
//! meta           "schema"             version, 4 bytes little-endian
//!                "store"              store id, 16 bytes
//!                "counts"             what `count` stands for (`ops::gc`); absent where it cannot be used
//!                "reflected"          Reflected, 40 bytes; absent until the index was filled
//! ```
//!
//! # Invariants
//!
//! 1. One process writes (RocksDB's own lock on the folder). Any number read beside it; they see the
//!    moment at which they opened, and change nothing in the folder.
//! 2. Every block is checked when it is read from disk (XXH3), every log record and every entry of the
//!    manifest when it is opened (CRC-32C). What does not match is an error.
//! 3. Chunks and `reflected` are written by one batch and flushed together.
//! 4. An index that cannot be used is no error of the store: [`Opened`] tells what to do.

mod load;
mod settings;

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::io::ErrorKind as IoKind;
use std::path::{Path, PathBuf};

use rocksdb::{
    Cache, ColumnFamily, ColumnFamilyDescriptor, DBRawIteratorWithThreadMode, DBWithThreadMode, ErrorKind,
    FlushOptions, ReadOptions, SingleThreaded, WriteBatch, WriteOptions, properties,
};

use super::{Index, NextEntry, Place, Reflected, Statistics, Visit, VisitCount};
use crate::error::{Error, Result};
use crate::format::id::{ChunkId, StoreId};
use crate::io::real::RealFs;
use crate::io::{Fs, Kind};
use settings::Budget;
pub use settings::MEMORY_BYTES_MIN;

type Db = DBWithThreadMode<SingleThreaded>;
type RawIterator<'a> = DBRawIteratorWithThreadMode<'a, Db>;

/// Changes when an older index cannot be read any more; it is then made anew.
const SCHEMA: u32 = 4;
const CHUNK: &str = "chunk";
const FEATURE: &str = "feature";
/// Features beyond so many bytes of sorted files are not kept: at 30 bytes each those of half a billion chunks.
const FEATURE_BYTES_MAX: u64 = 64 << 30;
const DELTAS: &str = "deltas";
const COUNT: &str = "count";
const META: &str = "meta";
const KEY_SCHEMA: &str = "schema";
const KEY_STORE: &str = "store";
const KEY_COUNTS: &str = "counts";
const KEY_REFLECTED: &str = "reflected";

/// The file that makes a folder a database.
const CURRENT: &str = "CURRENT";
/// Begins the names of sorted files that are not part of the database yet.
const UNFINISHED_PREFIX: &str = ".bulk-";
/// Look-ups that are given to the database at once. Each may hold a block of 16 KiB in the cache until
/// all are answered, so this bounds them to 4 MiB.
const LOOKUPS_MAX: usize = 256;
/// How often a reader tries when the writer changes the files under its eyes.
const READER_ATTEMPTS: u32 = 8;

/// Whether the index may be changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// As the only writer. Fails while another process has it open in this mode.
    ReadWrite,
    /// As it is now, beside a writer or not. Creates and changes no file.
    ReadOnly,
}

/// How an index is opened.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Bytes of memory for cache and write buffers; [`MEMORY_BYTES_MIN`] at least. Beyond it, a reader
    /// takes what a writer beside it has not written to sorted files: at most 128 MiB.
    pub memory_bytes: u64,
    pub mode: Mode,
}

/// What opening an index came to.
pub enum Opened {
    Ready(RocksIndex),
    /// There is no folder, or an empty one: [`RocksIndex::create`].
    Missing,
    /// There is something that is not this store's index, or a damaged one:
    /// [`RocksIndex::destroy`] and [`RocksIndex::create`].
    Unusable {
        why: String,
    },
}

/// The index of a real store.
pub struct RocksIndex {
    db: Db,
    cache: Cache,
    budget: Budget,
    path: PathBuf,
    mode: Mode,
}

impl RocksIndex {
    /// Opens the index of `store` in the folder `path`.
    ///
    /// # Errors
    /// [`Error::Index`] if the index may be sound but cannot be used now: another process writes to it,
    /// no permission, no room, too many open files. Making it anew would not help then.
    pub fn open(path: &Path, store: StoreId, options: Options) -> Result<Opened> {
        let mut attempt = 1;
        loop {
            let before = match names(path) {
                Ok(Some(names)) if names.is_empty() => return Ok(Opened::Missing),
                Ok(Some(names)) => names,
                Ok(None) => return Ok(Opened::Missing),
                Err(e) if e.kind() == IoKind::NotADirectory => {
                    return Ok(Opened::Unusable { why: "it is no folder".into() });
                }
                Err(e) => return Err(Error::io("list", path)(e)),
            };
            if !before.contains(&OsString::from(CURRENT)) {
                return Ok(Opened::Unusable { why: "its file CURRENT is missing".into() });
            }
            let opened = Self::attempt(path, store, options);
            // A reader beside a writer may have seen a file named that was removed before it was opened,
            // and a log removed unseen would be a hole. Either shows in a name that is gone.
            if options.mode == Mode::ReadWrite
                || names(path).is_ok_and(|now| now.is_some_and(|n| n.is_superset(&before)))
            {
                return opened;
            }
            if attempt == READER_ATTEMPTS {
                return Ok(Opened::Unusable { why: "it changed during every attempt to read it".into() });
            }
            attempt += 1;
        }
    }

    fn attempt(path: &Path, store: StoreId, options: Options) -> Result<Opened> {
        let index = match Self::open_database(path, options, false) {
            Ok(index) => index,
            Err(e) => return unusable(path, e),
        };
        let damaged = |e: Error| Ok(Opened::Unusable { why: e.to_string() });
        let (schema, owner) = match (index.meta(KEY_SCHEMA), index.meta(KEY_STORE), index.reflected()) {
            (Ok(schema), Ok(owner), Ok(_)) => (schema, owner),
            (Err(e), _, _) | (_, Err(e), _) | (_, _, Err(e)) => return damaged(e),
        };
        if schema.as_deref() != Some(&SCHEMA.to_le_bytes()) {
            return Ok(Opened::Unusable { why: format!("its schema is {schema:?}, this version uses {SCHEMA}") });
        }
        if owner.as_deref() != Some(&store.0) {
            return Ok(Opened::Unusable { why: "it belongs to another store".into() });
        }
        Ok(Opened::Ready(index))
    }

    /// Makes an empty index for `store` in the folder `path`, which does not exist or is empty.
    ///
    /// # Errors
    /// [`Error::Index`] if there is an index already, if `options` ask for reading only, or if it cannot
    /// be made.
    pub fn create(path: &Path, store: StoreId, options: Options) -> Result<RocksIndex> {
        if options.mode == Mode::ReadOnly {
            return Err(refused(path, "create it", READ_ONLY));
        }
        let index = Self::open_database(path, options, true).map_err(failed(path, "create it"))?;
        let mut batch = WriteBatch::default();
        let meta = index.family(META)?;
        batch.put_cf(meta, KEY_SCHEMA, SCHEMA.to_le_bytes());
        batch.put_cf(meta, KEY_STORE, store.0);
        let mut durable = WriteOptions::default();
        durable.set_sync(true);
        index.db.write_opt(batch, &durable).map_err(failed(path, "create it"))?;
        Ok(index)
    }

    /// Removes everything in the folder `path`, and leaves the folder. Fine where there is none.
    ///
    /// # Errors
    /// [`Error::Index`] if a process has it open for writing; [`Error::Io`] if something cannot be
    /// removed, a folder that RocksDB does not make among it.
    pub fn destroy(path: &Path) -> Result<()> {
        let Some(all) = names(path).map_err(Error::io("list", path))? else {
            return Ok(());
        };
        if all.is_empty() {
            return Ok(());
        }
        // This one looks at the lock first.
        Db::destroy(&rocksdb::Options::default(), path).map_err(failed(path, "destroy it"))?;
        // What is left: unfinished bulk loads, and whatever RocksDB does not know by name.
        for entry in names(path).map_err(Error::io("list", path))?.unwrap_or_default() {
            let leftover = path.join(entry);
            let kind = RealFs.stat(&leftover).map_err(Error::io("look at", &leftover))?;
            match kind {
                Some((Kind::Dir, _)) => RealFs.remove_dir(&leftover),
                _ => RealFs.remove_file(&leftover),
            }
            .map_err(Error::io("remove", &leftover))?;
        }
        Ok(())
    }

    fn open_database(path: &Path, options: Options, create: bool) -> Result<RocksIndex, rocksdb::Error> {
        let budget = Budget::of(options.memory_bytes);
        let cache = settings::cache(&budget);
        let mut all = settings::database(&budget, options.mode)?;
        all.create_if_missing(create);
        all.create_missing_column_families(create);
        all.set_error_if_exists(create);
        let families = [
            ColumnFamilyDescriptor::new(CHUNK, settings::chunks(&budget, &cache)),
            ColumnFamilyDescriptor::new(FEATURE, settings::chunks(&budget, &cache)),
            ColumnFamilyDescriptor::new(DELTAS, settings::chunks(&budget, &cache)),
            ColumnFamilyDescriptor::new(COUNT, settings::chunks(&budget, &cache)),
            ColumnFamilyDescriptor::new(META, settings::meta(&cache)),
            // RocksDB insists on it; nothing is written to it.
            ColumnFamilyDescriptor::new(rocksdb::DEFAULT_COLUMN_FAMILY_NAME, settings::meta(&cache)),
        ];
        let db = match options.mode {
            Mode::ReadWrite => Db::open_cf_descriptors(&all, path, families)?,
            Mode::ReadOnly => Db::open_cf_descriptors_read_only(&all, path, families, false)?,
        };
        Ok(RocksIndex { db, cache, budget, path: path.to_path_buf(), mode: options.mode })
    }

    fn family(&self, name: &'static str) -> Result<&ColumnFamily> {
        self.db.cf_handle(name).ok_or_else(|| refused(&self.path, "find a column family", name))
    }

    fn meta(&self, key: &str) -> Result<Option<Vec<u8>>> {
        self.db.get_cf(self.family(META)?, key).map_err(failed(&self.path, "read what it stands for"))
    }

    fn place(&self, value: &[u8]) -> Result<Place> {
        match value.try_into() {
            Ok(value) => Ok(Place::decode(value)),
            Err(_) => Err(refused(&self.path, "look a chunk up", &format!("a place has {} bytes", value.len()))),
        }
    }

    fn write(&self, action: &'static str, batch: WriteBatch) -> Result<()> {
        if batch.is_empty() {
            return Ok(());
        }
        if self.mode == Mode::ReadOnly {
            return Err(refused(&self.path, action, READ_ONLY));
        }
        self.db.write(batch).map_err(failed(&self.path, action))
    }

    /// A walk over the chunks that leaves the cache to look-ups.
    fn walk(&self) -> Result<RawIterator<'_>> {
        let mut read = ReadOptions::default();
        read.fill_cache(false);
        read.set_readahead_size(self.budget.transfer);
        Ok(self.db.raw_iterator_cf_opt(self.family(CHUNK)?, read))
    }

    fn number(&self, family: &ColumnFamily, property: &rocksdb::properties::PropName) -> Result<u64> {
        let value = self.db.property_int_value_cf(family, property).map_err(failed(&self.path, "measure it"))?;
        Ok(value.unwrap_or(0))
    }
}

impl Index for RocksIndex {
    fn get(&self, id: &ChunkId) -> Result<Option<Place>> {
        let found = self.db.get_pinned_cf(self.family(CHUNK)?, id.0).map_err(failed(&self.path, "look a chunk up"))?;
        found.map(|value| self.place(&value)).transpose()
    }

    fn get_many(&self, ids: &[ChunkId]) -> Result<Vec<Option<Place>>> {
        let family = self.family(CHUNK)?;
        let mut order: Vec<(ChunkId, usize)> = ids.iter().enumerate().map(|(i, id)| (*id, i)).collect();
        order.sort_unstable();
        let mut answers = vec![None; ids.len()];
        // Of equal ids the first is asked for, and its answer serves the others.
        let groups: Vec<&[(ChunkId, usize)]> = order.chunk_by(|a, b| a.0 == b.0).collect();
        for asked in groups.chunks(LOOKUPS_MAX) {
            let keys = asked.iter().filter_map(|group| group.first()).map(|(id, _)| &id.0);
            let found = self.db.batched_multi_get_cf(family, keys, true);
            for (group, value) in asked.iter().zip(found) {
                let Some(value) = value.map_err(failed(&self.path, "look chunks up"))? else {
                    continue;
                };
                let place = self.place(&value)?;
                for (_, i) in *group {
                    answers[*i] = Some(place); // a position in `ids`, which is as long
                }
            }
        }
        Ok(answers)
    }

    fn reflected(&self) -> Result<Option<Reflected>> {
        let Some(value) = self.meta(KEY_REFLECTED)? else {
            return Ok(None);
        };
        match Reflected::decode(&value) {
            Some(reflected) => Ok(Some(reflected)),
            None => Err(refused(&self.path, "read what it stands for", &format!("it has {} bytes", value.len()))),
        }
    }

    fn apply(&self, chunks: &[(ChunkId, Place)], reflected: Option<Reflected>) -> Result<()> {
        let family = self.family(CHUNK)?;
        // Tag, family and two lengths take at most four bytes more a chunk.
        let mut batch = WriteBatch::with_capacity_bytes(chunks.len().saturating_mul(32 + 16 + 4).saturating_add(128));
        for (id, place) in chunks {
            batch.put_cf(family, id.0, place.encode());
        }
        if let Some(reflected) = reflected {
            batch.put_cf(self.family(META)?, KEY_REFLECTED, reflected.encode());
        }
        self.write("put chunks", batch)
    }

    fn remove(&self, ids: &[ChunkId]) -> Result<()> {
        let family = self.family(CHUNK)?;
        let mut batch = WriteBatch::default();
        for id in ids {
            batch.delete_cf(family, id.0);
        }
        self.write("remove chunks", batch)
    }

    fn for_each(&self, start: Option<ChunkId>, visit: Visit<'_>) -> Result<()> {
        let mut walk = self.walk()?;
        match start {
            Some(id) => walk.seek(id.0),
            None => walk.seek_to_first(),
        }
        while let Some((key, value)) = walk.item() {
            let Ok(id) = key.try_into() else {
                return Err(refused(&self.path, "walk over it", &format!("an id has {} bytes", key.len())));
            };
            if !visit(ChunkId(id), self.place(value)?)? {
                return Ok(());
            }
            walk.next();
        }
        walk.status().map_err(failed(&self.path, "walk over it"))
    }

    fn load_sorted(&self, next: NextEntry<'_>, reflected: Reflected) -> Result<u64> {
        load::load_sorted(self, next, reflected)
    }

    fn resembling(&self, features: &[u64]) -> Result<Vec<Option<Place>>> {
        let family = self.family(FEATURE)?;
        let mut order: Vec<([u8; 8], usize)> = features.iter().enumerate().map(|(i, f)| (f.to_be_bytes(), i)).collect();
        order.sort_unstable();
        let mut answers = vec![None; features.len()];
        for asked in order.chunks(LOOKUPS_MAX) {
            let found = self.db.batched_multi_get_cf(family, asked.iter().map(|(key, _)| key), true);
            for ((_, i), value) in asked.iter().zip(found) {
                if let Some(value) = value.map_err(failed(&self.path, "look features up"))? {
                    answers[*i] = Some(self.place(&value)?); // a position in `features`, which is as long
                }
            }
        }
        Ok(answers)
    }

    fn put_features(&self, features: &[(u64, Place)]) -> Result<()> {
        if features.is_empty() {
            return Ok(());
        }
        let family = self.family(FEATURE)?;
        if self.number(family, properties::ESTIMATE_LIVE_DATA_SIZE)? > FEATURE_BYTES_MAX {
            return Ok(());
        }
        let mut batch = WriteBatch::with_capacity_bytes(features.len().saturating_mul(8 + 16 + 4).saturating_add(16));
        for (feature, place) in features {
            batch.put_cf(family, feature.to_be_bytes(), place.encode());
        }
        self.write("put features", batch)
    }

    fn deltas_on(&self, bases: &[ChunkId]) -> Result<Vec<u32>> {
        let found =
            self.db.multi_get_cf(bases.iter().map(|id| Ok((self.family(DELTAS)?, id.0))).collect::<Result<Vec<_>>>()?);
        let mut counts = Vec::with_capacity(bases.len());
        for value in found {
            let value = value.map_err(failed(&self.path, "look up counts of deltas"))?;
            counts.push(value.and_then(|v| v.try_into().ok()).map_or(0, u32::from_le_bytes));
        }
        Ok(counts)
    }

    fn count_deltas(&self, bases: &[ChunkId]) -> Result<()> {
        if bases.is_empty() {
            return Ok(());
        }
        let mut sorted = bases.to_vec();
        sorted.sort_unstable();
        let groups: Vec<&[ChunkId]> = sorted.chunk_by(|a, b| a == b).collect();
        let ids: Vec<ChunkId> = groups.iter().filter_map(|g| g.first()).copied().collect();
        let family = self.family(DELTAS)?;
        let mut batch = WriteBatch::default();
        for ((id, group), before) in ids.iter().zip(&groups).zip(self.deltas_on(&ids)?) {
            let more = u32::try_from(group.len()).unwrap_or(u32::MAX);
            batch.put_cf(family, id.0, before.saturating_add(more).to_le_bytes());
        }
        self.write("count deltas", batch)
    }

    fn counts(&self, ids: &[ChunkId]) -> Result<Vec<Option<Vec<u8>>>> {
        let family = self.family(COUNT)?;
        let mut order: Vec<(ChunkId, usize)> = ids.iter().enumerate().map(|(i, id)| (*id, i)).collect();
        order.sort_unstable();
        let mut answers = vec![None; ids.len()];
        for asked in order.chunks(LOOKUPS_MAX) {
            let found = self.db.batched_multi_get_cf(family, asked.iter().map(|(id, _)| &id.0), true);
            for ((_, i), value) in asked.iter().zip(found) {
                // a position in `ids`, which is as long
                answers[*i] = value.map_err(failed(&self.path, "look up counts"))?.map(|v| v.to_vec());
            }
        }
        Ok(answers)
    }

    fn put_counts(&self, counts: &[(ChunkId, Vec<u8>)], state: Option<&[u8]>) -> Result<()> {
        let family = self.family(COUNT)?;
        let mut batch = WriteBatch::default();
        for (id, value) in counts {
            if value.is_empty() {
                batch.delete_cf(family, id.0);
            } else {
                batch.put_cf(family, id.0, value);
            }
        }
        if let Some(state) = state {
            batch.put_cf(self.family(META)?, KEY_COUNTS, state);
        }
        self.write("put counts", batch)
    }

    fn counts_state(&self) -> Result<Option<Vec<u8>>> {
        self.meta(KEY_COUNTS)
    }

    fn clear_counts(&self, all: bool) -> Result<()> {
        let mut batch = WriteBatch::default();
        batch.delete_cf(self.family(META)?, KEY_COUNTS);
        if all {
            batch.delete_range_cf(self.family(COUNT)?, [0; 32].as_slice(), [0xff; 33].as_slice()); // behind every id
        }
        self.write("clear counts", batch)
    }

    fn for_each_count(&self, visit: VisitCount<'_>) -> Result<()> {
        let mut read = ReadOptions::default();
        read.fill_cache(false);
        let mut walk = self.db.raw_iterator_cf_opt(self.family(COUNT)?, read);
        walk.seek_to_first();
        while let Some((key, value)) = walk.item() {
            let Ok(id) = key.try_into() else {
                return Err(refused(&self.path, "walk over counts", &format!("an id has {} bytes", key.len())));
            };
            if !visit(ChunkId(id), value)? {
                return Ok(());
            }
            walk.next();
        }
        walk.status().map_err(failed(&self.path, "walk over counts"))
    }

    fn statistics(&self) -> Result<Statistics> {
        let chunk = self.family(CHUNK)?;
        let all = [chunk, self.family(FEATURE)?, self.family(DELTAS)?, self.family(COUNT)?, self.family(META)?];
        let sum = |property| all.iter().map(|family| self.number(family, property)).sum::<Result<u64>>();
        let cache_bytes = self.cache.get_usage() as u64;
        let buffer_bytes = sum(properties::SIZE_ALL_MEM_TABLES)?;
        let reader_bytes = sum(properties::ESTIMATE_TABLE_READERS_MEM)?;
        let mut bytes_on_disk = 0;
        for name in names(&self.path).map_err(Error::io("list", &self.path))?.unwrap_or_default() {
            let file = self.path.join(name);
            // A file may be gone since it was listed.
            if let Some((Kind::File, len)) = RealFs.stat(&file).map_err(Error::io("look at", &file))? {
                bytes_on_disk += len;
            }
        }
        Ok(Statistics {
            chunks_estimate: self.number(chunk, properties::ESTIMATE_NUM_KEYS)?,
            bytes_on_disk,
            memory_bytes: cache_bytes + buffer_bytes + reader_bytes,
            cache_bytes,
            buffer_bytes,
            reader_bytes,
            tables: self.db.get_column_family_metadata_cf(chunk).file_count as u64,
        })
    }

    fn flush(&self) -> Result<()> {
        if self.mode == Mode::ReadOnly {
            return Err(refused(&self.path, "flush it", READ_ONLY));
        }
        let families = [CHUNK, FEATURE, DELTAS, COUNT, META].map(|name| self.family(name));
        let families = families.into_iter().collect::<Result<Vec<_>>>()?;
        self.db.flush_cfs_opt(&families, &FlushOptions::default()).map_err(failed(&self.path, "flush it"))
    }
}

const READ_ONLY: &str = "it is open for reading only";

fn refused(path: &Path, action: &'static str, why: &str) -> Error {
    Error::Index { action, path: path.to_path_buf(), why: why.to_owned() }
}

fn failed<'a>(path: &'a Path, action: &'static str) -> impl FnOnce(rocksdb::Error) -> Error + 'a {
    move |e| Error::Index { action, path: path.to_path_buf(), why: e.into_string() }
}

/// The names in a folder; `None` if there is no folder.
fn names(path: &Path) -> std::io::Result<Option<BTreeSet<OsString>>> {
    match RealFs.list(path) {
        Ok(entries) => Ok(Some(entries.into_iter().map(|entry| entry.name).collect())),
        Err(e) if e.kind() == IoKind::NotFound => Ok(None),
        Err(e) => Err(e),
    }
}

/// Tells a failure to open that another index would mend from one that it would not.
///
/// RocksDB gives its errors as text; what the system said stands at its end.
fn unusable(path: &Path, e: rocksdb::Error) -> Result<Opened> {
    let mends = match e.kind() {
        // "Input/output error": the bytes are lost, others are written elsewhere.
        ErrorKind::IOError => ["No such file or directory", "Input/output error", "Is a directory", "Not a directory"]
            .iter()
            .any(|said| e.as_ref().contains(said)),
        ErrorKind::Busy | ErrorKind::TimedOut | ErrorKind::ShutdownInProgress | ErrorKind::TryAgain => false,
        _ => true,
    };
    let why = e.into_string();
    if mends {
        Ok(Opened::Unusable { why })
    } else {
        Err(Error::Index { action: "open it", path: path.to_path_buf(), why })
    }
}

#[cfg(test)]
mod damage;
#[cfg(test)]
pub(in crate::index) mod tests;
