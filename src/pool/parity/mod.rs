//! Parity: packs that stand in for lost ones.
//!
//! A group is up to k sealed packs on distinct disks with m parity packs on other disks. The code works on
//! each 64 bytes of all members alone, so any range that is aligned to 64 bytes is encoded and rebuilt by
//! itself. [`mod@write`] makes a group's parity, [`read`] gives the bytes of any member, its own where they
//! prove and rebuilt ones where not; [`ahead`] reads them from all disks at once. What is chosen where, and what the log says of it, is not known here.
//!
//! # Invariants
//!
//! 1. Parity is made of sealed packs only, each unit of which proved while it was read.
//! 2. A parity pack has its name only when its bytes, and the name, are durable.
//! 3. Rebuilt bytes leave only after they fit the check that the member's root stands for.
//! 4. Memory: a unit of 1 MiB a member, or 32 MiB where those are less while a pack is read ahead, whatever the packs'
//!    length.

pub mod ahead;
pub mod code;
pub mod read;
mod solve;
pub mod write;

use crate::format::PackId;
use crate::pool::disk::PARITY_DIR;
use std::path::{Path, PathBuf};

/// Where a parity pack lies on a disk.
pub fn parity_path(disk: &Path, pack: PackId) -> PathBuf {
    disk.join(PARITY_DIR).join(pack.folder()).join(format!("{pack}.parity"))
}

/// Where a parity pack lies while it is written.
pub fn open_parity_path(disk: &Path, pack: PackId) -> PathBuf {
    disk.join(PARITY_DIR).join(pack.folder()).join(format!("{pack}.open"))
}

/// The parity pack that a file name stands for, and whether it says that it is complete.
pub fn of_name(name: &std::ffi::OsStr) -> Option<(PackId, bool)> {
    let (stem, extension) = name.to_str()?.split_once('.')?;
    let pack: PackId = stem.parse().ok()?;
    match extension {
        "parity" => Some((pack, true)),
        "open" => Some((pack, false)),
        _ => None,
    }
}
