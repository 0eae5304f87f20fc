//! The machine's own files, clock and randomness.
//!
//! Owns the system calls behind [`Fs`] and [`World`]. Knows nothing of what the files hold and keeps no
//! state: every answer comes from the kernel. Reading needs no right to write, so a store on a
//! read-only mount can be opened, locked against this machine's other processes, and read.
//!
//! # Invariants
//!
//! 1. Descriptors are closed on exec; files are made with mode 0600 and folders with 0700, whatever is
//!    in a store being the user's media.
//! 2. [`File::sync`] is `fdatasync`, [`Fs::sync_dir`] is `fsync` of the folder. Neither is repeated after
//!    a failure: the kernel reports a lost page once, and a second call would say "fine". Only a call
//!    that a signal interrupted goes on, which is no failure.
//! 3. [`Fs::rename_new`] never replaces a file, also where the filesystem cannot say "no replace".

use super::{DirEntry, File, Fs, Kind, Lock, Space, World};
use rustix::fs::{Advice, CWD, FlockOperation, Mode, OFlags, RenameFlags};
use rustix::io::{Errno, retry_on_intr};
use std::fs as stdfs;
use std::io::{self, IoSlice, Read};
use std::num::NonZeroU64;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt};
use std::path::Path;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

/// Parts that one `pwritev` takes at most: Linux' `UIO_MAXIOV`.
const PARTS_PER_CALL_MAX: usize = 1024;

/// The page cache drops only folios that lie wholly within the range, and a folio is at most a huge
/// page (Linux `mm/truncate.c`, `find_lock_entries`), so a range is widened to these borders.
const DROP_ALIGN_BYTES: u64 = 2 << 20;

/// How often a lock file that was replaced while it was locked is opened anew.
const LOCK_ATTEMPTS_MAX: u32 = 8;

const FILE_MODE: Mode = Mode::RUSR.union(Mode::WUSR);

/// The filesystems of this machine.
#[derive(Clone, Copy, Debug, Default)]
pub struct RealFs;

/// The wall clock and the kernel's random generator.
#[derive(Clone, Copy, Debug, Default)]
pub struct RealWorld;

struct RealFile(stdfs::File);

struct RealLock {
    /// `flock` belongs to the open file: closing it is the release.
    _file: OwnedFd,
}

impl Lock for RealLock {}

impl File for RealFile {
    fn read_at(&self, into: &mut [u8], offset: u64) -> io::Result<usize> {
        self.0.read_at(into, offset)
    }

    fn write_all_at(&self, parts: &[IoSlice<'_>], offset: u64) -> io::Result<()> {
        write_all_parts(parts, offset, |parts, offset| rustix::io::pwritev(&self.0, parts, offset).map_err(Into::into))
    }

    fn sync(&self) -> io::Result<()> {
        Ok(retry_on_intr(|| rustix::fs::fdatasync(&self.0))?)
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn drop_cache(&self, offset: u64, len: u64) -> io::Result<()> {
        let start = offset - offset % DROP_ALIGN_BYTES;
        let end = if len == 0 {
            None
        } else {
            offset.checked_add(len).and_then(|e| e.checked_next_multiple_of(DROP_ALIGN_BYTES))
        };
        advise(&self.0, start, end.map_or(0, |end| end - start), Advice::DontNeed)
    }

    fn begin_to_write(&self, offset: u64, len: u64) -> io::Result<()> {
        // Linux writes the dirty pages of a range that is not needed any more, without waiting, and drops only clean ones
        // (`mm/fadvise.c`): those that were just written stay. A range that ends within a large folio leaves that one alone, so
        // calls should cover some MiB.
        advise(&self.0, offset, len, Advice::DontNeed)
    }

    fn will_need(&self, offset: u64, len: u64) -> io::Result<()> {
        advise(&self.0, offset, len, Advice::WillNeed)
    }
}

/// Writes all of `parts` from `offset` on, by a `write` that may write less than it is given.
fn write_all_parts(
    parts: &[IoSlice<'_>],
    mut offset: u64,
    write: impl Fn(&[IoSlice<'_>], u64) -> io::Result<usize>,
) -> io::Result<()> {
    let mut owned: Vec<IoSlice<'_>> = parts.iter().filter(|p| !p.is_empty()).copied().collect();
    let mut left: &mut [IoSlice<'_>] = &mut owned;
    while !left.is_empty() {
        let count = left.len().min(PARTS_PER_CALL_MAX);
        let given: usize = left[..count].iter().map(|p| p.len()).sum();
        match write(&left[..count], offset) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            // More than was given is a broken kernel or FUSE server; `advance_slices` would panic on it.
            Ok(n) if n > given => return Err(io::Error::other(format!("{n} bytes written of {given}"))),
            Ok(n) => {
                IoSlice::advance_slices(&mut left, n);
                offset = offset.checked_add(n as u64).ok_or(Errno::FBIG)?; // usize is at most 64 bits
            }
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

/// Tells the kernel how a range will be used. `len` 0 means to the end. Filesystems that do not listen
/// are no error: it is a hint.
pub(super) fn advise(file: impl AsFd, offset: u64, len: u64, advice: Advice) -> io::Result<()> {
    match rustix::fs::fadvise(file, offset, NonZeroU64::new(len), advice) {
        Ok(()) | Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => Ok(()),
        Err(e) => Err(e.into()),
    }
}

/// Renames within open folders, only if the new name is free.
///
/// # Errors
/// [`io::ErrorKind::AlreadyExists`] where the name is taken. [`io::ErrorKind::Unsupported`] where the
/// filesystem has neither an exclusive rename nor hard links. Where the fallback's last step fails
/// (the old name cannot be removed) both names stand: as after any failed call on a name, the caller
/// does not know whether it took place.
pub(super) fn rename_exclusive(from_dir: impl AsFd, from: &[u8], to_dir: impl AsFd, to: &[u8]) -> io::Result<()> {
    match rustix::fs::renameat_with(&from_dir, from, &to_dir, to, RenameFlags::NOREPLACE) {
        Err(Errno::INVAL | Errno::NOSYS) => link_and_unlink(from_dir, from, to_dir, to),
        answer => Ok(answer?),
    }
}

/// The exclusive rename of filesystems without one (NFS, many FUSE servers): a hard link is made only
/// if its name is free.
fn link_and_unlink(from_dir: impl AsFd, from: &[u8], to_dir: impl AsFd, to: &[u8]) -> io::Result<()> {
    match rustix::fs::linkat(&from_dir, from, &to_dir, to, rustix::fs::AtFlags::empty()) {
        Ok(()) => Ok(rustix::fs::unlinkat(&from_dir, from, rustix::fs::AtFlags::empty())?),
        Err(Errno::PERM | Errno::NOSYS | Errno::OPNOTSUPP | Errno::MLINK) => Err(io::Error::new(
            io::ErrorKind::Unsupported,
            "the filesystem can neither rename without replacing nor make hard links",
        )),
        Err(e) => Err(e.into()),
    }
}

/// The bytes of a path, for the calls that take a name relative to an open folder.
fn bytes(path: &Path) -> &[u8] {
    path.as_os_str().as_encoded_bytes()
}

fn kind_of(file_type: stdfs::FileType) -> Kind {
    match file_type {
        t if t.is_file() => Kind::File,
        t if t.is_dir() => Kind::Dir,
        _ => Kind::Other,
    }
}

impl Fs for RealFs {
    fn open(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        // NONBLOCK: a FIFO that strayed into a store must not stop its reader.
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
        let file = stdfs::File::from(retry_on_intr(|| rustix::fs::open(path, flags, Mode::empty()))?);
        match kind_of(file.metadata()?.file_type()) {
            Kind::File => Ok(Arc::new(RealFile(file))),
            Kind::Dir => Err(Errno::ISDIR.into()),
            Kind::Other => Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file")),
        }
    }

    fn create_new(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let fd = retry_on_intr(|| rustix::fs::open(path, flags, FILE_MODE))?;
        Ok(Arc::new(RealFile(fd.into())))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        stdfs::rename(from, to)
    }

    fn rename_new(&self, from: &Path, to: &Path) -> io::Result<()> {
        rename_exclusive(CWD, bytes(from), CWD, bytes(to))
    }

    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        match rustix::fs::linkat(CWD, from, CWD, to, rustix::fs::AtFlags::empty()) {
            Err(Errno::PERM | Errno::NOSYS | Errno::OPNOTSUPP | Errno::MLINK) => Err(io::ErrorKind::Unsupported.into()),
            answer => Ok(answer?),
        }
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        stdfs::remove_file(path)
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        stdfs::remove_dir(path)
    }

    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        stdfs::DirBuilder::new().recursive(true).mode(0o700).create(path)
    }

    /// Symlinks are followed, as in [`Fs::stat`]; one that leads nowhere is [`Kind::Other`].
    fn list(&self, path: &Path) -> io::Result<Vec<DirEntry>> {
        let mut entries = Vec::new();
        for entry in stdfs::read_dir(path)? {
            let entry = entry?;
            let kind = match entry.file_type() {
                Ok(t) if t.is_symlink() => {
                    stdfs::metadata(entry.path()).map_or(Kind::Other, |m| kind_of(m.file_type()))
                }
                Ok(t) => kind_of(t),
                Err(e) if e.kind() == io::ErrorKind::NotFound => continue, // removed while we listed
                Err(e) => return Err(e),
            };
            entries.push(DirEntry { name: entry.file_name(), kind });
        }
        entries.sort();
        Ok(entries)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let dir = retry_on_intr(|| rustix::fs::open(path, flags, Mode::empty()))?;
        Ok(retry_on_intr(|| rustix::fs::fsync(&dir))?)
    }

    fn stat(&self, path: &Path) -> io::Result<Option<(Kind, u64)>> {
        match stdfs::metadata(path) {
            Ok(m) => Ok(Some((kind_of(m.file_type()), m.len()))),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(e),
        }
    }

    fn serial(&self, path: &Path) -> Option<String> {
        super::device::below(path).map(|d| d.serial).filter(|s| !s.is_empty())
    }

    fn space(&self, path: &Path) -> io::Result<Space> {
        let of = retry_on_intr(|| rustix::fs::statvfs(path))?;
        let unit = if of.f_frsize == 0 { of.f_bsize } else { of.f_frsize };
        Ok(Space {
            total: of.f_blocks.saturating_mul(unit),
            free: of.f_bavail.saturating_mul(unit), // not f_bfree: that counts what only root may use
            filesystem: stdfs::metadata(path)?.dev(),
        })
    }

    fn try_lock(&self, path: &Path) -> io::Result<Option<Box<dyn Lock>>> {
        for _ in 0..LOCK_ATTEMPTS_MAX {
            // For writing first: NFS turns an exclusive flock into a record lock, which wants that.
            let flags = OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
            let fd = match retry_on_intr(|| rustix::fs::open(path, flags | OFlags::RDWR, Mode::empty())) {
                Err(Errno::ACCESS | Errno::PERM | Errno::ROFS) => {
                    retry_on_intr(|| rustix::fs::open(path, flags | OFlags::RDONLY, Mode::empty()))?
                }
                answer => answer?,
            };
            match retry_on_intr(|| rustix::fs::flock(&fd, FlockOperation::NonBlockingLockExclusive)) {
                Ok(()) => {}
                Err(Errno::WOULDBLOCK) => return Ok(None),
                Err(e) => return Err(e.into()),
            }
            // Somebody may have put another file there between the two calls: a lock on the old one
            // would exclude nobody.
            let file = stdfs::File::from(fd);
            let (ours, named) = (file.metadata()?, stdfs::metadata(path)?);
            if (ours.dev(), ours.ino()) == (named.dev(), named.ino()) {
                return Ok(Some(Box::new(RealLock { _file: file.into() })));
            }
        }
        Ok(None)
    }

    fn write_lock_note(&self, path: &Path, note: &[u8]) -> io::Result<()> {
        let file = stdfs::OpenOptions::new().write(true).open(path)?;
        file.write_all_at(note, 0)?;
        file.set_len(note.len() as u64) // behind the write, so that a reader never finds the note empty
    }
}

impl World for RealWorld {
    fn now_ns(&self) -> i64 {
        match SystemTime::now().duration_since(UNIX_EPOCH) {
            Ok(after) => i64::try_from(after.as_nanos()).unwrap_or(i64::MAX),
            Err(before) => i64::try_from(before.duration().as_nanos()).map_or(i64::MIN, |ns| -ns),
        }
    }

    /// Fills `into` from the kernel's generator.
    ///
    /// # Panics
    /// Where the system has neither `getrandom` nor `/dev/urandom`. Keys are drawn from here: to go on
    /// without chance would be worse than to stop, and there is no later moment to say so. Linux has
    /// `getrandom` since 3.17, and with a valid buffer and no flags it fails on signals only.
    fn random(&self, into: &mut [u8]) {
        let mut done = 0;
        while done < into.len() {
            match rustix::rand::getrandom(&mut into[done..], rustix::rand::GetRandomFlags::empty()) {
                Ok(n) => done += n,
                Err(Errno::INTR) => {}
                Err(e) => {
                    let read = stdfs::File::open("/dev/urandom").and_then(|mut f| f.read_exact(&mut into[done..]));
                    assert!(read.is_ok(), "this system has no source of randomness: {e}");
                    return;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Io;
    use super::*;
    use std::cell::RefCell;
    use std::collections::BTreeSet;
    use std::os::unix::fs::{PermissionsExt, symlink};

    fn made(dir: &tempfile::TempDir, name: &str, bytes: &[u8]) -> std::path::PathBuf {
        let path = dir.path().join(name);
        RealFs.create_new(&path).unwrap().write_all_at(&[IoSlice::new(bytes)], 0).unwrap();
        path
    }

    #[test]
    fn parts_are_written_one_behind_the_other_also_beyond_what_one_call_takes() {
        let dir = tempfile::tempdir().unwrap();
        let file = RealFs.create_new(&dir.path().join("f")).unwrap();
        let all: Vec<u8> = (0..(2 * PARTS_PER_CALL_MAX + 7) * 3).map(|i| (i % 251) as u8).collect();
        let mut parts: Vec<IoSlice<'_>> = all.chunks(3).map(IoSlice::new).collect();
        parts.insert(5, IoSlice::new(&[]));
        file.write_all_at(&parts, 10).unwrap();
        assert_eq!(file.len().unwrap(), all.len() as u64 + 10);
        let mut back = vec![1; all.len() + 10];
        file.read_exact_at(&mut back, 0).unwrap();
        assert_eq!(&back[..10], [0; 10]);
        assert_eq!(&back[10..], all);
        file.sync().unwrap();
        assert_eq!(file.read_at(&mut [0; 4], back.len() as u64).unwrap(), 0);
        let beyond = file.read_exact_at(&mut [0; 4], back.len() as u64 - 2);
        assert_eq!(beyond.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }

    #[test]
    fn short_and_interrupted_writes_are_continued_where_they_ended() {
        let disk = RefCell::new(vec![0_u8; 40]);
        let turn = RefCell::new(0);
        let all: Vec<u8> = (1..=40).collect();
        let parts: Vec<IoSlice<'_>> = all.chunks(7).map(IoSlice::new).collect();
        write_all_parts(&parts, 0, |parts, offset| {
            *turn.borrow_mut() += 1;
            if *turn.borrow() % 3 == 0 {
                return Err(io::ErrorKind::Interrupted.into());
            }
            let given: Vec<u8> = parts.iter().flat_map(|p| p.iter().copied()).take(9).collect();
            disk.borrow_mut()[offset as usize..][..given.len()].copy_from_slice(&given);
            Ok(given.len())
        })
        .unwrap();
        assert_eq!(*disk.borrow(), all);
        assert_eq!(write_all_parts(&parts, 0, |_, _| Ok(0)).unwrap_err().kind(), io::ErrorKind::WriteZero);
        assert!(write_all_parts(&parts, 0, |_, _| Ok(41)).is_err(), "more than was given was believed");
        assert!(write_all_parts(&parts, u64::MAX - 3, |_, _| Ok(9)).is_err(), "the offset wrapped around");
    }

    #[test]
    fn create_new_refuses_a_name_that_exists_and_a_dangling_symlink() {
        let dir = tempfile::tempdir().unwrap();
        let path = made(&dir, "f", b"old");
        assert_eq!(RealFs.create_new(&path).err().unwrap().kind(), io::ErrorKind::AlreadyExists);
        symlink("nowhere", dir.path().join("l")).unwrap();
        assert_eq!(RealFs.create_new(&dir.path().join("l")).err().unwrap().kind(), io::ErrorKind::AlreadyExists);
        assert!(!dir.path().join("nowhere").exists());
        assert_eq!(stdfs::read(path).unwrap(), b"old");
    }

    #[test]
    fn files_and_folders_are_for_their_owner_only() {
        let dir = tempfile::tempdir().unwrap();
        let file = made(&dir, "f", b"");
        RealFs.create_dir_all(&dir.path().join("a/b")).unwrap();
        RealFs.create_dir_all(&dir.path().join("a/b")).unwrap();
        let mode = |p: &Path| stdfs::metadata(p).unwrap().permissions().mode() & 0o7777;
        assert_eq!(mode(&file), 0o600);
        assert_eq!(mode(&dir.path().join("a")), 0o700);
        assert_eq!(mode(&dir.path().join("a/b")), 0o700);
    }

    #[test]
    fn rename_new_never_replaces_by_either_way() {
        let dir = tempfile::tempdir().unwrap();
        let ways: [fn(&Path, &Path) -> io::Result<()>; 2] =
            [|from, to| RealFs.rename_new(from, to), |from, to| link_and_unlink(CWD, bytes(from), CWD, bytes(to))];
        for (i, way) in ways.into_iter().enumerate() {
            let (from, taken) = (made(&dir, &format!("from{i}"), b"new"), made(&dir, &format!("taken{i}"), b"old"));
            assert_eq!(way(&from, &taken).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
            assert_eq!(stdfs::read(&taken).unwrap(), b"old");
            assert_eq!(stdfs::read(&from).unwrap(), b"new");
            let to = dir.path().join(format!("to{i}"));
            way(&from, &to).unwrap();
            assert_eq!(stdfs::read(&to).unwrap(), b"new");
            assert!(!from.exists());
            assert_eq!(way(&from, &to).unwrap_err().kind(), io::ErrorKind::NotFound);
        }
        let linked = dir.path().join("linked");
        RealFs.link(&dir.path().join("to0"), &linked).unwrap();
        assert_eq!(RealFs.link(&dir.path().join("to1"), &linked).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(stdfs::read(&linked).unwrap(), b"new");
        let folder = dir.path().join("folder");
        RealFs.create_dir_all(&folder).unwrap();
        let linked = link_and_unlink(CWD, bytes(&folder), CWD, bytes(&dir.path().join("other")));
        assert_eq!(linked.unwrap_err().kind(), io::ErrorKind::Unsupported);
        RealFs.rename(&made(&dir, "over", b"2"), &dir.path().join("to0")).unwrap();
        assert_eq!(stdfs::read(dir.path().join("to0")).unwrap(), b"2");
    }

    #[test]
    fn a_folder_is_listed_in_order_with_kinds_and_links_followed() {
        let dir = tempfile::tempdir().unwrap();
        made(&dir, "b", b"12");
        RealFs.create_dir_all(&dir.path().join("a")).unwrap();
        symlink("a", dir.path().join("c")).unwrap();
        symlink("nowhere", dir.path().join("d")).unwrap();
        let listed = RealFs.list(dir.path()).unwrap();
        let listed: Vec<(&str, Kind)> = listed.iter().map(|e| (e.name.to_str().unwrap(), e.kind)).collect();
        assert_eq!(listed, [("a", Kind::Dir), ("b", Kind::File), ("c", Kind::Dir), ("d", Kind::Other)]);
        assert_eq!(RealFs.stat(&dir.path().join("b")).unwrap(), Some((Kind::File, 2)));
        assert_eq!(RealFs.stat(&dir.path().join("c")).unwrap().map(|s| s.0), Some(Kind::Dir));
        assert_eq!(RealFs.stat(&dir.path().join("d")).unwrap(), None);
        assert_eq!(RealFs.list(&dir.path().join("nowhere")).unwrap_err().kind(), io::ErrorKind::NotFound);
        RealFs.sync_dir(dir.path()).unwrap();
        assert!(RealFs.sync_dir(&dir.path().join("b")).is_err(), "a file was synced as a folder");
        assert!(RealFs.remove_dir(dir.path()).is_err(), "a full folder was removed");
        RealFs.remove_file(&dir.path().join("b")).unwrap();
        RealFs.remove_dir(&dir.path().join("a")).unwrap();
    }

    #[test]
    fn what_is_no_regular_file_is_not_opened_and_a_fifo_does_not_block() {
        let dir = tempfile::tempdir().unwrap();
        let fifo = dir.path().join("fifo");
        rustix::fs::mknodat(CWD, &fifo, rustix::fs::FileType::Fifo, FILE_MODE, 0).unwrap();
        assert_eq!(RealFs.open(&fifo).err().unwrap().kind(), io::ErrorKind::InvalidInput);
        assert_eq!(RealFs.open(dir.path()).err().unwrap().kind(), io::ErrorKind::IsADirectory);
        assert_eq!(RealFs.open(&dir.path().join("none")).err().unwrap().kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn one_lock_excludes_another_until_it_is_dropped() {
        let dir = tempfile::tempdir().unwrap();
        let path = made(&dir, "lock", b"a longer note than the next");
        let held = RealFs.try_lock(&path).unwrap().unwrap();
        assert!(RealFs.try_lock(&path).unwrap().is_none());
        RealFs.write_lock_note(&path, b"pid 1").unwrap();
        assert_eq!(stdfs::read(&path).unwrap(), b"pid 1");
        drop(held);
        assert!(RealFs.try_lock(&path).unwrap().is_some());
        assert_eq!(RealFs.try_lock(&dir.path().join("none")).err().unwrap().kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn what_may_only_be_read_can_be_locked_and_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = made(&dir, "lock", b"1");
        stdfs::set_permissions(&path, stdfs::Permissions::from_mode(0o400)).unwrap();
        // Root may write to any file, except where the filesystem itself refuses: sysfs does so for all
        // files without a writer, and in most containers it is mounted read-only too.
        for path in [path.as_path(), Path::new("/sys/kernel/uevent_seqnum")] {
            if !path.exists() {
                continue;
            }
            let held = RealFs.try_lock(path).unwrap();
            assert!(held.is_some(), "{}", path.display());
            assert!(RealFs.try_lock(path).unwrap().is_none(), "{}", path.display());
            assert!(RealFs.open(path).unwrap().read_at(&mut [0], 0).unwrap() == 1);
        }
    }

    #[test]
    fn space_names_one_filesystem_for_neighbours_and_another_elsewhere() {
        let dir = tempfile::tempdir().unwrap();
        let file = made(&dir, "f", b"");
        let (a, b) = (RealFs.space(dir.path()).unwrap(), RealFs.space(&file).unwrap());
        assert_eq!((a.total, a.filesystem), (b.total, b.filesystem));
        assert!(a.total > 0 && a.free <= a.total);
        assert_ne!(RealFs.space(Path::new("/proc")).unwrap().filesystem, a.filesystem);
        assert_eq!(RealFs.space(&dir.path().join("none")).unwrap_err().kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn dropped_cache_is_read_from_the_disk_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = made(&dir, "f", &vec![7; 6 << 20]);
        let file = RealFs.open(&path).unwrap();
        file.drop_cache(0, 0).unwrap(); // unsynced pages stay, and nothing is lost
        file.sync().unwrap();
        let from_disk = |offset: u64| {
            let before = read_bytes_of_this_thread();
            let mut into = vec![0; 4096];
            file.read_exact_at(&mut into, offset).unwrap();
            assert_eq!(into, [7; 4096]);
            read_bytes_of_this_thread().zip(before).map(|(after, before)| after - before)
        };
        assert!(from_disk(3 << 20).is_none_or(|n| n == 0), "it was not in the cache to begin with");
        // An unaligned range is dropped whole.
        file.drop_cache((3 << 20) + 100, 50).unwrap();
        let read = from_disk(3 << 20);
        // A filesystem in memory has no disk to read from; nor is every kernel built to count.
        let counts =
            std::path::Path::new("/proc/thread-self/io").exists() && stdfs::metadata(&path).unwrap().dev() >> 8 != 0;
        if counts {
            assert!(read.is_some_and(|n| n >= 4096), "the page was still cached");
        }
        file.drop_cache(u64::MAX - 1, 1).unwrap();
    }

    fn read_bytes_of_this_thread() -> Option<u64> {
        let text = stdfs::read_to_string("/proc/thread-self/io").ok()?;
        text.lines().find_map(|l| l.strip_prefix("read_bytes: "))?.parse().ok()
    }

    #[test]
    fn a_durable_write_leaves_one_name_and_replaces_only_when_told() {
        let dir = tempfile::tempdir().unwrap();
        let io = Io::real();
        let path = dir.path().join("marker");
        io.write_durable(&path, b"one", false).unwrap();
        assert_eq!(io.write_durable(&path, b"two", false).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(io.read_small(&path, 3).unwrap(), b"one");
        io.write_durable(&path, b"three", true).unwrap();
        assert_eq!(io.read_small(&path, 3).unwrap_err().kind(), io::ErrorKind::FileTooLarge);
        assert_eq!(io.read_small(&path, 5).unwrap(), b"three");
        assert_eq!(io.fs.list(dir.path()).unwrap().len(), 1, "a temporary name was left");
    }

    #[test]
    fn chance_fills_every_byte_and_the_clock_is_after_2025() {
        let mut seen = BTreeSet::new();
        let mut bytes = vec![0; 100_000];
        RealWorld.random(&mut bytes);
        seen.extend(bytes[99_000..].iter().copied());
        assert!(seen.len() > 200, "a thousand random bytes take {} values", seen.len());
        RealWorld.random(&mut []);
        assert!(RealWorld.now_ns() > 1_735_689_600 * 1_000_000_000);
    }
}
