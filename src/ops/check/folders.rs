//! What stands on every disk alike: the constants, the log, and files that nobody knows.

use super::{Problems, line_of};
use crate::error::{Error, Result};
use crate::format::superblock::Superblock;
use crate::format::text::{DISKS_FILE, MARKER_FILE};
use crate::format::{DiskId, FORMAT_TXT, Keys, limits};
use crate::io::Kind;
use crate::ops::{Control, Notice};
use crate::pack::{PACKS_DIR, of_name};
use crate::pool::disk::{Disk, FORMAT_FILE, KEY_SLOT_FILE, KEYS_DIR, SUPERBLOCK_FILE};
use crate::pool::log::{Fault, Head, LogRead, audit};
use crate::pool::{is_of_the_filesystem, path_of, read_known, read_marker};
use crate::store::Store;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// What to do about a copy of a constant.
fn copy_hint(good: Option<&Path>) -> String {
    good.map_or_else(|| "no other copy is good".to_owned(), |p| format!("copy {} over it", p.display()))
}

/// One file that stands on every disk and in `STORE`: read, decoded and compared in each copy.
fn copies(store: &Store, problems: &mut Problems, name: &Path, same: impl Fn(&Path, &[u8]) -> Result<bool>) {
    let mut paths = vec![store.path().join(name)];
    for disk in store.pool().disks() {
        let path = disk.path.join(name);
        if !paths.contains(&path) {
            paths.push(path);
        }
    }
    let read = |path: &PathBuf| {
        let bytes = store.io().read_small(path, limits::SMALL_FILE_BYTES).map_err(Error::io("read", path))?;
        same(path, &bytes)
    };
    let outcomes: Vec<Result<bool>> = paths.iter().map(read).collect();
    let good = outcomes.iter().position(|o| matches!(o, Ok(true))).and_then(|i| paths.get(i));
    for (path, outcome) in paths.iter().zip(&outcomes) {
        let hint = copy_hint(good.map(PathBuf::as_path));
        match outcome {
            Ok(true) => {}
            // Copies are equal by design, so one good one makes all others good.
            Ok(false) => problems.repairable(format!("{} is not that of this store; {hint}", path.display())),
            Err(e) => problems.repairable(format!("{}; {hint}", line_of(e))),
        }
    }
}

/// Superblock, key slot, marker and `FORMAT.txt` on every disk that is here, and their copies in `STORE`.
pub(super) fn constants(store: &Store, control: &Control, problems: &mut Problems) {
    copies(store, problems, Path::new(SUPERBLOCK_FILE), |path, bytes| {
        Ok(Superblock::decode(path, bytes)? == *store.superblock())
    });
    copies(store, problems, &Path::new(KEYS_DIR).join(KEY_SLOT_FILE), |path, bytes| {
        let keys = Keys::decode_slot(path, bytes)?;
        Ok(keys.key_id() == store.keys().key_id() && keys.gear_seed() == store.keys().gear_seed())
    });
    let title = FORMAT_TXT.as_bytes().split(|b| *b == b'\n').next();
    for disk in store.pool().disks() {
        marker(store, disk, problems);
        let path = disk.path.join(FORMAT_FILE);
        match store.io().read_small(&path, limits::SMALL_FILE_BYTES) {
            Ok(bytes) if bytes == FORMAT_TXT.as_bytes() => {}
            // Another version may have written it in other words, under the same title.
            Ok(bytes) if bytes.len() > FORMAT_TXT.len() / 2 && bytes.split(|b| *b == b'\n').next() == title => {
                control.notice(Notice::Note(format!("{} is not what this version writes", path.display())));
            }
            Ok(_) => problems
                .repairable(format!("{} is damaged; no data depends on it; copy it from another disk", path.display())),
            Err(e) => problems.repairable(format!(
                "{}; no data depends on it; copy it from another disk",
                line_of(&Error::io("read", path)(e))
            )),
        }
    }
    match read_known(store.io(), store.path()) {
        Ok(Some(list)) if list.store == store.superblock().store => {}
        // A store that is its own disk may do without.
        Ok(None) if store.pool().disks().any(|d| d.path == store.path()) => {}
        Ok(_) => problems.repairable(format!(
            "{} is missing or another store's; `onefold recover` writes it anew",
            store.path().join(DISKS_FILE).display()
        )),
        Err(e) => problems.repairable(format!("{}; `onefold recover` writes it anew", line_of(&e))),
    }
    missing_disks(store, problems);
}

fn marker(store: &Store, disk: &Disk, problems: &mut Problems) {
    let path = disk.path.join(MARKER_FILE);
    match read_marker(store.io(), &disk.path) {
        Ok(Some(m)) if m.store == store.superblock().store && m.disk == disk.id => {}
        Ok(_) => problems.repairable(format!(
            "{} is gone or another disk's since the store was opened; see that the disk is mounted",
            path.display()
        )),
        Err(e) => problems.repairable(line_of(&e)),
    }
}

/// A line for each disk that should be here: which, where last, and what is on it.
fn missing_disks(store: &Store, problems: &mut Problems) {
    let missing: Vec<(DiskId, String, u64)> = store.with_state(|state| {
        let mut packs: BTreeMap<DiskId, u64> = BTreeMap::new();
        for disk in state.disks.iter().filter(|(_, d)| !d.retired).map(|(id, _)| *id) {
            packs.entry(disk).or_default();
        }
        for pack in state.packs() {
            *packs.entry(pack.sealed.disk).or_default() += 1;
        }
        let away = packs.into_iter().filter(|(id, _)| store.pool().disk(id).is_none());
        away.map(|(id, n)| (id, state.disks.get(&id).map(|d| d.label.clone()).unwrap_or_default(), n)).collect()
    });
    for (id, label, packs) in missing {
        let known = store.missing_disks().iter().find(|d| d.disk == id);
        let path = known.map(|d| path_of(&d.path));
        let place = path.as_ref().map_or_else(|| "at no place we know".to_owned(), |p| format!("at {}", p.display()));
        let damaged = match path.as_ref().map(|p| read_marker(store.io(), p)) {
            Some(Err(e)) => format!("; {}: restore that file", line_of(&e)),
            _ => String::new(),
        };
        problems.repairable(format!(
            "disk {label} ({id}) with {packs} packs is missing; it was last seen {place}{damaged}; attach it, or name it with `onefold recover --disk PATH`"
        ));
    }
}

/// Every entry in every copy of the log.
pub(super) fn log(store: &Store, control: &Control, problems: &mut Problems) -> Result<()> {
    if let Some(why) = store.blocked() {
        problems.for_good(format!("nothing may be written: {why}; attach every disk, any one good copy is enough"));
    }
    let head = store.with_state(Head::of);
    let mut missing: BTreeMap<PathBuf, (u64, u64, u64)> = BTreeMap::new();
    let audited = audit(
        store.io(),
        store.path(),
        store.pool(),
        head,
        || control.proceed(),
        |fault| {
            let number = fault.number;
            // Without any copy, what counts is whether the state needs the entry.
            let needed = fault.good.is_none() && number >= head.checkpoint;
            let what = match &fault.fault {
                Fault::Missing { head: true } => {
                    control.notice(Notice::Note(format!(
                        "{} is not there yet; the next run that writes makes it",
                        fault.path.display()
                    )));
                    return;
                }
                Fault::Missing { head: false } if !needed => {
                    let dir = fault.path.parent().unwrap_or(&fault.path).to_owned();
                    let (n, first, last) = missing.entry(dir).or_insert((0, number, number));
                    (*n, *first, *last) = (*n + 1, (*first).min(number), (*last).max(number));
                    return;
                }
                Fault::Missing { .. } => {
                    format!("log entry {number} is in no copy; {} is missing", fault.path.display())
                }
                Fault::Damaged(e) => format!("{} ({})", line_of(e), fault.path.display()),
                Fault::Differs => {
                    format!("{} is another entry {number} than the log's chain has", fault.path.display())
                }
            };
            match &fault.good {
                Some(good) => problems.repairable(format!("{what}; copy {} over it", good.display())),
                None if needed => problems.for_good(format!("{what}; attach every disk, any one good copy is enough")),
                None => problems
                    .repairable(format!("{what}; a later checkpoint says all that it said, so only history is lost")),
            }
        },
    );
    match audited {
        Err(e @ (Error::Interrupted | Error::FromTheFuture { .. })) => return Err(e),
        Err(e) => problems.repairable(format!("the log could not be checked: {}", line_of(&e))),
        Ok(_) => {}
    }
    for (dir, (n, first, last)) in missing {
        problems.repairable(format!(
            "the log at {} misses {n} entries, {first} to {last}; the next backup brings it up to date",
            dir.display()
        ));
    }
    Ok(())
}

/// A file under `packs/` that the log does not call live there.
struct Stray {
    path: PathBuf,
    pack: Option<(crate::format::PackId, bool)>,
}

/// Names of every disk's `packs/` that the log does not account for.
pub(super) fn strays(store: &Store, control: &Control, problems: &mut Problems) -> Result<()> {
    let mut found = Vec::new();
    for disk in store.pool().disks() {
        if let Err(e) = strays_of(store, disk, control, &mut found) {
            match e {
                Error::Interrupted => return Err(e),
                e => problems.repairable(line_of(&e)),
            }
        }
    }
    if found.is_empty() {
        return Ok(());
    }
    // A writer may have begun, sealed and ended since our log was read: ask the log of now. A writer is
    // logged before its first pack, so one that made a file that we saw is there. A gc logs a drop before it
    // removes the file, and its end after that.
    let read = LogRead::read(store.io(), store.path(), store.pool());
    let dropped = read.as_ref().map(|r| r.dropped_by_the_unfinished(store.io()).unwrap_or_default());
    let dropped = dropped.unwrap_or_default();
    let now = read.map(|read| read.state);
    let mut of_writers = 0u64;
    for stray in found {
        let (known, writer) = match (stray.pack, &now) {
            (Some((pack, sealed)), Ok(state)) => {
                let here = state.pack_by_id(&pack).and_then(|p| store.pool().disk(&p.sealed.disk));
                (
                    sealed && here.is_some_and(|d| stray.path.starts_with(&d.path)),
                    state.writers.contains_key(&pack.writer()),
                )
            }
            _ => (false, false),
        };
        let shown = stray.path.display();
        if known || store.io().fs.stat(&stray.path).is_ok_and(|s| s.is_none()) {
            continue; // sealed, renamed or removed meanwhile
        } else if writer || stray.pack.is_some_and(|(pack, sealed)| sealed && dropped.packs.contains(&pack)) {
            of_writers += 1;
        } else if stray.pack.is_some() {
            problems.repairable(format!(
                "{shown} is a pack that the log does not have there and no writer is at work on; no snapshot needs it: remove it"
            ));
        } else {
            problems.repairable(format!("{shown} is no pack of this store; take it away"));
        }
    }
    if of_writers > 0 {
        control.notice(Notice::Note(format!(
            "{of_writers} files are of a writer that is at work or was cut short; the next run that writes takes them over"
        )));
    }
    Ok(())
}

fn strays_of(store: &Store, disk: &Disk, control: &Control, found: &mut Vec<Stray>) -> Result<()> {
    let fs = &store.io().fs;
    let root = disk.path.join(PACKS_DIR);
    // Names that begin with a dot are half-written copies, which every reader of a store's folders ignores.
    let ignored = |name: &std::ffi::OsStr| name.as_encoded_bytes().starts_with(b".") || is_of_the_filesystem(name);
    let folders = match fs.list(&root) {
        Ok(folders) => folders,
        // Without packs there is nothing to miss; with packs each of them is missed by itself.
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(Error::io("list", root)(e)),
    };
    for folder in folders.into_iter().filter(|f| !ignored(&f.name)) {
        control.proceed()?;
        let path = root.join(&folder.name);
        if folder.kind != Kind::Dir {
            found.push(Stray { path, pack: None });
            continue;
        }
        let names = fs.list(&path).map_err(Error::io("list", &path))?;
        for entry in names.into_iter().filter(|f| !ignored(&f.name)) {
            let pack = of_name(&entry.name)
                .filter(|(p, _)| entry.kind == Kind::File && folder.name.to_str() == Some(p.folder().as_str()));
            let live = pack.is_some_and(|(p, sealed)| {
                sealed && store.with_state(|s| s.pack_by_id(&p).is_some_and(|p| p.sealed.disk == disk.id))
            });
            if !live && found.len() < super::PROBLEMS_MAX {
                found.push(Stray { path: path.join(&entry.name), pack });
            }
        }
    }
    Ok(())
}
