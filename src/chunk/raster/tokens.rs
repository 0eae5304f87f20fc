//! Residuals as tokens and bits, and which tokens foretell the next one's size.
//!
//! Owns the token alphabet and the level of a place: how large residuals around it were. Used by both coders.
//!
//! # Invariants
//!
//! A level hangs on tokens alone that lie before it in its lane, and at the same place of the first lane.

/// Tokens: 0 to 7 are the residuals themselves, then four to each doubling up to 2^16.
pub const TOKENS: usize = 60;
/// Levels of a place.
pub const LEVELS: usize = 32;

/// The token of a residual.
#[inline(always)]
pub fn token(u: u16) -> u8 {
    let v = u32::from(u).max(8); // below that it is not looked at
    let k = 31 - v.leading_zeros();
    let big = 8 + (k - 3) * 4 + ((v >> (k - 2)) & 3);
    (if u < 8 { u32::from(u) } else { big }) as u8 // at most 59
}

/// What a token stands for: the least residual, and how many bits follow.
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

/// The level of a sum of tokens whose weights are eight together.
pub const LEVEL: [u8; 512] = {
    let mut t = [0; 512];
    let mut s = 0;
    while s < 512 {
        let l = if s < 64 { s / 4 } else { 16 + (s - 64) / 12 };
        t[s] = if l < LEVELS { l } else { LEVELS - 1 } as u8;
        s += 1;
    }
    t
};
