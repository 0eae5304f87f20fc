//! A store on disks in memory whose index, clock and power a simulation owns.

use super::chance::Chance;
use onefold::format::superblock::{ChunkerParameters, Superblock};
use onefold::format::text::Marker;
use onefold::format::{DiskId, Keys, StoreId};
use onefold::index::MemoryIndex;
use onefold::io::faulty::{FaultPlan, FaultyFs};
use onefold::io::memory::{ManualWorld, MemFs};
use onefold::io::{Fs, Io};
use onefold::ops::init::{self, InitOptions};
use onefold::store::{IndexKind, MEMORY_MIN, Mode, OpenOptions, Opened, Store};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Two years before and after 2023: a clock that jumps by ten years passes all of them.
const BEGIN_NS: i64 = 1_700_000_000_000_000_000;
pub const TEN_YEARS_NS: i64 = 315_576_000_000_000_000;

/// Where the index is.
pub enum Index {
    Memory(Arc<MemoryIndex>),
    /// RocksDB, in real files below this folder.
    #[cfg(feature = "rocksdb")]
    Rocks(tempfile::TempDir),
}

pub struct Shelf {
    pub fs: MemFs,
    pub home: PathBuf,
    /// None: `STORE` is its own one disk.
    pub disks: Vec<PathBuf>,
    /// Disks that died and that the store still counts on, with what they held.
    pub dead: Vec<Kept>,
    /// Folders of disks that were taken out of the store.
    pub retired: Vec<PathBuf>,
    /// Bytes of each disk, if they are few.
    pub room: Option<u64>,
    /// Folders that were disks so far.
    folders: usize,
    pub index: Index,
    pub clock_ns: i64,
    /// Opened so often: each run draws from its own chance.
    runs: u64,
    seed: u64,
    /// Of all that was done so far.
    pub digest: u64,
}

/// One run's world: what it does goes through `fs`.
pub struct Run {
    pub io: Io,
    pub fs: FaultyFs,
}

impl Shelf {
    /// Makes a store with so many disks. `room` bounds each of them, in bytes.
    pub fn new(seed: u64, disks: usize, parity: usize, rocks: bool, room: Option<u64>, small_chunks: bool) -> Shelf {
        let fs = MemFs::new();
        #[cfg(feature = "rocksdb")]
        let (index, home) = if rocks {
            let dir = tempfile::tempdir().unwrap();
            let home = dir.path().to_owned();
            (Index::Rocks(dir), home)
        } else {
            (Index::Memory(Arc::default()), PathBuf::from("/home/store"))
        };
        #[cfg(not(feature = "rocksdb"))]
        let (index, home) = {
            assert!(!rocks, "there is no RocksDB in this build");
            (Index::Memory(Arc::default()), PathBuf::from("/home/store"))
        };
        let disks: Vec<PathBuf> = (0..disks).map(|i| format!("/disks/{i}").into()).collect();
        let mut shelf = Shelf {
            fs,
            home,
            folders: disks.len(),
            disks,
            dead: Vec::new(),
            retired: Vec::new(),
            room,
            index,
            clock_ns: BEGIN_NS,
            runs: 0,
            seed,
            digest: 0,
        };
        for path in shelf.disks.iter().chain([&shelf.home]) {
            // a filesystem of its own each, as mount points are
            shelf.fs.set_capacity(path, room.unwrap_or(1 << 40)).unwrap();
        }
        let like = small_chunks.then(|| shelf.small_chunks());
        let run = shelf.run(FaultPlan::new());
        let options = InitOptions {
            store: shelf.home.clone(),
            disks: shelf.disks.clone(),
            pack_bytes: Some(1 << 20),
            parity: Some(parity),
            like,
            ..Default::default()
        };
        init::run(&run.io, &options).unwrap();
        shelf.ran(&run);
        shelf
    }

    /// A folder for one more disk, on a filesystem of its own.
    pub fn new_folder(&mut self) -> PathBuf {
        let path = PathBuf::from(format!("/disks/{}", self.folders));
        self.folders += 1;
        self.fs.set_capacity(&path, self.room.unwrap_or(1 << 40)).unwrap();
        path
    }

    /// A folder with the constants of a store whose chunks are small, so that little files have many.
    fn small_chunks(&self) -> PathBuf {
        let keys = Keys::new([7; 32], self.seed);
        let chunker =
            ChunkerParameters { min_bytes: 2 << 10, avg_bytes: 8 << 10, max_bytes: 32 << 10, ..Default::default() };
        let store = StoreId([9; 16]);
        let check = onefold::chunk::Cutter::new(chunker, &keys).unwrap().table_check(&keys);
        let superblock = Superblock::new(store, 1, chunker, check, keys.key_id(), 1 << 20);
        let like = PathBuf::from("/like");
        let marker = Marker { store, disk: DiskId([9; 16]), label: "like".into() };
        self.fs.write(like.join("onefold-disk"), &marker.encode()).unwrap();
        self.fs.write(like.join("superblock"), &superblock.encode()).unwrap();
        self.fs.write(like.join("keys/0001"), &keys.encode_plain_slot()).unwrap();
        like
    }

    /// The world of the next run, with faults by plan.
    pub fn run(&mut self, plan: FaultPlan) -> Run {
        self.runs += 1;
        let fs = FaultyFs::new(Arc::new(self.fs.clone()), plan);
        let world = ManualWorld::new(self.clock_ns, self.seed.wrapping_mul(1_000_003).wrapping_add(self.runs));
        world.set_tick(1_000_000);
        self.clock_ns += 60_000_000_000;
        Run { io: Io { fs: Arc::new(fs.clone()), world: Arc::new(world) }, fs }
    }

    /// Takes what a run did into the digest.
    pub fn ran(&mut self, run: &Run) {
        self.digest = self.digest.rotate_left(7) ^ run.fs.digest();
    }

    /// The index, if it is one in memory.
    pub fn memory_index(&self) -> Option<Arc<MemoryIndex>> {
        match &self.index {
            Index::Memory(index) => Some(Arc::clone(index)),
            #[cfg(feature = "rocksdb")]
            Index::Rocks(_) => None,
        }
    }

    pub fn kind(&self) -> IndexKind {
        match &self.index {
            Index::Memory(index) => IndexKind::Memory(Arc::clone(index)),
            #[cfg(feature = "rocksdb")]
            Index::Rocks(_) => IndexKind::Rocks,
        }
    }

    pub fn open(&self, io: &Io, mode: Mode) -> onefold::Result<Opened> {
        Store::open(io, &self.home, &OpenOptions { memory_bytes: MEMORY_MIN, mode, index: self.kind() })
    }

    /// The power goes: what was not synced is left to chance.
    pub fn power_cut(&mut self, chance: &mut Chance) {
        self.fs = if chance.one_in(3) { self.fs.crash_strict() } else { self.fs.crash(chance.next()) };
    }

    /// The index is gone.
    pub fn lose_index(&mut self) {
        match &mut self.index {
            Index::Memory(index) => *index = Arc::default(),
            #[cfg(feature = "rocksdb")]
            Index::Rocks(dir) => {
                let _ = std::fs::remove_dir_all(dir.path().join("index")); // may not be there
            }
        }
    }

    /// All files below a folder, to be put back.
    pub fn keep(&self, folder: &Path) -> Kept {
        let paths = self.fs.paths().into_iter().filter(|p| p.starts_with(folder));
        Kept { folder: folder.to_owned(), files: paths.map(|p| (p.clone(), self.fs.read(&p).unwrap())).collect() }
    }

    /// Removes all files below a folder, for good.
    pub fn clear(&self, folder: &Path) {
        for path in self.fs.paths().into_iter().filter(|p| p.starts_with(folder)) {
            self.fs.remove(&path).unwrap();
        }
    }

    /// Puts files back, in place of what is there, below `folder`.
    pub fn put_back(&self, kept: &Kept, folder: &Path) {
        self.clear(folder);
        for (path, bytes) in &kept.files {
            self.fs.write(folder.join(path.strip_prefix(&kept.folder).unwrap()), bytes).unwrap();
        }
        if folder != self.home {
            self.fs.create_dir_all(&folder.join("packs")).unwrap();
        }
    }

    /// Sealed packs on the disks.
    pub fn packs(&self) -> Vec<PathBuf> {
        self.files("pack")
    }

    /// Parity packs on the disks.
    pub fn parity(&self) -> Vec<PathBuf> {
        self.files("parity")
    }

    fn files(&self, extension: &str) -> Vec<PathBuf> {
        self.fs.paths().into_iter().filter(|p| p.extension().is_some_and(|e| e == extension)).collect()
    }
}

/// Files of one folder.
#[derive(Clone)]
pub struct Kept {
    pub folder: PathBuf,
    pub files: Vec<(PathBuf, Vec<u8>)>,
}

impl Kept {
    /// Who it is, if it was a disk.
    pub fn marker(&self) -> Option<Marker> {
        let (path, bytes) = self.files.iter().find(|(path, _)| path.ends_with("onefold-disk"))?;
        Marker::decode(path, bytes).ok()
    }
}
