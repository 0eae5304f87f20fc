//! JPEG files of many kinds in chunks: what comes back, what is saved, what is refused, and what version 1 wrote.

use super::chances::{Class, PRIORS};
use super::*;
use crate::format::Keys;
use proptest::prelude::*;

/// Made by libjpeg-turbo's cjpeg from a drawing: samplings, restarts, own tables, scans of their own, progressive.
const SAMPLES: [(&str, &[u8]); 9] = [
    ("420", include_bytes!("samples/420.jpg")),
    ("422", include_bytes!("samples/422.jpg")),
    ("440-restart-row", include_bytes!("samples/440-restart-row.jpg")),
    ("444-restart-5", include_bytes!("samples/444-restart-5.jpg")),
    ("411-apart", include_bytes!("samples/411-apart.jpg")),
    ("grey", include_bytes!("samples/grey.jpg")),
    ("progressive", include_bytes!("samples/progressive.jpg")),
    ("progressive-grey-restart", include_bytes!("samples/progressive-grey-restart.jpg")),
    ("arithmetic", include_bytes!("samples/arithmetic.jpg")),
];

fn sample(name: &str) -> &'static [u8] {
    SAMPLES.iter().find(|(n, _)| *n == name).unwrap().1
}

/// A photo with 65 KB in front of its tables.
fn photo() -> Vec<u8> {
    std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/media/Photos/2008/Wood.jpg")).unwrap()
}

/// What each chunk becomes, if that is less than it is. Each must come back alone.
fn payloads(file: &[u8], lengths: impl Iterator<Item = usize>) -> Vec<Option<Vec<u8>>> {
    let (mut walker, mut rest, mut payloads) = (Walker::default(), file, Vec::new());
    for length in lengths {
        let (chunk, behind) = rest.split_at(length.clamp(1, rest.len()));
        rest = behind;
        let payload = walker.follow(chunk).and_then(|start| encode(&start, chunk));
        if let Some(payload) = &payload {
            let mut back = b"before".to_vec();
            assert_eq!(decode(payload, chunk.len(), &mut back), Ok(()));
            assert!(back.strip_prefix(b"before") == Some(chunk), "another chunk came back");
        }
        payloads.push(payload);
        if rest.is_empty() {
            break;
        }
    }
    payloads
}

fn saved_percent(file: &[u8], length: usize) -> usize {
    let all: usize = payloads(file, std::iter::repeat(length))
        .iter()
        .zip(file.chunks(length))
        .map(|(payload, chunk)| payload.as_ref().map_or(chunk.len(), Vec::len))
        .sum();
    (file.len() - all) * 100 / file.len()
}

#[test]
fn pictures_of_every_kind_become_smaller() {
    let least = [15, 15, 12, 14, 12, 12, 1, 9];
    for ((name, file), least) in SAMPLES.iter().zip(least) {
        let saved = saved_percent(file, file.len());
        assert!(saved >= least, "{name}: {saved} %");
    }
    assert_eq!(payloads(sample("arithmetic"), std::iter::repeat(9999)), [None], "nothing is known of arithmetic codes");
}

#[test]
fn a_photo_in_chunks_becomes_smaller_by_a_sixth() {
    let file = photo();
    let front = 64_949;
    assert_eq!(file[front..front + 2], [0xff, 0xdb], "here the splitter's essence begins");
    for (from, length, least) in [(front, 256 << 10, 17), (front, 64 << 10, 15), (0, 1 << 20, 15)] {
        let saved = saved_percent(&file[from..], length);
        assert!(saved >= least, "from {from} in {length}: {saved} %");
    }
}

#[test]
fn cuts_at_every_byte_come_back() {
    for (name, file) in SAMPLES {
        let step = if cfg!(debug_assertions) { 37 } else { 1 };
        for at in (2..file.len()).step_by(step) {
            let coded = payloads(file, [at, file.len()].into_iter()).iter().flatten().count();
            let counts = ["420", "422", "grey"].contains(&name);
            assert!(coded > 0 || !counts, "{name} cut at {at}");
        }
    }
}

#[test]
fn a_chunk_in_the_middle_needs_nothing_else() {
    for name in ["420", "422"] {
        let file = sample(name);
        let all = payloads(file, [1800, 1500, 9999].into_iter());
        assert!(all[1].is_some(), "{name}: a part of the scan alone");
    }
}

#[test]
fn a_picture_behind_a_picture_is_followed() {
    let two = [sample("420"), sample("grey")].concat();
    let one = payloads(&two, std::iter::once(two.len()));
    let [Some(payload)] = one.as_slice() else { panic!("neither became smaller") };
    assert!(payload.len() * 100 < two.len() * 87, "{} of {}", payload.len(), two.len());
    // One that breaks off does not hide the next chunk's.
    let broken = [&sample("420")[..2500], sample("grey")].concat();
    assert!(payloads(&broken, [2500, 9999].into_iter())[1].is_some());
}

#[test]
fn what_no_encoder_writes_ends_the_reading() {
    // Zeros fill the byte before a restart marker.
    let mut file = sample("444-restart-5").to_vec();
    let whole = payloads(&file, std::iter::once(file.len())).remove(0).unwrap();
    let restarts = |w: &[u8]| w[0] == 0xff && (0xd0..=0xd7).contains(&w[1]);
    let before: Vec<usize> = (1..file.len() - 2).filter(|at| restarts(&file[at + 1..at + 3])).collect();
    assert!(before.len() > 9);
    before.iter().for_each(|at| file[*at] &= 0xfe);
    let less = payloads(&file, std::iter::once(file.len())).remove(0);
    assert!(less.is_none_or(|less| less.len() > whole.len()), "what lies behind is plain");
}

#[test]
fn priors_are_there_for_every_chance() {
    let mut count = 0;
    for class in &mut Class::both() {
        count += class.each(|_, chance| assert!(chance.seen > 0));
    }
    assert_eq!(count, PRIORS.len());
}

#[test]
fn more_units_than_bytes_are_refused() {
    let file = sample("grey");
    let payload = payloads(file, std::iter::once(file.len())).remove(0).unwrap();
    let mut out = b"x".to_vec();
    for n in [0, 1, file.len() - 1, file.len() + 1] {
        assert!(decode(&payload, n, &mut out).is_err() && out == b"x", "as {n} bytes");
    }
    for n in 0..payload.len() {
        assert!(decode(&payload[..n], file.len(), &mut out).is_err() && out == b"x", "{n} bytes of it");
    }
}

/// Two bytes of a progressive scan may stand for 32 767 blocks: what a chunk may cost is bounded by its bytes.
#[test]
fn long_runs_of_empty_blocks_are_left_alone() {
    let mut file = vec![0xff, 0xd8, 0xff, 0xc2, 0, 11, 8, 0xff, 0xff, 0xff, 0xff, 1, 1, 0x11, 0];
    file.extend([0xff, 0xc4, 0, 20, 0x10, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xe0]);
    file.extend([0xff, 0xda, 0, 8, 1, 1, 0, 1, 63, 0]);
    let mut bits = huffman::BitsOut::new(file, 0);
    (0..1500).for_each(|_| bits.put(0x3fff, 15));
    let file = bits.end().0;
    let mut walker = Walker::default();
    assert!(walker.follow(&file).is_some_and(|start| encode(&start, &file).is_none()));
    assert_eq!(walker.parser.phase, Phase::Units, "it is followed all the same");
    assert!(walker.place.unit > 40_000_000, "{}", walker.place.unit);
}

/// What version 1 wrote: of a whole picture, and of the middle of one.
#[test]
fn payloads_of_version_1_are_read() {
    let (whole, part) = (sample("progressive"), &sample("420")[1800..3300]);
    let now = [
        payloads(whole, std::iter::once(whole.len())).remove(0).unwrap(),
        payloads(sample("420"), [1800, 1500].into_iter()).remove(1).unwrap(),
    ];
    let golden: [&[u8]; 2] = [include_bytes!("samples/progressive.v1"), include_bytes!("samples/420-part.v1")];
    for (payload, plain) in golden.iter().zip([whole, part]) {
        let mut back = Vec::new();
        assert_eq!((decode(payload, plain.len(), &mut back), back.as_slice()), (Ok(()), plain));
    }
    assert!(now[0] == golden[0] && now[1] == golden[1], "the encoder writes something else now");

    let mut all = Vec::new();
    for (_, file) in SAMPLES {
        all.extend(payloads(file, [700, 1300].into_iter().cycle()).into_iter().flatten().flatten());
    }
    let hash = Keys::new([0; 32], 0).keyed_check(&all);
    let hex: String = hash.iter().take(8).map(|b| format!("{b:02x}")).collect();
    assert_eq!(hex, GOLDEN_HASH, "what the encoder writes has changed");
}

const GOLDEN_HASH: &str = "a48061b5be3506bc";

fn cases() -> ProptestConfig {
    ProptestConfig { cases: if cfg!(debug_assertions) { 48 } else { 2000 }, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn changed_pictures_come_back_in_any_chunks(
        nth in 0..SAMPLES.len(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        lengths in prop::collection::vec(1usize..3000, 1..8),
        gone in any::<prop::sample::Index>(),
    ) {
        let mut file = SAMPLES[nth].1.to_vec();
        for (at, byte) in changes {
            let n = at.index(file.len());
            file[n] = byte;
        }
        if lengths.len() % 2 == 0 {
            file.remove(gone.index(file.len()));
        }
        payloads(&file, lengths.into_iter().cycle());
    }

    #[test]
    fn bytes_that_look_like_one_come_back(
        bytes in prop::collection::vec(prop_oneof![4 => any::<u8>(), 1 => Just(0xff_u8), 1 => Just(0)], 0..3000),
        front in 0usize..1200,
        length in 200usize..3000,
    ) {
        let file = [&sample("422")[..front], &bytes].concat();
        if !file.is_empty() {
            payloads(&file, std::iter::repeat(length));
        }
    }

    #[test]
    fn harmed_payloads_neither_panic_nor_leave_anything_behind(
        nth in 0..SAMPLES.len() - 1,
        length in 900usize..5000,
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..5),
        front in any::<bool>(),
    ) {
        let file = SAMPLES[nth].1;
        for (payload, chunk) in payloads(file, std::iter::repeat(length)).into_iter().zip(file.chunks(length)) {
            let Some(mut payload) = payload else { continue };
            let reach = if front { payload.len().min(80) } else { payload.len() };
            for (at, byte) in &changes {
                payload[at.index(reach)] = *byte;
            }
            let mut out = b"x".to_vec();
            let done = decode(&payload, chunk.len(), &mut out);
            prop_assert_eq!(out.len(), 1 + done.map_or(0, |()| chunk.len()));
        }
    }

    #[test]
    fn arbitrary_payloads_are_refused_or_decoded(payload: Vec<u8>, plain in 0usize..70_000) {
        let mut out = b"x".to_vec();
        let done = decode(&payload, plain, &mut out);
        prop_assert_eq!(out.len(), 1 + done.map_or(0, |()| plain));
    }
}

/// Bits of every chance, and even ones, come back; so does a carry through many bytes.
#[test]
fn bits_come_back_from_the_range_coder() {
    use super::coder::{Chance, Coder};
    let mut x = 88_172_645_463_325_252_u64;
    let mut noise = move || {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        x
    };
    for rare in [2, 3, 50, 5000] {
        let bits: Vec<(bool, u32, u32)> = (0..20_000)
            .map(|_| {
                let count = (noise() % 16) as u32;
                (noise() % rare == 0, count, noise() as u32 & ((1 << count) - 1))
            })
            .collect();
        let (mut encoder, mut chance) = (Encoder::new(), Chance::EVEN);
        for (bit, count, value) in &bits {
            encoder.learned(&mut chance, *bit);
            encoder.even(*count, *value);
        }
        let coded = encoder.finish();
        let (mut decoder, mut chance) = (Decoder::new(&coded), Chance::EVEN);
        for (bit, count, value) in &bits {
            assert_eq!((decoder.learned(&mut chance, false), decoder.even(*count, 0)), (*bit, *value));
        }
    }
    for n in 0..200 {
        // The unlikely half again and again: low comes near the top, and carries.
        let (mut encoder, mut share) = (Encoder::new(), 65_535 - 48);
        for i in 0..n {
            encoder.bit(share, i % 7 == 6);
            share = if i % 3 == 0 { 48 } else { 65_535 - 48 };
        }
        let coded = encoder.finish();
        let (mut decoder, mut share) = (Decoder::new(&coded), 65_535 - 48);
        for i in 0..n {
            assert_eq!(decoder.bit(share, false), i % 7 == 6, "bit {i} of {n}");
            share = if i % 3 == 0 { 48 } else { 65_535 - 48 };
        }
    }
}
