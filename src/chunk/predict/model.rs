//! What a sample is expected to be, and how far it is from that: shared by both directions, integer arithmetic only.
//!
//! An expectation is fixed-point with [`fraction`] bits below the point. It comes in two stages: what the inputs at
//! this frame say ([`expect`]), then what the errors of the samples before say ([`Model::whiten`]): dither that was shaped, or,
//! where there is no base, the sound itself.
//!
//! The residual's *context* is the mean magnitude of the residuals before, in steps, and where that is small the
//! expectation's place between two integers: dither and rounding make that decisive (1.04 instead of 1.25 bits a sample
//! for triangular dither).

use super::frames;

/// Inputs of a channel's model, at most.
pub const INPUTS: usize = 8;
/// Errors that are looked back to, at most.
pub const ORDER: usize = 32;
/// Marks an input as a channel of the chunk itself that was coded before.
pub const OWN: u8 = 0x80;
/// Samples between two looks at the mean.
pub const GROUP: usize = 16;
/// The steps of the mean that look at the fraction too, and the contexts each has: places between two integers, and
/// the expectation at the end of the range.
const FINE: usize = 5;
const PLACES: usize = 17;
const AT_END: usize = 16;

/// A term of an expectation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Input {
    /// A channel of the base, or [`OWN`] and one of the chunk.
    pub channel: u8,
    pub gain: i32,
    /// What the gain grows by in 65536 frames.
    pub slope: i64,
}

/// How a channel is predicted within a segment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Model {
    /// Right shift of the sum of inputs times gains.
    pub shift: u8,
    /// Added to the expectation.
    pub constant: i64,
    pub inputs: Vec<Input>,
    /// Right shift of the sum of errors times taps.
    pub taps_shift: u8,
    /// The oldest error's first.
    pub taps: Vec<i16>,
}

/// Bits of an expectation below the point.
pub fn fraction(sample_bytes: u8) -> u32 {
    match sample_bytes {
        1 | 2 => 8,
        3 => 6,
        _ => 0,
    }
}

/// The least and the greatest expectation.
pub fn bounds(sample_bytes: u8) -> (i32, i32) {
    let (low, high) = frames::range(sample_bytes);
    (low << fraction(sample_bytes), high << fraction(sample_bytes)) // at most 30 bits and a sign
}

/// Makes `out` the first stage's expectation of `frames` frames; each input's samples of them are given, and how many frames of
/// the segment come before.
pub fn expect(
    model: &Model,
    inputs: &[&[i32]],
    frames: usize,
    before: usize,
    (low, high): (i32, i32),
    out: &mut Vec<i32>,
) {
    out.clear();
    let half = if model.shift == 0 { 0 } else { 1i64 << (model.shift - 1) }; // shift <= 62
    let constant = model.constant;
    let shift = model.shift.min(62);
    let end =
        |sum: i64| ((sum.wrapping_add(half) >> shift).wrapping_add(constant)).clamp(low.into(), high.into()) as i32;
    let product = |gain: i32, x: i32| i64::from(gain) * i64::from(x);
    let steady = model.inputs.iter().all(|i| i.slope == 0);
    match (model.inputs.as_slice(), inputs) {
        ([], _) => out.resize(frames, end(0)),
        ([a], [x, ..]) if steady => out.extend(x.iter().take(frames).map(|x| end(product(a.gain, *x)))),
        ([a, b], [x, y, ..]) if steady => {
            let both = x.iter().zip(*y).take(frames);
            out.extend(both.map(|(x, y)| end(product(a.gain, *x).wrapping_add(product(b.gain, *y)))));
        }
        (terms, inputs) => out.extend((0..frames).map(|i| {
            let at = (before + i) as i64; // below 2^24
            end(terms.iter().zip(inputs).fold(0i64, |sum, (term, x)| {
                let gain = i64::from(term.gain).wrapping_add(term.slope.wrapping_mul(at) >> 16);
                sum.wrapping_add(gain.wrapping_mul(x.get(i).copied().unwrap_or(0).into()))
            }))
        })),
    }
    out.resize(frames, end(0)); // where an input is too short, which callers rule out
}

/// The error of an expectation.
#[inline]
pub fn error(sample: i32, expected: i32, fraction: u32) -> i32 {
    let exact = (i64::from(sample) << fraction) - i64::from(expected);
    exact.clamp(i32::MIN.into(), i32::MAX.into()) as i32
}

impl Model {
    /// The second stage: the expectation corrected by the errors of as many samples before as there are taps.
    #[inline]
    pub fn whiten(&self, expected: i32, errors: &[i32], (low, high): (i32, i32)) -> i32 {
        let sum = errors.iter().zip(&self.taps).fold(0i64, |sum, (e, t)| sum + i64::from(*e) * i64::from(*t)); // below 2^52
        (i64::from(expected) + (sum >> self.taps_shift.min(31))).clamp(low.into(), high.into()) as i32
    }
}

/// The integer nearest to an expectation, and its place there: 0 to 15, or 16 at the ends of the range.
#[inline]
pub fn nearest(expected: i32, fraction: u32, (low, high): (i32, i32)) -> (i32, usize) {
    if fraction == 0 {
        return (expected, 8);
    }
    let half = 1 << (fraction - 1);
    let value = expected.saturating_add(half) >> fraction;
    let place = (expected.saturating_add(half) - (value << fraction)) >> (fraction - 4);
    let place = if expected == low || expected == high { AT_END as i32 } else { place };
    (value, place as usize) // 0 to 16
}

/// The mean magnitude of a channel's residuals.
#[derive(Clone, Copy, Debug)]
pub struct Mean(u64);

impl Default for Mean {
    fn default() -> Self {
        Mean(24)
    }
}

impl Mean {
    /// Takes in the sum of the magnitudes of a whole group.
    pub fn add(&mut self, sum: u64) {
        // 64 times the mean of a group is 4 times its sum; sums are below 2^40.
        self.0 = self.0 - (self.0 >> 2) - u64::from(self.0 > 0 && self.0 < 4) + sum;
    }

    /// The group's first context, and whether the place is to be added.
    pub fn context(self) -> (usize, bool) {
        let level = match self.0 {
            0 => 0,
            1..6 => 1,
            6..35 => 2,
            35..77 => 3,
            77..128 => 4,
            128..192 => return (FINE * PLACES, false),
            // Half octaves from 192 = 2^7 * 1.5 on.
            n => {
                let half = 2 * n.ilog2() as usize + (n >> (n.ilog2() - 1) & 1) as usize;
                return ((FINE * PLACES + 1 + half - 15).min(super::ans::CONTEXTS - 1), false);
            }
        };
        (level * PLACES, true)
    }
}

/// A residual's token, and what follows it as raw bits: value and number.
#[inline]
pub fn token(residual: i64) -> (usize, u64, u32) {
    let zigzag = ((residual << 1) ^ (residual >> 63)) as u64; // |residual| < 2^33
    if zigzag < 16 {
        return (zigzag as usize, 0, 0);
    }
    let log = zigzag.ilog2(); // 4 to 33
    let token = 16 + 2 * (log as usize - 4) + (zigzag >> (log - 1) & 1) as usize;
    (token, zigzag, log - 1)
}

/// How many raw bits follow a token.
#[inline]
pub fn raw_bits(token: u32) -> u32 {
    if token < 16 { 0 } else { (token - 16) / 2 + 3 }
}

/// The residual of a token and its raw bits.
#[inline]
pub fn residual(token: u32, raw: u64) -> i64 {
    let zigzag = match token {
        0..16 => u64::from(token),
        _ => u64::from(2 | (token & 1)) << raw_bits(token) | raw,
    };
    (zigzag >> 1) as i64 ^ -((zigzag & 1) as i64) // below 2^34
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn residuals_come_back_from_tokens(bits in 0..33u32, value: i64) {
            let value = value >> (63 - bits);
            let (token, raw, n) = token(value);
            prop_assert!(token < super::super::ans::TOKENS);
            prop_assert_eq!(n, raw_bits(token as u32));
            prop_assert_eq!(residual(token as u32, raw & ((1 << n) - 1)), value);
        }

        #[test]
        fn contexts_are_within_their_number(sums in prop::collection::vec(0..1u64 << 40, 0..100), small: bool) {
            let mut mean = Mean::default();
            for sum in sums {
                mean.add(if small { sum % 40 } else { sum });
                let (context, fine) = mean.context();
                let last = context + if fine { AT_END } else { 0 };
                prop_assert!(last < super::super::ans::CONTEXTS);
            }
        }

        #[test]
        fn the_nearest_integer_is_within_the_range(sample_bytes in 1..=4u8, x: i32) {
            let (low, high) = bounds(sample_bytes);
            let x = x.clamp(low, high);
            let (value, place) = nearest(x, fraction(sample_bytes), (low, high));
            prop_assert!(place < PLACES);
            let (least, most) = frames::range(sample_bytes);
            prop_assert!((i64::from(least)..=i64::from(most) + 1).contains(&i64::from(value)));
        }
    }

    #[test]
    fn a_mean_of_zeros_comes_down_to_zero() {
        let mut mean = Mean(1000);
        (0..60).for_each(|_| mean.add(0));
        assert_eq!(mean.context(), (0, true));
    }
}
