//! FLAC: metadata apart from samples, and samples apart from the encoder's decisions (RFC 9639).
//!
//! ```text
//!  tags *         wrapper   ID3v2, which some writers put in front
//!  "fLaC"         wrapper
//!  block header   wrapper   1 bit last, 7 bits type, 24 bits length
//!  block          wrapper   passed over by its length; a PICTURE stands between borders of its own
//!  ...
//!  frames         segments of about a MiB:
//!    samples        essence   PCM, as a WAV of the same recording has them
//!    decisions      a stream of their own: what the encoder chose, see `decisions`
//!    the rest       sync codes, CRCs, residuals: computed
//!  no frames      essence   as they are, up to the next frame with right CRCs
//!  tags *         wrapper   see `tags`
//! ```
//!
//! Owns the way from the marker to the end. The way back is [`inverse`]. Frames in a container are taken apart by
//! [`take_apart`] for its own splitter; their way back is [`within`].
//!
//! # Invariants
//!
//! 1. The essence starts at the first frame and holds the same bytes under any metadata. The same samples are the same
//!    bytes, whichever encoder made the frames.
//! 2. Where segments end depends on the frames alone. Parameters hold the only number that counts from the start.
//! 3. Memory: one segment's samples, one frame. Frames that hold much silence in few bytes stay as they are, so what is
//!    handed out is at most `RATIO_MAX` times what was shown.
//! 4. At most a segment and a frame are held back; behind frames what tags may take.

pub(super) mod bits;
mod crc;
mod decisions;
mod frame;
mod pcm;
mod predict;
pub(super) mod range;
mod segment;
pub mod within;

pub use segment::inverse;

use super::patience::Patience;
use super::runs::{Last, Walk};
use super::tags::{ID3V2_HEADER, TRAILING_MAX, give_sound, id3v2_bytes, lost};
use super::{ESSENCE, FLAC, FLAC_FRAMES, Hints, Mapped, MappedPart, Part, Splitter, SplitterId, StreamNumber};
use super::{WINDOW_MIN, WRAPPER};
use crate::chunk::Form;
use crate::format::limits;
use frame::{FRAME_MAX, Frame, Header, NoFrame};
use segment::Segment;

/// The stream of the encoder's decisions.
pub const DECISIONS: StreamNumber = 2;

/// A segment ends behind the first frame from here on.
pub const SOFT_BYTES: usize = 960 << 10;

const _: () = assert!(SOFT_BYTES + FRAME_MAX <= WINDOW_MIN && TRAILING_MAX + FRAME_MAX <= WINDOW_MIN);

/// A segment ends before the frame that would bring it beyond so many bytes of samples.
pub const SAMPLES_MAX: usize = 8 << 20;

const _: () = assert!(SAMPLES_MAX as u64 <= 2 * limits::SEGMENT_BYTES);

/// Segments of more bytes of samples for each of the file stay as they are: that is silence, and cheaper so.
const RATIO_MAX: usize = 16;

/// Bytes of samples that are decoded for each byte of the file, and at first.
const DECODED_MAX: (u64, u64) = (64, 256 << 20);

/// Bytes from which on a segment in a container may end before so many samples.
pub const WORTH_BYTES: usize = SAMPLES_MAX / RATIO_MAX;

/// Once so many bytes of samples are handed out, more come with the next window.
pub const ENOUGH: usize = 16 << 20;

/// What a FLAC stream begins with.
pub const MARKER: &[u8; 4] = b"fLaC";

/// Bytes of a metadata block's header.
pub const BLOCK_HEADER: usize = 4;

/// Bytes from which on a picture is worth two borders: it comes again in every track of its album.
/// Smaller ones would make chunks whose records and references cost a notable part of them.
const PICTURE_ALONE: u32 = 16 << 10;

const STREAMINFO: u8 = 0;
const STREAMINFO_BYTES: u32 = 34;
const PICTURE: u8 = 6;
/// Forbidden, since with the bit before it a block header would look like a frame's sync code.
const FORBIDDEN: u8 = 127;

/// The header of a metadata block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockHeader {
    /// No metadata block follows.
    pub last: bool,
    /// 0 to 126.
    pub kind: u8,
    /// Bytes of the block behind its header, below 16 MiB.
    pub bytes: u32,
}

impl BlockHeader {
    /// Reads the header that starts `bytes`; `None` if it is cut short or of the forbidden type.
    pub fn read(bytes: &[u8]) -> Option<BlockHeader> {
        let &[kind, a, b, c] = bytes.first_chunk()?;
        let header = BlockHeader { last: kind & 0x80 != 0, kind: kind & 0x7f, bytes: u32::from_be_bytes([0, a, b, c]) };
        (header.kind != FORBIDDEN).then_some(header)
    }
}

/// Opens a FLAC file: the marker, behind any number of ID3v2 tags.
///
/// Where the tags hide the marker from the head, [`super::mp3`] takes the file and hands it over.
pub fn open(hints: Hints<'_>) -> Option<Box<dyn Splitter>> {
    let mut rest = hints.head;
    while let Some(bytes) = id3v2_bytes(rest) {
        rest = rest.get(usize::try_from(bytes).ok()?..)?;
    }
    rest.starts_with(MARKER).then(|| Box::new(Flac::new(Last::default())) as Box<dyn Splitter>)
}

/// Frames that stood in a container, taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TakenApart {
    /// With samples and decisions as parts, [`inverse`] gives the frames one after the other.
    pub parameters: Vec<u8>,
    pub samples: Vec<u8>,
    /// Of the samples.
    pub form: Form,
    pub decisions: Vec<u8>,
}

/// Takes bytes apart that are whole frames, one behind the other, as the packets of Ogg and Matroska are. `bits` are those
/// of a sample in STREAMINFO ([`sample_bits`]), `samples_max` the bytes of samples that are worth it
/// ([`worth_samples`]).
///
/// # Errors
/// A reason to leave them as they are: something else stands among them, they differ in channels or bits of a sample, or
/// they hold too many samples. Nothing beyond `samples_max` is decoded.
pub fn take_apart(frames: &[u8], bits: Option<u8>, samples_max: usize) -> Result<TakenApart, &'static str> {
    let mut frame = Frame::default();
    let mut segment = None::<Segment>;
    let mut rest = frames;
    while !rest.is_empty() {
        if segment.as_ref().map_or(0, |s| s.pcm.len()).saturating_add(samples_bytes(rest, bits)) > samples_max {
            return Err("flac: too much silence");
        }
        let bytes = match frame.read(rest.get(..FRAME_MAX).unwrap_or(rest), bits) {
            Ok(bytes) => bytes,
            Err(NoFrame::Bad(reason)) => return Err(reason),
            Err(NoFrame::Short) => return Err("flac: half a frame"),
        };
        rest = rest.get(bytes..).unwrap_or_default(); // it was read there
        let bits = frame.header.bits(bits).unwrap_or_default(); // it was read
        let of = segment.get_or_insert_with(|| Segment::new(frame.header, bits));
        if !of.takes(frame.header, bits) {
            return Err("flac: a frame of another kind within a segment");
        }
        if !of.add(&mut frame) {
            return Err("flac: a sample beyond its bits");
        }
    }
    let segment = segment.ok_or("flac: no frame")?;
    let form = segment.form();
    let (parameters, samples, decisions) = segment.finish();
    Ok(TakenApart { parameters, samples, form, decisions })
}

/// Bytes of samples up to which so many bytes of frames are taken apart.
pub fn worth_samples(bytes: usize) -> usize {
    bytes.saturating_mul(RATIO_MAX)
}

/// Bytes of the samples of the frame that starts `bytes`, as its header says; 0 if there is no such header.
pub fn samples_bytes(bytes: &[u8], bits: Option<u8>) -> usize {
    let Ok((header, _)) = Header::read(bytes) else { return 0 };
    let sample_bytes = pcm::sample_bytes(header.bits(bits).unwrap_or_default().into());
    header.block_samples().unwrap_or_default() * header.channels() * sample_bytes // at most 2^21
}

/// Finds out where frames end that nothing else tells the lengths of. What it reads in vain, or of silence, it reads for
/// as long as the bytes passed so far allow.
#[derive(Debug, Default)]
pub struct Lengths {
    frame: Frame,
    spent: u64,
}

impl Lengths {
    /// Bytes of the frame that starts `bytes`, whole and sound; so many bytes of the file came before. Only those of its
    /// bits are known that it tells itself.
    pub fn first(&mut self, bytes: &[u8], passed: u64) -> Option<usize> {
        let shown = bytes.get(..FRAME_MAX).unwrap_or(bytes);
        let (each, first) = DECODED_MAX;
        let cost = samples_bytes(shown, None) as u64;
        if self.spent.saturating_add(cost) > passed.saturating_mul(each).saturating_add(first) {
            return None;
        }
        let length = if cost > 0 { self.frame.read(shown, None).ok() } else { None };
        let in_vain = if cost > 0 && length.is_none() { shown.len() as u64 } else { 0 };
        self.spent = self.spent.saturating_add(cost).saturating_add(in_vain);
        length
    }
}

/// Reads the bits of a sample out of the 34 bytes of STREAMINFO.
pub fn sample_bits(info: &[u8]) -> Option<u8> {
    // 80 bits of sizes, 20 of the rate, 3 of channels, 5 of bits - 1.
    let &[a, b] = info.get(12..)?.first_chunk::<2>()?;
    Some(((a & 1) << 4 | b >> 4) + 1)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Before the marker.
    Front,
    /// Before a block's header. The first block must be STREAMINFO.
    Block {
        first: bool,
    },
    /// Behind the last block, or a frame.
    Frames,
    /// Behind bytes that are no frame, for this reason.
    Lost(&'static str),
    /// Sound that is not looked at.
    Plain,
    Opaque,
}

/// How far the next segment goes.
enum Scan {
    /// So many bytes.
    Segment(Box<Segment>, usize),
    /// The window does not show its end. So far it has so many bytes.
    Wait(Option<Box<Segment>>, usize),
    /// It begins with something else.
    NoFrame(&'static str),
}

/// The splitter of one FLAC file.
#[derive(Debug)]
pub(super) struct Flac {
    state: State,
    /// Bytes of a tag or block still to pass before `state` holds.
    left: u64,
    /// A border stands behind those bytes.
    alone: bool,
    /// Bits of a sample, as STREAMINFO tells them.
    bits: Option<u8>,
    frame: Frame,
    /// What the samples so far are; none follow if it is not known.
    form: Option<Form>,
    has_decisions: bool,
    patience: Patience,
    /// Bytes of samples.
    decoded: u64,
    before: Last,
    doubt: Option<&'static str>,
}

impl Flac {
    /// Goes on from a splitter that passed the tags in front.
    pub fn new(before: Last) -> Flac {
        Flac {
            state: State::Front,
            left: 0,
            alone: false,
            bits: None,
            frame: Frame::default(),
            form: None,
            has_decisions: false,
            patience: Patience::default(),
            decoded: 0,
            before,
            doubt: None,
        }
    }

    fn give_up(&mut self, state: State, reason: &'static str) {
        self.state = state;
        self.doubt.get_or_insert(reason);
    }

    /// Passes one thing. False if more must be seen for that.
    fn step(&mut self, walk: &mut Walk<'_, '_>, last: bool) -> bool {
        let rest = walk.rest();
        // A header may lie across the next window's start.
        let held = match self.state {
            State::Front | State::Block { first: false } => ID3V2_HEADER,
            State::Block { first: true } => BLOCK_HEADER + STREAMINFO_BYTES as usize, // 34
            State::Plain => TRAILING_MAX + 1,
            State::Frames => SOFT_BYTES,
            State::Lost(_) | State::Opaque => 0,
        };
        if !last && !walk.is_fresh() && rest.len() < held {
            return false;
        }
        match self.state {
            State::Front => {
                if let Some(bytes) = id3v2_bytes(rest) {
                    self.left = bytes;
                } else if rest.starts_with(MARKER) {
                    self.left = MARKER.len() as u64;
                    self.state = State::Block { first: true };
                } else {
                    self.give_up(State::Opaque, "flac: no marker");
                }
            }
            State::Block { first } => self.block(walk, first),
            State::Frames => return self.segment(walk, last),
            State::Lost(reason) => return self.search(walk, last, reason),
            State::Plain => give_sound(walk, last),
            State::Opaque => walk.give(ESSENCE, rest.len()),
        }
        true
    }

    fn block(&mut self, walk: &mut Walk<'_, '_>, first: bool) {
        let rest = walk.rest();
        let Some(header) = BlockHeader::read(rest) else {
            return self.give_up(State::Opaque, "flac: a block header that is none");
        };
        if first {
            if (header.kind, header.bytes) != (STREAMINFO, STREAMINFO_BYTES) {
                return self.give_up(State::Opaque, "flac: STREAMINFO is not first");
            }
            self.bits = rest.get(BLOCK_HEADER..).and_then(sample_bits);
        }
        self.left = BLOCK_HEADER as u64 + u64::from(header.bytes);
        self.alone = header.kind == PICTURE && header.bytes >= PICTURE_ALONE;
        if self.alone {
            walk.cut();
        }
        self.state = if header.last { State::Frames } else { State::Block { first: false } };
    }

    /// Reads the frame that starts `rest`.
    fn read(&mut self, rest: &[u8], last: bool) -> Result<usize, NoFrame> {
        let shown = rest.get(..FRAME_MAX).unwrap_or(rest);
        match self.frame.read(shown, self.bits) {
            Err(NoFrame::Short) if shown.len() == FRAME_MAX => Err(NoFrame::Bad("flac: a frame that is too long")),
            Err(NoFrame::Short) if last => Err(NoFrame::Bad("flac: the file ends within a frame")),
            other => other,
        }
    }

    fn scan(&mut self, rest: &[u8], last: bool) -> Scan {
        let mut segment: Option<Box<Segment>> = None;
        let mut at = 0;
        let reason = loop {
            let bytes = match self.read(rest.get(at..).unwrap_or_default(), last) {
                Ok(bytes) => bytes,
                Err(NoFrame::Short) => return Scan::Wait(segment, at),
                Err(NoFrame::Bad(reason)) => break reason,
            };
            let header = self.frame.header;
            let bits = header.bits(self.bits).unwrap_or_default(); // it was read
            let of = segment.get_or_insert_with(|| Box::new(Segment::new(header, bits)));
            let room = of.pcm.len() + of.pcm_bytes(header) <= SAMPLES_MAX; // a frame has at most 2 MiB
            if !room || !of.takes(header, bits) {
                break "";
            }
            if !of.add(&mut self.frame) {
                break "flac: a sample beyond its bits";
            }
            at += bytes;
            if at >= SOFT_BYTES {
                break "";
            }
        };
        match segment {
            Some(segment) if at > 0 => Scan::Segment(segment, at),
            _ => Scan::NoFrame(reason),
        }
    }

    /// Gives the next segment. False if more must be seen for that.
    fn segment(&mut self, walk: &mut Walk<'_, '_>, last: bool) -> bool {
        let rest = walk.rest();
        match self.scan(rest, last) {
            Scan::Segment(segment, bytes) => self.give_segment(walk, *segment, bytes),
            Scan::Wait(..) if !walk.is_fresh() => return false,
            // The window is smaller than promised.
            Scan::Wait(Some(segment), bytes) if bytes > 0 => self.give_segment(walk, *segment, bytes),
            Scan::Wait(..) => {
                self.give_up(State::Lost("flac: a window that is too small"), "flac: a window that is too small");
                self.give_plain(walk, rest.len());
            }
            Scan::NoFrame(reason) => self.state = State::Lost(reason),
        }
        true
    }

    fn give_segment(&mut self, walk: &mut Walk<'_, '_>, segment: Segment, bytes: usize) {
        self.decoded = self.decoded.saturating_add(segment.pcm.len() as u64);
        if segment.pcm.len() > RATIO_MAX * bytes {
            self.give_plain(walk, bytes);
        } else {
            let form = segment.form();
            let (parameters, pcm, decisions) = segment.finish();
            let parts = vec![
                MappedPart { stream: ESSENCE, cut: self.form != Some(form), form, bytes: pcm },
                MappedPart { stream: DECISIONS, cut: !self.has_decisions, form: Form::Bytes, bytes: decisions },
            ];
            self.form = Some(form);
            self.has_decisions = true;
            walk.map(Mapped { bytes: bytes as u64, how: FLAC_FRAMES, parts, parameters });
            self.patience.earn(bytes as u64);
        }
        self.spend();
        let (each, first) = DECODED_MAX;
        if self.decoded > self.patience.passed().saturating_mul(each).saturating_add(first) {
            self.give_up(State::Plain, "flac: too much silence");
        }
    }

    /// Gives bytes as they are.
    fn give_plain(&mut self, walk: &mut Walk<'_, '_>, bytes: usize) {
        self.patience.earn(bytes as u64);
        self.give_lost(walk, bytes);
    }

    /// The same, where they were earned.
    fn give_lost(&mut self, walk: &mut Walk<'_, '_>, bytes: usize) {
        walk.give(ESSENCE, bytes);
        self.form = None;
    }

    fn spend(&mut self) {
        self.patience.spend();
        if self.patience.is_over() {
            self.give_up(State::Plain, "flac: too many breaks");
        }
    }

    /// Passes bytes that are no frame, up to the next one or the tags at the end. False if more must be seen for that.
    fn search(&mut self, walk: &mut Walk<'_, '_>, last: bool, reason: &'static str) -> bool {
        let rest = walk.rest();
        // What may be tags stays; before that, the longest frame is seen whole.
        let end = if last { rest.len() } else { rest.len().saturating_sub(TRAILING_MAX) };
        let (mut at, mut earned) = (0, 0);
        while let Some(next) = rest.get(at..end).and_then(|r| r.iter().position(|&b| b == 0xff)) {
            at += next;
            let candidate = rest.get(at..).unwrap_or_default();
            if Header::read(candidate).is_ok() {
                // What was passed earns before a look costs: when it gives up does not depend on the window.
                self.patience.earn((at - earned) as u64); // it only grows
                earned = at;
                if self.read(candidate, last).is_ok() {
                    self.give_up(State::Frames, reason);
                    self.give_lost(walk, at);
                    return true;
                }
                self.patience.spend();
                if self.patience.is_over() {
                    self.give_up(State::Plain, reason);
                    self.give_lost(walk, at);
                    return true;
                }
            }
            at += 1;
        }
        let found = lost(rest, last, end, walk.is_fresh());
        if let Some((sound, tags)) = found {
            if sound > 0 {
                self.give_up(self.state, reason);
                self.patience.earn(sound.saturating_sub(earned) as u64);
                self.give_lost(walk, sound);
            }
            walk.give(WRAPPER, tags);
        }
        found.is_some()
    }
}

impl Splitter for Flac {
    fn id(&self) -> SplitterId {
        FLAC
    }

    fn split(&mut self, window: &[u8], last: bool, runs: &mut Vec<Part>) {
        // Handed back below, since the walk borrows it while `self` changes.
        let mut before = self.before;
        let mut walk = Walk::new(window, runs, &mut before);
        let decoded = self.decoded;
        while !walk.rest().is_empty() {
            if self.left > 0 {
                walk.give_some(WRAPPER, &mut self.left);
                if self.left == 0 && self.alone {
                    walk.cut();
                    self.alone = false;
                }
                continue;
            }
            let enough = self.decoded - decoded > ENOUGH as u64; // it only grows
            if (enough && !last) || !self.step(&mut walk, last) {
                break;
            }
        }
        self.before = before;
        let in_metadata = matches!(self.state, State::Front | State::Block { .. });
        if last && (self.left > 0 || in_metadata) {
            self.give_up(State::Opaque, "flac: the file ends within its metadata");
        }
    }

    fn doubt(&self) -> Option<&'static str> {
        self.doubt
    }
}

#[cfg(test)]
pub(super) mod tests;
