//! Huffman codes of a JPEG file, and the bits of its scans: read, with what is stuffed left out, and written.

/// Symbols of a table.
const SYMBOLS: usize = 256;
/// Bits that the fast table knows.
const FAST: u32 = 10;

/// One table: counts of codes by length and their symbols (ITU-T T.81, annex C).
#[derive(Clone)]
pub struct Huffman {
    /// Lengths 1 to 16, then the symbols.
    pub said: Vec<u8>,
    /// By the next [`FAST`] bits: symbol and length; length 0 where the code is longer.
    fast: Vec<(u8, u8)>,
    /// By length: one more than the last code, shifted to 16 bits; and what leads from code to symbol.
    above: [u32; 17],
    first: [i32; 17],
    /// By symbol: code and length; length 0 where there is none.
    codes: Vec<(u16, u8)>,
}

impl std::fmt::Debug for Huffman {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Huffman({} symbols)", self.said.len().saturating_sub(16))
    }
}

impl Huffman {
    /// The table at the front of `bytes`: sixteen counts and as many symbols. `None` where there is none.
    pub fn new(bytes: &[u8]) -> Option<Huffman> {
        let counts = bytes.first_chunk::<16>()?;
        let all: usize = counts.iter().map(|c| usize::from(*c)).sum();
        let symbols = bytes.get(16..16 + all).filter(|s| !s.is_empty() && s.len() <= SYMBOLS)?;
        let (mut fast, mut codes) = (vec![(0, 0); 1 << FAST], vec![(0, 0); SYMBOLS]);
        let (mut above, mut first) = ([0; 17], [0; 17]);
        let (mut code, mut at) = (0_u32, 0_usize);
        for (length, count) in (1_u32..).zip(counts) {
            let l = length as usize; // 1..=16
            first[l] = at as i32 - code as i32; // both at most 2^16
            for _ in 0..*count {
                let symbol = *symbols.get(at)?;
                if code >= 1 << length {
                    return None; // more codes than there are
                }
                if let Some(place) = codes.get_mut(usize::from(symbol)) {
                    if place.1 != 0 {
                        return None; // two codes for one: it could not be told which was written
                    }
                    *place = (code as u16, length as u8); // below 2^16; at most 16
                }
                if length <= FAST {
                    let from = (code << (FAST - length)) as usize;
                    let to = ((code + 1) << (FAST - length)) as usize;
                    fast.get_mut(from..to)?.fill((symbol, length as u8));
                }
                code += 1;
                at += 1;
            }
            above[l] = code << (16 - length);
            code <<= 1;
        }
        Some(Huffman { said: bytes.get(..16 + all)?.to_vec(), fast, above, first, codes })
    }

    /// The code of a symbol and its length, 0 where it has none.
    #[inline(always)]
    pub fn code(&self, symbol: u8) -> (u32, u32) {
        let (code, length) = self.codes.get(usize::from(symbol)).copied().unwrap_or((0, 0));
        (u32::from(code), u32::from(length))
    }
}

/// Why no symbol comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// The bytes end here.
    More,
    /// They are not what is known here.
    Doubt,
}

/// Reads the bits of a scan.
#[derive(Clone, Copy, Debug)]
pub struct Bits<'a> {
    bytes: &'a [u8],
    /// The next byte that is not in `held`.
    at: usize,
    /// Bits not read yet, the next one highest.
    held: u64,
    count: u32,
}

impl<'a> Bits<'a> {
    /// From a byte on, without its first `phase` bits (fewer than 8).
    pub fn new(bytes: &'a [u8], at: usize, phase: u8) -> Self {
        let mut bits = Bits { bytes, at, held: 0, count: 0 };
        bits.fill();
        let phase = u32::from(phase);
        if bits.count >= phase {
            bits.drop(phase);
        }
        bits
    }

    #[inline(always)]
    fn fill(&mut self) {
        if self.count > 32 {
            return;
        }
        if let Some(four) = self.bytes.get(self.at..).and_then(|rest| rest.first_chunk::<4>()) {
            let word = u32::from_be_bytes(*four);
            // Whether a byte is 0xff: its complement is zero.
            if (!word).wrapping_sub(0x0101_0101) & word & 0x8080_8080 == 0 {
                self.held |= u64::from(word) << (32 - self.count);
                self.count += 32;
                self.at += 4;
                return;
            }
        }
        self.fill_slow();
    }

    fn fill_slow(&mut self) {
        while self.count <= 56 {
            let Some(byte) = self.bytes.get(self.at) else { return };
            if *byte == 0xff {
                if self.bytes.get(self.at + 1) != Some(&0) {
                    return; // a marker, or the end
                }
                self.at += 1;
            }
            self.at += 1;
            self.held |= u64::from(*byte) << (56 - self.count);
            self.count += 8;
        }
    }

    /// Why there are no more bits.
    #[cold]
    fn stop(&self) -> Stop {
        if self.at + 1 >= self.bytes.len() && self.bytes.get(self.at).is_none_or(|b| *b == 0xff) {
            Stop::More
        } else {
            Stop::Doubt
        }
    }

    #[inline(always)]
    fn drop(&mut self, count: u32) {
        self.held <<= count; // below 64
        self.count -= count;
    }

    /// The next symbol. Behind it at least 16 bits are held, or as many as there are.
    #[inline(always)]
    pub fn symbol(&mut self, table: &Huffman) -> Result<u8, Stop> {
        self.fill();
        let (symbol, length) = table.fast.get((self.held >> (64 - FAST)) as usize).copied().unwrap_or((0, 0));
        let (symbol, length) = if length > 0 { (symbol, u32::from(length)) } else { self.slow(table)? };
        if length > self.count {
            return Err(self.stop());
        }
        self.drop(length);
        Ok(symbol)
    }

    fn slow(&self, table: &Huffman) -> Result<(u8, u32), Stop> {
        let next = (self.held >> 48) as u32;
        let length = (FAST + 1..17).find(|l| next < table.above[*l as usize]); // the table has 17 places
        let Some(length) = length else { return Err(if self.count < 16 { self.stop() } else { Stop::Doubt }) };
        let place = (next >> (16 - length)) as i32 + table.first[length as usize];
        let symbol = usize::try_from(place).ok().and_then(|n| table.said.get(16 + n)).copied();
        symbol.map(|s| (s, length)).ok_or(if self.count < 16 { self.stop() } else { Stop::Doubt })
    }

    /// The next bits as a number, at most 16 of them.
    #[inline(always)]
    pub fn number(&mut self, count: u32) -> Result<u32, Stop> {
        if count > self.count {
            self.fill();
            if count > self.count {
                return Err(self.stop());
            }
        }
        let value = (self.held >> 32 >> (32 - count)) as u32;
        self.drop(count);
        Ok(value)
    }

    /// A number as JPEG writes it with its length: below half of what the bits can say it is negative.
    #[inline(always)]
    pub fn signed(&mut self, count: u32) -> Result<i32, Stop> {
        if count == 0 {
            return Ok(0);
        }
        let value = self.number(count)? as i32; // at most 16 bits
        Ok(if value < 1 << (count - 1) { value - (1 << count) + 1 } else { value })
    }

    /// The byte that the next bit stands in, and how many bits of it are read.
    pub fn place(&self) -> (usize, u8) {
        let mut at = self.at;
        for _ in 0..self.count.div_ceil(8) {
            let stuffed = at >= 2 && self.bytes.get(at - 2..at) == Some(&[0xff, 0]);
            at = at.saturating_sub(if stuffed { 2 } else { 1 });
        }
        (at, (self.count.wrapping_neg() % 8) as u8)
    }

    /// Reads the bits that fill a byte and the marker RST`number` behind.
    pub fn restart(&mut self, number: u8) -> Result<(), Stop> {
        self.fill_slow();
        let fill = self.count % 8;
        let ones = self.number(fill)?;
        if ones + 1 != 1 << fill || self.count > 0 {
            return Err(Stop::Doubt);
        }
        match self.bytes.get(self.at..).unwrap_or_default() {
            [] | [0xff] => Err(Stop::More),
            [0xff, marker, ..] if *marker == 0xd0 + number => {
                self.at += 2;
                Ok(())
            }
            _ => Err(Stop::Doubt),
        }
    }
}

/// Writes the bits of a scan.
#[derive(Debug)]
pub struct BitsOut {
    pub out: Vec<u8>,
    /// The lowest `count` of them are not written yet; fewer than 32.
    held: u64,
    count: u32,
}

impl BitsOut {
    /// Behind `out`, whose last byte counts with its first `phase` bits, if that is not 0.
    pub fn new(mut out: Vec<u8>, phase: u8) -> BitsOut {
        let (mut held, count) = (0, u32::from(phase % 8));
        if count > 0 {
            held = u64::from(out.pop().unwrap_or(0)) >> (8 - count);
        }
        BitsOut { out, held, count }
    }

    /// The bytes, and whether some bits are left that do not fill one: these are dropped.
    pub fn end(mut self) -> (Vec<u8>, bool) {
        self.flush();
        (self.out, self.count > 0)
    }

    /// Appends the lowest `count` bits of a number that has no others; at most 32.
    #[inline(always)]
    pub fn put(&mut self, value: u32, count: u32) {
        self.held = self.held << count | u64::from(value);
        self.count += count;
        if self.count >= 32 {
            let word = (self.held >> (self.count - 32)) as u32;
            if (!word).wrapping_sub(0x0101_0101) & word & 0x8080_8080 == 0 {
                self.out.extend_from_slice(&word.to_be_bytes());
                self.count -= 32;
            } else {
                self.flush();
            }
        }
    }

    fn flush(&mut self) {
        while self.count >= 8 {
            self.count -= 8;
            let byte = (self.held >> self.count) as u8;
            self.out.push(byte);
            if byte == 0xff {
                self.out.push(0);
            }
        }
    }

    /// Fills the byte with ones and appends RST`number`.
    pub fn restart(&mut self, number: u8) {
        let fill = self.count.wrapping_neg() % 8;
        self.put((1 << fill) - 1, fill);
        self.flush();
        self.out.extend([0xff, 0xd0 + number]);
    }
}
