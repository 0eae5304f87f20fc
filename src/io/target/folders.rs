//! The folders of a target, opened one name at a time and kept open for a while.
//!
//! A kept descriptor stays with its folder: if somebody renames that folder, files go where it went,
//! which is a place that he could write to himself. They never go where a symlink leads.

use rustix::fs::{Mode, OFlags};
use rustix::io::{Errno, retry_on_intr};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Folders that are kept open: enough for several threads at the depth of a library, and few beside the
/// 1024 descriptors that a process usually may have.
const OPEN_FOLDERS_MAX: usize = 64;

/// A folder only to go on from: it need not be readable.
const PASS_FLAGS: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);
const READ_FLAGS: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

#[derive(Debug)]
pub(super) struct Folders {
    root: Arc<OwnedFd>,
    /// Paths and their folders, the one used last at the end.
    open: Mutex<Vec<(Vec<u8>, Arc<OwnedFd>)>>,
}

/// Refuses what is not one plain name.
fn checked(name: &[u8]) -> io::Result<()> {
    let why = match name {
        b"" => "it is empty",
        b"." | b".." => "it leads elsewhere",
        _ if name.contains(&b'/') => "it holds a slash",
        _ if name.contains(&0) => "it holds a zero byte",
        _ => return Ok(()),
    };
    Err(io::Error::new(io::ErrorKind::InvalidInput, format!("{} is no name of a file: {why}", escaped(&[name]))))
}

/// A path for people, whatever bytes it holds.
pub(super) fn escaped(path: &[&[u8]]) -> String {
    format!("\"{}\"", path.join(&b'/').escape_ascii())
}

/// Opens what stands under a name without using it in any way: a symlink, a FIFO, anything.
pub(super) fn pinned(folder: impl AsFd, name: &[u8]) -> Result<OwnedFd, Errno> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    retry_on_intr(|| rustix::fs::openat(&folder, name, flags, Mode::empty()))
}

/// Names the place where a path leaves the target's folders.
fn no_followed(e: Errno, path: &[&[u8]]) -> io::Error {
    match e {
        Errno::NOTDIR | Errno::LOOP => {
            io::Error::new(io::ErrorKind::NotADirectory, format!("{} is a symlink or no folder", escaped(path)))
        }
        e => e.into(),
    }
}

impl Folders {
    pub fn new(root: OwnedFd) -> Folders {
        Folders { root: Arc::new(root), open: Mutex::new(Vec::new()) }
    }

    pub fn root(&self) -> &OwnedFd {
        &self.root
    }

    fn kept(&self) -> MutexGuard<'_, Vec<(Vec<u8>, Arc<OwnedFd>)>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner) // a cache: whole after each statement
    }

    fn recall(&self, key: &[u8]) -> Option<Arc<OwnedFd>> {
        let mut kept = self.kept();
        let place = kept.iter().position(|(of, _)| of == key)?;
        let found = kept.remove(place);
        let folder = Arc::clone(&found.1);
        kept.push(found);
        Some(folder)
    }

    fn keep(&self, key: Vec<u8>, folder: &Arc<OwnedFd>) {
        let mut kept = self.kept();
        kept.retain(|(of, _)| *of != key); // another thread may have opened it too
        if kept.len() >= OPEN_FOLDERS_MAX {
            kept.remove(0); // not empty: it is full
        }
        kept.push((key, Arc::clone(folder)));
    }

    /// Drops what is kept at and below a path.
    pub fn forget(&self, path: &[&[u8]]) {
        let key = path.join(&b'/');
        self.kept()
            .retain(|(of, _)| !of.strip_prefix(key.as_slice()).is_some_and(|rest| matches!(rest, [] | [b'/', ..])));
    }

    /// Returns an open folder, for calls that go on from it.
    pub fn folder(&self, path: &[&[u8]]) -> io::Result<Arc<OwnedFd>> {
        path.iter().try_for_each(|name| checked(name))?;
        // A name holds no slash, so each path has one key and each prefix its own.
        let recalled = (1..=path.len()).rev().find_map(|n| Some((n, self.recall(&path[..n].join(&b'/'))?)));
        let (known, mut at) = recalled.unwrap_or_else(|| (0, Arc::clone(&self.root)));
        for n in known..path.len() {
            let next = retry_on_intr(|| rustix::fs::openat(&at, path[n], PASS_FLAGS, Mode::empty()));
            at = Arc::new(next.map_err(|e| no_followed(e, &path[..=n]))?);
            self.keep(path[..=n].join(&b'/'), &at);
        }
        Ok(at)
    }

    /// Returns the folder that a path's last name stands in, and that name.
    pub fn parent<'a>(&self, path: &[&'a [u8]]) -> io::Result<(Arc<OwnedFd>, &'a [u8])> {
        let (name, folder) =
            path.split_last().ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "a path without a name"))?;
        checked(name)?;
        Ok((self.folder(folder)?, name))
    }

    /// Opens a folder for reading it and setting its metadata.
    pub fn readable(&self, path: &[&[u8]]) -> io::Result<OwnedFd> {
        let opened = if path.is_empty() {
            retry_on_intr(|| rustix::fs::openat(&self.root, c".", READ_FLAGS, Mode::empty()))
        } else {
            let (folder, name) = self.parent(path)?;
            retry_on_intr(|| rustix::fs::openat(&folder, name, READ_FLAGS, Mode::empty()))
        };
        opened.map_err(|e| no_followed(e, path))
    }

    #[cfg(test)]
    pub fn kept_count(&self) -> usize {
        self.kept().len()
    }
}
