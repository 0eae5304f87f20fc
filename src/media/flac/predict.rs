//! Linear prediction: residuals to samples and back.
//!
//! Samples of up to 32 bits are computed modulo 2^32, so each way is the exact inverse of the other whatever the
//! numbers are; the 33 bits of a side channel of 32-bit sound take 64.
//!
//! # Invariants
//!
//! 1. Integers alone, the same for every machine.
//! 2. A sum that is shifted never wraps: it takes 32 bits only where samples within their bits cannot overflow it.

/// The highest order.
pub(super) const ORDER_MAX: usize = 32;

/// A predictor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Predictor {
    /// At most [`ORDER_MAX`].
    pub order: usize,
    /// Below 32.
    pub shift: u32,
    /// The first belongs to the sample just before. Those beyond the order are 0.
    pub coefficients: [i32; ORDER_MAX],
    /// One of the fixed ones.
    fixed: bool,
    /// 32 bits are enough for the sum.
    narrow: bool,
}

impl Predictor {
    /// The fixed predictor of an order up to 4.
    pub fn fixed(order: usize) -> Predictor {
        let first: [i32; 4] = match order {
            1 => [1, 0, 0, 0],
            2 => [2, -1, 0, 0],
            3 => [3, -3, 1, 0],
            4 => [4, -6, 4, -1],
            _ => [0; 4],
        };
        let mut coefficients = [0; ORDER_MAX];
        for (to, from) in coefficients.iter_mut().zip(first) {
            *to = from;
        }
        // Nothing is shifted: it is exact modulo 2^32.
        Predictor { order: order.min(4), shift: 0, coefficients, fixed: true, narrow: true }
    }

    /// A predictor of `order` coefficients, each of `precision` bits, for samples of `bits` bits.
    pub fn linear(order: usize, shift: u32, coefficients: [i32; ORDER_MAX], precision: u32, bits: u32) -> Predictor {
        let sum = usize::BITS - order.saturating_sub(1).leading_zeros();
        let narrow = bits + precision + sum <= 32;
        Predictor { order: order.min(ORDER_MAX), shift, coefficients, fixed: false, narrow }
    }
}

/// Samples that fit into 32 bits, or do not.
pub(super) trait Sample: Copy + Default + Into<i64> + PartialEq {
    /// The low bits.
    fn wrap(value: i64) -> Self;

    /// Computes the samples behind the first `order` ones.
    fn restore(samples: &mut [Self], residual: &[i32], predictor: &Predictor);

    /// Computes the residual of the samples behind the first `order` ones; false where it does not fit.
    fn residual(samples: &[Self], residual: &mut [i32], predictor: &Predictor) -> bool;
}

impl Sample for i64 {
    fn wrap(value: i64) -> i64 {
        value
    }

    fn restore(samples: &mut [i64], residual: &[i32], p: &Predictor) {
        for (i, &r) in residual.iter().enumerate() {
            let Some((history, [sample, ..])) = samples.split_at_mut_checked(i + p.order) else { return };
            *sample = predict(history, p).wrapping_add(i64::from(r));
        }
    }

    fn residual(samples: &[i64], residual: &mut [i32], p: &Predictor) -> bool {
        for (i, r) in residual.iter_mut().enumerate() {
            let Some((history, [sample, ..])) = samples.split_at_checked(i + p.order) else { return false };
            match i32::try_from(sample.wrapping_sub(predict(history, p))) {
                Ok(fits) => *r = fits,
                Err(_) => return false,
            }
        }
        true
    }
}

/// What `p` expects behind `history`.
fn predict<T: Copy + Into<i64>>(history: &[T], p: &Predictor) -> i64 {
    let coefficients = p.coefficients.iter().take(p.order);
    let sum = coefficients.zip(history.iter().rev());
    sum.fold(0_i64, |sum, (&c, &s)| sum.wrapping_add(i64::from(c).wrapping_mul(s.into()))) >> p.shift
}

/// Runs a loop that is made for as many coefficients as are there, or some more that are 0.
macro_rules! by_order {
    ($order:expr, $run:ident $(, $narrow:literal)? ( $($arg:expr),* )) => {
        match $order {
            0..=1 => $run::<1 $(, $narrow)?>($($arg),*),
            2 => $run::<2 $(, $narrow)?>($($arg),*),
            3..=4 => $run::<4 $(, $narrow)?>($($arg),*),
            5..=6 => $run::<6 $(, $narrow)?>($($arg),*),
            7..=8 => $run::<8 $(, $narrow)?>($($arg),*),
            9..=10 => $run::<10 $(, $narrow)?>($($arg),*),
            11..=12 => $run::<12 $(, $narrow)?>($($arg),*),
            13..=16 => $run::<16 $(, $narrow)?>($($arg),*),
            17..=24 => $run::<24 $(, $narrow)?>($($arg),*),
            _ => $run::<32 $(, $narrow)?>($($arg),*),
        }
    };
}

impl Sample for i32 {
    fn wrap(value: i64) -> i32 {
        value as i32 // the low bits, by intent
    }

    fn restore(samples: &mut [i32], residual: &[i32], p: &Predictor) {
        match (p.fixed, p.order) {
            (true, 0) => add_up::<0>(samples, residual),
            (true, 1) => add_up::<1>(samples, residual),
            (true, 2) => add_up::<2>(samples, residual),
            (true, 3) => add_up::<3>(samples, residual),
            (true, _) => add_up::<4>(samples, residual),
            (false, _) => by_order!(p.order, restore(samples, residual, p)),
        }
    }

    fn residual(samples: &[i32], residual: &mut [i32], p: &Predictor) -> bool {
        if p.narrow {
            by_order!(p.order, residual_of, true(samples, residual, p));
        } else {
            by_order!(p.order, residual_of, false(samples, residual, p));
        }
        true
    }
}

/// The last `N` coefficients, oldest sample first.
fn reversed<const N: usize>(p: &Predictor) -> [i32; N] {
    let mut out = [0; N];
    for (to, &from) in out.iter_mut().rev().zip(&p.coefficients) {
        *to = from;
    }
    out
}

/// The shifted sum over `N` samples.
#[inline(always)]
fn sum<const N: usize, const NARROW: bool>(coefficients: &[i32; N], history: &[i32; N], shift: u32) -> i32 {
    let pairs = coefficients.iter().zip(history);
    if NARROW {
        pairs.fold(0_i32, |sum, (&c, &s)| sum.wrapping_add(c.wrapping_mul(s))) >> shift
    } else {
        let sum = pairs.fold(0_i64, |sum, (&c, &s)| sum.wrapping_add(i64::from(c) * i64::from(s)));
        (sum >> shift) as i32 // modulo 2^32
    }
}

/// Restores what the fixed predictor of order `N` left: the residual is the Nth difference.
fn add_up<const N: usize>(samples: &mut [i32], residual: &[i32]) {
    let Some((first, rest)) = samples.split_first_chunk_mut::<N>() else { return };
    // Of each order, the last difference.
    let (mut differences, mut last) = (*first, [0; N]);
    for (order, last) in last.iter_mut().enumerate() {
        *last = differences[N - 1]; // N is at least 1, if there is a `last`
        for i in (order + 1..N).rev() {
            differences[i] = differences[i].wrapping_sub(differences[i - 1]); // i is 1 at least, below N
        }
    }
    for (sample, &r) in rest.iter_mut().zip(residual) {
        let mut sum = r;
        for difference in last.iter_mut().rev() {
            sum = sum.wrapping_add(*difference);
            *difference = sum;
        }
        *sample = sum;
    }
}

fn restore<const N: usize>(samples: &mut [i32], residual: &[i32], p: &Predictor) {
    // Samples that have fewer than `N` before them.
    let slow = (N - p.order.min(N)).min(residual.len());
    let (first, residual) = residual.split_at(slow); // at most its length
    for (i, &r) in first.iter().enumerate() {
        let Some((history, [sample, ..])) = samples.split_at_mut_checked(i + p.order) else { return };
        *sample = r.wrapping_add(predict(history, p) as i32); // modulo 2^32
    }
    let coefficients = reversed::<N>(p);
    for (i, &r) in residual.iter().enumerate() {
        let rest = samples.get_mut(i..).and_then(<[i32]>::split_first_chunk_mut::<N>);
        let Some((history, [sample, ..])) = rest else { return };
        // Sums of 64 bits also where 32 are enough: the compiler would load vectors, which wait for the stores before.
        *sample = r.wrapping_add(sum::<N, false>(&coefficients, history, p.shift));
    }
}

fn residual_of<const N: usize, const NARROW: bool>(samples: &[i32], residual: &mut [i32], p: &Predictor) {
    let slow = (N - p.order.min(N)).min(residual.len());
    let (first, residual) = residual.split_at_mut(slow); // at most its length
    for (i, r) in first.iter_mut().enumerate() {
        let Some((history, [sample, ..])) = samples.split_at_checked(i + p.order) else { return };
        *r = sample.wrapping_sub(predict(history, p) as i32); // modulo 2^32
    }
    let coefficients = reversed::<N>(p);
    for (i, r) in residual.iter_mut().enumerate() {
        let rest = samples.get(i..).and_then(<[i32]>::split_first_chunk::<N>);
        let Some((history, [sample, ..])) = rest else { return };
        *r = sample.wrapping_sub(sum::<N, NARROW>(&coefficients, history, p.shift));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]

        #[test]
        fn samples_and_residuals_are_each_others_inverse(
            order in 0..=ORDER_MAX,
            fixed: bool,
            shift in 0..16_u32,
            precision in 1..16_u32,
            bits in 4..=32_u32,
            seeds in prop::collection::vec(any::<(i32, i32)>(), 33..120),
        ) {
            let p = if fixed {
                Predictor::fixed(order % 5)
            } else {
                let mut coefficients = [0; ORDER_MAX];
                for (c, s) in coefficients.iter_mut().zip(&seeds).take(order) {
                    *c = s.1 >> (32 - precision);
                }
                Predictor::linear(order, shift, coefficients, precision, bits)
            };
            let samples: Vec<i32> = seeds.iter().map(|s| s.0 >> (32 - bits)).collect();
            let mut residual = vec![0; samples.len() - p.order];
            prop_assert!(i32::residual(&samples, &mut residual, &p));
            let mut back = samples.clone();
            back[p.order..].fill(77);
            i32::restore(&mut back, &residual, &p);
            prop_assert_eq!(&back, &samples);

            let wide: Vec<i64> = samples.iter().map(|&s| s.into()).collect();
            let mut again = vec![0; residual.len()];
            if i64::residual(&wide, &mut again, &p) {
                prop_assert_eq!(again, residual, "32 bits and 64 agree where both fit");
            }
        }
    }
}
