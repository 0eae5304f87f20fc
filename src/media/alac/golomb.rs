//! Residuals as ALAC codes them: Golomb codes whose parameter follows the mean of what came before (`ag_dec.c` and
//! `ag_enc.c` of Apple's reference).
//!
//! ```text
//! value := ones (below 9)  0  rest       a number is ones * m + rest, with m = 2^k - 1: a rest of 0 takes k - 1 bits,
//!        | 1{9}  number                  any other k bits, and counts from 2 up
//! ```
//! `k` is the logarithm of the mean, at most the cookie's `kb`. Where the mean is near zero, a run of zeros is coded
//! behind the value; then the next value is none, so that it is one less.
//!
//! # Invariants
//!
//! 1. There is one way to code values: [`read`] refuses any other, so that [`write()`] gives the same bits.
//! 2. Each step takes a value. What is read behind the end is zeros.

use super::packet::Config;
use crate::media::flac::bits::{BitReader, BitWriter};

/// So many ones stand for a number as it is.
const ESCAPE: u32 = 9;
/// The mean is kept with so many bits behind the point.
const POINT: u32 = 9;
/// Below it (a quarter of one) zeros are coded as a run.
const RUN_BELOW: u32 = 128;
/// Bits of a run that stands as it is.
const RUN_BITS: u32 = 16;
/// Values beyond make the mean this.
const MEAN_MAX: u32 = 0xffff;

/// The bits of a value's rest where the mean is `mean`.
#[inline(always)]
fn rest_bits(mean: u32, most: u32) -> u32 {
    (31 - ((mean >> POINT) + 3).leading_zeros()).min(most) // 3 has 30 zeros, so it is at least 1
}

/// The bits of a run's rest. `mean` is below [`RUN_BELOW`].
fn run_bits(mean: u32) -> u32 {
    mean.leading_zeros() + ((mean + 16) >> 6) - 24 // 25 zeros at least
}

#[inline(always)]
fn next_mean(mean: u32, factor: u32, value: u32, number: u32) -> u32 {
    if number > MEAN_MAX {
        return MEAN_MAX;
    }
    factor.wrapping_mul(value).wrapping_add(mean).wrapping_sub(factor.wrapping_mul(mean) >> POINT)
}

/// The factor of the mean that a channel's header names.
fn factor(config: &Config, of_channel: u8) -> u32 {
    u32::from(config.pb) * u32::from(of_channel) / 4
}

/// Reads values of `bits` bits. False where they are not coded in the one way, or do not end where they should.
pub(super) fn read(r: &mut BitReader<'_>, config: &Config, of_channel: u8, bits: u32, values: &mut [i32]) -> bool {
    let (factor, most) = (factor(config, of_channel), u32::from(config.kb));
    let mut reader = r.clone(); // so that it lives in registers
    let mut mean = u32::from(config.mb);
    let mut less = 0; // 1 behind a run
    let mut high = 0_u64;
    let mut odd = false;
    let mut rest = &mut *values;
    while let Some((to, behind)) = rest.split_first_mut() {
        let k = rest_bits(mean, most);
        let word = reader.peek();
        let ones = word.leading_ones();
        let number = if ones < ESCAPE {
            // At most 9 + 16 bits of 56.
            let rest = ((word << ones << 1) >> (64 - k)) as u32; // k bits
            reader.pass(ones + k + u32::from(rest > 1));
            ones * ((1 << k) - 1) + rest.saturating_sub(1)
        } else {
            reader.pass(ESCAPE + bits);
            let number = ((word << ESCAPE) >> (64 - bits)) as u32; // at most 32 bits
            odd |= number < ESCAPE * ((1 << k) - 1);
            number
        };
        let value = number.wrapping_add(less);
        high |= u64::from(number) + u64::from(less);
        *to = (value >> 1).cast_signed() ^ -(value & 1).cast_signed();
        mean = next_mean(mean, factor, value, number);
        less = 0;
        rest = behind;
        if mean < RUN_BELOW && !rest.is_empty() {
            let k = run_bits(mean);
            let word = reader.peek();
            let ones = word.leading_ones();
            let zeros = if ones < ESCAPE {
                let rest = ((word << ones << 1) >> (64 - k)) as u32;
                reader.pass(ones + k + u32::from(rest > 1));
                ones * ((1 << k) - 1) + rest.saturating_sub(1)
            } else {
                reader.pass(ESCAPE + RUN_BITS);
                let zeros = ((word << ESCAPE) >> (64 - RUN_BITS)) as u32;
                odd |= zeros < ESCAPE * ((1 << k) - 1);
                zeros
            };
            let Some((run, behind)) = rest.split_at_mut_checked(zeros as usize) else {
                *r = reader;
                return false;
            };
            run.fill(0);
            (rest, less, mean) = (behind, 1, 0);
        }
    }
    *r = reader;
    !odd && high >> bits == 0
}

/// 2^40 / (2^k - 1), rounded up: a product with it, shifted, is the quotient of a number below 2^20.
const INVERSE: [u64; 17] = {
    let mut inverse = [0; 17];
    let mut k = 1;
    while k < inverse.len() {
        inverse[k] = (1_u64 << 40).div_ceil((1 << k) - 1);
        k += 1;
    }
    inverse
};

/// Writes one number; `bits` are those that it has as it is.
#[inline(always)]
fn put(w: &mut BitWriter, k: u32, number: u32, bits: u32) {
    let m = (1 << k) - 1;
    if number < ESCAPE * m {
        let inverse = INVERSE.get(k as usize).copied().unwrap_or_default(); // k is at most 16
        let ones = ((u64::from(number) * inverse) >> 40) as u32; // below 9
        let rest = number - ones * m;
        let rest_bits = k - u32::from(rest == 0);
        let low = if rest == 0 { 0 } else { u64::from(rest) + 1 };
        w.put_in_room(ones + 1 + rest_bits, ((1 << ones) - 1) << (1 + rest_bits) | low);
    } else {
        w.put_in_room(ESCAPE + bits, ((1 << ESCAPE) - 1) << bits | u64::from(number));
    }
}

/// Writes values of `bits` bits. False beyond the writer's bound.
pub(super) fn write(w: &mut BitWriter, config: &Config, of_channel: u8, bits: u32, values: &[i32]) -> bool {
    // A value and a run take 41 and 25 bits at most.
    if !w.reserve(9 * values.len()) {
        return false;
    }
    let (factor, most) = (factor(config, of_channel), u32::from(config.kb));
    let mut mean = u32::from(config.mb);
    let mut less = 0;
    let mut rest = values;
    while let Some((&value, behind)) = rest.split_first() {
        let k = rest_bits(mean, most);
        let value = ((value << 1) ^ (value >> 31)).cast_unsigned();
        let number = value.wrapping_sub(less); // behind a run it is not 0
        put(w, k, number, bits);
        mean = next_mean(mean, factor, value, number);
        less = 0;
        rest = behind;
        if mean < RUN_BELOW && !rest.is_empty() {
            let zeros = rest.iter().position(|&v| v != 0).unwrap_or(rest.len());
            put(w, run_bits(mean), zeros as u32, RUN_BITS); // at most a packet's samples
            rest = rest.get(zeros..).unwrap_or_default();
            (less, mean) = (1, 0);
        }
    }
    true
}
