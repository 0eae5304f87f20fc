//! How many separate reads a file takes, and which parts of it those are.
//!
//! A *stretch* is what restore reads in one go, whatever the length: records of a file that lie in one pack with at most a
//! MiB of others between them. Going from one to the next is a seek, so a file's *fragments* are its stretches. They are
//! counted in windows of as many chunks as restore sorts by place at once, a GiB or so; within one the order in the file
//! is of no matter. What deltas are coded against is not counted: bases are read once for a window and kept.

use crate::catalog::recipe::{Pieces, What};
use crate::error::Result;
use crate::format::ChunkId;
use crate::format::recipe::Recipe;
use crate::index::Place;
use crate::ops::restore::GAP_BYTES;
use crate::ops::share::is_of_one_place;
use crate::store::Store;
use std::collections::HashSet;

/// Distinct chunks that are measured together.
pub const WINDOW: usize = 16 << 10;

/// Part of a window that lies together.
#[derive(Debug, PartialEq, Eq)]
pub struct Stretch {
    /// Serial of the pack.
    pub pack: u32,
    /// Bytes of the window's own records in it.
    pub bytes: u64,
    /// Which chunks of the window.
    pub chunks: Vec<u32>,
}

/// The stretches of a window by the places of its chunks, in the order of packs and offsets. Chunks without a place are in
/// none.
pub fn stretches(places: &[Option<Place>]) -> Vec<Stretch> {
    let mut sorted: Vec<(Place, u32)> = (0u32..).zip(places).filter_map(|(i, p)| Some(((*p)?, i))).collect();
    sorted.sort_unstable_by_key(|(p, _)| (p.pack, p.offset));
    let mut out: Vec<Stretch> = Vec::new();
    let mut end = 0u64;
    for (place, i) in sorted {
        let from = u64::from(place.offset);
        match out.last_mut() {
            Some(open) if open.pack == place.pack && from <= end.saturating_add(GAP_BYTES) => {
                open.bytes += u64::from(place.stored);
                open.chunks.push(i);
                end = end.max(from + u64::from(place.stored));
            }
            _ => {
                out.push(Stretch { pack: place.pack, bytes: u64::from(place.stored), chunks: vec![i] });
                end = from + u64::from(place.stored);
            }
        }
    }
    out
}

/// Hands out the chunks of a file in the order in which it is read, window by window, each once a window. False where a
/// list of it cannot be read.
///
/// # Errors
/// [`crate::Error::Index`], and what `each` returns.
pub fn windows(
    store: &Store,
    recipe: &Recipe,
    bytes: u64,
    each: &mut dyn FnMut(&[ChunkId]) -> Result<()>,
) -> Result<bool> {
    let (mut window, mut held) = (Vec::new(), HashSet::new());
    for piece in Pieces::new(store, recipe, 0, bytes) {
        let piece = match piece {
            Ok(piece) => piece,
            Err(e) if is_of_one_place(&e) => return Ok(false),
            Err(e) => return Err(e),
        };
        let mut add = |id: ChunkId| {
            if held.insert(id.half()) {
                window.push(id);
            }
        };
        match &piece.what {
            What::Chunk { id, .. } => add(*id),
            What::Mapped(segment) => segment.parts.iter().flatten().for_each(|part| add(part.id)),
            What::Hole | What::Fill(_) => {}
        }
        if window.len() >= WINDOW {
            each(&window)?;
            (window, held) = (Vec::new(), HashSet::new());
        }
    }
    if !window.is_empty() {
        each(&window)?;
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lies_within_a_gap_is_one_stretch_and_what_lies_beyond_is_another() {
        let at = |pack, offset| Some(Place { pack, offset, stored: 1000, plain: 1000 });
        let gap = GAP_BYTES as u32;
        let places = [at(2, 0), at(1, 5000 + gap), at(1, 4000), None, at(2, 1001 + gap), at(1, 0)];
        let found: Vec<_> = stretches(&places).into_iter().map(|s| (s.pack, s.bytes, s.chunks)).collect();
        assert_eq!(found, vec![(1, 3000, vec![5, 2, 1]), (2, 1000, vec![0]), (2, 1000, vec![4])]);
    }
}
