//! The packs: their ends against the log, their tables against the index, their bytes against their checks.
//!
//! Every disk has a cursor. A thread takes a cursor's turn, reads the next window of that disk in order,
//! gives the turn back, and proves what it read while its cores' caches still hold it. So a disk is read from
//! one end to the other however many threads prove, and memory is one window a thread.

use super::Problems;
use super::truth::Truth;
use crate::chunk::Unsqueezer;
use crate::error::{Error, Result};
use crate::format::check::{UNIT_BYTES, Units};
use crate::format::event::SealedPack;
use crate::format::footer::{PACK_HEADER_BYTES, Row};
use crate::format::{ChunkId, DiskId, PackId};
use crate::index::Place;
use crate::io::File;
use crate::io::threads::{self, Mutex, MutexGuard};
use crate::ops::{Control, ingest};
use crate::pack::read::{self, Ends, Found};
use crate::pool::PackStore;
use crate::store::Store;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::ops::Range;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, PoisonError};

mod conclude;
mod index;
mod orphans;

/// Bytes of a window, as far as whole records make it: what stays in a core's second cache while it is
/// gone over three times (unit check, payload check, name). Windows of 4 MiB took a tenth longer.
const WINDOW_BYTES: u64 = 1 << 20;
/// What a thread needs of the memory budget: its window, a pack's table, a chunk that is decoded.
const THREAD_MEMORY_BYTES: u64 = 12 << 20;
/// Threads at most: beyond that many disks the cores are what is scarce.
const THREADS_MAX: usize = 64;

/// What was read, and what it showed.
pub(super) struct PacksRead<'s> {
    pub truth: Truth<'s>,
    pub packs: u64,
    pub bytes_read: u64,
    pub chunks: u64,
    pub damage: Vec<(PackId, u64, u64)>,
    pub healed: Vec<PackId>,
    /// Disks with something amiss.
    pub faulty: Vec<DiskId>,
}

/// What is wrong with one pack.
struct Fault {
    sealed: SealedPack,
    /// One line.
    why: String,
    /// Damaged records: offset and bytes.
    bad: Vec<(u32, u64)>,
    /// The table cannot be had; of the records only those that are listed here prove.
    only: Option<HashSet<u32>>,
    /// Damage beside the records.
    ranges: Vec<(u64, u64)>,
    /// The pack could not be opened in a way that says nothing of its bytes: not for the log.
    passing: bool,
}

/// What all threads find.
#[derive(Default)]
struct Findings {
    faults: BTreeMap<u32, Fault>,
    /// Units that do not fit their checks: serial, first byte, length.
    units: Vec<(u32, u64, u64)>,
    others: HashMap<ChunkId, Vec<Place>>,
    /// By serial: rows that the index may have in that pack.
    indexed: HashMap<u32, u64>,
    /// By serial: rows that the index does not have.
    unindexed: BTreeMap<u32, u64>,
    others_left_out: u64,
    proven: HashSet<u32>,
    /// Serials of packs that could be read at the second try.
    faltered: BTreeSet<u32>,
    index_error: Option<String>,
    /// A delta's base was not found.
    baseless: bool,
    /// Deltas in packs without a table, and what they are coded against.
    salvaged: Vec<(Place, Vec<ChunkId>)>,
}

struct Reading {
    sealed: SealedPack,
    path: PathBuf,
    file: Arc<dyn File>,
    ends: Arc<Ends>,
    next_row: usize,
    /// `None` once a window could not be read in one piece.
    units: Option<Units>,
}

/// One disk's packs, in order.
struct Cursor {
    todo: std::vec::IntoIter<SealedPack>,
    open: Option<Reading>,
}

struct Lane {
    cursor: Mutex<Cursor>,
    done: AtomicBool,
}

/// Rows of one pack to prove, and their bytes.
struct Window {
    sealed: SealedPack,
    ends: Arc<Ends>,
    rows: Range<usize>,
    /// Where in the pack the buffer begins; `None` where the bytes are not read.
    from: Option<u64>,
}

struct Check<'s> {
    store: &'s Store,
    control: &'s Control,
    read_data: bool,
    lanes: Vec<Lane>,
    findings: Mutex<Findings>,
    bytes_read: AtomicU64,
    chunks: AtomicU64,
    stopped: AtomicBool,
}

fn unpoisoned<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A thread that panicked is reported as lost by whoever joins it; the others may still look.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Checks every live pack on every disk that is here.
///
/// # Errors
/// [`Error::Interrupted`], [`Error::WorkerLost`].
pub(super) fn read<'s>(
    store: &'s Store,
    read_data: bool,
    parity: &[PackId],
    control: &'s Control,
    problems: &mut Problems,
) -> Result<PacksRead<'s>> {
    let mut by_disk: BTreeMap<DiskId, Vec<SealedPack>> = BTreeMap::new();
    let mut bytes = 0;
    store.with_state(|state| {
        for pack in state.packs().map(|p| p.sealed).filter(|p| store.pool().holds(p)) {
            bytes += pack.bytes;
            by_disk.entry(pack.disk).or_default().push(pack);
        }
    });
    if read_data {
        control.progress.bytes_total.fetch_add(bytes, Ordering::Relaxed);
        control.progress.totals_known.store(true, Ordering::Relaxed);
    }
    let packs = by_disk.values().map(|p| p.len() as u64).sum();
    let lanes: Vec<Lane> = by_disk
        .into_values()
        .map(|packs| Lane {
            cursor: Mutex::new(Cursor { todo: packs.into_iter(), open: None }),
            done: AtomicBool::new(false),
        })
        .collect();
    let cores = threads::parallelism();
    let by_memory = (store.memory_bytes() / 4 / THREAD_MEMORY_BYTES).max(1) as usize; // a small number
    let threads = cores.max(lanes.len()).min(by_memory).min(THREADS_MAX);
    let check = Check {
        store,
        control,
        read_data,
        lanes,
        findings: Mutex::default(),
        bytes_read: AtomicU64::new(0),
        chunks: AtomicU64::new(0),
        stopped: AtomicBool::new(false),
    };
    threads::scope(|scope| -> Result<()> {
        let check = &check;
        let mut handles = Vec::new();
        for i in 1..threads {
            let name = format!("onefold-check-{i}");
            // What cannot be started is not needed: this thread works too.
            handles.extend(scope.spawn_named(&name, move || check.work(i)));
        }
        let mut outcome = check.work(0);
        for handle in handles {
            outcome = outcome.and(handle.join().unwrap_or(Err(Error::WorkerLost { verb: "check" })));
        }
        outcome
    })?;
    check.index_holds_no_more()?;
    let (bytes_read, chunks) = (check.bytes_read.into_inner(), check.chunks.into_inner());
    let findings = check.findings.into_inner().unwrap_or_else(PoisonError::into_inner);
    let mut read = PacksRead {
        truth: Truth::new(store),
        packs,
        bytes_read,
        chunks,
        damage: vec![],
        healed: vec![],
        faulty: vec![],
    };
    let baseless = findings.baseless;
    let mut findings = findings;
    let salvaged = std::mem::take(&mut findings.salvaged);
    conclude::conclude(store, findings, read_data, &mut read, problems);
    read.truth.doubt(parity.iter().chain(read.damage.iter().map(|(pack, ..)| pack)));
    let is_any_away = store.with_state(|s| s.packs().any(|p| !store.reaches_in(s, &p.sealed)));
    if baseless || is_any_away || !read.truth.harm.is_empty() || read.truth.is_any_in_doubt() {
        orphans::find(&mut read.truth, &salvaged, control)?;
    }
    Ok(read)
}

impl Check<'_> {
    fn proceed(&self) -> Result<()> {
        if self.stopped.load(Ordering::Relaxed) { Err(Error::Interrupted) } else { self.control.proceed() }
    }

    fn work(&self, me: usize) -> Result<()> {
        let (mut buffer, mut scratch, mut unsqueezer) = (Vec::new(), Vec::new(), Unsqueezer::default());
        let outcome = loop {
            if let Err(e) = self.proceed() {
                break Err(e);
            }
            match self.next(me, &mut buffer) {
                Ok(Some(window)) => {
                    if window.from.is_some() {
                        self.prove(&window, &buffer, &mut unsqueezer, &mut scratch);
                    }
                    let rows = window.ends.footer.rows.get(window.rows.clone()).unwrap_or_default();
                    let places: Vec<_> =
                        rows.iter().map(|r| (r.header.id, Place::of(window.sealed.serial, r))).collect();
                    self.compare_with_index(&window.sealed, &places);
                    self.look_for_bases(rows);
                }
                Ok(None) => break Ok(()),
                Err(e) => break Err(e),
            }
        };
        if outcome.is_err() {
            self.stopped.store(true, Ordering::Relaxed);
        }
        outcome
    }

    /// The next window of any disk, this thread's own one first; `None` when all are done.
    fn next(&self, me: usize, buffer: &mut Vec<u8>) -> Result<Option<Window>> {
        let n = self.lanes.len();
        loop {
            let open = |i: &usize| self.lanes.get(*i).is_some_and(|l| !l.done.load(Ordering::Acquire));
            let order = || (0..n).map(|k| (me + k) % n).filter(open);
            let free = order().find_map(|i| {
                let lane = self.lanes.get(i)?;
                Some((lane, lane.cursor.try_lock()?))
            });
            let (lane, mut cursor) = match free {
                Some(taken) => taken,
                // All are being read: wait for the first.
                None => match order().next().and_then(|i| self.lanes.get(i)) {
                    Some(lane) => (lane, unpoisoned(&lane.cursor)),
                    None => return Ok(None),
                },
            };
            if let Some(window) = self.advance(&mut cursor, buffer)? {
                return Ok(Some(window));
            }
            lane.done.store(true, Ordering::Release);
        }
    }

    /// Reads on along one disk.
    fn advance(&self, cursor: &mut Cursor, buffer: &mut Vec<u8>) -> Result<Option<Window>> {
        loop {
            self.proceed()?;
            let Some(mut open) = cursor.open.take() else {
                let Some(sealed) = cursor.todo.next() else { return Ok(None) };
                match self.open(&sealed).or_else(|e| self.open_moved(&sealed, e)) {
                    Ok(reading) if self.read_data => cursor.open = Some(reading),
                    Ok(reading) => {
                        let rows = 0..reading.ends.footer.rows.len();
                        return Ok(Some(Window { sealed, ends: reading.ends, rows, from: None }));
                    }
                    Err(e) if self.is_dropped(&sealed, &e) => {}
                    Err(e) => self.salvage(&sealed, e)?,
                }
                continue;
            };
            let rows = &open.ends.footer.rows;
            if open.next_row >= rows.len() {
                self.end(open, buffer);
                continue;
            }
            // Records follow each other without gaps, from the pack's header on: the table was proven so.
            let first = open.next_row;
            let start = if first == 0 { 0 } else { u64::from(rows[first].offset) }; // first < len
            let (mut next, mut end) = (first, start);
            while let Some(row) = rows.get(next)
                && (next == first || end - start < WINDOW_BYTES)
            {
                end = u64::from(row.offset) + row.header.record_bytes();
                next += 1;
            }
            buffer.resize((end - start) as usize, 0); // a window and one record at most
            let rows = first..next;
            if open.file.read_exact_at(buffer, start).is_ok() {
                if let Some(units) = &mut open.units {
                    units.update(buffer);
                }
            } else {
                // Somewhere in it a sector cannot be read: record by record, what fails stays zeros.
                open.units = None;
                self.read_singly(&open, rows.clone(), start, buffer);
            }
            self.count(end - start);
            open.next_row = next;
            let window = Window { sealed: open.sealed, ends: Arc::clone(&open.ends), rows, from: Some(start) };
            cursor.open = Some(open);
            return Ok(Some(window));
        }
    }

    /// Whether a pack that is not there was dropped by a gc since the store was opened.
    fn is_dropped(&self, sealed: &SealedPack, e: &Error) -> bool {
        let gone = matches!(e, Error::Io { source, .. } if source.kind() == std::io::ErrorKind::NotFound);
        let seen = self.store.reflected().number;
        // What keeps the log from being followed is told by what asks the store next.
        let is_live = || self.store.with_state(|s| s.pack_by_id(&sealed.pack).is_some());
        gone && (!is_live() || (self.store.follow(seen).unwrap_or(false) && !is_live()))
    }

    /// Opens a pack that is not there where the log has it now: it may have moved since the store was opened.
    fn open_moved(&self, sealed: &SealedPack, e: Error) -> Result<Reading> {
        let gone = matches!(&e, Error::Io { source, .. } if source.kind() == std::io::ErrorKind::NotFound);
        if !gone || self.is_dropped(sealed, &e) {
            return Err(e);
        }
        let now = self.store.with_state(|s| s.pack_by_id(&sealed.pack).map(|p| p.sealed));
        now.filter(|now| now.disk != sealed.disk).map_or(Err(e), |now| self.open(&now))
    }

    fn count(&self, bytes: u64) {
        self.bytes_read.fetch_add(bytes, Ordering::Relaxed);
        self.control.progress.bytes_done.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Opens a pack and proves its ends against each other and the log.
    fn open(&self, sealed: &SealedPack) -> Result<Reading> {
        let path = self.store.pool().place(sealed);
        // Not through the pool: what it keeps open may be a file that has another's name by now.
        let file = self.store.io().fs.open(&path).map_err(Error::io("open the pack", &path))?;
        let ends = read::ends(&*file, &path, sealed.pack)?;
        let ours = ends.header.store == self.store.superblock().store
            && ends.header.kind.is_data() == sealed.kind.is_data()
            && ends.trailer.root == sealed.root
            && ends.trailer.file_bytes == sealed.bytes
            && ends.trailer.records == sealed.records;
        if !ours {
            let why = "it is sound and not the pack that the log knows".to_owned();
            return Err(Error::Damaged { what: "a pack", path, offset: 0, why });
        }
        self.chunks.fetch_add(ends.footer.rows.len() as u64, Ordering::Relaxed);
        let units = Some(Units::default());
        Ok(Reading { sealed: *sealed, path, file, ends: Arc::new(ends), next_row: 0, units })
    }

    fn read_singly(&self, open: &Reading, rows: Range<usize>, start: u64, buffer: &mut [u8]) {
        buffer.fill(0);
        let mut failed = 0;
        for row in open.ends.footer.rows.get(rows).unwrap_or_default() {
            let at = u64::from(row.offset);
            let within = (at - start) as usize; // rows ascend from `start`
            let Some(into) = buffer.get_mut(within..within + row.header.record_bytes() as usize) else { continue };
            if let Err(e) = open.file.read_exact_at(into, at) {
                into.fill(0); // no record: it will not prove
                failed += 1;
                self.fault(&open.sealed, |f| {
                    if f.why.is_empty() {
                        f.why = format!("byte {at} of {} cannot be read: {e}", open.path.display());
                    }
                });
            }
        }
        if failed == 0 {
            unpoisoned(&self.findings).faltered.insert(open.sealed.serial);
        }
    }

    /// All records of a pack were read: reads the footer and compares the units.
    fn end(&self, open: Reading, buffer: &mut Vec<u8>) {
        let mut units = open.units;
        let (mut at, to) = (open.ends.trailer.footer_offset, open.ends.trailer.units_offset);
        if open.ends.footer.rows.is_empty() {
            at = 0;
        }
        while at < to && units.is_some() {
            buffer.resize((to - at).min(WINDOW_BYTES) as usize, 0);
            if let Err(e) = open.file.read_exact_at(buffer, at) {
                let path = open.path.display();
                self.fault(&open.sealed, |f| {
                    f.why = format!("byte {at} of {path} cannot be read: {e}");
                    f.ranges.push((at, to));
                });
                units = None;
            } else if let Some(units) = &mut units {
                units.update(buffer);
            }
            self.count(buffer.len() as u64);
            at += buffer.len() as u64;
        }
        let mut findings = unpoisoned(&self.findings);
        findings.proven.insert(open.sealed.serial);
        let Some(table) = units.map(Units::finish) else { return };
        for (i, (a, b)) in table.chunks(16).zip(open.ends.units.chunks(16)).enumerate() {
            if a != b {
                let from = i as u64 * UNIT_BYTES;
                findings.units.push((open.sealed.serial, from, UNIT_BYTES.min(to.saturating_sub(from))));
            }
        }
    }

    fn prove(&self, window: &Window, buffer: &[u8], unsqueezer: &mut Unsqueezer, scratch: &mut Vec<u8>) {
        let Some(start) = window.from else { return };
        for row in window.ends.footer.rows.get(window.rows.clone()).unwrap_or_default() {
            let bytes = row.header.record_bytes();
            let at = (u64::from(row.offset) - start) as usize; // within the window, whose rows these are
            let record = buffer.get(at..at + bytes as usize).unwrap_or_default();
            let pack = window.sealed.pack;
            let mut baseless = false;
            let bases: read::Bases<'_> = &mut |id| self.store.base(id).inspect_err(|_| baseless = true);
            let proven = read::prove_record(self.store.keys(), unsqueezer, scratch, pack, row, record, bases);
            if baseless {
                // The record's own checks fit. What its base has is found where that lies.
                unpoisoned(&self.findings).baseless = true;
            } else if let Err(e) = proven {
                self.fault(&window.sealed, |f| {
                    if f.why.is_empty() {
                        f.why = format!("the record at byte {}: {e}", row.offset);
                    }
                    f.bad.push((row.offset, bytes));
                });
            }
        }
    }

    /// Notes whether a delta lacks a base.
    fn look_for_bases(&self, rows: &[Row]) {
        let bases: Vec<ChunkId> = rows.iter().flat_map(|r| r.header.bases.iter().copied()).collect();
        for part in bases.chunks(4096) {
            // An index that fails is reported by its comparison.
            if !self.store.locate_indexed(part).is_ok_and(|found| found.iter().all(Option::is_some)) {
                unpoisoned(&self.findings).baseless = true;
            }
        }
    }

    fn fault(&self, sealed: &SealedPack, change: impl FnOnce(&mut Fault)) {
        let mut findings = unpoisoned(&self.findings);
        change(findings.faults.entry(sealed.serial).or_insert_with(|| Fault {
            sealed: *sealed,
            why: String::new(),
            bad: Vec::new(),
            only: None,
            ranges: Vec::new(),
            passing: false,
        }));
    }

    /// A pack whose ends cannot be had: looks for records by their own headers and proves each.
    fn salvage(&self, sealed: &SealedPack, error: Error) -> Result<()> {
        use std::io::ErrorKind::{NotFound, PermissionDenied};
        let path = self.store.pool().place(sealed);
        let mut only = HashSet::new();
        let mut rows = Vec::new();
        let mut sound: Vec<(u64, u64)> = Vec::new();
        let mut passing = false;
        match self.store.io().fs.open(&path) {
            Ok(file) => {
                let mut unsqueezer = Unsqueezer::default();
                let walked = read::walk(&*file, &path, sealed.pack, |found| {
                    self.proceed()?;
                    let Found::Record(record, at) = found else { return Ok(()) };
                    let bytes = record.record_bytes();
                    self.count(bytes);
                    let mut baseless = false;
                    let bases = &mut |id: &ChunkId| self.store.base(id).inspect_err(|_| baseless = true);
                    let proven = ingest::adopt::proven(self.store.keys(), &mut unsqueezer, &record, bases);
                    // The record's own checks fit. What its base has is found where that lies.
                    if (proven || baseless)
                        && let Ok(offset) = u32::try_from(at)
                    {
                        only.insert(offset);
                        let stored = bytes as u32; // a record is at most RECORD_BYTES long
                        let (pack, plain) = (sealed.serial, record.plain_bytes);
                        let place = Place { pack, offset, stored, plain };
                        rows.push((record.id, place));
                        if !record.bases.is_empty() {
                            let mut findings = unpoisoned(&self.findings);
                            findings.baseless |= baseless;
                            findings.salvaged.push((place, record.bases.clone()));
                        }
                        match sound.last_mut() {
                            Some((_, end)) if *end == at => *end += bytes,
                            _ => sound.push((at, at + bytes)),
                        }
                    }
                    Ok(())
                });
                if let Err(e @ Error::Interrupted) = walked {
                    return Err(e);
                }
            }
            Err(e) if e.kind() == NotFound => {}
            Err(e) => passing = e.kind() == PermissionDenied || matches!(e.raw_os_error(), Some(23 | 24)), // ENFILE, EMFILE
        }
        self.chunks.fetch_add(only.len() as u64, Ordering::Relaxed);
        self.compare_with_index(sealed, &rows);
        let mut ranges = Vec::new();
        if sound.is_empty() {
            ranges.push((0, 0));
        } else {
            let mut at = PACK_HEADER_BYTES as u64;
            for (from, to) in sound.into_iter().chain([(sealed.bytes, sealed.bytes)]) {
                if at < from {
                    ranges.push((at, from));
                }
                at = at.max(to);
            }
        }
        self.fault(sealed, |f| {
            f.why = error.line();
            f.only = Some(only);
            f.ranges = ranges;
            f.passing = passing;
        });
        Ok(())
    }
}
