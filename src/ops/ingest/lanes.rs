//! Lanes: threads with one open pack each, and the disks that those packs lie on.
//!
//! A disk that fails or is full takes no more packs of the run; what its open pack held in memory goes to another disk.

use super::{Ingest, TableRow};
use crate::error::{Error, Result};
use crate::format::footer::PackKind;
use crate::format::{DiskId, PackId};
use crate::io::threads::{self, Condvar, Mutex, Receiver, Sender};
use crate::ops::Notice;
use crate::pack::write::{Abandoned, NewRecord, PackWriter};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError};

/// Bytes that wait for one lane at most.
const LANE_QUEUE_BYTES: u64 = 16 << 20;

/// A queue's bound in bytes.
struct Room {
    used: Mutex<u64>,
    freed: Condvar,
    closed: AtomicBool,
}

impl Room {
    fn take(&self, bytes: u64) -> bool {
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        // one batch always fits, however large
        while *used > 0 && *used + bytes > threads::simulated_or(100 << 10, LANE_QUEUE_BYTES) {
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
    pub fn new() -> (Lane, LaneEnd) {
        // The bound is in bytes, by the room; the channel's own length only has to be beyond it.
        let (queue, end) = threads::unbounded();
        let room = Arc::new(Room { used: Mutex::new(0), freed: Condvar::new(), closed: AtomicBool::new(false) });
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

/// Fails the run if its lane panics: nobody must wait for room in a queue that is emptied no more.
struct LaneAlive<'i, 's>(&'i Ingest<'s>);

impl Drop for LaneAlive<'_, '_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.fail(Error::WorkerLost { verb: self.0.verb });
        }
    }
}

impl Ingest<'_> {
    pub(super) fn lane(&self, kind: PackKind, end: &LaneEnd) {
        let _alive = LaneAlive(self);
        let mut open: Option<PackWriter> = None;
        while let Ok(batch) = end.queue.recv() {
            if batch.records.is_empty() {
                if batch.settled.is_none() {
                    break;
                }
                if let Some(writer) = open.take()
                    && let Err(e) = self.seal(kind, writer)
                {
                    self.fail(e);
                }
                continue; // `settled` is dropped here: whoever waits goes on
            }
            let outcome =
                if self.failed.load(Ordering::Relaxed) { Ok(()) } else { self.append(kind, &mut open, batch.records) };
            end.room.give(batch.bytes);
            if let Err(e) = outcome {
                self.fail(e);
            }
        }
        if let Some(writer) = open.take()
            && let Err(e) = self.seal(kind, writer)
        {
            self.fail(e);
        }
    }

    fn append(&self, kind: PackKind, open: &mut Option<PackWriter>, mut records: Vec<NewRecord>) -> Result<()> {
        // Packs that failed meanwhile and still hold records; the disk that takes those may fail too.
        let mut failed: Vec<Abandoned> = Vec::new();
        loop {
            let mut writer = match open.take() {
                Some(writer) => writer,
                None => self.open_pack(kind)?,
            };
            let features: Vec<_> = records.iter().map(|r| r.features.clone()).collect();
            let appended = writer.append(records);
            if appended.is_ok() && kind.is_data() {
                self.resemblance.appended(writer.pack(), writer.file(), writer.rows(), &features);
            }
            match appended {
                Ok(()) if writer.is_full(self.store.superblock().pack_bytes) => self.seal(kind, writer)?,
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

    /// Takes the disk of a failed pack out of the run.
    fn abandon(&self, writer: PackWriter, error: Error) -> Abandoned {
        let disk = writer.disk_id();
        self.closed(&disk);
        if let Some(disk) = self.store.pool().disk(&disk) {
            let (label, what) = (&disk.label, disk.failed(&error));
            self.notice(Notice::Note(format!("disk {label} {what}: {error}; its open pack goes to another disk")));
        }
        writer.abandon(error)
    }

    /// One pack less on this disk keeps others of its group away.
    pub(super) fn closed(&self, disk: &DiskId) {
        let mut open = self.open_on.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(i) = open.iter().position(|d| d == disk) {
            open.swap_remove(i);
        }
    }

    fn open_pack(&self, kind: PackKind) -> Result<PackWriter> {
        self.begin()?;
        let pack_bytes = self.store.superblock().pack_bytes;
        loop {
            let disk = {
                let mut open = self.open_on.lock().unwrap_or_else(PoisonError::into_inner);
                let (pool, shape) = (self.store.pool(), self.protection.shape(kind));
                let disk = pool.choose(pack_bytes, &open, shape, self.frees);
                let disk = disk.ok_or_else(|| Error::NoSpace {
                    needed: pack_bytes,
                    disks: match shape.parity {
                        0 => pool.why_full(pack_bytes),
                        m => format!("a pack with parity {m} needs {} disks: {}", m + 1, pool.why_full(pack_bytes)),
                    },
                })?;
                open.push(disk.id);
                disk
            };
            let pack = PackId::new(self.writer, self.sequence.fetch_add(1, Ordering::Relaxed));
            match PackWriter::create(self.store.io(), self.store.superblock().store, &disk.path, disk.id, pack, kind) {
                Ok(writer) => return Ok(writer),
                Err(e) => {
                    self.closed(&disk.id);
                    let what = disk.failed(&e);
                    self.notice(Notice::Note(format!("disk {} {what}: {e}", disk.name())));
                }
            }
        }
    }

    fn seal(&self, kind: PackKind, writer: PackWriter) -> Result<()> {
        let disk = writer.disk_id();
        match writer.seal() {
            Ok(sealed) => {
                if self.protection.shape(kind).parity == 0 {
                    self.closed(&disk); // else when it is published: until then its group wants other disks
                }
                self.counters.packs_sealed.fetch_add(1, Ordering::Relaxed);
                self.counters.bytes_written.fetch_add(sealed.bytes, Ordering::Relaxed);
                let rows = sealed.footer.rows.iter().map(TableRow::of).collect();
                self.keep_table(sealed.pack, Some(Arc::new(rows)));
                let waiting = {
                    let mut list = self.sealed.lock().unwrap_or_else(PoisonError::into_inner);
                    list.push(sealed);
                    list.len()
                };
                if waiting >= self.publish_at() { self.publish(Vec::new(), false) } else { Ok(()) }
            }
            Err((writer, e)) => {
                let mut left = self.abandon(*writer, e);
                let mut open = None;
                while let Some(records) = left.next_batch()? {
                    self.append(kind, &mut open, records)?;
                }
                match open {
                    Some(writer) => self.seal(kind, writer),
                    None => Ok(()),
                }
            }
        }
    }
}
