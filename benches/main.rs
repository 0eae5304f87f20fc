//! Speeds, each printed in bytes a second with the data that was used. Run: `cargo bench --profile dev` (all), or
//! `cargo bench --profile dev -- backup` (one); that profile is optimised and compiled already. Ratios within one run are what counts: the machine may be shared.
//!
//! Data is pseudo-random (incompressible and new) and lies in memory: on `/dev/shm` where there is one.

mod codecs;
mod paced;
mod shelf;

use onefold::chunk::{Coding, Cutter, Form, Scanner, Squeezer, Technique, Tier};
use onefold::format::superblock::ChunkerParameters;
use onefold::format::{ChunkId, ChunkKind, Keys, check};
use onefold::index::{Index, Place};
use onefold::io::Io;
use onefold::ops::backup::{self, BackupOptions, Source};
use onefold::ops::init::{self, InitOptions};
use onefold::ops::restore::{self, RestoreOptions};
use onefold::ops::{Control, snapshots};
use onefold::store::{Mode, OpenOptions, Store};
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Instant;

const MIB: usize = 1 << 20;
/// Bytes of the library: 32 files of 48 MiB. Library, store and what is restored take 5 GB of memory together; with much less
/// a run's fixed costs, which are told apart, would be a part of every figure.
const FILES: usize = 32;
const FILE_BYTES: usize = 48 * MIB;

fn noise(seed: u64, n: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x2545_f491_4f6c_dd1d).wrapping_add(1);
    let mut out = Vec::with_capacity(n + 8);
    while out.len() < n {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        out.extend_from_slice(&(z ^ (z >> 31)).to_le_bytes());
    }
    out.truncate(n);
    out
}

/// Runs `f` three times and prints the best: bytes a second.
fn best(name: &str, bytes: usize, what: &str, f: impl FnMut()) -> f64 {
    best_of(name, bytes, what, || (), f)
}

/// The same, with something done before each run that is not timed.
fn best_of(name: &str, bytes: usize, what: &str, mut before: impl FnMut(), mut f: impl FnMut()) -> f64 {
    let mut best = 0f64;
    for _ in 0..3 {
        before();
        let t = Instant::now();
        f();
        best = best.max(bytes as f64 / t.elapsed().as_secs_f64());
    }
    println!("{name:<28} {:>7.2} GB/s   {what}", best / 1e9);
    best
}

fn wanted(name: &str) -> bool {
    let args: Vec<String> = std::env::args().skip(1).filter(|a| !a.starts_with('-')).collect();
    args.is_empty() || args.iter().any(|a| name.contains(a.as_str()))
}

fn cut() {
    let keys = Keys::new([1; 32], 7);
    let cutter = Cutter::new(ChunkerParameters::default(), &keys).expect("the default chunker");
    let bytes = noise(1, 256 * MIB);
    let cut_all = |bytes: &[u8], each: &mut dyn FnMut(&[u8])| {
        let mut scanner = Scanner::new(&cutter);
        let mut front = 0;
        while front < bytes.len() {
            let window = &bytes[front..bytes.len().min(front + 4 * MIB)];
            let last = front + window.len() == bytes.len();
            let (mut at, mut chunks) = (0, Vec::new());
            while at < window.len() && (last || window.len() - at >= cutter.max_bytes()) {
                let n = scanner.next(window, at..window.len());
                each(&window[at..at + n]);
                chunks.push(at..at + n);
                at += n;
            }
            std::hint::black_box(scanner.advance(window, chunks, at));
            front += at;
        }
    };
    let what = "256 MiB pseudo-random, 64/256/1024 KiB, one thread";
    best("cut, one byte after another", bytes.len(), what, || {
        let mut at = 0;
        while at < bytes.len() {
            at += cutter.next(&bytes[at..bytes.len().min(at + cutter.max_bytes())]);
        }
    });
    best("cut + samples", bytes.len(), what, || cut_all(&bytes, &mut |_| ()));
    best("cut + name", bytes.len(), what, || {
        let mut x = 0;
        cut_all(&bytes, &mut |c| x ^= keys.chunk_id(ChunkKind::Data, c).0[0]);
        std::hint::black_box(x);
    });
    let mut squeezer = Squeezer::default();
    best("squeeze, incompressible", bytes.len(), "256 KiB chunks", || {
        bytes.chunks(256 << 10).for_each(|c| drop(squeezer.squeeze(c, Form::Bytes)))
    });
    let text: Vec<u8> =
        (0..3_000_000u64).flat_map(|i| format!("line {} of a log\n", i * 7919 % 100_003).into_bytes()).collect();
    best("squeeze, text", text.len(), "256 KiB chunks of log lines", || {
        text.chunks(256 << 10).for_each(|c| drop(squeezer.squeeze(c, Form::Bytes)))
    });
    best("unit checks (XXH3-128)", bytes.len(), "units of 1 MiB", || {
        let mut units = check::Units::default();
        bytes.chunks(300_000).for_each(|c| units.update(c));
        drop(units.finish());
    });
}

fn memory_place() -> tempfile::TempDir {
    let shm = Path::new("/dev/shm");
    if shm.is_dir() { tempfile::tempdir_in(shm) } else { tempfile::tempdir() }.expect("a temporary folder")
}

fn pack() {
    use onefold::format::footer::PackKind;
    use onefold::format::record::Codec;
    use onefold::format::{DiskId, PackId, StoreId, WriterId};
    use onefold::pack::write::{NewRecord, PackWriter};
    let keys = Keys::new([1; 32], 7);
    let bytes = noise(2, 128 * MIB);
    let records: Vec<NewRecord> = bytes
        .chunks(256 << 10)
        .map(|c| NewRecord {
            kind: ChunkKind::Data,
            id: keys.chunk_id(ChunkKind::Data, c),
            codec: Codec::RAW,
            parameters: vec![],
            bases: vec![],
            plain_bytes: c.len() as u32,
            features: Vec::new(),
            payload: c.to_vec().into(),
        })
        .collect();
    let mut sequence = 0;
    let dir = memory_place();
    best("append + seal a pack", bytes.len(), "128 MiB in records of 256 KiB, in memory, copies included", || {
        sequence += 1;
        let id = PackId::new(WriterId([9; 8]), sequence);
        let mut w = PackWriter::create(&Io::real(), StoreId([1; 16]), dir.path(), DiskId([2; 16]), id, PackKind::Data)
            .expect("a pack");
        records.chunks(16).for_each(|batch| w.append(batch.to_vec()).expect("appended"));
        w.seal().map_err(|(_, e)| e).expect("sealed");
        fs::remove_file(onefold::pack::sealed_path(dir.path(), id)).expect("removed");
    });
}

fn index() {
    use onefold::format::StoreId;
    use onefold::index::rocks::{Mode, Options, RocksIndex};
    let dir = memory_place();
    let n = 1_000_000u64;
    let id = |i: u64| ChunkId(check::blake3(&[&i.to_le_bytes()]));
    let options = Options { memory_bytes: 256 << 20, mode: Mode::ReadWrite };
    let index = RocksIndex::create(&dir.path().join("index"), StoreId([1; 16]), options).expect("an index");
    let place = |i: u64| Place { pack: (i >> 10) as u32 + 1, offset: (i & 1023) as u32, stored: 1, plain: 1 };
    let t = Instant::now();
    for from in (0..n).step_by(8192) {
        let rows: Vec<_> = (from..n.min(from + 8192)).map(|i| (id(i), place(i))).collect();
        index.apply(&rows, None).expect("applied");
    }
    index.flush().expect("flushed");
    println!(
        "{:<28} {:>7.0} k chunks/s   {n} chunks in batches of 8192",
        "index: put",
        n as f64 / t.elapsed().as_secs_f64() / 1e3
    );
    for (name, offset) in [("index: look up, there", 0), ("index: look up, absent", n)] {
        let t = Instant::now();
        let mut found = 0;
        for from in (0..200_000).step_by(64) {
            let ids: Vec<_> = (from..from + 64).map(|i: u64| id(offset + i * 4 % n)).collect();
            found += index.get_many(&ids).expect("looked up").iter().flatten().count();
        }
        println!("{name:<28} {:>7.0} k chunks/s   batches of 64, {found} found", 200.0 / t.elapsed().as_secs_f64());
    }
}

fn options(path: PathBuf, force: bool) -> BackupOptions {
    options_of(path, force, Coding::default())
}

fn options_of(path: PathBuf, force: bool, coding: Coding) -> BackupOptions {
    BackupOptions { force, coding, ..BackupOptions::of(Source::Paths(vec![path]), "bench") }
}

/// What the same cores do with reading, cutting and naming alone: one file a thread. The cut is the `fastcdc` crate's, or
/// with `lanes` our own.
fn floor(files: &[PathBuf], lanes: bool) {
    let keys = Keys::new([1; 32], 7);
    let cutter = Cutter::new(ChunkerParameters::default(), &keys).expect("the default chunker");
    let next = std::sync::atomic::AtomicUsize::new(0);
    let cores = std::thread::available_parallelism().map_or(1, |n| n.get());
    std::thread::scope(|scope| {
        for _ in 0..cores {
            scope.spawn(|| {
                let mut window = vec![0; 4 * MIB];
                let mut scanner = Scanner::new(&cutter);
                while let Some(path) = files.get(next.fetch_add(1, std::sync::atomic::Ordering::Relaxed)) {
                    let mut file = fs::File::open(path).expect("the library");
                    let (mut filled, mut x) = (0, 0);
                    scanner.restart();
                    loop {
                        let n = file.read(&mut window[filled..]).expect("read");
                        filled += n;
                        if n > 0 && filled < window.len() {
                            continue;
                        }
                        let mut at = 0;
                        while at < filled && (n == 0 || filled - at >= cutter.max_bytes()) {
                            let len = match lanes {
                                true => scanner.next(&window[..filled], at..filled),
                                false => cutter.next(&window[at..filled]),
                            };
                            x ^= keys.chunk_id(ChunkKind::Data, &window[at..at + len]).0[0];
                            at += len;
                        }
                        if lanes {
                            scanner.advance(&window[..filled], [], at);
                        }
                        window.copy_within(at..filled, 0);
                        filled -= at;
                        if n == 0 {
                            break;
                        }
                    }
                    std::hint::black_box(x);
                }
            });
        }
    });
}

fn verbs() {
    let dir = memory_place();
    let library = dir.path().join("library");
    fs::create_dir(&library).expect("a folder");
    let files: Vec<PathBuf> = (0..FILES).map(|i| library.join(format!("{i}.bin"))).collect();
    for (i, path) in files.iter().enumerate() {
        fs::write(path, noise(100 + i as u64, FILE_BYTES)).expect("the library");
    }
    let bytes = FILES * FILE_BYTES;
    let what = format!("{FILES} files of {} MiB, new and incompressible, in memory, all cores", FILE_BYTES / MIB);
    let with_crate = best("read + fastcdc + BLAKE3", bytes, &what, || floor(&files, false));
    let with_lanes = best("read + our cut + BLAKE3", bytes, &what, || floor(&files, true));
    let of_both = |speed: f64| {
        println!("{:<28} {:>7.2}        of read + fastcdc + BLAKE3", "", speed / with_crate);
        println!("{:<28} {:>7.2}        of read + our cut + BLAKE3", "", speed / with_lanes);
    };
    let io = Io::real();
    let open = |at: &Path, mode| Store::open(&io, at, &OpenOptions::new(mode, 1 << 30)).expect("the store").store;
    let last = dir.path().join("shelf");
    let make = || {
        let _ = fs::remove_dir_all(&last);
        let disks = (0..2).map(|d| last.join(format!("disk{d}"))).collect();
        init::run(
            &io,
            &InitOptions { store: last.join("store"), disks, pack_bytes: Some(256 << 20), ..Default::default() },
        )
        .expect("init");
    };
    let new = best_of("backup, new", bytes, &what, make, || {
        let store = open(&last.join("store"), Mode::Write { verb: "backup" });
        backup::run(&store, options(library.clone(), false), &Control::default()).expect("backup");
    });
    of_both(new);
    let empty = dir.path().join("empty");
    fs::create_dir(&empty).expect("a folder");
    make();
    let begun = Instant::now();
    backup::run(&open(&last.join("store"), Mode::Write { verb: "backup" }), options(empty, false), &Control::default())
        .expect("backup");
    println!(
        "{:<28} {:>7.0} ms     an empty folder into an empty store",
        "backup, fixed",
        begun.elapsed().as_secs_f64() * 1e3
    );
    let bare = best_of("backup, chunks alone", bytes, "the same without splitters and codecs", make, || {
        let store = open(&last.join("store"), Mode::Write { verb: "backup" });
        let coding = Coding::from(Tier::None).without(Technique::Splitters);
        backup::run(&store, options_of(library.clone(), false, coding), &Control::default()).expect("backup");
    });
    println!("{:<28} {:>7.2}        of it is the speed with them", "", new / bare);
    make();
    let store = open(&last.join("store"), Mode::Write { verb: "backup" });
    backup::run(&store, options(library.clone(), false), &Control::default()).expect("backup");
    drop(store);
    let again = best("backup, all there", bytes, "the same, --force", || {
        let store = open(&last.join("store"), Mode::Write { verb: "backup" });
        let report = backup::run(&store, options(library.clone(), true), &Control::default()).expect("backup");
        assert_eq!(report.counts.data_added, 0);
    });
    of_both(again);
    let target = dir.path().join("out");
    let clear = || drop(fs::remove_dir_all(&target));
    best_of("restore", bytes, "the same, in memory", clear, || {
        let store = open(&last.join("store"), Mode::Read);
        let options = RestoreOptions {
            snapshot: snapshots::resolve(&store, "latest").expect("a snapshot"),
            path: None,
            target: target.clone(),
            includes: vec![],
            overwrite: false,
            owner: false,
            partial: false,
        };
        let report = restore::run(&store, &options, &Control::default()).expect("restore");
        assert_eq!(report.bytes, bytes as u64);
    });
}

fn main() {
    let all: [(&str, fn()); 8] = [
        ("cut", cut),
        ("pack", pack),
        ("index", index),
        ("codecs", codecs::run),
        ("backup restore", verbs),
        ("parity", shelf::code),
        ("shelf", shelf::verbs),
        ("rebuild", paced::rebuild),
    ];
    for (name, run) in all {
        if name.split(' ').any(wanted) {
            run();
        }
    }
}
