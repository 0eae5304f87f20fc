//! A recipe: how a file's bytes are rebuilt from streams.
//!
//! ```text
//! recipe    := splitter:u16 version:u8 streams:varint stream* segments check:32
//! stream    := level:u8 count:varint reference{count}      level 0: up to 16 chunks; else one list of that level
//! reference := id:32 bytes:varint
//! segments  := 0:u8 count:varint segment{count}            up to 16
//!            | 1:u8 level:u8 id:32                         a segment list of that level
//! segment   := kind:u8 bytes:varint ...                    `bytes` of the file
//!   1 data        stream:u8                                the stream's next `bytes`
//!   2 hole                                                 reads as zeros, restored as a hole
//!   3 fill        value:u8                                 one value, `bytes` times
//!   4 permuted    splitter:u16 version:u8 ranges:varint (stream:u8 bytes:varint)* parameters:var check:32
//!   5 transformed the same
//! ```
//! Segments cover the file in order. Each takes from its streams what follows what the segments before
//! it took. A data, hole or fill segment may be of any length; a permuted or transformed one covers at
//! most 8 MiB, so that it is decoded alone in bounded memory, and its check is the keyed BLAKE3 of its
//! file bytes. A data segment begins and ends on chunk borders of its stream; its check is the BLAKE3
//! over its references (id, then bytes as u64). A hole's or fill's is zeros.
//!
//! The file's check is the BLAKE3 of `"onefold file v1"` and, per segment, kind, bytes as u64, check.

use super::check::Digest;
use super::id::ChunkId;
use super::limits::{self, FILE_BYTES, LEVELS};
use super::wire::{Put, Reader};
use crate::error::Result;

/// Names a chunk or a list, and how many bytes of the stream it stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reference {
    pub id: ChunkId,
    pub bytes: u64,
}

impl Reference {
    pub fn encode_into(&self, out: &mut Vec<u8>) {
        out.put(&self.id.0);
        out.put_varint(self.bytes);
    }

    /// # Errors
    /// [`crate::Error::Malformed`].
    pub fn decode(r: &mut Reader<'_>) -> Result<Self> {
        let reference = Reference { id: ChunkId(r.array()?), bytes: r.varint()? };
        if reference.bytes == 0 || reference.bytes > FILE_BYTES {
            return Err(r.bad("a reference to nothing, or to more than any file"));
        }
        Ok(reference)
    }
}

/// One stream of a file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stream {
    /// 0: the references are chunks. Else there is one reference, to a list of this level.
    pub level: u8,
    pub references: Vec<Reference>,
}

impl Stream {
    /// Bytes of the stream. The sum cannot pass 64 bits: at most 16 references of at most 2^62, checked
    /// when decoded.
    pub fn bytes(&self) -> u64 {
        self.references.iter().fold(0, |sum, r| sum.saturating_add(r.bytes))
    }

    pub fn encode_into(&self, out: &mut Vec<u8>) {
        out.put_u8(self.level);
        out.put_varint(self.references.len() as u64);
        self.references.iter().for_each(|r| r.encode_into(out));
    }

    /// # Errors
    /// [`crate::Error::Malformed`].
    pub fn decode(r: &mut Reader<'_>) -> Result<Self> {
        let level = r.u8()?;
        let n = r.count(33, limits::INLINE_REFERENCES)?;
        if level > LEVELS || (level > 0 && n != 1) {
            return Err(r.bad("a stream of a shape that is never written"));
        }
        let references = (0..n).map(|_| Reference::decode(r)).collect::<Result<_>>()?;
        let stream = Stream { level, references };
        if stream.bytes() > FILE_BYTES {
            return Err(r.bad("a stream longer than any file"));
        }
        Ok(stream)
    }
}

/// A segment's part of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    pub stream: u8,
    pub bytes: u64,
}

/// What a splitter that moves or changes bytes left for the way back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mapped {
    pub transformed: bool,
    pub splitter: u16,
    pub version: u8,
    pub ranges: Vec<Range>,
    pub parameters: Vec<u8>,
    pub check: [u8; 32],
}

/// How one run of a file's bytes is rebuilt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Segment {
    Data { stream: u8, bytes: u64 },
    Hole { bytes: u64 },
    Fill { value: u8, bytes: u64 },
    Mapped { bytes: u64, how: Mapped },
}

impl Segment {
    /// Bytes of the file.
    pub fn bytes(&self) -> u64 {
        match self {
            Segment::Data { bytes, .. }
            | Segment::Hole { bytes }
            | Segment::Fill { bytes, .. }
            | Segment::Mapped { bytes, .. } => *bytes,
        }
    }

    fn kind(&self) -> u8 {
        match self {
            Segment::Data { .. } => 1,
            Segment::Hole { .. } => 2,
            Segment::Fill { .. } => 3,
            Segment::Mapped { how, .. } => 4 + u8::from(how.transformed),
        }
    }

    pub fn encode_into(&self, out: &mut Vec<u8>) {
        out.put_u8(self.kind());
        out.put_varint(self.bytes());
        match self {
            Segment::Data { stream, .. } => out.put_u8(*stream),
            Segment::Hole { .. } => {}
            Segment::Fill { value, .. } => out.put_u8(*value),
            Segment::Mapped { how, .. } => {
                out.put_u16(how.splitter);
                out.put_u8(how.version);
                out.put_varint(how.ranges.len() as u64);
                for range in &how.ranges {
                    out.put_u8(range.stream);
                    out.put_varint(range.bytes);
                }
                out.put_var(&how.parameters);
                out.put(&how.check);
            }
        }
    }

    /// # Errors
    /// [`crate::Error::Malformed`].
    pub fn decode(r: &mut Reader<'_>) -> Result<Self> {
        let (kind, bytes) = (r.u8()?, r.varint()?);
        if bytes == 0 || bytes > FILE_BYTES {
            return Err(r.bad("a segment of nothing, or of more than any file"));
        }
        match kind {
            1 => Ok(Segment::Data { stream: r.u8()?, bytes }),
            2 => Ok(Segment::Hole { bytes }),
            3 => Ok(Segment::Fill { value: r.u8()?, bytes }),
            4 | 5 => {
                if bytes > limits::SEGMENT_BYTES {
                    return Err(r.bad("a segment longer than it may be"));
                }
                let (splitter, version) = (r.u16()?, r.u8()?);
                let n = r.count(2, 1 << 16)?;
                let mut ranges = Vec::with_capacity(n);
                for _ in 0..n {
                    let range = Range { stream: r.u8()?, bytes: r.varint()? };
                    if range.bytes > FILE_BYTES {
                        return Err(r.bad("a range longer than any file"));
                    }
                    ranges.push(range);
                }
                let parameters = r.var_bytes(limits::SEGMENT_PARAMETER_BYTES)?.to_vec();
                let how = Mapped { transformed: kind == 5, splitter, version, ranges, parameters, check: r.array()? };
                Ok(Segment::Mapped { bytes, how })
            }
            _ => Err(r.bad("a kind of segment that this version does not know")),
        }
    }
}

/// A file's segments, or where they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Segments {
    Inline(Vec<Segment>),
    List { level: u8, id: ChunkId },
}

/// How a file's bytes are rebuilt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recipe {
    /// Which splitter looked at the file, and its version.
    pub splitter: (u16, u8),
    pub streams: Vec<Stream>,
    pub segments: Segments,
    pub check: [u8; 32],
}

impl Recipe {
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(128);
        out.put_u16(self.splitter.0);
        out.put_u8(self.splitter.1);
        out.put_varint(self.streams.len() as u64);
        self.streams.iter().for_each(|s| s.encode_into(&mut out));
        match &self.segments {
            Segments::Inline(segments) => {
                out.put_u8(0);
                out.put_varint(segments.len() as u64);
                segments.iter().for_each(|s| s.encode_into(&mut out));
            }
            Segments::List { level, id } => {
                out.put_u8(1);
                out.put_u8(*level);
                out.put(&id.0);
            }
        }
        out.put(&self.check);
        out
    }

    /// # Errors
    /// [`crate::Error::Malformed`].
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        let mut r = Reader::new("a recipe", bytes);
        let splitter = (r.u16()?, r.u8()?);
        let n = r.count(2, limits::STREAMS)?;
        let streams = (0..n).map(|_| Stream::decode(&mut r)).collect::<Result<_>>()?;
        let segments = match r.u8()? {
            0 => {
                let n = r.count(2, limits::INLINE_SEGMENTS)?;
                Segments::Inline((0..n).map(|_| Segment::decode(&mut r)).collect::<Result<_>>()?)
            }
            1 => {
                let level = r.u8()?;
                if level == 0 || level > LEVELS {
                    return Err(r.bad("a level that cannot be"));
                }
                Segments::List { level, id: ChunkId(r.array()?) }
            }
            _ => return Err(r.bad("segments of a form that this version does not know")),
        };
        let check = r.array()?;
        r.end()?;
        Ok(Recipe { splitter, streams, segments, check })
    }
}

/// Makes a file's check from its segments' checks, as they come.
#[derive(Clone)]
pub struct FileCheck(Digest);

impl Default for FileCheck {
    fn default() -> Self {
        let mut digest = Digest::default();
        digest.update(b"onefold file v1");
        FileCheck(digest)
    }
}

impl FileCheck {
    /// Adds the next segment with its own check.
    pub fn segment(&mut self, segment: &Segment, check: [u8; 32]) {
        self.0.update(&[segment.kind()]).update(&segment.bytes().to_le_bytes()).update(&check);
    }

    pub fn finish(&self) -> [u8; 32] {
        self.0.finish()
    }
}

/// Makes a data segment's check from its references, as they come.
#[derive(Clone, Default)]
pub struct DataCheck(Digest);

impl DataCheck {
    pub fn reference(&mut self, reference: &Reference) {
        self.0.update(&reference.id.0).update(&reference.bytes.to_le_bytes());
    }

    pub fn finish(&self) -> [u8; 32] {
        self.0.finish()
    }
}

#[cfg(test)]
pub(crate) fn arbitrary() -> impl proptest::strategy::Strategy<Value = Recipe> {
    use proptest::collection::vec;
    use proptest::prelude::*;
    let reference = || (any::<[u8; 32]>(), 1u64..1 << 40).prop_map(|(id, bytes)| Reference { id: ChunkId(id), bytes });
    let stream = prop_oneof![
        vec(reference(), 0..=16).prop_map(|references| Stream { level: 0, references }),
        (1..=LEVELS, reference()).prop_map(|(level, r)| Stream { level, references: vec![r] }),
    ];
    let mapped =
        (any::<(bool, u16, u8)>(), vec((any::<u8>(), 0u64..1 << 30), 0..5), vec(any::<u8>(), 0..50), any::<[u8; 32]>())
            .prop_map(|((transformed, splitter, version), ranges, parameters, check)| Mapped {
                transformed,
                splitter,
                version,
                ranges: ranges.into_iter().map(|(stream, bytes)| Range { stream, bytes }).collect(),
                parameters,
                check,
            });
    let segment = prop_oneof![
        (any::<u8>(), 1u64..1 << 50).prop_map(|(stream, bytes)| Segment::Data { stream, bytes }),
        (1u64..1 << 50).prop_map(|bytes| Segment::Hole { bytes }),
        (any::<u8>(), 1u64..1 << 50).prop_map(|(value, bytes)| Segment::Fill { value, bytes }),
        (1u64..=limits::SEGMENT_BYTES, mapped).prop_map(|(bytes, how)| Segment::Mapped { bytes, how }),
    ];
    let segments = prop_oneof![
        vec(segment, 0..=16).prop_map(Segments::Inline),
        (1..=LEVELS, any::<[u8; 32]>()).prop_map(|(level, id)| Segments::List { level, id: ChunkId(id) }),
    ];
    (any::<(u16, u8)>(), vec(stream, 0..4), segments, any::<[u8; 32]>())
        .prop_map(|(splitter, streams, segments, check)| Recipe { splitter, streams, segments, check })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_recipe_comes_back(recipe in arbitrary()) {
            prop_assert_eq!(Recipe::decode(&recipe.encode()).unwrap(), recipe);
        }

        #[test]
        fn a_changed_recipe_never_panics(recipe in arbitrary(), at: proptest::sample::Index, value: u8, cut: proptest::sample::Index) {
            let mut b = recipe.encode();
            let at = at.index(b.len());
            b[at] = value;
            let _ = Recipe::decode(&b);
            prop_assert!(Recipe::decode(&recipe.encode()[..cut.index(b.len())]).is_err());
        }
    }
}
