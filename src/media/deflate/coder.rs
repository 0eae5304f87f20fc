//! Numbers as few bits: an adaptive binary range coder (the one of LZMA, with probabilities of 12 bits).
//!
//! ```text
//! number v   := n zeros and a one, where n is the place of the highest bit of v + 1; each bit by its place in the unary
//!               code; then the n bits below the highest one: the first two by what stands before them, the rest even
//! list       := count:number number{count}
//! ```
//! A bit with probability p (of 4096, for 0) takes `p` / 4096 of the range, zero the lower part; p moves by a sixteenth.
//!
//! # Invariants
//!
//! 1. What [`Encoder`] wrote, [`Decoder`] reads with the same calls. Integer arithmetic only.
//! 2. A decoder reads zeros behind the end, so it never fails and never reads elsewhere; a list is never longer than
//!    asked for.

const TOP: u32 = 1 << 24;
const PRECISION: u32 = 12;
const RATE: u32 = 4;

/// The probability that a bit is 0.
#[derive(Clone, Copy, Debug)]
struct Probability(u16);

impl Probability {
    const EVEN: Probability = Probability(1 << (PRECISION - 1));

    /// Stays within 15..=4081, so neither part of a range is ever empty.
    fn learn(&mut self, bit: bool) {
        if bit {
            self.0 -= self.0 >> RATE;
        } else {
            self.0 += ((1 << PRECISION) - self.0) >> RATE;
        }
    }

    /// The part of a range that means 0: not 0, and below the range.
    fn bound(self, range: u32) -> u32 {
        (range >> PRECISION) * u32::from(self.0)
    }
}

/// What a list's numbers were like so far.
#[derive(Clone, Debug)]
pub struct Model {
    unary: [Probability; 32],
    first: [Probability; 32],
    second: [[Probability; 2]; 32],
}

impl Default for Model {
    fn default() -> Self {
        Model { unary: [Probability::EVEN; 32], first: [Probability::EVEN; 32], second: [[Probability::EVEN; 2]; 32] }
    }
}

/// Writes.
#[derive(Debug)]
pub struct Encoder {
    low: u64,
    range: u32,
    /// A byte that a carry may still reach, and how many 0xff follow it.
    cache: u8,
    pending: u64,
    begun: bool,
    out: Vec<u8>,
}

impl Default for Encoder {
    fn default() -> Self {
        Encoder { low: 0, range: u32::MAX, cache: 0, pending: 0, begun: false, out: Vec::new() }
    }
}

impl Encoder {
    fn shift(&mut self) {
        // `low` is below 2^33: the range's start, and a carry.
        let carry = (self.low >> 32) as u8; // 0 or 1
        if carry == 1 || self.low < 0xff00_0000 {
            if self.begun {
                self.out.push(self.cache.wrapping_add(carry));
            }
            for _ in 0..self.pending {
                self.out.push(0xff_u8.wrapping_add(carry));
            }
            self.pending = 0;
            self.begun = true;
            self.cache = (self.low >> 24) as u8; // the byte below the carry
        } else {
            self.pending += 1;
        }
        self.low = (self.low & 0x00ff_ffff) << 8;
    }

    fn bit(&mut self, p: &mut Probability, bit: bool) {
        let bound = p.bound(self.range);
        if bit {
            self.low += u64::from(bound);
            self.range -= bound;
        } else {
            self.range = bound;
        }
        p.learn(bit);
        while self.range < TOP {
            self.range <<= 8;
            self.shift();
        }
    }

    /// Writes a number below `u32::MAX`.
    pub fn number(&mut self, model: &mut Model, v: u32) {
        let v = v.saturating_add(1);
        let n = v.ilog2() as usize; // below 32
        for p in model.unary.iter_mut().take(n) {
            self.bit(p, false);
        }
        if let Some(p) = model.unary.get_mut(n) {
            self.bit(p, true);
        }
        let bit = |i: usize| v >> i & 1 == 1;
        if n > 0
            && let Some(p) = model.first.get_mut(n)
        {
            self.bit(p, bit(n - 1));
        }
        if n > 1
            && let Some(p) = model.second.get_mut(n).and_then(|s| s.get_mut(usize::from(bit(n - 1))))
        {
            self.bit(p, bit(n - 2));
        }
        for i in (0..n.saturating_sub(2)).rev() {
            self.bit(&mut Probability::EVEN.clone(), bit(i));
        }
    }

    pub fn list(&mut self, numbers: &[u32]) {
        // A segment has less than 2^32 of anything.
        self.number(&mut Model::default(), numbers.len() as u32);
        let mut model = Model::default();
        for &v in numbers {
            self.number(&mut model, v);
        }
    }

    pub fn finish(mut self) -> Vec<u8> {
        for _ in 0..5 {
            self.shift();
        }
        while self.out.last() == Some(&0) {
            self.out.pop(); // the decoder reads zeros behind the end
        }
        self.out
    }
}

/// Reads.
#[derive(Debug)]
pub struct Decoder<'a> {
    code: u32,
    range: u32,
    rest: &'a [u8],
}

impl<'a> Decoder<'a> {
    pub fn new(bytes: &'a [u8]) -> Decoder<'a> {
        let mut decoder = Decoder { code: 0, range: u32::MAX, rest: bytes };
        for _ in 0..4 {
            decoder.byte();
        }
        decoder
    }

    fn byte(&mut self) {
        let (byte, rest) = self.rest.split_first().map_or((0, self.rest), |(b, rest)| (*b, rest));
        self.rest = rest;
        self.code = self.code << 8 | u32::from(byte);
    }

    fn bit(&mut self, p: &mut Probability) -> bool {
        let bound = p.bound(self.range);
        let bit = self.code >= bound;
        if bit {
            self.code -= bound;
            self.range -= bound;
        } else {
            self.range = bound;
        }
        p.learn(bit);
        while self.range < TOP {
            self.range <<= 8;
            self.byte();
        }
        bit
    }

    pub fn number(&mut self, model: &mut Model) -> u32 {
        let mut n = 0;
        for p in model.unary.iter_mut().take(31) {
            if self.bit(p) {
                break;
            }
            n += 1;
        }
        if n == 31
            && let Some(p) = model.unary.get_mut(31)
        {
            self.bit(p); // always 1 in what was written
        }
        let mut v = 1_u32;
        if n > 0
            && let Some(p) = model.first.get_mut(n)
        {
            v = v << 1 | u32::from(self.bit(p));
        }
        if n > 1
            && let Some(p) = model.second.get_mut(n).and_then(|s| s.get_mut((v & 1) as usize))
        {
            v = v << 1 | u32::from(self.bit(p));
        }
        for _ in 2..n {
            v = v << 1 | u32::from(self.bit(&mut Probability::EVEN.clone()));
        }
        v - 1 // at least 1, see its start
    }

    /// A list of at most `max` numbers.
    pub fn list(&mut self, max: usize) -> Option<Vec<u32>> {
        let count = usize::try_from(self.number(&mut Model::default())).ok().filter(|n| *n <= max)?;
        let mut model = Model::default();
        Some((0..count).map(|_| self.number(&mut model)).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_repeats_costs_next_to_nothing_and_the_bytes_stay_what_they_are() {
        let mut encoder = Encoder::default();
        encoder.list(&[16_383; 1000]);
        let bytes = encoder.finish();
        // The last bits of a number are even, the first 17 nearly free.
        assert!(bytes.len() < 1000 * 13 / 8 + 120, "{}", bytes.len());
        let mut encoder = Encoder::default();
        encoder.list(&[0, 1, 2, 300, 70_000, u32::MAX - 1, 0, 0, 0]);
        assert_eq!(
            encoder.finish(),
            [21, 71, 73, 16, 49, 33, 89, 87, 6, 80, 0, 8, 158, 255, 255, 255, 90, 197, 235],
            "a golden vector: version 1 reads these bytes for ever"
        );
    }

    proptest! {
        #[test]
        fn lists_come_back(lists in prop::collection::vec(prop::collection::vec(prop_oneof![0..4_u32, 0..u32::MAX], 0..200), 0..4)) {
            let mut encoder = Encoder::default();
            lists.iter().for_each(|l| encoder.list(l));
            let bytes = encoder.finish();
            let mut decoder = Decoder::new(&bytes);
            for list in lists {
                prop_assert_eq!(decoder.list(200), Some(list));
            }
        }

        #[test]
        fn arbitrary_bytes_are_read_as_something(bytes: Vec<u8>) {
            let mut decoder = Decoder::new(&bytes);
            for _ in 0..10 {
                prop_assert!(decoder.list(1000).is_none_or(|l| l.len() <= 1000));
            }
        }
    }
}
