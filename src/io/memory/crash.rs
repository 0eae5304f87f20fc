//! What a power cut leaves of a disk in memory, and copies of one.

use super::file::{Change, Data, FileNode, Pending, Volume, put};
use super::tree::{Entry, Names, ROOT, Tree, apply};
use super::world::SplitMix;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// What a disk writes whole or not at all. Sectors of 4 KiB tear at these borders too.
const SECTOR_BYTES: usize = 512;

/// How it is decided what of the changes without a sync survives.
pub(super) enum Choice {
    /// Nothing.
    Strict,
    /// Everything: the power went when all had just been written back.
    All,
    /// What happened before a moment; a write at that very moment is torn.
    Before(SplitMix),
    /// Each change alone.
    Each(SplitMix),
}

enum Fate {
    Kept,
    Dropped,
    Torn,
}

impl Choice {
    pub fn seeded(seed: u64) -> Choice {
        let mut chance = SplitMix(seed);
        match chance.below(8) {
            0 => Choice::Strict,
            1 => Choice::All,
            2 | 3 => Choice::Before(chance),
            _ => Choice::Each(chance),
        }
    }
}

/// A choice with what it needs to know of the disk.
struct Judge {
    choice: Choice,
    /// The moment of [`Choice::Before`].
    cut: u64,
}

impl Judge {
    fn new(tree: &Tree, mut choice: Choice) -> Judge {
        let mut cut = 0;
        if let Choice::Before(chance) = &mut choice {
            let moments = pending_moments(tree);
            // One beyond the last is "all"; `below` keeps the place within, or 0 for an empty list.
            let place = chance.below(moments.len() as u64 + 1) as usize; // not above the length, a usize
            cut = moments.get(place).copied().unwrap_or(u64::MAX);
        }
        Judge { choice, cut }
    }

    fn fate(&mut self, moment: u64) -> Fate {
        match &mut self.choice {
            Choice::Strict => Fate::Dropped,
            Choice::All => Fate::Kept,
            Choice::Before(_) if moment < self.cut => Fate::Kept,
            Choice::Before(_) if moment == self.cut => Fate::Torn,
            Choice::Before(_) => Fate::Dropped,
            Choice::Each(chance) => match chance.below(5) {
                0 | 1 => Fate::Kept,
                2 | 3 => Fate::Dropped,
                _ => Fate::Torn,
            },
        }
    }

    /// Names change whole or not at all.
    fn keeps(&mut self, moment: u64) -> bool {
        match self.fate(moment) {
            Fate::Kept => true,
            Fate::Dropped => false,
            Fate::Torn => self.toss(),
        }
    }

    fn toss(&mut self) -> bool {
        match &mut self.choice {
            Choice::Before(chance) | Choice::Each(chance) => chance.below(2) == 0,
            Choice::All => true,
            Choice::Strict => false,
        }
    }

    fn below(&mut self, bound: usize) -> usize {
        match &mut self.choice {
            Choice::Before(chance) | Choice::Each(chance) => chance.below(bound as u64) as usize, // below a usize
            Choice::All | Choice::Strict => 0,
        }
    }

    /// A file's bytes after the crash.
    fn bytes(&mut self, data: &Data) -> Vec<u8> {
        let mut bytes = data.durable.clone();
        for Pending { moment, change } in &data.pending {
            match (self.fate(*moment), change) {
                (Fate::Dropped, _) => {}
                (Fate::Kept, Change::Write { offset, bytes: written }) => put(&mut bytes, *offset, written),
                (Fate::Torn, Change::Write { offset, bytes: written }) => self.tear(&mut bytes, *offset, written),
                (Fate::Kept, Change::SetLen(len)) => bytes.resize(*len, 0),
                (Fate::Torn, Change::SetLen(len)) => {
                    if self.toss() {
                        bytes.resize(*len, 0);
                    }
                }
            }
        }
        bytes
    }

    /// Puts some sectors of a write: those before a border, those behind it, or each by chance. The
    /// length may have arrived without the bytes, which then read as zeros.
    fn tear(&mut self, into: &mut Vec<u8>, offset: usize, written: &[u8]) {
        let mut pieces = Vec::new();
        let mut at = 0;
        while at < written.len() {
            let end = ((offset + at) / SECTOR_BYTES + 1) * SECTOR_BYTES - offset; // of the sector, in `written`
            pieces.push((at, end.min(written.len())));
            at = end;
        }
        let way = self.below(3);
        let border = self.below(pieces.len() + 1);
        for (i, (from, to)) in pieces.into_iter().enumerate() {
            let keep = match way {
                0 => i < border,
                1 => i >= border,
                _ => self.toss(),
            };
            if keep {
                put(into, offset + from, &written[from..to]);
            }
        }
        if self.toss() {
            put(into, offset + written.len(), &[]);
        }
    }
}

/// The moments of all changes that are not durable, in order.
fn pending_moments(tree: &Tree) -> Vec<u64> {
    let mut moments = BTreeSet::new();
    for dir in tree.dirs.values() {
        moments.extend(dir.pending.iter().map(|c| c.moment));
        let changed = dir.pending.iter().flat_map(|c| &c.edits).filter_map(|(_, entry)| entry.as_ref());
        for entry in dir.volatile.values().chain(dir.durable.values()).chain(changed) {
            if let Entry::File(node) = entry {
                moments.extend(node.data().pending.iter().map(|c| c.moment));
            }
        }
    }
    moments.into_iter().collect()
}

/// Files of the old disk and their twins on the new one: a file with two names stays one file.
type Twins = HashMap<*const FileNode, Arc<FileNode>>;

fn empty_like(tree: &Tree) -> Tree {
    let volumes = tree.volumes.iter().map(|(prefix, v)| (prefix.clone(), Volume::new(v.id, v.space().total))).collect();
    Tree::with_volumes(volumes, tree.clock().load(Ordering::Relaxed))
}

/// Returns the disk after a power cut.
pub(super) fn crashed(tree: &Tree, choice: Choice) -> Tree {
    let mut judge = Judge::new(tree, choice);
    let mut made = empty_like(tree);
    let mut twins = Twins::new();
    // A folder that moved may stand under its old and its new name, or within itself; it is given to
    // the first name that leads to it.
    let mut seen = BTreeSet::from([ROOT]);
    let mut open = vec![(ROOT, ROOT, Vec::new())];
    while let Some((old, new, path)) = open.pop() {
        let Some(dir) = tree.dirs.get(&old) else { continue };
        let mut left = dir.durable.clone();
        for change in &dir.pending {
            if judge.keeps(change.moment) {
                apply(&mut left, &change.edits);
            }
        }
        let mut names = Names::new();
        for (name, entry) in left {
            let mut path = path.clone();
            path.push(name.clone());
            let entry = match entry {
                Entry::Dir(id) if seen.insert(id) => {
                    let twin = made.add_dir();
                    open.push((id, twin, path));
                    Entry::Dir(twin)
                }
                Entry::Dir(_) => continue,
                Entry::File(node) => {
                    let twin = twins.entry(Arc::as_ptr(&node)).or_insert_with(|| {
                        let bytes = judge.bytes(&node.data());
                        FileNode::new(made.volume(&path), bytes.clone(), bytes, Vec::new())
                    });
                    twin.data().add_name();
                    Entry::File(Arc::clone(twin))
                }
            };
            names.insert(name, entry);
        }
        if let Some(dir) = made.dirs.get_mut(&new) {
            (dir.volatile, dir.durable) = (names.clone(), names);
        }
    }
    made
}

/// Returns the same disk once more, with all that is not durable yet.
pub(super) fn copied(tree: &Tree) -> Tree {
    let mut made = empty_like(tree);
    let mut twins = Twins::new();
    let volumes = made.volumes.clone();
    let mut twin = |entry: &Entry| match entry {
        Entry::Dir(id) => Entry::Dir(*id),
        Entry::File(node) => Entry::File(Arc::clone(twins.entry(Arc::as_ptr(node)).or_insert_with(|| {
            let data = node.data();
            let same = volumes.iter().find(|(_, v)| v.id == data.volume.id);
            let volume = same.map_or(&data.volume, |(_, v)| v); // `empty_like` made one for each
            FileNode::new(volume, data.volatile.clone(), data.durable.clone(), data.pending.clone())
        }))),
    };
    made.dirs = tree.dirs.clone();
    for dir in made.dirs.values_mut() {
        let edited = dir.pending.iter_mut().flat_map(|c| &mut c.edits).filter_map(|(_, entry)| entry.as_mut());
        for entry in dir.durable.values_mut().chain(edited) {
            *entry = twin(entry);
        }
        for entry in dir.volatile.values_mut() {
            *entry = twin(entry);
            if let Entry::File(node) = entry {
                node.data().add_name();
            }
        }
    }
    made
}
