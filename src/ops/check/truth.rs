//! What the packs turned out to hold: where a chunk can be had, whatever index and log say.

use crate::catalog::state::LogState;
use crate::chunk::Unsqueezer;
use crate::error::{Error, Result};
use crate::format::event::SealedPack;
use crate::format::{ChunkId, ChunkKind, PackId, limits};
use crate::index::Place;
use crate::pack::ReadChunks;
use crate::pool::PackStore;
use crate::store::{Located, Store};
use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};

/// Who says where chunks can be had. Reading gives nodes and lists.
pub(in crate::ops) trait Judge: ReadChunks {
    /// Where each chunk can be had, or why it cannot.
    ///
    /// # Errors
    /// [`Error::Index`].
    fn find(&self, ids: &[ChunkId]) -> Result<Vec<std::result::Result<Located, Lack>>>;

    /// Says for people why a chunk cannot be had.
    fn why(&self, id: &ChunkId, lack: Lack) -> String;

    /// Why a node counts as lost although it can be read: then all below it is lost with it.
    ///
    /// # Errors
    /// [`Error::Index`].
    fn node_is_lost(&self, id: &ChunkId) -> Result<Option<String>>;
}

/// What of a pack cannot be had.
#[derive(Debug)]
pub(super) enum Harm {
    /// Records at these offsets.
    Records(HashSet<u32>),
    /// All but the records at these offsets. Empty: all of it.
    AllBut(HashSet<u32>),
}

/// Why a chunk cannot be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::ops) enum Lack {
    /// No pack that is known holds it.
    Nowhere,
    /// It lies on a disk that is not here.
    Away(Place),
    /// It lies in a pack, and there it is damaged.
    Damaged(Place),
}

/// Where chunks can be had.
pub(super) struct Truth<'s> {
    pub store: &'s Store,
    /// By serial.
    pub harm: HashMap<u32, Harm>,
    /// Deltas whose bases cannot be had: serial and offset.
    pub orphans: HashSet<(u32, u32)>,
    /// Serials of packs of which what was read now tells, not what the log calls damaged.
    pub healed: HashSet<u32>,
    /// Groups with a member in which something was found that the log may not know yet.
    doubted: HashSet<[u8; 16]>,
    /// Places that tables have and the index does not, or has elsewhere.
    pub others: HashMap<ChunkId, Vec<Place>>,
    /// Chunks that were asked for and that the index could not have given.
    pub beside_index: AtomicU64,
    is_anything_doubtful: bool,
}

impl<'s> Truth<'s> {
    pub fn new(store: &'s Store) -> Self {
        Truth {
            store,
            harm: HashMap::new(),
            orphans: HashSet::new(),
            healed: HashSet::new(),
            doubted: HashSet::new(),
            others: HashMap::new(),
            beside_index: AtomicU64::new(0),
            is_anything_doubtful: store.has_doubtful_packs(),
        }
    }

    /// Notes that something was found in these packs, of data or parity: what their groups are to give must be seen. Called when
    /// all harm is known.
    pub fn doubt<'p>(&mut self, packs: impl IntoIterator<Item = &'p PackId>) {
        // A table that its pack lost may come out of a group, and names chunks that an index made anew lacks.
        self.is_anything_doubtful |= self.harm.values().any(|harm| matches!(harm, Harm::AllBut(_)));
        let groups = |s: &LogState| packs.into_iter().filter_map(|p| s.group_of(p).map(|g| g.group.id)).collect();
        let groups: Vec<_> = self.store.with_state(groups);
        self.doubted.extend(groups);
    }

    /// Whether anything was found in a group: then a pack of it that is not here may not come out of it.
    pub fn is_any_in_doubt(&self) -> bool {
        !self.doubted.is_empty()
    }

    /// Whether a pack would have to come out of a group that may no longer give it.
    fn is_out_of_doubted(&self, sealed: &SealedPack) -> bool {
        let of_doubted = |s: &LogState| s.group_of(&sealed.pack).is_some_and(|g| self.doubted.contains(&g.group.id));
        self.is_any_in_doubt() && !self.store.pool().holds(sealed) && self.store.with_state(of_doubted)
    }

    /// Whether a chunk can be had from a place beside the one that it is found at first, which is fit.
    ///
    /// # Errors
    /// [`Error::Index`].
    pub fn has_other(&self, id: &ChunkId, is_fit: &mut dyn FnMut(&Located) -> bool) -> Result<bool> {
        let tried = self.store.worth_a_try(id)?;
        let places = self.others.get(id).into_iter().flatten().copied().chain(tried.iter().map(|at| at.place));
        Ok(places.filter_map(|place| self.judge(place).ok()).any(|at| is_fit(&at)))
    }

    fn is_harmed(&self, place: &Place) -> bool {
        if self.orphans.contains(&(place.pack, place.offset)) {
            return true;
        }
        match self.harm.get(&place.pack) {
            None => false,
            Some(Harm::Records(bad)) => bad.contains(&place.offset),
            Some(Harm::AllBut(good)) => !good.contains(&place.offset),
        }
    }

    /// Judges a place that the store itself would not use, or that proved bad.
    fn judge(&self, place: Place) -> std::result::Result<Located, Lack> {
        let known = self.store.with_state(|state| {
            let sealed = state.pack(place.pack)?.sealed;
            Some((sealed, state.is_damaged(&sealed.pack, u64::from(place.offset), u64::from(place.stored))))
        });
        let Some((sealed, on_damage)) = known else { return Err(Lack::Nowhere) };
        let at = Located { sealed, place };
        let is_here = self.store.pool().holds(&sealed);
        let harmed = self.is_harmed(&place) || (on_damage && !self.healed.contains(&place.pack));
        match is_here && !harmed {
            true => Ok(at),
            false if self.is_rebuilt(&at) => Ok(at),
            false if is_here => Err(Lack::Damaged(place)),
            false => Err(Lack::Away(place)),
        }
    }

    /// Whether the record's bytes come out of its group, proven by the pack's checks.
    fn is_rebuilt(&self, at: &Located) -> bool {
        if self.orphans.contains(&(at.place.pack, at.place.offset)) || at.place.stored as usize > limits::RECORD_BYTES {
            return false;
        }
        let Ok(Some(file)) = self.store.proven(&at.sealed) else { return false };
        let mut record = vec![0; at.place.stored as usize]; // bounded above
        file.read_exact_at(&mut record, u64::from(at.place.offset)).is_ok()
    }
}

impl Judge for Truth<'_> {
    fn find(&self, ids: &[ChunkId]) -> Result<Vec<std::result::Result<Located, Lack>>> {
        let mut out = Vec::with_capacity(ids.len());
        // A gc beside this check may have moved it since the store was opened.
        for (id, located) in ids.iter().zip(self.store.find_indexed(ids)?) {
            let first = match located {
                Some(at) if !self.is_harmed(&at.place) && !self.is_out_of_doubted(&at.sealed) => Ok(at),
                Some(at) if self.is_rebuilt(&at) => Ok(at),
                Some(at) if self.store.pool().holds(&at.sealed) => Err(Lack::Damaged(at.place)),
                Some(at) => Err(Lack::Away(at.place)),
                // Rare: away, damaged, or not in the index at all.
                None => match self.store.index().get(id)? {
                    Some(place) => self.judge(place),
                    None => Err(Lack::Nowhere),
                },
            };
            let found = match (first, self.others.get(id)) {
                (Err(lack), Some(others)) => match others.iter().find_map(|other| self.judge(*other).ok()) {
                    Some(at) => {
                        self.beside_index.fetch_add(1, Ordering::Relaxed);
                        Ok(at)
                    }
                    None => Err(lack),
                },
                (first, _) => first,
            };
            let found = match found {
                // Tables of packs that are not here were not looked at: a group may give more than the log knows.
                Err(lack) if self.is_anything_doubtful => {
                    self.store.worth_a_try(id)?.iter().find_map(|at| self.judge(at.place).ok()).ok_or(lack)
                }
                found => found,
            };
            out.push(found);
        }
        Ok(out)
    }

    fn why(&self, id: &ChunkId, lack: Lack) -> String {
        let chunk = id.short();
        let pack = |place: &Place| self.store.with_state(|s| s.pack(place.pack).map(|p| p.sealed));
        match lack {
            Lack::Nowhere => format!("chunk {chunk} is in no pack that is known"),
            Lack::Away(place) => {
                let label = pack(&place).and_then(|p| {
                    self.store.with_state(|s| s.disks.get(&p.disk).map(|d| format!("{} ({})", d.label, p.disk)))
                });
                format!("chunk {chunk} is on disk {}, which is missing", label.unwrap_or_default())
            }
            Lack::Damaged(place) => {
                let what = match self.orphans.contains(&(place.pack, place.offset)) {
                    true => "is whole, but what it is coded against cannot be had",
                    false => "is damaged",
                };
                let pack = pack(&place).map_or_else(|| place.pack.to_string(), |p| p.pack.to_string());
                format!("chunk {chunk} in pack {pack} at byte {} {what}", place.offset)
            }
        }
    }

    fn node_is_lost(&self, _: &ChunkId) -> Result<Option<String>> {
        Ok(None) // reading it tells
    }
}

impl ReadChunks for Truth<'_> {
    fn chunk(&self, kind: ChunkKind, id: &ChunkId) -> Result<Vec<u8>> {
        let first = match self.store.chunk(kind, id) {
            Ok(bytes) => return Ok(bytes),
            Err(e @ (Error::Index { .. } | Error::Interrupted)) => return Err(e),
            Err(e) => e,
        };
        // What the store would not find may lie where the index does not say.
        match self.find(std::slice::from_ref(id))?.pop() {
            Some(Ok(at)) => self.store.read_at(kind, id, &at, &mut Unsqueezer::default()),
            Some(Err(lack @ (Lack::Away(_) | Lack::Nowhere))) => {
                Err(Error::ChunkMissing { chunk: format!("{} ({})", id.short(), self.why(id, lack)) })
            }
            _ => Err(first),
        }
    }
}
