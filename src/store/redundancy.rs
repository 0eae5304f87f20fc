//! How many more disks each pack may lose, as log and disks tell now.

use super::Store;
use crate::catalog::state::{GroupMember, LogState};
use crate::format::footer::PackKind;
use crate::format::{DiskId, PackId};
use crate::pool::{PackStore, Shape};
use std::collections::BTreeMap;

/// Packs by how many more disks may be lost before they are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Redundancy {
    /// As many as the store is set to, or more.
    pub full: u64,
    /// Fewer, and at least one.
    pub degraded: u64,
    /// None, though the store is set to some.
    pub at_risk: u64,
    /// They cannot be had now.
    pub lost: u64,
    /// Bytes of all but the first.
    pub short_bytes: u64,
}

impl Redundancy {
    pub fn is_full(&self) -> bool {
        self.degraded + self.at_risk + self.lost == 0
    }

    /// Whether more packs than `before` are lost, may lose no disk, or fewer than the store is set to.
    pub fn is_worse_than(&self, before: &Redundancy) -> bool {
        let steps = |r: &Redundancy| [r.lost, r.lost + r.at_risk, r.lost + r.at_risk + r.degraded];
        steps(self).iter().zip(steps(before)).any(|(now, then)| *now > then)
    }
}

/// How groups are made, by the kind of their packs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shapes([(PackKind, Shape); PackKind::ALL.len()]);

impl Shapes {
    pub fn by(shape: impl Fn(PackKind) -> Shape) -> Shapes {
        Shapes(PackKind::ALL.map(|kind| (kind, shape(kind))))
    }

    pub fn of(&self, kind: PackKind) -> Shape {
        let found = self.0.iter().find(|(k, _)| *k == kind);
        found.map_or(Shape { parity: 0, width: 1 }, |(_, shape)| *shape) // it has all kinds
    }

    /// Each shape with the kinds that have it: packs of those may share a group, of others they may not.
    pub fn classes(&self) -> Vec<(Shape, Vec<PackKind>)> {
        let mut out: Vec<(Shape, Vec<PackKind>)> = Vec::new();
        for (kind, shape) in self.0 {
            match out.iter_mut().find(|(s, _)| *s == shape) {
                Some((_, kinds)) => kinds.push(kind),
                None => out.push((shape, vec![kind])),
            }
        }
        out
    }
}

/// Whether a disk's packs can be counted on.
pub type IsThere<'a> = &'a dyn Fn(&DiskId) -> bool;

/// How many disks may go before fewer than `data` of these members are left; `None` where that is so now. A
/// member counts if its disk is there and nothing is known against any byte of it.
pub fn tolerance(state: &LogState, members: &[GroupMember], data: usize, is_there: IsThere<'_>) -> Option<usize> {
    let mut on: BTreeMap<DiskId, usize> = BTreeMap::new();
    for m in members.iter().filter(|m| is_there(&m.disk) && !state.damage.contains_key(&m.pack)) {
        *on.entry(m.disk).or_default() += 1;
    }
    let mut left: usize = on.values().sum();
    let mut counts: Vec<usize> = on.into_values().collect();
    counts.sort_unstable();
    let mut disks = 0;
    if left < data {
        return None;
    }
    while let Some(most) = counts.pop() {
        left -= most; // a part of the sum
        if left < data {
            break;
        }
        disks += 1;
    }
    Some(disks)
}

impl Store {
    /// Whether new packs and old ones on this disk can be counted on: it is here and has not failed.
    pub fn is_sound(&self, disk: &DiskId) -> bool {
        self.pool.disk(disk).is_some_and(|d| !d.is_suspect())
    }

    /// How groups of packs of this kind are made now.
    pub fn shape(&self, kind: PackKind) -> Shape {
        let wanted = self.with_state(|s| s.wanted(kind));
        self.pool.shape(wanted.parity, wanted.width)
    }

    /// How groups of packs of all kinds are made now.
    pub fn shapes(&self) -> Shapes {
        Shapes::by(|kind| self.shape(kind))
    }

    /// Goes through all packs. `each` is told every pack that may lose fewer disks than the store is set to.
    pub fn redundancy(&self, mut each: impl FnMut(&PackId, Option<usize>)) -> Redundancy {
        self.with_state(|state| {
            let mut out = Redundancy::default();
            let mut known: BTreeMap<[u8; 16], Option<usize>> = BTreeMap::new();
            for group in state.groups() {
                let members = state.members(group);
                let tolerates = tolerance(state, &members, group.data(), &|d| self.is_sound(d));
                known.insert(group.group.id, tolerates);
            }
            for pack in state.packs().map(|p| &p.sealed) {
                let tolerates = match state.group_of(&pack.pack) {
                    // A group that is lost as a whole may still have this very pack.
                    Some(group) => match known.get(&group.group.id).copied().flatten() {
                        None if self.pool.holds(pack) && !state.damage.contains_key(&pack.pack) => Some(0),
                        tolerates => tolerates,
                    },
                    None => self.pool.holds(pack).then_some(0),
                };
                match tolerates {
                    Some(n) if n >= state.wanted(pack.kind).parity => {
                        out.full += 1;
                        continue;
                    }
                    Some(0) => out.at_risk += 1,
                    Some(_) => out.degraded += 1,
                    None => out.lost += 1,
                }
                out.short_bytes = out.short_bytes.saturating_add(pack.bytes);
                each(&pack.pack, tolerates);
            }
            out
        })
    }
}
