//! Tests of ALAC: packets made by our own writer from random samples and decisions, in every container; and two real
//! files.

use super::super::film::{full, mp4_box, numbers, video_entry};
use super::super::testing::{alike_in_windows, collect_parts, harm, head, noise, real, streams, windows, without_tail};
use super::super::{ALAC_PACKETS, ESSENCE, Part, StreamNumber, WRAPPER, demux, inverse as any_inverse, open, sound};
use super::packet::{Element, FRAME_MAX, LOW, ONE, PAIR};
use super::predict::{ORDER_MAX, Predictor};
use super::*;
use crate::chunk::Pcm;
use crate::format::Keys;
use crate::media::flac::bits::{BitReader, BitWriter};
use proptest::prelude::*;
use std::collections::BTreeMap;

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

/// Samples of some kind of sound, within `bits`.
fn sound(random: &mut Random, samples: usize, bits: u32) -> Vec<i32> {
    let (kind, step) = (random.below(7), random.below(1000) as i64 - 500);
    let mut level = 0_i64;
    let each = |_| {
        let noise = i64::from((random.next() >> 32) as u32 as i32);
        let value = match kind {
            0 => 0,
            1 => step >> 1,
            2 => noise,
            3 => noise >> 20,
            4 if random.one_in(30) => noise >> 24, // runs of zeros
            4 => 0,
            _ => {
                level = (level + step + (noise >> 24)).clamp(-1 << 31, (1 << 31) - 1);
                level
            }
        };
        (value as i32) << (32 - bits).min(if kind == 2 { 0 } else { 32 }) >> (32 - bits)
    };
    (0..samples).map(each).collect()
}

fn predictor(random: &mut Random) -> Predictor {
    let order = match random.below(4) {
        0 => random.below(32),
        1 => 4,
        _ => random.below(9),
    };
    let mut coefficients = [0; ORDER_MAX];
    let wild = random.one_in(5);
    for c in coefficients.iter_mut().take(order) {
        *c = random.next() as i16 >> if wild { 0 } else { 7 };
    }
    Predictor {
        mode: if random.one_in(5) { random.below(16) as u8 } else { 0 },
        shift: if random.one_in(4) { random.below(16) as u8 } else { 9 },
        factor: if random.one_in(4) { random.below(8) as u8 } else { 4 },
        order: order as u8,
        coefficients,
        adapted: [0; ORDER_MAX],
    }
}

/// The elements that encoders use for so many channels.
fn layout(channels: usize) -> &'static [u8] {
    match channels {
        1 => &[ONE],
        2 => &[PAIR],
        3 => &[ONE, PAIR],
        4 => &[ONE, PAIR, ONE],
        5 => &[ONE, PAIR, PAIR],
        6 => &[ONE, PAIR, PAIR, LOW],
        7 => &[ONE, PAIR, PAIR, ONE, LOW],
        _ => &[ONE, PAIR, PAIR, PAIR, LOW],
    }
}

/// How tame the decisions are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Encoder {
    /// As those that there are.
    Usual,
    /// Whatever a packet can say.
    Wild,
}

fn element(random: &mut Random, config: &Config, tag: u8, encoder: Encoder) -> Element {
    let mut e = Element { tag, escape: random.one_in(9), ..Element::default() };
    if encoder == Encoder::Wild {
        e.instance = random.below(16) as u8;
        e.unused = if random.one_in(3) { random.below(1 << 12) as u16 } else { 0 };
        e.partial = random.one_in(3);
    }
    if !e.escape {
        e.shifted = config.bits / 8 - 2;
        if encoder == Encoder::Wild {
            e.shifted = random.below(3) as u8;
        }
        (e.mix_bits, e.mix_res) = [(0, 0), (0, 1), (1, 1), (31, 1), (2, 1), (2, 4), (8, 255)][random.below(7)];
        e.predictors = [predictor(random), predictor(random)];
        if tag != PAIR {
            e.predictors[1] = Predictor::default();
        }
        if e.bits(config).is_none() {
            e.shifted = 1;
        }
        if e.bits(config).is_none() {
            e.shifted = 0;
        }
    }
    e
}

/// A packet to be filled.
fn empty(samples: usize, elements: Vec<Element>) -> Packet {
    let mut p = Packet::default();
    (p.samples, p.elements) = (samples, elements);
    p
}

/// A packet of so many samples, and the packet as it was read again.
fn packet(random: &mut Random, config: &Config, tags: &[u8], samples: usize, encoder: Encoder) -> Vec<u8> {
    for _ in 0..20 {
        let mut p = empty(samples, Vec::new());
        for &tag in tags {
            let mut e = element(random, config, tag, encoder);
            e.partial |= samples != usize::from(config.frame);
            p.elements.push(e);
        }
        p.make_room(p.channel_count());
        for channel in &mut p.channels {
            *channel = sound(random, samples, config.bits.into());
        }
        let (before, mut bytes) = (p.channels.clone(), Vec::new());
        if !p.write(config, &mut bytes, PACKET_MAX) {
            continue; // a mix that these samples do not have
        }
        let mut again = Packet::default();
        assert_eq!(again.read(&bytes, config), Ok(bytes.len()), "{:?}", p.elements);
        assert_eq!(again.elements, p.elements);
        assert!(again.samples == samples && again.channels == before);
        return bytes;
    }
    panic!("no mix of twenty was possible");
}

/// `count` packets, and their samples as PCM.
fn packets(seed: u64, config: &Config, channels: usize, count: usize, encoder: Encoder) -> (Vec<Vec<u8>>, Vec<u8>) {
    let mut random = Random(seed | 1);
    let (mut all, mut pcm) = (Vec::new(), Vec::new());
    for i in 0..count {
        let whole = usize::from(config.frame);
        let last = i + 1 == count || encoder == Encoder::Wild && random.one_in(6);
        let samples = if last { random.below(whole) + 1 } else { whole };
        let bytes = packet(&mut random, config, layout(channels), samples, encoder);
        let mut p = Packet::default();
        p.read(&bytes, config).expect("it was read");
        pcm::append(&p, config.bits, &mut pcm);
        all.push(bytes);
    }
    (all, pcm)
}

fn cookie(config: &Config, channels: usize) -> Vec<u8> {
    let mut out = u32::from(config.frame).to_be_bytes().to_vec();
    out.extend([0, config.bits, config.pb, config.mb, config.kb, channels as u8, 0, 255]);
    out.extend([0; 12]);
    out
}

/// The sample entry of a track: as MP4 has it, or as QuickTime does.
fn entry(config: &Config, channels: usize, quicktime: bool) -> Vec<u8> {
    let inner = full(b"alac", 0, &cookie(config, channels));
    let mut fields = [0; 28];
    fields[7] = 1;
    if quicktime {
        fields[9] = 1;
        let wave = mp4_box(b"wave", &[mp4_box(b"frma", b"alac"), inner, mp4_box(&[0; 4], &[])].concat());
        return mp4_box(b"alac", &[&fields[..], &[0; 16], &wave].concat());
    }
    mp4_box(b"alac", &[&fields[..], &inner].concat())
}

/// A track of chunks (place, bytes).
fn trak(id: u32, handler: &[u8; 4], entry: &[u8], chunks: &[(u32, u32)]) -> Vec<u8> {
    let n = chunks.len() as u32;
    let stbl = [
        full(b"stsd", 0, &[&numbers([1])[..], entry].concat()),
        full(b"stsc", 0, &numbers([1, 1, 1, 1])),
        full(b"stsz", 0, &[numbers([0, n]), numbers(chunks.iter().map(|c| c.1))].concat()),
        full(b"stco", 0, &[numbers([n]), numbers(chunks.iter().map(|c| c.0))].concat()),
    ];
    let handler = [&[0; 4][..], handler, &[0; 13]].concat();
    let minf = mp4_box(b"minf", &mp4_box(b"stbl", &stbl.concat()));
    let mdia = mp4_box(b"mdia", &[full(b"hdlr", 0, &handler), minf].concat());
    mp4_box(b"trak", &[full(b"tkhd", 0, &numbers([0, 0, id, 0, 0])), mdia].concat())
}

/// A file of tracks whose chunks (track, bytes) follow each other.
fn mp4(entries: &[(&[u8; 4], Vec<u8>)], chunks: &[(usize, &[u8])], first: bool) -> Vec<u8> {
    let ftyp = mp4_box(b"ftyp", b"M4A \0\0\x02\0isomiso2");
    let mdat = mp4_box(b"mdat", &chunks.iter().map(|c| c.1).collect::<Vec<_>>().concat());
    let moov = |from: usize| {
        let mut at = from as u32 + 8;
        let mut places = vec![Vec::new(); entries.len()];
        for (track, bytes) in chunks {
            places[*track].push((at, bytes.len() as u32));
            at += bytes.len() as u32;
        }
        let traks = entries.iter().zip(&places).zip(1..);
        let traks = traks.map(|(((handler, entry), places), id)| trak(id, handler, entry, places));
        mp4_box(b"moov", &[full(b"mvhd", 0, &[0; 96]), traks.collect::<Vec<_>>().concat()].concat())
    };
    if first {
        let n = ftyp.len() + moov(0).len();
        [ftyp, moov(n), mdat].concat()
    } else {
        let n = ftyp.len();
        [ftyp, mdat, moov(n)].concat()
    }
}

fn m4a(config: &Config, channels: usize, packets: &[Vec<u8>], first: bool, quicktime: bool) -> Vec<u8> {
    let chunks: Vec<Vec<u8>> = packets.chunks(5).map(<[Vec<u8>]>::concat).collect();
    let chunks: Vec<(usize, &[u8])> = chunks.iter().map(|c| (0, &c[..])).collect();
    mp4(&[(b"soun", entry(config, channels, quicktime))], &chunks, first)
}

/// A file in fragments of some packets.
fn fragments(config: &Config, channels: usize, packets: &[Vec<u8>]) -> Vec<u8> {
    let extends = mp4_box(b"mvex", &full(b"trex", 0, &numbers([1, 1, 0, 0, 0])));
    let movie = [trak(1, b"soun", &entry(config, channels, false), &[]), extends].concat();
    let mut file = [mp4_box(b"ftyp", b"iso5\0\0\x02\0iso5iso6"), mp4_box(b"moov", &movie)].concat();
    for part in packets.chunks(20) {
        let moof = |at: u32| {
            let run = numbers([part.len() as u32, at].into_iter().chain(part.iter().map(|p| p.len() as u32)));
            let traf = [full(b"tfhd", 0x2_0000, &numbers([1])), full(b"trun", 0x201, &run)].concat();
            mp4_box(b"moof", &mp4_box(b"traf", &traf))
        };
        file.extend(moof(moof(0).len() as u32 + 8));
        file.extend(mp4_box(b"mdat", &part.concat()));
    }
    file
}

/// A CAF file, with a cookie or without, as newer or as older writers put it.
fn caf(config: &Config, channels: usize, packets: &[Vec<u8>], with_cookie: Option<bool>, known: bool) -> Vec<u8> {
    let chunk = |id: &[u8; 4], size: i64, body: &[u8]| [&id[..], &size.to_be_bytes(), body].concat();
    let flags = [16, 20, 24, 32].iter().position(|&b| b == config.bits).unwrap() as u32 + 1;
    let desc = numbers([0, 0, u32::from_be_bytes(*b"alac"), flags, 0, config.frame.into(), channels as u32, 0]);
    let mut out = [&b"caff\0\x01\0\0"[..], &chunk(b"desc", 32, &desc)].concat();
    if let Some(old) = with_cookie {
        let inner = full(b"alac", 0, &cookie(config, channels));
        let body = if old { [mp4_box(b"frma", b"alac"), inner].concat() } else { cookie(config, channels) };
        out.extend(chunk(b"kuki", body.len() as i64, &body));
    }
    let data = packets.concat();
    let size = if known { data.len() as i64 + 4 } else { -1 };
    out.extend(chunk(b"data", size, &[&[0; 4], &data[..]].concat()));
    if known {
        out.extend(chunk(b"pakt", 30, &[9; 30]));
    }
    out
}

/// A WAV file.
fn wav(pcm: &[u8], channels: usize, sample_bytes: usize) -> Vec<u8> {
    let mut fmt = vec![1, 0, channels as u8, 0, 0x44, 0xac, 0, 0, 0, 0, 0, 0];
    fmt.extend([(channels * sample_bytes) as u8, 0, 8 * sample_bytes as u8, 0]);
    let chunk = |id: &[u8; 4], body: &[u8]| [&id[..], &(body.len() as u32).to_le_bytes(), body].concat();
    let body = [&b"WAVE"[..], &chunk(b"fmt ", &fmt), &chunk(b"data", pcm)].concat();
    chunk(b"RIFF", &body)
}

/// The streams of a file that there is no doubt about; tests that any windows give the same.
fn of(bytes: &[u8]) -> BTreeMap<StreamNumber, Vec<u8>> {
    let (parts, doubt) = collect_parts(open(head(bytes)), bytes, &[]);
    assert_eq!(doubt, None);
    assert!(collect_parts(open(without_tail(bytes)), bytes, &[0]).0 == parts);
    streams(bytes, &parts)
}

/// Each container around the same packets, with the stream of decisions in it. The packets of all must be usual ones
/// for the last.
fn everywhere(config: &Config, channels: usize, packets: &[Vec<u8>]) -> Vec<(&'static str, Vec<u8>, StreamNumber)> {
    let mut files = vec![
        ("moov first", m4a(config, channels, packets, true, false), demux::decisions(ESSENCE)),
        ("quicktime", m4a(config, channels, packets, true, true), demux::decisions(ESSENCE)),
        ("fragments", fragments(config, channels, packets), demux::decisions(ESSENCE)),
        ("caf", caf(config, channels, packets, Some(false), true), sound::DECISIONS),
        ("older caf", caf(config, channels, packets, Some(true), true), sound::DECISIONS),
        ("caf of a pipe", caf(config, channels, packets, Some(true), false), sound::DECISIONS),
    ];
    if *config == Config::usual(config.bits) {
        files.push(("moov last", m4a(config, channels, packets, false, false), demux::decisions(ESSENCE)));
        files.push(("caf without a cookie", caf(config, channels, packets, None, true), sound::DECISIONS));
    }
    files
}

#[test]
fn a_recording_is_the_same_stream_in_any_container_and_as_wav() {
    for (bits, channels, count) in
        [(16, 2, 90), (16, 1, 20), (20, 2, 20), (24, 2, 60), (32, 2, 20), (24, 6, 12), (16, 8, 20)]
    {
        let config = Config::usual(bits);
        let (packets, pcm) = packets(7 + u64::from(bits), &config, channels, count, Encoder::Usual);
        let mut decisions = None;
        for (name, file, stream) in everywhere(&config, channels, &packets) {
            let streams = of(&file);
            assert!(streams[&ESSENCE] == pcm, "{bits} {channels} {name}");
            // Fragments are segments of their own.
            if name != "fragments" {
                assert!(*decisions.get_or_insert(streams[&stream].clone()) == streams[&stream], "{name}");
            }
        }
        assert!(of(&wav(&pcm, channels, pcm::sample_bytes(bits)))[&ESSENCE] == pcm);
    }
}

/// Chunk borders are counted from the start of the stream, so that they are those of the WAV.
#[test]
fn samples_have_one_border_at_their_start_and_the_form_of_pcm() {
    let config = Config::usual(16);
    let (packets, pcm) = packets(3, &config, 2, 300, Encoder::Usual);
    assert!(pcm.len() > 4 << 20);
    for (name, file, _) in everywhere(&config, 2, &packets) {
        let parts = collect_parts(open(head(&file)), &file, &[]).0;
        let cuts = parts.iter().flat_map(|p| if let Part::Mapped(m) = p { &m.parts[..] } else { &[] });
        let cuts: Vec<bool> = cuts
            .filter(|p| p.stream == ESSENCE)
            .map(|p| {
                assert_eq!(p.form, Form::Pcm(Pcm { sample_bytes: 2, channels: 2, coded: true }), "{name}");
                p.cut
            })
            .collect();
        assert!(cuts[0] && cuts.len() > 2 && !cuts[1..].contains(&true), "{name} {cuts:?}");
    }
}

/// Both hold the first of the 2.8 s of `01 Piano.wav` in `tests/media` (CC0-1.0): made by `ffmpeg` 5.1.9 (0.3 s, orders 4
/// to 6) and by `alacconvert` of Apple's sources (0.25 s, orders 4 and 8).
#[test]
fn a_real_file_of_ffmpeg_and_one_of_apples_encoder_meet_the_wav() {
    let wav = of(&real("Rutger Muller/Piano/01 Piano.wav")).remove(&ESSENCE).unwrap();
    let files = [
        (&include_bytes!("piano-ffmpeg.m4a")[..], demux::decisions(ESSENCE), 52_920),
        (&include_bytes!("piano-apple.caf")[..], sound::DECISIONS, 44_100),
    ];
    for (file, decisions, bytes) in files {
        let streams = of(file);
        assert!(streams[&ESSENCE] == wav[..bytes]);
        assert!(streams[&decisions].len() * 200 < file.len(), "{}", streams[&decisions].len());
    }
}

#[test]
fn chunks_between_those_of_a_video_are_taken_apart() {
    let config = Config::usual(16);
    // Without tables, what no encoder writes is no packet.
    let mut all = (11..).map(|seed| packets(seed, &config, 2, 60, Encoder::Usual));
    let (packets, pcm) = all.find(|(packets, _)| packets.iter().all(|p| may_begin(p))).unwrap();
    let unit = |n: usize| [&(n as u32 + 2).to_be_bytes()[..], &[0x65, 0x88], &noise(n)].concat();
    let entries = [
        (b"vide", video_entry(b"avc1", 720, &mp4_box(b"avcC", &[1, 66, 0, 30, 0xff]))),
        (b"soun", entry(&config, 2, false)),
    ];
    // A chunk that is longer than a segment, and such that are not.
    for each in [60, 12, 1] {
        let chunks: Vec<Vec<u8>> = packets.chunks(each).map(<[Vec<u8>]>::concat).collect();
        let pictures: Vec<Vec<u8>> = chunks.iter().map(|_| unit(70_000)).collect();
        let all = pictures.iter().zip(&chunks).flat_map(|(p, c)| [(0, &p[..]), (1, &c[..])]);
        let all = all.collect::<Vec<_>>();
        // Units are told by those that follow.
        for first in [true, false].into_iter().filter(|first| *first || each == 1) {
            let streams = of(&mp4(&entries, &all, first));
            assert!(streams[&ESSENCE] == pictures.concat(), "{each} {first}");
            assert!(streams[&demux::essence(1)] == pcm, "{each} {first}");
            assert!(streams[&demux::decisions(demux::essence(1))].len() < pcm.len() / 20);
        }
    }
}

/// Not a promise that callers may use: that they fail to keep theirs must not hang a backup.
#[test]
fn windows_that_are_too_small_are_covered_too() {
    let config = Config::usual(16);
    let (packets, _) = packets(31, &config, 2, 12, Encoder::Usual);
    for (_, file, _) in everywhere(&config, 2, &packets) {
        for sizes in [&[1][..], &[7, 3000], &[20_000], &[100_000, 1]] {
            let (mut splitter, mut runs, mut at) = (open(head(&file)), Vec::new(), 0);
            for size in sizes.iter().cycle() {
                let end = file.len().min(at + size);
                runs.clear();
                splitter.split(&file[at..end], end == file.len(), &mut runs);
                let used = runs.iter().map(|r| r.bytes() as usize).sum::<usize>();
                assert!(used > 0 && at + used <= end);
                at += used;
                if at == file.len() {
                    break;
                }
            }
        }
    }
}

#[test]
fn tables_of_a_further_track_change_nothing() {
    let config = Config::usual(16);
    let (packets, pcm) = packets(12, &config, 2, 40, Encoder::Usual);
    let (sound, text) = (packets.concat(), noise(2000));
    let entries = [(b"soun", entry(&config, 2, false)), (b"text", mp4_box(b"text", &[0; 40]))];
    for first in [true, false] {
        let file = mp4(&entries, &[(0, &sound), (1, &text)], first);
        let (parts, doubt) = collect_parts(open(head(&file)), &file, &[0]);
        assert!(doubt.is_some(), "the text is none");
        assert!(streams(&file, &parts)[&ESSENCE] == [&pcm[..], &text].concat());
    }
}

#[test]
fn the_bits_of_a_sample_are_told_without_a_cookie_even_behind_silence() {
    for bits in [24, 32] {
        let config = Config::usual(bits);
        let mut random = Random(5);
        let quiet =
            Element { tag: PAIR, shifted: bits / 8 - 2, predictors: [predictor(&mut random); 2], ..Element::default() };
        let mut all = Vec::new();
        for _ in 0..6 {
            let mut p = empty(4096, vec![quiet]);
            p.make_room(2);
            let mut bytes = Vec::new();
            assert!(p.write(&config, &mut bytes, PACKET_MAX));
            all.push(bytes);
        }
        let (packets, pcm) = packets(9, &config, 2, 20, Encoder::Usual);
        all.extend(packets);
        let silence = vec![0; 6 * 4096 * 2 * usize::from(bits / 8)];
        assert!(of(&m4a(&config, 2, &all, false, false))[&ESSENCE] == [silence, pcm].concat(), "{bits}");
    }
}

#[test]
fn what_is_no_packet_is_kept_and_what_follows_is_taken_apart_again() {
    let config = Config::usual(16);
    let (packets, pcm) = packets(21, &config, 2, 40, Encoder::Usual);
    let (a, b) = packets.split_at(20);
    let mut p = Packet::default();
    let samples: usize = a
        .iter()
        .map(|bytes| {
            p.read(bytes, &config).unwrap();
            4 * p.samples
        })
        .sum();
    for lost in [noise(3), noise(5000), vec![0; 9000], packets[3][..2000].to_vec(), [0x20, 0, 0, 0, 0].repeat(9)] {
        for first in [true, false] {
            let all = [a, std::slice::from_ref(&lost), b].concat();
            let file = m4a(&config, 2, &all, first, false);
            let (parts, doubt) = collect_parts(open(head(&file)), &file, &[0, 1]);
            assert!(doubt.is_some());
            assert!(streams(&file, &parts)[&ESSENCE] == [&pcm[..samples], &lost, &pcm[samples..]].concat());
        }
    }
}

#[test]
fn packets_with_bits_that_nothing_tells_stay_as_they_are() {
    let config = Config::usual(16);
    let (packets, _) = packets(22, &config, 2, 8, Encoder::Usual);
    let mut p = Packet::default();
    for bytes in &packets {
        // The bits behind the end.
        let mut odd = bytes.clone();
        *odd.last_mut().unwrap() ^= 1;
        let free = p.read(bytes, &config).is_ok() && p.read(&odd, &config).is_ok();
        assert!(!free || bytes.last().unwrap() & 0x80 != 0, "three ones end a byte");
    }
    // A number that is too small for an escape; a run that goes on.
    let mut values = [0; 8];
    for (bits, good) in [(500_u64, true), (8, false)] {
        let mut w = BitWriter::default();
        w.begin(100);
        w.put(9, 0x1ff);
        w.put(16, bits);
        w.put(40, 0);
        w.pad();
        let mut r = BitReader::new(w.bytes());
        assert_eq!(golomb::read(&mut r, &config, 4, 16, &mut values), good);
    }
}

#[test]
fn cookies_that_there_cannot_be_are_not_believed() {
    let good = cookie(&Config::usual(24), 2);
    assert_eq!(Config::read(&good), Some(Config::usual(24)));
    assert_eq!(
        Config::read(&[&[0, 0, 0, 12], &b"frmaalac\0\0\0\x24alac\0\0\0\0"[..], &good].concat()),
        Some(Config::usual(24))
    );
    for (at, value) in [(0, 1), (2, 0x80), (4, 1), (5, 0), (5, 8), (5, 33), (8, 7), (8, 17), (8, 255)] {
        let mut bad = good.clone();
        bad[at] = value;
        assert_eq!(Config::read(&bad), None, "{at} {value}");
    }
    assert_eq!(Config::read(&good[..23]), None);
    assert!(Config::new(u64::from(FRAME_MAX), 16, 10, 40, 14).is_some());
}

#[test]
fn silence_in_a_few_bytes_stays_as_it_is() {
    let config = Config::usual(16);
    let mut bytes = Vec::new();
    let mut p = empty(4096, Vec::new());
    p.elements = vec![Element { tag: PAIR, predictors: [predictor(&mut Random(3)); 2], ..Element::default() }];
    p.make_room(2);
    assert!(p.write(&config, &mut bytes, PACKET_MAX));
    let file = caf(&config, 2, &vec![bytes; 60_000], Some(false), true);
    assert!(file.len() > 1 << 20);
    let (parts, doubt) = collect_parts(open(head(&file)), &file, &[]);
    assert!(parts.iter().all(|p| matches!(p, Part::Run(_))));
    assert_eq!(doubt, Some("alac: too much silence"));
}

/// Bytes that look like packets again and again.
#[test]
fn looking_for_packets_is_given_up() {
    let config = Config::usual(16);
    for (pattern, state) in [
        (&[0x20, 0, 0, 4, 2, 0x13, 0x08][..], State::Plain),
        (&[0, 0, 0, 0, 0, 0x13, 0x08, 3, 7], State::Plain),
        // No encoder writes silence like this, so it is passed over.
        (&[0], State::Lost("alac: channels of several lengths, or too many")),
    ] {
        let junk = pattern.repeat((6 << 20) / pattern.len());
        let file = caf(&config, 2, std::slice::from_ref(&junk), Some(false), true);
        let (parts, doubt) = collect_parts(open(head(&file)), &file, &[0, 77]);
        assert!(doubt.is_some() && streams(&file, &parts)[&ESSENCE] == junk);
        let (mut alac, mut at) = (Alac::new(Coding { config, is_guess: false }), 0);
        while at < junk.len() {
            let Found::Plain(bytes) = alac.next(&junk[at..], true, true) else { panic!("packets") };
            at += bytes;
        }
        assert_eq!(alac.state, state);
    }
}

/// What version 1 makes of packets: a change here takes a new version.
#[test]
fn version_1_stays_as_it_is() {
    let check = |bytes: &[u8]| {
        let check = Keys::new([0; 32], 0).keyed_check(bytes);
        check[..8].iter().map(|b| format!("{b:02x}")).collect::<String>()
    };
    let odd = Config::new(777, 24, 9, 41, 12).unwrap();
    let mut found = Vec::new();
    for (config, channels, encoder) in
        [(Config::usual(16), 2, Encoder::Usual), (Config::usual(24), 6, Encoder::Usual), (odd, 3, Encoder::Wild)]
    {
        let (packets, _) = packets(99, &config, channels, 30, encoder);
        let file = caf(&config, channels, &packets, Some(false), true);
        let mut all = check(&packets.concat()).into_bytes();
        for part in collect_parts(open(head(&file)), &file, &[]).0 {
            let Part::Mapped(mapped) = part else { continue };
            assert_eq!(mapped.how, ALAC_PACKETS);
            all.extend(mapped.parameters);
            for part in mapped.parts {
                all.extend([part.stream, u8::from(part.cut)]);
                all.extend(part.bytes);
            }
        }
        found.push(check(&all));
    }
    assert_eq!(found, ["25626fce5caa5bc8", "4862cab7b27877b1", "d3529a3ac2dc748b"]);
    for file in [&include_bytes!("piano-ffmpeg.m4a")[..], &include_bytes!("piano-apple.caf")[..]] {
        let mut all = Vec::new();
        for (stream, bytes) in of(file) {
            all.push(stream);
            all.extend(bytes);
        }
        found.push(check(&all));
    }
    assert_eq!(found[3..], ["9d47b03dc48fe397", "1574fa0f8d111108"]);
}

/// A packet by hand: one channel of four samples, order 0.
#[test]
fn version_1_is_read_for_ever() {
    let (parameters, pcm, decisions): (&[u8], &[u8], &[u8]) =
        (&[16, 1], &[1, 0, 2, 0, 0, 0, 0, 0], &[128, 1, 248, 43, 70, 252, 172]);
    let mut segment = Segment::new(Config::usual(16), 1);
    let mut p = empty(4, Vec::new());
    let order_0 = Predictor { factor: 4, ..Predictor::default() };
    p.elements =
        vec![Element { tag: ONE, partial: true, predictors: [order_0, Predictor::default()], ..Element::default() }];
    p.make_room(1);
    p.channels[0].copy_from_slice(&[1, 2, 0, 0]);
    segment.add(&mut p);
    let (a, b, c) = segment.finish();
    let mut bytes = Vec::new();
    assert!(p.write(&Config::usual(16), &mut bytes, 100));
    assert_eq!((&a[..], &b[..], &c[..]), (parameters, pcm, decisions));
    assert_eq!(any_inverse(ALAC_PACKETS, parameters, &[pcm, decisions], bytes.len()).unwrap(), bytes);
    // 000 0000 000000000000 1 00 0, 4 in 32 bits; mix 0 0; mode 0, shift 0, factor 4, order 0; then
    // 110 a 2, 00 no zeros follow, 1110 a 4 less one, 0, 0; 111 the end.
    assert_eq!(bytes, [0, 0, 16, 0, 0, 0, 8, 0, 0, 1, 1, 0b1000_1110, 0b0011_1000]);
}

#[test]
fn parts_that_no_splitter_left_are_refused() {
    let config = Config::usual(16);
    let (packets, pcm) = packets(4, &config, 2, 3, Encoder::Usual);
    let file = packets.concat();
    let mut alac = Alac::new(Coding { config, is_guess: false });
    let Found::Segment(bytes, taken) = alac.next(&file, true, true) else { panic!("no segment") };
    assert!(bytes == file.len() && taken.samples == pcm);
    let (parameters, decisions) = (&taken.parameters[..], &taken.decisions[..]);
    assert!(inverse(parameters, &[&pcm, decisions], bytes).unwrap() == file);
    let refused = |parameters: &[u8], parts: &[&[u8]], bytes| inverse(parameters, parts, bytes).is_err();
    assert!(refused(parameters, &[&pcm], bytes));
    assert!(refused(parameters, &[&pcm, decisions, &[]], bytes));
    assert!(refused(parameters, &[&pcm[4..], decisions], bytes), "a packet without all its samples");
    assert!(refused(parameters, &[&pcm, &[decisions, &[1; 9]].concat()], bytes), "decisions left over");
    assert!(refused(parameters, &[&pcm, decisions], bytes - 1), "longer than asked");
    for parameters in [
        &[][..],
        &[16],
        &[17, 2],
        &[16, 0],
        &[16, 9],
        &[16, 2, 0],
        &[16, 2, 0, 10, 40, 14],
        &[16, 2, 0xff, 0xff, 1, 10, 40, 14],
    ] {
        assert!(refused(parameters, &[&pcm, decisions], bytes), "{parameters:?}");
    }
    assert!(refused(&[24, 2], &[&pcm, decisions], bytes));
}

fn configs() -> impl Strategy<Value = Config> {
    let frames = prop_oneof![Just(4096_u64), 1..600_u64, Just(u64::from(FRAME_MAX))];
    let bits = prop::sample::select(vec![16_u8, 20, 24, 32]);
    prop_oneof![
        bits.clone().prop_map(Config::usual),
        (frames, bits, any::<u8>(), any::<u8>(), 8..17_u8)
            .prop_map(|(frame, bits, mb, pb, kb)| Config::new(frame, bits, mb, pb, kb).unwrap()),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    /// That they are read as they were written is checked where they are made; the way back in `collect_parts`.
    #[test]
    fn any_packets_come_back(config in configs(), channels in 1..9_usize, count in 1..12_usize, seed: u64) {
        let (packets, pcm) = packets(seed, &config, channels, count, Encoder::Wild);
        let file = caf(&config, channels, &packets, Some(seed % 2 == 0), true);
        // Little but silence stays in its packets.
        let silence = pcm.len() > RATIO_MAX * packets.iter().map(Vec::len).sum::<usize>();
        let essence = &of(&file)[&ESSENCE];
        let expected = if silence { packets.concat() } else { pcm };
        prop_assert!(*essence == expected);
    }

    /// Whatever is taken for a packet is one that its samples and decisions give.
    #[test]
    fn what_is_read_is_written_bit_for_bit(
        config in configs(),
        channels in 1..9_usize,
        seed: u64,
        flips in prop::collection::vec((any::<prop::sample::Index>(), 0..8_u32, any::<bool>()), 1..4),
    ) {
        let mut random = Random(seed | 1);
        let samples = random.below(usize::from(config.frame).min(700)) + 1;
        let mut bytes = packet(&mut random, &config, layout(channels), samples, Encoder::Wild);
        for (at, bit, front) in flips {
            let n = bytes.len();
            let at = at.index(if front { n.min(60) } else { n });
            bytes[at] ^= 1 << bit;
        }
        bytes.extend([0; 20]);
        let mut p = Packet::default();
        if let Ok(length) = p.read(&bytes, &config) {
            let mut again = Vec::new();
            prop_assert!(p.write(&config, &mut again, PACKET_MAX));
            prop_assert!(again == bytes[..length]);
        }
    }

    #[test]
    fn mutated_files_are_covered_alike_in_any_windows(
        bits in prop::sample::select(vec![16_u8, 24]),
        which in 0..8_usize,
        count in prop_oneof![1..12_usize, 100..260_usize],
        seed: u64,
        harm in harm(),
        windows in windows(),
    ) {
        let config = Config::usual(bits);
        let (packets, _) = packets(seed, &config, 2, count, Encoder::Usual);
        let (_, mut bytes, _) = everywhere(&config, 2, &packets).swap_remove(which);
        harm.to(&mut bytes);
        alike_in_windows(&bytes, &windows)?;
    }

    #[test]
    fn arbitrary_parts_never_panic(
        parameters in prop_oneof![
            prop::collection::vec(any::<u8>(), 0..12),
            (prop::sample::select(vec![16_u8, 20, 24, 32]), 1..9_u8).prop_map(|(bits, channels)| vec![bits, channels]),
            (prop::sample::select(vec![16_u8, 24]), 1..9_u8, 1..100_u8, any::<[u8; 2]>(), 8..17_u8)
                .prop_map(|(bits, channels, frame, [mb, pb], kb)| vec![bits, channels, frame, mb, pb, kb]),
        ],
        pcm in prop_oneof![
            prop::collection::vec(any::<u8>(), 0..4000),
            (0..70_000_usize).prop_map(|n| vec![0; n]),
        ],
        decisions in prop::collection::vec(any::<u8>(), 0..200),
        bytes in prop_oneof![0..9000_usize, Just(usize::MAX)],
    ) {
        if let Ok(out) = inverse(&parameters, &[&pcm, &decisions], bytes) {
            prop_assert!(out.len() <= bytes);
        }
        let _ = inverse(&parameters, &[&pcm], bytes);
        let _ = inverse(&parameters, &[], bytes);
    }

    #[test]
    fn arbitrary_bytes_are_covered(
        bytes in prop::collection::vec(prop_oneof![Just(0_u8), Just(0x20), any::<u8>()], 0..6000),
        guess: bool,
    ) {
        let config = Config::usual(16);
        let file = m4a(&config, 2, &[bytes], !guess, false);
        let whole = collect_parts(open(head(&file)), &file, &[]);
        prop_assert!(whole == collect_parts(open(without_tail(&file)), &file, &[1]));
    }
}

#[test]
fn essences_stay_apart_from_the_wrapper() {
    let config = Config::usual(16);
    let (packets, _) = packets(8, &config, 2, 10, Encoder::Usual);
    let file = m4a(&config, 2, &packets, true, false);
    let sound = packets.concat().len();
    assert_eq!(of(&file)[&WRAPPER].len(), file.len() - sound);
}
