//! Nodes of sorted maps (folders and witnesses), and lists of references and segments.
//!
//! A map's items stand in leaves, `name -> value`; inner nodes name their children by the first name
//! below them. A map that encodes to less than [`limits::INLINE_DIR_BYTES`] has no node: its items
//! stand in its root.
//!
//! ```text
//! root        := 0:u8 items:var                                inline
//!              | 1:u8 level:u8 id:32 entries:varint            level 1 is a leaf
//! node        := form:u8 level:u8 item*                        one chunk of kind tree
//!   1 leaf    item := name:var value:var                       level 1
//!   2 inner   item := first-name:var id:32 entries:varint      level 2 and up
//! list        := form:u8 level:u8 item*                        one chunk of kind list
//!   3 stream  item := id:32 bytes:varint                       level 1: data chunks, above: lists
//!   4 segment item := segment                                  level 1
//!   5 segment item := id:32 bytes:varint streams:varint bytes:varint{streams}   level 2 and up
//! ```
//! Names ascend strictly, compared as bytes.

use super::id::ChunkId;
use super::limits::{self, LEVELS, NAME_BYTES};
use super::recipe::{Reference, Segment};
use super::wire::{Put, Reader};
use crate::error::{Error, Result};

/// Where a sorted map is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MapRoot {
    /// The items themselves.
    Inline(Vec<u8>),
    /// A tree of nodes; `level` 1 is a single leaf. `entries` counts the items below.
    Node { level: u8, id: ChunkId, entries: u64 },
}

impl MapRoot {
    pub fn empty() -> Self {
        MapRoot::Inline(Vec::new())
    }

    pub fn encode_into(&self, out: &mut Vec<u8>) {
        match self {
            MapRoot::Inline(items) => {
                out.put_u8(0);
                out.put_var(items);
            }
            MapRoot::Node { level, id, entries } => {
                out.put_u8(1);
                out.put_u8(*level);
                out.put(&id.0);
                out.put_varint(*entries);
            }
        }
    }

    /// # Errors
    /// [`Error::Malformed`].
    pub fn decode(r: &mut Reader<'_>) -> Result<Self> {
        match r.u8()? {
            0 => Ok(MapRoot::Inline(r.var_bytes(limits::INLINE_DIR_BYTES)?.to_vec())),
            1 => {
                let level = r.u8()?;
                if level == 0 || level > LEVELS {
                    return Err(r.bad("a level that cannot be"));
                }
                Ok(MapRoot::Node { level, id: ChunkId(r.array()?), entries: r.varint()? })
            }
            _ => Err(r.bad("a root of a form that this version does not know")),
        }
    }
}

/// Appends one item of a leaf.
pub fn put_item(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    out.put_var(name);
    out.put_var(value);
}

/// Goes through the items of a leaf or an inline map.
///
/// Each item is `(name, value)`. Names that do not ascend, empty ones and ones with `/` or NUL end it
/// with an error: no path from a store is trusted.
#[derive(Clone)]
pub struct Items<'a> {
    r: Reader<'a>,
    last: Option<&'a [u8]>,
    failed: bool,
}

impl<'a> Items<'a> {
    pub fn new(items: &'a [u8]) -> Self {
        Items { r: Reader::new("a folder", items), last: None, failed: false }
    }

    fn step(&mut self) -> Result<(&'a [u8], &'a [u8])> {
        let name = self.r.var_bytes(NAME_BYTES)?;
        if name.is_empty() || name == b"." || name == b".." || name.iter().any(|&b| b == b'/' || b == 0) {
            return Err(self.r.bad("a name that no file can have"));
        }
        if self.last.is_some_and(|last| last >= name) {
            return Err(self.r.bad("names are out of order"));
        }
        self.last = Some(name);
        Ok((name, self.r.var_bytes(limits::ENTRY_BYTES)?))
    }
}

impl<'a> Iterator for Items<'a> {
    type Item = Result<(&'a [u8], &'a [u8])>;
    fn next(&mut self) -> Option<Self::Item> {
        if self.failed || self.r.left() == 0 {
            return None;
        }
        let item = self.step();
        self.failed = item.is_err();
        Some(item)
    }
}

/// One child of an inner node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Child {
    pub first: Vec<u8>,
    pub id: ChunkId,
    pub entries: u64,
}

/// A decoded node of a map.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Node {
    /// The items, still encoded: see [`Items`].
    Leaf(Vec<u8>),
    Inner(Vec<Child>),
}

/// The bytes of a leaf with these items.
pub fn encode_leaf(items: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(items.len() + 2);
    out.put(&[1, 1]);
    out.put(items);
    out
}

/// The bytes of an inner node.
pub fn encode_inner(level: u8, children: &[Child]) -> Vec<u8> {
    let mut out = Vec::with_capacity(children.len() * 64);
    out.put(&[2, level]);
    for c in children {
        out.put_var(&c.first);
        out.put(&c.id.0);
        out.put_varint(c.entries);
    }
    out
}

/// Reads a node that is expected at `level`. All items are gone through once, so that what comes back
/// is sound.
///
/// # Errors
/// [`Error::Malformed`], [`Error::Limit`].
pub fn decode_node(level: u8, bytes: &[u8]) -> Result<Node> {
    bounded(bytes)?;
    let mut r = Reader::new("a node", bytes);
    let (form, stands_at) = (r.u8()?, r.u8()?);
    if stands_at != level {
        return Err(r.bad("it stands at another level than its parent says"));
    }
    match (form, level) {
        (1, 1) => {
            let items = r.take(r.left())?;
            Items::new(items).try_for_each(|item| item.map(|_| ()))?;
            Ok(Node::Leaf(items.to_vec()))
        }
        (2, 2..=LEVELS) => {
            let mut children: Vec<Child> = Vec::new();
            while r.left() > 0 {
                let child =
                    Child { first: r.var_bytes(NAME_BYTES)?.to_vec(), id: ChunkId(r.array()?), entries: r.varint()? };
                if children.last().is_some_and(|last| last.first >= child.first) {
                    return Err(r.bad("children are out of order"));
                }
                children.push(child);
            }
            if children.is_empty() {
                return Err(r.bad("an inner node without children"));
            }
            Ok(Node::Inner(children))
        }
        _ => Err(r.bad("a form of node that does not stand at this level")),
    }
}

fn bounded(bytes: &[u8]) -> Result<()> {
    if bytes.len() > limits::NODE_BYTES {
        return Err(Error::Limit { what: "a node's length", got: bytes.len() as u64, max: limits::NODE_BYTES as u64 });
    }
    Ok(())
}

/// The bytes of a list of references.
pub fn encode_stream_list(level: u8, references: &[Reference]) -> Vec<u8> {
    let mut out = Vec::with_capacity(references.len() * 36 + 2);
    out.put(&[3, level]);
    references.iter().for_each(|r| r.encode_into(&mut out));
    out
}

/// # Errors
/// [`Error::Malformed`], [`Error::Limit`].
pub fn decode_stream_list(level: u8, bytes: &[u8]) -> Result<Vec<Reference>> {
    bounded(bytes)?;
    let mut r = Reader::new("a list", bytes);
    if [r.u8()?, r.u8()?] != [3, level] {
        return Err(r.bad("it is of another form or level than its parent says"));
    }
    let mut out = Vec::new();
    while r.left() > 0 {
        out.push(Reference::decode(&mut r)?);
    }
    if out.is_empty() {
        return Err(r.bad("a list without references"));
    }
    Ok(out)
}

/// One child of a segment list above the first level.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SegmentChild {
    pub id: ChunkId,
    /// File bytes below.
    pub bytes: u64,
    /// Bytes of each stream that are used below, from stream 0 on.
    pub stream_bytes: Vec<u64>,
}

/// A decoded node of a segment list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SegmentNode {
    Leaf(Vec<Segment>),
    Inner(Vec<SegmentChild>),
}

pub fn encode_segment_leaf(segments: &[Segment]) -> Vec<u8> {
    let mut out = vec![4, 1];
    segments.iter().for_each(|s| s.encode_into(&mut out));
    out
}

pub fn encode_segment_inner(level: u8, children: &[SegmentChild]) -> Vec<u8> {
    let mut out = vec![5, level];
    for c in children {
        out.put(&c.id.0);
        out.put_varint(c.bytes);
        out.put_varint(c.stream_bytes.len() as u64);
        c.stream_bytes.iter().for_each(|&n| out.put_varint(n));
    }
    out
}

/// # Errors
/// [`Error::Malformed`], [`Error::Limit`].
pub fn decode_segment_node(level: u8, bytes: &[u8]) -> Result<SegmentNode> {
    bounded(bytes)?;
    let mut r = Reader::new("a segment list", bytes);
    let (form, stands_at) = (r.u8()?, r.u8()?);
    if stands_at != level {
        return Err(r.bad("it stands at another level than its parent says"));
    }
    match (form, level) {
        (4, 1) => {
            let mut out = Vec::new();
            while r.left() > 0 {
                out.push(Segment::decode(&mut r)?);
            }
            Ok(SegmentNode::Leaf(out))
        }
        (5, 2..=LEVELS) => {
            let mut out = Vec::new();
            while r.left() > 0 {
                let (id, bytes) = (ChunkId(r.array()?), r.varint()?);
                let n = r.count(1, limits::STREAMS)?;
                let stream_bytes = (0..n).map(|_| r.varint()).collect::<Result<_>>()?;
                if bytes > limits::FILE_BYTES {
                    return Err(r.bad("a length beyond any file"));
                }
                out.push(SegmentChild { id, bytes, stream_bytes });
            }
            Ok(SegmentNode::Inner(out))
        }
        _ => Err(r.bad("a form of list that does not stand at this level")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn names() -> impl Strategy<Value = Vec<Vec<u8>>> {
        proptest::collection::btree_set(proptest::collection::vec(1u8..=255, 1..20), 0..50)
            .prop_map(|s| s.into_iter().filter(|n| !n.contains(&b'/') && n != b"." && n != b"..").collect())
    }

    proptest! {
        #[test]
        fn nodes_and_lists_come_back(names in names(), seed: u8) {
            let mut items = Vec::new();
            names.iter().for_each(|n| put_item(&mut items, n, &[seed; 3]));
            prop_assert_eq!(decode_node(1, &encode_leaf(&items)).unwrap(), Node::Leaf(items.clone()));
            prop_assert_eq!(Items::new(&items).map(|i| i.unwrap().0.to_vec()).collect::<Vec<_>>(), names.clone());
            let children: Vec<_> = names.iter().map(|n| Child { first: n.clone(), id: ChunkId([seed; 32]), entries: 5 }).collect();
            if !children.is_empty() {
                prop_assert_eq!(decode_node(3, &encode_inner(3, &children)).unwrap(), Node::Inner(children.clone()));
                prop_assert!(decode_node(2, &encode_inner(3, &children)).is_err());
            }
            let refs: Vec<_> = names.iter().map(|n| Reference { id: ChunkId([seed; 32]), bytes: n.len() as u64 }).collect();
            if !refs.is_empty() {
                prop_assert_eq!(decode_stream_list(2, &encode_stream_list(2, &refs)).unwrap(), refs);
            }
            let inner: Vec<_> = names.iter().map(|n| SegmentChild { id: ChunkId([seed; 32]), bytes: 7, stream_bytes: vec![n.len() as u64; 3] }).collect();
            prop_assert_eq!(decode_segment_node(2, &encode_segment_inner(2, &inner)).unwrap(), SegmentNode::Inner(inner));
        }

        #[test]
        fn arbitrary_bytes_never_panic(b: Vec<u8>, form in 0u8..7, level in 0u8..5) {
            let mut node = vec![form, level];
            node.extend(&b);
            let _ = decode_node(level, &node);
            let _ = decode_stream_list(level, &node);
            let _ = decode_segment_node(level, &node);
            let _ = MapRoot::decode(&mut Reader::new("t", &b));
        }
    }

    #[test]
    fn names_that_no_file_can_have_or_out_of_order_are_refused() {
        for bad in [&[b"" as &[u8]][..], &[b"."], &[b".."], &[b"a/b"], &[b"a\0"], &[b"b", b"a"], &[b"a", b"a"]] {
            let mut items = Vec::new();
            bad.iter().for_each(|n| put_item(&mut items, n, b""));
            assert!(decode_node(1, &encode_leaf(&items)).is_err(), "{bad:?}");
        }
    }
}
