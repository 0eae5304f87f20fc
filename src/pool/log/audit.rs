//! Every entry in every copy of the log, read and compared.
//!
//! What [`super::LogRead`] needs is one good copy of each entry; what an audit wants to know is whether
//! all the others would do as well.

use super::{LOG_DIR, Pool, read_entry};
use crate::catalog::state::LogState;
use crate::error::{Error, Result};
use crate::format::log::{file_name, number_of};
use crate::format::{EntryHash, StoreId};
use crate::io::Io;
use std::path::{Path, PathBuf};

/// As far as the log is followed: what an audit needs of its state, which may be large.
#[derive(Clone, Copy, Debug)]
pub struct Head {
    store: StoreId,
    pub number: u64,
    hash: EntryHash,
    pub checkpoint: u64,
}

impl Head {
    pub fn of(state: &LogState) -> Head {
        Head { store: state.store, number: state.number, hash: state.hash, checkpoint: state.checkpoint }
    }
}

/// What is wrong with one copy of one entry.
#[derive(Debug)]
pub enum Fault {
    /// The file is not there. `head` says that it is the newest entry and all before it are there: what a
    /// crash in the middle of an append leaves, and the next writer makes good.
    Missing { head: bool },
    /// The file cannot be read or does not decode.
    Damaged(Error),
    /// It is a sound entry of this store, and another than the chain has.
    Differs,
}

/// One copy of one entry that is not as it should be.
#[derive(Debug)]
pub struct CopyFault {
    pub number: u64,
    /// Where the copy is, or should be.
    pub path: PathBuf,
    pub fault: Fault,
    /// A good copy of the same entry; `None` if there is none, which is a loss.
    pub good: Option<PathBuf>,
}

/// Folders of all copies of the log that can be reached, `home`'s first.
fn folders(home: &Path, pool: &Pool) -> Vec<PathBuf> {
    let mut dirs = vec![home.join(LOG_DIR)];
    for disk in pool.disks() {
        let dir = disk.path.join(LOG_DIR);
        if !dirs.contains(&dir) {
            dirs.push(dir);
        }
    }
    dirs
}

/// Reads every copy of every entry up to the head, newest first, and gives `each` those that are
/// not as the chain of hashes wants them. Entries after the head are not looked at: a writer may be at
/// work. Before the newest checkpoint a copy need not be complete, only right. Memory: one entry and the
/// numbers of the files.
///
/// Returns how many entries were compared. `proceed` is asked before each.
///
/// # Errors
/// [`Error::FromTheFuture`], a log folder that cannot be listed, and whatever `proceed` returns.
pub fn audit(
    io: &Io,
    home: &Path,
    pool: &Pool,
    head: Head,
    proceed: impl Fn() -> Result<()>,
    each: impl FnMut(CopyFault),
) -> Result<u64> {
    let mut refused = None;
    let numbers = audit_from(io, home, pool, head, 0, proceed, each, |e| {
        refused.get_or_insert(e);
    })?;
    refused.map_or(Ok(numbers), Err)
}

/// As [`audit`], of entries from `first` on; `unlisted` is told of folders that cannot be listed, whose copies are left out.
#[allow(clippy::too_many_arguments)] // one caller names what the other needs
fn audit_from(
    io: &Io,
    home: &Path,
    pool: &Pool,
    head: Head,
    first: u64,
    proceed: impl Fn() -> Result<()>,
    mut each: impl FnMut(CopyFault),
    mut unlisted: impl FnMut(Error),
) -> Result<u64> {
    let mut copies = Vec::new();
    for dir in folders(home, pool) {
        let names = match io.fs.list(&dir) {
            Ok(names) => names,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Vec::new(),
            Err(e) => {
                unlisted(Error::io("list", dir)(e));
                continue;
            }
        };
        let within = first..=head.number;
        let mut numbers: Vec<u64> =
            names.iter().filter_map(|e| number_of(&e.name)).filter(|n| within.contains(n)).collect();
        numbers.sort_unstable();
        copies.push((dir, numbers));
    }
    let mut numbers: Vec<u64> = copies.iter().flat_map(|(_, n)| n.iter().copied()).collect();
    numbers.extend(head.checkpoint..=head.number);
    numbers.sort_unstable();
    numbers.dedup();
    let mut expected = Some((head.number, head.hash));
    for &number in numbers.iter().rev() {
        proceed()?;
        // Behind a gap no hash is known: then the first sound copy speaks for the others.
        let mut hash = expected.filter(|(n, _)| *n == number).map(|(_, hash)| hash);
        let (mut faults, mut good, mut previous) = (Vec::new(), None, None);
        for (dir, present) in &copies {
            let path = dir.join(file_name(number));
            if present.binary_search(&number).is_err() {
                let up_to_it = number > 1 && present.binary_search(&(number - 1)).is_ok();
                if number >= head.checkpoint {
                    faults.push((path, Fault::Missing { head: number == head.number && up_to_it }));
                }
                continue;
            }
            match read_entry(io, dir, head.store, number) {
                Ok(Some((entry, found, _))) if hash.is_none_or(|h| h == found) => {
                    hash = Some(found);
                    previous = Some(entry.previous);
                    good.get_or_insert(path);
                }
                Ok(Some(_)) => faults.push((path, Fault::Differs)),
                Ok(None) => faults.push((path, Fault::Missing { head: false })),
                Err(e @ Error::FromTheFuture { .. }) => return Err(e),
                Err(e) => faults.push((path, Fault::Damaged(e))),
            }
        }
        expected = previous.map(|hash| (number - 1, hash)); // numbers begin at 1
        for (path, fault) in faults {
            each(CopyFault { number, path, fault, good: good.clone() });
        }
    }
    Ok(numbers.len() as u64)
}

/// Writes good copies over those that are damaged, and makes those that are missing, from the newest checkpoint on. A
/// copy that differs is left: it is another history's. Returns what was mended and what could not be, one line each.
///
/// An opening reads each entry until one copy is good, so that it costs one log and not one a disk; what is rotten behind that
/// is found by an [`audit`] and mended here, before the good copy is lost too.
///
/// # Errors
/// [`Error::FromTheFuture`], and whatever `proceed` returns.
pub fn mend(io: &Io, home: &Path, pool: &Pool, head: Head, proceed: impl Fn() -> Result<()>) -> Result<Vec<String>> {
    let (mut faults, mut told) = (Vec::new(), Vec::new());
    let unlisted = |e: Error| told.push(format!("the log there was not looked at: {}", e.line()));
    audit_from(io, home, pool, head, head.checkpoint, proceed, |fault| faults.push(fault), unlisted)?;
    for fault in &faults {
        let Some(good) = fault.good.as_deref().and_then(Path::parent) else { continue };
        let (path, what) = (
            fault.path.display(),
            match &fault.fault {
                Fault::Missing { .. } => "was missing",
                Fault::Damaged(_) => "was damaged",
                Fault::Differs => continue,
            },
        );
        let bytes = match read_entry(io, good, head.store, fault.number) {
            Ok(Some((_, _, bytes))) => bytes,
            // It was good a moment ago: the next run tries again.
            Ok(None) => continue,
            Err(e) => {
                told.push(format!("{path} {what}, and its good copy cannot be read any more: {}", e.line()));
                continue;
            }
        };
        let dir = fault.path.parent().unwrap_or(home);
        let written = io.fs.create_dir_all(dir).and_then(|()| io.write_durable(&fault.path, &bytes, true));
        told.push(match written {
            Ok(()) => format!("{path} {what} and was written anew"),
            Err(e) => format!("{path} {what} and cannot be written: {e}"),
        });
    }
    Ok(told)
}
