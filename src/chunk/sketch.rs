//! Resemblance: what of a chunk stays the same when some of its bytes change.
//!
//! Positions are sampled by their own four bytes, so that an insertion moves a sample but does not change it. Of
//! the samples' values six linear transforms are taken, and of each the greatest is a *feature*: min-hashes. Two chunks
//! that share a share `s` of all their samples agree in a feature with a probability of `s`, in one of six at least with
//! 1 - (1 - s)^6: 91 % for a chunk of which the half stands in another (s = 1/3), 60 % for a quarter. Super-features of three or
//! four maxima each (Odess, doi 10.1145/3584663) find 14 % of halves with as many numbers: they spare false candidates,
//! which here cost little, since *anchors* decide. Those are one sample in eight, kept as a set: the share of a chunk's
//! anchors that another has tells how much a delta against it can save, at a fraction of the cost of making one.
//!
//! # Invariants
//!
//! 1. Features are persistent: a golden test holds them. They depend on the bytes and the store's gear seed alone,
//!    so they tell nothing to who has not the seed, and the vector kernel gives what the plain one gives.
//! 2. Work is linear; memory is a hundredth of the chunk.

use crate::format::Keys;
use crate::format::footer::{FEATURES, Features};

/// Bytes that a sample's value is made of.
const VALUE_BYTES: usize = 16;
/// Fewer samples than this say nothing.
const SAMPLES_MIN: usize = 8;
/// One position in 2^7 is sampled.
const SAMPLE_BITS: u32 = 7;
/// One sample in 2^3 is an anchor.
const ANCHOR_BITS: u32 = 3;
/// Odd constants with well mixed bits: the golden ratio's, and one of splitmix64.
const SELECT: u32 = 0x9e37_79b1;
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

/// Makes sketches. One a thread.
pub struct Sketcher {
    key: u64,
    positions: Vec<u32>,
    #[cfg(target_arch = "x86_64")]
    avx2: bool,
}

impl Sketcher {
    pub fn new(keys: &Keys) -> Self {
        Sketcher {
            // One step from the seed, so that the zero seed is a key like any other.
            key: (keys.gear_seed() ^ 0x94d0_49bb_1331_11eb).wrapping_mul(VALUE),
            positions: Vec::new(),
            #[cfg(target_arch = "x86_64")]
            avx2: std::arch::is_x86_feature_detected!("avx2"),
        }
    }

    /// The sketch of a chunk's plain bytes.
    pub fn sketch(&mut self, plain: &[u8]) -> Sketch {
        self.sample(plain);
        let mut maxima = [0u32; FEATURES];
        let mut anchors = Vec::with_capacity(self.positions.len() >> ANCHOR_BITS);
        for &at in &self.positions {
            let Some(bytes) = plain.get(at as usize..).and_then(<[u8]>::first_chunk::<VALUE_BYTES>) else { continue };
            let both = u128::from_le_bytes(*bytes);
            let (low, high) = (both as u64, (both >> 64) as u64); // its halves
            let value = mix((low ^ self.key).wrapping_mul(VALUE) ^ high);
            let x = (value >> 32) as u32; // the better mixed half
            for (max, (a, b)) in maxima.iter_mut().zip(LINES) {
                *max = (*max).max(x.wrapping_mul(a).wrapping_add(b));
            }
            if value >> (64 - ANCHOR_BITS) == 0 {
                anchors.push((value >> 16) as u32); // below the bits that chose it
            }
        }
        anchors.sort_unstable();
        anchors.dedup();
        let features = (self.positions.len() >= SAMPLES_MIN).then(|| {
            let mut features = [0; FEATURES];
            for (i, (feature, max)) in (0u64..).zip(features.iter_mut().zip(maxima)) {
                *feature = mix(i << 32 | u64::from(max)); // of its own kind: feature 0 never meets feature 1
            }
            features
        });
        Sketch { features, anchors }
    }

    /// Finds the sampled positions: those whose eight bytes are there and whose first four are chosen.
    fn sample(&mut self, plain: &[u8]) {
        self.positions.clear();
        let key = self.key as u32; // its low half
        let mut at = 0;
        #[cfg(target_arch = "x86_64")]
        if self.avx2 {
            // SAFETY: AVX2 was detected when this was made.
            at = unsafe { lanes::sample(plain, key, &mut self.positions) };
        }
        sample_plain(plain, at, key, &mut self.positions);
    }
}

fn chosen(word: u32, key: u32) -> bool {
    (word ^ key).wrapping_mul(SELECT) >> (32 - SAMPLE_BITS) == 0
}

fn sample_plain(plain: &[u8], from: usize, key: u32, positions: &mut Vec<u32>) {
    let Some(rest) = plain.get(from..) else { return };
    for (i, eight) in rest.windows(8).enumerate() {
        let word = u32::from_le_bytes([eight[0], eight[1], eight[2], eight[3]]); // a window of 8
        if chosen(word, key) {
            positions.push((from + i) as u32); // a chunk is at most 16 MiB long
        }
    }
}

#[cfg(target_arch = "x86_64")]
mod lanes {
    use super::{SAMPLE_BITS, SELECT};
    use std::arch::x86_64::{
        __m256i, _mm256_castsi256_ps, _mm256_cmpeq_epi32, _mm256_loadu_si256, _mm256_movemask_ps, _mm256_mullo_epi32,
        _mm256_set1_epi32, _mm256_setzero_si256, _mm256_srli_epi32, _mm256_xor_si256,
    };

    /// Positions that are looked at in one step.
    const STEP: usize = 32;

    /// Samples from the start on in whole steps, and tells where the next would begin.
    ///
    /// # Safety
    /// The processor has AVX2.
    #[target_feature(enable = "avx2")]
    pub unsafe fn sample(plain: &[u8], key: u32, positions: &mut Vec<u32>) -> usize {
        let (key, select) = (_mm256_set1_epi32(key as i32), _mm256_set1_epi32(SELECT as i32)); // the same bits
        let mut at = 0;
        // The last load of a step reads bytes at + 3 .. at + 35; a position needs eight bytes, at + 31 + 8 at most.
        while at + STEP + 8 <= plain.len() {
            let hit = |shift: usize| {
                // SAFETY: at + shift + 32 <= at + 35 <= plain.len(), shift being at most 3.
                let words = unsafe { _mm256_loadu_si256(plain.as_ptr().add(at + shift).cast::<__m256i>()) };
                let hash = _mm256_mullo_epi32(_mm256_xor_si256(words, key), select);
                let high = _mm256_srli_epi32::<{ 32 - SAMPLE_BITS as i32 }>(hash);
                let equal = _mm256_cmpeq_epi32(high, _mm256_setzero_si256());
                _mm256_movemask_ps(_mm256_castsi256_ps(equal)) as u32 // eight bits
            };
            // Lane l of the load at `shift` is position at + shift + 4 l.
            let mut hits = hit(0) | hit(1) << 8 | hit(2) << 16 | hit(3) << 24;
            if hits != 0 {
                let mut in_order = 0u32;
                while hits != 0 {
                    let bit = hits.trailing_zeros();
                    hits &= hits - 1;
                    in_order |= 1 << ((bit >> 3) + 4 * (bit & 7)); // at most 3 + 28
                }
                while in_order != 0 {
                    positions.push(at as u32 + in_order.trailing_zeros());
                    in_order &= in_order - 1;
                }
            }
            at += STEP;
        }
        at
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
const LINES: [(u32, u32); FEATURES] = {
    let mut lines = [(0, 0); FEATURES];
    let mut i = 0;
    while i < FEATURES {
        let bits = mix(i as u64);
        lines[i] = (bits as u32 | 1, (bits >> 32) as u32); // both halves of 64 bits
        i += 1;
    }
    lines
};

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn noise(seed: u64, n: usize) -> Vec<u8> {
        (0..n as u64).map(|i| mix(seed << 32 | i) as u8).collect()
    }

    fn sketcher() -> Sketcher {
        Sketcher::new(&Keys::new([1; 32], 7))
    }

    proptest! {
        #[test]
        fn the_lanes_sample_what_the_plain_loop_samples(seed: u64, key: u32, len in 0..400_usize, value in 0..4_u8) {
            let mut bytes = noise(seed, len);
            bytes.iter_mut().step_by(3).for_each(|b| *b = value);
            let mut want = Vec::new();
            sample_plain(&bytes, 0, key, &mut want);
            let mut s = Sketcher { key: u64::from(key), ..sketcher() };
            s.sample(&bytes);
            prop_assert_eq!(&s.positions, &want);
        }
    }

    #[test]
    fn an_edit_leaves_most_of_a_sketch() {
        let old = noise(1, 256 << 10);
        let mut new = old.clone();
        new.splice(100_000..100_010, noise(2, 777));
        let (a, b) = (sketcher().sketch(&old), sketcher().sketch(&new));
        let same = a.features.unwrap().iter().zip(b.features.unwrap()).filter(|(x, y)| **x == *y).count();
        assert!(same >= 4, "{same} features of 6");
        assert!(a.shared(&b) * 100 > a.anchors.len() * 97, "{} of {}", a.shared(&b), a.anchors.len());
        assert!((150..400).contains(&a.anchors.len()), "{} anchors in 256 KiB", a.anchors.len());
        let other = sketcher().sketch(&noise(3, 256 << 10));
        assert!(a.shared(&other) <= 1 && a.features.unwrap().iter().zip(other.features.unwrap()).all(|(x, y)| *x != y));
        let mut rest = b.clone();
        rest.without(&a);
        assert_eq!(rest.anchors.len() + b.shared(&a), b.anchors.len());
    }

    #[test]
    fn short_and_constant_chunks_have_no_features() {
        assert_eq!(sketcher().sketch(&[]), Sketch::default());
        assert_eq!(sketcher().sketch(&noise(1, 100)).features, None);
        assert_eq!(sketcher().sketch(&vec![0; 1 << 20]).features, None);
    }

    /// They stand in footers: these numbers never change.
    #[test]
    fn golden_features() {
        let features = sketcher().sketch(&noise(42, 100_000)).features.unwrap();
        assert_eq!(features, GOLDEN);
    }

    const GOLDEN: Features = [
        1_258_400_467_142_480_235,
        5_803_234_744_502_748_912,
        7_699_815_579_569_770_851,
        1_896_527_179_485_884_042,
        3_387_762_738_936_565_974,
        3_165_208_686_190_954_924,
    ];
}
