//! ALAC's predictor, whose coefficients follow the signs of what it missed (`dp_dec.c` and `dp_enc.c` of Apple's
//! reference): residuals to samples and back.
//!
//! A sample is expected from the `order` samples before it, all taken relative to the one before those. Behind each
//! sample the coefficients move by one towards the residual's sign, the oldest first, until what they moved makes up
//! for the residual.
//!
//! # Invariants
//!
//! Samples and residuals are numbers of `bits` bits, computed modulo 2^`bits`, coefficients modulo 2^16: each way is the
//! exact inverse of the other, whatever the numbers are, on every machine.

/// The highest order that a header can name.
pub(super) const ORDER_MAX: usize = 31;

/// This order, and a mode that is not 0, stand for plain differences.
const DIFFERENCES: u8 = 31;

/// How a channel is predicted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Predictor {
    /// 4 bits. If it is not 0, the residuals' differences are coded.
    pub mode: u8,
    /// 4 bits.
    pub shift: u8,
    /// 3 bits: of the residual's mean, see `golomb`.
    pub factor: u8,
    /// 5 bits.
    pub order: u8,
    /// The first belongs to the sample just before. Those beyond the order are 0.
    pub coefficients: [i16; ORDER_MAX],
    /// What has become of them at the end.
    pub adapted: [i16; ORDER_MAX],
}

/// The low bits as a signed number.
#[inline(always)]
fn wrap(value: i32, unused: u32) -> i32 {
    value << unused >> unused
}

impl Predictor {
    /// Turns residuals of `bits` bits into samples.
    pub fn restore(&mut self, values: &mut [i32], bits: u32) {
        let unused = 32 - bits;
        if self.mode != 0 {
            add_up(values, unused);
        }
        self.run(values, None, bits);
    }

    /// Turns samples of `bits` bits into residuals.
    pub fn residual(&mut self, samples: &mut [i32], residual: &mut Vec<i32>, bits: u32) {
        residual.clear();
        residual.resize(samples.len(), 0);
        self.run(samples, Some(residual), bits);
        if self.mode != 0 {
            differences(residual, 32 - bits);
        }
    }

    /// One way or, with room for residuals, the other.
    fn run(&mut self, samples: &mut [i32], residual: Option<&mut [i32]>, bits: u32) {
        self.adapted = self.coefficients;
        let unused = 32 - bits;
        let (c, shift) = (&mut self.adapted, self.shift.into());
        match (self.order, residual) {
            (0, None) => {}
            (0, Some(residual)) => residual.copy_from_slice(samples),
            (DIFFERENCES, None) => add_up(samples, unused),
            (DIFFERENCES, Some(residual)) => {
                residual.copy_from_slice(samples);
                differences(residual, unused);
            }
            (1, r) => of_order::<1>(samples, r, c, shift, unused),
            (2, r) => of_order::<2>(samples, r, c, shift, unused),
            (3, r) => of_order::<3>(samples, r, c, shift, unused),
            (4, r) => of_order::<4>(samples, r, c, shift, unused),
            (5, r) => of_order::<5>(samples, r, c, shift, unused),
            (6, r) => of_order::<6>(samples, r, c, shift, unused),
            (7, r) => of_order::<7>(samples, r, c, shift, unused),
            (8, r) => of_order::<8>(samples, r, c, shift, unused),
            (order, r) => of_any_order(samples, r, c, usize::from(order), shift, unused),
        }
    }
}

/// Differences to samples.
fn add_up(values: &mut [i32], unused: u32) {
    let mut last = 0;
    for value in values {
        last = wrap(value.wrapping_add(last), unused);
        *value = last;
    }
}

/// Samples to differences.
fn differences(values: &mut [i32], unused: u32) {
    let mut last = 0;
    for value in values {
        let this = *value;
        *value = wrap(this.wrapping_sub(last), unused);
        last = this;
    }
}

/// What is added before a shift, so that it rounds.
fn half(shift: u32) -> i32 {
    1 << shift >> 1
}

/// The first samples, of which differences are coded: one more than the order.
fn begin(samples: &mut [i32], residual: &mut Option<&mut [i32]>, order: usize, unused: u32) {
    let first = samples.len().min(order + 1);
    let Some(samples) = samples.get_mut(..first) else { return };
    match residual {
        None => add_up(samples, unused),
        Some(residual) => {
            if let Some(residual) = residual.get_mut(..first) {
                residual.copy_from_slice(samples);
                differences(residual, unused);
            }
        }
    }
}

/// What encoders use has its loops unrolled.
#[inline(never)]
fn of_order<const N: usize>(
    samples: &mut [i32],
    residual: Option<&mut [i32]>,
    coefficients: &mut [i16; ORDER_MAX],
    shift: u32,
    unused: u32,
) {
    adaptive(samples, residual, coefficients, &mut [0; N], &mut [0; N], shift, unused);
}

#[inline(never)]
fn of_any_order(
    samples: &mut [i32],
    residual: Option<&mut [i32]>,
    coefficients: &mut [i16; ORDER_MAX],
    order: usize,
    shift: u32,
    unused: u32,
) {
    let (mut c, mut d) = ([0; ORDER_MAX], [0; ORDER_MAX]);
    let (Some(c), Some(d)) = (c.get_mut(..order), d.get_mut(..order)) else { return };
    adaptive(samples, residual, coefficients, c, d, shift, unused);
}

/// One way or the other. `c` and `d` have room for as many numbers as the order.
#[inline(always)]
fn adaptive(
    samples: &mut [i32],
    mut residual: Option<&mut [i32]>,
    coefficients: &mut [i16; ORDER_MAX],
    c: &mut [i32],
    d: &mut [i32],
    shift: u32,
    unused: u32,
) {
    let order = c.len();
    begin(samples, &mut residual, order, unused);
    // The oldest first, since it moves first.
    for (to, &from) in c.iter_mut().rev().zip(coefficients.iter()) {
        *to = from.into();
    }
    let half = half(shift);
    match residual {
        None => {
            for j in 0..samples.len().saturating_sub(order + 1) {
                let Some(window) = samples.get_mut(j..j + order + 2) else { break };
                let expected = expect(window, c, d, shift, half);
                let Some(sample) = window.last_mut() else { break };
                let missed = *sample;
                *sample = wrap(missed.wrapping_add(expected), unused);
                adapt(c, d, missed, shift);
            }
        }
        Some(residual) => {
            for (window, residual) in samples.windows(order + 2).zip(residual.iter_mut().skip(order + 1)) {
                let expected = expect(window, c, d, shift, half);
                let Some(sample) = window.last() else { break };
                *residual = wrap(sample.wrapping_sub(expected), unused);
                adapt(c, d, *residual, shift);
            }
        }
    }
    for (&from, to) in c.iter().rev().zip(coefficients.iter_mut()) {
        *to = from as i16; // it is one
    }
}

/// What is expected behind the samples of `window`, whose last one is the one in question. `d` becomes the others,
/// relative to the first.
#[inline(always)]
fn expect(window: &[i32], c: &[i32], d: &mut [i32], shift: u32, half: i32) -> i32 {
    let [top, history @ ..] = window else { return 0 };
    let mut sum = half;
    for ((d, h), c) in d.iter_mut().zip(history).zip(c) {
        *d = h.wrapping_sub(*top);
        sum = sum.wrapping_add(d.wrapping_mul(*c));
    }
    top.wrapping_add(sum >> shift)
}

/// Moves the coefficients. Residuals of either sign have a loop of their own: where it ends is then guessed more often.
#[inline(always)]
fn adapt(c: &mut [i32], d: &[i32], missed: i32, shift: u32) {
    let mut left = missed;
    if missed > 0 {
        for ((c, &d), weight) in c.iter_mut().zip(d).zip(1_i32..) {
            let (sign, magnitude) = parts(d);
            *c = (c.wrapping_add(sign) as i16).into();
            left = left.wrapping_sub(weight.wrapping_mul(magnitude >> shift));
            if left <= 0 {
                break;
            }
        }
    } else if missed < 0 {
        for ((c, &d), weight) in c.iter_mut().zip(d).zip(1_i32..) {
            let (sign, magnitude) = parts(d);
            *c = (c.wrapping_sub(sign) as i16).into();
            left = left.wrapping_sub(weight.wrapping_mul(magnitude.wrapping_neg() >> shift));
            if left >= 0 {
                break;
            }
        }
    }
}

/// Sign (-1, 0 or 1) and magnitude.
#[inline(always)]
fn parts(d: i32) -> (i32, i32) {
    let negative = d >> 31;
    // Bits: `signum` is compiled to bytes, which costs a third of the time here.
    let sign = negative | (d.wrapping_neg() >> 31 & 1);
    (sign, (d ^ negative).wrapping_sub(negative))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(300))]

        #[test]
        fn samples_come_back(
            bits in 1..33_u32,
            mode in prop_oneof![3 => Just(0_u8), 1 => 0..16_u8],
            shift in 0..16_u8,
            order in prop_oneof![3 => 0..9_u8, 1 => 0..32_u8],
            coefficients: [i16; ORDER_MAX],
            tame in 0..16_u32,
            samples in prop::collection::vec(any::<i32>(), 0..200),
            quiet in 0..32_u32,
        ) {
            let unused = 32 - bits;
            let mut samples: Vec<i32> = samples.iter().map(|s| wrap(s >> quiet, unused)).collect();
            let coefficients = coefficients.map(|c| c >> tame);
            let mut p = Predictor { mode, shift, factor: 4, order, coefficients, adapted: [0; ORDER_MAX] };
            let mut residual = Vec::new();
            p.residual(&mut samples, &mut residual, bits);
            prop_assert!(residual.iter().all(|r| wrap(*r, unused) == *r));
            let adapted = p.adapted;
            let mut back = residual.clone();
            p.restore(&mut back, bits);
            prop_assert_eq!(&back, &samples);
            prop_assert_eq!(p.adapted, adapted);
            if mode == 0 && (1..31).contains(&order) {
                let mut c = coefficients;
                prop_assert_eq!(described(&samples, &mut c, order.into(), shift.into(), unused), residual);
                prop_assert_eq!(c, adapted);
            }
        }
    }

    /// The residual as Apple's reference describes it, sample by sample.
    fn described(samples: &[i32], c: &mut [i16; ORDER_MAX], order: usize, shift: u32, unused: u32) -> Vec<i32> {
        let mut residual = Vec::new();
        for j in 0..samples.len() {
            if j <= order {
                let last = if j == 0 { 0 } else { samples[j - 1] };
                residual.push(wrap(samples[j].wrapping_sub(last), unused));
                continue;
            }
            let top = samples[j - order - 1];
            let before = |k: usize| top.wrapping_sub(samples[j - 1 - k]);
            let sum = (0..order).fold(half(shift), |sum, k| sum.wrapping_sub(before(k).wrapping_mul(c[k].into())));
            let mut left = wrap(samples[j].wrapping_sub(top.wrapping_add(sum >> shift)), unused);
            residual.push(left);
            let direction = left.signum();
            for k in (0..order).rev() {
                if left.signum() != direction || direction == 0 {
                    break;
                }
                let sign = before(k).signum() * direction;
                c[k] = c[k].wrapping_sub(sign as i16);
                let weight = (order - k) as i32;
                left = left.wrapping_sub(weight.wrapping_mul(sign.wrapping_mul(before(k)) >> shift));
            }
        }
        residual
    }
}
