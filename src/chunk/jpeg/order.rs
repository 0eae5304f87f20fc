//! Orders of a block's coefficients, and the classes that numbers fall into.

/// From the order in a file to eight times the row and the column.
pub const ZIGZAG: [u8; 64] = [
    0, 1, 8, 16, 9, 2, 3, 10, 17, 24, 32, 25, 18, 11, 4, 5, 12, 19, 26, 33, 40, 48, 41, 34, 27, 20, 13, 6, 7, 14, 21,
    28, 35, 42, 49, 56, 57, 50, 43, 36, 29, 22, 15, 23, 30, 37, 44, 51, 58, 59, 52, 45, 38, 31, 39, 46, 53, 60, 61, 54,
    47, 55, 62, 63,
];
/// Places in zigzag order of those with both frequencies, as bits.
pub const INNER_BITS: u64 = {
    let (mut bits, mut k) = (0, 0);
    while k < 64 {
        if ZIGZAG[k] & 7 > 0 && ZIGZAG[k] >= 8 {
            bits |= 1 << k;
        }
        k += 1;
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
/// What each frequency adds to the border of a block: sqrt 2 cos(n pi / 16), in 1024ths, and for the first one 1.
pub const BORDER: [i32; 8] = [1024, 1420, 1338, 1204, 1024, 805, 554, 283];

/// Classes of the sizes of neighbours, by [`MAG`].
pub const MAGS: usize = 14;
/// Classes of how many coefficients are left, by [`LEFT`].
pub const LEFTS: usize = 10;

/// The class of each number below N, of classes that begin at these numbers; the first one begins at 0.
const fn classes<const N: usize>(begins: &[usize]) -> [u8; N] {
    let (mut class, mut n) = ([0; N], 1);
    while n < N {
        class[n] = class[n - 1];
        if (class[n] as usize) < begins.len() && n == begins[class[n] as usize] {
            class[n] += 1;
        }
        n += 1;
    }
    class
}

/// The class of eight times the mean size of neighbours.
pub const MAG: [u8; 256] = classes(&[1, 2, 3, 4, 6, 8, 12, 16, 24, 36, 56, 92, 161]);
/// The class of a number of coefficients that are left.
pub const LEFT: [u8; 64] = classes(&[2, 3, 4, 5, 7, 10, 14, 20, 30]);
/// The class of a mean count of coefficients that are not zero; 64 where none is known.
pub const COUNT: [u8; 65] = classes(&[1, 2, 3, 4, 6, 9, 13, 18, 25, 34, 64]);

/// The sum of both frequencies, in zigzag order: 0 to 14.
pub const GROUP: [u8; 64] = {
    let (mut t, mut k) = ([0; 64], 0);
    while k < 64 {
        t[k] = ZIGZAG[k] / 8 + ZIGZAG[k] % 8;
        k += 1;
    }
    t
};

/// How many bits a number has.
#[inline(always)]
pub fn length(n: u32) -> usize {
    (32 - n.leading_zeros()) as usize // at most 32
}
