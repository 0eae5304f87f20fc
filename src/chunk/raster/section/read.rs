//! The decoder's loops: words to tokens, then bits to residuals.
//!
//! # Invariants
//!
//! They are total, and the same however they are compiled.

use super::super::lanes::{Lanes, PAD, STRETCH, VECTORS, Vector};
use super::super::planes::PLANES;
use super::super::tokens::{LEVELS, bits_below, level};
use super::turn::to_lanes;
use super::{FREQUENCY_BITS, SLOTS, TABLES, below};
use crate::chunk::rans::{LANES, Reader, Slot};
#[cfg(target_arch = "x86_64")]
use crate::chunk::wide::is_wide;

/// The slots of all contexts.
pub type Slots = [Slot; TABLES * SLOTS];

/// What a decoder reads from.
pub struct Reading<'a> {
    /// Of each class the context of each level, below [`TABLES`].
    pub contexts: [[u8; LEVELS]; PLANES],
    pub parts: [Part<'a>; VECTORS],
}

/// What a vector reads from.
#[derive(Clone, Copy, Default)]
pub struct Part<'a> {
    pub from: Reader<'a>,
    pub bits: &'a [u8],
}

/// All tokens, one lane after the other.
fn read_plainly<const N: usize>(lanes: &Lanes, slots: &Slots, from: &Reading<'_>, t: &mut [u8]) -> bool {
    let stride = lanes.stride();
    let mut readers: [Reader<'_>; N] = std::array::from_fn(|g| from.parts[g].from); // N <= VECTORS
    let mut sums = [[0u16; STRETCH]; N];
    let mut i = 0;
    while i < lanes.tokens() {
        let n = lanes.reach(i).min(STRETCH);
        for (g, vector) in lanes.vectors().iter().enumerate().take(N) {
            vector.above(&t[g * stride..][..stride], i, &mut sums[g][..n]);
        }
        for k in (0..n).step_by(LANES) {
            for (g, vector) in lanes.vectors().iter().enumerate().take(N) {
                let [a, b, c] = vector.weights(i);
                let here = g * stride + PAD + i + k;
                let (reader, contexts) = (&mut readers[g], &from.contexts[vector.class]);
                for j in 0..LANES {
                    let token = |at: usize| u16::from(t[at + j]);
                    let beside = a * token(here - vector.left) + b * token(here - 2 * vector.left);
                    let sum = sums[g][k + j] + beside + c * token(PAD + i + k); // eight tokens' weight, each below 2^6
                    let context = usize::from(contexts[usize::from(level(sum))]);
                    let slot = slots[context % TABLES * SLOTS + reader.slot::<FREQUENCY_BITS>(j)];
                    t[here + j] = reader.take::<FREQUENCY_BITS>(j, slot) as u8; // a token
                }
            }
        }
        i += n;
    }
    readers.iter().all(Reader::is_at_end)
}

/// All tokens; `false` if words are left or lacking. Each vector has a lane's pad in front.
pub fn read_tokens(lanes: &Lanes, slots: &Slots, from: &Reading<'_>, t: &mut [u8]) -> bool {
    #[cfg(target_arch = "x86_64")]
    if is_wide() {
        // SAFETY: the processor has what it needs.
        return unsafe { avx2::read(lanes, slots, from, t) };
    }
    read_tokens_plainly(lanes, slots, from, t)
}

pub fn read_tokens_plainly(lanes: &Lanes, slots: &Slots, from: &Reading<'_>, t: &mut [u8]) -> bool {
    match lanes.count {
        0 | 1 => read_plainly::<1>(lanes, slots, from, t),
        2 => read_plainly::<2>(lanes, slots, from, t),
        3 => read_plainly::<3>(lanes, slots, from, t),
        _ => read_plainly::<4>(lanes, slots, from, t),
    }
}

#[cfg(target_arch = "x86_64")]
mod avx2 {
    use super::*;
    use crate::chunk::rans::{VALUE_MASK, look_up, take_vector};
    use crate::chunk::wide::{halves, load_8, load_16, load_lanes, low_8, store_lanes};
    use std::arch::x86_64::*;

    /// What [`super::read_tokens_plainly`] does, a vector at once.
    #[target_feature(enable = "avx2,bmi1,bmi2,lzcnt,popcnt")]
    pub fn read(lanes: &Lanes, slots: &Slots, from: &Reading<'_>, t: &mut [u8]) -> bool {
        let near = lanes.vectors().iter().all(|g| g.left == LANES);
        match (lanes.count, near) {
            (2, true) => tokens::<2, true>(lanes, slots, from, t),
            (2, false) => tokens::<2, false>(lanes, slots, from, t),
            (3, true) => tokens::<3, true>(lanes, slots, from, t),
            (4, true) => tokens::<4, true>(lanes, slots, from, t),
            _ => read_tokens_plainly(lanes, slots, from, t),
        }
    }

    /// `NEAR`: the left neighbours are the tokens before, in all vectors.
    #[inline]
    #[target_feature(enable = "avx2,bmi1,bmi2,lzcnt,popcnt")]
    fn tokens<const N: usize, const NEAR: bool>(
        lanes: &Lanes,
        slots: &Slots,
        from: &Reading<'_>,
        t: &mut [u8],
    ) -> bool {
        let stride = lanes.stride();
        let vectors: [Vector; N] = std::array::from_fn(|g| lanes.vectors()[g]); // as many as there are
        let mut readers: [Reader<'_>; N] = std::array::from_fn(|g| from.parts[g].from);
        let none = _mm_setzero_si128();
        let mut x: [__m256i; N] = std::array::from_fn(|g| load_lanes(&readers[g].states));
        let mut last = [[none; 2]; N];
        // The contexts of a class's lower and upper levels.
        let contexts: [[__m128i; 2]; N] = vectors.map(|vector| {
            let [low, high] = from.contexts[vector.class].as_chunks::<16>().0 else { return [none; 2] };
            [load_16(low), load_16(high)]
        });
        let mut sums = [[0u16; STRETCH]; N];
        let mut i = 0;
        while i < lanes.tokens() {
            let n = lanes.reach(i).min(STRETCH);
            let mut weights = [[none; 3]; N];
            for (g, vector) in vectors.iter().enumerate() {
                vector.above(&t[g * stride..][..stride], i, &mut sums[g][..n]);
                weights[g] = vector.weights(i).map(|w| _mm_set1_epi16(w as i16)); // below 8
            }
            for k in (0..n).step_by(LANES) {
                let mut first = none;
                for g in 0..N {
                    let here = g * stride + PAD + i + k;
                    if !NEAR {
                        let token =
                            |back: usize| t[here - back..].first_chunk().map_or(none, |t| _mm_cvtepu8_epi16(load_8(t)));
                        last[g] = [token(vectors[g].left), token(2 * vectors[g].left)];
                    }
                    let [a, b, c] = weights[g];
                    let sum = sums[g][k..].first_chunk().map_or(none, |s: &[u16; LANES]| load_16(s));
                    let sum = _mm_add_epi16(sum, _mm_mullo_epi16(b, last[g][1]));
                    let sum = if g > 0 { _mm_add_epi16(sum, _mm_mullo_epi16(c, first)) } else { sum };
                    let sum = _mm_add_epi16(sum, _mm_mullo_epi16(a, last[g][0]));
                    // The level, as in `level`, and its context.
                    let high = _mm_add_epi16(_mm_srli_epi16(sum, 4), _mm_set1_epi16(12));
                    let level =
                        _mm_min_epu16(_mm_min_epu16(_mm_srli_epi16(sum, 2), high), _mm_set1_epi16(LEVELS as i16 - 1));
                    let level = _mm_packus_epi16(level, level);
                    let [low, high] = contexts[g].map(|of| _mm_shuffle_epi8(of, level));
                    let context = _mm_blendv_epi8(low, high, _mm_slli_epi16(level, 3)); // from level 16 on the highest bit
                    let slot = _mm256_and_si256(x[g], _mm256_set1_epi32(SLOTS as i32 - 1));
                    let at = _mm256_slli_epi32(_mm256_cvtepu8_epi32(context), FREQUENCY_BITS as i32);
                    let at = _mm256_or_si256(at, slot);
                    let slot = look_up(slots, at);
                    x[g] = take_vector::<FREQUENCY_BITS>(x[g], slot, readers[g].words, &mut readers[g].at);
                    let token = halves(_mm256_and_si256(slot, _mm256_set1_epi32(VALUE_MASK as i32)));
                    last[g] = [token, last[g][0]];
                    if g == 0 {
                        first = token;
                    }
                    if let Some(t) = t.get_mut(here..here + LANES) {
                        t.copy_from_slice(&low_8(_mm_packus_epi16(token, token)));
                    }
                }
            }
            i += n;
        }
        for (reader, x) in readers.iter_mut().zip(x) {
            store_lanes(x, &mut reader.states);
        }
        readers.iter().all(Reader::is_at_end)
    }
}

/// Reads the bits below a vector's tokens `t`, and puts the residuals where its lanes are in `u`. `false` where bits lack.
pub fn read_bits(t: &[u8], bits: &[u8], lanes: &Lanes, vector: &Vector, u: &mut [u16]) -> bool {
    #[cfg(target_arch = "x86_64")]
    if is_wide() {
        #[target_feature(enable = "avx2,bmi1,bmi2,lzcnt,popcnt")]
        fn wider(t: &[u8], bits: &[u8], lanes: &Lanes, vector: &Vector, u: &mut [u16]) -> bool {
            read_bits_body(t, bits, lanes, vector, u, |bits, mask| std::arch::x86_64::_pdep_u64(bits, mask))
        }
        // SAFETY: the processor has what it needs.
        return unsafe { wider(t, bits, lanes, vector, u) };
    }
    read_bits_plainly(t, bits, lanes, vector, u)
}

pub fn read_bits_plainly(t: &[u8], bits: &[u8], lanes: &Lanes, vector: &Vector, u: &mut [u16]) -> bool {
    read_bits_body(t, bits, lanes, vector, u, below::deposit)
}

#[inline(always)]
fn read_bits_body(
    t: &[u8],
    bits: &[u8],
    lanes: &Lanes,
    vector: &Vector,
    u: &mut [u16],
    deposit: impl Fn(u64, u64) -> u64,
) -> bool {
    let mut at = 0usize;
    let mut masks = [0u16; STRETCH];
    let mut values = [0u16; STRETCH];
    for (place, t) in (0..).step_by(STRETCH / LANES).zip(t.chunks(STRETCH)) {
        let n = t.len();
        for (mask, &token) in masks.iter_mut().zip(t) {
            *mask = (1u16 << (bits_below(token) & 15)).wrapping_sub(1);
        }
        // Of four tokens at a time, whose bits are at most 52: 57 are there.
        let (fours, all) = (masks[..n].as_chunks::<4>().0, values[..n].as_chunks_mut::<4>().0);
        for (four, values) in fours.iter().zip(all) {
            let mask = below::join(*four);
            let Some(&eight) = bits.get(at / 8..).and_then(|b| b.first_chunk::<8>()) else { return false };
            *values = below::part(deposit(u64::from_le_bytes(eight) >> (at % 8), mask));
            at = at.wrapping_add(mask.count_ones() as usize);
        }
        // A token below 4 is its residual, others tell the three highest bits.
        for ((value, &mask), &token) in values.iter_mut().zip(&masks).zip(t) {
            let token = u16::from(token);
            let top = if token < 4 { token } else { 4 | token & 3 };
            *value = value.wrapping_add(top.wrapping_mul(mask.wrapping_add(1)));
        }
        to_lanes(&values[..n], lanes, vector, place, u);
    }
    true
}
