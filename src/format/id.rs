//! Ids: types with one spelling, lower-case hexadecimal.

use std::fmt;
use std::str::FromStr;

use crate::error::Error;

/// Lower-case hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    use fmt::Write;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut s, b| {
        let _ = write!(s, "{b:02x}"); // writing to a String does not fail
        s
    })
}

/// The bytes that lower-case hexadecimal spells; `None` for anything else.
pub fn unhex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let digits = text.as_bytes();
    if digits.len() != 2 * N {
        return None;
    }
    let digit = |d: u8| match d {
        b'0'..=b'9' => Some(d - b'0'),
        b'a'..=b'f' => Some(d - b'a' + 10),
        _ => None,
    };
    let mut out = [0; N];
    for (byte, pair) in out.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?; // chunks_exact gives pairs
    }
    Some(out)
}

macro_rules! id_type {
    ($(#[$doc:meta])* $name:ident, $bytes:literal, $what:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub [u8; $bytes]);

        impl $name {
            pub const BYTES: usize = $bytes;
            /// The first eight digits, for people.
            pub fn short(&self) -> String {
                hex(&self.0[..4]) // every id has more than four bytes
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&hex(&self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({})", stringify!($name), hex(&self.0))
            }
        }

        impl FromStr for $name {
            type Err = Error;
            fn from_str(text: &str) -> Result<Self, Error> {
                unhex(text).map($name).ok_or(Error::Malformed { what: $what, offset: 0, why: "it is not an id" })
            }
        }
    };
}

id_type!(/** A store. Random, drawn at `init`. */ StoreId, 16, "a store id");
id_type!(/** A disk. Random, drawn when it joins. */ DiskId, 16, "a disk id");
id_type!(/** A chunk: the keyed BLAKE3 of its plain bytes, under the key of its kind. */ ChunkId, 32, "a chunk id");
id_type!(/** A log entry: BLAKE3 of all its bytes before the hash itself. */ EntryHash, 32, "a log hash");
id_type!(/** A snapshot: BLAKE3 of its record. */ SnapshotId, 32, "a snapshot id");
id_type!(/** A pack: the writer's 64 random bits, as they are, and a sequence number (big-endian). */ PackId, 12, "a pack id");
id_type!(/** One run of a verb that makes packs: 64 random bits. */ WriterId, 8, "a writer id");

impl ChunkId {
    /// Sixteen bytes of it, for sets that hold many: of 2^64 chunks two would agree in them by chance.
    pub fn half(&self) -> u128 {
        self.0.first_chunk::<16>().map_or(0, |b| u128::from_le_bytes(*b)) // an id is longer
    }
}

impl PackId {
    pub fn new(writer: WriterId, sequence: u32) -> Self {
        let mut id = [0; 12];
        id[..8].copy_from_slice(&writer.0);
        id[8..].copy_from_slice(&sequence.to_be_bytes());
        PackId(id)
    }

    pub fn writer(&self) -> WriterId {
        let mut w = [0; 8];
        w.copy_from_slice(&self.0[..8]);
        WriterId(w)
    }

    pub fn sequence(&self) -> u32 {
        let mut s = [0; 4];
        s.copy_from_slice(&self.0[8..]);
        u32::from_be_bytes(s)
    }

    /// The folder under `packs/`: the last two digits of the name, so that a writer's packs spread
    /// over 256 folders.
    pub fn folder(&self) -> String {
        hex(&self.0[11..])
    }
}

/// What a chunk holds. The number is part of the format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum ChunkKind {
    /// Bytes of a stream.
    Data = 1,
    /// References of a long stream, or segments of a long recipe.
    List = 2,
    /// A node of a folder or of a witness map.
    Tree = 3,
}

impl ChunkKind {
    pub fn from_u8(n: u8) -> Option<Self> {
        Some(match n {
            1 => ChunkKind::Data,
            2 => ChunkKind::List,
            3 => ChunkKind::Tree,
            _ => return None,
        })
    }

    /// Data goes to data packs, all else to metadata packs.
    pub fn is_data(self) -> bool {
        self == ChunkKind::Data
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_has_one_spelling() {
        let id = DiskId([0xa5; 16]);
        assert_eq!(id.to_string().parse::<DiskId>().unwrap(), id);
        assert!(id.to_string().to_uppercase().parse::<DiskId>().is_err());
        assert!(id.to_string()[1..].parse::<DiskId>().is_err());
        assert!("zz".repeat(16).parse::<DiskId>().is_err());
    }

    #[test]
    fn a_pack_id_names_its_writer_and_sequence() {
        let p = PackId::new(WriterId([7; 8]), 0x0102_03ff);
        assert_eq!((p.writer(), p.sequence(), p.folder().as_str()), (WriterId([7; 8]), 0x0102_03ff, "ff"));
    }
}
