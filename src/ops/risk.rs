//! risk: what would be lost with some disks, by snapshot and file; and how redundant everything is now.
//!
//! Nothing is lost yet, so all is read and nothing guessed: the trees are walked as they are, and for each node,
//! list and chunk it is asked whether it could be had if those disks were gone. What cannot takes along
//! what needs it, a node all that is below it.

pub mod model;

pub use super::share::needs::{self, Needed};

use super::check::deltas::Deltas;
use super::check::truth::{Judge, Lack};
use super::check::{CheckReport, Problems, trees};
use super::{Control, FileLost};
use crate::error::{Error, Result};
use crate::format::footer::PackKind;
use crate::format::{ChunkId, ChunkKind, DiskId};
use crate::index::Place;
use crate::pack::ReadChunks;
use crate::pool::PackStore;
use crate::store::{Located, Redundancy, Store};
use std::collections::{BTreeMap, HashSet};

/// Bases that are asked for at once.
const BATCH: usize = 4096;
/// Pairs of disks that a report names.
const PAIRS: usize = 10;

/// What would be lost.
#[derive(Clone, Debug, Default)]
pub struct RiskReport {
    /// In order of snapshot and path, as many as a check names.
    pub lost: Vec<FileLost>,
    pub files_lost: u64,
    pub bytes_lost: u64,
    pub files: u64,
    pub snapshots: u64,
    /// Anything that kept a snapshot from being looked at whole.
    pub problems: Vec<String>,
}

/// The store as it would be without some disks.
struct Without<'s> {
    store: &'s Store,
    gone: HashSet<DiskId>,
    /// Deltas whose bases would be lost: serial and offset.
    orphans: HashSet<(u32, u32)>,
}

impl Without<'_> {
    fn is_there(&self, disk: &DiskId) -> bool {
        !self.gone.contains(disk) && self.store.pool().disk(disk).is_some()
    }

    fn judge(&self, ids: &[ChunkId]) -> Result<Vec<std::result::Result<Located, Lack>>> {
        let located = self.store.locate(ids)?;
        let mut judged: Vec<_> = self.store.with_state(|state| {
            let each = located.into_iter().map(|at| {
                let at = at.ok_or(Lack::Nowhere)?;
                let had = self.store.would_reach(state, &at, &|d| self.is_there(d));
                match had && !self.orphans.contains(&(at.place.pack, at.place.offset)) {
                    true => Ok(at),
                    false => Err(Lack::Away(at.place)),
                }
            });
            each.collect()
        });
        // A chunk may lie in several packs, of which the index has one.
        for (id, judged) in ids.iter().zip(&mut judged).filter(|(_, judged)| judged.is_err()) {
            if let Some(at) = self.others(id)?.into_iter().next() {
                *judged = Ok(at);
            }
        }
        Ok(judged)
    }

    /// All places that would give a chunk.
    fn others(&self, id: &ChunkId) -> Result<Vec<Located>> {
        let mut all = self.store.worth_a_try(id)?;
        self.store.with_state(|state| {
            all.retain(|at| {
                self.store.would_reach(state, at, &|d| self.is_there(d))
                    && !self.orphans.contains(&(at.place.pack, at.place.offset))
            });
        });
        Ok(all)
    }

    /// Finds the deltas in packs that would be had whose bases would not.
    fn find_orphans(&mut self, control: &Control) -> Result<()> {
        let packs: Vec<_> = self.store.with_state(|s| s.packs().map(|p| p.sealed).collect());
        let mut orphans = HashSet::new();
        let mut known = Deltas::of(self.store);
        for sealed in packs.into_iter().filter(|p| self.store.reaches(p)) {
            control.proceed()?;
            let Ok(ends) = self.store.ends(&sealed) else { continue }; // its chunks are lost by themselves
            let deltas: Vec<_> = ends.footer.rows.iter().filter(|r| !r.header.bases.is_empty()).collect();
            for rows in deltas.chunks(BATCH) {
                let bases: Vec<ChunkId> = rows.iter().flat_map(|r| r.header.bases.iter().copied()).collect();
                let mut found = self.judge(&bases)?.into_iter();
                for row in rows {
                    // As many answers as were asked for, in that order. A reader follows one level: a base is no delta.
                    let mut all = true;
                    for (id, at) in row.header.bases.iter().zip(found.by_ref().take(row.header.bases.len())) {
                        all &= match at {
                            Err(_) => false,
                            Ok(at) if !known.has(&at) => true,
                            Ok(_) => self.others(id)?.iter().any(|at| !known.has(at)),
                        };
                    }
                    if !all {
                        let place = Place::of(sealed.serial, row);
                        orphans.insert((place.pack, place.offset));
                    }
                }
            }
        }
        self.orphans = orphans;
        Ok(())
    }
}

impl ReadChunks for Without<'_> {
    fn chunk(&self, kind: ChunkKind, id: &ChunkId) -> Result<Vec<u8>> {
        // A node that would be lost is read all the same, to name what is below it; a list that would be is an error, as it
        // would be for a restore.
        if kind == ChunkKind::List && self.judge(std::slice::from_ref(id))?.pop().is_some_and(|j| j.is_err()) {
            return Err(Error::ChunkMissing { chunk: id.to_string() });
        }
        self.store.chunk(kind, id)
    }
}

impl Judge for Without<'_> {
    fn find(&self, ids: &[ChunkId]) -> Result<Vec<std::result::Result<Located, Lack>>> {
        self.judge(ids)
    }

    fn why(&self, id: &ChunkId, lack: Lack) -> String {
        let chunk = id.short();
        match lack {
            Lack::Nowhere => format!("chunk {chunk} is in no pack that can be read now"),
            Lack::Away(place) | Lack::Damaged(place) => {
                let disk = self.store.with_state(|s| {
                    let disk = s.pack(place.pack)?.sealed.disk;
                    s.disks.get(&disk).map(|d| d.label.clone())
                });
                format!("chunk {chunk} is on disk {}, and too few of its group would be left", disk.unwrap_or_default())
            }
        }
    }

    fn node_is_lost(&self, id: &ChunkId) -> Result<Option<String>> {
        let judged = self.judge(std::slice::from_ref(id))?.pop();
        Ok(judged.and_then(std::result::Result::err).map(|lack| self.why(id, lack)))
    }
}

/// Names every file of every snapshot that would be lost if these disks were gone.
///
/// # Errors
/// [`Error::Interrupted`], [`Error::Index`].
pub fn without(store: &Store, disks: &[DiskId], control: &Control) -> Result<RiskReport> {
    control.progress.set_phase("looking what would be lost");
    let mut without = Without { store, gone: disks.iter().copied().collect(), orphans: HashSet::new() };
    without.find_orphans(control)?;
    let mut checked = CheckReport::default();
    let mut problems = Problems::default();
    trees::check(store, &without, false, control, &mut checked, &mut problems)?;
    Ok(RiskReport {
        lost: checked.lost,
        files_lost: checked.files_lost,
        bytes_lost: checked.bytes_lost,
        files: checked.files,
        snapshots: checked.snapshots,
        problems: problems.finish().into_iter().map(|p| p.what).collect(),
    })
}

/// Two disks, and the bytes of packs that would be lost with both.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pair {
    pub disks: [DiskId; 2],
    pub labels: [String; 2],
    pub packs: u64,
    pub bytes: u64,
}

/// How redundant everything is now.
#[derive(Clone, Debug, Default)]
pub struct Overview {
    pub parity: usize,
    pub redundancy: Redundancy,
    /// What more files than this need is to be held safer, and the packs that are, with their bytes.
    pub protect_shared: Option<u64>,
    pub packs_safer: u64,
    pub pack_bytes_safer: u64,
    /// Those that would hurt most; none where no pair would.
    pub pairs: Vec<Pair>,
}

/// Looks at log and disks alone.
pub fn overview(store: &Store) -> Overview {
    let redundancy = store.redundancy(|_, _| {});
    let mut pairs: BTreeMap<[DiskId; 2], (u64, u64)> = BTreeMap::new();
    let here: Vec<DiskId> = store.pool().disks().map(|d| d.id).collect();
    let each_pair = || here.iter().enumerate().flat_map(|(i, a)| here.iter().skip(i + 1).map(move |b| [*a, *b]));
    store.with_state(|state| {
        for group in state.groups() {
            let members = state.members(group);
            let sound = |m: &&crate::catalog::state::GroupMember| {
                store.is_sound(&m.disk) && !state.damage.contains_key(&m.pack)
            };
            let left = members.iter().filter(sound).count();
            for pair in each_pair() {
                let gone = members.iter().filter(sound).filter(|m| pair.contains(&m.disk));
                if left - gone.clone().count() < group.data() {
                    let lost = gone.filter(|m| !m.parity);
                    let (packs, bytes) = lost.fold((0, 0), |(n, sum), m| (n + 1, sum + m.bytes));
                    let entry = pairs.entry(pair).or_default();
                    *entry = (entry.0 + packs, entry.1 + bytes);
                }
            }
        }
        let mut alone: BTreeMap<DiskId, (u64, u64)> = BTreeMap::new();
        for p in state.packs().map(|p| &p.sealed) {
            if state.group_of(&p.pack).is_none() && store.pool().holds(p) {
                let entry = alone.entry(p.disk).or_default();
                *entry = (entry.0 + 1, entry.1 + p.bytes);
            }
        }
        for pair in each_pair() {
            for (packs, bytes) in pair.iter().filter_map(|d| alone.get(d)) {
                let entry = pairs.entry(pair).or_default();
                *entry = (entry.0 + packs, entry.1 + bytes);
            }
        }
        let label = |d: &DiskId| state.disks.get(d).map(|d| d.label.clone()).unwrap_or_default();
        let mut pairs: Vec<Pair> = pairs
            .into_iter()
            .filter(|(_, (packs, _))| *packs > 0)
            .map(|(disks, (packs, bytes))| Pair { disks, labels: disks.map(|d| label(&d)), packs, bytes })
            .collect();
        pairs.sort_by_key(|p| std::cmp::Reverse(p.bytes));
        pairs.truncate(PAIRS);
        let safer = state.packs().map(|p| &p.sealed).filter(|p| p.kind == PackKind::Shared);
        let (packs_safer, pack_bytes_safer) = safer.fold((0, 0), |(n, sum), p| (n + 1, sum + p.bytes));
        let protect_shared = state.protects_shared();
        Overview { parity: state.parity(), redundancy, protect_shared, packs_safer, pack_bytes_safer, pairs }
    })
}
