//! Blocks as samples and decisions, and back: version 1.
//!
//! ```text
//! parameters := width:u8 index:varint total:varint
//!                 bytes of a sample in the stream
//!                 the first frame's number and the file's frames, as the first block's header has them
//! parts      := pcm decisions wrapper?
//! pcm        := the samples of all blocks, see `pcm`
//! wrapper    := the words of headers, trailers and MD5 sums, block by block
//! decisions  := block*                    until the samples end
//! block      := bytes:varint (same:varint (differ:varint byte{differ})?)*
//! ```
//! A block's decisions are its text (see `block`), as what of it is not like the expected text: so many bytes that are
//! the same, so many that differ, and so on up to its length. What is expected is the text of the block before that
//! stood at the same place among those of a frame's channels, with the metadata of an encoder that went on from it; before
//! a segment's first block, nothing. Blocks belong together from one that is the first of a frame's channels to one that
//! is the last. The index of the next ones follows on theirs.
//!
//! # Invariants
//!
//! 1. Nothing is written beyond the asked length, whatever parts and parameters say.
//! 2. Work is linear in the samples, the decisions and that length, times the passes; memory is that of a block of each
//!    of 32 channels.

use super::bits::BitWriter;
use super::block::{Apart, BLOCK_MAX, Header, LOWER_ZEROS, Setup, Text, ZEROS};
use super::lower::Lower;
use super::pcm::{self, Place};
use super::{decorrelate, entropy};
use crate::chunk::{Form, Pcm};
use crate::error::Result;
use crate::format::limits;
use crate::format::wire::{Put, Reader};

/// The most channels of a frame.
pub(super) const CHANNELS_MAX: usize = 32;

/// Equal bytes that are worth a count.
const WORTH_SAYING: usize = 3;

/// Frames as `C` channels of numbers.
fn rows<const C: usize>(numbers: &mut [i32]) -> &mut [[i32; C]] {
    numbers.as_chunks_mut().0
}

/// The checksum of numbers, before lower bits are put to them.
fn crc<const C: usize>(frames: &[[i32; C]]) -> u32 {
    frames.iter().fold(u32::MAX, |crc, frame| {
        frame.iter().fold(crc, |crc, &number| crc.wrapping_mul(3).wrapping_add(number.cast_unsigned()))
    })
}

/// The index, of 40 bits, that follows behind so many frames.
fn next_index(index: u64, frames: usize) -> u64 {
    index.wrapping_add(frames as u64) & ((1 << 40) - 1)
}

/// Appends a text as what it is unlike the expected one.
fn put_text(text: &[u8], expected: &[u8], out: &mut Vec<u8>) {
    out.put_varint(text.len() as u64);
    let alike = |at: usize| text.get(at).is_some_and(|byte| expected.get(at) == Some(byte));
    let mut at = 0;
    while at < text.len() {
        let same = (at..).take_while(|&i| alike(i)).count();
        out.put_varint(same as u64);
        at += same;
        if at == text.len() {
            break;
        }
        let is_end = |i: usize| i == text.len() || (i..i + WORTH_SAYING).all(alike);
        let end = (at..text.len()).find(|&i| is_end(i)).unwrap_or(text.len());
        let differ = text.get(at..end).unwrap_or_default();
        out.put_var(differ);
        at = end;
    }
}

/// Reads a text.
fn text(r: &mut Reader<'_>, expected: &[u8]) -> Result<Vec<u8>> {
    let bytes = r.varint()?;
    if bytes > BLOCK_MAX as u64 {
        return Err(r.bad("a text that is longer than a block"));
    }
    let mut text = Vec::new();
    while (text.len() as u64) < bytes {
        let same = r.varint()?;
        let end = usize::try_from(same).ok().and_then(|same| text.len().checked_add(same));
        // No longer than the expected one, so that it does not grow from nothing.
        let same = end.and_then(|end| expected.get(text.len()..end));
        text.put(same.ok_or_else(|| r.bad("a text like more than was expected"))?);
        if (text.len() as u64) < bytes {
            text.put(r.var_bytes(r.left())?);
        }
    }
    if text.len() as u64 == bytes { Ok(text) } else { Err(r.bad("a text longer than it says")) }
}

/// Buffers that are used again.
#[derive(Debug, Default)]
pub(super) struct Work {
    numbers: Vec<i32>,
}

/// Blocks of one kind, taken apart.
#[derive(Debug)]
pub(super) struct Segment {
    channels: usize,
    stored: usize,
    first: (u64, u64),
    /// Of the next block.
    index: u64,
    total: u64,
    decisions: Vec<u8>,
    wrapper: Vec<u8>,
    /// Texts, by their places in a group.
    expected: Vec<Vec<u8>>,
    /// Bits that any sample has.
    used: u32,
    /// Samples so far, in words of `stored` bytes.
    pub pcm: Vec<u8>,
}

impl Segment {
    /// Begins with a block of a group of so many channels.
    pub fn new(first: &Header, channels: usize) -> Segment {
        Segment {
            channels,
            stored: first.flags.stored_bytes(),
            first: (first.index, first.total),
            index: first.index,
            total: first.total,
            decisions: Vec::new(),
            wrapper: Vec::new(),
            expected: Vec::new(),
            used: 0,
            pcm: Vec::new(),
        }
    }

    /// Adds a group: the blocks of all channels of some frames, as [`super::group`] found it.
    ///
    /// # Errors
    /// Why it is left as it is. Then nothing is added.
    pub fn add(&mut self, blocks: &[(Header, &[u8])], work: &mut Work) -> std::result::Result<(), &'static str> {
        let before = (self.pcm.len(), self.decisions.len(), self.wrapper.len(), self.total, self.used);
        let mut expected = Vec::with_capacity(blocks.len());
        let frames = blocks.first().map_or(0, |(header, _)| header.samples as usize); // below 2^18
        self.pcm.resize(before.0 + frames * self.channels * self.stored, 0);
        let mut first = 0;
        for (place, (header, block)) in blocks.iter().enumerate() {
            match self.block(header, block, before.0, (place, first), work) {
                Ok(text) => expected.push(text),
                Err(reason) => {
                    self.pcm.truncate(before.0);
                    self.decisions.truncate(before.1);
                    self.wrapper.truncate(before.2);
                    (self.total, self.used) = (before.3, before.4);
                    return Err(reason);
                }
            }
            first += header.flags.channels();
        }
        self.index = next_index(blocks.first().map_or(0, |(header, _)| header.index), frames);
        self.expected = expected;
        Ok(())
    }

    /// Takes a block apart whose samples stand in the frames from `at` on. Returns the text that is expected next.
    fn block(
        &mut self,
        header: &Header,
        block: &[u8],
        at: usize,
        (place, first): (usize, usize),
        work: &mut Work,
    ) -> std::result::Result<Vec<u8>, &'static str> {
        let Apart { mut text, bits, lower } = Apart::of(block, header, (self.index, self.total), &mut self.wrapper)?;
        let filled = {
            let read = Text::read(&text).map_err(|_| "wavpack: metadata that cannot be")?;
            let mut setup = read.setup().ok_or("wavpack: metadata that cannot be")?;
            let flags = header.flags;
            work.numbers.resize(header.samples as usize * flags.coded_channels(), 0); // below 2^19
            let place = Place { channels: self.channels, first, twice: flags.coded_channels() < flags.channels() };
            let lower = (&read, lower);
            let to = self.pcm.get_mut(at..).unwrap_or_default();
            let decoded = if flags.coded_channels() == 1 {
                take::<1>(header, &mut setup, bits, lower, &mut work.numbers, (self.stored, place, to))?
            } else {
                take::<2>(header, &mut setup, bits, lower, &mut work.numbers, (self.stored, place, to))?
            };
            self.used |= decoded.1;
            (decoded.0, setup)
        };
        let (filled, mut setup) = filled;
        if let Some(odd) = text.first_mut() {
            *odd |= filled;
        }
        put_text(&text, self.expected.get(place).map_or(&[], Vec::as_slice), &mut self.decisions);
        self.total = header.total;
        let read = Text::read(&text).map_err(|_| "wavpack: metadata that cannot be")?;
        Ok(read.expected(&mut setup))
    }

    /// The fewest bytes that hold its samples, 0 for silence; those of the file where it has so few that it does not matter.
    pub fn needed_bytes(&self) -> u8 {
        if self.stored <= 2 { self.stored as u8 } else { pcm::used_bytes(self.used) }
    }

    /// Bytes of a sample in the file that was coded.
    pub fn stored_bytes(&self) -> u8 {
        self.stored as u8 // at most 4
    }

    /// What its samples are if they have so many bytes.
    pub fn form(&self, width: u8) -> Form {
        Form::Pcm(Pcm { sample_bytes: width, channels: self.channels as u8, coded: true }) // at most 32
    }

    /// Parameters, samples of `width` bytes, decisions, wrapper.
    pub fn finish(self, width: u8) -> (Vec<u8>, Vec<u8>, Vec<u8>, Vec<u8>) {
        let mut parameters = Vec::new();
        parameters.put_u8(width);
        parameters.put_varint(self.first.0);
        parameters.put_varint(self.first.1);
        (parameters, pcm::narrow(self.pcm, self.stored, width.into()), self.decisions, self.wrapper)
    }
}

/// Reads a block's samples and puts them into their places. Returns how its bitstreams are filled up, and the bits that are
/// set in its samples; `setup` is then as it is behind the block.
fn take<const C: usize>(
    header: &Header,
    setup: &mut Setup,
    bits: &[u8],
    (text, lower): (&Text<'_>, Option<(u32, &[u8])>),
    numbers: &mut [i32],
    (stored, place, to): (usize, Place, &mut [u8]),
) -> std::result::Result<(u8, u32), &'static str> {
    let flags = header.flags;
    let info = flags.has_lower().then_some(setup.lower);
    let low = Lower::new(info, flags.shift(), text.lower_width()).ok_or("wavpack: lower bits are missing")?;
    let decoded =
        entropy::decode(bits, setup.medians, rows::<C>(numbers)).ok_or("wavpack: a bitstream that is none")?;
    setup.medians = decoded.medians;
    decorrelate::restore(setup.passes(), rows::<C>(numbers));
    if C == 2 && flags.is_joint() {
        for [left, right] in rows::<2>(numbers) {
            *right = right.wrapping_sub(*left >> 1);
            *left = left.wrapping_add(*right);
        }
    }
    if crc(rows::<C>(numbers)) != header.crc {
        return Err("wavpack: a wrong CRC");
    }
    let lower_zeros = low.apply(lower, numbers).ok_or("wavpack: lower bits that are none")?;
    let used = pcm::put(rows::<C>(numbers), stored, place, to).ok_or("wavpack: a sample beyond its bits")?;
    Ok((if decoded.zeros { ZEROS } else { 0 } | if lower_zeros { LOWER_ZEROS } else { 0 }, used))
}

/// What is used again while blocks are put together.
#[derive(Default)]
struct Writers {
    numbers: Vec<i32>,
    bits: entropy::Encoder,
    low: BitWriter,
    lower: Vec<u8>,
}

/// Makes the bitstreams of a block whose samples stand in `pcm`; they are left in `w`. Returns its CRC.
fn bring<const C: usize>(
    text: &Text<'_>,
    setup: &mut Setup,
    w: &mut Writers,
    (pcm, width, place): (&[u8], usize, Place),
    max: usize,
) -> Option<u32> {
    let flags = text.flags;
    w.numbers.resize(text.samples as usize * C, 0); // as many as `pcm` holds
    if !pcm::get(pcm, (width, flags.stored_bytes()), place, rows::<C>(&mut w.numbers)) {
        return None;
    }
    let info = flags.has_lower().then_some(setup.lower);
    let low = Lower::new(info, flags.shift(), text.lower_width())?;
    let lower_crc = low.remove(&mut w.numbers, text.odd & LOWER_ZEROS != 0, &mut w.low, max)?;
    w.lower.clear();
    w.lower.put_u32(lower_crc);
    w.lower.put(w.low.bytes());
    let crc = crc(rows::<C>(&mut w.numbers));
    if C == 2 && flags.is_joint() {
        for [left, right] in rows::<2>(&mut w.numbers) {
            *left = left.wrapping_sub(*right);
            *right = right.wrapping_add(*left >> 1);
        }
    }
    decorrelate::residual(setup.passes(), rows::<C>(&mut w.numbers));
    let zeros = text.odd & ZEROS != 0;
    setup.medians = w.bits.encode(setup.medians, rows::<C>(&mut w.numbers), zeros, max)?;
    Some(crc)
}

/// Rebuilds blocks.
///
/// # Errors
/// [`crate::Error::Malformed`] for what the splitter never left.
pub fn inverse(parameters: &[u8], parts: &[&[u8]], bytes: usize) -> Result<Vec<u8>> {
    let mut r = Reader::new("a WavPack segment", parameters);
    let (width, mut index, mut total) = (usize::from(r.u8()?), r.varint()?, r.varint()?);
    r.end()?;
    let (mut pcm, decisions, mut wrapper) = match *parts {
        [pcm, decisions] => (pcm, decisions, &[][..]),
        [pcm, decisions, wrapper] => (pcm, decisions, wrapper),
        _ => return Err(r.bad("neither two nor three parts")),
    };
    if !(1..=4).contains(&width) {
        return Err(r.bad("samples of a width that there is not"));
    }
    let mut out = Vec::with_capacity(bytes.min(limits::SEGMENT_BYTES as usize)); // 8 MiB
    let mut r = Reader::new("decisions of a WavPack segment", decisions);
    let (mut w, mut expected) = (Writers::default(), Vec::<Vec<u8>>::new());
    while !pcm.is_empty() {
        let (mut texts, mut text_bytes) = (Vec::new(), 0);
        let (mut channels, mut frames, mut begins) = (0, 0, index);
        loop {
            let text = text(&mut r, expected.get(texts.len()).map_or(&[], Vec::as_slice))?;
            let read = Text::read(&text)?;
            if texts.is_empty() {
                (frames, begins) = (read.samples as usize, read.index.unwrap_or(index)); // of 32 bits
            }
            let flags = read.flags;
            if read.samples as usize != frames || flags.stored_bytes() < width {
                return Err(r.bad("blocks of other samples"));
            }
            channels += flags.channels();
            text_bytes += text.len();
            texts.push(text);
            if channels > CHANNELS_MAX || text_bytes > bytes {
                return Err(r.bad("a group of too many blocks"));
            }
            if flags.is_last() {
                break;
            }
        }
        let group = frames.checked_mul(channels * width).and_then(|bytes| pcm.split_at_checked(bytes));
        let (group, rest) = group.filter(|_| frames > 0).ok_or_else(|| r.bad("more samples than there are"))?;
        pcm = rest;
        let (mut next, mut first) = (Vec::with_capacity(texts.len()), 0);
        for text in &texts {
            let text = &Text::read(text)?;
            let mut setup = text.setup().ok_or_else(|| r.bad("metadata that no block has"))?;
            let (coded, own) = (text.flags.coded_channels(), text.flags.channels());
            let place = Place { channels, first, twice: coded < own };
            let room = bytes - out.len(); // no block goes beyond
            let from = (group, width, place);
            let crc = if coded == 1 {
                bring::<1>(text, &mut setup, &mut w, from, room)
            } else {
                bring::<2>(text, &mut setup, &mut w, from, room)
            };
            let crc = crc.ok_or_else(|| r.bad("samples and decisions that make no block"))?;
            total = text.total.unwrap_or(total);
            let streams = (w.bits.bytes(), &w.lower[..]);
            text.put(text.index.unwrap_or(index), total, crc, streams, &mut wrapper, (&mut out, room))?;
            next.push(text.expected(&mut setup));
            first += own;
        }
        index = next_index(begins, frames);
        expected = next;
    }
    if r.left() > 0 || !wrapper.is_empty() {
        return Err(r.bad("decisions or wrapper are left over"));
    }
    Ok(out)
}
