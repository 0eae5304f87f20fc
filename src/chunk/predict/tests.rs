//! Payloads come back; what is not one is refused.

use super::testing::{interleave, noise, remaster, song};
use super::*;
use crate::chunk::Landmarker;
use crate::format::id::hex;
use crate::format::{Keys, check};
use proptest::prelude::*;

fn form(sample_bytes: u8, channels: u8) -> Pcm {
    Pcm { sample_bytes, channels, coded: false }
}

/// Encodes a chunk against bases, decodes it, and gives the payload and the bases' numbers.
fn coded(chunk: (&[u8], Pcm), bases: &[(&[u8], Pcm)]) -> Option<Predicted> {
    let mut landmarker = Landmarker::new(&Keys::new([3; 32], 1));
    let marks = landmarker.landmarks(chunk.0, chunk.1).marks;
    let others: Vec<_> = bases.iter().map(|(plain, form)| landmarker.landmarks(plain, *form).marks).collect();
    let sounds: Vec<_> =
        bases.iter().zip(&others).map(|((plain, form), marks)| Sound { form: *form, plain, marks }).collect();
    let mut predictor = Predictor::default();
    let predicted = predictor.encode(Sound { form: chunk.1, plain: chunk.0, marks: &marks }, &sounds)?;
    let chosen: Vec<&[u8]> = predicted.bases.iter().map(|b| bases[*b].0).collect();
    let mut out = vec![7];
    Predictor::default().decode(&predicted.payload, chunk.0.len(), &chosen, &mut out).unwrap();
    assert_eq!((out[0], &out[1..]), (7, chunk.0));
    Some(predicted)
}

fn percent(chunk: (&[u8], Pcm), bases: &[(&[u8], Pcm)]) -> f64 {
    coded(chunk, bases).map_or(100.0, |p| 100.0 * p.payload.len() as f64 / chunk.0.len() as f64)
}

fn map(planes: &[Vec<i32>], f: impl Fn(usize, i32) -> i32) -> Vec<Vec<i32>> {
    planes.iter().map(|p| p.iter().enumerate().map(|(i, s)| f(i, *s)).collect()).collect()
}

#[test]
fn remasters_cost_their_dither() {
    let song = song(5, 40_000, 2);
    let old = interleave(&song, 3);
    let base = (&old[..], form(3, 2));
    let quiet = remaster(&song, 0.944 / 256.0, 1);
    let gain = |i: usize| 1.0 - (i as f64 / 30_000.0).min(1.0);
    let mix: Vec<i32> = song[0].iter().zip(&song[1]).map(|(l, r)| (l + r) >> 9).collect();
    let cases: [(&str, Vec<u8>, Pcm, f64); 10] = [
        ("gain and dither", interleave(&remaster(&song, 0.944, 1), 3), form(3, 2), 5.5),
        ("24 to 16 bits, gain and dither", interleave(&quiet, 2), form(2, 2), 8.0),
        ("24 to 16 bits, cut off", interleave(&map(&song, |_, s| s >> 8), 2), form(2, 2), 2.0),
        ("24 to 32 bits", interleave(&map(&song, |_, s| s << 8), 4), form(4, 2), 1.0),
        ("turned over", interleave(&map(&song, |_, s| -s), 3), form(3, 2), 1.0),
        ("a channel of two", interleave(&quiet[1..], 2), form(2, 1), 9.0),
        ("a mix", interleave(std::slice::from_ref(&mix), 2), form(2, 1), 3.0),
        ("two of a mix", interleave(&[mix.clone(), mix], 2), form(2, 2), 3.0),
        ("a fade", interleave(&map(&song, |i, s| (f64::from(s) * gain(i)).round() as i32), 3), form(3, 2), 3.0),
        ("clipped", interleave(&map(&song, |_, s| (s / 50).clamp(-32768, 32767)), 2), form(2, 2), 3.5),
    ];
    for (what, plain, form, most) in cases {
        let n = percent((&plain, form), &[base]);
        assert!(n <= most, "{what}: {n:.2} % of its bytes");
    }
}

#[test]
fn a_chunk_over_several_bases_takes_of_each_what_it_has() {
    let song = song(8, 90_000, 2);
    let new = remaster(&song, 0.8 / 256.0, 2);
    let part =
        |planes: &[Vec<i32>], from: usize, to: usize| planes.iter().map(|p| p[from..to].to_vec()).collect::<Vec<_>>();
    let chunk = interleave(&part(&new, 20_000, 80_000), 2);
    let bases: Vec<Vec<u8>> =
        [(78_500, 90_000), (0, 41_000), (41_000, 78_500)].map(|(a, b)| interleave(&part(&song, a, b), 3)).to_vec();
    let other = interleave(&super::testing::song(9, 30_000, 2), 3);
    let mut all: Vec<(&[u8], Pcm)> = bases.iter().map(|b| (&b[..], form(3, 2))).collect();
    all.push((&other, form(3, 2)));
    let predicted = coded((&chunk, form(2, 2)), &all).unwrap();
    assert_eq!(predicted.bases, [1, 2, 0], "in the order of their use; the first has too little for landmarks");
    assert!(predicted.payload.len() * 100 < chunk.len() * 8, "{} of {}", predicted.payload.len(), chunk.len());
    // Half of it is known: the rest is predicted from itself.
    let half = coded((&chunk, form(2, 2)), &all[1..2]).unwrap();
    assert!(half.payload.len() * 100 < chunk.len() * 60, "{} of {}", half.payload.len(), chunk.len());
}

#[test]
fn what_does_not_line_up_is_not_predicted() {
    let (one, other) = (interleave(&song(1, 30_000, 2), 2), interleave(&song(2, 30_000, 2), 2));
    assert_eq!(coded((&one, form(2, 2)), &[(&other, form(2, 2))]), None);
    assert_eq!(coded((&one, form(2, 2)), &[]), None);
    assert_eq!(coded((&one, form(0, 2)), &[(&one, form(2, 2))]), None);
    assert_eq!(coded((&one, form(2, 2)), &[(&one, form(2, 33))]), None);
    assert_eq!(coded((&one[..400], form(2, 2)), &[(&one, form(2, 2))]), None);
    assert_eq!(coded((&[], form(2, 2)), &[(&[], form(2, 2))]), None);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn edits_and_odd_forms_come_back(seed: u64, sample_bytes in 1..=4u8, channels in 1..=3u8, base_bytes in 1..=4u8, base_channels in 1..=9u8,
        cut in 0..5000usize, noisy in 0..3u8, tail in 0..12usize) {
        let song = song(seed, 14_000, usize::from(base_channels));
        let shift = |bytes: u8, s: i32| if bytes < 4 { s >> (24 - 8 * bytes) } else { s << 8 };
        let base = interleave(&map(&song, |_, s| shift(base_bytes, s)), base_bytes);
        let mut new: Vec<Vec<i32>> = (0..usize::from(channels)).map(|c| song[c % song.len()][cut..].to_vec()).collect();
        for (c, plane) in new.iter_mut().enumerate() {
            for (i, s) in plane.iter_mut().enumerate() {
                let there = (2000..2300).contains(&i);
                let wild = noise(seed, (i * 7 + c) as u64) as i32;
                *s = shift(sample_bytes, *s) + if there && noisy > 0 { wild >> 18 } else if noisy == 2 { wild & 1 } else { 0 };
            }
        }
        let mut plain = interleave(&new, sample_bytes);
        plain.extend((0..tail % (usize::from(sample_bytes) * usize::from(channels))).map(|i| i as u8));
        coded((&plain, form(sample_bytes, channels)), &[(&base, form(base_bytes, base_channels))]);
    }

    #[test]
    fn harmed_payloads_and_other_bases_never_panic(harm in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6), cut: Option<prop::sample::Index>,
        base_harm: Option<prop::sample::Index>, longer in 0..5usize) {
        let (mut payload, plain, mut base) = sample();
        for (at, byte) in harm {
            let at = at.index(payload.len());
            payload[at] = byte;
        }
        payload.truncate(cut.map_or(payload.len(), |c| c.index(payload.len())));
        if let Some(at) = base_harm {
            let at = at.index(base.len());
            base[at] ^= 0x55;
        }
        base.extend(vec![1; longer]);
        let mut out = vec![1, 2];
        for plain_bytes in [plain, plain + 1, 0, 3 << 20] {
            let before = out.clone();
            match Predictor::default().decode(&payload, plain_bytes, &[&base], &mut out) {
                Ok(()) => prop_assert_eq!(out.len(), before.len() + plain_bytes),
                Err(_) => prop_assert_eq!(&out, &before),
            }
        }
        prop_assert!(Predictor::default().decode(&payload, plain, &[], &mut out).is_err());
    }

    #[test]
    fn bytes_that_are_no_payload_are_refused_or_decode(bytes: Vec<u8>, plain_bytes in 0..5000usize, base: Vec<u8>) {
        let mut payload = vec![VERSION, 2, 1, 1, 0, 1, 1, base.len() as u8 & 0x7f];
        payload.extend(bytes);
        let _ = Predictor::default().decode(&payload, plain_bytes, &[&base], &mut Vec::new());
    }
}

/// A payload with gains, slopes, taps and two segments, its plain bytes, and its base.
fn sample() -> (Vec<u8>, usize, Vec<u8>) {
    (unhex(GOLDEN), GOLDEN_PLAIN, interleave(&song(21, 9000, 2), 3))
}

fn unhex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.chars().filter_map(|c| c.to_digit(16)).map(|d| d as u8).collect();
    digits.chunks(2).map(|d| d[0] << 4 | d[1]).collect()
}

/// It stands in records: this payload is read for ever.
#[test]
fn golden_payload() {
    let (payload, plain, base) = sample();
    let mut out = Vec::new();
    Predictor::default().decode(&payload, plain, &[&base], &mut out).unwrap();
    assert_eq!(hex(&check::blake3(&[&out])), GOLDEN_HASH);
}

const GOLDEN_PLAIN: usize = 24_000;
const GOLDEN_HASH: &str = "091afd95e9c99cc85f217343dde0eb8b90c4127d8096e2bb9737958b6024a753";
const GOLDEN: &str = include_str!("golden.hex");
