//! ALAC (Apple Lossless) in any container: packets as samples and the encoder's decisions.
//!
//! ```text
//!  packets        segments of about a MiB:
//!    samples        PCM, as a WAV of the same recording has them
//!    decisions      a stream of their own: what the encoder chose, see `decisions`
//!    the rest       values, low bytes, the end: computed
//!  no packets     as they are, up to the next packets
//! ```
//! Containers keep where packets begin in tables that may stand behind them. They are not needed: a packet tells its
//! end, and it is taken only if its bits can be computed again from samples and decisions, so what is no packet is
//! found out. The *magic cookie* (bits of a sample, samples of a packet) stands in those tables too: where it has not
//! come, [`detect`] tries the usual ones.
//!
//! Owns the way from packets to samples. Containers ([`super::isobmff`], [`super::caf`]) say where packets are, and
//! give what is found to streams. The way back is [`inverse`].
//!
//! # Invariants
//!
//! 1. What becomes of packets depends on them and the cookie alone: the same ones in any container give the same
//!    segments. The same samples are the same bytes, whichever encoder made the packets.
//! 2. Memory: one segment's samples, one packet. Packets that hold much silence in few bytes stay as they are, so what
//!    is handed out is at most `RATIO_MAX` times what was shown.
//! 3. Work is linear: every look that finds nothing was earned by bytes passed before (`Patience`).

mod decisions;
mod golomb;
mod packet;
mod pcm;
mod predict;
mod segment;

pub(super) use packet::Config;
pub use segment::inverse;

use super::WINDOW_MIN;
use super::patience::Patience;
use crate::chunk::Form;
use crate::format::limits;
use packet::{NoPacket, PACKET_MAX, Packet};
use segment::Segment;

/// A segment ends behind the first packet from here on.
const SOFT_BYTES: usize = 960 << 10;

const _: () = assert!(SOFT_BYTES + PACKET_MAX <= WINDOW_MIN);

/// A segment ends before the packet that would bring it beyond so many bytes of samples.
const SAMPLES_MAX: usize = 8 << 20;

const _: () = assert!(SAMPLES_MAX as u64 <= 2 * limits::SEGMENT_BYTES);

/// Segments of more bytes of samples for each of the file stay as they are: that is silence, and cheaper so.
const RATIO_MAX: usize = 16;

/// Bytes of samples that are decoded for each byte of the file, and at first.
const DECODED_MAX: (u64, u64) = (64, 256 << 20);

/// Once so many bytes of samples are handed out, more come with the next window.
pub(super) const ENOUGH: u64 = 16 << 20;

/// Data of fewer bytes is not looked at.
pub(super) const DATA_MIN: u64 = 4 << 10;

/// Packets that must follow each other before it is believed that there are any.
const DETECTED: usize = 4;
/// The same behind a loss.
const RESUMED: usize = 2;

/// Packets behind a loss are looked for with so many bytes in sight.
const SEARCH_LOOK: usize = RESUMED * PACKET_MAX;

const _: () = assert!(SEARCH_LOOK < WINDOW_MIN);

/// What packets are presumed to be without a cookie: the bits are told by what follows.
const USUAL: [Config; 4] = [Config::usual(16), Config::usual(24), Config::usual(20), Config::usual(32)];

/// How packets are coded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Coding {
    pub config: Config,
    /// There was no cookie.
    pub is_guess: bool,
}

/// Packets, taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct TakenApart {
    /// With samples and decisions as parts, [`inverse`] gives the packets.
    pub parameters: Vec<u8>,
    pub samples: Vec<u8>,
    /// Of the samples.
    pub form: Form,
    pub decisions: Vec<u8>,
}

/// What the next bytes are.
#[derive(Debug)]
pub(super) enum Found {
    /// So many bytes of packets, at least 1.
    Segment(usize, Box<TakenApart>),
    /// So many bytes to be kept as they are, at least 1.
    Plain(usize),
    /// More must be seen.
    Wait,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Packets,
    /// Behind bytes that are no packet, for this reason.
    Lost(&'static str),
    /// Sound that is not looked at.
    Plain,
}

/// How far the next segment goes.
enum Scan {
    /// So many bytes.
    Segment(Box<Segment>, usize),
    /// What was shown does not show its end. So far it has so many bytes.
    Wait(Option<Box<Segment>>, usize),
    /// It begins with something else.
    NoPacket(&'static str),
}

/// Takes packets of one file apart.
#[derive(Debug)]
pub(super) struct Alac {
    coding: Coding,
    state: State,
    packet: Packet,
    patience: Patience,
    /// Bytes of samples.
    decoded: u64,
    doubt: Option<&'static str>,
}

/// Whether packets of encoders without a cookie would be like this one: they shift what is wider than 20 bits.
fn is_usual(packet: &Packet, config: &Config) -> bool {
    let shifted = match config.bits {
        24 => 1,
        32 => 2,
        _ => 0,
    };
    packet.elements.iter().all(|e| e.escape || e.shifted == shifted)
}

/// Whether `count` packets follow each other from the front of `bytes` on; fewer where these end with one, if that is
/// an end.
fn follow(packet: &mut Packet, coding: Coding, mut bytes: &[u8], ends: bool, count: usize) -> bool {
    for n in 0..count {
        if n > 0 && ends && bytes.is_empty() {
            return true;
        }
        let shown = bytes.get(..PACKET_MAX).unwrap_or(bytes);
        match packet.read(shown, &coding.config) {
            Ok(length) if !coding.is_guess || is_usual(packet, &coding.config) => {
                bytes = bytes.get(length..).unwrap_or_default();
            }
            _ => return false,
        }
    }
    true
}

/// Whether a packet may begin like this. What no encoder writes is taken for none.
pub(super) fn may_begin(bytes: &[u8]) -> bool {
    let Some(&head) = bytes.first_chunk::<8>() else { return !bytes.is_empty() };
    let bits = u64::from_be_bytes(head);
    let of = |at: u32, count: u32| bits << at >> (64 - count);
    let (tag, unused, shifted, escape) = (of(0, 3), of(7, 12), of(20, 2), of(22, 1));
    let begins = matches!(tag, 0 | 1 | 3) && unused == 0 && shifted != 3;
    // A mean that does not move. Silence is no packet; numbers of samples come before this.
    let still = of(19, 1) == 0 && escape == 0 && of(47, 3) == 0;
    begins && !still
}

/// How the packets are coded that `content` begins with, of which `left` bytes follow: in one of these ways, or in a
/// usual one if there are none.
pub(super) fn detect(known: Option<Config>, content: &[u8], left: u64) -> Option<Coding> {
    let shown = usize::try_from(left).ok().and_then(|left| content.get(..left));
    let (bytes, ends) = (shown.unwrap_or(content), shown.is_some());
    if left < DATA_MIN || !may_begin(bytes) {
        return None;
    }
    let mut packet = Packet::default();
    let (known, is_guess) = match &known {
        Some(config) => (std::slice::from_ref(config), false),
        None => (&USUAL[..], true),
    };
    let codings = known.iter().map(|&config| Coding { config, is_guess });
    codings.into_iter().find(|&coding| follow(&mut packet, coding, bytes, ends, DETECTED))
}

/// Finds out where packets end that lie among other tracks, without tables. What it reads in vain it reads for as long
/// as the bytes passed so far allow.
#[derive(Debug, Default)]
pub(super) struct Lengths {
    packet: Packet,
    /// How packets are coded, once it is known.
    config: Option<Config>,
    spent: u64,
}

impl Lengths {
    pub fn config(&self) -> Option<Config> {
        self.config
    }

    /// Whether bytes begin with a packet that is coded in a usual way.
    pub fn is_usual(&mut self, bytes: &[u8]) -> bool {
        let codings = USUAL.into_iter().map(|config| Coding { config, is_guess: true });
        codings.into_iter().any(|coding| follow(&mut self.packet, coding, bytes, false, 1))
    }

    /// Learns how packets are coded of pieces, some of which are nothing but such in a usual way, [`DETECTED`] at least.
    pub fn detect(&mut self, pieces: &[&[u8]]) {
        let packet = &mut self.packet;
        // The packets that a piece is.
        let mut count = |mut rest: &[u8], config: &Config| {
            let mut count = 0;
            while !rest.is_empty() {
                let shown = rest.get(..PACKET_MAX).unwrap_or(rest);
                let bytes = if may_begin(rest) { packet.read(shown, config).ok() } else { None };
                rest = rest.get(bytes.filter(|_| is_usual(packet, config))?..)?;
                count += 1;
            }
            Some(count)
        };
        self.config = USUAL.into_iter().find(|config| {
            let counts: Vec<usize> = pieces.iter().filter_map(|piece| count(piece, config)).collect();
            // Of other bytes hardly a piece ends where a packet that is none does.
            8 * counts.len() >= pieces.len() && counts.iter().sum::<usize>() >= DETECTED
        });
    }

    /// Bytes of the packet that starts `bytes`, once it is known how they are coded; so many bytes of the file came before.
    pub fn first(&mut self, bytes: &[u8], passed: u64) -> Option<usize> {
        let config = self.config.filter(|_| may_begin(bytes))?;
        let shown = bytes.get(..PACKET_MAX).unwrap_or(bytes);
        let (each, first) = DECODED_MAX;
        if self.spent > passed.saturating_mul(each).saturating_add(first) {
            return None;
        }
        let length = self.packet.read(shown, &config).ok();
        self.spent = self.spent.saturating_add(length.map_or(shown.len(), |_| self.packet.samples * 8) as u64);
        length
    }
}

/// Takes bytes apart that are whole packets, one behind the other.
///
/// # Errors
/// A reason to leave them as they are: something else stands among them, they differ in channels, or hold too many samples.
pub(super) fn take_apart(packets: &[u8], config: Config) -> Result<TakenApart, &'static str> {
    let mut packet = Packet::default();
    let mut segment = None::<Segment>;
    let mut rest = packets;
    while !rest.is_empty() {
        let bytes = match packet.read(rest.get(..PACKET_MAX).unwrap_or(rest), &config) {
            Ok(bytes) => bytes,
            Err(NoPacket::Bad(reason)) => return Err(reason),
            Err(NoPacket::Short) => return Err("alac: the sound ends within a packet"),
        };
        rest = rest.get(bytes..).unwrap_or_default(); // it was read there
        let of = segment.get_or_insert_with(|| Segment::new(config, packet.channel_count()));
        if !of.takes(&packet) {
            return Err("alac: packets of several numbers of channels within a segment");
        }
        if of.pcm.len() + of.pcm_bytes(&packet) > packets.len().saturating_mul(RATIO_MAX) {
            return Err("alac: too much silence");
        }
        of.add(&mut packet);
    }
    let segment = segment.ok_or("alac: no packet where one should be")?;
    let form = segment.form();
    let (parameters, samples, decisions) = segment.finish();
    Ok(TakenApart { parameters, samples, form, decisions })
}

impl Alac {
    pub fn new(coding: Coding) -> Alac {
        Alac {
            coding,
            state: State::Packets,
            packet: Packet::default(),
            patience: Patience::default(),
            decoded: 0,
            doubt: None,
        }
    }

    /// Packets begin anew: of another track, or of another chunk of one.
    pub fn begin(&mut self, coding: Coding) {
        self.coding = coding;
        if let State::Lost(_) = self.state {
            self.state = State::Packets;
        }
    }

    /// Bytes of samples that were handed out, or might have been.
    pub fn decoded(&self) -> u64 {
        self.decoded
    }

    pub fn doubt(&self) -> Option<&'static str> {
        self.doubt
    }

    /// Says what `rest` begins with: all that is left of the packets if it `ends`. Where `must`, it does not wait: no
    /// more will be shown.
    pub fn next(&mut self, rest: &[u8], ends: bool, must: bool) -> Found {
        loop {
            match self.state {
                State::Packets => match self.scan(rest, ends) {
                    Scan::Segment(segment, bytes) => return self.give(*segment, bytes),
                    Scan::Wait(..) if !must => return Found::Wait,
                    // Less is shown than was promised.
                    Scan::Wait(Some(segment), bytes) if bytes > 0 => return self.give(*segment, bytes),
                    Scan::Wait(..) => {
                        self.lose("alac: a window that is too small");
                        return self.plain(rest.len());
                    }
                    Scan::NoPacket(reason) => self.lose(reason),
                },
                State::Lost(_) => match self.search(rest, ends, must) {
                    None => return Found::Wait,
                    Some(0) => {} // in another coding
                    Some(bytes) => return Found::Plain(bytes),
                },
                State::Plain => return self.plain(rest.len()),
            }
        }
    }

    fn lose(&mut self, reason: &'static str) {
        self.state = State::Lost(reason);
        self.doubt.get_or_insert(reason);
    }

    fn plain(&mut self, bytes: usize) -> Found {
        self.patience.earn(bytes as u64);
        Found::Plain(bytes)
    }

    fn spend(&mut self) {
        self.patience.spend();
        if self.patience.is_over() {
            self.state = State::Plain;
            self.doubt.get_or_insert("alac: too many breaks");
        }
    }

    /// Reads the packet that starts `rest`.
    fn read(&mut self, rest: &[u8], ends: bool) -> Result<usize, NoPacket> {
        let shown = rest.get(..PACKET_MAX).unwrap_or(rest);
        match self.packet.read(shown, &self.coding.config) {
            Err(NoPacket::Short) if shown.len() == PACKET_MAX => Err(NoPacket::Bad("alac: a packet that is too long")),
            Err(NoPacket::Short) if ends => Err(NoPacket::Bad("alac: the sound ends within a packet")),
            other => other,
        }
    }

    fn scan(&mut self, rest: &[u8], ends: bool) -> Scan {
        let mut segment: Option<Box<Segment>> = None;
        let mut at = 0;
        let reason = loop {
            let bytes = match rest.get(at..).filter(|r| !r.is_empty()) {
                None if ends => break "",
                None => Err(NoPacket::Short),
                Some(rest) => self.read(rest, ends),
            };
            let bytes = match bytes {
                Ok(bytes) => bytes,
                Err(NoPacket::Short) => return Scan::Wait(segment, at),
                Err(NoPacket::Bad(reason)) => break reason,
            };
            let (config, channels) = (self.coding.config, self.packet.channel_count());
            let of = segment.get_or_insert_with(|| Box::new(Segment::new(config, channels)));
            let room = of.pcm.len() + of.pcm_bytes(&self.packet) <= SAMPLES_MAX; // a packet has at most 256 KiB
            if !room || !of.takes(&self.packet) {
                break "";
            }
            of.add(&mut self.packet);
            at += bytes;
            if at >= SOFT_BYTES {
                break "";
            }
        };
        match segment {
            Some(segment) if at > 0 => Scan::Segment(segment, at),
            _ => Scan::NoPacket(reason),
        }
    }

    fn give(&mut self, segment: Segment, bytes: usize) -> Found {
        self.decoded = self.decoded.saturating_add(segment.pcm.len() as u64);
        self.patience.earn(bytes as u64);
        self.spend();
        let (each, first) = DECODED_MAX;
        if self.decoded > self.patience.passed().saturating_mul(each).saturating_add(first) {
            self.state = State::Plain;
            self.doubt.get_or_insert("alac: too much silence");
        }
        if segment.pcm.len() > RATIO_MAX * bytes {
            return Found::Plain(bytes);
        }
        let form = segment.form();
        let (parameters, samples, decisions) = segment.finish();
        Found::Segment(bytes, Box::new(TakenApart { parameters, samples, form, decisions }))
    }

    /// Finds the next packets behind bytes that are none, and how many bytes lie before them, or are passed for now.
    /// `None` if more must be seen.
    fn search(&mut self, rest: &[u8], ends: bool, must: bool) -> Option<usize> {
        let end = if ends { rest.len() } else { rest.len().saturating_sub(SEARCH_LOOK) };
        let mut earned = 0;
        for at in 0..end {
            let candidate = rest.get(at..).unwrap_or_default();
            if !may_begin(candidate) {
                continue;
            }
            self.patience.earn((at - earned) as u64); // it only grows
            earned = at;
            let of = self.coding;
            let configs = if of.is_guess { &USUAL[..] } else { std::slice::from_ref(&of.config) };
            for &config in configs {
                let coding = Coding { config, ..of };
                if at == 0 && coding == self.coding {
                    continue; // it was seen that there is none
                }
                if follow(&mut self.packet, coding, candidate, ends, RESUMED) {
                    (self.coding, self.state) = (coding, State::Packets);
                    return Some(at);
                }
                self.spend();
                if self.state == State::Plain {
                    return Some(at);
                }
            }
        }
        let passed = if end == 0 && must { rest.len() } else { end };
        self.patience.earn((passed - earned) as u64); // `earned` is below `end`
        (passed > 0).then_some(passed)
    }
}

#[cfg(test)]
mod tests;
