//! How a library is read: metadata, names, attributes, bytes and holes of the user's own files.
//!
//! Everything here is about the real filesystem and passes raw bytes on: a name need not be UTF-8, and
//! nothing is interpreted. What is reported unreadable, skipped or reused is decided by the caller.
//!
//! # Invariants
//!
//! 1. Opening never blocks and never disturbs: what is no regular file is not opened, a last component
//!    that is a symlink is not followed, access times stay where the kernel lets us ask for that.
//! 2. A library lives while it is read. Whatever may vanish or change between two calls is an ordinary
//!    answer (an attribute left out, an extent that ends early), never a wrong one.

mod names;

pub use names::Names;

use super::real::advise;
use super::threads;
use rustix::buffer::spare_capacity;
use rustix::fs::{Advice, CWD, Dir, Mode, OFlags, SeekFrom};
use rustix::io::{Errno, ReadWriteFlags, retry_on_intr};
use std::fs as stdfs;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt};
use std::path::Path;

/// The kernel's limit for one attribute's value and for the list of names (`XATTR_SIZE_MAX` and
/// `XATTR_LIST_MAX` in `linux/limits.h`).
const ATTRIBUTE_BYTES_MAX: usize = 64 << 10;

/// Most attributes (ACLs, labels, tags) are shorter than this; only for longer ones more is reserved.
const ATTRIBUTE_BYTES_USUAL: usize = 1 << 10;

/// What a file of a library is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FileKind {
    File,
    Dir,
    Symlink,
    Fifo,
    Socket,
    BlockDevice,
    CharDevice,
}

/// What the filesystem tells of a file beside its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Metadata {
    pub kind: FileKind,
    /// Length in bytes.
    pub size: u64,
    /// Permissions with setuid, setgid and sticky: `0o7777` at most, without the kind.
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    /// Last change of the bytes: seconds since 1970-01-01 UTC, and nanoseconds.
    pub mtime: (i64, u32),
    /// Last change of bytes or metadata, as `mtime`.
    pub ctime: (i64, u32),
    pub inode: u64,
    /// The filesystem that it lies on.
    pub device: u64,
    /// Names that it has.
    pub nlink: u64,
    /// Space that is allocated, in units of 512 bytes; less than `size` needs means holes.
    pub blocks: u64,
    /// Which device a device file stands for; 0 for all others.
    pub rdev: u64,
}

impl From<&stdfs::Metadata> for Metadata {
    fn from(m: &stdfs::Metadata) -> Metadata {
        let t = m.file_type();
        let kind = match () {
            () if t.is_dir() => FileKind::Dir,
            () if t.is_symlink() => FileKind::Symlink,
            () if t.is_fifo() => FileKind::Fifo,
            () if t.is_socket() => FileKind::Socket,
            () if t.is_block_device() => FileKind::BlockDevice,
            () if t.is_char_device() => FileKind::CharDevice,
            () => FileKind::File,
        };
        // The kernel keeps nanoseconds within 0..1e9; a FUSE server that does not gets 0.
        let nanoseconds = |ns: i64| u32::try_from(ns).ok().filter(|ns| *ns < 1_000_000_000).unwrap_or(0);
        Metadata {
            kind,
            size: m.size(),
            mode: m.mode() & 0o7777,
            uid: m.uid(),
            gid: m.gid(),
            mtime: (m.mtime(), nanoseconds(m.mtime_nsec())),
            ctime: (m.ctime(), nanoseconds(m.ctime_nsec())),
            inode: m.ino(),
            device: m.dev(),
            nlink: m.nlink(),
            blocks: m.blocks(),
            rdev: m.rdev(),
        }
        .pinned()
    }
}

impl Metadata {
    /// In a simulation, instead of what a filesystem happens to give: folders have no times, a file's change time is that of
    /// its bytes, which a test sets, and its inode is made of that, so that the names of one file have one.
    fn pinned(mut self) -> Metadata {
        if threads::is_simulated() {
            if self.kind == FileKind::Dir {
                // Told apart, as a backup leaves out the store's own; of one length when it is written.
                (self.mtime, self.ctime) = ((0, 0), (0, 0));
                self.inode = self.inode & 0xff_ffff | 1 << 24;
                self.device = 1;
                return self;
            }
            self.ctime = self.mtime;
            self.inode = (self.mtime.0 as u64).wrapping_mul(1_000_000_007) ^ u64::from(self.mtime.1); // any bits do
            self.device = 1;
        }
        self
    }
}

/// Returns the metadata of the name itself, also of a symlink.
///
/// # Errors
/// The system's.
pub fn lstat(path: &Path) -> io::Result<Metadata> {
    Ok(Metadata::from(&stdfs::symlink_metadata(path)?))
}

/// Returns the metadata of what the name leads to.
///
/// # Errors
/// The system's.
pub fn stat(path: &Path) -> io::Result<Metadata> {
    Ok(Metadata::from(&stdfs::metadata(path)?))
}

/// Returns a symlink's target, byte by byte as it stands.
///
/// # Errors
/// The system's.
pub fn read_link(path: &Path) -> io::Result<Vec<u8>> {
    Ok(stdfs::read_link(path)?.into_os_string().into_vec())
}

/// Returns the names in a folder, sorted bytewise, without `.` and `..`.
///
/// A symlink to a folder is followed; a walker that must not follow asks [`lstat`] before. Holds all
/// names at once, 24 bytes plus the name each.
///
/// # Errors
/// The system's. A listing that breaks off is an error, never a shorter list.
pub fn list(path: &Path) -> io::Result<Vec<Vec<u8>>> {
    let fd = open_quietly(path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC)?;
    let mut names = Vec::new();
    for entry in Dir::new(fd)? {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if name != b"." && name != b".." {
            names.push(name.to_vec());
        }
    }
    names.sort_unstable();
    Ok(names)
}

/// Opens without touching the access time, which only a file's owner and root may ask for.
fn open_quietly(path: &Path, flags: OFlags) -> Result<OwnedFd, Errno> {
    match retry_on_intr(|| rustix::fs::openat(CWD, path, flags | OFlags::NOATIME, Mode::empty())) {
        Err(Errno::PERM) => retry_on_intr(|| rustix::fs::openat(CWD, path, flags, Mode::empty())),
        answer => answer,
    }
}

/// Returns the extended attributes of every namespace that may be read, sorted by name; with
/// `nofollow` those of a symlink itself.
///
/// An attribute that vanishes meanwhile or may not be read is left out, and a filesystem without
/// attributes has none.
///
/// # Errors
/// The system's, for the file itself and for attributes that exist and cannot be read for a reason
/// other than permission.
pub fn attributes(path: &Path, nofollow: bool) -> io::Result<Vec<(Vec<u8>, Vec<u8>)>> {
    collect_attributes(
        |into| {
            if nofollow {
                rustix::fs::llistxattr(path, spare_capacity(into))
            } else {
                rustix::fs::listxattr(path, spare_capacity(into))
            }
        },
        |name, into| {
            if nofollow {
                rustix::fs::lgetxattr(path, name, spare_capacity(into))
            } else {
                rustix::fs::getxattr(path, name, spare_capacity(into))
            }
        },
    )
}

fn collect_attributes(
    list: impl Fn(&mut Vec<u8>) -> Result<usize, Errno>,
    get: impl Fn(&[u8], &mut Vec<u8>) -> Result<usize, Errno>,
) -> io::Result<Vec<(Vec<u8>, Vec<u8>)>> {
    let names = match filled(list) {
        Ok(names) => names,
        Err(Errno::NOTSUP | Errno::NOSYS) => return Ok(Vec::new()),
        Err(e) => return Err(e.into()),
    };
    let mut found = Vec::new();
    for name in names.split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
        match filled(|into| get(name, into)) {
            Ok(value) => found.push((name.to_vec(), value)),
            Err(Errno::NODATA | Errno::ACCESS | Errno::PERM | Errno::NOTSUP) => {}
            Err(e) => {
                let text = format!("attribute {}: {e}", name.escape_ascii());
                return Err(io::Error::new(io::Error::from(e).kind(), text));
            }
        }
    }
    found.sort_unstable();
    found.dedup_by(|a, b| a.0 == b.0);
    Ok(found)
}

/// Fills a buffer of the usual length, and where that does not do, one of the kernel's limit.
fn filled(read: impl Fn(&mut Vec<u8>) -> Result<usize, Errno>) -> Result<Vec<u8>, Errno> {
    let mut into = Vec::with_capacity(ATTRIBUTE_BYTES_USUAL);
    match retry_on_intr(|| read(&mut into)) {
        Err(Errno::RANGE) => into.reserve_exact(ATTRIBUTE_BYTES_MAX),
        answer => {
            answer?;
            into.shrink_to_fit();
            return Ok(into);
        }
    }
    retry_on_intr(|| read(&mut into))?;
    into.shrink_to_fit();
    Ok(into)
}

/// A regular file of a library, open for reading from many threads.
#[derive(Debug)]
pub struct SourceFile(stdfs::File);

impl SourceFile {
    /// Opens a regular file without following a symlink in its last component.
    ///
    /// # Errors
    /// [`io::ErrorKind::InvalidInput`] for what is no regular file, [`io::ErrorKind::FilesystemLoop`] or
    /// the same for a symlink; the system's.
    pub fn open(path: &Path) -> io::Result<SourceFile> {
        // Asked before, since opening alone has effects: it wakes the writer of a FIFO and rewinds a tape.
        regular(&stdfs::symlink_metadata(path)?)?;
        Ok(SourceFile(open_regular(path)?))
    }

    /// Returns the metadata of the open file, whatever its name stands for by now.
    ///
    /// # Errors
    /// The system's.
    pub fn metadata(&self) -> io::Result<Metadata> {
        Ok(Metadata::from(&self.0.metadata()?))
    }

    /// Returns the attributes of the open file, as [`attributes`] does.
    ///
    /// # Errors
    /// As [`attributes`].
    pub fn attributes(&self) -> io::Result<Vec<(Vec<u8>, Vec<u8>)>> {
        collect_attributes(
            |into| rustix::fs::flistxattr(&self.0, spare_capacity(into)),
            |name, into| rustix::fs::fgetxattr(&self.0, name, spare_capacity(into)),
        )
    }

    /// Reads at most `into.len()` bytes from `offset`. Short reads happen; 0 is the end of the file.
    ///
    /// # Errors
    /// The system's.
    pub fn read_at(&self, into: &mut [u8], offset: u64) -> io::Result<usize> {
        self.0.read_at(into, offset)
    }

    /// Returns the next extent `[start, end)` that holds data, at or behind `offset`; `None` where only
    /// a hole or nothing follows. A filesystem that does not tell its holes has one extent: the rest.
    ///
    /// # Errors
    /// The system's.
    pub fn next_data(&self, offset: u64) -> io::Result<Option<(u64, u64)>> {
        let rest = |start: u64| Ok(Some((start, self.0.metadata()?.len())).filter(|(start, end)| start < end));
        if i64::try_from(offset).is_err() {
            return Ok(None); // beyond what a file can hold, and no offset for the kernel
        }
        // The descriptor's own position moves; nobody reads by it.
        let start = match rustix::fs::seek(&self.0, SeekFrom::Data(offset)) {
            Ok(start) => start,
            Err(Errno::NXIO) => return Ok(None),
            Err(Errno::INVAL | Errno::NOTSUP | Errno::NOSYS) => return rest(offset),
            Err(e) => return Err(e.into()),
        };
        match rustix::fs::seek(&self.0, SeekFrom::Hole(start)) {
            Ok(end) if end > start => Ok(Some((start, end))),
            // The data went away in between: to read the rest as data is right in any case.
            Ok(_) => rest(start),
            Err(Errno::NXIO) => Ok(None), // cut off in between
            Err(e) => Err(e.into()),
        }
    }

    /// Tells the kernel that the file is read from front to back. A hint.
    ///
    /// # Errors
    /// The system's, except that it does not listen.
    pub fn advise_sequential(&self) -> io::Result<()> {
        advise(&self.0, 0, 0, Advice::Sequential)
    }

    /// Whether the byte there can only be had from its disk. `false` where the system does not tell.
    fn is_cold_at(&self, offset: u64) -> bool {
        let mut one = [0];
        let into = &mut [io::IoSliceMut::new(&mut one)];
        rustix::io::preadv2(&self.0, into, offset, ReadWriteFlags::NOWAIT) == Err(Errno::AGAIN)
    }

    /// Reads the file from front to back, `once` or not. Begins before anything else is read of it.
    pub fn in_passing(&self, once: bool) -> Passing<'_> {
        let _ = self.advise_sequential(); // a hint
        Passing { file: self, is_cold: once && self.is_cold_at(0), dropped: 0 }
    }

    /// Drops pages of the file from the page cache. `len` 0 means to the end. A hint.
    fn drop_cache(&self, offset: u64, len: u64) {
        let _ = advise(&self.0, offset, len, Advice::DontNeed); // nothing depends on it
    }
}

/// Reads a file and leaves the page cache as it was: what came into it by this is dropped again behind the reader. A backup reads
/// more than memory holds; else it would push out what other programs use, and the packs that its own parity is made of.
#[derive(Debug)]
pub struct Passing<'f> {
    file: &'f SourceFile,
    /// What was in memory before stays there.
    is_cold: bool,
    /// Bytes at the file's front that were dropped.
    dropped: u64,
}

impl Passing<'_> {
    /// Pages are dropped in pieces of at least so many bytes.
    const DROP_BYTES: u64 = 8 << 20;

    /// As [`SourceFile::read_at`].
    ///
    /// # Errors
    /// As [`SourceFile::read_at`].
    pub fn read_at(&mut self, into: &mut [u8], offset: u64) -> io::Result<usize> {
        if self.is_cold && offset >= self.dropped + Self::DROP_BYTES {
            self.file.drop_cache(self.dropped, offset - self.dropped);
            self.dropped = offset;
        }
        self.file.read_at(into, offset)
    }
}

impl Drop for Passing<'_> {
    fn drop(&mut self) {
        if self.is_cold {
            self.file.drop_cache(self.dropped, 0);
        }
    }
}

fn regular(of: &stdfs::Metadata) -> io::Result<()> {
    if of.is_file() { Ok(()) } else { Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file")) }
}

/// Opens without waiting, and then looks what it was: the name may stand for another file than before.
fn open_regular(path: &Path) -> io::Result<stdfs::File> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NOCTTY;
    let fd = match open_quietly(path, flags | OFlags::NONBLOCK) {
        Err(Errno::WOULDBLOCK) => open_leased(path, flags)?,
        answer => answer?,
    };
    let file = stdfs::File::from(fd);
    regular(&file.metadata()?)?;
    Ok(file)
}

/// Opens a file that another process holds a lease on (Samba's oplocks), which an open without waiting
/// refuses. The wait is at most the kernel's `lease-break-time`. What is waited for is proven to be a
/// regular file first, by a descriptor that cannot be exchanged.
fn open_leased(path: &Path, flags: OFlags) -> io::Result<OwnedFd> {
    let pinned = retry_on_intr(|| {
        rustix::fs::openat(CWD, path, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())
    })?;
    let pinned = stdfs::File::from(pinned);
    regular(&pinned.metadata()?)?;
    let by_descriptor = format!("/proc/self/fd/{}", pinned.as_fd().as_raw_fd());
    // The descriptor's entry is itself a link of the kernel's.
    Ok(open_quietly(Path::new(&by_descriptor), flags - OFlags::NOFOLLOW)?)
}

/// Returns this machine's name.
pub fn hostname() -> String {
    if threads::is_simulated() {
        return "simulated".to_owned();
    }
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// Returns this process's id.
pub fn process_id() -> u32 {
    if threads::is_simulated() { 1 } else { std::process::id() }
}

/// Returns when a process of this machine began, in words that two processes of one id never share: the
/// boot's id and the clock ticks since. `None` where there is no such process, or no `/proc`.
pub fn process_start(pid: u32) -> Option<String> {
    let stat = stdfs::read(format!("/proc/{pid}/stat")).ok()?;
    // The second field is the program's name in parentheses and may hold anything, parentheses too.
    let behind_name = stat.get(stat.iter().rposition(|byte| *byte == b')')? + 1..)?;
    // proc_pid_stat(5): `starttime` is field 22; the first behind the name is field 3.
    let ticks: u64 = std::str::from_utf8(behind_name).ok()?.split_ascii_whitespace().nth(22 - 3)?.parse().ok()?;
    let boot = stdfs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    Some(format!("{}:{ticks}", boot.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    use std::os::unix::fs::{PermissionsExt, symlink};
    use std::os::unix::net::UnixListener;

    #[test]
    fn every_kind_is_told_apart_and_a_link_only_followed_by_stat() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        stdfs::write(at("file"), b"12345").unwrap();
        stdfs::set_permissions(at("file"), stdfs::Permissions::from_mode(0o4751)).unwrap();
        symlink("file", at("link")).unwrap();
        rustix::fs::mknodat(CWD, at("fifo"), rustix::fs::FileType::Fifo, Mode::RUSR, 0).unwrap();
        let _listener = UnixListener::bind(at("socket")).unwrap();
        let kind = |path: &Path| lstat(path).unwrap().kind;
        assert_eq!(kind(&at("file")), FileKind::File);
        assert_eq!(kind(dir.path()), FileKind::Dir);
        assert_eq!(kind(&at("link")), FileKind::Symlink);
        assert_eq!(kind(&at("fifo")), FileKind::Fifo);
        assert_eq!(kind(&at("socket")), FileKind::Socket);
        assert_eq!(kind(Path::new("/dev/null")), FileKind::CharDevice);
        assert_ne!(lstat(Path::new("/dev/null")).unwrap().rdev, 0);
        let through = stat(&at("link")).unwrap();
        assert_eq!(through, lstat(&at("file")).unwrap());
        assert_eq!((through.size, through.mode, through.nlink), (5, 0o4751, 1));
        assert_eq!(read_link(&at("link")).unwrap(), b"file");
        assert_eq!(lstat(&at("none")).unwrap_err().kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn times_before_1970_are_seconds_below_zero_and_nanoseconds_above() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        let file = stdfs::File::create(&path).unwrap();
        file.set_modified(std::time::UNIX_EPOCH - std::time::Duration::from_millis(1500)).unwrap();
        assert_eq!(lstat(&path).unwrap().mtime, (-2, 500_000_000));
    }

    #[test]
    fn names_are_listed_bytewise_whatever_they_are() {
        let dir = tempfile::tempdir().unwrap();
        let names: [&[u8]; 5] = [b"b", b"a b", b"\xff\xfe", b"B", b"..."];
        for name in names {
            stdfs::write(dir.path().join(OsStr::from_bytes(name)), b"").unwrap();
        }
        let expected: [&[u8]; 5] = [b"...", b"B", b"a b", b"b", b"\xff\xfe"];
        assert_eq!(list(dir.path()).unwrap(), expected);
        assert_eq!(list(&dir.path().join("b")).unwrap_err().kind(), io::ErrorKind::NotADirectory);
    }

    #[test]
    fn a_fifo_a_socket_a_device_a_folder_and_a_symlink_are_refused_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        rustix::fs::mknodat(CWD, at("fifo"), rustix::fs::FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        let _listener = UnixListener::bind(at("socket")).unwrap();
        stdfs::write(at("file"), b"").unwrap();
        symlink("file", at("link")).unwrap();
        for path in [at("fifo"), at("socket"), at("link"), dir.path().to_owned(), "/dev/null".into()] {
            let refused = SourceFile::open(&path).unwrap_err();
            assert_eq!(refused.kind(), io::ErrorKind::InvalidInput, "{}", path.display());
        }
        assert!(open_leased(&at("fifo"), OFlags::RDONLY | OFlags::NOFOLLOW).is_err());
        assert!(open_leased(&at("link"), OFlags::RDONLY | OFlags::NOFOLLOW).is_err());
        assert!(open_leased(&at("file"), OFlags::RDONLY | OFlags::NOFOLLOW).is_ok());
    }

    #[test]
    fn a_fifo_that_takes_a_files_place_after_it_was_looked_at_does_not_block() {
        let dir = tempfile::tempdir().unwrap();
        let fifo = dir.path().join("fifo");
        rustix::fs::mknodat(CWD, &fifo, rustix::fs::FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        symlink("fifo", dir.path().join("link")).unwrap();
        assert!(open_regular(&dir.path().join("link")).is_err());
        let (tell, told) = std::sync::mpsc::channel();
        std::thread::spawn(move || tell.send(open_regular(&fifo).map(|_| ()).map_err(|e| e.kind())));
        let answer = told.recv_timeout(std::time::Duration::from_secs(10)).expect("the open blocks");
        assert_eq!(answer, Err(io::ErrorKind::InvalidInput));
    }

    #[test]
    fn a_file_is_read_at_offsets_and_keeps_its_metadata_when_its_name_goes() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        stdfs::write(&path, b"0123456789").unwrap();
        let before = lstat(&path).unwrap();
        fn shared<T: Send + Sync>(_: &T) {}
        let file = SourceFile::open(&path).unwrap();
        shared(&file);
        file.advise_sequential().unwrap();
        let mut into = [0; 4];
        assert_eq!(file.read_at(&mut into, 3).unwrap(), 4);
        assert_eq!(&into, b"3456");
        assert_eq!(file.read_at(&mut into, 8).unwrap(), 2);
        assert_eq!(file.read_at(&mut into, 10).unwrap(), 0);
        assert_eq!(file.metadata().unwrap(), before);
        file.drop_cache(0, 0);
        file.drop_cache(3, 4);
        stdfs::remove_file(&path).unwrap();
        assert_eq!(file.metadata().unwrap().nlink, 0);
        assert_eq!(file.read_at(&mut into, 0).unwrap(), 4);
    }

    /// Where the filesystem keeps its files in memory anyway nothing is cold, and only the bytes are compared.
    #[test]
    fn what_was_not_in_memory_is_not_there_when_it_was_read_in_passing_and_what_was_stays() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        let mut bytes = vec![7; 20 << 20];
        bytes.iter_mut().enumerate().for_each(|(i, b)| *b = ((i * 31) >> 8) as u8); // any bytes do
        stdfs::write(&path, &bytes).unwrap();
        stdfs::File::open(&path).unwrap().sync_all().unwrap();
        let file = SourceFile::open(&path).unwrap();
        let read = || {
            let mut passing = file.in_passing(true);
            let (mut got, mut into) = (Vec::new(), vec![0; 1 << 20]);
            loop {
                match passing.read_at(&mut into, got.len() as u64).unwrap() {
                    0 => return got,
                    n => got.extend_from_slice(&into[..n]),
                }
            }
        };
        file.drop_cache(0, 0);
        let (everywhere, can_be_cold) = ([0, 5 << 20, 9 << 20, (20 << 20) - 1], file.is_cold_at(0));
        assert!(read() == bytes);
        assert!(everywhere.iter().all(|at| file.is_cold_at(*at) == can_be_cold));
        file.read_at(&mut [0; 100], 0).unwrap(); // someone uses it
        assert!(read() == bytes);
        assert!(everywhere.iter().all(|at| !file.is_cold_at(*at)));
    }

    #[test]
    fn reading_leaves_the_access_time() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        stdfs::write(&path, b"x").unwrap();
        let long_ago = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1000);
        let times = stdfs::FileTimes::new().set_accessed(long_ago).set_modified(std::time::SystemTime::now());
        stdfs::File::options().write(true).open(&path).unwrap().set_times(times).unwrap();
        SourceFile::open(&path).unwrap().read_at(&mut [0], 0).unwrap();
        assert_eq!(stdfs::metadata(&path).unwrap().accessed().unwrap(), long_ago);
    }

    #[test]
    fn extents_cover_every_byte_that_is_not_zero_and_skip_a_large_hole() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        let file = stdfs::File::create(&path).unwrap();
        file.set_len(64 << 20).unwrap();
        file.write_all_at(&[1; 8192], 16 << 20).unwrap();
        file.write_all_at(&[2; 5], 32 << 20).unwrap();
        let source = SourceFile::open(&path).unwrap();
        let (mut at, mut extents) = (0, Vec::new());
        while let Some((start, end)) = source.next_data(at).unwrap() {
            assert!(at <= start && start < end && end <= 64 << 20);
            extents.push((start, end));
            at = end;
        }
        for (from, to) in [(16 << 20, (16 << 20) + 8192), (32 << 20, (32 << 20) + 5)] {
            assert!(extents.iter().any(|(s, e)| *s <= from && to <= *e), "{from}..{to} is in none of {extents:?}");
        }
        if source.metadata().unwrap().blocks < 64 << 11 {
            let told: u64 = extents.iter().map(|(s, e)| e - s).sum();
            assert!(told < 32 << 20, "the filesystem keeps holes, {told} bytes were called data");
        }
        assert_eq!(source.next_data((16 << 20) + 1).unwrap().map(|e| e.0), Some((16 << 20) + 1));
        assert_eq!(source.next_data(64 << 20).unwrap(), None);
        assert_eq!(source.next_data(u64::MAX).unwrap(), None);
        file.set_len(0).unwrap();
        assert_eq!(source.next_data(0).unwrap(), None);
    }

    #[test]
    fn attributes_come_sorted_long_ones_whole_and_links_have_their_own() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        stdfs::write(&path, b"").unwrap();
        let set = |name: &str, value: &[u8]| rustix::fs::setxattr(&path, name, value, rustix::fs::XattrFlags::empty());
        match set("user.b", b"\0\xff") {
            Err(Errno::NOTSUP) => return assert_eq!(attributes(&path, false).unwrap(), []),
            answer => answer.unwrap(),
        }
        let long = vec![9; ATTRIBUTE_BYTES_USUAL + 1];
        set("user.a", &long).unwrap();
        set("user.c", b"").unwrap();
        symlink("f", dir.path().join("l")).unwrap();
        let expected: Vec<(Vec<u8>, Vec<u8>)> =
            vec![(b"user.a".to_vec(), long), (b"user.b".to_vec(), b"\0\xff".to_vec()), (b"user.c".to_vec(), vec![])];
        let of_users = |mut all: Vec<(Vec<u8>, Vec<u8>)>| {
            all.retain(|(name, _)| name.starts_with(b"user."));
            all
        };
        assert_eq!(of_users(attributes(&path, true).unwrap()), expected);
        assert_eq!(of_users(attributes(&dir.path().join("l"), false).unwrap()), expected);
        assert_eq!(of_users(attributes(&dir.path().join("l"), true).unwrap()), []);
        assert_eq!(of_users(SourceFile::open(&path).unwrap().attributes().unwrap()), expected);
        assert_eq!(attributes(&dir.path().join("none"), true).unwrap_err().kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn an_attribute_that_vanishes_or_is_forbidden_is_left_out_and_others_are_errors() {
        let list = |into: &mut Vec<u8>| {
            into.extend_from_slice(b"user.z\0user.gone\0user.forbidden\0user.a\0");
            Ok(into.len())
        };
        let get = |failure: Errno| {
            move |name: &[u8], into: &mut Vec<u8>| match name {
                b"user.gone" => Err(failure),
                b"user.forbidden" => Err(Errno::ACCESS),
                _ => {
                    into.push(1);
                    Ok(1)
                }
            }
        };
        let found = collect_attributes(list, get(Errno::NODATA)).unwrap();
        assert_eq!(found, [(b"user.a".to_vec(), vec![1]), (b"user.z".to_vec(), vec![1])]);
        let failed = collect_attributes(list, get(Errno::IO)).unwrap_err();
        assert!(failed.to_string().contains("user.gone"), "{failed}");
        assert_eq!(collect_attributes(|_| Err(Errno::NOTSUP), get(Errno::IO)).unwrap(), []);
    }

    #[test]
    fn a_process_has_one_beginning_and_none_has_none() {
        let ours = process_start(process_id()).unwrap();
        assert_eq!(process_start(process_id()), Some(ours.clone()));
        assert_ne!(process_start(1), Some(ours));
        assert_eq!(process_start(u32::MAX), None);
        assert!(!hostname().is_empty());
    }
}
