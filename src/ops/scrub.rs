//! scrub: every pack is read in the order of its disk and proven, before the second fault meets the first.
//!
//! One worker a disk. Units that do not fit their checks are found without keys, in packs of data and parity
//! alike. The reading needs no lock and runs beside a writer; what it found is settled from time to time by
//! a store that is open for writing: damaged packs are mended ([`crate::ops::repair`]), proven ones are
//! noted in the log's ledger. A scrub that is stopped goes on where it was: what its pass proved is left out.

use super::repair::{self, Mended};
use super::{Control, FileLost, Notice, check};
use crate::catalog::state::Damage;
use crate::error::{Error, Result};
use crate::format::check::UNIT_BYTES;
use crate::format::event::Event;
use crate::format::{DiskId, PackId};
use crate::io::threads::{self, Mutex, RecvTimeoutError, Sender};
use crate::store::Store;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::PoisonError;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// The setting that holds when the pass that is not at its end began, in nanoseconds.
const SETTING_PASS: &str = "scrub pass";
/// Proven packs that are noted at once: an entry of some 20 KB.
const LEDGER_PACKS: usize = 512;
/// What could not be settled is tried again after so long: a backup may be at work.
const BACK_OFF: Duration = Duration::from_secs(30);
/// Who found damage, as the log has it.
pub(super) const BY: &str = "scrub";

/// How to scrub.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ScrubOptions {
    /// Bytes a second that are read from each disk at most.
    pub rate: Option<u64>,
    /// Stop after so long; the next scrub goes on there.
    pub max_duration: Option<Duration>,
    /// Only packs that were not proven for so long.
    pub older_than: Option<Duration>,
    /// Disks whose drives give a reason to worry: they are begun first, and `older_than` leaves nothing of them out.
    pub worried: BTreeSet<DiskId>,
}

/// Damage in a pack: where it begins, and how many bytes; 0 bytes: all of it.
pub type Range = (u64, u64);

/// A pack of which every unit proved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proven {
    pub pack: PackId,
    pub time_ns: i64,
    /// What the log knew against it before it was read. What was found since is not touched by this.
    pub known: Vec<Damage>,
}

/// At what point of a scrub what was found is to be settled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// There is no later one: what is not settled now is lost.
    pub last: bool,
    /// The pass is at its end.
    pub complete: bool,
}

/// What a scrub found and has not settled yet.
#[derive(Clone, Debug, Default)]
pub struct Found {
    pub proven: Vec<Proven>,
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

/// Settles what was found, with a store that it opens for writing; what it cannot settle now it leaves.
pub type Settle<'a> = &'a mut dyn FnMut(&mut Found, Moment) -> Result<Vec<Mended>>;

/// Reads and proves. `settle` is called with what was found: soon after damage, now and then, and at the end.
///
/// # Errors
/// [`Error::Interrupted`], what `settle` returns, a worker that was lost.
pub fn run(store: &Store, options: &ScrubOptions, control: &Control, settle: Settle<'_>) -> Result<ScrubReport> {
    control.progress.set_phase("scrubbing");
    let mut report = ScrubReport::default();
    let by_disk = todo(store, options, &mut report);
    let total = by_disk.values().flatten().map(|t| t.bytes).sum();
    control.progress.bytes_total.store(total, Ordering::Relaxed);
    control.progress.totals_known.store(true, Ordering::Relaxed);
    let scrub = Scrub {
        store,
        control,
        options: options.clone(),
        begun: Instant::now(),
        found: Mutex::default(),
        packs: AtomicU64::new(0),
        bytes: AtomicU64::new(0),
        stopped: AtomicBool::new(false),
        out_of_time: AtomicBool::new(false),
    };
    // A word after each pack; it ends with the last worker.
    let (tell, told) = threads::bounded::<()>(1);
    let outcome = threads::scope(|scope| -> Result<()> {
        let scrub = &scrub;
        let mut handles = Vec::new();
        let worried = |disk: &DiskId| options.worried.contains(disk);
        let mut disks: Vec<_> = by_disk.iter().collect();
        disks.sort_by_key(|(disk, _)| !worried(disk)); // stable: those come first
        for (_, list) in disks {
            let tell = tell.clone();
            let handle = scope.spawn_named("onefold-scrub", move || scrub.disk(list, &tell));
            handles.push(handle.map_err(Error::io("start a thread for", store.path()))?);
        }
        drop(tell);
        let mut outcome = Ok(());
        let back_off = threads::simulated_or(Duration::ZERO, BACK_OFF);
        let mut not_before = Instant::now();
        while told.recv_timeout(Duration::from_millis(20)) != Err(RecvTimeoutError::Disconnected) {
            let due = {
                let found = scrub.found.lock().unwrap_or_else(PoisonError::into_inner);
                found.proven.len() >= LEDGER_PACKS || !found.damaged.is_empty()
            };
            if due && outcome.is_ok() && Instant::now() >= not_before {
                outcome = scrub.settle(settle, false, &mut report);
                not_before = Instant::now() + back_off;
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
                Some(age) => last > oldest(age) && !options.worried.contains(&disk),
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
    fn settle(&self, settle: Settle<'_>, last: bool, report: &mut ScrubReport) -> Result<()> {
        let mut found = std::mem::take(&mut *self.found.lock().unwrap_or_else(PoisonError::into_inner));
        if found.is_empty() && !last {
            return Ok(());
        }
        let settled = settle(&mut found, Moment { last, complete: last && report.complete });
        let mut waiting = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.proven.append(&mut found.proven);
        waiting.damaged.append(&mut found.damaged);
        report.mended.extend(settled?);
        Ok(())
    }

    fn disk(&self, list: &[Todo], tell: &Sender<()>) -> Result<()> {
        for todo in list {
            if self.stopped.load(Ordering::Relaxed) {
                return Ok(());
            }
            if self.options.max_duration.is_some_and(|most| self.begun.elapsed() >= most) {
                self.out_of_time.store(true, Ordering::Relaxed);
                return Ok(());
            }
            self.pack(todo)?;
            let _ = tell.try_send(()); // one word that waits is enough
        }
        Ok(())
    }

    fn pack(&self, todo: &Todo) -> Result<()> {
        let Ok(standing) = repair::standing(self.store, &todo.pack) else { return Ok(()) }; // dropped since
        let known = self.store.with_state(|s| s.damage.get(&todo.pack).cloned()).unwrap_or_default();
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
            found.proven.push(Proven { pack: todo.pack, time_ns: self.store.io().world.now_ns(), known });
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

/// Settles what a scrub found, with a store that is open for writing: looks at damaged packs once more, logs damage, mends
/// what can be mended, notes what proved. `pass` is the pass that it belongs to, and `complete` says that it has come
/// to its end.
///
/// # Errors
/// [`Error::Interrupted`], and whatever keeps the log from being written.
pub fn settle(store: &Store, found: &mut Found, pass: i64, complete: bool, control: &Control) -> Result<Vec<Mended>> {
    let damaged = still_damaged(store, found, control);
    let packs: Vec<PackId> = damaged.keys().copied().collect();
    // First the log, so that nobody counts on those bytes while they are mended, or if they cannot be.
    let list: Vec<(PackId, u64, u64)> =
        damaged.iter().flat_map(|(p, ranges)| ranges.iter().map(|(at, n)| (*p, *at, *n))).collect();
    record(store, &list)?;
    let mended = match repair::mend(store, &packs, control) {
        Ok(mended) => mended,
        Err(e) => {
            if matches!(e, Error::Interrupted) {
                note(store, std::mem::take(&mut found.proven), pass, false, control)?;
            }
            return Err(e);
        }
    };
    let now = store.io().world.now_ns();
    let whole = mended.iter().filter(|m| m.failed.is_none());
    let mut proven = std::mem::take(&mut found.proven);
    proven.extend(whole.map(|m| Proven { pack: m.pack, time_ns: now, known: Vec::new() }));
    note(store, proven, pass, complete, control)?;
    Ok(mended.into_iter().filter(|m| m.failed.is_some() || m.bytes > 0).collect())
}

/// Takes what is still damaged out of what was found. A reader may have looked where a pack lay before it moved, or met a
/// file that was just replaced: what the log names now counts, and it is read again.
fn still_damaged(store: &Store, found: &mut Found, control: &Control) -> BTreeMap<PackId, Vec<Range>> {
    let mut damaged = BTreeMap::new();
    for (pack, ranges) in std::mem::take(&mut found.damaged) {
        if control.proceed().is_err() {
            break; // stopped: they are not in the ledger, so the next scrub finds them
        }
        let Ok(standing) = repair::standing(store, &pack) else { continue }; // dropped since
        let known = store.with_state(|s| s.damage.get(&pack).cloned()).unwrap_or_default();
        match standing.reader.prove(standing.slot) {
            Ok(()) => found.proven.push(Proven { pack, time_ns: store.io().world.now_ns(), known }),
            Err(_) => {
                damaged.insert(pack, repair::of_records(store, &standing, ranges));
            }
        }
    }
    damaged
}

/// Notes in the log's ledger what proved, and that damage which was known before is none any more.
fn note(store: &Store, proven: Vec<Proven>, pass: i64, complete: bool, control: &Control) -> Result<()> {
    let mut healed: BTreeSet<PackId> = BTreeSet::new();
    for p in &proven {
        let (is_seen, path) = store.with_state(|s| {
            let list = s.damage.get(&p.pack);
            let is_seen = list.is_some_and(|list| list.iter().all(|d| p.known.contains(d)));
            let at = s.pack_by_id(&p.pack).map(|p| (p.sealed.disk, false));
            let of_parity =
                || Some((s.group_of(&p.pack).map(|g| s.members(g))?.iter().find(|m| m.pack == p.pack)?.disk, true));
            let path = at
                .or_else(of_parity)
                .and_then(|(disk, parity)| store.pool().disk(&disk).map(|d| repair::path_on(&d.path, p.pack, parity)));
            (is_seen, path)
        });
        let Some(path) = path.filter(|_| is_seen) else { continue };
        if repair::is_healed(store, &p.pack, &path) {
            healed.insert(p.pack);
        } else {
            control.notice(Notice::Note(format!(
                "pack {} is as it was sealed, but records in it are not what they are named after: what is known against it \
                 stays, and files that need them are stored anew when they are backed up",
                p.pack
            )));
        }
    }
    let events = store.with_state(|state| {
        let lives = |p: &PackId| state.pack_by_id(p).is_some() || state.group_of(p).is_some();
        let mut events: Vec<Event> = proven
            .iter()
            .filter(|p| lives(&p.pack))
            .map(|p| Event::ScrubLedger { pack: p.pack, time_ns: p.time_ns, by: BY.into() })
            .collect();
        events.extend(healed.iter().map(|pack| Event::DamageHealed { pack: *pack }));
        let value = if complete { String::new() } else { pass.to_string() };
        if state.settings.get(SETTING_PASS).map_or("", String::as_str) != value {
            events.push(Event::Setting { key: SETTING_PASS.into(), value });
        }
        events
    });
    if events.is_empty() { Ok(()) } else { store.append(|_| events).map(drop) }
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
            by: BY.into(),
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

#[cfg(test)]
mod tests;
