//! Headers of AIFF and AIFC.
//!
//! ```text
//!  FORM size AIFF|AIFC            big-endian
//!  (id size body pad?)*           COMM: channels, frames, bits, rate; in AIFC how samples are coded
//!  SSND size offset block         then `offset` bytes that are none, then samples
//!  (id size body pad?)*           NAME, AUTH, ID3, ...
//! ```
//! Owns nothing but what these headers say; the way through the file is [`super::sound`]'s.
//!
//! # Invariants
//!
//! A chunk's header passes 8 bytes at least. State is a few numbers.

use super::riff::{goes_on, is_chunk};
use super::sound::{Coding, Header, Samples, Step};
use super::words::{Kind, Word};
use super::{AIFF, SplitterId};

/// AIFF, AIFC.
#[derive(Debug, Default)]
pub(super) struct Aiff {
    begun: bool,
    /// The chunk before had an odd size, so a byte of padding may follow.
    odd: bool,
    coding: Option<Coding>,
}

/// How the samples of a COMM chunk are coded.
fn coding(body: &[u8]) -> Option<Coding> {
    let short = |at: usize| body.get(at..)?.first_chunk().map(|&b| u32::from(u16::from_be_bytes(b)));
    let (channels, bits) = (short(0)?, short(6)?);
    // AIFF has none.
    let kind = body.get(18..).and_then(|b| b.first_chunk()).unwrap_or(b"NONE");
    let bytes = bits.div_ceil(8);
    let (bytes, big_endian, kind) = match kind {
        b"NONE" | b"twos" => (bytes, true, Kind::Signed),
        b"sowt" => (bytes, false, Kind::Signed),
        b"raw " => (bytes, true, Kind::Unsigned),
        b"in24" => (3, true, Kind::Signed),
        b"42ni" => (3, false, Kind::Signed),
        b"in32" => (4, true, Kind::Signed),
        b"23ni" => (4, false, Kind::Signed),
        b"fl32" | b"FL32" => (4, true, Kind::Float),
        b"fl64" | b"FL64" => (8, true, Kind::Float),
        _ => return Some(Coding::Other),
    };
    Some(Word::new(bytes, big_endian, kind).map_or(Coding::Other, |word| Coding::Words(word, channels)))
}

impl Header for Aiff {
    const ID: SplitterId = AIFF;

    fn opens(head: &[u8]) -> bool {
        matches!(head, [b'F', b'O', b'R', b'M', _, _, _, _, b'A', b'I', b'F', b'F' | b'C', ..])
    }

    fn step(&mut self, rest: &[u8]) -> Step {
        if !std::mem::replace(&mut self.begun, true) {
            return Step::Wrapper(12);
        }
        if std::mem::take(&mut self.odd)
            && (rest.first() == Some(&0) || (!is_chunk(rest) && rest.get(1..).is_some_and(is_chunk)))
        {
            return Step::Wrapper(1);
        }
        let Some(&[a, b, c, d, s0, s1, s2, s3]) = rest.first_chunk().filter(|_| is_chunk(rest)) else {
            return Step::Doubt("aiff: a chunk without a name");
        };
        let size = u32::from_be_bytes([s0, s1, s2, s3]);
        let body = rest.get(8..).unwrap_or_default();
        let body = body.get(..usize::try_from(size).unwrap_or(usize::MAX)).unwrap_or(body);
        match &[a, b, c, d] {
            b"SSND" => {
                let Some(&offset) = rest.get(8..16).and_then(|b| b.first_chunk()) else {
                    return Step::Doubt("aiff: samples cut short");
                };
                let before = 8 + u64::from(u32::from_be_bytes(offset));
                let bytes = match u64::from(size) {
                    0..=8 | 0xffff_0000.. => None,
                    size => Some(size.saturating_sub(before)),
                };
                let coding = self.coding.unwrap_or(Coding::Other);
                return Step::Samples(8 + before, Samples { bytes, coding });
            }
            b"COMM" => {
                let Some(coding) = coding(body) else { return Step::Doubt("aiff: a format cut short") };
                self.coding = Some(coding);
            }
            _ => {}
        }
        self.odd = size % 2 == 1;
        Step::Wrapper(8 + u64::from(size))
    }

    fn goes_on(&self, behind: &[u8], odd: bool) -> bool {
        goes_on(behind, odd)
    }
}
