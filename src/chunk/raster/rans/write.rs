//! The encoder's loops: residuals to cells of tables, cells to words, residuals to the bits below their tokens.
//!
//! # Invariants
//!
//! What they write is what `read` reads, and the same however they are compiled.

#[cfg(target_arch = "x86_64")]
use super::super::is_wide;
use super::super::lanes::{CELLS, LANES, Lanes, PAD, STRETCH, VECTORS};
use super::super::tokens::{LEVELS, TOKEN_BITS, bits_below, token};
use super::super::wide;
use super::turn::to_vector;
use super::{FREQUENCY_BITS, SLOTS, STATE_BITS, below};

/// How a token is coded in a context.
#[derive(Clone, Copy, Default)]
#[repr(C)]
pub struct Symbol {
    /// 2^(31 + shift) divided by the frequency, rounded up; 2^32 - 1 if that is 1.
    inverse: u32,
    /// The frequency, what is added to a state, and how far the high half of a product is shifted.
    rest: u32,
}

const BIAS_SHIFT: u32 = 12;
const SHIFT_SHIFT: u32 = 24;
const LOW: u32 = 0xfff;

impl Symbol {
    /// `frequency` of [`SLOTS`], `start` of them before it. The high half of `x * inverse`, shifted, is `x / frequency` for
    /// every x below 2^31 (Granlund and Montgomery 1994, as Giesen's `rans_byte` has it). Of a frequency of 1 it is one too few,
    /// and the bias puts it right.
    pub fn new(frequency: u16, start: u32) -> Symbol {
        let f = u64::from(frequency).max(1);
        let shift = u64::BITS - (f - 1).leading_zeros(); // 2^shift is f or the power of two above it
        let (inverse, bias, shift) = match f {
            1 => (u64::from(u32::MAX), start + SLOTS as u32 - 1, 0),
            _ => ((1u64 << (shift + 31)).div_ceil(f), start, shift - 1), // below 2^32, since 2^shift < 2 f
        };
        Symbol { inverse: inverse as u32, rest: f as u32 | bias << BIAS_SHIFT | shift << SHIFT_SHIFT }
    }

    /// Takes the token into a state: `x / f * 2^FREQUENCY_BITS + start + x % f`. The low half of the state leaves before, if it must;
    /// returns whether.
    #[inline(always)]
    pub fn take(self, state: &mut u32) -> bool {
        let x = *state;
        let f = self.rest & LOW;
        let leaves = x >> (STATE_BITS + 16 - FREQUENCY_BITS) >= f;
        let x = if leaves { x >> 16 } else { x };
        let quotient = ((u64::from(x) * u64::from(self.inverse)) >> 32) as u32 >> (self.rest >> SHIFT_SHIFT); // no more than x
        let bias = x.wrapping_add(self.rest >> BIAS_SHIFT & LOW);
        *state = bias.wrapping_add(quotient.wrapping_mul((SLOTS as u32).wrapping_sub(f))); // below 2^31
        leaves
    }
}

/// What is known of all residuals before they are written: in each vector place by place.
#[derive(Default)]
pub struct Survey {
    /// The residuals, vector behind vector.
    pub values: Vec<u16>,
    /// Their tokens, a pad in front of each vector.
    pub tokens: Vec<u8>,
    /// Their cells (see [`Lanes::cells`]), vector behind vector.
    pub cells: Vec<u16>,
}

impl Survey {
    pub fn make_room(&mut self, lanes: &Lanes) {
        let n = lanes.tokens() * lanes.count;
        self.values.resize(n, 0);
        self.cells.resize(n, 0);
        pad(lanes, &mut self.tokens);
    }
}

/// Room for tokens, with zeros in front of each vector. What stands in the vectors is of no account: each token is written
/// before it is read.
pub fn pad(lanes: &Lanes, tokens: &mut Vec<u8>) {
    tokens.resize(lanes.stride() * lanes.count, 0);
    for vector in tokens.chunks_exact_mut(lanes.stride()) {
        vector[..PAD].fill(0);
    }
}

#[inline(always)]
pub fn survey_body(lanes: &Lanes, u: &[u16], to: &mut Survey, counts: &mut [u32; CELLS], others: &mut Vec<u32>) {
    let (stride, n) = (lanes.stride(), lanes.tokens());
    for (g, vector) in lanes.vectors().iter().enumerate() {
        let (values, tokens) = (&mut to.values[g * n..][..n], &mut to.tokens[g * stride + PAD..][..n]);
        for i in (0..n).step_by(STRETCH) {
            let end = n.min(i + STRETCH);
            to_vector(u, lanes, vector, i / LANES, &mut values[i..end]);
            for (t, &u) in tokens[i..end].iter_mut().zip(&values[i..end]) {
                *t = token(u);
            }
        }
    }
    lanes.cells(&to.tokens, &mut to.cells);
    // Neighbours are often counted in one cell: in turns in four tables, so that they need not wait for each other.
    let used = (lanes.classes * LEVELS) << TOKEN_BITS;
    others.clear();
    others.resize(3 * CELLS, 0);
    let [second, third, fourth] = others.as_chunks_mut::<CELLS>().0 else { return };
    let count = |counts: &mut [u32; CELLS], cell: u16| {
        let n = &mut counts[usize::from(cell) % CELLS];
        *n = n.wrapping_add(1); // fewer than 2^32 samples
    };
    for [a, b, c, d] in to.cells.as_chunks::<4>().0 {
        count(counts, *a);
        count(second, *b);
        count(third, *c);
        count(fourth, *d);
    }
    for other in [second, third, fourth] {
        for (n, other) in counts[..used].iter_mut().zip(other) {
            *n = n.wrapping_add(*other);
        }
    }
}
wide! {
    /// The tokens of residuals, their cells, and how often each comes. `counts` are noughts.
    pub fn survey(lanes: &Lanes, u: &[u16], to: &mut Survey, counts: &mut [u32; CELLS], others: &mut Vec<u32>) = survey_body
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
    /// Room for one word a token, and for eight at once.
    fn make_room(&mut self, tokens: usize) {
        self.room.resize(tokens + LANES, 0);
        self.from = self.room.len();
        self.states = [1 << STATE_BITS; LANES];
    }

    pub fn all(&self) -> &[u16] {
        self.room.get(self.from..).unwrap_or_default()
    }
}

/// Writes tokens from the last to the first, so that a decoder meets them from the first on.
pub fn write_tokens(lanes: &Lanes, cells: &[u16], symbols: &[Symbol; CELLS], to: &mut [Words; VECTORS]) {
    #[cfg(target_arch = "x86_64")]
    if is_wide() {
        to.iter_mut().take(lanes.count).for_each(|to| to.make_room(lanes.tokens()));
        // SAFETY: the processor has what it needs.
        return unsafe { avx2::write(lanes, cells, symbols, to) };
    }
    write_tokens_plainly(lanes, cells, symbols, to);
}

pub fn write_tokens_plainly(lanes: &Lanes, cells: &[u16], symbols: &[Symbol; CELLS], to: &mut [Words; VECTORS]) {
    let n = lanes.tokens();
    for (g, to) in to.iter_mut().enumerate().take(lanes.count) {
        to.make_room(n);
        for cells in cells[g * n..][..n].as_chunks::<LANES>().0.iter().rev() {
            for (&cell, state) in cells.iter().zip(&mut to.states).rev() {
                let low = *state as u16; // the low half
                if symbols[usize::from(cell) % CELLS].take(state) {
                    to.from -= 1; // there is room for one a token
                    to.room[to.from] = low;
                }
            }
        }
    }
}

#[cfg(target_arch = "x86_64")]
mod avx2 {
    use super::super::wide::{MARKED, load_16};
    use super::*;
    use std::arch::x86_64::*;

    /// What [`super::write_tokens_plainly`] does, a vector at once.
    #[target_feature(enable = "avx2,bmi1,bmi2,lzcnt,popcnt")]
    pub fn write(lanes: &Lanes, cells: &[u16], symbols: &[Symbol; CELLS], to: &mut [Words; VECTORS]) {
        match lanes.count {
            2 => vectors::<2>(lanes.tokens(), cells, symbols, to),
            3 => vectors::<3>(lanes.tokens(), cells, symbols, to),
            4 => vectors::<4>(lanes.tokens(), cells, symbols, to),
            _ => {} // there are at least two, see `Lanes::new`
        }
    }

    #[inline]
    #[target_feature(enable = "avx2,bmi1,bmi2,lzcnt,popcnt")]
    fn vectors<const N: usize>(n: usize, cells: &[u16], symbols: &[Symbol; CELLS], to: &mut [Words; VECTORS]) {
        let mut x = [_mm256_set1_epi32(1 << STATE_BITS); N];
        let cells: [&[[u16; LANES]]; N] = std::array::from_fn(|g| cells[g * n..][..n].as_chunks().0);
        let mut from: [usize; N] = std::array::from_fn(|g| to[g].from);
        let table = symbols.as_ptr().cast::<i32>();
        for i in (0..n / LANES).rev() {
            for g in 0..N {
                let at = _mm256_cvtepu16_epi32(load_16(&cells[g][i]));
                let at = _mm256_and_si256(at, _mm256_set1_epi32(CELLS as i32 - 1));
                // SAFETY: cells are below CELLS, a power of two; each symbol is two numbers of four bytes.
                let (inverse, rest) =
                    unsafe { (_mm256_i32gather_epi32::<8>(table, at), _mm256_i32gather_epi32::<8>(table.add(1), at)) };
                let f = _mm256_and_si256(rest, _mm256_set1_epi32(LOW as i32));
                // States and frequencies are below 2^31, so that signs do not matter.
                let most = _mm256_srli_epi32(x[g], (STATE_BITS + 16 - FREQUENCY_BITS) as i32);
                let stays = _mm256_cmpgt_epi32(f, most);
                let which = !_mm256_movemask_ps(_mm256_castsi256_ps(stays)) as usize & 0xff;
                let order = _mm256_cvtepu8_epi32(_mm_cvtsi64_si128(MARKED[which]));
                let low = _mm256_and_si256(_mm256_permutevar8x32_epi32(x[g], order), _mm256_set1_epi32(0xffff));
                let low = _mm_packus_epi32(_mm256_castsi256_si128(low), _mm256_extracti128_si256(low, 1));
                if let Some(room) = to[g].room.get_mut(from[g].wrapping_sub(LANES)..from[g]) {
                    // SAFETY: these are eight numbers of two bytes. What is not a word is written again by the next ones.
                    unsafe { _mm_storeu_si128(room.as_mut_ptr().cast(), low) };
                }
                from[g] -= which.count_ones() as usize; // at most one a token
                let less = _mm256_blendv_epi8(_mm256_srli_epi32(x[g], 16), x[g], stays);
                let even = _mm256_srli_epi64(_mm256_mul_epu32(less, inverse), 32);
                let odd = _mm256_mul_epu32(_mm256_srli_epi64(less, 32), _mm256_srli_epi64(inverse, 32));
                let quotient = _mm256_blend_epi32::<0b1010_1010>(even, odd);
                let quotient = _mm256_srlv_epi32(quotient, _mm256_srli_epi32(rest, SHIFT_SHIFT as i32));
                let bias = _mm256_and_si256(_mm256_srli_epi32(rest, BIAS_SHIFT as i32), _mm256_set1_epi32(LOW as i32));
                let step = _mm256_mullo_epi32(quotient, _mm256_sub_epi32(_mm256_set1_epi32(SLOTS as i32), f));
                x[g] = _mm256_add_epi32(_mm256_add_epi32(less, bias), step);
            }
        }
        for ((to, x), from) in to.iter_mut().zip(x).zip(from) {
            to.from = from;
            // SAFETY: there is room for eight numbers.
            unsafe { _mm256_storeu_si256(to.states.as_mut_ptr().cast(), x) };
        }
    }
}

/// Appends the bits below a vector's tokens.
pub fn write_bits(t: &[u8], u: &[u16], out: &mut Vec<u8>) {
    #[cfg(target_arch = "x86_64")]
    if is_wide() {
        #[target_feature(enable = "avx2,bmi1,bmi2,lzcnt,popcnt")]
        fn wider(t: &[u8], u: &[u16], out: &mut Vec<u8>) {
            write_bits_body(t, u, out, |four, mask| std::arch::x86_64::_pext_u64(four, mask));
        }
        // SAFETY: the processor has what it needs.
        return unsafe { wider(t, u, out) };
    }
    write_bits_plainly(t, u, out);
}

pub fn write_bits_plainly(t: &[u8], u: &[u16], out: &mut Vec<u8>) {
    write_bits_body(t, u, out, below::extract);
}

#[inline(always)]
fn write_bits_body(t: &[u8], u: &[u16], out: &mut Vec<u8>, extract: impl Fn(u64, u64) -> u64) {
    let (mut hold, mut held) = (0u64, 0u32);
    // Of each stretch no more than 13 bits a residual come, and eight bytes are written at a time.
    let mut bytes = [0u8; STRETCH * 2 + 8];
    let mut masks = [0u16; STRETCH];
    for (t, u) in t.chunks(STRETCH).zip(u.chunks(STRETCH)) {
        for (mask, &token) in masks.iter_mut().zip(t) {
            *mask = (1u16 << (bits_below(token) & 15)).wrapping_sub(1);
        }
        let mut at = 0;
        for (four, mask) in u.as_chunks::<4>().0.iter().zip(masks.as_chunks::<4>().0) {
            let mask = below::join(*mask);
            hold |= extract(below::join(*four), mask) << held;
            held = held.wrapping_add(mask.count_ones()); // at most 7 and 52
            bytes[at..at + 8].copy_from_slice(&hold.to_le_bytes());
            at += (held / 8) as usize; // as many as are full
            hold >>= held & !7 & 63;
            held &= 7;
        }
        out.extend_from_slice(&bytes[..at]);
    }
    out.extend_from_slice(&hold.to_le_bytes()[..held.div_ceil(8) as usize]);
}
