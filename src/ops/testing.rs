//! A store on disks in memory, for the tests of verbs.

pub mod bench;
mod found;
mod side_by_side;

use super::Control;
use super::backup::{self, BackupOptions, BackupReport, Source};
use super::snapshots::{self, SnapshotInfo};
use crate::chunk::Cutter;
use crate::format::event::Event;
use crate::format::superblock::{ChunkerParameters, Superblock};
use crate::format::text::{DiskList, KnownDisk, Marker};
use crate::format::{ChunkId, ChunkKind, DiskId, Keys, StoreId};
use crate::index::MemoryIndex;
use crate::io::faulty::{FaultPlan, FaultyFs};
use crate::io::memory::{ManualWorld, MemFs};
use crate::io::{Io, World};
use crate::pool::disk::{KEY_SLOT_FILE, KEYS_DIR, SUPERBLOCK_FILE, furnish};
use crate::pool::log::LogWriter;
use crate::pool::{PackStore, Pool, write_known};
use crate::store::{IndexKind, MEMORY_MIN, Mode, OpenOptions, Opened, Store};
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub const STORE: StoreId = StoreId([1; 16]);
pub const HOME: &str = "/store";
pub const PACK_BYTES: u64 = 1 << 20;
pub const DAY_NS: i64 = 86_400_000_000_000;

/// `STORE` at [`HOME`] and disks at `/disk0`, `/disk1`, ... The index is kept beside.
pub struct Shelf {
    pub io: Io,
    pub fs: MemFs,
    pub world: Arc<ManualWorld>,
    pub index: Arc<MemoryIndex>,
    pub keys: Keys,
    pub memory_bytes: u64,
}

pub fn disk_id(i: usize) -> DiskId {
    DiskId([i as u8 + 16; 16])
}

pub fn disk_path(i: usize) -> PathBuf {
    PathBuf::from(format!("/disk{i}"))
}

fn superblock(keys: &Keys, store: StoreId) -> Vec<u8> {
    let chunker =
        ChunkerParameters { min_bytes: 4 << 10, avg_bytes: 16 << 10, max_bytes: 64 << 10, ..Default::default() };
    let cutter = Cutter::new(chunker, keys).unwrap();
    Superblock::new(store, 1, chunker, cutter.table_check(keys), keys.key_id(), PACK_BYTES).encode()
}

fn make(io: &Io, keys: &Keys, store: StoreId, home: &Path, disks: &[(DiskId, PathBuf)]) {
    let (superblock, slot) = (superblock(keys, store), keys.encode_plain_slot());
    io.fs.create_dir_all(home).unwrap();
    let mut known = Vec::new();
    let mut events = vec![Event::Setting { key: "parity".into(), value: "0".into() }];
    for (i, (disk, path)) in disks.iter().enumerate() {
        io.fs.create_dir_all(path).unwrap();
        let label = format!("bay {i}");
        furnish(io, path, &Marker { store, disk: *disk, label: label.clone() }, &superblock, &slot).unwrap();
        known.push(KnownDisk {
            disk: *disk,
            label: label.clone(),
            path: crate::pool::bytes_of(path),
            serial: String::new(),
        });
        events.push(Event::DiskJoined { disk: *disk, label, serial: String::new(), domain: String::new() });
    }
    let (pool, _) = Pool::join(io, store, &known).unwrap();
    LogWriter::begin(io, home, &pool, events).unwrap();
    io.write_durable(&home.join(SUPERBLOCK_FILE), &superblock, true).unwrap();
    io.fs.create_dir_all(&home.join(KEYS_DIR)).unwrap();
    io.write_durable(&home.join(KEYS_DIR).join(KEY_SLOT_FILE), &slot, true).unwrap();
    write_known(io, home, &DiskList { store, disks: known }).unwrap();
}

impl Shelf {
    pub fn new(disks: usize) -> Shelf {
        Shelf::of(MemFs::new(), STORE, HOME, &(0..disks).map(|i| (disk_id(i), disk_path(i))).collect::<Vec<_>>())
    }

    /// Makes a store that may lose any `parity` of its disks.
    pub fn with_parity(disks: usize, parity: usize) -> Shelf {
        let mut shelf = Shelf::new(disks);
        shelf.memory_bytes = 1 << 30; // for as many lanes as groups are wide
        let value = parity.to_string();
        shelf.write().append(|_| vec![Event::Setting { key: "parity".into(), value }]).unwrap();
        shelf
    }

    /// Takes a disk away; what stood on it is kept for [`Shelf::bring_back`].
    pub fn take_away(&self, disk: usize) {
        self.io.fs.rename(&disk_path(disk), Path::new(&format!("/away{disk}"))).unwrap();
    }

    pub fn bring_back(&self, disk: usize) {
        self.io.fs.rename(Path::new(&format!("/away{disk}")), &disk_path(disk)).unwrap();
    }

    /// The same shelf once more, as it is now, with faults.
    pub fn with_faults(&self, plan: FaultPlan) -> (Shelf, FaultyFs) {
        let fs = self.fs.snapshot();
        let faulty = FaultyFs::new(Arc::new(fs.clone()), plan);
        let io = Io { fs: Arc::new(faulty.clone()), world: Arc::clone(&self.world) as Arc<dyn World> };
        let (world, index, keys) = (Arc::clone(&self.world), Arc::clone(&self.index), self.keys.clone());
        (Shelf { io, fs, world, index, keys, memory_bytes: self.memory_bytes }, faulty)
    }

    /// Forgets the index, as a lost `STORE` would.
    pub fn forget_index(&mut self) {
        self.index = Arc::default();
    }

    /// The bytes of a file of the newest snapshot, as `cat` gives them.
    pub fn bytes_of(&self, store: &Store, path: &str) -> crate::Result<Vec<u8>> {
        let mut out = Vec::new();
        super::cat::run(store, &self.latest(store), path.as_bytes(), None, &mut out, &Control::default())?;
        Ok(out)
    }

    /// Makes a store on a filesystem that may hold others.
    pub fn of(fs: MemFs, store: StoreId, home: &str, disks: &[(DiskId, PathBuf)]) -> Shelf {
        Shelf::with_keys(fs, store, home, disks, Keys::new([3; 32], 5))
    }

    pub fn with_keys(fs: MemFs, store: StoreId, home: &str, disks: &[(DiskId, PathBuf)], keys: Keys) -> Shelf {
        let world = Arc::new(ManualWorld::new(1_700_000_000_000_000_000, 7));
        world.set_tick(1000);
        let io = Io { fs: Arc::new(fs.clone()), world: Arc::clone(&world) as Arc<dyn World> };
        make(&io, &keys, store, Path::new(home), disks);
        Shelf { io, fs, world, index: Arc::default(), keys, memory_bytes: MEMORY_MIN }
    }

    /// Makes a store of real files.
    #[cfg(feature = "rocksdb")]
    pub fn real(home: &Path, disks: &[(DiskId, PathBuf)]) -> Io {
        let io = Io::real();
        make(&io, &Keys::new([3; 32], 5), STORE, home, disks);
        io
    }
    pub fn kind(&self) -> IndexKind {
        IndexKind::Memory(Arc::clone(&self.index))
    }

    pub fn open(&self, mode: Mode) -> crate::Result<Opened> {
        let options = OpenOptions { memory_bytes: self.memory_bytes, mode, index: self.kind() };
        Store::open(&self.io, Path::new(HOME), &options)
    }

    pub fn read(&self) -> Store {
        self.open(Mode::Read).unwrap().store
    }

    /// Readers that bring the index up to date take the writer's lock for a moment: it is waited for, as the command line does.
    pub fn write(&self) -> Store {
        let mut patience = 5000;
        loop {
            match self.open(Mode::Write { verb: "backup" }) {
                Err(crate::Error::Locked { .. }) if patience > 0 => {
                    patience -= 1;
                    std::thread::sleep(std::time::Duration::from_millis(1));
                }
                opened => return opened.unwrap().store,
            }
        }
    }

    pub fn latest(&self, store: &Store) -> SnapshotInfo {
        snapshots::list(store, &[]).pop().unwrap()
    }

    fn back_up_source(&self, source: Source) -> BackupReport {
        self.try_back_up(source).unwrap()
    }

    pub fn try_back_up(&self, source: Source) -> crate::Result<BackupReport> {
        self.try_back_up_with(source, &Control::default())
    }

    /// Backs up what is proven on the way.
    pub fn back_up_bag(&self, bag: super::bag::Bag, control: &Control) -> crate::Result<BackupReport> {
        self.try_back_up_with(Source::Bag(Box::new(bag)), control)
    }

    /// Backs up bytes as the file `/name`, with a bound on its fragments.
    pub fn stream_bounded(&self, name: &str, bytes: &[u8], per_gib: u64) -> BackupReport {
        let input = Box::new(std::io::Cursor::new(bytes.to_vec()));
        let source = Source::Stream { name: name.as_bytes().to_vec(), input };
        self.back_up_by(source, Some(per_gib), &Control::default()).unwrap()
    }

    fn try_back_up_with(&self, source: Source, control: &Control) -> crate::Result<BackupReport> {
        self.back_up_by(source, None, control)
    }

    fn back_up_by(&self, source: Source, per_gib: Option<u64>, control: &Control) -> crate::Result<BackupReport> {
        let options = BackupOptions {
            max_fragments_per_gib: per_gib,
            host: Some("host".into()),
            user: "user".into(),
            ..BackupOptions::of(source, "test")
        };
        backup::run(&self.write(), options, control)
    }

    /// Backs up bytes as the file `/name`.
    pub fn stream(&self, name: &str, bytes: &[u8]) {
        let input = Box::new(std::io::Cursor::new(bytes.to_vec()));
        self.back_up_source(Source::Stream { name: name.as_bytes().to_vec(), input });
    }

    /// Makes a snapshot of a tar archive.
    pub fn import(&self, archive: &[u8]) -> BackupReport {
        self.try_import(Box::new(std::io::Cursor::new(archive.to_vec()))).unwrap()
    }

    pub fn try_import(&self, input: Box<dyn std::io::Read + Send>) -> crate::Result<BackupReport> {
        self.try_back_up(Source::Archive { input })
    }

    /// Backs up a real folder.
    pub fn back_up(&self, folder: &Path) {
        self.back_up_source(Source::Paths(vec![folder.to_owned()]));
    }

    /// Makes files below a real folder.
    pub fn library(&self, folder: &Path, files: &[(&str, &[u8])]) {
        for (name, bytes) in files {
            let path = folder.join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, bytes).unwrap();
        }
    }

    /// Where a chunk's record lies: the pack's file, the record's offset and length.
    pub fn place(&self, id: &ChunkId) -> (PathBuf, u64, u64) {
        let store = self.read();
        let at = store.locate(&[*id]).unwrap()[0].unwrap();
        (store.pool().place(&at.sealed), u64::from(at.place.offset), u64::from(at.place.stored))
    }

    /// Flips a bit in the middle of a chunk's record.
    pub fn spoil(&self, _kind: ChunkKind, id: &ChunkId) {
        let (path, offset, bytes) = self.place(id);
        self.fs.flip(path, (offset + bytes / 2) * 8).unwrap();
    }
}

/// Bytes that look random, by seed.
pub fn noise(seed: u64, n: usize) -> Vec<u8> {
    let mut out = vec![0; n];
    ManualWorld::new(0, seed).random(&mut out);
    out
}
