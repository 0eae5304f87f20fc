//! Rebuilding, over disks that each have a speed of their own: how near it comes to what they can give together.
//!
//! A disk does one thing at a time, each as long as its bytes take at its speed. Reads, writes and what is read back to prove it
//! all count. No run can be faster than its busiest disk: the time is compared with that. Memory holds the bytes.

use super::noise;
use super::shelf::{back_up, open, store_on};
use onefold::io::{DirEntry, File, Fs, Io, Kind, Lock, Space};
use onefold::ops::Control;
use onefold::ops::shelf::add::{self, AddOptions};
use onefold::ops::shelf::{self, Purpose, moves, plan};
use onefold::store::{Mode, OpenOptions, Store};
use std::fs;
use std::io::{IoSlice, Result};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

const MIB: usize = 1 << 20;
const DISKS: usize = 10;

/// A disk: when it is free again, and what it did.
struct Head {
    folder: PathBuf,
    /// Bytes a second; 0 for as fast as memory is.
    rate: u64,
    free: Mutex<Instant>,
    bytes: AtomicU64,
}

impl Head {
    fn take(&self, bytes: usize) {
        self.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
        if self.rate == 0 {
            return;
        }
        let until = {
            let mut free = self.free.lock().unwrap();
            *free = (*free).max(Instant::now()) + Duration::from_secs_f64(bytes as f64 / self.rate as f64);
            *free
        };
        std::thread::sleep(until.saturating_duration_since(Instant::now()));
    }

    fn busy(&self) -> f64 {
        self.bytes.load(Ordering::Relaxed) as f64 / self.rate.max(1) as f64
    }
}

struct Paced {
    inner: Arc<dyn Fs>,
    heads: Vec<Arc<Head>>,
}

struct PacedFile {
    inner: Arc<dyn File>,
    head: Option<Arc<Head>>,
}

impl Paced {
    fn file(&self, path: &Path, inner: Arc<dyn File>) -> Arc<dyn File> {
        let head = self.heads.iter().find(|h| path.starts_with(&h.folder)).cloned();
        Arc::new(PacedFile { inner, head })
    }
}

impl File for PacedFile {
    fn read_at(&self, into: &mut [u8], offset: u64) -> Result<usize> {
        let n = self.inner.read_at(into, offset)?;
        self.head.iter().for_each(|h| h.take(n));
        Ok(n)
    }

    fn write_all_at(&self, parts: &[IoSlice<'_>], offset: u64) -> Result<()> {
        self.head.iter().for_each(|h| h.take(parts.iter().map(|p| p.len()).sum()));
        self.inner.write_all_at(parts, offset)
    }

    fn sync(&self) -> Result<()> {
        self.inner.sync()
    }

    fn len(&self) -> Result<u64> {
        self.inner.len()
    }

    fn drop_cache(&self, offset: u64, len: u64) -> Result<()> {
        self.inner.drop_cache(offset, len)
    }
}

impl Fs for Paced {
    fn open(&self, path: &Path) -> Result<Arc<dyn File>> {
        Ok(self.file(path, self.inner.open(path)?))
    }

    fn create_new(&self, path: &Path) -> Result<Arc<dyn File>> {
        Ok(self.file(path, self.inner.create_new(path)?))
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<()> {
        self.inner.rename(from, to)
    }

    fn rename_new(&self, from: &Path, to: &Path) -> Result<()> {
        self.inner.rename_new(from, to)
    }

    fn link(&self, from: &Path, to: &Path) -> Result<()> {
        self.inner.link(from, to)
    }

    fn remove_file(&self, path: &Path) -> Result<()> {
        self.inner.remove_file(path)
    }

    fn remove_dir(&self, path: &Path) -> Result<()> {
        self.inner.remove_dir(path)
    }

    fn create_dir_all(&self, path: &Path) -> Result<()> {
        self.inner.create_dir_all(path)
    }

    fn list(&self, path: &Path) -> Result<Vec<DirEntry>> {
        self.inner.list(path)
    }

    fn sync_dir(&self, path: &Path) -> Result<()> {
        self.inner.sync_dir(path)
    }

    fn stat(&self, path: &Path) -> Result<Option<(Kind, u64)>> {
        self.inner.stat(path)
    }

    fn space(&self, path: &Path) -> Result<Space> {
        self.inner.space(path)
    }

    fn try_lock(&self, path: &Path) -> Result<Option<Box<dyn Lock>>> {
        self.inner.try_lock(path)
    }

    fn write_lock_note(&self, path: &Path, note: &[u8]) -> Result<()> {
        self.inner.write_lock_note(path, note)
    }
}

/// Processor seconds of this process so far: the kernel counts in hundredths.
fn cpu_seconds() -> f64 {
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = |i: usize| fields.get(i).and_then(|f| f.parse::<f64>().ok()).unwrap_or(0.0);
    (ticks(11) + ticks(12)) / 100.0
}

fn heads(root: &Path, rates: impl Fn(usize) -> u64) -> Vec<Arc<Head>> {
    let head = |i: usize| Head {
        folder: root.join(format!("s/disk{i}")),
        rate: rates(i),
        free: Mutex::new(Instant::now()),
        bytes: AtomicU64::new(0),
    };
    (0..=DISKS).map(|i| Arc::new(head(i))).collect()
}

/// What it is called, whether onto a new disk, and the bytes a second of each disk, by its number; 0: no bound.
type Way<'a> = (&'a str, bool, &'a dyn Fn(usize) -> u64);

/// One of ten disks is gone. It is rebuilt onto a new one, or onto the others.
pub fn rebuild() {
    let shm = Path::new("/dev/shm");
    let base = if shm.is_dir() { shm.to_owned() } else { std::env::temp_dir() };
    let root = base.join(format!("onefold-bench-rebuild-{}", std::process::id()));
    let library = root.join("library");
    fs::create_dir_all(&library).unwrap();
    for i in 0..32u64 {
        fs::write(library.join(format!("{i:02}.bin")), noise(100 + i, 32 * MIB)).unwrap();
    }
    let unequal = |i: usize| [60, 80, 100, 120][i % 4] * 1_000_000;
    let ways: [Way<'_>; 4] = [
        ("ten disks of 100 MB/s, onto a new one", true, &|_| 100_000_000),
        ("ten disks of 100 MB/s, onto the others", false, &|_| 100_000_000),
        ("ten disks of 60 to 120 MB/s, onto the others", false, &unequal),
        ("ten disks as fast as memory, onto the others", false, &|_| 0),
    ];
    for (what, by_new, rates) in ways {
        let home = store_on(&root.join("s"), DISKS, 2, Some(6), 8 << 20);
        back_up(&home, &library);
        fs::rename(root.join("s/disk3"), root.join("gone")).unwrap();
        let heads = heads(&root, rates);
        let real = Io::real();
        let io = Io { fs: Arc::new(Paced { inner: Arc::clone(&real.fs), heads: heads.clone() }), world: real.world };
        let open_paced = || {
            let options = OpenOptions::new(Mode::Write { verb: "disk replace" }, 1 << 30);
            Store::open(&io, &home, &options).unwrap().store
        };
        let purpose = if by_new {
            let path = root.join(format!("s/disk{DISKS}"));
            let new = AddOptions { path: path.clone(), label: None, domain: String::new(), reuse: false };
            add::run(&open(&home, Mode::Write { verb: "disk add" }), &new).unwrap();
            let by = open_paced().pool().disks().find(|d| d.path == path).map(|d| d.id);
            Purpose::Replace { by }
        } else {
            Purpose::Drain
        };
        let store = open_paced();
        let from = shelf::find(&store, "disk3", &root.join("s/disk3")).unwrap();
        let planned = plan::plan(&store, from, purpose);
        heads.iter().for_each(|h| h.bytes.store(0, Ordering::Relaxed));
        let (t, cpu) = (Instant::now(), cpu_seconds());
        let moved = moves::run(&store, &planned, &Control::default()).unwrap();
        let (seconds, cpu) = (t.elapsed().as_secs_f64(), cpu_seconds() - cpu);
        assert_eq!((moved.failed.len(), moved.bytes), (0, planned.move_bytes));
        let by_disks: u64 = heads.iter().map(|h| h.bytes.load(Ordering::Relaxed)).sum();
        let busiest = heads.iter().filter(|h| h.rate > 0).map(|h| h.busy()).fold(0.0, f64::max);
        let rebuilt = moved.bytes as f64 / 1e9;
        println!("{:<28} {:>7.2} GB/s   of all disks together; {what}", "rebuild", by_disks as f64 / 1e9 / seconds);
        println!("{:<28} {:>7.3} GB/s   rebuilt, {rebuilt:.2} GB", "", rebuilt / seconds);
        println!("{:<28} {:>7.2} GB/s   of disks a core; {cpu:.2} s of a core", "", by_disks as f64 / 1e9 / cpu);
        if busiest > 0.0 {
            println!("{:<28} {:>6.0} %      of the time the busiest disk was at work", "", 100.0 * busiest / seconds);
            let all: f64 = heads.iter().take(DISKS + usize::from(by_new)).map(|h| h.busy()).sum();
            let there = DISKS - 1 + usize::from(by_new);
            println!(
                "{:<28} {:>6.0} %      of the time the disks were, on average",
                "",
                100.0 * all / seconds / there as f64
            );
        }
        drop(store);
        fs::remove_dir_all(root.join("gone")).unwrap();
    }
    fs::remove_dir_all(&root).unwrap();
}
