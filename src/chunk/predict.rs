//! Samples of sound predicted from samples that are stored: remasters that line up.
//!
//! A chunk of samples that came from stored ones by gain, dither, fades, another bit depth, polarity, a swap, split or mix of
//! channels is coded as what the stored samples do not tell. Bases are laid to it by their landmarks
//! ([`super::landmark`], `align`); in segments, each channel is the sum of a base's channels times gains, found by least
//! squares (`fit`); the residual is coded by tokens in adaptive contexts (`model`, `ans`). Frames that no base has
//! are predicted from the frames before; a codec for samples alone does that better.
//!
//! ```text
//! payload := version:u8 form sources:u8 source{sources}
//!            length:varint segment* length:varint raw-bits tail tables stream
//! form    := sample-bytes:u8 channels:u8              1 to 4, 1 to 32; signed, little-endian, interleaved
//! source  := base:u8 form frames:varint offset:signed  frame n of the chunk is frame n + offset of the base, which has so many
//! segment := frames:varint source:u8 model{channels}  source 0: none, else the number of one, from 1
//! model   := shift:u8 constant:signed inputs:u8 input{inputs mod 128} taps:u8 [taps-shift:u8 tap:signed{taps}]
//! input   := channel:u8 gain:signed [slope:signed]    slope where inputs >= 128. Channel: of the base; from 128 on of the
//!                                                     chunk itself, less 128, one below the model's own
//! varint  := seven bits a byte, the lowest first, 0x80 where more follow; at most nine bytes
//! signed  := varint of n >= 0 ? 2 n : -2 n - 1
//! ```
//! Version is 1. `tail` is what is left of the chunk's bytes behind its last whole frame; raw bits, tables and stream see
//! `ans`. Segments cover the chunk's frames in order; the tokens follow segment by segment, in it channel by channel, frame by frame.
//!
//! With `f` = 8, 8, 6, 0 for 1, 2, 3, 4 bytes a sample, all in 64 bits that wrap, `>>` rounding down, `clip` to the samples' range
//! times 2^f, and `i` counted from the segment's start:
//! ```text
//! expect(i)  = clip((sum of x(i) * (gain + (slope * i >> 16)) + (shift > 0 ? 1 << shift - 1 : 0) >> shift) + constant)
//! expect2(i) = clip(expect(i) + (sum over k of tap[k] * error(i - taps + k) >> taps-shift))
//! error(i)   = sample(i) * 2^f - expect(i), held within 32 bits
//! nearest(i) = expect2(i) + (f > 0 ? 1 << f - 1 : 0) >> f
//! sample(i)  = nearest(i) + residual(i), its lowest bits
//! ```
//! Errors before the segment's start are those of the model where it takes nothing from a base, else 0; before the chunk's
//! start 0. Residual, token, raw bits: `z` is the residual in zigzag; below 16 it is the token; else with `b` = floor(log2(z)) the
//! token is 16 + 2 (b - 4) + the bit below the highest, and the b - 1 bits below those are raw. The context: a mean `m`
//! of each channel begins at 24 and, after each whole group of 16 frames counted from a segment's start, becomes
//! m - m / 4 - (0 < m < 4) plus the sum of the residuals' magnitudes. The level is 0 for m = 0, 1 below 6, 2 below 35, 3 below 77, 4 below 128: there the
//! context is 17 level + place, and the place is that of expect2 + 2^(f - 1) within nearest * 2^f in sixteenths, 16 where
//! expect2 is at an end of its range, and 8 where f = 0. It is 85 for m below 192, then 86 and one more for each half octave (a
//! power of two, or three halves of one), at most 127.
//!
//! # Invariants
//!
//! 1. What [`Predictor::encode`] gives was decoded and compared.
//! 2. Decoding is integer arithmetic, linear in the chunk's and the bases' bytes, and total: whatever payload and bases hold,
//!    there is an error, or so many bytes as were asked for.
//! 3. Memory is about twelve times the chunk and eight times the bases, at worst (one byte a sample).

mod align;
mod ans;
mod fit;
pub mod frames;
mod model;
#[cfg(test)]
pub mod testing;
#[cfg(test)]
mod tests;
mod wire;

use super::Pcm;
use super::landmark::Landmark;
use align::{SOURCES, Source};
use ans::{BitReader, BitWriter, Counts, Decoder, Symbol};
use fit::{Laid, Segment};
use model::{GROUP, INPUTS, Input, Mean, Model, ORDER, OWN};
use wire::{Cursor, put_signed, put_varint};

const VERSION: u8 = 1;
/// Bases that one payload has, at most.
pub const BASES: usize = crate::format::limits::BASES;
/// Fewer frames than this are not worth a base.
const FRAMES_MIN: usize = 512;

/// A chunk of samples, and its landmarks.
#[derive(Clone, Copy, Debug)]
pub struct Sound<'a> {
    pub form: Pcm,
    pub plain: &'a [u8],
    /// As [`super::Landmarks::marks`].
    pub marks: &'a [Landmark],
}

/// A chunk as what its bases lack.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Predicted {
    pub payload: Vec<u8>,
    /// Which of the offered bases it needs, in the order in which the decoder wants them.
    pub bases: Vec<usize>,
}

/// Predicts chunks. One a thread.
#[derive(Default)]
pub struct Predictor {
    planes: Vec<Vec<i32>>,
    bases: Vec<Vec<Vec<i32>>>,
    counts: Counts,
    symbols: Vec<Symbol>,
    bits: BitWriter,
    expected: Vec<i32>,
    errors: Vec<i32>,
    proof: Vec<u8>,
}

impl Predictor {
    /// The chunk as predicted from some of at most [`BASES`] bases. `None` where none of them lines up with it, or little is
    /// saved: an eighth of its plain bytes at least.
    pub fn encode(&mut self, chunk: Sound<'_>, bases: &[Sound<'_>]) -> Option<Predicted> {
        let bases = bases.get(..BASES.min(bases.len()))?;
        if !frames::known(chunk.form) || chunk.plain.len() > crate::format::limits::CHUNK_BYTES {
            return None;
        }
        let count = chunk.plain.len() / frames::frame_bytes(chunk.form);
        if count < FRAMES_MIN {
            return None;
        }
        let marks: Vec<(&[Landmark], usize)> = bases
            .iter()
            .map(|b| match frames::known(b.form) {
                true => (b.marks, b.plain.len() / frames::frame_bytes(b.form)),
                false => (&[][..], 0),
            })
            .collect();
        let sources = align::align(chunk.marks, count, &marks);
        if sources.is_empty() {
            return None;
        }
        frames::split(chunk.plain, chunk.form, &mut self.planes);
        self.bases.resize_with(bases.len(), Vec::new);
        for (i, (base, planes)) in bases.iter().zip(&mut self.bases).enumerate() {
            if sources.iter().any(|s| s.base == i) {
                frames::split(base.plain, base.form, planes);
            }
        }
        let laid: Vec<Laid<'_>> =
            sources.iter().filter_map(|s| Some(Laid { source: *s, planes: self.bases.get(s.base)? })).collect();
        let bytes = chunk.form.sample_bytes;
        let mut segments = fit::segments(&self.planes, bytes, &laid);
        let held: usize = segments.iter().filter(|s| s.source.is_some()).map(|s| s.to - s.from).sum();
        if held < count / 8 {
            return None;
        }
        self.counts.clear();
        self.symbols.clear();
        self.bits.clear();
        let mut means = vec![Mean::default(); self.planes.len()];
        for segment in &mut segments {
            let source = segment.source.and_then(|s| laid.get(s));
            for (c, mean) in means.iter_mut().enumerate() {
                let model = segment.models.get_mut(c)?;
                let range = segment.from..segment.to;
                let plane = self.planes.get(c)?;
                let own = plane.get(range.clone())?;
                if source.is_none()
                    && let Some(before) = c.checked_sub(1)
                {
                    fit::couple(model, before as u8, self.planes.get(before)?.get(range.clone())?, own, bytes); // c <= 32
                }
                let inputs = inputs(model, range, source, &self.planes)?;
                model::expect(model, &inputs, own.len(), 0, model::bounds(bytes), &mut self.expected);
                self.errors.clear();
                let fraction = model::fraction(bytes);
                self.errors.extend(own.iter().zip(&self.expected).map(|(s, e)| model::error(*s, *e, fraction)));
                (model.taps, model.taps_shift) = fit::taps(&self.errors, source.is_none());
                if !model.taps.is_empty() {
                    let mut past = past(model, segment.from, c, &self.planes, bytes);
                    past.append(&mut self.errors);
                    self.errors = past;
                    let bounds = model::bounds(bytes);
                    for (expected, errors) in self.expected.iter_mut().zip(self.errors.windows(model.taps.len())) {
                        *expected = model.whiten(*expected, errors, bounds);
                    }
                }
                tokens(own, &self.expected, bytes, mean, &mut self.counts, &mut self.symbols, &mut self.bits);
            }
        }
        let predicted = self.payload(chunk, bases, &sources, &segments)?;
        let chosen: Vec<&[u8]> = predicted.bases.iter().filter_map(|b| bases.get(*b)).map(|b| b.plain).collect();
        let mut proof = std::mem::take(&mut self.proof);
        proof.clear();
        let done = self.decode(&predicted.payload, chunk.plain.len(), &chosen, &mut proof);
        debug_assert!(done.is_ok() && proof == chunk.plain, "{done:?}");
        let proven = done.is_ok() && proof == chunk.plain;
        self.proof = proof;
        proven.then_some(predicted)
    }

    fn payload(
        &mut self,
        chunk: Sound<'_>,
        bases: &[Sound<'_>],
        sources: &[Source],
        segments: &[Segment],
    ) -> Option<Predicted> {
        // Only what is used is named: sources are numbered anew, and so are bases.
        let mut used: Vec<usize> = Vec::new();
        let mut chosen: Vec<usize> = Vec::new();
        for source in segments.iter().filter_map(|s| s.source) {
            if !used.contains(&source) {
                used.push(source);
                let base = sources.get(source)?.base;
                if !chosen.contains(&base) {
                    chosen.push(base);
                }
            }
        }
        let mut out = vec![VERSION, chunk.form.sample_bytes, chunk.form.channels, used.len() as u8]; // at most SOURCES
        for source in &used {
            let source = sources.get(*source)?;
            let base = bases.get(source.base)?;
            out.push(chosen.iter().position(|b| *b == source.base)? as u8); // at most BASES
            out.extend([base.form.sample_bytes, base.form.channels]);
            put_varint((base.plain.len() / frames::frame_bytes(base.form)) as u64, &mut out);
            put_signed(source.offset, &mut out);
        }
        let mut list = Vec::new();
        for segment in segments {
            put_varint((segment.to - segment.from) as u64, &mut list);
            let number = segment.source.and_then(|s| used.iter().position(|u| *u == s));
            list.push(number.map_or(0, |n| n as u8 + 1)); // at most SOURCES
            segment.models.iter().for_each(|m| write_model(m, &mut list));
        }
        put_varint(list.len() as u64, &mut out);
        out.append(&mut list);
        let bits = self.bits.finish();
        put_varint(bits.len() as u64, &mut out);
        out.extend_from_slice(bits);
        let whole = chunk.plain.len() - chunk.plain.len() % frames::frame_bytes(chunk.form);
        out.extend_from_slice(chunk.plain.get(whole..)?);
        ans::write(&self.counts, &self.symbols, &mut out);
        (out.len() + chunk.plain.len() / 8 <= chunk.plain.len()).then_some(Predicted { payload: out, bases: chosen })
    }

    /// Appends the `plain_bytes` bytes of a chunk to `out`. `bases` are the plain bytes of the bases it names, in their order.
    ///
    /// # Errors
    /// What is wrong with the payload, or that a base is not as long as it says. `out` is then as it was.
    pub fn decode(
        &mut self,
        payload: &[u8],
        plain_bytes: usize,
        bases: &[&[u8]],
        out: &mut Vec<u8>,
    ) -> Result<(), &'static str> {
        let mut header = Cursor::new(payload);
        if header.u8()? != VERSION {
            return Err("a version that this program does not know");
        }
        let form = read_form(&mut header)?;
        if plain_bytes > crate::format::limits::CHUNK_BYTES {
            return Err("it is longer than a chunk can be");
        }
        let count = plain_bytes / frames::frame_bytes(form);
        let sources = read_sources(&mut header, bases, &mut self.bases)?;
        let laid: Vec<Laid<'_>> =
            sources.iter().filter_map(|s| Some(Laid { source: *s, planes: self.bases.get(s.base)? })).collect();
        let take =
            |header: &mut Cursor<'_>| header.varint().and_then(|n| usize::try_from(n).map_err(|_| "it ends early"));
        let length = take(&mut header)?;
        let mut list = Cursor::new(header.take(length)?);
        let length = take(&mut header)?;
        let mut bits = BitReader::new(header.take(length)?);
        let tail = header.take(plain_bytes % frames::frame_bytes(form))?;
        let mut tokens = Decoder::new(&mut header)?;
        let channels = usize::from(form.channels);
        self.planes.resize_with(channels, Vec::new);
        for plane in &mut self.planes {
            plane.clear();
            plane.resize(count, 0); // bounded by plain_bytes
        }
        let mut means = vec![Mean::default(); channels];
        let mut from = 0usize;
        while from < count {
            let frames = usize::try_from(list.varint()?).unwrap_or(usize::MAX);
            let to = from
                .checked_add(frames)
                .filter(|to| *to <= count && frames > 0)
                .ok_or("segments do not fit the chunk")?;
            let source = match list.u8()? {
                0 => None,
                n => Some(laid.get(usize::from(n) - 1).ok_or("a segment of a source that there is not")?),
            };
            for (c, mean) in means.iter_mut().enumerate() {
                let model = read_model(&mut list)?;
                let range = from..to;
                let inputs = model_inputs_checked(&model, c, range.clone(), source, &self.planes)?;
                model::expect(&model, &inputs, frames, 0, model::bounds(form.sample_bytes), &mut self.expected);
                let past = past(&model, from, c, &self.planes, form.sample_bytes);
                let plane =
                    self.planes.get_mut(c).and_then(|p| p.get_mut(range)).ok_or("a channel that there is not")?;
                samples(
                    plane,
                    &model,
                    &self.expected,
                    past,
                    form.sample_bytes,
                    mean,
                    &mut tokens,
                    &mut bits,
                    &mut self.errors,
                )?;
            }
            from = to;
        }
        if !tokens.done() || !bits.done() || !list.rest().is_empty() {
            return Err("something is left over");
        }
        frames::join(&self.planes, form.sample_bytes, out);
        out.extend_from_slice(tail);
        Ok(())
    }
}

fn read_form(header: &mut Cursor<'_>) -> Result<Pcm, &'static str> {
    let form = Pcm { sample_bytes: header.u8()?, channels: header.u8()?, coded: false };
    if frames::known(form) { Ok(form) } else { Err("a form that this program does not know") }
}

/// Reads the sources, and makes planes of the bases that they name.
fn read_sources(
    header: &mut Cursor<'_>,
    bases: &[&[u8]],
    planes: &mut Vec<Vec<Vec<i32>>>,
) -> Result<Vec<Source>, &'static str> {
    let n = usize::from(header.u8()?);
    if n > SOURCES || bases.len() > BASES {
        return Err("more sources or bases than there can be");
    }
    planes.resize_with(bases.len(), Vec::new);
    let mut forms = [None; BASES];
    let mut sources = Vec::with_capacity(n);
    for _ in 0..n {
        let base = usize::from(header.u8()?);
        let form = read_form(header)?;
        let (frames, offset) = (header.varint()?, header.signed()?);
        let (Some(plain), Some(planes), Some(known)) = (bases.get(base), planes.get_mut(base), forms.get_mut(base))
        else {
            return Err("a base that was not given");
        };
        if frames != (plain.len() / frames::frame_bytes(form)) as u64 {
            return Err("a base is not as long as it should be");
        }
        match *known {
            None => drop(frames::split(plain, form, planes)),
            Some(other) if other != form => return Err("a base has two forms"),
            Some(_) => {}
        }
        *known = Some(form);
        sources.push(Source { base, offset });
    }
    Ok(sources)
}

fn write_model(model: &Model, out: &mut Vec<u8>) {
    out.push(model.shift);
    put_signed(model.constant, out);
    let sloped = model.inputs.iter().any(|i| i.slope != 0);
    out.push(model.inputs.len() as u8 | u8::from(sloped) << 7); // at most INPUTS
    for input in &model.inputs {
        out.push(input.channel);
        put_signed(input.gain.into(), out);
        if sloped {
            put_signed(input.slope, out);
        }
    }
    out.push(model.taps.len() as u8); // at most ORDER
    if !model.taps.is_empty() {
        out.push(model.taps_shift);
        model.taps.iter().for_each(|t| put_signed((*t).into(), out));
    }
}

fn read_model(list: &mut Cursor<'_>) -> Result<Model, &'static str> {
    let mut model = Model { shift: list.u8()?, constant: list.signed()?, ..Model::default() };
    let inputs = list.u8()?;
    if model.shift > 62 || usize::from(inputs & 127) > INPUTS {
        return Err("a model that there cannot be");
    }
    for _ in 0..inputs & 127 {
        let channel = list.u8()?;
        let gain = i32::try_from(list.signed()?).map_err(|_| "a gain that there cannot be")?;
        let slope = if inputs > 127 { list.signed()? } else { 0 };
        model.inputs.push(Input { channel, gain, slope });
    }
    if inputs > 127 && model.inputs.iter().all(|i| i.channel >= OWN) {
        return Err("a slope without a base");
    }
    let taps = list.u8()?;
    if usize::from(taps) > ORDER {
        return Err("more taps than there can be");
    }
    if taps > 0 {
        model.taps_shift = list.u8()?;
    }
    if model.taps_shift > 31 {
        return Err("a model that there cannot be");
    }
    for _ in 0..taps {
        model.taps.push(i16::try_from(list.signed()?).map_err(|_| "a tap that there cannot be")?);
    }
    Ok(model)
}

/// The samples of each of a model's inputs in a range of the chunk's frames. `None` where one is not there.
fn inputs<'a>(
    model: &Model,
    range: std::ops::Range<usize>,
    source: Option<&Laid<'a>>,
    planes: &'a [Vec<i32>],
) -> Option<Vec<&'a [i32]>> {
    let input = |input: &Input| match input.channel {
        channel if channel < OWN => {
            let laid = source?;
            let at = |n: usize| usize::try_from(i64::try_from(n).ok()?.checked_add(laid.source.offset)?).ok();
            laid.planes.get(usize::from(channel))?.get(at(range.start)?..at(range.end)?)
        }
        channel => planes.get(usize::from(channel - OWN))?.get(range.clone()),
    };
    model.inputs.iter().map(input).collect()
}

/// As [`inputs`], for a model that may be anything.
fn model_inputs_checked<'a>(
    model: &Model,
    own: usize,
    range: std::ops::Range<usize>,
    source: Option<&Laid<'a>>,
    planes: &'a [Vec<i32>],
) -> Result<Vec<&'a [i32]>, &'static str> {
    if model.inputs.iter().any(|i| i.channel >= OWN && usize::from(i.channel - OWN) >= own) {
        return Err("a channel is to be known before it is");
    }
    inputs(model, range, source, planes).ok_or("a base has not what a segment needs")
}

/// The errors of as many frames before a segment as its model has taps.
fn past(model: &Model, from: usize, channel: usize, planes: &[Vec<i32>], bytes: u8) -> Vec<i32> {
    let taps = model.taps.len();
    let mut past = vec![0; taps];
    let known = from.min(taps);
    if taps == 0 || known == 0 || model.inputs.iter().any(|i| i.channel < OWN) {
        return past;
    }
    let range = from - known..from;
    let (Some(inputs), Some(own)) = (inputs(model, range.clone(), None, planes), planes.get(channel)) else {
        return past;
    };
    let mut expected = Vec::with_capacity(known);
    // A slope would count from before the segment: such a model has none.
    model::expect(model, &inputs, known, 0, model::bounds(bytes), &mut expected);
    let samples = own.get(range).unwrap_or_default();
    for ((past, s), e) in past[taps - known..].iter_mut().zip(samples).zip(&expected) {
        *past = model::error(*s, *e, model::fraction(bytes));
    }
    past
}

/// Writes the residuals of a channel's segment.
fn tokens(
    own: &[i32],
    expected: &[i32],
    bytes: u8,
    mean: &mut Mean,
    counts: &mut Counts,
    symbols: &mut Vec<Symbol>,
    bits: &mut BitWriter,
) {
    let (fraction, bounds) = (model::fraction(bytes), model::bounds(bytes));
    for (samples, expected) in own.chunks(GROUP).zip(expected.chunks(GROUP)) {
        let (context, fine) = mean.context();
        let mut sum = 0u64;
        for (s, e) in samples.iter().zip(expected) {
            let (value, place) = model::nearest(*e, fraction, bounds);
            let residual = i64::from(*s) - i64::from(value);
            sum += residual.unsigned_abs();
            let (token, raw, n) = model::token(residual);
            let context = if fine { context + place } else { context };
            if let Some(count) = counts.of(context).and_then(|c| c.get_mut(token)) {
                *count += 1;
            }
            symbols.push(Symbol::new(context, token));
            bits.put(raw, n);
        }
        if samples.len() == GROUP {
            mean.add(sum);
        }
    }
}

/// Reads the samples of a channel's segment.
#[allow(clippy::too_many_arguments, reason = "all of it is the state of one loop")]
fn samples(
    plane: &mut [i32],
    model: &Model,
    expected: &[i32],
    past: Vec<i32>,
    bytes: u8,
    mean: &mut Mean,
    tokens: &mut Decoder<'_>,
    bits: &mut BitReader<'_>,
    errors: &mut Vec<i32>,
) -> Result<(), &'static str> {
    let (fraction, bounds) = (model::fraction(bytes), model::bounds(bytes));
    let unused = 32 - 8 * u32::from(bytes.clamp(1, 4));
    let taps = model.taps.len();
    *errors = past;
    errors.reserve(expected.len());
    for (samples, expected) in plane.chunks_mut(GROUP).zip(expected.chunks(GROUP)) {
        let (context, fine) = mean.context();
        let mut sum = 0u64;
        for (s, first) in samples.iter_mut().zip(expected) {
            let expected = match taps {
                0 => *first,
                _ => model.whiten(*first, errors.get(errors.len().saturating_sub(taps)..).unwrap_or_default(), bounds),
            };
            let (value, place) = model::nearest(expected, fraction, bounds);
            let token = tokens.token(if fine { context + place } else { context })?;
            let n = model::raw_bits(token);
            let raw = if n > 0 { bits.take(n)? } else { 0 };
            let residual = model::residual(token, raw);
            sum += residual.unsigned_abs(); // below 2^33 each
            *s = (value.wrapping_add(residual as i32)) << unused >> unused; // its lowest bits
            if taps > 0 {
                errors.push(model::error(*s, *first, fraction));
            }
        }
        if samples.len() == GROUP {
            mean.add(sum);
        }
    }
    Ok(())
}
