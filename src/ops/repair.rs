//! Repair and moving, which are one act: a pack's bytes, under the same id, in a new file.
//!
//! The bytes are the pack's own where they prove and rebuilt ones where not, unit by unit; what was written
//! is read back past the page cache and proven; then it gets its name and the log says so. A damaged file
//! that it replaces is kept in `bad/`, so that its sectors are not used again.
//!
//! # Invariants
//!
//! 1. The log names a new place only when the pack stands there, durable and proven.
//! 2. What stands at the old place is removed only after that.
//! 3. A damaged file, most of which may be good, stands in its place until the proven one replaces it there.
//! 4. A cut leaves files that nothing counts on: a name that begins with a dot, or a pack beside its place in
//!    the log.

use super::scrub;
use crate::catalog::state::{Damage, GroupMember, LogState};
use crate::chunk::Unsqueezer;
use crate::error::{Error, Result};
use crate::format::check::UNIT_BYTES;
use crate::format::event::Event;
use crate::format::footer::PACK_HEADER_BYTES;
use crate::format::group::{CODE_REED_SOLOMON_16, Group, Member};
use crate::format::{ChunkId, DiskId, PackId};
use crate::ops::{Control, Notice};
use crate::pack::{PACKS_DIR, read, sealed_path};
use crate::pool::disk::{BAD_DIR, Disk, PARITY_DIR};
use crate::pool::parity::ahead::Wanted;
use crate::pool::parity::read::GroupReader;
use crate::pool::parity::{parity_path, write};
use crate::pool::{InWork, Place};
use crate::store::Store;
use std::io::IoSlice;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Written bytes are synced when so many have gathered, as those of packs.
const SYNC_BYTES: u64 = 16 << 20;

/// A pack of data or parity, where the log has it, and what stands in for it.
pub(super) struct Standing {
    pub member: GroupMember,
    pub reader: Arc<GroupReader>,
    /// Its place among what `reader` reads.
    pub slot: usize,
}

/// The file of a pack on a disk.
pub(super) fn path_on(disk: &Path, pack: PackId, parity: bool) -> PathBuf {
    if parity { parity_path(disk, pack) } else { sealed_path(disk, pack) }
}

/// Finds a pack of data or parity. One without a group stands for itself.
///
/// # Errors
/// [`Error::Argument`] where the log does not have it.
pub(super) fn standing(store: &Store, pack: &PackId) -> Result<Standing> {
    if let Some((reader, slot)) = store.group_of(pack)? {
        let members = store.with_state(|s| s.group_of(pack).map(|g| s.members(g)).unwrap_or_default());
        if let Some(member) = members.into_iter().find(|m| m.slot == slot) {
            return Ok(Standing { member, reader, slot });
        }
    }
    let known = store.with_state(|s| s.pack_by_id(pack).map(|p| p.sealed));
    let sealed = known
        .ok_or_else(|| Error::Argument { what: format!("pack {pack}"), why: "the log does not have it".into() })?;
    let member = Member { pack: *pack, parity: false, bytes: sealed.bytes, root: sealed.root };
    let group = Group { id: [0; 16], code: CODE_REED_SOLOMON_16, members: vec![member] };
    let place = store.pool().disk(&sealed.disk).map(|d| sealed_path(&d.path, *pack));
    let reader = Arc::new(GroupReader::new(store.io(), group, vec![place])?);
    let (bytes, root, disk) = (sealed.bytes, sealed.root, sealed.disk);
    Ok(Standing { member: GroupMember { slot: 0, pack: *pack, parity: false, bytes, root, disk }, reader, slot: 0 })
}

fn reads_back(store: &Store, standing: &Standing, path: &Path) -> Result<()> {
    let file = store.io().fs.open(path).map_err(Error::io("open", path))?;
    let _ = file.drop_cache(0, 0); // a hint: what was synced can be dropped
    drop(file);
    let mut places: Vec<Option<PathBuf>> = standing.reader.group().members.iter().map(|_| None).collect();
    if let Some(place) = places.get_mut(standing.slot) {
        *place = Some(path.to_owned());
    }
    GroupReader::new(store.io(), standing.reader.group().clone(), places)?.prove(standing.slot)
}

/// Who was to blame where a pack could not be written.
#[derive(Debug)]
pub(super) enum NotPlaced {
    /// Its bytes cannot be had, wherever it were to go; or the user asked to stop.
    Source(Error),
    /// The disk that it was to go to.
    Target(Error),
}

impl NotPlaced {
    pub(super) fn into_error(self) -> Error {
        match self {
            NotPlaced::Source(e) | NotPlaced::Target(e) => e,
        }
    }
}

type Placed<T> = std::result::Result<T, NotPlaced>;

/// Writes a pack to `to`, durable and proven, and gives it its name. A disk that fails takes no more data.
///
/// # Errors
/// Who failed. The file that the log names stands as before.
pub(super) fn place(store: &Store, standing: &Standing, to: &Disk, control: &Control) -> Placed<()> {
    let written = write_new(store, standing, to, control)
        .and_then(|temporary| name(store, standing, &temporary, to).map_err(NotPlaced::Target));
    if let Err(NotPlaced::Target(e)) = &written {
        let what = to.failed(e);
        control.notice(Notice::Note(format!("disk {} {what}: {e}", to.name())));
    }
    written
}

/// Writes a pack to `to`, durable and proven, under a name that nothing counts on yet. Returns that name.
fn write_new(store: &Store, standing: &Standing, to: &Disk, control: &Control) -> Placed<PathBuf> {
    let (io, member) = (store.io(), &standing.member);
    let path = path_on(&to.path, member.pack, member.parity);
    let dir = path.parent().unwrap_or(&to.path);
    io.fs.create_dir_all(dir).map_err(Error::io("create the folder", dir)).map_err(NotPlaced::Target)?;
    let mut random = [0; 8];
    io.world.random(&mut random);
    let temporary = dir.join(format!(".{}.{:016x}", member.pack, u64::from_le_bytes(random)));
    let written = match member.parity {
        true => write::again(io, store.superblock().store, &standing.reader, standing.slot, &temporary).map_err(|e| {
            // What it is computed from is proven or else damage.
            if matches!(e, Error::Io { .. }) { NotPlaced::Target(e) } else { NotPlaced::Source(e) }
        }),
        false => copy(store, standing, &temporary, control),
    };
    let proven = written.and_then(|()| reads_back(store, standing, &temporary).map_err(NotPlaced::Target));
    if let Err(e) = proven {
        let _ = io.fs.remove_file(&temporary); // a name that begins with a dot is ignored anyway
        return Err(e);
    }
    control.progress.bytes_done.fetch_add(member.bytes, Ordering::Relaxed);
    Ok(temporary)
}

fn copy(store: &Store, standing: &Standing, into: &Path, control: &Control) -> Placed<()> {
    let target = |what: &'static str| move |e| NotPlaced::Target(Error::io(what, into)(e));
    let bytes = standing.member.bytes;
    let file = store.io().fs.create_new(into).map_err(target("create the pack"))?;
    let (mut unsynced, units) = (0, bytes.div_ceil(UNIT_BYTES));
    standing.reader.ahead(standing.slot, units, Wanted::Proven, |ahead| {
        for unit in 0..units {
            control.proceed().map_err(NotPlaced::Source)?;
            let at = unit * UNIT_BYTES;
            let got = ahead.take().map_err(NotPlaced::Source)?;
            let part = got.get(..UNIT_BYTES.min(bytes - at) as usize).unwrap_or(&got); // at most a unit
            file.write_all_at(&[IoSlice::new(part)], at).map_err(target("write to"))?;
            unsynced += part.len() as u64;
            if unsynced >= SYNC_BYTES {
                file.sync().map_err(target("sync"))?;
                unsynced = 0;
            }
        }
        Ok(())
    })?;
    file.sync().map_err(target("sync"))
}

/// Removes what killed runs left half-written: nobody else writes, so nobody needs it.
pub(super) fn clear_temporaries(store: &Store) {
    let fs = &store.io().fs;
    for disk in store.pool().disks() {
        for root in [disk.path.join(PACKS_DIR), disk.path.join(PARITY_DIR)] {
            for folder in fs.list(&root).unwrap_or_default() {
                let folder = root.join(folder.name);
                for entry in fs.list(&folder).unwrap_or_default() {
                    let name = entry.name.to_string_lossy();
                    let pack = name.strip_prefix('.').and_then(|n| n.split('.').next()?.parse::<PackId>().ok());
                    if pack.is_some() {
                        let _ = fs.remove_file(&folder.join(&entry.name)); // a name that begins with a dot is ignored anyway
                    }
                }
            }
        }
    }
}

/// Gives what [`write_new`] wrote its name. Where the pack is mended in place, its damaged file is kept in `bad/`; what
/// else has that name is of a move that was stopped, and as good as what replaces it.
///
/// # Errors
/// [`Error::Io`].
fn name(store: &Store, standing: &Standing, temporary: &Path, to: &Disk) -> Result<()> {
    let (fs, member) = (&store.io().fs, &standing.member);
    let path = path_on(&to.path, member.pack, member.parity);
    let is_there = fs.stat(&path).map_err(Error::io("look at", &path))?.is_some();
    let gone = if is_there && to.id == member.disk { put_aside(store, &path, to)? } else { None };
    if let Err(e) = fs.rename(temporary, &path) {
        if let Some(bad) = gone {
            let _ = fs.rename_new(&bad, &path); // most of it may be good; the next repair tries again
        }
        let _ = fs.remove_file(temporary); // a name that begins with a dot is ignored anyway
        return Err(Error::io("name the pack", path)(e));
    }
    for dir in path.ancestors().skip(1).take(3) {
        fs.sync_dir(dir).map_err(Error::io("sync the folder", dir))?;
    }
    Ok(())
}

/// Gives a damaged file a second name in the disk's `bad/`, so that it stands in its place until it is replaced there.
/// Where the filesystem has no such names it is moved, and its new name returned: a cut then costs what was good of it.
fn put_aside(store: &Store, path: &Path, disk: &Disk) -> Result<Option<PathBuf>> {
    let fs = &store.io().fs;
    let bad = disk.path.join(BAD_DIR);
    fs.create_dir_all(&bad).map_err(Error::io("create the folder", &bad))?;
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let mut gone = None;
    for n in 1u32.. {
        let to = bad.join(format!("{name}.{n}"));
        let mut kept = fs.link(path, &to);
        if kept.as_ref().is_err_and(|e| e.kind() == std::io::ErrorKind::Unsupported) {
            kept = fs.rename_new(path, &to);
            gone = kept.is_ok().then(|| to.clone());
        }
        match kept {
            Ok(()) => break,
            Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => {}
            Err(e) => return Err(Error::io("move the damaged file to", to)(e)),
        }
    }
    fs.sync_dir(&bad).map_err(Error::io("sync the folder", bad))?;
    Ok(gone)
}

/// A pack's file at a place that the log no longer names is removed, as far as its disk lets it.
pub(super) fn remove_old(store: &Store, member: &GroupMember) {
    if let Some(disk) = store.pool().disk(&member.disk) {
        // What stays costs space until check names it.
        let _ = store.io().fs.remove_file(&path_on(&disk.path, member.pack, member.parity));
    }
}

/// The best disk for a pack whose group's other members lie on `taken`.
pub(super) fn disk_for(store: &Store, standing: &Standing, but: &[DiskId]) -> Option<Arc<Disk>> {
    let others = store.with_state(|s| s.group_of(&standing.member.pack).map(|g| s.members(g)).unwrap_or_default());
    let own = standing.member.pack;
    let taken: Vec<DiskId> =
        others.iter().filter(|m| m.pack != own).map(|m| m.disk).chain(but.iter().copied()).collect();
    store.pool().parity_disks(&taken, standing.member.bytes, 1, Place::Repair, &InWork::default()).pop()
}

/// A pack that was to be mended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mended {
    pub pack: PackId,
    /// Of the whole pack, written anew.
    pub bytes: u64,
    /// Why it could not be.
    pub failed: Option<String>,
}

/// Writes damaged packs anew, each to the disk that it lies on, or to another if that one fails. `store` is open for
/// writing. A pack that proves whole is only called so in the log, as far as that is what was known against it.
///
/// # Errors
/// [`Error::Interrupted`], and whatever keeps the log from being written. What cannot be mended is in the result.
pub fn mend(store: &Store, packs: &[PackId], control: &Control) -> Result<Vec<Mended>> {
    let mut out = Vec::with_capacity(packs.len());
    for pack in packs {
        control.proceed()?;
        let Ok(standing) = standing(store, pack) else { continue }; // dropped since
        let mut mended = Mended { pack: *pack, bytes: 0, failed: None };
        match mend_one(store, &standing, control) {
            Ok(bytes) => mended.bytes = bytes,
            Err(NotMended::Log(e) | NotMended::Pack(e @ Error::Interrupted)) => return Err(e),
            Err(NotMended::Pack(e)) => mended.failed = Some(e.to_string()),
        }
        out.push(mended);
    }
    Ok(out)
}

/// Whether units tell all there is to this damage: whoever found it read units, or it is the whole pack's.
fn is_of_units(damage: &Damage) -> bool {
    damage.bytes == 0 || damage.by == scrub::BY
}

/// Whether units tell all there is to what the log knows against a pack.
pub(super) fn units_heal(state: &LogState, pack: &PackId) -> bool {
    state.damage.get(pack).is_some_and(|list| list.iter().all(is_of_units))
}

/// Whether what the log knows against a pack is gone, now that every unit of its file at `path` proves. Units prove that the
/// file is as it was sealed; records that did not have the bytes that they are named after when they were sealed, or
/// whose base is gone, are read and proven by their names.
pub(super) fn is_healed(store: &Store, pack: &PackId, path: &Path) -> bool {
    let ranges: Vec<(u64, u64)> = store.with_state(|s| {
        let data = s.damage.get(pack).filter(|_| s.pack_by_id(pack).is_some());
        data.into_iter().flatten().filter(|d| !is_of_units(d)).map(|d| (d.offset, d.bytes)).collect()
    });
    ranges.is_empty() || names_prove(store, *pack, path, &ranges).is_ok()
}

fn names_prove(store: &Store, pack: PackId, path: &Path, ranges: &[(u64, u64)]) -> Result<()> {
    each_record(store, pack, path, ranges, |_, _, proven| proven).map(drop)
}

/// Reads the records that lie in some ranges, and tells of each where it is, how long, and whether it is what it is named after.
fn each_record(
    store: &Store,
    pack: PackId,
    path: &Path,
    ranges: &[(u64, u64)],
    mut each: impl FnMut(u64, u64, Result<()>) -> Result<()>,
) -> Result<read::Ends> {
    let file = store.io().fs.open(path).map_err(Error::io("open the pack", path))?;
    let ends = read::ends(&*file, path, pack)?;
    let mut unsqueezer = Unsqueezer::default();
    for row in &ends.footer.rows {
        let (at, bytes) = (u64::from(row.offset), row.header.record_bytes());
        let hits = |(from, n): &(u64, u64)| *from < at.saturating_add(bytes) && at < from.saturating_add(*n);
        if ranges.iter().any(hits) {
            let mut record = vec![0; bytes as usize]; // bounded by the header's decoder
            let read = file.read_exact_at(&mut record, at).map_err(Error::io("read", path));
            let what = (row.header.kind, &row.header.id);
            let bases = &mut |base: &ChunkId| store.base(base);
            let proven = read.and_then(|()| {
                read::open_record(store.keys(), &mut unsqueezer, pack, at, &record, what, bases).map(drop)
            });
            each(at, bytes, proven)?;
        }
    }
    Ok(ends)
}

/// What damage in units is to the records of a pack of data: those that do not prove, or what lies beside records, if all do. So
/// nothing is called lost that stands in the same MiB. Where that cannot be told, the units.
pub(super) fn of_records(store: &Store, standing: &Standing, units: Vec<scrub::Range>) -> Vec<scrub::Range> {
    let member = &standing.member;
    let Some(disk) = store.pool().disk(&member.disk).filter(|_| !member.parity) else { return units };
    let path = path_on(&disk.path, member.pack, member.parity);
    let mut bad: Vec<scrub::Range> = Vec::new();
    let looked = each_record(store, member.pack, &path, &units, |at, bytes, proven| {
        if proven.is_err() {
            bad.push((at, bytes));
        }
        Ok(())
    });
    let Ok(ends) = looked else { return units };
    if bad.is_empty() {
        let records_end = ends.trailer.footer_offset;
        for (from, n) in &units {
            let to = from.saturating_add(*n);
            for (a, b) in [(0, PACK_HEADER_BYTES as u64), (records_end, member.bytes)] {
                let (a, b) = (a.max(*from), b.min(to));
                if a < b {
                    bad.push((a, b - a));
                }
            }
        }
    }
    if bad.is_empty() { units } else { bad }
}

/// What kept a pack from being mended.
enum NotMended {
    Pack(Error),
    /// The log could not be written: nothing else can be noted either.
    Log(Error),
}

fn mend_one(store: &Store, standing: &Standing, control: &Control) -> std::result::Result<u64, NotMended> {
    let member = &standing.member;
    let healed = |path: &Path| {
        let is_known = store.with_state(|s| s.damage.contains_key(&member.pack));
        (is_known && is_healed(store, &member.pack, path)).then_some(Event::DamageHealed { pack: member.pack })
    };
    if standing.reader.prove(standing.slot).is_ok() {
        let disk = store.pool().disk(&member.disk);
        if let Some(event) = disk.and_then(|d| healed(&path_on(&d.path, member.pack, member.parity))) {
            store.append(|_| vec![event]).map_err(NotMended::Log)?;
        }
        return Ok(0);
    }
    let mut own = store.pool().disk(&member.disk).filter(|d| d.takes_data()).cloned();
    let mut first = Error::DiskSuspect { label: member.disk.to_string() };
    let disk = loop {
        let Some(disk) = own.take().or_else(|| disk_for(store, standing, &[member.disk])) else {
            return Err(NotMended::Pack(first));
        };
        match place(store, standing, &disk, control) {
            Ok(()) => break disk,
            Err(NotPlaced::Source(e)) => return Err(NotMended::Pack(e)),
            Err(NotPlaced::Target(e)) => first = e, // it takes no more data: another is chosen
        }
    };
    store.forget_files();
    let mut events = Vec::from_iter(healed(&path_on(&disk.path, member.pack, member.parity)));
    if disk.id != member.disk {
        events.push(Event::PackMoved { pack: member.pack, from: member.disk, to: disk.id });
    }
    if !events.is_empty() {
        store.append(|_| events).map_err(NotMended::Log)?;
    }
    if disk.id != member.disk {
        remove_old(store, member);
    }
    store.forget_files();
    Ok(member.bytes)
}

#[cfg(test)]
mod tests;
