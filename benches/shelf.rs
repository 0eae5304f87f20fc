//! The shelf: the code of parity on its own, and backup, loss and scrub over disks in memory.

use super::{best, noise};
use onefold::io::Io;
use onefold::ops::backup::{self, BackupOptions, Source};
use onefold::ops::init::{self, InitOptions};
use onefold::ops::restore::{self, RestoreOptions};
use onefold::ops::scrub::{self, ScrubOptions};
use onefold::ops::{Control, snapshots};
use onefold::pool::parity::code::Coder;
use onefold::store::{Mode, OpenOptions, Store};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

const MIB: usize = 1 << 20;
/// As long as the library of the backup: what a run does once at its end, the last group's parity, is a small part then.
const FILES: usize = 48;
const FILE_BYTES: usize = 32 * MIB;

/// One core, a MiB a member, as groups are made: goal 2 GB/s of data for 8 + 2.
pub fn code() {
    for (k, m) in [(4, 1), (6, 2), (8, 2), (8, 3), (16, 2)] {
        let data: Vec<Vec<u8>> = (0..k).map(|i| noise(i as u64, MIB)).collect();
        let shards: Vec<&[u8]> = data.iter().map(Vec::as_slice).collect();
        let mut coder = Coder::new(k, m);
        let mut parity = Vec::new();
        best("parity: encode", 64 * k * MIB, &format!("{k} + {m}, bytes of data, one core"), || {
            for _ in 0..64 {
                parity = coder.encode(&shards).unwrap();
            }
        });
        // the first m members are away
        let all: Vec<&[u8]> = shards.iter().copied().chain(parity.iter().map(Vec::as_slice)).collect();
        let there: Vec<(usize, &[u8])> = (m..k + m).map(|slot| (slot, all[slot])).collect();
        best("parity: rebuild", 64 * MIB, &format!("{k} + {m}, bytes of one member, {m} away, one core"), || {
            for _ in 0..64 {
                coder.rebuild(&there, &[0]).unwrap();
            }
        });
    }
}

pub fn store_on(root: &Path, disks: usize, parity: usize, group: Option<usize>, pack_bytes: u64) -> PathBuf {
    let _ = fs::remove_dir_all(root);
    let options = InitOptions {
        store: root.join("store"),
        disks: (0..disks).map(|i| root.join(format!("disk{i}"))).collect(),
        pack_bytes: Some(pack_bytes),
        parity: Some(parity),
        group,
        ..Default::default()
    };
    init::run(&Io::real(), &options).unwrap();
    options.store
}

pub fn open(home: &Path, mode: Mode) -> Store {
    Store::open(&Io::real(), home, &OpenOptions::new(mode, 1 << 30)).unwrap().store
}

pub fn back_up(home: &Path, library: &Path) {
    let options = BackupOptions::of(Source::Paths(vec![library.to_owned()]), "bench");
    backup::run(&open(home, Mode::Write { verb: "backup" }), options, &Control::default()).unwrap();
}

/// Eight disks in memory: backup with and without parity, scrub, restore without two of them.
pub fn verbs() {
    let shm = Path::new("/dev/shm");
    let base = if shm.is_dir() { shm.to_owned() } else { std::env::temp_dir() };
    let root = base.join(format!("onefold-bench-shelf-{}", std::process::id()));
    let library = root.join("library");
    fs::create_dir_all(&library).unwrap();
    for i in 0..FILES {
        fs::write(library.join(format!("{i:02}.bin")), noise(100 + i as u64, FILE_BYTES)).unwrap();
    }
    let bytes = (FILES * FILE_BYTES) as f64;
    let mut rates = Vec::new();
    for parity in [0, 2] {
        let mut fastest = 0f64;
        for _ in 0..3 {
            let home = store_on(&root.join("s"), 8, parity, None, 32 << 20);
            let t = Instant::now();
            back_up(&home, &library);
            fastest = fastest.max(bytes / t.elapsed().as_secs_f64());
        }
        println!("{:<28} {:>7.2} GB/s   parity {parity} on 8 disks, new noise", "backup", fastest / 1e9);
        rates.push(fastest);
    }
    println!("{:<28} {:>6.0} %       of the speed without parity", "backup with parity 2", 100.0 * rates[1] / rates[0]);
    let home = root.join("s/store");
    let t = Instant::now();
    let report =
        scrub::run(&open(&home, Mode::Read), &ScrubOptions::default(), &Control::default(), &mut |_, _| Ok(vec![]));
    let read = report.unwrap().bytes_read as f64;
    println!("{:<28} {:>7.2} GB/s   8 workers", "scrub", read / t.elapsed().as_secs_f64() / 1e9);
    for disk in 0..2 {
        fs::rename(root.join(format!("s/disk{disk}")), root.join(format!("s/gone{disk}"))).unwrap();
    }
    let store = open(&home, Mode::Read);
    let snapshot = snapshots::list(&store, &[]).pop().unwrap();
    let options = RestoreOptions {
        snapshot,
        path: None,
        target: root.join("out"),
        includes: Vec::new(),
        overwrite: false,
        partial: false,
        owner: false,
    };
    let t = Instant::now();
    let report = restore::run(&store, &options, &Control::default()).unwrap();
    assert_eq!(report.files_lost, 0);
    println!("{:<28} {:>7.2} GB/s   two of eight disks away", "restore", bytes / t.elapsed().as_secs_f64() / 1e9);
    fs::remove_dir_all(&root).unwrap();
}
