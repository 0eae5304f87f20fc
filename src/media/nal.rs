//! Units of coded video that carry their own length, as MP4, Matroska and FLV keep them: network abstraction layer (NAL) units of
//! H.264 and HEVC behind four bytes of length, frames of ProRes.
//!
//! Owns what tells a unit from other bytes, where a key frame begins, and the search for units in an `mdat` whose tables
//! have not come yet: what lies between them is sound, mostly.
//!
//! # Invariants
//!
//! 1. Nothing is believed but sizes within what is left; a wrong guess puts bytes into another stream and costs space only.
//! 2. A search looks at [`SEARCH`] bytes, and tries [`TRIES`] candidates with [`BETWEEN`] bytes each, at most.

/// Bytes of a unit, at most: more is taken as no unit.
const UNIT_MAX: u64 = 4 << 20;
/// Bytes of a frame of ProRes, at most.
const FRAME_MAX: u64 = 64 << 20;
/// Bytes that lie between two units, mostly fewer: sound.
const BETWEEN: usize = 4 << 10;
/// Bytes that a search looks at.
pub const SEARCH: usize = 64 << 10;
/// Candidates of a search.
const TRIES: usize = 64;
/// Units that must follow each other before a file's codec is believed.
const CONFIRMED: usize = 4;
/// The same within a file.
const CHAINED: usize = 3;
/// Units before a frame's first slice that are looked at.
const BEFORE_SLICE: usize = 16;

/// How units are coded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Codec {
    Avc,
    Hevc,
    ProRes,
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
    let (least, most) = if codec == Codec::ProRes { (16, FRAME_MAX) } else { (6, UNIT_MAX + 4) };
    (bytes >= least && bytes <= left.min(most)).then_some(Unit { bytes, kind })
}

/// Whether a slice's header looks like one of the first slice of a picture (H.264, section 7.3.3): its type is a known one,
/// and its parameter set the first.
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
        (_, Kind::Before) => true,
        (Codec::ProRes, _) => true,
        (Codec::Hevc, Kind::Key | Kind::First) => true,
        _ => false,
    }
}

const NO_LEADS: Leads = Leads { counts: [0; 128], total: 0 };

/// Bytes of which a track (or a box) has `left`, and how many more candidates may be tried.
struct Sight<'l> {
    codec: Codec,
    look: &'l [u8],
    left: u64,
    tries: usize,
    leads: Leads,
}

/// How what lies between units begins: packets of sound mostly begin alike (a stereo frame of AAC with 0x21, say), which
/// tells a length that is none from one that is.
#[derive(Clone, Copy, Debug)]
struct Leads {
    /// By the upper seven bits of the first byte.
    counts: [u32; 128],
    total: u32,
}

impl Leads {
    /// Packets before which nothing is believed, and one in how many must begin like one that is.
    const FEW: u32 = 16;

    fn note(&mut self, first: u8) {
        if let Some(count) = self.counts.get_mut(usize::from(first >> 1)) {
            *count = count.saturating_add(1);
            self.total = self.total.saturating_add(1);
        }
    }

    fn is_known(&self, first: u8) -> bool {
        let count = self.counts.get(usize::from(first >> 1)).copied().unwrap_or(0);
        self.total < Self::FEW || count >= self.total / Self::FEW
    }
}

impl Sight<'_> {
    /// The unit at a place, and whether it looks like one without one before it.
    fn unit(&self, at: usize) -> Option<(Unit, bool)> {
        let rest = self.look.get(at..)?;
        let unit = unit(self.codec, rest, self.left.checked_sub(at as u64)?)?;
        Some((unit, is_plausible(self.codec, rest, &unit)))
    }

    /// Whether there is a unit at a place, and so many follow: at once, or within [`BETWEEN`] bytes.
    fn is_chain(&mut self, at: usize, more: usize) -> bool {
        let Some((unit, _)) = self.unit(at) else { return false };
        let Some(end) = usize::try_from(unit.bytes).ok().and_then(|n| at.checked_add(n)) else { return false };
        // At the end of the data there is nothing to follow.
        if more == 0 || end as u64 + BETWEEN as u64 >= self.left {
            return true;
        }
        if end >= self.look.len() {
            // A frame of ProRes has a name, which is proof enough where its end is out of sight.
            return self.codec == Codec::ProRes;
        }
        let goes_on = self.unit(end).is_some() || self.look.get(end).is_some_and(|&b| self.leads.is_known(b));
        if !goes_on {
            return false;
        }
        for next in end..self.look.len().min(end + BETWEEN) {
            if (next == end || self.look.get(next) == Some(&0) || self.codec == Codec::ProRes)
                && self.unit(next).is_some_and(|(_, plausible)| plausible || next == end)
            {
                if self.tries == 0 {
                    return false;
                }
                self.tries -= 1;
                if self.is_chain(next, more - 1) {
                    return true;
                }
            }
        }
        false
    }

    /// The first place where a unit begins, within [`SEARCH`] bytes. Where several may, near each other, the shortest unit is
    /// believed: a length that is none is a random number, so it is large.
    fn search(&mut self, more: usize) -> Option<usize> {
        let mut found: Option<(u64, usize)> = None;
        let mut end = self.look.len().min(SEARCH);
        let mut at = 0;
        while at < end {
            // Nearly all places are passed here.
            if (self.look.get(at) == Some(&0) || self.codec == Codec::ProRes)
                && let Some((unit, true)) = self.unit(at)
                && found.is_none_or(|(bytes, _)| unit.bytes < bytes)
            {
                if self.is_chain(at, more) {
                    // Others are looked for within its own bytes.
                    end = end.min(at + BETWEEN.min(usize::try_from(unit.bytes).unwrap_or(BETWEEN)));
                    found = Some((unit.bytes, at));
                } else if let Some(tries) = self.tries.checked_sub(1) {
                    self.tries = tries;
                } else {
                    break;
                }
            }
            at += 1;
        }
        found.map(|(_, at)| at)
    }
}

/// The codec of an `mdat` of which nothing else is known.
pub fn detect(look: &[u8], left: u64) -> Option<Codec> {
    // Pictures, groups and sequences of MPEG-1, 2 and 4: their start codes look like lengths.
    let front = look.get(..SEARCH).unwrap_or(look);
    if front.windows(4).any(|w| matches!(w, [0, 0, 1, 0xb0 | 0xb3 | 0xb6 | 0xb8])) {
        return None;
    }
    let found = [Codec::ProRes, Codec::Hevc, Codec::Avc].into_iter();
    let found = found.filter_map(|codec| {
        Some((Sight { codec, look, left, tries: TRIES, leads: NO_LEADS }.search(CONFIRMED)?, codec))
    });
    found.min_by_key(|(at, _)| *at).map(|(_, codec)| codec)
}

/// Units one behind the other.
#[derive(Clone, Copy, Debug)]
pub struct Chain {
    codec: Codec,
    /// The unit before was a slice (or there was none).
    behind_slice: bool,
}

/// Units, and what lies between them, in an `mdat` whose tables have not come.
#[derive(Clone, Debug)]
pub struct Finder {
    chain: Chain,
    /// The bytes before were a unit.
    in_row: bool,
    leads: Leads,
}

/// What comes next in an `mdat`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    Unit { bytes: u64, key: bool },
    Other { bytes: u64 },
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

impl Finder {
    pub fn new(codec: Codec) -> Finder {
        Finder { chain: Chain::new(codec), in_row: false, leads: NO_LEADS }
    }

    /// What starts `look`: a unit, or bytes up to one.
    pub fn next(&mut self, look: &[u8], left: u64) -> Found {
        if self.in_row
            && let Some((bytes, key)) = self.chain.unit(look, left)
        {
            return Found::Unit { bytes, key };
        }
        if self.in_row
            && let Some(first) = look.first()
        {
            self.leads.note(*first);
        }
        let found = Sight { codec: self.chain.codec, look, left, tries: TRIES, leads: self.leads }.search(CHAINED);
        if found == Some(0)
            && let Some((bytes, key)) = self.chain.unit(look, left)
        {
            self.in_row = true;
            return Found::Unit { bytes, key };
        }
        self.in_row = found.is_some();
        let bytes = found.unwrap_or(look.len().min(SEARCH));
        Found::Other { bytes: (bytes as u64).min(left).max(1) }
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
