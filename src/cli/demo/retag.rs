//! A second generation of a media file: other tags around the same essence.
//!
//! What a tag editor does to a library, for `onefold demo`: the wrapper grows and changes, every later byte
//! moves, the coded sound or picture stays. Owns the few edits that the demo shows. It is no tag editor:
//! whatever is unusual is left as it is.
//!
//! # Invariants
//!
//! 1. Total: any doubt returns the bytes unchanged.
//! 2. What comes out is a valid file of the same format whose essence is that of what went in.
//! 3. A pure function of the bytes and the generation.

use crate::media::flac::{BLOCK_HEADER, BlockHeader, MARKER};
use crate::media::mp3::{FRAMES_BARE, FRAMES_TAGGED, first_of_frames};
use crate::media::tags::{ID3V2_HEADER, id3v2_bytes, syncsafe};

/// Makes the next generation of a file: other tags, the same essence.
///
/// FLAC gets Vorbis comments, MP3 an ID3v2 title and comment, WAV a `LIST`/`INFO` chunk, PNG a `tEXt` chunk,
/// JPEG a `COM` segment. Everything else, and whatever is not as it should be, is returned unchanged. Twice
/// the same generation gives the same bytes; another gives others.
pub fn retag(bytes: &[u8], generation: u32) -> Vec<u8> {
    let edits = [flac, mp3, wav, png, jpeg];
    edits.iter().find_map(|edit| edit(bytes, generation)).unwrap_or_else(|| bytes.to_vec())
}

/// Longer from generation to generation, so that what stands behind moves each time.
fn comment(generation: u32) -> String {
    let again = " and again".repeat(usize::try_from(generation % 64).unwrap_or(0));
    format!("Generation {generation} of this file: tagged again{again}")
}

fn title(generation: u32) -> String {
    format!("A better title ({generation})")
}

/// Splits off the first `at` bytes; `None` where there are fewer.
fn split(bytes: &[u8], at: usize) -> Option<(&[u8], &[u8])> {
    bytes.split_at_checked(at)
}

/// A length that its field of 32 bits can hold.
fn len32(bytes: &[u8]) -> Option<u32> {
    u32::try_from(bytes.len()).ok()
}

/// Replaces TITLE and COMMENT in the Vorbis comments, or puts a block with them behind STREAMINFO.
fn flac(bytes: &[u8], generation: u32) -> Option<Vec<u8>> {
    const VORBIS_COMMENT: u8 = 4;
    const BLOCK_MAX: usize = (1 << 24) - 1;

    let mut out = Vec::with_capacity(bytes.len() + 256);
    let mut rest = bytes;
    while let Some(tag) = id3v2_bytes(rest) {
        let (tag, behind) = split(rest, usize::try_from(tag).ok()?)?;
        out.extend_from_slice(tag);
        rest = behind;
    }
    rest = rest.strip_prefix(MARKER)?;
    let (mut blocks, mut last) = (Vec::new(), false);
    while !last {
        let header = BlockHeader::read(rest)?;
        // A header was read, so it is there to be passed; the same holds below wherever `first_chunk` was.
        let (block, behind) = split(&rest[BLOCK_HEADER..], usize::try_from(header.bytes).ok()?)?;
        blocks.push((header.kind, std::borrow::Cow::Borrowed(block)));
        (last, rest) = (header.last, behind);
    }
    if blocks.first().is_none_or(|(kind, block)| *kind != 0 || block.len() != 34)
        || !matches!(rest, [0xff, 0xf8 | 0xf9, ..])
    {
        return None;
    }
    match blocks.iter_mut().find(|(kind, _)| *kind == VORBIS_COMMENT) {
        Some((_, block)) => *block = vorbis_comment(block, generation)?.into(),
        None => blocks.insert(1, (VORBIS_COMMENT, vorbis_comment(b"\x07\0\0\0onefold\0\0\0\0", generation)?.into())),
    }
    out.extend_from_slice(MARKER);
    let count = blocks.len();
    for (i, (kind, block)) in blocks.iter().enumerate() {
        let length = len32(block).filter(|_| block.len() <= BLOCK_MAX)?;
        out.push(kind | if i + 1 == count { 0x80 } else { 0 });
        out.extend_from_slice(&length.to_be_bytes()[1..]);
        out.extend_from_slice(block);
    }
    out.extend_from_slice(rest);
    Some(out)
}

/// Rewrites a block of Vorbis comments: lengths of 32 bits, little-endian, each before its text.
fn vorbis_comment(block: &[u8], generation: u32) -> Option<Vec<u8>> {
    fn text<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
        let bytes = number(rest)?;
        let (text, behind) = split(rest, usize::try_from(bytes).ok()?)?;
        *rest = behind;
        Some(text)
    }
    fn number(rest: &mut &[u8]) -> Option<u32> {
        let (number, behind) = rest.split_first_chunk()?;
        *rest = behind;
        Some(u32::from_le_bytes(*number))
    }
    fn is_ours(comment: &[u8]) -> bool {
        [&b"TITLE="[..], b"COMMENT="].iter().any(|k| comment.get(..k.len()).is_some_and(|c| c.eq_ignore_ascii_case(k)))
    }

    let mut rest = block;
    let vendor = text(&mut rest)?;
    let count = number(&mut rest)?;
    let (title, comment) = (format!("TITLE={}", title(generation)), format!("COMMENT={}", comment(generation)));
    let mut comments = vec![title.as_bytes(), comment.as_bytes()];
    for _ in 0..count {
        // Ends with the block, whatever the count says: each takes 4 bytes of it.
        let comment = text(&mut rest)?;
        if !is_ours(comment) {
            comments.push(comment);
        }
    }
    let mut out = Vec::with_capacity(block.len() + 256);
    out.extend(len32(vendor)?.to_le_bytes());
    out.extend_from_slice(vendor);
    out.extend(u32::try_from(comments.len()).ok()?.to_le_bytes());
    for comment in comments {
        out.extend(len32(comment)?.to_le_bytes());
        out.extend_from_slice(comment);
    }
    Some(out)
}

/// Replaces title and comment in the ID3v2 tag in front, or puts a tag there. Of a tag that is not plain (2.2,
/// unsynchronised, extended), nothing is kept.
fn mp3(bytes: &[u8], generation: u32) -> Option<Vec<u8>> {
    let (old, sound, frames) = match id3v2_bytes(bytes) {
        Some(tag) => {
            let (old, behind) = split(bytes, usize::try_from(tag).ok()?)?;
            let zeros = behind.iter().take_while(|&&b| b == 0).count();
            (old, &behind[zeros..], FRAMES_TAGGED) // `zeros` were counted in it
        }
        None => (&[][..], bytes, FRAMES_BARE),
    };
    first_of_frames(sound, frames)?;
    // Version and flags of a header that is whole, if there is one; without flags there is neither footer nor extended header.
    let (major, kept) = match old {
        [_, _, _, major @ (3 | 4), _, 0, ..] => {
            id3v2_frames(&old[ID3V2_HEADER..], *major).map_or((4, vec![]), |k| (*major, k))
        }
        _ => (4, vec![]),
    };
    let mut body = Vec::new();
    // Encoding 0 is ISO 8859-1; ours is ASCII.
    id3v2_frame(&mut body, major, b"TIT2", &[b"\0", title(generation).as_bytes()].concat())?;
    id3v2_frame(&mut body, major, b"COMM", &[b"\0eng\0", comment(generation).as_bytes()].concat())?;
    kept.iter().for_each(|frame| body.extend_from_slice(frame));
    let mut out = Vec::with_capacity(ID3V2_HEADER + body.len() + sound.len());
    out.extend_from_slice(&[b'I', b'D', b'3', major, 0, 0]);
    out.extend(to_syncsafe(body.len())?);
    out.extend(body);
    out.extend_from_slice(sound);
    Some(out)
}

/// The frames of a plain tag, each with its header, but for titles, comments and the padding. `None` where
/// they do not fill the tag.
fn id3v2_frames(mut rest: &[u8], major: u8) -> Option<Vec<&[u8]>> {
    let mut kept = Vec::new();
    while rest.iter().any(|&b| b != 0) {
        let &[a, b, c, d, s0, s1, s2, s3] = rest.first_chunk()?;
        let id = [a, b, c, d];
        if !id.iter().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit()) {
            return None;
        }
        let size = [s0, s1, s2, s3];
        let size = if major == 4 { syncsafe(size)? } else { u32::from_be_bytes(size) };
        let (frame, behind) = split(rest, usize::try_from(size).ok()?.checked_add(10)?)?;
        if !matches!(&id, b"TIT2" | b"COMM") {
            kept.push(frame);
        }
        rest = behind;
    }
    Some(kept)
}

fn id3v2_frame(out: &mut Vec<u8>, major: u8, id: &[u8; 4], body: &[u8]) -> Option<()> {
    out.extend_from_slice(id);
    out.extend(if major == 4 { to_syncsafe(body.len())? } else { len32(body)?.to_be_bytes() });
    out.extend_from_slice(&[0, 0]);
    out.extend_from_slice(body);
    Some(())
}

fn to_syncsafe(bytes: usize) -> Option<[u8; 4]> {
    let n = u32::try_from(bytes).ok().filter(|&n| n < 1 << 28)?;
    Some(((n & 0x7f) | (n & 0x3f80) << 1 | (n & 0x001f_c000) << 2 | (n & 0x0fe0_0000) << 3).to_be_bytes())
}

/// Appends a `LIST` chunk and counts it in the RIFF size.
fn wav(bytes: &[u8], generation: u32) -> Option<Vec<u8>> {
    let chunks = bytes.strip_prefix(b"RIFF")?;
    let (size, mut rest) = chunks.split_first_chunk()?;
    if usize::try_from(u32::from_le_bytes(*size)).ok()? != rest.len() {
        return None;
    }
    rest = rest.strip_prefix(b"WAVE")?;
    let (mut sound, mut padded) = (false, true);
    while !rest.is_empty() {
        let &[a, b, c, d, s0, s1, s2, s3] = rest.first_chunk()?;
        let size = usize::try_from(u32::from_le_bytes([s0, s1, s2, s3])).ok()?;
        let (_, behind) = split(&rest[8..], size)?;
        sound |= [a, b, c, d] == *b"data";
        padded = size % 2 == 0 || !behind.is_empty();
        rest = if size % 2 == 0 { behind } else { behind.get(1..).unwrap_or_default() };
    }
    if !sound {
        return None;
    }
    let mut list = b"INFO".to_vec();
    for (id, text) in [(b"INAM", title(generation)), (b"ICMT", comment(generation))] {
        riff_chunk(&mut list, id, format!("{text}\0").as_bytes())?;
    }
    let mut out = Vec::with_capacity(bytes.len() + 16 + list.len());
    out.extend_from_slice(bytes);
    if !padded {
        out.push(0);
    }
    riff_chunk(&mut out, b"LIST", &list)?;
    let size = len32(&out)? - 8; // `out` holds the header and more
    out[4..8].copy_from_slice(&size.to_le_bytes());
    Some(out)
}

fn riff_chunk(out: &mut Vec<u8>, id: &[u8; 4], body: &[u8]) -> Option<()> {
    out.extend_from_slice(id);
    out.extend(len32(body)?.to_le_bytes());
    out.extend_from_slice(body);
    if body.len() % 2 == 1 {
        out.push(0);
    }
    Some(())
}

/// Puts a `tEXt` chunk behind IHDR.
fn png(bytes: &[u8], generation: u32) -> Option<Vec<u8>> {
    // Signature, length, type, 13 bytes of IHDR, its check.
    const BEHIND_IHDR: usize = 8 + 4 + 4 + 13 + 4;
    let (front, rest) = split(bytes, BEHIND_IHDR)?;
    // `front` has the 33 bytes that are sliced here.
    if !front.starts_with(b"\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR") || front[29..] != crc32(&front[12..29]).to_be_bytes() {
        return None;
    }
    let text = format!("Comment\0{}", comment(generation)).into_bytes();
    let chunk = [b"tEXt", text.as_slice()].concat();
    Some([front, &len32(&text)?.to_be_bytes(), &chunk, &crc32(&chunk).to_be_bytes(), rest].concat())
}

/// The check of PNG chunks, over type and data (PNG, annex D), bit by bit: what is checked here is short.
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |crc, &byte| {
        (0..8).fold(crc ^ u32::from(byte), |crc, _| crc >> 1 ^ if crc & 1 == 1 { 0xedb8_8320 } else { 0 })
    })
}

/// Puts a `COM` segment behind the `APPn` segments, since JFIF and EXIF want to stand right behind SOI.
fn jpeg(bytes: &[u8], generation: u32) -> Option<Vec<u8>> {
    let mut rest = bytes.strip_prefix(b"\xff\xd8")?;
    while let [0xff, 0xe0..=0xef, a, b, ..] = *rest {
        let length = usize::from(u16::from_be_bytes([a, b]));
        // It counts itself, not the marker.
        rest = split(rest, 2 + length).filter(|_| length >= 2)?.1;
    }
    // DQT, DHT, SOF, DRI or a comment: anything else at this place is unusual.
    if !matches!(rest, [0xff, 0xdb | 0xc4 | 0xc0..=0xc2 | 0xdd | 0xfe, ..]) {
        return None;
    }
    let text = comment(generation);
    let length = u16::try_from(text.len() + 2).ok()?;
    let front = &bytes[..bytes.len() - rest.len()]; // `rest` is a suffix of `bytes`
    Some([front, b"\xff\xfe", &length.to_be_bytes(), text.as_bytes(), rest].concat())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::media::testing::{collect_parts, flac_file, head, id3v2, mp3_file, real, streams};
    use crate::media::{self, ESSENCE};

    const FLAC: [&str; 2] = ["kaligari/Hums/01 Haunted Hum.flac", "kaligari/Hums/02 Glass Hum.flac"];
    const MP3: [&str; 2] = ["maqsim/Lunar Land/01 Lunar Land.mp3", "Sub-d/Guitar/01 E Minor Ninth.mp3"];
    const WAV: &str = "Rutger Muller/Piano/01 Piano.wav";
    const PNG: &str = "kaligari/Hums/cover.png";
    const JPEG: &str = "Photos/2008/Wood.jpg";
    const OTHER: [&str; 2] = ["corsica_s/Alarms/01 Alarm Clock.ogg", "Videos/Lunar Land.mp4"];

    fn essence(bytes: &[u8]) -> Vec<u8> {
        let (parts, _) = collect_parts(media::open(head(bytes)), bytes, &[]);
        streams(bytes, &parts).remove(&ESSENCE).unwrap_or_default()
    }

    fn has(bytes: &[u8], text: &str) -> bool {
        bytes.windows(text.len()).any(|w| w == text.as_bytes())
    }

    /// Generations 1 and 2 of a real file, the second made from the first.
    fn generations(path: &str) -> [Vec<u8>; 3] {
        let original = real(path);
        let first = retag(&original, 1);
        let second = retag(&first, 2);
        assert_ne!(original, first, "{path}");
        assert_ne!(first, second, "{path}");
        for (n, bytes) in [(1, &first), (2, &second)] {
            assert!(has(bytes, &comment(n)), "{path}");
            assert!(bytes.len() > original.len(), "{path} grows");
        }
        [original, first, second]
    }

    #[test]
    fn coded_sound_keeps_its_essence() {
        for path in FLAC.into_iter().chain(MP3) {
            let [original, first, second] = generations(path);
            let sound = essence(&original);
            assert!(sound.len() > 100_000);
            for bytes in [first, second] {
                assert_eq!(essence(&bytes), sound, "{path}");
                let mut splitter = media::open(head(&bytes));
                splitter.split(&bytes, true, &mut Vec::new());
                assert_eq!(splitter.doubt(), None, "{path}");
            }
        }
    }

    /// (type, block) of each metadata block.
    fn blocks(bytes: &[u8]) -> Vec<(u8, &[u8])> {
        let (mut out, mut rest) = (Vec::new(), bytes.strip_prefix(MARKER).expect("the marker"));
        loop {
            let header = BlockHeader::read(rest).expect("a header");
            let (block, behind) = rest[BLOCK_HEADER..].split_at(header.bytes as usize);
            out.push((header.kind, block));
            rest = behind;
            if header.last {
                return out;
            }
        }
    }

    #[test]
    fn a_flac_file_keeps_its_other_blocks_and_comments() {
        let [original, first, second] = generations(FLAC[0]);
        let old = blocks(&original);
        for bytes in [&first, &second] {
            let new = blocks(bytes);
            assert_eq!(old.len(), new.len());
            for (old, new) in old.iter().zip(&new).filter(|(old, _)| old.0 != 4) {
                assert_eq!(old, new);
            }
            let comments = new.iter().find(|b| b.0 == 4).expect("comments").1;
            assert!(has(comments, "ARTIST=kaligari") && has(comments, "LICENSE=CC0-1.0"));
            assert_eq!(comments.windows(6).filter(|w| w == b"TITLE=").count(), 1, "replaced, not added");
        }
        assert!(!has(&second, &title(1)));
    }

    #[test]
    fn a_flac_file_without_comments_gets_a_block() {
        let old = [id3v2(4, 30), flac_file(500, &[(1, 20)], true)].concat();
        let new = retag(&old, 7);
        let kinds: Vec<_> = blocks(&new[40..]).iter().map(|b| b.0).collect();
        assert_eq!(kinds, [0, 4, 1]);
        assert_eq!(essence(&new), essence(&old));
    }

    #[test]
    fn comments_that_lie_about_their_sizes_stay_as_they_are() {
        for block in [&b"\xff\xff\xff\xff"[..], b"\0\0\0\0\xff\xff\xff\xff", b"\0\0\0\0\x01\0\0\0\x09\0\0\0x", b""] {
            assert_eq!(vorbis_comment(block, 1), None);
        }
        let mut file = flac_file(500, &[(4, 50)], false);
        file[46..50].fill(0xff);
        assert_eq!(retag(&file, 1), file);
    }

    #[test]
    fn an_mp3_keeps_the_frames_of_a_plain_tag() {
        let [_, first, second] = generations(MP3[0]);
        for bytes in [&first, &second] {
            assert_eq!(bytes[3], 3, "the tag stays in its version");
            let tag = &bytes[..id3v2_bytes(bytes).expect("a tag") as usize];
            let frames = id3v2_frames(&tag[10..], 3).expect("frames that fill the tag");
            assert!(frames.iter().any(|f| f.starts_with(b"TPE1") && has(f, "m\0a\0q\0s\0i\0m")));
            assert_eq!(tag.windows(4).filter(|w| w == b"TIT2").count(), 1, "replaced, not added");
        }
        let [_, first, _] = generations(MP3[1]);
        assert_eq!(first[..4], *b"ID3\x04", "a new tag is of the newest version");
    }

    #[test]
    fn a_tag_that_is_not_plain_is_replaced() {
        for (at, value) in [(3, 2), (5, 0x80), (5, 0x40)] {
            let mut old = mp3_file(5000, Some(3000), true);
            old[at] = value;
            let new = retag(&old, 1);
            assert!(new.len() < old.len() && new.starts_with(b"ID3\x04"));
            assert_eq!(essence(&new), essence(&old));
        }
    }

    #[test]
    fn syncsafe_numbers_come_back() {
        for n in [0, 127, 128, 0x3fff, 0x4000, 0x1f_ffff, 0x20_0000, (1 << 28) - 1] {
            assert_eq!(to_syncsafe(n).and_then(syncsafe), Some(n as u32));
        }
        assert_eq!(to_syncsafe(1 << 28), None);
    }

    /// (id, bytes) of each chunk; checks sizes and padding.
    fn riff(bytes: &[u8]) -> Vec<(&[u8], &[u8])> {
        assert_eq!(u32::from_le_bytes(bytes[4..8].try_into().expect("4")) as usize, bytes.len() - 8);
        let (mut out, mut rest) = (Vec::new(), &bytes[12..]);
        while !rest.is_empty() {
            let size = u32::from_le_bytes(rest[4..8].try_into().expect("4")) as usize;
            out.push((&rest[..4], &rest[8..8 + size]));
            rest = &rest[8 + size + size % 2..];
        }
        out
    }

    #[test]
    fn a_wav_keeps_its_chunks_and_gets_one() {
        let [original, first, second] = generations(WAV);
        let old = riff(&original);
        assert_eq!(riff(&first)[..old.len()], old);
        assert_eq!(riff(&second)[..old.len()], old);
        assert_eq!(riff(&first)[old.len()].0, b"LIST");
        assert_eq!(riff(&second).len(), old.len() + 2);
    }

    #[test]
    fn an_odd_wav_chunk_is_padded_before_another_follows() {
        for pad in [&b""[..], b"\0"] {
            let mut old = [b"RIFF....WAVEdata\x03\0\0\0abc", pad].concat();
            let size = old.len() as u32 - 8;
            old[4..8].copy_from_slice(&size.to_le_bytes());
            let new = retag(&old, 3);
            let chunks = riff(&new);
            assert_eq!(chunks[0], (&b"data"[..], &b"abc"[..]));
            assert_eq!((chunks[1].0, chunks.len()), (&b"LIST"[..], 2));
            old.push(0);
            assert_eq!(retag(&old, 3), old, "a size that does not fit the file");
        }
    }

    #[test]
    fn a_png_gets_a_chunk_with_a_right_check() {
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
        let [original, first, second] = generations(PNG);
        for bytes in [first, second] {
            let mut rest = &bytes[8..];
            let mut other = original[..8].to_vec();
            while !rest.is_empty() {
                let size = u32::from_be_bytes(rest[..4].try_into().expect("4")) as usize;
                let (chunk, behind) = rest.split_at(12 + size);
                assert_eq!(chunk[8 + size..], crc32(&chunk[4..8 + size]).to_be_bytes());
                if !(chunk[4..8] == *b"tEXt" && has(chunk, "Generation")) {
                    other.extend_from_slice(chunk);
                }
                rest = behind;
            }
            assert_eq!(other, original, "all other chunks are as they were");
        }
    }

    #[test]
    fn a_jpeg_gets_a_comment_behind_its_exif() {
        let [original, first, _] = generations(JPEG);
        let at = original.iter().zip(&first).position(|(a, b)| a != b).expect("a difference");
        let grown = first.len() - original.len();
        let exif = original.windows(6).position(|w| w == b"Exif\0\0").expect("EXIF");
        assert!(at > exif);
        // The first difference may lie behind the marker's first byte.
        let start = (at - 1..=at).find(|&s| first[s..].starts_with(b"\xff\xfe")).expect("COM");
        assert_eq!(usize::from(u16::from_be_bytes([first[start + 2], first[start + 3]])) + 2, grown);
        assert_eq!([&first[..start], &first[start + grown..]].concat(), original);
    }

    #[test]
    fn everything_else_is_returned_as_it_is() {
        for path in OTHER {
            let bytes = real(path);
            assert_eq!(retag(&bytes, 1), bytes);
        }
        for bytes in [&b""[..], b"fLaC", b"ID3", b"RIFF", b"RIFF\x04\0\0\0WAVE", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n"]
        {
            assert_eq!(retag(bytes, 1), bytes);
        }
    }

    /// Starts of the real files, and small whole ones.
    fn seeds() -> Vec<Vec<u8>> {
        let starts = FLAC.into_iter().chain(MP3).chain([WAV, PNG, JPEG]).map(|p| {
            let mut bytes = real(p);
            bytes.truncate(20_000);
            bytes
        });
        let wav = [b"RIFF\x12\0\0\0WAVEdata\x06\0\0\0sample".to_vec()];
        starts.chain([flac_file(500, &[(4, 60)], true), mp3_file(3000, Some(300), true)]).chain(wav).collect()
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic_and_sound_never_changes(
            seed in prop::sample::select(seeds()),
            flips in prop::collection::vec((prop_oneof![0..100_usize, 0..20_000_usize], any::<u8>()), 0..8),
            cut in prop::option::of(any::<prop::sample::Index>()),
            generation in any::<u32>(),
        ) {
            let mut bytes = seed;
            for (at, value) in flips {
                if let Some(byte) = bytes.get_mut(at) {
                    *byte = value;
                }
            }
            if let Some(cut) = cut {
                let len = cut.index(bytes.len() + 1);
                bytes.truncate(len);
            }
            let new = retag(&bytes, generation);
            // Images with a small front are left in one piece, the tag with them.
            let (old, kept) = (essence(&bytes), essence(&new));
            if media::open(head(&bytes)).id() != media::OPAQUE && new != bytes && kept.len() < new.len() {
                prop_assert!(kept == old, "{} bytes of essence became {}", old.len(), kept.len());
            }
        }

        #[test]
        fn arbitrary_bytes_never_make_it_panic_or_lose_bytes(
            start in prop::sample::select(vec![&b""[..], b"fLaC", b"fLaC\0\0\0\x22", b"ID3\x04\0\0", b"RIFF", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR"]),
            bytes in prop::collection::vec(any::<u8>(), 0..300),
            generation in any::<u32>(),
        ) {
            let bytes = [start, &bytes].concat();
            let new = retag(&bytes, generation);
            // Only a tag that is replaced can make a file shorter.
            prop_assert!(new == bytes || new.len() > bytes.len() || bytes.starts_with(b"ID3"));
        }
    }
}
