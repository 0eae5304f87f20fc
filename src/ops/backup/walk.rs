//! The walk: sources in the order of the tree, unchanged files recognised, the rest handed to readers.
//!
//! The sources hang in a tree of their paths, so that overlapping ones give each file once and the
//! folders above them exist. Beside the walk runs the parent snapshot's tree and witness, name by name.

use super::read::{FileJob, FileOutcome};
use super::survey::Survey;
use super::tell;
use crate::catalog::map::MapIter;
use crate::catalog::{list, recipe};
use crate::error::{Error, Result};
use crate::format::digest::Algorithm;
use crate::format::entry::{Attributes, Content, Entry, EntryKind, Time, Witness};
use crate::format::node::MapRoot;
use crate::format::recipe::Stream;
use crate::format::{ChunkId, limits};
use crate::io::source::{self, FileKind, Metadata, Names};
use crate::io::threads::{Receiver, Sender, bounded};
use crate::ops::ingest::Ingest;
use crate::ops::{Control, Notice};
use crate::pack::ReadChunks;
use globset::{GlobBuilder, GlobSet, GlobSetBuilder};
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Bytes of files that are sent to one lane before the next one gets its turn: an album stays together.
const RUN_BYTES: u64 = 64 << 20;
/// A change this close before the look at a file may be followed by another one within the same tick of
/// the filesystem's clock: such a file gets no witness and is read again next time.
const RACY_NS: i128 = 50_000_000;

/// What the walk tells the tree, in the tree's order.
pub(super) enum Step {
    Enter {
        name: Vec<u8>,
        entry: Box<Entry>,
        witness: Witness,
    },
    Leave,
    /// An entry that is known at once: a symlink, or an unchanged file with its encoded entry.
    Ready {
        name: Vec<u8>,
        entry: Vec<u8>,
        witness: Option<Vec<u8>>,
        what: Ready,
    },
    /// A file that a reader is at.
    Pending {
        name: Vec<u8>,
        path: Vec<u8>,
        had_parent: bool,
        outcome: Receiver<FileOutcome>,
    },
    Unreadable {
        path: Vec<u8>,
        reason: String,
    },
    Special {
        path: Vec<u8>,
        kind: &'static str,
    },
}

pub(super) enum Ready {
    Symlink,
    Unmodified { bytes: u64 },
}

/// Whether a backup with these patterns leaves out what lies at `path`.
///
/// # Errors
/// [`Error::Argument`] for a pattern that is none.
pub fn is_excluded(patterns: &[String], path: &Path) -> Result<bool> {
    Ok(Excludes::new(patterns)?.matches(path))
}

/// The patterns that leave things out.
pub(super) struct Excludes(GlobSet);

impl Excludes {
    /// A pattern without a slash stands for a name at any depth; one that begins with a slash for a
    /// whole path; any other for the end of a path.
    pub(super) fn new(patterns: &[String]) -> Result<Excludes> {
        let mut set = GlobSetBuilder::new();
        for pattern in patterns {
            let anchored = if pattern.starts_with('/') { pattern.clone() } else { format!("**/{pattern}") };
            let glob = GlobBuilder::new(without_last_slashes(&anchored)).literal_separator(true).build();
            let bad = |e: globset::Error| Error::Argument {
                what: format!("the pattern {pattern:?}"),
                why: e.kind().to_string(),
            };
            set.add(glob.map_err(bad)?);
        }
        set.build().map(Excludes).map_err(|e| Error::Argument { what: "the patterns".into(), why: e.to_string() })
    }

    fn matches(&self, path: &Path) -> bool {
        self.0.is_match(path)
    }
}

/// A pattern for a folder may end with slashes, plain or escaped.
fn without_last_slashes(mut pattern: &str) -> &str {
    while let Some(rest) = pattern.strip_suffix('/') {
        let escapes = rest.len() - rest.trim_end_matches('\\').len();
        pattern = if escapes % 2 == 1 { rest.strip_suffix('\\').unwrap_or(rest) } else { rest };
    }
    pattern
}

/// Sources by the names on the way to them.
#[derive(Default)]
struct Branch {
    children: BTreeMap<Vec<u8>, Branch>,
    is_source: bool,
}

impl Branch {
    fn add(&mut self, path: &Path) {
        let mut at = self;
        for name in crate::catalog::tree::names(path.as_os_str().as_bytes()) {
            if at.is_source {
                return; // lies inside another source
            }
            at = at.children.entry(name.to_vec()).or_default();
        }
        at.is_source = true;
        at.children.clear();
    }
}

/// A folder of the parent snapshot, gone through beside the source's.
struct Beside<'c> {
    tree: std::iter::Peekable<MapIter<'c>>,
    witness: std::iter::Peekable<MapIter<'c>>,
}

fn advance(iter: &mut std::iter::Peekable<MapIter<'_>>, name: &[u8]) -> Option<Vec<u8>> {
    loop {
        match iter.peek() {
            Some(Ok((at, _))) if at.as_slice() < name => {
                iter.next();
            }
            Some(Ok((at, _))) if at == name => return iter.next().and_then(Result::ok).map(|(_, value)| value),
            // A node that cannot be read: what stood in it counts as changed.
            Some(Err(_)) => {
                iter.next();
            }
            _ => return None, // past it, or at the end
        }
    }
}

impl<'c> Beside<'c> {
    fn new(chunks: &'c dyn ReadChunks, tree: &MapRoot, witness: &MapRoot) -> Self {
        Beside { tree: MapIter::new(chunks, tree).peekable(), witness: MapIter::new(chunks, witness).peekable() }
    }

    fn find(&mut self, name: &[u8]) -> (Option<Vec<u8>>, Option<Vec<u8>>) {
        (advance(&mut self.tree, name), advance(&mut self.witness, name))
    }
}

/// One walk over all sources.
pub(super) struct Walker<'a, 's> {
    pub(super) ingest: &'a Ingest<'s>,
    pub(super) one_file_system: bool,
    pub(super) control: &'a Control,
    pub(super) steps: Sender<Step>,
    pub(super) jobs: Sender<FileJob>,
    pub(super) excludes: Excludes,
    pub(super) names: &'a Names,
    pub(super) parent: Option<(MapRoot, MapRoot)>,
    /// Device and inode of the store's own folders.
    pub(super) own: Vec<(u64, u64)>,
    /// The run of files that should lie together, and the bytes sent to it.
    pub(super) run: u64,
    pub(super) run_bytes: u64,
    pub(super) now_ns: i128,
    pub(super) digests: Digests,
    pub(super) survey: Option<Arc<Survey>>,
}

/// What files are digested with while they are read.
#[derive(Default)]
pub(super) struct Digests {
    /// Below this folder, and elsewhere.
    pub(super) payload: Option<(PathBuf, Arc<[Algorithm]>)>,
    pub(super) others: Arc<[Algorithm]>,
}

impl Digests {
    fn of(&self, path: &Path) -> Arc<[Algorithm]> {
        match &self.payload {
            Some((folder, algorithms)) if path.starts_with(folder) => Arc::clone(algorithms),
            _ => Arc::clone(&self.others),
        }
    }
}

fn time((seconds, nanos): (i64, u32)) -> Time {
    Time { seconds, nanos }
}

/// The entry of a name with this metadata. Attributes beyond the entry's room come from the caller.
pub(super) fn entry_of(metadata: &Metadata, names: &Names, kind: EntryKind, keys: &crate::format::Keys) -> Entry {
    let is_linked = metadata.kind == FileKind::File && metadata.nlink > 1;
    let link =
        is_linked.then(|| keys.name_hash(&[metadata.device.to_le_bytes(), metadata.inode.to_le_bytes()].concat()));
    Entry {
        kind,
        mode: metadata.mode,
        mtime: time(metadata.mtime),
        uid: metadata.uid,
        gid: metadata.gid,
        user: names.user_name(metadata.uid),
        group: names.group_name(metadata.gid),
        attributes: Attributes::None,
        link,
        digests: Vec::new(),
    }
}

/// The witness of a name, unless its last change is so fresh that another could hide behind it.
pub(super) fn witness_of(metadata: &Metadata, now_ns: i128) -> Option<Witness> {
    let changed = i128::from(metadata.ctime.0) * 1_000_000_000 + i128::from(metadata.ctime.1);
    let ctime = time(metadata.ctime);
    (changed < now_ns - RACY_NS).then_some(Witness {
        ctime,
        inode: metadata.inode,
        device: metadata.device,
        children: None,
    })
}

/// Closed because the tree or a reader ended early: the run's own error says why.
const STOPPED: Error = Error::Interrupted;

impl<'s> Walker<'_, 's> {
    fn step(&self, step: Step) -> Result<()> {
        self.steps.send(step).map_err(|_| STOPPED)
    }

    fn unreadable(&self, path: &Path, e: &std::io::Error) -> Result<()> {
        self.step(Step::Unreadable { path: path.as_os_str().as_bytes().to_vec(), reason: reason(e) })
    }

    /// Walks all sources.
    ///
    /// # Errors
    /// [`Error::Interrupted`]; [`Error::NoSource`] if none is there.
    pub(super) fn walk(&mut self, paths: &[PathBuf]) -> Result<()> {
        let mut root = Branch::default();
        let mut present = 0;
        for path in paths {
            match source::lstat(path) {
                Ok(_) => {
                    present += 1;
                    root.add(path);
                }
                Err(e) => self.unreadable(path, &e)?,
            }
        }
        if present == 0 {
            return Err(Error::NoSource { paths: paths.iter().map(|p| p.display().to_string()).collect() });
        }
        let store = self.ingest.store();
        let beside = self.parent.take().map(|(tree, witness)| Beside::new(store, &tree, &witness));
        if root.is_source {
            return self.content(Path::new("/"), beside, None, 0);
        }
        self.branch(Path::new("/"), &root, beside)
    }

    /// Walks one folder whose content is the root's.
    ///
    /// # Errors
    /// [`Error::Interrupted`].
    pub(super) fn walk_as_root(&mut self, folder: &Path) -> Result<()> {
        self.content(folder, None, None, 0)
    }

    /// A folder on the way to sources: only what leads to them.
    fn branch(&mut self, path: &Path, branch: &Branch, mut beside: Option<Beside<'s>>) -> Result<()> {
        for (name, child) in &branch.children {
            let path = path.join(OsStr::from_bytes(name));
            let (entry, witness) = beside.as_mut().map(|b| b.find(name)).unwrap_or_default();
            if child.is_source {
                self.name(name, &path, entry, witness, None, 0)?;
                continue;
            }
            let metadata = match source::stat(&path) {
                Ok(m) => m,
                Err(e) => {
                    self.unreadable(&path, &e)?;
                    continue;
                }
            };
            let inner = self.beside(entry.as_deref(), witness.as_deref());
            self.enter(name, &path, &metadata)?;
            self.branch(&path, child, inner)?;
            self.step(Step::Leave)?;
        }
        Ok(())
    }

    fn beside(&self, entry: Option<&[u8]>, witness: Option<&[u8]>) -> Option<Beside<'s>> {
        let entry = Entry::decode(entry?).ok()?;
        let witness = Witness::decode(witness?).ok()?;
        match (entry.kind, witness.children) {
            (EntryKind::Dir(tree), Some(witness)) => Some(Beside::new(self.ingest.store(), &tree, &witness)),
            _ => None,
        }
    }

    fn enter(&mut self, name: &[u8], path: &Path, metadata: &Metadata) -> Result<()> {
        let mut entry = entry_of(metadata, self.names, EntryKind::Dir(MapRoot::empty()), self.ingest.store().keys());
        match source::attributes(path, true) {
            Ok(list) => entry.attributes = self.attributes(path, list),
            Err(e) => self.metadata_lost(path, &e),
        }
        let witness = witness_of(metadata, self.now_ns).unwrap_or_default();
        self.run += 1;
        self.run_bytes = 0;
        self.step(Step::Enter { name: name.to_vec(), entry: Box::new(entry), witness })
    }

    /// Attributes of folders and symlinks stand in the entry; what does not fit there is told and left out.
    fn attributes(&self, path: &Path, mut list: Vec<(Vec<u8>, Vec<u8>)>) -> Attributes {
        list.sort();
        if list.is_empty() {
            return Attributes::None;
        }
        if crate::format::entry::encode_attributes(&list).len() > limits::ENTRY_BYTES / 2 {
            let path = path.as_os_str().as_bytes().to_vec();
            tell(
                self.control,
                Notice::Metadata { path, reason: "its extended attributes are too long for a folder's entry".into() },
            );
            return Attributes::None;
        }
        Attributes::Inline(list)
    }

    fn metadata_lost(&self, path: &Path, e: &std::io::Error) {
        let reason = format!("its extended attributes cannot be read: {}", reason(e));
        tell(self.control, Notice::Metadata { path: path.as_os_str().as_bytes().to_vec(), reason });
    }

    /// All names of a folder. `device` is set where other filesystems are left out.
    fn content(
        &mut self,
        path: &Path,
        mut beside: Option<Beside<'s>>,
        device: Option<u64>,
        depth: usize,
    ) -> Result<()> {
        let names = match source::list(path) {
            Ok(names) => names,
            Err(e) => return self.unreadable(path, &e),
        };
        for name in names {
            self.ingest.proceed()?;
            let path = path.join(OsStr::from_bytes(&name));
            if self.excludes.matches(&path) {
                continue;
            }
            let (entry, witness) = beside.as_mut().map(|b| b.find(&name)).unwrap_or_default();
            self.name(&name, &path, entry, witness, device, depth)?;
        }
        Ok(())
    }

    /// One name, whatever it is.
    fn name(
        &mut self,
        name: &[u8],
        path: &Path,
        entry: Option<Vec<u8>>,
        witness: Option<Vec<u8>>,
        device: Option<u64>,
        depth: usize,
    ) -> Result<()> {
        let metadata = match source::lstat(path) {
            Ok(m) => m,
            Err(e) => return self.unreadable(path, &e),
        };
        let special = |kind| Step::Special { path: path.as_os_str().as_bytes().to_vec(), kind };
        match metadata.kind {
            FileKind::Dir => {
                if self.own.contains(&(metadata.device, metadata.inode)) {
                    tell(self.control, Notice::OwnStore { path: path.as_os_str().as_bytes().to_vec() });
                    return Ok(());
                }
                if depth >= limits::DEPTH - 1 {
                    let reason = format!("more than {} folders inside folders", limits::DEPTH);
                    return self.step(Step::Unreadable { path: path.as_os_str().as_bytes().to_vec(), reason });
                }
                let inner = self.beside(entry.as_deref(), witness.as_deref());
                self.enter(name, path, &metadata)?;
                let root_device = device.unwrap_or(metadata.device);
                if !self.one_file_system || metadata.device == root_device {
                    self.content(path, inner, Some(root_device), depth + 1)?;
                }
                self.step(Step::Leave)
            }
            FileKind::File => self.file(name, path, &metadata, entry, witness),
            FileKind::Symlink => self.symlink(name, path, &metadata),
            FileKind::Fifo => self.step(special("FIFO")),
            FileKind::Socket => self.step(special("socket")),
            FileKind::BlockDevice => self.step(special("block device")),
            FileKind::CharDevice => self.step(special("character device")),
        }
    }

    fn symlink(&mut self, name: &[u8], path: &Path, metadata: &Metadata) -> Result<()> {
        let target = match source::read_link(path) {
            Ok(target) => target,
            Err(e) => return self.unreadable(path, &e),
        };
        let mut entry = entry_of(metadata, self.names, EntryKind::Symlink(target), self.ingest.store().keys());
        if let Ok(list) = source::attributes(path, true) {
            entry.attributes = self.attributes(path, list);
        }
        let witness = witness_of(metadata, self.now_ns).map(|w| w.encode());
        self.step(Step::Ready { name: name.to_vec(), entry: entry.encode(), witness, what: Ready::Symlink })
    }

    fn file(
        &mut self,
        name: &[u8],
        path: &Path,
        metadata: &Metadata,
        entry: Option<Vec<u8>>,
        witness: Option<Vec<u8>>,
    ) -> Result<()> {
        let progress = &self.control.progress;
        progress.files_total.fetch_add(1, Ordering::Relaxed);
        let most = self.survey.as_ref().map_or(u64::MAX, |s| s.head(path));
        progress.bytes_total.fetch_add(metadata.size.min(most), Ordering::Relaxed);
        let had_parent = entry.is_some();
        if let (Some(entry), Some(witness)) = (entry, witness)
            && self.is_unchanged(metadata, &entry, &witness)?
        {
            let what = Ready::Unmodified { bytes: metadata.size };
            return self.step(Step::Ready { name: name.to_vec(), entry, witness: Some(witness), what });
        }
        if self.run_bytes > 0 && self.run_bytes + metadata.size > RUN_BYTES {
            self.run += 1;
            self.run_bytes = 0;
        }
        self.run_bytes += metadata.size;
        let (send, outcome) = bounded(1);
        let raw = path.as_os_str().as_bytes().to_vec();
        self.step(Step::Pending { name: name.to_vec(), path: raw, had_parent, outcome })?;
        let (run, digest) = (self.run, self.digests.of(path));
        let job = FileJob { path: path.to_owned(), run, digest, send };
        self.jobs.send(job).map_err(|_| STOPPED)
    }

    /// Whether a file is as the parent snapshot has it, and that can still be read.
    fn is_unchanged(&self, metadata: &Metadata, entry: &[u8], witness: &[u8]) -> Result<bool> {
        let (Ok(entry), Ok(witness)) = (Entry::decode(entry), Witness::decode(witness)) else { return Ok(false) };
        let EntryKind::File { bytes, content } = &entry.kind else { return Ok(false) };
        let same = *bytes == metadata.size
            && entry.mtime == time(metadata.mtime)
            && witness.ctime == time(metadata.ctime)
            && witness.inode == metadata.inode;
        if !same || !self.ingest.reuse_needs_proof {
            return Ok(same);
        }
        let mut streams: Vec<Stream> = match &entry.attributes {
            Attributes::Stream(stream) => vec![stream.clone()],
            _ => Vec::new(),
        };
        let mut ids: Vec<ChunkId> = Vec::new();
        if let Content::Recipe(recipe) = content {
            let listed = recipe::each_list(self.ingest.store(), recipe, &mut |id| {
                ids.push(*id);
                Ok(true)
            });
            if listed.is_err() {
                return Ok(false);
            }
            streams.extend(recipe.streams.iter().cloned());
        }
        for stream in &streams {
            let Ok(references) = list::References::new(self.ingest.store(), stream, 0) else { return Ok(false) };
            for reference in references {
                let Ok((_, reference)) = reference else { return Ok(false) };
                ids.push(reference.id);
                if ids.len() >= 1024 && !self.all_there(&std::mem::take(&mut ids))? {
                    return Ok(false);
                }
            }
        }
        self.all_there(&ids)
    }

    fn all_there(&self, ids: &[ChunkId]) -> Result<bool> {
        self.ingest.can_be_had(ids)
    }
}

/// A short fixed text for what the system said, so that reasons can be counted.
pub(super) fn reason(e: &std::io::Error) -> String {
    match e.kind() {
        std::io::ErrorKind::PermissionDenied => "permission denied".into(),
        std::io::ErrorKind::NotFound => "it vanished".into(),
        _ => match e.raw_os_error() {
            Some(5) => "input/output error".into(),
            _ => e.to_string(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_slashes_of_a_pattern_go_and_leave_no_escape_behind() {
        for (pattern, excluded) in
            [("b", true), ("b/", true), ("b//", true), (r"b\/", true), (r"b\//", true), (r"b\\/", false), ("a", false)]
        {
            let found = is_excluded(&[pattern.to_owned()], Path::new("/a/b"));
            assert_eq!(found.unwrap_or_else(|e| panic!("{pattern}: {}", e.line())), excluded, "{pattern}");
        }
        assert!(is_excluded(&[r"b\".to_owned()], Path::new("/a/b")).is_err(), "an escape of nothing");
    }
}
