//! The linear method: sections of a few thousand frames, each with predictors chosen by the encoder.
//!
//! What is written of a section of one channel or two, in bits, the lowest first:
//!
//! ```text
//!  wasted     1 bit: low bits wasted? then 5 bits: how many, the same for both channels
//!  stereo     2 bits, for a pair only: 0 left right, 1 left side, 2 right side, 3 mid side
//!  each channel:
//!    order    6 bits, 0..=32
//!    shift    4 bits, if order > 0
//!    order coefficients, see `put_coefficients`
//! ```
//!
//! # Invariants
//!
//! 1. The decoder computes what the encoder computed, in wrapping integers: any bits decode to some samples.

use super::bits::{BitReader, BitWriter};
use super::cascade::Cascade;
use super::lpc::{self, HISTORY, Levinson, PRECISION_MAX, Predictor};
use super::planes::Stereo;
use crate::chunk::log2::log2;

/// How much is tried.
#[derive(Clone, Copy, Debug)]
pub(super) struct Search {
    pub order: usize,
    /// Bits of a coefficient.
    pub precision: u32,
}

impl Search {
    /// Lags that are looked at, in the steps of [`lpc::autocorrelation`].
    fn lags(&self) -> usize {
        (self.order + 1).next_multiple_of(lpc::LAGS).min(LAGS_MAX)
    }
}

/// Working memory of sections.
#[derive(Default)]
pub(super) struct Section {
    a: Vec<i32>,
    b: Vec<i32>,
    window: Vec<f64>,
    windowed: Vec<f64>,
    levinson: Levinson,
    /// What is coded of channels that are known, and what a predictor leaves of it.
    known: [Vec<i32>; 2],
    residuals: Vec<i32>,
}

/// What the encoder decided for a section of one channel or two.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    wasted: u32,
    stereo: Stereo,
    predictors: [Predictor; 2],
}

/// What a section's samples tell of their predictors.
pub(super) struct Survey {
    wasted: u32,
    stereo: Stereo,
    frames: usize,
    /// Of each channel as it is coded, under a window; zeros where there is none.
    autocorrelations: [[f64; LAGS_MAX]; 2],
}

/// Lags of [`HISTORY`] orders, in the steps of [`lpc::autocorrelation`].
const LAGS_MAX: usize = 36;

impl Section {
    /// Writes what is coded of the channels into `a` and `b`.
    fn split(&mut self, wasted: u32, stereo: Stereo, left: &[i32], right: Option<&[i32]>) {
        self.a.resize(left.len(), 0);
        self.b.resize(left.len(), 0);
        match right {
            Some(right) => stereo.split(wasted, left, right, &mut self.a, &mut self.b),
            None => {
                for (a, l) in self.a.iter_mut().zip(left) {
                    *a = l >> wasted;
                }
            }
        }
    }

    /// Looks at the last `left.len() - HISTORY` samples of one channel or of two.
    pub(super) fn survey(&mut self, search: Search, narrow: bool, left: &[i32], right: Option<&[i32]>) -> Survey {
        let frames = left.len().saturating_sub(HISTORY);
        let used = |x: &[i32]| x.get(HISTORY..).unwrap_or(&[]).iter().fold(0, |all, v| all | v);
        let all = used(left) | used(right.unwrap_or(&[]));
        let wasted = if all == 0 { 0 } else { all.trailing_zeros() }; // at most 31
        let stereo = right.map_or(Stereo::LeftRight, |right| estimate_stereo(left, right, narrow));
        self.split(wasted, stereo, left, right);
        if self.window.len() != frames {
            set_window(&mut self.window, frames);
        }
        let mut survey = Survey { wasted, stereo, frames, autocorrelations: [[0.0; LAGS_MAX]; 2] };
        let channels = [&self.a, &self.b].into_iter().take(1 + usize::from(right.is_some()));
        for (out, samples) in survey.autocorrelations.iter_mut().zip(channels) {
            autocorrelate(&self.window, &mut self.windowed, search.lags(), samples, out);
        }
        survey
    }

    /// Decides how sections that follow each other are coded as one, and about how many bits that takes, but for a constant a
    /// sample. `None` if they are not surveyed alike, so that what their samples tell does not add up.
    pub(super) fn join<'a>(
        &mut self,
        search: Search,
        parts: impl Iterator<Item = &'a Survey> + Clone,
    ) -> Option<(Plan, f64)> {
        let first = parts.clone().next()?;
        let alike = parts.clone().all(|part| (part.wasted, part.stereo) == (first.wasted, first.stereo));
        alike.then(|| self.fit(search, first, parts))
    }

    /// Plans parts that are coded as the first of them.
    fn fit<'a>(
        &mut self,
        search: Search,
        first: &Survey,
        parts: impl Iterator<Item = &'a Survey> + Clone,
    ) -> (Plan, f64) {
        let frames = parts.clone().map(|part| part.frames).sum();
        let mut plan = Plan { wasted: first.wasted, stereo: first.stereo, predictors: [Predictor::default(); 2] };
        let mut bits = 0.0;
        for (channel, out) in plan.predictors.iter_mut().enumerate() {
            let each = parts.clone().filter_map(|part| Some((part.autocorrelations.get(channel)?, part.frames)));
            let mut sum = [0f64; LAGS_MAX];
            for (autocorrelation, _) in each.clone() {
                sum.iter_mut().zip(autocorrelation).for_each(|(sum, x)| *sum += x);
            }
            self.levinson.solve(&sum[..search.lags()], search.order);
            let order = best_order(&self.levinson, search, frames);
            *out = self.levinson.quantise(order, search.precision);
            let weights = self.levinson.error_weights(order);
            for (autocorrelation, frames) in each {
                let error = weights.iter().zip(autocorrelation).map(|(weight, x)| weight * x).sum();
                bits += residual_bits(error, frames);
            }
            bits += coefficient_bits(order, search);
        }
        (plan, bits)
    }

    /// Decides how the last `left.len() - HISTORY` samples of one channel or of two are coded.
    pub(super) fn plan(&mut self, search: Search, narrow: bool, left: &[i32], right: Option<&[i32]>) -> Plan {
        let survey = self.survey(search, narrow, left, right);
        self.fit(search, &survey, std::iter::once(&survey)).0
    }

    /// Writes a plan's residuals into `a` and, for a pair, `b`.
    pub(super) fn predict(
        &mut self,
        plan: &Plan,
        narrow: bool,
        left: &[i32],
        right: Option<&[i32]>,
        a: &mut [i32],
        b: &mut [i32],
    ) {
        self.split(plan.wasted, plan.stereo, left, right);
        lpc::residual(&plan.predictors[0], narrow, &self.a, a);
        if right.is_some() {
            lpc::residual(&plan.predictors[1], narrow, &self.b, b);
        }
    }
}

/// Bits of residuals under a running mean, but for a constant, about.
pub(super) fn cost(residuals: &[i32]) -> f64 {
    const RUN: usize = 64;
    let sum = |run: &[i32]| run.iter().map(|r| u64::from(r.unsigned_abs())).sum::<u64>();
    residuals.chunks(RUN).map(|run| run.len() as f64 * log2(sum(run) as f64 + RUN as f64 * 0.25)).sum()
}

impl Plan {
    /// Writes what is decided for a pair of channels, or for one.
    pub(super) fn put(&self, is_pair: bool, bits: &mut BitWriter) {
        bits.put(u64::from(self.wasted > 0), 1);
        if self.wasted > 0 {
            bits.put(u64::from(self.wasted), 5);
        }
        if is_pair {
            bits.put(self.stereo as u64, 2);
        }
        for predictor in self.predictors.iter().take(1 + usize::from(is_pair)) {
            put_predictor(predictor, bits);
        }
    }

    /// Reads what [`Plan::put`] wrote.
    pub(super) fn take(is_pair: bool, bits: &mut BitReader) -> Result<Plan, &'static str> {
        let wasted = if bits.take(1) == 1 { bits.take(5) as u32 } else { 0 };
        let stereo = if is_pair { Stereo::ALL[bits.take(2) as usize & 3] } else { Stereo::LeftRight };
        let mut plan = Plan { wasted, stereo, predictors: [Predictor::default(); 2] };
        for predictor in plan.predictors.iter_mut().take(1 + usize::from(is_pair)) {
            *predictor = take_predictor(bits)?;
        }
        Ok(plan)
    }
}

/// The stereo mode with the smallest second differences.
fn estimate_stereo(left: &[i32], right: &[i32], narrow: bool) -> Stereo {
    #[cfg(target_arch = "x86_64")]
    if is_x86_feature_detected!("avx2") {
        // SAFETY: the processor has AVX2.
        return unsafe { estimate_stereo_avx2(left, right, narrow) };
    }
    estimate_stereo_portable(left, right, narrow)
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn estimate_stereo_avx2(left: &[i32], right: &[i32], narrow: bool) -> Stereo {
    estimate_stereo_portable(left, right, narrow)
}

#[inline(always)]
fn estimate_stereo_portable(left: &[i32], right: &[i32], narrow: bool) -> Stereo {
    const PART: usize = 256;
    let from = HISTORY - 2;
    let (Some(left), Some(right)) = (left.get(from..), right.get(from..)) else { return Stereo::LeftRight };
    // Of wide samples the high bits say enough; what overflows costs space only.
    let shift = if narrow { 0 } else { 10 };
    let mut sums = [0f64; 4];
    let mut at = 0;
    while at + 2 < left.len() {
        let end = left.len().min(at + PART + 2);
        let (l, r) = (&left[at..end], &right[at..end]);
        let mut part = [0u32; 4];
        for (l, r) in l.windows(3).zip(r.windows(3)) {
            let second = |x: &[i32]| x[0].wrapping_sub(x[1].wrapping_mul(2)).wrapping_add(x[2]) >> shift;
            let (dl, dr) = (second(l), second(r));
            let each = [dl, dr, dl.wrapping_sub(dr), dl.wrapping_add(dr) >> 1];
            for (sum, d) in part.iter_mut().zip(each) {
                *sum = sum.wrapping_add(d.unsigned_abs());
            }
        }
        for (sum, part) in sums.iter_mut().zip(part) {
            *sum += f64::from(part);
        }
        at = end - 2;
    }
    let [l, r, s, m] = sums.map(|sum| log2(sum + left.len() as f64 * 0.25));
    let costs = [l + r, l + s, r + s, m + s];
    let mut best = 0;
    for i in 1..4 {
        if costs[i] < costs[best] {
            best = i;
        }
    }
    Stereo::ALL[best]
}

/// Flat in the middle half, falling to nothing at both ends: a Tukey window with a polynomial for the cosine.
fn set_window(window: &mut Vec<f64>, frames: usize) {
    window.clear();
    let taper = (frames / 4).max(1);
    window.extend((0..frames).map(|i| {
        let from_end = i.min(frames - 1 - i);
        if from_end >= taper {
            return 1.0;
        }
        let t = (from_end as f64 + 0.5) / taper as f64;
        t * t * (3.0 - 2.0 * t)
    }));
}

/// Autocorrelation of the windowed samples behind the history.
fn autocorrelate(window: &[f64], windowed: &mut Vec<f64>, lags: usize, samples: &[i32], out: &mut [f64; LAGS_MAX]) {
    let frames = window.len();
    windowed.resize(frames.next_multiple_of(4) + lpc::AUTOCORRELATION_PAD, 0.0);
    let (inside, pad) = windowed.split_at_mut(frames); // it is longer
    for ((out, w), &x) in inside.iter_mut().zip(window).zip(&samples[HISTORY..]) {
        *out = w * f64::from(x);
    }
    pad.fill(0.0);
    lpc::autocorrelation(windowed, &mut out[..lags]);
}

/// The order that takes the fewest bits.
fn best_order(levinson: &Levinson, search: Search, frames: usize) -> usize {
    let mut best = (0, f64::MAX);
    for order in 0..=levinson.order {
        let cost = residual_bits(levinson.errors[order], frames) + coefficient_bits(order, search);
        if cost < best.1 {
            best = (order, cost);
        }
    }
    best.0
}

/// Bits of residuals whose squares sum up to `error`, but for a constant, about.
fn residual_bits(error: f64, frames: usize) -> f64 {
    // Below one unit of error nothing is gained.
    frames as f64 * 0.5 * log2(error.max(frames as f64 * 0.1) / frames.max(1) as f64)
}

/// Bits of a predictor's coefficients, about.
fn coefficient_bits(order: usize, search: Search) -> f64 {
    order as f64 * f64::from(search.precision) * 0.7
}

fn put_predictor(predictor: &Predictor, bits: &mut BitWriter) {
    bits.put(predictor.order as u64, 6);
    if predictor.order > 0 {
        bits.put(u64::from(predictor.shift), 4);
        put_coefficients(&predictor.coefficients[..predictor.order], bits);
    }
}

/// The Rice parameter of the next coefficient, from the running mean of the folded ones before.
fn rice_bits(mean: u32) -> u32 {
    (mean + 1).ilog2().min(PRECISION_MAX)
}

/// The mean to begin with, and the quotient from which on a coefficient is written plainly.
const FIRST_MEAN: u32 = 1 << 12;
const PLAIN_QUOTIENT: u32 = 8;

/// Coefficients are folded and Rice-coded: `u >> k` ones and a zero, then `k` bits; from a quotient of 8 on, eight ones
/// and 16 bits. `k` is the logarithm of the mean plus one, rounded down; the mean begins at 4096 and becomes the
/// half of itself and the last `u` after each.
fn put_coefficients(coefficients: &[i32], bits: &mut BitWriter) {
    let mut mean = FIRST_MEAN;
    for &c in coefficients {
        let u = ((c << 1) ^ (c >> 31)) as u32; // |c| < 2^14
        let k = rice_bits(mean);
        let quotient = u >> k;
        if quotient < PLAIN_QUOTIENT {
            bits.put((1u64 << quotient) - 1, quotient + 1);
            bits.put(u64::from(u & ((1 << k) - 1)), k);
        } else {
            bits.put((1u64 << PLAIN_QUOTIENT) - 1, PLAIN_QUOTIENT);
            bits.put(u64::from(u), 16);
        }
        mean = (mean + u) / 2;
    }
}

fn take_predictor(bits: &mut BitReader) -> Result<Predictor, &'static str> {
    let mut predictor = Predictor { order: bits.take(6) as usize, ..Predictor::default() };
    if predictor.order > HISTORY {
        return Err("order of a predictor above 32");
    }
    if predictor.order == 0 {
        return Ok(predictor);
    }
    predictor.shift = bits.take(4) as u32;
    let mut mean = FIRST_MEAN;
    for c in &mut predictor.coefficients[..predictor.order] {
        let k = rice_bits(mean);
        let mut quotient = 0;
        while quotient < PLAIN_QUOTIENT && bits.take(1) == 1 {
            quotient += 1;
        }
        let u = if quotient < PLAIN_QUOTIENT { quotient << k | bits.take(k) as u32 } else { bits.take(16) as u32 };
        *c = (u >> 1) as i32 ^ -((u & 1) as i32);
        mean = (mean + u) / 2; // u < 2^19
    }
    Ok(predictor)
}

/// Whether a predictor leaves these residuals, from `HISTORY` on, of samples that should stand there. Then [`lpc::restore`] makes
/// these samples, each from those before, for which it has to wait.
fn leaves(predictor: &Predictor, narrow: bool, known: &[i32], scratch: &mut Vec<i32>, residuals: &[i32]) -> bool {
    scratch.resize(residuals.len().saturating_sub(HISTORY), 0);
    lpc::residual(predictor, narrow, known, scratch);
    residuals.get(HISTORY..) == Some(&scratch[..])
}

/// Makes the planes' samples from `HISTORY` on of a plan and its residuals, `None` where all are 0; the samples before are known. With
/// `known`, the planes as they should come out, none is made but those are taken that the residuals stand for; `false` if others would
/// be made.
#[expect(clippy::too_many_arguments, reason = "one section's state, borrowed apart")]
pub(super) fn restore(
    section: &mut Section,
    plan: &Plan,
    narrow: bool,
    residuals: [Option<&[i32]>; 2],
    known: Option<[&[i32]; 2]>,
    left: &mut [i32],
    right: Option<&mut [i32]>,
    cascade: Option<&mut Cascade>,
) -> bool {
    let (wasted, stereo) = (plan.wasted, plan.stereo);
    let [predictor_a, predictor_b] = &plan.predictors;
    let (a, b) = (&mut section.a, &mut section.b);
    a.resize(left.len(), 0);
    b.resize(left.len(), 0);
    match &right {
        Some(right) => {
            let known = HISTORY.min(left.len());
            stereo.split(wasted, &left[..known], &right[..known], &mut a[..known], &mut b[..known]);
        }
        None => {
            for (a, l) in a.iter_mut().zip(left.iter()).take(HISTORY) {
                *a = l >> wasted;
            }
        }
    }
    let (new_a, new_b) = (&mut a[HISTORY..], &mut b[HISTORY..]);
    for (new, residuals) in [&mut *new_a, &mut *new_b].into_iter().zip(residuals) {
        match residuals.filter(|residuals| residuals.len() == new.len()) {
            Some(residuals) => new.copy_from_slice(residuals),
            None => new.fill(0),
        }
    }
    if let Some(cascade) = cascade {
        cascade.inverse(new_a, if right.is_some() { new_b } else { &mut [] });
    }
    match known {
        Some([known, other]) => {
            let [known_a, known_b] = &mut section.known;
            known_a.resize(left.len(), 0);
            known_b.resize(left.len(), 0);
            let scratch = &mut section.residuals;
            if right.is_some() {
                stereo.split(wasted, known, other, known_a, known_b);
                if !leaves(predictor_b, narrow, known_b, scratch, b) {
                    return false;
                }
                std::mem::swap(b, known_b);
            } else {
                known_a.iter_mut().zip(known).for_each(|(a, known)| *a = known >> wasted);
            }
            if !leaves(predictor_a, narrow, known_a, scratch, a) {
                return false;
            }
            std::mem::swap(a, known_a);
        }
        None => {
            lpc::restore(predictor_a, narrow, a);
            if right.is_some() {
                lpc::restore(predictor_b, narrow, b);
            }
        }
    }
    match right {
        Some(right) => {
            stereo.join(wasted, &a[HISTORY..], &b[HISTORY..], &mut left[HISTORY..], &mut right[HISTORY..]);
        }
        None => {
            for (l, a) in left.iter_mut().zip(a.iter()).skip(HISTORY) {
                *l = a << wasted;
            }
        }
    }
    true
}
