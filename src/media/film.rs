//! A film for tests, and muxers that put it into containers.
//!
//! # Invariants
//!
//! Every muxer takes the same frames in the same order, so the streams of all containers must be the same.

use super::testing::noise;

/// A frame of the film: of video (0) or of sound (1).
#[derive(Clone, Debug)]
pub struct Frame {
    pub track: usize,
    pub key: bool,
    pub bytes: Vec<u8>,
}

/// What the film's video is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Video {
    Avc,
    Hevc,
    ProRes,
    /// Its units have no length.
    Mpeg2,
}

/// Bytes that no other frame has.
fn some(seed: usize, bytes: usize) -> Vec<u8> {
    let mut out = noise(bytes + 8);
    let mut state = seed as u64 * 2 + 1;
    for eight in out.chunks_mut(8) {
        state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
        eight.iter_mut().zip((state >> 3).to_le_bytes()).for_each(|(b, s)| *b = (*b ^ s) | 1);
    }
    out.truncate(bytes);
    out
}

/// A unit behind its length.
fn unit(head: &[u8], seed: usize, bytes: usize) -> Vec<u8> {
    let body = [head, &some(seed, bytes)].concat();
    [&(body.len() as u32).to_be_bytes()[..], &body].concat()
}

fn picture(video: Video, i: usize, bytes: usize) -> Frame {
    let key = i.is_multiple_of(12);
    let bytes = match (video, key) {
        (Video::Avc, true) => [unit(&[6, 5], i, 600), unit(&[0x65, 0x88], i, 3 * bytes)].concat(),
        (Video::Avc, false) if i.is_multiple_of(3) => {
            [unit(&[0x41, 0x9a], i, bytes), unit(&[0x41, 0x1a], i + 1, bytes)].concat()
        }
        (Video::Avc, false) => unit(&[0x01, 0x9e], i, bytes),
        (Video::Hevc, true) => [unit(&[0x4e, 1], i, 60), unit(&[0x28, 1, 0xaf], i, 3 * bytes)].concat(),
        (Video::Hevc, false) => unit(&[0x02, 1, 0xd0], i, bytes),
        (Video::Mpeg2, key) => [&[0, 0, 1, if key { 0xb3 } else { 0 }][..], &some(i, bytes)].concat(),
        (Video::ProRes, _) => {
            let mut frame = unit(b"icpf\0\x94\0\0apl0", i, bytes);
            let n = frame.len() as u32;
            frame[..4].copy_from_slice(&n.to_be_bytes());
            frame
        }
    };
    Frame { track: 0, key, bytes }
}

/// A film of so many pictures of about so many bytes, each with some sound.
pub fn film(video: Video, pictures: usize, bytes: usize) -> Vec<Frame> {
    let mut frames = Vec::new();
    for i in 0..pictures {
        frames.push(picture(video, i, bytes + i % 7 * 99));
        for j in 0..1 + i % 2 {
            let sound = [&[0x21][..], &some(1000 * i + j, 300 + i % 50)].concat();
            frames.push(Frame { track: 1, key: true, bytes: sound });
        }
    }
    frames
}

/// All of a track.
pub fn track(film: &[Frame], track: usize) -> Vec<u8> {
    film.iter().filter(|f| f.track == track).flat_map(|f| f.bytes.clone()).collect()
}

/// A box of ISO base media.
pub fn mp4_box(kind: &[u8], content: &[u8]) -> Vec<u8> {
    [&(content.len() as u32 + 8).to_be_bytes()[..], kind, content].concat()
}

pub fn full(kind: &[u8], flags: u32, content: &[u8]) -> Vec<u8> {
    mp4_box(kind, &[&flags.to_be_bytes()[..], content].concat())
}

pub fn numbers(all: impl IntoIterator<Item = u32>) -> Vec<u8> {
    all.into_iter().flat_map(u32::to_be_bytes).collect()
}

/// A track's `trak`, whose chunks are its frames.
pub fn trak(film: &[Frame], track: usize, entry: &[u8], at: &[u32]) -> Vec<u8> {
    let mine = || film.iter().zip(at).filter(|(f, _)| f.track == track);
    let n = mine().count() as u32;
    let handler = [&[0; 4][..], if track == 0 { b"vide" } else { b"soun" }, &[0; 13]].concat();
    let stbl = [
        full(b"stsd", 0, &[&numbers([1])[..], entry].concat()),
        full(b"stsc", 0, &numbers([1, 1, 1, 1])),
        full(b"stsz", 0, &[numbers([0, n]), numbers(mine().map(|(f, _)| f.bytes.len() as u32))].concat()),
        full(b"stco", 0, &[numbers([n]), numbers(mine().map(|(_, at)| *at))].concat()),
    ];
    let minf = mp4_box(b"minf", &mp4_box(b"stbl", &stbl.concat()));
    let mdia = mp4_box(b"mdia", &[full(b"hdlr", 0, &handler), minf].concat());
    let tkhd = full(b"tkhd", 0, &numbers([0, 0, track as u32 + 1, 0, 0]));
    mp4_box(b"trak", &[tkhd, mdia].concat())
}

/// The first sample entry of a video track.
pub fn video_entry(kind: &[u8], width: u16, inner: &[u8]) -> Vec<u8> {
    let mut entry = [0; 78];
    entry[24..26].copy_from_slice(&width.to_be_bytes());
    entry[74..76].copy_from_slice(&24_u16.to_be_bytes());
    mp4_box(kind, &[&entry[..], inner].concat())
}

/// The sample entry of the film's video.
pub fn picture_entry(video: Video) -> Vec<u8> {
    match video {
        Video::Avc => video_entry(b"avc1", 720, &mp4_box(b"avcC", &[1, 66, 0, 30, 0xff])),
        Video::Hevc => video_entry(b"hvc1", 720, &mp4_box(b"hvcC", &[0xff; 23])),
        Video::ProRes => video_entry(b"apcn", 720, &[]),
        Video::Mpeg2 => video_entry(b"xd5b", 720, &[]),
    }
}

fn entries(video: Video) -> [Vec<u8>; 2] {
    [picture_entry(video), mp4_box(b"mp4a", &[0; 28])]
}

/// Where the `moov` stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moov {
    First,
    Last,
}

/// A `udta` with a cover.
pub fn cover(bytes: usize) -> Vec<u8> {
    let data = mp4_box(b"data", &[&numbers([13, 0])[..], &noise(bytes)].concat());
    let ilst = mp4_box(b"ilst", &[mp4_box(b"covr", &data), mp4_box(b"\xa9nam", &[1; 30])].concat());
    mp4_box(b"udta", &full(b"meta", 0, &[full(b"hdlr", 0, &[0; 21]), ilst].concat()))
}

/// An MP4 file, whose chunks are its frames.
pub fn mp4(video: Video, film: &[Frame], moov: Moov, udta: &[u8]) -> Vec<u8> {
    mp4_of(&entries(video), film, moov, udta)
}

/// As [`mp4`], with these sample entries.
pub fn mp4_of([v, a]: &[Vec<u8>; 2], film: &[Frame], moov: Moov, udta: &[u8]) -> Vec<u8> {
    let ftyp = mp4_box(b"ftyp", b"isom\0\0\x02\0isomiso2");
    let data: Vec<u8> = film.iter().flat_map(|f| f.bytes.clone()).collect();
    let movie = |first: usize| {
        let mut at = first as u32;
        let mut place = |frame: &Frame| {
            at += frame.bytes.len() as u32;
            at - frame.bytes.len() as u32
        };
        let places: Vec<u32> = film.iter().map(&mut place).collect();
        let all = [full(b"mvhd", 0, &[0; 96]), trak(film, 0, v, &places), trak(film, 1, a, &places), udta.to_vec()];
        mp4_box(b"moov", &all.concat())
    };
    match moov {
        Moov::First => [ftyp.clone(), movie(ftyp.len() + movie(0).len() + 8), mp4_box(b"mdat", &data)].concat(),
        Moov::Last => [ftyp.clone(), mp4_box(b"mdat", &data), movie(ftyp.len() + 8)].concat(),
    }
}

/// An MP4 file in fragments of some frames.
pub fn fragments(video: Video, film: &[Frame], each: usize) -> Vec<u8> {
    fragments_of(&entries(video), film, each)
}

/// As [`fragments`], with these sample entries.
pub fn fragments_of([v, a]: &[Vec<u8>; 2], film: &[Frame], each: usize) -> Vec<u8> {
    let extends = mp4_box(b"mvex", &[1, 2].map(|id| full(b"trex", 0, &numbers([id, 1, 0, 0, 0]))).concat());
    let mut file = mp4_box(b"ftyp", b"iso5\0\0\x02\0iso5iso6");
    let traks = [trak(&[], 0, v, &[]), trak(&[], 1, a, &[])];
    file.extend(mp4_box(b"moov", &[full(b"mvhd", 0, &[0; 96]), traks.concat(), extends].concat()));
    for part in film.chunks(each) {
        let moof = |first: u32| {
            let mut at = first;
            let mut all = full(b"mfhd", 0, &[0; 4]);
            for id in [0, 1] {
                let sizes: Vec<u32> = part.iter().filter(|f| f.track == id).map(|f| f.bytes.len() as u32).collect();
                let run = numbers([sizes.len() as u32, at].into_iter().chain(sizes.iter().flat_map(|s| [1024, *s])));
                at += sizes.iter().sum::<u32>();
                let traf = [full(b"tfhd", 0x2_0000, &numbers([id as u32 + 1])), full(b"trun", 0x301, &run)].concat();
                all.extend(mp4_box(b"traf", &traf));
            }
            mp4_box(b"moof", &all)
        };
        file.extend(moof(moof(0).len() as u32 + 8));
        file.extend(mp4_box(b"mdat", &[track(part, 0), track(part, 1)].concat()));
    }
    file
}

/// An element of Matroska, with a size of eight bytes.
pub fn element(id: &[u8], content: &[u8]) -> Vec<u8> {
    [id, &(content.len() as u64 | 1 << 56).to_be_bytes(), content].concat()
}

/// A Matroska file; clusters have no size where they are live.
pub fn mkv(video: Video, film: &[Frame], live: bool, attached: &[u8]) -> Vec<u8> {
    mkv_of(video, (b"A_AAC", &element(&[0x63, 0xa2], &[0x12, 0x10])), film, live, attached)
}

/// As [`mkv`], with sound of this codec and these elements of its track.
pub fn mkv_of(video: Video, sound: (&[u8], &[u8]), film: &[Frame], live: bool, attached: &[u8]) -> Vec<u8> {
    let header = element(&[0x1a, 0x45, 0xdf, 0xa3], &element(&[0x42, 0x82], b"matroska"));
    let (codec, private): (&[u8], &[u8]) = match video {
        Video::Avc => (b"V_MPEG4/ISO/AVC", &[1, 66, 0, 30, 0xff]),
        Video::Hevc => (b"V_MPEGH/ISO/HEVC", &[0xff; 23]),
        Video::ProRes => (b"V_PRORES", b"apcn"),
        Video::Mpeg2 => (b"V_MPEG2", b""),
    };
    let entry = |n: u8, kind: u8, codec: &[u8], more: &[u8]| {
        let all = [element(&[0xd7], &[n]), element(&[0x83], &[kind]), element(&[0x86], codec)];
        element(&[0xae], &[&all.concat(), more].concat())
    };
    let tracks = [entry(1, 1, codec, &element(&[0x63, 0xa2], private)), entry(2, 2, sound.0, sound.1)].concat();
    let mut segment = element(&[0x16, 0x54, 0xae, 0x6b], &tracks);
    if !attached.is_empty() {
        let file =
            element(&[0x61, 0xa7], &[element(&[0x46, 0x6e], b"cover.png"), element(&[0x46, 0x5c], attached)].concat());
        segment.extend(element(&[0x19, 0x41, 0xa4, 0x69], &file));
    }
    for (i, frames) in film.chunks(25).enumerate() {
        let mut cluster = element(&[0xe7], &(i as u16).to_be_bytes());
        for (j, frame) in frames.iter().enumerate() {
            let head = [0x81 + frame.track as u8, 0, j as u8];
            if j % 5 == 4 {
                let block = element(&[0xa1], &[&head[..], &[0], &frame.bytes].concat());
                cluster.extend(element(&[0xa0], &[block, element(&[0x9b], &[40])].concat()));
            } else {
                let block = [&head[..], &[if frame.key { 0x80 } else { 0 }], &frame.bytes].concat();
                cluster.extend(element(&[0xa3], &block));
            }
        }
        if live {
            segment.extend([&[0x1f, 0x43, 0xb6, 0x75, 0xff][..], &cluster].concat());
        } else {
            segment.extend(element(&[0x1f, 0x43, 0xb6, 0x75], &cluster));
        }
    }
    let size: &[u8] = if live { &[1, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff] } else { &[] };
    if live {
        [header, [&[0x18, 0x53, 0x80, 0x67][..], size, &segment].concat()].concat()
    } else {
        [header, element(&[0x18, 0x53, 0x80, 0x67], &segment)].concat()
    }
}

/// A chunk of RIFF.
fn riff(name: &[u8], content: &[u8]) -> Vec<u8> {
    let fill = vec![0; content.len() % 2];
    [name, &(content.len() as u32).to_le_bytes(), content, &fill].concat()
}

/// An AVI file whose sound is PCM of 16 bits and two channels, if that is asked for.
pub fn avi(film: &[Frame], pcm: bool) -> Vec<u8> {
    avi_of(film, [u8::from(pcm), 16])
}

/// As [`avi`], with sound of two channels in this format of so many bits.
pub fn avi_of(film: &[Frame], [tag, bits]: [u8; 2]) -> Vec<u8> {
    let list = |kind: &[u8], content: &[u8]| riff(b"LIST", &[kind, content].concat());
    let mut picture = vec![0; 40];
    picture[16..20].copy_from_slice(b"H264");
    let sound = [[tag, 0, 2, 0].as_slice(), &[0; 10], &[bits, 0]].concat();
    let track = |kind: &[u8], format: &[u8]| {
        list(b"strl", &[riff(b"strh", &[kind, &[0; 52]].concat()), riff(b"strf", format)].concat())
    };
    let hdrl = list(b"hdrl", &[riff(b"avih", &[0; 56]), track(b"vids", &picture), track(b"auds", &sound)].concat());
    let mut movi = Vec::new();
    for (i, frames) in film.chunks(30).enumerate() {
        let mut chunks = Vec::new();
        for frame in frames {
            chunks.extend(riff(if frame.track == 0 { b"00dc" } else { b"01wb" }, &frame.bytes));
        }
        movi.extend(if i % 2 == 0 { chunks } else { list(b"rec ", &chunks) });
    }
    let index = riff(b"idx1", &noise(16 * film.len()));
    riff(b"RIFF", &[&b"AVI "[..], &hdrl, &riff(b"JUNK", &[0; 301]), &list(b"movi", &movi), &index].concat())
}

/// An FLV file of H.264 and AAC, or of HEVC with its four-character code.
pub fn flv(video: Video, film: &[Frame]) -> Vec<u8> {
    let mut file = b"FLV\x01\x05\0\0\0\x09\0\0\0\0".to_vec();
    let mut tag = |kind: u8, body: &[u8]| {
        let size = (body.len() as u32).to_be_bytes();
        file.extend([&[kind][..], &size[1..], &[0, 0, 7, 0, 0, 0, 0], body].concat());
        file.extend((body.len() as u32 + 11).to_be_bytes());
    };
    tag(18, &noise(200));
    match video {
        Video::Hevc => tag(9, &[&b"\x90hvc1"[..], &[0xff; 23]].concat()),
        _ => tag(9, &[0x17, 0, 0, 0, 0, 1, 66, 0, 30, 0xff]),
    }
    tag(8, &[0xaf, 0, 0x12, 0x10]);
    for frame in film {
        let front: &[u8] = match (frame.track, video) {
            (0, Video::Hevc) => b"\xa1hvc1\0\0\0",
            (0, _) => &[0x27, 1, 0, 0, 80],
            _ => &[0xaf, 1],
        };
        tag(if frame.track == 0 { 9 } else { 8 }, &[front, &frame.bytes].concat());
    }
    file
}

/// A key, a length and a value of MXF.
fn klv(key: &[u8], value: &[u8]) -> Vec<u8> {
    let key = [&[6, 0x0e, 0x2b, 0x34][..], key].concat();
    assert_eq!(key.len(), 16);
    [&key[..], &[0x83], &(value.len() as u32).to_be_bytes()[1..], value].concat()
}

/// An MXF file, a frame an element, with fill.
pub fn mxf(film: &[Frame], pcm: bool) -> Vec<u8> {
    mxf_of(film, if pcm { Some(16) } else { None })
}

/// As [`mxf`], with PCM of so many bits in two channels.
pub fn mxf_of(film: &[Frame], pcm: Option<u8>) -> Vec<u8> {
    let fill = |n| klv(&[1, 1, 1, 2, 3, 1, 2, 0x10, 1, 0, 0, 0], &vec![0; n]);
    let set = |kind| [2, 0x53, 1, 1, 0x0d, 1, 1, 1, 1, 1, kind, 0];
    let mut file = klv(&[2, 5, 1, 1, 0x0d, 1, 2, 1, 1, 2, 4, 0], &[0; 88]);
    if let Some(bits) = pcm {
        file.extend(klv(&set(0x48), &[0x3c, 1, 0, 2, 9, 9, 0x3d, 1, 0, 4, 0, 0, 0, bits, 0x3d, 7, 0, 4, 0, 0, 0, 2]));
    }
    for frame in film {
        let (item, element) = if frame.track == 0 { (0x15, 5) } else { (0x16, 1) };
        file.extend(klv(&[1, 2, 1, 1, 0x0d, 1, 3, 1, item, 1, element, 0], &frame.bytes));
        file.extend(fill(40));
    }
    file.extend(klv(&[2, 5, 1, 1, 0x0d, 1, 2, 1, 1, 4, 4, 0], &[0; 88]));
    file
}

/// The film's sound alone, as AAC in ADTS.
pub fn adts(film: &[Frame]) -> Vec<u8> {
    let mut file = super::testing::id3v2(4, 63);
    for frame in film.iter().filter(|f| f.track == 1) {
        let n = frame.bytes.len() as u32 + 7;
        file.extend([0xff, 0xf1, 0x4c, 0x80 | (n >> 11) as u8, (n >> 3) as u8, (n << 5) as u8 | 0x1f, 0xfc]);
        file.extend(&frame.bytes);
    }
    file.extend(super::testing::id3v1("a film"));
    file
}
