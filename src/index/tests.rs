//! One suite for both kinds of index: what one promises, the other keeps.

use std::collections::BTreeMap;
use std::path::Path;

use proptest::prelude::*;
use tempfile::TempDir;

use super::*;
use crate::error::Error;
use crate::io::Io;

/// An id whose order among others is that of `n`, scrambled.
pub(super) fn id(n: u64) -> ChunkId {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&n.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes());
    bytes[24..].copy_from_slice(&n.to_be_bytes());
    ChunkId(bytes)
}

pub(super) fn place(n: u32) -> Place {
    Place { pack: n, offset: n.wrapping_mul(3), stored: !n, plain: n ^ 0x5555 }
}

pub(super) fn reflected(number: u64) -> Reflected {
    Reflected { number, hash: EntryHash([number as u8; 32]) }
}

pub(super) fn content(index: &dyn Index) -> BTreeMap<ChunkId, Place> {
    let mut all = BTreeMap::new();
    let mut last = None;
    index
        .for_each(None, &mut |id, place| {
            assert!(last < Some(id), "out of order");
            last = Some(id);
            all.insert(id, place);
            Ok(true)
        })
        .unwrap();
    all
}

/// Runs one behaviour over an empty index of each kind.
fn over_both(behaviour: impl Fn(&dyn Index, &Path)) {
    let folder = TempDir::new().unwrap();
    behaviour(&MemoryIndex::new(), folder.path());
    #[cfg(feature = "rocksdb")]
    behaviour(&super::rocks::tests::fresh(&folder.path().join("index")), folder.path());
}

#[test]
fn an_empty_index_knows_nothing() {
    over_both(|index, _| {
        assert_eq!(index.get(&id(1)).unwrap(), None);
        assert_eq!(index.get_many(&[]).unwrap(), []);
        assert_eq!(index.get_many(&[id(1), id(2)]).unwrap(), [None, None]);
        assert_eq!(index.reflected().unwrap(), None);
        assert!(content(index).is_empty());
        assert_eq!(index.statistics().unwrap().chunks_estimate, 0);
    });
}

#[test]
fn the_last_place_wins_within_a_batch_and_between_batches() {
    over_both(|index, _| {
        index.apply(&[(id(1), place(1)), (id(2), place(2)), (id(1), place(3))], Some(reflected(1))).unwrap();
        assert_eq!(index.get(&id(1)).unwrap(), Some(place(3)));
        index.apply(&[(id(2), place(4))], None).unwrap();
        assert_eq!(index.get(&id(2)).unwrap(), Some(place(4)));
        assert_eq!(index.reflected().unwrap(), Some(reflected(1)), "a batch without one leaves it");
        index.apply(&[], Some(reflected(2))).unwrap();
        assert_eq!(index.reflected().unwrap(), Some(reflected(2)));
    });
}

#[test]
fn answers_come_in_the_order_asked() {
    over_both(|index, _| {
        let known: Vec<_> = (0..1000).map(|n| (id(n), place(n as u32))).collect();
        index.apply(&known, None).unwrap();
        // Absent ones and repeated ones among them, and more than are looked up at once.
        let asked: Vec<u64> = (0..2000).map(|i| (i * 7919) % 1500).chain([3, 3, 3, 1499, 0]).collect();
        let ids: Vec<_> = asked.iter().map(|n| id(*n)).collect();
        let expected: Vec<_> = asked.iter().map(|n| (*n < 1000).then(|| place(*n as u32))).collect();
        assert_eq!(index.get_many(&ids).unwrap(), expected);
        index.flush().unwrap();
        assert_eq!(index.get_many(&ids).unwrap(), expected);
    });
}

#[test]
fn removed_chunks_are_gone_and_others_stay() {
    over_both(|index, _| {
        index.apply(&(0..100).map(|n| (id(n), place(n as u32))).collect::<Vec<_>>(), None).unwrap();
        index.flush().unwrap();
        index.remove(&[id(5), id(7), id(1000)]).unwrap();
        index.remove(&[]).unwrap();
        assert_eq!(index.get(&id(5)).unwrap(), None);
        assert_eq!(index.get_many(&[id(6), id(7)]).unwrap(), [Some(place(6)), None]);
        assert_eq!(content(index).len(), 98);
        index.apply(&[(id(5), place(50))], None).unwrap();
        assert_eq!(index.get(&id(5)).unwrap(), Some(place(50)));
    });
}

#[test]
fn a_walk_starts_where_it_is_told_and_ends_when_it_is_told() {
    over_both(|index, _| {
        index.apply(&(0..50).map(|n| (id(n), place(n as u32))).collect::<Vec<_>>(), None).unwrap();
        let all: Vec<_> = content(index).into_keys().collect();
        let walk = |start, most: usize| {
            let mut seen = Vec::new();
            index
                .for_each(start, &mut |id, _| {
                    seen.push(id);
                    Ok(seen.len() < most)
                })
                .unwrap();
            seen
        };
        assert_eq!(walk(Some(all[20]), 5), all[20..25]);
        assert_eq!(walk(Some(all[49]), 5), all[49..]);
        let mut between = all[30].0;
        between[31] ^= 0xff; // another id close by
        let between = ChunkId(between);
        assert_eq!(walk(Some(between), 1), [all[if between < all[30] { 30 } else { 31 }]]);
        assert_eq!(walk(Some(ChunkId([0xff; 32])), 5), []);
        let stopped = index.for_each(None, &mut |_, _| Err(Error::Interrupted));
        assert!(matches!(stopped, Err(Error::Interrupted)));
    });
}

#[test]
fn a_walk_sees_the_moment_it_began() {
    over_both(|index, _| {
        index.apply(&(0..50).map(|n| (id(n), place(n as u32))).collect::<Vec<_>>(), None).unwrap();
        let mut seen = 0;
        index
            .for_each(None, &mut |_, _| {
                if seen == 0 {
                    index.remove(&(0..50).map(id).collect::<Vec<_>>())?;
                    index.apply(&[(ChunkId([0xff; 32]), place(1))], None)?;
                }
                seen += 1;
                Ok(true)
            })
            .unwrap();
        assert_eq!(seen, 50);
        assert_eq!(content(index).len(), 1);
    });
}

#[test]
fn a_bulk_load_equals_batches_and_spills_to_do_so() {
    over_both(|index, folder| {
        let fed: Vec<_> = (0..20_000u32).map(|n| (id(u64::from(n) % 13_000), place(n))).collect();
        let mut load = BulkLoad::new(&Io::real(), folder, 64 << 10).unwrap();
        for batch in fed.chunks(999) {
            load.feed(batch).unwrap();
        }
        let spilled = std::fs::read_dir(folder)
            .unwrap()
            .any(|entry| entry.unwrap().file_name().to_string_lossy().starts_with(sort::TEMPORARY_PREFIX));
        assert!(spilled);
        assert_eq!(load.finish(index, reflected(9)).unwrap(), 13_000);
        let one_by_one = MemoryIndex::new();
        one_by_one.apply(&fed, Some(reflected(9))).unwrap();
        assert_eq!(content(index), content(&one_by_one));
        assert_eq!(index.reflected().unwrap(), Some(reflected(9)));
        assert_eq!(index.statistics().unwrap().chunks_estimate, 13_000);
    });
}

#[test]
fn an_empty_bulk_load_stands_for_its_entry() {
    over_both(|index, folder| {
        assert_eq!(BulkLoad::new(&Io::real(), folder, 0).unwrap().finish(index, reflected(1)).unwrap(), 0);
        assert_eq!(index.reflected().unwrap(), Some(reflected(1)));
    });
}

#[test]
fn a_bulk_load_into_a_filled_index_is_refused() {
    over_both(|index, folder| {
        index.apply(&[(id(1), place(1))], None).unwrap();
        let mut load = BulkLoad::new(&Io::real(), folder, 0).unwrap();
        load.feed(&[(id(2), place(2))]).unwrap();
        assert!(matches!(load.finish(index, reflected(1)), Err(Error::Index { .. })));
        assert_eq!((content(index).len(), index.reflected().unwrap()), (1, None));
    });
}

#[test]
fn a_load_that_is_not_ascending_or_fails_leaves_the_index_empty() {
    over_both(|index, _| {
        let (low, high) = (ChunkId([1; 32]), ChunkId([2; 32]));
        for wrong in [[high, low], [low, low]] {
            let mut left = wrong.into_iter();
            let loaded = index.load_sorted(&mut || Ok(left.next().map(|id| (id, place(1)))), reflected(1));
            assert!(matches!(loaded, Err(Error::Index { .. })));
        }
        let mut calls = 0;
        let failing = &mut || {
            calls += 1;
            if calls == 3 { Err(Error::Interrupted) } else { Ok(Some((ChunkId([calls; 32]), place(1)))) }
        };
        assert!(matches!(index.load_sorted(failing, reflected(1)), Err(Error::Interrupted)));
        assert_eq!((content(index).len(), index.reflected().unwrap()), (0, None));
    });
}

#[test]
fn a_snapshot_of_the_memory_index_keeps_its_moment() {
    let index = MemoryIndex::new();
    index.apply(&[(id(1), place(1))], Some(reflected(1))).unwrap();
    let earlier = index.snapshot();
    index.apply(&[(id(1), place(2)), (id(2), place(2))], Some(reflected(2))).unwrap();
    assert_eq!((earlier.get(&id(1)).unwrap(), earlier.get(&id(2)).unwrap()), (Some(place(1)), None));
    assert_eq!(earlier.reflected().unwrap(), Some(reflected(1)));
    earlier.remove(&[id(1)]).unwrap();
    assert_eq!(index.get(&id(1)).unwrap(), Some(place(2)));
}

/// One step of a random history.
#[derive(Clone, Debug)]
enum Step {
    Apply(Vec<(u64, u32)>, Option<u64>),
    Remove(Vec<u64>),
    Flush,
}

fn step() -> impl Strategy<Value = Step> {
    let key = 0u64..60;
    prop_oneof![
        4 => (proptest::collection::vec((key.clone(), any::<u32>()), 0..20), proptest::option::of(any::<u64>()))
            .prop_map(|(chunks, reflected)| Step::Apply(chunks, reflected)),
        2 => proptest::collection::vec(key, 0..10).prop_map(Step::Remove),
        1 => Just(Step::Flush),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn any_history_agrees_with_a_plain_map(steps in proptest::collection::vec(step(), 0..24)) {
        over_both(|index, _| {
            let (mut model, mut stands_for) = (BTreeMap::new(), None);
            for step in &steps {
                match step {
                    Step::Apply(chunks, number) => {
                        let chunks: Vec<_> = chunks.iter().map(|(k, v)| (id(*k), place(*v))).collect();
                        model.extend(chunks.iter().copied());
                        stands_for = number.map(reflected).or(stands_for);
                        index.apply(&chunks, number.map(reflected)).unwrap();
                    }
                    Step::Remove(keys) => {
                        model.retain(|known, _| !keys.iter().any(|k| id(*k) == *known));
                        index.remove(&keys.iter().map(|k| id(*k)).collect::<Vec<_>>()).unwrap();
                    }
                    Step::Flush => index.flush().unwrap(),
                }
                assert_eq!(content(index), model);
                assert_eq!(index.reflected().unwrap(), stands_for);
                let ids: Vec<_> = (0..60).map(id).collect();
                let expected: Vec<_> = ids.iter().map(|id| model.get(id).copied()).collect();
                assert_eq!(index.get_many(&ids).unwrap(), expected);
                assert_eq!(ids.iter().map(|id| index.get(id).unwrap()).collect::<Vec<_>>(), expected);
            }
        });
    }

    #[test]
    fn a_place_and_what_an_index_stands_for_survive_their_bytes(pack: u32, offset: u32, stored: u32, plain: u32, number: u64, hash: [u8; 32]) {
        let place = Place { pack, offset, stored, plain };
        prop_assert_eq!(Place::decode(&place.encode()), place);
        let reflected = Reflected { number, hash: EntryHash(hash) };
        prop_assert_eq!(Reflected::decode(&reflected.encode()), Some(reflected));
        prop_assert_eq!(Reflected::decode(&reflected.encode()[1..]), None);
    }
}

#[test]
fn the_bytes_of_a_place_are_as_documented() {
    let place = Place { pack: 0x0403_0201, offset: 0x0807_0605, stored: 0x0c0b_0a09, plain: 0x100f_0e0d };
    assert_eq!(place.encode(), [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16]);
}

#[test]
fn deltas_are_counted_for_each_base() {
    over_both(|index, _| {
        assert_eq!(index.deltas_on(&[id(1)]).unwrap(), [0]);
        index.count_deltas(&[id(1), id(2), id(1)]).unwrap();
        index.count_deltas(&[id(2), id(3), id(2)]).unwrap();
        index.count_deltas(&[]).unwrap();
        assert_eq!(index.deltas_on(&[id(3), id(2), id(9), id(1)]).unwrap(), [1, 3, 0, 2]);
    });
}
