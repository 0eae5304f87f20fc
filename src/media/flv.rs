//! FLV: tracks apart from tags.
//!
//! ```text
//!  header                          wrapper
//!  tag   length before, header     wrapper   with the bytes that tell the codec, and the time of a picture
//!        content                  essences   0 video, 1 sound
//!        of other tags, of codecs' own headers    wrapper
//! ```
//! Owns the way over the tags (Adobe FLV 10.1, and the four-character codes of Enhanced RTMP).
//!
//! # Invariants
//!
//! State is a few numbers.

use super::demux::{Border, Demux, Piece, Tracks, essence};
use super::nal::{Chain, Codec};
use super::{FLV, Hints, Splitter, SplitterId};
use crate::chunk::Form;

/// Bytes of a tag's header, with the length of the tag before.
const TAG: usize = 4 + 11;

const SOUND: u8 = 8;
const VIDEO: u8 = 9;

/// Opens a file with the marker, the version and the length of an FLV header.
pub fn open(hints: Hints<'_>) -> Option<Box<dyn Splitter>> {
    let &[b'F', b'L', b'V', 1, _, 0, 0, 0, 9, ..] = hints.head else { return None };
    Some(Box::new(Demux::new(Flv::default())))
}

#[derive(Debug, Default)]
enum Next {
    /// Before the header.
    #[default]
    File,
    Tag,
    Content {
        sound: bool,
        left: u64,
        chain: Option<Chain>,
    },
}

#[derive(Debug, Default)]
struct Flv {
    next: Next,
    /// Units carry lengths of four bytes, as the last header of the codec said.
    codec: Option<Codec>,
}

impl Flv {
    /// Bytes in front of a video tag's payload; `None` where it is none. Notes what a codec's header says.
    fn video(&mut self, body: &[u8]) -> Option<usize> {
        let first = *body.first()?;
        if first & 0x80 != 0 {
            let is_hevc = body.get(1..5)? == b"hvc1";
            return match first & 15 {
                0 => {
                    let four = body.get(5 + 21).is_some_and(|b| b & 3 == 3);
                    self.codec = (is_hevc && four).then_some(Codec::Hevc);
                    None
                }
                // Coded frames, with a time where the codec has one to tell; and without.
                1 => Some(if matches!(body.get(1..5)?, b"hvc1" | b"avc1") { 8 } else { 5 }),
                3 => Some(5),
                _ => None,
            };
        }
        match (first & 15, body.get(1)?) {
            (7, 0) => {
                self.codec = body.get(5 + 4).filter(|b| *b & 3 == 3).map(|_| Codec::Avc);
                None
            }
            (7, 1) => Some(5),
            (7, _) => None,
            _ => Some(1),
        }
    }

    fn tag(&mut self, look: &[u8]) -> Result<Piece, &'static str> {
        if look.len() == 4 {
            return Ok(Piece::wrapper(4)); // the length of the last tag
        }
        let (Some(&[_, _, _, _, kind, s0, s1, s2]), Some(body)) = (look.first_chunk(), look.get(TAG..)) else {
            return Err("flv: a tag cut short");
        };
        if !matches!(kind, SOUND | VIDEO | 18 | 15) || look.get(12..15) != Some(&[0, 0, 0]) {
            return Err("flv: a tag that is none");
        }
        let bytes = u32::from_be_bytes([0, s0, s1, s2]) as usize;
        let body = body.get(..bytes).unwrap_or(body);
        let front = match kind {
            VIDEO => self.video(body),
            SOUND => match (body.first().map(|b| b >> 4), body.get(1)) {
                (Some(10), Some(1)) => Some(2),
                (Some(10), _) | (None, _) => None,
                _ => Some(1),
            },
            _ => None,
        };
        match front.and_then(|front| Some((front, bytes.checked_sub(front).filter(|n| *n > 0)?))) {
            Some((front, left)) => {
                let sound = kind == SOUND;
                let chain = if sound { None } else { self.codec.map(Chain::new) };
                self.next = Next::Content { sound, left: left as u64, chain };
                Ok(Piece::wrapper((TAG + front) as u64))
            }
            None => Ok(Piece::wrapper((TAG + bytes) as u64)),
        }
    }
}

impl Tracks for Flv {
    fn id(&self) -> SplitterId {
        FLV
    }

    fn next(&mut self, look: &[u8]) -> Result<Piece, &'static str> {
        match &mut self.next {
            Next::File => {
                self.next = Next::Tag;
                Ok(Piece::wrapper(9))
            }
            Next::Tag | Next::Content { left: 0, .. } => {
                self.next = Next::Tag;
                self.tag(look)
            }
            Next::Content { sound, left, chain } => {
                let (bytes, key) = chain.as_mut().and_then(|c| c.unit(look, *left)).unwrap_or((*left, false));
                *left -= bytes; // a unit is not longer than what is left
                let border = if key { Border::Key } else { Border::None };
                Ok(Piece::of(essence(usize::from(*sound)), Form::Bytes, bytes).with(border))
            }
        }
    }
}
