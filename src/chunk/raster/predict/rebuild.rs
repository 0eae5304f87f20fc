//! Residuals to samples.
//!
//! A sample waits for the one before it, so several are made side by side: of planes that do not hang on each other.
//!
//! # Invariants
//!
//! [`rebuild`] undoes `residuals`.

use super::super::planes::{PLANES, Plane};
use super::{Mode, STRETCH, TAPS, WEIGHT_BITS, front, median, of_front, stretch_end, sums_above, unfold};
use crate::chunk::wide::wide;

/// A plane that is being rebuilt, and how far it is.
struct Progress<'a> {
    plane: &'a Plane,
    mode: &'a Mode,
    bits: u32,
    u: &'a [u16],
    i: usize,
}

impl Progress<'_> {
    /// How each sample of the next stretch hangs on those just before it, if what it does is worth doing side by side.
    fn chain(&self) -> Option<Chain> {
        match self.mode {
            _ if self.plane.left != 1 || self.i < front(self.plane) => None,
            Mode::Linear(_) => Some(Chain::Linear),
            Mode::MedianOfDifferences => Some(Chain::Differences),
            Mode::Median => Some(Chain::Medians),
        }
    }

    /// Samples still to come.
    fn left(&self) -> usize {
        self.plane.len.saturating_sub(self.i)
    }

    /// Where the next stretch ends: what stands above right must be known before it begins.
    fn end(&self) -> usize {
        stretch_end(self.plane, self.i, STRETCH.min(self.plane.row - self.plane.left))
    }

    fn is_done(&self) -> bool {
        self.i >= self.plane.len
    }
}

/// What planes side by side must have in common.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Chain {
    Linear,
    Medians,
    Differences,
}

/// A residual behind the point of a weight, so that it can be added to the weighted sum: the bits that count are the same
/// before the shift and after it.
#[inline(always)]
fn lifted(u: u16) -> i32 {
    let u = i32::from(u);
    ((u >> 1) ^ -(u & 1)) << WEIGHT_BITS // at most 2^25
}

/// One step of a chain: from the sum of all else, the residual in it, and the two samples before.
#[inline(always)]
fn link(sum: i32, w: &[i32; TAPS], before: &mut (i32, i32), bits: u32) -> u16 {
    let (l, ll) = *before;
    let s = sum.wrapping_add(ll.wrapping_mul(w[1])).wrapping_add(l.wrapping_mul(w[0]));
    let x = (s >> WEIGHT_BITS) & ((1 << bits) - 1); // bits are at most 16
    *before = (x, l);
    x as u16
}

/// Rebuilds the next stretches of planes that do not hang on each other side by side: each sample waits for the one
/// before it, and the processor has nothing else to do meanwhile.
#[inline(always)]
fn advance_chains<const N: usize>(all: [&mut Progress<'_>; N], x: &mut [u16], room: &mut Room) {
    let mut n = STRETCH;
    for p in &all {
        n = n.min(p.end() - p.i);
    }
    let Room { sums, out, .. } = room;
    let mut weights = [[0i32; TAPS]; N];
    let mut before = [(0, 0); N];
    for (j, p) in all.iter().enumerate() {
        if let Mode::Linear(w) = p.mode {
            weights[j] = w.map(i32::from);
        }
        let sums = &mut sums[j][..n];
        sums_above(sums, x, p.plane, p.i, &weights[j]);
        for (sum, &u) in sums.iter_mut().zip(&p.u[p.i..p.i + n]) {
            *sum = sum.wrapping_add(lifted(u));
        }
        let at = p.plane.start + p.i;
        before[j] = (x[at - 1].into(), x[at - 2].into());
    }
    // Nearly always no sample leaves its bits, and what is over needs not be cut off before the next one can be made: an
    // instruction less of six to wait for. In 64 bits, in which nothing of this wraps, and in which the compiler does not
    // try to do the planes in one register.
    let w: [[i64; 2]; N] = std::array::from_fn(|j| [weights[j][0].into(), weights[j][1].into()]);
    let mut near: [(i64, i64); N] = before.map(|(l, ll)| (l.into(), ll.into()));
    for k in 0..n {
        for j in 0..N {
            let (l, ll) = near[j];
            let sum = i64::from(sums[j][k]).wrapping_add(ll.wrapping_mul(w[j][1]));
            let v = sum.wrapping_add(l.wrapping_mul(w[j][0])) >> WEIGHT_BITS;
            near[j] = (v, l);
            out[j][k] = v as i32; // the first that leaves its bits is below 2^22
        }
    }
    for (j, p) in all.into_iter().enumerate() {
        let over = out[j][..n].iter().fold(0, |over, &v| over | v) >> p.bits;
        if over != 0 {
            for (out, &sum) in out[j][..n].iter_mut().zip(&sums[j]) {
                *out = link(sum, &weights[j], &mut before[j], p.bits).into();
            }
        }
        for (x, &v) in x[p.plane.start + p.i..][..n].iter_mut().zip(&out[j]) {
            *x = v as u16; // within its bits
        }
        p.i += n;
    }
}

/// Numbers of a stretch, of each of the planes that are rebuilt side by side.
type Numbers = [[i32; STRETCH]; PLANES];

/// Room for what is known of stretches before their first sample is made; what stands there is of no account.
struct Room {
    /// Weighted sums; or differences above.
    sums: Numbers,
    /// The samples of the planes leaned on.
    here: Numbers,
    /// Differences above left.
    corner: Numbers,
    residuals: Numbers,
    out: Numbers,
}

impl Room {
    const NEW: Room = {
        const NONE: Numbers = [[0; STRETCH]; PLANES];
        Room { sums: NONE, here: NONE, corner: NONE, residuals: NONE, out: NONE }
    };
}

/// The same of planes that have the median. Of left, above, and left + above - corner that is what is above, but no further
/// from what is left than above is from the corner, nor on its other side: of these only what is left is waited for.
#[inline(always)]
fn advance_medians<const N: usize>(all: [&mut Progress<'_>; N], x: &mut [u16], room: &mut Room) {
    let mut n = STRETCH;
    for p in &all {
        n = n.min(p.end() - p.i);
    }
    let Room { sums: above, corner, residuals, out, .. } = room;
    let mut left = [0i64; N];
    for (j, p) in all.iter().enumerate() {
        let (at, row) = (p.plane.start + p.i, p.plane.row);
        let (a, c, u) = (&x[at - row..][..n], &x[at - row - 1..][..n], &p.u[p.i..p.i + n]);
        let (above, corner, residuals) = (&mut above[j][..n], &mut corner[j][..n], &mut residuals[j][..n]);
        for k in 0..n {
            (above[k], corner[k]) = (a[k].into(), c[k].into());
            residuals[k] = lifted(u[k]) >> WEIGHT_BITS;
        }
        left[j] = x[at - 1].into();
    }
    let first = left;
    // Nearly always no sample leaves its bits, as in `advance_chains`, and in 64 bits for the same reason.
    for k in 0..n {
        for j in 0..N {
            let above = i64::from(above[j][k]);
            let step = above.wrapping_sub(corner[j][k].into());
            let (lo, hi) = (left[j].wrapping_add(step.min(0)), left[j].wrapping_add(step.max(0)));
            left[j] = above.max(lo).min(hi).wrapping_add(residuals[j][k].into());
            out[j][k] = left[j] as i32; // the first that leaves its bits is below 2^17
        }
    }
    for (j, p) in all.into_iter().enumerate() {
        let out = &mut out[j][..n];
        if out.iter().fold(0, |over, &v| over | v) >> p.bits != 0 {
            let mut left = first[j] as i32; // a sample
            for (k, out) in out.iter_mut().enumerate() {
                left = unfold(p.u[p.i + k], median(left, above[j][k], corner[j][k]), p.bits).into();
                *out = left;
            }
        }
        for (x, &v) in x[p.plane.start + p.i..][..n].iter_mut().zip(&*out) {
            *x = v as u16; // within its bits
        }
        p.i += n;
    }
}

/// The same of planes whose differences to the one leaned on have the median.
#[inline(always)]
fn advance_differences<const N: usize>(all: [&mut Progress<'_>; N], x: &mut [u16], room: &mut Room) {
    let mut n = STRETCH;
    for p in &all {
        n = n.min(p.end() - p.i);
    }
    // What is known of each: here in the other plane; the differences above and above left.
    let Room { sums: above, here, corner, residuals, out } = room;
    let mut left = [0i64; N];
    for (j, p) in all.iter().enumerate() {
        let row = p.plane.row;
        let at = p.plane.start + p.i;
        let lean = p.plane.leans.unwrap_or(p.plane.start) + p.i;
        let [a, c] = [row, row + 1].map(|back| &x[at - back..][..n]);
        let [z, za, zc] = [0, row, row + 1].map(|back| &x[lean - back..][..n]);
        let u = &p.u[p.i..p.i + n];
        let (above, corner, here) = (&mut above[j][..n], &mut corner[j][..n], &mut here[j][..n]);
        let residuals = &mut residuals[j][..n];
        for k in 0..n {
            here[k] = z[k].into();
            above[k] = i32::from(a[k]) - i32::from(za[k]);
            corner[k] = i32::from(c[k]) - i32::from(zc[k]);
            residuals[k] = lifted(u[k]) >> WEIGHT_BITS;
        }
        left[j] = i64::from(x[at - 1]) - i64::from(x[lean - 1]);
    }
    let first = left;
    // Nearly always no sample leaves its bits, nor what foretells it, as in `advance_medians`.
    for k in 0..n {
        for j in 0..N {
            let above = i64::from(above[j][k]);
            let step = above.wrapping_sub(corner[j][k].into());
            let (lo, hi) = (left[j].wrapping_add(step.min(0)), left[j].wrapping_add(step.max(0)));
            left[j] = above.max(lo).min(hi).wrapping_add(residuals[j][k].into());
            out[j][k] = left[j] as i32; // the first that leaves its bits is below 2^18
        }
    }
    for (j, p) in all.into_iter().enumerate() {
        let (here, residuals, out) = (&here[j][..n], &residuals[j][..n], &mut out[j][..n]);
        let mut over = 0;
        for k in 0..n {
            out[k] = out[k].wrapping_add(here[k]);
            over |= out[k] | out[k].wrapping_sub(residuals[k]);
        }
        if over >> p.bits != 0 {
            let mut left = first[j] as i32; // a difference of samples
            for k in 0..n {
                let foretold = here[k].wrapping_add(median(left, above[j][k], corner[j][k]));
                let v = unfold(p.u[p.i + k], foretold.clamp(0, (1 << p.bits) - 1), p.bits);
                left = i32::from(v) - here[k];
                out[k] = v.into();
            }
        }
        for (x, &v) in x[p.plane.start + p.i..][..n].iter_mut().zip(&*out) {
            *x = v as u16; // within its bits
        }
        p.i += n;
    }
}

/// Rebuilds the next stretch of one plane.
#[inline(always)]
fn advance(p: &mut Progress<'_>, x: &mut [u16], room: &mut Room) {
    match p.chain() {
        Some(Chain::Linear) => return advance_chains([p], x, room),
        Some(Chain::Medians) => return advance_medians([p], x, room),
        _ => {}
    }
    let Progress { plane, mode, bits, .. } = *p;
    let (front, left, row) = (front(plane), plane.left, plane.row);
    if p.i < front {
        for i in p.i..front {
            x[plane.start + i] = unfold(p.u[i], of_front(x, plane, mode.step(), i, bits), bits);
        }
        p.i = front;
        return;
    }
    let top = (1 << bits) - 1;
    let (i, end) = (p.i, p.end());
    let n = end - i;
    let at = plane.start + i;
    let u = &p.u[i..end];
    p.i = end;
    match mode {
        Mode::Linear(w) => {
            let w = w.map(i32::from);
            let mut sums = [0i32; STRETCH];
            let sums = &mut sums[..n];
            sums_above(sums, x, plane, i, &w);
            for k in 0..n {
                let mut before = (i32::from(x[at + k - left]), i32::from(x[at + k - 2 * left]));
                x[at + k] = link(sums[k].wrapping_add(lifted(u[k])), &w, &mut before, bits);
            }
        }
        Mode::Median => {
            for k in 0..n {
                let of = |back: usize| i32::from(x[at + k - back]);
                x[at + k] = unfold(u[k], median(of(left), of(row), of(row + left)), bits);
            }
        }
        Mode::MedianOfDifferences => {
            let lean = plane.leans.unwrap_or(plane.start) + i;
            for k in 0..n {
                let d = |b: usize| i32::from(x[at + k - b]) - i32::from(x[lean + k - b]);
                let m = median(d(left), d(row), d(row + left));
                x[at + k] = unfold(u[k], (i32::from(x[lean + k]) + m).clamp(0, top), bits);
            }
        }
    }
}

#[inline(always)]
pub fn rebuild_body(u: &[u16], planes: &[Plane], modes: &[(Mode, u32)], x: &mut [u16]) {
    let mut all: [Option<Progress<'_>>; PLANES] = std::array::from_fn(|k| {
        let (plane, (mode, bits)) = (planes.get(k)?, modes.get(k)?);
        Some(Progress { plane, mode, bits: *bits, u: u.get(plane.start..plane.start + plane.len)?, i: 0 })
    });
    // Luma is twice as long as chroma: with one of the two each, nothing is left that goes alone.
    let most = if planes.iter().all(|p| p.len == planes[0].len) { PLANES } else { 2 };
    // A plane may go as far as the one that it leans on is known, so all go side by side, a stretch behind each other.
    let mut room = Room::NEW;
    loop {
        let known: [usize; PLANES] = std::array::from_fn(|k| all[k].as_ref().map_or(0, |p| p.i));
        let is_ready = |p: &Progress<'_>| {
            let lean = p.plane.leans.and_then(|lean| planes.iter().position(|q| q.start == lean));
            !p.is_done() && lean.is_none_or(|k| p.end() <= known[k]) // what leans is as long
        };
        let mut ready: [Option<&mut Progress<'_>>; PLANES] = all.each_mut().map(|p| p.as_mut().filter(|p| is_ready(p)));
        ready.sort_by_key(|p| std::cmp::Reverse(p.as_ref().map_or(0, |p| p.left()))); // stable
        let mut ready = ready.into_iter().flatten();
        let Some(first) = ready.next() else { return };
        let chain = first.chain();
        let mut others = ready.filter(|p| p.chain() == chain).take(most - 1);
        match (chain, others.next(), others.next(), others.next()) {
            (Some(Chain::Linear), Some(b), Some(c), Some(d)) => advance_chains([first, b, c, d], x, &mut room),
            (Some(Chain::Linear), Some(b), Some(c), None) => advance_chains([first, b, c], x, &mut room),
            (Some(Chain::Linear), Some(b), ..) => advance_chains([first, b], x, &mut room),
            (Some(Chain::Medians), Some(b), Some(c), Some(d)) => advance_medians([first, b, c, d], x, &mut room),
            (Some(Chain::Medians), Some(b), Some(c), None) => advance_medians([first, b, c], x, &mut room),
            (Some(Chain::Medians), Some(b), ..) => advance_medians([first, b], x, &mut room),
            (Some(Chain::Differences), Some(b), Some(c), _) => advance_differences([first, b, c], x, &mut room),
            (Some(Chain::Differences), Some(b), ..) => advance_differences([first, b], x, &mut room),
            (Some(Chain::Differences), ..) => advance_differences([first], x, &mut room),
            _ => advance(first, x, &mut room),
        }
    }
}

wide! {
    /// The samples of all planes from their residuals.
    pub fn rebuild(u: &[u16], planes: &[Plane], modes: &[(Mode, u32)], x: &mut [u16]) = rebuild_body
}
