//! A binary range coder with adaptive models: the encoder's decisions in as few bytes as they are surprising.
//!
//! One description serves both ways: what is coded goes through a [`Coder`], which is either the encoder, that writes
//! the value it is given and returns it, or the decoder, that ignores it and returns the one it reads.
//!
//! ```text
//! range 32 bits, low 33 bits with a carry that goes back into what was written; a bit splits range at
//!   (range >> 16) * p,  p = 16 bits' probability of a one: a one takes the part below
//! a model counts up to LIMIT bits it has seen:  p += or -= its distance to the bit / (count + 1.5)
//! raw bits halve range, highest first; a one takes the upper half
//! a byte leaves when range is below 2^24. The end: bytes of a number within the range,
//!   zeros cut off but for a first byte.
//! ```
//!
//! # Invariants
//!
//! 1. Integers alone: every machine codes alike.
//! 2. Behind its end the decoder reads zeros. It is total: any bytes are some values.

/// A model stops learning faster at so many bits seen.
const LIMIT: u8 = 160;

/// 2^16 / (count + 1.5).
const RATES: [u16; LIMIT as usize + 1] = {
    let mut rates = [0; LIMIT as usize + 1];
    let mut n = 0;
    while n < rates.len() {
        rates[n] = ((2 << 16) / (2 * n + 3)) as u16; // at most 43690
        n += 1;
    }
    rates
};

/// The least probability, of 2^16.
const LEAST: u16 = 24;

/// An adaptive model of one bit.
#[derive(Clone, Copy, Debug)]
pub(in crate::media) struct Bit {
    /// Of a one.
    probability: u16,
    seen: u8,
}

impl Default for Bit {
    fn default() -> Bit {
        Bit { probability: 1 << 15, seen: 0 }
    }
}

impl Bit {
    fn learn(&mut self, bit: bool) {
        let rate = u32::from(RATES.get(usize::from(self.seen)).copied().unwrap_or_default());
        let p = u32::from(self.probability);
        // Both products are below 2^32, the results between 0 and 2^16.
        let p = if bit { p + (((0x1_0000 - p) * rate) >> 16) } else { p - ((p * rate) >> 16) };
        self.probability = p.clamp(u32::from(LEAST), 0x1_0000 - u32::from(LEAST)) as u16;
        self.seen = (self.seen + 1).min(LIMIT); // at most LIMIT before
    }
}

/// Codes values one way or the other.
pub(in crate::media) trait Coder {
    /// Values come from here.
    const DECODES: bool;

    /// Codes a bit by its model, which learns it.
    fn bit(&mut self, model: &mut Bit, bit: bool) -> bool;

    /// Codes up to 32 bits as they are.
    fn raw(&mut self, count: u32, value: u32) -> u32;

    /// Codes a number below 2^`count` by the models of a tree, of which there are so many.
    fn tree(&mut self, models: &mut [Bit], count: u32, value: u32) -> u32 {
        let mut node = 1_usize;
        for i in (0..count).rev() {
            let bit = match models.get_mut(node) {
                Some(model) => self.bit(model, value >> i & 1 == 1),
                None => false, // the tables are as large as their trees
            };
            node = 2 * node + usize::from(bit);
        }
        (node - (1 << count)) as u32 // below 2^count
    }
}

/// Writes decisions.
#[derive(Debug)]
pub(in crate::media) struct Encoder {
    out: Vec<u8>,
    low: u64,
    range: u32,
}

impl Default for Encoder {
    fn default() -> Encoder {
        Encoder { out: Vec::new(), low: 0, range: u32::MAX }
    }
}

impl Encoder {
    fn carry(&mut self) {
        // A carry cannot run past the front: the number coded is below 1.
        for byte in self.out.iter_mut().rev() {
            *byte = byte.wrapping_add(1);
            if *byte != 0 {
                break;
            }
        }
    }

    fn add(&mut self, low: u32) {
        self.low += u64::from(low);
        if self.low >> 32 != 0 {
            self.carry();
            self.low &= 0xffff_ffff;
        }
    }

    fn shift(&mut self) {
        while self.range < 1 << 24 {
            self.out.push((self.low >> 24) as u8); // the top byte of 32 bits
            self.low = (self.low << 8) & 0xffff_ffff;
            self.range <<= 8;
        }
    }

    pub fn finish(mut self) -> Vec<u8> {
        // The number in [low, low + range) with the most zeros at its end.
        let mut zeros = 24;
        while zeros > 0 {
            let up = (self.low + (1 << zeros) - 1) >> zeros << zeros;
            if up < self.low + u64::from(self.range) {
                let more = (up - self.low) as u32; // below 2^24
                self.add(more);
                break;
            }
            zeros -= 8;
        }
        self.out.extend((self.low as u32).to_be_bytes()); // 32 bits of it count
        while self.out.len() > 1 && self.out.last() == Some(&0) {
            self.out.pop();
        }
        self.out
    }
}

impl Coder for Encoder {
    const DECODES: bool = false;

    #[inline]
    fn bit(&mut self, model: &mut Bit, bit: bool) -> bool {
        let split = (self.range >> 16) * u32::from(model.probability);
        if bit {
            self.range = split;
        } else {
            self.add(split);
            self.range -= split;
        }
        model.learn(bit);
        self.shift();
        bit
    }

    fn raw(&mut self, count: u32, value: u32) -> u32 {
        for i in (0..count).rev() {
            self.range >>= 1;
            if value >> i & 1 == 1 {
                self.add(self.range);
            }
            self.shift();
        }
        value
    }
}

/// Reads decisions.
#[derive(Debug)]
pub(in crate::media) struct Decoder<'a> {
    bytes: std::slice::Iter<'a, u8>,
    /// The number less what was taken: below `range` for what an encoder wrote.
    number: u32,
    range: u32,
}

impl<'a> Decoder<'a> {
    pub fn new(bytes: &'a [u8]) -> Decoder<'a> {
        let mut decoder = Decoder { bytes: bytes.iter(), number: 0, range: u32::MAX };
        for _ in 0..4 {
            decoder.next();
        }
        decoder
    }

    fn next(&mut self) {
        self.number = self.number << 8 | u32::from(self.bytes.next().copied().unwrap_or(0));
    }

    fn shift(&mut self) {
        while self.range < 1 << 24 {
            self.next();
            self.range <<= 8;
        }
    }

    /// Whether no byte is left unread.
    pub fn is_at_end(&self) -> bool {
        self.bytes.len() == 0
    }
}

impl Coder for Decoder<'_> {
    const DECODES: bool = true;

    #[inline]
    fn bit(&mut self, model: &mut Bit, _: bool) -> bool {
        let split = (self.range >> 16) * u32::from(model.probability);
        let bit = self.number < split;
        if bit {
            self.range = split;
        } else {
            self.number -= split;
            self.range -= split;
        }
        model.learn(bit);
        self.shift();
        bit
    }

    fn raw(&mut self, count: u32, _: u32) -> u32 {
        let mut value = 0;
        for _ in 0..count {
            self.range >>= 1;
            let bit = self.number >= self.range;
            if bit {
                self.number -= self.range;
            }
            value = value << 1 | u32::from(bit);
            self.shift();
        }
        value
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn code(coder: &mut impl Coder, items: &[(u8, u32)]) -> Vec<u32> {
        let mut models = vec![[Bit::default(); 32]; 3];
        let each = |&(what, value): &(u8, u32)| match what {
            0..=2 => coder.tree(&mut models[usize::from(what)], 5, value & 31),
            3 => u32::from(coder.bit(&mut models[0][0], value & 7 == 0)),
            _ => coder.raw(u32::from(what), value & ((1 << what) - 1)),
        };
        items.iter().map(each).collect()
    }

    proptest! {
        #[test]
        fn what_was_coded_is_read(
            items in prop::collection::vec((0..20_u8, prop_oneof![Just(0), Just(u32::MAX), any::<u32>()]), 0..600),
        ) {
            let mut encoder = Encoder::default();
            let values = code(&mut encoder, &items);
            let bytes = encoder.finish();
            let mut decoder = Decoder::new(&bytes);
            prop_assert_eq!(code(&mut decoder, &items), values);
            prop_assert!(decoder.is_at_end());
        }

        #[test]
        fn any_bytes_are_values(bytes: Vec<u8>) {
            code(&mut Decoder::new(&bytes), &[(0, 0), (5, 0), (3, 0), (19, 0)].repeat(50));
        }
    }

    #[test]
    fn what_is_no_surprise_costs_nothing() {
        let mut encoder = Encoder::default();
        let mut model = Bit::default();
        for _ in 0..100_000 {
            encoder.bit(&mut model, true);
        }
        assert!(encoder.finish().len() < 12);
    }
}
