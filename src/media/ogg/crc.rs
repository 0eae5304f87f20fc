//! The CRC of an Ogg page (RFC 3533, section 6): polynomial 0x04c11db7, most significant bit first, no inversion.
//!
//! Sixteen bytes a step by tables (Kounavis and Berry, "Novel Table Lookup-Based Algorithms for High-Performance CRC
//! Generation", IEEE Transactions on Computers 57, 2008): one byte a step would hold back the whole splitter.

const POLYNOMIAL: u32 = 0x04c1_1db7;

/// `TABLES[k][b]`: the CRC of the byte `b` with `k` zero bytes behind it.
static TABLES: [[u32; 256]; 16] = tables();

const fn tables() -> [[u32; 256]; 16] {
    let mut tables = [[0_u32; 256]; 16];
    let mut b = 0;
    while b < 256 {
        let mut crc = (b as u32) << 24; // below 256
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 0x8000_0000 == 0 { crc << 1 } else { (crc << 1) ^ POLYNOMIAL };
            bit += 1;
        }
        tables[0][b] = crc;
        b += 1;
    }
    let mut k = 1;
    while k < 16 {
        let mut b = 0;
        while b < 256 {
            let crc = tables[k - 1][b];
            tables[k][b] = (crc << 8) ^ tables[0][(crc >> 24) as usize]; // the top 8 bits
            b += 1;
        }
        k += 1;
    }
    tables
}

/// Goes on with `crc` over `bytes`; 0 starts.
pub fn update(mut crc: u32, bytes: &[u8]) -> u32 {
    // Each index is a u8: within a table of 256.
    let at = |table: usize, byte: u8| TABLES[table][usize::from(byte)];
    let (blocks, rest) = bytes.as_chunks::<16>();
    for &[a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] in blocks {
        let [w, x, y, z] = (crc ^ u32::from_be_bytes([a, b, c, d])).to_be_bytes();
        crc = (at(15, w) ^ at(14, x) ^ at(13, y) ^ at(12, z))
            ^ (at(11, e) ^ at(10, f) ^ at(9, g) ^ at(8, h))
            ^ (at(7, i) ^ at(6, j) ^ at(5, k) ^ at(4, l))
            ^ (at(3, m) ^ at(2, n) ^ at(1, o) ^ at(0, p));
    }
    for &b in rest {
        let [top, ..] = crc.to_be_bytes();
        crc = (crc << 8) ^ at(0, top ^ b);
    }
    crc
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn bit_by_bit(bytes: &[u8]) -> u32 {
        bytes.iter().fold(0_u32, |crc, &b| {
            (0..8).fold(
                crc ^ u32::from(b) << 24,
                |crc, _| {
                    if crc >> 31 == 0 { crc << 1 } else { (crc << 1) ^ POLYNOMIAL }
                },
            )
        })
    }

    #[test]
    fn the_check_value_of_this_polynomial_is_met() {
        // CRC-32/CKSUM of "123456789" without its length and final inversion, see the catalogue of CRC RevEng.
        assert_eq!(update(0, b"123456789"), 0x89a1_897f);
        assert_eq!(update(0, b""), 0);
    }

    proptest! {
        #[test]
        fn sixteen_bytes_a_step_equal_one_bit_a_step(bytes in prop::collection::vec(any::<u8>(), 0..200), cut: prop::sample::Index) {
            prop_assert_eq!(update(0, &bytes), bit_by_bit(&bytes));
            let (a, b) = bytes.split_at(cut.index(bytes.len() + 1));
            prop_assert_eq!(update(update(0, a), b), bit_by_bit(&bytes));
        }
    }
}
