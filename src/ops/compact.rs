//! compact: chunks written anew, so that files lie together and take less room.
//!
//! Four kinds, each with a plan of its own: `resplit` gives files the recipes of today's splitters, `gather` moves what lies
//! in too many places, `recompress` codes anew what the fast tier coded, `shared` moves what many files need to packs that are
//! held safer. The latter three write new copies of chunks through an ingest and take nothing away: an old copy is
//! *superseded*, since the index has the new one and a gc keeps the newest of equals, and its space comes back with the next
//! gc. `docs/design/0005-compact.md` has the reasons.
//!
//! # Invariants
//!
//! 1. A chunk's old copy stays until a gc finds the new one by its pack's own table.
//! 2. A record without bases is replaced by one without bases, a delta only by itself: a base keeps a plain copy, and nothing
//!    becomes deeper.
//! 3. What is moved is proven by its checks; what is coded anew is proven by its name and by decoding.
//! 4. A crash, a signal or a limit at any moment leaves every snapshot whole; what was done need not be done again.
//! 5. Runs that follow each other come to an end: only a chunk's owner moves it, a pack is tried once, and what is held safer
//!    stays so: whoever moves it moves it to a pack that is held safer.

use super::gc::{self, Limits, MOVING_VERBS, Superseded};
use super::ingest::{self, Purpose};
use super::{Control, Notice};
use crate::error::Result;
use crate::store::{Mode, Store};
use std::sync::atomic::Ordering;
use std::time::Duration;

pub mod fragments;
mod gather;
mod owned;
mod recompress;
mod resplit;
mod shared;
#[cfg(test)]
mod tests;
pub(in crate::ops) mod tried;

pub use super::share::needs::Needed;
pub use gather::GatherPlan;
pub use recompress::{RecompressPlan, Sample, threads};
pub use resplit::{ResplitPlan, SPLIT_FILE, Split};
pub use shared::SharedPlan;

/// Fragments of a file, or of each GiB or so of a longer one, that are left alone where nothing else is said: eight seeks
/// of 10 ms are less than a tenth of a second.
pub const MAX_FRAGMENTS: u64 = 8;

/// What to do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CompactOptions {
    /// Gather files with more fragments than this.
    pub max_fragments: Option<u64>,
    /// Code with the dense tier what the fast one coded.
    pub recompress: bool,
    /// Split files anew, with the dense tier if `recompress` is set.
    pub resplit: Option<Split>,
    /// Hold safer what more files than this need; 0 gives that up.
    pub protect_shared: Option<u64>,
    /// Begin nothing further when records of so many bytes were moved, or tried.
    pub max_bytes: Option<u64>,
    /// Begin nothing further after this time.
    pub max_duration_ns: Option<i64>,
}

impl CompactOptions {
    /// What is left of the limits for a later turn of a run that has done so much and taken so long.
    pub fn after(&self, done: &CompactReport, took: Duration) -> CompactOptions {
        let took = i64::try_from(took.as_nanos()).unwrap_or(i64::MAX);
        CompactOptions {
            max_bytes: self.max_bytes.map(|max| max.saturating_sub(done.bytes_handled())),
            max_duration_ns: self.max_duration_ns.map(|max| max.saturating_sub(took).max(0)),
            ..*self
        }
    }
}

/// What a compact would do.
#[derive(Default)]
pub struct Plan {
    pub shared: Option<SharedPlan>,
    pub gather: Option<GatherPlan>,
    pub recompress: Option<RecompressPlan>,
    pub resplit: Option<ResplitPlan>,
}

impl Plan {
    pub fn is_empty(&self) -> bool {
        let is_split = self.resplit.as_ref().is_none_or(ResplitPlan::is_empty);
        is_split
            && self.gather.as_ref().is_none_or(|g| g.chosen == 0)
            && self.recompress.as_ref().is_none_or(|r| r.packs == 0)
            && self.shared.as_ref().is_none_or(SharedPlan::is_empty)
    }
}

/// What was done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CompactReport {
    /// Chunks that are held safer now, and their records' bytes.
    pub chunks_protected: u64,
    pub protected_bytes: u64,
    pub files_gathered: u64,
    /// Fragments of those files: as they were, and as they are by the plan.
    pub fragments_before: u64,
    pub fragments_after: u64,
    pub chunks_moved: u64,
    pub moved_bytes: u64,
    pub chunks_tried: u64,
    /// Bytes of the records that were tried.
    pub tried_bytes: u64,
    pub chunks_recoded: u64,
    /// What their new records are smaller than the old ones, all together.
    pub saved_bytes: u64,
    /// Files that were split anew, each content once, and their bytes.
    pub files_resplit: u64,
    pub resplit_bytes: u64,
    /// Files that came out as they were.
    pub resplit_same: u64,
    pub resplit_same_bytes: u64,
    /// Files that stay as they are because they could not be read, or what came of them could not be proven.
    pub resplit_kept: u64,
    pub resplit_kept_bytes: u64,
    /// Snapshots that have new trees, and those whose trees could not be built anew.
    pub snapshots_resplit: u64,
    pub snapshots_kept: u64,
    /// Folders and files that could not be looked at.
    pub resplit_unreadable: u64,
    /// Bytes of the packs that were made.
    pub written_bytes: u64,
    /// Bytes of records that the next gc finds dead, with their rows.
    pub superseded_bytes: u64,
    /// Chunks that could not be read or decoded, and stay as they are.
    pub chunks_unreadable: u64,
    /// `max_bytes`, `max_duration` or another process that waits ended it before the plan's end.
    pub stopped_at_limit: bool,
    /// It was the process that waits. What is left needs a plan of its own.
    pub gave_way: bool,
}

impl CompactReport {
    /// What limits in bytes count: what was moved, for whatever reason, what was tried, and files that were split. Not those
    /// that stay for what is wrong with them: they would keep the others from their turn.
    pub fn bytes_handled(&self) -> u64 {
        let split = [self.protected_bytes, self.resplit_bytes, self.resplit_same_bytes];
        split.iter().fold(self.moved_bytes.saturating_add(self.tried_bytes), |sum, n| sum.saturating_add(*n))
    }

    /// Whether something could not be read or proven and stays as it is.
    pub fn has_losses(&self) -> bool {
        self.chunks_unreadable + self.resplit_kept + self.resplit_unreadable + self.snapshots_kept > 0
    }

    /// Adds what a later turn of one run did, and takes over how that ended.
    pub fn add(&mut self, turn: &CompactReport) {
        self.chunks_protected += turn.chunks_protected;
        self.protected_bytes += turn.protected_bytes;
        self.files_gathered += turn.files_gathered;
        self.fragments_before += turn.fragments_before;
        self.fragments_after += turn.fragments_after;
        self.chunks_moved += turn.chunks_moved;
        self.moved_bytes += turn.moved_bytes;
        self.chunks_tried += turn.chunks_tried;
        self.tried_bytes += turn.tried_bytes;
        self.chunks_recoded += turn.chunks_recoded;
        self.saved_bytes += turn.saved_bytes;
        self.files_resplit += turn.files_resplit;
        self.resplit_bytes += turn.resplit_bytes;
        self.resplit_same += turn.resplit_same;
        self.resplit_same_bytes += turn.resplit_same_bytes;
        self.resplit_kept = self.resplit_kept.max(turn.resplit_kept); // each turn meets the same ones
        self.resplit_kept_bytes = self.resplit_kept_bytes.max(turn.resplit_kept_bytes);
        self.snapshots_resplit = self.snapshots_resplit.max(turn.snapshots_resplit); // mostly the same ones
        self.snapshots_kept = self.snapshots_kept.max(turn.snapshots_kept);
        self.resplit_unreadable = turn.resplit_unreadable;
        self.written_bytes += turn.written_bytes;
        self.superseded_bytes += turn.superseded_bytes;
        self.chunks_unreadable = turn.chunks_unreadable; // each turn meets the same ones
        self.stopped_at_limit = turn.stopped_at_limit;
        self.gave_way = turn.gave_way;
    }
}

fn purpose(program: &str) -> Purpose {
    // Space comes back with a gc alone, which needs the reserve: it is left for that.
    Purpose { moves: true, ..Purpose::copying(program) }
}

/// Takes over what dead writers left, if the store is open for writing, and plans.
///
/// # Errors
/// [`crate::Error::Interrupted`], [`crate::Error::Index`], those of the log.
pub fn plan(store: &Store, options: &CompactOptions, program: &str, control: &Control) -> Result<Plan> {
    let wait = store.with_state(|s| !s.writers.is_empty());
    if wait && store.mode() != Mode::Read {
        // What another verb left is no copy: its deltas are counted on their bases.
        let moves = store.with_state(|s| s.writers.values().all(|w| MOVING_VERBS.contains(&w.verb.as_str())));
        let purpose = Purpose { moves, ..purpose(program) };
        ingest::run(store, control, purpose, |_| Ok(((), |(): &mut (), _: &ingest::Counters| Vec::new())))?;
    }
    let resplit = match options.resplit {
        Some(split) => Some(resplit::plan(store, split, options.max_bytes, control)?),
        None => None,
    };
    let shared = match options.protect_shared {
        Some(more_than) => Some(shared::plan(store, more_than, control)?),
        None => None,
    };
    let recompress = if options.recompress { Some(recompress::plan(store, control)?) } else { None };
    let gather = match options.max_fragments {
        Some(most) => Some(gather::plan(store, most.max(1), options.max_bytes, control)?),
        None => None,
    };
    Ok(Plan { shared, gather, recompress, resplit })
}

/// Does what a plan says. The store must be the one that it was made for, opened for writing and not changed since.
///
/// # Errors
/// [`crate::Error::Interrupted`], [`crate::Error::NoSpace`], those of the log and of an ingest. Every snapshot is whole
/// all the same.
pub fn run(
    store: &Store,
    mut plan: Plan,
    options: &CompactOptions,
    program: &str,
    control: &Control,
) -> Result<CompactReport> {
    let mut report = CompactReport::default();
    if let Some(files) = plan.resplit.take_if(|r| r.is_empty()) {
        resplit::end(store, &files, control, &mut report);
    }
    if plan.is_empty() {
        return Ok(report);
    }
    gc::forget_untold(store)?;
    let limits = Limits::new(store, options.max_bytes, options.max_duration_ns);
    let shared_bytes = plan.shared.as_ref().map_or(0, SharedPlan::move_bytes);
    let bytes = shared_bytes
        + plan.gather.as_ref().map_or(0, |g| g.move_bytes)
        + plan.recompress.as_ref().map_or(0, |r| r.stored_bytes)
        + plan.resplit.as_ref().map_or(0, |r| r.bytes);
    control.progress.bytes_total.store(bytes, Ordering::Relaxed);
    if let Some(files) = plan.resplit.take() {
        resplit::run(store, files, options.recompress, &limits, program, control, &mut report)?;
        if report.stopped_at_limit {
            report.gave_way = limits.gave_way();
            return Ok(report);
        }
        // What the others were to do was planned for the trees of before.
        let left = CompactOptions { resplit: None, ..options.after(&report, Duration::ZERO) };
        plan = self::plan(store, &left, program, control)?;
    }
    if let Some(plan) = plan.shared.filter(|s| !s.is_empty()) {
        shared::set(store, &plan)?;
        if let Some(needed) = plan.needed.filter(|n| n.rest_chunks() > 0) {
            let first_new = store.with_state(|s| s.next_serial());
            let mut superseded = Superseded::new();
            let purpose = Purpose { safer: true, ..purpose(program) };
            let ended = ingest::run(store, control, purpose, |ingest| {
                shared::run(ingest, control, needed, &limits, (&mut report, &mut superseded))?;
                Ok((0u64, counted))
            });
            note_tried(store, &superseded, first_new, control);
            let settled = settle(store, &superseded, &mut report);
            report.written_bytes += ended?;
            settled?;
        }
    }
    if let Some(plan) = plan.recompress.filter(|r| r.packs > 0 && !report.stopped_at_limit) {
        let first_new = store.with_state(|s| s.next_serial());
        let (mut superseded, mut gone) = (Superseded::new(), recompress::Gone::default());
        let ended = ingest::run(store, control, purpose(program), |ingest| {
            let to = (&mut report, &mut superseded, &mut gone);
            recompress::run(ingest, control, &plan, &limits, to)?;
            Ok((0u64, counted))
        });
        recompress::note(store, &gone, first_new, ended.is_ok(), control);
        let settled = settle(store, &superseded, &mut report);
        report.written_bytes += ended?;
        settled?;
    }
    if let Some(plan) = plan.gather.filter(|g| g.chosen > 0 && !report.stopped_at_limit) {
        let first_new = store.with_state(|s| s.next_serial());
        let mut superseded = Superseded::new();
        let ended = ingest::run(store, control, purpose(program), |ingest| {
            gather::run(ingest, control, &plan, first_new, &limits, (&mut report, &mut superseded))?;
            Ok((0u64, counted))
        });
        note_tried(store, &superseded, first_new, control);
        let settled = settle(store, &superseded, &mut report);
        report.written_bytes += ended?;
        settled?;
    }
    report.gave_way = limits.gave_way();
    Ok(report)
}

/// Notes that what was moved need not be tried with the dense tier again, where nothing of it needs to be.
fn note_tried(store: &Store, superseded: &Superseded, first_new: u32, control: &Control) {
    let sources = superseded.keys().copied().collect();
    if let Err(e) = tried::carry(store, &tried::load(store), &sources, first_new) {
        control.notice(Notice::Note(format!("{e}; the next recompression will try those chunks once more")));
    }
}

/// Ends a run: how much it wrote, and no events of its own.
fn counted(written: &mut u64, counters: &ingest::Counters) -> Vec<crate::format::event::Event> {
    *written = counters.bytes_written.load(Ordering::Relaxed);
    Vec::new()
}

/// Lets the next gc know which packs have dead records now.
fn settle(store: &Store, superseded: &Superseded, report: &mut CompactReport) -> Result<()> {
    report.superseded_bytes += superseded.values().map(|(_, bytes)| bytes).sum::<u64>();
    gc::supersede(store, superseded, true)
}
