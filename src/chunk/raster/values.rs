//! Samples that use few of their values: ten bits kept in sixteen, a picture that was brightened.
//!
//! Owns the numbering of the values that come: a sample becomes the rank of its value, so that steps between
//! neighbours are small again.
//!
//! # Invariants
//!
//! Ranks are below 2 to the bits that go with them, which are no more than the samples' own.

/// Values used of those between the least and the greatest: ranks must halve steps, nearly.
const SPARSE_TENTHS: usize = 19;

/// The values that come, by rank.
#[derive(Debug, PartialEq, Eq)]
pub struct Values {
    by_rank: Vec<u16>,
    /// Bits of a rank, 1 to 16.
    pub bits: u32,
}

/// Bytes of a set of samples of so many bits.
pub fn set_bytes(bits: u32) -> usize {
    1 << bits.saturating_sub(3)
}

impl Values {
    /// The values of a plane, if it uses few of them. `seen` is scratch.
    pub fn of(x: &[u16], bits: u32, seen: &mut Vec<u8>) -> Option<Values> {
        seen.clear();
        seen.resize((1 << bits).max(8), 0);
        for &v in x.iter().step_by(16) {
            seen[usize::from(v)] = 1; // samples have so many bits
        }
        if !is_sparse(&set_of(seen)) {
            return None;
        }
        for &v in x {
            seen[usize::from(v)] = 1;
        }
        let set = set_of(seen);
        is_sparse(&set).then(|| Values::from_set(&set))
    }

    /// The values whose bits are set: bit v % 8 of byte v / 8.
    pub fn from_set(set: &[u8]) -> Values {
        let mut by_rank: Vec<u16> = Vec::new();
        for (i, &byte) in set.iter().enumerate() {
            let mut left = byte;
            while left != 0 {
                by_rank.push((i * 8) as u16 + left.trailing_zeros() as u16); // below 2^16
                left &= left - 1;
            }
        }
        let bits = (usize::BITS - by_rank.len().saturating_sub(1).leading_zeros()).max(1);
        Values { by_rank, bits }
    }

    /// The set itself, for samples of so many bits.
    pub fn set(&self, bits: u32) -> Vec<u8> {
        let mut set = vec![0; set_bytes(bits)];
        for &v in &self.by_rank {
            set[usize::from(v / 8)] |= 1 << (v % 8); // values have so many bits
        }
        set
    }

    /// Values to ranks.
    pub fn rank(&self, x: &mut [u16]) {
        let mut ranks = vec![0; 1 << 16];
        for (rank, &v) in self.by_rank.iter().enumerate() {
            ranks[usize::from(v)] = rank as u16; // at most 2^16 values
        }
        for x in x {
            *x = ranks[usize::from(*x)];
        }
    }

    /// Ranks to values; a rank that none has becomes 0.
    pub fn unrank(&self, x: &mut [u16]) {
        for x in x {
            *x = self.by_rank.get(usize::from(*x)).copied().unwrap_or(0);
        }
    }
}

/// The set of values seen: of eight bytes, each 0 or 1, the product's highest byte has a bit of each, since no two of their
/// products with the eight bits of the factor meet.
fn set_of(seen: &[u8]) -> Vec<u8> {
    const FACTOR: u64 = 0x0102_0408_1020_4080;
    seen.as_chunks::<8>().0.iter().map(|b| (u64::from_le_bytes(*b).wrapping_mul(FACTOR) >> 56) as u8).collect()
}

fn is_sparse(set: &[u8]) -> bool {
    let count = set.iter().fold(0u32, |count, b| count.wrapping_add(b.count_ones())); // at most 2^16
    let first = set.iter().position(|&b| b != 0).map(|i| i * 8 + set[i].trailing_zeros() as usize);
    let last = set.iter().rposition(|&b| b != 0).map(|i| i * 8 + 7 - set[i].leading_zeros() as usize);
    let Some((first, last)) = first.zip(last) else { return false };
    count > 1 && (last - first + 1) * 10 >= count as usize * SPARSE_TENTHS
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn ranks_come_back_and_are_within_their_bits(
            bits in prop::sample::select(vec![8u32, 10, 16]),
            seed in prop::collection::vec(any::<u16>(), 2..40),
            n in 2usize..3000,
        ) {
            let x: Vec<u16> = seed.iter().cycle().take(n).map(|v| v & ((1u32 << bits) - 1) as u16).collect();
            let Some(values) = Values::of(&x, bits, &mut Vec::new()) else { return Ok(()) };
            prop_assert!(values.bits <= bits);
            prop_assert_eq!(&Values::from_set(&values.set(bits)), &values);
            let mut y = x.clone();
            values.rank(&mut y);
            prop_assert!(y.iter().all(|&r| r < 1 << values.bits));
            values.unrank(&mut y);
            prop_assert_eq!(x, y);
        }
    }

    #[test]
    fn only_sparse_values_are_ranked() {
        let dense: Vec<u16> = (0..4000).map(|i| i * 7 % 250).collect();
        assert_eq!(Values::of(&dense, 8, &mut Vec::new()), None);
        assert_eq!(Values::of(&[5; 4000], 8, &mut Vec::new()), None);
        let ten_in_sixteen: Vec<u16> = dense.iter().map(|v| v << 6 | v >> 4).collect();
        let values = Values::of(&ten_in_sixteen, 16, &mut Vec::new()).unwrap();
        assert_eq!(values.bits, 8);
    }
}
