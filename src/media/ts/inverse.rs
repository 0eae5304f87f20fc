//! From streams back to packets: version 1.
//!
//! ```text
//! parameters := kind:u8 stamps? pids:varint pid{pids}
//!                 kind: 0 plain, 1 stamped, 2 coded   16 has wrapper   32 has times   64 has stamps
//! stamps     := last:u32 usual:varint other:varint                       if stamped, see `Stamps`
//! pid        := flags:u8 lasting:u8 index:varint pid:u16 (head:4 dts:varint)? pcr:varint? essences:varint
//!                 flags: 15 counter of the packet before   16 is an essence   32 head and dts follow   64 pcr follows
//!
//! parts      := wrapper? ops times? stamps? then the essences of each PID
//!
//! ops        := op*
//! op         := kind:4 index:4 index:varint? ...      index in the parameters (15: it follows)
//!   0 one      a packet without a field, not a start
//!   1 run      n:varint      n + 2 of them
//!   2 start    a packet without a field, a start
//!   3 stuffed  bytes:u8      a packet with a field that only fills, not a start
//!   4 repeat   as `start`, the payload is that of the PID's last one in this segment that was a start and wrapper
//!   5 fill     n:varint      n + 1 packets as `one`, all of the payload 0xff
//!   6 other    bits:u8 counter:u8? (bytes:u8 (flags:u8 255:u8? n:u8 n bytes)?)?
//!                bits: 1 counter follows   2 has payload   4 has a field   8 start   16, 32 scrambling   64 priority   128 error
//!                A PCR is among the times as the difference to the one before, unless 255 says that it is among the bytes.
//!   7 whole    187 bytes of wrapper
//! ```
//! Payload comes from the PID's essence, or from the wrapper while it is none. A start in a PID from 0x20 on has a record
//! of its PES header among the times, see `pes`; such a header makes the PID an essence, and so does scrambling.
//!
//! # Invariants
//!
//! 1. Nothing is written beyond the asked length, whatever parts and parameters say.
//! 2. Work is linear in that length, the parts and the parameters.

use super::super::signed::{plus, unzigzag, zigzag};
use super::packet::{BODY, FIRST_FREE_PID, Header, LASTING, NULL_PID, PACKET, Row, SYNC, pcr_bytes};
use super::{PIDS_MAX, pes};
use crate::error::{Error, Result};
use crate::format::wire::{Put, Reader};

pub const HAS_WRAPPER: u8 = 16;
pub const HAS_TIMES: u8 = 32;
pub const HAS_STAMPS: u8 = 64;

pub const PID_ESSENCE: u8 = 1;
pub const PID_TIMES: u8 = 2;
pub const PID_PCR: u8 = 4;

pub const INDEX_LONG: u8 = 15;

/// Bytes of the longest adaptation field, without the one that tells them.
pub const FIELD_MAX: usize = BODY - 1;
/// A PCR that is none follows among the field's bytes. More than any count of them.
pub const FIELD_ODD: u8 = 255;

/// How a packet, or some of them, are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    One = 0,
    Run = 1,
    Start = 2,
    Stuffed = 3,
    Repeat = 4,
    Fill = 5,
    Other = 6,
    Whole = 7,
}

/// The four bytes before each packet of M2TS: a difference is mostly one of the last two that there were.
///
/// ```text
/// stamp := 0   the usual difference   1   the other one, which is the usual one then
///        | varint   2 + the zigzag of its difference to the usual one; that becomes the other one
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct Stamps {
    last: u32,
    usual: u32,
    other: u32,
}

impl Stamps {
    pub fn write(&mut self, stamp: u32, out: &mut Vec<u8>) {
        let step = stamp.wrapping_sub(self.last);
        self.last = stamp;
        if step == self.usual {
            out.put_u8(0);
        } else if step == self.other {
            out.put_u8(1);
            std::mem::swap(&mut self.usual, &mut self.other);
        } else {
            out.put_varint(2 + zigzag(i64::from(step) - i64::from(self.usual)));
            (self.usual, self.other) = (step, self.usual);
        }
    }

    fn read(&mut self, r: &mut Reader<'_>) -> Result<u32> {
        match r.varint()? {
            0 => {}
            1 => std::mem::swap(&mut self.usual, &mut self.other),
            n => {
                let step = i64::from(self.usual).checked_add(unzigzag(n - 2));
                let step = step.and_then(|s| u32::try_from(s).ok());
                let step = step.ok_or_else(|| r.bad("a stamp beyond 32 bits"))?;
                (self.usual, self.other) = (step, self.usual);
            }
        }
        self.last = self.last.wrapping_add(self.usual);
        Ok(self.last)
    }

    pub fn encode_into(&self, out: &mut Vec<u8>) {
        out.put_u32(self.last);
        out.put_varint(u64::from(self.usual));
        out.put_varint(u64::from(self.other));
    }

    fn decode(r: &mut Reader<'_>) -> Result<Stamps> {
        let last = r.u32()?;
        let mut step = || u32::try_from(r.varint()?).map_err(|_| r.bad("a stamp beyond 32 bits"));
        Ok(Stamps { last, usual: step()?, other: step()? })
    }
}

/// A PID: what is expected of its next packet, and what is left of its parts.
struct Pid<'a> {
    pid: u16,
    counter: u8,
    lasting: u8,
    is_essence: bool,
    pes: pes::Before,
    pcr: u64,
    /// How many parts it has.
    count: usize,
    essence: Pieces<'a>,
    /// Where the last table stands in what was written.
    table: Option<usize>,
}

/// Parts of one PID. Each begins where a payload does.
#[derive(Default)]
struct Pieces<'a> {
    now: &'a [u8],
    next: &'a [&'a [u8]],
}

impl<'a> Pieces<'a> {
    fn take(&mut self, n: usize) -> Option<&'a [u8]> {
        if self.now.is_empty()
            && n > 0
            && let Some((first, next)) = self.next.split_first()
        {
            (self.now, self.next) = (first, next);
        }
        let (taken, rest) = self.now.split_at_checked(n)?;
        self.now = rest;
        Some(taken)
    }

    fn is_used_up(&self) -> bool {
        self.now.is_empty() && self.next.is_empty()
    }
}

/// What is left of the parts that all PIDs share, and what was written.
struct Packets<'a> {
    row: Row,
    ops: Reader<'a>,
    times: Reader<'a>,
    stamps: Reader<'a>,
    stamp: Stamps,
    wrapper: Pieces<'a>,
    out: Vec<u8>,
    max: usize,
}

/// Rebuilds packets.
///
/// # Errors
/// [`Error::Malformed`] for what the splitter never left.
pub fn inverse(parameters: &[u8], parts: &[&[u8]], bytes: usize) -> Result<Vec<u8>> {
    let mut r = Reader::new("a segment of a transport stream", parameters);
    let kind = r.u8()?;
    let row = match kind & 15 {
        0 => Row::Plain,
        1 => Row::Stamped,
        2 => Row::Coded,
        _ => return Err(r.bad("a row that there is not")),
    };
    let stamp = if row == Row::Stamped { Stamps::decode(&mut r)? } else { Stamps::default() };
    let count = r.count(6, PIDS_MAX)?;
    let mut places = [None; PIDS_MAX];
    let mut pids = Vec::with_capacity(count);
    for i in 0..count {
        let (index, pid) = pid(&mut r)?;
        match usize::try_from(index).ok().and_then(|index| places.get_mut(index)) {
            Some(place @ None) => *place = Some(i),
            _ => return Err(r.bad("a PID that comes twice, or one too many")),
        }
        pids.push(pid);
    }
    r.end()?;

    let mut left = parts;
    let mut shared = |is_there: bool| {
        if !is_there {
            return Ok(&[][..]);
        }
        let (first, rest) = left.split_first().ok_or_else(|| r.bad("a part is missing"))?;
        left = rest;
        Ok::<_, Error>(*first)
    };
    let wrapper = Pieces { now: shared(kind & HAS_WRAPPER != 0)?, next: &[] };
    let ops = Reader::new("the packets of a transport stream", shared(true)?);
    let times = Reader::new("the times of a transport stream", shared(kind & HAS_TIMES != 0)?);
    let stamps = Reader::new("the stamps of a transport stream", shared(kind & HAS_STAMPS != 0)?);
    for pid in &mut pids {
        let split = left.split_at_checked(pid.count).ok_or_else(|| r.bad("a part is missing"))?;
        (pid.essence.next, left) = split;
    }
    // The capacity is bounded whatever the recipe says.
    let out = Vec::with_capacity(bytes.min(super::WINDOW_MIN));
    let mut packets = Packets { row, ops, times, stamps, stamp, wrapper, out, max: bytes };
    while packets.ops.left() > 0 {
        packets.op(&mut pids, &places)?;
    }
    let shared_left = packets.times.left() + packets.stamps.left() + packets.wrapper.now.len();
    if shared_left > 0 || !left.is_empty() || !pids.iter().all(|p| p.essence.is_used_up()) {
        return Err(r.bad("bytes of a part are left over"));
    }
    Ok(packets.out)
}

/// Reads a PID and its index.
fn pid<'a>(r: &mut Reader<'_>) -> Result<(u64, Pid<'a>)> {
    let (flags, lasting) = (r.u8()?, r.u8()?);
    let (flags, counter) = (flags >> 4, flags & 15);
    let (index, pid) = (r.varint()?, r.u16()?);
    if pid > NULL_PID || lasting & !LASTING != 0 {
        return Err(r.bad("a PID beyond 13 bits"));
    }
    let mut pes = pes::Before::default();
    if flags & PID_TIMES != 0 {
        pes = pes::Before { head: r.array()?, dts: r.varint()? };
    }
    let pcr = if flags & PID_PCR != 0 { r.varint()? } else { 0 };
    let count = usize::try_from(r.varint()?).unwrap_or(usize::MAX);
    let is_essence = flags & PID_ESSENCE != 0;
    Ok((index, Pid { pid, counter, lasting, is_essence, pes, pcr, count, essence: Pieces::default(), table: None }))
}

impl Packets<'_> {
    fn op(&mut self, pids: &mut [Pid<'_>], places: &[Option<usize>; PIDS_MAX]) -> Result<()> {
        let op = self.ops.u8()?;
        if op >> 4 == Kind::Whole as u8 {
            self.begin()?;
            let whole =
                self.wrapper.take(PACKET - 1).ok_or_else(|| self.ops.bad("a packet of which bytes are missing"))?;
            self.out.put_u8(SYNC);
            self.out.put(whole);
            return self.end();
        }
        let index = match op & INDEX_LONG {
            INDEX_LONG => self.ops.varint()?,
            index => u64::from(index),
        };
        let place = usize::try_from(index).ok().and_then(|i| places.get(i).copied().flatten());
        let pid = place.and_then(|place| pids.get_mut(place)).ok_or_else(|| self.ops.bad("a packet of no PID"))?;
        let usual = Header {
            pid: pid.pid,
            starts: false,
            lasting: pid.lasting,
            has_field: false,
            has_payload: true,
            counter: Header::next_counter(pid.pid, pid.counter, true),
        };
        match op >> 4 {
            0 => self.packet(pid, usual, &[]),
            1 => {
                let n = self.ops.varint()?;
                // Each writes a packet or fails, so `max` bounds them.
                for _ in 0..n.saturating_add(2) {
                    let counter = Header::next_counter(pid.pid, pid.counter, true);
                    self.packet(pid, Header { counter, ..usual }, &[])?;
                }
                Ok(())
            }
            2 => self.packet(pid, Header { starts: true, ..usual }, &[]),
            3 => {
                let bytes = self.ops.u8()?;
                let mut field = [0xff; BODY];
                field[0] = bytes; // both are in 184 bytes
                field[1] = 0;
                let field = field.get(..1 + usize::from(bytes)).ok_or_else(|| self.ops.bad("a field too long"))?;
                self.packet(pid, Header { has_field: true, ..usual }, field)
            }
            4 => {
                let table = pid.table.ok_or_else(|| self.ops.bad("a table that did not come before"))?;
                self.begin()?;
                self.out.put(&Header { starts: true, ..usual }.bytes());
                if table.saturating_add(BODY) > self.out.len() {
                    return Err(self.ops.bad("a table that did not come before"));
                }
                self.out.extend_from_within(table..table + BODY);
                pid.counter = usual.counter;
                self.end()
            }
            5 => {
                let n = self.ops.varint()?;
                for _ in 0..n.saturating_add(1) {
                    pid.counter = Header::next_counter(pid.pid, pid.counter, true);
                    self.begin()?;
                    self.out.put(&Header { counter: pid.counter, ..usual }.bytes());
                    self.out.put(&[0xff; BODY]);
                    self.end()?;
                }
                Ok(())
            }
            6 => self.other(pid),
            _ => Err(self.ops.bad("an op of an unknown kind")),
        }
    }

    /// A packet whose header is told.
    fn other(&mut self, pid: &mut Pid<'_>) -> Result<()> {
        let bits = self.ops.u8()?;
        let (has_payload, has_field) = (bits & 2 != 0, bits & 4 != 0);
        let counter =
            if bits & 1 != 0 { self.ops.u8()? & 15 } else { Header::next_counter(pid.pid, pid.counter, has_payload) };
        let lasting = bits & 0x80 | (bits & 0x40) >> 1 | (bits >> 4) & 3;
        let mut field = Vec::new();
        if has_field {
            let bytes = self.ops.u8()?;
            field.put_u8(bytes);
            if bytes > 0 {
                let flags = self.ops.u8()?;
                field.put_u8(flags);
                let mut kept = self.ops.u8()?;
                if flags & 0x10 != 0 {
                    if kept == FIELD_ODD {
                        kept = self.ops.u8()?;
                    } else {
                        pid.pcr = plus(pid.pcr, self.times.varint()?);
                        field.put(&pcr_bytes(pid.pcr));
                    }
                }
                field.put(self.ops.take(usize::from(kept))?);
            }
            let whole = 1 + usize::from(bytes);
            if field.len() > whole {
                return Err(self.ops.bad("a field that holds more than it has bytes"));
            }
            field.resize(whole, 0xff);
        }
        let header = Header { pid: pid.pid, starts: bits & 8 != 0, lasting, has_field, has_payload, counter };
        self.packet(pid, header, &field)
    }

    /// A packet with its payload.
    fn packet(&mut self, pid: &mut Pid<'_>, header: Header, field: &[u8]) -> Result<()> {
        self.begin()?;
        pid.counter = header.counter;
        pid.lasting = header.lasting;
        self.out.put(&header.bytes());
        self.out.put(field);
        let bytes = BODY.checked_sub(field.len()).ok_or_else(|| self.ops.bad("a field too long"))?;
        if bytes == 0 || !header.has_payload {
            if bytes > 0 {
                return Err(self.ops.bad("a packet that is too short"));
            }
            return self.end();
        }
        let at = self.out.len();
        if pid.pid >= FIRST_FREE_PID && pid.pid != NULL_PID {
            if header.starts {
                pes::read(&mut pid.pes, &mut self.times, &mut self.out)?;
            }
            pid.is_essence |= self.out.len() > at || header.lasting & 3 != 0;
        }
        // At most 264 bytes were written.
        let rest = (at + bytes).checked_sub(self.out.len());
        let is_essence = pid.is_essence;
        let payload = rest.and_then(|n| if is_essence { pid.essence.take(n) } else { self.wrapper.take(n) });
        let payload = payload.ok_or_else(|| self.ops.bad("a payload of which bytes are missing"))?;
        self.out.put(payload);
        if !pid.is_essence && header.starts && field.is_empty() {
            pid.table = Some(at);
        }
        self.end()
    }

    /// What stands before a packet.
    fn begin(&mut self) -> Result<()> {
        if self.max.saturating_sub(self.out.len()) < self.row.stride() {
            return Err(self.ops.bad("more packets than the segment has bytes"));
        }
        if self.row == Row::Stamped {
            let stamp = self.stamp.read(&mut self.stamps)?;
            self.out.put(&stamp.to_be_bytes());
        }
        Ok(())
    }

    /// What stands behind it.
    fn end(&mut self) -> Result<()> {
        if self.row == Row::Coded {
            self.out.put(self.stamps.take(self.row.stride() - PACKET)?);
        }
        Ok(())
    }
}
