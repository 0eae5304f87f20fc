//! Demultiplexing: a container's tracks as streams of their own, for any format that says piece by piece whose bytes
//! come next.
//!
//! ```text
//!  file      header video header audio header video ...
//!             |      |     |      |
//!  wrapper    +------------+ ...                          box headers, tables, tags
//!  essence k         +------------+ ...                   a track's payload; of FLAC, ALAC its samples; PCM in one order
//!  decisions                                              of the encoder of such a track, for each; or corrections
//!  order     (part, bytes) of each piece                  where it is long; else in the parameters
//! ```
//! Owns segments: which pieces become one, in which order their bytes stand, where an essence gets a border. Knows no
//! format: [`Tracks`] does. The way back is [`super::permute`]'s, by [`super::PERMUTE`] where the order is short and
//! by [`super::INTERLEAVE`] where it is a stream (so that it is compressed as one); around it is [`super::layers`]'s where
//! a track is FLAC, ALAC or PCM in another order. What a segment has of such a track stays as it is if it is not what it
//! should be, with a counted reason. Where nothing stands between packets of ALAC, or samples, their piece is a row of
//! segments of their own, whose way back is [`super::alac`]'s, or [`super::words`]'s.
//!
//! # Invariants
//!
//! 1. A segment has [`SEGMENT`] bytes; fewer only before a plain run, packets of ALAC, a frame of FLAC or samples, or where
//!    a format asks for it ([`Piece::opens`]), behind much silence, at a doubt, and at the file's end. Those of their own
//!    of ALAC and samples are as [`super::alac`] and [`super::words`] have them.
//! 2. [`Tracks::next`] is shown [`LOOK`] bytes, fewer only where the file ends, and as many as [`WINDOW_MIN`] leaves
//!    behind a segment that is longer: what it decides depends on the file alone.
//! 3. Pieces of a segment are at most one a [`PIECE_BYTES`] (and [`PIECES_FREE`]): what is finer stays with the piece
//!    before.
//! 4. State: some numbers for each of [`STREAMS`] streams, and a segment's samples where they are floats; a packet of ALAC.
//!    Less than [`WINDOW_MIN`] is held back.
//! 5. A frame of FLAC or of samples, a piece of packets of ALAC, lies in one segment.
//! 6. The segments of a file with one track alone, of FLAC, end where those of a FLAC file do (but for what lies between
//!    frames, and for much silence), so that its decisions are the same bytes.

use super::alac::{self, Alac, Found};
use super::flac;
use super::layers::Layers;
use super::runs::{Last, Walk};
use super::words::{self, Taken, Word};
use super::{
    ALAC_PACKETS, ESSENCE, FLAC_FRAMES, INTERLEAVE, Mapped, MappedPart, PERMUTE, Part, Splitter, SplitterId,
    StreamNumber, WINDOW_MIN, WRAPPER, permute,
};
use crate::chunk::Form;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

/// Bytes of a segment.
pub const SEGMENT: usize = 768 << 10;
/// Bytes of a segment of a file that has nothing but FLAC: what ends it first is [`flac::SOFT_BYTES`].
const LONG: usize = flac::SOFT_BYTES + (192 << 10);
/// Bytes that stand before a format's eyes.
pub const LOOK: usize = WINDOW_MIN - SEGMENT;

/// Which piece follows which, where that is long.
pub const ORDER: StreamNumber = 2;
/// Essences that are told apart; the last one takes what is beyond. Whoever cuts streams keeps some MiB of each.
pub const STREAMS: u8 = 8;

const _: () = assert!(LONG < WINDOW_MIN && SEGMENT < LONG && flac::SOFT_BYTES > SEGMENT);

/// Once so many bytes of samples are handed out, more come with the next window.
const ENOUGH: u64 = flac::ENOUGH as u64;

const _: () = assert!(ENOUGH == alac::ENOUGH);

/// A piece that has more bytes left goes on to the file's end, wherever that is.
const ENDLESS: u64 = 1 << 62;

/// A key frame has a border if so many bytes came since the last one (as in [`super::ts`], so that they meet).
const BORDER_BYTES: u64 = 256 << 10;
/// Bytes of a picture or font from which on it gets borders of its own.
pub const ALONE_BYTES: u64 = 16 << 10;

/// Bytes that a piece has on average, at least.
const PIECE_BYTES: usize = 64;
const PIECES_FREE: usize = 256;
/// Bytes of an order that stay among the parameters.
const SHORT_ORDER: usize = 48;

const NO_FRAMES: &str = "container: samples that are no whole frames";

/// The stream of the essence with this index.
pub fn essence(index: usize) -> StreamNumber {
    match u8::try_from(index).unwrap_or(u8::MAX).min(STREAMS - 1) {
        0 => ESSENCE,
        n => ORDER + n,
    }
}

/// The stream of the decisions of an essence that is FLAC or ALAC, and of the corrections of one that is floats.
pub fn decisions(essence: StreamNumber) -> StreamNumber {
    essence.saturating_add(STREAMS + 1)
}

/// How the bytes of a track are coded, where that is undone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Coding {
    #[default]
    None,
    /// FLAC, of so many bits a sample where they are known. A piece is whole frames.
    Flac(Option<u8>),
    /// Packets of ALAC. A piece is any number of them; its form is that of what is none. They are segments of their own.
    Alac(alac::Coding),
    /// Packets of ALAC among other tracks. A piece is whole ones.
    Packets(alac::Config),
    /// Samples of so many channels. A piece is whole frames of them; from the first on that is not, they are bytes.
    Words(Word, u8),
}

/// Whether a chunk border stands before a piece.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Border {
    #[default]
    None,
    /// A key frame begins: if enough bytes came since the last border.
    Key,
    Always,
}

/// Whose the next bytes are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece {
    pub stream: StreamNumber,
    pub form: Form,
    pub border: Border,
    /// May go beyond what was shown. 0 is taken as 1.
    pub bytes: u64,
    /// The bytes follow each other in the file for long: a run instead of segments.
    pub plain: bool,
    pub coding: Coding,
    /// A segment begins with it.
    pub opens: bool,
}

impl Piece {
    pub fn wrapper(bytes: u64) -> Piece {
        Piece::of(WRAPPER, Form::Bytes, bytes)
    }

    pub fn of(stream: StreamNumber, form: Form, bytes: u64) -> Piece {
        Piece { stream, form, border: Border::None, bytes, plain: false, coding: Coding::None, opens: false }
    }

    pub fn with(self, border: Border) -> Piece {
        Piece { border, ..self }
    }
}

/// A format: it says whose bytes come next.
pub trait Tracks: Send {
    /// Of the recipe.
    fn id(&self) -> SplitterId;

    /// The piece that starts `look`, which is not empty; a short fixed text where the bytes make no sense.
    ///
    /// # Errors
    /// The reason of the doubt, which ends the demultiplexing.
    fn next(&mut self, look: &[u8]) -> Result<Piece, &'static str>;

    /// Bytes of the last piece, as they are passed (not those of plain ones, nor packets).
    fn passed(&mut self, _bytes: &[u8]) {}

    /// The file has one track, of FLAC, and not much else.
    fn is_flac_alone(&self) -> bool {
        false
    }

    /// Why something was left as it is, where the demultiplexing goes on.
    fn doubt(&self) -> Option<&'static str> {
        None
    }

    /// Why the end was not expected here, if it was not. Within a piece it never is.
    fn end(&self) -> Option<&'static str> {
        None
    }
}

/// What is kept of a stream between segments.
#[derive(Clone, Copy, Debug, Default)]
struct Stream {
    /// The form of its last byte; `None` before the first, and behind a run.
    form: Option<Form>,
    /// Bytes since its last border.
    since: u64,
}

/// A segment while it grows.
#[derive(Debug, Default)]
struct Segment {
    bytes: usize,
    parts: Vec<Gathered>,
    /// (part, bytes) of each piece.
    order: Vec<(usize, usize)>,
    /// Bytes of FLAC, and of its samples.
    frames: usize,
    samples: usize,
}

/// A part while it grows.
#[derive(Debug)]
struct Gathered {
    stream: StreamNumber,
    cut: bool,
    form: Form,
    coding: Coding,
    bytes: Vec<u8>,
}

/// A number for each stream: the wrapper, the order, [`STREAMS`] essences, and their decisions.
type Streams = [Stream; 2 * STREAMS as usize + 3];

/// The samples of an essence.
#[derive(Debug)]
struct Sound {
    track: words::Track,
    /// From here on they are bytes.
    is_over: bool,
}

type Sounds = BTreeMap<StreamNumber, Sound>;

impl Segment {
    fn push(&mut self, piece: &Piece, cut: bool, bytes: &[u8]) {
        self.bytes += bytes.len();
        let same = |p: &Gathered| (p.stream, p.form, p.coding) == (piece.stream, piece.form, piece.coding);
        let fine = self.order.len() > PIECES_FREE + self.bytes / PIECE_BYTES;
        if let Some((part, n)) = self.order.last_mut()
            && let Some(last) = self.parts.get_mut(*part)
            && (fine || same(last) && !cut)
        {
            *n += bytes.len();
            last.bytes.extend_from_slice(bytes);
            return;
        }
        let open = if cut { None } else { self.parts.iter().rposition(|p| p.stream == piece.stream) };
        if let Some(part) = open.filter(|&part| self.parts.get(part).is_some_and(same)) {
            self.parts.get_mut(part).into_iter().for_each(|p| p.bytes.extend_from_slice(bytes));
            self.order.push((part, bytes.len()));
        } else {
            self.order.push((self.parts.len(), bytes.len()));
            let Piece { stream, form, coding, .. } = *piece;
            self.parts.push(Gathered { stream, cut, form, coding, bytes: bytes.to_vec() });
        }
    }

    /// Also the bytes of samples that were decoded, and why something was left as it is, if that was.
    fn finish(self, streams: &mut Streams, sounds: &mut Sounds) -> (Mapped, usize, Option<&'static str>) {
        let (mut parts, mut layers, mut samples, mut doubt) = (Vec::new(), Layers::default(), 0, None);
        let mut put = |stream, form, cut, bytes| {
            let cut = begin(streams, stream, form) || cut;
            parts.push(MappedPart { stream, cut, form, bytes });
        };
        let order = permute::parameters(self.order);
        let (how, parameters, first) = if order.len() <= SHORT_ORDER {
            (PERMUTE, order, 0)
        } else {
            put(ORDER, Form::Bytes, false, order);
            (INTERLEAVE, Vec::new(), 1)
        };
        for (part, of) in (first..).zip(self.parts) {
            let Gathered { stream, cut, form, coding, bytes } = of;
            let taken = match coding {
                Coding::Flac(bits) => {
                    let taken = flac::take_apart(&bytes, bits, flac::worth_samples(bytes.len()));
                    taken.map(|t| (FLAC_FRAMES, t.parameters, t.form, t.samples, t.decisions))
                }
                Coding::Packets(config) => {
                    let taken = alac::take_apart(&bytes, config);
                    taken.map(|t| (ALAC_PACKETS, t.parameters, t.form, t.samples, t.decisions))
                }
                Coding::Words(word, channels) => {
                    match in_order(sounds, stream, (word, channels), &bytes) {
                        Ok(Taken::Plain(form)) => put(stream, form, cut, bytes),
                        Ok(Taken::Mapped(mapped)) => {
                            layers.note(part, mapped.how, mapped.parts.len(), bytes.len(), &mapped.parameters);
                            mapped.parts.into_iter().for_each(|p| put(p.stream, p.form, p.cut || cut, p.bytes));
                        }
                        Err(why) => {
                            doubt = Some(why);
                            put(stream, form, cut, bytes);
                        }
                    }
                    continue;
                }
                Coding::None | Coding::Alac(_) => {
                    put(stream, form, cut, bytes);
                    continue;
                }
            };
            match taken {
                Ok((how, parameters, form, pcm, chosen)) => {
                    samples += pcm.len();
                    layers.note(part, how, 2, bytes.len(), &parameters);
                    put(stream, form, cut, pcm);
                    put(decisions(stream), Form::Bytes, cut, chosen);
                }
                Err(why) => {
                    doubt = Some(why);
                    put(stream, form, cut, bytes);
                }
            }
        }
        let (how, parameters) = layers.wrap(how, parameters);
        (Mapped { bytes: self.bytes as u64, how, parts, parameters }, samples, doubt)
    }
}

/// The samples of a part in the stream's order.
fn in_order(
    sounds: &mut Sounds,
    stream: StreamNumber,
    (word, channels): (Word, u8),
    bytes: &[u8],
) -> Result<Taken, &'static str> {
    let sound = sounds.get_mut(&stream).ok_or(NO_FRAMES)?;
    if sound.track.is_of(word, channels.into()) && bytes.len().is_multiple_of(sound.track.frame_bytes()) {
        return Ok(sound.track.take(stream, decisions(stream), bytes));
    }
    sound.is_over = true;
    Err(NO_FRAMES)
}

/// Notes that a stream goes on in this form; whether that takes a border.
fn begin(streams: &mut Streams, stream: StreamNumber, form: Form) -> bool {
    match streams.get_mut(usize::from(stream)) {
        Some(s) => s.form.replace(form) != Some(form),
        None => true,
    }
}

/// The splitter of one file of a format.
pub struct Demux<T> {
    tracks: T,
    /// Goes on for `left` bytes.
    piece: Piece,
    left: u64,
    /// Before its first byte.
    border: Border,
    streams: Streams,
    sounds: Sounds,
    /// Bytes of samples that were decoded, but for those of `alac`.
    decoded: u64,
    /// Packets of ALAC; `None` before the first.
    alac: Option<Box<Alac>>,
    before: Last,
    opaque: bool,
    doubt: Option<&'static str>,
}

impl<T: Tracks> Demux<T> {
    pub fn new(tracks: T) -> Demux<T> {
        Demux {
            tracks,
            piece: Piece::wrapper(0),
            left: 0,
            border: Border::None,
            streams: Streams::default(),
            sounds: Sounds::new(),
            decoded: 0,
            alac: None,
            before: Last::default(),
            opaque: false,
            doubt: None,
        }
    }

    /// Takes the next segment off the front of `rest`; nothing where a plain run or a doubt comes at once.
    fn segment(&mut self, rest: &[u8]) -> Option<Mapped> {
        let mut segment = Segment::default();
        let most = if self.tracks.is_flac_alone() { LONG } else { SEGMENT };
        while segment.bytes < most.min(rest.len()) && segment.frames < flac::SOFT_BYTES {
            let shown = LOOK.min(WINDOW_MIN - segment.bytes); // at most LONG
            let look = rest.get(segment.bytes..)?;
            let look = look.get(..shown).unwrap_or(look);
            if self.left == 0 {
                match self.tracks.next(look) {
                    Ok(piece) => self.begin(piece, look),
                    Err(why) => {
                        self.opaque = true;
                        self.doubt.get_or_insert(why);
                    }
                }
                if self.piece.opens && segment.bytes > 0 {
                    break;
                }
            }
            if self.opaque || self.piece.plain || matches!(self.piece.coding, Coding::Alac(_)) {
                break;
            }
            let left = usize::try_from(self.left).unwrap_or(usize::MAX);
            if let Coding::Flac(bits) = self.piece.coding {
                let samples = segment.samples + flac::samples_bytes(look, bits);
                let long = samples > flac::SAMPLES_MAX && segment.bytes >= flac::WORTH_BYTES;
                if segment.bytes > 0 && (left > most - segment.bytes || long) {
                    break; // it begins the next one
                }
                segment.samples = samples;
                segment.frames += left; // at most SEGMENT
            }
            if let Coding::Packets(_) = self.piece.coding
                && segment.bytes > 0
                && left > most - segment.bytes
            {
                break; // as of FLAC
            }
            let mut n = left.min(most - segment.bytes).min(look.len());
            if let Coding::Words(word, channels) = self.piece.coding {
                let whole = n - n % word.frame_bytes(channels);
                if whole == 0 && segment.bytes > 0 {
                    break;
                }
                // The file ends within a frame.
                if whole == 0 {
                    self.piece.coding = Coding::None;
                } else {
                    n = whole;
                }
            }
            let bytes = look.get(..n)?;
            let stream = self.streams.get_mut(usize::from(self.piece.stream))?; // of `essence`, or the wrapper
            let cut = match std::mem::take(&mut self.border) {
                Border::None => false,
                Border::Key => stream.since >= BORDER_BYTES,
                Border::Always => true,
            };
            stream.since = if cut { 0 } else { stream.since } + n as u64;
            segment.push(&self.piece, cut, bytes);
            self.tracks.passed(bytes);
            self.left -= n as u64; // at most `left`
        }
        if segment.bytes == 0 {
            return None;
        }
        let (mapped, samples, doubt) = segment.finish(&mut self.streams, &mut self.sounds);
        self.decoded = self.decoded.saturating_add(samples as u64);
        self.doubt = self.doubt.or(doubt);
        Some(mapped)
    }

    /// Begins with a piece at the front of `look`.
    fn begin(&mut self, piece: Piece, look: &[u8]) {
        self.piece = piece;
        self.left = piece.bytes.max(1);
        self.border = piece.border;
        match piece.coding {
            // What is longer than a segment, or ends behind the file, cannot be taken apart.
            Coding::Flac(_) | Coding::Packets(_) if self.left > look.len().min(SEGMENT) as u64 => {
                self.piece.coding = Coding::None;
                if self.left > SEGMENT as u64 {
                    let is_flac = matches!(piece.coding, Coding::Flac(_));
                    let why =
                        if is_flac { "flac: a frame that is too long" } else { "alac: a packet that is too long" };
                    self.doubt.get_or_insert(why);
                }
            }
            Coding::Alac(coding) => self.alac.get_or_insert_with(|| Box::new(Alac::new(coding))).begin(coding),
            Coding::Words(word, channels) => self.begin_samples(word, channels),
            Coding::Flac(_) | Coding::Packets(_) | Coding::None => {}
        }
    }

    /// Begins with a piece of samples. Those that stand in the file as in the stream are nothing but a form.
    fn begin_samples(&mut self, word: Word, channels: u8) {
        let stream = self.piece.stream;
        if let Entry::Vacant(place) = self.sounds.entry(stream)
            && let Some(track) = words::Track::new(word, channels.into())
        {
            place.insert(Sound { track, is_over: false });
        }
        let Some(sound) = self.sounds.get_mut(&stream) else {
            self.piece.coding = Coding::None; // of no channels
            return;
        };
        let is_whole = self.piece.plain || self.left.is_multiple_of(word.frame_bytes(channels) as u64);
        let is_open = !sound.is_over && sound.track.is_of(word, channels.into());
        match sound.track.plain() {
            Some(form) if is_open => (self.piece.coding, self.piece.form) = (Coding::None, form),
            None if is_open && is_whole => {}
            _ => {
                (self.piece.coding, sound.is_over) = (Coding::None, true);
                self.doubt.get_or_insert(NO_FRAMES);
            }
        }
    }

    /// Gives the next samples of a plain piece, as a file of sound has them. False if more must be seen for that.
    fn samples(&mut self, walk: &mut Walk<'_, '_>, last: bool) -> bool {
        let stream = self.piece.stream;
        let Some(Sound { track, .. }) = self.sounds.get_mut(&stream) else {
            self.piece.coding = Coding::None;
            return true;
        };
        let rest = walk.rest();
        let left = usize::try_from(self.left).unwrap_or(usize::MAX);
        let (shown, ends) = rest.get(..left).map_or((rest, last), |shown| (shown, true));
        let whole = shown.len() - shown.len() % track.frame_bytes(); // a frame has a byte at least
        let segment = track.segment_bytes().min(whole);
        if segment < track.segment_bytes() && !ends && !walk.is_fresh() {
            return false;
        }
        let Some(file) = shown.get(..segment).filter(|file| !file.is_empty()) else {
            self.piece.coding = Coding::None; // what is left is no frame
            return true;
        };
        match track.take(stream, decisions(stream), file) {
            Taken::Plain(form) => {
                walk.give_as(stream, form, file.len());
                if let Some(stream) = self.streams.get_mut(usize::from(stream)) {
                    *stream = Stream::default();
                }
            }
            Taken::Mapped(mut mapped) => {
                for part in &mut mapped.parts {
                    part.cut |= begin(&mut self.streams, part.stream, part.form);
                }
                walk.map(mapped);
            }
        }
        if let Some(form) = track.plain() {
            (self.piece.coding, self.piece.form) = (Coding::None, form);
        }
        self.left -= file.len() as u64; // at most `left`
        true
    }

    /// Gives the next packets of ALAC of the piece. False if more must be seen for that.
    fn packets(&mut self, walk: &mut Walk<'_, '_>, last: bool) -> bool {
        let Some(alac) = &mut self.alac else { return false };
        let rest = walk.rest();
        let left = usize::try_from(self.left).unwrap_or(usize::MAX);
        let (shown, ends) = rest.get(..left).map_or((rest, last), |shown| (shown, true));
        let stream = self.piece.stream;
        let bytes = match alac.next(shown, ends, walk.is_fresh()) {
            Found::Wait => return false,
            Found::Plain(bytes) => {
                walk.give_as(stream, self.piece.form, bytes);
                if let Some(stream) = self.streams.get_mut(usize::from(stream)) {
                    *stream = Stream::default();
                }
                bytes
            }
            Found::Segment(bytes, taken) => {
                let mut part = |stream, form, bytes| {
                    let cut = begin(&mut self.streams, stream, form);
                    MappedPart { stream, cut, form, bytes }
                };
                let samples = part(stream, taken.form, taken.samples);
                let decisions = part(decisions(stream), Form::Bytes, taken.decisions);
                let (parts, parameters) = (vec![samples, decisions], taken.parameters);
                walk.map(Mapped { bytes: bytes as u64, how: ALAC_PACKETS, parts, parameters });
                bytes
            }
        };
        self.left -= bytes as u64; // at most what was shown
        true
    }

    /// Bytes of samples so far.
    fn decoded(&self) -> u64 {
        self.decoded.saturating_add(self.alac.as_ref().map_or(0, |alac| alac.decoded()))
    }
}

impl<T: Tracks> Splitter for Demux<T> {
    fn id(&self) -> SplitterId {
        self.tracks.id()
    }

    fn split(&mut self, window: &[u8], last: bool, runs: &mut Vec<Part>) {
        // Handed back below, since the walk borrows it while `self` changes.
        let mut before = self.before;
        let mut walk = Walk::new(window, runs, &mut before);
        let decoded = self.decoded();
        while !walk.rest().is_empty() {
            let rest = walk.rest();
            let enough = self.decoded() - decoded > ENOUGH; // it only grows
            if enough && !last {
                break;
            }
            if self.opaque {
                walk.give(ESSENCE, rest.len());
            } else if self.left > 0 && matches!(self.piece.coding, Coding::Alac(_)) {
                if !self.packets(&mut walk, last) {
                    break;
                }
            } else if self.left > 0 && self.piece.plain && matches!(self.piece.coding, Coding::Words(..)) {
                if !self.samples(&mut walk, last) {
                    break;
                }
            } else if self.left > 0 && self.piece.plain {
                let n = usize::try_from(self.left).unwrap_or(usize::MAX).min(rest.len());
                walk.give_as(self.piece.stream, self.piece.form, n);
                self.left -= n as u64; // at most `left`
                if let Some(stream) = self.streams.get_mut(usize::from(self.piece.stream)) {
                    *stream = Stream::default();
                }
            } else if !last && !walk.is_fresh() && rest.len() < SEGMENT + LOOK {
                break;
            } else if let Some(mapped) = self.segment(rest) {
                walk.map(mapped);
            }
        }
        self.before = before;
        if last && !self.opaque {
            let cut_short = self.left > 0 && self.left < ENDLESS;
            let why = if cut_short { Some("container: the file ends within a piece") } else { self.tracks.end() };
            self.doubt = self.doubt.or(why);
        }
    }

    fn doubt(&self) -> Option<&'static str> {
        let of_packets = || self.alac.as_ref().and_then(|alac| alac.doubt());
        self.doubt.or(self.tracks.doubt()).or_else(of_packets)
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{collect_parts, noise, streams};
    use super::*;
    use proptest::prelude::*;

    /// A toy: each piece begins with its kind and its length; 0xfe begins a plain run, 0xff is nonsense.
    #[derive(Default)]
    struct Toy(Option<(u8, u64)>);

    impl Tracks for Toy {
        fn id(&self) -> SplitterId {
            super::super::OPAQUE
        }

        fn next(&mut self, look: &[u8]) -> Result<Piece, &'static str> {
            if let Some((kind, bytes)) = self.0.take() {
                let border = [Border::None, Border::Key, Border::Always][usize::from(kind / 64 % 3)];
                let piece = Piece::of(essence(usize::from(kind % 11)), Form::Bytes, bytes);
                return Ok(Piece { plain: kind == 0xfe, opens: kind == 0xfd, ..piece }.with(border));
            }
            match look {
                [0xff, ..] => Err("toy: nonsense"),
                [kind, a, b, ..] => {
                    self.0 = Some((*kind, 1 + u64::from(*a) * 300 + u64::from(*b)));
                    Ok(Piece::wrapper(3))
                }
                _ => Err("toy: cut short"),
            }
        }
    }

    fn file(pieces: &[(u8, u8, u8)]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (kind, a, b) in pieces {
            bytes.extend([*kind, *a, *b]);
            bytes.extend(noise(1 + usize::from(*a) * 300 + usize::from(*b)));
        }
        bytes
    }

    fn toy() -> Box<dyn Splitter> {
        Box::new(Demux::new(Toy::default()))
    }

    #[test]
    fn a_track_is_one_stream_and_key_frames_have_borders_that_are_not_too_near() {
        let pieces: Vec<_> = (0..200).map(|i| if i % 2 == 0 { (0, 1, 0) } else { (89, 250, i) }).collect();
        let (parts, doubt) = collect_parts(toy(), &file(&pieces), &[0]);
        assert_eq!(doubt, None);
        let bytes = file(&pieces);
        let streams = streams(&bytes, &parts);
        assert_eq!(streams[&WRAPPER].len(), 600);
        assert_eq!(streams[&ESSENCE].len(), 100 * 301);
        let mut cuts = 0;
        for part in &parts {
            let Part::Mapped(mapped) = part else { panic!("a run") };
            assert!(mapped.parameters.len() <= SHORT_ORDER);
            cuts += mapped.parts.iter().filter(|p| p.stream == essence(89 % 11) && p.cut).count();
        }
        // 75 kB a piece: a border each four of them.
        assert_eq!(cuts, 25);
    }

    #[test]
    fn pieces_too_fine_stay_together() {
        let pieces: Vec<_> = (0..200_000_u32).map(|i| ((i % 2) as u8, 0, 0)).collect();
        let (parts, _) = collect_parts(toy(), &file(&pieces), &[]);
        for part in &parts {
            let Part::Mapped(mapped) = part else { panic!("a run") };
            let order = mapped.parts.iter().find(|p| p.stream == ORDER).map_or(0, |p| p.bytes.len());
            assert!(order < 4 * PIECES_FREE + mapped.bytes as usize / 16, "{order}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        #[test]
        fn any_pieces_come_back_alike_in_any_windows(
            pieces in prop::collection::vec(
                (prop_oneof![0..190_u8, Just(0xfe), 0..3_u8], any::<u8>(), any::<u8>()),
                0..120,
            ),
            nonsense in prop::option::of(any::<prop::sample::Index>()),
            windows in prop::collection::vec(0..1_000_000_usize, 1..6),
        ) {
            let mut bytes = file(&pieces);
            if let Some(at) = nonsense && !bytes.is_empty() {
                let at = at.index(bytes.len());
                bytes[at] = 0xff;
            }
            let (whole, doubt) = collect_parts(toy(), &bytes, &[]);
            let (parts, again) = collect_parts(toy(), &bytes, &windows);
            prop_assert!(whole == parts);
            prop_assert_eq!(doubt, again);
        }
    }
}
