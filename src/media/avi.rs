//! AVI and OpenDML: tracks apart from chunks.
//!
//! ```text
//!  RIFF, LIST (any)     wrapper   their headers: the chunks within follow one by one
//!  strh, strf           wrapper   read for what a track is
//!  ##dc ##db ##wb       header    wrapper, and the byte that fills an odd one up
//!                       content   essences, by the number
//!  idx1, ix##, JUNK ... wrapper   passed over by their size
//! ```
//! Owns the way over the chunks of a RIFF file of that type. Other types are not its own.
//!
//! # Invariants
//!
//! 1. Chunks are walked without a stack: what follows a header is the next chunk, whatever list contains it.
//! 2. State: what `TRACKS_MAX` tracks are.

use super::demux::{Border, Coding, Demux, Piece, Tracks, essence};
use super::fourcc::{pcm, raster, samples};
use super::nal::is_key_frame;
use super::words::{Kind, Word};
use super::{AVI, Hints, Splitter, SplitterId};
use crate::chunk::Form;

/// Tracks that are told apart: their number has two digits.
const TRACKS_MAX: usize = 100;

/// Bytes of a chunk's header, and of a list's.
const HEADER: u64 = 8;
const LIST: u64 = 12;

/// Opens a RIFF file of type AVI.
pub fn open(hints: Hints<'_>) -> Option<Box<dyn Splitter>> {
    let avi = hints.head.starts_with(b"RIFF") && hints.head.get(8..12) == Some(b"AVI ");
    avi.then(|| Box::new(Demux::new(Avi::default())) as Box<dyn Splitter>)
}

#[derive(Clone, Copy, Debug, Default)]
struct Track {
    is_video: bool,
    form: Form,
    coding: Coding,
}

#[derive(Debug, Default)]
enum Next {
    #[default]
    Header,
    Content {
        track: usize,
        bytes: u64,
    },
    /// The byte behind an odd content.
    Fill,
}

#[derive(Debug, Default)]
struct Avi {
    next: Next,
    tracks: Vec<Track>,
}

/// The number of the track that a chunk in `movi` is of.
fn number(name: [u8; 4]) -> Option<usize> {
    let [a @ b'0'..=b'9', b @ b'0'..=b'9', kind @ ..] = name else { return None };
    matches!(&kind, b"dc" | b"db" | b"wb" | b"tx" | b"sb").then(|| usize::from(a - b'0') * 10 + usize::from(b - b'0'))
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

/// The form of a video track, by its BITMAPINFOHEADER.
fn video(format: &[u8]) -> Option<Form> {
    let width = u32::from_le_bytes(*format.get(4..)?.first_chunk()?);
    let row = |bytes: u32| if width < 1 << 16 { (width * bytes).next_multiple_of(4) } else { 0 };
    match (format.get(16..20)?, u16_at(format, 14)?) {
        ([0, 0, 0, 0], 24) => Some(samples(3, row(3))),
        ([0, 0, 0, 0], 32) => Some(samples(4, row(4))),
        (name, _) => raster(name, width),
    }
}

/// How a sound track is coded, by its WAVEFORMATEX.
fn sound(format: &[u8]) -> Option<Coding> {
    let tag = match u16_at(format, 0)? {
        0xfffe => u16_at(format, 24)?,
        tag => tag,
    };
    let (channels, bits) = (u16_at(format, 2)?, u16_at(format, 14)?);
    Some(match (tag, u8::try_from(channels)) {
        (1, _) => pcm(u64::from(bits), u64::from(channels)),
        (3, Ok(channels @ 1..=32)) => {
            let word = Word::new(u32::from(bits) / 8, false, Kind::Float);
            word.map_or(Coding::None, |word| Coding::Words(word, channels))
        }
        _ => Coding::None,
    })
}

impl Avi {
    fn header(&mut self, look: &[u8]) -> Result<Piece, &'static str> {
        let &[a, b, c, d, s0, s1, s2, s3, ref content @ ..] = look else { return Err("avi: a header cut short") };
        let name = [a, b, c, d];
        let bytes = u64::from(u32::from_le_bytes([s0, s1, s2, s3]));
        if !name.iter().all(|b| matches!(b, b' '..=b'~')) {
            return Err("avi: a chunk that is none");
        }
        let all = HEADER + bytes + bytes % 2;
        match &name {
            b"RIFF" | b"LIST" => return Ok(Piece::wrapper(LIST)),
            b"strh" if self.tracks.len() < TRACKS_MAX => {
                self.tracks.push(Track { is_video: content.starts_with(b"vids"), ..Track::default() });
            }
            b"strf" => {
                let format = usize::try_from(bytes).ok().and_then(|n| content.get(..n)).unwrap_or_default();
                if let Some(track) = self.tracks.last_mut() {
                    if track.is_video {
                        track.form = video(format).unwrap_or_default();
                    } else {
                        track.coding = sound(format).unwrap_or_default();
                    }
                }
            }
            _ => {
                if let Some(track) = number(name)
                    && bytes > 0
                {
                    self.next = Next::Content { track, bytes };
                    return Ok(Piece::wrapper(HEADER));
                }
            }
        }
        Ok(Piece::wrapper(all))
    }
}

impl Tracks for Avi {
    fn id(&self) -> SplitterId {
        AVI
    }

    fn next(&mut self, look: &[u8]) -> Result<Piece, &'static str> {
        match self.next {
            Next::Header => self.header(look),
            Next::Content { track: number, bytes } => {
                self.next = if bytes % 2 == 1 { Next::Fill } else { Next::Header };
                let track = self.tracks.get(number).copied().unwrap_or_default();
                let key = track.is_video && is_key_frame(look);
                let border = if key { Border::Key } else { Border::None };
                let piece = Piece { coding: track.coding, ..Piece::of(essence(number), track.form, bytes) };
                Ok(piece.with(border))
            }
            Next::Fill => {
                self.next = Next::Header;
                Ok(Piece::wrapper(1))
            }
        }
    }
}
