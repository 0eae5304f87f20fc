//! A survey: what each file of a backup costs, of which no more than its first bytes are read.
//!
//! An estimate backs up the beginnings of files and reckons from them what the files would take. For that it asks what
//! became of each: of what wraps its essence, and of the essence itself. A chunk counts for the file that brought it
//! first; where it is found again it costs nothing. What is in memory is bounded by the files that are asked for.

use super::cut::Cut;
use crate::io::threads::Mutex;
use crate::media;
use crate::pack::write::{NewRecord, PackWriter};
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::PoisonError;
use std::sync::atomic::{AtomicU64, Ordering};

/// What a file's first bytes came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cost {
    /// Bytes that were read of the file.
    pub bytes: u64,
    /// Those of them that wrap its essence: tags, pictures in tags, headers.
    pub wrapper_bytes: u64,
    /// Bytes of the records that were made for them, and for the others.
    pub wrapper_stored: u64,
    pub essence_stored: u64,
}

impl Cost {
    pub fn stored(&self) -> u64 {
        self.wrapper_stored.saturating_add(self.essence_stored)
    }

    /// Bytes of the file that are essence.
    pub fn essence_bytes(&self) -> u64 {
        self.bytes.saturating_sub(self.wrapper_bytes) // streams of a way back may be longer than what they are rebuilt to
    }
}

/// A file's cost while its batches are on their way.
#[derive(Debug, Default)]
pub(super) struct Spent {
    wrapper_bytes: AtomicU64,
    wrapper_stored: AtomicU64,
    essence_stored: AtomicU64,
}

impl Spent {
    /// Counts a batch: `records` are those of the chunks that are new, in their order.
    pub(super) fn add(&self, chunks: &[Cut], is_new: &[bool], records: &[NewRecord]) {
        let mut records = records.iter();
        for (cut, new) in chunks.iter().zip(is_new) {
            let record = if *new { records.next() } else { None };
            let stored = record.map_or(0, |r| r.payload.len() as u64 + PackWriter::overhead(r));
            if cut.stream == media::WRAPPER {
                self.wrapper_bytes.fetch_add((cut.to - cut.from) as u64, Ordering::Relaxed); // a chunk's length
                self.wrapper_stored.fetch_add(stored, Ordering::Relaxed);
            } else {
                self.essence_stored.fetch_add(stored, Ordering::Relaxed);
            }
        }
    }
}

/// Which files are asked for, and what is known of them.
#[derive(Debug, Default)]
pub struct Survey {
    /// So many bytes are read of a file, from its start; files that are not here are read whole.
    heads: HashMap<PathBuf, u64>,
    costs: Mutex<HashMap<PathBuf, Cost>>,
}

impl Survey {
    pub fn new(heads: HashMap<PathBuf, u64>) -> Survey {
        Survey { heads, costs: Mutex::default() }
    }

    /// What each file that could be read came to.
    pub fn costs(&self) -> HashMap<PathBuf, Cost> {
        std::mem::take(&mut *self.costs.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn head(&self, path: &Path) -> u64 {
        self.heads.get(path).copied().unwrap_or(u64::MAX)
    }

    pub(super) fn tell(&self, path: &Path, bytes: u64, spent: &Spent) {
        let of = |n: &AtomicU64| n.load(Ordering::Relaxed);
        let cost = Cost {
            bytes,
            wrapper_bytes: of(&spent.wrapper_bytes),
            wrapper_stored: of(&spent.wrapper_stored),
            essence_stored: of(&spent.essence_stored),
        };
        self.costs.lock().unwrap_or_else(PoisonError::into_inner).insert(path.to_owned(), cost);
    }
}
