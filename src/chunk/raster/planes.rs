//! Picture bytes to planes of samples and back.
//!
//! Owns how samples lie in the bytes of a [`Packing`], and the order of planes. Knows no predictor.
//!
//! # Invariants
//!
//! 1. What does not come back from its samples is refused when taken apart: a word with bits where the packing has
//!    none.
//! 2. All planes lie behind each other in one vector. A plane that leans on another one stands behind it and is as long.

use crate::chunk::form::{Packing, Raster};
use crate::chunk::wide::wide;

/// Planes of a picture at most.
pub const PLANES: usize = 4;
/// The pretended row where none is known, in samples of a plane: far enough for the neighbours above to be known.
const NO_ROW: usize = 32;

/// Units taken apart or put together at once, plane by plane.
const PART: usize = 1024;

/// Samples of one kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Plane {
    /// Where it begins in the vector of samples.
    pub start: usize,
    pub len: usize,
    /// From a sample to its left neighbour.
    pub left: usize,
    /// From a sample to its upper neighbour; more than twice `left`.
    pub row: usize,
    /// A plane that is known before this one and looks alike: where it begins.
    pub leans: Option<usize>,
}

/// How a chunk's bytes lie in planes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    packing: Packing,
    /// Bits of a sample.
    pub bits: u32,
    /// Bytes of a unit: what is taken apart at once.
    unit: usize,
    /// Units in the chunk. Bytes behind them are kept as they are.
    units: usize,
    /// Rows do not begin with a unit: all samples are one plane.
    loose: bool,
    count: usize,
    planes: [Plane; PLANES],
}

impl Layout {
    /// The layout of a chunk of `bytes` bytes; `None` for a form that there is no code for.
    pub fn new(form: Raster, bytes: usize) -> Option<Layout> {
        let (bits, unit, shares): (u32, usize, &[usize]) = match form.packing {
            Packing::V210 => (10, 16, &[3, 3, 6]),
            Packing::Rgb10 { .. } => (10, 4, &[1, 1, 1]),
            Packing::Yuv422 { bytes: b @ 1..=2, .. } => (8 * u32::from(b), 4 * usize::from(b), &[1, 1, 2]),
            Packing::Samples { bytes: b @ 1..=2, channels: c @ 1..=4, .. } => {
                let shares: &[usize] = &[1, 1, 1, 1];
                (8 * u32::from(b), usize::from(b) * usize::from(c), &shares[..usize::from(c)])
            }
            _ => return None,
        };
        let row_bytes = form.row_bytes as usize;
        let sample_bytes = if bits == 16 { 2 } else { 1 };
        let samples = matches!(form.packing, Packing::Samples { .. });
        let loose =
            samples && shares.len() > 1 && !row_bytes.is_multiple_of(unit) && row_bytes.is_multiple_of(sample_bytes);
        let units = bytes / unit;
        let mut layout =
            Layout { packing: form.packing, bits, unit, units, loose, count: 0, planes: Default::default() };
        let mut add = |len, left: usize, row: usize, leans| {
            let start = layout.planes[..layout.count].iter().map(|p| p.len).sum();
            let row = if row > 2 * left { row } else { NO_ROW * left };
            layout.planes[layout.count] = Plane { start, len, left, row, leans };
            layout.count += 1; // at most four times, see `shares`
        };
        if loose {
            add(units * shares.len(), shares.len(), row_bytes / sample_bytes, None);
        } else {
            let row_units = if row_bytes.is_multiple_of(unit) { row_bytes / unit } else { 0 };
            let video = matches!(form.packing, Packing::V210 | Packing::Yuv422 { .. });
            for (i, share) in shares.iter().enumerate() {
                // Cr leans on Cb; what is not the first of RGB on the first; luma on nothing.
                let leans = if i == 0 || (video && i == 2) { None } else { Some(0) };
                add(share * units, 1, share * row_units, leans);
            }
        }
        Some(layout)
    }

    /// The planes, in order.
    pub fn planes(&self) -> &[Plane] {
        &self.planes[..self.count]
    }

    /// Samples of all planes.
    pub fn samples(&self) -> usize {
        self.planes().iter().map(|p| p.len).sum()
    }

    /// Bytes that the samples stand for.
    pub fn bytes(&self) -> usize {
        self.units * self.unit
    }

    /// Takes the first [`Layout::bytes`] of `plain` apart. `None` where a word has bits outside its samples.
    pub fn split(&self, plain: &[u8], out: &mut Vec<u16>) -> Option<()> {
        out.resize(self.samples(), 0);
        split(self, plain.get(..self.bytes())?, out)
    }

    #[inline(always)]
    fn split_body(&self, plain: &[u8], out: &mut [u16]) -> Option<()> {
        let n = self.units;
        match self.packing {
            Packing::V210 => {
                let (cb, rest) = out.split_at_mut(3 * n);
                let (cr, y) = rest.split_at_mut(3 * n);
                let mut stray = 0;
                for (((unit, cb), cr), y) in plain
                    .chunks_exact(16)
                    .zip(cb.chunks_exact_mut(3))
                    .zip(cr.chunks_exact_mut(3))
                    .zip(y.chunks_exact_mut(6))
                {
                    let w = |i: usize| u32::from_le_bytes([unit[i], unit[i + 1], unit[i + 2], unit[i + 3]]);
                    let (a, b, c, d) = (w(0), w(4), w(8), w(12));
                    let [lo, mid, hi] = [0, 10, 20].map(|s| move |w: u32| (w >> s) as u16 & 0x3ff);
                    stray |= a | b | c | d;
                    cb.copy_from_slice(&[lo(a), mid(b), hi(c)]);
                    cr.copy_from_slice(&[hi(a), lo(c), mid(d)]);
                    y.copy_from_slice(&[mid(a), lo(b), hi(b), mid(c), lo(d), hi(d)]);
                }
                (stray >> 30 == 0).then_some(())
            }
            Packing::Rgb10 { big_endian } => {
                let (g, rest) = out.split_at_mut(n);
                let (r, b) = rest.split_at_mut(n);
                let mut stray = 0;
                for (((unit, g), r), b) in plain.chunks_exact(4).zip(g).zip(r).zip(b) {
                    let unit = [unit[0], unit[1], unit[2], unit[3]];
                    let w = if big_endian { u32::from_be_bytes(unit) } else { u32::from_le_bytes(unit) };
                    stray |= w;
                    (*r, *g, *b) = ((w >> 22) as u16, (w >> 12) as u16 & 0x3ff, (w >> 2) as u16 & 0x3ff);
                }
                (stray & 3 == 0).then_some(())
            }
            Packing::Yuv422 { bytes, luma_first, big_endian } => {
                match (bytes, luma_first, big_endian) {
                    (1, false, _) => split_pairs::<1, false, false>(plain, n, out),
                    (1, true, _) => split_pairs::<1, true, false>(plain, n, out),
                    (_, false, false) => split_pairs::<2, false, false>(plain, n, out),
                    (_, true, false) => split_pairs::<2, true, false>(plain, n, out),
                    (_, false, true) => split_pairs::<2, false, true>(plain, n, out),
                    (_, true, true) => split_pairs::<2, true, true>(plain, n, out),
                }
                Some(())
            }
            Packing::Samples { bytes, channels, big_endian } => {
                if self.loose || channels == 1 {
                    for (unit, x) in plain.chunks_exact(usize::from(bytes)).zip(out) {
                        *x = sample(unit, 0, bytes, big_endian);
                    }
                    return Some(());
                }
                match (channels, bytes) {
                    (3, 1) => self.split_samples::<3, 1>(plain, big_endian, out),
                    (3, _) => self.split_samples::<3, 2>(plain, big_endian, out),
                    (4, 1) => self.split_samples::<4, 1>(plain, big_endian, out),
                    (4, _) => self.split_samples::<4, 2>(plain, big_endian, out),
                    (_, 1) => self.split_samples::<2, 1>(plain, big_endian, out),
                    (_, _) => self.split_samples::<2, 2>(plain, big_endian, out),
                }
                Some(())
            }
        }
    }

    #[inline(always)]
    fn split_samples<const CHANNELS: usize, const BYTES: usize>(
        &self,
        plain: &[u8],
        big_endian: bool,
        out: &mut [u16],
    ) {
        let mut planes: [&mut [u16]; CHANNELS] = std::array::from_fn(|_| <&mut [u16]>::default());
        for (slot, part) in planes.iter_mut().zip(out.chunks_exact_mut(self.units.max(1))) {
            *slot = part;
        }
        // A part of each plane at a time, so that the lines of memory that are read and written stay near.
        for (k, units) in plain.chunks(PART * CHANNELS * BYTES).enumerate() {
            for (c, plane) in planes.iter_mut().enumerate() {
                let Some(plane) = plane.get_mut(k * PART..) else { continue };
                for (x, unit) in plane.iter_mut().zip(units.chunks_exact(CHANNELS * BYTES)) {
                    *x = sample(unit, place(CHANNELS, c), BYTES as u8, big_endian); // 1 or 2
                }
            }
        }
    }

    /// Appends the bytes that the samples stand for.
    pub fn join(&self, samples: &[u16], out: &mut Vec<u8>) {
        let start = out.len();
        out.resize(start + self.bytes(), 0);
        let (Some(plain), true) = (out.get_mut(start..), samples.len() == self.samples()) else { return };
        join(self, samples, plain);
    }

    #[inline(always)]
    fn join_body(&self, samples: &[u16], plain: &mut [u8]) {
        let n = self.units;
        match self.packing {
            Packing::V210 => {
                let (cb, rest) = samples.split_at(3 * n);
                let (cr, y) = rest.split_at(3 * n);
                for (((unit, cb), cr), y) in
                    plain.chunks_exact_mut(16).zip(cb.chunks_exact(3)).zip(cr.chunks_exact(3)).zip(y.chunks_exact(6))
                {
                    let w = |a: u16, b: u16, c: u16| {
                        (u32::from(a) & 0x3ff | (u32::from(b) & 0x3ff) << 10 | (u32::from(c) & 0x3ff) << 20)
                            .to_le_bytes()
                    };
                    unit[..4].copy_from_slice(&w(cb[0], y[0], cr[0]));
                    unit[4..8].copy_from_slice(&w(y[1], cb[1], y[2]));
                    unit[8..12].copy_from_slice(&w(cr[1], y[3], cb[2]));
                    unit[12..].copy_from_slice(&w(y[4], cr[2], y[5]));
                }
            }
            Packing::Rgb10 { big_endian } => {
                let (g, rest) = samples.split_at(n);
                let (r, b) = rest.split_at(n);
                for (((unit, g), r), b) in plain.chunks_exact_mut(4).zip(g).zip(r).zip(b) {
                    let [r, g, b] = [r, g, b].map(|x| u32::from(*x) & 0x3ff);
                    let w = r << 22 | g << 12 | b << 2;
                    unit.copy_from_slice(&if big_endian { w.to_be_bytes() } else { w.to_le_bytes() });
                }
            }
            Packing::Yuv422 { bytes, luma_first, big_endian } => match (bytes, luma_first, big_endian) {
                (1, false, _) => join_pairs::<1, false, false>(samples, n, plain),
                (1, true, _) => join_pairs::<1, true, false>(samples, n, plain),
                (_, false, false) => join_pairs::<2, false, false>(samples, n, plain),
                (_, true, false) => join_pairs::<2, true, false>(samples, n, plain),
                (_, false, true) => join_pairs::<2, false, true>(samples, n, plain),
                (_, true, true) => join_pairs::<2, true, true>(samples, n, plain),
            },
            Packing::Samples { bytes, channels, big_endian } => {
                if self.loose || channels == 1 {
                    for (unit, x) in plain.chunks_exact_mut(usize::from(bytes)).zip(samples) {
                        put(unit, 0, bytes, big_endian, *x);
                    }
                    return;
                }
                match (channels, bytes) {
                    (3, 1) => self.join_samples::<3, 1>(samples, big_endian, plain),
                    (3, _) => self.join_samples::<3, 2>(samples, big_endian, plain),
                    (4, 1) => self.join_samples::<4, 1>(samples, big_endian, plain),
                    (4, _) => self.join_samples::<4, 2>(samples, big_endian, plain),
                    (_, 1) => self.join_samples::<2, 1>(samples, big_endian, plain),
                    (_, _) => self.join_samples::<2, 2>(samples, big_endian, plain),
                }
            }
        }
    }

    #[inline(always)]
    fn join_samples<const CHANNELS: usize, const BYTES: usize>(
        &self,
        samples: &[u16],
        big_endian: bool,
        plain: &mut [u8],
    ) {
        let mut planes: [&[u16]; CHANNELS] = [&[]; CHANNELS];
        for (slot, part) in planes.iter_mut().zip(samples.chunks_exact(self.units.max(1))) {
            *slot = part;
        }
        for (k, units) in plain.chunks_mut(PART * CHANNELS * BYTES).enumerate() {
            for (c, plane) in planes.iter().enumerate() {
                let Some(plane) = plane.get(k * PART..) else { continue };
                for (x, unit) in plane.iter().zip(units.chunks_exact_mut(CHANNELS * BYTES)) {
                    put(unit, place(CHANNELS, c), BYTES as u8, big_endian, *x); // 1 or 2
                }
            }
        }
    }
}

#[inline(always)]
fn split_body(layout: &Layout, plain: &[u8], out: &mut [u16]) -> Option<()> {
    layout.split_body(plain, out)
}
wide! { fn split(layout: &Layout, plain: &[u8], out: &mut [u16]) -> Option<()> = split_body }

#[inline(always)]
fn join_body(layout: &Layout, samples: &[u16], plain: &mut [u8]) {
    layout.join_body(samples, plain);
}
wide! { fn join(layout: &Layout, samples: &[u16], plain: &mut [u8]) = join_body }

/// Takes pairs of pixels apart, `n` of them; what can differ is known to the compiler.
#[inline(always)]
fn split_pairs<const BYTES: usize, const LUMA_FIRST: bool, const BIG_ENDIAN: bool>(
    plain: &[u8],
    n: usize,
    out: &mut [u16],
) {
    let (cb, rest) = out.split_at_mut(n);
    let (cr, y) = rest.split_at_mut(n);
    let y = y.as_chunks_mut::<2>().0;
    if BYTES == 1 {
        // A pair is a word, and its luma two bytes of it with a byte between.
        let (luma, chroma) = if LUMA_FIRST { (0, 8) } else { (8, 0) };
        let parts = cb.chunks_mut(PART).zip(cr.chunks_mut(PART)).zip(y.chunks_mut(PART));
        for (units, ((cb, cr), y)) in plain.as_chunks::<4>().0.chunks(PART).zip(parts) {
            let words = || units.iter().map(|unit| u32::from_le_bytes(*unit));
            for (cb, word) in cb.iter_mut().zip(words()) {
                *cb = (word >> chroma) as u16 & 0xff;
            }
            for (cr, word) in cr.iter_mut().zip(words()) {
                *cr = (word >> (chroma + 16)) as u16 & 0xff;
            }
            for (y, word) in y.iter_mut().zip(words()) {
                let both = word >> luma & 0x00ff_00ff;
                *y = [both as u16, (both >> 16) as u16];
            }
        }
        return;
    }
    let of = |unit: &[u8], i: usize| sample(unit, i, BYTES as u8, BIG_ENDIAN); // 1 or 2
    for (((unit, cb), cr), y) in plain.chunks_exact(4 * BYTES).zip(cb).zip(cr).zip(y) {
        (*cb, *cr, *y) = if LUMA_FIRST {
            (of(unit, 1), of(unit, 3), [of(unit, 0), of(unit, 2)])
        } else {
            (of(unit, 0), of(unit, 2), [of(unit, 1), of(unit, 3)])
        };
    }
}

/// Undoes [`split_pairs`].
#[inline(always)]
fn join_pairs<const BYTES: usize, const LUMA_FIRST: bool, const BIG_ENDIAN: bool>(
    samples: &[u16],
    n: usize,
    plain: &mut [u8],
) {
    let (cb, rest) = samples.split_at(n);
    let (cr, y) = rest.split_at(n);
    let y = y.as_chunks::<2>().0;
    for (((unit, cb), cr), y) in plain.chunks_exact_mut(4 * BYTES).zip(cb).zip(cr).zip(y) {
        let four = if LUMA_FIRST { [y[0], *cb, y[1], *cr] } else { [*cb, y[0], *cr, y[1]] };
        for (i, x) in four.into_iter().enumerate() {
            put(unit, i, BYTES as u8, BIG_ENDIAN, x); // 1 or 2
        }
    }
}

/// Which sample of a pixel a plane holds: the middle one of three colours comes first, since the others lean on it.
#[inline(always)]
fn place(channels: usize, plane: usize) -> usize {
    match (channels, plane) {
        (3 | 4, 0) => 1,
        (3 | 4, 1) => 0,
        (_, plane) => plane,
    }
}

/// The `i`-th sample of a unit, which has so many.
#[inline(always)]
fn sample(unit: &[u8], i: usize, bytes: u8, big_endian: bool) -> u16 {
    match (bytes, big_endian) {
        (1, _) => u16::from(unit[i]),
        (_, true) => u16::from_be_bytes([unit[2 * i], unit[2 * i + 1]]),
        (_, false) => u16::from_le_bytes([unit[2 * i], unit[2 * i + 1]]),
    }
}

#[inline(always)]
fn put(unit: &mut [u8], i: usize, bytes: u8, big_endian: bool, x: u16) {
    match (bytes, big_endian) {
        (1, _) => unit[i] = x as u8, // samples of 8 bits
        (_, true) => unit[2 * i..2 * i + 2].copy_from_slice(&x.to_be_bytes()),
        (_, false) => unit[2 * i..2 * i + 2].copy_from_slice(&x.to_le_bytes()),
    }
}
