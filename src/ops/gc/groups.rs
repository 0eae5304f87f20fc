//! The seam to parity groups: which packs gc may drop by itself.
//!
//! A group never changes, so a member leaves only when its group is retired by the entry that makes what stays redundant
//! again. Re-making belongs to [`crate::pool`]; as long as gc cannot ask for it, members stay. Everything that gc
//! decides about groups is decided here.

use crate::catalog::state::LogState;
use crate::format::PackId;
use std::collections::HashSet;

/// The members of all live groups.
#[derive(Debug, Default)]
pub(super) struct Members {
    packs: HashSet<PackId>,
}

impl Members {
    /// Of the log as it is now.
    pub fn of(state: &LogState) -> Members {
        Members { packs: state.groups.values().flat_map(|g| g.members.iter().map(|m| m.pack)).collect() }
    }

    /// Whether dropping this pack breaks no promise to others.
    pub fn may_drop(&self, pack: &PackId) -> bool {
        !self.packs.contains(pack)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::group::{Group, Member};
    use crate::format::{StoreId, WriterId};

    #[test]
    fn a_member_stays_as_long_as_its_group_lives() {
        let pack = |n| PackId::new(WriterId([1; 8]), n);
        let member = |n, parity| Member { pack: pack(n), parity, bytes: 1, root: [0; 32] };
        let group = Group { id: [7; 16], code: 1, members: vec![member(1, false), member(2, true)] };
        let mut state = LogState::empty(StoreId([1; 16]));
        state.groups.insert(group.id, group);
        let members = Members::of(&state);
        assert!(!members.may_drop(&pack(1)) && !members.may_drop(&pack(2)) && members.may_drop(&pack(3)));
        state.groups.clear();
        assert!(Members::of(&state).may_drop(&pack(1)));
    }
}
