//! forget: which snapshots a policy keeps, and the log entries that forget the others.
//!
//! Forgetting writes one log entry and removes nothing: [`super::gc`] may take the chunks when the grace period is
//! over, and until then [`super::tag::undelete`] brings a snapshot back.
//!
//! # Invariants
//!
//! 1. A pinned snapshot is never forgotten, by policy or by name.
//! 2. An incomplete snapshot is never the reason that a complete one is forgotten: whatever the policy would keep if
//!    the incomplete ones were not there is kept.
//! 3. A plan is a value: what is printed is what is done, in one log entry. What was pinned or forgotten since is
//!    refused, not forgotten all the same.

use super::snapshots::SnapshotInfo;
use super::{Control, Notice};
use crate::error::{Error, Result};
use crate::format::SnapshotId;
use crate::format::event::Event;
use crate::store::Store;
use std::collections::BTreeMap;

pub mod policy;

pub use policy::{Calendar, Civil, Keep, Policy, Reason, Span};

/// By what snapshots are put into groups, each of which the policy is applied to by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GroupBy {
    pub host: bool,
    pub paths: bool,
    pub tags: bool,
}

impl Default for GroupBy {
    fn default() -> Self {
        GroupBy { host: true, paths: true, tags: false }
    }
}

/// Which snapshots are looked at at all. Each list that is empty lets all pass.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Of one of these hosts.
    pub hosts: Vec<String>,
    /// With all tags of one of these lists.
    pub tags: Vec<Vec<String>>,
    /// Whose sources have all of these paths among them.
    pub paths: Vec<Vec<u8>>,
}

impl Filter {
    /// Whether the snapshot is looked at.
    pub fn lets(&self, info: &SnapshotInfo) -> bool {
        let s = &info.snapshot;
        (self.hosts.is_empty() || self.hosts.contains(&s.host))
            && (self.tags.is_empty() || self.tags.iter().any(|list| has_all(&s.tags, list)))
            && self.paths.iter().all(|p| s.roots.contains(p))
    }
}

/// Whether all of `list` are among `tags`. An empty list, or one empty tag, asks for none to be there, as restic has it.
pub(super) fn has_all(tags: &[String], list: &[String]) -> bool {
    match list {
        [] => tags.is_empty(),
        [only] if only.is_empty() => tags.is_empty(),
        list => list.iter().all(|t| tags.contains(t)),
    }
}

/// What becomes of the snapshots of one group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// What they have in common; `None` where it was not asked for.
    pub host: Option<String>,
    pub paths: Option<Vec<Vec<u8>>>,
    pub tags: Option<Vec<String>>,
    /// Newest first, each with the reasons why it stays.
    pub keep: Vec<(SnapshotInfo, Vec<Reason>)>,
    /// Newest first.
    pub remove: Vec<SnapshotInfo>,
}

/// What a forget would do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    pub groups: Vec<Group>,
}

impl Plan {
    /// Ids of all that go.
    pub fn removed(&self) -> Vec<SnapshotId> {
        self.groups.iter().flat_map(|g| g.remove.iter().map(|s| s.id)).collect()
    }
}

type Key = (Option<String>, Option<Vec<Vec<u8>>>, Option<Vec<String>>);

fn sorted<T: Ord + Clone>(list: &[T]) -> Vec<T> {
    let mut list = list.to_vec();
    list.sort();
    list
}

/// Plans by policy: `now_ns` is the clock's.
///
/// # Errors
/// [`Error::Argument`] for a policy that would keep nothing of a group: that is asked for by name.
pub fn by_policy(
    snapshots: Vec<SnapshotInfo>,
    filter: &Filter,
    by: GroupBy,
    policy: &Policy,
    calendar: &dyn Calendar,
    now_ns: i64,
) -> Result<Plan> {
    if policy.is_empty() {
        return Err(Error::Argument {
            what: "no policy is given".into(),
            why: "say what to keep (--keep-last 7, --keep-daily 30, ...), or name the snapshots to forget".into(),
        });
    }
    let mut groups: BTreeMap<Key, Vec<SnapshotInfo>> = BTreeMap::new();
    for info in snapshots.into_iter().filter(|s| filter.lets(s)) {
        let s = &info.snapshot;
        let key =
            (by.host.then(|| s.host.clone()), by.paths.then(|| sorted(&s.roots)), by.tags.then(|| sorted(&s.tags)));
        groups.entry(key).or_default().push(info);
    }
    let mut plan = Plan::default();
    for ((host, paths, tags), mut list) in groups {
        // By the snapshots' own times, as restic has it; the log's order where two are equal.
        list.sort_by_key(|s| std::cmp::Reverse((s.snapshot.time_ns, s.number)));
        let reasons = policy::reasons(&list, policy, calendar, now_ns);
        let mut group = Group { host, paths, tags, keep: Vec::new(), remove: Vec::new() };
        for (info, reasons) in list.into_iter().zip(reasons) {
            if reasons.is_empty() {
                group.remove.push(info);
            } else {
                group.keep.push((info, reasons));
            }
        }
        if group.keep.is_empty() && !group.remove.is_empty() {
            let of = group.host.clone().unwrap_or_else(|| "all hosts".into());
            return Err(Error::Argument {
                what: format!("the policy keeps none of the {} snapshots of a group ({of})", group.remove.len()),
                why: "name them if that is meant".into(),
            });
        }
        plan.groups.push(group);
    }
    Ok(plan)
}

/// Plans for snapshots that were named.
///
/// # Errors
/// [`Error::Argument`] for one that is pinned.
pub fn by_name(mut snapshots: Vec<SnapshotInfo>) -> Result<Plan> {
    if let Some(pinned) = snapshots.iter().find(|s| s.pinned) {
        return Err(refused_pinned(&pinned.id));
    }
    snapshots.sort_by_key(|s| std::cmp::Reverse(s.number));
    snapshots.dedup_by_key(|s| s.id);
    let group = Group { host: None, paths: None, tags: None, keep: Vec::new(), remove: snapshots };
    Ok(Plan { groups: vec![group] })
}

fn refused_pinned(id: &SnapshotId) -> Error {
    Error::Argument { what: format!("snapshot {} is pinned", id.short()), why: "unpin it first".into() }
}

/// Forgets what the plan says, in one log entry.
///
/// # Errors
/// Those of the log; [`Error::NoSnapshot`] or [`Error::Argument`] where the log has gone on since the plan.
pub fn run(store: &Store, plan: &Plan, who: &str, why: &str, control: &Control) -> Result<u64> {
    let ids = plan.removed();
    if ids.is_empty() {
        return Ok(0);
    }
    store.with_state(|state| {
        for id in &ids {
            match state.snapshot(id) {
                Some(s) if s.pinned => return Err(refused_pinned(id)),
                Some(s) if s.forgotten.is_none() => {}
                _ => return Err(Error::NoSnapshot { name: id.short() }),
            }
        }
        Ok(())
    })?;
    let count = ids.len() as u64;
    let event = |id| Event::SnapshotForgotten { id, who: who.to_owned(), why: why.to_owned() };
    let notes = store.append_indexed(ids.into_iter().map(event).collect())?;
    notes.into_iter().for_each(|note| control.notice(Notice::Note(note)));
    Ok(count)
}

#[cfg(test)]
mod tests;
