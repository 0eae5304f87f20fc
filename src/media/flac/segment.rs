//! Frames as samples and decisions, and back: version 1.
//!
//! ```text
//! parameters := bits:u8 block:u8 assignment:u8 number:varint block_extra:u16? rate_extra:u16?
//!                 bits of a sample, 4 to 32
//!                 block       block size code * 16 + sample rate code
//!                 assignment  assignment * 16 + sample size code * 2 + (1: the number counts samples)
//!                 of the first frame; the extra numbers are there where their codes have them (6, 7; 12, 13, 14)
//! parts      := pcm decisions
//! pcm        := the samples of all frames, see `pcm`
//! decisions  := coded by `range`, as `decisions` says: frames until the samples end
//! ```
//!
//! # Invariants
//!
//! 1. Nothing is written beyond the asked length (but for one header), whatever parts and parameters say.
//! 2. Work is linear in the samples and that length; memory is one frame's.

use super::decisions::Decisions;
use super::frame::{Frame, Header};
use super::pcm;
use super::range::{Decoder, Encoder};
use crate::chunk::{Form, Pcm};
use crate::error::Result;
use crate::format::limits;
use crate::format::wire::{Put, Reader};

/// Frames of one kind, taken apart.
#[derive(Debug)]
pub(super) struct Segment {
    first: Header,
    bits: u8,
    decisions: Decisions,
    encoder: Encoder,
    /// Samples so far.
    pub pcm: Vec<u8>,
}

impl Segment {
    /// Begins with a frame of `bits` bits a sample.
    pub fn new(first: Header, bits: u8) -> Segment {
        Segment {
            first,
            bits,
            decisions: Decisions::new(bits.into(), first),
            encoder: Encoder::default(),
            pcm: Vec::new(),
        }
    }

    /// Whether a frame has as many channels and bits as the others.
    pub fn takes(&self, header: Header, bits: u8) -> bool {
        (self.first.channels(), self.bits) == (header.channels(), bits)
    }

    /// What its samples are.
    pub fn form(&self) -> Form {
        let sample_bytes = pcm::sample_bytes(self.bits.into()) as u8; // at most 4
        Form::Pcm(Pcm { sample_bytes, channels: self.first.channels() as u8, coded: true }) // at most 8
    }

    /// Bytes that a frame's samples take.
    pub fn pcm_bytes(&self, header: Header) -> usize {
        header.block_samples().unwrap_or_default() * header.channels() * pcm::sample_bytes(self.bits.into())
    }

    /// Adds a frame that was read. False, and nothing is added, where its samples are beyond their bits.
    pub fn add(&mut self, frame: &mut Frame) -> bool {
        if !pcm::append(frame, self.bits.into(), &mut self.pcm) {
            return false;
        }
        let header = frame.header;
        self.decisions.header(&mut self.encoder, &header);
        for channel in 0..header.channels() {
            self.decisions.channel(&mut self.encoder, frame, channel);
        }
        true
    }

    /// Parameters, samples, decisions.
    pub fn finish(self) -> (Vec<u8>, Vec<u8>, Vec<u8>) {
        let (mut parameters, first) = (Vec::new(), self.first);
        parameters.put_u8(self.bits);
        // Codes of 4, 4, 4, 3 and 1 bits.
        parameters.put_u8(first.block_code << 4 | first.rate_code);
        parameters.put_u8(first.assignment << 4 | first.size_code << 1 | u8::from(first.variable));
        parameters.put_varint(first.number);
        if matches!(first.block_code, 6 | 7) {
            parameters.put_u16(first.block_extra);
        }
        if matches!(first.rate_code, 12..=14) {
            parameters.put_u16(first.rate_extra);
        }
        (parameters, self.pcm, self.encoder.finish())
    }
}

/// Rebuilds frames.
///
/// # Errors
/// [`crate::Error::Malformed`] for what the splitter never left.
pub fn inverse(parameters: &[u8], parts: &[&[u8]], bytes: usize) -> Result<Vec<u8>> {
    let mut r = Reader::new("a FLAC segment", parameters);
    let bits = r.u8()?;
    let (block, assignment) = (r.u8()?, r.u8()?);
    let mut first = Header {
        variable: assignment & 1 == 1,
        block_code: block >> 4,
        block_extra: 0,
        rate_code: block & 15,
        rate_extra: 0,
        assignment: assignment >> 4,
        size_code: assignment >> 1 & 7,
        number: r.varint()?,
    };
    if matches!(first.block_code, 6 | 7) {
        first.block_extra = r.u16()?;
    }
    if matches!(first.rate_code, 12..=14) {
        first.rate_extra = r.u16()?;
    }
    r.end()?;
    if !(4..=32).contains(&bits) || !first.is_sound() {
        return Err(r.bad("a frame that there cannot be"));
    }
    let &[mut pcm, decisions] = parts else { return Err(r.bad("it has two parts, samples and decisions")) };
    let mut out = Vec::with_capacity(bytes.min(limits::SEGMENT_BYTES as usize)); // 8 MiB
    let mut coder = Decoder::new(decisions);
    let mut decisions = Decisions::new(bits.into(), first);
    let mut frame = Frame::default();
    let sample_bytes = pcm::sample_bytes(bits.into());
    while !pcm.is_empty() {
        let header = decisions.header(&mut coder, &Header::default());
        let fits = header.filter(|h| h.channels() == first.channels() && h.bits(Some(bits)) == Some(bits));
        let header = fits.ok_or_else(|| r.bad("a frame's header that there cannot be"))?;
        let samples = header.block_samples().unwrap_or_default(); // at most 2^16
        let (samples, rest) = pcm
            .split_at_checked(samples * header.channels() * sample_bytes)
            .ok_or_else(|| r.bad("a frame needs more samples than there are"))?;
        pcm = rest;
        frame.begin(header);
        let known = pcm::split(samples, bits.into(), &mut frame)
            && (0..header.channels()).all(|channel| decisions.channel(&mut coder, &mut frame, channel));
        let left = bytes.checked_sub(out.len());
        if !known || !left.is_some_and(|left| frame.write(bits.into(), &mut out, left)) {
            return Err(r.bad("samples and decisions that make no frame"));
        }
    }
    if !coder.is_at_end() {
        return Err(r.bad("decisions are left over"));
    }
    Ok(out)
}
