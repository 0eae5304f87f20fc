//! Round trips of every form and effort, hostile payloads, and payloads that must be read for ever.

use super::*;
use proptest::prelude::*;

const EFFORTS: [Effort; 3] = [Effort::Fast, Effort::Close, Effort::Dense];

fn form(sample_bytes: u8, channels: u8) -> Pcm {
    Pcm { sample_bytes, channels, coded: false }
}

fn next(state: &mut u32) -> u32 {
    *state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
    *state >> 8
}

/// Something like music: three resonators driven by noise, other phases in other channels, whole numbers only.
pub(super) fn music(frames: usize, sample_bytes: usize, channels: usize, seed: u32) -> Vec<u8> {
    let mut state = seed;
    let mut out = Vec::new();
    let mut memory = vec![[[0i64; 2]; 3]; channels];
    for i in 0..frames {
        let loud = if (i / 3000) % 3 == 2 { 1 } else { 6 };
        let shared = i64::from(next(&mut state) % 2048) - 1024;
        for m in &mut memory {
            let own = i64::from(next(&mut state) % 1024) - 512;
            let mut sum = 0i64;
            for (r, (pole, damp)) in m.iter_mut().zip([(4000, 2020), (3700, 2000), (2500, 1990)]) {
                let v = (shared + own) / 8 + ((pole * r[0]) >> 11) - ((damp * r[1]) >> 11);
                *r = [v, r[0]];
                sum += v;
            }
            let bits = 8 * sample_bytes as u32 - 1;
            let v = (sum * loud) << 16 >> (31 - bits) >> 5;
            let limit = (1i64 << bits) - 1;
            out.extend_from_slice(&v.clamp(-limit, limit).to_le_bytes()[..sample_bytes]);
        }
    }
    out
}

pub(super) fn noise(bytes: usize, seed: u32) -> Vec<u8> {
    let mut state = seed;
    (0..bytes).map(|_| (next(&mut state) >> 7) as u8).collect()
}

/// A payload proves its bytes and no others: neither those with another bit, nor fewer.
fn proves(payload: &[u8], plain: &[u8]) {
    let (mut decoder, mut scratch) = (Decoder::default(), b"before".to_vec());
    // The first proof decodes as a restore does; the next one must do without.
    assert!(decoder.proves(payload, plain, &mut scratch));
    assert!(decoder.proves(payload, plain, &mut scratch));
    let mut other = plain.to_vec();
    for at in [0, plain.len() / 3, plain.len() / 2, plain.len() - 1] {
        other[at] ^= 1;
        assert!(!decoder.proves(payload, &other, &mut scratch), "byte {at}");
        other[at] ^= 1;
    }
    // How many residuals there are, a payload tells by its lanes only: a few zeros behind them could be sound.
    let fewer = plain.len() - 1;
    if decoder.proves(payload, &plain[..fewer], &mut scratch) {
        assert_eq!(form_of(Codec::PCM, payload), Some(form(1, 1)), "what is no frame stands plainly");
    }
}

fn round_trip(plain: &[u8], form: Pcm, effort: Effort) -> Option<usize> {
    let payload = Encoder::default().encode(plain, form, effort)?;
    let mut out = vec![7u8; 3];
    Decoder::default().decode(&payload, plain.len(), &mut out).expect("decodes");
    assert_eq!(&out[..3], [7; 3]);
    assert!(out[3..] == *plain, "another chunk came back: {form:?} {effort:?}");
    proves(&payload, plain);
    Some(payload.len())
}

#[test]
fn music_of_every_form_becomes_smaller_and_comes_back() {
    for effort in EFFORTS {
        for sample_bytes in 1..=4 {
            for channels in [1, 2, 3, 6] {
                let mut plain = music(3000, sample_bytes, channels, 5);
                plain.extend_from_slice(&[1, 2, 3][..(sample_bytes * channels - 1).min(3)]);
                let coded = round_trip(&plain, form(sample_bytes as u8, channels as u8), effort);
                let coded = coded.expect("music pays");
                assert!(
                    coded < plain.len() * 9 / 10,
                    "{effort:?} {sample_bytes} {channels}: {coded} of {}",
                    plain.len()
                );
            }
        }
    }
}

#[test]
fn frames_may_begin_behind_a_lead() {
    let mut plain = vec![1, 2, 3];
    plain.extend(music(5000, 2, 2, 6));
    for effort in EFFORTS {
        let payload = Encoder::default().encode_behind(&plain, 3, form(2, 2), effort).expect("pays");
        let mut out = Vec::new();
        Decoder::default().decode(&payload, plain.len(), &mut out).expect("decodes");
        assert!(out == plain);
        proves(&payload, &plain);
        assert_eq!(Encoder::default().encode_behind(&plain, 4, form(2, 2), effort), None, "a lead is below a frame");
    }
}

#[test]
fn denser_tiers_are_smaller() {
    let plain = music(40_000, 2, 2, 9);
    let [fast, close, dense] = EFFORTS.map(|effort| round_trip(&plain, form(2, 2), effort).expect("pays"));
    assert!(close < fast && dense <= close, "{fast} {close} {dense}");
}

#[test]
fn silence_constants_and_wasted_bits_cost_next_to_nothing() {
    let silence = vec![0u8; 240_000];
    let constant: Vec<u8> = [0x34, 0x12, 0xcc, 0xed].repeat(60_000);
    let padded: Vec<u8> = music(20_000, 2, 2, 1).chunks(2).flat_map(|s| [0, s[0], s[1]]).collect();
    for effort in EFFORTS {
        assert!(round_trip(&silence, form(2, 2), effort).expect("pays") < 200, "{effort:?}");
        assert!(round_trip(&constant, form(2, 2), effort).expect("pays") < 400, "{effort:?}");
        let sixteen = round_trip(&music(20_000, 2, 2, 1), form(2, 2), effort).expect("pays");
        let in_24 = round_trip(&padded, form(3, 2), effort).expect("pays");
        assert!(in_24 < sixteen + sixteen / 50, "{effort:?} {in_24} {sixteen}");
    }
}

#[test]
fn noise_and_empty_chunks_are_left_alone() {
    let noise = noise(100_000, 3);
    for effort in EFFORTS {
        assert_eq!(Encoder::default().encode(&noise, form(2, 2), effort), None);
        assert_eq!(Encoder::default().encode(&[], form(2, 2), effort), None);
        assert_eq!(Encoder::default().encode(&[1, 2, 3], form(2, 2), effort), None);
        assert_eq!(Encoder::default().encode(&noise, form(0, 2), effort), None);
        assert_eq!(Encoder::default().encode(&noise, form(2, 33), effort), None);
    }
}

/// Encodes whatever comes, without asking whether it pays, by the effort's own method: noise and extremes must come back
/// too.
fn forced(plain: &[u8], form: Pcm, effort: Effort) -> Vec<u8> {
    let (linear, adaptive) = Encoder::default().by_method(plain, 0, form, effort).expect("a whole frame");
    assert_eq!(adaptive.is_some(), effort == Effort::Dense);
    adaptive.unwrap_or(linear)
}

fn anything() -> impl Strategy<Value = Vec<u8>> {
    let samples =
        prop_oneof![Just(i32::MIN), Just(i32::MAX), Just(0), -3i32..3, any::<i32>(), any::<i16>().prop_map(i32::from),];
    let runs = proptest::collection::vec((samples, 1usize..60), 1..60);
    runs.prop_map(|runs| runs.iter().flat_map(|&(v, n)| std::iter::repeat_n(v.to_le_bytes(), n)).flatten().collect())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn any_bytes_come_back(plain in anything(), sample_bytes in 1u8..=4, channels in 1u8..=32, effort in 0usize..3) {
        let frame = usize::from(sample_bytes) * usize::from(channels);
        prop_assume!(plain.len() >= frame);
        let payload = forced(&plain, form(sample_bytes, channels), EFFORTS[effort]);
        let mut out = Vec::new();
        Decoder::default().decode(&payload, plain.len(), &mut out).expect("decodes");
        prop_assert!(out == plain);
        proves(&payload, &plain);
    }

    /// Damage is refused or decodes to other bytes (the chunk's name tells), never more of them, and never a panic.
    #[test]
    fn damaged_payloads_leave_the_output_alone(
        seed in any::<u32>(), effort in 0usize..3, at in any::<proptest::sample::Index>(), with in 1u8.., cut in any::<bool>(),
    ) {
        let plain = music(700, 2, 2, seed);
        let mut payload = forced(&plain, form(2, 2), EFFORTS[effort]);
        let at = at.index(payload.len());
        if cut { payload.truncate(at) } else { payload[at] ^= with }
        let mut out = vec![9];
        match Decoder::default().decode(&payload, plain.len(), &mut out) {
            Ok(()) => prop_assert_eq!(out.len(), 1 + plain.len()),
            Err(_) => prop_assert_eq!(&out, &[9]),
        }
    }

    #[test]
    fn noise_as_a_payload_is_refused(mut payload in proptest::collection::vec(any::<u8>(), 0..400), method in 0u8..4, plain in 0usize..5000) {
        if let Some(first) = payload.first_mut() { *first = method; }
        let mut out = vec![9];
        if Decoder::default().decode(&payload, plain, &mut out).is_err() {
            prop_assert_eq!(&out, &[9]);
        }
    }
}

#[test]
fn cut_payloads_are_refused_at_every_length() {
    let plain = music(300, 2, 2, 2);
    for effort in EFFORTS {
        let payload = forced(&plain, form(2, 2), effort);
        for length in 0..payload.len() {
            let mut out = Vec::new();
            assert!(Decoder::default().decode(&payload[..length], plain.len(), &mut out).is_err(), "{length}");
        }
        assert!(Decoder::default().decode(&payload, PLAIN_BYTES_MAX + 1, &mut Vec::new()).is_err());
    }
}

/// FNV-1a.
fn hash(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |h, &b| (h ^ u64::from(b)).wrapping_mul(0x100_0000_01b3))
}

#[test]
fn encoders_write_the_same_on_every_machine() {
    let stereo = music(9000, 2, 2, 77);
    let wide = music(5000, 3, 1, 78);
    let hashes = EFFORTS.map(|e| (hash(&forced(&stereo, form(2, 2), e)), hash(&forced(&wide, form(3, 1), e))));
    assert_eq!(hashes.map(|h| format!("{:016x} {:016x}", h.0, h.1)), GOLDEN_HASHES);
}

const GOLDEN_HASHES: [&str; 3] =
    ["5ad3eec5bba5c7f3 a815749f9fe32f00", "db2c3cf81058d174 34cefac3beb8c7e4", "947e5865a7eefc26 d916d0725b33e929"];

/// What stands in stores must be read for ever, whatever encoders write later.
#[test]
fn payloads_of_version_1_are_read() {
    let plain: Vec<u8> = (0i16..40).flat_map(|i| [(i * i % 61) * 9, i * 3 - 50]).flat_map(i16::to_le_bytes).collect();
    for (effort, golden) in EFFORTS.into_iter().zip(GOLDEN_PAYLOADS) {
        let hex: String = forced(&plain, form(2, 2), effort).iter().map(|b| format!("{b:02x}")).collect();
        let payload: Vec<u8> = golden
            .as_bytes()
            .chunks(2)
            .map(|two| u8::from_str_radix(std::str::from_utf8(two).expect("ASCII"), 16).expect("hexadecimal"))
            .collect();
        let mut out = Vec::new();
        assert_eq!(Decoder::default().decode(&payload, plain.len(), &mut out), Ok(()), "{effort:?} writes {hex}");
        assert!(out == plain);
    }
}

const GOLDEN_PAYLOADS: [&str; 3] = [
    "01050cc5000b00000020e8239061a7b22b3fa40c06080809080807086cf8420046035f004c95e000b5a3250080026f00a7f9c500\
     f593b8000dd7d700080000002e2bb96c8594606c552f19e502eb38811800000010c66f4ba714adc33524fc05ef942aebb06b43f2\
     c9cc46050601010101010101f5fc5c001bdc0e0b1bdc0e0b1bdc0e0b1bdc0e0b1bdc0e0b1bdc0e0b1bdc0e0b010000009fb30200\
     00004324",
    "01050cc5000b00000020e8239061a7b22b3fa40c06080809080807086cf8420046035f004c95e000b5a3250080026f00a7f9c500\
     f593b8000dd7d700080000002e2bb96c8594606c552f19e502eb38811800000010c66f4ba714adc33524fc05ef942aebb06b43f2\
     c9cc46050601010101010101f5fc5c001bdc0e0b1bdc0e0b1bdc0e0b1bdc0e0b1bdc0e0b1bdc0e0b1bdc0e0b010000009fb30200\
     00004324",
    "020510c5000207040a00000020e00472d02cabf9216506080809080807086cf8420046035f004c95e0006da3230013127600acf9\
     c500d6e3ad000d6fc400080000002e2bb96c8594e0536c5719e51dab9a09180000001008cfcdbb946df3572ffc7107d56aeba908\
     11f2c9ca00090601010101010101d5ac59001bdc0e0b1bdc0e0b1bdc0e0b1bdc0e0b1bdc0e0b1bdc0e0b1bdc0e0b010000007f63\
     020000004323",
];

#[cfg(target_arch = "x86_64")]
#[test]
fn wide_filters_equal_their_portable_twins() {
    if !is_x86_feature_detected!("avx2") {
        return;
    }
    let mut state = 8;
    for scales in [&[0, 3][..], &[-6, -8], &[9]] {
        let shift = 12 - scales[0];
        let mut planes =
            [0, 1].map(|_| (0..3000).map(|_| (next(&mut state) << 8) as i32 >> shift).collect::<Vec<i32>>());
        if scales.len() == 1 {
            planes[1].clear();
        }
        let [mut a, mut b] = planes.clone();
        cascade::Cascade::new(3000, scales, 1).forward(&mut a, &mut b);
        let [mut c, mut d] = planes.clone();
        cascade::Cascade::new(3000, scales, 1).forward_portable(&mut c, &mut d);
        assert!(a == c && b == d);
        assert!(a != planes[0]);
        cascade::Cascade::new(3000, scales, 1).inverse(&mut a, &mut b);
        assert!([a, b] == planes);
    }
}

#[cfg(target_arch = "x86_64")]
#[test]
fn wide_kernels_equal_their_portable_twins() {
    if !is_x86_feature_detected!("avx2") {
        return;
    }
    let mut state = 1;
    for length in [4usize, 8, 36, 100, 1000] {
        let mut x: Vec<f64> = (0..length).map(|_| f64::from(next(&mut state) as i32 - (1 << 23)) * 0.37).collect();
        x.resize(length + lpc::AUTOCORRELATION_PAD, 0.0);
        let (mut wide, mut portable) = ([0f64; 36], [1f64; 36]);
        lpc::autocorrelation(&x, &mut wide);
        lpc::autocorrelation_portable(&x, &mut portable);
        assert_eq!(wide.map(f64::to_bits), portable.map(f64::to_bits));
        for lag in 0..36 {
            let direct: f64 = (0..length).map(|i| x[i] * x[i + lag]).sum();
            assert!((wide[lag] - direct).abs() <= wide[0] * 1e-12, "lag {lag}");
        }
        let samples: Vec<i32> = (0..length + HISTORY).map(|_| (next(&mut state) << 8) as i32).collect();
        // Those of 16 bits go another way; the last one has a few that are longer, in one part of several.
        let short: Vec<i32> = samples.iter().map(|v| v >> 16).collect();
        let mut mixed = short.clone();
        mixed.iter_mut().step_by(700).for_each(|v| *v = 1 << 15);
        let extreme: Vec<i32> =
            short.iter().map(|v| if v & 1 == 0 { i16::MIN.into() } else { i16::MAX.into() }).collect();
        let all = [samples, short, mixed, extreme];
        for (order, samples) in (0..=HISTORY).flat_map(|order| all.iter().map(move |samples| (order, samples))) {
            let mut predictor = lpc::Predictor { order, shift: 9, ..lpc::Predictor::default() };
            predictor.coefficients[..order].fill_with(|| (next(&mut state) % 8192) as i32 - 4096);
            for narrow in [false, true] {
                let (mut wide, mut portable) = (vec![0; length], vec![1; length]);
                lpc::residual(&predictor, narrow, samples, &mut wide);
                lpc::residual_portable(&predictor, narrow, samples, &mut portable);
                assert_eq!(wide, portable, "order {order}");
                let mut restored = samples.clone();
                restored[HISTORY..].copy_from_slice(&wide);
                lpc::restore(&predictor, narrow, &mut restored);
                assert_eq!(&restored, samples, "order {order}");
            }
        }
    }
}

/// A filter that stays the same is told once for a long time, one that changes when it changes.
#[test]
fn sections_are_as_long_as_their_sound_stays_the_same() {
    let chosen = |plain: &[u8]| forced(plain, form(2, 2), Effort::Close)[2] & 31;
    assert!(chosen(&resonance(32768, |_| 0)) > 12);
    assert_eq!(chosen(&resonance(32768, |frame| frame / 4096)), 12);
}

/// Noise through one resonator a channel, whose pitch is the higher the greater `pitch` of the frame is.
fn resonance(frames: usize, pitch: impl Fn(usize) -> usize) -> Vec<u8> {
    let mut state = 5;
    let mut memory = [[0i64; 2]; 2];
    let mut out = Vec::new();
    for i in 0..frames {
        for m in &mut memory {
            let noise = i64::from(next(&mut state) % 512) - 256;
            let pole = 3900 - 900 * (pitch(i) % 5) as i64; // fewer than five
            *m = [noise + ((pole * m[0]) >> 11) - ((2020 * m[1]) >> 11), m[0]];
            out.extend_from_slice(&(m[0].clamp(-32767, 32767) as i16).to_le_bytes()); // within its range
        }
    }
    out
}

/// A sample that does not fit its bytes gives the bytes of one that does, but others are foretold from it: a proof must not take one
/// for the other.
#[test]
fn harmed_payloads_are_proven_only_if_they_are_decoded_so() {
    let (mut state, mut x) = (1u32, 0i32);
    let mut plain: Vec<u8> = (0..512)
        .map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            x = x * 15 / 16 + (state >> 29) as i32 - 3;
            x as u8
        })
        .collect();
    plain[200] = 127;
    let payload = forced(&plain, form(1, 1), Effort::Fast);
    let (mut decoder, mut scratch) = (Decoder::default(), Vec::new());
    let proves = |payload: &[u8]| decoder.proves(payload, &plain, &mut scratch);
    let decode = |payload: &[u8], out: &mut Vec<u8>| Decoder::default().decode(payload, plain.len(), out);
    crate::chunk::proofs::each_bit_harmed(&payload, &plain, proves, decode);
}
