//! disks: the shelf and the store's state at a glance, and what to do next.
//!
//! Nothing here reads a chunk: it is the log's word, the disks' room, and which disks are here.

use super::snapshots::{self, SnapshotInfo};
use crate::catalog::state::{LogState, WriterState};
use crate::error::Result;
use crate::format::event::SealedPack;
use crate::format::text::KnownDisk;
use crate::format::{ChunkId, DiskId, PackId};
use crate::io::source;
use crate::pool::disk::Disk;
use crate::pool::{PackStore, path_of};
use crate::store::Store;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Per cent of a shelf's room below which it is nearly full.
const NEARLY_FULL_PER_CENT: u64 = 5;
/// A newest snapshot older than this is worth a word.
const OLD_NS: i64 = 7 * DAY_NS;
const DAY_NS: i64 = 86_400_000_000_000;
/// Damaged packs whose tables are read to see whether their chunks are stored elsewhere by now.
const DAMAGED_LOOKED_AT: usize = 64;

/// How a disk is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DiskState {
    Healthy,
    /// Not at any place that is known.
    Missing,
    /// A write, a sync, or the question for its room failed, now or in an earlier run, and nobody looked at it since.
    Suspect,
    /// Its log is older than the store's; the next writer brings it up to date.
    Stale,
    /// No room for another pack beyond its reserve.
    Full,
}

/// A disk of the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiskInfo {
    pub id: DiskId,
    pub label: String,
    /// Where it is, or was last; empty where that is not known.
    pub path: PathBuf,
    pub state: DiskState,
    /// Serial number of its drive; empty where that is not known.
    pub serial: String,
    /// Live packs on it, and their bytes.
    pub packs: u64,
    pub pack_bytes: u64,
    pub total_bytes: u64,
    pub free_bytes: u64,
    /// `free_bytes` less the disk's reserve.
    pub usable_bytes: u64,
}

/// Whether someone has to act.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Health {
    Good,
    /// Something is away or not as it should be; nothing is known to be lost.
    Attention,
    /// Damage is known that no copy makes good.
    Lost,
}

/// The store at a glance.
#[derive(Clone, Debug)]
pub struct StatusReport {
    pub disks: Vec<DiskInfo>,
    pub newest: Option<SnapshotInfo>,
    /// Snapshots that are not forgotten.
    pub snapshots: u64,
    /// Bytes of all live packs.
    pub stored_bytes: u64,
    /// Bytes that can still be stored, parity taken off. Disks on one filesystem share its room.
    pub fits_bytes: u64,
    /// How many disks the store is set to lose.
    pub parity: u32,
    /// How many more disks may be lost now before a pack is; `None` where one cannot be had already.
    pub tolerates: Option<u32>,
    /// Packs that may lose fewer disks than the store is set to.
    pub short_packs: u64,
    /// Writers at work or dead, one line each.
    pub running: Vec<String>,
    /// Packs with known damage.
    pub damage: u64,
    /// The least memory budget that this store is meant to be used with.
    pub memory_floor_bytes: u64,
    /// What to do next, most urgent first.
    pub next: Vec<String>,
    pub health: Health,
}

/// Packs and their bytes by disk.
fn stored(state: &LogState) -> BTreeMap<DiskId, (u64, u64)> {
    let mut by_disk: BTreeMap<DiskId, (u64, u64)> = BTreeMap::new();
    for p in state.packs() {
        let (packs, bytes) = by_disk.entry(p.sealed.disk).or_default();
        *packs += 1;
        *bytes = bytes.saturating_add(p.sealed.bytes);
    }
    by_disk
}

/// Lists the store's disks in order of label: those that are here, then those that are away. Retired ones
/// are left out.
///
/// # Errors
/// None so far: a disk that cannot say how much room it has is [`DiskState::Suspect`].
pub fn list(store: &Store) -> Result<Vec<DiskInfo>> {
    Ok(survey(store).0)
}

/// The disks, and bytes that can still be stored per filesystem.
fn survey(store: &Store) -> (Vec<DiskInfo>, BTreeMap<u64, u64>) {
    let (stored, known) = store.with_state(|s| (stored(s), s.disks.clone()));
    let is_retired = |id: &DiskId| known.get(id).is_some_and(|d| d.retired);
    let mut rooms = BTreeMap::new();
    let mut here: Vec<DiskInfo> = Vec::new();
    for disk in store.pool().disks().filter(|d| !is_retired(&d.id)) {
        here.push(look_at(store, disk, stored.get(&disk.id).copied().unwrap_or_default(), &mut rooms));
    }
    let mut away: Vec<DiskInfo> = Vec::new();
    let unlisted = known.iter().map(|(id, d)| KnownDisk {
        disk: *id,
        label: d.label.clone(),
        path: Vec::new(),
        serial: String::new(),
    });
    for d in store.missing_disks().iter().cloned().chain(unlisted) {
        let is_told = here.iter().chain(&away).any(|i| i.id == d.disk);
        if is_told || is_retired(&d.disk) {
            continue;
        }
        let (packs, pack_bytes) = stored.get(&d.disk).copied().unwrap_or_default();
        away.push(DiskInfo {
            id: d.disk,
            label: d.label,
            path: path_of(&d.path),
            state: DiskState::Missing,
            serial: d.serial,
            packs,
            pack_bytes,
            total_bytes: 0,
            free_bytes: 0,
            usable_bytes: 0,
        });
    }
    here.sort_by(|a, b| (&a.label, a.id).cmp(&(&b.label, b.id)));
    away.sort_by(|a, b| (&a.label, a.id).cmp(&(&b.label, b.id)));
    here.append(&mut away);
    (here, rooms)
}

fn look_at(store: &Store, disk: &Disk, (packs, pack_bytes): (u64, u64), rooms: &mut BTreeMap<u64, u64>) -> DiskInfo {
    let room = disk.room(store.io(), store.superblock().pack_bytes);
    let mut info = DiskInfo {
        id: disk.id,
        label: disk.label.clone(),
        path: disk.path.clone(),
        state: DiskState::Healthy,
        serial: disk.serial.clone(),
        packs,
        pack_bytes,
        total_bytes: 0,
        free_bytes: 0,
        usable_bytes: 0,
    };
    if let Ok(room) = &room {
        (info.total_bytes, info.free_bytes, info.usable_bytes) = (room.total, room.free, room.usable);
    }
    info.state = match &room {
        Err(_) => DiskState::Suspect,
        Ok(_) if disk.is_suspect() || disk.is_noted() => DiskState::Suspect,
        Ok(_) if store.stale_disks().contains(&disk.id) => DiskState::Stale,
        Ok(room) if room.usable < store.superblock().pack_bytes || !disk.takes_data() => DiskState::Full,
        Ok(_) => DiskState::Healthy,
    };
    if let Ok(room) = &room
        && matches!(info.state, DiskState::Healthy | DiskState::Stale)
    {
        let most = rooms.entry(room.filesystem).or_insert(0);
        *most = room.usable.max(*most);
    }
    info
}

/// Says how the store is and what to do next. Reads the tables of damaged packs, at most 64.
///
/// # Errors
/// [`crate::Error::Index`] where it cannot be asked whether damaged chunks are stored elsewhere.
pub fn status(store: &Store) -> Result<StatusReport> {
    let (disks, rooms) = survey(store);
    let space = |d: &std::sync::Arc<Disk>| store.io().fs.space(&d.path).ok().map(|s| (d.id, s.filesystem));
    let filesystems: BTreeMap<DiskId, u64> = store.pool().disks().filter_map(space).collect();
    let width = store.with_state(|s| s.group_width());
    let mut all = snapshots::list(store, &[]);
    let count = all.len() as u64;
    let newest = all.pop();
    let now = store.io().world.now_ns();
    let (parity, damaged, writers, stored_bytes) = store.with_state(|s| {
        let parity = s.settings.get("parity").and_then(|p| p.parse::<u32>().ok()).unwrap_or(0);
        let damaged: Vec<PackId> = s.damage.keys().copied().collect();
        let writers: Vec<WriterState> = s.writers.values().cloned().collect();
        (parity, damaged, writers, s.packs().map(|p| p.sealed.bytes).sum())
    });
    let usable = rooms.values().fold(0u64, |sum, room| sum.saturating_add(*room));
    let lost = without_copy(store, &damaged)?;
    let mut report = StatusReport {
        fits_bytes: placeable(&shares(&disks, &filesystems), width, parity as usize), // a small number
        disks,
        newest,
        snapshots: count,
        stored_bytes,
        parity,
        tolerates: Some(parity),
        short_packs: 0,
        running: Vec::new(),
        damage: damaged.len() as u64,
        memory_floor_bytes: store.memory_floor_bytes(),
        next: Vec::new(),
        health: Health::Good,
    };
    let mut least = Some(parity);
    let redundancy = store.redundancy(|_, may_lose| {
        let may_lose = may_lose.map(|n| u32::try_from(n).unwrap_or(u32::MAX));
        least = least.zip(may_lose).map(|(a, b)| a.min(b));
    });
    report.tolerates = least;
    report.short_packs = redundancy.degraded + redundancy.at_risk + redundancy.lost;
    let mut dead = false;
    for w in &writers {
        let (line, is_dead) = describe(w, now);
        dead |= is_dead;
        report.running.push(line);
    }
    report.next = next_steps(store, &report, usable, lost, dead, now);
    let disks_are_well = report.disks.iter().all(|d| matches!(d.state, DiskState::Healthy | DiskState::Full));
    report.health = if lost > 0 {
        Health::Lost
    } else if !disks_are_well || report.short_packs > 0 || report.damage > 0 || dead || store.blocked().is_some() {
        Health::Attention
    } else {
        Health::Good
    };
    Ok(report)
}

fn takes_data(disk: &DiskInfo) -> bool {
    matches!(disk.state, DiskState::Healthy | DiskState::Stale)
}

/// The room of each disk that takes data; disks on one filesystem share its room evenly.
fn shares(disks: &[DiskInfo], filesystems: &BTreeMap<DiskId, u64>) -> Vec<u64> {
    let takes: Vec<&DiskInfo> = disks.iter().filter(|d| takes_data(d)).collect();
    let of = |d: &DiskInfo| filesystems.get(&d.id).copied();
    let sharing = |d: &DiskInfo| takes.iter().filter(|o| of(o) == of(d)).count().max(1) as u64;
    takes.iter().map(|d| d.usable_bytes / sharing(d)).collect()
}

/// Bytes of data that fit disks with these rooms, in groups of at most `width` packs of data and `parity` of parity, each
/// member on another disk; groups become narrower where few disks have room left.
///
/// Groups of g bytes a member, taken together, put at most g on each disk. So all members are at most the sum of min(room, g), of
/// which m g are parity; and data is at most k g. The largest g at which k g does not pass the other bound, or the one at which
/// that bound is largest, whichever is more, tells.
fn placeable(rooms: &[u64], width: usize, parity: usize) -> u64 {
    if parity == 0 {
        return rooms.iter().fold(0, |sum, room| sum.saturating_add(*room));
    }
    let mut sorted = rooms.to_vec();
    sorted.sort_unstable_by(|a, b| b.cmp(a));
    // Up to here more than m disks have room beyond g, and each byte more of a member gives data.
    let Some(&turn) = sorted.get(parity) else { return 0 };
    let (width, parity) = (width as u128, parity as u128);
    let by_room = |g: u64| {
        let members: u128 = rooms.iter().map(|room| u128::from(g.min(*room))).sum();
        members.saturating_sub(parity * u128::from(g))
    };
    let by_width = |g: u64| width * u128::from(g);
    let all: u128 = rooms.iter().map(|room| u128::from(*room)).sum();
    let (mut low, mut high) = (turn, turn.max(u64::try_from(all / (width + parity)).unwrap_or(u64::MAX)));
    while low < high {
        let g = low + (high - low).div_ceil(2);
        if by_width(g) <= by_room(g) { low = g } else { high = g - 1 }
    }
    u64::try_from(by_width(low).min(by_room(low))).unwrap_or(u64::MAX)
}

/// Damaged packs with a chunk that no other place holds, as far as that can be seen.
fn without_copy(store: &Store, damaged: &[PackId]) -> Result<u64> {
    let mut lost = 0;
    for (i, pack) in damaged.iter().enumerate() {
        let known = store.with_state(|s| {
            let in_group = s.group_of(pack).is_some();
            s.pack_by_id(pack).filter(|_| !in_group).map(|p| p.sealed)
        });
        let Some(sealed) = known else { continue }; // parity can rebuild it, or it is gone
        if !store.pool().holds(&sealed) {
            continue; // its disk is missing, which is told on its own
        }
        let is_whole = i < DAMAGED_LOOKED_AT && is_stored_elsewhere(store, &sealed)?;
        lost += u64::from(!is_whole);
    }
    Ok(lost)
}

/// Whether every chunk that lies on a pack's damage is stored in another place by now: a backup that met its
/// bytes again healed it.
fn is_stored_elsewhere(store: &Store, sealed: &SealedPack) -> Result<bool> {
    let Ok(ends) = store.ends(sealed) else { return Ok(false) };
    let hit: Vec<ChunkId> = store.with_state(|s| {
        let rows = ends.footer.rows.iter();
        rows.filter(|r| s.is_damaged(&sealed.pack, u64::from(r.offset), r.header.record_bytes()))
            .map(|r| r.header.id)
            .collect()
    });
    Ok(store.locate(&hit)?.iter().all(Option::is_some))
}

/// A line on a writer without an end, and whether it is dead.
fn describe(w: &WriterState, now: i64) -> (String, bool) {
    let who = format!("{}, process {} on {}, begun {} ago", w.verb, w.pid, w.host, span(now.saturating_sub(w.time_ns)));
    // A process of another machine cannot be asked; one with the same id here may be another by now, which
    // makes this a hint and no more.
    if w.host != source::hostname() {
        (format!("{who}: may be at work"), false)
    } else if source::process_start(w.pid).is_some() {
        (format!("{who}: at work"), false)
    } else {
        (format!("{who}: died"), true)
    }
}

/// A time span in the largest unit that gives at least two.
fn span(ns: i64) -> String {
    let seconds = ns.max(0) / 1_000_000_000;
    for (unit, name) in [(86_400, "days"), (3600, "hours"), (60, "minutes")] {
        if seconds >= 2 * unit {
            return format!("{} {name}", seconds / unit);
        }
    }
    format!("{seconds} seconds")
}

fn next_steps(store: &Store, r: &StatusReport, usable: u64, lost: u64, dead: bool, now: i64) -> Vec<String> {
    let mut next = Vec::new();
    if let Some(why) = store.blocked() {
        next.push(format!(
            "Nothing can be written until the log is mended: {why}. Attach every disk of the store and run `onefold recover`."
        ));
    }
    for d in &r.disks {
        match d.state {
            DiskState::Missing => {
                let seen = if d.path.as_os_str().is_empty() {
                    String::new()
                } else {
                    format!(" (last seen at {})", d.path.display())
                };
                let needed = match d.packs {
                    0 => String::new(),
                    1 => "; 1 pack lies on it".into(),
                    n => format!("; {n} packs lie on it"),
                };
                let dead = match r.parity {
                    0 => format!("`onefold disk remove --lost {:?}`", d.label),
                    _ => format!("`onefold disk replace {:?} NEW`", d.label),
                };
                next.push(format!(
                    "Disk {:?} is missing{seen}{needed}: attach and mount it; if it is mounted elsewhere run `onefold disk add PATH`, if it is dead {dead}.",
                    d.label
                ));
            }
            DiskState::Suspect => next.push(format!(
                "Disk {:?} at {} failed: look into the kernel's log, then run `onefold check --read-data`.",
                d.label,
                d.path.display()
            )),
            DiskState::Stale => next.push(format!(
                "Disk {:?} was away and its log is older: the next `onefold backup` brings it up to date.",
                d.label
            )),
            DiskState::Healthy | DiskState::Full => {}
        }
    }
    if lost > 0 {
        next.push(format!(
            "{lost} damaged packs hold chunks without another copy: `onefold check --read-data` names the files, and `onefold backup --force` of their sources stores them anew."
        ));
    } else if r.damage > 0 {
        let packs = if r.damage == 1 { "1 pack is".to_owned() } else { format!("{} packs are", r.damage) };
        next.push(format!(
            "{packs} damaged: run `onefold scrub`, which rebuilds what has parity, or `onefold check --read-data`."
        ));
    }
    let all_here = r.disks.iter().all(|d| d.state != DiskState::Missing);
    if r.short_packs > 0 && r.damage == 0 && all_here {
        next.push(format!(
            "{} packs may lose fewer disks than the store is set to: run `onefold rebalance`.",
            r.short_packs
        ));
    }
    if dead {
        next.push("A writer died: the next `onefold backup` takes over what it stored.".into());
    }
    let total = r.disks.iter().map(|d| u128::from(d.total_bytes)).sum::<u128>();
    let percent = u128::from(NEARLY_FULL_PER_CENT);
    if total > 0 && u128::from(usable) * 100 < total * percent {
        next.push(format!("Less than {NEARLY_FULL_PER_CENT} % of the room is left: give the store another disk."));
    }
    match &r.newest {
        None => next.push("There is no snapshot yet: run `onefold backup PATH`.".into()),
        Some(s) => {
            let age = now.saturating_sub(s.snapshot.time_ns);
            if age > OLD_NS {
                next.push(format!("The newest snapshot is {} old: run `onefold backup PATH`.", span(age)));
            }
        }
    }
    next
}

#[cfg(test)]
mod tests {
    use super::super::testing::{DAY_NS, Shelf, disk_path, noise};
    use super::*;
    use crate::format::WriterId;
    use crate::format::event::Event;

    /// Backs up new streams until every disk holds a pack: where the metadata goes depends on which lane ends first.
    fn fill_all(shelf: &Shelf) {
        for i in 1..100 {
            shelf.stream(&format!("{i}"), &noise(i, 5_000_000));
            if status(&shelf.read()).unwrap().disks.iter().all(|d| d.packs > 0) {
                return;
            }
        }
        panic!("a disk never got a pack");
    }

    fn states(store: &Store) -> Vec<DiskState> {
        list(store).unwrap().iter().map(|d| d.state).collect()
    }

    #[test]
    fn an_empty_store_is_well_and_wants_a_backup() {
        let shelf = Shelf::new(3);
        let report = status(&shelf.read()).unwrap();
        assert_eq!((report.health, report.snapshots, report.disks.len()), (Health::Good, 0, 3));
        assert!(report.next.len() == 1 && report.next[0].contains("onefold backup"), "{:?}", report.next);
        assert_eq!(report.disks[2].path, disk_path(2));
    }

    #[test]
    fn packs_are_counted_where_they_lie() {
        let shelf = Shelf::new(2);
        fill_all(&shelf);
        let report = status(&shelf.read()).unwrap();
        let bytes: u64 = report.disks.iter().map(|d| d.pack_bytes).sum();
        assert!(bytes == report.stored_bytes && bytes > 5_000_000, "{bytes}");
        assert!(report.disks.iter().all(|d| d.packs > 0 && d.state == DiskState::Healthy));
        assert_eq!((report.next, report.health), (Vec::new(), Health::Good));
        assert!(report.snapshots > 0);
    }

    #[test]
    fn a_missing_disk_wants_attention_and_is_named_with_its_place() {
        let shelf = Shelf::new(2);
        fill_all(&shelf);
        shelf.fs.remove(disk_path(1).join("onefold-disk")).unwrap();
        let store = shelf.read();
        assert_eq!(states(&store), [DiskState::Healthy, DiskState::Missing]);
        let report = status(&store).unwrap();
        assert_eq!(report.health, Health::Attention);
        assert!(report.next[0].contains("/disk1") && report.next[0].contains("disk add PATH"), "{:?}", report.next);
        assert!(report.disks[1].packs > 0);
    }

    #[test]
    fn a_status_tells_what_may_be_lost_now_and_not_what_is_set() {
        let shelf = Shelf::with_parity(6, 2);
        shelf.stream("f", &noise(1, 3_000_000));
        let report = status(&shelf.read()).unwrap();
        assert_eq!((report.tolerates, report.short_packs, report.health), (Some(2), 0, Health::Good));
        shelf.take_away(1);
        let report = status(&shelf.read()).unwrap();
        assert!(report.tolerates == Some(1) && report.short_packs > 0, "{:?}", report.tolerates);
        assert!(report.next[0].contains("disk replace"), "{:?}", report.next);
        shelf.take_away(2);
        shelf.take_away(3);
        assert_eq!(status(&shelf.read()).unwrap().tolerates, None);
        let bare = Shelf::new(2);
        bare.stream("f", &noise(1, 100_000));
        assert_eq!(status(&bare.read()).unwrap().tolerates, Some(0));
    }

    #[test]
    fn full_and_suspect_and_stale_disks_are_told_apart() {
        let shelf = Shelf::new(3);
        shelf.fs.set_capacity(disk_path(0), 2 << 20).unwrap();
        shelf.fs.set_capacity(disk_path(1), 100 << 20).unwrap();
        shelf.fs.set_capacity(disk_path(2), 100 << 20).unwrap();
        let marker = disk_path(2).join("onefold-disk");
        let bytes = shelf.fs.read(&marker).unwrap();
        shelf.fs.remove(&marker).unwrap();
        shelf.stream("a", b"while a disk was away");
        shelf.fs.write(&marker, &bytes).unwrap();
        let store = shelf.read();
        assert_eq!(states(&store), [DiskState::Full, DiskState::Healthy, DiskState::Stale]);
        store.pool().disks().nth(1).unwrap().suspect();
        assert_eq!(states(&store)[1], DiskState::Suspect);
        let report = status(&store).unwrap();
        assert_eq!(report.health, Health::Attention);
        assert_eq!(report.fits_bytes, report.disks[2].usable_bytes);
        assert!(report.next.iter().any(|n| n.contains("brings it up to date")), "{:?}", report.next);
    }

    #[test]
    fn a_shelf_that_is_nearly_full_and_an_old_snapshot_are_told() {
        let shelf = Shelf::new(1);
        shelf.stream("a", &noise(1, 8 << 20));
        shelf.fs.set_capacity(disk_path(0), 9 << 20).unwrap();
        shelf.world.advance(8 * DAY_NS);
        let report = status(&shelf.read()).unwrap();
        assert!(report.next.iter().any(|n| n.contains("another disk")), "{:?}", report.next);
        assert!(report.next.iter().any(|n| n.contains("8 days old")), "{:?}", report.next);
    }

    #[test]
    fn damage_is_lost_only_while_nothing_else_holds_its_chunks() {
        let shelf = Shelf::new(1);
        let bytes = noise(1, 300_000);
        shelf.stream("a", &bytes);
        let pack =
            shelf.read().with_state(|s| s.packs().find(|p| p.sealed.plain_bytes >= 300_000).unwrap().sealed.pack);
        let found = Event::DamageFound { pack, offset: 0, bytes: 0, by: "test".into() };
        shelf.write().append(|_| vec![found]).unwrap();
        let report = status(&shelf.read()).unwrap();
        assert_eq!((report.damage, report.health), (1, Health::Lost));
        shelf.stream("a", &bytes);
        let report = status(&shelf.read()).unwrap();
        assert_eq!((report.damage, report.health), (1, Health::Attention));
    }

    #[test]
    fn a_dead_writer_is_told_and_one_at_work_too() {
        let shelf = Shelf::new(1);
        let began = |n, pid, host: String| Event::WriterBegan {
            writer: WriterId([n; 8]),
            time_ns: 0,
            verb: "backup".into(),
            host,
            pid,
            program: "test".into(),
            parent: None,
        };
        let at_work = began(1, source::process_id(), source::hostname());
        let elsewhere = began(2, 1, "another machine".into());
        shelf.write().append(|_| vec![at_work, elsewhere]).unwrap();
        let report = status(&shelf.read()).unwrap();
        assert!(report.running[0].ends_with(": at work") && report.running[1].ends_with(": may be at work"));
        assert_eq!(report.health, Health::Good);
        shelf.write().append(|_| vec![began(3, u32::MAX, source::hostname())]).unwrap();
        let report = status(&shelf.read()).unwrap();
        assert_eq!((report.running.len(), report.health), (3, Health::Attention));
        assert!(report.next.iter().any(|n| n.contains("takes over")), "{:?}", report.next);
    }

    #[test]
    fn parity_takes_its_share_of_the_room() {
        assert_eq!(placeable(&[100; 8], 8, 2), 600);
        assert_eq!(placeable(&[100; 8], 4, 2), 532, "133 a member: 800 in groups of six");
        assert_eq!(placeable(&[100; 2], 8, 2), 0);
        assert_eq!(placeable(&[], 8, 0), 0);
        assert_eq!(placeable(&[u64::MAX; 3], 8, 0), u64::MAX);
        // of an odd big disk only what the others can stand in for
        assert_eq!(placeable(&[10_000, 100, 100], 8, 1), 200);
        // the large ones go on in narrower groups when the small ones are full
        assert_eq!(placeable(&[300, 400, 600, 800, 1200], 8, 1), 300 + 400 + 600 + 800);
        assert_eq!(placeable(&[400, 300, 200, 100], 1, 1), 500);
        assert_eq!((span(119_000_000_000), span(120_000_000_000)), ("119 seconds".into(), "2 minutes".into()));
    }
}
