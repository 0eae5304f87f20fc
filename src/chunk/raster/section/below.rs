//! Bits below tokens, four at a time: numbers of 16 bits, of which a mask tells how many count.

/// Four numbers in one, the first lowest.
#[inline(always)]
pub fn join(four: [u16; 4]) -> u64 {
    let [a, b, c, d] = four.map(u64::from);
    a | b << 16 | c << 32 | d << 48
}

/// Undoes [`join`].
#[inline(always)]
pub fn part(four: u64) -> [u16; 4] {
    [0, 16, 32, 48].map(|shift| (four >> shift) as u16) // the low 16 bits
}

/// Puts the lowest bits where the mask has ones, the lowest first.
#[inline(always)]
pub fn deposit(bits: u64, mask: u64) -> u64 {
    let mut bits = bits;
    let four = part(mask).map(|mask| {
        let value = bits as u16 & mask; // the low ones, as many as the mask has
        bits >>= mask.count_ones();
        value
    });
    join(four)
}

/// Undoes [`deposit`]: the bits where the mask has ones.
#[inline(always)]
pub fn extract(four: u64, mask: u64) -> u64 {
    let mut at = 0;
    part(four).into_iter().zip(part(mask)).fold(0, |bits, (value, mask)| {
        let bits = bits | u64::from(value & mask) << (at & 63);
        at += mask.count_ones();
        bits
    })
}
