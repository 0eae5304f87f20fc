//! MXF (SMPTE 377-1): tracks apart from keys and lengths.
//!
//! ```text
//!  partitions, metadata, index, fill    wrapper   passed over by their length; sound descriptors are read
//!  essence element   key, length        wrapper
//!                    value              essences  by the element's type and number
//! ```
//! Owns the way over the triplets of key, length and value. Both wrappings are alike to it: an element holds a frame,
//! or all.
//!
//! # Invariants
//!
//! 1. State: the names of `TRACKS_MAX` tracks; what is beyond shares the last one.
//! 2. A value of `PLAIN_BYTES` is a plain run.

use super::demux::{Border, Coding, Demux, Piece, Tracks, essence};
use super::fourcc::pcm;
use super::nal::is_key_frame;
use super::{Hints, MXF, Splitter, SplitterId};
use crate::chunk::Form;

const TRACKS_MAX: usize = 8;
/// An element this large holds all of a track.
const PLAIN_BYTES: u64 = 64 << 20;

const KEY: usize = 16;
/// All keys begin so.
const SMPTE: &[u8] = &[0x06, 0x0e, 0x2b, 0x34];
/// A header partition, up to its state.
const HEADER_PARTITION: &[u8] = &[0x06, 0x0e, 0x2b, 0x34, 0x02, 0x05, 0x01];

/// Opens a file that begins with a header partition.
pub fn open(hints: Hints<'_>) -> Option<Box<dyn Splitter>> {
    let pack = hints.head.starts_with(HEADER_PARTITION) && hints.head.get(8..14) == Some(&[0x0d, 1, 2, 1, 1, 2]);
    pack.then(|| Box::new(Demux::new(Mxf::default())) as Box<dyn Splitter>)
}

/// A length as BER has it, and the bytes that it takes.
fn length(bytes: &[u8]) -> Option<(u64, usize)> {
    let &first = bytes.first()?;
    if first < 0x80 {
        return Some((u64::from(first), 1));
    }
    let n = usize::from(first & 0x7f);
    let rest = bytes.get(1..1 + n).filter(|_| (1..=8).contains(&n))?;
    Some((rest.iter().fold(0, |v, b| v << 8 | u64::from(*b)), 1 + n))
}

/// A value of a local set.
fn find(set: &[u8], tag: [u8; 2]) -> Option<&[u8]> {
    let mut rest = set;
    while let &[a, b, l0, l1, ref more @ ..] = rest {
        let (value, next) = more.split_at_checked(usize::from(u16::from_be_bytes([l0, l1])))?;
        if [a, b] == tag {
            return Some(value);
        }
        rest = next;
    }
    None
}

/// What the sound is that a descriptor describes.
fn sound(set: &[u8]) -> Option<Coding> {
    let number = |tag| Some(find(set, tag)?.iter().fold(0_u64, |v, b| v << 8 | u64::from(*b)));
    Some(pcm(number([0x3d, 1])?, number([0x3d, 7])?))
}

#[derive(Debug, Default)]
struct Mxf {
    /// Type and number of each track.
    tracks: Vec<[u8; 2]>,
    /// The value that follows: its track, its key's types, its bytes.
    value: Option<(usize, [u8; 2], u64)>,
    /// Of the PCM tracks; `Coding::None` if they differ.
    sound: Option<Coding>,
}

impl Tracks for Mxf {
    fn id(&self) -> SplitterId {
        MXF
    }

    fn next(&mut self, look: &[u8]) -> Result<Piece, &'static str> {
        if let Some((track, [item, element], bytes)) = self.value.take() {
            // Generic or content package; sound; broadcast wave or AES3, in frames or as a whole.
            let is_sound = matches!(item, 0x06 | 0x16);
            let coding = self.sound.filter(|_| is_sound && (1..=4).contains(&element)).unwrap_or_default();
            let border = if !is_sound && is_key_frame(look) { Border::Key } else { Border::None };
            let piece = Piece::of(essence(track), Form::Bytes, bytes).with(border);
            return Ok(Piece { plain: bytes >= PLAIN_BYTES, coding, ..piece });
        }
        let Some(key) = look.first_chunk::<KEY>().filter(|k| k.starts_with(SMPTE)) else {
            return Err("mxf: a key that is none");
        };
        let Some((bytes, n)) = look.get(KEY..).and_then(length) else { return Err("mxf: a length that is none") };
        let all = (KEY + n) as u64;
        let &[_, _, _, _, a, b, c, _, e, f, g, h, item, _, element, number] = key;
        match ([a, b, c], [e, f, g, h]) {
            ([1, 2, 1], [0x0d, 1, 3, 1]) if bytes > 0 => {
                let name = [item, number];
                let track = self.tracks.iter().position(|t| *t == name).unwrap_or_else(|| {
                    if self.tracks.len() < TRACKS_MAX {
                        self.tracks.push(name);
                    }
                    self.tracks.len() - 1 // at least one was pushed
                });
                self.value = Some((track, [item, element], bytes));
                Ok(Piece::wrapper(all))
            }
            // The descriptors of broadcast wave and AES3.
            ([2, 0x53, 1], [0x0d, 1, 1, 1]) if matches!([item, element], [1, 0x47 | 0x48]) => {
                let set = look.get(KEY + n..).and_then(|v| v.get(..usize::try_from(bytes).ok()?));
                let coding = set.and_then(sound).unwrap_or_default();
                self.sound = Some(if self.sound.is_none_or(|s| s == coding) { coding } else { Coding::None });
                Ok(Piece::wrapper(all.saturating_add(bytes)))
            }
            _ => Ok(Piece::wrapper(all.saturating_add(bytes))),
        }
    }
}
