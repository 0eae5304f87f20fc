//! The encoder's loops: residuals to places, places to words, residuals to the bits below their tokens.
//!
//! # Invariants
//!
//! What they write is what `read` reads, and the same in both compilations.

use super::super::lanes::{LANES, Lanes, PAD, PLACES, STRETCH};
use super::super::tokens::{LEVELS, TOKEN_BITS, bits_below, token};
use super::super::wide;
use super::{FREQUENCY_BITS, SLOTS};

/// How a token is coded in a context.
#[derive(Clone, Copy, Default)]
pub struct Symbol {
    /// 2^64 divided by the frequency, rounded up; 2^64 - 1 if that is 1.
    inverse: u64,
    /// The greatest state that takes the token as it is.
    most: u32,
    bias: u16,
    /// [`SLOTS`] without the frequency.
    step: u16,
}

impl Symbol {
    /// `frequency` of [`SLOTS`], `start` of them before it. The high half of `x * inverse` is `x / frequency` for every x
    /// below 2^32: the inverse is too large by less than one, the product by less than 2^32, and the least by which a
    /// quotient misses the next is 2^64 / 2^11. Of a frequency of 1 it is one too few, and the bias puts it right.
    pub fn new(frequency: u16, start: u32) -> Symbol {
        let f = u64::from(frequency).max(1);
        let (inverse, bias) = match f {
            1 => (u64::MAX, start + SLOTS as u32 - 1),
            _ => ((1u128 << 64).div_ceil(f.into()) as u64, start), // below 2^64, since f is 2 at least
        };
        // A frequency is at most SLOTS: then no state but those below 2^32. All are below 2^16.
        let most = ((f << (32 - FREQUENCY_BITS)) - 1) as u32;
        Symbol { inverse, most, bias: bias as u16, step: SLOTS as u16 - f as u16 }
    }

    /// Takes the token into a state: `x / f * 2^11 + start + x % f`. The low half of the state leaves before, if it must;
    /// returns whether.
    #[inline(always)]
    pub fn take(&self, state: &mut u32) -> bool {
        let x = *state;
        // No branch: whether a word leaves is as good as random.
        let leaves = x > self.most;
        let x = if leaves { x >> 16 } else { x };
        let quotient = ((u128::from(x) * u128::from(self.inverse)) >> 64) as u32; // no more than x
        let bias = x.wrapping_add(self.bias.into());
        *state = bias.wrapping_add(quotient.wrapping_mul(self.step.into())); // below 2^32
        leaves
    }
}

#[inline(always)]
pub fn survey_body(
    lanes: &Lanes,
    u: &[u16],
    tokens: &mut [u8],
    places: &mut [u16],
    counts: &mut [u32; PLACES],
    others: &mut Vec<u32>,
) {
    let stride = lanes.stride();
    for (t, u) in tokens.chunks_exact_mut(stride).zip(u.chunks_exact(lanes.len.max(1))) {
        for (t, &u) in t[PAD..].iter_mut().zip(u) {
            *t = token(u);
        }
    }
    lanes.places(tokens, places);
    // Neighbours are often counted in one place: in turns in four tables, so that they need not wait for each other.
    let used = (lanes.classes * LEVELS) << TOKEN_BITS;
    others.clear();
    others.resize(3 * PLACES, 0);
    let [second, third, fourth] = others.as_chunks_mut::<PLACES>().0 else { return };
    let count = |counts: &mut [u32; PLACES], place: u16| {
        let n = &mut counts[usize::from(place) % PLACES];
        *n = n.wrapping_add(1); // fewer than 2^32 samples
    };
    let (fours, last) = places.as_chunks::<4>();
    for [a, b, c, d] in fours {
        count(counts, *a);
        count(second, *b);
        count(third, *c);
        count(fourth, *d);
    }
    for place in last {
        count(counts, *place);
    }
    for other in [second, third, fourth] {
        for (n, other) in counts[..used].iter_mut().zip(other) {
            *n = n.wrapping_add(*other);
        }
    }
}
wide! {
    /// The tokens of residuals, their places, and how often each comes. `counts` are noughts.
    pub fn survey(lanes: &Lanes, u: &[u16], tokens: &mut [u8], places: &mut [u16], counts: &mut [u32; PLACES], others: &mut Vec<u32>) = survey_body
}

#[inline(always)]
fn write_lanes<const N: usize>(
    len: usize,
    places: &[u16],
    symbols: &[Symbol; PLACES],
    states: &mut [u32; LANES],
    words: &mut [u16],
) -> usize {
    let places: [&[u16]; N] = std::array::from_fn(|j| &places[j * len..][..len]);
    let mut x: [u32; N] = std::array::from_fn(|j| states[j]); // N is at most LANES
    let mut at = 0;
    for i in (0..len).rev() {
        for j in (0..N).rev() {
            let symbol = &symbols[usize::from(places[j][i]) % PLACES];
            words[at] = x[j] as u16; // the low half
            at = at.wrapping_add(usize::from(symbol.take(&mut x[j]))); // at most one a token
        }
    }
    states[..N].copy_from_slice(&x);
    at
}

#[inline(always)]
fn write_tokens_body(
    lanes: &Lanes,
    places: &[u16],
    symbols: &[Symbol; PLACES],
    states: &mut [u32; LANES],
    words: &mut [u16],
) -> usize {
    match lanes.count {
        3 => write_lanes::<3>(lanes.len, places, symbols, states, words),
        _ => write_lanes::<4>(lanes.len, places, symbols, states, words),
    }
}
wide! {
    /// Writes tokens from the last to the first, so that a decoder meets them from the first on. `words` has room for one
    /// a token and one more; returns how many there are.
    pub fn write_tokens(
        lanes: &Lanes,
        places: &[u16],
        symbols: &[Symbol; PLACES],
        states: &mut [u32; LANES],
        words: &mut [u16],
    ) -> usize = write_tokens_body
}

/// Room for a stretch, kept from one to the next.
struct Room {
    values: [u64; STRETCH],
    counts: [u8; STRETCH],
    /// Of two lanes each.
    halves: [[u32; STRETCH]; 2],
    lengths: [[u32; STRETCH]; 2],
}

/// Bits of a stretch: of each place, those of all its lanes, and how many they are.
#[inline(always)]
fn gather<const N: usize>(tokens: &[&[u8]; N], u: &[&[u16]; N], room: &mut Room, n: usize) {
    let Room { values: out, counts, halves, lengths } = room;
    // Of each lane at most 13 bits: of two at most 26, of all at most 52.
    for j in 0..N {
        let (tokens, u) = (&tokens[j][..n], &u[j][..n]);
        let (half, length) = (&mut halves[j / 2][..n], &mut lengths[j / 2][..n]);
        for k in 0..n {
            let bits = bits_below(tokens[k]);
            let value = u32::from(u[k]) & ((1u32 << (bits & 31)) - 1);
            if j % 2 == 0 {
                (half[k], length[k]) = (value, bits);
            } else {
                half[k] |= value << (length[k] & 31);
                length[k] = length[k].wrapping_add(bits);
            }
        }
    }
    for k in 0..n {
        out[k] = u64::from(halves[0][k]) | u64::from(halves[1][k]) << (lengths[0][k] & 63);
        counts[k] = lengths[0][k].wrapping_add(lengths[1][k]) as u8;
    }
}

#[inline(always)]
fn write_bits_of<const N: usize>(lanes: &Lanes, tokens: &[u8], u: &[u16], out: &mut Vec<u8>) {
    let stride = lanes.stride();
    let (mut hold, mut held) = (0u64, 0u32);
    // Of each stretch no more than 13 bits a residual come, and eight bytes are written at a time.
    let mut bytes = [0u8; STRETCH * LANES * 2 + 8];
    const NONE: [[u32; STRETCH]; 2] = [[0; STRETCH]; 2];
    let mut room = Room { values: [0; STRETCH], counts: [0; STRETCH], halves: NONE, lengths: NONE };
    let mut i = 0;
    while i < lanes.len {
        let n = STRETCH.min(lanes.len - i);
        let t: [&[u8]; N] = std::array::from_fn(|j| &tokens[j * stride + PAD + i..][..n]);
        let u: [&[u16]; N] = std::array::from_fn(|j| &u[j * lanes.len + i..][..n]);
        gather(&t, &u, &mut room, n);
        let mut at = 0;
        for (&value, &count) in room.values.iter().zip(&room.counts).take(n) {
            hold |= value << held;
            held = held.wrapping_add(count.into()); // at most 7 and 52
            bytes[at..at + 8].copy_from_slice(&hold.to_le_bytes());
            at += (held / 8) as usize; // as many as are full
            hold >>= held & !7 & 63;
            held &= 7;
        }
        out.extend_from_slice(&bytes[..at]);
        i += n;
    }
    out.extend_from_slice(&hold.to_le_bytes()[..held.div_ceil(8) as usize]);
}

#[inline(always)]
pub fn write_bits_body(lanes: &Lanes, tokens: &[u8], u: &[u16], out: &mut Vec<u8>) {
    match lanes.count {
        3 => write_bits_of::<3>(lanes, tokens, u, out),
        _ => write_bits_of::<4>(lanes, tokens, u, out),
    }
}
wide! {
    /// Writes the bits below the tokens.
    pub fn write_bits(lanes: &Lanes, tokens: &[u8], u: &[u16], out: &mut Vec<u8>) = write_bits_body
}
