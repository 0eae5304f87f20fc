//! Damage within a unit: which of the doubted members is wrong where.
//!
//! A check says that a unit of 1 MiB is damaged, not where. If more members have a damaged unit at one place
//! than there is parity, each may still be right where the others are wrong. Every 64 bytes of all members
//! are a code word of their own: with fewer members left out than there is parity, the rest of a word either
//! agrees or does not, and the smallest set whose leaving out makes it agree is the one that is wrong (a code
//! of distance m + 1 has no second word that near). Where leaving out takes all of the parity, nothing is
//! left to agree: damage that lies side by side is taken for one, and the few ways are tried. Whatever comes
//! out counts only if it fits the units' checks.

use super::code::{ALIGN, Coder};

/// Ways that are tried where the code alone does not decide. Each costs hashing the units once.
const WAYS_MAX: usize = 4096;
/// What the ways may hold in memory: what is not decided of each, which is seldom more than some sectors.
const WAYS_BYTES: usize = 64 << 20;
/// More members in doubt than this are not looked into.
const DOUBTED_MAX: usize = 8;

/// `given` are proven columns and `doubted` such that do not fit their checks, all of one length. Returns those of
/// the doubted that could be made right, which `fits` says.
pub(super) fn solve(
    (data, parity): (usize, usize),
    given: &[(usize, &[u8])],
    doubted: &[(usize, &[u8])],
    fits: &dyn Fn(usize, &[u8]) -> bool,
) -> Vec<(usize, Vec<u8>)> {
    let erased = data + parity - (given.len() + doubted.len()).min(data + parity);
    let Some(budget) = parity.checked_sub(erased) else { return Vec::new() };
    if doubted.is_empty() || doubted.len() > DOUBTED_MAX || budget == 0 {
        return Vec::new();
    }
    let columns = doubted.first().map_or(0, |(_, b)| b.len() / ALIGN as usize);
    let mut fixed: Vec<(usize, Vec<u8>)> = doubted.iter().map(|(s, b)| (*s, b.to_vec())).collect();
    let mut decided = vec![false; columns];
    let mut coder = Coder::new(data, parity);
    // A set of doubted members, as bits; smaller ones first.
    let sets = |size: u32| (0u32..1 << doubted.len()).filter(move |set| set.count_ones() == size);
    for size in 0..budget as u32 {
        for set in sets(size) {
            if let Some(made) = left_out(&mut coder, data, given, doubted, set) {
                for (column, decided) in decided.iter_mut().enumerate().filter(|(_, d)| !**d) {
                    let range = column * ALIGN as usize..(column + 1) * ALIGN as usize;
                    let agree =
                        made.rest.iter().all(|(have, should)| have.get(range.clone()) == should.get(range.clone()));
                    if agree {
                        *decided = true;
                        made.copy(range, &mut fixed);
                    }
                }
            }
        }
    }
    let runs = runs(&decided);
    if !runs.is_empty() {
        let undecided: usize = runs.iter().map(|(from, to)| (to - from) * ALIGN as usize).sum();
        let many = sets(budget as u32).count();
        let count = u32::try_from(runs.len()).ok().and_then(|n| many.checked_pow(n));
        let is_bounded = many.saturating_mul(undecided).saturating_mul(budget) <= WAYS_BYTES;
        // Else what is decided may still be all that some members need.
        if is_bounded && count.is_some_and(|n| n <= WAYS_MAX) {
            let made = sets(budget as u32).filter_map(|set| left_out(&mut coder, data, given, doubted, set));
            let ways: Vec<Way> = made.map(|made| made.way(&runs)).collect();
            let count = u32::try_from(runs.len()).map_or(0, |n| ways.len().saturating_pow(n)); // not above `many`'s
            for way in 0..count {
                let mut rest = way;
                for (run, (from, to)) in runs.iter().enumerate() {
                    let range = from * ALIGN as usize..to * ALIGN as usize;
                    for ((_, to), (_, raw)) in fixed.iter_mut().zip(doubted) {
                        if let (Some(to), Some(raw)) = (to.get_mut(range.clone()), raw.get(range.clone())) {
                            to.copy_from_slice(raw); // what another way put there
                        }
                    }
                    for (slot, parts) in ways.get(rest % ways.len()).into_iter().flatten() {
                        let to = fixed.iter_mut().find(|(s, _)| s == slot).and_then(|(_, b)| b.get_mut(range.clone()));
                        if let (Some(to), Some(from)) = (to, parts.get(run)) {
                            to.copy_from_slice(from);
                        }
                    }
                    rest /= ways.len();
                }
                if fixed.iter().all(|(slot, bytes)| fits(*slot, bytes)) {
                    break;
                }
            }
        }
    }
    fixed.retain(|(slot, bytes)| fits(*slot, bytes));
    fixed
}

/// The word without some members: what those would be, and what the rest has and should have.
struct Made<'a> {
    out: Vec<(usize, Vec<u8>)>,
    rest: Vec<(&'a [u8], Vec<u8>)>,
}

/// What some members would be in each run of columns that is not decided.
type Way = Vec<(usize, Vec<Vec<u8>>)>;

impl Made<'_> {
    fn way(self, runs: &[(usize, usize)]) -> Way {
        let of = |bytes: &[u8], (from, to): &(usize, usize)| {
            bytes.get(from * ALIGN as usize..to * ALIGN as usize).unwrap_or_default().to_vec()
        };
        self.out.into_iter().map(|(slot, bytes)| (slot, runs.iter().map(|run| of(&bytes, run)).collect())).collect()
    }

    fn copy(&self, range: std::ops::Range<usize>, fixed: &mut [(usize, Vec<u8>)]) {
        for (slot, bytes) in &self.out {
            let to = fixed.iter_mut().find(|(s, _)| s == slot).and_then(|(_, b)| b.get_mut(range.clone()));
            if let (Some(to), Some(from)) = (to, bytes.get(range.clone())) {
                to.copy_from_slice(from);
            }
        }
    }
}

fn left_out<'a>(
    coder: &mut Coder,
    data: usize,
    given: &[(usize, &'a [u8])],
    doubted: &[(usize, &'a [u8])],
    set: u32,
) -> Option<Made<'a>> {
    let is_out = |i: usize| set & (1 << i) != 0; // at most DOUBTED_MAX members
    let held = doubted.iter().enumerate().filter(|(i, _)| !is_out(*i)).map(|(_, d)| *d);
    let all: Vec<(usize, &[u8])> = given.iter().copied().chain(held).collect();
    let (from, rest) = all.split_at_checked(data)?;
    let out = doubted.iter().enumerate().filter(|(i, _)| is_out(*i)).map(|(_, (slot, _))| *slot);
    let wanted: Vec<usize> = out.clone().chain(rest.iter().map(|(slot, _)| *slot)).collect();
    let mut made = coder.rebuild(from, &wanted).ok()?;
    let mut take = |slot: usize| made.iter().position(|(s, _)| *s == slot).map(|i| made.swap_remove(i));
    let rest: Option<Vec<_>> = rest.iter().map(|(slot, have)| Some((*have, take(*slot)?.1))).collect();
    let out: Option<Vec<_>> = out.map(&mut take).collect();
    Some(Made { out: out?, rest: rest? })
}

/// Columns that are not decided, in runs: from, to.
fn runs(decided: &[bool]) -> Vec<(usize, usize)> {
    let mut runs: Vec<(usize, usize)> = Vec::new();
    for column in decided.iter().enumerate().filter(|(_, d)| !**d).map(|(i, _)| i) {
        match runs.last_mut() {
            Some((_, to)) if *to == column => *to += 1,
            _ => runs.push((column, column + 1)),
        }
    }
    runs
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group(k: usize, m: usize, bytes: usize) -> Vec<Vec<u8>> {
        let mut all: Vec<Vec<u8>> =
            (0..k).map(|s| (0..bytes).map(|i| (i * (s + 3) + i / 251) as u8).collect()).collect();
        let refs: Vec<&[u8]> = all.iter().map(Vec::as_slice).collect();
        let parity = Coder::new(k, m).encode(&refs).unwrap();
        all.extend(parity);
        all
    }

    /// Flips bytes of `k + m` members and solves; the members that are not named are proven, or away.
    fn solved(k: usize, m: usize, flips: &[(usize, usize, usize)], away: &[usize]) -> usize {
        let good = group(k, m, 64 * 40);
        let mut bad = good.clone();
        for &(slot, at, n) in flips {
            bad[slot][at..at + n].iter_mut().for_each(|b| *b ^= 0x5a);
        }
        let harmed: Vec<usize> = (0..k + m).filter(|s| bad[*s] != good[*s]).collect();
        let there = (0..k + m).filter(|s| !away.contains(s));
        let (doubted, given): (Vec<_>, Vec<_>) =
            there.map(|s| (s, bad[s].as_slice())).partition(|(s, _)| harmed.contains(s));
        let fits = |slot: usize, bytes: &[u8]| bytes == good[slot];
        let fixed = solve((k, m), &given, &doubted, &fits);
        assert!(fixed.iter().all(|(slot, bytes)| *bytes == good[*slot]));
        fixed.len()
    }

    #[test]
    fn more_members_than_parity_come_back_if_they_are_wrong_at_different_places() {
        assert_eq!(solved(6, 2, &[(0, 0, 1), (3, 700, 3), (7, 1900, 64)], &[]), 3);
        assert_eq!(solved(6, 2, &[(0, 5, 1), (1, 100, 1), (2, 200, 1), (3, 300, 1), (4, 400, 1)], &[]), 5);
        // one parity pack, two members: the few ways are tried
        assert_eq!(solved(4, 1, &[(0, 0, 100), (2, 1000, 200)], &[]), 2);
        // one of two parity packs is needed for a member that is away
        assert_eq!(solved(6, 2, &[(1, 10, 4), (2, 900, 4)], &[5]), 2);
    }

    #[test]
    fn members_that_are_wrong_at_one_place_come_back_up_to_the_parity() {
        assert_eq!(solved(6, 2, &[(0, 128, 9), (3, 130, 9), (5, 1900, 2)], &[]), 3);
        assert_eq!(solved(6, 2, &[(0, 128, 9), (3, 130, 9), (5, 140, 2)], &[]), 0, "three of two is too much");
        assert_eq!(solved(4, 1, &[(0, 128, 9), (3, 130, 9)], &[]), 0);
    }
}
