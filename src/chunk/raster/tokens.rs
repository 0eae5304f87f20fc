//! Residuals as tokens and bits, and which tokens foretell the next one's size.
//!
//! Owns the token alphabet and the level of a place: how large residuals around it were. Used by both coders.
//!
//! # Invariants
//!
//! A level hangs on tokens alone that lie before it in its lane, and at the same place of the first vector.

/// Tokens: 0 to 7 are the residuals themselves, then four to each doubling up to 2^16.
pub const TOKENS: usize = 60;
/// Bits that hold a token.
pub const TOKEN_BITS: u32 = 6;
/// Levels of a place.
pub const LEVELS: usize = 32;

/// The token of a residual: from 8 on, its doubling and the two bits below the first. They are the upper bits of the number
/// as a float, which holds any of 16 bits exactly; and while AVX2 has no leading zeros, it converts eight numbers at once.
#[inline(always)]
pub fn token(u: u16) -> u8 {
    const MANTISSA_BITS: u32 = 23;
    const BIAS: u32 = 127;
    let top = f32::from(u).to_bits() >> (MANTISSA_BITS - 2); // the exponent and two bits
    let big = top.wrapping_sub((BIAS + 3) * 4 - 8); // 8 for the residual 8
    (if u < 8 { u32::from(u) } else { big }) as u8 // at most 59
}

/// The bits that follow a token.
#[inline(always)]
pub fn bits_below(token: u8) -> u32 {
    u32::from(token.saturating_sub(4) / 4)
}

/// What a token stands for: the least residual, and how many bits follow. Coders compute it.
#[cfg(test)]
pub const MEANING: [(u16, u8); 64] = {
    let mut t = [(0, 0); 64];
    let mut i = 0;
    while i < TOKENS {
        t[i] = if i < 8 {
            (i as u16, 0)
        } else {
            let k = 3 + (i - 8) / 4;
            ((4 + (i as u16 & 3)) << (k - 2), k as u8 - 2)
        };
        i += 1;
    }
    t
};

/// The level of a sum of tokens whose weights are eight together; below 512: a quarter of it, then a sixteenth.
#[inline(always)]
pub const fn level(sum: u16) -> u8 {
    let (low, high) = (sum / 4, 12 + sum / 16); // equal at 64
    let level = if low < high { low } else { high };
    (if level < LEVELS as u16 { level } else { LEVELS as u16 - 1 }) as u8 // below 2^5
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_four_to_a_doubling() {
        for u in 0..=u16::MAX {
            let k = u32::from(u).max(8).ilog2();
            let exact = if u < 8 { u32::from(u) } else { 8 + (k - 3) * 4 + (u32::from(u) >> (k - 2) & 3) };
            assert_eq!(u32::from(token(u)), exact, "{u}");
        }
        assert!((0..TOKENS).all(|t| bits_below(t as u8) == u32::from(MEANING[t].1)));
    }

    #[test]
    fn a_level_is_a_quarter_then_a_sixteenth() {
        for s in 0..512u16 {
            let exact = if s < 64 { s / 4 } else { 16 + (s - 64) / 16 };
            assert_eq!(u16::from(level(s)), exact.min(LEVELS as u16 - 1), "{s}");
        }
    }
}
