//! What becomes of a damaged index: action x file.
//!
//! Goal: an index whose files were cut, changed, emptied or removed never gives a wrong answer and never
//! ends the process. Method: a small index with two sorted files and a log, in which the state at each
//! log entry is known. Each case damages a copy, opens it in both modes, and compares whatever it
//! answers with the state at the entry that it claims to stand for.

use std::collections::BTreeMap;
use std::path::PathBuf;

use tempfile::TempDir;

use super::tests::{READ, STORE, WRITE, fresh};
use super::*;
use crate::index::tests::{id, place, reflected};

const BATCHES: u64 = 6;
const CHUNKS_PER_BATCH: u64 = 400;

/// The chunks after the first `entries` batches: each adds some and moves some of the one before.
fn state(entries: u64) -> BTreeMap<ChunkId, Place> {
    (1..=entries).flat_map(batch).collect()
}

fn batch(entry: u64) -> impl Iterator<Item = (ChunkId, Place)> {
    let first = entry * CHUNKS_PER_BATCH;
    (first - CHUNKS_PER_BATCH / 4..first + CHUNKS_PER_BATCH).map(move |n| (id(n), place((n * 16 + entry) as u32)))
}

/// An index in which two entries were flushed, two more were flushed, and two are in the log alone.
fn sample(path: &Path) {
    let index = fresh(path);
    for entry in 1..=BATCHES {
        index.apply(&batch(entry).collect::<Vec<_>>(), Some(reflected(entry))).unwrap();
        if entry == 2 || entry == 4 {
            index.flush().unwrap();
        }
    }
}

fn files(path: &Path) -> Vec<PathBuf> {
    // LOG and OPTIONS are for people; LOCK and IDENTITY have no content that is read back.
    let mut all: Vec<_> = names(path).unwrap().unwrap().iter().map(|name| path.join(name)).collect();
    all.retain(|file| ["CURRENT", "MANIFEST"].iter().any(|n| name(file).starts_with(n)) || file.extension().is_some());
    all
}

fn name(file: &Path) -> String {
    file.file_name().unwrap().to_string_lossy().into_owned()
}

#[derive(Debug, Default, PartialEq)]
struct Outcomes {
    unusable: u32,
    /// It opened, and at least one answer was an error.
    errors: u32,
    /// It opened, and all answers were those of the entry it stands for.
    right: u32,
}

/// Opens what is in `path`; panics at the first wrong answer.
fn judge(path: &Path, options: Options, what: &str, outcomes: &mut Outcomes) {
    let index = match RocksIndex::open(path, STORE, options) {
        Ok(Opened::Ready(index)) => index,
        Ok(Opened::Unusable { .. }) => {
            outcomes.unusable += 1;
            return;
        }
        Ok(Opened::Missing) => panic!("{what}: missing"),
        Err(e) => panic!("{what}: {e}"),
    };
    let entry = index.reflected().unwrap().map_or(0, |r| r.number);
    let expected = state(entry);
    let mut errors = 0;
    let ids: Vec<_> = (0..(BATCHES + 2) * CHUNKS_PER_BATCH).map(id).collect();
    for id in &ids {
        match index.get(id) {
            Ok(found) => assert_eq!(found.as_ref(), expected.get(id), "{what}: wrong answer at entry {entry}"),
            Err(Error::Index { .. }) => errors += 1,
            Err(e) => panic!("{what}: {e}"),
        }
    }
    for asked in ids.chunks(100) {
        match index.get_many(asked) {
            Ok(found) => {
                assert!(found.iter().zip(asked).all(|(found, id)| found.as_ref() == expected.get(id)), "{what}");
            }
            Err(Error::Index { .. }) => errors += 1,
            Err(e) => panic!("{what}: {e}"),
        }
    }
    let mut walked = BTreeMap::new();
    match index.for_each(None, &mut |id, place| {
        walked.insert(id, place);
        Ok(true)
    }) {
        Ok(()) => assert_eq!(walked, expected, "{what}: wrong walk"),
        Err(Error::Index { .. }) => errors += 1,
        Err(e) => panic!("{what}: {e}"),
    }
    if errors > 0 { outcomes.errors += 1 } else { outcomes.right += 1 }
}

/// Damages one file of a copy at a time, for every file that `picks`, and judges the result.
fn damage(
    picks: impl Fn(&str) -> bool,
    modes: &[Options],
    how: impl Fn(&Path, u64) -> Vec<(String, Damage)>,
) -> Outcomes {
    let folder = TempDir::new().unwrap();
    let sound = folder.path().join("sound");
    sample(&sound);
    let mut outcomes = Outcomes::default();
    let mut case = 0;
    for file in files(&sound).into_iter().filter(|file| picks(&name(file))) {
        let len = std::fs::metadata(&file).unwrap().len();
        for (what, act) in how(&file, len) {
            for options in modes {
                let copy = folder.path().join(format!("copy-{case}"));
                case += 1;
                std::fs::create_dir(&copy).unwrap();
                for file in std::fs::read_dir(&sound).unwrap() {
                    let file = file.unwrap();
                    std::fs::copy(file.path(), copy.join(file.file_name())).unwrap();
                }
                act(&copy.join(name(&file)));
                judge(&copy, *options, &format!("{what} {}, {:?}", name(&file), options.mode), &mut outcomes);
                std::fs::remove_dir_all(&copy).unwrap();
            }
        }
    }
    assert!(case > 0);
    outcomes
}

type Damage = Box<dyn Fn(&Path)>;

fn flip(at: u64) -> (String, Damage) {
    let act = move |file: &Path| {
        let mut bytes = std::fs::read(file).unwrap();
        bytes[at as usize] ^= 1 << (at % 8);
        std::fs::write(file, bytes).unwrap();
    };
    (format!("bit flip at {at} in"), Box::new(act))
}

fn cut(to: u64) -> (String, Damage) {
    let act = move |file: &Path| {
        std::fs::OpenOptions::new().write(true).open(file).unwrap().set_len(to).unwrap();
    };
    (format!("cut to {to}"), Box::new(act))
}

fn remove() -> (String, Damage) {
    ("removed".into(), Box::new(|file: &Path| std::fs::remove_file(file).unwrap()))
}

/// Offsets spread over a file, with both ends.
fn spread(len: u64, count: u64) -> impl Iterator<Item = u64> {
    (0..count).map(move |i| i * len.saturating_sub(1) / (count - 1))
}

#[test]
fn the_sound_sample_answers_right() {
    let outcomes =
        damage(|name| name == "CURRENT", &[READ, WRITE], |_, _| vec![("sound".into(), Box::new(|_: &Path| {}))]);
    assert_eq!(outcomes, Outcomes { right: 2, ..Outcomes::default() });
}

#[test]
fn a_flipped_bit_in_a_sorted_file_never_gives_a_wrong_answer() {
    let outcomes = damage(|name| name.ends_with(".sst"), &[READ], |_, len| spread(len, 48).map(flip).collect());
    // Where a filter or what is for people alone is hit, answers stay right.
    assert!(outcomes.errors > 0 && outcomes.unusable > 0, "{outcomes:?}");
}

#[test]
fn every_block_of_chunks_is_checked() {
    // The first 16 KiB of a table of this sample are chunks and nothing else.
    let outcomes = damage(
        |name| name.ends_with(".sst"),
        &[READ, WRITE],
        |_, len| {
            if len < 16 << 10 { Vec::new() } else { spread(16_000, 12).map(flip).collect() }
        },
    );
    assert_eq!((outcomes.right, outcomes.unusable), (0, 0), "{outcomes:?}");
    assert_eq!(outcomes.errors, 2 * 2 * 12);
}

#[test]
fn a_flipped_bit_in_current_manifest_or_log_never_gives_a_wrong_answer() {
    let picks = |name: &str| !name.ends_with(".sst");
    let outcomes = damage(picks, &[READ], |_, len| spread(len.max(1), 24).filter(|at| *at < len).map(flip).collect());
    assert!(outcomes.unusable > 0 && outcomes.right > 0 && outcomes.errors == 0, "{outcomes:?}");
}

#[test]
fn a_file_that_is_cut_emptied_or_gone_never_gives_a_wrong_answer() {
    let outcomes = damage(
        |_| true,
        &[READ, WRITE],
        |_, len| [0, len / 3, len / 2, len.saturating_sub(1)].into_iter().map(cut).chain([remove()]).collect(),
    );
    assert!(outcomes.unusable > 0 && outcomes.right > 0, "{outcomes:?}");
}

/// A manifest that is cut between two of its entries is whole, but forgets sorted files; the log of what is in
/// them is gone by then. Answers were wrong here until each log named the one before it: the younger log
/// alone was replayed, and claimed to stand for its entry.
#[test]
fn a_manifest_that_forgot_its_end_gives_an_earlier_moment() {
    let picks = |name: &str| name.starts_with("MANIFEST");
    let outcomes = damage(picks, &[READ, WRITE], |_, len| spread(len, 48).map(cut).collect());
    assert!(outcomes.unusable > 0 && outcomes.right > 0 && outcomes.errors == 0, "{outcomes:?}");
}

#[test]
fn a_damaged_index_can_be_destroyed_and_made_anew() {
    for (_, act) in [cut(0), cut(3), remove()] {
        let folder = TempDir::new().unwrap();
        sample(folder.path());
        files(folder.path()).iter().for_each(|file| act(file));
        assert!(!matches!(RocksIndex::open(folder.path(), STORE, WRITE), Ok(Opened::Ready(_)) | Err(_)));
        RocksIndex::destroy(folder.path()).unwrap();
        assert!(matches!(RocksIndex::open(folder.path(), STORE, WRITE), Ok(Opened::Missing)));
        assert_eq!(fresh(folder.path()).reflected().unwrap(), None);
    }
}
