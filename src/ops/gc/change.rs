//! What changed since the counts were kept: links that came with new snapshots, links that go with those given up.
//!
//! Links are added first, then taken away, so nothing that both have is torn down. A chunk that gets its first link is
//! gone into and its own links are added; one that loses its last is gone into and its links are taken away. All of it
//! happens beside the index, in memory; a change too large for that is left to a full mark, which it would cost anyway.

use super::counts::{Count, Roots, State};
use super::elsewhere::Elsewhere;
use super::links::{self, Link};
use crate::error::{Error, Result};
use crate::format::{ChunkId, SnapshotId};
use crate::ops::Control;
use crate::ops::share::{facts, is_of_one_place};
use crate::pool::log::LogRead;
use crate::store::Store;
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// Links that are looked up at once.
const BATCH: usize = 2048;
/// What a changed chunk takes in memory, about.
const ENTRY_BYTES: u64 = 128;

/// Why a change cannot be followed.
pub(super) enum Stop {
    /// A full mark has to do it.
    Full(&'static str),
    Error(Error),
}

impl From<Error> for Stop {
    fn from(e: Error) -> Stop {
        if is_of_one_place(&e) {
            Stop::Full("a part of a snapshot cannot be read as the counts need it")
        } else {
            Stop::Error(e)
        }
    }
}

struct Entry {
    was: u32,
    now: Count,
}

/// The counts as they would be.
pub(super) struct Change<'s> {
    store: &'s Store,
    control: &'s Control,
    chunks: Elsewhere<'s>,
    entries: HashMap<ChunkId, Entry>,
    most: usize,
    /// Of deltas in packs that the counts do not know.
    new_bases: HashMap<ChunkId, Vec<ChunkId>>,
    pub state: State,
}

impl<'s> Change<'s> {
    /// Follows the log from what the counts stand for to now, without those that are `gone`.
    ///
    /// # Errors
    /// [`Stop::Full`] where there are no counts, or none that fit this log.
    pub fn follow(store: &'s Store, control: &'s Control, gone: &BTreeSet<SnapshotId>) -> Result<Change<'s>, Stop> {
        let state = State::load(store)?.ok_or(Stop::Full("there are no counts yet"))?;
        let log = LogRead::read(store.io(), store.path(), store.pool())?;
        let since = log.sealed_since(store.io(), state.reflected.number, state.reflected.hash)?;
        if since.is_none() {
            return Err(Stop::Full("the counts are of another history than the log's"));
        }
        if log.began_since(store.io(), state.told.max(state.reflected.number), "compact")? {
            return Err(Stop::Full("a compact did not tell which copies it superseded"));
        }
        let most = usize::try_from(store.memory_bytes() / 4 / ENTRY_BYTES).unwrap_or(usize::MAX);
        let chunks = Elsewhere::new(store, control);
        let (entries, new_bases) = (HashMap::new(), HashMap::new());
        let mut change = Change { store, control, chunks, entries, most, new_bases, state };
        change.read_new_bases()?;
        let mut now = super::counts::roots(store);
        now.retain(|id, _| !gone.contains(id));
        let before = change.state.roots.clone();
        for (_, roots) in now.iter().filter(|(id, _)| !before.contains_key(id)) {
            change.add(roots)?;
        }
        for (_, roots) in before.iter().filter(|(id, _)| !now.contains_key(id)) {
            change.take(roots)?;
        }
        change.retally()?;
        Ok(change)
    }

    /// Of the packs that the counts do not know, what their deltas are coded against.
    fn read_new_bases(&mut self) -> Result<(), Stop> {
        let first = self.state.next_serial;
        let new: Vec<_> = self.store.with_state(|s| s.packs_from(first).map(|p| p.sealed).collect());
        for sealed in new {
            self.control.proceed()?;
            // Also one whose disk is away: links that were left out now would be missing for good.
            let Ok(ends) = self.store.ends(&sealed) else {
                return Err(Stop::Full("a new pack's table cannot be read"));
            };
            for row in ends.footer.rows {
                if !row.header.bases.is_empty() {
                    let bases = self.new_bases.entry(row.header.id).or_default();
                    row.header.bases.iter().for_each(|b| {
                        if !bases.contains(b) {
                            bases.push(*b);
                        }
                    });
                }
            }
            if self.new_bases.len() > self.most {
                return Err(Stop::Full("too much changed to follow it in memory"));
            }
        }
        Ok(())
    }

    /// Brings the counts of these chunks into memory.
    fn load(&mut self, batch: &[(ChunkId, Link)]) -> Result<(), Stop> {
        let mut ids: Vec<ChunkId> =
            batch.iter().map(|(id, _)| *id).filter(|id| !self.entries.contains_key(id)).collect();
        ids.sort_unstable();
        ids.dedup();
        if self.entries.len() + ids.len() > self.most {
            return Err(Stop::Full("too much changed to follow it in memory"));
        }
        for (id, value) in ids.iter().zip(self.store.index().counts(&ids)?) {
            let now = match value {
                None => Count::default(),
                Some(value) => Count::decode(&value).ok_or(Stop::Full("a count cannot be read"))?,
            };
            self.entries.insert(*id, Entry { was: now.links, now });
        }
        Ok(())
    }

    fn of_roots(roots: &Roots) -> Result<Vec<(ChunkId, Link)>> {
        let mut todo = Vec::new();
        let mut push = |id, link| {
            todo.push((id, link));
            Ok(())
        };
        links::of_root(&roots.tree, true, &mut push)?;
        if let Some(root) = &roots.witness {
            links::of_root(root, false, &mut push)?;
        }
        Ok(todo)
    }

    fn add(&mut self, roots: &Roots) -> Result<(), Stop> {
        let mut todo = Self::of_roots(roots)?;
        while !todo.is_empty() {
            self.control.proceed()?;
            let batch = todo.split_off(todo.len().saturating_sub(BATCH));
            self.load(&batch)?;
            let mut data = Vec::new();
            for (id, link) in batch {
                let Some(entry) = self.entries.get_mut(&id) else { continue }; // `load` put it there
                entry.now.links = entry.now.links.checked_add(1).ok_or(Stop::Full("a count has run over"))?;
                if entry.now.links > 1 {
                    continue;
                }
                if link == Link::Data {
                    data.push(id);
                } else {
                    links::below(&self.chunks, &id, link, &mut |id, link| {
                        todo.push((id, link));
                        Ok(())
                    })?;
                }
            }
            for (id, bases) in data.iter().zip(self.bases_of(&data)?) {
                todo.extend(bases.iter().map(|b| (*b, Link::Data)));
                if let Some(entry) = self.entries.get_mut(id) {
                    entry.now.bases = bases;
                }
            }
        }
        Ok(())
    }

    /// What chunks that get their first link are coded against.
    fn bases_of(&self, ids: &[ChunkId]) -> Result<Vec<Vec<ChunkId>>, Stop> {
        let mut out: Vec<Vec<ChunkId>> =
            ids.iter().map(|id| self.new_bases.get(id).cloned().unwrap_or_default()).collect();
        // One that lies in an older pack lived before, or was on its way when a run was cut short.
        let (mut old, mut of) = (Vec::new(), Vec::new());
        for (i, (id, at)) in ids.iter().zip(self.store.locate(ids)?).enumerate() {
            let Some(at) = at else { return Err(Stop::Full("a chunk that is new to the counts cannot be found")) };
            if at.place.pack < self.state.next_serial {
                old.push(*id);
                of.push(i);
            }
        }
        for (i, fact) in of.into_iter().zip(facts::of(self.store, &old)?) {
            let Some(fact) = fact else { return Err(Stop::Full("a record cannot be read")) };
            for base in &fact.bases {
                if !out[i].contains(base) {
                    out[i].push(*base); // one list an id
                }
            }
        }
        Ok(out)
    }

    fn take(&mut self, roots: &Roots) -> Result<(), Stop> {
        let mut todo = Self::of_roots(roots)?;
        while !todo.is_empty() {
            self.control.proceed()?;
            let batch = todo.split_off(todo.len().saturating_sub(BATCH));
            self.load(&batch)?;
            for (id, link) in batch {
                let Some(entry) = self.entries.get_mut(&id) else { continue }; // as above
                entry.now.links =
                    entry.now.links.checked_sub(1).ok_or(Stop::Full("the counts contradict the snapshots"))?;
                if entry.now.links > 0 {
                    continue;
                }
                todo.extend(std::mem::take(&mut entry.now.bases).into_iter().map(|b| (b, Link::Data)));
                links::below(&self.chunks, &id, link, &mut |id, link| {
                    todo.push((id, link));
                    Ok(())
                })?;
            }
        }
        Ok(())
    }

    /// Moves the tallies of older packs on, by the chunks that came to life or died.
    fn retally(&mut self) -> Result<(), Stop> {
        let turned: Vec<(ChunkId, bool)> = self
            .entries
            .iter()
            .filter(|(_, e)| (e.was > 0) != (e.now.links > 0))
            .map(|(id, e)| (*id, e.now.links > 0))
            .collect();
        for batch in turned.chunks(BATCH) {
            let ids: Vec<ChunkId> = batch.iter().map(|(id, _)| *id).collect();
            for ((_, lives), at) in batch.iter().zip(self.store.locate(&ids)?) {
                let Some(at) = at else { continue };
                let Some(tally) = self.state.tallies.get_mut(&at.place.pack) else { continue };
                // The record, and about what its row takes; see `keep`.
                let bytes = u64::from(at.place.stored) + super::keep::ROW_BYTES_ABOUT;
                (tally.records, tally.kept_bytes) = if *lives {
                    (tally.records.saturating_add(1), tally.kept_bytes.saturating_add(bytes).min(tally.bytes))
                } else {
                    (tally.records.saturating_sub(1), tally.kept_bytes.saturating_sub(bytes))
                };
            }
        }
        Ok(())
    }

    /// Whether anything leads to each of these chunks.
    ///
    /// # Errors
    /// [`Error::Index`].
    pub fn live(&self, ids: &[ChunkId]) -> Result<Vec<bool>> {
        let mut live: Vec<bool> = Vec::with_capacity(ids.len());
        let unchanged: Vec<ChunkId> = ids.iter().filter(|id| !self.entries.contains_key(id)).copied().collect();
        let mut kept = self.store.index().counts(&unchanged)?.into_iter();
        for id in ids {
            live.push(match self.entries.get(id) {
                Some(entry) => entry.now.links > 0,
                None => kept.next().flatten().is_some(), // as many answers as were asked for, in order
            });
        }
        Ok(live)
    }

    /// The counts that differ from the index's.
    pub fn into_parts(self) -> (BTreeMap<ChunkId, Count>, State) {
        let changed = self.entries.into_iter().filter(|(_, e)| e.was != e.now.links);
        (changed.map(|(id, e)| (id, e.now)).collect(), self.state)
    }
}
