//! Orders of a block's coefficients, and the classes that numbers fall into.

/// From the order in a file to eight times the row and the column.
pub const ZIGZAG: [u8; 64] = [
    0, 1, 8, 16, 9, 2, 3, 10, 17, 24, 32, 25, 18, 11, 4, 5, 12, 19, 26, 33, 40, 48, 41, 34, 27, 20, 13, 6, 7, 14, 21,
    28, 35, 42, 49, 56, 57, 50, 43, 36, 29, 22, 15, 23, 30, 37, 44, 51, 58, 59, 52, 45, 38, 31, 39, 46, 53, 60, 61, 54,
    47, 55, 62, 63,
];
/// Places in zigzag order of those with both frequencies.
pub const INNER: [u8; 49] = {
    let (mut inner, mut n, mut k) = ([0; 49], 0, 0);
    while k < 64 {
        if ZIGZAG[k] & 7 > 0 && ZIGZAG[k] >= 8 {
            inner[n] = k as u8;
            n += 1;
        }
        k += 1;
    }
    inner
};
/// The same as bits.
pub const INNER_BITS: u64 = {
    let (mut bits, mut n) = (0, 0);
    while n < INNER.len() {
        bits |= 1 << INNER[n];
        n += 1;
    }
    bits
};
/// The first row and the first column but for where they meet, in zigzag order, as bits.
pub const EDGE_BITS: [u64; 2] = {
    let (mut bits, mut n) = ([0; 2], 1);
    while n < 8 {
        bits[0] |= 1 << PLACE[n];
        bits[1] |= 1 << PLACE[8 * n];
        n += 1;
    }
    bits
};
/// From natural order to zigzag.
pub const PLACE: [u8; 64] = {
    let (mut place, mut k) = ([0; 64], 0);
    while k < 64 {
        place[ZIGZAG[k] as usize] = k as u8;
        k += 1;
    }
    place
};
/// All of them.
pub const ALL: [u8; 64] = {
    let (mut all, mut k) = ([0; 64], 0);
    while k < 64 {
        all[k] = k as u8;
        k += 1;
    }
    all
};
/// What each frequency adds to the border of a block: sqrt 2 cos(n pi / 16), in 1024ths, and for the first one 1.
pub const BORDER: [i32; 8] = [1024, 1420, 1338, 1204, 1024, 805, 554, 283];

/// Classes of the sizes of neighbours, by [`MAG`].
pub const MAGS: usize = 14;
/// Classes of how many coefficients are left, by [`LEFT`].
pub const LEFTS: usize = 10;

/// The class of eight times the mean size of neighbours.
pub const MAG: [u8; 256] = {
    let mut t = [0; 256];
    let mut n = 0;
    while n < 256 {
        t[n] = match n {
            0..=3 => n as u8,
            4..=5 => 4,
            6..=7 => 5,
            8..=11 => 6,
            12..=15 => 7,
            16..=23 => 8,
            24..=35 => 9,
            36..=55 => 10,
            56..=91 => 11,
            92..=160 => 12,
            _ => 13,
        };
        n += 1;
    }
    t
};

/// The class of a number of coefficients that are left.
pub const LEFT: [u8; 64] = {
    let mut t = [0; 64];
    let mut n = 0;
    while n < 64 {
        t[n] = match n {
            0..=1 => 0,
            2 => 1,
            3 => 2,
            4 => 3,
            5..=6 => 4,
            7..=9 => 5,
            10..=13 => 6,
            14..=19 => 7,
            20..=29 => 8,
            _ => 9,
        };
        n += 1;
    }
    t
};

/// The sum of both frequencies, in zigzag order: 0 to 14.
pub const GROUP: [u8; 64] = {
    let (mut t, mut k) = ([0; 64], 0);
    while k < 64 {
        t[k] = ZIGZAG[k] / 8 + ZIGZAG[k] % 8;
        k += 1;
    }
    t
};

/// The class of a mean count of coefficients that are not zero; 64 where none is known.
pub const COUNT: [u8; 65] = {
    let (mut t, mut n) = ([0; 65], 0);
    while n < 65 {
        t[n] = match n {
            0..=3 => n as u8,
            4..=5 => 4,
            6..=8 => 5,
            9..=12 => 6,
            13..=17 => 7,
            18..=24 => 8,
            25..=33 => 9,
            34..=63 => 10,
            _ => 11,
        };
        n += 1;
    }
    t
};

/// How many bits a number has.
#[inline(always)]
pub fn length(n: u32) -> usize {
    (32 - n.leading_zeros()) as usize // at most 32
}
