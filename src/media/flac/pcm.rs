//! A frame's samples as PCM: interleaved, signed, little-endian, each in whole bytes with its value in the upper bits,
//! as WAV has them but for 8 bits (where WAV is unsigned).
//!
//! # Invariants
//!
//! [`split`] is the exact inverse of [`append`]: what it would not write is refused.

use super::frame::{Frame, LEFT_SIDE, MIDDLE_SIDE, SIDE_RIGHT, are_within};

/// Bytes of a sample of so many bits, 1 to 4.
pub(super) fn sample_bytes(bits: u32) -> usize {
    (bits.clamp(1, 32).div_ceil(8)) as usize // at most 4
}

/// Left and right of two channels as they were coded. Wrapping, since whoever uses it checks the result.
fn left_right(assignment: u8, a: i64, b: i64) -> (i64, i64) {
    match assignment {
        LEFT_SIDE => (a, a - b),
        SIDE_RIGHT => (a + b, b),
        _ => {
            let twice = a << 1 | b & 1;
            ((twice + b) >> 1, (twice - b) >> 1)
        }
    }
}

/// Bits up to which 32 hold every sum of two samples and a side.
const SMALL: u32 = 24;

/// Appends the samples of a frame of `bits` bits. False where one is beyond them: then nothing is appended.
pub(super) fn append(frame: &mut Frame, bits: u32, out: &mut Vec<u8>) -> bool {
    let (channels, bytes) = (frame.header.channels(), sample_bytes(bits));
    let shift = 8 * bytes as u32 - bits;
    let begin = out.len();
    let assignment = frame.header.assignment;
    let samples = frame.header.block_samples().unwrap_or_default(); // it is sound
    out.resize(begin + samples * channels * bytes, 0);
    let Some(to) = out.get_mut(begin..) else { return false };
    let mut within = true;
    if assignment < LEFT_SIDE {
        for (i, samples) in frame.samples.iter().take(channels).enumerate() {
            put_channel(to, samples, i * bytes, channels * bytes, bytes, shift);
        }
    } else if let (true, [a, b, ..]) = (bits <= SMALL, &frame.samples[..]) {
        let check = match assignment {
            LEFT_SIDE => put_stereo(to, a, b, bytes, shift, |a, b| (a, a.wrapping_sub(b))),
            SIDE_RIGHT => put_stereo(to, a, b, bytes, shift, |a, b| (a.wrapping_add(b), b)),
            _ => put_stereo(to, a, b, bytes, shift, |a, b| {
                let twice = a << 1 | b & 1;
                (twice.wrapping_add(b) >> 1, twice.wrapping_sub(b) >> 1)
            }),
        };
        within = check >> (bits - 1) == 0;
    } else {
        let (mut left, mut right) = (Vec::with_capacity(samples), Vec::with_capacity(samples));
        let [a, b, ..] = &frame.samples[..] else { return false };
        for (i, (&a, &b)) in a.iter().zip(b).enumerate() {
            let wide = frame.wide.get(i).copied().unwrap_or_default();
            let of = |channel, narrow: i32| {
                if bits == 32 && frame.header.is_side(channel) { wide } else { i64::from(narrow) }
            };
            let (l, r) = left_right(assignment, of(0, a), of(1, b));
            left.push(l);
            right.push(r);
        }
        within = are_within(&left, bits) && are_within(&right, bits);
        for (i, samples) in [left, right].into_iter().enumerate() {
            let samples: Vec<i32> = samples.into_iter().map(|s| s as i32).collect(); // within their bits, or unused
            put_channel(to, &samples, i * bytes, 2 * bytes, bytes, shift);
        }
    }
    if !within {
        out.truncate(begin);
    }
    within
}

fn put_channel(to: &mut [u8], samples: &[i32], at: usize, step: usize, bytes: usize, shift: u32) {
    match bytes {
        1 => put_each::<1>(to, samples, at, step, shift),
        2 => put_each::<2>(to, samples, at, step, shift),
        3 => put_each::<3>(to, samples, at, step, shift),
        _ => put_each::<4>(to, samples, at, step, shift),
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

/// Puts two channels; returns all bits that say how large the samples are.
#[inline(always)]
fn put_stereo(
    to: &mut [u8],
    a: &[i32],
    b: &[i32],
    bytes: usize,
    shift: u32,
    left_right: impl Fn(i32, i32) -> (i32, i32) + Copy,
) -> i32 {
    match bytes {
        1 => put_both::<1>(to, a, b, shift, left_right),
        2 => put_both::<2>(to, a, b, shift, left_right),
        _ => put_both::<3>(to, a, b, shift, left_right),
    }
}

#[inline(always)]
fn put_both<const B: usize>(
    to: &mut [u8],
    a: &[i32],
    b: &[i32],
    shift: u32,
    left_right: impl Fn(i32, i32) -> (i32, i32) + Copy,
) -> i32 {
    let mut all = 0;
    for (frame, (&a, &b)) in to.chunks_exact_mut(2 * B).zip(a.iter().zip(b)) {
        let (l, r) = left_right(a, b);
        all |= (l ^ l >> 31) | (r ^ r >> 31);
        let (x, y) = frame.split_at_mut(B); // 2 * B bytes
        for (place, value) in [(x, l), (y, r)] {
            let bytes = (value << shift).to_le_bytes();
            for (to, from) in place.iter_mut().zip(bytes) {
                *to = from;
            }
        }
    }
    all
}

/// Takes a frame's samples of `bits` bits out of PCM, as its header says that they were coded. False where some bits
/// below a sample's are not 0.
pub(super) fn split(pcm: &[u8], bits: u32, frame: &mut Frame) -> bool {
    let (channels, bytes) = (frame.header.channels(), sample_bytes(bits));
    let shift = 8 * bytes as u32 - bits;
    let mut low = 0;
    for (i, samples) in frame.samples.iter_mut().take(channels).enumerate() {
        low |= match bytes {
            1 => get_each::<1>(pcm, samples, i, channels),
            2 => get_each::<2>(pcm, samples, i * 2, channels * 2),
            3 => get_each::<3>(pcm, samples, i * 3, channels * 3),
            _ => get_each::<4>(pcm, samples, i * 4, channels * 4),
        };
    }
    // Each was read into the upper bits.
    let unused = 32 - bits;
    for samples in frame.samples.iter_mut().take(channels) {
        samples.iter_mut().for_each(|s| *s >>= unused);
    }
    let assignment = frame.header.assignment;
    if let (true, [a, b, ..]) = (assignment >= LEFT_SIDE, &mut frame.samples[..]) {
        if bits == 32 {
            frame.wide.clear();
            frame.wide.extend(a.iter().zip(&*b).map(|(&l, &r)| i64::from(l) - i64::from(r)));
        }
        // A side of 33 bits is wrong here, and not used. Middles are computed without overflow.
        match assignment {
            LEFT_SIDE => b.iter_mut().zip(&*a).for_each(|(b, &a)| *b = a.wrapping_sub(*b)),
            SIDE_RIGHT => a.iter_mut().zip(&*b).for_each(|(a, &b)| *a = a.wrapping_sub(b)),
            MIDDLE_SIDE if bits <= SMALL => a.iter_mut().zip(b.iter_mut()).for_each(|(a, b)| {
                (*a, *b) = (a.wrapping_add(*b) >> 1, a.wrapping_sub(*b));
            }),
            _ => a.iter_mut().zip(b.iter_mut()).for_each(|(a, b)| {
                let middle = (i64::from(*a) + i64::from(*b)) >> 1;
                (*a, *b) = (middle as i32, a.wrapping_sub(*b)); // the middle of two numbers of 32 bits has as many
            }),
        }
    }
    low.trailing_zeros() >= 32 - 8 * bytes as u32 + shift
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
