//! manifest: digests of every file of a snapshot, from its proven bytes.
//!
//! Each file is read as a restore would read it, so a manifest also proves that all of it can be had. Memory: that of a
//! `cat`.

use super::ls::{self, Listed};
use super::snapshots::SnapshotInfo;
use super::{Control, FileLost, Notice, cat};
use crate::catalog::tree;
use crate::error::{Error, Result};
use crate::format::digest::{Algorithm, Several};
use crate::format::entry::EntryKind;
use crate::store::Store;
use std::sync::atomic::Ordering;

/// The digests of one file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Digests {
    /// Below the path that was asked for, without a slash at its begin.
    pub path: Vec<u8>,
    pub bytes: u64,
    /// In the order in which they were asked for.
    pub digests: Vec<(Algorithm, Vec<u8>)>,
}

/// What a manifest holds, and what it could not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ManifestReport {
    pub files: u64,
    pub bytes: u64,
    pub files_lost: u64,
    pub bytes_lost: u64,
    /// Places below which nothing could be listed.
    pub unreadable: Vec<(Vec<u8>, String)>,
}

/// The part of an entry's path below the path that was asked for. Of a single file it is the file's own name.
pub(super) fn below<'p>(path: &'p [u8], asked: Option<&[u8]>) -> &'p [u8] {
    let strip = |p: &'p [u8]| p.strip_prefix(b"/").unwrap_or(p);
    let root = ls::absolute(asked.unwrap_or_default());
    match path.strip_prefix(root.as_slice()) {
        Some([]) => tree::names(path).last().copied().unwrap_or_default(),
        Some(rest) => strip(rest),
        None => strip(path),
    }
}

/// Digests each file below `path`, in order of path, and hands it to `each`. A file whose bytes cannot be had is told as
/// lost and has no digests; the rest goes on.
///
/// # Errors
/// [`Error::NoPath`], [`Error::Index`], [`Error::Interrupted`], and what `each` returns.
pub fn run(
    store: &Store,
    snapshot: &SnapshotInfo,
    path: Option<&[u8]>,
    algorithms: &[Algorithm],
    each: &mut dyn FnMut(Digests) -> Result<()>,
    control: &Control,
) -> Result<ManifestReport> {
    let mut report = ManifestReport::default();
    if path.is_none() {
        let counts = &snapshot.snapshot.counts;
        control.progress.bytes_total.store(counts.bytes, Ordering::Relaxed);
        control.progress.files_total.store(counts.files, Ordering::Relaxed);
        control.progress.totals_known.store(true, Ordering::Relaxed);
    }
    let mut file = |listed: Listed| {
        let EntryKind::File { bytes, content } = &listed.entry.kind else { return Ok(()) };
        let mut several = Several::new(algorithms);
        match cat::whole(store, content, *bytes, &mut several, control) {
            Ok(()) => {
                report.files += 1;
                report.bytes += bytes;
                let digests = several.finish();
                each(Digests { path: below(&listed.path, path).to_vec(), bytes: *bytes, digests })
            }
            Err(e @ (Error::Index { .. } | Error::Interrupted)) => Err(e),
            Err(e) => {
                report.files_lost += 1;
                report.bytes_lost += bytes;
                control.notice(Notice::FileLost(FileLost {
                    snapshot: snapshot.id.to_string(),
                    path: listed.path,
                    bytes_lost: *bytes,
                    reason: e.to_string(),
                }));
                Ok(())
            }
        }
    };
    let listed = ls::run(store, snapshot, path, &mut file, control)?;
    report.unreadable = listed.unreadable;
    Ok(report)
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Shelf, noise};
    use super::*;
    use crate::catalog::recipe::{Pieces, What};
    use crate::catalog::tree::{Found, lookup};
    use crate::format::ChunkKind;
    use crate::format::digest::Hasher;
    use crate::format::entry::Content;
    use std::sync::{Arc, Mutex};

    fn digest(bytes: &[u8]) -> Vec<u8> {
        let mut hasher = Hasher::new(Algorithm::Sha256);
        hasher.update(bytes);
        hasher.finish()
    }

    #[test]
    fn every_file_has_the_digest_of_its_bytes_and_a_lost_one_has_none() {
        let shelf = Shelf::new(1);
        let library = tempfile::tempdir().unwrap();
        let long = noise(3, 900_000);
        shelf.library(library.path(), &[("a/one", &long), ("a/empty", b""), ("b", b"abc")]);
        shelf.back_up(library.path());
        let at = library.path().to_string_lossy().into_owned();
        let list = |path: &str| {
            let (store, mut lines) = (shelf.read(), Vec::new());
            let told: Arc<Mutex<Vec<Notice>>> = Arc::default();
            let hears = Arc::clone(&told);
            let control = Control::with_sink(move |n| hears.lock().unwrap().push(n));
            let mut each = |d: Digests| {
                lines.push((String::from_utf8(d.path).unwrap(), d.digests));
                Ok(())
            };
            let info = shelf.latest(&store);
            let algorithms = [Algorithm::Sha256, Algorithm::Md5];
            let report = run(&store, &info, Some(path.as_bytes()), &algorithms, &mut each, &control).unwrap();
            let told = told.lock().unwrap().clone();
            (lines, report, told)
        };
        let (lines, report, _) = list(&at);
        let names: Vec<_> = lines.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!((names, report.files, report.bytes), (vec!["a/empty", "a/one", "b"], 3, 900_003));
        for (line, bytes) in lines.iter().zip([&b""[..], &long, b"abc"]) {
            assert_eq!(line.1[0], (Algorithm::Sha256, digest(bytes)));
            assert_eq!(line.1[1].1.len(), 16);
        }
        assert_eq!(list(&format!("{at}/a/one")).0[0].0, "one", "a file alone has its own name");
        let store = shelf.read();
        let path = format!("{at}/a/one");
        let found = lookup(&store, &shelf.latest(&store).snapshot.tree, path.as_bytes()).unwrap();
        let Some(Found::Entry(entry)) = found else { panic!("it is there") };
        let EntryKind::File { bytes, content: Content::Recipe(recipe) } = entry.kind else { panic!("it is a file") };
        let mut ids = Pieces::new(&store, &recipe, 0, bytes)
            .filter_map(|p| if let What::Chunk { id, .. } = p.unwrap().what { Some(id) } else { None });
        shelf.spoil(ChunkKind::Data, &ids.next().unwrap());
        let (lines, report, told) = list(&at);
        assert_eq!((lines.len(), report.files_lost, report.bytes_lost), (2, 1, 900_000));
        assert!(matches!(&told[..], [Notice::FileLost(lost)] if lost.path == path.as_bytes()));
    }
}
