//! What shares storage with one file: its chunks, what they are coded against, and what is coded against those.
//!
//! ```text
//!   a chunk of the other file          a chunk of this file        bytes that count
//!   is the same chunk                  c                           all of c
//!   is the base of                     c                           what coding c against it saved
//!   is coded against                   c                           what that saved, at most c
//!   is coded against the base of       c                           the lesser of what both saved
//! ```
//! "Saved" is plain less stored bytes; where a chunk has several bases each counts for all of it, since what each gave
//! is not known. Each chunk of this file counts once for one other file, by the way that gives most.

use super::facts::{self, Fact};
use super::own::Own;
use super::tables;
use crate::error::Result;
use crate::format::ChunkId;
use crate::format::record::Codec;
use crate::ops::{Control, Notice};
use crate::store::Store;
use std::collections::{HashMap, HashSet};

/// Chunks coded against this file's or its bases that are watched for, in multiples of what [`Own`] may hold.
const CODED_PER_OWN: usize = 2;

/// A chunk, of any file, that is coded against what this file has or is coded against.
#[derive(Clone, Debug)]
struct Coded {
    codec: Codec,
    saved_bytes: u32,
    on: Box<[ChunkId]>,
}

/// How two files share a chunk's bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Means {
    /// They have the same chunk.
    Chunk,
    /// A chunk of one is coded by this codec against one of the other, or both against one base.
    Coded(Codec),
}

/// What is shared of one chunk of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shared {
    /// The chunk's number among the file's.
    pub own: u32,
    pub bytes: u64,
    pub means: Means,
}

/// What is watched for.
pub struct Kin {
    pub own: Own,
    /// What the file's chunks are coded against, each with those.
    bases: HashMap<ChunkId, Vec<u32>>,
    /// What is coded against the file's chunks or their bases.
    coded: HashMap<ChunkId, Coded>,
    /// Chunks coded against them that found no room: what they share is not counted.
    pub coded_left_out: u64,
}

impl Kin {
    /// Reads the tables of all data packs for what hangs on the file's chunks.
    ///
    /// # Errors
    /// [`crate::Error::Interrupted`], [`crate::Error::Index`].
    pub fn of(store: &Store, control: &Control, own: Own) -> Result<Kin> {
        let mut kin = Kin { own, bases: HashMap::new(), coded: HashMap::new(), coded_left_out: 0 };
        for (i, chunk) in (0..).zip(&kin.own.chunks) {
            for base in chunk.fact.iter().flat_map(|f| &f.bases) {
                kin.bases.entry(*base).or_default().push(i);
            }
        }
        let most = CODED_PER_OWN * Own::most(store.memory_bytes());
        let Kin { own, bases, coded, coded_left_out } = &mut kin;
        let watched = |id: &ChunkId| own.find(id).is_some() || bases.contains_key(id);
        let rows = |row: &crate::format::footer::Row| row.header.bases.iter().any(watched);
        tables::each(store, control, |pack| pack.kind.is_data(), &rows, &mut |pack, rows| {
            for row in rows {
                let fact = Fact::of(&row.header, pack.serial, pack.disk, row.offset);
                let on = fact.bases.iter().copied().filter(watched).collect();
                if coded.len() < most || coded.contains_key(&row.header.id) {
                    coded.insert(row.header.id, Coded { codec: fact.codec, saved_bytes: fact.saved_bytes(), on });
                } else {
                    *coded_left_out += 1;
                }
            }
            Ok(())
        })?;
        if kin.coded_left_out > 0 {
            control.notice(Notice::Note(format!(
                "{} chunks that are coded against this file's found no room in memory and are not counted; a larger \
                 --memory holds more",
                kin.coded_left_out
            )));
        }
        Ok(kin)
    }

    /// What a chunk of another file shares with this one.
    pub fn shared(&self, id: &ChunkId, each: &mut dyn FnMut(Shared)) {
        let chunk = |own: u32| self.own.chunks.get(own as usize);
        if let Some(own) = self.own.find(id)
            && let Some(c) = chunk(own)
        {
            each(Shared { own, bytes: c.bytes(), means: Means::Chunk });
            return;
        }
        let saved = |own: u32| {
            let c = chunk(own)?;
            let fact = c.fact.as_ref()?;
            Some((u64::from(fact.saved_bytes()).saturating_mul(c.times), fact.codec))
        };
        for &own in self.bases.get(id).into_iter().flatten() {
            if let Some((bytes, codec)) = saved(own) {
                each(Shared { own, bytes, means: Means::Coded(codec) });
            }
        }
        let Some(coded) = self.coded.get(id) else { return };
        for base in &coded.on {
            if let Some(own) = self.own.find(base)
                && let Some(c) = chunk(own)
            {
                let bytes = u64::from(coded.saved_bytes.min(c.plain_bytes)).saturating_mul(c.times);
                each(Shared { own, bytes, means: Means::Coded(coded.codec) });
            }
            for &own in self.bases.get(base).into_iter().flatten() {
                if let Some((bytes, _)) = saved(own) {
                    let bytes = bytes.min(u64::from(coded.saved_bytes));
                    each(Shared { own, bytes, means: Means::Coded(coded.codec) });
                }
            }
        }
    }

    /// Watches for files that need what this one needs.
    pub fn holds(&self) -> Holds<'_> {
        Holds { kin: self, own: vec![false; self.own.chunks.len()], bases: HashSet::new() }
    }

    /// The bases of the file's chunks that are no chunks of it.
    pub fn foreign_bases(&self) -> Vec<ChunkId> {
        let mut ids: Vec<ChunkId> = self.bases.keys().filter(|id| self.own.find(id).is_none()).copied().collect();
        ids.sort_unstable();
        ids
    }
}

/// Which of the file's chunks, and of their bases, other files need too.
pub struct Holds<'k> {
    kin: &'k Kin,
    own: Vec<bool>,
    bases: HashSet<ChunkId>,
}

impl Holds<'_> {
    /// Another file has this chunk.
    pub fn needed(&mut self, id: &ChunkId) {
        self.hold(id);
        if let Some(coded) = self.kin.coded.get(id) {
            coded.on.iter().for_each(|base| self.hold(base));
        }
    }

    fn hold(&mut self, id: &ChunkId) {
        if let Some(held) = self.kin.own.find(id).and_then(|own| self.own.get_mut(own as usize)) {
            *held = true;
        } else if self.kin.bases.contains_key(id) {
            self.bases.insert(*id);
        }
    }

    /// Bytes of records that only this file keeps: of its chunks, and of bases that only it needs.
    ///
    /// # Errors
    /// [`crate::Error::Index`].
    pub fn exclusive_bytes(&self, store: &Store) -> Result<u64> {
        let mut held = self.own.clone();
        let mut bases = self.bases.clone();
        // What is needed as a delta needs its bases.
        for (chunk, _) in self.kin.own.chunks.iter().zip(&self.own).filter(|(_, held)| **held) {
            for base in chunk.fact.iter().flat_map(|f| &f.bases) {
                match self.kin.own.find(base).and_then(|own| held.get_mut(own as usize)) {
                    Some(held) => *held = true,
                    None => drop(bases.insert(*base)),
                }
            }
        }
        let mut sum = 0u64;
        for (chunk, _) in self.kin.own.chunks.iter().zip(&held).filter(|(_, held)| !**held) {
            sum = sum.saturating_add(chunk.fact.as_ref().map_or(0, |f| f.record_bytes));
        }
        let free: Vec<ChunkId> = self.kin.foreign_bases().into_iter().filter(|b| !bases.contains(b)).collect();
        for ids in free.chunks(facts::BATCH) {
            let of_bases = facts::of(store, ids)?;
            sum = of_bases.iter().flatten().fold(sum, |sum, f| sum.saturating_add(f.record_bytes));
        }
        Ok(self.kin.own.scale(sum))
    }
}
