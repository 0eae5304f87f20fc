//! The splitter for everything that no other knows: one stream, one run.
//!
//! # Invariants
//!
//! All bytes belong to [`ESSENCE`], and there is no border but the first. It cannot doubt.

use super::runs::{Last, Walk};
use super::{ESSENCE, OPAQUE, Part, Splitter, SplitterId};

/// Everything in one stream.
#[derive(Debug, Default)]
pub struct Opaque {
    before: Last,
}

impl Splitter for Opaque {
    fn id(&self) -> SplitterId {
        OPAQUE
    }

    fn split(&mut self, window: &[u8], _last: bool, runs: &mut Vec<Part>) {
        Walk::new(window, runs, &mut self.before).give(ESSENCE, window.len());
    }

    fn doubt(&self) -> Option<&'static str> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::super::Run;
    use super::super::testing::collect;
    use super::*;
    use crate::chunk::Form;

    #[test]
    fn whatever_the_windows_the_file_is_one_run() {
        let bytes = vec![7; 5 << 20];
        for windows in [&[][..], &[0], &[100_000, 0, 1]] {
            let runs = collect(Box::new(Opaque::default()), &bytes, windows);
            assert_eq!(runs, [Run { stream: ESSENCE, bytes: 5 << 20, cut: true, form: Form::Bytes }]);
        }
        assert_eq!(collect(Box::new(Opaque::default()), &[], &[]), []);
    }
}
