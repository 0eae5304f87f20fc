//! Bits of a WavPack bitstream, least significant first.
//!
//! # Invariants
//!
//! 1. Behind the end the reader finds zeros, and says that it is there: what was read is then worth nothing.
//! 2. The writer never holds more than its bound and what was reserved.

/// Reads bits. Rare steps take it by value, so that it lives in registers.
#[derive(Clone, Copy, Debug)]
pub(super) struct BitReader<'a> {
    bytes: &'a [u8],
    /// The next byte to load; beyond the end it counts on.
    at: usize,
    /// Bits not taken yet, from the bottom. Above the first `held` there may be more of the next byte.
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
        // A block is no 2^60 bytes; what is held was counted in `at`.
        (self.at * 8).wrapping_sub(self.held as usize)
    }

    /// Holds 56 bits at least.
    #[inline(always)]
    pub fn refill(&mut self) {
        if let Some(word) = self.bytes.get(self.at..).and_then(<[u8]>::first_chunk::<8>) {
            // The same bits again where some of the next byte were there.
            self.bits |= u64::from_le_bytes(*word) << self.held;
            self.at += ((63 - self.held) >> 3) as usize;
            self.held |= 56;
        } else {
            *self = self.refilled_at_end();
        }
    }

    #[cold]
    #[inline(never)]
    fn refilled_at_end(mut self) -> BitReader<'a> {
        while self.held < 56 {
            let byte = u64::from(self.bytes.get(self.at).copied().unwrap_or(0));
            self.bits |= byte << self.held;
            self.at += 1;
            self.held += 8;
        }
        self
    }

    /// The bits to come: so many as [`BitReader::refill`] holds, less those taken since.
    #[inline(always)]
    pub fn peek(&self) -> u64 {
        self.bits
    }

    /// Passes up to 56 bits that are held.
    #[inline(always)]
    pub fn pass(&mut self, count: u32) {
        debug_assert!(count <= self.held);
        self.bits >>= count;
        self.held -= count;
    }

    /// Takes up to 32 bits.
    pub fn take(&mut self, count: u32) -> u32 {
        debug_assert!(count <= 32);
        self.refill();
        let value = (self.bits & ((1 << count) - 1)) as u32; // below 2^32
        self.pass(count);
        value
    }

    /// What fills the stream up, if it ends as every encoder ends it: with ones or zeros up to the next even byte.
    /// True for zeros; `None` where it ends otherwise, or ended before.
    pub fn padding(&self) -> Option<bool> {
        let (at, bits) = (self.position(), self.bytes.len() * 8);
        let left = bits.checked_sub(at).filter(|&left| left < 16 && self.bytes.len().is_multiple_of(2))?;
        if left == 0 {
            return Some(false);
        }
        let [a, b] = *self.bytes.last_chunk::<2>()?;
        match u16::from_le_bytes([a, b]) >> (16 - left) {
            0 => Some(true),
            ones if ones == u16::MAX >> (16 - left) => Some(false),
            _ => None,
        }
    }
}

/// Writes bits. What it holds is at most `max` bytes and some.
#[derive(Debug, Default)]
pub(super) struct BitWriter {
    /// Whole bytes up to a place, then room.
    out: Vec<u8>,
    place: Place,
    max: usize,
}

/// Where writing goes on.
#[derive(Clone, Copy, Debug, Default)]
struct Place {
    at: usize,
    /// Bits that do not fill a byte, from the bottom.
    bits: u64,
    /// Below 8.
    held: u32,
}

/// Room that a step may use without asking again.
const ROOM: usize = 64;

/// Room to write into.
#[derive(Debug)]
pub(super) struct Sink<'a> {
    out: &'a mut [u8],
    place: Place,
}

impl Sink<'_> {
    /// Writes up to 56 bits of `value`, which has no others. Beyond the room, nothing is written.
    #[inline(always)]
    pub fn put(&mut self, count: u32, value: u64) {
        debug_assert!(count <= 56 && value >> count == 0);
        let Place { at, bits, held } = &mut self.place;
        *bits |= value << *held; // below 8
        if let Some(room) = self.out.get_mut(*at..).and_then(<[u8]>::first_chunk_mut::<8>) {
            *room = bits.to_le_bytes();
        }
        let all = *held + count;
        *at += (all >> 3) as usize;
        *bits >>= all & !7; // at most 56
        *held = all & 7;
    }
}

impl BitWriter {
    /// Begins anew, with room that is there already, for at most `max` bytes.
    pub fn begin(&mut self, max: usize) {
        (self.place, self.max) = (Place::default(), max);
    }

    /// Writes up to so many bytes. `None` beyond the bound.
    #[inline(always)]
    pub fn write<T>(&mut self, bytes: usize, write: impl FnOnce(&mut Sink<'_>) -> T) -> Option<T> {
        if self.place.at > self.max {
            return None;
        }
        let needed = self.place.at + bytes + ROOM;
        if needed > self.out.len() {
            self.out.resize(needed.max((2 * self.out.len()).min(self.max + ROOM)), 0);
        }
        let mut sink = Sink { out: &mut self.out, place: self.place };
        let written = write(&mut sink);
        self.place = sink.place;
        Some(written)
    }

    /// Fills up to the next even byte with zeros, or ones. False beyond the bound.
    pub fn end(&mut self, zeros: bool) -> bool {
        let count = (16 - (self.place.at % 2 * 8) as u32 - self.place.held) % 16; // held is below 8
        let filled = self.write(2, |sink| sink.put(count, if zeros { 0 } else { (1 << count) - 1 }));
        filled.is_some() && self.place.at <= self.max
    }

    /// Whole bytes so far.
    pub fn bytes(&self) -> &[u8] {
        self.out.get(..self.place.at).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_was_written_is_read(items in prop::collection::vec((0..33_u32, any::<u32>()), 0..200), zeros: bool) {
            let mut w = BitWriter::default();
            w.begin(1 << 20);
            let low = |count: u32, value: u32| u64::from(value) & ((1 << count) - 1);
            w.write(4 * items.len(), |sink| {
                for &(count, value) in &items {
                    sink.put(count, low(count, value));
                }
            });
            prop_assert!(w.end(zeros));
            let bytes = w.bytes();
            prop_assert!(bytes.len() % 2 == 0);
            let mut r = BitReader::new(bytes);
            for &(count, value) in &items {
                prop_assert_eq!(u64::from(r.take(count)), low(count, value));
            }
            prop_assert_eq!(r.position(), items.iter().map(|i| i.0 as usize).sum::<usize>());
            let filled = bytes.len() * 8 > r.position();
            prop_assert_eq!(r.padding(), Some(zeros && filled));
        }
    }

    #[test]
    fn only_the_shortest_end_is_one() {
        for (bytes, taken, padding) in [
            (&[0xff_u8, 0xff][..], 1, Some(false)),
            (&[0x01, 0], 1, Some(true)),
            (&[0x01, 0], 0, None),
            (&[0x01, 1], 1, None),
            (&[0x01], 1, None),
            (&[0x01, 0, 0, 0], 1, None),
            (&[0x01, 0], 17, None),
            (&[], 0, Some(false)),
        ] {
            let mut r = BitReader::new(bytes);
            r.take(taken);
            assert_eq!(r.padding(), padding, "{bytes:?}");
        }
    }

    #[test]
    fn nothing_makes_a_writer_pass_its_bound() {
        let mut w = BitWriter::default();
        w.begin(1000);
        for _ in 0..10_000 {
            w.write(7, |sink| sink.put(56, 0));
        }
        assert!(w.bytes().len() < 1100 && w.out.len() < 2000 && !w.end(true));
    }
}
