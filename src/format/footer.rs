//! The ends of a pack: its header, its footer with the table of records, its trailer.
//!
//! ```text
//! pack    := header record* footer units trailer
//!
//! header, 64 bytes                           trailer, 96 bytes
//!  offset  size  field                        offset  size  field
//!       0     8  magic     "OFPACK1\n"             0     8  magic         "OFTAIL1\n"
//!       8     2  version   1                       8    12  pack id
//!      10     1  kind      1 data, 2 metadata     20     4  record count
//!      11     1  class     1 held safer, else 0   24     8  footer offset
//!      12     4  reserved  zero
//!      16    16  store id                         32     8  units offset
//!      32    12  pack id                          40     8  file length
//!      44    12  reserved  zero                   48    32  root          BLAKE3 of the units
//!      56     8  check     XXH3-64 of 0..56       80     8  reserved      zero
//!                                                 88     8  check         XXH3-64 of 0..88
//! footer  := "OFFOOT1\n" section-count:u32 section* check:8
//! section := id:u16 reserved:u16 length:u64 bytes
//!   1 table       per record: offset:u32, then its header as it stands there
//!   2 statistics  records:u32 plain:u64 stored:u64
//!   0x8001 features  (row:u32 feature:u64{6})*   rows ascending; a row of sound may come twice: `chunk::sketch`, then
//!                                                `chunk::landmark`. Absent where there are none
//! units   := one XXH3-128 per 1 MiB of the file before `units`
//! ```
//! Checks are seeded with the pack's id and their structure's offset in the file. A section with an
//! unknown id below 0x8000 is refused, one at or above it is passed over.

use super::check;
use super::id::{PackId, StoreId};
use super::limits;
use super::record::{HEADER_BYTES_MIN, Header};
use super::wire::{Put, Reader};
use crate::error::{Error, Result};

const HEADER_MAGIC: [u8; 8] = *b"OFPACK1\n";
const FOOTER_MAGIC: [u8; 8] = *b"OFFOOT1\n";
const TRAILER_MAGIC: [u8; 8] = *b"OFTAIL1\n";
/// Bytes of a pack's header; the first record's offset.
pub const PACK_HEADER_BYTES: usize = 64;
/// Bytes of a pack's trailer.
pub const TRAILER_BYTES: usize = 96;
const _: () = assert!(8 + 2 + 1 + 1 + 4 + 16 + 12 + 12 + 8 == PACK_HEADER_BYTES);
const _: () = assert!(8 + 12 + 4 + 8 + 8 + 8 + 32 + 8 + 8 == TRAILER_BYTES);
const SECTION_TABLE: u16 = 1;
const SECTION_STATISTICS: u16 = 2;
const SECTION_FEATURES: u16 = 0x8001;
/// Features of a chunk.
pub const FEATURES: usize = 6;
const FEATURE_ROW_BYTES: usize = 4 + 8 * FEATURES;

/// The resemblance features of one chunk, see the floor `chunk`.
pub type Features = [u64; FEATURES];

/// What a pack holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PackKind {
    Data,
    Metadata,
    /// Data that many files share, and that is held safer than other data. To a reader it is data: its kind is that of data,
    /// and a mark beside it tells writers how its group is to be made.
    Shared,
}

impl PackKind {
    /// All kinds.
    pub const ALL: [PackKind; 3] = [PackKind::Data, PackKind::Metadata, PackKind::Shared];

    /// The kind that a number stands for, without the mark.
    pub fn from_u8(n: u8) -> Option<Self> {
        match n {
            1 => Some(PackKind::Data),
            2 => Some(PackKind::Metadata),
            _ => None,
        }
    }

    /// Its number. Data that is held safer has that of data: the mark is written beside it.
    pub fn number(self) -> u8 {
        match self {
            PackKind::Data | PackKind::Shared => 1,
            PackKind::Metadata => 2,
        }
    }

    /// Whether it holds chunks of data.
    pub fn is_data(self) -> bool {
        self != PackKind::Metadata
    }
}

/// The class of a pack that is held safer.
const CLASS_SAFER: u8 = 1;

/// The first bytes of a pack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PackHeader {
    pub kind: PackKind,
    pub store: StoreId,
    pub pack: PackId,
}

impl PackHeader {
    pub fn encode(&self) -> [u8; PACK_HEADER_BYTES] {
        let mut b = Vec::with_capacity(PACK_HEADER_BYTES);
        b.put(&HEADER_MAGIC);
        b.put_u16(super::FORMAT_VERSION);
        b.put_u8(self.kind.number());
        b.put_u8(if self.kind == PackKind::Shared { CLASS_SAFER } else { 0 });
        b.put(&[0; 4]);
        b.put(&self.store.0);
        b.put(&self.pack.0);
        b.put(&[0; 12]);
        let check = check::check64(check::place_seed(self.pack, 0), &b);
        b.put(&check);
        let mut out = [0; PACK_HEADER_BYTES];
        out.copy_from_slice(&b); // the constants add up
        out
    }

    /// # Errors
    /// [`Error::Malformed`].
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        let mut r = Reader::new("a pack header", bytes);
        let all: [u8; PACK_HEADER_BYTES] = r.clone().array()?;
        if r.array::<8>()? != HEADER_MAGIC {
            return Err(r.bad("it does not begin as a pack does"));
        }
        let version = r.u16()?;
        let (kind, class) = (r.u8()?, r.u8()?);
        r.take(4)?;
        let (store, pack) = (StoreId(r.array()?), PackId(r.array()?));
        if check::check64(check::place_seed(pack, 0), &all[..56]) != all[56..] {
            return Err(r.bad("its check does not fit its bytes"));
        }
        if version != super::FORMAT_VERSION {
            return Err(r.bad("a version that this program does not know"));
        }
        let kind = PackKind::from_u8(kind).ok_or_else(|| r.bad("a kind of pack that this version does not know"))?;
        let kind = if (kind, class) == (PackKind::Data, CLASS_SAFER) { PackKind::Shared } else { kind };
        Ok(PackHeader { kind, store, pack })
    }
}

/// One row of a pack's table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    pub offset: u32,
    pub header: Header,
}

/// Sums over a pack's records, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PackStatistics {
    pub records: u32,
    pub plain_bytes: u64,
    pub stored_bytes: u64,
}

/// A pack's footer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Footer {
    pub rows: Vec<Row>,
    pub statistics: PackStatistics,
    /// Resemblance features of some rows, by their numbers, ascending; a row may come more than once.
    pub features: Vec<(u32, Features)>,
}

impl Footer {
    /// The bytes as they stand at `offset` of `pack`.
    pub fn encode(&self, pack: PackId, offset: u64) -> Vec<u8> {
        let mut table = Vec::with_capacity(self.rows.len() * (HEADER_BYTES_MIN + 4));
        for row in &self.rows {
            table.put_u32(row.offset);
            row.header.encode_into(pack, u64::from(row.offset), &mut table);
        }
        let mut out = Vec::with_capacity(table.len() + 64);
        out.put(&FOOTER_MAGIC);
        out.put_u32(2 + u32::from(!self.features.is_empty()));
        let mut section = |id, bytes: &[u8]| {
            out.put_u16(id);
            out.put_u16(0);
            out.put_u64(bytes.len() as u64);
            out.put(bytes);
        };
        section(SECTION_TABLE, &table);
        let mut s = Vec::with_capacity(20);
        s.put_u32(self.statistics.records);
        s.put_u64(self.statistics.plain_bytes);
        s.put_u64(self.statistics.stored_bytes);
        section(SECTION_STATISTICS, &s);
        if !self.features.is_empty() {
            let mut f = Vec::with_capacity(self.features.len() * FEATURE_ROW_BYTES);
            for (row, features) in &self.features {
                f.put_u32(*row);
                features.iter().for_each(|n| f.put_u64(*n));
            }
            section(SECTION_FEATURES, &f);
        }
        let check = check::check64(check::place_seed(pack, offset), &out);
        out.put(&check);
        out
    }

    /// # Errors
    /// [`Error::Malformed`], [`Error::Limit`].
    pub fn decode(pack: PackId, offset: u64, bytes: &[u8]) -> Result<Self> {
        let mut r = Reader::new("a pack's footer", bytes);
        let body_len = bytes.len().checked_sub(8).ok_or_else(|| r.bad("it ends early"))?;
        if r.array::<8>()? != FOOTER_MAGIC {
            return Err(r.bad("it does not begin as a footer does"));
        }
        if check::check64(check::place_seed(pack, offset), &bytes[..body_len]) != bytes[body_len..] {
            return Err(r.bad("its check does not fit its bytes and place"));
        }
        let mut r = Reader::new("a pack's footer", &bytes[..body_len]);
        r.take(8)?;
        let sections = r.u32()?;
        let (mut rows, mut statistics, mut features) = (None, None, None);
        for _ in 0..sections {
            let id = r.u16()?;
            r.u16()?;
            let length = usize::try_from(r.u64()?).map_err(|_| r.bad("a section is longer than memory"))?;
            let body = r.take(length)?;
            match id {
                SECTION_TABLE if rows.is_none() => rows = Some(Self::decode_table(pack, offset, body)?),
                SECTION_STATISTICS if statistics.is_none() => {
                    let mut s = Reader::new("a pack's statistics", body);
                    statistics =
                        Some(PackStatistics { records: s.u32()?, plain_bytes: s.u64()?, stored_bytes: s.u64()? });
                    s.end()?;
                }
                SECTION_FEATURES if features.is_none() => features = Some(Self::decode_features(body)?),
                0x8000.. => {}
                _ => return Err(r.bad("a section that this version does not know, or one twice")),
            }
        }
        r.end()?;
        match (rows, statistics) {
            (Some(rows), Some(statistics)) => {
                let features = features.unwrap_or_default();
                if features.last().is_some_and(|(row, _)| *row as usize >= rows.len()) {
                    return Err(r.bad("features of a record that there is not"));
                }
                Ok(Footer { rows, statistics, features })
            }
            _ => Err(r.bad("a section is missing")),
        }
    }

    fn decode_features(body: &[u8]) -> Result<Vec<(u32, Features)>> {
        let mut r = Reader::new("a pack's features", body);
        let mut features: Vec<(u32, Features)> = Vec::with_capacity(body.len() / FEATURE_ROW_BYTES);
        while r.left() > 0 {
            let row = r.u32()?;
            if features.last().is_some_and(|(last, _)| *last > row) {
                return Err(r.bad("its rows do not ascend"));
            }
            let mut all = [0; FEATURES];
            for feature in &mut all {
                *feature = r.u64()?;
            }
            features.push((row, all));
        }
        Ok(features)
    }

    fn decode_table(pack: PackId, footer_offset: u64, body: &[u8]) -> Result<Vec<Row>> {
        let mut r = Reader::new("a pack's table", body);
        let mut rows = Vec::with_capacity((body.len() / (HEADER_BYTES_MIN + 4)).min(limits::PACK_RECORDS as usize));
        let mut next = PACK_HEADER_BYTES as u64;
        while r.left() > 0 {
            let offset = r.u32()?;
            let header = Header::decode(pack, u64::from(offset), &body[r.at()..])?;
            r.take(header.header_bytes())?;
            if u64::from(offset) != next {
                return Err(r.bad("a record does not begin where the one before it ends"));
            }
            next += header.record_bytes();
            if next > footer_offset {
                return Err(r.bad("a record reaches into the footer"));
            }
            if rows.len() as u32 >= limits::PACK_RECORDS {
                return Err(Error::Limit {
                    what: "a pack's records",
                    got: rows.len() as u64 + 1,
                    max: u64::from(limits::PACK_RECORDS),
                });
            }
            rows.push(Row { offset, header });
        }
        if next != footer_offset {
            return Err(r.bad("the records do not reach to the footer"));
        }
        Ok(rows)
    }
}

/// The last bytes of a sealed pack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trailer {
    pub pack: PackId,
    pub records: u32,
    pub footer_offset: u64,
    pub units_offset: u64,
    pub file_bytes: u64,
    pub root: [u8; 32],
}

impl Trailer {
    pub fn encode(&self) -> Vec<u8> {
        let mut b = Vec::with_capacity(TRAILER_BYTES);
        b.put(&TRAILER_MAGIC);
        b.put(&self.pack.0);
        b.put_u32(self.records);
        b.put_u64(self.footer_offset);
        b.put_u64(self.units_offset);
        b.put_u64(self.file_bytes);
        b.put(&self.root);
        b.put_u64(0);
        let at = self.file_bytes.saturating_sub(TRAILER_BYTES as u64);
        let check = check::check64(check::place_seed(self.pack, at), &b);
        b.put(&check);
        b
    }

    /// Reads the last [`TRAILER_BYTES`] of a file that is `file_bytes` long.
    ///
    /// # Errors
    /// [`Error::Malformed`].
    pub fn decode(bytes: &[u8], file_bytes: u64) -> Result<Self> {
        let mut r = Reader::new("a pack's trailer", bytes);
        let all: [u8; TRAILER_BYTES] = r.clone().array()?;
        if r.array::<8>()? != TRAILER_MAGIC {
            return Err(r.bad("the pack does not end as a sealed one does"));
        }
        let pack = PackId(r.array()?);
        let at = file_bytes.saturating_sub(TRAILER_BYTES as u64);
        if check::check64(check::place_seed(pack, at), &all[..88]) != all[88..] {
            return Err(r.bad("its check does not fit its bytes and place"));
        }
        let t = Trailer {
            pack,
            records: r.u32()?,
            footer_offset: r.u64()?,
            units_offset: r.u64()?,
            file_bytes: r.u64()?,
            root: r.array()?,
        };
        let units = t.units_offset.div_ceil(check::UNIT_BYTES) * 16; // units_offset < 2^32 is tested below, so this cannot pass 2^64
        let ordered = PACK_HEADER_BYTES as u64 <= t.footer_offset
            && t.footer_offset < t.units_offset
            && t.units_offset <= limits::PACK_BYTES;
        if !ordered || t.file_bytes != file_bytes || t.units_offset + units + TRAILER_BYTES as u64 != file_bytes {
            return Err(r.bad("its offsets do not fit the file"));
        }
        Ok(t)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::{ChunkId, ChunkKind, WriterId, record::Codec};
    use proptest::prelude::*;

    fn pack() -> PackId {
        PackId::new(WriterId([4; 8]), 9)
    }

    fn footer(sizes: &[u32]) -> (Footer, u64) {
        let mut at = PACK_HEADER_BYTES as u64;
        let mut f = Footer::default();
        for (i, &n) in sizes.iter().enumerate() {
            let header = Header {
                kind: ChunkKind::Data,
                codec: Codec::RAW,
                plain_bytes: n.max(1),
                stored_bytes: n,
                id: ChunkId([i as u8; 32]),
                bases: vec![],
                parameters: vec![],
            };
            f.rows.push(Row { offset: at as u32, header: header.clone() });
            at += header.record_bytes();
            f.statistics.records += 1;
            f.statistics.stored_bytes += u64::from(n);
            if i % 3 == 1 {
                f.features.push((i as u32, [i as u64, 1, u64::MAX, 7, 8, 9]));
            }
        }
        (f, at)
    }

    proptest! {
        #[test]
        fn a_footer_comes_back(sizes in proptest::collection::vec(0u32..100_000, 0..20)) {
            let (f, at) = footer(&sizes);
            let b = f.encode(pack(), at);
            prop_assert_eq!(Footer::decode(pack(), at, &b).unwrap(), f);
            prop_assert!(Footer::decode(pack(), at + 1, &b).is_err());
        }

        #[test]
        fn arbitrary_bytes_never_panic(b: Vec<u8>, len: u64) {
            let _ = Footer::decode(pack(), len, &b);
            let _ = Trailer::decode(&b, len);
            let _ = PackHeader::decode(&b);
        }
    }

    #[test]
    fn every_bit_flip_of_header_footer_and_trailer_is_refused() {
        let header = PackHeader { kind: PackKind::Data, store: StoreId([1; 16]), pack: pack() };
        let (f, at) = footer(&[5, 6]);
        let footer_bytes = f.encode(pack(), at);
        let units_offset = at + footer_bytes.len() as u64;
        let file_bytes = units_offset + 16 + TRAILER_BYTES as u64;
        let trailer = Trailer { pack: pack(), records: 2, footer_offset: at, units_offset, file_bytes, root: [7; 32] };
        assert_eq!(PackHeader::decode(&header.encode()).unwrap(), header);
        assert_eq!(Trailer::decode(&trailer.encode(), file_bytes).unwrap(), trailer);
        assert!(Trailer::decode(&trailer.encode(), file_bytes + 1).is_err());
        type Decoder = Box<dyn Fn(&[u8]) -> bool>;
        let cases: [(Vec<u8>, Decoder); 3] = [
            (header.encode().to_vec(), Box::new(|b| PackHeader::decode(b).is_ok())),
            (footer_bytes, Box::new(move |b| Footer::decode(pack(), at, b).is_ok())),
            (trailer.encode(), Box::new(move |b| Trailer::decode(b, file_bytes).is_ok())),
        ];
        for (bytes, accepts) in cases {
            assert!(accepts(&bytes));
            for bit in 0..bytes.len() * 8 {
                let mut bad = bytes.clone();
                bad[bit / 8] ^= 1 << (bit % 8);
                assert!(!accepts(&bad), "bit {bit} went unnoticed");
            }
            for n in 0..bytes.len() {
                assert!(!accepts(&bytes[..n]), "{n} bytes were enough");
            }
        }
    }
}
