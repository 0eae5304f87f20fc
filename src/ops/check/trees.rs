//! The snapshots: every node, every list, and where every chunk of every file can be had.
//!
//! Trees share most of their nodes. A node below which nothing is amiss is kept in mind and not entered
//! again; one with a loss below it is entered in each snapshot anew, so that the loss is told under each
//! snapshot and path that has it.

use super::truth::Judge;
use super::{CheckReport, LOST_FILES_MAX, Problems};
use crate::catalog::recipe::{Pieces, What};
use crate::error::{Error, Result};
use crate::format::entry::{Attributes, Content, Entry, EntryKind};
use crate::format::node::{Items, MapRoot, Node};
use crate::format::recipe::{Recipe, Stream};
use crate::format::{ChunkId, SnapshotId, limits};
use crate::ops::{Control, FileLost, cat};
use crate::store::Store;
use std::collections::{BTreeSet, HashSet};
use std::sync::atomic::Ordering;

/// Chunks that are looked up at once.
const BATCH: usize = 1024;
/// What a node in the set of sound ones takes: sixteen bytes of its id, and the table's slack.
const SOUND_NODE_BYTES: u64 = 36;

/// What is still to be done in a folder.
enum Task {
    /// A node of the folder's map.
    Node { level: u8, id: ChunkId, entries: u64 },
    /// Items of a leaf or of an inline folder.
    Items(Vec<u8>),
    /// A folder in the folder.
    Dir { name: Vec<u8>, children: MapRoot },
}

/// A node or folder that is being gone through.
struct Frame {
    /// In reverse.
    todo: Vec<Task>,
    /// Set where the frame stands for a node: to be called sound when nothing below is amiss.
    node: Option<u128>,
    sound: bool,
    /// Why all in it is lost, where the judge says so.
    lost: Option<String>,
    /// Length of the path outside of it.
    outside: usize,
    folder: bool,
}

/// A part of a file: where in its batch it was asked for.
struct Part {
    file: usize,
    bytes: u64,
}

/// What became of one file.
#[derive(Default)]
struct Verdict {
    name: Vec<u8>,
    bytes_lost: u64,
    /// The recipe cannot be read: what is lost with it, instead of the sum.
    whole: Option<u64>,
    reason: Option<String>,
    /// To be rebuilt: the file's bytes, and how.
    rebuild: Option<(u64, Box<Recipe>)>,
}

struct Trees<'t> {
    truth: &'t dyn Judge,
    /// Where files are rebuilt from, if they are.
    rebuild: Option<&'t Store>,
    rebuilt: (u64, u64),
    control: &'t Control,
    sound: HashSet<u128>,
    sound_max: usize,
    snapshot: String,
    path: Vec<u8>,
    stack: Vec<Frame>,
    lost: Vec<FileLost>,
    room: usize,
    files_lost: u64,
    bytes_lost: u64,
}

/// Checks all live snapshots.
///
/// # Errors
/// [`Error::Interrupted`].
pub(in crate::ops) fn check(
    store: &Store,
    truth: &dyn Judge,
    rebuild: bool,
    control: &Control,
    report: &mut CheckReport,
    problems: &mut Problems,
) -> Result<()> {
    let snapshots: Vec<(SnapshotId, MapRoot, u64)> = store.with_state(|s| {
        let live = s.live_snapshots().into_iter();
        live.map(|(id, s)| (id, s.snapshot.tree.clone(), s.snapshot.counts.files)).collect()
    });
    let total = snapshots.iter().map(|(_, _, files)| *files).sum();
    control.progress.files_total.store(total, Ordering::Relaxed);
    let mut trees = Trees {
        truth,
        rebuild: rebuild.then_some(store),
        rebuilt: (0, 0),
        control,
        sound: HashSet::new(),
        sound_max: usize::try_from(store.memory_bytes() / 4 / SOUND_NODE_BYTES).unwrap_or(usize::MAX),
        snapshot: String::new(),
        path: Vec::new(),
        stack: Vec::new(),
        lost: Vec::new(),
        room: LOST_FILES_MAX,
        files_lost: 0,
        bytes_lost: 0,
    };
    for (id, tree, files) in snapshots {
        trees.snapshot = id.to_string();
        match trees.walk(tree) {
            Ok(()) => {}
            // Losses are told, so what comes here is the index's or ours.
            Err(e @ Error::Interrupted) => return Err(e),
            Err(e) => {
                problems.repairable(format!(
                    "snapshot {} could not be checked to its end: {}; run `onefold recover` and check again",
                    id.short(),
                    e.line()
                ));
                trees.stack.clear();
            }
        }
        trees.lost.sort_by(|a, b| a.path.cmp(&b.path));
        trees.room -= trees.lost.len().min(trees.room);
        report.lost.append(&mut trees.lost);
        report.snapshots += 1;
        report.files += files;
        control.progress.files_done.fetch_add(files, Ordering::Relaxed);
    }
    report.rebuilt = trees.rebuilt;
    report.files_lost = trees.files_lost;
    report.bytes_lost = trees.bytes_lost;
    let unnamed = trees.files_lost.saturating_sub(report.lost.len() as u64);
    if unnamed > 0 {
        problems.for_good(format!("another {unnamed} lost files are counted and not listed: restore tells each"));
    }
    Ok(())
}

impl Trees<'_> {
    fn lose(&mut self, path: Vec<u8>, bytes_lost: u64, reason: String) {
        for frame in &mut self.stack {
            frame.sound = false;
        }
        self.files_lost += 1;
        self.bytes_lost = self.bytes_lost.saturating_add(bytes_lost);
        if self.lost.len() < self.room {
            self.lost.push(FileLost { snapshot: self.snapshot.clone(), path, bytes_lost, reason });
        }
    }

    fn lose_below(&mut self, entries: Option<u64>, error: &Error) {
        let path = if self.path.is_empty() { b"/".to_vec() } else { self.path.clone() };
        let what = entries.map_or_else(String::new, |n| format!("{n} of its entries cannot be read: "));
        self.lose(path, 0, format!("a folder: {what}{}", error.line()));
    }

    fn walk(&mut self, tree: MapRoot) -> Result<()> {
        self.path.clear();
        self.stack.clear();
        self.stack.push(Frame {
            todo: vec![first_task(tree)],
            node: None,
            sound: true,
            lost: None,
            outside: 0,
            folder: true,
        });
        while let Some(frame) = self.stack.last_mut() {
            let Some(task) = frame.todo.pop() else {
                self.leave();
                continue;
            };
            self.control.proceed()?;
            match task {
                Task::Items(items) => self.items(&items)?,
                Task::Dir { name, children } => {
                    let outside = self.path.len();
                    self.path.push(b'/');
                    self.path.extend_from_slice(&name);
                    if self.stack.iter().filter(|f| f.folder).count() > limits::DEPTH {
                        let got = limits::DEPTH as u64 + 1;
                        let e = Error::Limit { what: "the depth of folders", got, max: limits::DEPTH as u64 };
                        self.lose_below(None, &e);
                        self.path.truncate(outside);
                        continue;
                    }
                    let todo = vec![first_task(children)];
                    self.stack.push(Frame { todo, node: None, sound: true, lost: None, outside, folder: true });
                }
                Task::Node { level, id, entries } => self.node(level, &id, entries)?,
            }
        }
        Ok(())
    }

    fn leave(&mut self) {
        let Some(frame) = self.stack.pop() else { return };
        self.path.truncate(frame.outside);
        if let Some(node) = frame.node.filter(|_| frame.sound)
            && self.sound.len() < self.sound_max
        {
            self.sound.insert(node);
        }
    }

    fn node(&mut self, level: u8, id: &ChunkId, entries: u64) -> Result<()> {
        let node = id.half();
        let above = self.stack.iter().any(|f| f.lost.is_some());
        if !above && self.sound.contains(&node) {
            return Ok(());
        }
        let lost = if above { None } else { self.truth.node_is_lost(id)? };
        let mut todo = match crate::catalog::map::read_node(self.truth, level, id) {
            Ok(Node::Leaf(items)) => vec![Task::Items(items)],
            Ok(Node::Inner(children)) => {
                let below = level - 1; // an inner node stands at level 2 or above
                children.into_iter().map(|c| Task::Node { level: below, id: c.id, entries: c.entries }).collect()
            }
            Err(e @ (Error::Index { .. } | Error::Interrupted)) => return Err(e),
            Err(e) => {
                self.lose_below(Some(entries), &e);
                return Ok(());
            }
        };
        todo.reverse();
        let sound = lost.is_none() && !above;
        if !sound {
            self.stack.iter_mut().for_each(|f| f.sound = false);
        }
        self.stack.push(Frame { todo, node: Some(node), sound, lost, outside: self.path.len(), folder: false });
        Ok(())
    }

    /// Judges the files among a leaf's items and leaves the folders to be done.
    fn items(&mut self, items: &[u8]) -> Result<()> {
        let mut folders = Vec::new();
        let mut batch = Batch::default();
        let lost = self.stack.iter().find_map(|f| f.lost.clone());
        for item in Items::new(items) {
            let (name, value) = match item {
                Ok(item) => item,
                Err(e) => {
                    self.lose_below(None, &e);
                    break;
                }
            };
            let entry = match Entry::decode(value) {
                Ok(entry) => entry,
                Err(e) => {
                    self.lose(self.path_of(name), 0, e.line());
                    continue;
                }
            };
            if let Some(why) = &lost {
                match entry.kind {
                    EntryKind::File { bytes, .. } => {
                        let file = batch.begin(name);
                        batch.whole(file, bytes, format!("a folder on the way to it: {why}"));
                    }
                    EntryKind::Symlink(_) => {}
                    EntryKind::Dir(children) => folders.push(Task::Dir { name: name.to_vec(), children }),
                }
                continue;
            }
            if let Attributes::Stream(stream) = &entry.attributes {
                self.attributes(&mut batch, name, stream)?;
            }
            match entry.kind {
                EntryKind::File { bytes, content: Content::Recipe(recipe) } => {
                    self.file(&mut batch, name, bytes, &recipe)?
                }
                EntryKind::File { content: Content::Inline(_), .. } | EntryKind::Symlink(_) => {}
                EntryKind::Dir(children) => folders.push(Task::Dir { name: name.to_vec(), children }),
            }
        }
        self.judge(&mut batch)?;
        self.rebuild(&mut batch)?;
        self.told(batch);
        folders.reverse();
        if let Some(frame) = self.stack.last_mut() {
            frame.todo.extend(folders);
        }
        Ok(())
    }

    fn path_of(&self, name: &[u8]) -> Vec<u8> {
        [self.path.as_slice(), b"/", name].concat()
    }

    fn file(&mut self, batch: &mut Batch, name: &[u8], bytes: u64, recipe: &Recipe) -> Result<()> {
        let file = batch.begin(name);
        let mut covered = 0u64;
        for (n, piece) in Pieces::new(self.truth, recipe, 0, bytes).enumerate() {
            if n.is_multiple_of(BATCH) {
                self.control.proceed()?;
            }
            match piece {
                Ok(piece) => {
                    covered = covered.saturating_add(piece.bytes);
                    match piece.what {
                        What::Chunk { id, .. } => batch.ask(id, Part { file, bytes: piece.bytes }),
                        What::Mapped(segment) => {
                            batch.rebuild(file, bytes, recipe);
                            // The segment is lost with any of its chunks. Where several are, its bytes count for each.
                            let ids: BTreeSet<ChunkId> = segment.parts.iter().flatten().map(|p| p.id).collect();
                            for id in ids {
                                batch.ask(id, Part { file, bytes: piece.bytes });
                            }
                        }
                        What::Hole | What::Fill(_) => {}
                    }
                    if batch.ids.len() >= BATCH {
                        self.judge(batch)?;
                    }
                }
                Err(e @ (Error::Index { .. } | Error::Interrupted)) => return Err(e),
                Err(e) => {
                    batch.whole(file, bytes, format!("its recipe cannot be read: {}", e.line()));
                    return Ok(());
                }
            }
        }
        if covered < bytes {
            let why = format!("its recipe makes only {covered} of its {bytes} bytes");
            batch.whole(file, bytes, why);
        }
        Ok(())
    }

    /// Extended attributes that stand in chunks of their own. Their loss loses no byte of the file.
    fn attributes(&mut self, batch: &mut Batch, name: &[u8], stream: &Stream) -> Result<()> {
        let file = batch.begin(name);
        let references = match crate::catalog::list::References::new(self.truth, stream, 0) {
            Ok(references) => references,
            Err(e @ (Error::Index { .. } | Error::Interrupted)) => return Err(e),
            Err(e) => {
                batch.whole(file, 0, format!("its attributes cannot be read: {}", e.line()));
                return Ok(());
            }
        };
        for reference in references {
            match reference {
                Ok((_, reference)) => batch.ask(reference.id, Part { file, bytes: 0 }),
                Err(e @ (Error::Index { .. } | Error::Interrupted)) => return Err(e),
                Err(e) => batch.whole(file, 0, format!("its attributes cannot be read: {}", e.line())),
            }
            if batch.ids.len() >= BATCH {
                self.judge(batch)?;
            }
        }
        Ok(())
    }

    /// Looks up what was asked for so far.
    fn judge(&self, batch: &mut Batch) -> Result<()> {
        for ids in batch.ids.chunks(BATCH) {
            let found = self.truth.find(ids)?;
            for ((id, part), found) in ids.iter().zip(&batch.parts).zip(found) {
                let (Err(lack), Some(verdict)) = (found, batch.verdicts.get_mut(part.file)) else { continue };
                verdict.bytes_lost = verdict.bytes_lost.saturating_add(part.bytes);
                verdict.reason.get_or_insert_with(|| self.truth.why(id, lack));
            }
            batch.parts.drain(..ids.len()); // as many parts as ids
        }
        batch.ids.clear();
        Ok(())
    }

    /// Rebuilds the files of a batch that are made of mapped segments, as far as nothing is known against it.
    fn rebuild(&mut self, batch: &mut Batch) -> Result<()> {
        let Some(store) = self.rebuild else { return Ok(()) };
        for verdict in batch.verdicts.iter_mut().filter(|v| v.reason.is_none()) {
            let Some((bytes, recipe)) = verdict.rebuild.take() else { continue };
            match cat::whole(store, &Content::Recipe(recipe), bytes, &mut std::io::sink(), self.control) {
                Ok(()) => self.rebuilt = (self.rebuilt.0 + 1, self.rebuilt.1 + bytes),
                Err(e @ (Error::Index { .. } | Error::Interrupted)) => return Err(e),
                Err(e) => {
                    verdict.whole = Some(bytes);
                    verdict.reason = Some(format!("it cannot be rebuilt: {}", e.line()));
                }
            }
        }
        Ok(())
    }

    fn told(&mut self, batch: Batch) {
        for mut verdict in batch.verdicts {
            if let Some(reason) = verdict.reason.take() {
                let bytes = verdict.whole.unwrap_or(verdict.bytes_lost);
                self.lose(self.path_of(&verdict.name), bytes, reason);
            }
        }
    }
}

fn first_task(root: MapRoot) -> Task {
    match root {
        MapRoot::Inline(items) => Task::Items(items),
        MapRoot::Node { level, id, entries } => Task::Node { level, id, entries },
    }
}

/// Chunks of a leaf's files on the way to be looked up.
#[derive(Default)]
struct Batch {
    verdicts: Vec<Verdict>,
    ids: Vec<ChunkId>,
    parts: Vec<Part>,
}

impl Batch {
    fn begin(&mut self, name: &[u8]) -> usize {
        self.verdicts.push(Verdict { name: name.to_vec(), ..Default::default() });
        self.verdicts.len() - 1
    }

    fn ask(&mut self, id: ChunkId, part: Part) {
        self.ids.push(id);
        self.parts.push(part);
    }

    fn rebuild(&mut self, file: usize, bytes: u64, recipe: &Recipe) {
        if let Some(verdict) = self.verdicts.get_mut(file) {
            verdict.rebuild.get_or_insert_with(|| (bytes, Box::new(recipe.clone())));
        }
    }

    fn whole(&mut self, file: usize, bytes: u64, reason: String) {
        if let Some(verdict) = self.verdicts.get_mut(file) {
            verdict.whole = Some(bytes);
            verdict.reason = Some(reason);
        }
    }
}
