//! Least squares: which segments a chunk has, what each is predicted from, with which gains.
//!
//! Floats are used here, in sums, products and quotients of a fixed order, so that a chunk gets the same payload on every machine; a
//! reader needs none of them.
//!
//! The chunk's frames are cut into *units* of up to [`UNIT`]; of each unit and base the sums of products are taken once, and
//! what a fit over any run of units would leave is computed from those. A run is halved where that saves more than it costs.

use super::align::{Source, covered};
use super::frames;
use super::model::{INPUTS, Input, Model, ORDER, OWN, error};
use crate::chunk::log2::log2;

/// Frames of a unit, at most.
pub const UNIT: usize = 256;
/// Frames of a segment without a base, at most.
const ALONE: usize = 4096;
/// Bits of a fraction that gains are kept to.
const GAIN_BITS: i32 = 30;

/// Frames that are predicted alike.
#[derive(Clone, Debug, PartialEq)]
pub struct Segment {
    pub from: usize,
    pub to: usize,
    pub source: Option<usize>,
    /// By channel; second stages are still empty.
    pub models: Vec<Model>,
}

/// A base as it lies to the chunk.
pub struct Laid<'a> {
    pub source: Source,
    pub planes: &'a [Vec<i32>],
}

/// Sums of products over a unit. The basis is: each input, one, and each input times the frame's place in the unit.
#[derive(Clone)]
struct Sums {
    n: f64,
    /// Basis by basis.
    xx: Vec<f64>,
    /// Channel by basis.
    xy: Vec<f64>,
    /// Of each channel.
    yy: Vec<f64>,
}

/// A fit of a run of units: by channel the basis' factors.
struct Fit {
    bits: f64,
    factors: Vec<Vec<f64>>,
}

struct Part {
    units: std::ops::Range<usize>,
    fit: Fit,
    sloped: bool,
}

/// Cuts `planes` into segments; each base's planes are laid as its source says.
pub fn segments(planes: &[Vec<i32>], sample_bytes: u8, laid: &[Laid<'_>]) -> Vec<Segment> {
    let frames = planes.first().map_or(0, Vec::len);
    let covers: Vec<_> =
        laid.iter().map(|l| covered(l.source, frames, l.planes.first().map_or(0, Vec::len)).unwrap_or(0..0)).collect();
    let mut borders: Vec<usize> =
        (0..frames).step_by(UNIT).chain(covers.iter().flat_map(|c| [c.start, c.end])).collect();
    borders.push(frames);
    borders.sort_unstable();
    borders.dedup();
    let units: Vec<_> = borders.windows(2).map(|w| w[0]..w[1]).collect(); // windows of two
    // What each unit would cost alone, roughly: by its second differences.
    let mut best: Vec<(f64, Option<usize>)> = units.iter().map(|u| (alone(planes, u.clone()), None)).collect();
    let mut scratch = Vec::new();
    let mut sums: Vec<Vec<Option<Sums>>> = Vec::new();
    for (s, (laid, cover)) in laid.iter().zip(&covers).enumerate() {
        let mut of_source = Vec::with_capacity(units.len());
        for (unit, best) in units.iter().zip(&mut best) {
            if cover.is_empty() || unit.start < cover.start || unit.end > cover.end {
                of_source.push(None);
                continue;
            }
            let sum = sum(planes, sample_bytes, laid, unit.clone(), false, &mut scratch);
            let bits = fit(std::slice::from_ref(&Some(sum.clone())), &[0.0], inputs(laid), planes.len(), false).bits;
            if bits < best.0 - 8.0 {
                *best = (bits, Some(s));
            }
            of_source.push(Some(sum));
        }
        sums.push(of_source);
    }
    let mut out: Vec<Segment> = Vec::new();
    let mut at = 0;
    for run in best.chunk_by(|a, b| a.1 == b.1) {
        let range = at..at + run.len();
        at = range.end;
        let (Some(first), Some(last)) = (units.get(range.start), units.get(range.end - 1)) else { break };
        let whole = first.start..last.end;
        let of_run = run.first().and_then(|r| r.1).and_then(|s| Some((s, laid.get(s)?, sums.get(s)?)));
        let Some((s, laid, sums)) = of_run else {
            for from in whole.clone().step_by(ALONE) {
                let to = (from + ALONE).min(whole.end);
                out.push(Segment { from, to, source: None, models: vec![Model::default(); planes.len()] });
            }
            continue;
        };
        let mut parts = split(&units, sums, range.clone(), inputs(laid), planes.len(), false);
        let bits: f64 = parts.iter().map(|p| p.fit.bits).sum();
        // More than dither would cost: the gain may move.
        if bits > 1.3 * whole.len() as f64 * planes.len() as f64 {
            let mut moving = vec![None; units.len()];
            for i in range.clone() {
                moving[i] = Some(sum_of(&units, i, planes, sample_bytes, laid, &mut scratch)); // units cover the range
            }
            let sloped = split(&units, &moving, range, inputs(laid), planes.len(), true);
            if sloped.iter().map(|p| p.fit.bits).sum::<f64>() < bits {
                parts = sloped;
            }
        }
        for part in parts {
            let (Some(first), Some(last)) = (units.get(part.units.start), units.get(part.units.end - 1)) else { break };
            let models =
                part.fit.factors.iter().map(|f| model(f, inputs(laid), part.sloped, laid, sample_bytes)).collect();
            out.push(Segment { from: first.start, to: last.end, source: Some(s), models });
        }
    }
    out
}

fn sum_of(
    units: &[std::ops::Range<usize>],
    i: usize,
    planes: &[Vec<i32>],
    bytes: u8,
    laid: &Laid<'_>,
    scratch: &mut Vec<f64>,
) -> Sums {
    sum(planes, bytes, laid, units.get(i).cloned().unwrap_or(0..0), true, scratch)
}

/// Base channels that serve as inputs: the first ones.
fn inputs(laid: &Laid<'_>) -> usize {
    laid.planes.len().min(INPUTS)
}

/// Bits of a unit without a base.
fn alone(planes: &[Vec<i32>], unit: std::ops::Range<usize>) -> f64 {
    let n = unit.len() as f64;
    planes
        .iter()
        .map(|plane| {
            let sum: f64 = plane
                .get(unit.clone())
                .unwrap_or_default()
                .windows(3)
                .map(|w| {
                    let d = f64::from(w[0]) - 2.0 * f64::from(w[1]) + f64::from(w[2]); // a window of 3
                    d * d
                })
                .sum();
            entropy(sum, n)
        })
        .sum()
}

/// Bits of `n` residuals whose squares' sum is this. A variance of 1/12 is rounding, which the fraction foretells.
fn entropy(squares: f64, n: f64) -> f64 {
    if n == 0.0 { 0.0 } else { n * 0.5 * log2(1.0 + 17.08 * (squares / n - 0.084).max(0.0)) }
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    let mut lanes = [0.0; 8];
    let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<8>(), b.as_chunks::<8>());
    for (a, b) in a.iter().zip(b) {
        for ((lane, a), b) in lanes.iter_mut().zip(a).zip(b) {
            *lane += a * b;
        }
    }
    lanes.iter().sum::<f64>() + a_rest.iter().zip(b_rest).map(|(a, b)| a * b).sum::<f64>()
}

/// Takes the sums of a unit. Frames that hold the greatest or least sample are left out: they may be clipped.
fn sum(
    planes: &[Vec<i32>],
    bytes: u8,
    laid: &Laid<'_>,
    unit: std::ops::Range<usize>,
    moving: bool,
    scratch: &mut Vec<f64>,
) -> Sums {
    let k = inputs(laid);
    let basis = if moving { 2 * k + 1 } else { k + 1 };
    let (low, high) = frames::range(bytes);
    let columns = basis + planes.len();
    scratch.clear();
    scratch.resize(columns * UNIT, 0.0);
    let fits = |s: &i32| *s > low && *s < high;
    let clipped = planes.iter().any(|p| !p.get(unit.clone()).unwrap_or_default().iter().all(fits));
    let keep: Option<Vec<bool>> =
        clipped.then(|| unit.clone().map(|n| planes.iter().all(|p| p.get(n).is_none_or(fits))).collect());
    let mut n = unit.len();
    let mut rows = scratch.chunks_exact_mut(UNIT);
    let mut fill = |samples: &[i32]| {
        let Some(row) = rows.next() else { return };
        match &keep {
            None => row.iter_mut().zip(samples).for_each(|(r, s)| *r = f64::from(*s)),
            Some(keep) => {
                n = 0;
                for (s, _) in samples.iter().zip(keep).filter(|(_, k)| **k) {
                    row[n] = f64::from(*s); // a unit has at most UNIT frames
                    n += 1;
                }
            }
        }
    };
    let from = (unit.start as i64 + laid.source.offset).max(0) as usize; // covered, so not below
    for plane in laid.planes.iter().take(k) {
        fill(plane.get(from..from + unit.len()).unwrap_or_default());
    }
    for plane in planes {
        fill(plane.get(unit.clone()).unwrap_or_default());
    }
    // Now k inputs, then the channels. One, and the moving inputs, come behind.
    let mut rest: Vec<&mut [f64]> = scratch.chunks_exact_mut(UNIT).collect();
    let (data, made) = rest.split_at_mut(k + planes.len());
    if let Some((one, sloped)) = made.split_first_mut() {
        one[..n].fill(1.0); // n <= UNIT
        for (to, x) in sloped.iter_mut().zip(data.iter()) {
            let mut kept = 0;
            for i in 0..unit.len() {
                if keep.as_ref().is_none_or(|k| k.get(i).copied().unwrap_or(false)) {
                    to[kept] = x[kept] * (i as f64 / UNIT as f64); // kept <= i < UNIT
                    kept += 1;
                }
            }
        }
    }
    let row = |i: usize| &scratch[i * UNIT..i * UNIT + n]; // i < columns, n <= UNIT
    let of_basis = |i: usize| if i < k { row(i) } else { row(i + planes.len()) };
    let mut xx = vec![0.0; basis * basis];
    for i in 0..basis {
        for j in 0..=i {
            let d = dot(of_basis(i), of_basis(j));
            (xx[i * basis + j], xx[j * basis + i]) = (d, d); // i, j < basis
        }
    }
    let channels = k..k + planes.len();
    let xy =
        channels.clone().flat_map(|c| (0..basis).map(move |i| (c, i))).map(|(c, i)| dot(row(c), of_basis(i))).collect();
    Sums { n: n as f64, xx, xy, yy: channels.map(|c| dot(row(c), row(c))).collect() }
}

/// Moves the places of a unit's frames `by` units: what was `t x` is `(by + t) x`.
fn moved(sums: &Sums, k: usize, channels: usize, by: f64) -> Sums {
    let basis = 2 * k + 1;
    let mut out = sums.clone();
    if by == 0.0 {
        return out;
    }
    let at = |i: usize, j: usize| i * basis + j;
    // Row by row, then column by column: indices are below the basis.
    for i in 0..k {
        for j in 0..basis {
            out.xx[at(k + 1 + i, j)] += by * sums.xx[at(i, j)];
        }
    }
    let rows = out.xx.clone();
    for i in 0..k {
        for j in 0..basis {
            out.xx[at(j, k + 1 + i)] += by * rows[at(j, i)];
        }
        for c in 0..channels {
            out.xy[at(c, k + 1 + i)] += by * sums.xy[at(c, i)];
        }
    }
    out
}

/// Fits a run of units, each `places` units behind the run's start.
fn fit(sums: &[Option<Sums>], places: &[f64], k: usize, channels: usize, moving: bool) -> Fit {
    let basis = if moving { 2 * k + 1 } else { k + 1 };
    let mut all =
        Sums { n: 0.0, xx: vec![0.0; basis * basis], xy: vec![0.0; basis * channels], yy: vec![0.0; channels] };
    let add = |to: &mut Vec<f64>, from: &[f64]| to.iter_mut().zip(from).for_each(|(t, f)| *t += f);
    let mut held: Vec<Sums> = Vec::new();
    for (sum, place) in sums.iter().zip(places) {
        let Some(sum) = sum else { continue };
        if moving {
            held.push(moved(sum, k, channels, *place));
        }
        let sum = if moving { held.last().unwrap_or(sum) } else { sum };
        all.n += sum.n;
        add(&mut all.xx, &sum.xx);
        add(&mut all.xy, &sum.xy);
        add(&mut all.yy, &sum.yy);
    }
    let solver = Solver::new(&all.xx, basis);
    let factors: Vec<Vec<f64>> = all.xy.chunks(basis).map(|xy| solver.solve(xy)).collect();
    let mut bits = 0.0;
    let mut cost = |sum: &Sums| {
        for ((factors, xy), yy) in factors.iter().zip(sum.xy.chunks(basis)).zip(&sum.yy) {
            let mut left = *yy;
            for ((i, f), xy) in factors.iter().enumerate().zip(xy) {
                left += f * (factors.iter().zip(&sum.xx[i * basis..]).map(|(g, x)| g * x).sum::<f64>() - 2.0 * xy);
            }
            bits += entropy(left.max(0.0), sum.n);
        }
    };
    match moving {
        true => held.iter().for_each(&mut cost),
        false => sums.iter().flatten().for_each(&mut cost),
    }
    Fit { bits, factors }
}

/// Solves symmetric systems; what depends on columns before is given no part.
struct Solver {
    basis: usize,
    /// Lower triangle, ones on the diagonal left out, and the diagonal.
    lower: Vec<f64>,
    diagonal: Vec<f64>,
}

impl Solver {
    fn new(xx: &[f64], basis: usize) -> Self {
        let mut s = Solver { basis, lower: vec![0.0; basis * basis], diagonal: vec![0.0; basis] };
        // All indices are below the basis.
        for j in 0..basis {
            let mut d = xx[j * basis + j];
            for k in 0..j {
                d -= s.lower[j * basis + k] * s.lower[j * basis + k] * s.diagonal[k];
            }
            if d <= xx[j * basis + j] * 1e-11 || d <= 0.0 {
                continue; // dependent
            }
            s.diagonal[j] = d;
            for i in j + 1..basis {
                let mut l = xx[i * basis + j];
                for k in 0..j {
                    l -= s.lower[i * basis + k] * s.lower[j * basis + k] * s.diagonal[k];
                }
                s.lower[i * basis + j] = l / d;
            }
        }
        s
    }

    fn solve(&self, xy: &[f64]) -> Vec<f64> {
        let n = self.basis;
        let mut z = xy.to_vec();
        z.resize(n, 0.0);
        for i in 0..n {
            for k in 0..i {
                z[i] -= self.lower[i * n + k] * z[k];
            }
        }
        #[expect(clippy::needless_range_loop, reason = "a triangular system is solved by rows and columns")]
        for i in 0..n {
            z[i] = if self.diagonal[i] > 0.0 { z[i] / self.diagonal[i] } else { 0.0 };
        }
        for i in (0..n).rev() {
            if self.diagonal[i] == 0.0 {
                z[i] = 0.0;
                continue;
            }
            for k in i + 1..n {
                z[i] -= self.lower[k * n + i] * z[k];
            }
        }
        z
    }
}

/// Halves a run where that pays, and joins neighbours where that pays.
fn split(
    units: &[std::ops::Range<usize>],
    sums: &[Option<Sums>],
    run: std::ops::Range<usize>,
    k: usize,
    channels: usize,
    moving: bool,
) -> Vec<Part> {
    let header = 40.0 + (channels * (24 + k * if moving { 80 } else { 36 })) as f64;
    let fit_run = |run: std::ops::Range<usize>| {
        let start = units.get(run.start).map_or(0, |u| u.start) as f64;
        let places: Vec<f64> =
            units.get(run.clone()).unwrap_or_default().iter().map(|u| (u.start as f64 - start) / UNIT as f64).collect();
        let mut fit = fit(sums.get(run).unwrap_or_default(), &places, k, channels, moving);
        fit.bits += header;
        fit
    };
    // Every node of the tree, leaves first, would cost the same; this way large good runs are left early.
    fn descend(
        run: std::ops::Range<usize>,
        whole: Fit,
        least: f64,
        fit_run: &dyn Fn(std::ops::Range<usize>) -> Fit,
        out: &mut Vec<(std::ops::Range<usize>, Fit)>,
    ) -> f64 {
        if run.len() < 2 || whole.bits <= least {
            let bits = whole.bits;
            out.push((run, whole));
            return bits;
        }
        let start = out.len();
        let middle = run.start + run.len() / 2;
        let mut bits = 0.0;
        for half in [run.start..middle, middle..run.end] {
            let fit = fit_run(half.clone());
            bits += descend(half, fit, least, fit_run, out);
        }
        if bits >= whole.bits {
            bits = whole.bits;
            out.truncate(start);
            out.push((run, whole));
        }
        bits
    }
    let mut nodes = Vec::new();
    descend(run.clone(), fit_run(run), 2.0 * header, &fit_run, &mut nodes);
    let mut joined: Vec<(std::ops::Range<usize>, Fit)> = Vec::new();
    for (mut run, mut fit) in nodes {
        while let Some((before, other)) = joined.last() {
            let both = before.start..run.end;
            let whole = fit_run(both.clone());
            if whole.bits > other.bits + fit.bits {
                break;
            }
            joined.pop();
            (run, fit) = (both, whole);
        }
        joined.push((run, fit));
    }
    joined.into_iter().map(|(units, fit)| Part { units, fit, sloped: moving }).collect()
}

/// Factors as integers.
fn model(factors: &[f64], k: usize, sloped: bool, laid: &Laid<'_>, sample_bytes: u8) -> Model {
    let fraction = super::model::fraction(sample_bytes) as i32; // at most 8
    let scale = f64::from(1 << fraction);
    let constant = (factors.get(k).copied().unwrap_or(0.0) * scale).round().clamp(-1e15, 1e15) as i64;
    let gains = factors.iter().take(k);
    let greatest = gains.clone().fold(0.0f64, |m, g| m.max(g.abs())) * scale;
    // Sums of eight inputs of so many bits must stay below 2^62.
    let bits =
        laid.planes.iter().take(k).flatten().step_by(7).fold(1u32, |m, s| m.max(s.unsigned_abs())).ilog2() as i32 + 2;
    let exponent = if greatest > 0.0 { greatest.log2().ceil() as i32 } else { 0 };
    let shift = (GAIN_BITS - exponent).min(58 - bits - exponent).clamp(0, 62);
    let unit = (shift as f64).exp2() * scale;
    let mut inputs = Vec::new();
    for (i, gain) in gains.enumerate() {
        let slope = if sloped { factors.get(k + 1 + i).copied().unwrap_or(0.0) } else { 0.0 };
        let input = Input {
            channel: i as u8, // below INPUTS
            gain: (gain * unit).round().clamp(-2147483647.0, 2147483647.0) as i32,
            slope: (slope * unit * 65536.0 / UNIT as f64).round().clamp(-1e18, 1e18) as i64,
        };
        if input.gain != 0 || input.slope != 0 {
            inputs.push(input);
        }
    }
    Model { shift: shift as u8, constant, inputs, ..Model::default() } // 0 to 62
}

/// Taps that foretell each error from those before: order and shift as they pay. `errors` are those of a segment.
pub fn taps(errors: &[i32], alone: bool) -> (Vec<i16>, u8) {
    let (taps, shift, _) = best_taps(errors, alone);
    (taps, shift)
}

/// As [`taps`], and the bits that are left of all errors.
fn best_taps(errors: &[i32], alone: bool) -> (Vec<i16>, u8, f64) {
    const LOOK: usize = 16384;
    let part = &errors[errors.len().saturating_sub(LOOK) / 2..];
    let part = &part[..part.len().min(LOOK)];
    let n = part.len() as f64;
    let mut windowed: Vec<f64> = part.iter().map(|e| f64::from(*e)).collect();
    if alone {
        let middle = n / 2.0;
        windowed.iter_mut().enumerate().for_each(|(i, w)| {
            let x = (i as f64 + 0.5 - middle) / middle;
            *w *= 1.0 - x * x;
        });
    }
    let lag = |l: usize| dot(&windowed[l.min(windowed.len())..], &windowed[..windowed.len().saturating_sub(l)]);
    let energy = lag(0);
    let all = errors.len() as f64;
    let cost = |left: f64| all * 0.5 * log2(left / n + 1.0);
    if energy <= 0.0 || part.len() < 4 * ORDER {
        return (Vec::new(), 0, cost(energy));
    }
    if !alone {
        // White errors have no use for taps: look at a few lags first.
        let few = (1..=4).map(|l| lag(l) / energy).map(|r| r * r).sum::<f64>();
        if few < 0.01 {
            return (Vec::new(), 0, cost(energy));
        }
    }
    let lags: Vec<f64> = (0..=ORDER).map(lag).collect();
    // Levinson and Durbin.
    let (mut a, mut left) = (Vec::<f64>::new(), energy * (1.0 + 1e-9));
    let mut best = (Vec::new(), cost(energy));
    for order in 1..=ORDER {
        let k = (lags[order] - a.iter().enumerate().map(|(i, a)| a * lags[order - 1 - i]).sum::<f64>()) / left; // below ORDER
        let mut next: Vec<f64> = a.iter().zip(a.iter().rev()).map(|(x, y)| x - k * y).collect();
        next.push(k);
        a = next;
        left *= 1.0 - k * k;
        if left.is_nan() || left <= 0.0 {
            break;
        }
        let bits = cost(left) + 40.0 + 12.0 * order as f64;
        if bits < best.1 {
            best = (a.clone(), bits);
        }
    }
    let greatest = best.0.iter().fold(0.0f64, |m, t| m.max(t.abs()));
    if greatest == 0.0 {
        return (Vec::new(), 0, best.1);
    }
    let shift = (14 - greatest.log2().ceil() as i32).clamp(0, 15);
    let scale = f64::from(1 << shift);
    let mut taps: Vec<i16> = best.0.iter().map(|t| (t * scale).round().clamp(-32768.0, 32767.0) as i16).collect();
    taps.reverse();
    (taps, shift as u8, best.1) // 0 to 15
}

/// Adds a channel that was coded before to a model without a base, if that pays. `own` are that channel's samples of
/// the segment, `samples` those of the model's.
pub fn couple(model: &mut Model, channel: u8, own: &[i32], samples: &[i32], sample_bytes: u8) {
    let fraction = super::model::fraction(sample_bytes);
    // By second differences, which are whiter than samples.
    let second =
        |s: &[i32]| s.windows(3).map(|w| f64::from(w[0]) - 2.0 * f64::from(w[1]) + f64::from(w[2])).collect::<Vec<_>>();
    let (x, y) = (second(own), second(samples));
    let xx = dot(&x, &x);
    if xx == 0.0 {
        return;
    }
    let gain = dot(&x, &y) / xx;
    let errors = |gain: f64| -> Vec<i32> {
        let both = own.iter().zip(samples);
        both.map(|(x, y)| error(*y, (f64::from(*x) * gain * f64::from(1 << fraction)) as i32, fraction)).collect()
    };
    if best_taps(&errors(gain), true).2 + 40.0 < best_taps(&errors(0.0), true).2 {
        let gain = (gain * f64::from(1u32 << 16) * f64::from(1 << fraction)).clamp(-2147483647.0, 2147483647.0) as i32;
        model.shift = 16;
        model.inputs.push(Input { channel: OWN | channel, gain, slope: 0 });
    }
}
