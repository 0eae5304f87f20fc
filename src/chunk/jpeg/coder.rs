//! A range coder over binary decisions, each with a probability that adapts, and over even ones.
//!
//! Range and code are 64 bits wide and shifted by 32 at a time, so that a probability of 16 bits is exact enough and
//! the shift is rare. A carry runs back into what was written.
//!
//! # Source
//! G. Martin, "Range encoding", 1979; the halves of the range as in LZMA.

/// The probability of a set bit in 65536ths, and how many bits it has seen, which say how fast it moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chance {
    pub set: u16,
    pub seen: u16,
}

/// Bits after which a chance moves no slower: by one part in so many.
pub const SEEN_MAX: u16 = 110;

/// How near to 0 and 1 a chance comes.
pub const LEAST: u16 = 48;

/// 32768 / (n + 1.6), which is how far a chance moves that has seen n bits.
const STEPS: [u16; 256] = {
    let mut steps = [0; 256];
    let mut n = 0;
    while n < steps.len() {
        steps[n] = (327_680 / (10 * n + 16)) as u16; // at most 20480
        n += 1;
    }
    steps
};

impl Chance {
    pub const EVEN: Chance = Chance { set: 1 << 15, seen: 0 };

    /// Learns a bit.
    #[inline(always)]
    pub fn learn(&mut self, bit: bool) {
        let step = i32::from(STEPS[usize::from(self.seen & 255)]); // the table has 256 places
        let goal = (-i32::from(bit) & (65535 - 2 * i32::from(LEAST))) + i32::from(LEAST);
        let set = i32::from(self.set);
        // The step is below one, so what comes out lies between the two: neither 0 nor 1 is reached.
        self.set = (set + (((goal - set) * step) >> 15)) as u16;
        self.seen += u16::from(self.seen < SEEN_MAX);
    }
}

/// Both directions: a model is written once, and says the same to both.
pub trait Coder {
    /// Whether the values are known before.
    const WRITES: bool;

    /// A bit that is set with `share` 65536ths. A decoder ignores `bit` and returns what was coded.
    fn bit(&mut self, share: u32, bit: bool) -> bool;
    /// The low `count` bits of `value`, each as likely as not.
    fn even(&mut self, count: u32, value: u32) -> u32;

    /// A bit by one chance.
    #[inline(always)]
    fn learned(&mut self, chance: &mut Chance, bit: bool) -> bool {
        let bit = self.bit(u32::from(chance.set), bit);
        chance.learn(bit);
        bit
    }
}

/// Writes.
#[derive(Debug, Default)]
pub struct Encoder {
    low: u64,
    range: u64,
    out: Vec<u8>,
}

impl Encoder {
    pub fn new() -> Self {
        Encoder { low: 0, range: u64::MAX, out: Vec::new() }
    }

    #[inline(always)]
    fn add(&mut self, n: u64) {
        let (low, carried) = self.low.overflowing_add(n);
        self.low = low;
        if carried {
            self.carry();
        }
    }

    #[cold]
    fn carry(&mut self) {
        for byte in self.out.iter_mut().rev() {
            *byte = byte.wrapping_add(1);
            if *byte != 0 {
                break;
            }
        }
    }

    #[inline(always)]
    fn shift(&mut self) {
        if self.range < 1 << 32 {
            self.out.extend_from_slice(&((self.low >> 32) as u32).to_be_bytes());
            self.low <<= 32;
            self.range <<= 32;
        }
    }

    /// The bytes. Zeros at the end are left out: a decoder reads zeros behind the end.
    pub fn finish(mut self) -> Vec<u8> {
        // Of the values in the range, the one with the most zeros at its end.
        if self.low != 0 && self.low.wrapping_neg() < self.range {
            self.carry(); // 2^64: nothing but zeros behind the carry
        } else {
            for zeros in (0..64).rev() {
                let mask = (1_u64 << zeros) - 1;
                let value = self.low.saturating_add(mask) & !mask;
                if value >= self.low && value - self.low < self.range {
                    self.out.extend_from_slice(&value.to_be_bytes());
                    break;
                }
            }
        }
        while self.out.last() == Some(&0) {
            self.out.pop();
        }
        self.out
    }
}

impl Coder for Encoder {
    const WRITES: bool = true;

    #[inline(always)]
    fn bit(&mut self, share: u32, bit: bool) -> bool {
        let bound = (self.range >> 16) * u64::from(share);
        // Without a branch, as when it is read.
        let over = u64::from(bit).wrapping_sub(1); // all ones where the bit is not set
        self.add(bound & over);
        self.range = (bound & !over) | ((self.range - bound) & over);
        self.shift();
        bit
    }

    #[inline(always)]
    fn even(&mut self, count: u32, value: u32) -> u32 {
        let mut sum = 0;
        for bit in (0..count).rev() {
            self.range >>= 1;
            sum += if value >> bit & 1 == 1 { self.range } else { 0 }; // less than the range that was
        }
        self.add(sum);
        self.shift();
        value
    }
}

/// Reads. Behind the end it reads zeros.
#[derive(Debug)]
pub struct Decoder<'a> {
    code: u64,
    range: u64,
    rest: &'a [u8],
}

impl<'a> Decoder<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        let mut decoder = Decoder { code: 0, range: u64::MAX, rest: bytes };
        decoder.code = u64::from(decoder.word()) << 32 | u64::from(decoder.word());
        decoder
    }

    #[inline(always)]
    fn word(&mut self) -> u32 {
        if let Some((word, rest)) = self.rest.split_first_chunk::<4>() {
            self.rest = rest;
            return u32::from_be_bytes(*word);
        }
        let mut word = [0; 4];
        word.iter_mut().zip(self.rest).for_each(|(w, b)| *w = *b);
        self.rest = &[];
        u32::from_be_bytes(word)
    }

    #[inline(always)]
    fn shift(&mut self) {
        if self.range < 1 << 32 {
            self.code = self.code << 32 | u64::from(self.word());
            self.range <<= 32;
        }
    }
}

impl Coder for Decoder<'_> {
    const WRITES: bool = false;

    #[inline(always)]
    fn bit(&mut self, share: u32, _: bool) -> bool {
        let bound = (self.range >> 16) * u64::from(share);
        let bit = self.code < bound;
        // Without a branch: which way it goes is hard to guess.
        let over = u64::from(bit).wrapping_sub(1); // all ones where the bit is not set
        self.code -= bound & over;
        self.range = (bound & !over) | ((self.range - bound) & over);
        self.shift();
        bit
    }

    #[inline(always)]
    fn even(&mut self, count: u32, _: u32) -> u32 {
        let mut value = 0;
        for _ in 0..count {
            self.range >>= 1;
            let set = self.code >= self.range;
            self.code -= if set { self.range } else { 0 };
            value = value << 1 | u32::from(set);
        }
        self.shift();
        value
    }
}
