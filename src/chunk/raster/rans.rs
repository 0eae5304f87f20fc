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

use super::lanes::{LANES, Lanes, PAD, STRETCH};
use super::tokens::{LEVELS, MEANING, TOKENS, token};
use super::wide;

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
    levels: Vec<u8>,
    counts: Vec<Counts>,
    words: Vec<u16>,
    tables: Vec<Table>,
}

/// What a decoder needs of a context. Small, since some twenty of them are used in turns and should stay near.
struct Table {
    token_of: [u8; SLOTS],
    /// Of each token: its frequency, and above 16 bits where its slots begin.
    shares: [u32; 64],
}

/// How a token is coded in a context.
#[derive(Clone, Copy, Default)]
struct Symbol {
    /// 2^64 divided by the frequency, rounded up; 2^64 - 1 if that is 1.
    inverse: u64,
    frequency: u32,
    bias: u32,
}

impl Symbol {
    /// `frequency` of [`SLOTS`], `start` of them before it. The high half of `x * inverse` is `x / frequency` for every x
    /// below 2^32: the inverse is too large by less than one, the product by less than 2^32, and the least by which a
    /// quotient misses the next is 2^64 / 2^11. Of a frequency of 1 it is one too few, and the bias puts it right.
    fn new(frequency: u16, start: u32) -> Symbol {
        match u32::from(frequency) {
            frequency @ 0..=1 => Symbol { inverse: u64::MAX, frequency, bias: start + SLOTS as u32 - 1 },
            frequency => {
                let inverse = (1u128 << 64).div_ceil(frequency.into()) as u64; // below 2^64, since it is 2 at least
                Symbol { inverse, frequency, bias: start }
            }
        }
    }

    /// Takes the token into a state: `x / f * 2^11 + start + x % f`. The low half of the state leaves before, if it must;
    /// returns whether.
    #[inline(always)]
    fn take(self, state: &mut u32) -> bool {
        let x = *state;
        // No branch: whether a word leaves is as good as random.
        let leaves = u64::from(x) >= u64::from(self.frequency) << (32 - FREQUENCY_BITS);
        let x = x >> (16 * u32::from(leaves));
        let quotient = ((u128::from(x) * u128::from(self.inverse)) >> 64) as u32; // no more than x
        let step = (SLOTS as u32).wrapping_sub(self.frequency);
        *state = x.wrapping_add(self.bias).wrapping_add(quotient.wrapping_mul(step)); // below 2^32
        leaves
    }
}

impl Default for Table {
    fn default() -> Self {
        Table { token_of: [0; SLOTS], shares: [0; 64] }
    }
}

impl Coder {
    /// Appends the section of these residuals, lane behind lane.
    pub fn encode(&mut self, lanes: &Lanes, u: &[u16], out: &mut Vec<u8>) {
        let stride = lanes.stride();
        self.tokens_for(lanes);
        self.levels.resize(stride * lanes.count, 0);
        self.counts.clear();
        self.counts.resize(LEVELS * lanes.classes, [0; 64]);
        survey(lanes, u, &mut self.tokens, &mut self.levels, &mut self.counts);

        let mut symbols: Vec<[Symbol; 64]> = Vec::new();
        let mut context_of = [[0u8; LEVELS]; LANES];
        let mut tables = BitWriter::default();
        for (class, of) in self.counts.as_chunks::<LEVELS>().0.iter().zip(&mut context_of) {
            let (borders, contexts) = divide(class);
            out.extend_from_slice(&borders.to_le_bytes());
            let mut context = symbols.len() as u8; // at most 8 contexts for each of 4 classes
            for (k, of) in of.iter_mut().enumerate() {
                context += u8::from(k > 0 && borders >> (k - 1) & 1 == 1);
                *of = context;
            }
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
                symbols.push(row);
            }
        }
        let tables = tables.finish();
        out.extend_from_slice(&(tables.len() as u16).to_le_bytes()); // 32 contexts of 60 tokens of 25 bits
        out.extend_from_slice(&tables);

        self.words.resize(lanes.len * lanes.count + 1, 0);
        let mut states = [STATE_MIN; LANES];
        let context_of: [&[u8; LEVELS]; LANES] = std::array::from_fn(|j| &context_of[lanes.lanes[j].class]);
        let from = Writing { tokens: &self.tokens, levels: &self.levels, context_of: &context_of, symbols: &symbols };
        let n = write_tokens(lanes, &from, &mut states, &mut self.words);
        for state in &states[..lanes.count] {
            out.extend_from_slice(&state.to_le_bytes());
        }
        put_u32(out, n);
        out.extend(self.words[..n].iter().rev().flat_map(|word| word.to_le_bytes()));
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
        self.tables.clear();
        let mut context_of = [[0u8; LEVELS]; LANES];
        let mut context = 0u8;
        for (borders, of) in borders.iter().zip(&mut context_of).take(lanes.classes) {
            for (k, of) in of.iter_mut().enumerate() {
                if k == 0 || borders >> (k - 1) & 1 == 1 {
                    self.read_table(&mut bits)?;
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
        let by_sum: [[u8; 512]; LANES] = std::array::from_fn(|j| {
            let of = &context_of[lanes.lanes[j].class];
            std::array::from_fn(|s| of[usize::from(super::tokens::LEVEL[s])])
        });
        self.tables.resize_with(TABLES, Table::default);
        let tables = self.tables.first_chunk().ok_or(SHORT)?; // so many there are
        let read = Reading { words, bits, tables, by_sum: &by_sum };
        let whole = read_all(lanes, &read, &states, &mut self.tokens, u);
        whole.then_some(payload).ok_or("its words do not end where its samples do")
    }

    /// Adds a context's tables: for each slot the token, for each token its frequency and where its slots begin.
    fn read_table(&mut self, bits: &mut BitReader<'_>) -> Result<(), &'static str> {
        const WRONG: &str = "its frequencies do not sum up";
        let mut table = Table::default();
        let last = bits.get(6) as u8; // six bits
        let mut start = 0usize;
        for token in 0..=last {
            let f = bits.gamma().ok_or(WRONG)? - 1; // a gamma code is at least 1
            let slots = table.token_of.get_mut(start..start + f as usize).ok_or(WRONG)?;
            if usize::from(token) >= TOKENS {
                return Err(WRONG);
            }
            slots.fill(token);
            table.shares[usize::from(token)] = f | (start as u32) << 16; // both at most SLOTS
            start += f as usize;
        }
        if start != SLOTS {
            return Err(WRONG);
        }
        self.tables.push(table);
        Ok(())
    }
}

fn le32(bytes: &[u8]) -> u32 {
    bytes.first_chunk().map_or(0, |b| u32::from_le_bytes(*b))
}

#[inline(always)]
fn survey_body(lanes: &Lanes, u: &[u16], tokens: &mut [u8], levels: &mut [u8], counts: &mut [Counts]) {
    let stride = lanes.stride();
    for (t, u) in tokens.chunks_exact_mut(stride).zip(u.chunks_exact(lanes.len.max(1))) {
        for (t, &u) in t[PAD..].iter_mut().zip(u) {
            *t = token(u);
        }
    }
    lanes.levels(tokens, levels);
    for (j, (t, l)) in tokens.chunks_exact(stride).zip(levels.chunks_exact(stride)).enumerate() {
        let Some((counts, _)) = counts[lanes.lanes[j].class * LEVELS..].split_first_chunk_mut::<LEVELS>() else {
            return;
        };
        // Neighbours are often counted in one place: in turns in two tables, so that they need not wait for each other.
        let mut twin = [[0u32; 64]; LEVELS];
        let (t, l) = (t[PAD..].as_chunks::<2>(), l[PAD..].as_chunks::<2>());
        let count = |counts: &mut [Counts; LEVELS], t: u8, l: u8| {
            let n = &mut counts[usize::from(l) % LEVELS][usize::from(t) % 64];
            *n = n.wrapping_add(1); // fewer than 2^32 samples
        };
        for (t, l) in t.0.iter().zip(l.0) {
            count(counts, t[0], l[0]);
            count(&mut twin, t[1], l[1]);
        }
        if let (&[t], &[l]) = (t.1, l.1) {
            count(counts, t, l);
        }
        for (n, twin) in counts.as_flattened_mut().iter_mut().zip(twin.as_flattened()) {
            *n += twin;
        }
    }
}
wide! {
    fn survey(lanes: &Lanes, u: &[u16], tokens: &mut [u8], levels: &mut [u8], counts: &mut [Counts]) = survey_body
}

/// What a writer of tokens reads.
struct Writing<'a> {
    tokens: &'a [u8],
    levels: &'a [u8],
    context_of: &'a [&'a [u8; LEVELS]; LANES],
    symbols: &'a [[Symbol; 64]],
}

#[inline(always)]
fn write_lanes<const N: usize>(
    lanes: &Lanes,
    from: &Writing<'_>,
    states: &mut [u32; LANES],
    words: &mut [u16],
) -> usize {
    let stride = lanes.stride();
    let tokens: [&[u8]; N] = std::array::from_fn(|j| &from.tokens[j * stride + PAD..][..lanes.len]);
    let levels: [&[u8]; N] = std::array::from_fn(|j| &from.levels[j * stride + PAD..][..lanes.len]);
    let mut x: [u32; N] = std::array::from_fn(|j| states[j]); // N is at most LANES
    let mut at = 0;
    for i in (0..lanes.len).rev() {
        for j in (0..N).rev() {
            let context = from.context_of[j][usize::from(levels[j][i]) % LEVELS];
            let symbol = from.symbols[usize::from(context)][usize::from(tokens[j][i]) % 64];
            words[at] = x[j] as u16; // the low half
            at = at.wrapping_add(usize::from(symbol.take(&mut x[j]))); // at most one a token
        }
    }
    states[..N].copy_from_slice(&x);
    at
}

#[inline(always)]
fn write_tokens_body(lanes: &Lanes, from: &Writing<'_>, states: &mut [u32; LANES], words: &mut [u16]) -> usize {
    match lanes.count {
        3 => write_lanes::<3>(lanes, from, states, words),
        _ => write_lanes::<4>(lanes, from, states, words),
    }
}
wide! {
    /// Writes tokens from the last to the first, so that a decoder meets them from the first on. `words` has room for one
    /// a token and one more; returns how many there are.
    fn write_tokens(lanes: &Lanes, from: &Writing<'_>, states: &mut [u32; LANES], words: &mut [u16]) -> usize = write_tokens_body
}

#[inline(always)]
fn write_bits_body(lanes: &Lanes, tokens: &[u8], u: &[u16], out: &mut Vec<u8>) {
    let stride = lanes.stride();
    let (mut hold, mut held) = (0u64, 0u32);
    // Of each stretch no more than 13 bits a residual come, and eight bytes are written at a time.
    let mut bytes = [0u8; STRETCH * LANES * 2 + 8];
    let mut i = 0;
    while i < lanes.len {
        let n = STRETCH.min(lanes.len - i);
        let part: [(&[u8], &[u16]); LANES] = std::array::from_fn(|j| match j < lanes.count {
            true => (&tokens[j * stride + PAD + i..][..n], &u[j * lanes.len + i..][..n]),
            false => (&[][..], &[][..]),
        });
        let mut at = 0;
        for k in 0..n {
            for (tokens, u) in &part[..lanes.count] {
                let (base, n) = MEANING[usize::from(tokens[k]) % 64];
                hold |= u64::from(u[k].wrapping_sub(base)) << held;
                held += u32::from(n); // at most 7 and four times 13
            }
            bytes[at..at + 8].copy_from_slice(&hold.to_le_bytes());
            at += (held / 8) as usize; // as many as are full
            hold >>= held & !7;
            held &= 7;
        }
        out.extend_from_slice(&bytes[..at]);
        i += n;
    }
    out.extend_from_slice(&hold.to_le_bytes()[..held.div_ceil(8) as usize]);
}
wide! {
    /// Writes the bits below the tokens.
    fn write_bits(lanes: &Lanes, tokens: &[u8], u: &[u16], out: &mut Vec<u8>) = write_bits_body
}

/// What a decoder reads from.
struct Reading<'a> {
    words: &'a [u8],
    bits: &'a [u8],
    tables: &'a [Table; TABLES],
    by_sum: &'a [[u8; 512]; LANES],
}

type ReadAll = fn(&Lanes, &Reading<'_>, &[u32; LANES], &mut [u8], &mut [u16]) -> bool;

/// Lanes whose levels hang on lane 0 at the same place, as bits; or this: see each lane. Known beforehand, weights are
/// constants and nothing is multiplied by nought.
const ANY: u8 = u8::MAX;

/// Where a reader is.
struct At<const N: usize> {
    states: [u32; N],
    word: usize,
    bit: usize,
    /// The tokens to the left and left of it, where these are the last ones.
    last: [[u16; 2]; N],
}

/// `NEAR`: the left neighbour is the token before, in all lanes. `CROSS`: lanes that lean on lane 0, behind the front;
/// or [`ANY`].
#[inline(always)]
fn read_stretch<const N: usize, const NEAR: bool, const CROSS: u8>(
    lanes: &Lanes,
    from: &Reading<'_>,
    at: &mut At<N>,
    tokens: &mut [u8],
    u: &mut [u16],
    (i, n): (usize, usize),
) -> bool {
    let stride = lanes.stride();
    let words = from.words.as_chunks::<2>().0;
    let mut sums = [[0u16; STRETCH]; N];
    let mut found = [[0u8; STRETCH]; N];
    let mut values = [[0u16; STRETCH]; N];
    let mut weights = [[0u16; 3]; N];
    for j in 0..N {
        let lane = &lanes.lanes[j];
        lane.above(&tokens[j * stride..][..stride], i, &mut sums[j][..n]);
        weights[j] = lane.weights(i);
    }
    let cross: [usize; N] = std::array::from_fn(|j| lanes.lanes[j].cross.unwrap_or(0));
    let At { states: mut x, word: mut word_at, bit: mut bit_at, last: mut l } = *at;
    for k in 0..n {
        // Four lanes take at most 52 bits, 57 are there.
        let Some(&eight) = from.bits.get(bit_at / 8..).and_then(|b| b.first_chunk::<8>()) else { return false };
        let mut hold = u64::from_le_bytes(eight) >> (bit_at % 8);
        let mut now = [0u8; N];
        for j in 0..N {
            if !NEAR {
                let lane = &lanes.lanes[j];
                let token = |back: usize| match k.checked_sub(back) {
                    Some(k) => found[j][k],
                    None => tokens[j * stride + PAD + i + k - back],
                };
                l[j] = [token(lane.left).into(), token(2 * lane.left).into()];
            }
            let [a, b, c] = match CROSS {
                ANY => weights[j],
                _ if CROSS >> j & 1 == 1 => [3, 0, 2],
                _ => [3, 1, 0],
            };
            let other = if CROSS == ANY { now[cross[j] % N] } else { now[0] };
            let sum = sums[j][k]
                .wrapping_add(a.wrapping_mul(l[j][0]))
                .wrapping_add(b.wrapping_mul(l[j][1]))
                .wrapping_add(c.wrapping_mul(other.into()));
            let table = &from.tables[usize::from(from.by_sum[j][usize::from(sum & 511)]) % TABLES];
            let slot = x[j] % SLOTS as u32;
            let token = table.token_of[slot as usize];
            let share = table.shares[usize::from(token) % 64];
            let state =
                (share & 0xffff).wrapping_mul(x[j] >> FREQUENCY_BITS).wrapping_add(slot.wrapping_sub(share >> 16));
            // No branch: whether a word comes in is as good as random.
            let word = words.get(word_at).map_or(0, |w| u32::from(u16::from_le_bytes(*w)));
            let comes = state < STATE_MIN;
            x[j] = if comes { state << 16 | word } else { state };
            word_at = word_at.wrapping_add(usize::from(comes));
            let (base, bits) = MEANING[usize::from(token) % 64];
            values[j][k] = base.wrapping_add(hold as u16 & ((1 << bits) - 1));
            hold >>= bits;
            bit_at = bit_at.wrapping_add(bits.into());
            found[j][k] = token;
            now[j] = token;
            l[j] = [token.into(), l[j][0]];
        }
    }
    *at = At { states: x, word: word_at, bit: bit_at, last: l };
    for j in 0..N {
        tokens[j * stride + PAD + i..][..n].copy_from_slice(&found[j][..n]);
        u[j * lanes.len + i..][..n].copy_from_slice(&values[j][..n]);
    }
    true
}

#[inline(always)]
fn read_body<const N: usize, const NEAR: bool, const CROSS: u8>(
    lanes: &Lanes,
    from: &Reading<'_>,
    states: &[u32; LANES],
    tokens: &mut [u8],
    u: &mut [u16],
) -> bool {
    let mut at = At::<N> { states: std::array::from_fn(|j| states[j]), word: 0, bit: 0, last: [[0; 2]; N] }; // N <= LANES
    let front = lanes.front();
    let mut i = 0;
    while i < lanes.len {
        let n = lanes.reach(i).min(STRETCH);
        let whole = match i < front {
            true => read_stretch::<N, NEAR, ANY>(lanes, from, &mut at, tokens, u, (i, n)),
            false => read_stretch::<N, NEAR, CROSS>(lanes, from, &mut at, tokens, u, (i, n)),
        };
        if !whole {
            return false;
        }
        i += n;
    }
    at.word * 2 == from.words.len() && at.states == [STATE_MIN; N]
}

#[inline(always)]
fn read_all_body(l: &Lanes, r: &Reading<'_>, s: &[u32; LANES], t: &mut [u8], u: &mut [u16]) -> bool {
    let near = l.lanes.iter().all(|l| l.left <= 1);
    match (l.count, near, l.cross()) {
        (3, _, 0b110) => read_body::<3, true, 0b110>(l, r, s, t, u),
        (3, ..) => read_body::<3, true, ANY>(l, r, s, t, u),
        (_, true, 0) => read_body::<4, true, 0>(l, r, s, t, u),
        (_, true, 0b10) => read_body::<4, true, 0b10>(l, r, s, t, u),
        (_, true, 0b1110) => read_body::<4, true, 0b1110>(l, r, s, t, u),
        (_, true, _) => read_body::<4, true, ANY>(l, r, s, t, u),
        (_, false, _) => read_body::<4, false, ANY>(l, r, s, t, u),
    }
}
wide! { fn read_all(l: &Lanes, r: &Reading<'_>, s: &[u32; LANES], t: &mut [u8], u: &mut [u16]) -> bool = read_all_body }

#[cfg(test)]
mod tests {
    use super::super::planes::Layout;
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
            let (tokens, levels, counts) = (coder.tokens.clone(), coder.levels.clone(), coder.counts.clone());
            coder.tokens.fill(0);
            coder.levels.fill(0);
            coder.counts.fill([0; 64]);
            survey_body(&lanes, &u, &mut coder.tokens, &mut coder.levels, &mut coder.counts);
            prop_assert!(tokens == coder.tokens && levels == coder.levels && counts == coder.counts);
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
