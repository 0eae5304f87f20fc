//! Files: a recipe is built while a file streams by, and read back piece by piece.

use super::list::{References, StreamBuilder};
use crate::error::{Error, Result};
use crate::format::limits::{INLINE_SEGMENTS, LEVELS, NODE_BYTES, SEGMENT_BYTES, STREAMS};
use crate::format::node::{SegmentChild, SegmentNode, decode_segment_node, encode_segment_inner, encode_segment_leaf};
use crate::format::recipe::{DataCheck, FileCheck, Mapped, Recipe, Reference, Segment, Segments, Stream};
use crate::format::{ChunkId, ChunkKind};
use crate::pack::{ReadChunks, WriteChunks};

/// Segments of a leaf of a segment list, and children of a node above, at most.
const SEGMENT_NODE: usize = 512;
/// Bytes of such a node at which it is cut; a child of 255 streams has 2.6 KB, a mapped segment up to [`NODE_BYTES`].
const SEGMENT_NODE_BYTES: usize = 64 << 10;
/// Segments that stand in an entry have at most so many bytes: an entry has room for 64 KiB, streams included.
const INLINE_SEGMENTS_BYTES: usize = 16 << 10;

/// Builds a recipe of data, hole and mapped segments. Memory: a few lists, whatever the file's length.
pub struct RecipeBuilder {
    splitter: (u16, u8),
    streams: Vec<StreamBuilder>,
    /// The open data segment: its stream, bytes and check.
    open: Option<(u8, u64, DataCheck)>,
    segments: Vec<Segment>,
    /// Bytes of these, encoded.
    segments_bytes: usize,
    /// Children of levels 2, 3, ... of the segment list.
    above: Vec<Vec<SegmentChild>>,
    check: FileCheck,
    bytes: u64,
    /// Per stream, the bytes that mapped segments take less the bytes of the chunks given for them. A data segment takes
    /// its stream's next bytes, so nothing may be owed where one begins, nor at the end.
    owed: Vec<i128>,
}

impl RecipeBuilder {
    pub fn new(splitter: (u16, u8)) -> Self {
        RecipeBuilder {
            splitter,
            streams: Vec::new(),
            open: None,
            segments: Vec::new(),
            segments_bytes: 0,
            above: Vec::new(),
            check: FileCheck::default(),
            bytes: 0,
            owed: Vec::new(),
        }
    }

    /// Bytes of the file so far.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The next bytes of the file are this chunk, of this stream.
    ///
    /// # Errors
    /// Whatever `chunks` returns; [`Error::Limit`].
    pub fn data(&mut self, chunks: &mut dyn WriteChunks, stream: u8, reference: Reference) -> Result<()> {
        if usize::from(stream) >= STREAMS {
            return Err(Error::Limit { what: "a file's streams", got: u64::from(stream) + 1, max: STREAMS as u64 });
        }
        if self.open.as_ref().is_some_and(|(s, ..)| *s != stream) {
            self.close(chunks)?;
        }
        self.has_stream(stream);
        self.owes_nothing(stream)?;
        let (_, bytes, check) = self.open.get_or_insert_with(|| (stream, 0, DataCheck::default()));
        *bytes += reference.bytes;
        check.reference(&reference);
        self.bytes += reference.bytes;
        self.streams[usize::from(stream)].push(chunks, reference) // grown above
    }

    fn has_stream(&mut self, stream: u8) {
        while self.streams.len() <= usize::from(stream) {
            self.streams.push(StreamBuilder::default());
            self.owed.push(0);
        }
    }

    /// # Errors
    /// [`Error::Malformed`]: what the recipe would give back is not the file. A mistake of whoever builds it, which
    /// ends the run here instead of at a restore.
    fn owes_nothing(&self, stream: u8) -> Result<()> {
        match self.owed.get(usize::from(stream)) {
            None | Some(0) => Ok(()),
            Some(_) => Err(Error::Malformed {
                what: "a recipe",
                offset: self.bytes,
                why: "chunks of a stream came in another order than its segments",
            }),
        }
    }

    /// The next bytes of the file are rebuilt from what its ranges take of their streams; [`RecipeBuilder::reference`] says,
    /// before or after, which chunks those bytes are.
    ///
    /// # Errors
    /// Whatever `chunks` returns; [`Error::Limit`].
    pub fn mapped(&mut self, chunks: &mut dyn WriteChunks, bytes: u64, how: Mapped) -> Result<()> {
        self.close(chunks)?;
        let most = how.ranges.iter().map(|r| r.stream).max().unwrap_or(0);
        if usize::from(most) >= STREAMS {
            return Err(Error::Limit { what: "a file's streams", got: u64::from(most) + 1, max: STREAMS as u64 });
        }
        self.has_stream(most);
        for range in &how.ranges {
            self.owed[usize::from(range.stream)] += i128::from(range.bytes); // grown above
        }
        self.bytes += bytes;
        let check = how.check;
        self.segment(chunks, Segment::Mapped { bytes, how }, check)
    }

    /// The next bytes of a stream, of which mapped segments take, are this chunk.
    ///
    /// # Errors
    /// Whatever `chunks` returns; [`Error::Limit`].
    pub fn reference(&mut self, chunks: &mut dyn WriteChunks, stream: u8, reference: Reference) -> Result<()> {
        if usize::from(stream) >= STREAMS {
            return Err(Error::Limit { what: "a file's streams", got: u64::from(stream) + 1, max: STREAMS as u64 });
        }
        self.has_stream(stream);
        self.owed[usize::from(stream)] -= i128::from(reference.bytes); // grown above
        self.streams[usize::from(stream)].push(chunks, reference)
    }

    /// The next bytes are a hole.
    ///
    /// # Errors
    /// Whatever `chunks` returns.
    pub fn hole(&mut self, chunks: &mut dyn WriteChunks, bytes: u64) -> Result<()> {
        if bytes == 0 {
            return Ok(());
        }
        self.close(chunks)?;
        self.bytes += bytes;
        self.segment(chunks, Segment::Hole { bytes }, [0; 32])
    }

    fn close(&mut self, chunks: &mut dyn WriteChunks) -> Result<()> {
        match self.open.take() {
            Some((stream, bytes, check)) => self.segment(chunks, Segment::Data { stream, bytes }, check.finish()),
            None => Ok(()),
        }
    }

    fn segment(&mut self, chunks: &mut dyn WriteChunks, segment: Segment, check: [u8; 32]) -> Result<()> {
        self.check.segment(&segment, check);
        let mut encoded = Vec::new();
        segment.encode_into(&mut encoded);
        let bytes = encoded.len() + 2; // form and level stand before the segments
        if bytes > NODE_BYTES {
            return Err(Error::Limit { what: "a segment's length", got: bytes as u64, max: NODE_BYTES as u64 });
        }
        // A mapped segment may be long: a leaf beyond what a reader takes would lose the file.
        if !self.segments.is_empty() && self.segments_bytes + bytes > SEGMENT_NODE_BYTES {
            self.flush_segments(chunks)?;
        }
        self.segments_bytes += encoded.len();
        self.segments.push(segment);
        if self.segments.len() >= SEGMENT_NODE {
            self.flush_segments(chunks)?;
        }
        Ok(())
    }

    fn flush_segments(&mut self, chunks: &mut dyn WriteChunks) -> Result<()> {
        let segments = std::mem::take(&mut self.segments);
        self.segments_bytes = 0;
        let mut stream_bytes = vec![0; self.streams.len()];
        for segment in &segments {
            match segment {
                Segment::Data { stream, bytes } => stream_bytes[usize::from(*stream)] += bytes, // its stream exists
                Segment::Mapped { how, .. } => {
                    how.ranges.iter().for_each(|r| stream_bytes[usize::from(r.stream)] += r.bytes); // as above
                }
                Segment::Hole { .. } | Segment::Fill { .. } => {}
            }
        }
        let bytes = segments.iter().map(Segment::bytes).sum();
        let id = chunks.put(ChunkKind::List, &encode_segment_leaf(&segments))?;
        self.push_above(chunks, 0, SegmentChild { id, bytes, stream_bytes })
    }

    fn push_above(&mut self, chunks: &mut dyn WriteChunks, at: usize, child: SegmentChild) -> Result<()> {
        if at + 2 > usize::from(LEVELS) {
            return Err(Error::Limit {
                what: "the levels of a segment list",
                got: at as u64 + 2,
                max: u64::from(LEVELS),
            });
        }
        if self.above.len() <= at {
            self.above.push(Vec::new());
        }
        self.above[at].push(child); // grown above
        let bytes: usize = self.above[at].iter().map(|c| 52 + 10 * c.stream_bytes.len()).sum();
        if self.above[at].len() >= SEGMENT_NODE || bytes >= SEGMENT_NODE_BYTES {
            self.flush_above(chunks, at)?;
        }
        Ok(())
    }

    fn flush_above(&mut self, chunks: &mut dyn WriteChunks, at: usize) -> Result<()> {
        let children = std::mem::take(&mut self.above[at]); // callers name a level that exists
        let width = children.iter().map(|c| c.stream_bytes.len()).max().unwrap_or(0);
        let stream_bytes = (0..width).map(|s| children.iter().filter_map(|c| c.stream_bytes.get(s)).sum()).collect();
        let bytes = children.iter().map(|c| c.bytes).sum();
        let id = chunks.put(ChunkKind::List, &encode_segment_inner(at as u8 + 2, &children))?; // bounded in push_above
        self.push_above(chunks, at + 1, SegmentChild { id, bytes, stream_bytes })
    }

    /// Ends the file.
    ///
    /// # Errors
    /// Whatever `chunks` returns; [`Error::Malformed`] where mapped segments take other bytes than chunks were given for.
    pub fn finish(mut self, chunks: &mut dyn WriteChunks) -> Result<Recipe> {
        self.close(chunks)?;
        (0..=u8::MAX).try_for_each(|stream| self.owes_nothing(stream))?;
        let fits = self.segments.len() <= INLINE_SEGMENTS && self.segments_bytes <= INLINE_SEGMENTS_BYTES;
        let segments = if self.above.is_empty() && fits {
            Segments::Inline(std::mem::take(&mut self.segments))
        } else {
            if !self.segments.is_empty() {
                self.flush_segments(chunks)?;
            }
            let mut at = 0;
            loop {
                let is_top = at + 1 == self.above.len();
                if let (true, [only]) = (is_top, self.above[at].as_slice()) {
                    break Segments::List { level: at as u8 + 1, id: only.id }; // the child stands one level below
                }
                if !self.above[at].is_empty() {
                    self.flush_above(chunks, at)?;
                }
                at += 1;
            }
        };
        let streams = self.streams.into_iter().map(|s| s.finish(chunks)).collect::<Result<_>>()?;
        Ok(Recipe { splitter: self.splitter, streams, segments, check: self.check.finish() })
    }
}

/// Bytes `skip..skip + bytes` of a chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChunkPart {
    pub id: ChunkId,
    pub skip: u32,
    pub bytes: u32,
}

/// A mapped segment: the piece is a part of it, or all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MappedSegment {
    /// Where in the file it begins.
    pub at: u64,
    /// Bytes of the file.
    pub bytes: u64,
    pub how: Mapped,
    /// What each range takes, in order.
    pub parts: Vec<Vec<ChunkPart>>,
}

/// What a run of a file's bytes is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// Bytes `skip..skip + bytes` of a chunk of `plain_bytes`.
    Chunk {
        id: ChunkId,
        plain_bytes: u32,
        skip: u32,
    },
    Hole,
    Fill(u8),
    Mapped(Box<MappedSegment>),
}

/// A run of a file's bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    /// Where in the file it begins.
    pub at: u64,
    pub bytes: u64,
    pub what: What,
}

struct SegmentCursor<'c> {
    chunks: &'c dyn ReadChunks,
    stack: Vec<(u8, Vec<SegmentChild>)>,
    /// In reverse.
    leaf: Vec<Segment>,
}

impl<'c> SegmentCursor<'c> {
    fn new(chunks: &'c dyn ReadChunks, segments: &Segments) -> Self {
        let mut cursor = SegmentCursor { chunks, stack: Vec::new(), leaf: Vec::new() };
        match segments {
            Segments::Inline(list) => cursor.leaf = list.iter().rev().cloned().collect(),
            // The root's sums are not known and not needed: it is always entered.
            Segments::List { level, id } => {
                cursor.stack.push((*level, vec![SegmentChild { id: *id, bytes: u64::MAX, stream_bytes: Vec::new() }]))
            }
        }
        cursor
    }

    /// The next segment; subtrees that end before `from` are passed over and added to `at` and `used`.
    fn next(&mut self, from: u64, at: &mut u64, used: &mut [u64]) -> Result<Option<Segment>> {
        loop {
            if let Some(segment) = self.leaf.pop() {
                return Ok(Some(segment));
            }
            let Some((level, children)) = self.stack.last_mut() else { return Ok(None) };
            let level = *level;
            let Some(child) = children.pop() else {
                self.stack.pop();
                continue;
            };
            if child.bytes != u64::MAX && child.bytes <= from.saturating_sub(*at) {
                *at += child.bytes;
                for (slot, n) in used.iter_mut().zip(&child.stream_bytes) {
                    *slot = slot.saturating_add(*n);
                }
                continue;
            }
            match decode_segment_node(level, &self.chunks.chunk(ChunkKind::List, &child.id)?)? {
                SegmentNode::Leaf(segments) => self.leaf = segments.into_iter().rev().collect(),
                SegmentNode::Inner(mut children) => {
                    children.reverse();
                    self.stack.push((level - 1, children)); // an inner node stands at level 2 or above
                }
            }
        }
    }
}

/// Goes through the pieces of bytes `from..to` of a file, in order.
pub struct Pieces<'c> {
    chunks: &'c dyn ReadChunks,
    segments: SegmentCursor<'c>,
    streams: Vec<Stream>,
    /// Bytes of each stream that the segments so far used.
    used: Vec<u64>,
    open: Vec<Option<References<'c>>>,
    /// The chunk that each stream is in: where it begins, and its reference.
    current: Vec<Option<(u64, Reference)>>,
    from: u64,
    to: u64,
    /// Where the next segment begins.
    at: u64,
    /// What is left of the data segment being gone through: its stream, where in the file, bytes left.
    data: Option<(usize, u64, u64)>,
    failed: bool,
}

impl<'c> Pieces<'c> {
    pub fn new(chunks: &'c dyn ReadChunks, recipe: &Recipe, from: u64, to: u64) -> Self {
        let n = recipe.streams.len().min(STREAMS);
        Pieces {
            chunks,
            segments: SegmentCursor::new(chunks, &recipe.segments),
            streams: recipe.streams.clone(),
            used: vec![0; n],
            open: (0..n).map(|_| None).collect(),
            current: vec![None; n],
            from,
            to,
            at: 0,
            data: None,
            failed: false,
        }
    }

    fn step(&mut self) -> Result<Option<Piece>> {
        loop {
            if let Some(piece) = self.data_piece()? {
                return Ok(Some(piece));
            }
            if self.at >= self.to {
                return Ok(None);
            }
            let Some(segment) = self.segments.next(self.from, &mut self.at, &mut self.used)? else { return Ok(None) };
            let (start, bytes) = (self.at, segment.bytes());
            self.at = start.checked_add(bytes).ok_or_else(|| malformed("its segments are longer than any file"))?;
            let (first, end) = (start.max(self.from), self.at.min(self.to));
            match segment {
                Segment::Data { stream, bytes } => {
                    let s = usize::from(stream);
                    let used =
                        self.used.get_mut(s).ok_or_else(|| malformed("a segment of a stream that there is not"))?;
                    let base = *used;
                    *used = base.saturating_add(bytes);
                    if first < end {
                        self.enter(s, base + (first - start))?;
                        self.data = Some((s, first, end - first));
                    }
                }
                Segment::Hole { .. } if first < end => {
                    return Ok(Some(Piece { at: first, bytes: end - first, what: What::Hole }));
                }
                Segment::Fill { value, .. } if first < end => {
                    return Ok(Some(Piece { at: first, bytes: end - first, what: What::Fill(value) }));
                }
                Segment::Mapped { bytes, how } => {
                    let wanted = first < end;
                    let parts = self.mapped_parts(&how, wanted)?;
                    if wanted {
                        let segment = MappedSegment { at: start, bytes, how, parts };
                        return Ok(Some(Piece {
                            at: first,
                            bytes: end - first,
                            what: What::Mapped(Box::new(segment)),
                        }));
                    }
                }
                _ => {}
            }
        }
    }

    /// What the ranges of a mapped segment take of their streams, which they use up.
    fn mapped_parts(&mut self, how: &Mapped, wanted: bool) -> Result<Vec<Vec<ChunkPart>>> {
        let total = how.ranges.iter().fold(0u64, |sum, r| sum.saturating_add(r.bytes));
        if total > 4 * SEGMENT_BYTES {
            return Err(malformed("a segment that takes more of its streams than it may"));
        }
        let mut parts = Vec::with_capacity(how.ranges.len());
        for range in &how.ranges {
            let s = usize::from(range.stream);
            let used = self.used.get_mut(s).ok_or_else(|| malformed("a segment of a stream that there is not"))?;
            let (mut position, end) = (*used, used.saturating_add(range.bytes));
            *used = end;
            let mut chunks = Vec::new();
            while wanted && position < end {
                self.enter(s, position)?;
                let (start, reference) =
                    self.current[s].ok_or_else(|| malformed("a stream is shorter than its segments say"))?;
                let skip = position - start;
                let bytes = (end - position).min(reference.bytes - skip);
                let too_long = |_| malformed("a chunk longer than a chunk can be");
                let (skip, n) = (u32::try_from(skip).map_err(too_long)?, u32::try_from(bytes).map_err(too_long)?);
                chunks.push(ChunkPart { id: reference.id, skip, bytes: n });
                position += bytes;
            }
            parts.push(chunks);
        }
        Ok(parts)
    }

    /// Makes stream `s` stand at its byte `position`.
    fn enter(&mut self, s: usize, position: u64) -> Result<()> {
        let holds = |current: &Option<(u64, Reference)>| {
            current.is_some_and(|(at, r)| at <= position && position < at + r.bytes)
        };
        if holds(&self.current[s]) {
            return Ok(()); // s was checked against `used`, which is as long
        }
        if let Some(open) = &mut self.open[s] {
            self.current[s] = open.next().transpose()?;
            if holds(&self.current[s]) {
                return Ok(());
            }
        }
        let mut open = References::new(self.chunks, &self.streams[s], position)?;
        self.current[s] = open.next().transpose()?;
        self.open[s] = Some(open);
        if holds(&self.current[s]) { Ok(()) } else { Err(malformed("a stream is shorter than its segments say")) }
    }

    fn data_piece(&mut self) -> Result<Option<Piece>> {
        let Some((s, at, left)) = self.data.take() else { return Ok(None) };
        // The position in the stream: what the segment will have used, less what is left of it. What lies
        // behind `to` was cut off `left`, so it is counted from the segment's end.
        let position = self.used[s] - (self.at - at);
        self.enter(s, position)?;
        let (start, reference) =
            self.current[s].ok_or_else(|| malformed("a stream is shorter than its segments say"))?;
        let skip = position - start;
        let bytes = left.min(reference.bytes - skip);
        if left > bytes {
            self.data = Some((s, at + bytes, left - bytes));
        }
        let too_long = |_| malformed("a chunk longer than a chunk can be");
        let what = What::Chunk {
            id: reference.id,
            plain_bytes: u32::try_from(reference.bytes).map_err(too_long)?,
            skip: u32::try_from(skip).map_err(too_long)?,
        };
        Ok(Some(Piece { at, bytes, what }))
    }
}

fn malformed(why: &'static str) -> Error {
    Error::Malformed { what: "a recipe", offset: 0, why }
}

impl Iterator for Pieces<'_> {
    type Item = Result<Piece>;
    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        let step = self.step().transpose();
        self.failed = matches!(step, Some(Err(_)));
        step
    }
}

/// Goes through every list chunk that a recipe needs, parents first. `each` says whether to go on
/// below (it may know the list already).
///
/// # Errors
/// Whatever the chunks or `each` return.
pub fn each_list(
    chunks: &dyn ReadChunks,
    recipe: &Recipe,
    each: &mut dyn FnMut(&ChunkId) -> Result<bool>,
) -> Result<()> {
    for stream in &recipe.streams {
        super::list::each_list(chunks, stream, each)?;
    }
    if let Segments::List { level, id } = &recipe.segments {
        let mut todo = vec![(*level, *id)];
        while let Some((level, id)) = todo.pop() {
            if !each(&id)? || level < 2 {
                continue;
            }
            if let SegmentNode::Inner(children) = decode_segment_node(level, &chunks.chunk(ChunkKind::List, &id)?)? {
                todo.extend(children.into_iter().map(|c| (level - 1, c.id)));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::testing::Chunks;
    use super::*;
    use crate::format::recipe::Range;
    use proptest::prelude::*;

    /// Builds a file from (stream, chunk) and holes, and gives the bytes it should have.
    fn build(chunks: &mut Chunks, parts: &[(Option<u8>, u16)]) -> (Recipe, Vec<u8>) {
        let mut b = RecipeBuilder::new((0, 1));
        let mut bytes = Vec::new();
        for (i, (stream, n)) in parts.iter().enumerate() {
            let n = usize::from(*n) + 1;
            match stream {
                Some(s) => {
                    let chunk: Vec<u8> = (0..n).map(|k| (i * 31 + k) as u8 | 1).collect();
                    let id = chunks.put(ChunkKind::Data, &chunk).unwrap();
                    b.data(chunks, *s, Reference { id, bytes: n as u64 }).unwrap();
                    bytes.extend(chunk);
                }
                None => {
                    b.hole(chunks, n as u64).unwrap();
                    bytes.extend(std::iter::repeat_n(0, n));
                }
            }
        }
        assert_eq!(b.bytes(), bytes.len() as u64);
        (b.finish(chunks).unwrap(), bytes)
    }

    fn read(chunks: &Chunks, recipe: &Recipe, from: u64, to: u64) -> Vec<u8> {
        let mut out = Vec::new();
        for piece in Pieces::new(chunks, recipe, from, to) {
            let piece = piece.unwrap();
            assert_eq!(piece.at, from + out.len() as u64, "pieces follow each other");
            match piece.what {
                What::Chunk { id, skip, plain_bytes } => {
                    let chunk = chunks.chunk(ChunkKind::Data, &id).unwrap();
                    assert_eq!(chunk.len(), plain_bytes as usize);
                    out.extend(&chunk[skip as usize..skip as usize + piece.bytes as usize]);
                }
                What::Hole => out.extend(std::iter::repeat_n(0, piece.bytes as usize)),
                What::Fill(v) => out.extend(std::iter::repeat_n(v, piece.bytes as usize)),
                What::Mapped(segment) => {
                    // The test's way back: the ranges one behind the other.
                    let mut all = Vec::new();
                    for part in segment.parts.iter().flatten() {
                        let chunk = chunks.chunk(ChunkKind::Data, &part.id).unwrap();
                        all.extend(&chunk[part.skip as usize..(part.skip + part.bytes) as usize]);
                    }
                    let skip = (piece.at - segment.at) as usize;
                    out.extend(&all[skip..skip + piece.bytes as usize]);
                }
            }
        }
        out
    }

    #[test]
    fn segments_of_any_length_make_lists_that_are_read() {
        for (parameters, n) in [(300, 1500), (600, 1000), (5000, 200), (60_000, 40), (16_000, 3)] {
            let mut chunks = Chunks::default();
            let mut b = RecipeBuilder::new((4, 1));
            let mut file = Vec::new();
            for i in 0..n {
                let plain = [i as u8; 10];
                let id = chunks.put(ChunkKind::Data, &plain).unwrap();
                let ranges = vec![Range { stream: 1, bytes: 10 }];
                let parameters = vec![i as u8; parameters];
                let how = Mapped { transformed: true, splitter: 4, version: 1, ranges, parameters, check: [0; 32] };
                b.mapped(&mut chunks, 10, how).unwrap();
                b.reference(&mut chunks, 1, Reference { id, bytes: 10 }).unwrap();
                file.extend(plain);
            }
            let recipe = b.finish(&mut chunks).unwrap();
            assert!(matches!(recipe.segments, Segments::List { .. }), "{n} of {parameters}: too long for an entry");
            assert!(read(&chunks, &recipe, 0, file.len() as u64) == file, "{n} segments of {parameters} bytes");
        }
        let ranges = vec![Range { stream: 1, bytes: 1 }; 130_000];
        let how =
            Mapped { transformed: true, splitter: 4, version: 1, ranges, parameters: vec![1; 60_000], check: [0; 32] };
        let done = RecipeBuilder::new((4, 1)).mapped(&mut Chunks::default(), 10, how);
        assert!(matches!(done, Err(Error::Limit { .. })), "longer than a list can be");
    }

    #[test]
    fn chunks_in_another_order_than_their_segments_end_the_run() {
        let how = |bytes| Mapped {
            transformed: false,
            splitter: 9,
            version: 1,
            ranges: vec![Range { stream: 1, bytes }],
            parameters: Vec::new(),
            check: [0; 32],
        };
        let mut chunks = Chunks::default();
        let id = chunks.put(ChunkKind::Data, &[7; 10]).unwrap();
        let ten = Reference { id, bytes: 10 };
        let mut b = RecipeBuilder::new((0, 1));
        b.mapped(&mut chunks, 10, how(10)).unwrap();
        assert!(b.data(&mut chunks, 1, ten).is_err(), "the segment's chunk comes first");
        b.data(&mut chunks, 2, ten).unwrap();
        b.reference(&mut chunks, 1, ten).unwrap();
        b.data(&mut chunks, 1, ten).unwrap();
        b.reference(&mut chunks, 1, ten).unwrap();
        assert!(b.data(&mut chunks, 1, ten).is_err(), "the segment comes first");
        b.mapped(&mut chunks, 11, how(11)).unwrap();
        assert!(b.finish(&mut chunks).is_err(), "a byte is owed");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn any_range_of_any_file_comes_back(
            parts in proptest::collection::vec((proptest::option::of(0u8..3), 0u16..300), 0..200),
            a: proptest::sample::Index, b: proptest::sample::Index,
        ) {
            let mut chunks = Chunks::default();
            let (recipe, bytes) = build(&mut chunks, &parts);
            prop_assert!(read(&chunks, &recipe, 0, bytes.len() as u64) == bytes);
            let (a, b) = (a.index(bytes.len() + 1), b.index(bytes.len() + 1));
            let (a, b) = (a.min(b), a.max(b));
            prop_assert!(read(&chunks, &recipe, a as u64, b as u64) == bytes[a..b], "{}..{}", a, b);
        }
    }

    #[test]
    fn mapped_segments_take_of_their_streams_what_follows() {
        let mut chunks = Chunks::default();
        let mut b = RecipeBuilder::new((0, 1));
        let (mut file, mut left) = (Vec::new(), [Vec::new(), Vec::new()]);
        for i in 0..2000_usize {
            // Chunks of the streams come before and behind the segments that take of them.
            let s = i % 2;
            let chunk: Vec<u8> = (0..7 + i % 90).map(|k| (i * 13 + k) as u8).collect();
            let id = chunks.put(ChunkKind::Data, &chunk).unwrap();
            b.reference(&mut chunks, s as u8 + 1, Reference { id, bytes: chunk.len() as u64 }).unwrap();
            left[s].extend(chunk);
            let take = left.each_ref().map(|l: &Vec<u8>| l.len() / 2);
            if take.iter().sum::<usize>() == 0 {
                continue;
            }
            let ranges = [(1, take[0]), (2, take[1])].map(|(stream, n)| Range { stream, bytes: n as u64 }).to_vec();
            let how = Mapped { transformed: true, splitter: 9, version: 1, ranges, parameters: vec![], check: [0; 32] };
            b.mapped(&mut chunks, take.iter().sum::<usize>() as u64, how).unwrap();
            for (l, n) in left.iter_mut().zip(take) {
                file.extend(l.drain(..n));
            }
        }
        let ranges = [1, 2].map(|s| Range { stream: s, bytes: left[usize::from(s) - 1].len() as u64 }).to_vec();
        let how = Mapped { transformed: true, splitter: 9, version: 1, ranges, parameters: vec![], check: [0; 32] };
        b.mapped(&mut chunks, left.iter().map(|l| l.len() as u64).sum(), how).unwrap();
        left.iter().for_each(|l| file.extend(l));
        let recipe = b.finish(&mut chunks).unwrap();
        assert!(matches!(recipe.segments, Segments::List { .. }));
        let n = file.len();
        for (from, to) in [(0, n), (n / 2, n / 2 + 500), (n - 3, n), (1, 2)] {
            assert!(read(&chunks, &recipe, from as u64, to as u64) == file[from..to], "{from}..{to}");
        }
    }

    #[test]
    fn a_file_of_very_many_segments_is_read_from_its_middle() {
        let parts: Vec<_> =
            (0..30_000u32).map(|i| (if i % 2 == 0 { Some((i % 3) as u8) } else { None }, (i % 50) as u16)).collect();
        let mut chunks = Chunks::default();
        let (recipe, bytes) = build(&mut chunks, &parts);
        assert!(matches!(recipe.segments, Segments::List { level: 2, .. }), "{:?}", recipe.segments);
        for (a, b) in [(0, bytes.len()), (bytes.len() / 2, bytes.len() / 2 + 1000), (bytes.len() - 5, bytes.len())] {
            assert!(read(&chunks, &recipe, a as u64, b as u64) == bytes[a..b], "{a}..{b}");
        }
        let mut lists = std::collections::HashSet::new();
        each_list(&chunks, &recipe, &mut |id| {
            lists.insert(*id);
            Ok(true)
        })
        .unwrap();
        assert_eq!(lists, chunks.lists);
    }

    #[test]
    fn equal_content_has_an_equal_check() {
        let mut chunks = Chunks::default();
        let (a, _) = build(&mut chunks, &[(Some(0), 5), (Some(1), 6)]);
        let (b, _) = build(&mut chunks, &[(Some(0), 5), (Some(1), 6)]);
        let (c, _) = build(&mut chunks, &[(Some(0), 5), (Some(1), 7)]);
        assert_eq!(a, b);
        assert_ne!(a.check, c.check);
    }
}
