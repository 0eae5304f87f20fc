//! Predictors: samples to residuals and back, plane by plane.
//!
//! Owns which neighbours foretell a sample. Knows neither packing nor coder, nor how weights are found ([`super::choose`]).
//!
//! # Invariants
//!
//! 1. [`rebuild`] undoes [`residuals`], for any weights that [`Mode::is_sound`].
//! 2. Both are integer arithmetic.
//! 3. What a sample is foretold from lies before it: in its plane, or in the plane that it leans on.

mod rebuild;

use super::planes::Plane;
use crate::chunk::wide::wide;
pub use rebuild::rebuild;

/// Bits behind the point of a weight.
pub const WEIGHT_BITS: u32 = 10;
pub const ONE: i32 = 1 << WEIGHT_BITS;
/// Neighbours that a weight stands for: left, the one left of it, above, above left, above right, two above; and of
/// the plane leaned on: here, left, above, above right.
pub const TAPS: usize = 10;
/// The sum of all weights' sizes, so that 16-bit samples cannot overflow: 31 * 2^10 * 2^16 < 2^31.
const WEIGHTS_SUM: i32 = 31 * ONE;
/// Samples foretold at once.
pub const STRETCH: usize = 256;

/// How the samples of a plane are foretold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// The weighted sum of neighbours.
    Linear([i16; TAPS]),
    /// The median of left, above, and left + above - above left.
    Median,
    /// The same of the differences to the plane leaned on.
    MedianOfDifferences,
}

impl Mode {
    /// Whether the weights are within bounds, and no plane is needed that is not there.
    pub fn is_sound(&self, plane: &Plane) -> bool {
        match self {
            Mode::Linear(w) => {
                w.iter().map(|&w| i32::from(w).abs()).sum::<i32>() <= WEIGHTS_SUM // ten times 2^15 at most
                    && (plane.leans.is_some() || w[6..] == [0; 4])
            }
            Mode::Median => true,
            Mode::MedianOfDifferences => plane.leans.is_some(),
        }
    }

    /// The weight of the leaned-on plane's step from left to here, where nothing stands above.
    fn step(&self) -> i32 {
        match self {
            Mode::Linear(w) => i32::from(w[6]),
            Mode::Median => 0,
            Mode::MedianOfDifferences => ONE,
        }
    }
}

/// A residual as a number from 0 on: 0, -1, 1, -2, ... modulo 2^bits.
#[inline(always)]
fn fold(x: u16, foretold: i32, bits: u32) -> u16 {
    let e = i32::from(x).wrapping_sub(foretold) << (32 - bits) >> (32 - bits);
    ((e << 1) ^ (e >> 31)) as u16 // bits are at most 16
}

#[inline(always)]
fn unfold(u: u16, foretold: i32, bits: u32) -> u16 {
    let u = i32::from(u);
    let e = (u >> 1) ^ -(u & 1);
    (foretold.wrapping_add(e) & ((1 << bits) - 1)) as u16 // bits are at most 16
}

#[inline(always)]
fn median(left: i32, above: i32, corner: i32) -> i32 {
    let (lo, hi) = (left.min(above), left.max(above));
    (left + above - corner).clamp(lo, hi)
}

/// The first samples, which have no row above: the left neighbour, and the step of the plane leaned on.
#[inline(always)]
fn of_front(x: &[u16], plane: &Plane, step: i32, i: usize, bits: u32) -> i32 {
    let at = plane.start + i;
    let l = |at: usize| if i >= plane.left { i32::from(x[at - plane.left]) } else { 0 };
    let base = l(at);
    let moved = plane.leans.map_or(0, |lean| (i32::from(x[lean + i]) - l(lean + i)).wrapping_mul(step) >> WEIGHT_BITS);
    base.wrapping_add(moved).clamp(0, (1 << bits) - 1)
}

/// Where the row above begins to be known.
pub fn front(plane: &Plane) -> usize {
    plane.row.saturating_add(plane.left).min(plane.len)
}

/// The part of the weighted sums that does not hang on this stretch: all but left and left of it.
#[inline(always)]
fn sums_above(sums: &mut [i32], x: &[u16], plane: &Plane, i: usize, w: &[i32; TAPS]) {
    let n = sums.len();
    let at = plane.start + i;
    let two = if i >= 2 * plane.row { 2 * plane.row } else { plane.row };
    let [a, b, c, d] =
        [plane.row, plane.row + plane.left, plane.row - plane.left, two].map(|back| &x[at - back..][..n]);
    const HALF: i32 = ONE / 2;
    for k in 0..n {
        let s = i32::from(a[k]).wrapping_mul(w[2]);
        let s = s.wrapping_add(i32::from(b[k]).wrapping_mul(w[3]));
        let s = s.wrapping_add(i32::from(c[k]).wrapping_mul(w[4]));
        sums[k] = s.wrapping_add(i32::from(d[k]).wrapping_mul(w[5])).wrapping_add(HALF);
    }
    if let Some(lean) = plane.leans {
        let at = lean + i;
        let [a, b, c, d] = [0, plane.left, plane.row, plane.row - plane.left].map(|back| &x[at - back..][..n]);
        for k in 0..n {
            let s = i32::from(a[k]).wrapping_mul(w[6]);
            let s = s.wrapping_add(i32::from(b[k]).wrapping_mul(w[7]));
            let s = s.wrapping_add(i32::from(c[k]).wrapping_mul(w[8]));
            let s = s.wrapping_add(i32::from(d[k]).wrapping_mul(w[9]));
            sums[k] = sums[k].wrapping_add(s);
        }
    }
}

/// Sums of a stretch: room for them, of which nothing is read before it is written.
pub type Sums = [i32; STRETCH];

/// Foretells a stretch of `n` samples behind the front, of which all are known; `take` gets the number of each in the stretch
/// and what is foretold.
#[inline(always)]
fn foretell(
    n: usize,
    x: &[u16],
    plane: &Plane,
    i: usize,
    (mode, bits): (&Mode, u32),
    sums: &mut Sums,
    mut take: impl FnMut(usize, i32),
) {
    let at = plane.start + i;
    let [l, ll, u, ul] = [plane.left, 2 * plane.left, plane.row, plane.row + plane.left].map(|b| &x[at - b..][..n]);
    match mode {
        Mode::Linear(w) => {
            let w = w.map(i32::from);
            let sums = &mut sums[..n];
            sums_above(sums, x, plane, i, &w);
            for k in 0..n {
                let s = i32::from(l[k]).wrapping_mul(w[0]).wrapping_add(i32::from(ll[k]).wrapping_mul(w[1]));
                take(k, sums[k].wrapping_add(s) >> WEIGHT_BITS);
            }
        }
        Mode::Median => {
            for k in 0..n {
                take(k, median(l[k].into(), u[k].into(), ul[k].into()));
            }
        }
        Mode::MedianOfDifferences => {
            let top = (1 << bits) - 1;
            let at = plane.leans.unwrap_or(plane.start) + i;
            let [z, zl, zu, zul] = [0, plane.left, plane.row, plane.row + plane.left].map(|b| &x[at - b..][..n]);
            for k in 0..n {
                let d = |a: &[u16], b: &[u16]| i32::from(a[k]) - i32::from(b[k]);
                let foretold = i32::from(z[k]) + median(d(l, zl), d(u, zu), d(ul, zul));
                take(k, foretold.clamp(0, top));
            }
        }
    }
}

/// The residuals of a stretch behind the front whose samples are all known.
#[inline(always)]
pub fn stretch(out: &mut [u16], x: &[u16], plane: &Plane, i: usize, (mode, bits): (&Mode, u32), sums: &mut Sums) {
    let n = out.len();
    let here = &x[plane.start + i..][..n];
    foretell(n, x, plane, i, (mode, bits), sums, |k, foretold| out[k] = fold(here[k], foretold, bits));
}

#[inline(always)]
fn residuals_body(x: &[u16], plane: &Plane, mode: &Mode, bits: u32, out: &mut [u16]) {
    let front = front(plane);
    for i in 0..front {
        out[i] = fold(x[plane.start + i], of_front(x, plane, mode.step(), i, bits), bits);
    }
    let mut i = front;
    let mut sums = [0; STRETCH];
    while i < plane.len {
        let end = stretch_end(plane, i, STRETCH);
        stretch(&mut out[i..end], x, plane, i, (mode, bits), &mut sums);
        i = end;
    }
}

#[inline(always)]
fn remake_body(x: &[u16], plane: &Plane, mode: &Mode, bits: u32, u: &mut [u16]) {
    let front = front(plane);
    for (i, u) in u.iter_mut().enumerate().take(front) {
        *u = unfold(*u, of_front(x, plane, mode.step(), i, bits), bits);
    }
    let mut i = front;
    let mut sums = [0; STRETCH];
    while i < plane.len {
        let end = stretch_end(plane, i, STRETCH);
        let u = &mut u[i..end];
        foretell(u.len(), x, plane, i, (mode, bits), &mut sums, |k, foretold| u[k] = unfold(u[k], foretold, bits));
        i = end;
    }
}

/// A stretch ends where two rows above begin to be known.
fn stretch_end(plane: &Plane, i: usize, most: usize) -> usize {
    let two = plane.row.saturating_mul(2);
    let end = plane.len.min(i + most);
    if i < two { end.min(two) } else { end }
}

wide! {
    /// The residuals of a plane of `x`, as many as it has samples.
    pub fn residuals(x: &[u16], plane: &Plane, mode: &Mode, bits: u32, out: &mut [u16]) = residuals_body
}

wide! {
    /// Makes a plane's residuals the samples that they stand for behind those of `x`, which are known already and are to be
    /// proven. Nothing waits for the sample before it, as it does in [`rebuild`].
    pub fn remake(x: &[u16], plane: &Plane, mode: &Mode, bits: u32, u: &mut [u16]) = remake_body
}

#[cfg(test)]
mod tests {
    use super::super::choose::{choose, choose_body};
    use super::rebuild::rebuild_body;
    use super::*;
    use proptest::prelude::*;

    fn planes() -> impl Strategy<Value = (Vec<Plane>, Vec<u16>)> {
        (1..5usize, 1..40usize, 100..900usize, any::<bool>()).prop_flat_map(|(count, row, len, luma)| {
            let (row, len) = (row + 2, 2 * len);
            let mut planes: Vec<Plane> =
                (0..count).map(|k| Plane { start: k * len, len, left: 1, row, leans: (k > 0).then_some(0) }).collect();
            if luma && count == 3 {
                planes[2].leans = None;
            }
            if count == 1 {
                planes[0] = Plane { left: 3, row: row + 7, ..planes[0] };
            }
            (Just(planes), prop::collection::vec(0..1024u16, count * len))
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn both_compilations_agree_and_samples_come_back(
            (planes, mut x) in planes(),
            kinds in prop::collection::vec(0..4u8, 4),
            weights: [i16; TAPS],
            smooth: bool,
            harmed: prop::sample::Index,
        ) {
            if smooth {
                x.iter_mut().enumerate().for_each(|(i, x)| *x = (*x % 8) + (i % 100) as u16 * 3);
            }
            let bits = 10;
            let modes: Vec<(Mode, u32)> = planes.iter().zip(kinds).map(|(plane, kind)| {
                let wild = Mode::Linear(weights.map(|w| w / 11));
                let mode = match kind {
                    0 => choose(&x, plane, bits).0,
                    1 => wild,
                    2 => Mode::Median,
                    _ => Mode::MedianOfDifferences,
                };
                (if mode.is_sound(plane) { mode } else { Mode::Median }, bits)
            }).collect();
            let mut u = vec![0; x.len()];
            for (plane, (mode, bits)) in planes.iter().zip(&modes) {
                prop_assert_eq!(choose(&x, plane, *bits), choose_body(&x, plane, *bits));
                let mut twin = vec![0; plane.len];
                residuals_body(&x, plane, mode, *bits, &mut twin);
                let own = &mut u[plane.start..plane.start + plane.len];
                residuals(&x, plane, mode, *bits, own);
                prop_assert_eq!(&twin, &own);
            }
            let mut back = vec![0; x.len()];
            rebuild(&u, &planes, &modes, &mut back);
            prop_assert_eq!(&back, &x);
            back.fill(0);
            rebuild_body(&u, &planes, &modes, &mut back);
            prop_assert_eq!(&back, &x);

            let remade = |u: &[u16], x: &[u16]| {
                let (mut made, mut twins) = (u.to_vec(), u.to_vec());
                for (plane, (mode, bits)) in planes.iter().zip(&modes) {
                    let range = plane.start..plane.start + plane.len;
                    remake(x, plane, mode, *bits, &mut made[range.clone()]);
                    remake_body(x, plane, mode, *bits, &mut twins[range]);
                }
                assert_eq!(made, twins);
                made
            };
            prop_assert_eq!(&remade(&u, &x), &x);
            let harmed = harmed.index(u.len());
            // Samples that the residuals do not stand for are not made again, whatever stands before them.
            let mut others = x.clone();
            others[harmed] ^= 1;
            prop_assert!(remade(&u, &others) != others);
            u[harmed] ^= 1;
            prop_assert!(remade(&u, &x)[harmed] != x[harmed]);
        }
    }

    #[test]
    fn the_largest_weights_and_samples_do_not_overflow_unnoticed() {
        let plane = Plane { start: 0, len: 4000, left: 1, row: 50, leans: None };
        let most = Mode::Linear([31_000, 0, 0, 0, 0, 744, 0, 0, 0, 0]);
        assert!(most.is_sound(&plane) && !Mode::Linear([31_000, 0, 745, 0, 0, 0, 0, 0, 0, 0]).is_sound(&plane));
        assert!(
            !Mode::Linear([1024, 0, 0, 0, 0, 0, 0, 0, 0, 1]).is_sound(&plane)
                && !Mode::MedianOfDifferences.is_sound(&plane)
        );
        for x in [[0u16; 4000], [65_535; 4000]] {
            let mut u = vec![0; 4000];
            residuals(&x, &plane, &most, 16, &mut u);
            let mut back = vec![0; 4000];
            rebuild(&u, &[plane], &[(most, 16)], &mut back);
            assert_eq!(back, x);
        }
    }
}
