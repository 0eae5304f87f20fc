//! How files are written back into a folder of the user's.
//!
//! Owns every path that is written below the target. Neither the names (they come from a store) nor what
//! lies in the target already (anybody may have put it there) is trusted.
//!
//! # Invariants
//!
//! 1. No symlink within the target is ever followed: each folder is opened by its one name relative to
//!    the open folder above it, never by a path. The target's own path is the user's and is followed.
//! 2. A file appears under its name with all its bytes and metadata or not at all. Until then it is
//!    `.onefold-` and eight digits and `.partial` in the same folder; only a killed process leaves one behind.
//! 3. Owner, setuid and the like are set only where the caller asks for owners, and then the owner
//!    comes first, so that no file is ever setuid for a user that it does not belong to.

mod folders;
#[cfg(test)]
mod tests;

use super::real::rename_exclusive;
use super::source::Metadata;
use folders::{Folders, escaped, pinned};
use rustix::fs::{AtFlags, Dir, Gid, Mode, OFlags, Timespec, Timestamps, UTIME_OMIT, Uid, XattrFlags};
use rustix::io::{Errno, retry_on_intr};
use std::fs as stdfs;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

/// Names that are tried for a temporary file before the folder is held to be the trouble.
const NAME_ATTEMPTS_MAX: u32 = 64;

/// The namespace of attributes that every user may set.
const USER_NAMESPACE: &[u8] = b"user.";

/// A folder that files are written back into. Threads share it.
#[derive(Debug)]
pub struct Target {
    folders: Folders,
    /// Where the names of temporary files go on from.
    next_name: AtomicU32,
}

/// What is set on a file beside its bytes.
#[derive(Clone, Copy, Debug)]
pub struct SetMetadata<'a> {
    /// Permissions. Bits beyond `0o777` are set only with `owner`. A symlink has none.
    pub mode: u32,
    /// Last change: seconds since 1970-01-01 UTC, and nanoseconds below 1 000 000 000.
    pub mtime: (i64, u32),
    /// User and group, if they are to be set. Attributes outside `user.` are set only then too.
    pub owner: Option<(u32, u32)>,
    /// Extended attributes, names with their namespace.
    pub attributes: &'a [(Vec<u8>, Vec<u8>)],
}

/// An attribute that could not be set; the file is complete without it.
#[derive(Debug)]
pub struct AttributeWarning {
    pub name: Vec<u8>,
    pub error: io::Error,
}

/// A file that is being written. Threads may write different ranges at once. Dropped without
/// [`Target::finish`], it is removed.
#[derive(Debug)]
pub struct OutFile {
    file: stdfs::File,
    folder: Arc<OwnedFd>,
    temporary: Vec<u8>,
    name: Vec<u8>,
    /// Whether the temporary name is still there to be removed.
    partial: bool,
}

impl OutFile {
    /// Writes all of `bytes` from `offset` on.
    ///
    /// # Errors
    /// The system's.
    pub fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.file.write_all_at(bytes, offset)
    }

    /// Makes the file `len` bytes long; what was not written reads as zeros and takes no space where the
    /// filesystem knows holes.
    ///
    /// # Errors
    /// The system's.
    pub fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }

    /// Makes the bytes written so far durable.
    ///
    /// # Errors
    /// The system's. The file's bytes are unknown then, and it is not to be finished.
    pub fn sync(&self) -> io::Result<()> {
        Ok(retry_on_intr(|| rustix::fs::fdatasync(&self.file))?)
    }

    fn remove(&mut self) -> io::Result<()> {
        self.partial = false;
        Ok(rustix::fs::unlinkat(&self.folder, &self.temporary, AtFlags::empty())?)
    }
}

impl Drop for OutFile {
    fn drop(&mut self) {
        if self.partial {
            let _ = self.remove(); // the reason for dropping is told already; a leftover is named as one
        }
    }
}

impl Target {
    /// Opens an existing folder as target.
    ///
    /// # Errors
    /// The system's.
    pub fn open(path: &Path) -> io::Result<Target> {
        let root = retry_on_intr(|| {
            rustix::fs::open(path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
        })?;
        // Only so that two runs in one folder seldom meet; each name is taken by O_EXCL anyway.
        let mut seed = [0; 4];
        super::World::random(&super::real::RealWorld, &mut seed);
        Ok(Target { folders: Folders::new(root), next_name: AtomicU32::new(u32::from_le_bytes(seed)) })
    }

    /// Makes the folder, and those above it, where it is not there, and opens it as target.
    ///
    /// # Errors
    /// The system's.
    pub fn open_or_create(path: &Path) -> io::Result<Target> {
        stdfs::create_dir_all(path)?;
        Target::open(path)
    }

    /// Makes everything that was written so far durable, bytes and names: the whole filesystem that the target lies on, since
    /// to sync each of many files and folders would take a seek for each.
    ///
    /// # Errors
    /// The system's, also those that came up while bytes were written in the background since the target was opened (from
    /// Linux 5.8 on; before it, only what comes up now).
    pub fn sync_all(&self) -> io::Result<()> {
        Ok(retry_on_intr(|| rustix::fs::syncfs(self.folders.root()))?)
    }

    /// Tells whether the target holds nothing at all.
    ///
    /// # Errors
    /// The system's.
    pub fn is_empty(&self) -> io::Result<bool> {
        for entry in Dir::new(self.folders.readable(&[])?)? {
            if !matches!(entry?.file_name().to_bytes(), b"." | b"..") {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Returns what stands under a name; `None` where nothing does. A symlink is reported as one.
    ///
    /// # Errors
    /// [`io::ErrorKind::NotADirectory`] where the path leads through a symlink or a file; the system's.
    pub fn exists(&self, path: &[&[u8]]) -> io::Result<Option<Metadata>> {
        let found = match path.split_last() {
            None => self.folders.folder(&[])?.try_clone(),
            Some(_) => self.folders.parent(path).and_then(|(folder, name)| Ok(pinned(&folder, name)?)),
        };
        match found {
            Ok(fd) => Ok(Some(Metadata::from(&stdfs::File::from(fd).metadata()?))),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// Creates a folder that only its owner may enter, until [`Target::set_dir_metadata`]. Returns
    /// `false` where it was there already.
    ///
    /// # Errors
    /// [`io::ErrorKind::NotADirectory`] where the name stands for something else; the system's.
    pub fn create_dir(&self, path: &[&[u8]]) -> io::Result<bool> {
        if path.is_empty() {
            return Ok(false);
        }
        let (folder, name) = self.folders.parent(path)?;
        match rustix::fs::mkdirat(&folder, name, Mode::RWXU) {
            Ok(()) => Ok(true),
            Err(Errno::EXIST) => self.folders.folder(path).map(|_| false),
            Err(e) => Err(e.into()),
        }
    }

    /// Begins a file under a temporary name in the folder of `path`.
    ///
    /// # Errors
    /// [`io::ErrorKind::NotADirectory`] where the path leads through a symlink or a file; the system's.
    pub fn create_file(&self, path: &[&[u8]]) -> io::Result<OutFile> {
        let (folder, name) = self.folders.parent(path)?;
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        for _ in 0..NAME_ATTEMPTS_MAX {
            let temporary =
                format!(".onefold-{:08x}.partial", self.next_name.fetch_add(1, Ordering::Relaxed)).into_bytes();
            match retry_on_intr(|| rustix::fs::openat(&folder, &temporary, flags, Mode::RUSR | Mode::WUSR)) {
                Ok(fd) => {
                    return Ok(OutFile { file: fd.into(), folder, temporary, name: name.to_vec(), partial: true });
                }
                Err(Errno::EXIST) => {}
                Err(e) => return Err(e.into()),
            }
        }
        Err(io::Error::new(io::ErrorKind::AlreadyExists, "every temporary name in the folder is taken"))
    }

    /// Sets a file's metadata and gives it its name, which it takes over from another file or symlink
    /// only with `replace`. Returns the attributes that could not be set.
    ///
    /// # Errors
    /// [`io::ErrorKind::AlreadyExists`] where the name is taken; [`io::ErrorKind::InvalidInput`] for
    /// metadata that no file can have; the system's. The temporary file is removed then.
    pub fn finish(
        &self,
        mut file: OutFile,
        metadata: &SetMetadata<'_>,
        replace: bool,
    ) -> io::Result<Vec<AttributeWarning>> {
        let warnings = set_by_descriptor(&file.file, metadata)?;
        let (folder, from, to) = (&file.folder, file.temporary.as_slice(), file.name.as_slice());
        if replace {
            rustix::fs::renameat(folder, from, folder, to)?;
        } else {
            match rename_exclusive(folder, from, folder, to) {
                Err(e) if e.kind() == io::ErrorKind::Unsupported => rename_if_absent(folder, from, to)?,
                answer => answer?,
            }
        }
        file.partial = false;
        Ok(warnings)
    }

    /// Removes a file that was begun.
    ///
    /// # Errors
    /// The system's: the temporary file is left behind then.
    pub fn abandon(&self, mut file: OutFile) -> io::Result<()> {
        file.remove()
    }

    /// Creates a symlink that leads to `to`, whatever that is. Returns the attributes that could not be
    /// set.
    ///
    /// # Errors
    /// [`io::ErrorKind::AlreadyExists`] where the name is taken; [`io::ErrorKind::InvalidInput`] for
    /// metadata that no symlink can have; the system's.
    pub fn symlink(&self, path: &[&[u8]], to: &[u8], metadata: &SetMetadata<'_>) -> io::Result<Vec<AttributeWarning>> {
        let (folder, name) = self.folders.parent(path)?;
        let (times, owner) = (timestamps(metadata)?, owner_of(metadata)?);
        rustix::fs::symlinkat(to, &folder, name)?;
        // By a descriptor, so that nothing that was put in its place meanwhile gets our owner.
        let link = stdfs::File::from(pinned(&folder, name)?);
        if !link.metadata()?.is_symlink() {
            return Err(io::Error::new(
                io::ErrorKind::AlreadyExists,
                format!("{} was replaced while it was made", escaped(&[name])),
            ));
        }
        let set = set_on_link(&link, &folder, name, metadata, &times, owner);
        if set.is_err() {
            // Ours and incomplete. The error at hand says more than one from here would.
            let _ = rustix::fs::unlinkat(&folder, name, AtFlags::empty());
        }
        set
    }

    /// Gives a file in the target a further name.
    ///
    /// # Errors
    /// [`io::ErrorKind::InvalidInput`] where `existing` is no regular file, a symlink among them;
    /// [`io::ErrorKind::AlreadyExists`] where the new name is taken; the system's.
    pub fn hard_link(&self, existing: &[&[u8]], new: &[&[u8]]) -> io::Result<()> {
        let (from_folder, from) = self.folders.parent(existing)?;
        let (to_folder, to) = self.folders.parent(new)?;
        let file = stdfs::File::from(pinned(&from_folder, from)?);
        if !file.metadata()?.is_file() {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("{} is no regular file", escaped(existing)),
            ));
        }
        // Without AT_SYMLINK_FOLLOW: what takes the file's place between the two calls is not followed.
        Ok(rustix::fs::linkat(&from_folder, from, &to_folder, to, AtFlags::empty())?)
    }

    /// Sets a folder's metadata; the empty path is the target itself. What is created in the folder
    /// later changes its time again, so this comes last. Returns the attributes that could not be set.
    ///
    /// # Errors
    /// [`io::ErrorKind::NotADirectory`] for anything but a folder; [`io::ErrorKind::InvalidInput`] for
    /// metadata that no folder can have; the system's.
    pub fn set_dir_metadata(&self, path: &[&[u8]], metadata: &SetMetadata<'_>) -> io::Result<Vec<AttributeWarning>> {
        set_by_descriptor(&self.folders.readable(path)?, metadata)
    }

    /// Removes a name, so that another can take its place: anything but a folder that is not empty.
    ///
    /// # Errors
    /// [`io::ErrorKind::DirectoryNotEmpty`], [`io::ErrorKind::NotFound`]; the system's.
    pub fn remove(&self, path: &[&[u8]]) -> io::Result<()> {
        let (folder, name) = self.folders.parent(path)?;
        match rustix::fs::unlinkat(&folder, name, AtFlags::empty()) {
            // Linux says EISDIR, POSIX and some FUSE servers EPERM; in doubt rmdir answers ENOTDIR.
            Err(e @ (Errno::ISDIR | Errno::PERM)) => match rustix::fs::unlinkat(&folder, name, AtFlags::REMOVEDIR) {
                Err(Errno::NOTDIR) => Err(e.into()),
                Err(other) => Err(other.into()),
                Ok(()) => {
                    self.folders.forget(path);
                    Ok(())
                }
            },
            answer => Ok(answer?),
        }
    }
}

/// The rename of filesystems that can exclude nothing. Two steps: who creates the name in between loses
/// the file. A target is written by one process, so that is a mistake, not a race to be expected.
fn rename_if_absent(folder: &OwnedFd, from: &[u8], to: &[u8]) -> io::Result<()> {
    match pinned(folder, to) {
        Ok(_) => Err(Errno::EXIST.into()),
        Err(Errno::NOENT) => Ok(rustix::fs::renameat(folder, from, folder, to)?),
        Err(e) => Err(e.into()),
    }
}

/// Returns the times to set, checked: two values beyond a second's nanoseconds mean "now" and "leave it"
/// to the kernel.
fn timestamps(metadata: &SetMetadata<'_>) -> io::Result<Timestamps> {
    let (seconds, nanoseconds) = metadata.mtime;
    if nanoseconds >= 1_000_000_000 {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, format!("a time with {nanoseconds} nanoseconds")));
    }
    Ok(Timestamps {
        last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
        last_modification: Timespec { tv_sec: seconds, tv_nsec: nanoseconds.into() },
    })
}

/// Returns the owner to set, checked: the highest number means "leave it" to the kernel.
fn owner_of(metadata: &SetMetadata<'_>) -> io::Result<Option<(Uid, Gid)>> {
    match metadata.owner {
        None => Ok(None),
        Some((u32::MAX, _) | (_, u32::MAX)) => {
            Err(io::Error::new(io::ErrorKind::InvalidInput, "no user or group has the highest number"))
        }
        Some((user, group)) => Ok(Some((Uid::from_raw(user), Gid::from_raw(group)))),
    }
}

/// Sets everything on an open file or folder.
///
/// The order matters: a change of owner clears setuid and capabilities, which are an attribute; and
/// attributes cannot be set any more once the mode forbids its owner to write.
fn set_by_descriptor(fd: impl AsFd, metadata: &SetMetadata<'_>) -> io::Result<Vec<AttributeWarning>> {
    let (times, owner) = (timestamps(metadata)?, owner_of(metadata)?);
    if let Some((user, group)) = owner {
        rustix::fs::fchown(&fd, Some(user), Some(group))?;
    }
    let warnings = set_attributes(metadata, |name, value| rustix::fs::fsetxattr(&fd, name, value, XattrFlags::empty()));
    let allowed = if owner.is_some() { 0o7777 } else { 0o777 };
    rustix::fs::fchmod(&fd, Mode::from_bits_truncate(metadata.mode & allowed))?;
    rustix::fs::futimens(&fd, &times)?;
    Ok(warnings)
}

/// Sets everything on a symlink, which has no mode and cannot be opened but to point at it.
fn set_on_link(
    link: &stdfs::File,
    folder: &OwnedFd,
    name: &[u8],
    metadata: &SetMetadata<'_>,
    times: &Timestamps,
    owner: Option<(Uid, Gid)>,
) -> io::Result<Vec<AttributeWarning>> {
    if let Some((user, group)) = owner {
        rustix::fs::chownat(link, c"", Some(user), Some(group), AtFlags::EMPTY_PATH)?;
    }
    // The kernel's link in /proc leads to the symlink itself and is not followed beyond.
    let by_descriptor = format!("/proc/self/fd/{}", link.as_fd().as_raw_fd());
    let warnings =
        set_attributes(metadata, |name, value| rustix::fs::setxattr(&by_descriptor, name, value, XattrFlags::empty()));
    match rustix::fs::utimensat(link, c"", times, AtFlags::EMPTY_PATH) {
        // Linux before 5.8 cannot do it by descriptor.
        Err(Errno::INVAL | Errno::NOENT) => rustix::fs::utimensat(folder, name, times, AtFlags::SYMLINK_NOFOLLOW)?,
        answer => answer?,
    }
    Ok(warnings)
}

fn set_attributes(
    metadata: &SetMetadata<'_>,
    set: impl Fn(&[u8], &[u8]) -> Result<(), Errno>,
) -> Vec<AttributeWarning> {
    let wanted =
        metadata.attributes.iter().filter(|(name, _)| metadata.owner.is_some() || name.starts_with(USER_NAMESPACE));
    let failed = wanted.filter_map(|(name, value)| set(name, value).err().map(|e| (name, e)));
    failed.map(|(name, e)| AttributeWarning { name: name.clone(), error: e.into() }).collect()
}
