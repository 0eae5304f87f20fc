//! ISO base media files (ISO/IEC 14496-12) and QuickTime files: MP4, M4A, MOV, 3GP, also in fragments.
//!
//! ```text
//!  ftyp, free, uuid ...   wrapper   passed over by their size
//!  moov                   wrapper   kept in memory if it comes before the data; a cover has borders of its own
//!  moof                   wrapper   read for the runs of its tracks
//!  mdat header            wrapper
//!  mdat content           essences  by the tables where they came before,
//!                                   else units of video that carry their length, and what lies between (see `nal`),
//!                                   else packets of ALAC, where it begins with some (see `alac`),
//!                                   else samples, where it looks like them (see `guess`),
//!                                   else one plain run, as it is with a single track;
//!                                   frames of FLAC alone as samples and decisions, wherever the tables are; beside
//!                                   others, as packets of ALAC and samples in another order, by the tables (see `layers`)
//! ```
//! Most files have their `moov` at the end, and a splitter does not look there: the video of such a file is told from
//! the sound by the bytes themselves, so that it meets the video of the same file with its `moov` in front, or of a
//! Matroska file.
//!
//! Owns the way over the boxes. `moov` reads tables.
//!
//! # Invariants
//!
//! 1. State: a `moov` of `moov::MOOV_MAX` bytes at most, and the places of `moov::PIECES_MAX` chunks.
//! 2. Boxes are walked without a stack: what follows a header is the next box, whatever contains it.

mod moov;

use super::alac;
use super::demux::{ALONE_BYTES, Border, Coding, Demux, Piece, Tracks, essence};
use super::flac;
use super::guess::{self, Sound};
use super::nal::Chain;
use super::nal::find::{self, Finder, Found};
use super::{ESSENCE, Hints, ISOBMFF, Splitter, SplitterId, StreamNumber};
use crate::chunk::{Form, Packing, Raster};
use moov::{MOOV_MAX, Movie, Place};
use std::collections::VecDeque;

/// Data of fewer bytes has no border of its own.
const DATA_MIN: u64 = 64 << 10;
/// Bytes between units of video that sound is told by, and how often it is tried.
const BETWEEN_BYTES: usize = 256 << 10;
const BETWEEN_TRIES: u8 = 16;
/// Gaps between units of which each is looked at whether it begins with samples.
const GAPS_TRIED: u64 = 4;
/// Words that v210 is told by.
const V210_WORDS: usize = 8 << 10;
/// Bytes of frames that FLAC alone is told by, if there are so many: other tracks would come between.
const FLAC_BYTES: usize = 192 << 10;

/// A box's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Header {
    kind: [u8; 4],
    /// Of the header.
    header: u64,
    /// All of it; `u64::MAX` where it goes on to the file's end.
    bytes: u64,
}

/// Reads the header that starts `look`.
fn header(look: &[u8]) -> Option<Header> {
    let size = u32::from_be_bytes(*look.first_chunk()?);
    let kind: [u8; 4] = *look.get(4..)?.first_chunk()?;
    let (header, bytes) = match size {
        0 => (8, u64::MAX),
        1 => (16, u64::from_be_bytes(*look.get(8..)?.first_chunk()?)),
        n => (8, u64::from(n)),
    };
    let is_name = kind.iter().all(|b| matches!(b, 0x20..=0x7e | 0xa9));
    (is_name && bytes >= header).then_some(Header { kind, header, bytes })
}

/// Opens a file that begins with one of the boxes that such files begin with.
pub fn open(hints: Hints<'_>) -> Option<Box<dyn Splitter>> {
    let first = header(hints.head)?;
    let known =
        matches!(&first.kind, b"ftyp" | b"styp" | b"moov" | b"mdat" | b"moof" | b"sidx" | b"wide" | b"free" | b"skip");
    // A name alone is weak: what may be anything is followed by a box that is known too.
    let sure = match &first.kind {
        b"ftyp" | b"styp" => first.bytes <= 4096,
        b"wide" | b"free" | b"skip" => {
            let next = usize::try_from(first.bytes).ok().and_then(|at| header(hints.head.get(at..)?));
            next.is_some_and(|n| matches!(&n.kind, b"mdat" | b"moov" | b"ftyp"))
        }
        b"moov" => matches!(hints.head.get(12..16)?, b"mvhd" | b"cmov" | b"rmra"),
        _ => hints.head.get(8..).is_some(),
    };
    (known && sure).then(|| Box::new(Demux::new(Isobmff::default())) as Box<dyn Splitter>)
}

/// What a box that was entered holds.
#[derive(Debug, Default)]
enum Inside {
    /// Boxes of the file.
    #[default]
    File,
    /// Boxes of a `moov`: those on the way to a cover are entered.
    Movie,
    /// A cover.
    Cover,
    /// Chunks of tracks, by the tables.
    Chunks,
    /// Units of video and what lies between.
    Units(Box<Finder>),
    /// Frames of FLAC.
    Frames,
    /// One stream, of a form, or of samples.
    One(StreamNumber, Form, Coding),
    /// Packets of ALAC.
    Packets(StreamNumber, alac::Coding),
}

/// A chunk of units, while it passes.
#[derive(Debug)]
struct Open {
    stream: StreamNumber,
    chain: Chain,
    end: u64,
}

#[derive(Debug, Default)]
struct Isobmff {
    /// Of the file.
    at: u64,
    /// Where the box ends that `inside` is of, and the `moov` that a cover is in.
    end: u64,
    movie_end: u64,
    inside: Inside,
    /// The `moov`, while it passes.
    buffer: Option<Vec<u8>>,
    movie: Option<Movie>,
    /// Chunks to come, ascending.
    places: VecDeque<Place>,
    open: Option<Open>,
    /// A `moov` or a fragment came.
    seen: bool,
    /// A cover came: what follows has a border.
    behind_cover: bool,
    frames: flac::Lengths,
    /// FLAC came.
    is_flac: bool,
    /// What lies between units of video, where no table tells it.
    between: Between,
    doubt: Option<&'static str>,
}

/// Sound between units of video.
#[derive(Debug, Default)]
struct Between {
    /// What the last gap began with that was looked at, if it looked like samples: one more has to.
    likely: Option<Sound>,
    /// Gaps between units so far that were not silent.
    gaps: u64,
    packets: alac::Lengths,
    /// Times that it was looked for what it is.
    tries: u8,
}

impl Isobmff {
    /// A box of the file.
    fn in_file(&mut self, look: &[u8]) -> Result<Piece, &'static str> {
        let Some(h) = header(look) else {
            return Err(if self.seen { "isobmff: something behind the boxes" } else { "isobmff: a box that is none" });
        };
        let end = self.at.saturating_add(h.bytes);
        match &h.kind {
            b"moov" => {
                self.seen = true;
                self.buffer = (h.bytes <= MOOV_MAX).then(Vec::new);
                (self.inside, self.end, self.movie_end) = (Inside::Movie, end, end);
                return Ok(Piece::wrapper(h.header));
            }
            b"moof" => {
                self.seen = true;
                let whole = usize::try_from(h.bytes).ok().and_then(|n| look.get(..n));
                if let (Some(moof), Some(movie)) = (whole, &self.movie) {
                    self.places = moov::fragment(movie, moof, self.at).into();
                }
            }
            b"mdat" => {
                let from = self.at.saturating_add(h.header);
                let content = usize::try_from(h.header).ok().and_then(|n| look.get(n..)).unwrap_or_default();
                self.inside = self.data(from, end, content);
                self.end = end;
                return Ok(Piece::wrapper(h.header));
            }
            _ => {}
        }
        Ok(Piece::wrapper(h.bytes))
    }

    /// How the content of an `mdat` is told apart.
    fn data(&mut self, from: u64, end: u64, content: &[u8]) -> Inside {
        let left = end.saturating_sub(from);
        if self.movie.as_ref().is_none_or(|m| m.tracks.len() == 1) && self.is_flac(content, left) {
            return Inside::Frames;
        }
        while self.places.pop_front_if(|p| p.at < from).is_some() {}
        if let Some(first) = self.places.front().filter(|p| p.at < end) {
            let movie = self.movie.as_ref().filter(|m| !m.is_fragmented);
            let cookie = movie.and_then(Movie::alac);
            let is_words = matches!(first.coding, Coding::Words(..));
            return match movie {
                Some(movie)
                    if movie.tracks.len() == 1
                        && left >= alac::DATA_MIN
                        && let Some(config) = cookie =>
                {
                    Inside::Packets(first.stream, alac::Coding { config, is_guess: false })
                }
                // Frames are counted from the first sample.
                Some(movie) if movie.tracks.len() == 1 && is_words && first.at != from => Inside::Chunks,
                Some(movie) if movie.tracks.len() == 1 && first.codec.is_none() => {
                    Inside::One(first.stream, first.form, if is_words { first.coding } else { Coding::None })
                }
                // As it is where the tables come last, so that the two files meet.
                Some(movie)
                    if !movie.is_told_apart()
                        && let Some(coding) = cookie.and_then(|cookie| alac::detect(Some(cookie), content, left)) =>
                {
                    Inside::Packets(ESSENCE, coding)
                }
                Some(movie) if !movie.is_told_apart() && left >= DATA_MIN => {
                    Inside::One(ESSENCE, Form::Bytes, Coding::None)
                }
                _ => Inside::Chunks,
            };
        }
        let none = Inside::One(ESSENCE, Form::Bytes, Coding::None);
        if let Some(coding) = alac::detect(None, content, left) {
            return Inside::Packets(ESSENCE, coding);
        }
        if left < DATA_MIN {
            return none;
        }
        if is_v210(content) {
            let form = Form::Raster(Raster { packing: Packing::V210, row_bytes: 0 });
            return Inside::One(ESSENCE, form, Coding::None);
        }
        let shown = usize::try_from(left).ok().and_then(|left| content.get(..left)).unwrap_or(content);
        if let Some((codec, sound)) = find::detect(shown, left) {
            return Inside::Units(Box::new(Finder::new(codec, sound)));
        }
        match guess::pcm(shown, guess::BYTES_MIN) {
            Some(sound) => Inside::One(ESSENCE, Form::Bytes, Coding::Words(sound.word, sound.channels)),
            None => none,
        }
    }

    /// Whether data begins with frames of FLAC and nothing else. `content` is what is seen of `left` bytes.
    fn is_flac(&mut self, content: &[u8], left: u64) -> bool {
        let content = usize::try_from(left).ok().and_then(|left| content.get(..left)).unwrap_or(content);
        // It was told before.
        let end = content.len().min(if self.is_flac { 1 } else { FLAC_BYTES });
        let mut at = 0;
        while at < end {
            match self.frames.first(content.get(at..).unwrap_or_default(), self.at) {
                Some(bytes) => at += bytes,
                // The file may end within a frame.
                None => return at > 0 && content.len() < FLAC_BYTES && (content.len() as u64) < left,
            }
        }
        at > 0
    }

    /// Within data that began with frames of FLAC.
    fn in_frames(&mut self, look: &[u8], left: u64) -> Piece {
        let shown = usize::try_from(left).ok().and_then(|left| look.get(..left)).unwrap_or(look);
        if let Some(bytes) = self.frames.first(shown, self.at) {
            // What stands before the first one moves no segment.
            let opens = !std::mem::replace(&mut self.is_flac, true);
            return Piece { opens, coding: Coding::Flac(None), ..Piece::of(ESSENCE, Form::Bytes, bytes as u64) };
        }
        self.doubt.get_or_insert("isobmff: something behind frames of FLAC");
        self.inside = Inside::One(ESSENCE, Form::Bytes, Coding::None);
        Piece::of(ESSENCE, Form::Bytes, left)
    }

    /// Within a `moov`.
    fn in_movie(&mut self, look: &[u8], left: u64) -> Piece {
        let Some(h) = header(look).filter(|h| h.bytes <= left) else { return Piece::wrapper(left) };
        match &h.kind {
            b"udta" | b"ilst" | b"covr" => Piece::wrapper(h.header),
            // A full box in MP4, a plain one in QuickTime.
            b"meta" if look.get(12..16) == Some(b"hdlr") => Piece::wrapper(h.header),
            b"meta" => Piece::wrapper((h.header + 4).min(left)),
            // The type and the locale stand before the picture.
            b"data" if h.header == 8 && h.bytes >= 16 + ALONE_BYTES => {
                self.inside = Inside::Cover;
                self.end = self.at.saturating_add(h.bytes);
                Piece::wrapper(16)
            }
            _ => Piece::wrapper(h.bytes),
        }
    }

    /// Within an `mdat` whose chunks are known.
    fn in_chunks(&mut self, look: &[u8], left: u64) -> Piece {
        if let Some(open) = self.open.as_mut().filter(|open| open.end > self.at) {
            let left = left.min(open.end - self.at); // see the filter
            let stream = open.stream;
            return match open.chain.unit(look, left) {
                Some((bytes, key)) => {
                    Piece::of(stream, Form::Bytes, bytes).with(if key { Border::Key } else { Border::None })
                }
                None => Piece::of(stream, Form::Bytes, left),
            };
        }
        self.open = None;
        while self.places.pop_front_if(|p| p.at < self.at || p.bytes == 0).is_some() {}
        match self.places.front() {
            Some(place) if place.at == self.at => {
                let place = *place;
                let bytes = place.bytes.min(left);
                self.places.pop_front();
                if let Some(codec) = place.codec {
                    let end = self.at.saturating_add(bytes);
                    self.open = Some(Open { stream: place.stream, chain: Chain::new(codec), end });
                    return self.in_chunks(look, left);
                }
                if let Coding::Alac(_) = place.coding {
                    self.at = self.at.saturating_add(bytes);
                }
                let key = place.is_video && super::nal::is_key_frame(look);
                let piece = Piece { coding: place.coding, ..Piece::of(place.stream, place.form, bytes) };
                piece.with(if key { Border::Key } else { Border::None })
            }
            Some(place) => Piece::wrapper(left.min(place.at - self.at)), // what lies before was taken off
            None => Piece::wrapper(left),
        }
    }

    /// Leaves the box that ends here.
    fn leave(&mut self) {
        match self.inside {
            Inside::Cover => {
                (self.inside, self.end) = (Inside::Movie, self.movie_end);
                self.behind_cover = true;
            }
            Inside::Movie => {
                self.inside = Inside::File;
                if let Some(moov) = self.buffer.take() {
                    let (movie, places) = moov::read(&moov);
                    self.places = places.into();
                    self.movie = Some(movie);
                }
            }
            _ => {
                self.inside = Inside::File;
                self.open = None;
            }
        }
    }
}

impl Between {
    /// The frame of FLAC or packet of ALAC that starts `look`, `at` bytes of the file behind its start.
    fn known(
        &mut self,
        finder: &mut Finder,
        look: &[u8],
        left: u64,
        frames: &mut flac::Lengths,
        at: u64,
    ) -> Option<Piece> {
        let shown = usize::try_from(left).ok().and_then(|left| look.get(..left)).unwrap_or(look);
        let is_open = finder.sound().is_none() && self.packets.config().is_none() && self.tries < BETWEEN_TRIES;
        if is_open && !finder.is_named() && finder.is_gap(look, left) {
            let begins = shown.get(..guess::PIECE_MIN).unwrap_or_default();
            let sounds = begins.iter().any(|b| Some(b) != begins.first());
            self.gaps += u64::from(sounds);
            // Coded sound is not looked at again and again.
            let is_turn = self.likely.is_some() || self.gaps <= GAPS_TRIED || self.gaps.is_power_of_two();
            if sounds && is_turn {
                let told = guess::pcm(begins, guess::PIECE_MIN);
                let before = std::mem::replace(&mut self.likely, told);
                finder.set_sound(told.filter(|_| before == told));
            }
        }
        let is_open = is_open && finder.sound().is_none();
        if is_open && !finder.is_unit(look, left) && (finder.is_named() || alac::may_begin(shown)) {
            self.tries += 1;
            if finder.is_named() {
                finder.set_sound(guess::pcm(&finder.between(look, left, BETWEEN_BYTES).concat(), guess::BYTES_MIN));
            } else if self.packets.is_usual(shown) {
                let pieces = finder.between(look, left, BETWEEN_BYTES);
                self.packets.detect(pieces.split_last().map_or(&[], |(_, whole)| whole)); // the last one may go on
            }
        }
        let (bytes, coding) = match shown {
            [0xff, 0xf8 | 0xf9, ..] => (frames.first(shown, at)?, Coding::Flac(None)),
            _ => {
                let config = self.packets.config().filter(|_| !finder.is_unit(look, left))?;
                (self.packets.first(shown, at)?, Coding::Packets(config))
            }
        };
        finder.pass(bytes);
        Some(Piece { coding, ..Piece::of(essence(1), Form::Bytes, bytes as u64) })
    }

    /// So many bytes that are no unit, nor a frame or packet.
    fn other(sound: Option<Sound>, bytes: u64) -> Piece {
        let piece = Piece::of(essence(1), Form::Bytes, bytes);
        match sound {
            // What is no frame at the end, behind all others or before a unit, is something else.
            Some(sound) => match bytes - bytes % sound.frame_bytes() as u64 {
                0 => Piece::wrapper(bytes),
                whole => Piece { coding: Coding::Words(sound.word, sound.channels), bytes: whole, ..piece },
            },
            None => piece,
        }
    }
}

/// Whether bytes are words of three samples of 10 bits (v210): the upper two bits of each are zero, the rest is not.
fn is_v210(content: &[u8]) -> bool {
    let words = content.as_chunks::<4>().0;
    let Some(words) = words.get(..V210_WORDS) else { return false };
    let used = words.iter().filter(|w| **w != [0; 4]).count();
    // In a picture the upper ones of the 30 bits are set at times, and the words differ.
    let high = words.iter().filter(|w| w[3] & 0x30 != 0).count();
    words.iter().all(|w| w[3] < 0x40) && used > V210_WORDS / 2 && high > V210_WORDS / 64
}

impl Tracks for Isobmff {
    fn id(&self) -> SplitterId {
        ISOBMFF
    }

    fn next(&mut self, look: &[u8]) -> Result<Piece, &'static str> {
        // A cover that ends where its `moov` does.
        while self.at >= self.end && !matches!(self.inside, Inside::File) {
            self.leave();
        }
        let left = self.end.saturating_sub(self.at);
        let border = if std::mem::take(&mut self.behind_cover) { Border::Always } else { Border::None };
        Ok(match &mut self.inside {
            Inside::File => self.in_file(look)?.with(border),
            Inside::Movie => self.in_movie(look, left).with(border),
            Inside::Cover => Piece::wrapper(left).with(Border::Always),
            Inside::Chunks => self.in_chunks(look, left),
            Inside::Frames => self.in_frames(look, left),
            Inside::Units(finder) => {
                if let Some(piece) = self.between.known(finder, look, left, &mut self.frames, self.at) {
                    return Ok(piece);
                }
                match finder.next(look, left) {
                    Found::Unit { bytes, key } => {
                        Piece::of(ESSENCE, Form::Bytes, bytes).with(if key { Border::Key } else { Border::None })
                    }
                    Found::Other { bytes } => Between::other(finder.sound(), bytes),
                }
            }
            Inside::Packets(stream, coding) => {
                let piece = Piece::of(*stream, Form::Bytes, left);
                self.at = self.at.saturating_add(left);
                Piece { coding: Coding::Alac(*coding), ..piece }
            }
            Inside::One(stream, form, coding) => {
                let piece = Piece { coding: *coding, ..Piece::of(*stream, *form, left) };
                if left < DATA_MIN {
                    return Ok(piece);
                }
                self.at = self.at.saturating_add(left);
                Piece { plain: true, ..piece }
            }
        })
    }

    fn passed(&mut self, bytes: &[u8]) {
        self.at = self.at.saturating_add(bytes.len() as u64);
        if let Some(buffer) = &mut self.buffer {
            buffer.extend_from_slice(bytes);
        }
    }

    fn is_flac_alone(&self) -> bool {
        self.is_flac
    }

    fn doubt(&self) -> Option<&'static str> {
        self.doubt
    }

    fn end(&self) -> Option<&'static str> {
        let known = matches!(self.inside, Inside::File) || self.at >= self.end || self.end == u64::MAX;
        (!known).then_some("isobmff: the file ends within a box")
    }
}

#[cfg(test)]
pub(super) mod tests;
