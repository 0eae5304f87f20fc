//! Tests of FLAC in ISO base media files; what films are is tested with the other containers.

use super::super::demux::decisions;
use super::super::film::{Frame, cover, full, mp4_box, numbers, track, trak, video_entry};
use super::super::flac::tests::{FRONT, a_long_file, a_real_file, frames_of, much_silence, native};
use super::super::testing::{alike_in_windows, collect_parts, harm, head, streams, windows, without_tail};
use super::super::{ALAC_PACKETS, LAYERS, Part, open as open_any};
use super::*;
use crate::format::Keys;
use proptest::prelude::*;
use std::sync::LazyLock;

/// FLAC of some MiB, and its samples.
static LONG: LazyLock<(Vec<u8>, Vec<u8>)> = LazyLock::new(|| a_long_file(77, 3 << 20, true));
static LONG_FRAMES: LazyLock<Vec<Frame>> = LazyLock::new(|| film_of(&frames_of(&LONG.0, FRONT)));

/// Frames of the second track.
fn film_of(frames: &[Vec<u8>]) -> Vec<Frame> {
    frames.iter().map(|f| Frame { track: 1, key: true, bytes: f.clone() }).collect()
}

fn flac_entry() -> Vec<u8> {
    mp4_box(b"fLaC", &[&[0; 28][..], &full(b"dfLa", 0, &[&[0x80, 0, 0, 34][..], &[0; 34]].concat())].concat())
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tables {
    First,
    Last,
    /// Of fragments of so many frames.
    Fragments(usize),
}

/// A file of frames, perhaps with video.
fn mp4(film: &[Frame], tables: Tables, udta: &[u8]) -> Vec<u8> {
    let ftyp = mp4_box(b"ftyp", b"isom\0\0\x02\0isomiso2");
    let has_video = film.iter().any(|f| f.track == 0);
    let video = video_entry(b"avc1", 720, &mp4_box(b"avcC", &[1, 66, 0, 30, 0xff]));
    let movie = |frames: &[Frame], places: &[u32], more: &[u8]| {
        let mut all = full(b"mvhd", 0, &[0; 96]);
        if has_video {
            all.extend(trak(frames, 0, &video, places));
        }
        all.extend(trak(frames, 1, &flac_entry(), places));
        mp4_box(b"moov", &[&all, udta, more].concat())
    };
    let whole = |first: usize| {
        let mut at = first as u32;
        let mut place = |frame: &Frame| {
            at += frame.bytes.len() as u32;
            at - frame.bytes.len() as u32
        };
        let places: Vec<u32> = film.iter().map(&mut place).collect();
        movie(film, &places, &[])
    };
    let data: Vec<u8> = film.iter().flat_map(|f| f.bytes.clone()).collect();
    match tables {
        Tables::First => [ftyp.clone(), whole(ftyp.len() + whole(0).len() + 8), mp4_box(b"mdat", &data)].concat(),
        Tables::Last => [ftyp.clone(), mp4_box(b"mdat", &data), whole(ftyp.len() + 8)].concat(),
        Tables::Fragments(each) => {
            let extends = mp4_box(b"mvex", &full(b"trex", 0, &numbers([2, 1, 0, 0, 0])));
            let mut file = [ftyp, movie(&[], &[], &extends)].concat();
            for part in film.chunks(each) {
                let sizes: Vec<u32> = part.iter().map(|f| f.bytes.len() as u32).collect();
                let run = numbers([sizes.len() as u32, 77].into_iter().chain(sizes));
                let traf = [full(b"tfhd", 0x2_0000, &numbers([2])), full(b"trun", 0x201, &run)].concat();
                file.extend(mp4_box(b"moof", &[full(b"mfhd", 0, &[0; 4]), mp4_box(b"traf", &traf)].concat()));
                file.extend(mp4_box(b"mdat", &track(part, 1)));
            }
            file
        }
    }
}

/// A FLAC file whose metadata has so many bytes, in MP4.
pub(in super::super) fn remux(file: &[u8], front: usize) -> Vec<u8> {
    mp4(&film_of(&frames_of(file, front)), Tables::Last, &[])
}

const ALL: [Tables; 4] = [Tables::First, Tables::Last, Tables::Fragments(11), Tables::Fragments(100)];

fn split(file: &[u8]) -> (Vec<Part>, Option<&'static str>) {
    let (parts, doubt) = collect_parts(open_any(head(file)), file, &[]);
    for windows in [&[0][..], &[700_001, 64]] {
        let again = collect_parts(open_any(without_tail(file)), file, windows);
        assert!(again == (parts.clone(), doubt), "{windows:?}");
    }
    (parts, doubt)
}

#[test]
fn flac_alone_is_what_the_file_is_wherever_the_tables_are() {
    let (samples, chosen) = native(&LONG.0);
    for tables in ALL {
        for udta in [vec![], cover(50_000)] {
            let file = mp4(&LONG_FRAMES, tables, &udta);
            let (parts, doubt) = split(&file);
            assert_eq!(doubt, None);
            let of = streams(&file, &parts);
            assert!(of[&ESSENCE] == samples, "{tables:?}");
            assert!(of[&decisions(ESSENCE)] == chosen, "{tables:?}");
        }
    }
}

#[test]
fn a_real_file_in_mp4_has_the_samples_of_the_file() {
    let (file, front) = a_real_file();
    let frames = film_of(&frames_of(&file, front));
    for tables in ALL {
        let mp4 = mp4(&frames, tables, &[]);
        let of = streams(&mp4, &split(&mp4).0);
        assert!((&of[&ESSENCE], &of[&decisions(ESSENCE)]) == (&native(&file).0, &native(&file).1));
    }
}

/// Without tables, data by data.
#[test]
fn flac_and_alac_in_one_file_are_both_taken_apart() {
    let (samples, chosen) = native(&LONG.0);
    let real = include_bytes!("../alac/piano-ffmpeg.m4a");
    let at = real.windows(4).position(|w| w == b"mdat").unwrap() - 4;
    let bytes = u32::from_be_bytes(real[at..][..4].try_into().unwrap()) as usize;
    let packets = &real[at..at + bytes];
    let (alone, _) = split(packets);
    let alone = streams(packets, &alone);
    let frames = mp4_box(b"mdat", &LONG.0[FRONT..]);
    let both = |one: &[u8], other: &[u8]| [one, other].concat();
    for (file, essence, decided) in [
        (both(&frames, packets), both(&samples, &alone[&ESSENCE]), both(&chosen, &alone[&decisions(ESSENCE)])),
        (both(packets, &frames), both(&alone[&ESSENCE], &samples), both(&alone[&decisions(ESSENCE)], &chosen)),
    ] {
        let (parts, doubt) = split(&file);
        assert_eq!(doubt, None);
        let ways: std::collections::BTreeSet<u16> =
            parts.iter().filter_map(|p| if let Part::Mapped(m) = p { Some(m.how.number) } else { None }).collect();
        assert!(ways.contains(&ALAC_PACKETS.number) && ways.contains(&LAYERS.number), "{ways:?}");
        let of = streams(&file, &parts);
        assert!(of[&ESSENCE] == essence && of[&decisions(ESSENCE)] == decided);
    }
}

#[test]
fn flac_beside_video_is_samples_wherever_the_tables_are() {
    let mut film = super::super::film::film(super::super::film::Video::Avc, 150, 9000);
    let mut frames = LONG_FRAMES.iter().cycle();
    for frame in film.iter_mut().filter(|f| f.track == 1) {
        frame.bytes = frames.next().unwrap().bytes.clone();
    }
    for tables in [Tables::First, Tables::Last] {
        let file = mp4(&film, tables, &[]);
        let (parts, doubt) = split(&file);
        assert_eq!(doubt, None);
        let of = streams(&file, &parts);
        assert!(of[&essence(0)] == track(&film, 0), "{tables:?}");
        let sound = &of[&essence(1)];
        assert!(sound.len() > 3 << 20 && LONG.1.starts_with(&sound[..sound.len().min(LONG.1.len())]), "{tables:?}");
        assert!(of[&decisions(essence(1))].len() < sound.len() / 100);
    }
}

#[test]
fn frames_that_do_not_tell_their_bits_stay_as_they_are() {
    let (file, _) = a_long_file(5, 500_000, false);
    let frames = film_of(&frames_of(&file, FRONT));
    for tables in [Tables::First, Tables::Last] {
        let mp4 = mp4(&frames, tables, &[]);
        assert!(streams(&mp4, &split(&mp4).0)[&ESSENCE] == file[FRONT..], "{tables:?}");
    }
}

#[test]
fn what_is_no_frame_ends_the_samples() {
    let mut frames = LONG_FRAMES.clone();
    let at = frames.len() / 2;
    frames[at].bytes[30] ^= 1;
    for tables in [Tables::First, Tables::Last] {
        let file = mp4(&frames, tables, &[]);
        let (parts, doubt) = split(&file);
        assert_eq!(doubt, Some("isobmff: something behind frames of FLAC"));
        let of = streams(&file, &parts);
        let rest: usize = frames[at..].iter().map(|f| f.bytes.len()).sum();
        assert!(LONG.1.starts_with(&of[&ESSENCE][..of[&ESSENCE].len() - rest]));
        assert!(of[&ESSENCE].len() - rest > LONG.1.len() / 3);
    }
}

#[test]
fn a_file_that_ends_within_a_frame_keeps_what_came_before() {
    let file = mp4(&LONG_FRAMES, Tables::Last, &[]);
    for cut in [2_000_000, 500_000, 100_000] {
        let (parts, doubt) = split(&file[..cut]);
        assert!(doubt.is_some());
        let of = streams(&file[..cut], &parts);
        assert!(of.contains_key(&decisions(ESSENCE)));
        let same = of[&ESSENCE].iter().zip(&LONG.1).take_while(|(a, b)| a == b).count();
        assert!(of[&ESSENCE].len() - same < 40_000);
    }
}

/// Boxes that begin with a header of a frame that would have a MiB.
#[test]
fn frames_that_are_none_and_silence_stay_as_they_are() {
    let front = mp4_box(b"ftyp", b"isom\0\0\x02\0isomiso2");
    let one = mp4_box(b"mdat", &much_silence()[..20]);
    let silence = film_of(&vec![much_silence(); 3000]);
    for file in [[front, one.repeat(10_000)].concat(), mp4(&silence, Tables::Last, &[])] {
        let (parts, _) = split(&file);
        assert!(parts.iter().all(|p| !matches!(p, Part::Mapped(m) if m.how == LAYERS)));
    }
}

/// The form of the first picture of a file whose pictures, of 720 by 90 pixels, have so many bytes.
fn form_of_pictures(kind: &[u8], depth: u16, bytes: usize) -> Form {
    let mut entry = video_entry(kind, 720, &[]);
    entry[34..36].copy_from_slice(&90_u16.to_be_bytes());
    entry[82..84].copy_from_slice(&depth.to_be_bytes());
    let frame = Frame { track: 0, key: true, bytes: vec![7; bytes] };
    let ftyp = mp4_box(b"ftyp", b"qt  \0\0\x02\0qt  ");
    let moov = |at: usize| {
        let places = [at as u32, (at + bytes) as u32];
        let trak = trak(&[frame.clone(), frame.clone()], 0, &entry, &places);
        mp4_box(b"moov", &[full(b"mvhd", 0, &[0; 96]), trak].concat())
    };
    let at = ftyp.len() + moov(0).len() + 8;
    let file = [ftyp, moov(at), mp4_box(b"mdat", &frame.bytes.repeat(2))].concat();
    let mut forms = split(&file).0.into_iter().filter_map(|part| match part {
        Part::Run(run) => Some(run.form),
        Part::Mapped(m) => m.parts.into_iter().find(|p| p.stream == ESSENCE).map(|p| p.form),
    });
    forms.next_back().unwrap()
}

#[test]
fn the_row_of_an_uncompressed_picture_is_told_by_its_size() {
    let row_of = |kind, depth, bytes| {
        let Form::Raster(raster) = form_of_pictures(kind, depth, bytes) else { panic!("no picture") };
        raster.row_bytes
    };
    assert_eq!(row_of(b"v210", 24, 90 * 1920), 1920);
    assert_eq!(row_of(b"v210", 24, 90 * 2048), 2048, "a wider row than is needed");
    for odd in [90 * 1920 + 512, 90 * 1936] {
        assert_eq!(row_of(b"v210", 24, odd), 0, "the codec finds out");
    }
    assert_eq!(row_of(b"raw ", 24, 90 * 2160), 2160);
    assert_eq!(row_of(b"raw ", 24, 90 * 2176), 2176);
    assert_eq!(row_of(b"2vuy", 24, 90 * 1440), 1440);
    assert_eq!(row_of(b"2vuy", 24, 90 * 1440 + 7), 1440, "nothing else is known");
}

/// What version 3 makes of FLAC: a change here takes a new version.
#[test]
fn version_3_stays_as_it_is() {
    let (flac, front) = a_real_file();
    let mut frames = frames_of(&flac, front);
    frames.truncate(12);
    let mut all = Vec::new();
    for part in split(&mp4(&film_of(&frames), Tables::Fragments(5), &[])).0 {
        let Part::Mapped(mapped) = part else { panic!("a run") };
        all.extend(format!("{:?} {}", mapped.how, mapped.bytes).bytes());
        all.extend(mapped.parameters);
        for part in mapped.parts {
            all.extend([part.stream, u8::from(part.cut)]);
            all.extend(part.bytes);
        }
    }
    let check = Keys::new([0; 32], 0).keyed_check(&all)[..8].iter().map(|b| format!("{b:02x}")).collect::<String>();
    assert_eq!((all.len(), &check[..]), (197_754, "e16ee419e4ff3e2e"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    /// Covering, the way back and windows are checked in `collect_parts`.
    #[test]
    fn mutated_files_are_covered_alike_in_any_windows(
        tables in prop::sample::select(ALL.to_vec()),
        from in 0..100_usize,
        count in prop_oneof![0..20_usize, 150..300_usize],
        harm in harm(),
        windows in windows(),
    ) {
        let frames: Vec<_> = LONG_FRAMES.iter().skip(from).take(count).cloned().collect();
        let mut bytes = mp4(&frames, tables, &[]);
        harm.to(&mut bytes);
        alike_in_windows(&bytes, &windows)?;
    }
}
