//! The door through which packs are read: from their own disk, or from what stands in for them.
//!
//! A pack can be *reached* if its disk is here and nothing is known against the place that is asked for, or
//! if enough other members of its group are here to rebuild it. Readers open packs here; whoever met a
//! record that does not prove asks for the proven file instead, whose every byte was compared with the
//! pack's checks and rebuilt from its group where it did not fit.
//!
//! What had to be rebuilt although its disk is here is remembered ([`Store::take_harmed`]), so that the verb's
//! end can write it back.

use super::{IsThere, Located, Store};
use crate::catalog::state::LogState;
use crate::chunk::Unsqueezer;
use crate::error::{Error, Result};
use crate::format::check::UNIT_BYTES;
use crate::format::event::SealedPack;
use crate::format::{ChunkId, ChunkKind, PackId};
use crate::io::File;
use crate::io::threads::Mutex;
use crate::pack::read::{self, Bases, Ends};
use crate::pool::PackStore;
use crate::pool::parity::parity_path;
use crate::pool::parity::read::{GroupReader, ProvenFile};
use std::collections::{BTreeSet, VecDeque};
use std::sync::{Arc, PoisonError};

/// Groups that are kept open, with a few rebuilt units each.
const GROUPS_KEPT: usize = 8;

/// Groups that were read from lately, and packs that gave wrong bytes.
#[derive(Default)]
pub(super) struct Rebuilding {
    open: Mutex<VecDeque<([u8; 16], Arc<GroupReader>)>>,
    harmed: Mutex<BTreeSet<PackId>>,
}

impl Store {
    /// Whether bytes `from..to` of a pack could be rebuilt from the other members of its group, as far as log and
    /// disks tell: each member that is away, or damaged in the same units, takes one parity pack.
    pub fn can_rebuild(&self, state: &LogState, pack: &PackId, from: u64, to: u64) -> bool {
        self.would_rebuild(state, pack, (from, to), &|disk| self.pool.disk(disk).is_some())
    }

    /// As [`Store::can_rebuild`], if only these disks were there.
    pub fn would_rebuild(
        &self,
        state: &LogState,
        pack: &PackId,
        (from, to): (u64, u64),
        is_there: IsThere<'_>,
    ) -> bool {
        let Some(group) = state.group_of(pack) else { return false };
        let (first, last) = (from / UNIT_BYTES * UNIT_BYTES, to.max(from + 1).next_multiple_of(UNIT_BYTES));
        let others = state.members(group).into_iter().filter(|m| m.pack != *pack);
        let usable = others.filter(|m| {
            let is_padding = !m.parity && m.bytes <= first;
            is_padding || (is_there(&m.disk) && !state.is_damaged(&m.pack, first, last - first))
        });
        usable.count() >= group.data()
    }

    /// Whether there may be chunks that one has and that cannot be had: a disk is away, damage is known, or packs were lost
    /// with a disk that was given up. The log knows those until nothing needs them.
    pub fn may_lack_copies(&self) -> bool {
        let lost = |s: &LogState| s.packs().any(|p| s.is_retired(&p.sealed.disk) && !self.pool.holds(&p.sealed));
        !self.missing_disks().is_empty() || self.with_state(|s| !s.damage.is_empty() || lost(s))
    }

    /// Whether a pack can be read, or rebuilt, as far as log and disks tell.
    pub fn reaches(&self, sealed: &SealedPack) -> bool {
        self.pool.holds(sealed) || self.with_state(|s| self.reaches_in(s, sealed))
    }

    /// As [`Store::reaches`], under a state that the caller holds.
    pub fn reaches_in(&self, state: &LogState, sealed: &SealedPack) -> bool {
        self.pool.holds(sealed) || self.can_rebuild(state, &sealed.pack, 0, sealed.bytes)
    }

    /// Whether the record at a place could be had if only these disks were there.
    pub fn would_reach(&self, state: &LogState, at: &Located, is_there: IsThere<'_>) -> bool {
        let (offset, bytes) = (u64::from(at.place.offset), u64::from(at.place.stored));
        let whole = !state.is_damaged(&at.sealed.pack, offset, bytes);
        (whole && is_there(&at.sealed.disk))
            || self.would_rebuild(state, &at.sealed.pack, (offset, offset + bytes), is_there)
    }

    /// Whether the record at a place can be had, as far as log and disks tell.
    pub(super) fn reaches_place(&self, state: &LogState, sealed: &SealedPack, offset: u64, bytes: u64) -> bool {
        let whole = !state.is_damaged(&sealed.pack, offset, bytes);
        (whole && self.pool.holds(sealed)) || self.can_rebuild(state, &sealed.pack, offset, offset + bytes)
    }

    /// The group of a pack, ready to be read; `None` where it has none.
    ///
    /// # Errors
    /// [`Error::FromTheFuture`] for a code that this program does not know.
    pub fn group_of(&self, pack: &PackId) -> Result<Option<(Arc<GroupReader>, usize)>> {
        let found = self.with_state(|s| {
            let group = s.group_of(pack)?;
            Some((group.group.clone(), s.members(group)))
        });
        let Some((group, members)) = found else { return Ok(None) };
        let Some(slot) = group.members.iter().position(|m| m.pack == *pack) else { return Ok(None) };
        let id = group.id;
        let kept = |open: &VecDeque<([u8; 16], Arc<GroupReader>)>| {
            open.iter().find(|(g, _)| *g == id).map(|(_, reader)| Arc::clone(reader))
        };
        let mut open = self.rebuilding.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(reader) = kept(&open) {
            return Ok(Some((reader, slot)));
        }
        let place = |m: &crate::catalog::state::GroupMember| {
            let disk = self.pool.disk(&m.disk)?;
            Some(match m.parity {
                true => parity_path(&disk.path, m.pack),
                false => crate::pack::sealed_path(&disk.path, m.pack),
            })
        };
        let reader = Arc::new(GroupReader::new(&self.io, group, members.iter().map(place).collect())?);
        if open.len() >= GROUPS_KEPT {
            open.pop_front();
        }
        open.push_back((id, Arc::clone(&reader)));
        Ok(Some((reader, slot)))
    }

    /// Forgets which packs and groups are open: some lie elsewhere now, or are other files.
    pub fn forget_files(&self) {
        self.rebuilding.open.lock().unwrap_or_else(PoisonError::into_inner).clear();
        self.pool.forget_handles();
    }

    /// A pack's file of which every byte proves, rebuilt from its group where it must be; `None` for a pack without
    /// a group.
    ///
    /// # Errors
    /// As [`Store::group_of`].
    pub fn proven(&self, sealed: &SealedPack) -> Result<Option<Arc<dyn File>>> {
        let Some((reader, slot)) = self.group_of(&sealed.pack)? else { return Ok(None) };
        Ok(Some(Arc::new(ProvenFile::new(reader, slot)?)))
    }

    /// Opens a pack: its own file, or else what its group makes of it.
    ///
    /// # Errors
    /// [`Error::DiskMissing`], [`Error::Io`].
    pub fn open_pack(&self, sealed: &SealedPack) -> Result<Arc<dyn File>> {
        match self.pool.open(sealed) {
            Ok(file) => Ok(file),
            Err(e) => match self.proven(sealed) {
                Ok(Some(file)) => {
                    self.note_harm(sealed);
                    Ok(file)
                }
                _ => Err(e),
            },
        }
    }

    /// Remembers a pack whose own bytes did not do although its disk is here.
    fn note_harm(&self, sealed: &SealedPack) {
        if self.pool.holds(sealed) {
            self.rebuilding.harmed.lock().unwrap_or_else(PoisonError::into_inner).insert(sealed.pack);
        }
    }

    /// The packs whose bytes had to be rebuilt although their disks are here, each told once.
    pub fn take_harmed(&self) -> Vec<PackId> {
        let mut harmed = self.rebuilding.harmed.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut *harmed).into_iter().collect()
    }

    /// Reads a record and makes something of it; where a gc moved it meanwhile, at its new place, and where its own bytes do
    /// not do, from the group's proven ones.
    pub(super) fn with_record<T>(
        &self,
        id: &ChunkId,
        at: &Located,
        mut make: impl FnMut(&Located, &[u8]) -> Result<T>,
    ) -> Result<T> {
        let mut attempt = |file: &dyn File, at: &Located| {
            let mut record = vec![0; self.record_bytes(at)?];
            let offset = u64::from(at.place.offset);
            file.read_exact_at(&mut record, offset).map_err(|e| self.read_failed(id, at, e))?;
            make(at, &record)
        };
        let (own, at) = match self.open_at(id, at) {
            Ok((file, at)) => (attempt(&*file, &at), at),
            Err(e) => (Err(e), *at),
        };
        match own {
            Err(e @ (Error::Index { .. } | Error::Interrupted)) => Err(e),
            Err(e) => match self.proven(&at.sealed) {
                Ok(Some(file)) => {
                    let made = attempt(&*file, &at).map_err(|_| e)?;
                    self.note_harm(&at.sealed);
                    Ok(made)
                }
                _ => Err(e),
            },
            made => made,
        }
    }

    /// Proves a record that was read already, or reads it again, from the group if it must be.
    ///
    /// # Errors
    /// As [`Store::read_at`].
    pub fn open_read(
        &self,
        id: &ChunkId,
        at: &Located,
        record: &[u8],
        unsqueezer: &mut Unsqueezer,
        bases: Bases<'_>,
    ) -> Result<Vec<u8>> {
        let (kind, offset) = (ChunkKind::Data, u64::from(at.place.offset));
        match read::open_record(&self.keys, unsqueezer, at.sealed.pack, offset, record, (kind, id), bases) {
            Err(e @ (Error::Index { .. } | Error::Interrupted)) => Err(e),
            Err(_) => self.read_at(kind, id, at, unsqueezer),
            plain => plain,
        }
    }

    /// A pack's ends, proven, under the root that the log names.
    ///
    /// # Errors
    /// [`Error::Damaged`], [`Error::Io`], [`Error::DiskMissing`].
    pub fn ends(&self, sealed: &SealedPack) -> Result<Ends> {
        let path = self.pool.place(sealed);
        let ours = |ends: Ends| match ends.trailer.root == sealed.root {
            true => Ok(ends),
            false => {
                let why = "it is not the pack that the log knows".to_owned();
                Err(Error::Damaged { what: "a pack", path: path.clone(), offset: 0, why })
            }
        };
        let own = self.pool.open(sealed).and_then(|file| read::ends(&*file, &path, sealed.pack)).and_then(ours);
        match own {
            Ok(ends) => Ok(ends),
            Err(e) => match self.proven(sealed) {
                Ok(Some(file)) => {
                    let ends = read::ends(&*file, &path, sealed.pack).map_err(|_| e)?;
                    self.note_harm(sealed);
                    Ok(ends)
                }
                _ => Err(e),
            },
        }
    }
}
