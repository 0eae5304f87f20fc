//! gc: find what no snapshot reaches, and give its space back.
//!
//! `docs/design/0004-reclaim.md` has the protocol and why it holds. In short: `mark` walks the live snapshots, `keep`
//! holds what they reach against the tables of all packs and chooses for each chunk the copy that stays, `plan` decides
//! about packs, `moves` copies what stays out of sparse ones through an ingest, `sweep` takes packs away.
//!
//! # Invariants
//!
//! 1. Nothing that a live snapshot reaches is dropped: by the trees as they were read in this run, and a copy that stays is
//!    proven by its pack's table, under the root that the log names. The index is believed nowhere.
//! 2. A pack is dropped only when all that stays of it is in other packs that are sealed, logged and found by their own
//!    tables.
//! 3. Before the first pack is touched the log says which snapshots are given up.
//! 4. A crash, a signal or a limit at any moment leaves every live snapshot whole; what was done need not be done again.
//! 5. Memory: sorters and the set of nodes within the budget; a bit a record and about 100 bytes a pack beside it.

use super::ingest::{self, Purpose};
use super::{Control, Notice};
use crate::error::{Error, Result};
use crate::format::event::Event;
use crate::format::footer::PackKind;
use crate::format::{ChunkId, WriterId};
use crate::index::Place;
use crate::pool::InWork;
use crate::pool::log::LogRead;
use crate::store::{Mode, Store};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

mod change;
#[cfg(all(test, feature = "rocksdb"))]
mod cost;
mod counts;
mod dissolve;
mod elsewhere;
mod exact;
mod groups;
pub(in crate::ops) mod keep;
mod links;
mod mark;
pub(in crate::ops) mod moves;
mod plan;
pub(in crate::ops) mod sweep;
#[cfg(test)]
mod tests;

use counts::{State, Tally};
use plan::Pending;
pub use plan::Plan;

/// How far the clock may stand past the log's newest entry before nothing is given up on its word: 7 days.
pub const GRACE_JUMP_NS: i64 = 7 * 86_400 * 1_000_000_000;
/// How long forgotten snapshots are kept where nothing else is said: 7 days.
pub const GRACE_NS: i64 = GRACE_JUMP_NS;
/// Verbs whose packs are copies of others: a run of theirs that was cut short left nothing that is wanted by itself, and one
/// that is at work gives way to who waits.
pub const MOVING_VERBS: [&str; 2] = ["gc", "compact"];

/// What to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GcOptions {
    /// A forgotten snapshot is kept so long, counted from the log entry that forgot it.
    pub grace_ns: i64,
    /// Give up what the clock says is over, also if it stands far ahead of the log.
    pub trust_clock: bool,
    /// A pack of which less than this many hundredths stay is rewritten. `None`: the sparsest packs, until 5 % of the
    /// store or less are dead.
    pub threshold_percent: Option<u8>,
    /// Begin no further pack when so much was moved.
    pub max_bytes: Option<u64>,
    /// Begin no further pack after this time.
    pub max_duration_ns: Option<i64>,
    /// Walk all snapshots and read all tables, whatever the counts say, and found them anew.
    pub full: bool,
}

impl Default for GcOptions {
    fn default() -> Self {
        GcOptions {
            grace_ns: GRACE_NS,
            trust_clock: false,
            threshold_percent: None,
            max_bytes: None,
            max_duration_ns: None,
            full: false,
        }
    }
}

impl GcOptions {
    /// What is left of the limits for a later turn of a run that has done so much and taken so long.
    pub fn after(&self, done: &GcReport, took: Duration) -> GcOptions {
        let took = i64::try_from(took.as_nanos()).unwrap_or(i64::MAX);
        GcOptions {
            max_bytes: self.max_bytes.map(|max| max.saturating_sub(done.moved_bytes)),
            max_duration_ns: self.max_duration_ns.map(|max| max.saturating_sub(took).max(0)),
            full: false, // it was
            ..*self
        }
    }
}

/// What was done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GcReport {
    pub snapshots_dropped: u64,
    /// Packs that went, of which nothing stayed, and of which something was moved. Those that wait for others of
    /// their group are in neither.
    pub packs_dropped: u64,
    pub packs_rewritten: u64,
    /// Bytes of the files that are gone.
    pub freed_bytes: u64,
    /// Bytes of the packs that were made.
    pub written_bytes: u64,
    pub moved_bytes: u64,
    pub chunks_moved: u64,
    /// Deltas that were stored plain, so that the next gc frees them and their bases.
    pub chunks_undone: u64,
    /// Packs that could not be read whole, and stay.
    pub packs_damaged: u64,
    /// `max_bytes`, `max_duration` or another process that waits ended it before the plan's end.
    pub stopped_at_limit: bool,
    /// It was the process that waits. What is left needs a plan of its own: there may be other snapshots by then.
    pub gave_way: bool,
}

impl GcReport {
    /// Adds what a later turn of one run did, and takes over how that ended.
    pub fn add(&mut self, turn: &GcReport) {
        self.snapshots_dropped += turn.snapshots_dropped;
        self.packs_dropped += turn.packs_dropped;
        self.packs_rewritten += turn.packs_rewritten;
        self.freed_bytes += turn.freed_bytes;
        self.written_bytes += turn.written_bytes;
        self.moved_bytes += turn.moved_bytes;
        self.chunks_moved += turn.chunks_moved;
        self.chunks_undone += turn.chunks_undone;
        self.packs_damaged = turn.packs_damaged; // each turn meets the same ones
        self.stopped_at_limit = turn.stopped_at_limit;
        self.gave_way = turn.gave_way;
    }
}

/// When to begin nothing more.
pub(in crate::ops) struct Limits {
    max_bytes: Option<u64>,
    until_ns: Option<i64>,
    gave_way: AtomicBool,
}

impl Limits {
    /// Counted from now.
    pub fn new(store: &Store, max_bytes: Option<u64>, max_duration_ns: Option<i64>) -> Limits {
        let now = store.io().world.now_ns();
        Limits { max_bytes, until_ns: max_duration_ns.map(|d| now.saturating_add(d)), gave_way: AtomicBool::new(false) }
    }

    /// Whether enough was done; or something, and another process waits for the lock.
    pub fn are_reached(&self, store: &Store, moved_bytes: u64) -> bool {
        self.max_bytes.is_some_and(|max| moved_bytes >= max) || self.is_time(store, moved_bytes > 0)
    }

    /// Whether the time is over, or (once there is progress, so that nobody starves) another process waits for the
    /// lock: what moves data for its own sake gives way.
    pub fn is_time(&self, store: &Store, is_progress: bool) -> bool {
        let over = self.until_ns.is_some_and(|until| store.io().world.now_ns() >= until);
        if !over && is_progress && store.is_asked_for() {
            self.gave_way.store(true, Ordering::Relaxed);
        }
        over || self.gave_way()
    }

    /// Whether it ended for another process's sake.
    pub fn gave_way(&self) -> bool {
        self.gave_way.load(Ordering::Relaxed)
    }
}

fn purpose(program: &str) -> Purpose {
    Purpose { moves: true, frees: true, ..Purpose::copying(program) }
}

/// Takes over what dead writers left, if the store is open for writing, and plans. What a backup that was cut short has
/// stored stays this time, so that the next one goes on from there.
///
/// # Errors
/// [`crate::Error::UnreadableTree`], [`crate::Error::ClockJumped`], [`crate::Error::Interrupted`],
/// [`crate::Error::Index`], [`crate::Error::Io`].
pub fn plan(store: &Store, options: &GcOptions, program: &str, control: &Control) -> Result<Plan> {
    let (writers, first) = store.with_state(|s| {
        let writers: Vec<(WriterId, bool)> =
            s.writers.iter().map(|(id, w)| (*id, MOVING_VERBS.contains(&w.verb.as_str()))).collect();
        (writers, s.next_serial())
    });
    let unfinished: BTreeSet<WriterId> = writers.iter().filter(|(_, moves)| !moves).map(|(id, _)| *id).collect();
    if !writers.is_empty() && store.mode() != Mode::Read {
        ingest::run(store, control, purpose(program), |_| Ok(((), |(): &mut (), _: &ingest::Counters| Vec::new())))?;
    }
    let last = store.with_state(|s| s.next_serial());
    let adopted = if unfinished.is_empty() { 0..0 } else { first..last };
    plan::make(store, options, &unfinished, &adopted, control)
}

/// Does what a plan says. The store must be the one that it was made for, opened for writing and not changed since.
///
/// # Errors
/// [`crate::Error::Interrupted`], [`crate::Error::Index`], those of the log and of an ingest. Every live snapshot is whole all the same.
pub fn run(store: &Store, mut plan: Plan, options: &GcOptions, program: &str, control: &Control) -> Result<GcReport> {
    if plan.is_empty() {
        // Snapshots whose grace is over stay as long as nothing is done: the counts then still have them.
        if plan.given_up.is_empty() {
            keep_counts(store, control, &mut plan)?;
        }
        return Ok(GcReport::default());
    }
    let limits = Limits::new(store, options.max_bytes, options.max_duration_ns);
    control.progress.set_phase("giving space back");
    control.progress.bytes_total.store(plan.moved_bytes(), Ordering::Relaxed);
    // Before the packs are gone from the log.
    let tried = super::compact::tried::load(store);
    let (mut moved_from, mut new_from) = (BTreeSet::new(), 0);
    let mut kept = None;
    let mut report = ingest::run(store, control, purpose(program), |ingest| {
        let mut report = GcReport { snapshots_dropped: plan.given_up.len() as u64, ..Default::default() };
        let dropped = plan.given_up.iter().map(|s| Event::SnapshotDropped { id: s.id }).collect();
        ingest.begin_with(dropped)?;
        // Before anything goes: what the counts need to take the given up ones away must still be there.
        let mut state = keep_counts(store, control, &mut plan)?;
        show_index(store, control, &mut plan)?;
        let mut waiting = groups::Waiting::default();
        let mut gone = sweep::Gone::default();
        let whole = sweep::drop_packs(store, control, &mut waiting, &plan.dead, Some(&limits), &mut gone)?;
        report.stopped_at_limit = !whole;
        let sources = if whole { &plan.sources[..] } else { &[] };
        let first_new = store.with_state(|s| s.next_serial());
        let to = (&mut report, &mut gone);
        let moved = moves::run(ingest, control, sources, first_new, &mut waiting, &limits, to);
        if let Some(state) = &mut state {
            retally(store, state, first_new)?;
        }
        moved?;
        report.gave_way = limits.gave_way();
        moved_from = plan.sources.iter().filter(|s| s.sealed.kind.is_data()).map(|s| s.sealed.serial).collect();
        new_from = first_new;
        kept = state;
        // Packs whose groups are not complete yet are still there.
        report.packs_dropped = plan.dead.iter().filter(|p| gone.packs.contains(&p.pack)).count() as u64;
        report.packs_rewritten = gone.packs.len() as u64 - report.packs_dropped; // some of them
        report.freed_bytes = gone.bytes;
        Ok((report, |report: &mut GcReport, counters: &ingest::Counters| {
            report.written_bytes = counters.bytes_written.load(Ordering::Relaxed);
            Vec::new()
        }))
    })?;
    if let Err(e) = super::compact::tried::carry(store, &tried, &moved_from, new_from) {
        control.notice(Notice::Note(format!("{e}; the next recompression will try what was moved once more")));
    }
    if !plan.dissolving.is_empty() && !report.stopped_at_limit {
        dissolve_bases(store, control, &plan.dissolving, program, &limits, (&mut report, kept))?;
    }
    Ok(report)
}

/// Stores plain what hangs on bases that go. The writer is a compact, by what it does: counts of a moment before it, in an
/// index that was put back, are known by that to be old, and so are those of a run that is cut off here.
fn dissolve_bases(
    store: &Store,
    control: &Control,
    plan: &dissolve::Dissolving,
    program: &str,
    limits: &Limits,
    (report, state): (&mut GcReport, Option<State>),
) -> Result<()> {
    let first_new = store.with_state(|s| s.next_serial());
    // Room comes back with the next gc only, which needs the reserve: better not begun than a writer that writes nothing.
    let shape = store.shape(PackKind::Data);
    let stay = |why: &str| Notice::Note(format!("bases that only deltas hold stay: {why}"));
    if store.pool().choose(store.superblock().pack_bytes, &InWork::default(), shape, false).is_none() {
        control.notice(stay("no disk has room for what would be stored plain"));
        return Ok(());
    }
    let purpose = Purpose { verb: Some("compact"), frees: false, ..purpose(program) };
    let mut moved = report.moved_bytes;
    let ended = ingest::run(store, control, purpose, |ingest| {
        let anew = dissolve::run(ingest, plan, limits, &mut moved)?;
        Ok(((anew, 0u64), |value: &mut (dissolve::Anew, u64), counters: &ingest::Counters| {
            value.1 = counters.bytes_written.load(Ordering::Relaxed);
            Vec::new()
        }))
    });
    let (anew, written) = match ended {
        Ok(ended) => ended,
        // What the gc itself did is done; what was stored plain by then is told to nobody, so the next gc is a full mark.
        Err(e @ Error::NoSpace { .. }) => {
            control.notice(stay(&e.to_string()));
            return Ok(());
        }
        Err(e) => return Err(e),
    };
    report.moved_bytes = moved;
    report.written_bytes += written;
    report.chunks_undone = anew.chunks.len() as u64;
    report.stopped_at_limit |= anew.stopped;
    report.gave_way |= limits.gave_way();
    if let Some(mut state) = state {
        dissolve::relink(store, &mut state, &anew.chunks, &anew.superseded)?;
        retally(store, &mut state, first_new)?;
    }
    Ok(())
}

/// How many chunks have another count than a full mark gives them; `None` where there are no counts that could be
/// compared. Changes nothing.
///
/// # Errors
/// As [`plan`].
pub fn audit(store: &Store, control: &Control) -> Result<Option<u64>> {
    plan::audit(store, control)
}

/// Records that another copy took the place of, and their bytes, by the serial of their pack.
pub(in crate::ops) type Superseded = BTreeMap<u32, (u32, u64)>;

/// Tells the tallies that so much of these packs is superseded, so that the next gc looks at them. The counts themselves
/// stand for what they stood for. A compact that did not come to this makes the next gc a full mark.
///
/// # Errors
/// [`crate::Error::Index`].
pub(in crate::ops) fn supersede(store: &Store, superseded: &Superseded, compacted: bool) -> Result<()> {
    let Some(mut state) = State::load(store)? else { return Ok(()) };
    for (serial, (records, bytes)) in superseded {
        if let Some(tally) = state.tallies.get_mut(serial) {
            tally.records = tally.records.saturating_sub(*records);
            tally.kept_bytes = tally.kept_bytes.saturating_sub(*bytes);
        }
    }
    if compacted {
        state.told = store.reflected().number;
    }
    store.index().put_counts(&[], Some(&state.encode()))
}

/// Forgets the counts where an earlier compact did not tell what it superseded: the one that begins now must not speak for
/// it. The next gc is a full mark then.
///
/// # Errors
/// [`crate::Error::Index`], [`crate::Error::FromTheFuture`].
pub(in crate::ops) fn forget_untold(store: &Store) -> Result<()> {
    let Some(state) = State::load(store)? else { return Ok(()) };
    let log = LogRead::read(store.io(), store.path(), store.pool())?;
    if log.began_since(store.io(), state.told.max(state.reflected.number), "compact")? {
        store.index().clear_counts(false)?;
    }
    Ok(())
}

/// Packs before this serial are known to the counts: a chunk in them that has no count was needed by nothing when the
/// counts were kept. `None` where there are no counts.
///
/// # Errors
/// [`crate::Error::Index`].
pub(in crate::ops) fn counted_until(store: &Store) -> Result<Option<u32>> {
    let state = State::load(store)?;
    // A snapshot that came since may need what nothing needed then.
    let is_known = |state: &State| counts::roots(store).keys().all(|id| state.roots.contains_key(id));
    Ok(state.filter(is_known).map(|state| state.next_serial))
}

/// Writes the counts that a plan found, standing for the log as it is now. `None` where there are none.
fn keep_counts(store: &Store, control: &Control, plan: &mut Plan) -> Result<Option<State>> {
    let nothing = State::default();
    let mut state = match std::mem::replace(&mut plan.pending, Pending::Nothing) {
        Pending::Nothing => {
            store.index().clear_counts(false)?;
            return Ok(None);
        }
        Pending::Founding(founding, tallies) => {
            counts::found(store, control, *founding)?;
            State { tallies, ..nothing }
        }
        Pending::Changed(changed, state) => {
            let mut writer = counts::Writer::begin(store, false)?;
            for (id, count) in &changed {
                writer.put(*id, count)?;
            }
            writer.end()?;
            State { tallies: std::mem::take(&mut plan.tallies), ..state }
        }
    };
    state.save(store)?;
    Ok(Some(state))
}

/// Tallies what a run has moved: all of the packs that it made is kept.
fn retally(store: &Store, state: &mut State, first_new: u32) -> Result<()> {
    store.with_state(|s| {
        state.tallies.retain(|serial, _| s.pack(*serial).is_some());
        for pack in s.packs_from(first_new).map(|p| p.sealed) {
            let tally = Tally { records: pack.records, kept_bytes: pack.bytes, bytes: pack.bytes };
            state.tallies.insert(pack.serial, tally);
        }
    });
    state.save(store)
}

/// Chunks that are applied to the index at once.
const SHOWN_BATCH: usize = 4096;

/// Tells the index which copy stays of the chunks that have several, before the others go. Where it cannot be told, none may
/// go: no later run would feed it a pack that it has reflected already.
fn show_index(store: &Store, control: &Control, plan: &mut Plan) -> Result<()> {
    let mut shown = match plan.shown.take() {
        Some(shown) => Some(shown.finish()?),
        None => None,
    };
    let mut rows = std::mem::take(&mut plan.shown_rows).into_iter();
    let mut open: Option<(u32, Vec<crate::format::footer::Row>)> = None;
    let mut batch: Vec<(ChunkId, Place)> = Vec::new();
    loop {
        let next = match &mut shown {
            Some(sorted) => sorted.next()?.map(|record| keep::decode_shown(&record)),
            None => rows.next().map(|(serial, row, id)| (serial, row as usize, id)),
        };
        let Some((serial, row, id)) = next else { break };
        if open.as_ref().is_none_or(|(s, _)| *s != serial) {
            control.proceed()?;
            let Some(sealed) = store.with_state(|s| s.pack(serial).map(|p| p.sealed)) else { continue };
            open = Some((serial, store.ends(&sealed)?.footer.rows));
        }
        let row = open.as_ref().and_then(|(_, rows)| rows.get(row)).filter(|r| r.header.id == id);
        if let Some(row) = row {
            batch.push((id, Place::of(serial, row)));
        }
        if batch.len() >= SHOWN_BATCH {
            store.index().apply(&std::mem::take(&mut batch), None)?;
        }
    }
    store.index().apply(&batch, None)
}
