//! Taking packs away: the log first, then the index, then the file.
//!
//! A file that is still there after the log dropped its pack (the power went in between) is found by the log: a gc logs
//! that it began before its first drop and that it ended after its last file is gone, so the drops of a gc without an end
//! are looked up between its beginning and the log's head. Nothing is removed because the log does not name it: a log
//! that lacks its newest entries must not cost a pack.

use super::Limits;
use super::groups::{Leaving, Waiting};
use crate::error::{Error, Result};
use crate::format::event::{Event, SealedPack};
use crate::format::{ChunkId, PackId};
use crate::ops::{Control, Notice};
use crate::pack::{read, sealed_path};
use crate::pool::PackStore;
use crate::pool::log::LogRead;
use crate::pool::parity::parity_path;
use crate::store::Store;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Packs that one log entry drops, at most: an entry is small and what a crash leaves behind is little.
const BATCH: usize = 64;
/// Rows that are looked up at once.
const ROWS: usize = 4096;

/// What went in a run.
#[derive(Default)]
pub(super) struct Gone {
    pub packs: BTreeSet<PackId>,
    /// Of their files and of parity.
    pub bytes: u64,
}

/// Drops packs that nothing needs any more, those of a group when all of it has come here. Returns whether all are gone; else
/// a limit ended it, or another process that waits, behind an entry at least.
///
/// # Errors
/// Those of the log. A file that cannot be removed is told and left.
pub(super) fn drop_packs(
    store: &Store,
    control: &Control,
    waiting: &mut Waiting,
    packs: &[SealedPack],
    limits: Option<&Limits>,
    gone: &mut Gone,
) -> Result<bool> {
    let mut batch: Vec<Leaving> = Vec::new();
    for leaving in waiting.add(store, packs) {
        batch.push(leaving);
        if batch.iter().map(|l| l.packs.len()).sum::<usize>() >= BATCH {
            drop_batch(store, control, std::mem::take(&mut batch), gone)?;
            if limits.is_some_and(|limits| limits.is_time(store, true)) {
                return Ok(false);
            }
        }
    }
    if !batch.is_empty() {
        drop_batch(store, control, batch, gone)?;
    }
    Ok(true)
}

fn drop_batch(store: &Store, control: &Control, batch: Vec<Leaving>, gone: &mut Gone) -> Result<()> {
    let (mut events, mut files, mut parity) = (Vec::new(), Vec::new(), Vec::new());
    for leaving in batch {
        events.extend(leaving.retired);
        for sealed in leaving.packs {
            events.push(Event::PackDropped { pack: sealed.pack });
            let path = store.pool().place(&sealed);
            files.push((sealed, path));
        }
        parity.extend(leaving.parity);
    }
    let retires = !parity.is_empty();
    for note in store.append(|_| events)? {
        control.notice(Notice::Note(note));
    }
    if retires {
        store.forget_files();
    }
    for (sealed, path) in &files {
        store.pool().forget_handle(sealed);
        unindex(store, control, sealed.pack, path);
    }
    let files: Vec<(PackId, PathBuf)> = files.into_iter().map(|(sealed, path)| (sealed.pack, path)).collect();
    gone.packs.extend(files.iter().map(|(pack, _)| *pack));
    gone.bytes += remove(store, control, &files) + remove(store, control, &parity);
    Ok(())
}

/// Removes the rows of a dropped pack from the index. What stays there is a miss and no more.
fn unindex(store: &Store, control: &Control, pack: PackId, path: &Path) {
    let rows = || -> Result<Vec<ChunkId>> {
        let file = store.io().fs.open(path).map_err(Error::io("open the pack", path))?;
        Ok(read::ends(&*file, path, pack)?.footer.rows.into_iter().map(|r| r.header.id).collect())
    };
    let Ok(ids) = rows() else { return };
    for ids in ids.chunks(ROWS) {
        let gone = store.index().get_many(ids).and_then(|places| {
            let dead: Vec<ChunkId> = store.with_state(|s| {
                let dead = ids.iter().zip(places).filter(|(_, p)| p.is_some_and(|p| s.pack(p.pack).is_none()));
                dead.map(|(id, _)| *id).collect()
            });
            store.index().remove(&dead)
        });
        if let Err(e) = gone {
            control.notice(Notice::Note(format!("{e}; places in a dropped pack stay in it")));
            return;
        }
    }
}

/// Removes files and makes that durable, folder by folder.
fn remove(store: &Store, control: &Control, files: &[(PackId, PathBuf)]) -> u64 {
    let fs = &store.io().fs;
    let (mut freed, mut folders) = (0, BTreeSet::new());
    for (_, path) in files {
        let bytes = fs.stat(path).ok().flatten().map_or(0, |(_, bytes)| bytes);
        match fs.remove_file(path) {
            Ok(()) => {
                freed += bytes;
                folders.extend(path.parent().map(Path::to_owned));
            }
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
            Err(e) => {
                let e = Error::io("remove the dropped pack", path)(e);
                control.notice(Notice::Note(format!("{e}; remove it when that is possible: nothing needs it")));
            }
        }
    }
    for folder in folders {
        // If the name comes back with a power cut, the next run that writes, or a check, finds it.
        let _ = fs.sync_dir(&folder);
    }
    freed
}

/// Removes the files of packs that a gc dropped and could not remove, since it died.
///
/// # Errors
/// [`Error::FromTheFuture`], [`Error::LogDamaged`] where the log cannot be read.
pub(in crate::ops) fn leftovers(store: &Store, control: &Control) -> Result<()> {
    let read = LogRead::read(store.io(), store.path(), store.pool())?;
    let dropped = read.dropped_by_the_unfinished(store.io())?;
    let mut files = Vec::new();
    for pack in dropped.packs.iter().filter(|p| store.with_state(|s| s.pack_by_id(p).is_none())) {
        for disk in store.pool().disks() {
            let path = sealed_path(&disk.path, *pack);
            if store.io().fs.stat(&path).is_ok_and(|s| s.is_some()) {
                files.push((*pack, path));
            }
        }
    }
    let mut parity = Vec::new();
    for pack in dropped.parity.iter().filter(|p| store.with_state(|s| s.group_of(p).is_none())) {
        let paths = store.pool().disks().map(|d| parity_path(&d.path, *pack));
        parity.extend(paths.filter(|p| store.io().fs.stat(p).is_ok_and(|s| s.is_some())).map(|p| (*pack, p)));
    }
    if files.is_empty() && parity.is_empty() {
        return Ok(());
    }
    for (pack, path) in &files {
        unindex(store, control, *pack, path);
    }
    let freed = remove(store, control, &files) + remove(store, control, &parity);
    let n = files.len() + parity.len();
    control.notice(Notice::Note(format!(
        "a run was cut short: {n} files of packs that it had dropped were removed, {freed} bytes"
    )));
    Ok(())
}
