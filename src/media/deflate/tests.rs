//! Streams of real encoders and of our own, whole, changed, cut short, and in any windows.

use super::super::runs::Last;
use super::super::testing::{noise, real};
use super::super::{Part, WRAPPER, open_member};
pub use super::predict::KNOWN;
use super::*;
use proptest::prelude::*;

/// What zlib's levels, libdeflate, 7-Zip and Zopfli made of one text.
const REAL: [(&str, &[u8], usize); 7] = [
    ("zlib 1", include_bytes!("tests/zlib-1.deflate"), 60),
    ("zlib 3", include_bytes!("tests/zlib-3.deflate"), 60),
    ("zlib 6", include_bytes!("tests/zlib-6.deflate"), 60),
    ("zlib 9", include_bytes!("tests/zlib-9.deflate"), 60),
    ("libdeflate 8", include_bytes!("tests/libdeflate-8.deflate"), 400),
    ("7-Zip", include_bytes!("tests/7z-5.deflate"), 700),
    ("Zopfli", include_bytes!("tests/zopfli.deflate"), 800),
];

/// Undoes a stream; tells the segments, and how it ended.
fn undo(bytes: &[u8], window: usize) -> (Vec<Mapped>, Step, usize) {
    let mut undo = Undo::new(Deflate::Always, Text::new(open_member), false);
    let (mut at, mut parts, mut before) = (0, Vec::new(), Last::default());
    let end = loop {
        let end = bytes.len().min(at + window);
        let mut walk = Walk::new(&bytes[at..end], &mut parts, &mut before);
        let step = loop {
            match undo.step(&mut walk, end == bytes.len()) {
                Step::Went => {}
                step => break step,
            }
        };
        at = end - walk.rest().len();
        if step != Step::Wait {
            break step;
        }
    };
    let segments = parts.into_iter().map(|p| match p {
        Part::Mapped(m) => m,
        Part::Run(_) => panic!("a run"),
    });
    (segments.collect(), end, at)
}

fn parts(segment: &Mapped) -> Vec<&[u8]> {
    segment.parts.iter().map(|p| &p.bytes[..]).collect()
}

/// The bytes that segments stand for.
fn back(segments: &[Mapped]) -> Vec<u8> {
    segments.iter().flat_map(|s| inverse(&s.parameters, &parts(s), s.bytes as usize).expect("a way back")).collect()
}

fn text(segments: &[Mapped]) -> Vec<u8> {
    let texts = segments.iter().flat_map(|s| &s.parts).filter(|p| p.stream != CORRECTIONS);
    texts.flat_map(|p| p.bytes.clone()).collect()
}

/// What the mapped segments of a file say.
pub fn text_of(parts: &[Part]) -> Vec<u8> {
    parts
        .iter()
        .flat_map(|p| if let Part::Mapped(m) = p { text(std::slice::from_ref(m)) } else { Vec::new() })
        .collect()
}

fn corrections(segments: &[Mapped]) -> usize {
    segments.iter().flat_map(|s| &s.parts).filter(|p| p.stream == CORRECTIONS).map(|p| p.bytes.len()).sum()
}

/// Compresses as these settings do: blocks of so many tokens, now and then another kind.
pub fn deflate(text: &[u8], settings: Settings, tokens_a_block: usize, mixed: bool) -> Vec<u8> {
    let mut p = predict::Predictor::new(text, settings, true);
    let (mut blocks, mut tokens) = (Vec::new(), 0);
    while p.left() > 0 {
        let (token, before) = (p.next(), blocks.len() as u32);
        tokens += 1;
        p.pass(token);
        if tokens == tokens_a_block || p.left() == 0 {
            let kind = if mixed && before % 3 == 1 { 2 } else { 4 };
            blocks.extend([kind, tokens as u32]);
            tokens = 0;
        }
    }
    if let [.., kind, _] = &mut blocks[..] {
        *kind |= 1;
    } else {
        blocks.extend([3, 0]);
    }
    let mut corrections = coder::Encoder::default();
    corrections.list(&blocks);
    (0..7).for_each(|_| corrections.list(&[]));
    let mut out = bits::Writer::default();
    tokens::decode(text, &corrections.finish(), settings, true, &mut out, 2 * text.len() + 100 + 300 * blocks.len())
        .expect("a text");
    out.finish(0)
}

/// Words, numbers and noise.
pub fn words(bytes: usize) -> Vec<u8> {
    let noise = noise(bytes);
    let mut out = Vec::with_capacity(bytes + 16);
    for n in noise.chunks(2) {
        let (a, b) = (usize::from(n[0]), usize::from(n[n.len() - 1]));
        match a % 8 {
            0 => out.extend_from_slice(n),
            _ => out.extend_from_slice(&b"the quick brown fox jumps over a lazy dog again"[b % 31..][..a % 13 + 2]),
        }
        if out.len() >= bytes {
            break;
        }
    }
    out.truncate(bytes);
    out
}

#[test]
fn streams_of_real_encoders_come_back_from_few_corrections() {
    let mut texts = Vec::new();
    for (name, stream, most) in REAL {
        let (segments, end, used) = undo(&[stream, b"trailer"].concat(), usize::MAX >> 1);
        assert_eq!((segments.len(), end, used), (1, Step::End, stream.len()), "{name}");
        assert!(back(&segments) == stream, "{name}");
        assert!(corrections(&segments) <= most, "{name}: {} of {}", corrections(&segments), stream.len());
        texts.push(text(&segments));
    }
    assert!(texts.windows(2).all(|t| t[0] == t[1]), "they say the same");
}

#[test]
fn a_real_pictures_deflate_comes_back() {
    let png = real("kaligari/Hums/cover.png");
    let (mut at, mut zlib) = (8, Vec::new());
    while at < png.len() {
        let n = u32::from_be_bytes(*png[at..].first_chunk().unwrap()) as usize;
        if &png[at + 4..at + 8] == b"IDAT" {
            zlib.extend_from_slice(&png[at + 8..at + 8 + n]);
        }
        at += 12 + n;
    }
    let stream = &zlib[2..];
    let (segments, end, used) = undo(stream, usize::MAX >> 1);
    assert_eq!((end, used), (Step::End, stream.len() - 4));
    assert!(back(&segments) == stream[..used]);
    assert!(corrections(&segments) * 8 < used);
}

#[test]
fn what_zlib_writes_is_guessed_at_each_of_its_levels() {
    let text = words(60_000);
    for settings in KNOWN {
        let stream = deflate(&text, settings, 2_000, false);
        let (segments, end, _) = undo(&stream, usize::MAX >> 1);
        assert_eq!(end, Step::End);
        assert!(corrections(&segments) * 200 < stream.len(), "{settings:?}: {}", corrections(&segments));
        assert!(back(&segments) == stream && self::text(&segments) == text);
    }
}

#[test]
fn a_long_stream_is_segments_with_borders_at_any_bit_whatever_the_windows() {
    let text = [noise(1_200_000), words(700_000), noise(1_200_000)].concat();
    let stream = deflate(&text, KNOWN[4], 9_999, true);
    let whole = undo(&stream, usize::MAX >> 1);
    assert!(whole.0.len() >= 3 && whole.1 == Step::End, "{} {:?}", whole.0.len(), whole.1);
    assert!(back(&whole.0) == stream && self::text(&whole.0) == text);
    assert!(whole.0.iter().skip(1).any(|s| s.parameters[1] > 1), "a border within a byte");
    assert_eq!(undo(&stream, WINDOW_MIN), whole);
    assert_eq!(undo(&stream, WINDOW_MIN + 77_777), whole);
}

#[test]
fn a_reference_to_text_before_the_segment_is_kept() {
    // Repetitions of noise, 30 KB apart: each segment begins with references that its own text cannot explain.
    let text = noise(30_000).repeat(200);
    let stream = deflate(&text, KNOWN[8], 2_000, false);
    let (segments, end, _) = undo(&stream, usize::MAX >> 1);
    assert_eq!((segments.len(), end), (2, Step::End));
    assert!(back(&segments) == stream);
    let told = segments[1].parts.last().map(|p| p.bytes.len());
    assert!(told > Some(100) && told < Some(2_000), "about a byte for each of its first references: {told:?}");
}

#[test]
fn stored_blocks_come_back_with_their_padding() {
    for padding in [0, 0b1_0110] {
        let mut out = bits::Writer::default();
        for (last, n) in [(0, 1000_u32), (0, 0), (1, 70)] {
            out.put(last, 3);
            out.put(padding, 5);
            out.put(n | (n ^ 0xffff) << 16, 32);
            out.put_bytes(&noise(n as usize));
        }
        let stream = out.finish(0);
        let (segments, end, used) = undo(&stream, usize::MAX >> 1);
        assert_eq!((segments.len(), end, used), (1, Step::End, stream.len()));
        assert!(back(&segments) == stream);
        assert_eq!(text(&segments).len(), 1070);
    }
}

#[test]
fn the_bits_behind_the_last_block_are_kept() {
    let mut stream = deflate(b"abcabcabc", KNOWN[0], 100, false);
    for tail in [0, 0x80] {
        *stream.last_mut().unwrap() |= tail;
        let (segments, end, _) = undo(&stream, usize::MAX >> 1);
        assert_eq!(end, Step::End);
        assert_eq!(back(&segments), stream);
    }
}

#[test]
fn segments_of_version_1_are_read_for_ever() {
    let (_, stream, _) = REAL[4]; // of libdeflate, so that there is something to correct
    let (segments, ..) = undo(stream, usize::MAX >> 1);
    let [segment] = &segments[..] else { panic!("one segment") };
    assert_eq!(segment.parts[0].stream, super::super::ESSENCE);
    // If this fails, the encoder changed, and older stores hold the golden bytes: they must still be read.
    let golden = include_bytes!("tests/golden.corrections");
    let parameters = include_bytes!("tests/golden.parameters");
    let text = text(&segments);
    assert!(inverse(parameters, &[&text, golden], stream.len()).unwrap() == stream);
    assert_eq!((&segment.parameters[..], &segment.parts[1].bytes[..]), (&parameters[..], &golden[..]));
}

#[test]
fn what_expands_too_far_stops_and_costs_no_more_than_the_bound() {
    // Zeros: a block of 16,383 tokens is 4 MB of text.
    let stream = deflate(&vec![0; 40 << 20], KNOWN[1], 16_383, false);
    let (segments, ..) = undo(&stream, usize::MAX >> 1);
    assert!(segments.len() > 3);
    assert!(segments.iter().all(|s| s.parts.iter().map(|p| p.bytes.len()).sum::<usize>() <= 25 << 20));
    // One block that says more than a segment may hold.
    let (segments, end, used) = undo(&deflate(&vec![0; 30 << 20], KNOWN[1], usize::MAX, false), usize::MAX >> 1);
    assert_eq!((segments.len(), end, used), (0, Step::Stop("deflate: a block that is too long"), 0));
    // And one that has more bytes.
    let (segments, end, _) = undo(&deflate(&noise(1_200_000), KNOWN[1], usize::MAX, false), usize::MAX >> 1);
    assert_eq!((segments.len(), end), (0, Step::Stop("deflate: a block that is too long")));
}

#[test]
fn who_is_asked_sees_the_text_and_may_decline() {
    let stream = deflate(b"hello, hello, hello", KNOWN[0], 100, false);
    for answer in [false, true] {
        let ask = |text: &[u8]| {
            assert_eq!(text, b"hello, hello, hello");
            answer
        };
        let mut undo = Undo::new(Deflate::Ask(&ask), Text::new(open_member), false);
        let (mut parts, mut before) = (Vec::new(), Last::default());
        let mut walk = Walk::new(&stream, &mut parts, &mut before);
        assert_eq!(undo.step(&mut walk, true), if answer { Step::End } else { Step::Declined });
        assert_eq!(parts.len(), usize::from(answer));
    }
}

#[test]
fn no_blocks_but_an_end_are_a_segment_too() {
    let stream = deflate(b"", KNOWN[0], 1, false);
    let (segments, end, used) = undo(&stream, usize::MAX >> 1);
    assert_eq!((back(&segments), end, used), (stream.clone(), Step::End, stream.len()));
    assert_eq!(segments[0].parts.len(), 1);
    assert_ne!(segments[0].parts[0].stream, WRAPPER);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn changed_or_cut_streams_come_back_as_far_as_they_are_given(
        which in 0..REAL.len(),
        flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..3),
        cut in prop::option::of(any::<prop::sample::Index>()),
    ) {
        let mut stream = REAL[which].1.to_vec();
        for (at, value) in flips {
            let at = at.index(stream.len());
            stream[at] = value;
        }
        if let Some(cut) = cut {
            stream.truncate(cut.index(stream.len()));
        }
        let (segments, _, used) = undo(&stream, usize::MAX >> 1);
        prop_assert!(back(&segments) == stream[..used]);
    }

    #[test]
    fn any_text_comes_back_under_any_settings(
        pieces in prop::collection::vec((0..300_usize, any::<bool>()), 0..12),
        settings in 0..KNOWN.len(),
        block in 1..400_usize,
        mixed: bool,
    ) {
        let text: Vec<u8> = pieces.iter().flat_map(|&(n, w)| if w { words(n) } else { noise(n) }).collect();
        let stream = deflate(&text, KNOWN[settings], block, mixed);
        let (segments, end, used) = undo(&stream, usize::MAX >> 1);
        // Too many corrections for a few bytes are a reason to stop.
        prop_assert!(end == Step::End || segments.is_empty());
        prop_assert!(back(&segments) == stream[..used]);
    }

    #[test]
    fn a_changed_segment_is_refused_or_is_other_bytes(
        at in any::<prop::sample::Index>(),
        value: u8,
        which in 0..3_usize,
        bytes in 0..20_000_usize,
    ) {
        let (segments, ..) = undo(REAL[4].1, usize::MAX >> 1);
        let mut segment = segments[0].clone();
        let of = match which {
            0 => &mut segment.parameters,
            n => &mut segment.parts[n - 1].bytes,
        };
        let at = at.index(of.len());
        of[at] = value;
        let _ = inverse(&segment.parameters, &parts(&segment), segment.bytes as usize);
        let _ = inverse(&segments[0].parameters, &parts(&segments[0]), bytes);
    }

    #[test]
    fn arbitrary_segments_never_panic(parameters: Vec<u8>, parts: Vec<Vec<u8>>, bytes in 0..100_000_usize) {
        let parts: Vec<&[u8]> = parts.iter().map(Vec::as_slice).collect();
        let _ = inverse(&parameters, &parts, bytes);
        let mut good = vec![0, 1, 0];
        KNOWN[0].encode_into(&mut good);
        let _ = inverse(&good, &parts, bytes);
    }
}
