//! Matroska and WebM (RFC 9559): tracks apart from elements.
//!
//! ```text
//!  EBML header, Info, Cues, Tags ...    wrapper   passed over by their size
//!  Tracks                               wrapper   read for what the tracks are
//!  Cluster, BlockGroup                  wrapper   their headers: the elements within follow one by one
//!  SimpleBlock, Block   header          wrapper   up to the flags
//!                       frames         essences   with the sizes of a lacing, where there is one; frames of FLAC,
//!                                                 packets of ALAC and samples without them, as `layers` has them
//!  attached file        data            wrapper   with borders of its own if it is large: a cover, a font
//! ```
//! Owns the way over the elements. With FLAC, a segment begins with the first cluster, so that what stands before it does
//! not move the others.
//!
//! # Invariants
//!
//! 1. Elements are walked without a stack: what follows a header is the next element, whatever contains it. So sizes
//!    that are not known (live streams) need no care.
//! 2. State: what `TRACKS_MAX` tracks are, and the sizes of a lacing.

use super::alac;
use super::demux::{ALONE_BYTES, Border, Coding, Demux, Piece, Tracks, essence};
use super::flac;
use super::fourcc::raster;
use super::nal::{Chain, Codec, is_key_frame};
use super::words::{Kind, Word};
use super::{Hints, MATROSKA, Splitter, SplitterId, StreamNumber};
use crate::chunk::Form;

/// Tracks that are told apart.
const TRACKS_MAX: usize = 64;

const EBML: u32 = 0x1a45_dfa3;
const SEGMENT: u32 = 0x1853_8067;
const CLUSTER: u32 = 0x1f43_b675;
const TRACKS: u32 = 0x1654_ae6b;
const TRACK_ENTRY: u32 = 0xae;
const BLOCK_GROUP: u32 = 0xa0;
const BLOCK: u32 = 0xa1;
const SIMPLE_BLOCK: u32 = 0xa3;
/// Bits of a block's flags.
const LACING: u8 = 6;
const LACING_XIPH: u8 = 2;
const LACING_EBML: u8 = 6;
const ATTACHMENTS: u32 = 0x1941_a469;
const ATTACHED_FILE: u32 = 0x61a7;
const FILE_DATA: u32 = 0x465c;

/// An element's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Header {
    id: u32,
    /// Of the header.
    header: usize,
    /// Of what follows; `None` where it is not known.
    bytes: Option<u64>,
}

/// A number of one to eight bytes, with the bit that tells their count taken off, and that count.
fn number(bytes: &[u8]) -> Option<(u64, usize)> {
    let &first = bytes.first()?;
    let n = first.leading_zeros() as usize + 1; // at most 9
    let rest = bytes.get(1..n).filter(|_| n <= 8)?;
    let start = u64::from(first) & (0x7f >> (n - 1));
    Some((rest.iter().fold(start, |v, b| v << 8 | u64::from(*b)), n))
}

/// Reads the header that starts `look`.
fn header(look: &[u8]) -> Option<Header> {
    let &first = look.first()?;
    let n = first.leading_zeros() as usize + 1;
    let id = look.get(..n).filter(|_| n <= 4)?.iter().fold(0, |v, b| v << 8 | u32::from(*b));
    let (bytes, m) = number(look.get(n..)?)?;
    let unknown = bytes == (1 << (7 * m)) - 1; // m is at most 8
    Some(Header { id, header: n + m, bytes: (!unknown).then_some(bytes) })
}

/// Elements one behind the other: id and content.
fn elements(mut bytes: &[u8]) -> impl Iterator<Item = (u32, &[u8])> {
    std::iter::from_fn(move || {
        let h = header(bytes)?;
        let (content, rest) = bytes.get(h.header..)?.split_at_checked(usize::try_from(h.bytes?).ok()?)?;
        bytes = rest;
        Some((h.id, content))
    })
}

/// The content of the element at a path.
fn find<'b>(bytes: &'b [u8], path: &[u32]) -> Option<&'b [u8]> {
    path.iter().try_fold(bytes, |bytes, id| elements(bytes).find(|(i, _)| i == id).map(|(_, content)| content))
}

/// An unsigned integer element.
fn uint(bytes: &[u8], path: &[u32]) -> Option<u64> {
    let content = find(bytes, path)?;
    (content.len() <= 8).then(|| content.iter().fold(0, |v, b| v << 8 | u64::from(*b)))
}

/// Opens a file that begins with an EBML header.
pub fn open(hints: Hints<'_>) -> Option<Box<dyn Splitter>> {
    let h = header(hints.head)?;
    let content = hints.head.get(h.header..)?.get(..usize::try_from(h.bytes?).ok()?)?;
    let kind = find(content, &[0x4282])?;
    let known = matches!(kind.trim_ascii_end(), b"matroska" | b"webm") || kind.starts_with(b"matroska\0");
    (h.id == EBML && known).then(|| Box::new(Demux::new(Matroska::default())) as Box<dyn Splitter>)
}

/// A track.
#[derive(Clone, Copy, Debug)]
struct Track {
    number: u64,
    stream: StreamNumber,
    form: Form,
    codec: Option<Codec>,
    coding: Coding,
    /// It is FLAC, but not as it would be in a file.
    is_hidden_flac: bool,
    is_video: bool,
}

impl Track {
    fn is_flac(&self) -> bool {
        matches!(self.coding, Coding::Flac(_))
    }
}

/// What follows the header that was given last.
#[derive(Debug, Default)]
enum Next {
    #[default]
    Header,
    /// Frames of a track.
    Frames { track: Track, left: u64, chain: Option<Chain>, begun: bool },
    /// Frames of FLAC, packets or samples, of these sizes, the last one first.
    Laced { track: Track, sizes: Vec<u64> },
    /// An attached file.
    File(u64),
    /// The element behind an attached file.
    BehindFile,
}

#[derive(Debug, Default)]
struct Matroska {
    next: Next,
    tracks: Vec<Track>,
    /// A cluster came.
    seen: bool,
    /// Tracks that the header told of, known or not.
    told: usize,
    /// Of FLAC that is left as it is.
    doubt: Option<&'static str>,
}

impl Matroska {
    fn element(&mut self, look: &[u8]) -> Result<Piece, &'static str> {
        let Some(h) = header(look) else {
            return Err(if self.seen { "matroska: something behind the elements" } else { "matroska: no element" });
        };
        let content = look.get(h.header..).unwrap_or_default();
        let all = h.bytes.and_then(|n| n.checked_add(h.header as u64));
        match (h.id, h.bytes, all) {
            (SEGMENT | CLUSTER | BLOCK_GROUP | ATTACHMENTS | ATTACHED_FILE, ..) => {
                let first = h.id == CLUSTER && !self.seen;
                self.seen |= h.id == CLUSTER;
                let opens = first && self.tracks.iter().any(Track::is_flac);
                Ok(Piece { opens, ..Piece::wrapper(h.header as u64) })
            }
            (TRACKS, Some(bytes), Some(all)) => {
                if let Some(tracks) = usize::try_from(bytes).ok().and_then(|n| content.get(..n)) {
                    (self.tracks, self.told) = read_tracks(tracks);
                    if self.tracks.iter().any(|t| t.is_hidden_flac) {
                        self.doubt = Some("matroska: FLAC behind a compression or an encryption");
                    }
                }
                Ok(Piece::wrapper(all))
            }
            (SIMPLE_BLOCK | BLOCK, Some(bytes), Some(all)) => {
                Ok(self.block(&h, bytes, content).unwrap_or(Piece::wrapper(all)))
            }
            (FILE_DATA, Some(bytes), _) if bytes >= ALONE_BYTES => {
                self.next = Next::File(bytes);
                Ok(Piece::wrapper(h.header as u64))
            }
            (_, Some(_), Some(all)) => Ok(Piece::wrapper(all)),
            _ => Err("matroska: an element without a size"),
        }
    }

    /// A block: its header is wrapper, and its frames follow.
    fn block(&mut self, h: &Header, bytes: u64, content: &[u8]) -> Option<Piece> {
        let (number, n) = number(content)?;
        let flags = *content.get(n + 2)?;
        let track = *self.tracks.iter().find(|t| t.number == number)?;
        let head = n + 3; // the time, the flags
        let left = bytes.checked_sub(head as u64).filter(|left| *left > 0)?;
        if track.coding != Coding::None {
            let behind = content.get(head..).unwrap_or_default();
            if let Some((laces, sizes)) = frames(flags, behind, left) {
                self.next = Next::Laced { track, sizes };
                return Some(Piece::wrapper((h.header + head + laces) as u64));
            }
            self.doubt.get_or_insert("matroska: a lacing that makes no sense");
        }
        let chain = track.codec.filter(|_| flags & 6 == 0).map(Chain::new); // no lacing
        self.next = Next::Frames { track, left, chain, begun: false };
        Some(Piece::wrapper((h.header + head) as u64))
    }
}

impl Tracks for Matroska {
    fn id(&self) -> SplitterId {
        MATROSKA
    }

    fn next(&mut self, look: &[u8]) -> Result<Piece, &'static str> {
        match &mut self.next {
            Next::Frames { left: 0, .. } | Next::Header => {
                self.next = Next::Header;
                self.element(look)
            }
            Next::Laced { track, sizes } => match sizes.pop() {
                Some(bytes) => Ok(Piece { coding: track.coding, ..Piece::of(track.stream, track.form, bytes) }),
                None => {
                    self.next = Next::Header;
                    self.element(look)
                }
            },
            Next::Frames { track, left, chain, begun } => {
                let (bytes, key) = match chain {
                    Some(chain) => chain.unit(look, *left).unwrap_or((*left, false)),
                    None => (*left, track.is_video && !*begun && is_key_frame(look)),
                };
                *begun = true;
                *left -= bytes; // a unit is not longer than what is left
                let border = if key { Border::Key } else { Border::None };
                Ok(Piece::of(track.stream, track.form, bytes).with(border))
            }
            Next::File(bytes) => {
                let piece = Piece::wrapper(*bytes).with(Border::Always);
                self.next = Next::BehindFile;
                Ok(piece)
            }
            Next::BehindFile => {
                self.next = Next::Header;
                self.element(look).map(|piece| piece.with(Border::Always))
            }
        }
    }

    fn is_flac_alone(&self) -> bool {
        self.told == 1 && self.tracks.iter().any(Track::is_flac)
    }

    fn doubt(&self) -> Option<&'static str> {
        self.doubt
    }
}

/// What is known of the tracks, and how many there are.
fn read_tracks(tracks: &[u8]) -> (Vec<Track>, usize) {
    let entries = elements(tracks).filter(|(id, _)| *id == TRACK_ENTRY).take(TRACKS_MAX);
    let all: Vec<_> = entries.enumerate().map(|(i, (_, entry))| track(entry, essence(i))).collect();
    let told = all.len();
    (all.into_iter().flatten().collect(), told)
}

/// Bytes of a lacing's sizes, and the sizes of a block's frames, the last one first (RFC 9559, section 10.3). `block`
/// begins behind the flags and has `left` bytes, not all of them shown. Frames of no bytes are left out.
fn frames(flags: u8, block: &[u8], left: u64) -> Option<(usize, Vec<u64>)> {
    if flags & LACING == 0 {
        return Some((0, vec![left]));
    }
    let more = usize::from(*block.first()?); // frames but for one
    let (mut at, mut sizes, mut sum) = (1, Vec::with_capacity(more + 1), 0_u64);
    let mut add = |size: u64| {
        sum = sum.checked_add(size)?;
        sizes.push(size);
        Some(())
    };
    match flags & LACING {
        LACING_XIPH => {
            for _ in 0..more {
                let mut size = 0_u64;
                loop {
                    let byte = *block.get(at)?;
                    at += 1;
                    size = size.checked_add(u64::from(byte))?;
                    if byte < 255 {
                        break;
                    }
                }
                add(size)?;
            }
        }
        LACING_EBML => {
            let mut size = 0_u64;
            for i in 0..more {
                let (value, n) = number(block.get(at..)?)?;
                at += n;
                // The first as it is, each other one as the difference, with half the range as zero.
                size = match i {
                    0 => value,
                    _ => size.checked_add(value)?.checked_sub((1 << (7 * n - 1)) - 1)?, // n is at most 8
                };
                add(size)?;
            }
        }
        _ => {
            let each = left.checked_sub(1)?;
            let count = more as u64 + 1; // at most 256
            if !each.is_multiple_of(count) {
                return None;
            }
            for _ in 0..more {
                add(each / count)?;
            }
        }
    }
    let last = left.checked_sub(at as u64)?.checked_sub(sum)?;
    sizes.push(last);
    sizes.retain(|&size| size > 0);
    sizes.reverse();
    Some((at, sizes))
}

fn track(entry: &[u8], stream: StreamNumber) -> Option<Track> {
    let number = uint(entry, &[0xd7])?;
    let is_video = uint(entry, &[0x83]) == Some(1);
    let codec = find(entry, &[0x86]).unwrap_or_default();
    let private = find(entry, &[0x63a2]).unwrap_or_default();
    let is_hidden_flac = false;
    let mut track =
        Track { number, stream, form: Form::Bytes, codec: None, coding: Coding::None, is_hidden_flac, is_video };
    // A compression, or an encryption: nothing is known of the frames.
    if find(entry, &[0x6d80]).is_some() {
        track.is_hidden_flac = codec == b"A_FLAC";
        return Some(track);
    }
    match codec {
        b"V_MPEG4/ISO/AVC" => {
            track.codec = private.get(4).filter(|b| *b & 3 == 3).map(|_| Codec::Avc);
        }
        b"V_MPEGH/ISO/HEVC" => {
            track.codec = private.get(21).filter(|b| *b & 3 == 3).map(|_| Codec::Hevc);
        }
        b"A_FLAC" => {
            // The metadata of a FLAC file, with STREAMINFO first; some leave the marker out.
            let blocks = private.strip_prefix(flac::MARKER).unwrap_or(private);
            let info = blocks.get(flac::BLOCK_HEADER..);
            track.coding = Coding::Flac(info.and_then(flac::sample_bits));
        }
        b"A_ALAC" => track.coding = alac::Config::read(private).map_or(Coding::None, Coding::Packets),
        b"A_PCM/INT/LIT" | b"A_PCM/INT/BIG" | b"A_PCM/FLOAT/IEEE" => {
            track.coding = pcm(entry, codec).map_or(Coding::None, |(word, channels)| Coding::Words(word, channels));
        }
        b"V_UNCOMPRESSED" | b"V_QUICKTIME" | b"V_MS/VFW/FOURCC" => {
            let fourcc = match codec {
                b"V_UNCOMPRESSED" => find(entry, &[0xe0, 0x2e_b524]),
                b"V_QUICKTIME" => private.get(4..8),
                _ => private.get(16..20),
            };
            let width = uint(entry, &[0xe0, 0xb0]).and_then(|w| u32::try_from(w).ok()).unwrap_or(0);
            track.form = raster(fourcc.unwrap_or_default(), width).unwrap_or_default();
        }
        _ => {}
    }
    Some(track)
}

/// What samples are that are not coded, and their channels.
fn pcm(entry: &[u8], codec: &[u8]) -> Option<(Word, u8)> {
    let bits = uint(entry, &[0xe1, 0x6264])?;
    let channels = uint(entry, &[0xe1, 0x9f]).unwrap_or(1);
    let kind = match (codec, bits) {
        (b"A_PCM/FLOAT/IEEE", _) => Kind::Float,
        (_, 8) => Kind::Unsigned,
        _ => Kind::Signed,
    };
    let channels = u8::try_from(channels).ok().filter(|n| (1..=32).contains(n))?;
    let word = Word::new(u32::try_from(bits / 8).ok()?, codec == b"A_PCM/INT/BIG", kind).filter(|_| bits % 8 == 0)?;
    Some((word, channels))
}

#[cfg(test)]
pub(super) mod tests;
