//! Trees with new recipes: entries are copied, folders above a changed one are built anew from below.

use super::scan::Memory;
use super::{key_of, short};
use crate::catalog::map::{MapBuilder, MapIter};
use crate::error::{Error, Result};
use crate::format::entry::{Content, Entry, EntryKind};
use crate::format::event::Event;
use crate::format::node::MapRoot;
use crate::format::recipe::Recipe;
use crate::format::snapshot::Snapshot;
use crate::format::{SnapshotId, limits};
use crate::ops::backup;
use crate::ops::compact::CompactReport;
use crate::ops::ingest::{Ingest, Sink};
use crate::ops::share::is_of_one_place;
use crate::ops::{Control, Notice};
use crate::store::Store;
use std::collections::{BTreeSet, HashMap};

/// What a remembered folder takes beside a root that stands in its parent's entry.
const FOLDER_BYTES: u64 = 120;

/// Builds the trees of all live snapshots anew, and returns the events of those that changed, and whether some of them stays as
/// it is that should have changed.
///
/// # Errors
/// Those of an ingest, [`Error::Interrupted`].
pub(super) fn events(
    ingest: &Ingest<'_>,
    anew: &HashMap<[u8; 32], Recipe>,
    memory: &Memory,
    program: &str,
    control: &Control,
    report: &mut CompactReport,
) -> Result<(Vec<Event>, bool)> {
    let (store, mut kept) = (ingest.store(), 0);
    if anew.is_empty() {
        return Ok((Vec::new(), false));
    }
    let live: Vec<(SnapshotId, MapRoot, Vec<u8>)> = store.with_state(|state| {
        let live = state.live_snapshots().into_iter();
        live.map(|(id, s)| (id, s.snapshot.tree.clone(), s.record.clone())).collect()
    });
    let room = store.memory_bytes() / 16;
    let (sink, known, is_left) = (ingest.sink(), HashMap::new(), false);
    let mut trees = Trees { store, ingest, sink, anew, memory, known, room, is_left };
    let mut is_equal = false;
    let (mut events, mut taken) = (Vec::new(), BTreeSet::new());
    for (id, tree, record) in live {
        let new = match trees.rebuilt(&tree) {
            Ok(Some(new)) => new,
            Ok(None) => continue,
            Err(e) if is_of_one_place(&e) || matches!(e, Error::Limit { .. } | Error::Malformed { .. }) => {
                control.notice(Notice::Note(format!("snapshot {} stays as it is: {}", id.short(), e.line())));
                kept += 1;
                continue;
            }
            Err(e) => return Err(e),
        };
        let record = Snapshot::with_tree(&record, &new, program)?;
        let id_now = Snapshot::id_of(&record);
        // The log would refuse it. Two snapshots of one moment that come out equal: cannot be, and costs nothing.
        if !taken.insert(id_now) || store.with_state(|s| s.snapshot(&id_now).is_some() || s.now(&id_now) != id_now) {
            control.notice(Notice::Note(format!("snapshot {} stays as it is: another one equals it", id.short())));
            is_equal = true;
            continue;
        }
        events.push(Event::SnapshotResplit { old: id, record });
    }
    report.snapshots_kept = report.snapshots_kept.max(kept); // each round meets the same ones
    Ok((events, kept > 0 || is_equal || trees.is_left))
}

/// A folder that is gone through.
struct Folder<'s> {
    root: MapRoot,
    key: [u8; 32],
    items: MapIter<'s>,
    /// Items that were passed on.
    passed: usize,
    /// Where something changed.
    builder: Option<MapBuilder>,
    /// Its name and entry in the folder above.
    name: Vec<u8>,
    entry: Vec<u8>,
}

struct Trees<'i, 's> {
    store: &'s Store,
    ingest: &'i Ingest<'s>,
    sink: Sink<'i, 's>,
    anew: &'i HashMap<[u8; 32], Recipe>,
    memory: &'i Memory,
    /// Folders that were gone through: what became of each that changed. Beyond `room` they are gone through again, and come
    /// out equal.
    known: HashMap<[u8; 32], Option<MapRoot>>,
    room: u64,
    /// A folder that cannot be read, or a file whose new recipe is too long for its entry, stays as it is.
    is_left: bool,
}

impl<'s> Trees<'_, 's> {
    fn folder(&self, root: &MapRoot, key: [u8; 32], name: Vec<u8>, entry: Vec<u8>) -> Folder<'s> {
        let items = MapIter::new(self.store, root);
        Folder { root: root.clone(), key, items, passed: 0, builder: None, name, entry }
    }

    /// What is known of a folder: `Some(None)` if nothing in it changes.
    fn known(&self, key: &[u8; 32]) -> Option<Option<MapRoot>> {
        if self.memory.is_done(short(key)) {
            return Some(None);
        }
        self.known.get(key).cloned()
    }

    /// The tree with new recipes; `None` if none of its files has one.
    fn rebuilt(&mut self, tree: &MapRoot) -> Result<Option<MapRoot>> {
        let key = key_of(self.store.keys(), tree);
        if let Some(known) = self.known(&key) {
            return Ok(known);
        }
        let mut stack = vec![self.folder(tree, key, Vec::new(), Vec::new())];
        loop {
            let depth = stack.len();
            let Some(top) = stack.last_mut() else { break };
            self.ingest.proceed()?;
            let Some(item) = top.items.next() else {
                let Some(done) = stack.pop() else { break }; // it was there a moment ago
                let new = match done.builder {
                    Some(builder) => Some(builder.finish(self.store.keys(), &mut self.sink)?),
                    None => None,
                };
                self.remember(done.key, &new);
                let Some(parent) = stack.last_mut() else { return Ok(new) };
                let entry = match &new {
                    Some(new) => Entry::with_children(&done.entry, new)?,
                    None => done.entry,
                };
                self.pass(parent, &done.name, &entry, new.is_some())?;
                continue;
            };
            let (name, value) = match item {
                Err(e) if is_of_one_place(&e) && depth > 1 => {
                    // What is below it stays, with its old name; the scan told of it.
                    let (Some(folder), Some(parent)) = (stack.pop(), stack.last_mut()) else { break }; // two at least
                    self.is_left = true;
                    self.remember(folder.key, &None);
                    self.pass(parent, &folder.name, &folder.entry, false)?;
                    continue;
                }
                item => item?,
            };
            match Entry::decode(&value)?.kind {
                EntryKind::Dir(children) => {
                    let key = key_of(self.store.keys(), &children);
                    match self.known(&key) {
                        Some(Some(new)) => {
                            let entry = Entry::with_children(&value, &new)?;
                            self.pass(top, &name, &entry, true)?;
                        }
                        Some(None) => self.pass(top, &name, &value, false)?,
                        None if stack.len() >= limits::DEPTH => {
                            let (got, max) = (stack.len() as u64 + 1, limits::DEPTH as u64);
                            return Err(Error::Limit { what: "the depth of folders", got, max });
                        }
                        None => stack.push(self.folder(&children, key, name, value)),
                    }
                }
                kind @ EntryKind::File { content: Content::Recipe(_), .. } => {
                    match self.anew.get(&backup::content_key(self.store.keys(), &kind)) {
                        Some(new) => match Entry::with_recipe(&value, new) {
                            Ok(entry) => self.pass(top, &name, &entry, true)?,
                            Err(Error::Limit { .. }) => {
                                self.is_left = true;
                                self.pass(top, &name, &value, false)?;
                            }
                            Err(e) => return Err(e),
                        },
                        None => self.pass(top, &name, &value, false)?,
                    }
                }
                EntryKind::File { .. } | EntryKind::Symlink(_) => self.pass(top, &name, &value, false)?,
            }
        }
        Ok(None) // the root's frame returns above
    }

    /// Passes an item on to the folder that is built, which begins with the first one that changed.
    fn pass(&mut self, folder: &mut Folder<'s>, name: &[u8], entry: &[u8], changed: bool) -> Result<()> {
        let keys = self.store.keys();
        if changed && folder.builder.is_none() {
            let mut builder = MapBuilder::default();
            for item in MapIter::new(self.store, &folder.root).take(folder.passed) {
                let (name, entry) = item?;
                builder.push(keys, &mut self.sink, &name, &entry)?;
            }
            folder.builder = Some(builder);
        }
        folder.passed += 1;
        match &mut folder.builder {
            Some(builder) => builder.push(keys, &mut self.sink, name, entry),
            None => Ok(()),
        }
    }

    fn remember(&mut self, key: [u8; 32], new: &Option<MapRoot>) {
        let inline = match new {
            Some(MapRoot::Inline(items)) => items.len() as u64,
            _ => 0,
        };
        let takes = FOLDER_BYTES + inline;
        if takes <= self.room {
            self.room -= takes;
            self.known.insert(key, new.clone());
        }
    }
}
