//! Samples as PCM: interleaved, signed, little-endian, as narrow as all of a segment are, like those of a WAV.
//!
//! A block has one or two channels of a frame. Its samples are those of a word of `stored` bytes; in the stream they have
//! the highest `width` bytes of it.
//!
//! # Invariants
//!
//! [`get`] gives back what [`put`] and [`narrow`] made, where the bytes left out are zero.

/// Where a block's channels stand in a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// Channels of a frame.
    pub channels: usize,
    /// The block's first one.
    pub first: usize,
    /// The block has two, of which one is coded.
    pub twice: bool,
}

/// Puts a block's samples of `C` channels into their places, as words of `stored` bytes. `None` where one does not fit;
/// else all bits that are set in a word of 32 bits, if its highest bytes are these.
pub(super) fn put<const C: usize>(samples: &[[i32; C]], stored: usize, place: Place, out: &mut [u8]) -> Option<u32> {
    match stored {
        1 => put_each::<1, C>(samples, place, out),
        2 => put_each::<2, C>(samples, place, out),
        3 => put_each::<3, C>(samples, place, out),
        _ => put_each::<4, C>(samples, place, out),
    }
}

fn put_each<const B: usize, const C: usize>(samples: &[[i32; C]], place: Place, out: &mut [u8]) -> Option<u32> {
    let shift = 32 - 8 * B as u32;
    let (mut used, mut lost) = (0, 0);
    for (samples, frame) in samples.iter().zip(out.chunks_exact_mut(place.channels * B)) {
        let (words, _) = frame.as_chunks_mut::<B>();
        let words = words.get_mut(place.first..).unwrap_or_default();
        let samples = if place.twice { &[samples[0], samples[0]][..] } else { samples };
        for (word, &sample) in words.iter_mut().zip(samples) {
            used |= sample << shift;
            lost |= sample << shift >> shift ^ sample;
            *word = *sample.to_le_bytes().first_chunk().unwrap_or(&[0; B]); // B is at most 4
        }
    }
    (lost == 0).then_some(used.cast_unsigned())
}

/// Takes a block's samples out of their places. False where two channels that should be alike are not.
pub(super) fn get<const C: usize>(
    pcm: &[u8],
    (width, stored): (usize, usize),
    place: Place,
    samples: &mut [[i32; C]],
) -> bool {
    match width {
        1 => get_each::<1, C>(pcm, stored, place, samples),
        2 => get_each::<2, C>(pcm, stored, place, samples),
        3 => get_each::<3, C>(pcm, stored, place, samples),
        _ => get_each::<4, C>(pcm, stored, place, samples),
    }
}

fn get_each<const W: usize, const C: usize>(pcm: &[u8], stored: usize, place: Place, samples: &mut [[i32; C]]) -> bool {
    let shift = 32 - 8 * stored as u32; // 1 to 4
    let mut differ = 0;
    for (samples, frame) in samples.iter_mut().zip(pcm.chunks_exact(place.channels * W)) {
        let (words, _) = frame.as_chunks::<W>();
        let mut words = words.get(place.first..).unwrap_or_default().iter().map(|word| {
            let mut wide = [0; 4];
            if let Some(high) = wide.last_chunk_mut() {
                *high = *word;
            }
            i32::from_le_bytes(wide) >> shift
        });
        for sample in samples.iter_mut() {
            *sample = words.next().unwrap_or_default();
        }
        if place.twice {
            differ |= samples[0] ^ words.next().unwrap_or_default();
        }
    }
    differ == 0
}

/// The fewest highest bytes that hold all bits that are set; 0 for silence.
pub(super) fn used_bytes(used: u32) -> u8 {
    4 - (used.trailing_zeros() / 8).min(4) as u8 // at most 4
}

/// Words of `stored` bytes, by their highest `width`.
pub(super) fn narrow(pcm: Vec<u8>, stored: usize, width: usize) -> Vec<u8> {
    if width == stored {
        return pcm;
    }
    pcm.chunks_exact(stored).flat_map(|word| word.iter().skip(stored - width).copied()).collect() // at most `stored`
}
