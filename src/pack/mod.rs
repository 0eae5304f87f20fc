//! Packs: where chunk bytes rest. Append, seal, read and prove, salvage.
//!
//! A pack is append-only until it is sealed and read-only afterwards. This floor turns records into
//! pack bytes and back. It does not choose a disk ([`crate::pool`] does), does not know who refers to a
//! chunk ([`crate::catalog`] does), and holds no index.
//!
//! # Invariants
//!
//! 1. A record's bytes leave memory only after they were synced; a pack's name says `.pack` only after
//!    all of it was, and its folder too.
//! 2. A sealed pack is never written again.
//! 3. After a failed write or sync nothing more is written to that file. Its synced records are read
//!    again past the page cache and proven, its unsynced ones are still in memory: see
//!    [`write::Abandoned`].
//! 4. No chunk is handed out whose bytes do not hash to the id it was asked by.

pub mod payload;
pub mod read;
pub mod write;

use crate::error::Result;
use crate::format::{ChunkId, ChunkKind, PackId};
use std::path::{Path, PathBuf};

/// Reads chunks by id, wherever they lie. What comes back is proven.
pub trait ReadChunks: Sync {
    /// The plain bytes of one chunk.
    ///
    /// # Errors
    /// [`crate::Error::ChunkMissing`], [`crate::Error::ChunkDamaged`].
    fn chunk(&self, kind: ChunkKind, id: &ChunkId) -> Result<Vec<u8>>;
}

/// Stores chunks, once each.
pub trait WriteChunks {
    /// Stores the chunk unless it is there already, and names it.
    ///
    /// # Errors
    /// Whatever keeps it from being stored; the run cannot go on then.
    fn put(&mut self, kind: ChunkKind, bytes: &[u8]) -> Result<ChunkId>;
}

/// The folder of packs on a disk.
pub const PACKS_DIR: &str = "packs";

/// Where a sealed pack lies on a disk.
pub fn sealed_path(disk: &Path, pack: PackId) -> PathBuf {
    disk.join(PACKS_DIR).join(pack.folder()).join(format!("{pack}.pack"))
}

/// Where a pack lies while it is written.
pub fn open_path(disk: &Path, pack: PackId) -> PathBuf {
    disk.join(PACKS_DIR).join(pack.folder()).join(format!("{pack}.open"))
}

/// The pack that a file name stands for, and whether it says that it is sealed.
pub fn of_name(name: &std::ffi::OsStr) -> Option<(PackId, bool)> {
    let (stem, extension) = name.to_str()?.split_once('.')?;
    let pack: PackId = stem.parse().ok()?;
    match extension {
        "pack" => Some((pack, true)),
        "open" => Some((pack, false)),
        _ => None,
    }
}
