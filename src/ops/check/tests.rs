//! Damage times action: each kind of file, each kind of harm; and that what is lost is told exactly.

use super::*;
use crate::catalog::recipe::{Pieces, What};
use crate::error::Error;
use crate::format::entry::{Content, EntryKind};
use crate::format::{ChunkId, WriterId};
use crate::index::{Index, Place};
use crate::ops::Notice;
use crate::ops::testing::bench::{Bench, HOME, noise};
use crate::store::Mode;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

fn check(bench: &Bench, read_data: bool) -> CheckReport {
    run(&bench.read(), &CheckOptions { read_data, rebuild: false }, &Control::default()).unwrap()
}

/// As the command line turns a report into an exit status.
fn status(report: &CheckReport) -> u8 {
    match report {
        r if r.files_lost > 0 || r.problems.iter().any(|p| !p.repairable) => 4,
        r if !r.problems.is_empty() => 3,
        _ => 0,
    }
}

fn lines(report: &CheckReport) -> Vec<&str> {
    report.problems.iter().map(|p| p.what.as_str()).collect()
}

/// Chunks of the file at `/name` of the newest snapshot: id, bytes, place.
fn chunks_of(bench: &Bench, name: &[u8]) -> Vec<(ChunkId, u64, Place)> {
    let store = bench.read();
    let tree = store.with_state(|s| s.live_snapshots().last().unwrap().1.snapshot.tree.clone());
    let found = crate::catalog::tree::lookup(&store, &tree, name).unwrap();
    let Some(crate::catalog::tree::Found::Entry(entry)) = found else { panic!("the file is there") };
    let EntryKind::File { bytes, content: Content::Recipe(recipe) } = entry.kind else { panic!("it has a recipe") };
    let pieces = Pieces::new(&store, &recipe, 0, bytes).map(|p| p.unwrap());
    let chunks = pieces.map(|p| match p.what {
        What::Chunk { id, .. } => (id, p.bytes, store.locate(&[id]).unwrap()[0].unwrap().place),
        other => panic!("{other:?} in a file of noise"),
    });
    chunks.collect()
}

fn pack_path(bench: &Bench, serial: u32) -> PathBuf {
    use crate::pool::PackStore;
    let store = bench.read();
    let sealed = store.with_state(|s| s.pack(serial).unwrap().sealed);
    store.pool().place(&sealed)
}

#[test]
fn a_sound_store_has_no_problems() {
    for disks in [0, 1, 3] {
        let bench = Bench::new(disks);
        assert_eq!(status(&check(&bench, true)), 0, "an empty store");
        for i in 0..4 {
            bench.backup(&format!("folder/{i}"), &noise(i, 50_000));
        }
        bench.backup("text", &b"a line of text\n".repeat(5000));
        for read_data in [false, true] {
            let report = check(&bench, read_data);
            assert_eq!(lines(&report), Vec::<&str>::new());
            assert_eq!((report.snapshots, report.files, report.files_lost), (5, 5, 0));
            assert_eq!(report.packs as usize, bench.packs().len());
            let on_disk: u64 = bench.packs().iter().map(|p| bench.fs.read(p).unwrap().len() as u64).sum();
            // all but the tables of unit checks and the trailers
            assert_eq!(report.bytes_read > on_disk * 9 / 10, read_data, "{} of {on_disk}", report.bytes_read);
            assert!(report.damage.is_empty() && report.healed.is_empty() && report.chunks > 500);
        }
    }
}

#[test]
fn every_flipped_byte_of_every_pack_is_found_and_so_is_every_cut() {
    let bench = Bench::new(1);
    bench.backup("f", &noise(1, 5000));
    let store = bench.read();
    let packs = bench.packs();
    assert_eq!(packs.len(), 2, "one of data, one with a list");
    for path in packs {
        let good = bench.fs.read(&path).unwrap();
        for at in 0..good.len() {
            bench.fs.flip(&path, at as u64 * 8 + at as u64 % 8).unwrap();
            let report = run(&store, &CheckOptions { read_data: true, rebuild: false }, &Control::default()).unwrap();
            assert!(status(&report) >= 3, "byte {at} of {} went unnoticed", path.display());
            assert!(!report.damage.is_empty(), "byte {at}");
            bench.fs.write(&path, &good).unwrap();
        }
        for len in (0..good.len()).step_by(61) {
            bench.fs.truncate(&path, len as u64).unwrap();
            assert!(status(&check(&bench, true)) >= 3, "{len} bytes passed for the pack");
            assert!(status(&check(&bench, false)) >= 3, "{len} bytes passed for the pack's ends");
            bench.fs.write(&path, &good).unwrap();
        }
        bench.fs.write(&path, &[good.as_slice(), b"x"].concat()).unwrap();
        assert!(status(&check(&bench, true)) >= 3, "a byte more");
        bench.fs.remove(&path).unwrap();
        for read_data in [false, true] {
            let report = check(&bench, read_data);
            assert_eq!((status(&report), report.files_lost, report.bytes_lost), (4, 1, 5000), "{:?}", lines(&report));
        }
        bench.fs.write(&path, &good).unwrap();
    }
    assert_eq!(status(&check(&bench, true)), 0, "what was put back is whole");
}

#[test]
fn the_bytes_of_damaged_chunks_are_lost_and_no_others() {
    let bench = Bench::new(2);
    bench.backup("a/f", &noise(1, 40_000));
    bench.backup("b/g", &noise(2, 40_000));
    let chunks = chunks_of(&bench, b"/b/g");
    let (hit, other) = (chunks[5], chunks[40]);
    for (_, _, place) in [hit, other] {
        bench.fs.flip(pack_path(&bench, place.pack), (u64::from(place.offset) + 70) * 8).unwrap();
    }
    let report = check(&bench, true);
    assert_eq!(status(&report), 4);
    let [lost] = report.lost.as_slice() else { panic!("{:?}", report.lost) };
    assert_eq!((lost.path.as_slice(), lost.bytes_lost), (&b"/b/g"[..], hit.1 + other.1));
    assert_eq!((report.files_lost, report.bytes_lost), (1, hit.1 + other.1));
    let newest = bench.read().with_state(|s| s.live_snapshots().last().unwrap().0);
    assert_eq!(lost.snapshot, newest.to_string());
    let ranges: u64 = report.damage.iter().map(|d| d.2).sum();
    assert_eq!(ranges, u64::from(hit.2.stored) + u64::from(other.2.stored));
    let [problem] = report.problems.as_slice() else { panic!("{:?}", lines(&report)) };
    assert!(problem.what.contains(&pack_path(&bench, hit.2.pack).display().to_string()), "{}", problem.what);
    assert_eq!(status(&check(&bench, false)), 0, "the ends are whole: only reading shows it");
}

#[test]
fn a_file_of_several_snapshots_is_lost_in_each_of_them() {
    let bench = Bench::new(1);
    let bytes = noise(1, 20_000);
    let mut ids = Vec::new();
    for name in ["z", "a", "z"] {
        ids.push(bench.backup(name, &bytes).snapshot.unwrap().to_string());
    }
    let (_, n, place) = chunks_of(&bench, b"/z")[3];
    bench.fs.flip(pack_path(&bench, place.pack), (u64::from(place.offset) + 80) * 8).unwrap();
    let report = check(&bench, true);
    let told: Vec<_> = report.lost.iter().map(|l| (l.snapshot.clone(), l.path.clone(), l.bytes_lost)).collect();
    let path = |p: &str| format!("/{p}").into_bytes();
    assert_eq!(
        told,
        [(ids[0].clone(), path("z"), n), (ids[1].clone(), path("a"), n), (ids[2].clone(), path("z"), n)],
        "in order of the snapshots"
    );
}

/// A table that is gone loses nothing as long as each record can be found by itself.
#[test]
fn a_damaged_table_alone_loses_no_file() {
    let bench = Bench::new(1);
    bench.backup("f", &noise(1, 30_000));
    let (.., place) = chunks_of(&bench, b"/f")[0];
    let path = pack_path(&bench, place.pack);
    let len = bench.fs.read(&path).unwrap().len() as u64;
    bench.fs.flip(&path, (len - 300) * 8).unwrap();
    for read_data in [false, true] {
        let report = check(&bench, read_data);
        assert_eq!((status(&report), report.files_lost), (3, 0), "{:?}", lines(&report));
    }
    // half of it: what lies before the cut is there
    let before = chunks_of(&bench, b"/f");
    bench.fs.truncate(&path, len / 2).unwrap();
    let report = check(&bench, false);
    let lost = before.iter().filter(|c| u64::from(c.2.offset + c.2.stored) > len / 2);
    assert_eq!(report.bytes_lost, lost.map(|c| c.1).sum::<u64>());
}

#[test]
fn harm_to_what_stands_on_every_disk_is_named_with_a_good_copy() {
    type Action = fn(&Bench, &Path);
    let actions: [(&str, Action); 4] = [
        ("flip", |b, p| b.fs.flip(p, 8 * 20 + 3).unwrap()),
        ("truncate", |b, p| b.fs.truncate(p, b.fs.read(p).unwrap().len() as u64 / 2).unwrap()),
        ("empty", |b, p| b.fs.truncate(p, 0).unwrap()),
        ("remove", |b, p| b.fs.remove(p).unwrap()),
    ];
    let bench = Bench::new(3);
    bench.backup("f", &noise(1, 3000));
    bench.backup("g", &noise(2, 3000));
    let store = bench.read();
    let head = store.reflected().number;
    drop(store);
    for folder in ["/d1", HOME] {
        for name in ["superblock", "keys/0001", "log/000000000001", "log/000000000002", "FORMAT.txt"] {
            let path = Path::new(folder).join(name);
            let Ok(good) = bench.fs.read(&path) else { continue };
            for (what, action) in actions {
                action(&bench, &path);
                let report = check(&bench, true);
                assert_eq!(status(&report), 3, "{what} {}: {:?}", path.display(), lines(&report));
                let dir = path.parent().unwrap().display().to_string();
                assert!(lines(&report).iter().any(|l| l.contains(&dir)), "{what} {name}: {:?}", lines(&report));
                bench.fs.write(&path, &good).unwrap();
            }
        }
    }
    // The newest entry in one copy is what a crash leaves out.
    let newest = PathBuf::from(format!("/d1/log/{head:012}"));
    let good = bench.fs.read(&newest).unwrap();
    bench.fs.remove(&newest).unwrap();
    assert_eq!(status(&check(&bench, true)), 0);
    bench.fs.write(&newest, &good).unwrap();
    bench.fs.flip(&newest, 300).unwrap();
    assert_eq!(status(&check(&bench, true)), 3);
    bench.fs.write(&newest, &good).unwrap();
    assert_eq!(status(&check(&bench, true)), 0, "what was put back is whole");
}

#[test]
fn an_entry_of_the_log_that_no_copy_has_is_no_small_matter() {
    let bench = Bench::new(2);
    bench.backup("f", &noise(1, 3000));
    let head = bench.read().reflected().number;
    for dir in [HOME, "/d0", "/d1"] {
        bench.fs.flip(format!("{dir}/log/{head:012}"), 300).unwrap();
    }
    assert_eq!(status(&check(&bench, false)), 4);
}

#[test]
fn a_missing_disk_is_named_with_the_files_on_it() {
    for harm in ["flip", "remove"] {
        let bench = Bench::new(2);
        for (i, room) in [(0, [400, 100]), (1, [100, 400])] {
            bench.fs.set_capacity("/d0", room[0] << 20).unwrap();
            bench.fs.set_capacity("/d1", room[1] << 20).unwrap();
            bench.backup(&format!("{i}"), &noise(i, 9000));
        }
        let marker = "/d1/onefold-disk";
        match harm {
            "flip" => bench.fs.flip(marker, 100).unwrap(),
            _ => bench.fs.remove(marker).unwrap(),
        }
        let report = check(&bench, true);
        for disk in &bench.disks {
            assert!(bench.packs().iter().any(|p| p.starts_with(disk)), "both disks are used");
        }
        let told: Vec<_> = report.lost.iter().map(|l| (l.path.as_slice(), l.bytes_lost)).collect();
        assert_eq!((status(&report), told), (4, vec![(&b"/1"[..], 9000)]), "{:?}", lines(&report));
        assert!(report.lost[0].reason.contains("missing"), "{}", report.lost[0].reason);
        let line = lines(&report).into_iter().find(|l| l.contains("is missing")).unwrap();
        assert!(line.contains("disk 2") && line.contains("0202") && line.contains("/d1"), "{line}");
        assert!(report.damage.is_empty(), "a disk that is away is not damaged");
    }
}

#[test]
fn files_that_nobody_knows_are_named_and_those_of_dead_writers_are_not() {
    let bench = Bench::new(1);
    bench.backup("f", &noise(1, 3000));
    let pack = bench.packs()[0].clone();
    let bytes = bench.fs.read(&pack).unwrap();
    let writer = WriterId([9; 8]);
    let unknown = PackId::new(writer, 1);
    let paths = [
        crate::pack::sealed_path(Path::new("/d0"), unknown),
        crate::pack::open_path(Path::new("/d0"), unknown),
        PathBuf::from("/d0/packs/00/notes.txt"),
        PathBuf::from("/d0/packs/film.mov"),
        pack.with_extension("open"),
    ];
    for path in &paths {
        bench.fs.write(path, &bytes).unwrap();
        let report = check(&bench, true);
        assert_eq!(status(&report), 3, "{}", path.display());
        assert!(lines(&report)[0].contains(&path.display().to_string()));
        bench.fs.remove(path).unwrap();
    }
    bench.fs.write("/d0/packs/00/.half", b"x").unwrap();
    assert_eq!(status(&check(&bench, true)), 0, "half-written copies are ignored everywhere");
    let began = Event::WriterBegan {
        writer,
        time_ns: 1,
        verb: "backup".into(),
        host: "h".into(),
        pid: 1,
        program: "p".into(),
        parent: None,
    };
    bench.write().append(|_| vec![began]).unwrap();
    paths[..2].iter().for_each(|p| bench.fs.write(p, &bytes).unwrap());
    let notes = Arc::new(Mutex::new(Vec::new()));
    let sink = Arc::clone(&notes);
    let control = Control::with_sink(move |n| sink.lock().unwrap().push(n));
    let report = run(&bench.read(), &CheckOptions { read_data: true, rebuild: false }, &control).unwrap();
    assert_eq!(status(&report), 0, "{:?}", lines(&report));
    assert!(matches!(notes.lock().unwrap().as_slice(), [Notice::Note(n)] if n.contains("2 files")));
}

#[test]
fn an_index_that_lies_makes_problems_and_no_losses() {
    let bench = Bench::new(2);
    bench.backup("f", &noise(1, 30_000));
    let chunks = chunks_of(&bench, b"/f");
    let everything = bench.index.snapshot();
    let back = || {
        everything
            .for_each(None, &mut |id, place| {
                bench.index.apply(&[(id, place)], None)?;
                Ok(true)
            })
            .unwrap()
    };
    let (id, _, place) = chunks[7];
    let lies = [
        Place { offset: place.offset + 1, ..place },
        Place { pack: 77, ..place },
        Place { offset: u32::MAX, stored: u32::MAX, ..place },
        chunks[8].2,
    ];
    for lie in lies {
        bench.index.apply(&[(id, lie)], None).unwrap();
        let report = check(&bench, true);
        assert!(report.files_lost == 0, "{lie:?}: {:?}", report.lost);
        assert_eq!(status(&report), 3, "{lie:?}");
        back();
    }
    let all: Vec<ChunkId> = chunks.iter().map(|c| c.0).collect();
    bench.index.remove(&all).unwrap();
    let report = check(&bench, false);
    assert_eq!((status(&report), report.files_lost), (3, 0), "{:?}", lines(&report));
    back();
    bench.index.apply(&[(ChunkId([9; 32]), place)], None).unwrap();
    assert_eq!(status(&check(&bench, false)), 3, "a chunk that no table has");
    bench.index.remove(&[ChunkId([9; 32])]).unwrap();
    assert_eq!(status(&check(&bench, false)), 0);
}

#[test]
fn recorded_damage_is_stored_anew_and_what_proves_whole_again_is_healed() {
    let bench = Bench::new(1);
    let bytes = noise(1, 30_000);
    bench.backup("f", &bytes);
    let (_, n, place) = chunks_of(&bench, b"/f")[4];
    let path = pack_path(&bench, place.pack);
    let good = bench.fs.read(&path).unwrap();
    bench.fs.flip(&path, (u64::from(place.offset) + 90) * 8).unwrap();
    let found = check(&bench, true);
    assert_eq!((found.bytes_lost, found.damage.len()), (n, 1));
    let before = bench.read().reflected().number;
    record(&bench.write(), &found.damage, &found.healed).unwrap();
    record(&bench.write(), &found.damage, &found.healed).unwrap();
    assert_eq!(bench.read().reflected().number, before + 1, "what is known is not logged again");
    assert_eq!(status(&check(&bench, false)), 4, "now it is known without reading");
    // The same content again: the chunk counts as a miss, and the older snapshot has it too.
    assert_eq!(bench.backup("f", &bytes).chunks_new, 1);
    for read_data in [false, true] {
        let report = check(&bench, read_data);
        assert_eq!((status(&report), report.files_lost), (3, 0), "{:?} {:?}", lines(&report), report.lost);
    }
    bench.fs.write(&path, &good).unwrap();
    let report = check(&bench, true);
    assert_eq!(report.healed.len(), 1, "{:?}", lines(&report));
    record(&bench.write(), &report.damage, &report.healed).unwrap();
    assert_eq!(lines(&check(&bench, true)), Vec::<&str>::new());
}

#[test]
fn a_pack_that_is_put_back_is_not_called_lost_for_what_the_log_says() {
    let bench = Bench::new(1);
    bench.backup("f", &noise(1, 9000));
    for pack in bench.packs() {
        let id: PackId = pack.file_stem().unwrap().to_str().unwrap().parse().unwrap();
        record(&bench.write(), &[(id, 0, 0)], &[]).unwrap();
    }
    let lost = check(&bench, false);
    assert_eq!((lost.files_lost, lost.bytes_lost), (1, 9000));
    let report = check(&bench, true);
    assert_eq!((status(&report), report.healed.len()), (0, 2), "{:?} {:?}", lines(&report), report.lost);
}

#[test]
fn sectors_that_cannot_be_read_lose_their_records_only() {
    use crate::io::faulty::{Action, Failure, FaultPlan, FaultyFs, Op, When};
    let bench = Bench::new(1);
    bench.backup("f", &noise(1, 30_000));
    for every in 2..9 {
        let plan = FaultPlan::new().with_path(Op::Read, When::Every(every), ".pack", Action::Fail(Failure::Io));
        let fs = Arc::new(FaultyFs::new(Arc::new(bench.fs.clone()), plan));
        let io = crate::io::Io { fs, world: Arc::clone(&bench.io.world) };
        let faulty = Bench { io, fs: bench.fs.clone(), index: Arc::clone(&bench.index), disks: bench.disks.clone() };
        let report = check(&faulty, true);
        assert!(status(&report) >= 3, "every {every}th read failed and nothing was said");
        assert!(report.bytes_lost <= 30_000);
    }
    assert_eq!(status(&check(&bench, true)), 0);
}

#[test]
fn a_check_stops_when_it_is_asked_to() {
    let bench = Bench::new(2);
    bench.backup("f", &noise(1, 9000));
    let control = Control::default();
    control.cancel();
    let outcome =
        run(&bench.try_open(Mode::Read).unwrap().store, &CheckOptions { read_data: true, rebuild: false }, &control);
    assert!(matches!(outcome, Err(Error::Interrupted)));
}

/// Found by the simulation: of a chunk with two copies the index has one, and where that is rotten and the other lies in a
/// pack that lost its end, the file was called lost.
#[test]
fn a_chunk_is_lost_only_if_no_copy_is_left() {
    let bench = Bench::new(1);
    let bytes = noise(1, 20_000);
    bench.backup("f", &bytes);
    let (_, _, first) = chunks_of(&bench, b"/f")[3];
    let path = pack_path(&bench, first.pack);
    let good = bench.fs.read(&path).unwrap();
    let rot = |place: &crate::index::Place| {
        bench.fs.flip(pack_path(&bench, place.pack), (u64::from(place.offset) + 70) * 8).unwrap();
    };
    rot(&first);
    let report = check(&bench, true);
    record(&bench.write(), &report.damage, &[]).unwrap();
    bench.backup("f", &bytes);
    let (_, _, second) = chunks_of(&bench, b"/f")[3];
    assert_ne!(first.pack, second.pack, "it was stored again");
    bench.fs.write(&path, &good).unwrap();
    let report = check(&bench, true);
    record(&bench.write(), &[], &report.healed).unwrap();
    // two good copies; now the one that the index has rots, and the other's pack loses its end
    rot(&second);
    bench.fs.truncate(&path, good.len() as u64 - 10).unwrap();
    let report = check(&bench, true);
    assert_eq!(report.files_lost, 0, "{:?}", report.lost);
    assert!(report.problems.len() >= 2, "{:?}", lines(&report));
}
