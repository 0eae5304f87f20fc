//! Lanes: which residuals are coded side by side.
//!
//! Rows of a plane are cut into lanes of one width, of which eight make a vector: one register of the processor codes a token
//! of each at once, and works at another vector while it waits for the first. Owns the lanes' geometry and the levels of
//! their tokens.
//!
//! ```text
//!  row   lane 0     lane 1         lane 7
//!   0    0 1 2 ..   0 1 2 ..  ...  0 1 2 ..      the places 0, 1, 2 ... of each lane; the last samples of a row, if it has
//!   1    w ..       w ..           w ..          not as many as eight widths, are the first of the next one: each row's lanes
//!                                                begin a little further left
//! ```
//!
//! In a vector tokens lie place by place, eight at each, one of each lane. So what lies left or above in a lane lies eight
//! times as far before in its vector, and eight lanes are looked at as easily as one.
//!
//! # Invariants
//!
//! The level of a place hangs on tokens before it in its lane, and where its plane leans on the first one, on the first vector
//! at the same place. So a decoder knows it in time.

use super::planes::{Layout, PLANES};
use super::tokens::{LEVELS, TOKEN_BITS, level};
use crate::chunk::rans::LANES;
use std::ops::Range;

/// Groups at most.
pub const VECTORS: usize = 4;
/// Zero tokens in front of each vector; at least twice the distance to a left neighbour.
pub const PAD: usize = 8 * LANES;
/// Cells of the tables: every token at every level of every class.
pub const CELLS: usize = (PLANES * LEVELS) << TOKEN_BITS;
/// Tokens of a vector that are done at once.
pub const STRETCH: usize = 256;

/// The least width of a lane that is a part of rows.
const WIDTH_MIN: usize = 16;

/// Eight lanes beside each other in a plane.
#[derive(Clone, Copy, Debug)]
pub struct Vector {
    /// Where its first lane begins in the vector of all residuals, in the first row, and in the last one, which is shorter.
    start: [usize; 2],
    /// From a row to the next.
    band: usize,
    /// From a token to the one to its left, in tokens of the vector.
    pub left: usize,
    /// The same of the one above.
    pub row: usize,
    /// Whether the tokens of the first vector at the same place count.
    pub cross: bool,
    /// The number of its plane: vectors of one share their statistics.
    pub class: usize,
}

impl Vector {
    /// Where the row above begins to be known.
    fn front(&self) -> usize {
        self.row.saturating_add(self.left)
    }

    /// Weights of the tokens to the left, left of it, and across.
    #[inline(always)]
    pub fn weights(&self, i: usize) -> [u16; 3] {
        match (self.cross, i < self.front()) {
            (false, false) => [3, 1, 0],
            (false, true) => [7, 1, 0],
            (true, false) => [3, 0, 2],
            (true, true) => [6, 0, 2],
        }
    }

    /// How far a stretch that begins at `i` may go with the same weights, and with all above known.
    pub fn reach(&self, i: usize) -> usize {
        let front = self.front();
        if i < front { front - i } else { self.row - self.left }
    }

    /// The weighted tokens above, for a stretch. `t` is the vector with its pad.
    #[inline(always)]
    pub fn above(&self, t: &[u8], i: usize, out: &mut [u16]) {
        if i < self.front() {
            return out.fill(0);
        }
        let n = out.len();
        let at = PAD + i;
        let [u, l, r] = [self.row, self.row + self.left, self.row - self.left].map(|back| &t[at - back..][..n]);
        // Four tokens' weight, each below 2^6: below 2^8. Said as wrapping, since a check of each sum would cost the lanes.
        let sum = |k: usize| {
            let side = u16::from(l[k]).wrapping_add(u16::from(r[k]));
            u16::from(u[k]).wrapping_mul(2).wrapping_add(side)
        };
        if self.cross {
            out.iter_mut().enumerate().for_each(|(k, out)| *out = sum(k).wrapping_mul(3) / 4);
        } else {
            out.iter_mut().enumerate().for_each(|(k, out)| *out = sum(k));
        }
    }
}

/// The lanes of a chunk.
#[derive(Clone, Copy, Debug)]
pub struct Lanes {
    /// Tokens of a lane.
    pub len: usize,
    pub count: usize,
    vectors: [Vector; VECTORS],
    pub classes: usize,
    /// Places in a row, and in the last one, which is shorter.
    width: [usize; 2],
    /// Whole rows.
    rows: usize,
    /// Of each plane where what is behind its lanes begins, and its end.
    over: [[usize; 2]; PLANES],
}

/// Residuals of the lanes of a vector that stand behind each other.
pub struct Run {
    /// Where the first lane's stand.
    pub at: usize,
    /// From a lane to the next.
    pub step: usize,
    /// How many.
    pub len: usize,
}

impl Lanes {
    pub fn new(layout: &Layout) -> Lanes {
        let planes = layout.planes();
        let Some(shortest) = planes.iter().min_by_key(|p| p.len) else { return Lanes::NONE };
        // One plane alone gets two vectors, so that there is something to do while one waits.
        let alone = planes.len() == 1;
        let across = if alone { 2 * LANES } else { LANES };
        let in_rows = shortest.row / across >= WIDTH_MIN;
        let width = if in_rows { shortest.row / across } else { shortest.len / across };
        let rows = shortest.len.checked_div(width * across).unwrap_or(0);
        let last = (shortest.len - rows * width * across) / across;
        let mut lanes =
            Lanes { len: rows * width + last, classes: planes.len(), width: [width, last], rows, ..Lanes::NONE };
        for (class, plane) in planes.iter().enumerate() {
            let times = if alone { 2 } else { plane.len.checked_div(shortest.len).unwrap_or(1) }; // luma may be twice as long
            let band = times * LANES * width;
            for k in 0..times {
                let start = [0, rows * band].map(|at| plane.start + at);
                lanes.vectors[lanes.count] = Vector {
                    start: [start[0] + k * LANES * width, start[1] + k * LANES * last],
                    band,
                    left: LANES * plane.left,
                    // Lanes begin further left with each row: what is above is that much further on.
                    row: LANES.saturating_mul(if in_rows { plane.row - band + width } else { plane.row }),
                    cross: plane.leans.is_some(), // on the first plane, which has one vector
                    class,
                };
                lanes.count += 1; // planes are at most four of one length, or one, one and two
            }
            lanes.over[class] = [plane.start + times * LANES * lanes.len, plane.start + plane.len];
        }
        lanes
    }

    const NONE: Lanes = {
        const VECTOR: Vector = Vector { start: [0; 2], band: 0, left: LANES, row: 2 * LANES, cross: false, class: 0 };
        Lanes {
            len: 0,
            count: 0,
            vectors: [VECTOR; VECTORS],
            classes: 0,
            width: [0; 2],
            rows: 0,
            over: [[0; 2]; PLANES],
        }
    };

    /// Where the residuals of a vector stand, of `count` places from `place` on: as many as there are.
    #[inline(always)]
    pub fn runs(&self, vector: &Vector, place: usize, count: usize) -> impl Iterator<Item = Run> + use<'_> {
        let (vector, [width, last]) = (*vector, self.width);
        let (mut place, end) = (place, self.len.min(place + count));
        std::iter::from_fn(move || {
            let (at, step, len) = if place < self.rows * width {
                let (row, column) = (place / width, place % width);
                (vector.start[0] + row * vector.band + column, width, width - column)
            } else {
                (vector.start[1] + (place - self.rows * width), last, end.saturating_sub(place))
            };
            let len = len.min(end.saturating_sub(place));
            place += len;
            (len > 0).then_some(Run { at, step, len })
        })
    }

    pub fn vectors(&self) -> &[Vector] {
        &self.vectors[..self.count]
    }

    /// The residuals that are in no lane: those behind the lanes of each plane.
    pub fn over(&self) -> impl Iterator<Item = Range<usize>> + use<> {
        self.over.into_iter().take(self.classes).map(|[from, to]| from..to)
    }

    /// Tokens of a vector.
    pub fn tokens(&self) -> usize {
        self.len * LANES
    }

    /// Tokens from one vector to the next in a vector of padded vectors.
    pub fn stride(&self) -> usize {
        self.tokens() + PAD
    }

    /// The longest stretch from `i` on, in all vectors.
    pub fn reach(&self, i: usize) -> usize {
        let reach = self.vectors().iter().map(|l| l.reach(i)).min().unwrap_or(LANES);
        reach.min(STRETCH).min(self.tokens() - i).max(1)
    }

    /// The cells of all tokens, vector behind vector without pads. A cell is what a token is coded by: its vector's class, its
    /// level and the token itself, in one number below [`CELLS`].
    #[inline(always)]
    pub fn cells(&self, tokens: &[u8], out: &mut [u16]) {
        let (stride, len) = (self.stride(), self.tokens());
        let mut sums = [0u16; STRETCH];
        for (j, vector) in self.vectors().iter().enumerate() {
            let t = &tokens[j * stride..][..stride];
            let out = &mut out[j * len..][..len];
            let cross = vector.cross.then(|| &tokens[..stride]);
            let class = ((vector.class * LEVELS) << TOKEN_BITS) as u16; // of four at most
            let mut i = 0;
            while i < len {
                let n = vector.reach(i).min(STRETCH).min(len - i);
                let sums = &mut sums[..n];
                vector.above(t, i, sums);
                let [a, b, c] = vector.weights(i);
                let at = PAD + i;
                let [l, ll] = [vector.left, 2 * vector.left].map(|back| &t[at - back..][..n]);
                // Eight tokens' weight, each below 2^6: below 2^9.
                for k in 0..n {
                    let side = a.wrapping_mul(l[k].into()).wrapping_add(b.wrapping_mul(ll[k].into()));
                    sums[k] = sums[k].wrapping_add(side);
                }
                if let Some(cross) = cross {
                    for (s, &x) in sums.iter_mut().zip(&cross[at..]) {
                        *s = s.wrapping_add(c.wrapping_mul(x.into()));
                    }
                }
                for ((o, &s), &t) in out[i..].iter_mut().zip(&*sums).zip(&t[at..]) {
                    *o = class | u16::from(level(s)) << TOKEN_BITS | u16::from(t);
                }
                i += n;
            }
        }
    }
}
