//! The codec of sound samples: prediction and entropy coding of interleaved PCM, one chunk at a time.
//!
//! A payload holds all that is needed to decode it but its plain length, which the record's header names. Bytes before the
//! first and after the last whole frame are stored as they are. Any bytes are coded right; what is not sound is merely not coded smaller.
//!
//! ```text
//!  offset  size  field
//!       0     1  method    1: linear (linear.rs), 2: adaptive (cascade.rs)
//!       1     1  form      bits 0-1 bytes of a sample - 1, bits 2-6 channels - 1, bit 7 zero
//!       2     1  sections  bits 0-4 log2 of a section's frames (8..=20), bits 5-6 shape of the distributions, bit 7 zero
//!       3     1  means     the running ones: bits 0-3 their rate, 1..=15, bits 4-7 bits behind their point, 0..=12
//!       4     1  lead      bytes before the first frame, fewer than a frame has
//!            0|c scale     adaptive only, per channel: signed, -22..=9
//!           0|1 pace      adaptive only: of the filter's adaptation, 0..=15
//!             4  bytes     of the plans, little-endian
//!            ..  plans     (bits.rs): per section and channel a bit, whether all its residuals are 0, so that none is stored;
//!                          then per section and pair of channels what linear.rs tells
//!            ..  vectors   of residuals (entropy.rs), channel by channel
//!          l, t  plainly   the bytes of the lead, and those behind the last whole frame
//! ```
//!
//! # Invariants
//!
//! 1. `decode(encode(plain)) == plain` for all bytes; the decoder is integer arithmetic alone.
//! 2. A decoder does work in proportion to the plain length and the payload, whatever the payload says; after an error
//!    its output is as it was.
//! 3. Words and bits are read to their very end, and the states end where the encoder began: most damage is noticed here, and
//!    all of it by the chunk's name.

mod bits;
mod cascade;
mod entropy;
mod guess;
mod linear;
mod lpc;
mod planes;
#[cfg(test)]
mod tests;

use super::form::Pcm;
use super::proofs::Proofs;
use crate::format::record::Codec;
use bits::{BitReader, BitWriter};
use cascade::Cascade;
use entropy::Pace;
pub use guess::{Guess, guess};
use linear::{Plan, Search, Section};
use lpc::HISTORY;

/// How much time is spent for space. Every payload is read by one [`Decoder`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effort {
    /// Keeps up with disks.
    Fast,
    /// Not larger than `flac -8`.
    Close,
    /// As small as can be.
    Dense,
}

const METHOD_LINEAR: u8 = 1;
const METHOD_ADAPTIVE: u8 = 2;
/// The longest plain chunk.
const PLAIN_BYTES_MAX: usize = 16 << 20;
const DENSE_SECTION_LOG2: u32 = 16;
/// Paces that are tried: few kinds of sound want a slow filter.
const DENSE_PACES: [u32; 2] = [0, 4];
const SECTION_LOG2: std::ops::RangeInclusive<u32> = 8..=20;

/// Bytes of a payload that tell its form.
pub const FORM_BYTES: usize = 5;

/// What a payload of this codec tells of its samples, by its first bytes: `None` for other codecs, and where the first frame
/// is not whole.
pub fn form_of(codec: Codec, payload: &[u8]) -> Option<Pcm> {
    let &[_, form, _, _, lead] = payload.first_chunk::<FORM_BYTES>().filter(|_| codec == Codec::PCM)?;
    let (sample_bytes, channels) = ((form & 3) + 1, (form >> 2 & 31) + 1);
    (lead == 0).then_some(Pcm { sample_bytes, channels, coded: false })
}

/// Encodes chunks. One a thread: it keeps its working memory.
#[derive(Default)]
pub struct Encoder {
    planes: Vec<Vec<i32>>,
    section: Section,
    residuals: Vec<Vec<i32>>,
    coder: entropy::Coder,
    bits: BitWriter,
}

impl Encoder {
    /// The payload of a chunk, or `None` if it would not save one part in 64.
    pub fn encode(&mut self, plain: &[u8], form: Pcm, effort: Effort) -> Option<Vec<u8>> {
        self.encode_behind(plain, 0, form, effort)
    }

    /// The same of a chunk whose first frame begins behind `lead` bytes, fewer than a frame has.
    pub fn encode_behind(&mut self, plain: &[u8], lead: usize, form: Pcm, effort: Effort) -> Option<Vec<u8>> {
        let out = self.encode_always(plain, lead, form, effort)?;
        (out.len() + out.len() / 64 < plain.len()).then_some(out)
    }

    /// The payload whether it pays or not; `None` if there is no whole frame or the form is none.
    fn encode_always(&mut self, plain: &[u8], lead: usize, form: Pcm, effort: Effort) -> Option<Vec<u8>> {
        let (linear, adaptive) = self.by_method(plain, lead, form, effort)?;
        Some(adaptive.filter(|adaptive| adaptive.len() < linear.len()).unwrap_or(linear))
    }

    /// The payloads of both methods, the adaptive one for [`Effort::Dense`] only.
    fn by_method(
        &mut self,
        plain: &[u8],
        lead: usize,
        form: Pcm,
        effort: Effort,
    ) -> Option<(Vec<u8>, Option<Vec<u8>>)> {
        let (sample_bytes, channels) = (usize::from(form.sample_bytes), usize::from(form.channels));
        if !(1..=4).contains(&sample_bytes) || !(1..=32).contains(&channels) || plain.len() > PLAIN_BYTES_MAX {
            return None;
        }
        let frame_bytes = sample_bytes * channels;
        let (lead, whole) = plain.split_at_checked(lead).filter(|(lead, _)| lead.len() < frame_bytes)?;
        let frames = whole.len() / frame_bytes;
        if frames == 0 {
            return None;
        }
        let (whole, tail) = whole.split_at(frames * frame_bytes);
        planes::split_frames(whole, sample_bytes, channels, &mut self.planes);
        // Order, log2 of a section's frames. High orders need exact coefficients where samples are few bits wide.
        let (order, precision, sections): (usize, u32, &[u32]) = match (effort, sample_bytes) {
            (Effort::Fast, _) => (23, 14, &[12, 13]),
            (_, 1 | 2) => (HISTORY, 14, &[12, 13, 14]),
            _ => (HISTORY, 12, &[11, 12, 14]),
        };
        let search = Search { order, precision };
        let narrow = sample_bytes <= 2;
        let (log2, plans) = self.best_plans(search, narrow, sections);
        self.predict(&plans, narrow, log2);
        let linear = self.linear(sample_bytes, log2, &plans, None, effort != Effort::Fast, [lead, tail]);
        if effort != Effort::Dense {
            return Some((linear, None));
        }
        // The filter follows what changes; long sections disturb it least.
        let log2 = DENSE_SECTION_LOG2;
        let plans = self.plan(Search { order: 16, precision: 13 }, narrow, log2);
        self.predict(&plans, narrow, log2);
        let scales: Vec<i32> = self.residuals.iter().map(|residuals| cascade::scale_of(residuals)).collect();
        let linear_residuals = self.residuals.clone();
        let mut best: Option<(f64, u32, Vec<Vec<i32>>)> = None;
        for pace in DENSE_PACES {
            let mut residuals = linear_residuals.clone();
            for (pair, scales) in residuals.chunks_mut(2).zip(scales.chunks(2)) {
                let (a, b) = pair.split_at_mut(1);
                let b = b.first_mut().map_or(&mut [][..], |b| &mut b[..]);
                Cascade::new(frames, scales, pace).forward(&mut a[0], b);
            }
            let cost: f64 = residuals.iter().map(|residuals| linear::cost(residuals)).sum();
            if best.as_ref().is_none_or(|best| cost < best.0) {
                best = Some((cost, pace, residuals));
            }
        }
        let (_, pace, residuals) = best?;
        self.residuals = residuals;
        let adaptive = self.linear(sample_bytes, log2, &plans, Some((&scales, pace)), true, [lead, tail]);
        Some((linear, Some(adaptive)))
    }

    /// Frames of the chunk.
    fn frames(&self) -> usize {
        self.planes.first().map_or(0, |plane| plane.len() - HISTORY)
    }

    /// What is decided for each section and pair of channels.
    fn plan(&mut self, search: Search, narrow: bool, section_log2: u32) -> Vec<Plan> {
        let mut plans = Vec::new();
        for part in sections(self.frames(), section_log2) {
            for pair in self.planes.chunks(2) {
                let right = pair.get(1).map(|plane| &plane[part.clone()]);
                plans.push(self.section.plan(search, narrow, &pair[0][part.clone()], right));
            }
        }
        plans
    }

    /// Of ascending lengths of sections (log2) the one that takes the fewest bits, and the plans of its sections.
    ///
    /// Samples are looked at in the shortest sections only; what these tell adds up to what longer ones would, about
    /// (P. Welch, *The use of fast Fourier transform for the estimation of power spectra*, 1967). That is 0.06 % larger than to look
    /// at each length, and all of coding is 1.5 times as fast.
    fn best_plans(&mut self, search: Search, narrow: bool, lengths: &[u32]) -> (u32, Vec<Plan>) {
        let Some((&shortest, longer)) = lengths.split_first() else { return (DENSE_SECTION_LOG2, Vec::new()) };
        let pairs = self.planes.len().div_ceil(2);
        let mut surveys = Vec::new();
        for part in sections(self.frames(), shortest) {
            for pair in self.planes.chunks(2) {
                let right = pair.get(1).map(|plane| &plane[part.clone()]);
                surveys.push(self.section.survey(search, narrow, &pair[0][part.clone()], right));
            }
        }
        let each: Vec<_> = surveys.iter().map(|one| self.section.join(search, std::iter::once(one))).collect();
        let (plans, costs): (Vec<_>, Vec<_>) = each.into_iter().flatten().unzip(); // one alone is like itself
        let mut best = (costs.iter().sum::<f64>(), shortest, plans.into_iter().map(Some).collect::<Vec<_>>());
        for &log2 in longer {
            let (mut cost, mut plans) = (0.0, Vec::new());
            let many = pairs << (log2 - shortest).min(20);
            for (surveys, costs) in surveys.chunks(many).zip(costs.chunks(many)) {
                for pair in 0..pairs {
                    let joined = self.section.join(search, surveys.iter().skip(pair).step_by(pairs));
                    // Those that do not add up are taken to cost what they do apart.
                    let apart = || costs.iter().skip(pair).step_by(pairs).sum();
                    cost += joined.as_ref().map_or_else(apart, |(_, cost)| *cost);
                    plans.push(joined.map(|(plan, _)| plan));
                }
            }
            if cost < best.0 {
                best = (cost, log2, plans);
            }
        }
        let (_, log2, mut plans) = best;
        let places =
            sections(self.frames(), log2).flat_map(|part| self.planes.chunks(2).map(move |pair| (part.clone(), pair)));
        for ((part, pair), plan) in places.zip(&mut plans).filter(|(_, plan)| plan.is_none()) {
            let right = pair.get(1).map(|plane| &plane[part.clone()]);
            *plan = Some(self.section.plan(search, narrow, &pair[0][part.clone()], right));
        }
        (log2, plans.into_iter().flatten().collect())
    }

    /// Sets the residuals to what plans leave.
    fn predict(&mut self, plans: &[Plan], narrow: bool, section_log2: u32) {
        let frames = self.frames();
        self.residuals.resize_with(self.planes.len(), Vec::new);
        for residuals in &mut self.residuals {
            residuals.resize(frames, 0);
        }
        let mut plan = plans.iter();
        for part in sections(frames, section_log2) {
            let new = part.start..part.end - HISTORY;
            for (pair, out) in self.planes.chunks(2).zip(self.residuals.chunks_mut(2)) {
                let Some(plan) = plan.next() else { break };
                let right = pair.get(1).map(|plane| &plane[part.clone()]);
                let (a, b) = out.split_at_mut(1);
                let b = b.first_mut().map_or(&mut [][..], |b| &mut b[new.clone()]);
                self.section.predict(plan, narrow, &pair[0][part.clone()], right, &mut a[0][new.clone()], b);
            }
        }
    }

    /// The payload of plans and of the residuals that they left.
    fn linear(
        &mut self,
        sample_bytes: usize,
        section_log2: u32,
        plans: &[Plan],
        filter: Option<(&[i32], u32)>,
        thorough: bool,
        rest: [&[u8]; 2],
    ) -> Vec<u8> {
        let channels = self.planes.len();
        self.bits.clear();
        self.leave_out_silence(section_log2);
        let mut plan = plans.iter();
        for _ in sections(self.frames(), section_log2) {
            for pair in self.planes.chunks(2) {
                let Some(plan) = plan.next() else { break };
                plan.put(pair.len() == 2, &mut self.bits);
            }
        }
        let rate = entropy::best_rate(&self.residuals, thorough);
        let (fraction, shape) = self.coder.survey(&mut self.residuals, rate);
        let method = if filter.is_some() { METHOD_ADAPTIVE } else { METHOD_LINEAR };
        let [lead, tail] = rest;
        let mut out = vec![
            method,
            (sample_bytes - 1) as u8 | ((channels - 1) as u8) << 2,
            section_log2 as u8 | (shape as u8) << 5,
            (rate | fraction << 4) as u8, // of four bits
            lead.len() as u8,             // below 128
        ];
        if let Some((scales, pace)) = filter {
            out.extend(scales.iter().map(|&s| s as i8 as u8)); // within SCALE_RANGE
            out.push(pace as u8);
        }
        out.extend_from_slice(&(self.bits.bytes().len() as u32).to_le_bytes()); // fewer than bytes in a chunk
        out.extend_from_slice(self.bits.bytes());
        self.coder.append(shape, &mut out);
        out.extend_from_slice(lead);
        out.extend_from_slice(tail);
        out
    }

    /// Takes the sections that are all 0 out of the residuals, and writes which.
    fn leave_out_silence(&mut self, section_log2: u32) {
        let frames = self.frames();
        let mut lengths = vec![0; self.residuals.len()];
        for part in sections(frames, section_log2) {
            let part = part.start..part.end - HISTORY;
            for (residuals, length) in self.residuals.iter_mut().zip(&mut lengths) {
                let silent = residuals[part.clone()].iter().all(|&r| r == 0);
                self.bits.put(silent.into(), 1);
                if !silent {
                    if *length < part.start {
                        residuals.copy_within(part.clone(), *length);
                    }
                    *length += part.len();
                }
            }
        }
        for (residuals, length) in self.residuals.iter_mut().zip(lengths) {
            residuals.truncate(length);
        }
    }
}

/// Where sections lie in planes, the history before them included.
fn sections(frames: usize, log2: u32) -> impl Iterator<Item = std::ops::Range<usize>> {
    let step = 1usize << log2;
    (0..frames).step_by(step).map(move |at| at..frames.min(at + step) + HISTORY)
}

/// Decodes chunks. One a thread: it keeps its working memory.
#[derive(Default)]
pub struct Decoder {
    planes: Vec<Vec<i32>>,
    /// Those that should come out, where a payload is proven.
    known: Vec<Vec<i32>>,
    proofs: Proofs,
    section: Section,
    residuals: Vec<Vec<i32>>,
}

impl Decoder {
    /// Appends the plain bytes of a payload to `out`.
    ///
    /// # Errors
    ///
    /// A short reason, if the payload is damaged; `out` is as it was.
    pub fn decode(&mut self, payload: &[u8], plain_bytes: usize, out: &mut Vec<u8>) -> Result<(), &'static str> {
        self.read(payload, plain_bytes, None, out)
    }

    /// Whether a payload decodes to these bytes. What [`Decoder::decode`] does, but that it is asked whether the residuals are those that
    /// the samples leave, where a decoder has to wait for one sample after the other: if they are, it makes each sample from the same ones
    /// before. (Bytes alone would not tell: a sample that does not fit its bytes could be another one.) That tells of the payload, not
    /// of the decoder's loops: these run too, of some payloads, see `Proofs`.
    pub fn proves(&mut self, payload: &[u8], plain: &[u8], scratch: &mut Vec<u8>) -> bool {
        scratch.clear();
        if self.read(payload, plain.len(), Some(plain), scratch).is_err() || scratch != plain {
            return false;
        }
        if self.proofs.is_whole() {
            scratch.clear();
            return self.decode(payload, plain.len(), scratch).is_ok() && scratch == plain;
        }
        true
    }

    fn read(
        &mut self,
        payload: &[u8],
        plain_bytes: usize,
        known: Option<&[u8]>,
        out: &mut Vec<u8>,
    ) -> Result<(), &'static str> {
        const SHORT: &str = "payload shorter than its header";
        const RANGE: &str = "parameters out of range";
        let &[method, form, packed, pace, lead, ref rest @ ..] = payload else {
            return Err(SHORT);
        };
        if plain_bytes > PLAIN_BYTES_MAX {
            return Err("chunk of samples too long");
        }
        if !matches!(method, METHOD_LINEAR | METHOD_ADAPTIVE) {
            return Err("unknown method");
        }
        if form & 0x80 != 0 {
            return Err("unknown form of samples");
        }
        let sample_bytes = usize::from(form & 3) + 1;
        let channels = usize::from(form >> 2) + 1;
        let frame_bytes = sample_bytes * channels;
        let (section_log2, shape) = (u32::from(packed & 31), usize::from(packed >> 5));
        if !SECTION_LOG2.contains(&section_log2) || packed & 0x80 != 0 {
            return Err(RANGE);
        }
        let means = Pace::new(u32::from(pace & 15), u32::from(pace >> 4)).ok_or(RANGE)?;
        let scales = if method == METHOD_ADAPTIVE { channels + 1 } else { 0 };
        let (scales, rest) = rest.split_at_checked(scales).ok_or(SHORT)?;
        let (&pace, scales) = scales.split_last().unwrap_or((&0, &[]));
        let scales: Vec<i32> = scales.iter().map(|&s| i32::from(s as i8)).collect();
        if pace > 15 || scales.iter().any(|s| !cascade::SCALE_RANGE.contains(s)) {
            return Err(RANGE);
        }
        let (bytes, rest) = rest.split_first_chunk::<4>().ok_or(SHORT)?;
        let (plans, rest) =
            rest.split_at_checked(u32::from_le_bytes(*bytes) as usize).ok_or("fewer plans than stated")?;
        let lead = usize::from(lead);
        if lead >= frame_bytes || lead > plain_bytes {
            return Err(RANGE);
        }
        let frames = (plain_bytes - lead) / frame_bytes;
        let Some(vectors) = rest.len().checked_sub(plain_bytes - frames * frame_bytes) else {
            return Err("payload shorter than its plain bytes");
        };
        let (vectors, plainly) = rest.split_at(vectors);
        let (lead, tail) = plainly.split_at(lead); // they are lead and tail

        let mut bits = BitReader::new(plans);
        let mut silent = Vec::new();
        self.residuals.resize_with(channels, Vec::new);
        let mut lengths = vec![0; channels];
        for part in sections(frames, section_log2) {
            for length in &mut lengths {
                let is_silent = bits.take(1) == 1;
                silent.push(is_silent);
                *length += if is_silent { 0 } else { part.len() - HISTORY };
            }
        }
        for (residuals, length) in self.residuals.iter_mut().zip(lengths) {
            residuals.resize(length, 0);
        }
        if !entropy::decode(shape, means, &mut self.residuals, vectors)?.is_empty() {
            return Err("more vectors than channels");
        }

        self.planes.resize_with(channels, Vec::new);
        for plane in &mut self.planes {
            plane.resize(HISTORY + frames, 0); // what stands in the frames is of no account
            plane[..HISTORY].fill(0);
        }
        let known = known.and_then(|plain| plain.get(lead.len()..lead.len() + frames * frame_bytes));
        if let Some(known) = known {
            planes::split_frames(known, sample_bytes, channels, &mut self.known);
        }
        let mut cascades: Vec<Cascade> =
            scales.chunks(2).map(|scales| Cascade::new(frames, scales, u32::from(pace))).collect();
        let narrow = sample_bytes <= 2;
        let mut residuals: Vec<&[i32]> = self.residuals.iter().map(|residuals| &residuals[..]).collect();
        let mut silent = silent.chunks_exact(channels);
        for part in sections(frames, section_log2) {
            let silent = silent.next().unwrap_or_default();
            let pairs = self.planes.chunks_mut(2).zip(residuals.chunks_mut(2)).zip(silent.chunks(2)).enumerate();
            for (i, ((pair, residuals), silent)) in pairs {
                let mut residuals = residuals.iter_mut().zip(silent);
                let mut next = || {
                    let (residuals, _) = residuals.next().filter(|(_, silent)| !**silent)?;
                    residuals.split_off(..part.len() - HISTORY)
                };
                let residuals = [next(), next()];
                let (left, right) = pair.split_at_mut(1);
                let right = right.first_mut().map(|plane| &mut plane[part.clone()]);
                let left = &mut left[0][part.clone()]; // chunks are not empty
                let cascade = cascades.get_mut(i);
                let known =
                    known.map(|_| [2 * i, 2 * i + 1].map(|k| self.known.get(k).map_or(&[][..], |p| &p[part.clone()])));
                let plan = Plan::take(right.is_some(), &mut bits)?;
                if !linear::restore(&mut self.section, &plan, narrow, residuals, known, left, right, cascade) {
                    return Err("it stands for other samples");
                }
            }
        }
        if !bits.is_at_end() {
            return Err("plans do not end where their bytes do");
        }
        let start = out.len();
        out.extend_from_slice(lead);
        out.resize(start + lead.len() + frames * frame_bytes, 0);
        planes::join_frames(&self.planes, sample_bytes, &mut out[start + lead.len()..]);
        out.extend_from_slice(tail);
        Ok(())
    }
}
