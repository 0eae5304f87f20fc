//! Linear prediction: coefficients from a section's samples, residuals from coefficients, and back.
//!
//! The analysis is in plain `f64` and only ever decides what the encoder writes; its sums have a fixed order (four
//! lanes), nothing is fused and no function of a maths library is called, so that two machines decide alike. What a
//! decoder does is in wrapping integers: `narrow` (32 bits, for samples of one and two bytes) or wide (64 bits).
//!
//! # Invariants
//!
//! 1. `restore(residual(x)) == x` for any samples and coefficients: both sides compute the same prediction from the
//!    same values, and the difference wraps.
//! 2. The kernels for AVX2 (wide.rs) equal their portable twins in every bit; tests compare them.

#[cfg(target_arch = "x86_64")]
mod wide;

/// Samples of history before a section, and the highest order.
pub(super) const HISTORY: usize = 32;
/// Lags computed in one pass.
pub(super) const LAGS: usize = 12;
/// Bits of the largest coefficient, with its sign.
pub(super) const PRECISION_MAX: u32 = 15;

/// A quantised predictor: the prediction is `sum(coefficient[j] * x[i - 1 - j]) >> shift`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Predictor {
    pub order: usize,
    pub shift: u32,
    /// Those at and after `order` are zero.
    pub coefficients: [i32; HISTORY],
}

/// `x * x`-like sums of a windowed section: `out[lag] = sum(x[i] * x[i + lag])`.
///
/// `x` ends in at least [`AUTOCORRELATION_PAD`] zeros, and its length is a multiple of four.
pub(super) fn autocorrelation(x: &[f64], out: &mut [f64]) {
    #[cfg(target_arch = "x86_64")]
    if is_x86_feature_detected!("avx2") {
        // SAFETY: the processor has AVX2.
        return unsafe { wide::autocorrelation(x, out) };
    }
    autocorrelation_portable(x, out)
}

/// Zeros that stand after the samples of a windowed section.
pub(super) const AUTOCORRELATION_PAD: usize = 40;

pub(super) fn autocorrelation_portable(x: &[f64], out: &mut [f64]) {
    for (group, sums) in out.chunks_mut(LAGS).enumerate() {
        let first = group * LAGS;
        let mut lanes = [[0f64; 4]; LAGS];
        // Windows of 4 + LAGS - 1 samples, each starting `first` after its quadruple.
        let late = x.get(first..).unwrap_or(&[]);
        for (a, b) in x.chunks_exact(4).zip(late.windows(4 + LAGS - 1).step_by(4)) {
            for lag in 0..LAGS {
                for lane in 0..4 {
                    lanes[lag][lane] += a[lane] * b[lag + lane];
                }
            }
        }
        for (sum, lane) in sums.iter_mut().zip(&lanes) {
            *sum = (lane[0] + lane[2]) + (lane[1] + lane[3]);
        }
    }
}

/// Predictors of every order up to `lags - 1`, by Levinson and Durbin.
pub(super) struct Levinson {
    /// `errors[order]`: what is left of `autocorrelation[0]`.
    pub errors: [f64; HISTORY + 1],
    coefficients: [[f64; HISTORY]; HISTORY + 1],
    /// The highest order that was computed.
    pub order: usize,
}

impl Default for Levinson {
    fn default() -> Self {
        Levinson { errors: [0.0; HISTORY + 1], coefficients: [[0.0; HISTORY]; HISTORY + 1], order: 0 }
    }
}

impl Levinson {
    pub(super) fn solve(&mut self, autocorrelation: &[f64], order: usize) {
        let order = order.min(HISTORY).min(autocorrelation.len().saturating_sub(1));
        self.order = 0;
        let Some(&energy) = autocorrelation.first() else { return };
        self.errors[0] = energy;
        // A trace of white noise keeps the recursion well-conditioned.
        let mut error = energy * (1.0 + 1e-10);
        if !(error > 0.0 && error.is_finite()) {
            return;
        }
        let mut a = [0f64; HISTORY];
        for i in 0..order {
            let mut r = autocorrelation[i + 1];
            for j in 0..i {
                r -= a[j] * autocorrelation[i - j];
            }
            let k = r / error;
            if !(k > -1.0 && k < 1.0) {
                return;
            }
            let mut next = a;
            next[i] = k;
            for j in 0..i {
                next[j] = a[j] - k * a[i - 1 - j];
            }
            a = next;
            error *= 1.0 - k * k;
            if error.is_nan() || error <= 0.0 {
                return;
            }
            self.order = i + 1;
            self.errors[i + 1] = error;
            self.coefficients[i + 1] = a;
        }
    }

    /// What each lag of an autocorrelation weighs in the energy that the predictor of an order leaves of samples, whether it
    /// was made from them or not: that of the filter `x[i] - prediction` is `sum(weight[lag] * autocorrelation[lag])`.
    pub(super) fn error_weights(&self, order: usize) -> [f64; HISTORY + 1] {
        let order = order.min(self.order);
        let mut filter = [0f64; HISTORY + 1];
        filter[0] = 1.0;
        for (out, a) in filter[1..].iter_mut().zip(&self.coefficients[order][..order]) {
            *out = -a;
        }
        let mut out = [0f64; HISTORY + 1];
        for (i, x) in filter.iter().enumerate().take(order + 1) {
            for (out, y) in out.iter_mut().zip(&filter[i..]) {
                *out += x * y;
            }
        }
        out[1..].iter_mut().for_each(|out| *out *= 2.0); // on both sides
        out
    }

    /// The predictor of one order with coefficients of `precision` bits; the rounding error of each is carried to
    /// the next.
    pub(super) fn quantise(&self, order: usize, precision: u32) -> Predictor {
        let mut out = Predictor { order: order.min(self.order), ..Predictor::default() };
        let a = &self.coefficients[out.order][..out.order];
        let largest = a.iter().fold(0f64, |m, c| m.max(c.abs()));
        if out.order == 0 || !(largest > 0.0 && largest.is_finite()) {
            return Predictor::default();
        }
        // largest < 2^exponent
        let exponent = ((largest.to_bits() >> 52) & 0x7ff) as i32 - 1022;
        let shift = (precision as i32 - 1 - exponent).clamp(0, 15);
        out.shift = shift as u32;
        let scale = f64::from(1u32 << shift);
        let limit = f64::from((1i32 << (PRECISION_MAX - 1)) - 1);
        let mut carry = 0f64;
        for (q, c) in out.coefficients.iter_mut().zip(a) {
            carry += c * scale;
            let rounded = round(carry).clamp(-limit, limit);
            carry -= rounded;
            *q = rounded as i32;
        }
        while out.order > 0 && out.coefficients[out.order - 1] == 0 {
            out.order -= 1;
        }
        out
    }
}

/// The nearest whole number, without a maths library. |x| < 2^31.
fn round(x: f64) -> f64 {
    f64::from((x + if x < 0.0 { -0.5 } else { 0.5 }) as i32)
}

/// `out[i] = x[HISTORY + i] - prediction`; `x` holds [`HISTORY`] samples more than `out`.
pub(super) fn residual(predictor: &Predictor, narrow: bool, x: &[i32], out: &mut [i32]) {
    #[cfg(target_arch = "x86_64")]
    if is_x86_feature_detected!("avx2") && predictor.order > 0 {
        // SAFETY: the processor has AVX2.
        let done = unsafe {
            if narrow { wide::residual_narrow(predictor, x, out) } else { wide::residual_wide(predictor, x, out) }
        };
        let x = x.get(done..).unwrap_or(&[]);
        return residual_portable(predictor, narrow, x, &mut out[done..]); // done <= out.len()
    }
    residual_portable(predictor, narrow, x, out);
}

pub(super) fn residual_portable(predictor: &Predictor, narrow: bool, x: &[i32], out: &mut [i32]) {
    match (predictor.order, narrow) {
        (0, _) => {
            for (r, v) in out.iter_mut().zip(x.get(HISTORY..).unwrap_or(&[])) {
                *r = *v;
            }
        }
        (1..=4, true) => residual_narrow::<4>(predictor, x, out),
        (5..=8, true) => residual_narrow::<8>(predictor, x, out),
        (9..=12, true) => residual_narrow::<12>(predictor, x, out),
        (13..=16, true) => residual_narrow::<16>(predictor, x, out),
        (17..=24, true) => residual_narrow::<24>(predictor, x, out),
        (_, true) => residual_narrow::<32>(predictor, x, out),
        (1..=8, false) => residual_wide::<8>(predictor, x, out),
        (9..=16, false) => residual_wide::<16>(predictor, x, out),
        (_, false) => residual_wide::<32>(predictor, x, out),
    }
}

/// Predictions made at once.
const BATCH: usize = 16;

fn residual_narrow<const N: usize>(p: &Predictor, x: &[i32], out: &mut [i32]) {
    let c: [i32; N] = std::array::from_fn(|j| p.coefficients[j]); // N <= HISTORY
    let shift = p.shift & 31;
    let mut i = 0;
    let mut batches = out.chunks_exact_mut(BATCH);
    for out in &mut batches {
        let Some(x) = x.get(i..i + HISTORY + BATCH) else { return };
        let mut sums = [0i32; BATCH];
        for j in 0..N {
            for k in 0..BATCH {
                sums[k] = sums[k].wrapping_add(c[j].wrapping_mul(x[HISTORY - 1 - j + k]));
            }
        }
        for k in 0..BATCH {
            out[k] = x[HISTORY + k].wrapping_sub(sums[k] >> shift);
        }
        i += BATCH;
    }
    for r in batches.into_remainder() {
        let Some(x) = x.get(i..i + HISTORY + 1) else { return };
        let mut sum = 0i32;
        for j in 0..N {
            sum = sum.wrapping_add(c[j].wrapping_mul(x[HISTORY - 1 - j]));
        }
        *r = x[HISTORY].wrapping_sub(sum >> shift);
        i += 1;
    }
}

fn residual_wide<const N: usize>(p: &Predictor, x: &[i32], out: &mut [i32]) {
    let c: [i32; N] = std::array::from_fn(|j| p.coefficients[j]); // N <= HISTORY
    let shift = p.shift & 63;
    let mut i = 0;
    let mut batches = out.chunks_exact_mut(8);
    for out in &mut batches {
        let Some(x) = x.get(i..i + HISTORY + 8) else { return };
        let mut sums = [0i64; 8];
        for j in 0..N {
            for k in 0..8 {
                sums[k] = sums[k].wrapping_add(i64::from(c[j]).wrapping_mul(i64::from(x[HISTORY - 1 - j + k])));
            }
        }
        for k in 0..8 {
            out[k] = x[HISTORY + k].wrapping_sub((sums[k] >> shift) as i32); // wraps, as the decoder's does
        }
        i += 8;
    }
    for r in batches.into_remainder() {
        let Some(x) = x.get(i..i + HISTORY + 1) else { return };
        let mut sum = 0i64;
        for j in 0..N {
            sum = sum.wrapping_add(i64::from(c[j]).wrapping_mul(i64::from(x[HISTORY - 1 - j])));
        }
        *r = x[HISTORY].wrapping_sub((sum >> shift) as i32);
        i += 1;
    }
}

/// Turns residuals into samples in place: `x[HISTORY..]` holds residuals, `x[..HISTORY]` the samples before them.
pub(super) fn restore(predictor: &Predictor, narrow: bool, x: &mut [i32]) {
    match (predictor.order, narrow) {
        (0, _) => {}
        (1..=4, true) => restore_narrow::<4>(predictor, x),
        (5..=8, true) => restore_narrow::<8>(predictor, x),
        (9..=12, true) => restore_narrow::<12>(predictor, x),
        (13..=16, true) => restore_narrow::<16>(predictor, x),
        (17..=24, true) => restore_narrow::<24>(predictor, x),
        (_, true) => restore_narrow::<32>(predictor, x),
        (1..=8, false) => restore_wide::<8>(predictor, x),
        (9..=12, false) => restore_wide::<12>(predictor, x),
        (13..=16, false) => restore_wide::<16>(predictor, x),
        (17..=24, false) => restore_wide::<24>(predictor, x),
        (_, false) => restore_wide::<32>(predictor, x),
    }
}

fn restore_narrow<const N: usize>(p: &Predictor, x: &mut [i32]) {
    let c: [i32; N] = std::array::from_fn(|j| p.coefficients[j]); // N <= HISTORY
    let shift = p.shift & 31;
    let mut i = HISTORY;
    while i < x.len() {
        let Some(window) = x.get_mut(i - N..i + 1) else { return }; // i >= HISTORY >= N
        // The newest sample comes last: the others do not wait for it.
        let mut sum = 0i32;
        for j in (0..N).rev() {
            sum = sum.wrapping_add(c[j].wrapping_mul(window[N - 1 - j]));
        }
        window[N] = window[N].wrapping_add(sum >> shift);
        i += 1;
    }
}

fn restore_wide<const N: usize>(p: &Predictor, x: &mut [i32]) {
    let c: [i64; N] = std::array::from_fn(|j| i64::from(p.coefficients[j])); // N <= HISTORY
    let shift = p.shift & 63;
    let mut i = HISTORY;
    while i < x.len() {
        let Some(window) = x.get_mut(i - N..i + 1) else { return }; // i >= HISTORY >= N
        let mut sum = 0i64;
        for j in (0..N).rev() {
            sum = sum.wrapping_add(c[j].wrapping_mul(i64::from(window[N - 1 - j])));
        }
        window[N] = window[N].wrapping_add((sum >> shift) as i32);
        i += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_of_lags_give_the_error_that_the_recursion_gives() {
        // Two resonators, driven by whole numbers.
        let (mut state, mut x) = (1u32, vec![0f64; 2]);
        for i in 2..4000 {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            x.push(1.5 * x[i - 1] - 0.9 * x[i - 2] + f64::from(state >> 24) - 127.5);
        }
        x.extend([0.0; AUTOCORRELATION_PAD + 4]);
        let mut autocorrelation = [0f64; 36];
        super::autocorrelation(&x[..x.len() / 4 * 4], &mut autocorrelation);
        let mut levinson = Levinson::default();
        levinson.solve(&autocorrelation, HISTORY);
        assert_eq!(levinson.order, HISTORY);
        for order in 0..=HISTORY {
            let weights = levinson.error_weights(order);
            let error: f64 = weights.iter().zip(&autocorrelation).map(|(weight, x)| weight * x).sum();
            assert!((error / levinson.errors[order] - 1.0).abs() < 1e-6, "{order}: {error} {}", levinson.errors[order]);
        }
    }
}
