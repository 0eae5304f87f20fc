//! Parity of a run: which sealed packs stand for one another, and how small runs are spread over disks.
//!
//! Packs that were sealed and not logged yet are put into groups of distinct disks, get their parity on other
//! disks, and only then a log entry names both. A commit waits for no group to fill: what is there at the
//! end makes groups as wide as it can. So that such groups are not one pack and its copies, the first MiB of a
//! run go round over the lanes; what comes later stays together.

use super::Ingest;
use crate::error::Error;
use crate::format::event::Event;
use crate::format::footer::PackKind;
use crate::format::group::{CODE_REED_SOLOMON_16, Group, Member};
use crate::format::{DiskId, PackId};
use crate::io::threads::{Condvar, Mutex};
use crate::ops::Notice;
use crate::pack::sealed_path;
use crate::pack::write::Sealed;
use crate::pool::disk::{BAD_DIR, Disk};
use crate::pool::parity::parity_path;
use crate::pool::parity::read::GroupReader;
use crate::pool::parity::write::{self, Failed, Target};
use crate::pool::{InWork, Place, Pool, Shape};
use crate::store::Shapes;
use std::collections::BTreeSet;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

/// Bytes for each data lane that a run spreads evenly before it keeps neighbours together.
const SPREAD_BYTES: u64 = 16 << 20;
/// What is sent to one lane at once while a run is spread.
const PIECE_BYTES: u64 = 1 << 20;

/// What a run does for the packs that it makes.
pub(super) struct Protection {
    shapes: Shapes,
    /// What the data of the run is.
    kind: PackKind,
    /// Why packs of this run have less parity than the store is set to.
    short: Mutex<BTreeSet<String>>,
    spread: Mutex<Spread>,
}

struct Spread {
    left: u64,
    sent: Vec<u64>,
}

impl Protection {
    pub fn new(shapes: Shapes, kind: PackKind, data_lanes: usize) -> Self {
        let shape = shapes.of(kind);
        // With the metadata's lane as many as a group is wide: what a short run leaves open makes one group. What is held
        // safer shares no group with metadata.
        let beside = usize::from(kind != PackKind::Shared);
        let over = data_lanes.min(shape.width.saturating_sub(beside).max(1));
        let left = if shape.parity > 0 { SPREAD_BYTES * over as u64 } else { 0 };
        let spread = Mutex::new(Spread { left, sent: vec![0; over] });
        Protection { shapes, kind, short: Mutex::default(), spread }
    }

    /// How groups of packs of this kind are made.
    pub fn shape(&self, kind: PackKind) -> Shape {
        self.shapes.of(kind)
    }

    /// Puts packs, each with its kind, disk and length, into groups as wide as they can be. Returns their places and whether
    /// each group is as wide as it may be.
    pub fn plan(&self, pool: &Pool, packs: &[(PackKind, DiskId, u64)], run: &InWork) -> Vec<(Vec<usize>, bool)> {
        let mut out = Vec::new();
        for (shape, kinds) in self.shapes.classes() {
            let is_in = |i: &usize| packs.get(*i).is_some_and(|p| kinds.contains(&p.0));
            let own: Vec<usize> = (0..packs.len()).filter(is_in).collect();
            let places: Vec<(DiskId, u64)> = own.iter().filter_map(|i| packs.get(*i)).map(|p| (p.1, p.2)).collect();
            let width = width_now(pool, shape);
            for group in pool.plan_groups(&places, width, shape.parity, &|disk| run.parity_on(disk)) {
                let group: Vec<usize> = group.into_iter().filter_map(|i| own.get(i).copied()).collect();
                let is_wide = group.len() >= width;
                out.push((group, is_wide));
            }
        }
        out
    }

    /// Sealed packs wait for one another until so many have gathered: at least as many as a group has disks.
    pub fn publish_at(&self, without: usize) -> usize {
        match self.shape(self.kind) {
            Shape { parity: 0, .. } => without,
            shape => without.max(shape.width + shape.parity),
        }
    }

    /// The data lane for so many bytes of the run, from 0 on; `None` once the run is no longer spread.
    pub fn lane(&self, bytes: u64) -> Option<usize> {
        let mut spread = self.spread.lock().unwrap_or_else(PoisonError::into_inner);
        if spread.left == 0 {
            return None;
        }
        spread.left = spread.left.saturating_sub(bytes);
        let (lane, sent) = spread.sent.iter_mut().enumerate().min_by_key(|(_, sent)| **sent)?;
        *sent += bytes;
        Some(lane)
    }

    pub fn is_spreading(&self) -> bool {
        self.spread.lock().unwrap_or_else(PoisonError::into_inner).left > 0
    }

    fn falls_short(&self, why: String) {
        self.short.lock().unwrap_or_else(PoisonError::into_inner).insert(why);
    }

    /// Why packs of this run have less parity than the store is set to.
    pub fn shortfalls(&self) -> Vec<String> {
        self.short.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }
}

/// Cuts what is sent into pieces of at least [`PIECE_BYTES`], as far as there is so much.
pub(super) fn pieces<R>(records: Vec<R>, bytes: impl Fn(&R) -> u64) -> Vec<Vec<R>> {
    let mut out: Vec<Vec<R>> = Vec::new();
    let mut open = PIECE_BYTES;
    for record in records {
        let n = bytes(&record);
        match out.last_mut() {
            Some(piece) if open < PIECE_BYTES => piece.push(record),
            _ => {
                out.push(vec![record]);
                open = 0;
            }
        }
        open += n;
    }
    out
}

/// A sealed pack that has no group yet.
#[derive(Clone, Copy, Debug)]
pub(super) struct Unprotected {
    pub kind: PackKind,
    pub disk: DiskId,
    pub member: Member,
}

impl Unprotected {
    pub fn of(sealed: &Sealed) -> Self {
        let member = Member { pack: sealed.pack, parity: false, bytes: sealed.bytes, root: sealed.root };
        Unprotected { kind: sealed.kind, disk: sealed.disk, member }
    }
}

/// How wide a group can be on the disks that take data now: one may have died since the run began.
fn width_now(pool: &Pool, shape: Shape) -> usize {
    let disks = pool.disks().filter(|d| d.takes_data()).count();
    shape.width.min(disks.saturating_sub(shape.parity)).max(1)
}

/// The longest pack's bytes.
fn longest(group: &[Unprotected]) -> u64 {
    group.iter().map(|p| p.member.bytes).max().unwrap_or(0)
}

/// Disks that have room for a group's parity, which nobody else counts on while this is there.
struct Promised<'a> {
    in_work: &'a Mutex<InWork>,
    kept: &'a Condvar,
    bytes: u64,
    disks: Vec<Arc<Disk>>,
}

impl Drop for Promised<'_> {
    fn drop(&mut self) {
        let mut in_work = self.in_work.lock().unwrap_or_else(PoisonError::into_inner);
        for disk in &self.disks {
            if let Some(i) = in_work.parity.iter().position(|p| *p == (disk.id, self.bytes)) {
                in_work.parity.swap_remove(i);
            }
        }
        self.kept.notify_all();
    }
}

impl Ingest<'_> {
    /// Makes the parity of sealed packs that the log does not know yet, and returns what the log is to say of it,
    /// behind the packs themselves. What could not be given its parity is told by [`Protection::shortfalls`].
    ///
    /// # Errors
    /// A pack that cannot be read back as it was sealed: it must not be logged, and its disk is suspect. The second
    /// value names it.
    pub(super) fn protect(&self, packs: &[Unprotected]) -> std::result::Result<Vec<Event>, (Error, PackId)> {
        let mut events = Vec::new();
        let mut rest = packs.to_vec();
        rest.retain(|p| self.protection.shape(p.kind).parity > 0);
        while !rest.is_empty() {
            let (group, promised) = self.place_group(&rest, true);
            let is_in = |p: &Unprotected| group.iter().any(|g| g.member.pack == p.member.pack);
            rest.retain(|p| !is_in(p));
            match self.protect_group(&group, promised) {
                Ok(event) => events.extend(event),
                Err(e) => {
                    self.forget_parity(&events);
                    return Err(e);
                }
            }
        }
        Ok(events)
    }

    /// The packs of the next group, all of them unless they `may_be_parted`, and the disks of its parity, which are promised to
    /// it.
    ///
    /// One at a time decides, with what is promised to others in view. What is lacking while those are at work is waited for: they
    /// may take less than they were promised, and a group that is narrower than it need be costs room for ever.
    fn place_group(&self, packs: &[Unprotected], may_be_parted: bool) -> (Vec<Unprotected>, Promised<'_>) {
        let mut in_work = self.in_work();
        loop {
            let (group, is_whole) = match may_be_parted {
                true => self.next_group(packs, &in_work),
                false => (packs.to_vec(), true),
            };
            let shape = self.protection.shape(group.first().map_or(PackKind::Data, |p| p.kind));
            let disks = self.beside(&group, shape, &in_work);
            if (is_whole && disks.len() >= shape.parity) || in_work.parity.is_empty() {
                let bytes = longest(&group);
                in_work.parity.extend(disks.iter().map(|d| (d.id, bytes)));
                return (group, Promised { in_work: &self.in_work, kept: &self.promise_kept, bytes, disks });
            }
            in_work = self.promise_kept.wait(in_work).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Disks for the parity of these packs, as many as there are up to those wanted.
    fn beside(&self, group: &[Unprotected], shape: Shape, in_work: &InWork) -> Vec<Arc<Disk>> {
        let on: Vec<DiskId> = group.iter().map(|p| p.disk).collect();
        self.store.pool().parity_disks(&on, longest(group), shape.parity, self.place(), in_work)
    }

    /// The packs of the next group: as many as leave room for parity beside them, which takes some of the room each time. And
    /// whether these are as many as there could be.
    fn next_group(&self, packs: &[Unprotected], in_work: &InWork) -> (Vec<Unprotected>, bool) {
        let pool = self.store.pool();
        let places: Vec<_> = packs.iter().map(|p| (p.kind, p.disk, p.member.bytes)).collect();
        let planned = self.protection.plan(pool, &places, in_work).into_iter().next().unwrap_or_default().0;
        let packs: Vec<Unprotected> = planned.into_iter().filter_map(|i| packs.get(i).copied()).collect();
        let shape = self.protection.shape(packs.first().map_or(PackKind::Data, |p| p.kind));
        let places: Vec<(DiskId, u64)> = packs.iter().map(|p| (p.disk, p.member.bytes)).collect();
        let (mut width, mut is_whole) = (width_now(pool, shape), true);
        loop {
            let planned = pool
                .plan_groups(&places, width, shape.parity, &|disk| in_work.parity_on(disk))
                .into_iter()
                .next()
                .unwrap_or_default();
            let group: Vec<Unprotected> = planned.into_iter().filter_map(|i| packs.get(i).copied()).collect();
            if group.len() <= 1 || self.beside(&group, shape, in_work).len() >= shape.parity {
                return if group.is_empty() { (packs.to_vec(), is_whole) } else { (group, is_whole) };
            }
            (width, is_whole) = (group.len() - 1, false);
        }
    }

    /// What frees more than it takes may use the reserve.
    fn place(&self) -> Place {
        if self.frees { Place::Repair } else { Place::Ordinary }
    }

    /// Removes the parity of groups that will not be logged. What stays is a leftover of a writer that is known.
    fn forget_parity(&self, events: &[Event]) {
        for event in events {
            let Event::GroupMade { group, disks } = event else { continue };
            for (member, disk) in group.members.iter().filter(|m| m.parity).zip(disks) {
                if let Some(disk) = self.store.pool().disk(disk) {
                    let _ = self.store.io().fs.remove_file(&parity_path(&disk.path, member.pack));
                }
            }
        }
    }

    fn protect_group<'i>(
        &'i self,
        packs: &[Unprotected],
        mut promised: Promised<'i>,
    ) -> std::result::Result<Option<Event>, (Error, PackId)> {
        let store = self.store;
        let (pool, io) = (store.pool(), store.io());
        let members: Vec<Member> = packs.iter().map(|p| p.member).collect();
        let first = members.first().map_or(PackId([0; 12]), |m| m.pack);
        let paths = packs.iter().map(|p| pool.disk(&p.disk).map(|d| sealed_path(&d.path, p.member.pack))).collect();
        let bare = Group { id: [0; 16], code: CODE_REED_SOLOMON_16, members: members.clone() };
        let source = GroupReader::new(io, bare, paths).map_err(|e| (e, first))?;
        let parity = self.protection.shape(packs.first().map_or(PackKind::Data, |p| p.kind)).parity;
        loop {
            let disks = &promised.disks;
            if disks.len() < parity {
                self.protection.falls_short(format!(
                    "{} of {} parity packs could be placed: too few disks have room",
                    disks.len(),
                    parity
                ));
            }
            if disks.is_empty() {
                return Ok(None);
            }
            let targets: Vec<Target> = disks
                .iter()
                .map(|d| Target {
                    pack: PackId::new(self.writer, self.sequence.fetch_add(1, Ordering::Relaxed)),
                    disk: d.path.clone(),
                })
                .collect();
            let mut id = [0; 16];
            io.world.random(&mut id);
            match write::make(io, store.superblock().store, id, &source, &members, &targets) {
                Ok(group) => {
                    let bytes: u64 = group.members.iter().filter(|m| m.parity).map(|m| m.bytes).sum();
                    self.counters.redundancy_written.fetch_add(bytes, Ordering::Relaxed);
                    return Ok(Some(Event::GroupMade { group, disks: disks.iter().map(|d| d.id).collect() }));
                }
                Err(Failed::Target(i, e)) => {
                    if let Some(disk) = disks.get(i) {
                        disk.failed(&e);
                        let label = &disk.label;
                        self.notice(Notice::Note(format!(
                            "disk {label} takes no more data: {e}; parity goes elsewhere"
                        )));
                    }
                    drop(promised);
                    promised = self.place_group(packs, false).1;
                }
                Err(Failed::Member(i, e)) => return Err((e, members.get(i).map_or(first, |m| m.pack))),
            }
        }
    }

    /// Takes a sealed pack that did not prove out of the way; its disk takes no more data.
    pub(super) fn set_aside(&self, disk: &DiskId, pack: PackId) {
        let Some(disk) = self.store.pool().disk(disk) else { return };
        disk.suspect();
        let (from, dir) = (sealed_path(&disk.path, pack), disk.path.join(BAD_DIR));
        let fs = &self.store.io().fs;
        // The log never knew it: whatever becomes of the file, nothing counts on it.
        let _ = fs.create_dir_all(&dir).and_then(|()| fs.rename(&from, &dir.join(format!("{pack}.pack"))));
    }
}

#[cfg(test)]
mod tests;
