//! What loops need of newer x86-64 processors: the question whether they are there, loads, and numbers turned.
//!
//! # Invariants
//!
//! 1. What is compiled for them is a twin of something that any processor runs, and does the same.
//! 2. Loads and stores take arrays: they reach no further than these.

#[cfg(target_arch = "x86_64")]
use super::rans::LANES;
#[cfg(target_arch = "x86_64")]
use std::arch::x86_64::*;

/// Whether the processor has what the functions compiled for wider registers need.
#[cfg(target_arch = "x86_64")]
pub fn is_wide() -> bool {
    is_x86_feature_detected!("avx2")
        && is_x86_feature_detected!("bmi1")
        && is_x86_feature_detected!("bmi2")
        && is_x86_feature_detected!("lzcnt")
        && is_x86_feature_detected!("popcnt")
}

/// A function compiled twice: as it is, and for the wider registers of newer x86-64 processors.
macro_rules! wide {
    ($(#[$doc:meta])* $vis:vis fn $name:ident($($arg:ident: $ty:ty),* $(,)?) $(-> $out:ty)? = $body:ident) => {
        $(#[$doc])*
        $vis fn $name($($arg: $ty),*) $(-> $out)? {
            #[cfg(target_arch = "x86_64")]
            if $crate::chunk::wide::is_wide() {
                #[target_feature(enable = "avx2,bmi1,bmi2,lzcnt,popcnt")]
                fn wider($($arg: $ty),*) $(-> $out)? {
                    $body($($arg),*)
                }
                // SAFETY: the processor has these features.
                return unsafe { wider($($arg),*) };
            }
            $body($($arg),*)
        }
    };
}
pub(crate) use wide;

/// Sixteen bytes of numbers.
///
/// # Safety
/// They are sixteen, and none is left open.
#[cfg(target_arch = "x86_64")]
pub unsafe trait Sixteen {}
// SAFETY: whole numbers, one behind the other.
#[cfg(target_arch = "x86_64")]
unsafe impl Sixteen for [u8; 16] {}
// SAFETY: as above.
#[cfg(target_arch = "x86_64")]
unsafe impl Sixteen for [u16; 8] {}
// SAFETY: as above.
#[cfg(target_arch = "x86_64")]
unsafe impl Sixteen for [[u8; 2]; 8] {}

#[cfg(target_arch = "x86_64")]
#[inline(always)]
pub fn load_16<T: Sixteen>(from: &T) -> __m128i {
    // SAFETY: these are sixteen bytes, and need not be aligned.
    unsafe { _mm_loadu_si128(std::ptr::from_ref(from).cast()) }
}

/// Eight bytes, in the low half.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
pub fn load_8(from: &[u8; 8]) -> __m128i {
    // SAFETY: every x86-64 processor has SSE2.
    unsafe { _mm_cvtsi64_si128(i64::from_le_bytes(*from)) }
}

/// The low half.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
pub fn low_8(x: __m128i) -> [u8; 8] {
    // SAFETY: every x86-64 processor has SSE2.
    unsafe { _mm_cvtsi128_si64(x) }.to_le_bytes()
}

/// A number of each lane.
#[cfg(target_arch = "x86_64")]
#[inline]
#[target_feature(enable = "avx2")]
pub fn load_lanes(from: &[u32; LANES]) -> __m256i {
    // SAFETY: these are 32 bytes, and need not be aligned.
    unsafe { _mm256_loadu_si256(from.as_ptr().cast()) }
}

#[cfg(target_arch = "x86_64")]
#[inline]
#[target_feature(enable = "avx2")]
pub fn store_lanes(x: __m256i, to: &mut [u32; LANES]) {
    // SAFETY: there is room for 32 bytes, which need not be aligned.
    unsafe { _mm256_storeu_si256(to.as_mut_ptr().cast(), x) }
}

/// The low half of each number, in the order of lanes; the high halves are zero.
#[cfg(target_arch = "x86_64")]
#[inline]
#[target_feature(enable = "avx2")]
pub fn halves(x: __m256i) -> __m128i {
    _mm_packus_epi32(_mm256_castsi256_si128(x), _mm256_extracti128_si256(x, 1))
}

/// Eight numbers of eight lanes become eight places of eight lanes, or the other way round.
#[cfg(target_arch = "x86_64")]
#[inline]
#[target_feature(enable = "avx2")]
pub fn turn(rows: [[u32; LANES]; LANES]) -> [[u32; LANES]; LANES] {
    let r: [__m256i; LANES] = std::array::from_fn(|j| load_lanes(&rows[j]));
    let two = |a: usize| (_mm256_unpacklo_epi32(r[a], r[a + 1]), _mm256_unpackhi_epi32(r[a], r[a + 1]));
    let [(a, b), (c, d), (e, f), (g, h)] = [two(0), two(2), two(4), two(6)];
    // Four rows each, of both halves: places 0 and 4, 1 and 5, 2 and 6, 3 and 7.
    let four = |a, b, c, d| {
        [
            _mm256_unpacklo_epi64(a, c),
            _mm256_unpackhi_epi64(a, c),
            _mm256_unpacklo_epi64(b, d),
            _mm256_unpackhi_epi64(b, d),
        ]
    };
    let (upper, lower) = (four(a, b, c, d), four(e, f, g, h));
    let mut out = [[0; LANES]; LANES];
    for (j, (upper, lower)) in upper.into_iter().zip(lower).enumerate() {
        store_lanes(_mm256_permute2x128_si256::<0x20>(upper, lower), &mut out[j]);
        store_lanes(_mm256_permute2x128_si256::<0x31>(upper, lower), &mut out[j + 4]);
    }
    out
}

#[cfg(all(test, target_arch = "x86_64"))]
mod tests {
    use super::*;

    #[test]
    fn eight_numbers_of_eight_lanes_are_turned() {
        if !is_wide() {
            return;
        }
        let rows: [[u32; LANES]; LANES] = std::array::from_fn(|i| std::array::from_fn(|j| (i * 100 + j) as u32));
        // SAFETY: the processor has what it needs.
        let turned = unsafe { turn(rows) };
        assert_eq!(turned, std::array::from_fn(|i| std::array::from_fn(|j| rows[j][i])));
    }
}
