//! ALAC's predictor, whose coefficients follow the signs of what it missed (`dp_dec.c` and `dp_enc.c` of Apple's
//! reference): residuals to samples and back.
//!
//! A sample is expected from the `order` samples before it, all taken relative to the one before those. Behind each
//! sample the coefficients move by one towards the residual's sign, the oldest first, until what they moved makes up
//! for the residual.
//!
//! # Invariants
//!
//! 1. Samples and residuals are numbers of `bits` bits, computed modulo 2^`bits`: each way is the exact inverse of the
//!    other, whatever the numbers are.
//! 2. Integers alone. The fast way is taken only where it cannot differ from the plain one.

/// The highest order that a header can name.
pub(super) const ORDER_MAX: usize = 31;

/// This order, and a mode that is not 0, stand for plain differences.
const DIFFERENCES: u8 = 31;

/// Orders of the fast way, and the bits up to which its sums do not overflow: weights of 36, of differences below 2^25.
const FAST_ORDER: u8 = 8;
const FAST_BITS: u32 = 25;

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
        let moves = samples.len();
        let tame = |c: &i16| usize::from(c.unsigned_abs()) + moves < 1 << 15;
        let fast = self.order <= FAST_ORDER && bits <= FAST_BITS && self.coefficients.iter().all(tame);
        let (c, shift) = (&mut self.adapted, self.shift.into());
        match (self.order, residual) {
            (0, None) => {}
            (0, Some(residual)) => residual.copy_from_slice(samples),
            (DIFFERENCES, None) => add_up(samples, unused),
            (DIFFERENCES, Some(residual)) => {
                residual.copy_from_slice(samples);
                differences(residual, unused);
            }
            (order, residual) if !fast => plain(samples, residual, usize::from(order), c, shift, unused),
            (1, r) => fast_way::<1, 3>(samples, r, c, shift, unused),
            (2, r) => fast_way::<2, 4>(samples, r, c, shift, unused),
            (3, r) => fast_way::<3, 5>(samples, r, c, shift, unused),
            (4, r) => fast_way::<4, 6>(samples, r, c, shift, unused),
            (5, r) => fast_way::<5, 7>(samples, r, c, shift, unused),
            (6, r) => fast_way::<6, 8>(samples, r, c, shift, unused),
            (7, r) => fast_way::<7, 9>(samples, r, c, shift, unused),
            (_, r) => fast_way::<8, 10>(samples, r, c, shift, unused),
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

/// Any order, any bits.
fn plain(
    samples: &mut [i32],
    mut residual: Option<&mut [i32]>,
    order: usize,
    coefficients: &mut [i16; ORDER_MAX],
    shift: u32,
    unused: u32,
) {
    begin(samples, &mut residual, order, unused);
    for j in order + 1..samples.len() {
        let Some((&mut top, rest)) = samples.get_mut(j - order - 1..).and_then(<[i32]>::split_first_mut) else { return };
        let Some((history, [sample, ..])) = rest.split_at_mut_checked(order) else { return };
        // The oldest first, as its coefficient moves first.
        let taps = history.iter().map(|h| h.wrapping_sub(top));
        let sum = taps.clone().zip(coefficients.iter().take(order).rev());
        let sum = sum.fold(half(shift), |sum, (d, &c)| sum.wrapping_add(d.wrapping_mul(c.into())));
        let expected = top.wrapping_add(sum >> shift);
        let missed = match residual.as_mut().and_then(|r| r.get_mut(j)) {
            None => {
                let missed = *sample;
                *sample = wrap(missed.wrapping_add(expected), unused);
                missed
            }
            Some(residual) => {
                *residual = wrap(sample.wrapping_sub(expected), unused);
                *residual
            }
        };
        let direction = missed.signum();
        let mut left = missed;
        for ((d, c), weight) in taps.zip(coefficients.iter_mut().take(order).rev()).zip(1..) {
            if left.signum() != direction || direction == 0 {
                break;
            }
            let way = direction * d.signum();
            *c = c.wrapping_add(way as i16); // -1, 0 or 1
            let step = way.wrapping_mul(d) >> shift; // what `direction` moves towards
            left = left.wrapping_sub(step.wrapping_mul(weight));
        }
    }
}

/// As [`plain`], for `N` samples of at most [`FAST_BITS`] bits and coefficients that do not overflow. `W` is N + 2.
///
/// Nothing depends on how far coefficients move, so there is no branch to guess.
#[inline(never)]
fn fast_way<const N: usize, const W: usize>(
    samples: &mut [i32],
    mut residual: Option<&mut [i32]>,
    coefficients: &mut [i16; ORDER_MAX],
    shift: u32,
    unused: u32,
) {
    const { assert!(N + 2 == W && N <= FAST_ORDER as usize) };
    begin(samples, &mut residual, N, unused);
    // The oldest first.
    let mut c = [0_i32; N];
    for (to, &from) in c.iter_mut().rev().zip(coefficients.iter()) {
        *to = from.into();
    }
    let half = half(shift);
    match residual {
        None => {
            for j in 0..samples.len().saturating_sub(N + 1) {
                let Some(window) = samples.get_mut(j..).and_then(<[i32]>::first_chunk_mut::<W>) else { break };
                let (d, expected) = expect::<N, W>(window, &c, shift, half);
                let Some(sample) = window.last_mut() else { break };
                let missed = *sample;
                *sample = wrap(missed.wrapping_add(expected), unused);
                adapt::<N>(&d, &mut c, missed, shift);
            }
        }
        Some(residual) => {
            for (window, residual) in samples.array_windows::<W>().zip(residual.iter_mut().skip(N + 1)) {
                let (d, expected) = expect::<N, W>(window, &c, shift, half);
                let Some(sample) = window.last() else { break };
                *residual = wrap(sample.wrapping_sub(expected), unused);
                adapt::<N>(&d, &mut c, *residual, shift);
            }
        }
    }
    for (&from, to) in c.iter().rev().zip(coefficients.iter_mut()) {
        *to = from as i16; // it moved by one a sample, which was seen to fit
    }
}

/// Relative samples, and what is expected behind them.
#[inline(always)]
fn expect<const N: usize, const W: usize>(window: &[i32; W], c: &[i32; N], shift: u32, half: i32) -> ([i32; N], i32) {
    let (mut d, mut sum) = ([0; N], half);
    let [top, history @ ..] = &window[..] else { return (d, 0) };
    for ((d, h), c) in d.iter_mut().zip(history).zip(c) {
        *d = h.wrapping_sub(*top);
        sum = sum.wrapping_add(d.wrapping_mul(*c));
    }
    (d, top.wrapping_add(sum >> shift))
}

/// Moves the coefficients.
#[inline(always)]
fn adapt<const N: usize>(d: &[i32; N], c: &mut [i32; N], missed: i32, shift: u32) {
    let direction = missed.signum();
    let mut left = missed.wrapping_abs();
    // A shift rounds down, and a negative residual counts the negative of it.
    let round = if missed < 0 { (1 << shift) - 1 } else { 0 };
    for ((&d, c), weight) in d.iter().zip(c).zip(1..) {
        let moves = i32::from(left > 0);
        *c = c.wrapping_add(direction * d.signum() * moves);
        left = left.wrapping_sub(weight * (d.wrapping_abs().wrapping_add(round) >> shift));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(300))]

        #[test]
        fn samples_come_back_and_the_fast_way_is_the_plain_one(
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
                let (mut slow, mut c) = (vec![0; samples.len()], coefficients);
                plain(&mut samples, Some(&mut slow), order.into(), &mut c, shift.into(), unused);
                prop_assert_eq!(slow, residual);
                prop_assert_eq!(c, adapted);
                let mut c = coefficients;
                plain(&mut back, None, order.into(), &mut c, shift.into(), unused);
            }
        }
    }
}
