//! One FLAC frame (RFC 9639, section 9): its header, and what is coded of each channel.
//!
//! Owns reading a frame into samples and the encoder's decisions ([`Frame::read`]), and writing it from them
//! ([`Frame::write`]). How decisions are stored is `decisions`' concern, how samples are is `pcm`'s.
//!
//! # Invariants
//!
//! 1. What is read is written alike: a frame that could have been coded in two ways with the same decisions (padding
//!    that is not zero, numbers longer than needed) is refused.
//! 2. Samples lie within their bits, for left and right as for middle and side.
//! 3. Memory is that of one frame: at most 65,535 samples of 8 channels.

use super::bits::{BitReader, BitWriter};
use super::crc::{crc_8, crc_16};
use super::predict::{ORDER_MAX, Predictor, Sample};

/// The longest frame that is looked at. The longest that libFLAC writes (8 channels of 24 bits, 4,608 samples)
/// has 112 KiB.
pub(super) const FRAME_MAX: usize = 1 << 20;

/// Why bytes are no frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoFrame {
    /// They end within one.
    Short,
    /// Something else is there, for this reason.
    Bad(&'static str),
}

/// Channel assignments beyond the number of channels - 1.
pub(super) const LEFT_SIDE: u8 = 8;
pub(super) const SIDE_RIGHT: u8 = 9;
pub(super) const MIDDLE_SIDE: u8 = 10;

/// A frame's header but for its CRC.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Header {
    /// The number counts samples, not frames.
    pub variable: bool,
    /// 1 to 15; for 6 and 7 the size is the extra number + 1.
    pub block_code: u8,
    pub block_extra: u16,
    /// 0 to 14; 12 to 14 have an extra number.
    pub rate_code: u8,
    pub rate_extra: u16,
    /// 0 to 10.
    pub assignment: u8,
    /// 0 to 7, not 3.
    pub size_code: u8,
    /// Below 2^36.
    pub number: u64,
}

impl Header {
    /// Samples of each channel, 1 to 65,535; `None` for codes that are not allowed.
    pub fn block_samples(&self) -> Option<usize> {
        match self.block_code {
            1 => Some(192),
            2..=5 => Some(576 << (self.block_code - 2)),
            6 | 7 => Some(usize::from(self.block_extra) + 1).filter(|&n| n <= 0xffff),
            8..=15 => Some(256 << (self.block_code - 8)),
            _ => None,
        }
    }

    /// Channels; 1 to 8.
    pub fn channels(&self) -> usize {
        if self.assignment >= LEFT_SIDE { 2 } else { usize::from(self.assignment) + 1 }
    }

    /// Bits of a sample, where the stream says `stream`; `None` if it is not known.
    pub fn bits(&self, stream: Option<u8>) -> Option<u8> {
        match self.size_code {
            0 => stream,
            1 => Some(8),
            2 => Some(12),
            4 => Some(16),
            5 => Some(20),
            6 => Some(24),
            7 => Some(32),
            _ => None,
        }
    }

    /// Whether a channel is the difference of two.
    pub fn is_side(&self, channel: usize) -> bool {
        match self.assignment {
            LEFT_SIDE | MIDDLE_SIDE => channel == 1,
            SIDE_RIGHT => channel == 0,
            _ => false,
        }
    }

    /// Whether all fields have values that a header may have.
    pub fn is_sound(&self) -> bool {
        let extra = match self.block_code {
            6 => self.block_extra <= 0xff,
            7 => true,
            _ => self.block_extra == 0,
        } && match self.rate_code {
            12 => self.rate_extra <= 0xff,
            13 | 14 => true,
            _ => self.rate_extra == 0,
        };
        extra
            && self.block_samples().is_some()
            && self.rate_code < 15
            && self.assignment <= MIDDLE_SIDE
            && self.size_code < 8
            && self.size_code != 3
            && self.number < 1 << 36
    }

    /// Reads a header; also its length, CRC included.
    pub fn read(bytes: &[u8]) -> Result<(Header, usize), NoFrame> {
        let bad = Err(NoFrame::Bad("flac: no frame where one should be"));
        let &[a, b, c, d, ref rest @ ..] = bytes else {
            let none = bytes.first().is_some_and(|&a| a != 0xff) || bytes.get(1).is_some_and(|&b| b & 0xfe != 0xf8);
            return if none { bad } else { Err(NoFrame::Short) };
        };
        if a != 0xff || b & 0xfe != 0xf8 || d & 1 != 0 {
            return bad;
        }
        let mut rest = rest.iter();
        let mut next = || rest.next().map(|&b| u32::from(b)).ok_or(NoFrame::Short);
        let first = next()?;
        // As UTF-8, but up to seven bytes.
        let more = match (first as u8).leading_ones() {
            0 => 0,
            1 | 8 => return bad,
            ones => ones - 1,
        };
        let mut number = u64::from(first & (0x7f >> more >> u32::from(more > 0)));
        for _ in 0..more {
            let byte = next()?;
            if byte & 0xc0 != 0x80 {
                return bad;
            }
            number = number << 6 | u64::from(byte & 0x3f);
        }
        if more != number_more(number) {
            return bad;
        }
        let block_code = c >> 4;
        let block_extra = match block_code {
            6 => next()?,
            7 => next()? << 8 | next()?,
            _ => 0,
        };
        let rate_code = c & 15;
        let rate_extra = match rate_code {
            12 => next()?,
            13 | 14 => next()? << 8 | next()?,
            _ => 0,
        };
        let crc = next()?;
        let used = bytes.len() - rest.len();
        let header = Header {
            variable: b & 1 == 1,
            block_code,
            block_extra: block_extra as u16, // of two bytes
            rate_code,
            rate_extra: rate_extra as u16, // of two bytes
            assignment: d >> 4,
            size_code: d >> 1 & 7,
            number,
        };
        let checked = bytes.get(..used - 1).map(crc_8); // a byte at least was used
        if !header.is_sound() || checked.map(u32::from) != Some(crc) {
            return bad;
        }
        Ok((header, used))
    }

    /// Appends a sound header and its CRC.
    pub fn write(&self, out: &mut Vec<u8>) {
        let begin = out.len();
        out.extend([0xff, 0xf8 | u8::from(self.variable)]);
        // Codes of 4, 4, 4 and 3 bits.
        out.extend([self.block_code << 4 | self.rate_code, self.assignment << 4 | self.size_code << 1]);
        let more = number_more(self.number);
        // Below 2^36: at most six bytes follow, and what is left for the first fits it.
        let ones = if more == 0 { 0 } else { !(0xff_u8 >> (more + 1)) };
        out.push(ones | (self.number >> (6 * more)) as u8);
        for i in (0..more).rev() {
            out.push(0x80 | (self.number >> (6 * i)) as u8 & 0x3f);
        }
        let [high, low] = self.block_extra.to_be_bytes();
        match self.block_code {
            6 => out.push(low),
            7 => out.extend([high, low]),
            _ => {}
        }
        let [high, low] = self.rate_extra.to_be_bytes();
        match self.rate_code {
            12 => out.push(low),
            13 | 14 => out.extend([high, low]),
            _ => {}
        }
        out.push(crc_8(out.get(begin..).unwrap_or_default()));
    }
}

/// Bytes behind the first of a number's code.
fn number_more(number: u64) -> u32 {
    match 64 - number.leading_zeros() {
        0..=7 => 0,
        8..=11 => 1,
        bits => (bits - 2) / 5, // 16, 21, 26, 31, 36 bits take 2 to 6
    }
}

/// How a channel is coded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Kind {
    #[default]
    Constant,
    Verbatim,
    Fixed,
    Linear,
}

/// In a partition's parameter: not Rice, but so many bits a value.
pub(super) const RAW: u8 = 0x80;

/// An encoder's decisions for a channel.
#[derive(Clone, Debug)]
pub(super) struct Subframe {
    pub kind: Kind,
    /// Low bits that are 0 in all samples, below the bits of a sample.
    pub wasted: u32,
    /// Of [`Kind::Fixed`] at most 4, of [`Kind::Linear`] 1 to 32, else 0.
    pub order: usize,
    /// Bits of a coefficient, 1 to 15.
    pub precision: u32,
    /// 0 to 15.
    pub shift: u32,
    pub coefficients: [i32; ORDER_MAX],
    /// Rice parameters have five bits.
    pub five_bits: bool,
    /// At most 15.
    pub partition_order: u32,
    /// Of each partition: a Rice parameter, or [`RAW`] and a width.
    pub parameters: Vec<u8>,
}

impl Default for Subframe {
    fn default() -> Subframe {
        Subframe {
            kind: Kind::Constant,
            wasted: 0,
            order: 0,
            precision: 1,
            shift: 0,
            coefficients: [0; ORDER_MAX],
            five_bits: false,
            partition_order: 0,
            parameters: Vec::new(),
        }
    }
}

impl Subframe {
    /// The predictor for samples of `bits` bits.
    pub fn predictor(&self, bits: u32) -> Predictor {
        match self.kind {
            Kind::Linear => Predictor::linear(self.order, self.shift, self.coefficients, self.precision, bits),
            _ => Predictor::fixed(self.order),
        }
    }

    /// Whether residuals are coded.
    pub fn has_residual(&self) -> bool {
        matches!(self.kind, Kind::Fixed | Kind::Linear)
    }

    /// Whether partitions of this order are possible.
    pub fn may_partition(&self, partition_order: u32, samples: usize) -> bool {
        partition_order <= 15
            && samples.is_multiple_of(1 << partition_order)
            && samples >> partition_order >= self.order
    }
}

/// One frame. Buffers are used again for the next one.
#[derive(Debug, Default)]
pub(super) struct Frame {
    pub header: Header,
    pub subframes: Vec<Subframe>,
    /// Samples as they were coded: left and right, or middle and side.
    pub samples: Vec<Vec<i32>>,
    /// Those of a channel of 33 bits.
    pub wide: Vec<i64>,
    /// What prediction left, without the first `order` samples.
    pub residuals: Vec<Vec<i32>>,
    writer: BitWriter,
}

impl Frame {
    /// Makes room for a header's channels.
    pub fn begin(&mut self, header: Header) {
        self.header = header;
        let (channels, samples) = (header.channels(), header.block_samples().unwrap_or_default());
        self.subframes.resize_with(channels.max(self.subframes.len()), Subframe::default);
        for buffers in [&mut self.samples, &mut self.residuals] {
            buffers.resize_with(channels.max(buffers.len()), Vec::new);
            for buffer in buffers.iter_mut().take(channels) {
                buffer.resize(samples, 0);
            }
        }
    }

    /// Reads the frame that starts `bytes`, and says how long it is. `stream` is the bits of a sample that STREAMINFO
    /// tells.
    pub fn read(&mut self, bytes: &[u8], stream: Option<u8>) -> Result<usize, NoFrame> {
        let (header, at) = Header::read(bytes)?;
        let bits = header.bits(stream).filter(|b| (4..=32).contains(b));
        let bits = u32::from(bits.ok_or(NoFrame::Bad("flac: samples of an unknown size"))?);
        let samples = header.block_samples().unwrap_or_default(); // it is sound
        self.begin(header);
        let mut r = BitReader::new(bytes.get(at..).unwrap_or_default());
        let mut read = || {
            let channels = self.subframes.iter_mut().zip(&mut self.samples).zip(&mut self.residuals);
            for (i, ((subframe, narrow), residual)) in channels.take(header.channels()).enumerate() {
                let bits = bits + u32::from(header.is_side(i));
                if bits > 32 {
                    self.wide.resize(samples, 0);
                    read_subframe(&mut r, subframe, &mut self.wide, residual, bits)?;
                } else {
                    read_subframe(&mut r, subframe, narrow, residual, bits)?;
                }
            }
            if r.padding() == 0 { Ok(()) } else { Err("flac: bits behind a frame that are not zero") }
        };
        let read = read();
        if r.is_beyond() {
            return Err(NoFrame::Short);
        }
        read.map_err(NoFrame::Bad)?;
        let end = at + r.position() / 8;
        let (Some(body), Some(crc)) = (bytes.get(..end), bytes.get(end..).and_then(<[u8]>::first_chunk::<2>)) else {
            return Err(NoFrame::Short);
        };
        if crc_16(body) != u16::from_be_bytes(*crc) {
            return Err(NoFrame::Bad("flac: a frame with a wrong CRC"));
        }
        Ok(end + 2)
    }

    /// Appends the frame that was put together here; at most `max` bytes and some. False beyond that, and for decisions
    /// that no frame can have.
    pub fn write(&mut self, bits: u32, out: &mut Vec<u8>, max: usize) -> bool {
        let begin = out.len();
        self.header.write(out);
        let w = &mut self.writer;
        w.begin(max);
        let channels = self.subframes.iter().zip(&self.samples).zip(&self.residuals);
        for (i, ((subframe, narrow), residual)) in channels.take(self.header.channels()).enumerate() {
            let bits = bits + u32::from(self.header.is_side(i));
            let written = if bits > 32 {
                write_subframe(w, subframe, &self.wide, residual, bits)
            } else {
                write_subframe(w, subframe, narrow, residual, bits)
            };
            if !written {
                return false;
            }
        }
        w.pad();
        out.extend_from_slice(w.bytes());
        let crc = crc_16(out.get(begin..).unwrap_or_default());
        out.extend(crc.to_be_bytes());
        true
    }
}

/// Whether all samples are numbers of so many bits.
pub(super) fn are_within<T: Sample>(samples: &[T], bits: u32) -> bool {
    let fold = |v: T| -> i64 {
        let v: i64 = v.into();
        v ^ v >> 63
    };
    samples.iter().fold(0_i64, |all, &v| all | fold(v)) >> (bits - 1) == 0
}

type Read<T> = Result<T, &'static str>;

fn read_subframe<T: Sample>(
    r: &mut BitReader<'_>,
    subframe: &mut Subframe,
    samples: &mut [T],
    residual: &mut Vec<i32>,
    bits: u32,
) -> Read<()> {
    let head = r.take(8);
    let wasted =
        if head & 1 == 1 { r.unary().ok_or("flac: the file ends within a frame")?.saturating_add(1) } else { 0 };
    let bits = bits.checked_sub(wasted).filter(|&b| b > 0).ok_or("flac: more wasted bits than there are")?;
    let (kind, order) = match head >> 1 {
        0 => (Kind::Constant, 0),
        1 => (Kind::Verbatim, 0),
        code @ 8..=12 => (Kind::Fixed, code - 8),
        code @ 32..=63 => (Kind::Linear, code - 31),
        _ => return Err("flac: a reserved kind of subframe"),
    };
    subframe.kind = kind;
    subframe.wasted = wasted;
    subframe.order = order as usize; // at most 32
    let (first, rest) =
        samples.split_at_mut_checked(subframe.order).ok_or("flac: a predictor longer than its frame")?;
    match kind {
        Kind::Constant => rest.fill(T::wrap(r.take_signed(bits))),
        Kind::Verbatim => rest.iter_mut().for_each(|s| *s = T::wrap(r.take_signed(bits))),
        Kind::Fixed | Kind::Linear => {
            first.iter_mut().for_each(|s| *s = T::wrap(r.take_signed(bits)));
            if kind == Kind::Linear {
                read_coefficients(r, subframe)?;
            }
            residual.resize(rest.len(), 0);
            read_residual(r, subframe, residual, samples.len())?;
            T::restore(samples, residual, &subframe.predictor(bits));
        }
    }
    if !are_within(samples, bits) {
        return Err("flac: a sample beyond its bits");
    }
    if wasted > 0 {
        samples.iter_mut().for_each(|s| *s = T::wrap((*s).into() << wasted));
    }
    Ok(())
}

fn read_coefficients(r: &mut BitReader<'_>, subframe: &mut Subframe) -> Read<()> {
    subframe.precision = r.take(4) + 1;
    subframe.shift = r.take(5);
    if subframe.precision > 15 || subframe.shift > 15 {
        return Err("flac: a predictor that is not allowed");
    }
    subframe.coefficients = [0; ORDER_MAX];
    for c in subframe.coefficients.iter_mut().take(subframe.order) {
        *c = r.take_signed(subframe.precision) as i32; // 15 bits
    }
    Ok(())
}

fn read_residual(r: &mut BitReader<'_>, subframe: &mut Subframe, residual: &mut [i32], samples: usize) -> Read<()> {
    let method = r.take(2);
    if method > 1 {
        return Err("flac: a reserved way to code residuals");
    }
    subframe.five_bits = method == 1;
    subframe.partition_order = r.take(4);
    if !subframe.may_partition(subframe.partition_order, samples) {
        return Err("flac: partitions that do not fit");
    }
    subframe.parameters.clear();
    let parameter_bits = 4 + method;
    let each = samples >> subframe.partition_order;
    let mut rest = residual;
    for i in 0..1 << subframe.partition_order {
        let count = if i == 0 { each - subframe.order } else { each }; // `may_partition`
        let Some((values, after)) = rest.split_at_mut_checked(count) else { return Ok(()) };
        rest = after;
        let parameter = r.take(parameter_bits);
        if parameter < (1 << parameter_bits) - 1 {
            subframe.parameters.push(parameter as u8); // below 31
            if !r.rice(parameter, values) {
                return Err("flac: a residual beyond 32 bits");
            }
        } else {
            let width = r.take(5);
            subframe.parameters.push(RAW | width as u8); // below 32
            values.iter_mut().for_each(|v| *v = r.take_signed(width) as i32); // of so many bits
        }
        if r.is_beyond() {
            return Err("flac: the file ends within a frame");
        }
    }
    Ok(())
}

fn write_subframe<T: Sample>(
    w: &mut BitWriter,
    subframe: &Subframe,
    samples: &[T],
    residual: &[i32],
    bits: u32,
) -> bool {
    let order = subframe.order as u64; // at most 32
    let code = match subframe.kind {
        Kind::Constant => 0,
        Kind::Verbatim => 1,
        Kind::Fixed => 8 + order,
        Kind::Linear => 31 + order,
    };
    w.put(8, code << 1 | u64::from(subframe.wasted > 0));
    if subframe.wasted > 0 && !w.unary(subframe.wasted - 1) {
        return false;
    }
    let bits = bits.saturating_sub(subframe.wasted);
    let plain = match subframe.kind {
        Kind::Constant => 1,
        Kind::Verbatim => samples.len(),
        Kind::Fixed | Kind::Linear => subframe.order,
    };
    for &sample in samples.iter().take(plain) {
        w.put_signed(bits, sample.into() >> subframe.wasted);
    }
    if subframe.kind == Kind::Linear {
        w.put(4, u64::from(subframe.precision - 1)); // 1 at least
        w.put(5, u64::from(subframe.shift));
        for &c in subframe.coefficients.iter().take(subframe.order) {
            w.put_signed(subframe.precision, c.into());
        }
    }
    if !subframe.has_residual() {
        return w.reserve(0);
    }
    let parameter_bits = 4 + u32::from(subframe.five_bits);
    w.put(2, u64::from(subframe.five_bits));
    w.put(4, u64::from(subframe.partition_order));
    let each = samples.len() >> subframe.partition_order;
    let mut rest = residual;
    for (i, &parameter) in subframe.parameters.iter().enumerate() {
        let count = if i == 0 { each.saturating_sub(subframe.order) } else { each };
        let Some((values, after)) = rest.split_at_checked(count) else { return false };
        rest = after;
        if parameter & RAW == 0 {
            w.put(parameter_bits, u64::from(parameter));
            if !w.rice(u32::from(parameter).min(30), values) {
                return false;
            }
        } else {
            let width = u32::from(parameter & 31);
            w.put(parameter_bits, (1 << parameter_bits) - 1);
            w.put(5, u64::from(width));
            values.iter().for_each(|&v| w.put_signed(width, v.into()));
        }
    }
    rest.is_empty() && w.reserve(0)
}
