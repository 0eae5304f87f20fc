//! Scans of JPEG files, chunk by chunk: the coefficients in place of their Huffman codes.
//!
//! A [`Walker`] follows one picture through the chunks of its stream and knows, where a chunk begins, what its bits mean.
//! [`encode`] makes a payload from that and the chunk, which [`decode`] turns back without anything else. What the walker does
//! not follow, and what lies around the units that are whole in a chunk, stays as it is.
//!
//! ```text
//!  size  field
//!     1  begins        1: the chunk begins with a marker, of which nothing before matters; 0: a head follows
//!     .  head          frame, scan, place, tables: see `head`
//!     n  coded bytes   c, a number
//!     c  coded         the blocks of all units, by `coder` and `model`
//!     n  items         a number, and for each of them:
//!     n    plain bytes   p
//!     p    plain         the last one holds the first bits of what follows, if it does not begin on a byte
//!     n    units
//!     .  plain         the rest of the chunk; it begins with the byte that the last unit ends in, if it ends within one
//! ```
//! Numbers are seven bits a byte, the lowest first, with the highest bit set where more follow. Where units are known is read from the
//! markers in plain bytes, after the first scan of a head: the way back follows the picture as the walker does.
//!
//! # What is coded
//!
//! Whole units (MCUs, or blocks where a scan has one component) of sequential scans with Huffman codes and 8 bits a sample, and the first
//! scans of progressive ones: restart markers and what fills the bytes before them are made again. Scans that refine earlier ones need
//! these to be read at all, which may lie megabytes before: they stay plain, as do arithmetic codes, 12 bits, lossless and hierarchical
//! files, and all that is not as an encoder writes it (other bits that fill, codes with a choice that none uses).
//!
//! # Invariants
//!
//! 1. A payload is decodable alone: what it needs of the picture before it stands in front.
//! 2. The walker and both ways are total. What they do not understand ends in plain bytes.
//! 3. A decoder writes at most what it was asked for, in time and memory that its lengths bound: two rows of blocks and more
//!    for each component, at most 22 MB (of a picture 65 535 samples wide), and 16 units and blocks of such rows a byte.
//! 4. Whole numbers only: what is written is the same on every machine.

mod annex;
mod chances;
mod coder;
mod head;
mod huffman;
mod model;
mod order;
mod parse;
mod units;

use coder::{Decoder, Encoder};
use head::{Needs, Reader, put_head, put_number, take_head};
use huffman::{Bits, Stop};
use model::{Dequant, Model, Rows};
use parse::{Known, Parser, Phase};
use std::ops::Range;
use std::sync::Arc;
use units::{BLOCKS_MAX, Block, Layout, Place, Writer};

pub use parse::may_begin;

/// Bytes that one unit takes, at most, with what is stuffed: beyond it is doubt.
const UNIT_BYTES_MAX: usize = 8 << 10;
/// Units of a payload for each plain byte, at most, and blocks of the rows that are kept for each scan: a run of empty blocks costs
/// next to nothing in a file, and a scan of a wide picture need have but one unit.
const UNITS_PER_BYTE: u32 = 16;
/// Shorter chunks are left alone.
const PLAIN_MIN: usize = 256;

/// Follows a picture through its stream.
#[derive(Clone, Debug, Default)]
pub struct Walker {
    parser: Parser,
    /// The unit that is not whole yet.
    held: Vec<u8>,
    place: Place,
}

/// What is known where a chunk begins.
#[derive(Clone, Debug)]
pub struct Start(Box<Walker>);

impl Walker {
    /// Takes the next chunk of the stream. Returns what [`encode`] needs for it, if anything is known of the picture.
    pub fn follow(&mut self, chunk: &[u8]) -> Option<Start> {
        if self.parser.begin(chunk) {
            self.held.clear(); // of a picture that broke off
        }
        if self.parser.phase == Phase::Lost {
            return None;
        }
        let start = Start(Box::new(self.clone()));
        self.walk(chunk, None);
        Some(start)
    }

    fn walk(&mut self, chunk: &[u8], mut sections: Option<&mut Sections>) {
        let joined;
        let held = std::mem::take(&mut self.held);
        let (bytes, before) = if held.is_empty() {
            (chunk, 0)
        } else {
            joined = [&held, chunk].concat();
            (joined.as_slice(), held.len())
        };
        let mut at = 0;
        while let Some(rest) = bytes.get(at..).filter(|rest| !rest.is_empty()) {
            if self.parser.phase != Phase::Units {
                at += self.parser.take(rest);
                self.place = Place::default();
                continue;
            }
            let Some(layout) = Layout::new(&self.parser.known) else { return self.parser.lose() };
            let mut bits = Bits::new(bytes, at, self.place.phase);
            let mut blocks = [Block::EMPTY; BLOCKS_MAX];
            let mut stopped = None;
            while self.place.unit < layout.units {
                let (ahead, place) = (bits, self.place);
                if let Err(stop) = layout.read(&mut bits, &mut self.place, &mut blocks) {
                    bits = ahead;
                    stopped = Some(stop);
                    break;
                }
                if let Some(sections) = sections.as_deref_mut()
                    && (sections.open.is_some() || ahead.place().0 >= before)
                {
                    let known = &self.parser.known;
                    sections.units(known, &layout, (&ahead, before), place, self.place.unit, &mut blocks);
                    if sections.over {
                        return; // nothing is made of it, and this walker is done
                    }
                }
            }
            let (end, phase) = bits.place();
            if let Some(sections) = sections.as_deref_mut() {
                sections.close(end.saturating_sub(before));
            }
            at = end;
            match stopped {
                None => {
                    let rest = bytes.get(end..).unwrap_or_default();
                    self.parser.phase = if phase > 0 { behind_units(rest) } else { Phase::Markers };
                }
                Some(Stop::More) if bytes.len() - end <= UNIT_BYTES_MAX => {
                    self.place.phase = phase;
                    self.held = bytes.get(end..).unwrap_or_default().to_vec();
                    return;
                }
                Some(_) => return self.parser.lose(),
            }
        }
    }
}

/// What a chunk's payload is made of.
struct Sections {
    coder: Encoder,
    model: Model,
    /// Plain bytes, and how many units stand behind them.
    items: Vec<(Range<usize>, u32)>,
    /// Where the next plain bytes begin.
    plain: usize,
    open: Option<(Rows, [Dequant; 4])>,
    /// What was known where the first units began, and what of it was used.
    head: Option<(Known, Place)>,
    needs: Needs,
    /// Units and blocks that may still come, and whether more would have to.
    left: u32,
    over: bool,
}

impl Sections {
    /// Codes the unit in `blocks`, and the empty ones up to `next`, if that is not too many.
    fn units(
        &mut self,
        known: &Known,
        layout: &Layout,
        (ahead, before): (&Bits<'_>, usize),
        place: Place,
        next: u32,
        blocks: &mut [Block; BLOCKS_MAX],
    ) {
        let units = next - place.unit; // one at least
        let rows = if self.open.is_none() { Rows::blocks(layout) } else { 0 };
        match self.left.checked_sub(units.saturating_add(rows)) {
            Some(left) => self.left = left,
            None => {
                self.over = true;
                return;
            }
        }
        if self.open.is_none() {
            let (at, phase) = ahead.place();
            let at = at - before; // the caller saw that it lies in the chunk
            self.items.push((self.plain..at + usize::from(phase > 0), 0));
            self.need(known);
            if self.head.is_none() {
                self.head = Some((known.clone(), Place { phase, ..place }));
            }
            self.open = Some((Rows::new(layout), steps(known)));
        }
        let (Some((rows, steps)), Some((_, all))) = (&mut self.open, self.items.last_mut()) else { return };
        self.model.unit(&mut self.coder, layout, rows, steps, place.unit, blocks);
        for unit in place.unit + 1..next {
            self.model.unit(&mut self.coder, layout, rows, steps, unit, &mut [Block::EMPTY; BLOCKS_MAX]);
        }
        *all += units;
    }

    /// Notes which of the tables known at the start this scan uses.
    fn need(&mut self, known: &Known) {
        let first = self.head.as_ref().map_or(known, |(first, _)| first);
        let (Some(frame), Some(scan)) = (&known.frame, &known.scan) else { return };
        fn same<T>(a: &Option<Arc<T>>, b: &Option<Arc<T>>) -> bool {
            matches!((a, b), (Some(a), Some(b)) if Arc::ptr_eq(a, b))
        }
        for part in &scan.parts {
            let (dc, ac) = (usize::from(part.dc % 4), usize::from(part.ac % 4));
            let steps = frame.components.get(usize::from(part.component)).map_or(0, |c| usize::from(c.steps % 4));
            // There are four of each.
            self.needs.dc[dc] |= scan.from == 0 && same(&first.dc[dc], &known.dc[dc]);
            self.needs.ac[ac] |= scan.to > 0 && same(&first.ac[ac], &known.ac[ac]);
            self.needs.steps[steps] |= scan.from == 0 && same(&first.steps[steps], &known.steps[steps]);
        }
    }

    /// Units end before this byte, of which some bits may be theirs.
    fn close(&mut self, at: usize) {
        if self.open.take().is_some() {
            self.plain = at;
        }
    }
}

/// Where the reading goes on behind a scan whose last byte is not full: `bytes` begin with it.
fn behind_units(bytes: &[u8]) -> Phase {
    Phase::Skipping(if bytes.first() == Some(&0xff) { 2 } else { 1 }) // with what is stuffed
}

/// The steps of the frame's components.
fn steps(known: &Known) -> [Dequant; 4] {
    let components = known.frame.as_ref().map(|f| f.components.as_slice()).unwrap_or_default();
    [0, 1, 2, 3].map(|n: usize| {
        let steps = components.get(n).and_then(|c| known.steps.get(usize::from(c.steps))?.as_deref());
        Dequant::new(steps.unwrap_or(&[1; 64]))
    })
}

/// The payload of a chunk, proven by decoding. `None` where it would not be smaller by one part in 64.
pub fn encode(start: &Start, chunk: &[u8]) -> Option<Vec<u8>> {
    if chunk.len() < PLAIN_MIN {
        return None;
    }
    let fresh = start.0.parser.is_fresh();
    let mut sections = Sections {
        coder: Encoder::new(),
        model: Model::new(),
        items: Vec::new(),
        plain: 0,
        open: None,
        head: None,
        needs: Needs::default(),
        left: UNITS_PER_BYTE.saturating_mul(chunk.len() as u32), // a chunk is at most 1 MiB long
        over: false,
    };
    start.0.as_ref().clone().walk(chunk, Some(&mut sections));
    let Sections { coder, items, plain, head, needs, over, .. } = sections;
    let (known, place) = head?;
    if over {
        return None;
    }
    let mut out = vec![u8::from(fresh)];
    if !fresh {
        put_head(&mut out, &known, &needs, &place)?;
    }
    let coded = coder.finish();
    put_number(&mut out, coded.len() as u32);
    out.extend(coded);
    put_number(&mut out, items.len() as u32); // each holds a unit at least
    for (bytes, units) in items {
        put_number(&mut out, bytes.len() as u32); // within the chunk
        out.extend(chunk.get(bytes)?);
        put_number(&mut out, units);
    }
    out.extend(chunk.get(plain..)?);
    if out.len() + chunk.len() / 64 >= chunk.len() {
        return None;
    }
    let mut back = Vec::new();
    decode(&out, chunk.len(), &mut back).ok()?;
    (back == chunk).then_some(out)
}

/// Appends the chunk that a payload stands for, `plain_bytes` of them.
///
/// # Errors
/// Why there is none. `out` is then as it was.
pub fn decode(payload: &[u8], plain_bytes: usize, out: &mut Vec<u8>) -> Result<(), &'static str> {
    let start = out.len();
    let mut taken = std::mem::take(out);
    taken.reserve(plain_bytes);
    let done = decode_into(payload, plain_bytes, start, &mut taken);
    *out = taken;
    if done.is_none() {
        out.truncate(start);
        return Err("it is no scan of a JPEG file");
    }
    Ok(())
}

fn decode_into(payload: &[u8], plain_bytes: usize, start: usize, out: &mut Vec<u8>) -> Option<()> {
    let end = start + plain_bytes;
    let mut from = Reader { rest: payload };
    let mut parser = Parser::default();
    let mut place = Place::default();
    let mut first = match from.byte()? {
        0 => {
            (parser.known, place) = take_head(&mut from)?;
            parser.phase = Phase::Units;
            true
        }
        1 => {
            parser.phase = Phase::Markers;
            false
        }
        _ => return None,
    };
    let coded = from.number()? as usize;
    let mut coder = Decoder::new(from.bytes(coded)?);
    let mut model = Model::new();
    let mut left = UNITS_PER_BYTE.saturating_mul(u32::try_from(plain_bytes).ok()?);
    let (items, mut partial) = (from.number()?, false);
    for _ in 0..items {
        let plain = from.number()? as usize;
        let plain = from.bytes(plain).filter(|p| p.len() <= end.saturating_sub(out.len()))?;
        out.extend_from_slice(plain);
        if !first {
            if std::mem::take(&mut partial) {
                parser.phase = behind_units(plain);
            }
            (parser.take(plain) == plain.len()).then_some(())?;
            place = Place::default();
        }
        first = false;
        let layout = Layout::new(&parser.known).filter(|_| parser.phase == Phase::Units)?;
        let units = from.number()?;
        left = left.checked_sub(units.checked_add(Rows::blocks(&layout))?)?;
        let last = place.unit.checked_add(units).filter(|last| *last <= layout.units)?;
        if place.phase > 0 && out.len() == start {
            return None; // the byte that it begins in is not there
        }
        let (mut rows, steps) = (Rows::new(&layout), steps(&parser.known));
        let mut writer = Writer::new(&layout, std::mem::take(out), place);
        let mut done = Some(());
        for unit in place.unit..last {
            let mut blocks = [Block::EMPTY; BLOCKS_MAX];
            model.unit(&mut coder, &layout, &mut rows, &steps, unit, &mut blocks);
            done = writer.write(&blocks).filter(|()| writer.written() <= end);
            if done.is_none() {
                break;
            }
        }
        let done = done.and_then(|()| writer.end());
        (*out, partial) = writer.bits.end();
        done?;
        parser.phase = if last == layout.units { Phase::Markers } else { Phase::Lost };
    }
    out.extend_from_slice(from.rest);
    (out.len() == end).then_some(())
}

#[cfg(test)]
mod tests;
