//! restore: a snapshot's tree back into files, bit for bit.
//!
//! The tree is walked once. Folders, symlinks and small files are made at once; longer files are opened
//! under temporary names, and their chunks gathered into a window. A window is located in one go, sorted
//! by disk, pack and offset, read in long runs, proven, decoded and written in place by several threads. A
//! file gets its name when its last byte is written. What could not be had is named, and not left under
//! its name; only with `partial` a file of which something could be had is, with zeros for the rest, and a list in the
//! target tells the holes.
//!
//! Memory: the window's pieces (bounded in number), the runs that are being read (bounded in bytes), and
//! open files (bounded in number).

use super::snapshots::SnapshotInfo;
use super::{Control, FileLost, Notice};
use crate::catalog::recipe::{MappedSegment, Pieces, What};
use crate::catalog::tree::{self, Found, Step, Walk};
use crate::chunk::Unsqueezer;
use crate::error::{Error, Result};
use crate::format::entry::{Content, Entry, EntryKind};
use crate::format::node::MapRoot;
use crate::format::{ChunkId, ChunkKind};
use crate::io::source::{FileKind, Names};
use crate::io::target::{OutFile, SetMetadata, Target};
use crate::io::threads::{self, Mutex};
use crate::pool::PackStore;
use crate::store::{Located, Store};
use globset::{GlobBuilder, GlobSet, GlobSetBuilder};
use holes::Holes;
use std::collections::HashMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

mod holes;

/// Where `partial` lists the holes, below the target; with a number behind it where that name is taken.
pub const HOLES_FILE: &str = "onefold-holes.txt";
/// Bytes of that list at most; what comes after is named and not listed.
const LIST_BYTES: usize = 64 << 20;

/// Pieces of a window: 16 Ki chunks of 256 KiB are 4 GiB, over which reads are sorted.
const WINDOW_PIECES: usize = 16 << 10;
/// Mapped segments of a window: each names some chunks, and is read when it is rebuilt.
const WINDOW_MAPPED: usize = 4096;
/// Files of a window that are open at once.
const WINDOW_FILES: usize = 256;
/// Bytes of packs that are read in one go.
const RUN_BYTES: u64 = 4 << 20;
/// Bytes between two records that are read over rather than sought over: at 8 ms and 200 MB/s a seek costs
/// 1.6 MB.
pub(in crate::ops) const GAP_BYTES: u64 = 1 << 20;

/// Folders that wait for their metadata at most.
const FOLDERS: usize = 1 << 16;

/// Lost files that are named; more are counted.
const LOST_NAMED: usize = 1_000_000;

/// What to restore, and where to.
#[derive(Clone, Debug)]
pub struct RestoreOptions {
    pub snapshot: SnapshotInfo,
    /// What lies below this path goes straight into the target.
    pub path: Option<Vec<u8>>,
    pub target: PathBuf,
    /// Globs; empty: everything.
    pub includes: Vec<String>,
    pub overwrite: bool,
    /// Bring back owners and setuid bits. Needs root.
    pub owner: bool,
    /// Leave a file that lost a part under its name, zeros where it is lost, and list the holes in [`HOLES_FILE`].
    pub partial: bool,
}

/// What was restored.
#[derive(Clone, Debug, Default)]
pub struct RestoreReport {
    pub files: u64,
    pub dirs: u64,
    pub symlinks: u64,
    pub hard_links: u64,
    pub bytes: u64,
    pub files_lost: u64,
    /// Of those, how many stand in the target with holes.
    pub files_partial: u64,
    pub bytes_lost: u64,
    /// The list of holes, below the target, where one was written.
    pub holes: Option<String>,
    /// Attributes, owners or times that could not be set.
    pub metadata_failures: u64,
    /// Names that could not be written.
    pub failed: u64,
}

/// A file that is being written.
struct Open {
    /// The path in the snapshot.
    shown: Vec<u8>,
    entry: Entry,
    /// Read-locked by those who write ranges, write-locked by whoever takes it away.
    out: RwLock<Option<OutFile>>,
    /// Pieces that are not written yet.
    left: AtomicUsize,
    bytes: u64,
    /// Why something of it is lost, first, and what.
    lack: Mutex<Option<(String, Holes)>>,
}

/// One chunk's part in one file.
struct Want {
    id: ChunkId,
    file: Arc<Open>,
    at: u64,
    skip: u32,
    bytes: u32,
}

/// Chunks that lie near each other in one pack: read at once.
struct ReadRun {
    wants: Vec<(Located, Vec<Want>)>,
    from: u64,
    to: u64,
}

/// A folder on the way or done.
struct Folder {
    /// Names below the target.
    path: Vec<Vec<u8>>,
    /// The path in the snapshot.
    shown: Vec<u8>,
    entry: Entry,
}

struct Restore<'a> {
    store: &'a Store,
    control: &'a Control,
    options: &'a RestoreOptions,
    target: Target,
    users: Names,
    report: Mutex<RestoreReport>,
    lost: Mutex<Vec<FileLost>>,
    /// Lines of the list of holes, and the holes of files with a link id that stand there with some, with the reason.
    list: Mutex<String>,
    partial_links: Mutex<HashMap<u64, (Arc<Holes>, String)>>,
    /// First name of each link id, and whether it came out whole.
    links: Mutex<HashMap<u64, Vec<Vec<u8>>>>,
}

fn refs(path: &[Vec<u8>]) -> Vec<&[u8]> {
    path.iter().map(Vec::as_slice).collect()
}

/// Restores.
///
/// # Errors
/// [`Error::TargetNotEmpty`], [`Error::NoPath`], [`Error::Io`] for the target itself, [`Error::Interrupted`].
/// Files that are lost or cannot be written are no errors: they are in the report.
pub fn run(store: &Store, options: &RestoreOptions, control: &Control) -> Result<RestoreReport> {
    control.progress.set_phase("restoring");
    let includes = includes(&options.includes)?;
    let root = find_root(store, options)?;
    let target = Target::open_or_create(&options.target).map_err(Error::io("open the target", &options.target))?;
    if !options.overwrite && !target.is_empty().map_err(Error::io("list", &options.target))? {
        return Err(Error::TargetNotEmpty { path: options.target.clone() });
    }
    let counts = &options.snapshot.snapshot.counts;
    if options.path.is_none() && options.includes.is_empty() {
        control.progress.files_total.store(counts.files, Ordering::Relaxed);
        control.progress.bytes_total.store(counts.bytes, Ordering::Relaxed);
        control.progress.totals_known.store(true, Ordering::Relaxed);
    }
    let restore = Restore {
        store,
        control,
        options,
        target,
        users: Names::new(),
        report: Mutex::default(),
        lost: Mutex::default(),
        list: Mutex::default(),
        partial_links: Mutex::default(),
        links: Mutex::default(),
    };
    // Whatever ends the walk: files that stand there with holes by then are listed, and what is lost is named.
    let walked = restore.walk(&root, includes.as_ref());
    let listed = restore.write_list();
    let mut lost = restore.lost.into_inner().unwrap_or_else(PoisonError::into_inner);
    lost.sort_by(|a, b| a.path.cmp(&b.path));
    for file in lost {
        control.notice(Notice::FileLost(file));
    }
    walked?;
    listed?;
    Ok(restore.report.into_inner().unwrap_or_else(PoisonError::into_inner))
}

fn includes(patterns: &[String]) -> Result<Option<GlobSet>> {
    if patterns.is_empty() {
        return Ok(None);
    }
    let mut set = GlobSetBuilder::new();
    for pattern in patterns {
        let anchored = if pattern.starts_with('/') { pattern.clone() } else { format!("**/{pattern}") };
        let bad =
            |e: globset::Error| Error::Argument { what: format!("the pattern {pattern:?}"), why: e.kind().to_string() };
        let build = |text: &str| GlobBuilder::new(text).literal_separator(true).build();
        set.add(build(anchored.trim_end_matches('/')).map_err(bad)?);
        set.add(build(&format!("{}/**", anchored.trim_end_matches('/'))).map_err(bad)?);
    }
    set.build().map(Some).map_err(|e| Error::Argument { what: "the patterns".into(), why: e.to_string() })
}

/// Where a restore begins.
enum Root {
    /// The content of this folder, at this path.
    Dir(MapRoot, Vec<u8>),
    /// One file or symlink, with its name.
    One(Box<Entry>, Vec<u8>),
}

fn find_root(store: &Store, options: &RestoreOptions) -> Result<Root> {
    let tree = &options.snapshot.snapshot.tree;
    let Some(path) = &options.path else { return Ok(Root::Dir(tree.clone(), Vec::new())) };
    match tree::lookup(store, tree, path)? {
        None => Err(Error::NoPath {
            snapshot: options.snapshot.id.short(),
            path: String::from_utf8_lossy(path).into_owned(),
        }),
        Some(Found::Root) => Ok(Root::Dir(tree.clone(), Vec::new())),
        Some(Found::Entry(entry)) => match &entry.kind {
            EntryKind::Dir(children) => Ok(Root::Dir(children.clone(), path.clone())),
            _ => Ok(Root::One(entry, path.clone())),
        },
    }
}

impl Restore<'_> {
    fn count(&self, f: impl FnOnce(&mut RestoreReport)) {
        f(&mut self.report.lock().unwrap_or_else(PoisonError::into_inner));
    }

    fn lose(&self, path: &[u8], bytes_lost: u64, reason: String) {
        self.count(|r| {
            r.files_lost += 1;
            r.bytes_lost += bytes_lost;
        });
        let lost = FileLost { snapshot: self.options.snapshot.id.to_string(), path: path.to_vec(), bytes_lost, reason };
        let mut named = self.lost.lock().unwrap_or_else(PoisonError::into_inner);
        if named.len() < LOST_NAMED {
            named.push(lost);
        }
    }

    fn fail(&self, path: &[u8], e: &std::io::Error) {
        self.count(|r| r.failed += 1);
        self.control.notice(Notice::Unreadable { path: path.to_vec(), reason: format!("it cannot be written: {e}") });
    }

    fn metadata_failed(&self, path: &[u8], reason: String) {
        self.count(|r| r.metadata_failures += 1);
        self.control.notice(Notice::Metadata { path: path.to_vec(), reason });
    }

    fn walk(&self, root: &Root, includes: Option<&GlobSet>) -> Result<()> {
        let mut window = Window::default();
        match root {
            Root::One(entry, path) => {
                let name = tree::names(path).last().map(|n| n.to_vec()).unwrap_or_default();
                self.entry(path.clone(), vec![name], (**entry).clone(), &mut window)?;
            }
            Root::Dir(children, at) => {
                let depth = tree::names(at).len();
                let mut inside: Vec<Folder> = Vec::new();
                // Folders' metadata is set when everything in them is written, innermost first.
                let mut left: Vec<Folder> = Vec::new();
                let mut walk = Walk::new(self.store, children, at);
                while let Some(step) = walk.next() {
                    self.control.proceed()?;
                    match step {
                        Step::Leave(_) => left.extend(inside.pop()),
                        Step::Unreadable(path, e) => {
                            self.lose(&path, 0, format!("what lies below it cannot be read: {e}"));
                        }
                        Step::Entry(shown, entry) => {
                            let wanted = includes.is_none_or(|set| set.is_match(Path::new(OsStr::from_bytes(&shown))));
                            let is_dir = matches!(entry.kind, EntryKind::Dir(_));
                            if !wanted && !is_dir {
                                continue;
                            }
                            let path: Vec<Vec<u8>> =
                                tree::names(&shown).into_iter().skip(depth).map(<[u8]>::to_vec).collect();
                            if !is_dir {
                                self.parents(&inside, &path, &shown)?;
                                self.entry(shown, path, entry, &mut window)?;
                            } else if wanted {
                                self.parents(&inside, &path, &shown)?;
                                if self.folder(&shown, &path)? {
                                    inside.push(Folder { path, shown, entry });
                                } else {
                                    walk.leave_out();
                                }
                            } else {
                                // made when something in it is wanted
                                inside.push(Folder { path, shown, entry });
                            }
                        }
                    }
                    if left.len() > FOLDERS {
                        self.flush(&mut window)?;
                        self.finish_folders(&mut left);
                    }
                }
                self.flush(&mut window)?;
                self.finish_folders(&mut left);
                return Ok(());
            }
        }
        self.flush(&mut window)
    }

    /// Makes the folders above a wanted name that were passed over so far.
    fn parents(&self, inside: &[Folder], path: &[Vec<u8>], shown: &[u8]) -> Result<()> {
        for n in 1..path.len() {
            let part = &path[..n]; // n < len
            if matches!(self.target.exists(&refs(part)), Ok(None)) {
                let known = inside.iter().find(|f| f.path.as_slice() == part).map_or(shown, |f| &f.shown);
                self.folder(known, part)?;
            }
        }
        Ok(())
    }

    /// Makes one folder; false where its name is taken by something else.
    fn folder(&self, shown: &[u8], path: &[Vec<u8>]) -> Result<bool> {
        match self.target.create_dir(&refs(path)) {
            Ok(new) => {
                if new {
                    self.count(|r| r.dirs += 1);
                }
                Ok(true)
            }
            Err(e) => {
                self.fail(shown, &e);
                Ok(false)
            }
        }
    }

    fn finish_folders(&self, left: &mut Vec<Folder>) {
        for Folder { path, shown, entry } in left.drain(..) {
            if !matches!(self.target.exists(&refs(&path)), Ok(Some(m)) if m.kind == FileKind::Dir) {
                continue; // nothing in it was wanted, or it could not be made
            }
            let attributes = self.attributes(&shown, &entry);
            match self.target.set_dir_metadata(&refs(&path), &self.metadata(&entry, &attributes)) {
                Ok(warnings) => warnings.iter().for_each(|w| self.metadata_failed(&shown, format!("{w:?}"))),
                Err(e) => self.metadata_failed(&shown, e.to_string()),
            }
        }
    }

    fn metadata<'m>(&self, entry: &Entry, attributes: &'m [(Vec<u8>, Vec<u8>)]) -> SetMetadata<'m> {
        let owner = self.options.owner.then(|| {
            let by_name = |name: &Option<String>, id: u32, find: &dyn Fn(&str) -> Option<u32>| {
                name.as_deref().and_then(find).unwrap_or(id)
            };
            let uid = by_name(&entry.user, entry.uid, &|n| self.users.user_id(n));
            (uid, by_name(&entry.group, entry.gid, &|n| self.users.group_id(n)))
        });
        SetMetadata { mode: entry.mode, mtime: (entry.mtime.seconds, entry.mtime.nanos), owner, attributes }
    }

    fn attributes(&self, shown: &[u8], entry: &Entry) -> Vec<(Vec<u8>, Vec<u8>)> {
        tree::attributes(self.store, entry).unwrap_or_else(|e| {
            self.metadata_failed(shown, format!("its extended attributes are lost: {e}"));
            Vec::new()
        })
    }

    /// Makes a symlink or begins a file.
    fn entry(&self, shown: Vec<u8>, path: Vec<Vec<u8>>, entry: Entry, window: &mut Window) -> Result<()> {
        if self.options.overwrite && self.cleared(&shown, &path, &entry).is_none() {
            return Ok(());
        }
        match &entry.kind {
            EntryKind::Dir(_) => Ok(()),
            EntryKind::Symlink(to) => {
                let attributes = self.attributes(&shown, &entry);
                match self.target.symlink(&refs(&path), to, &self.metadata(&entry, &attributes)) {
                    Ok(warnings) => {
                        self.count(|r| r.symlinks += 1);
                        warnings.iter().for_each(|w| self.metadata_failed(&shown, format!("{w:?}")));
                    }
                    Err(e) => self.fail(&shown, &e),
                }
                Ok(())
            }
            EntryKind::File { bytes, .. } => {
                if let Some(link) = entry.link {
                    let first = self.links.lock().unwrap_or_else(PoisonError::into_inner).get(&link).cloned();
                    if let Some(first) = first {
                        // its first name may still be in the window
                        if !matches!(self.target.exists(&refs(&first)), Ok(Some(_))) {
                            self.flush(window)?;
                        }
                        if self.target.hard_link(&refs(&first), &refs(&path)).is_ok() {
                            let lacks =
                                self.partial_links.lock().unwrap_or_else(PoisonError::into_inner).get(&link).cloned();
                            if let Some((holes, reason)) = lacks {
                                self.count(|r| r.files_partial += 1);
                                self.list(&shown, &holes);
                                self.lose(&shown, holes.bytes(), reason);
                            }
                            self.count(|r| r.hard_links += 1);
                            self.control.progress.files_done.fetch_add(1, Ordering::Relaxed);
                            self.control.progress.bytes_done.fetch_add(*bytes, Ordering::Relaxed);
                            return Ok(());
                        }
                    } else {
                        self.links.lock().unwrap_or_else(PoisonError::into_inner).insert(link, path.clone());
                    }
                }
                self.file(shown, path, entry, window)
            }
        }
    }

    /// With `--overwrite`: removes what has the name, if that is not a folder. `None` where it stays.
    fn cleared(&self, shown: &[u8], path: &[Vec<u8>], entry: &Entry) -> Option<()> {
        match self.target.exists(&refs(path)) {
            Ok(None) => Some(()),
            Ok(Some(m)) if m.kind == FileKind::File && matches!(entry.kind, EntryKind::File { .. }) => Some(()), // replaced at the end
            Ok(Some(_)) => match self.target.remove(&refs(path)) {
                Ok(()) => Some(()),
                Err(e) => {
                    self.fail(shown, &e);
                    None
                }
            },
            Err(e) => {
                self.fail(shown, &e);
                None
            }
        }
    }

    fn file(&self, shown: Vec<u8>, path: Vec<Vec<u8>>, entry: Entry, window: &mut Window) -> Result<()> {
        let EntryKind::File { bytes, content } = entry.kind.clone() else { return Ok(()) };
        let out = match self.target.create_file(&refs(&path)) {
            Ok(out) => out,
            Err(e) => {
                self.fail(&shown, &e);
                return Ok(());
            }
        };
        let prepared = match &content {
            Content::Inline(bytes) => out.write_at(bytes, 0),
            Content::Recipe(_) => out.set_len(bytes),
        };
        let open = Arc::new(Open {
            shown,
            entry,
            out: RwLock::new(Some(out)),
            left: AtomicUsize::new(1), // the walk's own share, given back below
            bytes,
            lack: Mutex::default(),
        });
        if let Err(e) = prepared {
            self.give_up(&open, &e);
            return Ok(());
        }
        if let Content::Recipe(recipe) = &content {
            let mut at = 0;
            for piece in Pieces::new(self.store, recipe, 0, bytes) {
                self.control.proceed()?;
                let piece = match piece {
                    Ok(piece) => piece,
                    Err(e) => {
                        self.lose_part(&open, at, bytes - at, e.to_string());
                        at = bytes;
                        break;
                    }
                };
                at = piece.at + piece.bytes;
                match piece.what {
                    What::Hole => {
                        self.control.progress.bytes_done.fetch_add(piece.bytes, Ordering::Relaxed);
                    }
                    What::Fill(value) => self.fill(&open, piece.at, piece.bytes, value),
                    What::Mapped(segment) => {
                        open.left.fetch_add(1, Ordering::AcqRel);
                        let job = MappedPiece { file: Arc::clone(&open), at: piece.at, bytes: piece.bytes, segment };
                        window.mapped.push(job);
                        if window.mapped.len() >= WINDOW_MAPPED {
                            self.flush(window)?;
                        }
                    }
                    What::Chunk { id, skip, .. } => {
                        open.left.fetch_add(1, Ordering::AcqRel);
                        let bytes = piece.bytes as u32; // a piece of a chunk is no longer than a chunk
                        window.wants.push(Want { id, file: Arc::clone(&open), at: piece.at, skip, bytes });
                        if window.wants.len() >= WINDOW_PIECES {
                            self.flush(window)?;
                        }
                    }
                }
            }
            if at < bytes {
                self.lose_part(&open, at, bytes - at, "its recipe covers less than the file".into());
            }
        } else {
            self.control.progress.bytes_done.fetch_add(bytes, Ordering::Relaxed);
        }
        self.done(&open);
        if open.left.load(Ordering::Acquire) > 0 {
            window.files += 1;
            if window.files >= WINDOW_FILES {
                self.flush(window)?;
            }
        }
        Ok(())
    }

    fn fill(&self, open: &Open, mut at: u64, mut left: u64, value: u8) {
        let piece = vec![value; left.min(1 << 20) as usize];
        while left > 0 {
            let n = left.min(piece.len() as u64);
            self.write(open, &piece[..n as usize], at);
            at += n;
            left -= n;
        }
    }

    fn write(&self, open: &Open, bytes: &[u8], at: u64) {
        let guard = open.out.read().unwrap_or_else(PoisonError::into_inner);
        let Some(out) = guard.as_ref() else { return };
        if let Err(e) = out.write_at(bytes, at) {
            drop(guard);
            self.give_up(open, &e);
        } else {
            self.control.progress.bytes_done.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        }
    }

    fn lose_part(&self, open: &Open, at: u64, bytes: u64, reason: String) {
        let mut lack = open.lack.lock().unwrap_or_else(PoisonError::into_inner);
        lack.get_or_insert_with(|| (reason, Holes::default())).1.add(at, bytes);
    }

    /// The target did not take the file.
    fn give_up(&self, open: &Open, e: &std::io::Error) {
        let taken = open.out.write().unwrap_or_else(PoisonError::into_inner).take(); // no lock is held while others are told
        if let Some(out) = taken {
            let _ = self.target.abandon(out); // a leftover is under a temporary name
            self.fail(&open.shown, e);
        }
    }

    /// One share of a file is done; with the last one it gets its name.
    fn done(&self, open: &Open) {
        if open.left.fetch_sub(1, Ordering::AcqRel) != 1 {
            return;
        }
        let Some(out) = open.out.write().unwrap_or_else(PoisonError::into_inner).take() else { return };
        let lack = open.lack.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some((mut reason, holes)) = lack {
            let lost = holes.bytes();
            if self.options.partial && lost < open.bytes {
                reason = self.finish_partial(open, out, holes, reason);
            } else {
                let _ = self.target.abandon(out); // a leftover is under a temporary name
            }
            self.lose(&open.shown, lost, reason);
            return;
        }
        let attributes = self.attributes(&open.shown, &open.entry);
        match self.target.finish(out, &self.metadata(&open.entry, &attributes), self.options.overwrite) {
            Ok(warnings) => {
                self.count(|r| {
                    r.files += 1;
                    r.bytes += open.bytes;
                });
                self.control.progress.files_done.fetch_add(1, Ordering::Relaxed);
                warnings.iter().for_each(|w| self.metadata_failed(&open.shown, format!("{w:?}")));
            }
            Err(e) => self.fail(&open.shown, &e),
        }
    }

    /// Gives a file with holes its name, and lists them. Returns why it is lost. Never takes the place of another file,
    /// which may be whole.
    fn finish_partial(&self, open: &Open, out: OutFile, holes: Holes, reason: String) -> String {
        let attributes = self.attributes(&open.shown, &open.entry);
        match self.target.finish(out, &self.metadata(&open.entry, &attributes), false) {
            Ok(warnings) => {
                self.count(|r| {
                    r.files_partial += 1;
                    r.bytes += open.bytes.saturating_sub(holes.bytes());
                });
                warnings.iter().for_each(|w| self.metadata_failed(&open.shown, format!("{w:?}")));
                self.list(&open.shown, &holes);
                if let Some(link) = open.entry.link {
                    let mut links = self.partial_links.lock().unwrap_or_else(PoisonError::into_inner);
                    links.insert(link, (Arc::new(holes), reason.clone()));
                }
                reason
            }
            Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => {
                format!("{reason}; what has its name in the target stays as it is")
            }
            Err(e) => {
                self.fail(&open.shown, &e);
                reason
            }
        }
    }

    /// Notes what a file that stands in the target lacks.
    fn list(&self, shown: &[u8], holes: &Holes) {
        holes::lines(shown, holes, LIST_BYTES, &mut self.list.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// Writes the list of holes, sorted, into the target.
    fn write_list(&self) -> Result<()> {
        let list = std::mem::take(&mut *self.list.lock().unwrap_or_else(PoisonError::into_inner));
        if list.is_empty() {
            return Ok(());
        }
        let mut lines: Vec<&str> = list.lines().collect();
        lines.sort_by_key(|line| line.split_once('\t').map_or(*line, |(path, _)| path)); // stable: holes stay in order
        let text = format!("# path, first and last byte of what could not be had\n{}\n", lines.join("\n"));
        let failed = |e| Error::io("write the list of holes into", &self.options.target)(e);
        for n in 0..1000u32 {
            let name = if n == 0 { HOLES_FILE.to_owned() } else { format!("{HOLES_FILE}.{n}") };
            let out = self.target.create_file(&[name.as_bytes()]).map_err(failed)?;
            out.write_at(text.as_bytes(), 0).map_err(failed)?;
            let now = self.store.io().world.now_ns();
            let nanos = now.rem_euclid(1_000_000_000) as u32; // below 10^9
            let mtime = (now.div_euclid(1_000_000_000), nanos);
            let metadata = SetMetadata { mode: 0o644, mtime, owner: None, attributes: &[] };
            match self.target.finish(out, &metadata, false) {
                Ok(_) => {
                    self.count(|r| r.holes = Some(name));
                    return Ok(());
                }
                Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => {}
                Err(e) => return Err(failed(e)),
            }
        }
        Err(failed(std::io::ErrorKind::AlreadyExists.into()))
    }

    // ---- a window -------------------------------------------------------------------------------

    /// Reads and writes everything that the window wants.
    fn flush(&self, window: &mut Window) -> Result<()> {
        let wants = std::mem::take(&mut window.wants);
        let mapped = std::mem::take(&mut window.mapped);
        window.files = 0;
        if wants.is_empty() && mapped.is_empty() {
            return Ok(());
        }
        let mapped = Mutex::new(mapped.into_iter());
        let mut by_id: HashMap<ChunkId, Vec<Want>> = HashMap::with_capacity(wants.len());
        for want in wants {
            by_id.entry(want.id).or_default().push(want);
        }
        let ids: Vec<ChunkId> = by_id.keys().copied().collect();
        let mut found: Vec<(Located, Vec<Want>)> = Vec::with_capacity(ids.len());
        for part in ids.chunks(4096) {
            for (id, at) in part.iter().zip(self.store.find(part)?) {
                let wants = by_id.remove(id).unwrap_or_default();
                match at {
                    Some(at) => found.push((at, wants)),
                    None => self.lose_wants(wants, "a chunk of it is in no pack that can be read"),
                }
            }
        }
        found.sort_by_key(|(at, _)| (at.sealed.disk, at.sealed.serial, at.place.offset));
        let runs = Mutex::new(runs(found));
        let cores = threads::parallelism();
        let disks = self.store.pool().disks().count();
        let by_memory = (self.store.memory_bytes() / (32 << 20)).max(1) as usize; // a small number
        let threads = cores.max(disks).min(by_memory).min(16);
        threads::scope(|scope| {
            let work = || self.read_runs(&runs).and_then(|()| self.rebuild(&mapped));
            let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
            let mut outcome = Ok(());
            for worker in workers {
                match worker.join() {
                    Ok(Ok(())) => {}
                    Ok(Err(e)) => outcome = Err(e),
                    Err(_) => outcome = Err(Error::WorkerLost { verb: "restore" }),
                }
            }
            outcome
        })
    }

    fn lose_wants(&self, wants: Vec<Want>, reason: &str) {
        for want in wants {
            self.lose_part(&want.file, want.at, u64::from(want.bytes), reason.to_owned());
            self.done(&want.file);
        }
    }

    fn read_runs(&self, runs: &Mutex<std::collections::VecDeque<ReadRun>>) -> Result<()> {
        let mut unsqueezer = Unsqueezer::default();
        let mut buffer = Vec::new();
        loop {
            self.control.proceed()?;
            let Some(run) = runs.lock().unwrap_or_else(PoisonError::into_inner).pop_front() else { return Ok(()) };
            self.read_run(run, &mut unsqueezer, &mut buffer);
        }
    }

    /// Rebuilds mapped segments, in the order of their files, so that neighbours share the chunks that are read.
    fn rebuild(&self, pieces: &Mutex<std::vec::IntoIter<MappedPiece>>) -> Result<()> {
        loop {
            self.control.proceed()?;
            let Some(piece) = pieces.lock().unwrap_or_else(PoisonError::into_inner).next() else { return Ok(()) };
            let skip = (piece.at - piece.segment.at) as usize; // a piece lies in its segment, which is short
            match self.store.rebuilt(&piece.segment) {
                Ok(bytes) => match bytes.get(skip..skip + piece.bytes as usize) {
                    Some(bytes) => self.write(&piece.file, bytes, piece.at),
                    None => {
                        let why = "a segment is shorter than its recipe says";
                        self.lose_part(&piece.file, piece.at, piece.bytes, why.into())
                    }
                },
                Err(e @ Error::Index { .. }) => return Err(e),
                Err(e) => self.lose_part(&piece.file, piece.at, piece.bytes, e.to_string()),
            }
            self.done(&piece.file);
        }
    }

    fn read_run(&self, run: ReadRun, unsqueezer: &mut Unsqueezer, buffer: &mut Vec<u8>) {
        let Some((first, _)) = run.wants.first() else { return };
        let whole = self.store.open_pack(&first.sealed).and_then(|file| {
            buffer.resize((run.to - run.from) as usize, 0); // a run is bounded in bytes
            file.read_exact_at(buffer, run.from).map_err(Error::io("read", self.store.pool().place(&first.sealed)))
        });
        for (at, wants) in run.wants {
            let Some(id) = wants.first().map(|w| w.id) else { continue };
            let plain = match &whole {
                Ok(()) => {
                    let offset = u64::from(at.place.offset);
                    let start = (offset - run.from) as usize; // the run begins at its first record
                    let record = buffer.get(start..start + at.place.stored as usize).unwrap_or_default();
                    let opened = self.store.open_read(&id, &at, record, unsqueezer, &mut |base| self.store.base(base));
                    // once more by itself: there may be another copy
                    opened.or_else(|_| self.store.read_at(ChunkKind::Data, &id, &at, unsqueezer))
                }
                // one bad sector must not take the run's other records with it
                Err(_) => self.store.read_at(ChunkKind::Data, &id, &at, unsqueezer),
            };
            match plain {
                Ok(plain) => {
                    for want in wants {
                        let part = plain.get(want.skip as usize..(want.skip + want.bytes) as usize);
                        match part {
                            Some(part) => self.write(&want.file, part, want.at),
                            None => self.lose_part(
                                &want.file,
                                want.at,
                                u64::from(want.bytes),
                                "a chunk of it is shorter than its recipe says".into(),
                            ),
                        }
                        self.done(&want.file);
                    }
                }
                Err(e) => self.lose_wants(wants, &e.to_string()),
            }
        }
    }
}

/// A part of a mapped segment.
struct MappedPiece {
    file: Arc<Open>,
    at: u64,
    bytes: u64,
    segment: Box<MappedSegment>,
}

#[derive(Default)]
struct Window {
    wants: Vec<Want>,
    mapped: Vec<MappedPiece>,
    files: usize,
}

/// Joins records that lie near each other into runs, and deals the disks' runs out in turns, so that all
/// disks work at once.
fn runs(found: Vec<(Located, Vec<Want>)>) -> std::collections::VecDeque<ReadRun> {
    let mut per_disk: Vec<std::collections::VecDeque<ReadRun>> = Vec::new();
    let mut disk = None;
    for (at, wants) in found {
        let (from, to) = (u64::from(at.place.offset), u64::from(at.place.offset) + u64::from(at.place.stored));
        if disk != Some(at.sealed.disk) || per_disk.is_empty() {
            disk = Some(at.sealed.disk);
            per_disk.push(std::collections::VecDeque::new());
        }
        let Some(list) = per_disk.last_mut() else { continue };
        match list.back_mut() {
            Some(run)
                if run.wants.first().is_some_and(|(f, _)| f.sealed.serial == at.sealed.serial)
                    && from >= run.to
                    && from - run.to <= GAP_BYTES
                    && to - run.from <= RUN_BYTES =>
            {
                run.to = to;
                run.wants.push((at, wants));
            }
            _ => list.push_back(ReadRun { wants: vec![(at, wants)], from, to }),
        }
    }
    let mut out = std::collections::VecDeque::new();
    while !per_disk.is_empty() {
        per_disk.retain_mut(|list| {
            out.extend(list.pop_front());
            !list.is_empty()
        });
    }
    out
}
