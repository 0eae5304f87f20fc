//! Tests of the FLAC splitter.

use super::super::testing::{
    ape, collect_counting, collect_parts, flac_file, flac_frames, head, id3v1, id3v2, noise, real, streams,
};
use super::super::{inverse as any_inverse, testing::without_tail};
use super::frame::{Kind, LEFT_SIDE, MIDDLE_SIDE, RAW, Subframe};
use super::predict::{ORDER_MAX, Sample};
use super::*;
use proptest::prelude::*;

/// The doubt of what is no frame.
const NOISE: Option<&str> = Some("flac: no frame where one should be");

/// (stream, bytes) of the joined runs, in windows as small as they may be.
fn split(bytes: &[u8]) -> (Vec<(u8, u64)>, Option<&'static str>) {
    let splitter = open(head(bytes)).expect("a FLAC file");
    let (runs, doubt) = collect_counting(splitter, bytes, &[0]);
    (runs.iter().map(|r| (r.stream, r.bytes)).collect(), doubt)
}

#[test]
fn metadata_and_tags_are_wrapper_and_frames_are_essence() {
    let sound = 3 << 20;
    let front = [id3v2(3, 500), id3v2(4, 20)].concat();
    let back = [ape(2000, 70_000), id3v1("x")].concat();
    let file = [front.clone(), flac_file(sound, &[(3, 18), (4, 100), (1, 8192)], false), back.clone()].concat();
    let wrapper = front.len() + 4 + 38 + 22 + 104 + 8196;
    let (runs, doubt) = split(&file);
    assert_eq!(runs, [(WRAPPER, wrapper as u64), (ESSENCE, sound as u64), (WRAPPER, back.len() as u64)]);
    assert_eq!(doubt, NOISE);
}

#[test]
fn a_block_larger_than_the_window_is_passed_by_its_length() {
    let huge = (1 << 24) - 1;
    let (runs, doubt) = split(&flac_file(1000, &[(1, huge), (2, huge)], false));
    assert_eq!(runs, [(WRAPPER, 4 + 38 + 2 * (4 + huge as u64)), (ESSENCE, 1000)]);
    assert_eq!(doubt, NOISE);
}

#[test]
fn a_picture_stands_between_borders_of_its_own() {
    let (runs, _) = split(&flac_file(1000, &[(4, 100), (6, 3 << 20), (6, 200), (1, 50)], false));
    let picture = 4 + (3 << 20);
    assert_eq!(runs, [(WRAPPER, 42 + 104), (WRAPPER, picture), (WRAPPER, 204 + 54), (ESSENCE, 1000)]);
}

#[test]
fn unknown_blocks_are_passed_and_the_forbidden_one_is_doubted() {
    let (runs, doubt) = split(&flac_file(1000, &[(126, 50)], false));
    assert_eq!((runs, doubt), (vec![(WRAPPER, 42 + 54), (ESSENCE, 1000)], NOISE));
    let (runs, doubt) = split(&flac_file(1000, &[(127, 50)], true));
    assert_eq!(runs[0], (WRAPPER, 42));
    assert_eq!((runs.len(), doubt), (2, Some("flac: a block header that is none")));
}

#[test]
fn what_does_not_start_with_streaminfo_is_doubted_from_there() {
    let mut file = flac_file(1000, &[(1, 50)], false);
    file[7] = 33;
    let len = file.len() as u64;
    let (runs, doubt) = split(&file);
    assert_eq!((runs, doubt), (vec![(WRAPPER, 4), (ESSENCE, len - 4)], Some("flac: STREAMINFO is not first")));
}

#[test]
fn metadata_without_an_end_is_doubted() {
    let mut file = flac_file(0, &[(1, 50)], false);
    file[42] &= 0x7f;
    let (runs, doubt) = split(&file);
    assert_eq!((runs, doubt), (vec![(WRAPPER, 42 + 54)], Some("flac: the file ends within its metadata")));
    for cut in 4..file.len() {
        assert!(split(&file[..cut]).1.is_some(), "cut to {cut}");
    }
}

#[test]
fn a_header_cut_short_is_essence() {
    let file = [flac_file(0, &[], false), vec![]].concat();
    let mut file = [&file[..4], &[0], &file[5..], &[0x81, 0]].concat();
    let (runs, doubt) = split(&file);
    assert_eq!((runs, doubt), (vec![(WRAPPER, 42), (ESSENCE, 2)], Some("flac: a block header that is none")));
    file.truncate(42);
    file[4] = 0x80;
    assert_eq!(split(&file), (vec![(WRAPPER, 42)], None), "no sound is no doubt");
    file.push(0xff);
    assert_eq!(split(&file), (vec![(WRAPPER, 42), (ESSENCE, 1)], Some("flac: the file ends within a frame")));
}

#[test]
fn sound_without_a_sync_code_is_doubted() {
    for sync in [[0xff, 0xfa], [0xfe, 0xf8], [0, 0]] {
        let mut file = flac_file(1000, &[], true);
        file[42..44].copy_from_slice(&sync);
        let len = file.len() as u64;
        let (runs, doubt) = split(&file);
        assert_eq!(runs, [(WRAPPER, 42), (ESSENCE, 1000), (WRAPPER, len - 1042)]);
        assert_eq!(doubt, NOISE);
    }
}

#[test]
fn a_re_tagged_real_file_has_the_same_essence() {
    let file = real("kaligari/Hums/02 Glass Hum.flac");
    let (parts, doubt) = collect_parts(open(head(&file)).expect("FLAC"), &file, &[0]);
    assert_eq!(doubt, None);
    // The blocks as `metaflac --list` counts them: STREAMINFO, SEEKTABLE, VORBIS_COMMENT, PADDING.
    let front = 4 + 4 + 34 + 4 + 18 + 4 + 40 + 4 + 8192;
    let mut of = streams(&file, &parts);
    assert!(of.remove(&WRAPPER).as_deref() == Some(&file[..front]));
    assert_eq!(of.keys().copied().collect::<Vec<_>>(), [ESSENCE, DECISIONS]);
    // STREAMINFO stays; the rest of the metadata is replaced by a picture and a comment.
    let mut other = [id3v2(4, 70).as_slice(), &file[..42]].concat();
    for (kind, bytes) in [(6, 300_000_u32), (0x84, 333)] {
        other.push(kind);
        other.extend_from_slice(&bytes.to_be_bytes()[1..]);
        other.extend(noise(bytes as usize));
    }
    other.extend_from_slice(&file[front..]);
    other.extend(id3v1("y"));
    let (again, doubt) = collect_parts(open(head(&other)).expect("FLAC"), &other, &[0]);
    assert_eq!(doubt, None);
    let mut others = streams(&other, &again);
    others.remove(&WRAPPER);
    assert!(others == of);
}

#[test]
fn a_trailing_tag_cannot_reach_before_the_first_frame() {
    // The APE tag claims the frames and 10 bytes before.
    let mut file = [flac_file(0, &[(4, 100)], false), flac_frames(200), ape(1000, 0)].concat();
    let at = file.len() - 20;
    file[at..at + 4].copy_from_slice(&(32 + 210_u32).to_le_bytes());
    assert_eq!(split(&file).0, [(WRAPPER, 42 + 104), (ESSENCE, 232)]);
}

#[test]
fn only_the_marker_opens_a_file() {
    for bytes in [&b""[..], b"fLa", b"OggS", &id3v2(3, 100), &[id3v2(3, 9), b"fLaX".to_vec()].concat()] {
        assert!(open(head(bytes)).is_none());
    }
}

/// Random numbers, the same for a seed.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, n: usize) -> usize {
        ((self.next() >> 33) as usize) % n
    }

    fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }
}

/// Samples of some kind of sound, `bits` wide.
fn sound(random: &mut Random, samples: usize, bits: u32) -> Vec<i32> {
    let (kind, step, wasted) = (random.below(6), random.below(1000) as i64 - 500, random.below(bits as usize) as u32);
    let mut level = 0_i64;
    let each = |_| {
        let noise = i64::from((random.next() >> 32) as u32 as i32);
        let value = match kind {
            0 => 0,
            1 => step >> 1,
            2 => noise,
            3 => noise >> 20,
            _ => {
                level = (level + step + (noise >> 24)).clamp(-1 << 31, (1 << 31) - 1);
                level
            }
        };
        let value = (value << (64 - bits)) >> (64 - bits);
        (if kind == 5 { value >> wasted << wasted } else { value }) as i32
    };
    (0..samples).map(each).collect()
}

/// Chooses how to code a channel whose samples stand in the frame, by chance.
fn choose<T: Sample>(random: &mut Random, subframe: &mut Subframe, samples: &[T], residual: &mut Vec<i32>, bits: u32) {
    let first: i64 = samples[0].into();
    let all = samples.iter().fold(0_i64, |all, &s| all | s.into());
    let constant = samples.iter().all(|&s| s == samples[0]);
    subframe.wasted = match random.below(3) {
        0 => 0,
        _ if all == 0 => random.below(bits as usize) as u32,
        1 => all.trailing_zeros(),
        _ => random.below(all.trailing_zeros() as usize + 1) as u32,
    };
    let bits = bits - subframe.wasted;
    subframe.kind = match random.below(8) {
        0..4 if constant => Kind::Constant,
        0 => Kind::Verbatim,
        1..4 => Kind::Fixed,
        _ => Kind::Linear,
    };
    subframe.order = match subframe.kind {
        Kind::Fixed => random.below(5).min(samples.len()),
        Kind::Linear if samples.len() >= 2 => 1 + random.below(ORDER_MAX.min(samples.len())),
        Kind::Linear => 1,
        _ => 0,
    };
    subframe.precision = 1 + random.below(15) as u32;
    subframe.shift = random.below(16) as u32;
    subframe.coefficients = [0; ORDER_MAX];
    for c in subframe.coefficients.iter_mut().take(subframe.order) {
        *c = random.next() as i32 >> (32 - subframe.precision) >> random.below(4);
    }
    assert!(subframe.kind != Kind::Constant || samples.iter().all(|&s| s.into() == first));
    if !subframe.has_residual() {
        return;
    }
    let shifted: Vec<T> = samples.iter().map(|&s| T::wrap(s.into() >> subframe.wasted)).collect();
    residual.resize(samples.len() - subframe.order, 0);
    if !T::residual(&shifted, residual, &subframe.predictor(bits)) {
        subframe.kind = Kind::Verbatim;
        subframe.order = 0;
        return;
    }
    // Small parameters of large residuals would make frames of some megabytes.
    subframe.five_bits = random.one_in(2) || residual.iter().any(|r| r.unsigned_abs() >> 20 > 0);
    subframe.partition_order = random.below(9) as u32;
    while !subframe.may_partition(subframe.partition_order, samples.len()) {
        subframe.partition_order -= 1;
    }
    subframe.parameters.clear();
    let (max, each) = (if subframe.five_bits { 30 } else { 14 }, samples.len() >> subframe.partition_order);
    for i in 0..1 << subframe.partition_order {
        let from = (i * each).saturating_sub(subframe.order);
        let values = &residual[from..(i + 1) * each - subframe.order];
        let sum: u64 = values.iter().map(|v| u64::from(v.unsigned_abs())).sum();
        let mean = sum / (values.len() as u64).max(1);
        let width = values.iter().map(|&v| 33 - (v ^ (v >> 31)).leading_zeros()).max().unwrap_or(0);
        let width = if sum == 0 { 0 } else { width };
        let k = (64 - mean.leading_zeros() as u64 + random.below(3) as u64).saturating_sub(random.below(2) as u64);
        if width <= 31 && (k > max + 8 || random.one_in(6)) {
            subframe.parameters.push(RAW | (width + random.below(32 - width as usize) as u32) as u8);
        } else {
            subframe.parameters.push(k.min(max) as u8);
        }
    }
}

/// A frame of random sound, coded at random: valid, but as no encoder would. Also its PCM.
fn a_frame(random: &mut Random, header: Header, bits: u32) -> (Vec<u8>, Vec<u8>) {
    let mut frame = Frame::default();
    let (channels, samples) = (header.channels(), header.block_samples().unwrap());
    let sound: Vec<Vec<i32>> = (0..channels).map(|_| sound(random, samples, bits)).collect();
    let bytes = bits.div_ceil(8) as usize;
    let mut pcm = Vec::new();
    for i in 0..samples {
        for channel in &sound {
            pcm.extend(&((i64::from(channel[i]) << (8 * bytes as u32 - bits)) as i32).to_le_bytes()[..bytes]);
        }
    }
    frame.begin(header);
    assert!(pcm::split(&pcm, bits, &mut frame));
    for i in 0..channels {
        let bits = bits + u32::from(header.is_side(i));
        let (subframe, residual) = (&mut frame.subframes[i], &mut frame.residuals[i]);
        if bits > 32 {
            choose(random, subframe, &frame.wide, residual, bits);
        } else {
            choose(random, subframe, &frame.samples[i], residual, bits);
        }
    }
    let mut out = Vec::new();
    assert!(frame.write(bits, &mut out, FRAME_MAX));
    (out, pcm)
}

/// What stands in front of frames of so many bits a sample.
fn front(bits: u32) -> Vec<u8> {
    let mut file = flac_file(0, &[(4, 40)], false);
    file[8 + 12] = 0x42 & 0xfe | ((bits - 1) >> 4) as u8;
    file[8 + 13] = (((bits - 1) & 15) << 4) as u8;
    file
}

/// A header whose numbers follow on `before`.
fn a_header(random: &mut Random, before: Option<Header>, bits: u32, channels: usize, steady: bool) -> Header {
    let mut header = before.unwrap_or(Header {
        variable: random.one_in(2),
        block_code: 1 + random.below(4) as u8,
        rate_code: random.below(12) as u8,
        number: random.next() >> (29 + random.below(35)),
        ..Header::default()
    });
    if before.is_some() {
        let step = if header.variable { header.block_samples().unwrap() as u64 } else { 1 };
        header.number = (header.number + step) % (1 << 36);
    }
    if !steady && random.one_in(3) {
        header.block_code = [1, 2, 6, 7, 8, 9][random.below(6)];
        header.block_extra = match header.block_code {
            6 => random.below(256) as u16,
            7 => random.below(3000) as u16,
            _ => 0,
        };
        header.rate_code = random.below(15) as u8;
        header.rate_extra = match header.rate_code {
            12 => 77,
            13 | 14 => 7777,
            _ => 0,
        };
        header.variable ^= random.one_in(5);
        header.number = random.next() >> (28 + random.below(36));
    }
    let code = [(8, 1), (12, 2), (16, 4), (20, 5), (24, 6), (32, 7)].into_iter().find(|c| c.0 == bits);
    header.size_code = code.filter(|_| !random.one_in(3)).map_or(0, |c| c.1);
    header.assignment = channels as u8 - 1;
    if channels == 2 && !random.one_in(3) {
        header.assignment = LEFT_SIDE + random.below(3) as u8;
        assert!(header.assignment <= MIDDLE_SIDE);
    }
    header
}

/// A file of random frames, and its PCM.
pub(in super::super) fn a_file(
    seed: u64,
    bits: u32,
    channels: usize,
    frames: usize,
    steady: bool,
) -> (Vec<u8>, Vec<u8>) {
    let mut random = Random(seed | 1);
    let (mut file, mut pcm, mut before) = (front(bits), Vec::new(), None);
    for _ in 0..frames {
        let header = a_header(&mut random, before, bits, channels, steady);
        before = Some(header);
        let (bytes, samples) = a_frame(&mut random, header, bits);
        file.extend(bytes);
        pcm.extend(samples);
    }
    (file, pcm)
}

fn all(file: &[u8], windows: &[usize]) -> (Vec<Part>, Option<&'static str>) {
    collect_parts(open(head(file)).expect("FLAC"), file, windows)
}

fn mapped_bytes(parts: &[Part]) -> u64 {
    parts.iter().filter(|p| matches!(p, Part::Mapped(_))).map(Part::bytes).sum()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn frames_coded_in_any_way_are_their_samples(
        seed: u64,
        bits in prop_oneof![4..=32_u32, Just(16), Just(24), Just(32)],
        channels in prop_oneof![1..=8_usize, Just(2)],
        frames in 1..12_usize,
        steady: bool,
    ) {
        let (file, pcm) = a_file(seed, bits, channels, frames, steady);
        let (parts, doubt) = all(&file, &[]);
        prop_assert_eq!(doubt, None);
        prop_assert!(mapped_bytes(&parts) > 0 || pcm.len() > RATIO_MAX * (file.len() - 86));
        if mapped_bytes(&parts) > 0 {
            prop_assert!(streams(&file, &parts).remove(&ESSENCE) == Some(pcm));
        }
    }

    /// What is lost is covered and what is mapped comes back: `collect_parts` looks at it.
    #[test]
    fn flipped_bits_cost_their_frame_alone(
        seed: u64,
        bits in 4..=32_u32,
        channels in 1..=3_usize,
        flips in prop::collection::vec((any::<prop::sample::Index>(), 0..8_u32), 1..4),
        cut_short in prop::option::of(any::<prop::sample::Index>()),
        tail: bool,
    ) {
        let (mut file, _) = a_file(seed, bits, channels, 10, true);
        for (at, bit) in &flips {
            let at = 86 + at.index(file.len() - 86);
            file[at] ^= 1 << bit;
        }
        if let Some(index) = cut_short {
            file.truncate(86 + index.index(file.len() - 86));
        }
        if tail {
            file.extend(id3v1("x"));
        }
        let (parts, doubt) = all(&file, &[]);
        let (again, doubt_again) = collect_parts(open(without_tail(&file)).expect("FLAC"), &file, &[1]);
        prop_assert_eq!(doubt, doubt_again);
        prop_assert!(parts == again);
    }

    #[test]
    fn hostile_parts_never_panic(
        seed: u64,
        bits in 0..40_u8,
        parameters in prop::collection::vec(any::<u8>(), 0..8),
        decisions in prop::collection::vec(any::<u8>(), 0..300),
        size in 0..40_000_usize,
        sound: bool,
    ) {
        let parameters = if sound { vec![bits, 0x10, 0x12, 5] } else { [&[bits][..], &parameters].concat() };
        let mut pcm = noise(size);
        if seed % 2 == 0 {
            pcm.fill(0);
        }
        let _ = any_inverse(FLAC_FRAMES, &parameters, &[&pcm, &decisions], 5000);
        let (file, _) = a_file(seed, 16, 2, 2, true);
        if let Some(Part::Mapped(m)) = all(&file, &[]).0.pop() {
            let parts = [&m.parts[0].bytes[..], &m.parts[1].bytes[..]];
            let n = m.bytes as usize;
            prop_assert!(any_inverse(FLAC_FRAMES, &m.parameters, &parts, n - 1).is_err());
            let changed = [parts[0], &decisions];
            let _ = any_inverse(FLAC_FRAMES, &m.parameters, &changed, n);
            let short = [&parts[0][..parts[0].len() - 1], parts[1]];
            prop_assert!(any_inverse(FLAC_FRAMES, &m.parameters, &short, n).is_err());
        }
    }
}

#[test]
fn windows_of_any_size_give_the_same_parts() {
    let mut random = Random(99);
    let (mut file, mut before) = (front(16), None);
    while file.len() < 5 << 20 {
        let channels = if random.one_in(15) { 3 } else { 2 };
        let mut header = a_header(&mut random, before, 16, channels, true);
        header.block_code = 12;
        before = Some(header);
        file.extend(a_frame(&mut random, header, 16).0);
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

/// Headers of frames that are none, so many that it gives up: at the same place, whatever the window shows at once.
#[test]
fn headers_of_no_frames_are_given_up_at_the_same_place_in_any_windows() {
    let (file, _) = a_file(5, 16, 2, 4, true);
    let header = frames_of(&file, FRONT)[0][..16].to_vec();
    for gap in [100, 3000, 9000, 20_000] {
        let mut bytes = file.clone();
        while bytes.len() < 6 << 20 {
            bytes.extend_from_slice(&header);
            bytes.extend(vec![0; gap]);
        }
        bytes.extend_from_slice(&file[FRONT..]);
        let whole = all(&bytes, &[]);
        for windows in [&[0][..], &[700_001, 5], &[2 << 20]] {
            assert!(whole == all(&bytes, windows), "a header every {gap} bytes, {windows:?}");
        }
    }
}

#[test]
fn a_broken_frame_costs_that_frame() {
    let (file, pcm) = a_file(5, 16, 2, 30, true);
    let mut random = Random(6);
    for _ in 0..20 {
        let mut broken = file.clone();
        let at = 86 + random.below(file.len() - 86);
        broken[at] ^= 0x10;
        let (parts, doubt) = all(&broken, &[]);
        assert!(doubt.is_some());
        let lost: u64 = broken.len() as u64 - 86 - mapped_bytes(&parts);
        assert!(lost > 0 && lost < 40_000, "{lost} bytes for one frame");
    }
    assert!(pcm.len() > 20_000);
}

#[test]
fn long_silence_stays_as_it_is() {
    let header = Header { block_code: 15, size_code: 4, assignment: 7, ..Header::default() };
    let mut file = front(16);
    for number in 0..3000 {
        let mut frame = Frame::default();
        frame.begin(Header { number, ..header });
        assert!(frame.write(16, &mut file, 1000));
    }
    let (parts, doubt) = all(&file, &[0]);
    assert_eq!((mapped_bytes(&parts), doubt), (0, Some("flac: too much silence")));
    file.truncate(86 + 17 * 100);
    let (parts, _) = all(&file, &[0]);
    assert_eq!(mapped_bytes(&parts), 0);
}

/// The frames of a file whose metadata has so many bytes.
pub(in super::super) fn frames_of(file: &[u8], front: usize) -> Vec<Vec<u8>> {
    let bits = sample_bits(&file[8..]);
    let (mut frames, mut rest, mut frame) = (Vec::new(), &file[front..], Frame::default());
    while !rest.is_empty() {
        let (one, after) = rest.split_at(frame.read(rest, bits).expect("a frame"));
        frames.push(one.to_vec());
        rest = after;
    }
    frames
}

/// Bytes of the metadata that [`a_file`] has in front.
pub(in super::super) const FRONT: usize = 86;

/// A real file, and the bytes of its metadata.
pub(in super::super) fn a_real_file() -> (Vec<u8>, usize) {
    (real("kaligari/Hums/02 Glass Hum.flac"), 4 + 4 + 34 + 4 + 18 + 4 + 40 + 4 + 8192)
}

/// Samples and decisions of a file.
pub(in super::super) fn native(file: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let mut of = streams(file, &all(file, &[]).0);
    (of.remove(&ESSENCE).unwrap_or_default(), of.remove(&DECISIONS).unwrap_or_default())
}

#[test]
fn packets_are_taken_apart_like_a_file() {
    let (file, front) = a_real_file();
    let bits = sample_bits(&file[8..]);
    let packets = frames_of(&file, front).concat();
    let taken = take_apart(&packets, bits, usize::MAX).expect("frames");
    let (samples, decisions) = native(&file);
    assert!(taken.samples == samples && taken.decisions == decisions);
    let parts = [&taken.samples[..], &taken.decisions];
    let back = any_inverse(FLAC_FRAMES, &taken.parameters, &parts, file.len() - front).expect("a way back");
    assert!(back == file[front..]);
    assert!(take_apart(&packets, bits, samples.len()).is_ok());
    assert_eq!(take_apart(&packets, bits, samples.len() - 1), Err("flac: too much silence"));
    assert_eq!(take_apart(&packets[..packets.len() - 1], bits, usize::MAX), Err("flac: half a frame"));
    assert_eq!(take_apart(&packets[1..], bits, usize::MAX), Err("flac: no frame where one should be"));
    assert_eq!(take_apart(&[], bits, usize::MAX), Err("flac: no frame"));
}

/// Decisions once written are read for ever.
#[test]
fn decisions_of_a_real_file_are_what_they_were() {
    let file = real("kaligari/Hums/02 Glass Hum.flac");
    let (parts, _) = all(&file, &[]);
    let of = streams(&file, &parts);
    let hash =
        |bytes: &[u8]| crate::format::Keys::new([0; 32], 3).keyed_check(bytes).map(|b| format!("{b:02x}")).concat();
    let (samples, decisions) = (&of[&ESSENCE], &of[&DECISIONS]);
    assert_eq!((samples.len(), decisions.len()), (1_764_000, 1781));
    // These samples were compared with what `flac -d` 1.4.2 writes.
    assert_eq!(hash(samples), "b8ddb436105c9187a99134a4ab233581743e508388ccb2362b46f2772e7183b6");
    assert_eq!(hash(decisions), "729cf1ea8374e6ca111f03263516e21103c877aea83f193b4dce2e06984cda3e");
}

fn still(header: Header) -> Vec<u8> {
    let mut frame = Frame::default();
    frame.begin(Header { rate_code: 9, size_code: 4, ..header });
    let mut out = Vec::new();
    assert!(frame.write(16, &mut out, 100));
    out
}

/// A frame of 192 samples of silence of two channels of 16 bits.
pub(in super::super) fn silence(number: u64) -> Vec<u8> {
    still(Header { block_code: 1, assignment: 1, number, ..Header::default() })
}

/// A frame of as much silence as there can be.
pub(in super::super) fn much_silence() -> Vec<u8> {
    still(Header { block_code: 7, block_extra: 0xfffe, assignment: 7, ..Header::default() })
}

#[test]
fn lengths_are_looked_for_as_long_as_what_was_passed_allows() {
    let frame = much_silence();
    let (each, first) = DECODED_MAX;
    let count = first / (0xffff * 16); // two bytes of 8 channels
    for broken in [false, true] {
        let mut bytes = [&frame[..], &noise(FRAME_MAX)].concat();
        if broken {
            bytes[frame.len() - 1] ^= 1;
        }
        let mut lengths = Lengths::default();
        let mut looks = 0;
        // What is in vain costs twice as much.
        while lengths.spent + 0xffff * 16 <= first {
            assert_eq!(lengths.first(&bytes, 0), (!broken).then_some(frame.len()));
            looks += 1;
        }
        assert!(looks == count || broken && looks == count / 2, "{looks} of {count}");
        assert_eq!(lengths.first(&bytes, 0), None);
        assert_eq!(lengths.first(&bytes, (2 << 20) / each), (!broken).then_some(frame.len()));
        // What has no header costs nothing.
        let spent = lengths.spent;
        assert_eq!(lengths.first(&bytes[1..], u64::MAX), None);
        assert_eq!(lengths.spent, spent);
    }
}

/// A file of about so many bytes in blocks of 4,096 samples of two channels of 16 bits, and its PCM. Some of its frames do
/// not tell the bits, unless all shall.
pub(in super::super) fn a_long_file(seed: u64, bytes: usize, all_tell: bool) -> (Vec<u8>, Vec<u8>) {
    let mut random = Random(seed | 1);
    let (mut file, mut pcm, mut before) = (front(16), Vec::new(), None);
    while file.len() < bytes {
        let mut header = Header { block_code: 12, ..a_header(&mut random, before, 16, 2, true) };
        header.size_code = if all_tell { 4 } else { header.size_code };
        before = Some(header);
        let (frame, samples) = a_frame(&mut random, header, 16);
        file.extend(frame);
        pcm.extend(samples);
    }
    (file, pcm)
}
