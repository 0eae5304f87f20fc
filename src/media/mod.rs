//! Splitters: which bytes of a file belong together.
//!
//! A splitter looks at a file as it streams by and says, run for run, which *stream* the bytes belong
//! to: the wrapper (tags, headers, padding, indexes) or an essence (the coded sound or picture). A run
//! starts with a forced cut, so an essence meets itself under any wrapper.
//!
//! # Invariants
//!
//! 1. A splitter is total: whatever the bytes are, the runs it gives cover them, in order, once. Any
//!    doubt ends in opaque runs from there on, with a counted reason.
//! 2. Under a given version the runs depend on the file's bytes alone, never on how they were cut into
//!    windows, on load or on budgets.
//! 3. A restore never needs a splitter: what it did stands in the recipe.
//! 4. A splitter's memory does not grow with the file, and it never looks further than its window.

pub mod adts;
mod aiff;
mod alac;
mod au;
pub mod avi;
mod caf;
#[cfg(test)]
mod containers;
pub mod deflate;
mod demux;
#[cfg(test)]
mod film;
pub mod flac;
pub mod flv;
mod fourcc;
mod guess;
pub mod gzip;
pub mod image;
pub mod isobmff;
mod layers;
pub mod matroska;
pub mod mp3;
pub mod mxf;
mod nal;
mod nested;
pub mod ogg;
pub mod opaque;
mod patience;
mod pdf;
pub mod permute;
pub mod picture;
pub mod pixels;
pub mod ps;
mod riff;
mod runs;
mod signed;
mod sound;
pub mod tags;
pub mod tar;
#[cfg(test)]
pub(crate) mod testing;
pub mod ts;
pub mod wavpack;
pub mod words;
pub mod y4m;
pub mod zip;

use crate::chunk::Form;
use crate::error::{Error, Result};
#[cfg(doc)]
use crate::format::limits;

/// Bytes that every window but the last holds at least, counted from the first unconsumed byte. A
/// header that does not fit is a reason for doubt. Larger windows are cheaper: up to so many
/// are held back at the end of each and shown again in the next.
pub const WINDOW_MIN: usize = 2 << 20;

/// Bytes of the file's start and end that [`open`] is shown (fewer where the file is shorter).
pub const HINT_BYTES: usize = 64 << 10;

/// A stream of a file. 0 is the wrapper; essences follow from 1.
pub type StreamNumber = u8;
/// Tags, headers, padding, indexes.
pub const WRAPPER: StreamNumber = 0;
/// The first (for most formats the only) essence.
pub const ESSENCE: StreamNumber = 1;

/// So many next bytes of the file belong to this stream. Runs of one stream that follow each other are
/// one run, unless `cut` asks for a border between them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    pub stream: StreamNumber,
    pub bytes: u64,
    /// A chunk border stands before this run. Always so where the stream or the form changes.
    pub cut: bool,
    /// What the bytes are.
    pub form: Form,
}

/// Bytes that a mapped segment appends to one stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MappedPart {
    pub stream: StreamNumber,
    /// A chunk border stands before these bytes. Always so where the stream's form changes.
    pub cut: bool,
    pub form: Form,
    pub bytes: Vec<u8>,
}

/// So many next bytes of the file, as streams whose bytes do not stand like this in the file.
///
/// Where a segment begins and ends depends on the file's bytes alone, not on the windows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mapped {
    /// Bytes of the file: at least 1, at most [`limits::SEGMENT_BYTES`]; about a MiB is a good size.
    pub bytes: u64,
    /// What [`inverse`] rebuilds them with.
    pub how: SplitterId,
    /// Together at most four times [`limits::SEGMENT_BYTES`]. A stream may come more than once.
    pub parts: Vec<MappedPart>,
    /// At most [`limits::SEGMENT_PARAMETER_BYTES`]. They are stored as they are: what is long and repeats from file
    /// to file belongs into a stream.
    pub parameters: Vec<u8>,
}

/// What a splitter says of the next bytes of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// They belong to a stream as they are.
    Run(Run),
    /// They are rebuilt from streams.
    Mapped(Mapped),
}

impl Part {
    /// Bytes of the file.
    pub fn bytes(&self) -> u64 {
        match self {
            Part::Run(run) => run.bytes,
            Part::Mapped(mapped) => mapped.bytes,
        }
    }
}

/// What is known of a file before it streams by.
#[derive(Clone, Copy, Debug, Default)]
pub struct Hints<'a> {
    /// The first bytes, up to [`HINT_BYTES`].
    pub head: &'a [u8],
    /// The file's length and its last bytes (up to [`HINT_BYTES`]), where it can be read at will: not
    /// for a pipe. For choosing a splitter only: what a file and a pipe of the same bytes are split
    /// into must not differ, nor may a file that changes under the reader be trusted to end as it did.
    pub tail: Option<(u64, &'a [u8])>,
}

/// Says which stream each byte of one file belongs to. One value serves one file, from its start on.
pub trait Splitter: Send {
    /// The id and version that stand in the recipe ([`crate::media`] lists them).
    fn id(&self) -> SplitterId;

    /// Consumes bytes from the front of `window` and says what they are.
    ///
    /// `window` starts at the first byte not consumed yet. Unless `last`, it holds at least
    /// [`WINDOW_MIN`] bytes. Runs are appended to `runs`; the sum of their bytes is what was
    /// consumed, which is at least 1 for a window that is not empty, and all of it if `last`. A run
    /// may not reach beyond the window.
    ///
    /// The same bytes in other windows give the same parts once runs that follow each other without a
    /// cut are joined. Whoever asked turns every mapped part back and compares; one that is not what it
    /// should be is taken as opaque, so a mistake of a splitter costs space only. A smaller window than promised costs that, never the covering. Where the
    /// end is not known to have come, `last` may come with an empty window.
    fn split(&mut self, window: &[u8], last: bool, runs: &mut Vec<Part>);

    /// Why it gave up in the middle, if it did: a short fixed text that can be counted.
    fn doubt(&self) -> Option<&'static str>;

    /// Asks, before the first bytes, for runs where it could map: in a text that comes out of something mapped nothing can be mapped
    /// once more. What is mapped all the same counts as plain bytes there.
    fn stay_plain(&mut self) {}
}

/// A splitter's number and version, as the recipe keeps them. Numbers are never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SplitterId {
    pub number: u16,
    pub version: u8,
}

/// Everything in one stream.
pub const OPAQUE: SplitterId = SplitterId { number: 0, version: 1 };
/// FLAC: metadata blocks and tags apart from frames, samples apart from the encoder's decisions. Version 1 left frames
/// as they are.
pub const FLAC: SplitterId = SplitterId { number: 1, version: 2 };
/// MPEG audio layers I to III: ID3, APE and Lyrics3 tags apart from frames.
pub const MP3: SplitterId = SplitterId { number: 2, version: 1 };
/// Ogg: packets apart from pages; frames of FLAC as [`FLAC`] has them. Version 1 left those as they are.
pub const OGG: SplitterId = SplitterId { number: 3, version: 2 };
/// MPEG-TS, M2TS: elementary streams apart from packets.
pub const TS: SplitterId = SplitterId { number: 4, version: 1 };
/// WAV, RF64, BW64, Wave64: samples apart from headers and chunks.
pub const WAV: SplitterId = SplitterId { number: 5, version: 1 };
/// AIFF and AIFC, likewise.
pub const AIFF: SplitterId = SplitterId { number: 6, version: 1 };
/// CAF, likewise; samples apart from the encoder's decisions where they are coded as ALAC. Version 1 left those as they
/// are.
pub const CAF: SplitterId = SplitterId { number: 7, version: 2 };
/// AU, likewise.
pub const AU: SplitterId = SplitterId { number: 8, version: 1 };
/// WavPack: samples apart from the encoder's decisions.
pub const WAVPACK: SplitterId = SplitterId { number: 9, version: 1 };

/// tar: members apart from headers, each by its own splitter.
pub const TAR: SplitterId = SplitterId { number: 0x20, version: 1 };
/// ZIP: the same.
pub const ZIP: SplitterId = SplitterId { number: 0x21, version: 1 };
/// gzip: the text apart from headers, by its own splitter.
pub const GZIP: SplitterId = SplitterId { number: 0x22, version: 1 };
/// PDF: pictures, and what is undone of deflate, apart from objects.
pub const PDF: SplitterId = SplitterId { number: 0x23, version: 1 };

/// FLAC: samples and the encoder's decisions back to frames. [`FLAC`] gives such segments.
pub const FLAC_FRAMES: SplitterId = SplitterId { number: 0x101, version: 1 };
/// WavPack: likewise, to blocks. [`WAVPACK`] gives such segments.
pub const WAVPACK_BLOCKS: SplitterId = SplitterId { number: 0x107, version: 1 };

/// What [`inverse`] knows.
pub const WAYS_BACK: &[SplitterId] = &[
    OGG_PAGES,
    TS,
    PERMUTE,
    FLAC_FRAMES,
    WORDS,
    INTERLEAVE,
    DEFLATE,
    FLAC_WITHIN,
    ALAC_PACKETS,
    WAVPACK_BLOCKS,
    LAYERS,
    PIXELS,
];

/// Whether a segment holds the samples of coded sound: more bytes than the file has.
pub fn decodes(mapped: &Mapped) -> bool {
    let is = |known: &SplitterId| known.number == mapped.how.number;
    [FLAC_FRAMES, FLAC_WITHIN, ALAC_PACKETS, WAVPACK_BLOCKS].iter().any(is)
        || is(&LAYERS) && layers::is_any_decoded(&mapped.parameters)
}

/// ISO base media files (MP4, MOV, M4A, fragments): tracks apart from boxes; samples apart from the encoder's decisions
/// where packets are ALAC or frames FLAC; samples in one order. Version 1 left those as they are, version 2 all but ALAC
/// and FLAC alone, version 3 samples between units of H.264 and HEVC where the tables come last.
pub const ISOBMFF: SplitterId = SplitterId { number: 0x10, version: 4 };
/// Matroska, WebM: tracks apart from elements; frames of FLAC as [`FLAC`] has them, packets of ALAC likewise, samples in one
/// order. Version 1 left those as they are, version 2 all but FLAC.
pub const MATROSKA: SplitterId = SplitterId { number: 0x11, version: 3 };
/// DPX: the picture apart from its header, its pixels in the order of other formats. Version 1 left those as they are.
pub const DPX: SplitterId = SplitterId { number: 0x30, version: 2 };
/// TIFF, BigTIFF: pictures apart from tags, likewise.
pub const TIFF: SplitterId = SplitterId { number: 0x31, version: 2 };
/// BMP: the picture apart from its header, likewise.
pub const BMP: SplitterId = SplitterId { number: 0x32, version: 2 };
/// PGM, PPM, PAM: pictures apart from headers, likewise.
pub const PNM: SplitterId = SplitterId { number: 0x33, version: 2 };
/// YUV4MPEG2: planes apart from frame headers.
pub const Y4M: SplitterId = SplitterId { number: 0x34, version: 1 };
/// TGA: the picture apart from its header, its pixels in the order of other formats.
pub const TGA: SplitterId = SplitterId { number: 0x35, version: 1 };
/// AVI: tracks apart from chunks, samples in one order. Version 1 left those as they are.
pub const AVI: SplitterId = SplitterId { number: 0x12, version: 2 };
/// FLV: tracks apart from tags.
pub const FLV: SplitterId = SplitterId { number: 0x13, version: 1 };
/// MXF: tracks apart from keys, samples in one order. Version 1 left those as they are.
pub const MXF: SplitterId = SplitterId { number: 0x14, version: 2 };
/// JPEG: what describes a picture apart from it, if it is large.
pub const JPEG: SplitterId = SplitterId { number: 0x15, version: 1 };
/// PNG: likewise.
pub const PNG: SplitterId = SplitterId { number: 0x16, version: 1 };
/// AAC in ADTS: frames apart from their headers.
pub const ADTS: SplitterId = SplitterId { number: 0x17, version: 1 };
/// MPEG program streams (MPG, VOB): elementary streams apart from packs and packets.
pub const MPEG_PS: SplitterId = SplitterId { number: 0x18, version: 1 };

/// Every splitter, as it is now.
pub const SPLITTERS: &[SplitterId] = &[
    OPAQUE, FLAC, MP3, OGG, TS, WAV, AIFF, CAF, AU, WAVPACK, ISOBMFF, MATROSKA, AVI, FLV, MXF, JPEG, PNG, ADTS,
    MPEG_PS, TAR, ZIP, GZIP, PDF, DPX, TIFF, BMP, PNM, TGA, Y4M,
];

/// Not a splitter, but a way back that several use: bytes of streams put in another order, see [`permute`].
pub const PERMUTE: SplitterId = SplitterId { number: 0x100, version: 1 };
/// Another such way: samples in one order, see [`words`].
pub const WORDS: SplitterId = SplitterId { number: 0x102, version: 1 };
/// As [`PERMUTE`], with the order as the first part.
pub const INTERLEAVE: SplitterId = SplitterId { number: 0x103, version: 1 };
/// Not a splitter: the way back of [`deflate`], for whichever wrapper stands around it.
pub const DEFLATE: SplitterId = SplitterId { number: 0x104, version: 1 };
/// Not a splitter: frames of FLAC, then the container around them by its own way back, see [`flac::within`].
pub const FLAC_WITHIN: SplitterId = SplitterId { number: 0x105, version: 1 };
/// Not a splitter: samples and the encoder's decisions back to packets of ALAC, for whichever container stands around
/// them, see `alac`.
pub const ALAC_PACKETS: SplitterId = SplitterId { number: 0x106, version: 1 };
/// Not a splitter: tracks of a container, each by a way back of its own, then the container around them, see `layers`.
pub const LAYERS: SplitterId = SplitterId { number: 0x108, version: 1 };
/// Not a splitter: pixels in one order, see [`pixels`].
pub const PIXELS: SplitterId = SplitterId { number: 0x109, version: 1 };
/// Not a splitter: packets back to pages. [`OGG`] gives such segments.
pub const OGG_PAGES: SplitterId = SplitterId { number: 3, version: 1 };

/// Rebuilds the `bytes` bytes of the file that a mapped segment stands for. `parts` are the bytes that it takes of
/// its streams, range by range.
///
/// # Errors
/// [`crate::Error::Malformed`] for parameters or parts that no splitter left so, and for a `how` that this version does
/// not know. The result is proven by whoever asked: the segment's check stands in the recipe.
pub fn inverse(how: SplitterId, parameters: &[u8], parts: &[&[u8]], bytes: usize) -> Result<Vec<u8>> {
    let out = match how {
        OGG_PAGES => ogg::inverse(parameters, parts, bytes)?,
        TS => ts::inverse(parameters, parts, bytes)?,
        PERMUTE => permute::inverse(parameters, parts, bytes)?,
        FLAC_FRAMES => flac::inverse(parameters, parts, bytes)?,
        WAVPACK_BLOCKS => wavpack::inverse(parameters, parts, bytes)?,
        WORDS => words::inverse(parameters, parts, bytes)?,
        INTERLEAVE => permute::inverse_by_part(parameters, parts, bytes)?,
        DEFLATE => deflate::inverse(parameters, parts, bytes)?,
        FLAC_WITHIN => flac::within::inverse(parameters, parts, bytes)?,
        ALAC_PACKETS => alac::inverse(parameters, parts, bytes)?,
        LAYERS => layers::inverse(parameters, parts, bytes)?,
        PIXELS => pixels::inverse(parameters, parts, bytes)?,
        _ => {
            return Err(Error::Malformed {
                what: "a recipe",
                offset: 0,
                why: "it needs a splitter that this version does not know: update onefold",
            });
        }
    };
    if out.len() == bytes {
        Ok(out)
    } else {
        Err(Error::Malformed { what: "a mapped segment", offset: 0, why: "it is not as long as the recipe says" })
    }
}

/// When deflate is undone: it costs far more than any other splitter.
#[derive(Clone, Copy, Default)]
pub enum Deflate<'a> {
    #[default]
    Never,
    Always,
    /// Where the answer is yes: it is shown the first bytes of a stream's text, up to 2 MiB, once a stream.
    Ask(&'a (dyn Fn(&[u8]) -> bool + Sync)),
}

/// What a splitter may do.
#[derive(Clone, Copy, Default)]
pub struct Options<'a> {
    pub deflate: Deflate<'a>,
}

/// As [`open_with`], with what is cheap.
pub fn open(hints: Hints<'_>) -> Box<dyn Splitter> {
    open_with(hints, Options::default())
}

/// Chooses the splitter by the file's own bytes, never by its name.
pub fn open_with<'a>(hints: Hints<'_>, options: Options<'a>) -> Box<dyn Splitter + 'a> {
    if let Some(s) = tar::open(hints, open_member, WINDOW_MIN) {
        return s;
    }
    if let Some(s) = zip::open(hints, options) {
        return s;
    }
    if let Some(s) = gzip::open(hints, options) {
        return s;
    }
    if let Some(s) = pdf::open(hints, options) {
        return s;
    }
    open_member(hints)
}

/// As [`open`], for a text that deflate is undone of: a tar, or what a member of an archive may be; see [`Splitter::stay_plain`].
pub fn open_text<'a>(hints: Hints<'_>) -> Box<dyn Splitter + 'a> {
    tar::open(hints, open_plain, HINT_BYTES).unwrap_or_else(|| open_plain(hints))
}

/// As [`open_member`], for one that is a text or within a text.
fn open_plain<'a>(hints: Hints<'_>) -> Box<dyn Splitter + 'a> {
    let mut splitter = open_member(hints);
    splitter.stay_plain();
    splitter
}

/// As [`open`], for a member of an archive: no other archive.
fn open_member<'a>(hints: Hints<'_>) -> Box<dyn Splitter + 'a> {
    if let Some(s) = flac::open(hints) {
        return s;
    }
    if let Some(s) = sound::open(hints) {
        return s;
    }
    if let Some(s) = wavpack::open(hints) {
        return s;
    }
    if let Some(s) = ogg::open(hints) {
        return s;
    }
    if let Some(s) = ts::open(hints) {
        return s;
    }
    if let Some(s) = ps::open(hints) {
        return s;
    }
    if let Some(s) = isobmff::open(hints) {
        return s;
    }
    if let Some(s) = matroska::open(hints) {
        return s;
    }
    if let Some(s) = image::open(hints) {
        return s;
    }
    if let Some(s) = y4m::open(hints) {
        return s;
    }
    if let Some(s) = avi::open(hints) {
        return s;
    }
    if let Some(s) = flv::open(hints) {
        return s;
    }
    if let Some(s) = mxf::open(hints) {
        return s;
    }
    if let Some(s) = picture::open_jpeg(hints) {
        return s;
    }
    if let Some(s) = picture::open_png(hints) {
        return s;
    }
    if let Some(s) = adts::open(hints) {
        return s;
    }
    if let Some(s) = mp3::open(hints) {
        return s;
    }
    Box::new(opaque::Opaque::default())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::testing::{collect, collect_counting, flac_file, head, mp3_file, real, without_tail};
    use super::*;

    fn stream(bytes: &[u8], number: StreamNumber) -> Vec<u8> {
        let (mut at, mut out) = (0, Vec::new());
        for run in collect(open(head(bytes)), bytes, &[]) {
            let end = at + run.bytes as usize;
            if run.stream == number {
                out.extend_from_slice(&bytes[at..end]);
            }
            at = end;
        }
        out
    }

    #[test]
    fn each_real_file_gets_its_splitter_and_no_doubt() {
        for (path, id) in [
            ("kaligari/Hums/01 Haunted Hum.flac", FLAC),
            ("kaligari/Hums/02 Glass Hum.flac", FLAC),
            ("maqsim/Lunar Land/01 Lunar Land.mp3", MP3),
            ("Sub-d/Guitar/01 E Minor Ninth.mp3", MP3),
            ("Rutger Muller/Piano/01 Piano.wav", WAV),
            ("corsica_s/Alarms/01 Alarm Clock.ogg", OGG),
            ("kaligari/Hums/cover.png", PNG),
            ("Photos/2008/Wood.jpg", JPEG),
            ("Videos/Lunar Land.mp4", ISOBMFF),
        ] {
            let bytes = real(path);
            let mut splitter = open(head(&bytes));
            assert_eq!(splitter.id(), id, "{path}");
            splitter.split(&bytes, true, &mut Vec::new());
            assert_eq!(splitter.doubt(), None, "{path}");
        }
    }

    #[test]
    fn the_essence_of_a_real_file_is_its_frames() {
        // ID3v2 says 231 bytes, the Xing frame of 128 kbit/s has 417; ID3v1.
        let mp3 = real("maqsim/Lunar Land/01 Lunar Land.mp3");
        assert_eq!(stream(&mp3, ESSENCE), mp3[10 + 231 + 417..mp3.len() - 128]);
        // The Info frame of 160 kbit/s has 522 bytes; ID3v1.
        let mp3 = real("Sub-d/Guitar/01 E Minor Ninth.mp3");
        assert_eq!(stream(&mp3, ESSENCE), mp3[522..mp3.len() - 128]);
    }

    #[test]
    fn a_pipe_is_split_like_a_file() {
        for bytes in [flac_file(3 << 20, &[(1, 100)], true), mp3_file(3 << 20, Some(200), true)] {
            let file = collect(open(head(&bytes)), &bytes, &[]);
            assert_eq!(collect(open(without_tail(&bytes)), &bytes, &[5, 77_777]), file);
            assert_eq!(file.last().map(|r| r.stream), Some(WRAPPER));
        }
    }

    #[test]
    fn headers_at_any_distance_from_a_windows_end_are_read_alike() {
        // Something ends, and something begins, `left` bytes before the first window does.
        for left in (0..16).chain([400, 416, 417, 418, 419, 420, 421, 1251, 2881, 5765, 5766, 5767]) {
            let to = |used: usize| WINDOW_MIN - used - left;
            let tag = |bytes| testing::id3v2(4, bytes);
            for bytes in [
                flac_file(5000, &[(1, to(42 + 4)), (6, 20_000), (4, 9)], true),
                flac_file(5000, &[(2, 900_000), (6, to(42 + 4 + 900_000 + 4)), (4, 9)], true),
                flac_file(5000, &[(4, to(42 + 4))], true),
                [tag(to(10)), tag(50), flac_file(5000, &[], true)].concat(),
                [tag(to(10)), tag(50), mp3_file(9000, None, true)].concat(),
                mp3_file(9000, Some(to(10)), true),
                [tag(to(10 + 1000)), vec![0; 1000], mp3_file(9000, None, false)].concat(),
            ] {
                let (whole, doubt) = collect_counting(open(head(&bytes)), &bytes, &[]);
                let sound = whole.iter().find(|r| r.stream == ESSENCE).map(|r| r.bytes);
                assert!(sound == Some(5000) || sound == Some(9000 / 417 * 417), "{left} {whole:?}");
                assert_eq!(collect_counting(open(head(&bytes)), &bytes, &[0]), (whole, doubt), "{left}");
            }
        }
    }

    #[test]
    fn a_file_that_is_not_what_its_head_was_is_covered_in_doubt() {
        for old in [flac_file(5000, &[], false), mp3_file(5000, Some(100), false), mp3_file(5000, None, false)] {
            for new in [vec![], vec![0; 3 << 20], vec![0xff; 100], real("Photos/2008/Wood.jpg")] {
                let (runs, doubt) = collect_counting(open(head(&old)), &new, &[0]);
                assert_eq!(runs.iter().map(|r| r.bytes).sum::<u64>(), new.len() as u64);
                assert!(doubt.is_some());
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// Covering, borders and progress are checked in `collect`.
        #[test]
        fn mutated_files_are_covered_alike_in_any_windows(
            flac in any::<bool>(),
            front in prop::option::of(0..300_000_usize),
            sound in prop_oneof![0..20_000_usize, 900_000..3_500_000_usize],
            blocks in prop::collection::vec((0..128_u8, prop_oneof![0..60_usize, 10_000..2_500_000_usize]), 0..4),
            tail in any::<bool>(),
            flips in prop::collection::vec((prop_oneof![0..200_usize, 0..6_000_000_usize], any::<bool>(), any::<u8>()), 0..6),
            cut_short in prop::option::of(any::<prop::sample::Index>()),
            windows in prop::collection::vec(prop_oneof![0..64_usize, 0..1_000_000_usize], 1..8),
        ) {
            let mut bytes = if flac {
                let file = flac_file(sound, &blocks, tail);
                front.map_or_else(Vec::new, |n| testing::id3v2(4, n)).into_iter().chain(file).collect()
            } else {
                mp3_file(sound, front, tail)
            };
            for (at, from_end, value) in flips {
                let len = bytes.len();
                if at < len {
                    bytes[if from_end { len - 1 - at } else { at }] = value;
                }
            }
            if let Some(index) = cut_short {
                let len = index.index(bytes.len() + 1);
                bytes.truncate(len);
            }
            let (whole, doubt) = collect_counting(open(head(&bytes)), &bytes, &[]);
            let (parts, again) = collect_counting(open(without_tail(&bytes)), &bytes, &windows);
            prop_assert_eq!(whole, parts);
            prop_assert_eq!(doubt, again);
        }

        #[test]
        fn arbitrary_bytes_are_covered(
            start in prop::sample::select(vec![&b""[..], b"fLaC", b"fLaC\0\0\0\x22", b"ID3\x04\0\0\0\0\0\x05", b"\xff\xfb\x90\0"]),
            bytes in prop::collection::vec(any::<u8>(), 0..2000),
        ) {
            let bytes = [start, &bytes].concat();
            for mut splitter in [open(head(&bytes)), Box::new(flac::Flac::new(Default::default())), mp3::unchecked()] {
                let mut runs = Vec::new();
                splitter.split(&bytes, true, &mut runs);
                prop_assert_eq!(runs.iter().map(Part::bytes).sum::<u64>(), bytes.len() as u64);
            }
        }

        /// Not a promise that callers may use: that they fail to keep theirs must not hang a backup.
        #[test]
        fn windows_that_are_too_small_are_covered_too(
            flac in any::<bool>(),
            windows in prop::collection::vec(1..3000_usize, 1..20),
        ) {
            let bytes = if flac { flac_file(9000, &[(6, 20_000)], true) } else { mp3_file(9000, Some(5000), true) };
            let (mut splitter, mut runs, mut at) = (open(head(&bytes)), Vec::new(), 0);
            for size in windows.into_iter().cycle() {
                let end = bytes.len().min(at + size);
                runs.clear();
                splitter.split(&bytes[at..end], end == bytes.len(), &mut runs);
                let used = runs.iter().map(|r| r.bytes() as usize).sum::<usize>();
                prop_assert!(used > 0 && at + used <= end);
                at += used;
                if at == bytes.len() {
                    break;
                }
            }
        }
    }
}
