//! The seam to parity groups: packs that gc drops leave their groups first.
//!
//! A group never changes, so a member leaves only when its group is retired by the entry that makes what stays redundant
//! again: other groups, of the members that stay.

use crate::error::Result;
use crate::format::PackId;
use crate::format::event::SealedPack;
use crate::ops::Control;
use crate::ops::shelf::regroup;
use crate::store::Store;
use std::collections::BTreeSet;

/// Makes the groups of these packs anew without them, so that they may be dropped. Those that stay are as redundant as
/// they were, all the time.
///
/// # Errors
/// As [`regroup::without`].
pub(super) fn leave(store: &Store, packs: &[SealedPack], control: &Control) -> Result<()> {
    let (leaving, groups) = store.with_state(|s| {
        let of = |p: &SealedPack| s.group_of(&p.pack).map(|g| g.group.id);
        let leaving: BTreeSet<PackId> = packs.iter().map(|p| p.pack).collect();
        (leaving, packs.iter().filter_map(of).collect::<BTreeSet<_>>())
    });
    if groups.is_empty() {
        return Ok(());
    }
    let groups: Vec<[u8; 16]> = groups.into_iter().collect();
    regroup::without(store, &groups, &leaving, control).map(drop)
}
