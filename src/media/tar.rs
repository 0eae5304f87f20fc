//! tar: members apart from headers (POSIX ustar and pax, GNU).
//!
//! ```text
//!  header    wrapper   512 bytes: name at 0, size at 124 (octal, or base 256), checksum at 148, type at 156, "ustar" at 257
//!  data      as its own splitter says, if it is 64 KiB or more; else wrapper
//!  padding   wrapper   to the next 512 bytes
//!  ...
//!  zeros     wrapper   two blocks or more
//! ```
//! Names that do not fit stand in members of their own (types x, g, L, K): wrapper, but for the size that pax gives to the
//! next member. Old GNU sparse members have more headers; what they hold is not looked at.
//!
//! # Invariants
//!
//! 1. A member begins and ends on borders, and is split as a file of its own would be.
//! 2. A header is believed only with its checksum.
//! 3. State: a few numbers and the member's own splitter.

use super::nested::{ALONE, Member, Open};
use super::runs::{Last, Walk};
use super::{ESSENCE, Hints, Part, Splitter, SplitterId, TAR, WRAPPER};

/// What everything is padded to.
const BLOCK: usize = 512;

/// Bytes of a pax header that is read for a size.
const PAX_MAX: u64 = 256 << 10;

/// What a header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Header {
    bytes: u64,
    kind: u8,
    /// More headers follow.
    extended: bool,
}

impl Header {
    /// Reads a block; `None` if its checksum is wrong, or its size is none.
    fn read(block: &[u8]) -> Option<Header> {
        let block: &[u8; BLOCK] = block.first_chunk()?;
        let field = |at: usize, n: usize| block.get(at..at + n).unwrap_or_default();
        let sum = number(field(148, 8))?;
        let plain = |b: &[u8]| b.iter().map(|b| u64::from(*b)).sum::<u64>();
        let signed = |b: &[u8]| b.iter().map(|b| i64::from(b.cast_signed())).sum::<i64>();
        // As if the checksum were spaces; some old writers summed signed bytes.
        let unsigned = plain(block) - plain(field(148, 8)) + 8 * 32;
        let also = signed(block) - signed(field(148, 8)) + 8 * 32;
        if sum != unsigned && i64::try_from(sum) != Ok(also) {
            return None;
        }
        let &[kind] = field(156, 1) else { return None };
        let bytes = number(field(124, 12))?;
        Some(Header { bytes, kind, extended: kind == b'S' && field(482, 1) == [1] })
    }

    /// Bytes of data that follow. Links, devices and folders have none, whatever the size says.
    fn data(self) -> u64 {
        if (b'1'..=b'6').contains(&self.kind) { 0 } else { self.bytes }
    }
}

/// Octal digits between spaces and zeros, or 63 bits behind 0x80.
fn number(field: &[u8]) -> Option<u64> {
    let (first, rest) = field.split_first()?;
    if *first == 0x80 {
        let value = rest.iter().try_fold(0_u64, |v, b| v.checked_mul(256)?.checked_add(u64::from(*b)))?;
        return (value < 1 << 62).then_some(value);
    }
    let digits = field.trim_ascii_start();
    let end = digits.iter().position(|b| !b.is_ascii_digit()).unwrap_or(digits.len());
    let (digits, rest) = digits.split_at_checked(end)?;
    if rest.iter().any(|b| !matches!(b, 0 | b' ')) {
        return None;
    }
    digits.iter().try_fold(0_u64, |v, b| {
        let digit = u64::from(b.checked_sub(b'0').filter(|d| *d < 8)?);
        v.checked_mul(8)?.checked_add(digit)
    })
}

/// The size that a pax header gives: records `length key=value\n`.
fn pax_size(mut text: &[u8]) -> Option<u64> {
    let mut size = None;
    while !text.is_empty() {
        let space = text.iter().position(|b| *b == b' ')?;
        let (digits, _) = text.split_at_checked(space)?;
        let length = std::str::from_utf8(digits).ok()?.parse::<usize>().ok().filter(|n| *n > space + 1)?;
        let (record, rest) = text.split_at_checked(length)?;
        text = rest;
        if let Some(value) = record.get(space + 1..)?.strip_prefix(b"size=") {
            let value = value.strip_suffix(b"\n").unwrap_or(value);
            size = std::str::from_utf8(value).ok()?.parse::<u64>().ok().filter(|n| *n < 1 << 62);
        }
    }
    size
}

/// Opens a tar: a header with "ustar" and a right checksum at its start.
///
/// Members are shown `window` bytes at least, see [`Member::new`].
pub(super) fn open<'a>(hints: Hints<'_>, inner: Open<'a>, window: usize) -> Option<Box<dyn Splitter + 'a>> {
    let is_tar = hints.head.get(257..262) == Some(b"ustar") && Header::read(hints.head).is_some();
    is_tar.then(|| Box::new(Tar::new(inner, window)) as Box<dyn Splitter + 'a>)
}

enum State<'a> {
    Header,
    /// A pax header's data: so many bytes, padding not counted.
    Pax(u64),
    /// More headers of a sparse member with so many bytes of data.
    Extended(u64),
    /// Of so many bytes.
    Data(Member<'a>, u64),
    Opaque,
}

/// The splitter of one tar.
struct Tar<'a> {
    inner: Open<'a>,
    window: usize,
    state: State<'a>,
    /// Bytes of the wrapper still to pass before `state` holds.
    left: u64,
    /// The next member's size, where pax gave it.
    size: Option<u64>,
    before: Last,
    doubt: Option<&'static str>,
    member_doubt: Option<&'static str>,
}

/// What pads so many bytes.
fn padding(bytes: u64) -> u64 {
    bytes.wrapping_neg() % BLOCK as u64
}

impl<'a> Tar<'a> {
    fn new(inner: Open<'a>, window: usize) -> Tar<'a> {
        Tar {
            window,
            inner,
            state: State::Header,
            left: 0,
            size: None,
            before: Last::default(),
            doubt: None,
            member_doubt: None,
        }
    }

    fn give_up(&mut self, reason: &'static str) {
        self.state = State::Opaque;
        self.doubt.get_or_insert(reason);
    }

    /// So many bytes of a member's data come next, `left` of the wrapper before them.
    fn data(&mut self, bytes: u64, plain: bool) {
        if bytes < ALONE || plain {
            self.left += bytes + padding(bytes); // below 2^62
            self.state = State::Header;
        } else {
            self.state = State::Data(Member::new(bytes, self.inner, self.window), bytes);
        }
    }

    fn header(&mut self, rest: &[u8]) {
        let Some(block) = rest.get(..BLOCK) else { return self.give_up("tar: it is cut short") };
        if block.iter().all(|b| *b == 0) {
            self.left = BLOCK as u64;
            return;
        }
        let Some(header) = Header::read(block) else { return self.give_up("tar: a header that is none") };
        self.left = BLOCK as u64;
        match header.kind {
            b'x' if header.bytes <= PAX_MAX => self.state = State::Pax(header.bytes),
            b'x' | b'g' | b'L' | b'K' | b'X' => self.data(header.bytes, true),
            _ => {
                let size = self.size.take();
                let bytes = if header.data() == 0 { 0 } else { size.unwrap_or(header.data()) };
                let bytes = if header.kind == b'0' || header.kind == 0 { size.unwrap_or(bytes) } else { bytes };
                if header.extended {
                    self.state = State::Extended(bytes);
                } else {
                    self.data(bytes, false);
                }
            }
        }
    }

    /// Bytes that must be shown at once.
    fn wanted(&self) -> usize {
        match self.state {
            State::Header | State::Extended(_) => BLOCK,
            State::Pax(bytes) => usize::try_from(bytes).unwrap_or(usize::MAX), // at most PAX_MAX
            State::Data(..) | State::Opaque => 0,
        }
    }
}

impl Splitter for Tar<'_> {
    fn id(&self) -> SplitterId {
        TAR
    }

    fn split(&mut self, window: &[u8], last: bool, runs: &mut Vec<Part>) {
        // Handed back below, since the walk borrows it while `self` changes.
        let mut before = self.before;
        let mut walk = Walk::new(window, runs, &mut before);
        while !walk.rest().is_empty() {
            if self.left > 0 {
                walk.give_some(WRAPPER, &mut self.left);
                continue;
            }
            let rest = walk.rest();
            if !last && !walk.is_fresh() && rest.len() < self.wanted() {
                break;
            }
            match &mut self.state {
                State::Header => self.header(rest),
                State::Pax(bytes) => {
                    let bytes = *bytes;
                    let text = rest.get(..usize::try_from(bytes).unwrap_or(usize::MAX)).unwrap_or(rest);
                    self.size = pax_size(text);
                    self.data(bytes, true);
                }
                State::Extended(bytes) => {
                    let bytes = *bytes;
                    self.left = BLOCK as u64;
                    if rest.get(504) != Some(&1) {
                        self.data(bytes, false);
                    }
                }
                State::Data(member, bytes) => {
                    let more = member.step(&mut walk, last);
                    if member.left() == 0 {
                        self.member_doubt = self.member_doubt.or(member.doubt());
                        self.left = padding(*bytes);
                        self.state = State::Header;
                    } else if !more {
                        break;
                    }
                }
                State::Opaque => walk.give(ESSENCE, rest.len()),
            }
        }
        self.before = before;
        if last && (self.left > 0 || !matches!(self.state, State::Header | State::Opaque)) {
            self.give_up("tar: it is cut short");
        }
    }

    fn doubt(&self) -> Option<&'static str> {
        self.doubt.or(self.member_doubt)
    }
}

#[cfg(test)]
pub(super) mod tests;
