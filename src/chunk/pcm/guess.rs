//! Whether bytes of unknown kind are sound: a few thousand samples are read in every width, and differences counted.
//!
//! # Invariants
//!
//! 1. The answer depends on the bytes alone, and costs the same for a chunk of any length.

use crate::chunk::form::Pcm;
use crate::chunk::log2::log2;

/// What bytes look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Guess {
    pub form: Pcm,
    /// Bytes before the first frame.
    pub lead: usize,
}

/// Fewer bytes are not asked.
const BYTES_MIN: usize = 8 << 10;
const PLACES: usize = 8;
/// Frames read at a place, and the bytes that they need at most.
const FRAMES: usize = 32;
const PLACE_BYTES: usize = 4 + (FRAMES + 1) * 8;
/// The part of a sample's bits that must be saved: noise comes to less than nothing, text to some 0.05.
const SAVING_MIN: f64 = 0.12;
/// Bits a sample below which the bytes are so plain that zstd is the better tool.
const BITS_MIN: f64 = 3.0;
/// log2 of the mean of absolute values of Laplacian or normal numbers, subtracted from their entropy.
const ENTROPY_ABOVE_MEAN: f64 = 2.4;

/// Says whether a chunk looks like signed little-endian samples of 2, 3 or 4 bytes in one or two channels.
///
/// Pictures may look so too; the caller keeps the smallest payload.
pub fn guess(plain: &[u8]) -> Option<Guess> {
    if plain.len() < BYTES_MIN {
        return None;
    }
    let step = (plain.len() - PLACE_BYTES) / PLACES;
    let mut best: Option<(f64, Guess)> = None;
    for sample_bytes in 2..=4usize {
        for lead in 0..sample_bytes {
            for channels in 1..=2usize {
                let frame = sample_bytes * channels;
                let (mut first, mut second, mut all) = (0u64, 0u64, 0i64);
                for place in 0..PLACES {
                    // The first frame at or after the place, with four bytes before it.
                    let at = (place * step).next_multiple_of(frame) + lead;
                    let Some(bytes) = plain.get(at..at + FRAMES * frame) else { continue };
                    let mut before = [0i64; 2];
                    let mut change = [0i64; 2];
                    for (i, sample) in bytes.chunks_exact(sample_bytes).enumerate() {
                        let mut word = [0u8; 4];
                        word[4 - sample_bytes..].copy_from_slice(sample);
                        let v = i64::from(i32::from_le_bytes(word) >> (32 - 8 * sample_bytes));
                        let c = i & (channels - 1); // 0 for one channel
                        all |= v;
                        let d = v - before[c];
                        if i >= 2 * channels {
                            first += d.unsigned_abs();
                            second += (d - change[c]).unsigned_abs();
                        }
                        before[c] = v;
                        change[c] = d;
                    }
                }
                let count = (PLACES * (FRAMES - 2) * channels) as f64;
                // Low bits that are always zero cost nothing.
                let wasted = f64::from(all.trailing_zeros() & 31);
                let bits = log2(first.min(second) as f64 / count + 0.01) + ENTROPY_ABOVE_MEAN - wasted;
                let saving = 1.0 - bits / (8 * sample_bytes) as f64;
                if bits >= BITS_MIN && saving >= SAVING_MIN && best.is_none_or(|(most, _)| saving > most) {
                    let form = Pcm { sample_bytes: sample_bytes as u8, channels: channels as u8, coded: false };
                    best = Some((saving, Guess { form, lead }));
                }
            }
        }
    }
    // Samples on a border of the frame: the place of the second channel does not matter.
    best.map(|(_, guess)| guess)
}

#[cfg(test)]
mod tests {
    use super::super::tests::{music, noise};
    use super::*;

    #[test]
    fn music_is_recognised_in_its_width_and_phase() {
        for sample_bytes in [2usize, 3, 4] {
            for channels in [1usize, 2] {
                for lead in 0..sample_bytes {
                    let mut plain = vec![0x5a; lead];
                    plain.extend(music(9000, sample_bytes, channels, 4));
                    let guess = guess(&plain).expect("music");
                    assert_eq!((usize::from(guess.form.sample_bytes), guess.lead), (sample_bytes, lead));
                }
            }
        }
    }

    #[test]
    fn noise_text_and_constants_are_not_taken_for_music() {
        let words = ["the", "chunk", "of", "a", "stream", "is", "Named", "by", "1,204", "bytes;", "und", "\n"];
        for seed in 0..300 {
            assert_eq!(guess(&noise(20_000, seed)), None, "noise {seed}");
            let text: Vec<u8> = noise(8000, seed)
                .iter()
                .flat_map(|&n| words[usize::from(n) % words.len()].bytes().chain([b' ']))
                .collect();
            assert_eq!(guess(&text), None, "text {seed}");
        }
        assert_eq!(guess(&[0; 20_000]), None);
        assert_eq!(guess(&music(100, 2, 2, 1)), None, "too short");
        let base64: Vec<u8> = noise(20_000, 5).iter().map(|n| b'A' + n % 58).collect();
        assert_eq!(guess(&base64), None);
    }
}
