//! Sorted maps `name -> value` in nodes: folders and witnesses.
//!
//! Leaves are cut by the keyed hash of the name alone, so one changed value changes one leaf and the
//! nodes above it, and equal folders have equal nodes wherever they came from. Sizes: at least
//! `LEAF_MIN`, at most `LEAF_MAX` plus one item, about 32 KiB with items of 200 bytes.

use crate::error::{Error, Result};
use crate::format::limits::{self, LEVELS};
use crate::format::node::{self, Child, Items, MapRoot, Node};
use crate::format::{ChunkId, ChunkKind, Keys};
use crate::pack::{ReadChunks, WriteChunks};

/// Bytes of a leaf below which it is not cut.
const LEAF_MIN: usize = 8 << 10;
/// Bytes of a leaf at which it is cut.
const LEAF_MAX: usize = 128 << 10;
/// One name in so many ends a leaf.
const LEAF_ONE_IN: u64 = 128;
/// The same for inner nodes, in children; by other bits of the hash of the child's first name.
const INNER_MIN: usize = 64;
const INNER_MAX: usize = 1024;
/// Bytes of an inner node at which it is cut: first names may be long.
const INNER_BYTES: usize = LEAF_MAX;
/// Bytes of a child beside its name, at most.
const CHILD_BYTES: usize = 2 + 32 + 10;
const INNER_ONE_IN: u64 = 128;

#[derive(Default)]
struct Level {
    children: Vec<Child>,
    bytes: usize,
    /// A node of this level was already written, so the root stands above it.
    flushed: bool,
}

/// Builds one map from items in ascending order of name.
#[derive(Default)]
pub struct MapBuilder {
    leaf: Vec<u8>,
    first: Vec<u8>,
    last: Option<Vec<u8>>,
    leaf_entries: u64,
    /// Inner levels, from 2 on.
    levels: Vec<Level>,
}

impl MapBuilder {
    /// Appends an item.
    ///
    /// # Errors
    /// [`Error::Limit`] for a name or value beyond the format; [`Error::Malformed`] for a name that does not
    /// come after the one before; whatever `chunks` returns.
    pub fn push(&mut self, keys: &Keys, chunks: &mut dyn WriteChunks, name: &[u8], value: &[u8]) -> Result<()> {
        if name.len() > limits::NAME_BYTES {
            return Err(Error::Limit {
                what: "the length of a name",
                got: name.len() as u64,
                max: limits::NAME_BYTES as u64,
            });
        }
        if value.len() > limits::ENTRY_BYTES {
            return Err(Error::Limit {
                what: "the length of an entry",
                got: value.len() as u64,
                max: limits::ENTRY_BYTES as u64,
            });
        }
        if self.last.as_deref().is_some_and(|last| last >= name) {
            return Err(Error::Malformed { what: "a folder", offset: 0, why: "names came out of order" });
        }
        if self.leaf.is_empty() {
            self.first = name.to_vec();
        }
        node::put_item(&mut self.leaf, name, value);
        self.leaf_entries += 1;
        self.last = Some(name.to_vec());
        let size = self.leaf.len();
        if size >= LEAF_MAX || (size >= LEAF_MIN && keys.name_hash(name).is_multiple_of(LEAF_ONE_IN)) {
            self.flush_leaf(keys, chunks)?;
        }
        Ok(())
    }

    fn flush_leaf(&mut self, keys: &Keys, chunks: &mut dyn WriteChunks) -> Result<()> {
        let id = chunks.put(ChunkKind::Tree, &node::encode_leaf(&self.leaf))?;
        self.leaf.clear();
        let child =
            Child { first: std::mem::take(&mut self.first), id, entries: std::mem::take(&mut self.leaf_entries) };
        self.push_child(keys, chunks, 0, child)
    }

    /// Gives a node to the level above it; `above` counts from 0 for level 2.
    fn push_child(&mut self, keys: &Keys, chunks: &mut dyn WriteChunks, above: usize, child: Child) -> Result<()> {
        if above + 2 > usize::from(LEVELS) {
            return Err(Error::Limit { what: "the levels of a folder", got: above as u64 + 2, max: u64::from(LEVELS) });
        }
        if self.levels.len() <= above {
            self.levels.push(Level::default());
        }
        let hash = keys.name_hash(&child.first) >> 32;
        let level = &mut self.levels[above]; // pushed above if it was not there: levels grow one by one
        level.bytes += child.first.len() + CHILD_BYTES;
        level.children.push(child);
        let n = level.children.len();
        if n >= INNER_MAX || level.bytes >= INNER_BYTES || (n >= INNER_MIN && hash.is_multiple_of(INNER_ONE_IN)) {
            self.flush_inner(keys, chunks, above)?;
        }
        Ok(())
    }

    fn flush_inner(&mut self, keys: &Keys, chunks: &mut dyn WriteChunks, at: usize) -> Result<()> {
        let level = &mut self.levels[at]; // callers name a level that exists
        level.flushed = true;
        level.bytes = 0;
        let children = std::mem::take(&mut level.children);
        let Some(first) = children.first().map(|c| c.first.clone()) else { return Ok(()) };
        let entries = children.iter().map(|c| c.entries).sum();
        let id = chunks.put(ChunkKind::Tree, &node::encode_inner(at as u8 + 2, &children))?; // at + 2 <= LEVELS
        self.push_child(keys, chunks, at + 1, Child { first, id, entries })
    }

    /// Ends the map and says where it is.
    ///
    /// # Errors
    /// Whatever `chunks` returns.
    pub fn finish(mut self, keys: &Keys, chunks: &mut dyn WriteChunks) -> Result<MapRoot> {
        if self.levels.is_empty() && self.leaf.len() < limits::INLINE_DIR_BYTES {
            return Ok(MapRoot::Inline(self.leaf));
        }
        if !self.leaf.is_empty() {
            self.flush_leaf(keys, chunks)?;
        }
        let mut at = 0;
        loop {
            let level = &self.levels[at]; // flush_leaf and flush_inner made the level above what they flushed
            if let ([only], false) = (level.children.as_slice(), level.flushed) {
                // a lone node needs no parent; its own level is one below this one
                return Ok(MapRoot::Node { level: at as u8 + 1, id: only.id, entries: only.entries });
            }
            if !level.children.is_empty() {
                self.flush_inner(keys, chunks, at)?;
            }
            at += 1;
        }
    }
}

/// Goes through a map in order. What a node that cannot be read would have given is one error; the rest follows.
pub struct MapIter<'c> {
    chunks: &'c dyn ReadChunks,
    /// Children still to visit, per level on the way down; each in reverse order.
    stack: Vec<(u8, Vec<Child>)>,
    leaf: Vec<u8>,
    /// Where in `leaf` the next item begins.
    at: usize,
    last: Vec<u8>,
}

impl<'c> MapIter<'c> {
    pub fn new(chunks: &'c dyn ReadChunks, root: &MapRoot) -> Self {
        let mut iter = MapIter { chunks, stack: Vec::new(), leaf: Vec::new(), at: 0, last: Vec::new() };
        match root {
            MapRoot::Inline(items) => iter.leaf = items.clone(),
            MapRoot::Node { level, id, entries } => {
                iter.stack.push((*level, vec![Child { first: Vec::new(), id: *id, entries: *entries }]));
            }
        }
        iter
    }

    /// Loads the next leaf; false at the end.
    fn descend(&mut self) -> Result<bool> {
        loop {
            let Some((level, children)) = self.stack.last_mut() else { return Ok(false) };
            let level = *level;
            let Some(child) = children.pop() else {
                self.stack.pop();
                continue;
            };
            match read_node(self.chunks, level, &child.id)? {
                Node::Leaf(items) => {
                    self.leaf = items;
                    self.at = 0;
                    return Ok(true);
                }
                Node::Inner(mut children) => {
                    children.reverse();
                    self.stack.push((level - 1, children)); // an inner node stands at level 2 or above
                }
            }
        }
    }

    fn step(&mut self) -> Result<Option<(Vec<u8>, Vec<u8>)>> {
        while self.at >= self.leaf.len() {
            if !self.descend()? {
                return Ok(None);
            }
        }
        let rest = &self.leaf[self.at..]; // at < len
        let mut r = crate::format::wire::Reader::new("a folder", rest);
        let mut items = Items::new(rest);
        let (name, value) = items.next().unwrap_or_else(|| Err(r.bad("it ends early")))?;
        r.var_bytes(limits::NAME_BYTES)?;
        r.var_bytes(limits::ENTRY_BYTES)?;
        self.at += r.at();
        if !self.last.is_empty() && self.last.as_slice() >= name {
            return Err(r.bad("names are out of order"));
        }
        self.last = name.to_vec();
        Ok(Some((name.to_vec(), value.to_vec())))
    }
}

impl Iterator for MapIter<'_> {
    type Item = Result<(Vec<u8>, Vec<u8>)>;
    fn next(&mut self) -> Option<Self::Item> {
        let step = self.step().transpose();
        if matches!(step, Some(Err(_))) {
            // A node that cannot be read was taken from the stack; of a leaf that does not decode the rest is passed over.
            self.at = self.leaf.len();
        }
        step
    }
}

/// Reads one node.
///
/// # Errors
/// Whatever the chunks return, or a node that does not decode.
pub fn read_node(chunks: &dyn ReadChunks, level: u8, id: &ChunkId) -> Result<Node> {
    node::decode_node(level, &chunks.chunk(ChunkKind::Tree, id)?)
}

/// The value under one name, found in as many reads as the map has levels.
///
/// # Errors
/// Whatever the chunks return.
pub fn get(chunks: &dyn ReadChunks, root: &MapRoot, name: &[u8]) -> Result<Option<Vec<u8>>> {
    let leaf = match root {
        MapRoot::Inline(items) => items.clone(),
        MapRoot::Node { level, id, .. } => {
            let (mut level, mut id) = (*level, *id);
            loop {
                match read_node(chunks, level, &id)? {
                    Node::Leaf(items) => break items,
                    Node::Inner(children) => {
                        let after = children.partition_point(|c| c.first.as_slice() <= name);
                        let Some(child) = after.checked_sub(1).and_then(|i| children.get(i)) else { return Ok(None) };
                        (level, id) = (level - 1, child.id); // an inner node stands at level 2 or above
                    }
                }
            }
        }
    };
    for item in Items::new(&leaf) {
        let (at, value) = item?;
        if at == name {
            return Ok(Some(value.to_vec()));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::super::testing::Chunks;
    use super::*;
    use proptest::prelude::*;

    fn build(chunks: &mut Chunks, items: &[(Vec<u8>, Vec<u8>)]) -> MapRoot {
        let keys = chunks.keys.clone();
        let mut b = MapBuilder::default();
        for (name, value) in items {
            b.push(&keys, chunks, name, value).unwrap();
        }
        b.finish(&keys, chunks).unwrap()
    }

    fn numbered(n: usize, value: usize) -> Vec<(Vec<u8>, Vec<u8>)> {
        (0..n).map(|i| (format!("{i:08}").into_bytes(), vec![(i % 251) as u8; value])).collect()
    }

    #[test]
    fn maps_of_every_size_come_back_and_are_found_by_name() {
        for (n, value) in [(0, 0), (1, 5), (10, 300), (30, 200), (100, 200), (5_000, 150), (200_000, 40)] {
            let mut chunks = Chunks::default();
            let items = numbered(n, value);
            let root = build(&mut chunks, &items);
            let back: Vec<_> = MapIter::new(&chunks, &root).map(Result::unwrap).collect();
            assert!(back == items, "{n} items of {value} bytes");
            for i in [0, n / 3, n.saturating_sub(1)] {
                if let Some((name, value)) = items.get(i) {
                    assert_eq!(get(&chunks, &root, name).unwrap().as_ref(), Some(value));
                }
            }
            assert_eq!(get(&chunks, &root, b"zz").unwrap(), None);
            assert_eq!(get(&chunks, &root, b"!").unwrap(), None);
            match root {
                MapRoot::Inline(_) => assert!(n < 50),
                MapRoot::Node { level, entries, .. } => assert!(entries == n as u64 && level <= 3, "level {level}"),
            }
        }
    }

    #[test]
    fn a_folder_of_the_longest_names_has_nodes_that_are_read_again() {
        let mut chunks = Chunks::default();
        let name = |i: usize| format!("{i:06}{}", "n".repeat(limits::NAME_BYTES - 6)).into_bytes();
        let items: Vec<_> = (0..4000).map(|i| (name(i), vec![1; 3])).collect();
        let root = build(&mut chunks, &items);
        assert_eq!(MapIter::new(&chunks, &root).map(Result::unwrap).count(), items.len());
    }

    #[test]
    fn one_changed_value_in_a_big_folder_costs_few_nodes() {
        let mut chunks = Chunks::default();
        let mut items = numbered(200_000, 100);
        build(&mut chunks, &items);
        let before = chunks.held.len();
        items[77_777].1 = b"changed".to_vec();
        items.insert(5, (b"00000004x".to_vec(), b"new".to_vec()));
        build(&mut chunks, &items);
        let new = chunks.held.len() - before;
        assert!(new <= 8, "{new} new nodes for two changes among {before}");
    }

    #[test]
    fn names_out_of_order_or_too_long_are_refused() {
        let mut chunks = Chunks::default();
        let keys = chunks.keys.clone();
        let mut b = MapBuilder::default();
        b.push(&keys, &mut chunks, b"b", b"").unwrap();
        assert!(b.push(&keys, &mut chunks, b"b", b"").is_err());
        assert!(b.push(&keys, &mut chunks, b"a", b"").is_err());
        assert!(b.push(&keys, &mut chunks, &vec![b'x'; limits::NAME_BYTES + 1], b"").is_err());
        assert!(b.push(&keys, &mut chunks, b"c", &vec![0; limits::ENTRY_BYTES + 1]).is_err());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn any_map_comes_back(map in proptest::collection::btree_map(proptest::collection::vec(1u8..=46, 1..40), proptest::collection::vec(any::<u8>(), 0..800), 0..300)) {
            let items: Vec<_> = map.into_iter().filter(|(n, _)| n != b"." && n != b"..").collect();
            let mut chunks = Chunks::default();
            let root = build(&mut chunks, &items);
            prop_assert_eq!(MapIter::new(&chunks, &root).map(Result::unwrap).collect::<Vec<_>>(), items);
        }
    }

    #[test]
    fn a_missing_node_is_one_error_and_the_rest_follows() {
        let mut chunks = Chunks::default();
        let root = build(&mut chunks, &numbered(5_000, 150));
        let MapRoot::Node { id, level, .. } = root else { panic!("so many items have nodes") };
        let Node::Inner(children) = read_node(&chunks, level, &id).unwrap() else { panic!("and more than one") };
        let gone = children[children.len() / 2].clone();
        chunks.held.remove(&gone.id);
        let (had, failed): (Vec<_>, Vec<_>) = MapIter::new(&chunks, &root).partition(Result::is_ok);
        assert_eq!((had.len() as u64, failed.len()), (5_000 - gone.entries, 1));
        chunks.held.retain(|held, _| *held == id);
        let mut iter = MapIter::new(&chunks, &root);
        assert!(iter.by_ref().all(|item| item.is_err()));
        assert!(iter.next().is_none());
    }
}
