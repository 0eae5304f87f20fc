//! The entropy code of residuals: which of the ranges between three running medians a number is in, and where there.
//!
//! ```text
//! number := run? count? place sign:bit
//! run    := length:elias                   where both channels' first median is below 2 and no count is held: so many
//!                                          zeros; 0 for none, and then, as behind a run, a number that is none
//! count  := ones zero                      fewer than 16 ones
//!         | 16 ones, zero, count-16:elias
//! place  := less than the range, in as few bits as that has, or one less for the lowest
//! elias  := bits ones, zero, all bits but the highest, lowest first
//! ```
//! A range's number stands in the count twice, less 1 where the count before was odd: an odd count says that the next
//! number is not in the first range either, an even one that it is, and then it has no count. Negative numbers are the
//! complement of the positive ones. (WavPack 5, `read_words.c` and `write_words.c`; medians are kept times 16.)
//!
//! # Invariants
//!
//! 1. [`decode`] takes nothing that [`Encoder`] would not write for the numbers it gives.
//! 2. Work is linear in the numbers, whatever the bits are.

use super::bits::{BitReader, BitWriter, Sink};

/// Ones of a count that are written as such.
const ONES_MAX: u32 = 16;

/// Bytes that a number takes at most, with all that was held back before it.
const NUMBER_BYTES: usize = 32;

/// Numbers that room is made for at once.
const GO: usize = 2048;

/// The three medians of a channel, times 16.
pub(super) type Medians = [u32; 3];

/// A range's size.
#[inline(always)]
fn range(median: u32) -> u32 {
    (median >> 4) + 1
}

#[inline(always)]
fn up<const K: u32>(median: &mut u32) {
    *median = median.wrapping_add((median.wrapping_add(128 >> K) >> (7 - K)).wrapping_mul(5));
}

#[inline(always)]
fn down<const K: u32>(median: &mut u32) {
    *median = median.wrapping_sub((median.wrapping_add((128 >> K) - 2) >> (7 - K)).wrapping_mul(2));
}

/// Rare steps take it by value, so that it lives in registers.
#[derive(Clone, Copy)]
struct Decoder<'a> {
    bits: BitReader<'a>,
    medians: [Medians; 2],
    /// 1 if the last count was odd.
    odd: u32,
    /// The last count was even, and the number that it tells of is still to come.
    even: bool,
    /// Zeros still to come.
    run: u32,
    behind_run: bool,
    bad: bool,
}

impl Decoder<'_> {
    fn elias(&mut self) -> u32 {
        self.bits.refill();
        let ones = self.bits.peek().trailing_ones();
        if ones > 32 {
            self.bad = true;
            return 0;
        }
        self.bits.pass(ones + 1);
        match ones {
            0 | 1 => ones,
            _ => self.bits.take(ones - 1) | 1 << (ones - 1),
        }
    }

    /// Reads a count that begins with so many ones.
    #[cold]
    #[inline(never)]
    fn long_count(mut self, ones: u32) -> (Self, u32) {
        self.bad |= ones > ONES_MAX;
        self.bits.pass(ONES_MAX + 1);
        let more = self.elias();
        self.bits.refill();
        let count = more.checked_add(ONES_MAX);
        self.bad |= count.is_none();
        (self, count.unwrap_or_default())
    }

    /// Reads where a run may be. True if the number is a zero of one.
    #[cold]
    #[inline(never)]
    fn quiet(mut self) -> (Self, bool) {
        if self.run == 0 {
            if std::mem::take(&mut self.behind_run) {
                return (self, false);
            }
            self.run = self.elias();
            if self.run == 0 {
                self.bits.refill();
                return (self, false);
            }
            self.medians = [[0; 3]; 2];
            self.behind_run = true;
        }
        self.run -= 1;
        (self, true)
    }

    #[inline(always)]
    fn next(&mut self, channel: usize) -> i32 {
        self.bits.refill();
        let mut is_zero_bad = false;
        let mut zone = 0;
        if self.even {
            self.even = false;
        } else {
            if self.medians[0][0] < 2 && self.medians[1][0] < 2 && self.odd == 0 {
                let is_zero;
                (*self, is_zero) = self.quiet();
                if is_zero {
                    return 0;
                }
                is_zero_bad = true;
            }
            let mut count = self.bits.peek().trailing_ones();
            if count < ONES_MAX {
                self.bits.pass(count + 1);
            } else {
                (*self, count) = self.long_count(count);
            }
            zone = (count >> 1) + self.odd;
            self.odd = count & 1;
            self.even = count & 1 == 0;
        }
        let [m0, m1, m2] = &mut self.medians[channel]; // 0 or 1
        let (mut low, mut size) = (0, range(*m0));
        if zone == 0 {
            down::<0>(m0);
        } else {
            low = size;
            up::<0>(m0);
            size = range(*m1);
            if zone == 1 {
                down::<1>(m1);
            } else {
                low += size; // both at most 2^28
                up::<1>(m1);
                size = range(*m2);
                if zone == 2 {
                    down::<2>(m2);
                } else {
                    let beyond = u64::from(low) + u64::from(zone - 2) * u64::from(size);
                    self.bad |= beyond > i32::MAX as u64;
                    low = beyond as u32; // or it is bad
                    up::<2>(m2);
                }
            }
        }
        let most = size - 1; // a size is at least 1
        let bits = self.bits.peek();
        let mut code = 0;
        let mut count = 0;
        if most > 0 {
            let width = 32 - most.leading_zeros(); // 1 to 28
            let short = (1_u32 << width) - size;
            code = bits as u32 & ((1 << (width - 1)) - 1);
            // Without a branch, which nothing could foresee.
            let long = u32::from(code >= short);
            let more = code.wrapping_sub(short).wrapping_add((bits >> (width - 1) & 1) as u32);
            code = code.wrapping_add(more & long.wrapping_neg());
            count = width - 1 + long;
        }
        let sign = (bits >> count & 1) as u32;
        self.bits.pass(count + 1); // at most 29 behind 17
        let value = low.wrapping_add(code);
        self.bad |= value > i32::MAX as u32 || (is_zero_bad && value | sign == 0);
        (value ^ sign.wrapping_neg()).cast_signed()
    }
}

/// What a bitstream held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Decoded {
    /// Behind it.
    pub medians: [Medians; 2],
    /// It was filled up with zeros.
    pub zeros: bool,
}

/// Reads a whole bitstream: the numbers of `C` channels in turn. `None` where no encoder wrote it so.
pub(super) fn decode<const C: usize>(bytes: &[u8], medians: [Medians; 2], frames: &mut [[i32; C]]) -> Option<Decoded> {
    let mut decoder =
        Decoder { bits: BitReader::new(bytes), medians, odd: 0, even: false, run: 0, behind_run: false, bad: false };
    for frames in frames.chunks_mut(GO) {
        let mut d = decoder;
        for frame in frames {
            for (channel, number) in frame.iter_mut().enumerate() {
                *number = d.next(channel);
            }
        }
        decoder = d;
        if decoder.bad {
            return None;
        }
    }
    let is_whole = decoder.odd == 0 && decoder.run == 0;
    let zeros = decoder.bits.padding().filter(|_| is_whole)?;
    Some(Decoded { medians: decoder.medians, zeros })
}

/// Writes bitstreams.
#[derive(Debug, Default)]
pub(super) struct Encoder {
    bits: BitWriter,
}

/// What stands between two numbers. Rare steps take it by value, so that it lives in registers.
#[derive(Clone, Copy, Debug, Default)]
struct State {
    medians: [Medians; 2],
    /// Zeros so far.
    run: u32,
    /// A number is held back until it is known whether its count is odd.
    held: bool,
    /// The count of the number held back, if it is even.
    count: u64,
    /// Its place and sign.
    place: u64,
    place_bits: u32,
}

/// Bits to write, up to 56 at once, with their number.
type Bits = (u32, u64);

fn elias(value: u64) -> [Bits; 2] {
    let value = value.min(u32::MAX.into()); // more is never written as it was, and so found to be wrong
    let width = 64 - value.leading_zeros();
    let below = width.saturating_sub(1);
    [(width + 1, (1 << width) - 1), (below, value & ((1 << below) - 1))]
}

impl State {
    /// A number held back whose count is long.
    #[cold]
    #[inline(never)]
    fn long(self, count: u64) -> [Bits; 4] {
        let [a, b] = elias(count - u64::from(ONES_MAX)); // at least that
        [(ONES_MAX + 1, (1 << ONES_MAX) - 1), a, b, (self.place_bits, self.place)]
    }

    /// Writes the number that is held back.
    #[inline(always)]
    fn put_held(&self, sink: &mut Sink<'_>, count: u64) {
        if count < u64::from(ONES_MAX) {
            // At most 16 and 29 bits.
            sink.put(count as u32 + 1 + self.place_bits, self.place << (count + 1) | ((1 << count) - 1));
        } else {
            for (count, bits) in self.long(count) {
                sink.put(count, bits);
            }
        }
    }

    /// The state behind a number where a run may be, whether it is a zero of that, and what is written before it.
    #[cold]
    #[inline(never)]
    fn quiet(mut self, number: i32) -> (State, bool, [Bits; 2]) {
        let mut bits = [(0, 0); 2];
        match (self.run > 0, number) {
            (true, 0) => self.run += 1, // there are fewer than 2^28
            (true, _) => {
                bits = elias(self.run.into());
                self.run = 0;
            }
            (false, 0) => {
                self.medians = [[0; 3]; 2];
                self.run = 1;
            }
            (false, _) => bits[0].0 = 1,
        }
        (self, number == 0, bits)
    }

    /// There must be room for [`NUMBER_BYTES`].
    #[inline(always)]
    fn put(&mut self, sink: &mut Sink<'_>, channel: usize, number: i32) {
        if self.medians[0][0] < 2 && self.medians[1][0] < 2 && !self.held {
            let (is_zero, before);
            (*self, is_zero, before) = self.quiet(number);
            for (count, bits) in before {
                sink.put(count, bits);
            }
            if is_zero {
                return;
            }
        }
        let sign = number >> 31;
        let value = (number ^ sign).cast_unsigned();
        let [m0, m1, m2] = &mut self.medians[channel]; // 0 or 1
        let (mut zone, mut low, mut size) = (0, 0, range(*m0));
        if value < size {
            down::<0>(m0);
        } else {
            low = size;
            up::<0>(m0);
            size = range(*m1);
            zone = 1;
            if value - low < size {
                down::<1>(m1);
            } else {
                low += size; // both at most 2^28, together at most the value
                up::<1>(m1);
                size = range(*m2);
                zone = 2;
                if value - low < size {
                    down::<2>(m2);
                } else {
                    let more = (value - low) / size;
                    zone += u64::from(more);
                    low += more * size; // at most the value
                    up::<2>(m2);
                }
            }
        }
        let most = size - 1; // a size is at least 1
        let (mut place, mut place_bits) = (0, 0);
        if most > 0 {
            let width = 32 - most.leading_zeros(); // 1 to 28
            let short = (1_u32 << width) - size;
            let code = value - low; // below the size
            // Without a branch, as above; the lowest bit of a long one comes last.
            let long = u32::from(code >= short);
            let code = code + (short & long.wrapping_neg()); // below 2^28
            place = code >> long | (code & long) << (width - 1);
            place_bits = width - 1 + long;
        }
        let place = u64::from(place) | u64::from(sign.cast_unsigned() & 1) << place_bits;
        let place_bits = place_bits + 1;
        if self.held {
            if zone == 0 {
                self.put_held(sink, self.count);
                sink.put(place_bits, place);
                self.held = false;
                return;
            }
            self.put_held(sink, self.count + 1);
            zone -= 1;
        }
        self.held = true;
        (self.count, self.place, self.place_bits) = (2 * zone, place, place_bits);
    }
}

impl Encoder {
    /// Writes the numbers of `C` channels in turn and fills the stream up. `None` beyond `max` bytes; else the medians
    /// behind it.
    pub fn encode<const C: usize>(
        &mut self,
        medians: [Medians; 2],
        frames: &[[i32; C]],
        zeros: bool,
        max: usize,
    ) -> Option<[Medians; 2]> {
        self.bits.begin(max);
        let mut state = State { medians, ..State::default() };
        for frames in frames.chunks(GO) {
            state = self.bits.write(frames.len() * C * NUMBER_BYTES, |sink| {
                let mut state = state;
                for frame in frames {
                    for (channel, &number) in frame.iter().enumerate() {
                        state.put(sink, channel, number);
                    }
                }
                state
            })?;
        }
        self.bits.write(2 * NUMBER_BYTES, |sink| {
            if state.run > 0 {
                for (count, bits) in elias(state.run.into()) {
                    sink.put(count, bits);
                }
            }
            if state.held {
                state.put_held(sink, state.count);
            }
        })?;
        self.bits.end(zeros).then_some(state.medians)
    }

    /// What was written last.
    pub fn bytes(&self) -> &[u8] {
        self.bits.bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Numbers with runs of zeros and jumps.
    fn numbers(kinds: &[(u8, i32)]) -> Vec<[i32; 2]> {
        let mut out = Vec::new();
        for &(kind, value) in kinds {
            match kind {
                0 => out.extend([[0, 0]].repeat(value.unsigned_abs() as usize % 90)),
                1 => out.push([value, !value]),
                2 => out.push([value >> 20, 0]),
                3 => out.push([0, value >> 28]),
                _ => out.extend((0..20).map(|i| [(value.wrapping_mul(i)) >> 22, value.wrapping_add(i) >> 25])),
            }
        }
        out
    }

    fn medians() -> impl Strategy<Value = [Medians; 2]> {
        let median = prop_oneof![Just(0), 0..40_u32, any::<u32>().prop_map(|m| m >> 12), any::<u32>()];
        prop::array::uniform2(prop::array::uniform3(median))
    }

    proptest! {
        #[test]
        fn what_was_written_is_read(
            kinds in prop::collection::vec((0..6_u8, any::<i32>()), 0..60),
            medians in medians(),
            zeros: bool,
        ) {
            let frames = numbers(&kinds);
            let mut encoder = Encoder::default();
            let behind = encoder.encode(medians, &frames, zeros, 1 << 20);
            prop_assert!(behind.is_some());
            let mut back = vec![[7, 7]; frames.len()];
            // A count of more than 2^31 is not read: no sound has it.
            if let Some(decoded) = decode(encoder.bytes(), medians, &mut back) {
                prop_assert_eq!(Some(decoded.medians), behind);
                prop_assert_eq!(&back, &frames);
            } else {
                prop_assert!(kinds.iter().any(|k| k.0 == 1));
            }
            let mono: Vec<[i32; 1]> = frames.iter().map(|f| [f[0] >> 12]).collect();
            let behind = encoder.encode(medians, &mono, zeros, 1 << 20);
            let mut back = vec![[7]; mono.len()];
            let decoded = decode(encoder.bytes(), medians, &mut back);
            prop_assert_eq!(decoded.map(|d| d.medians), behind);
            prop_assert_eq!(back, mono);
        }

        #[test]
        fn what_is_read_would_be_written_so(bytes in prop::collection::vec(any::<u8>(), 0..60), medians in medians()) {
            // Every prefix of any bits that ends with a number: the encoder must agree with the decoder.
            for frames in 1..12 {
                let mut out = vec![[0, 0]; frames];
                for end in (0..=bytes.len()).step_by(2) {
                    if let Some(decoded) = decode(&bytes[..end], medians, &mut out) {
                        let mut encoder = Encoder::default();
                        prop_assert_eq!(encoder.encode(medians, &out, decoded.zeros, 1000), Some(decoded.medians));
                        prop_assert_eq!(encoder.bytes(), &bytes[..end]);
                    }
                }
            }
        }
    }

    #[test]
    fn runs_that_no_encoder_writes_are_refused() {
        let read = |bits: u16, frames: usize| {
            let mut out = vec![[0, 0]; frames];
            decode(&(bits | 0xffff << 13).to_le_bytes(), [[0; 3]; 2], &mut out).map(|_| out)
        };
        // Two frames of zeros: a run of 4, of three bits.
        assert_eq!(read(0b00_0111 | 0x1fc0, 2), Some(vec![[0, 0], [0, 0]]));
        assert_eq!(read(0b00_0111 | 0x1fc0, 1), None, "beyond the end");
        // A run of one, then a zero.
        assert_eq!(read(0b0_0001 | 0x1fe0, 1), None);
    }

    #[test]
    fn no_numbers_make_it_pass_its_bound() {
        let mut encoder = Encoder::default();
        assert_eq!(encoder.encode([[0; 3]; 2], &[[i32::MIN, i32::MAX]; 5000], false, 1000), None);
        assert!(encoder.bytes().len() < 200_000);
    }
}
