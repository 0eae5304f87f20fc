//! How often a splitter may begin anew: a bound on what a hostile file costs in the recipe.
//!
//! A mapped segment costs some hundred bytes of the recipe, and looking for the next header behind a loss costs time.
//! A file that asks for one every few bytes would be stored in more bytes than it has.
//!
//! # Invariants
//!
//! It depends on the file's bytes alone: what was spent and what was passed.

/// Bytes of the file that earn one more segment. A segment's share of the recipe is below 1 % of it.
const EARNED_BYTES: u64 = 16 << 10;

/// Segments that any file may have.
const AT_FIRST: u64 = 64;

/// Counts what was spent against what the bytes passed so far allow.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Patience {
    spent: u64,
    passed: u64,
}

impl Patience {
    /// So many bytes of the file were consumed.
    pub fn earn(&mut self, bytes: u64) {
        self.passed = self.passed.saturating_add(bytes);
    }

    /// Bytes consumed so far.
    pub fn passed(&self) -> u64 {
        self.passed
    }

    /// A segment, a loss, or a look that found nothing.
    pub fn spend(&mut self) {
        self.spent = self.spent.saturating_add(1);
    }

    /// Nothing is left.
    pub fn is_over(&self) -> bool {
        self.spent > AT_FIRST + self.passed / EARNED_BYTES
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments_of_the_usual_size_never_use_it_up() {
        let mut patience = Patience::default();
        for _ in 0..10_000 {
            patience.spend();
            patience.earn(EARNED_BYTES);
            assert!(!patience.is_over());
        }
        for _ in 0..AT_FIRST {
            patience.spend();
        }
        assert!(!patience.is_over());
        patience.spend();
        assert!(patience.is_over());
    }
}
