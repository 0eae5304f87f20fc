//! Folders below which no file is left to split anew, and files that need not be tried: `STORE/split`, a cache.
//!
//! ```text
//! split 1 older d3b07384d113edec    version, which files, the splitters that there were: a list of others counts for nothing
//! 00f2c1a47be01199                  a folder's root, by the first 8 bytes of its keyed check
//! file 5f1de22c90b3aa04             a content that need not be tried, likewise: where its folder has others left
//! ```
//! A folder's root names all that is in it, and a recipe all of a content, so what was found stays true. What is lost with the
//! list is the time of looking again, which for files that no splitter takes means to read the beginning of each.

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
/// Folders, and files, that are listed. Beyond that those of the last run are, as many as fit.
const LISTED_MAX: usize = 3 << 19;

const _: () = assert!(LISTED_MAX as u64 * (17 + 22) < BYTES_MAX);

/// What the list has.
#[derive(Default)]
pub(super) struct Listed {
    pub folders: Vec<u64>,
    pub files: Vec<u64>,
}

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

/// What is listed. A list that cannot be read, or is of other splitters, is empty.
pub(super) fn load(store: &Store, split: Split) -> Listed {
    let text = store.io().read_small(&store.path().join(SPLIT_FILE), BYTES_MAX).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let (mut lines, mut listed) = (text.lines(), Listed::default());
    if lines.next().is_none_or(|line| line != head(split)) {
        return listed;
    }
    for line in lines {
        let (to, id) = match line.strip_prefix("file ") {
            Some(id) => (&mut listed.files, id),
            None => (&mut listed.folders, line),
        };
        let Ok(id) = u64::from_str_radix(id, 16) else { break };
        to.push(id);
    }
    listed
}

/// Those of a run before those of the list, as many as may be listed, in order.
fn joined(of_run: impl Iterator<Item = u64>, listed: Vec<u64>) -> Vec<u64> {
    let mut all: HashSet<u64> = of_run.take(LISTED_MAX).collect();
    for id in listed {
        if all.len() < LISTED_MAX {
            all.insert(id);
        }
    }
    let mut all: Vec<u64> = all.into_iter().collect();
    all.sort_unstable();
    all
}

/// Adds what a run found: folders that have nothing left and, unless nothing is left at all, files that need not be tried.
///
/// # Errors
/// [`Error::Io`]; the list is then as it was.
pub(super) fn add(store: &Store, memory: &Memory, is_all_done: bool) -> Result<()> {
    let files = || memory.tried.iter().chain(&memory.known).copied();
    if memory.clean.is_empty() && files().next().is_none() {
        return Ok(());
    }
    let listed = load(store, memory.split);
    let mut text = head(memory.split);
    text.push('\n');
    for folder in joined(memory.clean.iter().copied(), listed.folders) {
        let _ = writeln!(text, "{folder:016x}"); // into memory
    }
    if !is_all_done {
        for file in joined(files(), listed.files) {
            let _ = writeln!(text, "file {file:016x}"); // as above
        }
    }
    let path = store.path().join(SPLIT_FILE);
    store.io().write_durable(&path, text.as_bytes(), true).map_err(Error::io("write", path))
}
