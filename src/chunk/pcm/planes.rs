//! Interleaved bytes to planes of samples and back, and the two channels of a pair to what is coded of them.
//!
//! # Invariants
//!
//! 1. All arithmetic wraps at 32 bits, so every stereo mode can be undone for any samples.
//! 2. A plane begins with [`HISTORY`] zeros: what stands before the first frame.

use super::lpc::HISTORY;

/// What is coded of a pair of channels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stereo {
    LeftRight,
    LeftSide,
    RightSide,
    MidSide,
}

impl Stereo {
    pub(super) const ALL: [Stereo; 4] = [Stereo::LeftRight, Stereo::LeftSide, Stereo::RightSide, Stereo::MidSide];

    /// `side = left - right`, `mid = right + (side >> 1)`.
    #[inline(always)]
    fn forward(self, l: i32, r: i32) -> (i32, i32) {
        let side = l.wrapping_sub(r);
        match self {
            Stereo::LeftRight => (l, r),
            Stereo::LeftSide => (l, side),
            Stereo::RightSide => (r, side),
            Stereo::MidSide => (r.wrapping_add(side >> 1), side),
        }
    }

    #[inline(always)]
    fn inverse(self, a: i32, b: i32) -> (i32, i32) {
        match self {
            Stereo::LeftRight => (a, b),
            Stereo::LeftSide => (a, a.wrapping_sub(b)),
            Stereo::RightSide => (a.wrapping_add(b), a),
            Stereo::MidSide => {
                let r = a.wrapping_sub(b >> 1);
                (r.wrapping_add(b), r)
            }
        }
    }

    /// Writes what is coded of `left` and `right`, without their `wasted` low bits, into `a` and `b`, which are as long.
    pub(super) fn split(self, wasted: u32, left: &[i32], right: &[i32], a: &mut [i32], b: &mut [i32]) {
        #[inline(always)]
        fn run(mode: Stereo, wasted: u32, left: &[i32], right: &[i32], a: &mut [i32], b: &mut [i32]) {
            for (((a, b), &l), &r) in a.iter_mut().zip(b).zip(left).zip(right) {
                (*a, *b) = mode.forward(l >> (wasted & 31), r >> (wasted & 31));
            }
        }
        match self {
            Stereo::LeftRight => run(Stereo::LeftRight, wasted, left, right, a, b),
            Stereo::LeftSide => run(Stereo::LeftSide, wasted, left, right, a, b),
            Stereo::RightSide => run(Stereo::RightSide, wasted, left, right, a, b),
            Stereo::MidSide => run(Stereo::MidSide, wasted, left, right, a, b),
        }
    }

    /// Undoes [`Stereo::split`].
    pub(super) fn join(self, wasted: u32, a: &[i32], b: &[i32], left: &mut [i32], right: &mut [i32]) {
        #[inline(always)]
        fn run(mode: Stereo, wasted: u32, a: &[i32], b: &[i32], left: &mut [i32], right: &mut [i32]) {
            for (((l, r), &a), &b) in left.iter_mut().zip(right).zip(a).zip(b) {
                let (x, y) = mode.inverse(a, b);
                (*l, *r) = (x << (wasted & 31), y << (wasted & 31));
            }
        }
        match self {
            Stereo::LeftRight => run(Stereo::LeftRight, wasted, a, b, left, right),
            Stereo::LeftSide => run(Stereo::LeftSide, wasted, a, b, left, right),
            Stereo::RightSide => run(Stereo::RightSide, wasted, a, b, left, right),
            Stereo::MidSide => run(Stereo::MidSide, wasted, a, b, left, right),
        }
    }
}

/// Sets `planes` to the samples of whole frames in `bytes`, each plane behind [`HISTORY`] zeros.
pub(super) fn split_frames(bytes: &[u8], sample_bytes: usize, channels: usize, planes: &mut Vec<Vec<i32>>) {
    planes.resize_with(channels, Vec::new);
    let frames = bytes.len() / (sample_bytes * channels).max(1);
    for plane in planes.iter_mut() {
        plane.resize(HISTORY + frames, 0);
        plane[..HISTORY].fill(0);
    }
    match (sample_bytes, &mut planes[..]) {
        (2, [left, right]) => {
            let samples = left[HISTORY..].iter_mut().zip(&mut right[HISTORY..]);
            for ((l, r), f) in samples.zip(bytes.chunks_exact(4)) {
                *l = i32::from(i16::from_le_bytes([f[0], f[1]]));
                *r = i32::from(i16::from_le_bytes([f[2], f[3]]));
            }
        }
        (3, [left, right]) => {
            let samples = left[HISTORY..].iter_mut().zip(&mut right[HISTORY..]);
            for ((l, r), f) in samples.zip(bytes.chunks_exact(6)) {
                *l = i32::from_le_bytes([0, f[0], f[1], f[2]]) >> 8;
                *r = i32::from_le_bytes([0, f[3], f[4], f[5]]) >> 8;
            }
        }
        (_, planes) => {
            for (c, plane) in planes.iter_mut().enumerate() {
                let frames = bytes.chunks_exact(sample_bytes * channels);
                for (v, frame) in plane[HISTORY..].iter_mut().zip(frames) {
                    let mut word = [0u8; 4];
                    word[4 - sample_bytes..].copy_from_slice(&frame[c * sample_bytes..(c + 1) * sample_bytes]);
                    *v = i32::from_le_bytes(word) >> (32 - 8 * sample_bytes);
                }
            }
        }
    }
}

/// Writes the planes' samples, without the zeros before them, into `out`, whose length is that of whole frames.
pub(super) fn join_frames(planes: &[Vec<i32>], sample_bytes: usize, out: &mut [u8]) {
    match (sample_bytes, planes) {
        (2, [left, right]) => {
            let samples = left[HISTORY..].iter().zip(&right[HISTORY..]);
            for ((l, r), f) in samples.zip(out.chunks_exact_mut(4)) {
                let word = (*l as u32 & 0xffff) | (*r as u32) << 16;
                f.copy_from_slice(&word.to_le_bytes());
            }
        }
        (_, planes) => {
            for (c, plane) in planes.iter().enumerate() {
                let frames = out.chunks_exact_mut(sample_bytes * planes.len());
                for (v, frame) in plane[HISTORY..].iter().zip(frames) {
                    frame[c * sample_bytes..(c + 1) * sample_bytes].copy_from_slice(&v.to_le_bytes()[..sample_bytes]);
                }
            }
        }
    }
}
