//! The encoder's decisions of a frame, coded: what its samples do not tell.
//!
//! One description for both ways, see [`Coder`]. What can be computed costs next to nothing: the header is expected to
//! be like the one before; wasted bits and constant channels are seen in the samples; partition order and Rice
//! parameters are expected as libFLAC chooses them from the residual (`find_best_partition_order_` and
//! `set_partitioned_rice_` of its `stream_encoder.c`), which both ways know by then.
//!
//! ```text
//! frame     := header subframe{channels}
//! header    := same:bit field{5}?  assignment:tree(4)             field: changed:bit value:raw?
//! subframe  := kind:tree(2) wasted predictor? residual?
//! wasted    := computed:bit bits:raw(6)?
//! predictor := order:tree(3)                                                 fixed
//!            | order-1:tree(5) precision shift:tree(4) coefficient{order}      linear
//! ```
//! FORMAT.md has the contexts.
//!
//! # Invariants
//!
//! 1. Total: any coded bytes are some decisions that a frame can have, or an error.
//! 2. Work is linear in the samples, and bounded for each partition.

use super::frame::{Frame, Header, Kind, MIDDLE_SIDE, RAW, Subframe};
use super::predict::{ORDER_MAX, Sample};
use super::range::{Bit, Coder};

/// The finest partition order that is expected.
const FINEST_MAX: u32 = 10;

/// Models and what came before.
#[derive(Debug)]
pub(super) struct Decisions {
    /// Bits of a sample.
    bits: u32,
    /// Of the next frame.
    expected: Header,
    same_header: Bit,
    changed: [Bit; 5],
    assignment: [[Bit; 16]; 16],
    kind: [[Bit; 4]; 8],
    last_kinds: [usize; 8],
    wasted: [Bit; 2],
    fixed_order: [[Bit; 8]; 2],
    linear_order: [[Bit; 32]; 2],
    precision: u32,
    same_precision: Bit,
    shift: [[Bit; 16]; 2],
    /// Bits of a coefficient's size, by its place.
    size: [[[Bit; 16]; ORDER_MAX]; 2],
    sign: [[Bit; ORDER_MAX]; 2],
    second: [[[Bit; 4]; 16]; ORDER_MAX],
    five_bits: [Bit; 2],
    /// The finest partition order so far.
    finest: u32,
    expected_partitions: [Bit; 2],
    last_partitions_expected: bool,
    partitions: [Bit; 16],
    parameter: Parameters,
    /// A tree of sums, the root at 1.
    sums: Vec<u64>,
}

/// Models of Rice parameters.
#[derive(Debug, Default)]
struct Parameters {
    /// By where in its range the mean lies, and whether the last ones were as expected.
    expected: [[Bit; 3]; 16],
    up: [Bit; 16],
    further: [[Bit; 8]; 2],
}

impl Decisions {
    /// Starts before a frame whose header will most likely be `expected`.
    pub fn new(bits: u32, expected: Header) -> Decisions {
        Decisions {
            bits,
            expected,
            same_header: Bit::default(),
            changed: Default::default(),
            assignment: Default::default(),
            kind: Default::default(),
            last_kinds: [Kind::Linear as usize; 8],
            wasted: Default::default(),
            fixed_order: Default::default(),
            linear_order: Default::default(),
            precision: 12,
            same_precision: Bit::default(),
            shift: Default::default(),
            size: Default::default(),
            sign: Default::default(),
            second: Default::default(),
            five_bits: Default::default(),
            finest: 0,
            expected_partitions: Default::default(),
            last_partitions_expected: true,
            partitions: Default::default(),
            parameter: Parameters::default(),
            sums: Vec::new(),
        }
    }

    /// Codes a header; `None` if it is none that a frame can have.
    pub fn header<C: Coder>(&mut self, c: &mut C, header: &Header) -> Option<Header> {
        let mut e = self.expected;
        let last_assignment = usize::from(e.assignment.min(MIDDLE_SIDE));
        let same = Header { assignment: e.assignment, ..*header } == e;
        if !c.bit(&mut self.same_header, same) {
            let mut field = |i: usize, same: bool| match self.changed.get_mut(i) {
                Some(model) => c.bit(model, !same),
                None => false,
            };
            let changed = [
                field(0, header.variable == e.variable),
                field(1, (header.block_code, header.block_extra) == (e.block_code, e.block_extra)),
                field(2, (header.rate_code, header.rate_extra) == (e.rate_code, e.rate_extra)),
                field(3, header.size_code == e.size_code),
                field(4, header.number == e.number),
            ];
            // Each is read with as many bits as it has.
            let mut raw = |count, value: u64| u64::from(c.raw(count, value as u32));
            if changed[0] {
                e.variable = !e.variable;
            }
            if changed[1] {
                e.block_code = raw(4, header.block_code.into()) as u8;
                let bits = [8, 16].get(usize::from(e.block_code).wrapping_sub(6)).copied().unwrap_or(0);
                e.block_extra = raw(bits, header.block_extra.into()) as u16;
            }
            if changed[2] {
                e.rate_code = raw(4, header.rate_code.into()) as u8;
                let bits = [8, 16, 16].get(usize::from(e.rate_code).wrapping_sub(12)).copied().unwrap_or(0);
                e.rate_extra = raw(bits, header.rate_extra.into()) as u16;
            }
            if changed[3] {
                e.size_code = raw(3, header.size_code.into()) as u8;
            }
            if changed[4] {
                e.number = raw(4, header.number >> 32) << 32 | raw(32, header.number & 0xffff_ffff);
            }
        }
        let assignment = self.assignment.get_mut(last_assignment)?;
        e.assignment = c.tree(assignment, 4, header.assignment.into()) as u8; // below 16
        if !e.is_sound() {
            return None;
        }
        let step = if e.variable { e.block_samples()? as u64 } else { 1 };
        self.expected = Header { number: e.number + step, ..e }; // below 2^36 before
        Some(e)
    }

    /// Codes a channel. When decoding, the subframe's decisions and residual are filled in; when encoding they are
    /// there. The samples are there in any case. False for decisions that a frame cannot have.
    pub fn channel<C: Coder>(&mut self, c: &mut C, frame: &mut Frame, channel: usize) -> bool {
        let side = frame.header.is_side(channel);
        let bits = self.bits + u32::from(side);
        let narrow = frame.samples.get_mut(channel);
        let (Some(narrow), Some(subframe), Some(residual)) =
            (narrow, frame.subframes.get_mut(channel), frame.residuals.get_mut(channel))
        else {
            return false;
        };
        let channel = Channel { number: channel, side: usize::from(side), bits };
        if bits > 32 {
            self.subframe(c, channel, subframe, &mut frame.wide, residual)
        } else {
            self.subframe(c, channel, subframe, narrow, residual)
        }
    }

    fn subframe<C: Coder, T: Sample>(
        &mut self,
        c: &mut C,
        channel: Channel,
        subframe: &mut Subframe,
        samples: &mut [T],
        residual: &mut Vec<i32>,
    ) -> bool {
        let (all, constant) = look_at(samples);
        // A tree of each: is it constant, what was the last one.
        let Some(last) = self.last_kinds.get_mut(channel.number) else { return false };
        let kinds = self.kind.get_mut(usize::from(constant) * 4 + *last);
        let kind = kinds.map_or(0, |models| c.tree(models, 2, subframe.kind as u32));
        *last = kind as usize;
        subframe.kind = [Kind::Constant, Kind::Verbatim, Kind::Fixed, Kind::Linear][*last & 3];
        if subframe.kind == Kind::Constant && !constant {
            return false;
        }
        // Zeros below the lowest bit that is set; of silence none are wasted.
        let computed = if all == 0 { 0 } else { all.trailing_zeros() };
        let Some(model) = self.wasted.get_mut(usize::from(computed > 0)) else { return false };
        subframe.wasted = if c.bit(model, subframe.wasted == computed) { computed } else { c.raw(6, subframe.wasted) };
        let Some(bits) = channel.bits.checked_sub(subframe.wasted).filter(|&b| b > 0) else { return false };
        if all != 0 && subframe.wasted > all.trailing_zeros() {
            return false;
        }
        match subframe.kind {
            Kind::Constant | Kind::Verbatim => return true,
            Kind::Fixed => {
                let Some(models) = self.fixed_order.get_mut(channel.side) else { return false };
                subframe.order = c.tree(models, 3, subframe.order as u32) as usize; // at most 32
                if subframe.order > 4 {
                    return false;
                }
            }
            Kind::Linear => self.linear(c, channel, subframe),
        }
        if C::DECODES {
            let Some(count) = samples.len().checked_sub(subframe.order) else { return false };
            residual.resize(count, 0);
            if subframe.wasted > 0 {
                samples.iter_mut().for_each(|s| *s = T::wrap((*s).into() >> subframe.wasted));
            }
            if !T::residual(samples, residual, &subframe.predictor(bits)) {
                return false;
            }
            if subframe.wasted > 0 {
                samples.iter_mut().for_each(|s| *s = T::wrap((*s).into() << subframe.wasted));
            }
        }
        self.partitions(c, subframe, residual, samples.len())
    }

    /// Codes a linear predictor.
    fn linear<C: Coder>(&mut self, c: &mut C, channel: Channel, subframe: &mut Subframe) {
        let (Some(order), Some(shift), Some(sizes), Some(signs)) = (
            self.linear_order.get_mut(channel.side),
            self.shift.get_mut(channel.side),
            self.size.get_mut(channel.side),
            self.sign.get_mut(channel.side),
        ) else {
            return;
        };
        subframe.order = c.tree(order, 5, (subframe.order as u32).wrapping_sub(1)) as usize + 1; // at most 32
        if !c.bit(&mut self.same_precision, subframe.precision == self.precision) {
            self.precision = c.raw(4, subframe.precision).max(1); // no encoder has 0
        }
        subframe.precision = self.precision;
        subframe.shift = c.tree(shift, 4, subframe.shift);
        let (most, least) = ((1 << (self.precision - 1)) - 1, -1 << (self.precision - 1));
        if C::DECODES {
            subframe.coefficients = [0; ORDER_MAX];
        }
        let models = sizes.iter_mut().zip(signs).zip(&mut self.second);
        for (coefficient, ((sizes, sign), seconds)) in subframe.coefficients.iter_mut().zip(models).take(subframe.order)
        {
            let magnitude = coefficient.unsigned_abs();
            let size = c.tree(sizes, 4, 32 - magnitude.leading_zeros()); // of 15 bits at most
            if size == 0 {
                *coefficient = 0;
                continue;
            }
            let negative = c.bit(sign, *coefficient < 0);
            let mut value = 1;
            if let (true, Some(second)) = (size > 1, seconds.get_mut(size as usize)) {
                let top = if size > 2 { 2 } else { 1 };
                let rest = size - 1 - top;
                value = 1 << top | c.tree(second, top, magnitude >> rest & ((1 << top) - 1));
                value = value << rest | c.raw(rest, magnitude & ((1 << rest) - 1));
            }
            let value = value.cast_signed(); // below 2^15
            *coefficient = if negative { -value } else { value }.clamp(least, most);
        }
    }

    /// Codes how a residual is coded.
    fn partitions<C: Coder>(&mut self, c: &mut C, subframe: &mut Subframe, residual: &[i32], samples: usize) -> bool {
        let order = subframe.order;
        let limit = if self.bits > 16 { 30 } else { 14 };
        // libFLAC: the block divides, and the first partition is not empty.
        let mut finest = self.finest;
        while finest > 0 && (!samples.is_multiple_of(1 << finest) || samples >> finest <= order) {
            finest -= 1;
        }
        add_up(&mut self.sums, residual, order, samples, finest);
        let mut best = (u64::MAX, 0);
        for partition_order in (0..=finest).rev() {
            if partition_order < finest {
                add_pairs(&mut self.sums, partition_order);
            }
            let sums = self.sums.get(1 << partition_order..2 << partition_order).unwrap_or_default();
            let each = (samples >> partition_order) as u64; // below 2^16
            let bits = sums.iter().enumerate().fold(0, |bits, (i, &sum)| {
                let count = if i == 0 { each - order as u64 } else { each }; // order < each
                bits + rice_bits(sum, count, limit)
            });
            if bits < best.0 {
                best = (bits, partition_order);
            }
        }
        let Some(model) = self.expected_partitions.get_mut(usize::from(self.last_partitions_expected)) else {
            return false;
        };
        let expected = c.bit(model, subframe.partition_order == best.1);
        self.last_partitions_expected = expected;
        subframe.partition_order =
            if expected { best.1 } else { c.tree(&mut self.partitions, 4, subframe.partition_order) };
        let partition_order = subframe.partition_order;
        if !subframe.may_partition(partition_order, samples) {
            return false;
        }
        if partition_order > finest {
            add_up(&mut self.sums, residual, order, samples, partition_order);
            self.finest = self.finest.max(partition_order.min(FINEST_MAX));
        }
        let sums = self.sums.get(1 << partition_order..2 << partition_order).unwrap_or_default();
        let each = samples >> partition_order;
        let count = |i| (if i == 0 { each - order } else { each }) as u64; // `may_partition`; below 2^16
        let any_above = self.bits > 16 && sums.iter().enumerate().any(|(i, &sum)| rice_parameter(sum, count(i)) > 14);
        let Some(model) = self.five_bits.get_mut(usize::from(any_above)) else { return false };
        subframe.five_bits = c.bit(model, subframe.five_bits);
        let escape = if subframe.five_bits { 31 } else { 15 };
        subframe.parameters.resize(sums.len(), 0);
        let mut last = 0;
        for (i, (parameter, &sum)) in subframe.parameters.iter_mut().zip(sums).enumerate() {
            let expected = rice_parameter(sum, count(i)).min(escape - 1);
            let place = place(sum, count(i), expected);
            let value = if *parameter & RAW == 0 { u32::from(*parameter) } else { escape };
            let value = self.parameter.code(c, expected, place, value, escape, &mut last);
            if value == escape {
                *parameter = RAW | c.raw(5, u32::from(*parameter & 31)) as u8; // of five bits
            } else {
                *parameter = value as u8; // below 31
            }
        }
        true
    }
}

impl Parameters {
    /// Codes a parameter that is at most `max`.
    fn code<C: Coder>(
        &mut self,
        c: &mut C,
        expected: u32,
        place: usize,
        value: u32,
        max: u32,
        last: &mut usize,
    ) -> u32 {
        let model = self.expected.get_mut(place).and_then(|models| models.get_mut(*last));
        let Some((model, up)) = model.zip(self.up.get_mut(place)) else { return 0 };
        if c.bit(model, value == expected) {
            *last = 0;
            return expected;
        }
        // It lies on the one side that there is, or on either.
        let up = expected == 0 || (expected < max && c.bit(up, value > expected));
        *last = 1 + usize::from(up);
        let room = if up { max - expected } else { expected };
        let Some(models) = self.further.get_mut(usize::from(up)) else { return 0 };
        let mut distance = 1;
        while distance < room {
            let Some(model) = models.get_mut((distance as usize).min(7)) else { break };
            if !c.bit(model, value.abs_diff(expected) > distance) {
                break;
            }
            distance += 1;
        }
        if up { expected + distance } else { expected - distance } // at most `room` further
    }
}

/// A channel of a frame.
#[derive(Clone, Copy)]
struct Channel {
    number: usize,
    /// 1 for the difference of two channels.
    side: usize,
    bits: u32,
}

/// All bits that are set in any sample, and whether all are the same.
fn look_at<T: Sample>(samples: &[T]) -> (u64, bool) {
    let first = samples.first().copied().unwrap_or_default().into();
    let (mut all, mut differences) = (0_i64, 0_i64);
    for &s in samples {
        all |= s.into();
        differences |= s.into() ^ first;
    }
    (all.cast_unsigned(), differences == 0)
}

/// Puts the sum of magnitudes of each partition into the tree.
fn add_up(sums: &mut Vec<u64>, residual: &[i32], order: usize, samples: usize, partition_order: u32) {
    sums.clear();
    sums.resize(2 << partition_order, 0);
    let each = samples >> partition_order;
    let mut rest = residual;
    for (i, sum) in sums.iter_mut().skip(1 << partition_order).enumerate() {
        let count = if i == 0 { each.saturating_sub(order) } else { each };
        let (values, after) = rest.split_at(count.min(rest.len()));
        rest = after;
        *sum = values.iter().map(|v| u64::from(v.unsigned_abs())).sum(); // 2^16 of 2^31
    }
}

/// Computes the sums of one level from those of the next finer one.
fn add_pairs(sums: &mut [u64], partition_order: u32) {
    for node in 1 << partition_order..2 << partition_order {
        let pair = sums.get(2 * node..2 * node + 2).map(|pair| pair.iter().sum());
        if let (Some(sum), Some(pair)) = (sums.get_mut(node), pair) {
            *sum = pair;
        }
    }
}

/// The least k with `count << k >= sum`: libFLAC's choice.
fn rice_parameter(sum: u64, count: u64) -> u32 {
    if sum <= count || count == 0 {
        return 0;
    }
    // Both are at least 1, and below 2^48.
    let k = (64 - sum.leading_zeros()).saturating_sub(64 - count.leading_zeros());
    if count << k >= sum { k } else { k + 1 }
}

/// What libFLAC takes a partition to cost.
fn rice_bits(sum: u64, count: u64, limit: u32) -> u64 {
    let k = rice_parameter(sum, count).min(limit);
    let low = if k > 0 { sum >> (k - 1) } else { sum << 1 };
    (4 + u64::from(k + 1) * count + low).saturating_sub(count >> 1)
}

/// Where the mean lies between two parameters: 0 to 15.
fn place(sum: u64, count: u64, k: u32) -> usize {
    let whole = count << k;
    if whole == 0 {
        return 0;
    }
    (sum.saturating_mul(16) / whole).min(15) as usize // at most 15
}
