//! Header packets: how many a codec has, and what in them is worth a chunk of its own.
//!
//! Pictures come again in every track of an album and as a file of their own; a comment holds them in Base64. The
//! setup of Vorbis and Theora (codebooks, 3 to 8 KB) is the same for all files of one encoder's setting.
//!
//! # Invariants
//!
//! Nothing here is believed for the way back: it says only which bytes get a border.

use super::super::flac;
use super::base64;

/// Bytes from which on a picture gets borders: as in FLAC.
const PICTURE_ALONE: usize = 16 << 10;
/// Bytes from which on a setup packet gets borders.
const SETUP_ALONE: usize = 1 << 10;
/// Header packets of a stream at most; what follows is taken for data.
const PACKETS_MAX: u32 = 255;

/// Which packets of a logical stream are headers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Headers {
    /// So many more packets.
    Left(u32),
    /// FLAC: all before the first that begins with a frame's sync code.
    UntilFrame,
    /// Skeleton: all of them.
    All,
}

impl Headers {
    /// What the first packet of a stream promises, itself included.
    pub fn of(first: &[u8]) -> Headers {
        let more = |at: usize| {
            let four = first.get(at..).and_then(|b| b.first_chunk());
            four.map_or(0, |four| u32::from_le_bytes(*four).min(PACKETS_MAX))
        };
        match first {
            [1, b'v', b'o', b'r', b'b', b'i', b's', ..] => Headers::Left(3),
            [0x80, b't', b'h', b'e', b'o', b'r', b'a', ..] => Headers::Left(3),
            [0x80, b'd', b'a', b'a', b'l', b'a', ..] => Headers::Left(3),
            [b'O', b'p', b'u', b's', b'H', b'e', b'a', b'd', ..] => Headers::Left(2),
            [0x7f, b'F', b'L', b'A', b'C', ..] => Headers::UntilFrame,
            [b'f', b'L', b'a', b'C', ..] => Headers::UntilFrame,
            [b'S', b'p', b'e', b'e', b'x', b' ', b' ', b' ', ..] => Headers::Left(2 + more(68)),
            [b'f', b'i', b's', b'h', b'e', b'a', b'd', 0, ..] => Headers::All,
            [0x80, b'k', b'a', b't', b'e', _, _, _, _, _, _, n, ..] => Headers::Left(u32::from(*n).max(1)),
            [b'C', b'M', b'M', b'L', ..] => Headers::Left(3),
            [b'O', b'V', b'P', b'8', b'0', ..] => Headers::Left(2),
            // OGM.
            [1, b'v', b'i', b'd', b'e', b'o', ..] | [1, b'a', b'u', b'd', b'i', b'o', ..] => Headers::Left(2),
            [1, b't', b'e', b'x', b't', ..] => Headers::Left(2),
            _ => Headers::Left(1),
        }
    }
}

/// A stream of FLAC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flac {
    /// Of a sample, if STREAMINFO stands in the first packet: in the oldest mapping it does not.
    pub bits: Option<u8>,
}

/// Whether a stream that begins with this packet is FLAC (RFC 9639, section 10.1).
pub fn flac(first: &[u8]) -> Option<Flac> {
    match first {
        // Version, number of header packets; then a FLAC file's first bytes, with STREAMINFO in a block of 34 bytes.
        [0x7f, b'F', b'L', b'A', b'C', _, _, _, _, b'f', b'L', b'a', b'C', _, 0, 0, 34, info @ ..] => {
            Some(Flac { bits: flac::sample_bits(info) })
        }
        [b'f', b'L', b'a', b'C', ..] => Some(Flac { bits: None }),
        _ => None,
    }
}

/// Bytes of a header packet that get borders of their own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blob {
    /// Where they stand in the packet.
    pub at: usize,
    /// How many bytes of the packet they are.
    pub bytes: usize,
    /// They are Base64 of this, of which the first `front` bytes do not belong to the blob.
    pub decoded: Option<(Vec<u8>, usize)>,
}

/// What a header packet holds that is worth a border.
pub fn blobs(packet: &[u8]) -> Vec<Blob> {
    let raw = |at: usize| vec![Blob { at, bytes: packet.len() - at, decoded: None }]; // at lies in the packet
    match packet {
        [5, b'v', b'o', b'r', b'b', b'i', b's', ..] | [0x82, b't', b'h', b'e', b'o', b'r', b'a', ..]
            if packet.len() >= SETUP_ALONE =>
        {
            raw(0)
        }
        [3, b'v', b'o', b'r', b'b', b'i', b's', ..] | [0x81, b't', b'h', b'e', b'o', b'r', b'a', ..] => {
            comment(packet, 7)
        }
        [b'O', b'p', b'u', b's', b'T', b'a', b'g', b's', ..] => comment(packet, 8),
        [b'O', b'V', b'P', b'8', b'0', 2, b' ', ..] => comment(packet, 7),
        // FLAC's metadata blocks 4 and 6.
        [4 | 0x84, _, _, _, ..] if !comment(packet, 4).is_empty() => comment(packet, 4),
        [6 | 0x86, _, _, _, block @ ..] if image(block).is_some_and(|at| block.len() - at >= PICTURE_ALONE) => {
            raw(4 + image(block).unwrap_or(0)) // the image lies in the block
        }
        // Speex has nothing before its comment.
        _ => comment(packet, 0),
    }
}

/// The pictures of a comment (Vorbis I specification, section 5) whose vendor string begins at `at`.
fn comment(packet: &[u8], mut at: usize) -> Vec<Blob> {
    let mut out = Vec::new();
    if packet.len() < PICTURE_ALONE {
        return out;
    }
    let number = |at: &mut usize| {
        let four = packet.get(*at..)?.first_chunk()?;
        *at += 4;
        usize::try_from(u32::from_le_bytes(*four)).ok()
    };
    let mut fields = || {
        let vendor = number(&mut at)?;
        at = at.checked_add(vendor)?;
        // Each field takes 4 bytes of the packet, or ends the loop.
        for _ in 0..number(&mut at)? {
            let bytes = number(&mut at)?;
            let field = packet.get(at..)?.get(..bytes)?;
            if bytes >= PICTURE_ALONE
                && let Some(name) = field.iter().take(64).position(|&b| b == b'=')
                && let Some(decoded) = field.get(name + 1..).and_then(base64::decode)
            {
                let front = image(&decoded).unwrap_or(0);
                out.push(Blob { at: at + name + 1, bytes: bytes - name - 1, decoded: Some((decoded, front)) });
            }
            at += bytes;
        }
        Some(())
    };
    // What was found before it ends early is true all the same.
    let _ = fields();
    out
}

/// Where the image begins in a PICTURE block that ends with it (RFC 9639, section 8.8).
fn image(block: &[u8]) -> Option<usize> {
    let mut at = 4_usize;
    // Media type, description; then width, height, depth, colours.
    for behind in [0, 16] {
        let bytes = u32::from_be_bytes(*block.get(at..)?.first_chunk()?);
        at = at.checked_add(4)?.checked_add(usize::try_from(bytes).ok()?)?.checked_add(behind)?;
    }
    let bytes = u32::from_be_bytes(*block.get(at..)?.first_chunk()?);
    let image = block.get(at + 4..)?;
    (!image.is_empty() && image.len() == usize::try_from(bytes).ok()?).then_some(at + 4)
}

#[cfg(test)]
mod tests {
    use super::super::super::testing::noise;
    use super::*;

    pub fn picture_block(image: &[u8]) -> Vec<u8> {
        let mut block = 3_u32.to_be_bytes().to_vec();
        for text in ["image/png", "front"] {
            block.extend((text.len() as u32).to_be_bytes());
            block.extend(text.as_bytes());
        }
        block.extend([0; 16]);
        block.extend((image.len() as u32).to_be_bytes());
        block.extend(image);
        block
    }

    fn comment_of(start: &[u8], fields: &[Vec<u8>]) -> Vec<u8> {
        let mut packet = start.to_vec();
        packet.extend(6_u32.to_le_bytes());
        packet.extend(b"vendor");
        packet.extend((fields.len() as u32).to_le_bytes());
        for field in fields {
            packet.extend((field.len() as u32).to_le_bytes());
            packet.extend(field);
        }
        packet.push(1);
        packet
    }

    fn field(name: &str, value: &[u8]) -> Vec<u8> {
        let mut field = format!("{name}=").into_bytes();
        base64::encode(value, &mut field);
        field
    }

    #[test]
    fn a_picture_is_found_in_every_kind_of_comment() {
        let image = noise(20_000);
        let block = picture_block(&image);
        let fields = [b"TITLE=x".to_vec(), field("METADATA_BLOCK_PICTURE", &block), field("COVERART", &image)];
        for start in [&b"\x03vorbis"[..], b"\x81theora", b"OpusTags", b"OVP80\x02 ", b"\x84\0\0\0", b""] {
            let packet = comment_of(start, &fields);
            let found = blobs(&packet);
            let [a, b] = &found[..] else { panic!("{start:?} {found:?}") };
            for (blob, front) in [(a, block.len() - image.len()), (b, 0)] {
                let (decoded, f) = blob.decoded.as_ref().unwrap();
                assert_eq!(*f, front);
                assert_eq!(decoded[front..], image);
                let mut letters = Vec::new();
                base64::encode(decoded, &mut letters);
                assert_eq!(packet[blob.at..blob.at + blob.bytes], letters);
            }
            for cut in 0..packet.len().min(200) {
                assert_eq!(blobs(&packet[..cut]), []);
            }
        }
    }

    #[test]
    fn a_picture_of_flac_and_a_setup_are_found() {
        let image = noise(20_000);
        let packet = [&b"\x06\0\0\0"[..], &picture_block(&image)].concat();
        assert_eq!(blobs(&packet), [Blob { at: packet.len() - image.len(), bytes: image.len(), decoded: None }]);
        let setup = [&b"\x05vorbis"[..], &noise(4000)].concat();
        assert_eq!(blobs(&setup), [Blob { at: 0, bytes: 4007, decoded: None }]);
        assert_eq!(blobs(&setup[..500]), []);
    }

    #[test]
    fn lengths_that_lie_are_passed_over() {
        let mut packet = comment_of(b"OpusTags", &[field("COVERART", &noise(20_000))]);
        for at in [8, 18, 22] {
            let mut lie = packet.clone();
            lie[at..at + 4].copy_from_slice(&[0xff; 4]);
            assert!(blobs(&lie).len() <= 1);
        }
        packet[4000] = b'-';
        assert_eq!(blobs(&packet), []);
    }
}
