//! Residuals to cells of tables, and to the bits beside their symbols.
//!
//! # Invariants
//!
//! A register at a time or lane by lane, the same comes out: what [`coded`] says of each residual under its lane's mean.

use super::*;
use crate::chunk::pcm::bits::BitWriter;
use crate::chunk::wide::wide;
#[cfg(target_arch = "x86_64")]
use crate::chunk::wide::{is_wide, turn};

/// What is known of a vector before it is written.
#[derive(Default)]
pub(super) struct Vector {
    /// log2 of each lane's first mean.
    pub starts: [u8; LANES],
    /// Of each place those of all lanes.
    pub cells: Vec<u16>,
    pub bits: BitWriter,
}

/// The residuals of eight lanes of one length, one behind the other.
#[derive(Clone, Copy)]
pub(super) struct Lanes<'a> {
    pub residuals: &'a [i32],
}

impl Lanes<'_> {
    fn len(&self) -> usize {
        self.residuals.len() / LANES
    }

    fn lanes(&self) -> impl Iterator<Item = &[i32]> {
        self.residuals.chunks_exact(self.len().max(1))
    }

    /// Folds the residuals of the places from `from` on.
    #[inline(always)]
    fn fold(&self, from: usize, out: &mut [[u32; LANES]]) {
        for (j, lane) in self.lanes().enumerate() {
            for (out, &r) in out.iter_mut().zip(lane.get(from..).unwrap_or_default()) {
                out[j % LANES] = fold(r);
            }
        }
    }
}

/// Surveys a pair of vectors, or one.
pub(super) fn survey(pace: Pace, vectors: &mut [Vector], lanes: &[Lanes<'_>]) {
    let mut means = [[0; LANES]; 2];
    for ((vector, lanes), means) in vectors.iter_mut().zip(lanes).zip(&mut means) {
        vector.cells.clear();
        vector.bits.clear();
        for (start, lane) in vector.starts.iter_mut().zip(lanes.lanes()) {
            *start = start_log2(lane) as u8; // at most 31
        }
        *means = vector.starts.map(|start| pace.start(start.into()));
    }
    match (vectors, lanes) {
        ([a, b], &[of_a, of_b]) => {
            let shared = of_a.len().min(of_b.len());
            run(pace, [of_a, of_b], 0..shared, &mut means, [&mut *a, &mut *b]);
            let [mean_a, mean_b] = means;
            run(pace, [of_a], shared..of_a.len(), &mut [mean_a], [a]);
            run(pace, [of_b], shared..of_b.len(), &mut [mean_b], [b]);
        }
        ([a], &[of_a]) => run(pace, [of_a], 0..of_a.len(), &mut [means[0]], [a]),
        _ => {}
    }
}

/// The places of a range, of vectors that have them all.
fn run<const N: usize>(
    pace: Pace,
    lanes: [Lanes<'_>; N],
    range: std::ops::Range<usize>,
    means: &mut [[u32; LANES]; N],
    mut to: [&mut Vector; N],
) {
    let mut folded = [[[0; LANES]; STRETCH]; N];
    let mut cells = [[[0; LANES]; STRETCH]; N];
    let mut lengths = [[[0; LANES]; STRETCH]; N];
    for from in range.clone().step_by(STRETCH) {
        let n = STRETCH.min(range.end - from);
        for (lanes, folded) in lanes.iter().zip(&mut folded) {
            fold_places(lanes, from, &mut folded[..n]);
        }
        symbols(pace, n, &folded, means, &mut cells, &mut lengths);
        for (((to, folded), cells), lengths) in to.iter_mut().zip(&folded).zip(&cells).zip(&lengths) {
            to.cells.extend_from_slice(cells[..n].as_flattened());
            put(&mut to.bits, folded[..n].as_flattened(), lengths[..n].as_flattened());
        }
    }
}

/// What residuals of eight lanes cost under distributions, in 1 / 256 bit, but for the first ones: until then means have not settled.
pub(super) fn cost(pace: Pace, means: [u32; LANES], folded: &[[u32; LANES]], tables: [&[u32; CELLS]; 2]) -> [u64; 2] {
    const SETTLED: usize = 128; // whole stretches
    let mut means = [means];
    let (mut cells, mut lengths) = ([[[0; LANES]; STRETCH]], [[[0; LANES]; STRETCH]]);
    let mut sums = [0; 2];
    for (i, folded) in folded.as_chunks::<STRETCH>().0.iter().enumerate() {
        symbols(pace, STRETCH, &[*folded], &mut means, &mut cells, &mut lengths);
        if i * STRETCH >= SETTLED {
            let bits: u64 = lengths.as_flattened().as_flattened().iter().map(|&length| u64::from(length)).sum();
            for (sum, table) in sums.iter_mut().zip(tables) {
                let cells = cells.as_flattened().as_flattened().iter();
                *sum += bits * 256 + cells.map(|&cell| u64::from(table[usize::from(cell) % CELLS])).sum::<u64>();
            }
        }
    }
    sums
}

fn fold_places(lanes: &Lanes<'_>, from: usize, out: &mut [[u32; LANES]]) {
    #[cfg(target_arch = "x86_64")]
    if is_wide() {
        #[target_feature(enable = "avx2,bmi1,bmi2,lzcnt,popcnt")]
        fn wider(lanes: &Lanes<'_>, from: usize, out: &mut [[u32; LANES]]) {
            let len = lanes.len();
            let (blocks, rest) = out.as_chunks_mut::<LANES>();
            let mut at = from;
            for block in blocks {
                // There are as many in each lane.
                let rows = std::array::from_fn(|j| {
                    let row = lanes.residuals.get(j * len + at..).and_then(|lane| lane.first_chunk::<LANES>());
                    row.map_or([0; LANES], |row| row.map(fold))
                });
                *block = turn(rows);
                at += LANES;
            }
            lanes.fold(at, rest);
        }
        // SAFETY: the processor has what it needs.
        return unsafe { wider(lanes, from, out) };
    }
    lanes.fold(from, out);
}

/// The cells of `n` places, and the number of bits beside each symbol.
fn symbols<const N: usize>(
    pace: Pace,
    n: usize,
    folded: &[Places<u32>; N],
    means: &mut [[u32; LANES]; N],
    cells: &mut [Places<u16>; N],
    lengths: &mut [Places<u8>; N],
) {
    #[cfg(target_arch = "x86_64")]
    if is_wide() {
        // SAFETY: the processor has what it needs.
        return unsafe { avx2::symbols(pace, n, folded, means, cells, lengths) };
    }
    symbols_plainly(pace, n, folded, means, cells, lengths);
}

pub(super) fn symbols_plainly<const N: usize>(
    pace: Pace,
    n: usize,
    folded: &[Places<u32>; N],
    means: &mut [[u32; LANES]; N],
    cells: &mut [Places<u16>; N],
    lengths: &mut [Places<u8>; N],
) {
    for (((folded, means), cells), lengths) in folded.iter().zip(means).zip(cells).zip(lengths) {
        for ((folded, cells), lengths) in folded.iter().zip(cells).zip(lengths).take(n) {
            for j in 0..LANES {
                let (context, k) = pace.context(means[j]);
                let (symbol, middle, bits) = coded(folded[j], context, k);
                pace.push(&mut means[j], middle, k);
                cells[j] = (context << 6 | symbol) as u16; // below CELLS
                lengths[j] = bits as u8; // at most 32
            }
        }
    }
}

#[cfg(target_arch = "x86_64")]
mod avx2 {
    use super::super::read::avx2::Means;
    use super::*;
    use crate::chunk::wide::{halves, load_lanes, low_8, store_lanes};
    use std::arch::x86_64::*;

    /// What [`super::symbols_plainly`] does, a vector at once.
    #[target_feature(enable = "avx2,bmi1,bmi2,lzcnt,popcnt")]
    pub fn symbols<const N: usize>(
        pace: Pace,
        n: usize,
        folded: &[Places<u32>; N],
        means: &mut [[u32; LANES]; N],
        cells: &mut [Places<u16>; N],
        lengths: &mut [Places<u8>; N],
    ) {
        let rule = Means::new(pace);
        let limits = load_lanes(&LIMITS);
        let mut x: [__m256i; N] = std::array::from_fn(|g| load_lanes(&means[g]));
        let number = |n: u32| _mm256_set1_epi32(n as i32); // small ones
        for i in 0..n.min(STRETCH) {
            for g in 0..N {
                let (context, k) = rule.context(x[g]);
                let q = _mm256_srlv_epi32(load_lanes(&folded[g][i]), k);
                // A permutation looks at three bits: contexts are below 32.
                let limit = _mm256_permutevar8x32_epi32(limits, _mm256_srli_epi32(context, 2));
                let escapes = _mm256_cmpeq_epi32(_mm256_max_epu32(q, limit), q);
                // As in `symbol_of`; what escapes is of no account.
                let from_32 = _mm256_cmpgt_epi32(q, number(31));
                let from_64 = _mm256_cmpgt_epi32(q, number(63));
                let more = _mm256_add_epi32(_mm256_and_si256(from_32, number(3)), _mm256_and_si256(from_64, number(1)));
                let others =
                    _mm256_add_epi32(_mm256_and_si256(from_32, number(7)), _mm256_and_si256(from_64, number(8)));
                let above =
                    _mm256_add_epi32(_mm256_and_si256(from_32, number(28)), _mm256_and_si256(from_64, number(4)));
                let symbol = _mm256_add_epi32(_mm256_srlv_epi32(q, more), above);
                let symbol = _mm256_blendv_epi8(symbol, number(ESCAPE as u32), escapes);
                let middle = _mm256_slli_epi32(_mm256_andnot_si256(others, q), 1);
                let middle = _mm256_add_epi32(_mm256_add_epi32(middle, others), number(1));
                let middle = _mm256_blendv_epi8(middle, number(ESCAPE_MIDDLE), escapes);
                x[g] = rule.push(x[g], middle, k);
                let bits = _mm256_blendv_epi8(_mm256_add_epi32(k, more), number(ESCAPE_BITS), escapes);
                let cell = halves(_mm256_or_si256(_mm256_slli_epi32(context, 6), symbol));
                // SAFETY: there is room for eight numbers of two bytes.
                unsafe { _mm_storeu_si128(cells[g][i].as_mut_ptr().cast(), cell) };
                let bits = halves(bits);
                lengths[g][i] = low_8(_mm_packus_epi16(bits, bits));
            }
        }
        for (x, mean) in x.into_iter().zip(means) {
            store_lanes(x, mean);
        }
    }
}

wide! {
    /// Writes of each folded residual so many low bits.
    fn put(bits: &mut BitWriter, folded: &[u32], lengths: &[u8]) = put_body
}

/// Residuals of a stretch.
const ALL: usize = STRETCH * LANES;

#[inline(always)]
fn put_body(bits: &mut BitWriter, folded: &[u32], lengths: &[u8]) {
    let (mut values, mut counts) = ([0u64; ALL], [0u32; ALL]);
    let mut n = folded.len().min(ALL);
    let mut longest = 0;
    for (((value, count), &u), &length) in values.iter_mut().zip(&mut counts).zip(folded).zip(lengths) {
        *value = u64::from(u) & (1u64 << (length & 63)).wrapping_sub(1);
        *count = length.into();
        longest = longest.max(*count);
    }
    // Two at once, and once more, as long as they fit: there is an even number, and lanes make it one of eights.
    for most in [28, 14] {
        if longest <= most {
            n /= 2;
            for i in 0..n {
                values[i] = values[2 * i] | values[2 * i + 1] << (counts[2 * i] & 63);
                counts[i] = counts[2 * i].wrapping_add(counts[2 * i + 1]); // at most 56
            }
        }
    }
    bits.put_all(&values[..n], &counts[..n]);
}
