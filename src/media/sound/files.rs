//! Files of sound made in memory: each format around any samples.

use super::super::testing::{id3v2, noise};
use super::super::words::Kind;

pub const fn word(bytes: u8, big_endian: bool, kind: Kind) -> (u8, bool, Kind) {
    (bytes, big_endian, kind)
}

pub type How = (u8, bool, Kind);

/// Samples of so many bits as words of a file.
pub fn words(samples: &[i32], bits: u32, how: How) -> Vec<u8> {
    let (bytes, big_endian, kind) = how;
    let mut out = Vec::new();
    for &n in samples {
        let mut word = match (kind, bytes) {
            (Kind::Float, 4) => (n as f32 / (1_u32 << (bits - 1)) as f32).to_bits().to_le_bytes().to_vec(),
            (Kind::Float, _) => (f64::from(n) / f64::from(1_u32 << (bits - 1))).to_bits().to_le_bytes().to_vec(),
            _ => {
                let n = (i64::from(n) << (8 * u32::from(bytes) - bits)).cast_unsigned();
                let flip = if kind == Kind::Unsigned { 0x80_u64 << (8 * (bytes - 1)) } else { 0 };
                (n ^ flip).to_le_bytes()[..usize::from(bytes)].to_vec()
            }
        };
        if big_endian {
            word.reverse();
        }
        out.extend(word);
    }
    out
}

/// Sound of 16 bits, with silence at its start.
pub fn tune(frames: usize, channels: usize) -> Vec<i32> {
    let mut phase = 0_i32;
    noise(frames * channels)
        .chunks(channels)
        .enumerate()
        .flat_map(|(i, frame)| {
            phase = (phase + 311) % 40_000;
            let loud = if i < 500 { 0 } else { phase.abs_diff(20_000) as i32 - 10_000 };
            frame.iter().map(move |&b| if i < 500 { 0 } else { loud + i32::from(b) }).collect::<Vec<_>>()
        })
        .collect()
}

pub fn le32(n: usize) -> [u8; 4] {
    (n as u32).to_le_bytes()
}

pub fn be32(n: usize) -> [u8; 4] {
    (n as u32).to_be_bytes()
}

/// A chunk, padded.
pub fn chunk(id: &[u8; 4], body: &[u8], big_endian: bool) -> Vec<u8> {
    let size = if big_endian { be32(body.len()) } else { le32(body.len()) };
    let pad = vec![0; body.len() % 2];
    [&id[..], &size, body, &pad].concat()
}

pub const SUFFIX: [u8; 14] = [0, 0, 0, 0, 0x10, 0, 0x80, 0, 0, 0xaa, 0, 0x38, 0x9b, 0x71];

/// The body of a `fmt ` chunk, perhaps extensible.
pub fn fmt(tag: u16, channels: usize, bytes: u8, extensible: bool, big_endian: bool) -> Vec<u8> {
    let short = |n: u16| if big_endian { n.to_be_bytes() } else { n.to_le_bytes() };
    let frame = channels as u16 * u16::from(bytes);
    let long = |n: u32| if big_endian { n.to_be_bytes() } else { n.to_le_bytes() };
    let mut out = [short(if extensible { 0xfffe } else { tag }), short(channels as u16)].concat();
    out.extend([long(44_100), long(44_100 * u32::from(frame))].concat());
    out.extend([short(frame), short(u16::from(bytes) * 8)].concat());
    if extensible {
        out.extend([short(22), short(u16::from(bytes) * 8)].concat());
        out.extend(long(3));
        if big_endian {
            out.extend([0, 0, 0, tag as u8, 0, 0, 0, 0x10]);
            out.extend(&SUFFIX[6..]);
        } else {
            out.extend(short(tag));
            out.extend(SUFFIX);
        }
    }
    out
}

pub fn tag_of(how: How) -> u16 {
    if how.2 == Kind::Float { 3 } else { 1 }
}

/// RIFF or RIFX, with chunks on both sides.
pub fn wav(data: &[u8], channels: usize, how: How, extensible: bool) -> Vec<u8> {
    let big = how.1;
    let mut body = b"WAVE".to_vec();
    body.extend(chunk(b"JUNK", &[7; 27], big));
    body.extend(chunk(b"fmt ", &fmt(tag_of(how), channels, how.0, extensible, big), big));
    body.extend(chunk(b"bext", &noise(602), big));
    body.extend(chunk(b"data", data, big));
    body.extend(chunk(b"LIST", b"INFOINAM\x05\0\0\0title\0", big));
    let size = if big { be32(body.len()) } else { le32(body.len()) };
    [if big { b"RIFX" } else { b"RIFF" }, &size[..], &body].concat()
}

/// A WAV that ends with its samples and says nothing of their size.
pub fn wav_of_pipe(data: &[u8], channels: usize, how: How, sizes: [u32; 2]) -> Vec<u8> {
    let mut out = [b"RIFF", &sizes[0].to_le_bytes()[..], b"WAVE"].concat();
    out.extend(chunk(b"fmt ", &fmt(tag_of(how), channels, how.0, false, false), false));
    out.extend([b"data", &sizes[1].to_le_bytes()[..], data].concat());
    out
}

pub fn rf64(data: &[u8], channels: usize, how: How, id: &[u8; 4]) -> Vec<u8> {
    let mut out = [id, &[0xff; 4][..], b"WAVE"].concat();
    let ds64 = [1 << 40, data.len() as u64, 5].map(u64::to_le_bytes).concat();
    out.extend(chunk(b"ds64", &[&ds64[..], &[0; 4]].concat(), false));
    out.extend(chunk(b"fmt ", &fmt(tag_of(how), channels, how.0, true, false), false));
    out.extend([b"data", &[0xff; 4][..], data].concat());
    out.extend(vec![0; data.len() % 2]);
    out.extend(chunk(b"LIST", &[1; 200], false));
    out
}

pub fn w64(data: &[u8], channels: usize, how: How) -> Vec<u8> {
    let guid = |id: &[u8; 4]| [&id[..], b"\xf3\xac\xd3\x11\x8c\xd1\0\xc0\x4f\x8e\xdb\x8a"].concat();
    let long = |id: &[u8; 4], body: &[u8]| {
        let size = (body.len() as u64 + 24).to_le_bytes();
        [guid(id), size.to_vec(), body.to_vec(), vec![0; body.len().next_multiple_of(8) - body.len()]].concat()
    };
    let mut out = b"riff\x2e\x91\xcf\x11\xa5\xd6\x28\xdb\x04\xc1\0\0".to_vec();
    out.extend([9; 8]);
    out.extend(guid(b"wave"));
    out.extend(long(b"junk", &[5; 77]));
    out.extend(long(b"fmt ", &fmt(tag_of(how), channels, how.0, false, false)));
    out.extend(long(b"data", data));
    out.extend(long(b"list", &[3; 50]));
    out
}

/// AIFF without a compression type, else AIFC.
pub fn aiff(data: &[u8], channels: usize, bits: u16, compression: Option<&[u8; 4]>) -> Vec<u8> {
    let mut body = if compression.is_some() { b"AIFC" } else { b"AIFF" }.to_vec();
    let mut comm = [(channels as u16).to_be_bytes(), [0; 2], [1, 2], bits.to_be_bytes()].concat();
    comm.extend([0x40, 0x0e, 0xac, 0x44, 0, 0, 0, 0, 0, 0]);
    if let Some(kind) = compression {
        comm.extend(kind);
        comm.extend(b"\x05a kin");
    }
    body.extend(chunk(b"NAME", b"odd", true));
    body.extend(chunk(b"COMM", &comm, true));
    let offset = [0, 0, 0, 6, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6];
    body.extend(chunk(b"SSND", &[&offset[..], data].concat(), true));
    body.extend(chunk(b"ID3 ", &id3v2(4, 301), true));
    [b"FORM", &be32(body.len())[..], &body].concat()
}

pub fn caf(data: &[u8], channels: usize, how: How, known: bool) -> Vec<u8> {
    let chunk = |id: &[u8; 4], size: i64, body: &[u8]| [&id[..], &size.to_be_bytes(), body].concat();
    let flags = u32::from(how.2 == Kind::Float) | if how.1 { 0 } else { 2 };
    let desc = [
        &44_100_f64.to_be_bytes()[..],
        b"lpcm",
        &flags.to_be_bytes(),
        &be32(channels * usize::from(how.0)),
        &be32(1),
        &be32(channels),
        &be32(8 * usize::from(how.0)),
    ]
    .concat();
    let mut out = b"caff\0\x01\0\0".to_vec();
    out.extend(chunk(b"desc", 32, &desc));
    out.extend(chunk(b"free", 333, &[0; 333]));
    let size = if known { data.len() as i64 + 4 } else { -1 };
    out.extend(chunk(b"data", size, &[&[0; 4], data].concat()));
    if known {
        out.extend(chunk(b"info", 30, &[9; 30]));
    }
    out
}

pub fn au(data: &[u8], channels: usize, how: How) -> Vec<u8> {
    let encoding = match how {
        (bytes, _, Kind::Signed) => usize::from(bytes) + 1,
        (bytes, ..) => usize::from(bytes) / 4 + 5,
    };
    let fields = [32, data.len(), encoding, 44_100, channels];
    let number = |n: usize| if how.1 { be32(n) } else { le32(n) };
    let magic = if how.1 { b".snd" } else { b"dns." };
    [&magic[..], &fields.map(number).concat(), b"a remark", data].concat()
}

/// The same samples in every format that can hold them so wide.
pub fn everywhere(samples: &[i32], bits: u32, channels: usize) -> Vec<(String, Vec<u8>)> {
    let mut files = Vec::new();
    for bytes in bits.div_ceil(8) as u8..=4 {
        for big in [false, true] {
            let how = word(bytes, big, Kind::Signed);
            let data = words(samples, bits, how);
            let bits = u16::from(bytes) * 8;
            files.push(("caf", how, caf(&data, channels, how, true)));
            files.push(("caf of a pipe", how, caf(&data, channels, how, false)));
            files.push(("au", how, au(&data, channels, how)));
            files.push(("wav", how, wav(&data, channels, how, false)));
            files.push(("wav, extensible", how, wav(&data, channels, how, true)));
            match (bytes, big) {
                (_, true) => {
                    files.push(("aiff", how, aiff(&data, channels, bits, None)));
                    files.push(("aifc, none", how, aiff(&data, channels, bits, Some(b"NONE"))));
                    files.push(("aifc, twos", how, aiff(&data, channels, bits, Some(b"twos"))));
                }
                (_, false) => {
                    files.push(("aifc, sowt", how, aiff(&data, channels, bits, Some(b"sowt"))));
                    files.push(("w64", how, w64(&data, channels, how)));
                    files.push(("rf64", how, rf64(&data, channels, how, b"RF64")));
                    files.push(("bw64", how, rf64(&data, channels, how, b"BW64")));
                    for sizes in [[0, 0], [u32::MAX; 2], [u32::MAX, 0], [0x7fff_f024, 0x7fff_f000]] {
                        files.push(("wav of a pipe", how, wav_of_pipe(&data, channels, how, sizes)));
                    }
                }
            }
            let named: Option<&[u8; 4]> = match (bytes, big) {
                (3, true) => Some(b"in24"),
                (3, false) => Some(b"42ni"),
                (4, true) => Some(b"in32"),
                (4, false) => Some(b"23ni"),
                _ => None,
            };
            files.extend(named.map(|kind| ("aifc, named", how, aiff(&data, channels, 16, Some(kind)))));
        }
        let how = word(bytes, true, Kind::Unsigned);
        let data = words(samples, bits, how);
        files.push(("aifc, raw", how, aiff(&data, channels, u16::from(bytes) * 8, Some(b"raw "))));
    }
    for bytes in [4, 8].into_iter().filter(|&b| b == 8 || bits <= 24) {
        for big in [false, true] {
            let how = word(bytes, big, Kind::Float);
            let data = words(samples, bits, how);
            files.push(("caf", how, caf(&data, channels, how, true)));
            files.push(("au", how, au(&data, channels, how)));
            files.push(("wav", how, wav(&data, channels, how, bytes == 4)));
            if big {
                let kind = if bytes == 4 { b"fl32" } else { b"FL64" };
                files.push(("aifc, float", how, aiff(&data, channels, 32, Some(kind))));
            } else {
                files.push(("w64", how, w64(&data, channels, how)));
            }
        }
    }
    files.into_iter().map(|(name, how, file)| (format!("{name} {how:?}"), file)).collect()
}
