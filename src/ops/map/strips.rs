//! A few files, range by range.
//!
//! The bytes of a mapped segment do not stand in the file as they stand in its streams: its parts are drawn one behind
//! the other, each as wide as its share of the segment.

use super::{Few, Means};
use crate::catalog::recipe::{Pieces, What};
use crate::error::Result;
use crate::format::ChunkId;
use crate::format::recipe::Recipe;
use crate::ops::Control;
use crate::ops::share::facts::{self, Fact};
use crate::ops::share::is_of_one_place;
use crate::store::Store;
use std::collections::{BTreeMap, HashMap};

/// Pieces of all files together that are held: about 150 MB.
pub const PIECES_MAX: usize = 1 << 20;

/// There are more pieces than are held.
pub struct TooMany;

/// A range of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Range {
    pub from: u64,
    pub to: u64,
}

impl Range {
    pub fn bytes(&self) -> u64 {
        self.to.saturating_sub(self.from)
    }
}

/// A file that is drawn.
#[derive(Clone, Debug, Default)]
pub struct Strip {
    pub path: Vec<u8>,
    pub bytes: u64,
    /// Holes and runs of one value.
    pub holes: Vec<Range>,
    /// What repeats bytes of the file itself.
    pub repeats: Vec<Range>,
}

/// Ranges of two files that share storage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ribbon {
    /// Numbers of strips; `upper` is less than `lower`.
    pub upper: usize,
    pub lower: usize,
    pub of_upper: Range,
    pub of_lower: Range,
    pub means: Means,
}

/// Files in the order in which they are drawn: relatives beside each other.
#[derive(Debug, Default)]
pub struct Strips {
    pub files: Vec<Strip>,
    pub ribbons: Vec<Ribbon>,
}

struct Piece {
    range: Range,
    id: ChunkId,
}

struct Pieced {
    strip: Strip,
    pieces: Vec<Piece>,
}

pub(super) fn of(
    store: &Store,
    control: &Control,
    files: &[Few],
) -> Result<std::result::Result<(Strips, u64), TooMany>> {
    let (mut all, mut lost, mut room) = (Vec::new(), 0, PIECES_MAX);
    for few in files {
        control.proceed()?;
        let strip = Strip { path: few.path.clone(), bytes: few.bytes, ..Default::default() };
        let mut pieced = Pieced { strip, pieces: Vec::new() };
        if let Some(recipe) = &few.recipe {
            match cut(store, control, recipe, few.bytes, &mut pieced, &mut room) {
                Ok(true) => {}
                Ok(false) => return Ok(Err(TooMany)),
                Err(e) if is_of_one_place(&e) => lost += 1,
                Err(e) => return Err(e),
            }
        }
        all.push(pieced);
    }
    let facts = all_facts(store, &all)?;
    Ok(Ok((tie(all, &facts), lost)))
}

/// The pieces of one file. False where there is no room for them.
fn cut(
    store: &Store,
    control: &Control,
    recipe: &Recipe,
    bytes: u64,
    into: &mut Pieced,
    room: &mut usize,
) -> Result<bool> {
    for piece in Pieces::new(store, recipe, 0, bytes) {
        let piece = piece?;
        let range = Range { from: piece.at, to: piece.at.saturating_add(piece.bytes) };
        let before = into.pieces.len();
        match piece.what {
            What::Hole | What::Fill(_) => into.strip.holes.push(range),
            What::Chunk { id, .. } => into.pieces.push(Piece { range, id }),
            What::Mapped(segment) => {
                let parts = segment.parts.iter().flatten();
                let total: u64 = parts.clone().map(|p| u64::from(p.bytes)).sum();
                let mut done = 0;
                // At most 2^25 of 2^25 by 2^23 bytes: no product passes 64 bits.
                let place = |done: u64| piece.at + done * piece.bytes / total.max(1);
                for part in parts {
                    let from = place(done);
                    done += u64::from(part.bytes);
                    match into.pieces.last_mut().filter(|last| last.id == part.id && last.range.to == from) {
                        Some(last) => last.range.to = place(done),
                        None => into.pieces.push(Piece { range: Range { from, to: place(done) }, id: part.id }),
                    }
                }
            }
        }
        let grown = into.pieces.len().saturating_sub(before) + 1;
        if grown > *room {
            return Ok(false);
        }
        *room -= grown;
        control.proceed()?;
    }
    Ok(true)
}

fn all_facts(store: &Store, files: &[Pieced]) -> Result<HashMap<ChunkId, Fact>> {
    let mut ids: Vec<ChunkId> = files.iter().flat_map(|f| &f.pieces).map(|p| p.id).collect();
    ids.sort_unstable();
    ids.dedup();
    let mut out = HashMap::new();
    for batch in ids.chunks(facts::BATCH) {
        for (id, fact) in batch.iter().zip(facts::of(store, batch)?) {
            // Only what is coded against others is asked for again.
            if let Some(fact) = fact.filter(|f| !f.bases.is_empty()) {
                out.insert(*id, fact);
            }
        }
    }
    Ok(out)
}

/// Bytes that each pair of files shares as whole chunks or over bases, for the order.
fn nearness(files: &[Pieced], facts: &HashMap<ChunkId, Fact>) -> BTreeMap<(usize, usize), u64> {
    let mut by_key: HashMap<ChunkId, BTreeMap<usize, u64>> = HashMap::new();
    for (i, file) in files.iter().enumerate() {
        for piece in &file.pieces {
            let bases = facts.get(&piece.id).map(|f| &*f.bases).unwrap_or_default();
            for key in std::iter::once(&piece.id).chain(bases) {
                *by_key.entry(*key).or_default().entry(i).or_default() += piece.range.bytes();
            }
        }
    }
    let mut near: BTreeMap<(usize, usize), u64> = BTreeMap::new();
    for holders in by_key.values() {
        for (a, n) in holders {
            for (b, m) in holders.range(a + 1..) {
                *near.entry((*a, *b)).or_default() += n.min(m);
            }
        }
    }
    near
}

/// Relatives beside each other: each next file is the one that shares most with the one before, else with any before,
/// else the first that is left.
fn order(n: usize, near: &BTreeMap<(usize, usize), u64>) -> Vec<usize> {
    let between = |a: usize, b: usize| near.get(&(a.min(b), a.max(b))).copied().unwrap_or(0);
    let mut left: Vec<usize> = (0..n).collect();
    let mut out: Vec<usize> = Vec::with_capacity(n);
    while !left.is_empty() {
        let score = |&f: &usize| {
            let last = out.last().map_or(0, |last| between(*last, f));
            let any = out.iter().map(|o| between(*o, f)).max().unwrap_or(0);
            (last, any, std::cmp::Reverse(f))
        };
        let best = left.iter().copied().max_by_key(score).unwrap_or(0); // `left` is not empty
        left.retain(|f| *f != best);
        out.push(best);
    }
    out
}

/// Ties each piece to the nearest file above that has the same chunk, else to one that has what it is coded against, or
/// what is coded against it or against the same base.
fn tie(files: Vec<Pieced>, facts: &HashMap<ChunkId, Fact>) -> Strips {
    let order = order(files.len(), &nearness(&files, facts));
    let mut files: Vec<Option<Pieced>> = files.into_iter().map(Some).collect();
    let mut out = Strips::default();
    // Where a chunk stands in the nearest file above, and by base what is coded against it there.
    let mut chunks: HashMap<ChunkId, (usize, Range)> = HashMap::new();
    let mut coded: HashMap<ChunkId, (usize, Range, Means)> = HashMap::new();
    for index in order {
        let Some(mut file) = files.get_mut(index).and_then(Option::take) else { continue };
        let row = out.files.len();
        let mut mine: HashMap<ChunkId, Range> = HashMap::new();
        for piece in &file.pieces {
            if mine.contains_key(&piece.id) {
                file.strip.repeats.push(piece.range);
                continue;
            }
            mine.insert(piece.id, piece.range);
            let fact = facts.get(&piece.id);
            let by_base = || {
                let fact = fact?;
                let means = Means::Coded(fact.codec);
                let on = |base: &ChunkId| {
                    let at = chunks.get(base).copied();
                    at.or_else(|| coded.get(base).map(|(row, range, _)| (*row, *range)))
                };
                fact.bases.iter().find_map(on).map(|(row, range)| (row, range, means))
            };
            let tied = chunks.get(&piece.id).map(|(row, range)| (*row, *range, Means::Chunk));
            if let Some((upper, of_upper, means)) = tied.or_else(by_base).or_else(|| coded.get(&piece.id).copied()) {
                let ribbon = Ribbon { upper, lower: row, of_upper, of_lower: piece.range, means };
                join(&mut out.ribbons, ribbon);
            }
        }
        for piece in &file.pieces {
            chunks.insert(piece.id, (row, piece.range));
            if let Some(fact) = facts.get(&piece.id) {
                let here = (row, piece.range, Means::Coded(fact.codec));
                for base in &fact.bases {
                    coded.insert(*base, here);
                }
            }
        }
        out.files.push(file.strip);
    }
    out
}

/// Adds a ribbon, or makes the last one longer where it goes on in both files.
fn join(ribbons: &mut Vec<Ribbon>, next: Ribbon) {
    if let Some(last) = ribbons.last_mut()
        && (last.upper, last.lower, last.means) == (next.upper, next.lower, next.means)
        && (last.of_upper.to, last.of_lower.to) == (next.of_upper.from, next.of_lower.from)
    {
        (last.of_upper.to, last.of_lower.to) = (next.of_upper.to, next.of_lower.to);
        return;
    }
    ribbons.push(next);
}
