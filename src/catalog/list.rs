//! Streams: runs of chunk references, and lists of them where they are long.
//!
//! Lists are cut by the ids in them, so two streams that share a long run share its lists, and an
//! essence that is stored already costs one reference.

use crate::error::{Error, Result};
use crate::format::limits::{INLINE_REFERENCES, LEVELS};
use crate::format::node::{decode_stream_list, encode_stream_list};
use crate::format::recipe::{Reference, Stream};
use crate::format::{ChunkId, ChunkKind};
use crate::pack::{ReadChunks, WriteChunks};

/// References of a list below which it is not cut, and at which it is. About 190 on average: 50 MB of
/// stream a list.
const LIST_MIN: usize = 64;
const LIST_MAX: usize = 512;
const LIST_ONE_IN: u16 = 128;

fn ends_list(id: &ChunkId, count: usize) -> bool {
    let [low, high, ..] = id.0;
    count >= LIST_MAX || (count >= LIST_MIN && u16::from_le_bytes([low, high]).is_multiple_of(LIST_ONE_IN))
}

/// Builds one stream from its chunks in order, in memory of a few lists.
#[derive(Default)]
pub struct StreamBuilder {
    /// References to chunks, to lists of level 1, of level 2, ...
    levels: Vec<Vec<Reference>>,
    bytes: u64,
}

impl StreamBuilder {
    /// Bytes so far.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Appends a chunk.
    ///
    /// # Errors
    /// Whatever `chunks` returns.
    pub fn push(&mut self, chunks: &mut dyn WriteChunks, reference: Reference) -> Result<()> {
        self.bytes += reference.bytes; // a file is shorter than 2^62
        self.push_at(chunks, 0, reference)
    }

    fn push_at(&mut self, chunks: &mut dyn WriteChunks, at: usize, reference: Reference) -> Result<()> {
        if at > usize::from(LEVELS) {
            return Err(Error::Limit { what: "the levels of a list", got: at as u64, max: u64::from(LEVELS) });
        }
        if self.levels.len() <= at {
            self.levels.push(Vec::new());
        }
        let level = &mut self.levels[at]; // levels grow one by one
        level.push(reference);
        if ends_list(&reference.id, level.len()) {
            self.flush(chunks, at)?;
        }
        Ok(())
    }

    fn flush(&mut self, chunks: &mut dyn WriteChunks, at: usize) -> Result<()> {
        let references = std::mem::take(&mut self.levels[at]); // callers name a level that exists
        let bytes = references.iter().map(|r| r.bytes).sum();
        let id = chunks.put(ChunkKind::List, &encode_stream_list(at as u8 + 1, &references))?; // at <= LEVELS
        self.push_at(chunks, at + 1, Reference { id, bytes })
    }

    /// Ends the stream.
    ///
    /// # Errors
    /// Whatever `chunks` returns.
    pub fn finish(mut self, chunks: &mut dyn WriteChunks) -> Result<Stream> {
        if self.levels.len() <= 1 {
            let references = self.levels.pop().unwrap_or_default();
            if references.len() <= INLINE_REFERENCES {
                return Ok(Stream { level: 0, references });
            }
            self.levels.push(references);
        }
        let mut at = 0;
        loop {
            let is_top = at + 1 == self.levels.len();
            if is_top && at > 0 && self.levels[at].len() == 1 {
                return Ok(Stream { level: at as u8, references: self.levels.swap_remove(at) }); // at <= LEVELS + 1
            }
            if !self.levels[at].is_empty() {
                self.flush(chunks, at)?;
            }
            at += 1;
        }
    }
}

/// Goes through a stream's chunks from any byte on.
pub struct References<'c> {
    chunks: &'c dyn ReadChunks,
    /// References still to visit per level on the way down, in reverse, with that level.
    stack: Vec<(u8, Vec<Reference>)>,
    /// Where in the stream the next chunk begins.
    at: u64,
    failed: bool,
}

impl<'c> References<'c> {
    /// The first chunk that comes is the one that holds byte `from`.
    ///
    /// # Errors
    /// Whatever the chunks return.
    pub fn new(chunks: &'c dyn ReadChunks, stream: &Stream, from: u64) -> Result<Self> {
        let mut references = stream.references.clone();
        references.reverse();
        let mut it = References { chunks, stack: vec![(stream.level, references)], at: 0, failed: false };
        it.skip_to(from)?;
        Ok(it)
    }

    fn skip_to(&mut self, from: u64) -> Result<()> {
        while let Some((level, references)) = self.stack.last_mut() {
            let level = *level;
            let Some(next) = references.last() else {
                self.stack.pop();
                continue;
            };
            if next.bytes <= from.saturating_sub(self.at) && self.at < from {
                self.at += next.bytes;
                references.pop();
            } else if level == 0 || self.at >= from {
                break;
            } else {
                let list = *next;
                references.pop();
                self.open(level, &list)?;
            }
        }
        Ok(())
    }

    fn open(&mut self, level: u8, list: &Reference) -> Result<()> {
        let mut below = decode_stream_list(level, &self.chunks.chunk(ChunkKind::List, &list.id)?)?;
        let sum = below.iter().try_fold(0u64, |sum, r| sum.checked_add(r.bytes));
        if sum != Some(list.bytes) {
            return Err(Error::Malformed { what: "a list", offset: 0, why: "it is not as long as its parent says" });
        }
        below.reverse();
        self.stack.push((level - 1, below)); // callers open lists of level 1 and up only
        Ok(())
    }

    /// The next chunk and where in the stream it begins.
    fn step(&mut self) -> Result<Option<(u64, Reference)>> {
        loop {
            let Some((level, references)) = self.stack.last_mut() else { return Ok(None) };
            let level = *level;
            let Some(next) = references.pop() else {
                self.stack.pop();
                continue;
            };
            if level == 0 {
                let at = self.at;
                self.at += next.bytes; // sums were checked on the way down
                return Ok(Some((at, next)));
            }
            self.open(level, &next)?;
        }
    }
}

impl Iterator for References<'_> {
    type Item = Result<(u64, Reference)>;
    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        let step = self.step().transpose();
        self.failed = matches!(step, Some(Err(_)));
        step
    }
}

/// Goes through the list chunks of a stream, parents first, without reading the chunks of data.
///
/// # Errors
/// Whatever the chunks or `each` return.
pub fn each_list(
    chunks: &dyn ReadChunks,
    stream: &Stream,
    each: &mut dyn FnMut(&ChunkId) -> Result<bool>,
) -> Result<()> {
    let mut todo: Vec<(u8, Reference)> = stream.references.iter().map(|r| (stream.level, *r)).collect();
    while let Some((level, list)) = todo.pop() {
        if level == 0 || !each(&list.id)? {
            continue;
        }
        if level > 1 {
            let below = decode_stream_list(level, &chunks.chunk(ChunkKind::List, &list.id)?)?;
            todo.extend(below.into_iter().map(|r| (level - 1, r)));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::testing::Chunks;
    use super::*;

    fn references(n: usize, salt: u64) -> Vec<Reference> {
        (0..n as u64)
            .map(|i| Reference {
                id: ChunkId(crate::format::check::blake3(&[&i.to_le_bytes(), &salt.to_le_bytes()])),
                bytes: 1000 + i % 77,
            })
            .collect()
    }

    fn build(chunks: &mut Chunks, all: &[Reference]) -> Stream {
        let mut b = StreamBuilder::default();
        all.iter().for_each(|r| b.push(chunks, *r).unwrap());
        b.finish(chunks).unwrap()
    }

    #[test]
    fn streams_of_every_length_come_back_from_any_byte() {
        for n in [0, 1, 16, 17, 63, 64, 500, 3_000, 100_000] {
            let mut chunks = Chunks::default();
            let all = references(n, 1);
            let stream = build(&mut chunks, &all);
            assert_eq!(stream.level == 0, n <= 16, "{n}");
            let total: u64 = all.iter().map(|r| r.bytes).sum();
            assert_eq!(stream.bytes(), total);
            let back: Vec<_> = References::new(&chunks, &stream, 0).unwrap().map(|r| r.unwrap().1).collect();
            assert!(back == all, "{n}");
            for from in [1, total / 2, total.saturating_sub(1)] {
                let mut at = 0;
                let want = all
                    .iter()
                    .find(|r| {
                        at += r.bytes;
                        at > from
                    })
                    .copied();
                let got = References::new(&chunks, &stream, from).unwrap().next().map(Result::unwrap);
                assert_eq!(got.map(|g| g.1), want, "{n} from {from}");
                if let Some((start, r)) = got {
                    assert!(start <= from && from < start + r.bytes);
                }
            }
            assert!(References::new(&chunks, &stream, total).unwrap().next().is_none());
        }
    }

    #[test]
    fn a_stream_with_a_changed_head_shares_its_lists() {
        let mut chunks = Chunks::default();
        let mut all = references(50_000, 1);
        build(&mut chunks, &all);
        let before = chunks.held.len();
        all.splice(0..3, references(5, 2));
        build(&mut chunks, &all);
        let new = chunks.held.len() - before;
        assert!(new <= 6, "{new} new lists of {before}");
    }

    #[test]
    fn a_list_that_is_not_as_long_as_its_parent_says_is_refused() {
        let mut chunks = Chunks::default();
        let mut stream = build(&mut chunks, &references(300, 1));
        stream.references[0].bytes += 1;
        assert!(References::new(&chunks, &stream, 0).unwrap().any(|r| r.is_err()));
    }
}
