//! The sorter against a sorted vector, with small budgets and damaged runs.

use std::collections::BTreeMap;

use proptest::prelude::*;
use tempfile::TempDir;

use super::*;

fn io() -> Io {
    Io::real()
}

fn drain<const N: usize>(mut sorted: Sorted<N>) -> Vec<[u8; N]> {
    let mut out = Vec::new();
    while let Some(record) = sorted.next().unwrap() {
        out.push(record);
    }
    assert!(sorted.next().unwrap().is_none());
    out
}

fn files(folder: &TempDir) -> usize {
    std::fs::read_dir(folder.path()).unwrap().count()
}

/// A sequence without pattern, the same in every run: xorshift64*.
fn scattered(mut state: u64) -> impl Iterator<Item = u64> {
    std::iter::repeat_with(move || {
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        state.wrapping_mul(0x2545_f491_4f6c_dd1d)
    })
}

fn records_16(count: usize) -> Vec<[u8; 16]> {
    scattered(7).take(count).enumerate().map(|(i, x)| u128::from(x).wrapping_mul(i as u128 | 1).to_be_bytes()).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn everything_comes_back_in_order(seed in 1u64.., count in 0usize..6000, spread in 1u64..100_000, extra in 0usize..40_000) {
        let folder = TempDir::new().unwrap();
        let mut expected: Vec<[u8; 8]> = scattered(seed).take(count).map(|x| (x % spread).to_be_bytes()).collect();
        let mut sorter = Sorter::new(&io(), folder.path(), extra, Order::All).unwrap();
        for record in &expected {
            sorter.push(record).unwrap();
        }
        expected.sort_unstable();
        prop_assert_eq!(drain(sorter.finish().unwrap()), expected);
        prop_assert_eq!(files(&folder), 0);
    }

    #[test]
    fn of_one_key_the_last_fed_stays(seed in 1u64.., count in 0usize..6000, keys in 1u64..9000) {
        let folder = TempDir::new().unwrap();
        let mut sorter = Sorter::<9>::new(&io(), folder.path(), 0, Order::LastOf { key_bytes: 5 }).unwrap();
        let mut expected = BTreeMap::new();
        for (i, x) in scattered(seed).take(count).enumerate() {
            let key: [u8; 5] = *((x % keys) << 24).to_be_bytes().first_chunk().unwrap();
            // The value falls, so that the bytes' own order would pick another.
            let value = (u32::MAX - i as u32).to_be_bytes();
            expected.insert(key, value);
            let mut record = [0; 9];
            record[..5].copy_from_slice(&key);
            record[5..].copy_from_slice(&value);
            sorter.push(&record).unwrap();
        }
        let got: Vec<_> = drain(sorter.finish().unwrap());
        let expected: Vec<_> = expected.into_iter().map(|(k, v)| [k.as_slice(), &v].concat()).collect();
        prop_assert_eq!(got.iter().map(|r| r.to_vec()).collect::<Vec<_>>(), expected);
    }
}

#[test]
fn many_runs_keep_to_the_budget_and_to_the_number_of_files() {
    let folder = TempDir::new().unwrap();
    let mut sorter = Sorter::<16>::new(&io(), folder.path(), MEMORY_BYTES_MIN, Order::All).unwrap();
    let plan = sorter.plan;
    let mut expected = records_16(plan.buffer_records * plan.fan_in * (RUNS_PER_FAN_IN + 1));
    let mut most_files = 0;
    for (i, record) in expected.iter().enumerate() {
        sorter.push(record).unwrap();
        if i % 5000 == 0 {
            most_files = most_files.max(files(&folder));
        }
    }
    // The input is larger than all runs that may wait, so that runs were merged on the way.
    assert!(sorter.runs.next as usize > plan.fan_in * RUNS_PER_FAN_IN + 1);
    assert!(most_files > plan.fan_in && most_files <= plan.fan_in * RUNS_PER_FAN_IN + 1, "{most_files} files");
    let sorted = sorter.finish().unwrap();
    assert!(sorted._runs.live.len() <= plan.fan_in);
    let peak = sorted.memory_peak_bytes();
    assert!(peak > MEMORY_BYTES_MIN / 2 && peak <= MEMORY_BYTES_MIN, "{peak} bytes");
    expected.sort_unstable();
    assert_eq!(drain(sorted), expected);
    assert_eq!(files(&folder), 0);
}

#[test]
fn plans_keep_to_their_budgets() {
    fn holds<const N: usize>(memory: usize) {
        let plan = Plan::new::<N>(memory);
        let budget = memory.max(MEMORY_BYTES_MIN);
        let page = plan.page_records * N + CHECK_BYTES;
        assert!(plan.fan_in >= 2 && plan.fan_in <= RUNS_OPEN_MAX);
        assert!(plan.buffer_records * size_of::<Fed<N>>() + page <= budget, "{N} {memory}: {plan:?}");
        let source = page + size_of::<Reader<N>>() + 256 + size_of::<Head<N>>();
        assert!((plan.fan_in + 1) * source <= budget, "{N} {memory}: {plan:?}");
    }
    for memory in [0, 1 << 14, 100_000, 1 << 20, 1 << 26, 1 << 30, 1 << 36] {
        holds::<1>(memory);
        holds::<32>(memory);
        holds::<48>(memory);
        holds::<1024>(memory);
    }
}

#[test]
fn what_fits_into_memory_needs_no_file() {
    let folder = TempDir::new().unwrap();
    let mut sorter = Sorter::new(&io(), &folder.path().join("not there"), 1 << 20, Order::All).unwrap();
    for record in [[3u8; 4], [1; 4], [2; 4], [1; 4]] {
        sorter.push(&record).unwrap();
    }
    assert_eq!(drain(sorter.finish().unwrap()), [[1; 4], [1; 4], [2; 4], [3; 4]]);
}

fn spilled(folder: &TempDir, count: usize) -> Sorter<16> {
    let mut sorter = Sorter::new(&io(), folder.path(), 0, Order::All).unwrap();
    for record in records_16(count) {
        sorter.push(&record).unwrap();
    }
    sorter
}

fn first_failure(sorter: Sorter<16>) -> Error {
    let mut sorted = match sorter.finish() {
        Err(e) => return e,
        Ok(sorted) => sorted,
    };
    loop {
        match sorted.next() {
            Ok(Some(_)) => {}
            Ok(None) => panic!("the damage went unnoticed"),
            Err(e) => {
                assert!(sorted.next().is_err(), "an error must not turn into an end");
                return e;
            }
        }
    }
}

#[test]
fn every_changed_byte_of_a_run_is_found() {
    let folder = TempDir::new().unwrap();
    let size = {
        let sorter = spilled(&folder, 2000);
        std::fs::metadata(sorter.runs.path(1)).unwrap().len()
    };
    for at in (0..size).step_by(997).chain([size - 1]) {
        let sorter = spilled(&folder, 2000);
        let path = sorter.runs.path(1);
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[at as usize] ^= 1 << (at % 8);
        std::fs::write(&path, bytes).unwrap();
        assert!(matches!(first_failure(sorter), Error::Damaged { .. }), "byte {at}");
    }
}

#[test]
fn runs_that_are_cut_exchanged_or_gone_are_found() {
    let folder = TempDir::new().unwrap();
    let sorter = spilled(&folder, 2000);
    let path = sorter.runs.path(0);
    let bytes = std::fs::read(&path).unwrap();
    std::fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
    assert!(matches!(first_failure(sorter), Error::Damaged { .. }));

    let sorter = spilled(&folder, 2000);
    std::fs::copy(sorter.runs.path(0), sorter.runs.path(1)).unwrap();
    assert!(matches!(first_failure(sorter), Error::Damaged { .. }));

    let sorter = spilled(&folder, 2000);
    std::fs::remove_file(sorter.runs.path(1)).unwrap();
    assert!(matches!(first_failure(sorter), Error::Io { .. }));
    assert_eq!(files(&folder), 0);
}

#[test]
fn a_folder_that_is_gone_is_an_error() {
    let folder = TempDir::new().unwrap();
    let mut sorter = Sorter::<16>::new(&io(), &folder.path().join("gone"), 0, Order::All).unwrap();
    let failed = records_16(5000).iter().find_map(|record| sorter.push(record).err());
    assert!(matches!(failed, Some(Error::Io { action: "create", .. })));
}

#[test]
fn a_sorter_that_is_dropped_leaves_no_file_and_sweep_takes_only_sorters_files() {
    let folder = TempDir::new().unwrap();
    let sorter = spilled(&folder, 5000);
    assert!(files(&folder) > 1);
    drop(sorter);
    assert_eq!(files(&folder), 0);

    for name in [".sort-0123456789abcdef-7", "sort", ".index"] {
        std::fs::write(folder.path().join(name), b"left").unwrap();
    }
    assert_eq!(sweep(&io(), folder.path()).unwrap(), 1);
    assert_eq!(files(&folder), 2);
}

#[test]
fn a_key_longer_than_the_record_is_refused() {
    let folder = TempDir::new().unwrap();
    for key_bytes in [0, 5] {
        let made = Sorter::<4>::new(&io(), folder.path(), 0, Order::LastOf { key_bytes });
        assert!(matches!(made.err(), Some(Error::Argument { .. })));
    }
}
