//! Lanes: threads with one open pack each, and the disks that those packs lie on.
//!
//! A disk that fails or is full takes no more packs of the run; what its open pack held in memory goes to another disk.

use super::{Ingest, TableRow};
use crate::error::{Error, Result};
use crate::format::footer::PackKind;
use crate::format::{DiskId, PackId};
use crate::io::threads::{self, Condvar, Mutex, MutexGuard, Receiver, Sender};
use crate::ops::Notice;
use crate::pack::write::{Abandoned, NewRecord, PackWriter, Syncer};
use crate::pool::InWork;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError};

/// Bytes that wait for one lane, at least and at most: enough that a run of files is taken off the hands of those who read it
/// while another lane's disk is written to.
const QUEUE_BYTES: std::ops::RangeInclusive<u64> = 16 << 20..=64 << 20;
/// What a lane needs of the memory budget beside its queue: unsynced bytes of its open pack (16 MiB), of the one that waits to
/// be sealed and of the one that is sealed (8 each), a batch on the way.
const BESIDE_BYTES: u64 = 40 << 20;
/// What a lane needs at least.
pub(super) const LANE_MEMORY_BYTES: u64 = *QUEUE_BYTES.start() + BESIDE_BYTES;
/// Runs of files whose lanes are known. Readers work on two or three at a time.
const RUNS_KNOWN: usize = 64;

/// The queue of each of so many lanes.
pub(super) fn queue_bytes(memory_bytes: u64, lanes: usize) -> u64 {
    let each = (memory_bytes / 2 / lanes.max(1) as u64).saturating_sub(BESIDE_BYTES);
    threads::simulated_or(100 << 10, each.clamp(*QUEUE_BYTES.start(), *QUEUE_BYTES.end()))
}

/// A queue's bound in bytes.
struct Room {
    most: u64,
    used: Mutex<u64>,
    freed: Condvar,
    closed: AtomicBool,
}

impl Room {
    fn take(&self, bytes: u64) -> bool {
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        // one batch always fits, however large
        while *used > 0 && *used + bytes > self.most {
            if self.closed.load(Ordering::Relaxed) {
                return false;
            }
            used = self.freed.wait(used).unwrap_or_else(PoisonError::into_inner);
        }
        *used += bytes;
        !self.closed.load(Ordering::Relaxed)
    }

    fn give(&self, bytes: u64) {
        *self.used.lock().unwrap_or_else(PoisonError::into_inner) -= bytes;
        self.freed.notify_all();
    }

    fn used(&self) -> u64 {
        *self.used.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn close(&self) {
        self.closed.store(true, Ordering::Relaxed);
        let _used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        self.freed.notify_all();
    }
}

struct Batch {
    records: Vec<NewRecord>,
    bytes: u64,
    /// Without records: seal the open pack and drop this. Neither: the lane ends.
    settled: Option<Sender<()>>,
}

/// The way to a lane.
pub(super) struct Lane {
    queue: Sender<Batch>,
    room: Arc<Room>,
}

/// What a lane's thread works on.
pub(super) struct LaneEnd {
    queue: Receiver<Batch>,
    room: Arc<Room>,
}

impl Lane {
    /// With a queue of so many bytes.
    pub fn new(most: u64) -> (Lane, LaneEnd) {
        // The bound is in bytes, by the room; the channel's own length only has to be beyond it.
        let (queue, end) = threads::unbounded();
        let room = Arc::new(Room { most, used: Mutex::new(0), freed: Condvar::new(), closed: AtomicBool::new(false) });
        (Lane { queue, room: Arc::clone(&room) }, LaneEnd { queue: end, room })
    }

    /// Sends records, and waits for room.
    ///
    /// # Errors
    /// [`Error::Interrupted`] for a lane that has ended.
    pub fn hand(&self, records: Vec<NewRecord>) -> Result<()> {
        let bytes = records.iter().map(|r| r.memory_bytes() as u64).sum();
        if !self.room.take(bytes) {
            return Err(Error::Interrupted);
        }
        self.queue.send(Batch { records, bytes, settled: None }).map_err(|_| Error::Interrupted)
    }

    /// Asks for the open pack to be sealed. What comes back ends when that is so.
    ///
    /// # Errors
    /// As [`Lane::hand`].
    pub fn settle(&self) -> Result<Receiver<()>> {
        let (settled, wait) = threads::bounded::<()>(1);
        let batch = Batch { records: Vec::new(), bytes: 0, settled: Some(settled) };
        self.queue.send(batch).map_err(|_| Error::Interrupted)?;
        Ok(wait)
    }

    /// Bytes that wait for it or are being written.
    fn waiting_bytes(&self) -> u64 {
        self.room.used()
    }

    /// Whether what is sent now may soon have to wait.
    fn is_behind(&self) -> bool {
        self.waiting_bytes() > self.room.most / 2
    }

    /// Lets nobody wait for room any more.
    pub fn close(&self) {
        self.room.close();
    }
}

/// Ends all lanes when it is dropped, also by a panic: the run ends then, instead of waiting for lanes that
/// wait for it.
pub(super) struct EndLanes<'a>(pub &'a [Lane]);

impl Drop for EndLanes<'_> {
    fn drop(&mut self) {
        for lane in self.0 {
            let _ = lane.queue.send(Batch { records: Vec::new(), bytes: 0, settled: None }); // an empty batch ends the lane
        }
    }
}

/// What the thread that seals for a lane gets, in this order.
enum Closing {
    Seal(Box<PackWriter>),
    /// All before it was sealed: whoever waits at the other end goes on.
    Settled(#[expect(dead_code, reason = "it is dropped")] Sender<()>),
}

/// The threads that serve a lane.
#[derive(Default)]
struct Hands {
    syncer: Option<Syncer>,
    sealer: Option<Sender<Closing>>,
}

/// Fails the run if its lane panics: nobody must wait for room in a queue that is emptied no more.
pub(super) struct Alive<'i, 's>(pub &'i Ingest<'s>);

impl Drop for Alive<'_, '_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.fail(Error::WorkerLost { verb: self.0.verb });
        }
    }
}

/// Which lanes the last runs of files went to.
#[derive(Default)]
pub(super) struct Runs {
    known: VecDeque<(u64, usize)>,
    last: usize,
}

impl Runs {
    /// The lane of the `n`th run, counted from 1 on: the one it has if it `stays` there, else the one with the fewest bytes
    /// `waiting`, of several the next one behind that which was chosen last.
    fn lane(&mut self, n: u64, lanes: usize, stays: &dyn Fn(usize) -> bool, waiting: &dyn Fn(usize) -> u64) -> usize {
        let known = self.known.iter().position(|(run, _)| *run == n);
        if let Some((_, lane)) = known.and_then(|at| self.known.get(at))
            && stays(*lane)
        {
            return *lane;
        }
        let lane = (0..lanes).map(|i| 1 + (self.last + i) % lanes).min_by_key(|lane| waiting(*lane)).unwrap_or(1);
        self.last = lane; // lanes are counted from 1 on: the search begins with the next one
        if let Some(at) = known {
            self.known.remove(at);
        } else if self.known.len() >= RUNS_KNOWN {
            self.known.pop_front();
        }
        self.known.push_back((n, lane));
        lane
    }
}

impl Ingest<'_> {
    /// The data lane for the `n`th run of files that should lie together: the one that has least to do when the run begins, or
    /// the next one of those.
    pub fn lane_of(&self, n: u64) -> usize {
        self.lane_of_run(n, false)
    }

    /// As [`Ingest::lane_of`], for the next file of a run: where the run's lane is behind, it goes on in another one. Else the disks would
    /// write one after the other, each a folder's run, while whoever reads the files waits.
    pub fn lane_of_file(&self, n: u64) -> usize {
        self.lane_of_run(n, true)
    }

    fn lane_of_run(&self, n: u64, may_move: bool) -> usize {
        let lanes = self.data_lanes().max(1) as usize; // few
        let mut runs = self.runs.lock().unwrap_or_else(PoisonError::into_inner);
        let lane = |lane: usize| self.lanes.get(lane);
        let stays = |at| !may_move || !lane(at).is_some_and(Lane::is_behind);
        runs.lane(n, lanes, &stays, &|at| lane(at).map_or(u64::MAX, Lane::waiting_bytes))
    }

    /// What a lane's thread does. Two more serve it, so that its disk always has something to write: one syncs, one seals.
    pub(super) fn lane(&self, kind: PackKind, end: &LaneEnd) {
        let _alive = Alive(self);
        threads::scope(|scope| {
            let (syncer, syncer_end) = Syncer::new();
            let (sealer, closing) = threads::bounded(1);
            let seal = move || {
                let _alive = Alive(self);
                while let Ok(next) = closing.recv() {
                    if let Closing::Seal(writer) = next
                        && let Err(e) = self.seal(kind, *writer)
                    {
                        self.fail(e);
                    } // of those that settle the other end is dropped here: whoever waits goes on
                }
            };
            // Where the system has no thread to give the lane does it by itself.
            let hands = Hands {
                syncer: scope.spawn_named("onefold-sync", move || syncer_end.run()).ok().map(|_| syncer),
                sealer: scope.spawn_named("onefold-seal", seal).ok().map(|_| sealer),
            };
            self.serve_lane(kind, end, &hands);
        });
    }

    fn serve_lane(&self, kind: PackKind, end: &LaneEnd, hands: &Hands) {
        let mut open: Option<PackWriter> = None;
        let close = |open: &mut Option<PackWriter>| {
            if let Some(writer) = open.take()
                && let Err(e) = self.close(kind, hands, writer)
            {
                self.fail(e);
            }
        };
        while let Ok(batch) = end.queue.recv() {
            if batch.records.is_empty() {
                let Some(settled) = batch.settled else { break };
                close(&mut open);
                if let Some(sealer) = &hands.sealer {
                    let _ = sealer.send(Closing::Settled(settled)); // if it has ended the run has failed
                }
                continue;
            }
            let outcome = if self.failed.load(Ordering::Relaxed) {
                Ok(())
            } else {
                self.append(kind, hands, &mut open, batch.records)
            };
            end.room.give(batch.bytes);
            if let Err(e) = outcome {
                self.fail(e);
            }
        }
        close(&mut open);
    }

    fn append(
        &self,
        kind: PackKind,
        hands: &Hands,
        open: &mut Option<PackWriter>,
        mut records: Vec<NewRecord>,
    ) -> Result<()> {
        // Packs that failed meanwhile and still hold records; the disk that takes those may fail too.
        let mut failed: Vec<Abandoned> = Vec::new();
        loop {
            let mut writer = match open.take() {
                Some(writer) => writer,
                None => self.open_pack(kind)?.with_syncer(hands.syncer.clone()),
            };
            let features: Vec<_> = records.iter().map(|r| r.features.clone()).collect();
            let full = self.store.superblock().pack_bytes;
            let mut appended = writer.append(records);
            if appended.is_ok() && writer.is_full(full) {
                appended = writer.end_sync(); // what waits to be sealed holds half of what may be unsynced
            }
            if appended.is_ok() && kind.is_data() {
                self.resemblance.appended(writer.pack(), writer.file(), writer.rows(), &features);
            }
            match appended {
                Ok(()) if writer.is_full(full) => self.close(kind, hands, writer)?,
                Ok(()) => *open = Some(writer),
                Err(e) => failed.push(self.abandon(writer, e)),
            }
            records = loop {
                let Some(left) = failed.last_mut() else { return Ok(()) };
                match left.next_batch()? {
                    Some(batch) => break batch,
                    None => drop(failed.pop()),
                }
            };
        }
    }

    /// Has a pack sealed that takes no more records.
    fn close(&self, kind: PackKind, hands: &Hands, writer: PackWriter) -> Result<()> {
        {
            let mut in_work = self.in_work();
            in_work.is_written(&writer.disk_id());
            if self.protection.shape(kind).parity == 0 {
                in_work.is_published(&writer.disk_id()); // else when it is: until then its group wants other disks
            }
        }
        match &hands.sealer {
            Some(sealer) => {
                sealer.send(Closing::Seal(Box::new(writer))).map_err(|_| Error::WorkerLost { verb: self.verb })
            } // it ends before its lane only by a panic
            None => self.seal(kind, writer),
        }
    }

    /// Takes the disk of a failed pack out of the run.
    fn abandon(&self, writer: PackWriter, error: Error) -> Abandoned {
        let disk = writer.disk_id();
        self.given_up(&disk);
        if let Some(disk) = self.store.pool().disk(&disk) {
            let (label, what) = (&disk.label, disk.failed(&error));
            self.notice(Notice::Note(format!("disk {label} {what}: {error}; its open pack goes to another disk")));
        }
        writer.abandon(error)
    }

    fn given_up(&self, disk: &DiskId) {
        let mut in_work = self.in_work();
        in_work.is_written(disk);
        in_work.is_published(disk);
    }

    pub(super) fn in_work(&self) -> MutexGuard<'_, InWork> {
        self.in_work.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn open_pack(&self, kind: PackKind) -> Result<PackWriter> {
        self.begin()?;
        let pack_bytes = self.store.superblock().pack_bytes;
        let mut is_waited_for = false;
        loop {
            let disk = {
                let mut in_work = self.in_work();
                let (pool, shape) = (self.store.pool(), self.protection.shape(kind));
                let disk = pool.choose(pack_bytes, &in_work, shape, self.frees);
                if disk.is_none() && shape.parity > 0 && !is_waited_for {
                    // Packs without parity are counted with room that they may not need: theirs is made first.
                    drop(in_work);
                    self.publish(Vec::new())?;
                    is_waited_for = true;
                    continue;
                }
                let disk = disk.ok_or_else(|| Error::NoSpace {
                    needed: pack_bytes,
                    disks: match shape.parity {
                        0 => pool.why_full(pack_bytes),
                        m => format!("a pack with parity {m} needs {} disks: {}", m + 1, pool.why_full(pack_bytes)),
                    },
                })?;
                in_work.without_parity.push(disk.id);
                in_work.written.push(disk.id);
                disk
            };
            let pack = PackId::new(self.writer, self.sequence.fetch_add(1, Ordering::Relaxed));
            match PackWriter::create(self.store.io(), self.store.superblock().store, &disk.path, disk.id, pack, kind) {
                Ok(writer) => return Ok(writer),
                Err(e) => {
                    self.given_up(&disk.id);
                    let what = disk.failed(&e);
                    self.notice(Notice::Note(format!("disk {} {what}: {e}", disk.name())));
                }
            }
        }
    }

    fn seal(&self, kind: PackKind, writer: PackWriter) -> Result<()> {
        match writer.seal() {
            Ok(sealed) => {
                self.counters.packs_sealed.fetch_add(1, Ordering::Relaxed);
                self.counters.bytes_written.fetch_add(sealed.bytes, Ordering::Relaxed);
                let rows = sealed.footer.rows.iter().map(TableRow::of).collect();
                self.keep_table(sealed.pack, Some(Arc::new(rows)));
                self.hand_over(sealed);
                Ok(())
            }
            Err((writer, e)) => {
                // Its disk takes no more of the run, so it does not matter that it is counted as given up twice.
                let mut left = self.abandon(*writer, e);
                let (alone, mut open) = (Hands::default(), None);
                while let Some(records) = left.next_batch()? {
                    self.append(kind, &alone, &mut open, records)?;
                }
                match open {
                    Some(writer) => self.close(kind, &alone, writer),
                    None => Ok(()),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_go_round_over_idle_lanes_and_a_run_keeps_its_lane_until_that_is_behind() {
        let mut runs = Runs::default();
        let mut waiting = [0u64; 5]; // lane 0 is the metadata's
        let ask = |runs: &mut Runs, n: u64, waiting: &[u64; 5]| {
            runs.lane(n, 4, &|lane| waiting[lane] <= 50, &|lane| waiting[lane])
        };
        let round: Vec<usize> = (0..6).map(|n| ask(&mut runs, n, &waiting)).collect();
        assert_eq!(round, [1, 2, 3, 4, 1, 2]);
        waiting = [0, 40, 50, 10, 30];
        assert_eq!(ask(&mut runs, 5, &waiting), 2, "it is not behind");
        assert_eq!(ask(&mut runs, 6, &waiting), 3, "the one with the least to do");
        waiting[2] = 51;
        assert_eq!(ask(&mut runs, 5, &waiting), 3, "it goes on elsewhere");
        waiting = [0; 5];
        assert_eq!(ask(&mut runs, 5, &waiting), 3, "and stays there");
        // After many others it is forgotten, and like a new one.
        (100..100 + RUNS_KNOWN as u64).for_each(|n| assert!(ask(&mut runs, n, &waiting) > 0));
        assert!(runs.known.len() == RUNS_KNOWN && runs.known.iter().all(|(n, _)| *n >= 100));
        waiting = [0, 1, 1, 1, 0];
        assert_eq!(ask(&mut runs, 5, &waiting), 4);
    }
}
