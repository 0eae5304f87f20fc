//! snapshots: which there are, and which one a name means.

use crate::catalog::state::SnapshotState;
use crate::error::{Error, Result};
use crate::format::SnapshotId;
use crate::format::event::Forgotten;
use crate::format::snapshot::Snapshot;
use crate::store::Store;

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

/// Snapshots that are forgotten and can still be brought back, oldest first.
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
    one_of(all, name)
}

/// The one of these that is called so, or whose id begins so.
///
/// # Errors
/// As [`resolve`].
pub fn one_of(all: Vec<SnapshotInfo>, name: &str) -> Result<SnapshotInfo> {
    let is_prefix = !name.is_empty() && name.bytes().all(|b| b.is_ascii_hexdigit());
    let lower = name.to_ascii_lowercase();
    let fits = |s: &SnapshotInfo| {
        s.snapshot.name.as_deref() == Some(name) || (is_prefix && s.id.to_string().starts_with(&lower))
    };
    let mut found: Vec<SnapshotInfo> = all.into_iter().filter(fits).collect();
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
