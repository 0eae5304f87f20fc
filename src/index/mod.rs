//! Where each chunk lies: chunk id -> place.
//!
//! This floor owns the index that the other floors ask before a chunk is stored and before one is read,
//! and the external sort that builds it. It does not decide what belongs into it: packs and log are the
//! truth, and whoever follows the log applies what it says.
//!
//! Two kinds keep the same promises: [`rocks`] lies on disk and is what every real store uses;
//! [`memory`] is its twin for simulations, whose whole content can be put back to an earlier moment.
//!
//! # Invariants
//!
//! 1. The index is a cache. Whatever is lost or wrong in it can be made anew from the packs, so nothing
//!    here is synced before it is acknowledged, and nothing is removed from a store on its word.
//! 2. A batch is applied wholly or not at all, and the log entry that the index stands for
//!    ([`Index::reflected`]) moves in the same batch. After a crash the index stands for an earlier entry,
//!    never for one whose chunks it lost.
//! 3. Damage of the index's own files is an error or reported when it is opened. No answer is made from
//!    bytes whose check failed, and none ends the process.
//! 4. Memory is bounded by what the caller gave, however many chunks there are.

mod ahead;
pub mod bulk;
pub mod memory;
#[cfg(feature = "rocksdb")]
pub mod rocks;
pub mod sort;

pub use ahead::Ahead;
pub use bulk::BulkLoad;
pub use memory::MemoryIndex;
#[cfg(feature = "rocksdb")]
pub use rocks::{Mode, Opened, Options, RocksIndex};
pub use sort::{Order, Sorted, Sorter};

use crate::error::Result;
use crate::format::footer::Row;
use crate::format::id::{ChunkId, EntryHash};

/// Where a chunk's record lies.
///
/// ```text
///  offset  size  field
///       0     4  pack      the pack's serial in the log, little-endian like the rest
///       4     4  offset    of the record, bytes from the start of the pack
///       8     4  stored    length of the whole record in bytes, header and checks included
///      12     4  plain     length of the chunk's own bytes
/// ```
///
/// Nothing in it is believed before the pack's table confirms it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    pub pack: u32,
    pub offset: u32,
    pub stored: u32,
    pub plain: u32,
}

impl Place {
    pub const BYTES: usize = 16;

    /// The place of a row in the table of the pack with this serial.
    pub fn of(serial: u32, row: &Row) -> Place {
        let stored = row.header.record_bytes() as u32; // a record is at most RECORD_BYTES long
        Place { pack: serial, offset: row.offset, stored, plain: row.header.plain_bytes }
    }

    /// The sixteen bytes of the table above.
    pub fn encode(&self) -> [u8; Place::BYTES] {
        let mut bytes = [0; Place::BYTES];
        let fields = [self.pack, self.offset, self.stored, self.plain];
        for (into, field) in bytes.chunks_exact_mut(4).zip(fields) {
            into.copy_from_slice(&field.to_le_bytes()); // chunks_exact gives four bytes
        }
        bytes
    }

    /// Reads what [`Place::encode`] wrote. Any sixteen bytes are a place, if perhaps a wrong one.
    pub fn decode(bytes: &[u8; Place::BYTES]) -> Place {
        let n = u128::from_le_bytes(*bytes);
        let field = |i: u32| (n >> (32 * i)) as u32; // the cast takes the low 32 bits, which is the field
        Place { pack: field(0), offset: field(1), stored: field(2), plain: field(3) }
    }
}

/// The log entry that an index stands for: all that the log says up to it, and nothing after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Reflected {
    pub number: u64,
    pub hash: EntryHash,
}

impl Reflected {
    pub const BYTES: usize = 8 + EntryHash::BYTES;

    /// The number, little-endian, then the hash.
    pub fn encode(&self) -> [u8; Reflected::BYTES] {
        let mut bytes = [0; Reflected::BYTES];
        let (number, hash) = bytes.split_at_mut(8);
        number.copy_from_slice(&self.number.to_le_bytes());
        hash.copy_from_slice(&self.hash.0);
        bytes
    }

    /// Reads what [`Reflected::encode`] wrote; `None` if the length is another.
    pub fn decode(bytes: &[u8]) -> Option<Reflected> {
        let (number, hash) = bytes.split_first_chunk::<8>()?;
        Some(Reflected { number: u64::from_le_bytes(*number), hash: EntryHash(hash.try_into().ok()?) })
    }
}

/// How large an index is and what it holds in memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Statistics {
    /// Chunks in the index. An estimate: what was overwritten or removed lately may be counted.
    pub chunks_estimate: u64,
    /// Bytes of all its files.
    pub bytes_on_disk: u64,
    /// Bytes in memory: the three below together.
    pub memory_bytes: u64,
    /// Bytes in memory for blocks, filters and top-level indexes.
    pub cache_bytes: u64,
    /// Bytes in memory that are in no sorted file yet.
    pub buffer_bytes: u64,
    /// Bytes in memory for open files.
    pub reader_bytes: u64,
    /// Sorted files that a look-up may have to ask.
    pub tables: u64,
}

/// The next of a sequence in ascending order of ids; `None` at its end.
pub type NextEntry<'a> = &'a mut dyn FnMut() -> Result<Option<(ChunkId, Place)>>;

/// What [`Index::for_each`] hands each entry to; `false` ends the walk.
pub type Visit<'a> = &'a mut dyn FnMut(ChunkId, Place) -> Result<bool>;

/// What [`Index::for_each_count`] hands each value to; `false` ends the walk.
pub type VisitCount<'a> = &'a mut dyn FnMut(ChunkId, &[u8]) -> Result<bool>;

/// Chunk id -> place, and the log entry this stands for.
///
/// Every call may fail with [`crate::error::Error::Index`]; then the index is to be left alone or made
/// anew, and the store's data is as it was.
pub trait Index: Send + Sync {
    /// Looks one chunk up.
    fn get(&self, id: &ChunkId) -> Result<Option<Place>>;

    /// Looks many chunks up at once, and answers in the order asked. Ids may repeat.
    ///
    /// # Errors
    /// The first that any of the look-ups met; the others' answers are then lost.
    fn get_many(&self, ids: &[ChunkId]) -> Result<Vec<Option<Place>>>;

    /// The log entry the index stands for; `None` for an index that was never filled, or not wholly.
    fn reflected(&self) -> Result<Option<Reflected>>;

    /// Puts chunks and moves [`Index::reflected`] on if one is given, as one atomic batch. A later place
    /// for an id replaces an earlier one, within the batch as well as between batches.
    ///
    /// The batch is not synced: after power loss the index may stand for an earlier entry. It takes
    /// about 60 bytes of memory a chunk while it is made, so callers bound it.
    fn apply(&self, chunks: &[(ChunkId, Place)], reflected: Option<Reflected>) -> Result<()>;

    /// Removes chunks, as one atomic batch. Ids that are not there are passed over.
    fn remove(&self, ids: &[ChunkId]) -> Result<()>;

    /// Visits every chunk from `start` on (or from the first) in ascending order of ids, as of the
    /// moment of the call.
    ///
    /// # Errors
    /// Those of `visit`, which end the walk, besides the index's own.
    fn for_each(&self, start: Option<ChunkId>, visit: Visit<'_>) -> Result<()>;

    /// Fills an empty index from a sequence in strictly ascending order, and sets [`Index::reflected`]
    /// last. Returns how many chunks there were. [`BulkLoad`] makes such a sequence from any order.
    ///
    /// # Errors
    /// [`crate::error::Error::Index`] if the index holds a chunk already or the order is another;
    /// whatever `next` gives. After an error `reflected` is unset and the index is to be made anew.
    fn load_sorted(&self, next: NextEntry<'_>, reflected: Reflected) -> Result<u64>;

    /// For each feature the chunk that had it last, in the order asked. Features are a help, not a promise: some may
    /// be forgotten to keep to a budget.
    fn resembling(&self, features: &[u64]) -> Result<Vec<Option<Place>>>;

    /// Puts features of chunks; a later chunk takes an earlier one's feature.
    fn put_features(&self, features: &[(u64, Place)]) -> Result<()>;

    /// How many deltas were counted on each of these bases, in the order asked. May be too many where counts came twice
    /// after a crash, never too few but for what the index lost.
    fn deltas_on(&self, bases: &[ChunkId]) -> Result<Vec<u32>>;

    /// Counts one more delta on each base; one that comes twice gets two.
    fn count_deltas(&self, bases: &[ChunkId]) -> Result<()>;

    /// What gc keeps of each of these chunks, in the order asked: [`Index::put_counts`] wrote it. What it means is gc's
    /// affair.
    fn counts(&self, ids: &[ChunkId]) -> Result<Vec<Option<Vec<u8>>>>;

    /// Keeps a value for each of these chunks, or none where it is empty, and what they all stand for if `state` is
    /// given, as one atomic batch.
    fn put_counts(&self, counts: &[(ChunkId, Vec<u8>)], state: Option<&[u8]>) -> Result<()>;

    /// What the counts stand for; `None` where there are none that can be used.
    fn counts_state(&self) -> Result<Option<Vec<u8>>>;

    /// Forgets what the counts stand for, and with `all` the counts too.
    fn clear_counts(&self, all: bool) -> Result<()>;

    /// Visits every count in ascending order of ids.
    ///
    /// # Errors
    /// Those of `visit`, which end the walk, besides the index's own.
    fn for_each_count(&self, visit: VisitCount<'_>) -> Result<()>;

    /// How large the index is.
    fn statistics(&self) -> Result<Statistics>;

    /// Writes what is in memory to sorted files and makes it durable.
    fn flush(&self) -> Result<()>;
}

#[cfg(test)]
mod tests;
