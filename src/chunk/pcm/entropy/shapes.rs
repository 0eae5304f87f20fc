//! Distributions: how often each symbol is to be expected in each context.
//!
//! What is left of music after prediction is nearly Gaussian around its mean (0.0012 bits a sample lost on 16-bit music; a
//! Laplacian loses 0.06), what is left of synthetic sound less so: one of four shapes is chosen for a chunk.
//!
//! # Invariants
//!
//! The tables are computed in whole numbers, from the constants below: they are part of the format.

use super::{CONTEXTS, ESCAPE, LIMITS, SLOTS, SYMBOLS, first_of};

pub(super) const SHAPES: usize = 4;

/// Knots a mean.
const RESOLUTION: u64 = 16;
const KNOTS: usize = 128;

/// Means of the contexts in 1 / 256: `256 / ln(1 + 1 / m)` of the mean `m` in the middle of each context from the ninth on. In those
/// before, where nearly all is 0, means tell less than that says: these are by trial on music shifted down by 7, 9 and 11 bits.
const MEANS: [u64; CONTEXTS] = [
    90, 104, 112, 116, 120, 126, 132, 140, 149, 169, 188, 206, 233, 268, 302, 336, 386, 452, 517, 583, 680, 809, 938,
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
pub(super) struct Shape {
    gauss: [(u64, u64); 2],
    laplace: u64,
}

pub(super) const SHAPE: [Shape; SHAPES] = [
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

/// Frequencies of the symbols in a context: in proportion, of each that can come at least 1; the most frequent takes what rounding
/// leaves.
pub(super) fn frequencies(shape: &Shape, context: usize) -> [u32; SYMBOLS] {
    let mean = MEANS[context % CONTEXTS];
    let limit = u64::from(LIMITS[context / 4 % LIMITS.len()]);
    let laplace_only = context < 5 * 4;
    let comes = |symbol: usize| symbol == ESCAPE || first_of(symbol) < limit;
    let symbols = (0..SYMBOLS).filter(|&symbol| comes(symbol)).count();
    let spread = SLOTS as u64 - symbols as u64;
    let mut out = [0u32; SYMBOLS];
    let mut below = 0u64;
    for (symbol, frequency) in out.iter_mut().enumerate().filter(|(symbol, _)| comes(*symbol)) {
        let next =
            if symbol == ESCAPE { 1 << 32 } else { shape.below(first_of(symbol + 1), mean, laplace_only).min(1 << 32) };
        *frequency = 1 + ((next.saturating_sub(below) * spread) >> 32) as u32; // at most spread
        below = next.max(below);
    }
    let sum: u32 = out.iter().sum(); // at most SLOTS
    let mut most = 0;
    for symbol in 0..SYMBOLS {
        if out[symbol] > out[most] {
            most = symbol;
        }
    }
    out[most] += SLOTS as u32 - sum;
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All frequencies are part of the format.
    #[test]
    fn golden_frequencies() {
        let all = SHAPE.iter().flat_map(|shape| (0..CONTEXTS).flat_map(move |context| frequencies(shape, context)));
        let fnv = |hash: u64, frequency: u32| (hash ^ u64::from(frequency)).wrapping_mul(0x100_0000_01b3);
        assert_eq!(all.fold(0xcbf2_9ce4_8422_2325, fnv), 14713399267117502283);
    }

    #[test]
    fn frequencies_sum_up_and_every_symbol_that_can_come_has_one() {
        for (shape, context) in SHAPE.iter().flat_map(|shape| (0..CONTEXTS).map(move |context| (shape, context))) {
            let all = frequencies(shape, context);
            assert_eq!(all.iter().sum::<u32>(), SLOTS as u32);
            for (symbol, &frequency) in all.iter().enumerate() {
                let comes = symbol == ESCAPE || first_of(symbol) < u64::from(LIMITS[context / 4]);
                assert_eq!(comes, frequency > 0, "{symbol} in {context}");
                assert!(frequency < SLOTS as u32);
            }
        }
    }
}
