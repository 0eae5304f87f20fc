//! The kernels of encoder and proof in AVX2 registers. Each equals its portable twin bit for bit: sums of doubles are multiplied,
//! then added, in the same four lanes.

use super::{HISTORY, LAGS, Predictor};
use std::arch::x86_64::*;

#[inline]
#[target_feature(enable = "avx2")]
fn doubles(x: &[f64; 4]) -> __m256d {
    // SAFETY: four doubles are read, at any alignment.
    unsafe { _mm256_loadu_pd(x.as_ptr()) }
}

#[inline]
#[target_feature(enable = "avx2")]
fn words(x: &[i32; 8]) -> __m256i {
    // SAFETY: eight words are read, at any alignment.
    unsafe { _mm256_loadu_si256(x.as_ptr().cast()) }
}

#[inline]
#[target_feature(enable = "avx2")]
fn long_words(x: &[i32; 4]) -> __m256i {
    // SAFETY: four words are read, at any alignment.
    _mm256_cvtepi32_epi64(unsafe { _mm_loadu_si128(x.as_ptr().cast()) })
}

/// `x[at..at + N]`, known to the compiler as so long.
#[inline(always)]
fn part<T, const N: usize>(x: &[T], at: usize) -> &[T; N] {
    // `at` is a constant below the length of a window wherever this is called: the check goes away.
    x[at..at + N].first_chunk().unwrap_or_else(|| unreachable!())
}

#[target_feature(enable = "avx2")]
pub(super) fn autocorrelation(x: &[f64], out: &mut [f64]) {
    const SPAN: usize = 4 + LAGS - 1;
    for (group, sums) in out.chunks_mut(LAGS).enumerate() {
        let mut lanes = [_mm256_setzero_pd(); LAGS];
        let late = x.get(group * LAGS..).unwrap_or(&[]);
        let quads = x.len().min((late.len() + 4).saturating_sub(SPAN)) / 4; // late windows that are whole
        for i in (0..quads * 4).step_by(4) {
            let a = doubles(part::<_, 4>(&x[i..i + 4], 0));
            let b = &late[i..i + SPAN];
            for (lag, lane) in lanes.iter_mut().enumerate() {
                *lane = _mm256_add_pd(*lane, _mm256_mul_pd(a, doubles(part::<_, 4>(b, lag))));
            }
        }
        for (sum, lane) in sums.iter_mut().zip(lanes) {
            let mut four = [0f64; 4];
            // SAFETY: four doubles are written, at any alignment.
            unsafe { _mm256_storeu_pd(four.as_mut_ptr(), lane) };
            *sum = (four[0] + four[2]) + (four[1] + four[3]);
        }
    }
}

/// Samples of which is asked whether they fit in 16 bits.
const PART: usize = 512;
const BATCH: usize = 32;

/// Residuals of whole batches in 32-bit arithmetic; returns how many.
#[target_feature(enable = "avx2")]
pub(super) fn residual_narrow(p: &Predictor, x: &[i32], out: &mut [i32]) -> usize {
    let order = p.order.min(HISTORY);
    let is_short = |x: i32| x == i32::from(x as i16);
    let short = p.coefficients.iter().all(|&c| is_short(c));
    let mut pairs = [0i32; HISTORY + PART];
    let mut done = 0;
    for out in out.chunks_mut(PART) {
        let n = out.len() / BATCH * BATCH;
        let Some(x) = x.get(done..done + HISTORY + n) else { break };
        // Two's complement: what is beyond 16 bits has other bits than its sign there.
        let over = x.iter().fold(0, |over, &v| over | (v ^ (v >> 31)));
        if short && over >> 15 == 0 {
            // Each sample with the next one, so that two products are made and added at once.
            for (pair, two) in pairs.iter_mut().zip(x.array_windows::<2>()) {
                *pair = (two[0] & 0xffff) | two[1] << 16;
            }
            batches(out, x, p.shift, order.div_ceil(2), |t, sums, at| {
                // Taps 2 t and 2 t + 1: the second one's sample comes first.
                let c = _mm256_set1_epi32((p.coefficients[2 * t + 1] & 0xffff) | p.coefficients[2 * t] << 16);
                let pairs = &pairs[at + HISTORY - 2 - 2 * t..][..BATCH];
                for (k, sum) in sums.iter_mut().enumerate() {
                    *sum = _mm256_add_epi32(*sum, _mm256_madd_epi16(c, words(part::<_, 8>(pairs, k * 8))));
                }
            });
        } else {
            batches(out, x, p.shift, order, |j, sums, at| {
                let c = _mm256_set1_epi32(p.coefficients[j]);
                let x = &x[at + HISTORY - 1 - j..][..BATCH];
                for (k, sum) in sums.iter_mut().enumerate() {
                    *sum = _mm256_add_epi32(*sum, _mm256_mullo_epi32(c, words(part::<_, 8>(x, k * 8))));
                }
            });
        }
        done += n;
    }
    done
}

/// Makes the residuals of batches from what `add` adds to their sums in each of `steps` steps; it is given the step, the
/// sums, and where the batch begins.
#[inline]
#[target_feature(enable = "avx2")]
fn batches(
    out: &mut [i32],
    x: &[i32],
    shift: u32,
    steps: usize,
    add: impl Fn(usize, &mut [__m256i; BATCH / 8], usize),
) {
    let shift = _mm_cvtsi32_si128((shift & 31) as i32);
    for (i, out) in out.chunks_exact_mut(BATCH).enumerate() {
        let mut sums = [_mm256_setzero_si256(); BATCH / 8];
        for step in 0..steps {
            add(step, &mut sums, i * BATCH);
        }
        let x = &x[i * BATCH + HISTORY..][..BATCH];
        for (k, sum) in sums.into_iter().enumerate() {
            let r = _mm256_sub_epi32(words(part::<_, 8>(x, k * 8)), _mm256_sra_epi32(sum, shift));
            let out = &mut out[k * 8..k * 8 + 8];
            // SAFETY: eight words are written, at any alignment.
            unsafe { _mm256_storeu_si256(out.as_mut_ptr().cast(), r) };
        }
    }
}

/// Residuals of whole batches in 64-bit arithmetic; returns how many.
#[target_feature(enable = "avx2")]
pub(super) fn residual_wide(p: &Predictor, x: &[i32], out: &mut [i32]) -> usize {
    const BATCH: usize = 16;
    // Below 32, so that the low word of the sum is the same whether zeros or signs are shifted in.
    let shift = _mm_cvtsi32_si128((p.shift & 15) as i32);
    let low_words = _mm256_setr_epi32(0, 2, 4, 6, 0, 2, 4, 6);
    let mut done = 0;
    for (out, x) in out.chunks_exact_mut(BATCH).zip(x.windows(HISTORY + BATCH).step_by(BATCH)) {
        let mut sums = [_mm256_setzero_si256(); BATCH / 4];
        for (j, &c) in p.coefficients[..p.order.min(HISTORY)].iter().enumerate() {
            let c = _mm256_set1_epi32(c);
            let x = &x[HISTORY - 1 - j..HISTORY - 1 - j + BATCH];
            for (k, sum) in sums.iter_mut().enumerate() {
                *sum = _mm256_add_epi64(*sum, _mm256_mul_epi32(c, long_words(part::<_, 4>(x, k * 4))));
            }
        }
        for (k, sum) in sums.into_iter().enumerate() {
            let low = _mm256_permutevar8x32_epi32(_mm256_srl_epi64(sum, shift), low_words);
            let mut four = [0i32; 4];
            // SAFETY: four words are written, at any alignment.
            unsafe { _mm_storeu_si128(four.as_mut_ptr().cast(), _mm256_castsi256_si128(low)) };
            for lane in 0..4 {
                out[k * 4 + lane] = x[HISTORY + k * 4 + lane].wrapping_sub(four[lane]);
            }
        }
        done += BATCH;
    }
    done
}
