//! Bits of a FLAC frame (and of ALAC's packets), most significant first: reading and writing, Rice codes in bulk.
//!
//! # Invariants
//!
//! 1. Behind the end the reader finds zeros, and says that it is there: what was read is then worth nothing.
//! 2. The writer never holds more than its bound and 1 MiB.
//! 3. Each step takes a bit or a value at least: work is linear in the bytes read and the values written.

/// Reads bits.
#[derive(Clone, Debug)]
pub(in crate::media) struct BitReader<'a> {
    bytes: &'a [u8],
    /// The next byte to load; beyond the end it counts on.
    at: usize,
    /// Bits not taken yet, from the top. Below the first `held` there may be more of the next byte.
    bits: u64,
    /// At most 63.
    held: u32,
}

impl<'a> BitReader<'a> {
    pub fn new(bytes: &'a [u8]) -> BitReader<'a> {
        BitReader { bytes, at: 0, bits: 0, held: 0 }
    }

    /// Bits taken so far.
    pub fn position(&self) -> usize {
        // A file is no 2^60 bytes; what is held was counted in `at`.
        (self.at * 8).wrapping_sub(self.held as usize)
    }

    /// More was taken than there is.
    pub fn is_beyond(&self) -> bool {
        self.position() > self.bytes.len() * 8
    }

    /// Holds 56 bits at least.
    #[inline(always)]
    fn refill(&mut self) {
        if let Some(word) = self.bytes.get(self.at..).and_then(<[u8]>::first_chunk::<8>) {
            // The same bits again where some of the next byte were there.
            self.bits |= u64::from_be_bytes(*word) >> self.held;
            self.at += ((63 - self.held) >> 3) as usize;
            self.held |= 56;
        } else {
            self.refill_at_end();
        }
    }

    #[cold]
    fn refill_at_end(&mut self) {
        while self.held < 56 {
            let byte = u64::from(self.bytes.get(self.at).copied().unwrap_or(0));
            self.bits |= byte << (56 - self.held);
            self.at += 1;
            self.held += 8;
        }
    }

    /// Takes up to 32 bits.
    #[inline]
    pub fn take(&mut self, count: u32) -> u32 {
        debug_assert!(count <= 32);
        if self.held < count {
            self.refill();
        }
        // Below 2^32. Two shifts, since one by 64 is none.
        let value = ((self.bits >> 1) >> (63 - count)) as u32;
        self.bits <<= count;
        self.held -= count;
        value
    }

    /// Takes up to 33 bits as a signed number.
    pub fn take_signed(&mut self, count: u32) -> i64 {
        if count == 0 {
            return 0;
        }
        let high = if count > 32 { u64::from(self.take(count - 32)) << 32 } else { 0 };
        let value = high | u64::from(self.take(count.min(32)));
        (value << (64 - count)).cast_signed() >> (64 - count)
    }

    /// Takes zeros up to a one, and it; `None` at the end.
    #[inline]
    pub fn unary(&mut self) -> Option<u32> {
        let mut zeros = 0_u32;
        loop {
            self.refill();
            let more = self.bits.leading_zeros();
            if more < self.held {
                self.bits = self.bits << more << 1;
                self.held -= more + 1;
                return zeros.checked_add(more);
            }
            zeros = zeros.checked_add(self.held)?;
            (self.bits, self.held) = (0, 0);
            if self.at > self.bytes.len() {
                return None;
            }
        }
    }

    /// Takes Rice codes of parameter `k`, at most 30, for all of `out`. False where one does not fit into 32 bits, or
    /// at the end.
    pub fn rice(&mut self, k: u32, out: &mut [i32]) -> bool {
        debug_assert!(k <= 30);
        let mut r = self.clone(); // so that it lives in registers
        let mut high = 0_u64;
        for value in out.iter_mut() {
            r.refill();
            let zeros = r.bits.leading_zeros();
            let folded = if zeros + 1 + k <= r.held {
                let rest = r.bits << zeros << 1;
                let folded = u64::from(zeros) << k | (rest >> 1) >> (63 - k);
                r.bits = rest << k;
                r.held -= zeros + 1 + k;
                folded
            } else {
                let Some(zeros) = r.unary() else {
                    *self = r;
                    return false;
                };
                u64::from(zeros) << k | u64::from(r.take(k))
            };
            high |= folded >> 32;
            let folded = folded as u32; // the rest is looked at below
            *value = (folded >> 1).cast_signed() ^ -(folded & 1).cast_signed();
        }
        *self = r;
        high == 0
    }

    /// The next bits, the first at the top: 56 of them, zeros behind the end.
    #[inline(always)]
    pub fn peek(&mut self) -> u64 {
        self.refill();
        self.bits
    }

    /// Passes up to 56 bits, which were seen by [`BitReader::peek`].
    #[inline(always)]
    pub fn pass(&mut self, count: u32) {
        debug_assert!(count <= self.held);
        self.bits <<= count;
        self.held -= count;
    }

    /// Passes any number of bits.
    pub fn pass_many(&mut self, count: usize) {
        let position = self.position().saturating_add(count);
        (self.at, self.bits, self.held) = (position / 8, 0, 0);
        self.take((position % 8) as u32); // below 8
    }

    /// The bits up to the next byte.
    pub fn padding(&mut self) -> u32 {
        let count = self.position().wrapping_neg() % 8;
        self.take(count as u32) // below 8
    }
}

/// Writes bits. What it holds is at most `max` bytes and some.
#[derive(Debug, Default)]
pub(in crate::media) struct BitWriter {
    /// Whole bytes up to `at`, then room.
    out: Vec<u8>,
    at: usize,
    /// Bits that do not fill a byte, from the top.
    bits: u64,
    /// Below 8.
    held: u32,
    max: usize,
}

/// Room that a step may use without asking again.
const ROOM: usize = 64;

impl BitWriter {
    /// Begins anew, with room that is there already, for at most `max` bytes.
    pub fn begin(&mut self, max: usize) {
        (self.at, self.bits, self.held, self.max) = (0, 0, 0, max);
    }

    /// Makes room for so many bytes more. False beyond the bound.
    pub fn reserve(&mut self, bytes: usize) -> bool {
        if self.at > self.max {
            return false;
        }
        let needed = self.at + bytes + ROOM;
        if needed > self.out.len() {
            self.out.resize(needed.max((2 * self.out.len()).min(self.max + ROOM)), 0);
        }
        true
    }

    /// Writes up to 56 bits of `value`, which has no others. There must be room; else nothing more is written.
    #[inline(always)]
    pub fn put_in_room(&mut self, count: u32, value: u64) {
        debug_assert!(count <= 56 && value >> count == 0);
        self.bits |= (value << 1) << (63 - self.held - count); // held < 8
        if let Some(place) = self.out.get_mut(self.at..).and_then(<[u8]>::first_chunk_mut::<8>) {
            *place = self.bits.to_be_bytes();
        }
        let held = self.held + count;
        self.at += (held >> 3) as usize;
        self.bits <<= held & !7; // at most 56
        self.held = held & 7;
    }

    /// Writes up to 56 bits of `value`, which has no others.
    pub fn put(&mut self, count: u32, value: u64) {
        if self.reserve(8) {
            self.put_in_room(count, value);
        }
    }

    /// Writes the low bits of a signed number.
    pub fn put_signed(&mut self, count: u32, value: i64) {
        if count > 0 {
            self.put(count, value.cast_unsigned() & (u64::MAX >> (64 - count)));
        }
    }

    /// Writes zeros and a one. False beyond the bound.
    pub fn unary(&mut self, mut zeros: u32) -> bool {
        while zeros >= 56 {
            if !self.reserve(8) {
                return false;
            }
            self.put_in_room(56, 0);
            zeros -= 56;
        }
        self.put(zeros + 1, 1);
        true
    }

    /// Writes Rice codes of parameter `k`, at most 30. False beyond the bound.
    pub fn rice(&mut self, k: u32, values: &[i32]) -> bool {
        debug_assert!(k <= 30);
        for values in values.chunks(4096) {
            if !self.reserve(8 * values.len()) {
                return false;
            }
            for &value in values {
                let folded = ((value << 1) ^ (value >> 31)).cast_unsigned();
                let zeros = folded >> k;
                let low = folded & ((1 << k) - 1);
                if zeros < 56 && zeros + 1 + k <= 56 {
                    self.put_in_room(zeros + 1 + k, u64::from(low | 1 << k));
                } else {
                    // The room of the values before was not used up; what it takes of theirs is reserved anew.
                    if !self.unary(zeros) || !self.reserve(8 * values.len()) {
                        return false;
                    }
                    self.put_in_room(k, u64::from(low));
                }
            }
        }
        self.at <= self.max
    }

    /// Fills the last byte with zeros.
    pub fn pad(&mut self) {
        if self.held > 0 {
            self.at += 1;
            (self.bits, self.held) = (0, 0);
        }
    }

    /// Whole bytes so far.
    pub fn bytes(&self) -> &[u8] {
        self.out.get(..self.at).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn what_was_written_is_read(
            items in prop::collection::vec((0..4_u8, 0..31_u32, any::<i32>(), 0..33_u32), 0..200),
        ) {
            let mut w = BitWriter::default();
            w.begin(1 << 20);
            for &(what, k, value, shift) in &items {
                let value = value >> shift.min(31);
                match what {
                    0 => w.put(k, u64::from(value.cast_unsigned()) & ((1 << k) - 1)),
                    1 => w.put_signed(33, i64::from(value) * 2),
                    2 => prop_assert!(w.unary((value.cast_unsigned() >> 16) + k)),
                    _ => prop_assert!(w.rice(k, &[value >> (31 - k.max(18)), -(k as i32), 0])),
                }
            }
            w.pad();
            let bytes = w.bytes();
            let mut r = BitReader::new(bytes);
            for &(what, k, value, shift) in &items {
                let value = value >> shift.min(31);
                match what {
                    0 => prop_assert_eq!(r.take(k), value.cast_unsigned() & ((1 << k) - 1)),
                    1 => prop_assert_eq!(r.take_signed(33), i64::from(value) * 2),
                    2 => prop_assert_eq!(r.unary(), Some((value.cast_unsigned() >> 16) + k)),
                    _ => {
                        let mut out = [0; 3];
                        prop_assert!(r.rice(k, &mut out));
                        prop_assert_eq!(out, [value >> (31 - k.max(18)), -(k as i32), 0]);
                    }
                }
            }
            prop_assert!(!r.is_beyond());
            prop_assert_eq!(r.padding(), 0);
            prop_assert_eq!(r.position(), bytes.len() * 8);
        }
    }

    #[test]
    fn behind_the_end_is_nothing() {
        let mut r = BitReader::new(&[0; 9]);
        assert_eq!(r.unary(), None);
        let mut r = BitReader::new(&[0xff; 3]);
        assert_eq!((r.take(24), r.is_beyond()), (0xff_ffff, false));
        assert_eq!((r.take(1), r.is_beyond()), (0, true));
        let mut r = BitReader::new(&[0; 100]);
        assert!(!r.rice(3, &mut [0; 2]));
        let mut r = BitReader::new(&[0, 0, 0, 0, 1]);
        assert!(!r.rice(30, &mut [0]), "beyond 32 bits");
    }

    #[test]
    fn no_value_makes_a_writer_pass_its_bound() {
        let mut w = BitWriter::default();
        w.begin(1000);
        assert!(!w.rice(0, &[i32::MIN; 4]));
        assert!(w.out.len() < 40_000);
        for _ in 0..10_000 {
            w.put(56, 0);
        }
        assert!(w.bytes().len() < 2000);
    }
}
