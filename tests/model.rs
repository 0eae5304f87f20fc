//! Random operations against a plain map: what each snapshot held is what each snapshot gives.
//!
//! The store lies on the disk in memory, the sources and targets are real folders. Each seed runs its own
//! history of edits, backups, lost and old indexes, power cuts between runs and disks that go and come
//! back; after every step some snapshot, and at the end every one, is restored and compared file by file.
//! `ONEFOLD_MODEL_SEEDS` (how many) and `ONEFOLD_MODEL_FIRST` (from which) make longer runs.

use crate::support::{Files, Rng, noise, options};
use onefold::index::MemoryIndex;
use onefold::io::memory::{ManualWorld, MemFs};
use onefold::io::{Fs, Io};
use onefold::ops::backup::{self, Source};
use onefold::ops::init::{self, InitOptions};
use onefold::ops::restore::{self, RestoreOptions};
use onefold::ops::{Control, snapshots};
use onefold::store::{IndexKind, Mode, OpenOptions, Store};
use std::fs;
use std::path::Path;
use std::sync::Arc;

struct World {
    fs: MemFs,
    index: Arc<MemoryIndex>,
    source: tempfile::TempDir,
    files: Files,
    /// What each snapshot must give, oldest first.
    expected: Vec<Files>,
    seed: u64,
}

impl World {
    fn io(&self) -> Io {
        let world =
            ManualWorld::new(1_700_000_000_000_000_000, self.seed.wrapping_add(self.expected.len() as u64 * 77));
        world.set_tick(1_000_000);
        Io { fs: Arc::new(self.fs.clone()), world: Arc::new(world) }
    }

    fn open(&self, mode: Mode) -> Store {
        let options = OpenOptions { memory_bytes: 256 << 20, mode, index: IndexKind::Memory(Arc::clone(&self.index)) };
        Store::open(&self.io(), Path::new("/store"), &options).unwrap().store
    }

    fn edit(&mut self, rng: &mut Rng) {
        for _ in 0..=rng.next(4) {
            let name = format!("{}/{}", ["a", "b", "c/d"][rng.next(3) as usize], rng.next(12));
            let path = self.source.path().join(&name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            let old = self.files.get(&name).cloned();
            let new = match (rng.next(5), old) {
                (0, Some(_)) => {
                    fs::remove_file(&path).unwrap();
                    self.files.remove(&name);
                    continue;
                }
                (1, Some(mut bytes)) => {
                    let at = rng.next(bytes.len() as u64 + 1) as usize;
                    bytes.splice(at..at, noise(rng.0, rng.next(2000) as usize));
                    bytes
                }
                (2, _) => vec![rng.next(256) as u8; rng.next(3_000_000) as usize],
                (3, _) => noise(rng.0, rng.next(600) as usize),
                _ => noise(rng.0, rng.next(1_500_000) as usize),
            };
            fs::write(&path, &new).unwrap();
            self.files.insert(name, new);
        }
    }

    fn backup(&mut self, rng: &mut Rng) {
        let store = self.open(Mode::Write { verb: "backup" });
        let source = Source::Paths(vec![self.source.path().to_owned()]);
        backup::run(&store, options(source, rng.next(4) == 0), &Control::default()).unwrap();
        self.expected.push(self.files.clone());
    }

    fn check(&self, nth: usize) {
        let store = self.open(Mode::Read);
        let all = snapshots::list(&store, &[]);
        assert_eq!(all.len(), self.expected.len());
        let target = tempfile::tempdir().unwrap();
        let options = RestoreOptions {
            snapshot: all[nth].clone(),
            path: Some(self.source.path().as_os_str().as_encoded_bytes().to_vec()),
            target: target.path().to_owned(),
            includes: vec![],
            overwrite: false,
            owner: false,
            partial: false,
        };
        let report = restore::run(&store, &options, &Control::default()).unwrap();
        assert_eq!((report.files_lost, report.failed), (0, 0));
        let mut got = Files::new();
        let mut todo = vec![target.path().to_owned()];
        while let Some(dir) = todo.pop() {
            for entry in fs::read_dir(dir).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    todo.push(path);
                } else {
                    let name = path.strip_prefix(target.path()).unwrap().to_str().unwrap().to_owned();
                    got.insert(name, fs::read(path).unwrap());
                }
            }
        }
        assert!(got == self.expected[nth], "snapshot {nth}: {:?} / {:?}", got.keys(), self.expected[nth].keys());
    }
}

fn history(seed: u64) {
    let mut rng = Rng(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let fs = MemFs::new();
    for dir in ["/disks", "/store"] {
        fs.create_dir_all(Path::new(dir)).unwrap();
    }
    fs.sync_dir(Path::new("/")).unwrap();
    let mut world = World {
        fs,
        index: Arc::default(),
        source: tempfile::tempdir().unwrap(),
        files: Files::new(),
        expected: Vec::new(),
        seed,
    };
    let disks = (0..=rng.next(4)).map(|i| format!("/disks/{i}").into()).collect();
    init::run(
        &world.io(),
        &InitOptions { store: "/store".into(), disks, pack_bytes: Some(1 << 20), ..Default::default() },
    )
    .unwrap();
    let mut old_index = world.index.snapshot();
    for _ in 0..8 {
        match rng.next(8) {
            0 => world.index = Arc::default(),
            1 => old_index = world.index.snapshot(),
            2 => world.index = Arc::new(old_index.snapshot()),
            3 => world.fs = world.fs.crash(rng.0),
            4 => world.fs = world.fs.crash_strict(),
            _ => {
                world.edit(&mut rng);
                world.backup(&mut rng);
            }
        }
        if !world.expected.is_empty() {
            world.check(rng.next(world.expected.len() as u64) as usize);
        }
    }
    for nth in 0..world.expected.len() {
        world.check(nth);
    }
}

#[test]
fn every_snapshot_gives_what_it_was_given() {
    let setting = |name: &str, default: u64| std::env::var(name).ok().and_then(|v| v.parse().ok()).unwrap_or(default);
    let (first, count) = (setting("ONEFOLD_MODEL_FIRST", 1), setting("ONEFOLD_MODEL_SEEDS", 40));
    for seed in first..first + count {
        println!("seed {seed}"); // shown when the test fails
        history(seed);
    }
}
