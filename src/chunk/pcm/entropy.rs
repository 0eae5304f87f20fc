//! Entropy coding of residuals: a running mean chooses a distribution, rANS codes the leading part, the rest is bits.
//!
//! A residual `r` is folded to `u` (0, -1, 1, -2 ... to 0, 1, 2, 3 ...). The running mean of `u` in the same slot gives
//! one of 32 contexts and a number `k` of low bits that are as good as noise; `u >> k` becomes one of 41 symbols:
//!
//! ```text
//!  symbol   u >> k        bits that follow
//!  0..=31   the symbol    k
//!  32..=35  32 .. 63      3 + k
//!  36..=39  64 .. 127     4 + k
//!  40       from 128 on   5 for the number n of bits below the leading one of u >> k, n + k
//! ```
//!
//! The mean lags one residual behind, so that a decoder need not wait for the last one. The distributions follow from a
//! context's mean and one of four shapes; what is left of music after prediction is nearly Gaussian around its mean
//! (0.0012 bits a sample lost on 16-bit music; a Laplacian loses 0.06), what is left of synthetic sound less so.
//!
//! # Invariants
//!
//! 1. Every symbol has a frequency of at least 1 in every context: any residual can be coded.
//! 2. The tables are computed in integers, from the constants below: they are part of the format.

mod part;

use super::bits::{BitReader, BitWriter};
use part::{PART, Part};
use std::sync::LazyLock;

/// Residuals of one channel after another: their running mean. One a slot.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Mean {
    /// In 1 / 65536, without the last residual.
    mean: u64,
    last: u64,
    rate: u32,
}

impl Mean {
    pub(super) fn new(start_log2: u32, rate: u32) -> Mean {
        let start = 1u64 << (start_log2 & 31);
        Mean { mean: (start - 1) << 16, last: start - 1, rate: rate & 15 }
    }

    /// The context and the number of low bits of the next residual.
    #[inline(always)]
    fn context(&self) -> (usize, u32) {
        let z = (self.mean >> 12) + 1; // in 1 / 16; below 2^37
        let exponent = 63 - z.leading_zeros();
        let fraction = ((z << 2) >> exponent) & 3;
        let context = (exponent.min(CONTEXT_OCTAVES) << 2) as usize + fraction as usize;
        (context & (CONTEXTS - 1), exponent.saturating_sub(CONTEXT_OCTAVES))
    }

    #[inline(always)]
    fn push(&mut self, u: u32) {
        // The mean of values below 2^32 stays below 2^48.
        let gain = (self.last << 16) >> self.rate;
        self.mean = self.mean.wrapping_add(gain).wrapping_sub(self.mean >> self.rate);
        self.last = u64::from(u);
    }
}

/// Octaves of the mean (in 1 / 16) with contexts of their own; above, contexts depend on the fraction alone.
const CONTEXT_OCTAVES: u32 = 7;
const CONTEXTS: usize = 32;
const SYMBOLS: usize = 41;
const ESCAPE: usize = 40;
const SCALE_BITS: u32 = 12;
const SCALE: u32 = 1 << SCALE_BITS;
/// The lower end of a state's range.
const LOW: u64 = 1 << 31;
pub(super) const SHAPES: usize = 4;

/// Knots a mean.
const RESOLUTION: u64 = 16;
const KNOTS: usize = 128;

/// Means of the contexts in 1 / 256: `256 / ln(1 + 1 / m)` of the mean `m` in the middle of each context.
const MEANS: [u64; CONTEXTS] = [
    73, 104, 104, 104, 104, 104, 128, 104, 149, 169, 188, 206, 233, 268, 302, 336, 386, 452, 517, 583, 680, 809, 938,
    1067, 1260, 1516, 1773, 2029, 2414, 2926, 3438, 3951,
];

/// Distribution functions at multiples of 1 / 16 of the mean, in 1 / 65536: of the absolute value of a normal variable.
const GAUSS: [u32; KNOTS + 1] = [
    0, 2607, 5207, 7794, 10362, 12904, 15415, 17889, 20320, 22704, 25034, 27308, 29520, 31667, 33746, 35753, 37687,
    39546, 41328, 43032, 44657, 46203, 47671, 49060, 50373, 51609, 52771, 53860, 54878, 55828, 56712, 57532, 58292,
    58993, 59639, 60233, 60777, 61275, 61729, 62142, 62516, 62856, 63162, 63438, 63686, 63909, 64108, 64285, 64443,
    64583, 64707, 64816, 64913, 64997, 65072, 65137, 65193, 65243, 65285, 65322, 65354, 65382, 65406, 65426, 65443,
    65458, 65471, 65481, 65490, 65498, 65504, 65510, 65514, 65518, 65521, 65524, 65526, 65528, 65529, 65531, 65532,
    65532, 65533, 65534, 65534, 65535, 65535, 65535, 65535, 65535, 65536, 65536, 65536, 65536, 65536, 65536, 65536,
    65536, 65536, 65536, 65536, 65536, 65536, 65536, 65536, 65536, 65536, 65536, 65536, 65536, 65536, 65536, 65536,
    65536, 65536, 65536, 65536, 65536, 65536, 65536, 65536, 65536, 65536, 65536, 65536, 65536, 65536, 65536, 65536,
];

/// The same of a Laplacian one.
const LAPLACE: [u32; KNOTS + 1] = [
    0, 3971, 7701, 11205, 14497, 17589, 20494, 23223, 25786, 28195, 30457, 32582, 34579, 36455, 38217, 39872, 41427,
    42887, 44260, 45549, 46760, 47897, 48966, 49970, 50913, 51799, 52631, 53413, 54148, 54838, 55486, 56095, 56667,
    57204, 57709, 58183, 58629, 59047, 59440, 59810, 60156, 60482, 60789, 61076, 61346, 61600, 61839, 62063, 62273,
    62471, 62657, 62831, 62995, 63149, 63293, 63429, 63557, 63677, 63790, 63895, 63995, 64088, 64176, 64258, 64336,
    64408, 64477, 64541, 64601, 64658, 64711, 64761, 64808, 64852, 64894, 64932, 64969, 65003, 65036, 65066, 65094,
    65121, 65146, 65170, 65192, 65213, 65233, 65251, 65268, 65284, 65300, 65314, 65327, 65340, 65352, 65363, 65374,
    65383, 65393, 65401, 65409, 65417, 65424, 65431, 65437, 65443, 65449, 65454, 65459, 65464, 65468, 65472, 65476,
    65480, 65483, 65486, 65489, 65492, 65495, 65497, 65500, 65502, 65504, 65506, 65508, 65509, 65511, 65513, 65514,
];

/// A shape: Gaussian parts and a Laplacian part. Weights are in sixteenths and add up to 16, the Gaussian parts' means
/// in sixteenths of the whole mean.
struct Shape {
    gauss: [(u64, u64); 2],
    laplace: u64,
}

const SHAPE: [Shape; SHAPES] = [
    Shape { gauss: [(16, 16), (0, 16)], laplace: 0 },
    Shape { gauss: [(11, 16), (0, 16)], laplace: 5 },
    Shape { gauss: [(0, 16), (0, 16)], laplace: 16 },
    Shape { gauss: [(6, 8), (4, 24)], laplace: 6 },
];

impl Shape {
    /// The part of residuals below `u`, in a context of that mean (in 1 / 256); in 2^-32.
    fn below(&self, u: u64, mean: u64, laplace_only: bool) -> u64 {
        let laplace = interpolate(&LAPLACE, u, mean);
        if laplace_only {
            return laplace << 8;
        }
        let mut sum = self.laplace * laplace;
        for (weight, scale) in self.gauss {
            sum += weight * interpolate(&GAUSS, u, (mean * scale) >> 4);
        }
        sum << 4
    }
}

/// The distribution function at `u`, in 2^-24.
fn interpolate(table: &[u32; KNOTS + 1], u: u64, mean: u64) -> u64 {
    let at = (u * RESOLUTION * 256 * 256) / mean.max(1); // knots in 1 / 256
    let knot = (at >> 8) as usize;
    match (table.get(knot), table.get(knot + 1)) {
        (Some(&a), Some(&b)) => (u64::from(a) << 8) + u64::from(b.saturating_sub(a)) * (at & 255),
        _ => 65536 << 8,
    }
}

#[derive(Clone, Copy, Default)]
struct EncoderSymbol {
    reciprocal: u64,
    /// The greatest state that takes the symbol as it is.
    most: u64,
    bias: u16,
    complement: u16,
    shift: u32,
}

#[derive(Clone, Copy, Default)]
struct DecoderSymbol {
    start: u16,
    frequency: u16,
    /// [`first_of`], and [`more_bits`].
    first: u8,
    more: u8,
}

/// What follows from a shape.
struct Tables {
    /// By context and symbol, as they stand in a list of symbols.
    encoder: Box<[[EncoderSymbol; 64]; CONTEXTS]>,
    decoder: Box<[[DecoderSymbol; 64]; CONTEXTS]>,
    /// The symbol of each slot.
    slots: Box<[[u8; SCALE as usize]; CONTEXTS]>,
    /// What a symbol costs, in 1 / 256 bit.
    costs: Vec<[u32; SYMBOLS]>,
}

static TABLES: LazyLock<[Tables; SHAPES]> = LazyLock::new(|| std::array::from_fn(|i| Tables::new(&SHAPE[i])));

/// The first `u >> k` of a symbol.
fn first_of(symbol: usize) -> u64 {
    match symbol {
        0..=31 => symbol as u64,
        32..=35 => 32 + 8 * (symbol as u64 - 32),
        36..=39 => 64 + 16 * (symbol as u64 - 36),
        _ => 128,
    }
}

impl Tables {
    fn new(shape: &Shape) -> Tables {
        let mut out = Tables {
            encoder: Box::new([[EncoderSymbol::default(); 64]; CONTEXTS]),
            decoder: Box::new([[DecoderSymbol::default(); 64]; CONTEXTS]),
            slots: Box::new([[0; SCALE as usize]; CONTEXTS]),
            costs: Vec::new(),
        };
        for context in 0..CONTEXTS {
            let frequencies = frequencies(shape, context);
            let encoder = &mut out.encoder[context];
            let decoder = &mut out.decoder[context];
            let slots = &mut out.slots[context];
            let mut costs = [0u32; SYMBOLS];
            let mut start = 0u32;
            for (symbol, &frequency) in frequencies.iter().enumerate() {
                let (first, more) = (first_of(symbol) as u8, more_bits(symbol) as u8); // at most 128
                decoder[symbol] = DecoderSymbol { start: start as u16, frequency: frequency as u16, first, more }; // <= SCALE
                encoder[symbol] = EncoderSymbol::new(start, frequency);
                costs[symbol] =
                    (256.0 * (f64::from(SCALE_BITS) - crate::chunk::log2::log2(f64::from(frequency)))) as u32;
                slots[start as usize..(start + frequency) as usize].fill(symbol as u8);
                start += frequency;
            }
            out.costs.push(costs);
        }
        out
    }
}

/// Frequencies of the symbols in a context: in proportion, at least 1, the most frequent takes what rounding leaves.
fn frequencies(shape: &Shape, context: usize) -> [u32; SYMBOLS] {
    let mean = MEANS[context & (CONTEXTS - 1)];
    let laplace_only = context < 5 * 4;
    let spread = u64::from(SCALE) - SYMBOLS as u64;
    let mut out = [1u32; SYMBOLS];
    let mut below = 0u64;
    for (symbol, frequency) in out.iter_mut().enumerate() {
        let next =
            if symbol == ESCAPE { 1 << 32 } else { shape.below(first_of(symbol + 1), mean, laplace_only).min(1 << 32) };
        *frequency += ((next.saturating_sub(below) * spread) >> 32) as u32; // at most spread
        below = next.max(below);
    }
    let sum: u32 = out.iter().sum(); // at most SCALE
    let mut most = 0;
    for symbol in 0..SYMBOLS {
        if out[symbol] > out[most] {
            most = symbol;
        }
    }
    out[most] += SCALE - sum;
    out
}

impl EncoderSymbol {
    /// Division by the frequency as a multiplication, exact for states below 2^63 (F. Giesen, ryg_rans, rans64.h).
    fn new(start: u32, frequency: u32) -> EncoderSymbol {
        let complement = (SCALE - frequency) as u16;
        let most = (u64::from(frequency) << (63 - SCALE_BITS)).wrapping_sub(1); // a frequency is at most SCALE
        if frequency < 2 {
            // q = x - 1 then, and the bias puts it right.
            let bias = (start + SCALE - 1) as u16; // below 2^13
            return EncoderSymbol { reciprocal: u64::MAX, most, bias, complement, shift: 0 };
        }
        let shift = 32 - (frequency - 1).leading_zeros(); // 2^shift >= frequency
        let reciprocal = (1u128 << (shift + 63)).div_ceil(u128::from(frequency));
        EncoderSymbol {
            reciprocal: reciprocal as u64, // below 2^64, since frequency > 2^(shift - 1)
            most,
            bias: start as u16, // below SCALE
            complement,
            shift: shift - 1,
        }
    }
}

/// Symbols of a chunk, to be coded backwards once they are all known.
#[derive(Default)]
pub(super) struct Symbols {
    /// `context << 6 | symbol`.
    list: Vec<u16>,
    words: Vec<u32>,
}

/// Symbols of `u >> k` below 128.
const SYMBOL_OF: [u8; 128] = {
    let mut out = [0u8; 128];
    let mut q = 0;
    while q < 128 {
        out[q] = if q < 32 {
            q as u8
        } else if q < 64 {
            32 + ((q - 32) >> 3) as u8
        } else {
            36 + ((q - 64) >> 4) as u8
        };
        q += 1;
    }
    out
};

/// Bits of a symbol beside `k`; those of the escape stand elsewhere.
#[inline(always)]
fn more_bits(symbol: usize) -> u32 {
    (symbol >= 32) as u32 * 3 + (symbol >= 36) as u32
}

#[inline(always)]
fn fold(r: i32) -> u32 {
    ((r << 1) ^ (r >> 31)) as u32
}

#[inline(always)]
fn unfold(u: u32) -> i32 {
    (u >> 1) as i32 ^ -((u & 1) as i32)
}

/// The log2 of the mean with which a slot of these residuals begins.
pub(super) fn start_log2(residuals: &[i32]) -> u32 {
    let first = &residuals[..residuals.len().min(32)];
    let sum: u64 = first.iter().map(|&r| u64::from(fold(r))).sum();
    (sum / first.len().max(1) as u64 + 1).ilog2().min(31)
}

/// The rate of the means under which samples of the residuals take the fewest bits.
pub(super) fn best_rate(residuals: &[Vec<i32>], thorough: bool) -> u32 {
    // One run in so many residuals is asked, and begins to count when the mean has settled. Fewer and shorter ones cost
    // 0.03 % of space and take two in five of the time, of a tenth of all.
    let (every, run) = if thorough { (8192, 640) } else { (16384, 512) };
    const SETTLED: usize = 128;
    let cost = |rate: u32| -> u64 {
        let mut costs = [0u64; 2];
        for run in residuals.iter().flat_map(|r| r.chunks(every)).map(|r| &r[..r.len().min(run)]) {
            let mut mean = Mean::new(start_log2(run), rate);
            for (i, &r) in run.iter().enumerate() {
                let u = fold(r);
                let (context, k) = mean.context();
                mean.push(u);
                if i >= SETTLED {
                    let symbol = usize::from(SYMBOL_OF.get((u >> k) as usize).copied().unwrap_or(ESCAPE as u8));
                    for (cost, shape) in costs.iter_mut().zip([0, 2]) {
                        *cost += u64::from(TABLES[shape].costs[context][symbol] + (more_bits(symbol) + k) * 256);
                    }
                }
            }
        }
        costs[0].min(costs[1])
    };
    [5, 3, 4, 6].into_iter().min_by_key(|&rate| cost(rate)).unwrap_or(5)
}

/// Whether shifts and leading zeros are single instructions, and registers wide: the loops are compiled once more for such processors, from
/// the same source.
#[cfg(target_arch = "x86_64")]
pub(super) fn has_bit_instructions() -> bool {
    is_x86_feature_detected!("avx2")
        && is_x86_feature_detected!("bmi1")
        && is_x86_feature_detected!("bmi2")
        && is_x86_feature_detected!("lzcnt")
}

impl Symbols {
    pub(super) fn clear(&mut self) {
        self.list.clear();
    }

    /// Codes one residual: its symbol for later, and the bits that stand beside it, at most 36.
    #[inline(always)]
    fn symbol(mean: &mut Mean, r: i32) -> (u16, u64, u32) {
        let u = fold(r);
        let (context, k) = mean.context();
        mean.push(u);
        let q = u >> k; // k <= 29
        let (symbol, value, n) = match SYMBOL_OF.get(q as usize) {
            Some(&symbol) => {
                let n = more_bits(usize::from(symbol)).wrapping_add(k); // at most 33
                (usize::from(symbol), u64::from(u) & ((1u64 << n) - 1), n)
            }
            None => {
                let n = 31 - q.leading_zeros(); // 7..=31; n + k < 32: u has 32 bits
                (ESCAPE, u64::from(n) | (u64::from(u) & ((1u64 << (n + k)) - 1)) << 5, n + k + 5)
            }
        };
        ((context << 6 | symbol) as u16, value, n)
    }

    pub(super) fn one(&mut self, a: &mut Mean, residuals: &[i32], bits: &mut BitWriter) {
        let mut mean = *a;
        self.list.extend(residuals.iter().map(|&r| {
            let (symbol, value, n) = Symbols::symbol(&mut mean, r);
            bits.put(value, n);
            symbol
        }));
        *a = mean;
    }

    /// Two slots in turn.
    pub(super) fn two(&mut self, a: &mut Mean, b: &mut Mean, left: &[i32], right: &[i32], bits: &mut BitWriter) {
        #[cfg(target_arch = "x86_64")]
        if has_bit_instructions() {
            // SAFETY: the processor has them.
            return unsafe { self.two_bmi(a, b, left, right, bits) };
        }
        self.two_portable(a, b, left, right, bits);
    }

    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx2,bmi1,bmi2,lzcnt")]
    fn two_bmi(&mut self, a: &mut Mean, b: &mut Mean, left: &[i32], right: &[i32], bits: &mut BitWriter) {
        self.two_portable(a, b, left, right, bits);
    }

    #[inline(always)]
    fn two_portable(&mut self, a: &mut Mean, b: &mut Mean, left: &[i32], right: &[i32], bits: &mut BitWriter) {
        let frames = left.len().min(right.len());
        let from = self.list.len();
        self.list.resize(from + frames * 2, 0);
        let (list, _) = self.list[from..].as_chunks_mut::<2>(); // grown above
        let mut parts = [Part::NONE; 2];
        for ((list, left), right) in list.chunks_mut(PART).zip(left.chunks(PART)).zip(right.chunks(PART)) {
            let [l, r] = &mut parts;
            let n = list.len();
            if l.fold(a, left) & r.fold(b, right) {
                Part::means([l, r], [a, b], n);
                l.symbols();
                r.symbols();
                for (out, (&l, &r)) in list.iter_mut().zip(l.entries.iter().zip(&r.entries)) {
                    *out = [l as u16, r as u16]; // both are of 11 bits
                }
                Part::put([l, r], n, bits);
            } else {
                Symbols::two_wide(list, a, b, left, right, bits);
            }
        }
    }

    /// Two slots in turn, residuals of any size.
    #[inline(never)]
    fn two_wide(list: &mut [[u16; 2]], a: &mut Mean, b: &mut Mean, left: &[i32], right: &[i32], bits: &mut BitWriter) {
        for ((out, &l), &r) in list.iter_mut().zip(left).zip(right) {
            let (first, value, n) = Symbols::symbol(a, l);
            let (second, other, m) = Symbols::symbol(b, r);
            *out = [first, second];
            bits.put(value, n);
            bits.put(other, m);
        }
    }

    /// The shape that codes the symbols in the fewest bits.
    pub(super) fn best_shape(&self) -> usize {
        // Neighbours are often counted in one place: in turns in two tables, so that they need not wait for each other.
        let mut twins = [[0u32; CONTEXTS << 6]; 2];
        let (pairs, last) = self.list.as_chunks::<2>();
        let [first, second] = &mut twins;
        let count = |counts: &mut [u32; CONTEXTS << 6], entry: u16| {
            let n = &mut counts[usize::from(entry) % (CONTEXTS << 6)];
            *n = n.wrapping_add(1); // fewer than 2^32
        };
        for [a, b] in pairs {
            count(first, *a);
            count(second, *b);
        }
        if let [a] = last {
            count(first, *a);
        }
        for (n, twin) in first.iter_mut().zip(second) {
            *n = n.wrapping_add(*twin);
        }
        let counts = first.as_chunks::<64>().0;
        let cost = |shape: &usize| -> u64 {
            let each = TABLES[*shape].costs.iter().zip(counts);
            each.map(|(costs, counts)| -> u64 {
                costs.iter().zip(counts).map(|(&cost, &n)| u64::from(cost) * u64::from(n)).sum()
            })
            .sum()
        };
        (0..SHAPES).min_by_key(cost).unwrap_or(0)
    }

    /// The words of the symbols: two states, even and odd symbols, 64 bits each to begin with.
    pub(super) fn finish(&mut self, shape: usize) -> &[u32] {
        let tables = &TABLES[shape % SHAPES].encoder;
        // One word a symbol at most leaves, and the states come first. What stands there is of no account.
        let room = self.list.len() + 4;
        if self.words.len() < room {
            self.words.resize(room, 0);
        }
        let mut states = [LOW; 2];
        let mut at = push_all(tables, &self.list, &mut states, &mut self.words);
        for state in states.iter().rev() {
            for word in [(state >> 32) as u32, *state as u32] {
                at -= 1; // there is room for four
                self.words[at] = word;
            }
        }
        &self.words[at..]
    }
}

/// The encoder's symbols of a shape, by context.
type Encoding = [[EncoderSymbol; 64]; CONTEXTS];

/// Codes symbols from the last to the first, which leave their words at the end of `words`, the last one first. Returns where
/// these begin.
fn push_all(tables: &Encoding, list: &[u16], states: &mut [u64; 2], words: &mut [u32]) -> usize {
    #[cfg(target_arch = "x86_64")]
    if has_bit_instructions() {
        #[target_feature(enable = "bmi1,bmi2,lzcnt")]
        fn wider(tables: &Encoding, list: &[u16], states: &mut [u64; 2], words: &mut [u32]) -> usize {
            push_all_portable(tables, list, states, words)
        }
        // SAFETY: the processor has them.
        return unsafe { wider(tables, list, states, words) };
    }
    push_all_portable(tables, list, states, words)
}

#[inline(always)]
fn push_all_portable(tables: &Encoding, list: &[u16], states: &mut [u64; 2], words: &mut [u32]) -> usize {
    let tables = tables.as_flattened();
    let [mut even, mut odd] = *states;
    let mut at = words.len();
    let mut push = |entry: u16, state: &mut u64| {
        let Some(s) = tables.get(usize::from(entry) % (CONTEXTS << 6)) else { return };
        let x = *state;
        // No branch: whether a word leaves is hard to guess.
        let leaves = x > s.most;
        // If it stays, what is written in front of the others is not looked at.
        if let Some(word) = words.get_mut(at.wrapping_sub(1)) {
            *word = x as u32; // there is room for one a symbol
        }
        at = at.wrapping_sub(usize::from(leaves));
        let x = x >> (32 * u32::from(leaves));
        let quotient = ((u128::from(x) * u128::from(s.reciprocal)) >> 64) as u64 >> (s.shift & 63);
        *state = x.wrapping_add(u64::from(s.bias)).wrapping_add(quotient.wrapping_mul(u64::from(s.complement)));
    };
    let (pairs, last) = list.as_chunks::<2>();
    if let [entry] = last {
        push(*entry, &mut even);
    }
    for [first, second] in pairs.iter().rev() {
        push(*second, &mut odd);
        push(*first, &mut even);
    }
    *states = [even, odd];
    at
}

/// Reads what [`Symbols`] and a [`BitWriter`] wrote.
pub(super) struct SymbolReader<'a> {
    tables: &'static Tables,
    /// The state of the next symbol comes first.
    states: [u64; 2],
    words: &'a [u32],
    position: usize,
}

impl<'a> SymbolReader<'a> {
    /// `None` if the words are too few or the states out of range.
    pub(super) fn new(shape: usize, words: &'a [u32]) -> Option<SymbolReader<'a>> {
        let &[a, b, c, d, ..] = words else { return None };
        let states = [u64::from(a) | u64::from(b) << 32, u64::from(c) | u64::from(d) << 32];
        let in_range = states.iter().all(|s| (LOW..LOW << 32).contains(s));
        let tables = TABLES.get(shape)?;
        in_range.then_some(SymbolReader { tables, states, words, position: 4 })
    }

    /// Whether all was read, and the states are back where the encoder began.
    pub(super) fn is_at_end(&self) -> bool {
        self.position == self.words.len() && self.states == [LOW; 2]
    }

    /// One residual. Past the last word zeros are read.
    #[inline(always)]
    fn residual(
        tables: &Tables,
        state: &mut u64,
        words: &[u32],
        position: &mut usize,
        mean: &mut Mean,
        bits: &mut BitReader<'_>,
    ) -> i32 {
        let (context, k) = mean.context();
        let slot = *state & u64::from(SCALE - 1);
        let symbol = usize::from(tables.slots[context][slot as usize]);
        let s = tables.decoder[context][symbol & 63];
        let slot = slot.wrapping_sub(u64::from(s.start)); // the slot is the symbol's
        let x = u64::from(s.frequency).wrapping_mul(*state >> SCALE_BITS).wrapping_add(slot);
        // No branch: whether a word comes in is hard to guess.
        let word = words.get(*position).map_or(0, |w| u64::from(*w));
        let comes = x < LOW;
        *position = position.wrapping_add(usize::from(comes));
        *state = if comes { x << 32 | word } else { x };
        let u = if symbol < ESCAPE {
            let n = u32::from(s.more).wrapping_add(k); // at most 33
            ((u64::from(s.first) << (k & 63)) as u32).wrapping_add(bits.take(n) as u32)
        } else {
            let n = bits.take(5) as u32 + k; // at most 60, from hostile bytes
            (1u64 << n) as u32 | bits.take(n.min(31)) as u32
        };
        mean.push(u);
        unfold(u)
    }

    pub(super) fn one(&mut self, a: &mut Mean, out: &mut [i32], bits: &mut BitReader) {
        let [mut x, mut y] = self.states;
        let (tables, words, mut position, mut mean) = (self.tables, self.words, self.position, *a);
        for r in out.iter_mut() {
            *r = SymbolReader::residual(tables, &mut x, words, &mut position, &mut mean, bits);
            std::mem::swap(&mut x, &mut y);
        }
        self.states = [x, y];
        self.position = position;
        *a = mean;
    }

    /// Two slots in turn.
    pub(super) fn two(
        &mut self,
        a: &mut Mean,
        b: &mut Mean,
        left: &mut [i32],
        right: &mut [i32],
        bits: &mut BitReader,
    ) {
        #[cfg(target_arch = "x86_64")]
        if has_bit_instructions() {
            // SAFETY: the processor has them.
            return unsafe { self.two_bmi(a, b, left, right, bits) };
        }
        self.two_portable(a, b, left, right, bits);
    }

    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "bmi1,bmi2,lzcnt")]
    fn two_bmi(&mut self, a: &mut Mean, b: &mut Mean, left: &mut [i32], right: &mut [i32], bits: &mut BitReader) {
        self.two_portable(a, b, left, right, bits);
    }

    #[inline(always)]
    fn two_portable(&mut self, a: &mut Mean, b: &mut Mean, left: &mut [i32], right: &mut [i32], bits: &mut BitReader) {
        let [mut x, mut y] = self.states;
        let (tables, words, mut position) = (self.tables, self.words, self.position);
        let (mut mean_a, mut mean_b) = (*a, *b);
        // In a variable of its own: for all the compiler knows, samples could be written over the other one.
        let mut own = bits.clone();
        for (l, r) in left.iter_mut().zip(right) {
            *l = SymbolReader::residual(tables, &mut x, words, &mut position, &mut mean_a, &mut own);
            *r = SymbolReader::residual(tables, &mut y, words, &mut position, &mut mean_b, &mut own);
        }
        *bits = own;
        self.states = [x, y];
        self.position = position;
        (*a, *b) = (mean_a, mean_b);
    }
}
