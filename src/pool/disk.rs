//! One disk: its folder, its room, and what stands on it from the beginning.

use crate::error::{Error, Result};
use crate::format::text::{MARKER_FILE, Marker};
use crate::format::{DiskId, FORMAT_TXT};
use crate::io::Io;
use crate::pack::PACKS_DIR;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

/// The superblock's name, on disks and in `STORE`.
pub const SUPERBLOCK_FILE: &str = "superblock";
/// The folder of key slots.
pub const KEYS_DIR: &str = "keys";
/// The first key slot.
pub const KEY_SLOT_FILE: &str = "0001";
/// The folder of the log.
pub const LOG_DIR: &str = "log";
/// The folder of parity packs.
pub const PARITY_DIR: &str = "parity";
/// Damaged files that were replaced stay here, so that their sectors are not used again.
pub const BAD_DIR: &str = "bad";
/// What the format is, for whoever finds the disk.
pub const FORMAT_FILE: &str = "FORMAT.txt";

/// A disk that is here.
#[derive(Debug)]
pub struct Disk {
    pub id: DiskId,
    pub label: String,
    pub path: PathBuf,
    /// Serial number of its drive; empty where that is not known.
    pub serial: String,
    suspect: AtomicBool,
    /// It failed an earlier run, says the log, and nobody looked at it since.
    noted: AtomicBool,
    full: AtomicBool,
}

/// Room on a disk, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    pub total: u64,
    pub free: u64,
    /// What ordinary writes leave alone, so that gc and repair can start on a full store: two packs and
    /// one per cent of the disk.
    pub reserve: u64,
    /// `free` less `reserve`.
    pub usable: u64,
    pub filesystem: u64,
}

/// A label with the serial number of the drive, where that is known.
pub fn named(label: &str, serial: &str) -> String {
    if serial.is_empty() { label.to_owned() } else { format!("{label} (serial {serial})") }
}

impl Disk {
    pub fn new(id: DiskId, label: String, path: PathBuf) -> Self {
        Disk {
            id,
            label,
            path,
            serial: String::new(),
            suspect: AtomicBool::new(false),
            noted: AtomicBool::new(false),
            full: AtomicBool::new(false),
        }
    }

    /// The same with its drive's serial number.
    pub fn with_serial(self, serial: String) -> Self {
        Disk { serial, ..self }
    }

    /// What to call it where someone has to find it: its label, and its serial number where that is known.
    pub fn name(&self) -> String {
        named(&self.label, &self.serial)
    }

    /// Marks the disk: a write or sync on it failed.
    pub fn suspect(&self) {
        self.suspect.store(true, Ordering::Relaxed);
    }

    /// Marks the disk: it failed an earlier run.
    pub fn note(&self) {
        self.noted.store(true, Ordering::Relaxed);
    }

    /// Whether it failed an earlier run and was not looked at since. It takes data only where no other disk has room.
    pub fn is_noted(&self) -> bool {
        self.noted.load(Ordering::Relaxed)
    }

    /// The key of the setting by which the log says that the disk failed a run: its value is when that was told, in
    /// nanoseconds since 1970; empty after the disk was looked at.
    pub fn suspect_key(id: &DiskId) -> String {
        format!("disk.suspect.{id}")
    }

    /// Marks the disk: it said that it is full.
    pub fn full(&self) {
        self.full.store(true, Ordering::Relaxed);
    }

    /// Marks the disk after this error: full if it says so, else suspect. Returns what to tell.
    pub fn failed(&self, error: &Error) -> &'static str {
        match error {
            Error::Io { source, .. } if source.kind() == std::io::ErrorKind::StorageFull => {
                self.full();
                "is full"
            }
            _ => {
                self.suspect();
                "failed and takes no more data"
            }
        }
    }

    pub fn is_suspect(&self) -> bool {
        self.suspect.load(Ordering::Relaxed)
    }

    /// Whether new packs may go there.
    pub fn takes_data(&self) -> bool {
        !self.is_suspect() && !self.full.load(Ordering::Relaxed)
    }

    /// # Errors
    /// [`Error::Io`].
    pub fn room(&self, io: &Io, pack_bytes: u64) -> Result<Room> {
        let space = io.fs.space(&self.path).map_err(Error::io("ask for the room at", &self.path))?;
        let reserve = 2 * pack_bytes + space.total / 100; // pack_bytes is at most 2^31
        Ok(Room {
            total: space.total,
            free: space.free,
            reserve,
            usable: space.free.saturating_sub(reserve),
            filesystem: space.filesystem,
        })
    }
}

/// Makes a folder into a disk: superblock, key slot, folders, and last the marker, since a folder
/// without one is no disk. All of it is durable when this returns.
///
/// # Errors
/// [`Error::Io`].
pub fn furnish(io: &Io, folder: &Path, marker: &Marker, superblock: &[u8], key_slot: &[u8]) -> Result<()> {
    let dirs = [PACKS_DIR, LOG_DIR, KEYS_DIR];
    for dir in dirs {
        let dir = folder.join(dir);
        io.fs.create_dir_all(&dir).map_err(Error::io("create the folder", dir))?;
    }
    let files: [(&str, &[u8]); 4] = [
        (FORMAT_FILE, FORMAT_TXT.as_bytes()),
        (SUPERBLOCK_FILE, superblock),
        (&format!("{KEYS_DIR}/{KEY_SLOT_FILE}"), key_slot),
        (MARKER_FILE, &marker.encode()),
    ];
    for (name, bytes) in files {
        let path = folder.join(name);
        io.write_durable(&path, bytes, true).map_err(Error::io("write", path))?;
    }
    if let Some(parent) = folder.parent() {
        let _ = io.fs.sync_dir(parent); // the folder itself may be a mount point: its name is not ours
    }
    Ok(())
}
