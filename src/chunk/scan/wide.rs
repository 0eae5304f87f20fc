//! Sixteen lanes in the words of an AVX-512 register.
//!
//! No gather: the table's four byte planes (256 bytes each) stay in 16 registers, and `vpermi2b` of AVX-512 VBMI
//! looks 64 bytes up at once.
//!
//! ```text
//!  64 bytes of each of 16 lanes                              16 loads
//!   -> bytes t..t+4 of all lanes, each t's lanes together     64 shuffles, so that 16 registers hold 4 positions each
//!   -> planes 0, 1, 2, 3 of 64 table words                    8 vpermi2b, 4 blends a register
//!   -> the words of 16 lanes at t, t+1, t+2, t+3              8 unpacks
//!   -> h = h + h + word; is it a mark?                        3 instructions a position
//!  then by lane: a bit a position, and the hashes of those that are set
//! ```

use super::{LANE_MARKS, LANES, Lists, Mark, Table};
use std::arch::x86_64::*;

/// Whether this processor has what [`scan`] is compiled for.
pub(super) fn is_supported() -> bool {
    is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512vl")
        && is_x86_feature_detected!("avx512vbmi")
        && is_x86_feature_detected!("bmi1")
        && is_x86_feature_detected!("popcnt")
}

/// Bytes of a register, and positions of a batch.
const LINE: usize = 64;

/// A cache line.
#[derive(Clone, Copy)]
#[repr(align(64))]
struct Line<T>(T);

#[inline]
#[target_feature(enable = "avx512f")]
fn load(bytes: &[u8; LINE]) -> __m512i {
    // SAFETY: 64 bytes are read, at any alignment.
    unsafe { _mm512_loadu_si512(bytes.as_ptr().cast()) }
}

#[inline]
#[target_feature(enable = "avx512f")]
fn load_words(words: &[u32; LANES]) -> __m512i {
    // SAFETY: 16 words of 4 bytes are read, at any alignment.
    unsafe { _mm512_loadu_si512(words.as_ptr().cast()) }
}

#[inline]
#[target_feature(enable = "avx512f")]
fn store_words(words: &mut [u32; LANES], value: __m512i) {
    // SAFETY: 16 words of 4 bytes are written, at any alignment.
    unsafe { _mm512_storeu_si512(words.as_mut_ptr().cast(), value) }
}

/// Every other byte of two registers, from the first or the second on.
const EVERY_OTHER: [[u8; LINE]; 2] = {
    let mut out = [[0; LINE]; 2];
    let mut i = 0;
    while i < LINE {
        out[0][i] = 2 * i as u8; // below 128
        out[1][i] = 2 * i as u8 + 1;
        i += 1;
    }
    out
};

/// As [`super::lanes::scan`], for 16 lanes of a multiple of 64 bytes.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vbmi,bmi1,popcnt")]
pub(super) fn scan(table: &Table, bytes: &[u8], from: usize, lane: usize, lists: &mut Lists) -> bool {
    assert!(lane.is_multiple_of(LINE) && lane <= super::LANE_BYTES);
    let planes: [[__m512i; 4]; 4] = std::array::from_fn(|p| std::array::from_fn(|q| load(&table.planes[p][q])));
    let mark = _mm512_set1_epi32(table.mark.cast_signed());
    let rows: [&[u8]; LANES] = std::array::from_fn(|l| &bytes[from + l * lane..][..lane]);
    let mut hash = load_words(&std::array::from_fn(|l| table.before(bytes, from + l * lane)));
    let mut lines = [_mm512_setzero_si512(); 16];
    // One row more than positions: where there is no mark, it is read and what was read is not kept.
    let mut hashes = [Line([0u32; LANES]); LINE + 1];
    let mut hits = [Line([0u16; LINE / 2]); 2];
    for start in (0..lane).step_by(LINE) {
        // What the next block reads: its lanes are too many and too short for the processor to foresee. An address
        // beyond the bytes is only a hint that comes to nothing.
        for i in 0..LANES {
            _mm_prefetch::<_MM_HINT_T0>(bytes.as_ptr().wrapping_add(from + LANES * (lane + start) + i * LINE).cast());
        }
        transpose(&rows, start, &mut lines);
        for (q, &line) in lines.iter().enumerate() {
            for (c, words) in look_up(&planes, line).into_iter().enumerate() {
                hash = _mm512_add_epi32(_mm512_add_epi32(hash, hash), words);
                store_words(&mut hashes[4 * q + c].0, hash);
                hits[q / 8].0[4 * (q % 8) + c] = _mm512_testn_epi32_mask(hash, mark);
            }
        }
        for (l, mut bits) in by_lane(&hits).into_iter().enumerate() {
            let at = (from + l * lane + start) as u32; // bytes are fewer than 2^32
            let list = &mut lists.marks[l];
            let mut n = lists.len[l];
            // Two are written, marks or not: most often there are no more, and a branch less is foretold wrongly.
            let take = |bits: u64| {
                let i = bits.trailing_zeros();
                Mark { at: at.wrapping_add(i), hash: hashes[i as usize].0[l] } // at most 64
            };
            list[n] = take(bits);
            let rest = bits & bits.wrapping_sub(1);
            list[n + 1] = take(rest);
            lists.len[l] += bits.count_ones() as usize; // at most 64
            bits = rest & rest.wrapping_sub(1);
            if bits != 0 {
                if lists.len[l] > LANE_MARKS {
                    return false;
                }
                n += 2;
                while bits != 0 {
                    list[n] = take(bits);
                    n += 1;
                    bits &= bits - 1;
                }
            }
        }
    }
    true
}

/// `lines[i]` holds bytes `4 i .. 4 i + 4` of all lanes' 64 bytes from `start` on: in each quarter those of four lanes,
/// first the first byte of each, then the second.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn transpose(rows: &[&[u8]; LANES], start: usize, lines: &mut [__m512i; 16]) {
    // Four lanes at a time: by[i][g] holds, in quarter e, bytes 16 e + 4 i .. + 4 of lanes 4 g .. 4 g + 4.
    let mut by = [[_mm512_setzero_si512(); 4]; 4];
    for g in 0..4 {
        let row = |i: usize| match rows[4 * g + i][start..].first_chunk() {
            Some(line) => load(line),
            None => _mm512_setzero_si512(), // a lane is a multiple of 64 bytes
        };
        let (a, b, c, d) = (row(0), row(1), row(2), row(3));
        let (ac, bd) = (_mm512_unpacklo_epi8(a, c), _mm512_unpacklo_epi8(b, d));
        by[0][g] = _mm512_unpacklo_epi8(ac, bd);
        by[1][g] = _mm512_unpackhi_epi8(ac, bd);
        let (ac, bd) = (_mm512_unpackhi_epi8(a, c), _mm512_unpackhi_epi8(b, d));
        by[2][g] = _mm512_unpacklo_epi8(ac, bd);
        by[3][g] = _mm512_unpackhi_epi8(ac, bd);
    }
    for (i, [a, b, c, d]) in by.into_iter().enumerate() {
        // Quarters 0 and 2 of each, then 1 and 3.
        let (ab, cd) = (_mm512_shuffle_i32x4::<0x88>(a, b), _mm512_shuffle_i32x4::<0x88>(c, d));
        lines[i] = _mm512_shuffle_i32x4::<0x88>(ab, cd);
        lines[8 + i] = _mm512_shuffle_i32x4::<0xdd>(ab, cd);
        let (ab, cd) = (_mm512_shuffle_i32x4::<0xdd>(a, b), _mm512_shuffle_i32x4::<0xdd>(c, d));
        lines[4 + i] = _mm512_shuffle_i32x4::<0x88>(ab, cd);
        lines[12 + i] = _mm512_shuffle_i32x4::<0xdd>(ab, cd);
    }
}

/// The table's words for the four positions of a line, lane by lane.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vbmi")]
fn look_up(planes: &[[__m512i; 4]; 4], line: __m512i) -> [__m512i; 4] {
    let upper = _mm512_movepi8_mask(line); // bytes of 128 and more
    let [a, b, c, d] = planes.map(|p| {
        let low = _mm512_permutex2var_epi8(p[0], line, p[1]);
        let high = _mm512_permutex2var_epi8(p[2], line, p[3]);
        _mm512_mask_blend_epi8(upper, low, high)
    });
    let (ab, cd) = (_mm512_unpacklo_epi8(a, b), _mm512_unpacklo_epi8(c, d));
    let (ef, gh) = (_mm512_unpackhi_epi8(a, b), _mm512_unpackhi_epi8(c, d));
    [
        _mm512_unpacklo_epi16(ab, cd),
        _mm512_unpackhi_epi16(ab, cd),
        _mm512_unpacklo_epi16(ef, gh),
        _mm512_unpackhi_epi16(ef, gh),
    ]
}

/// A bit a lane for each of 64 positions, to a bit a position for each of 16 lanes.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vbmi")]
fn by_lane(hits: &[Line<[u16; LINE / 2]>; 2]) -> [u64; LANES] {
    // SAFETY: 32 words of 2 bytes are read each, at any alignment.
    let [a, b] = [0, 1].map(|i| unsafe { _mm512_loadu_si512(hits[i].0.as_ptr().cast()) });
    let [low, high] = EVERY_OTHER.map(|which| _mm512_permutex2var_epi8(a, load(&which), b));
    let mut out = [0; LANES];
    for (i, half) in [low, high].into_iter().enumerate() {
        let mut half = half;
        for bit in (0..8).rev() {
            out[8 * i + bit] = _mm512_movepi8_mask(half); // each byte's highest bit
            half = _mm512_add_epi8(half, half);
        }
    }
    out
}
