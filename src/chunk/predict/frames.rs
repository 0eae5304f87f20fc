//! Interleaved samples to planes of one channel each, and back.
//!
//! # Invariants
//!
//! Only whole frames are seen; what is left behind the last one is the caller's.

use super::super::Pcm;

/// The forms that are understood: 1 to 4 bytes a sample, 1 to 32 channels.
pub fn known(form: Pcm) -> bool {
    (1..=4).contains(&form.sample_bytes) && (1..=32).contains(&form.channels)
}

/// Bytes of a frame.
pub fn frame_bytes(form: Pcm) -> usize {
    usize::from(form.sample_bytes) * usize::from(form.channels)
}

/// The least and the greatest sample.
pub fn range(sample_bytes: u8) -> (i32, i32) {
    let shift = 32 - 8 * u32::from(sample_bytes.clamp(1, 4));
    (i32::MIN >> shift, i32::MAX >> shift)
}

/// Makes `planes` the channels of the whole frames of `plain`, and tells how many frames these are.
pub fn split(plain: &[u8], form: Pcm, planes: &mut Vec<Vec<i32>>) -> usize {
    let channels = usize::from(form.channels);
    let frames = plain.len() / frame_bytes(form).max(1);
    planes.resize_with(channels, Vec::new);
    for plane in planes.iter_mut() {
        plane.clear();
        plane.reserve(frames);
    }
    match (form.sample_bytes, planes.as_mut_slice()) {
        (2, [one]) => one.extend(plain.as_chunks::<2>().0.iter().map(|b| i32::from(i16::from_le_bytes(*b)))),
        (2, [left, right]) => {
            let frames = plain.as_chunks::<4>().0;
            left.extend(frames.iter().map(|b| i32::from_le_bytes(*b) << 16 >> 16));
            right.extend(frames.iter().map(|b| i32::from_le_bytes(*b) >> 16));
        }
        (3, [left, right]) => {
            let frames = plain.as_chunks::<6>().0;
            left.extend(frames.iter().map(|b| i32::from_le_bytes([0, b[0], b[1], b[2]]) >> 8));
            right.extend(frames.iter().map(|b| i32::from_le_bytes([0, b[3], b[4], b[5]]) >> 8));
        }
        (1, all) => spread::<1>(plain, all),
        (2, all) => spread::<2>(plain, all),
        (3, all) => spread::<3>(plain, all),
        (_, all) => spread::<4>(plain, all),
    }
    for plane in planes.iter_mut() {
        plane.truncate(frames); // a lone sample behind the last frame
    }
    frames
}

fn spread<const BYTES: usize>(plain: &[u8], planes: &mut [Vec<i32>]) {
    let channels = planes.len();
    for (i, plane) in planes.iter_mut().enumerate() {
        plane.extend(plain.as_chunks::<BYTES>().0.iter().skip(i).step_by(channels).map(|b| {
            let mut word = [0; 4];
            word[4 - BYTES..].copy_from_slice(b);
            i32::from_le_bytes(word) >> (32 - 8 * BYTES)
        }));
    }
}

/// Appends the planes' samples, interleaved. Bits of a sample above its bytes are dropped.
pub fn join(planes: &[Vec<i32>], sample_bytes: u8, out: &mut Vec<u8>) {
    let frames = planes.iter().map(Vec::len).min().unwrap_or(0);
    let bytes = usize::from(sample_bytes.clamp(1, 4));
    out.reserve(frames * planes.len() * bytes);
    match (bytes, planes) {
        (2, [left, right]) => {
            let both = left.iter().zip(right);
            out.extend(both.flat_map(|(l, r)| (l & 0xffff | r << 16).to_le_bytes()));
        }
        (1, all) => weave::<1>(all, frames, out),
        (2, all) => weave::<2>(all, frames, out),
        (3, all) => weave::<3>(all, frames, out),
        (_, all) => weave::<4>(all, frames, out),
    }
}

fn weave<const BYTES: usize>(planes: &[Vec<i32>], frames: usize, out: &mut Vec<u8>) {
    let channels = planes.len();
    let start = out.len();
    out.resize(start + frames * channels * BYTES, 0);
    let Some(new) = out.get_mut(start..) else { return };
    let (samples, _) = new.as_chunks_mut::<BYTES>();
    for (i, plane) in planes.iter().enumerate() {
        for (to, from) in samples.iter_mut().skip(i).step_by(channels).zip(plane) {
            to.copy_from_slice(&from.to_le_bytes()[..BYTES]); // BYTES is 1 to 4
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn planes_join_to_the_whole_frames(bytes: Vec<u8>, sample_bytes in 1..=4u8, channels in 1..=6u8) {
            let form = Pcm { sample_bytes, channels, coded: false };
            let (mut planes, mut out) = (Vec::new(), Vec::new());
            let frames = split(&bytes, form, &mut planes);
            join(&planes, sample_bytes, &mut out);
            prop_assert_eq!(frames, bytes.len() / frame_bytes(form));
            prop_assert_eq!(&out[..], &bytes[..frames * frame_bytes(form)]);
            let (low, high) = range(sample_bytes);
            prop_assert!(planes.iter().flatten().all(|s| (low..=high).contains(s)));
        }
    }
}
