//! What stands on every disk alike: the constants and the log.

use super::Problems;
use crate::error::{Error, Result};
use crate::format::superblock::Superblock;
use crate::format::text::{DISKS_FILE, MARKER_FILE};
use crate::format::{DiskId, FORMAT_TXT, Keys, limits};
use crate::ops::{Control, Notice};
use crate::pool::disk::{Disk, FORMAT_FILE, KEY_SLOT_FILE, KEYS_DIR, SUPERBLOCK_FILE};
use crate::pool::log::{Fault, Head, audit};
use crate::pool::{path_of, read_known, read_marker};
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
        if !matches!(outcome, Ok(true)) {
            problems.blame(store, path);
        }
        match outcome {
            Ok(true) => {}
            // Copies are equal by design, so one good one makes all others good.
            Ok(false) => problems.repairable(format!("{} is not that of this store; {hint}", path.display())),
            Err(e) => problems.repairable(format!("{}; {hint}", e.line())),
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
                Error::io("read", path)(e).line()
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
        Err(e) => problems.repairable(format!("{}; `onefold recover` writes it anew", e.line())),
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
        Err(e) => problems.repairable(e.line()),
    }
}

/// A line for each disk that should be here: which, where last, and what is on it.
fn missing_disks(store: &Store, problems: &mut Problems) {
    let missing: Vec<(DiskId, String, bool, u64)> = store.with_state(|state| {
        let mut packs: BTreeMap<DiskId, u64> = BTreeMap::new();
        for disk in state.disks.iter().filter(|(_, d)| !d.retired).map(|(id, _)| *id) {
            packs.entry(disk).or_default();
        }
        for pack in state.packs() {
            *packs.entry(pack.sealed.disk).or_default() += 1;
        }
        let away = packs.into_iter().filter(|(id, _)| store.pool().disk(id).is_none());
        let known = |id: &DiskId| state.disks.get(id).map(|d| (d.label.clone(), d.retired)).unwrap_or_default();
        away.map(|(id, n)| {
            let (label, retired) = known(&id);
            (id, label, retired, n)
        })
        .collect()
    });
    for (id, label, retired, packs) in missing {
        if retired {
            problems.repairable(format!(
                "{packs} packs were lost with disk {label} ({id}), which was taken out; back up the sources again, or forget what \
                 cannot be had any more: then `onefold gc` lets go of them, and `onefold rebalance` gives the rest of their \
                 groups parity"
            ));
            continue;
        }
        let known = store.missing_disks().iter().find(|d| d.disk == id);
        let path = known.map(|d| path_of(&d.path));
        let place = path.as_ref().map_or_else(|| "at no place we know".to_owned(), |p| format!("at {}", p.display()));
        let damaged = match path.as_ref().map(|p| read_marker(store.io(), p)) {
            Some(Err(e)) => format!("; {}: restore that file", e.line()),
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
            // One that missed entries was away, or not written to: that says nothing of its reads.
            if !matches!(fault.fault, Fault::Missing { .. }) {
                problems.blame(store, &fault.path);
            }
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
                Fault::Damaged(e) => format!("{} ({})", e.line(), fault.path.display()),
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
        Err(e) => problems.repairable(format!("the log could not be checked: {}", e.line())),
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
