//! From what the threads found to what people and snapshots need to know.

use super::{Findings, PacksRead};
use crate::catalog::state::Damage;
use crate::format::PackId;
use crate::ops::check::Problems;
use crate::ops::check::truth::Harm;
use crate::pool::PackStore;
use crate::store::Store;
use std::collections::HashSet;
use std::path::Path;

/// Whether what the log knows against a pack is just what was found.
fn is_same(known: &[Damage], pack: &PackId, found: &[(PackId, u64, u64)]) -> bool {
    let mut known: Vec<(u64, u64)> = known.iter().map(|d| (d.offset, d.bytes)).collect();
    let mut found: Vec<(u64, u64)> = found.iter().filter(|d| d.0 == *pack).map(|d| (d.1, d.2)).collect();
    known.sort_unstable();
    found.sort_unstable();
    known == found
}

/// Turns findings into problems, damage, and what the snapshots are judged by.
pub(super) fn conclude(
    store: &Store,
    findings: Findings,
    read_data: bool,
    read: &mut PacksRead<'_>,
    problems: &mut Problems,
) {
    let faults = findings.faults;
    let by_serial = |serial: &u32| store.with_state(|s| s.pack(*serial).map(|p| p.sealed.disk));
    let units = findings.units.iter().map(|(serial, ..)| serial);
    read.faulty = faults.keys().chain(&findings.faltered).chain(units).filter_map(by_serial).collect();
    for serial in findings.faltered {
        let Some(sealed) = store.with_state(|s| s.pack(serial).map(|p| p.sealed)) else { continue };
        problems.repairable(format!(
            "a read of {} failed, and went well when it was tried again: look after that disk",
            store.pool().place(&sealed).display()
        ));
    }
    for (serial, from, bytes) in findings.units {
        // A unit that does not fit is news only where no record in it is damaged.
        let told = faults
            .get(&serial)
            .is_some_and(|f| f.bad.iter().any(|(at, n)| u64::from(*at) < from + bytes && from < u64::from(*at) + n));
        let Some(sealed) = store.with_state(|s| s.pack(serial).map(|p| p.sealed)) else { continue };
        if !told {
            let path = store.pool().place(&sealed);
            problems.repairable(format!(
                "the unit at byte {from} of {} does not fit its check, though every record proves; read it again",
                path.display()
            ));
            read.damage.push((sealed.pack, from, bytes));
        }
    }
    for (serial, mut fault) in faults {
        let place = store.pool().place(&fault.sealed);
        let place = place.display();
        let why = if fault.why.is_empty() { "it does not prove" } else { &fault.why };
        let total = fault.sealed.records;
        let hint = match store.with_state(|s| s.group_of(&fault.sealed.pack).is_some()) {
            true => "`onefold scrub` rebuilds it from its group",
            false => "files that need what is lost are named; back them up again and their chunks are stored anew",
        };
        problems.repairable(match &fault.only {
            Some(only) if only.is_empty() => format!("{place}: none of its {total} chunks can be had: {why}; {hint}"),
            Some(only) => format!("{place}: {} of its {total} chunks can be had: {why}; {hint}", only.len()),
            None => format!("{place}: {} of its {total} chunks are damaged: {why}; {hint}", fault.bad.len()),
        });
        fault.bad.sort_unstable();
        if !fault.passing {
            let bad = fault.bad.iter().map(|(at, n)| (u64::from(*at), u64::from(*at) + n));
            let mut ranges: Vec<(u64, u64)> = bad.chain(fault.ranges).collect();
            ranges.sort_unstable();
            ranges.dedup_by(|b, a| {
                let touch = b.0 <= a.1;
                if touch {
                    a.1 = a.1.max(b.1);
                }
                touch
            });
            read.damage.extend(ranges.into_iter().map(|(from, to)| (fault.sealed.pack, from, to - from)));
        }
        // What was read now tells, not what the log knows.
        if !fault.passing && (fault.only.is_some() || findings.proven.contains(&serial)) {
            read.truth.healed.insert(serial);
        }
        let harm = match fault.only {
            Some(only) => Harm::AllBut(only),
            None => Harm::Records(fault.bad.iter().map(|(at, _)| *at).collect()),
        };
        read.truth.harm.insert(serial, harm);
    }
    let damaged: HashSet<PackId> = read.damage.iter().map(|(pack, ..)| *pack).collect();
    store.with_state(|state| {
        for (pack, list) in &state.damage {
            let Some(sealed) = state.pack_by_id(pack).map(|p| p.sealed) else { continue };
            let was_read = read_data && read.truth.healed.contains(&sealed.serial);
            if was_read && damaged.contains(pack) && !is_same(list, pack, &read.damage) {
                read.healed.push(*pack); // of what was known; what was found is noted after that
            } else if read_data && findings.proven.contains(&sealed.serial) && !damaged.contains(pack) {
                read.healed.push(*pack);
                read.truth.healed.insert(sealed.serial);
            } else if !damaged.contains(pack) && store.pool().holds(&sealed) {
                let (place, ranges) = (store.pool().place(&sealed), list.len());
                problems.repairable(format!(
                    "{} is known to be damaged in {ranges} places; `onefold check --read-data` looks again",
                    place.display()
                ));
            }
        }
    });
    read.truth.others = findings.others;
    let anew = "`onefold recover` makes the index anew";
    if let Some(e) = findings.index_error {
        problems.repairable(format!("{e}; {anew}"));
    }
    for (serial, n) in findings.unindexed {
        let path = store.with_state(|s| s.pack(serial).map(|p| p.sealed)).map(|p| store.pool().place(&p));
        problems.repairable(format!(
            "the index at {} disagrees with the table of {} about {n} chunks; {anew}",
            store.path().join(crate::store::INDEX_DIR).display(),
            path.as_deref().unwrap_or(Path::new("?")).display()
        ));
    }
    if findings.others_left_out > 0 {
        problems.repairable(format!(
            "the index lacks so many chunks that {} could not be kept in mind, and files may be called lost that are not; {anew}, then check again",
            findings.others_left_out
        ));
    }
}
