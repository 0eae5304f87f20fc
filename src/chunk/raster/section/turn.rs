//! Lanes turned into vectors and back: eight numbers of eight lanes at a time.

use super::super::lanes::{Lanes, Run, Vector};
use crate::chunk::rans::LANES;

/// Eight lanes of eight numbers become eight places of eight lanes, or the other way round.
#[inline(always)]
#[cfg(target_arch = "x86_64")]
fn transpose(rows: [[u16; LANES]; LANES]) -> [[u16; LANES]; LANES] {
    use std::arch::x86_64::{
        __m128i, _mm_unpackhi_epi16, _mm_unpackhi_epi32, _mm_unpackhi_epi64, _mm_unpacklo_epi16, _mm_unpacklo_epi32,
        _mm_unpacklo_epi64,
    };
    // SAFETY: both are sixteen bytes, any of which are sound in either.
    let r: [__m128i; LANES] = unsafe { std::mem::transmute(rows) };
    // SAFETY: every x86-64 processor has SSE2.
    let turned = unsafe {
        let pair = |a: usize| (_mm_unpacklo_epi16(r[a], r[a + 1]), _mm_unpackhi_epi16(r[a], r[a + 1]));
        let [(a, b), (c, d), (e, f), (g, h)] = [pair(0), pair(2), pair(4), pair(6)];
        let four = |a, c, e, g| {
            let (low, high) = (_mm_unpacklo_epi32(a, c), _mm_unpacklo_epi32(e, g));
            let (low2, high2) = (_mm_unpackhi_epi32(a, c), _mm_unpackhi_epi32(e, g));
            [
                _mm_unpacklo_epi64(low, high),
                _mm_unpackhi_epi64(low, high),
                _mm_unpacklo_epi64(low2, high2),
                _mm_unpackhi_epi64(low2, high2),
            ]
        };
        let ([a, b, c, d], [e, f, g, h]) = (four(a, c, e, g), four(b, d, f, h));
        [a, b, c, d, e, f, g, h]
    };
    // SAFETY: as above.
    unsafe { std::mem::transmute(turned) }
}

#[inline(always)]
#[cfg(not(target_arch = "x86_64"))]
fn transpose(rows: [[u16; LANES]; LANES]) -> [[u16; LANES]; LANES] {
    plainly(rows)
}

#[cfg(any(test, not(target_arch = "x86_64")))]
fn plainly(rows: [[u16; LANES]; LANES]) -> [[u16; LANES]; LANES] {
    std::array::from_fn(|i| std::array::from_fn(|j| rows[j][i]))
}

/// Where the residuals of a vector's lanes stand.
#[inline(always)]
fn columns(run: &Run) -> [usize; LANES] {
    std::array::from_fn(|j| run.at + j * run.step)
}

/// The numbers of a vector from `place` on, from its lanes in `u`. `out` is whole places, no more than there are.
#[inline(always)]
pub fn to_vector(u: &[u16], lanes: &Lanes, vector: &Vector, place: usize, out: &mut [u16]) {
    let mut out = out.as_chunks_mut::<LANES>().0;
    for mut run in lanes.runs(vector, place, out.len()) {
        let (now, rest) = std::mem::take(&mut out).split_at_mut(run.len);
        out = rest;
        let (blocks, rest) = now.as_chunks_mut::<LANES>();
        for block in blocks {
            // There are as many in each lane.
            let mut rows = [[0; LANES]; LANES];
            for (row, at) in rows.iter_mut().zip(columns(&run)) {
                row.copy_from_slice(&u[at..][..LANES]);
            }
            *block = transpose(rows);
            run.at += LANES;
        }
        for place in rest {
            for (value, at) in place.iter_mut().zip(columns(&run)) {
                *value = u[at];
            }
            run.at += 1;
        }
    }
}

/// Undoes [`to_vector`].
#[inline(always)]
pub fn to_lanes(numbers: &[u16], lanes: &Lanes, vector: &Vector, place: usize, u: &mut [u16]) {
    let mut numbers = numbers.as_chunks::<LANES>().0;
    for mut run in lanes.runs(vector, place, numbers.len()) {
        let (now, rest) = numbers.split_at(run.len);
        numbers = rest;
        let (blocks, rest) = now.as_chunks::<LANES>();
        for block in blocks {
            for (at, row) in columns(&run).into_iter().zip(transpose(*block)) {
                u[at..][..LANES].copy_from_slice(&row);
            }
            run.at += LANES;
        }
        for place in rest {
            for (at, value) in columns(&run).into_iter().zip(place) {
                u[at] = *value;
            }
            run.at += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn eight_numbers_of_eight_lanes_are_turned() {
        let rows: [[u16; LANES]; LANES] = std::array::from_fn(|i| std::array::from_fn(|j| (i * 100 + j) as u16));
        assert_eq!(transpose(rows), plainly(rows));
        assert_eq!(transpose(transpose(rows)), rows);
    }
}
