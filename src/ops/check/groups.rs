//! Groups: whether their parity is where the log has it, and names below `parity/` that it does not account for.
//!
//! Only names and lengths are looked at: a scrub reads parity and proves it.

use super::{Problems, line_of};
use crate::error::{Error, Result};
use crate::format::{DiskId, PackId};
use crate::io::Kind;
use crate::ops::{Control, Notice};
use crate::pool::disk::PARITY_DIR;
use crate::pool::is_of_the_filesystem;
use crate::pool::log::LogRead;
use crate::pool::parity::{of_name, parity_path};
use crate::store::Store;
use std::collections::HashMap;

/// Looks at every parity pack on every disk that is here.
///
/// # Errors
/// [`Error::Interrupted`].
pub(super) fn parity(store: &Store, control: &Control, problems: &mut Problems) -> Result<()> {
    let known: HashMap<PackId, (DiskId, u64)> = store.with_state(|s| {
        let members = s.groups().flat_map(|g| s.members(g)).filter(|m| m.parity);
        members.map(|m| (m.pack, (m.disk, m.bytes))).collect()
    });
    let fs = &store.io().fs;
    for (pack, (disk, bytes)) in &known {
        control.proceed()?;
        let Some(disk) = store.pool().disk(disk) else { continue }; // the disk is told of by itself
        let path = parity_path(&disk.path, *pack);
        let what = match fs.stat(&path) {
            Ok(Some((Kind::File, length))) if length == *bytes => continue,
            Ok(Some(_)) => "has another length than the log says".to_owned(),
            Ok(None) => "is missing".to_owned(),
            Err(e) => format!("cannot be looked at: {e}"),
        };
        problems.repairable(format!("the parity pack {} {what}; `onefold scrub` makes it anew", path.display()));
    }
    // A gc retires a group before it removes that one's parity, and logs its end after that.
    let unfinished = LogRead::read(store.io(), store.path(), store.pool());
    let unfinished = unfinished.and_then(|read| read.dropped_by_the_unfinished(store.io())).unwrap_or_default();
    let mut of_writers = 0u64;
    for disk in store.pool().disks() {
        let root = disk.path.join(PARITY_DIR);
        for folder in fs.list(&root).unwrap_or_default() {
            control.proceed()?;
            let path = root.join(&folder.name);
            let names = match fs.list(&path) {
                Ok(names) => names,
                Err(_) if is_ignored(&folder.name) => continue,
                Err(e) => {
                    problems.repairable(line_of(&Error::io("list", path)(e)));
                    continue;
                }
            };
            for entry in names.into_iter().filter(|e| !is_ignored(&e.name)) {
                let pack = of_name(&entry.name);
                let lives = pack.is_some_and(|(p, complete)| complete && known.get(&p).is_some_and(|k| k.0 == disk.id));
                let writer = pack.is_some_and(|(p, _)| {
                    // One that began after our log was read is not there yet: it is no one's loss to tell it as a stray.
                    store.with_state(|s| s.writers.contains_key(&p.writer())) || unfinished.parity.contains(&p)
                });
                match (lives, writer) {
                    (true, _) => {}
                    (false, true) => of_writers += 1,
                    (false, false) => problems.repairable(format!(
                        "{} is no parity that the log has there; no pack counts on it: remove it",
                        path.join(entry.name).display()
                    )),
                }
            }
        }
    }
    if of_writers > 0 {
        control.notice(Notice::Note(format!(
            "{of_writers} parity packs are of a writer that is at work or was cut short; the next run that writes removes them"
        )));
    }
    Ok(())
}

/// Half-written files, and what filesystems put there.
fn is_ignored(name: &std::ffi::OsStr) -> bool {
    name.as_encoded_bytes().starts_with(b".") || is_of_the_filesystem(name)
}
