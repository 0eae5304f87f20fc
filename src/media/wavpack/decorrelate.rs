//! Decorrelation: up to 16 passes, each of which leaves of a sample what a multiple of earlier ones does not tell.
//!
//! A pass predicts `weight * sample / 1024`, where `sample` is named by its *term*: 1 to 8 that many frames before, 17
//! and 18 a line through the last two, below 0 the other channel's. The weight then goes a step (`delta`) towards what
//! would have been better. Encoder and decoder hold the same state, so each way is the exact inverse of the other
//! (WavPack 5, `pack.c` and `unpack.c`).
//!
//! # Invariants
//!
//! 1. Integers alone, modulo 2^32: whatever the numbers are, [`Pass::residual`] undoes [`Pass::restore`] from the same
//!    state and leaves the same state behind.
//! 2. Weights do not overflow: a step is at most 7, and a segment has fewer than 2^28 frames.

/// The most passes of a block.
pub(super) const PASSES_MAX: usize = 16;

/// Frames that a pass looks back at most.
pub(super) const HISTORY: usize = 8;

/// Frames that go through all passes before the next ones.
const GO: usize = 2048;

/// A pass and its state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Pass {
    /// -3 to -1, 1 to 8, 17, 18.
    pub term: i8,
    /// 0 to 7.
    pub delta: u8,
    /// Of each channel.
    pub weights: [i32; 2],
    /// Terms of 1 to 8: the last so many frames, oldest first. 17 and 18: the last two, newest first. Below 0: the left
    /// channel is predicted from the first sample, the right one from the second.
    pub history: [[i32; 2]; HISTORY],
}

/// What a weight makes of a sample.
#[inline(always)]
fn part(weight: i32, sample: i32) -> i32 {
    // Below 2^55; its low 32 bits, by intent.
    ((i64::from(weight) * i64::from(sample) + 512) >> 10) as i32
}

/// A weight after a step of `delta` towards what would have told more of `left`.
#[inline(always)]
fn step(weight: i32, delta: i32, sample: i32, left: i32) -> i32 {
    let sign = (sample ^ left) >> 31;
    let delta = if sample == 0 || left == 0 { 0 } else { delta };
    weight + ((delta ^ sign) - sign) // see the invariants
}

/// As [`step`], within the bounds that passes from channel to channel have.
#[inline(always)]
fn step_within(weight: i32, delta: i32, sample: i32, left: i32) -> i32 {
    let sign = (sample ^ left) >> 31;
    if sample == 0 || left == 0 {
        return weight;
    }
    let weight = ((weight ^ sign) + (delta - sign)).min(1024);
    (weight ^ sign) - sign
}

/// A line through the last two samples, or between that and the last one.
#[inline(always)]
fn line<const HALF: bool>(new: i32, old: i32) -> i32 {
    if HALF {
        new.wrapping_add(new.wrapping_sub(old) >> 1)
    } else {
        new.wrapping_mul(2).wrapping_sub(old)
    }
}

/// Undoes all passes, the last one first.
pub(super) fn restore<const C: usize>(passes: &mut [Pass], frames: &mut [[i32; C]]) {
    for frames in frames.chunks_mut(GO) {
        for pass in passes.iter_mut().rev() {
            pass.run::<C, false>(frames);
        }
    }
}

/// Runs all passes.
pub(super) fn residual<const C: usize>(passes: &mut [Pass], frames: &mut [[i32; C]]) {
    for frames in frames.chunks_mut(GO) {
        for pass in passes.iter_mut() {
            pass.run::<C, true>(frames);
        }
    }
}

impl Pass {
    /// Whether there is such a term, for so many channels.
    pub fn is_term(term: i8, channels: usize) -> bool {
        matches!(term, 1..=8 | 17 | 18) || (channels == 2 && matches!(term, -3..=-1))
    }

    /// The `i`th number of history, as metadata holds them for so many channels; `None` behind the last.
    pub fn history(&mut self, i: usize, channels: usize) -> Option<&mut i32> {
        let (frame, channel) = match self.term {
            17 | 18 => (i % 2, i / 2),
            1..=8 => (i / channels, i % channels), // 1 or 2
            _ => (0, i),
        };
        let frames = if matches!(self.term, 1..=8) { self.term as usize } else { 2 }; // positive
        if frame >= frames || channel >= channels {
            return None;
        }
        self.history.get_mut(frame)?.get_mut(channel)
    }

    fn run<const C: usize, const AWAY: bool>(&mut self, frames: &mut [[i32; C]]) {
        match self.term {
            17 => self.near::<C, AWAY, false>(frames),
            18 => self.near::<C, AWAY, true>(frames),
            1 => self.far::<C, AWAY, 1>(frames),
            2 => self.far::<C, AWAY, 2>(frames),
            3 => self.far::<C, AWAY, 3>(frames),
            4 => self.far::<C, AWAY, 4>(frames),
            5 => self.far::<C, AWAY, 5>(frames),
            6 => self.far::<C, AWAY, 6>(frames),
            7 => self.far::<C, AWAY, 7>(frames),
            8 => self.far::<C, AWAY, 8>(frames),
            -1 => self.right_by_left::<C, AWAY, 0>(frames),
            -2 => self.right_by_left::<C, AWAY, 1>(frames),
            _ => self.crosswise::<C, AWAY>(frames),
        }
    }

    fn near<const C: usize, const AWAY: bool, const HALF: bool>(&mut self, frames: &mut [[i32; C]]) {
        let delta = i32::from(self.delta);
        // C is 1 or 2.
        let (mut weights, mut new, mut old) = ([0; C], [0; C], [0; C]);
        for c in 0..C {
            (weights[c], new[c], old[c]) = (self.weights[c], self.history[0][c], self.history[1][c]);
        }
        for frame in frames.iter_mut() {
            for c in 0..C {
                let sample = line::<HALF>(new[c], old[c]);
                let part = part(weights[c], sample);
                old[c] = new[c];
                let left = if AWAY {
                    new[c] = frame[c];
                    frame[c] = frame[c].wrapping_sub(part);
                    frame[c]
                } else {
                    let left = frame[c];
                    new[c] = left.wrapping_add(part);
                    frame[c] = new[c];
                    left
                };
                weights[c] = step(weights[c], delta, sample, left);
            }
        }
        for c in 0..C {
            (self.weights[c], self.history[0][c], self.history[1][c]) = (weights[c], new[c], old[c]);
        }
    }

    fn far<const C: usize, const AWAY: bool, const K: usize>(&mut self, frames: &mut [[i32; C]]) {
        let delta = i32::from(self.delta);
        let (mut weights, mut ring) = ([0; C], [[0; C]; K]);
        for c in 0..C {
            weights[c] = self.weights[c];
            for k in 0..K {
                ring[k][c] = self.history[k][c]; // K is at most 8
            }
        }
        let mut each = |frame: &mut [i32; C], before: &mut [i32; C]| {
            for c in 0..C {
                let (sample, there) = (before[c], frame[c]);
                let part = part(weights[c], sample);
                let left = if AWAY {
                    before[c] = there;
                    frame[c] = there.wrapping_sub(part);
                    frame[c]
                } else {
                    before[c] = there.wrapping_add(part);
                    frame[c] = before[c];
                    there
                };
                weights[c] = step(weights[c], delta, sample, left);
            }
        };
        let (rows, rest) = frames.as_chunks_mut::<K>();
        for row in rows {
            for (frame, before) in row.iter_mut().zip(&mut ring) {
                each(frame, before);
            }
        }
        for (frame, before) in rest.iter_mut().zip(&mut ring) {
            each(frame, before);
        }
        ring.rotate_left(rest.len()); // fewer than K
        for c in 0..C {
            self.weights[c] = weights[c];
            for k in 0..K {
                self.history[k][c] = ring[k][c];
            }
        }
    }

    /// A channel from the other's sample before, then that one from this: `A` is the channel that comes first.
    fn right_by_left<const C: usize, const AWAY: bool, const A: usize>(&mut self, frames: &mut [[i32; C]]) {
        let delta = i32::from(self.delta);
        let b = 1 - A;
        let ([mut weight_a, mut weight_b], mut before) = ([self.weights[A], self.weights[b]], self.history[0][A]);
        for frame in frames.iter_mut() {
            let Some([x, y]) = frame.first_chunk_mut::<2>() else { return };
            let (x, y) = if A == 0 { (x, y) } else { (y, x) };
            let (there, part_a) = (*x, part(weight_a, before));
            let first = if AWAY { there } else { there.wrapping_add(part_a) };
            let left = if AWAY { there.wrapping_sub(part_a) } else { there };
            *x = if AWAY { left } else { first };
            weight_a = step_within(weight_a, delta, before, left);
            let (there, part_b) = (*y, part(weight_b, first));
            before = if AWAY { there } else { there.wrapping_add(part_b) };
            let left = if AWAY { there.wrapping_sub(part_b) } else { there };
            *y = if AWAY { left } else { before };
            weight_b = step_within(weight_b, delta, first, left);
        }
        (self.weights[A], self.weights[b], self.history[0][A]) = (weight_a, weight_b, before);
    }

    /// Each channel from the other's sample before.
    fn crosswise<const C: usize, const AWAY: bool>(&mut self, frames: &mut [[i32; C]]) {
        let delta = i32::from(self.delta);
        let ([mut weight_a, mut weight_b], [mut a, mut b]) = (self.weights, self.history[0]);
        for frame in frames.iter_mut() {
            let Some([x, y]) = frame.first_chunk_mut::<2>() else { return };
            let (part_a, part_b) = (part(weight_a, a), part(weight_b, b));
            let (left_x, left_y, left, right);
            if AWAY {
                (left, right) = (*x, *y);
                (left_x, left_y) = (left.wrapping_sub(part_a), right.wrapping_sub(part_b));
                (*x, *y) = (left_x, left_y);
            } else {
                (left_x, left_y) = (*x, *y);
                (left, right) = (left_x.wrapping_add(part_a), left_y.wrapping_add(part_b));
                (*x, *y) = (left, right);
            }
            weight_a = step_within(weight_a, delta, a, left_x);
            weight_b = step_within(weight_b, delta, b, left_y);
            (a, b) = (right, left);
        }
        (self.weights, self.history[0]) = ([weight_a, weight_b], [a, b]);
    }
}
