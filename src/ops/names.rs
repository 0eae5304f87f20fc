//! What codecs, splitters and streams are called: the one table that every report and help text reads.
//!
//! A new codec or splitter adds its row here and nowhere else. What has no row yet is told by its number.

use crate::format::record::Codec;
use crate::media;
use std::borrow::Cow;

/// Codecs by number, in the order in which reports list them.
const CODECS: &[(u16, &str)] = &[
    (Codec::RAW.number, "raw"),
    (Codec::ZSTD.number, "zstd"),
    (Codec::DELTA.number, "delta"),
    (Codec::PCM.number, "pcm"),
    (Codec::RASTER.number, "raster"),
    (Codec::PREDICTED.number, "predicted"),
    (Codec::JPEG.number, "jpeg"),
];

/// Splitters, and ways back that several of them use, by number.
const SPLITTERS: &[(u16, &str)] = &[
    (media::OPAQUE.number, "opaque"),
    (media::FLAC.number, "flac"),
    (media::MP3.number, "mpeg-audio"),
    (media::OGG.number, "ogg"),
    (media::TS.number, "mpeg-ts"),
    (media::WAV.number, "wav"),
    (media::AIFF.number, "aiff"),
    (media::CAF.number, "caf"),
    (media::AU.number, "au"),
    (media::WAVPACK.number, "wavpack"),
    (media::ISOBMFF.number, "mp4"),
    (media::MATROSKA.number, "matroska"),
    (media::AVI.number, "avi"),
    (media::FLV.number, "flv"),
    (media::MXF.number, "mxf"),
    (media::JPEG.number, "jpeg"),
    (media::PNG.number, "png"),
    (media::ADTS.number, "adts"),
    (media::MPEG_PS.number, "mpeg-ps"),
    (media::TAR.number, "tar"),
    (media::ZIP.number, "zip"),
    (media::GZIP.number, "gzip"),
    (media::PDF.number, "pdf"),
    (media::DPX.number, "dpx"),
    (media::TIFF.number, "tiff"),
    (media::BMP.number, "bmp"),
    (media::PNM.number, "pnm"),
    (media::TGA.number, "tga"),
    (media::Y4M.number, "yuv4mpeg"),
    (media::PERMUTE.number, "permutation"),
    (media::FLAC_FRAMES.number, "flac-frames"),
    (media::FLAC_WITHIN.number, "flac-in-container"),
    (media::ALAC_PACKETS.number, "alac-packets"),
    (media::LAYERS.number, "layers"),
    (media::WAVPACK_BLOCKS.number, "wavpack-blocks"),
    (media::WORDS.number, "sample-order"),
    (media::INTERLEAVE.number, "interleaving"),
    (media::PIXELS.number, "pixel-order"),
    (media::DEFLATE.number, "deflate"),
];

/// Streams that are neither wrapper (0) nor essence (any other): splitter, stream, role.
const ROLES: &[(u16, u8, &str)] = &[
    (media::OPAQUE.number, 0, "nothing"),
    (media::OPAQUE.number, 1, "everything"),
    (media::FLAC.number, 2, "encoder's decisions"),
    (media::WAVPACK.number, 2, "encoder's decisions"),
    (media::WAV.number, 2, "corrections"),
    (media::AIFF.number, 2, "corrections"),
    (media::CAF.number, 2, "corrections"),
    (media::CAF.number, 3, "encoder's decisions"),
    (media::AU.number, 2, "corrections"),
    (media::BMP.number, 2, "padding"),
    (media::OGG.number, 34, "encoder's decisions"),
    (media::OGG.number, 35, "encoder's decisions"),
    (media::ISOBMFF.number, 2, "order"),
    (media::ISOBMFF.number, 10, "encoder's decisions"),
    (media::ISOBMFF.number, 12, "encoder's decisions"),
    (media::MATROSKA.number, 2, "order"),
    (media::MATROSKA.number, 10, "encoder's decisions"),
    (media::MATROSKA.number, 12, "encoder's decisions"),
    (media::AVI.number, 2, "order"),
    (media::AVI.number, 10, "corrections"),
    (media::AVI.number, 12, "corrections"),
    (media::FLV.number, 2, "order"),
    (media::MXF.number, 2, "order"),
    (media::ADTS.number, 2, "order"),
    (media::MPEG_PS.number, 2, "order"),
    (media::ZIP.number, media::deflate::CORRECTIONS, "deflate's decisions"),
    (media::GZIP.number, media::deflate::CORRECTIONS, "deflate's decisions"),
    (media::PDF.number, media::deflate::CORRECTIONS, "deflate's decisions"),
    (media::OGG.number, 2, "lacing"),
    (media::OGG.number, 3, "pages"),
    (media::OGG.number, 5, "lacing"),
    (media::OGG.number, 7, "lacing"),
    (media::TS.number, 2, "packets"),
    (media::TS.number, 3, "PES headers, clocks"),
    (media::TS.number, 4, "stamps"),
];

fn named(table: &[(u16, &'static str)], number: u16, what: &str) -> Cow<'static, str> {
    match table.iter().find(|(n, _)| *n == number) {
        Some((_, name)) => Cow::Borrowed(*name),
        None => Cow::Owned(format!("{what} {number}")),
    }
}

/// A codec's name, whatever its version.
pub fn codec(codec: Codec) -> Cow<'static, str> {
    named(CODECS, codec.number, "codec")
}

/// A splitter's name, whatever its version.
pub fn splitter(number: u16) -> Cow<'static, str> {
    named(SPLITTERS, number, "splitter")
}

/// What a stream of a file that this splitter looked at holds.
pub fn role(splitter: u16, stream: u8) -> &'static str {
    match ROLES.iter().find(|(s, n, _)| (*s, *n) == (splitter, stream)) {
        Some((_, _, role)) => role,
        None if stream == media::WRAPPER => "wrapper",
        None => "essence",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_a_name_is_in_the_lists_of_what_there_is() {
        let numbers = |list: &[media::SplitterId]| list.iter().map(|id| id.number).collect::<Vec<_>>();
        let all = [numbers(media::SPLITTERS), numbers(media::WAYS_BACK)].concat();
        let missing: Vec<_> = SPLITTERS.iter().filter(|(number, _)| !all.contains(number)).collect();
        assert!(missing.is_empty(), "a resplit would pass these over: {missing:?}");
        let nameless: Vec<_> = all.iter().filter(|n| SPLITTERS.iter().all(|(number, _)| number != *n)).collect();
        assert!(nameless.is_empty(), "{nameless:?}");
    }

    #[test]
    fn numbers_and_names_stand_for_one_thing_each() {
        for table in [CODECS, SPLITTERS] {
            for (i, (number, name)) in table.iter().enumerate() {
                assert!(table[..i].iter().all(|(n, s)| n != number && s != name), "{number} {name}");
                assert!(!name.is_empty() && !name.contains(' '), "{name:?} is a column of a table and a JSON value");
            }
        }
    }

    #[test]
    fn what_has_no_name_is_told_by_its_number() {
        assert_eq!(codec(Codec { number: 999, version: 3 }), "codec 999");
        assert_eq!(codec(Codec { number: 1, version: 9 }), "zstd");
        assert_eq!(splitter(60_000), "splitter 60000");
        assert_eq!((role(60_000, 0), role(60_000, 7), role(0, 1)), ("wrapper", "essence", "everything"));
    }
}
