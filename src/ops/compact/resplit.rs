//! Splitting anew: files that no splitter took, or an older one, get the recipe that a backup would give them today.
//!
//! A round splits some files, proves them, builds the trees of all live snapshots anew around them and logs the snapshots
//! that changed, each in the place of the one that it was. Rounds follow each other until no file is left, or a limit is
//! reached. `docs/design/0005-compact.md` has the reasons.
//!
//! # Invariants
//!
//! 1. A new recipe stands in a tree only after its bytes were read back from sealed packs and compared with those of the old
//!    one, all of them. Any difference or doubt: the old recipe stays, is counted and told.
//! 2. A snapshot changes by one event, which stands in the log behind the packs of all that it reaches. A crash at any
//!    moment leaves the old or the new; what it leaves besides, nothing reaches.
//! 3. Trees differ in recipes alone: names, their order and all other bytes of entries are copied. So the witness fits.
//! 4. A file gets its new recipe in all live snapshots, or in none, but for folders that cannot be read: those stay as they
//!    are. Forgotten ones stay, too: `undelete` gives what was.
//! 5. Nothing is removed: the old trees are those of forgotten snapshots, and go with a gc after the grace.

use super::CompactReport;
use crate::chunk::{Coding, Tier};
use crate::error::{Error, Result};
use crate::format::entry::{Content, EntryKind};
use crate::format::event::Event;
use crate::format::node::MapRoot;
use crate::format::recipe::Recipe;
use crate::format::{Keys, SnapshotId};
use crate::io::source::Names;
use crate::io::threads::{self, simulated_or};
use crate::ops::backup::{self, Readers};
use crate::ops::gc::Limits;
use crate::ops::ingest::{self, Counters, Ingest, Purpose};
use crate::ops::{Control, Notice};
use crate::store::Store;
use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::Ordering;

mod done;
#[cfg(test)]
mod lives;
mod scan;
#[cfg(test)]
mod tests;
mod trees;

pub use done::SPLIT_FILE;
use scan::Memory;
pub use scan::ResplitPlan;
pub(super) use scan::plan;

/// What the log calls the writer. Unlike a compact's its chunks are new ones.
pub(super) const VERB: &str = "resplit";
/// Bytes of files after which packs are sealed and what is in them is proven: few packs are small for it, and little is
/// split in vain if the run is cut short.
const PROVE_BYTES: u64 = 1 << 30;
/// What a recipe takes in memory beside what it says.
const RECIPE_BYTES: u64 = 160;
/// Snapshots that change in one log entry.
const AT_ONCE: usize = 1024;

/// Which files are split anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Split {
    /// Those that no splitter took and one would today, or that an older version of their splitter took.
    Older,
    /// Those that any splitter took, too: archives whose members got newer splitters, deflate that resembles what came later.
    All,
}

/// What a file is known by: its key, shortened. Where two meet, one is not split anew, which costs space.
fn short(key: &[u8; 32]) -> u64 {
    u64::from_le_bytes([key[0], key[1], key[2], key[3], key[4], key[5], key[6], key[7]]) // it has 32
}

/// What is known of a folder's root.
fn key_of(keys: &Keys, root: &MapRoot) -> [u8; 32] {
    let mut encoded = Vec::new();
    root.encode_into(&mut encoded);
    keys.keyed_check(&encoded)
}

/// Files that were split and not proven yet.
#[derive(Default)]
struct Waiting {
    /// Places in the plan, and the new recipes.
    files: Vec<(usize, Recipe)>,
    bytes: u64,
}

/// What is live.
fn live(store: &Store) -> BTreeSet<SnapshotId> {
    store.with_state(|s| s.live_snapshots().into_iter().map(|(id, _)| id).collect())
}

/// Notes what a run knows at its end. The list is a cache: a run does not fail for it.
pub(super) fn end(store: &Store, plan: &ResplitPlan, control: &Control, report: &mut CompactReport) {
    report.resplit_unreadable = plan.unreadable;
    let is_all_done = plan.is_empty() && plan.left == 0 && plan.unreadable == 0;
    if let Err(e) = done::add(store, &plan.memory, is_all_done) {
        control.notice(Notice::Note(format!("{}; the next run will look at those files once more", e.line())));
    }
}

/// Splits anew what a plan says, round by round.
///
/// # Errors
/// [`Error::Interrupted`], [`Error::NoSpace`], those of the log and of an ingest. Every snapshot is whole all the same.
pub(super) fn run(
    store: &Store,
    mut plan: ResplitPlan,
    dense: bool,
    limits: &Limits,
    program: &str,
    control: &Control,
    report: &mut CompactReport,
) -> Result<()> {
    let before = live(store);
    let ended = rounds(store, &mut plan, dense, limits, program, control, report);
    report.snapshots_resplit = live(store).difference(&before).count() as u64;
    report.stopped_at_limit |= plan.left > 0;
    end(store, &plan, control, report);
    ended
}

fn rounds(
    store: &Store,
    plan: &mut ResplitPlan,
    dense: bool,
    limits: &Limits,
    program: &str,
    control: &Control,
    report: &mut CompactReport,
) -> Result<()> {
    let most = plan.most_bytes;
    // A new chunk may resemble the old ones of its own file, which are to go: as its bases they would stay.
    let bases_from = store.with_state(|s| s.next_serial());
    while !plan.chosen.is_empty() {
        control.progress.set_phase("splitting anew");
        let tier = if dense { Tier::Dense } else { Coding::default().tier };
        let purpose = Purpose { verb: Some(VERB), coding: tier.into(), bases_from, ..Purpose::copying(program) };
        report.written_bytes += ingest::run(store, control, purpose, |ingest| {
            let names = Names::new();
            let readers = Readers::new(ingest, &names, i128::from(store.io().world.now_ns()));
            // As many as a backup has, less this thread.
            let by_memory = usize::try_from(store.memory_bytes() / (64 << 20)).unwrap_or(usize::MAX);
            let helpers = threads::parallelism().min(by_memory).saturating_sub(1);
            let anew =
                backup::with_helpers(&readers, helpers, || contents(ingest, &readers, plan, limits, control, report))?;
            let (events, kept) = round(ingest, &anew, &plan.memory, program, control, report)?;
            if kept {
                // Somewhere these files stay as they were. The next round is not to split them again for that.
                plan.memory.failed.extend(anew.keys().map(short));
            }
            Ok((0u64, move |written: &mut u64, counters: &Counters| {
                *written = counters.bytes_written.load(Ordering::Relaxed);
                events
            }))
        })?;
        if report.stopped_at_limit {
            break;
        }
        let left = most.map(|most| most.saturating_sub(report.bytes_handled()));
        *plan = scan::again(store, plan.take_memory(), left, control)?;
        if plan.memory.is_full() {
            // What was tried would be tried again. The next run knows what is done, and goes on.
            report.stopped_at_limit |= !plan.chosen.is_empty();
            break;
        }
    }
    Ok(())
}

/// Splits files anew and proves them. Returns the new recipes by the keys of the old contents.
fn contents(
    ingest: &Ingest<'_>,
    readers: &Readers<'_, '_>,
    plan: &mut ResplitPlan,
    limits: &Limits,
    control: &Control,
    report: &mut CompactReport,
) -> Result<HashMap<[u8; 32], Recipe>> {
    let store = ingest.store();
    let mut anew: HashMap<[u8; 32], Recipe> = HashMap::new();
    let mut waiting = Waiting::default();
    let (mut handled, mut held) = (report.bytes_handled(), 0);
    for i in 0..plan.chosen.len() {
        ingest.proceed()?;
        let file = &plan.chosen[i]; // i < len
        ingest.pace(file.bytes)?;
        if limits.are_reached(store, handled) {
            report.stopped_at_limit = true;
            break;
        }
        if held > store.memory_bytes() / 8 {
            break; // the next round takes the others
        }
        match backup::split_anew(store, readers, &file.content, file.bytes, ingest.lane_of(i as u64), control)? {
            Ok(content) => match content.recipe().filter(|new| file.content.recipe() != Some(new)) {
                Some(new) => {
                    handled += file.bytes;
                    waiting.bytes += file.bytes;
                    held += RECIPE_BYTES + new.encode().len() as u64;
                    waiting.files.push((i, new.clone()));
                }
                None => {
                    handled += file.bytes;
                    report.resplit_same += 1;
                    report.resplit_same_bytes += file.bytes;
                    plan.memory.tried.insert(short(&file.key));
                }
            },
            Err(e) => stays(plan, i, &e, control, report),
        }
        control.progress.bytes_done.fetch_add(plan.chosen[i].bytes, Ordering::Relaxed); // i < len
        if waiting.bytes >= simulated_or(100_000, PROVE_BYTES) {
            prove(ingest, plan, &mut waiting, &mut anew, control, report)?;
        }
    }
    prove(ingest, plan, &mut waiting, &mut anew, control, report)?;
    Ok(anew)
}

/// Builds the trees around new recipes. Returns the events that end the run, and whether some of it stays as it is; what is too
/// much for one entry is logged before.
fn round(
    ingest: &Ingest<'_>,
    anew: &HashMap<[u8; 32], Recipe>,
    memory: &Memory,
    program: &str,
    control: &Control,
    report: &mut CompactReport,
) -> Result<(Vec<Event>, bool)> {
    control.progress.set_phase("building trees anew");
    let (mut events, kept) = trees::events(ingest, anew, memory, program, control, report)?;
    let last = events.split_off(events.len().saturating_sub(simulated_or(2, AT_ONCE)));
    if !events.is_empty() {
        ingest.settle()?;
        for some in events.chunks(simulated_or(2, AT_ONCE)) {
            ingest.begin_with(some.to_vec())?;
        }
    }
    Ok((last, kept))
}

/// A file keeps its old recipe: it cannot be read, or what came of it is not proven.
fn stays(plan: &mut ResplitPlan, i: usize, e: &Error, control: &Control, report: &mut CompactReport) {
    let file = &plan.chosen[i]; // i is a place in the plan
    let path = crate::format::text::escape(&file.path);
    control.notice(Notice::Note(format!("{path} stays as it is: {}", e.line())));
    report.resplit_kept += 1;
    report.resplit_kept_bytes += file.bytes;
    plan.memory.failed.insert(short(&file.key));
}

/// Seals what was stored and compares every file's new bytes with its old ones.
fn prove(
    ingest: &Ingest<'_>,
    plan: &mut ResplitPlan,
    waiting: &mut Waiting,
    anew: &mut HashMap<[u8; 32], Recipe>,
    control: &Control,
    report: &mut CompactReport,
) -> Result<()> {
    let Waiting { files, .. } = std::mem::take(waiting);
    if files.is_empty() {
        return Ok(());
    }
    ingest.settle()?;
    control.progress.set_phase("comparing");
    for (i, new) in files {
        ingest.proceed()?;
        let file = &plan.chosen[i]; // i is a place in the plan
        let content = Content::Recipe(Box::new(new));
        match backup::are_the_same(ingest.store(), &file.content, &content, file.bytes, control)? {
            Ok(()) => {
                report.files_resplit += 1;
                report.resplit_bytes += file.bytes;
                let kind = EntryKind::File { bytes: file.bytes, content };
                plan.memory.tried.insert(short(&backup::content_key(ingest.store().keys(), &kind)));
                let EntryKind::File { content: Content::Recipe(new), .. } = kind else { continue }; // it was made so above
                anew.insert(file.key, *new);
            }
            Err(e) => stays(plan, i, &e, control, report),
        }
    }
    control.progress.set_phase("splitting anew");
    Ok(())
}
