//! The snapshots of a store, as verbs hand them on.

use crate::format::SnapshotId;
use crate::format::snapshot::Snapshot;
use crate::store::Store;

/// A snapshot that is not forgotten.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotInfo {
    pub id: SnapshotId,
    /// The log's number of the entry that added it.
    pub number: u64,
    pub snapshot: Snapshot,
    pub pinned: bool,
}

/// Lists the snapshots that carry all of `tags`, oldest first.
pub fn list(store: &Store, tags: &[String]) -> Vec<SnapshotInfo> {
    store.with_state(|state| {
        let live = state.live_snapshots().into_iter();
        live.filter(|(_, s)| tags.iter().all(|t| s.snapshot.tags.contains(t)))
            .map(|(id, s)| SnapshotInfo { id, number: s.number, snapshot: s.snapshot.clone(), pinned: s.pinned })
            .collect()
    })
}
