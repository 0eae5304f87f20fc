//! FLAC: metadata blocks and tags apart from frames (RFC 9639, section 8; FLAC version 1 here).
//!
//! ```text
//!  ID3v2 *        wrapper   not in the standard, but written by taggers
//!  fLaC           wrapper
//!  block header   wrapper   1 bit last, 7 bits type, 24 bits length
//!  block          wrapper   passed over by its length; a PICTURE stands between borders of its own
//!  ...
//!  frames         essence
//!  tags *         wrapper   see `tags`
//! ```
//!
//! Owns the way from the marker to the first frame. Frames are not parsed: the tags behind them are found
//! from the end.
//!
//! # Invariants
//!
//! 1. The essence starts at the first frame and holds the same bytes under any metadata.
//! 2. State is a few numbers; each step passes 4 bytes at least.

use super::runs::{Last, Walk};
use super::tags::{ID3V2_HEADER, give_sound, id3v2_bytes};
use super::{ESSENCE, FLAC, Hints, Part, Splitter, SplitterId, WRAPPER};

/// What a FLAC stream begins with.
pub const MARKER: &[u8; 4] = b"fLaC";

/// Bytes of a metadata block's header.
pub const BLOCK_HEADER: usize = 4;

/// Bytes from which on a picture is worth two borders: it comes again in every track of its album.
/// Smaller ones would make chunks whose records and references cost a notable part of them.
const PICTURE_ALONE: u32 = 16 << 10;

const STREAMINFO: u8 = 0;
const STREAMINFO_BYTES: u32 = 34;
const PICTURE: u8 = 6;
/// Forbidden, since with the bit before it a block header would look like a frame's sync code.
const FORBIDDEN: u8 = 127;

/// The header of a metadata block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockHeader {
    /// No metadata block follows.
    pub last: bool,
    /// 0 to 126.
    pub kind: u8,
    /// Bytes of the block behind its header, below 16 MiB.
    pub bytes: u32,
}

impl BlockHeader {
    /// Reads the header that starts `bytes`; `None` if it is cut short or of the forbidden type.
    pub fn read(bytes: &[u8]) -> Option<BlockHeader> {
        let &[kind, a, b, c] = bytes.first_chunk()?;
        let header = BlockHeader { last: kind & 0x80 != 0, kind: kind & 0x7f, bytes: u32::from_be_bytes([0, a, b, c]) };
        (header.kind != FORBIDDEN).then_some(header)
    }
}

/// Opens a FLAC file: the marker, behind any number of ID3v2 tags.
///
/// Where the tags hide the marker from the head, [`super::mp3`] takes the file and hands it over.
pub fn open(hints: Hints<'_>) -> Option<Box<dyn Splitter>> {
    let mut rest = hints.head;
    while let Some(bytes) = id3v2_bytes(rest) {
        rest = rest.get(usize::try_from(bytes).ok()?..)?;
    }
    rest.starts_with(MARKER).then(|| Box::new(Flac::new(Last::default())) as Box<dyn Splitter>)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Before the marker.
    Front,
    /// Before a block's header. The first block must be STREAMINFO.
    Block {
        first: bool,
    },
    /// Behind the last block.
    FirstFrame,
    Frames,
    Opaque,
}

/// The splitter of one FLAC file.
#[derive(Debug)]
pub(super) struct Flac {
    state: State,
    /// Bytes of a tag or block still to pass before `state` holds.
    left: u64,
    /// A border stands behind those bytes.
    alone: bool,
    before: Last,
    doubt: Option<&'static str>,
}

impl Flac {
    /// Goes on from a splitter that passed the tags in front.
    pub fn new(before: Last) -> Flac {
        Flac { state: State::Front, left: 0, alone: false, before, doubt: None }
    }

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
                } else if rest.starts_with(MARKER) {
                    self.left = MARKER.len() as u64;
                    self.state = State::Block { first: true };
                } else {
                    self.give_up("flac: no marker");
                }
            }
            State::Block { first } => {
                let Some(header) = BlockHeader::read(rest) else {
                    return self.give_up("flac: a block header that is none");
                };
                if first && (header.kind, header.bytes) != (STREAMINFO, STREAMINFO_BYTES) {
                    return self.give_up("flac: STREAMINFO is not first");
                }
                self.left = BLOCK_HEADER as u64 + u64::from(header.bytes);
                self.alone = header.kind == PICTURE && header.bytes >= PICTURE_ALONE;
                if self.alone {
                    walk.cut();
                }
                self.state = if header.last { State::FirstFrame } else { State::Block { first: false } };
            }
            State::FirstFrame => {
                // 15 bits of sync code, one bit of blocking strategy.
                if matches!(rest, [0xff, 0xf8 | 0xf9, ..]) {
                    self.state = State::Frames;
                } else {
                    self.give_up("flac: no frame behind the metadata");
                }
            }
            State::Frames => give_sound(walk, last),
            State::Opaque => walk.give(ESSENCE, rest.len()),
        }
    }
}

impl Splitter for Flac {
    fn id(&self) -> SplitterId {
        FLAC
    }

    fn split(&mut self, window: &[u8], last: bool, runs: &mut Vec<Part>) {
        // Handed back below, since the walk borrows it while `self` changes.
        let mut before = self.before;
        let mut walk = Walk::new(window, runs, &mut before);
        while !walk.rest().is_empty() {
            if self.left > 0 {
                walk.give_some(WRAPPER, &mut self.left);
                if self.left == 0 && self.alone {
                    walk.cut();
                    self.alone = false;
                }
                continue;
            }
            // Wait for the next window where a header may lie across its start. A frames' rest is what
            // must be held back.
            let held = match self.state {
                State::Front | State::Block { .. } | State::FirstFrame => ID3V2_HEADER,
                State::Frames => super::tags::TRAILING_MAX + 1,
                State::Opaque => 0,
            };
            if !last && !walk.is_fresh() && walk.rest().len() < held {
                break;
            }
            self.step(&mut walk, last);
        }
        self.before = before;
        let ended = matches!(self.state, State::FirstFrame | State::Frames | State::Opaque);
        if last && (self.left > 0 || !ended) {
            self.give_up("flac: the file ends within its metadata");
        }
    }

    fn doubt(&self) -> Option<&'static str> {
        self.doubt
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{ape, collect_counting, flac_file, flac_frames, head, id3v1, id3v2, noise, real};
    use super::*;

    /// (stream, bytes) of the joined runs, in windows as small as they may be.
    fn split(bytes: &[u8]) -> (Vec<(u8, u64)>, Option<&'static str>) {
        let splitter = open(head(bytes)).expect("a FLAC file");
        let (runs, doubt) = collect_counting(splitter, bytes, &[0]);
        (runs.iter().map(|r| (r.stream, r.bytes)).collect(), doubt)
    }

    #[test]
    fn metadata_and_tags_are_wrapper_and_frames_are_essence() {
        let sound = 3 << 20;
        let front = [id3v2(3, 500), id3v2(4, 20)].concat();
        let back = [ape(2000, 70_000), id3v1("x")].concat();
        let file = [front.clone(), flac_file(sound, &[(3, 18), (4, 100), (1, 8192)], false), back.clone()].concat();
        let wrapper = front.len() + 4 + 38 + 22 + 104 + 8196;
        let (runs, doubt) = split(&file);
        assert_eq!(runs, [(WRAPPER, wrapper as u64), (ESSENCE, sound as u64), (WRAPPER, back.len() as u64)]);
        assert_eq!(doubt, None);
    }

    #[test]
    fn a_block_larger_than_the_window_is_passed_by_its_length() {
        let huge = (1 << 24) - 1;
        let (runs, doubt) = split(&flac_file(1000, &[(1, huge), (2, huge)], false));
        assert_eq!(runs, [(WRAPPER, 4 + 38 + 2 * (4 + huge as u64)), (ESSENCE, 1000)]);
        assert_eq!(doubt, None);
    }

    #[test]
    fn a_picture_stands_between_borders_of_its_own() {
        let (runs, _) = split(&flac_file(1000, &[(4, 100), (6, 3 << 20), (6, 200), (1, 50)], false));
        let picture = 4 + (3 << 20);
        assert_eq!(runs, [(WRAPPER, 42 + 104), (WRAPPER, picture), (WRAPPER, 204 + 54), (ESSENCE, 1000)]);
    }

    #[test]
    fn unknown_blocks_are_passed_and_the_forbidden_one_is_doubted() {
        let (runs, doubt) = split(&flac_file(1000, &[(126, 50)], false));
        assert_eq!((runs, doubt), (vec![(WRAPPER, 42 + 54), (ESSENCE, 1000)], None));
        let (runs, doubt) = split(&flac_file(1000, &[(127, 50)], true));
        assert_eq!(runs[0], (WRAPPER, 42));
        assert_eq!((runs.len(), doubt), (2, Some("flac: a block header that is none")));
    }

    #[test]
    fn what_does_not_start_with_streaminfo_is_doubted_from_there() {
        let mut file = flac_file(1000, &[(1, 50)], false);
        file[7] = 33;
        let len = file.len() as u64;
        let (runs, doubt) = split(&file);
        assert_eq!((runs, doubt), (vec![(WRAPPER, 4), (ESSENCE, len - 4)], Some("flac: STREAMINFO is not first")));
    }

    #[test]
    fn metadata_without_an_end_is_doubted() {
        let mut file = flac_file(0, &[(1, 50)], false);
        file[42] &= 0x7f;
        let (runs, doubt) = split(&file);
        assert_eq!((runs, doubt), (vec![(WRAPPER, 42 + 54)], Some("flac: the file ends within its metadata")));
        for cut in 4..file.len() {
            assert!(split(&file[..cut]).1.is_some(), "cut to {cut}");
        }
    }

    #[test]
    fn a_header_cut_short_is_essence() {
        let file = [flac_file(0, &[], false), vec![]].concat();
        let mut file = [&file[..4], &[0], &file[5..], &[0x81, 0]].concat();
        let (runs, doubt) = split(&file);
        assert_eq!((runs, doubt), (vec![(WRAPPER, 42), (ESSENCE, 2)], Some("flac: a block header that is none")));
        file.truncate(42);
        file[4] = 0x80;
        assert_eq!(split(&file), (vec![(WRAPPER, 42)], None), "no sound is no doubt");
        file.push(0xff);
        assert_eq!(split(&file).1, Some("flac: no frame behind the metadata"));
    }

    #[test]
    fn sound_without_a_sync_code_is_doubted() {
        for sync in [[0xff, 0xfa], [0xfe, 0xf8], [0, 0]] {
            let mut file = flac_file(1000, &[], true);
            file[42..44].copy_from_slice(&sync);
            let len = file.len() as u64;
            let (runs, doubt) = split(&file);
            assert_eq!(runs, [(WRAPPER, 42), (ESSENCE, len - 42)]);
            assert_eq!(doubt, Some("flac: no frame behind the metadata"));
        }
    }

    #[test]
    fn a_re_tagged_real_file_has_the_same_essence() {
        let file = real("kaligari/Hums/02 Glass Hum.flac");
        let (runs, _) = split(&file);
        let [(WRAPPER, front), (ESSENCE, sound)] = runs[..] else { panic!("{runs:?}") };
        // STREAMINFO stays; the rest of the metadata is replaced by a picture and a comment.
        let mut other = [id3v2(4, 70).as_slice(), &file[..42]].concat();
        for (kind, bytes) in [(6, 300_000_u32), (0x84, 333)] {
            other.push(kind);
            other.extend_from_slice(&bytes.to_be_bytes()[1..]);
            other.extend(noise(bytes as usize));
        }
        let at = other.len();
        other.extend_from_slice(&file[front as usize..]);
        other.extend(id3v1("y"));
        let (runs, doubt) = split(&other);
        let [.., (ESSENCE, again), (WRAPPER, 128)] = runs[..] else { panic!("{runs:?}") };
        assert_eq!((again, doubt), (sound, None));
        assert_eq!(runs.iter().map(|r| r.1).sum::<u64>() - again - 128, at as u64);
    }

    #[test]
    fn a_trailing_tag_cannot_reach_before_the_first_frame() {
        // The APE tag claims the frames and 10 bytes before.
        let mut file = [flac_file(0, &[(4, 100)], false), flac_frames(200), ape(1000, 0)].concat();
        let at = file.len() - 20;
        file[at..at + 4].copy_from_slice(&(32 + 210_u32).to_le_bytes());
        assert_eq!(split(&file).0, [(WRAPPER, 42 + 104), (ESSENCE, 232)]);
    }

    #[test]
    fn only_the_marker_opens_a_file() {
        for bytes in [&b""[..], b"fLa", b"OggS", &id3v2(3, 100), &[id3v2(3, 9), b"fLaX".to_vec()].concat()] {
            assert!(open(head(bytes)).is_none());
        }
    }
}
