//! What the fuzz targets do with their bytes, so that the ordinary tests can do the same with the inputs that were kept
//! (`tests/fuzz.rs`, `fuzz/corpus/`).

use arbitrary::{Arbitrary, Unstructured};
use onefold::chunk::form::{Packing, Pcm, Raster};
use onefold::chunk::jpeg::Walker;
use onefold::chunk::{Form, Payload, Squeezer, Tier, Unsqueezer};
use onefold::cli::{args, clock};
use onefold::format::record::Codec;
use onefold::format::{
    Keys, PackId, check, entry, footer, limits, log, node, parity, recipe, record, snapshot, superblock, text,
};
use onefold::media::{self, Deflate, Hints, Mapped, Options, Part, SplitterId};
use onefold::ops::{backup, find};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// A target: what it is called, and what it does.
pub type Target = (&'static str, fn(&[u8]));

/// All of them.
pub const TARGETS: [Target; 6] = [
    ("codecs", codecs),
    ("formats", formats),
    ("inverses", inverses),
    ("payloads", payloads),
    ("splitters", splitters),
    ("words", words),
];

/// The values that the bytes stand for, as `libfuzzer-sys` takes them; `None` if there are too few.
fn input<'a, T: Arbitrary<'a>>(bytes: &'a [u8]) -> Option<T> {
    T::arbitrary_take_rest(Unstructured::new(bytes)).ok()
}

/// Everything that is read from disks, as bytes that nothing has checked: an error or a value.
pub fn formats(bytes: &[u8]) {
    let Some((kind, level, offset, mut bytes)) = input::<(u8, u8, u32, Vec<u8>)>(bytes) else { return };
    let (pack, path, offset) = (PackId([7; 12]), Path::new("somewhere"), u64::from(offset));
    if kind < 128 {
        // Behind its own check: no fuzzer finds one.
        let check = check::check64(check::place_seed(pack, offset), &bytes);
        bytes.extend(check);
    }
    match kind % 19 {
        0 => drop(record::Header::decode(pack, offset, &bytes)),
        1 => drop(footer::Footer::decode(pack, offset, &bytes)),
        2 => drop(entry::Entry::decode(&bytes)),
        3 => drop(entry::decode_attributes(&bytes)),
        4 => drop(node::decode_node(level, &bytes)),
        5 => drop(node::decode_stream_list(level, &bytes)),
        6 => drop(node::decode_segment_node(level, &bytes)),
        7 => drop(snapshot::Snapshot::decode(&bytes)),
        8 => drop(log::LogEntry::decode(path, &bytes)),
        9 => drop(superblock::Superblock::decode(path, &bytes)),
        10 => drop(entry::Witness::decode(&bytes)),
        11 => drop(footer::PackHeader::decode(&bytes)),
        12 => drop(footer::Trailer::decode(&bytes, offset)),
        13 => drop(parity::ParityHeader::decode(&bytes)),
        14 => drop(parity::ParityTrailer::decode(&bytes, offset)),
        15 => drop(Keys::decode_slot(path, &bytes)),
        16 => drop(recipe::Recipe::decode(&bytes)),
        17 => drop(text::Marker::decode(path, &bytes)),
        _ => drop(text::DiskList::decode(path, &bytes)),
    }
}

/// What is typed: sizes, spans, ranges, names, paths inside a snapshot, patterns. An error or a value that makes sense.
pub fn words(bytes: &[u8]) {
    let Some((kind, bytes)) = input::<(u8, Vec<u8>)>(bytes) else { return };
    let text = String::from_utf8_lossy(&bytes);
    match kind % 8 {
        0 => assert!(args::size(&text).is_ok_and(|n| n > 0) || args::size(&text).is_err()),
        1 => drop(args::span(&text)),
        2 => assert!(args::range(&text).map_or(true, |(first, last)| first <= last)),
        3 => assert!(args::snapshot_name(&text).map_or(true, |name| !name.contains(':') && !name.is_empty())),
        4 => {
            let inside = args::inside(&bytes);
            assert!(inside.first() == Some(&b'/') && args::inside(&inside) == inside, "it is not settled");
        }
        5 => drop(clock::span(&text)),
        6 => drop(clock::duration_ns(&text)),
        _ => {
            // A pattern, and a path to hold against it.
            let (pattern, path) = text.split_once('\n').unwrap_or((&text, "/some/where/a.flac"));
            let found = find::fits(pattern, kind & 8 == 8, path.as_bytes());
            let left_out = backup::is_excluded(&[pattern.to_owned()], Path::new(OsStr::from_bytes(path.as_bytes())));
            assert!(
                pattern.is_empty() || found.is_ok() == left_out.is_ok(),
                "one takes the pattern, one does not: {pattern:?} {path:?} {found:?} {left_out:?}"
            );
        }
    }
}

/// Every way back of a mapped segment, with parameters and parts as a recipe may hold them.
pub fn inverses(bytes: &[u8]) {
    let Some((number, version, parts, parameters, bytes)) = input::<(u8, u8, Vec<Vec<u8>>, Vec<u8>, u16)>(bytes) else {
        return;
    };
    let ways = media::WAYS_BACK;
    let mut how = ways[usize::from(number) % ways.len()];
    if version >= 250 {
        how = SplitterId { number: u16::from(number), version };
    }
    let parts: Vec<&[u8]> = parts.iter().take(16).map(Vec::as_slice).collect();
    if let Ok(back) = media::inverse(how, &parameters, &parts, usize::from(bytes)) {
        assert_eq!(back.len(), usize::from(bytes));
    }
}

/// Payloads of every codec, as a disk may hold them: an error, or as many bytes as were asked for.
pub fn payloads(bytes: &[u8]) {
    let Some((number, version, plain_bytes, bases, payload)) = input::<(u8, u8, u32, Vec<Vec<u8>>, Vec<u8>)>(bytes)
    else {
        return;
    };
    let codec = Codec { number: u16::from(number % 8), version: if version < 250 { 1 } else { version } };
    let plain_bytes = plain_bytes % (1 << 17);
    let bases: Vec<&[u8]> = bases.iter().take(4).map(Vec::as_slice).collect();
    let mut out = vec![7];
    match Unsqueezer::default().open(codec, &[], &payload, plain_bytes, &bases, &mut out) {
        Ok(()) => assert_eq!(out.len(), 1 + plain_bytes as usize),
        Err(_) => assert_eq!(out, [7]),
    }
}

/// Any bytes as a chunk of any form, in both tiers: what was squeezed comes back. A JPEG file comes in several chunks.
pub fn codecs(bytes: &[u8]) {
    let Some((kind, a, b, row, dense, plain)) = input::<(u8, u8, u8, u16, bool, Vec<u8>)>(bytes) else { return };
    let samples = Packing::Samples { bytes: a % 2 + 1, channels: b % 4 + 1, big_endian: b > 127 };
    let packed = Packing::Yuv422 { bytes: a % 2 + 1, luma_first: b & 1 == 0, big_endian: b > 127 };
    let raster = |packing| Form::Raster(Raster { packing, row_bytes: u32::from(row) });
    let form = match kind % 6 {
        0 if row & 1 == 1 => Form::Jpeg,
        0 => Form::Bytes,
        1 => Form::Pcm(Pcm { sample_bytes: a % 4 + 1, channels: b % 32 + 1, coded: row & 1 == 1 }),
        2 => raster(Packing::V210),
        3 => raster(Packing::Rgb10 { big_endian: b > 127 }),
        4 => raster(packed),
        _ => raster(samples),
    };
    let tier = if dense { Tier::Dense } else { Tier::Fast };
    let mut walker = Walker::default();
    let pieces = if form == Form::Jpeg { usize::from(row) } else { plain.len() };
    for piece in plain.chunks(pieces.max(1)) {
        let start = walker.follow(piece).filter(|_| form == Form::Jpeg);
        let (codec, parameters, payload) = match Squeezer::new(tier.into()).squeeze_within(piece, form, start.as_ref())
        {
            Payload::Raw => (Codec::RAW, Vec::new(), piece.to_vec()),
            Payload::Coded { codec, parameters, bytes } => (codec, parameters, bytes),
        };
        let mut out = Vec::new();
        Unsqueezer::default()
            .open(codec, &parameters, &payload, piece.len() as u32, &[], &mut out)
            .expect("its own payload");
        assert!(out == piece);
    }
}

/// What the splitter that takes these bytes makes of them in windows of about `step` bytes: the runs, those behind each other in a
/// stream as one, and the mapped segments.
pub fn split(bytes: &[u8], step: usize) -> Vec<(u8, u64, Option<Mapped>)> {
    let head = &bytes[..bytes.len().min(media::HINT_BYTES)];
    let mut splitter = media::open_with(Hints { head, tail: None }, Options { deflate: Deflate::Always });
    let (mut at, mut shown, mut out) = (0, 0, Vec::<(u8, u64, Option<Mapped>)>::new());
    while at < bytes.len() || shown == 0 {
        shown = (at.max(shown) + step).max(at + media::WINDOW_MIN).min(bytes.len());
        let mut parts = Vec::new();
        let last = shown == bytes.len();
        splitter.split(&bytes[at..shown], last, &mut parts);
        let used: u64 = parts.iter().map(Part::bytes).sum();
        assert!(used > 0 || bytes.is_empty() || at == bytes.len(), "nothing was consumed");
        for part in parts {
            let (from, to) = (at, at + part.bytes() as usize);
            assert!(to <= shown, "beyond the window");
            at = to;
            match part {
                Part::Run(run) => match out.last_mut() {
                    Some((stream, n, None)) if *stream == run.stream && !run.cut => *n += run.bytes,
                    _ => out.push((run.stream, run.bytes, None)),
                },
                Part::Mapped(mapped) => {
                    let parts: Vec<&[u8]> = mapped.parts.iter().map(|p| p.bytes.as_slice()).collect();
                    assert!(mapped.bytes <= limits::SEGMENT_BYTES);
                    assert!(mapped.parameters.len() <= limits::SEGMENT_PARAMETER_BYTES);
                    let back = media::inverse(mapped.how, &mapped.parameters, &parts, to - from);
                    assert!(back.is_ok_and(|back| back == bytes[from..to]), "it does not come back");
                    out.push((255, mapped.bytes, Some(mapped)));
                }
            }
        }
        if last {
            break;
        }
    }
    assert_eq!(at, bytes.len(), "all is covered");
    out
}

/// Any bytes through the splitter that takes them: covered once, in order, the same in any windows, and every mapped
/// segment comes back.
pub fn splitters(bytes: &[u8]) {
    let whole = split(bytes, bytes.len().max(1));
    assert!(split(bytes, 1 << 20) == whole, "it depends on the windows");
}
