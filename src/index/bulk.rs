//! A whole index from places in any order, in bounded memory.
//!
//! `recover` and every other rebuild feed what the packs' footers say, in the order in which the log
//! made those packs count; this module sorts it outside memory and hands it to [`Index::load_sorted`],
//! which writes it out once, without write-ahead log and compaction. It does not read packs.
//!
//! What always holds: of several places for one chunk the last one fed stays, as with
//! [`Index::apply`], and the index stands for no log entry before it is complete.

use std::path::Path;

use super::{Index, Order, Place, Reflected, Sorter};
use crate::error::{Error, Result};
use crate::format::id::ChunkId;
use crate::io::Io;

const ENTRY_BYTES: usize = ChunkId::BYTES + Place::BYTES;

/// Collects places and loads them into an empty index.
pub struct BulkLoad {
    sorter: Sorter<ENTRY_BYTES>,
}

impl BulkLoad {
    /// Begins a load that spills to `temporary` (an existing folder) and takes `memory_bytes` at most,
    /// besides the index's own memory.
    pub fn new(io: &Io, temporary: &Path, memory_bytes: usize) -> Result<BulkLoad> {
        Ok(BulkLoad { sorter: Sorter::new(io, temporary, memory_bytes, Order::LastOf { key_bytes: ChunkId::BYTES })? })
    }

    /// Takes places in. A later one for the same chunk replaces an earlier one.
    pub fn feed(&mut self, chunks: &[(ChunkId, Place)]) -> Result<()> {
        for (id, place) in chunks {
            let mut entry = [0; ENTRY_BYTES];
            let (key, value) = entry.split_at_mut(ChunkId::BYTES);
            key.copy_from_slice(&id.0);
            value.copy_from_slice(&place.encode());
            self.sorter.push(&entry)?;
        }
        Ok(())
    }

    /// Sorts what was fed into `index`, which must be empty, and sets the log entry it stands for.
    /// Returns the number of distinct chunks.
    ///
    /// # Errors
    /// Those of [`Index::load_sorted`] and of the temporary files. The index is then to be made anew.
    pub fn finish(self, index: &dyn Index, reflected: Reflected) -> Result<u64> {
        let mut sorted = self.sorter.finish()?;
        let mut next = || sorted.next()?.map(|entry| split(&entry)).transpose();
        index.load_sorted(&mut next, reflected)
    }
}

fn split(entry: &[u8; ENTRY_BYTES]) -> Result<(ChunkId, Place)> {
    let parts = entry.split_first_chunk().zip(entry.last_chunk());
    let Some(((id, _), place)) = parts else {
        return Err(Error::Malformed { what: "an entry of the index", offset: 0, why: "it is too short" });
    };
    Ok((ChunkId(*id), Place::decode(place)))
}
