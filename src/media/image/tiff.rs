//! TIFF and BigTIFF: directories of tags say where strips or tiles lie.
//!
//! A reader that cannot go back sees the directory only if it lies at the front. Many programs write it behind the
//! picture: then where it lies is known, and what the picture's samples are is guessed from them ([`super::guess`]).

use super::{Numbers, PIECES, Piece, Plan, TO_THE_END, guess, samples};
use crate::chunk::Form;
use crate::media::WINDOW_MIN;

/// Directories that are followed.
const DIRECTORIES: usize = 16;
/// Tags of a directory at most.
const TAGS: u64 = 4096;
/// Strips or tiles that are looked at.
const STRIPS: u64 = 1 << 18;

/// Where a directory lies that has a picture before it.
const BEHIND: u64 = 64 << 10;

const NONE: &str = "tiff: a header that is none";

/// What of a directory matters.
struct Directory {
    width: u64,
    bits: Vec<u64>,
    compression: u64,
    photometric: u64,
    planar: bool,
    tile_width: u64,
    format: u64,
    /// Where strips or tiles begin, and their bytes.
    strips: Vec<(u64, u64)>,
    next: u64,
}

/// A file's numbers and their widths.
struct Tiff<'a> {
    numbers: Numbers<'a>,
    big: bool,
}

impl Tiff<'_> {
    fn get(&self, at: u64, bytes: usize) -> Option<u64> {
        self.numbers.get(at, bytes)
    }

    /// Bytes of an offset.
    fn wide(&self) -> usize {
        if self.big { 8 } else { 4 }
    }

    /// A tag's values, of which there may be so many. `at` is where the tag begins.
    fn values(&self, at: u64, most: u64) -> Option<Vec<u64>> {
        let bytes = match self.get(at + 2, 2)? {
            1 | 7 => 1,
            3 => 2,
            4 => 4,
            16 => 8,
            _ => return None,
        };
        let count = self.get(at + 4, self.wide())?;
        if count > most {
            return None;
        }
        let own = at + 4 + self.wide() as u64;
        let total = count * bytes as u64; // below 2^18 * 8
        let from = if total <= self.wide() as u64 { own } else { self.get(own, self.wide())? };
        (0..count).map(|i| self.get(from.checked_add(i * bytes as u64)?, bytes)).collect()
    }

    fn directory(&self, at: u64) -> Option<Directory> {
        let (head, tag) = if self.big { (8, 20) } else { (2, 12) };
        let count = self.get(at, head)?;
        if count > TAGS {
            return None;
        }
        let mut d = Directory {
            width: 0,
            bits: Vec::new(),
            compression: 1,
            photometric: 0,
            planar: false,
            tile_width: 0,
            format: 1,
            strips: Vec::new(),
            next: 0,
        };
        let (mut starts, mut lengths, mut channels) = (Vec::new(), Vec::new(), 1);
        let first = at.checked_add(head as u64)?;
        for i in 0..count {
            let at = first.checked_add(i * tag)?;
            let number = || self.values(at, 64).and_then(|v| v.first().copied());
            match self.get(at, 2)? {
                256 => d.width = number()?,
                258 => d.bits = self.values(at, 64)?,
                259 => d.compression = number()?,
                262 => d.photometric = number()?,
                273 | 324 => starts = self.values(at, STRIPS)?,
                277 => channels = number()?,
                279 | 325 => lengths = self.values(at, STRIPS)?,
                284 => d.planar = number()? == 2,
                322 => d.tile_width = number()?,
                339 => d.format = number()?,
                _ => {}
            }
        }
        if d.bits.is_empty() {
            d.bits = vec![1];
        }
        // A single width may stand for all channels.
        if let [one] = d.bits[..] {
            d.bits = vec![one; usize::try_from(channels.min(64)).ok()?];
        }
        d.next = self.get(first.checked_add(count * tag)?, self.wide()).unwrap_or(0);
        if starts.len() != lengths.len() {
            return None;
        }
        d.strips = starts.into_iter().zip(lengths).filter(|s| s.1 > 0).collect();
        Some(d)
    }
}

impl Directory {
    fn form(&self, big_endian: bool) -> Form {
        let bits = self.bits[0]; // never empty, see above
        let whole = (bits == 8 || bits == 16) && self.bits.iter().all(|&b| b == bits);
        // 6: chroma may be of fewer samples. 3: floats.
        if self.compression != 1 || !whole || self.photometric == 6 || self.format == 3 {
            return Form::Bytes;
        }
        let channels = if self.planar { 1 } else { self.bits.len() as u64 };
        let width = if self.tile_width > 0 { self.tile_width } else { self.width };
        samples(bits / 8, channels, big_endian, width.saturating_mul(channels * bits / 8))
    }
}

pub fn read(bytes: &[u8]) -> Result<Plan, &'static str> {
    let big_endian = bytes.starts_with(b"MM");
    let numbers = Numbers { bytes, big_endian };
    let version = numbers.get(2, 2).ok_or(NONE)?;
    let tiff = Tiff { numbers, big: version == 43 };
    if tiff.big && numbers.get(4, 4) != Some(if big_endian { 0x0008_0000 } else { 0x0000_0008 }) {
        return Err(NONE);
    }
    let (head, mut next) =
        if tiff.big { (16, numbers.get(8, 8).ok_or(NONE)?) } else { (8, numbers.get(4, 4).ok_or(NONE)?) };
    if next < head {
        return Err(NONE);
    }
    if next >= WINDOW_MIN as u64 {
        return Ok(behind(bytes, head, next, big_endian));
    }
    let mut pictures: Vec<(u64, u64, Form)> = Vec::new();
    for i in 0..DIRECTORIES {
        if next == 0 {
            break;
        }
        let Some(d) = tiff.directory(next) else {
            // The first must be whole, or lie behind the picture and reach beyond what is seen.
            match i {
                0 if next < BEHIND => return Err("tiff: a directory that is none"),
                0 => return Ok(behind(bytes, head, next, big_endian)),
                _ => {}
            }
            break;
        };
        pictures.extend(d.pieces(big_endian));
        next = d.next;
    }
    pictures.sort_by_key(|p| p.0);
    let mut plan = Plan::new();
    let mut at = 0;
    for (from, to, form) in pictures {
        if from < at.max(head) || plan.len() + 2 > PIECES {
            continue; // it overlaps what was before it, or there are too many
        }
        plan.push(Piece::wrapper(from - at));
        plan.push(Piece::picture(form, to - from));
        at = to;
    }
    if plan.is_empty() { Err("tiff: no picture that is seen") } else { Ok(plan) }
}

impl Directory {
    /// Runs of strips that follow each other: from, to, form. What is compressed, or scattered, is one run.
    fn pieces(&self, big_endian: bool) -> Vec<(u64, u64, Form)> {
        let form = self.form(big_endian);
        let mut strips = self.strips.clone();
        if form == Form::Bytes {
            strips.sort_unstable();
        }
        let mut runs: Vec<(u64, u64)> = Vec::new();
        for (from, bytes) in strips {
            let to = from.saturating_add(bytes);
            match runs.last_mut() {
                Some(last) if last.1 == from => last.1 = to,
                _ => runs.push((from, to)),
            }
        }
        if form != Form::Bytes && runs.len() <= PIECES / 4 {
            return runs.into_iter().map(|(a, b)| (a, b, form)).collect();
        }
        let ends = runs.iter().map(|r| r.0).min().zip(runs.iter().map(|r| r.1).max());
        ends.map(|(a, b)| (a, b, Form::Bytes)).into_iter().collect()
    }
}

/// A directory that lies behind the picture: the picture is all before it.
fn behind(bytes: &[u8], head: u64, directory: u64, big_endian: bool) -> Plan {
    let picture = bytes.get(usize::try_from(head).unwrap_or(usize::MAX)..).unwrap_or_default();
    let form = guess::raster(picture, big_endian).map_or(Form::Bytes, Form::Raster);
    vec![Piece::wrapper(head), Piece::picture(form, directory - head), Piece::wrapper(TO_THE_END)]
}
