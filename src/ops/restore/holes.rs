//! What a file lacks: ranges, joined where they touch, in bounded memory; and the list of them in the target.

use crate::format::text::escape;
use std::collections::BTreeMap;

/// Ranges that are kept of one file. Beyond that neighbours are joined over what lies between: a hole may then be
/// called longer than it is, never shorter.
const HOLES_MAX: usize = 1 << 16;

/// Ranges of a file that could not be had.
#[derive(Debug, Default)]
pub(super) struct Holes(BTreeMap<u64, u64>);

impl Holes {
    /// Notes that `bytes` bytes from `at` on are lacking.
    pub fn add(&mut self, at: u64, bytes: u64) {
        let (mut from, mut to) = (at, at.saturating_add(bytes));
        if let Some((before, end)) = self.0.range(..=from).next_back().map(|(a, b)| (*a, *b))
            && end >= from
        {
            (from, to) = (before, to.max(end));
        }
        while let Some((after, end)) = self.0.range(from..=to).next().map(|(a, b)| (*a, *b)) {
            self.0.remove(&after);
            to = to.max(end);
        }
        if from < to {
            self.0.insert(from, to);
        }
        if self.0.len() > HOLES_MAX {
            let mut joined = BTreeMap::new();
            let mut ranges = std::mem::take(&mut self.0).into_iter();
            while let Some((from, to)) = ranges.next() {
                joined.insert(from, ranges.next().map_or(to, |(_, end)| end));
            }
            self.0 = joined;
        }
    }

    /// Bytes that are lacking.
    pub fn bytes(&self) -> u64 {
        self.0.iter().map(|(from, to)| to - from).sum()
    }

    /// First and last byte of each, in order.
    pub fn ranges(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        self.0.iter().map(|(from, to)| (*from, to - 1)) // no range is empty
    }
}

/// The line behind the last one of a list that is full.
const FULL: &str = "# further holes are not listed: restore less at once, by --include\n";

/// One file's lines of the list: its path in the snapshot, escaped, and the first and last byte of a hole. A list of `most`
/// bytes says that it is full and grows no more.
pub(super) fn lines(path: &[u8], holes: &Holes, most: usize, out: &mut String) {
    let path = escape(path);
    for (first, last) in holes.ranges() {
        if out.len() >= most {
            if !out.ends_with(FULL) {
                out.push_str(FULL);
            }
            return;
        }
        out.push_str(&format!("{path}\t{first}\t{last}\n"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn ranges_are_those_of_a_plain_set(parts in proptest::collection::vec((0u64..200, 0u64..20), 0..40)) {
            let mut holes = Holes::default();
            let mut plain = std::collections::BTreeSet::new();
            for (at, bytes) in parts {
                holes.add(at, bytes);
                plain.extend(at..at + bytes);
            }
            prop_assert_eq!(holes.bytes(), plain.len() as u64);
            prop_assert_eq!(holes.ranges().flat_map(|(a, b)| a..=b).collect::<Vec<_>>(), plain.into_iter().collect::<Vec<_>>());
            let ranges: Vec<_> = holes.ranges().collect();
            prop_assert!(ranges.windows(2).all(|w| w[0].1 + 1 < w[1].0), "{:?}", ranges);
        }
    }

    #[test]
    fn very_many_holes_are_joined_and_none_is_forgotten() {
        let mut holes = Holes::default();
        let n = 3 * HOLES_MAX as u64;
        for i in 0..n {
            holes.add(10 * i, 1);
        }
        let ranges: Vec<_> = holes.ranges().collect();
        assert!(ranges.len() <= HOLES_MAX);
        let mut at = ranges.iter().peekable();
        for hole in (0..n).map(|i| 10 * i) {
            while at.next_if(|(_, last)| *last < hole).is_some() {}
            assert!(at.peek().is_some_and(|(first, last)| (*first..=*last).contains(&hole)), "{hole}");
        }
    }

    #[test]
    fn a_name_that_breaks_lines_does_not_break_the_list() {
        let (mut holes, mut out) = (Holes::default(), String::new());
        holes.add(5, 3);
        lines(b"/a\n\tb", &holes, 1000, &mut out);
        assert_eq!((out.lines().count(), out.split('\t').count()), (1, 3), "{out:?}");
    }

    #[test]
    fn a_list_that_is_full_says_so_once_and_grows_no_more() {
        let (mut holes, mut out) = (Holes::default(), String::new());
        (0..100).for_each(|i| holes.add(10 * i, 3));
        lines(b"/a", &holes, 60, &mut out);
        let full = out.clone();
        assert!(out.len() < 60 + 20 + FULL.len() && out.ends_with(FULL), "{out}");
        lines(b"/b", &holes, 60, &mut out);
        assert_eq!(out, full);
    }
}
