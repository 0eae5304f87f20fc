//! Units of a scan: what the standard calls an MCU, or a block where the scan has one component.
//!
//! Read from a scan's bits and written to them. What comes out of [`Writer`] is what [`Layout::read`] took, for files
//! whose encoder had no choice or chose as all known ones do; it is for the caller to compare.

use super::huffman::{Bits, BitsOut, Huffman, Stop};
use super::parse::{Frame, Known, Scan};
use std::sync::Arc;

/// A block's coefficients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Block {
    /// In zigzag order.
    pub values: [i16; 64],
    /// A bit for each that is not zero, the first one lowest. The first coefficient has none.
    pub some: u64,
}

impl Block {
    pub const EMPTY: Block = Block { values: [0; 64], some: 0 };

    /// A coefficient that is not zero. What is longer than 16 bits is cut.
    #[inline(always)]
    pub fn set(&mut self, at: usize, value: i32) {
        self.values[at & 63] = value as i16;
        self.some |= 1 << (at & 63);
    }
}

/// Blocks of a unit, at most (ITU-T T.81, B.2.3).
pub const BLOCKS_MAX: usize = 10;

/// The longest run of blocks whose rest is zero.
const RUN_MAX: u32 = 0x7fff;

/// What a scan says of its blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// All coefficients.
    Whole,
    /// The first one, in a progressive file.
    Dc,
    /// Some of the others, in a progressive file.
    Band { from: u8, to: u8 },
}

/// A block's place in its unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Within {
    /// The scan's component, and the frame's.
    pub part: u8,
    pub component: u8,
    pub x: u8,
    pub y: u8,
}

/// A scan's units.
#[derive(Clone, Debug)]
pub struct Layout {
    pub kind: Kind,
    pub units_across: u32,
    pub units: u32,
    pub blocks: Vec<Within>,
    /// By component of the scan: blocks of a unit across and down.
    pub sizes: Vec<(u8, u8)>,
    /// Units between restart markers, 0 for none.
    pub interval: u32,
    dc: [Option<Arc<Huffman>>; 4],
    ac: [Option<Arc<Huffman>>; 4],
}

/// How far a scan is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// Units before.
    pub unit: u32,
    /// By component of the scan: what its next first coefficient is told as a difference to.
    pub before: [i16; 4],
    /// Bits of the first byte that belong to the units before.
    pub phase: u8,
    /// The unit before ended a run that could have been longer: another one cannot follow at once.
    pub ran: bool,
}

impl Layout {
    /// Of the scan that is known, if its units can be followed.
    pub fn new(known: &Known) -> Option<Layout> {
        let (frame, scan): (&Frame, &Scan) = known.ready()?;
        let most = |of: fn(&super::parse::Component) -> u8| frame.components.iter().map(of).max().unwrap_or(1).max(1);
        let (across, down) = (u32::from(most(|c| c.across)), u32::from(most(|c| c.down)));
        let (width, height) = (u32::from(frame.width), u32::from(frame.height));
        let (mut blocks, mut sizes) = (Vec::new(), Vec::new());
        let (mut dc, mut ac) = ([const { None }; 4], [const { None }; 4]);
        let (mut units_across, mut units_down) = (width.div_ceil(8 * across), height.div_ceil(8 * down));
        for ((part, p), (dc, ac)) in (0..4).zip(&scan.parts).zip(dc.iter_mut().zip(&mut ac)) {
            let c = frame.components.get(usize::from(p.component))?;
            let (mut h, mut v) = (c.across, c.down);
            if scan.parts.len() == 1 {
                units_across = (width * u32::from(h)).div_ceil(across).div_ceil(8);
                units_down = (height * u32::from(v)).div_ceil(down).div_ceil(8);
                (h, v) = (1, 1);
            }
            for (y, x) in (0..v).flat_map(|y| (0..h).map(move |x| (y, x))) {
                blocks.push(Within { part, component: p.component, x, y });
            }
            sizes.push((h, v));
            *dc = known.dc.get(usize::from(p.dc))?.clone();
            *ac = known.ac.get(usize::from(p.ac))?.clone();
        }
        let kind = match (frame.progressive, scan.from) {
            (false, _) => Kind::Whole,
            (true, 0) => Kind::Dc,
            (true, from) => Kind::Band { from, to: scan.to },
        };
        let fits = (1..=BLOCKS_MAX).contains(&blocks.len());
        let interval = u32::from(known.interval);
        let units = units_across * units_down; // both at most 2^13
        fits.then_some(Layout { kind, units_across, units, blocks, sizes, interval, dc, ac })
    }

    /// Whether a restart marker stands before the unit, and which.
    pub fn restart(&self, unit: u32) -> Option<u8> {
        let restarts = self.interval > 0 && unit > 0 && unit.is_multiple_of(self.interval);
        restarts.then(|| ((unit / self.interval - 1) % 8) as u8)
    }

    /// Reads a unit into `blocks`, and moves the place behind it and behind the empty units that its end stands for.
    #[inline]
    pub fn read(&self, bits: &mut Bits<'_>, place: &mut Place, blocks: &mut [Block; BLOCKS_MAX]) -> Result<(), Stop> {
        let mut next = *place;
        if let Some(number) = self.restart(place.unit) {
            bits.restart(number)?;
            (next.before, next.ran) = ([0; 4], false);
        }
        next.unit += 1;
        let ran = std::mem::take(&mut next.ran);
        for (within, block) in self.blocks.iter().zip(blocks) {
            *block = Block::EMPTY;
            let part = usize::from(within.part % 4);
            if !matches!(self.kind, Kind::Band { .. }) {
                let table = self.dc[part].as_ref().ok_or(Stop::Doubt)?; // there are four
                let length = u32::from(bits.symbol(table)?);
                if length > 15 {
                    return Err(Stop::Doubt);
                }
                let value = i32::from(next.before[part]) + bits.signed(length)?;
                next.before[part] = i16::try_from(value).map_err(|_| Stop::Doubt)?;
                block.values[0] = next.before[part];
            }
            let (from, to) = match self.kind {
                Kind::Whole => (1, 63),
                Kind::Dc => continue,
                Kind::Band { from, to } => (usize::from(from), usize::from(to)),
            };
            let table = self.ac[part].as_ref().ok_or(Stop::Doubt)?;
            let (mut at, mut skipped) = (from, false);
            while at <= to {
                let symbol = bits.symbol(table)?;
                let (run, length) = (usize::from(symbol >> 4), u32::from(symbol & 15));
                if length > 0 {
                    at += run;
                    let value = bits.signed(length)?;
                    let place = block.values.get_mut(at).filter(|_| at <= to && length < 15).ok_or(Stop::Doubt)?;
                    *place = value as i16; // it has at most 14 bits
                    block.some |= 1 << (at & 63);
                    at += 1;
                    skipped = false;
                } else if run == 15 {
                    at += 16;
                    skipped = true;
                } else if skipped || (ran && at == from) {
                    return Err(Stop::Doubt); // nobody skips zeros before the end, nor begins a run behind another
                } else if run > 0 && self.kind == Kind::Whole {
                    return Err(Stop::Doubt);
                } else {
                    // One, or a run of 2^run blocks and more.
                    let more = bits.number(run as u32)?; // at most 14
                    let units = (1 << run) + more;
                    next.unit += units - 1;
                    next.ran = self.kind != Kind::Whole && units < RUN_MAX;
                    break;
                }
            }
            if skipped && at > to {
                return Err(Stop::Doubt);
            }
        }
        // A run does not reach beyond the next restart marker, nor beyond the scan.
        let end = match self.interval {
            0 => self.units,
            interval => (place.unit / interval + 1).saturating_mul(interval).min(self.units),
        };
        if next.unit > end {
            return Err(Stop::Doubt);
        }
        next.phase = 0;
        *place = next;
        Ok(())
    }
}

/// Writes the units of a scan.
#[derive(Debug)]
pub struct Writer<'l> {
    layout: &'l Layout,
    pub bits: BitsOut,
    pub place: Place,
    /// The last units whose rest is zero: not written yet.
    run: u32,
}

impl<'l> Writer<'l> {
    /// Behind `out`, from a place on.
    pub fn new(layout: &'l Layout, out: Vec<u8>, place: Place) -> Writer<'l> {
        Writer { layout, bits: BitsOut::new(out, place.phase), place, run: 0 }
    }

    /// Bytes written so far, but for some bits.
    pub fn written(&self) -> usize {
        self.bits.out.len()
    }

    /// Writes the next unit. `None` if the tables have no code for it.
    #[inline]
    pub fn write(&mut self, blocks: &[Block; BLOCKS_MAX]) -> Option<()> {
        let layout = self.layout;
        if let Some(number) = layout.restart(self.place.unit) {
            self.end()?;
            self.bits.restart(number);
            self.place.before = [0; 4];
        }
        self.place.unit += 1;
        for (within, block) in layout.blocks.iter().zip(blocks) {
            let part = usize::from(within.part % 4);
            if !matches!(layout.kind, Kind::Band { .. }) {
                let difference = i32::from(block.values[0]) - i32::from(self.place.before[part]); // there are four
                self.place.before[part] = block.values[0];
                self.value(layout.dc[part].as_ref()?, 0, difference)?;
            }
            let (from, to) = match layout.kind {
                Kind::Whole => (1, 63),
                Kind::Dc => continue,
                Kind::Band { from, to } => (usize::from(from), usize::from(to)),
            };
            let table = layout.ac[part].as_ref()?;
            let mut next = from;
            let mut left = block.some & u64::MAX >> (63 - (to & 63)) & !((1 << (from & 63)) - 1);
            while left != 0 {
                let at = left.trailing_zeros() as usize; // below 64
                left &= left - 1;
                let mut zeros = (at - next) as u8; // at most 62: those before are done
                next = at + 1;
                self.end_run(table)?;
                while zeros > 15 {
                    let (code, length) = table.code(0xf0);
                    self.bits.put(code, length);
                    (length > 0).then_some(())?;
                    zeros -= 16;
                }
                self.value(table, zeros << 4, i32::from(block.values[at & 63]))?;
            }
            if next <= to {
                self.run += 1;
                if layout.kind == Kind::Whole || self.run == RUN_MAX {
                    self.end_run(table)?;
                }
            }
        }
        Some(())
    }

    /// Writes the run that is open. Runs are of scans with one component, others leave none.
    pub fn end(&mut self) -> Option<()> {
        let layout = self.layout;
        if self.run == 0 { Some(()) } else { self.end_run(layout.ac[0].as_ref()?) }
    }

    /// A value and what stands before it.
    #[inline(always)]
    fn value(&mut self, table: &Huffman, run: u8, value: i32) -> Option<()> {
        let length = 32 - value.unsigned_abs().leading_zeros(); // at most 17
        if length > 15 {
            return None;
        }
        let (code, bits) = table.code(run | length as u8);
        let low = if value < 0 { value - 1 } else { value } as u32 & ((1 << length) - 1);
        self.bits.put(code << length | low, bits + length); // at most 16 + 15
        (bits > 0).then_some(())
    }

    /// Writes the run of units whose rest is zero.
    #[inline]
    fn end_run(&mut self, table: &Huffman) -> Option<()> {
        if self.run == 0 {
            return Some(());
        }
        let length = 31 - self.run.leading_zeros(); // a run is not zero
        let (code, bits) = table.code((length as u8) << 4);
        self.bits.put(code, bits);
        self.bits.put(self.run & ((1 << length) - 1), length);
        self.run = 0;
        (bits > 0).then_some(())
    }
}
