//! Which chunks a file may take along: those that no file before it has.
//!
//! Files that share chunks cannot all lie in one piece. They are asked in one order, newest snapshot first, and a chunk
//! belongs to the first that has it. Only its owner moves a chunk, so what was gathered for a file is not taken apart
//! again for one behind it, and runs that follow each other come to an end.
//!
//! What was met is kept in a Bloom filter (Bloom 1970): sixteen bits a chunk and eleven probes, so of 2000 chunks that are
//! new one passes for another's and stays where it is. A filter that is full says so of every chunk.

use crate::format::ChunkId;

const BITS_A_CHUNK: u64 = 16;
const PROBES: u64 = 11;

/// The chunks of the files so far.
pub struct Met {
    words: Vec<u64>,
    left: u64,
}

impl Met {
    /// For so many chunks, in so much memory at most.
    pub fn new(chunks: u64, memory_bytes: u64) -> Met {
        let words = (chunks.saturating_mul(BITS_A_CHUNK) / 64 + 1).min(memory_bytes / 8).max(1);
        let words = usize::try_from(words).unwrap_or(1); // memory is addressed by usize
        Met { words: vec![0; words], left: words as u64 * 64 / BITS_A_CHUNK }
    }

    /// Whether no more chunks can be told apart.
    pub fn is_full(&self) -> bool {
        self.left == 0
    }

    fn bits(&self, id: &ChunkId) -> impl Iterator<Item = (usize, u64)> + use<> {
        // Ids are keyed hashes: their bytes are as good as any hash of them.
        let part = |from: usize| {
            let mut bytes = [0; 8];
            bytes.copy_from_slice(&id.0[from..from + 8]); // 0 or 8, of 32
            u64::from_le_bytes(bytes)
        };
        let (first, step, all) = (part(0), part(8) | 1, self.words.len() as u64 * 64);
        (0..PROBES).map(move |i| {
            let bit = first.wrapping_add(step.wrapping_mul(i)) % all;
            ((bit / 64) as usize, 1 << (bit % 64)) // below the number of words
        })
    }

    /// Whether an earlier file has it, or may have.
    pub fn has(&self, id: &ChunkId) -> bool {
        self.is_full() || self.bits(id).all(|(word, bit)| self.words.get(word).is_some_and(|w| w & bit != 0))
    }

    pub fn add(&mut self, id: &ChunkId) {
        if self.is_full() || self.has(id) {
            return;
        }
        self.left -= 1; // it is not full
        for (word, bit) in self.bits(id) {
            if let Some(word) = self.words.get_mut(word) {
                *word |= bit;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(n: u64) -> ChunkId {
        ChunkId(crate::format::check::blake3(&[&n.to_le_bytes()]))
    }

    #[test]
    fn what_was_met_is_known_and_few_others_are_taken_for_it() {
        let mut met = Met::new(10_000, 1 << 20);
        (0..9_000).for_each(|n| met.add(&id(n)));
        assert!((0..9_000).all(|n| met.has(&id(n))));
        let mistaken = (10_000..110_000).filter(|n| met.has(&id(*n))).count();
        assert!(mistaken < 150, "{mistaken} of 100000");
    }

    #[test]
    fn a_full_one_knows_all() {
        let mut met = Met::new(1 << 40, 80);
        (0..40).for_each(|n| met.add(&id(n)));
        assert!(met.is_full() && met.has(&id(999)));
    }
}
