//! What a log entry says: events.
//!
//! ```text
//! event := kind:u16 length:u32 payload
//!    1 writer began       writer:8 time:i64 verb:text host:text pid:u32 program:text parent:option(32)
//!    2 writer ended       writer:8 outcome:u8            0 done, 1 stopped, 2 ended by a later writer
//!    3 pack sealed        serial:u32 pack:12 kind:u8 disk:16 bytes:u64 records:u32 plain:u64 stored:u64 root:32
//!    4 group made         group disk:16{m}     where each parity pack lies
//!    5 group retired      group id:16
//!    6 pack moved         pack:12 from:16 to:16
//!    7 pack condemned     pack:12
//!    8 pack dropped       pack:12
//!    9 snapshot added     snapshot
//!   10 snapshot forgotten id:32 who:text why:text
//!   11 snapshot undeleted id:32 who:text
//!   12 snapshot tagged    id:32 name:option(text) tags:varint text*
//!   13 snapshot pinned    id:32 pinned:u8
//!   14 disk joined        disk:16 label:text serial:text domain:text
//!   15 disk retired       disk:16
//!   16 setting            key:text value:text
//!   17 damage found       pack:12 offset:u64 bytes:u64 by:text   bytes 0: the whole pack
//!   18 damage healed      pack:12
//!   19 snapshot kept      number:u64 pinned:u8 forgotten:option(number:u64 time:i64 who:text why:text)
//!                         tagged:option(name:option(text) tags:varint text*) record:var
//!   20 next serial        serial:u32
//!   21 snapshot dropped   id:32
//!   22 snapshot resplit   old:32 record
//!   23 snapshot was       old:32 new:32
//! 32768 scrub ledger      pack:12 time:i64 by:text
//! ```
//! `text` is `var` UTF-8; `option` is 0, or 1 and the value. A kind below 32768 that a reader does not
//! know changes what lives: it is refused. One at or above is passed over. A pack's serial is its number
//! in order of sealing, from 1 on and never used again; the index names packs by it. Kinds 19 and 20 stand
//! in checkpoints only: 19 is a snapshot's record as it was added, with the number of that entry and what was
//! said of it since. Kind 21 stands before the first pack is dropped that the snapshot may need: from then on it is
//! not there. Kind 22 puts a snapshot with another tree in the place of one that is there, which counts as forgotten from then
//! on; 23 stands in checkpoints and says under which id one was known before. Both need [`RESPLIT`].

use super::footer::PackKind;
use super::group::Group;
use super::id::{DiskId, PackId, SnapshotId, WriterId};
use super::limits::{self, TEXT_BYTES};
use super::superblock::RESPLIT;
use super::wire::{Put, Reader};
use crate::error::{Error, Result};
use std::path::PathBuf;

/// How a writer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Outcome {
    Done = 0,
    Stopped = 1,
    /// It died; a later writer adopted or salvaged its packs.
    Superseded = 2,
}

/// A sealed pack, as the log knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SealedPack {
    pub serial: u32,
    pub pack: PackId,
    /// [`PackKind::Shared`] is told by an event of its own, which follows.
    pub kind: PackKind,
    pub disk: DiskId,
    pub bytes: u64,
    pub records: u32,
    pub plain_bytes: u64,
    pub stored_bytes: u64,
    pub root: [u8; 32],
}

/// Who forgot a snapshot, why and when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Forgotten {
    /// Of the log entry that says so.
    pub number: u64,
    pub time_ns: i64,
    pub who: String,
    pub why: String,
}

/// A snapshot's own name and tags, as they are from then on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tagged {
    pub name: Option<String>,
    pub tags: Vec<String>,
}

impl Tagged {
    fn encode_into(&self, out: &mut Vec<u8>) {
        out.put_flag(self.name.is_some());
        self.name.iter().for_each(|n| put_text(out, n));
        out.put_varint(self.tags.len() as u64);
        self.tags.iter().for_each(|t| put_text(out, t));
    }

    fn decode(p: &mut Reader<'_>) -> Result<Self> {
        let name = if p.flag()? { Some(p.text(TEXT_BYTES)?) } else { None };
        let n = p.count(1, 1 << 16)?;
        Ok(Tagged { name, tags: (0..n).map(|_| p.text(TEXT_BYTES)).collect::<Result<_>>()? })
    }
}

/// One fact.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    WriterBegan {
        writer: WriterId,
        time_ns: i64,
        verb: String,
        host: String,
        pid: u32,
        program: String,
        parent: Option<SnapshotId>,
    },
    WriterEnded {
        writer: WriterId,
        outcome: Outcome,
    },
    PackSealed(SealedPack),
    /// `disks` holds where each of its parity packs lies, in order of slot.
    GroupMade {
        group: Group,
        disks: Vec<DiskId>,
    },
    GroupRetired {
        group: [u8; 16],
    },
    PackMoved {
        pack: PackId,
        from: DiskId,
        to: DiskId,
    },
    PackCondemned {
        pack: PackId,
    },
    PackDropped {
        pack: PackId,
    },
    /// The encoded snapshot; its id is the hash of these bytes.
    SnapshotAdded {
        record: Vec<u8>,
    },
    SnapshotForgotten {
        id: SnapshotId,
        who: String,
        why: String,
    },
    SnapshotUndeleted {
        id: SnapshotId,
        who: String,
    },
    SnapshotTagged {
        id: SnapshotId,
        tagged: Tagged,
    },
    SnapshotPinned {
        id: SnapshotId,
        pinned: bool,
    },
    DiskJoined {
        disk: DiskId,
        label: String,
        serial: String,
        domain: String,
    },
    DiskRetired {
        disk: DiskId,
    },
    Setting {
        key: String,
        value: String,
    },
    DamageFound {
        pack: PackId,
        offset: u64,
        bytes: u64,
        by: String,
    },
    DamageHealed {
        pack: PackId,
    },
    /// `record` is the one that was added: its hash is the snapshot's id.
    SnapshotKept {
        number: u64,
        pinned: bool,
        forgotten: Option<Forgotten>,
        tagged: Option<Tagged>,
        record: Vec<u8>,
    },
    NextSerial {
        serial: u32,
    },
    /// A forgotten snapshot is given up: its chunks may go.
    SnapshotDropped {
        id: SnapshotId,
    },
    /// A snapshot whose files were split anew takes the place of the one that it was; that one is forgotten.
    SnapshotResplit {
        old: SnapshotId,
        record: Vec<u8>,
    },
    /// The snapshot `new` was known as `old` before its files were split anew.
    SnapshotWas {
        old: SnapshotId,
        new: SnapshotId,
    },
    ScrubLedger {
        pack: PackId,
        time_ns: i64,
        by: String,
    },
    /// A pack of data is held safer than others. Who passes it over reads the same bytes; a writer that does may make its
    /// group anew as that of any other data.
    PackSafer {
        pack: PackId,
    },
    /// Of a later version, and such that it can be passed over. Kept as it is in checkpoints.
    Unknown {
        kind: u16,
        payload: Vec<u8>,
    },
}

/// The log is proven by its hash before its events are read: what is unknown in it was written by a later
/// version. The path is filled in by whoever knows it.
fn future(needs: String) -> Error {
    Error::FromTheFuture { what: "a log entry", path: PathBuf::new(), needs, ours: "those of format 1".into() }
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    out.put_var(text.as_bytes());
}

impl Event {
    fn kind(&self) -> u16 {
        match self {
            Event::WriterBegan { .. } => 1,
            Event::WriterEnded { .. } => 2,
            Event::PackSealed(_) => 3,
            Event::GroupMade { .. } => 4,
            Event::GroupRetired { .. } => 5,
            Event::PackMoved { .. } => 6,
            Event::PackCondemned { .. } => 7,
            Event::PackDropped { .. } => 8,
            Event::SnapshotAdded { .. } => 9,
            Event::SnapshotForgotten { .. } => 10,
            Event::SnapshotUndeleted { .. } => 11,
            Event::SnapshotTagged { .. } => 12,
            Event::SnapshotPinned { .. } => 13,
            Event::DiskJoined { .. } => 14,
            Event::DiskRetired { .. } => 15,
            Event::Setting { .. } => 16,
            Event::DamageFound { .. } => 17,
            Event::DamageHealed { .. } => 18,
            Event::SnapshotKept { .. } => 19,
            Event::NextSerial { .. } => 20,
            Event::SnapshotDropped { .. } => 21,
            Event::SnapshotResplit { .. } => 22,
            Event::SnapshotWas { .. } => 23,
            Event::ScrubLedger { .. } => 0x8000,
            Event::PackSafer { .. } => 0x8001,
            Event::Unknown { kind, .. } => *kind,
        }
    }

    /// Incompatible feature bits that the entry with this event must have.
    pub fn incompatible(&self) -> u64 {
        match self {
            Event::SnapshotResplit { .. } | Event::SnapshotWas { .. } => RESPLIT,
            _ => 0,
        }
    }

    pub fn encode_into(&self, out: &mut Vec<u8>) {
        let mut p = Vec::with_capacity(128);
        match self {
            Event::WriterBegan { writer, time_ns, verb, host, pid, program, parent } => {
                p.put(&writer.0);
                p.put_i64(*time_ns);
                put_text(&mut p, verb);
                put_text(&mut p, host);
                p.put_u32(*pid);
                put_text(&mut p, program);
                p.put_flag(parent.is_some());
                parent.iter().for_each(|id| p.put(&id.0));
            }
            Event::WriterEnded { writer, outcome } => {
                p.put(&writer.0);
                p.put_u8(*outcome as u8);
            }
            Event::PackSealed(s) => {
                p.put_u32(s.serial);
                p.put(&s.pack.0);
                p.put_u8(s.kind.number());
                p.put(&s.disk.0);
                p.put_u64(s.bytes);
                p.put_u32(s.records);
                p.put_u64(s.plain_bytes);
                p.put_u64(s.stored_bytes);
                p.put(&s.root);
            }
            Event::GroupMade { group, disks } => {
                debug_assert_eq!(group.members.iter().filter(|m| m.parity).count(), disks.len());
                group.encode_into(&mut p);
                disks.iter().for_each(|d| p.put(&d.0));
            }
            Event::GroupRetired { group } => p.put(group),
            Event::PackMoved { pack, from, to } => {
                p.put(&pack.0);
                p.put(&from.0);
                p.put(&to.0);
            }
            Event::PackCondemned { pack }
            | Event::PackDropped { pack }
            | Event::DamageHealed { pack }
            | Event::PackSafer { pack } => p.put(&pack.0),
            Event::SnapshotAdded { record } => p.put(record),
            Event::SnapshotForgotten { id, who, why } => {
                p.put(&id.0);
                put_text(&mut p, who);
                put_text(&mut p, why);
            }
            Event::SnapshotUndeleted { id, who } => {
                p.put(&id.0);
                put_text(&mut p, who);
            }
            Event::SnapshotTagged { id, tagged } => {
                p.put(&id.0);
                tagged.encode_into(&mut p);
            }
            Event::SnapshotPinned { id, pinned } => {
                p.put(&id.0);
                p.put_flag(*pinned);
            }
            Event::DiskJoined { disk, label, serial, domain } => {
                p.put(&disk.0);
                [label, serial, domain].iter().for_each(|t| put_text(&mut p, t));
            }
            Event::DiskRetired { disk } => p.put(&disk.0),
            Event::Setting { key, value } => {
                put_text(&mut p, key);
                put_text(&mut p, value);
            }
            Event::DamageFound { pack, offset, bytes, by } => {
                p.put(&pack.0);
                p.put_u64(*offset);
                p.put_u64(*bytes);
                put_text(&mut p, by);
            }
            Event::SnapshotKept { number, pinned, forgotten, tagged, record } => {
                p.put_u64(*number);
                p.put_flag(*pinned);
                p.put_flag(forgotten.is_some());
                if let Some(f) = forgotten {
                    p.put_u64(f.number);
                    p.put_i64(f.time_ns);
                    put_text(&mut p, &f.who);
                    put_text(&mut p, &f.why);
                }
                p.put_flag(tagged.is_some());
                tagged.iter().for_each(|t| t.encode_into(&mut p));
                p.put_var(record);
            }
            Event::NextSerial { serial } => p.put_u32(*serial),
            Event::SnapshotDropped { id } => p.put(&id.0),
            Event::SnapshotResplit { old, record } => {
                p.put(&old.0);
                p.put(record);
            }
            Event::SnapshotWas { old, new } => {
                p.put(&old.0);
                p.put(&new.0);
            }
            Event::ScrubLedger { pack, time_ns, by } => {
                p.put(&pack.0);
                p.put_i64(*time_ns);
                put_text(&mut p, by);
            }
            Event::Unknown { payload, .. } => p.put(payload),
        }
        out.put_u16(self.kind());
        out.put_u32(u32::try_from(p.len()).expect("texts and records are bounded far below 4 GiB by their makers"));
        out.put(&p);
    }

    /// # Errors
    /// [`crate::Error::Malformed`].
    pub fn decode(r: &mut Reader<'_>) -> Result<Self> {
        let (kind, length) = (r.u16()?, r.u32()? as usize);
        let payload = r.take(length)?;
        let mut p = Reader::new("a log event", payload);
        let event = match kind {
            1 => Event::WriterBegan {
                writer: WriterId(p.array()?),
                time_ns: p.i64()?,
                verb: p.text(TEXT_BYTES)?,
                host: p.text(TEXT_BYTES)?,
                pid: p.u32()?,
                program: p.text(TEXT_BYTES)?,
                parent: if p.flag()? { Some(SnapshotId(p.array()?)) } else { None },
            },
            2 => Event::WriterEnded {
                writer: WriterId(p.array()?),
                outcome: match p.u8()? {
                    0 => Outcome::Done,
                    1 => Outcome::Stopped,
                    2 => Outcome::Superseded,
                    n => return Err(future(format!("outcome {n}"))),
                },
            },
            3 => {
                let (serial, pack) = (p.u32()?, PackId(p.array()?));
                let kind = p.u8()?;
                let kind = PackKind::from_u8(kind).ok_or_else(|| future(format!("packs of kind {kind}")))?;
                let sealed = SealedPack {
                    serial,
                    pack,
                    kind,
                    disk: DiskId(p.array()?),
                    bytes: p.u64()?,
                    records: p.u32()?,
                    plain_bytes: p.u64()?,
                    stored_bytes: p.u64()?,
                    root: p.array()?,
                };
                if serial == 0 || sealed.bytes > limits::PACK_BYTES || sealed.records > limits::PACK_RECORDS {
                    return Err(p.bad("a pack larger than it can be, or without a serial"));
                }
                Event::PackSealed(sealed)
            }
            4 => {
                let group = Group::decode(&mut p)?;
                let parity = group.members.iter().filter(|m| m.parity).count();
                let disks = (0..parity).map(|_| Ok(DiskId(p.array()?))).collect::<Result<_>>()?;
                Event::GroupMade { group, disks }
            }
            5 => Event::GroupRetired { group: p.array()? },
            6 => Event::PackMoved { pack: PackId(p.array()?), from: DiskId(p.array()?), to: DiskId(p.array()?) },
            7 => Event::PackCondemned { pack: PackId(p.array()?) },
            8 => Event::PackDropped { pack: PackId(p.array()?) },
            9 => Event::SnapshotAdded { record: p.take(p.left())?.to_vec() },
            10 => Event::SnapshotForgotten {
                id: SnapshotId(p.array()?),
                who: p.text(TEXT_BYTES)?,
                why: p.text(TEXT_BYTES)?,
            },
            11 => Event::SnapshotUndeleted { id: SnapshotId(p.array()?), who: p.text(TEXT_BYTES)? },
            12 => Event::SnapshotTagged { id: SnapshotId(p.array()?), tagged: Tagged::decode(&mut p)? },
            13 => Event::SnapshotPinned { id: SnapshotId(p.array()?), pinned: p.flag()? },
            14 => Event::DiskJoined {
                disk: DiskId(p.array()?),
                label: p.text(TEXT_BYTES)?,
                serial: p.text(TEXT_BYTES)?,
                domain: p.text(TEXT_BYTES)?,
            },
            15 => Event::DiskRetired { disk: DiskId(p.array()?) },
            16 => Event::Setting { key: p.text(TEXT_BYTES)?, value: p.text(TEXT_BYTES)? },
            17 => Event::DamageFound {
                pack: PackId(p.array()?),
                offset: p.u64()?,
                bytes: p.u64()?,
                by: p.text(TEXT_BYTES)?,
            },
            18 => Event::DamageHealed { pack: PackId(p.array()?) },
            19 => Event::SnapshotKept {
                number: p.u64()?,
                pinned: p.flag()?,
                forgotten: if p.flag()? {
                    Some(Forgotten {
                        number: p.u64()?,
                        time_ns: p.i64()?,
                        who: p.text(TEXT_BYTES)?,
                        why: p.text(TEXT_BYTES)?,
                    })
                } else {
                    None
                },
                tagged: if p.flag()? { Some(Tagged::decode(&mut p)?) } else { None },
                record: p.var_bytes(usize::MAX)?.to_vec(),
            },
            20 => Event::NextSerial { serial: p.u32()? },
            21 => Event::SnapshotDropped { id: SnapshotId(p.array()?) },
            22 => Event::SnapshotResplit { old: SnapshotId(p.array()?), record: p.take(p.left())?.to_vec() },
            23 => Event::SnapshotWas { old: SnapshotId(p.array()?), new: SnapshotId(p.array()?) },
            0x8000 => Event::ScrubLedger { pack: PackId(p.array()?), time_ns: p.i64()?, by: p.text(TEXT_BYTES)? },
            0x8001 => Event::PackSafer { pack: PackId(p.array()?) },
            0x8002.. => Event::Unknown { kind, payload: p.take(p.left())?.to_vec() },
            _ => return Err(future(format!("event {kind}"))),
        };
        p.end()?;
        Ok(event)
    }
}

#[cfg(test)]
pub(crate) fn samples() -> Vec<Event> {
    let (pack, disk, snap) = (PackId::new(WriterId([2; 8]), 7), DiskId([3; 16]), SnapshotId([4; 32]));
    let text = || "text é".to_owned();
    vec![
        Event::WriterBegan {
            writer: WriterId([1; 8]),
            time_ns: 7,
            verb: text(),
            host: text(),
            pid: 5,
            program: text(),
            parent: Some(snap),
        },
        Event::WriterBegan {
            writer: WriterId([1; 8]),
            time_ns: 7,
            verb: text(),
            host: text(),
            pid: 5,
            program: text(),
            parent: None,
        },
        Event::WriterEnded { writer: WriterId([1; 8]), outcome: Outcome::Superseded },
        Event::PackSealed(SealedPack {
            serial: 1,
            pack,
            kind: PackKind::Metadata,
            disk,
            bytes: 1000,
            records: 3,
            plain_bytes: 900,
            stored_bytes: 800,
            root: [6; 32],
        }),
        Event::GroupMade { group: super::group::sample(), disks: vec![DiskId([4; 16])] },
        Event::GroupRetired { group: [7; 16] },
        Event::PackMoved { pack, from: disk, to: DiskId([9; 16]) },
        Event::PackCondemned { pack },
        Event::PackDropped { pack },
        Event::SnapshotAdded { record: super::snapshot::sample().encode() },
        Event::SnapshotForgotten { id: snap, who: text(), why: text() },
        Event::SnapshotUndeleted { id: snap, who: text() },
        Event::SnapshotTagged { id: snap, tagged: Tagged { name: Some(text()), tags: vec![text(), text()] } },
        Event::SnapshotPinned { id: snap, pinned: true },
        Event::DiskJoined { disk, label: text(), serial: text(), domain: text() },
        Event::DiskRetired { disk },
        Event::Setting { key: text(), value: text() },
        Event::DamageFound { pack, offset: 77, bytes: 5, by: text() },
        Event::DamageHealed { pack },
        Event::SnapshotKept {
            number: 9,
            pinned: true,
            forgotten: Some(Forgotten { number: 10, time_ns: 11, who: text(), why: text() }),
            tagged: Some(Tagged { name: None, tags: vec![text()] }),
            record: super::snapshot::sample().encode(),
        },
        Event::SnapshotKept { number: 9, pinned: false, forgotten: None, tagged: None, record: vec![] },
        Event::NextSerial { serial: 77 },
        Event::SnapshotDropped { id: snap },
        Event::SnapshotResplit { old: snap, record: super::snapshot::sample().encode() },
        Event::SnapshotWas { old: snap, new: SnapshotId([5; 32]) },
        Event::ScrubLedger { pack, time_ns: -5, by: text() },
        Event::PackSafer { pack },
        Event::Unknown { kind: 0x9000, payload: vec![1, 2, 3] },
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_event_comes_back_and_no_prefix_passes() {
        for event in samples() {
            let mut b = Vec::new();
            event.encode_into(&mut b);
            let mut r = Reader::new("t", &b);
            assert_eq!(Event::decode(&mut r).unwrap(), event);
            r.end().unwrap();
            for n in 0..b.len() {
                assert!(Event::decode(&mut Reader::new("t", &b[..n])).is_err(), "{event:?} cut at {n}");
            }
            for bit in 0..b.len() * 8 {
                let mut bad = b.clone();
                bad[bit / 8] ^= 1 << (bit % 8);
                let _ = Event::decode(&mut Reader::new("t", &bad)); // any answer but a panic
            }
        }
    }

    #[test]
    fn a_snapshot_that_was_split_anew_is_told_in_these_bytes() {
        let mut out = Vec::new();
        Event::SnapshotResplit { old: SnapshotId([4; 32]), record: vec![1, 2, 3] }.encode_into(&mut out);
        Event::SnapshotWas { old: SnapshotId([4; 32]), new: SnapshotId([5; 32]) }.encode_into(&mut out);
        let want =
            [&[22, 0, 35, 0, 0, 0][..], &[4; 32], &[1, 2, 3], &[23, 0, 64, 0, 0, 0], &[4; 32], &[5; 32]].concat();
        assert_eq!(out, want);
    }

    #[test]
    fn an_unknown_event_that_changes_what_lives_is_refused() {
        let mut b = Vec::new();
        b.put_u16(0x7000);
        b.put_u32(0);
        assert!(Event::decode(&mut Reader::new("t", &b)).is_err());
    }
}
