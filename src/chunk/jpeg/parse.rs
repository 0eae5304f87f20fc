//! Markers of a JPEG file: what a scan needs to be known.
//!
//! The bytes come in any pieces. What is not understood ends the reading: then nothing is known.

use super::huffman::Huffman;
use std::sync::Arc;

/// Bytes of the longest segment behind its marker.
const SEGMENT_MAX: usize = 65535;

/// A component of the frame.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Component {
    pub id: u8,
    /// Blocks of an MCU, across and down: 1 to 4.
    pub across: u8,
    pub down: u8,
    /// Its table of steps, 0 to 3.
    pub steps: u8,
}

/// What SOF says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Frame {
    pub progressive: bool,
    pub width: u16,
    pub height: u16,
    /// One to four.
    pub components: Vec<Component>,
}

/// What SOS says of a component.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Part {
    /// Its place in the frame.
    pub component: u8,
    /// Its tables, 0 to 3 each.
    pub dc: u8,
    pub ac: u8,
}

/// What SOS says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scan {
    pub parts: Vec<Part>,
    /// Coefficients, in zigzag order, the last one included.
    pub from: u8,
    pub to: u8,
    /// Bits that are left for later scans.
    pub low: u8,
}

/// The steps of quantisation, in zigzag order.
pub type Steps = [u16; 64];

/// What was said so far and counts for what follows.
#[derive(Clone, Debug, Default)]
pub struct Known {
    pub frame: Option<Arc<Frame>>,
    pub scan: Option<Arc<Scan>>,
    pub dc: [Option<Arc<Huffman>>; 4],
    pub ac: [Option<Arc<Huffman>>; 4],
    pub steps: [Option<Arc<Steps>>; 4],
    /// MCUs between restart markers, 0 for none.
    pub interval: u16,
}

/// Where the reading is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Phase {
    /// It knows nothing, and waits for another picture.
    #[default]
    Lost,
    /// Among markers.
    Markers,
    /// In a segment that does not matter, with so many bytes left.
    Skipping(u32),
    /// In a scan whose units are known.
    Units,
    /// In a scan of which only the end is looked for.
    Opaque,
}

/// Reads markers.
#[derive(Clone, Debug, Default)]
pub struct Parser {
    pub known: Known,
    pub phase: Phase,
    /// The segment that is not whole yet.
    held: Vec<u8>,
}

/// Whether these bytes begin a picture.
fn is_start(front: &[u8]) -> bool {
    matches!(front, [0xff, 0xd8, 0xff, ..])
}

/// Whether a picture's bytes may begin with these: with SOI, or, where that lies elsewhere with all that describes the picture, with
/// any marker that is followed here and stands before a scan.
pub fn may_begin(front: &[u8]) -> bool {
    is_start(front) || matches!(front, [0xff, 0xc0..=0xc2 | 0xc4 | 0xdb | 0xdd | 0xe0..=0xef | 0xfe, ..])
}

impl Known {
    /// The scan's own words, if all is there that its units need.
    pub fn ready(&self) -> Option<(&Frame, &Scan)> {
        let (frame, scan) = (self.frame.as_deref()?, self.scan.as_deref()?);
        let tables = scan.parts.iter().all(|p| {
            let dc = scan.from > 0 || self.dc.get(usize::from(p.dc)).is_some_and(Option::is_some);
            let ac = scan.to == 0 || self.ac.get(usize::from(p.ac)).is_some_and(Option::is_some);
            let component = frame.components.get(usize::from(p.component)).is_some();
            dc && ac && component
        });
        tables.then_some((frame, scan))
    }
}

impl Parser {
    /// Begins a picture if these bytes may be its front; a chunk begins with them. Returns whether one begins.
    pub fn begin(&mut self, front: &[u8]) -> bool {
        let begins = match self.phase {
            Phase::Lost => may_begin(front),
            // No codes hold SOI: the picture before broke off. Between segments it is a marker like others.
            Phase::Units | Phase::Opaque => is_start(front),
            Phase::Markers => self.held.is_empty() && is_start(front),
            // In a segment it is that of a thumbnail.
            Phase::Skipping(_) => false,
        };
        if begins {
            *self = Parser { phase: Phase::Markers, ..Parser::default() };
        }
        begins
    }

    /// Whether nothing is known yet, and a marker comes next.
    pub fn is_fresh(&self) -> bool {
        let known = &self.known;
        let tables = known.dc.iter().chain(&known.ac).all(Option::is_none) && known.steps.iter().all(Option::is_none);
        self.phase == Phase::Markers && self.held.is_empty() && known.frame.is_none() && tables && known.interval == 0
    }

    /// Ends the reading.
    pub fn lose(&mut self) {
        *self = Parser::default();
    }

    /// Takes bytes until a scan's units begin or the bytes end; returns how many.
    pub fn take(&mut self, bytes: &[u8]) -> usize {
        let mut at = 0;
        while let Some(rest) = bytes.get(at..).filter(|rest| !rest.is_empty()) {
            match self.phase {
                Phase::Lost => return bytes.len(),
                Phase::Units => return at,
                Phase::Skipping(left) => {
                    let n = rest.len().min(left as usize);
                    at += n;
                    let left = left - n as u32; // at most `left`
                    self.phase = if left > 0 { Phase::Skipping(left) } else { Phase::Markers };
                }
                Phase::Opaque => at += self.pass(rest),
                Phase::Markers => at += self.marker(rest),
            }
        }
        at
    }

    /// Looks for the marker that ends a scan.
    fn pass(&mut self, rest: &[u8]) -> usize {
        let Some((first, _)) = rest.split_first() else { return 0 };
        if self.held.is_empty() {
            let found = rest.iter().position(|b| *b == 0xff);
            if found.is_some() {
                self.held.push(0xff);
            }
            return found.map_or(rest.len(), |n| n + 1);
        }
        match first {
            0xff => {} // it fills
            0 | 0xd0..=0xd7 => self.held.clear(),
            _ => {
                self.phase = Phase::Markers; // with its 0xff held
                return 0;
            }
        }
        1
    }

    /// Takes one byte, or what belongs to a segment.
    fn marker(&mut self, rest: &[u8]) -> usize {
        match self.held.len() {
            0..4 => {
                let Some(byte) = rest.first() else { return 0 };
                match (self.held.len(), byte) {
                    (0, 0xff) => self.held.push(*byte),
                    (1, 0xff) => {}
                    (1, 0xd8) => *self = Parser { phase: Phase::Markers, ..Parser::default() },
                    (1, 0xd9) => self.held.clear(),
                    (1, 0xc0..=0xc2 | 0xc4 | 0xda | 0xdb | 0xdd | 0xe0..=0xef | 0xfe) | (2, _) => self.held.push(*byte),
                    (3, _) => {
                        self.held.push(*byte);
                        self.sized();
                    }
                    _ => self.lose(),
                }
                1
            }
            held => {
                let want = self.length() + 2;
                let n = rest.len().min(want.saturating_sub(held));
                self.held.extend_from_slice(rest.get(..n).unwrap_or_default());
                if self.held.len() == want {
                    self.whole();
                }
                n
            }
        }
    }

    /// What the segment says is its length: with the two bytes that say it.
    fn length(&self) -> usize {
        let said = |n: usize| usize::from(self.held.get(n).copied().unwrap_or(0));
        said(2) << 8 | said(3)
    }

    /// The segment's length is known.
    fn sized(&mut self) {
        let length = self.length();
        debug_assert!(length <= SEGMENT_MAX);
        match self.held.get(1) {
            _ if length < 2 => self.lose(),
            Some(0xe0..=0xef | 0xfe) => {
                self.held.clear();
                self.phase = if length > 2 { Phase::Skipping(length as u32 - 2) } else { Phase::Markers };
            }
            _ if length == 2 => self.lose(),
            _ => {}
        }
    }

    /// The segment is whole.
    fn whole(&mut self) {
        let held = std::mem::take(&mut self.held);
        let Some((head, body)) = held.split_first_chunk::<4>() else { return self.lose() };
        let done = match head[1] {
            0xdb => self.quantisation(body),
            0xc4 => self.tables(body),
            0xdd => body.first_chunk::<2>().map(|n| self.known.interval = u16::from_be_bytes(*n)),
            0xda => self.scan(body),
            kind => self.frame(kind == 0xc2, body),
        };
        if done.is_none() {
            self.lose();
        }
    }

    fn quantisation(&mut self, mut body: &[u8]) -> Option<()> {
        while let Some((kind, rest)) = body.split_first() {
            let mut steps = [1; 64];
            body = match kind >> 4 {
                0 => {
                    let (said, rest) = rest.split_first_chunk::<64>()?;
                    steps.iter_mut().zip(said).for_each(|(s, b)| *s = u16::from(*b));
                    rest
                }
                1 => {
                    let (said, rest) = rest.split_first_chunk::<128>()?;
                    steps.iter_mut().zip(said.as_chunks::<2>().0).for_each(|(s, b)| *s = u16::from_be_bytes(*b));
                    rest
                }
                _ => return None,
            };
            *self.known.steps.get_mut(usize::from(kind & 15))? = Some(Arc::new(steps));
        }
        Some(())
    }

    fn tables(&mut self, mut body: &[u8]) -> Option<()> {
        while let Some((kind, rest)) = body.split_first() {
            let table = Arc::new(Huffman::new(rest)?);
            body = rest.get(table.said.len()..)?;
            let tables = match kind >> 4 {
                0 => &mut self.known.dc,
                1 => &mut self.known.ac,
                _ => return None,
            };
            *tables.get_mut(usize::from(kind & 15))? = Some(table);
        }
        Some(())
    }

    fn frame(&mut self, progressive: bool, body: &[u8]) -> Option<()> {
        let (&[bits, h0, h1, w0, w1, count], rest) = body.split_first_chunk::<6>()?;
        let (parts, rest) = rest.as_chunks::<3>();
        let mut components = Vec::new();
        for &[id, size, steps] in parts {
            components.push(Component { id, across: size >> 4, down: size & 15, steps });
        }
        let frame = Frame {
            progressive,
            width: u16::from_be_bytes([w0, w1]),
            height: u16::from_be_bytes([h0, h1]),
            components,
        };
        let fits = bits == 8 && usize::from(count) == parts.len() && rest.is_empty() && frame.is_sound();
        self.known.frame = Some(Arc::new(frame));
        fits.then_some(())
    }

    fn scan(&mut self, body: &[u8]) -> Option<()> {
        let frame = self.known.frame.clone()?;
        let (count, rest) = body.split_first()?;
        let (parts, rest) = rest.as_chunks::<2>();
        // The three last bytes: an odd number of bytes, and one pair of them.
        let (pairs, last) = parts.split_at_checked(usize::from(*count))?;
        let (&[[from, to]], &[bits]) = (last, rest) else { return None };
        let mut scan = Scan { parts: Vec::new(), from, to, low: bits & 15 };
        for &[id, tables] in pairs {
            let component = frame.components.iter().position(|c| c.id == id)? as u8; // one of four
            scan.parts.push(Part { component, dc: tables >> 4, ac: tables & 15 });
        }
        let first = bits >> 4 == 0;
        let known = scan.is_sound(&frame) && first;
        self.known.scan = Some(Arc::new(scan));
        // What is not known here may be a scan all the same.
        self.phase = if known && self.known.ready().is_some() { Phase::Units } else { Phase::Opaque };
        Some(())
    }
}

impl Frame {
    /// Whether it is one that is followed here.
    pub fn is_sound(&self) -> bool {
        let ids =
            self.components.iter().enumerate().all(|(n, c)| !self.components.iter().skip(n + 1).any(|o| o.id == c.id));
        self.width > 0
            && self.height > 0
            && (1..=4).contains(&self.components.len())
            && ids
            && self.components.iter().all(|c| (1..=4).contains(&c.across) && (1..=4).contains(&c.down) && c.steps < 4)
    }
}

impl Scan {
    /// Whether its units are followed here.
    pub fn is_sound(&self, frame: &Frame) -> bool {
        let blocks: u32 = self
            .parts
            .iter()
            .filter_map(|p| frame.components.get(usize::from(p.component)))
            .map(|c| u32::from(c.across) * u32::from(c.down))
            .sum();
        let once = self
            .parts
            .iter()
            .enumerate()
            .all(|(n, p)| !self.parts.iter().skip(n + 1).any(|o| o.component == p.component));
        let parts = match self.parts.len() {
            1 => true,
            2..=4 => blocks <= 10,
            _ => false,
        };
        let band = match (frame.progressive, self.from, self.to) {
            (false, 0, 63) => self.low == 0,
            (true, 0, 0) => self.low <= 13,
            (true, from @ 1.., to @ ..64) => from <= to && self.parts.len() == 1 && self.low <= 13,
            _ => false,
        };
        parts
            && once
            && band
            && self.parts.iter().all(|p| p.dc < 4 && p.ac < 4 && usize::from(p.component) < frame.components.len())
    }
}
