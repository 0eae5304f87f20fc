//! A folder becomes a disk of the store, or a disk that belongs here tells its new place.

use super::empty::{self, Held};
use crate::error::{Error, Result};
use crate::format::event::Event;
use crate::format::text::{KnownDisk, Marker};
use crate::format::{DiskId, limits};
use crate::io::Io;
use crate::ops::init;
use crate::pack::PACKS_DIR;
use crate::pool::disk::{self, KEY_SLOT_FILE, KEYS_DIR, LOG_DIR, PARITY_DIR, SUPERBLOCK_FILE};
use crate::pool::{bytes_of, change_known, path_of, read_marker, write_known};
use crate::store::{self, Store};
use std::path::{Path, PathBuf};

/// What to add, and as what.
#[derive(Clone, Debug, Default)]
pub struct AddOptions {
    pub path: PathBuf,
    /// The folder's name where it is not given.
    pub label: Option<String>,
    /// What fails together with it: an enclosure, a controller.
    pub domain: String,
    /// Empty the folder if it is a disk of another store, or one that was retired.
    pub reuse: bool,
}

/// What became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Added {
    pub id: DiskId,
    pub label: String,
    /// It belonged to the store already: only its place was noted.
    pub known: bool,
    pub warnings: Vec<String>,
}

/// Notes the place of a disk that belongs to the store at `home`, without opening it: it may be what keeps it
/// from being opened. `None` where the folder is no disk of the store.
///
/// # Errors
/// [`Error::DiskForeign`] where the disk stands elsewhere at the same time.
pub fn note_place(io: &Io, home: &Path, path: &Path) -> Result<Option<Added>> {
    let Some(marker) = read_marker(io, path)? else { return Ok(None) };
    let Some(mut list) = crate::pool::read_known(io, home)? else { return Ok(None) };
    let Some(known) = list.disks.iter_mut().find(|d| d.disk == marker.disk && list.store == marker.store) else {
        return Ok(None);
    };
    let before = path_of(&known.path);
    let stands_there = before != path && read_marker(io, &before)?.is_some_and(|m| m.disk == marker.disk);
    if stands_there {
        return Err(Error::DiskForeign {
            path: path.to_owned(),
            id: marker.disk.to_string(),
            store: marker.store.to_string(),
            why: "the same disk stands at the place that is known, too; take one of the two away",
        });
    }
    known.path = bytes_of(path);
    let label = known.label.clone();
    write_known(io, home, &list)?;
    Ok(Some(Added { id: marker.disk, label, known: true, warnings: Vec::new() }))
}

/// Adds a disk, as the command does: notes the place of one that is known, or makes the folder one; then opens the store
/// once more, so that the log stands on it. `open` opens the store for writing.
///
/// # Errors
/// As [`note_place`] and [`run`], and what `open` returns.
pub fn join(open: &mut dyn FnMut() -> Result<Store>, io: &Io, home: &Path, options: &AddOptions) -> Result<Added> {
    let added = match note_place(io, home, &options.path)? {
        Some(known) => known,
        None => run(&open()?, options)?,
    };
    let store = match open() {
        // Whoever writes now finds it there when it opens the store again, as does the next who does.
        Err(Error::Locked { .. }) if added.known => return Ok(added),
        opened => opened?,
    };
    let is_retired = store.with_state(|s| s.disks.get(&added.id).is_none_or(|d| d.retired));
    if !is_retired {
        return Ok(added);
    }
    // The list in `STORE` still had what the log has not any more: a retirement was cut short. Opening put the list right.
    let added = run(&store, options)?;
    drop(store);
    open()?;
    Ok(added)
}

/// Makes a folder a disk of the store. The store must be opened anew to use it. `store` is open for writing.
///
/// # Errors
/// [`Error::DiskForeign`] for a disk of another store, or a retired one, without `reuse`; [`Error::NotEmpty`] for a
/// folder that holds other files; [`Error::Locked`] for a disk to be emptied to which a process writes;
/// [`Error::Argument`], [`Error::Io`].
pub fn run(store: &Store, options: &AddOptions) -> Result<Added> {
    let (io, path) = (store.io(), &options.path);
    let own = store.own_folders();
    if own.iter().any(|f| path.starts_with(f) || f.starts_with(path)) {
        let why = "it lies in the store's folder or one of its disks, or one of these in it".to_owned();
        return Err(Error::Argument { what: format!("the disk {}", path.display()), why });
    }
    let mut id = None;
    match what_it_is(store, path)? {
        Is::NoDisk => {}
        Is::Unfinished(disk) => id = Some(disk),
        Is::Unlisted(disk, label) => {
            list(store, disk, &label, path)?;
            return Ok(Added { id: disk, label, known: true, warnings: Vec::new() });
        }
        Is::Other(_) if options.reuse => empty::run(io, path)?,
        Is::Other(e) => return Err(e),
    }
    if id.is_none() {
        init::look(io, path, "disk")?;
    }
    let id = id.unwrap_or_else(|| {
        let mut bytes = [0; 16];
        io.world.random(&mut bytes);
        DiskId(bytes)
    });
    let by_name = || path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    let label = free_label(store, options.label.clone(), by_name())?;
    io.fs.create_dir_all(path).map_err(Error::io("create the folder", path))?;
    let warnings = same_filesystem(store, path)?;
    let (superblock, slot) = constants(store)?;
    disk::furnish(
        io,
        path,
        &Marker { store: store.superblock().store, disk: id, label: label.clone() },
        &superblock,
        &slot,
    )?;
    let domain = options.domain.clone();
    let joined = Event::DiskJoined { disk: id, label: label.clone(), serial: String::new(), domain };
    store.append(|_| vec![joined])?;
    list(store, id, &label, path)?;
    Ok(Added { id, label, known: false, warnings })
}

/// Puts a disk and its place on the list in `STORE`.
fn list(store: &Store, disk: DiskId, label: &str, path: &Path) -> Result<()> {
    change_known(store.io(), store.path(), store.pool().known(), |known| {
        known.disks.retain(|d| d.disk != disk);
        known.disks.push(KnownDisk { disk, label: label.to_owned(), path: bytes_of(path), serial: String::new() });
    })
}

/// What a folder is to a store that is to take it.
enum Is {
    /// It has no marker.
    NoDisk,
    /// A run that was cut short made it a disk before the log knew it: nothing stands on it yet.
    Unfinished(DiskId),
    /// The log has it under this label, and the list in `STORE` has not: a run was cut short between the two, or that list is
    /// older than the disk.
    Unlisted(DiskId, String),
    /// A disk that may be emptied, with what to say where that is not wanted.
    Other(Error),
}

fn what_it_is(store: &Store, path: &Path) -> Result<Is> {
    let io = store.io();
    let Some(marker) = read_marker(io, path)? else {
        return Ok(match empty::begun(io, path)? {
            None => Is::NoDisk,
            Some(_) => Is::Other(Error::NotEmpty {
                path: path.to_owned(),
                what: "disk",
                why: "emptying it was cut short; `onefold disk add --reuse` does the rest".into(),
            }),
        });
    };
    let foreign = |why| Error::DiskForeign {
        path: path.to_owned(),
        id: marker.disk.to_string(),
        store: marker.store.to_string(),
        why,
    };
    if marker.store != store.superblock().store {
        return Ok(Is::Other(foreign("it belongs to another store; `onefold disk add --reuse` empties it")));
    }
    let label = || store.with_state(|s| s.disks.get(&marker.disk).map(|d| d.label.clone())).unwrap_or_default();
    match store.with_state(|s| s.disks.get(&marker.disk).map(|d| d.retired)) {
        Some(false) if store.pool().disk(&marker.disk).is_none() => Ok(Is::Unlisted(marker.disk, label())),
        Some(true) => Ok(Is::Other(foreign("it was retired; `onefold disk add --reuse` empties it"))),
        Some(false) => Err(foreign("it belongs to the store and its place is known")),
        None if holds_something(io, path)? => Err(foreign(
            "the log here does not know it, and it holds packs or a log: this STORE may be older than the disk; \
             `onefold recover --disk ...` with all disks takes the longest log",
        )),
        None => Ok(Is::Unfinished(marker.disk)),
    }
}

/// Whether entries of a log or packs stand on a disk: then it was one for longer than a run that was cut short makes it.
fn holds_something(io: &Io, disk: &Path) -> Result<bool> {
    for dir in [LOG_DIR, PACKS_DIR, PARITY_DIR] {
        let dir = disk.join(dir);
        match io.fs.list(&dir) {
            Ok(entries) if entries.iter().any(|e| !empty::is_hidden(&e.name)) => return Ok(true),
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(Error::io("list", dir)(e)),
            _ => {}
        }
    }
    Ok(false)
}

/// What adding a disk with these options would remove; `None` where that is nothing.
///
/// # Errors
/// As [`run`], for what is found before anything is removed.
pub fn removes(store: &Store, options: &AddOptions) -> Result<Option<Held>> {
    match what_it_is(store, &options.path)? {
        Is::Other(_) if options.reuse => empty::look(store.io(), &options.path).map(Some),
        _ => Ok(None),
    }
}

/// The label that was given, or one made of the folder's name that no other disk has.
fn free_label(store: &Store, given: Option<String>, name: String) -> Result<String> {
    let taken = |label: &str| store.with_state(|s| s.disks.values().any(|d| !d.retired && d.label == label));
    if let Some(label) = given {
        if label.is_empty() || label.len() > 255 || taken(&label) {
            let why = "labels are not empty, at most 255 bytes long, and each stands for one disk".to_owned();
            return Err(Error::Argument { what: format!("the label {label:?}"), why });
        }
        return Ok(label);
    }
    let name = if name.is_empty() || name.len() > 200 { "disk".to_owned() } else { name };
    let numbered = (2u32..).map(|n| format!("{name} {n}"));
    Ok(std::iter::once(name.clone()).chain(numbered).find(|l| !taken(l)).unwrap_or(name))
}

fn same_filesystem(store: &Store, path: &Path) -> Result<Vec<String>> {
    let io = store.io();
    let space = io.fs.space(path).map_err(Error::io("ask for the room at", path))?;
    let mut warnings = Vec::new();
    for other in store.pool().disks() {
        if io.fs.space(&other.path).is_ok_and(|s| s.filesystem == space.filesystem) {
            let (a, b) = (path.display(), other.path.display());
            warnings.push(format!("{a} and {b} lie on one filesystem: if it is lost, both are"));
            break;
        }
    }
    Ok(warnings)
}

/// The superblock and the key slot, byte for byte as they stand on a disk that is here.
fn constants(store: &Store) -> Result<(Vec<u8>, Vec<u8>)> {
    let slot = Path::new(KEYS_DIR).join(KEY_SLOT_FILE);
    let mut folders: Vec<PathBuf> = store.pool().disks().map(|d| d.path.clone()).collect();
    folders.push(store.path().to_owned());
    let io = store.io();
    for folder in folders {
        let read = |name: &Path| io.read_small(&folder.join(name), limits::SMALL_FILE_BYTES);
        if let (Ok(superblock), Ok(keys)) = (read(Path::new(SUPERBLOCK_FILE)), read(&slot)) {
            let path = folder.join(SUPERBLOCK_FILE);
            let good = crate::format::superblock::Superblock::decode(&path, &superblock).is_ok()
                && crate::format::Keys::decode_slot(&folder.join(&slot), &keys).is_ok();
            if good {
                return Ok((superblock, keys));
            }
        }
    }
    store::read_constants(io, &[store.path().to_owned()], None, &mut Vec::new())?;
    Err(Error::NoDisks { known: 0 }) // that they are read and cannot be is an error by itself
}
