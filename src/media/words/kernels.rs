//! The loops over words: each is written so that the compiler makes vectors of it.
//!
//! Knows nothing of parameters, parts and tracks. Bytes beyond the last whole word are not looked at.
//!
//! # Invariants
//!
//! `spread(narrow(words)) == words` where the bytes left out are zero, and `floats(pack(integers(words))) == words` but
//! for the corrections.

use crate::format::wire::Put;

/// Floats looked at in one go.
const GO: usize = 512;

/// What floats of a segment are as integers.
#[derive(Clone, Debug, Default)]
pub struct Integers {
    /// The full scale of a float is that of 32 bits.
    pub values: Vec<i32>,
    /// Of words that are no such integer, see [`super`].
    pub corrections: Vec<u8>,
    /// Bits that are set in any value but the corrected ones.
    used: u32,
}

impl Integers {
    /// The fewest bytes that hold all values that are not corrected.
    pub fn used_bytes(&self) -> u8 {
        bytes_above(self.used)
    }
}

/// Bytes of a 32-bit word without the low ones that are zero.
fn bytes_above(used: u32) -> u8 {
    4 - (used.trailing_zeros() / 8).min(4) as u8 // at most 4
}

/// The fewest highest bytes of the words, 2 to 4 bytes each, that hold all there is; 0 for silence.
pub fn used_bytes(file: &[u8], bytes: u8, big_endian: bool) -> u8 {
    match bytes {
        3 => used_of::<3, 48>(file, big_endian),
        4 => used_of::<4, 64>(file, big_endian),
        _ => bytes, // a narrower one is not looked for
    }
}

/// `L` is a multiple of `N`.
fn used_of<const N: usize, const L: usize>(file: &[u8], big_endian: bool) -> u8 {
    let mut used = [0_u8; N];
    // Mostly the first words tell that all is used.
    for go in file.chunks(L * 512) {
        let mut lanes = [0_u8; L];
        let (rows, rest) = go.as_chunks::<L>();
        for row in rows {
            for (lane, byte) in lanes.iter_mut().zip(row) {
                *lane |= byte;
            }
        }
        for word in lanes.as_chunks::<N>().0.iter().chain(rest.as_chunks::<N>().0) {
            for (used, byte) in used.iter_mut().zip(word) {
                *used |= byte;
            }
        }
        if used[if big_endian { N - 1 } else { 0 }] != 0 {
            break;
        }
    }
    if big_endian {
        used.reverse();
    }
    // Places from the lowest byte on; N is at most 4.
    N as u8 - used.iter().position(|&b| b != 0).unwrap_or(N) as u8
}

/// Integers in words of `bytes` to signed ones of `width` bytes, the highest of them. `flip` turns bits of the highest.
pub fn narrow(file: &[u8], bytes: u8, big_endian: bool, width: u8, flip: u8) -> Vec<u8> {
    let go = match (bytes, width, big_endian) {
        (1, 1, _) => narrow_of::<1, 1, false>,
        (2, 1, false) => narrow_of::<2, 1, false>,
        (2, 1, true) => narrow_of::<2, 1, true>,
        (2, 2, false) => narrow_of::<2, 2, false>,
        (2, 2, true) => narrow_of_two,
        (3, 1, false) => narrow_of::<3, 1, false>,
        (3, 1, true) => narrow_of::<3, 1, true>,
        (3, 2, false) => narrow_of::<3, 2, false>,
        (3, 2, true) => narrow_of::<3, 2, true>,
        (3, 3, false) => narrow_of::<3, 3, false>,
        (3, 3, true) => narrow_of::<3, 3, true>,
        (4, 1, false) => narrow_of::<4, 1, false>,
        (4, 1, true) => narrow_of::<4, 1, true>,
        (4, 2, false) => narrow_of::<4, 2, false>,
        (4, 2, true) => narrow_of::<4, 2, true>,
        (4, 3, false) => narrow_of::<4, 3, false>,
        (4, 3, true) => narrow_of::<4, 3, true>,
        (4, 4, false) => narrow_of::<4, 4, false>,
        (4, 4, true) => narrow_of::<4, 4, true>,
        (8, 8, false) => narrow_of::<8, 8, false>,
        _ => narrow_of::<8, 8, true>, // there is nothing else, see `Word::takes`
    };
    go(file, flip)
}

fn narrow_of<const N: usize, const W: usize, const BIG: bool>(file: &[u8], flip: u8) -> Vec<u8> {
    let (words, _) = file.as_chunks::<N>();
    let mut out = vec![0; words.len() * W]; // at most as long as the file
    for (word, sample) in words.iter().zip(out.as_chunks_mut::<W>().0) {
        for (k, byte) in sample.iter_mut().enumerate() {
            *byte = word[if BIG { W - 1 - k } else { N - W + k }]; // W <= N
        }
        sample[W - 1] ^= flip;
    }
    out
}

/// As the general case, which the compiler makes no such vectors of: half as fast again.
fn narrow_of_two(file: &[u8], flip: u8) -> Vec<u8> {
    let (words, _) = file.as_chunks::<2>();
    let mut out = vec![0; words.len() * 2];
    for (word, sample) in words.iter().zip(out.as_chunks_mut::<2>().0) {
        *sample = (u16::from_be_bytes(*word) ^ u16::from(flip) << 8).to_le_bytes();
    }
    out
}

/// The way back of [`narrow_of_two`].
fn spread_of_two(samples: &[u8], flip: u8) -> Vec<u8> {
    let (samples, _) = samples.as_chunks::<2>();
    let mut out = vec![0; samples.len() * 2];
    for (sample, word) in samples.iter().zip(out.as_chunks_mut::<2>().0) {
        *word = (u16::from_le_bytes(*sample) ^ u16::from(flip) << 8).to_be_bytes();
    }
    out
}

/// The way back of [`narrow`].
pub fn spread(samples: &[u8], width: u8, flip: u8, bytes: u8, big_endian: bool) -> Vec<u8> {
    let go = match (bytes, width, big_endian) {
        (1, 1, _) => spread_of::<1, 1, false>,
        (2, 1, false) => spread_of::<2, 1, false>,
        (2, 1, true) => spread_of::<2, 1, true>,
        (2, 2, false) => spread_of::<2, 2, false>,
        (2, 2, true) => spread_of_two,
        (3, 1, false) => spread_of::<3, 1, false>,
        (3, 1, true) => spread_of::<3, 1, true>,
        (3, 2, false) => spread_of::<3, 2, false>,
        (3, 2, true) => spread_of::<3, 2, true>,
        (3, 3, false) => spread_of::<3, 3, false>,
        (3, 3, true) => spread_of::<3, 3, true>,
        (4, 1, false) => spread_of::<4, 1, false>,
        (4, 1, true) => spread_of::<4, 1, true>,
        (4, 2, false) => spread_of::<4, 2, false>,
        (4, 2, true) => spread_of::<4, 2, true>,
        (4, 3, false) => spread_of::<4, 3, false>,
        (4, 3, true) => spread_of::<4, 3, true>,
        (4, 4, false) => spread_of::<4, 4, false>,
        (4, 4, true) => spread_of::<4, 4, true>,
        (8, 8, false) => spread_of::<8, 8, false>,
        _ => spread_of::<8, 8, true>, // there is nothing else, see `Word::takes`
    };
    go(samples, flip)
}

fn spread_of<const N: usize, const W: usize, const BIG: bool>(samples: &[u8], flip: u8) -> Vec<u8> {
    let (samples, _) = samples.as_chunks::<W>();
    let mut out = vec![0; samples.len() * N];
    for (sample, word) in samples.iter().zip(out.as_chunks_mut::<N>().0) {
        for (k, &byte) in sample.iter().enumerate() {
            word[if BIG { W - 1 - k } else { N - W + k }] = byte; // W <= N
        }
        word[if BIG { 0 } else { N - 1 }] ^= flip;
    }
    out
}

/// Finds the integers that floats are; false if more than `most` are none.
///
/// A float of 4 bytes is one of 24 bits over 2^23, one of 8 bytes one of 32 bits over 2^31. What is beyond full scale
/// becomes the nearest, what is between two becomes one of them: those have a correction.
pub fn integers(file: &[u8], bytes: u8, big_endian: bool, most: usize, into: &mut Integers) -> bool {
    match (bytes, big_endian) {
        (4, false) => look::<4, false>(file, most, into, |go, values| singles(go, values, u32::from_le_bytes)),
        (4, true) => look::<4, true>(file, most, into, |go, values| singles(go, values, u32::from_be_bytes)),
        (_, false) => look::<8, false>(file, most, into, |go, values| doubles(go, values, u64::from_le_bytes)),
        (_, true) => look::<8, true>(file, most, into, |go, values| doubles(go, values, u64::from_be_bytes)),
    }
}

/// `convert` says which bits are used, and whether all values are what the words are.
fn look<const N: usize, const BIG: bool>(
    file: &[u8],
    most: usize,
    into: &mut Integers,
    convert: impl Fn(&[[u8; N]], &mut [i32]) -> (u32, bool),
) -> bool {
    let (words, _) = file.as_chunks::<N>();
    into.corrections.clear();
    into.values.resize(words.len(), 0); // all of them are written below
    into.used = 0;
    let (mut count, mut skip) = (0, 0_u64);
    for (words, values) in words.chunks(GO).zip(into.values.chunks_mut(GO)) {
        let (used, whole) = convert(words, values);
        into.used |= used;
        if whole {
            skip += words.len() as u64; // at most the words of the file
            continue;
        }
        for (word, value) in words.iter().zip(values) {
            if convert(&[*word], std::slice::from_mut(value)).1 {
                skip += 1;
                continue;
            }
            count += 1;
            if count > most {
                return false;
            }
            into.corrections.put_varint(skip);
            // The least significant byte first: so it is the same from either order.
            let mut bits = *word;
            if BIG {
                bits.reverse();
            }
            into.corrections.put(&bits);
            skip = 0;
        }
    }
    true
}

/// Values of floats of 4 bytes; says which of their bits are used, and whether all floats are what the values say.
#[inline(always)]
fn singles(words: &[[u8; 4]], values: &mut [i32], bits: impl Fn([u8; 4]) -> u32) -> (u32, bool) {
    const SCALE: f32 = 8_388_608.0; // 2^23: multiplying by it, or by its inverse, changes the exponent only
    const MOST: i32 = (1 << 23) - 1;
    let (mut used, mut odd) = (0, 0);
    for (word, value) in words.iter().zip(values) {
        let bits = bits(*word);
        // Towards zero, and to the ends of the range.
        let n = ((f32::from_bits(bits) * SCALE) as i32).clamp(-MOST - 1, MOST);
        // Exact: `n` has 24 bits. Not a number, minus zero, fractions and what is too large come back as others.
        let differs = (n as f32 * (1.0 / SCALE)).to_bits() ^ bits;
        let mask = if differs == 0 { u32::MAX } else { 0 };
        *value = n << 8;
        used |= n.cast_unsigned() << 8 & mask;
        odd |= differs;
    }
    (used, odd == 0)
}

/// As [`singles`] for floats of 8 bytes.
#[inline(always)]
fn doubles(words: &[[u8; 8]], values: &mut [i32], bits: impl Fn([u8; 8]) -> u64) -> (u32, bool) {
    const SCALE: f64 = 2_147_483_648.0; // 2^31
    let (mut used, mut odd) = (0, 0);
    for (word, value) in words.iter().zip(values) {
        let bits = bits(*word);
        let n = (f64::from_bits(bits) * SCALE) as i32;
        // Exact: a double has room for 53 bits.
        let differs = (f64::from(n) * (1.0 / SCALE)).to_bits() ^ bits;
        let mask = if differs == 0 { u32::MAX } else { 0 };
        *value = n;
        used |= n.cast_unsigned() & mask;
        odd |= differs;
    }
    (used, odd == 0)
}

/// The highest `width` bytes of each value, the least significant first.
pub fn pack(values: &[i32], width: u8) -> Vec<u8> {
    match width {
        1 => pack_of::<1>(values),
        2 => pack_of::<2>(values),
        3 => pack_of::<3>(values),
        _ => pack_of::<4>(values), // see `Word::takes`
    }
}

fn pack_of<const W: usize>(values: &[i32]) -> Vec<u8> {
    let mut out = vec![0; values.len() * W]; // at most 4 bytes a value: no more than there are of the file
    for (value, sample) in values.iter().zip(out.as_chunks_mut::<W>().0) {
        let bytes = value.to_le_bytes();
        sample.copy_from_slice(&bytes[4 - W..]); // W is 1 to 4
    }
    out
}

/// Floats of samples: the way back of [`integers`] and [`pack`], but for corrections.
pub fn floats(samples: &[u8], width: u8, bytes: u8, big_endian: bool) -> Vec<u8> {
    match width {
        1 => floats_of::<1>(samples, bytes, big_endian),
        2 => floats_of::<2>(samples, bytes, big_endian),
        3 => floats_of::<3>(samples, bytes, big_endian),
        _ => floats_of::<4>(samples, bytes, big_endian),
    }
}

fn floats_of<const W: usize>(samples: &[u8], bytes: u8, big_endian: bool) -> Vec<u8> {
    match (bytes, big_endian) {
        (4, false) => floats_to::<W, 4>(samples, |n| single(n).to_le_bytes()),
        (4, true) => floats_to::<W, 4>(samples, |n| single(n).to_be_bytes()),
        (_, false) => floats_to::<W, 8>(samples, |n| double(n).to_le_bytes()),
        (_, true) => floats_to::<W, 8>(samples, |n| double(n).to_be_bytes()),
    }
}

#[inline(always)]
fn floats_to<const W: usize, const N: usize>(samples: &[u8], word: impl Fn(i32) -> [u8; N]) -> Vec<u8> {
    let (samples, _) = samples.as_chunks::<W>();
    let mut out = vec![0; samples.len() * N];
    for (sample, place) in samples.iter().zip(out.as_chunks_mut::<N>().0) {
        let mut n = [0; 4];
        n[4 - W..].copy_from_slice(sample); // W is 1 to 4
        *place = word(i32::from_le_bytes(n));
    }
    out
}

/// The bits of `n` over 2^31. Exact where the lowest byte is zero.
#[inline(always)]
fn single(n: i32) -> u32 {
    (n as f32 * (1.0 / 2_147_483_648.0)).to_bits()
}

#[inline(always)]
fn double(n: i32) -> u64 {
    (f64::from(n) * (1.0 / 2_147_483_648.0)).to_bits()
}
