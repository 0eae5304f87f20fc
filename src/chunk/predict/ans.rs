//! Tokens to bytes: range asymmetric numeral systems (Duda, arXiv 1311.2540) with a table for each context, and raw bits.
//!
//! ```text
//! tables := used:u8{16} table*            one bit a context, lowest first; a table for each one used, ascending
//! table  := tokens:u8 (frequency:varint){tokens - 1}
//!           the last token's frequency is what lacks to 1024
//! stream := state:u32{2} word:u16*        read forwards; token i is taken from state i mod 2
//! ```
//! A state `x` gives the token whose range holds `x mod 1024`; it becomes `frequency * (x / 1024) + x mod 1024 - start`, and
//! where that is below 2^16, `x * 65536 + word`. In the end both states are 2^16 and no word is left.
//!
//! # Invariants
//!
//! Reading never goes beyond the bytes, and no table is read that does not add up.

use super::wire::{Cursor, put_varint};

/// Contexts that have a table of their own.
pub const CONTEXTS: usize = 128;
/// Tokens of a context.
pub const TOKENS: usize = 76;
const BITS: u32 = 10;
const TOTAL: u32 = 1 << BITS;
const LOW: u32 = 1 << 16;

/// How often each token was met in each context.
pub struct Counts(Vec<[u32; TOKENS]>);

impl Default for Counts {
    fn default() -> Self {
        Counts(vec![[0; TOKENS]; CONTEXTS])
    }
}

impl Counts {
    pub fn clear(&mut self) {
        self.0.fill([0; TOKENS]);
    }

    pub fn of(&mut self, context: usize) -> Option<&mut [u32; TOKENS]> {
        self.0.get_mut(context)
    }
}

/// A token and its context, as they wait to be written.
#[derive(Clone, Copy)]
pub struct Symbol(u16);

impl Symbol {
    pub fn new(context: usize, token: usize) -> Self {
        debug_assert!(context < CONTEXTS && token < 128);
        Symbol((context << 7 | token) as u16) // both below 2^7
    }

    #[cfg(test)]
    fn split(self) -> (usize, usize) {
        (usize::from(self.0 >> 7), usize::from(self.0 & 127))
    }
}

/// Frequencies that add up to [`TOTAL`], in proportion to the counts, none of those met being 0.
fn frequencies(counts: &[u32; TOKENS]) -> [u16; TOKENS] {
    let all: u64 = counts.iter().map(|c| u64::from(*c)).sum();
    let mut out = [0u16; TOKENS];
    if all == 0 {
        return out;
    }
    let mut left = TOTAL as i64;
    for (out, &count) in out.iter_mut().zip(counts) {
        if count > 0 {
            *out = ((u64::from(count) * u64::from(TOTAL) + all / 2) / all).clamp(1, u64::from(TOTAL)) as u16; // so few
            left -= i64::from(*out);
        }
    }
    // What rounding left over or took too much goes to, or comes from, the most frequent: there are at most 76 tokens.
    while left != 0 {
        let Some(most) = out.iter_mut().max() else { break };
        let step = if left > 0 { left } else { left.max(1 - i64::from(*most)).max(-i64::from(*most / 8).max(1)) };
        *most = (i64::from(*most) + step) as u16; // 1 to 1024
        left -= step;
    }
    out
}

/// Appends tables and stream of all symbols.
pub fn write(counts: &Counts, symbols: &[Symbol], out: &mut Vec<u8>) {
    let tables: Vec<[u16; TOKENS]> = counts.0.iter().map(frequencies).collect();
    let mut used = [0u8; CONTEXTS / 8];
    for (i, table) in tables.iter().enumerate() {
        if table.iter().any(|f| *f > 0) {
            used[i / 8] |= 1 << (i % 8); // i < CONTEXTS
        }
    }
    out.extend_from_slice(&used);
    let mut codes = vec![(0u16, 0u16); CONTEXTS * 128];
    for (i, table) in tables.iter().enumerate() {
        let Some(last) = table.iter().rposition(|f| *f > 0) else { continue };
        out.push(last as u8 + 1); // below TOKENS
        let mut start = 0;
        for (token, &frequency) in table.iter().enumerate().take(last + 1) {
            if token < last {
                put_varint(u64::from(frequency), out);
            }
            codes[i << 7 | token] = (start, frequency); // i < CONTEXTS, token < 128
            start += frequency;
        }
    }
    let mut states = [LOW; 2];
    let mut words: Vec<u16> = Vec::with_capacity(symbols.len() / 8 + 16);
    for (i, symbol) in symbols.iter().enumerate().rev() {
        let (start, frequency) = codes[usize::from(symbol.0) % (CONTEXTS * 128)];
        let frequency = u32::from(frequency).max(1); // it was counted
        let x = &mut states[i & 1];
        if *x >> (32 - BITS) >= frequency {
            words.push(*x as u16); // its low half
            *x >>= 16;
        }
        *x = ((*x / frequency) << BITS) + *x % frequency + u32::from(start);
    }
    states.iter().for_each(|x| out.extend_from_slice(&x.to_le_bytes()));
    out.extend(words.iter().rev().flat_map(|w| w.to_le_bytes()));
}

/// What a state's low bits tell: token, frequency, and how far into its range they are.
#[derive(Clone, Copy, Default)]
struct Slot {
    token: u8,
    frequency: u16,
    offset: u16,
}

/// Reads what [`write`] wrote.
pub struct Decoder<'a> {
    tables: Vec<[Slot; TOTAL as usize]>,
    /// By context, the table's number; one too many for contexts that have none.
    numbers: [u8; CONTEXTS],
    states: [u32; 2],
    words: std::slice::Iter<'a, [u8; 2]>,
    odd: bool,
    turn: usize,
}

impl<'a> Decoder<'a> {
    /// Takes all that is left.
    pub fn new(header: &mut Cursor<'a>) -> Result<Self, &'static str> {
        const BAD: &str = "a table of frequencies does not add up";
        let used: [u8; CONTEXTS / 8] = header.array()?;
        let mut tables: Vec<[Slot; TOTAL as usize]> = Vec::new();
        let mut numbers = [u8::MAX; CONTEXTS];
        for (i, number) in numbers.iter_mut().enumerate() {
            if used[i / 8] >> (i % 8) & 1 == 0 {
                continue;
            }
            *number = tables.len() as u8; // at most 127
            let mut table = [Slot::default(); TOTAL as usize];
            let tokens = header.u8()?;
            if tokens == 0 || usize::from(tokens) > TOKENS {
                return Err(BAD);
            }
            let mut start = 0usize;
            for token in 0..tokens {
                let frequency = match token + 1 < tokens {
                    true => header.varint()?,
                    false => (TOTAL as usize - start) as u64, // start <= TOTAL, see below
                };
                let end = usize::try_from(frequency).ok().and_then(|f| start.checked_add(f)).ok_or(BAD)?;
                let range = table.get_mut(start..end).ok_or(BAD)?;
                for (offset, slot) in range.iter_mut().enumerate() {
                    // All within 0..=1024.
                    *slot = Slot { token, frequency: frequency as u16, offset: offset as u16 };
                }
                start = end;
            }
            tables.push(table);
        }
        let (states, words) = header.rest().split_first_chunk::<8>().ok_or("the stream of tokens ends early")?;
        let [a, b, c, d, e, f, g, h] = *states;
        let states = [u32::from_le_bytes([a, b, c, d]), u32::from_le_bytes([e, f, g, h])];
        let (words, rest) = words.as_chunks::<2>();
        Ok(Decoder { tables, numbers, states, words: words.iter(), odd: !rest.is_empty(), turn: 0 })
    }

    /// The next token.
    #[inline]
    pub fn token(&mut self, context: usize) -> Result<u32, &'static str> {
        let number = self.numbers[context % CONTEXTS];
        let table = self.tables.get(usize::from(number)).ok_or("a token of a context that has no table")?;
        let x = &mut self.states[self.turn & 1];
        self.turn ^= 1;
        let slot = table[*x as usize % TOTAL as usize];
        // Below 2^10 * 2^22.
        *x = u32::from(slot.frequency).wrapping_mul(*x >> BITS).wrapping_add(u32::from(slot.offset));
        if *x < LOW {
            let word = self.words.next().ok_or("the stream of tokens ends early")?;
            *x = *x << 16 | u32::from(u16::from_le_bytes(*word));
        }
        Ok(u32::from(slot.token))
    }

    /// Whether all was read, and was what a writer leaves.
    pub fn done(&self) -> bool {
        self.states == [LOW; 2] && self.words.len() == 0 && !self.odd
    }
}

/// Raw bits, the lowest first.
#[derive(Default)]
pub struct BitWriter {
    bytes: Vec<u8>,
    held: u64,
    bits: u32,
}

impl BitWriter {
    pub fn clear(&mut self) {
        *self = BitWriter { bytes: std::mem::take(&mut self.bytes), ..Default::default() };
        self.bytes.clear();
    }

    /// At most 32 bits.
    #[inline]
    pub fn put(&mut self, value: u64, bits: u32) {
        self.held |= (value & ((1 << bits) - 1)) << self.bits; // self.bits < 32
        self.bits += bits;
        if self.bits >= 32 {
            self.bytes.extend_from_slice(&(self.held as u32).to_le_bytes()); // the low half
            self.held >>= 32;
            self.bits -= 32;
        }
    }

    pub fn finish(&mut self) -> &[u8] {
        let bytes = self.held.to_le_bytes();
        self.bytes.extend_from_slice(&bytes[..self.bits.div_ceil(8) as usize]); // at most 4
        (self.held, self.bits) = (0, 0);
        &self.bytes
    }
}

/// Reads what a [`BitWriter`] wrote.
pub struct BitReader<'a> {
    bytes: std::slice::Iter<'a, u8>,
    held: u64,
    bits: u32,
}

impl<'a> BitReader<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        BitReader { bytes: bytes.iter(), held: 0, bits: 0 }
    }

    /// At most 32 bits.
    #[inline]
    pub fn take(&mut self, bits: u32) -> Result<u64, &'static str> {
        while self.bits < bits {
            let byte = self.bytes.next().ok_or("the raw bits end early")?;
            self.held |= u64::from(*byte) << self.bits; // self.bits < 32
            self.bits += 8;
        }
        let value = self.held & ((1 << bits) - 1);
        self.held >>= bits;
        self.bits -= bits;
        Ok(value)
    }

    /// Whether all was read, and what fills the last byte is zero.
    pub fn done(&self) -> bool {
        self.bytes.len() == 0 && self.held == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn tokens_and_bits_come_back(pairs in prop::collection::vec((0..CONTEXTS, 0..TOKENS, 0..=32u32, any::<u64>()), 0..2000),
            few in 1..6usize) {
            let (mut counts, mut symbols, mut bits) = (Counts::default(), Vec::new(), BitWriter::default());
            for (context, token, n, value) in &pairs {
                let (context, token) = (context % few * 25, token % (few * few));
                counts.of(context).unwrap()[token] += 1;
                symbols.push(Symbol::new(context, token));
                bits.put(*value, *n);
            }
            let mut out = Vec::new();
            write(&counts, &symbols, &mut out);
            let bits = bits.finish().to_vec();
            let mut decoder = Decoder::new(&mut Cursor::new(&out)).unwrap();
            let mut reader = BitReader::new(&bits);
            for (symbol, (_, _, n, value)) in symbols.iter().zip(&pairs) {
                let (context, token) = symbol.split();
                prop_assert_eq!(decoder.token(context), Ok(token as u32));
                prop_assert_eq!(reader.take(*n), Ok(value & ((1 << n) - 1)));
            }
            prop_assert!(decoder.done() && reader.done());
        }

        #[test]
        fn frequencies_add_up_and_leave_nothing_out(counts: [u32; 76]) {
            let all = frequencies(&counts);
            prop_assert_eq!(all.iter().map(|f| u32::from(*f)).sum::<u32>(), if counts == [0; 76] { 0 } else { TOTAL });
            prop_assert!(counts.iter().zip(all).all(|(c, f)| (*c > 0) == (f > 0)));
        }
    }
}
