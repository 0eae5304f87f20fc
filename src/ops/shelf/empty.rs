//! A disk of another store, or a retired one, is emptied to be used anew.
//!
//! # Invariants
//!
//! 1. Only a folder that says by its marker that it is a disk is emptied: one without may be anything, also a disk that
//!    lost its marker. While it is emptied the marker has another name, which goes last: a cut leaves no disk, and the
//!    next run knows what it may go on with.
//! 2. Nothing is removed before every name was looked at: where one is not ours, all of it stays.
//! 3. No other process writes to the disk meanwhile: its marker is locked.

use crate::error::{Error, Result};
use crate::format::text::{MARKER_FILE, Marker};
use crate::format::{PackId, limits, log};
use crate::io::{DirEntry, Io, Kind};
use crate::pack::{self, PACKS_DIR};
use crate::pool::disk::{BAD_DIR, FORMAT_FILE, KEYS_DIR, LOG_DIR, PARITY_DIR, SUPERBLOCK_FILE};
use crate::pool::{is_of_the_filesystem, parity, read_marker};
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

/// The marker's name while its disk is emptied.
const EMPTYING_FILE: &str = "onefold-disk.emptying";

/// What would be removed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    pub marker: Marker,
    /// Files of packs, those of parity and incomplete ones among them.
    pub packs: u64,
    /// Of all files.
    pub bytes: u64,
}

/// The marker of a disk that somebody began to empty.
///
/// # Errors
/// Damage of the marker, [`Error::Io`].
pub(super) fn begun(io: &Io, folder: &Path) -> Result<Option<Marker>> {
    let path = folder.join(EMPTYING_FILE);
    match io.read_small(&path, limits::SMALL_FILE_BYTES) {
        Ok(bytes) => Marker::decode(&path, &bytes).map(Some),
        Err(e) if matches!(e.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory) => Ok(None),
        Err(e) => Err(Error::io("read the disk marker", path)(e)),
    }
}

fn refused(folder: &Path, why: String) -> Error {
    Error::NotEmpty { path: folder.to_owned(), what: "disk", why }
}

fn list(io: &Io, dir: &Path) -> Result<Vec<DirEntry>> {
    io.fs.list(dir).map_err(Error::io("list", dir))
}

/// Temporary files of ours begin with a dot, and what others hide is no more than that.
pub(super) fn is_hidden(name: &OsStr) -> bool {
    name.as_encoded_bytes().starts_with(b".")
}

/// What the folder `dir` of a disk holds besides hidden files: how many files, and how many bytes.
fn files(io: &Io, folder: &Path, dir: &Path, is_ours: &dyn Fn(&OsStr) -> bool) -> Result<(u64, u64)> {
    let (mut n, mut bytes) = (0, 0u64);
    for entry in list(io, dir)?.into_iter().filter(|e| !is_hidden(&e.name)) {
        let path = dir.join(&entry.name);
        if entry.kind != Kind::File || !is_ours(&entry.name) {
            return Err(refused(folder, format!("{} is not of a disk; nothing was removed", path.display())));
        }
        n += 1;
        let stat = io.fs.stat(&path).map_err(Error::io("look at", &path))?;
        bytes = bytes.saturating_add(stat.map_or(0, |(_, bytes)| bytes));
    }
    Ok((n, bytes))
}

/// Looks at every name in the folder, and removes nothing.
///
/// # Errors
/// [`Error::NotEmpty`] for a folder without a marker, and where a name is not one of ours; damage of the marker;
/// [`Error::Io`].
pub(super) fn look(io: &Io, folder: &Path) -> Result<Held> {
    let marker = match read_marker(io, folder)? {
        Some(marker) => Some(marker),
        None => begun(io, folder)?,
    };
    let no_marker = || refused(folder, "it has no disk marker, so nothing says that it may be emptied".into());
    let mut held = Held { marker: marker.ok_or_else(no_marker)?, packs: 0, bytes: 0 };
    for entry in list(io, folder)? {
        let path = folder.join(&entry.name);
        let add = |held: &mut Held, (_, bytes): (u64, u64)| held.bytes = held.bytes.saturating_add(bytes);
        match (entry.name.to_str().unwrap_or_default(), entry.kind) {
            (MARKER_FILE | EMPTYING_FILE | SUPERBLOCK_FILE | FORMAT_FILE, Kind::File) => {}
            (name @ (PACKS_DIR | PARITY_DIR), Kind::Dir) => {
                let is_pack = |file: &OsStr| match name {
                    PACKS_DIR => pack::of_name(file).is_some(),
                    _ => parity::of_name(file).is_some(),
                };
                for below in list(io, &path)?.into_iter().filter(|e| !is_hidden(&e.name)) {
                    let path = path.join(&below.name);
                    let is_ours = below.name.len() == 2 && below.kind == Kind::Dir;
                    if !is_ours {
                        return Err(refused(
                            folder,
                            format!("{} is not of a disk; nothing was removed", path.display()),
                        ));
                    }
                    let found = files(io, folder, &path, &is_pack)?;
                    held.packs += found.0;
                    add(&mut held, found);
                }
            }
            (BAD_DIR, Kind::Dir) => {
                // what was a pack, with a number behind its name
                let id = |file: &OsStr| file.to_str().and_then(|n| n.split('.').next()?.parse::<PackId>().ok());
                add(&mut held, files(io, folder, &path, &|n| id(n).is_some())?);
            }
            (LOG_DIR, Kind::Dir) => add(&mut held, files(io, folder, &path, &|n| log::number_of(n).is_some())?),
            (KEYS_DIR, Kind::Dir) => {
                let is_slot = |n: &OsStr| n.as_encoded_bytes().iter().all(u8::is_ascii_digit);
                add(&mut held, files(io, folder, &path, &is_slot)?);
            }
            _ if is_of_the_filesystem(&entry.name) || is_hidden(&entry.name) => {} // they stay
            _ => {
                let why = format!("it holds other files, {:?} among them; nothing was removed", entry.name);
                return Err(refused(folder, why));
            }
        }
    }
    Ok(held)
}

/// Removes what a disk holds. What begins with a dot beside our folders stays.
///
/// # Errors
/// As [`look`]; [`Error::Locked`] where a process writes to the disk. What was removed until then is gone.
pub(super) fn run(io: &Io, folder: &Path) -> Result<()> {
    look(io, folder)?;
    let (marker, emptying) = (folder.join(MARKER_FILE), folder.join(EMPTYING_FILE));
    let is_begun = io.fs.stat(&marker).map_err(Error::io("look at", &marker))?.is_none();
    let held = if is_begun { &emptying } else { &marker };
    let lock = io
        .fs
        .try_lock(held)
        .map_err(Error::io("lock", held))?
        .ok_or_else(|| Error::Locked { path: folder.to_owned(), holder: "as a disk of its store".into() })?;
    let sync = || io.fs.sync_dir(folder).map_err(Error::io("sync the folder", folder));
    if !is_begun {
        io.fs.rename(&marker, &emptying).map_err(Error::io("rename the disk marker", &marker))?;
        sync()?;
    }
    for name in [PACKS_DIR, PARITY_DIR, BAD_DIR, LOG_DIR, KEYS_DIR] {
        remove_all(io, &folder.join(name))?;
    }
    for name in [SUPERBLOCK_FILE, FORMAT_FILE] {
        remove_file(io, &folder.join(name))?;
    }
    sync()?;
    drop(lock);
    remove_file(io, &emptying)?;
    sync()
}

fn remove_file(io: &Io, path: &PathBuf) -> Result<()> {
    match io.fs.remove_file(path) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(Error::io("remove", path)(e)),
        _ => Ok(()),
    }
}

/// Removes a folder of ours with its files; it holds files and one level of folders.
fn remove_all(io: &Io, dir: &Path) -> Result<()> {
    let entries = match io.fs.list(dir) {
        Ok(entries) => entries,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(Error::io("list", dir)(e)),
    };
    for entry in entries {
        let path = dir.join(entry.name);
        match entry.kind {
            Kind::Dir => remove_all(io, &path)?,
            _ => remove_file(io, &path)?,
        }
    }
    io.fs.remove_dir(dir).map_err(Error::io("remove", dir))
}

#[cfg(test)]
mod tests;
