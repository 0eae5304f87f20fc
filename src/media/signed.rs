//! Differences as varints: a signed number with its sign in the lowest bit, so that it is small where it is near 0.
//!
//! # Invariants
//!
//! `plus(b, minus(a, b)) == a` for any two numbers.

/// A signed number without a sign.
pub(super) fn zigzag(v: i64) -> u64 {
    ((v << 1) ^ (v >> 63)).cast_unsigned()
}

/// The way back of [`zigzag`].
pub(super) fn unzigzag(v: u64) -> i64 {
    (v >> 1).cast_signed() ^ -(v & 1).cast_signed()
}

/// The difference of `a` to `b`.
pub(super) fn minus(a: u64, b: u64) -> u64 {
    zigzag(a.wrapping_sub(b).cast_signed())
}

/// The way back of [`minus`].
pub(super) fn plus(b: u64, difference: u64) -> u64 {
    b.wrapping_add(unzigzag(difference).cast_unsigned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_is_near_zero_is_small() {
        assert_eq!([0, -1, 1, -2, i64::MAX, i64::MIN].map(zigzag), [0, 1, 2, 3, u64::MAX - 1, u64::MAX]);
    }

    proptest! {
        #[test]
        fn a_difference_is_taken_back(a: u64, b: u64) {
            prop_assert_eq!(plus(b, minus(a, b)), a);
        }
    }
}
