//! A bound on fragments at backup: duplicates that would scatter a file are stored again.
//!
//! Each file has an allowance: [`FREE`] fragments, one for each pack that it fills, and so many for each GiB read of it. A window's duplicates lie in
//! stretches ([`fragments`]); those that go on where an earlier window's ended are free, of the others the longest are
//! taken first, and once the allowance is used up what is left is stored again beside the file's new chunks. This is
//! capping (Lillibridge, Eshghi, Bhagwat, FAST 2013) with an allowance that is saved up from window to window; capping
//! lost 8 % of what deduplication gave there, for 2 to 6 times the speed of a restore.
//!
//! # Invariants
//!
//! 1. Only a chunk whose stored copy has no bases is stored again, and without bases: a base keeps a plain copy, and what a
//!    chunk is coded against does not change.
//! 2. What is stored again is claimed: it is stored once a run.

use super::resemble::Hit;
use super::{Ingest, TableRow};
use crate::format::ChunkId;
use crate::format::footer::PackKind;
use crate::index::Place;
use crate::io::threads::Mutex;
use crate::ops::compact::fragments;
use crate::ops::gc::Superseded;
use crate::ops::gc::keep::ROW_BYTES_ABOUT;
use crate::ops::restore::GAP_BYTES;
use std::collections::VecDeque;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;

/// Fragments that every file may have: a file whose tags changed lies in two or three places and is to cost only its tags.
pub const FREE: u64 = 8;
/// Stretches that are remembered, so that what goes on there is known.
const RECENT: usize = 64;

/// A file's allowance.
pub struct Bound {
    per_gib: u64,
    /// Even a file that was written alone lies in as many places as it fills packs.
    pack_bytes: u64,
    bytes: u64,
    fragments: u64,
    recent: VecDeque<(u32, u64)>,
}

impl Bound {
    pub fn new(per_gib: u64, pack_bytes: u64) -> Bound {
        // What is new, and what is stored again, lies in one place.
        Bound { per_gib, pack_bytes: pack_bytes.max(1), bytes: 0, fragments: 1, recent: VecDeque::new() }
    }

    fn allowed(&self) -> u64 {
        let by_size = (u128::from(self.bytes) * u128::from(self.per_gib)) >> 30;
        let filled = FREE + self.bytes / self.pack_bytes; // no file fills 2^63 packs
        filled.saturating_add(u64::try_from(by_size).unwrap_or(u64::MAX))
    }

    /// Of a window of so many bytes, which chunks are to be stored again. Those that do not `move` stay where they are, and
    /// count.
    fn beyond(&mut self, bytes: u64, places: &[Option<Place>], moves: &dyn Fn(u32) -> bool) -> Vec<u32> {
        self.bytes = self.bytes.saturating_add(bytes);
        let mut found = fragments::stretches(places);
        found.sort_by_key(|s| std::cmp::Reverse(s.bytes));
        let mut again = Vec::new();
        for stretch in found {
            let of = |i: &u32| places.get(*i as usize).copied().flatten();
            let first = stretch.chunks.first().and_then(of).map_or(0, |p| u64::from(p.offset));
            let end = stretch.chunks.last().and_then(of).map_or(0, |p| u64::from(p.offset) + u64::from(p.stored));
            let goes_on = |(pack, at): &&mut (u32, u64)| *pack == stretch.pack && first.abs_diff(*at) <= GAP_BYTES;
            if let Some((_, at)) = self.recent.iter_mut().find(goes_on) {
                *at = end;
                continue;
            }
            if self.fragments >= self.allowed() {
                let before = again.len();
                again.extend(stretch.chunks.iter().copied().filter(|i| moves(*i)));
                if again.len() - before == stretch.chunks.len() {
                    continue;
                }
            }
            self.fragments = self.fragments.saturating_add(1);
            self.recent.push_back((stretch.pack, end));
            if self.recent.len() > RECENT {
                self.recent.pop_front();
            }
        }
        again
    }
}

impl Ingest<'_> {
    /// The allowance of one more file, where there is a bound.
    pub fn bound(&self) -> Option<Mutex<Bound>> {
        let pack_bytes = self.store.superblock().pack_bytes;
        self.max_fragments_per_gib.map(|n| Mutex::new(Bound::new(n, pack_bytes)))
    }

    /// Claims those duplicates of a window that would scatter a file beyond its allowance. `bytes` are the window's.
    pub fn store_again(&self, bound: &Mutex<Bound>, ids: &[ChunkId], bytes: u64, hits: &mut [Hit]) {
        let places: Vec<Option<Place>> = hits.iter().map(|hit| hit.at.map(|at| at.place)).collect();
        let row = |i: u32| -> Option<TableRow> {
            let at = hits.get(i as usize)?.at?;
            self.row(&at, ids.get(i as usize)?)
        };
        // What is held safer would come to lie among other data.
        let may_move = |i: u32| hits.get(i as usize)?.at.map(|at| at.sealed.kind == PackKind::Data);
        let moves = |i: u32| may_move(i) == Some(true) && row(i).is_some_and(|row| row.bases.is_empty());
        let again = bound.lock().unwrap_or_else(PoisonError::into_inner).beyond(bytes, &places, &moves);
        let mut superseded = self.superseded.lock().unwrap_or_else(PoisonError::into_inner);
        for i in again {
            let (Some(id), Some(hit)) = (ids.get(i as usize), hits.get_mut(i as usize)) else { continue };
            let Some(at) = hit.at else { continue };
            // Another thread may have it on its way, or it comes twice in the window.
            if !self.claims.claim(id, self.claims_most()) {
                continue;
            }
            *hit = Hit { at: None, new: true, plain: true };
            let stored = u64::from(at.place.stored);
            self.counters.chunks_again.fetch_add(1, Ordering::Relaxed);
            self.counters.bytes_again.fetch_add(stored, Ordering::Relaxed);
            let of_pack = superseded.entry(at.place.pack).or_default();
            *of_pack = (of_pack.0 + 1, of_pack.1 + stored + ROW_BYTES_ABOUT);
        }
    }

    /// What was stored again so far.
    pub fn take_superseded(&self) -> Superseded {
        std::mem::take(&mut self.superseded.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(pack: u32, offset: u32, stored: u32) -> Option<Place> {
        Some(Place { pack, offset, stored, plain: stored })
    }

    #[test]
    fn the_longest_are_taken_until_the_allowance_is_used_up() {
        let mut bound = Bound::new(0, 1 << 40);
        let places: Vec<_> = (0..10).map(|i| at(i, 0, 1000 + i)).collect();
        let again = bound.beyond(1 << 20, &places, &|_| true);
        assert_eq!(again, vec![2, 1, 0], "one place is that of new chunks, seven are the longest");
        // What goes on where the last window ended costs nothing; another place is too much.
        let next = [at(9, 1009, 500), at(20, 0, 500)];
        assert_eq!(bound.beyond(1 << 20, &next, &|_| true), vec![1]);
    }

    #[test]
    fn an_allowance_grows_with_the_file() {
        let mut bound = Bound::new(1024, 1 << 40);
        let scattered = |n: u32| (0..8).map(|i| at(8 * n + i, 0, 100)).collect::<Vec<_>>();
        let again: usize = (0..256).map(|n| bound.beyond(4 << 20, &scattered(n), &|_| true).len()).sum();
        let taken = 8 * 256 - again as u64;
        assert_eq!(taken, FREE - 1 + 1024, "a GiB in all");
    }

    #[test]
    fn what_cannot_be_stored_again_counts() {
        let mut bound = Bound::new(0, 1 << 40);
        let places: Vec<_> = (0..12).map(|i| at(i, 0, 1000)).collect();
        assert_eq!(bound.beyond(1 << 20, &places, &|_| false), Vec::<u32>::new());
        assert_eq!(bound.fragments, 13);
    }
}
