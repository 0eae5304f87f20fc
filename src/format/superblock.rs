//! The superblock: what is fixed at `init` and never tuned.
//!
//! It stands on every disk (`superblock`) and in `STORE`. The envelope proves it; the body is:
//!
//! ```text
//!  offset  size  field
//!       0    16  store id
//!      16     8  created        ns since 1970, signed
//!      24     2  format version
//!      26     2  minimum reader version
//!      28     2  minimum writer version
//!      30     2  reserved       zero
//!      32     8  features: compatible            unknown bits are ignored
//!      40     8  features: read-only-compatible  unknown bits: no writing
//!      48     8  features: incompatible          unknown bits: no reading
//!      56     2  chunker        1 = FastCDC 2020
//!      58     1  normalisation level
//!      59     1  reserved       zero
//!      60     4  minimum chunk bytes
//!      64     4  average chunk bytes
//!      68     4  maximum chunk bytes
//!      72    32  table check    keyed BLAKE3 of the chunker's 256 table words
//!     104    16  key id
//!     120     8  pack bytes     a pack is sealed when it has reached so many
//!     128     2  note length n
//!     130     n  note           which program made it, UTF-8
//! ```

use super::envelope;
use super::id::StoreId;
use super::wire::{Put, Reader};
use super::{FORMAT_VERSION, limits};
use crate::error::{Error, Result};
use std::path::Path;

const MAGIC: [u8; 8] = *b"OFSUPER\n";
/// FastCDC as published in 2020, with a gear table altered by a seed.
pub const CHUNKER_FASTCDC_2020: u16 = 1;
/// Incompatible feature: the log may say that a snapshot was split anew.
pub const RESPLIT: u64 = 1;
/// Incompatible feature bits that this version knows, in superblock and log.
pub const KNOWN_INCOMPATIBLE: u64 = RESPLIT;
/// Read-only-compatible feature bits that this version knows, in superblock and log: none yet.
pub const KNOWN_READ_ONLY: u64 = 0;

/// How streams are cut. The sizes are powers of two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChunkerParameters {
    pub chunker: u16,
    pub level: u8,
    pub min_bytes: u32,
    pub avg_bytes: u32,
    pub max_bytes: u32,
}

impl Default for ChunkerParameters {
    /// 64 KiB, 256 KiB, 1 MiB, level 2: see the decisions in `docs/design/`.
    fn default() -> Self {
        ChunkerParameters {
            chunker: CHUNKER_FASTCDC_2020,
            level: 2,
            min_bytes: 64 << 10,
            avg_bytes: 256 << 10,
            max_bytes: 1 << 20,
        }
    }
}

/// The constants of a store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Superblock {
    pub store: StoreId,
    pub created_ns: i64,
    pub min_reader: u16,
    pub min_writer: u16,
    pub compatible: u64,
    pub read_only_compatible: u64,
    pub incompatible: u64,
    pub chunker: ChunkerParameters,
    pub table_check: [u8; 32],
    pub key_id: [u8; 16],
    pub pack_bytes: u64,
    pub note: String,
}

impl Superblock {
    /// The constants of a store that begins now, in this version's format. `table_check` is of the gear table and `key_id` of
    /// the keys that its chunks are cut and named by.
    pub fn new(
        store: StoreId,
        created_ns: i64,
        chunker: ChunkerParameters,
        table_check: [u8; 32],
        key_id: [u8; 16],
        pack_bytes: u64,
    ) -> Superblock {
        Superblock {
            store,
            created_ns,
            min_reader: FORMAT_VERSION,
            min_writer: FORMAT_VERSION,
            compatible: 0,
            read_only_compatible: 0,
            incompatible: 0,
            chunker,
            table_check,
            key_id,
            pack_bytes,
            note: concat!("onefold ", env!("CARGO_PKG_VERSION")).to_owned(),
        }
    }

    pub fn encode(&self) -> Vec<u8> {
        let mut b = Vec::with_capacity(160);
        b.put(&self.store.0);
        b.put_i64(self.created_ns);
        b.put_u16(FORMAT_VERSION);
        b.put_u16(self.min_reader);
        b.put_u16(self.min_writer);
        b.put_u16(0);
        b.put_u64(self.compatible);
        b.put_u64(self.read_only_compatible);
        b.put_u64(self.incompatible);
        b.put_u16(self.chunker.chunker);
        b.put_u8(self.chunker.level);
        b.put_u8(0);
        b.put_u32(self.chunker.min_bytes);
        b.put_u32(self.chunker.avg_bytes);
        b.put_u32(self.chunker.max_bytes);
        b.put(&self.table_check);
        b.put(&self.key_id);
        b.put_u64(self.pack_bytes);
        let note = self.note.as_bytes();
        let note = &note[..note.len().min(1000)]; // a length, so always within
        b.put_u16(note.len() as u16); // at most 1000
        b.put(note);
        envelope::seal(MAGIC, &b)
    }

    /// Reads a superblock and refuses what this version cannot read at all. Whether it may write is
    /// asked of [`Superblock::may_write`].
    ///
    /// # Errors
    /// [`Error::Damaged`], [`Error::FromTheFuture`].
    pub fn decode(path: &Path, bytes: &[u8]) -> Result<Self> {
        const WHAT: &str = "the superblock";
        let mut r = Reader::new(WHAT, envelope::open(WHAT, MAGIC, path, bytes)?);
        let store = StoreId(r.array()?);
        let created_ns = r.i64()?;
        let (_written_by, min_reader, min_writer) = (r.u16()?, r.u16()?, r.u16()?);
        r.u16()?;
        let (compatible, read_only_compatible, incompatible) = (r.u64()?, r.u64()?, r.u64()?);
        if min_reader > FORMAT_VERSION || incompatible & !KNOWN_INCOMPATIBLE != 0 {
            return Err(Error::FromTheFuture {
                what: WHAT,
                path: path.to_owned(),
                needs: format!("{min_reader}, features {:#x}", incompatible),
                ours: format!("{FORMAT_VERSION}, features {KNOWN_INCOMPATIBLE:#x}"),
            });
        }
        let chunker = ChunkerParameters {
            chunker: r.u16()?,
            level: r.u8()?,
            min_bytes: {
                r.u8()?;
                r.u32()?
            },
            avg_bytes: r.u32()?,
            max_bytes: r.u32()?,
        };
        let sizes = [chunker.min_bytes, chunker.avg_bytes, chunker.max_bytes];
        let sane = sizes.iter().all(|s| s.is_power_of_two() && *s >= 64 && *s as usize <= limits::CHUNK_BYTES)
            && chunker.min_bytes < chunker.avg_bytes
            && chunker.avg_bytes < chunker.max_bytes
            && chunker.avg_bytes <= 4 << 20
            && chunker.level <= 3;
        if !sane {
            return Err(r.bad("the chunker's sizes are impossible"));
        }
        let (table_check, key_id, pack_bytes) = (r.array()?, r.array()?, r.u64()?);
        if !(1 << 20..=limits::PACK_BYTES / 2).contains(&pack_bytes) {
            return Err(r.bad("the size of packs is impossible"));
        }
        let n = usize::from(r.u16()?);
        let note = String::from_utf8_lossy(r.take(n)?).into_owned();
        r.end()?;
        Ok(Superblock {
            store,
            created_ns,
            min_reader,
            min_writer,
            compatible,
            read_only_compatible,
            incompatible,
            chunker,
            table_check,
            key_id,
            pack_bytes,
            note,
        })
    }

    /// Whether this version may write to such a store.
    pub fn may_write(&self) -> bool {
        self.min_writer <= FORMAT_VERSION && self.read_only_compatible & !KNOWN_READ_ONLY == 0
    }
}

#[cfg(test)]
pub(crate) fn sample() -> Superblock {
    Superblock {
        store: StoreId([3; 16]),
        created_ns: 1_700_000_000_000_000_001,
        min_reader: 1,
        min_writer: 1,
        compatible: 0,
        read_only_compatible: 0,
        incompatible: 0,
        chunker: ChunkerParameters::default(),
        table_check: [5; 32],
        key_id: [6; 16],
        pack_bytes: 256 << 20,
        note: "onefold test".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_comes_back_and_every_bit_flip_is_refused() {
        let sample = sample();
        let bytes = sample.encode();
        assert_eq!(Superblock::decode(Path::new("s"), &bytes).unwrap(), sample);
        for bit in 0..bytes.len() * 8 {
            let mut bad = bytes.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(Superblock::decode(Path::new("s"), &bad).is_err(), "bit {bit} went unnoticed");
        }
    }

    #[test]
    fn a_later_reader_version_or_unknown_feature_is_refused_and_a_later_writer_version_reads_only() {
        let decode = |s: &Superblock| Superblock::decode(Path::new("s"), &s.encode());
        assert!(matches!(decode(&Superblock { min_reader: 2, ..sample() }), Err(Error::FromTheFuture { .. })));
        assert!(matches!(decode(&Superblock { incompatible: 1 << 40, ..sample() }), Err(Error::FromTheFuture { .. })));
        assert!(!decode(&Superblock { min_writer: 2, ..sample() }).unwrap().may_write());
        assert!(!decode(&Superblock { read_only_compatible: 2, ..sample() }).unwrap().may_write());
        assert!(decode(&Superblock { compatible: 1 << 63, ..sample() }).unwrap().may_write());
    }

    #[test]
    fn impossible_sizes_are_refused() {
        for (min, avg, max) in [(0, 1, 2), (100, 256, 1024), (4096, 4096, 8192), (1 << 20, 8 << 20, 16 << 20)] {
            let chunker = ChunkerParameters { min_bytes: min, avg_bytes: avg, max_bytes: max, ..Default::default() };
            assert!(Superblock::decode(Path::new("s"), &Superblock { chunker, ..sample() }.encode()).is_err());
        }
        assert!(Superblock::decode(Path::new("s"), &Superblock { pack_bytes: 1 << 40, ..sample() }.encode()).is_err());
    }
}
