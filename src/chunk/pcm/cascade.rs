//! The adaptive method's filter: four normalised LMS stages that predict what linear prediction leaves, from samples
//! alone, so that nothing is written of their weights.
//!
//! Each stage predicts what the one before it left. The first sees both channels of a pair (of the second channel's
//! partner the sample of the same frame too), the others their own channel. For each sample, with all weights zero at
//! the chunk's start and zeros before its first sample:
//!
//! ```text
//!  p1 = sum(clamp16(w1 >> 6) * x1) >> 14        16 taps of the channel, 16 of its partner
//!  p2 = sum(clamp16(w2 >> 6) * x2) >> 14        1024 taps
//!  p3 = ...                                     256 taps
//!  p4 = ...                                     16 taps
//!  r  = e - unscaled(p1 + p2 + p3 + p4)         e: the linear residual, r: what is coded
//!  x1 = clamp(e * 2^scale), x2 = clamp(x1 - p1), x3 = clamp(x2 - p2), x4 = clamp(x3 - p3), x5 = clamp(x4 - p4)
//!  g1 = clamp(x2 * rate1 / (energy1 + 2^16)), g2 = clamp(x3 * rate2 / (energy2 + 2^16)) ...
//!  w += (x * g + 2^14) >> 15                    of each tap, over the taps' x of that prediction, before the next one
//! ```
//!
//! The rates are [`RATES`] / 2^pace, rounded down. The energy is the sum of the squares of the stage's taps in that prediction; divisions round towards zero; `clamp` is to
//! +-32767. `x5` exists for `g4` alone. What the last channel of an odd number leaves has no partner: 16 taps.
//!
//! # Invariants
//!
//! 1. Encoder and decoder run the same integer arithmetic on the same values; sums wrap at 32 bits, in any order.
//! 2. Work is in proportion to the samples.

#[cfg(target_arch = "x86_64")]
mod wide;

/// Zeros before the first sample of a stage's input.
const PAD: usize = 1040;
/// Taps of a channel, and of its partner, in the first stage.
const OWN: usize = 16;
const OTHER: usize = 16;
const STAGES: usize = 4;
/// Taps of the further stages.
const TAPS: [usize; STAGES - 1] = [1024, 256, 16];
/// Steps of adaptation, in 2^-35.
const RATES: [i64; STAGES] = [13 << 27, 16 << 27, 16 << 27, 2 << 27];
/// Added to the energy.
const ENERGY_MIN: i64 = 1 << 16;
/// The largest input of a stage.
const LARGEST: i32 = (1 << 15) - 1;
const GAIN_MAX: i64 = (1 << 15) - 1;
/// log2 of the mean absolute value that inputs are scaled to.
const SCALE: i32 = 9;
pub(super) const SCALE_RANGE: std::ops::RangeInclusive<i32> = -22..=9;

/// Weights of a stage of one channel, the input of which lies in one or two planes.
#[derive(Clone, Default)]
struct Stage {
    weights: Vec<i32>,
    gain: i16,
    energy: i64,
}

/// The filter of one channel.
#[derive(Clone, Default)]
struct Channel {
    scale: i32,
    stages: [Stage; STAGES],
    /// Inputs of the stages, each behind [`PAD`] zeros.
    inputs: [Vec<i16>; STAGES],
    predictions: [i32; STAGES],
}

/// The filter of a pair of channels, or of a single one.
#[derive(Clone, Default)]
pub(super) struct Cascade {
    channels: [Channel; 2],
    pair: bool,
    rates: [i64; STAGES],
    /// Frames seen.
    at: usize,
}

/// The scale that a channel's linear residuals want.
pub(super) fn scale_of(residuals: &[i32]) -> i32 {
    let sum: u64 = residuals.iter().map(|r| u64::from(r.unsigned_abs())).sum();
    let mean = sum / residuals.len().max(1) as u64 + 1;
    SCALE - mean.ilog2() as i32 // mean < 2^32
}

#[inline(always)]
fn scaled(e: i32, scale: i32) -> i32 {
    let x = if scale >= 0 { i64::from(e) << scale } else { i64::from(e >> -scale) };
    x.clamp(i64::from(-LARGEST), i64::from(LARGEST)) as i32
}

#[inline(always)]
fn unscaled(p: i32, scale: i32) -> i32 {
    match scale {
        0 => p,
        1.. => p.wrapping_add(1 << (scale - 1)) >> scale,
        _ => p.wrapping_shl(scale.unsigned_abs()),
    }
}

/// The inner loop of a stage, in two equal versions.
trait Kernel {
    /// Adds `(old * gain + 2^14) >> 15` to each weight and returns the wrapping sum of `new * clamp16(weight >> 6)`.
    fn adapt(weights: &mut [i32], old: &[i16], new: &[i16], gain: i16) -> i32;
}

struct Portable;

impl Kernel for Portable {
    #[inline(always)]
    fn adapt(weights: &mut [i32], old: &[i16], new: &[i16], gain: i16) -> i32 {
        let mut sum = 0i32;
        for ((w, &old), &new) in weights.iter_mut().zip(old).zip(new) {
            *w = w.wrapping_add((i32::from(old) * i32::from(gain) + (1 << 14)) >> 15);
            let short = (*w >> 6).clamp(i32::from(i16::MIN), i32::from(i16::MAX));
            sum = sum.wrapping_add(short * i32::from(new));
        }
        sum
    }
}

/// For processors with AVX2 only.
#[cfg(target_arch = "x86_64")]
struct Wide;

#[cfg(target_arch = "x86_64")]
impl Kernel for Wide {
    #[inline(always)]
    fn adapt(weights: &mut [i32], old: &[i16], new: &[i16], gain: i16) -> i32 {
        // SAFETY: only `run_wide` names this kernel, and `run_best` calls it where the processor has AVX2.
        unsafe { wide::adapt(weights, old, new, gain) }
    }
}

#[inline(always)]
fn square(x: i16) -> i64 {
    i64::from(x) * i64::from(x)
}

impl Cascade {
    pub(super) fn new(frames: usize, scales: &[i32], pace: u32) -> Cascade {
        let rates = RATES.map(|rate| rate >> (pace & 15));
        let mut out = Cascade { rates, pair: scales.len() > 1, ..Cascade::default() };
        for (channel, &scale) in out.channels.iter_mut().zip(scales) {
            channel.scale = scale;
            channel.stages[0].weights = vec![0; OWN + if scales.len() > 1 { OTHER } else { 0 }];
            for (stage, taps) in channel.stages[1..].iter_mut().zip(TAPS) {
                stage.weights = vec![0; taps];
            }
            channel.inputs = std::array::from_fn(|_| vec![0; PAD + frames]);
        }
        out
    }

    /// The prediction of channel `c` in the frame `at`.
    #[inline(always)]
    fn predict<K: Kernel>(&mut self, c: usize) -> i32 {
        let t = PAD + self.at;
        let [first, second] = &mut self.channels;
        let (own, other) = if c == 0 { (first, second) } else { (second, first) };
        let Channel { scale, stages, inputs, predictions } = own;
        // First stage: the partner of the second channel is one frame ahead.
        let late = t + c;
        let x = &inputs[0][..t];
        let stage = &mut stages[0];
        let (mine, theirs) = stage.weights.split_at_mut(OWN);
        let mut energy = square(x[t - 1]) - square(x[t - 1 - OWN]);
        let mut sum = K::adapt(mine, &x[t - 1 - OWN..t - 1], &x[t - OWN..t], stage.gain);
        if self.pair {
            let y = &other.inputs[0][..late];
            energy += square(y[late - 1]) - square(y[late - 1 - OTHER]);
            sum =
                sum.wrapping_add(K::adapt(theirs, &y[late - 1 - OTHER..late - 1], &y[late - OTHER..late], stage.gain));
        }
        stage.energy += energy;
        predictions[0] = sum >> 14;
        for (n, taps) in [(1, TAPS[0]), (2, TAPS[1]), (3, TAPS[2])] {
            let x = &inputs[n][..t];
            let stage = &mut stages[n];
            stage.energy += square(x[t - 1]) - square(x[t - 1 - taps]);
            predictions[n] = K::adapt(&mut stage.weights, &x[t - 1 - taps..t - 1], &x[t - taps..t], stage.gain) >> 14;
        }
        unscaled(predictions.iter().fold(0i32, |sum, &p| sum.wrapping_add(p)), *scale)
    }

    /// Takes the linear residual of channel `c` in.
    #[inline(always)]
    fn learn(&mut self, c: usize, e: i32) {
        let t = PAD + self.at;
        let rates = self.rates;
        let channel = &mut self.channels[c];
        let mut x = scaled(e, channel.scale);
        #[expect(clippy::needless_range_loop, reason = "stages are numbered alike in several lists")]
        for n in 0..STAGES {
            channel.inputs[n][t] = x as i16; // at most LARGEST
            // What follows is bounded, whatever was predicted.
            x = x.wrapping_sub(channel.predictions[n]).clamp(-LARGEST, LARGEST);
            let stage = &mut channel.stages[n];
            let gain = i64::from(x) * rates[n] / (stage.energy + ENERGY_MIN);
            stage.gain = gain.clamp(-GAIN_MAX, GAIN_MAX) as i16;
        }
    }

    /// Turns linear residuals into what is coded (`ENCODE`), or back; in place. Later calls go on from there.
    #[inline(always)]
    fn run<K: Kernel, const ENCODE: bool>(&mut self, a: &mut [i32], b: &mut [i32]) {
        for i in 0..a.len() {
            for (c, plane) in [&mut *a, &mut *b].into_iter().enumerate() {
                let Some(v) = plane.get_mut(i) else { continue };
                let p = self.predict::<K>(c);
                let e = if ENCODE { *v } else { v.wrapping_add(p) };
                *v = if ENCODE { e.wrapping_sub(p) } else { e };
                self.learn(c, e);
            }
            self.at += 1;
        }
    }

    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx2,bmi1,bmi2,lzcnt")]
    fn run_wide<const ENCODE: bool>(&mut self, a: &mut [i32], b: &mut [i32]) {
        self.run::<Wide, ENCODE>(a, b);
    }

    fn run_best<const ENCODE: bool>(&mut self, a: &mut [i32], b: &mut [i32]) {
        #[cfg(target_arch = "x86_64")]
        if crate::chunk::wide::is_wide() {
            // SAFETY: the processor has them.
            return unsafe { self.run_wide::<ENCODE>(a, b) };
        }
        self.run::<Portable, ENCODE>(a, b);
    }

    /// Replaces linear residuals, of one channel if `b` is empty, by what is coded of them.
    pub(super) fn forward(&mut self, a: &mut [i32], b: &mut [i32]) {
        self.run_best::<true>(a, b);
    }

    #[cfg(all(test, target_arch = "x86_64"))]
    pub(super) fn forward_portable(&mut self, a: &mut [i32], b: &mut [i32]) {
        self.run::<Portable, true>(a, b);
    }

    /// Undoes [`Cascade::forward`].
    pub(super) fn inverse(&mut self, a: &mut [i32], b: &mut [i32]) {
        self.run_best::<false>(a, b);
    }
}
