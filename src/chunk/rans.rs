//! Static ANS in vectors: eight lanes, a state each, whose words follow each other in one stream.
//!
//! A lane's state `x` has 32 bits and is at least 2^[`STATE_BITS`]. The low `BITS` bits of it name a slot, and so a symbol; the state
//! becomes `frequency * (x >> BITS) + (slot - sum of the frequencies before it)`, and if that is below 2^[`STATE_BITS`] the vector's
//! next word of 16 bits comes in below it. Frequencies of a context sum up to 2^`BITS`. Decoding goes place by place, and at each
//! place lane by lane; at the end all words are used, and each state is 2^[`STATE_BITS`].
//!
//! Which symbols there are and what tells their context is a codec's affair: here are states, words and tables of one context.
//!
//! Several states side by side: Giesen, *Interleaved entropy coders* (2014); eight in a register, words spread by a table of
//! permutations: his `ryg_rans`, and Bonfield's `htscodecs`.
//!
//! # Invariants
//!
//! 1. Loops are total: they read zeros behind the words' end, and whatever they read, they end.
//! 2. A register at a time or lane by lane, the same is written and read.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
pub use avx2::{look_up, take as take_vector};

/// Lanes of a vector.
pub const LANES: usize = 8;
/// The bits of the least state; the greatest has sixteen more.
const STATE_BITS: u32 = 15;
pub const STATE_MIN: u32 = 1 << STATE_BITS;

/// What a decoder does with a slot: the symbol's value, what the state gets beside it (the slot's offset among those of the
/// symbol), and the symbol's frequency.
#[derive(Clone, Copy, Default)]
#[repr(transparent)]
pub struct Slot(u32);

/// A slot's value is below 2^10.
pub const VALUE_MASK: u32 = 0x3ff;
const OFFSET_SHIFT: u32 = 10;
const FREQUENCY_SHIFT: u32 = 21;
const OFFSET_MASK: u32 = 0x7ff;

impl Slot {
    /// `value` is below 2^10; offset and frequency are below 2^11.
    pub const fn new(value: u32, offset: u32, frequency: u32) -> Slot {
        Slot(value | offset << OFFSET_SHIFT | frequency << FREQUENCY_SHIFT)
    }

    #[inline(always)]
    pub fn value(self) -> u32 {
        self.0 & VALUE_MASK
    }
}

/// What a vector's decoder reads from.
#[derive(Clone, Copy, Default)]
pub struct Reader<'a> {
    pub states: [u32; LANES],
    pub words: &'a [[u8; 2]],
    /// Words used up.
    pub at: usize,
}

impl<'a> Reader<'a> {
    /// Splits states, the number of words and words off the front. `None` if they are cut short.
    pub fn open(from: &mut &'a [u8]) -> Option<Reader<'a>> {
        let mut states = [0; LANES];
        for state in &mut states {
            *state = u32::from_le_bytes(*from.split_off(..4)?.first_chunk()?);
        }
        let words = u32::from_le_bytes(*from.split_off(..4)?.first_chunk()?) as usize;
        let words = from.split_off(..words.checked_mul(2)?)?.as_chunks().0;
        Some(Reader { states, words, at: 0 })
    }

    /// Whether all is read, and nothing beyond.
    pub fn is_at_end(&self) -> bool {
        self.at == self.words.len() && self.states == [STATE_MIN; LANES]
    }

    /// The slot that a lane stands at, of 2^`BITS`.
    #[inline(always)]
    pub fn slot<const BITS: u32>(&self, lane: usize) -> usize {
        self.states[lane % LANES] as usize & ((1 << BITS) - 1)
    }

    /// Takes the symbol of the slot that a lane stands at.
    #[inline(always)]
    pub fn take<const BITS: u32>(&mut self, lane: usize, slot: Slot) -> u32 {
        let x = &mut self.states[lane % LANES];
        let state = (slot.0 >> FREQUENCY_SHIFT).wrapping_mul(*x >> BITS);
        let state = state.wrapping_add(slot.0 >> OFFSET_SHIFT & OFFSET_MASK);
        let comes = state < STATE_MIN;
        let word = self.words.get(self.at).map_or(0, |w| u32::from(u16::from_le_bytes(*w)));
        *x = if comes { state << 16 | word } else { state };
        self.at += usize::from(comes);
        slot.value()
    }
}

/// How a symbol is coded in a context whose frequencies sum up to 2^`BITS`.
///
/// The low half is 2^(32 + shift) divided by the frequency, rounded up, or 2^32 - 1 if the frequency is 1; the high half has the
/// frequency, what is added to a state, and how far the high half of a product is shifted.
#[derive(Clone, Copy, Default)]
#[repr(transparent)]
pub struct Symbol<const BITS: u32>(u64);

const BIAS_SHIFT: u32 = 12;
const SHIFT_SHIFT: u32 = 24;
const LOW: u32 = 0xfff;

impl<const BITS: u32> Symbol<BITS> {
    /// `frequency` of 2^`BITS`, `start` of them before it. The high half of `x * inverse`, shifted, is `x / frequency` for
    /// every x below 2^31 (Granlund and Montgomery 1994, as Giesen's `rans_byte` has it). Of a frequency of 1 it is one too few,
    /// and the bias puts it right.
    pub fn new(frequency: u16, start: u32) -> Self {
        const { assert!(BITS < 12) } // frequency and bias have twelve bits each
        let f = u64::from(frequency).max(1);
        let shift = u64::BITS - (f - 1).leading_zeros(); // 2^shift is f or the power of two above it
        let (inverse, bias, shift) = match f {
            1 => (u64::from(u32::MAX), start + (1 << BITS) - 1, 0),
            _ => ((1u64 << (shift + 31)).div_ceil(f), start, shift - 1), // below 2^32, since 2^shift < 2 f
        };
        let rest = f | u64::from(bias << BIAS_SHIFT | shift << SHIFT_SHIFT);
        Symbol(inverse | rest << 32)
    }

    /// Takes the symbol into a state: `x / f * 2^BITS + start + x % f`. The low half of the state leaves before, if it must; returns
    /// whether.
    #[inline(always)]
    fn take(self, state: &mut u32) -> bool {
        let x = *state;
        let (inverse, rest) = (self.0 & u64::from(u32::MAX), (self.0 >> 32) as u32);
        let f = rest & LOW;
        let leaves = x >> (STATE_BITS + 16 - BITS) >= f;
        let x = if leaves { x >> 16 } else { x };
        let quotient = ((u64::from(x) * inverse) >> 32) as u32 >> (rest >> SHIFT_SHIFT); // no more than x
        let bias = x.wrapping_add(rest >> BIAS_SHIFT & LOW);
        *state = bias.wrapping_add(quotient.wrapping_mul((1u32 << BITS).wrapping_sub(f))); // below 2^31
        leaves
    }
}

/// The words of a vector: they are written from the last to the first.
#[derive(Default)]
pub struct Words {
    pub states: [u32; LANES],
    room: Vec<u16>,
    /// Where they begin in the room.
    from: usize,
}

impl Words {
    /// Room for one word a symbol, and for eight at once.
    fn make_room(&mut self, symbols: usize) {
        self.room.resize(symbols + LANES, 0);
        self.from = self.room.len();
        self.states = [STATE_MIN; LANES];
    }

    pub fn all(&self) -> &[u16] {
        self.room.get(self.from..).unwrap_or_default()
    }

    /// Appends what [`Reader::open`] reads.
    pub fn append(&self, out: &mut Vec<u8>) {
        out.extend(self.states.iter().flat_map(|state| state.to_le_bytes()));
        let words = self.all();
        out.extend_from_slice(&(words.len() as u32).to_le_bytes()); // within a chunk
        let at = out.len();
        out.resize(at + 2 * words.len(), 0);
        for (out, word) in out[at..].as_chunks_mut::<2>().0.iter_mut().zip(words) {
            *out = word.to_le_bytes();
        }
    }
}

/// Writes the symbols of vectors from the last to the first, so that a decoder meets them from the first on. Each vector's `cells` tell which
/// of the `symbols`, place by place; there are as many `to`.
pub fn write<const BITS: u32, const CELLS: usize>(cells: &[&[u16]], symbols: &[Symbol<BITS>; CELLS], to: &mut [Words]) {
    #[cfg(target_arch = "x86_64")]
    if super::wide::is_wide() {
        // SAFETY: the processor has what it needs.
        return unsafe { avx2::write(cells, symbols, to) };
    }
    write_plainly(cells, symbols, to);
}

pub fn write_plainly<const BITS: u32, const CELLS: usize>(
    cells: &[&[u16]],
    symbols: &[Symbol<BITS>; CELLS],
    to: &mut [Words],
) {
    for (cells, to) in cells.iter().zip(to) {
        to.make_room(cells.len());
        for cells in cells.as_chunks::<LANES>().0.iter().rev() {
            for (&cell, state) in cells.iter().zip(&mut to.states).rev() {
                let low = *state as u16; // the low half
                if symbols[usize::from(cell) % CELLS].take(state) {
                    to.from -= 1; // there is room for one a symbol
                    to.room[to.from] = low;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn takes_every_symbol_as_a_division_would<const BITS: u32>() {
        let slots = 1u32 << BITS;
        for frequency in 1..=slots as u16 {
            let f = u32::from(frequency);
            let start = (slots - f) / 2;
            let symbol = Symbol::<BITS>::new(frequency, start);
            let most = (f << (STATE_BITS + 16 - BITS)) - 1;
            for x in [STATE_MIN, STATE_MIN + 1, most / 2, most / f * f, (most / f * f).max(1) - 1, most - 1, most] {
                for x in [x.max(STATE_MIN), x] {
                    let mut state = x;
                    let leaves = symbol.take(&mut state);
                    assert!(!leaves || x > most);
                    assert_eq!(state, ((x / f) << BITS) + start + x % f, "{x} / {f}");
                }
            }
        }
    }

    #[test]
    fn a_state_takes_every_symbol_as_a_division_would() {
        takes_every_symbol_as_a_division_would::<10>();
        takes_every_symbol_as_a_division_would::<11>();
    }
}
