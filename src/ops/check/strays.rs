//! Files below `packs/` and `parity/` that the log does not account for.

use super::Problems;
use crate::catalog::state::LogState;
use crate::error::{Error, Result};
use crate::format::{DiskId, PackId};
use crate::io::{DirEntry, Kind};
use crate::ops::{Control, Notice};
use crate::pack::{self, PACKS_DIR};
use crate::pool::disk::{Disk, PARITY_DIR};
use crate::pool::log::LogRead;
use crate::pool::{is_of_the_filesystem, parity};
use crate::store::Store;
use std::path::{Path, PathBuf};

/// A file that the log, as it was read first, does not have there.
struct Stray {
    disk: DiskId,
    path: PathBuf,
    parity: bool,
    /// The pack that its name stands for, and whether it says that it is complete.
    pack: Option<(PackId, bool)>,
}

/// Looks at every name on every disk that is here.
///
/// # Errors
/// [`Error::Interrupted`].
pub(super) fn find(store: &Store, control: &Control, problems: &mut Problems) -> Result<()> {
    let mut found = Vec::new();
    for disk in store.pool().disks() {
        for parity in [false, true] {
            look_through(store, disk, parity, control, problems, &mut found)?;
        }
    }
    if found.is_empty() {
        return Ok(());
    }
    // A writer may have begun, sealed and ended since our log was read: ask the log of now. A writer is logged before its first
    // file is made, so one that made a file that we saw is there. A gc logs a drop before it removes the file, and its end after
    // that.
    let read = LogRead::read(store.io(), store.path(), store.pool());
    let dropped = read.as_ref().map(|r| r.dropped_by_the_unfinished(store.io()).unwrap_or_default());
    let dropped = dropped.unwrap_or_default();
    let now = read.map(|read| read.state);
    let (mut of_writers, mut unknown) = (0u64, 0u64);
    for stray in found {
        if store.io().fs.stat(&stray.path).is_ok_and(|s| s.is_none()) {
            continue; // renamed or removed meanwhile
        }
        let (shown, kind) = (stray.path.display(), if stray.parity { "parity" } else { "pack" });
        let Some((pack, complete)) = stray.pack else {
            problems.repairable(format!("{shown} is no {kind} of this store; take it away"));
            continue;
        };
        let Ok(now) = &now else {
            unknown += 1;
            continue;
        };
        let gone = if stray.parity { &dropped.parity } else { &dropped.packs };
        if complete && stands_there(now, &pack, &stray.disk, stray.parity) {
            // sealed meanwhile
        } else if now.writers.contains_key(&pack.writer()) || (complete && gone.contains(&pack)) {
            of_writers += 1;
        } else {
            problems.repairable(format!(
                "{shown} is a {kind} that the log does not have there and no writer is at work on; nothing counts on it: remove it"
            ));
        }
    }
    if unknown > 0 {
        problems.repairable(format!(
            "{unknown} packs are not where the log that was read first has them, and the log of now cannot be read"
        ));
    }
    if of_writers > 0 {
        control.notice(Notice::Note(format!(
            "{of_writers} files are of a writer that is at work or was cut short; the next run that writes takes them over"
        )));
    }
    Ok(())
}

/// Whether the log has that pack on that disk.
fn stands_there(state: &LogState, pack: &PackId, disk: &DiskId, parity: bool) -> bool {
    if !parity {
        return state.pack_by_id(pack).is_some_and(|p| p.sealed.disk == *disk);
    }
    let members = state.group_of(pack).map(|g| state.members(g)).unwrap_or_default();
    members.iter().any(|m| m.parity && m.pack == *pack && m.disk == *disk)
}

fn look_through(
    store: &Store,
    disk: &Disk,
    parity: bool,
    control: &Control,
    problems: &mut Problems,
    found: &mut Vec<Stray>,
) -> Result<()> {
    let root = disk.path.join(if parity { PARITY_DIR } else { PACKS_DIR });
    for folder in list(store, &root, problems) {
        control.proceed()?;
        let path = root.join(&folder.name);
        if folder.kind != Kind::Dir {
            found.push(Stray { disk: disk.id, path, parity, pack: None });
            continue;
        }
        for entry in list(store, &path, problems) {
            let of_name = if parity { parity::of_name(&entry.name) } else { pack::of_name(&entry.name) };
            let is_at_home = |p: &PackId| entry.kind == Kind::File && folder.name.to_str() == Some(p.folder().as_str());
            let pack = of_name.filter(|(p, _)| is_at_home(p));
            let lives = pack
                .is_some_and(|(p, complete)| complete && store.with_state(|s| stands_there(s, &p, &disk.id, parity)));
            if !lives && found.len() < super::PROBLEMS_MAX {
                found.push(Stray { disk: disk.id, path: path.join(&entry.name), parity, pack });
            }
        }
    }
    Ok(())
}

/// What is in a folder, but for half-written copies, whose names begin with a dot and which every reader of a store's folders
/// ignores, and what filesystems put there. A folder that is not there has nothing: what is missed is missed by itself.
fn list(store: &Store, path: &Path, problems: &mut Problems) -> Vec<DirEntry> {
    match store.io().fs.list(path) {
        Ok(mut entries) => {
            entries.retain(|e| !e.name.as_encoded_bytes().starts_with(b".") && !is_of_the_filesystem(&e.name));
            entries
        }
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Vec::new(),
        Err(e) => {
            problems.blame(store, path);
            problems.repairable(Error::io("list", path)(e).line());
            Vec::new()
        }
    }
}
