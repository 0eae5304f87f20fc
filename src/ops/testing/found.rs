//! Faults that the simulation found across rooms, each as a test of its own: a seed lives another life as soon as a step is
//! added, so a number alone would be forgotten.

use super::{HOME, STORE, Shelf, disk_id, disk_path, noise};
use crate::chunk::Squeezer;
use crate::error::Error;
use crate::format::event::{Event, SealedPack};
use crate::format::footer::{PACK_HEADER_BYTES, PackKind};
use crate::format::record::Codec;
use crate::format::{ChunkId, ChunkKind, PackId};
use crate::io::faulty::{Action, Failure, FaultPlan, Op, When};
use crate::ops::Control;
use crate::ops::check::{self, CheckOptions, CheckReport};
use crate::ops::risk;
use crate::pack::write::{NewRecord, PackWriter};
use crate::pool::PackStore;
use crate::store::Mode;
use std::path::{Path, PathBuf};
use std::sync::Arc;

const FILE_BYTES: usize = 3000;

fn read_all(shelf: &Shelf) -> CheckReport {
    let options = CheckOptions { read_data: true, rebuild: false };
    check::run(&shelf.read(), &options, &Control::default()).unwrap()
}

fn packs(shelf: &Shelf) -> Vec<SealedPack> {
    shelf.read().with_state(|s| s.packs().map(|p| p.sealed).collect())
}

fn path(shelf: &Shelf, pack: &SealedPack) -> PathBuf {
    shelf.read().pool().place(pack)
}

fn plain(shelf: &Shelf, bytes: &[u8]) -> NewRecord {
    NewRecord::raw(shelf.keys.chunk_id(ChunkKind::Data, bytes), bytes.to_vec())
}

fn delta(shelf: &Shelf, bytes: &[u8], base: &[u8]) -> NewRecord {
    let payload = Squeezer::default().delta(bytes, &[base]).unwrap();
    let bases = vec![shelf.keys.chunk_id(ChunkKind::Data, base)];
    NewRecord { codec: Codec::DELTA, bases, payload: payload.into(), ..plain(shelf, bytes) }
}

/// Seals a pack of these records on a disk, as a run would.
fn seal(shelf: &Shelf, disk: usize, records: Vec<NewRecord>) -> SealedPack {
    let store = shelf.write();
    let mut name = [0; 12];
    shelf.io.world.random(&mut name);
    let mut writer =
        PackWriter::create(&shelf.io, STORE, &disk_path(disk), disk_id(disk), PackId(name), PackKind::Data).unwrap();
    writer.append(records).unwrap();
    let sealed = writer.seal().map_err(|(_, e)| e).unwrap();
    let event = sealed.event(store.with_state(|s| s.next_serial()));
    store.append(|_| vec![Event::PackSealed(event)]).unwrap();
    event
}

/// `/f` is one chunk. It is plain in the pack of its backup, and a delta in `as_delta`, which the index has since that is
/// newer. Its base is plain in `base`, and a delta in the newest pack: what the index says of it gives nothing to a reader.
struct Twice {
    shelf: Shelf,
    bytes: Vec<u8>,
    first: SealedPack,
    as_delta: SealedPack,
    base: SealedPack,
}

/// The disks of deltas and of the plain base; the backup's packs are on none of them.
fn stored_twice() -> (Twice, [usize; 2]) {
    let shelf = Shelf::new(5);
    let bytes = noise(1, FILE_BYTES);
    shelf.stream("f", &bytes);
    let all = packs(&shelf);
    let first = *all.iter().find(|p| p.kind == PackKind::Data).unwrap();
    assert_eq!(first.records, 1);
    let mut free = (0..5).filter(|i| all.iter().all(|p| p.disk != disk_id(*i)));
    let disks = [free.next().unwrap(), free.next().unwrap()];
    let (mut a, mut b) = (bytes.clone(), bytes.clone());
    a[100] ^= 1;
    b[200] ^= 1;
    seal(&shelf, disks[0], vec![plain(&shelf, &a)]);
    let base = seal(&shelf, disks[1], vec![plain(&shelf, &b)]);
    let as_delta = seal(&shelf, disks[0], vec![delta(&shelf, &bytes, &b)]);
    let of_base = seal(&shelf, disks[0], vec![delta(&shelf, &b, &a)]);
    let id = |bytes: &[u8]| shelf.keys.chunk_id(ChunkKind::Data, bytes);
    let store = shelf.write();
    let indexed = store.locate_indexed(&[id(&bytes), id(&b)]).unwrap();
    let serials: Vec<u32> = indexed.iter().map(|at| at.unwrap().place.pack).collect();
    assert_eq!(serials, [as_delta.serial, of_base.serial]);
    drop(store);
    (Twice { shelf, bytes, first, as_delta, base }, disks)
}

fn content(shelf: &Shelf) -> crate::Result<Vec<u8>> {
    shelf.bytes_of(&shelf.read(), "f")
}

fn lost_without(shelf: &Shelf, disks: &[usize]) -> u64 {
    let disks: Vec<_> = disks.iter().map(|i| disk_id(*i)).collect();
    risk::without(&shelf.read(), &disks, &Control::default()).unwrap().files_lost
}

#[test]
fn a_base_of_which_only_a_delta_is_left_is_no_base() {
    let (Twice { shelf, bytes, first, .. }, [_, of_base]) = stored_twice();
    shelf.fs.remove(path(&shelf, &first)).unwrap();
    assert_eq!(content(&shelf).unwrap(), bytes, "the plain base is there, though the index has the other copy");
    assert_eq!((read_all(&shelf).files_lost, lost_without(&shelf, &[])), (0, 0));
    // What risk foretells of the base's disk, a check finds when it is gone.
    let store = shelf.write();
    store.append(|_| vec![Event::DamageFound { pack: first.pack, offset: 0, bytes: 0, by: "check".into() }]).unwrap();
    drop(store);
    assert_eq!(lost_without(&shelf, &[of_base]), 1);
    shelf.take_away(of_base);
    assert!(content(&shelf).is_err());
    let report = read_all(&shelf);
    assert_eq!(report.files_lost, 1, "{:?}", report.problems);
}

#[test]
fn risk_counts_on_second_copies() {
    let (Twice { shelf, .. }, [of_deltas, of_base]) = stored_twice();
    for disks in [&[of_deltas][..], &[of_base], &[of_deltas, of_base]] {
        assert_eq!(lost_without(&shelf, disks), 0, "the first copy would be left without {disks:?}");
    }
    let all: Vec<usize> = (0..5).collect();
    assert_eq!(lost_without(&shelf, &all), 1);
}

#[test]
fn readers_take_a_second_copy_where_the_indexed_one_is_away_damaged_or_without_its_base() {
    let (Twice { shelf, bytes, .. }, [of_deltas, of_base]) = stored_twice();
    shelf.take_away(of_deltas);
    assert_eq!(content(&shelf).unwrap(), bytes, "away");
    shelf.bring_back(of_deltas);
    shelf.take_away(of_base);
    assert_eq!(content(&shelf).unwrap(), bytes, "without its base");
    shelf.bring_back(of_base);
    let (Twice { shelf, bytes, as_delta, .. }, _) = stored_twice();
    let harmed = path(&shelf, &as_delta);
    shelf.fs.flip(&harmed, (PACK_HEADER_BYTES as u64 + 110) * 8).unwrap();
    assert_eq!(content(&shelf).unwrap(), bytes, "rotten, and nobody knows");
    let found = read_all(&shelf);
    assert_eq!((found.files_lost, found.damage.len()), (0, 1), "{:?}", found.problems);
    check::record(&shelf.write(), &found.damage, &found.healed).unwrap();
    assert_eq!(content(&shelf).unwrap(), bytes, "rotten, and the log has it");
}

#[test]
fn a_delta_in_a_pack_that_lost_its_end_is_proven_with_the_base_that_is_left() {
    let (Twice { shelf, bytes, first, as_delta, base }, _) = stored_twice();
    shelf.fs.remove(path(&shelf, &first)).unwrap();
    let cut = path(&shelf, &as_delta);
    shelf.fs.truncate(&cut, as_delta.bytes - 10).unwrap();
    let report = read_all(&shelf);
    assert_eq!(report.files_lost, 0, "{:?} {:?}", report.lost, report.problems);
    // Without its base it is lost, but it is not what is damaged.
    let good = shelf.fs.read(path(&shelf, &base)).unwrap();
    shelf.fs.flip(path(&shelf, &base), (PACK_HEADER_BYTES as u64 + 110) * 8).unwrap();
    let report = read_all(&shelf);
    assert_eq!(report.files_lost, 1);
    let is_its_record = |from: u64, bytes: u64| bytes == 0 || from <= PACK_HEADER_BYTES as u64;
    let harmed: Vec<_> = report.damage.iter().filter(|(_, from, bytes)| is_its_record(*from, *bytes)).collect();
    assert!(harmed.iter().all(|(pack, ..)| *pack != as_delta.pack), "{:?}", report.damage);
    assert!(harmed.iter().any(|(pack, ..)| *pack == base.pack), "{:?}", report.damage);
    check::record(&shelf.write(), &report.damage, &report.healed).unwrap();
    shelf.fs.write(path(&shelf, &base), &good).unwrap();
    let report = read_all(&shelf);
    check::record(&shelf.write(), &report.damage, &report.healed).unwrap();
    assert_eq!(read_all(&shelf).files_lost, 0);
    assert_eq!(content(&shelf).unwrap(), bytes);
}

/// A log that reads worse at its second reading than at its first must not bring the index to an earlier entry, which the run's
/// own entry would then let it pass for whole.
#[test]
fn an_index_never_stands_for_entries_that_it_lacks_however_the_log_reads() {
    let shelf = Shelf::new(2);
    for i in 0..4 {
        shelf.stream(&format!("f{i}"), &noise(i, 40_000));
    }
    let all_there = |shelf: &Shelf| {
        let store = shelf.write();
        let packs: Vec<_> = store.with_state(|s| s.packs().map(|p| p.sealed).collect());
        let rows = packs.iter().flat_map(|p| store.ends(p).unwrap().footer.rows);
        let ids: Vec<ChunkId> = rows.map(|r| r.header.id).collect();
        assert!(store.locate_indexed(&ids).unwrap().iter().all(Option::is_some));
        ids.len()
    };
    let before = all_there(&shelf);
    let newest = crate::format::log::file_name(shelf.read().reflected().number);
    for (op, of) in [(Op::Read, newest.as_str()), (Op::Open, &newest), (Op::Read, "/log/"), (Op::List, "/log")] {
        let (mut failed, mut went_on) = (0, 0);
        for nth in 1..200 {
            let plan = FaultPlan::new().with_path(op, When::From(nth), of, Action::Fail(Failure::Io));
            let (mut faulty, fs) = shelf.with_faults(plan);
            faulty.index = Arc::new(shelf.index.snapshot());
            match faulty.open(Mode::Write { verb: "backup" }) {
                Ok(opened) => {
                    went_on += 1;
                    let met = fs.counts().of(op) >= nth; // of all paths: some more rounds than needed
                    // The run's own entry, of an event that concerns no chunk.
                    opened
                        .store
                        .append_indexed(vec![Event::Setting { key: "test".into(), value: "1".into() }])
                        .unwrap();
                    drop(opened);
                    if !met {
                        break; // there are no more of these
                    }
                }
                Err(_) => failed += 1,
            }
            faulty.io.fs = Arc::new(faulty.fs.clone());
            assert_eq!(all_there(&faulty), before, "{op:?} of {of} from the {nth}th on");
        }
        assert!(failed > 0 && went_on > 0, "{op:?} of {of}: {failed} failed, {went_on} went on");
    }
}

#[test]
fn a_list_of_waiting_packs_that_cannot_be_read_is_no_empty_one() {
    let mut shelf = Shelf::new(2);
    for i in 0..6 {
        shelf.stream(&format!("f{i}"), &noise(i, 40_000));
    }
    let data = packs(&shelf).into_iter().find(|p| p.kind == PackKind::Data).unwrap();
    let disk = (0..2).find(|i| disk_id(*i) == data.disk).unwrap();
    shelf.take_away(disk);
    shelf.forget_index();
    drop(shelf.write());
    let list = Path::new(HOME).join("unindexed");
    let waiting = shelf.fs.read(&list).unwrap();
    assert!(!waiting.is_empty(), "packs of the disk that is away wait");
    shelf.bring_back(disk);
    shelf.fs.write(&list, b"12x\n").unwrap();
    let opened = shelf.open(Mode::Write { verb: "backup" });
    assert!(matches!(&opened, Err(Error::Damaged { path, .. }) if *path == list), "{:?}", opened.err());
    let plan = FaultPlan::new().with_path(Op::Open, When::Every(1), "unindexed", Action::Fail(Failure::Io));
    let (faulty, _) = shelf.with_faults(plan);
    faulty.fs.write(&list, &waiting).unwrap();
    assert!(matches!(faulty.open(Mode::Write { verb: "backup" }), Err(Error::Io { .. })));
    shelf.fs.write(&list, &waiting).unwrap();
    let store = shelf.write();
    let missed = store.with_state(|s| s.packs().map(|p| p.sealed).collect::<Vec<_>>());
    let ids: Vec<ChunkId> =
        missed.iter().flat_map(|p| store.ends(p).unwrap().footer.rows).map(|r| r.header.id).collect();
    assert!(store.locate_indexed(&ids).unwrap().iter().all(Option::is_some));
    assert!(shelf.fs.read(&list).is_err(), "none waits any more");
}

#[test]
fn an_index_made_anew_has_what_a_group_makes_good_of_known_damage() {
    let mut shelf = Shelf::with_parity(4, 1);
    let bytes = noise(1, 200_000);
    shelf.stream("f", &bytes);
    let pack = *packs(&shelf).iter().find(|p| p.kind == PackKind::Data).unwrap();
    let harmed = path(&shelf, &pack);
    shelf.fs.flip(&harmed, pack.bytes * 4).unwrap();
    let found = read_all(&shelf);
    assert_eq!((found.files_lost, found.damage.len()), (0, 1), "{:?}", found.problems);
    check::record(&shelf.write(), &found.damage, &found.healed).unwrap();
    shelf.forget_index();
    let store = shelf.write();
    let rows = store.ends(&pack).unwrap().footer.rows;
    let ids: Vec<ChunkId> = rows.iter().map(|r| r.header.id).collect();
    assert!(store.locate_indexed(&ids).unwrap().iter().all(Option::is_some));
    drop(store);
    assert_eq!(content(&shelf).unwrap(), bytes);
}

#[test]
fn an_error_of_one_disk_while_a_store_is_opened_leaves_that_disk_out_at_most() {
    let shelf = Shelf::new(2);
    shelf.stream("f", &noise(1, 40_000));
    for op in [Op::Open, Op::List, Op::Read] {
        let mut left_out = 0;
        for nth in 1..20 {
            let plan = FaultPlan::new().with_path(op, When::Nth(nth), "/disk1/", Action::Fail(Failure::Io));
            let (faulty, _) = shelf.with_faults(plan);
            let opened = faulty.open(Mode::Write { verb: "backup" });
            let opened = opened.unwrap_or_else(|e| panic!("{op:?} {nth}: {e}"));
            left_out += u32::from(opened.store.pool().disk(&disk_id(1)).is_none());
        }
        assert!(left_out > 0 || op != Op::Open, "the lock of its marker failed");
    }
}
