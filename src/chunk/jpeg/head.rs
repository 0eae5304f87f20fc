//! What stands in front of a payload whose chunk does not begin a picture: what must be known of the picture so far.

use super::annex::ANNEX_K;
use super::huffman::Huffman;
use super::parse::{Component, Frame, Known, Part, Scan, Steps};
use super::units::Place;
use std::sync::Arc;

/// Appends numbers: seven bits a byte, the lowest first, the highest bit set where more follow.
pub fn put_number(out: &mut Vec<u8>, mut n: u32) {
    while n > 127 {
        out.push(n as u8 | 128); // its low seven bits count
        n >>= 7;
    }
    out.push(n as u8);
}

/// Reads what [`put_number`] and [`put_head`] wrote.
#[derive(Debug)]
pub struct Reader<'a> {
    pub rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub fn bytes(&mut self, n: usize) -> Option<&'a [u8]> {
        let (front, rest) = self.rest.split_at_checked(n)?;
        self.rest = rest;
        Some(front)
    }

    pub fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(*first)
    }

    fn two(&mut self) -> Option<u16> {
        self.bytes(2).and_then(|b| Some(u16::from_le_bytes(b.try_into().ok()?)))
    }

    pub fn number(&mut self) -> Option<u32> {
        let mut n = 0_u32;
        for shift in [0, 7, 14, 21, 28] {
            let byte = self.byte()?;
            let bits = u32::from(byte & 127);
            if (shift == 28 && bits > 15) || (shift > 0 && byte == 0) {
                return None; // too long for 32 bits, or longer than it need be
            }
            n |= bits << shift;
            if byte < 128 {
                return Some(n);
            }
        }
        None
    }
}

/// What a payload needs of what was known: tables that it uses before it says others.
#[derive(Clone, Copy, Debug, Default)]
pub struct Needs {
    pub dc: [bool; 4],
    pub ac: [bool; 4],
    pub steps: [bool; 4],
}

/// Appends what is known where a payload's units begin. `None` where no scan is.
pub fn put_head(out: &mut Vec<u8>, known: &Known, needs: &Needs, place: &Place) -> Option<()> {
    let (frame, scan) = (known.frame.as_deref()?, known.scan.as_deref()?);
    out.push(u8::from(frame.progressive) | (frame.components.len() as u8) << 1); // one to four
    out.extend(frame.width.to_le_bytes());
    out.extend(frame.height.to_le_bytes());
    for c in &frame.components {
        out.extend([c.id, c.across | c.down << 3 | c.steps << 6]); // 1 to 4, 1 to 4, 0 to 3
    }
    put_number(out, u32::from(known.interval));
    out.push(scan.parts.len() as u8); // one to four
    for p in &scan.parts {
        out.push(p.component | p.dc << 2 | p.ac << 4); // below 4 each
    }
    out.extend([scan.from, scan.to, scan.low | place.phase << 4]); // at most 13; below 8
    put_number(out, place.unit);
    for before in place.before.iter().take(scan.parts.len()) {
        out.extend(before.to_le_bytes());
    }
    for (tables, needed) in [(&known.dc, &needs.dc), (&known.ac, &needs.ac)] {
        for (table, needed) in tables.iter().zip(needed) {
            match table {
                Some(table) if *needed => match (1..).zip(ANNEX_K).find(|(_, k)| *k == table.said) {
                    Some((number, _)) => out.push(number),
                    None => {
                        out.push(5);
                        out.extend(&table.said);
                    }
                },
                _ => out.push(0),
            }
        }
    }
    for (steps, needed) in known.steps.iter().zip(&needs.steps) {
        match steps {
            Some(steps) if *needed && steps.iter().all(|s| *s < 256) => {
                out.push(1);
                out.extend(steps.iter().map(|s| *s as u8)); // below 256
            }
            Some(steps) if *needed => {
                out.push(2);
                steps.iter().for_each(|s| out.extend(s.to_le_bytes()));
            }
            _ => out.push(0),
        }
    }
    Some(())
}

/// Reads it back. `None` where it is nothing that was written.
pub fn take_head(from: &mut Reader<'_>) -> Option<(Known, Place)> {
    let kind = from.byte()?;
    let mut frame =
        Frame { progressive: kind & 1 == 1, width: from.two()?, height: from.two()?, components: Vec::new() };
    for _ in 0..kind >> 1 & 7 {
        let (id, size) = (from.byte()?, from.byte()?);
        frame.components.push(Component { id, across: size & 7, down: size >> 3 & 7, steps: size >> 6 });
    }
    let interval = u16::try_from(from.number()?).ok()?;
    let mut scan = Scan::default();
    for _ in 0..from.byte().filter(|n| *n <= 4)? {
        let said = from.byte()?;
        scan.parts.push(Part { component: said & 3, dc: said >> 2 & 3, ac: said >> 4 & 3 });
    }
    let &[first, last, bits] = from.bytes(3)? else { return None };
    (scan.from, scan.to, scan.low) = (first, last, bits & 15);
    let mut place = Place { phase: bits >> 4 & 7, unit: from.number()?, ..Place::default() };
    for before in place.before.iter_mut().take(scan.parts.len()) {
        *before = from.two()? as i16; // as it was written
    }
    if !frame.is_sound() || !scan.is_sound(&frame) {
        return None;
    }
    let mut known = Known { frame: Some(Arc::new(frame)), scan: Some(Arc::new(scan)), interval, ..Known::default() };
    for table in known.dc.iter_mut().chain(&mut known.ac) {
        *table = Some(Arc::new(match from.byte()? {
            0 => continue,
            n @ 1..=4 => Huffman::new(ANNEX_K.get(usize::from(n - 1))?)?,
            5 => {
                let read = Huffman::new(from.rest)?;
                from.bytes(read.said.len())?;
                read
            }
            _ => return None,
        }));
    }
    for place in &mut known.steps {
        let mut steps: Steps = [1; 64];
        match from.byte()? {
            0 => continue,
            1 => steps.iter_mut().zip(from.bytes(64)?).for_each(|(s, b)| *s = u16::from(*b)),
            2 => {
                steps.iter_mut().zip(from.bytes(128)?.as_chunks::<2>().0).for_each(|(s, b)| *s = u16::from_le_bytes(*b))
            }
            _ => return None,
        }
        *place = Some(Arc::new(steps));
    }
    Some((known, place))
}
