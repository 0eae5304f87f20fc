//! The scanner against the simple twins: the pinned crate for cuts, the definitions for marks and samples.

use super::*;
use crate::format::Keys;
use crate::format::superblock::ChunkerParameters;
use proptest::prelude::*;

fn kernels() -> Vec<Kernel> {
    let mut all = vec![Kernel::Portable];
    if Kernel::best() != Kernel::Portable {
        all.push(Kernel::best());
    }
    all
}

fn cutter(level: u8, min_bytes: u32, avg_bytes: u32, max_bytes: u32, seed: u64) -> Cutter {
    let p = ChunkerParameters { level, min_bytes, avg_bytes, max_bytes, ..Default::default() };
    Cutter::new(p, &Keys::new([1; 32], seed)).unwrap()
}

/// Chunkers that cut a few KB often, with marks at 1 in 64 to 1 in 4 positions.
fn small_cutters(seed: u64) -> Vec<Cutter> {
    vec![
        cutter(0, 64, 256, 1024, seed),
        cutter(1, 128, 4096, 1 << 16, seed),
        cutter(2, 2048, 4096, 16384, seed), // masks that differ much
        cutter(2, 256, 16384, 1 << 16, seed),
        cutter(3, 64, 4096, 8192, seed), // masks with few bits in common
    ]
}

struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() % n.max(1) as u64) as usize
    }

    fn noise(&mut self, n: usize) -> Vec<u8> {
        (0..n.div_ceil(8)).flat_map(|_| self.next().to_le_bytes()).take(n).collect()
    }

    /// Stretches of noise, of one byte, of few values, of short periods, of what was there before.
    fn mixed(&mut self, n: usize) -> Vec<u8> {
        let mut out = Vec::new();
        while out.len() < n {
            let len = 1 + self.below(n / 3 + 1);
            match self.below(5) {
                0 => out.extend(self.noise(len)),
                1 => out.extend(vec![self.next() as u8; len]),
                2 => out.extend(self.noise(len).into_iter().map(|b| b & 1)),
                3 => {
                    let period = 1 + self.below(70);
                    out.extend(self.noise(period).into_iter().cycle().take(len));
                }
                _ => {
                    let at = self.below(out.len());
                    let again = out[at..out.len().min(at + len)].to_vec();
                    out.extend(again);
                }
            }
        }
        out.truncate(n);
        out
    }
}

/// The low word at a position, from its definition.
fn low_word(table: &Table, bytes: &[u8], at: usize) -> u32 {
    (0..REACH.min(at + 1)).fold(0, |h: u32, j| h.wrapping_add(table.low[usize::from(bytes[at - j])] << j))
}

/// Cuts runs of `bytes` in windows as a reader does, and holds every length against the simple twin's and every
/// chunk's samples against their definition.
fn check(cutter: &Cutter, kernel: Kernel, bytes: &[u8], runs: &[usize], window_bytes: usize, what: &str) {
    let mut scanner = Scanner::with(cutter, kernel);
    let mut ends: Vec<usize> = Vec::new();
    let mut at = 0;
    for &run in runs {
        at = bytes.len().min(at + run.max(1));
        ends.push(at);
    }
    ends.push(bytes.len());
    let (mut front, mut cut) = (0, 0);
    while cut < bytes.len() {
        let window = &bytes[front..bytes.len().min(front + window_bytes.max(2 * cutter.max_bytes()))];
        let last = front + window.len() == bytes.len();
        let mut chunks = Vec::new();
        while let Some(&end) = ends.iter().find(|e| **e > cut) {
            let seen = end.min(front + window.len());
            if !last && seen < end && seen - cut < cutter.max_bytes() {
                break; // a longer look may change the cut
            }
            let n = scanner.next(window, cut - front..seen - front);
            let want = cutter.next(&bytes[cut..end.min(cut + cutter.max_bytes())]);
            assert_eq!(n, want, "{what}: {kernel:?}, a chunk at {cut} of {} in a run to {end}", bytes.len());
            chunks.push(cut - front..cut - front + n);
            cut += n;
        }
        let done = cut - front;
        let samples = scanner.advance(window, chunks.iter().cloned(), done);
        for (i, chunk) in chunks.into_iter().enumerate() {
            let mut want = Vec::new();
            cutter.table.samples_of(&window[chunk], &mut want);
            assert_eq!(samples.chunk(i), want, "{what}: {kernel:?}, samples of chunk {i} before {cut}");
        }
        front = cut;
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn cuts_and_samples_equal_the_simple_twins(seed: u64, which in 0usize..5, kib in 0usize..96, windows in 1usize..40) {
        let mut random = Random(seed);
        let n = (kib << 10) + random.below(1024);
        let bytes = random.mixed(n);
        let runs: Vec<usize> = (0..random.below(9)).map(|_| random.below(n)).collect();
        let cutter = small_cutters(seed >> 1).swap_remove(which);
        for kernel in kernels() {
            check(&cutter, kernel, &bytes, &runs, windows << 12, &format!("seed {seed}"));
        }
    }
}

#[test]
fn marks_are_where_the_low_word_says() {
    for seed in 0..6 {
        let mut random = Random(seed);
        let n = [5, 1023, 1024, 3 * 1024, 200_001, 150_000][seed as usize];
        let bytes = random.noise(n);
        let cutter = cutter(2, 64 << 10, 256 << 10, 1 << 20, seed);
        for kernel in kernels() {
            let mut scanner = Scanner::with(&cutter, kernel);
            // In two steps: marks do not know where a scan began.
            scanner.scan(&bytes[..n / 3]);
            scanner.scan(&bytes);
            assert!(scanner.knows(0..n), "noise is not dense");
            let marks: Vec<_> = scanner.marks.iter().map(|m| (m.at as usize, m.hash)).collect();
            let want: Vec<_> = (0..n).map(|at| (at, low_word(&cutter.table, &bytes, at))).collect();
            let want: Vec<_> = want.into_iter().filter(|(_, h)| h & cutter.table.mark == 0).collect();
            assert_eq!(marks, want, "{kernel:?}, {n} bytes of seed {seed}");
        }
    }
}

#[test]
fn bits_of_the_default_chunker() {
    let table = cutter(2, 64 << 10, 256 << 10, 1 << 20, 0).table;
    assert_eq!((table.mark, table.sample), (0x0353_4000, 0x0353_4000));
}

#[test]
fn few_common_bits_are_filled_up_for_samples() {
    let table = cutter(2, 4 << 10, 16 << 10, 64 << 10, 0).table;
    assert_eq!((table.mark, table.sample), (0x0353_0000, 0x8353_0000));
}

#[test]
fn every_length_about_the_chunkers_limits_cuts_the_same() {
    let bytes = Random(3).noise(40_000);
    for cutter in small_cutters(9) {
        let limits = cutter.limits(usize::MAX).unwrap();
        let around = [limits.start, limits.start + DEPTH, limits.border(), limits.end, 2 * limits.end];
        for kernel in kernels() {
            for n in around.into_iter().flat_map(|n| n.saturating_sub(66)..n + 67).filter(|n| *n < 20_000) {
                for from in [0, 1, 31, 777] {
                    let mut scanner = Scanner::with(&cutter, kernel);
                    let end = (from + n).min(bytes.len());
                    assert_eq!(scanner.next(&bytes, from..end), cutter.next(&bytes[from..end]), "{n} bytes at {from}");
                }
            }
        }
    }
}

/// The default chunker over several windows of it, with runs that end anywhere.
#[test]
fn large_windows_cut_the_same() {
    for seed in 0..4 {
        let mut random = Random(seed);
        let bytes = if seed == 0 { random.noise(9_000_001) } else { random.mixed(7_000_003) };
        let runs: Vec<usize> = (0..seed as usize * 3).map(|_| random.below(2_000_000)).collect();
        let cutter = cutter(2, 64 << 10, 256 << 10, 1 << 20, seed);
        for kernel in kernels() {
            check(&cutter, kernel, &bytes, &runs, 4 << 20, &format!("seed {seed}"));
        }
    }
}

/// A run of one byte ends in a hash that never changes. Where that is a mark, every position is one.
#[test]
fn constant_bytes_that_are_all_marks_cut_the_same_and_stay_bounded() {
    let mut met = 0;
    for seed in 0..4 {
        let cutter = cutter(1, 128, 4096, 1 << 16, seed);
        for byte in 0..=255u8 {
            let settled = low_word(&cutter.table, &[byte; REACH], REACH - 1);
            if settled & cutter.table.mark != 0 {
                continue;
            }
            met += 1;
            let mut bytes = Random(seed).noise(70_000);
            bytes[9_000..60_001].fill(byte);
            for kernel in kernels() {
                let mut scanner = Scanner::with(&cutter, kernel);
                scanner.scan(&bytes);
                assert!(scanner.marks.len() < bytes.len() / 4 && !scanner.dense.is_empty());
                check(&cutter, kernel, &bytes, &[20_000, 5, 1], 1 << 17, &format!("byte {byte} of seed {seed}"));
            }
        }
    }
    assert!(met > 0);
}

#[test]
fn samples_know_neither_window_nor_what_stood_before() {
    let bytes = Random(1).noise(600_000);
    let cutter = cutter(2, 64 << 10, 256 << 10, 1 << 20, 5);
    let alone = Scanner::new(&cutter).samples(&bytes[100_003..400_001]);
    assert!((2000..2700).contains(&alone.len()), "{}", alone.len());
    let mut scanner = Scanner::new(&cutter);
    let samples = scanner.advance(&bytes, [100_003..400_001, 400_001..400_031, 400_031..600_000], 600_000);
    assert_eq!(samples.chunk(0), alone);
    assert!(samples.chunk(1).is_empty() && !samples.chunk(2).is_empty() && samples.chunk(3).is_empty());
}

#[test]
fn what_stays_in_the_window_is_not_scanned_again() {
    let bytes = Random(1).noise(300_000);
    let cutter = cutter(2, 64 << 10, 256 << 10, 1 << 20, 5);
    let mut scanner = Scanner::new(&cutter);
    let _ = scanner.next(&bytes, 0..300_000);
    let marks = scanner.marks.len();
    scanner.advance(&bytes, [], 0);
    assert_eq!((scanner.scanned, scanner.marks.len()), (300_000, marks));
    scanner.advance(&bytes, [], 299_990);
    assert_eq!(scanner.scanned, 10);
    assert_eq!(scanner.next(&bytes[299_990..], 0..10), 10);
}

#[test]
fn ranges_beyond_the_window_are_nothing() {
    let cutter = cutter(2, 64 << 10, 256 << 10, 1 << 20, 5);
    let mut scanner = Scanner::new(&cutter);
    assert_eq!(scanner.next(&[1, 2, 3], 2..4), 0);
    assert_eq!(scanner.next(&[1, 2, 3], 3..3), 0);
    assert!(scanner.advance(&[1, 2, 3], std::iter::once(2..9), 3).chunk(0).is_empty());
    assert!(scanner.samples(&[]).is_empty());
}
