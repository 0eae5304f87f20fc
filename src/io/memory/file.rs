//! One file of a disk in memory: what readers see, what is durable, and what lies between.

use super::super::{File, Space};
use super::FILE_BYTES_MAX;
use rustix::io::Errno;
use std::io::{self, IoSlice};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// One filesystem of the disk: files below one prefix share its room.
#[derive(Debug)]
pub(super) struct Volume {
    pub id: u64,
    room: Mutex<Room>,
}

#[derive(Clone, Copy, Debug)]
struct Room {
    total: u64,
    used: u64,
}

impl Volume {
    pub fn new(id: u64, total: u64) -> Arc<Volume> {
        Arc::new(Volume { id, room: Mutex::new(Room { total, used: 0 }) })
    }

    fn room(&self) -> MutexGuard<'_, Room> {
        self.room.lock().unwrap_or_else(PoisonError::into_inner) // its two numbers are set in single steps
    }

    pub fn set_total(&self, total: u64) {
        self.room().total = total;
    }

    pub fn space(&self) -> Space {
        let room = *self.room();
        Space { total: room.total, free: room.total.saturating_sub(room.used), filesystem: self.id }
    }

    /// Takes as much of `bytes` as there is room for, and returns how much that is.
    fn take(&self, bytes: u64) -> u64 {
        let mut room = self.room();
        let taken = bytes.min(room.total.saturating_sub(room.used));
        room.used += taken;
        taken
    }

    /// Takes what is there already, whether it fits or not.
    fn take_all(&self, bytes: u64) {
        let mut room = self.room();
        room.used = room.used.saturating_add(bytes);
    }

    fn give_back(&self, bytes: u64) {
        let mut room = self.room();
        room.used = room.used.saturating_sub(bytes);
    }
}

/// A change of a file's bytes that is not durable yet, and when it happened.
#[derive(Clone, Debug)]
pub(super) struct Pending {
    pub moment: u64,
    pub change: Change,
}

#[derive(Clone, Debug)]
pub(super) enum Change {
    Write { offset: usize, bytes: Vec<u8> },
    SetLen(usize),
}

/// A file's content.
#[derive(Debug)]
pub(super) struct Data {
    pub volatile: Vec<u8>,
    pub durable: Vec<u8>,
    pub pending: Vec<Pending>,
    pub volume: Arc<Volume>,
    /// Bytes of the volume's room that are taken in this file's name: its length, or 0 without a name.
    charged: u64,
    /// Names that readers see. More than one comes of a link, and of a crash in the middle of a rename.
    names: u32,
}

impl Data {
    /// Makes everything durable that readers see.
    pub fn settle(&mut self) {
        let mut pending = std::mem::take(&mut self.pending);
        for Pending { change, .. } in pending.drain(..) {
            match change {
                Change::Write { offset, bytes } => put(&mut self.durable, offset, &bytes),
                Change::SetLen(len) => self.durable.resize(len, 0),
            }
        }
    }

    /// Takes room for a length of `len`, or as much as there is; returns the length that fits.
    fn charge(&mut self, len: u64) -> u64 {
        if self.names == 0 {
            return len; // an unnamed file's room was given back; what is left of it is short-lived
        }
        if len > self.charged {
            self.charged += self.volume.take(len - self.charged);
        } else {
            self.volume.give_back(self.charged - len);
            self.charged = len;
        }
        self.charged
    }

    /// Counts a name. The first takes room for what the file holds, also where there is none.
    pub fn add_name(&mut self) {
        if self.names == 0 {
            self.charged = self.volatile.len() as u64; // usize is at most 64 bits
            self.volume.take_all(self.charged);
        }
        self.names += 1; // at most one per name in memory
    }

    /// Counts a name less, and gives the room back with the last one.
    pub fn drop_name(&mut self) {
        self.names = self.names.saturating_sub(1);
        if self.names == 0 {
            self.volume.give_back(std::mem::take(&mut self.charged));
        }
    }

    /// Moves the file, as it is, to another filesystem.
    pub fn move_to(&mut self, volume: &Arc<Volume>) {
        self.volume.give_back(self.charged);
        volume.take_all(self.charged);
        self.volume = Arc::clone(volume);
    }
}

/// Puts `bytes` at `offset`; what lies between the old end and `offset` reads as zeros.
pub(super) fn put(into: &mut Vec<u8>, offset: usize, bytes: &[u8]) {
    let end = offset + bytes.len(); // both below FILE_BYTES_MAX
    if into.len() < end {
        into.resize(end, 0);
    }
    into[offset..end].copy_from_slice(bytes);
}

/// A file, which names and handles share.
#[derive(Debug)]
pub(super) struct FileNode {
    data: Mutex<Data>,
    pub locked: AtomicBool,
}

impl FileNode {
    /// Makes a file that has no name yet.
    pub fn new(volume: &Arc<Volume>, volatile: Vec<u8>, durable: Vec<u8>, pending: Vec<Pending>) -> Arc<FileNode> {
        let data = Data { volatile, durable, pending, volume: Arc::clone(volume), charged: 0, names: 0 };
        Arc::new(FileNode { data: Mutex::new(data), locked: AtomicBool::new(false) })
    }

    pub fn data(&self) -> MutexGuard<'_, Data> {
        self.data.lock().unwrap_or_else(PoisonError::into_inner) // see `MemFs::tree`
    }

    /// Writes all parts. Where room ends within, what fits is written before the error, as a real
    /// filesystem does.
    pub fn write(&self, parts: &[IoSlice<'_>], offset: u64, moment: u64) -> io::Result<()> {
        let mut bytes: Vec<u8> = Vec::with_capacity(parts.iter().map(|p| p.len()).sum());
        parts.iter().for_each(|p| bytes.extend_from_slice(p));
        let end = offset.checked_add(bytes.len() as u64).filter(|end| *end <= FILE_BYTES_MAX).ok_or(Errno::FBIG)?;
        if bytes.is_empty() {
            return Ok(());
        }
        let mut data = self.data();
        let old = data.volatile.len() as u64; // usize is at most 64 bits
        let fits = if end > old { data.charge(end) } else { end };
        if fits < end {
            let kept = fits.saturating_sub(offset);
            if kept == 0 {
                data.charge(old);
                return Err(Errno::NOSPC.into());
            }
            bytes.truncate(usize::try_from(kept).map_err(|_| Errno::FBIG)?);
        }
        let offset = usize::try_from(offset).map_err(|_| Errno::FBIG)?;
        put(&mut data.volatile, offset, &bytes);
        data.pending.push(Pending { moment, change: Change::Write { offset, bytes } });
        if fits < end { Err(Errno::NOSPC.into()) } else { Ok(()) }
    }

    pub fn set_len_at(&self, len: u64, moment: u64) -> io::Result<()> {
        if len > FILE_BYTES_MAX {
            return Err(Errno::FBIG.into());
        }
        let mut data = self.data();
        let old = data.volatile.len() as u64; // usize is at most 64 bits
        if data.charge(len) < len {
            data.charge(old);
            return Err(Errno::NOSPC.into());
        }
        let len = usize::try_from(len).map_err(|_| Errno::FBIG)?;
        data.volatile.resize(len, 0);
        data.pending.push(Pending { moment, change: Change::SetLen(len) });
        Ok(())
    }

    /// Sets the length by hand: the caller settles, so the moment does not matter.
    pub fn set_len(&self, len: u64) -> io::Result<()> {
        self.set_len_at(len, 0)
    }
}

/// An open file. Handles that were opened for reading cannot write.
pub(super) struct MemFile {
    pub node: Arc<FileNode>,
    pub clock: Arc<AtomicU64>,
    pub writable: bool,
}

impl File for MemFile {
    fn read_at(&self, into: &mut [u8], offset: u64) -> io::Result<usize> {
        let data = self.node.data();
        let Some(rest) = usize::try_from(offset).ok().and_then(|at| data.volatile.get(at..)) else { return Ok(0) };
        let n = rest.len().min(into.len());
        into[..n].copy_from_slice(&rest[..n]);
        Ok(n)
    }

    fn write_all_at(&self, parts: &[IoSlice<'_>], offset: u64) -> io::Result<()> {
        if !self.writable {
            return Err(Errno::BADF.into());
        }
        self.node.write(parts, offset, self.clock.fetch_add(1, Ordering::Relaxed))
    }

    fn sync(&self) -> io::Result<()> {
        self.node.data().settle();
        Ok(())
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.node.data().volatile.len() as u64) // usize is at most 64 bits
    }

    fn drop_cache(&self, _offset: u64, _len: u64) -> io::Result<()> {
        Ok(())
    }
}
