//! Archives made here: members of all kinds and sizes, between any windows, and broken ones.

use super::super::testing::{collect_parts, flac_file, head, mp3_file, noise, real, without_tail};
use super::super::{Run, open};
use super::*;
use proptest::prelude::*;

/// A header of `kind` for so many bytes, with "ustar".
pub fn header(name: &str, kind: u8, bytes: u64) -> Vec<u8> {
    let mut block = vec![0; BLOCK];
    block[..name.len().min(100)].copy_from_slice(&name.as_bytes()[..name.len().min(100)]);
    block[100..108].copy_from_slice(b"0000644\0");
    if bytes < 1 << 33 {
        block[124..136].copy_from_slice(format!("{bytes:011o}\0").as_bytes());
    } else {
        block[124] = 0x80;
        block[128..136].copy_from_slice(&bytes.to_be_bytes());
    }
    block[156] = kind;
    block[257..265].copy_from_slice(b"ustar\x0000");
    checked(block)
}

fn checked(mut block: Vec<u8>) -> Vec<u8> {
    block[148..156].fill(b' ');
    let sum: u32 = block.iter().map(|b| u32::from(*b)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    block
}

/// A member: its header, its bytes, zeros.
pub fn member(name: &str, kind: u8, bytes: &[u8]) -> Vec<u8> {
    let mut out = header(name, kind, bytes.len() as u64);
    out.extend_from_slice(bytes);
    out.resize(out.len().next_multiple_of(BLOCK), 0);
    out
}

pub fn archive(members: &[(&str, &[u8])]) -> Vec<u8> {
    let mut out: Vec<u8> = members.iter().flat_map(|(name, bytes)| member(name, b'0', bytes)).collect();
    out.resize(out.len() + 2 * BLOCK, 0);
    out
}

/// The parts of `file`, and that any windows give the same.
fn parts(file: &[u8]) -> (Vec<Part>, Option<&'static str>) {
    let whole = collect_parts(open(head(file)), file, &[]);
    assert_eq!(collect_parts(open(without_tail(file)), file, &[0]), whole);
    assert_eq!(collect_parts(open(head(file)), file, &[77_777, 1, 500_000]), whole);
    whole
}

fn runs(parts: &[Part]) -> Vec<(u8, u64)> {
    parts.iter().map(|p| if let Part::Run(r) = p { (r.stream, r.bytes) } else { (255, p.bytes()) }).collect()
}

#[test]
fn a_member_is_split_as_a_file_of_its_own() {
    let members = [
        flac_file(3 << 20, &[(1, 100), (6, 200_000)], true),
        mp3_file(900_000, Some(5_000), true),
        real("corsica_s/Alarms/01 Alarm Clock.ogg"),
        real("maqsim/Lunar Land/01 Lunar Land.mp3"),
        noise(100_000),
        flac_file(70_000, &[], false),
    ];
    let all: Vec<(&str, &[u8])> = members.iter().map(|m| ("a/member", m.as_slice())).collect();
    let file = archive(&all);
    let (found, doubt) = parts(&file);
    assert_eq!(doubt, Some("flac: no frame where one should be"), "what the first of its members doubts");
    let mut found = found.into_iter().peekable();
    for bytes in &members {
        assert!(matches!(found.next(), Some(Part::Run(Run { stream: WRAPPER, cut: true, .. }))), "header and padding");
        let own = collect_parts(open(head(bytes)), bytes, &[]).0;
        for part in own {
            assert_eq!(found.next(), Some(part));
        }
    }
    assert!(matches!(found.next(), Some(Part::Run(Run { stream: WRAPPER, .. }))));
    assert_eq!(found.next(), None);
}

#[test]
fn small_members_have_no_borders() {
    let file = archive(&[("a", &noise(1000)), ("b", &flac_file(60_000, &[], false)), ("c", b""), ("d", &noise(511))]);
    let (found, doubt) = parts(&file);
    assert_eq!((runs(&found), doubt), (vec![(WRAPPER, file.len() as u64)], None));
}

#[test]
fn sizes_are_read_in_octal_in_base_256_and_from_pax() {
    let sound = flac_file(100_000, &[], false); // noise, which its splitter doubts
    let bytes = sound.len() as u64;
    let padding = padding(bytes) as usize;
    let data = [&sound[..], &vec![0; padding]].concat();
    let mut base256 = header("x", b'0', 0);
    base256[124..136].copy_from_slice(&[&[0x80, 0, 0, 0][..], &bytes.to_be_bytes()].concat());
    let record = format!("{bytes}\n");
    let record = format!("{} size={record}", record.len() + 8);
    let pax = [member("pax", b'x', format!("19 path=some/thing\n{record}").as_bytes()), header("x", b'0', 0)].concat();
    let spaces = |mut h: Vec<u8>| {
        h[124..136].copy_from_slice(format!("{bytes:11o} ").as_bytes());
        checked(h)
    };
    for front in [header("x", b'0', bytes), checked(base256), pax, spaces(header("x", 0, 0)), header("x", b'7', bytes)]
    {
        let file = [&front[..], &data, &[0; 1024]].concat();
        let (found, doubt) = parts(&file);
        let expected =
            [(WRAPPER, front.len() as u64), (WRAPPER, 42), (ESSENCE, 100_000), (WRAPPER, padding as u64 + 1024)];
        assert_eq!((runs(&found), doubt), (expected.to_vec(), Some("flac: no frame where one should be")));
    }
}

#[test]
fn long_names_links_folders_and_sparse_headers_are_wrapper() {
    let long = "n".repeat(70_000);
    let mut sparse = header("s", b'S', 70_000);
    sparse[482] = 1;
    let mut more = vec![0; BLOCK];
    more[504] = 1;
    let front = [
        member("././@LongLink", b'L', long.as_bytes()),
        header("dir/", b'5', 0),
        header("link", b'1', 5_000_000),
        member("global", b'g', b"30 mtime=1350244992.023960108\n"),
        checked(sparse),
        more,
        vec![0; BLOCK],
    ]
    .concat();
    let file = [&front[..], &noise(70_000), &[0; 144], &[0; 1024]].concat();
    let (found, doubt) = parts(&file);
    let expected = [(WRAPPER, front.len() as u64), (ESSENCE, 70_000), (WRAPPER, 144 + 1024)];
    assert_eq!((runs(&found), doubt), (expected.to_vec(), None));
}

#[test]
fn archives_behind_each_other_are_read_through() {
    let one = archive(&[("a", &noise(100_000))]);
    let (found, doubt) = parts(&[one.clone(), one].concat());
    assert_eq!((found.len(), doubt), (5, None));
}

#[test]
fn an_archive_in_an_archive_is_opaque() {
    let inner = archive(&[("a", &flac_file(200_000, &[], false))]);
    let (found, _) = parts(&archive(&[("inner.tar", &inner)]));
    assert_eq!(runs(&found)[1], (ESSENCE, inner.len() as u64));
}

#[test]
fn one_wrong_bit_in_a_header_is_doubted_from_there() {
    let file = archive(&[("a", &noise(100_000)), ("b", &noise(100_000))]);
    let second = BLOCK + 100_000_usize.next_multiple_of(BLOCK);
    for bit in (0..BLOCK * 8).step_by(37) {
        let mut file = file.clone();
        file[second + bit / 8] ^= 1 << (bit % 8);
        let (found, doubt) = collect_parts(open(head(&file)), &file, &[]);
        assert_eq!(doubt, Some("tar: a header that is none"), "bit {bit}");
        assert_eq!(found.last().map(|p| p.bytes()), Some((file.len() - second) as u64));
    }
}

#[test]
fn a_tar_cut_short_is_doubted_unless_between_members() {
    let file = archive(&[("a", &noise(100_000))]);
    for cut in [1000, BLOCK + 1, BLOCK + 99_999, BLOCK + 100_000] {
        assert!(collect_parts(open(head(&file[..cut])), &file[..cut], &[]).1.is_some(), "{cut}");
    }
    let end = BLOCK + 100_000_usize.next_multiple_of(BLOCK);
    for cut in [end, end + 512, end + 1024] {
        assert_eq!(collect_parts(open(head(&file[..cut])), &file[..cut], &[]).1, None, "{cut}");
    }
}

#[test]
fn numbers_that_cannot_be_are_refused() {
    assert_eq!(number(b"0000017\0"), Some(15));
    assert_eq!(number(b"     17 "), Some(15));
    assert_eq!(number(b"\0\0\0"), Some(0));
    assert_eq!(number(&[0x80, 0, 0, 1, 2]), Some(258));
    for bad in
        [&b"00018\0"[..], b"1 1", b"-7", &[0xff; 12], &[0x80, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff], b""]
    {
        assert_eq!(number(bad), None);
    }
    assert_eq!(pax_size(b"12 size=7777\n"), None, "a length that is wrong");
    assert_eq!(pax_size(b"13 size=7777\n"), Some(7777));
    assert_eq!(pax_size(b"99999999999999999999 size=1\n"), None);
    assert_eq!(pax_size(b"0 size=1\n"), None);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn mutated_archives_are_covered_alike_in_any_windows(
        members in prop::collection::vec((0..4_u8, prop_oneof![0..2_000_usize, 60_000..3_000_000_usize]), 1..5),
        flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        cut in prop::option::of(any::<prop::sample::Index>()),
        windows in prop::collection::vec(0..1_000_000_usize, 1..8),
    ) {
        let members: Vec<Vec<u8>> = members.iter().map(|&(kind, n)| match kind {
            0 => flac_file(n, &[(1, 100)], true),
            1 => mp3_file(n, Some(300), true),
            _ => noise(n),
        }).collect();
        let mut file = archive(&members.iter().map(|m| ("m", m.as_slice())).collect::<Vec<_>>());
        for (at, value) in flips {
            let at = at.index(file.len());
            file[at] = value;
        }
        if let Some(cut) = cut {
            file.truncate(cut.index(file.len()) + 1);
        }
        let splitter = || Box::new(Tar::new(super::super::open_member, super::super::WINDOW_MIN));
        let whole = collect_parts(splitter(), &file, &[]);
        prop_assert_eq!(collect_parts(splitter(), &file, &windows), whole);
    }
}
