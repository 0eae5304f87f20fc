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

/// A weight after a step of `delta` towards what would have told more of `left`. Two forms of one thing, each the faster
/// one where it is used: what waits for what differs.
#[inline(always)]
fn step<const AWAY: bool>(weight: i32, delta: i32, sample: i32, left: i32) -> i32 {
    let sign = (sample ^ left) >> 31;
    if AWAY {
        let delta = if sample == 0 || left == 0 { 0 } else { delta };
        weight + ((delta ^ sign) - sign) // see the invariants
    } else {
        let delta = if sample == 0 { 0 } else { delta };
        let next = weight + delta - ((2 * delta) & sign);
        if left == 0 { weight } else { next }
    }
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
    if HALF { new.wrapping_add(new.wrapping_sub(old) >> 1) } else { new.wrapping_mul(2).wrapping_sub(old) }
}

/// Undoes all passes, the last one first.
pub(super) fn restore<const C: usize>(passes: &mut [Pass], frames: &mut [[i32; C]]) {
    for frames in frames.chunks_mut(GO) {
        for two in passes.rchunks_mut(2) {
            match two {
                [before, pass] if pass.goes_with(before) => pass.both::<C, false>(before, frames),
                _ => two.iter_mut().rev().for_each(|pass| pass.run::<C, false>(frames)),
            }
        }
    }
}

/// Runs all passes.
pub(super) fn residual<const C: usize>(passes: &mut [Pass], frames: &mut [[i32; C]]) {
    for frames in frames.chunks_mut(GO) {
        for two in passes.chunks_mut(2) {
            match two {
                [pass, next] if pass.goes_with(next) => pass.both::<C, true>(next, frames),
                _ => two.iter_mut().for_each(|pass| pass.run::<C, true>(frames)),
            }
        }
    }
}

/// A pass at work, on channels apart.
trait Work<const C: usize> {
    fn begin(pass: &Pass) -> Self;
    fn end(&self, pass: &mut Pass);
    fn each<const AWAY: bool>(&mut self, frame: &mut [i32; C]);
}

struct Near<const C: usize, const HALF: bool> {
    weights: [i32; C],
    new: [i32; C],
    old: [i32; C],
    delta: i32,
}

struct Far<const C: usize> {
    weights: [i32; C],
    ring: [[i32; C]; HISTORY],
    at: usize,
    term: usize,
    delta: i32,
}

fn first<const C: usize>(both: &[i32; 2]) -> [i32; C] {
    both.first_chunk().copied().unwrap_or([0; C]) // C is 1 or 2
}

fn put_first<const C: usize>(both: &mut [i32; 2], these: [i32; C]) {
    if let Some(to) = both.first_chunk_mut() {
        *to = these;
    }
}

impl<const C: usize, const HALF: bool> Work<C> for Near<C, HALF> {
    fn begin(pass: &Pass) -> Self {
        let [new, old, ..] = &pass.history;
        Near { weights: first(&pass.weights), new: first(new), old: first(old), delta: pass.delta.into() }
    }

    fn end(&self, pass: &mut Pass) {
        let [new, old, ..] = &mut pass.history;
        put_first(&mut pass.weights, self.weights);
        put_first(new, self.new);
        put_first(old, self.old);
    }

    #[inline(always)]
    fn each<const AWAY: bool>(&mut self, frame: &mut [i32; C]) {
        // Of C channels each.
        for (c, number) in frame.iter_mut().enumerate() {
            let sample = line::<HALF>(self.new[c], self.old[c]);
            let (there, part) = (*number, part(self.weights[c], sample));
            self.old[c] = self.new[c];
            let left = if AWAY { there.wrapping_sub(part) } else { there };
            let whole = if AWAY { there } else { there.wrapping_add(part) };
            self.new[c] = whole;
            *number = if AWAY { left } else { whole };
            self.weights[c] = step::<AWAY>(self.weights[c], self.delta, sample, left);
        }
    }
}

impl<const C: usize> Work<C> for Far<C> {
    fn begin(pass: &Pass) -> Self {
        let ring = pass.history.each_ref().map(first);
        let term = pass.term.unsigned_abs().into();
        Far { weights: first(&pass.weights), ring, at: 0, term, delta: pass.delta.into() }
    }

    fn end(&self, pass: &mut Pass) {
        put_first(&mut pass.weights, self.weights);
        for (k, frame) in pass.history.iter_mut().enumerate() {
            put_first(frame, self.ring[(self.at + k) % HISTORY]);
        }
    }

    #[inline(always)]
    fn each<const AWAY: bool>(&mut self, frame: &mut [i32; C]) {
        let before = self.ring[self.at % HISTORY];
        // Of C channels each.
        for (c, number) in frame.iter_mut().enumerate() {
            let (there, part) = (*number, part(self.weights[c], before[c]));
            let left = if AWAY { there.wrapping_sub(part) } else { there };
            let whole = if AWAY { there } else { there.wrapping_add(part) };
            self.ring[(self.at + self.term) % HISTORY][c] = whole;
            *number = if AWAY { left } else { whole };
            self.weights[c] = step::<AWAY>(self.weights[c], self.delta, before[c], left);
        }
        self.at += 1;
    }
}

fn one<A: Work<C>, const C: usize, const AWAY: bool>(pass: &mut Pass, frames: &mut [[i32; C]]) {
    let mut a = A::begin(pass);
    for frame in frames {
        a.each::<AWAY>(frame);
    }
    a.end(pass);
}

/// Runs two passes in one go: what one waits for, the other does not.
fn pair<A: Work<C>, B: Work<C>, const C: usize, const AWAY: bool>(
    first: &mut Pass,
    second: &mut Pass,
    frames: &mut [[i32; C]],
) {
    let (mut a, mut b) = (A::begin(first), B::begin(second));
    for frame in frames {
        a.each::<AWAY>(frame);
        b.each::<AWAY>(frame);
    }
    a.end(first);
    b.end(second);
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

    /// Whether two passes may be run in one go.
    fn goes_with(&self, next: &Pass) -> bool {
        self.term > 0 && next.term > 0
    }

    /// Runs this pass and then another.
    fn both<const C: usize, const AWAY: bool>(&mut self, next: &mut Pass, frames: &mut [[i32; C]]) {
        let run = match (self.term, next.term) {
            (17, 17) => pair::<Near<C, false>, Near<C, false>, C, AWAY>,
            (17, 18) => pair::<Near<C, false>, Near<C, true>, C, AWAY>,
            (18, 17) => pair::<Near<C, true>, Near<C, false>, C, AWAY>,
            (18, 18) => pair::<Near<C, true>, Near<C, true>, C, AWAY>,
            (17, _) => pair::<Near<C, false>, Far<C>, C, AWAY>,
            (18, _) => pair::<Near<C, true>, Far<C>, C, AWAY>,
            (_, 17) => pair::<Far<C>, Near<C, false>, C, AWAY>,
            (_, 18) => pair::<Far<C>, Near<C, true>, C, AWAY>,
            _ => pair::<Far<C>, Far<C>, C, AWAY>,
        };
        run(self, next, frames);
    }

    fn run<const C: usize, const AWAY: bool>(&mut self, frames: &mut [[i32; C]]) {
        match self.term {
            17 => one::<Near<C, false>, C, AWAY>(self, frames),
            18 => one::<Near<C, true>, C, AWAY>(self, frames),
            1.. => one::<Far<C>, C, AWAY>(self, frames),
            -1 => self.one_by_one::<C, AWAY, 0>(frames),
            -2 => self.one_by_one::<C, AWAY, 1>(frames),
            _ => self.crosswise::<C, AWAY>(frames),
        }
    }

    /// A channel from the other's sample before, then that one from this: `A` is the channel that comes first.
    fn one_by_one<const C: usize, const AWAY: bool, const A: usize>(&mut self, frames: &mut [[i32; C]]) {
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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn passes(channels: usize) -> impl Strategy<Value = Vec<Pass>> {
        let term = prop::sample::select(&[17_i8, 18, 1, 2, 3, 4, 5, 6, 7, 8, -1, -2, -3][..7 + 3 * channels]);
        let history = prop::array::uniform8(prop::array::uniform2(any::<i32>()));
        let pass = (term, 0..8_u8, prop::array::uniform2(-1024..=1024_i32), history);
        let pass = pass.prop_map(|(term, delta, weights, history)| Pass { term, delta, weights, history });
        prop::collection::vec(pass, 0..=PASSES_MAX)
    }

    fn there_and_back<const C: usize>(before: &[Pass], frames: &[[i32; C]]) {
        let (mut coded, mut encoder) = (frames.to_vec(), before.to_vec());
        residual(&mut encoder, &mut coded);
        let (mut decoded, mut decoder) = (coded.clone(), before.to_vec());
        restore(&mut decoder, &mut decoded);
        assert!(decoded == frames);
        // Of history, only what metadata holds counts.
        let all = |passes: &mut [Pass]| -> Vec<(i32, i32, Vec<i32>)> {
            let history = |pass: &mut Pass| (0..).map_while(|i| pass.history(i, C).copied()).collect();
            passes.iter_mut().map(|p| (p.weights[0], if C == 2 { p.weights[1] } else { 0 }, history(p))).collect()
        };
        assert_eq!(all(&mut encoder), all(&mut decoder));
        // However they are grouped.
        let (mut slowly, mut each) = (frames.to_vec(), before.to_vec());
        for frame in slowly.chunks_mut(1) {
            for pass in &mut each {
                pass.run::<C, true>(frame);
            }
        }
        assert!(slowly == coded);
        assert_eq!(all(&mut each), all(&mut encoder));
    }

    proptest! {
        #[test]
        fn two_channels_come_back(
            passes in passes(2),
            frames in prop::collection::vec(prop::array::uniform2(prop_oneof![any::<i32>(), -9..9_i32]), 0..60),
        ) {
            there_and_back(&passes, &frames);
        }

        #[test]
        fn one_channel_comes_back(
            passes in passes(1),
            frames in prop::collection::vec(prop_oneof![any::<i32>(), -9..9_i32], 0..60),
        ) {
            let frames: Vec<[i32; 1]> = frames.into_iter().map(|number| [number]).collect();
            there_and_back(&passes, &frames);
        }
    }

    #[test]
    fn a_pass_does_what_the_reference_does() {
        // Computed by hand: 1024/1024 of the frame before is told; then the step.
        let mut pass = Pass { term: 1, delta: 2, weights: [1024, 1024], ..Pass::default() };
        let mut frames = [[100, -7], [90, -7], [90, 0]];
        residual(std::slice::from_mut(&mut pass), &mut frames);
        assert_eq!(frames, [[100, -7], [-10, 0], [0, 7]]);
        assert_eq!((pass.weights, pass.history[0]), ([1022, 1022], [90, 0]));
        // Its bound holds between channels only.
        let mut pass = Pass { term: -3, delta: 7, weights: [1020, -1020], history: [[5, 5]; HISTORY] };
        let mut frames = [[50, -50]];
        residual(std::slice::from_mut(&mut pass), &mut frames);
        assert_eq!((frames[0], pass.weights, pass.history[0]), ([45, -45], [1024, -1024], [-50, 50]));
    }
}
