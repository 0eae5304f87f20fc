//! Which packs stand for one another, as the log says.
//!
//! # Invariants
//!
//! 1. Every data member of a live group is a pack that the log knows: one is dropped only when its group is
//!    retired or another one has taken it over.
//! 2. A pack is looked up by its newest group: while one group takes over from another, both live.

use super::LogState;
use crate::format::footer::PackKind;
use crate::format::group::{Group, Member};
use crate::format::{DiskId, PackId};

/// What a pack of some kind gets, as the store is set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Parity packs of its group: so many disks may be lost.
    pub parity: usize,
    /// Packs of data in its group at most.
    pub width: usize,
}

/// A group that lives, and where its parity lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupState {
    pub group: Group,
    /// Of the parity packs, in order of slot.
    pub parity_disks: Vec<DiskId>,
}

/// A pack of a group and the disk that it lies on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GroupMember {
    pub slot: usize,
    pub pack: PackId,
    pub parity: bool,
    pub bytes: u64,
    pub root: [u8; 32],
    pub disk: DiskId,
}

impl GroupState {
    /// How many of its members hold data.
    pub fn data(&self) -> usize {
        self.group.members.len() - self.parity_disks.len()
    }
}

impl LogState {
    pub(super) fn group_made(&mut self, group: &Group, disks: &[DiskId]) -> Result<(), &'static str> {
        let (parity, data): (Vec<&Member>, Vec<&Member>) = group.members.iter().partition(|m| m.parity);
        if parity.len() != disks.len() {
            return Err("a group's parity lies on another number of disks than it has");
        }
        if self.groups.contains_key(&group.id) {
            return Err("a group is made twice");
        }
        for m in &data {
            let known = self.pack_by_id(&m.pack).ok_or("a group counts on a pack that there is not")?;
            if known.sealed.bytes != m.bytes || known.sealed.root != m.root {
                return Err("a group's member is not the pack that was sealed");
            }
        }
        if parity.iter().any(|m| self.in_group.contains_key(&m.pack) || self.pack_by_id(&m.pack).is_some()) {
            return Err("a group's parity is another pack already");
        }
        for m in &group.members {
            self.in_group.insert(m.pack, group.id);
        }
        self.groups.insert(group.id, GroupState { group: group.clone(), parity_disks: disks.to_vec() });
        Ok(())
    }

    pub(super) fn group_retired(&mut self, id: &[u8; 16]) -> Result<(), &'static str> {
        let state = self.groups.remove(id).ok_or("a group is retired that there is not")?;
        for m in &state.group.members {
            if self.in_group.get(&m.pack) == Some(id) {
                self.in_group.remove(&m.pack);
            }
            if m.parity {
                self.damage.remove(&m.pack);
                self.scrubbed.remove(&m.pack);
            }
        }
        Ok(())
    }

    pub(super) fn parity_disk_mut(&mut self, pack: &PackId) -> Option<&mut DiskId> {
        let state = self.groups.get_mut(self.in_group.get(pack)?)?;
        let slot = state.group.members.iter().position(|m| m.pack == *pack)?;
        let place = slot.checked_sub(state.data())?;
        state.parity_disks.get_mut(place)
    }

    /// The live groups, by id.
    pub fn groups(&self) -> impl Iterator<Item = &GroupState> {
        self.groups.values()
    }

    pub fn group(&self, id: &[u8; 16]) -> Option<&GroupState> {
        self.groups.get(id)
    }

    /// The group that a pack, of data or parity, belongs to.
    pub fn group_of(&self, pack: &PackId) -> Option<&GroupState> {
        self.groups.get(self.in_group.get(pack)?)
    }

    /// A group's packs with the disks that they lie on, in order of slot.
    pub fn members(&self, state: &GroupState) -> Vec<GroupMember> {
        let data = state.data();
        let disk = |slot: usize, pack: &PackId| match slot.checked_sub(data) {
            Some(i) => state.parity_disks.get(i).copied(),
            None => self.pack_by_id(pack).map(|p| p.sealed.disk),
        };
        let each = state.group.members.iter().enumerate().filter_map(|(slot, m)| {
            let disk = disk(slot, &m.pack)?; // invariant 1
            Some(GroupMember { slot, pack: m.pack, parity: m.parity, bytes: m.bytes, root: m.root, disk })
        });
        each.collect()
    }

    /// How many disks may be lost at once, as the store is set: packs that are made get so much parity.
    pub fn parity(&self) -> usize {
        self.settings.get(SETTING_PARITY).and_then(|n| n.parse().ok()).unwrap_or(0).min(PARITY_MAX)
    }

    /// How many packs of data a group has at most, as the store is set.
    pub fn group_width(&self) -> usize {
        self.settings.get(SETTING_GROUP).and_then(|n| n.parse().ok()).unwrap_or(GROUP_WIDTH).clamp(1, GROUP_WIDTH_MAX)
    }

    /// How many times metadata is kept whole, as the store is set.
    pub fn copies(&self) -> usize {
        self.settings.get(SETTING_COPIES).and_then(|n| n.parse().ok()).unwrap_or(1).clamp(1, COPIES_MAX)
    }

    /// Data that more files than this need is held safer, as the store is set; `None` where none is.
    pub fn protects_shared(&self) -> Option<u64> {
        self.settings.get(SETTING_SHARED).and_then(|n| n.parse().ok()).filter(|n| *n > 0)
    }

    /// Whether anything is to outlive the loss of a disk.
    pub fn promises_redundancy(&self) -> bool {
        self.parity() > 0 || self.copies() > 1 || self.protects_shared().is_some()
    }

    /// What a pack of this kind gets. Where metadata has further copies each of its packs is a group of its own: parity of one
    /// pack is the pack's bytes once more, and so many disks more may be lost. Data that is held safer has groups as wide as other data, with one parity pack more.
    pub fn wanted(&self, kind: PackKind) -> Wanted {
        let (parity, width) = (self.parity(), self.group_width());
        match (kind, self.copies()) {
            (PackKind::Data, _) | (PackKind::Metadata, 1) => Wanted { parity, width },
            (PackKind::Metadata, copies) => Wanted { parity: parity + copies - 1, width: 1 },
            (PackKind::Shared, _) => Wanted { parity: parity + usize::from(self.protects_shared().is_some()), width },
        }
    }

    /// The kinds of a group's packs of data, each once.
    pub fn kinds_of(&self, group: &GroupState) -> Vec<PackKind> {
        let data = group.group.members.iter().filter(|m| !m.parity);
        let mut kinds: Vec<PackKind> = data.filter_map(|m| self.pack_by_id(&m.pack).map(|p| p.sealed.kind)).collect();
        kinds.sort_unstable();
        kinds.dedup();
        kinds
    }
}

/// The setting that says how many disks may be lost.
pub const SETTING_PARITY: &str = "parity";
/// The setting that says how wide a group is at most.
pub const SETTING_GROUP: &str = "group";
/// The setting that says how many times metadata is kept.
pub const SETTING_COPIES: &str = "copies";
/// The setting that says how many files may need a chunk before it is held safer; 0 for none.
pub const SETTING_SHARED: &str = "protect-shared";
/// The most copies of metadata that this program makes.
pub const COPIES_MAX: usize = 4;
/// The most parity packs of a group of data that this program makes.
pub const PARITY_MAX: usize = 4;
/// Packs of data in a group where nothing else is set: a pack that is rebuilt costs reading so many.
pub const GROUP_WIDTH: usize = 8;
/// The widest group that this program makes.
pub const GROUP_WIDTH_MAX: usize = 64;

#[cfg(test)]
mod tests {
    use super::super::tests::{apply, lively, sealed};
    use super::*;
    use crate::format::WriterId;
    use crate::format::event::Event;
    use crate::format::group::CODE_REED_SOLOMON_16;

    fn group(state: &LogState, id: u8, data: &[u32]) -> Event {
        let of = |serial: &u32| {
            let p = state.pack(*serial).unwrap().sealed;
            Member { pack: p.pack, parity: false, bytes: p.bytes, root: p.root }
        };
        let mut members: Vec<Member> = data.iter().map(of).collect();
        let pack = PackId::new(WriterId([id; 8]), 99);
        members.push(Member { pack, parity: true, bytes: 5000, root: [9; 32] });
        let group = Group { id: [id; 16], code: CODE_REED_SOLOMON_16, members };
        Event::GroupMade { group, disks: vec![DiskId([8; 16])] }
    }

    #[test]
    fn a_member_leaves_only_by_a_new_group() {
        let mut s = lively();
        let n = s.next_serial();
        apply(&mut s, vec![sealed(n), sealed(n + 1)]).unwrap();
        let packs = [n, n + 1].map(|serial| s.pack(serial).unwrap().sealed.pack);
        let made = group(&s, 1, &[n, n + 1]);
        apply(&mut s, vec![made]).unwrap();
        assert!(apply(&mut s.clone(), vec![Event::PackDropped { pack: packs[0] }]).is_err());
        let anew = group(&s, 2, &[n + 1]);
        let before = Event::PackDropped { pack: packs[0] };
        let retired = Event::GroupRetired { group: [1; 16] };
        assert!(apply(&mut s.clone(), vec![anew.clone(), before.clone(), retired.clone()]).is_err());
        apply(&mut s, vec![anew, retired, before]).unwrap();
        assert_eq!(s.group_of(&packs[1]).map(|g| g.group.id), Some([2; 16]));
        assert!(s.group_of(&packs[0]).is_none() && s.groups().count() == 1);
        // and a checkpoint says the same
        let mut copy = LogState::empty(s.store);
        let events = s.checkpoint_events();
        apply(&mut copy, events).unwrap();
        assert_eq!(copy.groups().collect::<Vec<_>>(), s.groups().collect::<Vec<_>>());
        assert_eq!(copy.group_of(&packs[1]), s.group_of(&packs[1]));
    }

    #[test]
    fn parity_moves_like_any_pack_and_a_group_of_unknown_packs_is_refused() {
        let mut s = lively();
        let n = s.next_serial();
        apply(&mut s, vec![sealed(n)]).unwrap();
        let made = group(&s, 1, &[n]);
        assert!(apply(&mut lively(), vec![made.clone()]).is_err(), "its pack is not there");
        apply(&mut s, vec![made.clone()]).unwrap();
        assert!(apply(&mut s.clone(), vec![made]).is_err(), "twice");
        let pack = PackId::new(WriterId([1; 8]), 99);
        let moved = |from, to| Event::PackMoved { pack, from: DiskId([from; 16]), to: DiskId([to; 16]) };
        assert!(apply(&mut s.clone(), vec![moved(7, 9)]).is_err());
        apply(&mut s, vec![moved(8, 9)]).unwrap();
        let g = s.group_of(&pack).unwrap();
        assert_eq!(s.members(g).last().unwrap().disk, DiskId([9; 16]));
    }
}
