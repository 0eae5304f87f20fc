//! Two sorted maps side by side: the names whose values differ.
//!
//! Where both maps stand before nodes that are the same, neither is read. Nodes are cut by names alone,
//! so two maps that part for a few names meet again soon, and the work is that of the change.

use crate::catalog::map::read_node;
use crate::error::{Error, Result};
use crate::format::node::{Child, Items, MapRoot, Node};
use crate::pack::ReadChunks;
use std::collections::VecDeque;

/// A name and its value.
type Item = (Vec<u8>, Vec<u8>);

/// One map, gone through from the left.
struct Side {
    /// Children still to visit, per level on the way down; each in reverse order.
    stack: Vec<(u8, Vec<Child>)>,
    /// Items of the leaf that was entered, still to come.
    items: VecDeque<Item>,
    last: Option<Vec<u8>>,
}

impl Side {
    fn new(root: &MapRoot) -> Result<Side> {
        let mut side = Side { stack: Vec::new(), items: VecDeque::new(), last: None };
        match root {
            MapRoot::Inline(items) => side.take(items)?,
            MapRoot::Node { level, id, entries } => {
                side.stack.push((*level, vec![Child { first: Vec::new(), id: *id, entries: *entries }]));
            }
        }
        Ok(side)
    }

    fn take(&mut self, items: &[u8]) -> Result<()> {
        for item in Items::new(items) {
            let (name, value) = item?;
            if self.last.as_deref().is_some_and(|last| last >= name) {
                return Err(Error::Malformed { what: "a folder", offset: 0, why: "names are out of order" });
            }
            self.last = Some(name.to_vec());
            self.items.push_back((name.to_vec(), value.to_vec()));
        }
        Ok(())
    }

    /// The node that comes next, and its level.
    fn ahead(&mut self) -> Option<(u8, &Child)> {
        while self.stack.last().is_some_and(|(_, children)| children.is_empty()) {
            self.stack.pop();
        }
        self.stack.last().and_then(|(level, children)| Some((*level, children.last()?)))
    }

    fn pass_over(&mut self) {
        if let Some((_, children)) = self.stack.last_mut() {
            children.pop();
        }
    }

    /// Enters the node that comes next.
    fn enter(&mut self, chunks: &dyn ReadChunks) -> Result<()> {
        let Some((level, child)) = self.ahead() else { return Ok(()) };
        let node = read_node(chunks, level, &child.id)?;
        self.pass_over();
        match node {
            Node::Leaf(items) => self.take(&items),
            Node::Inner(mut children) => {
                children.reverse();
                self.stack.push((level - 1, children)); // an inner node stands at level 2 or above
                Ok(())
            }
        }
    }

    /// Makes an item stand ready, if there is one left.
    fn fill(&mut self, chunks: &dyn ReadChunks) -> Result<()> {
        while self.items.is_empty() && self.ahead().is_some() {
            self.enter(chunks)?;
        }
        Ok(())
    }
}

/// A name, and its value in either map.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Pair {
    pub name: Vec<u8>,
    pub a: Option<Vec<u8>>,
    pub b: Option<Vec<u8>>,
}

/// Goes through the names whose values differ, in order.
pub(super) struct Pairs<'c> {
    chunks: &'c dyn ReadChunks,
    a: Side,
    b: Side,
}

impl<'c> Pairs<'c> {
    pub fn new(chunks: &'c dyn ReadChunks, a: &MapRoot, b: &MapRoot) -> Result<Self> {
        Ok(Pairs { chunks, a: Side::new(a)?, b: Side::new(b)? })
    }

    /// Brings both sides to an item, past all nodes that are the same.
    fn meet(&mut self) -> Result<()> {
        while self.a.items.is_empty() && self.b.items.is_empty() {
            match (self.a.ahead(), self.b.ahead()) {
                (Some((la, ca)), Some((lb, cb))) => {
                    if la == lb && ca.id == cb.id {
                        self.a.pass_over();
                        self.b.pass_over();
                        continue;
                    }
                    // The higher one first: what is below it may be what the other one stands before.
                    if la >= lb {
                        self.a.enter(self.chunks)?;
                    }
                    if lb >= la {
                        self.b.enter(self.chunks)?;
                    }
                }
                _ => break,
            }
        }
        self.a.fill(self.chunks)?;
        self.b.fill(self.chunks)
    }

    /// The next pair; `None` at the end.
    ///
    /// # Errors
    /// Whatever the chunks return. The pairs are at an end then.
    pub fn next(&mut self) -> Result<Option<Pair>> {
        loop {
            self.meet()?;
            let (a, b) = (self.a.items.front(), self.b.items.front());
            let order = match (a, b) {
                (None, None) => return Ok(None),
                (Some(_), None) => std::cmp::Ordering::Less,
                (None, Some(_)) => std::cmp::Ordering::Greater,
                (Some((a, _)), Some((b, _))) => a.cmp(b),
            };
            let a = if order.is_le() { self.a.items.pop_front() } else { None };
            let b = if order.is_ge() { self.b.items.pop_front() } else { None };
            match (a, b) {
                (Some((_, a)), Some((_, b))) if a == b => {}
                (Some((name, a)), b) => return Ok(Some(Pair { name, a: Some(a), b: b.map(|(_, v)| v) })),
                (None, Some((name, b))) => return Ok(Some(Pair { name, a: None, b: Some(b) })),
                (None, None) => return Ok(None), // there was a front
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::map::MapBuilder;
    use crate::catalog::testing::Chunks;
    use crate::format::{ChunkId, ChunkKind};
    use proptest::prelude::*;
    use std::collections::BTreeMap;
    use std::sync::atomic::{AtomicUsize, Ordering};

    type Map = BTreeMap<Vec<u8>, Vec<u8>>;

    fn build(chunks: &mut Chunks, map: &Map) -> MapRoot {
        let keys = chunks.keys.clone();
        let mut b = MapBuilder::default();
        map.iter().for_each(|(n, v)| b.push(&keys, chunks, n, v).unwrap());
        b.finish(&keys, chunks).unwrap()
    }

    struct Counted<'c>(&'c Chunks, AtomicUsize);

    impl ReadChunks for Counted<'_> {
        fn chunk(&self, kind: ChunkKind, id: &ChunkId) -> Result<Vec<u8>> {
            self.1.fetch_add(1, Ordering::Relaxed);
            self.0.chunk(kind, id)
        }
    }

    /// The pairs and how many nodes were read for them.
    fn pairs(a: &Map, b: &Map) -> (Vec<Pair>, usize) {
        let mut chunks = Chunks::default();
        let (a, b) = (build(&mut chunks, a), build(&mut chunks, b));
        let counted = Counted(&chunks, AtomicUsize::new(0));
        let mut pairs = Pairs::new(&counted, &a, &b).unwrap();
        let mut out = Vec::new();
        while let Some(pair) = pairs.next().unwrap() {
            out.push(pair);
        }
        (out, counted.1.into_inner())
    }

    fn expected(a: &Map, b: &Map) -> Vec<Pair> {
        let mut names: Vec<_> = a.keys().chain(b.keys()).cloned().collect();
        names.sort();
        names.dedup();
        let differ = names.into_iter().filter(|n| a.get(n) != b.get(n));
        differ.map(|name| Pair { a: a.get(&name).cloned(), b: b.get(&name).cloned(), name }).collect()
    }

    #[test]
    fn a_few_changes_in_a_big_folder_are_found_in_a_few_nodes() {
        let a: Map = (0..100_000).map(|i| (format!("{i:08}").into_bytes(), vec![1; 100])).collect();
        let mut b = a.clone();
        b.insert(b"00050000".to_vec(), vec![2; 100]);
        b.remove(b"00070000".as_slice());
        b.insert(b"00000000x".to_vec(), vec![3; 100]);
        b.insert(b"zz".to_vec(), vec![3; 100]);
        let (got, reads) = pairs(&a, &b);
        assert_eq!(got, expected(&a, &b));
        assert!(reads < 60, "{reads} nodes were read for four changes");
        assert_eq!(pairs(&a, &a), (Vec::new(), 0));
        let (got, _) = pairs(&Map::new(), &b);
        assert_eq!(got.len(), b.len());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn any_two_maps_differ_as_plain_ones_do(
            size in 0usize..6000,
            value in 10usize..200,
            changes in proptest::collection::vec((any::<prop::sample::Index>(), 0u8..4), 0..40),
        ) {
            let a: Map = (0..size).map(|i| (format!("{:06}", i * 3).into_bytes(), vec![7; value])).collect();
            let mut b = a.clone();
            for (at, change) in changes {
                let i = at.index(size * 3 + 10);
                let name = format!("{i:06}").into_bytes();
                match change {
                    0 => { b.remove(&name); }
                    1 => { b.insert(name, vec![9; value]); }
                    // a run, so that whole leaves go
                    2 => b.retain(|n, _| n.as_slice() < name.as_slice() || *n > format!("{:06}", i + 900).into_bytes()),
                    _ => { b.insert(name, vec![7; value]); }
                }
            }
            prop_assert_eq!(pairs(&a, &b).0, expected(&a, &b));
            prop_assert_eq!(pairs(&b, &a).0, expected(&b, &a));
        }
    }

    #[test]
    fn a_missing_node_is_an_error() {
        let mut chunks = Chunks::default();
        let a: Map = (0..5_000).map(|i| (format!("{i:08}").into_bytes(), vec![1; 100])).collect();
        let root = build(&mut chunks, &a);
        let MapRoot::Node { id, .. } = root else { panic!("so many items have nodes") };
        chunks.held.retain(|held, _| *held == id);
        let mut pairs = Pairs::new(&chunks, &root, &MapRoot::empty()).unwrap();
        assert!(pairs.next().is_err());
    }
}
