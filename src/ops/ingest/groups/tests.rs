//! Parity of runs over disks in memory: what is made, what is lost, what comes back.

use super::*;
use crate::ops::Control;
use crate::ops::check::{self, CheckOptions};
use crate::ops::testing::{Shelf, disk_path, noise};
use crate::pool::PackStore;
use crate::store::Store;
use std::path::PathBuf;

#[test]
fn a_small_run_is_spread_evenly_and_a_large_one_stays_together() {
    let p = Protection::new(Shapes::by(|_| Shape { parity: 2, width: 6 }), PackKind::Data, 5);
    let lanes: Vec<_> = (0..10).map(|_| p.lane(PIECE_BYTES).unwrap()).collect();
    assert_eq!(lanes, [0, 1, 2, 3, 4, 0, 1, 2, 3, 4]);
    while p.is_spreading() {
        p.lane(PIECE_BYTES);
    }
    assert_eq!(p.lane(1), None);
    assert_eq!(
        Protection::new(Shapes::by(|kind| Shape { parity: usize::from(!kind.is_data()), width: 1 }), PackKind::Data, 5)
            .lane(1),
        None,
        "without parity nothing is spread"
    );
    let cut = pieces(vec![400 << 10; 7], |n| *n);
    assert_eq!(cut.iter().map(Vec::len).collect::<Vec<_>>(), [3, 3, 1]);
}

/// Every set of `n` of the disks.
fn sets(disks: usize, n: u32) -> impl Iterator<Item = Vec<usize>> {
    let chosen = move |set: u32| (0..disks).filter(|d| set & (1 << d) != 0).collect();
    (0u32..1 << disks).filter(move |set| set.count_ones() == n).map(chosen)
}

fn pack_files(shelf: &Shelf, store: &Store) -> Vec<PathBuf> {
    let _ = shelf;
    store.with_state(|s| s.packs().map(|p| store.pool().place(&p.sealed)).collect())
}

/// `/name` streams of 3 MiB by seed.
fn filled(disks: usize, parity: usize, streams: u64) -> Shelf {
    let shelf = Shelf::with_parity(disks, parity);
    for seed in 0..streams {
        shelf.stream(&format!("s{seed}"), &noise(seed, 3 << 20));
    }
    shelf
}

fn all_there(shelf: &Shelf, streams: u64) {
    let store = shelf.read();
    let last = streams - 1;
    let bytes = shelf.bytes_of(&store, &format!("/s{last}")).unwrap();
    assert!(bytes == noise(last, 3 << 20));
}

#[test]
fn any_m_disks_may_be_lost_the_index_too() {
    let mut shelf = filled(6, 2, 3);
    for gone in sets(6, 2) {
        gone.iter().for_each(|d| shelf.take_away(*d));
        shelf.forget_index();
        all_there(&shelf, 3);
        gone.iter().for_each(|d| shelf.bring_back(*d));
    }
}

#[test]
fn packs_of_a_group_lie_on_distinct_disks_and_the_log_knows_all_of_it() {
    let shelf = filled(6, 2, 3);
    let store = shelf.read();
    store.with_state(|s| {
        assert!(s.groups().count() > 0);
        for p in s.packs() {
            let group = s.group_of(&p.sealed.pack).expect("every pack has a group");
            let mut disks: Vec<_> = s.members(group).iter().map(|m| m.disk).collect();
            disks.sort();
            disks.dedup();
            assert_eq!(disks.len(), group.group.members.len());
            assert_eq!(group.parity_disks.len(), 2);
        }
    });
    assert!(store.redundancy(|_, _| {}).is_full());
    let report = check::run(&store, &CheckOptions { read_data: true, rebuild: false }, &Control::default()).unwrap();
    assert_eq!(report.problems, []);
}

#[test]
fn a_check_calls_packs_of_missing_disks_redundant_and_those_beyond_parity_lost() {
    let shelf = filled(6, 2, 2);
    let look = || check::run(&shelf.read(), &CheckOptions::default(), &Control::default()).unwrap();
    shelf.take_away(0);
    shelf.take_away(3);
    let report = look();
    assert_eq!(report.files_lost, 0);
    assert!(report.problems.iter().all(|p| p.repairable), "{:?}", report.problems);
    for disk in [1, 2, 4] {
        shelf.take_away(disk);
    }
    assert!(look().files_lost > 0);
}

#[test]
fn rot_is_read_around_and_named() {
    let shelf = filled(5, 1, 1);
    let files = pack_files(&shelf, &shelf.read());
    for path in files {
        let bytes = shelf.fs.read(&path).unwrap();
        // the middle, the first record, the very end; one after the other
        for at in [bytes.len() / 2, 100, bytes.len() - 20, bytes.len() - 150] {
            let mut bad = bytes.clone();
            bad[at] ^= 4;
            shelf.fs.write(&path, &bad).unwrap();
            all_there(&shelf, 1);
        }
        shelf.fs.remove(&path).unwrap();
        all_there(&shelf, 1);
        shelf.fs.write(&path, &bytes).unwrap();
    }
}

#[test]
fn a_backup_goes_on_without_m_disks_and_stores_nothing_twice() {
    let shelf = filled(6, 2, 2);
    shelf.take_away(1);
    shelf.take_away(2);
    let before = shelf.read().with_state(|s| s.packs().map(|p| p.sealed.plain_bytes).sum::<u64>());
    shelf.stream("s0", &noise(0, 3 << 20));
    let after = shelf.read().with_state(|s| s.packs().map(|p| p.sealed.plain_bytes).sum::<u64>());
    assert!(after - before < 200_000, "{} bytes were stored again", after - before);
    shelf.stream("s9", &noise(9, 3 << 20));
    shelf.bring_back(1);
    shelf.bring_back(2);
    shelf.take_away(0);
    shelf.take_away(3);
    let store = shelf.read();
    assert!(shelf.bytes_of(&store, "/s9").unwrap() == noise(9, 3 << 20), "made without two, read without two others");
}

#[test]
fn what_a_dead_writer_sealed_gets_its_parity_before_it_counts() {
    use crate::format::footer::PackKind;
    use crate::pack::write::PackWriter;
    let shelf = filled(5, 1, 1);
    let store = shelf.write();
    let writer = crate::format::WriterId([7; 8]);
    let began = Event::WriterBegan {
        writer,
        time_ns: 1,
        verb: "backup".into(),
        host: "h".into(),
        pid: 1,
        program: "p".into(),
        parent: None,
    };
    store.append(|_| vec![began]).unwrap();
    let disk = store.pool().disks().next().unwrap();
    let pack = PackId::new(writer, 1);
    let id = store.superblock().store;
    let open = PackWriter::create(store.io(), id, &disk.path, disk.id, pack, PackKind::Data).unwrap();
    open.seal().map_err(|(_, e)| e).unwrap();
    let stray = crate::pool::parity::parity_path(&disk_path(3), PackId::new(writer, 2));
    shelf.io.fs.create_dir_all(stray.parent().unwrap()).unwrap();
    shelf.fs.write(&stray, b"parity of nothing").unwrap();
    drop(store);
    shelf.stream("next", b"something new");
    let store = shelf.read();
    assert!(store.with_state(|s| s.group_of(&pack).is_some()));
    assert!(shelf.fs.read(&stray).is_err(), "what was not logged is gone");
}

/// The most data that groups of at most `width` data packs and `parity` others, each on disks of its own, can hold: with G
/// groups a disk has at most G members, and all members but those of parity are data.
fn most(rooms: &[u64], width: u64, parity: u64) -> u64 {
    let of = |groups: u64| {
        let members: u64 = rooms.iter().map(|room| (*room).min(groups)).sum();
        members.min((width + parity) * groups).saturating_sub(parity * groups)
    };
    (0..=rooms.iter().copied().max().unwrap_or(0)).map(of).max().unwrap_or(0)
}

#[test]
fn unequal_disks_fill_to_nine_tenths_of_what_is_possible() {
    const MIB: u64 = 1 << 20;
    let shelves: [(&[u64], u64); 4] = [
        (&[30, 40, 60, 80, 120], 1),
        (&[60, 60, 60, 60, 60, 60, 240], 2),
        (&[24, 30, 36, 48, 60, 72, 96, 120], 2),
        (&[50, 50, 20], 0),
    ];
    for (sizes, parity) in shelves {
        let shelf = Shelf::with_parity(sizes.len(), parity as usize);
        for (i, mib) in sizes.iter().enumerate() {
            shelf.fs.set_capacity(disk_path(i), mib * MIB).unwrap();
        }
        let mut seed = 0;
        // Long runs first: at the end of each some groups are narrow, and packs of 1 MiB make that much of a short one.
        for mib in [48, 12, 3] {
            loop {
                seed += 1;
                let input = Box::new(std::io::Cursor::new(noise(seed, mib << 20)));
                let source = crate::ops::backup::Source::Stream { name: format!("s{seed}").into_bytes(), input };
                let outcome = shelf.try_back_up(source);
                let full = shelf.read().redundancy(|_, _| {});
                assert!(full.is_full(), "{sizes:?}: after {seed} streams something has less parity than it should");
                match outcome {
                    Ok(_) => {}
                    Err(Error::NoSpace { .. }) => break,
                    Err(e) => panic!("{sizes:?}: {e}"),
                }
            }
        }
        let stored = shelf.read().with_state(|s| s.packs().map(|p| p.sealed.bytes).sum::<u64>()) / MIB;
        // Two packs and a hundredth of each disk are kept free for repair, and room for the parity of those that are open, which
        // are twice as long as packs are to be where those are of 1 MiB: eight of 60 MiB here, of 20 TB a ten-thousandth.
        let rooms: Vec<u64> = sizes.iter().map(|mib| mib - 2 - mib / 100 - 8).collect();
        let width = shelf.read().with_state(|s| s.group_width()) as u64;
        let best = most(&rooms, width, parity);
        assert!(stored * 10 >= best * 9, "{sizes:?}, parity {parity}: {stored} of {best} MiB");
    }
}
