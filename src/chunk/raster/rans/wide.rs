//! What the coder's loops need of newer x86-64 processors.

use super::super::lanes::LANES;
use std::arch::x86_64::*;

/// For eight lanes of which some are marked: of each the number of marked ones before it, a byte each.
pub const RANKS: [i64; 256] = {
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
pub const MARKED: [i64; 256] = {
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

/// Sixteen bytes of numbers.
///
/// # Safety
/// They are sixteen, and none is left open.
pub unsafe trait Sixteen {}
// SAFETY: whole numbers, one behind the other.
unsafe impl Sixteen for [u8; 16] {}
// SAFETY: as above.
unsafe impl Sixteen for [u16; 8] {}
// SAFETY: as above.
unsafe impl Sixteen for [[u8; 2]; 8] {}

#[inline(always)]
pub fn load_16<T: Sixteen>(from: &T) -> __m128i {
    // SAFETY: these are sixteen bytes, and need not be aligned.
    unsafe { _mm_loadu_si128(std::ptr::from_ref(from).cast()) }
}

/// Eight bytes, in the low half.
#[inline(always)]
pub fn load_8(from: &[u8; 8]) -> __m128i {
    // SAFETY: every x86-64 processor has SSE2.
    unsafe { _mm_cvtsi64_si128(i64::from_le_bytes(*from)) }
}

/// The low half.
#[inline(always)]
pub fn low_8(x: __m128i) -> [u8; 8] {
    // SAFETY: every x86-64 processor has SSE2.
    unsafe { _mm_cvtsi128_si64(x) }.to_le_bytes()
}
