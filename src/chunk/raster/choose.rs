//! Which predictor a plane gets, and its weights: least squares over a part of it.
//!
//! Owns the choice. What it decides is written down in the payload; nothing here is needed to decode.
//!
//! # Invariants
//!
//! The choice is the same on every machine: the sums are whole numbers below 2^53, exact in any order, and what follows
//! is plain IEEE arithmetic in one order.

use super::planes::Plane;
use super::predict::{Mode, ONE, STRETCH, TAPS, front, stretch};
use crate::chunk::wide::wide;

wide! {
    /// The best mode of a plane of `x`, judged by a part of it, and the 256ths of a bit that a sample costs with it,
    /// roughly.
    pub fn choose(x: &[u16], plane: &Plane, bits: u32) -> (Mode, u64) = choose_body
}

/// Samples of a block that is looked at.
const LOOK: usize = 64;
/// One block in so many is looked at, but that many samples at least.
const LOOK_SHARE: usize = 16;
const LOOK_MIN: usize = 4096;
/// Unknowns: the weights but left's of both planes, which make the sums one and nought.
const UNKNOWNS: usize = 8;

/// Where to look: blocks behind the front at even distances.
fn looks(plane: &Plane) -> impl Iterator<Item = usize> + use<> {
    let two = plane.row.saturating_mul(2);
    let from = if two.saturating_add(plane.len / 4) < plane.len { two } else { front(plane) };
    let room = plane.len.saturating_sub(from);
    let blocks = (room / LOOK_SHARE).max(LOOK_MIN) / LOOK;
    let blocks = blocks.min(room / LOOK);
    let step = room.checked_div(blocks).unwrap_or(LOOK);
    (0..blocks).map(move |b| from + b * step)
}

#[inline(always)]
pub fn choose_body(x: &[u16], plane: &Plane, bits: u32) -> (Mode, u64) {
    // Of so few bits, products of two differences can be summed up over a block in 32 bits.
    let fitted = if bits <= 12 { fit::<i16>(x, plane) } else { fit::<f64>(x, plane) };
    let modes = [Some(fitted), Some(Mode::Median), plane.leans.map(|_| Mode::MedianOfDifferences)];
    let mut best = (Mode::Median, u64::MAX);
    let mut sums = [0; STRETCH];
    for mode in modes.into_iter().flatten() {
        let (mut cost, mut n) = (0u64, 0u64);
        let mut out = [0; LOOK];
        for i in looks(plane) {
            stretch(&mut out, x, plane, i, (&mode, bits), &mut sums);
            cost += u64::from(out.iter().fold(0u32, |sum, &u| sum.wrapping_add(sixteenths(u)))); // 64 below 2^9 each
            n += LOOK as u64;
        }
        let cost = cost * 16 / n.max(1);
        if cost < best.1 {
            best = (mode, cost);
        }
    }
    best
}

/// Sixteenths of a bit that a residual costs, roughly: log2(1 + u), straight between powers of two. That is what the upper
/// bits of a float are, which holds such a number exactly.
#[inline(always)]
fn sixteenths(u: u16) -> u32 {
    const MANTISSA_BITS: u32 = 23;
    const BIAS: u32 = 127;
    let v = (u32::from(u) + 1) as i32 as f32; // at most 2^16
    (v.to_bits() >> (MANTISSA_BITS - 4)).wrapping_sub(BIAS << 4) // 0 for 1
}

/// A difference of two samples.
trait Difference: Copy + Default {
    fn of(a: u16, b: u16) -> Self;
    /// The sum of the products of two blocks.
    fn dot(a: &[Self; LOOK], b: &[Self; LOOK]) -> f64;
}

/// Of samples of any size.
impl Difference for f64 {
    #[inline(always)]
    fn of(a: u16, b: u16) -> f64 {
        f64::from(i32::from(a).wrapping_sub(b.into()))
    }

    #[inline(always)]
    fn dot(a: &[f64; LOOK], b: &[f64; LOOK]) -> f64 {
        let mut lanes = [0f64; 8];
        for (p, q) in a.as_chunks::<8>().0.iter().zip(b.as_chunks::<8>().0) {
            for k in 0..8 {
                lanes[k] += p[k] * q[k]; // whole numbers below 2^53: exact in any order
            }
        }
        lanes.iter().sum()
    }
}

/// Of samples of at most 12 bits.
impl Difference for i16 {
    #[inline(always)]
    fn of(a: u16, b: u16) -> i16 {
        a.wrapping_sub(b) as i16 // both below 2^12
    }

    #[inline(always)]
    fn dot(a: &[i16; LOOK], b: &[i16; LOOK]) -> f64 {
        let products = a.iter().zip(b).map(|(&a, &b)| i32::from(a).wrapping_mul(b.into()));
        f64::from(products.fold(0, i32::wrapping_add)) // 64 below 2^24 each
    }
}

/// The weights with the least squares of residuals over the blocks that are looked at.
#[inline(always)]
fn fit<D: Difference>(x: &[u16], plane: &Plane) -> Mode {
    const N: usize = UNKNOWNS + 1;
    let n = if plane.leans.is_some() { UNKNOWNS } else { 5 };
    let mut all = [[0f64; N]; N];
    let mut rows = [[D::default(); LOOK]; N];
    for i in looks(plane) {
        let at = plane.start + i;
        let two = if i >= 2 * plane.row { 2 * plane.row } else { plane.row };
        let back = [2 * plane.left, plane.row, plane.row + plane.left, plane.row - plane.left, two];
        let l = &x[at - plane.left..][..LOOK];
        let difference = |row: &mut [D; LOOK], a: &[u16], l: &[u16]| {
            for k in 0..LOOK {
                row[k] = D::of(a[k], l[k]);
            }
        };
        for (row, back) in rows.iter_mut().zip(back) {
            difference(row, &x[at - back..][..LOOK], l);
        }
        difference(&mut rows[UNKNOWNS], &x[at..][..LOOK], l);
        if let Some(lean) = plane.leans {
            let at = lean + i;
            let l = &x[at - plane.left..][..LOOK];
            for (row, back) in rows[5..].iter_mut().zip([0, plane.row, plane.row - plane.left]) {
                difference(row, &x[at - back..][..LOOK], l);
            }
        }
        for a in (0..n).chain([UNKNOWNS]) {
            for b in (0..n).chain([UNKNOWNS]) {
                if b >= a {
                    all[a][b] += D::dot(&rows[a], &rows[b]);
                }
            }
        }
    }
    let w = solve(&all, n);
    let mut taps = [0i16; TAPS];
    let mut left = ONE;
    let mut lean_left = 0;
    for (k, w) in w.iter().enumerate().take(n) {
        let w = (w * f64::from(ONE)).round().clamp(-4095.0, 4095.0) as i16;
        let tap = if k < 5 { k + 1 } else { [6, 8, 9][(k - 5).min(2)] };
        taps[tap] = w;
        if k < 5 {
            left -= i32::from(w);
        } else {
            lean_left -= i32::from(w);
        }
    }
    taps[0] = left.clamp(-8191, 8191) as i16;
    taps[7] = lean_left.clamp(-8191, 8191) as i16;
    let mode = Mode::Linear(taps);
    if mode.is_sound(plane) { mode } else { Mode::Linear([ONE as i16, 0, 0, 0, 0, 0, 0, 0, 0, 0]) }
}

#[expect(clippy::needless_range_loop, reason = "rows and columns of a matrix")]
/// Solves the normal equations of which `all` has the upper half, the last column being what is asked for.
fn solve(all: &[[f64; UNKNOWNS + 1]; UNKNOWNS + 1], n: usize) -> [f64; UNKNOWNS] {
    let mut m = *all;
    let trace: f64 = (0..n).map(|i| m[i][i]).sum();
    for i in 0..n {
        for j in 0..i {
            m[i][j] = m[j][i];
        }
        m[i][i] += trace * 1e-5 + 1.0; // constant and linear matter has no one answer
    }
    for i in 0..n {
        for j in i + 1..n {
            let f = m[j][i] / m[i][i];
            for k in i..n {
                m[j][k] -= f * m[i][k];
            }
            m[j][UNKNOWNS] -= f * m[i][UNKNOWNS];
        }
    }
    let mut w = [0f64; UNKNOWNS];
    for i in (0..n).rev() {
        let known: f64 = (i + 1..n).map(|k| m[i][k] * w[k]).sum();
        let answer = (m[i][UNKNOWNS] - known) / m[i][i];
        w[i] = if answer.is_finite() { answer } else { 0.0 };
    }
    w
}
