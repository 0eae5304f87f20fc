//! AAC in ADTS (ISO/IEC 14496-3, annex 1.A): frames apart from their headers.
//!
//! ```text
//!  ID3v2 *         wrapper
//!  header   7, 9   wrapper
//!  frame           essence   the raw data blocks, as MP4 and Matroska keep them
//! ```
//! Owns the way over the frames.
//!
//! # Invariants
//!
//! State is one number.

use super::demux::{Demux, Piece, Tracks};
use super::tags::id3v2_bytes;
use super::{ADTS, ESSENCE, Hints, Splitter, SplitterId};
use crate::chunk::Form;

/// Frames in a row that a file must begin with.
const OPENING: usize = 4;

/// Bytes of a frame's header, and of all of it.
fn frame(bytes: &[u8]) -> Option<(u64, u64)> {
    let &[0xff, b, c, d, e, f, _, ..] = bytes else { return None };
    // Sync code, layer 0; a sampling frequency that there is; header and content.
    let is_adts = b & 0xf6 == 0xf0 && c >> 2 & 15 < 13;
    let header = if b & 1 == 1 { 7 } else { 9 };
    let all = u64::from(d & 3) << 11 | u64::from(e) << 3 | u64::from(f >> 5);
    (is_adts && all > header).then_some((header, all))
}

/// Opens a file of such frames, behind any number of ID3v2 tags.
pub fn open(hints: Hints<'_>) -> Option<Box<dyn Splitter>> {
    let mut rest = hints.head;
    while let Some(bytes) = id3v2_bytes(rest) {
        rest = rest.get(usize::try_from(bytes).ok()?..)?;
    }
    for _ in 0..OPENING {
        let (_, all) = frame(rest)?;
        rest = rest.get(usize::try_from(all).ok()?..)?;
    }
    Some(Box::new(Demux::new(Adts::default())))
}

#[derive(Debug, Default)]
struct Adts {
    /// Bytes of the frame whose header was given.
    left: u64,
}

impl Tracks for Adts {
    fn id(&self) -> SplitterId {
        ADTS
    }

    fn next(&mut self, look: &[u8]) -> Result<Piece, &'static str> {
        if self.left > 0 {
            return Ok(Piece::of(ESSENCE, Form::Bytes, std::mem::take(&mut self.left)));
        }
        if let Some((header, all)) = frame(look) {
            self.left = all - header; // more than the header
            return Ok(Piece::wrapper(header));
        }
        if let Some(tag) = id3v2_bytes(look) {
            return Ok(Piece::wrapper(tag));
        }
        // ID3v1 at the end.
        if look.starts_with(b"TAG") && look.len() == 128 {
            return Ok(Piece::wrapper(128));
        }
        Err("adts: a frame that is none")
    }
}
