//! WavPack: samples apart from what the encoder decided, block by block (WavPack 4 and 5, pure lossless integers).
//!
//! ```text
//!  ID3v2 *                wrapper   which some taggers put in front
//!  blocks with samples    segments of about a MiB:
//!    samples                essence   PCM, as a WAV of the same recording has them
//!    decisions              a stream of their own: headers and metadata, see `segment`
//!    headers, trailers, MD5 wrapper   of the file that was coded
//!    the rest               bitstreams, CRCs, checksums: computed
//!  blocks without         wrapper
//!  hybrid, floats, DSD    essence   as they are
//!  no blocks              essence   likewise, up to the next block
//!  tags *                 wrapper   see `tags`
//! ```
//! Owns the way from the first block to the end. The way back is [`inverse`].
//!
//! # Invariants
//!
//! 1. The essence starts at the first sample and holds the same bytes under any metadata. The same samples are the same
//!    bytes, whatever the encoder did.
//! 2. Where segments end depends on the blocks alone. Parameters hold the only numbers that count from the start.
//! 3. Memory: one segment's samples, one block. Blocks that hold much silence in few bytes stay as they are, so what is
//!    handed out is at most `RATIO_MAX` times what was shown.
//! 4. At most a segment and a group of blocks are held back; behind blocks what tags may take.

mod bits;
mod block;
mod decorrelate;
mod entropy;
mod logs;
mod lower;
mod pcm;
mod segment;

pub use segment::inverse;

use super::patience::Patience;
use super::runs::{Last, Walk};
use super::tags::{TRAILING_MAX, give_sound, id3v2_bytes, lost};
use super::{ESSENCE, Hints, Mapped, MappedPart, Part, Splitter, SplitterId, StreamNumber};
use super::{WAVPACK, WAVPACK_BLOCKS, WINDOW_MIN, WRAPPER};
use crate::chunk::Form;
use crate::format::limits;
use block::{BLOCK_MAX, HEADER, Header, MAGIC};
use segment::{CHANNELS_MAX, Segment, Work};

/// The stream of the encoder's decisions.
pub const DECISIONS: StreamNumber = 2;

/// A segment ends behind the first group from here on.
const SOFT_BYTES: usize = 960 << 10;

/// The longest group that is taken apart: what a window has beyond a segment, so that it shows where a longer one ends.
const GROUP_MAX: usize = WINDOW_MIN - SOFT_BYTES - HEADER;

const _: () = assert!(BLOCK_MAX <= GROUP_MAX && TRAILING_MAX + HEADER <= WINDOW_MIN);

/// A segment ends before the group that would bring it beyond so many bytes of samples.
const SAMPLES_MAX: usize = 8 << 20;

const _: () = assert!(SAMPLES_MAX as u64 <= 2 * limits::SEGMENT_BYTES);

/// Segments of more bytes of samples for each of the file stay as they are: that is silence, and cheaper so.
const RATIO_MAX: usize = 16;

/// Bytes of samples that are decoded for each byte of the file, and at first.
const DECODED_MAX: (u64, u64) = (64, 256 << 20);

/// Once so many bytes of samples are handed out, more come with the next window.
const ENOUGH: usize = 16 << 20;

/// Bytes of a sample that silence at a file's start is presumed to have, as in [`super::words`].
const PRESUMED: u8 = 3;

/// The fewest bytes that are looked for, likewise.
const NARROWEST: u8 = 2;

/// Bytes that cost as much as one more segment may, where they were decoded for nothing.
const LOOK_BYTES: usize = 16 << 10;

/// Opens a WavPack file: a block, behind any number of ID3v2 tags.
pub fn open(hints: Hints<'_>) -> Option<Box<dyn Splitter>> {
    let mut rest = hints.head;
    while let Some(bytes) = id3v2_bytes(rest) {
        rest = rest.get(usize::try_from(bytes).ok()?..)?;
    }
    Header::read(rest).map(|_| Box::new(WavPack::default()) as Box<dyn Splitter>)
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    /// Before the first block.
    #[default]
    Front,
    /// Behind it.
    Blocks,
    /// Behind bytes that are no block, for this reason.
    Lost(&'static str),
    /// Sound that is not looked at.
    Plain,
}

/// What was given last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Given {
    #[default]
    Wrapper,
    Plain,
    Segment,
}

/// What the next bytes are, by their headers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    /// Blocks of all channels of some frames.
    Group(Group),
    /// So many bytes of metadata.
    Metadata(usize),
    /// A block of so many bytes that is left as it is, and why.
    Kept(usize, &'static str),
    /// The window does not show it whole.
    Short,
    /// No block.
    Nothing(&'static str),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Group {
    first: Header,
    bytes: usize,
    channels: usize,
}

impl Group {
    /// Bytes of its samples.
    fn pcm_bytes(&self) -> usize {
        self.first.samples as usize * self.channels * self.first.flags.stored_bytes() // below 2^25
    }

    /// Whether it goes into one segment with another.
    fn is_like(&self, other: &Group) -> bool {
        let kind = |group: &Group| (group.channels, group.first.flags.stored_bytes());
        kind(self) == kind(other)
    }
}

/// The header of the block that starts `rest`.
fn header(rest: &[u8], last: bool) -> Result<Header, Next> {
    match Header::read(rest) {
        Some(header) => Ok(header),
        None if rest.len() < HEADER && !last => Err(Next::Short),
        None => Err(Next::Nothing("wavpack: no block")),
    }
}

/// Looks at what starts `rest`.
fn look(rest: &[u8], last: bool) -> Next {
    let first = match header(rest, last) {
        Ok(first) => first,
        Err(next) => return next,
    };
    match rest.len() < first.bytes {
        true if last => return Next::Nothing("wavpack: the file ends within a block"),
        true => return Next::Short,
        false if first.samples == 0 => return Next::Metadata(first.bytes),
        false => {}
    }
    let mut group = Group { first, bytes: 0, channels: 0 };
    let broken = Next::Kept(first.bytes, "wavpack: blocks of some channels are missing");
    loop {
        let header = match header(rest.get(group.bytes..).unwrap_or_default(), last) {
            Ok(header) => header,
            Err(Next::Short) => return Next::Short,
            Err(_) => return broken,
        };
        if let Some(reason) = header.flags.unfit() {
            return Next::Kept(first.bytes, reason);
        }
        let belongs = header.flags.is_first() == (group.bytes == 0)
            && (header.samples, header.index) == (first.samples, first.index)
            && header.flags.stored_bytes() == first.flags.stored_bytes();
        if !belongs {
            return broken;
        }
        group.bytes += header.bytes;
        group.channels += header.flags.channels();
        // By the header alone: no window need show a block that goes so far.
        if group.channels > CHANNELS_MAX || group.bytes > GROUP_MAX || group.pcm_bytes() > SAMPLES_MAX {
            return Next::Kept(first.bytes, "wavpack: blocks of too many channels");
        }
        match rest.len() < group.bytes {
            true if last => return broken,
            true => return Next::Short,
            false if header.flags.is_last() => return Next::Group(group),
            false => {}
        }
    }
}

/// The blocks of a group, whose headers were looked at.
fn blocks(mut rest: &[u8]) -> Vec<(Header, &[u8])> {
    let mut blocks = Vec::new();
    while let Some(header) = Header::read(rest) {
        let Some((block, behind)) = rest.split_at_checked(header.bytes) else { break };
        blocks.push((header, block));
        rest = behind;
    }
    blocks
}

/// How far the next segment may go, by the headers.
enum Plan {
    /// So many bytes of groups of this kind, with so many bytes of samples.
    Groups(Group, usize, usize),
    /// It begins with something else.
    Other(Next),
}

/// Plans the segment that starts `rest`. `None` if more must be seen for that; `is_all` if more will not be shown.
fn plan(rest: &[u8], last: bool, is_all: bool) -> Option<Plan> {
    let (mut first, mut bytes, mut pcm) = (None::<Group>, 0, 0);
    loop {
        let next = look(rest.get(bytes..).unwrap_or_default(), last);
        match (next, first) {
            (Next::Group(group), None) => (first, bytes, pcm) = (Some(group), group.bytes, group.pcm_bytes()),
            (Next::Group(group), Some(of)) if of.is_like(&group) && pcm + group.pcm_bytes() <= SAMPLES_MAX => {
                bytes += group.bytes;
                pcm += group.pcm_bytes();
            }
            (Next::Short, Some(of)) if is_all => return Some(Plan::Groups(of, bytes, pcm)),
            (Next::Short, None) if is_all => return Some(Plan::Other(Next::Short)),
            (Next::Short, _) => return None,
            (_, Some(of)) => return Some(Plan::Groups(of, bytes, pcm)),
            (other, None) => return Some(Plan::Other(other)),
        }
        if let (Some(of), SOFT_BYTES..) = (first, bytes) {
            return Some(Plan::Groups(of, bytes, pcm));
        }
    }
}

/// The splitter of one WavPack file.
#[derive(Debug, Default)]
struct WavPack {
    state: State,
    /// Bytes of a tag still to pass before `state` holds.
    left: u64,
    work: Work,
    given: Given,
    /// Bytes of a sample in the stream; 0 before any sound, unless it can be told without.
    width: u8,
    /// What the samples so far are; none follow if it is not known.
    form: Option<Form>,
    has_decisions: bool,
    patience: Patience,
    /// Bytes of samples.
    decoded: u64,
    before: Last,
    doubt: Option<&'static str>,
}

impl WavPack {
    fn give_up(&mut self, state: State, reason: &'static str) {
        self.state = state;
        self.doubt.get_or_insert(reason);
    }

    /// Does something with what comes next. False if more must be seen for that.
    fn step(&mut self, walk: &mut Walk<'_, '_>, last: bool) -> bool {
        let rest = walk.rest();
        // So much is there unless the window ends, or is smaller than promised.
        let held = match self.state {
            State::Front => HEADER,
            State::Plain => TRAILING_MAX + 1,
            State::Blocks => SOFT_BYTES,
            State::Lost(_) => 0,
        };
        if !last && !walk.is_fresh() && rest.len() < held {
            return false;
        }
        match self.state {
            State::Front => match id3v2_bytes(rest) {
                Some(bytes) => self.left = bytes,
                None => self.state = State::Blocks,
            },
            State::Blocks => return self.segment(walk, last),
            State::Lost(reason) => return self.search(walk, last, reason),
            State::Plain => give_sound(walk, last),
        }
        true
    }

    /// Gives the next segment, or what stands in its place. False if more must be seen for that.
    fn segment(&mut self, walk: &mut Walk<'_, '_>, last: bool) -> bool {
        let rest = walk.rest();
        match plan(rest, last, walk.is_fresh()) {
            None => return false,
            Some(Plan::Groups(first, bytes, pcm)) => {
                let rest = rest.get(..bytes).unwrap_or_default();
                if pcm > RATIO_MAX * bytes {
                    self.give_plain(walk, bytes);
                } else {
                    self.take_apart(walk, first, rest);
                }
            }
            Some(Plan::Other(Next::Metadata(bytes))) => {
                walk.give(WRAPPER, bytes);
                self.passed(Given::Wrapper, bytes);
            }
            Some(Plan::Other(Next::Kept(bytes, reason))) => {
                self.give_up(State::Blocks, reason);
                self.give_plain(walk, bytes);
            }
            Some(Plan::Other(Next::Nothing(reason))) => self.state = State::Lost(reason),
            Some(Plan::Other(_)) => {
                let reason = "wavpack: a window that is too small";
                self.give_up(State::Lost(reason), reason);
                self.give_plain(walk, rest.len());
            }
        }
        true
    }

    /// Takes groups apart, as far as that can be; what cannot be and comes first stays as it is.
    fn take_apart(&mut self, walk: &mut Walk<'_, '_>, first: Group, rest: &[u8]) {
        let mut segment = Segment::new(&first.first, first.channels);
        let mut at = 0;
        while let Next::Group(group) = look(rest.get(at..).unwrap_or_default(), true) {
            let blocks = blocks(rest.get(at..at + group.bytes).unwrap_or_default());
            self.decoded = self.decoded.saturating_add(group.pcm_bytes() as u64);
            match segment.add(&blocks, &mut self.work) {
                Ok(()) => at += group.bytes,
                Err(_) if at > 0 => break, // it comes first next time
                Err(reason) => {
                    self.give_up(State::Blocks, reason);
                    self.give_plain(walk, group.bytes);
                    return self.spend(1 + group.pcm_bytes() / LOOK_BYTES);
                }
            }
        }
        if segment.pcm.len() > RATIO_MAX * at {
            self.give_plain(walk, at);
        } else {
            self.give_segment(walk, segment, at);
        }
        let (each, first) = DECODED_MAX;
        if self.decoded > self.patience.passed().saturating_mul(each).saturating_add(first) {
            self.give_up(State::Plain, "wavpack: too much silence");
        }
    }

    fn give_segment(&mut self, walk: &mut Walk<'_, '_>, segment: Segment, bytes: usize) {
        let stored = segment.stored_bytes();
        let width = match segment.needed_bytes() {
            0 if self.width == 0 => PRESUMED, // and it stays open
            needed => {
                self.width = self.width.max(needed).max(NARROWEST);
                self.width
            }
        };
        let width = width.min(stored);
        let form = segment.form(width);
        let (parameters, pcm, decisions, wrapper) = segment.finish(width);
        let mut parts = vec![
            MappedPart { stream: ESSENCE, cut: self.form != Some(form), form, bytes: pcm },
            MappedPart { stream: DECISIONS, cut: !self.has_decisions, form: Form::Bytes, bytes: decisions },
        ];
        if !wrapper.is_empty() {
            parts.push(MappedPart { stream: WRAPPER, cut: true, form: Form::Bytes, bytes: wrapper });
        }
        self.form = Some(form);
        self.has_decisions = true;
        walk.map(Mapped { bytes: bytes as u64, how: WAVPACK_BLOCKS, parts, parameters });
        self.passed(Given::Segment, bytes);
    }

    /// Gives bytes as they are.
    fn give_plain(&mut self, walk: &mut Walk<'_, '_>, bytes: usize) {
        if bytes == 0 {
            return;
        }
        walk.give(ESSENCE, bytes);
        self.form = None;
        self.passed(Given::Plain, bytes);
    }

    /// Counts what was given: each segment and each change costs a place in the recipe.
    fn passed(&mut self, what: Given, bytes: usize) {
        self.patience.earn(bytes as u64);
        let is_more = what != Given::Segment && what == self.given;
        self.given = what;
        self.spend(usize::from(!is_more));
    }

    fn spend(&mut self, times: usize) {
        (0..times).for_each(|_| self.patience.spend());
        if self.patience.is_over() {
            self.give_up(State::Plain, "wavpack: too many breaks");
        }
    }

    /// Passes bytes that are no block, up to the next one or the tags at the end. False if more must be seen for that.
    fn search(&mut self, walk: &mut Walk<'_, '_>, last: bool, reason: &'static str) -> bool {
        let rest = walk.rest();
        // What may be tags stays; before that, a header is seen whole.
        let end = if last { rest.len() } else { rest.len().saturating_sub(TRAILING_MAX) };
        let mut at = 0;
        while let Some(next) = rest.get(at..end).and_then(|r| r.iter().position(|b| MAGIC.first() == Some(b))) {
            at += next;
            if Header::read(rest.get(at..).unwrap_or_default()).is_some() {
                self.give_up(State::Blocks, reason);
                self.give_plain(walk, at);
                self.spend(1);
                return true;
            }
            at += 1;
        }
        let found = lost(rest, last, end, walk.is_fresh());
        if let Some((sound, tags)) = found {
            if sound > 0 {
                self.give_up(self.state, reason);
                self.give_plain(walk, sound);
            }
            walk.give(WRAPPER, tags);
        }
        found.is_some()
    }
}

impl Splitter for WavPack {
    fn id(&self) -> SplitterId {
        WAVPACK
    }

    fn split(&mut self, window: &[u8], last: bool, runs: &mut Vec<Part>) {
        // Handed back below, since the walk borrows it while `self` changes.
        let mut before = self.before;
        let mut walk = Walk::new(window, runs, &mut before);
        let decoded = self.decoded;
        while !walk.rest().is_empty() {
            if self.left > 0 {
                walk.give_some(WRAPPER, &mut self.left);
                continue;
            }
            let enough = self.decoded - decoded > ENOUGH as u64; // it only grows
            if (enough && !last) || !self.step(&mut walk, last) {
                break;
            }
        }
        self.before = before;
        if last && (self.left > 0 || self.state == State::Front) {
            self.give_up(State::Plain, "wavpack: the file ends within its tags");
        }
    }

    fn doubt(&self) -> Option<&'static str> {
        self.doubt
    }
}

#[cfg(test)]
mod tests;
