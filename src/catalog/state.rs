//! What the log means: packs, snapshots, disks, writers, settings, damage.
//!
//! The state is the fold of the log's entries. An entry that contradicts what came before is refused
//! whole: a log that was proven by its hashes and still says impossible things was written by a later
//! version or by a mistake, and going on would make it worse. Memory: about 230 bytes a pack, so 280 MB at 300 TB in
//! packs of 256 MiB.

use crate::error::{Error, Result};
use crate::format::event::{Event, Forgotten, Outcome, SealedPack, Tagged};
use crate::format::footer::PackKind;
use crate::format::log::LogEntry;
use crate::format::snapshot::Snapshot;
use crate::format::superblock::KNOWN_READ_ONLY;
use crate::format::{DiskId, EntryHash, PackId, SnapshotId, StoreId, WriterId};
use crate::io::threads::simulated_or;
use std::collections::{BTreeMap, BTreeSet, HashMap};

mod groups;

pub use groups::{
    COPIES_MAX, GROUP_WIDTH, GROUP_WIDTH_MAX, GroupMember, GroupState, PARITY_MAX, SETTING_COPIES, SETTING_GROUP,
    SETTING_PARITY, SETTING_SHARED, Wanted,
};

/// A pack that the log knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PackState {
    pub sealed: SealedPack,
    pub condemned: bool,
}

/// A snapshot that the log knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotState {
    /// As it is now: with the name and tags that it was given since.
    pub snapshot: Snapshot,
    /// As it was added, fields of later versions included: its hash is the id.
    pub record: Vec<u8>,
    pub tagged: Option<Tagged>,
    /// The log's number of the entry that added it: the order of snapshots.
    pub number: u64,
    pub forgotten: Option<Forgotten>,
    pub pinned: bool,
}

impl SnapshotState {
    fn tag(&mut self, tagged: &Tagged) {
        self.snapshot.name.clone_from(&tagged.name);
        self.snapshot.tags.clone_from(&tagged.tags);
        self.tagged = Some(tagged.clone());
    }
}

/// A disk that the log knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiskState {
    pub label: String,
    pub serial: String,
    pub domain: String,
    pub retired: bool,
}

/// A writer that began and did not end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WriterState {
    pub verb: String,
    pub host: String,
    pub pid: u32,
    pub program: String,
    pub parent: Option<SnapshotId>,
    pub time_ns: i64,
}

/// Bytes of a pack that were found damaged; `bytes` 0 stands for all of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    pub offset: u64,
    pub bytes: u64,
    pub by: String,
}

/// What exists, after entry `number`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogState {
    pub store: StoreId,
    pub number: u64,
    pub hash: EntryHash,
    pub time_ns: i64,
    /// The newest checkpoint, and how many bytes of entries came after it.
    pub checkpoint: u64,
    pub bytes_since_checkpoint: u64,
    pub checkpoint_bytes: u64,
    /// Feature bits in use: incompatible, read-only-compatible.
    pub features: (u64, u64),
    /// Live and condemned packs by serial. A dropped pack is gone.
    packs: BTreeMap<u32, PackState>,
    serials: HashMap<PackId, u32>,
    next_serial: u32,
    snapshots: BTreeMap<SnapshotId, SnapshotState>,
    /// Ids under which snapshots were known before their files were split anew, and their ids now. None of the old ones is
    /// live, each of the new ones is there.
    aliases: BTreeMap<SnapshotId, SnapshotId>,
    /// The same, from the ids now: there may be very many.
    formerly: BTreeMap<SnapshotId, BTreeSet<SnapshotId>>,
    pub disks: BTreeMap<DiskId, DiskState>,
    pub writers: BTreeMap<WriterId, WriterState>,
    pub settings: BTreeMap<String, String>,
    groups: BTreeMap<[u8; 16], GroupState>,
    /// The newest group of each pack that is in one, parity packs included.
    in_group: HashMap<PackId, [u8; 16]>,
    pub damage: BTreeMap<PackId, Vec<Damage>>,
    pub scrubbed: BTreeMap<PackId, (i64, String)>,
    /// Facts of later versions that may be passed over; checkpoints keep them.
    unknown: Vec<Event>,
}

/// What the log says of a pack that was sealed: that it exists and, where it is so, that it is held safer.
pub fn sealed_events(sealed: SealedPack) -> impl Iterator<Item = Event> {
    let pack = sealed.pack;
    let safer = (sealed.kind == PackKind::Shared).then_some(Event::PackSafer { pack });
    let kind = if safer.is_some() { PackKind::Data } else { sealed.kind };
    std::iter::once(Event::PackSealed(SealedPack { kind, ..sealed })).chain(safer)
}

fn contradiction(number: u64, why: &'static str) -> Error {
    Error::Malformed { what: "the log's meaning", offset: number, why }
}

impl LogState {
    /// The state before the first entry.
    pub fn empty(store: StoreId) -> Self {
        LogState {
            store,
            number: 0,
            hash: EntryHash([0; 32]),
            time_ns: i64::MIN,
            checkpoint: 0,
            bytes_since_checkpoint: 0,
            checkpoint_bytes: 0,
            features: (0, 0),
            packs: BTreeMap::new(),
            serials: HashMap::new(),
            next_serial: 1,
            snapshots: BTreeMap::new(),
            aliases: BTreeMap::new(),
            formerly: BTreeMap::new(),
            disks: BTreeMap::new(),
            writers: BTreeMap::new(),
            settings: BTreeMap::new(),
            groups: BTreeMap::new(),
            in_group: HashMap::new(),
            damage: BTreeMap::new(),
            scrubbed: BTreeMap::new(),
            unknown: Vec::new(),
        }
    }

    /// The state after `entry`, which is `bytes` long and has this hash. A checkpoint starts anew.
    ///
    /// # Errors
    /// [`Error::Malformed`] where the entry does not follow or contradicts. The state is unusable then.
    pub fn apply(&mut self, entry: &LogEntry, hash: EntryHash, bytes: u64) -> Result<()> {
        let is_checkpoint = entry.checkpoint == entry.number;
        if entry.store != self.store {
            return Err(contradiction(entry.number, "it belongs to another store"));
        }
        if is_checkpoint {
            *self = LogState::empty(self.store);
        } else if entry.number != self.number + 1 || entry.previous != self.hash || entry.checkpoint != self.checkpoint
        {
            return Err(contradiction(entry.number, "it does not follow the entry before"));
        } else if entry.time_ns <= self.time_ns {
            return Err(contradiction(entry.number, "it is not later than the entry before"));
        }
        for event in &entry.events {
            if event.incompatible() & !entry.features.0 != 0 {
                return Err(contradiction(entry.number, "an event stands there without the feature that it needs"));
            }
            self.event(event, entry)?;
        }
        self.number = entry.number;
        self.hash = hash;
        self.time_ns = entry.time_ns;
        self.checkpoint = entry.checkpoint;
        self.features = (self.features.0 | entry.features.0, self.features.1 | entry.features.1);
        if is_checkpoint {
            self.checkpoint_bytes = bytes;
        } else {
            self.bytes_since_checkpoint += bytes;
        }
        Ok(())
    }

    fn event(&mut self, event: &Event, entry: &LogEntry) -> Result<()> {
        let number = entry.number;
        let no = |why| contradiction(number, why);
        match event {
            Event::WriterBegan { writer, time_ns, verb, host, pid, program, parent } => {
                let state = WriterState {
                    verb: verb.clone(),
                    host: host.clone(),
                    pid: *pid,
                    program: program.clone(),
                    parent: *parent,
                    time_ns: *time_ns,
                };
                if self.writers.insert(*writer, state).is_some() {
                    return Err(no("a writer begins twice"));
                }
            }
            Event::WriterEnded { writer, outcome: Outcome::Done | Outcome::Stopped | Outcome::Superseded } => {
                self.writers.remove(writer).ok_or_else(|| no("a writer ends that never began"))?;
            }
            Event::PackSealed(sealed) => {
                if sealed.serial < self.next_serial || self.serials.contains_key(&sealed.pack) {
                    return Err(no("a pack is sealed twice"));
                }
                self.next_serial = sealed.serial.checked_add(1).ok_or_else(|| no("serials have run out"))?;
                self.serials.insert(sealed.pack, sealed.serial);
                self.packs.insert(sealed.serial, PackState { sealed: *sealed, condemned: false });
            }
            Event::PackSafer { pack } => {
                // One that a program that does not know this event has dropped since is passed over.
                if let Some(state) = self.pack_mut(pack).filter(|p| p.sealed.kind == PackKind::Data) {
                    state.sealed.kind = PackKind::Shared;
                }
            }
            Event::PackMoved { pack, from, to } => {
                let place = match self.pack_mut(pack) {
                    Some(state) => Some(&mut state.sealed.disk),
                    None => self.parity_disk_mut(pack),
                };
                let disk = place.ok_or_else(|| no("a pack is moved that there is not"))?;
                if disk != from {
                    return Err(no("a pack is moved from where it is not"));
                }
                *disk = *to;
            }
            Event::PackCondemned { pack } => {
                self.pack_mut(pack).ok_or_else(|| no("a pack is condemned that there is not"))?.condemned = true;
            }
            Event::PackDropped { pack } => {
                if self.in_group.contains_key(pack) {
                    return Err(no("a pack is dropped that its group counts on"));
                }
                let serial = self.serials.remove(pack).ok_or_else(|| no("a pack is dropped that there is not"))?;
                self.packs.remove(&serial);
                self.damage.remove(pack);
                self.scrubbed.remove(pack);
            }
            Event::GroupMade { group, disks } => self.group_made(group, disks).map_err(no)?,
            Event::GroupRetired { group } => self.group_retired(group).map_err(no)?,
            Event::SnapshotAdded { record } => {
                let id = Snapshot::id_of(record);
                if self.aliases.contains_key(&id) {
                    return Err(no("a snapshot is added whose place another one has"));
                }
                let snapshot = Snapshot::decode(record)?;
                let record = record.clone();
                let state = SnapshotState { snapshot, record, tagged: None, number, forgotten: None, pinned: false };
                self.snapshots.insert(id, state);
            }
            Event::SnapshotForgotten { id, who, why } => {
                let forgotten = Forgotten { who: who.clone(), why: why.clone(), number, time_ns: entry.time_ns };
                self.snapshot_mut(id, number)?.forgotten = Some(forgotten);
            }
            Event::SnapshotUndeleted { id, .. } => {
                if self.aliases.contains_key(id) {
                    return Err(no("a snapshot is undeleted whose place another one has"));
                }
                self.snapshot_mut(id, number)?.forgotten = None;
            }
            Event::SnapshotDropped { id } => {
                if self.snapshot_mut(id, number)?.forgotten.is_none() {
                    return Err(no("a snapshot is dropped that is not forgotten"));
                }
                self.snapshots.remove(id);
                for old in self.formerly.remove(id).unwrap_or_default() {
                    self.aliases.remove(&old);
                }
            }
            Event::SnapshotResplit { old, record } => self.resplit(old, record, entry)?,
            Event::SnapshotWas { old, new } => {
                let is_live = self.snapshots.get(old).is_some_and(|s| s.forgotten.is_none());
                if is_live || old == new || !self.snapshots.contains_key(new) {
                    return Err(no("a snapshot was another one that cannot be"));
                }
                if let Some(all) = self.aliases.insert(*old, *new).and_then(|before| self.formerly.get_mut(&before)) {
                    all.remove(old);
                }
                self.formerly.entry(*new).or_default().insert(*old);
            }
            Event::SnapshotTagged { id, tagged } => self.snapshot_mut(id, number)?.tag(tagged),
            Event::SnapshotPinned { id, pinned } => self.snapshot_mut(id, number)?.pinned = *pinned,
            Event::SnapshotKept { number, pinned, forgotten, tagged, record } => {
                let snapshot = Snapshot::decode(record)?;
                let (number, pinned, forgotten) = (*number, *pinned, forgotten.clone());
                let mut state =
                    SnapshotState { snapshot, record: record.clone(), tagged: None, number, forgotten, pinned };
                tagged.iter().for_each(|t| state.tag(t));
                self.snapshots.insert(Snapshot::id_of(record), state);
            }
            Event::NextSerial { serial } => self.next_serial = self.next_serial.max(*serial),
            Event::DiskJoined { disk, label, serial, domain } => {
                let state =
                    DiskState { label: label.clone(), serial: serial.clone(), domain: domain.clone(), retired: false };
                self.disks.insert(*disk, state);
            }
            Event::DiskRetired { disk } => {
                self.disks.get_mut(disk).ok_or_else(|| no("a disk is retired that never joined"))?.retired = true;
            }
            Event::Setting { key, value } => {
                self.settings.insert(key.clone(), value.clone());
            }
            Event::DamageFound { pack, offset, bytes, by } => {
                let list = self.damage.entry(*pack).or_default();
                let damage = Damage { offset: *offset, bytes: *bytes, by: by.clone() };
                if !list.iter().any(|d| d.offset == *offset && d.bytes == *bytes) {
                    list.push(damage);
                }
            }
            Event::DamageHealed { pack } => {
                self.damage.remove(pack);
            }
            Event::ScrubLedger { pack, time_ns, by } => {
                self.scrubbed.insert(*pack, (*time_ns, by.clone()));
            }
            Event::Unknown { .. } => self.unknown.push(event.clone()),
        }
        Ok(())
    }

    /// Puts a snapshot with another tree in the place of a live one.
    fn resplit(&mut self, old: &SnapshotId, record: &[u8], entry: &LogEntry) -> Result<()> {
        let no = |why| contradiction(entry.number, why);
        let new = Snapshot::id_of(record);
        if self.snapshots.contains_key(&new) || self.aliases.contains_key(&new) {
            return Err(no("a snapshot takes an id that another one has"));
        }
        let was = self.snapshot_mut(old, entry.number)?;
        if was.forgotten.is_some() {
            return Err(no("a snapshot is split anew that is forgotten"));
        }
        if !Snapshot::is_resplit(&was.record, record)? {
            return Err(no("a snapshot that is split anew differs in more than its tree"));
        }
        let mut state = SnapshotState {
            snapshot: Snapshot::decode(record)?,
            record: record.to_vec(),
            tagged: None,
            number: was.number,
            forgotten: None,
            pinned: std::mem::take(&mut was.pinned),
        };
        was.tagged.iter().for_each(|t| state.tag(t));
        was.forgotten = Some(Forgotten {
            number: entry.number,
            time_ns: entry.time_ns,
            who: "compact --resplit".into(),
            why: format!("split anew as {new}"),
        });
        self.snapshots.insert(new, state);
        let mut all = self.formerly.remove(old).unwrap_or_default();
        all.insert(*old);
        self.aliases.extend(all.iter().map(|id| (*id, new)));
        self.formerly.insert(new, all);
        Ok(())
    }

    fn pack_mut(&mut self, pack: &PackId) -> Option<&mut PackState> {
        self.packs.get_mut(self.serials.get(pack)?)
    }

    fn snapshot_mut(&mut self, id: &SnapshotId, number: u64) -> Result<&mut SnapshotState> {
        self.snapshots.get_mut(id).ok_or_else(|| contradiction(number, "a snapshot is named that there is not"))
    }

    /// Events that recreate this state from nothing.
    pub fn checkpoint_events(&self) -> Vec<Event> {
        let mut out = Vec::new();
        for (disk, d) in &self.disks {
            out.push(Event::DiskJoined {
                disk: *disk,
                label: d.label.clone(),
                serial: d.serial.clone(),
                domain: d.domain.clone(),
            });
            if d.retired {
                out.push(Event::DiskRetired { disk: *disk });
            }
        }
        out.extend(self.settings.iter().map(|(key, value)| Event::Setting { key: key.clone(), value: value.clone() }));
        for p in self.packs.values() {
            out.extend(sealed_events(p.sealed));
            if p.condemned {
                out.push(Event::PackCondemned { pack: p.sealed.pack });
            }
        }
        out.push(Event::NextSerial { serial: self.next_serial });
        for s in self.snapshots.values() {
            out.push(Event::SnapshotKept {
                number: s.number,
                pinned: s.pinned,
                forgotten: s.forgotten.clone(),
                tagged: s.tagged.clone(),
                record: s.record.clone(),
            });
        }
        out.extend(self.aliases.iter().map(|(old, new)| Event::SnapshotWas { old: *old, new: *new }));
        let groups = self.groups.values();
        out.extend(groups.map(|g| Event::GroupMade { group: g.group.clone(), disks: g.parity_disks.clone() }));
        for (writer, w) in &self.writers {
            out.push(Event::WriterBegan {
                writer: *writer,
                time_ns: w.time_ns,
                verb: w.verb.clone(),
                host: w.host.clone(),
                pid: w.pid,
                program: w.program.clone(),
                parent: w.parent,
            });
        }
        for (pack, list) in &self.damage {
            out.extend(list.iter().map(|d| Event::DamageFound {
                pack: *pack,
                offset: d.offset,
                bytes: d.bytes,
                by: d.by.clone(),
            }));
        }
        out.extend(self.scrubbed.iter().map(|(pack, (time_ns, by))| Event::ScrubLedger {
            pack: *pack,
            time_ns: *time_ns,
            by: by.clone(),
        }));
        out.extend(self.unknown.iter().cloned());
        out
    }

    /// Whether this version may append to such a log.
    pub fn may_write(&self) -> bool {
        self.features.1 & !KNOWN_READ_ONLY == 0
    }

    /// Whether the entries since the last checkpoint outweigh it: folding them then costs no more than
    /// they did.
    pub fn wants_checkpoint(&self) -> bool {
        const AT_LEAST: u64 = 4 << 20;
        self.bytes_since_checkpoint > self.checkpoint_bytes.max(simulated_or(6 << 10, AT_LEAST))
    }

    /// The serial that the next sealed pack gets.
    pub fn next_serial(&self) -> u32 {
        self.next_serial
    }

    pub fn pack(&self, serial: u32) -> Option<&PackState> {
        self.packs.get(&serial)
    }

    pub fn pack_by_id(&self, pack: &PackId) -> Option<&PackState> {
        self.packs.get(self.serials.get(pack)?)
    }

    /// Whether a disk was taken out of the store for good.
    pub fn is_retired(&self, disk: &DiskId) -> bool {
        self.disks.get(disk).is_some_and(|d| d.retired)
    }

    /// Packs in order of serial, from `first` on.
    pub fn packs_from(&self, first: u32) -> impl Iterator<Item = &PackState> {
        self.packs.range(first..).map(|(_, p)| p)
    }

    pub fn packs(&self) -> impl Iterator<Item = &PackState> {
        self.packs.values()
    }

    pub fn pack_count(&self) -> usize {
        self.packs.len()
    }

    /// Snapshots that are not forgotten, oldest first by the log's order.
    pub fn live_snapshots(&self) -> Vec<(SnapshotId, &SnapshotState)> {
        let mut list: Vec<_> =
            self.snapshots.iter().filter(|(_, s)| s.forgotten.is_none()).map(|(id, s)| (*id, s)).collect();
        list.sort_by_key(|(id, s)| (s.number, *id));
        list
    }

    /// Snapshots that are forgotten and not given up yet, oldest first by the log's order.
    pub fn forgotten_snapshots(&self) -> Vec<(SnapshotId, &SnapshotState)> {
        let mut list: Vec<_> =
            self.snapshots.iter().filter(|(_, s)| s.forgotten.is_some()).map(|(id, s)| (*id, s)).collect();
        list.sort_by_key(|(id, s)| (s.number, *id));
        list
    }

    pub fn snapshot(&self, id: &SnapshotId) -> Option<&SnapshotState> {
        self.snapshots.get(id)
    }

    /// The live snapshot, or the forgotten one, that has the place of `id` now: itself, if its files were never split anew.
    pub fn now(&self, id: &SnapshotId) -> SnapshotId {
        self.aliases.get(id).copied().unwrap_or(*id)
    }

    /// Ids under which snapshots were known before their files were split anew, and what each is now.
    pub fn aliases(&self) -> impl Iterator<Item = (&SnapshotId, &SnapshotId)> {
        self.aliases.iter()
    }

    /// Whether a record of this pack at `offset`, `bytes` long, lies on damage that was found.
    pub fn is_damaged(&self, pack: &PackId, offset: u64, bytes: u64) -> bool {
        self.damage.get(pack).is_some_and(|list| {
            list.iter().any(|d| {
                d.bytes == 0 || (d.offset < offset.saturating_add(bytes) && offset < d.offset.saturating_add(d.bytes))
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::WriterId;
    use crate::format::footer::PackKind;

    const STORE: StoreId = StoreId([1; 16]);

    fn entry(state: &LogState, events: Vec<Event>) -> LogEntry {
        let number = state.number + 1;
        LogEntry {
            store: STORE,
            number,
            previous: state.hash,
            time_ns: number as i64,
            checkpoint: state.checkpoint.max(1),
            features: (events.iter().fold(state.features.0, |bits, e| bits | e.incompatible()), 0),
            events,
        }
    }

    pub(super) fn apply(state: &mut LogState, events: Vec<Event>) -> Result<()> {
        let mut e = entry(state, events);
        if state.number == 0 {
            e.checkpoint = 1;
        }
        let (bytes, hash) = e.encode();
        state.apply(&e, hash, bytes.len() as u64)
    }

    pub(super) fn sealed(serial: u32) -> Event {
        Event::PackSealed(SealedPack {
            serial,
            pack: PackId::new(WriterId([9; 8]), serial),
            kind: PackKind::Data,
            disk: DiskId([2; 16]),
            bytes: 1000,
            records: 3,
            plain_bytes: 900,
            stored_bytes: 800,
            root: [serial as u8; 32],
        })
    }

    pub(super) fn lively() -> LogState {
        let mut s = LogState::empty(STORE);
        let writer = WriterId([5; 8]);
        let record = crate::format::snapshot::sample().encode();
        let id = Snapshot::id_of(&record);
        let disk = DiskId([2; 16]);
        let join = Event::DiskJoined { disk, label: "a".into(), serial: "s".into(), domain: String::new() };
        apply(&mut s, vec![join, Event::Setting { key: "parity".into(), value: "0".into() }]).unwrap();
        let began = Event::WriterBegan {
            writer,
            time_ns: 3,
            verb: "backup".into(),
            host: "h".into(),
            pid: 1,
            program: "p".into(),
            parent: None,
        };
        apply(&mut s, vec![began, sealed(1), sealed(2), sealed(5)]).unwrap();
        apply(&mut s, vec![Event::PackDropped { pack: PackId::new(WriterId([9; 8]), 5) }]).unwrap();
        apply(&mut s, vec![Event::SnapshotAdded { record }]).unwrap();
        apply(&mut s, vec![Event::SnapshotTagged { id, tagged: Tagged { name: None, tags: vec!["x".into()] } }])
            .unwrap();
        apply(&mut s, vec![Event::SnapshotForgotten { id, who: "w".into(), why: "y".into() }]).unwrap();
        // Another one, split anew twice.
        let mut other = Snapshot { time_ns: 1, name: None, ..crate::format::snapshot::sample() }.encode();
        apply(&mut s, vec![Event::SnapshotAdded { record: other.clone() }]).unwrap();
        let id = Snapshot::id_of(&other);
        let tagged = Tagged { name: Some("n".into()), tags: vec!["y".into()] };
        apply(&mut s, vec![Event::SnapshotTagged { id, tagged }, Event::SnapshotPinned { id, pinned: true }]).unwrap();
        for n in 0..2 {
            let tree = crate::format::node::MapRoot::Inline(vec![n; 3]);
            let record = Snapshot::with_tree(&other, &tree, "new").unwrap();
            apply(&mut s, vec![Event::SnapshotResplit { old: Snapshot::id_of(&other), record: record.clone() }])
                .unwrap();
            other = record;
        }
        let pack = PackId::new(WriterId([9; 8]), 1);
        apply(&mut s, vec![Event::DamageFound { pack, offset: 100, bytes: 50, by: "check".into() }]).unwrap();
        apply(&mut s, vec![Event::PackSafer { pack: PackId::new(WriterId([9; 8]), 2) }]).unwrap();
        s
    }

    #[test]
    fn a_checkpoint_recreates_the_state() {
        let mut s = lively();
        let events = s.checkpoint_events();
        let mut e = entry(&s, events);
        e.checkpoint = e.number;
        let (bytes, hash) = e.encode();
        let mut again = LogState::empty(STORE);
        again.apply(&e, hash, bytes.len() as u64).unwrap();
        (s.number, s.hash, s.time_ns, s.checkpoint) = (e.number, hash, e.time_ns, e.number);
        (s.checkpoint_bytes, s.bytes_since_checkpoint) = (bytes.len() as u64, 0);
        assert_eq!(again, s);
        assert_eq!(again.next_serial(), 6, "serials of dropped packs are never used again");
    }

    #[test]
    fn a_snapshot_that_was_split_anew_has_all_that_was_said_of_the_one_before() {
        let s = lively();
        let (live, aliases) = (s.live_snapshots(), s.aliases().collect::<Vec<_>>());
        let [(id, state)] = live[..] else { panic!("one is live") };
        assert!(aliases.len() == 2 && aliases.iter().all(|(old, new)| **new == id && s.now(old) == id));
        assert!(state.pinned && state.snapshot.name.as_deref() == Some("n") && state.snapshot.tags == ["y"]);
        let old: Vec<_> = aliases.iter().map(|(old, _)| s.snapshot(old).unwrap()).collect();
        assert!(old.iter().all(|o| o.forgotten.is_some() && !o.pinned && o.number == state.number));
        let mut gone = s.clone();
        apply(&mut gone, vec![Event::SnapshotDropped { id: *aliases[0].0 }]).unwrap();
        assert_eq!(gone.now(aliases[0].0), id, "what it was is given up, its id leads on");
        let forget = Event::SnapshotForgotten { id, who: "w".into(), why: "y".into() };
        apply(&mut gone, vec![forget, Event::SnapshotDropped { id }]).unwrap();
        assert_eq!(gone.aliases().count(), 0);
    }

    #[test]
    fn an_event_without_the_feature_that_it_needs_is_refused() {
        let s = lively();
        let (old, new) = s.aliases().next().unwrap();
        let mut e = entry(&s, vec![Event::SnapshotWas { old: *old, new: *new }]);
        assert!(s.clone().apply(&e, EntryHash([0; 32]), 1).is_ok());
        e.features.0 = 0;
        assert!(s.clone().apply(&e, EntryHash([0; 32]), 1).is_err());
    }

    #[test]
    fn a_pack_that_is_held_safer_is_told_by_an_event_that_others_pass_over() {
        let mut s = lively();
        let known = s.pack(2).unwrap().sealed;
        assert_eq!((known.kind, s.pack(1).unwrap().sealed.kind), (PackKind::Shared, PackKind::Data));
        let [Event::PackSealed(plain), Event::PackSafer { pack }] = &sealed_events(known).collect::<Vec<_>>()[..]
        else {
            panic!("two events");
        };
        assert_eq!((plain.kind, *pack), (PackKind::Data, known.pack));
        // A program that passed the event over may have dropped the pack, and a checkpoint of its own keeps the event.
        apply(&mut s, vec![Event::PackDropped { pack: known.pack }]).unwrap();
        apply(&mut s, vec![Event::PackSafer { pack: known.pack }]).unwrap();
        assert!(s.pack(2).is_none());
    }

    #[test]
    fn contradictions_are_refused() {
        let writer = WriterId([5; 8]);
        let pack = PackId::new(WriterId([9; 8]), 77);
        let bad: Vec<Event> = vec![
            sealed(1),
            Event::PackDropped { pack },
            Event::PackCondemned { pack },
            Event::WriterEnded { writer: WriterId([6; 8]), outcome: Outcome::Done },
            Event::WriterBegan {
                writer,
                time_ns: 0,
                verb: String::new(),
                host: String::new(),
                pid: 0,
                program: String::new(),
                parent: None,
            },
            Event::SnapshotForgotten { id: SnapshotId([0; 32]), who: String::new(), why: String::new() },
            Event::SnapshotDropped { id: SnapshotId([0; 32]) },
            Event::DiskRetired { disk: DiskId([7; 16]) },
            Event::GroupRetired { group: [0; 16] },
        ];
        for event in bad {
            assert!(apply(&mut lively(), vec![event.clone()]).is_err(), "{event:?}");
        }
        let s = lively();
        for change in [
            |e: &mut LogEntry| e.number += 1,
            |e: &mut LogEntry| e.previous = EntryHash([9; 32]),
            |e: &mut LogEntry| e.time_ns = 0,
            |e: &mut LogEntry| e.store = StoreId([8; 16]),
        ] {
            let mut e = entry(&s, vec![]);
            change(&mut e);
            assert!(s.clone().apply(&e, EntryHash([0; 32]), 1).is_err());
        }
    }

    #[test]
    fn damage_is_met_by_overlap() {
        let s = lively();
        let pack = PackId::new(WriterId([9; 8]), 1);
        assert!(s.is_damaged(&pack, 90, 11) && s.is_damaged(&pack, 149, 1) && s.is_damaged(&pack, 0, 1000));
        assert!(!s.is_damaged(&pack, 90, 10) && !s.is_damaged(&pack, 150, 10));
        assert!(!s.is_damaged(&PackId::new(WriterId([9; 8]), 2), 100, 50));
    }
}
