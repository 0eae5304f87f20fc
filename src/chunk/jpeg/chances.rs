//! The chances of a model, and what they begin with.
//!
//! A chunk is too short to learn them from nothing. What they begin with was counted in pictures and is part of the
//! version: wallpapers and photos of Debian's mate-backgrounds and plasma-workspace-wallpapers, as they are and as
//! libjpeg-turbo writes them at several qualities and samplings, 128 KiB from each of six places in each.

use super::coder::{Chance, LEAST};
use super::order::{GROUP, LEFTS, MAGS};

/// Sums of two frequencies: 0 to 14.
const GROUPS: usize = 15;
/// Lengths of sizes, in bits.
pub const LENGTHS: usize = 16;

/// Chances of luma, or of all other components. Some dimensions are longer than what is used, so that an index of so many
/// bits lies within them.
#[derive(Clone)]
pub struct Class {
    /// A tree over how many are not zero, by what was so around.
    pub count: [[Chance; 64]; 12],
    /// Whether a coefficient is not zero, by its place, how many are left, and the sizes around.
    pub some: [[[Chance; 16]; 16]; 64],
    /// Whether a size is longer, by group, the sizes around, and its length so far.
    pub size: [[[Chance; LENGTHS]; 16]; 16],
    /// The second bit of a size, by group and length.
    pub low: [[Chance; LENGTHS]; 16],
    /// The same for the first row and the first column.
    pub edge_count: [[[[Chance; 8]; 8]; 9]; 2],
    pub edge_some: [[[Chance; 16]; 8]; 16],
    pub edge_size: [[[Chance; LENGTHS]; 16]; 16],
    /// Whether it is negative, by place and by what is expected.
    pub edge_sign: [[Chance; 64]; 16],
    /// The first coefficient, by how far the two that expect it are apart.
    pub dc_some: [Chance; 32],
    pub dc_size: [[Chance; LENGTHS]; 32],
    pub dc_sign: [[Chance; 4]; 32],
    pub dc_low: [Chance; LENGTHS],
}

/// What chances begin with, a byte each, in the order of [`Class::each`]; of luma, then of the others.
pub static PRIORS: &[u8] = include_bytes!("priors.bin");

/// Bits that a prior counts as. More cost more where a picture is unlike those that were counted.
const PRIOR_SEEN: u16 = 3;

/// A chance of so many: squares, so that what is near 0 or 1 is told apart.
fn of_prior(byte: u8) -> u16 {
    let n = u32::from(byte);
    let set = if n < 128 { 2 * (n + 1) * (n + 1) } else { 65536 - 2 * (256 - n) * (256 - n) };
    set.clamp(u32::from(LEAST), u32::from(u16::MAX - LEAST)) as u16
}

impl Class {
    fn even() -> Class {
        let e = Chance::EVEN;
        Class {
            count: [[e; 64]; 12],
            some: [[[e; 16]; 16]; 64],
            size: [[[e; LENGTHS]; 16]; 16],
            low: [[e; LENGTHS]; 16],
            edge_count: [[[[e; 8]; 8]; 9]; 2],
            edge_some: [[[e; 16]; 8]; 16],
            edge_size: [[[e; LENGTHS]; 16]; 16],
            edge_sign: [[e; 64]; 16],
            dc_some: [e; 32],
            dc_size: [[e; LENGTHS]; 32],
            dc_sign: [[e; 4]; 32],
            dc_low: [e; LENGTHS],
        }
    }

    /// Gives each chance with the place of its prior, and returns how many priors there are. Those of [`Class::some`] share
    /// theirs by [`GROUP`].
    pub fn each(&mut self, mut f: impl FnMut(usize, &mut Chance)) -> usize {
        for (by_left, group) in self.some.iter_mut().zip(GROUP) {
            for (left, by_mag) in by_left.iter_mut().take(LEFTS).enumerate() {
                for (mag, chance) in by_mag.iter_mut().take(MAGS).enumerate() {
                    f((usize::from(group) * LEFTS + left) * MAGS + mag, chance);
                }
            }
        }
        let mut at = GROUPS * LEFTS * MAGS;
        let mut next = |chance: &mut Chance| {
            f(at, chance);
            at += 1;
        };
        let size = self.size.iter_mut().take(GROUPS).flat_map(|s| s.iter_mut().take(MAGS));
        let edge_size = self.edge_size.iter_mut().take(14).flat_map(|s| s.iter_mut().take(12));
        self.count.iter_mut().flatten().for_each(&mut next);
        size.flat_map(|s| s.iter_mut().take(12)).for_each(&mut next);
        self.low.iter_mut().take(GROUPS).flat_map(|s| s.iter_mut().take(12)).for_each(&mut next);
        self.edge_count.iter_mut().flatten().flatten().flatten().for_each(&mut next);
        self.edge_some.iter_mut().take(14).flatten().flat_map(|s| s.iter_mut().take(12)).for_each(&mut next);
        edge_size.flat_map(|s| s.iter_mut().take(12)).for_each(&mut next);
        self.edge_sign.iter_mut().take(14).flat_map(|s| s.iter_mut().take(33)).for_each(&mut next);
        self.dc_some.iter_mut().take(24).for_each(&mut next);
        self.dc_size.iter_mut().take(24).flatten().for_each(&mut next);
        self.dc_sign.iter_mut().take(24).flatten().for_each(&mut next);
        self.dc_low.iter_mut().for_each(&mut next);
        at
    }

    /// Luma and the others, as every payload begins.
    pub fn both() -> Vec<Class> {
        static START: std::sync::OnceLock<Vec<Class>> = std::sync::OnceLock::new();
        let start = || {
            let mut classes = vec![Class::even(); 2]; // too large for a stack
            let mut priors = PRIORS;
            for class in &mut classes {
                let count = class.each(|at, chance| {
                    if let Some(prior) = priors.get(at) {
                        *chance = Chance { set: of_prior(*prior), seen: PRIOR_SEEN };
                    }
                });
                priors = priors.get(count..).unwrap_or_default();
            }
            classes
        };
        START.get_or_init(start).clone()
    }
}
