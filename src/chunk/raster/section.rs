//! The fast coder: tokens by static ANS in a few contexts, the bits below them as they are.
//!
//! Owns the section that holds a chunk's residuals:
//!
//! ```text
//!  per class   4 bytes   bit k: level k + 1 has another context than level k (bit 31 zero)
//!  tables      bytes of them (u16), then bits, lowest first: per context, in order of class and level, its last
//!              token (6 bits), then for each token up to it its frequency plus one as a gamma code: as many zero
//!              bits as it has bits below its first, then its bits from the first on, highest first
//!  per vector:
//!    states    4 bytes for each of eight lanes: where the decoder begins
//!    words     their number (u32), then 2 bytes each, in the order of decoding
//!    bits      bytes of them (u32), then bits, lowest first, in the order of decoding; 8 zero bytes at the end
//! ```
//!
//! Frequencies of a context sum up to 2^[`FREQUENCY_BITS`]; states and words are those of [`crate::chunk::rans`]. The bits of tokens
//! follow each other in the order of decoding.
//!
//! # Invariants
//!
//! 1. A decoder reads nothing beyond its section, and ends with all words, and each state at 2^15.
//! 2. All numbers are whole.

mod below;
mod read;
mod turn;
mod write;

use super::lanes::{CELLS, Lanes, PAD, VECTORS};
use super::planes::PLANES;
use super::tokens::{LEVELS, TOKENS};
use crate::chunk::rans::{Reader, Slot, Symbol, Words};
use read::{Reading, read_bits, read_tokens};
use write::{Survey, pad, survey, write_bits, write_tokens};

/// Frequencies of a context sum up to 2 to this.
pub const FREQUENCY_BITS: u32 = 10;
const SLOTS: usize = 1 << FREQUENCY_BITS;
/// Contexts of a class at most.
const CONTEXTS: usize = 8;
/// Contexts of all classes at most.
const TABLES: usize = CONTEXTS * PLANES;
/// Zero bytes behind the bits, so that eight bytes can be read at any bit.
const SLACK: usize = 8;

type Counts = [u32; 64];

/// Bits a context's choice saves and costs, in 256ths.
fn log2_256(n: u32) -> u64 {
    if n == 0 {
        return 0;
    }
    let k = n.ilog2();
    let m = (u64::from(n) << 32 >> k) as u32; // 32 bits behind the point
    // Four squarings' worth would be exact to 1/16; a parabola is exact to 1/100 and enough for a choice.
    let f = u64::from(m) >> 16;
    let bend = (f * (65536 - f)) >> 16;
    (u64::from(k) << 8) + ((f + bend * 88 / 256) >> 8)
}

/// 256ths of a bit that the tokens cost in a context of their own, and the context itself.
fn cost(counts: &Counts) -> u64 {
    let n: u32 = counts.iter().sum();
    let all = log2_256(n);
    let mut sum = 6 << 8;
    for &c in counts.iter().take(TOKENS) {
        if c > 0 {
            sum += u64::from(c) * all.saturating_sub(log2_256(c));
            let f = (u64::from(c) << FREQUENCY_BITS) / u64::from(n);
            sum += (2 * (f + 2).ilog2() as u64 + 1) << 8;
        } else {
            sum += 1 << 7;
        }
    }
    sum
}

/// Joins neighbouring levels as long as that is cheaper. Returns bit k where level k + 1 begins a context.
fn divide(levels: &[Counts; LEVELS]) -> (u32, Vec<Counts>) {
    let mut parts: Vec<(Counts, u64, usize)> = Vec::new();
    for (k, counts) in levels.iter().enumerate() {
        if counts.iter().any(|&c| c > 0) {
            parts.push((*counts, cost(counts), k));
        }
    }
    if parts.is_empty() {
        return (0, vec![levels[0]]);
    }
    let join = |a: &Counts, b: &Counts| -> Counts { std::array::from_fn(|i| a[i] + b[i]) };
    let gain = |a: &(Counts, u64, usize), b: &(Counts, u64, usize)| (a.1 + b.1) as i64 - cost(&join(&a.0, &b.0)) as i64;
    let mut gains: Vec<i64> = parts.windows(2).map(|w| gain(&w[0], &w[1])).collect();
    while let Some((i, &best)) = gains.iter().enumerate().max_by_key(|(i, g)| (**g, usize::MAX - i)) {
        if best < 0 && parts.len() <= CONTEXTS {
            break;
        }
        let counts = join(&parts[i].0, &parts[i + 1].0);
        parts[i] = (counts, cost(&counts), parts[i].2);
        parts.remove(i + 1);
        gains.remove(i);
        if i > 0 {
            gains[i - 1] = gain(&parts[i - 1], &parts[i]);
        }
        if i < gains.len() {
            gains[i] = gain(&parts[i], &parts[i + 1]);
        }
    }
    let bits = parts[1..].iter().fold(0, |bits, p| bits | 1 << (p.2 - 1)); // the first part is at a lower level
    (bits, parts.into_iter().map(|p| p.0).collect())
}

/// Frequencies that sum up to [`SLOTS`]; every token that comes has one.
fn frequencies(counts: &Counts) -> [u16; 64] {
    let n: u64 = counts.iter().map(|&c| u64::from(c)).sum();
    let mut f = [0u16; 64];
    if n == 0 {
        f[0] = SLOTS as u16;
        return f;
    }
    let mut sum = 0i32;
    for (f, &c) in f.iter_mut().zip(counts) {
        if c > 0 {
            *f = ((u64::from(c) * SLOTS as u64 + n / 2) / n).max(1) as u16; // at most SLOTS
            sum += i32::from(*f);
        }
    }
    // The largest ones bear what rounding left.
    let mut over = sum - SLOTS as i32;
    while over != 0 {
        let Some(big) = f.iter_mut().max_by_key(|f| **f) else { break };
        let step = over.clamp(-i32::from(*big), i32::from(*big) / 4 + i32::from(*big > 1 && *big < 4));
        if step == 0 {
            break; // cannot be: at most 64 tokens share 2^10
        }
        *big = (i32::from(*big) - step) as u16; // within 0..=2 * SLOTS
        over -= step;
    }
    f
}

/// Bits, lowest first.
#[derive(Default)]
pub struct BitWriter {
    bytes: Vec<u8>,
    hold: u64,
    held: u32,
}

impl BitWriter {
    /// Writes the low `n` bits of `value`, which has no others; `n` is at most 32.
    #[inline(always)]
    pub fn put(&mut self, value: u32, n: u32) {
        self.hold |= u64::from(value) << self.held; // fewer than 32 are held
        self.held += n;
        if self.held >= 32 {
            self.bytes.extend_from_slice(&(self.hold as u32).to_le_bytes());
            self.hold >>= 32;
            self.held -= 32;
        }
    }

    fn gamma(&mut self, value: u32) {
        let k = value.ilog2();
        self.put(0, k);
        for i in (0..=k).rev() {
            self.put(value >> i & 1, 1);
        }
    }

    pub fn finish(mut self) -> Vec<u8> {
        let n = self.held.div_ceil(8) as usize;
        self.bytes.extend_from_slice(&(self.hold as u32).to_le_bytes()[..n]); // at most 31 bits are held
        self.bytes
    }
}

/// Reads what [`BitWriter`] wrote; zero bits behind the end.
pub struct BitReader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> BitReader<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        BitReader { bytes, at: 0 }
    }

    fn bit(&mut self) -> u32 {
        let byte = self.bytes.get(self.at / 8).copied().unwrap_or(0);
        self.at += 1;
        u32::from(byte >> ((self.at - 1) % 8) & 1)
    }

    pub fn get(&mut self, n: u32) -> u32 {
        (0..n).fold(0, |v, i| v | self.bit() << i)
    }

    fn gamma(&mut self) -> Option<u32> {
        let mut k = 0;
        while self.bit() == 0 {
            k += 1;
            if k > FREQUENCY_BITS + 1 {
                return None;
            }
        }
        Some((0..k).fold(1, |v, _| v << 1 | self.bit()))
    }
}

fn put_u32(out: &mut Vec<u8>, n: usize) {
    out.extend_from_slice(&(n as u32).to_le_bytes()); // lengths within a chunk
}

/// What a coder needs, kept from chunk to chunk.
#[derive(Default)]
pub struct Coder {
    survey: Survey,
    counts: Vec<u32>,
    other_counts: Vec<u32>,
    symbols: Vec<Symbol<FREQUENCY_BITS>>,
    words: [Words; VECTORS],
    tokens: Vec<u8>,
    slots: Vec<Slot>,
}

impl Coder {
    /// Appends the section of the residuals that are in lanes.
    pub fn encode(&mut self, lanes: &Lanes, u: &[u16], out: &mut Vec<u8>) {
        self.survey.make_room(lanes);
        self.counts.clear();
        self.counts.resize(CELLS, 0);
        self.symbols.resize(CELLS, Symbol::default());
        let (Some(counts), Some(symbols)) = (self.counts.first_chunk_mut(), self.symbols.first_chunk_mut()) else {
            return; // cannot be: they have just been made as long
        };
        survey(lanes, u, &mut self.survey, counts, &mut self.other_counts);

        let mut tables = BitWriter::default();
        let classes = counts.as_chunks::<64>().0.as_chunks::<LEVELS>().0.iter();
        let rows = symbols.as_chunks_mut::<64>().0.as_chunks_mut::<LEVELS>().0;
        for (class, rows) in classes.zip(rows).take(lanes.classes) {
            let (borders, contexts) = divide(class);
            out.extend_from_slice(&borders.to_le_bytes());
            let mut rows = rows.iter_mut();
            let mut level = 0;
            for counts in &contexts {
                let f = frequencies(counts);
                let last = f.iter().rposition(|&f| f > 0).unwrap_or(0);
                tables.put(last as u32, 6);
                let mut start = 0;
                let mut row = [Symbol::default(); 64];
                for (symbol, &f) in row.iter_mut().zip(&f[..=last]) {
                    tables.gamma(u32::from(f) + 1);
                    *symbol = Symbol::new(f, start);
                    start += u32::from(f);
                }
                // Every level of the context has its own copy, so that a cell alone tells the symbol.
                for of in rows.by_ref() {
                    *of = row;
                    level += 1;
                    if borders >> (level - 1) & 1 == 1 {
                        break;
                    }
                }
            }
        }
        let tables = tables.finish();
        out.extend_from_slice(&(tables.len() as u16).to_le_bytes()); // 32 contexts of 60 tokens of 21 bits
        out.extend_from_slice(&tables);

        write_tokens(lanes, &self.survey.cells, symbols, &mut self.words);
        let n = lanes.tokens();
        for (g, words) in self.words.iter().enumerate().take(lanes.count) {
            words.append(out);
            let at = out.len();
            put_u32(out, 0);
            let (tokens, values) =
                (&self.survey.tokens[g * lanes.stride() + PAD..][..n], &self.survey.values[g * n..][..n]);
            write_bits(tokens, values, out);
            let n = out.len() - at - 4 + SLACK;
            out[at..at + 4].copy_from_slice(&(n as u32).to_le_bytes()); // below two bytes a sample
            out.extend_from_slice(&[0; SLACK]);
        }
    }

    /// Reads a section into the residuals of `u` that are in lanes. Returns what is behind it.
    pub fn decode<'a>(&mut self, lanes: &Lanes, payload: &'a [u8], u: &mut [u16]) -> Result<&'a [u8], &'static str> {
        let (reading, rest) = self.open(lanes, payload)?;
        pad(lanes, &mut self.tokens);
        let Some(slots) = self.slots.first_chunk() else { return Err(SHORT) }; // as many as there can be, see `read_table`
        if !read_tokens(lanes, slots, &reading, &mut self.tokens) {
            return Err("its words do not end where its samples do");
        }
        let n = lanes.tokens();
        for ((tokens, part), vector) in
            self.tokens.chunks_exact(lanes.stride()).zip(&reading.parts).zip(lanes.vectors())
        {
            if !read_bits(&tokens[PAD..][..n], part.bits, lanes, vector, u) {
                return Err(SHORT);
            }
        }
        Ok(rest)
    }

    /// Reads a section's tables, and what each vector reads from.
    fn open<'a>(&mut self, lanes: &Lanes, mut payload: &'a [u8]) -> Result<(Reading<'a>, &'a [u8]), &'static str> {
        let mut take = |n: usize| payload.split_off(..n).ok_or(SHORT);
        let mut borders = [0u32; PLANES];
        for b in &mut borders[..lanes.classes] {
            *b = le32(take(4)?);
            if *b >> 31 != 0 || b.count_ones() as usize >= CONTEXTS {
                return Err("it has more contexts than there are");
            }
        }
        let n = u16::from_le_bytes(take(2)?.try_into().map_err(|_| SHORT)?);
        let mut bits = BitReader::new(take(n.into())?);
        let mut reading = Reading { contexts: [[0u8; LEVELS]; PLANES], parts: Default::default() };
        let mut context = 0u8;
        self.slots.resize(TABLES * SLOTS, Slot::default());
        let mut tables = self.slots.chunks_exact_mut(SLOTS);
        for (borders, of) in borders.iter().zip(&mut reading.contexts).take(lanes.classes) {
            for (k, of) in of.iter_mut().enumerate() {
                if k == 0 || borders >> (k - 1) & 1 == 1 {
                    read_table(tables.next().ok_or(SHORT)?, &mut bits)?; // at most 8 for each of 4 classes
                    context += 1;
                }
                *of = context - 1;
            }
        }
        for part in &mut reading.parts[..lanes.count] {
            part.from = Reader::open(&mut payload).ok_or(SHORT)?;
            let n = payload.split_off(..4).ok_or(SHORT)?;
            part.bits = payload.split_off(..le32(n) as usize).ok_or(SHORT)?;
            let n = part.bits.len();
            if n < SLACK {
                return Err(SHORT);
            }
        }
        Ok((reading, payload))
    }
}

const SHORT: &str = "it is cut short";

/// Reads a context's table.
fn read_table(slots: &mut [Slot], bits: &mut BitReader<'_>) -> Result<(), &'static str> {
    const WRONG: &str = "its frequencies do not sum up";
    let last = bits.get(6) as u8; // six bits
    let mut start = 0usize;
    for token in 0..=last {
        let f = bits.gamma().ok_or(WRONG)? as usize - 1; // a gamma code is at least 1
        let of = slots.get_mut(start..start + f).ok_or(WRONG)?;
        if usize::from(token) >= TOKENS {
            return Err(WRONG);
        }
        for (offset, slot) in of.iter_mut().enumerate() {
            *slot = Slot::new(token.into(), offset as u32, f as u32); // of 2^10
        }
        start += f;
    }
    (start == SLOTS).then_some(()).ok_or(WRONG)
}

fn le32(bytes: &[u8]) -> u32 {
    bytes.first_chunk().map_or(0, |b| u32::from_le_bytes(*b))
}

#[cfg(test)]
mod tests {
    use super::super::planes::Layout;
    use super::super::tokens::{MEANING, token};
    use super::read::{read_bits_plainly, read_tokens_plainly};
    use super::write::{survey_body, write_bits_plainly};
    use super::*;
    use crate::chunk::form::{Packing, Raster};
    use crate::chunk::rans::{self, LANES};
    use proptest::prelude::*;

    fn lanes_of(packing: u8, row_bytes: u32, n: usize) -> Lanes {
        let packing = match packing {
            0 => Packing::Yuv422 { bytes: 2, luma_first: false, big_endian: false },
            channels => Packing::Samples { bytes: 2, channels, big_endian: false },
        };
        Lanes::new(&Layout::new(Raster { packing, row_bytes }, n * 2).unwrap())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(96))]

        /// A register at a time and lane by lane, the same is written and read.
        #[test]
        fn both_ways_agree_and_residuals_come_back(
            packing in 0..5u8,
            row_bytes in 0..2900u32,
            seed in prop::collection::vec(prop_oneof![0..4u16, 0..300u16, any::<u16>()], 1..50),
            n in prop_oneof![1 => 1..90usize, 3 => 1..9000usize],
            harm in prop::option::of((any::<prop::sample::Index>(), 1..256u16)),
        ) {
            let lanes = lanes_of(packing, row_bytes, n);
            let in_lanes = lanes.tokens() * lanes.count;
            let behind: usize = lanes.over().map(|range| range.len()).sum();
            prop_assert!(behind < VECTORS * LANES);
            let u: Vec<u16> = seed.iter().cycle().take(in_lanes + behind).copied().collect();
            let (mut coder, mut section) = (Coder::default(), Vec::new());
            coder.encode(&lanes, &u, &mut section);

            let mut twins = [0; CELLS];
            let mut twin = Survey::default();
            twin.make_room(&lanes);
            survey_body(&lanes, &u, &mut twin, &mut twins, &mut Vec::new());
            prop_assert!(twin.tokens == coder.survey.tokens && twin.cells == coder.survey.cells);
            prop_assert!(twin.values == coder.survey.values && twins == coder.counts[..]);
            let mut words: [Words; VECTORS] = Default::default();
            let cells: [&[u16]; VECTORS] =
                std::array::from_fn(|g| twin.cells.get(g * lanes.tokens()..(g + 1) * lanes.tokens()).unwrap_or_default());
            rans::write_plainly(&cells[..lanes.count], coder.symbols.first_chunk::<CELLS>().unwrap(), &mut words);
            for (g, (words, others)) in words.iter().zip(&coder.words).enumerate().take(lanes.count) {
                prop_assert_eq!((words.all(), words.states), (others.all(), others.states));
                let (tokens, values) = (&twin.tokens[g * lanes.stride() + PAD..], &twin.values[g * lanes.tokens()..]);
                let (tokens, values) = (&tokens[..lanes.tokens()], &values[..lanes.tokens()]);
                let (mut bits, mut twin) = (Vec::new(), Vec::new());
                write_bits(tokens, values, &mut bits);
                write_bits_plainly(tokens, values, &mut twin);
                prop_assert_eq!(bits, twin);
            }

            // Each residual is in one lane, or behind them.
            let mut back = u.clone();
            let mut times = vec![0; u.len()];
            for run in lanes.vectors().iter().flat_map(|vector| lanes.runs(vector, 0, lanes.len)) {
                for at in (0..LANES).flat_map(|j| run.at + j * run.step..run.at + j * run.step + run.len) {
                    back[at] = 1;
                    times[at] += 1;
                }
            }
            lanes.over().flatten().for_each(|at| times[at] += 1);
            prop_assert!(times.iter().all(|n| *n == 1));
            prop_assert_eq!(coder.decode(&lanes, &section, &mut back), Ok(&[][..]));
            prop_assert_eq!(&back, &u);

            if let Some((at, by)) = harm {
                let n = section.len();
                section[at.index(n)] ^= by as u8;
            }
            if let Ok((reading, _)) = coder.open(&lanes, &section) {
                let (mut tokens, mut twins) = (Vec::new(), Vec::new());
                pad(&lanes, &mut tokens);
                pad(&lanes, &mut twins);
                let slots = coder.slots.first_chunk().unwrap();
                let whole = read_tokens(&lanes, slots, &reading, &mut tokens);
                prop_assert_eq!(whole, read_tokens_plainly(&lanes, slots, &reading, &mut twins));
                prop_assert!(whole || harm.is_some());
                prop_assert_eq!(&tokens, &twins);
                let mut twin = back.clone();
                for (g, vector) in lanes.vectors().iter().enumerate() {
                    let t = &tokens[g * lanes.stride() + PAD..][..lanes.tokens()];
                    let bits = reading.parts[g].bits;
                    let whole = read_bits(t, bits, &lanes, vector, &mut back);
                    prop_assert_eq!(whole, read_bits_plainly(t, bits, &lanes, vector, &mut twin));
                }
                prop_assert_eq!(&back, &twin);
            }
        }

        #[test]
        fn frequencies_sum_up_and_leave_no_token_out(counts in prop::collection::vec(prop_oneof![Just(0u32), 1..3u32, 0..1_000_000u32], TOKENS)) {
            let counts: Counts = std::array::from_fn(|i| counts.get(i).copied().unwrap_or(0));
            let f = frequencies(&counts);
            prop_assert_eq!(f.iter().map(|&f| usize::from(f)).sum::<usize>(), SLOTS);
            prop_assert!(counts.iter().zip(&f).all(|(&c, &f)| c == 0 || f > 0));
        }
    }

    #[test]
    fn tokens_and_bits_tell_every_residual() {
        for u in 0..=u16::MAX {
            let (base, bits) = MEANING[usize::from(token(u))];
            assert!(u >= base && u32::from(u - base) < 1 << bits && usize::from(token(u)) < TOKENS, "{u}");
        }
    }

    #[test]
    fn logarithms_are_near_enough_for_a_choice() {
        for n in (1..5000).chain([1 << 20, u32::MAX]) {
            let error = log2_256(n) as f64 / 256.0 - f64::from(n).log2();
            assert!(error.abs() < 0.02, "{n}: {error}");
        }
    }
}
