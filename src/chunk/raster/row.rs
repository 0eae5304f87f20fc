//! The length of a row, where the container does not tell it before the samples: of v210, whose rows are multiples of 128
//! bytes.
//!
//! # Invariants
//!
//! The answer depends on the samples alone and costs the same for a chunk of any length.

use crate::chunk::wide::wide;

/// Rows are multiples of so many bytes, as every program pads them.
pub const STEP_BYTES: usize = 128;
/// Luma samples of a step.
const STEP: usize = 48;
/// Steps of a row at most: 12,288 pixels.
const STEPS: usize = 256;
/// Samples compared in one place, and places.
const PART: usize = 64;
const PLACES: usize = 16;
/// Differences from the row above must be smaller than those at other distances, on average, by one part in so many.
const CLEARLY: u64 = 6;
/// Differences larger than the least by one part in so many are as good.
const NEARLY: u64 = 16;

#[inline(always)]
fn steps_body(luma: &[u16]) -> Option<usize> {
    let most = (luma.len() / (2 * STEP)).min(STEPS); // two rows at least
    let room = luma.len().checked_sub(most * STEP + PART)?;
    let mut sums = [0u64; STEPS + 1];
    for place in 0..PLACES {
        let at = most * STEP + room * place / PLACES;
        let here = &luma[at..at + PART];
        for (k, sum) in sums.iter_mut().enumerate().take(most + 1).skip(1) {
            let above = &luma[at - k * STEP..][..PART];
            // Samples have ten bits: 64 differences need sixteen.
            let part = here.iter().zip(above).fold(0u16, |sum, (&a, &b)| sum.wrapping_add(a.abs_diff(b)));
            *sum += u64::from(part);
        }
    }
    let sums = sums.get(1..=most).filter(|sums| !sums.is_empty())?;
    let mean = sums.iter().sum::<u64>() / sums.len() as u64;
    let least = *sums.iter().min()?;
    // Rows further above look alike too, and by chance more so.
    let k = sums.iter().position(|&sum| sum <= least + least / NEARLY)?;
    (least < mean - mean / CLEARLY).then_some(k + 1)
}
wide! {
    /// How many steps long rows are, by their luma samples of ten bits; `None` where none looks like the one above.
    pub fn steps(luma: &[u16]) -> Option<usize> = steps_body
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A picture that changes by a few steps a pixel in both directions, with some noise.
    fn picture(row: usize, rows: usize) -> Vec<u16> {
        let mut seed = 12_345u32;
        (0..row * rows)
            .map(|i| {
                let (x, y) = ((i % row) as u32, (i / row) as u32);
                seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (500 + (x * 3) % 400 + y / 2 % 50 + (seed >> 29)) as u16 % 1024
            })
            .collect()
    }

    #[test]
    fn rows_of_every_common_width_are_found_wherever_a_chunk_begins() {
        for pixels in [320, 640, 720, 1280, 1440, 1920, 2048, 3840, 4096] {
            let steps_of = usize::div_ceil(pixels, STEP);
            let luma = picture(steps_of * STEP, 98_304 / (steps_of * STEP) + 2);
            for from in [0, 6, 1002] {
                assert_eq!(steps(&luma[from..]), Some(steps_of), "{pixels} from {from}");
                assert_eq!(steps_body(&luma[from..]), Some(steps_of));
            }
        }
    }

    #[test]
    fn what_has_no_rows_has_none() {
        assert_eq!(steps(&[]), None);
        assert_eq!(steps(&[512; 98_304]), None);
        assert_eq!(steps(&[512; 100]), None);
        let mut seed = 1u32;
        let noise: Vec<u16> = (0..98_304)
            .map(|_| {
                seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (seed >> 22) as u16
            })
            .collect();
        assert_eq!(steps(&noise), None);
    }
}
