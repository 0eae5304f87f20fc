//! MPEG audio, layers I to III: tags apart from frames.
//!
//! ```text
//!  ID3v2 *                 wrapper   with zeros behind it, which some taggers write as padding
//!  Xing, Info, VBRI frame  wrapper   a frame without sound that gain tools and cutters rewrite
//!  frames                  essence
//!  tags *                  wrapper   see `tags`
//! ```
//!
//! Owns what an MPEG audio frame's header looks like. Frames behind the first few are not parsed: the
//! tags behind them are found from the end.
//!
//! # Invariants
//!
//! 1. The essence starts at the first frame with sound and holds the same bytes under any tags.
//! 2. State is a few numbers; each step passes a byte at least.

use super::flac::{self, Flac};
use super::runs::{Last, Walk};
use super::tags::{TRAILING_MAX, give_sound, id3v2_bytes};
use super::{ESSENCE, Hints, MP3, Part, Splitter, SplitterId, WRAPPER};

/// Frames that must follow each other behind an ID3v2 tag.
pub const FRAMES_TAGGED: usize = 2;
/// Frames that must follow each other at the start of a file, where no tag speaks for them (4 random bytes
/// are a header with a chance of 1 in 7400).
pub const FRAMES_BARE: usize = 3;

/// The longest frame: layer II at 160 kbit/s and 8 kHz, padded.
const FRAME_MAX: usize = 144 * 160_000 / 8_000 + 1;
/// Bytes that show [`FRAMES_BARE`] headers.
const LOOK: usize = (FRAMES_BARE - 1) * FRAME_MAX + FrameHeader::BYTES;

/// What the header of a frame says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameHeader {
    /// Version (2.5, reserved, 2, 1), layer (reserved, III, II, I) and index of the sample rate, as they stand
    /// in the header: the same in all frames of a stream.
    kind: (u8, u8, u8),
    mono: bool,
    /// Two bytes of check follow the header.
    checked: bool,
    /// Bytes of the frame, header included: 24 to 2881.
    pub bytes: usize,
}

impl FrameHeader {
    /// Bytes of a header.
    pub const BYTES: usize = 4;

    /// Reads the header that starts `bytes` (ISO 11172-3, 2.4.1.3; 13818-3). `None` for anything
    /// reserved, and for free format, whose length the header does not tell.
    pub fn read(bytes: &[u8]) -> Option<FrameHeader> {
        const V1: u8 = 3;
        const LAYER_1: u8 = 3;
        const LAYER_2: u8 = 2;
        // kbit/s by index 1 to 14.
        const V1_L1: [u16; 14] = [32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448];
        const V1_L2: [u16; 14] = [32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384];
        const V1_L3: [u16; 14] = [32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320];
        const V2_L1: [u16; 14] = [32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256];
        const V2_L23: [u16; 14] = [8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160];

        let &[0xff, b, c, d] = bytes.first_chunk()? else { return None };
        let (version, layer, rate) = (b >> 3 & 3, b >> 1 & 3, c >> 2 & 3);
        if b < 0xe0 || version == 1 || layer == 0 || rate == 3 || d & 3 == 2 {
            return None;
        }
        let rates = match (version, layer) {
            (V1, LAYER_1) => V1_L1,
            (V1, LAYER_2) => V1_L2,
            (V1, _) => V1_L3,
            (_, LAYER_1) => V2_L1,
            _ => V2_L23,
        };
        // Index 0 is free format, 15 is forbidden.
        let bits = 1000 * usize::from(*rates.get(usize::from(c >> 4).checked_sub(1)?)?);
        let hertz = [44_100, 48_000, 32_000][usize::from(rate)] // `rate` is 0 to 2
            / match version {
                V1 => 1,
                2 => 2,
                _ => 4,
            };
        let padding = usize::from(c >> 1 & 1);
        let bytes = match (version, layer) {
            (_, LAYER_1) => (12 * bits / hertz + padding) * 4,
            (_, LAYER_2) | (V1, _) => 144 * bits / hertz + padding,
            _ => 72 * bits / hertz + padding,
        };
        Some(FrameHeader { kind: (version, layer, rate), mono: d >> 6 == 3, checked: b & 1 == 0, bytes })
    }

    /// Whether `frame`, which starts with this header, holds a table of contents instead of sound.
    fn is_index(self, frame: &[u8]) -> bool {
        let (version, layer, _) = self.kind;
        if layer != 1 {
            return false;
        }
        let side = match (version == 3, self.mono) {
            (true, false) => 32,
            (true, true) | (false, false) => 17,
            (false, true) => 9,
        };
        // Encoders do not agree whether the check counts.
        let checks = if self.checked { &[0, 2][..] } else { &[0] };
        let xing = |extra: &usize| {
            let at = Self::BYTES + side + extra;
            matches!(frame.get(at..at + 4), Some(b"Xing" | b"Info"))
        };
        checks.iter().any(xing) || frame.get(36..40) == Some(b"VBRI")
    }
}

/// Reads the first of `count` frames of one kind that follow each other from the start of `bytes`; only
/// the header of the last must be whole. `None` if there are fewer.
pub fn first_of_frames(bytes: &[u8], count: usize) -> Option<FrameHeader> {
    let first = FrameHeader::read(bytes)?;
    let mut at = first.bytes;
    for _ in 1..count {
        let next = FrameHeader::read(bytes.get(at..)?).filter(|next| next.kind == first.kind)?;
        at += next.bytes;
    }
    Some(first)
}

/// Opens MPEG audio: an ID3v2 tag, or [`FRAMES_BARE`] frames that follow each other.
///
/// A tag suffices, since it may hide what is behind it from the head. Sound of another kind behind it
/// is one opaque essence then, which is still apart from the tag; FLAC is handed to its splitter.
pub fn open(hints: Hints<'_>) -> Option<Box<dyn Splitter>> {
    let known = id3v2_bytes(hints.head).is_some() || first_of_frames(hints.head, FRAMES_BARE).is_some();
    known.then(|| Box::new(Mp3::default()) as Box<dyn Splitter>)
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    /// Before the first frame.
    #[default]
    Front,
    Frames,
    Opaque,
}

/// The splitter of one MPEG audio file.
#[derive(Debug, Default)]
struct Mp3 {
    state: State,
    /// Bytes of a tag still to pass.
    left: u64,
    tagged: bool,
    before: Last,
    doubt: Option<&'static str>,
    /// Has the rest of the file.
    flac: Option<Flac>,
}

impl Mp3 {
    fn give_up(&mut self, reason: &'static str) {
        self.state = State::Opaque;
        self.doubt = Some(reason);
    }

    fn step(&mut self, walk: &mut Walk<'_, '_>, last: bool) {
        let rest = walk.rest();
        match self.state {
            State::Front => {
                if let Some(bytes) = id3v2_bytes(rest) {
                    self.left = bytes;
                    self.tagged = true;
                } else if let Some(first) = first_of_frames(rest, if self.tagged { FRAMES_TAGGED } else { FRAMES_BARE })
                {
                    // Within `rest`, since the next header was read.
                    if first.is_index(&rest[..first.bytes]) {
                        walk.give(WRAPPER, first.bytes);
                    }
                    self.state = State::Frames;
                } else {
                    self.give_up("mp3: no frames where they should begin");
                }
            }
            State::Frames => give_sound(walk, last),
            State::Opaque => walk.give(ESSENCE, rest.len()),
        }
    }
}

impl Splitter for Mp3 {
    fn id(&self) -> SplitterId {
        MP3
    }

    fn split(&mut self, window: &[u8], last: bool, runs: &mut Vec<Part>) {
        if let Some(flac) = &mut self.flac {
            return flac.split(window, last, runs);
        }
        // Handed back below, since the walk borrows it while `self` changes.
        let mut before = self.before;
        let mut walk = Walk::new(window, runs, &mut before);
        while !walk.rest().is_empty() {
            if self.left > 0 {
                walk.give_some(WRAPPER, &mut self.left);
                continue;
            }
            if self.state == State::Front && self.tagged {
                let zeros = walk.rest().iter().take_while(|&&b| b == 0).count();
                if zeros > 0 {
                    walk.give(WRAPPER, zeros);
                    continue;
                }
            }
            let held = match self.state {
                State::Front => LOOK,
                State::Frames => TRAILING_MAX + 1,
                State::Opaque => 0,
            };
            if !last && !walk.is_fresh() && walk.rest().len() < held {
                break;
            }
            if self.state == State::Front && self.tagged && walk.rest().starts_with(flac::MARKER) {
                // The other starts at a window's start, as it may expect.
                let (fresh, rest) = (walk.is_fresh(), walk.rest());
                let flac = self.flac.insert(Flac::new(before));
                if fresh || last {
                    flac.split(rest, last, runs);
                }
                return;
            }
            self.step(&mut walk, last);
        }
        self.before = before;
        if last && (self.left > 0 || self.state == State::Front) {
            self.give_up("mp3: the file ends before its first frame");
        }
    }

    fn doubt(&self) -> Option<&'static str> {
        self.flac.as_ref().map_or(self.doubt, Flac::doubt)
    }
}

/// A splitter for bytes that [`open`] would not take.
#[cfg(test)]
pub(super) fn unchecked() -> Box<dyn Splitter> {
    Box::new(Mp3::default())
}

#[cfg(test)]
mod tests {
    use super::super::testing::{
        ape, collect_counting, flac_file, head, id3v1, id3v2, lyrics3v2, mp3_file, mp3_frames, noise, real,
    };
    use super::super::{FLAC, open as open_any};
    use super::*;

    /// (stream, bytes) of the joined runs, in windows as small as they may be.
    fn split(bytes: &[u8]) -> (Vec<(u8, u64)>, Option<&'static str>) {
        let splitter = open(head(bytes)).expect("an MP3 file");
        let (runs, doubt) = collect_counting(splitter, bytes, &[0]);
        (runs.iter().map(|r| (r.stream, r.bytes)).collect(), doubt)
    }

    #[test]
    fn frame_lengths_are_those_of_the_standards() {
        // Header, bytes: by hand from the tables of ISO 11172-3 and 13818-3.
        for (header, bytes) in [
            ([0xff, 0xfb, 0x90, 0x64], 417),  // MPEG 1 layer III, 128 kbit/s, 44.1 kHz
            ([0xff, 0xfb, 0x92, 0x64], 418),  // the same, padded
            ([0xff, 0xfb, 0xe4, 0x00], 960),  // 320 kbit/s, 48 kHz
            ([0xff, 0xf3, 0x80, 0xc0], 208),  // MPEG 2 layer III, 64 kbit/s, 22.05 kHz
            ([0xff, 0xe3, 0x18, 0xc0], 72),   // MPEG 2.5 layer III, 8 kbit/s, 8 kHz
            ([0xff, 0xfd, 0xa4, 0x00], 576),  // MPEG 1 layer II, 192 kbit/s, 48 kHz
            ([0xff, 0xf5, 0xe2, 0x00], 1045), // MPEG 2 layer II, 160 kbit/s, 22.05 kHz, padded
            ([0xff, 0xe5, 0xea, 0x00], 2881), // MPEG 2.5 layer II, 160 kbit/s, 8 kHz, padded
            ([0xff, 0xff, 0xe2, 0x00], 488),  // MPEG 1 layer I, 448 kbit/s, 44.1 kHz, padded
            ([0xff, 0xf7, 0xe8, 0x00], 768),  // MPEG 2 layer I, 256 kbit/s, 16 kHz
            ([0xff, 0xf3, 0x14, 0x00], 24),   // MPEG 2 layer III, 8 kbit/s, 24 kHz
        ] {
            assert_eq!(FrameHeader::read(&header).map(|h| h.bytes), Some(bytes), "{header:x?}");
        }
        for reserved in
            [[0xff, 0xeb, 0x90, 0x64], [0xff, 0xf9, 0x90, 0x64], [0xff, 0xfb, 0xf0, 0x64], [0xff, 0xfb, 0x00, 0x64]]
        {
            assert_eq!(FrameHeader::read(&reserved), None, "{reserved:x?}");
        }
        for reserved in
            [[0xff, 0xfb, 0x9c, 0x64], [0xff, 0xfb, 0x90, 0x66], [0xff, 0xdb, 0x90, 0x64], [0xfe, 0xfb, 0x90, 0x64]]
        {
            assert_eq!(FrameHeader::read(&reserved), None, "{reserved:x?}");
        }
    }

    #[test]
    fn every_header_gives_a_frame_within_the_look_or_none() {
        for n in 0..1_u32 << 21 {
            let [_, a, b, c] = (n | 0x00e0_0000).to_be_bytes();
            if let Some(header) = FrameHeader::read(&[0xff, a, b, c]) {
                assert!((24..=FRAME_MAX).contains(&header.bytes), "{n:x}");
            }
        }
    }

    #[test]
    fn tags_are_wrapper_and_frames_are_essence() {
        let sound = mp3_frames(3 << 20);
        let back = [ape(2000, 100_000), lyrics3v2(40), id3v1("x")].concat();
        let file = [id3v2(3, 1000), id3v2(4, 30), sound.clone(), back.clone()].concat();
        let (runs, doubt) = split(&file);
        assert_eq!(runs, [(WRAPPER, 1010 + 40), (ESSENCE, sound.len() as u64), (WRAPPER, back.len() as u64)]);
        assert_eq!(doubt, None);
    }

    #[test]
    fn a_tag_larger_than_the_window_is_one_run() {
        let tag = 9 << 20;
        let (runs, doubt) = split(&mp3_file(5000, Some(tag), false));
        assert_eq!((runs[0], runs.len(), doubt), ((WRAPPER, 10 + tag as u64), 2, None));
    }

    #[test]
    fn zeros_behind_a_tag_belong_to_it() {
        for zeros in [1, 2000, 5 << 20] {
            let file = [id3v2(4, 100), vec![0; zeros], mp3_frames(5000)].concat();
            let (runs, doubt) = split(&file);
            assert_eq!((runs[0], runs.len(), doubt), ((WRAPPER, 110 + zeros as u64), 2, None));
        }
    }

    #[test]
    fn a_tag_that_claims_more_than_the_file_is_doubted() {
        let mut file = mp3_file(5000, Some(1000), true);
        file[6..10].copy_from_slice(&[0x7f; 4]);
        let len = file.len() as u64;
        assert_eq!(split(&file), (vec![(WRAPPER, len)], Some("mp3: the file ends before its first frame")));
    }

    #[test]
    fn an_index_frame_is_apart_from_the_sound() {
        for (at, mark, header) in [
            (36, b"Xing", [0xff, 0xfb, 0x90, 0x64]),
            (36, b"Info", [0xff, 0xfb, 0x90, 0x64]),
            (21, b"Info", [0xff, 0xfb, 0x90, 0xc4]),
            (36, b"VBRI", [0xff, 0xfb, 0x90, 0xc4]),
            (38, b"Xing", [0xff, 0xfa, 0x90, 0x64]),
        ] {
            let mut index = vec![0; 417];
            index[..4].copy_from_slice(&header);
            index[at..at + 4].copy_from_slice(mark);
            let sound = mp3_frames(5000);
            for front in [vec![], id3v2(4, 90_000)] {
                let file = [front.as_slice(), &index, &sound].concat();
                let wrapper = (front.len() + index.len()) as u64;
                assert_eq!(split(&file), (vec![(WRAPPER, wrapper), (ESSENCE, sound.len() as u64)], None));
            }
        }
    }

    #[test]
    fn a_re_tagged_real_file_has_the_same_essence() {
        for path in ["maqsim/Lunar Land/01 Lunar Land.mp3", "Sub-d/Guitar/01 E Minor Ninth.mp3"] {
            let file = real(path);
            let (runs, _) = split(&file);
            let [(WRAPPER, front), (ESSENCE, sound), (WRAPPER, 128)] = runs[..] else { panic!("{runs:?}") };
            let frames = &file[front as usize..][..sound as usize];
            let other = [id3v2(4, 3 << 20).as_slice(), &[0; 700], frames, &ape(2000, 5000), &id3v1("y")].concat();
            let (runs, doubt) = split(&other);
            let [(WRAPPER, front), (ESSENCE, again), (WRAPPER, _)] = runs[..] else { panic!("{runs:?}") };
            assert_eq!((again, doubt), (sound, None));
            assert_eq!(&other[front as usize..][..again as usize], frames);
        }
    }

    #[test]
    fn without_a_tag_three_frames_must_follow_each_other() {
        let frames = mp3_frames(5000);
        assert!(open(head(&frames)).is_some());
        for broken in [417, 834] {
            let mut file = frames.clone();
            file[broken] = 0;
            assert!(open(head(&file)).is_none(), "no header at {broken}");
            let mut file = frames.clone();
            file[broken + 2] |= 4;
            assert!(open(head(&file)).is_none(), "another sample rate at {broken}");
        }
        for other in [noise(5000), vec![0xff; 5000], vec![0; 5000], b"\xff\xfb\x90\x64".repeat(2000)] {
            assert!(open(head(&other)).is_none());
        }
    }

    #[test]
    fn other_sound_behind_a_tag_is_still_apart_from_it() {
        let adts = noise(3 << 20);
        let file = [id3v2(3, 500).as_slice(), &adts].concat();
        let doubt = Some("mp3: no frames where they should begin");
        assert_eq!(split(&file), (vec![(WRAPPER, 510), (ESSENCE, 3 << 20)], doubt));
    }

    #[test]
    fn flac_behind_a_tag_that_hides_it_is_split_as_flac() {
        let flac = flac_file(3 << 20, &[(6, 50_000), (1, 3 << 20)], true);
        for tag in [100, 70_000, (2 << 20) - 12, (2 << 20) - 10, 5 << 20] {
            let file = [id3v2(3, tag).as_slice(), &flac].concat();
            let splitter = open_any(head(&file));
            assert_eq!(splitter.id(), if tag == 100 { FLAC } else { MP3 });
            let (runs, doubt) = collect_counting(splitter, &file, &[0, 3]);
            let runs: Vec<_> = runs.iter().map(|r| (r.stream, r.bytes)).collect();
            let wrapper = tag as u64 + 10 + 42;
            let back = 90_000 + 64 + 128;
            let padding = 4 + (3 << 20);
            assert_eq!(
                runs,
                [(WRAPPER, wrapper), (WRAPPER, 50_004), (WRAPPER, padding), (ESSENCE, 3 << 20), (WRAPPER, back)]
            );
            assert_eq!(doubt, Some("flac: no frame where one should be"), "the sound is noise");
        }
    }
}
