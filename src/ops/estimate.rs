//! estimate: what a backup would store, forecast from a sample. Stores nothing that stays.
//!
//! Files are chosen by the hash of their names: those with the least ones, as many as the sample has room for, so the
//! same library gives the same sample. Only what stands before the ending counts, so that `clip.mov` and
//! `clip.tagged.mkv`, a copy in another folder and a re-tagged one come into the sample together or not at all
//! (`key`): a sample of single files would find one in `1/f` of the pairs only, `f` being the part that is sampled.
//! They are backed up in a few batches into a store of their own in a scratch folder, which the caller removes; with a
//! store to compare with, a dry run against it tells what that has already, and each batch counts with the lesser of
//! both: near-duplicates among what is new to the store may then count in full. So everything that a backup does
//! (splitters, cuts, codecs, deltas) is in the forecast as it is. Files longer than [`PIECE_BYTES`] are sampled by
//! their beginnings, as a class of their own.
//!
//! # What it cannot see
//!
//! Copies and relatives under other names, of which only one is in the sample. The smaller the part that is sampled,
//! the more of them are missed: a library full of them will take less than forecast. Nor does the range tell of that:
//! it is the spread of the batches alone.

use super::backup::{self, BackupOptions, Source};
use super::init::{self, InitOptions};
use super::{Control, Notice};
use crate::error::{Error, Result};
use crate::format::check::blake3;
use crate::io::Io;
use crate::io::source::{self, FileKind, SourceFile};
use crate::store::{IndexKind, Mode, OpenOptions, Store};
use std::collections::BinaryHeap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

/// Longer files are sampled by so many bytes from their starts.
pub const PIECE_BYTES: u64 = 64 << 20;
/// The sample where none is asked for.
pub const SAMPLE_BYTES: u64 = 1 << 30;
/// Files of a sample, at most: some 100 MB with paths of usual length.
const FILES_MAX: usize = 1 << 18;
/// Names shorter than this (`01`, `cover`) are those of many that are no relatives.
const KEY_BYTES: usize = 6;
/// Parts of the sample whose figures are compared with each other.
const BATCHES: usize = 8;
/// Standard errors on either side that hold nineteen of twenty samples: Student's t for eight batches.
const ERRORS: f64 = 2.4;

/// What to forecast.
pub struct EstimateOptions {
    /// Absolute paths.
    pub paths: Vec<PathBuf>,
    pub sample_bytes: u64,
    /// A folder that does not exist yet, for the sample's own store. The caller removes it.
    pub scratch: PathBuf,
    pub memory_bytes: u64,
    /// The index of the sample's own store.
    pub index: IndexKind,
    pub program: String,
}

/// A forecast.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct EstimateReport {
    pub files: u64,
    pub bytes: u64,
    pub unreadable: u64,
    pub sample_files: u64,
    pub sample_bytes: u64,
    /// The sample is all there is.
    pub whole: bool,
    /// Bytes that a backup would write, most likely, at least and at most.
    pub stored_bytes: u64,
    pub stored_bytes_low: u64,
    pub stored_bytes_high: u64,
    /// A pack's bytes, of the store that was compared with or of a new one.
    pub pack_bytes: u64,
    pub packs: u64,
    /// Bytes that the disks of that store still take.
    pub usable_bytes: Option<u64>,
    /// What the sample took, and what all would take at that rate.
    pub sample_seconds: f64,
    pub seconds: f64,
}

/// A file that may be sampled: the heap keeps those with the least hashes.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Chosen {
    hash: [u8; 16],
    path: Vec<u8>,
    bytes: u64,
}

/// What relatives have in common: the name up to its first dot, and parts behind it that are numbers (frames of a
/// sequence are no relatives); with the folder's name where that is too short to tell anything. Small letters.
fn key(path: &[u8]) -> Vec<u8> {
    let mut names = path.rsplit(|b| *b == b'/');
    let name = names.next().unwrap_or_default();
    let mut parts = name.split(|b| *b == b'.').peekable();
    let mut key = parts.next().unwrap_or_default().to_vec();
    while let Some(part) = parts.next_if(|p| !p.is_empty() && p.iter().all(u8::is_ascii_digit)) {
        key.push(b'.');
        key.extend_from_slice(part);
    }
    if key.len() < KEY_BYTES {
        key.push(b'/');
        key.extend_from_slice(names.next().unwrap_or_default());
    }
    key.make_ascii_lowercase();
    key
}

/// Files of one kind: such as are sampled whole, or by their beginnings.
#[derive(Default)]
struct Class {
    files: u64,
    bytes: u64,
    chosen: BinaryHeap<Chosen>,
    chosen_bytes: u64,
    /// The least hash that was left out: what comes later with a greater one is left out too, however short it is.
    ceiling: Option<[u8; 16]>,
}

impl Class {
    fn add(&mut self, path: &Path, bytes: u64, most: u64) {
        self.files += 1;
        self.bytes = self.bytes.saturating_add(bytes);
        let path = path.as_os_str().as_bytes().to_vec();
        let mut hash = [0; 16];
        hash[..8].copy_from_slice(&blake3(&[&key(&path)])[..8]); // of 32
        hash[8..].copy_from_slice(&blake3(&[&path])[..8]);
        if self.ceiling.is_some_and(|least| hash >= least) {
            return;
        }
        self.chosen.push(Chosen { hash, path, bytes });
        self.chosen_bytes += bytes.min(PIECE_BYTES);
        self.trim(most);
    }

    /// Leaves out the files with the greatest hashes as long as the rest has so many bytes without them.
    fn trim(&mut self, most: u64) {
        while let Some(greatest) = self.chosen.peek() {
            let rest = self.chosen_bytes - greatest.bytes.min(PIECE_BYTES); // it is one of them
            if (rest < most || self.chosen.len() == 1) && self.chosen.len() <= FILES_MAX {
                break;
            }
            (self.chosen_bytes, self.ceiling) = (rest, Some(greatest.hash));
            self.chosen.pop();
        }
    }
}

/// What one batch came to.
#[derive(Clone, Copy, Debug, Default)]
struct Batch {
    bytes: u64,
    stored: u64,
}

/// The forecast for a class: expected bytes and their standard error.
fn forecast(batches: &[Batch], total: u64, whole: bool) -> (f64, f64) {
    let (bytes, stored) = batches.iter().fold((0.0, 0.0), |(b, s), x| (b + x.bytes as f64, s + x.stored as f64));
    if bytes <= 0.0 {
        return (0.0, 0.0);
    }
    let (ratio, n, total) = (stored / bytes, batches.len() as f64, total as f64);
    if whole {
        return (stored, 0.0);
    }
    if batches.len() < 2 {
        return (ratio * total, total); // nothing is known of the spread
    }
    // The ratio estimator's error, less what was sampled (Cochran, Sampling Techniques, 6.4).
    let squares: f64 = batches.iter().map(|b| (b.stored as f64 - ratio * b.bytes as f64).powi(2)).sum();
    let left = (1.0 - bytes / total).max(0.0);
    let error = (left * squares / (n * (n - 1.0))).sqrt() / (bytes / n);
    (ratio * total, error * total)
}

/// Forecasts, without or against a store, which is open for writing since a dry run takes its lock.
///
/// # Errors
/// [`Error::NoSource`] if none of the paths is there, [`Error::Interrupted`], and what the sample's own store meets.
pub fn run(io: &Io, against: Option<&Store>, options: EstimateOptions, control: &Control) -> Result<EstimateReport> {
    control.progress.set_phase("looking around");
    let mut report = EstimateReport::default();
    let mut own: Vec<PathBuf> = against.map(Store::own_folders).unwrap_or_default();
    own.push(options.scratch.clone());
    let mut classes = [Class::default(), Class::default()];
    walk(&options, &own, &mut classes, &mut report, control)?;
    let (mut files, mut bytes) = (0, 0u64);
    for class in &classes {
        (files, bytes) = (files + class.files, bytes.saturating_add(class.bytes));
    }
    (report.files, report.bytes) = (files, bytes);
    // Each class gets of the sample what it has of the bytes, an eighth at least.
    for class in &mut classes {
        let part = (class.bytes as f64 / bytes.max(1) as f64).clamp(0.125, 1.0);
        class.trim((options.sample_bytes as f64 * part) as u64); // at most the sample's bytes
    }
    let made = init::run(io, &InitOptions { store: options.scratch.clone(), ..Default::default() })?;
    report.pack_bytes = against.map_or(made.pack_bytes, |s| s.superblock().pack_bytes);
    let open = OpenOptions {
        memory_bytes: options.memory_bytes,
        mode: Mode::Write { verb: "estimate" },
        index: options.index.clone(),
    };
    let scratch = Store::open(io, &options.scratch, &open)?.store;
    let planned: u64 = classes.iter().map(|c| c.chosen_bytes).sum();
    control.progress.files_done.store(0, Ordering::Relaxed);
    control.progress.bytes_done.store(0, Ordering::Relaxed);
    let (mut expected, mut variance, mut nanos, mut whole) = (0.0, 0.0f64, 0u64, true);
    for (is_long, class) in [false, true].into_iter().zip(classes) {
        let all = class.chosen.len() as u64 == class.files && class.chosen_bytes == class.bytes;
        whole &= all;
        let mut batches = Vec::new();
        let chosen = class.chosen.into_sorted_vec();
        let mut left = chosen.as_slice();
        let wanted = BATCHES.min(chosen.len());
        for i in 0..wanted {
            let (part, rest) = left.split_at(left.len().div_ceil(wanted - i)); // one at least is left for each
            left = rest;
            let begun = io.world.now_ns();
            let mut batch = one(&scratch, &options, part, is_long, false, control)?;
            nanos += u64::try_from(io.world.now_ns().saturating_sub(begun)).unwrap_or(0);
            if let Some(store) = against {
                let there = one(store, &options, part, is_long, true, control)?;
                batch.stored = batch.stored.min(there.stored);
            }
            report.sample_files += part.len() as u64;
            report.sample_bytes += batch.bytes;
            batches.push(batch);
            // What is shown is the sample, not what the backups count.
            control.progress.bytes_total.store(planned, Ordering::Relaxed);
            control.progress.bytes_done.store(report.sample_bytes.min(planned), Ordering::Relaxed);
            control.progress.totals_known.store(true, Ordering::Relaxed);
        }
        let (stored, error) = forecast(&batches, class.bytes, all);
        expected += stored;
        variance += error * error;
    }
    settle(&mut report, expected, variance.sqrt(), nanos, whole);
    report.usable_bytes = against.map(|s| {
        let room = |d: &std::sync::Arc<crate::pool::disk::Disk>| d.room(s.io(), s.superblock().pack_bytes).ok();
        s.pool().disks().filter_map(room).map(|r| r.usable).fold(0, u64::saturating_add)
    });
    Ok(report)
}

fn settle(report: &mut EstimateReport, expected: f64, error: f64, nanos: u64, whole: bool) {
    // Written bytes may exceed the files' a little (headers, folders), never by much.
    let most = report.bytes as f64 * 1.02 + 65_536.0;
    let bytes = |n: f64| n.clamp(0.0, most) as u64; // bounded just here
    report.whole = whole;
    report.stored_bytes = bytes(expected);
    report.stored_bytes_low = bytes(expected - ERRORS * error);
    report.stored_bytes_high = bytes(expected + ERRORS * error);
    report.packs = report.stored_bytes.div_ceil(report.pack_bytes.max(1));
    report.sample_seconds = nanos as f64 / 1e9;
    report.seconds = report.sample_seconds * report.bytes as f64 / report.sample_bytes.max(1) as f64;
}

/// Files below the paths. Symlinks are not followed; what cannot be listed is told and counted.
fn walk(
    options: &EstimateOptions,
    own: &[PathBuf],
    classes: &mut [Class; 2],
    report: &mut EstimateReport,
    control: &Control,
) -> Result<()> {
    let mut found = false;
    // What is still to be looked at, and whether it was named by the user.
    let mut todo: Vec<(PathBuf, bool)> = options.paths.iter().map(|p| (p.clone(), true)).collect();
    while let Some((path, is_source)) = todo.pop() {
        control.proceed()?;
        if own.contains(&path) {
            continue;
        }
        let mut unreadable = |e: &std::io::Error| {
            report.unreadable += 1;
            let path = path.as_os_str().as_bytes().to_vec();
            control.notice(Notice::Unreadable { path, reason: e.to_string() });
        };
        let metadata = match source::lstat(&path) {
            Ok(m) => m,
            Err(e) => {
                unreadable(&e);
                continue;
            }
        };
        found |= is_source;
        match metadata.kind {
            FileKind::Dir => match source::list(&path) {
                Ok(names) => todo.extend(names.iter().map(|n| (path.join(OsStr::from_bytes(n)), false))),
                Err(e) => unreadable(&e),
            },
            FileKind::File => {
                let class = usize::from(metadata.size > PIECE_BYTES);
                if let Some(class) = classes.get_mut(class) {
                    class.add(&path, metadata.size, options.sample_bytes);
                }
                control.progress.files_done.fetch_add(1, Ordering::Relaxed);
            }
            _ => {}
        }
    }
    if found {
        return Ok(());
    }
    Err(Error::NoSource { paths: options.paths.iter().map(|p| p.display().to_string()).collect() })
}

/// The first bytes of a file.
struct Head {
    file: SourceFile,
    at: u64,
}

impl std::io::Read for Head {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        let left = usize::try_from(PIECE_BYTES.saturating_sub(self.at)).unwrap_or(usize::MAX);
        let n = into.len().min(left);
        let n = self.file.read_at(&mut into[..n], self.at)?; // n is within it
        self.at += n as u64;
        Ok(n)
    }
}

/// Backs a batch up and tells what it wrote, or what it would write.
fn one(
    store: &Store,
    options: &EstimateOptions,
    part: &[Chosen],
    is_long: bool,
    dry_run: bool,
    control: &Control,
) -> Result<Batch> {
    let mut batch = Batch::default();
    let mut back_up = |source: Source| -> Result<()> {
        let options = BackupOptions {
            force: true,
            dry_run,
            host: Some("estimate".into()),
            ..BackupOptions::of(source, &options.program)
        };
        let report = backup::run(store, options, control)?;
        batch.bytes = batch.bytes.saturating_add(report.counts.bytes);
        batch.stored = batch.stored.saturating_add(report.counts.data_added_packed);
        Ok(())
    };
    if !is_long {
        // The first of each family, then the others: in a backup of all relatives seldom are on their way at the same
        // time, and only what is written already can be coded against.
        let is_first =
            |i: usize| i == 0 || part.get(i - 1).zip(part.get(i)).is_some_and(|(a, b)| a.hash[..8] != b.hash[..8]);
        let (mut first, mut others) = (Vec::new(), Vec::new());
        for (i, chosen) in part.iter().enumerate() {
            let path = PathBuf::from(OsStr::from_bytes(&chosen.path));
            if dry_run || is_first(i) { first.push(path) } else { others.push(path) }
        }
        for paths in [first, others].into_iter().filter(|p| !p.is_empty()) {
            match back_up(Source::Paths(paths)) {
                Err(Error::NoSource { .. }) => {} // all of them went in the meantime
                other => other?,
            }
        }
        return Ok(batch);
    }
    for chosen in part {
        control.proceed()?;
        match SourceFile::open(Path::new(OsStr::from_bytes(&chosen.path))) {
            Ok(file) => {
                let name = crate::format::id::hex(&chosen.hash).into_bytes();
                back_up(Source::Stream { name, input: Box::new(Head { file, at: 0 }) })?;
            }
            Err(e) => {
                control.notice(Notice::Unreadable { path: chosen.path.clone(), reason: e.to_string() });
            }
        }
    }
    Ok(batch)
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Shelf, noise};
    use super::*;
    use crate::index::MemoryIndex;
    use crate::store::MEMORY_MIN;
    use std::sync::Arc;

    fn options(at: &Path, sample_bytes: u64) -> EstimateOptions {
        EstimateOptions {
            paths: vec![at.to_owned()],
            sample_bytes,
            scratch: "/scratch/store".into(),
            memory_bytes: MEMORY_MIN,
            index: IndexKind::Memory(Arc::new(MemoryIndex::new())),
            program: "test".into(),
        }
    }

    fn library() -> tempfile::TempDir {
        let library = tempfile::tempdir().unwrap();
        for i in 0..60u64 {
            let dir = library.path().join(format!("{}", i % 7));
            std::fs::create_dir_all(&dir).unwrap();
            let text = format!("line {i} of what compresses well\n").repeat(3000).into_bytes();
            let bytes = if i % 3 == 0 { text } else { noise(i, 100_000) };
            std::fs::write(dir.join(format!("{i}")), bytes).unwrap();
        }
        library
    }

    #[test]
    fn a_sample_of_everything_is_what_a_backup_writes() {
        let library = library();
        let shelf = Shelf::new(1);
        let r = run(&shelf.io, None, options(library.path(), 1 << 30), &Control::default()).unwrap();
        assert_eq!((r.files, r.sample_files, r.whole), (60, 60, true));
        assert_eq!((r.bytes, r.stored_bytes_low), (r.sample_bytes, r.stored_bytes_high));
        assert!(r.stored_bytes > 4_000_000 && r.stored_bytes < 4_500_000, "the texts are next to nothing: {r:?}");
        assert!(r.packs >= 1 && r.usable_bytes.is_none());
    }

    #[test]
    fn a_part_is_forecast_with_a_range_and_the_same_part_each_time() {
        let library = library();
        let of = |sample| {
            let shelf = Shelf::new(1);
            run(&shelf.io, None, options(library.path(), sample), &Control::default()).unwrap()
        };
        let r = of(2_500_000);
        assert!(!r.whole && r.sample_bytes >= 2_500_000 && r.sample_bytes < 2_620_000, "{r:?}");
        assert!(r.stored_bytes_low < r.stored_bytes && r.stored_bytes < r.stored_bytes_high, "{r:?}");
        // The folder's name is another in each run, and so is the sample: three times the range holds for all of them.
        let truth = of(1 << 30).stored_bytes;
        let range = r.stored_bytes_high - r.stored_bytes_low;
        assert!(r.stored_bytes.abs_diff(truth) < 3 * range, "{truth}: {r:?}");
        assert_eq!(of(2_500_000).stored_bytes.abs_diff(r.stored_bytes) / 10_000, 0, "chosen by their names");
    }

    #[test]
    fn what_a_store_has_already_is_not_counted_and_the_store_stays_as_it_is() {
        let library = library();
        let shelf = Shelf::new(2);
        shelf.back_up(library.path());
        std::fs::write(library.path().join("new"), noise(999, 200_000)).unwrap();
        let before = shelf.fs.paths();
        let store = shelf.write();
        let r = run(&shelf.io, Some(&store), options(library.path(), 1 << 30), &Control::default()).unwrap();
        assert!(r.stored_bytes > 200_000 && r.stored_bytes < 330_000, "{r:?}");
        assert!(r.usable_bytes.is_some());
        let after: Vec<_> = shelf.fs.paths().into_iter().filter(|p| !p.starts_with("/scratch")).collect();
        assert_eq!(after, before);
        let gone = run(&shelf.io, None, options(Path::new("/no/such"), 1 << 20), &Control::default());
        assert!(matches!(gone, Err(Error::NoSource { .. })));
    }

    #[test]
    fn relatives_come_into_the_sample_together() {
        let same = |a: &str, b: &str| key(a.as_bytes()) == key(b.as_bytes());
        assert!(same("/a/Long Title.wav", "/b/c/long title.tagged.flac"));
        assert!(same("/x/remux/clip.mkv", "/y/remux/clip.subs.mp4") && !same("/a/01.mp3", "/b/01.mp3"));
        assert!(!same("/s/frames.0001.dpx", "/s/frames.0002.dpx") && same("/s/frames.0001.dpx", "/t/frames.0001.tif"));
        assert_eq!((key(b"/"), key(b".x")), (b"/".to_vec(), b"/".to_vec()));
    }

    #[test]
    fn batches_that_agree_give_a_narrow_range() {
        let even = [Batch { bytes: 100, stored: 50 }; 8];
        assert_eq!(forecast(&even, 8_000, false), (4_000.0, 0.0));
        let odd: Vec<Batch> = (0..8).map(|i| Batch { bytes: 100, stored: if i % 2 == 0 { 0 } else { 100 } }).collect();
        let (expected, error) = forecast(&odd, 8_000, false);
        assert_eq!(expected, 4_000.0);
        assert!(error > 1_000.0 && error < 2_000.0, "{error}");
        assert_eq!(forecast(&odd, 800, true).1, 0.0);
        assert_eq!(forecast(&[], 0, true), (0.0, 0.0));
    }
}
