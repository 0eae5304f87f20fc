//! Tracks in a container that do not stand there as their streams have them: frames of FLAC, packets of ALAC, samples in
//! another order. Version 1.
//!
//! A container's own splitter gives the bytes of its tracks apart from what wraps them, as *parts* of a permutation. A
//! *layer* stands for one of these parts: other parts, and the way back that makes it of them. Each track of a segment may
//! have one.
//!
//! ```text
//! parameters := way count:varint layer{count} inner
//!                 way     of the container: a permutation, or an interleaving
//!                 inner   its parameters, up to the end
//! layer      := part:varint way parts:varint bytes:varint length:varint parameters{length}
//!                 part        which of the container's parts is made; ascending, none twice
//!                 way         that makes it: FLAC frames, sample order, ALAC packets
//!                 parts       that it takes, at least one
//!                 bytes       that it gives, at least one
//! way        := number:u16 version:u8
//! parts      := those of the container, but for each layer its own
//! ```
//!
//! # Invariants
//!
//! 1. Layers do not nest: none is made by a way that has any.
//! 2. What layers give is together at most as long as the segment. Nothing is made beyond that.

use super::{ALAC_PACKETS, FLAC_FRAMES, INTERLEAVE, LAYERS, PERMUTE, SplitterId, WORDS, inverse as any_inverse};
use crate::error::Result;
use crate::format::wire::{Put, Reader};
use std::borrow::Cow;

/// Bytes of a layer's own parameters, at most: those of FLAC frames have 13.
const PARAMETERS_MAX: usize = 32;
/// Bytes of a layer, at least.
const LAYER_MIN: usize = 7;

/// The layers of a segment.
#[derive(Debug, Default)]
pub struct Layers {
    count: u64,
    noted: Vec<u8>,
}

fn put_way(out: &mut Vec<u8>, how: SplitterId) {
    out.put_u16(how.number);
    out.put_u8(how.version);
}

fn way(r: &mut Reader<'_>) -> Result<SplitterId> {
    Ok(SplitterId { number: r.u16()?, version: r.u8()? })
}

impl Layers {
    /// Notes that this part of the container, beyond those noted before, is made of so many parts and has `bytes` bytes.
    pub fn note(&mut self, part: usize, how: SplitterId, parts: usize, bytes: usize, parameters: &[u8]) {
        self.count += 1; // at most one a part
        self.noted.put_varint(part as u64); // a usize is at most 64 bits wide
        put_way(&mut self.noted, how);
        for n in [parts, bytes, parameters.len()] {
            self.noted.put_varint(n as u64);
        }
        self.noted.put(parameters);
    }

    /// The way back of a segment that the container has this way back for, and its parameters.
    pub fn wrap(self, how: SplitterId, inner: Vec<u8>) -> (SplitterId, Vec<u8>) {
        if self.count == 0 {
            return (how, inner);
        }
        let mut parameters = Vec::with_capacity(16 + self.noted.len() + inner.len());
        put_way(&mut parameters, how);
        parameters.put_varint(self.count);
        parameters.put(&self.noted);
        parameters.put(&inner);
        (LAYERS, parameters)
    }
}

/// A layer, as parameters have it.
struct Layer<'p> {
    part: usize,
    how: SplitterId,
    parts: usize,
    bytes: usize,
    parameters: &'p [u8],
}

impl<'p> Layer<'p> {
    fn read(r: &mut Reader<'p>) -> Result<Layer<'p>> {
        let number = |r: &mut Reader<'_>| r.varint().map(|n| usize::try_from(n).unwrap_or(usize::MAX));
        let part = number(r)?;
        let how = way(r)?;
        let (parts, bytes) = (number(r)?, number(r)?);
        let parameters = r.var_bytes(PARAMETERS_MAX)?;
        if ![FLAC_FRAMES, WORDS, ALAC_PACKETS].contains(&how) || parts == 0 || bytes == 0 {
            return Err(r.bad("a layer that there is not"));
        }
        Ok(Layer { part, how, parts, bytes, parameters })
    }
}

/// Rebuilds a container's bytes.
///
/// # Errors
/// [`crate::Error::Malformed`] for what no splitter left.
pub fn inverse(parameters: &[u8], parts: &[&[u8]], bytes: usize) -> Result<Vec<u8>> {
    let mut r = Reader::new("layers of a container", parameters);
    let how = way(&mut r)?;
    if ![PERMUTE, INTERLEAVE].contains(&how) {
        return Err(r.bad("a container that there is not"));
    }
    let (mut left, mut room) = (parts, bytes);
    let mut inner: Vec<Cow<'_, [u8]>> = Vec::with_capacity(parts.len());
    for _ in 0..r.count(LAYER_MIN, parts.len())? {
        let layer = Layer::read(&mut r)?;
        let before = layer.part.checked_sub(inner.len()).ok_or_else(|| r.bad("layers that do not ascend"))?;
        let taken = left.split_at_checked(before).and_then(|(before, rest)| {
            let (own, rest) = rest.split_at_checked(layer.parts)?;
            Some((before, own, rest))
        });
        let (before, own, rest) = taken.ok_or_else(|| r.bad("a part is missing"))?;
        inner.extend(before.iter().copied().map(Cow::from));
        left = rest;
        room = room.checked_sub(layer.bytes).ok_or_else(|| r.bad("layers that are longer than the segment"))?;
        inner.push(any_inverse(layer.how, layer.parameters, own, layer.bytes)?.into());
    }
    let parameters = r.take(r.left())?;
    inner.extend(left.iter().copied().map(Cow::from));
    let inner: Vec<&[u8]> = inner.iter().map(|part| &part[..]).collect();
    any_inverse(how, parameters, &inner, bytes)
}

/// Whether one of the layers is coded sound.
pub fn is_any_decoded(parameters: &[u8]) -> bool {
    let any = || -> Result<bool> {
        let mut r = Reader::new("layers of a container", parameters);
        way(&mut r)?;
        for _ in 0..r.count(LAYER_MIN, usize::MAX)? {
            if Layer::read(&mut r)?.how != WORDS {
                return Ok(true);
            }
        }
        Ok(false)
    };
    any().unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use super::super::flac::tests::{FRONT, a_file};
    use super::super::words::{Kind, Taken, Track, Word};
    use super::super::{OGG_PAGES, flac, permute};
    use super::*;
    use proptest::prelude::*;

    /// A segment of text, frames of FLAC, text, big-endian samples, text; its parameters and parts.
    fn a_segment(seed: u64, text: &[u8], words: usize) -> (Vec<u8>, Vec<u8>, Vec<Vec<u8>>) {
        let (file, _) = a_file(seed, 16, 2, 4, true);
        let frames = &file[FRONT..];
        let taken = flac::take_apart(frames, flac::sample_bits(&file[8..]), usize::MAX).unwrap();
        let sound: Vec<u8> = (0..4 * words).map(|i| (i * i / 7) as u8).collect();
        let mut track = Track::new(Word::new(2, true, Kind::Signed).unwrap(), 2).unwrap();
        let Taken::Mapped(mapped) = track.take(1, 2, &sound) else { panic!("as it stands") };
        let mut layers = Layers::default();
        layers.note(1, FLAC_FRAMES, 2, frames.len(), &taken.parameters);
        layers.note(2, mapped.how, mapped.parts.len(), sound.len(), &mapped.parameters);
        let order = [(0, text.len()), (1, frames.len()), (0, text.len()), (2, sound.len()), (0, text.len())];
        let (how, parameters) = layers.wrap(PERMUTE, permute::parameters(order));
        assert_eq!(how, LAYERS);
        let segment = [text, frames, text, &sound, text].concat();
        let parts = [vec![text.repeat(3), taken.samples, taken.decisions], vec![mapped.parts[0].bytes.clone()]];
        (segment, parameters, parts.concat())
    }

    fn back(parameters: &[u8], parts: &[Vec<u8>], bytes: usize) -> Result<Vec<u8>> {
        let parts: Vec<&[u8]> = parts.iter().map(Vec::as_slice).collect();
        any_inverse(LAYERS, parameters, &parts, bytes)
    }

    #[test]
    fn without_layers_a_segment_is_the_containers_own() {
        assert_eq!(Layers::default().wrap(PERMUTE, vec![1, 2]), (PERMUTE, vec![1, 2]));
    }

    /// Bytes that must be read for ever.
    #[test]
    fn version_1_is_read_for_ever() {
        let parameters = [
            &[0, 1, 1, 1][..],      // a permutation of version 1; one layer
            &[1, 2, 1, 1, 1, 4, 2], // part 1: sample order of version 1, of one part; 4 bytes; 2 bytes of parameters
            &[16 | 2, 2],           // big-endian words of 2 bytes, samples of 2
            &[0, 1, 1, 4, 0, 1],    // a byte of text around the words
        ]
        .concat();
        let parts = [b"ab".to_vec(), vec![1, 2, 3, 4]];
        assert_eq!(back(&parameters, &parts, 6).unwrap(), [b'a', 2, 1, 4, 3, b'b']);
        assert!(!is_any_decoded(&parameters));
    }

    #[test]
    fn other_ways_back_are_refused() {
        let (segment, mut parameters, parts) = a_segment(3, b"text", 9);
        assert_eq!(back(&parameters, &parts, segment.len()).unwrap(), segment);
        assert!(is_any_decoded(&parameters));
        // Of the container, and of the first layer.
        for at in [0, 5] {
            let before = parameters.clone();
            for number in [LAYERS.number, 0x105, 0x104, OGG_PAGES.number, 4, 0, 0xffff] {
                parameters[at..at + 2].copy_from_slice(&u16::to_le_bytes(number));
                assert!(back(&parameters, &parts, segment.len()).is_err(), "{number:x}");
            }
            parameters = before;
            parameters[at + 2] = 2;
            assert!(back(&parameters, &parts, segment.len()).is_err());
            parameters[at + 2] = 1;
        }
    }

    #[test]
    fn layers_that_are_longer_than_the_segment_are_not_made() {
        let mut layers = Layers::default();
        layers.note(0, WORDS, 1, 1 << 40, &[2, 2]);
        let (_, parameters) = layers.wrap(PERMUTE, vec![]);
        assert!(back(&parameters, &[vec![0; 8]], 8).is_err());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn what_is_changed_is_refused_or_as_long(
            seed: u64,
            words in 1..300_usize,
            text in prop::collection::vec(any::<u8>(), 0..50),
            flip in any::<prop::sample::Index>(),
            value: u8,
            cut in any::<prop::sample::Index>(),
        ) {
            let (segment, parameters, parts) = a_segment(seed, &text, words);
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
            let _ = is_any_decoded(&changed);
            let _ = back(&parameters[..cut.index(parameters.len())], &parts, n);
        }

        #[test]
        fn arbitrary_parameters_never_panic(
            how in 0..2_usize,
            parameters in prop::collection::vec(any::<u8>(), 0..60),
            parts in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 0..6),
            bytes in 0..10_000_usize,
        ) {
            let how = [PERMUTE, INTERLEAVE][how];
            let parameters = [&how.number.to_le_bytes()[..], &[how.version], &parameters].concat();
            let _ = back(&parameters, &parts, bytes);
            let _ = is_any_decoded(&parameters);
        }
    }
}
