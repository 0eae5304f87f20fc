//! How scattered files lie: what a restore has to seek.
//!
//! Fragments are counted as `compact` does ([`fragments`]). Each content at a path counts once, however many snapshots have
//! it. Memory: a histogram with two digits.

use crate::error::Result;
use crate::ops::compact::fragments;
use crate::ops::share::walk;
use crate::ops::{Control, snapshots};
use crate::store::Store;
use std::collections::BTreeMap;

/// What was counted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Locality {
    pub files: u64,
    pub bytes: u64,
    pub fragments: u64,
    /// Fragments that half, nine tenths, 99 hundredths of the files have at most, to two digits; and the most.
    pub median: u64,
    pub p90: u64,
    pub p99: u64,
    pub most: u64,
    /// The same of fragments for each GiB, over files of 64 MiB or more: below that a single place says little.
    pub long_files: u64,
    pub long_median_per_gib: u64,
    pub long_p90_per_gib: u64,
    pub long_p99_per_gib: u64,
    /// The most scattered file.
    pub worst: Option<Vec<u8>>,
    /// Files and folders of which a list cannot be read.
    pub unreadable: u64,
}

/// From this length on fragments for each GiB are told.
const LONG_BYTES: u64 = 64 << 20;

#[derive(Default)]
struct Histogram(BTreeMap<u64, u64>);

impl Histogram {
    fn add(&mut self, n: u64) {
        let mut unit = 1;
        while n / unit >= 100 {
            unit *= 10; // below n
        }
        *self.0.entry(n / unit * unit).or_default() += 1;
    }

    /// What so many of a hundred have at most.
    fn percentile(&self, percent: u64) -> u64 {
        let all: u64 = self.0.values().sum();
        let wanted = (all * percent).div_ceil(100);
        let mut seen = 0;
        for (n, files) in &self.0 {
            seen += files;
            if seen >= wanted {
                return *n;
            }
        }
        0
    }
}

/// Counts over all live snapshots.
///
/// # Errors
/// [`crate::Error::Interrupted`], [`crate::Error::Index`].
pub fn run(store: &Store, control: &Control) -> Result<Locality> {
    control.progress.set_phase("looking at files");
    let mut out = Locality::default();
    let (mut each, mut long) = (Histogram::default(), Histogram::default());
    let mut newest_first = snapshots::list(store, &[]);
    newest_first.reverse();
    let walked = walk::each_once(store, &newest_first, control, &mut |met, recipe| {
        let mut n = 0u64;
        let whole = fragments::windows(store, recipe, met.bytes, &mut |ids| {
            let places: Vec<_> = store.locate(ids)?.into_iter().map(|at| at.map(|at| at.place)).collect();
            n += fragments::stretches(&places).len() as u64;
            Ok(())
        })?;
        if !whole {
            out.unreadable += 1;
            return Ok(());
        }
        out.files += 1;
        out.bytes = out.bytes.saturating_add(met.bytes);
        out.fragments += n;
        each.add(n);
        if met.bytes >= LONG_BYTES {
            out.long_files += 1;
            let per_gib = (u128::from(n) << 30).div_ceil(u128::from(met.bytes));
            long.add(u64::try_from(per_gib).unwrap_or(u64::MAX));
        }
        if n > out.most {
            (out.most, out.worst) = (n, Some(met.path.to_vec()));
        }
        Ok(())
    })?;
    out.unreadable += walked.unreadable;
    (out.median, out.p90, out.p99) = (each.percentile(50), each.percentile(90), each.percentile(99));
    (out.long_median_per_gib, out.long_p90_per_gib, out.long_p99_per_gib) =
        (long.percentile(50), long.percentile(90), long.percentile(99));
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_those_of_the_files() {
        let mut h = Histogram::default();
        (1..=100).for_each(|n| h.add(n));
        h.add(123_456);
        assert_eq!((h.percentile(50), h.percentile(90), h.percentile(99), h.percentile(100)), (51, 91, 100, 120_000));
        assert_eq!(Histogram::default().percentile(50), 0);
    }
}
