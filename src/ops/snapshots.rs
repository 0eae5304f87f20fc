//! snapshots: which there are, and which one a name means.

use crate::catalog::state::SnapshotState;
use crate::error::{Error, Result};
use crate::format::SnapshotId;
use crate::format::event::Forgotten;
use crate::format::snapshot::Snapshot;
use crate::store::Store;
use std::collections::BTreeSet;

/// A snapshot and its id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotInfo {
    pub id: SnapshotId,
    /// The log entry that added it: the order of snapshots.
    pub number: u64,
    pub snapshot: Snapshot,
    pub pinned: bool,
    /// Who forgot it, when and why, where someone did.
    pub forgotten: Option<Forgotten>,
}

impl SnapshotInfo {
    fn of(id: SnapshotId, s: &SnapshotState) -> SnapshotInfo {
        let (snapshot, forgotten) = (s.snapshot.clone(), s.forgotten.clone());
        SnapshotInfo { id, number: s.number, snapshot, pinned: s.pinned, forgotten }
    }
}

/// Snapshots that carry all of `tags`, oldest first.
pub fn list(store: &Store, tags: &[String]) -> Vec<SnapshotInfo> {
    store.with_state(|state| {
        let has = |s: &Snapshot| tags.iter().all(|t| s.tags.contains(t));
        let live = state.live_snapshots().into_iter().filter(|(_, s)| has(&s.snapshot));
        live.map(|(id, s)| SnapshotInfo::of(id, s)).collect()
    })
}

/// Snapshots that are forgotten and not given up yet, oldest first: those that can be brought back, and those whose place one
/// has that was split anew.
pub fn forgotten(store: &Store) -> Vec<SnapshotInfo> {
    store.with_state(|state| state.forgotten_snapshots().into_iter().map(|(id, s)| SnapshotInfo::of(id, s)).collect())
}

/// The snapshot that a name means: `latest`, a snapshot's own name, or the beginning of its id.
///
/// # Errors
/// [`Error::NoSnapshot`], [`Error::AmbiguousSnapshot`].
pub fn resolve(store: &Store, name: &str) -> Result<SnapshotInfo> {
    let mut all = list(store, &[]);
    if name == "latest" {
        return all.pop().ok_or_else(|| Error::NoSnapshot { name: name.to_owned() });
    }
    match one_of(all, name) {
        Err(Error::NoSnapshot { .. }) => formerly(store, list(store, &[]), name),
        found => found,
    }
}

/// The one of these whose id began so before its files were split anew.
///
/// # Errors
/// As [`resolve`].
pub fn formerly(store: &Store, all: Vec<SnapshotInfo>, name: &str) -> Result<SnapshotInfo> {
    let begins = |id: &SnapshotId| begins_so(id, name);
    let ids: BTreeSet<SnapshotId> =
        store.with_state(|s| s.aliases().filter(|(old, _)| begins(old)).map(|(_, new)| *new).collect());
    the_only(all.into_iter().filter(|s| ids.contains(&s.id)).collect(), name)
}

fn begins_so(id: &SnapshotId, name: &str) -> bool {
    !name.is_empty() && id.to_string().starts_with(&name.to_ascii_lowercase())
}

/// The one of these that is called so, or whose id begins so.
///
/// # Errors
/// As [`resolve`].
pub fn one_of(all: Vec<SnapshotInfo>, name: &str) -> Result<SnapshotInfo> {
    let fits = |s: &SnapshotInfo| s.snapshot.name.as_deref() == Some(name) || begins_so(&s.id, name);
    the_only(all.into_iter().filter(fits).collect(), name)
}

fn the_only(mut found: Vec<SnapshotInfo>, name: &str) -> Result<SnapshotInfo> {
    match found.len() {
        0 => Err(Error::NoSnapshot { name: name.to_owned() }),
        1 => found.pop().ok_or_else(|| Error::NoSnapshot { name: name.to_owned() }),
        _ => {
            let tell = |s: &SnapshotInfo| match &s.snapshot.name {
                Some(n) => format!("{} ({n})", s.id.short()),
                None => s.id.short(),
            };
            Err(Error::AmbiguousSnapshot { name: name.to_owned(), matches: found.iter().map(tell).collect() })
        }
    }
}

/// Splits `SNAPSHOT[:PATH]` at the first colon; names of snapshots hold none.
pub fn split_spec(spec: &[u8]) -> (String, Option<Vec<u8>>) {
    match spec.iter().position(|&b| b == b':') {
        Some(i) => (String::from_utf8_lossy(&spec[..i]).into_owned(), Some(spec[i + 1..].to_vec())), // i < len
        None => (String::from_utf8_lossy(spec).into_owned(), None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spec_is_split_at_its_first_colon() {
        assert_eq!(split_spec(b"latest"), ("latest".into(), None));
        assert_eq!(split_spec(b"ab12:/a:b"), ("ab12".into(), Some(b"/a:b".to_vec())));
        assert_eq!(split_spec(b"x:"), ("x".into(), Some(vec![])));
    }
}
