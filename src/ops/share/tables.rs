//! The tables of all packs: every record's header, read from the packs' ends.
//!
//! One thread a disk reads; the caller gets the rows on its own thread, in no particular order of packs. Memory: three
//! packs' tables a disk.

use super::is_of_one_place;
use crate::error::{Error, Result};
use crate::format::DiskId;
use crate::format::event::SealedPack;
use crate::format::footer::{PackKind, Row};
use crate::io::threads;
use crate::ops::{Control, Notice};
use crate::pack::read;
use crate::pool::PackStore;
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

type Told = (SealedPack, Result<Vec<Row>>);

/// Gives `each` the rows of every pack that `packs` chooses and `rows` lets through. Rows of places that are known to
/// be damaged are left out.
///
/// # Errors
/// [`Error::Interrupted`], and what `each` returns.
pub fn each(
    store: &Store,
    control: &Control,
    packs: impl Fn(PackKind) -> bool,
    rows: &(dyn Fn(&Row) -> bool + Sync),
    each: &mut dyn FnMut(&SealedPack, Vec<Row>) -> Result<()>,
) -> Result<Passed> {
    control.progress.set_phase("reading the packs' tables");
    let mut passed = Passed::default();
    let mut by_disk: BTreeMap<DiskId, Vec<SealedPack>> = BTreeMap::new();
    let any_damage = store.with_state(|state| {
        for pack in state.packs().map(|p| p.sealed).filter(|p| packs(p.kind)) {
            if store.pool().holds(&pack) {
                by_disk.entry(pack.disk).or_default().push(pack);
            } else {
                passed.unreadable += 1;
            }
        }
        !state.damage.is_empty()
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
    let (tell, told) = threads::bounded::<Told>(WAITING * threads.max(1));
    threads::scope(|scope| {
        for _ in 0..threads {
            let (of_disk, tell, stop) = (of_disk.clone(), tell.clone(), &stop);
            scope.spawn(move || {
                for pack in of_disk.iter().flatten() {
                    let table = table(store, &pack, rows);
                    if stop.load(Ordering::Relaxed) || tell.send((pack, table)).is_err() {
                        return;
                    }
                }
            });
        }
        drop(tell);
        let mut take = |(pack, table): Told| {
            control.proceed()?;
            control.progress.files_done.fetch_add(1, Ordering::Relaxed);
            match table {
                Ok(mut rows) => {
                    passed.packs += 1;
                    if any_damage {
                        store.with_state(|s| {
                            rows.retain(|r| !s.is_damaged(&pack.pack, u64::from(r.offset), r.header.record_bytes()))
                        });
                    }
                    each(&pack, rows)
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

fn table(store: &Store, pack: &SealedPack, rows: &(dyn Fn(&Row) -> bool + Sync)) -> Result<Vec<Row>> {
    let path = store.pool().place(pack);
    let file = store.io().fs.open(&path).map_err(Error::io("open the pack", &path))?;
    let ends = read::ends(&*file, &path, pack.pack)?;
    if ends.trailer.root != pack.root {
        let why = "it is not the pack that the log knows".to_owned();
        return Err(Error::Damaged { what: "a pack", path, offset: 0, why });
    }
    let mut all = ends.footer.rows;
    all.retain(rows);
    Ok(all)
}
