//! Members one and many, tars in them, and whatever else may follow.

use super::super::deflate::tests::{deflate, text_of, words};
use super::super::testing::{collect_parts, flac_file, head, noise, streams};
use super::super::{open, open_with, tar};
use super::*;

const ALWAYS: Options<'static> = Options { deflate: Deflate::Always };

fn member(flags: u8, text: &[u8]) -> Vec<u8> {
    let mut out = vec![0x1f, 0x8b, 8, flags, 1, 2, 3, 4, 0, 3];
    if flags & 4 != 0 {
        out.extend_from_slice(b"\x05\0extra");
    }
    if flags & 8 != 0 {
        out.extend_from_slice(b"a name\0");
    }
    if flags & 16 != 0 {
        out.extend_from_slice(b"\0");
    }
    if flags & 2 != 0 {
        out.extend_from_slice(b"cc");
    }
    out.extend(deflate(text, super::super::deflate::tests::KNOWN[0], 5_000, false));
    out.extend_from_slice(b"CRC-SIZE");
    out
}

fn parts(file: &[u8]) -> (Vec<Part>, Option<&'static str>) {
    let whole = collect_parts(open_with(head(file), ALWAYS), file, &[]);
    assert_eq!(collect_parts(open_with(head(file), ALWAYS), file, &[0]), whole);
    assert_eq!(collect_parts(open_with(head(file), ALWAYS), file, &[99_999, 3]), whole);
    whole
}

#[test]
fn members_are_undone_one_after_the_other_and_zeros_may_follow() {
    let (a, b) = (words(30_000), noise(90_000));
    for flags in 0..32 {
        let file = [member(flags, &a), member(31 - flags, &b), vec![0; 100]].concat();
        if flags % 7 > 0 {
            let (found, doubt) = collect_parts(open_with(head(&file), ALWAYS), &file, &[]);
            assert_eq!((text_of(&found), doubt), ([a.clone(), b.clone()].concat(), None), "{flags}");
            continue;
        }
        let (found, doubt) = parts(&file);
        assert_eq!((text_of(&found), doubt), ([a.clone(), b.clone()].concat(), None), "{flags}");
        assert_eq!(found.iter().filter(|p| matches!(p, Part::Run(r) if r.stream == WRAPPER)).count(), 3);
    }
}

#[test]
fn a_tar_within_is_split_into_its_members() {
    let sound = flac_file(700_000, &[(4, 300)], false);
    let tar = tar::tests::archive(&[("a", &noise(400)), ("b.flac", &sound), ("c", &noise(200_000))]);
    let file = member(0, &tar);
    let (found, doubt) = parts(&file);
    assert_eq!(doubt, None);
    let streams = streams(&file, &found);
    assert!(streams[&ESSENCE] == [&sound[42 + 304..], &noise(200_000)].concat());
    let pieces: Vec<_> = found
        .iter()
        .filter_map(|p| if let Part::Mapped(m) = p { Some(&m.parts) } else { None })
        .flatten()
        .filter(|p| p.stream == ESSENCE && p.cut)
        .collect();
    assert_eq!(pieces.len(), 2, "each essence begins with a border");
}

/// What is mapped counts as plain bytes in a text: so that no codec of pictures would take it.
#[test]
fn pictures_in_a_text_stand_as_in_the_file_and_are_pictures_still() {
    let pixels = words(300 * 4 * 400);
    let header = [0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 44, 1, 144, 1, 32, 8];
    let tga = [&header[..], &pixels].concat();
    let tar = tar::tests::archive(&[("a.tga", &tga)]);
    for text in [&tga, &tar] {
        let file = member(0, text);
        let (found, _) = parts(&file);
        assert!(streams(&file, &found)[&ESSENCE] == pixels);
        let all = found.iter().filter_map(|p| if let Part::Mapped(m) = p { Some(&m.parts) } else { None }).flatten();
        assert!(all.filter(|p| p.stream == ESSENCE).all(|p| p.form.is_samples()), "{}", text.len());
    }
}

#[test]
fn without_leave_and_on_refusal_it_stays_as_it_is() {
    let file = member(8, &words(200_000));
    assert_ne!(open(head(&file)).id(), GZIP);
    let options = Options { deflate: Deflate::Ask(&|_| false) };
    let (found, doubt) = collect_parts(open_with(head(&file), options), &file, &[]);
    assert_eq!((found.len(), doubt), (2, None), "the header and the rest");
}

#[test]
fn what_is_broken_is_doubted_and_covered() {
    let text = words(60_000);
    let file = member(0, &text);
    for cut in [10, 500, file.len() - 9, file.len() - 1] {
        let (found, doubt) = parts(&file[..cut]);
        assert!(doubt.is_some(), "cut to {cut}");
        assert_eq!(found.iter().map(Part::bytes).sum::<u64>(), cut as u64);
    }
    let (_, doubt) = parts(&[&file[..], b"more"].concat());
    assert_eq!(doubt, Some("gzip: a header that is none"));
    for at in (10..file.len()).step_by(file.len() / 20) {
        let mut file = file.clone();
        file[at] ^= 1 << (at % 8);
        collect_parts(open_with(head(&file), ALWAYS), &file, &[]);
    }
}
