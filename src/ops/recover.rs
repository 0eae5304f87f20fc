//! recover: makes `STORE` anew, or only its index.
//!
//! Without disks the store knows its own: the index is made anew from log and packs. With disks `STORE`
//! itself may be gone: superblock, keys and log are taken from them, the list of disks is written, then
//! the index is made.
//!
//! # Invariants
//!
//! 1. Nothing is written before every refusal was made: disks of two stores, a retired disk, a folder that
//!    is another store's, a log that forks.
//! 2. What is healthy in `STORE` stays; a file is replaced in one step by bytes that were proven. Only the
//!    index, a cache, is removed first.
//! 3. When it returns, all that it made is durable.

use super::Control;
use super::Notice;
use super::compact::tried::DENSE_FILE;
use crate::error::{Error, Result};
use crate::format::superblock::Superblock;
use crate::format::text::{DISKS_FILE, DiskList, KnownDisk};
use crate::format::{DiskId, Keys, StoreId, limits};
use crate::index::sort;
use crate::io::{Io, Kind};
use crate::pool::disk::{FORMAT_FILE, KEY_SLOT_FILE, KEYS_DIR, LOG_DIR, SUPERBLOCK_FILE};
use crate::pool::log::{Head, LogRead, mend};
use crate::pool::{Pool, bytes_of, is_of_the_filesystem, path_of, read_known, read_marker, write_known};
use crate::store::{INDEX_DIR, IndexKind, LOCK_FILE, Mode, OpenOptions, Store, known_disks, lock, read_constants};
use std::path::{Path, PathBuf};

/// Folders inside the index's folder that are followed when it is removed; RocksDB makes one level.
const INDEX_DEPTH: u32 = 8;

/// What to recover.
#[derive(Clone, Debug)]
pub struct RecoverOptions {
    pub store: PathBuf,
    /// Absolute paths of disks; none: `STORE` knows them.
    pub disks: Vec<PathBuf>,
    pub memory_bytes: u64,
}

/// What there is now.
#[derive(Clone, Debug)]
pub struct RecoverReport {
    pub store: StoreId,
    /// The number of the log's newest entry.
    pub log_number: u64,
    pub snapshots: u64,
    pub packs: u64,
    pub chunks: u64,
    /// Label and path of every disk that is here.
    pub disks: Vec<(String, PathBuf)>,
    pub missing: Vec<KnownDisk>,
    /// Damage that was met, mended or not.
    pub problems: Vec<String>,
}

/// Recovers a store. Takes its lock.
///
/// # Errors
/// [`Error::NoStore`] without disks where there is no store; [`Error::DiskForeign`] for a disk of another
/// store, one that was retired, or one that never joined; [`Error::Argument`] for a path without a disk;
/// [`Error::NotEmpty`] where `STORE` is something else; [`Error::Locked`]; whatever forbids writing to the log.
pub fn run(io: &Io, options: &RecoverOptions, control: &Control) -> Result<RecoverReport> {
    run_with(io, options, IndexKind::default(), control)
}

/// The same with another kind of index, for simulations. One in memory must come empty.
///
/// # Errors
/// As [`run`].
pub fn run_with(io: &Io, options: &RecoverOptions, index: IndexKind, control: &Control) -> Result<RecoverReport> {
    control.progress.set_phase("reading the log");
    let mut problems = Vec::new();
    let held = if options.disks.is_empty() {
        known_disks(io, &options.store)?; // no lock file is left where there is no store
        let held = lock(io, &options.store, "recover")?;
        let known = known_disks(io, &options.store)?; // again: another may have written it until now
        let store = identity(io, &options.store, &known)?;
        let found = Found::look(io, &options.store, store, &known, &mut problems)?;
        found.mend(io, &options.store, &mut problems)?;
        clear_index(io, &options.store)?;
        held
    } else {
        let (store, given) = markers(io, &options.disks)?;
        let is_new = vet_home(io, &options.store, store)?;
        let listed = read_known(io, &options.store);
        let known = candidates(io, &options.store, &given, listed.as_ref().ok().and_then(Option::as_ref))?;
        // First without a lock, so that a refusal leaves no trace; then under it.
        Found::look(io, &options.store, store, &known, &mut Vec::new())?.vet(&given)?;
        control.proceed()?;
        io.fs.create_dir_all(&options.store).map_err(Error::io("create the folder", &options.store))?;
        let held = lock(io, &options.store, "recover")?;
        let found = Found::look(io, &options.store, store, &known, &mut problems)?;
        found.vet(&given)?;
        match &listed {
            Err(e) => problems.push(format!("{e}; it was written anew")),
            Ok(None) if !is_new && !found.is_embedded(&options.store) => {
                problems.push(format!("{} was missing and was written anew", options.store.join(DISKS_FILE).display()));
            }
            Ok(_) => {}
        }
        if is_new {
            found.mend(io, &options.store, &mut Vec::new())?; // nothing was there: that is no damage
        } else {
            found.mend(io, &options.store, &mut problems)?;
        }
        write_known(io, &options.store, &found.list())?;
        for above in options.store.ancestors().skip(1) {
            let _ = io.fs.sync_dir(above); // folders that were made just now; others may not be ours to sync
        }
        clear_index(io, &options.store)?;
        held
    };
    control.proceed()?;
    control.progress.set_phase("reading the packs' tables");
    let open = OpenOptions { memory_bytes: options.memory_bytes, mode: Mode::Write { verb: "recover" }, index };
    let opened = Store::open_under(io, &options.store, &open, Some(held))?;
    // Opening needed one good copy of each entry; now all are looked at, and made good.
    let head = opened.store.with_state(Head::of);
    problems.extend(mend(io, &options.store, opened.store.pool(), head, || control.proceed())?);
    opened.store.index().flush()?;
    io.fs.sync_dir(&options.store).map_err(Error::io("sync the folder", &options.store))?;
    report(&opened.store, opened.notices, problems, control)
}

fn identity(io: &Io, home: &Path, known: &[KnownDisk]) -> Result<StoreId> {
    if let Ok(Some(list)) = read_known(io, home) {
        return Ok(list.store);
    }
    for d in known {
        if let Some(marker) = read_marker(io, &path_of(&d.path))? {
            return Ok(marker.store);
        }
    }
    Err(Error::NoStore { path: home.to_owned() })
}

/// Reads the markers of the disks that were named, which must be of one store.
fn markers(io: &Io, paths: &[PathBuf]) -> Result<(StoreId, Vec<KnownDisk>)> {
    let mut given: Vec<KnownDisk> = Vec::new();
    let mut store = None;
    for path in paths {
        let bad = |why: &str| Error::Argument { what: format!("the disk {}", path.display()), why: why.to_owned() };
        if !path.is_absolute() {
            return Err(bad("its path is not absolute"));
        }
        let marker = read_marker(io, path)?
            .ok_or_else(|| bad("there is no disk of a store (no file `onefold-disk`); is it mounted?"))?;
        let foreign = |why| Error::DiskForeign {
            path: path.clone(),
            id: marker.disk.to_string(),
            store: marker.store.to_string(),
            why,
        };
        if *store.get_or_insert(marker.store) != marker.store {
            return Err(foreign("the disks named before it belong to another store"));
        }
        match given.iter().find(|g| g.disk == marker.disk) {
            Some(g) if g.path == bytes_of(path) => {}
            Some(_) => return Err(foreign("another folder that was named carries the same disk id")),
            None => given.push(KnownDisk {
                disk: marker.disk,
                label: marker.label,
                path: bytes_of(path),
                serial: String::new(),
            }),
        }
    }
    let store = store.ok_or(Error::NoDisks { known: 0 })?;
    Ok((store, given))
}

/// Whether `STORE` is new or empty; refuses a folder that is, or may be, something else than this store's.
fn vet_home(io: &Io, home: &Path, store: StoreId) -> Result<bool> {
    let refuse = |why: String| Err(Error::NotEmpty { path: home.to_owned(), what: "store of these disks", why });
    match io.fs.stat(home).map_err(Error::io("look at", home))? {
        None => return Ok(true),
        Some((Kind::Dir, _)) => {}
        Some(_) => return refuse("it is no folder".into()),
    }
    let superblock = home.join(SUPERBLOCK_FILE);
    let owners = [
        read_known(io, home).ok().flatten().map(|l| l.store),
        read_marker(io, home).ok().flatten().map(|m| m.store),
        io.read_small(&superblock, limits::SMALL_FILE_BYTES)
            .ok()
            .and_then(|b| Superblock::decode(&superblock, &b).ok())
            .map(|s| s.store),
    ];
    let mut owners = owners.into_iter().flatten().peekable();
    if owners.peek().is_some() {
        return match owners.find(|o| *o != store) {
            Some(other) => refuse(format!("it belongs to store {other}, the disks to {store}")),
            None => Ok(false),
        };
    }
    // Nothing says whose it is: then only what a store leaves may be there.
    const OURS: [&str; 9] =
        [INDEX_DIR, LOCK_FILE, DISKS_FILE, LOG_DIR, SUPERBLOCK_FILE, KEYS_DIR, FORMAT_FILE, "unindexed", DENSE_FILE];
    let mut is_new = true;
    for entry in io.fs.list(home).map_err(Error::io("list", home))? {
        let is_hidden = entry.name.to_string_lossy().starts_with('.');
        if is_of_the_filesystem(&entry.name) || is_hidden {
            continue;
        }
        if !OURS.iter().any(|o| entry.name == *o) {
            return refuse(format!("it holds {}, which is of no store", entry.name.to_string_lossy()));
        }
        is_new &= entry.name == LOCK_FILE;
    }
    Ok(is_new)
}

/// The disks that were named, and those that `STORE` knows besides.
fn candidates(io: &Io, home: &Path, given: &[KnownDisk], listed: Option<&DiskList>) -> Result<Vec<KnownDisk>> {
    let mut known = given.to_vec();
    if let Some(list) = listed {
        known.extend(list.disks.iter().filter(|d| given.iter().all(|g| g.disk != d.disk)).cloned());
    }
    // A store that is a disk itself.
    if let Some(marker) = read_marker(io, home).ok().flatten()
        && known.iter().all(|k| k.disk != marker.disk)
    {
        known.push(KnownDisk { disk: marker.disk, label: marker.label, path: bytes_of(home), serial: String::new() });
    }
    Ok(known)
}

/// What the disks say.
struct Found {
    pool: Pool,
    superblock: Superblock,
    keys: Keys,
    /// Every disk that the log knows: label, and whether it is retired.
    logged: Vec<(DiskId, String, bool)>,
}

impl Found {
    /// Reads markers, superblock, keys and log; changes nothing.
    fn look(io: &Io, home: &Path, store: StoreId, known: &[KnownDisk], problems: &mut Vec<String>) -> Result<Found> {
        let (pool, _) = Pool::join(io, store, known)?; // told again when the store is opened
        if pool.disks().next().is_none() {
            return Err(Error::NoDisks { known: known.len() });
        }
        // Disks first: STORE is what is in doubt.
        let mut folders: Vec<PathBuf> = pool.disks().map(|d| d.path.clone()).collect();
        folders.push(home.to_owned());
        let (superblock, keys) = read_constants(io, &folders, Some(store), &mut Vec::new())?; // `mend` tells which are damaged
        let path = home.join(SUPERBLOCK_FILE);
        if superblock.store != store {
            let why = format!("it is of store {}, the disks are of {store}", superblock.store);
            return Err(Error::Damaged { what: "the superblock", path, offset: 0, why });
        }
        if !superblock.may_write() {
            let ours = crate::format::FORMAT_VERSION.to_string();
            let needs = format!("{} to write", superblock.min_writer);
            return Err(Error::FromTheFuture { what: "the superblock", path, needs, ours });
        }
        let mut read = LogRead::read(io, home, &pool)?;
        if let Some(e) = read.blocked.take() {
            return Err(e);
        }
        // What is said of the log here is not said again: the copies in question are mended below or by the
        // opening that follows.
        problems.extend(read.notices.iter().filter(|n| matters(n)).cloned());
        let logged = read.state.disks.iter().map(|(id, d)| (*id, d.label.clone(), d.retired)).collect();
        Ok(Found { pool, superblock, keys, logged })
    }

    /// Refuses named disks that the log does not count among the store's.
    fn vet(&self, given: &[KnownDisk]) -> Result<()> {
        for d in given {
            let why = match self.logged.iter().find(|(id, ..)| *id == d.disk) {
                Some((_, _, false)) => continue,
                Some(_) => "the log says that it was retired",
                None => "the log does not know it: it never joined wholly",
            };
            let store = self.superblock.store.to_string();
            return Err(Error::DiskForeign { path: path_of(&d.path), id: d.disk.to_string(), store, why });
        }
        Ok(())
    }

    fn is_embedded(&self, home: &Path) -> bool {
        self.pool.disks().any(|d| d.path == home)
    }

    /// The list for `STORE/disks`: all that the log knows and did not retire, with the place of each where one
    /// is known.
    fn list(&self) -> DiskList {
        let mut list = self.pool.known();
        let is_retired = |id: &DiskId| self.logged.iter().any(|(l, _, retired)| l == id && *retired);
        list.disks.retain(|d| !is_retired(&d.disk));
        for (disk, label, retired) in &self.logged {
            if !retired && list.disks.iter().all(|d| d.disk != *disk) {
                list.disks.push(KnownDisk {
                    disk: *disk,
                    label: label.clone(),
                    path: Vec::new(),
                    serial: String::new(),
                });
            }
        }
        list.disks.sort_by_key(|d| d.disk);
        list
    }

    /// Replaces copies of superblock and key slot that are gone or damaged, in `STORE` and on every disk.
    fn mend(&self, io: &Io, home: &Path, problems: &mut Vec<String>) -> Result<()> {
        let mut folders = vec![home.to_owned()];
        folders.extend(self.pool.disks().map(|d| d.path.clone()).filter(|p| p != home));
        let slot = Path::new(KEYS_DIR).join(KEY_SLOT_FILE);
        let is_superblock =
            |path: &Path, b: &[u8]| Superblock::decode(path, b).is_ok_and(|s| s.store == self.superblock.store);
        let is_slot =
            |path: &Path, b: &[u8]| Keys::decode_slot(path, b).is_ok_and(|k| k.key_id() == self.keys.key_id());
        mend_file(io, &folders, Path::new(SUPERBLOCK_FILE), &is_superblock, problems)?;
        mend_file(io, &folders, &slot, &is_slot, problems)
    }
}

/// Writes a good copy of a file over those that are none. A disk that cannot be written is a problem and
/// no more; the first folder, which is `STORE`, must be.
fn mend_file(
    io: &Io,
    folders: &[PathBuf],
    name: &Path,
    is_good: &dyn Fn(&Path, &[u8]) -> bool,
    problems: &mut Vec<String>,
) -> Result<()> {
    let read = |path: &Path| io.read_small(path, limits::SMALL_FILE_BYTES).ok().filter(|b| is_good(path, b));
    let Some(good) = folders.iter().find_map(|f| read(&f.join(name))) else {
        return Err(Error::NoDisks { known: folders.len() }); // a good one was read a moment ago
    };
    for (i, folder) in folders.iter().enumerate() {
        let path = folder.join(name);
        if read(&path).is_some() {
            continue;
        }
        let dir = path.parent().unwrap_or(folder);
        let written = io
            .fs
            .create_dir_all(dir)
            .and_then(|()| io.write_durable(&path, &good, true))
            .and_then(|()| io.fs.sync_dir(folder));
        match written {
            Ok(()) => problems.push(format!("{} was missing or damaged and was written anew", path.display())),
            Err(e) if i == 0 => return Err(Error::io("write", path)(e)),
            Err(e) => problems.push(format!("{} is missing or damaged and cannot be written: {e}", path.display())),
        }
    }
    Ok(())
}

/// Removes what is in the index's folder, and leftovers of sorts. The folder stays: it may be a mount point.
/// The caller holds the store's lock.
fn clear_index(io: &Io, home: &Path) -> Result<()> {
    sort::sweep(io, home)?;
    let path = home.join(INDEX_DIR);
    match io.fs.stat(&path).map_err(Error::io("look at", &path))? {
        None => Ok(()),
        Some((Kind::Dir, _)) => clear_folder(io, &path, INDEX_DEPTH),
        Some(_) => io.fs.remove_file(&path).map_err(Error::io("remove", path)),
    }
}

fn clear_folder(io: &Io, folder: &Path, depth: u32) -> Result<()> {
    for entry in io.fs.list(folder).map_err(Error::io("list", folder))? {
        let path = folder.join(&entry.name);
        if entry.kind != Kind::Dir {
            io.fs.remove_file(&path).map_err(Error::io("remove", path))?;
            continue;
        }
        let max = u64::from(INDEX_DEPTH);
        let left = depth.checked_sub(1).ok_or(Error::Limit {
            what: "the depth of folders in the index",
            got: max + 1,
            max,
        })?;
        clear_folder(io, &path, left)?;
        io.fs.remove_dir(&path).map_err(Error::io("remove", path))?;
    }
    io.fs.sync_dir(folder).map_err(Error::io("sync the folder", folder))
}

/// Whether a notice tells of damage, rather than of what recover was called for or reports elsewhere.
fn matters(notice: &str) -> bool {
    let is_expected = notice.starts_with("the index was")
        || (notice.starts_with("disk ")
            && (notice.contains(" is missing; ") || notice.contains(" is now at ") || notice.contains(" is stale: ")));
    !is_expected
}

fn report(store: &Store, notices: Vec<String>, mut problems: Vec<String>, control: &Control) -> Result<RecoverReport> {
    for notice in notices {
        if !matters(&notice) {
            control.notice(Notice::Note(notice));
        } else if !problems.contains(&notice) {
            problems.push(notice);
        }
    }
    let (log_number, snapshots, packs) =
        store.with_state(|s| (s.number, s.live_snapshots().len() as u64, s.pack_count() as u64));
    let disks = store.pool().disks().map(|d| (d.label.clone(), d.path.clone())).collect();
    Ok(RecoverReport {
        store: store.superblock().store,
        log_number,
        snapshots,
        packs,
        // of an index that was just filled in order: exact
        chunks: store.index().statistics()?.chunks_estimate,
        disks,
        missing: store.missing_disks().to_vec(),
        problems,
    })
}

#[cfg(test)]
mod tests;
