//! similar: which stored files share storage with one.
//!
//! The file's chunks, what they are coded against and what is coded against those are watched for
//! (`share::kin`) while the other files' references stream by. Memory: what is watched for (bounded by the
//! budget, see `share::own`), and as many rows as are asked for.

use super::share::kin::{Kin, Means};
use super::share::own::Own;
use super::share::walk::{self, Met, Walked};
use super::snapshots::{self, SnapshotInfo};
use super::{Control, names};
use crate::catalog::tree::{Found, lookup};
use crate::error::{Error, Result};
use crate::format::entry::{Content, EntryKind};
use crate::format::recipe::Recipe;
use crate::store::Store;
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// Rows that a report holds, at most.
pub const ROWS_MAX: usize = 100_000;

/// Which file, and where to look.
#[derive(Clone, Debug)]
pub struct SimilarOptions {
    pub snapshot: SnapshotInfo,
    pub path: Vec<u8>,
    /// Look in all snapshots, not in this one alone.
    pub all: bool,
    /// Rows that are kept: those that share most. At most [`ROWS_MAX`].
    pub limit: usize,
}

/// How files share.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum By {
    /// They are equal, byte for byte.
    Content,
    Means(Means),
}

impl By {
    /// In a word or two.
    pub fn name(self) -> Cow<'static, str> {
        match self {
            By::Content => "same content".into(),
            By::Means(Means::Chunk) => "same chunks".into(),
            By::Means(Means::Coded(codec)) => names::codec(codec),
        }
    }
}

/// A file that shares storage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SimilarFile {
    pub path: Vec<u8>,
    /// One that holds it so: the one that was asked about, else the newest.
    pub snapshot: SnapshotInfo,
    pub bytes: u64,
    /// Plain bytes of the file that was asked about.
    pub shared_bytes: u64,
    /// The same by means, the most first.
    pub by: Vec<(By, u64)>,
}

/// What was found.
#[derive(Clone, Debug)]
pub struct SimilarReport {
    pub bytes: u64,
    /// Bytes of the file's streams: what `shared_bytes` is a part of.
    pub stream_bytes: u64,
    /// The most shared bytes first.
    pub files: Vec<SimilarFile>,
    /// Files that share anything, those without a row included.
    pub files_found: u64,
    pub files_seen: u64,
    /// The figures are estimates from one chunk in so many.
    pub one_in: u64,
    /// The file's own chunks or lists that cannot be had, and folders and lists on the way.
    pub unreadable: u64,
}

/// The file at a path of a snapshot: its length and content.
///
/// # Errors
/// [`Error::NoPath`], [`Error::WrongKind`], damage on the way.
pub(super) fn file_at(store: &Store, snapshot: &SnapshotInfo, path: &[u8]) -> Result<(u64, Content)> {
    let is = match lookup(store, &snapshot.snapshot.tree, path)? {
        None => return Err(super::ls::no_path(snapshot, path)),
        Some(Found::Root) => "a folder",
        Some(Found::Entry(entry)) => match entry.kind {
            EntryKind::File { bytes, content } => return Ok((bytes, content)),
            EntryKind::Dir(_) => "a folder",
            EntryKind::Symlink(_) => "a symlink",
        },
    };
    let path = crate::format::text::escape(&super::ls::absolute(path));
    Err(Error::WrongKind { snapshot: snapshot.id.short(), path, is, wanted: "a file" })
}

/// The snapshots to walk: the one that was asked about first, then the others, the newest first.
pub(super) fn order(store: &Store, first: &SnapshotInfo, all: bool) -> Vec<SnapshotInfo> {
    let mut out = vec![first.clone()];
    if all {
        out.extend(snapshots::list(store, &[]).into_iter().rev().filter(|s| s.id != first.id));
    }
    out
}

/// Whether two contents are equal, byte for byte.
pub(super) fn same(a: &Content, b: &Content) -> bool {
    match (a, b) {
        (Content::Inline(a), Content::Inline(b)) => a == b,
        (Content::Recipe(a), Content::Recipe(b)) => a.check == b.check,
        _ => false,
    }
}

/// Rows that share most, bounded.
struct Best {
    limit: usize,
    /// By shared bytes, then what was met later; with the row's place in `rows`.
    order: BTreeSet<(u64, std::cmp::Reverse<u64>)>,
    rows: HashMap<u64, SimilarFile>,
    /// Rows by path, for a file that another snapshot has too.
    by_path: HashMap<Vec<u8>, Vec<u64>>,
    met: u64,
}

impl Best {
    fn new(limit: usize) -> Best {
        let limit = limit.clamp(1, ROWS_MAX);
        Best { limit, order: BTreeSet::new(), rows: HashMap::new(), by_path: HashMap::new(), met: 0 }
    }

    /// Whether it was a file of its own, rather than one that an earlier snapshot has.
    fn add(&mut self, row: SimilarFile) -> bool {
        for at in self.by_path.get(&row.path).into_iter().flatten() {
            if let Some(old) = self.rows.get(at)
                && (old.bytes, old.shared_bytes, &old.by) == (row.bytes, row.shared_bytes, &row.by)
            {
                return false;
            }
        }
        self.met += 1;
        let key = (row.shared_bytes, std::cmp::Reverse(self.met));
        if self.order.len() >= self.limit {
            match self.order.first().copied() {
                Some(least) if least < key => {
                    self.order.remove(&least);
                    if let Some(gone) = self.rows.remove(&least.1.0)
                        && let Some(of_path) = self.by_path.get_mut(&gone.path)
                    {
                        of_path.retain(|at| *at != least.1.0);
                        if of_path.is_empty() {
                            self.by_path.remove(&gone.path);
                        }
                    }
                }
                _ => return true,
            }
        }
        self.order.insert(key);
        self.by_path.entry(row.path.clone()).or_default().push(self.met);
        self.rows.insert(self.met, row);
        true
    }

    fn finish(mut self) -> Vec<SimilarFile> {
        self.order.iter().rev().filter_map(|(_, at)| self.rows.remove(&at.0)).collect()
    }
}

/// Sums what one other file shares.
pub(super) struct Tally<'k> {
    kin: &'k Kin,
    /// Per chunk of the file the way that gives most.
    best: HashMap<u32, (u64, Means)>,
}

impl<'k> Tally<'k> {
    pub fn new(kin: &'k Kin) -> Self {
        Tally { kin, best: HashMap::new() }
    }

    /// Bytes by means, of all references of a recipe; and whether all of it could be read.
    ///
    /// # Errors
    /// [`Error::Index`], [`Error::Interrupted`].
    pub fn of(&mut self, store: &Store, control: &Control, recipe: &Recipe) -> Result<(BTreeMap<Means, u64>, bool)> {
        self.best.clear();
        let best = &mut self.best;
        let whole = walk::references(store, recipe, &mut |_, _, reference| {
            self.kin.shared(&reference.id, &mut |s| {
                let slot = best.entry(s.own).or_insert((0, s.means));
                // equal bytes: the plainer way
                if (s.bytes, std::cmp::Reverse(s.means)) > (slot.0, std::cmp::Reverse(slot.1)) {
                    *slot = (s.bytes, s.means);
                }
            });
            control.proceed()
        })?;
        let mut sums: BTreeMap<Means, u64> = BTreeMap::new();
        for (bytes, means) in self.best.values() {
            let sum = sums.entry(*means).or_default();
            *sum = sum.saturating_add(*bytes);
        }
        for sum in sums.values_mut() {
            *sum = self.kin.own.scale(*sum);
        }
        sums.retain(|_, sum| *sum > 0);
        Ok((sums, whole))
    }
}

/// Looks.
///
/// # Errors
/// [`Error::NoPath`], [`Error::WrongKind`] for what is no file, [`Error::Interrupted`], [`Error::Index`], damage of the
/// file's own entry. Other damage is counted.
pub fn run(store: &Store, options: &SimilarOptions, control: &Control) -> Result<SimilarReport> {
    control.progress.set_phase("looking at the file");
    let (bytes, content) = file_at(store, &options.snapshot, &options.path)?;
    let own = match &content {
        Content::Recipe(recipe) => Own::of(store, recipe)?,
        Content::Inline(_) => Own::default(),
    };
    let mut unreadable = own.unreadable + own.chunks.iter().filter(|c| c.fact.is_none()).count() as u64;
    let kin = Kin::of(store, control, own)?;
    let stream_bytes = match &content {
        Content::Recipe(_) => kin.own.bytes(),
        Content::Inline(_) => bytes,
    };
    control.progress.set_phase("comparing files");
    control.progress.files_done.store(0, std::sync::atomic::Ordering::Relaxed);
    let path = super::ls::absolute(&options.path);
    let mut best = Best::new(options.limit);
    let mut tally = Tally::new(&kin);
    let mut files_found = 0;
    let mut each = |met: Met<'_>| -> Result<()> {
        let is_same = met.bytes == bytes && same(met.content, &content);
        if is_same && met.path == path {
            return Ok(()); // itself, or itself in another snapshot
        }
        let by = if is_same {
            vec![(By::Content, stream_bytes)]
        } else {
            let Some(recipe) = met.recipe() else { return Ok(()) };
            let (sums, whole) = tally.of(store, control, recipe)?;
            unreadable += u64::from(!whole);
            let mut by: Vec<(By, u64)> = sums.into_iter().map(|(m, n)| (By::Means(m), n)).collect();
            by.sort_by_key(|(_, n)| std::cmp::Reverse(*n));
            by
        };
        let shared_bytes = by.iter().fold(0u64, |sum, (_, n)| sum.saturating_add(*n));
        if shared_bytes == 0 && !is_same {
            return Ok(());
        }
        let row =
            SimilarFile { path: met.path.to_vec(), snapshot: met.snapshot.clone(), bytes: met.bytes, shared_bytes, by };
        files_found += u64::from(best.add(row));
        Ok(())
    };
    let Walked { files, unreadable: on_the_way } =
        walk::each(store, &order(store, &options.snapshot, options.all), control, &mut each)?;
    Ok(SimilarReport {
        bytes,
        stream_bytes,
        files: best.finish(),
        files_found,
        files_seen: files,
        one_in: 1 << kin.own.thinned,
        unreadable: unreadable + on_the_way,
    })
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Shelf, noise};
    use super::*;
    use crate::format::record::Codec;

    fn similar(shelf: &Shelf, path: &std::path::Path, all: bool, limit: usize) -> SimilarReport {
        use std::os::unix::ffi::OsStrExt;
        let store = shelf.read();
        let options =
            SimilarOptions { snapshot: shelf.latest(&store), path: path.as_os_str().as_bytes().to_vec(), all, limit };
        run(&store, &options, &Control::default()).unwrap()
    }

    fn names(report: &SimilarReport) -> Vec<(String, Vec<By>)> {
        let name = |f: &SimilarFile| String::from_utf8_lossy(&f.path).rsplit('/').next().unwrap().to_owned();
        report.files.iter().map(|f| (name(f), f.by.iter().map(|b| b.0).collect())).collect()
    }

    const DELTA: By = By::Means(Means::Coded(Codec::DELTA));
    const CHUNK: By = By::Means(Means::Chunk);

    fn edited(bytes: &[u8], at: usize) -> Vec<u8> {
        let mut out = bytes.to_vec();
        out.splice(at..at, *b"an insertion in the middle of a chunk");
        out
    }

    #[test]
    fn every_way_of_sharing_is_found_from_both_sides() {
        let shelf = Shelf::new(1);
        let library = tempfile::tempdir().unwrap();
        let at = library.path();
        let one = noise(1, 900_000);
        shelf.library(at, &[("one", &one), ("other", &noise(2, 500_000)), ("small", b"s")]);
        shelf.back_up(at);
        shelf.library(at, &[("copy", &one), ("edited", &edited(&one, 450_000)), ("tail", &one[300_000..])]);
        shelf.back_up(at);
        let report = similar(&shelf, &at.join("one"), false, 20);
        assert_eq!((report.bytes, report.stream_bytes, report.files_found), (900_000, 900_000, 3));
        let found = names(&report);
        assert_eq!(found[0], ("copy".into(), vec![By::Content]));
        assert_eq!(found[1], ("edited".into(), vec![CHUNK, DELTA]));
        assert_eq!(found[2].0, "tail");
        let shared: Vec<u64> = report.files.iter().map(|f| f.shared_bytes).collect();
        assert_eq!(shared[0], 900_000);
        assert!(shared[1] > 880_000 && shared[1] <= 900_000, "{shared:?}");
        assert!(shared[2] > 500_000 && shared[2] <= 640_000, "{shared:?}");
        // from the side of what is coded
        let back = similar(&shelf, &at.join("edited"), false, 20);
        let found = names(&back);
        assert_eq!(found.len(), 3, "{found:?}");
        assert!(found[..2].iter().all(|f| f.1 == [CHUNK, DELTA]), "{found:?}");
        assert!(back.files[0].shared_bytes > 880_000);
        assert_eq!(similar(&shelf, &at.join("other"), false, 20).files_found, 0);
        assert_eq!(similar(&shelf, &at.join("small"), false, 20).files_found, 0);
        assert_eq!(names(&similar(&shelf, &at.join("one"), false, 1)).len(), 1, "as many rows as were asked for");
    }

    #[test]
    fn two_files_coded_against_a_third_share_its_bytes() {
        let shelf = Shelf::new(1);
        let library = tempfile::tempdir().unwrap();
        let at = library.path();
        let base = noise(7, 60_000);
        shelf.library(at, &[("base", &base)]);
        shelf.back_up(at);
        std::fs::remove_file(at.join("base")).unwrap();
        let change = |seed: u64| {
            let mut out = base.clone();
            for i in 0..12 {
                out[i * 5000 + 100..][..32].copy_from_slice(&noise(seed * 100 + i as u64, 32));
            }
            out
        };
        shelf.library(at, &[("a", &change(1)), ("b", &change(2))]);
        shelf.back_up(at);
        let report = similar(&shelf, &at.join("a"), false, 20);
        let found = names(&report);
        assert_eq!(found, [("b".to_owned(), vec![DELTA])]);
        assert!(report.files[0].shared_bytes > 40_000, "{report:?}");
        let all = similar(&shelf, &at.join("a"), true, 20);
        assert_eq!(names(&all).len(), 2, "the first snapshot has the base: {all:?}");
    }

    #[test]
    fn over_all_snapshots_a_file_has_one_row() {
        let shelf = Shelf::new(1);
        let library = tempfile::tempdir().unwrap();
        let at = library.path();
        let one = noise(1, 300_000);
        shelf.library(at, &[("one", &one), ("d/copy", &one)]);
        for i in 0..3u64 {
            shelf.library(at, &[("d/new", &noise(10 + i, 3000))]);
            shelf.back_up(at);
        }
        let report = similar(&shelf, &at.join("one"), true, 20);
        assert_eq!((report.files.len(), report.files_found), (1, 1), "{report:?}");
        let store = shelf.read();
        assert_eq!(report.files[0].snapshot.id, shelf.latest(&store).id);
    }

    #[test]
    fn what_is_no_file_is_refused() {
        let shelf = Shelf::new(1);
        let library = tempfile::tempdir().unwrap();
        shelf.library(library.path(), &[("d/x", b"1")]);
        shelf.back_up(library.path());
        let store = shelf.read();
        let of = |path: &[u8]| {
            let options = SimilarOptions { snapshot: shelf.latest(&store), path: path.to_vec(), all: false, limit: 5 };
            run(&store, &options, &Control::default()).unwrap_err()
        };
        assert!(matches!(of(b"/nowhere"), Error::NoPath { .. }));
        assert!(matches!(of(b"/"), Error::WrongKind { .. }));
    }
}
