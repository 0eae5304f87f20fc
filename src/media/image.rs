//! Pictures without compression: DPX, TIFF and BigTIFF, BMP, TGA, PNM (PGM, PPM, PAM).
//!
//! ```text
//!  header, tags      wrapper
//!  picture           essence   rows of samples, in their form and in one order (see `pixels`); what is compressed is plain bytes
//!  more of these     ...
//! ```
//!
//! Owns the walk along what a format's header tells (its `Plan`). The formats: `dpx`, `tiff`, `bmp`, `tga`, `pnm`.
//!
//! # Invariants
//!
//! 1. A picture starts with a cut and holds the same bytes under any tags.
//! 2. Pixels that stand in another order than in most formats are mapped, in segments that hang on the plan alone.
//! 3. A plan hangs on the first [`WINDOW_MIN`] bytes from the header on, whatever the window; memory is that of a plan,
//!    which has `PIECES` pieces at most.

mod bmp;
mod dpx;
mod guess;
mod pnm;
mod tga;
mod tiff;

use super::pixels::Order;
use super::runs::{Last, Walk};
use super::{
    BMP, DPX, ESSENCE, Hints, Mapped, MappedPart, PIXELS, PNM, Part, Splitter, SplitterId, StreamNumber, TGA, TIFF,
    WINDOW_MIN, WRAPPER,
};
use crate::chunk::{Form, Packing, Raster};
use std::collections::VecDeque;

/// Pieces of a plan at most.
const PIECES: usize = 64;

/// Bytes behind the pixels of rows that are not zero.
const PADDING: StreamNumber = 2;

/// Bytes of a piece that ends with the file.
const TO_THE_END: u64 = u64::MAX;

/// Next bytes of the file that belong together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Piece {
    stream: StreamNumber,
    /// As it stands in the file.
    form: Form,
    bytes: u64,
    /// How its pixels stand in the file, if that is not how they stand in the stream.
    order: Option<Order>,
    /// A segment of it was given.
    begun: bool,
}

impl Piece {
    fn wrapper(bytes: u64) -> Piece {
        Piece { stream: WRAPPER, form: Form::Bytes, bytes, order: None, begun: false }
    }

    fn picture(form: Form, bytes: u64) -> Piece {
        Piece { stream: ESSENCE, form, bytes, order: None, begun: false }
    }

    /// The order of its pixels: samples of two bytes are turned to what most files have, if the row is known.
    fn pixels(&self) -> Option<Order> {
        let Form::Raster(Raster { packing: Packing::Samples { bytes: 2, big_endian: true, .. }, row_bytes }) =
            self.form
        else {
            return self.order;
        };
        let row = usize::try_from(row_bytes).ok()?;
        Order::new(false, &[1, 0], row, row)
    }

    /// Bytes of the next segment: whole rows, as many as every window has room for, since where rows go upwards a picture is
    /// turned segment by segment.
    fn segment_bytes(&self, order: &Order) -> usize {
        let most = usize::try_from(self.bytes).unwrap_or(usize::MAX).min(WINDOW_MIN);
        most - most % order.row()
    }
}

/// What the bytes from a header on are.
type Plan = Vec<Piece>;

/// Reads a plan from a header's first byte on; `Err` with the reason where it is none, or none that is known.
type Read = fn(&[u8]) -> Result<Plan, &'static str>;

/// The formats, by what they begin with.
fn format_of(head: &[u8]) -> Option<(SplitterId, Read)> {
    match head {
        [b'S', b'D', b'P', b'X', ..] | [b'X', b'P', b'D', b'S', ..] => Some((DPX, dpx::read)),
        [b'I', b'I', 42 | 43, 0, ..] | [b'M', b'M', 0, 42 | 43, ..] => Some((TIFF, tiff::read)),
        [b'B', b'M', ..] if bmp::read(head).is_ok() => Some((BMP, bmp::read)),
        [b'P', b'5'..=b'7', ..] if pnm::read(head).is_ok() => Some((PNM, pnm::read)),
        [_, 0, 2 | 3, ..] if tga::read(head).is_ok() => Some((TGA, tga::read)),
        _ => None,
    }
}

/// Opens a picture.
pub fn open(hints: Hints<'_>) -> Option<Box<dyn Splitter>> {
    let (id, read) = format_of(hints.head)?;
    Some(Box::new(Image::new(id, read)))
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Before the header.
    Front,
    /// Within what the plan told.
    Planned,
    /// Behind it: tags, or the next picture.
    Back,
    Opaque,
}

/// The splitter of one file.
struct Image {
    id: SplitterId,
    read: Read,
    state: State,
    plan: VecDeque<Piece>,
    before: Last,
    /// Nothing is mapped.
    is_plain: bool,
    doubt: Option<&'static str>,
}

impl Image {
    fn new(id: SplitterId, read: Read) -> Image {
        let (plan, before) = (VecDeque::new(), Last::default());
        Image { id, read, state: State::Front, plan, before, is_plain: false, doubt: None }
    }

    fn step(&mut self, walk: &mut Walk<'_, '_>) {
        let rest = walk.rest();
        match self.state {
            State::Front => match (self.read)(rest.get(..WINDOW_MIN).unwrap_or(rest)) {
                Ok(plan) => {
                    self.plan = plan.into();
                    for piece in &mut self.plan {
                        piece.order = piece.pixels().filter(|_| !self.is_plain);
                    }
                    self.state = State::Planned;
                }
                Err(why) => {
                    self.state = State::Opaque;
                    self.doubt = Some(why);
                }
            },
            State::Planned => match self.plan.front_mut() {
                Some(piece) if piece.bytes > 0 => {
                    if let Some(order) = piece.order {
                        let n = piece.segment_bytes(&order).min(rest.len() - rest.len() % order.row());
                        if n > 0 {
                            let is_first = !std::mem::replace(&mut piece.begun, true);
                            walk.map(segment(&order, piece.form, &rest[..n], is_first));
                            piece.bytes -= n as u64; // at most what it was
                            return;
                        }
                        // A row that the file ends in, or that no window has room for.
                        piece.order = None;
                        if piece.begun {
                            piece.form = Form::Bytes;
                        }
                    }
                    let before = rest.len();
                    let now = usize::try_from(piece.bytes).unwrap_or(usize::MAX).min(before);
                    walk.give_as(piece.stream, piece.form, now);
                    piece.bytes -= now as u64; // at most what it was
                }
                Some(_) => {
                    self.plan.pop_front();
                    walk.cut();
                }
                None => self.state = State::Back,
            },
            // Several pictures may follow each other, as programs write them into a pipe.
            State::Back if self.id == PNM && (self.read)(rest.get(..pnm::HEADER_MAX).unwrap_or(rest)).is_ok() => {
                self.state = State::Front;
            }
            State::Back => walk.give(WRAPPER, rest.len()),
            State::Opaque => walk.give(ESSENCE, rest.len()),
        }
    }
}

impl Splitter for Image {
    fn id(&self) -> SplitterId {
        self.id
    }

    fn split(&mut self, window: &[u8], last: bool, runs: &mut Vec<Part>) {
        let mut before = self.before;
        let mut walk = Walk::new(window, runs, &mut before);
        while !walk.rest().is_empty() {
            // A header may lie across the window's end.
            let held = match (self.state, self.id == PNM) {
                (State::Front | State::Back, true) => pnm::HEADER_MAX,
                (State::Front, false) => WINDOW_MIN,
                // So may a segment.
                (State::Planned, _) => {
                    let piece = self.plan.front().and_then(|piece| Some((piece, piece.order?)));
                    piece.map_or(0, |(piece, order)| piece.segment_bytes(&order))
                }
                _ => 0,
            };
            if !last && !walk.is_fresh() && walk.rest().len() < held {
                break;
            }
            self.step(&mut walk);
        }
        self.before = before;
        let within = self.plan.iter().any(|p| (1..TO_THE_END / 2).contains(&p.bytes));
        if last && self.doubt.is_none() && (within || self.state == State::Front) {
            self.doubt = Some("picture: the file ends within it");
        }
    }

    fn doubt(&self) -> Option<&'static str> {
        self.doubt
    }

    fn stay_plain(&mut self) {
        self.is_plain = true;
    }
}

/// The next rows of a picture, turned; `form` is that of the file. Of rows upwards each segment has a border: only within one they
/// follow each other as they do elsewhere.
fn segment(order: &Order, form: Form, rows: &[u8], is_first: bool) -> Mapped {
    let (pixels, padding) = order.apart(rows);
    let form = match form {
        Form::Raster(Raster { packing: Packing::Samples { bytes, channels, .. }, .. }) => {
            samples(bytes.into(), channels.into(), false, order.used() as u64)
        }
        _ => form,
    };
    let mut parts = vec![MappedPart { stream: ESSENCE, cut: is_first || order.is_upward(), form, bytes: pixels }];
    if !padding.is_empty() {
        parts.push(MappedPart { stream: PADDING, cut: true, form: Form::Bytes, bytes: padding });
    }
    Mapped { bytes: rows.len() as u64, how: PIXELS, parts, parameters: order.parameters() }
}

/// The form of rows of whole samples, if there is a code for it.
fn samples(bytes: u64, channels: u64, big_endian: bool, row_bytes: u64) -> Form {
    match (bytes, channels) {
        (1..=2, 1..=4) => Form::Raster(Raster {
            packing: Packing::Samples { bytes: bytes as u8, channels: channels as u8, big_endian }, // at most 4
            row_bytes: u32::try_from(row_bytes).unwrap_or(0),
        }),
        _ => Form::Bytes,
    }
}

/// Numbers at places of a header, in its byte order.
#[derive(Clone, Copy)]
struct Numbers<'a> {
    bytes: &'a [u8],
    big_endian: bool,
}

impl Numbers<'_> {
    /// The number of `n` bytes (at most 8) at a place.
    fn get(&self, at: u64, n: usize) -> Option<u64> {
        let bytes = self.bytes.get(usize::try_from(at).ok()?..)?.get(..n)?;
        let add = |sum: u64, b: &u8| sum << 8 | u64::from(*b);
        Some(if self.big_endian { bytes.iter().fold(0, add) } else { bytes.iter().rev().fold(0, add) })
    }
}

#[cfg(test)]
mod tests;
