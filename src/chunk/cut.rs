//! Content-defined cuts: FastCDC as published in 2020, through the pinned `fastcdc` crate.

use super::scan::{DEPTH, Table};
use crate::error::{Error, Result};
use crate::format::Keys;
use crate::format::superblock::{CHUNKER_FASTCDC_2020, ChunkerParameters};
use fastcdc::v2020::{Normalization, cut_gear, get_gear_with_seed, select_masks};
use std::borrow::Cow;

/// The longest maximum that this version cuts with: a reader's window of 4 MiB holds what a splitter keeps back
/// (1 MiB), one uncut chunk, and still a splitter's least window (2 MiB).
pub const MAX_BYTES: u32 = 1 << 20;

/// Finds the ends of chunks. One value serves any number of threads and streams; [`super::Scanner`] does the same
/// faster, and keeps what it needs for that.
pub struct Cutter {
    parameters: ChunkerParameters,
    mask_s: u64,
    mask_l: u64,
    gear: Cow<'static, [u64]>,
    gear_shifted: Cow<'static, [u64]>,
    pub(super) table: Box<Table>,
}

/// Where in its bytes a chunk may end.
pub(super) struct Limits {
    /// The first position that is tested.
    pub start: usize,
    /// From here on, the looser mask is asked.
    border: usize,
    /// Behind the last position that is tested.
    pub end: usize,
    /// The length of a chunk that no position ends.
    pub longest: usize,
    masks: [u64; 2],
}

impl Limits {
    #[cfg(test)]
    pub fn border(&self) -> usize {
        self.border
    }

    /// The mask whose bits are zero where a chunk ends.
    pub fn mask(&self, at: usize) -> u64 {
        self.masks[usize::from(at >= self.border)]
    }
}

impl Cutter {
    /// # Errors
    /// [`Error::Malformed`] for a chunker that this version does not know.
    pub fn new(parameters: ChunkerParameters, keys: &Keys) -> Result<Self> {
        let bad = |why| Error::Malformed { what: "the chunker's parameters", offset: 0, why };
        if parameters.chunker != CHUNKER_FASTCDC_2020 {
            return Err(bad("a chunker that this version does not know"));
        }
        if parameters.max_bytes > MAX_BYTES {
            return Err(bad("chunks longer than this version's readers keep in one window"));
        }
        let level = match parameters.level {
            0 => Normalization::Level0,
            1 => Normalization::Level1,
            2 => Normalization::Level2,
            3 => Normalization::Level3,
            _ => return Err(bad("a normalisation level that there is not")),
        };
        let (mask_s, mask_l) = select_masks(parameters.avg_bytes as usize, level);
        if (mask_s | mask_l) >> DEPTH != 0 {
            return Err(bad("an average that no mask is known for"));
        }
        let (gear, gear_shifted) = get_gear_with_seed(keys.gear_seed());
        let words = <&[u64; 256]>::try_from(&*gear).map_err(|_| bad("a gear table of another length"))?;
        let table = Box::new(Table::new(words, mask_s, mask_l));
        Ok(Cutter { parameters, mask_s, mask_l, gear, gear_shifted, table })
    }

    /// Bytes of the longest chunk. [`Cutter::next`] wants to see so many, or the run's end.
    pub fn max_bytes(&self) -> usize {
        self.parameters.max_bytes as usize
    }

    /// The length of the chunk that begins at `bytes[0]`: at least 1 and at most what is there.
    ///
    /// `bytes` holds at least [`Cutter::max_bytes`], or all that is left of a run: the cut after a run's
    /// last byte is forced. Empty input gives 0.
    pub fn next(&self, bytes: &[u8]) -> usize {
        let p = &self.parameters;
        let (_, length) = cut_gear(
            bytes,
            p.min_bytes as usize,
            p.avg_bytes as usize,
            p.max_bytes as usize,
            self.mask_s,
            self.mask_l,
            self.mask_s << 1,
            self.mask_l << 1,
            &self.gear,
            &self.gear_shifted,
        );
        length
    }

    /// Where the chunker looks for the end of a chunk in `bytes` bytes; `None` where it does not look.
    ///
    /// It steps by two bytes, so an odd last one is not tested.
    pub(super) fn limits(&self, bytes: usize) -> Option<Limits> {
        let p = &self.parameters;
        if bytes <= p.min_bytes as usize {
            return None;
        }
        let longest = bytes.min(p.max_bytes as usize);
        let even = |n: usize| n / 2 * 2;
        Some(Limits {
            start: even(p.min_bytes as usize),
            border: even(longest.min(p.avg_bytes as usize)),
            end: even(longest),
            longest,
            masks: [self.mask_s, self.mask_l],
        })
    }

    /// What the superblock keeps of the gear table, so that a build with another table is found out
    /// before it writes a chunk: the keyed BLAKE3 of its 256 words.
    pub fn table_check(&self, keys: &Keys) -> [u8; 32] {
        let words: Vec<u8> = self.gear.iter().flat_map(|w| w.to_le_bytes()).collect();
        keys.keyed_check(&words)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fastcdc::v2020::FastCDC;

    /// Bytes that depend on nothing but the seed: splitmix64.
    fn noise(seed: u64, n: usize) -> Vec<u8> {
        let mut state = seed;
        let mut out = Vec::with_capacity(n + 8);
        while out.len() < n {
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut z = state;
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            out.extend_from_slice(&(z ^ (z >> 31)).to_le_bytes());
        }
        out.truncate(n);
        out
    }

    fn lengths(cutter: &Cutter, bytes: &[u8]) -> Vec<usize> {
        let mut out = Vec::new();
        let mut at = 0;
        while at < bytes.len() {
            let end = bytes.len().min(at + cutter.max_bytes());
            let n = cutter.next(&bytes[at..end]);
            assert!(n > 0);
            out.push(n);
            at += n;
        }
        out
    }

    #[test]
    fn cuts_equal_the_crates_own_iterator() {
        for seed in [0, 0x1234_5678_9abc_def0] {
            let p = ChunkerParameters::default();
            let cutter = Cutter::new(p, &Keys::new([1; 32], seed)).unwrap();
            for (i, n) in [0, 1, 65_536, 65_537, 3_000_001, 8 << 20].into_iter().enumerate() {
                let bytes = noise(i as u64, n);
                let theirs = FastCDC::with_level_and_seed(
                    &bytes,
                    p.min_bytes as usize,
                    p.avg_bytes as usize,
                    p.max_bytes as usize,
                    Normalization::Level2,
                    seed,
                );
                assert_eq!(
                    lengths(&cutter, &bytes),
                    theirs.map(|c| c.length).collect::<Vec<_>>(),
                    "{n} bytes, seed {seed}"
                );
            }
        }
    }

    /// A changed cut is a lost deduplication against everything stored before: these numbers never change.
    #[test]
    fn golden_cut_points_of_the_pinned_crate() {
        let plain = Cutter::new(ChunkerParameters::default(), &Keys::new([0; 32], 0)).unwrap();
        let seeded = Cutter::new(ChunkerParameters::default(), &Keys::new([0; 32], 0xfeed_beef_0123_4567)).unwrap();
        let bytes = noise(42, 3 << 20);
        assert_eq!(lengths(&plain, &bytes), GOLDEN_PLAIN);
        assert_eq!(lengths(&seeded, &bytes), GOLDEN_SEEDED);
        assert_eq!(lengths(&plain, &vec![0; 3 << 20]), [1 << 20; 3], "constant bytes are cut at the maximum");
    }

    const GOLDEN_PLAIN: &[usize] =
        &[82550, 118322, 312756, 330562, 370081, 413331, 282022, 313509, 362809, 303015, 256771];
    const GOLDEN_SEEDED: &[usize] = &[212196, 515645, 273938, 337614, 470023, 268238, 291128, 350263, 372820, 53863];

    #[test]
    fn an_insertion_moves_only_the_cuts_around_it() {
        let cutter = Cutter::new(ChunkerParameters::default(), &Keys::new([0; 32], 7)).unwrap();
        let bytes = noise(5, 16 << 20);
        let mut edited = bytes.clone();
        edited.splice(5_000_000..5_000_000, *b"inserted");
        let chunks = |b: &[u8]| {
            let mut at = 0;
            lengths(&cutter, b)
                .into_iter()
                .map(|n| {
                    at += n;
                    b[at - n..at].to_vec()
                })
                .collect::<Vec<_>>()
        };
        let before: std::collections::HashSet<_> = chunks(&bytes).into_iter().collect();
        let new: usize = chunks(&edited).iter().filter(|c| !before.contains(*c)).map(Vec::len).sum();
        assert!(new < 3 << 20, "{new} bytes are new after an insertion of 8");
    }

    #[test]
    fn an_unknown_chunker_is_refused() {
        let p = ChunkerParameters { chunker: 9, ..Default::default() };
        assert!(Cutter::new(p, &Keys::new([0; 32], 0)).is_err());
        let p = ChunkerParameters { max_bytes: 2 << 20, ..Default::default() };
        assert!(Cutter::new(p, &Keys::new([0; 32], 0)).is_err(), "a window could not hold it");
        let p = ChunkerParameters { level: 4, ..Default::default() };
        assert!(Cutter::new(p, &Keys::new([0; 32], 0)).is_err());
    }
}
