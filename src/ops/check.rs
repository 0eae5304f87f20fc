//! check: is everything there that the snapshots need, and is every copy of everything as it should be?
//!
//! A check reads and changes nothing. It needs no lock and may run beside a writer: it speaks of the log as it was
//! when the store was opened. `folders` looks at what stands on every disk alike, `strays` at files that nobody
//! knows, `groups` at parity, `packs` at the packs and whether the index agrees with them, `trees` at what the
//! snapshots reach. `truth` is what the packs turned out to hold; the trees are judged by it, not by the index.
//!
//! # Invariants
//!
//! 1. With `read_data` every byte of every live pack, of data and parity, is compared with its checks, and every chunk with
//!    its name: any change of any byte is a problem.
//! 2. A file is called lost only if its bytes cannot be had from any pack that is here; an index that lies
//!    makes a problem, not a loss.
//! 3. Nothing but a failure of this very run ([`crate::Error::Interrupted`], a thread that cannot be started) ends a
//!    check before its end: what is broken is what it is for.
//! 4. Memory: a window of a MiB and a chunk a thread, one pack's table a thread, about 24 bytes a folder node, and lists
//!    whose lengths are bounded here.

use super::{Control, FileLost};
use crate::error::Result;
use crate::format::event::Event;
use crate::format::{DiskId, PackId};
use crate::pool::disk::Disk;
use crate::store::Store;
use std::collections::BTreeSet;
use std::path::Path;

pub(super) mod deltas;
mod folders;
mod groups;
mod packs;
mod strays;
#[cfg(test)]
mod tests;
pub(super) mod trees;
pub(super) mod truth;

/// Lost files that are named in a report; further ones are counted.
pub const LOST_FILES_MAX: usize = 100_000;
/// Problems that are named in a report; further ones are counted.
pub const PROBLEMS_MAX: usize = 10_000;

/// What to check.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CheckOptions {
    /// Read every pack whole and prove every chunk.
    pub read_data: bool,
    /// Rebuild every file of which a part does not stand in the store as it stands in the file, and compare.
    pub rebuild: bool,
}

/// Something that is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// One line: what, where, and what to do.
    pub what: String,
    /// What is needed to make it good is there.
    pub repairable: bool,
}

/// What was looked at and what was found.
#[derive(Clone, Debug, Default)]
pub struct CheckReport {
    pub packs: u64,
    /// Bytes of packs that were read to prove them.
    pub bytes_read: u64,
    /// Records in the packs' tables.
    pub chunks: u64,
    pub snapshots: u64,
    /// Files of all snapshots.
    pub files: u64,
    pub problems: Vec<Problem>,
    /// Files that were rebuilt, and their bytes.
    pub rebuilt: (u64, u64),
    /// In order of snapshot and path; at most [`LOST_FILES_MAX`].
    pub lost: Vec<FileLost>,
    pub files_lost: u64,
    pub bytes_lost: u64,
    /// Damage in live packs, of parity first: pack, offset, bytes (0: the whole pack). What the log does not
    /// know of it yet is what [`record`] is for.
    pub damage: Vec<(PackId, u64, u64)>,
    /// Packs that the log calls damaged and that proved whole, or damaged at other places than the log knows.
    pub healed: Vec<PackId>,
    /// Disks that failed an earlier run and of which every byte was read and proven now.
    pub looked_at: Vec<DiskId>,
}

/// Problems as they are found, bounded in number.
#[derive(Debug, Default)]
pub(super) struct Problems {
    list: Vec<Problem>,
    more: u64,
    more_for_good: bool,
    /// Disks with something amiss.
    faulty: BTreeSet<DiskId>,
}

impl Problems {
    fn repairable(&mut self, what: String) {
        self.push(Problem { what, repairable: true });
    }

    fn for_good(&mut self, what: String) {
        self.push(Problem { what, repairable: false });
    }

    /// Notes that something is amiss on the disk that a path lies on.
    fn blame(&mut self, store: &Store, path: &Path) {
        let disks = store.pool().disks().filter(|d| path.starts_with(&d.path));
        self.faulty.extend(disks.max_by_key(|d| d.path.as_os_str().len()).map(|d| d.id));
    }

    fn push(&mut self, problem: Problem) {
        if self.list.len() < PROBLEMS_MAX {
            self.list.push(problem);
        } else {
            self.more += 1;
            self.more_for_good |= !problem.repairable;
        }
    }

    pub(super) fn finish(mut self) -> Vec<Problem> {
        if self.more > 0 {
            let what = format!("another {} problems are not listed; mend these and check again", self.more);
            self.list.push(Problem { what, repairable: !self.more_for_good });
        }
        self.list
    }
}

/// Checks a store.
///
/// # Errors
/// [`crate::Error::Interrupted`], [`crate::Error::FromTheFuture`], a worker that was lost. Whatever is broken in the store
/// is in the report instead.
pub fn run(store: &Store, options: &CheckOptions, control: &Control) -> Result<CheckReport> {
    let mut problems = Problems::default();
    control.progress.set_phase("checking the log");
    folders::constants(store, control, &mut problems);
    folders::log(store, control, &mut problems)?;
    strays::find(store, control, &mut problems)?;
    let mut report = CheckReport::default();
    let parity = groups::parity(store, options.read_data, control, &mut report, &mut problems)?;
    control.progress.set_phase(if options.read_data { "reading packs" } else { "checking packs" });
    let read = packs::read(store, options.read_data, &parity, control, &mut problems)?;
    control.progress.set_phase("checking snapshots");
    (report.packs, report.chunks) = (read.packs, read.chunks);
    report.bytes_read += read.bytes_read;
    report.damage.extend(read.damage);
    report.healed.extend(read.healed);
    problems.faulty.extend(read.faulty);
    if options.read_data {
        report.looked_at = looked_at(store, &problems.faulty);
    }
    trees::check(store, &read.truth, options.rebuild, control, &mut report, &mut problems)?;
    let beside = read.truth.beside_index.load(std::sync::atomic::Ordering::Relaxed);
    if beside > 0 {
        problems.repairable(format!(
            "{beside} look-ups of chunks found them only in the packs' own tables; `onefold recover` makes the index anew"
        ));
    }
    report.problems = problems.finish();
    Ok(report)
}

/// Disks that failed an earlier run and on which nothing is amiss.
fn looked_at(store: &Store, faulty: &BTreeSet<DiskId>) -> Vec<DiskId> {
    store.pool().disks().filter(|d| d.is_noted() && !faulty.contains(&d.id)).map(|d| d.id).collect()
}

/// Logs that disks were looked at and are trusted again. `store` is open for writing.
///
/// # Errors
/// As [`Store::append`].
pub fn record_looked_at(store: &Store, disks: &[DiskId]) -> Result<Vec<String>> {
    let events: Vec<Event> =
        disks.iter().map(|id| Event::Setting { key: Disk::suspect_key(id), value: String::new() }).collect();
    if events.is_empty() { Ok(Vec::new()) } else { store.append(|_| events) }
}

/// Logs what a check found: damage that the log does not know yet, so that the chunks there count as misses
/// and are stored again when they are met, and packs that are whole again. Returns the notices of copies
/// of the log that could not be written. `store` is open for writing.
///
/// # Errors
/// As [`Store::append`].
pub fn record(store: &Store, damage: &[(PackId, u64, u64)], healed: &[PackId]) -> Result<Vec<String>> {
    let events = store.with_state(|state| {
        let mut events = Vec::new();
        for pack in healed.iter().filter(|p| state.damage.contains_key(*p)) {
            events.push(Event::DamageHealed { pack: *pack });
        }
        for &(pack, offset, bytes) in damage {
            let known = !healed.contains(&pack)
                && state.damage.get(&pack).is_some_and(|list| {
                    list.iter().any(|d| {
                        let to = d.offset.saturating_add(d.bytes);
                        d.bytes == 0 || (bytes > 0 && d.offset <= offset && offset.saturating_add(bytes) <= to)
                    })
                });
            // A pack that was dropped since then is no one's worry.
            if !known && (state.pack_by_id(&pack).is_some() || state.group_of(&pack).is_some()) {
                events.push(Event::DamageFound { pack, offset, bytes, by: "check".to_owned() });
            }
        }
        events
    });
    if events.is_empty() { Ok(Vec::new()) } else { store.append(|_| events) }
}
