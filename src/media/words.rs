//! Samples in one order: signed, little-endian, as narrow as they are. Version 1.
//!
//! WAV, AIFF, CAF and FLAC of one recording meet only if their samples are the same bytes. A *word* is a sample as it
//! stands in the file; in the stream it is a signed little-endian integer of `width` bytes:
//!
//! ```text
//!  in the file                          in the stream
//!  big-endian integer                   its bytes turned round
//!  unsigned integer (8-bit WAV)         less half its range
//!  integer whose low bytes are zero     without them: 24 bits in 32, 16 in 24
//!  float n / 2^(8 * width - 1)          n, with n of `width` bytes
//!  any other float                      its bytes, little-endian (where all of a segment stays so)
//! ```
//!
//! # What stands in a recipe
//!
//! ```text
//! parameters  := word:u8 width:u8
//!                  word: 1, 2, 3, 4 or 8 bytes of a word   16 big-endian   32 unsigned   64 float
//!                  width: bytes of a sample in the stream, 1 to 4, or those of the word
//! parts       := samples corrections?
//! samples     := sample*                   one for each word
//! corrections := (skip:varint word)*       words, little-endian, that are not what their sample says, each so many
//!                                          words behind the one before
//! ```
//! An integer's sample is its `width` highest bytes: the others are zero. Where `width` is the word's, a float's sample
//! is its bits; else it is `n`, at most 3 bytes in a word of 4. A segment holds whole words.
//!
//! # Invariants
//!
//! 1. What `apart` gives, [`inverse`] puts together; anything else is refused or gives bytes of the asked length.
//! 2. Every step between an integer and a float is exact: its result depends neither on rounding nor on the machine.
//! 3. Samples of one recording are the same bytes from any word that can hold them.
//! 4. Memory is that of the segment; work is linear in it.

mod kernels;

use super::{MappedPart, StreamNumber, WORDS};
use crate::chunk::{Form, Pcm};
use crate::error::Result;
use crate::format::wire::Reader;
use kernels::Integers;

/// The stream of corrections, of a file that is nothing but sound.
pub const CORRECTIONS: StreamNumber = 2;

/// Samples a segment holds at most: so it takes less than a MiB of the file, for which a window always has room. A
/// multiple of all usual numbers of channels.
const SEGMENT_SAMPLES: usize = 240 << 10;

const _: () = assert!(4 * SEGMENT_SAMPLES < super::WINDOW_MIN / 2 && SEGMENT_SAMPLES > CHANNELS_MAX as usize);

/// One of so many words of a segment may need a correction. More are no integers that became floats.
const CORRECTED_SHARE: usize = 32;

/// The most channels whose samples are looked at.
const CHANNELS_MAX: u32 = 255;

/// The narrowest width that is looked for: silence should not make a file of 16 bits one of 8.
const NARROWEST: u8 = 2;

const BIG_ENDIAN: u8 = 16;
const UNSIGNED: u8 = 32;
const FLOAT: u8 = 64;

/// What a word is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Two's complement.
    Signed,
    /// Half the range is silence.
    Unsigned,
    /// IEEE 754, full scale at 1.
    Float,
}

/// A sample as it stands in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Word {
    bytes: u8,
    big_endian: bool,
    kind: Kind,
}

impl Word {
    /// A word of so many bytes: 1 to 4 for integers, 4 or 8 for floats. `None` for what there is no order for.
    pub fn new(bytes: u32, big_endian: bool, kind: Kind) -> Option<Word> {
        let bytes = match (bytes, kind) {
            (1..=4, Kind::Signed | Kind::Unsigned) | (4 | 8, Kind::Float) => bytes as u8, // at most 8
            _ => return None,
        };
        // One byte has no order; one way of saying so keeps the parameters alike.
        Some(Word { bytes, big_endian: big_endian && bytes > 1, kind })
    }

    /// Bytes of it.
    pub fn bytes(self) -> usize {
        self.bytes.into()
    }

    pub fn is_big_endian(self) -> bool {
        self.big_endian
    }

    pub fn is_float(self) -> bool {
        self.kind == Kind::Float
    }

    /// Bytes of a frame of so many channels; at least one.
    pub fn frame_bytes(self, channels: u8) -> usize {
        usize::from(self.bytes) * usize::from(channels.max(1))
    }

    fn code(self) -> u8 {
        let big_endian = if self.big_endian { BIG_ENDIAN } else { 0 };
        let kind = match self.kind {
            Kind::Signed => 0,
            Kind::Unsigned => UNSIGNED,
            Kind::Float => FLOAT,
        };
        self.bytes | big_endian | kind
    }

    fn of(code: u8) -> Option<Word> {
        let kind = match code & !(BIG_ENDIAN | 15) {
            0 => Kind::Signed,
            UNSIGNED => Kind::Unsigned,
            FLOAT => Kind::Float,
            _ => return None,
        };
        Word::new(u32::from(code & 15), code & BIG_ENDIAN != 0, kind).filter(|w| w.code() == code)
    }

    /// Whether a sample of the word's own width has the same bytes as the word.
    fn is_native(self) -> bool {
        !self.big_endian && self.kind != Kind::Unsigned
    }

    /// Whether samples may have this width.
    fn takes(self, width: u8) -> bool {
        match self.kind {
            Kind::Signed | Kind::Unsigned => (1..=self.bytes).contains(&width),
            Kind::Float if width == self.bytes => true,
            Kind::Float => (1..=self.widest_integer()).contains(&width),
        }
    }

    /// What makes the highest byte of such a word that of a signed one.
    fn flip(self) -> u8 {
        if self.kind == Kind::Unsigned { 0x80 } else { 0 }
    }

    /// The widest integers that a float holds all of.
    fn widest_integer(self) -> u8 {
        if self.bytes == 4 { 3 } else { 4 }
    }
}

/// What a width is presumed of silence at a file's start: what is wider than 16 bits mostly has 24.
const PRESUMED: u8 = 3;

/// What a segment of a track is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Taken {
    /// It stands in the file as it does in the stream.
    Plain(Form),
    Mapped(super::Mapped),
}

/// Says how the samples of one file come into the stream, segment by segment.
///
/// Begins as narrow as the first segment with any sound is (2 bytes at least) and widens for good at the first that
/// does not fit: so silence within a file of 24 bits changes nothing, and what is decided depends on the bytes so far
/// alone. Silence before all sound has the width that most files have, so that these have no border behind it.
#[derive(Clone, Debug)]
pub struct Track {
    word: Word,
    /// 1 to [`CHANNELS_MAX`].
    channels: u8,
    /// 0 before any sound, unless it can be told without.
    width: u8,
    /// The width of the last segment.
    before: Option<u8>,
    /// A correction was given.
    corrected: bool,
    /// Of the segment in work, kept so that it is made once.
    integers: Integers,
}

impl Track {
    /// Interleaved words, a frame of `channels` after the other. `None` for more channels than are looked at.
    pub fn new(word: Word, channels: u32) -> Option<Track> {
        if !(1..=CHANNELS_MAX).contains(&channels) {
            return None;
        }
        let width = if word.bytes <= NARROWEST { word.bytes } else { 0 };
        Some(Track {
            word,
            channels: channels as u8,
            width,
            before: None,
            corrected: false,
            integers: Integers::default(),
        })
    }

    /// Bytes of a frame in the file.
    pub fn frame_bytes(&self) -> usize {
        usize::from(self.channels) * usize::from(self.word.bytes)
    }

    /// Bytes of the file that a segment takes: whole frames, less than a MiB. Only the last one is shorter.
    pub fn segment_bytes(&self) -> usize {
        // As many frames for each word but the longest, so that all of them widen at the same frame.
        let samples = if self.word.bytes <= 4 { SEGMENT_SAMPLES } else { SEGMENT_SAMPLES / 2 };
        samples / usize::from(self.channels) * self.frame_bytes()
    }

    /// The form of samples of a width.
    fn form(&self, width: u8) -> Form {
        let is_float = self.word.kind == Kind::Float && width == self.word.bytes;
        if is_float || width > 4 || self.channels > 32 {
            return Form::Bytes;
        }
        Form::Pcm(Pcm { sample_bytes: width, channels: self.channels, coded: false })
    }

    fn is_plain(&self, width: u8) -> bool {
        width == self.word.bytes && self.word.is_native()
    }

    /// The form of all that comes, if it stands in the file as it will in the stream.
    pub fn plain(&self) -> Option<Form> {
        self.is_plain(self.width).then(|| self.form(self.width))
    }

    /// Whether it is one of such words in so many channels.
    pub fn is_of(&self, word: Word, channels: u32) -> bool {
        self.word == word && u32::from(self.channels) == channels
    }

    /// Takes the next segment, whole frames, for these streams.
    pub fn take(&mut self, essence: StreamNumber, corrections_to: StreamNumber, file: &[u8]) -> Taken {
        let mut width = self.width;
        if width < self.word.bytes {
            match self.needed(file) {
                0 if width == 0 => width = PRESUMED.min(self.word.bytes), // and it stays open
                needed => {
                    width = width.max(needed).max(NARROWEST);
                    self.width = width;
                }
            }
        }
        let cut = self.before != Some(width);
        self.before = Some(width);
        if self.is_plain(width) {
            return Taken::Plain(self.form(width));
        }
        let (samples, corrections) = apart(self.word, width, file, &mut self.integers);
        let mut parts = vec![MappedPart { stream: essence, cut, form: self.form(width), bytes: samples }];
        if !corrections.is_empty() {
            let cut = !std::mem::replace(&mut self.corrected, true);
            parts.push(MappedPart { stream: corrections_to, cut, form: Form::Bytes, bytes: corrections });
        }
        let parameters = vec![self.word.code(), width];
        // A usize is at most 64 bits wide.
        Taken::Mapped(super::Mapped { bytes: file.len() as u64, how: WORDS, parts, parameters })
    }

    /// The bytes that samples of this segment need; 0 for silence. Those of floats stand in `self.integers` then.
    fn needed(&mut self, file: &[u8]) -> u8 {
        match self.word.kind {
            Kind::Signed => kernels::used_bytes(file, self.word.bytes, self.word.big_endian),
            // Its silence is not zero.
            Kind::Unsigned => kernels::used_bytes(file, self.word.bytes, self.word.big_endian).max(NARROWEST),
            Kind::Float => {
                let most = file.len() / usize::from(self.word.bytes) / CORRECTED_SHARE;
                let fits = kernels::integers(file, self.word.bytes, self.word.big_endian, most, &mut self.integers);
                match (fits, self.integers.corrections.is_empty()) {
                    (false, _) => self.word.bytes,
                    (true, true) => self.integers.used_bytes(),
                    (true, false) => self.integers.used_bytes().max(NARROWEST),
                }
            }
        }
    }
}

/// Samples of this width, and corrections. `integers` are those of the file's floats, unless their bits are kept.
fn apart(word: Word, width: u8, file: &[u8], integers: &mut Integers) -> (Vec<u8>, Vec<u8>) {
    if word.kind == Kind::Float && width < word.bytes {
        (kernels::pack(&integers.values, width), std::mem::take(&mut integers.corrections))
    } else {
        (kernels::narrow(file, word.bytes, word.big_endian, width, word.flip()), Vec::new())
    }
}

/// Puts words together again.
///
/// # Errors
/// [`crate::Error::Malformed`] for what no splitter left.
pub fn inverse(parameters: &[u8], parts: &[&[u8]], bytes: usize) -> Result<Vec<u8>> {
    let mut r = Reader::new("a segment of samples", parameters);
    let word = Word::of(r.u8()?).ok_or_else(|| r.bad("a word that there is not"))?;
    let width = r.u8()?;
    r.end()?;
    if !word.takes(width) {
        return Err(r.bad("samples of a width that such words do not have"));
    }
    let (samples, corrections) = match *parts {
        [samples] => (samples, &[][..]),
        [samples, corrections] => (samples, corrections),
        _ => return Err(r.bad("neither one nor two parts")),
    };
    let size = usize::from(word.bytes);
    let words = bytes / size;
    // So memory is that of the parts, whatever the recipe says: a word is at most 8 times as long as its sample.
    if words * size != bytes || words.checked_mul(usize::from(width)) != Some(samples.len()) {
        return Err(r.bad("another number of samples than of words"));
    }
    let mut out = if word.kind == Kind::Float && width < word.bytes {
        kernels::floats(samples, width, word.bytes, word.big_endian)
    } else {
        kernels::spread(samples, width, word.flip(), word.bytes, word.big_endian)
    };
    correct(word, corrections, &mut out)?;
    Ok(out)
}

/// Puts in the words that their samples do not tell.
fn correct(word: Word, corrections: &[u8], out: &mut [u8]) -> Result<()> {
    let mut r = Reader::new("corrections of samples", corrections);
    let mut left = out.chunks_exact_mut(usize::from(word.bytes));
    while r.left() > 0 {
        let skip = usize::try_from(r.varint()?).unwrap_or(usize::MAX);
        let place = left.nth(skip).ok_or_else(|| r.bad("a correction beyond the end"))?;
        place.copy_from_slice(r.take(usize::from(word.bytes))?); // as long
        if word.big_endian {
            place.reverse();
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
