//! Counts: how many links lead to each chunk, kept by gc alone in the index, so that the next gc costs what changed.
//!
//! ```text
//! value of a chunk  := links:u32 base:32*      links that lead to it, and the bases that it is a link to while it lives
//! state             := version:u8 number:u64 hash:32 next-serial:u32 told:u64
//!                      roots:u32 root* packs:u32 tally*
//! root              := snapshot:32 tree:var witness:option(var)
//! tally             := serial:u32 records:u32 kept-bytes:u64 bytes:u64
//! ```
//! Numbers are little-endian. A chunk that nothing leads to has no value. The state names the log entry and the roots
//! that the counts stand for. It is taken away before counts are changed and put back after, so counts that a crash
//! left between two moments are never used. All of this is a cache: without it, a full mark founds it again.
//!
//! *Tallies* say how much of each pack is kept. They choose which packs are looked at and no more: what is dropped of a
//! pack is decided by its own table and the counts.

use super::keep::Founding;
use crate::error::Result;
use crate::format::node::MapRoot;
use crate::format::wire::{Put, Reader};
use crate::format::{ChunkId, EntryHash, SnapshotId};
use crate::index::Reflected;
use crate::ops::Control;
use crate::store::Store;
use std::collections::BTreeMap;

/// Before version 3 nobody said which compacts the tallies know of. Counts of version 1 may lack links of records that nobody could read when they were kept.
const VERSION: u8 = 3;
/// Values that are written at once.
const BATCH: usize = 8192;

/// A chunk's value.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Count {
    pub links: u32,
    pub bases: Vec<ChunkId>,
}

impl Count {
    /// Empty where nothing leads to the chunk.
    pub fn encode(&self) -> Vec<u8> {
        if self.links == 0 {
            return Vec::new();
        }
        let mut out = Vec::with_capacity(4 + 32 * self.bases.len());
        out.put_u32(self.links);
        self.bases.iter().for_each(|b| out.put(&b.0));
        out
    }

    /// `None` for what was not written by [`Count::encode`].
    pub fn decode(value: &[u8]) -> Option<Count> {
        let (links, bases) = value.split_first_chunk::<4>()?;
        let (bases, rest) = bases.as_chunks::<32>();
        let links = u32::from_le_bytes(*links);
        (links > 0 && rest.is_empty()).then(|| Count { links, bases: bases.iter().map(|b| ChunkId(*b)).collect() })
    }
}

/// The roots of one snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Roots {
    pub tree: MapRoot,
    pub witness: Option<MapRoot>,
}

/// How much of a pack is kept, as far as is known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    pub records: u32,
    pub kept_bytes: u64,
    pub bytes: u64,
}

/// What the counts stand for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct State {
    pub reflected: Reflected,
    /// Packs from this serial on are not tallied.
    pub next_serial: u32,
    /// Compacts that began up to this entry have told which records they superseded; what a later one did, only a full
    /// mark sees.
    pub told: u64,
    pub roots: BTreeMap<SnapshotId, Roots>,
    pub tallies: BTreeMap<u32, Tally>,
}

impl Default for State {
    fn default() -> Self {
        let reflected = Reflected { number: 0, hash: EntryHash([0; 32]) };
        State { reflected, next_serial: 0, told: 0, roots: BTreeMap::new(), tallies: BTreeMap::new() }
    }
}

impl State {
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        out.put_u8(VERSION);
        out.put_u64(self.reflected.number);
        out.put(&self.reflected.hash.0);
        out.put_u32(self.next_serial);
        out.put_u64(self.told);
        out.put_u32(u32::try_from(self.roots.len()).unwrap_or(u32::MAX)); // decoding fails then, and a full mark follows
        for (id, roots) in &self.roots {
            out.put(&id.0);
            let var = |out: &mut Vec<u8>, root: &MapRoot| {
                let mut bytes = Vec::new();
                root.encode_into(&mut bytes);
                out.put_var(&bytes);
            };
            var(&mut out, &roots.tree);
            out.put_flag(roots.witness.is_some());
            roots.witness.iter().for_each(|w| var(&mut out, w));
        }
        out.put_u32(u32::try_from(self.tallies.len()).unwrap_or(u32::MAX)); // as above
        for (serial, t) in &self.tallies {
            out.put_u32(*serial);
            out.put_u32(t.records);
            out.put_u64(t.kept_bytes);
            out.put_u64(t.bytes);
        }
        out
    }

    /// `None` for what another version wrote, or nobody.
    pub fn decode(bytes: &[u8]) -> Option<State> {
        Self::read(&mut Reader::new("the counts' state", bytes)).ok().flatten()
    }

    fn read(r: &mut Reader<'_>) -> Result<Option<State>> {
        if r.u8()? != VERSION {
            return Ok(None);
        }
        let reflected = Reflected { number: r.u64()?, hash: EntryHash(r.array()?) };
        let (next_serial, told) = (r.u32()?, r.u64()?);
        let mut roots = BTreeMap::new();
        for _ in 0..r.u32()? {
            let id = SnapshotId(r.array()?);
            let tree = root(r)?;
            let witness = if r.flag()? { Some(root(r)?) } else { None };
            roots.insert(id, Roots { tree, witness });
        }
        let mut tallies = BTreeMap::new();
        for _ in 0..r.u32()? {
            let serial = r.u32()?;
            tallies.insert(serial, Tally { records: r.u32()?, kept_bytes: r.u64()?, bytes: r.u64()? });
        }
        r.end()?;
        Ok(Some(State { reflected, next_serial, told, roots, tallies }))
    }

    /// What stands in the index, if it can be read.
    ///
    /// # Errors
    /// [`crate::Error::Index`].
    pub fn load(store: &Store) -> Result<Option<State>> {
        Ok(store.index().counts_state()?.and_then(|bytes| State::decode(&bytes)))
    }

    /// Writes it, standing for the log as it is now.
    ///
    /// # Errors
    /// [`crate::Error::Index`].
    pub fn save(&mut self, store: &Store) -> Result<()> {
        self.reflected = store.durable();
        self.told = self.reflected.number;
        self.roots = roots(store);
        self.next_serial = store.with_state(|s| s.next_serial());
        store.index().put_counts(&[], Some(&self.encode()))
    }
}

fn root(r: &mut Reader<'_>) -> Result<MapRoot> {
    let bytes = r.var_bytes(crate::format::limits::SMALL_FILE_BYTES as usize)?;
    let mut inner = Reader::new("a root", bytes);
    let root = MapRoot::decode(&mut inner)?;
    inner.end()?;
    Ok(root)
}

/// The roots of all snapshots that the log has, forgotten ones too.
pub(super) fn roots(store: &Store) -> BTreeMap<SnapshotId, Roots> {
    store.with_state(|s| {
        let all = s.live_snapshots().into_iter().chain(s.forgotten_snapshots());
        all.map(|(id, s)| (id, Roots { tree: s.snapshot.tree.clone(), witness: s.snapshot.witness.clone() })).collect()
    })
}

/// Writes counts, between taking the state away and whoever puts it back.
pub(super) struct Writer<'s> {
    store: &'s Store,
    batch: Vec<(ChunkId, Vec<u8>)>,
}

impl<'s> Writer<'s> {
    /// # Errors
    /// [`crate::Error::Index`].
    pub fn begin(store: &'s Store, anew: bool) -> Result<Self> {
        store.index().clear_counts(anew)?;
        Ok(Writer { store, batch: Vec::new() })
    }

    /// # Errors
    /// [`crate::Error::Index`].
    pub fn put(&mut self, id: ChunkId, count: &Count) -> Result<()> {
        self.batch.push((id, count.encode()));
        if self.batch.len() >= BATCH { self.write() } else { Ok(()) }
    }

    fn write(&mut self) -> Result<()> {
        self.store.index().put_counts(&std::mem::take(&mut self.batch), None)
    }

    /// # Errors
    /// [`crate::Error::Index`].
    pub fn end(mut self) -> Result<()> {
        self.write()
    }
}

/// Writes what a full mark counted.
///
/// # Errors
/// [`crate::Error::Index`], [`crate::Error::Interrupted`], [`crate::Error::Io`] of the sort.
pub(super) fn found(store: &Store, control: &Control, founding: Founding) -> Result<()> {
    let mut writer = Writer::begin(store, true)?;
    let mut n = 0u64;
    founding.each(&mut |id, count| {
        n += 1;
        if n.is_multiple_of(BATCH as u64) {
            control.proceed()?;
        }
        writer.put(id, &count)
    })?;
    writer.end()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn counts_come_back(links in 1u32.., bases in proptest::collection::vec(any::<[u8; 32]>(), 0..4)) {
            let count = Count { links, bases: bases.into_iter().map(ChunkId).collect() };
            prop_assert_eq!(Count::decode(&count.encode()), Some(count));
        }

        #[test]
        fn a_state_comes_back_and_no_part_of_it_passes(
            number: u64,
            next_serial: u32,
            told: u64,
            packs in proptest::collection::vec(any::<(u32, u32, u64, u64)>(), 0..4),
            ids in proptest::collection::vec(any::<[u8; 32]>(), 0..4),
        ) {
            let node = |id| MapRoot::Node { level: 2, id: ChunkId(id), entries: 7 };
            let roots = ids.iter().map(|id| {
                let witness = (id[0] & 1 == 1).then(|| MapRoot::Inline(vec![]));
                (SnapshotId(*id), Roots { tree: node(*id), witness })
            });
            let tallies = packs.into_iter().map(|(s, records, kept_bytes, bytes)| (s, Tally { records, kept_bytes, bytes }));
            let reflected = Reflected { number, hash: EntryHash([9; 32]) };
            let state = State { reflected, next_serial, told, roots: roots.collect(), tallies: tallies.collect() };
            let bytes = state.encode();
            for n in 0..bytes.len() {
                prop_assert_eq!(State::decode(&bytes[..n]), None);
            }
            prop_assert_eq!(State::decode(&bytes), Some(state));
        }

        #[test]
        fn arbitrary_bytes_are_no_counts_or_some(bytes: Vec<u8>) {
            let _ = (Count::decode(&bytes), State::decode(&bytes)); // any answer but a panic
        }
    }
}
