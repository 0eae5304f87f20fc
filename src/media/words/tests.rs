//! Words to samples and back, the floats against a twin that knows integers only.

use super::*;
use crate::media::testing::noise;
use proptest::prelude::*;

fn all_words() -> Vec<Word> {
    let mut all = Vec::new();
    for kind in [Kind::Signed, Kind::Unsigned, Kind::Float] {
        for bytes in 0..=9 {
            for big_endian in [false, true] {
                all.extend(Word::new(bytes, big_endian, kind));
            }
        }
    }
    all
}

/// The number that a float of so many bits is over 2^(width - 1), by its definition; `None` where it is none.
fn integer_of(bits: u64, exponent_bits: u32, fraction_bits: u32, width: u32) -> Option<i32> {
    let negative = bits >> (exponent_bits + fraction_bits) & 1 != 0;
    let exponent = (bits >> fraction_bits & ((1 << exponent_bits) - 1)) as i64;
    let fraction = bits & ((1 << fraction_bits) - 1);
    if exponent == 0 && fraction == 0 {
        return if negative { None } else { Some(0) };
    }
    if exponent == 0 || exponent == (1 << exponent_bits) - 1 {
        return None;
    }
    let whole = i128::from(fraction | 1 << fraction_bits);
    let shift = exponent - ((1 << (exponent_bits - 1)) - 1) - i64::from(fraction_bits) + i64::from(width) - 1;
    let n = match shift {
        0..=40 => whole << shift,
        -60..=-1 if whole.trailing_zeros() as i64 >= -shift => whole >> -shift,
        _ => return None,
    };
    let n = if negative { -n } else { n };
    let most = 1_i128 << (width - 1);
    (-most..most).contains(&n).then_some(n as i32)
}

#[test]
fn floats_are_integers_where_their_definition_says_so() {
    let mut corrected = 0;
    let odd =
        [0, 1 << 31, 0x3f80_0000, 0xbf80_0000, 0x7fc0_0000, 0x7f80_0000, 1, 0x3380_0000, 0x3400_0000, 0x3f7f_ffff];
    // Every exponent around full scale, with few bits set and with many.
    let dense = (0..60_000_u32).map(|i| (0x2f00_0000 + (i << 13)) ^ (i % 2) << 31 ^ if i % 3 == 0 { i } else { 0 });
    for bits in odd.into_iter().chain(dense) {
        let expected = integer_of(u64::from(bits), 8, 23, 24);
        let mut found = Integers::default();
        assert!(kernels::integers(&bits.to_be_bytes(), 4, true, 1, &mut found));
        assert_eq!(found.corrections.is_empty().then(|| found.values[0] >> 8), expected, "{bits:#x}");
        corrected += u32::from(expected.is_none());

        let wide = f64::from(f32::from_bits(bits)).to_bits() | u64::from(bits & 1) << 21;
        let expected = integer_of(wide, 11, 52, 32);
        assert!(kernels::integers(&wide.to_le_bytes(), 8, false, 1, &mut found));
        assert_eq!(found.corrections.is_empty().then(|| found.values[0]), expected, "{wide:#x}");
    }
    assert!((1000..59_000).contains(&corrected), "{corrected}");
}

#[test]
fn every_integer_of_16_and_24_bits_comes_back_from_a_float() {
    for n in (-1 << 23..1 << 23).step_by(251).chain([-1 << 23, -1, 0, 1, (1 << 23) - 1]) {
        let float = (f64::from(n) / 8_388_608.0) as f32;
        assert_eq!(integer_of(u64::from(float.to_bits()), 8, 23, 24), Some(n));
        let sample = &n.to_le_bytes()[..3];
        assert_eq!(kernels::floats(sample, 3, 4, false), float.to_le_bytes());
        assert_eq!(kernels::floats(sample, 3, 8, true), f64::from(float).to_be_bytes());
    }
}

#[test]
fn bytes_used_are_found_wherever_they_stand() {
    for bytes in [3, 4_u8] {
        let n = usize::from(bytes);
        for words in [1, 2, 15, 16, 17, 31_000] {
            for place in [0, words / 2, words - 1] {
                for used in 0..=n {
                    for big_endian in [false, true] {
                        let mut file = vec![0; words * n];
                        let word = &mut file[place * n..(place + 1) * n];
                        for k in 0..used {
                            word[if big_endian { k } else { n - 1 - k }] = u8::from(k + 1 == used || k == 0);
                        }
                        assert_eq!(usize::from(kernels::used_bytes(&file, bytes, big_endian)), used);
                    }
                }
            }
        }
    }
}

#[test]
fn a_segment_reads_as_it_did_when_version_1_was_made() {
    for (parameters, samples, corrections, file) in [
        (&[16 | 2, 2][..], &b"\x01\x02\x03\x84"[..], None, &b"\x02\x01\x84\x03"[..]),
        (&[32 | 1, 1], b"\x80\x7f\x00\x05", None, b"\x00\xff\x80\x85"),
        (&[3, 2], b"\x01\x02\x03\x84", None, b"\0\x01\x02\0\x03\x84"),
        (&[16 | 4, 3], b"\x01\x02\x03\xf4\xf5\xf6", None, b"\x03\x02\x01\0\xf6\xf5\xf4\0"),
        (&[16 | 32 | 2, 1], b"\x81\x7e", None, b"\x01\0\xfe\0"),
        (&[64 | 4, 2], b"\x00\x40\x01\x00\x00\x80", None, b"\0\0\0\x3f\0\0\0\x38\0\0\x80\xbf"),
        (
            &[64 | 16 | 4, 3],
            b"\x00\x00\x40\x01\x00\x00\xff\xff\x7f",
            Some(&b"\x01\x00\x00\x00\x80\x00\x00\x00\x80\x3f"[..]),
            b"\x3f\0\0\0\x80\0\0\0\x3f\x80\0\0",
        ),
        (&[64 | 16 | 8, 4], b"\x01\x00\x00\x00", None, b"\x3e\0\0\0\0\0\0\0"),
        (&[64 | 16 | 4, 4], b"abcd", None, b"dcba"),
        (&[64 | 8, 8], b"abcdefgh", None, b"abcdefgh"),
    ] {
        let parts: Vec<&[u8]> = std::iter::once(samples).chain(corrections).collect();
        assert_eq!(inverse(parameters, &parts, file.len()).unwrap(), file, "{parameters:?}");
    }
}

#[test]
fn what_no_splitter_left_is_refused() {
    let two = [0; 2];
    for (parameters, parts, bytes) in [
        (&[][..], &[&two[..]][..], 2),
        (&[2], &[&two], 2),
        (&[2, 2, 0], &[&two], 2),
        (&[2, 3], &[&two], 2),
        (&[2, 0], &[&two], 2),
        (&[0, 0], &[&two], 2),
        (&[5, 5], &[&[0; 5]], 5),
        (&[8, 8], &[&[0; 8]], 8),
        (&[16 | 1, 1], &[&two], 2),
        (&[128 | 2, 2], &[&two], 2),
        (&[32 | 64 | 4, 4], &[&[0; 4]], 4),
        (&[64 | 2, 2], &[&two], 2),
        (&[64 | 8, 5], &[&[0; 5]], 8),
        (&[64 | 4, 0], &[&[]], 4),
        (&[2, 2], &[&two], 3),
        (&[2, 2], &[&two], 4),
        (&[2, 1], &[&two], 2),
        (&[2, 1], &[&two], usize::MAX),
        (&[2, 2], &[], 0),
        (&[2, 2], &[&two, &[], &[]], 2),
        (&[2, 2], &[&two, &[1, 5, 5]], 2),
        (&[2, 2], &[&two, &[0, 5]], 2),
        (&[2, 2], &[&two, &[0, 5, 5, 0, 5, 5]], 2),
        (&[2, 2], &[&two, &[0xff; 9]], 2),
    ] {
        assert!(inverse(parameters, parts, bytes).is_err(), "{parameters:?} {parts:?} {bytes}");
    }
}

#[test]
fn a_segment_is_whole_frames_within_its_bound() {
    for word in all_words() {
        for channels in 1..=CHANNELS_MAX {
            let track = Track::new(word, channels).unwrap();
            let bytes = track.segment_bytes();
            assert!(bytes > 0 && bytes < 1 << 20 && bytes.is_multiple_of(track.frame_bytes()));
        }
        assert!(Track::new(word, 0).is_none() && Track::new(word, CHANNELS_MAX + 1).is_none());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn words_come_back_from_every_track(
        word in prop::sample::select(all_words()),
        channels in 1..9_u32,
        segments in prop::collection::vec((0..1500_usize, 1..5_usize, 0..6_u8), 1..5),
    ) {
        let mut track = Track::new(word, channels).unwrap();
        let n = usize::from(word.bytes);
        for (frames, kept, kind) in segments {
            // Integers with so many bytes set, floats of such, or any.
            let mut file = noise(frames * track.frame_bytes());
            for place in file.chunks_mut(n) {
                let any = i32::from_le_bytes([place[0], place[1 % n], place[2 % n], place[3 % n]]);
                let i = any & (-1 << (32 - 8 * kept));
                let x = f64::from(i) / 2_147_483_648.0;
                match (word.kind, kind) {
                    (_, 0) => {}
                    (Kind::Float, _) if n == 4 => place.copy_from_slice(&(x as f32).to_le_bytes()),
                    (Kind::Float, _) => place.copy_from_slice(&x.to_le_bytes()),
                    _ => place.copy_from_slice(&i.to_le_bytes()[4 - n..]),
                }
                if word.big_endian {
                    place.reverse();
                }
            }
            if kind == 1 && !file.is_empty() {
                file[0] ^= 1;
            }
            let (before, was) = (track.width, track.before);
            let Taken::Mapped(mapped) = track.take(1, CORRECTIONS, &file) else {
                prop_assert!(word.is_native() && track.before == Some(word.bytes));
                continue;
            };
            prop_assert!(track.width >= before);
            let width = track.before.unwrap();
            prop_assert_eq!(mapped.parts[0].cut, was != Some(width));
            let parts: Vec<&[u8]> = mapped.parts.iter().map(|p| &p.bytes[..]).collect();
            prop_assert_eq!(parts[0].len(), frames * channels as usize * usize::from(width));
            prop_assert!(inverse(&mapped.parameters, &parts, file.len()).unwrap() == file);
        }
    }

    #[test]
    fn arbitrary_parameters_never_panic(
        parameters in prop::collection::vec(any::<u8>(), 0..4),
        parts in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..4),
        bytes in prop_oneof![0..100_usize, any::<usize>()],
    ) {
        let parts: Vec<&[u8]> = parts.iter().map(Vec::as_slice).collect();
        if let Ok(out) = inverse(&parameters, &parts, bytes) {
            prop_assert_eq!(out.len(), bytes);
        }
    }
}
