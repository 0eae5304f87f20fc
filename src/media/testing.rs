//! What the tests of splitters share: files made to measure, and a reader that checks every promise of
//! [`Splitter::split`] while it collects the runs.

use super::mp3::FrameHeader;
use super::{HINT_BYTES, Hints, Part, Run, Splitter, StreamNumber, WINDOW_MIN, inverse};
use crate::chunk::Form;
use crate::format::limits;
use proptest::prelude::*;
use proptest::sample::Index;
use std::collections::BTreeMap;

/// Splits `bytes` and joins the runs; see [`collect_counting`].
pub fn collect(splitter: Box<dyn Splitter>, bytes: &[u8], windows: &[usize]) -> Vec<Run> {
    collect_counting(splitter, bytes, windows).0
}

/// As [`collect_parts`], for a splitter that maps nothing.
///
/// # Panics
/// Where a promise is broken.
pub fn collect_counting(
    splitter: Box<dyn Splitter>,
    bytes: &[u8],
    windows: &[usize],
) -> (Vec<Run>, Option<&'static str>) {
    let (parts, doubt) = collect_parts(splitter, bytes, windows);
    let run = |part| match part {
        Part::Run(run) => run,
        Part::Mapped(_) => panic!("a mapped segment"),
    };
    (parts.into_iter().map(run).collect(), doubt)
}

/// Splits `bytes` and joins the runs that follow each other without a cut; also tells the doubt. Mapped segments
/// are turned back and compared.
///
/// `windows` are taken in turn, as bytes beyond [`WINDOW_MIN`]; none is one window for the whole file.
/// After an odd one the end of the file is not known yet when it is reached.
///
/// # Panics
/// Where a promise is broken.
pub fn collect_parts(
    mut splitter: Box<dyn Splitter>,
    bytes: &[u8],
    windows: &[usize],
) -> (Vec<Part>, Option<&'static str>) {
    let (mut at, mut joined) = (0, Vec::<Part>::new());
    let mut sizes = windows.iter().cycle();
    let mut forms: BTreeMap<StreamNumber, Form> = BTreeMap::new();
    loop {
        let extra = sizes.next();
        let size = extra.map_or(usize::MAX, |e| WINDOW_MIN + e).min(bytes.len() - at);
        let unaware = size >= WINDOW_MIN && extra.is_some_and(|e| e % 2 == 1);
        let last = at + size == bytes.len() && !unaware;
        let before = Part::Run(Run { stream: 77, bytes: 77, cut: true, form: Form::Bytes });
        let mut parts = vec![before.clone()];
        splitter.split(&bytes[at..at + size], last, &mut parts);
        assert_eq!(parts.remove(0), before, "the caller's runs stay as they are");
        let used = parts.iter().map(|r| r.bytes()).sum::<u64>() as usize;
        assert!(used <= size, "beyond the window");
        assert!(used > 0 || size == 0, "no progress");
        assert!(used == size || !last, "bytes left over");
        let mut from = at;
        at += used;
        for part in parts {
            assert!(part.bytes() > 0, "an empty part");
            let file = &bytes[from..from + part.bytes() as usize];
            from += file.len();
            match (joined.last_mut(), part) {
                (Some(Part::Run(end)), Part::Run(run)) if !run.cut => {
                    assert_eq!((end.stream, end.form), (run.stream, run.form), "a stream changed without a cut");
                    end.bytes += run.bytes;
                }
                (_, Part::Run(run)) => {
                    assert!(run.cut, "the first run, or one behind a mapped segment, has no border");
                    forms.remove(&run.stream);
                    joined.push(Part::Run(run));
                }
                (_, Part::Mapped(mapped)) => {
                    assert!(mapped.bytes <= limits::SEGMENT_BYTES);
                    assert!(mapped.parameters.len() <= limits::SEGMENT_PARAMETER_BYTES);
                    assert!(
                        mapped.parts.iter().map(|p| p.bytes.len() as u64).sum::<u64>() <= 4 * limits::SEGMENT_BYTES
                    );
                    for part in &mapped.parts {
                        let same = forms.insert(part.stream, part.form) == Some(part.form);
                        assert!(same || part.cut, "a stream begins, or changes its form, without a cut");
                    }
                    let streams: Vec<&[u8]> = mapped.parts.iter().map(|p| &p.bytes[..]).collect();
                    let back = inverse(mapped.how, &mapped.parameters, &streams, file.len()).expect("a way back");
                    assert!(back == file, "a mapped segment does not come back");
                    joined.push(Part::Mapped(mapped));
                }
            }
        }
        if last {
            assert_eq!(at, bytes.len());
            return (joined, splitter.doubt());
        }
    }
}

/// What each stream of a file holds.
pub fn streams(bytes: &[u8], parts: &[Part]) -> BTreeMap<StreamNumber, Vec<u8>> {
    let (mut at, mut streams) = (0, BTreeMap::<StreamNumber, Vec<u8>>::new());
    for part in parts {
        let file = &bytes[at..at + part.bytes() as usize];
        at += file.len();
        match part {
            Part::Run(run) => streams.entry(run.stream).or_default().extend_from_slice(file),
            Part::Mapped(mapped) => {
                for part in &mapped.parts {
                    streams.entry(part.stream).or_default().extend_from_slice(&part.bytes);
                }
            }
        }
    }
    streams
}

/// Hints of a file of these bytes.
pub fn head(bytes: &[u8]) -> Hints<'_> {
    let tail = &bytes[bytes.len().saturating_sub(HINT_BYTES)..];
    Hints { tail: Some((bytes.len() as u64, tail)), ..without_tail(bytes) }
}

/// Hints of a pipe of these bytes.
pub fn without_tail(bytes: &[u8]) -> Hints<'_> {
    Hints { head: &bytes[..bytes.len().min(HINT_BYTES)], tail: None }
}

/// What no writer does to a file: bytes changed (those that are marked in its front), noise put in, the end cut off.
#[derive(Clone, Debug)]
pub struct Harm {
    changed: Vec<(Index, bool, u8)>,
    put_in: Option<(Index, usize)>,
    cut_short: Option<Index>,
}

impl Harm {
    pub fn to(&self, bytes: &mut Vec<u8>) {
        if bytes.is_empty() {
            return;
        }
        for (at, front, value) in &self.changed {
            let at = at.index(bytes.len());
            let at = if *front { at % 800 % bytes.len() } else { at };
            bytes[at] = *value;
        }
        if let Some((at, n)) = &self.put_in {
            let at = at.index(bytes.len());
            bytes.splice(at..at, noise(*n));
        }
        if let Some(at) = &self.cut_short {
            bytes.truncate(at.index(bytes.len()));
        }
    }
}

/// Any harm.
pub fn harm() -> impl Strategy<Value = Harm> {
    let changed = prop::collection::vec((any::<Index>(), any::<bool>(), any::<u8>()), 0..12);
    let put_in = prop::option::of((any::<Index>(), 0..200_000_usize));
    (changed, put_in, prop::option::of(any::<Index>())).prop_map(|(changed, put_in, cut_short)| Harm {
        changed,
        put_in,
        cut_short,
    })
}

/// By how many bytes windows grow: any few steps, which are then taken again.
pub fn windows() -> impl Strategy<Value = Vec<usize>> {
    prop::collection::vec(prop_oneof![0..64_usize, 0..1_000_000_usize], 1..6)
}

/// That the parts of a file do not depend on the windows. Covering and the way back are checked in [`collect_parts`].
pub fn alike_in_windows(bytes: &[u8], windows: &[usize]) -> Result<(), TestCaseError> {
    let (whole, doubt) = collect_parts(super::open(head(bytes)), bytes, &[]);
    let (parts, again) = collect_parts(super::open(without_tail(bytes)), bytes, windows);
    prop_assert!(whole == parts);
    prop_assert_eq!(doubt, again);
    Ok(())
}

/// Reads a file of `tests/media`.
pub fn real(path: &str) -> Vec<u8> {
    std::fs::read(format!("{}/tests/media/{path}", env!("CARGO_MANIFEST_DIR"))).expect(path)
}

/// A real recording as WAV, as FLAC, and that in other containers.
pub fn one_recording() -> [(&'static str, Vec<u8>); 5] {
    let (flac, front) = super::flac::tests::a_real_file();
    let (samples, _) = super::flac::tests::native(&flac);
    let n = samples.len() as u32;
    let mut wav = [&b"RIFF"[..], &(n + 36).to_le_bytes(), b"WAVEfmt \x10\0\0\0\x01\0\x02\0"].concat();
    wav.extend([44_100_u32.to_le_bytes(), 176_400_u32.to_le_bytes(), [4, 0, 16, 0]].concat());
    wav.extend([&b"data"[..], &n.to_le_bytes(), &samples].concat());
    let [ogg, mka, mp4] = [super::ogg::tests::remux, super::matroska::tests::remux, super::isobmff::tests::remux]
        .map(|f| f(&flac, front));
    [("wav", wav), ("flac", flac), ("oga", ogg), ("mka", mka), ("mp4", mp4)]
}

/// A file with a recording as its sound.
pub struct FilmFile {
    pub name: String,
    pub file: Vec<u8>,
    pub picture_bytes: u64,
}

/// A real recording as WAV, and films whose sound it is. Their pictures are the same.
pub fn films_of_one_recording() -> (Vec<u8>, Vec<FilmFile>) {
    let wav = real("Rutger Muller/Piano/01 Piano.wav");
    let films = super::containers::sound::films(&wav);
    (wav, films)
}

/// `bytes` bytes that look like coded sound: no zeros at the start, no pattern.
pub fn noise(bytes: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    };
    (0..bytes).map(|_| next() | 1).collect()
}

/// A FLAC file: STREAMINFO, `blocks` of (type, bytes), frames of `sound` bytes, perhaps APE and ID3v1.
pub fn flac_file(sound: usize, blocks: &[(u8, usize)], tail: bool) -> Vec<u8> {
    let mut file = b"fLaC".to_vec();
    let all = [(0, 34)].iter().chain(blocks).copied().enumerate().collect::<Vec<_>>();
    for (i, (kind, bytes)) in all.iter().copied() {
        file.push(kind | if i + 1 == all.len() { 0x80 } else { 0 });
        file.extend_from_slice(&(bytes as u32).to_be_bytes()[1..]);
        file.extend(noise(bytes));
    }
    file.extend(flac_frames(sound));
    if tail {
        file.extend(ape(2000, 90_000));
        file.extend(id3v1("a title"));
    }
    file
}

/// Something that starts like a FLAC frame.
pub fn flac_frames(bytes: usize) -> Vec<u8> {
    let mut frames = noise(bytes);
    frames.splice(..bytes.min(2), [0xff, 0xf8].into_iter().take(bytes));
    frames
}

/// An MP3 file: perhaps an ID3v2 tag of `tag` bytes, frames of about `sound` bytes, perhaps APE and ID3v1.
pub fn mp3_file(sound: usize, tag: Option<usize>, tail: bool) -> Vec<u8> {
    let mut file = tag.map_or_else(Vec::new, |n| id3v2(3, n));
    file.extend(mp3_frames(sound));
    if tail {
        file.extend(ape(2000, 90_000));
        file.extend(id3v1("a title"));
    }
    file
}

/// MPEG 1 layer III at 128 kbit/s and 44.1 kHz, 3 frames at least, `bytes` bytes if that is more.
pub fn mp3_frames(bytes: usize) -> Vec<u8> {
    let header = [0xff, 0xfb, 0x90, 0x64];
    let frame = FrameHeader::read(&header).expect("a header").bytes;
    let mut frames = noise((bytes / frame).max(3) * frame);
    frames.chunks_mut(frame).for_each(|f| f[..4].copy_from_slice(&header));
    frames
}

/// ID3v2 with `bytes` bytes behind its header.
pub fn id3v2(major: u8, bytes: usize) -> Vec<u8> {
    let mut tag = vec![b'I', b'D', b'3', major, 0, 0];
    tag.extend([21, 14, 7, 0].map(|shift| (bytes >> shift) as u8 & 0x7f));
    tag.extend(noise(bytes));
    tag
}

/// ID3v1, 128 bytes.
pub fn id3v1(title: &str) -> Vec<u8> {
    let mut tag = format!("TAG{title}").into_bytes();
    tag.resize(128, 0);
    tag
}

/// An APE tag with `bytes` bytes of items: version 1000 without, version 2000 with a header.
pub fn ape(version: u32, bytes: usize) -> Vec<u8> {
    let end = |flags: u32| {
        let mut end = b"APETAGEX".to_vec();
        end.extend([version, bytes as u32 + 32, 1, flags].map(u32::to_le_bytes).concat());
        end.extend([0; 8]);
        end
    };
    let (header, footer) = if version == 2000 { (end(0xa000_0000), end(0x8000_0000)) } else { (Vec::new(), end(0)) };
    [header, noise(bytes), footer].concat()
}

/// Lyrics3v2 with `bytes` bytes of fields.
pub fn lyrics3v2(bytes: usize) -> Vec<u8> {
    [b"LYRICSBEGIN".to_vec(), vec![b'l'; bytes], format!("{:06}LYRICS200", bytes + 11).into_bytes()].concat()
}
