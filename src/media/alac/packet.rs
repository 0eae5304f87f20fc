//! A packet: reading, and writing from samples and decisions. Where it ends is in its bits alone.
//!
//! ```text
//! packet  := element* 111:3 zeros to the next byte
//! element := tag:3 instance:4 unused:12 partial:1 shifted:2 escape:1 samples:32? body      samples, if partial
//! body    := sample*                                                                       if escape
//!          | mix_bits:8 mix_res:8 predictor{channels} low* value*                          else
//! predictor := mode:4 shift:4 factor:3 order:5 coefficient:16{order}
//!             tag: 0 one channel, 1 two, 3 one of low sounds
//!             low: the lowest `shifted` bytes of each sample, which are not predicted; value: see `golomb`
//! ```
//! (`ALACDecoder.cpp` and `ALACEncoder.cpp` of Apple's reference.) Escaped samples, and the low bytes, of two channels
//! alternate; the values of the second channel come behind those of the first.
//!
//! # Invariants
//!
//! 1. What [`Packet::read`] takes, [`Packet::write`] gives from samples and decisions, bit for bit: what could be coded
//!    in two ways is refused.
//! 2. Memory is that of [`FRAME_MAX`] samples of [`CHANNELS_MAX`] channels; work is linear in samples and bytes.

use super::golomb;
use super::predict::{ORDER_MAX, Predictor};
use crate::media::flac::bits::{BitReader, BitWriter};

/// Channels of a packet.
pub(super) const CHANNELS_MAX: usize = 8;
/// Samples that each channel of a packet has, at most.
pub(super) const FRAME_MAX: u16 = 8192;
/// Bytes of a packet: more than 41 bits for each of its samples, and its headers.
pub(super) const PACKET_MAX: usize = 384 << 10;

const _: () = assert!(PACKET_MAX > FRAME_MAX as usize * CHANNELS_MAX * 41 / 8 + CHANNELS_MAX * 256);

/// Bytes of a cookie.
const COOKIE_BYTES: usize = 24;

/// One channel.
pub(super) const ONE: u8 = 0;
/// Two channels.
pub(super) const PAIR: u8 = 1;
/// One channel of low sounds.
pub(super) const LOW: u8 = 3;
/// No further element.
const END: u8 = 7;

/// What the *magic cookie* of a file says of all its packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// Samples of a channel in a packet that does not tell: 1 to [`FRAME_MAX`].
    pub(super) frame: u16,
    /// Bits of a sample: 16, 20, 24 or 32.
    pub(super) bits: u8,
    /// The mean that values begin with.
    pub(super) mb: u8,
    /// How fast it follows.
    pub(super) pb: u8,
    /// The most bits of a rest: 8 to 16.
    pub(super) kb: u8,
}

impl Config {
    /// What all encoders use.
    pub const fn usual(bits: u8) -> Config {
        Config { frame: 4096, bits, mb: 10, pb: 40, kb: 14 }
    }

    /// If it can be.
    pub(super) fn new(frame: u64, bits: u8, mb: u8, pb: u8, kb: u8) -> Option<Config> {
        let frame = u16::try_from(frame).ok().filter(|n| (1..=FRAME_MAX).contains(n))?;
        let known = matches!(bits, 16 | 20 | 24 | 32) && (8..=16).contains(&kb);
        known.then_some(Config { frame, bits, mb, pb, kb })
    }

    /// Reads a cookie, alone or behind the boxes that older writers put before it; `None` for one that is not known.
    pub fn read(cookie: &[u8]) -> Option<Config> {
        let behind = |cookie: &'_ [u8], name: &[u8; 4]| cookie.get(4..8) == Some(name);
        let cookie = if behind(cookie, b"frma") { cookie.get(12..)? } else { cookie };
        let cookie = if behind(cookie, b"alac") { cookie.get(12..)? } else { cookie };
        let &[a, b, c, d, version, bits, pb, mb, kb, _, ..] = cookie.get(..COOKIE_BYTES)? else { return None };
        if version != 0 {
            return None;
        }
        Config::new(u32::from_be_bytes([a, b, c, d]).into(), bits, mb, pb, kb)
    }
}

/// What an encoder decided of one or two channels.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Element {
    /// [`ONE`], [`PAIR`] or [`LOW`].
    pub tag: u8,
    /// 4 bits.
    pub instance: u8,
    /// 12 bits.
    pub unused: u16,
    /// It tells the number of samples.
    pub partial: bool,
    /// Bytes of a sample that are not predicted: 0 to 2.
    pub shifted: u8,
    /// Samples stand as they are.
    pub escape: bool,
    /// How two channels are mixed, see [`mix`]. At most 31.
    pub mix_bits: u8,
    /// As a signed number.
    pub mix_res: u8,
    /// Of each channel.
    pub predictors: [Predictor; 2],
}

impl Element {
    pub fn channels(&self) -> usize {
        if self.tag == PAIR { 2 } else { 1 }
    }

    /// Bits of a value of one of its channels; `None` for what there cannot be.
    pub fn bits(&self, config: &Config) -> Option<u32> {
        let bits = u32::from(config.bits).checked_sub(8 * u32::from(self.shifted)).filter(|bits| *bits > 0)?;
        // A difference takes one more.
        Some(bits + u32::from(self.tag == PAIR)).filter(|bits| *bits <= 32)
    }

    /// Whether all its numbers are ones that a packet can have.
    pub fn is_sound(&self, config: &Config) -> bool {
        matches!(self.tag, ONE | PAIR | LOW)
            && if self.escape { self.shifted == 0 } else { self.bits(config).is_some() && self.mix_bits < 32 }
    }
}

/// Why there is no packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoPacket {
    /// It goes on beyond what was shown.
    Short,
    /// For this reason.
    Bad(&'static str),
}

/// One packet. Its buffers are used again for the next.
#[derive(Debug, Default)]
pub(super) struct Packet {
    pub elements: Vec<Element>,
    /// Of each channel.
    pub samples: usize,
    /// In the packet's order, at least as many as its elements have.
    pub channels: Vec<Vec<i32>>,
    residual: Vec<i32>,
    writer: BitWriter,
}

/// Reads an element's header up to its body.
fn read_header(r: &mut BitReader<'_>, tag: u8) -> Element {
    let mut bits = |count| r.take(count);
    Element {
        tag,
        instance: bits(4) as u8,
        unused: bits(12) as u16,
        partial: bits(1) == 1,
        shifted: bits(2) as u8,
        escape: bits(1) == 1,
        ..Element::default()
    }
}

impl Packet {
    /// Channels of all elements: at most [`CHANNELS_MAX`].
    pub fn channel_count(&self) -> usize {
        self.elements.iter().map(Element::channels).sum()
    }

    /// Makes room for so many channels of as many samples as the packet has.
    pub fn make_room(&mut self, channels: usize) {
        if self.channels.len() < channels {
            self.channels.resize_with(channels, Vec::new);
        }
        for channel in self.channels.iter_mut().take(channels) {
            channel.resize(self.samples, 0);
        }
    }

    /// Reads the packet that starts `bytes`; returns its bytes.
    pub fn read(&mut self, bytes: &[u8], config: &Config) -> Result<usize, NoPacket> {
        let mut r = BitReader::new(bytes);
        match self.read_elements(&mut r, config) {
            // What comes from behind the end is worth nothing.
            Ok(()) | Err(_) if r.is_beyond() => Err(NoPacket::Short),
            Ok(()) => Ok(r.position() / 8),
            Err(reason) => Err(NoPacket::Bad(reason)),
        }
    }

    fn read_elements(&mut self, r: &mut BitReader<'_>, config: &Config) -> Result<(), &'static str> {
        self.elements.clear();
        let mut channels = 0;
        loop {
            let tag = r.take(3) as u8; // 3 bits
            if tag == END && channels > 0 {
                break;
            }
            let mut element = read_header(r, tag);
            if !matches!(tag, ONE | PAIR | LOW) || element.shifted == 3 {
                return Err("alac: no packet where one should be");
            }
            let samples = if element.partial { r.take(32) } else { config.frame.into() };
            if self.elements.is_empty() {
                if samples == 0 || samples > u32::from(config.frame) {
                    return Err("alac: a packet of another length");
                }
                self.samples = samples as usize; // at most FRAME_MAX
            }
            let first = channels;
            channels += element.channels();
            if self.samples != samples as usize || channels > CHANNELS_MAX {
                return Err("alac: channels of several lengths, or too many");
            }
            self.make_room(channels);
            let room = self.channels.get_mut(first..channels).unwrap_or_default(); // there is
            read_body(r, config, &mut element, room)?;
            if r.is_beyond() {
                return Ok(()); // which is not looked at
            }
            self.elements.push(element);
        }
        if r.padding() != 0 {
            return Err("alac: something between two packets");
        }
        Ok(())
    }

    /// Appends the packet, if it has at most `max` bytes, from its samples and decisions. False where there cannot be
    /// such a packet. There must be room for all channels ([`Packet::make_room`]).
    pub fn write(&mut self, config: &Config, out: &mut Vec<u8>, max: usize) -> bool {
        let w = &mut self.writer;
        w.begin(max);
        let mut first = 0;
        for element in &mut self.elements {
            let count = element.channels();
            let Some(channels) = self.channels.get_mut(first..first + count) else { return false };
            first += count;
            if !write_element(w, config, element, channels, &mut self.residual) {
                return false;
            }
        }
        w.put(3, END.into());
        w.pad();
        let bytes = w.bytes();
        out.extend_from_slice(bytes);
        bytes.len() <= max && first > 0
    }
}

/// Reads what follows an element's header.
fn read_body(
    r: &mut BitReader<'_>,
    config: &Config,
    element: &mut Element,
    channels: &mut [Vec<i32>],
) -> Result<(), &'static str> {
    let samples = channels.first().map_or(0, Vec::len);
    if element.escape {
        if !element.is_sound(config) {
            return Err("alac: escaped samples without their low bytes");
        }
        let bits = config.bits.into();
        for i in 0..samples {
            for channel in channels.iter_mut() {
                if let Some(to) = channel.get_mut(i) {
                    *to = r.take_signed(bits) as i32; // at most 32 bits
                }
            }
            if r.is_beyond() {
                break;
            }
        }
        return Ok(());
    }
    element.mix_bits = r.take(8) as u8; // of 8 bits, 8 bits, 4, 4, 3, 5 and 16
    element.mix_res = r.take(8) as u8;
    for predictor in element.predictors.iter_mut().take(channels.len()) {
        *predictor = Predictor {
            mode: r.take(4) as u8,
            shift: r.take(4) as u8,
            factor: r.take(3) as u8,
            order: r.take(5) as u8,
            ..Predictor::default()
        };
        for c in predictor.coefficients.iter_mut().take(predictor.order.into()) {
            *c = (r.take(16) as u16).cast_signed();
        }
    }
    let Some(bits) = element.bits(config).filter(|_| element.is_sound(config)) else {
        return Err("alac: a mix that there is not, or samples of no bits");
    };
    let mut lows = r.clone();
    let low_bits = 8 * u32::from(element.shifted);
    r.pass_many(low_bits as usize * samples * channels.len());
    for (channel, predictor) in channels.iter_mut().zip(&mut element.predictors) {
        if r.is_beyond() {
            return Ok(());
        }
        if !golomb::read(r, config, predictor.factor, bits, channel) {
            return Err("alac: values that are coded in another way");
        }
        predictor.restore(channel, bits);
    }
    let own = u32::from(config.bits) - low_bits; // `bits` is not less
    let within = match channels {
        [left, right] => unmix(left, right, element.mix_bits, element.mix_res) >> (own - 1) == 0,
        _ => true, // the values have as many
    };
    if !within {
        return Err("alac: a sample beyond its bits");
    }
    match (channels, low_bits) {
        (_, 0) => {}
        ([left, right], _) => {
            for (l, r) in left.iter_mut().zip(right) {
                // 8 or 16 bits, which the samples have room for.
                *l = *l << low_bits | lows.take(low_bits).cast_signed();
                *r = *r << low_bits | lows.take(low_bits).cast_signed();
            }
        }
        (channels, _) => {
            for sample in channels.iter_mut().flatten() {
                *sample = *sample << low_bits | lows.take(low_bits).cast_signed();
            }
        }
    }
    Ok(())
}

/// `mix_res` as the number that it is.
fn res(mix_res: u8) -> i32 {
    mix_res.cast_signed().into()
}

/// Mixed channels to left and right; returns all bits that say how large these are.
fn unmix(u: &mut [i32], v: &mut [i32], mix_bits: u8, mix_res: u8) -> i32 {
    let res = res(mix_res);
    let mut all = 0;
    if res != 0 {
        for (u, v) in u.iter_mut().zip(v.iter_mut()) {
            let left = u.wrapping_add(*v).wrapping_sub(res.wrapping_mul(*v) >> mix_bits);
            let right = left.wrapping_sub(*v);
            (*u, *v) = (left, right);
            all |= (left ^ left >> 31) | (right ^ right >> 31);
        }
    } else {
        for (u, v) in u.iter().zip(v.iter()) {
            all |= (u ^ u >> 31) | (v ^ v >> 31);
        }
    }
    all
}

/// Left and right to mixed channels; returns as [`unmix`], of these.
fn mix(left: &mut [i32], right: &mut [i32], mix_bits: u8, mix_res: u8) -> i32 {
    let res = res(mix_res);
    let mut all = 0;
    if res != 0 {
        for (l, r) in left.iter_mut().zip(right.iter_mut()) {
            let v = l.wrapping_sub(*r);
            let u = r.wrapping_add(res.wrapping_mul(v) >> mix_bits);
            (*l, *r) = (u, v);
            all |= (u ^ u >> 31) | (v ^ v >> 31);
        }
    } else {
        for (l, r) in left.iter().zip(right.iter()) {
            all |= (l ^ l >> 31) | (r ^ r >> 31);
        }
    }
    all
}

/// Writes an element; the samples are used up.
fn write_element(
    w: &mut BitWriter,
    config: &Config,
    element: &mut Element,
    channels: &mut [Vec<i32>],
    residual: &mut Vec<i32>,
) -> bool {
    let samples = channels.first().map_or(0, Vec::len);
    if !element.is_sound(config) || (!element.partial && samples != usize::from(config.frame)) {
        return false;
    }
    w.put(3, element.tag.into());
    w.put(4, element.instance.into());
    w.put(12, element.unused.into());
    w.put(4, u64::from(element.partial) << 3 | u64::from(element.shifted) << 1 | u64::from(element.escape));
    if element.partial {
        w.put(32, samples as u64); // at most FRAME_MAX
    }
    // Of two channels, a sample of each in turn.
    if !w.reserve(4 * samples * channels.len()) {
        return false;
    }
    if element.escape {
        let bits = u32::from(config.bits);
        let mask = u64::MAX >> (64 - bits);
        for i in 0..samples {
            for sample in channels.iter().filter_map(|channel| channel.get(i)) {
                w.put_in_room(bits, i64::from(*sample).cast_unsigned() & mask);
            }
        }
        return true;
    }
    let Some(bits) = element.bits(config) else { return false };
    w.put(16, u64::from(element.mix_bits) << 8 | u64::from(element.mix_res));
    for p in element.predictors.iter().take(channels.len()) {
        w.put(16, u64::from(p.mode) << 12 | u64::from(p.shift) << 8 | u64::from(p.factor) << 5 | u64::from(p.order));
        for c in p.coefficients.iter().take(p.order.into()) {
            w.put(16, c.cast_unsigned().into());
        }
    }
    let low_bits = 8 * u32::from(element.shifted);
    if low_bits > 0 {
        if !w.reserve(4 * samples * channels.len()) {
            return false;
        }
        let mask = u64::MAX >> (64 - low_bits);
        for i in 0..samples {
            for sample in channels.iter().filter_map(|channel| channel.get(i)) {
                w.put_in_room(low_bits, i64::from(*sample).cast_unsigned() & mask);
            }
        }
        channels.iter_mut().flatten().for_each(|sample| *sample >>= low_bits);
    }
    if let [left, right] = channels
        && mix(left, right, element.mix_bits, element.mix_res) >> (bits - 1) != 0
    {
        return false;
    }
    for (channel, predictor) in channels.iter_mut().zip(&mut element.predictors) {
        predictor.residual(channel, residual, bits);
        if !golomb::write(w, config, predictor.factor, bits, residual) {
            return false;
        }
    }
    true
}

const _: () = assert!(ORDER_MAX == 31);
