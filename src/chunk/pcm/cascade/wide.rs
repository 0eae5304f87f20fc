//! [`super::Portable`]'s kernel in AVX2 registers: sixteen taps at a time.

use std::arch::x86_64::*;

/// Sixteen weights. Their order is that of `unpack` and `pack` in halves of a register, which is nobody's matter, since
/// they begin as zeros and are only seen here.
///
/// Equal to the portable kernel: `mulhrs` is `(x * gain + 2^14) >> 15` and cannot overflow, as no factor is -2^15;
/// `packs` clamps; `madd` sums two products below 2^30 each; the rest wraps.
#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn adapt(weights: &mut [i32], old: &[i16], new: &[i16], gain: i16) -> i32 {
    let gain = _mm256_set1_epi16(gain);
    let mut sum = _mm256_setzero_si256();
    let parts = weights.as_chunks_mut::<16>().0.iter_mut().zip(old.as_chunks::<16>().0).zip(new.as_chunks::<16>().0);
    for ((w, old), new) in parts {
        // SAFETY: sixteen words of 16 bits each are read, and twice eight of the 16 of 32 bits, at any alignment.
        let (old, new, low, high) = unsafe {
            (
                _mm256_loadu_si256(old.as_ptr().cast()),
                _mm256_loadu_si256(new.as_ptr().cast()),
                _mm256_loadu_si256(w.as_ptr().cast()),
                _mm256_loadu_si256(w.as_ptr().add(8).cast()),
            )
        };
        let delta = _mm256_mulhrs_epi16(old, gain);
        let low = _mm256_add_epi32(low, _mm256_srai_epi32::<16>(_mm256_unpacklo_epi16(delta, delta)));
        let high = _mm256_add_epi32(high, _mm256_srai_epi32::<16>(_mm256_unpackhi_epi16(delta, delta)));
        // SAFETY: twice eight of sixteen words of 32 bits are written.
        unsafe {
            _mm256_storeu_si256(w.as_mut_ptr().cast(), low);
            _mm256_storeu_si256(w.as_mut_ptr().add(8).cast(), high);
        }
        let short = _mm256_packs_epi32(_mm256_srai_epi32::<6>(low), _mm256_srai_epi32::<6>(high));
        sum = _mm256_add_epi32(sum, _mm256_madd_epi16(short, new));
    }
    let sum = _mm_add_epi32(_mm256_castsi256_si128(sum), _mm256_extracti128_si256::<1>(sum));
    let sum = _mm_add_epi32(sum, _mm_shuffle_epi32::<0b01_00_11_10>(sum));
    let sum = _mm_add_epi32(sum, _mm_shuffle_epi32::<0b10_11_00_01>(sum));
    _mm_cvtsi128_si32(sum)
}
