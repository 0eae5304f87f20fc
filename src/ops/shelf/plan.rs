//! What a verb of the shelf would move: from where to where, how much, and how long that takes.

use super::Named;
use crate::catalog::state::GroupMember;
use crate::format::{DiskId, PackId};
use crate::store::{Store, tolerance};
use std::collections::BTreeSet;

/// Why packs leave a disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// All of it goes to this disk, which joins if it has not yet; `None` while it has not.
    Replace { by: Option<DiskId> },
    /// All of it goes to the others.
    Drain,
}

/// A pack that is to move.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Move {
    pub pack: PackId,
    pub parity: bool,
    pub bytes: u64,
    /// More disks that may be lost before this pack is: those with the least go first.
    pub tolerates: usize,
}

/// What would be done.
#[derive(Clone, Debug)]
pub struct Plan {
    pub from: Named,
    pub purpose: Purpose,
    /// Most endangered first.
    pub moves: Vec<Move>,
    pub move_bytes: u64,
    /// Of those, what must be rebuilt from other disks, since the disk is not here.
    pub rebuilt_bytes: u64,
    /// Bytes that are read to rebuild them.
    pub read_bytes: u64,
    /// Groups whose members would come to lie on one disk: they are made anew, with so many bytes of parity.
    pub regroup: Vec<[u8; 16]>,
    pub parity_bytes: u64,
    /// Bytes that a rate counts: of packs that move, and of all data of groups that are made anew, which is read for that.
    pub paced_bytes: u64,
    /// Packs that cannot be had, by nothing that is here.
    pub lost: Vec<PackId>,
    /// Room on the disks that take the packs, beyond their reserve.
    pub room_bytes: u64,
}

/// Packs of data and parity that the log has on a disk.
pub(super) fn standing_on(store: &Store, disk: &DiskId) -> Vec<GroupMember> {
    store.with_state(|state| {
        let data = state.packs().map(|p| p.sealed).filter(|p| p.disk == *disk);
        let data = data.map(|p| GroupMember {
            slot: 0,
            pack: p.pack,
            parity: false,
            bytes: p.bytes,
            root: p.root,
            disk: p.disk,
        });
        let parity = state.groups().flat_map(|g| state.members(g)).filter(|m| m.parity && m.disk == *disk);
        data.chain(parity).collect()
    })
}

/// Plans to move all packs off a disk.
pub fn plan(store: &Store, from: Named, purpose: Purpose) -> Plan {
    let mut plan = Plan {
        purpose,
        moves: Vec::new(),
        move_bytes: 0,
        rebuilt_bytes: 0,
        read_bytes: 0,
        regroup: Vec::new(),
        parity_bytes: 0,
        paced_bytes: 0,
        lost: Vec::new(),
        room_bytes: 0,
        from,
    };
    let here: Vec<DiskId> =
        store.pool().disks().filter(|d| d.takes_data() && d.id != plan.from.id).map(|d| d.id).collect();
    let purpose = plan.purpose.clone();
    let mut regroup = BTreeSet::new();
    for member in standing_on(store, &plan.from.id) {
        store.with_state(|state| {
            let group = state.group_of(&member.pack);
            let members = group.map(|g| state.members(g)).unwrap_or_default();
            let data = group.map_or(1, |g| g.data());
            let tolerates = tolerance(state, &members, data, &|d| store.is_sound(d));
            let is_had = plan.from.is_here || store.can_rebuild(state, &member.pack, 0, member.bytes);
            if !is_had {
                plan.lost.push(member.pack);
                return;
            }
            if !plan.from.is_here {
                plan.rebuilt_bytes += member.bytes;
                plan.read_bytes += member.bytes.saturating_mul(data as u64);
            }
            plan.move_bytes += member.bytes;
            let (pack, parity, bytes) = (member.pack, member.parity, member.bytes);
            plan.moves.push(Move { pack, parity, bytes, tolerates: tolerates.unwrap_or(0) });
            let Some(group) = group else {
                plan.paced_bytes += bytes;
                return;
            };
            let others: Vec<DiskId> = members.iter().filter(|m| m.pack != pack).map(|m| m.disk).collect();
            let crowded = match &purpose {
                // It may have been a disk for long, or since a replacement that was stopped.
                Purpose::Replace { by } => by.is_some_and(|by| others.contains(&by)),
                Purpose::Drain => here.iter().all(|d| others.contains(d)),
            };
            if !crowded {
                plan.paced_bytes += bytes;
            } else if regroup.insert(group.group.id) {
                plan.parity_bytes += members.iter().filter(|m| m.parity).map(|m| m.bytes).sum::<u64>();
                plan.paced_bytes += members.iter().filter(|m| !m.parity).map(|m| m.bytes).sum::<u64>();
            }
        });
    }
    plan.moves.sort_by_key(|m| m.tolerates); // stable: the order of the disk stays
    plan.regroup = regroup.into_iter().collect();
    let pack_bytes = store.superblock().pack_bytes;
    let takes = store.pool().disks().filter(|d| d.takes_data() && d.id != plan.from.id);
    let takes = takes.filter(|d| match &plan.purpose {
        Purpose::Replace { by: Some(by) } => d.id == *by,
        Purpose::Replace { by: None } => false,
        Purpose::Drain => true,
    });
    plan.room_bytes = takes.filter_map(|d| d.room(store.io(), pack_bytes).ok()).map(|r| r.usable).sum();
    plan
}
