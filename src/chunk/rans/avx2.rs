//! States of eight lanes in one register.

use super::super::wide::{halves, load_16, load_lanes, store_lanes};
use super::{
    BIAS_SHIFT, FREQUENCY_SHIFT, LANES, LOW, OFFSET_MASK, OFFSET_SHIFT, SHIFT_SHIFT, STATE_BITS, Slot, Symbol, Words,
};
use std::arch::x86_64::*;

/// For eight lanes of which some are marked: of each the number of marked ones before it, a byte each.
const RANKS: [i64; 256] = {
    let mut all = [0; 256];
    let mut m = 0;
    while m < 256 {
        let (mut j, mut rank) = (0, 0);
        while j < LANES {
            all[m] |= rank << (8 * j);
            rank += (m as i64) >> j & 1;
            j += 1;
        }
        m += 1;
    }
    all
};

/// For eight lanes of which some are marked: the numbers of the marked ones, in the last places; zeros before.
const MARKED: [i64; 256] = {
    let mut all = [0; 256];
    let mut m = 0;
    while m < 256 {
        let (mut j, mut at) = (LANES, LANES);
        while j > 0 {
            j -= 1;
            if m >> j & 1 == 1 {
                at -= 1;
                all[m] |= (j as i64) << (8 * at);
            }
        }
        m += 1;
    }
    all
};

/// What [`super::Reader::take`] does, of all lanes: the states behind their slots' symbols. `at` counts the words used up.
#[inline]
#[target_feature(enable = "avx2,bmi1,bmi2,lzcnt,popcnt")]
pub fn take<const BITS: u32>(x: __m256i, slot: __m256i, words: &[[u8; 2]], at: &mut usize) -> __m256i {
    let frequency = _mm256_srli_epi32(slot, FREQUENCY_SHIFT as i32);
    let offset = _mm256_srli_epi32(slot, OFFSET_SHIFT as i32);
    let offset = _mm256_and_si256(offset, _mm256_set1_epi32(OFFSET_MASK as i32));
    let state = _mm256_mullo_epi32(frequency, _mm256_srl_epi32(x, _mm_cvtsi32_si128(BITS as i32)));
    let state = _mm256_add_epi32(state, offset);
    // Words come in where a state is below 2^15: the next ones, in the order of lanes.
    let comes = _mm256_cmpeq_epi32(_mm256_srli_epi32(state, STATE_BITS as i32), _mm256_setzero_si256());
    let which = _mm256_movemask_ps(_mm256_castsi256_ps(comes)) as usize; // eight bits
    let next = next_words(words, *at);
    let rank = _mm256_cvtepu8_epi32(_mm_cvtsi64_si128(RANKS[which % 256]));
    let next = _mm256_permutevar8x32_epi32(_mm256_cvtepu16_epi32(next), rank);
    *at += which.count_ones() as usize;
    _mm256_blendv_epi8(state, _mm256_or_si256(_mm256_slli_epi32(state, 16), next), comes)
}

/// What [`super::Reader::slot`] tells to take, of all lanes: eight loads, which the processors tried here (Zen 4) do in less time than
/// a gather.
#[inline]
#[target_feature(enable = "avx2")]
pub fn look_up<const SLOTS: usize>(slots: &[Slot; SLOTS], at: __m256i) -> __m256i {
    const { assert!(SLOTS.is_power_of_two() && SLOTS < 1 << 31) }
    let mut index = [0; LANES];
    store_lanes(_mm256_and_si256(at, _mm256_set1_epi32(SLOTS as i32 - 1)), &mut index);
    // SAFETY: they are below SLOTS, a power of two.
    let slot = |j: usize| unsafe { slots.get_unchecked(index[j] as usize) }.0.cast_signed();
    _mm256_setr_epi32(slot(0), slot(1), slot(2), slot(3), slot(4), slot(5), slot(6), slot(7))
}

/// The next eight words; zeros behind the end.
#[inline]
#[target_feature(enable = "avx2")]
fn next_words(words: &[[u8; 2]], at: usize) -> __m128i {
    match words.get(at..).and_then(|w| w.first_chunk::<LANES>()) {
        Some(words) => load_16(words),
        None => {
            let words: [[u8; 2]; LANES] = std::array::from_fn(|j| words.get(at + j).copied().unwrap_or_default());
            load_16(&words)
        }
    }
}

/// What [`super::write_plainly`] does.
#[target_feature(enable = "avx2,bmi1,bmi2,lzcnt,popcnt")]
pub fn write<const BITS: u32, const CELLS: usize>(cells: &[&[u16]], symbols: &[Symbol<BITS>; CELLS], to: &mut [Words]) {
    // What one vector has more than others comes last, and so is written first.
    let shared = cells.iter().map(|cells| cells.len() / LANES).min().unwrap_or(0);
    for (cells, to) in cells.iter().zip(&mut *to) {
        to.make_room(cells.len());
        vectors::<1, BITS, CELLS>([&cells.as_chunks().0[shared..]], symbols, [to]);
    }
    let mut cells = cells.iter().map(|cells| &cells.as_chunks().0[..shared]);
    let mut next = || cells.next().unwrap_or_default();
    // A register at a time would wait for its own result: so several at once.
    match to {
        [a] => vectors([next()], symbols, [a]),
        [a, b] => vectors([next(), next()], symbols, [a, b]),
        [a, b, c] => vectors([next(), next(), next()], symbols, [a, b, c]),
        [a, b, c, d] => vectors([next(), next(), next(), next()], symbols, [a, b, c, d]),
        more => more.iter_mut().for_each(|to| vectors([next()], symbols, [to])),
    }
}

/// Vectors of one length.
#[inline]
#[target_feature(enable = "avx2,bmi1,bmi2,lzcnt,popcnt")]
fn vectors<const N: usize, const BITS: u32, const CELLS: usize>(
    cells: [&[[u16; LANES]]; N],
    symbols: &[Symbol<BITS>; CELLS],
    to: [&mut Words; N],
) {
    const { assert!(CELLS.is_power_of_two()) }
    let mut x: [__m256i; N] = std::array::from_fn(|g| load_lanes(&to[g].states));
    let mut from: [usize; N] = std::array::from_fn(|g| to[g].from);
    let state_shift = _mm_cvtsi32_si128((STATE_BITS + 16 - BITS) as i32);
    for i in (0..cells.iter().map(|cells| cells.len()).min().unwrap_or(0)).rev() {
        for g in 0..N {
            let symbol = |j: usize| symbols[usize::from(cells[g][i][j]) % CELLS].0.cast_signed();
            // Halves of lanes 0, 1, 4, 5 and of 2, 3, 6, 7: so that a shuffle within 16 bytes puts like ones together.
            let a = _mm256_setr_epi64x(symbol(0), symbol(1), symbol(4), symbol(5));
            let b = _mm256_setr_epi64x(symbol(2), symbol(3), symbol(6), symbol(7));
            let (a, b) = (_mm256_castsi256_ps(a), _mm256_castsi256_ps(b));
            let inverse = _mm256_castps_si256(_mm256_shuffle_ps::<0b1000_1000>(a, b));
            let rest = _mm256_castps_si256(_mm256_shuffle_ps::<0b1101_1101>(a, b));
            let f = _mm256_and_si256(rest, _mm256_set1_epi32(LOW as i32));
            // States and frequencies are below 2^31, so that signs do not matter.
            let stays = _mm256_cmpgt_epi32(f, _mm256_srl_epi32(x[g], state_shift));
            let which = !_mm256_movemask_ps(_mm256_castsi256_ps(stays)) as usize & 0xff;
            let order = _mm256_cvtepu8_epi32(_mm_cvtsi64_si128(MARKED[which]));
            let low = halves(_mm256_and_si256(_mm256_permutevar8x32_epi32(x[g], order), _mm256_set1_epi32(0xffff)));
            if let Some(room) = to[g].room.get_mut(from[g].wrapping_sub(LANES)..from[g]) {
                // SAFETY: these are eight numbers of two bytes. What is not a word is written again by the next ones.
                unsafe { _mm_storeu_si128(room.as_mut_ptr().cast(), low) };
            }
            from[g] -= which.count_ones() as usize; // at most one a symbol
            let less = _mm256_blendv_epi8(_mm256_srli_epi32(x[g], 16), x[g], stays);
            let even = _mm256_srli_epi64(_mm256_mul_epu32(less, inverse), 32);
            let odd = _mm256_mul_epu32(_mm256_srli_epi64(less, 32), _mm256_srli_epi64(inverse, 32));
            let quotient = _mm256_blend_epi32::<0b1010_1010>(even, odd);
            let quotient = _mm256_srlv_epi32(quotient, _mm256_srli_epi32(rest, SHIFT_SHIFT as i32));
            let bias = _mm256_and_si256(_mm256_srli_epi32(rest, BIAS_SHIFT as i32), _mm256_set1_epi32(LOW as i32));
            let step = _mm256_mullo_epi32(quotient, _mm256_sub_epi32(_mm256_set1_epi32(1 << BITS), f));
            x[g] = _mm256_add_epi32(_mm256_add_epi32(less, bias), step);
        }
    }
    for ((to, x), from) in to.into_iter().zip(x).zip(from) {
        to.from = from;
        store_lanes(x, &mut to.states);
    }
}
