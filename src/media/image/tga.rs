//! TGA (Truevision): a header of 18 bytes, an identification, rows of pixels, mostly upwards, from blue to red; behind them
//! perhaps areas and a footer.
//!
//! The header has no name, so all its fields must be what programs write.

use super::{Numbers, Piece, Plan, samples};
use crate::media::pixels::Order;

const HEADER: u64 = 18;
/// Pixels in a row, and rows.
const SIZE_MAX: u64 = 1 << 15;

/// Uncompressed, in colours or grey.
const COLOURS: u8 = 2;
const GREY: u8 = 3;
/// Of the last byte of a header: the bits of a pixel that are no colour; rows go downwards.
const ATTRIBUTE_BITS: u8 = 15;
const DOWNWARDS: u8 = 32;

pub fn read(bytes: &[u8]) -> Result<Plan, &'static str> {
    plan(bytes).ok_or("tga: a header that is none")
}

fn plan(bytes: &[u8]) -> Option<Plan> {
    // No palette, and so none of its numbers.
    let &[identification, 0, kind @ (COLOURS | GREY), 0, 0, 0, 0, 0, ..] = bytes else { return None };
    let n = Numbers { bytes, big_endian: false };
    let (left, below) = (n.get(8, 2)?, n.get(10, 2)?);
    let (width, height) = (n.get(12, 2)?, n.get(14, 2)?);
    let &[bits, about] = bytes.get(16..18)? else { return None };
    let places: &[u8] = match (kind, bits, about & ATTRIBUTE_BITS) {
        (COLOURS, 24, 0) => &[2, 1, 0],
        (COLOURS, 32, 0 | 8) => &[2, 1, 0, 3],
        (GREY, 8, 0) => &[0],
        _ => return None,
    };
    let is_size = |n: u64| (1..=SIZE_MAX).contains(&n);
    let is_place = left == 0 && (below == 0 || below == height);
    if !is_size(width) || !is_size(height) || !is_place || about & !(ATTRIBUTE_BITS | DOWNWARDS) != 0 {
        return None;
    }
    let row = width * places.len() as u64; // at most 2^17
    let order = Order::new(about & DOWNWARDS == 0, places, usize::try_from(row).ok()?, usize::try_from(row).ok()?);
    let picture = Piece::picture(samples(1, places.len() as u64, false, row), row * height);
    let order = order.filter(|order| !order.is_plain());
    Some(vec![Piece::wrapper(HEADER + u64::from(identification)), Piece { order, ..picture }])
}
