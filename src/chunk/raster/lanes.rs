//! Lanes: which residuals are coded side by side.
//!
//! All samples of a chunk are cut into three or four lanes of one length, which are coded in lockstep: the
//! processor works at one while it waits for another. Owns the lanes' geometry and the levels of their tokens.
//!
//! # Invariants
//!
//! The level of a place hangs on tokens before it in its lane, and on the lane that it leans on, at the same place,
//! which has a lower number. So a decoder knows it in time.

use super::planes::Layout;
use super::tokens::{LEVELS, TOKEN_BITS, level};

/// Lanes at most.
pub const LANES: usize = 4;
/// Zero tokens in front of each lane; at least twice the distance to a left neighbour.
pub const PAD: usize = 8;
/// Places: every token at every level of every class.
pub const PLACES: usize = (LANES * LEVELS) << TOKEN_BITS;
/// Tokens done at once.
pub const STRETCH: usize = 256;

/// One lane: a part of a plane.
#[derive(Clone, Copy, Debug, Default)]
pub struct Lane {
    pub left: usize,
    pub row: usize,
    /// The lane whose tokens at the same place count.
    pub cross: Option<usize>,
    /// Lanes of one class share their statistics.
    pub class: usize,
}

impl Lane {
    /// Where the row above begins to be known.
    fn front(&self) -> usize {
        self.row.saturating_add(self.left)
    }

    /// Weights of the tokens to the left, left of it, and across.
    #[inline(always)]
    pub fn weights(&self, i: usize) -> [u16; 3] {
        match (self.cross.is_some(), i < self.front()) {
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

    /// The weighted tokens above, for a stretch. `t` is the lane with its pad.
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
        if self.cross.is_some() {
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
    pub lanes: [Lane; LANES],
    pub classes: usize,
}

impl Lanes {
    pub fn new(layout: &Layout) -> Lanes {
        let planes = layout.planes();
        let count = if planes.len() == 3 && planes.iter().all(|p| p.len == planes[0].len) { 3 } else { LANES };
        let len = layout.samples() / count;
        let mut lanes = [Lane::default(); LANES];
        for (i, lane) in lanes.iter_mut().enumerate().take(count) {
            let at = i * len;
            let class = planes.iter().rposition(|p| p.start <= at).unwrap_or(0);
            let plane = planes[class];
            let cross = plane.leans.and_then(|lean| {
                let back = plane.start - lean; // it stands behind it
                (len > 0 && back.is_multiple_of(len) && back / len <= i).then(|| i - back / len)
            });
            *lane = Lane { left: plane.left, row: plane.row, cross, class };
        }
        Lanes { len, count, lanes, classes: planes.len() }
    }

    /// Tokens from one lane to the next in a vector of padded lanes.
    pub fn stride(&self) -> usize {
        self.len + PAD
    }

    /// Where the row above begins to be known in all lanes.
    pub fn front(&self) -> usize {
        self.lanes[..self.count].iter().map(Lane::front).max().unwrap_or(0)
    }

    /// The lanes that lean on lane 0, as bits; none of these numbers if one leans on another.
    pub fn cross(&self) -> u8 {
        let lanes = self.lanes[..self.count].iter().enumerate();
        lanes.fold(0, |bits, (j, lane)| match lane.cross {
            None => bits,
            Some(0) => bits | 1 << j,
            Some(_) => u8::MAX,
        })
    }

    /// The longest stretch from `i` on.
    pub fn reach(&self, i: usize) -> usize {
        let lanes = &self.lanes[..self.count];
        lanes.iter().map(|l| l.reach(i)).min().unwrap_or(1).min(STRETCH).min(self.len - i).max(1)
    }

    /// The places of all tokens, lane behind lane without pads. A place is what a token is coded by: its lane's class, its
    /// level and the token itself, in one number below [`PLACES`].
    #[inline(always)]
    pub fn places(&self, tokens: &[u8], out: &mut [u16]) {
        let stride = self.stride();
        let mut sums = [0u16; STRETCH];
        for (j, lane) in self.lanes.iter().enumerate().take(self.count) {
            let t = &tokens[j * stride..][..stride];
            let out = &mut out[j * self.len..][..self.len];
            let cross = lane.cross.map(|c| &tokens[c * stride..][..stride]);
            let class = ((lane.class * LEVELS) << TOKEN_BITS) as u16; // of four at most
            let mut i = 0;
            while i < self.len {
                let n = lane.reach(i).min(STRETCH).min(self.len - i);
                let sums = &mut sums[..n];
                lane.above(t, i, sums);
                let [a, b, c] = lane.weights(i);
                let at = PAD + i;
                let [l, ll] = [lane.left, 2 * lane.left].map(|back| &t[at - back..][..n]);
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
