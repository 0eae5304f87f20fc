//! Publishing: sealed packs get their parity, then the log names both, then the index their chunks.
//!
//! Threads of its own do it while the lanes fill the next packs. Writing the parity of a group takes its disks as long as a pack takes a
//! lane, or twice that where lanes write to them too, and in that time the lanes fill another group: so some groups are in work at
//! once. A lane that did it itself would hold up whoever has chunks for it.
//!
//! When a run ends, all that it still holds gets its parity at once, over as many disks as there are, and goes to the log in one entry with
//! what makes the run's purpose true: what only the last groups write to few disks keeps the others idle.
//!
//! # Invariants
//!
//! 1. Log entries and what the index is told follow each other in the order of serials: one lock is held over both.
//! 2. Lanes wait while twice as many packs wait as are published at once, unless the run failed or ends: what is held of packs that are
//!    in no log is bounded.
//! 3. Whoever waits here is woken by what it waits for, by a failure and by the end.
//! 4. Of two locks `logging` is taken first, then what waits, then what is in work.
//! 5. What has its parity is logged by whoever logs next; a publication counts as in work until what it made is in the log or, at the
//!    end, left for the entry that ends the run.

use super::Ingest;
use super::groups::Unprotected;
use super::lanes::Alive;
use crate::catalog::state::sealed_events;
use crate::error::{Error, Result};
use crate::format::event::Event;
use crate::io::threads::{self, Condvar, Mutex, MutexGuard};
use crate::ops::Notice;
use crate::pack::write::Sealed;
use crate::store::PackRows;
use std::collections::VecDeque;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;

/// Sealed packs are published when so many have gathered.
const PUBLISH_PACKS: usize = 8;
/// Groups that are in work at once: as many as keep up with lanes that write to all disks, and at the run's end fill them alone.
pub(super) const PUBLISHERS: usize = 5;

/// Packs that were sealed and are in no log.
#[derive(Default)]
pub(super) struct Unpublished {
    waiting: Mutex<Waiting>,
    /// There is more to publish, or no more will come.
    come: Condvar,
    /// Packs were taken or published, or nobody takes any.
    gone: Condvar,
    /// Held by whoever logs.
    logging: Mutex<()>,
}

#[derive(Default)]
struct Waiting {
    packs: Vec<Sealed>,
    /// Such as wait for none to join them, group by group.
    due: VecDeque<Vec<Sealed>>,
    /// Such as only have to be logged.
    protected: Vec<Protected>,
    /// Publications that have begun and are not logged.
    in_work: usize,
    has_ended: bool,
}

impl Waiting {
    /// Packs that have no parity and that nobody is at.
    fn count(&self) -> usize {
        self.packs.len() + self.due.iter().map(Vec::len).sum::<usize>()
    }
}

/// Packs with the parity that they stand under.
struct Protected {
    packs: Vec<Sealed>,
    groups: Vec<Event>,
}

impl Unpublished {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets everybody look again whether the run goes on.
    pub fn wake(&self) {
        let _waiting = self.lock(); // who has looked and does not wait yet holds it
        self.come.notify_all();
        self.gone.notify_all();
    }
}

/// Ends the threads that publish when it is dropped, also by a panic.
pub(super) struct EndPublisher<'a>(pub &'a Unpublished);

impl Drop for EndPublisher<'_> {
    fn drop(&mut self) {
        self.0.lock().has_ended = true;
        self.0.wake();
    }
}

/// A publication: counted until this is dropped. If it panics the run fails before that: who waits for it must not go on.
struct Publication<'i, 's>(&'i Ingest<'s>);

impl Drop for Publication<'_, '_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.fail(Error::WorkerLost { verb: self.0.verb });
        }
        self.0.unpublished.lock().in_work -= 1;
        self.0.unpublished.gone.notify_all();
    }
}

impl Ingest<'_> {
    /// Takes a sealed pack from a lane, which waits here while too many wait to be published.
    pub(super) fn hand_over(&self, sealed: Sealed) {
        let mut waiting = self.unpublished.lock();
        waiting.packs.push(sealed);
        self.unpublished.come.notify_all();
        let goes_on = |w: &Waiting| !w.has_ended && !self.failed.load(Ordering::Relaxed);
        while waiting.count() >= 2 * self.publish_at() && goes_on(&waiting) {
            waiting = self.unpublished.gone.wait(waiting).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Publishes what lanes hand over, group by group, until no more will come or it fails. At the end what it gave its parity is
    /// left for the run's last entry.
    pub(super) fn publish_meanwhile(&self) {
        let _alive = Alive(self);
        loop {
            let (packs, publication) = {
                let mut waiting = self.unpublished.lock();
                loop {
                    if self.failed.load(Ordering::Relaxed) {
                        return; // what waits is published with the end of the run
                    }
                    let packs = self.take_group(&mut waiting);
                    if !packs.is_empty() {
                        break (packs, self.begin_publication(&mut waiting));
                    }
                    if waiting.has_ended {
                        return;
                    }
                    waiting = self.unpublished.come.wait(waiting).unwrap_or_else(PoisonError::into_inner);
                }
            };
            let published = self.protect_packs(packs).and_then(|has_ended| match has_ended {
                true => Ok(()),
                false => self.log_protected(Vec::new()),
            });
            if let Err(e) = published {
                self.fail(e);
            }
            drop(publication); // behind the failure: who waits for it asks then
        }
    }

    /// Publishes all that wait, with `events` behind them. What others have begun to publish has ended, too, when this
    /// returns; whether it ended well is for [`Ingest::proceed`] to say.
    ///
    /// # Errors
    /// Those of the log, and of a pack that cannot be read back.
    pub(super) fn publish(&self, events: Vec<Event>) -> Result<()> {
        let mut waiting = self.unpublished.lock();
        // One group after the other: where room is short the next one is planned with what is left.
        let mut packs: Vec<Sealed> = waiting.due.drain(..).flatten().collect();
        packs.append(&mut waiting.packs);
        let publication = self.begin_publication(&mut waiting);
        drop(waiting);
        let protected = self.protect_packs(packs);
        drop(publication);
        let mut waiting = self.unpublished.lock();
        while waiting.in_work > 0 {
            waiting = self.unpublished.gone.wait(waiting).unwrap_or_else(PoisonError::into_inner);
        }
        drop(waiting);
        protected?; // what others have protected is adopted by the next run then
        self.log_protected(events)
    }

    fn begin_publication(&self, waiting: &mut Waiting) -> Publication<'_, '_> {
        waiting.in_work += 1;
        self.unpublished.gone.notify_all(); // who waits looks when the lock is free
        Publication(self)
    }

    /// Gives sealed packs their parity; they are to be logged then. Returns whether the run has ended by then.
    fn protect_packs(&self, packs: Vec<Sealed>) -> Result<bool> {
        let unprotected: Vec<_> = packs.iter().map(Unprotected::of).collect();
        let outcome = self.protect(&unprotected);
        let mut waiting = self.unpublished.lock();
        match outcome {
            Ok(groups) => {
                if !packs.is_empty() {
                    waiting.protected.push(Protected { packs, groups });
                }
                Ok(waiting.has_ended)
            }
            Err((e, bad)) => {
                // It must not be logged; the others wait for the run's end.
                for pack in packs {
                    match pack.pack == bad {
                        true => self.set_aside(&pack.disk, bad),
                        false => waiting.packs.push(pack),
                    }
                }
                Err(e)
            }
        }
    }

    /// Logs all packs that have their parity, whoever gave it, with `events` behind them, then indexes their chunks.
    fn log_protected(&self, events: Vec<Event>) -> Result<()> {
        let _turn = self.unpublished.logging.lock().unwrap_or_else(PoisonError::into_inner);
        let protected = std::mem::take(&mut self.unpublished.lock().protected);
        if protected.is_empty() && events.is_empty() {
            return Ok(()); // another one has logged them
        }
        let (mut packs, mut groups) = (Vec::new(), Vec::new());
        for one in protected {
            packs.extend(one.packs);
            groups.extend(one.groups);
        }
        let mut first = 0;
        self.log(|state| {
            first = state.next_serial();
            let sealed = packs.iter().zip(first..).flat_map(|(p, serial)| sealed_events(p.event(serial)));
            sealed.chain(groups).chain(events).collect()
        })?;
        let waited = packs.iter().filter(|p| self.protection.shape(p.kind).parity > 0);
        waited.for_each(|p| self.in_work().is_published(&p.disk));
        let last = packs.len().saturating_sub(1);
        for (i, (pack, serial)) in packs.iter().zip(first..).enumerate() {
            let mut rows = PackRows::of(serial, &pack.footer);
            if self.moves {
                rows.bases.clear(); // they were counted when the delta was made
            }
            // the index stands for the entry only when all of it is in
            self.index(&rows, i == last);
        }
        if packs.is_empty() {
            self.index(&PackRows::default(), true);
        }
        for pack in &packs {
            self.resemblance.published(&pack.footer.rows, &pack.footer.features);
        }
        for row in packs.iter().flat_map(|p| &p.footer.rows) {
            self.claims.release(&row.header.id);
        }
        Ok(())
    }

    /// So many sealed packs are published at once.
    fn publish_at(&self) -> usize {
        self.protection.publish_at(threads::simulated_or(3, PUBLISH_PACKS))
    }

    /// Takes packs that are to be published now: those of a whole group, with such as need none. None if more are to come
    /// before.
    fn take_group(&self, waiting: &mut Waiting) -> Vec<Sealed> {
        if waiting.has_ended {
            self.make_due(waiting);
        }
        if let Some(group) = waiting.due.pop_front() {
            return group;
        }
        let (packs, at) = (&mut waiting.packs, self.publish_at());
        let needs_group = |kind| self.protection.shape(kind).parity > 0;
        if packs.len() < at {
            Vec::new()
        } else if !packs.iter().any(|p| needs_group(p.kind)) {
            std::mem::take(packs)
        } else {
            let places: Vec<_> = packs.iter().map(|p| (p.kind, p.disk, p.bytes)).collect();
            let is_alone = |i: &usize| packs.get(*i).is_some_and(|p| !needs_group(p.kind));
            let alone: Vec<usize> = (0..packs.len()).filter(is_alone).collect();
            let mut groups = self.protection.plan(self.store.pool(), &places, &self.in_work()).into_iter();
            let wide = groups.find(|(group, is_wide)| *is_wide && !group.iter().any(is_alone));
            let mut taken: Vec<usize> = wide.into_iter().flat_map(|(group, _)| group).chain(alone).collect();
            if taken.is_empty() && packs.len() >= 2 * at {
                taken = (0..packs.len()).collect(); // they do not come to lie on enough disks
            }
            taken.sort_unstable_by(|a, b| b.cmp(a));
            taken.into_iter().map(|i| packs.swap_remove(i)).collect() // places in it, the last ones first
        }
    }

    /// Has all packs that wait published, in groups as wide as they can be, by whoever is free.
    fn make_due(&self, waiting: &mut Waiting) {
        let places: Vec<_> = waiting.packs.iter().map(|p| (p.kind, p.disk, p.bytes)).collect();
        let mut packs: Vec<Option<Sealed>> = waiting.packs.drain(..).map(Some).collect();
        for (group, _) in self.protection.plan(self.store.pool(), &places, &self.in_work()) {
            let group = group.into_iter().filter_map(|i| packs.get_mut(i)?.take()).collect();
            waiting.due.push_back(group);
        }
        let rest: Vec<Sealed> = packs.into_iter().flatten().collect(); // every kind of pack has its class: there is none
        if !rest.is_empty() {
            waiting.due.push_back(rest);
        }
        self.unpublished.come.notify_all();
    }

    /// Indexes chunks. The index is a cache: if it fails, the run goes on and the next one rebuilds it.
    pub(super) fn index(&self, rows: &PackRows, reflect: bool) {
        if let Some(note) = self.store.index_apply(rows, reflect) {
            self.control.notice(Notice::Note(note));
        }
    }
}

#[cfg(test)]
mod tests;
