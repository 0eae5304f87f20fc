//! Walking a snapshot's tree: one path, or everything below one.

use super::list::References;
use super::map::{self, MapIter};
use crate::error::{Error, Result};
use crate::format::entry::{Attributes, Entry, EntryKind, decode_attributes};
use crate::format::node::MapRoot;
use crate::format::{ChunkKind, limits};
use crate::pack::ReadChunks;

/// Splits an absolute or relative path into its names; `.` and empty ones fall away.
pub fn names(path: &[u8]) -> Vec<&[u8]> {
    path.split(|&b| b == b'/').filter(|n| !n.is_empty() && *n != b".").collect()
}

/// What a path leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// The tree's root, which has no entry of its own.
    Root,
    Entry(Box<Entry>),
}

/// Finds the entry at a path. Symlinks are not followed.
///
/// # Errors
/// Whatever the chunks return.
pub fn lookup(chunks: &dyn ReadChunks, root: &MapRoot, path: &[u8]) -> Result<Option<Found>> {
    let names = names(path);
    let Some((last, parents)) = names.split_last() else { return Ok(Some(Found::Root)) };
    let mut at = root.clone();
    for name in parents {
        match map::get(chunks, &at, name)?.map(|v| Entry::decode(&v)).transpose()?.map(|e| e.kind) {
            Some(EntryKind::Dir(children)) => at = children,
            _ => return Ok(None),
        }
    }
    Ok(map::get(chunks, &at, last)?.map(|v| Entry::decode(&v)).transpose()?.map(|e| Found::Entry(Box::new(e))))
}

/// An entry's extended attributes, `(name, value)`, names ascending.
///
/// # Errors
/// Whatever the chunks return; [`Error::Limit`], [`Error::Malformed`] for a stream that holds something else.
pub fn attributes(chunks: &dyn ReadChunks, entry: &Entry) -> Result<Vec<(Vec<u8>, Vec<u8>)>> {
    let stream = match &entry.attributes {
        Attributes::None => return Ok(Vec::new()),
        Attributes::Inline(list) => return Ok(list.clone()),
        Attributes::Stream(stream) => stream,
    };
    let mut bytes = Vec::new();
    for reference in References::new(chunks, stream, 0)? {
        let chunk = chunks.chunk(ChunkKind::Data, &reference?.1.id)?;
        let got = bytes.len() + chunk.len();
        if got > limits::ATTRIBUTE_BYTES {
            let max = limits::ATTRIBUTE_BYTES as u64;
            return Err(Error::Limit { what: "the length of attributes", got: got as u64, max });
        }
        bytes.extend(chunk);
    }
    decode_attributes(&bytes)
}

/// One step of a [`Walk`].
#[derive(Debug)]
pub enum Step {
    /// A file, a symlink, or a folder before what is in it. The path begins with `/`.
    Entry(Vec<u8>, Entry),
    /// The folder of this path is done.
    Leave(Vec<u8>),
    /// Some of what lies at or below this path cannot be read; the walk goes on behind it.
    Unreadable(Vec<u8>, Error),
}

/// Goes through all entries below a folder, depth first, folders before their content, names in order.
pub struct Walk<'c> {
    chunks: &'c dyn ReadChunks,
    stack: Vec<(MapIter<'c>, usize)>,
    /// The path of the folder on top of the stack; `/` between names, none at the end.
    path: Vec<u8>,
}

impl<'c> Walk<'c> {
    /// `at` is the path of the folder whose children are at `root`; empty for the tree's root.
    pub fn new(chunks: &'c dyn ReadChunks, root: &MapRoot, at: &[u8]) -> Self {
        let mut path = Vec::new();
        for name in names(at) {
            path.push(b'/');
            path.extend_from_slice(name);
        }
        Walk { chunks, stack: vec![(MapIter::new(chunks, root), 0)], path }
    }

    /// Leaves out what is below the folder that [`Step::Entry`] just gave; no [`Step::Leave`] comes.
    pub fn leave_out(&mut self) {
        if self.stack.len() > 1
            && let Some((_, parent)) = self.stack.pop()
        {
            self.path.truncate(parent);
        }
    }

    fn step(&mut self) -> Option<Step> {
        let (iter, parent) = self.stack.last_mut()?;
        let parent = *parent;
        match iter.next() {
            None => {
                self.stack.pop();
                let path = self.path.clone();
                self.path.truncate(parent);
                if self.stack.is_empty() { None } else { Some(Step::Leave(path)) }
            }
            Some(Err(e)) => Some(Step::Unreadable(self.path.clone(), e)), // one node of it: the others follow
            Some(Ok((name, value))) => {
                let before = self.path.len();
                self.path.push(b'/');
                self.path.extend_from_slice(&name);
                let path = self.path.clone();
                let entry = match Entry::decode(&value) {
                    Ok(entry) => entry,
                    Err(e) => {
                        self.path.truncate(before);
                        return Some(Step::Unreadable(path, e));
                    }
                };
                match &entry.kind {
                    EntryKind::Dir(_) if self.stack.len() >= limits::DEPTH => {
                        self.path.truncate(before);
                        let e = Error::Limit {
                            what: "the depth of folders",
                            got: self.stack.len() as u64 + 1,
                            max: limits::DEPTH as u64,
                        };
                        return Some(Step::Unreadable(path, e));
                    }
                    EntryKind::Dir(children) => self.stack.push((MapIter::new(self.chunks, children), before)),
                    _ => self.path.truncate(before),
                }
                Some(Step::Entry(path, entry))
            }
        }
    }
}

impl Iterator for Walk<'_> {
    type Item = Step;
    fn next(&mut self) -> Option<Step> {
        self.step()
    }
}

#[cfg(test)]
mod tests {
    use super::super::map::MapBuilder;
    use super::super::testing::Chunks;
    use super::*;
    use crate::format::entry::{Attributes, Content, Time};

    fn entry(kind: EntryKind) -> Entry {
        Entry {
            kind,
            mode: 0o644,
            mtime: Time::default(),
            uid: 0,
            gid: 0,
            user: None,
            group: None,
            attributes: Attributes::None,
            link: None,
            digests: vec![],
        }
    }

    fn file(text: &[u8]) -> Entry {
        entry(EntryKind::File { bytes: text.len() as u64, content: Content::Inline(text.to_vec()) })
    }

    fn dir(chunks: &mut Chunks, items: &[(&[u8], Entry)]) -> MapRoot {
        let keys = chunks.keys.clone();
        let mut b = MapBuilder::default();
        items.iter().for_each(|(n, e)| b.push(&keys, chunks, n, &e.encode()).unwrap());
        b.finish(&keys, chunks).unwrap()
    }

    fn tree(chunks: &mut Chunks) -> MapRoot {
        let inner = dir(chunks, &[(b"x", file(b"deep"))]);
        let middle = dir(chunks, &[(b"inner", entry(EntryKind::Dir(inner))), (b"y", file(b"y"))]);
        dir(
            chunks,
            &[
                (b"a", file(b"a")),
                (b"m", entry(EntryKind::Dir(middle))),
                (b"z", entry(EntryKind::Symlink(b"m".to_vec()))),
            ],
        )
    }

    fn paths(walk: Walk<'_>) -> Vec<String> {
        walk.map(|s| match s {
            Step::Entry(p, _) => String::from_utf8(p).unwrap(),
            Step::Leave(p) => format!("leave {}", String::from_utf8(p).unwrap()),
            Step::Unreadable(p, e) => format!("bad {} {e}", String::from_utf8(p).unwrap()),
        })
        .collect()
    }

    #[test]
    fn a_walk_gives_every_entry_in_order_and_a_lookup_finds_each() {
        let mut chunks = Chunks::default();
        let root = tree(&mut chunks);
        assert_eq!(
            paths(Walk::new(&chunks, &root, b"")),
            ["/a", "/m", "/m/inner", "/m/inner/x", "leave /m/inner", "/m/y", "leave /m", "/z"]
        );
        let found = |p: &[u8]| lookup(&chunks, &root, p).unwrap();
        assert_eq!(found(b"/m//inner/./x"), Some(Found::Entry(Box::new(file(b"deep")))));
        assert_eq!(found(b"/"), Some(Found::Root));
        assert_eq!((found(b"/m/q"), found(b"/a/x"), found(b"/z/inner")), (None, None, None));
        let Some(Found::Entry(m)) = found(b"m") else { panic!("m is there") };
        let EntryKind::Dir(children) = m.kind else { panic!("m is a folder") };
        assert_eq!(paths(Walk::new(&chunks, &children, b"m")), ["/m/inner", "/m/inner/x", "leave /m/inner", "/m/y"]);
    }

    #[test]
    fn a_skipped_folder_is_left_out() {
        let mut chunks = Chunks::default();
        let root = tree(&mut chunks);
        let mut walk = Walk::new(&chunks, &root, b"");
        walk.next();
        walk.next();
        walk.leave_out();
        assert_eq!(paths(walk), ["/z"]);
    }
}
