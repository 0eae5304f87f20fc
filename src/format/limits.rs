//! The table of limits of format version 1. What exceeds one is an error that names it.

/// Bytes of one name in a folder. Linux allows 255; some network filesystems more.
pub const NAME_BYTES: usize = 4096;
/// Folders inside folders.
pub const DEPTH: usize = 4096;
/// Bytes of an encoded entry, an inline folder in it included.
pub const ENTRY_BYTES: usize = 64 << 10;
/// Bytes of an encoded folder that stands in its parent's entry instead of in nodes of its own.
pub const INLINE_DIR_BYTES: usize = 4 << 10;
/// A file of at most so many bytes stands in its entry.
pub const INLINE_FILE_BYTES: usize = 512;
/// Extended attributes up to so many encoded bytes stand in the entry.
pub const INLINE_ATTRIBUTE_BYTES: usize = 1 << 10;
/// Bytes of a file's extended attributes, all together (Linux: 64 KiB a value, names included less
/// than 1 MiB in practice).
pub const ATTRIBUTE_BYTES: usize = 4 << 20;
/// Bytes of a node, a list or any other metadata chunk before compression.
pub const NODE_BYTES: usize = 256 << 10;
/// Levels of a tree of nodes or lists.
pub const LEVELS: u8 = 12;
/// Chunk references that stand in an entry; a longer stream has one reference to a list.
pub const INLINE_REFERENCES: usize = 16;
/// Segments that stand in an entry; more stand in a segment list.
pub const INLINE_SEGMENTS: usize = 16;
/// Streams of a file.
pub const STREAMS: usize = 255;
/// Plain bytes of a chunk.
pub const CHUNK_BYTES: usize = 16 << 20;
/// Bytes of a record: header, payload, check.
pub const RECORD_BYTES: usize = CHUNK_BYTES + (64 << 10);
/// Bases that a record names.
pub const BASES: usize = 4;
/// Bytes of a codec's parameters in a record.
pub const PARAMETER_BYTES: usize = 4 << 10;
/// Bytes of a pack; offsets inside it fit 32 bits.
pub const PACK_BYTES: u64 = 4 << 30;
/// Records of a pack.
pub const PACK_RECORDS: u32 = 4 << 20;
/// Bytes of a segment's parameters.
pub const SEGMENT_PARAMETER_BYTES: usize = 64 << 10;
/// File bytes of a permuted or transformed segment. Plain ones may be longer: they need no memory.
pub const SEGMENT_BYTES: u64 = 8 << 20;
/// Members of a group, parity included.
pub const GROUP_MEMBERS: usize = 255;
/// Bytes of a file.
pub const FILE_BYTES: u64 = 1 << 62;
/// Bytes of a log entry. A checkpoint of 1.2 million packs (300 TB) takes about 120 MB.
pub const LOG_ENTRY_BYTES: u64 = 1 << 30;
/// Bytes of a text in a log entry: a host, a tag, a path, a reason.
pub const TEXT_BYTES: usize = 64 << 10;
/// Bytes of every small file: superblock, key slot, marker, the list of disks.
pub const SMALL_FILE_BYTES: u64 = 1 << 20;
/// Disks of a pool.
pub const DISKS: usize = 4096;
