//! That what is counted agrees with counting by hand, set by set, without colours and sorters.

use super::*;
use crate::catalog::list::References;
use crate::catalog::map::{MapIter, read_node};
use crate::catalog::recipe;
use crate::format::entry::{Attributes, Content, Entry, EntryKind, Witness};
use crate::format::node::{MapRoot, Node};
use crate::media::testing::FilmFile;
use crate::ops::backup::Source;
use crate::ops::testing::bench::{Bench, noise};
use std::collections::{BTreeSet, HashMap, HashSet};
use std::path::Path;

fn stats(bench: &Bench) -> StatsReport {
    run(&bench.read(), &Control::default()).unwrap()
}

fn adds_up(r: &StatsReport) {
    let stored_data = r.stored_bytes - r.overhead_bytes;
    let saved = r.saved_whole_file + r.saved_holes + r.saved_chunks + r.saved_compression;
    let saved = saved.checked_add_signed(r.saved_splitters).unwrap();
    assert_eq!(r.logical_bytes, stored_data + saved, "{r:?}");
}

/// What one snapshot reaches, by walking all of it.
#[derive(Default)]
struct Reach {
    chunks: HashSet<ChunkId>,
    data: HashSet<ChunkId>,
}

impl Reach {
    fn nodes(&mut self, store: &Store, root: &MapRoot) {
        let MapRoot::Node { level, id, .. } = root else { return };
        self.chunks.insert(*id);
        if let Node::Inner(children) = read_node(store, *level, id).unwrap() {
            for c in children {
                self.nodes(store, &MapRoot::Node { level: level - 1, id: c.id, entries: c.entries });
            }
        }
    }

    fn tree(&mut self, store: &Store, root: &MapRoot) {
        self.nodes(store, root);
        for item in MapIter::new(store, root) {
            let entry = Entry::decode(&item.unwrap().1).unwrap();
            if let Attributes::Stream(s) = &entry.attributes {
                self.chunks.extend(References::new(store, s, 0).unwrap().map(|r| r.unwrap().1.id));
            }
            match entry.kind {
                EntryKind::Dir(root) => self.tree(store, &root),
                EntryKind::File { content: Content::Recipe(r), .. } => {
                    recipe::each_list(store, &r, &mut |id| {
                        self.chunks.insert(*id);
                        Ok(true)
                    })
                    .unwrap();
                    for s in &r.streams {
                        let ids: Vec<ChunkId> =
                            References::new(store, s, 0).unwrap().map(|r| r.unwrap().1.id).collect();
                        self.data.extend(&ids);
                        self.chunks.extend(ids);
                    }
                }
                _ => {}
            }
        }
    }

    fn witness(&mut self, store: &Store, root: &MapRoot) {
        self.nodes(store, root);
        for item in MapIter::new(store, root) {
            if let Some(root) = Witness::decode(&item.unwrap().1).unwrap().children {
                self.witness(store, &root);
            }
        }
    }
}

/// Bytes of every record with its row, and of its payload, from the packs' own tables.
fn records(bench: &Bench) -> HashMap<ChunkId, (u64, u64)> {
    let mut out = HashMap::new();
    for path in bench.packs() {
        let pack = path.file_stem().unwrap().to_str().unwrap().parse().unwrap();
        let file = bench.io.fs.open(&path).unwrap();
        for row in crate::pack::read::ends(&*file, &path, pack).unwrap().footer.rows {
            let h = &row.header;
            out.insert(h.id, (h.record_bytes() + 4 + h.header_bytes() as u64, u64::from(h.stored_bytes)));
        }
    }
    out
}

fn agrees_with_counting(bench: &Bench) -> StatsReport {
    let report = stats(bench);
    let store = bench.read();
    let records = records(bench);
    let reaches: Vec<Reach> = snapshots::list(&store, &[])
        .iter()
        .map(|s| {
            let mut reach = Reach::default();
            reach.tree(&store, &s.snapshot.tree);
            reach.witness(&store, s.snapshot.witness.as_ref().unwrap());
            reach
        })
        .collect();
    for (i, reach) in reaches.iter().enumerate() {
        let others: HashSet<_> =
            reaches.iter().enumerate().filter(|(k, _)| *k != i).flat_map(|(_, r)| &r.chunks).collect();
        let only = reach.chunks.iter().filter(|id| !others.contains(id));
        let bytes: u64 = only.map(|id| records[id].0).sum();
        assert_eq!(report.per_snapshot[i].exclusive_bytes, bytes, "snapshot {i}");
    }
    let all: HashSet<_> = reaches.iter().flat_map(|r| &r.chunks).collect();
    let data: HashSet<_> = reaches.iter().flat_map(|r| &r.data).collect();
    assert_eq!(report.chunks as usize, all.len());
    let payload: u64 = data.iter().map(|id| records[*id].1).sum();
    assert_eq!(report.stored_bytes - report.overhead_bytes, payload);
    let metadata: u64 = all.iter().filter(|id| !data.contains(**id)).map(|id| records[*id].0).sum();
    assert_eq!(report.metadata_bytes, metadata);
    let on_disk: u64 = bench.packs().iter().map(|p| bench.fs.read(p).unwrap().len() as u64).sum();
    assert_eq!(report.stored_bytes, on_disk);
    assert_eq!(report.disks.iter().map(|d| d.pack_bytes).sum::<u64>(), on_disk);
    adds_up(&report);
    report
}

#[test]
fn an_empty_store_counts_nothing() {
    let report = stats(&Bench::new(2));
    assert_eq!((report.snapshots, report.logical_bytes, report.stored_bytes, report.chunks), (0, 0, 0, 0));
    assert_eq!(report.disks.len(), 2);
    assert!(report.disks.iter().all(|d| d.path.is_some() && d.packs == 0));
}

#[test]
fn each_way_of_saving_is_counted_under_its_own_name() {
    let bench = Bench::new(1);
    let a = noise(1, 20_000);
    bench.backup("a", &a);
    let one = agrees_with_counting(&bench);
    assert_eq!((one.saved_whole_file, one.saved_holes, one.saved_chunks, one.saved_compression), (0, 0, 0, 0));
    assert_eq!(one.stored_bytes - one.overhead_bytes, 20_000);

    bench.backup("b", &a);
    let two = agrees_with_counting(&bench);
    assert_eq!((two.saved_whole_file, two.saved_chunks, two.logical_bytes), (20_000, 0, 40_000));

    let longer = [&a[..], &noise(2, 20_000)].concat();
    bench.backup("c", &longer);
    let three = agrees_with_counting(&bench);
    assert_eq!(three.saved_whole_file, 20_000);
    // all but the last chunk of `a`, which ended where the file did
    assert!(three.saved_chunks >= 20_000 - 1024 && three.saved_chunks <= 20_000, "{three:?}");
    assert_eq!(three.saved_compression, 0);

    bench.backup("text", &b"0123456789abcdef".repeat(60));
    bench.backup("small", b"inline");
    let five = agrees_with_counting(&bench);
    assert!(five.saved_compression > 500, "{five:?}");
    assert_eq!((five.snapshots, five.files), (5, 5));
}

#[test]
fn exclusive_bytes_agree_with_counting_in_trees_that_share() {
    let dir = tempfile::tempdir().unwrap();
    let put = |name: &str, bytes: &[u8]| {
        let path = dir.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    };
    let bench = Bench::new(3);
    let backup = || bench.backup_of(Source::Paths(vec![dir.path().to_owned()]));
    for i in 0..300u64 {
        put(&format!("many/{i:03}"), &noise(i, 700));
    }
    for i in 0..5u64 {
        put(&format!("album/{i}"), &noise(1000 + i, 30_000));
    }
    let sparse = std::fs::File::create(dir.path().join("holes")).unwrap();
    sparse.set_len(4 << 20).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&sparse, &noise(77, 5000), 2 << 20).unwrap();
    backup();
    let first = agrees_with_counting(&bench);
    assert!(first.per_snapshot[0].exclusive_bytes > 300_000);
    assert!(first.saved_holes > 3 << 20, "{first:?}");
    backup();
    let second = agrees_with_counting(&bench);
    assert!(second.per_snapshot.iter().all(|s| s.exclusive_bytes < 10_000), "all is shared: {second:?}");
    put("album/3", &[&noise(9, 100)[..], &noise(1003, 30_000)].concat());
    put("many/150", &noise(5000, 900));
    put("new/deep/er/file", &noise(6000, 12_000));
    backup();
    std::fs::remove_dir_all(dir.path().join("many")).unwrap();
    backup();
    put("new/deep/er/file", &noise(6000, 11_000));
    backup();
    let last = agrees_with_counting(&bench);
    let exclusive: BTreeSet<u64> = last.per_snapshot.iter().map(|s| s.exclusive_bytes).collect();
    assert!(exclusive.len() > 2, "the snapshots differ in what they keep: {exclusive:?}");
}

#[test]
fn a_disk_that_is_away_and_chunks_on_it_do_not_stop_the_counting() {
    let bench = Bench::new(2);
    for (i, room) in [(0, [400u64, 100]), (1, [100, 400])] {
        bench.fs.set_capacity("/d0", room[0] << 20).unwrap();
        bench.fs.set_capacity("/d1", room[1] << 20).unwrap();
        bench.backup(&format!("{i}"), &noise(i, 9000));
    }
    bench.fs.remove(Path::new("/d1/onefold-disk")).unwrap();
    let notes = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    let sink = std::sync::Arc::clone(&notes);
    let control = Control::with_sink(move |n| sink.lock().unwrap().push(n));
    let report = run(&bench.read(), &control).unwrap();
    adds_up(&report);
    assert!(report.disks[0].path.is_some() && report.disks[1].path.is_none());
    assert!(report.disks[1].pack_bytes > 9000, "{:?}", report.disks);
    assert!(!notes.lock().unwrap().is_empty(), "what is not counted is said");
}

fn edited(bytes: &[u8], at: usize) -> Vec<u8> {
    let mut out = bytes.to_vec();
    out.splice(at..at, *b"an insertion");
    out
}

/// A store with larger chunks than the bench's, so that there are deltas.
#[test]
fn deltas_and_their_bases_are_counted_and_a_base_is_reached_by_what_hangs_on_it() {
    use crate::ops::testing::Shelf;
    let shelf = Shelf::new(2);
    let library = tempfile::tempdir().unwrap();
    let at = library.path();
    let one = noise(1, 60_000);
    let of = |shelf: &Shelf| {
        let report = run(&shelf.read(), &Control::default()).unwrap();
        adds_up(&report);
        let codecs: u64 = report.by_codec.iter().map(|(_, s)| s.plain_bytes - s.stored_bytes).sum();
        assert_eq!(report.saved_compression, codecs + report.inline_bytes - report.base_only_bytes, "{report:?}");
        let formats: u64 = report.by_format.iter().map(|f| f.chunks.stored_bytes).sum();
        assert_eq!(formats, report.stored_bytes - report.overhead_bytes, "{report:?}");
        report
    };
    shelf.library(at, &[("one", &one)]);
    shelf.back_up(at);
    let report = of(&shelf);
    assert_eq!((report.fanout, report.base_only_bytes), (Fanout::default(), 0));
    std::fs::remove_file(at.join("one")).unwrap();
    for i in 0..3 {
        shelf.library(at, &[(&format!("{i}"), &edited(&edited(&one, 10_000 + i), 20_000 + i))]);
    }
    shelf.library(at, &[("inline", b"a few bytes")]);
    shelf.back_up(at);
    let report = of(&shelf);
    let delta = report.by_codec.iter().find(|(c, _)| *c == Codec::DELTA).expect("there are deltas").1;
    assert_eq!(report.fanout.coded, delta.chunks);
    assert!(report.fanout.most >= 2 && report.fanout.most <= delta.chunks, "{report:?}");
    assert!(report.fanout.bases >= 1 && report.fanout.most_on.is_some(), "{report:?}");
    assert_eq!(report.base_only_bytes, 0, "the first snapshot has all bases");
    let [first, second] = report.per_snapshot.as_slice() else { panic!("{report:?}") };
    let bases = delta.plain_bytes / 3;
    assert!(first.exclusive_bytes < 60_000 - bases / 2, "what the second's deltas need is not its alone: {report:?}");
    assert!(second.exclusive_bytes < 20_000, "{report:?}");
    let names: Vec<_> = report.by_format.iter().map(|f| (f.splitter, f.files)).collect();
    assert_eq!(names, [(Some(0), 4), (None, 1)]);
}

#[test]
fn a_chunk_counts_for_the_format_that_had_it_first() {
    use crate::media;
    let bench = Bench::new(1);
    let frames = crate::media::testing::flac_file(40_000, &[(4, 500)], false);
    bench.backup("a.flac", &frames);
    let first = agrees_with_counting(&bench);
    let of = |r: &StatsReport, n: u16| r.by_format.iter().find(|f| f.splitter == Some(n)).copied();
    let flac = of(&first, media::FLAC.number).expect("it is told by its bytes");
    assert_eq!((flac.files, flac.bytes), (1, frames.len() as u64));
    // the same bytes behind others that hide the format
    bench.backup("b.bin", &[&noise(5, 3_000)[..], &frames].concat());
    let both = agrees_with_counting(&bench);
    assert_eq!(of(&both, media::FLAC.number).unwrap().chunks, flac.chunks);
    let opaque = of(&both, 0).unwrap();
    assert!(opaque.chunks.plain_bytes < opaque.bytes / 2, "{both:?}");
}

#[test]
fn a_recording_is_stored_once_whatever_container_its_flac_is_in() {
    let bench = Bench::new(1);
    let mut added = Vec::new();
    for (name, bytes) in crate::media::testing::one_recording() {
        added.push((name, bytes.len() as u64, bench.backup(name, &bytes).counts.data_added));
    }
    let [wav, flac, remuxes @ ..] = added.as_slice() else { panic!("{added:?}") };
    assert!(wav.2 > wav.1 / 2, "{added:?}");
    // 8 KiB of it are padding.
    assert!(flac.2 < 8192 + flac.1 / 100, "{added:?}");
    for (_, bytes, new) in remuxes {
        assert!(*new < bytes / 100, "{added:?}");
    }
    adds_up(&stats(&bench));
}

/// Behind each other in one store: the WAV, then films whose sound it is, of which the first brings the pictures.
#[test]
fn a_recording_is_stored_once_whatever_film_it_is_the_sound_of() {
    let bench = Bench::new(1);
    let (wav, films) = crate::media::testing::films_of_one_recording();
    let backup = |name: &str, bytes: &[u8]| bench.backup(name, bytes).counts.data_added;
    assert!(backup("wav", &wav) > wav.len() as u64 / 2);
    let mut pictures = films[0].picture_bytes;
    for FilmFile { name, file, .. } in &films {
        let new = backup(name, file);
        // The keys of an MXF are one per cent of this one.
        assert!(new < pictures + file.len() as u64 / 50, "{name}: {new} of {}, pictures {pictures}", file.len());
        pictures = 0;
    }
    adds_up(&stats(&bench));
}

/// What lies below a folder, split by whether it goes.
fn split(store: &Store, root: &MapRoot, at: &str, goes: &dyn Fn(&str) -> bool, inside: bool, out: &mut [Reach; 2]) {
    out[usize::from(inside)].nodes(store, root);
    for item in MapIter::new(store, root) {
        let (name, value) = item.unwrap();
        let path = format!("{at}/{}", String::from_utf8(name).unwrap());
        let inside = inside || goes(&path);
        match Entry::decode(&value).unwrap().kind {
            EntryKind::Dir(root) => split(store, &root, &path, goes, inside, out),
            EntryKind::File { content: Content::Recipe(r), .. } => {
                let out = &mut out[usize::from(inside)];
                recipe::each_list(store, &r, &mut |id| {
                    out.chunks.insert(*id);
                    Ok(true)
                })
                .unwrap();
                for s in &r.streams {
                    out.chunks.extend(References::new(store, s, 0).unwrap().map(|r| r.unwrap().1.id));
                }
            }
            _ => {}
        }
    }
}

#[test]
fn what_would_be_free_is_counted_for_snapshots_folders_and_patterns() {
    let bench = Bench::new(1);
    let dir = tempfile::tempdir().unwrap();
    let lib = dir.path().join("lib");
    for (name, seed, n) in
        [("a/one.wav", 1, 20_000), ("a/two.bin", 2, 9_000), ("b/one.wav", 1, 20_000), ("b/new.wav", 3, 5_000)]
    {
        let path = lib.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, noise(seed, n)).unwrap();
    }
    let back_up = || bench.backup_of(Source::Paths(vec![lib.clone()]));
    back_up();
    std::fs::write(lib.join("a/two.bin"), noise(4, 9_000)).unwrap();
    // alike, and so coded against what the first snapshot has
    let mut alike = noise(3, 5_000);
    alike[2_500] ^= 1;
    std::fs::write(lib.join("b/new.wav"), alike).unwrap();
    back_up();
    std::fs::remove_dir_all(lib.join("b")).unwrap();
    back_up();
    let list = snapshots::list(&bench.read(), &[]);
    let control = Control::default();
    let free = |wanted: &Wanted| freed(&bench.read(), wanted, &control).unwrap();

    // Folders and patterns, against sets that are walked by hand.
    let records = records(&bench);
    let root = lib.to_str().unwrap();
    type Goes<'a> = Box<dyn Fn(&str, usize) -> bool + 'a>;
    let asked: Vec<(Wanted, Goes<'_>)> = vec![
        (
            Wanted { paths: vec![(list[0].clone(), format!("{root}/a").into())], ..Default::default() },
            Box::new(|path, i| i == 0 && path == format!("{root}/a")),
        ),
        (
            Wanted {
                paths: (0..2).map(|i| (list[i].clone(), format!("{root}/b").into())).collect(),
                ..Default::default()
            },
            Box::new(|path, i| i < 2 && path == format!("{root}/b")),
        ),
        (Wanted { patterns: vec!["*.wav".into()], ..Default::default() }, Box::new(|path, _| path.ends_with(".wav"))),
        (
            Wanted { patterns: vec!["a/*.bin".into()], ..Default::default() },
            Box::new(|path, _| path.ends_with("a/two.bin")),
        ),
    ];
    for (wanted, goes) in &asked {
        let mut sets: [Reach; 2] = Default::default();
        let store = bench.read();
        for (i, info) in list.iter().enumerate() {
            split(&store, &info.snapshot.tree, "", &|path| goes(path, i), false, &mut sets);
            sets[0].witness(&store, info.snapshot.witness.as_ref().unwrap());
        }
        let only = sets[1].chunks.iter().filter(|id| !sets[0].chunks.contains(*id));
        let bytes: u64 = only.map(|id| records[id].0).sum();
        let got = free(wanted);
        assert!(got.entries > 0);
        // What only they are coded against is free, too: it cannot be less.
        assert!(got.bytes >= bytes && got.bytes <= bytes + 6_000, "{wanted:?}: {got:?}, {bytes} by hand");
    }
    let none = Wanted { paths: vec![(list[0].clone(), b"/nowhere".to_vec())], ..Default::default() };
    assert!(matches!(freed(&bench.read(), &none, &control), Err(Error::NoPath { .. })));

    // Whole snapshots, against what gc calls dead: to the byte, bases included.
    let now = crate::ops::gc::GcOptions { grace_ns: 0, full: true, ..Default::default() };
    let dead = || crate::ops::gc::plan(&bench.read(), &now, "test", &control).unwrap().records_dead_bytes;
    for i in [1, 0] {
        let wanted = Wanted { snapshots: vec![list[i].clone()], ..Default::default() };
        let (before, free) = (dead(), free(&wanted));
        let plan = crate::ops::forget::by_name(wanted.snapshots).unwrap();
        crate::ops::forget::run(&bench.write(), &plan, "t", "t", &control).unwrap();
        assert_eq!(dead() - before, free.bytes, "snapshot {i}");
        assert!(free.bytes > 500, "snapshot {i}: {free:?}");
    }
}
