//! Tests of FLAC in Matroska; what films are is tested with the other containers.

use super::super::demux::{ORDER, SEGMENT, decisions};
use super::super::film::element;
use super::super::flac::tests::{FRONT, a_file, a_long_file, a_real_file, frames_of, much_silence, native, silence};
use super::super::testing::{alike_in_windows, collect_parts, harm, head, noise, streams, windows, without_tail};
use super::super::{ESSENCE, Mapped, MappedPart, Part, open as open_any};
use super::*;
use crate::chunk::Pcm;
use crate::format::Keys;
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::sync::LazyLock;

/// FLAC of some MiB, and its samples.
static LONG: LazyLock<(Vec<u8>, Vec<u8>)> = LazyLock::new(|| a_long_file(77, 4 << 20, false));
static LONG_FRAMES: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| frames_of(&LONG.0, FRONT));

/// Entry of a track. `more` are other elements of it.
fn entry(number: u8, kind: u8, codec: &[u8], private: &[u8], more: &[u8]) -> Vec<u8> {
    let all = [element(&[0xd7], &[number]), element(&[0x83], &[kind]), element(&[0x86], codec)];
    element(&[0xae], &[&all.concat(), &element(&[0x63, 0xa2], private), more].concat())
}

fn flac_entry(number: u8, private: &[u8]) -> Vec<u8> {
    entry(number, 2, b"A_FLAC", private, &[])
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lacing {
    None,
    Xiph,
    Ebml,
    /// Of frames that are as long as each other; others stand alone.
    Fixed,
}

/// Blocks of a track: number, flags and what stands behind them.
fn blocks(track: u8, frames: &[Vec<u8>], lacing: Lacing) -> Vec<Vec<u8>> {
    let head = |flags: u8| vec![0x80 | track, 1, 2, 0x80 | flags];
    let alone = |frame: &Vec<u8>| [head(0), frame.clone()].concat();
    let laced = |some: &[Vec<u8>]| {
        let sizes: Vec<usize> = some.iter().map(Vec::len).collect();
        let mut block = vec![some.len() as u8 - 1];
        let flags = match lacing {
            Lacing::Xiph => {
                for size in &sizes[..sizes.len() - 1] {
                    block.extend(vec![255; size / 255]);
                    block.push((size % 255) as u8);
                }
                LACING_XIPH
            }
            Lacing::Ebml => {
                for (i, size) in sizes[..sizes.len() - 1].iter().enumerate() {
                    match i {
                        0 => block.extend((*size as u32 | 1 << 28).to_be_bytes()),
                        _ => {
                            let step = *size as i64 - sizes[i - 1] as i64 + (1 << 20) - 1;
                            block.extend(&(step as u32 | 1 << 21).to_be_bytes()[1..]);
                        }
                    }
                }
                LACING_EBML
            }
            _ => 4,
        };
        [head(flags), block, some.concat()].concat()
    };
    match lacing {
        Lacing::None => frames.iter().map(alone).collect(),
        Lacing::Fixed => frames.chunk_by(|a, b| a.len() == b.len()).map(laced).collect(),
        _ => frames.chunks(7).map(laced).collect(),
    }
}

/// A file of these tracks. Clusters have 30 blocks each, of all tracks in turn; some stand in a group.
fn mkv(entries: &[Vec<u8>], blocks: &[Vec<Vec<u8>>], live: bool, front: usize) -> Vec<u8> {
    let header = element(&[0x1a, 0x45, 0xdf, 0xa3], &element(&[0x42, 0x82], b"matroska"));
    let mut segment = element(&[0x12, 0x54, 0xc3, 0x67], &noise(front));
    segment.extend(element(&[0x16, 0x54, 0xae, 0x6b], &entries.concat()));
    let longest = blocks.iter().map(Vec::len).max().unwrap_or(0);
    let all: Vec<&Vec<u8>> = (0..longest).flat_map(|i| blocks.iter().filter_map(move |b| b.get(i))).collect();
    for (i, some) in all.chunks(30).enumerate() {
        let mut cluster = element(&[0xe7], &(i as u16).to_be_bytes());
        for (j, block) in some.iter().enumerate() {
            if j % 5 == 4 {
                let all = [element(&[0xa1], block), element(&[0x9b], &[40])].concat();
                cluster.extend(element(&[0xa0], &all));
            } else {
                cluster.extend(element(&[0xa3], block));
            }
        }
        if live {
            segment.extend([&[0x1f, 0x43, 0xb6, 0x75, 0xff][..], &cluster].concat());
        } else {
            segment.extend(element(&[0x1f, 0x43, 0xb6, 0x75], &cluster));
        }
    }
    segment.extend(element(&[0x1c, 0x53, 0xbb, 0x6b], &noise(700)));
    let size: &[u8] = if live { &[1, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff] } else { &[] };
    if live {
        [&header, &[0x18, 0x53, 0x80, 0x67][..], size, &segment].concat()
    } else {
        [header, element(&[0x18, 0x53, 0x80, 0x67], &segment)].concat()
    }
}

/// A FLAC file whose metadata has so many bytes, in Matroska.
pub(in super::super) fn remux(file: &[u8], front: usize) -> Vec<u8> {
    mkv(&[flac_entry(1, &file[..front])], &[blocks(1, &frames_of(file, front), Lacing::None)], false, 100)
}

/// A file of [`LONG`] alone.
fn alone(lacing: Lacing, live: bool, front: usize) -> Vec<u8> {
    mkv(&[flac_entry(1, &LONG.0[..FRONT])], &[blocks(1, &LONG_FRAMES, lacing)], live, front)
}

fn split(file: &[u8]) -> (Vec<Part>, Option<&'static str>) {
    let (parts, doubt) = collect_parts(open_any(head(file)), file, &[]);
    for windows in [&[0][..], &[700_001, 64]] {
        let again = collect_parts(open_any(without_tail(file)), file, windows);
        assert!(again == (parts.clone(), doubt), "{windows:?}");
    }
    (parts, doubt)
}

/// The streams of a file that there is no doubt about.
fn of(file: &[u8]) -> BTreeMap<StreamNumber, Vec<u8>> {
    let (parts, doubt) = split(file);
    assert_eq!(doubt, None);
    streams(file, &parts)
}

fn parts_of(parts: &[Part], stream: StreamNumber) -> Vec<&MappedPart> {
    let all = parts.iter().flat_map(|p| if let Part::Mapped(m) = p { &m.parts[..] } else { &[] });
    all.filter(|p| p.stream == stream).collect()
}

/// Whatever the blocks are: the decisions are the same bytes too, so nothing of a remux is stored again.
#[test]
fn flac_alone_is_what_the_file_is() {
    let (samples, chosen) = native(&LONG.0);
    assert!(samples == LONG.1 && LONG.0.len() > 3 << 20);
    for (lacing, live, front) in [
        (Lacing::None, false, 0),
        (Lacing::None, true, 3000),
        (Lacing::Xiph, false, 500_000),
        (Lacing::Ebml, false, 20),
        (Lacing::Fixed, true, 20),
    ] {
        let file = alone(lacing, live, front);
        let (parts, doubt) = split(&file);
        assert_eq!(doubt, None);
        let of = streams(&file, &parts);
        assert!(of[&ESSENCE] == samples, "{lacing:?}");
        assert!(of[&decisions(ESSENCE)] == chosen, "{lacing:?}");
        assert!(of[&ORDER].len() < file.len() / 1000, "{}", of[&ORDER].len());
        let stereo = Form::Pcm(Pcm { sample_bytes: 2, channels: 2, coded: true });
        let sound = parts_of(&parts, ESSENCE);
        assert!(sound.iter().all(|p| p.form == stereo) && sound.iter().skip(1).all(|p| !p.cut));
        assert!(parts_of(&parts, decisions(ESSENCE)).iter().skip(1).all(|p| !p.cut));
    }
}

#[test]
fn a_real_file_in_matroska_has_the_samples_of_the_file() {
    let (file, front) = a_real_file();
    let frames = frames_of(&file, front);
    // With the marker or without; or nothing is known but what frames tell.
    for private in [&file[..front], &file[4..front], &[]] {
        let mka = mkv(&[flac_entry(1, private)], &[blocks(1, &frames, Lacing::None)], false, 100);
        let of = of(&mka);
        assert!((&of[&ESSENCE], &of[&decisions(ESSENCE)]) == (&native(&file).0, &native(&file).1));
    }
}

#[test]
fn what_stands_before_the_clusters_moves_no_segment() {
    let later = |front| -> Vec<Mapped> {
        let file = alone(Lacing::None, false, front);
        let parts = split(&file).0.into_iter();
        parts.skip(1).map(|p| if let Part::Mapped(m) = p { m } else { panic!("a run") }).collect()
    };
    assert!(later(10) == later(100_000));
}

#[test]
fn each_track_that_is_flac_has_samples_and_decisions() {
    let (small, small_pcm) = a_file(31, 24, 3, 60, true);
    let pictures: Vec<Vec<u8>> = (0..LONG_FRAMES.len()).map(|i| noise(5000 + i % 99)).collect();
    let entries = [
        entry(1, 1, b"V_PRORES", b"apcn", &[]),
        flac_entry(2, &LONG.0[..FRONT]),
        entry(3, 2, b"A_AAC", &[0x12, 0x10], &[]),
        flac_entry(4, &small[..FRONT]),
    ];
    let all = [
        blocks(1, &pictures, Lacing::None),
        blocks(2, &LONG_FRAMES, Lacing::Xiph),
        blocks(3, &pictures[..50], Lacing::Ebml),
        blocks(4, &frames_of(&small, FRONT), Lacing::Ebml),
    ];
    let file = mkv(&entries, &all, true, 10);
    let of = of(&file);
    assert!(of[&essence(0)] == pictures.concat());
    assert!(of[&essence(1)] == LONG.1 && of[&essence(3)] == small_pcm);
    // Those of AAC go with the sizes of its lacing.
    assert!(of[&essence(2)].len() > pictures[..50].concat().len());
    let more = native(&LONG.0).1.len() + 2500 * (file.len() / SEGMENT + 1);
    assert!(of[&decisions(essence(1))].len() < more, "{}", of[&decisions(essence(1))].len());
}

#[test]
fn flac_behind_a_compression_stays_as_it_is() {
    // Header stripping: frames lack their first bytes.
    let stripping = element(&[0x6d, 0x80], &element(&[0x62, 0x40], &element(&[0x50, 0x34], &[0x42, 0x54, 0x81, 3])));
    let stripped: Vec<Vec<u8>> = LONG_FRAMES.iter().map(|f| f[2..].to_vec()).collect();
    let entries = [entry(1, 2, b"A_FLAC", &LONG.0[..FRONT], &stripping)];
    let file = mkv(&entries, &[blocks(1, &stripped, Lacing::None)], false, 10);
    let (parts, doubt) = split(&file);
    assert_eq!(doubt, Some("matroska: FLAC behind a compression or an encryption"));
    assert!(streams(&file, &parts)[&ESSENCE] == stripped.concat());
}

#[test]
fn a_block_that_is_no_frame_costs_its_segment() {
    for change in 0..3 {
        let mut frames = LONG_FRAMES.clone();
        match change {
            0 => frames[200][50] ^= 1,
            1 => frames[200] = b"no frame".to_vec(),
            // It cannot be taken apart in a segment.
            _ => frames[200] = noise(SEGMENT + 1),
        }
        let file = mkv(&[flac_entry(1, &LONG.0[..FRONT])], &[blocks(1, &frames, Lacing::None)], false, 10);
        let (parts, doubt) = split(&file);
        assert!(doubt.is_some_and(|why| why.starts_with("flac: ")), "{doubt:?}");
        let sound = parts_of(&parts, ESSENCE);
        let plain: Vec<_> = sound.iter().map(|p| p.form == Form::Bytes).collect();
        assert_eq!(plain.iter().filter(|p| **p).count(), 1, "{plain:?}");
        let at = plain.iter().position(|p| *p).unwrap();
        assert!(sound.iter().enumerate().all(|(i, p)| p.cut == (i == 0 || i == at || i == at + 1)));
        assert_eq!(parts_of(&parts, decisions(ESSENCE)).len(), sound.len() - 1);
    }
}

#[test]
fn sizes_of_a_lacing_are_read_as_they_are_meant() {
    let block = [&[2, 255, 3, 10][..], &[0; 300]].concat();
    assert_eq!(frames(2, &block, 304), Some((4, vec![300 - 268, 10, 258])));
    assert_eq!(frames(2, &block, 271), None, "more than there is");
    assert_eq!(frames(2, &block[..2], 304), None);
    // 10, then 5 less, then 1 more.
    let block = [3, 0x8a, 0xbf - 5, 0xbf + 1];
    assert_eq!(frames(6, &block, 100), Some((4, vec![100 - 4 - 21, 6, 5, 10])));
    assert_eq!(frames(6, &[2, 0x8a, 0xbf - 11], 100), None, "less than none");
    assert_eq!(frames(4, &[3], 41), Some((1, vec![10; 4])));
    assert_eq!(frames(4, &[3], 42), None);
    assert_eq!(frames(4, &[], 42), None);
    assert_eq!(frames(0, &[], 42), Some((0, vec![42])));
    // Nothing is a frame of no bytes.
    assert_eq!(frames(2, &[1, 0], 2), Some((2, vec![])));
}

#[test]
fn a_lacing_that_makes_no_sense_leaves_the_block_as_it_is() {
    let mut all = blocks(1, &LONG_FRAMES, Lacing::Xiph);
    all[20][4] = 255;
    let file = mkv(&[flac_entry(1, &LONG.0[..FRONT])], &[all], false, 10);
    let (parts, doubt) = split(&file);
    assert_eq!(doubt, Some("matroska: a lacing that makes no sense"));
    assert!(parts_of(&parts, ESSENCE).iter().filter(|p| p.form == Form::Bytes).count() == 1);
    assert!(streams(&file, &parts)[&ESSENCE].len() > LONG.1.len() * 9 / 10);
}

#[test]
fn a_file_that_ends_within_a_frame_keeps_what_came_before() {
    let file = alone(Lacing::None, true, 10);
    for cut in [file.len() - 800, 3_000_000, 2_000_000] {
        let (parts, doubt) = split(&file[..cut]);
        assert_eq!(doubt, Some("container: the file ends within a piece"));
        let sound = parts_of(&parts, ESSENCE);
        let plain: usize = sound.iter().filter(|p| p.form == Form::Bytes).map(|p| p.bytes.len()).sum();
        assert!(plain < 40_000, "{plain}");
    }
}

#[test]
fn silence_that_would_fill_memory_stays_as_it_is() {
    let still: Vec<Vec<u8>> = (0..15_000).map(silence).collect();
    let all = [&LONG_FRAMES[..200], &still, &vec![much_silence(); 15_000], &LONG_FRAMES[200..]].concat();
    let file = mkv(&[flac_entry(1, &LONG.0[..FRONT])], &[blocks(1, &all, Lacing::Xiph)], false, 10);
    let (parts, doubt) = split(&file);
    assert_eq!(doubt, Some("flac: too much silence"));
    for part in &parts {
        let Part::Mapped(mapped) = part else { panic!("a run") };
        let all: usize = mapped.parts.iter().map(|p| p.bytes.len()).sum();
        assert!(all < flac::SAMPLES_MAX + (1 << 20), "{all}");
    }
}

/// What version 3 makes of FLAC: a change here takes a new version.
#[test]
fn version_3_stays_as_it_is() {
    let (flac, front) = a_real_file();
    let mut sound = frames_of(&flac, front);
    sound.truncate(12);
    let pictures = blocks(1, &vec![noise(999); 40], Lacing::None);
    let entries = [entry(1, 1, b"V_VP9", &[], &[]), flac_entry(2, &flac[..front])];
    let file = mkv(&entries, &[pictures, blocks(2, &sound, Lacing::Ebml)], false, 10);
    let mut all = Vec::new();
    for part in split(&file).0 {
        let Part::Mapped(mapped) = part else { panic!("a run") };
        all.extend(format!("{:?} {}", mapped.how, mapped.bytes).bytes());
        all.extend(mapped.parameters);
        for part in mapped.parts {
            all.extend([part.stream, u8::from(part.cut)]);
            all.extend(part.bytes);
        }
    }
    let check = Keys::new([0; 32], 0).keyed_check(&all)[..8].iter().map(|b| format!("{b:02x}")).collect::<String>();
    assert_eq!((all.len(), &check[..]), (247_177, "1ec522265fb95958"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    /// Covering, the way back and windows are checked in `collect_parts`.
    #[test]
    fn mutated_files_are_covered_alike_in_any_windows(
        lacing in prop::sample::select(vec![Lacing::None, Lacing::Xiph, Lacing::Ebml, Lacing::Fixed]),
        live: bool,
        front in prop_oneof![0..50_usize, 700_000..900_000_usize],
        from in 0..100_usize,
        count in prop_oneof![0..20_usize, 200..400_usize],
        others in prop_oneof![Just(0_usize), 0..100_usize],
        harm in harm(),
        windows in windows(),
    ) {
        let frames: Vec<_> = LONG_FRAMES.iter().skip(from).take(count).cloned().collect();
        let mut entries = vec![flac_entry(1, &LONG.0[..FRONT])];
        if others > 0 {
            entries.push(entry(2, 1, b"V_VP9", &[], &[]));
        }
        let all = [blocks(1, &frames, lacing), blocks(2, &vec![noise(9999); others], Lacing::None)];
        let mut bytes = mkv(&entries, &all, live, front);
        harm.to(&mut bytes);
        alike_in_windows(&bytes, &windows)?;
    }

    #[test]
    fn any_sizes_of_a_lacing_fit_their_block(flags in 0..8_u8, block: Vec<u8>, left in 0..1000_u64) {
        if let Some((at, sizes)) = frames(flags, &block, left) {
            prop_assert_eq!(at as u64 + sizes.iter().sum::<u64>(), left);
            prop_assert!(sizes.len() <= 256 && sizes.iter().all(|n| *n > 0));
        }
    }
}
