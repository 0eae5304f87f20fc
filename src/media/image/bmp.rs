//! BMP: a file header of 14 bytes, a picture header, perhaps a palette, rows padded to four bytes, mostly upwards, colours from
//! blue to red.

use super::{Numbers, Piece, Plan, TO_THE_END, samples};
use crate::chunk::Form;
use crate::media::pixels::Order;

/// Bytes of the file header and of the picture header that is known least.
const HEADER_MIN: u64 = 14 + 40;

pub fn read(bytes: &[u8]) -> Result<Plan, &'static str> {
    const NONE: &str = "bmp: a header that is none";
    let n = Numbers { bytes, big_endian: false };
    let get = |at, bytes| n.get(at, bytes).ok_or(NONE);
    let (offset, header) = (get(10, 4)?, get(14, 4)?);
    let (width, height) = (get(18, 4)?, get(22, 4)? as u32); // four bytes
    let (planes, bits, compression) = (get(26, 2)?, get(28, 2)?, get(30, 4)?);
    if get(6, 4)? != 0 || !(40..=124).contains(&header) || !(HEADER_MIN..=1 << 20).contains(&offset) || planes != 1 {
        return Err(NONE);
    }
    // Rows may go downwards: a negative height.
    let is_upward = height.cast_signed() > 0;
    let height = u64::from(height.cast_signed().unsigned_abs());
    if width == 0 || width >= 1 << 31 || height == 0 || !matches!(bits, 1 | 4 | 8 | 16 | 24 | 32) {
        return Err(NONE);
    }
    let row = (width * bits).div_ceil(32) * 4; // below 2^36
    let plain = compression == 0 || (compression == 3 && bits == 32);
    if !plain {
        return Ok(vec![Piece::wrapper(offset), Piece::picture(Form::Bytes, TO_THE_END)]);
    }
    let masks = if compression == 3 { Some((get(54, 4)?, get(58, 4)?, get(62, 4)?)) } else { None };
    let masked = masks.and_then(|(red, green, blue)| places_of([red, green, blue]));
    let places: &[u8] = match (bits, &masked) {
        (8, _) => &[0],
        (24, _) => &[2, 1, 0],
        (32, Some(places)) => places,
        (32, None) if masks.is_some() => &[0, 1, 2, 3], // colours that are no bytes
        (32, None) => &[2, 1, 0, 3],
        _ => return Ok(vec![Piece::wrapper(offset), Piece::picture(Form::Bytes, row.saturating_mul(height))]),
    };
    let used = width * bits / 8; // no more than a row
    let order = usize::try_from(row).ok().zip(usize::try_from(used).ok());
    let order =
        order.and_then(|(row, used)| Order::new(is_upward, places, row, used)).filter(|order| !order.is_plain());
    let form = samples(1, bits / 8, false, row);
    Ok(vec![Piece::wrapper(offset), Piece { order, ..Piece::picture(form, row.saturating_mul(height)) }])
}

/// The places of red, green, blue and what is none of them in a pixel of four bytes, if the masks of the colours are bytes of it.
fn places_of(masks: [u64; 3]) -> Option<[u8; 4]> {
    let place = |mask: u64| (0..4).find(|place| mask == 0xff << (8 * place));
    let [red, green, blue] = [place(masks[0])?, place(masks[1])?, place(masks[2])?];
    let rest = (0..4).find(|place| ![red, green, blue].contains(place))?;
    Some([red, green, blue, rest])
}
