//! DPX (SMPTE 268M): a header in either byte order, the first image element, and whatever follows it.

use super::{Numbers, Piece, Plan, TO_THE_END, samples};
use crate::chunk::{Form, Packing, Raster};

/// Bytes up to the end of the first image element's description.
const HEADER_MIN: u64 = 852;
const UNDEFINED: u64 = 0xffff_ffff;

pub fn read(bytes: &[u8]) -> Result<Plan, &'static str> {
    const SHORT: &str = "dpx: a header that is none";
    let n = Numbers { bytes, big_endian: bytes.starts_with(b"SDPX") };
    let get = |at, bytes| n.get(at, bytes).ok_or(SHORT);
    let (front, width, height) = (get(4, 4)?, get(772, 4)?, get(776, 4)?);
    let (descriptor, bits, packing, encoding) = (get(800, 1)?, get(803, 1)?, get(804, 2)?, get(806, 2)?);
    let (offset, line_padding) = (get(808, 4)?, get(812, 4)?);
    let offset = if offset == UNDEFINED || offset < HEADER_MIN { front } else { offset };
    if !(HEADER_MIN..1 << 24).contains(&offset) || width == 0 || height == 0 || width > 1 << 24 || height > 1 << 24 {
        return Err(SHORT);
    }
    let channels = match descriptor {
        1..=8 => 1,
        50 | 102 => 3,
        51 | 52 | 103 => 4,
        100 => 2,
        _ => 0,
    };
    let padding = if line_padding == UNDEFINED { 0 } else { line_padding };
    let words = |samples: u64, in_word: u64| samples.div_ceil(in_word) * 4 + padding; // below 2^33
    let count = width * channels;
    let (form, row) = match (bits, packing, encoding, channels) {
        (8, _, 0, 2) => {
            let row = words(count, 4);
            let packing = Packing::Yuv422 { bytes: 1, luma_first: false, big_endian: false };
            (Form::Raster(Raster { packing, row_bytes: u32::try_from(row).unwrap_or(0) }), row)
        }
        (8, _, 0, 1..) => (samples(1, channels, false, words(count, 4)), words(count, 4)),
        (10, 1, 0, 1 | 3) => {
            let row = words(count, 3);
            let packing = Packing::Rgb10 { big_endian: n.big_endian };
            (Form::Raster(Raster { packing, row_bytes: u32::try_from(row).unwrap_or(0) }), row)
        }
        (12, 1, 0, 1..) | (16, _, 0, 1..) => {
            let row = (count * 2).next_multiple_of(4) + padding;
            (samples(2, channels, n.big_endian, row), row)
        }
        _ => (Form::Bytes, 0),
    };
    // What is not known goes up to the end.
    let picture = if row == 0 { TO_THE_END } else { row * height }; // below 2^57
    Ok(vec![Piece::wrapper(offset), Piece::picture(form, picture)])
}
