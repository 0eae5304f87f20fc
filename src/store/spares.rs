//! Second copies: where else a chunk lies, when the place that the index has is of no use.
//!
//! The index keeps one place a chunk. A chunk may lie in several packs all the same: it was stored again while its disk was
//! away or known to be damaged, or two runs met. A reader whose place is away, damaged or a delta without its base asks here
//! before it calls anything lost; so does one whose chunk the index lacks, which leaves out what lies on known damage. The
//! first question costs the tables of all packs once, as `recover` does, and a chunk that lies twice some 150 bytes from then
//! on.
//!
//! What the log knows of damage is coarser than damage is: whole units, whole packs. So a reader that has nothing better tries
//! places of which the log says that they are of no use, and proves what it reads.

use super::{Located, Mode, Store};
use crate::catalog::state::LogState;
use crate::chunk::Unsqueezer;
use crate::error::{Error, Result};
use crate::format::event::SealedPack;
use crate::format::{ChunkId, ChunkKind, limits};
use crate::index::Place;
use crate::pool::PackStore;
use std::collections::HashMap;
use std::sync::{Arc, PoisonError};

/// Memory of one place that is kept, about.
const SPARE_BYTES: u64 = 150;

/// Places beside those of the index.
pub(super) type Spares = HashMap<ChunkId, Vec<Place>>;

impl Store {
    /// All places beside the index's in packs that are here. Beyond an eighth of the memory budget the others are left out.
    fn spares(&self) -> Result<Arc<Spares>> {
        let mut held = self.spares.lock().unwrap_or_else(PoisonError::into_inner); // it is set in one step
        if let Some(spares) = &*held {
            return Ok(Arc::clone(spares));
        }
        let most = self.memory_bytes / 8 / SPARE_BYTES;
        let (mut spares, mut kept) = (Spares::new(), 0);
        let packs: Vec<_> = self.with_state(|s| s.packs().map(|p| p.sealed).collect());
        for pack in packs.iter().filter(|p| self.pool.holds(p) || self.with_state(|s| self.is_doubtful(s, p))) {
            let Ok(rows) = self.rows_of(pack, &mut Vec::new()) else { continue }; // nothing to offer
            for rows in rows.chunks.chunks(4096) {
                let ids: Vec<ChunkId> = rows.iter().map(|(id, _)| *id).collect();
                for (&(id, own), at) in rows.iter().zip(self.indexed(&ids)?) {
                    if at != Some(own) && kept < most {
                        spares.entry(id).or_default().push(own);
                        kept += 1;
                    }
                }
            }
        }
        let spares = Arc::new(spares);
        *held = Some(Arc::clone(&spares));
        Ok(spares)
    }

    /// Other places of a chunk that may be of use. Empty for a writer: to it the chunk is a miss, and is stored again.
    ///
    /// # Errors
    /// [`Error::Index`].
    pub(super) fn elsewhere(&self, id: &ChunkId, not: Option<Place>) -> Result<Vec<Located>> {
        if self.mode != Mode::Read {
            return Ok(Vec::new());
        }
        let spares = self.spares()?;
        let Some(places) = spares.get(id) else { return Ok(Vec::new()) };
        Ok(self.with_state(|state| {
            let others = places.iter().filter(|p| Some(**p) != not);
            others.filter_map(|place| self.usable(state, *place)).collect()
        }))
    }

    /// Whether a pack is away, and its group cannot make it good as far as the log knows, which may be wrong.
    fn is_doubtful(&self, state: &LogState, pack: &SealedPack) -> bool {
        state.group_of(&pack.pack).is_some() && !self.reaches_in(state, pack)
    }

    /// Whether there is any pack that is away, and whose group cannot make it good as far as the log knows.
    pub fn has_doubtful_packs(&self) -> bool {
        self.with_state(|s| s.packs().any(|p| self.is_doubtful(s, &p.sealed)))
    }

    /// Places to be tried that are of no use by what the log knows: the index's, or else others, of which something is here, the
    /// pack or members of its group.
    ///
    /// # Errors
    /// [`Error::Index`].
    pub fn worth_a_try(&self, id: &ChunkId) -> Result<Vec<Located>> {
        if self.mode != Mode::Read {
            return Ok(Vec::new());
        }
        let spares = self.spares()?;
        let indexed = self.indexed(std::slice::from_ref(id))?;
        let all = indexed.into_iter().flatten().chain(spares.get(id).into_iter().flatten().copied());
        Ok(self.with_state(|state| {
            let found = all.filter(|place| place.stored as usize <= limits::RECORD_BYTES).filter_map(|place| {
                let sealed = state.pack(place.pack)?.sealed;
                let is_there = self.pool.holds(&sealed) || state.group_of(&sealed.pack).is_some();
                is_there.then_some(Located { sealed, place })
            });
            found.collect()
        }))
    }

    /// Reads a chunk from wherever else it lies, after `failed` came of its place.
    ///
    /// # Errors
    /// `failed`, if no other place gives it.
    pub(super) fn read_elsewhere(
        &self,
        kind: ChunkKind,
        id: &ChunkId,
        at: &Located,
        unsqueezer: &mut Unsqueezer,
        failed: Error,
    ) -> Result<Vec<u8>> {
        if matches!(failed, Error::Index { .. } | Error::Interrupted) {
            return Err(failed);
        }
        for other in self.elsewhere(id, Some(at.place))?.into_iter().chain(self.worth_a_try(id)?) {
            if other.place == at.place {
                continue;
            }
            if let Ok(plain) = self.read_there(kind, id, &other, unsqueezer) {
                return Ok(plain);
            }
        }
        Err(failed)
    }
}
