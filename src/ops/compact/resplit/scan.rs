//! Which files are to be split anew: the trees of all live snapshots, each folder once.
//!
//! What decides is the recipe's splitter and version. Only of a file that no splitter took the beginning is read, as a backup
//! does to choose. One with holes stays: holes are kept for files that are stored in one stream.

use super::{Split, done, key_of, short};
use crate::catalog::tree::{Step, Walk};
use crate::error::{Error, Result};
use crate::format::entry::{Content, Entry, EntryKind};
use crate::format::node::MapRoot;
use crate::format::recipe::{Recipe, Segment, Segments};
use crate::media::{self, Hints};
use crate::ops::share::is_of_one_place;
use crate::ops::{Control, Notice, backup, cat, snapshots};
use crate::store::Store;
use std::collections::{BTreeMap, HashSet};

/// What a file of the plan takes beside its recipe and path.
const CHOSEN_BYTES: u64 = 160;
/// What an id takes in a set, its slack included.
const ID_BYTES: u64 = 20;

/// A file to split anew.
pub(super) struct Chosen {
    /// Of its content, whatever it is called.
    pub key: [u8; 32],
    pub content: Content,
    pub bytes: u64,
    /// Where it was met first, for a notice.
    pub path: Vec<u8>,
}

/// What the scans of one run know. Folders and files are known by eight bytes of their keys.
pub(super) struct Memory {
    pub split: Split,
    /// Folders of the list in `STORE`.
    pub listed: HashSet<u64>,
    /// Folders that this run found to have nothing left.
    pub clean: HashSet<u64>,
    /// Files that need not be tried: of the list, or no splitter takes them.
    pub known: HashSet<u64>,
    /// Files that this run tried: what came of them was the same, or is what stands in the trees.
    pub tried: HashSet<u64>,
    /// Files that could not be read or proven, or that stay in a snapshot whose tree cannot be read.
    pub failed: HashSet<u64>,
    /// What cannot be read was told.
    told: bool,
    most: usize,
}

impl Memory {
    fn empty(split: Split, most: usize) -> Memory {
        let [listed, clean, known, tried, failed]: [HashSet<u64>; 5] = Default::default();
        Memory { split, listed, clean, known, tried, failed, told: false, most }
    }

    /// Whether more was tried than can be remembered.
    pub fn is_full(&self) -> bool {
        self.tried.len() > self.most || self.failed.len() > self.most
    }

    /// Whether there is nothing left below a folder.
    pub fn is_done(&self, folder: u64) -> bool {
        self.clean.contains(&folder) || self.listed.contains(&folder)
    }
}

/// What would be split anew.
pub struct ResplitPlan {
    /// Files that were looked at, and how many would be split anew. Files with one content count once.
    pub looked_at: u64,
    pub files: u64,
    pub bytes: u64,
    /// By the splitter that would take them, as far as it is known: files and bytes.
    pub by_splitter: BTreeMap<u16, (u64, u64)>,
    /// Of these files, those that a limit leaves for another run.
    pub left: u64,
    /// Folders, or files' beginnings, that cannot be read.
    pub unreadable: u64,
    pub(super) chosen: Vec<Chosen>,
    pub(super) memory: Memory,
    pub(super) most_bytes: Option<u64>,
}

impl ResplitPlan {
    /// Takes what is known out of it, for the next plan.
    pub(super) fn take_memory(&mut self) -> Memory {
        let empty = Memory::empty(self.memory.split, self.memory.most);
        std::mem::replace(&mut self.memory, empty)
    }

    pub fn is_empty(&self) -> bool {
        self.chosen.is_empty()
    }
}

/// # Errors
/// [`Error::Interrupted`], [`Error::Index`].
pub(in crate::ops::compact) fn plan(
    store: &Store,
    split: Split,
    most_bytes: Option<u64>,
    control: &Control,
) -> Result<ResplitPlan> {
    let most = usize::try_from(store.memory_bytes() / 32 / ID_BYTES).unwrap_or(usize::MAX);
    let listed = done::load(store, split);
    let mut memory = Memory::empty(split, most);
    memory.listed.extend(listed.folders.into_iter().take(most));
    memory.known.extend(listed.files.into_iter().take(most));
    again(store, memory, most_bytes, control)
}

/// A folder that is gone through.
struct Frame {
    key: u64,
    is_clean: bool,
}

/// As [`plan`], behind a round.
pub(super) fn again(store: &Store, memory: Memory, most_bytes: Option<u64>, control: &Control) -> Result<ResplitPlan> {
    control.progress.set_phase("looking at files");
    let plan = ResplitPlan {
        looked_at: 0,
        files: 0,
        bytes: 0,
        by_splitter: BTreeMap::new(),
        left: 0,
        unreadable: 0,
        chosen: Vec::new(),
        memory,
        most_bytes,
    };
    let (met, dirty) = Default::default();
    let mut scan = Scan { store, control, plan, met, dirty, room: store.memory_bytes() / 16, is_closed: false };
    for info in snapshots::list(store, &[]).iter().rev() {
        scan.snapshot(&info.snapshot.tree)?;
        if scan.is_at_end() {
            break;
        }
    }
    scan.plan.memory.told = true;
    Ok(scan.plan)
}

struct Scan<'s> {
    store: &'s Store,
    control: &'s Control,
    plan: ResplitPlan,
    /// Files of the plan that were met.
    met: HashSet<u64>,
    /// Folders that were gone through and have something left.
    dirty: HashSet<u64>,
    /// Bytes of memory for files that are chosen.
    room: u64,
    /// Whatever is met further is for the next round, or another run.
    is_closed: bool,
}

impl Scan<'_> {
    /// Behind a round nobody asks how much is left: the beginnings of all these files would be read each time.
    fn is_at_end(&self) -> bool {
        self.is_closed && self.plan.memory.told
    }

    fn snapshot(&mut self, tree: &MapRoot) -> Result<()> {
        let root = short(&key_of(self.store.keys(), tree));
        if self.plan.memory.is_done(root) || self.dirty.contains(&root) {
            return Ok(());
        }
        let mut stack = vec![Frame { key: root, is_clean: true }];
        let mut walk = Walk::new(self.store, tree, b"");
        while let Some(step) = walk.next() {
            self.control.proceed()?;
            let is_clean = match step {
                Step::Unreadable(path, e) => self.unreadable(&path, &e)?,
                Step::Leave(_) => stack.pop().is_none_or(|frame| self.close(&frame)),
                Step::Entry(path, entry) => match &entry.kind {
                    EntryKind::Dir(children) => {
                        let key = short(&key_of(self.store.keys(), children));
                        let (is_done, is_dirty) = (self.plan.memory.is_done(key), self.dirty.contains(&key));
                        if is_done || is_dirty {
                            walk.leave_out();
                        } else {
                            stack.push(Frame { key, is_clean: true });
                        }
                        !is_dirty
                    }
                    EntryKind::File { bytes, content: Content::Recipe(recipe) } => {
                        self.file(&path, &entry, *bytes, recipe)?
                    }
                    EntryKind::File { .. } | EntryKind::Symlink(_) => true,
                },
            };
            if self.is_at_end() {
                return Ok(()); // nothing is known of the folders that are open
            }
            if let Some(top) = stack.last_mut() {
                top.is_clean &= is_clean;
            }
        }
        if let Some(frame) = stack.pop() {
            self.close(&frame);
        }
        Ok(())
    }

    /// A folder was gone through. Beyond memory's bound it is gone through again.
    fn close(&mut self, frame: &Frame) -> bool {
        let known = if frame.is_clean { &mut self.plan.memory.clean } else { &mut self.dirty };
        if known.len() < self.plan.memory.most {
            known.insert(frame.key);
        }
        frame.is_clean
    }

    fn unreadable(&mut self, path: &[u8], e: &Error) -> Result<bool> {
        if !self.plan.memory.told {
            let path = crate::format::text::escape(path);
            self.control.notice(Notice::Note(format!("what lies at {path} is not looked at: {}", e.line())));
        }
        self.plan.unreadable += 1;
        Ok(false)
    }

    /// Looks at one file; returns whether nothing is to be done.
    fn file(&mut self, path: &[u8], entry: &Entry, bytes: u64, recipe: &Recipe) -> Result<bool> {
        let split = self.plan.memory.split;
        let number = recipe.splitter.0;
        let is_opaque = number == media::OPAQUE.number;
        let present = media::SPLITTERS.iter().find(|s| s.number == number);
        let is_older = present.is_some_and(|now| recipe.splitter.1 < now.version);
        // One of a later version than this program's, or a splitter that it does not know, has seen a better one.
        let is_known = present.is_some_and(|now| recipe.splitter.1 <= now.version);
        if has_holes(recipe) || !is_known || !(is_opaque || is_older || split == Split::All) {
            return Ok(true);
        }
        let key = backup::content_key(self.store.keys(), &entry.kind);
        let id = short(&key);
        if self.plan.memory.tried.contains(&id) || self.plan.memory.known.contains(&id) {
            return Ok(true);
        }
        if self.met.contains(&id) || self.plan.memory.failed.contains(&id) {
            return Ok(false);
        }
        self.plan.looked_at += 1;
        let EntryKind::File { content, .. } = &entry.kind else { return Ok(true) }; // the caller saw one
        let mut by = number;
        if is_opaque {
            let head = match cat::head(self.store, content, bytes, media::HINT_BYTES as u64, &Control::default()) {
                Ok(head) => head,
                Err(e) if is_of_one_place(&e) => {
                    remember(&mut self.plan.memory.failed, id, self.plan.memory.most);
                    return self.unreadable(path, &e);
                }
                Err(e) => return Err(e),
            };
            by = media::open(Hints { head: &head, tail: None }).id().number;
            if by == media::OPAQUE.number {
                remember(&mut self.plan.memory.known, id, self.plan.memory.most);
                return Ok(true);
            }
        }
        remember(&mut self.met, id, self.plan.memory.most);
        self.plan.files += 1;
        let before = self.plan.bytes;
        self.plan.bytes += bytes;
        let count = self.plan.by_splitter.entry(by).or_default();
        (count.0, count.1) = (count.0 + 1, count.1 + bytes);
        let takes = CHOSEN_BYTES + path.len() as u64 + recipe.encode().len() as u64;
        let is_left = self.plan.left > 0 || self.plan.most_bytes.is_some_and(|most| before >= most);
        if is_left {
            self.plan.left += 1;
            self.is_closed = true;
        } else if takes <= self.room {
            self.room -= takes;
            self.plan.chosen.push(Chosen { key, content: content.clone(), bytes, path: path.to_vec() });
        } else {
            self.room = 0; // for the next round, with all behind it
            self.is_closed = true;
        }
        Ok(false)
    }
}

fn remember(set: &mut HashSet<u64>, id: u64, most: usize) {
    if set.len() < most {
        set.insert(id);
    }
}

/// Whether a recipe has holes, or may have: many segments of one stream are the data between holes.
fn has_holes(recipe: &Recipe) -> bool {
    match &recipe.segments {
        Segments::Inline(list) => list.iter().any(|s| matches!(s, Segment::Hole { .. })),
        Segments::List { .. } => recipe.splitter.0 == media::OPAQUE.number,
    }
}
