//! The two checks of a FLAC frame (RFC 9639, sections 9.1.8 and 9.3): CRC-8 of its header with polynomial 0x07, CRC-16
//! of the whole with 0x8005; most significant bit first, no inversion.

/// `TABLES[k][b]`: the CRC-16 of the byte `b` with `k` zero bytes behind it.
static TABLES: [[u16; 256]; 16] = tables();
static TABLE_8: [u8; 256] = table_8();

const fn tables() -> [[u16; 256]; 16] {
    let mut tables = [[0_u16; 256]; 16];
    let mut b = 0;
    while b < 256 {
        let mut crc = (b as u16) << 8; // below 256
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 0x8000 == 0 { crc << 1 } else { (crc << 1) ^ 0x8005 };
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
            tables[k][b] = (crc << 8) ^ tables[0][(crc >> 8) as usize]; // the top 8 bits
            b += 1;
        }
        k += 1;
    }
    tables
}

const fn table_8() -> [u8; 256] {
    let mut table = [0; 256];
    let mut b = 0;
    while b < 256 {
        let mut crc = b as u8; // below 256
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 0x80 == 0 { crc << 1 } else { (crc << 1) ^ 0x07 };
            bit += 1;
        }
        table[b] = crc;
        b += 1;
    }
    table
}

/// The CRC-8 of a header.
pub(super) fn crc_8(bytes: &[u8]) -> u8 {
    // A u8 is an index into a table of 256.
    bytes.iter().fold(0, |crc, &b| TABLE_8[usize::from(crc ^ b)])
}

/// The CRC-16 of a frame: sixteen bytes a step (Kounavis and Berry 2008, as in `ogg::crc`).
pub(super) fn crc_16(bytes: &[u8]) -> u16 {
    // Each index is a u8: within a table of 256.
    let at = |table: usize, byte: u8| TABLES[table][usize::from(byte)];
    let (blocks, rest) = bytes.as_chunks::<16>();
    let mut crc = 0_u16;
    for &[a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] in blocks {
        let [x, y] = crc.to_be_bytes();
        crc = (at(15, a ^ x) ^ at(14, b ^ y) ^ at(13, c) ^ at(12, d))
            ^ (at(11, e) ^ at(10, f) ^ at(9, g) ^ at(8, h))
            ^ (at(7, i) ^ at(6, j) ^ at(5, k) ^ at(4, l))
            ^ (at(3, m) ^ at(2, n) ^ at(1, o) ^ at(0, p));
    }
    for &b in rest {
        let [top, _] = crc.to_be_bytes();
        crc = (crc << 8) ^ at(0, top ^ b);
    }
    crc
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_check_values_of_these_polynomials_are_met() {
        // CRC-8/SMBUS and CRC-16/UMTS of the catalogue of CRC RevEng.
        assert_eq!(crc_8(b"123456789"), 0xf4);
        assert_eq!(crc_16(b"123456789"), 0xfee8);
    }

    proptest! {
        #[test]
        fn sixteen_bytes_a_step_equal_one_bit_a_step(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
            let slow = bytes.iter().fold(0_u16, |crc, &b| {
                (0..8).fold(crc ^ u16::from(b) << 8, |crc, _| if crc >> 15 == 0 { crc << 1 } else { crc << 1 ^ 0x8005 })
            });
            prop_assert_eq!(crc_16(&bytes), slow);
        }
    }
}
