//! How bases lie to a chunk: landmarks of equal keys vote for the distance of their frames.
//!
//! What comes out is a guess. The fit decides whether it is worth anything.

use super::super::landmark::Landmark;
use std::collections::HashMap;

/// Ways of laying a base to the chunk that are tried, of one base and of all.
const OFFSETS_OF_BASE: usize = 3;
pub const SOURCES: usize = 8;
/// A key that stands in more places than this of either chunk says little.
const PLACES: usize = 8;

/// A base as it lies to the chunk: frame `n` of the chunk is frame `n + offset` of the base.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Source {
    pub base: usize,
    pub offset: i64,
}

/// Up to [`SOURCES`] ways to lay the bases; each one's landmarks and frames are given.
pub fn align(marks: &[Landmark], frames: usize, bases: &[(&[Landmark], usize)]) -> Vec<Source> {
    let mut sources = Vec::new();
    let mut lost = Vec::new();
    for (base, (others, _)) in bases.iter().enumerate() {
        let found = offsets(marks, others);
        if found.is_empty() {
            lost.push(base);
        }
        sources.extend(found.into_iter().map(|offset| Source { base, offset }));
    }
    // A base whose overlap is too short for landmarks may go on where another ends, or end where it begins.
    let known = sources.clone();
    for base in lost {
        for source in &known {
            let (Some((_, own)), Some((_, other))) = (bases.get(base), bases.get(source.base)) else { continue };
            for offset in [source.offset - *other as i64, source.offset + *own as i64] {
                let source = Source { base, offset }; // frames are far below 2^62
                if covered(source, frames, *own).is_some() && !sources.contains(&source) {
                    sources.push(source);
                }
            }
        }
    }
    sources.truncate(SOURCES);
    sources
}

/// The chunk's frames that a base has.
pub fn covered(source: Source, frames: usize, base_frames: usize) -> Option<std::ops::Range<usize>> {
    let from = source.offset.checked_neg()?.max(0);
    let to = (base_frames as i64).checked_sub(source.offset)?.min(frames as i64); // frames are below 2^24
    (from < to).then_some(from as usize..to as usize) // both at least 0
}

/// The offsets most voted for.
fn offsets(marks: &[Landmark], others: &[Landmark]) -> Vec<i64> {
    let mut votes: HashMap<i64, u32> = HashMap::new();
    let (mut a, mut b) = (marks.chunk_by(|x, y| x.key == y.key), others.chunk_by(|x, y| x.key == y.key));
    let (mut one, mut other) = (a.next(), b.next());
    while let (Some([x, ..]), Some([y, ..])) = (one, other) {
        match x.key.cmp(&y.key) {
            std::cmp::Ordering::Less => one = a.next(),
            std::cmp::Ordering::Greater => other = b.next(),
            std::cmp::Ordering::Equal => {
                let (these, those) = (one.unwrap_or_default(), other.unwrap_or_default());
                if these.len() <= PLACES && those.len() <= PLACES {
                    for (x, y) in these.iter().flat_map(|x| those.iter().map(move |y| (x, y))) {
                        *votes.entry(i64::from(y.frame) - i64::from(x.frame)).or_default() += 1;
                    }
                }
                (one, other) = (a.next(), b.next());
            }
        }
    }
    let mut ranked: Vec<(u32, i64)> = votes.into_iter().map(|(offset, n)| (n, offset)).collect();
    ranked.sort_unstable_by(|a, b| b.cmp(a));
    let best = ranked.first().map_or(0, |(n, _)| *n);
    // One vote counts where there is nothing better.
    ranked
        .iter()
        .take_while(|(n, _)| *n >= best.div_ceil(16).max(2).min(best))
        .take(OFFSETS_OF_BASE)
        .map(|(_, o)| *o)
        .collect()
}
