//! What is known of a stream's bytes: plain bytes, samples of sound, samples of a picture, a JPEG file.
//!
//! A splitter tells the form of every run. It decides where chunks may end and which codecs are tried; it
//! is never needed to read a chunk again, since a codec keeps what it needs in the record.
//!
//! # Invariants
//!
//! A form with an alignment is given only to runs that begin on a border of it: chunks are cut at multiples of
//! [`Form::align`] counted from the last forced cut.

/// What a stream's bytes are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Form {
    #[default]
    Bytes,
    Pcm(Pcm),
    Raster(Raster),
    /// A JPEG file, from its first byte on or from the first marker that describes its samples.
    Jpeg,
}

/// Interleaved samples of sound: signed, little-endian, each in a whole number of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Pcm {
    /// Bytes of a sample, 1 to 4.
    pub sample_bytes: u8,
    /// Channels of a frame, 1 to 32.
    pub channels: u8,
    /// The samples stood coded without loss in the file (FLAC): what they are stored as should not be larger
    /// than that was, so the denser and slower tier is used.
    pub coded: bool,
}

/// Samples of a picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Raster {
    pub packing: Packing,
    /// Bytes of a row, padding included; 0 where it is not known.
    pub row_bytes: u32,
}

/// How the samples of a picture are packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Packing {
    /// v210: three 10-bit samples in the low 30 bits of a little-endian word, twelve samples in 16 bytes,
    /// as Cb Y Cr Y Cb Y Cr Y Cb Y Cr Y.
    V210,
    /// Three 10-bit samples in the high 30 bits of a word (DPX packing method A), in the byte order.
    Rgb10 { big_endian: bool },
    /// Pairs of pixels that share their chroma, in samples of one or two bytes: Cb Y Cr Y (UYVY, Y216 swapped), or
    /// Y Cb Y Cr (YUY2, Y210, Y216).
    Yuv422 { bytes: u8, luma_first: bool, big_endian: bool },
    /// Whole samples of one or two bytes, 1 to 4 a pixel. A plane of planar video has one channel.
    Samples { bytes: u8, channels: u8, big_endian: bool },
}

impl Form {
    /// Of samples of sound.
    pub fn pcm(self) -> Option<Pcm> {
        if let Form::Pcm(pcm) = self { Some(pcm) } else { None }
    }

    /// Whether the bytes are samples, which the codecs of sound and of pictures take.
    pub fn is_samples(self) -> bool {
        matches!(self, Form::Pcm(_) | Form::Raster(_))
    }

    /// Chunks are cut at multiples of so many bytes, counted from the last forced cut. At least 1, at most 1024.
    pub fn align(self) -> usize {
        match self {
            Form::Bytes | Form::Jpeg => 1,
            Form::Pcm(p) => (usize::from(p.sample_bytes) * usize::from(p.channels)).clamp(1, 1024),
            Form::Raster(Raster { packing: Packing::V210, .. }) => 16,
            Form::Raster(Raster { packing: Packing::Rgb10 { .. }, .. }) => 4,
            Form::Raster(Raster { packing: Packing::Yuv422 { bytes, .. }, .. }) => 4 * usize::from(bytes).clamp(1, 2),
            Form::Raster(Raster { packing: Packing::Samples { bytes, channels, .. }, .. }) => {
                (usize::from(bytes) * usize::from(channels)).clamp(1, 1024)
            }
        }
    }
}
