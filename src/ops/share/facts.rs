//! What a chunk's own record says of it: codec, bases, stored bytes.

use super::is_of_one_place;
use crate::error::Result;
use crate::format::record::{Codec, HEADER_BYTES_MAX, Header};
use crate::format::{ChunkId, DiskId};
use crate::pool::PackStore;
use crate::store::{Located, Store};

/// Chunks that are looked up at once.
pub const BATCH: usize = 1024;
/// Bytes of a record's row in its pack's table beside the header that it repeats.
const ROW_OFFSET_BYTES: u64 = 4;

/// What a record's header says, and where it lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fact {
    pub codec: Codec,
    pub plain_bytes: u32,
    /// The payload's.
    pub stored_bytes: u32,
    /// The whole record's, and its row's in the pack's table.
    pub record_bytes: u64,
    pub bases: Box<[ChunkId]>,
    /// The pack's serial, its disk, and the record's offset.
    pub pack: u32,
    pub disk: DiskId,
    pub offset: u32,
}

impl Fact {
    /// Of a record with this header in a pack.
    pub fn of(header: &Header, pack: u32, disk: DiskId, offset: u32) -> Fact {
        Fact {
            codec: header.codec,
            plain_bytes: header.plain_bytes,
            stored_bytes: header.stored_bytes,
            record_bytes: header.record_bytes() + ROW_OFFSET_BYTES + header.header_bytes() as u64,
            bases: header.bases.clone().into(),
            pack,
            disk,
            offset,
        }
    }

    /// Plain bytes that the codec spared.
    pub fn saved_bytes(&self) -> u32 {
        self.plain_bytes.saturating_sub(self.stored_bytes)
    }
}

/// What the records of these chunks say, in the order asked; `None` for one that cannot be had. Reads a header a chunk,
/// in the order of disks, packs and offsets.
///
/// # Errors
/// [`crate::Error::Index`].
pub fn of(store: &Store, ids: &[ChunkId]) -> Result<Vec<Option<Fact>>> {
    let mut facts: Vec<Option<Fact>> = vec![None; ids.len()];
    let mut wanted: Vec<(usize, Located)> =
        store.locate(ids)?.into_iter().enumerate().filter_map(|(i, at)| Some((i, at?))).collect();
    wanted.sort_unstable_by_key(|(_, at)| (at.sealed.disk, at.place.pack, at.place.offset));
    for (i, at) in wanted {
        match header(store, &at) {
            Ok(header) if header.id == ids[i] => {
                facts[i] = Some(Fact::of(&header, at.place.pack, at.sealed.disk, at.place.offset)); // one slot an id
            }
            Ok(_) => {} // the index lies
            Err(e) if is_of_one_place(&e) => {}
            Err(e) => return Err(e),
        }
    }
    Ok(facts)
}

fn header(store: &Store, at: &Located) -> Result<Header> {
    let file = store.open_pack(&at.sealed)?;
    let mut bytes = vec![0; (at.place.stored as usize).min(HEADER_BYTES_MAX)];
    let offset = u64::from(at.place.offset);
    file.read_exact_at(&mut bytes, offset)
        .map_err(crate::Error::io("read a record of", store.pool().place(&at.sealed)))?;
    Header::decode(at.sealed.pack, offset, &bytes)
}
