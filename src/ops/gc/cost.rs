//! What a gc costs where many snapshots share nearly everything: run by hand,
//! `cargo test --lib -- --ignored --nocapture ops::gc::cost`. `ONEFOLD_GC_SNAPSHOTS` and `ONEFOLD_GC_FILES` say how large.
//!
//! Folders of 100 files; each snapshot changes 0.1 % of all files, in five folders. Trees are made by the same builders as
//! a backup's, without files to read. Each file is one chunk of some hundred bytes that resembles nothing.

#[cfg(test)]
mod tests {
    use super::super::*;
    use crate::catalog::map::MapBuilder;
    use crate::format::ChunkKind;
    use crate::format::entry::{Attributes, Content, Entry, EntryKind, Time};
    use crate::format::node::MapRoot;
    use crate::format::recipe::{Recipe, Reference, Segment, Segments, Stream};
    use crate::format::snapshot::{Counts, Snapshot};
    use crate::ops::forget;
    use crate::ops::snapshots;
    use crate::ops::testing::{Shelf, disk_id, noise};
    use crate::pack::WriteChunks;
    use crate::store::OpenOptions;
    use std::time::{Duration, Instant};

    const FOLDER: usize = 100;

    fn setting(name: &str, default: usize) -> usize {
        std::env::var(name).ok().and_then(|v| v.parse().ok()).unwrap_or(default)
    }

    fn entry(kind: EntryKind) -> Entry {
        Entry {
            kind,
            mode: 0o644,
            mtime: Time::default(),
            uid: 1000,
            gid: 1000,
            user: None,
            group: None,
            attributes: Attributes::None,
            link: None,
            digests: vec![],
        }
    }

    fn folder(ingest: &ingest::Ingest<'_>, number: usize, salts: &[u64]) -> MapRoot {
        let (keys, mut sink, mut map) = (ingest.store().keys(), ingest.sink(), MapBuilder::default());
        for (i, salt) in salts.iter().enumerate() {
            let plain = noise((number * FOLDER + i) as u64 * 1_000_003 + salt, 520);
            let id = sink.put(ChunkKind::Data, &plain).unwrap();
            let bytes = plain.len() as u64;
            let recipe = Recipe {
                splitter: (0, 1),
                streams: vec![Stream { level: 0, references: vec![Reference { id, bytes }] }],
                segments: Segments::Inline(vec![Segment::Data { stream: 0, bytes }]),
                check: [0; 32],
            };
            let file = entry(EntryKind::File { bytes, content: Content::Recipe(Box::new(recipe)) });
            map.push(keys, &mut sink, format!("{i:03} a title of usual length.flac").as_bytes(), &file.encode())
                .unwrap();
        }
        map.finish(keys, &mut sink).unwrap()
    }

    fn memory_kib(field: &str) -> u64 {
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let line = status.lines().find(|l| l.starts_with(field)).unwrap_or_default();
        line.split_whitespace().nth(1).and_then(|n| n.parse().ok()).unwrap_or(0)
    }

    #[test]
    #[ignore = "takes minutes and gigabytes"]
    fn forgetting_one_of_many_snapshots_costs_a_fraction_of_a_full_mark() {
        let (snapshots_n, files) = (setting("ONEFOLD_GC_SNAPSHOTS", 1000), setting("ONEFOLD_GC_FILES", 100_000));
        let folders = files / FOLDER;
        let changed_per_folder = files / 1000 / 5;
        let dir = tempfile::tempdir().unwrap();
        let home = dir.path().join("store");
        let disks: Vec<_> = (0..2).map(|i| (disk_id(i), dir.path().join(format!("disk{i}")))).collect();
        let io = Shelf::real(&home, &disks);
        let open = |verb| {
            let options = OpenOptions::new(Mode::Write { verb }, 512 << 20);
            crate::store::Store::open(&io, &home, &options).unwrap().store
        };
        let control = Control::default();
        let begun = Instant::now();
        let mut salts = vec![vec![0u64; FOLDER]; folders];
        let mut roots: Vec<MapRoot> = Vec::new();
        let mut number = 0u64;
        let mut random = 1u64;
        while number < snapshots_n as u64 {
            let store = open("backup");
            let run = Purpose { moves: false, ..purpose("cost") };
            ingest::run(&store, &control, run, |ingest| {
                if roots.is_empty() {
                    roots = (0..folders).map(|f| folder(ingest, f, &salts[f])).collect();
                }
                let mut records = Vec::new();
                for _ in 0..200.min(snapshots_n as u64 - number) {
                    number += 1;
                    for _ in 0..5 {
                        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                        let f = (random >> 33) as usize % folders;
                        (0..changed_per_folder).for_each(|i| salts[f][(i * 7 + number as usize) % FOLDER] = number);
                        roots[f] = folder(ingest, f, &salts[f]);
                    }
                    let (keys, mut sink, mut map) = (store.keys(), ingest.sink(), MapBuilder::default());
                    for (f, root) in roots.iter().enumerate() {
                        let dir = entry(EntryKind::Dir(root.clone()));
                        map.push(keys, &mut sink, format!("{f:06}").as_bytes(), &dir.encode()).unwrap();
                    }
                    let snapshot = Snapshot {
                        time_ns: number as i64,
                        host: "h".into(),
                        user: "u".into(),
                        roots: vec![b"/library".to_vec()],
                        filters: vec![],
                        program: "cost".into(),
                        parent: None,
                        name: None,
                        tags: vec![],
                        tree: map.finish(keys, &mut sink).unwrap(),
                        witness: None,
                        counts: Counts::default(),
                        complete: true,
                    };
                    records.push(snapshot.encode());
                }
                let events = records.into_iter().map(|record| Event::SnapshotAdded { record }).collect();
                Ok(((), |(): &mut (), _: &ingest::Counters| events))
            })
            .unwrap();
        }
        let (packs, bytes) = open("x").with_state(|s| (s.pack_count(), s.packs().map(|p| p.sealed.bytes).sum::<u64>()));
        println!("{number} snapshots x {files} files: {packs} packs, {bytes} bytes, made in {:?}", begun.elapsed());
        let options = GcOptions { grace_ns: 0, ..Default::default() };
        let timed = |what: &str, options: &GcOptions| -> Duration {
            let store = open("gc");
            let begun = Instant::now();
            let plan = plan(&store, options, "cost", &control).unwrap();
            let planned = begun.elapsed();
            let (chunks, dead, why) = (plan.chunks_live, plan.chunks_dead, plan.full_because);
            let (packs, moved) = (plan.dead.len() + plan.sources.len(), plan.moved_bytes());
            run(&store, plan, options, "cost", &control).unwrap();
            let all = begun.elapsed();
            println!(
                "{what}: planned in {planned:?}, done in {all:?}; {chunks} chunks live, {dead} dead, {packs} packs chosen, {moved} bytes moved; full: {why:?}; memory {} KiB, at most {} KiB",
                memory_kib("VmRSS"),
                memory_kib("VmHWM")
            );
            all
        };
        let full = timed("founding full mark", &options);
        let again = timed("full mark", &GcOptions { full: true, ..options });
        timed("nothing changed", &options);
        let mut worst = Duration::ZERO;
        for i in 0..5 {
            let store = open("forget");
            let list = snapshots::list(&store, &[]);
            let middle = list[list.len() / 2 + i].clone();
            forget::run(&store, &forget::by_name(vec![middle]).unwrap(), "t", "t", &control).unwrap();
            drop(store);
            worst = worst.max(timed("one forgotten", &options));
        }
        let share = worst.as_secs_f64() / full.min(again).as_secs_f64();
        println!("one forgotten costs {:.1} % of a full mark", share * 100.0);
        let begun = Instant::now();
        assert_eq!(audit(&open("x"), &control).unwrap(), Some(0));
        println!("counts are those of a full mark (compared in {:?})", begun.elapsed());
        assert!(share < 0.05, "{share}");
    }
}
