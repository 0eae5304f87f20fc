//! Chunks of made pictures, true and hostile.

use super::*;
use crate::format::Keys;
use proptest::prelude::*;

/// A smooth picture with `noise` bits of noise, in any packing: sample i of a byte row that is `row` samples long.
fn picture(form: Raster, bytes: usize, noise: u32, seed: u64) -> Vec<u8> {
    let mut state = seed | 1;
    let mut random = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as u32
    };
    let row = (form.row_bytes as usize).max(64);
    let mut sample = |at: usize, bits: u32| {
        let (x, y) = ((at % row) as u32, (at / row) as u32);
        let wave = (x / 7 + y / 2) % 440;
        let smooth = (wave.min(440 - wave) + (x / 200) * 3) << (bits - 8);
        (smooth + (random() & ((1 << noise) - 1))) & ((1 << bits) - 1)
    };
    let mut out = Vec::with_capacity(bytes + 4);
    while out.len() < bytes {
        let at = out.len();
        let mut word = |at: usize| (0..3).fold(0, |w, k| w << 10 | sample(at + k, 10));
        match form.packing {
            Packing::V210 => out.extend(word(at).to_le_bytes()),
            Packing::Rgb10 { big_endian: true } => out.extend((word(at) << 2).to_be_bytes()),
            Packing::Rgb10 { .. } => out.extend((word(at) << 2).to_le_bytes()),
            Packing::Yuv422 { bytes: 2, big_endian: true, .. }
            | Packing::Samples { bytes: 2, big_endian: true, .. } => {
                out.extend((sample(at, 16) as u16).to_be_bytes());
            }
            Packing::Yuv422 { bytes: 2, .. } | Packing::Samples { bytes: 2, .. } => {
                out.extend((sample(at, 16) as u16).to_le_bytes());
            }
            _ => out.push(sample(at, 8) as u8),
        }
    }
    out.truncate(bytes);
    out
}

fn packings() -> Vec<Packing> {
    let mut all = vec![Packing::V210];
    for big_endian in [false, true] {
        all.push(Packing::Rgb10 { big_endian });
        for bytes in 1..=2 {
            for luma_first in [false, true] {
                all.push(Packing::Yuv422 { bytes, luma_first, big_endian });
            }
            for channels in 1..=4 {
                all.push(Packing::Samples { bytes, channels, big_endian });
            }
        }
    }
    all
}

fn round(plain: &[u8], form: Raster, dense: bool) -> Option<usize> {
    let payload = Encoder::default().encode(plain, form, dense)?;
    let mut back = b"before".to_vec();
    Decoder::default().decode(&payload, plain.len(), &mut back).expect("own payload");
    assert!(back[..6] == *b"before" && back[6..] == *plain, "{form:?}, {} bytes", plain.len());
    // It is proven, and of no other bytes: neither of those with another bit, nor of fewer.
    let (mut decoder, mut scratch) = (Decoder::default(), b"before".to_vec());
    assert!(decoder.proves(&payload, plain, &mut scratch), "{form:?}, {} bytes", plain.len());
    let mut other = plain.to_vec();
    for at in [0, plain.len() / 3, plain.len() - 1] {
        other[at] ^= 1;
        assert!(!decoder.proves(&payload, &other, &mut scratch), "{form:?}, byte {at}");
        other[at] ^= 1;
    }
    assert!(!decoder.proves(&payload, &plain[..plain.len() - 1], &mut scratch));
    Some(payload.len())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]

    #[test]
    fn pictures_of_every_packing_come_back(
        packing in prop::sample::select(packings()),
        row_bytes in prop_oneof![Just(0u32), 1..5000u32, (1..200u32).prop_map(|n| n * 48), Just(u32::MAX)],
        bytes in prop_oneof![0..600_usize, 4_000..90_000_usize],
        noise in 0..9u32,
        seed: u64,
        dense: bool,
        flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..9),
    ) {
        let form = Raster { packing, row_bytes };
        let mut plain = picture(form, bytes, noise, seed);
        for (at, value) in flips {
            if !plain.is_empty() {
                let n = plain.len();
                plain[at.index(n)] = value;
            }
        }
        round(&plain, form, dense);
    }

    #[test]
    fn bytes_that_are_no_picture_come_back_or_are_not_taken(
        packing in prop::sample::select(packings()),
        row_bytes in 0..3000u32,
        plain in prop::collection::vec(prop_oneof![Just(0u8), Just(255u8), any::<u8>()], 0..3000),
        times in 1..20usize,
    ) {
        let plain = plain.repeat(times);
        round(&plain, Raster { packing, row_bytes }, false);
    }

    /// Any change ends in an error or in as many bytes as were asked for.
    #[test]
    fn hostile_payloads_neither_panic_nor_leave_anything_behind(
        packing in prop::sample::select(packings()),
        row_bytes in prop_oneof![0..3000u32, any::<u32>()],
        noise in 0..8u32,
        dense: bool,
        changes in prop::collection::vec((prop_oneof![0..120_usize, 0..40_000_usize], any::<u8>()), 1..5),
        cut in prop::option::of(0..30_000usize),
        plain_bytes in prop_oneof![Just(20_011usize), 0..70_000usize],
    ) {
        let form = Raster { packing, row_bytes };
        if let Some(mut payload) = Encoder::default().encode(&picture(form, 20_011, noise, 7), form, dense) {
            for (at, value) in changes {
                let n = payload.len();
                payload[at % n] = value;
            }
            payload.truncate(cut.unwrap_or(usize::MAX));
            let mut out = vec![1];
            let done = Decoder::default().decode(&payload, plain_bytes, &mut out);
            prop_assert_eq!(out.len(), if done.is_ok() { 1 + plain_bytes } else { 1 });
        }
    }

    #[test]
    fn arbitrary_payloads_are_refused_or_decoded(
        front in prop::collection::vec(0..4u8, 0..9),
        payload in prop::collection::vec(any::<u8>(), 0..500),
        plain_bytes in 0..5000usize,
    ) {
        let payload = [front, payload].concat();
        let mut out = Vec::new();
        let done = Decoder::default().decode(&payload, plain_bytes, &mut out);
        prop_assert_eq!(out.len(), if done.is_ok() { plain_bytes } else { 0 });
    }
}

#[test]
fn every_cut_and_every_flip_of_the_front_is_noticed_or_harmless() {
    let form = Raster { packing: Packing::Rgb10 { big_endian: true }, row_bytes: 480 };
    let plain = picture(form, 6000, 3, 5);
    let payload = Encoder::default().encode(&plain, form, false).unwrap();
    for n in 0..payload.len() {
        assert!(Decoder::default().decode(&payload[..n], plain.len(), &mut Vec::new()).is_err(), "cut to {n}");
    }
    for bit in 0..payload.len() * 8 {
        let mut payload = payload.clone();
        payload[bit / 8] ^= 1 << (bit % 8);
        let _ = Decoder::default().decode(&payload, plain.len(), &mut Vec::new()); // only that it comes back
    }
    for other in [0, 5999, 6001, 12_000, limits::CHUNK_BYTES + 1] {
        assert!(Decoder::default().decode(&payload, other, &mut Vec::new()).is_err(), "{other} bytes");
    }
}

#[test]
fn noise_on_a_smooth_picture_costs_little_more_than_its_bits() {
    for (packing, samples_a_byte, unit) in [
        (Packing::V210, 0.75, 16),
        (Packing::Rgb10 { big_endian: false }, 0.75, 4),
        (Packing::Samples { bytes: 1, channels: 1, big_endian: false }, 1.0, 1),
        (Packing::Samples { bytes: 2, channels: 3, big_endian: true }, 0.5, 6),
        (Packing::Yuv422 { bytes: 1, luma_first: true, big_endian: false }, 1.0, 4),
    ] {
        let form = Raster { packing, row_bytes: 1920 };
        // A chunk begins anywhere in a row, on a border of units.
        let whole = picture(form, 300_000, 4, 3);
        let plain = &whole[unit * 100..][..262_144];
        let saved = round(plain, form, false).map(|n| n as f64 * 8.0 / (plain.len() as f64 * samples_a_byte));
        assert!(saved.is_some_and(|bits| bits < 5.2), "{packing:?}: {saved:?} bits a sample");
    }
}

#[test]
fn ten_bits_in_sixteen_cost_no_more_than_in_ten() {
    let form = |packing| Raster { packing, row_bytes: 1920 };
    let ten: Vec<u16> = picture(form(Packing::Samples { bytes: 2, channels: 1, big_endian: false }), 200_000, 10, 9)
        .as_chunks::<2>()
        .0
        .iter()
        .map(|b| u16::from_le_bytes(*b) >> 6)
        .collect();
    let wide: Vec<u8> = ten.iter().flat_map(|v| (v << 6 | v >> 4).to_be_bytes()).collect();
    let narrow: Vec<u8> = ten.iter().flat_map(|v| v.to_be_bytes()).collect();
    let packing = Packing::Samples { bytes: 2, channels: 1, big_endian: true };
    let [wide, narrow] = [wide, narrow].map(|b| round(&b, form(packing), false).unwrap());
    assert!(wide < narrow + narrow / 50, "{wide} bytes instead of {narrow}");
}

#[test]
fn words_with_stray_bits_and_noise_are_not_taken() {
    let v210 = Raster { packing: Packing::V210, row_bytes: 1920 };
    let mut plain = picture(v210, 100_000, 2, 1);
    assert!(round(&plain, v210, false).is_some());
    plain[50_003] |= 0x40;
    assert_eq!(round(&plain, v210, false), None);
    let random = Raster { packing: Packing::Samples { bytes: 1, channels: 3, big_endian: false }, row_bytes: 300 };
    let noise: Vec<u8> = picture(random, 100_000, 8, 77).into_iter().map(|b| b.wrapping_mul(151)).collect();
    assert_eq!(round(&noise, random, false), None);
    for packing in [
        Packing::Samples { bytes: 3, channels: 1, big_endian: false },
        Packing::Samples { bytes: 1, channels: 5, big_endian: false },
        Packing::Samples { bytes: 0, channels: 0, big_endian: false },
        Packing::Yuv422 { bytes: 0, luma_first: false, big_endian: false },
    ] {
        assert_eq!(round(&[0; 5000], Raster { packing, row_bytes: 100 }, false), None, "{packing:?}");
    }
}

#[test]
fn a_repeated_pattern_is_left_to_zstd() {
    let tile = picture(Raster { packing: Packing::V210, row_bytes: 64 }, 977, 8, 3);
    let plain: Vec<u8> = tile.iter().map(|b| b & 3).cycle().take(200_000).collect();
    let form = Raster { packing: Packing::Samples { bytes: 1, channels: 1, big_endian: false }, row_bytes: 1000 };
    assert_eq!(round(&plain, form, false), None);
}

/// Payloads of today must be read for ever: the decoder's output is compared, and the encoder's by its hash. When the
/// encoder changes, the old payloads stay here as they are.
#[test]
fn golden_payloads_are_read() {
    let form = Raster { packing: Packing::Samples { bytes: 1, channels: 3, big_endian: false }, row_bytes: 390 };
    let plain = picture(form, 1000, 1, 1);
    let payload = Encoder::default().encode(&plain, form, false).unwrap();
    let mut back = Vec::new();
    let read = Decoder::default().decode(&unhex(GOLDEN), plain.len(), &mut back);
    assert_eq!((read, back), (Ok(()), plain), "the payload is now {}", hex(&payload));

    let keys = Keys::new([0; 32], 0);
    let mut all = Vec::new();
    for packing in packings() {
        for (bytes, noise) in [(70_001, 3), (20_000, 0), (9_999, 6)] {
            let form = Raster { packing, row_bytes: 960 };
            for dense in [false, true] {
                all.extend(Encoder::default().encode(&picture(form, bytes, noise, 11), form, dense));
            }
        }
    }
    let hash = keys.keyed_check(&all.concat());
    assert_eq!(hex(&hash[..8]), GOLDEN_HASH, "what the encoder writes has changed");
}

const GOLDEN: &str = "000301030086010000002501fffff701f9fe1500d7010000000000000000004c010200f30032ff0c018101cc0188ffa9ff03ff006301fdff52011fffc4006b01ab0199ff6dff4fff24000002000200010004000200010002000000010002000000020000000200000000000000000000000000240017c021400340b1402cf9ff2713c00b4022409e402cff7f42012c077402940964a2fe3f0198937b00aa1f0300f8052400f13063044a8e030043108604b88a43007d8c350621000000ac2c265a53a4dd8a4813acf293ce23e843bc9127aa9fb95ba70379bb4d08318efed364878af661a0387fba9ddd6de0fd08c0adb54dc9d6089b2809a5b91bc66f78a6090000000500000000000000001375cf00df100200c59f00004c900000bedf9f04f4c807009ac61200b0ba020022000000bb658a3b128a8b2d85ca4269f0dac18f9513dd51bb21c4bef50e79ff5342736002e4c368332ba0b64e29a7f050290518ea364c3292bb582b3e601a28e0f035a0c9465c4309000000030000000000000000954cca4277bbd80098ca452b52b7fa36d4e3020067a809003edb000016b12500220000001ad482193275e857e943ef193ea8fc39bdc34013e3c25d60bf48d818d1ab106242900e777340a644860d37d784f73262e2f93aefa19fd08c5d0a03fc327e7534ed63f0ce09000000030000000000000000";
const GOLDEN_HASH: &str = "61918c8933758178";

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

fn unhex(text: &str) -> Vec<u8> {
    (0..text.len() / 2).map(|i| u8::from_str_radix(&text[2 * i..2 * i + 2], 16).expect("hex")).collect()
}

/// A rank that is none stands for 0, but others are foretold from it: a proof must not take one for the other.
#[test]
fn harmed_payloads_are_proven_only_if_they_are_decoded_so() {
    let form = Raster { packing: Packing::Samples { bytes: 1, channels: 1, big_endian: false }, row_bytes: 96 };
    let mut state = 3u32;
    let mut noise = |n: u32| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 16) % n
    };
    // 36 values of 256, 0 among them: ranks of six bits.
    let plain: Vec<u8> = (0..96 * 60u32).map(|i| ((noise(9) + i % 96 / 8 + i / 96 / 4) % 36 * 7) as u8).collect();
    let payload = Encoder::default().encode(&plain, form, false).unwrap();
    assert!(payload[9] & RANKS != 0, "its values are ranked");
    let (mut decoder, mut scratch) = (Decoder::default(), Vec::new());
    let proves = |payload: &[u8]| decoder.proves(payload, &plain, &mut scratch);
    let decode = |payload: &[u8], out: &mut Vec<u8>| Decoder::default().decode(payload, plain.len(), out);
    crate::chunk::proofs::each_bit_harmed(&payload, &plain, proves, decode);
}
