//! Tests of all containers together: a film's tracks are the same streams in each.

pub(super) mod sound;

use super::demux::{LOOK, ORDER, SEGMENT, essence};
use super::film::{Frame, Moov, Video, adts, avi, cover, film, flv, fragments, mkv, mp4, mp4_box, mxf, track};
use super::testing::{alike_in_windows, collect_parts, harm, head, noise, streams, windows, without_tail};
use super::*;
use crate::chunk::{Packing, Pcm, Raster};
use crate::format::Keys;
use proptest::prelude::*;
use std::collections::BTreeMap;

/// The streams of a file that there is no doubt about; tests that any windows give the same.
fn of(bytes: &[u8]) -> BTreeMap<StreamNumber, Vec<u8>> {
    let (parts, doubt) = collect_parts(open(head(bytes)), bytes, &[]);
    assert_eq!(doubt, None);
    assert!(collect_parts(open(without_tail(bytes)), bytes, &[0]).0 == parts);
    streams(bytes, &parts)
}

/// Pieces between the borders of a stream.
fn pieces(bytes: &[u8], stream: StreamNumber) -> Vec<usize> {
    let mut out = Vec::new();
    for part in collect_parts(open(head(bytes)), bytes, &[]).0 {
        let Part::Mapped(mapped) = part else { continue };
        for part in mapped.parts.iter().filter(|p| p.stream == stream) {
            match out.last_mut() {
                Some(n) if !part.cut => *n += part.bytes.len(),
                _ => out.push(part.bytes.len()),
            }
        }
    }
    out
}

/// All files that hold a film.
fn all(video: Video, film: &[Frame]) -> Vec<(&'static str, Vec<u8>)> {
    vec![
        ("moov last", mp4(video, film, Moov::Last, &[])),
        ("moov first", mp4(video, film, Moov::First, &[])),
        ("fragments", fragments(video, film, 40)),
        ("mkv", mkv(video, film, false, &[])),
        ("live mkv", mkv(video, film, true, &[])),
        ("avi", avi(film, false)),
        ("flv", flv(video, film)),
        ("mxf", mxf(film, false)),
    ]
}

#[test]
fn a_films_tracks_are_the_same_streams_in_any_container() {
    for video in [Video::Avc, Video::Hevc, Video::ProRes] {
        let film = film(video, 150, 18_000);
        let (pictures, sound) = (track(&film, 0), track(&film, 1));
        let mut borders = Vec::new();
        for (name, file) in all(video, &film) {
            let streams = of(&file);
            assert!(streams[&essence(0)] == pictures, "{video:?} {name}: {}", streams[&essence(0)].len());
            assert!(streams[&essence(1)] == sound, "{video:?} {name}");
            assert!(streams.get(&ORDER).map_or(0, Vec::len) < file.len() / 1000, "{video:?} {name}");
            if !matches!(name, "avi" | "mxf") && (name, video) != ("flv", Video::ProRes) {
                borders.push(pieces(&file, essence(0)));
            }
        }
        assert!(borders.iter().all(|b| *b == borders[0]), "{video:?} {borders:?}");
        assert_eq!(borders[0].len() > 3, video != Video::ProRes, "{borders:?}");
    }
}

/// What version 1 of each splitter makes of a film: a change here takes a new version.
#[test]
fn version_1_stays_as_it_is() {
    let film = film(Video::Avc, 60, 30_000);
    let mut files = all(Video::Avc, &film);
    files.push(("adts", adts(&film)));
    let hashes: Vec<(&str, String)> = files
        .iter()
        .map(|(name, file)| {
            let mut all = Vec::new();
            for part in collect_parts(open(head(file)), file, &[]).0 {
                all.extend(format!("{:?}", part.bytes()).bytes());
                if let Part::Mapped(mapped) = part {
                    all.extend(mapped.parameters);
                    for part in mapped.parts {
                        all.extend([part.stream, u8::from(part.cut)]);
                        all.extend(part.bytes);
                    }
                }
            }
            let check = Keys::new([0; 32], 0).keyed_check(&all);
            (*name, check[..8].iter().map(|b| format!("{b:02x}")).collect())
        })
        .collect();
    let expected = [
        ("moov last", "0ff6e2fb012f6890"),
        ("moov first", "02e428270b59ac5c"),
        ("fragments", "25ca965c7c5fa0b0"),
        ("mkv", "a0d7b7e34862ce4e"),
        ("live mkv", "ef11b202a3029fb8"),
        ("avi", "fc155eb63795da1c"),
        ("flv", "0314e870d83a2a9a"),
        ("mxf", "7b853a8547d5a6e1"),
        ("adts", "fa367c37f6802c0d"),
    ];
    assert_eq!(hashes.iter().map(|(n, h)| (*n, &h[..])).collect::<Vec<_>>(), expected);
}

#[test]
fn a_video_of_huge_frames_is_found_too() {
    // The first frame ends out of sight.
    let film = film(Video::ProRes, 3, LOOK + 1000);
    for (name, file) in all(Video::ProRes, &film) {
        assert!(of(&file)[&essence(0)] == track(&film, 0), "{name}");
    }
}

#[test]
fn a_cover_has_borders_of_its_own() {
    let film = film(Video::Avc, 20, 9000);
    let picture = noise(50_000);
    for file in [
        mp4(Video::Avc, &film, Moov::First, &cover(50_000)),
        mp4(Video::Avc, &film, Moov::Last, &cover(50_000)),
        mkv(Video::Avc, &film, false, &picture),
    ] {
        assert!(pieces(&file, WRAPPER).contains(&50_000), "{:?}", pieces(&file, WRAPPER));
        assert!(of(&file)[&essence(0)] == track(&film, 0));
    }
    let small = mp4(Video::Avc, &film, Moov::First, &cover(5000));
    assert_eq!(pieces(&small, WRAPPER).len(), 1);
}

#[test]
fn data_of_which_nothing_is_known_is_one_plain_run() {
    for (content, form) in [
        (noise(900_000), Form::Bytes),
        (vec![0; 900_000], Form::Bytes),
        (
            noise(900_000).iter().map(|b| b & 0x3f).collect(),
            Form::Raster(Raster { packing: Packing::V210, row_bytes: 0 }),
        ),
    ] {
        let file = [
            mp4_box(b"ftyp", b"qt  \0\0\0\0"),
            mp4_box(b"wide", b""),
            mp4_box(b"mdat", &content),
            mp4_box(b"moov", &[]),
        ];
        let file = file.concat();
        let (parts, doubt) = collect_parts(open(head(&file)), &file, &[0]);
        assert_eq!(doubt, None);
        let run = Part::Run(Run { stream: ESSENCE, bytes: 900_000, cut: true, form });
        assert!(parts.contains(&run), "{parts:?}");
    }
}

#[test]
fn sound_in_adts_is_that_of_other_containers() {
    let film = film(Video::Avc, 400, 10);
    let streams = of(&adts(&film));
    assert!(streams[&ESSENCE] == track(&film, 1));
    assert_eq!(streams[&WRAPPER].len(), 73 + 600 * 7 + 128);
}

#[test]
fn pcm_has_its_form() {
    let sound = Form::Pcm(Pcm { sample_bytes: 2, channels: 2, coded: false });
    let film = film(Video::Avc, 20, 9000);
    for file in [avi(&film, true), mxf(&film, true)] {
        let parts = collect_parts(open(head(&file)), &file, &[]).0;
        let forms: Vec<Form> = parts
            .iter()
            .flat_map(|p| if let Part::Mapped(m) = p { &m.parts[..] } else { &[] })
            .filter(|p| p.stream == essence(1))
            .map(|p| p.form)
            .collect();
        assert_eq!(forms, [sound]);
    }
}

#[test]
fn tracks_that_bytes_cannot_tell_apart_are_left_together_wherever_the_tables_are() {
    let film = film(Video::Mpeg2, 100, 20_000);
    let bytes: u64 = film.iter().map(|f| f.bytes.len() as u64).sum();
    for moov in [Moov::First, Moov::Last] {
        let file = mp4(Video::Mpeg2, &film, moov, &[]);
        let (parts, doubt) = collect_parts(open(head(&file)), &file, &[0]);
        assert!(parts.contains(&Part::Run(Run { stream: ESSENCE, bytes, cut: true, form: Form::Bytes })));
        assert_eq!(doubt, None);
    }
    assert!(of(&mkv(Video::Mpeg2, &film, false, &[]))[&ESSENCE] == track(&film, 0));
}

#[test]
fn segments_are_whole_but_for_the_last() {
    let film = film(Video::Avc, 100, 30_000);
    for (name, file) in all(Video::Avc, &film) {
        let parts = collect_parts(open(head(&file)), &file, &[0]).0;
        let (_, whole) = parts.split_last().unwrap();
        assert!(whole.len() > 2 && whole.iter().all(|p| p.bytes() == SEGMENT as u64), "{name}");
    }
}

#[test]
fn a_real_mp4_has_its_tracks_apart() {
    let file = super::testing::real("Videos/Lunar Land.mp4");
    assert!(of(&file).len() >= 2);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    /// Covering, the way back and windows are checked in `collect_parts`.
    #[test]
    fn mutated_files_are_covered_alike_in_any_windows(
        which in 0..9_usize,
        video in prop::sample::select(vec![Video::Avc, Video::Hevc, Video::ProRes]),
        pictures in prop_oneof![0..30_usize, 90..130_usize],
        harm in harm(),
        windows in windows(),
    ) {
        let film = film(video, pictures, 25_000);
        let mut files = all(video, &film);
        files.push(("adts", adts(&film)));
        let (_, mut bytes) = files.swap_remove(which);
        harm.to(&mut bytes);
        alike_in_windows(&bytes, &windows)?;
    }

    #[test]
    fn arbitrary_boxes_and_elements_are_covered(
        start in prop::sample::select(vec![
            &b"\0\0\0\x10ftypisom\0\0\0\0"[..],
            b"\0\0\0\x10ftypisom\0\0\0\0\0\0\0\0moov",
            b"\0\0\0\x10ftypisom\0\0\0\0\0\0\0\x01mdat",
            b"\x1a\x45\xdf\xa3\x8b\x42\x82\x88matroska\x18\x53\x80\x67\xff",
            b"\x1a\x45\xdf\xa3\x87\x42\x82\x84webm\x1f\x43\xb6\x75\xff\xa3\x85",
            b"RIFF\0\0\0\0AVI LIST\0\0\0\0movi01dc",
            b"FLV\x01\x05\0\0\0\x09\0\0\0\0\x09\0\0\x05\0\0\0\0\0\0\0",
            b"\x06\x0e\x2b\x34\x02\x05\x01\x01\x0d\x01\x02\x01\x01\x02\x04\0\x01\0\x06\x0e\x2b\x34",
        ]),
        bytes in prop::collection::vec(prop_oneof![Just(0_u8), 0..9_u8, any::<u8>()], 0..2000),
    ) {
        let bytes = [start, &bytes].concat();
        let whole = collect_parts(open(head(&bytes)), &bytes, &[]);
        prop_assert!(whole == collect_parts(open(without_tail(&bytes)), &bytes, &[1]));
    }
}
