//! Folders below which no file is left to split anew: `STORE/split`, a cache.
//!
//! ```text
//! split 1 older d3b07384d113edec    version, which files, the splitters that there were: a list of others counts for nothing
//! 00f2c1a47be01199                  a folder's root, by the first 8 bytes of its keyed check
//! ```
//! A folder's root names all that is in it, so what was found stays true. What is lost with the list is the time of looking
//! again, which for files that no splitter takes means to read the beginning of each.

use super::Split;
use super::scan::Memory;
use crate::error::{Error, Result};
use crate::format::check;
use crate::media;
use crate::store::Store;
use std::collections::HashSet;
use std::fmt::Write;

/// Its name in `STORE`.
pub const SPLIT_FILE: &str = "split";
const VERSION: u32 = 1;
/// A longer list is none.
const BYTES_MAX: u64 = 64 << 20;
/// Folders that are listed. Beyond that only those of the last run are.
const FOLDERS_MAX: usize = 2 << 20;

/// Raised with every splitter that is new or another version.
fn head(split: Split) -> String {
    let mut all = Vec::new();
    for id in media::SPLITTERS.iter().chain(media::WAYS_BACK) {
        all.extend_from_slice(&id.number.to_le_bytes());
        all.push(id.version);
    }
    let [a, b, c, d, e, f, g, h, ..] = check::blake3(&[&all]);
    let which = match split {
        Split::Older => "older",
        Split::All => "all",
    };
    format!("split {VERSION} {which} {:016x}", u64::from_be_bytes([a, b, c, d, e, f, g, h]))
}

/// The folders of the list, `most` at most. One that cannot be read, or is of other splitters, is empty.
pub(super) fn load(store: &Store, split: Split, most: usize) -> HashSet<u64> {
    let text = store.io().read_small(&store.path().join(SPLIT_FILE), BYTES_MAX).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let mut lines = text.lines();
    match lines.next() {
        Some(line) if line == head(split) => lines.map_while(|l| u64::from_str_radix(l, 16).ok()).take(most).collect(),
        _ => HashSet::new(),
    }
}

/// Adds the folders that a run found to have nothing left.
///
/// # Errors
/// [`Error::Io`]; the list is then as it was.
pub(super) fn add(store: &Store, memory: &Memory) -> Result<()> {
    if memory.clean.is_empty() {
        return Ok(());
    }
    let mut all: Vec<u64> = memory.clean.iter().copied().collect();
    all.extend(memory.listed.difference(&memory.clean));
    all.truncate(FOLDERS_MAX.max(memory.clean.len()).min(BYTES_MAX as usize / 32)); // two million
    all.sort_unstable();
    let mut text = head(memory.split);
    text.push('\n');
    for folder in all {
        let _ = writeln!(text, "{folder:016x}"); // into memory
    }
    let path = store.path().join(SPLIT_FILE);
    store.io().write_durable(&path, text.as_bytes(), true).map_err(Error::io("write", path))
}
