//! Pictures and sound that are not coded, by the names that containers have for them.
//!
//! Owns the names that AVI, Matroska and QuickTime share. A form is a hint: what it says wrongly costs space only.

use crate::chunk::{Form, Packing, Pcm, Raster};

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

/// The form of little-endian, signed PCM. Eight bits are mostly unsigned, so they have none.
pub fn pcm(bits: u64, channels: u64) -> Option<Form> {
    let sample_bytes = match bits {
        16 => 2,
        24 => 3,
        32 => 4,
        _ => return None,
    };
    let channels = u8::try_from(channels).ok().filter(|c| (1..=32).contains(c))?;
    Some(Form::Pcm(Pcm { sample_bytes, channels, coded: false }))
}
