//! Units of coded video that carry their own length, as MP4, Matroska and FLV keep them: network abstraction layer
//! (NAL) units of H.264 and HEVC behind four bytes of length, frames of ProRes and VC-3.
//!
//! Owns what tells a unit from other bytes, and where a key frame begins. [`find`] looks for units among other bytes.
//!
//! # Invariants
//!
//! Nothing is believed but sizes within what is left; a wrong guess puts bytes into another stream and costs space
//! only.

pub mod find;

/// Bytes of a unit, at most: more is taken as no unit.
const UNIT_MAX: u64 = 4 << 20;
/// Bytes of a message (SEI), and of a parameter set, that are believed without a unit before.
const MESSAGE_MAX: u64 = 64 << 10;
const PARAMETERS_MAX: u64 = 1 << 10;
/// Bytes of a frame of ProRes, at most.
const FRAME_MAX: u64 = 64 << 20;
/// Units before a frame's first slice that are looked at.
const BEFORE_SLICE: usize = 16;

/// How units are coded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Codec {
    Avc,
    Hevc,
    ProRes,
    /// VC-3: its frames have a size by their kind.
    Dnx,
}

impl Codec {
    /// A frame has a name, which is proof enough where its end is out of sight.
    fn is_named(self) -> bool {
        matches!(self, Codec::ProRes | Codec::Dnx)
    }
}

/// Bytes of the frame of VC-3 (SMPTE ST 2019-1) that starts `look`: those of HD by their compression id, others by
/// their macroblocks.
fn dnx_frame(look: &[u8]) -> Option<u64> {
    let [0, 0, 2 | 3, 0x80, 1..=3] = look.first_chunk::<5>()? else { return None };
    let number = |at: usize| Some(u64::from(u16::from_be_bytes(*look.get(at..)?.first_chunk()?)));
    let blocks = number(0x18)?.div_ceil(16) * number(0x1a)?.div_ceil(16);
    let by_blocks = |n: u64| Some(((blocks * n / 255 + 2048) / 4096 * 4096).max(8192));
    let [0, 0, kind @ ..] = *look.get(0x28..)?.first_chunk::<4>()? else { return None };
    match u16::from_be_bytes(kind) {
        1235 | 1238 | 1241 | 1243 => Some(917_504),
        1237 | 1242 => Some(606_208),
        1250 | 1251 => Some(458_752),
        1252 => Some(303_104),
        1253 => Some(188_416),
        1256 => Some(1_835_008),
        1258 => Some(212_992),
        1259 | 1260 => Some(417_792),
        1270 => by_blocks(57_344),
        1271 | 1272 => by_blocks(28_672),
        1273 => by_blocks(18_944),
        1274 => by_blocks(5888),
        _ => None,
    }
}

/// What a unit is to its frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// The first slice of a key frame.
    Key,
    /// The first slice of another frame.
    First,
    /// A slice that is not the first.
    More,
    /// What may stand before a frame's slices.
    Before,
    Other,
}

/// A unit with its length in front.
#[derive(Clone, Copy, Debug)]
struct Unit {
    bytes: u64,
    kind: Kind,
}

/// The unit that starts `look`, of which the track (or the box) has `left` bytes.
fn unit(codec: Codec, look: &[u8], left: u64) -> Option<Unit> {
    let &[a, b, c, d, h, ref more @ ..] = look else { return None };
    let size = u64::from(u32::from_be_bytes([a, b, c, d]));
    let second = more.first().copied().unwrap_or(0);
    let (bytes, kind) = match codec {
        Codec::ProRes => (look.get(4..8) == Some(b"icpf")).then_some((size, Kind::Other))?,
        Codec::Dnx => (dnx_frame(look)?, Kind::Other),
        Codec::Avc => {
            let (reference, kind) = (h >> 5, h & 31);
            let first = second & 0x80 != 0;
            let kind = match kind {
                1 if reference < 4 => {
                    if first {
                        Kind::First
                    } else {
                        Kind::More
                    }
                }
                5 if matches!(reference, 1..4) => {
                    if first {
                        Kind::Key
                    } else {
                        Kind::More
                    }
                }
                6 | 9 if reference == 0 => Kind::Before,
                7 | 8 | 13 | 15 if matches!(reference, 1..4) => Kind::Before,
                14 if reference < 4 => Kind::Before,
                10..=12 if reference == 0 => Kind::Other,
                19 | 20 if reference < 4 => Kind::More,
                _ => return None,
            };
            (size.checked_add(4)?, kind)
        }
        Codec::Hevc => {
            let (kind, layer, temporal) = (h >> 1, (h & 1) << 5 | second >> 3, second & 7);
            if layer != 0 || temporal == 0 {
                return None;
            }
            let first = more.get(1).is_some_and(|b| b & 0x80 != 0);
            let kind = match kind {
                0..=9 => {
                    if first {
                        Kind::First
                    } else {
                        Kind::More
                    }
                }
                16..=21 => {
                    if first {
                        Kind::Key
                    } else {
                        Kind::More
                    }
                }
                32..=35 | 39 => Kind::Before,
                36..=38 | 40 | 62 | 63 => Kind::Other,
                _ => return None,
            };
            (size.checked_add(4)?, kind)
        }
    };
    let (least, most) = if codec.is_named() { (16, FRAME_MAX) } else { (6, UNIT_MAX + 4) };
    (bytes >= least && bytes <= left.min(most)).then_some(Unit { bytes, kind })
}

/// Whether a slice's header looks like one of the first slice of a picture (H.264, section 7.3.3): its type is a
/// known one, and its parameter set the first.
fn is_plausible(codec: Codec, look: &[u8], unit: &Unit) -> bool {
    let Some(&slice) = look.get(5) else { return false };
    match (codec, unit.kind) {
        (Codec::Avc, Kind::Key | Kind::First) => {
            // first_mb_in_slice 0 is the bit 1; then slice_type and pic_parameter_set_id.
            match slice & 0x7f {
                0x40..=0x7f => slice & 0x20 != 0,                   // type 0: 1
                0x20..=0x3f => slice & 0x08 != 0 || slice & 4 != 0, // types 1, 2: 01x
                0x10..=0x1f => true,                                // types 3 to 6: 001xx
                0x08..=0x0f => true,                                // types 7 to 9: 0001xxx
                _ => false,
            }
        }
        // What may begin a picture: a message of a known type; a delimiter; the parameters of a known profile.
        (Codec::Avc, Kind::Before) => match look.get(4).map(|h| h & 31) {
            Some(6) => slice <= 47 && unit.bytes <= MESSAGE_MAX,
            Some(7) => {
                matches!(slice, 66 | 77 | 88 | 100 | 110 | 118 | 122 | 128 | 244) && unit.bytes <= PARAMETERS_MAX
            }
            Some(9) => unit.bytes == 6,
            _ => false,
        },
        (Codec::Hevc, Kind::Before) => match look.get(4).map(|h| h >> 1) {
            Some(32 | 33) => unit.bytes <= PARAMETERS_MAX,
            Some(35) => unit.bytes == 7,
            Some(39) => unit.bytes <= MESSAGE_MAX,
            _ => false,
        },
        (Codec::ProRes | Codec::Dnx, _) => true,
        (Codec::Hevc, Kind::Key | Kind::First) => true,
        _ => false,
    }
}

/// Units one behind the other.
#[derive(Clone, Copy, Debug)]
pub struct Chain {
    codec: Codec,
    /// The unit before was a slice (or there was none).
    behind_slice: bool,
}

impl Chain {
    pub fn new(codec: Codec) -> Chain {
        Chain { codec, behind_slice: true }
    }

    /// The bytes of the unit that starts `look`, and whether a key frame begins with it.
    pub fn unit(&mut self, look: &[u8], left: u64) -> Option<(u64, bool)> {
        let unit = unit(self.codec, look, left)?;
        let key = self.behind_slice
            && match unit.kind {
                Kind::Key => true,
                Kind::Before => self.is_key_ahead(look, left),
                _ => false,
            };
        self.behind_slice = match unit.kind {
            Kind::Key | Kind::First | Kind::More => true,
            Kind::Before => false,
            Kind::Other => self.behind_slice,
        };
        Some((unit.bytes, key))
    }

    /// Whether the first slice behind the units that start `look` is one of a key frame.
    fn is_key_ahead(self, look: &[u8], left: u64) -> bool {
        let mut at = 0;
        for _ in 0..BEFORE_SLICE {
            let Some(rest) = look.get(at..) else { return false };
            match unit(self.codec, rest, left.saturating_sub(at as u64)) {
                Some(Unit { bytes, kind: Kind::Before | Kind::Other }) => {
                    at = at.saturating_add(usize::try_from(bytes).unwrap_or(usize::MAX));
                }
                found => return found.is_some_and(|u| u.kind == Kind::Key),
            }
        }
        false
    }
}

/// Whether a frame that is not in units is a key frame: MPEG-1 and 2, VP8, VP9.
pub fn is_key_frame(frame: &[u8]) -> bool {
    match frame {
        [0, 0, 1, 0xb3, ..] => true,
        [a, _, _, 0x9d, 1, 0x2a, ..] => a & 1 == 0,
        // Profiles 0 to 2: frame marker, no existing frame shown, key frame; the sync code follows.
        [a, 0x49, 0x83, 0x42, ..] => a >> 6 == 2 && a & 0x0c == 0,
        _ => false,
    }
}
