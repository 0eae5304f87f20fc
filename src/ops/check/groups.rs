//! Groups: whether their parity is where the log has it.
//!
//! Without `read_data` only names and lengths are looked at. With it every unit of every parity pack is compared with its
//! check, one thread a disk.

use super::{CheckReport, Problems};
use crate::error::{Error, Result};
use crate::format::check::UNIT_BYTES;
use crate::format::{DiskId, PackId};
use crate::io::Kind;
use crate::io::threads::{self, Mutex};
use crate::ops::Control;
use crate::pool::disk::Disk;
use crate::pool::parity::parity_path;
use crate::store::Store;
use std::collections::BTreeMap;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;

/// A parity pack, where the log has it.
#[derive(Clone, Copy)]
struct Known {
    pack: PackId,
    disk: DiskId,
    bytes: u64,
}

/// What is wrong with a parity pack.
struct Fault {
    known: Known,
    /// One line, without the path.
    why: String,
    /// First byte and length of damage; none where nothing is said about its bytes.
    ranges: Vec<(u64, u64)>,
}

#[derive(Default)]
struct Findings {
    faults: Vec<Fault>,
    proven: Vec<PackId>,
    bytes_read: u64,
}

/// Looks at every parity pack on every disk that is here, and proves them with `read_data`. Returns those with which something
/// is wrong.
///
/// # Errors
/// [`Error::Interrupted`], [`Error::WorkerLost`].
pub(super) fn parity(
    store: &Store,
    read_data: bool,
    control: &Control,
    report: &mut CheckReport,
    problems: &mut Problems,
) -> Result<Vec<PackId>> {
    let mut by_disk: BTreeMap<DiskId, Vec<Known>> = BTreeMap::new();
    store.with_state(|s| {
        for m in s.groups().flat_map(|g| s.members(g)).filter(|m| m.parity) {
            by_disk.entry(m.disk).or_default().push(Known { pack: m.pack, disk: m.disk, bytes: m.bytes });
        }
    });
    by_disk.retain(|id, _| store.pool().disk(id).is_some()); // a disk that is away is told of by itself
    if read_data {
        control.progress.set_phase("reading parity");
        let bytes = by_disk.values().flatten().map(|k| k.bytes).sum();
        control.progress.bytes_total.fetch_add(bytes, Ordering::Relaxed);
    }
    let findings = Mutex::default();
    let look = |list: &[Known]| look_along(store, list, read_data, control, &findings);
    threads::scope(|scope| -> Result<()> {
        let look = &look;
        let mut lists = by_disk.values();
        let first = lists.next();
        let (mut handles, mut outcome) = (Vec::new(), Ok(()));
        for (i, list) in lists.enumerate() {
            match scope.spawn_named(&format!("onefold-parity-{i}"), move || look(list)) {
                Ok(handle) => handles.push(handle),
                // What cannot be started is not needed: this thread works too.
                Err(_) => outcome = outcome.and_then(|()| look(list)),
            }
        }
        outcome = outcome.and_then(|()| first.map_or(Ok(()), |list| look(list)));
        for handle in handles {
            outcome = outcome.and(handle.join().unwrap_or(Err(Error::WorkerLost { verb: "check" })));
        }
        outcome
    })?;
    let findings = findings.into_inner().unwrap_or_else(PoisonError::into_inner);
    report.bytes_read += findings.bytes_read;
    let faulty = findings.faults.iter().map(|f| f.known.pack).collect();
    for fault in findings.faults {
        let Some(disk) = store.pool().disk(&fault.known.disk) else { continue };
        let path = parity_path(&disk.path, fault.known.pack);
        problems.blame(store, &path);
        problems.repairable(format!("the parity pack {} {}; `onefold scrub` makes it anew", path.display(), fault.why));
        report.damage.extend(fault.ranges.into_iter().map(|(at, n)| (fault.known.pack, at, n)));
    }
    store.with_state(|s| report.healed.extend(findings.proven.into_iter().filter(|p| s.damage.contains_key(p))));
    Ok(faulty)
}

fn look_along(
    store: &Store,
    list: &[Known],
    read_data: bool,
    control: &Control,
    findings: &Mutex<Findings>,
) -> Result<()> {
    for known in list {
        control.proceed()?;
        let mut read = 0;
        let Some(disk) = store.pool().disk(&known.disk) else { continue };
        let fault = match look(store, disk, *known, read_data, control, &mut read) {
            Err(e @ Error::Interrupted) => return Err(e),
            Err(e) => Some(Fault { known: *known, why: e.line(), ranges: vec![] }),
            // A regrouping or a move may have taken it away since the log was read.
            Ok(Some(_)) if !is_there_by_the_log(store, known) => continue,
            Ok(fault) => fault,
        };
        let mut findings = findings.lock().unwrap_or_else(PoisonError::into_inner);
        findings.bytes_read += read;
        match fault {
            Some(fault) => findings.faults.push(fault),
            None if read_data => findings.proven.push(known.pack),
            None => {}
        }
    }
    Ok(())
}

/// Whether the log of now has the pack where ours had it. What keeps the log from being followed is told by what asks the
/// store next.
fn is_there_by_the_log(store: &Store, known: &Known) -> bool {
    let _ = store.follow(store.reflected().number);
    store.with_state(|s| {
        let members = s.group_of(&known.pack).map(|g| s.members(g)).unwrap_or_default();
        members.iter().any(|m| m.pack == known.pack && m.disk == known.disk)
    })
}

fn look(
    store: &Store,
    disk: &Disk,
    known: Known,
    read_data: bool,
    control: &Control,
    read: &mut u64,
) -> Result<Option<Fault>> {
    let path = parity_path(&disk.path, known.pack);
    let fault = |why: String, ranges| Ok(Some(Fault { known, why, ranges }));
    match store.io().fs.stat(&path) {
        Ok(Some((Kind::File, length))) if length == known.bytes => {}
        Ok(Some(_)) => return fault("has another length than the log says".into(), vec![(0, 0)]),
        Ok(None) => return fault("is missing".into(), vec![(0, 0)]),
        Err(e) => return fault(format!("cannot be looked at: {e}"), vec![]),
    }
    if !read_data {
        return Ok(None);
    }
    let Some((reader, slot)) = store.group_of(&known.pack)? else { return Ok(None) }; // regrouped since
    let mut ranges: Vec<(u64, u64)> = Vec::new();
    let proven = reader.scrub(slot, &mut |unit, bytes, good| {
        control.proceed()?;
        *read += bytes;
        control.progress.bytes_done.fetch_add(bytes, Ordering::Relaxed);
        if !good {
            ranges.push((unit * UNIT_BYTES, UNIT_BYTES.min(known.bytes.saturating_sub(unit * UNIT_BYTES))));
        }
        Ok(())
    });
    match proven {
        Err(e @ Error::Interrupted) => Err(e),
        Err(e) => fault(format!("does not prove: {}", e.line()), vec![(0, 0)]),
        Ok(()) => match ranges.first() {
            Some((at, _)) => fault(format!("is damaged, in {} MiB of it, at byte {at} first", ranges.len()), ranges),
            None => Ok(None),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::super::{CheckOptions, CheckReport, record, run};
    use super::*;
    use crate::format::event::Event;
    use crate::io::faulty::{Action, Failure, FaultPlan, FaultyFs, Op, When};
    use crate::ops::scrub::{self, ScrubOptions};
    use crate::ops::testing::{Shelf, noise};
    use crate::pool::disk::PARITY_DIR;
    use crate::pool::parity::of_name;
    use crate::store::{Mode, OpenOptions};
    use std::path::PathBuf;
    use std::sync::Arc;

    fn filled() -> Shelf {
        let shelf = Shelf::with_parity(4, 1);
        shelf.stream("f", &noise(1, 3_000_000));
        shelf
    }

    fn check(store: &Store, read_data: bool) -> CheckReport {
        run(store, &CheckOptions { read_data, rebuild: false }, &Control::default()).unwrap()
    }

    fn parity_files(shelf: &Shelf) -> Vec<PathBuf> {
        shelf.fs.paths().into_iter().filter(|p| p.extension().is_some_and(|e| e == "parity")).collect()
    }

    #[test]
    fn a_check_that_reads_data_proves_parity_too() {
        let shelf = filled();
        // The longest: metadata's pack may have a group of its own.
        let length = |path: &PathBuf| shelf.fs.read(path).unwrap().len();
        let path = parity_files(&shelf).into_iter().max_by_key(length).unwrap();
        let bytes = length(&path) as u64;
        let pack = of_name(path.file_name().unwrap()).unwrap().0;
        assert!(check(&shelf.read(), true).problems.is_empty());
        // header, body, table of checks, trailer
        for at in [3, 20_000, bytes - 300, bytes - 3] {
            shelf.fs.flip(&path, at * 8).unwrap();
            assert!(check(&shelf.read(), false).problems.is_empty(), "names and lengths are as they were");
            let report = check(&shelf.read(), true);
            assert_eq!(report.problems.len(), 1, "byte {at}: {:?}", report.problems);
            assert!(report.problems[0].repairable && report.problems[0].what.contains(&path.display().to_string()));
            assert_eq!(report.damage.iter().map(|d| d.0).collect::<Vec<_>>(), [pack], "byte {at}");
            record(&shelf.write(), &report.damage, &report.healed).unwrap();
            assert!(shelf.read().with_state(|s| s.damage.contains_key(&pack)), "the log knows of it");
            scrub::run(&shelf.read(), &ScrubOptions::default(), &Control::default(), &mut |found, at| {
                scrub::settle(&shelf.write(), found, 1, at.complete, &Control::default())
            })
            .unwrap();
            let report = check(&shelf.read(), true);
            assert!(report.problems.is_empty() && report.damage.is_empty(), "byte {at}: {:?}", report.problems);
            assert!(!shelf.read().with_state(|s| s.damage.contains_key(&pack)), "and that it is mended");
        }
    }

    #[test]
    fn parity_that_is_away_or_short_is_damage_and_parity_that_proves_again_is_healed() {
        let shelf = filled();
        let path = parity_files(&shelf).pop().unwrap();
        let bytes = shelf.fs.read(&path).unwrap();
        for harm in [Some(&bytes[..100]), None] {
            match harm {
                Some(part) => shelf.fs.write(&path, part).unwrap(),
                None => shelf.fs.remove(&path).unwrap(),
            }
            let report = check(&shelf.read(), false);
            assert_eq!((report.problems.len(), report.damage.len()), (1, 1), "{:?}", report.problems);
            record(&shelf.write(), &report.damage, &report.healed).unwrap();
            shelf.fs.write(&path, &bytes).unwrap();
            let report = check(&shelf.read(), true);
            assert_eq!((report.healed.len(), report.damage.len()), (1, 0), "{:?}", report.problems);
            record(&shelf.write(), &report.damage, &report.healed).unwrap();
            assert!(shelf.read().with_state(|s| s.damage.is_empty()));
        }
    }

    #[test]
    fn a_suspect_disk_is_not_trusted_again_while_its_parity_or_log_is_bad() {
        let shelf = filled();
        let path = parity_files(&shelf).pop().unwrap();
        let disk = shelf.read().pool().disks().find(|d| path.starts_with(&d.path)).cloned().unwrap();
        let event = Event::Setting { key: Disk::suspect_key(&disk.id), value: "1".into() };
        shelf.write().append(|_| vec![event]).unwrap();
        assert_eq!(check(&shelf.read(), true).looked_at, [disk.id]);
        let log = disk.path.join("log");
        let entry = shelf.fs.paths().into_iter().filter(|p| p.starts_with(&log)).max().unwrap();
        for harmed in [path, entry] {
            shelf.fs.flip(&harmed, 800).unwrap();
            let report = check(&shelf.read(), true);
            assert!(report.looked_at.is_empty(), "{}: {:?}", harmed.display(), report.problems);
            shelf.fs.flip(&harmed, 800).unwrap();
        }
        assert_eq!(check(&shelf.read(), true).looked_at, [disk.id]);
    }

    /// Found by the simulation: what the log knows of damage is whole units, and two members damaged at different places of one
    /// unit are no loss, whatever the log then says of them.
    #[test]
    fn what_a_group_still_gives_is_not_lost_because_its_damage_was_logged() {
        let bytes = noise(1, 3_000_000);
        let mut shelf = filled();
        let (pack, parity) = {
            let store = shelf.read();
            let on = |d: &DiskId| store.pool().disk(d).unwrap().path.clone();
            store.with_state(|s| {
                let longest = s.packs().map(|p| p.sealed).max_by_key(|p| p.bytes).unwrap();
                let members = s.members(s.group_of(&longest.pack).unwrap());
                let parity = members.iter().find(|m| m.parity).unwrap();
                let path = crate::pack::sealed_path(&on(&longest.disk), longest.pack);
                (path, parity_path(&on(&parity.disk), parity.pack))
            })
        };
        let disk = (0..4).find(|i| pack.starts_with(crate::ops::testing::disk_path(*i))).unwrap();
        let bytes_of = |p: &PathBuf| shelf.fs.read(p).unwrap().len() as u64;
        let (at, beside) = (bytes_of(&pack) / 4 * 8, bytes_of(&parity) / 2 * 8);
        shelf.fs.flip(&pack, at).unwrap();
        shelf.fs.flip(&parity, beside).unwrap();
        let whole = |shelf: &Shelf| {
            let report = check(&shelf.read(), true);
            assert_eq!(report.files_lost, 0, "{:?}", report.lost);
            assert!(shelf.bytes_of(&shelf.read(), "/f").unwrap() == bytes);
            report
        };
        let report = whole(&shelf);
        assert_eq!(report.damage.len(), 2, "{:?}", report.problems);
        record(&shelf.write(), &report.damage, &report.healed).unwrap();
        whole(&shelf);
        shelf.forget_index();
        whole(&shelf);
        // Damage to the parity alone, of which the log goes on to say that it is worth nothing, and the pack's disk away.
        shelf.fs.flip(&parity, beside).unwrap();
        shelf.take_away(disk);
        shelf.forget_index();
        let report = check(&shelf.read(), false);
        assert_eq!(report.files_lost, 0, "{:?}", report.lost);
        assert!(shelf.bytes_of(&shelf.read(), "/f").unwrap() == bytes);
    }

    #[test]
    fn strays_beside_parity_are_told_by_the_log_of_now() {
        let shelf = filled();
        let path = parity_files(&shelf).pop().unwrap();
        let store = shelf.read();
        // What was made after this store was opened is no stray.
        shelf.stream("g", &noise(2, 3_000_000));
        assert!(check(&store, false).problems.is_empty());
        let other = shelf.read().pool().disks().find(|d| !path.starts_with(&d.path)).cloned().unwrap();
        let name = path.file_name().unwrap().to_owned();
        let dir = other.path.join(PARITY_DIR).join(path.parent().unwrap().file_name().unwrap());
        let twin = dir.join(&name);
        shelf.fs.write(&twin, &shelf.fs.read(&path).unwrap()).unwrap();
        shelf.fs.write(dir.join("notes"), b"?").unwrap();
        let report = check(&shelf.read(), false);
        let lines: Vec<&str> = report.problems.iter().map(|p| p.what.as_str()).collect();
        assert_eq!(lines.len(), 2, "{lines:?}");
        assert!(lines.iter().any(|l| l.contains(&twin.display().to_string()) && l.ends_with("remove it")), "{lines:?}");
        assert!(lines.iter().any(|l| l.contains("notes is no parity of this store")), "{lines:?}");
    }

    #[test]
    fn folders_of_parity_that_cannot_be_listed_are_told() {
        let shelf = filled();
        let plan = FaultPlan::new().with_path(Op::List, When::From(1), "/parity", Action::Fail(Failure::Io));
        let mut io = shelf.io.clone();
        io.fs = Arc::new(FaultyFs::new(Arc::new(shelf.fs.clone()), plan));
        let options = OpenOptions { memory_bytes: 1 << 30, mode: Mode::Read, index: shelf.kind() };
        let store = Store::open(&io, shelf.read().path(), &options).unwrap().store;
        let report = check(&store, false);
        let unlisted = report.problems.iter().filter(|p| p.what.contains("cannot list"));
        assert_eq!(unlisted.count(), 4, "one a disk: {:?}", report.problems);
    }
}
