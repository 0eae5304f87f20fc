//! Headers of WAV and its kin: RIFF, RIFX (big-endian), RF64 and BW64 (EBU Tech 3306, ITU-R BS.2088), and Wave64.
//!
//! ```text
//!  RIFF size WAVE                 size: 32 bits; in RF64 and BW64 0xffffffff, then `ds64` has 64 bits of it
//!  (id size body pad?)*           bext, LIST, id3, JUNK, ...: passed over
//!  fmt  size body pad?            how samples are coded
//!  data size samples pad?
//!  (id size body pad?)*
//! ```
//! In Wave64 ids are GUIDs and sizes have 64 bits, count their own header, and are padded to 8 bytes.
//!
//! Owns nothing but what these headers say; the way through the file is [`super::sound`]'s.
//!
//! # Invariants
//!
//! A chunk's header passes 8 bytes at least. State is a few numbers.

use super::sound::{Coding, Header, Samples, Step};
use super::words::{Kind, Word};
use super::{SplitterId, WAV};

/// Bytes of a chunk's header.
const CHUNK_HEADER: u64 = 8;

/// The format tag of `WAVE_FORMAT_EXTENSIBLE`: the tag is the start of a GUID further behind.
const EXTENSIBLE: u32 = 0xfffe;

/// Sizes from here on are what a writer puts who does not know them.
const UNKNOWN: u32 = 0xffff_0000;

/// Whether a chunk, or a tag that is appended to such files, may begin like this.
pub(super) fn is_chunk(bytes: &[u8]) -> bool {
    let Some(id) = bytes.first_chunk::<4>() else { return false };
    id.iter().all(|b| (0x20..0x7f).contains(b)) || id.starts_with(b"ID3") || id.starts_with(b"TAG")
}

/// Whether samples go on behind a size of 32 bits: neither chunk nor tag stands there, also not behind the padding.
pub(super) fn goes_on(behind: &[u8], odd: bool) -> bool {
    let padded = behind.get(usize::from(odd)..).unwrap_or_default();
    padded.len() >= CHUNK_HEADER as usize && !is_chunk(padded) && !is_chunk(behind)
}

/// How the samples of a `fmt ` chunk are coded.
fn coding(body: &[u8], big_endian: bool) -> Option<Coding> {
    let short = |at: usize| {
        let bytes = *body.get(at..)?.first_chunk()?;
        Some(u32::from(if big_endian { u16::from_be_bytes(bytes) } else { u16::from_le_bytes(bytes) }))
    };
    let (mut tag, channels, frame, bits) = (short(0)?, short(2)?, short(12)?, short(14)?);
    if tag == EXTENSIBLE {
        let guid = body.get(24..40)?;
        // KSDATAFORMAT_SUBTYPE, or that of Ambisonic B-format. Behind the tag, the first field is zero.
        let first = if big_endian { [guid.get(1)?, guid.first()?] } else { [guid.get(3)?, guid.get(2)?] };
        let of_media = [0, 0, 0x10, 0, 0x80, 0, 0, 0xaa, 0, 0x38, 0x9b, 0x71];
        let of_ambisonic = [0x21, 0x07, 0xd3, 0x11, 0x86, 0x44, 0xc8, 0xc1, 0xca, 0, 0, 0];
        let mut behind: [u8; 12] = *guid.get(4..)?.first_chunk()?;
        if big_endian {
            // Its first fields are two shorts.
            behind.swap(0, 1);
            behind.swap(2, 3);
        }
        if first != [&0, &0] || (behind != of_media && behind != of_ambisonic) {
            return Some(Coding::Other);
        }
        tag = short(if big_endian { 26 } else { 24 })?;
    }
    // Where the frame's bytes make no sense, the bits do.
    let bytes = bits.div_ceil(8);
    let frame = if channels > 0 && frame >= bytes * channels { frame } else { bytes * channels }; // below 2^29
    Some(match tag {
        1 if bits > 0 => Coding::of(frame, channels, |bytes| {
            Word::new(bytes, big_endian, if bytes == 1 { Kind::Unsigned } else { Kind::Signed })
        }),
        3 => Coding::of(frame, channels, |bytes| Word::new(bytes, big_endian, Kind::Float)),
        _ => Coding::Other,
    })
}

/// RIFF, RIFX, RF64, BW64.
#[derive(Debug, Default)]
pub(super) struct Riff {
    begun: bool,
    big_endian: bool,
    /// The whole file's size is one that says nothing.
    unknown: bool,
    /// RF64 or BW64.
    long: bool,
    /// What `ds64` says of `data`.
    data: Option<u64>,
    /// The chunk before had an odd size, so a byte of padding may follow.
    odd: bool,
    coding: Option<Coding>,
}

impl Riff {
    fn number(&self, bytes: [u8; 4]) -> u32 {
        if self.big_endian { u32::from_be_bytes(bytes) } else { u32::from_le_bytes(bytes) }
    }

    fn samples(&self, size: u32) -> Samples {
        let bytes = match (size, self.data) {
            (u32::MAX, Some(bytes)) if self.long && bytes != 0 => Some(bytes),
            (0, _) if self.unknown => None,
            (UNKNOWN.., _) => None,
            _ => Some(u64::from(size)),
        };
        Samples { bytes, coding: self.coding.unwrap_or(Coding::Other) }
    }
}

impl Header for Riff {
    const ID: SplitterId = WAV;

    fn opens(head: &[u8]) -> bool {
        matches!(
            head,
            [b'R', b'I', b'F', b'F' | b'X', _, _, _, _, b'W', b'A', b'V', b'E', ..]
                | [b'R', b'F', b'6', b'4', _, _, _, _, b'W', b'A', b'V', b'E', ..]
                | [b'B', b'W', b'6', b'4', _, _, _, _, b'W', b'A', b'V', b'E', ..]
        )
    }

    fn step(&mut self, rest: &[u8]) -> Step {
        if !self.begun {
            let Some(&[a, _, _, d, s0, s1, s2, s3, ..]) = rest.first_chunk::<12>() else {
                return Step::Doubt("wav: the file ends within its header");
            };
            self.begun = true;
            self.big_endian = d == b'X';
            self.long = (a, d) != (b'R', b'F') && d != b'X';
            self.unknown = matches!(self.number([s0, s1, s2, s3]), 0 | UNKNOWN..);
            return Step::Wrapper(12);
        }
        if std::mem::take(&mut self.odd)
            && (rest.first() == Some(&0) || (!is_chunk(rest) && rest.get(1..).is_some_and(is_chunk)))
        {
            return Step::Wrapper(1);
        }
        let Some(&[a, b, c, d, s0, s1, s2, s3]) = rest.first_chunk().filter(|_| is_chunk(rest)) else {
            return Step::Doubt("wav: a chunk without a name");
        };
        let size = self.number([s0, s1, s2, s3]);
        let body = rest.get(8..).unwrap_or_default();
        let body = body.get(..usize::try_from(size).unwrap_or(usize::MAX)).unwrap_or(body);
        match &[a, b, c, d] {
            b"data" => return Step::Samples(CHUNK_HEADER, self.samples(size)),
            b"fmt " => {
                let Some(coding) = coding(body, self.big_endian) else {
                    return Step::Doubt("wav: a format cut short");
                };
                self.coding = Some(coding);
            }
            b"ds64" if self.long => {
                self.data = body.get(8..).and_then(|b| b.first_chunk()).map(|&b| u64::from_le_bytes(b));
            }
            _ => {}
        }
        self.odd = size % 2 == 1;
        Step::Wrapper(CHUNK_HEADER + u64::from(size))
    }

    fn goes_on(&self, behind: &[u8], odd: bool) -> bool {
        !self.long && goes_on(behind, odd)
    }
}

const GUID_RIFF: [u8; 16] = *b"riff\x2e\x91\xcf\x11\xa5\xd6\x28\xdb\x04\xc1\0\0";
const GUID_WAVE: [u8; 16] = *b"wave\xf3\xac\xd3\x11\x8c\xd1\0\xc0\x4f\x8e\xdb\x8a";
const GUID_FMT: [u8; 16] = *b"fmt \xf3\xac\xd3\x11\x8c\xd1\0\xc0\x4f\x8e\xdb\x8a";
const GUID_DATA: [u8; 16] = *b"data\xf3\xac\xd3\x11\x8c\xd1\0\xc0\x4f\x8e\xdb\x8a";

/// A GUID and a size of 64 bits.
const LONG_HEADER: u64 = 24;

/// Sony Wave64.
#[derive(Debug, Default)]
pub(super) struct Wave64 {
    begun: bool,
    coding: Option<Coding>,
}

impl Header for Wave64 {
    const ID: SplitterId = WAV;

    fn opens(head: &[u8]) -> bool {
        head.starts_with(&GUID_RIFF) && head.get(24..).is_some_and(|h| h.starts_with(&GUID_WAVE))
    }

    fn step(&mut self, rest: &[u8]) -> Step {
        if !self.begun {
            self.begun = true;
            return Step::Wrapper(LONG_HEADER + 16);
        }
        let (Some(guid), Some(&size)) = (rest.first_chunk::<16>(), rest.get(16..).and_then(|r| r.first_chunk())) else {
            return Step::Doubt("w64: a chunk cut short");
        };
        let size = u64::from_le_bytes(size);
        if *guid == GUID_DATA {
            let bytes = match size {
                0..LONG_HEADER | 0xffff_ffff_ffff_0000.. => None,
                _ => Some(size - LONG_HEADER), // at least that
            };
            return Step::Samples(LONG_HEADER, Samples { bytes, coding: self.coding.unwrap_or(Coding::Other) });
        }
        let Some(bytes) = size.checked_next_multiple_of(8).filter(|_| size >= LONG_HEADER) else {
            return Step::Doubt("w64: a chunk smaller than its header");
        };
        if *guid == GUID_FMT {
            let body = rest.get(24..).unwrap_or_default();
            let body = body.get(..usize::try_from(size - LONG_HEADER).unwrap_or(usize::MAX)).unwrap_or(body);
            let Some(coding) = coding(body, false) else { return Step::Doubt("w64: a format cut short") };
            self.coding = Some(coding);
        }
        Step::Wrapper(bytes)
    }

    fn goes_on(&self, _behind: &[u8], _odd: bool) -> bool {
        false // its sizes are wide enough
    }
}
