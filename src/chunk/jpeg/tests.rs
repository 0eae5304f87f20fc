//! JPEG files of many kinds in chunks: what comes back, what is saved, what is refused, and what version 1 wrote.

use super::chances::{Class, PRIORS};
use super::*;
use crate::format::Keys;
use proptest::prelude::*;

/// Made by libjpeg-turbo from a drawing: samplings, restarts, own tables, scans of their own, progressive, four components, steps of 16
/// bits.
const SAMPLES: [(&str, &[u8]); 11] = [
    ("420", include_bytes!("samples/420.jpg")),
    ("422", include_bytes!("samples/422.jpg")),
    ("440-restart-row", include_bytes!("samples/440-restart-row.jpg")),
    ("444-restart-5", include_bytes!("samples/444-restart-5.jpg")),
    ("411-apart", include_bytes!("samples/411-apart.jpg")),
    ("grey", include_bytes!("samples/grey.jpg")),
    ("progressive", include_bytes!("samples/progressive.jpg")),
    ("progressive-grey-restart", include_bytes!("samples/progressive-grey-restart.jpg")),
    ("cmyk", include_bytes!("samples/cmyk.jpg")),
    ("steps-16", include_bytes!("samples/steps-16.jpg")),
    ("arithmetic", include_bytes!("samples/arithmetic.jpg")),
];

fn sample(name: &str) -> &'static [u8] {
    SAMPLES.iter().find(|(n, _)| *n == name).unwrap().1
}

/// A photo with 65 KB in front of its tables.
fn photo() -> Vec<u8> {
    std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/media/Photos/2008/Wood.jpg")).unwrap()
}

/// What each chunk becomes, if that is less than it is. Each must come back alone, and all of them are the file.
fn payloads(file: &[u8], lengths: impl Iterator<Item = usize>) -> Vec<Option<Vec<u8>>> {
    let (mut walker, mut payloads, mut at) = (Walker::default(), Vec::new(), 0);
    for length in lengths {
        let chunk = &file[at..file.len().min(at + length.max(1))];
        at += chunk.len();
        let payload = walker.follow(chunk).and_then(|start| encode(&start, chunk));
        if let Some(payload) = &payload {
            let mut back = b"before".to_vec();
            assert_eq!(decode(payload, chunk.len(), &mut back), Ok(()));
            assert!(back.strip_prefix(b"before") == Some(chunk), "another chunk came back");
            assert!(payload.len() + chunk.len() / 64 < chunk.len(), "it did not pay");
        }
        payloads.push(payload);
        if at == file.len() {
            break;
        }
    }
    assert_eq!(at, file.len(), "chunks are missing");
    payloads
}

/// Bytes of all chunks, coded or plain.
fn stored(file: &[u8], lengths: impl Iterator<Item = usize> + Clone) -> usize {
    let payloads = payloads(file, lengths.clone());
    let mut left = file.len();
    payloads
        .iter()
        .zip(lengths)
        .map(|(payload, length)| {
            let plain = left.min(length.max(1));
            left -= plain;
            payload.as_ref().map_or(plain, Vec::len)
        })
        .sum()
}

fn saved_percent(file: &[u8], length: usize) -> usize {
    (file.len() - stored(file, std::iter::repeat(length))) * 100 / file.len()
}

#[test]
fn pictures_of_every_kind_become_smaller() {
    let least = [17, 16, 13, 15, 14, 13, 1, 10, 17, 61, 0];
    let saved: Vec<usize> = SAMPLES.iter().map(|(_, file)| saved_percent(file, file.len())).collect();
    assert!(saved.iter().zip(least).all(|(saved, least)| *saved >= least), "{saved:?} %, {least:?} at least");
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

/// Wherever a file is cut, all of it comes back, and both parts together save about what the whole does.
#[test]
fn cuts_at_every_byte_come_back() {
    let step = if cfg!(debug_assertions) { 37 } else { 1 };
    // In all, in thousandths.
    let least = [123, 118, 71, 86, 75, 100, 14, 96, 117, 558, 0];
    let saved = SAMPLES.map(|(_, file)| {
        let cuts = (2..file.len()).step_by(step);
        let all: usize = cuts.clone().map(|at| stored(file, [at, file.len()].into_iter())).sum();
        (cuts.len() * file.len() - all) * 1000 / (cuts.len() * file.len())
    });
    assert!(saved.iter().zip(least).all(|(saved, least)| *saved >= least), "{saved:?}, {least:?} at least");
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
}

/// How many of a picture's chunks are coded that comes behind these bytes.
fn coded_behind(before: &[u8]) -> usize {
    let (file, mut walker) = (sample("420"), Walker::default());
    walker.follow(before);
    file.chunks(2100).filter(|chunk| walker.follow(chunk).is_some_and(|start| encode(&start, chunk).is_some())).count()
}

#[test]
fn a_picture_that_breaks_off_does_not_hide_the_next_one() {
    let file = sample("420");
    let scan = file.windows(2).position(|w| w == [0xff, 0xda]).unwrap();
    assert_eq!(coded_behind(&[]), 2);
    for (what, before) in [
        ("in its codes", &file[..2500]),
        ("at a code's 0xff", &[&file[..2500], &[0xff]].concat()),
        ("behind its scan's marker", &file[..scan + 2]),
        ("at its end", file),
        ("in what is not understood", &[&file[..2500], &[0xff, 0x77, 1, 2, 3]].concat()),
        ("in codes that are not followed", &sample("progressive")[..4400]),
    ] {
        let expected = if what.contains("marker") { 0 } else { 2 };
        assert_eq!(coded_behind(before), expected, "{what}");
    }
}

/// A chunk may begin with a thumbnail, which lies in a segment of the picture.
#[test]
fn a_thumbnail_does_not_hide_its_picture() {
    let (file, thumbnail) = (sample("420"), sample("grey"));
    let behind = [7; 300];
    let length = (2 + thumbnail.len() + behind.len()) as u16;
    let front = [&[0xff, 0xd8, 0xff, 0xe1], &length.to_be_bytes()[..]].concat();
    let rest = [thumbnail, &behind, &file[2..]].concat();
    let all = payloads(&[front.as_slice(), &rest].concat(), [front.len(), rest.len()].into_iter());
    let saved = rest.len() - all[1].as_ref().map_or(rest.len(), Vec::len);
    assert!(saved > 500, "{saved} bytes of the picture are saved");
}

/// The essence of a file whose front is stored apart.
#[test]
fn a_picture_may_begin_behind_what_describes_it() {
    let file = sample("420");
    let essence = file.windows(2).position(|w| w == [0xff, 0xdb]).unwrap();
    for (from, begins) in [(0, true), (2, true), (essence, true), (1, false), (essence + 1, false), (2000, false)] {
        assert_eq!(may_begin(&file[from..]), begins, "from {from}");
        let coded = payloads(&file[from..], std::iter::once(file.len())).remove(0);
        assert_eq!(coded.is_some_and(|p| p[0] == 1), begins, "from {from}");
    }
    assert!(!may_begin(&[]) && !may_begin(&[0xff]) && !may_begin(&[0xff, 0xd8, 0]) && !may_begin(&[0xff, 0xda, 0]));
}

#[test]
fn what_no_encoder_writes_ends_the_reading() {
    let file = sample("444-restart-5");
    let whole = payloads(file, std::iter::once(file.len())).remove(0).unwrap();
    let restarts = |w: &[u8]| w[0] == 0xff && (0xd0..=0xd7).contains(&w[1]);
    let before: Vec<usize> = (1..file.len() - 2).filter(|at| restarts(&file[at + 1..at + 3])).collect();
    let filled: Vec<usize> = before.into_iter().filter(|at| file[*at] & 1 == 1).collect();
    assert!(filled.len() > 9);
    // Zeros fill the byte before one of the last restart markers; what comes before it is coded all the same.
    let last = filled[filled.len() - 4];
    let mut file = file.to_vec();
    file[last] &= 0xfe;
    let mut walker = Walker::default();
    let less = walker.follow(&file).and_then(|start| encode(&start, &file));
    let less = less.expect("what lies before is coded").len();
    assert!(
        less > whole.len() && less < file.len() - 100,
        "{less}, {} as it was: what lies behind is plain",
        whole.len()
    );
    assert_eq!(walker.parser.phase, Phase::Lost);
}

/// What would leave it open what a scan's bits mean, or is no list of markers.
#[test]
fn what_is_not_clear_ends_the_reading() {
    let phase_behind = |bytes: &[u8]| {
        let mut parser = Parser::default();
        parser.begin(&[0xff, 0xd8, 0xff]);
        parser.take(&[&[0xff, 0xd8], bytes].concat());
        parser.phase
    };
    let table = |symbols: [u8; 2]| [&[0xff, 0xc4, 0, 21, 0, 0, 2], [0; 14].as_slice(), &symbols].concat();
    let frame = |ids: [u8; 2]| [0xff, 0xc0, 0, 14, 8, 0, 9, 0, 9, 2, ids[0], 0x11, 0, ids[1], 0x11, 0];
    for (what, clear, unclear) in [
        ("two codes for a symbol", table([4, 5]), table([4, 4])),
        ("two components of one name", frame([1, 2]).to_vec(), frame([2, 2]).to_vec()),
        ("no marker where one is due", vec![0xff, 0xfe, 0, 3, 9, 0xff], vec![0xff, 0xfe, 0, 3, 9, 0xfe]),
        ("another marker", vec![0xff, 0xd9], vec![0xff, 0xd7]),
    ] {
        assert_eq!((phase_behind(&clear), phase_behind(&unclear)), (Phase::Markers, Phase::Lost), "{what}");
    }
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
fn other_lengths_are_refused() {
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

/// The front of a grey progressive picture 512 samples wide, up to a band whose runs have these two lengths.
fn runs(length: u8, other: u8) -> Vec<u8> {
    let mut front = vec![0xff, 0xd8, 0xff, 0xc2, 0, 11, 8, 0xff, 0xff, 2, 0, 1, 1, 0x11, 0];
    front.extend([0xff, 0xc4, 0, 21, 0x10, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, length << 4, other << 4]);
    front.extend([0xff, 0xda, 0, 8, 1, 1, 0, 1, 63, 0]);
    front
}

/// Sixteen units and blocks of rows a byte, and no more.
#[test]
fn more_units_than_bytes_are_refused() {
    let front = runs(9, 14);
    let plain_bytes = front.len() + 2;
    let most = UNITS_PER_BYTE as usize * plain_bytes - 2 * 64; // two rows are kept
    let decoded = |units: usize| {
        let mut parser = Parser::default();
        assert!(parser.begin(&front));
        assert_eq!(parser.take(&front), front.len());
        let layout = Layout::new(&parser.known).unwrap();
        let (mut coder, mut model, mut rows) = (Encoder::new(), Model::new(), Rows::new(&layout));
        for unit in 0..units as u32 {
            let blocks = &mut [Block::EMPTY; BLOCKS_MAX];
            model.unit(&mut coder, &layout, &mut rows, &steps(&parser.known), unit, blocks);
        }
        let (coded, mut payload) = (coder.finish(), vec![1]);
        put_number(&mut payload, coded.len() as u32);
        payload.extend(coded);
        for n in [1, front.len() as u32] {
            put_number(&mut payload, n);
        }
        payload.extend(&front);
        put_number(&mut payload, units as u32);
        // One bit for the run, nine of its length.
        let bits = ((units & 511) << 6) as u16;
        payload.push(bits as u8);
        let mut back = Vec::new();
        decode(&payload, plain_bytes, &mut back).map(|()| assert_eq!(back, [&front, &bits.to_be_bytes()[..]].concat()))
    };
    assert!((512..1023).contains(&most));
    assert_eq!(decoded(most), Ok(()));
    assert!(decoded(most + 1).is_err());
}

/// Two bytes of a progressive scan may stand for 32 767 blocks: what a chunk may cost is bounded by its bytes.
#[test]
fn long_runs_of_empty_blocks_are_left_alone() {
    let mut file = runs(14, 9);
    file[9..11].fill(0xff); // as wide as can be
    let mut bits = huffman::BitsOut::new(file, 0);
    (0..1500).for_each(|_| bits.put(0x3fff, 15)); // a code of one bit, and 14 of the length
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
        payloads(sample("420"), [1800, 1500, 9999].into_iter()).remove(1).unwrap(),
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

/// A grey picture whose coefficients have up to 14 bits, and differences of the first ones 15: more than an encoder of 8 bits a sample
/// writes, and all that is read. Its codes are of eight bits, so that there is something to save.
fn long_values() -> Vec<u8> {
    let mut file = vec![0xff, 0xd8, 0xff, 0xc0, 0, 11, 8, 0, 72, 0, 96, 1, 1, 0x11, 0];
    let ac: Vec<u8> = [0, 0x10, 0xf0].iter().flat_map(|run| (11..15).map(move |n| run | n)).chain([0]).collect();
    for (class, symbols) in [(0, (0..16).collect()), (0x10, ac.clone())] {
        let symbols: Vec<u8> = symbols;
        file.extend([0xff, 0xc4, 0, 19 + symbols.len() as u8, class, 0, 0, 0, 0, 0, 0, 0, symbols.len() as u8]);
        file.extend([[0; 8].as_slice(), &symbols].concat());
    }
    file.extend([0xff, 0xda, 0, 8, 1, 1, 0, 0, 63, 0]);
    let mut bits = huffman::BitsOut::new(file, 0);
    let mut put = |code: usize, value: i32, length: u32| {
        bits.put(code as u32, 8);
        bits.put((if value < 0 { value - 1 } else { value }) as u32 & ((1 << length) - 1), length);
    };
    let mut before = 0i32;
    for n in 0..9 * 12 {
        let dc: i32 = [0, 16_000, -16_000, 16_200, -5][n % 5];
        let length = 32 - (dc - before).unsigned_abs().leading_zeros();
        put(length as usize, dc - before, length);
        before = dc;
        // Behind each other, one place of the first row, one of the first column, one inside, and one sixteen places on.
        for (nth, run) in [0, 0, 0x10, 0xf0].into_iter().enumerate() {
            let length = 11 + (n * 7 + nth * nth) % 4;
            let size = (1 << (length - 1)) + (n * 97 + nth * 31) as i32 % 1000;
            let code = ac.iter().position(|symbol| usize::from(*symbol) == run + length).unwrap();
            put(code, if (n + nth) % 3 == 0 { -size } else { size }, length as u32);
        }
        put(ac.len() - 1, 0, 0);
    }
    bits.restart(9); // EOI
    bits.end().0
}

/// Lengths of sizes beyond those that the priors tell.
#[test]
fn values_of_14_bits_are_coded_as_version_1_did() {
    let file = long_values();
    let now = payloads(&file, std::iter::once(file.len())).remove(0).unwrap();
    let golden = include_bytes!("samples/long-values.v1");
    let mut back = Vec::new();
    assert!(decode(golden, file.len(), &mut back).is_ok() && back == file, "another picture came back");
    assert!(now == golden, "the encoder writes something else now");
}

const GOLDEN_HASH: &str = "f18f571b8aa4a1bb";

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
    fn arbitrary_payloads_are_refused_or_decoded(
        nth in 0..SAMPLES.len() - 1,
        bytes in prop::collection::vec(any::<u8>(), 0..3000),
        kept in 0usize..300,
        longer in 0usize..2,
    ) {
        // A front as it is, so that it is read; then a number of coded bytes, and anything.
        let file = SAMPLES[nth].1;
        let payload = payloads(file, std::iter::once(file.len())).remove(0).unwrap_or_default();
        let mut from = Reader { rest: payload.get(1..).unwrap_or_default() };
        let coded = from.number().and_then(|n| from.bytes(n as usize)).unwrap_or_default();
        let noise = [&coded[..kept.min(coded.len())], &bytes].concat();
        let mut other = vec![1];
        put_number(&mut other, noise.len() as u32);
        let other = [&other, noise.as_slice(), from.rest].concat();
        let plain = file.len() + longer;
        let mut out = b"x".to_vec();
        let done = decode(&other, plain, &mut out);
        prop_assert_eq!(out.len(), 1 + done.map_or(0, |()| plain));
        prop_assert_eq!(out[0], b'x');
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
