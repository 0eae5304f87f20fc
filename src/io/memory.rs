//! A disk in memory that forgets what was not synced.
//!
//! Owns the model of durability that the crash tests of all floors above stand on. It is as unkind as
//! POSIX allows, and less kind than any one filesystem: bytes and names become durable separately, in
//! any order, and a name in one folder says nothing of a name in another.
//!
//! # Invariants
//!
//! 1. Every change is in two places: in what readers see at once, and in a list of changes that are not
//!    durable yet. A sync applies the list of one file, or of one folder, to what is durable.
//! 2. What was synced survives every [`MemFs::crash`]; what was not survives by the seed alone. One seed
//!    gives one outcome.
//! 3. A crash or a snapshot shares nothing with the disk that it was taken from.
//!
//! What a crash does with changes that were not synced is in `crash`; [`ManualWorld`] is the clock and
//! the chance that belong to a simulated run.

mod crash;
mod file;
#[cfg(test)]
mod tests;
mod tree;
mod world;

pub use world::ManualWorld;
pub(in crate::io) use world::SplitMix;

use super::{DirEntry, File, Fs, Kind, Lock, Space};
use file::{FileNode, MemFile};
use rustix::io::Errno;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tree::{Entry, Tree, names_of};

/// Longest file in bytes. A write beyond is refused as too large, as a real filesystem does at its own
/// limit, so that an offset gone wild ends in an error and not in the memory of the machine.
pub const FILE_BYTES_MAX: u64 = 4 << 30;

/// A disk in memory. Clones are the same disk.
#[derive(Clone)]
pub struct MemFs {
    tree: Arc<Mutex<Tree>>,
}

impl Default for MemFs {
    fn default() -> MemFs {
        MemFs::new()
    }
}

impl std::fmt::Debug for MemFs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MemFs").field("files", &self.paths()).finish()
    }
}

impl MemFs {
    /// Makes an empty disk without a limit.
    pub fn new() -> MemFs {
        MemFs::of(Tree::new())
    }

    fn of(tree: Tree) -> MemFs {
        MemFs { tree: Arc::new(Mutex::new(tree)) }
    }

    /// A thread that panicked while it held the tree was a failing test; the others may still look.
    fn tree(&self) -> MutexGuard<'_, Tree> {
        self.tree.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns what a power cut at this moment may leave: all that was synced, and of the rest what
    /// `seed` chooses. Nobody holds a lock on it.
    ///
    /// Most seeds decide on each change alone: kept, dropped, and a write also torn at borders of 512
    /// bytes. Some seeds drop all, keep all, or keep exactly what happened before some moment, as an
    /// ordered journal would; those are likely in reality and would almost never come up otherwise.
    pub fn crash(&self, seed: u64) -> MemFs {
        MemFs::of(crash::crashed(&self.tree(), crash::Choice::seeded(seed)))
    }

    /// Returns what a power cut leaves at the very least: only what was synced.
    pub fn crash_strict(&self) -> MemFs {
        MemFs::of(crash::crashed(&self.tree(), crash::Choice::Strict))
    }

    /// Returns a copy that shares nothing, with the same changes not yet durable, and with no locks.
    pub fn snapshot(&self) -> MemFs {
        MemFs::of(crash::copied(&self.tree()))
    }

    /// Makes everything below `prefix` a filesystem of its own with room for `bytes`, or changes its
    /// room. What lies there already counts, also where it is more than fits. The folder is made if it is
    /// not there, and is durable, as a mount point is.
    ///
    /// # Errors
    /// As [`Fs::create_dir_all`].
    pub fn set_capacity(&self, prefix: impl AsRef<Path>, bytes: u64) -> io::Result<()> {
        let names = names_of(prefix.as_ref())?;
        let mut tree = self.tree();
        tree.create_dir_all(prefix.as_ref())?;
        tree.settle_names(prefix.as_ref())?;
        tree.set_capacity(names, bytes);
        Ok(())
    }

    /// Returns all bytes of a file as readers see them now.
    ///
    /// # Errors
    /// As [`Fs::open`].
    pub fn read(&self, path: impl AsRef<Path>) -> io::Result<Vec<u8>> {
        Ok(self.tree().file(path.as_ref())?.data().volatile.clone())
    }

    /// Puts a file there, bytes, name and folders durable, in place of one that has the name.
    ///
    /// # Errors
    /// [`io::ErrorKind::StorageFull`]; [`io::ErrorKind::IsADirectory`].
    pub fn write(&self, path: impl AsRef<Path>, bytes: &[u8]) -> io::Result<()> {
        let path = path.as_ref();
        let mut tree = self.tree();
        if let Some(folder) = path.parent() {
            tree.create_dir_all(folder)?;
        }
        let node = match tree.find(path)? {
            Some(Entry::File(node)) => node,
            Some(Entry::Dir(_)) => return Err(Errno::ISDIR.into()),
            None => tree.create_new(path)?,
        };
        node.set_len(0)?;
        node.write(&[io::IoSlice::new(bytes)], 0, tree.tick())?;
        node.data().settle();
        tree.settle_names(path)
    }

    /// Returns the paths of all files, sorted.
    pub fn paths(&self) -> Vec<PathBuf> {
        self.tree().paths()
    }

    /// Flips one bit of a file on the medium, counted from bit 0 of byte 0: readers see it at once. What
    /// was written to that file before counts as synced.
    ///
    /// # Errors
    /// [`io::ErrorKind::InvalidInput`] beyond the file's end; as [`Fs::open`].
    pub fn flip(&self, path: impl AsRef<Path>, bit: u64) -> io::Result<()> {
        let node = self.tree().file(path.as_ref())?;
        let mut data = node.data();
        data.settle();
        let at = usize::try_from(bit / 8).map_err(|_| Errno::INVAL)?;
        let mask = 1 << (bit % 8);
        *data.volatile.get_mut(at).ok_or(Errno::INVAL)? ^= mask;
        *data.durable.get_mut(at).ok_or(Errno::INVAL)? ^= mask;
        Ok(())
    }

    /// Cuts a file off on the medium, or makes it longer with zeros. What was written to that file before
    /// counts as synced.
    ///
    /// # Errors
    /// As [`Fs::open`]; [`io::ErrorKind::StorageFull`].
    pub fn truncate(&self, path: impl AsRef<Path>, len: u64) -> io::Result<()> {
        let node = self.tree().file(path.as_ref())?;
        node.set_len(len)?;
        node.data().settle();
        Ok(())
    }

    /// Removes a file for good: a crash does not bring it back.
    ///
    /// # Errors
    /// As [`Fs::remove_file`].
    pub fn remove(&self, path: impl AsRef<Path>) -> io::Result<()> {
        let mut tree = self.tree();
        tree.remove_file(path.as_ref())?;
        tree.settle_name(path.as_ref())
    }
}

/// Ends with its value; the file's own flag is the lock, so it follows the file and not the name.
struct MemLock(Arc<FileNode>);

impl Lock for MemLock {}

impl Drop for MemLock {
    fn drop(&mut self) {
        self.0.locked.store(false, Ordering::Release);
    }
}

impl Fs for MemFs {
    fn open(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        let tree = self.tree();
        Ok(Arc::new(MemFile { node: tree.file(path)?, clock: tree.clock(), writable: false }))
    }

    fn create_new(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        let mut tree = self.tree();
        let node = tree.create_new(path)?;
        Ok(Arc::new(MemFile { node, clock: tree.clock(), writable: true }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.tree().rename(from, to, true)
    }

    fn rename_new(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.tree().rename(from, to, false)
    }

    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.tree().link(from, to)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.tree().remove_file(path)
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        self.tree().remove_dir(path)
    }

    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        self.tree().create_dir_all(path)
    }

    fn list(&self, path: &Path) -> io::Result<Vec<DirEntry>> {
        self.tree().list(path)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.tree().sync_dir(path)
    }

    fn stat(&self, path: &Path) -> io::Result<Option<(Kind, u64)>> {
        Ok(match self.tree().find(path)? {
            None => None,
            Some(Entry::Dir(_)) => Some((Kind::Dir, 0)),
            Some(Entry::File(node)) => Some((Kind::File, node.data().volatile.len() as u64)), // usize is at most 64 bits
        })
    }

    fn space(&self, path: &Path) -> io::Result<Space> {
        let tree = self.tree();
        tree.find(path)?.ok_or(Errno::NOENT)?;
        Ok(tree.volume(&names_of(path)?).space())
    }

    fn try_lock(&self, path: &Path) -> io::Result<Option<Box<dyn Lock>>> {
        let node = self.tree().file(path)?;
        Ok(if node.locked.swap(true, Ordering::Acquire) { None } else { Some(Box::new(MemLock(node))) })
    }

    fn write_lock_note(&self, path: &Path, note: &[u8]) -> io::Result<()> {
        let tree = self.tree();
        let node = tree.file(path)?;
        node.write(&[io::IoSlice::new(note)], 0, tree.tick())?;
        node.set_len_at(note.len() as u64, tree.tick()) // usize is at most 64 bits
    }
}
