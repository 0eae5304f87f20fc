//! Entropy coding of residuals: a running mean chooses a distribution, ANS codes the leading part, the rest is bits.
//!
//! A residual `r` is folded to `u` (0, -1, 1, -2 ... to 0, 1, 2, 3 ...). The running mean of `u` in its lane gives one of 32
//! contexts and a number `k` of low bits that are as good as noise; `u >> k` becomes one of 41 symbols:
//!
//! ```text
//!  symbol   u >> k        bits that follow
//!  0..=31   the symbol    k
//!  32..=35  32 .. 63      3 + k
//!  36..=39  64 .. 127     4 + k
//!  40       any           32: u itself, where `u >> k` is at or above the context's limit
//! ```
//!
//! A channel's residuals are cut into eight lanes (sixteen, if it is alone), each with its own mean: a *vector* of eight has a symbol of each
//! lane in one register. The mean takes in the middle of what a symbol stands for, not `u` itself: so a decoder reads symbols
//! without the bits, and these on their own.
//!
//! ```text
//!  per vector:
//!    start     8 bytes: log2 of each lane's first mean
//!    states    4 bytes for each lane: where the decoder begins
//!    words     their number (u32), then 2 bytes each, in the order of decoding (../rans.rs)
//!    bits      bytes of them (u32), then bits, lowest first, in the same order
//! ```
//!
//! # Invariants
//!
//! 1. Every symbol that can come in a context has a frequency there: any residual can be coded.
//! 2. All numbers are whole. A register at a time or lane by lane, the same is written and read.
//! 3. A decoder's work is in proportion to the residuals asked for; it reads zeros behind the end, and tells.

mod read;
mod shapes;
mod write;

use super::bits::BitReader;
use crate::chunk::log2::log2;
use crate::chunk::rans::{self, LANES, Reader, Slot, Symbol, Words};
use shapes::{SHAPE, SHAPES, frequencies};
use std::sync::LazyLock;

/// Octaves of the mean (in 1 / 16) with contexts of their own; above, contexts depend on the fraction alone.
const CONTEXT_OCTAVES: u32 = 7;
const CONTEXTS: usize = 32;
const SYMBOLS: usize = 41;
const ESCAPE: usize = 40;
/// Of each octave the least `u >> k` that escapes: at least eight times the mean.
const LIMITS: [u32; 8] = [8, 8, 8, 16, 16, 32, 64, 128];
/// Frequencies of a context sum up to 2 to this.
const FREQUENCY_BITS: u32 = 11;
const SLOTS: usize = 1 << FREQUENCY_BITS;
/// Every symbol in every context: `context << 6 | symbol`.
const CELLS: usize = CONTEXTS << 6;

/// Twice the middle of what an escape is taken to stand for, in 2^k.
const ESCAPE_MIDDLE: u32 = 511;
/// Bits of an escaped residual.
const ESCAPE_BITS: u32 = 32;

/// Places that are done at once.
const STRETCH: usize = 32;
/// Something of each lane at each place of a stretch.
type Places<T> = [[T; LANES]; STRETCH];

/// How means move, and in what unit they are: whole numbers of 2^-fraction. (The format names them `rate` and `point`.)
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Pace {
    rate: u32,
    fraction: u32,
}

pub(super) const RATES: std::ops::RangeInclusive<u32> = 1..=15;
/// Bits behind the point of a mean at most; as many as leave room for the residuals.
pub(super) const FRACTION_MAX: u32 = 12;
/// By how much a symbol's middle is shifted at most, lest a mean outgrow 2^30.
const SHIFT_MAX: u32 = 22;
/// The greatest log2 of a lane's first mean.
const START_MAX: u32 = 31;

impl Pace {
    /// `None` if one is out of range.
    pub(super) fn new(rate: u32, fraction: u32) -> Option<Pace> {
        (RATES.contains(&rate) && fraction <= FRACTION_MAX).then_some(Pace { rate, fraction })
    }

    /// The pace for residuals of which the largest, folded, is this.
    fn of(rate: u32, largest: u32) -> Pace {
        Pace { rate: rate.clamp(1, 15), fraction: largest.leading_zeros().saturating_sub(5).min(FRACTION_MAX) }
    }

    /// The mean to begin with: in the middle of those whose logarithm is this.
    fn start(self, log2: u32) -> u32 {
        let log2 = log2.min(29 - self.fraction); // below 2^30 then
        ((3u32 << log2 >> 1) - 1) << self.fraction
    }

    /// What is added to a mean so that it is above 0: a sixteenth, or a unit.
    fn bias(self) -> u32 {
        1 << self.fraction.saturating_sub(4)
    }

    /// What is added to a symbol's shifted middle before it is divided: half of the divisor, so that it is rounded, and half a
    /// residual less, since the middle of the only one that a symbol without further bits stands for is itself.
    fn rounding(self) -> i32 {
        (1 << (self.rate - 1)) - (1 << self.fraction >> 1)
    }

    /// The context and the number of low bits behind a mean. A mean is below 2^30.
    #[inline(always)]
    fn context(self, mean: u32) -> (u32, u32) {
        let x = mean + self.bias();
        let log2 = x.ilog2();
        let fraction = ((u64::from(x) << 2) >> log2) as u32 & 3;
        let octave = log2 + 4 - self.fraction; // in sixteenths; x is one at least
        let k = octave.max(CONTEXT_OCTAVES) - CONTEXT_OCTAVES; // at most 27
        ((octave - k) << 2 | fraction, k)
    }

    /// Takes twice the middle of a symbol with `k` low bits into a mean. It stays between that and what it was.
    #[inline(always)]
    fn push(self, mean: &mut u32, middle: u32, k: u32) {
        let value = middle << (k + self.fraction).min(SHIFT_MAX) >> 1; // below 2^30, as the mean is
        let step = (value as i32 + self.rounding() - *mean as i32) >> self.rate;
        *mean = mean.wrapping_add_signed(step);
    }
}

/// The first `u >> k` of a symbol.
fn first_of(symbol: usize) -> u64 {
    match symbol {
        0..=31 => symbol as u64,
        32..=35 => 32 + 8 * (symbol as u64 - 32),
        36..=39 => 64 + 16 * (symbol as u64 - 36),
        _ => 128,
    }
}

/// Of a `u >> k` below 128 the symbol, twice the middle of what it stands for, and the bits that tell which of these it is.
#[inline(always)]
fn symbol_of(q: u32) -> (u32, u32, u32) {
    let (from_32, from_64) = (u32::from(q >= 32), u32::from(q >= 64));
    let more = 3 * from_32 + from_64;
    let others = (1 << more) - 1; // ones
    ((q >> more) + 28 * from_32 + 4 * from_64, ((q & !others) << 1) + others + 1, more)
}

/// What follows from a shape.
struct Tables {
    symbols: Box<[Symbol<FREQUENCY_BITS>; CELLS]>,
    /// Of each context. A slot's value is twice the symbol's middle: 511 of an escape.
    slots: Box<[Slot; CONTEXTS * SLOTS]>,
    /// What a symbol costs, in 1 / 256 bit.
    costs: Box<[u32; CELLS]>,
}

static TABLES: LazyLock<[Tables; SHAPES]> = LazyLock::new(|| std::array::from_fn(|i| Tables::new(&SHAPE[i])));

impl Tables {
    fn new(shape: &shapes::Shape) -> Tables {
        let mut symbols = Box::new([Symbol::default(); CELLS]);
        let mut slots = Box::new([Slot::default(); CONTEXTS * SLOTS]);
        let mut costs = Box::new([0; CELLS]);
        for (context, slots) in slots.chunks_exact_mut(SLOTS).enumerate() {
            let mut slots = slots.iter_mut();
            let mut start = 0;
            let frequencies = frequencies(shape, context);
            for (symbol, &frequency) in frequencies.iter().enumerate().filter(|(_, frequency)| **frequency > 0) {
                symbols[context << 6 | symbol] = Symbol::new(frequency as u16, start); // below 2^11
                let bits = f64::from(FREQUENCY_BITS) - log2(f64::from(frequency));
                costs[context << 6 | symbol] = (256.0 * bits) as u32;
                start += frequency;
                let middle = if symbol == ESCAPE { ESCAPE_MIDDLE } else { symbol_of(first_of(symbol) as u32).1 };
                for (offset, slot) in (0..frequency).zip(&mut slots) {
                    *slot = Slot::new(middle, offset, frequency);
                }
            }
        }
        Tables { symbols, slots, costs }
    }
}

#[inline(always)]
fn fold(r: i32) -> u32 {
    ((r << 1) ^ (r >> 31)) as u32
}

#[inline(always)]
fn unfold(u: u32) -> i32 {
    (u >> 1) as i32 ^ -((u & 1) as i32)
}

/// The log2 of the mean with which a lane of these residuals begins.
fn start_log2(residuals: &[i32]) -> u32 {
    let first = &residuals[..residuals.len().min(32)];
    let sum: u64 = first.iter().map(|&r| u64::from(fold(r))).sum();
    (sum / first.len().max(1) as u64 + 1).ilog2().min(START_MAX)
}

/// The rate of the means under which samples of the residuals take the fewest bits.
pub(super) fn best_rate(residuals: &[Vec<i32>], thorough: bool) -> u32 {
    // One run in so many residuals is asked. Fewer and shorter ones cost 0.03 % of space.
    let (every, run) = if thorough { (8192, 640) } else { (16384, 512) };
    const RATES: [u32; 4] = [5, 3, 4, 6];
    let runs: Vec<&[i32]> = residuals.iter().flat_map(|r| r.chunks(every)).filter_map(|r| r.get(..run)).collect();
    let largest = runs.iter().fold(0, |all, run| all | largest(run));
    let mut costs = [[0u64; 2]; RATES.len()];
    let mut folded = Vec::new();
    // Some count twice, where they are not whole eights.
    for first in (0..runs.len()).step_by(LANES) {
        let lanes: [&[i32]; LANES] = std::array::from_fn(|j| runs[(first + j) % runs.len()]);
        folded.clear();
        folded.extend((0..run).map(|i| lanes.map(|lane| lane.get(i).map_or(0, |&r| fold(r)))));
        for (costs, rate) in costs.iter_mut().zip(RATES) {
            let pace = Pace::of(rate, largest);
            let means = lanes.map(|lane| pace.start(start_log2(lane)));
            for (cost, of) in costs.iter_mut().zip(write::cost(pace, means, &folded, [0, 2].map(|i| &*TABLES[i].costs)))
            {
                *cost += of;
            }
        }
    }
    let best = costs.iter().zip(RATES).min_by_key(|(costs, _)| costs[0].min(costs[1]));
    best.map_or(RATES[0], |(_, rate)| rate)
}

/// The largest of residuals, folded, or a number with as many bits.
fn largest(residuals: &[i32]) -> u32 {
    residuals.iter().fold(0, |all, &r| all | fold(r))
}

/// Of a folded residual the symbol, twice its middle, and the bits beside it.
#[inline(always)]
fn coded(u: u32, context: u32, k: u32) -> (u32, u32, u32) {
    let q = u >> k; // k is at most 27
    if q >= LIMITS[context as usize / 4 % LIMITS.len()] {
        return (ESCAPE as u32, ESCAPE_MIDDLE, ESCAPE_BITS);
    }
    let (symbol, middle, more) = symbol_of(q);
    (symbol, middle, more + k)
}

/// Vectors of a channel: one alone gets two, so that there is something to do while one waits. One without residuals has none.
fn vectors_of(channels: usize) -> usize {
    if channels == 1 { 2 } else { 1 }
}

/// Residuals of a lane, of a channel that has as many vectors and residuals. The last lanes are filled up with zeros.
fn lane_of(vectors: usize, residuals: usize) -> usize {
    residuals.div_ceil(vectors * LANES)
}

/// Symbols of a chunk, to be written backwards once they are all known.
#[derive(Default)]
pub(super) struct Coder {
    vectors: Vec<write::Vector>,
    words: Vec<Words>,
    counts: Vec<u32>,
}

impl Coder {
    /// Codes the residuals of channels. They are filled up to whole lanes. Returns the fraction of the means, and the shape of
    /// distributions that takes the fewest bits.
    pub(super) fn survey(&mut self, channels: &mut [Vec<i32>], rate: u32) -> (u32, usize) {
        let pace = Pace::of(rate, channels.iter().fold(0, |all, channel| all | largest(channel)));
        let per_channel = vectors_of(channels.len());
        let mut lanes = Vec::new();
        for channel in channels.iter_mut().filter(|channel| !channel.is_empty()) {
            let lane = lane_of(per_channel, channel.len());
            channel.resize(lane * per_channel * LANES, 0);
            lanes.extend(channel.chunks_exact(lane * LANES).map(|residuals| write::Lanes { residuals }));
        }
        self.vectors.resize_with(lanes.len(), Default::default);
        for (pair, lanes) in self.vectors.chunks_mut(2).zip(lanes.chunks(2)) {
            write::survey(pace, pair, lanes);
        }
        (pace.fraction, self.best_shape())
    }

    fn best_shape(&mut self) -> usize {
        // Neighbours are often counted in one cell: in turns in four tables, so that they need not wait for each other.
        self.counts.clear();
        self.counts.resize(4 * CELLS, 0);
        let [first, others @ ..] = self.counts.as_chunks_mut::<CELLS>().0 else { return 0 };
        let [second, third, fourth] = others else { return 0 };
        let count = |counts: &mut [u32; CELLS], cell: u16| {
            let n = &mut counts[usize::from(cell) % CELLS];
            *n = n.wrapping_add(1); // fewer than 2^32 samples
        };
        for [a, b, c, d] in self.vectors.iter().flat_map(|vector| vector.cells.as_chunks::<4>().0) {
            count(first, *a);
            count(second, *b);
            count(third, *c);
            count(fourth, *d);
        }
        for (i, n) in first.iter_mut().enumerate() {
            *n = n.wrapping_add(second[i]).wrapping_add(third[i]).wrapping_add(fourth[i]);
        }
        let cost = |shape: &usize| -> u64 {
            TABLES[*shape].costs.iter().zip(&*first).map(|(&cost, &n)| u64::from(cost) * u64::from(n)).sum()
        };
        (0..SHAPES).min_by_key(cost).unwrap_or(0)
    }

    /// Appends the vectors.
    pub(super) fn append(&mut self, shape: usize, out: &mut Vec<u8>) {
        let symbols = &TABLES[shape % SHAPES].symbols;
        self.words.resize_with(self.vectors.len(), Words::default);
        for (pair, words) in self.vectors.chunks(2).zip(self.words.chunks_mut(2)) {
            match pair {
                [a, b] => rans::write(&[&a.cells, &b.cells], symbols, words),
                [a] => rans::write(&[&a.cells], symbols, words),
                _ => {}
            }
        }
        for (vector, words) in self.vectors.iter().zip(&self.words) {
            out.extend_from_slice(&vector.starts);
            words.append(out);
            let bits = vector.bits.bytes();
            out.extend_from_slice(&(bits.len() as u32).to_le_bytes()); // within a chunk
            out.extend_from_slice(bits);
        }
    }
}

/// Reads the vectors of channels into residuals, of which `channels` has as many as there are. Each is filled up to whole lanes.
/// Returns what is behind the vectors.
pub(super) fn decode<'a>(
    shape: usize,
    pace: Pace,
    channels: &mut [Vec<i32>],
    mut payload: &'a [u8],
) -> Result<&'a [u8], &'static str> {
    let slots = &TABLES.get(shape).ok_or("unknown shape")?.slots;
    let per_channel = vectors_of(channels.len());
    let lengths: Vec<usize> = channels.iter().map(Vec::len).collect();
    let (mut parts, mut lanes) = (Vec::new(), Vec::new());
    for channel in channels.iter_mut().filter(|channel| !channel.is_empty()) {
        let lane = lane_of(per_channel, channel.len());
        channel.resize(lane * per_channel * LANES, 0);
        for lanes_of_vector in channel.chunks_exact_mut(lane * LANES) {
            parts.push(read::Part::open(pace, &mut payload)?);
            lanes.push(lanes_of_vector);
        }
    }
    for (pair, lanes) in parts.chunks_mut(2).zip(lanes.chunks_mut(2)) {
        read::residuals(slots, pace, pair, lanes);
    }
    let all_read = parts.iter().all(read::Part::is_at_end);
    let filled = channels.iter().zip(lengths).all(|(channel, n)| channel[n..].iter().all(|&r| r == 0));
    (all_read && filled).then_some(payload).ok_or("residuals do not end where their vectors do")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chunk::pcm::bits::BitWriter;
    use proptest::prelude::*;

    /// Residuals of every size, in runs, with the borders of what numbers hold among them.
    fn residuals() -> impl Strategy<Value = Vec<i32>> {
        let border = prop::sample::select(vec![0, -1, (1 << 23) - 1, -(1 << 23), 1 << 23, i32::MAX, i32::MIN]);
        let one = prop_oneof![8 => any::<i32>(), 1 => border];
        let run = (0..32u32, prop::collection::vec(one, 1..900));
        prop::collection::vec(run, 0..8)
            .prop_map(|runs| runs.iter().flat_map(|(shift, run)| run.iter().map(move |r| r >> shift)).collect())
    }

    /// The cells and bits of lanes, one residual after the other.
    fn twin(pace: Pace, residuals: &[i32]) -> (Vec<u16>, Vec<u8>) {
        let n = residuals.len() / LANES;
        let lanes: Vec<&[i32]> = residuals.chunks_exact(n.max(1)).collect();
        let mut means: Vec<u32> = lanes.iter().map(|lane| pace.start(start_log2(lane))).collect();
        let (mut cells, mut bits) = (Vec::new(), BitWriter::default());
        for i in 0..n {
            for (lane, mean) in lanes.iter().zip(&mut means) {
                let (context, k) = pace.context(*mean);
                let (symbol, middle, length) = coded(fold(lane[i]), context, k);
                pace.push(mean, middle, k);
                cells.push((context << 6 | symbol) as u16);
                bits.put(u64::from(fold(lane[i])) & ((1 << length) - 1), length);
            }
        }
        (cells, bits.bytes().to_vec())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(96))]

        /// A register at a time and lane by lane, the same is written and read.
        #[test]
        fn both_ways_agree_and_residuals_come_back(
            given in prop::collection::vec(residuals(), 1..4),
            rate in RATES,
            shape in 0..SHAPES,
            harm in prop::option::of((any::<prop::sample::Index>(), 1..256u16)),
        ) {
            let (mut coder, mut payload) = (Coder::default(), Vec::new());
            let mut filled = given.clone();
            let (fraction, best) = coder.survey(&mut filled, rate);
            prop_assert!(best < SHAPES);
            let pace = Pace::new(rate, fraction).unwrap();
            coder.append(shape, &mut payload);
            let per_channel = vectors_of(given.len());
            let lanes = filled.iter().filter(|channel| !channel.is_empty()).flat_map(|channel| {
                let part = channel.len() / per_channel;
                (0..per_channel).map(move |i| &channel[i * part..][..part])
            });
            prop_assert_eq!(coder.vectors.len(), lanes.clone().count());
            for ((vector, wide), lanes) in coder.vectors.iter().zip(&coder.words).zip(lanes) {
                let (cells, bits) = twin(pace, lanes);
                prop_assert!(vector.cells == cells && vector.bits.bytes() == bits);
                let mut words = [Words::default()];
                rans::write_plainly(&[&cells], &TABLES[shape].symbols, &mut words);
                prop_assert_eq!((words[0].all(), words[0].states), (wide.all(), wide.states));
            }

            let mut back: Vec<Vec<i32>> = given.iter().map(|channel| vec![1; channel.len()]).collect();
            prop_assert_eq!(decode(shape, pace, &mut back, &payload), Ok(&[][..]));
            prop_assert_eq!(&back, &filled);
            for (filled, given) in filled.iter().zip(&given) {
                let (same, zeros) = filled.split_at(given.len());
                prop_assert!(same == given && zeros.iter().all(|&r| r == 0) && zeros.len() < per_channel * LANES);
            }

            if let Some(((at, by), n)) = harm.zip(std::num::NonZeroUsize::new(payload.len())) {
                payload[at.index(n.get())] ^= by as u8;
            }
            let mut rest = &payload[..];
            while let Ok(mut part) = read::Part::open(pace, &mut rest) {
                let mut other = part.clone();
                let (mut found, mut twins) = ([[[0; LANES]; STRETCH]], [[[0; LANES]; STRETCH]]);
                for n in [STRETCH, 5, STRETCH, 0] {
                    read::symbols(&TABLES[shape].slots, pace, n, &mut [&mut part], &mut found);
                    read::symbols_plainly(&TABLES[shape].slots, pace, n, &mut [&mut other], &mut twins);
                    prop_assert_eq!(found, twins);
                    prop_assert_eq!((part.words.states, part.words.at), (other.words.states, other.words.at));
                    prop_assert_eq!(part.means, other.means);
                }
            }
        }
    }

    /// Whatever is read, a mean stays where its contexts are.
    #[test]
    fn means_stay_in_their_range() {
        for (rate, fraction) in RATES.flat_map(|rate| (0..=FRACTION_MAX).map(move |fraction| (rate, fraction))) {
            let pace = Pace::new(rate, fraction).unwrap();
            for start in 0..=START_MAX {
                let mut mean = pace.start(start);
                assert!(mean < 1 << 30);
                for middle in [ESCAPE_MIDDLE; 200].into_iter().chain([1; 200]) {
                    let (context, k) = pace.context(mean);
                    assert!((context as usize) < CONTEXTS && k <= 27);
                    pace.push(&mut mean, middle, k);
                    assert!(mean < 1 << 30);
                }
            }
        }
    }

    #[test]
    fn symbols_stand_for_what_they_were_made_of() {
        for q in 0..128 {
            let (symbol, middle, more) = symbol_of(q);
            let first = first_of(symbol as usize) as u32;
            assert!(first <= q && q < first + (1 << more));
            assert_eq!(middle, 2 * first + (1 << more));
        }
    }
}
