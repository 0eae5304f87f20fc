//! estimate: what a backup would store, forecast from a sample. Stores nothing that stays.
//!
//! Relatives decide what a library takes, so the sample is broad rather than deep: of every file its beginning, as long as
//! there is room for that, else of some. Those are chosen by the hash of their names, the ones with the least, so the same
//! library gives the same sample. Only what stands before the ending counts, so that `clip.mov` and `clip.tagged.mkv`, a
//! copy in another folder and a re-tagged one, a *family*, come into the sample together or not at all (`key`): a sample
//! of single files would find one in `1/f` of the pairs only, `f` being the part that is sampled. Of the files of a family
//! the same part is read, so that the beginning of a FLAC tells of the same seconds as that of its WAV.
//!
//! The beginnings are backed up into a store of their own in a scratch folder, which the caller removes, so everything
//! that a backup does (splitters, cuts, codecs, deltas) is in the forecast as it is. What it costs is told file by file
//! ([`Survey`]). With a store to compare with, a dry run against it tells what that has already, and each file counts with
//! the lesser of both: near-duplicates among what is new to the store may then count in full.
//!
//! # From beginnings to files
//!
//! Beginnings cost more than what follows: tags and their pictures stand there; near their ends relatives do not meet,
//! since the same seconds lie further on in the one than in the other; a recording begins louder than it ends. So the
//! sample is backed up a second time, each beginning to its half, into another store. What the second half of a beginning
//! adds to what its essence costs, wrappers aside, is what the rest of the file is taken to cost.
//!
//! # What it cannot see
//!
//! Copies and relatives under other names, of which only one is in the sample, and of those that are, what lies at
//! different depths: a part of a long recording, members of an archive. A library full of them will take less than
//! forecast. The range tells of two things: how much families differ from each other, where not all are in the sample, and
//! how much depends on the reckoning from beginnings to files.

use super::backup::{self, BackupOptions, Cost, Source, Survey};
use super::init::{self, InitOptions};
use super::{Control, Notice};
use crate::error::{Error, Result};
use crate::format::check::blake3;
use crate::io::Io;
use crate::io::source::{self, FileKind};
use crate::store::{IndexKind, Mode, OpenOptions, Store};
use std::collections::{BinaryHeap, HashMap};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// No more is read of a file, unless there is room for all of every file.
const HEAD_MAX: u64 = 64 << 20;
/// At least so much is read of the longest file of a family: the last that leaves every file in the sample, or half of them;
/// where so many cannot be, the first. With less, little is seen of the essence behind the pictures of tags.
const HEAD_MIN: [u64; 4] = [1 << 20, 512 << 10, 256 << 10, 128 << 10];
/// And so many parts of it.
const HEAD_PARTS: u64 = 64;
/// At least so much is read of the others: a chunk of the least length.
const OTHERS_MIN: u64 = 64 << 10;
/// What is read of a family's essence behind its half says at what rate it goes on if it is so much, else what all say
/// counts.
const RATE_MIN: f64 = (128 << 10) as f64;
/// The sample where none is asked for.
pub const SAMPLE_BYTES: u64 = 1 << 30;
/// Files of a sample, at most: some 100 MB with paths of usual length.
const FILES_MAX: usize = 1 << 17;
/// Names shorter than this (`01`, `cover`) are those of many that are no relatives.
const KEY_BYTES: usize = 6;
/// Parts of the sample whose figures are compared with each other.
const BATCHES: usize = 8;
/// Standard errors on either side that hold nineteen of twenty samples: Student's t for eight batches.
const ERRORS: f64 = 2.4;
/// What is reckoned of the rest of a file is off by so much of it at least.
const REST_ERROR: f64 = 0.07;

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

impl Chosen {
    fn family(&self) -> &[u8] {
        &self.hash[..8] // of 16
    }

    fn path(&self) -> PathBuf {
        PathBuf::from(OsStr::from_bytes(&self.path))
    }
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

/// Bytes that are read of a family's longest file, at least.
fn least_head(longest: u64, least: u64) -> u64 {
    (longest / HEAD_PARTS).clamp(least, HEAD_MAX).min(longest)
}

/// The sample: files with the least hashes.
struct Sample {
    files: u64,
    bytes: u64,
    chosen: BinaryHeap<Chosen>,
    /// Bytes that are read of the chosen ones, at least.
    least_bytes: u64,
    /// The least hash that was left out: what comes later with a greater one is left out too, however short it is.
    ceiling: Option<[u8; 16]>,
}

impl Sample {
    fn new() -> Sample {
        Sample { files: 0, bytes: 0, chosen: BinaryHeap::new(), least_bytes: 0, ceiling: None }
    }

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
        let [.., least] = HEAD_MIN;
        self.least_bytes += least_head(bytes, least);
        self.trim(most, least);
    }

    /// Leaves out the files with the greatest hashes as long as the rest has so many bytes without them.
    fn trim(&mut self, most: u64, least: u64) {
        while let Some(greatest) = self.chosen.peek() {
            let rest = self.least_bytes - least_head(greatest.bytes, least); // it is one of them
            if (rest < most || self.chosen.len() == 1) && self.chosen.len() <= FILES_MAX {
                break;
            }
            (self.least_bytes, self.ceiling) = (rest, Some(greatest.hash));
            self.chosen.pop();
        }
    }

    /// The chosen files, families together and in order of path within them, and what is to be read of each: in all no
    /// more than `most`, about.
    fn settle(mut self, most: u64) -> Vec<(Chosen, u64)> {
        if (self.chosen.len() as u64) < self.files / 2 {
            let [least, ..] = HEAD_MIN;
            self.least_bytes = self.chosen.iter().map(|c| least_head(c.bytes, least)).sum();
            self.trim(most, least);
        }
        let mut chosen = self.chosen.into_vec();
        chosen.sort_by(|a, b| (a.family(), &a.path).cmp(&(b.family(), &b.path)));
        let heads = |least: u64, part: f64| -> Vec<u64> {
            let of_family = |family: &[Chosen]| {
                let longest = family.iter().map(|c| c.bytes).max().unwrap_or(0);
                let head = least_head(longest, least).max((part * longest as f64) as u64); // of no more than the file
                let part = head as f64 / longest.max(1) as f64;
                let of = |c: &Chosen| ((part * c.bytes as f64) as u64).max(OTHERS_MIN).min(c.bytes);
                family.iter().map(of).collect::<Vec<_>>()
            };
            chosen.chunk_by(|a, b| a.family() == b.family()).flat_map(of_family).collect()
        };
        let fits = |heads: &[u64]| heads.iter().sum::<u64>() <= most;
        let [.., mut least] = HEAD_MIN;
        let mut best = heads(least, 1.0);
        if !fits(&best) {
            least = HEAD_MIN.into_iter().find(|least| fits(&heads(*least, 0.0))).unwrap_or(least);
            // The greatest part that is within the room is found by halves.
            let (mut low, mut high) = (0.0, 1.0);
            best = heads(least, low);
            for _ in 0..20 {
                let middle = (low + high) / 2.0;
                let tried = heads(least, middle);
                if fits(&tried) {
                    (low, best) = (middle, tried);
                } else {
                    high = middle;
                }
            }
        }
        chosen.into_iter().zip(best).collect()
    }
}

/// What one batch came to: its files' bytes, and what is reckoned to be stored of them.
#[derive(Clone, Copy, Debug, Default)]
struct Batch {
    bytes: f64,
    stored: f64,
}

/// A family: what its beginnings came to, and their second halves.
#[derive(Clone, Copy, Debug, Default)]
struct Family {
    /// Of its files.
    bytes: f64,
    /// Of the beginnings.
    head: f64,
    stored: f64,
    /// Essence behind the half of the beginnings, and what was stored of it.
    more: f64,
    more_stored: f64,
}

impl Family {
    fn add(&mut self, bytes: u64, head: &Cost, half: Option<&Cost>) {
        self.bytes += bytes as f64;
        self.head += head.bytes as f64;
        self.stored += head.stored() as f64;
        if let Some(half) = half.filter(|_| head.bytes < bytes) {
            self.more += head.essence_bytes() as f64 - half.essence_bytes() as f64;
        }
        if let Some(half) = half {
            self.more_stored += head.essence_stored as f64 - half.essence_stored as f64;
        }
    }

    /// What the whole files are reckoned to take, where essence goes on at `rate` unless the family tells its own.
    fn whole(&self, rate: f64) -> f64 {
        let rate = if self.more >= RATE_MIN { self.more_stored / self.more } else { rate };
        self.stored + (self.bytes - self.head) * rate
    }
}

/// Batches of families, and by how much the reckoning from beginnings to whole files may be off, for all of the sample.
fn reckon(families: &[Family]) -> (Vec<Batch>, f64) {
    let sum = |of: fn(&Family) -> f64| families.iter().map(of).sum::<f64>();
    let (bytes, head) = (sum(|f| f.bytes), sum(|f| f.head));
    let (more, more_stored) = (sum(|f| f.more), sum(|f| f.more_stored));
    // Where nothing but tags was seen they tell nothing of the rest.
    let rate = if more >= RATE_MIN.min((bytes - head) / 16.0) { (more_stored / more.max(1.0)).max(0.0) } else { 1.0 };
    let size = families.len().div_ceil(BATCHES).max(1);
    let batch = |part: &[Family]| Batch {
        bytes: part.iter().map(|f| f.bytes).sum(),
        // Relatives of other families may be counted for the one in the first half and for the other in the second.
        stored: part.iter().map(|f| f.whole(rate)).sum(),
    };
    let batches: Vec<Batch> = families.chunks(size).map(batch).collect();
    let reckoned: f64 = batches.iter().map(|b| b.stored).sum();
    let rest = (bytes - head) / bytes.max(1.0);
    // As if all went on as it begins, or at least a part of what was reckoned.
    let each = |f: &Family| f.stored * f.bytes / f.head.max(1.0);
    let error = (families.iter().map(each).sum::<f64>() - reckoned).abs().max(REST_ERROR * reckoned);
    (batches, rest * error)
}

/// The forecast for all files: expected bytes and their standard error, as far as it comes from the choice of families.
fn forecast(batches: &[Batch], total: f64, all: bool) -> (f64, f64) {
    let (bytes, stored) = batches.iter().fold((0.0, 0.0), |(b, s), x| (b + x.bytes, s + x.stored));
    if bytes <= 0.0 {
        return (0.0, 0.0);
    }
    let (ratio, n) = (stored / bytes, batches.len() as f64);
    if all {
        return (stored, 0.0);
    }
    if batches.len() < 2 {
        return (ratio * total, total); // nothing is known of the spread
    }
    // The ratio estimator's error, less what was sampled (Cochran, Sampling Techniques, 6.4).
    let squares: f64 = batches.iter().map(|b| (b.stored - ratio * b.bytes).powi(2)).sum();
    let left = (1.0 - bytes / total).max(0.0);
    let error = (left * squares / (n * (n - 1.0))).sqrt() / (bytes / n);
    (ratio * total, error * total)
}

/// What a backup of beginnings came to.
struct Seen {
    costs: HashMap<PathBuf, Cost>,
    /// Bytes beside the files' records: folders, entries, packs' ends.
    others: u64,
}

/// Forecasts, without or against a store, which is open for writing since a dry run takes its lock.
///
/// # Errors
/// [`Error::NoSource`] if none of the paths is there, [`Error::Interrupted`], and what the sample's own stores meet.
pub fn run(io: &Io, against: Option<&Store>, options: EstimateOptions, control: &Control) -> Result<EstimateReport> {
    control.progress.set_phase("looking around");
    let mut report = EstimateReport::default();
    let mut own: Vec<PathBuf> = against.map(Store::own_folders).unwrap_or_default();
    own.push(options.scratch.clone());
    let mut sample = Sample::new();
    walk(&options, &own, &mut sample, &mut report, control)?;
    (report.files, report.bytes) = (sample.files, sample.bytes);
    let mut sample = sample.settle(options.sample_bytes);
    let all = sample.len() as u64 == report.files;
    let is_cut = sample.iter().any(|(chosen, head)| *head < chosen.bytes);
    control.progress.files_done.store(0, Ordering::Relaxed);
    control.progress.bytes_done.store(0, Ordering::Relaxed);

    let begun = io.world.now_ns();
    let (head, pack_bytes) = seen(io, against, &options, "heads", &sample, &|(_, head)| *head, control)?;
    let nanos = u64::try_from(io.world.now_ns().saturating_sub(begun)).unwrap_or(0);
    report.pack_bytes = pack_bytes;
    report.sample_files = head.costs.len() as u64;
    report.sample_bytes = head.costs.values().map(|c| c.bytes).sum();
    sample.retain(|(chosen, _)| head.costs.contains_key(&chosen.path())); // the others are told of already
    let half = match is_cut {
        true => {
            let read = |(chosen, head): &(Chosen, u64)| if *head < chosen.bytes { head / 2 } else { *head };
            seen(io, against, &options, "halves", &sample, &read, control)?.0.costs
        }
        false => HashMap::new(),
    };
    let mut families = Vec::new();
    for files in sample.chunk_by(|(a, _), (b, _)| a.family() == b.family()) {
        let mut family = Family::default();
        for (chosen, _) in files {
            let path = chosen.path();
            if let Some(cost) = head.costs.get(&path) {
                family.add(chosen.bytes.max(cost.bytes), cost, half.get(&path));
            }
        }
        families.push(family);
    }
    let (batches, off) = reckon(&families);
    let (expected, error) = forecast(&batches, report.bytes as f64, all);
    let sampled: f64 = batches.iter().map(|b| b.bytes).sum();
    let off = off * (report.bytes as f64 / sampled.max(1.0)).max(1.0);
    let others = head.others as f64 * (report.files as f64 / report.sample_files.max(1) as f64).max(1.0);
    settle(&mut report, expected.max(0.0) + others, error.hypot(off), nanos, all && !is_cut);
    report.usable_bytes = against.map(|s| {
        let room = |d: &Arc<crate::pool::disk::Disk>| d.room(s.io(), s.superblock().pack_bytes).ok();
        s.pool().disks().filter_map(room).map(|r| r.usable).fold(0, u64::saturating_add)
    });
    Ok(report)
}

/// Backs so much as is to be `read` of each file up into a new store, and asks another what it would cost there. A pack's bytes are those of the other
/// store, if there is one.
fn seen(
    io: &Io,
    against: Option<&Store>,
    options: &EstimateOptions,
    name: &str,
    sample: &[(Chosen, u64)],
    read: &dyn Fn(&(Chosen, u64)) -> u64,
    control: &Control,
) -> Result<(Seen, u64)> {
    let at = options.scratch.join(name);
    let made = init::run(io, &InitOptions { store: at.clone(), ..Default::default() })?;
    let open = OpenOptions {
        memory_bytes: options.memory_bytes,
        mode: Mode::Write { verb: "estimate" },
        index: options.index.anew(),
    };
    let store = Store::open(io, &at, &open)?.store;
    // The first of each family, then the others: in a backup of all relatives seldom are on their way at the same time, and
    // only what is written already can be coded against.
    let (mut first, mut others) = (Vec::new(), Vec::new());
    for family in sample.chunk_by(|(a, _), (b, _)| a.family() == b.family()) {
        for (i, (chosen, _)) in family.iter().enumerate() {
            if i == 0 { first.push(chosen.path()) } else { others.push(chosen.path()) }
        }
    }
    let heads: HashMap<PathBuf, u64> = sample.iter().map(|file| (file.0.path(), read(file))).collect();
    let survey = Arc::new(Survey::new(heads));
    let mut seen = Seen { costs: HashMap::new(), others: 0 };
    for paths in [first.clone(), others.clone()] {
        seen.others += one(&store, options, paths, &survey, false, control)?;
    }
    seen.costs = survey.costs();
    let of = |costs: &HashMap<PathBuf, Cost>| costs.values().map(Cost::stored).fold(0, u64::saturating_add);
    seen.others = seen.others.saturating_sub(of(&seen.costs));
    if let Some(store) = against {
        first.append(&mut others);
        let written = one(store, options, first, &survey, true, control)?;
        let there = survey.costs();
        seen.others = seen.others.min(written.saturating_sub(of(&there)));
        for (path, cost) in &mut seen.costs {
            if let Some(there) = there.get(path).filter(|there| there.stored() < cost.stored()) {
                *cost = *there;
            }
        }
    }
    Ok((seen, against.map_or(made.pack_bytes, |s| s.superblock().pack_bytes)))
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
    sample: &mut Sample,
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
                sample.add(&path, metadata.size, options.sample_bytes);
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

/// Backs files up and tells what it wrote, or what it would write.
fn one(
    store: &Store,
    options: &EstimateOptions,
    paths: Vec<PathBuf>,
    survey: &Arc<Survey>,
    dry_run: bool,
    control: &Control,
) -> Result<u64> {
    if paths.is_empty() {
        return Ok(0);
    }
    let options = BackupOptions {
        force: true,
        dry_run,
        host: Some("estimate".into()),
        survey: Some(Arc::clone(survey)),
        ..BackupOptions::of(Source::Paths(paths), &options.program)
    };
    match backup::run(store, options, control) {
        Ok(report) => Ok(report.counts.data_added_packed),
        Err(Error::NoSource { .. }) => Ok(0), // all of them went in the meantime
        Err(e) => Err(e),
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Shelf, noise};
    use super::*;
    use crate::index::MemoryIndex;
    use crate::io::threads::{Schedule, simulate};
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
    fn near_duplicates_under_other_names_are_seen_by_their_beginnings() {
        let library = tempfile::tempdir().unwrap();
        for i in 0..12u64 {
            let bytes = noise(i, 2_000_000);
            let mut tagged = noise(100 + i, 300);
            tagged.extend_from_slice(&bytes);
            tagged.truncate(1_900_000);
            std::fs::write(library.path().join(format!("recording {i}.a")), &bytes).unwrap();
            std::fs::write(library.path().join(format!("by another name {i}.b")), &tagged).unwrap();
        }
        // One reader: of two relatives that are read at the same moment neither knows the other, which counts among so few.
        let of = |sample| {
            simulate(Schedule { seed: 1, parallelism: 1, pauses: 0 }, || {
                let shelf = Shelf::new(1);
                run(&shelf.io, None, options(library.path(), sample), &Control::default()).unwrap()
            })
        };
        let (whole, part) = (of(1 << 30), of(8_000_000));
        assert!(whole.whole && whole.stored_bytes > 24_000_000 && whole.stored_bytes < 26_000_000, "{whole:?}");
        assert!(!part.whole && part.sample_files == 24 && part.sample_bytes <= 8_000_000, "{part:?}");
        assert!(part.stored_bytes.abs_diff(whole.stored_bytes) < whole.stored_bytes / 8, "{part:?}");
        assert!(part.stored_bytes_low < whole.stored_bytes && whole.stored_bytes < part.stored_bytes_high, "{part:?}");
    }

    #[test]
    fn of_a_family_the_same_part_is_read_and_of_all_no_more_than_there_is_room_for() {
        let sizes =
            [("long title.wav", 50 << 20), ("long title.flac", 20 << 20), ("long title.cue", 900), ("other", 9 << 20)];
        let of = |most: u64| {
            let mut sample = Sample::new();
            sizes.iter().for_each(|(name, bytes)| sample.add(&Path::new("/a").join(name), *bytes, most));
            let heads = sample.settle(most);
            assert!(heads.iter().map(|(_, head)| head).sum::<u64>() <= most || most < 1 << 20, "{most}");
            let of = |name: &str| heads.iter().find(|(c, _)| c.path.ends_with(name.as_bytes())).map_or(0, |(_, h)| *h);
            sizes.map(|(name, _)| of(name))
        };
        let [wav, flac, cue, other] = of(8 << 20);
        assert!(wav > 4 << 20 && wav.abs_diff(flac * 5 / 2) < 16 && cue == 900, "{wav} {flac} {cue}");
        assert_eq!(other, 1 << 20, "a tenth would be less than what is read at least");
        assert_eq!(of(1 << 30), sizes.map(|(_, bytes)| bytes));
        assert!(of(1).iter().filter(|head| **head > 0).count() == 1, "one file at least");
    }

    #[test]
    fn what_stands_in_tags_is_not_taken_for_the_rest_of_a_file() {
        let of = |essence: u64, stored: u64| Cost {
            bytes: 300_000 + essence,
            wrapper_bytes: 300_000,
            wrapper_stored: 1000,
            essence_stored: stored,
        };
        let mut family = Family::default();
        family.add(5_000_000, &of(700_000, 700_000), Some(&of(200_000, 250_000)));
        let (batches, off) = reckon(&[family; 4]);
        let one = 701_000.0 + 4_000_000.0 * 0.9;
        assert!(batches.iter().all(|b| (b.stored - one).abs() < 1.0), "{batches:?}");
        assert!(off > 4.0 * 0.05 * one, "{off}");
        // Of tags alone nothing follows.
        let mut tags = Family::default();
        tags.add(5_000_000, &of(0, 0), Some(&Cost { bytes: 150_000, wrapper_bytes: 150_000, ..of(0, 0) }));
        let (batches, off) = reckon(&[tags; 4]);
        assert!(batches.iter().all(|b| b.stored == 4_701_000.0) && off > 10_000_000.0, "{batches:?} {off}");
        assert_eq!(reckon(&[]).0.len(), 0);
    }

    #[test]
    fn batches_that_agree_give_a_narrow_range() {
        let even = [Batch { bytes: 100.0, stored: 50.0 }; 8];
        assert_eq!(forecast(&even, 8_000.0, false), (4_000.0, 0.0));
        let odd: Vec<Batch> =
            (0..8).map(|i| Batch { bytes: 100.0, stored: if i % 2 == 0 { 0.0 } else { 100.0 } }).collect();
        let (expected, error) = forecast(&odd, 8_000.0, false);
        assert_eq!(expected, 4_000.0);
        assert!(error > 1_000.0 && error < 2_000.0, "{error}");
        assert_eq!(forecast(&odd, 800.0, true).1, 0.0);
        assert_eq!(forecast(&[], 0.0, true), (0.0, 0.0));
    }
}
