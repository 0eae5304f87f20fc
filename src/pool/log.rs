//! The copies of the log: one in `STORE`, one on every disk.
//!
//! The log is a chain of create-once files. Its state is the longest valid chain over all copies that
//! are here; a copy that misses entries is caught up before a writer appends. An entry counts as written
//! when it is durable in `STORE` and on all disks that are here and did not fail, of which there is one at least.
//!
//! # Invariants
//!
//! 1. An entry's file appears under its name only when its bytes are durable, and is never changed.
//! 2. Two entries with one number and two hashes are a fork: nothing is written, both are named.
//! 3. An entry that cannot be read in any copy is not taken for one that was never written.
//! 4. After a failed append nothing more is appended by this process: what the copies hold is unknown
//!    until they are read anew.
//! 5. `STORE`'s copy is written before those on disks, which are written side by side; that of a disk which leaves with the
//!    entry comes last, and only if one that stays took it. What no disk took is taken back from `STORE`.
//! 6. The state may stand for an entry that is being written. What outlives the process (the index) is told of durable ones only.

use super::Pool;
use super::disk::{Disk, LOG_DIR};
use crate::catalog::state::LogState;
use crate::error::{Error, Result};
use crate::format::event::{Event, SealedPack};
use crate::format::limits::LOG_ENTRY_BYTES;
use crate::format::log::{LogEntry, file_name, number_of};
use crate::format::{DiskId, EntryHash, PackId, StoreId, WriterId};
use crate::io::Io;
use crate::io::threads::{self, Mutex, MutexGuard};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError};

/// Under which verb groups are made anew: like a gc, that leaves files which nothing counts on if it dies.
pub const VERB_REGROUP: &str = "rebalance";

mod audit;
pub use audit::{CopyFault, Fault, Head, audit, mend};

/// One copy of the log.
struct Copy {
    dir: PathBuf,
    /// `None` for the one in `STORE`.
    disk: Option<Arc<Disk>>,
    /// Numbers of the entries there, ascending.
    numbers: Vec<u64>,
}

/// The log as it was read.
pub struct LogRead {
    pub state: LogState,
    /// What was noticed, for people.
    pub notices: Vec<String>,
    /// Something that forbids writing: a fork, or an entry that no copy can give.
    pub blocked: Option<Error>,
    /// Copies that miss entries, or hold damaged ones: where, and which.
    behind: Vec<(usize, Vec<u64>)>,
    copies: Vec<Copy>,
}

/// Files that a gc was to remove.
#[derive(Debug, Default)]
pub struct Dropped {
    pub packs: BTreeSet<PackId>,
    /// Of groups that were retired.
    pub parity: BTreeSet<PackId>,
}

/// Reads an entry's file and proves it; `None` where it does not exist.
fn read_entry(io: &Io, dir: &Path, store: StoreId, number: u64) -> Result<Option<(LogEntry, EntryHash, Vec<u8>)>> {
    let path = dir.join(file_name(number));
    let bytes = match io.read_small(&path, LOG_ENTRY_BYTES) {
        Ok(bytes) => bytes,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(Error::io("read the log entry", path)(e)),
    };
    let (entry, hash) = LogEntry::decode(&path, &bytes)?;
    if entry.number != number || entry.store != store {
        let why = "it is an entry of another number or store".to_owned();
        return Err(Error::Damaged { what: "a log entry", path, offset: 16, why });
    }
    Ok(Some((entry, hash, bytes)))
}

impl LogRead {
    /// Reads the log from all copies.
    ///
    /// # Errors
    /// [`Error::LogDamaged`] where no state can be had at all, [`Error::FromTheFuture`].
    pub fn read(io: &Io, home: &Path, pool: &Pool) -> Result<LogRead> {
        let home_dir = home.join(LOG_DIR);
        let mut copies = vec![Copy { dir: home_dir.clone(), disk: None, numbers: Vec::new() }];
        for disk in pool.disks() {
            let dir = disk.path.join(LOG_DIR);
            if dir != home_dir {
                copies.push(Copy { dir, disk: Some(Arc::clone(disk)), numbers: Vec::new() });
            }
        }
        let mut notices = Vec::new();
        for copy in &mut copies {
            match io.fs.list(&copy.dir) {
                Ok(names) => copy.numbers = names.iter().filter_map(|e| number_of(&e.name)).collect(),
                Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
                Err(e) => notices.push(format!("the log at {} cannot be listed: {e}", copy.dir.display())),
            }
            copy.numbers.sort_unstable();
        }
        let mut read =
            LogRead { state: LogState::empty(pool.store()), notices, blocked: None, behind: Vec::new(), copies };
        read.follow(io)?;
        read.compare_heads(io);
        Ok(read)
    }

    /// The first valid entry `number` in any copy that `fits`; copies whose file is there and damaged are
    /// added to `bad`.
    fn entry(
        &self,
        io: &Io,
        number: u64,
        bad: &mut Vec<(usize, Error)>,
        fits: impl Fn(&LogEntry) -> bool,
    ) -> Result<Option<(LogEntry, EntryHash, u64)>> {
        for (i, copy) in self.copies.iter().enumerate() {
            if copy.numbers.binary_search(&number).is_err() {
                continue;
            }
            match read_entry(io, &copy.dir, self.state.store, number) {
                Ok(Some((entry, hash, bytes))) if fits(&entry) => return Ok(Some((entry, hash, bytes.len() as u64))),
                Ok(_) => {}
                Err(e @ Error::FromTheFuture { .. }) => return Err(e),
                Err(e) => bad.push((i, e)),
            }
        }
        Ok(None)
    }

    fn damaged(&self, number: u64, bad: &[(usize, Error)]) -> Error {
        let places = bad.iter().map(|(i, _)| self.copies[*i].dir.join(file_name(number))).collect(); // indices of copies
        Error::LogDamaged { number, places }
    }

    /// Finds the head, goes back to its checkpoint and applies every entry from there.
    fn follow(&mut self, io: &Io) -> Result<()> {
        let mut candidates: Vec<u64> = self.copies.iter().flat_map(|c| c.numbers.iter().copied()).collect();
        candidates.sort_unstable();
        candidates.dedup();
        let mut damaged = Vec::new();
        while let Some(head) = candidates.pop() {
            let mut bad = Vec::new();
            match self.entry(io, head, &mut bad, |_| true)? {
                Some((entry, ..)) => match self.replay(io, entry.checkpoint, head, &mut damaged) {
                    Ok(state) => {
                        self.state = state;
                        self.note_damage(damaged);
                        return Ok(());
                    }
                    Err(e) => {
                        self.notices.push(format!("{e}; earlier entries are followed"));
                        self.blocked.get_or_insert(e);
                    }
                },
                None => {
                    let e = self.damaged(head, &bad);
                    self.notices.push(format!("{e}; earlier entries are followed"));
                    self.blocked.get_or_insert(e);
                    damaged.extend(bad.into_iter().map(|(i, _)| (i, head)));
                }
            }
        }
        match self.blocked.take() {
            Some(e) => Err(e),
            None => {
                let places = self.copies.iter().map(|c| c.dir.clone()).collect();
                Err(Error::LogDamaged { number: 1, places })
            }
        }
    }

    fn replay(&self, io: &Io, checkpoint: u64, head: u64, damaged: &mut Vec<(usize, u64)>) -> Result<LogState> {
        let mut state = LogState::empty(self.state.store);
        for number in checkpoint..=head {
            let mut bad = Vec::new();
            let previous = state.hash;
            let found = self.entry(io, number, &mut bad, |e| number == checkpoint || e.previous == previous)?;
            let Some((entry, hash, bytes)) = found else {
                let fork = if bad.is_empty() { self.fork(io, checkpoint, number) } else { None };
                return Err(fork.unwrap_or_else(|| self.damaged(number, &bad)));
            };
            damaged.extend(bad.into_iter().map(|(i, _)| (i, number)));
            state.apply(&entry, hash, bytes)?;
        }
        Ok(state)
    }

    /// The first entry of these of which there are two. Where a chain breaks off although nothing is damaged, its copies
    /// went separate ways before that.
    fn fork(&self, io: &Io, from: u64, to: u64) -> Option<Error> {
        for number in from..=to {
            let mut first: Option<(&Copy, EntryHash)> = None;
            for copy in &self.copies {
                let Ok(Some((_, hash, _))) = read_entry(io, &copy.dir, self.state.store, number) else { continue };
                match first {
                    Some((other, theirs)) if theirs != hash => {
                        let (one, other) = (other.dir.join(file_name(number)), copy.dir.join(file_name(number)));
                        return Some(Error::LogFork { number, one, other });
                    }
                    Some(_) => {}
                    None => first = Some((copy, hash)),
                }
            }
        }
        None
    }

    fn note_damage(&mut self, damaged: Vec<(usize, u64)>) {
        for (i, number) in damaged {
            self.notices.push(format!(
                "{} is damaged; another copy is good",
                self.copies[i].dir.join(file_name(number)).display()
            ));
            match self.behind.iter_mut().find(|(copy, _)| *copy == i) {
                Some((_, numbers)) => numbers.push(number),
                None => self.behind.push((i, vec![number])),
            }
        }
    }

    /// Finds copies that are older, and ones that went another way.
    fn compare_heads(&mut self, io: &Io) {
        let store = self.state.store;
        for i in 0..self.copies.len() {
            let copy = &self.copies[i]; // i < len
            let head = self.state.number;
            let newest = copy.numbers.iter().rev().find(|&&n| n <= head).copied();
            let missing: Vec<u64> =
                (self.state.checkpoint..=head).filter(|n| copy.numbers.binary_search(n).is_err()).collect();
            if let Some(number) = newest {
                let ours = self.copies.iter().enumerate().filter(|(k, _)| *k != i);
                let mine = read_entry(io, &copy.dir, store, number).ok().flatten();
                for (_, other) in ours {
                    let theirs = read_entry(io, &other.dir, store, number).ok().flatten();
                    if let (Some((_, a, _)), Some((_, b, _))) = (&mine, &theirs)
                        && a != b
                    {
                        let one = copy.dir.join(file_name(number));
                        let fork = Error::LogFork { number, one, other: other.dir.join(file_name(number)) };
                        self.notices.push(fork.to_string());
                        self.blocked.get_or_insert(fork);
                        break;
                    }
                }
            }
            if !missing.is_empty() {
                // One on which nothing stands yet has just joined.
                if let Some(disk) = copy.disk.as_ref().filter(|_| !copy.numbers.is_empty()) {
                    self.notices.push(format!(
                        "disk {} is stale: it misses {} of the log's entries",
                        disk.label,
                        missing.len()
                    ));
                }
                match self.behind.iter_mut().find(|(k, _)| *k == i) {
                    Some((_, numbers)) => numbers.extend(missing),
                    None => self.behind.push((i, missing)),
                }
            }
        }
    }

    /// The packs that the log sealed after the entry `number`, if that entry is in this log with this hash
    /// and all later ones can be read; `None` otherwise. An index that stands for that entry lacks just these.
    ///
    /// # Errors
    /// [`Error::FromTheFuture`].
    pub fn sealed_since(&self, io: &Io, number: u64, hash: EntryHash) -> Result<Option<Vec<SealedPack>>> {
        let mut previous = hash;
        if number == self.state.number {
            return Ok((hash == self.state.hash).then(Vec::new));
        }
        match self.entry(io, number, &mut Vec::new(), |_| true)? {
            Some((_, found, _)) if found == hash => {}
            _ => return Ok(None),
        }
        let mut sealed = Vec::new();
        for next in number + 1..=self.state.number {
            let Some((entry, hash, _)) = self.entry(io, next, &mut Vec::new(), |e| e.previous == previous)? else {
                return Ok(None);
            };
            previous = hash;
            if entry.checkpoint == next {
                continue; // it says again what entries before it said
            }
            sealed
                .extend(entry.events.iter().filter_map(|e| if let Event::PackSealed(s) = e { Some(*s) } else { None }));
        }
        // Where they lie now; what was dropped since is nowhere.
        sealed.retain_mut(|s| {
            self.state.pack(s.serial).is_some_and(|now| {
                *s = now.sealed;
                true
            })
        });
        Ok((previous == self.state.hash).then_some(sealed))
    }

    /// Whether a writer of this verb began after the entry `number`, or may have: an entry cannot be read.
    ///
    /// # Errors
    /// [`Error::FromTheFuture`].
    pub fn began_since(&self, io: &Io, number: u64, verb: &str) -> Result<bool> {
        for next in number.saturating_add(1)..=self.state.number {
            let Some((entry, _, _)) = self.entry(io, next, &mut Vec::new(), |_| true)? else { return Ok(true) };
            // A checkpoint says again who began before it.
            let began = |e: &Event| matches!(e, Event::WriterBegan { verb: v, .. } if v == verb);
            if entry.checkpoint != next && entry.events.iter().any(began) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The packs and the parity that were dropped since the earliest beginning of a gc, or of groups being made anew, that
    /// has not ended: their files may still be there. What cannot be read of the log's history is passed over.
    ///
    /// # Errors
    /// [`Error::FromTheFuture`].
    pub fn dropped_by_the_unfinished(&self, io: &Io) -> Result<Dropped> {
        let drops = |verb: &str| verb == "gc" || verb == "compact" || verb == VERB_REGROUP;
        let mut waiting: BTreeSet<WriterId> =
            self.state.writers.iter().filter(|(_, w)| drops(&w.verb)).map(|(id, _)| *id).collect();
        let (mut dropped, mut retired) = (Dropped::default(), BTreeSet::new());
        let mut number = self.state.number;
        while number > 0 && !waiting.is_empty() {
            let Some((entry, _, _)) = self.entry(io, number, &mut Vec::new(), |_| true)? else { break };
            // A checkpoint says again what was said before.
            let events = if entry.checkpoint == number { &[] } else { entry.events.as_slice() };
            for event in events {
                match event {
                    Event::PackDropped { pack } => {
                        dropped.packs.insert(*pack);
                    }
                    Event::GroupRetired { group } => {
                        retired.insert(*group);
                    }
                    Event::WriterBegan { writer, .. } => {
                        waiting.remove(writer);
                    }
                    _ => {}
                }
            }
            number -= 1;
        }
        // Which files of parity a retired group had stands where it was made, however long ago.
        let mut number = self.state.number;
        while number > 0 && !retired.is_empty() {
            let Some((entry, _, _)) = self.entry(io, number, &mut Vec::new(), |_| true)? else { break };
            for event in &entry.events {
                if let Event::GroupMade { group, .. } = event
                    && retired.remove(&group.id)
                {
                    dropped.parity.extend(group.members.iter().filter(|m| m.parity).map(|m| m.pack));
                }
            }
            number -= 1;
        }
        Ok(dropped)
    }

    /// Disks whose copy of the log is older than the others.
    pub fn stale(&self) -> impl Iterator<Item = &Arc<Disk>> {
        self.behind.iter().filter_map(|(i, _)| self.copies.get(*i)?.disk.as_ref())
    }

    /// Makes the log writable: refuses where something forbids it, and brings every copy up to date.
    ///
    /// # Errors
    /// What blocks it; [`Error::Io`] where `STORE` cannot be written. A disk that cannot is marked suspect.
    pub fn into_writer(mut self, io: &Io) -> Result<(LogState, LogWriter)> {
        if let Some(e) = self.blocked.take() {
            return Err(e);
        }
        if !self.state.may_write() {
            let path = self.copies.first().map(|c| c.dir.clone()).unwrap_or_default();
            let needs = format!("features {:#x} to write", self.state.features.1);
            return Err(Error::FromTheFuture { what: "the log", path, needs, ours: "none of them".into() });
        }
        let copies: Vec<LogCopy> =
            self.copies.iter().map(|c| LogCopy { dir: c.dir.clone(), disk: c.disk.clone() }).collect();
        for (i, numbers) in std::mem::take(&mut self.behind) {
            let target = &copies[i]; // indices of copies
            for number in numbers {
                let source = copies.iter().enumerate().filter(|(k, _)| *k != i);
                let good =
                    source.filter_map(|(_, c)| read_entry(io, &c.dir, self.state.store, number).ok().flatten()).next();
                let Some((_, _, bytes)) = good else { continue }; // older than the checkpoint: history, not state
                if let Err(e) = target.put(io, number, &bytes, true) {
                    match &target.disk {
                        None => return Err(e),
                        Some(disk) => {
                            disk.suspect();
                            break;
                        }
                    }
                }
            }
        }
        let durable = (self.state.number, self.state.hash);
        Ok((self.state, LogWriter { io: io.clone(), durable, copies, poisoned: false }))
    }
}

struct LogCopy {
    dir: PathBuf,
    disk: Option<Arc<Disk>>,
}

impl LogCopy {
    fn put(&self, io: &Io, number: u64, bytes: &[u8], replace: bool) -> Result<()> {
        io.fs.create_dir_all(&self.dir).map_err(Error::io("create the folder", &self.dir))?;
        let path = self.dir.join(file_name(number));
        io.write_durable(&path, bytes, replace).map_err(Error::io("write the log entry", path))
    }
}

/// Writes an entry to these copies side by side: a sync waits for all that its disk has to write, some tenths of a second where
/// a backup keeps it busy, and an entry takes several.
fn put_on(copies: &[&LogCopy], io: &Io, number: u64, bytes: &[u8]) -> Vec<Result<()>> {
    let Some((first, others)) = copies.split_first() else { return Vec::new() };
    let put = |copy: &LogCopy| copy.put(io, number, bytes, false);
    threads::scope(|scope| {
        let mut begun = Vec::new();
        for &copy in others {
            begun.push(scope.spawn_named("onefold-log", move || put(copy)).map_err(|_| copy));
        }
        let mut out = vec![put(first)];
        for other in begun {
            out.push(match other {
                Ok(thread) => thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)),
                Err(copy) => put(copy), // the system gives no thread
            });
        }
        out
    })
}

/// Appends to the log. There is one in a process that holds the lock. The state that it changes is its owner's, who may look
/// at it while an entry is written.
pub struct LogWriter {
    io: Io,
    /// Number and hash of the newest entry that is durable. The state stands for a later one while that is written, and after it
    /// failed.
    durable: (u64, EntryHash),
    copies: Vec<LogCopy>,
    poisoned: bool,
}

impl LogWriter {
    /// Begins a log with its first entry, in `STORE` and on every disk.
    ///
    /// # Errors
    /// As [`LogWriter::append`].
    pub fn begin(io: &Io, home: &Path, pool: &Pool, events: Vec<Event>) -> Result<()> {
        let home_dir = home.join(LOG_DIR);
        let mut copies = vec![LogCopy { dir: home_dir.clone(), disk: None }];
        for disk in pool.disks() {
            let dir = disk.path.join(LOG_DIR);
            if dir != home_dir {
                copies.push(LogCopy { dir, disk: Some(Arc::clone(disk)) });
            }
        }
        let state = LogState::empty(pool.store());
        let mut writer = LogWriter { io: io.clone(), durable: (state.number, state.hash), copies, poisoned: false };
        writer.write(&Mutex::new(state), |_| events, true)?;
        Ok(())
    }

    /// Applies events, which may depend on the state, to that, and appends them as one entry, durably. A checkpoint follows when
    /// one is due. Returns the notices of copies that could not be written.
    ///
    /// Whoever looks at the state meanwhile sees it with events that may never become durable. All that follows from them comes
    /// in a later entry, or after the return.
    ///
    /// # Errors
    /// Whatever keeps it from being durable in `STORE` and on a disk. Nothing may be appended after that.
    pub fn append(
        &mut self,
        state: &Mutex<LogState>,
        events: impl FnOnce(&LogState) -> Vec<Event>,
    ) -> Result<Vec<String>> {
        let (failed, time_ns) = (self.failed(), self.io.world.now_ns());
        let with_failed = |state: &LogState| {
            let mut events = events(state);
            events.extend(new_suspects(state, &failed, time_ns));
            events
        };
        let mut notices = self.write(state, with_failed, false)?;
        // A disk that failed this very entry. The entry stands; what cannot be told of the disk is told by the next run that
        // meets it.
        let (failed, time_ns) = (self.failed(), self.io.world.now_ns());
        if !new_suspects(&locked(state), &failed, time_ns).is_empty()
            && let Err(e) = self.write(state, |state| new_suspects(state, &failed, time_ns), false)
        {
            notices.push(format!("it could not be logged which disk failed: {e}"));
            return Ok(notices);
        }
        let wants_checkpoint = locked(state).wants_checkpoint();
        if wants_checkpoint {
            notices.extend(self.write(state, LogState::checkpoint_events, true)?);
        }
        Ok(notices)
    }

    /// Disks that failed this run.
    fn failed(&self) -> Vec<DiskId> {
        let disks = self.copies.iter().filter_map(|c| c.disk.as_ref());
        disks.filter(|d| d.is_suspect()).map(|d| d.id).collect()
    }

    fn write(
        &mut self,
        state: &Mutex<LogState>,
        events: impl FnOnce(&LogState) -> Vec<Event>,
        checkpoint: bool,
    ) -> Result<Vec<String>> {
        let (entry, hash, bytes, parity) = {
            let mut state = locked(state);
            let (entry, hash, bytes) = self.entry(&state, events, checkpoint)?;
            // Applied before it is written, so that an entry that contradicts the log never reaches it; a state
            // that is ahead of the disks is never appended to.
            self.poisoned = true;
            state.apply(&entry, hash, bytes.len() as u64)?;
            (entry, hash, bytes, state.parity())
        };
        let number = entry.number;
        let mut notices = Vec::new();
        let mut on_disks = 0;
        // A disk that leaves with this entry takes its copy along: those count that stay.
        let leaves = |copy: &LogCopy| {
            let is_this = |e: &Event, id| matches!(e, Event::DiskRetired { disk } if *disk == id);
            copy.disk.as_ref().is_some_and(|d| entry.events.iter().any(|e| is_this(e, d.id)))
        };
        let is_sound = |copy: &LogCopy| copy.disk.as_ref().is_some_and(|d| !d.is_suspect());
        // Any m disks may go, and m more may have been away: then one of 2m + 1 still tells.
        let sound = self.copies.iter().filter(|c| is_sound(c) && !leaves(c)).count();
        let wanted = (2 * parity + 1).min(sound);
        let embedded = self.copies.len() == 1;
        if sound == 0 && !embedded {
            return Err(Error::NoDisks { known: self.copies.len() - 1 }); // a copy in STORE and others
        }
        // STORE's first: where that has no room nothing is written, and what stands on any disk stands there too. A disk that
        // took the entry alone, went away and came back would fork the log.
        let stage = |copy: &LogCopy| match copy.disk {
            None => 0,
            Some(_) if leaves(copy) => 2,
            Some(_) => 1,
        };
        let mut last_error = None;
        for now in 0..3 {
            // Of the disk that leaves it cannot be had back: it may be unplugged.
            if now == 2 && on_disks == 0 {
                break;
            }
            let of_now = |c: &&LogCopy| stage(c) == now && c.disk.as_ref().is_none_or(|d| !d.is_suspect());
            let copies: Vec<&LogCopy> = self.copies.iter().filter(of_now).collect();
            for (copy, put) in copies.iter().zip(put_on(&copies, &self.io, number, &bytes)) {
                match (put, &copy.disk) {
                    (Ok(()), Some(_)) => on_disks += usize::from(!leaves(copy)),
                    (Ok(()), None) => {}
                    (Err(e), None) => return Err(e),
                    (Err(e), Some(disk)) => {
                        disk.suspect();
                        notices.push(format!("disk {} did not take the log entry: {e}", disk.label));
                        last_error = Some(e);
                    }
                }
            }
        }
        if on_disks == 0 && !embedded {
            self.take_back(number);
            return Err(last_error.unwrap_or(Error::NoDisks { known: self.copies.len() - 1 })); // a copy in STORE and others
        }
        if on_disks < wanted {
            notices.push(format!("log entry {number} stands on {on_disks} disks, {wanted} were wanted"));
        }
        self.poisoned = false;
        self.durable = (number, hash);
        Ok(notices)
    }

    /// Takes an entry that no disk took out of `STORE` again, where it would be in force with the next opening although the
    /// command failed. If a disk shows it, or does not say, it stays: two entries of one number would be a fork.
    fn take_back(&self, number: u64) {
        let name = file_name(number);
        let mut others = self.copies.iter().filter(|c| c.disk.is_some());
        let is_nowhere =
            others.all(|c| self.io.fs.list(&c.dir).is_ok_and(|names| names.iter().all(|e| e.name != *name)));
        if let Some(ours) = self.copies.iter().find(|c| c.disk.is_none() && is_nowhere) {
            // Best effort: where it stays it is in force, which is no harm.
            let _ = self.io.fs.remove_file(&ours.dir.join(name)).and_then(|()| self.io.fs.sync_dir(&ours.dir));
        }
    }

    /// Number and hash of the newest entry that is durable.
    pub fn durable(&self) -> (u64, EntryHash) {
        self.durable
    }

    /// The next entry behind a state, its hash and its bytes.
    fn entry(
        &self,
        state: &LogState,
        events: impl FnOnce(&LogState) -> Vec<Event>,
        checkpoint: bool,
    ) -> Result<(LogEntry, EntryHash, Vec<u8>)> {
        let number = state.number + 1;
        if self.poisoned {
            return Err(Error::LogDamaged { number, places: self.copies.iter().map(|c| c.dir.clone()).collect() });
        }
        let events = events(state);
        let entry = LogEntry {
            store: state.store,
            number,
            previous: state.hash,
            // the order is the number's; the clock may jump back
            time_ns: self.io.world.now_ns().max(state.time_ns.saturating_add(1)),
            checkpoint: if checkpoint { number } else { state.checkpoint },
            // in use from the entry on that needs it first
            features: (events.iter().fold(state.features.0, |bits, e| bits | e.incompatible()), state.features.1),
            events,
        };
        let (bytes, hash) = entry.encode();
        if bytes.len() as u64 > LOG_ENTRY_BYTES {
            return Err(Error::Limit {
                what: "the length of a log entry",
                got: bytes.len() as u64,
                max: LOG_ENTRY_BYTES,
            });
        }
        Ok((entry, hash, bytes))
    }
}

/// That these disks failed, of which the log does not say so yet.
fn new_suspects(state: &LogState, failed: &[DiskId], time_ns: i64) -> Vec<Event> {
    let keys = failed.iter().map(Disk::suspect_key);
    keys.filter(|key| state.settings.get(key).is_none_or(String::is_empty))
        .map(|key| Event::Setting { key, value: time_ns.to_string() })
        .collect()
}

fn locked(state: &Mutex<LogState>) -> MutexGuard<'_, LogState> {
    // Who panicked while it held it, appended: the writer refuses by itself then.
    state.lock().unwrap_or_else(PoisonError::into_inner)
}
