//! Every persistent byte: ids, checks, records, footers, log entries, keys, markers, versions.
//!
//! This floor turns values into the bytes of format version 1 and back; `docs/FORMAT.md` describes the
//! same bytes for a stranger. It opens no file and keeps no state. Names of chunks and every other use
//! of BLAKE3 and XXH3 stand here, so that one place decides what is proven by what.
//!
//! # Invariants
//!
//! 1. One value has one encoding, and `decode(encode(v)) == v`.
//! 2. A decoder believes nothing: magic, version, check and bounds are tested in that order, and no
//!    number from the bytes sizes an allocation, an offset or a loop before it was compared with what
//!    is there or with [`limits`].
//! 3. Numbers of kinds, codecs, events and fields are never used again for something else.
//!
//! Integers are little-endian; `varint` is LEB128 of at most 64 bits in its shortest form.

pub mod check;
pub mod digest;
pub mod entry;
pub mod envelope;
pub mod event;
pub mod footer;
pub mod group;
pub mod id;
pub mod keys;
pub mod limits;
pub mod log;
pub mod node;
pub mod parity;
pub mod recipe;
pub mod record;
pub mod snapshot;
pub mod superblock;
pub mod text;
pub mod wire;

pub use id::{ChunkId, ChunkKind, DiskId, EntryHash, PackId, SnapshotId, StoreId, WriterId};
pub use keys::Keys;

/// The format that this version writes.
pub const FORMAT_VERSION: u16 = 1;

/// The text that stands on every disk as `FORMAT.txt`, for whoever finds the disk without this program.
pub const FORMAT_TXT: &str = include_str!("FORMAT.txt");
