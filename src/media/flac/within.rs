//! Frames in a container, and back: version 1.
//!
//! A container's own splitter gives packets apart from pages or blocks; where they are frames, samples and decisions
//! stand in their place, as if they were those of a FLAC file. The way back makes frames of these, then the container of
//! those, by the way back that it has without.
//!
//! ```text
//! parameters := splitter:u16 version:u8 count:varint frames{count} inner
//!                 splitter, version   the container's way back: pages of Ogg, a permutation, or an interleaving
//!                 inner               its parameters, up to the end
//! frames     := part:varint skip:varint bytes:varint tail:varint length:varint parameters{length}
//!                 part    which of the container's parts they are; ascending
//!                 skip    bytes of the first frame that stand in a segment before: they are left out
//!                 bytes   of the frames, with those; at least one more
//!                 tail    bytes at the decisions' end that are none, but the part's last: a frame that goes on in
//!                         the next segment
//!                 parameters   of FLAC frames
//! parts      := those of the container, but for each of `frames` samples, then decisions and tail
//! ```
//! A frame's samples stand where it ends. So pages that cut frames apart cost a piece of one in each segment, but the
//! samples have no gap.
//!
//! # Invariants
//!
//! 1. [`Within`] knows no container, and its way back only which ones there are.
//! 2. Frames, without what is left out, are at most as long as the segment; what is left out is at most a frame.

use super::super::{INTERLEAVE, OGG_PAGES, PERMUTE, SplitterId, inverse as any_inverse};
use super::{FRAME_MAX, TakenApart, segment};
use crate::error::Result;
use crate::format::wire::{Put, Reader};
use std::borrow::Cow;

/// Bytes of the parameters of frames, at most: those of a segment have 13.
const PARAMETERS_MAX: usize = 32;

/// What is noted of the parts of a segment that are frames.
#[derive(Debug, Default)]
pub struct Within {
    count: u64,
    noted: Vec<u8>,
}

impl Within {
    /// Notes that this part of the container, beyond those noted before, is `bytes` bytes of frames, but for the first
    /// `skip` of them, and `tail`, which is added to the decisions.
    pub fn note(&mut self, part: usize, skip: usize, bytes: usize, tail: &[u8], taken: &mut TakenApart) {
        self.count += 1;
        for n in [part, skip, bytes, tail.len()] {
            self.noted.put_varint(n as u64); // a usize is at most 64 bits wide
        }
        self.noted.put_varint(taken.parameters.len() as u64);
        self.noted.put(&taken.parameters);
        taken.decisions.extend_from_slice(tail);
    }

    /// The way back of a segment that the container has this way back for, and its parameters.
    pub fn wrap(self, how: SplitterId, inner: Vec<u8>) -> (SplitterId, Vec<u8>) {
        if self.count == 0 {
            return (how, inner);
        }
        let mut parameters = Vec::with_capacity(16 + self.noted.len() + inner.len());
        parameters.put_u16(how.number);
        parameters.put_u8(how.version);
        parameters.put_varint(self.count);
        parameters.put(&self.noted);
        parameters.put(&inner);
        (super::super::FLAC_WITHIN, parameters)
    }
}

/// Rebuilds a container's bytes.
///
/// # Errors
/// [`crate::Error::Malformed`] for what no splitter left.
pub fn inverse(parameters: &[u8], parts: &[&[u8]], bytes: usize) -> Result<Vec<u8>> {
    let mut r = Reader::new("FLAC in a container", parameters);
    let how = SplitterId { number: r.u16()?, version: r.u8()? };
    if ![OGG_PAGES, PERMUTE, INTERLEAVE].contains(&how) {
        return Err(r.bad("a container that there is not"));
    }
    let mut left = parts.iter().copied();
    let mut next = |r: &Reader<'_>| left.next().ok_or_else(|| r.bad("a part is missing"));
    let mut inner: Vec<Cow<'_, [u8]>> = Vec::with_capacity(parts.len());
    let mut room = bytes;
    for _ in 0..r.count(5, parts.len())? {
        let mut number = || r.varint().map(|n| usize::try_from(n).unwrap_or(usize::MAX));
        let (part, skip, length, tail) = (number()?, number()?, number()?, number()?);
        let own = r.var_bytes(PARAMETERS_MAX)?;
        if part < inner.len() {
            return Err(r.bad("parts that do not ascend"));
        }
        while inner.len() < part {
            inner.push(next(&r)?.into()); // so it ends with the parts
        }
        let (samples, decisions) = (next(&r)?, next(&r)?);
        let at = decisions.len().checked_sub(tail).ok_or_else(|| r.bad("a tail longer than its part"))?;
        let (decisions, tail) = decisions.split_at(at); // at most its length
        let used = length.checked_sub(skip).filter(|n| skip <= FRAME_MAX && *n > 0);
        let used = used.and_then(|n| n.checked_add(tail.len()));
        room = used.and_then(|n| room.checked_sub(n)).ok_or_else(|| r.bad("more frames than the segment has bytes"))?;
        let mut frames = segment::inverse(own, &[samples, decisions], length)?;
        if frames.len() != length {
            return Err(r.bad("frames that are not as long as was said"));
        }
        frames.drain(..skip); // less than `length`
        frames.extend_from_slice(tail);
        inner.push(frames.into());
    }
    let parameters = r.take(r.left())?;
    inner.extend(left.map(Cow::from));
    let inner: Vec<&[u8]> = inner.iter().map(|part| &part[..]).collect();
    any_inverse(how, parameters, &inner, bytes)
}

#[cfg(test)]
mod tests {
    use super::super::super::testing::noise;
    use super::super::super::{FLAC_WITHIN, permute};
    use super::super::tests::{FRONT, a_file, a_real_file, frames_of};
    use super::super::{sample_bits, take_apart};
    use super::*;
    use proptest::prelude::*;

    /// Bytes of a segment: `text`, frames without the first `skip` bytes, `tail`, `text`.
    fn a_segment(seed: u64, skip: usize, tail: usize, text: &[u8]) -> (Vec<u8>, Vec<u8>, Vec<Vec<u8>>) {
        let (file, _) = a_file(seed, 16, 2, 4, true);
        let frames = &file[FRONT..];
        let mut taken = take_apart(frames, sample_bits(&file[8..]), usize::MAX).unwrap();
        let (skip, tail) = (skip.min(frames.len() - 1), noise(tail));
        let mut within = Within::default();
        within.note(1, skip, frames.len(), &tail, &mut taken);
        let used = frames.len() - skip + tail.len();
        let (how, parameters) =
            within.wrap(PERMUTE, permute::parameters([(0, text.len()), (1, used), (2, text.len())]));
        assert_eq!(how, FLAC_WITHIN);
        let segment = [text, &frames[skip..], &tail, text].concat();
        (segment, parameters, vec![text.to_vec(), taken.samples, taken.decisions, text.to_vec()])
    }

    fn back(parameters: &[u8], parts: &[Vec<u8>], bytes: usize) -> Result<Vec<u8>> {
        let parts: Vec<&[u8]> = parts.iter().map(Vec::as_slice).collect();
        any_inverse(FLAC_WITHIN, parameters, &parts, bytes)
    }

    #[test]
    fn without_frames_a_segment_is_the_containers_own() {
        assert_eq!(Within::default().wrap(OGG_PAGES, vec![1, 2]), (OGG_PAGES, vec![1, 2]));
    }

    #[test]
    fn other_ways_back_are_refused() {
        let (segment, mut parameters, parts) = a_segment(3, 2, 2, b"text");
        assert_eq!(back(&parameters, &parts, segment.len()).unwrap(), segment);
        for number in [FLAC_WITHIN.number, 0x101, 0x102, 0x104, 4, 0, 0xffff] {
            parameters[..2].copy_from_slice(&u16::to_le_bytes(number));
            assert!(back(&parameters, &parts, segment.len()).is_err(), "{number:x}");
        }
        parameters[..3].copy_from_slice(&[0, 1, 2]);
        assert!(back(&parameters, &parts, segment.len()).is_err());
    }

    /// Two frames of silence, 192 samples of two channels of 16 bits, in a permutation: bytes that must be read for
    /// ever.
    #[test]
    fn version_1_is_read_for_ever() {
        let frames: Vec<u8> = [0, 1].iter().flat_map(|n| super::super::tests::silence(*n)).collect();
        let parameters = [
            &[0, 1, 1, 1][..],    // a permutation of version 1; one part is frames
            &[1, 3, 28, 2, 4],    // part 1: without 3 bytes of 28, a tail of 2; 4 bytes of parameters
            &[16, 0x19, 0x18, 0], // 16 bits; 192 samples at 44.1 kHz; two channels, 16 bits; the first
            &[0, 1, 1, 27, 0, 1], // a byte of text around the frames
        ]
        .concat();
        let decisions = [GOLDEN, &[0xff, 0xf8]].concat();
        let parts = [vec![b'a', b'b'], vec![0; 2 * 192 * 4], decisions];
        let segment = [b"a", &frames[3..], &[0xff, 0xf8], b"b"].concat();
        let taken = take_apart(&frames, Some(16), usize::MAX).unwrap();
        assert_eq!((taken.parameters, &taken.decisions[..]), (vec![16, 0x19, 0x18, 0], GOLDEN));
        assert_eq!(back(&parameters, &parts, segment.len()).unwrap(), segment);
    }

    /// Decisions of the two frames.
    const GOLDEN: &[u8] = &[118, 179];

    #[test]
    fn a_real_file_comes_back_from_a_segment_that_begins_and_ends_within_a_frame() {
        let (file, front) = a_real_file();
        let frames = frames_of(&file, front);
        let (head, whole, tail) = (&frames[0][..1000], frames[..20].concat(), &frames[20][..777]);
        let mut taken = take_apart(&whole, sample_bits(&file[8..]), usize::MAX).unwrap();
        let mut within = Within::default();
        within.note(0, head.len(), whole.len(), tail, &mut taken);
        let segment = [&whole[head.len()..], tail].concat();
        let (_, parameters) = within.wrap(PERMUTE, permute::parameters([(0, segment.len())]));
        let parts = [taken.samples, taken.decisions];
        assert!(back(&parameters, &parts, segment.len()).unwrap() == segment);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn what_is_changed_is_refused_or_as_long(
            seed: u64,
            skip in 0..40_000_usize,
            tail in 0..3000_usize,
            text in prop::collection::vec(any::<u8>(), 0..50),
            flip in any::<prop::sample::Index>(),
            value: u8,
            cut in any::<prop::sample::Index>(),
        ) {
            let (segment, parameters, parts) = a_segment(seed, skip, tail, &text);
            let n = segment.len();
            prop_assert!(back(&parameters, &parts, n).unwrap() == segment);
            prop_assert!(back(&parameters, &parts, n - 1).is_err());
            prop_assert!(back(&parameters, &parts, n + 1).is_err());
            prop_assert!(back(&parameters, &parts[1..], n).is_err());
            prop_assert!(back(&parameters, &[&parts[..], &[vec![1]]].concat(), n).is_err());
            let mut changed = parameters.clone();
            changed[flip.index(parameters.len())] = value;
            if let Ok(other) = back(&changed, &parts, n) {
                prop_assert_eq!(other.len(), n);
            }
            let _ = back(&parameters[..cut.index(parameters.len())], &parts, n);
            for part in 0..parts.len() {
                let mut fewer = parts.clone();
                if fewer[part].pop().is_some() {
                    // Behind the last decision more zeros are read.
                    let other = back(&parameters, &fewer, n);
                    prop_assert!(other.is_err() || part == 2 && other.unwrap().len() == n);
                }
            }
        }

        #[test]
        fn arbitrary_parameters_never_panic(
            inner in 0..3_usize,
            parameters in prop::collection::vec(any::<u8>(), 0..60),
            parts in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 0..6),
            bytes in 0..10_000_usize,
        ) {
            let how = [OGG_PAGES, PERMUTE, INTERLEAVE][inner];
            let parameters = [&how.number.to_le_bytes()[..], &[how.version], &parameters].concat();
            let _ = back(&parameters, &parts, bytes);
        }
    }
}
