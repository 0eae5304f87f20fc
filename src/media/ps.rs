//! MPEG program streams (MPG, VOB): elementary streams apart from packs and packets.
//!
//! ```text
//!  pack header, system header, map, padding, navigation    wrapper
//!  packet   header                                         wrapper   with a substream's, where it has one
//!           payload                                        essences   in order of appearance
//! ```
//! Owns the way over packs and packets (ISO 13818-1 §2.5, ISO 11172-1 §2.4) and over the substreams that DVDs keep in the
//! first private stream.
//!
//! # Invariants
//!
//! State is a few numbers, and the streams that have come, which are no more than there can be names.

use super::demux::{Border, Demux, Piece, Tracks, essence};
use super::{Hints, MPEG_PS, Splitter, SplitterId};
use crate::chunk::Form;

const END: u8 = 0xb9;
const PACK: u8 = 0xba;
/// Data of other kinds: AC-3, DTS, LPCM, subtitles.
const PRIVATE: u8 = 0xbd;
/// An MPEG-1, 2 or 4 video sequence begins: a decoder can, too.
const SEQUENCE: u8 = 0xb3;
/// Headers behind each other are one piece up to so many bytes: far fewer than are shown, so that each is seen whole.
const HEADERS: usize = 64 << 10;

const NONE: &str = "mpeg-ps: a packet that is none";

/// Opens what begins with a pack header and goes on with a packet.
pub fn open(hints: Hints<'_>) -> Option<Box<dyn Splitter>> {
    let bytes = pack_bytes(hints.head)?;
    let next = hints.head.get(bytes..)?;
    matches!(next, [0, 0, 1, END..=0xff, ..]).then(|| Box::new(Demux::new(Ps::default())) as Box<dyn Splitter>)
}

/// Bytes of the pack header that starts here, by its marker bits.
fn pack_bytes(look: &[u8]) -> Option<usize> {
    let &[0, 0, 1, PACK, a, _, b, _, c, d, _, e, ..] = look else { return None };
    let first = a & 0xc4 == 0x44 && b & 4 == 4 && c & 4 == 4 && d & 1 == 1;
    if first && let Some(&[f, g]) = look.get(12..14).and_then(<[u8]>::first_chunk) {
        return (f & 3 == 3).then_some(14 + usize::from(g & 7));
    }
    // Of MPEG-1.
    (a & 0xf1 == 0x21 && b & 1 == 1 && c & 1 == 1 && d & 0x80 == 0x80 && e & 1 == 1).then_some(12)
}

/// Where a packet's payload begins; `None` where its header makes no sense.
fn payload(packet: &[u8]) -> Option<usize> {
    if packet.get(6)? >> 6 == 2 {
        return Some(9 + usize::from(*packet.get(8)?));
    }
    // Of MPEG-1: stuffing, perhaps a buffer's size, perhaps times.
    let mut at = 6 + packet.get(6..)?.iter().take(17).position(|&b| b != 0xff)?;
    if packet.get(at)? >> 6 == 1 {
        at += 2;
    }
    match packet.get(at)? {
        0x0f => Some(at + 1),
        b if b >> 4 == 2 => Some(at + 5),
        b if b >> 4 == 3 => Some(at + 10),
        _ => None,
    }
}

/// Where a sequence header begins behind the first byte.
fn sequence_behind(data: &[u8]) -> Option<usize> {
    const AT_ONCE: usize = 32;
    for (k, part) in data.chunks(AT_ONCE).enumerate() {
        // All are compared, since that is one instruction for many; few parts have such a byte.
        if part.iter().fold(false, |found, &b| found | (b == SEQUENCE)) {
            let is_end = |at: &usize| *at > 3 && data.get(at - 3..=*at) == Some(&[0, 0, 1, SEQUENCE]);
            if let Some(at) = (k * AT_ONCE..k * AT_ONCE + part.len()).find(is_end) {
                return Some(at - 3);
            }
        }
    }
    None
}

/// What starts a place of the file, and its bytes.
enum Unit {
    Other(usize),
    /// A packet of this stream, and where its payload begins.
    Packet {
        name: u16,
        front: usize,
        bytes: usize,
    },
}

#[derive(Debug, Default)]
struct Ps {
    /// The essence of the payload that is being passed, whether it is video, and what is left of it.
    now: (usize, bool, usize),
    /// The streams that have come, by stream and substream number: an essence each.
    known: Vec<u16>,
    /// Whether packets of the first private stream name a substream, as on DVDs; not known before the first.
    has_substreams: Option<bool>,
}

impl Ps {
    fn unit(&mut self, look: &[u8]) -> Option<Unit> {
        let number = match look {
            [0, 0, 1, number, ..] => *number,
            // Zeros fill up some files, to the end of a sector or of all. The last two may be a start code's.
            [0, 0, 0, ..] => {
                let zeros = look.iter().position(|&b| b != 0).unwrap_or(look.len());
                return look.get(zeros).is_none_or(|&b| b == 1).then_some(Unit::Other(zeros - 2)); // three at least
            }
            // So few are seen at the file's end only: see `HEADERS`.
            [0] | [0, 0] => return Some(Unit::Other(look.len())),
            _ => return None,
        };
        if number <= PACK {
            return match number {
                PACK => pack_bytes(look).map(Unit::Other),
                END => Some(Unit::Other(4)),
                _ => None,
            };
        }
        let &[a, b] = look.get(4..)?.first_chunk()?;
        let bytes = 6 + usize::from(u16::from_be_bytes([a, b]));
        if !matches!(number, PRIVATE | 0xc0..=0xef | 0xfd) {
            return Some(Unit::Other(bytes));
        }
        let packet = look.get(..bytes).unwrap_or(look);
        let Some(front) = payload(packet).filter(|front| *front < bytes) else { return Some(Unit::Other(bytes)) };
        let (mut front, mut substream) = (front, 0);
        if number == PRIVATE {
            let data = packet.get(front..).unwrap_or_default();
            let header = |first: u8| match first {
                0x20..=0x3f => 1,               // subtitles
                0x80..=0x8f | 0xc0..=0xcf => 4, // AC-3, DTS; E-AC-3: packets that begin here, and where
                0xa0..=0xaf => 7,               // LPCM: likewise, and how samples lie
                _ => 0,
            };
            let is_plain = |data: &[u8]| matches!(data, [0x0b, 0x77, ..] | [0x7f, 0xfe, ..]); // AC-3, DTS
            if *self.has_substreams.get_or_insert(!is_plain(data))
                && let Some(&first) = data.first()
                && header(first) > 0
                && front + header(first) < bytes
            {
                (front, substream) = (front + header(first), first);
            }
        }
        Some(Unit::Packet { name: u16::from_be_bytes([number, substream]), front, bytes })
    }
}

impl Tracks for Ps {
    fn id(&self) -> SplitterId {
        MPEG_PS
    }

    fn next(&mut self, look: &[u8]) -> Result<Piece, &'static str> {
        let (index, is_video, left) = self.now;
        if left > 0 {
            let data = look.get(..left).unwrap_or(look);
            let key = data.starts_with(&[0, 0, 1, SEQUENCE]);
            let next = if is_video { sequence_behind(data).unwrap_or(left) } else { left };
            self.now.2 = left - next; // it lies within
            let border = if is_video && key { Border::Key } else { Border::None };
            return Ok(Piece::of(essence(index), Form::Bytes, next as u64).with(border));
        }
        let mut at = 0;
        while at < HEADERS
            && let Some(rest) = look.get(at..).filter(|rest| !rest.is_empty())
        {
            match self.unit(rest) {
                Some(Unit::Other(bytes)) => at += bytes,
                Some(Unit::Packet { name, front, bytes }) => {
                    let index = self.known.iter().position(|&known| known == name).unwrap_or_else(|| {
                        self.known.push(name); // as often as there are names
                        self.known.len() - 1
                    });
                    self.now = (index, matches!(name >> 8, 0xe0..=0xef), bytes - front); // it is before the end
                    at += front;
                    break;
                }
                None if at > 0 => break,
                None => return Err(NONE),
            }
        }
        Ok(Piece::wrapper(at as u64))
    }
}

#[cfg(test)]
mod tests {
    use super::super::demux::LOOK;
    use super::super::testing::{alike_in_windows, collect_parts, harm, head, noise, streams, windows};
    use super::super::{Part, TS, open};
    use super::*;
    use proptest::prelude::*;

    /// How packets are written.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    enum Kind {
        Mpeg1,
        Mpeg2,
    }

    fn pack(kind: Kind, n: usize) -> Vec<u8> {
        let n = n as u8;
        match kind {
            Kind::Mpeg2 => {
                let mut out = vec![0, 0, 1, PACK, 0x44, n, 0x04, n, 0x04, 1, n, n, 3, 0xf8 | (n % 8)];
                out.extend(vec![0xff; usize::from(n % 8)]);
                out
            }
            Kind::Mpeg1 => vec![0, 0, 1, PACK, 0x21, n, 1, n, 1, 0x80, n, 1],
        }
    }

    fn packet(kind: Kind, number: u8, n: usize, payload: &[u8]) -> Vec<u8> {
        let time = [0x21, n as u8, 1, n as u8, 1];
        let front: Vec<u8> = match (kind, n % 3) {
            (Kind::Mpeg2, 0) => [&[0x81, 0x80, 7][..], &time, &[0xff, 0xff]].concat(),
            (Kind::Mpeg2, _) => vec![0x81, 0, 0],
            (Kind::Mpeg1, 0) => [&[0xff, 0xff, 0x60, 0x20][..], &time].concat(),
            (Kind::Mpeg1, 1) => [&[0x31, 1, 1, 1, 1][..], &[0x11, 1, 1, 1, 1]].concat(),
            (Kind::Mpeg1, _) => vec![0x0f],
        };
        let bytes = u16::try_from(front.len() + payload.len()).unwrap().to_be_bytes();
        [&[0, 0, 1, number][..], &bytes, &front, payload].concat()
    }

    /// A film of streams, each with its number and what stands before each packet's data, in turns.
    fn film(kind: Kind, tracks: &[(u8, &[u8], &[u8])]) -> Vec<u8> {
        const PAYLOAD: usize = 2000;
        let mut out = pack(kind, 0);
        out.extend([0, 0, 1, 0xbb, 0, 6, 1, 2, 3, 4, 5, 6]);
        let longest = tracks.iter().map(|t| t.2.len()).max().unwrap();
        for n in 0..longest.div_ceil(PAYLOAD) {
            for (number, front, data) in tracks {
                let from = n * PAYLOAD;
                if from < data.len() {
                    let data = &data[from..data.len().min(from + PAYLOAD)];
                    out.extend(pack(kind, n));
                    out.extend(packet(kind, *number, n, &[front, data].concat()));
                }
            }
            if n % 5 == 0 {
                out.extend([&[0, 0, 1, 0xbe, 0, 40][..], &[0xff; 40]].concat());
                out.extend([&[0, 0, 1, 0xbf, 0, 9][..], &[n as u8; 9]].concat());
            }
        }
        out.extend([0, 0, 1, END]);
        out
    }

    /// Video that has a sequence header every so many bytes.
    fn video(bytes: usize, apart: usize) -> Vec<u8> {
        let mut out = noise(bytes);
        (0..bytes - 4).step_by(apart).for_each(|at| out[at..at + 4].copy_from_slice(&[0, 0, 1, SEQUENCE]));
        out
    }

    #[test]
    fn elementary_streams_are_whole_in_both_versions_of_the_standard() {
        let (video, sound) = (video(900_000, 41_234), noise(70_001));
        for kind in [Kind::Mpeg1, Kind::Mpeg2] {
            let bytes = film(kind, &[(0xe0, b"", &video), (0xc0, b"", &sound)]);
            let splitter = open(head(&bytes));
            assert_eq!(splitter.id(), MPEG_PS);
            let (parts, doubt) = collect_parts(splitter, &bytes, &[0, 70_000]);
            assert_eq!(doubt, None);
            let all = streams(&bytes, &parts);
            assert!(all[&essence(0)] == video && all[&essence(1)] == sound, "{kind:?}");
        }
    }

    #[test]
    fn sequences_of_video_have_borders_where_enough_came_between() {
        let video = video(2 << 20, 100_001);
        let bytes = film(Kind::Mpeg2, &[(0xe0, b"", &video)]);
        let (parts, _) = collect_parts(open(head(&bytes)), &bytes, &[0]);
        let mut at = 0;
        let mut cuts = Vec::new();
        for part in &parts {
            let Part::Mapped(mapped) = part else { continue };
            for part in mapped.parts.iter().filter(|p| p.stream == essence(0)) {
                if part.cut {
                    cuts.push(at);
                }
                at += part.bytes.len();
            }
        }
        // Headers that lie in two packets are not seen.
        let whole = |at: &usize| *at % 2000 <= 1996 && at.is_multiple_of(100_001);
        assert!(cuts.len() > 4 && cuts[1..].iter().all(whole), "{cuts:?}");
        assert!(cuts.windows(2).all(|w| w[1] - w[0] >= 256 << 10), "{cuts:?}");
    }

    #[test]
    fn substreams_of_dvds_are_told_apart_and_other_private_data_are_one_stream() {
        let [video, first, second, third, text] = [90_000, 50_000, 41_000, 39_999, 7000].map(noise);
        let tracks: [(u8, &[u8], &[u8]); 5] = [
            (0xe0, b"", &video),
            (PRIVATE, &[0x80, 1, 0, 4], &first),
            (PRIVATE, &[0x89, 1, 0, 4], &second),
            (PRIVATE, &[0xa0, 1, 0, 4, 0, 1, 0x80], &third),
            (PRIVATE, &[0x20], &text),
        ];
        let bytes = film(Kind::Mpeg2, &tracks);
        let (parts, doubt) = collect_parts(open(head(&bytes)), &bytes, &[0]);
        assert_eq!(doubt, None);
        let all = streams(&bytes, &parts);
        for (k, (_, _, data)) in tracks.iter().enumerate() {
            assert!(all[&essence(k)] == **data, "track {k}");
        }
        // AC-3 as it is, whose packets may begin with what looks like a substream.
        let mut plain = noise(50_000);
        plain[..2].copy_from_slice(&[0x0b, 0x77]);
        (1..20).for_each(|k| plain[k * 2000] = 0x80 + k as u8);
        let bytes = film(Kind::Mpeg2, &[(0xe0, b"", &video), (PRIVATE, b"", &plain)]);
        let (parts, _) = collect_parts(open(head(&bytes)), &bytes, &[0]);
        assert!(streams(&bytes, &parts)[&essence(1)] == plain);
    }

    #[test]
    fn what_lies_between_packets_ends_it_but_for_zeros() {
        let video = noise(100_000);
        let one = film(Kind::Mpeg2, &[(0xe0, b"", &video)]);
        // Also so many that what is shown ends with the last ones, or within the start code behind them.
        for zeros in [1, 3000].into_iter().chain(LOOK - 8..LOOK + 2) {
            let both = [&one[..], &vec![0; zeros], &one].concat();
            let (parts, doubt) = collect_parts(open(head(&both)), &both, &[0]);
            assert_eq!(doubt, None, "{zeros} zeros");
            assert!(streams(&both, &parts)[&essence(0)] == [&video[..], &video].concat());
        }
        let padded = [&one[..], &[0; 2]].concat();
        assert_eq!(collect_parts(open(head(&padded)), &padded, &[0]).1, None);
        for between in
            [&b"junk"[..], &[0, 0, 1, 0xb3], &[0, 0, 0, 0, 9], &[0, 0, 1, PACK, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]]
        {
            let broken = [&one[..], between, &one].concat();
            assert_eq!(collect_parts(open(head(&broken)), &broken, &[0]).1, Some(NONE), "{between:02x?}");
        }
        let short = &one[..one.len() - 500];
        let doubt = collect_parts(open(head(short)), short, &[0]).1;
        assert_eq!(doubt, Some("container: the file ends within a piece"));
    }

    #[test]
    fn other_files_that_begin_with_a_start_code_are_not_opened() {
        let video = video(100_000, 9999);
        assert_ne!(open(head(&video)).id(), MPEG_PS);
        let mut odd = film(Kind::Mpeg2, &[(0xe0, b"", &video)]);
        odd[4] = 0x40; // a marker bit is missing
        assert!(super::open(head(&odd)).is_none() && open(head(&odd)).id() != TS);
        assert!(super::open(head(&pack(Kind::Mpeg2, 0))).is_none());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        #[test]
        fn harmed_program_streams_are_covered_alike_in_any_windows(
            first in any::<bool>(),
            bytes in 10_000..1_500_000_usize,
            apart in 5_000..300_000_usize,
            harm in harm(),
            windows in windows(),
        ) {
            let kind = if first { Kind::Mpeg1 } else { Kind::Mpeg2 };
            let (video, sound) = (video(bytes, apart), noise(bytes / 9));
            let mut film = film(kind, &[(0xe0, b"", &video), (0xc0, b"", &sound), (PRIVATE, &[0x80, 1, 0, 4], &sound)]);
            harm.to(&mut film);
            alike_in_windows(&film, &windows)?;
        }

        #[test]
        fn sequence_headers_are_found_where_they_are(
            data in prop::collection::vec(prop_oneof![4 => Just(0_u8), 2 => Just(1), 2 => Just(SEQUENCE), 1 => any::<u8>()], 0..200),
        ) {
            let searched = data.get(1..).and_then(|d| d.windows(4).position(|w| w == [0, 0, 1, SEQUENCE]));
            prop_assert_eq!(sequence_behind(&data), searched.map(|at| at + 1));
        }

        #[test]
        fn arbitrary_packets_are_covered(
            bytes in prop::collection::vec(prop_oneof![Just(0_u8), Just(1), 0xb8..=0xff_u8, any::<u8>()], 0..2000),
        ) {
            let bytes = [&pack(Kind::Mpeg2, 0)[..], &[0, 0, 1], &bytes].concat();
            alike_in_windows(&bytes, &[1])?;
        }
    }
}
