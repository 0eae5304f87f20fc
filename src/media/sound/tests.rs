//! The same samples in every format are the same stream; what is no such file is covered.

use super::super::testing::{ape, collect_parts, head, id3v1, id3v2, noise, real, streams, without_tail};
use super::super::words::{CORRECTIONS, Kind};
use super::super::{AIFF, AU, CAF, OPAQUE, Part, Run, WAV, open};
use super::files::*;
use super::*;
use crate::chunk::Pcm;
use proptest::prelude::*;

/// An essence: pieces between borders, each with its form.
type Pieces = Vec<(Form, Vec<u8>)>;

/// What a file's essence is, however it stands there; what corrections there are; the wrapper.
fn split(bytes: &[u8]) -> (Pieces, Vec<u8>, Vec<u8>) {
    let (parts, doubt) = collect_parts(open(head(bytes)), bytes, &[]);
    assert_eq!(doubt, None);
    let pieces = pieces(bytes, &parts);
    let mut streams = streams(bytes, &parts);
    assert!(streams.keys().all(|s| [WRAPPER, ESSENCE, CORRECTIONS].contains(s)));
    let mut take = |stream| streams.remove(&stream).unwrap_or_default();
    (pieces, take(CORRECTIONS), take(WRAPPER))
}

fn pieces(bytes: &[u8], parts: &[Part]) -> Pieces {
    let (mut at, mut pieces) = (0, Pieces::new());
    let mut add = |cut: bool, form: Form, bytes: &[u8]| match pieces.last_mut() {
        Some((_, piece)) if !cut => piece.extend_from_slice(bytes),
        _ => pieces.push((form, bytes.to_vec())),
    };
    for part in parts {
        let file = &bytes[at..at + part.bytes() as usize];
        at += file.len();
        match part {
            Part::Run(run) if run.stream == ESSENCE => add(run.cut, run.form, file),
            Part::Run(_) => {}
            Part::Mapped(mapped) => {
                for part in mapped.parts.iter().filter(|p| p.stream == ESSENCE) {
                    add(part.cut, part.form, &part.bytes);
                }
            }
        }
    }
    pieces
}

fn pcm(sample_bytes: u8, channels: usize) -> Form {
    Form::Pcm(Pcm { sample_bytes, channels: channels as u8, coded: false })
}

#[test]
fn samples_are_the_same_stream_in_every_format() {
    for channels in [1, 2, 5] {
        let samples = tune(5_000, channels);
        let native = words(&samples, 16, word(2, false, Kind::Signed));
        for (name, file) in everywhere(&samples, 16, channels) {
            let (pieces, corrections, wrapper) = split(&file);
            assert!(pieces == [(pcm(2, channels), native.clone())], "{channels} {name}");
            assert!(corrections.is_empty() && wrapper.len() < 2000, "{name}");
        }
        let samples: Vec<i32> = samples.iter().map(|n| (n << 8) + n % 100).collect();
        let native = words(&samples, 24, word(3, false, Kind::Signed));
        for (name, file) in everywhere(&samples, 24, channels) {
            assert!(split(&file).0 == [(pcm(3, channels), native.clone())], "{channels} {name}");
        }
    }
}

#[test]
fn long_files_are_the_same_stream_in_any_windows() {
    let samples = tune(300_001, 2);
    let native = words(&samples, 16, word(2, false, Kind::Signed));
    for (name, file) in everywhere(&samples, 16, 2).into_iter().filter(|(n, _)| {
        ["wav Float", "aiff (2", "wav (4, false, Float", "caf (8, true", "wav (3", "aiff (4"]
            .iter()
            .any(|p| n.contains(p))
    }) {
        for windows in [&[][..], &[0], &[1], &[12_345, 1, 0]] {
            let (parts, doubt) = collect_parts(open(without_tail(&file)), &file, windows);
            assert_eq!(doubt, None);
            assert!(pieces(&file, &parts) == [(pcm(2, 2), native.clone())], "{name} {windows:?}");
        }
    }
}

#[test]
fn unsigned_bytes_are_signed_ones() {
    let samples: Vec<i32> = tune(3000, 2).iter().map(|n| n >> 8).collect();
    let native = words(&samples, 8, word(1, false, Kind::Signed));
    let unsigned = words(&samples, 8, word(1, false, Kind::Unsigned));
    for file in [
        wav(&unsigned, 2, word(1, false, Kind::Unsigned), false),
        w64(&unsigned, 2, word(1, false, Kind::Unsigned)),
        aiff(&unsigned, 2, 8, Some(b"raw ")),
        aiff(&native, 2, 8, None),
        au(&native, 2, word(1, true, Kind::Signed)),
        caf(&native, 2, word(1, false, Kind::Signed), true),
    ] {
        assert!(split(&file).0 == [(pcm(1, 2), native.clone())]);
    }
}

#[test]
fn the_real_file_is_one_run_of_samples() {
    let file = real("Rutger Muller/Piano/01 Piano.wav");
    let (parts, doubt) = collect_parts(open(head(&file)), &file, &[]);
    assert_eq!(doubt, None);
    let run = |stream, bytes, form| Part::Run(Run { stream, bytes, cut: true, form });
    let sound = u64::from(u32::from_le_bytes(file[40..44].try_into().unwrap()));
    let mut expected = vec![run(WRAPPER, 44, Form::Bytes), run(ESSENCE, sound, pcm(2, 2))];
    if file.len() as u64 > 44 + sound {
        expected.push(run(WRAPPER, file.len() as u64 - 44 - sound, Form::Bytes));
    }
    assert_eq!(parts, expected);
}

#[test]
fn a_file_widens_for_good_where_samples_do_not_fit() {
    let how = word(4, false, Kind::Signed);
    let segment = 240 << 10;
    // 16 bits, then a sample of 24 in the third segment, then one of 32 in the last.
    let mut samples: Vec<i32> = tune(segment * 2, 2).iter().map(|n| n << 16).collect();
    samples[segment * 2 + 5] |= 0x100;
    samples[segment * 3 + segment - 1] |= 1;
    let wide = |from: usize, to: usize, bytes: usize| -> Vec<u8> {
        samples[from..to].iter().flat_map(|n| n.to_le_bytes()[4 - bytes..].to_vec()).collect()
    };
    let expected = [
        (pcm(2, 2), wide(0, segment * 2, 2)),
        (pcm(3, 2), wide(segment * 2, segment * 3, 3)),
        (pcm(4, 2), wide(segment * 3, segment * 4, 4)),
    ];
    for (name, file) in everywhere(&samples, 32, 2) {
        let (pieces, ..) = split(&file);
        if name.contains("Float") {
            // Segments of half as many samples.
            assert_eq!(pieces.iter().map(|p| p.0).collect::<Vec<_>>(), expected.each_ref().map(|p| p.0), "{name}");
        } else {
            assert!(pieces == expected, "{name}");
        }
    }
    let file = wav(&words(&samples, 32, how), 2, how, false);
    let (parts, _) = collect_parts(open(head(&file)), &file, &[0]);
    let mapped = parts.iter().filter(|p| matches!(p, Part::Mapped(_))).count();
    assert_eq!(mapped, 3, "as they are from there on");
}

#[test]
fn silence_within_a_wide_file_changes_nothing() {
    let how = word(3, false, Kind::Signed);
    let mut samples: Vec<i32> = tune(600_000, 2).iter().map(|n| (n << 8) | 1).collect();
    samples[500_000..900_000].fill(0);
    let data = words(&samples, 24, how);
    assert!(split(&wav(&data, 2, how, false)).0 == [(pcm(3, 2), data.clone())]);
}

#[test]
fn silence_at_the_start_of_a_file_of_24_bits_has_no_border_behind_it() {
    let mut samples: Vec<i32> = tune(150_000, 2).iter().map(|n| (n << 8) | 1).collect();
    samples[..250_000].fill(0);
    let native = words(&samples, 24, word(3, false, Kind::Signed));
    for (name, file) in everywhere(&samples, 24, 2) {
        let (pieces, corrections, _) = split(&file);
        assert!(corrections.is_empty());
        // Unsigned silence is not zero: rare enough.
        assert!(name.contains("Unsigned") || pieces == [(pcm(3, 2), native.clone())], "{name}");
    }
    // What is narrower has one, and silence alone has the same form everywhere.
    for narrow in [true, false] {
        let samples: Vec<i32> = samples.iter().map(|n| if narrow { n & !0xff } else { 0 }).collect();
        let silence = if narrow { 240 << 10 } else { samples.len() };
        let mut expected = vec![(pcm(3, 2), vec![0; silence * 3])];
        if narrow {
            let sound: Vec<i32> = samples[silence..].iter().map(|n| n >> 8).collect();
            expected.push((pcm(2, 2), words(&sound, 16, word(2, false, Kind::Signed))));
        }
        for (name, file) in everywhere(&samples, 24, 2).into_iter().filter(|(n, _)| !n.contains("Unsigned")) {
            assert!(split(&file).0 == expected, "{name}");
        }
    }
}

#[test]
fn floats_that_are_no_integers_stay_and_rare_ones_are_corrected() {
    let samples = tune(100_000, 2);
    let native = words(&samples, 16, word(2, false, Kind::Signed));
    for (bytes, big) in [(4, false), (4, true), (8, false), (8, true)] {
        let how = word(bytes, big, Kind::Float);
        let n = usize::from(bytes);
        let mut data = words(&samples, 16, how);
        let odd = [-0.0, 1.0, -1.5, f64::NAN, f64::INFINITY, 1e-40, 0.1, f64::MAX];
        let mut expected = native.clone();
        for (i, x) in odd.into_iter().enumerate() {
            let at = [0, 1, 600, 601, 1023, 5_000, 150_000, 199_999][i];
            let mut w = if n == 4 { (x as f32).to_le_bytes().to_vec() } else { x.to_le_bytes().to_vec() };
            if big {
                w.reverse();
            }
            data[at * n..(at + 1) * n].copy_from_slice(&w);
            let near: i16 = [0, i16::MAX, i16::MIN, 0, i16::MAX, 0, 3276, i16::MAX][i];
            expected[at * 2..at * 2 + 2].copy_from_slice(&near.to_le_bytes());
        }
        let file = caf(&data, 2, how, true);
        let (pieces, corrections, _) = split(&file);
        assert!(pieces == [(pcm(2, 2), expected)], "{how:?}");
        assert!(corrections.len() <= 8 * (n + 3), "{} bytes", corrections.len());

        // Half of them: as they are, in one order.
        for (i, place) in data.chunks_mut(n).enumerate().filter(|(i, _)| i % 2 == 0) {
            place[if big { n - 1 } else { 0 }] = i as u8 | 1;
        }
        let file = caf(&data, 2, how, true);
        let (pieces, corrections, _) = split(&file);
        if big {
            data.chunks_mut(n).for_each(<[u8]>::reverse);
        }
        assert!(pieces == [(Form::Bytes, data)] && corrections.is_empty(), "{how:?}");
    }
}

#[test]
fn what_is_coded_otherwise_is_an_essence_of_bytes() {
    let data = noise(10_001);
    let other = |tag: u16| {
        let mut body = b"WAVE".to_vec();
        body.extend(chunk(b"fmt ", &fmt(tag, 2, 1, false, false), false));
        body.extend(chunk(b"data", &data, false));
        [b"RIFF", &le32(body.len())[..], &body].concat()
    };
    let files = [
        other(2),
        other(6),
        other(7),
        other(0x55),
        other(0x11),
        aiff(&data, 2, 16, Some(b"ulaw")),
        aiff(&data, 2, 16, Some(b"ima4")),
        au(&data, 0x0100_0000, word(2, true, Kind::Signed)),
        [b"RIFF\0\0\0\0WAVE".to_vec(), chunk(b"data", &data, false)].concat(),
    ];
    for file in files {
        let (pieces, _, wrapper) = split(&file);
        assert_eq!(pieces, [(Form::Bytes, data.clone())]);
        assert_eq!(wrapper.len() + data.len(), file.len());
    }
    // More channels than a form can say.
    let samples = tune(300, 40);
    let native = words(&samples, 16, word(2, false, Kind::Signed));
    let big = words(&samples, 16, word(2, true, Kind::Signed));
    assert_eq!(split(&wav(&native, 40, word(2, false, Kind::Signed), false)).0, [(Form::Bytes, native.clone())]);
    assert_eq!(split(&aiff(&big, 40, 16, None)).0, [(Form::Bytes, native)]);
}

#[test]
fn half_a_frame_at_the_end_is_wrapper() {
    let samples = tune(2_000, 3);
    let native = words(&samples, 16, word(2, false, Kind::Signed));
    for (name, file) in everywhere(&samples, 16, 3) {
        if !name.contains("pipe") && !name.starts_with("au") {
            continue;
        }
        let bytes = file.len() - split(&file).2.len();
        let (frame, front) = (bytes / 2_000, file.len() - bytes);
        for less in [1, frame - 1, frame, frame + 1, 700 * frame + 2] {
            let (pieces, _, wrapper) = split(&file[..file.len() - less]);
            let whole = (bytes - less) / frame;
            assert!(pieces == [(pcm(2, 3), native[..whole * 6].to_vec())], "{name}");
            assert_eq!(wrapper.len() - front, (bytes - less) % frame);
        }
        let (pieces, _, wrapper) = split(&file[..front]);
        assert_eq!((pieces, wrapper.len()), (vec![], front), "no samples are no doubt");
    }
}

#[test]
fn samples_go_on_behind_a_size_that_lost_its_upper_bits() {
    let (native, big) = (word(3, false, Kind::Signed), word(3, true, Kind::Signed));
    let samples: Vec<i32> = tune(500_000, 2).iter().map(|n| (n << 8) | 1).collect();
    let data = words(&samples, 24, native);
    let expected = [(pcm(3, 2), data.clone())];
    // As if 4 GiB more had been there: sizes that end within a frame, within the first or a later segment, and nowhere.
    for size in [0, 1, 1_000_001, 2_000_000, 2_000_003, data.len() - 1000] {
        let mut file = wav_of_pipe(&data, 2, native, [77, size as u32]);
        assert!(split(&file).0 == expected, "{size}");
        file.extend(chunk(b"LIST", &[0; 20], false));
        let (parts, _) = collect_parts(open(head(&file)), &file, &[0, 1, 5]);
        assert!(parts == collect_parts(open(head(&file)), &file, &[]).0);
        let mut file = aiff(&words(&samples, 24, big), 2, 24, None);
        let at = file.windows(4).position(|w| w == b"SSND").unwrap() + 4;
        file[at..at + 4].copy_from_slice(&be32(14 + size));
        let (parts, _) = collect_parts(open(head(&file)), &file, &[0, 7, 5]);
        assert!(parts == collect_parts(open(head(&file)), &file, &[]).0);
        assert!(pieces(&file, &parts)[0].1.starts_with(&data), "{size}");
    }
}

#[test]
fn tags_and_chunks_behind_the_samples_are_wrapper() {
    let how = word(2, false, Kind::Signed);
    let data = words(&tune(1000, 1)[..999], 16, how);
    for behind in
        [&b"LIST\x04\0\0\0abcd"[..], &id3v1(""), &id3v2(3, 200), b"afsp\0", b"\0\0\0\0\0", b"1234567", &ape(2000, 50)]
    {
        let file = [wav_of_pipe(&data, 1, how, [5, data.len() as u32]), behind.to_vec()].concat();
        let (pieces, _, wrapper) = split(&file);
        assert!(pieces == [(pcm(2, 1), data.clone())]);
        assert!(wrapper.ends_with(behind));
    }
    // A byte of padding behind an odd number, and none.
    let data = [&data[..], &[5]].concat();
    for pad in [&b""[..], b"\0", b"x"] {
        let front = wav_of_pipe(&data, 1, word(1, false, Kind::Unsigned), [5, data.len() as u32]);
        let file = [&front, pad, b"LIST\x04\0\0\0abcd"].concat();
        assert!(split(&file).0[0].1.len() == data.len());
    }
}

#[test]
fn samples_that_end_near_a_windows_end_are_split_alike() {
    for (kind, odd) in [(Kind::Signed, 0), (Kind::Unsigned, 0), (Kind::Signed, 1), (Kind::Unsigned, 1)] {
        for before in 0..20 {
            let front = aiff(&[], 1, 8, Some(if kind == Kind::Signed { b"NONE" } else { b"raw " }));
            let at = front.windows(4).position(|w| w == b"SSND").unwrap() + 4;
            let first = at + 4 + 14;
            // In the second window, which begins where the first was consumed: to its end, or by whole segments.
            let begin = if kind == Kind::Signed { WINDOW_MIN - first } else { 8 * (240 << 10) };
            let size = (begin + WINDOW_MIN - before) | odd;
            let mut file = [&front[..first], &noise(size + 5_000)].concat();
            file[at..at + 4].copy_from_slice(&be32(size + 14));
            for behind in [&[0; 9][..], b"LIST\0\0\0\0", b"\0LIST\0\0\0\0"] {
                file[first + size..][..behind.len()].copy_from_slice(behind);
                let whole = collect_parts(open(head(&file)), &file, &[]);
                for windows in [&[0][..], &[1]] {
                    assert!(whole == collect_parts(open(head(&file)), &file, windows), "{before} {windows:?}");
                }
            }
        }
    }
}

#[test]
fn tags_before_the_file_are_wrapper() {
    let samples = tune(2_000, 2);
    let native = words(&samples, 16, word(2, false, Kind::Signed));
    for (name, file) in everywhere(&samples, 16, 2) {
        let file = [id3v2(3, 500), id3v2(4, 20), file].concat();
        assert!(split(&file).0 == [(pcm(2, 2), native.clone())], "{name}");
    }
}

#[test]
fn each_format_has_its_number() {
    let how = word(2, true, Kind::Signed);
    for (file, id) in [
        (wav(&[0; 90], 1, how, false), WAV),
        (w64(&[0; 90], 1, word(2, false, Kind::Signed)), WAV),
        (aiff(&[0; 90], 1, 16, None), AIFF),
        (caf(&[0; 90], 1, how, true), CAF),
        (au(&[0; 90], 1, how), AU),
        (b"RIFF\0\0\0\0RMIDdata".to_vec(), OPAQUE),
        (b"FORM\0\0\0\0ILBM....".to_vec(), OPAQUE),
        (b".snd\0\0\0\x17\0\0\0\x17\0\0\0\x03\0\0\0\0\0\0\0\x01".to_vec(), OPAQUE),
        (b"caff\0\x02\0\0".to_vec(), OPAQUE),
    ] {
        assert_eq!(open(head(&file)).id(), id);
    }
}

#[test]
fn headers_that_cannot_be_are_doubted_and_covered() {
    let how = word(2, false, Kind::Signed);
    let riff = b"RIFF\0\0\0\0WAVE".to_vec();
    let w64_front = w64(&[], 1, how)[..40].to_vec();
    let caff = b"caff\0\x01\0\0".to_vec();
    for (file, reason) in [
        (riff.clone(), "sound: the file ends before its samples"),
        ([riff.clone(), b"\0\0\0\0\0\0\0\0".to_vec()].concat(), "wav: a chunk without a name"),
        ([riff.clone(), b"JUNK\xff\xff\xff\xff".to_vec()].concat(), "sound: the file ends before its samples"),
        ([riff.clone(), b"fmt \x02\0\0\0\0\0".to_vec()].concat(), "wav: a format cut short"),
        ([riff.clone(), b"JUNK\0\0\0\0".repeat(5000)].concat(), "sound: too many headers"),
        ([w64_front, vec![b'a'; 16], vec![23, 0, 0, 0, 0, 0, 0, 0]].concat(), "w64: a chunk smaller than its header"),
        ([caff.clone(), b"free\xff\0\0\0\0\0\0\0".to_vec()].concat(), "caf: a size that cannot be"),
        ([caff.clone(), b"data\0\0\0\0\0\0\0\x03".to_vec()].concat(), "caf: a size that cannot be"),
        ([caff, b"desc\0\0".to_vec()].concat(), "caf: a chunk cut short"),
        (b"FORM\0\0\0\0AIFFSSND\0\0\0\0\0".to_vec(), "aiff: samples cut short"),
        (b"FORM\0\0\0\0AIFFCOMM\0\0\0\x02\0\0".to_vec(), "aiff: a format cut short"),
    ] {
        let (parts, doubt) = collect_parts(open(head(&file)), &file, &[0]);
        assert_eq!(doubt, Some(reason));
        assert_eq!(parts.iter().map(Part::bytes).sum::<u64>(), file.len() as u64);
    }
}

#[test]
fn windows_that_are_too_small_are_covered_too() {
    let samples = tune(5_000, 2);
    for (name, file) in everywhere(&samples, 16, 2) {
        for size in [1, 3, 17, 1000, 4097] {
            let (mut splitter, mut parts, mut at) = (open(head(&file)), Vec::new(), 0);
            while at < file.len() {
                let end = file.len().min(at + size);
                parts.clear();
                splitter.split(&file[at..end], end == file.len(), &mut parts);
                let used = parts.iter().map(|p| p.bytes() as usize).sum::<usize>();
                assert!(used > 0 && at + used <= end, "{name} {size}");
                at += used;
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Covering, borders and ways back are checked in `collect_parts`.
    #[test]
    fn mutated_files_are_covered_alike_in_any_windows(
        pick in any::<prop::sample::Index>(),
        channels in prop::sample::select(vec![1_usize, 2, 3, 6]),
        frames in prop_oneof![0..3_000_usize, 200_000..500_000_usize],
        bits in prop::sample::select(vec![16, 24]),
        flips in prop::collection::vec(
            (prop_oneof![0..900_usize, 0..6_000_000_usize], any::<bool>(), any::<u8>()),
            0..6,
        ),
        cut_short in prop::option::of(any::<prop::sample::Index>()),
        windows in prop::collection::vec(prop_oneof![0..64_usize, 0..1_000_000_usize], 1..8),
    ) {
        let frames = frames / channels;
        // Each file is made from few samples: making all of them long would take most of the time.
        let count = everywhere(&[], bits, channels).len();
        let short = tune(frames.min(3_000), channels);
        let (_, mut bytes) = everywhere(&short, bits, channels).swap_remove(pick.index(count));
        if frames > 3_000 {
            // Longer: samples again, in the middle of them.
            let again = bytes[bytes.len() / 2..][..bytes.len() / 8 / 24 * 24].repeat(frames / 375);
            let at = bytes.len() / 2;
            bytes.splice(at..at, again);
        }
        for (at, from_end, value) in flips {
            let len = bytes.len();
            if at < len {
                bytes[if from_end { len - 1 - at } else { at }] = value;
            }
        }
        if let Some(index) = cut_short {
            let len = index.index(bytes.len() + 1);
            bytes.truncate(len);
        }
        let whole = collect_parts(open(head(&bytes)), &bytes, &[]);
        let parts = collect_parts(open(without_tail(&bytes)), &bytes, &windows);
        prop_assert!(whole == parts);
    }

    #[test]
    fn arbitrary_bytes_are_covered(
        start in prop::sample::select(vec![
            &b"RIFF\0\0\0\0WAVE"[..], b"RIFX\0\0\0\0WAVEfmt \0\0\0\x28", b"RF64\0\0\0\0WAVEds64\x1c\0\0\0",
            b"RIFF\0\0\0\0WAVEfmt \x10\0\0\0\x01\0\x02\0", b"FORM\0\0\0\0AIFC", b"FORM\0\0\0\0AIFFCOMM\0\0\0\x12\0\x02",
            b"caff\0\x01\0\0desc\0\0\0\0\0\0\0\x20", b".snd\0\0\0\x18\0\0\0\0\0\0\0\x03\0\0\0\0\0\0\0\x02", b"dns.",
            b"riff\x2e\x91\xcf\x11\xa5\xd6\x28\xdb\x04\xc1\0\0--------\
              wave\xf3\xac\xd3\x11\x8c\xd1\0\xc0\x4f\x8e\xdb\x8a",
        ]),
        bytes in prop::collection::vec(any::<u8>(), 0..2000),
    ) {
        let bytes = [start, &bytes].concat();
        let whole = collect_parts(open(head(&bytes)), &bytes, &[]);
        prop_assert!(whole == collect_parts(open(without_tail(&bytes)), &bytes, &[1, 0]));
    }
}
