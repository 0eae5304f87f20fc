//! Evening out: packs move from the fullest disks to those that are much emptier than the shelf.
//!
//! New packs go to the disk with the most room, so a shelf that grows keeps even by itself; a disk that joined late and stays
//! nearly empty does not. Filled means bytes in use of those that the filesystem has. A move never brings two members of a
//! group onto one disk, nor more of it into one failure domain than its parity, and leaves the reserve of the disk alone.
//!
//! # Invariants
//!
//! 1. A shelf that is even, up to `OFF_PER_MILLE`, is left alone; no disk is filled beyond what the shelf is on average.
//! 2. Between two disks of one filesystem nothing moves: it would change nothing.

use super::moves::{self, Moved, To};
use super::plan::Move;
use crate::error::Result;
use crate::format::{DiskId, PackId};
use crate::ops::Control;
use crate::pool::Shape;
use crate::pool::disk::Disk;
use crate::store::{Store, tolerance};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

/// A disk that is further than this from how full the shelf is, in thousandths of its room, takes part.
const OFF_PER_MILLE: i64 = 50;
/// It has done so when it is as near as this.
const NEAR_PER_MILLE: i64 = 10;

/// A pack that is to move, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Even {
    pub pack: PackId,
    pub parity: bool,
    pub bytes: u64,
    pub from: DiskId,
    pub to: DiskId,
}

/// How full a disk is, with what was planned so far.
struct Filled {
    total: u64,
    used: u64,
    /// What may still go there.
    usable: u64,
    filesystem: u64,
    /// What lies on it, in the order of sealing; what was planned to move is taken out.
    packs: Vec<Option<(PackId, bool, u64)>>,
}

impl Filled {
    fn per_mille(&self) -> i64 {
        // Both are bytes of a filesystem: far below 2^63 thousandths in 128 bits, and at most 1000.
        (u128::from(self.used) * 1000 / u128::from(self.total.max(1))) as i64
    }
}

/// Plans it. Empty where the shelf is even, or nothing may move.
pub fn plan(store: &Store) -> Vec<Even> {
    let mut shelf = shelf(store);
    let (total, used) =
        shelf.values().fold((0u128, 0u128), |(t, u), d| (t + u128::from(d.total), u + u128::from(d.used)));
    if shelf.len() < 2 || total == 0 {
        return Vec::new();
    }
    let mean = (used * 1000 / total) as i64; // at most 1000
    let off = |d: &Filled| d.per_mille() - mean;
    let mut low: BTreeSet<DiskId> = shelf.iter().filter(|(_, d)| off(d) < -OFF_PER_MILLE).map(|(id, _)| *id).collect();
    let mut high: BTreeSet<DiskId> = shelf.iter().filter(|(_, d)| off(d) > OFF_PER_MILLE).map(|(id, _)| *id).collect();
    let mut placed: HashMap<PackId, DiskId> = HashMap::new();
    let mut passed: BTreeMap<(DiskId, DiskId), usize> = BTreeMap::new();
    let mut out = Vec::new();
    loop {
        low.retain(|id| shelf.get(id).is_some_and(|d| off(d) < -NEAR_PER_MILLE));
        high.retain(|id| shelf.get(id).is_some_and(|d| off(d) > NEAR_PER_MILLE));
        let by_fill = |ids: &mut dyn Iterator<Item = DiskId>| {
            let mut ids: Vec<(i64, DiskId)> = ids.filter_map(|id| Some((shelf.get(&id)?.per_mille(), id))).collect();
            ids.sort_unstable();
            ids.into_iter().map(|(_, id)| id).collect::<Vec<_>>()
        };
        let is = |id: &DiskId, side: fn(i64) -> bool| shelf.get(id).is_some_and(|d| side(off(d)));
        // Every disk that took part is spared once nothing more of it may move.
        let (froms, tos, done) = if let Some(to) = by_fill(&mut low.iter().copied()).first().copied() {
            let fuller = shelf.keys().copied().filter(|id| is(id, |off| off > 0));
            let froms: Vec<DiskId> = by_fill(&mut fuller.into_iter()).into_iter().rev().collect();
            (froms, vec![to], to)
        } else if let Some(from) = by_fill(&mut high.iter().copied()).last().copied() {
            let emptier = shelf.keys().copied().filter(|id| is(id, |off| off < 0));
            (vec![from], by_fill(&mut emptier.into_iter()), from)
        } else {
            return out;
        };
        let mut moved = None;
        'found: for from in froms {
            for to in &tos {
                moved = next(store, &mut shelf, &placed, &mut passed, from, *to, mean);
                if moved.is_some() {
                    break 'found;
                }
            }
        }
        let Some(even) = moved else {
            low.remove(&done);
            high.remove(&done);
            continue;
        };
        if let Some(d) = shelf.get_mut(&even.from) {
            d.used = d.used.saturating_sub(even.bytes);
        }
        if let Some(d) = shelf.get_mut(&even.to) {
            d.used = d.used.saturating_add(even.bytes);
            d.usable = d.usable.saturating_sub(even.bytes);
        }
        placed.insert(even.pack, even.to);
        out.push(even);
    }
}

/// The disks that are here and take data.
fn shelf(store: &Store) -> BTreeMap<DiskId, Filled> {
    let pack_bytes = store.superblock().pack_bytes;
    let mut shelf = BTreeMap::new();
    for disk in store.pool().disks().filter(|d| d.takes_data() && !d.is_noted()) {
        if let Ok(room) = disk.room(store.io(), pack_bytes) {
            let (total, used) = (room.total, room.total.saturating_sub(room.free));
            let packs = super::plan::standing_on(store, &disk.id);
            let packs = packs.into_iter().map(|m| Some((m.pack, m.parity, m.bytes))).collect();
            shelf.insert(disk.id, Filled { total, used, usable: room.usable, filesystem: room.filesystem, packs });
        }
    }
    shelf
}

/// The next pack that may move between two disks without either passing the shelf's mean by more than it lacks now.
fn next(
    store: &Store,
    shelf: &mut BTreeMap<DiskId, Filled>,
    placed: &HashMap<PackId, DiskId>,
    passed: &mut BTreeMap<(DiskId, DiskId), usize>,
    from: DiskId,
    to: DiskId,
    mean: i64,
) -> Option<Even> {
    let (usable, filesystem, most) = {
        let d = shelf.get(&to)?;
        let lacks = u128::from(d.total) * u128::from(u64::try_from(mean - d.per_mille()).unwrap_or(0)) / 1000;
        (d.usable, d.filesystem, u64::try_from(lacks).unwrap_or(u64::MAX))
    };
    let source = shelf.get_mut(&from)?;
    if from == to || source.filesystem == filesystem {
        return None;
    }
    // What did not fit there will not: room gets less, and a group's members stay where they are planned to lie.
    let cursor = passed.entry((from, to)).or_default();
    while let Some(slot) = source.packs.get_mut(*cursor) {
        *cursor += 1;
        let Some((pack, parity, bytes)) = *slot else { continue };
        if bytes <= usable && bytes <= most && may_lie(store, placed, &pack, &to) {
            *slot = None;
            return Some(Even { pack, parity, bytes, from, to });
        }
    }
    None
}

/// Whether a pack may lie on this disk beside the others of its group, whichever of those have moved as planned.
fn may_lie(store: &Store, placed: &HashMap<PackId, DiskId>, pack: &PackId, to: &DiskId) -> bool {
    store.with_state(|state| {
        if state.damage.contains_key(pack) {
            return false; // it is mended first
        }
        let Some(group) = state.group_of(pack) else { return true };
        let others = state.members(group).into_iter().filter(|m| m.pack != *pack);
        // Both where they lie and where they are planned to: moves are not made in the order of the plan.
        let others: Vec<DiskId> = others.flat_map(|m| [Some(m.disk), placed.get(&m.pack).copied()]).flatten().collect();
        let shape = Shape { parity: group.parity_disks.len(), width: group.data() };
        store.pool().may_lie_beside(to, &others, shape)
    })
}

/// Carries the plan out, at the control's rate. `store` is open for writing. What was moved is logged as it goes, so
/// that a run that was stopped is started again and does the rest.
///
/// # Errors
/// As [`moves::run`].
pub fn run(store: &Store, plan: &[Even], control: &Control) -> Result<Moved> {
    let to: HashMap<PackId, DiskId> = plan.iter().map(|e| (e.pack, e.to)).collect();
    let moves = plan.iter().map(|e| {
        let tolerates = store.with_state(|s| {
            let group = s.group_of(&e.pack)?;
            tolerance(s, &s.members(group), group.data(), &|d| store.is_sound(d))
        });
        Move { pack: e.pack, parity: e.parity, bytes: e.bytes, tolerates: tolerates.unwrap_or(0) }
    });
    let target = |m: &Move| -> Option<Arc<Disk>> {
        let disk = store.pool().disk(to.get(&m.pack)?).filter(|d| d.takes_data())?;
        may_lie(store, &HashMap::new(), &m.pack, &disk.id).then(|| Arc::clone(disk))
    };
    control.progress.set_phase("evening out");
    moves::carry(store, moves.collect(), To::Chosen(&target), control)
}

#[cfg(test)]
mod tests;
