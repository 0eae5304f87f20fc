//! The disks: join, place, read, and the copies of the log on them.
//!
//! A disk is a folder with a marker. The pool knows where each of a store's disks is now, by its
//! marker and not by its mount path; it places packs, opens them, and reads and appends the log
//! ([`log`]), and makes and reads parity ([`parity`]). It does not know what a pack holds for whom.
//!
//! # Invariants
//!
//! 1. A folder without the marker is a disk that is not mounted, never an empty one.
//! 2. Two folders with one disk id are both refused, until one of them is gone.
//! 3. A disk on which a write or sync failed takes no more data in this run.

pub mod disk;
pub mod log;
pub mod parity;
mod place;

pub use place::{Place, Shape};

use crate::error::{Error, Result};
use crate::format::event::SealedPack;
use crate::format::text::{DISKS_FILE, DiskList, KnownDisk, MARKER_FILE, Marker};
use crate::format::{DiskId, StoreId, limits};
use crate::io::threads::Mutex;
use crate::io::{File, Io, Lock};
use crate::pack;
use disk::Disk;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::ffi::OsStr;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError};

/// Whether an error tells of a disk that went: of the medium, its cable, or its mount; and not of this process or its rights.
fn is_of_a_lost_disk(e: &std::io::Error) -> bool {
    use std::io::ErrorKind::{NotADirectory, NotConnected, NotFound, StaleNetworkFileHandle};
    /// No such device or address; input/output error; no such device.
    const LOST: [i32; 3] = [6, 5, 19];
    matches!(e.kind(), NotFound | NotADirectory | NotConnected | StaleNetworkFileHandle)
        || e.raw_os_error().is_some_and(|code| LOST.contains(&code))
}

/// Open packs whose handles are kept.
const HANDLES: usize = 128;

/// Sealed packs by the disk or service that holds them: what readers need of a pool, and of an object
/// store in its stead.
pub trait PackStore: Send + Sync {
    /// Whether the pack can be reached now.
    fn holds(&self, pack: &SealedPack) -> bool;
    /// Opens a sealed pack for reading.
    ///
    /// # Errors
    /// [`Error::DiskMissing`], [`Error::Io`].
    fn open(&self, pack: &SealedPack) -> Result<Arc<dyn File>>;
    /// Where it lies, for people.
    fn place(&self, pack: &SealedPack) -> PathBuf;
}

/// The disks of a store.
pub struct Pool {
    io: Io,
    store: StoreId,
    disks: BTreeMap<DiskId, Arc<Disk>>,
    missing: Vec<KnownDisk>,
    /// Failure domains, of disks that have one.
    domains: BTreeMap<DiskId, String>,
    handles: Mutex<Handles>,
}

#[derive(Default)]
struct Handles {
    open: HashMap<PathBuf, Arc<dyn File>>,
    order: VecDeque<PathBuf>,
}

/// A path from the raw bytes that files keep.
pub fn path_of(bytes: &[u8]) -> PathBuf {
    PathBuf::from(std::ffi::OsString::from_vec(bytes.to_vec()))
}

/// The raw bytes of a path.
pub fn bytes_of(path: &Path) -> Vec<u8> {
    path.as_os_str().as_bytes().to_vec()
}

/// Reads the marker of a folder; `None` where there is none.
///
/// # Errors
/// A marker that is damaged, or [`Error::Io`].
pub fn read_marker(io: &Io, folder: &Path) -> Result<Option<Marker>> {
    if folder.as_os_str().is_empty() {
        return Ok(None); // a disk that was never seen from here: not the folder we happen to be in
    }
    let path = folder.join(MARKER_FILE);
    match io.read_small(&path, limits::SMALL_FILE_BYTES) {
        Ok(bytes) => Marker::decode(&path, &bytes).map(Some),
        Err(e) if matches!(e.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory) => Ok(None),
        Err(e) => Err(Error::io("read the disk marker", path)(e)),
    }
}

/// What a run is doing on which disks: an id for each pack.
#[derive(Debug, Default)]
pub struct InWork {
    /// Of packs that are open or have no parity yet: those that are to be one group want disks of their own.
    pub without_parity: Vec<DiskId>,
    /// Of packs of data that are being written: a disk has one thing to do at a time.
    pub written: Vec<DiskId>,
    /// Of parity packs that are being written, with the bytes that each takes.
    pub parity: Vec<(DiskId, u64)>,
}

impl InWork {
    fn remove(from: &mut Vec<DiskId>, disk: &DiskId) {
        if let Some(i) = from.iter().position(|d| d == disk) {
            from.swap_remove(i);
        }
    }

    /// A pack has its parity, or is given up.
    pub fn is_published(&mut self, disk: &DiskId) {
        Self::remove(&mut self.without_parity, disk);
    }

    /// A pack of data was written.
    pub fn is_written(&mut self, disk: &DiskId) {
        Self::remove(&mut self.written, disk);
    }

    /// Parity packs that are being written to a disk.
    pub fn parity_on(&self, disk: &DiskId) -> usize {
        self.parity.iter().filter(|(on, _)| on == disk).count()
    }

    /// Bytes of a disk that parity takes, whether it stands there already or not.
    fn promised(&self, disk: &DiskId) -> u64 {
        self.parity.iter().filter(|(on, _)| on == disk).fold(0, |sum, (_, bytes)| sum.saturating_add(*bytes))
    }
}

impl Pool {
    /// Finds the disks that `known` lists. A disk is looked for at every path that is known for any disk
    /// of the store, so swapped cables and exchanged mount points do no harm.
    ///
    /// The second value says what was noticed: disks that moved, and why one could not be used.
    ///
    /// # Errors
    /// [`Error::DiskForeign`] for two folders with one disk id.
    pub fn join(io: &Io, store: StoreId, known: &[KnownDisk]) -> Result<(Pool, Vec<String>)> {
        let mut notices = Vec::new();
        let mut found: BTreeMap<DiskId, Disk> = BTreeMap::new();
        let mut damaged: HashMap<Vec<u8>, String> = HashMap::new();
        for k in known {
            let path = path_of(&k.path);
            match read_marker(io, &path) {
                Ok(Some(marker)) if marker.store == store => {
                    if let Some(other) = found.get(&marker.disk)
                        && other.path != path
                    {
                        let why = "another folder carries the same disk id; take one of the two away";
                        return Err(Error::DiskForeign {
                            path,
                            id: marker.disk.to_string(),
                            store: store.to_string(),
                            why,
                        });
                    }
                    let noted = known.iter().find(|k| k.disk == marker.disk).map(|k| k.serial.clone());
                    let serial = io.fs.serial(&path).or(noted).unwrap_or_default();
                    found.insert(marker.disk, Disk::new(marker.disk, marker.label, path).with_serial(serial));
                }
                Ok(Some(marker)) => notices.push(format!(
                    "{} holds disk {} of another store ({})",
                    path.display(),
                    marker.disk,
                    marker.store
                )),
                Ok(None) => {}
                Err(e) => {
                    damaged.insert(k.path.clone(), e.to_string());
                }
            }
        }
        let mut missing = Vec::new();
        for k in known {
            match found.get(&k.disk) {
                Some(disk) if disk.path != path_of(&k.path) => {
                    notices.push(format!("disk {} is now at {}", k.label, disk.path.display()))
                }
                Some(_) => {}
                None => {
                    if let Some(why) = damaged.get(&k.path) {
                        notices.push(format!("disk {} cannot be used: {why}", k.label));
                    }
                    missing.push(k.clone());
                }
            }
        }
        let disks = found.into_iter().map(|(id, d)| (id, Arc::new(d))).collect();
        Ok((
            Pool { io: io.clone(), store, disks, missing, domains: BTreeMap::new(), handles: Mutex::default() },
            notices,
        ))
    }

    pub fn store(&self) -> StoreId {
        self.store
    }

    /// Disks that are here.
    pub fn disks(&self) -> impl Iterator<Item = &Arc<Disk>> {
        self.disks.values()
    }

    pub fn disk(&self, id: &DiskId) -> Option<&Arc<Disk>> {
        self.disks.get(id)
    }

    /// Disks that are known and not here.
    pub fn missing(&self) -> &[KnownDisk] {
        &self.missing
    }

    /// Locks the marker of every disk that is here. One that went since it was found: it is left out, as if it
    /// were missing, and why is added to `notices`.
    ///
    /// # Errors
    /// [`Error::Locked`] where another process has one, [`Error::Io`].
    pub fn lock(&mut self, notices: &mut Vec<String>) -> Result<Vec<Box<dyn Lock>>> {
        let mut locks = Vec::with_capacity(self.disks.len());
        for disk in self.disks.values().cloned().collect::<Vec<_>>() {
            let path = disk.path.join(MARKER_FILE);
            match self.io.fs.try_lock(&path) {
                Ok(Some(lock)) => locks.push(lock),
                Err(e) if is_of_a_lost_disk(&e) && self.disks.len() > 1 => {
                    notices.push(format!("disk {} at {} cannot be used: {e}", disk.name(), disk.path.display()));
                    self.disks.remove(&disk.id);
                    let path = bytes_of(&disk.path);
                    let (label, serial) = (disk.label.clone(), disk.serial.clone());
                    self.missing.push(KnownDisk { disk: disk.id, label, path, serial });
                }
                Err(e) => return Err(Error::io("lock", path)(e)),
                Ok(None) => {
                    return Err(Error::Locked {
                        path: disk.path.clone(),
                        holder: "through another STORE folder of the same disks".into(),
                    });
                }
            }
        }
        Ok(locks)
    }

    /// The list to keep in `STORE/disks`: where each disk is now, or was last.
    pub fn known(&self) -> DiskList {
        let here = self.disks.values().map(|d| KnownDisk {
            disk: d.id,
            label: d.label.clone(),
            path: bytes_of(&d.path),
            serial: d.serial.clone(),
        });
        let mut disks: Vec<_> = here.chain(self.missing.iter().cloned()).collect();
        disks.sort_by_key(|d| d.disk);
        DiskList { store: self.store, disks }
    }

    /// The disk for a new pack: the one with the most usable bytes for each open pack that it would then have, so that unequal
    /// disks fill evenly, packs that are being written counting twice, so that all disks write; one that failed an earlier run
    /// only if no other has room. `None` where none has room for `pack_bytes` beyond its reserve, or none of which the parity
    /// would find room on others; what frees space may use the reserve too.
    pub fn choose(&self, pack_bytes: u64, run: &InWork, shape: Shape, reserve: bool) -> Option<Arc<Disk>> {
        let count = |on: &[DiskId], id: &DiskId| on.iter().filter(|on| *on == id).count() as u64;
        let asked = self.disks.values().filter(|d| d.takes_data()).filter_map(|disk| {
            let mut room = disk.room(&self.io, pack_bytes).ok()?;
            let promised = run.promised(&disk.id);
            (room.free, room.usable) = (room.free.saturating_sub(promised), room.usable.saturating_sub(promised));
            Some(place::Candidate { disk, room, open: count(&run.without_parity, &disk.id) })
        });
        let all: Vec<place::Candidate<'_>> = asked.collect();
        let usable = |c: &place::Candidate<'_>| if reserve { c.room.free } else { c.room.usable };
        let fits = |c: &&place::Candidate<'_>| usable(c) >= pack_bytes.saturating_mul(c.open + 1);
        let width = shape.width.min(all.iter().filter(fits).count().saturating_sub(shape.parity)).max(1);
        let groups = (run.without_parity.len() + 1).div_ceil(width) as u64;
        let may =
            all.iter().filter(fits).filter(|c| self.has_room_for_parity_of(c, &all, pack_bytes, groups, shape.parity));
        let best = may.max_by_key(|c| {
            let is_crowded = shape.parity > 0 && c.open >= groups;
            let packs = c.open + count(&run.written, &c.disk.id) + run.parity_on(&c.disk.id) as u64;
            (!c.disk.is_noted(), !is_crowded, usable(c) / (packs + 1), std::cmp::Reverse(c.disk.id))
        });
        best.map(|c| Arc::clone(c.disk))
    }

    /// A line per disk on why it takes no data, for the error that says so.
    pub fn why_full(&self, pack_bytes: u64) -> String {
        let here = self.disks.values().map(|d| match d.room(&self.io, pack_bytes) {
            _ if !d.takes_data() => format!("{} failed", d.name()),
            Ok(room) => format!("{} has {} bytes free of which {} are in reserve", d.label, room.free, room.reserve),
            Err(e) => format!("{}: {e}", d.label),
        });
        let gone = self.missing.iter().map(|d| format!("{} is missing", disk::named(&d.label, &d.serial)));
        here.chain(gone).collect::<Vec<_>>().join("; ")
    }

    /// Forgets all open handles: some of the files have other places now.
    pub fn forget_handles(&self) {
        *self.handles.lock().unwrap_or_else(PoisonError::into_inner) = Handles::default();
    }

    /// Forgets an open handle, so that the next read opens the file anew.
    pub fn forget_handle(&self, pack: &SealedPack) {
        let path = self.place(pack);
        self.handles.lock().unwrap_or_else(PoisonError::into_inner).open.remove(&path);
    }
}

impl PackStore for Pool {
    fn holds(&self, pack: &SealedPack) -> bool {
        self.disks.contains_key(&pack.disk)
    }

    fn open(&self, pack: &SealedPack) -> Result<Arc<dyn File>> {
        if !self.holds(pack) {
            let known = self.missing.iter().find(|d| d.disk == pack.disk);
            return Err(Error::DiskMissing {
                label: known.map_or_else(|| "without a label".into(), |d| disk::named(&d.label, &d.serial)),
                id: pack.disk.to_string(),
                last_path: known.map(|d| path_of(&d.path)).unwrap_or_default(),
            });
        }
        let path = self.place(pack);
        // A poisoned lock means a thread panicked between two statements that leave a cache usable.
        let mut handles = self.handles.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(file) = handles.open.get(&path) {
            return Ok(Arc::clone(file));
        }
        let file = self.io.fs.open(&path).map_err(Error::io("open the pack", &path))?;
        if handles.order.len() >= HANDLES
            && let Some(oldest) = handles.order.pop_front()
        {
            handles.open.remove(&oldest);
        }
        handles.order.push_back(path.clone());
        handles.open.insert(path, Arc::clone(&file));
        Ok(file)
    }

    fn place(&self, pack: &SealedPack) -> PathBuf {
        let root = self.disks.get(&pack.disk).map_or(Path::new("?"), |d| &d.path);
        pack::sealed_path(root, pack.pack)
    }
}

/// Writes `STORE/disks`.
///
/// # Errors
/// [`Error::Io`].
pub fn write_known(io: &Io, store: &Path, list: &DiskList) -> Result<()> {
    let path = store.join(DISKS_FILE);
    io.write_durable(&path, &list.encode(), true).map_err(Error::io("write the list of disks", path))
}

/// Reads `STORE/disks`; `None` where there is none.
///
/// # Errors
/// Damage, or [`Error::Io`].
pub fn read_known(io: &Io, store: &Path) -> Result<Option<DiskList>> {
    let path = store.join(DISKS_FILE);
    match io.read_small(&path, limits::SMALL_FILE_BYTES.max(limits::DISKS as u64 * 8192)) {
        Ok(bytes) => DiskList::decode(&path, &bytes).map(Some),
        Err(e) if matches!(e.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory) => Ok(None),
        Err(e) => Err(Error::io("read the list of disks", path)(e)),
    }
}

/// Changes `STORE/disks` as it stands now: where a disk is that came back may have been noted beside a run since that opened
/// the store. `opened`: the list as the run knows it, for where that there is cannot be read.
///
/// # Errors
/// As [`write_known`].
pub fn change_known(io: &Io, store: &Path, opened: DiskList, change: impl FnOnce(&mut DiskList)) -> Result<()> {
    let mut list = read_known(io, store).ok().flatten().unwrap_or(opened);
    change(&mut list);
    list.disks.sort_by_key(|d| d.disk);
    write_known(io, store, &list)
}

/// Whether a name in a folder is one that a filesystem puts there itself.
pub fn is_of_the_filesystem(name: &OsStr) -> bool {
    name == "lost+found" || name == ".Trash-0" || name == "System Volume Information"
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::Fs;
    use crate::io::memory::{ManualWorld, MemFs};

    const STORE: StoreId = StoreId([1; 16]);

    fn io(fs: &MemFs) -> Io {
        Io { fs: Arc::new(fs.clone()), world: Arc::new(ManualWorld::new(1, 1)) }
    }

    fn furnish(fs: &MemFs, path: &str, disk: u8) -> KnownDisk {
        let marker = Marker { store: STORE, disk: DiskId([disk; 16]), label: format!("d{disk}") };
        fs.create_dir_all(Path::new(path)).unwrap();
        fs.write(Path::new(path).join(MARKER_FILE), &marker.encode()).unwrap();
        KnownDisk { disk: marker.disk, label: marker.label, path: path.as_bytes().to_vec(), serial: String::new() }
    }

    #[test]
    fn a_folder_without_its_marker_is_a_missing_disk() {
        let fs = MemFs::new();
        let known = [furnish(&fs, "/a", 1), furnish(&fs, "/b", 2)];
        fs.remove(Path::new("/b").join(MARKER_FILE)).unwrap();
        let (pool, _) = Pool::join(&io(&fs), STORE, &known).unwrap();
        assert_eq!((pool.disks().count(), pool.missing()), (1, &known[1..]));
    }

    #[test]
    fn two_folders_with_one_disk_id_are_refused() {
        let fs = MemFs::new();
        let known = [furnish(&fs, "/a", 1), furnish(&fs, "/copy", 1)];
        assert!(matches!(Pool::join(&io(&fs), STORE, &known), Err(Error::DiskForeign { .. })));
    }

    #[test]
    fn disks_that_changed_places_are_known_by_their_markers() {
        let fs = MemFs::new();
        let (a, b) = (furnish(&fs, "/a", 1), furnish(&fs, "/b", 2));
        let exchanged = [KnownDisk { path: b.path.clone(), ..a.clone() }, KnownDisk { path: a.path.clone(), ..b }];
        let (pool, notices) = Pool::join(&io(&fs), STORE, &exchanged).unwrap();
        assert_eq!(pool.disk(&a.disk).map(|d| d.path.clone()), Some(PathBuf::from("/a")));
        assert_eq!((pool.missing().len(), notices.len()), (0, 2));
    }

    #[test]
    fn a_disk_of_another_store_is_not_joined() {
        let fs = MemFs::new();
        let known = [furnish(&fs, "/a", 1)];
        let (pool, notices) = Pool::join(&io(&fs), StoreId([9; 16]), &known).unwrap();
        assert_eq!((pool.disks().count(), pool.missing().len(), notices.len()), (0, 1, 1));
    }
}
