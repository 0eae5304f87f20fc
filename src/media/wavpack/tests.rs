//! Files of the reference encoder and of FFmpeg, and blocks that no encoder would choose: made by the way back, which needs
//! nothing but decisions and samples.

use proptest::prelude::*;

use super::super::inverse as any_inverse;
use super::super::testing::{ape, collect_parts, head, id3v1, id3v2, noise, real, streams, without_tail};
use super::*;
use crate::chunk::Pcm;
use crate::format::wire::Put;

/// `wavpack -h -m --blocksize=2000 -w Title=Hum` (5.6.0) of frames 88200 to 93491 of `02 Glass Hum.flac`.
const STEREO: &[u8] = include_bytes!("tests/stereo.wv");
/// Three channels of 32 bits made of the same sound by FFmpeg, `wavpack -x1 --blocksize=1000`: lower bits are sent.
const THREE: &[u8] = include_bytes!("tests/three.wv");
/// One channel of it, by FFmpeg 5.1.9: it fills bitstreams up with zeros, and writes no checksum.
const MONO: &[u8] = include_bytes!("tests/mono.wv");

fn all(file: &[u8], windows: &[usize]) -> (Vec<Part>, Option<&'static str>) {
    collect_parts(open(head(file)).expect("WavPack"), file, windows)
}

fn mapped_bytes(parts: &[Part]) -> u64 {
    parts.iter().filter(|p| matches!(p, Part::Mapped(_))).map(Part::bytes).sum()
}

struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, n: usize) -> usize {
        ((self.next() >> 33) as usize) % n
    }

    fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }
}

/// What blocks are made of.
#[derive(Clone, Copy, Debug)]
struct Kind {
    stored: usize,
    /// Of each block of a group.
    blocks: [usize; 3],
    /// Bits below the numbers that are coded.
    lower: [u8; 4],
    /// A stream of lower bits of the new form.
    width: Option<u8>,
    shift: u32,
}

impl Kind {
    fn is_lower(&self) -> bool {
        self.lower != [0; 4]
    }

    /// Bits of the numbers.
    fn bits(&self) -> u32 {
        8 * self.stored as u32 - self.lower.iter().map(|&b| u32::from(b)).sum::<u32>() - self.shift
    }
}

fn a_kind(random: &mut Random) -> Kind {
    let stored = 1 + random.below(4);
    let mut lower = [0; 4];
    if random.one_in(2) {
        lower[1 + random.below(3)] = 1 + random.below(5) as u8;
        if stored == 4 {
            lower[0] = random.below(9) as u8;
        }
    }
    Kind {
        stored,
        blocks: [[1, 0, 0], [2, 0, 0], [2, 0, 0], [2, 1, 0], [2, 2, 2], [1, 2, 0]][random.below(6)],
        lower,
        width: random.one_in(2).then(|| random.below(32) as u8),
        shift: if random.one_in(4) { random.below(3) as u32 } else { 0 },
    }
}

/// Numbers of some kind of sound.
fn sound(random: &mut Random, frames: usize, bits: u32) -> Vec<i32> {
    let (kind, step) = (random.below(6), random.below(1000) as i64 - 500);
    let mut level = 0_i64;
    let each = |i| {
        let noise = i64::from((random.next() >> 32) as u32 as i32);
        let value = match kind {
            0 => 0,
            1 => step >> 1,
            2 => noise,
            3 => noise >> 20,
            4 if i % 300 < 200 => 0,
            _ => {
                level = (level + step + (noise >> 24)).clamp(-1 << 31, (1 << 31) - 1);
                level
            }
        };
        ((value << (64 - bits)) >> (64 - bits)) as i32
    };
    (0..frames).map(each).collect()
}

/// A text of random metadata, and whether it has wrapper. `one` if both channels are alike.
fn a_text(random: &mut Random, kind: &Kind, frames: usize, (block, one): (usize, bool)) -> (Vec<u8>, bool) {
    let mut text = vec![if random.one_in(3) { block::ZEROS } else { 0 } | if random.one_in(3) { 8 } else { 0 }];
    text.put_u16(0x402 + random.below(15) as u16);
    text.put_u32(frames as u32);
    let last = kind.blocks.iter().rposition(|&channels| channels > 0) == Some(block);
    let coded = if one { 1 } else { kind.blocks[block] };
    let mut flags = (kind.stored as u32 - 1) | (kind.shift << 13) | ((random.below(1 << 9) as u32) << 18);
    flags |= if kind.blocks[block] == 1 { 4 } else { 0 } | if one { 0x4000_0000 } else { 0 };
    flags |= if block == 0 { 0x800 } else { 0 } | if last { 0x1000 } else { 0 };
    flags |= if kind.is_lower() { 0x100 } else { 0 } | if random.one_in(2) { 0x10 } else { 0 };
    text.put_u32(flags);
    let mut part = |random: &mut Random, id: u8, content: &[u8]| {
        let long = if random.one_in(5) || content.len() > 510 { 0x80 } else { 0 };
        let odd = if content.len() % 2 == 1 { 0x40 } else { 0 };
        text.put_u8(id | long | odd);
        let words = content.len().div_ceil(2);
        text.put(&(words as u32).to_le_bytes()[..if long > 0 { 3 } else { 1 }]);
        text.put(content);
        if odd > 0 {
            text.put_u8(random.next() as u8);
        }
    };
    if random.one_in(3) {
        part(random, 0x2a, &noise(random.0 as usize % 700));
    }
    let terms: &[i8] = &[17, 18, 1, 2, 3, 4, 5, 6, 7, 8, -1, -2, -3][..if coded == 1 { 10 } else { 13 }];
    let terms: Vec<i8> = (0..random.below(17)).map(|_| terms[random.below(terms.len())]).collect();
    let byte = |random: &mut Random, term: i8| (term + 5) as u8 | (random.below(8) as u8) << 5;
    let content: Vec<u8> = terms.iter().map(|&term| byte(random, term)).collect();
    part(random, 2, &content);
    let weights: Vec<u8> = (0..random.below(terms.len() + 1) * coded).map(|_| random.next() as u8).collect();
    part(random, 3, &weights);
    let history = terms.iter().take(random.below(3)).map(|&term| match term {
        17 | 18 => 2 * coded,
        1..=8 => term as usize * coded,
        _ => 2,
    });
    let log = |random: &mut Random, n: usize| {
        (0..n).flat_map(|_| [random.next() as u8, random.below(9) as u8]).collect::<Vec<_>>()
    };
    let content = log(random, history.sum());
    part(random, 4, &content);
    if !random.one_in(5) {
        let content = log(random, 3 * coded);
        part(random, 5, &content);
    }
    if kind.is_lower() {
        part(random, 9, &kind.lower);
    }
    let checksum = random.below(3);
    let order = random.one_in(2);
    let wrapper = random.one_in(9);
    if wrapper {
        text.extend([0x21, 3]);
    }
    text.push(0x8a);
    if kind.is_lower() && (kind.lower[0] > 0 || order) {
        match kind.width {
            Some(width) => text.extend([0xac, width]),
            None => text.push(0x8c),
        }
    }
    if checksum > 0 {
        text.extend([0x2f, checksum as u8]);
    }
    (text, wrapper)
}

/// The samples of numbers whose lower bits are what they may be.
fn samples(random: &mut Random, kind: &Kind, numbers: &[i32]) -> Vec<i32> {
    let [sent, zeros, ones, copies] = kind.lower.map(u32::from);
    let each = |&number: &i32| {
        let own = 32 - (number ^ number >> 31).leading_zeros() + sent;
        let count = match kind.width {
            Some(width @ 1..) => sent.saturating_sub(own.saturating_sub(width.into())),
            _ => sent,
        };
        let low = (random.next() >> 32) as i32 & ((1 << count) - 1);
        let sample = (number << count | low) << (sent - count);
        let filled = match (zeros, ones, copies) {
            (0, 0, copies) => (sample + (sample & 1)).wrapping_shl(copies).wrapping_sub(sample & 1),
            (0, ones, _) => (sample + 1).wrapping_shl(ones).wrapping_sub(1),
            (zeros, ..) => sample << zeros,
        };
        filled << kind.shift
    };
    numbers.iter().map(each).collect()
}

/// Blocks of random sound, coded at random: valid, but as no encoder would. Also their PCM.
fn blocks_of(random: &mut Random, kind: &Kind, groups: usize, index: u64) -> (Vec<u8>, Vec<u8>) {
    let (mut decisions, mut pcm, mut wrapper) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..groups {
        let most = if random.one_in(4) { 3000 } else { 30 };
        let frames = 1 + random.below(most);
        let mut channels = Vec::new();
        for (block, &own) in kind.blocks.iter().enumerate().filter(|(_, own)| **own > 0) {
            let one = own == 2 && random.one_in(5);
            let (text, has_wrapper) = a_text(random, kind, frames, (block, one));
            if has_wrapper {
                wrapper.extend(b"RIFF..");
            }
            decisions.put_varint(text.len() as u64);
            decisions.put_varint(0);
            decisions.put_var(&text);
            for channel in 0..own {
                let numbers = sound(random, frames, kind.bits().max(2));
                let samples = samples(random, kind, &numbers);
                channels.push(if one && channel == 1 { channels.last().cloned().expect("one") } else { samples });
            }
        }
        for frame in 0..frames {
            for channel in &channels {
                pcm.extend(&channel[frame].to_le_bytes()[..kind.stored]);
            }
        }
    }
    let mut parameters = vec![kind.stored as u8];
    parameters.put_varint(index);
    parameters.put_varint(0xff_ffff);
    let file = inverse(&parameters, &[&pcm, &decisions, &wrapper], 8 << 20).expect("blocks");
    (file, pcm)
}

/// Samples as narrow as a WAV's are.
fn narrowed(pcm: &[u8], stored: usize) -> Vec<u8> {
    let used = pcm.chunks_exact(stored).map(|word| word.iter().take_while(|&&b| b == 0).count());
    let unused = used.min().unwrap_or(0).min(stored);
    let width = if stored <= 2 {
        stored
    } else if unused == stored {
        3
    } else {
        (stored - unused).max(2)
    };
    pcm.chunks_exact(stored).flat_map(|word| &word[stored - width..]).copied().collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn blocks_coded_in_any_way_are_their_samples(seed: u64, groups in 1..8_usize) {
        let mut random = Random(seed | 1);
        let kind = a_kind(&mut random);
        let (file, pcm) = blocks_of(&mut random, &kind, groups, 5);
        let (parts, doubt) = all(&file, &[]);
        prop_assert_eq!(doubt, None, "{:?}", kind);
        if mapped_bytes(&parts) > 0 {
            prop_assert_eq!(mapped_bytes(&parts), file.len() as u64);
            let essence = streams(&file, &parts).remove(&ESSENCE);
            prop_assert!(essence == Some(narrowed(&pcm, kind.stored)), "{:?}", kind);
        } else {
            prop_assert!(pcm.len() > RATIO_MAX * file.len());
        }
    }

    /// What is lost is covered and what is mapped comes back: `collect_parts` looks at it.
    #[test]
    fn flipped_bits_cost_their_group_alone(
        seed: u64,
        flips in prop::collection::vec((any::<prop::sample::Index>(), 0..8_u32), 1..4),
        cut_short in prop::option::of(any::<prop::sample::Index>()),
        tail: bool,
    ) {
        let mut random = Random(seed | 1);
        let kind = a_kind(&mut random);
        let (mut file, _) = blocks_of(&mut random, &kind, 10, 0);
        for (at, bit) in &flips {
            let at = HEADER + at.index(file.len() - HEADER);
            file[at] ^= 1 << bit;
        }
        if let Some(index) = cut_short {
            file.truncate(HEADER + index.index(file.len() - HEADER));
        }
        if tail {
            file.extend(id3v1("x"));
        }
        let (parts, doubt) = all(&file, &[]);
        let (again, doubt_again) = collect_parts(open(without_tail(&file)).expect("WavPack"), &file, &[1]);
        prop_assert_eq!(doubt, doubt_again);
        prop_assert!(parts == again);
    }

    #[test]
    fn hostile_parts_never_panic(
        seed: u64,
        parameters in prop::collection::vec(any::<u8>(), 0..8),
        decisions in prop::collection::vec(any::<u8>(), 0..300),
        size in 0..40_000_usize,
        at in any::<prop::sample::Index>(),
        bit in 0..8_u32,
    ) {
        let mut random = Random(seed | 1);
        let pcm = if seed % 2 == 0 { vec![0; size] } else { noise(size) };
        let _ = any_inverse(WAVPACK_BLOCKS, &parameters, &[&pcm, &decisions], 5000);
        let kind = a_kind(&mut random);
        let (file, _) = blocks_of(&mut random, &kind, 4, 0);
        if let Some(Part::Mapped(m)) = all(&file, &[]).0.pop() {
            let mut parts: Vec<Vec<u8>> = m.parts.iter().map(|part| part.bytes.clone()).collect();
            let back = |parts: &[Vec<u8>], bytes| {
                let parts: Vec<&[u8]> = parts.iter().map(|part| &part[..]).collect();
                any_inverse(WAVPACK_BLOCKS, &m.parameters, &parts, bytes)
            };
            let n = m.bytes as usize;
            prop_assert!(back(&parts, n - 1).is_err() && back(&parts, n + 1).is_err());
            let whole = parts.clone();
            let place = at.index(parts[1].len());
            parts[1][place] ^= 1 << bit;
            let _ = back(&parts, n);
            parts[1].clone_from(&decisions);
            let _ = back(&parts, n);
            parts = whole.clone();
            parts[0].pop();
            prop_assert!(back(&parts, n).is_err());
            parts = whole;
            parts.push(vec![0; 2]);
            prop_assert!(back(&parts, n).is_err(), "a part left over");
        }
    }

    #[test]
    fn hostile_blocks_are_covered(
        bytes in prop::collection::vec(any::<u8>(), 0..400),
        samples in 1..0x3_0000_u32,
        flags: u32,
        index: u32,
    ) {
        let flags = block::Flags(flags & !0x8000_0088 | 0x1800);
        let bytes: Vec<u8> = bytes.iter().copied().chain([0]).take(bytes.len().next_multiple_of(2)).collect();
        let length = HEADER + bytes.len();
        let header = Header { bytes: length, version: 0x407, index: index.into(), total: 0, samples, flags, crc: index };
        let mut file = Vec::new();
        for _ in 0..3 {
            header.write(&mut file);
            file.extend(&bytes);
        }
        all(&file, &[]);
    }
}

#[test]
fn windows_of_any_size_give_the_same_parts() {
    let mut random = Random(99);
    let mut file = id3v2(3, 5000);
    let kinds: Vec<Kind> = (0..4).map(|_| a_kind(&mut random)).collect();
    while file.len() < 5 << 20 {
        let kind = kinds[random.below(4)];
        let blocks = blocks_of(&mut random, &kind, 60, 7).0;
        file.extend(blocks);
        if random.one_in(12) {
            file.extend(noise(random.below(9) * 50_000));
        }
    }
    file.extend(ape(2000, 70_000));
    let (parts, doubt) = all(&file, &[]);
    assert!(doubt.is_some() && mapped_bytes(&parts) > 2 << 20, "{doubt:?} {} of {}", mapped_bytes(&parts), file.len());
    for windows in [&[0][..], &[1], &[700_001, 5], &[2 << 20]] {
        let (again, doubt_again) = all(&file, windows);
        assert!(parts == again, "{windows:?}");
        assert_eq!(doubt, doubt_again);
    }
}

#[test]
fn a_recording_is_the_same_bytes_as_its_flac() {
    let flac = real("kaligari/Hums/02 Glass Hum.flac");
    let of_flac = streams(&flac, &collect_parts(super::super::open(head(&flac)), &flac, &[]).0);
    let (parts, doubt) = all(STEREO, &[0]);
    assert_eq!(doubt, None);
    let of = streams(STEREO, &parts);
    assert!(of[&ESSENCE][..] == of_flac[&ESSENCE][4 * 88_200..][..4 * 5292]);
    // The header of the WAV, then the block that holds nothing but an MD5 sum, then the tag.
    assert!(of[&WRAPPER].starts_with(b"RIFF") && of[&WRAPPER].ends_with(&[0; 8]));
    assert!(of[&WRAPPER].windows(5).any(|w| w == b"Title"));
    assert!(of[&DECISIONS].len() < 200, "{}", of[&DECISIONS].len());
    let Some(Part::Mapped(mapped)) = parts.first() else { panic!("no segment") };
    assert_eq!(mapped.parts[0].form, Form::Pcm(Pcm { sample_bytes: 2, channels: 2, coded: true }));
}

#[test]
fn tags_and_trailers_change_nothing_but_the_wrapper() {
    let plain = streams(MONO, &all(MONO, &[]).0);
    let tagged = [&id3v2(3, 300), MONO, &ape(2000, 500), &id3v1("title")].concat();
    let (parts, doubt) = all(&tagged, &[]);
    assert_eq!(doubt, None);
    let of = streams(&tagged, &parts);
    assert!(of[&ESSENCE] == plain[&ESSENCE] && of[&DECISIONS] == plain[&DECISIONS]);
    assert_eq!(of[&WRAPPER].len(), 310 + 32 + 532 + 128);
}

#[test]
fn a_trimmed_copy_has_the_same_decisions() {
    let mut random = Random(3);
    let kind = Kind { stored: 2, blocks: [2, 0, 0], lower: [0; 4], width: None, shift: 0 };
    let (file, _) = blocks_of(&mut random, &kind, 6, 1000);
    let mut random = Random(3);
    a_kind(&mut Random(1));
    let (other, _) = blocks_of(&mut random, &kind, 6, 0xff_0000_0000);
    assert!(file != other);
    assert!(streams(&file, &all(&file, &[]).0) == streams(&other, &all(&other, &[]).0));
}

#[test]
fn what_is_not_lossless_stays_as_it_is() {
    for (flag, reason) in [(8, "wavpack: hybrid"), (0x80, "wavpack: floats"), (0x8000_0000_u32, "wavpack: DSD")] {
        let mut file = STEREO.to_vec();
        let mut at = 0;
        while let Some(header) = Header::read(&file[at..]) {
            let flags = (header.flags.0 | flag).to_le_bytes();
            file[at + 24..at + 28].copy_from_slice(&flags);
            at += header.bytes;
        }
        let (parts, doubt) = all(&file, &[]);
        assert_eq!((mapped_bytes(&parts), doubt), (0, Some(reason)));
        assert!(streams(&file, &parts)[&WRAPPER].ends_with(&[0; 8]), "the tag is found all the same");
    }
}

#[test]
fn every_single_bit_flip_is_noticed_or_comes_back() {
    let whole = mapped_bytes(&all(MONO, &[]).0);
    assert_eq!(whole, MONO.len() as u64);
    let mut lost = 0;
    for bit in 0..MONO.len() * 8 {
        let mut file = MONO.to_vec();
        file[bit / 8] ^= 1 << (bit % 8);
        let Some(splitter) = open(head(&file)) else { continue };
        let doubt = collect_parts(splitter, &file, &[]).1;
        lost += usize::from(doubt.is_some());
        // Only what is no sound may change: the encoder's version, flags that say nothing, totals.
        assert!(doubt.is_some() || bit < 8 * (MONO.len() - 1650), "bit {bit} went unnoticed");
    }
    assert!(lost > 8 * 1600);
}

#[test]
fn long_silence_stays_as_it_is() {
    let kind = Kind { stored: 2, blocks: [2, 0, 0], lower: [0; 4], width: None, shift: 0 };
    let mut decisions = Vec::new();
    let mut text = vec![0];
    text.put_u16(0x410);
    text.put_u32(100_000);
    text.put_u32(0x1801);
    text.push(0x8a);
    for _ in 0..10 {
        decisions.put_varint(text.len() as u64);
        decisions.put_varint(0);
        decisions.put_var(&text);
    }
    let block = inverse(&[2, 0, 0], &[&vec![0; 4_000_000], &decisions], 4000).expect("blocks");
    let (parts, doubt) = all(&block.repeat(40), &[]);
    assert_eq!((mapped_bytes(&parts), doubt), (0, None));
    // Beside loud blocks it is taken apart.
    let (loud, _) = blocks_of(&mut Random(5), &kind, 100, 0);
    let (parts, doubt) = all(&[&loud[..], &block[..block.len() / 10]].concat(), &[]);
    assert_eq!((mapped_bytes(&parts), doubt), ((loud.len() + block.len() / 10) as u64, None));
}

/// Decisions once written are read for ever.
#[test]
fn decisions_of_real_files_are_what_they_were() {
    let hash =
        |bytes: &[u8]| crate::format::Keys::new([0; 32], 3).keyed_check(bytes).map(|b| format!("{b:02x}")).concat();
    for (file, forms, samples, decisions) in [
        (
            STEREO,
            (2, 2),
            "44cda3caf069bb79311aa348d8c864b51bb6b527388084bf1013f998eaca071c",
            "04db1393ebef759d021a20b0556771bb5c903957648c94776a0c49c30979a906",
        ),
        // These samples were compared with what `wvunpack` 5.6.0 writes.
        (
            THREE,
            (4, 3),
            "6965655f863d989d4c86923684975ef873d77b5e2ad6aab843e5fe2c48c4771a",
            "2c9b1f0bf07ae4b44cf747fcba78d9f600971ea725f58ed33b10c23506f028cc",
        ),
        (
            MONO,
            (2, 1),
            "3749f5dd5713b3805f3fb12d9388779b8343689a9fe072fb2e5d951014487fd6",
            "b492a685bcf2b734a540e1296f56db08ae097d0be6c8acba1bc95f967f6b0579",
        ),
    ] {
        let (parts, doubt) = all(file, &[]);
        assert_eq!(doubt, None);
        let of = streams(file, &parts);
        let Some(Part::Mapped(mapped)) = parts.first() else { panic!("no segment") };
        let (sample_bytes, channels) = forms;
        assert_eq!(mapped.parts[0].form, Form::Pcm(Pcm { sample_bytes, channels, coded: true }));
        assert_eq!((&hash(&of[&ESSENCE])[..], &hash(&of[&DECISIONS])[..]), (samples, decisions));
    }
}
