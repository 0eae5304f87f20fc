//! rebalance: packs without the parity that the store is set to get it, and small groups are joined.

use super::regroup;
use crate::catalog::state::GroupMember;
use crate::error::Result;
use crate::format::check::UNIT_BYTES;
use crate::format::parity::payload_bytes;
use crate::format::{DiskId, PackId};
use crate::ops::{Control, repair};
use crate::pool::Shape;
use crate::store::{Store, tolerance};

/// What would be done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RebalancePlan {
    /// Packs without any group.
    pub alone: Vec<PackId>,
    /// Groups that are made anew: of another parity than the store is set to, with members away or on one disk,
    /// or so small that joined ones take less parity.
    pub groups: Vec<[u8; 16]>,
    /// Bytes of data that are read to make their parity.
    pub read_bytes: u64,
    /// Bytes of parity that are retired.
    pub retired_bytes: u64,
    /// Bytes of parity that are written, about.
    pub parity_bytes: u64,
}

impl RebalancePlan {
    pub fn is_empty(&self) -> bool {
        self.alone.is_empty() && self.groups.is_empty()
    }
}

/// Bytes of parity of the groups that would be made of packs on these disks, with these lengths.
fn joined(store: &Store, packs: &[(DiskId, u64)], shape: Shape) -> u64 {
    if shape.parity == 0 {
        return 0;
    }
    let groups = store.pool().plan_groups(packs, shape.width, shape.parity);
    let longest = groups.iter().filter_map(|group| group.iter().filter_map(|i| packs.get(*i)).map(|p| p.1).max());
    longest.map(|n| (payload_bytes(n) + payload_bytes(n).div_ceil(UNIT_BYTES) * 16) * shape.parity as u64).sum()
}

/// Plans it.
pub fn plan(store: &Store) -> RebalancePlan {
    let shape = store.with_state(|s| store.pool().shape(s.parity(), s.group_width()));
    let mut plan = RebalancePlan::default();
    store.with_state(|state| {
        let mut alone = Vec::new();
        for p in state.packs().map(|p| &p.sealed).filter(|p| state.group_of(&p.pack).is_none()) {
            if shape.parity > 0 && store.reaches_in(state, p) {
                plan.alone.push(p.pack);
                plan.read_bytes += p.bytes;
                alone.push((p.disk, p.bytes));
            }
        }
        plan.parity_bytes += joined(store, &alone, shape);
        // Small ones are joined only if that is worth the reading: a tenth less parity.
        let mut small: (Vec<[u8; 16]>, Vec<(DiskId, u64)>, u64) = Default::default();
        for group in state.groups() {
            let members = state.members(group);
            // What is gone for good keeps the others of its group from nothing.
            let data = members.iter().filter(|m| !m.parity && !regroup::is_gone(store, state, m));
            let is_had =
                |m: &GroupMember| store.pool().disk(&m.disk).is_some() || store.can_rebuild(state, &m.pack, 0, m.bytes);
            if data.clone().count() == 0 || !data.clone().all(is_had) {
                continue;
            }
            let tolerates = tolerance(state, &members, group.data(), &|d| store.is_sound(d));
            let data = data.map(|m| (m.disk, m.bytes));
            let parity: u64 = members.iter().filter(|m| m.parity).map(|m| m.bytes).sum();
            if group.parity_disks.len() != shape.parity || tolerates.is_none_or(|n| n < shape.parity) {
                plan.groups.push(group.group.id);
                plan.read_bytes += data.clone().map(|d| d.1).sum::<u64>();
                plan.retired_bytes += parity;
                plan.parity_bytes += joined(store, &data.collect::<Vec<_>>(), shape);
            } else if group.data() < shape.width {
                small.0.push(group.group.id);
                small.1.extend(data);
                small.2 += parity;
            }
        }
        let (groups, packs, parity) = small;
        let after = joined(store, &packs, shape);
        if groups.len() > 1 && after.saturating_add(parity / 10) < parity {
            plan.read_bytes += packs.iter().map(|p| p.1).sum::<u64>();
            plan.retired_bytes += parity;
            plan.parity_bytes += after;
            plan.groups.extend(groups);
        }
    });
    plan
}

/// Carries the plan out. `store` is open for writing.
///
/// # Errors
/// As [`regroup::of`].
pub fn run(store: &Store, plan: &RebalancePlan, control: &Control) -> Result<regroup::Regrouped> {
    control.progress.set_phase("making parity");
    repair::clear_temporaries(store);
    regroup::of(store, &plan.groups, &plan.alone, &[], control)
}
