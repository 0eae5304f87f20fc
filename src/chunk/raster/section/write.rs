//! The encoder's loops: residuals to cells of tables, cells to words, residuals to the bits below their tokens.
//!
//! # Invariants
//!
//! What they write is what `read` reads, and the same however they are compiled.

use super::super::lanes::{CELLS, Lanes, PAD, STRETCH, VECTORS};
use super::super::tokens::{LEVELS, TOKEN_BITS, bits_below, token};
use super::turn::to_vector;
use super::{FREQUENCY_BITS, below};
use crate::chunk::rans::{self, LANES, Symbol, Words};
#[cfg(target_arch = "x86_64")]
use crate::chunk::wide::is_wide;
use crate::chunk::wide::wide;

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

/// Writes tokens as words.
pub fn write_tokens(
    lanes: &Lanes,
    cells: &[u16],
    symbols: &[Symbol<FREQUENCY_BITS>; CELLS],
    to: &mut [Words; VECTORS],
) {
    let n = lanes.tokens();
    let cells: [&[u16]; VECTORS] = std::array::from_fn(|g| cells.get(g * n..(g + 1) * n).unwrap_or_default());
    rans::write(&cells[..lanes.count], symbols, &mut to[..lanes.count]);
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
