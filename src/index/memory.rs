//! The index in memory: what [`super::rocks`] promises, without a disk.
//!
//! For simulations and tests. It owns nothing outside the process; [`MemoryIndex::snapshot`] keeps a
//! moment, so that a test can hand a store the index of an earlier one.
//!
//! What always holds: readers see the state of one moment, since a change replaces the whole state.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};

use super::{Index, NextEntry, Place, Reflected, Statistics, Visit, VisitCount};
use crate::error::{Error, Result};
use crate::format::id::ChunkId;

#[derive(Clone, Default)]
struct State {
    chunks: BTreeMap<ChunkId, Place>,
    features: BTreeMap<u64, Place>,
    deltas: BTreeMap<ChunkId, u32>,
    counts: BTreeMap<ChunkId, Vec<u8>>,
    counts_state: Option<Vec<u8>>,
    reflected: Option<Reflected>,
}

/// An index that lives as long as its process.
#[derive(Default)]
pub struct MemoryIndex {
    state: RwLock<Arc<State>>,
    /// Places are not taken, as by an index whose disk is full.
    #[cfg(test)]
    pub fails: std::sync::atomic::AtomicBool,
}

impl MemoryIndex {
    /// An empty index.
    pub fn new() -> Self {
        Self::default()
    }

    /// Keeps this moment: a second index, equal now and independent from now on.
    pub fn snapshot(&self) -> MemoryIndex {
        MemoryIndex {
            state: RwLock::new(self.read()),
            #[cfg(test)]
            fails: Default::default(),
        }
    }

    fn read(&self) -> Arc<State> {
        // A poisoned lock means that a panic passed through `change`; the state it left is whole, for the
        // new one is put in place by one move.
        Arc::clone(&self.state.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn change<T>(&self, how: impl FnOnce(&mut State) -> T) -> T {
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        how(Arc::make_mut(&mut state))
    }
}

impl Index for MemoryIndex {
    fn get(&self, id: &ChunkId) -> Result<Option<Place>> {
        Ok(self.read().chunks.get(id).copied())
    }

    fn get_many(&self, ids: &[ChunkId]) -> Result<Vec<Option<Place>>> {
        let state = self.read();
        Ok(ids.iter().map(|id| state.chunks.get(id).copied()).collect())
    }

    fn reflected(&self) -> Result<Option<Reflected>> {
        Ok(self.read().reflected)
    }

    fn apply(&self, chunks: &[(ChunkId, Place)], reflected: Option<Reflected>) -> Result<()> {
        #[cfg(test)]
        if self.fails.load(std::sync::atomic::Ordering::Relaxed) {
            let why = "the test says so".to_owned();
            return Err(Error::Index { action: "be written", path: PathBuf::new(), why });
        }
        self.change(|state| {
            state.chunks.extend(chunks.iter().copied());
            state.reflected = reflected.or(state.reflected);
        });
        Ok(())
    }

    fn remove(&self, ids: &[ChunkId]) -> Result<()> {
        self.change(|state| {
            for id in ids {
                state.chunks.remove(id);
            }
        });
        Ok(())
    }

    fn for_each(&self, start: Option<ChunkId>, visit: Visit<'_>) -> Result<()> {
        let state = self.read();
        let from = start.map_or(Bound::Unbounded, Bound::Included);
        for (id, place) in state.chunks.range((from, Bound::Unbounded)) {
            if !visit(*id, *place)? {
                break;
            }
        }
        Ok(())
    }

    fn load_sorted(&self, next: NextEntry<'_>, reflected: Reflected) -> Result<u64> {
        let refused = |why: &str| Error::Index { action: "load", path: PathBuf::from("memory"), why: why.into() };
        if !self.read().chunks.is_empty() {
            return Err(refused("it is not empty"));
        }
        let mut chunks = BTreeMap::new();
        while let Some((id, place)) = next()? {
            if chunks.last_key_value().is_some_and(|(last, _)| *last >= id) {
                return Err(refused("the chunks do not come in ascending order"));
            }
            chunks.insert(id, place);
        }
        let count = chunks.len() as u64;
        self.change(|state| (state.chunks, state.reflected) = (chunks, Some(reflected)));
        Ok(count)
    }

    fn resembling(&self, features: &[u64]) -> Result<Vec<Option<Place>>> {
        let state = self.read();
        Ok(features.iter().map(|f| state.features.get(f).copied()).collect())
    }

    fn put_features(&self, features: &[(u64, Place)]) -> Result<()> {
        self.change(|state| state.features.extend(features.iter().copied()));
        Ok(())
    }

    fn deltas_on(&self, bases: &[ChunkId]) -> Result<Vec<u32>> {
        let state = self.read();
        Ok(bases.iter().map(|id| state.deltas.get(id).copied().unwrap_or(0)).collect())
    }

    fn count_deltas(&self, bases: &[ChunkId]) -> Result<()> {
        self.change(|state| {
            for id in bases {
                let count = state.deltas.entry(*id).or_default();
                *count = count.saturating_add(1);
            }
        });
        Ok(())
    }

    fn counts(&self, ids: &[ChunkId]) -> Result<Vec<Option<Vec<u8>>>> {
        let state = self.read();
        Ok(ids.iter().map(|id| state.counts.get(id).cloned()).collect())
    }

    fn put_counts(&self, counts: &[(ChunkId, Vec<u8>)], stands_for: Option<&[u8]>) -> Result<()> {
        self.change(|state| {
            for (id, value) in counts {
                if value.is_empty() {
                    state.counts.remove(id);
                } else {
                    state.counts.insert(*id, value.clone());
                }
            }
            state.counts_state = stands_for.map(<[u8]>::to_vec).or(state.counts_state.take());
        });
        Ok(())
    }

    fn counts_state(&self) -> Result<Option<Vec<u8>>> {
        Ok(self.read().counts_state.clone())
    }

    fn clear_counts(&self, all: bool) -> Result<()> {
        self.change(|state| {
            state.counts_state = None;
            if all {
                state.counts.clear();
            }
        });
        Ok(())
    }

    fn for_each_count(&self, visit: VisitCount<'_>) -> Result<()> {
        for (id, value) in &self.read().counts {
            if !visit(*id, value)? {
                break;
            }
        }
        Ok(())
    }

    fn statistics(&self) -> Result<Statistics> {
        let chunks = self.read().chunks.len() as u64;
        let bytes = chunks * (ChunkId::BYTES + Place::BYTES) as u64;
        Ok(Statistics { chunks_estimate: chunks, memory_bytes: bytes, buffer_bytes: bytes, ..Statistics::default() })
    }

    fn flush(&self) -> Result<()> {
        Ok(())
    }
}
