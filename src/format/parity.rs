//! A parity pack's ends: the header with its group, and the trailer.
//!
//! ```text
//! parity  := header payload table trailer:96
//! header  := magic:8 version:u16 slot:u8 reserved:1 header bytes:u32 store:16 pack:12 length:u32 group zero* check:8
//! trailer := magic:8 pack:12 header bytes:u32 payload bytes:u64 table offset:u64 file bytes:u64 root:32
//!            reserved:8 check:8
//! ```
//! The header is a multiple of 4096 bytes long, so the payload begins where a page does. `group` is the
//! group's record, `length` bytes long, with zeros for the roots of the parity packs: a root covers the header.
//! The payload is as long as the longest member, rounded up to 64 bytes. The table has 16 bytes for the
//! header, then 16 for each MiB of the payload (XXH3-128), so that a unit of the payload covers the same bytes
//! of each member's file; the root is BLAKE3 over the table. Both checks are seeded with pack and offset.

use super::check;
use super::group::Group;
use super::id::{PackId, StoreId};
use super::limits;
use super::wire::{Put, Reader};
use crate::error::Result;

const HEADER_MAGIC: [u8; 8] = *b"OFPARI1\n";
const TRAILER_MAGIC: [u8; 8] = *b"OFPTAI1\n";
/// A header's length is a multiple of this.
pub const HEADER_STEP: usize = 4096;
/// Bytes before a header's group.
const HEADER_FIXED: usize = 48;
const _: () = assert!(8 + 2 + 1 + 1 + 4 + 16 + 12 + 4 == HEADER_FIXED);
/// Bytes of a trailer.
pub const TRAILER_BYTES: usize = 96;
const _: () = assert!(8 + 12 + 4 + 8 + 8 + 8 + 32 + 8 + 8 == TRAILER_BYTES);
/// A group's record with 255 members and a header's fixed parts fit.
pub const HEADER_BYTES_MAX: usize = 4 * HEADER_STEP;
const _: () = assert!(HEADER_FIXED + 20 + limits::GROUP_MEMBERS * 54 + 8 <= HEADER_BYTES_MAX);

/// Bytes of the payload for a longest member of so many.
pub fn payload_bytes(longest: u64) -> u64 {
    longest.next_multiple_of(64) // a member is at most PACK_BYTES long
}

/// The first bytes of a parity pack.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParityHeader {
    pub store: StoreId,
    pub pack: PackId,
    /// Its place in the group.
    pub slot: u8,
    /// The roots of parity members are zeros here.
    pub group: Group,
}

impl ParityHeader {
    pub fn encode(&self) -> Vec<u8> {
        let mut group = Vec::new();
        self.group.encode_into(&mut group);
        let bytes = (HEADER_FIXED + group.len() + 8).next_multiple_of(HEADER_STEP);
        let mut b = Vec::with_capacity(bytes);
        b.put(&HEADER_MAGIC);
        b.put_u16(super::FORMAT_VERSION);
        b.put_u8(self.slot);
        b.put_u8(0);
        b.put_u32(bytes as u32); // at most HEADER_BYTES_MAX
        b.put(&self.store.0);
        b.put(&self.pack.0);
        b.put_u32(group.len() as u32); // the same
        b.put(&group);
        b.resize(bytes - 8, 0);
        let check = check::check64(check::place_seed(self.pack, 0), &b);
        b.put(&check);
        b
    }

    /// # Errors
    /// [`crate::Error::Malformed`].
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        let mut r = Reader::new("a parity pack's header", bytes);
        if r.array::<8>()? != HEADER_MAGIC {
            return Err(r.bad("it does not begin as a parity pack does"));
        }
        let (version, slot) = (r.u16()?, r.u8()?);
        r.u8()?;
        let length = r.u32()? as usize;
        let (store, pack) = (StoreId(r.array()?), PackId(r.array()?));
        let fits = length.is_multiple_of(HEADER_STEP) && length <= HEADER_BYTES_MAX && length == bytes.len();
        let Some((body, check)) = bytes.split_last_chunk::<8>().filter(|_| fits) else {
            return Err(r.bad("its length does not fit"));
        };
        if check::check64(check::place_seed(pack, 0), body) != *check {
            return Err(r.bad("its check does not fit its bytes"));
        }
        if version != super::FORMAT_VERSION {
            return Err(r.bad("a version that this program does not know"));
        }
        let group = r.u32()? as usize;
        let mut g = Reader::new("a parity pack's group", r.take(group)?);
        let group = Group::decode(&mut g)?;
        g.end()?;
        let own = group.members.get(usize::from(slot));
        if !own.is_some_and(|m| m.parity && m.pack == pack) {
            return Err(r.bad("it is not the member of its group that it says it is"));
        }
        Ok(ParityHeader { store, pack, slot, group })
    }
}

/// The last bytes of a parity pack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ParityTrailer {
    pub pack: PackId,
    pub header_bytes: u32,
    pub payload_bytes: u64,
    pub root: [u8; 32],
}

impl ParityTrailer {
    /// Where the table begins.
    pub fn table_offset(&self) -> u64 {
        u64::from(self.header_bytes) + self.payload_bytes
    }

    /// Bytes of the table.
    pub fn table_bytes(&self) -> u64 {
        16 + self.payload_bytes.div_ceil(check::UNIT_BYTES) * 16
    }

    /// Bytes of the whole file.
    pub fn file_bytes(&self) -> u64 {
        self.table_offset() + self.table_bytes() + TRAILER_BYTES as u64
    }

    pub fn encode(&self) -> Vec<u8> {
        let mut b = Vec::with_capacity(TRAILER_BYTES);
        b.put(&TRAILER_MAGIC);
        b.put(&self.pack.0);
        b.put_u32(self.header_bytes);
        b.put_u64(self.payload_bytes);
        b.put_u64(self.table_offset());
        b.put_u64(self.file_bytes());
        b.put(&self.root);
        b.put_u64(0);
        let at = self.file_bytes() - TRAILER_BYTES as u64;
        let check = check::check64(check::place_seed(self.pack, at), &b);
        b.put(&check);
        b
    }

    /// Reads the last [`TRAILER_BYTES`] of a file that is `file_bytes` long.
    ///
    /// # Errors
    /// [`crate::Error::Malformed`].
    pub fn decode(bytes: &[u8], file_bytes: u64) -> Result<Self> {
        let mut r = Reader::new("a parity pack's trailer", bytes);
        let all: [u8; TRAILER_BYTES] = r.clone().array()?;
        if r.array::<8>()? != TRAILER_MAGIC {
            return Err(r.bad("it does not end as a parity pack does"));
        }
        let pack = PackId(r.array()?);
        let at = file_bytes.saturating_sub(TRAILER_BYTES as u64);
        if check::check64(check::place_seed(pack, at), &all[..88]) != all[88..] {
            return Err(r.bad("its check does not fit its bytes and place"));
        }
        let (header_bytes, payload_bytes) = (r.u32()?, r.u64()?);
        let (table_offset, length, root) = (r.u64()?, r.u64()?, r.array()?);
        let t = ParityTrailer { pack, header_bytes, payload_bytes, root };
        let bounded = payload_bytes <= limits::PACK_BYTES && (header_bytes as usize) <= HEADER_BYTES_MAX;
        if !bounded || t.table_offset() != table_offset || t.file_bytes() != length || length != file_bytes {
            return Err(r.bad("its offsets do not fit the file"));
        }
        Ok(t)
    }
}

#[cfg(test)]
mod tests {
    use super::super::group::sample;
    use super::*;

    fn header() -> ParityHeader {
        let mut group = sample();
        group.members[2].root = [0; 32];
        ParityHeader { store: StoreId([1; 16]), pack: group.members[2].pack, slot: 2, group }
    }

    #[test]
    fn ends_come_back_and_every_bit_flip_is_refused() {
        let header = header();
        let trailer = ParityTrailer { pack: header.pack, header_bytes: 4096, payload_bytes: 5 << 20, root: [7; 32] };
        let length = trailer.file_bytes();
        assert_eq!(length, 4096 + (5 << 20) + 6 * 16 + 96);
        let (h, t) = (header.encode(), trailer.encode());
        assert_eq!(h.len(), HEADER_STEP);
        assert_eq!(ParityHeader::decode(&h).unwrap(), header);
        assert_eq!(ParityTrailer::decode(&t, length).unwrap(), trailer);
        assert!(ParityTrailer::decode(&t, length + 1).is_err());
        let flipped = |bytes: &[u8], bit: usize| {
            let mut bad = bytes.to_vec();
            bad[bit / 8] ^= 1 << (bit % 8);
            bad
        };
        for bit in 0..h.len() * 8 {
            assert!(ParityHeader::decode(&flipped(&h, bit)).is_err(), "bit {bit} of the header went unnoticed");
        }
        for bit in 0..t.len() * 8 {
            assert!(ParityTrailer::decode(&flipped(&t, bit), length).is_err(), "bit {bit} of the trailer");
        }
        for n in 0..h.len() {
            assert!(ParityHeader::decode(&h[..n]).is_err(), "{n} bytes passed for a header");
        }
    }

    #[test]
    fn a_header_for_the_largest_group_is_read() {
        let mut h = header();
        let one = h.group.members[0];
        h.group.members = vec![one; limits::GROUP_MEMBERS - 1];
        h.group.members.push(super::super::group::Member { parity: true, ..one });
        h.slot = (limits::GROUP_MEMBERS - 1) as u8;
        h.pack = one.pack;
        assert_eq!(ParityHeader::decode(&h.encode()).unwrap(), h);
    }
}
