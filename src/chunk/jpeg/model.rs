//! What is likely in a block, from what stands above it, left of it and in it.
//!
//! The coefficients with two frequencies come first: how many are not zero, then each in zigzag order until all of these were
//! told, with the sizes at the same place in the blocks around. Then the first row and the first column, which the border to
//! the block above and to the one at the left foretells, and last the first coefficient, likewise. In progressive scans the
//! band is told like those with two frequencies, or the first coefficient alone.
//!
//! # Source
//! D. R. Horn and others, "The design, implementation, and deployment of a system to transparently compress hundreds of petabytes
//! of image files for a file-storage service" (Lepton), NSDI 2017: the order, the counts, and the weights 13 : 13 : 6. The rest,
//! and all numbers, are our own.

use super::chances::{Class, LENGTHS};
use super::coder::{Chance, Coder};
use super::order::{BORDER, COUNT, EDGE_BITS, GROUP, INNER_BITS, LEFT, MAG, PLACE, ZIGZAG, length};
use super::parse::Steps;
use super::units::{Block, Kind, Layout};

/// What is kept of a block for those below and right of it.
#[derive(Clone, Debug)]
#[repr(align(64))]
pub struct Seen {
    /// Sizes, in zigzag order.
    sizes: [u8; 64],
    /// What the block says of its lower and its right border, by frequency along it.
    below: [i32; 8],
    right: [i32; 8],
    /// Coefficients in [`INNER_BITS`] (or in the band) that are not zero.
    some: u8,
    /// Likewise in the first row and the first column.
    edges: [u8; 2],
    known: bool,
}

const NOTHING: Seen = Seen { sizes: [0; 64], below: [0; 8], right: [0; 8], some: 0, edges: [0; 2], known: false };

/// The blocks around one, or what tells nothing.
#[derive(Clone, Copy)]
struct Around<'s> {
    above: &'s Seen,
    left: &'s Seen,
    corner: &'s Seen,
}

/// Steps of a component, and what divides by 1024 of them.
pub struct Dequant {
    step: [i32; 64],
    inverse: [i64; 64],
}

impl Dequant {
    pub fn new(steps: &Steps) -> Dequant {
        let step = steps.map(|s| i32::from(s).max(1));
        Dequant { step, inverse: step.map(|s| (1 << 30) / i64::from(s)) }
    }

    /// A coefficient times its step, within bounds that keep all sums within 32 bits.
    #[inline(always)]
    fn times(&self, at: usize, value: i16) -> i32 {
        (i32::from(value) * self.step[at & 63]).clamp(-32767, 32767) // 2^15 times 2^16 - 1 at most
    }

    /// 1024 times a value through its step, in 64ths where `more` is 6.
    #[inline(always)]
    fn through(&self, at: usize, sum: i32, more: u32) -> i32 {
        ((i64::from(sum) * self.inverse[at & 63]) >> (40 - more)) as i32 // below 2^30 for 2^6
    }
}

/// What was seen of the last rows of blocks, by component of the scan: one row more than a unit is high.
pub struct Rows {
    parts: Vec<Vec<Vec<Seen>>>,
}

impl Rows {
    /// Blocks that are kept.
    pub fn blocks(layout: &Layout) -> u32 {
        let rows = layout.sizes.iter().map(|(across, down)| u32::from(*across) * (u32::from(*down) + 1));
        layout.units_across * rows.sum::<u32>() // 2^13 times 80, at most
    }

    pub fn new(layout: &Layout) -> Rows {
        let row = |across: u8| vec![NOTHING; layout.units_across as usize * usize::from(across)];
        Rows { parts: layout.sizes.iter().map(|(across, down)| vec![row(*across); usize::from(*down) + 1]).collect() }
    }
}

/// What is likely, for all components.
pub struct Model {
    classes: Vec<Class>,
}

impl Model {
    pub fn new() -> Model {
        Model { classes: Class::both() }
    }

    /// Codes a unit: its blocks are told, or become what was told.
    pub fn unit<C: Coder>(
        &mut self,
        c: &mut C,
        layout: &Layout,
        rows: &mut Rows,
        steps: &[Dequant; 4],
        unit: u32,
        blocks: &mut [Block],
    ) {
        let (ux, uy) = (unit % layout.units_across, unit / layout.units_across);
        for (within, block) in layout.blocks.iter().zip(blocks) {
            let part = usize::from(within.part);
            let (Some((across, down)), Some(rows)) = (layout.sizes.get(part), rows.parts.get_mut(part)) else { return };
            let x = ux as usize * usize::from(*across) + usize::from(within.x);
            let y = uy as usize * usize::from(*down) + usize::from(within.y);
            let count = rows.len();
            let (here, above) = (y % count, (y + count - 1) % count);
            let Some(mut row) = rows.get_mut(here).map(std::mem::take) else { return };
            if let Some((before, [own, ..])) = row.split_at_mut_checked(x)
                && let Some(above) = rows.get(above)
            {
                let over = |x: Option<usize>| x.filter(|_| y > 0).and_then(|x| above.get(x)).unwrap_or(&NOTHING);
                let around = Around {
                    above: over(Some(x)),
                    left: before.last().unwrap_or(&NOTHING),
                    corner: over(x.checked_sub(1)),
                };
                *own = Seen { known: true, ..NOTHING };
                let steps = &steps[usize::from(within.component & 3)]; // there are four
                let Some(class) = self.classes.get_mut(usize::from(within.component.min(1))) else { return };
                class.block(c, layout, steps, block, &around, own);
            }
            if let Some(place) = rows.get_mut(here) {
                *place = row;
            }
        }
    }
}

/// The sizes around a block, eight times their mean.
#[inline(always)]
fn sizes_around(around: &Around<'_>) -> [u16; 64] {
    let Around { above, left, corner } = *around;
    let mut sizes = [0; 64];
    if above.known && left.known {
        for (((m, a), l), o) in sizes.iter_mut().zip(&above.sizes).zip(&left.sizes).zip(&corner.sizes) {
            *m = (13 * (u16::from(*a) + u16::from(*l)) + 6 * u16::from(*o)) >> 2;
        }
    } else {
        // One that is not known has no sizes.
        for ((m, a), l) in sizes.iter_mut().zip(&above.sizes).zip(&left.sizes) {
            *m = 8 * (u16::from(*a) + u16::from(*l));
        }
    }
    sizes
}

/// A number of up to six bits, the highest one first.
#[inline(always)]
fn tree<C: Coder>(c: &mut C, chances: &mut [Chance], count: u32, value: u32) -> u32 {
    let mut at = 1;
    for bit in (0..count).rev() {
        let Some(chance) = chances.get_mut(at) else { return 0 }; // never: there are 2^count
        at = at << 1 | usize::from(c.learned(chance, value >> bit & 1 == 1));
    }
    at as u32 & ((1 << count) - 1)
}

/// A size that is not zero: how many bits it has, one by one, and the one below the first. Returns these two bits (one,
/// where there is but one), and how many follow.
#[inline(always)]
fn size<C: Coder>(c: &mut C, chances: &mut [Chance; LENGTHS], low: &mut [Chance; LENGTHS], size: u32) -> (u32, u32) {
    let all = length(size);
    let mut n = 1;
    while n < LENGTHS && c.learned(&mut chances[n], all > n) {
        n += 1;
    }
    if n == 1 {
        return (1, 0);
    }
    let rest = n as u32 - 2; // at most 14
    let second = c.learned(&mut low[(n - 1) % LENGTHS], size >> rest & 1 == 1);
    (2 | u32::from(second), rest)
}

/// The rest of a size of which `first` is told.
#[inline(always)]
fn rest<C: Coder>(c: &mut C, (first, rest): (u32, u32), size: u32) -> i32 {
    let low = if rest == 0 { 0 } else { c.even(rest, size & ((1 << rest) - 1)) };
    (first << rest | low) as i32 // at most 16 bits
}

impl Class {
    #[inline(always)]
    fn block<C: Coder>(
        &mut self,
        c: &mut C,
        layout: &Layout,
        steps: &Dequant,
        block: &mut Block,
        around: &Around<'_>,
        own: &mut Seen,
    ) {
        let mut borders = [[0; 8]; 2];
        if layout.kind != Kind::Dc {
            let sizes = sizes_around(around);
            self.inner(c, layout.kind, steps, block, (around, &sizes), own, &mut borders);
            if layout.kind == Kind::Whole {
                self.edges(c, steps, block, (around, &sizes), own, &mut borders);
            }
        }
        if let Kind::Whole | Kind::Dc = layout.kind {
            self.dc(c, steps, block, around, own, [borders[0][0], borders[1][0]]);
        }
    }

    /// Those with two frequencies, or a band. `borders` become what they say of the upper and the left border.
    #[inline(always)]
    #[allow(clippy::too_many_arguments)] // one value each, and all of them change with every block
    fn inner<C: Coder>(
        &mut self,
        c: &mut C,
        kind: Kind,
        steps: &Dequant,
        block: &mut Block,
        (around, sizes): (&Around<'_>, &[u16; 64]),
        own: &mut Seen,
        borders: &mut [[i32; 8]; 2],
    ) {
        let (a, l) = (around.above, around.left);
        let near = match (a.known, l.known) {
            (true, true) => (usize::from(a.some) + usize::from(l.some)).div_ceil(2),
            (false, false) => 64,
            _ => usize::from(a.some) + usize::from(l.some), // one of them is zero
        };
        let mut places = match kind {
            Kind::Band { from, to } => u64::MAX << (from & 63) & u64::MAX >> (63 - (to & 63)),
            _ => INNER_BITS,
        };
        let some = if C::WRITES { (block.some & places).count_ones() } else { 0 };
        let class = COUNT.get(near).map_or(11, |c| usize::from(*c)); // there are twelve
        let mut left = tree(c, &mut self.count[class], 6, some);
        own.some = left as u8; // six bits
        // What was told last counts too, eight times its mean.
        let (mut recent, mut n) = (0_u32, 0);
        while left > 0 && places != 0 {
            let k = places.trailing_zeros() as usize & 63; // below 64
            places &= places - 1;
            let near = u32::from(sizes[k]);
            let near = if n < 3 { near } else { (near * 11 + recent * 5) >> 4 };
            n += 1;
            let (group, mag) = (usize::from(GROUP[k] & 15), usize::from(MAG[near.min(255) as usize] & 15));
            recent -= recent >> 2;
            let value = block.values[k];
            let chance = &mut self.some[k][usize::from(LEFT[left as usize & 63] & 15)][mag];
            if !c.learned(chance, value != 0) {
                continue;
            }
            left -= 1;
            let full = u32::from(value.unsigned_abs());
            let (first, rest) = size(c, &mut self.size[group][mag], &mut self.low[group], full);
            // The rest of the size, and the sign.
            let even = c.even(rest + 1, (full & ((1 << rest) - 1)) << 1 | u32::from(value < 0));
            let full = (first << rest | even >> 1) as i32; // at most 16 bits
            block.set(k, if even & 1 == 1 { -full } else { full });
            own.sizes[k] = full.min(255) as u8;
            recent += (full as u32).min(500) * 2;
            if kind == Kind::Whole {
                let (x, y) = (usize::from(ZIGZAG[k] & 7), usize::from(ZIGZAG[k] >> 3 & 7));
                let d = steps.times(k, block.values[k]);
                let (along_x, along_y) = (d * BORDER[y], d * BORDER[x]);
                borders[0][x] += along_x;
                borders[1][y] += along_y;
                own.below[x] += if y % 2 == 0 { along_x } else { -along_x };
                own.right[y] += if x % 2 == 0 { along_y } else { -along_y };
            }
        }
    }

    /// The first row and the first column: each is expected to go on at the border with what the block beyond it ends with.
    #[inline(always)]
    fn edges<C: Coder>(
        &mut self,
        c: &mut C,
        steps: &Dequant,
        block: &mut Block,
        (around, sizes): (&Around<'_>, &[u16; 64]),
        own: &mut Seen,
        borders: &mut [[i32; 8]; 2],
    ) {
        for side in [0, 1] {
            let (beyond, border) = [(around.above, &around.above.below), (around.left, &around.left.right)][side];
            let some = if C::WRITES { (block.some & EDGE_BITS[side]).count_ones() } else { 0 };
            let near = if beyond.known { usize::from(beyond.edges[side].min(7)) } else { 8 };
            let mut within = length(u32::from(own.some)); // at most 6
            if side == 1 {
                within = within.midpoint(length(u32::from(own.edges[0])) * 2); // at most 6
            }
            let mut left = tree(c, &mut self.edge_count[side][near][within & 7], 3, some);
            own.edges[side] = left as u8; // three bits
            for i in 1..8 {
                if left == 0 {
                    break;
                }
                let k = usize::from(PLACE[if side == 0 { i } else { 8 * i }] & 63);
                let value = block.values[k];
                let guess = if beyond.known { steps.through(k, border[i] - borders[side][i], 0) } else { 0 };
                let mag = length((u32::from(sizes[k]) >> 2).max(2 * guess.unsigned_abs().min(255))).min(11);
                let at = side * 7 + i - 1; // below 14
                if !c.learned(&mut self.edge_some[at][left as usize & 7][mag], value != 0) {
                    continue;
                }
                left -= 1;
                let full = u32::from(value.unsigned_abs());
                let first = size(c, &mut self.edge_size[at][mag], &mut self.low[i], full);
                let full = rest(c, first, full);
                let expected = (guess.clamp(-16, 16) + 16) as usize; // 0 to 32
                let negative = c.learned(&mut self.edge_sign[at][expected], value < 0);
                block.set(k, if negative { -full } else { full });
                own.sizes[k] = full.min(255) as u8;
                let d = steps.times(k, block.values[k]);
                let along = d * BORDER[i];
                let turned = if i % 2 == 0 { along } else { -along };
                // On its own side it has no other frequency; the other side's first one gets all of it.
                if side == 0 {
                    own.below[i] += d * BORDER[0];
                    own.right[0] += turned;
                } else {
                    own.right[i] += d * BORDER[0];
                    own.below[0] += turned;
                }
                borders[1 - side][0] += along;
            }
        }
    }

    /// The first coefficient: the mean of what both borders expect.
    #[inline(always)]
    fn dc<C: Coder>(
        &mut self,
        c: &mut C,
        steps: &Dequant,
        block: &mut Block,
        around: &Around<'_>,
        own: &mut Seen,
        borders: [i32; 2],
    ) {
        // In sixteenths.
        let a = steps.through(0, around.above.below[0] - borders[0], 4);
        let l = steps.through(0, around.left.right[0] - borders[1], 4);
        let (guess, far) = match (around.above.known, around.left.known) {
            (true, true) => ((a + l) / 2, length((a - l).unsigned_abs()) + 2),
            (true, false) => (a, 1),
            (false, true) => (l, 1),
            _ => (0, 0),
        };
        let (guess, far) = (((guess + 8) >> 4).clamp(-32768, 32767), far.min(23));
        let value = i32::from(block.values[0]) - guess;
        let mut told = 0;
        if c.learned(&mut self.dc_some[far], value != 0) {
            let first = size(c, &mut self.dc_size[far], &mut self.dc_low, value.unsigned_abs());
            told = rest(c, first, value.unsigned_abs());
            let side = usize::from(a > l) + 2 * usize::from(a < l);
            if c.learned(&mut self.dc_sign[far][side], value < 0) {
                told = -told;
            }
        }
        block.values[0] = (guess + told) as i16; // what was told of an i16 gives it again; of anything else, something
        let d = steps.times(0, block.values[0]) * BORDER[0];
        own.below[0] += d;
        own.right[0] += d;
    }
}
