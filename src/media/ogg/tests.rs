//! Tests of the Ogg splitter: files made by a small multiplexer.

use proptest::prelude::*;

use super::super::flac::tests::{FRONT, a_file, a_long_file, a_real_file, frames_of, much_silence, native, silence};
use super::super::testing::{collect_parts, head, noise, real, streams, without_tail};
use super::super::{FLAC_WITHIN, inverse, open as open_any};
use super::*;
use crate::chunk::Pcm;
use crate::format::Keys;
use std::sync::LazyLock;

/// A logical stream to be written.
#[derive(Clone, Debug)]
struct Source {
    serial: u32,
    packets: Vec<Vec<u8>>,
    /// Packets of these first pages stand alone on them.
    headers: usize,
    /// A page ends at the packet that brings it to so many bytes.
    page_bytes: usize,
}

/// Pages of a logical stream.
fn pages(source: &Source) -> Vec<Vec<u8>> {
    let (mut out, mut laces, mut body) = (Vec::new(), Vec::<u8>::new(), Vec::new());
    let (mut granule, mut open, mut done) = (-1_i64, false, 0_i64);
    let mut flush = |laces: &mut Vec<u8>, body: &mut Vec<u8>, granule: &mut i64, last: bool| {
        let flags = u8::from(open) | (u8::from(out.is_empty()) << 1) | (u8::from(last) << 2);
        open = laces.last() == Some(&255);
        out.push(a_page(flags, *granule, source.serial, out.len() as u32, laces, body));
        (*laces, *body, *granule) = (Vec::new(), Vec::new(), -1);
    };
    for (i, packet) in source.packets.iter().enumerate() {
        let mut rest = &packet[..];
        loop {
            let n = rest.len().min(255);
            laces.push(n as u8);
            body.extend_from_slice(&rest[..n]);
            rest = &rest[n..];
            if n < 255 {
                break;
            }
            if laces.len() == 255 || body.len() >= 2 * source.page_bytes {
                flush(&mut laces, &mut body, &mut granule, false);
            }
        }
        done += if i < source.headers { 0 } else { 960 };
        granule = done;
        let last = i + 1 == source.packets.len();
        if last || i == 0 || i + 1 == source.headers || body.len() >= source.page_bytes || laces.len() == 255 {
            flush(&mut laces, &mut body, &mut granule, last);
        }
    }
    out
}

fn a_page(flags: u8, granule: i64, serial: u32, sequence: u32, laces: &[u8], body: &[u8]) -> Vec<u8> {
    let mut page = b"OggS\0".to_vec();
    page.push(flags);
    page.put_i64(granule);
    page.put_u32(serial);
    page.put_u32(sequence);
    page.put_u32(0);
    page.put_u8(laces.len() as u8);
    page.put(laces);
    page.put(body);
    let crc = crc::update(0, &page);
    page[22..26].copy_from_slice(&crc.to_le_bytes());
    page
}

/// All first pages, then the rest in turn.
fn multiplex(sources: &[Source]) -> Vec<u8> {
    let all: Vec<_> = sources.iter().map(pages).collect();
    let longest = all.iter().map(Vec::len).max().unwrap_or(0);
    (0..longest).flat_map(|i| all.iter().filter_map(move |p| p.get(i))).flatten().copied().collect()
}

fn comment(picture: usize) -> Vec<u8> {
    let mut block = vec![0; 4 + 8 + 16];
    block.extend((picture as u32).to_be_bytes());
    block.extend(noise(picture));
    let mut field = b"METADATA_BLOCK_PICTURE=".to_vec();
    base64::encode(&block, &mut field);
    let mut packet = b"\x03vorbis\x01\0\0\0v\x02\0\0\0\x03\0\0\0A=B".to_vec();
    packet.put_u32(field.len() as u32);
    packet.put(&field);
    packet.put_u8(1);
    packet
}

/// Sizes that look like those of a codec at a variable rate.
fn sizes(count: usize, about: usize) -> impl Iterator<Item = usize> {
    noise(count).into_iter().map(move |n| about * (usize::from(n) + 32) / 160)
}

fn vorbis(serial: u32, bytes: usize, picture: usize, page_bytes: usize) -> Source {
    let mut packets = vec![b"\x01vorbis and so on...........".to_vec(), comment(picture)];
    packets.push([&b"\x05vorbis"[..], &noise(3500)].concat());
    let sound = noise(bytes + 1000);
    let mut at = 0;
    for n in sizes(bytes / 100, 300) {
        if at >= bytes {
            break;
        }
        packets.push(sound[at..(at + n).min(sound.len())].to_vec());
        at += n;
    }
    Source { serial, packets, headers: 3, page_bytes }
}

/// FLAC of these frames; `info` is STREAMINFO with its block's header.
fn flac_of(serial: u32, info: &[u8], frames: &[Vec<u8>], page_bytes: usize) -> Source {
    let first = [b"\x7fFLAC\x01\0\0\x01fLaC", info].concat();
    let comment = b"\x84\0\0\x28a comment, and some bytes behind it......".to_vec();
    let packets = [vec![first, comment], frames.to_vec()].concat();
    Source { serial, packets, headers: 2, page_bytes }
}

/// A FLAC file whose metadata has so many bytes, in Ogg.
pub(in super::super) fn remux(file: &[u8], front: usize) -> Vec<u8> {
    multiplex(&[flac(7, file, front, 4096)])
}

/// The same of a FLAC file whose metadata has so many bytes.
fn flac(serial: u32, file: &[u8], front: usize, page_bytes: usize) -> Source {
    flac_of(serial, &file[4..42], &frames_of(file, front), page_bytes)
}

/// FLAC of some MiB, and its samples.
static LONG: LazyLock<(Vec<u8>, Vec<u8>)> = LazyLock::new(|| a_long_file(77, 4 << 20, false));
static LONG_FRAMES: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| frames_of(&LONG.0, FRONT));

/// Parts of a stream.
fn parts_of(parts: &[Part], stream: StreamNumber) -> Vec<&MappedPart> {
    let all = parts.iter().flat_map(|p| if let Part::Mapped(m) = p { &m.parts[..] } else { &[] });
    all.filter(|p| p.stream == stream).collect()
}

fn split(bytes: &[u8], windows: &[usize]) -> (Vec<Part>, Option<&'static str>) {
    collect_parts(open(head(bytes)).expect("an Ogg file"), bytes, windows)
}

/// The streams of a file that there is no doubt about.
fn of(bytes: &[u8]) -> std::collections::BTreeMap<u8, Vec<u8>> {
    let (parts, doubt) = split(bytes, &[]);
    assert_eq!(doubt, None);
    streams(bytes, &parts)
}

fn payload(source: &Source) -> Vec<u8> {
    source.packets[source.headers..].concat()
}

#[test]
fn a_comment_that_grows_past_a_page_leaves_all_but_the_wrapper_alike() {
    let plain = vorbis(7, 3 << 20, 0, 4096);
    let tagged = Source { serial: 99, ..vorbis(7, 3 << 20, 200_000, 4096) };
    let (a, b) = (of(&multiplex(std::slice::from_ref(&plain))), of(&multiplex(&[tagged])));
    assert_eq!(a[&ESSENCE], payload(&plain));
    for stream in [ESSENCE, laces(0), PAGES] {
        assert_eq!(a[&stream], b[&stream]);
    }
    assert!(a[&PAGES].len() < 5 * (a[&ESSENCE].len() / 4096), "{}", a[&PAGES].len());
    assert_ne!(a[&WRAPPER], b[&WRAPPER]);
}

#[test]
fn other_pages_leave_the_packets_and_laces_alike() {
    let plain = vorbis(7, 3 << 20, 0, 4096);
    let paged = Source { page_bytes: 50_000, ..plain.clone() };
    let (a, b) = (of(&multiplex(&[plain])), of(&multiplex(&[paged])));
    assert_eq!((&a[&ESSENCE], &a[&laces(0)], &a[&WRAPPER][..200]), (&b[&ESSENCE], &b[&laces(0)], &b[&WRAPPER][..200]));
    assert_ne!(a[&PAGES], b[&PAGES]);
}

#[test]
fn a_picture_and_a_setup_have_borders_and_are_what_they_were() {
    let picture = 300_001;
    let source = vorbis(7, 50_000, picture, 4096);
    let file = multiplex(std::slice::from_ref(&source));
    let (parts, doubt) = split(&file, &[]);
    assert_eq!(doubt, None);
    let Part::Mapped(first) = &parts[0] else { panic!("{parts:?}") };
    let wrapper: Vec<_> = first.parts.iter().map(|p| (p.stream, p.cut)).collect();
    assert_eq!(wrapper, [(WRAPPER, true); 3]);
    assert_eq!(first.parts[1].bytes, noise(picture));
    assert_eq!(first.parts[2].bytes, source.packets[2]);
    assert!(first.parameters.len() < 40);
}

#[test]
fn headers_longer_than_a_segment_come_back() {
    for picture in [1_300_000, 1_500_000, 6 << 20] {
        let source = vorbis(7, 500_000, picture, 4096);
        let a = of(&multiplex(std::slice::from_ref(&source)));
        assert_eq!(a[&ESSENCE], payload(&source));
    }
}

#[test]
fn every_logical_stream_has_its_own_stream_and_links_begin_anew() {
    let sound = vorbis(1, 1 << 20, 0, 4096);
    let mut picture = vorbis(2, 3 << 20, 0, 60_000);
    picture.packets[0] = b"\x80theora".to_vec();
    let mut bones = vec![b"fishead\0".to_vec(), b"fisbone\0".to_vec(), Vec::new()];
    bones.truncate(3);
    let skeleton = Source { serial: 3, packets: bones, headers: 3, page_bytes: 1 };
    let sources = [skeleton, picture.clone(), sound.clone()];
    let link = multiplex(&sources);
    let a = of(&link);
    assert_eq!(a[&essence(0)], payload(&picture));
    assert_eq!(a[&essence(1)], payload(&sound));
    assert_eq!(a.len(), 6);

    let file = [link.clone(), multiplex(std::slice::from_ref(&sound)), link].concat();
    let (parts, doubt) = split(&file, &[0, 77]);
    assert_eq!(doubt, None);
    let b = streams(&file, &parts);
    assert_eq!(b[&essence(0)], [payload(&picture), payload(&sound), payload(&picture)].concat());
    let cuts = parts.iter().flat_map(|p| if let Part::Mapped(m) = p { &m.parts[..] } else { &[] });
    assert_eq!(cuts.filter(|p| p.stream == ESSENCE && p.cut).count(), 3);
}

#[test]
fn pages_with_wrong_numbers_are_kept_with_them() {
    let source = vorbis(7, 1 << 20, 0, 4096);
    let all = pages(&source);
    let good = of(&all.concat());
    for (at, change) in [(5, 0x40_u8), (14, 1), (18, 9), (22, 1), (6, 0x80)] {
        let mut wrong = all.clone();
        for page in wrong.iter_mut().skip(5).step_by(9) {
            page[at] ^= change;
        }
        let file = wrong.concat();
        let (parts, doubt) = split(&file, &[]);
        assert_eq!(doubt, None);
        // A page of another serial is of another logical stream.
        if at != 14 {
            assert_eq!(streams(&file, &parts)[&ESSENCE], good[&ESSENCE]);
        }
    }
}

#[test]
fn bytes_between_pages_are_wrapper_and_the_essence_goes_on() {
    let source = vorbis(7, 2 << 20, 0, 4096);
    let mut all = pages(&source);
    all.insert(100, [&b"OggSOggS\0 is no page"[..], &noise(3000)].concat());
    all.push(vec![0; 128]);
    let file = all.concat();
    let (parts, doubt) = split(&file, &[0]);
    assert_eq!(doubt, Some("ogg: bytes that are no page"));
    assert_eq!(streams(&file, &parts)[&ESSENCE], payload(&source));
    assert_eq!(parts.iter().filter(|p| matches!(p, Part::Run(_))).count(), 2);
}

#[test]
fn a_file_cut_short_is_split_up_to_its_last_whole_page() {
    let file = multiplex(&[vorbis(7, 100_000, 0, 4096)]);
    let whole = of(&file);
    for cut in (100..file.len()).step_by(997) {
        let (parts, doubt) = split(&file[..cut], &[]);
        let part = streams(&file[..cut], &parts).remove(&ESSENCE).unwrap_or_default();
        assert!(whole[&ESSENCE].starts_with(&part));
        assert_eq!(doubt, Some("ogg: the file ends within a page"));
    }
}

#[test]
fn a_file_that_breaks_at_every_page_becomes_opaque() {
    let all = pages(&vorbis(7, 1 << 20, 0, 100));
    let file: Vec<u8> = all.iter().flat_map(|p| [&p[..], b"x"].concat()).collect();
    for windows in [&[][..], &[0], &[1001]] {
        let (parts, doubt) = split(&file, windows);
        assert!(parts.len() < 400, "{}", parts.len());
        assert_eq!(doubt, Some("ogg: bytes that are no page"));
    }
    // The same in links of three pages.
    let link = multiplex(&[Source { headers: 1, ..vorbis(7, 10, 0, 100) }]);
    assert!(split(&link.repeat(5000), &[]).0.len() < 2 * 5000);
}

#[test]
fn more_streams_than_any_file_has_are_opaque() {
    let one = |serial| multiplex(&[Source { serial, ..vorbis(7, 0, 0, 100) }]);
    let firsts: Vec<u8> = (0..100).flat_map(|serial| pages(&vorbis(serial, 0, 0, 1))[0].clone()).collect();
    let (parts, doubt) = split(&[firsts, one(1)].concat(), &[]);
    assert_eq!((parts.len(), doubt), (2, Some("ogg: too many streams")));
}

#[test]
fn a_real_file_comes_back() {
    let file = real("corsica_s/Alarms/01 Alarm Clock.ogg");
    let streams = of(&file);
    let sum: usize = streams.values().map(Vec::len).sum();
    assert!(sum < file.len(), "{sum}");
    assert!(streams[&ESSENCE].len() > file.len() * 9 / 10);
}

#[test]
fn only_a_whole_page_opens_a_file() {
    let page = &pages(&vorbis(7, 0, 0, 100))[0];
    assert!(open(head(page)).is_some());
    assert_eq!(open_any(head(page)).id(), OGG);
    for cut in 0..page.len() {
        assert!(open(head(&page[..cut])).is_none());
        let mut wrong = page.clone();
        wrong[cut] ^= 0x10;
        assert!(open(head(&wrong)).is_none());
    }
}

/// What a FLAC file has, in any pages: its samples in one piece of one form, and decisions that cost little more.
#[test]
fn flac_is_the_samples_of_the_file_in_any_pages() {
    let (file, pcm) = &*LONG;
    let (samples, chosen) = native(file);
    assert!(samples == *pcm);
    for (page_bytes, open_max) in [(1, 700), (4096, 9000), (30_000, 40_000), (50_000, 40_000), (70_000, 40_000)] {
        let source = flac(9, file, FRONT, page_bytes);
        let bytes = multiplex(std::slice::from_ref(&source));
        let (parts, doubt) = split(&bytes, &[0]);
        assert_eq!(doubt, None);
        assert!(split(&bytes, &[700_001, 64]).0 == parts);
        let of = streams(&bytes, &parts);
        assert!(of[&ESSENCE] == samples);
        let stereo = Form::Pcm(Pcm { sample_bytes: 2, channels: 2, coded: true });
        let sound = parts_of(&parts, ESSENCE);
        assert!(sound.iter().all(|p| p.form == stereo) && sound.iter().skip(1).all(|p| !p.cut));
        assert!(sound.iter().all(|p| p.bytes.len() % 4 == 0));
        // Decisions begin anew in each segment; open frames are kept twice.
        let decided = of[&decisions(0)].len();
        let more = sound.len() * 2500 + open_max;
        assert!((chosen.len()..chosen.len() + more).contains(&decided), "{page_bytes}: {decided}, {}", chosen.len());
        for part in &parts {
            let Part::Mapped(mapped) = part else { panic!("a run") };
            assert!(mapped.how == FLAC_WITHIN || mapped.parts.iter().all(|p| p.stream == WRAPPER));
            assert!(mapped.parameters.len() < 60);
        }
    }
}

#[test]
fn frames_that_no_page_ends_with_are_in_the_segment_that_they_end_in() {
    let (file, pcm) = &*LONG;
    // Every page but the last ends within a frame.
    let source = flac(9, file, FRONT, usize::MAX / 4);
    let bytes = multiplex(std::slice::from_ref(&source));
    let (parts, doubt) = split(&bytes, &[0]);
    assert_eq!(doubt, None);
    assert!(streams(&bytes, &parts)[&ESSENCE] == *pcm);
    let tails = bytes.windows(6).filter(|w| *w == b"OggS\0\x01").count();
    assert!(tails > 20, "{tails} pages go on with a packet");
    for part in &parts[1..parts.len() - 1] {
        assert!((LEAST_BYTES..=HARD_BYTES).contains(&(part.bytes() as usize)), "{}", part.bytes());
    }
}

#[test]
fn a_real_file_in_ogg_has_the_samples_of_the_file() {
    let (file, front) = a_real_file();
    let (samples, chosen) = native(&file);
    for page_bytes in [4096, 40_000] {
        let of = of(&multiplex(&[flac(5, &file, front, page_bytes)]));
        assert!(of[&ESSENCE] == samples);
        assert!(of[&decisions(0)] == chosen, "it is one segment");
    }
}

/// The first packet is the marker alone.
#[test]
fn the_oldest_mapping_is_read_where_frames_tell_their_bits() {
    let (file, front) = a_real_file();
    let mut source = flac(5, &file, front, 4096);
    source.packets[0] = b"fLaC".to_vec();
    source.packets.insert(1, file[4..42].to_vec());
    source.headers = 3;
    assert!(of(&multiplex(&[source]))[&ESSENCE] == native(&file).0);
}

#[test]
fn other_streams_and_links_leave_flac_as_it_is() {
    let (file, pcm) = &*LONG;
    let (small, small_pcm) = a_file(31, 24, 1, 40, true);
    let sound = flac(1, file, FRONT, 50_000);
    let other = flac(2, &small, FRONT, 3000);
    let words = vorbis(3, 2 << 20, 0, 20_000);
    let link = multiplex(&[words.clone(), sound.clone(), other.clone()]);
    let a = of(&link);
    assert_eq!(a[&essence(0)], payload(&words));
    assert!(a[&essence(1)] == *pcm && a[&essence(2)] == small_pcm);
    assert!(a.contains_key(&decisions(1)) && a.contains_key(&decisions(2)) && !a.contains_key(&decisions(0)));

    let links = [multiplex(std::slice::from_ref(&other)), multiplex(std::slice::from_ref(&sound)), multiplex(&[other])];
    let links = links.concat();
    let (parts, doubt) = split(&links, &[0, 99]);
    assert_eq!(doubt, None);
    assert!(streams(&links, &parts)[&ESSENCE] == [&small_pcm[..], pcm, &small_pcm].concat());
    assert_eq!(parts_of(&parts, ESSENCE).iter().filter(|p| p.cut).count(), 3);
}

#[test]
fn a_packet_that_is_no_frame_costs_its_segment() {
    for change in [0, 1] {
        let mut source = flac(9, &LONG.0, FRONT, 30_000);
        let packet = &mut source.packets[200];
        match change {
            0 => packet[100] ^= 4,
            _ => *packet = b"no frame".to_vec(),
        }
        let bytes = multiplex(&[source]);
        let (parts, doubt) = split(&bytes, &[0]);
        assert!(doubt.is_some_and(|why| why.starts_with("flac: ")), "{doubt:?}");
        assert!(split(&bytes, &[1]).0 == parts);
        let sound = parts_of(&parts, ESSENCE);
        let plain: Vec<_> = sound.iter().map(|p| p.form == Form::Bytes).collect();
        assert_eq!(plain.iter().filter(|p| **p).count(), 1, "{plain:?}");
        let at = plain.iter().position(|p| *p).unwrap();
        assert!(at > 0 && sound.len() > at + 1);
        assert!(sound.iter().enumerate().all(|(i, p)| p.cut == (i == 0 || i == at || i == at + 1)));
        let of_frames = parts_of(&parts, decisions(0));
        assert_eq!(of_frames.len(), sound.len() - 1);
    }
}

#[test]
fn pages_that_are_lost_cost_their_segment() {
    let all = pages(&flac(9, &LONG.0, FRONT, usize::MAX / 4));
    for lost in [20, 31, 44] {
        let mut some = all.clone();
        some.remove(lost);
        let bytes = some.concat();
        let (parts, doubt) = split(&bytes, &[]);
        assert!(doubt.is_some());
        let plain = parts_of(&parts, ESSENCE).iter().filter(|p| p.form == Form::Bytes).count();
        assert!((1..=2).contains(&plain), "{plain}");
        assert!(split(&bytes, &[0]).0 == parts);
    }
}

#[test]
fn a_file_that_ends_within_a_frame_keeps_its_beginning() {
    let all = pages(&flac(9, &LONG.0, FRONT, usize::MAX / 4));
    let bytes = all[..40].concat();
    let (parts, doubt) = split(&bytes, &[]);
    assert_eq!(doubt, None);
    assert!(parts_of(&parts, ESSENCE).iter().all(|p| p.form != Form::Bytes));
    assert!(LONG.1.starts_with(&streams(&bytes, &parts)[&ESSENCE]));
}

#[test]
fn long_silence_costs_no_memory_and_little_time() {
    let still: Vec<Vec<u8>> = (0..60_000).map(silence).collect(); // 14 bytes for 768, some of it in 15
    let file = [&LONG_FRAMES[..200], &still, &LONG_FRAMES[200..]].concat();
    let bytes = multiplex(&[flac_of(1, &LONG.0[4..42], &file, 4096)]);
    let (parts, doubt) = split(&bytes, &[0]);
    assert_eq!(doubt, Some("flac: too much silence"));
    let sound = parts_of(&parts, ESSENCE);
    let plain: usize = sound.iter().filter(|p| p.form == Form::Bytes).map(|p| p.bytes.len()).sum();
    assert!((500_000..2 << 20).contains(&plain), "{plain}");
    for part in &parts {
        let Part::Mapped(mapped) = part else { panic!("a run") };
        let all: usize = mapped.parts.iter().map(|p| p.bytes.len()).sum();
        assert!(all < flac::SAMPLES_MAX + (1 << 20), "{all}");
    }
}

/// Frames of a MiB of samples in 40 bytes.
#[test]
fn silence_that_would_fill_memory_stays_as_it_is() {
    let bytes = multiplex(&[flac_of(1, &LONG.0[4..42], &vec![much_silence(); 60_000], 60_000)]);
    let (parts, doubt) = split(&bytes, &[0]);
    assert!(doubt.is_some());
    assert!(parts_of(&parts, ESSENCE).iter().all(|p| p.form == Form::Bytes));
}

/// What version 2 makes of FLAC: a change here takes a new version.
#[test]
fn version_2_stays_as_it_is() {
    let (file, front) = a_real_file();
    let mut frames = frames_of(&file, front);
    frames.truncate(12);
    let words = vorbis(3, 20_000, 0, 5000);
    let bytes = multiplex(&[words, flac_of(1, &file[4..42], &frames, 7000)]);
    let mut all = Vec::new();
    for part in split(&bytes, &[]).0 {
        let Part::Mapped(mapped) = part else { panic!("a run") };
        all.extend(format!("{:?} {}", mapped.how, mapped.bytes).bytes());
        all.extend(mapped.parameters);
        for part in mapped.parts {
            all.extend([part.stream, u8::from(part.cut)]);
            all.extend(part.bytes);
        }
    }
    let check = Keys::new([0; 32], 0).keyed_check(&all)[..8].iter().map(|b| format!("{b:02x}")).collect::<String>();
    assert_eq!((all.len(), &check[..]), (221_320, "090f5e12daad1d04"));
}

fn a_source() -> impl Strategy<Value = Source> {
    let bytes = prop_oneof![0..5000_usize, 500_000..1_500_000_usize];
    let picture = prop_oneof![0..100_usize, 20_000..60_000_usize];
    let page_bytes = prop_oneof![Just(1_usize), 200..6000_usize, 30_000..70_000_usize, Just(usize::MAX / 4)];
    (any::<u32>(), bytes, picture, page_bytes, 0..5_usize, any::<bool>()).prop_map(
        |(serial, bytes, picture, page_bytes, headers, is_flac)| {
            if is_flac {
                let mut sum = 0;
                let some = LONG_FRAMES.iter().skip(bytes % 50).take_while(|f| {
                    sum += f.len();
                    sum < bytes
                });
                let frames: Vec<_> = some.cloned().collect();
                return flac_of(serial, &LONG.0[4..42], &frames, page_bytes);
            }
            Source { headers, ..vorbis(serial, bytes, picture, page_bytes.min(100_000)) }
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// The way back and the covering are checked in `collect_parts`.
    #[test]
    fn mutated_files_are_split_alike_in_any_windows(
        links in prop::collection::vec(prop::collection::vec(a_source(), 1..3), 1..3),
        flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
        put_in in prop::option::of((any::<prop::sample::Index>(), 0..200_000_usize)),
        cut_short in prop::option::of(any::<prop::sample::Index>()),
        windows in prop::collection::vec(prop_oneof![0..64_usize, 0..1_000_000_usize], 1..8),
    ) {
        let mut bytes: Vec<u8> = links.iter().flat_map(|l| multiplex(l)).collect();
        for (at, value) in flips {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        if let Some((at, n)) = put_in {
            let at = at.index(bytes.len());
            bytes.splice(at..at, noise(n));
        }
        if let Some(at) = cut_short {
            bytes.truncate(at.index(bytes.len()));
        }
        let new = || Box::new(Ogg::default());
        let (whole, doubt) = collect_parts(new(), &bytes, &[]);
        let (parts, again) = collect_parts(new(), &bytes, &windows);
        prop_assert!(whole == parts);
        prop_assert_eq!(doubt, again);
    }

    #[test]
    fn a_mutated_segment_is_refused_or_gives_bytes_of_the_asked_length(
        source in a_source(),
        flips in prop::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>(), any::<u8>()), 1..4),
        lost in prop::option::of(any::<prop::sample::Index>()),
        longer in -5..5_i64,
    ) {
        let file = multiplex(&[source]);
        let (segments, _) = collect_parts(Box::new(Ogg::default()), &file, &[]);
        for segment in segments {
            let Part::Mapped(Mapped { bytes, how, parts, mut parameters }) = segment else { continue };
            let mut parts: Vec<Vec<u8>> = parts.into_iter().map(|p| p.bytes).collect();
            for (which, at, value) in &flips {
                let which = which.index(parts.len() + 1);
                let bytes = if which == parts.len() { &mut parameters } else { &mut parts[which] };
                let at = at.index(bytes.len().min(1000));
                bytes[at] = *value;
            }
            if let Some(lost) = lost {
                parts.remove(lost.index(parts.len()));
            }
            let parts: Vec<&[u8]> = parts.iter().map(Vec::as_slice).collect();
            let bytes = usize::try_from(bytes as i64 + longer).unwrap_or(0);
            if let Ok(out) = inverse(how, &parameters, &parts, bytes) {
                prop_assert_eq!(out.len(), bytes);
            }
        }
    }

    #[test]
    fn arbitrary_parts_never_panic(parameters: Vec<u8>, parts: Vec<Vec<u8>>, bytes in 0..5000_usize) {
        let parts: Vec<&[u8]> = parts.iter().map(Vec::as_slice).collect();
        if let Ok(out) = super::inverse(&parameters, &parts, bytes) {
            prop_assert!(out.len() <= bytes);
        }
    }

    /// Not a promise that callers may use: that they fail to keep theirs must not hang a backup.
    #[test]
    fn windows_that_are_too_small_are_covered_too(windows in prop::collection::vec(1..9000_usize, 1..20)) {
        let bytes = multiplex(&[vorbis(7, 30_000, 20_000, 4096)]);
        let (mut splitter, mut runs, mut at) = (open(without_tail(&bytes)).unwrap(), Vec::new(), 0);
        for size in windows.into_iter().cycle() {
            let end = bytes.len().min(at + size);
            runs.clear();
            splitter.split(&bytes[at..end], end == bytes.len(), &mut runs);
            let used = runs.iter().map(|r| r.bytes() as usize).sum::<usize>();
            prop_assert!(used > 0 && at + used <= end);
            at += used;
            if at == bytes.len() {
                break;
            }
        }
    }
}
