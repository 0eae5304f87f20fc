//! One file's distinct chunks.
//!
//! A file of any length is looked at in bounded memory: where it has more distinct chunks than fit, only those whose
//! ids end in so many zero bits are kept, and every sum over them stands for 2^[`Own::thinned`] times as much. Ids are
//! uniform, so that is a fair sample, and the same one in every file.

use super::facts::{self, Fact};
use super::is_of_one_place;
use crate::catalog::list::References;
use crate::error::Result;
use crate::format::ChunkId;
use crate::format::recipe::Recipe;
use crate::store::Store;
use std::collections::HashMap;
use std::collections::hash_map::Entry;

/// What a chunk takes here and in [`super::kin::Kin`], about.
const CHUNK_BYTES: u64 = 384;

/// A chunk of the file.
#[derive(Clone, Debug)]
pub struct OwnChunk {
    pub id: ChunkId,
    pub plain_bytes: u32,
    /// How often the file has it.
    pub times: u64,
    /// `None`: it cannot be had.
    pub fact: Option<Fact>,
}

impl OwnChunk {
    /// Bytes of the file's streams that it stands for.
    pub fn bytes(&self) -> u64 {
        u64::from(self.plain_bytes).saturating_mul(self.times)
    }
}

/// The distinct chunks of one file.
#[derive(Debug, Default)]
pub struct Own {
    pub chunks: Vec<OwnChunk>,
    index: HashMap<ChunkId, u32>,
    /// One chunk in 2^this is kept.
    pub thinned: u32,
    /// Lists of chunks that cannot be read: what is below them is not here.
    pub unreadable: u64,
}

/// Whether an id is kept at this thinning.
fn keeps(id: &ChunkId, thinned: u32) -> bool {
    let last = id.0.last_chunk::<4>().map_or(0, |b| u32::from_be_bytes(*b)); // an id is longer
    last.trailing_zeros() >= thinned
}

impl Own {
    /// Chunks that fit the share of this budget.
    pub fn most(memory_bytes: u64) -> usize {
        usize::try_from(memory_bytes / 8 / CHUNK_BYTES).unwrap_or(usize::MAX).max(1024)
    }

    /// Collects a file's chunks and what their records say.
    ///
    /// # Errors
    /// [`crate::Error::Index`]; damage is counted.
    pub fn of(store: &Store, recipe: &Recipe) -> Result<Own> {
        let mut own = Own::collect(store, recipe, Own::most(store.memory_bytes()))?;
        for batch in own.chunks.chunks_mut(facts::BATCH) {
            let ids: Vec<ChunkId> = batch.iter().map(|c| c.id).collect();
            for (chunk, fact) in batch.iter_mut().zip(facts::of(store, &ids)?) {
                chunk.fact = fact;
            }
        }
        Ok(own)
    }

    fn collect(store: &Store, recipe: &Recipe, most: usize) -> Result<Own> {
        let mut own = Own::default();
        for stream in &recipe.streams {
            let references = References::new(store, stream, 0);
            let mut references = match references {
                Ok(references) => references,
                Err(e) if is_of_one_place(&e) => {
                    own.unreadable += 1;
                    continue;
                }
                Err(e) => return Err(e),
            };
            loop {
                match references.next() {
                    None => break,
                    Some(Ok((_, r))) => own.add(r.id, u32::try_from(r.bytes).unwrap_or(u32::MAX), most),
                    Some(Err(e)) if is_of_one_place(&e) => own.unreadable += 1, // it is at its end then
                    Some(Err(e)) => return Err(e),
                }
            }
        }
        Ok(own)
    }

    fn add(&mut self, id: ChunkId, plain_bytes: u32, most: usize) {
        if !keeps(&id, self.thinned) {
            return;
        }
        match self.index.entry(id) {
            Entry::Occupied(at) => {
                if let Some(chunk) = self.chunks.get_mut(*at.get() as usize) {
                    chunk.times += 1;
                }
            }
            Entry::Vacant(at) => {
                at.insert(self.chunks.len() as u32); // far below 2^32: `most` is
                self.chunks.push(OwnChunk { id, plain_bytes, times: 1, fact: None });
                if self.chunks.len() > most && self.thinned < 24 {
                    self.thin();
                }
            }
        }
    }

    fn thin(&mut self) {
        self.thinned += 1;
        let thinned = self.thinned;
        self.chunks.retain(|c| keeps(&c.id, thinned));
        self.index = (0..).zip(&self.chunks).map(|(i, c)| (c.id, i)).collect();
    }

    /// The chunk's number among [`Own::chunks`].
    pub fn find(&self, id: &ChunkId) -> Option<u32> {
        self.index.get(id).copied()
    }

    /// A sum over the chunks that are kept, for all of them.
    pub fn scale(&self, sum: u64) -> u64 {
        sum.saturating_mul(1 << self.thinned)
    }

    /// Bytes of the file's streams.
    pub fn bytes(&self) -> u64 {
        self.scale(self.chunks.iter().fold(0, |sum, c| sum.saturating_add(c.bytes())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::check::blake3;

    #[test]
    fn a_thinned_file_is_bounded_and_its_sums_come_near_the_truth() {
        let mut own = Own::default();
        let n = 200_000u64;
        for i in 0..n {
            own.add(ChunkId(blake3(&[&(i % (n / 2)).to_le_bytes()])), 1000, 5_000);
        }
        assert!(own.chunks.len() <= 5_000 && own.thinned >= 4, "{} {}", own.chunks.len(), own.thinned);
        let bytes = own.bytes();
        // The chunks that were thinned out later counted their repeats; those that came later still do.
        assert!(bytes.abs_diff(n * 1000) < n * 1000 / 10, "{bytes}");
        for (i, c) in (0..).zip(&own.chunks) {
            assert_eq!(own.find(&c.id), Some(i));
        }
    }
}
