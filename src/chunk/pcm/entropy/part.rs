//! Residuals to symbols, many at a time.
//!
//! # Invariants
//!
//! What comes out is what `Symbols::symbol` says of each residual, one after the other.

use super::super::bits::BitWriter;
use super::{CONTEXT_OCTAVES, ESCAPE, Mean, fold};

/// Residuals done at once.
pub(super) const PART: usize = 256;

/// A part of a slot's residuals on their way to symbols: steps that do not wait for each other are done for all of them
/// before the next step.
pub(super) struct Part {
    folded: [u32; PART],
    /// The means before each, in 1 / 16, plus one.
    means: [u32; PART],
    /// As they stand in a list of symbols.
    pub(super) entries: [u32; PART],
    values: [u32; PART],
    lengths: [u32; PART],
}

/// Exponent of a float of 32 bits, and the two bits below.
const FLOAT_QUARTERS: u32 = 21;
const FLOAT_BIAS: u32 = 127;

/// Bits that such a float holds exactly.
const EXACT_BITS: u32 = 24;

impl Part {
    pub(super) const NONE: Part =
        Part { folded: [0; PART], means: [0; PART], entries: [0; PART], values: [0; PART], lengths: [0; PART] };

    /// Takes at most [`PART`] residuals. False if one of them is so large that what follows would need more than 32 bits, or
    /// would not be the same as floats.
    #[inline(always)]
    pub(super) fn fold(&mut self, from: &Mean, residuals: &[i32]) -> bool {
        let mut all = 0;
        for (u, &r) in self.folded.iter_mut().zip(residuals) {
            *u = fold(r);
            all |= *u;
        }
        all >> EXACT_BITS == 0 && from.mean >> (16 + EXACT_BITS) == 0 && from.last >> EXACT_BITS == 0
    }

    /// Sets the means of two slots side by side: each waits for the one before it.
    #[inline(always)]
    pub(super) fn means(parts: [&mut Part; 2], of: [&mut Mean; 2], n: usize) {
        let [a, b] = parts;
        let [mut mean_a, mut mean_b] = [of[0].mean, of[1].mean];
        let [mut last_a, mut last_b] = [of[0].last, of[1].last];
        let [rate_a, rate_b] = [of[0].rate & 15, of[1].rate & 15];
        let each_a = a.means.iter_mut().zip(&a.folded);
        for ((za, &ua), (zb, &ub)) in each_a.zip(b.means.iter_mut().zip(&b.folded)).take(n) {
            *za = ((mean_a >> 12) as u32).wrapping_add(1); // below 2^28
            *zb = ((mean_b >> 12) as u32).wrapping_add(1);
            // `Mean::push`: as many bits to the left, then to the right, lose none.
            mean_a = mean_a.wrapping_add(last_a << (16 - rate_a)).wrapping_sub(mean_a >> rate_a);
            mean_b = mean_b.wrapping_add(last_b << (16 - rate_b)).wrapping_sub(mean_b >> rate_b);
            (last_a, last_b) = (ua.into(), ub.into());
        }
        let [of_a, of_b] = of;
        (of_a.mean, of_a.last) = (mean_a, last_a);
        (of_b.mean, of_b.last) = (mean_b, last_b);
    }

    /// What [`Symbols::symbol`] does of each residual.
    #[inline(always)]
    pub(super) fn symbols(&mut self) {
        for i in 0..PART {
            let (u, z) = (self.folded[i], self.means[i]);
            // As a float, whose upper bits are the exponent and the fraction; low bits that it could not hold are left out,
            // lest they be rounded.
            let z = if z >> EXACT_BITS == 0 { z } else { z & !0xff };
            let quarters = ((z as i32 as f32).to_bits() >> FLOAT_QUARTERS).wrapping_sub(FLOAT_BIAS << 2);
            let (exponent, fraction) = (quarters >> 2, quarters & 3);
            let context = exponent.min(CONTEXT_OCTAVES) << 2 | fraction;
            let k = exponent.saturating_sub(CONTEXT_OCTAVES) & 31;
            let q = u >> k;
            let log2 = ((q as i32 as f32).to_bits() >> (FLOAT_QUARTERS + 2)).wrapping_sub(FLOAT_BIAS);
            // See `SYMBOL_OF` and `more_bits`.
            let (symbol, more) = if q < 32 {
                (q, 0)
            } else if q < 64 {
                (28 + (q >> 3), 3)
            } else if q < 128 {
                (32 + (q >> 4), 4)
            } else {
                (ESCAPE as u32, log2)
            };
            let below = more.wrapping_add(k); // at most 24
            let value = u & (1u32 << (below & 31)).wrapping_sub(1);
            let escapes = q >= 128;
            self.entries[i] = context << 6 | symbol;
            self.values[i] = if escapes { log2 | value << 5 } else { value };
            self.lengths[i] = if escapes { below.wrapping_add(5) } else { below };
        }
    }

    /// Writes the bits of two slots in turn.
    #[inline(always)]
    pub(super) fn put(parts: [&Part; 2], n: usize, bits: &mut BitWriter) {
        let [a, b] = parts;
        let (mut values, mut lengths) = ([0u64; PART], [0u32; PART]);
        let mut longest = 0;
        for i in 0..PART {
            values[i] = u64::from(a.values[i]) | u64::from(b.values[i]) << (a.lengths[i] & 63);
            lengths[i] = a.lengths[i].wrapping_add(b.lengths[i]); // at most 28 each
            longest = longest.max(lengths[i]);
        }
        let mut n = n;
        if longest <= 28 && n == PART {
            // Two frames at once.
            n = PART / 2;
            for i in 0..n {
                values[i] = values[2 * i] | values[2 * i + 1] << (lengths[2 * i] & 63);
                lengths[i] = lengths[2 * i].wrapping_add(lengths[2 * i + 1]);
            }
        }
        bits.put_all(&values[..n], &lengths[..n]);
    }
}

#[cfg(test)]
mod tests {
    use super::super::Symbols;
    use super::*;
    use proptest::prelude::*;

    /// Residuals of every size, in runs, with the borders of what is done many at a time among them.
    fn residuals() -> impl Strategy<Value = Vec<i32>> {
        let border = prop::sample::select(vec![0, -1, (1 << 23) - 1, -(1 << 23), 1 << 23, i32::MAX, i32::MIN]);
        let one = prop_oneof![8 => any::<i32>(), 1 => border];
        let run = (0..32u32, prop::collection::vec(one, 1..200));
        prop::collection::vec(run, 1..8)
            .prop_map(|runs| runs.iter().flat_map(|(shift, run)| run.iter().map(move |r| r >> shift)).collect())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]

        #[test]
        fn many_at_a_time_are_as_one_after_the_other(
            left in residuals(),
            small in 8..32u32,
            start in 0..32u32,
            rate in 1..16u32,
        ) {
            let right: Vec<i32> = left.iter().rev().map(|r| r >> (32 - small)).collect();
            for (left, right) in [(&left, &right), (&right, &right)] {
                let begin = [Mean::new(start, rate), Mean::new(7, rate)];
                let ([mut a, mut b], [mut c, mut d]) = (begin, begin);
                let (mut many, mut bits) = (Symbols::default(), BitWriter::default());
                many.two(&mut a, &mut b, left, right, &mut bits);
                let (mut list, mut twin) = (vec![[0; 2]; left.len()], BitWriter::default());
                Symbols::two_wide(&mut list, &mut c, &mut d, left, right, &mut twin);
                prop_assert_eq!(&many.list[..], list.as_flattened());
                prop_assert_eq!(bits.bytes(), twin.bytes());
                prop_assert_eq!([a.mean, a.last, b.mean, b.last], [c.mean, c.last, d.mean, d.last]);
            }
        }
    }
}
