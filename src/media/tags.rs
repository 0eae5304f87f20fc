//! Tags that stand in front of and behind coded sound, whatever the sound's format.
//!
//! In front: ID3v2 (<https://id3.org/id3v2.4.0-structure>, section 3.1). Behind: ID3v1 and its `TAG+`
//! enhancement, APEv1 and APEv2, Lyrics3v2, ID3v2.4 appended with a footer, stacked in any order. Only
//! the place of a tag is found here; what it says is nobody's concern.
//!
//! # Invariants
//!
//! 1. Total, without allocation; the steps are at most the bytes shown.
//! 2. A size that reaches beyond what is shown is no tag.

use super::runs::Walk;
use super::{ESSENCE, WINDOW_MIN, WRAPPER};

/// Bytes from the end of a file in which trailing tags are looked for. A tag that begins before stays
/// with the essence. Cover art in an APE tag fits; and since it is half of
/// [`WINDOW_MIN`], a splitter can hold so much back from every window and still
/// consume some, so it sees the end of a pipe as it sees the end of a file.
pub const TRAILING_MAX: usize = WINDOW_MIN / 2;

/// Bytes of an ID3v2 header, and of its footer.
pub const ID3V2_HEADER: usize = 10;

/// Reads the length of the ID3v2 tag that starts `bytes`: header, frames, padding and footer.
///
/// `None` if there is no such header in the first [`ID3V2_HEADER`] bytes. The tag itself may be longer
/// than what is shown (at most 256 MiB).
pub fn id3v2_bytes(bytes: &[u8]) -> Option<u64> {
    let &[b'I', b'D', b'3', major @ 2..=4, revision, flags, a, b, c, d] = bytes.first_chunk()? else { return None };
    if revision == 0xff {
        return None;
    }
    // Unsynchronisation, compression and the extended header all lie within this size; the footer does not.
    let footer = if major == 4 && flags & 0x10 != 0 { ID3V2_HEADER as u64 } else { 0 };
    Some(ID3V2_HEADER as u64 + u64::from(syncsafe([a, b, c, d])?) + footer)
}

/// Reads a 28-bit number of four bytes with a clear top bit each; `None` if one is set.
pub fn syncsafe(bytes: [u8; 4]) -> Option<u32> {
    bytes.into_iter().try_fold(0, |n, b| (b < 0x80).then_some(n << 7 | u32::from(b)))
}

/// Counts the bytes of the tags that end `tail`, the last bytes of a file.
pub fn trailing_bytes(tail: &[u8]) -> usize {
    let mut rest = tail;
    // Each tag holds a byte at least, so this ends.
    while let Some(before) = last_tag(rest).and_then(|bytes| rest.len().checked_sub(bytes)) {
        rest = &rest[..before];
    }
    tail.len() - rest.len()
}

/// Consumes what is behind the tags and headers in front: sound to the end, but for trailing tags.
///
/// Each window but the last keeps its last [`TRAILING_MAX`] bytes, so that the last one shows so many
/// of the file, however the windows were cut.
pub(super) fn give_sound(walk: &mut Walk<'_, '_>, last: bool) {
    let rest = walk.rest();
    let kept = rest.len().min(TRAILING_MAX);
    let front = rest.len() - kept;
    if last {
        // `front` is at most the length.
        let tags = trailing_bytes(&rest[front..]);
        walk.give(ESSENCE, rest.len() - tags);
        walk.give(WRAPPER, tags);
    } else if front > 0 || !walk.is_fresh() {
        walk.give(ESSENCE, front);
    } else {
        // Smaller than a window may be. Something must be consumed.
        walk.give(ESSENCE, rest.len());
    }
}

/// Bytes of the one tag that ends `tail`; not 0, but perhaps more than `tail` holds.
fn last_tag(tail: &[u8]) -> Option<usize> {
    id3v1(tail).or_else(|| ape(tail)).or_else(|| lyrics3v2(tail)).or_else(|| id3v2_appended(tail))
}

/// `TAG` and 125 bytes; in front of it perhaps `TAG+` and 223 bytes.
fn id3v1(tail: &[u8]) -> Option<usize> {
    let before = tail.strip_suffix(tail.last_chunk::<128>().filter(|t| t.starts_with(b"TAG"))?)?;
    let enhanced = before.last_chunk::<227>().is_some_and(|t| t.starts_with(b"TAG+"));
    Some(if enhanced { 128 + 227 } else { 128 })
}

/// A 32-byte footer, with the size of everything behind the header, and in APEv2 mostly a header too
/// (<https://wiki.hydrogenaud.io/index.php?title=APE_Tags_Header>).
fn ape(tail: &[u8]) -> Option<usize> {
    const HEADER: usize = 32;
    const HAS_HEADER: u32 = 1 << 31;
    const IS_HEADER: u32 = 1 << 29;
    let [magic @ .., v0, v1, v2, v3, s0, s1, s2, s3, _, _, _, _, f0, f1, f2, f3] =
        tail.last_chunk::<HEADER>()?.first_chunk::<24>()?;
    let version = u32::from_le_bytes([*v0, *v1, *v2, *v3]);
    let flags = u32::from_le_bytes([*f0, *f1, *f2, *f3]);
    if magic != b"APETAGEX" || !matches!(version, 1000 | 2000) || (version == 2000 && flags & IS_HEADER != 0) {
        return None;
    }
    let size = usize::try_from(u32::from_le_bytes([*s0, *s1, *s2, *s3])).ok().filter(|&s| s >= HEADER)?;
    if version == 2000 && flags & HAS_HEADER != 0 {
        let bytes = size.checked_add(HEADER)?;
        starts_with(tail, bytes, b"APETAGEX").then_some(bytes)
    } else {
        Some(size)
    }
}

/// `LYRICSBEGIN`, fields, six digits that count both, `LYRICS200` (<https://id3.org/Lyrics3v2>).
fn lyrics3v2(tail: &[u8]) -> Option<usize> {
    let [digits @ .., b'L', b'Y', b'R', b'I', b'C', b'S', b'2', b'0', b'0'] = tail.last_chunk::<15>()? else {
        return None;
    };
    let size = digits.iter().try_fold(0, |n, d| d.is_ascii_digit().then(|| n * 10 + usize::from(d - b'0')))?;
    let bytes = size + 15;
    starts_with(tail, bytes, b"LYRICSBEGIN").then_some(bytes)
}

/// ID3v2.4 behind the sound: it must have a footer, which repeats the header as `3DI`.
fn id3v2_appended(tail: &[u8]) -> Option<usize> {
    let footer = tail.last_chunk::<ID3V2_HEADER>()?;
    let fields = footer.strip_prefix(b"3DI")?;
    let mut header = *footer;
    header[..3].copy_from_slice(b"ID3");
    let bytes = usize::try_from(id3v2_bytes(&header)?).ok()?;
    // The flag of the footer is among the fields that both must share.
    (fields[2] & 0x10 != 0 && starts_with(tail, bytes, &header)).then_some(bytes)
}

/// Whether the last `bytes` bytes of `tail` exist and begin with `magic`.
fn starts_with(tail: &[u8], bytes: usize, magic: &[u8]) -> bool {
    tail.len().checked_sub(bytes).is_some_and(|at| tail[at..].starts_with(magic))
}

/// Bytes without a place where sound could begin, of which the first `sure` ones are no tags that end the file: how many are
/// sound as it stands, and how many tags. `None`: more must be seen.
pub(super) fn lost(rest: &[u8], last: bool, sure: usize, is_fresh: bool) -> Option<(usize, usize)> {
    if last {
        let tags = trailing_bytes(rest.get(rest.len().saturating_sub(TRAILING_MAX)..).unwrap_or_default());
        return Some((rest.len() - tags, tags)); // they are in it
    }
    // A window that is smaller than promised is not waited for.
    if sure > 0 { Some((sure, 0)) } else { is_fresh.then_some((rest.len(), 0)) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::open;
    use super::super::testing::{ape, collect, head, id3v1, id3v2, lyrics3v2, mp3_frames};
    use super::*;

    fn after(sound: &[u8], tags: &[&[u8]]) -> usize {
        let file = [sound, &tags.concat()].concat();
        trailing_bytes(&file)
    }

    #[test]
    fn tags_are_found_in_any_stacking() {
        let (v1, lyrics) = (id3v1("x"), lyrics3v2(300));
        let (ape1, ape2) = (ape(1000, 500), ape(2000, 70_000));
        let mut enhanced = vec![b' '; 227];
        enhanced[..4].copy_from_slice(b"TAG+");
        let mut appended = id3v2(4, 1000);
        appended[5] |= 0x10;
        let footer = [b"3DI", &appended[3..10]].concat();
        appended.extend(footer);
        for stack in [
            &[&v1][..],
            &[&ape1],
            &[&ape2],
            &[&ape2, &v1],
            &[&ape1, &lyrics, &v1],
            &[&lyrics, &ape2, &v1],
            &[&enhanced, &v1],
            &[&ape2, &enhanced, &v1],
            &[&appended],
            &[&appended, &v1],
        ] {
            let tags: Vec<&[u8]> = stack.iter().map(|t| t.as_slice()).collect();
            assert_eq!(after(&[0x55; 3000], &tags), tags.concat().len());
            assert_eq!(after(&[], &tags), tags.concat().len(), "nothing in front");
        }
    }

    #[test]
    fn a_size_beyond_the_file_is_no_tag() {
        let file = ape(2000, 5000);
        assert_eq!(trailing_bytes(&file[1..]), 0);
        let file = ape(1000, 5000);
        assert_eq!(trailing_bytes(&file[1..]), 0);
        for size in [0, 1, 31, u32::MAX - 31, u32::MAX] {
            let mut file = ape(2000, 5000);
            let at = file.len() - 20;
            file[at..at + 4].copy_from_slice(&size.to_le_bytes());
            assert_eq!(trailing_bytes(&file), 0, "size {size}");
        }
        assert_eq!(trailing_bytes(b"LYRICSBEGIN999999LYRICS200"), 0);
        assert_eq!(trailing_bytes(b"TAG"), 0);
    }

    #[test]
    fn a_tag_longer_than_what_is_held_back_stays_with_the_sound() {
        for (bytes, tags) in [(TRAILING_MAX - 64, TRAILING_MAX as u64), (TRAILING_MAX - 63, 0)] {
            let file = [mp3_frames(3 << 20), ape(2000, bytes)].concat();
            let runs = collect(open(head(&file)), &file, &[0, 1, 500_000]);
            assert_eq!(runs[1..].iter().map(|r| r.bytes).sum::<u64>(), tags);
        }
    }

    #[test]
    fn the_header_of_an_ape_tag_is_not_taken_for_its_footer() {
        let file = ape(2000, 500);
        assert_eq!(trailing_bytes(&[&[0; 5000], &file[..32]].concat()), 0);
    }

    #[test]
    fn only_a_whole_id3v2_header_counts() {
        assert_eq!(id3v2_bytes(b"ID3\x03\0\0\0\0\x02\x01"), Some(10 + 257));
        assert_eq!(id3v2_bytes(b"ID3\x04\0\x90\0\0\x02\x01"), Some(20 + 257), "a footer");
        assert_eq!(id3v2_bytes(b"ID3\x03\0\x90\0\0\x02\x01"), Some(10 + 257), "no footer before 2.4");
        assert_eq!(id3v2_bytes(b"ID3\x04\0\0\x7f\x7f\x7f\x7f"), Some(10 + (1 << 28) - 1));
        for none in
            [&b"ID3\x04\0\0\0\0\x80\0"[..], b"ID3\x05\0\0\0\0\0\0", b"ID3\x04\xff\0\0\0\0\0", b"ID3\x04\0\0\0\0\0", b""]
        {
            assert_eq!(id3v2_bytes(none), None);
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_reach_beyond_the_file(
            front in prop::collection::vec(any::<u8>(), 0..400),
            stack in prop::collection::vec(0..5_usize, 0..4),
            flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        ) {
            let mut file = front;
            for kind in stack {
                file.extend(match kind {
                    0 => id3v1("title"),
                    1 => ape(2000, 100),
                    2 => ape(1000, 100),
                    3 => lyrics3v2(50),
                    _ => id3v2(4, 60),
                });
            }
            for (at, value) in flips {
                if !file.is_empty() {
                    let at = at.index(file.len());
                    file[at] = value;
                }
            }
            prop_assert!(trailing_bytes(&file) <= file.len());
        }
    }
}
