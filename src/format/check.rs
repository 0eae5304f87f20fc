//! What is proven by what: XXH3 for bytes at rest, BLAKE3 for names and chains.
//!
//! XXH3 is no defence against an adversary: it finds what disks, cables and memory do. It is seeded
//! with the place, so that bytes written to or read from the wrong one are found. BLAKE3 keyed with the
//! store's secret names every chunk, and is checked again whenever a chunk is handed out.

use super::id::PackId;
use twox_hash::{XxHash3_64, XxHash3_128};

/// Bytes of a pack that one unit check covers.
pub const UNIT_BYTES: u64 = 1 << 20;

/// BLAKE3 of all of `parts`, one behind the other.
pub fn blake3(parts: &[&[u8]]) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new();
    for part in parts {
        hasher.update(part);
    }
    *hasher.finalize().as_bytes()
}

/// BLAKE3 of bytes that come in pieces.
#[derive(Clone, Default)]
pub struct Digest(blake3::Hasher);

impl Digest {
    pub fn update(&mut self, bytes: &[u8]) -> &mut Self {
        self.0.update(bytes);
        self
    }

    pub fn finish(&self) -> [u8; 32] {
        *self.0.finalize().as_bytes()
    }
}

/// The seed of every check in a record at `offset` of `pack`.
pub fn place_seed(pack: PackId, offset: u64) -> u64 {
    let mut place = [0; 20];
    place[..12].copy_from_slice(&pack.0);
    place[12..].copy_from_slice(&offset.to_le_bytes());
    XxHash3_64::oneshot(&place)
}

/// XXH3-64 of `bytes` under `seed`.
pub fn check64(seed: u64, bytes: &[u8]) -> [u8; 8] {
    XxHash3_64::oneshot_with_seed(seed, bytes).to_le_bytes()
}

/// XXH3-128 of `bytes`.
pub fn check128(bytes: &[u8]) -> [u8; 16] {
    XxHash3_128::oneshot(bytes).to_le_bytes()
}

/// XXH3-128 of bytes that come in pieces.
pub struct Check128(Box<XxHash3_128>);

impl Default for Check128 {
    fn default() -> Self {
        Check128(Box::new(XxHash3_128::new()))
    }
}

impl Check128 {
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.write(bytes);
    }

    pub fn finish(&self) -> [u8; 16] {
        self.0.finish_128().to_le_bytes()
    }
}

/// Makes the unit checks of a file that grows: one XXH3-128 per [`UNIT_BYTES`], the last one of what
/// is left.
pub struct Units {
    done: Vec<[u8; 16]>,
    open: Box<XxHash3_128>,
    open_bytes: u64,
}

impl Default for Units {
    fn default() -> Self {
        Units { done: Vec::new(), open: Box::new(XxHash3_128::new()), open_bytes: 0 }
    }
}

impl Units {
    pub fn update(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let room = (UNIT_BYTES - self.open_bytes) as usize; // at most UNIT_BYTES
            let (now, rest) = bytes.split_at(room.min(bytes.len()));
            if self.open_bytes == 0 && now.len() == room {
                self.done.push(check128(now)); // a whole unit at once needs no state
            } else {
                self.open.write(now);
                self.open_bytes += now.len() as u64;
                if self.open_bytes == UNIT_BYTES {
                    self.close();
                }
            }
            bytes = rest;
        }
    }

    fn close(&mut self) {
        self.done.push(self.open.finish_128().to_le_bytes());
        *self.open = XxHash3_128::new();
        self.open_bytes = 0;
    }

    /// The table: 16 bytes a unit.
    pub fn finish(mut self) -> Vec<u8> {
        if self.open_bytes > 0 {
            self.close();
        }
        self.done.concat()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::WriterId;

    #[test]
    fn a_check_in_pieces_is_the_check_of_the_whole() {
        let long: Vec<u8> = (0..300_000_u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        for bytes in [0, 1, 240, 241, 65_536, 65_537, 300_000] {
            for piece in [7, 256, 65_536, 300_000] {
                let mut check = Check128::default();
                long[..bytes].chunks(piece).for_each(|p| check.update(p));
                assert_eq!(check.finish(), check128(&long[..bytes]), "{bytes} bytes in pieces of {piece}");
            }
        }
    }

    /// The values that XXH3's own library gives.
    #[test]
    fn checks_are_those_of_xxh3() {
        assert_eq!(check64(0, b""), 0x2d06_8005_38d3_94c2_u64.to_le_bytes());
        assert_eq!(check128(b""), 0x99aa_06d3_0147_98d8_6001_c324_468d_497f_u128.to_le_bytes());
        let long: Vec<u8> = (0..1_000_003_u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        assert_eq!(check64(0x0123_4567_89ab_cdef, &long), LONG_64.to_le_bytes());
        assert_eq!(check128(&long), LONG_128.to_le_bytes());
    }

    const LONG_64: u64 = 11_684_828_708_272_772_598;
    const LONG_128: u128 = 332_195_880_450_768_410_672_840_323_991_652_758_775;

    #[test]
    fn units_do_not_depend_on_how_the_bytes_came() {
        let bytes: Vec<u8> = (0..3 * UNIT_BYTES as usize + 777).map(|i| (i * 7 % 251) as u8).collect();
        let whole: Vec<u8> = bytes.chunks(UNIT_BYTES as usize).flat_map(check128).collect();
        for step in [1000, 65536, 1 << 20, 5 << 20] {
            let mut units = Units::default();
            bytes.chunks(step).for_each(|part| units.update(part));
            assert_eq!(units.finish(), whole, "step {step}");
        }
    }

    #[test]
    fn the_same_bytes_at_another_place_have_another_check() {
        let pack = PackId::new(WriterId([1; 8]), 1);
        let other = PackId::new(WriterId([1; 8]), 2);
        let here = check64(place_seed(pack, 64), b"bytes");
        assert_ne!(here, check64(place_seed(pack, 65), b"bytes"));
        assert_ne!(here, check64(place_seed(other, 64), b"bytes"));
    }
}
