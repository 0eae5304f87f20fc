//! Carrying a plan out: packs are written to their new disks by a few workers, logged some at a time.

use super::plan::{Move, Plan, Purpose, standing_on};
use super::regroup;
use crate::catalog::state::GroupMember;
use crate::error::{Error, Result};
use crate::format::check::UNIT_BYTES;
use crate::format::event::Event;
use crate::format::{DiskId, PackId};
use crate::io::threads::Mutex;
use crate::ops::repair::NotPlaced;
use crate::ops::{Control, Notice, repair};
use crate::pool::disk::Disk;
use crate::store::Store;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError};

/// Moves that are logged at once.
const AT_ONCE: usize = 8;
/// Workers at most, which wait for disks more than they compute: each rebuilds a pack and reads from all disks of its group.
const WORKERS_MAX: usize = 8;
/// Workers that keep one disk busy, which is synced, and read back, between writes.
const WORKERS_ONE_DISK: usize = 4;
/// What a worker needs of the memory budget at least: what is read ahead, and units on their way.
const WORKER_BYTES: u64 = 64 << 20;

/// What was done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Moved {
    pub packs: u64,
    pub bytes: u64,
    /// Groups that were made anew.
    pub groups: u64,
    pub parity_bytes: u64,
    /// Packs that stay where they are, with why.
    pub failed: Vec<(PackId, String)>,
}

/// Where packs go.
#[derive(Clone, Copy)]
pub(super) enum To<'a> {
    /// All to this disk.
    Disk(Option<DiskId>),
    /// Each to the best disk but this one.
    Others(DiskId),
    /// Each to its own; `None` where it may not lie there any more.
    Chosen(&'a (dyn Fn(&Move) -> Option<Arc<Disk>> + Sync)),
}

struct Moving<'a> {
    store: &'a Store,
    control: &'a Control,
    to: To<'a>,
    todo: Mutex<std::vec::IntoIter<Move>>,
    /// Moves that a worker takes and logs at once: the last ones are to be shared too.
    at_once: usize,
    packs: AtomicU64,
    bytes: AtomicU64,
    failed: Mutex<Vec<(PackId, String)>>,
}

/// Carries a plan out, at the control's rate. `store` is open for writing.
///
/// # Errors
/// [`Error::NoSpace`] where the new disk of a replacement is too small, before anything is done; [`Error::Interrupted`],
/// and whatever keeps the log from being written. What was moved until then is logged.
pub fn run(store: &Store, plan: &Plan, control: &Control) -> Result<Moved> {
    let is_in_anew =
        |pack: &PackId| store.with_state(|s| s.group_of(pack).is_some_and(|g| plan.regroup.contains(&g.group.id)));
    if let Purpose::Replace { by: Some(by) } = &plan.purpose
        && let Some(disk) = store.pool().disk(by)
    {
        let needed: u64 = plan.moves.iter().filter(|m| !is_in_anew(&m.pack)).map(|m| m.bytes).sum();
        if disk.room(store.io(), store.superblock().pack_bytes)?.free < needed {
            return Err(Error::NoSpace { needed, disks: store.pool().why_full(needed) });
        }
    }
    repair::clear_temporaries(store);
    control.progress.set_phase("moving packs");
    control.progress.bytes_total.store(plan.move_bytes, Ordering::Relaxed);
    control.progress.totals_known.store(true, Ordering::Relaxed);
    if let Some(disk) = store.pool().disk(&plan.from.id) {
        disk.full(); // nothing new goes there
    }
    let mut moved = Moved::default();
    let anew = regroup::of_groups(store, &plan.regroup, &[plan.from.id], control)?;
    moved.groups += anew.groups;
    moved.parity_bytes += anew.parity_bytes;
    let left: std::collections::HashSet<PackId> = standing_on(store, &plan.from.id).iter().map(|m| m.pack).collect();
    moved.packs += plan.moves.iter().filter(|m| !m.parity && !left.contains(&m.pack)).count() as u64;
    // A group that could not be made anew stays as it is: its pack would come to lie beside another one of it.
    let (stay, rest): (Vec<Move>, Vec<Move>) =
        plan.moves.iter().filter(|m| left.contains(&m.pack)).partition(|m| is_in_anew(&m.pack));
    let group = |pack: &PackId| store.with_state(|s| s.group_of(pack).map(|g| g.group.id));
    for m in stay {
        let why = group(&m.pack).and_then(|id| anew.failed.iter().find(|(failed, _)| *failed == id));
        moved.failed.push((m.pack, why.map_or_else(String::new, |(_, why)| why.clone())));
    }
    let to = match plan.purpose {
        Purpose::Replace { by } => To::Disk(by),
        Purpose::Drain => To::Others(plan.from.id),
    };
    let carried = carry(store, rest, to, control)?;
    moved.packs += carried.packs;
    moved.bytes += carried.bytes;
    moved.failed.extend(carried.failed);
    Ok(moved)
}

/// Moves packs, by a few workers, at the control's rate.
///
/// # Errors
/// As [`run`].
pub(super) fn carry(store: &Store, moves: Vec<Move>, to: To<'_>, control: &Control) -> Result<Moved> {
    // What is read ahead: of each of a group's members up to three units.
    let widest = store.with_state(|s| s.groups().map(|g| g.group.members.len()).max().unwrap_or(1)) as u64;
    let worker_bytes = WORKER_BYTES.max(4 * UNIT_BYTES * widest);
    let by_memory = (store.memory_bytes() / 2 / worker_bytes).max(1) as usize; // a small number
    let by_disks = match to {
        To::Disk(_) => WORKERS_ONE_DISK,
        To::Others(_) | To::Chosen(_) => store.pool().disks().count().max(WORKERS_ONE_DISK),
    };
    let workers = by_disks.min(WORKERS_MAX).min(by_memory);
    let moving = Moving {
        store,
        control,
        to,
        at_once: AT_ONCE.min(moves.len() / workers).max(1),
        todo: Mutex::new(moves.into_iter()),
        packs: AtomicU64::new(0),
        bytes: AtomicU64::new(0),
        failed: Mutex::default(),
    };
    crate::io::threads::scope(|scope| -> Result<()> {
        let moving = &moving;
        let handles: Vec<_> = (0..workers).map(|_| scope.spawn(move || moving.work())).collect();
        let mut outcome = Ok(());
        for handle in handles {
            outcome = outcome.and(handle.join().unwrap_or(Err(Error::WorkerLost { verb: "disk" })));
        }
        outcome
    })?;
    store.forget_files();
    Ok(Moved {
        packs: moving.packs.into_inner(),
        bytes: moving.bytes.into_inner(),
        failed: moving.failed.into_inner().unwrap_or_else(PoisonError::into_inner),
        ..Moved::default()
    })
}

impl Moving<'_> {
    fn work(&self) -> Result<()> {
        loop {
            let batch: Vec<Move> = {
                let mut todo = self.todo.lock().unwrap_or_else(PoisonError::into_inner);
                todo.by_ref().take(self.at_once).collect()
            };
            if batch.is_empty() {
                return Ok(());
            }
            let mut done: Vec<(GroupMember, DiskId)> = Vec::new();
            let mut stopped = None;
            for m in &batch {
                match self.control.pace(m.bytes).and_then(|()| self.one(m)) {
                    Ok(Some(moved)) => done.push(moved),
                    Ok(None) => {}
                    Err(e @ Error::Interrupted) => {
                        stopped = Some(e);
                        break;
                    }
                    Err(e) => {
                        self.control.notice(Notice::Note(format!("pack {} was not moved: {e}", m.pack)));
                        self.failed.lock().unwrap_or_else(PoisonError::into_inner).push((m.pack, e.to_string()));
                    }
                }
            }
            self.log(&done)?;
            if let Some(e) = stopped {
                return Err(e);
            }
        }
    }

    fn one(&self, m: &Move) -> Result<Option<(GroupMember, DiskId)>> {
        let Ok(standing) = repair::standing(self.store, &m.pack) else { return Ok(None) }; // dropped since
        let disk: Option<Arc<Disk>> = match &self.to {
            To::Disk(by) => by.and_then(|by| self.store.pool().disk(&by)).filter(|d| d.takes_data()).cloned(),
            To::Others(from) => repair::disk_for(self.store, &standing, &[*from]),
            To::Chosen(target) => target(m),
        };
        let Some(disk) = disk else {
            if matches!(self.to, To::Chosen(_)) {
                let why = "the disk that it was to go to takes no more data, or holds another of its group by now";
                return Err(Error::Argument { what: format!("the move of pack {}", m.pack), why: why.into() });
            }
            let disks = self.store.pool().why_full(m.bytes);
            return Err(Error::NoSpace { needed: m.bytes, disks });
        };
        match repair::place(self.store, &standing, &disk, self.control) {
            Ok(()) => Ok(Some((standing.member, disk.id))),
            // It takes no more data: another is chosen.
            Err(NotPlaced::Target(_)) if matches!(self.to, To::Others(_)) => self.one(m),
            Err(e) => Err(e.into_error()),
        }
    }

    fn log(&self, done: &[(GroupMember, DiskId)]) -> Result<()> {
        if done.is_empty() {
            return Ok(());
        }
        self.store.append(|state| {
            let mut events = Vec::new();
            for (member, to) in done {
                events.push(Event::PackMoved { pack: member.pack, from: member.disk, to: *to });
                // Its bytes are as they were sealed; damage to what they mean stays known.
                if repair::units_heal(state, &member.pack) {
                    events.push(Event::DamageHealed { pack: member.pack });
                }
            }
            events
        })?;
        self.store.forget_files();
        for (member, _) in done {
            repair::remove_old(self.store, member);
            self.packs.fetch_add(1, Ordering::Relaxed);
            self.bytes.fetch_add(member.bytes, Ordering::Relaxed);
        }
        Ok(())
    }
}
