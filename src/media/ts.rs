//! MPEG-TS: the elementary streams apart from packets (ISO/IEC 13818-1), in rows of 188, 192 (M2TS) or 204 bytes.
//!
//! ```text
//!  segment              whole packets: 5120, fewer only at the file's end and where the sync is lost
//!   payload of a PID    an essence of its own, without the headers of packetized streams (PES)
//!   payload of tables   wrapper   once a segment for each PID while it repeats
//!   packet headers      ops       runs of packets as they should be, see `inverse`; what differs
//!   times               times     PES headers, PCR: as differences
//!   M2TS arrival times  stamps    as differences; the 16 bytes of 204 are kept as they are
//!   the rest            sync bytes, counters, stuffing: computed
//! ```
//! A file of a run of segments (HLS) and the file that was not cut share their payload; its borders stand where a key
//! frame begins, so they share its chunks.
//!
//! Owns the way from packets to segments. Tables are not read: a PID is an essence once a PES header began a payload in it.
//!
//! # Invariants
//!
//! 1. An essence is the elementary stream: the same bytes however the packets were put together.
//! 2. Ops, times and stamps hold no number that counts from the file's start.
//! 3. Packets that are not understood are kept whole. Only a lost sync ends a segment: what follows is wrapper up to where
//!    `SYNCS` packets stand in a row, within the bounds of `Patience`.
//! 4. State: `PIDS_MAX` PIDs of some numbers each. Less than a MiB is held back.

mod inverse;
mod packet;
mod pes;

pub use inverse::inverse;

use super::patience::Patience;
use super::runs::{Last, Walk};
use super::signed::minus;
use super::{
    ESSENCE, HINT_BYTES, Hints, Mapped, MappedPart, Part, Splitter, SplitterId, StreamNumber, TS, WINDOW_MIN, WRAPPER,
};
use crate::chunk::Form;
use crate::format::wire::Put;
use inverse::{FIELD_MAX, FIELD_ODD, HAS_STAMPS, HAS_TIMES, HAS_WRAPPER, INDEX_LONG, Kind};
use inverse::{PID_ESSENCE, PID_PCR, PID_TIMES};
use packet::{FIRST_FREE_PID, HEADER, Header, NULL_PID, PACKET, Row, SYNC};

/// Packet headers.
pub const OPS: StreamNumber = 2;
/// PES headers and PCR.
pub const TIMES: StreamNumber = 3;
/// What stands before or behind each packet.
pub const STAMPS: StreamNumber = 4;

/// Packets of a segment: below 1 MiB in any row.
const PACKETS: usize = 5120;
const _: () = assert!(PACKETS * (PACKET + 16) + SYNCS * (PACKET + 16) < WINDOW_MIN / 2);

/// Sync bytes in a row that are believed after a loss.
const SYNCS: usize = 5;
/// Packets of the head that must have one, and how many are looked at.
const OPENING: usize = 3;
const OPENING_MAX: usize = 64;

/// PIDs that are told apart; packets of others are kept whole. A multiplex of a satellite has some hundred.
const PIDS_MAX: usize = 512;
/// PIDs that have a stream of their own; what is beyond shares the last one.
const SLOTS: u8 = 16;

/// A key frame has a border if so many bytes came since the last one: where a GOP is shorter, chunks would be small.
const BORDER_BYTES: usize = 256 << 10;

/// The stream of a PID's payload.
fn essence(slot: u8) -> StreamNumber {
    if slot == 0 { ESSENCE } else { STAMPS + slot }
}

/// Opens a transport stream: every packet of the head has its sync byte.
pub fn open(hints: Hints<'_>) -> Option<Box<dyn Splitter>> {
    let row = [Row::Plain, Row::Stamped, Row::Coded].into_iter().find(|row| {
        let syncs = hints.head.iter().skip(row.at()).step_by(row.stride()).take(OPENING_MAX);
        let is_short = hints.head.len() < HINT_BYTES;
        let (mut n, mut all) = (0, true);
        syncs.for_each(|b| (n, all) = (n + 1, all && *b == SYNC));
        all && (n == OPENING_MAX || is_short && n >= OPENING)
    })?;
    Some(Box::new(Ts::new(row)))
}

/// A PID, between two packets.
#[derive(Clone, Copy, Debug)]
struct Pid {
    pid: u16,
    /// Of the last packet.
    counter: u8,
    /// See [`packet::LASTING`].
    lasting: u8,
    /// Which essence its payload is.
    slot: Option<u8>,
    pes: pes::Before,
    pcr: u64,
    /// Bytes of its essence since a border.
    since: usize,
}

/// What a segment takes of one PID.
#[derive(Debug)]
struct Taken<'w> {
    index: usize,
    /// As it was before the segment.
    before: Pid,
    essence: Vec<(bool, Vec<u8>)>,
    /// The last table.
    table: Option<&'w [u8]>,
}

/// A segment while it grows.
#[derive(Debug, Default)]
struct Segment<'w> {
    taken: Vec<Taken<'w>>,
    wrapper: Vec<u8>,
    ops: Vec<u8>,
    times: Vec<u8>,
    stamps: Vec<u8>,
    /// Packets alike that were not written to `ops` yet.
    run: Option<(Kind, usize, u64)>,
}

impl Segment<'_> {
    /// Writes an op, for one packet more.
    fn op(&mut self, kind: Kind, index: usize) {
        if let Some((k, i, count)) = &mut self.run
            && (*k, *i) == (kind, index)
        {
            *count += 1;
            return;
        }
        self.flush();
        if matches!(kind, Kind::One | Kind::Fill) {
            self.run = Some((kind, index, 1));
        } else {
            self.put(kind, index);
        }
    }

    fn put(&mut self, kind: Kind, index: usize) {
        // Both fit: below 15, and below PIDS_MAX.
        let short = index.min(usize::from(INDEX_LONG)) as u8;
        self.ops.put_u8((kind as u8) << 4 | short);
        if short == INDEX_LONG {
            self.ops.put_varint(index as u64);
        }
    }

    /// Writes the run.
    fn flush(&mut self) {
        match self.run.take() {
            None => {}
            Some((Kind::One, index, 1)) => self.put(Kind::One, index),
            Some((Kind::One, index, n)) => {
                self.put(Kind::Run, index);
                self.ops.put_varint(n - 2);
            }
            Some((kind, index, n)) => {
                self.put(kind, index);
                self.ops.put_varint(n - 1);
            }
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Packets,
    /// Behind bytes that are no packet.
    Lost,
    Opaque,
}

/// No place yet, in a table of places.
const NOWHERE: u16 = u16::MAX;

/// The splitter of one transport stream.
#[derive(Debug)]
struct Ts {
    row: Row,
    state: State,
    pids: Vec<Pid>,
    /// Where each PID stands in `pids`.
    places: Vec<u16>,
    slots: u8,
    stamps: inverse::Stamps,
    /// Streams that have had their first border.
    begun: Vec<StreamNumber>,
    patience: Patience,
    before: Last,
    doubt: Option<&'static str>,
}

impl Ts {
    fn new(row: Row) -> Ts {
        Ts {
            row,
            state: State::Packets,
            pids: Vec::new(),
            places: vec![NOWHERE; 1 << 13],
            slots: 0,
            stamps: inverse::Stamps::default(),
            begun: Vec::new(),
            patience: Patience::default(),
            before: Last::default(),
            doubt: None,
        }
    }

    /// Packets in a row at the front of `bytes`, at most [`PACKETS`].
    fn in_a_row<'w>(&self, bytes: &'w [u8]) -> impl Iterator<Item = (&'w [u8], &'w [u8; PACKET])> + use<'w> {
        let row = self.row;
        bytes.chunks_exact(row.stride()).take(PACKETS).map_while(move |all| {
            let (other, packet) = if row == Row::Stamped {
                all.split_at(4) // a chunk has a stride's bytes
            } else {
                let (packet, other) = all.split_at(PACKET);
                (other, packet)
            };
            packet.first_chunk().filter(|p| p.first() == Some(&SYNC)).map(|p| (other, p))
        })
    }

    /// Takes whole packets apart.
    fn map(&mut self, file: &[u8]) -> Mapped {
        let mut segment = Segment::default();
        // Where each PID stands in `segment.taken`.
        let mut places = vec![NOWHERE; self.pids.len()];
        let stamps = self.stamps;
        for (other, packet) in self.in_a_row(file) {
            match other.first_chunk() {
                Some(stamp) if self.row == Row::Stamped => {
                    self.stamps.write(u32::from_be_bytes(*stamp), &mut segment.stamps);
                }
                _ => segment.stamps.extend_from_slice(other),
            }
            if self.packet(packet, &mut segment, &mut places).is_none() {
                segment.flush();
                segment.put(Kind::Whole, 0);
                segment.wrapper.extend_from_slice(packet.get(1..).unwrap_or_default());
            }
        }
        segment.flush();
        self.segment(file.len(), segment, stamps)
    }

    /// Takes one packet apart; `None`, with nothing done, if it is to be kept whole.
    fn packet<'w>(&mut self, packet: &'w [u8; PACKET], segment: &mut Segment<'w>, places: &mut Vec<u16>) -> Option<()> {
        let header = Header::read(packet);
        let body = packet.get(HEADER..)?;
        let field = match (header.has_field, header.has_payload) {
            (false, true) => 0,
            (true, payload) => {
                let bytes = usize::from(*body.first()?);
                if bytes > FIELD_MAX || !payload && bytes != FIELD_MAX {
                    return None;
                }
                1 + bytes
            }
            (false, false) => return None,
        };
        let (field, payload) = body.split_at_checked(field)?;

        let place = self.places.get_mut(usize::from(header.pid))?;
        if *place == NOWHERE {
            if self.pids.len() == PIDS_MAX {
                return None;
            }
            *place = self.pids.len() as u16; // below PIDS_MAX
            let ahead = u8::from(header.has_payload && header.pid != NULL_PID);
            self.pids.push(Pid {
                pid: header.pid,
                counter: header.counter.wrapping_sub(ahead) & 15,
                lasting: header.lasting,
                slot: None,
                pes: pes::Before::default(),
                pcr: 0,
                since: 0,
            });
            places.push(NOWHERE);
        }
        let index = usize::from(*place);
        let pid = self.pids.get_mut(index)?;
        let place = places.get_mut(index)?;
        if *place == NOWHERE {
            *place = segment.taken.len() as u16; // below PIDS_MAX
            segment.taken.push(Taken { index, before: *pid, essence: Vec::new(), table: None });
        }
        let place = usize::from(*place);

        let counts = header.counter == Header::next_counter(pid.pid, pid.counter, header.has_payload);
        let usual = counts && header.lasting == pid.lasting;
        pid.counter = header.counter;
        pid.lasting = header.lasting;
        let mut is_key = false;
        match field {
            [] if usual && !header.starts => {
                if payload.iter().all(|&b| b == 0xff) {
                    segment.op(Kind::Fill, index);
                    return Some(());
                }
                segment.op(Kind::One, index);
            }
            [] if usual && segment.taken.get(place)?.table == Some(payload) => {
                segment.op(Kind::Repeat, index);
                return Some(());
            }
            [] if usual => segment.op(Kind::Start, index),
            [bytes, rest @ ..]
                if usual
                    && !header.starts
                    && header.has_payload
                    && rest.iter().enumerate().all(|(i, &b)| b == if i == 0 { 0 } else { 0xff }) =>
            {
                segment.op(Kind::Stuffed, index);
                segment.ops.put_u8(*bytes);
            }
            _ => {
                segment.op(Kind::Other, index);
                let follows = u8::from(header.has_field) << 1 | u8::from(header.has_payload);
                let starts = u8::from(header.starts);
                let Header { lasting, .. } = header;
                // 1 counter, 2-4 what follows, 8 starts, 16-32 scrambling, 64 priority, 128 error.
                let bits = lasting & 0x80 | (lasting & 0x20) << 1 | (lasting & 3) << 4 | starts << 3 | follows << 1;
                segment.ops.put_u8(bits | u8::from(!counts));
                if !counts {
                    segment.ops.put_u8(header.counter);
                }
                is_key = adaptation(field, &mut pid.pcr, &mut segment.ops, &mut segment.times) && header.starts;
            }
        }
        if !header.has_payload || payload.is_empty() {
            return Some(());
        }

        let mut rest = payload;
        if pid.pid >= FIRST_FREE_PID && pid.pid != NULL_PID {
            let mut headed = 0;
            if header.starts {
                headed = pes::write(&mut pid.pes, payload, &mut segment.times);
                rest = payload.get(headed..)?;
            }
            if pid.slot.is_none() && (headed > 0 || header.lasting & 3 != 0) {
                pid.slot = Some(self.slots);
                self.slots = (self.slots + 1).min(SLOTS - 1);
            }
        }
        let taken = segment.taken.get_mut(place)?;
        if pid.slot.is_none() {
            if header.starts && field.is_empty() {
                taken.table = Some(payload);
            }
            segment.wrapper.extend_from_slice(rest);
            return Some(());
        }
        let cut = is_key && pid.since >= BORDER_BYTES;
        if cut {
            pid.since = 0;
        }
        pid.since += rest.len();
        match taken.essence.last_mut() {
            Some((_, essence)) if !cut => essence.extend_from_slice(rest),
            _ => taken.essence.push((cut, rest.to_vec())),
        }
        Some(())
    }

    /// Puts together what a segment is made of.
    fn segment(&mut self, bytes: usize, segment: Segment<'_>, stamps: inverse::Stamps) -> Mapped {
        let Segment { taken, wrapper, ops, times, stamps: stamped, .. } = segment;
        let (mut parameters, mut parts) = (Vec::new(), Vec::new());
        let mut kind = match self.row {
            Row::Plain => 0,
            Row::Stamped => 1,
            Row::Coded => 2,
        };
        for (bit, part) in [(HAS_WRAPPER, &wrapper), (HAS_TIMES, &times), (HAS_STAMPS, &stamped)] {
            kind |= if part.is_empty() { 0 } else { bit };
        }
        parameters.put_u8(kind);
        if self.row == Row::Stamped {
            stamps.encode_into(&mut parameters);
        }
        parameters.put_varint(taken.len() as u64);
        for (stream, bytes) in [(WRAPPER, wrapper), (OPS, ops), (TIMES, times), (STAMPS, stamped)] {
            self.part(stream, false, bytes, &mut parts);
        }
        for of in taken {
            let before = of.before;
            let has_times = before.pes != pes::Before::default();
            let mut flags = if before.slot.is_some() { PID_ESSENCE } else { 0 };
            flags |= if has_times { PID_TIMES } else { 0 };
            flags |= if before.pcr != 0 { PID_PCR } else { 0 };
            parameters.put_u8(flags << 4 | before.counter);
            parameters.put_u8(before.lasting);
            parameters.put_varint(of.index as u64);
            parameters.put_u16(before.pid);
            if has_times {
                parameters.put(&before.pes.head);
                parameters.put_varint(before.pes.dts);
            }
            if before.pcr != 0 {
                parameters.put_varint(before.pcr);
            }
            let essences = of.essence.into_iter().filter(|(_, bytes)| !bytes.is_empty()).collect::<Vec<_>>();
            parameters.put_varint(essences.len() as u64);
            let slot = self.pids.get(of.index).and_then(|p| p.slot).unwrap_or(0);
            for (cut, bytes) in essences {
                self.part(essence(slot), cut, bytes, &mut parts);
            }
        }
        // At most PACKETS of them.
        Mapped { bytes: bytes as u64, how: TS, parts, parameters }
    }

    fn part(&mut self, stream: StreamNumber, cut: bool, bytes: Vec<u8>, parts: &mut Vec<MappedPart>) {
        if bytes.is_empty() {
            return;
        }
        let first = !self.begun.contains(&stream);
        if first {
            self.begun.push(stream);
        }
        parts.push(MappedPart { stream, cut: cut || first, form: Form::Bytes, bytes });
    }

    /// Passes bytes that are no packet, up to where [`SYNCS`] of them stand in a row (or all there are, at the end).
    /// Returns whether it came any further.
    fn search(&mut self, walk: &mut Walk<'_, '_>, last: bool) -> bool {
        let rest = walk.rest();
        let (stride, at) = (self.row.stride(), self.row.at());
        let found = (0..rest.len()).find(|&from| {
            let to_come = rest.len() - from;
            if to_come < SYNCS * stride && !last {
                return true;
            }
            let syncs = rest.get(from + at..).unwrap_or_default().iter().step_by(stride);
            to_come >= stride && syncs.take(SYNCS.min(to_come / stride)).all(|&b| b == SYNC)
        });
        let found = found.unwrap_or(rest.len());
        self.pass(walk, found);
        let is_found = last || rest.len() - found >= SYNCS * stride; // found is at most the length
        if is_found {
            self.state = State::Packets;
        }
        is_found || found > 0
    }

    /// Bytes that are no packet.
    fn pass(&mut self, walk: &mut Walk<'_, '_>, bytes: usize) {
        walk.give(WRAPPER, bytes);
        self.begun.retain(|&s| s != WRAPPER);
        self.patience.earn(bytes as u64);
    }

    fn give_up(&mut self, state: State, reason: &'static str) {
        self.state = state;
        self.doubt.get_or_insert(reason);
    }

    fn spend(&mut self) {
        self.patience.spend();
        if self.patience.is_over() {
            self.give_up(State::Opaque, "ts: too many breaks");
        }
    }
}

/// Writes an adaptation field. Returns whether it says that a key frame begins.
fn adaptation(field: &[u8], before: &mut u64, ops: &mut Vec<u8>, times: &mut Vec<u8>) -> bool {
    let Some((&bytes, content)) = field.split_first() else { return false };
    ops.put_u8(bytes);
    let Some((&flags, mut rest)) = content.split_first() else { return false };
    ops.put_u8(flags);
    if flags & 0x10 != 0 {
        match packet::pcr(rest) {
            Some(pcr) => {
                times.put_varint(minus(pcr, *before));
                *before = pcr;
                rest = rest.get(6..).unwrap_or_default();
            }
            None => ops.put_u8(FIELD_ODD),
        }
    }
    let kept = rest.iter().rposition(|&b| b != 0xff).map_or(0, |last| last + 1);
    ops.put_u8(kept as u8); // a field has at most 183 bytes
    ops.put(rest.get(..kept).unwrap_or_default());
    flags & 0x40 != 0
}

impl Splitter for Ts {
    fn id(&self) -> SplitterId {
        TS
    }

    fn split(&mut self, window: &[u8], last: bool, runs: &mut Vec<Part>) {
        // Handed back below, since the walk borrows it while `self` changes.
        let mut before = self.before;
        let mut walk = Walk::new(window, runs, &mut before);
        while !walk.rest().is_empty() {
            let rest = walk.rest();
            match self.state {
                State::Opaque => walk.give(ESSENCE, rest.len()),
                State::Lost => {
                    if !self.search(&mut walk, last) {
                        if !walk.is_fresh() {
                            break;
                        }
                        // The window is smaller than promised.
                        self.pass(&mut walk, rest.len());
                    }
                }
                State::Packets => {
                    let packets = self.in_a_row(rest).count();
                    let bytes = packets * self.row.stride();
                    let is_whole = packets == PACKETS || rest.len() - bytes >= self.row.stride(); // a row of `rest`
                    if !last && !is_whole && !walk.is_fresh() {
                        break;
                    }
                    if packets == 0 {
                        let cut_short = rest.len() < self.row.stride();
                        let why = if cut_short { "ts: the file ends within a packet" } else { "ts: lost sync" };
                        self.give_up(State::Lost, why);
                        self.spend();
                        continue;
                    }
                    let mapped = self.map(rest.get(..bytes).unwrap_or_default());
                    walk.map(mapped);
                    self.patience.earn(bytes as u64);
                    self.spend();
                }
            }
        }
        self.before = before;
    }

    fn doubt(&self) -> Option<&'static str> {
        self.doubt
    }
}

#[cfg(test)]
mod tests;
