//! Tables of ISO base media files: which bytes of the file are whose.
//!
//! Owns the reading of `moov` and `moof`. Decides nothing: what it finds is where chunks of a track lie, and what
//! they are.
//!
//! # Invariants
//!
//! 1. Total: what is not understood gives fewer places. Places ascend; none of them is believed to be in the file.
//! 2. Memory: [`PIECES_MAX`] places and [`TRACKS_MAX`] tracks. Steps: one for each sample that has a size of its own
//!    in the table, and one for each chunk.

use super::super::StreamNumber;
use super::super::alac;
use super::super::demux::{Coding, SEGMENT, essence};
use super::super::flac;
use super::super::fourcc::{self, samples};
use super::super::nal::Codec;
use super::super::words::{Kind, Word};
use super::header;
use crate::chunk::{Form, Packing, Raster};

/// Bytes of a `moov` that is read.
pub const MOOV_MAX: u64 = 8 << 20;
/// Chunks of all tracks.
pub const PIECES_MAX: usize = 1 << 18;
/// Tracks that are looked at.
const TRACKS_MAX: usize = 64;

/// A track.
#[derive(Clone, Copy, Debug)]
pub struct Track {
    id: u32,
    what: What,
    /// Bytes of a sample in fragments that do not say it.
    sample_bytes: u64,
}

/// What a track's bytes are.
#[derive(Clone, Copy, Debug)]
struct What {
    stream: StreamNumber,
    form: Form,
    /// It consists of such units.
    codec: Option<Codec>,
    is_video: bool,
    /// Of its chunks.
    coding: Coding,
}

/// What a `moov` tells.
#[derive(Clone, Debug, Default)]
pub struct Movie {
    pub tracks: Vec<Track>,
    pub is_fragmented: bool,
}

impl Movie {
    /// How the packets of the first track of ALAC are coded.
    pub fn alac(&self) -> Option<alac::Config> {
        let config = |t: &Track| if let Coding::Packets(config) = t.what.coding { Some(config) } else { None };
        self.tracks.iter().find_map(config)
    }

    /// Whether the tracks would be told apart without the tables too, or are such that they need to be apart.
    pub fn is_told_apart(&self) -> bool {
        self.tracks.iter().any(|t| {
            let is_picture = t.what.is_video && t.what.form != Form::Bytes;
            is_picture || t.what.codec.is_some() || matches!(t.what.coding, Coding::Words(..))
        })
    }
}

/// Where a chunk lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    pub at: u64,
    pub bytes: u64,
    pub stream: StreamNumber,
    pub form: Form,
    pub codec: Option<Codec>,
    pub is_video: bool,
    pub coding: Coding,
}

impl Place {
    fn new(what: &What, at: u64, bytes: u64) -> Place {
        let What { stream, form, codec, is_video, mut coding } = *what;
        // They are worth segments of their own.
        if let Coding::Packets(config) = coding
            && bytes > SEGMENT as u64
        {
            coding = Coding::Alac(alac::Coding { config, is_guess: false });
        }
        Place { at, bytes, stream, form, codec, is_video, coding }
    }
}

/// Boxes one behind the other: name and content.
fn boxes(mut bytes: &[u8]) -> impl Iterator<Item = ([u8; 4], &[u8])> {
    std::iter::from_fn(move || {
        let h = header(bytes)?;
        let all = usize::try_from(h.bytes).ok().filter(|n| *n <= bytes.len())?;
        let (this, rest) = bytes.split_at_checked(all)?;
        bytes = rest;
        Some((h.kind, this.get(usize::try_from(h.header).ok()?..)?))
    })
}

/// The content of the box at a path.
fn find<'b>(bytes: &'b [u8], path: &[&[u8; 4]]) -> Option<&'b [u8]> {
    path.iter().try_fold(bytes, |bytes, name| boxes(bytes).find(|(kind, _)| kind == *name).map(|(_, content)| content))
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_be_bytes(*bytes.get(at..)?.first_chunk()?))
}

/// Reads a whole `moov`.
pub fn read(moov: &[u8]) -> (Movie, Vec<Place>) {
    let moov = boxes(moov).next().map_or(&[][..], |(_, content)| content);
    let (mut movie, mut places) = (Movie::default(), Vec::new());
    for (kind, content) in boxes(moov).take(4 * TRACKS_MAX) {
        if &kind == b"trak" && movie.tracks.len() < TRACKS_MAX {
            let stream = essence(movie.tracks.len());
            if let Some(track) = track(content, stream, &mut places) {
                movie.tracks.push(track);
            }
        }
    }
    if let Some(extends) = find(moov, &[b"mvex"]) {
        movie.is_fragmented = true;
        for (_, trex) in boxes(extends).filter(|(kind, _)| kind == b"trex").take(TRACKS_MAX) {
            let (Some(id), Some(size)) = (u32_at(trex, 4), u32_at(trex, 16)) else { continue };
            movie.tracks.iter_mut().filter(|t| t.id == id).for_each(|t| t.sample_bytes = u64::from(size));
        }
    }
    places.sort_by_key(|p| p.at);
    (movie, places)
}

fn track(trak: &[u8], stream: StreamNumber, places: &mut Vec<Place>) -> Option<Track> {
    let header = find(trak, &[b"tkhd"])?;
    let id = u32_at(header, if header.first() == Some(&1) { 20 } else { 12 })?;
    let media = find(trak, &[b"mdia"])?;
    let is_video = find(media, &[b"hdlr"]).and_then(|h| h.get(8..12)) == Some(b"vide");
    let tables = find(media, &[b"minf", b"stbl"])?;
    let entry = find(tables, &[b"stsd"])?.get(8..)?;
    let (mut what, frame_bytes) = sample_entry(entry, stream, is_video);
    if let Form::Raster(raster) = &mut what.form {
        raster.row_bytes = row_bytes(*raster, tables, entry).unwrap_or(raster.row_bytes);
    }
    let before = places.len();
    if chunks(tables, &what, frame_bytes, places).is_none() {
        places.truncate(before);
    }
    Some(Track { id, what, sample_bytes: 0 })
}

/// What the first sample entry says of a track, and the bytes of a frame of PCM (0: it is none).
fn sample_entry(entry: &[u8], stream: StreamNumber, is_video: bool) -> (What, u64) {
    let mut what = What { stream, form: Form::Bytes, codec: None, is_video, coding: Coding::None };
    let kind = entry.get(4..8).unwrap_or_default();
    let inner = |name: &[u8; 4]| find(entry.get(86..)?, &[name]);
    match kind {
        b"avc1" | b"avc2" | b"avc3" | b"avc4" | b"dva1" | b"dvav" => {
            let four = inner(b"avcC").and_then(|c| c.get(4)).is_some_and(|b| b & 3 == 3);
            what.codec = four.then_some(Codec::Avc);
        }
        b"hvc1" | b"hev1" | b"dvh1" | b"dvhe" => {
            let four = inner(b"hvcC").and_then(|c| c.get(21)).is_some_and(|b| b & 3 == 3);
            what.codec = four.then_some(Codec::Hevc);
        }
        b"apch" | b"apcn" | b"apcs" | b"apco" | b"ap4h" | b"ap4x" => what.codec = Some(Codec::ProRes),
        b"AVdn" | b"AVdh" => what.codec = Some(Codec::Dnx),
        b"alac" if !is_video => {
            what.coding = cookie(entry).and_then(alac::Config::read).map_or(Coding::None, Coding::Packets);
        }
        b"fLaC" if !is_video => what.coding = Coding::Flac(streaminfo(entry).and_then(flac::sample_bits)),
        _ if is_video => what.form = raster(kind, entry).unwrap_or_default(),
        _ => {
            if let Some((word, channels)) = pcm(kind, entry) {
                what.coding = Coding::Words(word, channels);
                return (what, word.frame_bytes(channels) as u64);
            }
        }
    }
    (what, 0)
}

/// ALAC's cookie, in a box of its own: behind the fields of whichever version, in QuickTime within another.
fn cookie(entry: &[u8]) -> Option<&[u8]> {
    let inner = entry.get(if u16_at(entry, 16)? == 1 { 52 } else { 36 }..)?;
    find(inner, &[b"alac"]).or_else(|| find(inner, &[b"wave", b"alac"]))?.get(4..) // a version and flags
}

/// FLAC's STREAMINFO, behind the fields of MP4.
fn streaminfo(entry: &[u8]) -> Option<&[u8]> {
    find(entry.get(36..)?, &[b"dfLa"])?.get(4 + flac::BLOCK_HEADER..) // a version and flags
}

/// The form of pictures that are not coded.
fn raster(kind: &[u8], entry: &[u8]) -> Option<Form> {
    let width = u32::from(u16_at(entry, 32)?);
    match (kind, u16_at(entry, 82)?) {
        (b"raw ", 24) => Some(samples(3, 0)),
        (b"raw ", 32) => Some(samples(4, width * 4)),
        _ => fourcc::raster(kind, width),
    }
}

/// Bytes of a picture's row, as its size tells them; `None` where nothing is known but its width. Where the size is no
/// multiple of the rows, v210 has none: the codec finds them.
fn row_bytes(raster: Raster, tables: &[u8], entry: &[u8]) -> Option<u32> {
    let (sizes, rows) = (find(tables, &[b"stsz"])?, u32::from(u16_at(entry, 34)?));
    let bytes = match u32_at(sizes, 4)? {
        0 => u32_at(sizes, 12)?,
        bytes => bytes,
    };
    let row = bytes.checked_div(rows).filter(|row| row * rows == bytes); // at most `bytes`
    match raster.packing {
        // Rows are filled up to 48 pixels.
        Packing::V210 => Some(row.filter(|row| row.is_multiple_of(128)).unwrap_or(0)),
        _ => row,
    }
}

/// What samples are that are not coded, and their channels.
fn pcm(kind: &[u8], entry: &[u8]) -> Option<(Word, u8)> {
    let (mut channels, bits) = (u32::from(u16_at(entry, 24)?), u32::from(u16_at(entry, 26)?));
    let version = u16_at(entry, 16)?;
    // The box `enda` within `wave` tells that a big-endian format is little-endian.
    let enda = || entry.windows(6).take(512).any(|w| w == b"enda\0\x01");
    let (bits, big_endian, kind) = match kind {
        b"sowt" => (bits, false, Kind::Signed),
        b"twos" => (bits, true, Kind::Signed),
        b"raw " if bits == 8 => (bits, true, Kind::Unsigned),
        b"in24" => (24, !enda(), Kind::Signed),
        b"in32" => (32, !enda(), Kind::Signed),
        b"fl32" => (32, !enda(), Kind::Float),
        b"fl64" => (64, !enda(), Kind::Float),
        b"lpcm" if version == 2 => {
            channels = u32_at(entry, 48)?;
            // 1 float, 2 big-endian, 4 signed
            let flags = u32_at(entry, 60)?;
            let kind = match flags & 5 {
                0 => Kind::Unsigned,
                4 => Kind::Signed,
                _ => Kind::Float,
            };
            (u32_at(entry, 56)?, flags & 2 != 0, kind)
        }
        b"ipcm" | b"fpcm" => {
            let c = find(entry.get(36..)?, &[b"pcmC"])?;
            let kind = if kind == b"ipcm" { Kind::Signed } else { Kind::Float };
            (u32::from(*c.get(5)?), c.get(4)? & 1 == 0, kind)
        }
        _ => return None,
    };
    let channels = u8::try_from(channels).ok().filter(|n| (1..=32).contains(n))?;
    let word = Word::new(bits / 8, big_endian, kind).filter(|_| bits % 8 == 0)?;
    Some((word, channels))
}

/// Appends the places of a track's chunks.
fn chunks(tables: &[u8], what: &What, frame_bytes: u64, places: &mut Vec<Place>) -> Option<()> {
    let to_chunk = find(tables, &[b"stsc"])?.get(8..)?.as_chunks::<12>().0;
    let (offsets, wide) = match find(tables, &[b"stco"]) {
        Some(offsets) => (offsets, 4),
        None => (find(tables, &[b"co64"])?, 8),
    };
    let count = (u32_at(offsets, 4)? as usize).min(PIECES_MAX.saturating_sub(places.len()));
    let offsets = offsets.get(8..)?.chunks_exact(wide).take(count);
    let sizes = find(tables, &[b"stsz"])?;
    let each = match u64::from(u32_at(sizes, 4)?) {
        // One byte a sample, as the oldest writers count PCM.
        1 if frame_bytes > 0 => frame_bytes,
        n => n,
    };
    let mut sizes = sizes.get(12..)?.as_chunks::<4>().0.iter();
    let mut runs = to_chunk.iter().map(|e| (u32_at(e, 0), u32_at(e, 4))).peekable();
    let mut samples = 0;
    for (i, offset) in (1_u32..).zip(offsets) {
        while let Some((first, n)) = runs.next_if(|(first, _)| first.is_some_and(|f| f <= i)) {
            let _ = first;
            samples = n?;
        }
        let at = if wide == 4 { u64::from(u32_at(offset, 0)?) } else { u64_at(offset, 0)? };
        let bytes = if each > 0 {
            each.checked_mul(u64::from(samples))?
        } else {
            let mut sum = 0_u64;
            for _ in 0..samples {
                // A table that ends early ends the track.
                sum = sum.checked_add(u64::from(u32::from_be_bytes(*sizes.next()?)))?;
            }
            sum
        };
        places.push(Place::new(what, at, bytes));
    }
    Some(())
}

/// The places of a whole `moof` that stands at `at`.
pub fn fragment(movie: &Movie, moof: &[u8], at: u64) -> Vec<Place> {
    let mut places = Vec::new();
    let Some(h) = header(moof) else { return places };
    let content = usize::try_from(h.header).ok().and_then(|n| moof.get(n..)).unwrap_or_default();
    for (_, traf) in boxes(content).filter(|(kind, _)| kind == b"traf").take(TRACKS_MAX) {
        // What came before one that makes no sense is right.
        let _ = runs(movie, traf, at, &mut places);
    }
    places.sort_by_key(|p| p.at);
    places
}

/// Appends the runs of one track of a fragment.
fn runs(movie: &Movie, traf: &[u8], at: u64, places: &mut Vec<Place>) -> Option<()> {
    let head = find(traf, &[b"tfhd"])?;
    let (flags, id) = (u32_at(head, 0)?, u32_at(head, 4)?);
    let track = movie.tracks.iter().find(|t| t.id == id)?;
    let mut field = 8;
    let mut base = at;
    if flags & 1 != 0 {
        base = u64_at(head, field)?;
        field += 8;
    }
    // Sample description and duration.
    field += if flags & 2 != 0 { 4 } else { 0 } + if flags & 8 != 0 { 4 } else { 0 };
    let each = if flags & 0x10 != 0 { u64::from(u32_at(head, field)?) } else { track.sample_bytes };
    let mut next = base;
    for (_, run) in boxes(traf).filter(|(kind, _)| kind == b"trun") {
        let (flags, count) = (u32_at(run, 0)?, u32_at(run, 4)?);
        let mut field = 8;
        if flags & 1 != 0 {
            next = base.checked_add_signed(i64::from(u32_at(run, field)?.cast_signed()))?;
            field += 4;
        }
        field += if flags & 4 != 0 { 4 } else { 0 };
        let row = 4 * (flags >> 8 & 15).count_ones() as usize;
        let bytes = if flags & 0x200 != 0 {
            let size = if flags & 0x100 != 0 { 4 } else { 0 };
            let rows = run.get(field..)?.chunks_exact(row).take(count as usize);
            rows.map(|row| u32_at(row, size).map_or(0, u64::from)).sum()
        } else {
            each.checked_mul(u64::from(count))?
        };
        if places.len() < PIECES_MAX {
            places.push(Place::new(&track.what, next, bytes));
        }
        next = next.checked_add(bytes)?;
    }
    Some(())
}
