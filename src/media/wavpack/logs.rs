//! Numbers as a block's metadata holds them: weights in a byte, samples and medians as logarithms to the base 2 with
//! eight bits behind the point.
//!
//! Encoder and decoder go on from what the metadata says, so every rounding here is part of the format (WavPack 5,
//! `entropy_utils.c`). The tables of logarithms and powers are those of the real functions, rounded to the nearest.
//!
//! # Invariants
//!
//! Integers alone, also for the tables; any number is some result.

/// Bits behind the point where tables are computed.
const POINT: u32 = 62;

/// The square root of 2.
const ROOT_2: u64 = (2_u128 << (2 * POINT)).isqrt() as u64; // below 2^63

/// 2^(1 / 2^n), n at least 1.
const fn root_of_two(n: u32) -> u64 {
    let (mut x, mut i) = (ROOT_2, 1);
    while i < n {
        x = ((x as u128) << POINT).isqrt() as u64; // below 2^63
        i += 1;
    }
    x
}

const fn times(a: u64, b: u64) -> u64 {
    ((a as u128 * b as u128) >> POINT) as u64 // both below 2
}

/// 256 * 2^(i / 256) - 256.
const EXP2: [u8; 256] = {
    let (mut table, mut x, mut i) = ([0; 256], 1_u64 << POINT, 0);
    while i < 256 {
        table[i] = (((x >> (POINT - 9)) + 1) >> 1) as u8; // less 256, by the cast: below 2^9
        x = times(x, root_of_two(8));
        i += 1;
    }
    table
};

/// 256 * log2(1 + i / 256).
const LOG2: [u8; 256] = {
    let (mut table, mut i, mut j) = ([0; 256], 0, 0);
    // The power at which the logarithm is rounded up to j + 1.
    let mut next = root_of_two(9);
    while i < 256 {
        while j < 255 && next <= (256 + i as u64) << (POINT - 8) {
            next = times(next, root_of_two(8));
            j += 1;
        }
        table[i] = j as u8; // at most 255
        i += 1;
    }
    table
};

/// An unsigned number's logarithm.
pub(super) fn log2(value: u32) -> u16 {
    let value = value.wrapping_add(value >> 9);
    let bits = 32 - value.leading_zeros();
    let fraction = if bits > 9 { value >> (bits - 9) } else { value << (9 - bits) };
    let low = LOG2.get((fraction & 0xff) as usize).copied().unwrap_or_default(); // the table has 256
    (bits << 8) as u16 | u16::from(low) // at most 32 bits
}

/// A signed number's logarithm, with its sign.
pub(super) fn log2_signed(value: i32) -> i16 {
    let log = log2(value.unsigned_abs()).cast_signed(); // at most 33 * 256
    if value < 0 { -log } else { log }
}

/// The number of a logarithm.
pub(super) fn exp2(log: u16) -> u32 {
    let value = u32::from(EXP2.get(usize::from(log & 0xff)).copied().unwrap_or_default()) | 0x100;
    match log >> 8 {
        high @ 0..=9 => value >> (9 - high),
        high => value.wrapping_shl(u32::from(high) - 9),
    }
}

/// The signed number of a logarithm with its sign.
pub(super) fn exp2_signed(log: i16) -> i32 {
    let value = exp2(log.unsigned_abs()).cast_signed();
    if log < 0 { value.wrapping_neg() } else { value }
}

/// A weight's byte.
pub(super) fn weight_byte(weight: i32) -> u8 {
    let weight = weight.clamp(-1024, 1024);
    let weight = if weight > 0 { weight - ((weight + 64) >> 7) } else { weight };
    ((weight + 4) >> 3) as u8 // of -128 to 127, by its bits
}

/// The weight of a byte.
pub(super) fn weight(byte: u8) -> i32 {
    let weight = i32::from(byte.cast_signed()) * 8;
    if weight > 0 { weight + ((weight + 64) >> 7) } else { weight }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_the_functions() {
        for i in 0..256 {
            let x = i as f64 / 256.0;
            assert_eq!(f64::from(EXP2[i]), (256.0 * x.exp2() - 256.0).round(), "{i}");
            assert_eq!(f64::from(LOG2[i]), (256.0 * (1.0 + x).log2()).round(), "{i}");
        }
    }

    #[test]
    fn weights_come_back() {
        for byte in 0..=255 {
            assert_eq!(weight_byte(weight(byte)), byte);
        }
        assert_eq!((weight(0x7f), weight(0x80), weight(1)), (1024, -1024, 8));
        assert_eq!((weight_byte(5000), weight_byte(-5000), weight_byte(0)), (0x7f, 0x80, 0));
    }

    #[test]
    fn logarithms_come_back() {
        assert!((0..115).all(|value| exp2(log2(value)) == value));
        assert!((0..256).all(|value| exp2(log2(value)).abs_diff(value) <= 1));
        for value in [1000, 32_768, 1 << 20, 0x7fff_ffff, 0xff80_0000_u32] {
            assert!(u64::from(exp2(log2(value)).abs_diff(value)) * 225 <= u64::from(value), "{value}");
        }
        assert_eq!((exp2_signed(-0x100), exp2_signed(log2_signed(-77)), exp2_signed(0)), (-1, -77, 0));
        assert_eq!(log2(0xff80_0000), 8447);
        for log in [i16::MIN, i16::MAX, -1, 0x2000] {
            exp2_signed(log);
        }
        log2_signed(i32::MIN);
        log2(u32::MAX);
        exp2(u16::MAX);
    }
}
