//! Files made here: streams of all kinds, with lengths told, told elsewhere and wrong; broken ones.

use super::super::deflate::tests::{KNOWN, deflate, text_of, words};
use super::super::testing::{collect_parts, head, noise, real, without_tail};
use super::super::{Part, open, open_with};
use super::*;
use proptest::prelude::*;

const ALWAYS: Options<'static> = Options { deflate: Deflate::Always };

/// An object with a stream; `length` as it stands in the dictionary.
fn object(number: usize, filter: &str, length: &str, data: &[u8]) -> Vec<u8> {
    let dictionary = format!("{number} 0 obj\n<< /Type /XObject /Length1 99 {filter} /Length {length} >>\nstream\r\n");
    [dictionary.as_bytes(), data, b"\nendstream\nendobj\n"].concat()
}

fn zlib(text: &[u8]) -> Vec<u8> {
    [&b"\x78\x9c"[..], &deflate(text, KNOWN[0], 9_000, false), b"adle"].concat()
}

fn pdf(objects: &[Vec<u8>]) -> Vec<u8> {
    [
        &b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n"[..],
        &objects.concat(),
        b"xref\n0 1\ntrailer << /Size 3 >>\nstartxref\n9\n%%EOF\n",
    ]
    .concat()
}

fn told(data: &[u8]) -> String {
    data.len().to_string()
}

/// The parts of `file`, and that any windows give the same.
fn parts(file: &[u8], options: Options<'static>) -> (Vec<Part>, Option<&'static str>) {
    let whole = collect_parts(open_with(head(file), options), file, &[]);
    assert_eq!(collect_parts(open_with(without_tail(file), options), file, &[0]), whole);
    assert_eq!(collect_parts(open_with(head(file), options), file, &[77_777, 1, 500_000]), whole);
    whole
}

fn bytes_of(file: &[u8], parts: &[Part], stream: u8) -> Vec<u8> {
    let (mut at, mut out) = (0, Vec::new());
    for part in parts {
        let end = at + part.bytes() as usize;
        if matches!(part, Part::Run(r) if r.stream == stream) {
            out.extend_from_slice(&file[at..end]);
        }
        at = end;
    }
    out
}

#[test]
fn a_picture_is_split_as_a_file_of_its_own_wherever_its_length_stands() {
    let photo = real("Photos/2008/Wood.jpg");
    let own = collect_parts(open(head(&photo)), &photo, &[]).0;
    for filter in ["/Filter /DCTDecode", "/Filter [ /DCTDecode ]", "/Filter[/DCT]/ColorSpace /DeviceRGB"] {
        for length in [told(&photo), "12 0 R".to_owned()] {
            let file = pdf(&[object(1, "", &told(&photo[..50]), &photo[..50]), object(2, filter, &length, &photo)]);
            let (found, doubt) = parts(&file, Options::default());
            assert_eq!(doubt, None, "{filter} {length}");
            let within = &found[1..found.len() - 1];
            assert_eq!(within, own, "{filter} {length}");
        }
    }
}

#[test]
fn what_zlib_packed_is_undone_wherever_its_length_stands() {
    let (a, b) = (words(700_000), words(1_300_000));
    let lists = ["/Filter[/FlateDecode]", "/Filter /Fl /DecodeParms << /Predictor 1 >>"];
    for (filter, is_told) in
        [("/Filter /FlateDecode", true), ("/Filter /FlateDecode", false), (lists[0], true), (lists[1], false)]
    {
        let packed = [&a, &b].map(|text| zlib(text));
        let length = |data: &[u8]| if is_told { told(data) } else { "7 0 R".to_owned() };
        let objects: Vec<_> = packed.iter().map(|data| object(3, filter, &length(data), data)).collect();
        let file = pdf(&objects);
        let (found, doubt) = parts(&file, ALWAYS);
        assert_eq!(doubt, None, "{filter} {is_told}");
        assert!(text_of(&found) == [&a[..], &b].concat(), "{filter} {is_told}");
        // Without leave it is essence, and ends where it ends.
        let (found, doubt) = parts(&file, Options::default());
        assert_eq!(doubt, None, "{filter} {is_told}");
        assert!(bytes_of(&file, &found, ESSENCE) == packed.concat(), "{filter} {is_told}");
    }
}

#[test]
fn small_streams_and_those_of_several_filters_are_not_taken_apart() {
    let small = zlib(&words(9_000));
    let twice = zlib(&words(90_000));
    let file = pdf(&[
        object(1, "/Filter /FlateDecode", &told(&small), &small),
        object(2, "/Filter [/ASCII85Decode /FlateDecode]", &told(&twice), &twice),
        object(3, "/Filter /LZWDecode", &told(&noise(80_000)), &noise(80_000)),
    ]);
    let (found, doubt) = parts(&file, ALWAYS);
    assert_eq!(doubt, None);
    assert!(found.iter().all(|p| matches!(p, Part::Run(_))));
    assert!(bytes_of(&file, &found, ESSENCE) == noise(80_000));
}

#[test]
fn a_length_that_is_too_long_or_too_short_breaks_nothing() {
    let text = words(900_000);
    let data = zlib(&text);
    let file = pdf(&[object(1, "/Filter /FlateDecode", "99999999999", &data)]);
    let (found, _) = parts(&file, ALWAYS);
    assert!(text_of(&found) == text, "its own end is believed");
    let file = pdf(&[object(1, "/Filter /FlateDecode", "30000", &data)]);
    parts(&file, ALWAYS);
    let file = pdf(&[object(1, "/Filter /DCTDecode", "99999999999", &noise(3_000_000))]);
    assert_eq!(parts(&file, ALWAYS).1, Some("pdf: it is cut short"));
    let file = pdf(&[object(1, "", "0 0 R", &noise(3_000_000))]);
    let (found, doubt) = parts(&file, ALWAYS);
    assert_eq!(doubt, None);
    assert!(bytes_of(&file, &found, ESSENCE)[..] == [&noise(3_000_000)[..], b"\n"].concat());
}

#[test]
fn keywords_that_are_no_streams_are_passed() {
    let photo = real("Photos/2008/Wood.jpg");
    let words = b"endobj stream\n<< >>stream\n 5 0 obj (a >>stream\n) endobj 6 0 obj\n<< /A /B >> endobj\n".to_vec();
    let far = [&b"7 0 obj\n<< /A ("[..], &[b'x'; 5000], b") >>\nstream\nendstream\nendobj\n"].concat();
    let file = pdf(&[words.repeat(900), far, object(8, "/Filter /DCTDecode", &told(&photo), &photo)]);
    let (found, doubt) = parts(&file, ALWAYS);
    assert_eq!((found.len() - 2, doubt), (collect_parts(open(head(&photo)), &photo, &[]).0.len(), None));
}

#[test]
fn what_looks_like_many_streams_costs_one_pass() {
    let file = [&b"%PDF-1.4\n"[..], &b"1 0 obj\n>>stream\n".repeat(200_000)].concat();
    let begun = std::time::Instant::now();
    let (found, _) = collect_parts(open(head(&file)), &file, &[]);
    assert_eq!(found.len(), 1);
    assert!(begun.elapsed().as_secs() < 5);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn mutated_files_are_covered_alike_in_any_windows(
        objects in prop::collection::vec((0..4_u8, any::<bool>(), prop_oneof![0..2_000_usize, 60_000..900_000_usize]), 1..5),
        flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
        cut in prop::option::of(any::<prop::sample::Index>()),
        windows in prop::collection::vec(0..1_000_000_usize, 1..8),
        always: bool,
    ) {
        let objects: Vec<Vec<u8>> = objects.iter().map(|&(kind, is_told, n)| {
            let (filter, data) = match kind {
                0 => ("/Filter /FlateDecode", zlib(&words(n / 4))),
                1 => ("/Filter /DCTDecode", [&real("Photos/2008/Wood.jpg")[..n.min(500_000)], &noise(n / 2)].concat()),
                2 => ("", noise(n)),
                _ => ("/Filter /FlateDecode", noise(n)),
            };
            let length = if is_told { told(&data) } else { "9 0 R".to_owned() };
            object(4, filter, &length, &data)
        }).collect();
        let mut file = pdf(&objects);
        for (at, value) in flips {
            let at = at.index(file.len() - 5) + 5;
            file[at] = value;
        }
        if let Some(cut) = cut {
            file.truncate(cut.index(file.len() - 5) + 5);
        }
        let options = if always { ALWAYS } else { Options::default() };
        let splitter = || super::open(head(&file), options).expect("a header");
        let whole = collect_parts(splitter(), &file, &[]);
        prop_assert_eq!(collect_parts(splitter(), &file, &windows), whole);
    }
}
