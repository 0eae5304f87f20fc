//! The fast coder: tokens by static ANS in a few contexts, the bits below them as they are.
//!
//! Owns the section that holds a chunk's residuals:
//!
//! ```text
//!  per class   4 bytes   bit k: level k + 1 has another context than level k (bit 31 zero)
//!  tables      bytes of them (u16), then bits, lowest first: per context, in order of class and level, its last
//!              token (6 bits), then for each token up to it its frequency plus one as a gamma code: as many zero
//!              bits as it has bits below its first, then its bits from the first on, highest first
//!  states      4 bytes for each lane: where the decoder begins
//!  words       their number (u32), then 2 bytes each, in the order of decoding
//!  bits        bytes of them (u32), then bits, lowest first, in the order of decoding; 8 zero bytes at the end
//! ```
//!
//! Frequencies of a context sum up to 2^[`FREQUENCY_BITS`]. Decoding goes place by place, lane by lane: the low bits
//! of the lane's state name the token, the state becomes `frequency * (state >> FREQUENCY_BITS) + (low bits - sum of
//! the frequencies before it)`, and if it is below 2^16 the next word comes in below it. Then the token's bits are read.
//!
//! # Invariants
//!
//! 1. A decoder reads nothing beyond its section, and ends with all words, and each state at 2^16.
//! 2. All numbers are whole.

mod read;
mod write;

use super::lanes::{LANES, Lanes, PAD, PLACES};
use super::tokens::{LEVELS, TOKENS};
use read::{ReadAll, Reading, Table, read_all};
use write::{Symbol, survey, write_bits, write_tokens};

/// Frequencies of a context sum up to 2 to this.
pub const FREQUENCY_BITS: u32 = 11;
const SLOTS: usize = 1 << FREQUENCY_BITS;
/// Contexts of a class at most.
const CONTEXTS: usize = 8;
/// Contexts of all classes at most.
const TABLES: usize = CONTEXTS * LANES;
const STATE_MIN: u32 = 1 << 16;
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
            break; // cannot be: at most 64 tokens share 2^11
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
    tokens: Vec<u8>,
    places: Vec<u16>,
    counts: Vec<u32>,
    other_counts: Vec<u32>,
    symbols: Vec<Symbol>,
    words: Vec<u16>,
    tables: Vec<Table>,
}

impl Coder {
    /// Appends the section of these residuals, lane behind lane.
    pub fn encode(&mut self, lanes: &Lanes, u: &[u16], out: &mut Vec<u8>) {
        self.tokens_for(lanes);
        self.places.resize(lanes.len * lanes.count, 0);
        self.words.resize(lanes.len * lanes.count + 1, 0);
        self.counts.clear();
        self.counts.resize(PLACES, 0);
        self.symbols.resize(PLACES, Symbol::default());
        let (Some(counts), Some(symbols)) = (self.counts.first_chunk_mut(), self.symbols.first_chunk_mut()) else {
            return; // cannot be: they have just been made as long
        };
        survey(lanes, u, &mut self.tokens, &mut self.places, counts, &mut self.other_counts);

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
                // Every level of the context has its own copy, so that a place alone tells the symbol.
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
        out.extend_from_slice(&(tables.len() as u16).to_le_bytes()); // 32 contexts of 60 tokens of 25 bits
        out.extend_from_slice(&tables);

        let mut states = [STATE_MIN; LANES];
        let n = write_tokens(lanes, &self.places, symbols, &mut states, &mut self.words);
        for state in &states[..lanes.count] {
            out.extend_from_slice(&state.to_le_bytes());
        }
        put_u32(out, n);
        let at = out.len();
        out.resize(at + 2 * n, 0);
        for (out, word) in out[at..].as_chunks_mut::<2>().0.iter_mut().zip(self.words[..n].iter().rev()) {
            *out = word.to_le_bytes();
        }
        let at = out.len();
        put_u32(out, 0);
        write_bits(lanes, &self.tokens, u, out);
        let n = out.len() - at - 4 + SLACK;
        out[at..at + 4].copy_from_slice(&(n as u32).to_le_bytes()); // below two bytes a sample
        out.extend_from_slice(&[0; SLACK]);
    }

    /// Room for tokens, with zeros in front of each lane. What stands in the lanes is of no account: each token is written
    /// before it is read.
    fn tokens_for(&mut self, lanes: &Lanes) {
        self.tokens.resize(lanes.stride() * lanes.count, 0);
        for lane in self.tokens.chunks_exact_mut(lanes.stride()) {
            lane[..PAD].fill(0);
        }
    }

    /// Reads a section into `u`, lane behind lane. Returns what is behind it.
    pub fn decode<'a>(&mut self, lanes: &Lanes, payload: &'a [u8], u: &mut [u16]) -> Result<&'a [u8], &'static str> {
        self.decode_as(lanes, payload, u, read_all)
    }

    fn decode_as<'a>(
        &mut self,
        lanes: &Lanes,
        mut payload: &'a [u8],
        u: &mut [u16],
        read_all: ReadAll,
    ) -> Result<&'a [u8], &'static str> {
        const SHORT: &str = "it is cut short";
        let mut take = |n: usize| payload.split_off(..n).ok_or(SHORT);
        let mut borders = [0u32; LANES];
        for b in &mut borders[..lanes.classes] {
            *b = le32(take(4)?);
            if *b >> 31 != 0 || b.count_ones() as usize >= CONTEXTS {
                return Err("it has more contexts than there are");
            }
        }
        let n = u16::from_le_bytes(take(2)?.try_into().map_err(|_| SHORT)?);
        let mut bits = BitReader::new(take(n.into())?);
        let mut context_of = [[0u8; LEVELS]; LANES];
        let mut context = 0u8;
        for (borders, of) in borders.iter().zip(&mut context_of).take(lanes.classes) {
            for (k, of) in of.iter_mut().enumerate() {
                if k == 0 || borders >> (k - 1) & 1 == 1 {
                    self.read_table(context, &mut bits)?;
                    context += 1; // at most 8 for each of 4 classes
                }
                *of = context - 1;
            }
        }
        let mut states = [0u32; LANES];
        for state in &mut states[..lanes.count] {
            *state = le32(take(4)?);
        }
        let n = le32(take(4)?) as usize;
        let words = take(n.checked_mul(2).ok_or(SHORT)?)?;
        let n = le32(take(4)?) as usize;
        let bits = take(n)?;
        if bits.len() < SLACK {
            return Err(SHORT);
        }
        self.tokens_for(lanes);
        let tables = self.tables.first_chunk().ok_or(SHORT)?; // as many as there can be, see `read_table`
        let by_sum = std::array::from_fn(|j| Reading::by_sum(tables, &context_of[lanes.lanes[j].class]));
        let read = Reading { words, bits, by_sum };
        let whole = read_all(lanes, &read, &states, &mut self.tokens, u);
        whole.then_some(payload).ok_or("its words do not end where its samples do")
    }

    /// Reads a context's tables: for each slot the token, for each token its frequency and where its slots begin.
    fn read_table(&mut self, context: u8, bits: &mut BitReader<'_>) -> Result<(), &'static str> {
        const WRONG: &str = "its frequencies do not sum up";
        self.tables.resize_with(TABLES, Table::default);
        let Table { token_of, shares } = self.tables.get_mut(usize::from(context)).ok_or(WRONG)?;
        let last = bits.get(6) as u8; // six bits
        let mut start = 0usize;
        for token in 0..=last {
            let f = bits.gamma().ok_or(WRONG)? - 1; // a gamma code is at least 1
            let of = token_of.get_mut(start..start + f as usize).ok_or(WRONG)?;
            if usize::from(token) >= TOKENS {
                return Err(WRONG);
            }
            of.fill(token);
            shares[usize::from(token)] = [f as u16, start as u16]; // both at most SLOTS
            start += f as usize;
        }
        if start != SLOTS {
            return Err(WRONG);
        }
        Ok(())
    }
}

fn le32(bytes: &[u8]) -> u32 {
    bytes.first_chunk().map_or(0, |b| u32::from_le_bytes(*b))
}

#[cfg(test)]
mod tests {
    use super::super::planes::Layout;
    use super::super::tokens::{MEANING, token};
    use super::read::read_all_body;
    use super::write::{survey_body, write_bits_body};
    use super::*;
    use crate::chunk::form::{Packing, Raster};
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn both_compilations_agree_and_residuals_come_back(
            channels in 1..5u8,
            row_bytes in 0..900u32,
            seed in prop::collection::vec(prop_oneof![0..4u16, 0..300u16, any::<u16>()], 1..50),
            n in 1..9000usize,
        ) {
            let packing = Packing::Samples { bytes: 2, channels, big_endian: false };
            let layout = Layout::new(Raster { packing, row_bytes }, n * 2).unwrap();
            let lanes = Lanes::new(&layout);
            let u: Vec<u16> = seed.iter().cycle().take(lanes.len * lanes.count).copied().collect();
            let (mut coder, mut section) = (Coder::default(), Vec::new());
            coder.encode(&lanes, &u, &mut section);
            let (tokens, places) = (coder.tokens.clone(), coder.places.clone());
            let (mut counts, mut twins) = ([0; PLACES], [0; PLACES]);
            survey(&lanes, &u, &mut coder.tokens, &mut coder.places, &mut counts, &mut Vec::new());
            coder.tokens_for(&lanes);
            survey_body(&lanes, &u, &mut coder.tokens, &mut coder.places, &mut twins, &mut Vec::new());
            prop_assert!(tokens == coder.tokens && places == coder.places && counts == twins);
            prop_assert!(counts == coder.counts[..]);
            let (mut bits, mut twin) = (Vec::new(), Vec::new());
            write_bits(&lanes, &tokens, &u, &mut bits);
            write_bits_body(&lanes, &tokens, &u, &mut twin);
            prop_assert_eq!(bits, twin);
            let mut back = vec![0; u.len()];
            prop_assert_eq!(coder.decode(&lanes, &section, &mut back), Ok(&[][..]));
            prop_assert_eq!(&back, &u);
            back.fill(0);
            prop_assert_eq!(coder.decode_as(&lanes, &section, &mut back, read_all_body), Ok(&[][..]));
            prop_assert_eq!(&back, &u);
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
    fn a_state_takes_every_token_as_a_division_would() {
        for frequency in 1..=SLOTS as u16 {
            let f = u32::from(frequency);
            let start = (SLOTS as u32 - f) / 2;
            let symbol = Symbol::new(frequency, start);
            let most = ((u64::from(f) << (32 - FREQUENCY_BITS)) - 1) as u32;
            for x in [STATE_MIN, STATE_MIN + 1, most / 2, most / f * f, (most / f * f).max(1) - 1, most - 1, most] {
                for x in [x.max(STATE_MIN), x] {
                    let mut state = x;
                    let leaves = symbol.take(&mut state);
                    assert!(!leaves || x > most);
                    assert_eq!(state, ((x / f) << FREQUENCY_BITS) + start + x % f, "{x} / {f}");
                }
            }
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
