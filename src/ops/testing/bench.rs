//! A store in memory for the tests of verbs: disks that can be harmed, an index that can be made to lie.

use super::Control;
use super::backup::{self, BackupOptions, BackupReport, Source};
use crate::chunk::Cutter;
use crate::format::event::Event;
use crate::format::superblock::{ChunkerParameters, Superblock};
use crate::format::text::{KnownDisk, Marker};
use crate::format::{DiskId, Keys, StoreId};
use crate::index::memory::MemoryIndex;
use crate::io::memory::{ManualWorld, MemFs};
use crate::io::{Fs, Io};
use crate::pool::disk::{self, KEY_SLOT_FILE, KEYS_DIR, LOG_DIR, SUPERBLOCK_FILE};
use crate::pool::log::LogWriter;
use crate::pool::{Pool, bytes_of, write_known};
use crate::store::{IndexKind, MEMORY_MIN, Mode, OpenOptions, Opened, Store};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Where the store folder is; disks are `/d0`, `/d1`, ...
pub const HOME: &str = "/store";

/// A store over a disk in memory.
pub struct Bench {
    pub fs: MemFs,
    pub io: Io,
    pub index: Arc<MemoryIndex>,
    pub disks: Vec<PathBuf>,
}

impl Bench {
    /// Makes a store with so many disks (none: the store folder is its own disk). Chunks are of 64 to 1024
    /// bytes, so that little files have lists and many chunks.
    pub fn new(disks: usize) -> Bench {
        let fs = MemFs::new();
        let world = ManualWorld::new(1_700_000_000_000_000_000, 7);
        world.set_tick(1_000_000);
        let io = Io { fs: Arc::new(fs.clone()), world: Arc::new(world) };
        let home = Path::new(HOME);
        let folders: Vec<PathBuf> = match disks {
            0 => vec![home.to_owned()],
            n => (0..n).map(|i| PathBuf::from(format!("/d{i}"))).collect(),
        };
        let keys = Keys::new([3; 32], 5);
        let store = StoreId([1; 16]);
        let chunker = ChunkerParameters { min_bytes: 64, avg_bytes: 256, max_bytes: 1024, ..Default::default() };
        let check = Cutter::new(chunker, &keys).unwrap().table_check(&keys);
        let superblock = Superblock::new(store, 1, chunker, check, keys.key_id(), 1 << 20);
        let (superblock, slot) = (superblock.encode(), keys.encode_plain_slot());
        let (mut known, mut events) = (Vec::new(), Vec::new());
        for (i, folder) in (1u8..).zip(&folders) {
            let (id, label) = (DiskId([i; 16]), format!("disk {i}"));
            disk::furnish(&io, folder, &Marker { store, disk: id, label: label.clone() }, &superblock, &slot).unwrap();
            known.push(KnownDisk { disk: id, label: label.clone(), path: bytes_of(folder), serial: String::new() });
            events.push(Event::DiskJoined { disk: id, label, serial: String::new(), domain: String::new() });
        }
        fs.create_dir_all(&home.join(KEYS_DIR)).unwrap();
        fs.create_dir_all(&home.join(LOG_DIR)).unwrap();
        fs.write(home.join(SUPERBLOCK_FILE), &superblock).unwrap();
        fs.write(home.join(KEYS_DIR).join(KEY_SLOT_FILE), &slot).unwrap();
        let (pool, _) = Pool::join(&io, store, &known).unwrap();
        LogWriter::begin(&io, home, &pool, events).unwrap();
        write_known(&io, home, &pool.known()).unwrap();
        Bench { fs, io, index: Arc::new(MemoryIndex::new()), disks: folders }
    }

    pub fn try_open(&self, mode: Mode) -> crate::Result<Opened> {
        let index = IndexKind::Memory(Arc::clone(&self.index));
        Store::open(&self.io, Path::new(HOME), &OpenOptions { memory_bytes: MEMORY_MIN, mode, index })
    }

    pub fn read(&self) -> Store {
        self.try_open(Mode::Read).unwrap().store
    }

    pub fn write(&self) -> Store {
        self.try_open(Mode::Write { verb: "test" }).unwrap().store
    }

    /// Backs up one file of these bytes at `/name`.
    pub fn backup(&self, name: &str, bytes: &[u8]) -> BackupReport {
        let input = Box::new(std::io::Cursor::new(bytes.to_vec()));
        self.backup_of(Source::Stream { name: name.into(), input })
    }

    pub fn backup_of(&self, source: Source) -> BackupReport {
        let options = BackupOptions::of(source, "test");
        backup::run(&self.write(), options, &Control::default()).unwrap()
    }

    /// Paths of all files of packs.
    pub fn packs(&self) -> Vec<PathBuf> {
        self.fs.paths().into_iter().filter(|p| p.extension().is_some_and(|e| e == "pack")).collect()
    }
}

/// Bytes without pattern; one seed gives one sequence.
pub fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(len + 32);
    let mut n = 0u64;
    while out.len() < len {
        out.extend(crate::format::check::blake3(&[&seed.to_le_bytes(), &n.to_le_bytes()]));
        n += 1;
    }
    out.truncate(len);
    out
}
