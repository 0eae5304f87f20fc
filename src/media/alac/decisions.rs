//! The encoder's decisions of a packet, coded: what its samples do not tell.
//!
//! One description for both ways, see [`Coder`]. Elements are expected to be those of the packet before; of the
//! coefficients only how they differ is coded, from those that the channel had last with as many, as they were
//! (FFmpeg computes each packet's anew) or as they had become (Apple's encoder goes on with them): whichever was nearer
//! of late, or 0 where that is.
//!
//! ```text
//! packet    := whole:bit samples:raw(16)? same:bit (tag:tree(3){} END)? element{}
//! element   := same_instance:bit instance:raw(4)? used:bit unused:raw(12)? partial:bit? escape:bit body?
//! body      := shifted:tree(2) same_mix:bit (mix_bits:tree(8) mix_res:tree(8))? predictor{channels}
//! predictor := order:tree(5) same:bit (mode:tree(4) shift:tree(4) factor:tree(3))? difference{order}
//! ```
//! FORMAT.md has the contexts.
//!
//! # Invariants
//!
//! Total: any coded bytes are some decisions that a packet can have, or an error. Work is bounded for each packet.

use super::packet::{CHANNELS_MAX, Config, Element, LOW, ONE, PAIR, Packet};
use super::predict::{ORDER_MAX, Predictor};
use crate::media::flac::range::{Bit, Coder};

/// What coefficients are expected to be: 0, as they were, as they had become.
const GUESSES: usize = 3;

/// Coefficients from here on share their models.
const PLACES: usize = 8;

const END: u32 = 7;

/// What is remembered of a channel.
#[derive(Clone, Debug)]
struct Channel {
    last: Predictor,
    /// The last predictor of each order.
    by_order: Vec<Predictor>,
    /// How far off each guess was of late, in bits.
    misses: [u32; GUESSES],
}

/// Models and what came before.
#[derive(Debug)]
pub(super) struct Decisions {
    config: Config,
    channels: Vec<Channel>,
    /// The elements of the packet before.
    last: Vec<Element>,
    whole: Bit,
    same_tags: Bit,
    tag: [Bit; 8],
    same_instance: Bit,
    used: Bit,
    partial: Bit,
    escape: [Bit; 2],
    shifted: [[Bit; 4]; 4],
    same_mix: [Bit; 2],
    mix_bits: [Bit; 256],
    mix_res: [Bit; 256],
    order: [[Bit; 32]; 32],
    same_predictor: [Bit; 2],
    mode: [Bit; 16],
    shift: [Bit; 16],
    factor: [Bit; 8],
    /// Bits of a difference, by guess and place.
    size: [[[Bit; 32]; PLACES]; GUESSES],
    sign: [[Bit; PLACES]; GUESSES],
    second: [[Bit; 4]; 17],
}

impl Decisions {
    pub fn new(config: Config) -> Decisions {
        let channel =
            Channel { last: Predictor::default(), by_order: vec![Predictor::default(); ORDER_MAX + 1], misses: [0; 3] };
        Decisions {
            config,
            channels: vec![channel; CHANNELS_MAX],
            last: Vec::new(),
            whole: Bit::default(),
            same_tags: Bit::default(),
            tag: Default::default(),
            same_instance: Bit::default(),
            used: Bit::default(),
            partial: Bit::default(),
            escape: Default::default(),
            shifted: Default::default(),
            same_mix: Default::default(),
            mix_bits: [Bit::default(); 256],
            mix_res: [Bit::default(); 256],
            order: Default::default(),
            same_predictor: Default::default(),
            mode: Default::default(),
            shift: Default::default(),
            factor: Default::default(),
            size: Default::default(),
            sign: Default::default(),
            second: Default::default(),
        }
    }

    /// Codes a packet: when decoding, its elements and number of samples are filled in. False for what no packet has.
    pub fn packet<C: Coder>(&mut self, c: &mut C, packet: &mut Packet) -> bool {
        let whole = usize::from(self.config.frame);
        let is_whole = c.bit(&mut self.whole, packet.samples == whole);
        // At most 2^13 when encoding, of 16 bits when decoding.
        packet.samples = if is_whole { whole } else { c.raw(16, packet.samples as u32) as usize };
        if !(1..=whole).contains(&packet.samples) || !self.tags(c, &mut packet.elements) {
            return false;
        }
        let Packet { elements, samples, .. } = packet;
        let mut first = 0;
        for (i, element) in elements.iter_mut().enumerate() {
            let last = self.last.get(i).copied().unwrap_or_default();
            if !self.element(c, element, &last, first, *samples == whole) {
                return false;
            }
            first += element.channels();
        }
        self.last.clone_from(elements);
        true
    }

    /// Remembers what became of the coefficients of a packet that was coded last.
    pub fn learn(&mut self, packet: &Packet) {
        let mut channels = self.channels.iter_mut();
        for element in &packet.elements {
            for predictor in element.predictors.iter().take(element.channels()) {
                let Some(channel) = channels.next() else { return };
                if let (false, Some(of)) = (element.escape, channel.by_order.get_mut(usize::from(predictor.order))) {
                    (*of, channel.last) = (*predictor, *predictor);
                }
            }
        }
    }

    /// Codes which elements there are.
    fn tags<C: Coder>(&mut self, c: &mut C, elements: &mut Vec<Element>) -> bool {
        let same = self.last.iter().map(|e| e.tag).eq(elements.iter().map(|e| e.tag));
        if c.bit(&mut self.same_tags, same) {
            if C::DECODES {
                elements.clone_from(&self.last);
            }
            return !elements.is_empty();
        }
        let (mut i, mut channels) = (0, 0);
        loop {
            let tag = elements.get(i).map_or(END, |e| e.tag.into());
            let tag = c.tree(&mut self.tag, 3, tag) as u8; // of 3 bits
            match tag {
                ONE | PAIR | LOW => {}
                _ => {
                    elements.truncate(i);
                    return tag == END as u8 && i > 0;
                }
            }
            let element = Element { tag, ..Element::default() };
            channels += element.channels();
            if channels > CHANNELS_MAX {
                return false;
            }
            if C::DECODES {
                elements.truncate(i);
                elements.push(element);
            }
            i += 1;
        }
    }

    fn element<C: Coder>(&mut self, c: &mut C, e: &mut Element, last: &Element, first: usize, whole: bool) -> bool {
        let same_instance = c.bit(&mut self.same_instance, e.instance == last.instance);
        e.instance = if same_instance { last.instance } else { c.raw(4, e.instance.into()) as u8 }; // of 4 bits
        let used = c.bit(&mut self.used, e.unused != 0);
        e.unused = if used { c.raw(12, e.unused.into()) as u16 } else { 0 }; // of 12 bits
        e.partial = !whole || c.bit(&mut self.partial, e.partial);
        let [usual, unusual] = &mut self.escape;
        e.escape = c.bit(if last.escape { unusual } else { usual }, e.escape);
        if e.escape {
            (e.shifted, e.mix_bits, e.mix_res) = (0, 0, 0);
            return true;
        }
        let shifted = self.shifted.get_mut(usize::from(last.shifted));
        e.shifted = shifted.map_or(0, |models| c.tree(models, 2, e.shifted.into())) as u8; // below 4
        let [single, pair] = &mut self.same_mix;
        let same_mix = if e.tag == PAIR { pair } else { single };
        if c.bit(same_mix, (e.mix_bits, e.mix_res) == (last.mix_bits, last.mix_res)) {
            (e.mix_bits, e.mix_res) = (last.mix_bits, last.mix_res);
        } else {
            e.mix_bits = c.tree(&mut self.mix_bits, 8, e.mix_bits.into()) as u8; // of 8 bits
            e.mix_res = c.tree(&mut self.mix_res, 8, e.mix_res.into()) as u8;
        }
        let channels = e.channels();
        for (i, predictor) in e.predictors.iter_mut().take(channels).enumerate() {
            self.predictor(c, predictor, first + i);
        }
        e.shifted < 3 && e.is_sound(&self.config)
    }

    fn predictor<C: Coder>(&mut self, c: &mut C, p: &mut Predictor, channel: usize) {
        let Some(channel) = self.channels.get_mut(channel) else { return };
        let last = channel.last;
        let Some(orders) = self.order.get_mut(usize::from(last.order)) else { return };
        p.order = c.tree(orders, 5, p.order.into()) as u8; // of 5 bits
        let [calm, changing] = &mut self.same_predictor;
        let model = if p.order == last.order { calm } else { changing };
        if c.bit(model, (p.mode, p.shift, p.factor) == (last.mode, last.shift, last.factor)) {
            (p.mode, p.shift, p.factor) = (last.mode, last.shift, last.factor);
        } else {
            p.mode = c.tree(&mut self.mode, 4, p.mode.into()) as u8; // of 4, 4 and 3 bits
            p.shift = c.tree(&mut self.shift, 4, p.shift.into()) as u8;
            p.factor = c.tree(&mut self.factor, 3, p.factor.into()) as u8;
        }
        let Some(before) = channel.by_order.get(usize::from(p.order)) else { return };
        let guess = (0..GUESSES).min_by_key(|&g| channel.misses.get(g)).unwrap_or_default();
        let (Some(sizes), Some(signs)) = (self.size.get_mut(guess), self.sign.get_mut(guess)) else { return };
        let mut misses = [0; GUESSES];
        if C::DECODES {
            p.coefficients = [0; ORDER_MAX];
        }
        let guesses = before.coefficients.iter().zip(&before.adapted);
        for (i, (coefficient, (&was, &became))) in
            p.coefficients.iter_mut().zip(guesses).take(p.order.into()).enumerate()
        {
            let guesses = [0, was, became];
            let expected = guesses.get(guess).copied().unwrap_or_default();
            let (Some(sizes), Some(sign)) = (sizes.get_mut(i.min(PLACES - 1)), signs.get_mut(i.min(PLACES - 1))) else {
                return;
            };
            let difference = code_difference(c, coefficient.wrapping_sub(expected), sizes, sign, &mut self.second);
            *coefficient = expected.wrapping_add(difference);
            for (miss, guess) in misses.iter_mut().zip(guesses) {
                *miss += size(coefficient.wrapping_sub(guess));
            }
        }
        for (miss, of_late) in misses.into_iter().zip(&mut channel.misses) {
            *of_late = *of_late - *of_late / 4 + 16 * miss; // at most 4 * 16 * 31 * 16
        }
    }
}

/// Bits of a number's magnitude, at most 16.
fn size(value: i16) -> u32 {
    16 - value.unsigned_abs().leading_zeros()
}

/// Codes a number: its size, its sign, two bits below the highest one, the rest.
fn code_difference<C: Coder>(
    c: &mut C,
    value: i16,
    sizes: &mut [Bit; 32],
    sign: &mut Bit,
    second: &mut [[Bit; 4]; 17],
) -> i16 {
    let magnitude = u32::from(value.unsigned_abs());
    let size = c.tree(sizes, 5, size(value)).min(16);
    if size == 0 {
        return 0;
    }
    let negative = c.bit(sign, value < 0);
    let mut coded = 1;
    if let (true, Some(second)) = (size > 1, second.get_mut(size as usize)) {
        let top = if size > 2 { 2 } else { 1 };
        let rest = size - 1 - top;
        coded = 1 << top | c.tree(second, top, magnitude >> rest & ((1 << top) - 1));
        coded = coded << rest | c.raw(rest, magnitude & ((1 << rest) - 1));
    }
    let coded = (coded as u16).cast_signed(); // of at most 16 bits
    if negative { coded.wrapping_neg() } else { coded }
}
