//! A packet's samples as PCM: interleaved, signed, little-endian, each in whole bytes with its value in the upper bits,
//! in the order of channels that WAV has.
//!
//! # Invariants
//!
//! [`take`] is the exact inverse of [`append`]: what it would not write is refused.

use super::packet::{CHANNELS_MAX, Packet};

/// The place in WAV's order of each channel of a packet, for each number of channels: the centre comes first in ALAC,
/// low sounds last (Apple's `ALACMagicCookieDescription.txt`; as FFmpeg puts them out).
const PLACES: [[u8; CHANNELS_MAX]; CHANNELS_MAX] = [
    [0, 0, 0, 0, 0, 0, 0, 0],
    [0, 1, 0, 0, 0, 0, 0, 0],
    [2, 0, 1, 0, 0, 0, 0, 0],
    [2, 0, 1, 3, 0, 0, 0, 0],
    [2, 0, 1, 3, 4, 0, 0, 0],
    [2, 0, 1, 4, 5, 3, 0, 0],
    [2, 0, 1, 4, 5, 6, 3, 0],
    [2, 6, 7, 0, 1, 4, 5, 3],
];

/// Bytes of a sample of so many bits, 1 to 4.
pub(super) fn sample_bytes(bits: u8) -> usize {
    usize::from(bits.clamp(1, 32).div_ceil(8))
}

/// Bits of a sample's bytes that are not used.
fn unused(bits: u8) -> u32 {
    8 * sample_bytes(bits) as u32 - u32::from(bits.clamp(1, 32)) // below 8
}

/// Each channel of a packet of so many, with its place.
fn places(channels: usize) -> impl Iterator<Item = usize> {
    let places = channels.checked_sub(1).and_then(|row| PLACES.get(row)).into_iter().flatten();
    places.take(channels).map(|&place| usize::from(place))
}

/// Appends the samples of a packet of `bits` bits.
pub(super) fn append(packet: &Packet, bits: u8, out: &mut Vec<u8>) {
    let (channels, bytes, shift) = (packet.channel_count(), sample_bytes(bits), unused(bits));
    let begin = out.len();
    out.resize(begin + packet.samples * channels * bytes, 0);
    let Some(to) = out.get_mut(begin..) else { return };
    match (bytes, channels, &packet.channels[..]) {
        (2, 2, [left, right, ..]) => put_both::<2, 4>(to, left, right, shift),
        (3, 2, [left, right, ..]) => put_both::<3, 6>(to, left, right, shift),
        (4, 2, [left, right, ..]) => put_both::<4, 8>(to, left, right, shift),
        _ => {
            for (samples, place) in packet.channels.iter().zip(places(channels)) {
                let (at, step) = (place * bytes, channels * bytes);
                match bytes {
                    2 => put_each::<2>(to, samples, at, step, shift),
                    3 => put_each::<3>(to, samples, at, step, shift),
                    _ => put_each::<4>(to, samples, at, step, shift),
                }
            }
        }
    }
}

/// `F` is twice `B`.
fn put_both<const B: usize, const F: usize>(to: &mut [u8], left: &[i32], right: &[i32], shift: u32) {
    for (frame, (&l, &r)) in to.as_chunks_mut::<F>().0.iter_mut().zip(left.iter().zip(right)) {
        let (a, b) = frame.split_at_mut(B); // less than F
        for (place, value) in [(a, l), (b, r)] {
            for (to, from) in place.iter_mut().zip((value << shift).to_le_bytes()) {
                *to = from;
            }
        }
    }
}

fn put_each<const B: usize>(to: &mut [u8], samples: &[i32], at: usize, step: usize, shift: u32) {
    for (frame, &sample) in to.chunks_exact_mut(step).zip(samples) {
        let bytes = (sample << shift).to_le_bytes();
        if let (Some(place), Some(bytes)) =
            (frame.get_mut(at..).and_then(<[u8]>::first_chunk_mut::<B>), bytes.first_chunk::<B>())
        {
            *place = *bytes;
        }
    }
}

/// Takes a packet's samples of `bits` bits out of PCM of as many bytes. False where some bits below a sample's are not
/// 0. There must be room for all channels ([`Packet::make_room`]).
pub(super) fn take(pcm: &[u8], bits: u8, packet: &mut Packet) -> bool {
    let (channels, bytes) = (packet.channel_count(), sample_bytes(bits));
    let mut low = 0;
    for (samples, place) in packet.channels.iter_mut().zip(places(channels)) {
        low |= match bytes {
            2 => get_each::<2>(pcm, samples, place * bytes, channels * bytes),
            3 => get_each::<3>(pcm, samples, place * bytes, channels * bytes),
            _ => get_each::<4>(pcm, samples, place * bytes, channels * bytes),
        };
        // Each was read into the upper bits.
        samples.iter_mut().for_each(|s| *s >>= 32 - u32::from(bits));
    }
    low.trailing_zeros() >= 32 - u32::from(bits)
}

/// Reads samples into the upper bits; returns all bits that were set.
fn get_each<const B: usize>(pcm: &[u8], samples: &mut [i32], at: usize, step: usize) -> i32 {
    let mut all = 0;
    for (sample, frame) in samples.iter_mut().zip(pcm.chunks_exact(step)) {
        let mut word = [0; 4];
        if let (Some(bytes), Some(place)) =
            (frame.get(at..).and_then(<[u8]>::first_chunk::<B>), word.last_chunk_mut::<B>())
        {
            *place = *bytes;
        }
        *sample = i32::from_le_bytes(word);
        all |= *sample;
    }
    all
}
