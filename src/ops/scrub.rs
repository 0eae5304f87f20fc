//! scrub: every pack is read in the order of its disk and proven, before the second fault meets the first.
//!
//! One worker a disk. Units that do not fit their checks are found without keys, in packs of data and parity
//! alike. The reading needs no lock and runs beside a writer; what it found is settled from time to time by
//! a store that is open for writing: damaged packs are mended ([`crate::ops::repair`]), proven ones are
//! noted in the log's ledger. A scrub that is stopped goes on where it was: what its pass proved is left out.

use super::repair::{self, Mended};
use super::{Control, FileLost, check};
use crate::error::{Error, Result};
use crate::format::check::UNIT_BYTES;
use crate::format::event::Event;
use crate::format::{DiskId, PackId};
use crate::store::Store;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The setting that holds when the pass that is not at its end began, in nanoseconds.
const SETTING_PASS: &str = "scrub pass";
/// Proven packs that are noted at once: an entry of some 20 KB.
const LEDGER_PACKS: usize = 512;

/// How to scrub.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ScrubOptions {
    /// Bytes a second that are read from each disk at most.
    pub rate: Option<u64>,
    /// Stop after so long; the next scrub goes on there.
    pub max_duration: Option<Duration>,
    /// Only packs that were not proven for so long.
    pub older_than: Option<Duration>,
}

/// Damage in a pack: where it begins, and how many bytes; 0 bytes: all of it.
pub type Range = (u64, u64);

/// What a scrub found and has not settled yet.
#[derive(Clone, Debug, Default)]
pub struct Found {
    /// Proven, and when.
    pub proven: Vec<(PackId, i64)>,
    pub damaged: BTreeMap<PackId, Vec<Range>>,
}

impl Found {
    pub fn is_empty(&self) -> bool {
        self.proven.is_empty() && self.damaged.is_empty()
    }
}

/// What a scrub did.
#[derive(Clone, Debug, Default)]
pub struct ScrubReport {
    /// Packs that were read, those of parity among them.
    pub packs: u64,
    pub bytes_read: u64,
    /// Packs that were left out: proven lately, or by this pass before it was stopped.
    pub left_out: u64,
    /// Packs on disks that are not here.
    pub away: u64,
    pub mended: Vec<Mended>,
    /// The pass is at its end.
    pub complete: bool,
    /// Files that what could not be mended has lost.
    pub lost: Vec<FileLost>,
    pub files_lost: u64,
    pub bytes_lost: u64,
}

#[derive(Clone, Copy)]
struct Todo {
    pack: PackId,
    bytes: u64,
    /// When it was proven last; the smallest number if never.
    last: i64,
}

struct Scrub<'a> {
    store: &'a Store,
    control: &'a Control,
    options: ScrubOptions,
    begun: Instant,
    found: Mutex<Found>,
    packs: AtomicU64,
    bytes: AtomicU64,
    stopped: AtomicBool,
    out_of_time: AtomicBool,
}

/// When the pass began that this scrub belongs to, by the log; now if none is under way.
pub fn pass_of(store: &Store) -> (i64, bool) {
    let known = store.with_state(|s| s.settings.get(SETTING_PASS).and_then(|t| t.parse::<i64>().ok()));
    match known {
        Some(began) => (began, true),
        None => (store.io().world.now_ns(), false),
    }
}

/// Reads and proves. `settle` is called with what was found, now and then and at the end; what it cannot settle
/// now it leaves in its argument. Only the last call says `true`.
///
/// # Errors
/// [`Error::Interrupted`], what `settle` returns, a worker that was lost.
pub fn run(
    store: &Store,
    options: &ScrubOptions,
    control: &Control,
    settle: &mut dyn FnMut(&mut Found, bool) -> Result<Vec<Mended>>,
) -> Result<ScrubReport> {
    control.progress.set_phase("scrubbing");
    let mut report = ScrubReport::default();
    let by_disk = todo(store, options, &mut report);
    let total = by_disk.values().flatten().map(|t| t.bytes).sum();
    control.progress.bytes_total.store(total, Ordering::Relaxed);
    control.progress.totals_known.store(true, Ordering::Relaxed);
    let scrub = Scrub {
        store,
        control,
        options: *options,
        begun: Instant::now(),
        found: Mutex::default(),
        packs: AtomicU64::new(0),
        bytes: AtomicU64::new(0),
        stopped: AtomicBool::new(false),
        out_of_time: AtomicBool::new(false),
    };
    let outcome = std::thread::scope(|scope| -> Result<()> {
        let scrub = &scrub;
        let mut handles = Vec::new();
        for list in by_disk.values() {
            let started = std::thread::Builder::new().name("onefold-scrub".into());
            let handle = started.spawn_scoped(scope, move || scrub.disk(list));
            handles.push(handle.map_err(Error::io("start a thread for", store.path()))?);
        }
        let mut outcome = Ok(());
        while handles.iter().any(|h| !h.is_finished()) {
            std::thread::sleep(Duration::from_millis(20));
            let due = {
                let found = scrub.found.lock().unwrap_or_else(PoisonError::into_inner);
                found.proven.len() >= LEDGER_PACKS
            };
            if due && outcome.is_ok() {
                outcome = scrub.settle(settle, false, &mut report);
                if outcome.is_err() {
                    scrub.stopped.store(true, Ordering::Relaxed);
                }
            }
        }
        for handle in handles {
            outcome = outcome.and(handle.join().unwrap_or(Err(Error::WorkerLost { verb: "scrub" })));
        }
        outcome
    });
    report.packs = scrub.packs.load(Ordering::Relaxed);
    report.bytes_read = scrub.bytes.load(Ordering::Relaxed);
    report.complete = outcome.is_ok() && !scrub.out_of_time.load(Ordering::Relaxed);
    // What was proven is worth noting also where the scrub was stopped.
    match outcome {
        Ok(()) => scrub.settle(settle, true, &mut report)?,
        Err(e) => {
            let _ = scrub.settle(settle, true, &mut report);
            return Err(e);
        }
    }
    Ok(report)
}

/// Packs to read, by disk: those that were not proven for the longest time first, in the order of sealing.
fn todo(store: &Store, options: &ScrubOptions, report: &mut ScrubReport) -> BTreeMap<DiskId, Vec<Todo>> {
    let (pass, under_way) = pass_of(store);
    let now = store.io().world.now_ns();
    let oldest = |d: Duration| now.saturating_sub(i64::try_from(d.as_nanos()).unwrap_or(i64::MAX));
    let mut by_disk: BTreeMap<DiskId, Vec<Todo>> = BTreeMap::new();
    store.with_state(|state| {
        let data = state.packs().map(|p| (p.sealed.pack, p.sealed.disk, p.sealed.bytes));
        let parity = state.groups().flat_map(|g| state.members(g)).filter(|m| m.parity);
        for (pack, disk, bytes) in data.chain(parity.map(|m| (m.pack, m.disk, m.bytes))) {
            let last = state.scrubbed.get(&pack).map_or(i64::MIN, |(at, _)| *at);
            let is_known_bad = state.damage.contains_key(&pack);
            let proven = match options.older_than {
                Some(age) => last > oldest(age),
                None => under_way && last >= pass,
            };
            if store.pool().disk(&disk).is_none() {
                report.away += 1;
            } else if proven && !is_known_bad {
                report.left_out += 1;
            } else {
                by_disk.entry(disk).or_default().push(Todo { pack, bytes, last });
            }
        }
    });
    by_disk.values_mut().for_each(|list| list.sort_by_key(|t| t.last)); // stable: the order of sealing stays
    by_disk
}

impl Scrub<'_> {
    fn settle(
        &self,
        settle: &mut dyn FnMut(&mut Found, bool) -> Result<Vec<Mended>>,
        last: bool,
        report: &mut ScrubReport,
    ) -> Result<()> {
        let mut found = std::mem::take(&mut *self.found.lock().unwrap_or_else(PoisonError::into_inner));
        if found.is_empty() && !last {
            return Ok(());
        }
        let settled = settle(&mut found, last && report.complete);
        let mut waiting = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.proven.append(&mut found.proven);
        waiting.damaged.append(&mut found.damaged);
        report.mended.extend(settled?);
        Ok(())
    }

    fn disk(&self, list: &[Todo]) -> Result<()> {
        for todo in list {
            if self.stopped.load(Ordering::Relaxed) {
                return Ok(());
            }
            if self.options.max_duration.is_some_and(|most| self.begun.elapsed() >= most) {
                self.out_of_time.store(true, Ordering::Relaxed);
                return Ok(());
            }
            self.pack(todo)?;
        }
        Ok(())
    }

    fn pack(&self, todo: &Todo) -> Result<()> {
        let Ok(standing) = repair::standing(self.store, &todo.pack) else { return Ok(()) }; // dropped since
        let mut damaged: Vec<Range> = Vec::new();
        let begun = Instant::now();
        let mut read = 0;
        let proven = standing.reader.scrub(standing.slot, &mut |unit, bytes, good| {
            self.control.proceed()?;
            read += bytes;
            self.bytes.fetch_add(bytes, Ordering::Relaxed);
            self.control.progress.bytes_done.fetch_add(bytes, Ordering::Relaxed);
            if !good {
                damaged.push((unit * UNIT_BYTES, UNIT_BYTES.min(todo.bytes.saturating_sub(unit * UNIT_BYTES))));
            }
            self.pace(begun, read)
        });
        match proven {
            Ok(()) => {}
            Err(e @ Error::Interrupted) => return Err(e),
            Err(_) => damaged = vec![(0, 0)], // its ends cannot be had: what of it is good shows when it is mended
        }
        self.packs.fetch_add(1, Ordering::Relaxed);
        let mut found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        if damaged.is_empty() {
            found.proven.push((todo.pack, self.store.io().world.now_ns()));
        } else {
            found.damaged.insert(todo.pack, damaged);
        }
        Ok(())
    }

    /// Waits until `read` bytes since `begun` are no more than the rate allows.
    fn pace(&self, begun: Instant, read: u64) -> Result<()> {
        let Some(rate) = self.options.rate.filter(|r| *r > 0) else { return Ok(()) };
        let due = Duration::from_secs_f64(read as f64 / rate as f64);
        while let Some(early) = due.checked_sub(begun.elapsed()).filter(|d| !d.is_zero()) {
            self.control.proceed()?;
            std::thread::sleep(early.min(Duration::from_millis(100)));
        }
        Ok(())
    }
}

/// Settles what a scrub found, with a store that is open for writing: logs damage, mends what can be mended, notes
/// what proved. `pass` is the pass that it belongs to, and `complete` says that it has come to its end.
///
/// # Errors
/// [`Error::Interrupted`], and whatever keeps the log from being written.
pub fn settle(store: &Store, found: &mut Found, pass: i64, complete: bool, control: &Control) -> Result<Vec<Mended>> {
    let damaged = std::mem::take(&mut found.damaged);
    let packs: Vec<PackId> = damaged.keys().copied().collect();
    if !damaged.is_empty() {
        // First the log, so that nobody counts on those bytes while they are mended, or if they cannot be.
        let list: Vec<(PackId, u64, u64)> =
            damaged.iter().flat_map(|(p, ranges)| ranges.iter().map(|(at, n)| (*p, *at, *n))).collect();
        record(store, &list)?;
    }
    let mended = repair::mend(store, &packs, control)?;
    let now = store.io().world.now_ns();
    let healed: BTreeSet<PackId> = mended.iter().filter(|m| m.failed.is_none()).map(|m| m.pack).collect();
    let noted: Vec<(PackId, i64)> =
        std::mem::take(&mut found.proven).into_iter().chain(healed.iter().map(|p| (*p, now))).collect();
    let events = store.with_state(|state| {
        let lives = |p: &PackId| state.pack_by_id(p).is_some() || state.group_of(p).is_some();
        let mut events: Vec<Event> = noted
            .iter()
            .filter(|(p, _)| lives(p))
            .map(|(pack, at)| Event::ScrubLedger { pack: *pack, time_ns: *at, by: "scrub".into() })
            .collect();
        // Known damage that was not found again is none.
        let proven = noted.iter().map(|(p, _)| p).filter(|p| state.damage.contains_key(*p));
        events.extend(proven.map(|pack| Event::DamageHealed { pack: *pack }));
        let value = if complete { String::new() } else { pass.to_string() };
        if state.settings.get(SETTING_PASS).map_or("", String::as_str) != value {
            events.push(Event::Setting { key: SETTING_PASS.into(), value });
        }
        events
    });
    if !events.is_empty() {
        store.append(|_| events)?;
    }
    Ok(mended)
}

/// Logs damage that the log does not know yet.
fn record(store: &Store, damage: &[(PackId, u64, u64)]) -> Result<()> {
    let events: Vec<Event> = store.with_state(|state| {
        let new = damage.iter().filter(|(pack, offset, bytes)| {
            let lives = state.pack_by_id(pack).is_some() || state.group_of(pack).is_some();
            let known =
                state.damage.get(pack).is_some_and(|l| l.iter().any(|d| d.offset == *offset && d.bytes == *bytes));
            lives && !known
        });
        new.map(|(pack, offset, bytes)| Event::DamageFound {
            pack: *pack,
            offset: *offset,
            bytes: *bytes,
            by: "scrub".into(),
        })
        .collect()
    });
    if events.is_empty() { Ok(()) } else { store.append(|_| events).map(drop) }
}

/// Names the files that are lost with what could not be mended.
///
/// # Errors
/// As [`check::run`].
pub fn name_losses(store: &Store, report: &mut ScrubReport, control: &Control) -> Result<()> {
    if report.mended.iter().all(|m| m.failed.is_none()) {
        return Ok(());
    }
    let checked = check::run(store, &check::CheckOptions::default(), control)?;
    (report.lost, report.files_lost, report.bytes_lost) = (checked.lost, checked.files_lost, checked.bytes_lost);
    Ok(())
}
