//! Time and chance of a simulated run: both move only as the test says.

use super::super::World;
use std::sync::{Mutex, PoisonError};

/// A clock that is set by hand and chance that repeats by its seed.
#[derive(Debug)]
pub struct ManualWorld {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    now_ns: i64,
    tick_ns: i64,
    chance: SplitMix,
}

impl ManualWorld {
    /// Makes a world whose clock stands at `now_ns` (nanoseconds since 1970-01-01 UTC).
    pub fn new(now_ns: i64, seed: u64) -> ManualWorld {
        ManualWorld { state: Mutex::new(State { now_ns, tick_ns: 0, chance: SplitMix(seed) }) }
    }

    /// Makes the clock go on by `tick_ns` each time that it was read; 0 stops it.
    pub fn set_tick(&self, tick_ns: i64) {
        self.with(|s| s.tick_ns = tick_ns);
    }

    /// Puts the clock to a time, forward or back.
    pub fn set(&self, now_ns: i64) {
        self.with(|s| s.now_ns = now_ns);
    }

    /// Moves the clock by so many nanoseconds, back if below zero.
    pub fn advance(&self, by_ns: i64) {
        self.with(|s| s.now_ns = s.now_ns.saturating_add(by_ns));
    }

    fn with<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        // No change here can panic half-way.
        change(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl World for ManualWorld {
    fn now_ns(&self) -> i64 {
        self.with(|s| {
            let now = s.now_ns;
            s.now_ns = now.saturating_add(s.tick_ns);
            now
        })
    }

    fn random(&self, into: &mut [u8]) {
        self.with(|s| {
            for part in into.chunks_mut(8) {
                part.copy_from_slice(&s.chance.next().to_le_bytes()[..part.len()]);
            }
        });
    }
}

/// SplitMix64 (Steele, Lea, Flood: Fast Splittable Pseudorandom Number Generators, OOPSLA 2014).
#[derive(Clone, Debug)]
pub(in crate::io) struct SplitMix(pub u64);

impl SplitMix {
    pub(in crate::io) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `bound`, 0 for a bound of 0. The bias is below 2^-32 for the bounds of a test.
    pub(in crate::io) fn below(&mut self, bound: u64) -> u64 {
        self.next().checked_rem(bound).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chance_is_splitmix64_and_repeats_by_its_seed() {
        // First outputs for seed 1234567, as Vigna's reference `splitmix64.c` prints them.
        let mut chance = SplitMix(1_234_567);
        assert_eq!([chance.next(), chance.next()], [6_457_827_717_110_365_317, 3_203_168_211_198_807_973]);
        let draw = |seed| {
            let mut bytes = [0; 21];
            ManualWorld::new(0, seed).random(&mut bytes);
            bytes
        };
        assert_eq!(draw(7), draw(7));
        assert_ne!(draw(7), draw(8));
        assert_eq!(SplitMix(1).below(0), 0);
    }

    #[test]
    fn the_clock_moves_only_when_it_is_told() {
        let world = ManualWorld::new(5, 0);
        assert_eq!((world.now_ns(), world.now_ns()), (5, 5));
        world.set_tick(2);
        assert_eq!((world.now_ns(), world.now_ns()), (5, 7));
        world.advance(-100);
        assert_eq!(world.now_ns(), -91);
        world.set(i64::MAX);
        assert_eq!((world.now_ns(), world.now_ns()), (i64::MAX, i64::MAX));
    }
}
