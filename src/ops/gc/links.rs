//! What a node refers to: the one place that knows how to go from a snapshot's roots to its chunks.
//!
//! A *link* is one reference: from a snapshot's root or from a node to a chunk, as often as it stands there. What a
//! node's bytes mean depends on who refers to it, so the link says it.

use crate::error::Result;
use crate::format::entry::{Attributes, Content, Entry, EntryKind, Witness};
use crate::format::node::{Items, MapRoot, Node, SegmentNode, decode_segment_node, decode_stream_list};
use crate::format::recipe::{Recipe, Segments, Stream};
use crate::format::{ChunkId, ChunkKind};
use crate::pack::ReadChunks;

/// What a link leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Link {
    /// A chunk of data, which refers to nothing.
    Data,
    /// A node of a folder, at this level.
    Tree(u8),
    /// A node of a witness.
    Witness(u8),
    /// A list of a stream's chunks.
    Stream(u8),
    /// A list of segments.
    Segments(u8),
}

/// What each link is handed to.
pub(super) type Each<'a> = &'a mut dyn FnMut(ChunkId, Link) -> Result<()>;

/// The links of a snapshot's root: of its tree, or of its witness.
///
/// # Errors
/// [`crate::Error::Malformed`] for an inline folder that does not decode; what `each` returns.
pub(super) fn of_root(root: &MapRoot, is_tree: bool, each: Each<'_>) -> Result<()> {
    match root {
        MapRoot::Node { level, id, .. } => each(*id, if is_tree { Link::Tree(*level) } else { Link::Witness(*level) }),
        MapRoot::Inline(items) => items_of(items, is_tree, each),
    }
}

/// The links of a node or list.
///
/// # Errors
/// What `chunks` and `each` return; [`crate::Error::Malformed`].
pub(super) fn below(chunks: &dyn ReadChunks, id: &ChunkId, link: Link, each: Each<'_>) -> Result<()> {
    match link {
        Link::Data => Ok(()),
        Link::Tree(level) | Link::Witness(level) => {
            let is_tree = matches!(link, Link::Tree(_));
            match crate::catalog::map::read_node(chunks, level, id)? {
                Node::Leaf(items) => items_of(&items, is_tree, each),
                Node::Inner(children) => children.into_iter().try_for_each(|c| {
                    let below = level - 1; // an inner node stands at level 2 or above
                    each(c.id, if is_tree { Link::Tree(below) } else { Link::Witness(below) })
                }),
            }
        }
        Link::Stream(level) => {
            let list = decode_stream_list(level, &chunks.chunk(ChunkKind::List, id)?)?;
            list.into_iter().try_for_each(|r| each(r.id, of_level(level - 1))) // a list stands at level 1 or above
        }
        Link::Segments(level) => match decode_segment_node(level, &chunks.chunk(ChunkKind::List, id)?)? {
            SegmentNode::Leaf(_) => Ok(()),
            // level 2 or above
            SegmentNode::Inner(children) => {
                children.into_iter().try_for_each(|c| each(c.id, Link::Segments(level - 1)))
            }
        },
    }
}

fn of_level(level: u8) -> Link {
    if level == 0 { Link::Data } else { Link::Stream(level) }
}

fn items_of(items: &[u8], is_tree: bool, each: Each<'_>) -> Result<()> {
    for item in Items::new(items) {
        let (_, value) = item?;
        if !is_tree {
            if let Some(root) = Witness::decode(value)?.children {
                of_root(&root, false, each)?; // an inline one stands within its parent: at most as deep as that is long
            }
            continue;
        }
        let entry = Entry::decode(value)?;
        if let Attributes::Stream(stream) = &entry.attributes {
            stream_of(stream, each)?;
        }
        match entry.kind {
            EntryKind::Dir(root) => of_root(&root, true, each)?, // as above
            EntryKind::Symlink(_) | EntryKind::File { content: Content::Inline(_), .. } => {}
            EntryKind::File { content: Content::Recipe(recipe), .. } => recipe_of(&recipe, each)?,
        }
    }
    Ok(())
}

fn recipe_of(recipe: &Recipe, each: Each<'_>) -> Result<()> {
    recipe.streams.iter().try_for_each(|stream| stream_of(stream, each))?;
    match &recipe.segments {
        Segments::Inline(_) => Ok(()),
        Segments::List { level, id } => each(*id, Link::Segments(*level)),
    }
}

fn stream_of(stream: &Stream, each: Each<'_>) -> Result<()> {
    stream.references.iter().try_for_each(|r| each(r.id, of_level(stream.level)))
}
