//! Words to symbols, bits to what stands beside them, and both to residuals.
//!
//! # Invariants
//!
//! A register at a time or lane by lane, the same comes out, of whatever bytes.

use super::*;
use crate::chunk::wide::wide;
#[cfg(target_arch = "x86_64")]
use crate::chunk::wide::{is_wide, turn};

/// What a vector is read from.
#[derive(Clone)]
pub(super) struct Part<'a> {
    pub words: Reader<'a>,
    pub bits: BitReader<'a>,
    pub means: [u32; LANES],
}

impl<'a> Part<'a> {
    pub(super) fn open(pace: Pace, from: &mut &'a [u8]) -> Result<Part<'a>, &'static str> {
        const SHORT: &str = "fewer vectors than channels";
        let starts = from.split_off(..LANES).and_then(|s| s.first_chunk::<LANES>()).ok_or(SHORT)?;
        if starts.iter().any(|&start| u32::from(start) > START_MAX) {
            return Err("parameters out of range");
        }
        let words = Reader::open(from).ok_or(SHORT)?;
        let bytes = from.split_off(..4).and_then(|n| n.first_chunk()).ok_or(SHORT)?;
        let bits = from.split_off(..u32::from_le_bytes(*bytes) as usize).ok_or(SHORT)?;
        Ok(Part { words, bits: BitReader::new(bits), means: starts.map(|start| pace.start(start.into())) })
    }

    /// Whether all was read, and nothing beyond.
    pub(super) fn is_at_end(&self) -> bool {
        self.words.is_at_end() && self.bits.is_at_end()
    }
}

type Slots = [Slot; CONTEXTS * SLOTS];

/// Twice the middle of a symbol, and `k` above.
const K_SHIFT: u32 = 16;

/// Reads the residuals of a pair of vectors, or of one, each with eight lanes of one length.
pub(super) fn residuals(slots: &Slots, pace: Pace, parts: &mut [Part<'_>], to: &mut [&mut [i32]]) {
    match (parts, to) {
        ([a, b], [to_a, to_b]) => {
            let [len_a, len_b] = [to_a.len() / LANES, to_b.len() / LANES];
            let shared = len_a.min(len_b);
            run(slots, pace, 0..shared, [&mut *a, &mut *b], [&mut *to_a, &mut *to_b]);
            run(slots, pace, shared..len_a, [a], [to_a]);
            run(slots, pace, shared..len_b, [b], [to_b]);
        }
        ([a], [to]) => run(slots, pace, 0..to.len() / LANES, [a], [to]),
        _ => {}
    }
}

fn run<const N: usize>(
    slots: &Slots,
    pace: Pace,
    range: std::ops::Range<usize>,
    mut parts: [&mut Part<'_>; N],
    mut to: [&mut [i32]; N],
) {
    let mut found = [[[0; LANES]; STRETCH]; N];
    let mut folded = [[0; LANES]; STRETCH];
    for from in range.clone().step_by(STRETCH) {
        let n = STRETCH.min(range.end - from);
        symbols(slots, pace, n, &mut parts, &mut found);
        for ((part, to), found) in parts.iter_mut().zip(&mut to).zip(&found) {
            take(&mut part.bits, found[..n].as_flattened(), folded[..n].as_flattened_mut());
            unfold_places(&folded[..n], from, to);
        }
    }
}

/// The symbols of `n` places: twice the middle of each, and `k`.
pub(super) fn symbols<const N: usize>(
    slots: &Slots,
    pace: Pace,
    n: usize,
    parts: &mut [&mut Part<'_>; N],
    out: &mut [Places<u32>; N],
) {
    #[cfg(target_arch = "x86_64")]
    if is_wide() {
        // SAFETY: the processor has what it needs.
        return unsafe { avx2::symbols(slots, pace, n, parts, out) };
    }
    symbols_plainly(slots, pace, n, parts, out);
}

pub(super) fn symbols_plainly<const N: usize>(
    slots: &Slots,
    pace: Pace,
    n: usize,
    parts: &mut [&mut Part<'_>; N],
    out: &mut [Places<u32>; N],
) {
    for (part, out) in parts.iter_mut().zip(out) {
        for out in &mut out[..n] {
            for (j, out) in out.iter_mut().enumerate() {
                let (context, k) = pace.context(part.means[j]);
                let slot = part.words.slot::<FREQUENCY_BITS>(j);
                let middle = part.words.take::<FREQUENCY_BITS>(j, slots[context as usize % CONTEXTS * SLOTS + slot]);
                pace.push(&mut part.means[j], middle, k);
                *out = middle | k << K_SHIFT;
            }
        }
    }
}

#[cfg(target_arch = "x86_64")]
pub(super) mod avx2 {
    use super::*;
    use crate::chunk::rans::{VALUE_MASK, look_up, take_vector};
    use crate::chunk::wide::{load_lanes, store_lanes};
    use std::arch::x86_64::*;

    /// [`Pace`] in registers.
    #[derive(Clone, Copy)]
    pub struct Means {
        bias: __m256i,
        rounding: __m256i,
        fraction: __m256i,
        /// A float's exponent and two bits below, of a sixteenth.
        sixteenth: __m256i,
        rate: __m128i,
    }

    /// Bits below the two that count, of a float's fraction.
    const BELOW: i32 = 21;

    impl Means {
        #[inline]
        #[target_feature(enable = "avx2")]
        pub fn new(pace: Pace) -> Means {
            let number = |n: u32| _mm256_set1_epi32(n as i32); // below 2^31
            Means {
                bias: number(pace.bias()),
                rounding: _mm256_set1_epi32(pace.rounding()),
                fraction: number(pace.fraction),
                sixteenth: number((127 + pace.fraction - 4) << 2),
                rate: _mm_cvtsi32_si128(pace.rate as i32), // at most 15
            }
        }

        /// What [`Pace::context`] says. While AVX2 has no leading zeros, it converts to floats: their upper bits are the exponent and
        /// the two bits below the first. A mean's bits from the eighth below the first on are cleared in part, lest it be rounded up.
        #[inline]
        #[target_feature(enable = "avx2")]
        pub fn context(self, mean: __m256i) -> (__m256i, __m256i) {
            let x = _mm256_add_epi32(mean, self.bias);
            let x = _mm256_cvtepi32_ps(_mm256_andnot_si256(_mm256_srli_epi32(x, 8), x));
            let quarters = _mm256_sub_epi32(_mm256_srli_epi32(_mm256_castps_si256(x), BELOW), self.sixteenth);
            let first = _mm256_set1_epi32(CONTEXT_OCTAVES as i32);
            let k = _mm256_sub_epi32(_mm256_max_epi32(_mm256_srli_epi32(quarters, 2), first), first);
            (_mm256_sub_epi32(quarters, _mm256_slli_epi32(k, 2)), k)
        }

        /// What [`Pace::push`] does.
        #[inline]
        #[target_feature(enable = "avx2")]
        pub fn push(self, mean: __m256i, middle: __m256i, k: __m256i) -> __m256i {
            let shift = _mm256_min_epi32(_mm256_add_epi32(k, self.fraction), _mm256_set1_epi32(SHIFT_MAX as i32));
            let value = _mm256_srli_epi32(_mm256_sllv_epi32(middle, shift), 1);
            let step = _mm256_sub_epi32(_mm256_add_epi32(value, self.rounding), mean);
            _mm256_add_epi32(mean, _mm256_sra_epi32(step, self.rate))
        }
    }

    /// What [`super::symbols_plainly`] does, a vector at once.
    #[target_feature(enable = "avx2,bmi1,bmi2,lzcnt,popcnt")]
    pub fn symbols<const N: usize>(
        slots: &Slots,
        pace: Pace,
        n: usize,
        parts: &mut [&mut Part<'_>; N],
        out: &mut [Places<u32>; N],
    ) {
        let rule = Means::new(pace);
        let mut means: [__m256i; N] = std::array::from_fn(|g| load_lanes(&parts[g].means));
        let mut x: [__m256i; N] = std::array::from_fn(|g| load_lanes(&parts[g].words.states));
        let mut at: [usize; N] = std::array::from_fn(|g| parts[g].words.at);
        let words: [&[[u8; 2]]; N] = std::array::from_fn(|g| parts[g].words.words);
        #[expect(clippy::needless_range_loop, reason = "vectors take turns at each place")]
        for i in 0..n.min(STRETCH) {
            for g in 0..N {
                let (context, k) = rule.context(means[g]);
                let slot = _mm256_and_si256(x[g], _mm256_set1_epi32(SLOTS as i32 - 1));
                let slot = _mm256_or_si256(_mm256_slli_epi32(context, FREQUENCY_BITS as i32), slot);
                let slot = look_up(slots, slot);
                x[g] = take_vector::<FREQUENCY_BITS>(x[g], slot, words[g], &mut at[g]);
                let middle = _mm256_and_si256(slot, _mm256_set1_epi32(VALUE_MASK as i32));
                means[g] = rule.push(means[g], middle, k);
                let found = _mm256_or_si256(middle, _mm256_slli_epi32(k, K_SHIFT as i32));
                store_lanes(found, &mut out[g][i]);
            }
        }
        for (g, part) in parts.iter_mut().enumerate() {
            store_lanes(means[g], &mut part.means);
            store_lanes(x[g], &mut part.words.states);
            part.words.at = at[g];
        }
    }
}

wide! {
    /// Folded residuals of symbols, with the bits beside them.
    fn take(bits: &mut BitReader<'_>, symbols: &[u32], out: &mut [u32]) = take_body
}

#[inline(always)]
fn take_body(bits: &mut BitReader<'_>, symbols: &[u32], out: &mut [u32]) {
    let mut lengths = [0u32; STRETCH * LANES];
    let mut longest = 0;
    for ((out, length), &symbol) in out.iter_mut().zip(&mut lengths).zip(symbols) {
        let (middle, k) = (symbol & ((1 << K_SHIFT) - 1), symbol >> K_SHIFT & 31); // at most 27
        // Undoes `symbol_of`: q is below 32 up to 63, below 64 up to 127.
        let (from_32, from_64) = (u32::from(middle > 63), u32::from(middle > 127));
        let others = 7 * from_32 + 8 * from_64;
        let escapes = middle == ESCAPE_MIDDLE;
        *out = if escapes { 0 } else { middle.wrapping_sub(others + 1) >> 1 << k };
        *length = if escapes { ESCAPE_BITS } else { k + 3 * from_32 + from_64 };
        longest = longest.max(*length);
    }
    let lengths = &lengths[..out.len().min(STRETCH * LANES)];
    match longest {
        0..=14 => take_by::<4>(bits, lengths, out),
        15..=28 => take_by::<2>(bits, lengths, out),
        _ => take_by::<1>(bits, lengths, out),
    }
}

/// Adds to `out` so many bits each, `N` with one look: at most 56 of them. There are whole eights.
#[inline(always)]
fn take_by<const N: usize>(bits: &mut BitReader<'_>, lengths: &[u32], out: &mut [u32]) {
    for (lengths, out) in lengths.as_chunks::<N>().0.iter().zip(out.as_chunks_mut::<N>().0) {
        let mut word = bits.look();
        let mut all = 0;
        for (&length, out) in lengths.iter().zip(out) {
            let value = word & (1u64 << (length & 63)).wrapping_sub(1);
            *out = out.wrapping_add(value as u32); // at most 32 bits
            word >>= length & 63;
            all += length;
        }
        bits.skip(all);
    }
}

/// Puts the residuals of places from `from` on into their lanes.
fn unfold_places(places: &[[u32; LANES]], from: usize, to: &mut [i32]) {
    #[cfg(target_arch = "x86_64")]
    if is_wide() {
        #[target_feature(enable = "avx2,bmi1,bmi2,lzcnt,popcnt")]
        fn wider(places: &[[u32; LANES]], from: usize, to: &mut [i32]) {
            let len = to.len() / LANES;
            let (blocks, rest) = places.as_chunks::<LANES>();
            let mut at = from;
            for block in blocks {
                for (j, row) in turn(*block).into_iter().enumerate() {
                    // There is room for as many in each lane.
                    if let Some(to) = to.get_mut(j * len + at..).and_then(|to| to.first_chunk_mut::<LANES>()) {
                        *to = row.map(unfold);
                    }
                }
                at += LANES;
            }
            unfold_places_plainly(rest, at, to);
        }
        // SAFETY: the processor has what it needs.
        return unsafe { wider(places, from, to) };
    }
    unfold_places_plainly(places, from, to);
}

fn unfold_places_plainly(places: &[[u32; LANES]], from: usize, to: &mut [i32]) {
    let len = to.len() / LANES;
    for (j, lane) in to.chunks_exact_mut(len.max(1)).enumerate().take(LANES) {
        for (out, place) in lane.iter_mut().skip(from).zip(places) {
            *out = unfold(place[j]);
        }
    }
}
