//! What dead writers left: sealed packs are adopted, open ones salvaged.
//!
//! A writer that the log saw begin and not end is dead, for we hold its lock. Packs that it sealed and
//! did not log are complete: proven, they join the log. An open pack ends somewhere; its whole records are
//! stored again like any new chunk. Only when the log has what could be saved are the leftovers
//! removed, and only when they are does the log call their writers ended: whatever cuts a run short, the next one
//! finds by the log whose leavings may still lie there.

use super::Ingest;
use super::groups::Unprotected;
use crate::catalog::state::sealed_events;
use crate::chunk::Unsqueezer;
use crate::error::{Error, Result};
use crate::format::event::{Event, Outcome};
use crate::format::group::Member;
use crate::format::{DiskId, PackId, WriterId};
use crate::ops::Notice;
use crate::pack::read::{self, Found};
use crate::pack::write::NewRecord;
use crate::pack::{PACKS_DIR, of_name};
use crate::pool::disk::{Disk, PARITY_DIR};
use crate::pool::parity;
use crate::store::PackRows;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// A file of a dead writer that the log does not know and that cannot be adopted as it is.
pub(super) struct Leftover {
    pack: PackId,
    path: PathBuf,
}

/// Packs of these writers on a disk that the log does not know.
fn unlogged(ingest: &Ingest<'_>, disk: &Disk, writers: &[WriterId]) -> Result<Vec<(PackId, bool, PathBuf)>> {
    let fs = &ingest.store.io().fs;
    let root = disk.path.join(PACKS_DIR);
    let mut out = Vec::new();
    let folders = match fs.list(&root) {
        Ok(folders) => folders,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(out),
        Err(e) => return Err(Error::io("list", root)(e)),
    };
    for folder in folders {
        let folder = root.join(folder.name);
        for entry in fs.list(&folder).map_err(Error::io("list", &folder))? {
            let Some((pack, sealed)) = of_name(&entry.name) else { continue };
            let known = ingest.store.with_state(|s| s.pack_by_id(&pack).is_some());
            if writers.contains(&pack.writer()) && !(known && sealed) {
                out.push((pack, sealed, folder.join(entry.name)));
            }
        }
    }
    Ok(out)
}

/// Adopts the sealed packs of dead writers. Returns the open packs that are left. The writers themselves
/// are ended in the log by [`clear`], when all that they left was taken over and is gone: if this run dies too, the next one
/// finds them all.
pub(super) fn dead_writers(ingest: &mut Ingest<'_>) -> Result<Vec<Leftover>> {
    let writers: Vec<WriterId> = ingest.store.with_state(|s| s.writers.keys().copied().collect());
    if writers.is_empty() {
        return Ok(Vec::new());
    }
    crate::ops::gc::sweep::leftovers(ingest.store, ingest.control)?;
    let mut leftovers = Vec::new();
    let mut adopted = Vec::new();
    let disks: Vec<Arc<Disk>> = ingest.store.pool().disks().cloned().collect();
    let mut have_all = true;
    for disk in disks {
        let found = match unlogged(ingest, &disk, &writers) {
            Ok(found) => found,
            // A disk that dies is no reason to stop: what else stands there is taken over when it can be listed.
            Err(e @ Error::Io { .. }) => {
                let what = disk.failed(&e);
                ingest.control.notice(Notice::Note(format!("disk {} {what}: {e}", disk.label)));
                have_all = false;
                continue;
            }
            Err(e) => return Err(e),
        };
        for (pack, sealed, path) in found {
            ingest.control.proceed()?;
            match if sealed { prove(ingest, &path, pack) } else { Ok(None) } {
                Ok(Some(ends)) => adopted.push((disk.id, pack, ends)),
                Ok(None) => leftovers.push(Leftover { pack, path }),
                Err(e) => {
                    ingest.control.notice(Notice::Note(format!("{e}; whole records in it are stored anew")));
                    leftovers.push(Leftover { pack, path });
                }
            }
        }
    }
    remove_parity(ingest, &writers);
    if have_all {
        ingest.dead = writers;
    }
    if adopted.is_empty() {
        report(ingest, 0, leftovers.len());
        return Ok(leftovers);
    }
    let mut groups = loop {
        let of = |(disk, pack, ends): &(DiskId, PackId, read::Ends)| Unprotected {
            kind: ends.header.kind,
            disk: *disk,
            member: Member { pack: *pack, parity: false, bytes: ends.trailer.file_bytes, root: ends.trailer.root },
        };
        match ingest.protect(&adopted.iter().map(of).collect::<Vec<_>>()) {
            Ok(groups) => break groups,
            Err((e, bad)) => {
                ingest.control.notice(Notice::Note(format!("{e}; that pack is not adopted")));
                adopted.iter().filter(|a| a.1 == bad).for_each(|a| ingest.set_aside(&a.0, bad));
                let before = adopted.len();
                adopted.retain(|a| a.1 != bad);
                if adopted.len() == before {
                    return Err(e);
                }
            }
        }
    };
    let mut first = 0;
    ingest.log(|state| {
        first = state.next_serial();
        let mut events = Vec::new();
        for ((disk, pack, ends), serial) in adopted.iter().zip(first..) {
            let s = ends.footer.statistics;
            events.extend(sealed_events(crate::format::event::SealedPack {
                serial,
                pack: *pack,
                kind: ends.header.kind,
                disk: *disk,
                bytes: ends.trailer.file_bytes,
                records: s.records,
                plain_bytes: s.plain_bytes,
                stored_bytes: s.stored_bytes,
                root: ends.trailer.root,
            }));
        }
        events.append(&mut groups);
        events
    })?;
    for ((_, _, ends), serial) in adopted.iter().zip(first..) {
        ingest.index(&PackRows::of(serial, &ends.footer), false);
    }
    ingest.index(&PackRows::default(), true);
    report(ingest, adopted.len(), leftovers.len());
    Ok(leftovers)
}

/// Removes parity that dead writers made and did not log. It stands for nothing: parity is logged with its packs, and
/// those get theirs anew.
fn remove_parity(ingest: &Ingest<'_>, writers: &[WriterId]) {
    let fs = &ingest.store.io().fs;
    for disk in ingest.store.pool().disks() {
        let root = disk.path.join(PARITY_DIR);
        for folder in fs.list(&root).unwrap_or_default() {
            let folder = root.join(folder.name);
            for entry in fs.list(&folder).unwrap_or_default() {
                let Some((pack, _)) = parity::of_name(&entry.name) else { continue };
                let is_theirs = writers.contains(&pack.writer());
                if is_theirs && ingest.store.with_state(|s| s.group_of(&pack).is_none()) {
                    // What cannot be removed costs space until check names it.
                    let _ = fs.remove_file(&folder.join(entry.name));
                }
            }
        }
    }
}

fn report(ingest: &Ingest<'_>, adopted: usize, open: usize) {
    if adopted + open > 0 {
        let note = format!("an earlier run was cut short: {adopted} sealed packs adopted, {open} open ones to salvage");
        ingest.control.notice(Notice::Note(note));
    }
}

/// Proves a sealed pack whole, unit by unit.
fn prove(ingest: &Ingest<'_>, path: &Path, pack: PackId) -> Result<Option<read::Ends>> {
    let file = ingest.store.io().fs.open(path).map_err(Error::io("open the pack", path))?;
    let ends = read::ends(&*file, path, pack)?;
    if ends.header.store != ingest.store.superblock().store {
        return Err(Error::Damaged {
            what: "a pack",
            path: path.to_owned(),
            offset: 16,
            why: "it belongs to another store".into(),
        });
    }
    for unit in 0..ends.units.len() as u64 / 16 {
        read::prove_unit(&*file, path, &ends, unit)?;
    }
    Ok(Some(ends))
}

/// Stores the whole records of open packs anew, each proven by its id.
pub(super) fn salvage(ingest: &Ingest<'_>, leftovers: &[Leftover]) -> Result<()> {
    let mut unsqueezer = Unsqueezer::default();
    let keys = ingest.store.keys();
    for left in leftovers {
        let Ok(file) = ingest.store.io().fs.open(&left.path) else { continue };
        let walked = read::walk(&*file, &left.path, left.pack, |found| {
            ingest.proceed()?;
            let Found::Record(record, _) = found else { return Ok(()) };
            // A delta is stored anew: its base may have been on its way, too.
            if proven(keys, &mut unsqueezer, &record, &mut read::no_bases)
                && ingest.claim(&[record.id])?.first() == Some(&true)
            {
                let lane = if record.kind.is_data() { 1 } else { 0 };
                ingest.send(lane, vec![record])?;
            }
            Ok(())
        });
        match walked {
            Err(e @ Error::Interrupted) => return Err(e),
            Err(e) => {
                ingest.control.notice(Notice::Note(format!("{} could not be salvaged whole: {e}", left.path.display())))
            }
            Ok(()) => {}
        }
    }
    ingest.salvaged.store(true, Ordering::Relaxed);
    Ok(())
}

/// Whether a record that was found by its own header is the chunk that it says it is.
pub(in crate::ops) fn proven(
    keys: &crate::format::Keys,
    unsqueezer: &mut Unsqueezer,
    record: &NewRecord,
    bases: read::Bases<'_>,
) -> bool {
    let mut plain = Vec::new();
    let Ok(held) = record.bases.iter().map(bases).collect::<Result<Vec<_>>>() else { return false };
    let held: Vec<&[u8]> = held.iter().map(|b| b.as_slice()).collect();
    let (parameters, payload) = (&record.parameters, &record.payload);
    unsqueezer.open(record.codec, parameters, payload, record.plain_bytes, &held, &mut plain).is_ok()
        && keys.chunk_id(record.kind, &plain) == record.id
}

/// Removes what was salvaged, now that the log has it, and then ends the dead writers in the log.
///
/// # Errors
/// Those of the log: the next run finds these writers again, and what of their leavings may still be there.
pub(super) fn clear(ingest: &Ingest<'_>, leftovers: &[Leftover]) -> Result<()> {
    if ingest.dry_run || !ingest.salvaged.load(Ordering::Relaxed) {
        return Ok(());
    }
    let fs = &ingest.store.io().fs;
    let mut folders = BTreeSet::new();
    for left in leftovers {
        // What a disk does not let go costs space until check names it; it holds nothing that is not stored.
        if fs.remove_file(&left.path).is_ok() {
            folders.extend(left.path.parent());
        }
    }
    for folder in folders {
        let _ = fs.sync_dir(folder); // likewise: a power cut may bring them back then
    }
    if ingest.dead.is_empty() {
        return Ok(());
    }
    let ended = |w: &WriterId| Event::WriterEnded { writer: *w, outcome: Outcome::Superseded };
    ingest.publish(ingest.dead.iter().map(ended).collect())
}

#[cfg(test)]
mod tests {
    use super::super::super::check::{self, CheckOptions};
    use super::super::super::testing::{Shelf, disk_path, noise};
    use super::*;
    use crate::format::ChunkKind;
    use crate::format::footer::PackKind;
    use crate::io::faulty::{Action, FaultPlan, Op, When};
    use crate::ops::Control;
    use crate::ops::backup::Source;
    use crate::pack::write::PackWriter;

    /// A writer that died over an open pack, with one record in it.
    fn left_open(shelf: &Shelf) -> PathBuf {
        let store = shelf.write();
        let writer = WriterId([7; 8]);
        let (verb, host, program) = ("backup".into(), "h".into(), "p".into());
        let began = Event::WriterBegan { writer, time_ns: 1, verb, host, pid: 1, program, parent: None };
        store.append(|_| vec![began]).unwrap();
        let disk = store.pool().disks().next().unwrap();
        let pack = PackId::new(writer, 1);
        let of = store.superblock().store;
        let mut open = PackWriter::create(store.io(), of, &disk.path, disk.id, pack, PackKind::Data).unwrap();
        let plain = noise(5, 5000);
        open.append(vec![NewRecord::raw(store.keys().chunk_id(ChunkKind::Data, &plain), plain)]).unwrap();
        crate::pack::open_path(&disk_path(0), pack)
    }

    #[test]
    fn a_run_that_dies_before_it_has_removed_what_it_took_over_leaves_that_to_the_next_one() {
        let shelf = Shelf::new(2);
        let open = left_open(&shelf);
        assert!(shelf.fs.paths().contains(&open));
        let plan = FaultPlan::new().with_path(Op::Remove, When::Nth(1), &open.to_string_lossy(), Action::PowerCut);
        let (mut shelf, faults) = shelf.with_faults(plan);
        let input = Box::new(std::io::Cursor::new(noise(1, 99)));
        shelf.try_back_up(Source::Stream { name: b"cut".to_vec(), input }).unwrap();
        assert!(faults.is_cut());
        shelf.io.fs = Arc::new(shelf.fs.clone()); // the power is back
        shelf.stream("next", b"something new");
        assert!(!shelf.fs.paths().contains(&open), "it is still there");
        let store = shelf.read();
        assert!(store.with_state(|s| s.writers.is_empty()));
        let report =
            check::run(&store, &CheckOptions { read_data: true, rebuild: false }, &Control::default()).unwrap();
        assert!(report.problems.is_empty(), "{:?}", report.problems);
    }
}
