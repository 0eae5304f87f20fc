//! Tests of the splitter of transport streams: files made by a small multiplexer.

use proptest::prelude::*;

use super::super::testing::{collect_parts, head, noise, streams, without_tail};
use super::super::{Run, inverse, open as open_any};
use super::packet::BODY;
use super::*;

/// Puts payload units into packets.
#[derive(Debug, Default)]
struct Mux {
    file: Vec<u8>,
    counters: std::collections::BTreeMap<u16, u8>,
    packets: u32,
    row: Option<Row>,
}

impl Mux {
    fn of(row: Row) -> Mux {
        Mux { row: Some(row), ..Mux::default() }
    }

    /// One packet. `field` is an adaptation field without its length; stuffing is put in where the payload is short.
    fn packet(&mut self, pid: u16, starts: bool, field: Option<&[u8]>, payload: &[u8]) -> usize {
        let n = payload.len().min(BODY - field.map_or(0, |f| f.len() + 1));
        let is_padded = n < BODY && field.is_none_or(|f| f.len() + 1 + n < BODY);
        let has_field = field.is_some() || is_padded;
        let counter = self.counters.entry(pid).or_default();
        let header = Header { pid, starts, lasting: 0, has_field, has_payload: n > 0, counter: *counter };
        *counter = Header::next_counter(pid, *counter, true);
        let mut packet = header.bytes().to_vec();
        if has_field {
            let bytes = BODY - n - 1;
            packet.push(bytes as u8);
            packet.extend(field.unwrap_or(if bytes > 0 { &[0] } else { &[] }));
            packet.resize(PACKET - n, 0xff);
        }
        packet.extend(&payload[..n]);
        if self.row == Some(Row::Stamped) {
            self.file.extend((1350 * self.packets + self.packets % 3).to_be_bytes());
        }
        self.file.extend(&packet);
        if self.row == Some(Row::Coded) {
            self.file.extend([self.packets as u8; 16]);
        }
        self.packets += 1;
        n
    }

    fn tables(&mut self) {
        for pid in [0, 0x1000] {
            let mut table = vec![0, 2, 0xb0, pid as u8];
            table.resize(BODY, 0xff);
            self.packet(pid, true, None, &table);
        }
    }

    /// A payload unit with its PES header.
    fn unit(&mut self, pid: u16, id: u8, dts: u64, key: bool, data: &[u8], between: &mut dyn FnMut(&mut Mux)) {
        let mut unit = vec![0, 0, 1, id, 0, 0, 0x80, 0xc0, 10];
        unit.extend(a_time(3, dts + 3600));
        unit.extend(a_time(1, dts));
        unit.extend(data);
        let mut field = vec![0x10 | u8::from(key) << 6];
        field.extend(packet::pcr_bytes(dts * 300));
        let mut at = self.packet(pid, true, Some(&field), &unit);
        while at < unit.len() {
            between(self);
            at += self.packet(pid, false, None, &unit[at..]);
        }
    }
}

fn a_time(front: u8, t: u64) -> [u8; 5] {
    let bits = |shift: u32, mask: u64| (t >> shift & mask) as u8;
    [front << 4 | bits(30, 7) << 1 | 1, bits(22, 255), bits(15, 127) << 1 | 1, bits(7, 255), bits(0, 127) << 1 | 1]
}

fn picture(i: usize) -> Vec<u8> {
    let mut bytes = noise(20_000 + i % 7 * 999);
    bytes[..8].copy_from_slice(&(i as u64).to_be_bytes());
    bytes
}

/// Pictures `from..to` of a film, with sound and tables; a key frame each 20.
fn film(mux: &mut Mux, from: usize, to: usize) {
    for i in from..to {
        if i % 10 == 0 || i == from {
            mux.tables();
        }
        mux.unit(0x100, 0xe0, 100_000 + 1800 * i as u64, i % 20 == 0, &picture(i), &mut |m| {
            if m.packets % 50 == 0 {
                m.packet(NULL_PID, false, None, &[0xff; BODY]);
            }
        });
        mux.unit(0x101, 0xc0, 90_000 + 1920 * i as u64, true, &noise(700 + i % 5), &mut |_| {});
    }
}

fn split(bytes: &[u8], windows: &[usize]) -> (Vec<Part>, Option<&'static str>) {
    collect_parts(open(head(bytes)).expect("a transport stream"), bytes, windows)
}

/// The streams of a file that there is no doubt about.
fn of(bytes: &[u8]) -> std::collections::BTreeMap<u8, Vec<u8>> {
    let (parts, doubt) = split(bytes, &[0]);
    assert_eq!(doubt, None);
    streams(bytes, &parts)
}

#[test]
fn the_essence_is_the_elementary_stream_in_any_row() {
    let pictures: Vec<u8> = (0..120).flat_map(picture).collect();
    let sound: Vec<u8> = (0..120).flat_map(|i| noise(700 + i % 5)).collect();
    for row in [Row::Plain, Row::Stamped, Row::Coded] {
        let mut mux = Mux::of(row);
        film(&mut mux, 0, 120);
        assert_eq!(open_any(head(&mux.file)).id(), TS);
        let streams = of(&mux.file);
        assert!(streams[&essence(0)] == pictures && streams[&essence(1)] == sound);
        let packets = mux.packets as usize;
        assert!(streams[&OPS].len() < packets / 4, "{} for {packets}", streams[&OPS].len());
        assert!(streams[&TIMES].len() < 120 * 2 * 9, "{}", streams[&TIMES].len());
        assert!(streams[&WRAPPER].len() < 2000);
        match row {
            Row::Plain => assert_eq!(streams.get(&STAMPS), None),
            Row::Stamped => assert!(streams[&STAMPS].len() < packets * 11 / 10),
            Row::Coded => assert_eq!(streams[&STAMPS].len(), 16 * packets),
        }
    }
}

#[test]
fn a_run_of_segments_shares_the_pieces_of_the_whole() {
    /// What stands between the borders of the pictures.
    fn pieces(file: &[u8]) -> Vec<Vec<u8>> {
        let mut out: Vec<Vec<u8>> = Vec::new();
        for part in split(file, &[]).0 {
            let Part::Mapped(mapped) = part else { continue };
            for part in mapped.parts.into_iter().filter(|p| p.stream == ESSENCE) {
                match out.last_mut() {
                    Some(piece) if !part.cut => piece.extend(part.bytes),
                    _ => out.push(part.bytes),
                }
            }
        }
        out
    }
    let mut whole = Mux::of(Row::Plain);
    film(&mut whole, 0, 120);
    let whole = pieces(&whole.file);
    assert_eq!(whole.len(), 6);
    // The counters go on.
    let mut run = Mux::of(Row::Plain);
    let mut segments = Vec::new();
    for (from, to) in [(0, 40), (40, 60), (60, 120)] {
        run.file.clear();
        film(&mut run, from, to);
        segments.extend(pieces(&run.file));
    }
    assert!(whole == segments);
}

#[test]
fn packets_that_are_odd_are_kept() {
    let mut mux = Mux::of(Row::Plain);
    film(&mut mux, 0, 20);
    let (good, packets) = (of(&mux.file), mux.packets as usize);
    // Error bit, priority, scrambling, no payload and no field, a field too long, a counter, a PCR with wrong bits.
    for (at, value) in [(1, 0x80_u8), (1, 0x20), (3, 0x80), (3, 0x30), (4, 0xff), (3, 5), (10, 1), (11, 0xff)] {
        let mut file = mux.file.clone();
        for packet in (3..packets).step_by(11) {
            file[packet * PACKET + at] ^= value;
        }
        let streams = of(&file);
        assert!(streams[&ESSENCE].len() + streams[&WRAPPER].len() > good[&ESSENCE].len() / 2);
    }
}

#[test]
fn scrambled_pids_have_their_own_essence() {
    let mut file = Vec::new();
    for i in 0..1000_u16 {
        let header = Header {
            pid: 0x200 + i % 2,
            starts: i % 100 < 2,
            lasting: 2 + (i / 100 % 2) as u8,
            has_field: false,
            has_payload: true,
            counter: (i / 2 % 16) as u8,
        };
        file.extend(header.bytes());
        file.extend(noise(BODY + usize::from(i)).split_off(usize::from(i)));
    }
    let streams = of(&file);
    assert_eq!((streams[&essence(0)].len(), streams[&essence(1)].len()), (500 * BODY, 500 * BODY));
}

#[test]
fn a_lost_sync_is_found_again() {
    for row in [Row::Plain, Row::Stamped, Row::Coded] {
        let mut mux = Mux::of(row);
        film(&mut mux, 0, 40);
        let whole = of(&mux.file);
        let mut file = mux.file.clone();
        let at = file.len() / 2;
        file.drain(at..at + 1000);
        file.extend(b"tail");
        for windows in [&[][..], &[0]] {
            let (parts, doubt) = split(&file, windows);
            assert_eq!(doubt, Some("ts: lost sync"));
            let essence = &streams(&file, &parts)[&ESSENCE];
            assert!(whole[&ESSENCE].len() - essence.len() < 4000);
            assert_eq!(parts.iter().filter(|p| matches!(p, Part::Run(_))).count(), 2);
        }
    }
}

#[test]
fn a_file_that_loses_sync_all_the_time_becomes_opaque() {
    let mut mux = Mux::of(Row::Plain);
    film(&mut mux, 0, 100);
    let mut file = mux.file[..64 * PACKET].to_vec();
    for packets in mux.file.chunks(6 * PACKET) {
        file.extend([packets, b"x"].concat());
    }
    for windows in [&[][..], &[0], &[1001]] {
        let (parts, doubt) = split(&file, windows);
        assert!(parts.len() < 700, "{}", parts.len());
        assert_eq!(doubt, Some("ts: lost sync"));
        assert!(matches!(parts.last(), Some(Part::Run(Run { stream: ESSENCE, .. }))));
    }
}

#[test]
fn more_pids_than_any_file_has_are_kept_whole() {
    let mut mux = Mux::of(Row::Plain);
    for i in 0..3000_u16 {
        let unit = [&[0, 0, 1, 0xe0, 0, 0, 0x80, 0, 0][..], &noise(300)].concat();
        mux.packet(0x20 + i % 1500, true, None, &unit);
    }
    let streams = of(&mux.file);
    assert_eq!(*streams.keys().last().unwrap(), essence(SLOTS - 1));
    assert_eq!(streams[&WRAPPER].len(), 2 * (1500 - PIDS_MAX) * (PACKET - 1));
}

#[test]
fn only_packets_in_a_row_open_a_file() {
    let mut mux = Mux::of(Row::Plain);
    film(&mut mux, 0, 5);
    assert!(open(head(&mux.file[..3 * PACKET])).is_some());
    assert!(open(head(&mux.file[..2 * PACKET])).is_none());
    for wrong in [0, 5, 63] {
        let mut file = mux.file.clone();
        file[wrong * PACKET] = 0x46;
        assert!(open(head(&file)).is_none());
    }
    assert!(open(head(b"")).is_none() && open(head(&[0; 9000])).is_none());
}

#[test]
fn stamps_that_come_at_any_time_come_back() {
    let mut mux = Mux::of(Row::Stamped);
    film(&mut mux, 0, 20);
    for (packet, random) in mux.file.chunks_mut(192).zip(noise(1 << 16).chunks(4)) {
        packet[..4].copy_from_slice(random);
    }
    of(&mux.file);
}

fn a_file() -> impl Strategy<Value = Vec<u8>> {
    let row = prop::sample::select(vec![Row::Plain, Row::Stamped, Row::Coded]);
    (row, prop_oneof![1..10_usize, 60..130_usize], 0..50_usize, any::<bool>()).prop_map(|(row, count, from, more)| {
        let mut mux = Mux::of(row);
        film(&mut mux, from, from + count);
        if more {
            mux.counters.insert(0x100, 3);
            film(&mut mux, 7, 12);
        }
        mux.file
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// The way back and the covering are checked in `collect_parts`.
    #[test]
    fn mutated_files_are_split_alike_in_any_windows(
        mut bytes in a_file(),
        flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..40),
        put_in in prop::option::of((any::<prop::sample::Index>(), 0..200_000_usize)),
        cut_short in prop::option::of(any::<prop::sample::Index>()),
        windows in prop::collection::vec(prop_oneof![0..64_usize, 0..1_000_000_usize], 1..8),
    ) {
        let Some(splitter) = open(head(&bytes)) else { return Ok(()) };
        drop(splitter);
        let row = [Row::Plain, Row::Stamped, Row::Coded].into_iter().find(|r| bytes.len() % r.stride() == 0);
        let row = row.unwrap_or(Row::Plain);
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
        let new = || Box::new(Ts::new(row));
        let (whole, doubt) = collect_parts(new(), &bytes, &[]);
        let (parts, again) = collect_parts(new(), &bytes, &windows);
        prop_assert!(whole == parts);
        prop_assert_eq!(doubt, again);
    }

    /// Headers of packets at random, bodies that look like fields and starts.
    #[test]
    fn arbitrary_packets_come_back(
        headers in prop::collection::vec((0..0x30_u8, any::<u8>(), any::<u8>(), prop::collection::vec(any::<u8>(), 12), 0..4_u8), 5..200),
    ) {
        let mut file = Vec::new();
        for (pid, high, flags, body, kind) in headers {
            let mut packet = vec![SYNC, high & 0xe0, pid % 3 * 16 + pid % 2, flags];
            match kind {
                0 => packet.extend(&body),
                1 => packet.extend([0, 0, 1]),
                2 => packet.extend([body[0] % 184, body[1]]),
                _ => packet.push(183),
            }
            packet.extend(&body);
            packet.resize(PACKET, if body[3] % 2 == 0 { 0xff } else { body[2] });
            file.extend(packet);
        }
        let (parts, doubt) = collect_parts(Box::new(Ts::new(Row::Plain)), &file, &[]);
        prop_assert_eq!((parts.len(), doubt), (1, None));
    }

    #[test]
    fn a_mutated_segment_is_refused_or_gives_bytes_of_the_asked_length(
        file in a_file(),
        flips in prop::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>(), any::<u8>()), 1..4),
        lost in prop::option::of(any::<prop::sample::Index>()),
        longer in -200..200_i64,
    ) {
        let (segments, _) = collect_parts(open(head(&file)).unwrap(), &file, &[]);
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
        let mut mux = Mux::of(Row::Stamped);
        film(&mut mux, 0, 3);
        let bytes = mux.file;
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
