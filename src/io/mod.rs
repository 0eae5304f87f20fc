//! The one door to the operating system: files, sync, clock, randomness, threads.
//!
//! Everything that a store keeps on its disks goes through [`Fs`], so that the floors above can run
//! over real files ([`real`]), over a disk in memory that forgets what was not synced ([`memory`]), or
//! over either with seeded faults ([`faulty`]). What is read from a library ([`source`]) and written
//! back to one ([`target`]) has its own doors, since links, owners and attributes matter there. Threads and
//! what they share ([`threads`]) come from here too, so that a simulation can own their order.
//!
//! # Rules that every [`Fs`] keeps
//!
//! 1. Written bytes are durable after [`File::sync`] only; a name (created, renamed, removed) is
//!    durable after [`Fs::sync_dir`] of its folder only.
//! 2. After a failed write or sync the file's bytes are unknown. Callers never retry on it.
//! 3. Nothing here interprets bytes, and nothing here retries.

pub mod device;
pub mod faulty;
pub mod memory;
pub mod real;
pub mod source;
pub mod target;
pub mod threads;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// An open file of a store. Reads and writes name their place, so one handle serves many threads.
pub trait File: Send + Sync {
    /// Reads at most `into.len()` bytes from `offset`. Short reads happen; 0 is the end of the file.
    fn read_at(&self, into: &mut [u8], offset: u64) -> io::Result<usize>;
    /// Writes all of `parts`, one behind the other, from `offset` on.
    fn write_all_at(&self, parts: &[io::IoSlice<'_>], offset: u64) -> io::Result<()>;
    /// Makes what was written durable (data and length; `fdatasync`).
    fn sync(&self) -> io::Result<()>;
    /// The file's length in bytes.
    fn len(&self) -> io::Result<u64>;
    /// Drops the page cache of this range, so that the next read comes from the disk. A hint: what
    /// cannot be dropped (unsynced pages, a filesystem in memory) stays. `len` 0 means to the end.
    fn drop_cache(&self, offset: u64, len: u64) -> io::Result<()>;
    /// Begins to write what is in the page cache of this range to the disk, so that a sync need not wait for all of it. A hint.
    fn begin_to_write(&self, _offset: u64, _len: u64) -> io::Result<()> {
        Ok(())
    }
    /// Begins to read this range into the page cache, so that who asks for it soon need not wait. A hint.
    fn will_need(&self, _offset: u64, _len: u64) -> io::Result<()> {
        Ok(())
    }
    /// Reads exactly `into.len()` bytes, over short reads.
    ///
    /// # Errors
    /// [`io::ErrorKind::UnexpectedEof`] where the file ends before.
    fn read_exact_at(&self, into: &mut [u8], offset: u64) -> io::Result<()> {
        let mut done = 0;
        while done < into.len() {
            match self.read_at(&mut into[done..], offset + done as u64) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(n) => done += n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }
    /// Whether the file holds no byte.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }
}

/// What a name in a folder stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    File,
    Dir,
    Other,
}

/// One name of a folder.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct DirEntry {
    pub name: std::ffi::OsString,
    pub kind: Kind,
}

/// Room on the filesystem that holds a path, in bytes, and which filesystem it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Space {
    pub total: u64,
    pub free: u64,
    /// Equal for two paths on one filesystem.
    pub filesystem: u64,
}

/// A lock that ends when it is dropped or its process dies.
pub trait Lock: Send + Sync {}

/// The files of stores. See the module's rules on durability.
pub trait Fs: Send + Sync {
    /// Opens for reading.
    fn open(&self, path: &Path) -> io::Result<Arc<dyn File>>;
    /// Creates for reading and writing; fails where the name exists.
    fn create_new(&self, path: &Path) -> io::Result<Arc<dyn File>>;
    /// Renames over whatever has the name `to`.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Renames only if `to` does not exist ([`io::ErrorKind::AlreadyExists`] otherwise).
    fn rename_new(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Gives a file a second name, only if that is free ([`io::ErrorKind::AlreadyExists`] otherwise).
    /// [`io::ErrorKind::Unsupported`] where the filesystem has no hard links.
    fn link(&self, from: &Path, to: &Path) -> io::Result<()>;
    fn remove_file(&self, path: &Path) -> io::Result<()>;
    /// Removes an empty folder.
    fn remove_dir(&self, path: &Path) -> io::Result<()>;
    /// Creates a folder and its parents; fine where they exist.
    fn create_dir_all(&self, path: &Path) -> io::Result<()>;
    /// The names in a folder, sorted.
    fn list(&self, path: &Path) -> io::Result<Vec<DirEntry>>;
    /// Makes the folder's names durable.
    fn sync_dir(&self, path: &Path) -> io::Result<()>;
    /// What the name stands for, and its length; `None` where there is none.
    fn stat(&self, path: &Path) -> io::Result<Option<(Kind, u64)>>;
    fn space(&self, path: &Path) -> io::Result<Space>;
    /// The serial number of the drive below a folder, where that is known.
    fn serial(&self, _path: &Path) -> Option<String> {
        None
    }
    /// Takes an exclusive lock on an existing file, without waiting. `Ok(None)`: another holds it.
    /// The file's bytes may be written by [`Fs::write_lock_note`] to tell who.
    fn try_lock(&self, path: &Path) -> io::Result<Option<Box<dyn Lock>>>;
    /// Replaces the bytes of a lock file in place, for people to read. Not durable, not a commit.
    fn write_lock_note(&self, path: &Path, note: &[u8]) -> io::Result<()>;
}

/// Time and chance, so that a simulation can own both.
pub trait World: Send + Sync {
    /// Nanoseconds since 1970-01-01 UTC, by the wall clock, which may jump.
    fn now_ns(&self) -> i64;
    fn random(&self, into: &mut [u8]);
}

/// What the floors above are given: the files and the world.
#[derive(Clone)]
pub struct Io {
    pub fs: Arc<dyn Fs>,
    pub world: Arc<dyn World>,
}

impl Io {
    /// The machine's own files, clock and randomness.
    pub fn real() -> Io {
        Io { fs: Arc::new(real::RealFs), world: Arc::new(real::RealWorld) }
    }

    /// Reads a whole file of at most `max` bytes.
    ///
    /// # Errors
    /// The system's; [`io::ErrorKind::FileTooLarge`] beyond `max`.
    pub fn read_small(&self, path: &Path, max: u64) -> io::Result<Vec<u8>> {
        let file = self.fs.open(path)?;
        let len = file.len()?;
        if len > max {
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("{len} bytes, at most {max} expected")));
        }
        let mut bytes = vec![0; len as usize];
        file.read_exact_at(&mut bytes, 0)?;
        Ok(bytes)
    }

    /// Writes a new file and makes bytes and name durable: a temporary name, synced, renamed, the
    /// folder synced. With `replace` an older file of that name is replaced, else it is an error.
    pub fn write_durable(&self, path: &Path, bytes: &[u8], replace: bool) -> io::Result<()> {
        let dir = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
        let temporary = self.temporary_name(path);
        let file = self.fs.create_new(&temporary)?;
        let written = file.write_all_at(&[io::IoSlice::new(bytes)], 0).and_then(|()| file.sync());
        drop(file);
        let named = written.and_then(|()| {
            if replace { self.fs.rename(&temporary, path) } else { self.fs.rename_new(&temporary, path) }
        });
        if let Err(e) = named {
            let _ = self.fs.remove_file(&temporary); // best effort: a name that begins with a dot is ignored anyway
            return Err(e);
        }
        self.fs.sync_dir(dir)
    }

    /// A fresh name beside `path` that every reader of store folders ignores: it begins with a dot.
    fn temporary_name(&self, path: &Path) -> PathBuf {
        let mut random = [0; 8];
        self.world.random(&mut random);
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        path.with_file_name(format!(".{name}.{:016x}", u64::from_le_bytes(random)))
    }
}
