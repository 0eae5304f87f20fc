//! Packets as samples and decisions, and back: version 1.
//!
//! ```text
//! parameters := bits:u8 channels:u8 (frame:varint mb:u8 pb:u8 kb:u8)?
//!                 bits of a sample: 16, 20, 24 or 32   channels of all packets
//!                 frame, mb, pb, kb  of the magic cookie, where they are not 4096, 10, 40, 14
//! parts      := pcm decisions
//! pcm        := the samples of all packets, see `pcm`
//! decisions  := coded by `flac::range`, as `decisions` says: packets until the samples end
//! ```
//!
//! # Invariants
//!
//! 1. Nothing is written beyond the asked length (but for one packet), whatever parts and parameters say.
//! 2. Work is linear in the samples and that length; memory is one packet's.

use super::decisions::Decisions;
use super::packet::{CHANNELS_MAX, Config, Packet};
use super::pcm;
use crate::chunk::{Form, Pcm};
use crate::error::Result;
use crate::format::limits;
use crate::format::wire::{Put, Reader};
use crate::media::flac::range::{Decoder, Encoder};

/// Packets of one kind, taken apart.
#[derive(Debug)]
pub(super) struct Segment {
    config: Config,
    channels: usize,
    decisions: Decisions,
    encoder: Encoder,
    /// Samples so far.
    pub pcm: Vec<u8>,
}

impl Segment {
    /// Begins with a packet of so many channels.
    pub fn new(config: Config, channels: usize) -> Segment {
        let decisions = Decisions::new(config);
        Segment { config, channels, decisions, encoder: Encoder::default(), pcm: Vec::new() }
    }

    /// Whether a packet has as many channels as the others.
    pub fn takes(&self, packet: &Packet) -> bool {
        packet.channel_count() == self.channels
    }

    /// What its samples are.
    pub fn form(&self) -> Form {
        let sample_bytes = pcm::sample_bytes(self.config.bits) as u8; // at most 4
        Form::Pcm(Pcm { sample_bytes, channels: self.channels as u8, coded: true }) // at most 8
    }

    /// Bytes that a packet's samples take.
    pub fn pcm_bytes(&self, packet: &Packet) -> usize {
        packet.samples * packet.channel_count() * pcm::sample_bytes(self.config.bits)
    }

    /// Adds a packet that was read.
    pub fn add(&mut self, packet: &mut Packet) {
        pcm::append(packet, self.config.bits, &mut self.pcm);
        self.decisions.packet(&mut self.encoder, packet);
        self.decisions.learn(packet);
    }

    /// Parameters, samples, decisions.
    pub fn finish(self) -> (Vec<u8>, Vec<u8>, Vec<u8>) {
        let (mut parameters, config) = (Vec::new(), self.config);
        parameters.put_u8(config.bits);
        parameters.put_u8(self.channels as u8); // at most 8
        if config != Config::usual(config.bits) {
            parameters.put_varint(config.frame.into());
            parameters.put(&[config.mb, config.pb, config.kb]);
        }
        (parameters, self.pcm, self.encoder.finish())
    }
}

/// Rebuilds packets.
///
/// # Errors
/// [`crate::Error::Malformed`] for what the splitter never left.
pub fn inverse(parameters: &[u8], parts: &[&[u8]], bytes: usize) -> Result<Vec<u8>> {
    let mut r = Reader::new("an ALAC segment", parameters);
    let (bits, channels) = (r.u8()?, usize::from(r.u8()?));
    let mut config = Config::usual(bits);
    if r.left() > 0 {
        config = Config { frame: 0, ..config };
        let frame = r.varint()?;
        let [mb, pb, kb] = r.array()?;
        config = Config::new(frame, bits, mb, pb, kb).unwrap_or(config);
    }
    r.end()?;
    let known = Config::new(config.frame.into(), bits, config.mb, config.pb, config.kb).is_some();
    if !known || !(1..=CHANNELS_MAX).contains(&channels) {
        return Err(r.bad("packets that there cannot be"));
    }
    let &[mut pcm, decisions] = parts else { return Err(r.bad("it has two parts, samples and decisions")) };
    let mut out = Vec::with_capacity(bytes.min(limits::SEGMENT_BYTES as usize)); // 8 MiB
    let mut coder = Decoder::new(decisions);
    let mut decisions = Decisions::new(config);
    let mut packet = Packet::default();
    let frame_bytes = channels * pcm::sample_bytes(bits);
    while !pcm.is_empty() {
        if !decisions.packet(&mut coder, &mut packet) || packet.channel_count() != channels {
            return Err(r.bad("a packet's header that there cannot be"));
        }
        let (samples, rest) = pcm
            .split_at_checked(packet.samples * frame_bytes)
            .ok_or_else(|| r.bad("a packet needs more samples than there are"))?;
        pcm = rest;
        packet.make_room(channels);
        let known = pcm::take(samples, bits, &mut packet);
        let left = bytes.checked_sub(out.len());
        if !known || !left.is_some_and(|left| packet.write(&config, &mut out, left)) {
            return Err(r.bad("samples and decisions that make no packet"));
        }
        decisions.learn(&packet);
    }
    if !coder.is_at_end() {
        return Err(r.bad("decisions are left over"));
    }
    Ok(out)
}
