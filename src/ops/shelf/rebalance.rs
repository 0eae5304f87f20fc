//! rebalance: packs without the parity that the store is set to get it, small groups are joined, and disks that are much emptier
//! or fuller than the shelf are evened out.

use super::even::{self, Even};
use super::moves::Moved;
use super::regroup;
use crate::catalog::state::GroupMember;
use crate::error::Result;
use crate::format::check::UNIT_BYTES;
use crate::format::footer::PackKind;
use crate::format::parity::payload_bytes;
use crate::format::{DiskId, PackId};
use crate::ops::{Control, repair};
use crate::pool::Shape;
use crate::store::{Shapes, Store, tolerance};

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
    /// Packs that move so that disks are equally full. Where groups are made anew this is planned once more after that.
    pub moves: Vec<Even>,
}

impl RebalancePlan {
    pub fn is_empty(&self) -> bool {
        self.alone.is_empty() && self.groups.is_empty() && self.moves.is_empty()
    }
}

/// A pack of data: its kind, disk and length.
type Lying = (PackKind, DiskId, u64);

/// Bytes of parity of the groups that would be made of these packs.
fn joined(store: &Store, shapes: &Shapes, packs: &[Lying]) -> u64 {
    let of = |(shape, kinds): (Shape, Vec<PackKind>)| {
        let own: Vec<(DiskId, u64)> = packs.iter().filter(|p| kinds.contains(&p.0)).map(|p| (p.1, p.2)).collect();
        if shape.parity == 0 {
            return 0;
        }
        let groups = store.pool().plan_groups(&own, shape.width, shape.parity, &|_| 0);
        let longest = groups.iter().filter_map(|group| group.iter().filter_map(|i| own.get(*i)).map(|p| p.1).max());
        let bytes = |n: u64| payload_bytes(n) + payload_bytes(n).div_ceil(UNIT_BYTES) * 16;
        longest.map(|n| bytes(n) * shape.parity as u64).sum::<u64>()
    };
    shapes.classes().into_iter().map(of).sum()
}

/// Plans it.
pub fn plan(store: &Store) -> RebalancePlan {
    let shapes = store.shapes();
    let mut plan = RebalancePlan::default();
    store.with_state(|state| {
        let mut alone: Vec<Lying> = Vec::new();
        for p in state.packs().map(|p| &p.sealed).filter(|p| state.group_of(&p.pack).is_none()) {
            if shapes.of(p.kind).parity > 0 && store.reaches_in(state, p) {
                plan.alone.push(p.pack);
                plan.read_bytes += p.bytes;
                alone.push((p.kind, p.disk, p.bytes));
            }
        }
        plan.parity_bytes += joined(store, &shapes, &alone);
        // Small ones are joined only if that is worth the reading: a tenth less parity.
        let mut small: (Vec<[u8; 16]>, Vec<Lying>, u64) = Default::default();
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
            let kind = |m: &GroupMember| state.pack_by_id(&m.pack).map_or(PackKind::Data, |p| p.sealed.kind);
            let data: Vec<Lying> = data.map(|m| (kind(m), m.disk, m.bytes)).collect();
            let bytes = data.iter().map(|d| d.2).sum::<u64>();
            let parity: u64 = members.iter().filter(|m| m.parity).map(|m| m.bytes).sum();
            let kinds = state.kinds_of(group);
            let shape = shapes.of(kinds.first().copied().unwrap_or(PackKind::Data));
            // What is protected in another way shares no group, and metadata that is to be kept in further copies none at all.
            let is_mixed = kinds.iter().any(|kind| shapes.of(*kind) != shape)
                || (kinds == [PackKind::Metadata] && state.copies() > 1 && group.data() > shape.width);
            let is_short = tolerates.is_none_or(|n| n < shape.parity);
            if is_mixed || group.parity_disks.len() != shape.parity || is_short {
                plan.groups.push(group.group.id);
                plan.read_bytes += bytes;
                plan.retired_bytes += parity;
                plan.parity_bytes += joined(store, &shapes, &data);
            } else if group.data() < shape.width {
                small.0.push(group.group.id);
                small.1.extend(data);
                small.2 += parity;
            }
        }
        let (groups, packs, parity) = small;
        let after = joined(store, &shapes, &packs);
        if groups.len() > 1 && after.saturating_add(parity / 10) < parity {
            plan.read_bytes += packs.iter().map(|p| p.2).sum::<u64>();
            plan.retired_bytes += parity;
            plan.parity_bytes += after;
            plan.groups.extend(groups);
        }
    });
    plan.moves = even::plan(store);
    plan
}

/// What was done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rebalanced {
    pub made: regroup::Regrouped,
    pub moved: Moved,
}

/// Carries the plan out, at the control's rate. `store` is open for writing.
///
/// # Errors
/// As [`regroup::of`] and [`even::run`].
pub fn run(store: &Store, plan: &RebalancePlan, control: &Control) -> Result<Rebalanced> {
    repair::clear_temporaries(store);
    control.progress.set_phase("making parity");
    let made = regroup::of(store, &plan.groups, &plan.alone, &[], control)?;
    let is_as_planned = plan.groups.is_empty() && plan.alone.is_empty();
    let moves = if is_as_planned { plan.moves.clone() } else { even::plan(store) };
    let moved = even::run(store, &moves, control)?;
    Ok(Rebalanced { made, moved })
}
