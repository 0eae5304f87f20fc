//! Pictures and sound that are not coded, by the names that containers have for them.
//!
//! Owns the names that AVI, Matroska and QuickTime share. A form is a hint: what it says wrongly costs space only.

use super::demux::Coding;
use super::words::{Kind, Word};
use crate::chunk::{Form, Packing, Raster};

/// Samples of one byte.
pub fn samples(channels: u8, row_bytes: u32) -> Form {
    Form::Raster(Raster { packing: Packing::Samples { bytes: 1, channels, big_endian: false }, row_bytes })
}

/// The form of pictures of that name and width (0 where it is not known).
pub fn raster(name: &[u8], width: u32) -> Option<Form> {
    let width = if width < 1 << 16 { width } else { 0 };
    let packed = |packing, row_bytes| Form::Raster(Raster { packing, row_bytes });
    Some(match name {
        // Rows are filled up to 48 pixels, of 128 bytes.
        b"v210" => packed(Packing::V210, width.div_ceil(48) * 128),
        b"R10k" => packed(Packing::Rgb10 { big_endian: true }, width * 4),
        // Two pixels in four bytes: two of brightness, two of colour.
        b"2vuy" | b"yuvs" | b"UYVY" | b"YUY2" | b"HDYC" => samples(4, width.div_ceil(2) * 4),
        b"BGRA" | b"RGBA" => samples(4, width * 4),
        _ => return None,
    })
}

/// What little-endian PCM of whole bytes is, in frames of `channels`: signed, but for eight bits.
pub fn pcm(bits: u64, channels: u64) -> Coding {
    let kind = if bits == 8 { Kind::Unsigned } else { Kind::Signed };
    let bytes = u32::try_from(bits / 8).ok().filter(|_| bits.is_multiple_of(8));
    match (bytes.and_then(|bytes| Word::new(bytes, false, kind)), u8::try_from(channels)) {
        (Some(word), Ok(channels @ 1..=32)) => Coding::Words(word, channels),
        _ => Coding::None,
    }
}
