//! Archives made here: stored and deflated members, with and without sizes in front, 64-bit ones, and broken ones.

use super::super::deflate::tests::{KNOWN, deflate, text_of, words};
use super::super::testing::{collect_parts, flac_file, head, mp3_file, noise, real, streams, without_tail};
use super::super::{Part, Run, open, open_with};
use super::*;
use proptest::prelude::*;

const ALWAYS: Options<'static> = Options { deflate: Deflate::Always };

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sizes {
    Front,
    Front64,
    Behind,
    Behind64,
    /// Without the signature that most writers put.
    BehindBare,
}

fn member(data: &[u8], method: u16, sizes: Sizes) -> Vec<u8> {
    let n = data.len() as u64;
    let behind = matches!(sizes, Sizes::Behind | Sizes::Behind64 | Sizes::BehindBare);
    let mut out = LOCAL.to_vec();
    out.extend_from_slice(&[20, 0, if behind { 8 } else { 0 }, 0]);
    out.extend_from_slice(&method.to_le_bytes());
    out.extend_from_slice(b"timecrc.");
    let extra = match sizes {
        Sizes::Front => {
            out.extend([(n as u32).to_le_bytes(), 7_u32.to_le_bytes()].concat());
            b"UT\x01\0x".to_vec()
        }
        Sizes::Front64 => {
            out.extend([0xff; 8]);
            [&b"UT\x01\0x\x01\0\x10\0"[..], &7_u64.to_le_bytes(), &n.to_le_bytes()].concat()
        }
        Sizes::Behind64 => {
            out.extend([0; 8]);
            [&b"\x01\0\x10\0"[..], &[0; 16]].concat()
        }
        _ => {
            out.extend([0; 8]);
            Vec::new()
        }
    };
    out.extend_from_slice(&[4, 0, extra.len() as u8, 0]);
    out.extend_from_slice(b"name");
    out.extend(extra);
    out.extend_from_slice(data);
    if behind {
        if sizes != Sizes::BehindBare {
            out.extend_from_slice(DESCRIPTOR);
        }
        out.extend_from_slice(b"crc.");
        match sizes {
            Sizes::Behind64 => out.extend([n.to_le_bytes(), 7_u64.to_le_bytes()].concat()),
            _ => out.extend([(n as u32).to_le_bytes(), 7_u32.to_le_bytes()].concat()),
        }
    }
    out
}

const DIRECTORY: &[u8] = b"PK\x01\x02 and so on PK\x05\x06 the end";

fn archive(members: &[Vec<u8>]) -> Vec<u8> {
    [&members.concat()[..], DIRECTORY].concat()
}

/// The parts of `file`, and that any windows give the same.
fn parts(file: &[u8], options: Options<'static>) -> (Vec<Part>, Option<&'static str>) {
    let whole = collect_parts(open_with(head(file), options), file, &[]);
    assert_eq!(collect_parts(open_with(without_tail(file), options), file, &[0]), whole);
    assert_eq!(collect_parts(open_with(head(file), options), file, &[77_777, 1, 500_000]), whole);
    whole
}

fn runs(parts: &[Part]) -> Vec<(u8, u64)> {
    parts.iter().map(|p| if let Part::Run(r) = p { (r.stream, r.bytes) } else { (255, p.bytes()) }).collect()
}

#[test]
fn a_stored_member_is_split_as_a_file_of_its_own() {
    let members = [
        flac_file(3 << 20, &[(1, 100), (6, 200_000)], true),
        mp3_file(900_000, Some(5_000), true),
        real("corsica_s/Alarms/01 Alarm Clock.ogg"),
        noise(100_000),
    ];
    for sizes in [Sizes::Front, Sizes::Front64] {
        let file = archive(&members.iter().map(|m| member(m, STORED, sizes)).collect::<Vec<_>>());
        let (found, doubt) = parts(&file, Options::default());
        assert_eq!(doubt, Some("flac: no frame where one should be"), "what the first of its members doubts");
        let mut found = found.into_iter();
        for bytes in &members {
            assert!(matches!(found.next(), Some(Part::Run(Run { stream: WRAPPER, cut: true, .. }))), "a header");
            for part in collect_parts(open(head(bytes)), bytes, &[]).0 {
                assert_eq!(found.next(), Some(part));
            }
        }
        assert_eq!(found.next().map(|p| p.bytes()), Some(DIRECTORY.len() as u64));
        assert_eq!(found.next(), None);
    }
}

#[test]
fn deflated_members_are_undone_however_their_sizes_are_told() {
    for sizes in [Sizes::Front, Sizes::Front64, Sizes::Behind, Sizes::Behind64, Sizes::BehindBare] {
        let (a, b) = (words(100_000), flac_file(90_000, &[], false));
        let [x, y] = [&a, &b].map(|t| deflate(t, KNOWN[0], 9_000, false));
        let file = archive(&[member(&x, DEFLATED, sizes), member(&y, DEFLATED, sizes)]);
        let (found, doubt) = parts(&file, ALWAYS);
        assert_eq!((text_of(&found), doubt), ([a, b].concat(), None), "{sizes:?}");
        assert_eq!(found.iter().filter(|p| matches!(p, Part::Mapped(_))).count(), 2);
    }
}

#[test]
fn a_long_text_has_the_essence_that_its_file_has() {
    let sound = flac_file(3 << 20, &[(4, 300), (6, 200_000)], false);
    let data = deflate(&sound, KNOWN[1], 9_000, false);
    let file = archive(&[member(&data, DEFLATED, Sizes::Front), member(&data, DEFLATED, Sizes::Behind)]);
    let (found, doubt) = parts(&file, ALWAYS);
    assert_eq!(doubt, None);
    let own = streams(&sound, &collect_parts(open(head(&sound)), &sound, &[]).0);
    assert!(streams(&file, &found)[&ESSENCE] == [&own[&ESSENCE][..], &own[&ESSENCE]].concat());
    let borders: Vec<usize> = found
        .iter()
        .filter_map(|p| if let Part::Mapped(m) = p { Some(&m.parts) } else { None })
        .map(|parts| parts.iter().filter(|p| p.stream == ESSENCE && p.cut).count())
        .collect();
    assert!(borders.len() > 6);
    assert_eq!(borders.iter().sum::<usize>(), 2, "one for each member");
}

#[test]
fn without_leave_deflated_members_are_essence_and_their_end_is_found() {
    let data = deflate(&words(900_000), KNOWN[0], 9_000, false);
    let n = data.len() as u64;
    for sizes in [Sizes::Front, Sizes::Front64, Sizes::Behind, Sizes::Behind64] {
        let one = member(&data, DEFLATED, sizes);
        let file = archive(&[one.clone(), one]);
        for options in [Options::default(), Options { deflate: Deflate::Ask(&|_| false) }] {
            let (found, doubt) = parts(&file, options);
            assert_eq!(doubt, None);
            let found = runs(&found);
            assert_eq!((found.len(), found[1], found[3]), (5, (ESSENCE, n), (ESSENCE, n)), "{sizes:?}");
        }
    }
}

#[test]
fn a_descriptor_among_the_data_is_believed_only_with_the_right_size() {
    let mut data = noise(300_000);
    for at in [0, 1000, 100_000, 299_990] {
        data[at..at + 4].copy_from_slice(DESCRIPTOR);
    }
    data[1000 + 8..1000 + 12].copy_from_slice(&1000_u32.to_le_bytes()); // right, but nothing begins behind it
    let (found, doubt) = parts(&archive(&[member(&data, 99, Sizes::Behind)]), ALWAYS);
    assert_eq!((runs(&found)[1], doubt), ((ESSENCE, 300_000), None));
}

#[test]
fn small_encrypted_and_strange_members_are_passed() {
    let mut encrypted = member(&noise(100_000), DEFLATED, Sizes::Front);
    encrypted[6] |= 1;
    let small = member(&noise(5_000), DEFLATED, Sizes::Front);
    let file = archive(&[small.clone(), encrypted.clone(), small.clone(), member(&noise(70_000), 14, Sizes::Front)]);
    let (found, doubt) = parts(&file, ALWAYS);
    let header = 30 + 4 + 5;
    let expected = [
        (WRAPPER, small.len() as u64 + header),
        (ESSENCE, 100_000),
        (WRAPPER, small.len() as u64 + header),
        (ESSENCE, 70_000),
        (WRAPPER, DIRECTORY.len() as u64),
    ];
    assert_eq!((runs(&found), doubt), (expected.to_vec(), None));
}

#[test]
fn a_member_that_is_not_deflate_is_essence_and_the_next_is_undone() {
    for sizes in [Sizes::Front, Sizes::Behind] {
        let (bad, text) = ([&[7], &noise(100_000)[..]].concat(), words(100_000));
        let good = deflate(&text, KNOWN[0], 9_000, false);
        let (found, doubt) = parts(&archive(&[member(&bad, DEFLATED, sizes), member(&good, DEFLATED, sizes)]), ALWAYS);
        assert_eq!(runs(&found)[1], (ESSENCE, bad.len() as u64));
        assert_eq!((text_of(&found), doubt), (text, Some("deflate: bits that are none")));
    }
}

#[test]
fn what_follows_the_end_of_a_deflate_stream_is_essence() {
    let good = deflate(&words(100_000), KNOWN[0], 9_000, false);
    let data = [&good[..], &noise(100)].concat();
    let (found, doubt) = parts(&archive(&[member(&data, DEFLATED, Sizes::Front)]), ALWAYS);
    let rest = [(WRAPPER, 39), (255, good.len() as u64), (ESSENCE, 100), (WRAPPER, DIRECTORY.len() as u64)];
    assert_eq!((runs(&found), doubt), (rest.to_vec(), None));
}

#[test]
fn an_archive_cut_short_is_doubted() {
    let file = archive(&[member(&noise(100_000), STORED, Sizes::Front), member(&noise(80_000), 99, Sizes::Behind)]);
    for cut in [100, 99_000, 100_039, 100_050, 150_000] {
        let (found, doubt) = parts(&file[..cut], ALWAYS);
        assert_eq!(found.iter().map(Part::bytes).sum::<u64>(), cut as u64);
        assert!(doubt.is_some() || cut == 100_039, "{cut}");
    }
}

#[test]
fn only_a_local_header_opens_a_file() {
    for bytes in [&b""[..], b"PK\x03\x04", b"PK\x05\x06", DIRECTORY, &[0; 100]] {
        assert!(super::open(head(bytes), ALWAYS).is_none());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn mutated_archives_are_covered_alike_in_any_windows(
        members in prop::collection::vec((0..5_u8, 0..4_u8, prop_oneof![0..2_000_usize, 60_000..900_000_usize]), 1..5),
        flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        cut in prop::option::of(any::<prop::sample::Index>()),
        windows in prop::collection::vec(0..1_000_000_usize, 1..8),
        always: bool,
    ) {
        let members: Vec<Vec<u8>> = members.iter().map(|&(sizes, kind, n)| {
            let sizes = [Sizes::Front, Sizes::Front64, Sizes::Behind, Sizes::Behind64, Sizes::BehindBare][usize::from(sizes)];
            match kind {
                0 => member(&flac_file(n, &[(1, 100)], true), STORED, sizes),
                1 => member(&deflate(&words(n / 4), KNOWN[1], 3_000, true), DEFLATED, sizes),
                2 => member(&deflate(&noise(n / 4), KNOWN[1], 3_000, false), DEFLATED, sizes),
                _ => member(&noise(n), 99, sizes),
            }
        }).collect();
        let mut file = archive(&members);
        let options = if always { ALWAYS } else { Options::default() };
        let first = file[..300.min(file.len())].to_vec();
        for (at, value) in flips {
            let at = at.index(file.len());
            file[at] = value;
        }
        if let Some(cut) = cut {
            file.truncate(cut.index(file.len()) + 1);
        }
        let splitter = || super::open(head(&first), options).expect("a local header");
        let whole = collect_parts(splitter(), &file, &[]);
        prop_assert_eq!(collect_parts(splitter(), &file, &windows), whole);
    }
}
