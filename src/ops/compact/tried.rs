//! Which packs the dense tier has seen: `STORE/dense`, a cache.
//!
//! ```text
//! dense 3        the tier's version: a list of another one counts for nothing
//! 17             serials of packs whose chunks were all coded by it, or tried with it and left as they were
//! ```
//! Serials are never used again, so an old list names no new pack. What is lost with it is the time of trying again.

use crate::error::{Error, Result};
use crate::format::event::SealedPack;
use crate::io::Io;
use crate::store::Store;
use std::collections::BTreeSet;
use std::path::Path;

/// Its name in `STORE`.
pub const DENSE_FILE: &str = "dense";
/// Raised when the dense tier comes to code smaller, so that everything is tried again.
const VERSION: u32 = 3;
/// Longer lists are no lists: six million packs.
const BYTES_MAX: u64 = 64 << 20;

/// The serials of packs that need not be tried again. A list that cannot be read is an empty one.
pub fn load(store: &Store) -> BTreeSet<u32> {
    of(store.io(), store.path())
}

fn of(io: &Io, home: &Path) -> BTreeSet<u32> {
    let text = io.read_small(&home.join(DENSE_FILE), BYTES_MAX).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let mut lines = text.lines();
    match lines.next() {
        Some(head) if head == format!("dense {VERSION}") => lines.map_while(|line| line.parse().ok()).collect(),
        _ => BTreeSet::new(),
    }
}

/// Adds packs to the list, and takes those from it that are gone.
///
/// # Errors
/// [`Error::Io`]; the list is then as it was.
pub fn add(store: &Store, packs: &BTreeSet<u32>) -> Result<()> {
    if packs.is_empty() {
        return Ok(());
    }
    let mut all = load(store);
    all.extend(packs);
    store.with_state(|s| all.retain(|serial| s.pack(*serial).is_some()));
    let text: String =
        std::iter::once(format!("dense {VERSION}\n")).chain(all.iter().map(|s| format!("{s}\n"))).collect();
    let path = store.path().join(DENSE_FILE);
    store.io().write_durable(&path, text.as_bytes(), true).map_err(Error::io("write", path))
}

/// The packs of data that were made from a serial on.
pub fn made_since(store: &Store, first_new: u32) -> BTreeSet<u32> {
    let is_data = |p: &SealedPack| p.kind.is_data();
    store.with_state(|s| s.packs_from(first_new).map(|p| p.sealed).filter(is_data).map(|p| p.serial).collect())
}

/// Packs that were made from these sources alone need not be tried again if none of the sources need, by what was listed
/// before.
///
/// # Errors
/// As [`add`].
pub fn carry(store: &Store, listed: &BTreeSet<u32>, sources: &BTreeSet<u32>, first_new: u32) -> Result<()> {
    if sources.is_empty() || !sources.is_subset(listed) {
        return Ok(());
    }
    add(store, &made_since(store, first_new))
}
