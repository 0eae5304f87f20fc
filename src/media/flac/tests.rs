//! Tests of the FLAC splitter.

use super::super::testing::{
    ape, collect_counting, collect_parts, flac_file, flac_frames, head, id3v1, id3v2, noise, real, streams,
};
use super::*;

/// The doubt of what is no frame.
const NOISE: Option<&str> = Some("flac: no frame where one should be");

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
    assert_eq!(doubt, NOISE);
}

#[test]
fn a_block_larger_than_the_window_is_passed_by_its_length() {
    let huge = (1 << 24) - 1;
    let (runs, doubt) = split(&flac_file(1000, &[(1, huge), (2, huge)], false));
    assert_eq!(runs, [(WRAPPER, 4 + 38 + 2 * (4 + huge as u64)), (ESSENCE, 1000)]);
    assert_eq!(doubt, NOISE);
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
    assert_eq!((runs, doubt), (vec![(WRAPPER, 42 + 54), (ESSENCE, 1000)], NOISE));
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
    assert_eq!(split(&file), (vec![(WRAPPER, 42), (ESSENCE, 1)], Some("flac: the file ends within a frame")));
}

#[test]
fn sound_without_a_sync_code_is_doubted() {
    for sync in [[0xff, 0xfa], [0xfe, 0xf8], [0, 0]] {
        let mut file = flac_file(1000, &[], true);
        file[42..44].copy_from_slice(&sync);
        let len = file.len() as u64;
        let (runs, doubt) = split(&file);
        assert_eq!(runs, [(WRAPPER, 42), (ESSENCE, 1000), (WRAPPER, len - 1042)]);
        assert_eq!(doubt, NOISE);
    }
}

#[test]
fn a_re_tagged_real_file_has_the_same_essence() {
    let file = real("kaligari/Hums/02 Glass Hum.flac");
    let (parts, doubt) = collect_parts(open(head(&file)).expect("FLAC"), &file, &[0]);
    assert_eq!(doubt, None);
    // The blocks as `metaflac --list` counts them: STREAMINFO, SEEKTABLE, VORBIS_COMMENT, PADDING.
    let front = 4 + 4 + 34 + 4 + 18 + 4 + 40 + 4 + 8192;
    let mut of = streams(&file, &parts);
    assert!(of.remove(&WRAPPER).as_deref() == Some(&file[..front]));
    assert_eq!(of.keys().copied().collect::<Vec<_>>(), [ESSENCE, DECISIONS]);
    // STREAMINFO stays; the rest of the metadata is replaced by a picture and a comment.
    let mut other = [id3v2(4, 70).as_slice(), &file[..42]].concat();
    for (kind, bytes) in [(6, 300_000_u32), (0x84, 333)] {
        other.push(kind);
        other.extend_from_slice(&bytes.to_be_bytes()[1..]);
        other.extend(noise(bytes as usize));
    }
    other.extend_from_slice(&file[front..]);
    other.extend(id3v1("y"));
    let (again, doubt) = collect_parts(open(head(&other)).expect("FLAC"), &other, &[0]);
    assert_eq!(doubt, None);
    let mut others = streams(&other, &again);
    others.remove(&WRAPPER);
    assert!(others == of);
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
