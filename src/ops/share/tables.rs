//! The tables of all packs: every record's header, read from the packs' ends.
//!
//! One thread a disk reads; the caller gets the rows on its own thread, in no particular order of packs. Memory: three
//! packs' tables a disk.

use super::is_of_one_place;
use crate::error::Result;
use crate::format::DiskId;
use crate::format::event::SealedPack;
use crate::format::footer::Row;
use crate::io::threads;
use crate::ops::{Control, Notice};
use crate::store::Store;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};

/// Disks that are read at once, at most; further ones wait for a thread.
const THREADS_MAX: usize = 16;
/// Tables that wait for the caller, per thread.
const WAITING: usize = 1;

/// What a pass met.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Passed {
    pub packs: u64,
    /// Packs whose tables cannot be had: on a missing disk, or damaged.
    pub unreadable: u64,
}

type Told<T> = (SealedPack, Result<T>);

/// Gives `each` the rows of every pack that `packs` chooses and `rows` lets through. Rows of places that are known to
/// be damaged are left out.
///
/// # Errors
/// [`Error::Interrupted`], and what `each` returns.
pub fn each(
    store: &Store,
    control: &Control,
    packs: impl Fn(&SealedPack) -> bool,
    rows: &(dyn Fn(&Row) -> bool + Sync),
    each: &mut dyn FnMut(&SealedPack, Vec<Row>) -> Result<()>,
) -> Result<Passed> {
    let any_damage = store.with_state(|state| !state.damage.is_empty());
    let read = |pack: &SealedPack| {
        let mut all = table(store, pack)?;
        all.retain(rows);
        Ok(all)
    };
    pass(store, control, packs, &read, &mut |pack, mut rows: Vec<Row>| {
        if any_damage {
            store.with_state(|s| {
                rows.retain(|r| !s.is_damaged(&pack.pack, u64::from(r.offset), r.header.record_bytes()))
            });
        }
        each(pack, rows)
    })
}

/// Gives `each` the whole table of every pack, rows of known damage included.
///
/// # Errors
/// As [`each`].
pub fn each_whole(
    store: &Store,
    control: &Control,
    each: &mut dyn FnMut(&SealedPack, Vec<Row>) -> Result<()>,
) -> Result<Passed> {
    pass(store, control, |_| true, &|pack| table(store, pack), each)
}

/// Reads something of every chosen pack, one thread a disk, and hands it over on the caller's thread.
fn pass<T: Send>(
    store: &Store,
    control: &Control,
    packs: impl Fn(&SealedPack) -> bool,
    read: &(dyn Fn(&SealedPack) -> Result<T> + Sync),
    each: &mut dyn FnMut(&SealedPack, T) -> Result<()>,
) -> Result<Passed> {
    control.progress.set_phase("reading the packs' tables");
    let mut passed = Passed::default();
    let mut by_disk: BTreeMap<DiskId, Vec<SealedPack>> = BTreeMap::new();
    store.with_state(|state| {
        for pack in state.packs().map(|p| p.sealed).filter(|p| packs(p)) {
            if store.reaches_in(state, &pack) {
                by_disk.entry(pack.disk).or_default().push(pack);
            } else {
                passed.unreadable += 1;
            }
        }
    });
    if passed.unreadable > 0 {
        control.notice(Notice::Note(format!("{} packs lie on missing disks and are not counted", passed.unreadable)));
    }
    let stop = AtomicBool::new(false);
    let queues: Vec<Vec<SealedPack>> = by_disk.into_values().collect();
    let threads = queues.len().min(THREADS_MAX);
    let (jobs, of_disk) = threads::unbounded::<Vec<SealedPack>>();
    for queue in queues {
        let _ = jobs.send(queue); // its other end lives below
    }
    drop(jobs);
    let (tell, told) = threads::bounded::<Told<T>>(WAITING * threads.max(1));
    threads::scope(|scope| {
        for _ in 0..threads {
            let (of_disk, tell, stop) = (of_disk.clone(), tell.clone(), &stop);
            scope.spawn(move || {
                for pack in of_disk.iter().flatten() {
                    let what = read(&pack);
                    if stop.load(Ordering::Relaxed) || tell.send((pack, what)).is_err() {
                        return;
                    }
                }
            });
        }
        drop(tell);
        let mut take = |(pack, what): Told<T>| {
            control.proceed()?;
            control.progress.files_done.fetch_add(1, Ordering::Relaxed);
            match what {
                Ok(what) => {
                    passed.packs += 1;
                    each(&pack, what)
                }
                Err(e) if is_of_one_place(&e) => {
                    passed.unreadable += 1;
                    control.notice(Notice::Note(format!("{e}; the chunks of that pack are not counted")));
                    Ok(())
                }
                Err(e) => Err(e),
            }
        };
        let outcome = told.iter().try_for_each(&mut take);
        stop.store(true, Ordering::Relaxed);
        drop(told); // a thread that waits for room ends
        outcome
    })?;
    Ok(passed)
}

fn table(store: &Store, pack: &SealedPack) -> Result<Vec<Row>> {
    Ok(store.ends(pack)?.footer.rows)
}
