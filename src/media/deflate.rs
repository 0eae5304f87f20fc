//! Deflate undone: a compressed stream as its text and as little as is needed to write the same bits again.
//!
//! ```text
//!  segment        whole blocks, up to about a MiB of the file, borders at any bit
//!   text          streams, as the text's own splitter says
//!   corrections   a stream: what an encoder like zlib would not have done the same way, see `tokens`
//!
//! parameters := version:u8 = 0  flags:u8  tail:u8  settings
//!                 flags: 1 the deflate stream begins here · 2 x bits of the byte before that a segment's first block
//!                 begins behind, 0 to 7
//!                 tail: the last byte's bits behind the last block, lowest first
//! settings   := lazy:u8 good:varint longest_lazy:varint nice:varint chain:varint far:varint window:varint
//! parts      := text{..} corrections
//! ```
//! A segment is made alone: a reference to text before it is written down where it cannot be guessed, and nothing of the
//! 32 KiB before a segment is kept in it.
//!
//! Owns the way from a deflate stream to segments, and back. The wrappers around it are [`super::zip`] and [`super::gzip`].
//!
//! # Invariants
//!
//! 1. Segments depend on the deflate stream's bytes alone (and on whether it is undone at all). A byte that two blocks
//!    share belongs to the first one's segment.
//! 2. The way back of version 1 never changes: the settings stand in the parameters, the predictor is `predict`.
//! 3. Text, tokens and steps of a segment are bounded, and so is the text of a stream against its bytes: what expands
//!    further stays as it is. A segment costs about 4 bytes for each token and its text.

mod bits;
mod coder;
mod inflate;
mod predict;
mod tokens;
mod tree;

use super::nested::Text;
use super::patience::Patience;
use super::runs::Walk;
use super::{DEFLATE, Deflate, Form, Mapped, MappedPart, StreamNumber, WINDOW_MIN};
use crate::error::{Error, Result};
use crate::format::wire::{Put, Reader};
use inflate::{Bits, Limits, Stop};
use predict::{KNOWN, Settings};
use tokens::Content;

/// The stream of corrections. Streams of the text from there on are one further.
pub const CORRECTIONS: StreamNumber = 5;

/// A segment ends behind the first block from here on, of the file's bytes or of its text.
const SOFT_BYTES: usize = 896 << 10;
const SOFT_TEXT: usize = 4 << 20;

/// A segment ends before the block that would go beyond.
const HARD_BYTES: usize = 1 << 20;
const LIMITS: Limits = Limits { text: 24 << 20, tokens: 4 << 20 };

const _: () = assert!(HARD_BYTES <= WINDOW_MIN / 2);

/// Text that any stream may have, and how many times its bytes more.
const TEXT_AT_FIRST: u64 = 64 << 20;
const TEXT_RATIO: u64 = 128;

/// How far references reach back.
const HISTORY: usize = 32 << 10;

/// Text by which settings are chosen, and by which it is asked whether to undo a stream.
const SAMPLE: usize = 96 << 10;
const ASKED: usize = 2 << 20;

/// Bits of corrections, of each 1024 of the sample, below which settings are good enough.
const GOOD: u64 = 1;
/// Above which undoing costs more than it could give.
const USELESS: u64 = 400;

/// What a step did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Some bytes were given.
    Went,
    /// The window does not show the next segment.
    Wait,
    /// The stream's last block was given.
    End,
    /// Nothing was given, nor will be.
    Stop(&'static str),
    /// It should not be undone.
    Declined,
}

/// Undoes one deflate stream.
pub(super) struct Undo<'a> {
    when: Deflate<'a>,
    text: Text<'a>,
    /// The text before, up to [`HISTORY`] bytes.
    history: Vec<u8>,
    /// Bits of the byte before that are read, and that byte.
    phase: u32,
    carry: u8,
    /// Those of the segment before, if they did well.
    settings: Option<Settings>,
    /// Nothing was given yet.
    first: bool,
    /// The stream of corrections goes on without a border.
    joins: bool,
    patience: Patience,
    text_bytes: u64,
}

/// Undoes a stream that may be told how many bytes it has: it does not go beyond them.
pub(super) struct Bounded<'a> {
    undo: Box<Undo<'a>>,
    given: u64,
    bytes: Option<u64>,
}

impl<'a> Bounded<'a> {
    /// `bytes`: those of the stream in the file, where that is known.
    pub fn new(undo: Undo<'a>, bytes: Option<u64>) -> Bounded<'a> {
        Bounded { undo: Box::new(undo), given: 0, bytes }
    }

    /// Bytes of the file so far.
    pub fn given(&self) -> u64 {
        self.given
    }

    /// Bytes that are still to come, where it is known how many there are.
    pub fn left(&self) -> Option<u64> {
        self.bytes.map(|bytes| bytes.saturating_sub(self.given))
    }

    /// As [`Undo::step`].
    pub fn step(&mut self, walk: &mut Walk<'_, '_>, last: bool) -> Step {
        let before = walk.rest().len();
        let shown = self.left().map_or(usize::MAX, |left| usize::try_from(left).unwrap_or(usize::MAX));
        let step = walk.within(shown, |part| self.undo.step(part, last || shown <= before));
        self.given += (before - walk.rest().len()) as u64; // the walk only goes on
        step
    }
}

/// Whole blocks, read.
struct Blocks {
    /// With the history in front.
    text: Vec<u8>,
    tokens: Vec<inflate::Token>,
    blocks: Vec<inflate::Block>,
    /// Where the last block ends, from the first byte on.
    bits: i64,
}

impl<'a> Undo<'a> {
    /// For a stream that comes next. `joins`: the file's stream of corrections has nothing else since its last border.
    pub fn new(when: Deflate<'a>, text: Text<'a>, joins: bool) -> Undo<'a> {
        Undo {
            when,
            text,
            history: Vec::new(),
            phase: 0,
            carry: 0,
            settings: None,
            first: true,
            joins,
            patience: Patience::default(),
            text_bytes: 0,
        }
    }

    /// Reads the next segment's blocks.
    fn read(&self, rest: &[u8], last: bool) -> std::result::Result<Blocks, Step> {
        let shown = rest.get(..HARD_BYTES).unwrap_or(rest);
        let mut bits = Bits::new(shown, self.phase, self.carry);
        let mut text = Vec::with_capacity(HISTORY + 2 * shown.len());
        text.extend_from_slice(&self.history);
        let limits = Limits { text: self.history.len() + LIMITS.text, ..LIMITS };
        let (mut tokens, mut blocks, mut end) = (Vec::with_capacity(shown.len()), Vec::new(), 0);
        loop {
            let (text_before, tokens_before) = (text.len(), tokens.len());
            let stop = match inflate::block(&mut bits, &mut text, &mut tokens, limits) {
                Ok(block) => {
                    let ended = block.last;
                    blocks.push(block);
                    end = bits.position();
                    let is_long = end >= SOFT_BYTES as i64 * 8 || text.len() - self.history.len() >= SOFT_TEXT;
                    if ended || is_long {
                        return Ok(Blocks { text, tokens, blocks, bits: end });
                    }
                    continue;
                }
                Err(stop) => stop,
            };
            text.truncate(text_before);
            tokens.truncate(tokens_before);
            match stop {
                Stop::Short if !last && shown.len() < HARD_BYTES => return Err(Step::Wait),
                // The next segment meets it again, and stops there.
                _ if !blocks.is_empty() => return Ok(Blocks { text, tokens, blocks, bits: end }),
                Stop::Short if shown.len() < HARD_BYTES => return Err(Step::Stop("deflate: it is cut short")),
                Stop::Short | Stop::Long => return Err(Step::Stop("deflate: a block that is too long")),
                Stop::Bad => return Err(Step::Stop("deflate: bits that are none")),
            }
        }
    }

    /// Undoes the next segment.
    pub fn step(&mut self, walk: &mut Walk<'_, '_>, last: bool) -> Step {
        let rest = walk.rest();
        if !last && !walk.is_fresh() && rest.len() < HARD_BYTES {
            return Step::Wait;
        }
        if self.patience.is_over() {
            return Step::Stop("deflate: too many segments");
        }
        let read = match self.read(rest, last) {
            Ok(read) => read,
            // The window is smaller than promised.
            Err(Step::Wait) if walk.is_fresh() => return Step::Stop("deflate: a window that is too small"),
            Err(step) => return step,
        };
        let text = read.text.get(self.history.len()..).unwrap_or_default();
        let bytes = usize::try_from(read.bits.max(1)).unwrap_or(usize::MAX).div_ceil(8);
        let Some(file) = rest.get(..bytes) else { return Step::Stop("deflate: bits that are none") };
        if self.first
            && let Deflate::Ask(ask) = self.when
            && !ask(text.get(..ASKED).unwrap_or(text))
        {
            return Step::Declined;
        }
        self.text_bytes += text.len() as u64;
        if self.text_bytes > TEXT_AT_FIRST + TEXT_RATIO * (self.patience.passed() + bytes as u64) {
            return Step::Stop("deflate: too much text");
        }
        let content = Content { text, blocks: &read.blocks, tokens: &read.tokens, first: self.first };
        let settings = match self.settings {
            Some(settings) => settings,
            None => match choose(content, file.len()) {
                Some(settings) => settings,
                None => return Step::Stop("deflate: an encoder that is not known"),
            },
        };
        let steps_max = tokens::steps_max(file.len(), text.len());
        let Some(corrections) = tokens::encode(content, settings, steps_max) else {
            return Step::Stop("deflate: too many steps");
        };
        if corrections.len() > file.len() / 2 + 64 {
            return Step::Stop("deflate: an encoder that is not known");
        }
        let did_well = corrections.len() <= file.len() / 32;
        let phase = (read.bits & 7) as u32; // 0 to 7
        let end = file.last().copied().unwrap_or_default();
        let mut parameters = vec![0, u8::from(self.first) | (self.phase as u8) << 1]; // at most 15
        parameters.put_u8(if phase == 0 { 0 } else { end >> phase });
        settings.encode_into(&mut parameters);
        let ended = read.blocks.last().is_some_and(|b| b.last);
        let mut parts = Vec::new();
        let mut at = 0;
        for run in self.text.split(text, ended) {
            let end = at + usize::try_from(run.bytes).unwrap_or(usize::MAX).min(text.len() - at);
            let bytes = text.get(at..end).unwrap_or_default().to_vec();
            at = end;
            let stream = if run.stream < CORRECTIONS { run.stream } else { run.stream.saturating_add(1).min(254) };
            parts.push(MappedPart { stream, cut: run.cut, form: run.form, bytes });
        }
        // Few bytes: those of all segments, and of all members, share chunks.
        parts.push(MappedPart { stream: CORRECTIONS, cut: !self.joins, form: Form::Bytes, bytes: corrections });
        walk.map(Mapped { bytes: bytes as u64, how: DEFLATE, parts, parameters });
        self.patience.spend();
        self.patience.earn(bytes as u64);
        self.settings = did_well.then_some(settings);
        (self.first, self.joins) = (false, true);
        (self.phase, self.carry) = (phase, end);
        self.history = read.text.get(read.text.len().saturating_sub(HISTORY)..).unwrap_or_default().to_vec();
        if ended { Step::End } else { Step::Went }
    }
}

/// The settings that guess best; `None` where none does well enough.
fn choose(content: Content<'_>, file_bytes: usize) -> Option<Settings> {
    let sample = content.front(SAMPLE);
    let steps_max = tokens::steps_max(file_bytes.min(SAMPLE), sample.text.len()) / 2;
    let bits = if content.text.is_empty() { 0 } else { file_bytes * 8 * sample.text.len() / content.text.len() } as u64;
    let mut best: Option<(u64, Settings)> = None;
    for settings in KNOWN {
        let Some((cost, _)) = tokens::cost(sample, settings, steps_max) else { continue };
        if best.is_none_or(|(least, _)| cost < least) {
            best = Some((cost, settings));
        }
        if cost * 1024 <= bits * GOOD {
            break;
        }
    }
    best.filter(|(cost, _)| cost * 1024 <= bits * USELESS + (1 << 20)).map(|b| b.1)
}

/// Writes a segment's bits again.
///
/// # Errors
/// [`Error::Malformed`] for what `Undo` never left.
pub fn inverse(parameters: &[u8], parts: &[&[u8]], bytes: usize) -> Result<Vec<u8>> {
    let mut r = Reader::new("a deflate segment", parameters);
    if r.u8()? != 0 {
        return Err(r.bad("a version that this one does not know: update onefold"));
    }
    let (flags, tail) = (r.u8()?, r.u8()?);
    let settings = Settings::decode(&mut r)?;
    r.end()?;
    let (corrections, texts) = parts.split_last().ok_or_else(|| r.bad("a part is missing"))?;
    let joined;
    let text = match texts {
        [text] => *text,
        texts => {
            joined = texts.concat();
            &joined
        }
    };
    let phase = u32::from(flags >> 1 & 7);
    let shared = usize::from(phase > 0);
    if text.len() > LIMITS.text + (1 << 17) || flags > 15 {
        return Err(r.bad("a segment that is never written"));
    }
    let mut out = bits::Writer::with_capacity(bytes.min(HARD_BYTES) + 64);
    out.put(0, phase);
    tokens::decode(text, corrections, settings, flags & 1 == 1, &mut out, bytes + shared).ok_or(Error::Malformed {
        what: "a deflate segment",
        offset: 0,
        why: "text and corrections do not fit",
    })?;
    let mut out = out.finish(tail);
    out.drain(..shared.min(out.len()));
    Ok(out)
}

#[cfg(test)]
pub(super) mod tests;
