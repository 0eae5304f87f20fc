//! A string of bits, the lowest bit of each byte first.
//!
//! # Invariants
//!
//! 1. A reader never fails inside: past the end it reads zeros. [`BitReader::is_at_end`] tells afterwards whether
//!    exactly the written bits were read.

/// Writes bits into a buffer that is kept between uses.
#[derive(Default)]
pub(super) struct BitWriter {
    bytes: Vec<u8>,
    position: usize,
    held: u64,
    held_bits: u32,
}

/// Bytes a buffer grows by.
const GROW: usize = 1 << 16;

impl BitWriter {
    pub(super) fn clear(&mut self) {
        self.position = 0;
        self.held = 0;
        self.held_bits = 0;
    }

    /// Appends the low `bits` of `value`, at most 56; the others are zero.
    #[inline(always)]
    pub(super) fn put(&mut self, value: u64, bits: u32) {
        debug_assert!(bits <= 56 && value >> bits == 0);
        self.held |= value << (self.held_bits & 7); // below 8 after every put
        self.held_bits = self.held_bits.wrapping_add(bits); // at most 63
        let end = self.position + 8;
        if end > self.bytes.len() {
            self.bytes.resize(end + GROW, 0);
        }
        self.bytes[self.position..end].copy_from_slice(&self.held.to_le_bytes()); // grown above
        self.position += (self.held_bits >> 3) as usize;
        self.held >>= self.held_bits & 56;
        self.held_bits &= 7;
    }

    /// Appends many values and their numbers of bits, as [`BitWriter::put`] does each; at most 56 bits each.
    #[inline(always)]
    pub(super) fn put_all(&mut self, values: &[u64], bits: &[u32]) {
        let most = self.position + values.len() * 7 + 16;
        if most > self.bytes.len() {
            self.bytes.resize(most + GROW, 0);
        }
        // In variables of their own: what is written through the vector could be these fields, for all the compiler knows.
        let (mut position, mut held, mut held_bits) = (self.position, self.held, self.held_bits);
        for (&value, &bits) in values.iter().zip(bits) {
            held |= value << (held_bits & 7); // below 8 after every value
            held_bits = held_bits.wrapping_add(bits); // at most 63
            if let Some(eight) = self.bytes.get_mut(position..).and_then(|b| b.first_chunk_mut::<8>()) {
                *eight = held.to_le_bytes(); // seven bytes a value at most: grown above
            }
            position = position.wrapping_add((held_bits >> 3) as usize);
            held >>= held_bits & 56;
            held_bits &= 7;
        }
        (self.position, self.held, self.held_bits) = (position, held, held_bits);
    }

    /// The bytes so far, the last filled up with zeros.
    pub(super) fn bytes(&self) -> &[u8] {
        let used = self.position + usize::from(self.held_bits > 0);
        // What is held was written at `position` by the last put, if any.
        self.bytes.get(..used).unwrap_or(&[])
    }
}

/// Reads bits.
#[derive(Clone)]
pub(super) struct BitReader<'a> {
    bytes: &'a [u8],
    /// In bits.
    position: usize,
}

impl<'a> BitReader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> BitReader<'a> {
        BitReader { bytes, position: 0 }
    }

    /// The next bits, 57 at least.
    #[inline(always)]
    pub(super) fn look(&self) -> u64 {
        let rest = self.bytes.get(self.position >> 3..).unwrap_or(&[]);
        let word = match rest.first_chunk::<8>() {
            Some(eight) => u64::from_le_bytes(*eight),
            None => rest.iter().rev().fold(0, |word, &byte| word << 8 | u64::from(byte)),
        };
        word >> (self.position & 7)
    }

    #[inline(always)]
    pub(super) fn skip(&mut self, bits: u32) {
        // Counts on past the end, so that too many reads are noticed; a chunk's reads cannot overflow it.
        self.position = self.position.wrapping_add(bits as usize);
    }

    /// The next `bits`, at most 56.
    #[inline(always)]
    pub(super) fn take(&mut self, bits: u32) -> u64 {
        let value = self.look() & ((1u64 << (bits & 63)) - 1);
        self.skip(bits);
        value
    }

    /// Whether all bits were read, but for those that fill the last byte, and these are zero.
    pub(super) fn is_at_end(&self) -> bool {
        if self.position.div_ceil(8) != self.bytes.len() {
            return false;
        }
        match (self.position & 7, self.bytes.last()) {
            (0, _) => true,
            (used, Some(last)) => last >> used == 0,
            (_, None) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn bits_come_back_and_the_end_is_known(fields in proptest::collection::vec((any::<u64>(), 0u32..=56), 0..200)) {
            let mut writer = BitWriter::default();
            writer.put(1, 3);
            writer.clear();
            for (value, bits) in &fields {
                writer.put(value & ((1u64 << bits) - 1), *bits);
            }
            let mut reader = BitReader::new(writer.bytes());
            for (value, bits) in &fields {
                prop_assert_eq!(reader.take(*bits), value & ((1u64 << bits) - 1));
            }
            prop_assert!(reader.is_at_end());
            reader.take(8);
            prop_assert!(!reader.is_at_end());
            let mut twin = BitWriter::default();
            twin.put(1, 3);
            twin.clear();
            let (values, lengths): (Vec<u64>, Vec<u32>) =
                fields.iter().map(|(value, bits)| (value & ((1u64 << bits) - 1), *bits)).unzip();
            let (first, rest) = values.split_at(values.len() / 3);
            twin.put_all(first, &lengths[..first.len()]);
            twin.put_all(rest, &lengths[first.len()..]);
            prop_assert_eq!(twin.bytes(), writer.bytes());
        }
    }
}
