//! Many files, by sums: what each has of its own, and what pairs of them share.
//!
//! ```text
//!  walk:    (chunk, leaf, bytes)            -+
//!  tables:  (chunk, base, saved, codec)     -+-> by chunk: its first leaf has it, the others share it with that one
//!                                                   |
//!                (chunk, its first leaf)  -+  <-----+
//!                (base, leaf, saved)      -+-> by base: the leaf is coded against the one that has the base first
//! ```
//! A *leaf* is a file, or a folder where there are more files than are held: then the deepest folders are taken
//! together, level by level.

use super::Means;
use crate::error::Result;
use crate::format::ChunkId;
use crate::format::recipe::Recipe;
use crate::format::record::Codec;
use crate::index::{Order, Sorted, Sorter};
use crate::ops::share::facts::Fact;
use crate::ops::share::{tables, walk};
use crate::ops::{Control, Notice};
use crate::store::Store;
use std::collections::{BTreeMap, HashMap};

/// Files and folders that are held, at most: some 20 MB with paths of usual length.
pub const LEAVES_MAX: usize = 1 << 16;
/// Pairs of leaves that are held, at most: some 100 MB. What is beyond counts for the leaves, not for a pair.
const PAIRS_MAX: usize = 1 << 20;

/// `chunk:32 kind:u8 leaf:u32 bytes:u32 base:32 number:u16 version:u8`, numbers big-endian.
const RECORD_BYTES: usize = 32 + 1 + 4 + 4 + 32 + 3;
const HAS: u8 = 0;
const CODED: u8 = 1;

#[derive(Clone, Copy)]
struct Record {
    id: ChunkId,
    kind: u8,
    leaf: u32,
    bytes: u32,
    base: ChunkId,
    codec: Codec,
}

impl Record {
    fn encode(&self) -> [u8; RECORD_BYTES] {
        let mut out = [0; RECORD_BYTES];
        out[..32].copy_from_slice(&self.id.0);
        out[32] = self.kind;
        out[33..37].copy_from_slice(&self.leaf.to_be_bytes());
        out[37..41].copy_from_slice(&self.bytes.to_be_bytes());
        out[41..73].copy_from_slice(&self.base.0);
        out[73..75].copy_from_slice(&self.codec.number.to_be_bytes());
        out[75] = self.codec.version;
        out
    }

    fn decode(b: &[u8; RECORD_BYTES]) -> Record {
        let number = |at: usize| u32::from_be_bytes([b[at], b[at + 1], b[at + 2], b[at + 3]]); // 33 or 37 of 76
        let id = |at: usize| {
            let mut id = [0; 32];
            id.copy_from_slice(&b[at..at + 32]); // 0 or 41 of 76
            ChunkId(id)
        };
        let codec = Codec { number: u16::from_be_bytes([b[73], b[74]]), version: b[75] };
        Record { id: id(0), kind: b[32], leaf: number(33), bytes: number(37), base: id(41), codec }
    }
}

/// A file, or a folder whose files are taken together.
#[derive(Clone, Debug, Default)]
pub struct Leaf {
    pub path: Vec<u8>,
    pub files: u64,
    pub bytes: u64,
    /// Bytes of streams that a leaf before it has, and that it repeats itself.
    pub shared: u64,
    /// Bytes that coding against other chunks spared, by codec.
    pub coded: BTreeMap<Codec, u64>,
}

/// What two leaves share; the same number twice for what a leaf of several files shares in itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pair {
    pub bytes: BTreeMap<Means, u64>,
}

/// Many files.
#[derive(Debug, Default)]
pub struct Overview {
    /// In the order of paths.
    pub leaves: Vec<Leaf>,
    /// By numbers of leaves, the lesser first.
    pub pairs: BTreeMap<(u32, u32), Pair>,
    /// What is coded against chunks that none of these files has.
    pub coded_outside: u64,
    /// Shared bytes whose pair found no room.
    pub unpaired: u64,
}

/// Leaves while files come.
struct Leaves {
    list: Vec<Leaf>,
    /// Where a leaf went that was taken together with others.
    into: Vec<u32>,
    /// Names of a path that tell its leaf; the whole path as long as every file is one.
    depth: usize,
    by_path: HashMap<Vec<u8>, u32>,
    live: usize,
    most: usize,
}

/// The first `depth` names of a path.
fn cut(path: &[u8], depth: usize) -> &[u8] {
    let end = path.iter().enumerate().filter(|(_, b)| **b == b'/').nth(depth).map_or(path.len(), |(at, _)| at);
    &path[..end] // a place in it, or its end
}

fn depth_of(path: &[u8]) -> usize {
    path.iter().filter(|b| **b == b'/').count()
}

impl Leaves {
    fn new(most: usize) -> Self {
        Leaves { list: Vec::new(), into: Vec::new(), depth: usize::MAX, by_path: HashMap::new(), live: 0, most }
    }

    fn file(&mut self, path: &[u8], bytes: u64) -> u32 {
        let key = cut(path, self.depth);
        let leaf = match self.by_path.get(key) {
            Some(leaf) => *leaf,
            None => {
                if self.live >= self.most && self.depth > 1 {
                    self.fold();
                    return self.file(path, bytes);
                }
                let new = self.list.len() as u32; // folded before there are so many
                self.list.push(Leaf { path: key.to_vec(), ..Default::default() });
                self.into.push(new);
                self.by_path.insert(key.to_vec(), new);
                self.live += 1;
                new
            }
        };
        if let Some(leaf) = self.list.get_mut(leaf as usize) {
            leaf.files += 1;
            leaf.bytes = leaf.bytes.saturating_add(bytes);
        }
        leaf
    }

    /// Takes the deepest leaves together in their folders.
    fn fold(&mut self) {
        let deepest = self.by_path.keys().map(|p| depth_of(p)).max().unwrap_or(1);
        self.depth = deepest.saturating_sub(1).max(1);
        let mut old: Vec<(Vec<u8>, u32)> = self.by_path.drain().collect();
        old.sort_unstable();
        for (path, number) in old {
            let key = cut(&path, self.depth);
            match self.by_path.get(key).copied() {
                None => {
                    self.by_path.insert(key.to_vec(), number);
                    if let Some(leaf) = self.list.get_mut(number as usize) {
                        leaf.path = key.to_vec();
                    }
                }
                Some(into) => {
                    let gone = self.list.get_mut(number as usize).map(std::mem::take).unwrap_or_default();
                    if let (Some(leaf), Some(way)) =
                        (self.list.get_mut(into as usize), self.into.get_mut(number as usize))
                    {
                        leaf.files += gone.files;
                        leaf.bytes = leaf.bytes.saturating_add(gone.bytes);
                        *way = into;
                    }
                }
            }
        }
        self.live = self.by_path.len();
    }

    /// The live leaves in the order of their paths, and for each number that was given out the new one.
    fn finish(mut self) -> (Vec<Leaf>, Vec<u32>) {
        let mut live: Vec<(Vec<u8>, u32)> = self.by_path.into_iter().collect();
        live.sort_unstable();
        let mut place = vec![0; self.list.len()];
        let mut out = Vec::with_capacity(live.len());
        for (new, (_, old)) in (0..).zip(&live) {
            if let (Some(slot), Some(leaf)) = (place.get_mut(*old as usize), self.list.get_mut(*old as usize)) {
                *slot = new;
                out.push(std::mem::take(leaf));
            }
        }
        let target = |mut n: u32| {
            // Each step goes to a leaf that was made before: at most as many as there were foldings.
            while let Some(next) = self.into.get(n as usize).copied().filter(|next| *next != n) {
                n = next;
            }
            place.get(n as usize).copied().unwrap_or(0)
        };
        let all = (0..place.len() as u32).map(target).collect(); // as many as numbers of 32 bits
        (out, all)
    }
}

/// Files on the way to an [`Overview`].
pub(super) struct Gather {
    leaves: Leaves,
    records: Sorter<RECORD_BYTES>,
    held: Sorter<RECORD_BYTES>,
}

impl Gather {
    pub fn new(store: &Store) -> Result<Gather> {
        Gather::with(store, LEAVES_MAX)
    }

    pub fn with(store: &Store, leaves_max: usize) -> Result<Gather> {
        let memory = usize::try_from(store.memory_bytes() / 8).unwrap_or(usize::MAX);
        let sorter = || Sorter::new(store.io(), store.path(), memory, Order::All);
        Ok(Gather { leaves: Leaves::new(leaves_max), records: sorter()?, held: sorter()? })
    }

    /// Takes a file. False where a list of it cannot be read.
    pub fn file(&mut self, store: &Store, path: &[u8], bytes: u64, recipe: Option<&Recipe>) -> Result<bool> {
        let leaf = self.leaves.file(path, bytes);
        let Some(recipe) = recipe else { return Ok(true) };
        let none = Codec { number: 0, version: 0 };
        walk::references(store, recipe, &mut |_, _, reference| {
            let bytes = u32::try_from(reference.bytes).unwrap_or(u32::MAX); // a chunk is shorter
            let (id, base) = (reference.id, ChunkId([0; 32]));
            self.records.push(&Record { id, kind: HAS, leaf, bytes, base, codec: none }.encode())
        })
    }

    pub fn finish(mut self, store: &Store, control: &Control) -> Result<Overview> {
        let rows = |row: &crate::format::footer::Row| !row.header.bases.is_empty();
        tables::each(store, control, |pack| pack.kind.is_data(), &rows, &mut |pack, rows| {
            for row in rows {
                let fact = Fact::of(&row.header, pack.serial, pack.disk, row.offset);
                for base in &fact.bases {
                    let (id, bytes) = (row.header.id, fact.saved_bytes());
                    let record = Record { id, kind: CODED, leaf: 0, bytes, base: *base, codec: fact.codec };
                    self.records.push(&record.encode())?;
                }
            }
            Ok(())
        })?;
        control.progress.set_phase("sorting chunks");
        let (leaves, numbers) = self.leaves.finish();
        let mut out = Overview { leaves, ..Default::default() };
        let number = |n: u32| numbers.get(n as usize).copied().unwrap_or(0);
        let mut sorted = self.records.finish()?;
        each_group(control, &mut sorted, |group| {
            let mut has: Vec<(u32, u32)> =
                group.iter().filter(|r| r.kind == HAS).map(|r| (number(r.leaf), r.bytes)).collect();
            has.sort_unstable();
            let Some(((first, _), others)) = has.split_first() else { return Ok(()) };
            for (leaf, bytes) in others {
                out.share(*first, *leaf, u64::from(*bytes), Means::Chunk);
            }
            let Some(id) = group.first().map(|r| r.id) else { return Ok(()) };
            let none = Codec { number: 0, version: 0 };
            let holder = Record { id, kind: HAS, leaf: *first, bytes: 0, base: ChunkId([0; 32]), codec: none };
            self.held.push(&holder.encode())?;
            let coded: Vec<&Record> = group.iter().filter(|r| r.kind == CODED).collect();
            let n = coded.len().max(1) as u32; // at most four bases a copy
            for r in coded {
                // What several bases spared together is shared out among them.
                let record = Record { id: r.base, leaf: *first, bytes: r.bytes / n, base: id, ..*r };
                self.held.push(&record.encode())?;
            }
            Ok(())
        })?;
        drop(sorted);
        let mut sorted = self.held.finish()?;
        each_group(control, &mut sorted, |group| {
            let holder = group.iter().find(|r| r.kind == HAS).map(|r| r.leaf);
            for r in group.iter().filter(|r| r.kind == CODED) {
                match holder {
                    Some(holder) => out.share(holder, r.leaf, u64::from(r.bytes), Means::Coded(r.codec)),
                    None => {
                        out.coded_outside = out.coded_outside.saturating_add(u64::from(r.bytes));
                        out.spare(r.leaf, u64::from(r.bytes), Means::Coded(r.codec));
                    }
                }
            }
            Ok(())
        })?;
        if out.unpaired > 0 {
            control.notice(Notice::Note("more files share than a picture holds: some of it is in no pair".into()));
        }
        Ok(out)
    }
}

/// Gives `each` the records of one chunk. Those that many files have come in several groups of which each begins with
/// the first.
fn each_group(
    control: &Control,
    sorted: &mut Sorted<RECORD_BYTES>,
    mut each: impl FnMut(&[Record]) -> Result<()>,
) -> Result<()> {
    const GROUP_MAX: usize = 1 << 16;
    let mut group: Vec<Record> = Vec::new();
    let mut n = 0u64;
    while let Some(record) = sorted.next()? {
        n += 1;
        if n.is_multiple_of(4096) {
            control.proceed()?;
        }
        let record = Record::decode(&record);
        if let Some(first) = group.first().copied() {
            if first.id != record.id {
                each(&group)?;
                group.clear();
            } else if group.len() >= GROUP_MAX {
                each(&group)?;
                group.clear();
                group.push(first);
            }
        }
        group.push(record);
    }
    if group.is_empty() { Ok(()) } else { each(&group) }
}

impl Overview {
    fn spare(&mut self, leaf: u32, bytes: u64, means: Means) {
        let Some(leaf) = self.leaves.get_mut(leaf as usize) else { return };
        let sum = match means {
            Means::Chunk => &mut leaf.shared,
            Means::Coded(codec) => leaf.coded.entry(codec).or_default(),
        };
        *sum = sum.saturating_add(bytes);
    }

    /// `leaf` need not have these bytes, since `holder` has them.
    fn share(&mut self, holder: u32, leaf: u32, bytes: u64, means: Means) {
        self.spare(leaf, bytes, means);
        let key = (holder.min(leaf), holder.max(leaf));
        if self.pairs.len() >= PAIRS_MAX && !self.pairs.contains_key(&key) {
            self.unpaired = self.unpaired.saturating_add(bytes);
            return;
        }
        let sum = self.pairs.entry(key).or_default().bytes.entry(means).or_default();
        *sum = sum.saturating_add(bytes);
    }

    /// Bytes that are shared, by means.
    pub fn shared(&self) -> BTreeMap<Means, u64> {
        let mut out = BTreeMap::new();
        for leaf in &self.leaves {
            *out.entry(Means::Chunk).or_default() += leaf.shared;
            for (codec, bytes) in &leaf.coded {
                *out.entry(Means::Coded(*codec)).or_default() += bytes;
            }
        }
        out.retain(|_, n| *n > 0);
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leaves_are_folded_level_by_level_and_stay_bounded() {
        let mut leaves = Leaves::new(50);
        let mut given = Vec::new();
        for a in 0..10 {
            for b in 0..10 {
                for c in 0..10 {
                    let path = format!("/lib/{a}/{b}/{c}");
                    given.push((path.clone(), leaves.file(path.as_bytes(), 1)));
                    assert!(leaves.live <= 50);
                }
            }
        }
        let (list, numbers) = leaves.finish();
        assert_eq!(list.iter().map(|l| l.files).sum::<u64>(), 1000);
        assert_eq!(list.iter().map(|l| l.bytes).sum::<u64>(), 1000);
        assert!(list.len() <= 50 && list.len() >= 10, "{}", list.len());
        for (path, number) in given {
            let leaf = &list[numbers[number as usize] as usize];
            assert!(path.as_bytes().starts_with(&leaf.path), "{path} is in {:?}", String::from_utf8_lossy(&leaf.path));
        }
    }

    #[test]
    fn records_come_back() {
        let codec = Codec { number: 0x102, version: 3 };
        let r = Record { id: ChunkId([1; 32]), kind: CODED, leaf: 7, bytes: 1 << 20, base: ChunkId([9; 32]), codec };
        let b = Record::decode(&r.encode());
        assert_eq!((b.id, b.kind, b.leaf, b.bytes, b.base, b.codec), (r.id, r.kind, r.leaf, r.bytes, r.base, r.codec));
    }
}
