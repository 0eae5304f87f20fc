//! Resemblance: what of a chunk stays the same when some of its bytes change.
//!
//! Positions are sampled by the 32 bytes that end there ([`super::Scanner`] finds them in the pass that cuts), so that an
//! insertion moves a sample but does not change it. A sample's value is made of its last 16 bytes. Of the values six linear
//! transforms are taken, and of each the greatest is a *feature*: min-hashes. Two chunks
//! that share a share `s` of all their samples agree in a feature with a probability of `s`, in one of six at least with
//! 1 - (1 - s)^6: 91 % for a chunk of which the half stands in another (s = 1/3), 60 % for a quarter. Super-features of three or
//! four maxima each (Odess, doi 10.1145/3584663) find 14 % of halves with as many numbers: they spare false candidates,
//! which here cost little, since *anchors* decide. Those are one sample in eight, kept as a set: the share of a chunk's
//! anchors that another has tells how much a delta against it can save, at a fraction of the cost of making one.
//!
//! Values are 64 bits wide: the greatest of some 2000 lies in the highest two-thousandth of them, and a store of
//! 300 TB has a thousand million chunks. With 32 bits each feature would be that of 500 chunks that have nothing in common.
//!
//! # Invariants
//!
//! 1. Features are persistent: a golden test holds them. They depend on the bytes, the chunker's masks and the store's gear
//!    seed alone, so they tell nothing to who has not the seed.
//! 2. Work is linear in the samples; memory is a hundredth of the chunk.

use crate::format::Keys;
use crate::format::footer::{FEATURES, Features};

/// Bytes that a sample's value is made of.
const VALUE_BYTES: usize = 16;
/// Samples that are read at once.
const FETCHED: usize = 64;
/// Fewer samples than this say nothing.
const SAMPLES_MIN: usize = 8;
/// One sample in 2^3 is an anchor.
const ANCHOR_BITS: u32 = 3;
/// An odd constant with well mixed bits, of splitmix64.
const VALUE: u64 = 0xbf58_476d_1ce4_e5b9;

/// What is kept of a chunk to find those that resemble it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sketch {
    /// `None` where there are too few samples.
    pub features: Option<Features>,
    /// Ascending, each once.
    pub anchors: Vec<u32>,
}

impl Sketch {
    /// How many of this chunk's anchors `other` has too.
    pub fn shared(&self, other: &Sketch) -> usize {
        let (mut a, mut b, mut n) = (self.anchors.iter().peekable(), other.anchors.iter().peekable(), 0);
        while let (Some(x), Some(y)) = (a.peek(), b.peek()) {
            match x.cmp(y) {
                std::cmp::Ordering::Less => drop(a.next()),
                std::cmp::Ordering::Greater => drop(b.next()),
                std::cmp::Ordering::Equal => {
                    n += 1;
                    a.next();
                    b.next();
                }
            }
        }
        n
    }

    /// Takes away the anchors that `other` has too.
    pub fn without(&mut self, other: &Sketch) {
        self.anchors.retain(|a| other.anchors.binary_search(a).is_err());
    }
}

/// Makes sketches.
#[derive(Clone, Copy, Debug)]
pub struct Sketcher {
    key: u64,
}

impl Sketcher {
    pub fn new(keys: &Keys) -> Self {
        // One step from the seed, so that the zero seed is a key like any other.
        Sketcher { key: (keys.gear_seed() ^ 0x94d0_49bb_1331_11eb).wrapping_mul(VALUE) }
    }

    /// The sketch of a chunk's plain bytes, whose samples are at these positions.
    pub fn sketch(&self, plain: &[u8], samples: &[u32]) -> Sketch {
        let mut maxima = [0u64; FEATURES];
        let mut anchors = Vec::with_capacity(samples.len() >> ANCHOR_BITS);
        // Samples lie about 128 bytes apart: fetched many at a time, their cache misses overlap.
        let mut fetched = [0u128; FETCHED];
        for some in samples.chunks(FETCHED) {
            let mut n = 0;
            for &at in some {
                if let Some(bytes) = plain.get(..=at as usize).and_then(<[u8]>::last_chunk::<VALUE_BYTES>) {
                    fetched[n] = u128::from_le_bytes(*bytes); // n < some.len()
                    n += 1;
                }
            }
            for both in &fetched[..n] {
                let (low, high) = (*both as u64, (both >> 64) as u64); // its halves
                let value = mix((low ^ self.key).wrapping_mul(VALUE) ^ high);
                for (max, (a, b)) in maxima.iter_mut().zip(LINES) {
                    *max = (*max).max(value.wrapping_mul(a).wrapping_add(b));
                }
                if value >> (64 - ANCHOR_BITS) == 0 {
                    anchors.push((value >> 16) as u32); // below the bits that chose it
                }
            }
        }
        anchors.sort_unstable();
        anchors.dedup();
        let features = (samples.len() >= SAMPLES_MIN).then(|| {
            let mut features = [0; FEATURES];
            for (i, (feature, max)) in (0u64..).zip(features.iter_mut().zip(maxima)) {
                *feature = mix(mix(i) ^ max); // of its own kind: feature 0 never meets feature 1
            }
            features
        });
        Sketch { features, anchors }
    }
}

/// splitmix64's last steps.
const fn mix(z: u64) -> u64 {
    let z = z.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// The linear transforms: factor (odd) and summand.
const LINES: [(u64, u64); FEATURES] = {
    let mut lines = [(0, 0); FEATURES];
    let mut i = 0;
    while i < FEATURES {
        lines[i] = (mix(2 * i as u64) | 1, mix(2 * i as u64 + 1));
        i += 1;
    }
    lines
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chunk::{Cutter, Scanner};
    use crate::format::superblock::ChunkerParameters;

    fn noise(seed: u64, n: usize) -> Vec<u8> {
        (0..n as u64).map(|i| mix(seed << 32 | i) as u8).collect()
    }

    fn sketch(bytes: &[u8]) -> Sketch {
        let keys = Keys::new([1; 32], 7);
        let cutter = Cutter::new(ChunkerParameters::default(), &keys).unwrap();
        Sketcher::new(&keys).sketch(bytes, &Scanner::new(&cutter).samples(bytes))
    }

    #[test]
    fn an_edit_leaves_most_of_a_sketch() {
        let old = noise(1, 256 << 10);
        let mut new = old.clone();
        new.splice(100_000..100_010, noise(2, 777));
        let (a, b) = (sketch(&old), sketch(&new));
        let same = a.features.unwrap().iter().zip(b.features.unwrap()).filter(|(x, y)| **x == *y).count();
        assert!(same >= 4, "{same} features of 6");
        assert!(a.shared(&b) * 100 > a.anchors.len() * 97, "{} of {}", a.shared(&b), a.anchors.len());
        assert!((150..400).contains(&a.anchors.len()), "{} anchors in 256 KiB", a.anchors.len());
        let other = sketch(&noise(3, 256 << 10));
        assert!(a.shared(&other) <= 1 && a.features.unwrap().iter().zip(other.features.unwrap()).all(|(x, y)| *x != y));
        let mut rest = b.clone();
        rest.without(&a);
        assert_eq!(rest.anchors.len() + b.shared(&a), b.anchors.len());
    }

    #[test]
    fn short_and_constant_chunks_have_no_features() {
        assert_eq!(sketch(&[]), Sketch::default());
        assert_eq!(sketch(&noise(1, 100)).features, None);
        assert_eq!(sketch(&vec![0; 1 << 20]).features, None);
        let keys = Keys::new([1; 32], 7);
        let beyond = Sketcher::new(&keys).sketch(&[1; 20], &[3, 14, 20, u32::MAX]);
        assert_eq!(beyond, Sketch::default(), "positions that are not there, or too near the start");
    }

    /// They stand in footers: these numbers never change.
    #[test]
    fn golden_features() {
        assert_eq!(sketch(&noise(42, 100_000)).features.unwrap(), GOLDEN);
    }

    const GOLDEN: Features = [
        13_674_281_260_918_447_922,
        6_768_347_029_577_285_438,
        2_677_710_146_603_328_859,
        1_609_814_764_333_796_610,
        456_465_842_393_962_767,
        17_275_366_240_808_257_617,
    ];
}
