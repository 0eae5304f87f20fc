//! The header of AU, also known as SND (Sun, NeXT).
//!
//! ```text
//!  .snd offset size encoding rate channels     big-endian; size 0 or 0xffffffff: to the file's end
//!  text                                        up to `offset`
//!  samples
//! ```
//! `dns.` is the same little-endian.
//!
//! Owns nothing but what this header says; the way through the file is [`super::sound`]'s.

use super::sound::{Coding, Header, Samples, Step};
use super::words::{Kind, Word};
use super::{AU, SplitterId};

const HEADER: u32 = 24;

/// AU.
#[derive(Debug, Default)]
pub(super) struct Au;

impl Header for Au {
    const ID: SplitterId = AU;

    fn opens(head: &[u8]) -> bool {
        matches!(Au.step(head), Step::Samples(..))
    }

    fn step(&mut self, rest: &[u8]) -> Step {
        let big_endian = rest.starts_with(b".snd");
        let Some(fields) = rest.first_chunk::<24>().filter(|_| big_endian || rest.starts_with(b"dns.")) else {
            return Step::Doubt("au: no header");
        };
        let (fields, _) = fields.as_chunks::<4>();
        let mut fields = fields.iter().skip(1).map(|&f| match big_endian {
            true => u32::from_be_bytes(f),
            false => u32::from_le_bytes(f),
        });
        let mut next = || fields.next().unwrap_or(0); // there are five
        let (offset, size, encoding, _rate, channels) = (next(), next(), next(), next(), next());
        if offset < HEADER || channels == 0 {
            return Step::Doubt("au: a header that cannot be");
        }
        let word = match encoding {
            2..=5 => Word::new(encoding - 1, big_endian, Kind::Signed), // 8, 16, 24, 32 bits
            6 => Word::new(4, big_endian, Kind::Float),
            7 => Word::new(8, big_endian, Kind::Float),
            _ => None,
        };
        let bytes = if matches!(size, 0 | u32::MAX) { None } else { Some(u64::from(size)) };
        let coding = word.map_or(Coding::Other, |word| Coding::Words(word, channels));
        Step::Samples(u64::from(offset), Samples { bytes, coding })
    }

    fn goes_on(&self, _behind: &[u8], _odd: bool) -> bool {
        false // nothing tells where samples would end
    }
}
