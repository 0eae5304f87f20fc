//! What the samples of a picture are, from the samples.
//!
//! For TIFFs whose directory lies behind the picture. Owns the guess of sample width, channels and row. A wrong guess
//! costs space only: the form decides where chunks end and which codec is tried.
//!
//! # Invariants
//!
//! It hangs on the first [`LOOK`] bytes alone, and its work is bounded by them.

use crate::chunk::{Packing, Raster};
use std::collections::BinaryHeap;

/// Bytes that are looked at.
const LOOK: usize = 1 << 20;
/// Bytes of a row at most.
const ROW_MAX: usize = 192 << 10;
/// Zones that are looked at closely, and their bytes: a multiple of every pixel's.
const ZONES: usize = 32;
const ZONE: usize = 1536;
/// Mean difference of neighbours above which bytes are noise. That of random bytes is 64.
const NOISE: u64 = 40;

/// The mean distance of bytes `lag` apart, in 256ths, of those at places `phase` modulo `period`.
fn distance(bytes: &[u8], lag: usize, phase: usize, period: usize) -> u64 {
    let step = (bytes.len() / ZONES).next_multiple_of(24) - 24; // so that zones begin with a pixel
    let (mut sum, mut n) = (0u64, 0u64);
    for zone in 0..ZONES {
        let zone = bytes.get(zone * step..).unwrap_or_default();
        for i in (phase..ZONE).step_by(period) {
            if let (Some(a), Some(b)) = (zone.get(i), zone.get(i + lag)) {
                sum += u64::from(a.wrapping_sub(*b).cast_signed().unsigned_abs());
                n += 1;
            }
        }
    }
    sum * 256 / n.max(1)
}

/// The packing and the row of the picture that these bytes begin.
pub fn raster(bytes: &[u8], big_endian: bool) -> Option<Raster> {
    let bytes = bytes.get(..LOOK).unwrap_or(bytes);
    if bytes.len() < 64 << 10 {
        return None;
    }
    // Samples of two bytes: what is smooth and what is noise alternate, or (eight bits made sixteen) they are equal.
    let parity = |p: usize| [2, 6, 8].map(|lag| distance(bytes, lag, p, 2)).into_iter().min().unwrap_or(0);
    let (high, low) = if big_endian { (parity(0), parity(1)) } else { (parity(1), parity(0)) };
    let doubled = bytes.chunks_exact(2).take(32 << 10).filter(|p| p[0] != p[1]).count() < 1 << 10;
    let wide = (low >= 24 << 8 && low >= 3 * high) || (doubled && low > 64);
    let width = if wide { 2 } else { 1 };
    let main = usize::from(wide && !big_endian); // the higher byte of a sample

    // Channels: neighbouring samples differ by where in the pixel they stand.
    let contrast = |channels: usize| {
        let period = channels * width;
        let means = (0..channels).map(|c| distance(bytes, width, main + c * width, period) + 32);
        let (least, most) = means.fold((u64::MAX, 0), |(l, m), d| (l.min(d), m.max(d)));
        most * 100 / least
    };
    let (three, four) = (contrast(3), contrast(4));
    let channels = match () {
        () if three.max(four) < 125 => 1,
        () if three >= four => 3,
        () => 4,
    };
    let pixel = channels * width;
    let left = distance(bytes, pixel, main, width);
    if left > NOISE << 8 {
        return None;
    }
    let row = row(bytes, pixel, main);
    let packing = Packing::Samples { bytes: width as u8, channels: channels as u8, big_endian }; // at most 4
    Some(Raster { packing, row_bytes: row.unwrap_or(0) as u32 }) // at most ROW_MAX
}

/// Values of a zone that are compared at once.
const LANES: usize = 32;
/// Distances that are looked at closely: in a rough picture many are as near as the row where few values are compared.
const KEPT: usize = 256;
/// Of so many values a zone of 128 is compared in the end.
const NEARLY_ALL: usize = 192;

/// Sum of distances of values `lag` apart, in `zones` at even distances; `None` as soon as it is `limit` or more.
fn sum<const ZONE: usize>(pixels: &[u8], lag: usize, zones: usize, limit: u32) -> Option<u32> {
    const { assert!(ZONE.is_multiple_of(LANES)) };
    let step = pixels.len().saturating_sub(lag + ZONE) / zones;
    let mut sum = 0u32;
    for z in 0..zones {
        let zone = |at: usize| pixels.get(at..).and_then(<[u8]>::first_chunk::<ZONE>);
        let Some((a, b)) = zone(z * step).zip(zone(z * step + lag)) else { continue };
        for (a, b) in a.as_chunks::<LANES>().0.iter().zip(b.as_chunks::<LANES>().0) {
            // Wrapping, which it never does, so that this becomes one instruction for many: LOOK * 255 is the most.
            sum = a.iter().zip(b).fold(sum, |sum, (a, b)| sum.wrapping_add(u32::from(a.abs_diff(*b))));
        }
        if sum >= limit {
            return None;
        }
    }
    Some(sum)
}

/// Bytes of a row: what is above is as near as a neighbour.
fn row(bytes: &[u8], pixel: usize, main: usize) -> Option<usize> {
    // One value a pixel, the mean of eight: less of noise.
    let mut sums: Vec<u16> = bytes.iter().skip(main).step_by(pixel).map(|&b| b.into()).collect();
    for apart in [1, 2, 4] {
        let others = sums.get(apart..).unwrap_or_default();
        sums = sums.iter().zip(others).map(|(a, b)| a.wrapping_add(*b)).collect(); // eight bytes in the end
    }
    let pixels: Vec<u8> = sums.iter().map(|sum| (sum / 8) as u8).collect(); // means of bytes
    let most = (ROW_MAX / pixel).min(pixels.len() / 4);
    // The nearest by a coarse look; of equal ones the shorter, which came first.
    let mut coarse: BinaryHeap<(u32, usize)> = BinaryHeap::new();
    for lag in 32..most {
        let limit = coarse.peek().filter(|_| coarse.len() == KEPT).map_or(u32::MAX, |farthest| farthest.0);
        if let Some(sum) = sum::<32>(&pixels, lag, 16, limit) {
            coarse.push((sum, lag));
        }
        if coarse.len() > KEPT {
            coarse.pop();
        }
    }
    let fine = |lag: usize| sum::<128>(&pixels, lag, 64, u32::MAX).unwrap_or(u32::MAX);
    let mut kept: Vec<(u32, usize)> = coarse.iter().map(|&(_, lag)| (fine(lag), lag)).collect();
    kept.sort_unstable();
    // Two rows above is nearly as good: the shortest of the best that is better than what lies beside it.
    let &(least, _) = kept.first()?;
    kept.retain(|k| k.0 <= least + least / 4 + 64);
    kept.sort_unstable_by_key(|k| k.1);
    let is_dip = |&(sum, lag): &(u32, usize)| [1, 2, 3].iter().all(|k| sum < fine(lag - k).min(fine(lag + k)));
    let (_, near) = kept.into_iter().find(is_dip)?;
    // Lines that are not upright make a neighbour of the row look as near, in means more so, and in few zones.
    let single: Vec<u8> = bytes.iter().skip(main).step_by(pixel).copied().collect();
    let zones = (single.len() / NEARLY_ALL).max(1);
    let nearly_all = |lag: &usize| sum::<128>(&single, *lag, zones, u32::MAX).unwrap_or(u32::MAX);
    (near - 2..=near + 2).min_by_key(nearly_all).map(|lag| lag * pixel)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A picture with some structure; `f` makes samples of 8 bits wider.
    fn picture(width: usize, channels: usize, noise: u32, f: impl Fn(u16, u8) -> Vec<u8>) -> Vec<u8> {
        let mut state = 12345u32;
        let mut out = Vec::new();
        let mut i = 0;
        while out.len() < 2 << 20 {
            let (x, y, c) = ((i / channels % width) as f64, (i / channels / width) as f64, (i % channels) as f64);
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let n = (state >> 16) % noise.max(1);
            let v = 120.0 + 60.0 * (x / 37.0 + y / 90.0).sin() + 40.0 * (y / 23.0 - x / 140.0 + c).cos();
            out.extend(f((v as u32 + n) as u16, (state >> 8) as u8));
            i += 1;
        }
        out
    }

    #[test]
    fn packing_and_row_are_told_from_the_samples() {
        for (width, channels) in [(1600, 3), (1601, 3), (720, 1), (5640, 1), (999, 4), (3840, 3), (320, 3)] {
            for noise in [0, 3, 12] {
                let row = width * channels;
                let of = |bytes: u8, big_endian, row| {
                    let packing = Packing::Samples { bytes, channels: channels as u8, big_endian };
                    Some(Raster { packing, row_bytes: row as u32 })
                };
                let eight = picture(width, channels, noise, |v, _| vec![v as u8]);
                assert_eq!(raster(&eight, false), of(1, false, row), "{width} {channels} {noise}");
                let sixteen = picture(width, channels, noise, |v, low| vec![low, v as u8]);
                assert_eq!(raster(&sixteen, false), of(2, false, 2 * row), "16 bits, {width} {channels} {noise}");
                let doubled = picture(width, channels, noise, |v, _| vec![v as u8, v as u8]);
                assert_eq!(raster(&doubled, true), of(2, true, 2 * row), "8 in 16 bits, {width} {channels} {noise}");
            }
        }
    }

    /// As [`row`], by a full sort of all distances.
    fn row_by_sorting(bytes: &[u8], pixel: usize, main: usize) -> Option<usize> {
        let sum = |pixels: &[u8], lag: usize, zones: usize, zone: usize| -> u32 {
            let step = pixels.len().saturating_sub(lag + zone) / zones;
            let of = |z: usize| pixels[z * step..][..zone].iter().zip(&pixels[z * step + lag..]);
            (0..zones).flat_map(of).map(|(a, b)| u32::from(a.abs_diff(*b))).sum()
        };
        let single: Vec<u16> = bytes.iter().skip(main).step_by(pixel).map(|&b| b.into()).collect();
        let pixels: Vec<u8> = single.windows(8).map(|w| (w.iter().sum::<u16>() / 8) as u8).collect();
        let most = (ROW_MAX / pixel).min(pixels.len() / 4);
        let mut coarse: Vec<(u32, usize)> = (32..most).map(|lag| (sum(&pixels, lag, 16, 32), lag)).collect();
        coarse.sort_unstable();
        let fine = |lag: usize| sum(&pixels, lag, 64, 128);
        let mut kept: Vec<(u32, usize)> = coarse.iter().take(KEPT).map(|&(_, lag)| (fine(lag), lag)).collect();
        kept.sort_unstable();
        let &(least, _) = kept.first()?;
        kept.retain(|k| k.0 <= least + least / 4 + 64);
        kept.sort_unstable_by_key(|k| k.1);
        let is_dip = |&(sum, lag): &(u32, usize)| [1, 2, 3].iter().all(|k| sum < fine(lag - k).min(fine(lag + k)));
        let (_, near) = kept.into_iter().find(is_dip)?;
        let single: Vec<u8> = bytes.iter().skip(main).step_by(pixel).copied().collect();
        let nearly_all = |lag: &usize| sum(&single, *lag, single.len() / NEARLY_ALL, 128);
        (near - 2..=near + 2).min_by_key(nearly_all).map(|lag| lag * pixel)
    }

    #[test]
    fn rows_are_those_that_a_full_sort_finds() {
        for (width, channels, noise) in [(1601, 3, 12), (720, 1, 3), (999, 4, 0), (97, 1, 200), (4001, 1, 90)] {
            let bytes = picture(width, channels, noise, |v, _| vec![v as u8]);
            for bytes in [&bytes[..64 << 10], &bytes[..150_001]] {
                assert_eq!(row(bytes, channels, 0), row_by_sorting(bytes, channels, 0), "{width} {channels} {noise}");
            }
            // Many that are equally near: the shortest are kept.
            let steps: Vec<u8> = bytes[..100_000].iter().map(|b| b & 0xc0).collect();
            assert_eq!(row(&steps, 2, 1), row_by_sorting(&steps, 2, 1), "{width} {channels} {noise}, in steps");
        }
        let flat: Vec<u8> = (0..100_000).map(|i| u8::from(i % 1000 < 7)).collect();
        assert_eq!(row(&flat, 1, 0), row_by_sorting(&flat, 1, 0));
        assert_eq!((row(&[1; 40], 1, 0), row(&[], 1, 0)), (None, None));
    }

    #[test]
    fn what_is_no_picture_is_none() {
        let mut state = 1u64;
        let noise: Vec<u8> = std::iter::repeat_with(|| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 56) as u8
        })
        .take(2 << 20)
        .collect();
        assert_eq!(raster(&noise, false), None);
        assert_eq!(raster(&noise[..1000], true), None);
        for flat in [0u8, 255] {
            let _ = raster(&vec![flat; 1 << 20], true); // anything, and no panic
        }
    }
}
