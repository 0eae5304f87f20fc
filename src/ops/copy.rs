//! copy: snapshots of one store into another.
//!
//! Stores that share their keys (`init --like`) share the names of their chunks: records move as they stand (`records`), and a
//! snapshot keeps its id. Else every file is read and stored anew, as a backup would (`backup::anew`); the
//! snapshot is then known again by its time, host and roots.
//!
//! Each snapshot is a run of its own, so whatever ends a copy, the snapshots before it are there, and what was stored of the
//! next one is not sent twice.
//!
//! # Invariants
//!
//! 1. Every chunk is proven by its name in the source before it is sent.
//! 2. A snapshot is logged only when all that it reaches is in the target. Nothing is taken for there because a node above it is.
//! 3. The source is only read.

use super::backup::{self, Anew};
use super::ingest::{self, Counters, Purpose};
use super::snapshots::{self, SnapshotInfo};
use super::{Control, Notice};
use crate::catalog::state::SnapshotState;
use crate::error::{Error, Result};
use crate::format::SnapshotId;
use crate::format::event::{Event, Tagged};
use crate::format::snapshot::Snapshot;
use crate::store::Store;
use records::Sender;
use std::sync::atomic::Ordering;

mod records;

/// One snapshot that was copied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Copied {
    pub source: SnapshotId,
    /// The same, if the stores share their keys.
    pub target: SnapshotId,
    pub chunks_new: u64,
    /// Plain bytes of new data chunks.
    pub data_added: u64,
    /// Bytes of the packs that were made.
    pub data_added_packed: u64,
}

impl Copied {
    /// A snapshot of which nothing was sent yet.
    pub(super) fn nothing_of(source: SnapshotId) -> Copied {
        Copied { source, target: source, chunks_new: 0, data_added: 0, data_added_packed: 0 }
    }
}

/// What was copied.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CopyReport {
    pub copied: Vec<Copied>,
    /// Snapshots that the target had.
    pub there: u64,
    /// Records moved as they stand: the stores share their keys.
    pub untouched: bool,
}

/// Copies the snapshots of `list` of `from` into `store`, which is open for writing.
///
/// # Errors
/// [`Error::Argument`] for a store into itself; damage in the source that keeps a snapshot from being whole; those of an
/// ingest; [`Error::Interrupted`]. Snapshots that were copied before stay.
pub fn run(store: &Store, from: &Store, list: &[SnapshotInfo], program: &str, control: &Control) -> Result<CopyReport> {
    control.progress.set_phase("copying");
    if store.superblock().store == from.superblock().store {
        let why = "a store holds its own snapshots already".to_owned();
        return Err(Error::Argument { what: "the source".into(), why });
    }
    let untouched = store.superblock().key_id == from.superblock().key_id
        && store.superblock().chunker == from.superblock().chunker;
    control.progress.bytes_total.store(list.iter().map(|s| s.snapshot.counts.bytes).sum(), Ordering::Relaxed);
    control.progress.totals_known.store(true, Ordering::Relaxed);
    let mut report = CopyReport { untouched, ..Default::default() };
    let mut sender = Sender::new(from, control, store.memory_bytes() / 4);
    let mut anew = Anew::new(from, store.memory_bytes() / 8);
    for info in list {
        control.proceed()?;
        if is_there(store, from, info, untouched) {
            report.there += 1;
            control.progress.bytes_done.fetch_add(info.snapshot.counts.bytes, Ordering::Relaxed);
            continue;
        }
        let name = free_name(store, info, control);
        let copied = if untouched {
            move_records(store, from, &mut sender, (info, name), program, control)?
        } else {
            backup::copy_anew(store, &mut anew, (info, name), program, control)?
        };
        control.notice(Notice::Note(format!("snapshot {} copied", info.id.short())));
        report.copied.push(copied);
    }
    Ok(report)
}

/// Whether the target has a snapshot, or had it and keeps it as forgotten: who forgot it knows why.
fn is_there(store: &Store, from: &Store, info: &SnapshotInfo, untouched: bool) -> bool {
    store.with_state(|state| {
        if untouched {
            // Its files may have been split anew here or there since.
            let record = from.with_state(|s| s.snapshot(&info.id).map(|s| s.record.clone())).unwrap_or_default();
            let same = |s: &SnapshotState| {
                s.snapshot.time_ns == info.snapshot.time_ns && Snapshot::is_resplit(&s.record, &record).unwrap_or(false)
            };
            let all = || state.live_snapshots().into_iter().chain(state.forgotten_snapshots());
            return state.snapshot(&info.id).is_some() || all().any(|(_, s)| same(s));
        }
        let same = |s: &crate::format::snapshot::Snapshot| {
            let i = &info.snapshot;
            (s.time_ns, &s.host, &s.roots) == (i.time_ns, &i.host, &i.roots)
        };
        state.live_snapshots().iter().chain(&state.forgotten_snapshots()).any(|(_, s)| same(&s.snapshot))
    })
}

/// What a snapshot is called in the target: as it is, unless another one there is called so already.
fn free_name(store: &Store, info: &SnapshotInfo, control: &Control) -> Option<String> {
    let name = info.snapshot.name.clone()?;
    let taken = snapshots::list(store, &[]).iter().any(|s| s.snapshot.name.as_ref() == Some(&name));
    if taken {
        let id = info.id.short();
        let note = format!("snapshot {id} is copied without its name: another one here is called {name:?} already");
        control.notice(Notice::Note(note));
    }
    (!taken).then_some(name)
}

fn move_records(
    store: &Store,
    from: &Store,
    sender: &mut Sender<'_>,
    (info, name): (&SnapshotInfo, Option<String>),
    program: &str,
    control: &Control,
) -> Result<Copied> {
    let state = from.with_state(|s| s.snapshot(&info.id).map(|s| (s.record.clone(), s.tagged.clone(), s.pinned)));
    let (record, mut tagged, pinned) = state.ok_or_else(|| Error::NoSnapshot { name: info.id.short() })?;
    if name != info.snapshot.name {
        tagged = Some(Tagged { name, tags: info.snapshot.tags.clone() });
    }
    ingest::run(store, control, Purpose::copying(program), |ingest| {
        sender.send(ingest, &info.snapshot)?;
        Ok((Copied::nothing_of(info.id), move |copied: &mut Copied, counters: &Counters| {
            count(copied, counters);
            let mut events = vec![Event::SnapshotAdded { record }];
            let id = copied.target;
            events.extend(tagged.map(|tagged| Event::SnapshotTagged { id, tagged }));
            events.extend(pinned.then_some(Event::SnapshotPinned { id, pinned }));
            events
        }))
    })
}

/// Fills in what a run has stored.
pub(super) fn count(copied: &mut Copied, counters: &Counters) {
    copied.chunks_new = counters.chunks_new.load(Ordering::Relaxed);
    copied.data_added = counters.data_added.load(Ordering::Relaxed);
    copied.data_added_packed = counters.bytes_written.load(Ordering::Relaxed);
}

#[cfg(test)]
mod tests;
