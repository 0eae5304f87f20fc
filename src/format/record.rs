//! A record: one chunk in a pack, with everything that is needed to read it again.
//!
//! ```text
//!  offset  size  field
//!       0     4  magic           "OFr1"
//!       4     2  header length   h, its check included
//!       6     1  kind            1 data, 2 list, 3 tree
//!       7     1  flags           none is defined: a reader refuses any
//!       8     2  codec
//!      10     1  codec version
//!      11     1  base count      b, 0..=4
//!      12     4  key epoch       0: not encrypted; a reader refuses any other
//!      16     4  plain length    of the chunk, 1..
//!      20     4  stored length   s, of the payload
//!      24    32  chunk id
//!      56  32*b  base ids
//!       .     p  codec parameters, p = h - 64 - 32 b
//!     h-8     8  header check    XXH3-64 of bytes 0..h-8
//!       h     s  payload
//!     h+s     8  payload check   XXH3-64 of the payload as stored
//! ```
//! Both checks are seeded with the XXH3-64 of the pack's id and the record's offset in the pack. With
//! encryption (later) the nonce joins the parameters and the tag ends the payload.

use super::check;
use super::id::{ChunkId, ChunkKind, PackId};
use super::limits;
use super::wire::{Put, Reader};
use crate::error::{Error, Result};

const MAGIC: [u8; 4] = *b"OFr1";
/// Bytes of a header without bases and parameters.
pub const HEADER_BYTES_MIN: usize = 64;
/// Bytes of the longest header.
pub const HEADER_BYTES_MAX: usize = HEADER_BYTES_MIN + 32 * limits::BASES + limits::PARAMETER_BYTES;
/// Bytes behind the payload.
pub const PAYLOAD_CHECK_BYTES: usize = 8;
const _: () = assert!(4 + 2 + 1 + 1 + 2 + 1 + 1 + 4 + 4 + 4 + 32 + 8 == HEADER_BYTES_MIN);

/// How a payload was made. Numbers are never used again; a new way to encode gets a new version, and
/// the decoder of every version is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Codec {
    pub number: u16,
    pub version: u8,
}

impl Codec {
    /// The plain bytes.
    pub const RAW: Codec = Codec { number: 0, version: 1 };
    /// One zstd frame.
    pub const ZSTD: Codec = Codec { number: 1, version: 1 };
    /// One zstd frame, with the plain bytes of the bases, one behind the other in the header's order, as its prefix.
    pub const DELTA: Codec = Codec { number: 2, version: 1 };
    /// Samples of sound, see `chunk::pcm`.
    pub const PCM: Codec = Codec { number: 3, version: 1 };
    /// Samples of a picture, see `chunk::raster`.
    pub const RASTER: Codec = Codec { number: 4, version: 1 };
    /// Samples of sound as predicted from those of the bases, see `chunk::predict`.
    pub const PREDICTED: Codec = Codec { number: 5, version: 1 };
    /// Scans of JPEG files, see `chunk::jpeg`.
    pub const JPEG: Codec = Codec { number: 6, version: 1 };
}

/// What stands before a payload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    pub kind: ChunkKind,
    pub codec: Codec,
    pub plain_bytes: u32,
    pub stored_bytes: u32,
    pub id: ChunkId,
    pub bases: Vec<ChunkId>,
    pub parameters: Vec<u8>,
}

impl Header {
    /// Bytes of the encoded header.
    pub fn header_bytes(&self) -> usize {
        HEADER_BYTES_MIN + 32 * self.bases.len() + self.parameters.len()
    }

    /// Bytes of the whole record.
    pub fn record_bytes(&self) -> u64 {
        (self.header_bytes() + PAYLOAD_CHECK_BYTES) as u64 + u64::from(self.stored_bytes)
    }

    /// Appends the header as it stands at `offset` of `pack`.
    ///
    /// # Panics
    /// With more bases or longer parameters than the format allows: a mistake of the caller.
    pub fn encode_into(&self, pack: PackId, offset: u64, out: &mut Vec<u8>) {
        assert!(self.bases.len() <= limits::BASES && self.parameters.len() <= limits::PARAMETER_BYTES);
        let start = out.len();
        out.put(&MAGIC);
        out.put_u16(self.header_bytes() as u16); // asserted above: at most HEADER_BYTES_MAX
        out.put_u8(self.kind as u8);
        out.put_u8(0);
        out.put_u16(self.codec.number);
        out.put_u8(self.codec.version);
        out.put_u8(self.bases.len() as u8);
        out.put_u32(0);
        out.put_u32(self.plain_bytes);
        out.put_u32(self.stored_bytes);
        out.put(&self.id.0);
        self.bases.iter().for_each(|b| out.put(&b.0));
        out.put(&self.parameters);
        let check = check::check64(check::place_seed(pack, offset), &out[start..]);
        out.put(&check);
    }

    /// Reads the header at the front of `bytes`, which may go on behind it.
    ///
    /// # Errors
    /// [`Error::Malformed`] for bytes that are no header of this place; [`Error::Limit`].
    pub fn decode(pack: PackId, offset: u64, bytes: &[u8]) -> Result<Self> {
        let mut r = Reader::new("a record header", bytes);
        if r.array::<4>()? != MAGIC {
            return Err(r.bad("no record begins here"));
        }
        let length = usize::from(r.u16()?);
        if !(HEADER_BYTES_MIN..=HEADER_BYTES_MAX).contains(&length) || length > bytes.len() {
            return Err(r.bad("its header has an impossible length"));
        }
        let (checked, check) = (&bytes[..length - 8], &bytes[length - 8..length]); // 64 <= length <= len
        if check::check64(check::place_seed(pack, offset), checked) != check {
            return Err(r.bad("its header's check does not fit its bytes and place"));
        }
        let kind =
            ChunkKind::from_u8(r.u8()?).ok_or_else(|| r.bad("a kind of chunk that this version does not know"))?;
        if r.u8()? != 0 {
            return Err(r.bad("a flag that this version does not know"));
        }
        let codec = Codec { number: r.u16()?, version: r.u8()? };
        let base_count = usize::from(r.u8()?);
        if r.u32()? != 0 {
            return Err(r.bad("it is encrypted, which this version does not know"));
        }
        let (plain_bytes, stored_bytes) = (r.u32()?, r.u32()?);
        let id = ChunkId(r.array()?);
        if plain_bytes == 0 || plain_bytes as usize > limits::CHUNK_BYTES || stored_bytes as usize > limits::CHUNK_BYTES
        {
            return Err(Error::Limit {
                what: "a chunk's length",
                got: u64::from(plain_bytes.max(stored_bytes)),
                max: limits::CHUNK_BYTES as u64,
            });
        }
        if base_count > limits::BASES || HEADER_BYTES_MIN + 32 * base_count > length {
            return Err(r.bad("it names more bases than it can"));
        }
        let bases = (0..base_count).map(|_| r.array().map(ChunkId)).collect::<Result<Vec<_>>>()?;
        let parameters = r.take(length - HEADER_BYTES_MIN - 32 * base_count)?.to_vec();
        if parameters.len() > limits::PARAMETER_BYTES {
            return Err(r.bad("its codec's parameters are longer than they may be"));
        }
        Ok(Header { kind, codec, plain_bytes, stored_bytes, id, bases, parameters })
    }
}

/// The check behind a payload.
pub fn payload_check(pack: PackId, offset: u64, payload: &[u8]) -> [u8; PAYLOAD_CHECK_BYTES] {
    check::check64(check::place_seed(pack, offset), payload)
}

/// Splits a whole record into header and payload, and proves both checks.
///
/// # Errors
/// As [`Header::decode`]; [`Error::Malformed`] for a payload that is not what was written.
pub fn open(pack: PackId, offset: u64, record: &[u8]) -> Result<(Header, &[u8])> {
    let header = Header::decode(pack, offset, record)?;
    let start = header.header_bytes();
    let bad = |why| Error::Malformed { what: "a record", offset: start as u64, why };
    let end = start + header.stored_bytes as usize;
    let payload = record.get(start..end).ok_or_else(|| bad("it ends early"))?;
    let check = record.get(end..end + PAYLOAD_CHECK_BYTES).ok_or_else(|| bad("it ends early"))?;
    if payload_check(pack, offset, payload) != check {
        return Err(bad("its payload's check does not fit its bytes and place"));
    }
    Ok((header, payload))
}

#[cfg(test)]
pub(crate) fn arbitrary() -> impl proptest::strategy::Strategy<Value = Header> {
    use proptest::prelude::*;
    (
        1..=3u8,
        any::<(u16, u8)>(),
        1..=limits::CHUNK_BYTES as u32,
        0..=limits::CHUNK_BYTES as u32,
        any::<[u8; 32]>(),
        proptest::collection::vec(any::<[u8; 32]>().prop_map(ChunkId), 0..=limits::BASES),
        proptest::collection::vec(any::<u8>(), 0..100),
    )
        .prop_map(|(kind, (number, version), plain_bytes, stored_bytes, id, bases, parameters)| Header {
            kind: ChunkKind::from_u8(kind).unwrap(),
            codec: Codec { number, version },
            plain_bytes,
            stored_bytes,
            id: ChunkId(id),
            bases,
            parameters,
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::WriterId;
    use proptest::prelude::*;

    fn pack() -> PackId {
        PackId::new(WriterId([4; 8]), 9)
    }

    proptest! {
        #[test]
        fn a_header_comes_back_and_only_at_its_place(header in arbitrary(), offset in 0u64..1 << 32) {
            let mut b = Vec::new();
            header.encode_into(pack(), offset, &mut b);
            prop_assert_eq!(b.len(), header.header_bytes());
            b.extend_from_slice(b"what follows");
            prop_assert_eq!(Header::decode(pack(), offset, &b).unwrap(), header);
            prop_assert!(Header::decode(pack(), offset + 1, &b).is_err());
            prop_assert!(Header::decode(PackId::new(WriterId([5; 8]), 9), offset, &b).is_err());
        }

        #[test]
        fn arbitrary_bytes_never_panic(b: Vec<u8>, n: u8) {
            let mut with_magic = MAGIC.to_vec();
            with_magic.push(n);
            with_magic.push(0);
            with_magic.extend(&b);
            let _ = open(pack(), 0, &b);
            let _ = open(pack(), 0, &with_magic);
        }
    }

    #[test]
    fn every_single_bit_flip_of_a_record_is_refused() {
        let payload = b"the payload of a record";
        let header = Header {
            kind: ChunkKind::Data,
            codec: Codec::RAW,
            plain_bytes: payload.len() as u32,
            stored_bytes: payload.len() as u32,
            id: ChunkId([8; 32]),
            bases: vec![ChunkId([1; 32])],
            parameters: vec![1, 2, 3],
        };
        let mut record = Vec::new();
        header.encode_into(pack(), 64, &mut record);
        record.put(payload);
        record.put(&payload_check(pack(), 64, payload));
        assert_eq!(record.len() as u64, header.record_bytes());
        assert_eq!(open(pack(), 64, &record).unwrap(), (header, &payload[..]));
        for bit in 0..record.len() * 8 {
            let mut bad = record.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(open(pack(), 64, &bad).is_err(), "bit {bit} went unnoticed");
        }
        for n in 0..record.len() {
            assert!(open(pack(), 64, &record[..n]).is_err(), "{n} bytes passed for a record");
        }
    }
}
