//! A block: its header, its sub-blocks, and its *text*, which is what of them the samples do not tell.
//!
//! ```text
//! block     := "wvpk" bytes-8:u32 version:u16 index_high:u8 total_high:u8 total:u32 index:u32 samples:u32 flags:u32
//!              crc:u32 sub-block*
//! sub-block := id:u8 words:u8 | id:u8 words:u24 (id 128 set), then so many words of 16 bits
//!                id: 63 what it is   64 the last byte is none   128 the size has 24 bits
//!
//! text := odd:u8 (index:40)? (total:40)? version:u16 samples:u32 flags:u32 part*
//!           odd: 1 the index is not the one that follows on the block before, it follows
//!                2 the total is not that of the block before, it follows
//!                4 the bitstream is filled up with zeros   8 the one of lower bits is
//! part := id:u8                           bitstream (10), of lower bits (12)
//!       | id:u8 width:u8                  of lower bits, new form (44): 5 bits that it begins with
//!       | id:u8 size                      checksum (47)
//!       | id:u8 size                      header, trailer, MD5 (33 to 36, 38, 41): their words go to the wrapper
//!       | id:u8 size word{size}           anything else
//! ```
//! All numbers are little-endian. The way from block to text is [`Apart::of`], the way back begins with [`Text::read`].
//! (WavPack 5, `wavpack.h`, `open_utils.c`; "WavPack 4 & 5 Binary File / Block Format".)
//!
//! # Invariants
//!
//! 1. A text tells every byte of its block but the bitstreams and the wrapper's words, and computed ones: the size, the
//!    CRCs, the checksum. A block in which a computed one is not what it should be has no text.
//! 2. Nothing is longer than the block or the text that it was read from.

use super::decorrelate::{PASSES_MAX, Pass};
use super::entropy::Medians;
use super::logs;
use crate::error::Result;
use crate::format::wire::{Put, Reader};

/// What a block begins with.
pub const MAGIC: &[u8; 4] = b"wvpk";

/// Bytes of a header.
pub(super) const HEADER: usize = 32;

/// Bytes of a block, at most: the reference decoder reads no larger ones.
pub(super) const BLOCK_MAX: usize = (1 << 20) + 8;

/// Frames of a block, fewer than: likewise.
const SAMPLES_MAX: u32 = 0x3_0000;

/// Versions of the stream that are all read alike.
const VERSIONS: std::ops::RangeInclusive<u16> = 0x402..=0x410;

/// What says what a sub-block is.
const KIND: u8 = 0x3f;
const ODD_SIZE: u8 = 0x40;
const LONG_SIZE: u8 = 0x80;

const TERMS: u8 = 2;
const WEIGHTS: u8 = 3;
const HISTORY: u8 = 4;
const MEDIANS: u8 = 5;
const LOWER_BITS: u8 = 9;
const BITSTREAM: u8 = 0x0a;
const LOWER_STREAM: u8 = 0x0c;
const LOWER_STREAM_NEW: u8 = 0x2c;
const CHECKSUM: u8 = 0x2f;

/// Bytes of the checksum that a stream of lower bits begins with.
const LOWER_CHECK: usize = 4;

const ODD_INDEX: u8 = 1;
const ODD_TOTAL: u8 = 2;
/// The bitstream is filled up with zeros.
pub(super) const ZEROS: u8 = 4;
/// The stream of lower bits is.
pub(super) const LOWER_ZEROS: u8 = 8;

/// The flags of a header.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Flags(pub u32);

impl Flags {
    fn has(self, bit: u32) -> bool {
        self.0 & bit != 0
    }

    /// Bytes of a sample in the file that was coded, 1 to 4.
    pub fn stored_bytes(self) -> usize {
        (self.0 & 3) as usize + 1
    }

    /// Channels of the block, 1 or 2.
    pub fn channels(self) -> usize {
        if self.has(4) { 1 } else { 2 }
    }

    /// Channels that are coded: one for two that are alike.
    pub fn coded_channels(self) -> usize {
        if self.has(0x4000_0004) { 1 } else { 2 }
    }

    /// The left channel holds the difference to the right one, and that the middle.
    pub fn is_joint(self) -> bool {
        self.has(0x10)
    }

    /// There are lower bits.
    pub fn has_lower(self) -> bool {
        self.has(0x100)
    }

    /// Bits by which all samples are shifted up.
    pub fn shift(self) -> u32 {
        self.0 >> 13 & 31
    }

    /// The first block of a frame's channels.
    pub fn is_first(self) -> bool {
        self.has(0x800)
    }

    /// The last one.
    pub fn is_last(self) -> bool {
        self.has(0x1000)
    }

    /// Why such a block is not taken apart.
    pub fn unfit(self) -> Option<&'static str> {
        if self.has(0x8000_0000) {
            Some("wavpack: DSD")
        } else if self.has(8) {
            Some("wavpack: hybrid")
        } else if self.has(0x80) {
            Some("wavpack: floats")
        } else if self.has(4) && self.has(0x4000_0000) {
            Some("wavpack: one channel that is two")
        } else {
            None
        }
    }
}

/// The header of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    /// Of the whole block, even, [`HEADER`] to [`BLOCK_MAX`].
    pub bytes: usize,
    pub version: u16,
    /// Its first frame, counted from the file's start. 40 bits.
    pub index: u64,
    /// Frames of the file, as it says. 40 bits.
    pub total: u64,
    /// Frames, below 2^18. None for a block that holds nothing but metadata.
    pub samples: u32,
    pub flags: Flags,
    pub crc: u32,
}

impl Header {
    /// Reads the header that starts `bytes`; `None` for what no reader takes for one.
    pub fn read(bytes: &[u8]) -> Option<Header> {
        let mut r = Reader::new("a block", bytes.get(..HEADER)?.strip_prefix(MAGIC)?);
        let size = r.u32().ok()? as usize;
        let (version, index_high, total_high) = (r.u16().ok()?, r.u8().ok()?, r.u8().ok()?);
        let (total, index, samples) = (r.u32().ok()?, r.u32().ok()?, r.u32().ok()?);
        let header = Header {
            bytes: size.checked_add(8)?,
            version,
            index: u64::from(index_high) << 32 | u64::from(index),
            total: u64::from(total_high) << 32 | u64::from(total),
            samples,
            flags: Flags(r.u32().ok()?),
            crc: r.u32().ok()?,
        };
        let is_size = header.bytes.is_multiple_of(2) && (HEADER..BLOCK_MAX).contains(&header.bytes);
        (is_size && samples < SAMPLES_MAX && VERSIONS.contains(&version)).then_some(header)
    }

    /// Appends it.
    pub fn write(&self, out: &mut Vec<u8>) {
        out.put(MAGIC);
        out.put_u32((self.bytes - 8) as u32); // at least a header, below 2^21
        out.put_u16(self.version);
        out.put_u8((self.index >> 32) as u8); // of 40 bits
        out.put_u8((self.total >> 32) as u8);
        out.put_u32(self.total as u32);
        out.put_u32(self.index as u32);
        out.put_u32(self.samples);
        out.put_u32(self.flags.0);
        out.put_u32(self.crc);
    }
}

/// The checksum of the bytes before it: of 32 bits, or folded to 16.
fn checksum(bytes: &[u8], words: usize) -> [u8; 4] {
    let word = |pair: &[u8; 2]| u32::from(u16::from_le_bytes(*pair));
    let (rows, rest) = bytes.as_chunks::<8>();
    let mut sum = u32::MAX;
    for row in rows {
        // Four steps of `sum * 3 + word` at once.
        let words = row.as_chunks::<2>().0.iter().fold(0_u32, |sum, pair| sum * 3 + word(pair)); // below 2^22
        sum = sum.wrapping_mul(81).wrapping_add(words);
    }
    sum = rest.as_chunks::<2>().0.iter().fold(sum, |sum, pair| sum.wrapping_mul(3).wrapping_add(word(pair)));
    (if words == 2 { sum } else { (sum ^ sum >> 16) & 0xffff }).to_le_bytes()
}

/// A sub-block, or what a text holds of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Part<'a> {
    id: u8,
    /// Its size in words of 16 bits; 0 in the text of a bitstream.
    words: usize,
    /// Its words, or those of them that the text holds.
    content: &'a [u8],
}

/// Where a part's words are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Text,
    Wrapper,
    Bitstream,
    LowerStream,
    Checksum,
}

impl<'a> Part<'a> {
    fn place(&self) -> Place {
        match self.id & KIND {
            BITSTREAM => Place::Bitstream,
            LOWER_STREAM | LOWER_STREAM_NEW => Place::LowerStream,
            CHECKSUM => Place::Checksum,
            0x21..=0x24 | 0x26 | 0x29 => Place::Wrapper,
            _ => Place::Text,
        }
    }

    /// Reads id and size.
    fn begin(r: &mut Reader<'a>) -> Result<Part<'a>> {
        let id = r.u8()?;
        Ok(Part { id, words: Part::size(r, id)?, content: &[] })
    }

    fn size(r: &mut Reader<'a>, id: u8) -> Result<usize> {
        let low = usize::from(r.u8()?);
        Ok(if id & LONG_SIZE == 0 { low } else { low | usize::from(r.u16()?) << 8 })
    }

    fn put_size(id: u8, words: usize, out: &mut Vec<u8>) {
        out.put_u8(words as u8); // 8 or 24 bits, see `fits`
        if id & LONG_SIZE != 0 {
            out.put_u16((words >> 8) as u16);
        }
    }

    /// Whether a size can be written.
    fn fits(id: u8, words: usize) -> bool {
        words >> (if id & LONG_SIZE == 0 { 8 } else { 24 }) == 0
    }

    /// Reads a sub-block of a block.
    fn of_block(r: &mut Reader<'a>) -> Result<Part<'a>> {
        let part = Part::begin(r)?;
        Ok(Part { content: r.take(2 * part.words)?, ..part })
    }

    /// Reads a part of a text.
    fn of_text(r: &mut Reader<'a>) -> Result<Part<'a>> {
        let id = r.u8()?;
        let part = Part { id, words: 0, content: &[] };
        Ok(match part.place() {
            Place::Bitstream => part,
            Place::LowerStream => Part { content: r.take(usize::from(part.is_new()))?, ..part },
            Place::Checksum | Place::Wrapper => Part { words: Part::size(r, id)?, ..part },
            Place::Text => {
                let words = Part::size(r, id)?;
                Part { words, content: r.take(2 * words)?, ..part }
            }
        })
    }

    /// Appends it to a text.
    fn put(&self, out: &mut Vec<u8>) {
        out.put_u8(self.id);
        match self.place() {
            Place::Bitstream => {}
            Place::LowerStream => out.put(self.content),
            Place::Checksum | Place::Wrapper => Part::put_size(self.id, self.words, out),
            Place::Text => {
                Part::put_size(self.id, self.words, out);
                out.put(self.content);
            }
        }
    }

    /// A stream of lower bits that begins with a width.
    fn is_new(&self) -> bool {
        self.id & KIND == LOWER_STREAM_NEW
    }

    /// Its content without the byte that fills it up.
    fn bytes(&self) -> &'a [u8] {
        match self.content.split_last() {
            Some((_, bytes)) if self.id & ODD_SIZE != 0 => bytes,
            _ => self.content,
        }
    }
}

/// A block taken apart.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Apart<'a> {
    /// But for how the bitstreams are filled up, which is told by the bits of its first byte.
    pub text: Vec<u8>,
    pub bits: &'a [u8],
    /// The stream of lower bits, behind its checksum.
    pub lower: Option<(u32, &'a [u8])>,
}

impl<'a> Apart<'a> {
    /// Takes a block with samples apart; words of wrapper are appended to `wrapper`. `expected` are index and total.
    ///
    /// # Errors
    /// Why it is left as it is.
    pub fn of(
        block: &'a [u8],
        header: &Header,
        expected: (u64, u64),
        wrapper: &mut Vec<u8>,
    ) -> std::result::Result<Apart<'a>, &'static str> {
        let mut apart = Apart::default();
        let text = &mut apart.text;
        let (odd_index, odd_total) = (header.index != expected.0, header.total != expected.1);
        text.put_u8(if odd_index { ODD_INDEX } else { 0 } | if odd_total { ODD_TOTAL } else { 0 });
        for (is_odd, number) in [(odd_index, header.index), (odd_total, header.total)] {
            if is_odd {
                text.put(&number.to_le_bytes()[..5]); // of 8
            }
        }
        text.put_u16(header.version);
        text.put_u32(header.samples);
        text.put_u32(header.flags.0);
        let mut r = Reader::new("a block", block.get(HEADER..).unwrap_or_default());
        let (mut has_bits, mut has_checksum) = (false, false);
        while r.left() > 0 {
            let at = HEADER + r.at();
            let mut part = Part::of_block(&mut r).map_err(|_| "wavpack: sub-blocks that do not fill their block")?;
            let twice = match part.place() {
                Place::Text => false,
                Place::Wrapper => {
                    wrapper.put(part.content);
                    false
                }
                Place::Bitstream => {
                    apart.bits = part.content;
                    std::mem::replace(&mut has_bits, true)
                }
                Place::LowerStream => {
                    let stream = part.content.split_first_chunk::<LOWER_CHECK>();
                    let (crc, bits) = stream.ok_or("wavpack: a bitstream that is too short")?;
                    part.content = &[];
                    if part.is_new() {
                        part.content = bits.get(..1).ok_or("wavpack: a bitstream that is too short")?;
                    }
                    apart.lower.replace((u32::from_le_bytes(*crc), bits)).is_some()
                }
                Place::Checksum => {
                    let odd = !matches!(part.words, 1 | 2) || part.id & (ODD_SIZE | LONG_SIZE) != 0;
                    if odd || std::mem::replace(&mut has_checksum, true) {
                        return Err("wavpack: a checksum of another kind");
                    }
                    if !checksum(block.get(..at).unwrap_or_default(), part.words).starts_with(part.content) {
                        return Err("wavpack: a wrong checksum");
                    }
                    false
                }
            };
            let odd_bits = part.id & ODD_SIZE != 0 && matches!(part.place(), Place::Bitstream | Place::LowerStream);
            if twice || odd_bits {
                return Err("wavpack: more than a bitstream");
            }
            if part.is_new() && part.place() == Place::LowerStream {
                let width = part.content.first().copied().unwrap_or_default() & 31;
                Part { content: &[width], ..part }.put(text);
            } else {
                part.put(text);
            }
        }
        if has_bits { Ok(apart) } else { Err("wavpack: samples without bits") }
    }
}

/// What a block's metadata says of how its samples are coded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Setup {
    passes: [Pass; PASSES_MAX],
    /// Passes that there are.
    count: usize,
    /// Of each channel that is coded.
    pub medians: [Medians; 2],
    /// Lower bits: sent as they are; zeros, ones or copies of the lowest that were left out.
    pub lower: [u8; 4],
}

impl Setup {
    /// In the order in which the encoder runs them.
    pub fn passes(&mut self) -> &mut [Pass] {
        self.passes.get_mut(..self.count).unwrap_or_default()
    }

    fn terms(&mut self, bytes: &[u8], channels: usize) -> bool {
        self.count = bytes.len();
        bytes.len() <= PASSES_MAX
            && self.passes.iter_mut().zip(bytes).all(|(pass, &byte)| {
                (pass.term, pass.delta) = ((byte & 31) as i8 - 5, byte >> 5); // of 5 bits
                Pass::is_term(pass.term, channels)
            })
    }

    fn weights(&mut self, bytes: &[u8], channels: usize) -> bool {
        let each = bytes.chunks_exact(channels);
        let fits = each.remainder().is_empty() && each.len() <= self.count;
        for (pass, bytes) in self.passes.iter_mut().zip(each) {
            for (weight, &byte) in pass.weights.iter_mut().zip(bytes) {
                *weight = logs::weight(byte);
            }
        }
        fits
    }

    fn history(&mut self, bytes: &[u8], channels: usize) -> bool {
        let (mut logs, rest) = (bytes.as_chunks::<2>().0.iter(), bytes.len() % 2);
        let mut next = || logs.next().map(|&bytes| logs::exp2_signed(i16::from_le_bytes(bytes)));
        for pass in self.passes.iter_mut().take(self.count) {
            let mut i = 0;
            while let Some(place) = pass.history(i, channels) {
                match next() {
                    Some(sample) => *place = sample,
                    None => return rest == 0 && i == 0,
                }
                i += 1;
            }
        }
        rest == 0 && next().is_none()
    }

    /// The bytes that an encoder writes who goes on from here, of one kind.
    fn expected(&mut self, kind: u8, channels: usize) -> Option<Vec<u8>> {
        let passes = self.passes.get_mut(..self.count).unwrap_or_default();
        let logs = |logs: &[u16]| logs.iter().flat_map(|log| log.to_le_bytes()).collect();
        Some(match kind {
            WEIGHTS => {
                let each = passes.iter().flat_map(|pass| pass.weights.iter().take(channels));
                let mut bytes: Vec<u8> = each.map(|&weight| logs::weight_byte(weight)).collect();
                let zeros = bytes.rchunks(channels).take_while(|each| each.iter().all(|&byte| byte == 0)).count();
                bytes.truncate(bytes.len() - zeros * channels); // so many are there
                bytes
            }
            HISTORY => {
                let mut all = Vec::new();
                while let Some(&mut sample) = passes.first_mut().and_then(|pass| pass.history(all.len(), channels)) {
                    all.push(logs::log2_signed(sample).cast_unsigned());
                }
                logs(&all)
            }
            MEDIANS => {
                let all: Vec<u16> = self.medians.iter().take(channels).flatten().map(|&m| logs::log2(m)).collect();
                logs(&all)
            }
            _ => return None,
        })
    }
}

/// A text that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Text<'a> {
    pub odd: u8,
    /// Where it is not the expected one.
    pub index: Option<u64>,
    pub total: Option<u64>,
    pub version: u16,
    pub samples: u32,
    pub flags: Flags,
    parts: Vec<Part<'a>>,
}

impl<'a> Text<'a> {
    /// Reads a text.
    ///
    /// # Errors
    /// [`crate::Error::Malformed`] for what is no text.
    pub fn read(text: &'a [u8]) -> Result<Text<'a>> {
        let mut r = Reader::new("the text of a WavPack block", text);
        let odd = r.u8()?;
        let mut number = |bit| {
            let bytes = if odd & bit == 0 { return Ok(None) } else { r.array::<5>()? };
            Ok(Some(bytes.iter().rev().fold(0, |number, &byte| number << 8 | u64::from(byte))))
        };
        let (index, total) = (number(ODD_INDEX)?, number(ODD_TOTAL)?);
        let (version, samples, flags) = (r.u16()?, r.u32()?, Flags(r.u32()?));
        let mut parts = Vec::new();
        let mut seen = [false; 3];
        while r.left() > 0 {
            let part = Part::of_text(&mut r)?;
            let once = match part.place() {
                Place::Bitstream => seen.first_mut(),
                Place::LowerStream => seen.get_mut(1),
                Place::Checksum => seen.get_mut(2), // each is computed from all before it
                Place::Text | Place::Wrapper => None,
            };
            if once.is_some_and(|seen| std::mem::replace(seen, true)) {
                return Err(r.bad("a part that comes twice"));
            }
            parts.push(part);
        }
        Ok(Text { odd, index, total, version, samples, flags, parts })
    }

    /// What it says of how samples are coded; `None` where that is something that no reader takes.
    pub fn setup(&self) -> Option<Setup> {
        let mut setup = Setup::default();
        let channels = self.flags.coded_channels();
        let mut seen = 0_u64;
        for part in &self.parts {
            let kind = part.id & KIND;
            let bytes = part.bytes();
            let takes = match kind {
                TERMS => seen >> WEIGHTS & 3 == 0 && setup.terms(bytes, channels),
                WEIGHTS => setup.weights(bytes, channels),
                HISTORY => setup.history(bytes, channels),
                MEDIANS => {
                    let (logs, rest) = bytes.as_chunks::<2>();
                    for (median, &log) in setup.medians.iter_mut().flatten().zip(logs) {
                        *median = logs::exp2(u16::from_le_bytes(log));
                    }
                    rest.is_empty() && logs.len() == 3 * channels
                }
                LOWER_BITS => {
                    setup.lower = *bytes.first_chunk()?;
                    bytes.len() == 4 && setup.lower.iter().all(|&bits| bits < 32)
                }
                _ => continue,
            };
            if !takes || seen >> kind & 1 == 1 {
                return None;
            }
            seen |= 1 << kind; // below 64
        }
        Some(setup)
    }

    /// The width that a new stream of lower bits begins with; `Some(None)` for an old one.
    pub fn lower_width(&self) -> Option<Option<u8>> {
        let part = self.parts.iter().find(|part| part.place() == Place::LowerStream)?;
        Some(part.content.first().copied())
    }

    /// The text that an encoder makes next who goes on from `behind`, which is this block's setup behind its samples.
    pub fn expected(&self, behind: &mut Setup) -> Vec<u8> {
        let (mut text, channels) = (Vec::new(), self.flags.coded_channels());
        text.put_u8(self.odd & (ZEROS | LOWER_ZEROS));
        text.put_u16(self.version);
        text.put_u32(self.samples);
        text.put_u32(self.flags.0);
        for part in &self.parts {
            match behind.expected(part.id & KIND, channels) {
                // At most 16 terms, each of two bytes or with a history of 32.
                Some(mut bytes) => {
                    let odd = if bytes.len() % 2 == 1 { ODD_SIZE } else { 0 };
                    bytes.resize(bytes.len().next_multiple_of(2), 0);
                    let id = part.id & KIND | odd;
                    Part { id, words: bytes.len() / 2, content: &bytes }.put(&mut text);
                }
                None => part.put(&mut text),
            }
        }
        text
    }

    /// Puts a block together from its bitstreams and what is left of the wrapper, which it takes off.
    ///
    /// # Errors
    /// [`crate::Error::Malformed`] where it would be longer than `room` or than a block is, or a stream is missing.
    pub fn put(
        &self,
        index: u64,
        total: u64,
        crc: u32,
        (bits, lower): (&[u8], &[u8]),
        wrapper: &mut &[u8],
        (out, room): (&mut Vec<u8>, usize),
    ) -> Result<()> {
        let r = Reader::new("a WavPack segment", &[]);
        let begin = out.len();
        let words = |part: &Part<'_>| match part.place() {
            Place::Bitstream => bits.len() / 2,
            Place::LowerStream => lower.len() / 2,
            _ => part.words,
        };
        let sizes = self.parts.iter().map(|part| {
            let words = words(part);
            Part::fits(part.id, words).then(|| (if part.id & LONG_SIZE == 0 { 2 } else { 4 }) + 2 * words)
        });
        // Each is below 2^26, and so many are no more than bytes of the text.
        let bytes = sizes.sum::<Option<usize>>().map(|bytes| HEADER + bytes).filter(|&bytes| bytes < BLOCK_MAX);
        let bytes = bytes.filter(|&bytes| bytes <= room).ok_or_else(|| r.bad("a block that is too long"))?;
        let (version, samples, flags) = (self.version, self.samples, self.flags);
        Header { bytes, version, index, total, samples, flags, crc }.write(out);
        for part in &self.parts {
            out.put_u8(part.id);
            Part::put_size(part.id, words(part), out);
            match part.place() {
                Place::Text => out.put(part.content),
                Place::Bitstream => out.put(bits),
                Place::LowerStream => out.put(lower),
                Place::Wrapper => {
                    let (words, rest) = wrapper.split_at_checked(2 * part.words).ok_or_else(|| r.bad("no wrapper"))?;
                    out.put(words);
                    *wrapper = rest;
                }
                Place::Checksum => {
                    // Two bytes of it are already there.
                    let before = out.get(begin..out.len() - 2).unwrap_or_default();
                    let sum = checksum(before, part.words);
                    let sum = sum.get(..2 * part.words).ok_or_else(|| r.bad("a checksum of another size"))?;
                    out.put(sum);
                }
            }
        }
        Ok(())
    }
}
