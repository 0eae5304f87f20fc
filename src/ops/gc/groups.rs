//! Parity groups in a gc: a group goes as a whole, or not at all.
//!
//! A group never changes, so its members leave only when it is retired, and it is retired only when nothing of any of them is
//! needed any more: what stays of them has moved to other packs, which have groups of their own. gc counts by group
//! therefore: a dead member of a group that is well used stays. Everything that gc decides about groups is decided here.

use crate::catalog::state::LogState;
use crate::format::PackId;
use crate::format::event::{Event, SealedPack};
use crate::pool::parity::parity_path;
use crate::store::Store;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::PathBuf;

type GroupId = [u8; 16];

/// The packs of data of all live groups.
#[derive(Debug, Default)]
pub(super) struct Members {
    group_of: HashMap<PackId, GroupId>,
    /// How many packs of data each group has.
    size: BTreeMap<GroupId, usize>,
}

impl Members {
    /// Of the log as it is now.
    pub fn of(state: &LogState) -> Members {
        let mut out = Members::default();
        for pack in state.packs().map(|p| p.sealed.pack) {
            // The newest group of a pack; an older one that still lives is about to be retired by whoever made the newer.
            if let Some(group) = state.group_of(&pack) {
                out.group_of.insert(pack, group.group.id);
                out.size.insert(group.group.id, group.data());
            }
        }
        out
    }

    /// The group of a pack.
    pub fn group(&self, pack: &PackId) -> Option<GroupId> {
        self.group_of.get(pack).copied()
    }

    /// Of these packs, those whose groups are not wholly among them: they cannot go.
    pub fn incomplete(&self, packs: impl Iterator<Item = PackId>) -> BTreeSet<PackId> {
        let mut by_group: BTreeMap<GroupId, Vec<PackId>> = BTreeMap::new();
        for pack in packs {
            if let Some(group) = self.group(&pack) {
                by_group.entry(group).or_default().push(pack);
            }
        }
        let lacks = |(group, packs): &(GroupId, Vec<PackId>)| self.size.get(group) != Some(&packs.len());
        by_group.into_iter().filter(lacks).flat_map(|(_, packs)| packs).collect()
    }
}

/// Packs that leave together, with what the log has to say first.
pub(super) struct Leaving {
    pub packs: Vec<SealedPack>,
    pub retired: Vec<Event>,
    /// Parity packs that go with them.
    pub parity: Vec<(PackId, PathBuf)>,
}

/// Packs that nothing needs any more and that wait for the others of their groups.
#[derive(Default)]
pub(super) struct Waiting(BTreeMap<GroupId, Vec<SealedPack>>);

impl Waiting {
    /// Takes packs in, and gives out those that can leave now: each without a group, and groups as they become
    /// complete.
    pub fn add(&mut self, store: &Store, packs: &[SealedPack]) -> Vec<Leaving> {
        let mut out = Vec::new();
        for pack in packs {
            let group = store.with_state(|s| s.group_of(&pack.pack).map(|g| (g.group.id, g.data())));
            let Some((id, data)) = group else {
                out.push(Leaving { packs: vec![*pack], retired: Vec::new(), parity: Vec::new() });
                continue;
            };
            let of_group = self.0.entry(id).or_default();
            if of_group.iter().all(|p| p.pack != pack.pack) {
                of_group.push(*pack);
            }
            if of_group.len() < data {
                continue;
            }
            let packs = self.0.remove(&id).unwrap_or_default();
            let members = store.with_state(|s| s.group(&id).map(|g| s.members(g)).unwrap_or_default());
            let path = |m: &crate::catalog::state::GroupMember| {
                Some((m.pack, parity_path(&store.pool().disk(&m.disk)?.path, m.pack)))
            };
            let parity = members.iter().filter(|m| m.parity).filter_map(path).collect();
            out.push(Leaving { packs, retired: vec![Event::GroupRetired { group: id }], parity });
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::WriterId;

    #[test]
    fn a_group_of_which_one_stays_stays_whole() {
        let pack = |n| PackId::new(WriterId([1; 8]), n);
        let mut members = Members::default();
        for (n, group) in [(1, 7), (2, 7), (3, 8), (4, 8)] {
            members.group_of.insert(pack(n), [group; 16]);
        }
        members.size = BTreeMap::from([([7; 16], 2), ([8; 16], 2)]);
        let lacking = members.incomplete([1, 2, 3, 9].into_iter().map(pack));
        assert_eq!(lacking, BTreeSet::from([pack(3)]), "4 is not among them; 9 has no group");
    }
}
