//! The codec of pictures: samples foretold from their neighbours, and what is left coded densely.
//!
//! Owns the payload of chunks whose form is [`Form::Raster`](crate::chunk::Form::Raster). A chunk may begin anywhere in
//! a row: predictors need the distance to the row above, not where a row begins. Chunks know nothing of each other.
//!
//! ```text
//!  0   1   coder        0 tokens, 1 bytes
//!  1   1   packing      0 V210, 1 Rgb10, 2 Yuv422, 3 Samples
//!  2   1   bytes        of a sample; 0 for packings 0 and 1
//!  3   1   channels     of a pixel; 0 for packings other than 3
//!  4   1   flags        1 big-endian, 2 luma first
//!  5   4   row_bytes    0: not known
//!  9   *   planes       for each plane its mode, see below
//!      *   tail         bytes behind the last whole unit, as they are
//!      *   residuals    by the coder
//!
//!  mode:   1   kind     0 linear, 1 median, 2 median of differences; 128 added: ranks
//!          20  weights  if linear: ten i16, see `predict`
//!          2   bytes    if ranks: of what follows
//!          *   set      a zstd frame of the bits of the values that come, lowest first (2^bits bits)
//! ```
//!
//! All numbers are little-endian. How packings lie in planes: `planes`; what weights mean: `predict`. The coder
//! `tokens` (`rans`) codes lanes of equal length (`lanes`); residuals that are left over, fewer than eight or sixteen of a plane,
//! stand in front of it, two bytes each. The coder `bytes` is a zstd frame of all residuals' low bytes, then (samples of more than 8
//! bits) their high bytes.
//!
//! # Invariants
//!
//! 1. [`Decoder::decode`] undoes [`Encoder::encode`], with the payload and the plain length alone.
//! 2. A decoder is total: any payload ends in an error or in exactly the bytes asked for, in time and memory that
//!    grow with these.
//! 3. What is written depends on the bytes, the form and the tier alone: both compilations of `wide` are the same
//!    whole-number arithmetic, and the sums under the weights are exact.

mod choose;
mod lanes;
mod planes;
mod predict;
mod row;
mod section;
mod tokens;
mod values;

use crate::chunk::form::{Packing, Raster};
use crate::chunk::proofs::Proofs;
use crate::format::limits;
use crate::format::record::Codec;
use lanes::Lanes;
use planes::{Layout, Plane};
use predict::{Mode, TAPS};
use std::ops::Range;
use values::Values;
use zstd::zstd_safe::{CCtx, CParameter, DCtx, ResetDirective};

const TOKENS: u8 = 0;
const BYTES: u8 = 1;
const RANKS: u8 = 128;

/// Bits a sample below which zstd may find what a predictor does not see: text, dither, repetition.
const FLAT_BITS: usize = 3;
/// Payloads that are no more than one part in so many of the plain bytes, likewise.
pub const SMALL_SHARE: usize = 4;
/// One part in so many: it has what zstd finds.
const SURE_SHARE: usize = 32;
/// Share of the bytes that zstd is asked about first, and the level.
const PROBE_SHARE: usize = 32;
const PROBE_LEVEL: i32 = 1;
/// One part in so many by which probes of plain bytes are off: the level meant may save as much.
const PLAIN_ERROR: usize = 16;
/// The same of residuals: short parts fit their own statistics more closely than the whole does. Where zstd is better at them,
/// it is so by far: of flat wallpapers 47 chunks were promised one part in 16 in vain, of screens 25 a sixth or more, truly.
const RESIDUAL_ERROR: usize = 8;
/// zstd's levels, of the fast and the dense tier.
const LEVELS: [i32; 2] = [3, 12];

const SHORT: &str = "it is cut short";

/// Codes chunks. One a thread: it keeps its working memory.
pub struct Encoder {
    zstd: CCtx<'static>,
    coder: section::Coder,
    samples: Vec<u16>,
    residuals: Vec<u16>,
    bytes: Vec<u8>,
    seen: Vec<u8>,
}

impl Default for Encoder {
    fn default() -> Self {
        Encoder {
            zstd: CCtx::create(),
            coder: section::Coder::default(),
            samples: Vec::new(),
            residuals: Vec::new(),
            bytes: Vec::new(),
            seen: Vec::new(),
        }
    }
}

impl Encoder {
    /// The payload of a chunk. `None` where that does not save at least one part in 64, where the bytes are not what
    /// the form says, or where zstd alone is likely to do better.
    pub fn encode(&mut self, plain: &[u8], form: Raster, dense: bool) -> Option<Vec<u8>> {
        let mut form = form;
        let mut layout =
            Layout::new(form, plain.len()).filter(|l| l.samples() > 0 && plain.len() <= limits::CHUNK_BYTES)?;
        layout.split(plain, &mut self.samples)?;
        // Containers do not always tell it before the samples come.
        if let (Packing::V210, 0, [.., luma]) = (form.packing, form.row_bytes, layout.planes())
            && let Some(steps) = row::steps(&self.samples[luma.start..luma.start + luma.len])
        {
            form.row_bytes = (steps * row::STEP_BYTES) as u32; // 2^15 at most
            layout = Layout::new(form, plain.len())?; // the samples lie in it as before
        }
        let mut out = header(TOKENS, form);
        self.residuals.resize(layout.samples(), 0);
        for plane in layout.planes() {
            self.plane(plane, layout.bits, &mut out);
        }
        out.extend_from_slice(&plain[layout.bytes()..]); // no more than there are
        let front = out.len();
        let lanes = Lanes::new(&layout);
        for u in lanes.over().flat_map(|range| &self.residuals[range]) {
            out.extend_from_slice(&u.to_le_bytes());
        }
        self.coder.encode(&lanes, &self.residuals, &mut out);
        if out.len() * 8 < FLAT_BITS * layout.samples() || out.len() * SMALL_SHARE <= plain.len() {
            out = self.flat(plain, &layout, front, dense, out)?;
        }
        (out.len() + out.len() / 64 < plain.len()).then_some(out)
    }

    /// Writes a plane's mode and makes its residuals.
    fn plane(&mut self, plane: &Plane, bits: u32, out: &mut Vec<u8>) {
        let range = plane.start..plane.start + plane.len; // planes lie within the samples
        let (mut mode, cost) = choose::choose(&self.samples, plane, bits);
        let mut ranks = None;
        if let Some(values) = Values::of(&self.samples[range.clone()], bits, &mut self.seen) {
            // Irregular gaps make a picture rougher than it was: it must be worth it.
            let set = self.pack(&values.set(bits), LEVELS[0]);
            values.rank(&mut self.samples[range.clone()]);
            let (other, cheaper) = choose::choose(&self.samples, plane, values.bits);
            if cost.saturating_sub(cheaper) * plane.len as u64 > (set.len() as u64 * 8) << 8 {
                mode = other;
                ranks = Some((set, values.bits));
            } else {
                values.unrank(&mut self.samples[range.clone()]);
            }
        }
        let bits = ranks.as_ref().map_or(bits, |r| r.1);
        predict::residuals(&self.samples, plane, &mode, bits, &mut self.residuals[range]);
        let flag = if ranks.is_some() { RANKS } else { 0 };
        match mode {
            Mode::Linear(weights) => {
                out.push(flag);
                out.extend(weights.iter().flat_map(|w| w.to_le_bytes()));
            }
            Mode::Median => out.push(1 | flag),
            Mode::MedianOfDifferences => out.push(2 | flag),
        }
        if let Some((set, _)) = ranks {
            out.extend_from_slice(&(set.len() as u16).to_le_bytes()); // zstd's bound for 8 KiB is below 2^16
            out.extend_from_slice(&set);
        }
    }

    /// What is best of a flat picture: the tokens, zstd of the residuals, or (`None`) zstd of the plain bytes.
    fn flat(&mut self, plain: &[u8], layout: &Layout, front: usize, dense: bool, out: Vec<u8>) -> Option<Vec<u8>> {
        let level = LEVELS[usize::from(dense)];
        let (n, wide) = (layout.samples(), layout.bits > 8);
        let halves = |bytes: &mut Vec<u8>, residuals: &[u16]| {
            bytes.clear();
            bytes.extend(residuals.iter().map(|u| *u as u8)); // the low half
            if wide {
                bytes.extend(residuals.iter().map(|u| (u >> 8) as u8)); // the high half
            }
        };
        // Repetition may be further apart than a probe is long; but what has so much of it is soon gone through.
        let sure = dense || out.len() * SURE_SHARE < plain.len();
        let mut of_plain = |coder: &mut Encoder, part| coder.pack(&plain[part], PROBE_LEVEL).len(); // it lies within
        let repeats = sure || self.promises(plain.len(), out.len() + out.len() / PLAIN_ERROR, &mut of_plain);
        let mut bytes = std::mem::take(&mut self.bytes);
        let mut of_residuals = |coder: &mut Encoder, part: Range<usize>| {
            halves(&mut bytes, &coder.residuals[part]);
            coder.pack(&bytes, PROBE_LEVEL).len()
        };
        let mut best = out.len();
        let mut packed = None;
        if repeats || self.promises(n, out.len() - out.len() / RESIDUAL_ERROR, &mut of_residuals) {
            halves(&mut bytes, &self.residuals);
            let own = self.pack(&bytes, level);
            if front + own.len() < best {
                best = front + own.len();
                packed = Some(own);
            }
        }
        self.bytes = bytes;
        if repeats && self.pack(plain, LEVELS[0]).len() < best {
            return None;
        }
        let mut out = out;
        if let Some(packed) = packed {
            out.truncate(front);
            out.extend_from_slice(&packed);
            out[0] = BYTES; // there is a header
        }
        Some(out)
    }

    /// Whether zstd is likely to need fewer bytes than `most` for all of `n` numbers, by what `pack` says of parts of them: of one
    /// in the middle, and if that is promising of two more, since a part is often unlike the others.
    fn promises(&mut self, n: usize, most: usize, pack: &mut dyn FnMut(&mut Self, Range<usize>) -> usize) -> bool {
        let mut of = |quarter: usize| {
            let (middle, half) = (n * quarter / 4, n / PROBE_SHARE / 2);
            pack(self, middle - half..middle + half) * PROBE_SHARE // a quarter is longer than half a part
        };
        let second = of(2);
        second < most && second + of(1) + of(3) < 3 * most
    }

    fn pack(&mut self, bytes: &[u8], level: i32) -> Vec<u8> {
        let mut out = Vec::with_capacity(zstd::zstd_safe::compress_bound(bytes.len()));
        // Neither can be refused: the level is within zstd's range, and no frame is open.
        let _ = self.zstd.reset(ResetDirective::SessionOnly);
        let _ = self.zstd.set_parameter(CParameter::CompressionLevel(level));
        match self.zstd.compress2(&mut out, bytes) {
            Ok(_) => out,
            Err(_) => vec![0; bytes.len() + 64], // out of memory: longer than any other choice, so never taken
        }
    }
}

fn header(coder: u8, form: Raster) -> Vec<u8> {
    let [kind, bytes, channels, flags] = match form.packing {
        Packing::V210 => [0; 4],
        Packing::Rgb10 { big_endian } => [1, 0, 0, u8::from(big_endian)],
        Packing::Yuv422 { bytes, luma_first, big_endian } => {
            [2, bytes, 0, u8::from(big_endian) | u8::from(luma_first) << 1]
        }
        Packing::Samples { bytes, channels, big_endian } => [3, bytes, channels, u8::from(big_endian)],
    };
    let mut out = vec![coder, kind, bytes, channels, flags];
    out.extend_from_slice(&form.row_bytes.to_le_bytes());
    out
}

/// What a payload of this codec tells of its samples; `None` for other codecs.
pub fn form_of(codec: Codec, payload: &[u8]) -> Option<Raster> {
    let mut rest = payload.get(1..).filter(|_| codec == Codec::RASTER)?; // behind the coder
    read_form(&mut rest).ok()
}

/// What a payload tells beside residuals.
struct Opened<'a> {
    layout: Layout,
    /// Of each plane how it is foretold, and the bits of its samples or ranks.
    modes: Vec<(Mode, u32)>,
    /// Of each plane the values that its ranks stand for.
    values: Vec<Option<Values>>,
    tail: &'a [u8],
}

/// Decodes chunks. One a thread.
pub struct Decoder {
    zstd: DCtx<'static>,
    coder: section::Coder,
    samples: Vec<u16>,
    residuals: Vec<u16>,
    bytes: Vec<u8>,
    proofs: Proofs,
}

impl Default for Decoder {
    fn default() -> Self {
        Decoder {
            zstd: DCtx::create(),
            coder: section::Coder::default(),
            samples: Vec::new(),
            residuals: Vec::new(),
            bytes: Vec::new(),
            proofs: Proofs::default(),
        }
    }
}

impl Decoder {
    /// Appends the `plain_bytes` bytes that a payload stands for.
    ///
    /// # Errors
    /// What is wrong with the payload; `out` is then as it was.
    pub fn decode(&mut self, payload: &[u8], plain_bytes: usize, out: &mut Vec<u8>) -> Result<(), &'static str> {
        let opened = self.open(payload, plain_bytes)?;
        self.samples.resize(opened.layout.samples(), 0);
        predict::rebuild(&self.residuals, opened.layout.planes(), &opened.modes, &mut self.samples);
        self.join(&opened, out);
        Ok(())
    }

    /// Whether a payload decodes to these bytes. What [`Decoder::decode`] does, but that each sample is made from the neighbours
    /// that should stand there, where a decoder has to wait for one after the other. If all samples come out right, so did the
    /// neighbours of each: the first that a decoder made otherwise would have had the same ones and the same residual. (Bytes alone
    /// would not tell: a rank that is none stands for 0.) That tells of the payload, not of the decoder's loops: these run too, of some
    /// payloads, see `Proofs`.
    pub fn proves(&mut self, payload: &[u8], plain: &[u8], scratch: &mut Vec<u8>) -> bool {
        let Ok(opened) = self.open(payload, plain.len()) else { return false };
        if opened.layout.split(plain, &mut self.samples).is_none() {
            return false;
        }
        for ((plane, (mode, bits)), values) in opened.layout.planes().iter().zip(&opened.modes).zip(&opened.values) {
            let range = plane.start..plane.start + plane.len; // planes lie within them
            if let Some(values) = values {
                values.rank(&mut self.samples[range.clone()]);
            }
            predict::remake(&self.samples, plane, mode, *bits, &mut self.residuals[range.clone()]);
            if self.samples[range.clone()] != self.residuals[range] {
                return false;
            }
        }
        scratch.clear();
        self.join(&opened, scratch);
        if scratch == plain && self.proofs.is_whole() {
            scratch.clear();
            return self.decode(payload, plain.len(), scratch).is_ok() && scratch == plain;
        }
        scratch == plain
    }

    /// Reads all of a payload; the residuals are then set.
    fn open<'a>(&mut self, payload: &'a [u8], plain_bytes: usize) -> Result<Opened<'a>, &'static str> {
        if plain_bytes > limits::CHUNK_BYTES {
            return Err("it is longer than a chunk can be");
        }
        let mut rest = payload;
        let coder = take(&mut rest, 1)?[0];
        let form = read_form(&mut rest)?;
        let layout = Layout::new(form, plain_bytes).ok_or("its packing is one that this version does not know")?;
        if layout.samples() == 0 {
            return Err("it has no samples");
        }
        let mut modes = Vec::with_capacity(layout.planes().len());
        let mut ranks = Vec::new();
        for plane in layout.planes() {
            let (mode, values) = self.read_mode(&mut rest, plane, layout.bits)?;
            modes.push((mode, values.as_ref().map_or(layout.bits, |v| v.bits)));
            ranks.push(values);
        }
        let tail = take(&mut rest, plain_bytes - layout.bytes())?; // a layout has no more bytes than there are
        self.residuals.resize(layout.samples(), 0);
        match coder {
            TOKENS => {
                let lanes = Lanes::new(&layout);
                for range in lanes.over() {
                    for u in &mut self.residuals[range] {
                        *u = u16::from_le_bytes(take(&mut rest, 2)?.try_into().map_err(|_| SHORT)?);
                    }
                }
                rest = self.coder.decode(&lanes, rest, &mut self.residuals)?;
                if !rest.is_empty() {
                    return Err("something stands behind its end");
                }
            }
            BYTES => self.read_bytes(rest, layout.bits)?,
            _ => return Err("its coder is one that this version does not know"),
        }
        Ok(Opened { layout, modes, values: ranks, tail })
    }

    /// Appends the bytes of the samples, and the tail.
    fn join(&mut self, opened: &Opened<'_>, out: &mut Vec<u8>) {
        for (plane, values) in opened.layout.planes().iter().zip(&opened.values) {
            if let Some(values) = values {
                values.unrank(&mut self.samples[plane.start..plane.start + plane.len]); // planes lie within them
            }
        }
        opened.layout.join(&self.samples, out);
        out.extend_from_slice(opened.tail);
    }

    fn read_mode(
        &mut self,
        rest: &mut &[u8],
        plane: &Plane,
        bits: u32,
    ) -> Result<(Mode, Option<Values>), &'static str> {
        let kind = take(rest, 1)?[0];
        let mode = match kind & !RANKS {
            0 => {
                let weights = take(rest, 2 * TAPS)?.as_chunks::<2>().0;
                Mode::Linear(std::array::from_fn(|i| weights.get(i).map_or(0, |w| i16::from_le_bytes(*w))))
            }
            1 => Mode::Median,
            2 => Mode::MedianOfDifferences,
            _ => return Err("its predictor is one that this version does not know"),
        };
        if !mode.is_sound(plane) {
            return Err("its weights are out of bounds");
        }
        if kind & RANKS == 0 {
            return Ok((mode, None));
        }
        let n = u16::from_le_bytes(take(rest, 2)?.try_into().map_err(|_| SHORT)?);
        let frame = take(rest, n.into())?;
        self.unpack(frame, values::set_bytes(bits))?;
        Ok((mode, Some(Values::from_set(&self.bytes))))
    }

    fn read_bytes(&mut self, frame: &[u8], bits: u32) -> Result<(), &'static str> {
        let n = self.residuals.len();
        self.unpack(frame, if bits > 8 { 2 * n } else { n })?;
        let (low, high) = self.bytes.split_at(n);
        for (u, b) in self.residuals.iter_mut().zip(low) {
            *u = u16::from(*b);
        }
        for (u, b) in self.residuals.iter_mut().zip(high) {
            *u |= u16::from(*b) << 8;
        }
        Ok(())
    }

    fn unpack(&mut self, frame: &[u8], bytes: usize) -> Result<(), &'static str> {
        self.bytes.clear();
        self.bytes.resize(bytes, 0); // at most two for each sample of a chunk, or a set
        match self.zstd.decompress(&mut self.bytes[..], frame) {
            Ok(n) if n == bytes => Ok(()),
            Ok(_) => Err("a part of it is not as long as it should be"),
            Err(_) => Err("zstd cannot decode a part of it"),
        }
    }
}

fn take<'a>(rest: &mut &'a [u8], n: usize) -> Result<&'a [u8], &'static str> {
    rest.split_off(..n).ok_or(SHORT)
}

fn read_form(rest: &mut &[u8]) -> Result<Raster, &'static str> {
    let &[kind, bytes, channels, flags, a, b, c, d] = take(rest, 8)? else { return Err(SHORT) };
    let big_endian = flags & 1 == 1;
    let packing = match kind {
        0 => Packing::V210,
        1 => Packing::Rgb10 { big_endian },
        2 => Packing::Yuv422 { bytes, luma_first: flags & 2 == 2, big_endian },
        3 => Packing::Samples { bytes, channels, big_endian },
        _ => return Err("its packing is one that this version does not know"),
    };
    let form = Raster { packing, row_bytes: u32::from_le_bytes([a, b, c, d]) };
    // One spelling of each form, so that what is not written is refused.
    let spelled = header(0, form);
    if spelled[1..5] == [kind, bytes, channels, flags] {
        Ok(form)
    } else {
        Err("its form is not spelled as it should be")
    }
}

#[cfg(test)]
mod tests;
