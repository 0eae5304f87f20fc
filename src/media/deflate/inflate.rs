//! Deflate read as tokens (RFC 1951): what its bytes say, not only what they mean.
//!
//! Owns bits, codes and blocks. [`super`] keeps the history that references reach back to.
//!
//! # Invariants
//!
//! 1. What a block's parts say, and where it begins and ends, is all there is to it: `super::rebuild` writes the same
//!    bits from them.
//! 2. Text and tokens of a block stay within [`Limits`].
//! 3. Work is linear in the bits read and the text made.

/// A literal is 0, else length << 16 | distance.
pub type Token = u32;

/// Lengths of the codes of literals and lengths, and of distances.
pub const LITERALS: usize = 288;
pub const DISTANCES: usize = 32;
pub const END: usize = 256;

/// The length that a length code begins with, and how many bits are added.
pub const LENGTHS: [(u16, u8); 29] = [
    (3, 0),
    (4, 0),
    (5, 0),
    (6, 0),
    (7, 0),
    (8, 0),
    (9, 0),
    (10, 0),
    (11, 1),
    (13, 1),
    (15, 1),
    (17, 1),
    (19, 2),
    (23, 2),
    (27, 2),
    (31, 2),
    (35, 3),
    (43, 3),
    (51, 3),
    (59, 3),
    (67, 4),
    (83, 4),
    (99, 4),
    (115, 4),
    (131, 5),
    (163, 5),
    (195, 5),
    (227, 5),
    (258, 0),
];

/// The same for distances.
pub const DISTANCE_CODES: [(u16, u8); 30] = [
    (1, 0),
    (2, 0),
    (3, 0),
    (4, 0),
    (5, 1),
    (7, 1),
    (9, 2),
    (13, 2),
    (17, 3),
    (25, 3),
    (33, 4),
    (49, 4),
    (65, 5),
    (97, 5),
    (129, 6),
    (193, 6),
    (257, 7),
    (385, 7),
    (513, 8),
    (769, 8),
    (1025, 9),
    (1537, 9),
    (2049, 10),
    (3073, 10),
    (4097, 11),
    (6145, 11),
    (8193, 12),
    (12289, 12),
    (16385, 13),
    (24577, 13),
];

/// In which order the lengths of the code for code lengths stand.
pub const ORDER: [u8; 19] = [16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15];

/// Why a block was not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// The bytes end within it.
    Short,
    /// It is longer than the limits allow.
    Long,
    /// It is not deflate, or such as no encoder writes.
    Bad,
}

/// What is known of bits that were read.
#[derive(Clone, Debug)]
pub struct Bits<'a> {
    bytes: &'a [u8],
    /// The next byte that is not in `buffer`.
    at: usize,
    buffer: u64,
    count: u32,
}

impl<'a> Bits<'a> {
    /// Reads on where `phase` bits of the byte before, `carry`, were read already.
    pub fn new(bytes: &'a [u8], phase: u32, carry: u8) -> Bits<'a> {
        let count = if phase == 0 { 0 } else { 8 - phase.min(7) };
        Bits { bytes, at: 0, buffer: if count == 0 { 0 } else { u64::from(carry >> (8 - count)) }, count }
    }

    /// Bits read, counted from the first byte: below 0 while those of `carry` are.
    pub fn position(&self) -> i64 {
        self.at as i64 * 8 - i64::from(self.count)
    }

    fn fill(&mut self) {
        if let Some(eight) = self.bytes.get(self.at..).and_then(<[u8]>::first_chunk::<8>) {
            // Whole bytes only, at most 63 bits: what is beyond is dropped by the shift, or read again.
            self.buffer |= u64::from_le_bytes(*eight) << self.count;
            let taken = (63 - self.count) / 8;
            self.at += taken as usize;
            self.count += taken * 8;
            if self.count < 64 {
                self.buffer &= (1 << self.count) - 1;
            }
            return;
        }
        while self.count <= 55
            && let Some(&byte) = self.bytes.get(self.at)
        {
            self.buffer |= u64::from(byte) << self.count;
            self.at += 1;
            self.count += 8;
        }
    }

    /// Takes `n` bits, at most 32.
    pub fn take(&mut self, n: u32) -> Result<u32, Stop> {
        if self.count < n {
            self.fill();
            if self.count < n {
                return Err(Stop::Short);
            }
        }
        let bits = self.buffer & ((1 << n) - 1);
        self.buffer >>= n;
        self.count -= n;
        Ok(bits as u32) // at most 32 of them
    }

    /// The bits up to the next byte border.
    fn align(&mut self) -> u32 {
        let n = self.count % 8;
        let bits = self.buffer & ((1 << n) - 1);
        self.buffer >>= n;
        self.count -= n;
        bits as u32 // less than 8 of them
    }
}

const FAST: u32 = 10;

/// A canonical code.
#[derive(Clone, Debug)]
pub struct Code {
    /// By the next [`FAST`] bits: symbol << 4 | length; 0 where the code is longer, or there is none.
    fast: Vec<u16>,
    /// Codes of each length, and symbols in order of their codes.
    counts: [u16; 16],
    symbols: Vec<u16>,
}

impl Code {
    /// `None` where the lengths, each at most 15, ask for more codes than there are.
    pub fn new(lengths: &[u8]) -> Option<Code> {
        let mut counts = [0_u16; 16];
        for &l in lengths {
            *counts.get_mut(usize::from(l))? += 1; // at most 288 lengths
        }
        let (mut left, mut offset, mut offsets) = (1_i32, 0_u16, [0_u16; 16]);
        for (count, at) in counts.iter().zip(&mut offsets).skip(1) {
            left = left * 2 - i32::from(*count); // at most 2^15
            if left < 0 {
                return None;
            }
            *at = offset;
            offset += count;
        }
        if let Some(none) = counts.first_mut() {
            *none = 0;
        }
        let mut symbols = vec![0; usize::from(offset)];
        let codes = codes(lengths);
        let mut fast = vec![0_u16; 1 << FAST];
        for (symbol, (&l, &code)) in lengths.iter().zip(&codes).enumerate() {
            if l == 0 {
                continue;
            }
            let symbol = symbol as u16; // below 288
            let at = offsets.get_mut(usize::from(l))?;
            *symbols.get_mut(usize::from(*at))? = symbol;
            *at += 1;
            if u32::from(l) <= FAST {
                for entry in fast.iter_mut().skip(usize::from(code)).step_by(1 << l) {
                    *entry = symbol << 4 | u16::from(l);
                }
            }
        }
        Some(Code { fast, counts, symbols })
    }

    fn read(&self, bits: &mut Bits<'_>) -> Result<usize, Stop> {
        if bits.count < 15 {
            bits.fill();
        }
        let index = (bits.buffer & ((1 << FAST) - 1)) as usize;
        let entry = self.fast.get(index).copied().unwrap_or_default();
        let length = u32::from(entry & 15);
        if length > 0 {
            if bits.count < length {
                return Err(Stop::Short);
            }
            bits.buffer >>= length;
            bits.count -= length;
            return Ok(usize::from(entry >> 4));
        }
        // Code by code length, as they ascend.
        let (mut code, mut first, mut index) = (0_i32, 0_i32, 0_usize);
        for (length, &count) in (1_u32..).zip(self.counts.iter().skip(1)) {
            if bits.count < length {
                return Err(Stop::Short);
            }
            code |= (bits.buffer >> (length - 1) & 1) as i32; // one bit
            let count = i32::from(count);
            if code - first < count {
                bits.buffer >>= length;
                bits.count -= length;
                let place = index + (code - first) as usize; // not below 0: codes of a length start at `first`
                return self.symbols.get(place).map(|s| usize::from(*s)).ok_or(Stop::Bad);
            }
            index += count as usize; // a count
            first = (first + count) << 1;
            code <<= 1;
        }
        Err(Stop::Bad)
    }
}

/// The code of each symbol, its first bit lowest, as deflate writes it.
pub fn codes(lengths: &[u8]) -> Vec<u16> {
    let mut counts = [0_u32; 16];
    for &l in lengths.iter().filter(|l| **l > 0) {
        if let Some(c) = counts.get_mut(usize::from(l)) {
            *c += 1;
        }
    }
    let (mut code, mut next) = (0_u32, [0_u32; 17]);
    for (length, &count) in (1..).zip(counts.iter().skip(1)) {
        if let Some(n) = next.get_mut(length) {
            *n = code;
        }
        code = (code + count) << 1;
    }
    lengths
        .iter()
        .map(|&l| match next.get_mut(usize::from(l)) {
            Some(n) if l > 0 => {
                let code = *n;
                *n += 1;
                // Of at most 15 bits, where the lengths are a code's.
                (code as u16).reverse_bits() >> (16 - u32::from(l).min(15))
            }
            _ => 0,
        })
        .collect()
}

/// The lengths of the fixed code.
pub fn fixed() -> (Vec<u8>, Vec<u8>) {
    let mut lengths = vec![8; LITERALS];
    lengths.iter_mut().skip(144).take(112).for_each(|l| *l = 9);
    lengths.iter_mut().skip(256).take(24).for_each(|l| *l = 7);
    (lengths, vec![5; DISTANCES])
}

/// Reads the lengths of a dynamic block's codes.
pub fn read_lengths(bits: &mut Bits<'_>) -> Result<(Vec<u8>, Vec<u8>), Stop> {
    let literals = bits.take(5)? as usize + 257;
    let distances = bits.take(5)? as usize + 1;
    let count = bits.take(4)? as usize + 4;
    if literals > 286 || distances > 30 {
        return Err(Stop::Bad);
    }
    let mut lengths = [0; 19];
    for &at in ORDER.iter().take(count) {
        if let Some(l) = lengths.get_mut(usize::from(at)) {
            *l = bits.take(3)? as u8; // 3 bits
        }
    }
    let code = Code::new(&lengths).ok_or(Stop::Bad)?;
    let mut all = Vec::with_capacity(literals + distances);
    while all.len() < literals + distances {
        let (value, times) = match code.read(bits)? {
            symbol @ 0..=15 => (symbol as u8, 1),
            16 => (*all.last().ok_or(Stop::Bad)?, bits.take(2)? + 3),
            17 => (0, bits.take(3)? + 3),
            _ => (0, bits.take(7)? + 11),
        };
        all.extend(std::iter::repeat_n(value, times as usize)); // at most 138
    }
    if all.len() > literals + distances {
        return Err(Stop::Bad);
    }
    let rest = all.split_off(literals); // there are that many
    Ok((all, rest))
}

/// How a block's codes are told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Bytes as they are, behind bits up to a byte border.
    Stored {
        padding: u32,
        bytes: u32,
    },
    Fixed,
    /// The bits that tell the codes, packed, and how many.
    Dynamic {
        header: Vec<u8>,
        bits: u32,
    },
}

/// A block of a deflate stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    pub last: bool,
    pub kind: Kind,
    /// Tokens of it, those of a stored one not counted.
    pub tokens: usize,
}

/// How long text and tokens may become.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    pub text: usize,
    pub tokens: usize,
}

/// Reads a block. `text` holds what came before, as far as references may reach; both vectors grow, also where the block
/// is not read to its end.
pub fn block(bits: &mut Bits<'_>, text: &mut Vec<u8>, tokens: &mut Vec<Token>, limits: Limits) -> Result<Block, Stop> {
    let last = bits.take(1)? == 1;
    let first = tokens.len();
    let (kind, lengths) = match bits.take(2)? {
        0 => {
            let padding = bits.align();
            let (n, not) = (bits.take(16)?, bits.take(16)?);
            if n ^ not != 0xffff {
                return Err(Stop::Bad);
            }
            // Whole bytes are left in the buffer; they are read again.
            bits.at -= (bits.count / 8) as usize;
            (bits.buffer, bits.count) = (0, 0);
            let n = n as usize; // 16 bits
            let bytes = bits.at.checked_add(n).and_then(|end| bits.bytes.get(bits.at..end)).ok_or(Stop::Short)?;
            bits.at += n;
            if text.len() + n > limits.text {
                return Err(Stop::Long);
            }
            text.extend_from_slice(bytes);
            return Ok(Block { last, kind: Kind::Stored { padding, bytes: n as u32 }, tokens: 0 });
        }
        1 => (Kind::Fixed, fixed()),
        2 => {
            let mut from = bits.clone();
            let lengths = read_lengths(bits)?;
            // A header has at most some hundred bytes.
            let n = u32::try_from(bits.position() - from.position()).map_err(|_| Stop::Bad)?;
            let mut header = Vec::with_capacity(96);
            for at in (0..n).step_by(8) {
                header.push(from.take(8.min(n - at))? as u8); // at most 8 bits
            }
            (Kind::Dynamic { header, bits: n }, lengths)
        }
        _ => return Err(Stop::Bad),
    };
    let literal = Code::new(&lengths.0).ok_or(Stop::Bad)?;
    let distance = Code::new(&lengths.1).ok_or(Stop::Bad)?;
    loop {
        let symbol = literal.read(bits)?;
        if symbol == END {
            break;
        }
        if text.len() >= limits.text || tokens.len() >= limits.tokens {
            return Err(Stop::Long);
        }
        if symbol < END {
            text.push(symbol as u8); // below 256
            tokens.push(0);
            continue;
        }
        let code = symbol - END - 1;
        let &(base, extra) = LENGTHS.get(code).ok_or(Stop::Bad)?;
        let length = u32::from(base) + bits.take(extra.into())?;
        if length == 258 && code != LENGTHS.len() - 1 {
            return Err(Stop::Bad); // there is a shorter way to say it
        }
        let &(base, extra) = DISTANCE_CODES.get(distance.read(bits)?).ok_or(Stop::Bad)?;
        let far = u32::from(base) + bits.take(extra.into())?;
        tokens.push(length << 16 | far);
        let from = text.len().checked_sub(far as usize).ok_or(Stop::Bad)?;
        if far >= length {
            text.extend_from_within(from..from + length as usize); // ends before what is there
        } else {
            for at in (from..).take(length as usize) {
                let byte = text.get(at).copied().unwrap_or_default(); // behind the one added before
                text.push(byte);
            }
        }
    }
    Ok(Block { last, kind, tokens: tokens.len() - first })
}
