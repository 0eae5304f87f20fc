//! Files of uncompressed sound: headers, samples, and what stands behind them.
//!
//! ```text
//!  ID3v2 *           wrapper   not in any standard, but written by taggers
//!  headers, chunks   wrapper
//!  samples           essence   from a border on, see `words`; corrections of floats in a stream of their own
//!                              those coded as ALAC, see `alac`; the encoder's decisions in a stream of their own
//!  half a frame      wrapper   where the file was cut off
//!  the rest          wrapper   padding, chunks, tags
//! ```
//! Owns the way through the file that all of them share. What the headers say is read by [`super::riff`],
//! [`super::aiff`], [`super::caf`] and [`super::au`], each a [`Header`].
//!
//! Sizes are not to be trusted: a recorder that wrote to a pipe left them 0 or at their most, one that wrote more than
//! 4 GiB lost their upper bits. So samples go to the file's end where the size says nothing, and go on where what
//! follows them can be nothing else ([`Header::goes_on`]).
//!
//! # Invariants
//!
//! 1. The essence starts at the first sample and holds the same bytes under any metadata, in any of these formats.
//! 2. Where segments begin depends on the file's bytes alone: each but the last is [`Track::segment_bytes`] long.
//!    Those of ALAC are as its packets have them.
//! 3. State is a few numbers and a buffer for a segment; at most a segment is held back.

use super::alac::{self, Alac, Found};
use super::runs::{Last, Walk};
use super::tags::id3v2_bytes;
use super::words::{CORRECTIONS, Taken, Track, Word};
use super::{ALAC_PACKETS, ESSENCE, Hints, Mapped, MappedPart, Part, Splitter, SplitterId, StreamNumber};
use super::{WINDOW_MIN, WRAPPER};
use crate::chunk::Form;

/// What the encoder of ALAC decided.
pub const DECISIONS: StreamNumber = 3;

/// Bytes that a header is shown at least, unless the file ends.
const HEADER_MAX: usize = 128;

/// Bytes behind the samples that must be seen before it is said that they end.
const BEHIND: usize = 16;

/// Headers before the samples.
const STEPS_MAX: u32 = 4096;

/// Bytes of samples that a size of 32 bits has lost where they go on.
const LOST: u64 = 1 << 32;

/// What the next bytes are.
#[derive(Clone, Copy, Debug)]
pub(super) enum Step {
    /// So many bytes of wrapper, at least 1, perhaps more than were shown.
    Wrapper(u64),
    /// So many bytes of wrapper, then samples.
    Samples(u64, Samples),
    /// It is not what it should be.
    Doubt(&'static str),
}

/// The samples of a file.
#[derive(Clone, Copy, Debug)]
pub(super) struct Samples {
    /// `None` if they go to the file's end.
    pub bytes: Option<u64>,
    pub coding: Coding,
}

/// How samples are coded.
#[derive(Clone, Copy, Debug)]
pub(super) enum Coding {
    /// Interleaved words of so many channels.
    Words(Word, u32),
    /// Packets of ALAC.
    Packets(alac::Config),
    /// In another way: they are bytes.
    Other,
}

impl Coding {
    /// Words in frames of `frame` bytes, if that can be.
    pub fn of(frame: u32, channels: u32, word: impl FnOnce(u32) -> Option<Word>) -> Coding {
        if channels == 0 || !frame.is_multiple_of(channels) {
            return Coding::Other;
        }
        word(frame / channels).map_or(Coding::Other, |word| Coding::Words(word, channels))
    }
}

/// Reads the headers of one format.
pub(super) trait Header: Send + 'static {
    const ID: SplitterId;

    /// Whether a file begins like this.
    fn opens(head: &[u8]) -> bool;

    /// Looks at what comes next: the file's start first, behind what a step has passed later. `rest` is at least
    /// [`HEADER_MAX`] bytes long, unless the file ends.
    fn step(&mut self, rest: &[u8]) -> Step;

    /// Whether samples go on behind their end, since what follows (at least [`BEHIND`] bytes, unless the file ends) is
    /// nothing that stands there: then their size has lost its upper bits. `odd` if so many bytes of samples came.
    fn goes_on(&self, behind: &[u8], odd: bool) -> bool;
}

/// Opens a file of sound, behind any number of ID3v2 tags.
pub fn open(hints: Hints<'_>) -> Option<Box<dyn Splitter>> {
    let mut rest = hints.head;
    while let Some(bytes) = id3v2_bytes(rest) {
        rest = rest.get(usize::try_from(bytes).ok()?..)?;
    }
    open_as::<super::riff::Riff>(rest)
        .or_else(|| open_as::<super::riff::Wave64>(rest))
        .or_else(|| open_as::<super::aiff::Aiff>(rest))
        .or_else(|| open_as::<super::caf::Caf>(rest))
        .or_else(|| open_as::<super::au::Au>(rest))
}

fn open_as<H: Header + Default>(head: &[u8]) -> Option<Box<dyn Splitter>> {
    H::opens(head).then(|| Box::new(Sound::<H>::default()) as Box<dyn Splitter>)
}

#[derive(Debug, Default)]
enum State {
    /// Before the format's own first byte.
    #[default]
    Front,
    Headers,
    Samples(Essence),
    /// Behind the samples.
    Rest,
    Opaque,
}

/// Samples that are still to come.
#[derive(Debug)]
struct Essence {
    /// At most so many bytes; more than the file has where it goes to its end.
    left: u64,
    /// So many bytes of samples are odd: LOST is even.
    odd: bool,
    /// `None` for what is no words.
    track: Option<Track>,
    packets: Option<Box<Packets>>,
    /// No more segments: this form, to the end.
    plain: Option<Form>,
}

/// Packets of ALAC that are still to come.
#[derive(Debug)]
struct Packets {
    alac: Alac,
    /// Of the last samples, where nothing else came since.
    form: Option<Form>,
    has_decisions: bool,
}

/// The splitter of one file.
#[derive(Debug, Default)]
struct Sound<H> {
    header: H,
    state: State,
    /// Bytes of wrapper still to pass before `state` holds.
    left: u64,
    steps: u32,
    before: Last,
    doubt: Option<&'static str>,
}

impl<H: Header> Sound<H> {
    fn give_up(&mut self, reason: &'static str) {
        self.state = State::Opaque;
        self.doubt = Some(reason);
    }

    fn front(&mut self, rest: &[u8]) {
        if let Some(bytes) = id3v2_bytes(rest) {
            self.left = bytes;
        } else if H::opens(rest) {
            self.state = State::Headers;
        } else {
            self.give_up("sound: another file than its head was");
        }
    }

    fn headers(&mut self, rest: &[u8]) {
        self.steps += 1; // below STEPS_MAX
        match self.header.step(rest) {
            _ if self.steps == STEPS_MAX => self.give_up("sound: too many headers"),
            Step::Wrapper(bytes) => self.left = bytes,
            Step::Samples(bytes, samples) => {
                self.left = bytes;
                let (mut track, mut packets) = (None, None);
                match samples.coding {
                    Coding::Words(word, channels) => track = Track::new(word, channels),
                    Coding::Packets(config) => {
                        let alac = Alac::new(alac::Coding { config, is_guess: false });
                        packets = Some(Box::new(Packets { alac, form: None, has_decisions: false }));
                    }
                    Coding::Other => {}
                }
                let plain = track.as_ref().map_or(Some(Form::Bytes), Track::plain);
                let bytes = samples.bytes.unwrap_or(u64::MAX);
                self.state = State::Samples(Essence { left: bytes, odd: bytes % 2 == 1, track, packets, plain });
            }
            Step::Doubt(reason) => self.give_up(reason),
        }
    }
}

/// What became of samples.
enum Given {
    Some,
    /// The window should show more first.
    Wait,
    /// Behind so many bytes, too few for a frame, there are none.
    End(u64),
}

impl Essence {
    /// Bytes of samples that packets held.
    fn decoded(&self) -> u64 {
        self.packets.as_ref().map_or(0, |packets| packets.alac.decoded())
    }

    fn doubt(&self) -> Option<&'static str> {
        self.packets.as_ref().and_then(|packets| packets.alac.doubt())
    }

    fn give<H: Header>(&mut self, header: &H, walk: &mut Walk<'_, '_>, last: bool) -> Given {
        let rest = walk.rest();
        // Than was promised.
        let too_small = walk.is_fresh() && rest.len() < WINDOW_MIN;
        // Whether it is known that they end.
        let mut ends = last;
        if let Some(behind) = usize::try_from(self.left).ok().and_then(|left| rest.get(left..))
            && (last || behind.len() >= BEHIND || too_small)
        {
            if header.goes_on(behind, self.odd) {
                self.left += LOST; // it was at most the window
            } else {
                ends = true;
            }
        }
        if last {
            self.left = self.left.min(rest.len() as u64);
        }
        let left = usize::try_from(self.left).unwrap_or(usize::MAX);
        if let Some(packets) = &mut self.packets {
            let (shown, ends) = rest.get(..left).map_or((rest, last), |shown| (shown, true));
            if shown.is_empty() {
                return Given::End(0);
            }
            let Some(bytes) = packets.give(walk, shown, ends) else { return Given::Wait };
            self.left -= bytes as u64; // at most what was shown
            return Given::Some;
        }
        let frame = self.track.as_ref().map_or(1, Track::frame_bytes);
        let whole = |bytes: usize| bytes - bytes % frame; // a frame has a byte at least
        let seen = whole(left.min(rest.len()));
        let bytes = match (&mut self.track, self.plain) {
            (_, Some(form)) => {
                walk.give_as(ESSENCE, form, seen);
                seen
            }
            (Some(track), None) => {
                let segment = track.segment_bytes();
                // One that is shorter than it could be is the last, unless the window is too small.
                if seen < segment && !ends && !too_small {
                    return Given::Wait;
                }
                let file = rest.get(..segment.min(seen)).unwrap_or_default();
                if !file.is_empty() {
                    match track.take(ESSENCE, CORRECTIONS, file) {
                        Taken::Mapped(mapped) => walk.map(mapped),
                        Taken::Plain(form) => walk.give_as(ESSENCE, form, file.len()),
                    }
                    self.plain = track.plain();
                }
                file.len()
            }
            (None, None) => 0, // what has no track is plain
        };
        self.left -= bytes as u64; // at most `left`
        match bytes {
            0 if ends => Given::End(self.left),
            0 if too_small => {
                let bytes = rest.len().min(left);
                walk.give(ESSENCE, bytes);
                self.left -= bytes as u64;
                Given::Some
            }
            0 => Given::Wait,
            _ => Given::Some,
        }
    }
}

impl Packets {
    /// Gives the next packets; how many bytes they have. `None` if more must be seen for that.
    fn give(&mut self, walk: &mut Walk<'_, '_>, shown: &[u8], ends: bool) -> Option<usize> {
        match self.alac.next(shown, ends, walk.is_fresh()) {
            Found::Wait => None,
            Found::Plain(bytes) => {
                walk.give(ESSENCE, bytes);
                self.form = None;
                Some(bytes)
            }
            Found::Segment(bytes, taken) => {
                let cut = self.form.replace(taken.form) != Some(taken.form);
                let samples = MappedPart { stream: ESSENCE, cut, form: taken.form, bytes: taken.samples };
                let cut = !std::mem::replace(&mut self.has_decisions, true);
                let decisions = MappedPart { stream: DECISIONS, cut, form: Form::Bytes, bytes: taken.decisions };
                let (parts, parameters) = (vec![samples, decisions], taken.parameters);
                walk.map(Mapped { bytes: bytes as u64, how: ALAC_PACKETS, parts, parameters });
                Some(bytes)
            }
        }
    }
}

impl<H: Header> Splitter for Sound<H> {
    fn id(&self) -> SplitterId {
        H::ID
    }

    fn split(&mut self, window: &[u8], last: bool, runs: &mut Vec<Part>) {
        // Handed back below, since the walk borrows it while `self` changes.
        let mut before = self.before;
        let mut walk = Walk::new(window, runs, &mut before);
        let decoded = if let State::Samples(essence) = &self.state { essence.decoded() } else { 0 };
        while !walk.rest().is_empty() {
            if self.left > 0 {
                walk.give_some(WRAPPER, &mut self.left);
                continue;
            }
            let rest = walk.rest();
            if let State::Front | State::Headers = self.state
                && !last
                && !walk.is_fresh()
                && rest.len() < HEADER_MAX
            {
                break;
            }
            match &mut self.state {
                State::Front => self.front(rest),
                State::Headers => self.headers(rest),
                State::Samples(essence) if !last && essence.decoded() - decoded > alac::ENOUGH => break,
                State::Samples(essence) => match essence.give(&self.header, &mut walk, last) {
                    Given::Some => {}
                    Given::Wait => break,
                    Given::End(tail) => {
                        self.doubt = essence.doubt();
                        self.left = tail;
                        self.state = State::Rest;
                    }
                },
                State::Rest => walk.give(WRAPPER, rest.len()),
                State::Opaque => walk.give(ESSENCE, rest.len()),
            }
        }
        self.before = before;
        let ended = matches!(self.state, State::Samples(_) | State::Rest | State::Opaque);
        if last && (self.left > 0 || !ended) {
            self.give_up("sound: the file ends before its samples");
        }
    }

    fn doubt(&self) -> Option<&'static str> {
        let of_samples = if let State::Samples(essence) = &self.state { essence.doubt() } else { None };
        self.doubt.or(of_samples)
    }
}

#[cfg(test)]
mod files;
#[cfg(test)]
mod tests;
