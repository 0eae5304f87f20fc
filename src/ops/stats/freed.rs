//! What would be free if some snapshots, folders or files were not there: asked before anything is forgotten.
//!
//! Everything that is looked at gets one of two colours: what would go, and what would stay. The rest is as for the
//! exclusive bytes of a snapshot: a chunk that only what would go reaches is free, and so is what only such chunks are
//! coded against. A folder or file that would go leaves the nodes on the way to it where they are.

use super::colour::{Colours, FILE_RECORD_BYTES, REACHED_RECORD_BYTES};
use super::merge::Tables;
use crate::catalog::map::read_node;
use crate::catalog::tree::names;
use crate::error::{Error, Result};
use crate::format::check::blake3;
use crate::format::node::{Items, MapRoot, Node};
use crate::format::snapshot::Snapshot;
use crate::format::{ChunkId, SnapshotId};
use crate::index::{Order, Sorter};
use crate::ops::snapshots::{self, SnapshotInfo};
use crate::ops::{Control, Notice};
use crate::store::Store;
use globset::{GlobBuilder, GlobSet, GlobSetBuilder};
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// The colour of what would go, and of what would stay.
const GOES: u32 = 0;
const STAYS: u32 = 1;
/// What a folder takes in the set of those gone through.
const SEEN_BYTES: u64 = 72;

/// What would go, all of it together.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// Whole snapshots.
    pub snapshots: Vec<SnapshotInfo>,
    /// What lies at a path of one snapshot.
    pub paths: Vec<(SnapshotInfo, Vec<u8>)>,
    /// What fits one of these globs, in all snapshots: without a slash a name, with a leading one a whole path, else the end
    /// of one. A folder that fits goes with all that is in it.
    pub patterns: Vec<String>,
}

/// What would be free.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Freed {
    /// Whole records with their rows, metadata included: what a full gc would give back of packs that are rewritten.
    pub bytes: u64,
    /// Snapshots of which something would go.
    pub snapshots: u64,
    /// Folders and files that would go by path or pattern; one that several snapshots share may count once.
    pub entries: u64,
}

/// Counts.
///
/// # Errors
/// [`Error::Argument`] for a pattern that is none, [`Error::NoPath`] for a path that its snapshot does not hold,
/// [`Error::Interrupted`], [`Error::Index`], [`Error::Io`] where the sort needs room in the store's folder. Damage is
/// noticed: what lies below is not counted.
pub fn run(store: &Store, wanted: &Wanted, control: &Control) -> Result<Freed> {
    control.progress.set_phase("walking snapshots");
    let patterns = globs(&wanted.patterns)?;
    let memory = usize::try_from(store.memory_bytes() / 16).unwrap_or(usize::MAX);
    let reached = Sorter::<REACHED_RECORD_BYTES>::new(store.io(), store.path(), memory, Order::All)?;
    let files = Sorter::<FILE_RECORD_BYTES>::new(store.io(), store.path(), memory, Order::LastOf { key_bytes: 32 })?;
    let mut paths: BTreeMap<SnapshotId, BTreeSet<Vec<u8>>> = BTreeMap::new();
    for (info, path) in &wanted.paths {
        let clean = names(path).iter().flat_map(|n| [b"/", *n].concat()).collect();
        paths.entry(info.id).or_default().insert(clean);
    }
    let whole: BTreeSet<SnapshotId> = wanted.snapshots.iter().map(|s| s.id).collect();
    let mut walk = Walk {
        store,
        control,
        colours: Colours::new(store, control, reached, files),
        patterns,
        seen: HashSet::new(),
        seen_max: usize::try_from(store.memory_bytes() / 8 / SEEN_BYTES).unwrap_or(usize::MAX),
        met: BTreeSet::new(),
        entries: 0,
    };
    let mut snapshots = 0;
    for info in snapshots::list(store, &[]) {
        let before = walk.entries;
        if whole.contains(&info.id) {
            walk.colours.walk(GOES, &info.snapshot)?;
            snapshots += 1;
            continue;
        }
        let none = BTreeSet::new();
        let of = paths.get(&info.id).unwrap_or(&none);
        if of.is_empty() && walk.patterns.is_none() {
            walk.colours.walk(STAYS, &info.snapshot)?;
        } else {
            walk.part(&info.snapshot, of)?;
            if let Some(missing) = of.iter().find(|p| !walk.met.contains(*p)) {
                return Err(crate::ops::ls::no_path(&info, missing));
            }
            walk.met.clear();
        }
        snapshots += u64::from(walk.entries > before);
    }
    let (Colours { reached, unreadable, .. }, entries) = (walk.colours, walk.entries);
    if unreadable > 0 {
        control.notice(Notice::Note(format!(
            "{unreadable} folders or lists cannot be read, and what is below them is not counted; `onefold check` names them"
        )));
    }
    let chunks = Tables::read(store, control, memory)?.count(control, reached, 1)?;
    Ok(Freed { bytes: chunks.exclusive.first().copied().unwrap_or(0), snapshots, entries })
}

fn globs(patterns: &[String]) -> Result<Option<GlobSet>> {
    if patterns.is_empty() {
        return Ok(None);
    }
    let mut set = GlobSetBuilder::new();
    for pattern in patterns {
        let bad = |why: String| Error::Argument { what: format!("the pattern {pattern:?}"), why };
        if pattern.is_empty() {
            return Err(bad("it is empty".into()));
        }
        let anchored = if pattern.starts_with('/') { pattern.clone() } else { format!("**/{pattern}") };
        let glob = GlobBuilder::new(anchored.trim_end_matches('/')).literal_separator(true).build();
        set.add(glob.map_err(|e| bad(e.kind().to_string()))?);
    }
    let bad = |e: globset::Error| Error::Argument { what: "the patterns".into(), why: e.to_string() };
    set.build().map(Some).map_err(bad)
}

/// The walk over snapshots of which a part would go.
struct Walk<'s> {
    store: &'s Store,
    control: &'s Control,
    colours: Colours<'s>,
    patterns: Option<GlobSet>,
    /// Nodes that were gone through at a path, for patterns: what fits below is the same there in every snapshot.
    seen: HashSet<[u8; 32]>,
    seen_max: usize,
    /// Paths that were asked for and met.
    met: BTreeSet<Vec<u8>>,
    entries: u64,
}

impl Walk<'_> {
    fn part(&mut self, snapshot: &Snapshot, paths: &BTreeSet<Vec<u8>>) -> Result<()> {
        if paths.contains(&b""[..]) {
            // All of it but the snapshot itself.
            self.met.insert(Vec::new());
            self.entries += 1;
            self.colours.map_tree(GOES, &snapshot.tree)?;
        } else {
            self.folders(snapshot.tree.clone(), paths)?;
        }
        match &snapshot.witness {
            Some(root) => self.colours.map_witness(STAYS, root),
            None => Ok(()),
        }
    }

    /// Whether anything below a folder may go.
    fn may_go(&self, folder: &[u8], paths: &BTreeSet<Vec<u8>>) -> bool {
        let below = |p: &Vec<u8>| p.strip_prefix(folder).is_some_and(|rest| rest.first() == Some(&b'/'));
        self.patterns.is_some() || paths.iter().any(below)
    }

    fn folders(&mut self, tree: MapRoot, paths: &BTreeSet<Vec<u8>>) -> Result<()> {
        let mut todo = vec![(tree, Vec::new())];
        while let Some((root, path)) = todo.pop() {
            self.control.proceed()?;
            let (level, id) = match root {
                MapRoot::Inline(items) => {
                    self.items(&items, &path, paths, &mut todo)?;
                    continue;
                }
                MapRoot::Node { level, id, .. } => (level, id),
            };
            self.colours.give(&id, STAYS, None)?;
            if paths.is_empty() && !self.is_new(&id, &path) {
                continue;
            }
            let node = read_node(self.store, level, &id);
            match self.colours.readable(node)? {
                Some(Node::Leaf(items)) => self.items(&items, &path, paths, &mut todo)?,
                Some(Node::Inner(children)) => todo.extend(children.into_iter().map(|c| {
                    let below = level - 1; // an inner node stands at level 2 or above
                    (MapRoot::Node { level: below, id: c.id, entries: c.entries }, path.clone())
                })),
                None => {}
            }
        }
        Ok(())
    }

    fn is_new(&mut self, id: &ChunkId, path: &[u8]) -> bool {
        let key = blake3(&[&id.0, path]);
        if self.seen.len() >= self.seen_max { !self.seen.contains(&key) } else { self.seen.insert(key) }
    }

    fn items(
        &mut self,
        items: &[u8],
        folder: &[u8],
        paths: &BTreeSet<Vec<u8>>,
        todo: &mut Vec<(MapRoot, Vec<u8>)>,
    ) -> Result<()> {
        for item in Items::new(items) {
            let Some((name, value)) = self.colours.readable(item)? else { break };
            let path = [folder, b"/", name].concat();
            let asked = paths.contains(&path);
            if asked {
                self.met.insert(path.clone());
            }
            let goes =
                asked || self.patterns.as_ref().is_some_and(|set| set.is_match(Path::new(OsStr::from_bytes(&path))));
            self.entries += u64::from(goes);
            let colour = if goes { GOES } else { STAYS };
            let folder = self.colours.entry(value, colour)?;
            let Some(root) = folder else { continue };
            if goes || !self.may_go(&path, paths) {
                self.colours.map_tree(colour, &root)?;
            } else {
                todo.push((root, path));
            }
        }
        Ok(())
    }
}
