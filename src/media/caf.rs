//! Headers of CAF (Apple Core Audio Format, version 1).
//!
//! ```text
//!  caff version flags             big-endian, as all of it
//!  desc size body                 rate, format, flags, bytes and frames of a packet, channels, bits
//!  (type size body)*              kuki (the cookie of ALAC), free, info, chan, pakt, ...
//!  data size edits samples        size: 64 bits; -1 if it goes to the file's end
//!  (type size body)*
//! ```
//! Owns nothing but what these headers say; the way through the file is [`super::sound`]'s.
//!
//! # Invariants
//!
//! A chunk's header passes 12 bytes at least. State is a few numbers.

use super::alac;
use super::sound::{Coding, Header, Samples, Step};
use super::words::{Kind, Word};
use super::{CAF, SplitterId};

const IS_FLOAT: u32 = 1;
const IS_LITTLE_ENDIAN: u32 = 2;

/// CAF.
#[derive(Debug, Default)]
pub(super) struct Caf {
    begun: bool,
    coding: Option<Coding>,
    is_alac: bool,
}

/// How the samples of a `desc` chunk are coded.
fn coding(body: &[u8]) -> Option<Coding> {
    let format: &[u8; 4] = body.get(8..)?.first_chunk()?;
    let long = |at: usize| body.get(at..)?.first_chunk().map(|&b| u32::from_be_bytes(b));
    let (flags, packet, frames, channels) = (long(12)?, long(16)?, long(20)?, long(24)?);
    if format == b"alac" {
        // The flags number the bits that there can be. A cookie mostly follows, and tells them again.
        let bits = [16, 20, 24, 32].get(usize::try_from(flags).ok()?.wrapping_sub(1)).copied();
        let config = bits.map(alac::Config::usual).filter(|_| frames == 4096);
        return Some(config.map_or(Coding::Other, Coding::Packets));
    }
    if format != b"lpcm" || frames != 1 {
        return Some(Coding::Other);
    }
    let kind = if flags & IS_FLOAT != 0 { Kind::Float } else { Kind::Signed };
    Some(Coding::of(packet, channels, |bytes| Word::new(bytes, flags & IS_LITTLE_ENDIAN == 0, kind)))
}

impl Header for Caf {
    const ID: SplitterId = CAF;

    fn opens(head: &[u8]) -> bool {
        head.starts_with(b"caff\0\x01")
    }

    fn step(&mut self, rest: &[u8]) -> Step {
        if !std::mem::replace(&mut self.begun, true) {
            return Step::Wrapper(8);
        }
        let Some((&[a, b, c, d, size @ ..], body)) = rest.split_first_chunk::<12>() else {
            return Step::Doubt("caf: a chunk cut short");
        };
        let size = i64::from_be_bytes(size);
        let kind = [a, b, c, d];
        if kind == *b"data" {
            let bytes = match size {
                -1 => None,
                // The number of edits counts.
                _ => match u64::try_from(size).ok().and_then(|s| s.checked_sub(4)) {
                    Some(bytes) => Some(bytes),
                    None => return Step::Doubt("caf: a size that cannot be"),
                },
            };
            return Step::Samples(16, Samples { bytes, coding: self.coding.unwrap_or(Coding::Other) });
        }
        let Some(bytes) = u64::try_from(size).ok().and_then(|s| s.checked_add(12)) else {
            return Step::Doubt("caf: a size that cannot be");
        };
        if kind == *b"desc" {
            let body = body.get(..usize::try_from(size).unwrap_or(usize::MAX)).unwrap_or(body);
            let Some(coding) = coding(body) else { return Step::Doubt("caf: a format cut short") };
            self.coding = Some(coding);
            self.is_alac = body.get(8..12) == Some(b"alac");
        }
        if kind == *b"kuki" && self.is_alac {
            let body = body.get(..usize::try_from(size).unwrap_or(usize::MAX)).unwrap_or(body);
            // One that is not known tells that nothing is.
            self.coding = Some(alac::Config::read(body).map_or(Coding::Other, Coding::Packets));
        }
        Step::Wrapper(bytes)
    }

    fn goes_on(&self, _behind: &[u8], _odd: bool) -> bool {
        false // its sizes are wide enough
    }
}
