//! The codec of sound samples: prediction and entropy coding of interleaved PCM, one chunk at a time.
//!
//! A payload holds all that is needed to decode it but its plain length, which the record's header names. Bytes after the
//! last whole frame are stored as they are. Any bytes are coded right; what is not sound is merely not coded smaller.
//!
//! ```text
//!  offset  size  field
//!       0     1  method        1: linear (linear.rs), 2: adaptive
//!       1     1  form          bits 0-1 bytes of a sample - 1, bits 2-6 channels - 1, bit 7 zero
//!       2     1  sections      bits 0-4 log2 of a section's frames (8..=20), bits 5-6 shape of the distributions, bit 7 zero
//!       3     1  rate          of the running means, 1..=15
//!       4     c  start         per channel: log2 of the first mean, 0..=31
//!     4+c     4  words         number of 32-bit words of symbols, little-endian
//!     8+c    4w  symbols       (entropy.rs)
//!            ..  bits          (bits.rs): per section and pair of channels what linear.rs tells
//!             t  tail          the plain length modulo the length of a frame
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
mod entropy;
mod linear;
mod lpc;
mod planes;
#[cfg(test)]
mod tests;

use super::form::Pcm;
use crate::format::record::Codec;
use bits::{BitReader, BitWriter};
use entropy::{Mean, SymbolReader, Symbols};
use linear::{Search, Section};
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
/// The longest plain chunk.
const PLAIN_BYTES_MAX: usize = 16 << 20;
const SECTION_LOG2: std::ops::RangeInclusive<u32> = 8..=20;

/// Bytes of a payload that tell its form.
pub const FORM_BYTES: usize = 2;

/// What a payload of this codec tells of its samples, by its first bytes. `None` for other codecs.
pub fn form_of(codec: Codec, payload: &[u8]) -> Option<Pcm> {
    let form = *payload.get(1).filter(|_| codec == Codec::PCM)?;
    Some(Pcm { sample_bytes: (form & 3) + 1, channels: (form >> 2 & 31) + 1, coded: false })
}

/// Encodes chunks. One a thread: it keeps its working memory.
#[derive(Default)]
pub struct Encoder {
    planes: Vec<Vec<i32>>,
    section: Section,
    symbols: Symbols,
    bits: BitWriter,
    means: Vec<Mean>,
}

impl Encoder {
    /// The payload of a chunk, or `None` if it would not save one part in 64.
    pub fn encode(&mut self, plain: &[u8], form: Pcm, effort: Effort) -> Option<Vec<u8>> {
        let out = self.encode_always(plain, form, effort)?;
        (out.len() + out.len() / 64 < plain.len()).then_some(out)
    }

    /// The payload whether it pays or not; `None` if there is no whole frame or the form is none.
    fn encode_always(&mut self, plain: &[u8], form: Pcm, effort: Effort) -> Option<Vec<u8>> {
        let (sample_bytes, channels) = (usize::from(form.sample_bytes), usize::from(form.channels));
        if !(1..=4).contains(&sample_bytes) || !(1..=32).contains(&channels) || plain.len() > PLAIN_BYTES_MAX {
            return None;
        }
        let frames = plain.len() / (sample_bytes * channels);
        if frames == 0 {
            return None;
        }
        let (whole, tail) = plain.split_at(frames * sample_bytes * channels);
        planes::split_frames(whole, sample_bytes, channels, &mut self.planes);
        let search = match effort {
            Effort::Fast => Search { order: 11, precision: 13, stereo: false },
            _ => Search { order: 32, precision: 13, stereo: true },
        };
        Some(self.linear(search, sample_bytes, 12, tail))
    }

    fn linear(&mut self, search: Search, sample_bytes: usize, section_log2: u32, tail: &[u8]) -> Vec<u8> {
        const RATE: u32 = 5;
        let frames = self.planes.first().map_or(0, |plane| plane.len() - HISTORY);
        let mut head = vec![METHOD_LINEAR, (sample_bytes - 1) as u8 | ((self.planes.len() - 1) as u8) << 2];
        head.extend_from_slice(&[0, RATE as u8]);
        self.means.clear();
        for plane in &self.planes {
            let first = &plane[HISTORY..plane.len().min(HISTORY + 32)];
            // Differences are nearer to what is left after prediction than the samples are.
            let sum: u64 = first.windows(2).map(|w| u64::from(w[1].wrapping_sub(w[0]).unsigned_abs())).sum();
            let start = (sum / first.len().max(1) as u64 + 1).ilog2().min(31);
            head.push(start as u8);
            self.means.push(Mean::new(start, RATE));
        }
        self.symbols.clear();
        self.bits.clear();
        let narrow = sample_bytes <= 2;
        let mut at = 0;
        while at < frames {
            let end = frames.min(at + (1 << section_log2));
            let part = at..end + HISTORY;
            for (pair, means) in self.planes.chunks(2).zip(self.means.chunks_mut(2)) {
                let right = pair.get(1).map(|plane| &plane[part.clone()]);
                let left = &pair[0][part.clone()];
                let (symbols, bits) = (&mut self.symbols, &mut self.bits);
                linear::encode(&mut self.section, search, narrow, left, right, means, symbols, bits);
            }
            at = end;
        }
        let shape = self.symbols.best_shape();
        head[2] = section_log2 as u8 | (shape as u8) << 5;
        let words = self.symbols.finish(shape);
        let mut out = head;
        out.reserve_exact(4 + words.len() * 4 + self.bits.bytes().len() + tail.len());
        out.extend_from_slice(&(words.len() as u32).to_le_bytes()); // fewer than bytes in a chunk
        out.extend(words.iter().flat_map(|w| w.to_le_bytes()));
        out.extend_from_slice(self.bits.bytes());
        out.extend_from_slice(tail);
        out
    }
}

/// Decodes chunks. One a thread: it keeps its working memory.
#[derive(Default)]
pub struct Decoder {
    planes: Vec<Vec<i32>>,
    section: Section,
    words: Vec<u32>,
    bits: Vec<u8>,
    means: Vec<Mean>,
}

impl Decoder {
    /// Appends the plain bytes of a payload to `out`.
    ///
    /// # Errors
    ///
    /// A short reason, if the payload is damaged; `out` is as it was.
    pub fn decode(&mut self, payload: &[u8], plain_bytes: usize, out: &mut Vec<u8>) -> Result<(), &'static str> {
        let &[method, form, sections, rate, ref rest @ ..] = payload else {
            return Err("payload shorter than its header");
        };
        if plain_bytes > PLAIN_BYTES_MAX {
            return Err("chunk of samples too long");
        }
        if method != METHOD_LINEAR {
            return Err("unknown method");
        }
        if form & 0x80 != 0 {
            return Err("unknown form of samples");
        }
        let sample_bytes = usize::from(form & 3) + 1;
        let channels = usize::from(form >> 2) + 1;
        let frame_bytes = sample_bytes * channels;
        let section_log2 = u32::from(sections & 31);
        if !SECTION_LOG2.contains(&section_log2) || sections & 0x80 != 0 || !(1..=15).contains(&rate) {
            return Err("parameters out of range");
        }
        let Some((starts, rest)) = rest.split_at_checked(channels) else {
            return Err("payload shorter than its header");
        };
        if starts.iter().any(|&s| s > 31) {
            return Err("parameters out of range");
        }
        self.means.clear();
        self.means.extend(starts.iter().map(|&s| Mean::new(u32::from(s), u32::from(rate))));
        let Some((count, rest)) = rest.split_first_chunk::<4>() else { return Err("payload shorter than its header") };
        let count = u32::from_le_bytes(*count) as usize;
        let Some((words, rest)) = count.checked_mul(4).and_then(|n| rest.split_at_checked(n)) else {
            return Err("fewer symbols than stated");
        };
        let frames = plain_bytes / frame_bytes;
        let Some(bits) = rest.len().checked_sub(plain_bytes % frame_bytes) else { return Err("no bytes of the tail") };
        let (bits, tail) = rest.split_at(bits);
        self.words.clear();
        self.words.extend(words.as_chunks::<4>().0.iter().map(|w| u32::from_le_bytes(*w)));
        self.bits.clear();
        self.bits.extend_from_slice(bits);
        self.bits.extend_from_slice(&[0; bits::PAD]);
        let mut symbols = SymbolReader::new(usize::from(sections >> 5), &self.words).ok_or("states out of range")?;
        let mut bits = BitReader::new(&self.bits);

        self.planes.resize_with(channels, Vec::new);
        for plane in &mut self.planes {
            plane.clear();
            plane.resize(HISTORY + frames, 0);
        }
        let narrow = sample_bytes <= 2;
        let mut at = 0;
        while at < frames {
            let end = frames.min(at + (1 << section_log2));
            let part = at..end + HISTORY;
            for (pair, means) in self.planes.chunks_mut(2).zip(self.means.chunks_mut(2)) {
                let (left, right) = pair.split_at_mut(1);
                let right = right.first_mut().map(|plane| &mut plane[part.clone()]);
                let left = &mut left[0][part.clone()]; // chunks are not empty
                linear::decode(&mut self.section, narrow, left, right, means, &mut symbols, &mut bits)?;
            }
            at = end;
        }
        if !symbols.is_at_end() || !bits.is_at_end() {
            return Err("samples do not end where their payload does");
        }
        let start = out.len();
        out.resize(start + frames * frame_bytes, 0);
        planes::join_frames(&self.planes, sample_bytes, &mut out[start..]);
        out.extend_from_slice(tail);
        Ok(())
    }
}
