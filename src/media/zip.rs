//! ZIP: members apart from headers (APPNOTE 6.3), as they stream by.
//!
//! ```text
//!  local header        wrapper   50 4b 03 04, flags, method, sizes, name, extra fields
//!  data, stored        as its own splitter says, if it is 64 KiB or more; else wrapper
//!  data, deflated      see `deflate`, where it is undone: the text by its own splitter; else essence
//!  data, otherwise     essence (encrypted, LZMA, ...)
//!  descriptor          wrapper   where the header does not tell the sizes (flag 8)
//!  ...
//!  central directory   wrapper   to the file's end
//! ```
//! Only local headers are read. Where one does not tell how long its data are and they are not undone, their end is
//! where a descriptor stands that tells so many bytes, and a header behind it.
//!
//! # Invariants
//!
//! 1. A member begins and ends on borders, and is split as a file of its own would be.
//! 2. State: a few numbers, and the member's own splitter or `Bounded`.

use super::deflate::{Bounded, Step, Undo};
use super::nested::{ALONE, Member, Text};
use super::runs::{Last, Walk};
use super::{
    Deflate, ESSENCE, Hints, Options, Part, Splitter, SplitterId, WINDOW_MIN, WRAPPER, ZIP, open_member, open_plain,
};

const LOCAL: &[u8] = b"PK\x03\x04";
const DESCRIPTOR: &[u8] = b"PK\x07\x08";
/// What may follow the last member.
const BEHIND: [&[u8]; 4] = [b"PK\x01\x02", b"PK\x05\x06", b"PK\x06\x06", b"PK\x06\x08"];

/// Bytes of a local header without name and extra fields, and the most it has.
const FIXED: usize = 30;
const HEADER_MAX: usize = FIXED + 2 * 0xffff;
/// Bytes of the longest descriptor.
const DESCRIPTOR_MAX: usize = 24;

const STORED: u16 = 0;
const DEFLATED: u16 = 8;

/// A deflated member below is not undone: a segment costs some hundred bytes.
const UNDONE_MIN: u64 = 16 << 10;

/// What a local header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Header {
    /// Its own bytes.
    header: usize,
    /// Bytes of the data in the file, where it is told here.
    bytes: Option<u64>,
    method: u16,
    encrypted: bool,
    /// A descriptor follows the data; its sizes have 64 bits.
    descriptor: bool,
    long: bool,
}

impl Header {
    /// Reads the header that starts `bytes`; `None` if it is none, or is not there as a whole.
    fn read(bytes: &[u8]) -> Option<Header> {
        let fixed: &[u8; FIXED] = bytes.first_chunk()?;
        if !fixed.starts_with(LOCAL) {
            return None;
        }
        let u16_at = |at: usize| fixed.get(at..)?.first_chunk().map(|b| u16::from_le_bytes(*b));
        let u32_at = |at: usize| fixed.get(at..)?.first_chunk().map(|b| u32::from_le_bytes(*b));
        let (flags, method) = (u16_at(6)?, u16_at(8)?);
        let (packed, plain) = (u32_at(18)?, u32_at(22)?);
        let name = FIXED + usize::from(u16_at(26)?);
        let header = name + usize::from(u16_at(28)?);
        let mut extra = bytes.get(name..header)?;
        let (mut bytes, mut long) = (u64::from(packed), false);
        while let Some((&[a, b, c, d], rest)) = extra.split_first_chunk() {
            let Some((field, rest)) = rest.split_at_checked(usize::from(u16::from_le_bytes([c, d]))) else { break };
            extra = rest;
            if u16::from_le_bytes([a, b]) == 1 {
                long = true;
                let at = if plain == u32::MAX { 8 } else { 0 };
                if packed == u32::MAX {
                    bytes = u64::from_le_bytes(*field.get(at..)?.first_chunk()?);
                }
            }
        }
        let descriptor = flags & 8 != 0;
        // With a descriptor, zeros stand for what is not known.
        let told = !descriptor || bytes > 0;
        if bytes >= 1 << 62 {
            return None;
        }
        let bytes = told.then_some(bytes);
        Some(Header { header, bytes, method, encrypted: flags & 0x41 != 0, descriptor, long })
    }
}

/// Bytes of the descriptor that starts `bytes` and says that so many came before; the next header's start must show.
fn descriptor(bytes: &[u8], data: u64, long: bool) -> Option<usize> {
    let signed = bytes.starts_with(DESCRIPTOR);
    let begin = if signed { 4 } else { 0 };
    // Some writers use 64 bits without the extra field that says so, some the other way round.
    for long in [long, !long] {
        let packed = bytes.get(begin + 4..)?;
        let packed = if long {
            u64::from_le_bytes(*packed.first_chunk()?)
        } else {
            u32::from_le_bytes(*packed.first_chunk()?).into()
        };
        let end = begin + if long { 20 } else { 12 };
        let behind = bytes.get(end..).unwrap_or_default();
        if packed == data && (behind.starts_with(LOCAL) || BEHIND.iter().any(|s| behind.starts_with(s))) {
            return Some(end);
        }
    }
    None
}

/// Opens a ZIP file: a whole local header at its start.
pub(super) fn open<'a>(hints: Hints<'_>, options: Options<'a>) -> Option<Box<dyn Splitter + 'a>> {
    Header::read(hints.head)?;
    Some(Box::new(Zip {
        when: options.deflate,
        state: State::Header,
        left: 0,
        joins: false,
        before: Last::default(),
        doubt: None,
        member_doubt: None,
    }))
}

enum State<'a> {
    /// Before a local header or the central directory.
    Header,
    Stored(Member<'a>, Header),
    Deflate(Bounded<'a>, Header),
    /// As it is: so many bytes to go.
    Plain(u64, Header),
    /// Up to a descriptor; so many bytes so far.
    Search(u64, Header),
    /// Before a descriptor of so many bytes of data.
    Descriptor(u64, Header),
    Directory,
    Opaque,
}

/// The splitter of one ZIP file.
struct Zip<'a> {
    when: Deflate<'a>,
    state: State<'a>,
    /// Bytes of the wrapper still to pass before `state` holds.
    left: u64,
    /// A member was undone, and no other splitter gave to that stream since.
    joins: bool,
    before: Last,
    doubt: Option<&'static str>,
    member_doubt: Option<&'static str>,
}

impl Zip<'_> {
    fn give_up(&mut self, reason: &'static str) {
        self.state = State::Opaque;
        self.doubt.get_or_insert(reason);
    }

    fn header(&mut self, walk: &Walk<'_, '_>) {
        let rest = walk.rest();
        if BEHIND.iter().any(|s| rest.starts_with(s)) {
            self.state = State::Directory;
            return;
        }
        let Some(header) = Header::read(rest) else { return self.give_up("zip: a header that is none") };
        self.left = header.header as u64;
        let undone = header.method == DEFLATED && !header.encrypted && !matches!(self.when, Deflate::Never);
        self.state = match header.bytes {
            Some(bytes) if header.method == STORED && !header.encrypted && bytes >= ALONE => {
                self.joins = false;
                State::Stored(Member::new(bytes, open_member, WINDOW_MIN), header)
            }
            Some(bytes) if bytes < ALONE && !(undone && bytes >= UNDONE_MIN) => {
                self.left += bytes;
                self.behind(bytes, header);
                return;
            }
            Some(_) | None if undone => {
                let undo = Undo::new(self.when, Text::new(open_plain), self.joins);
                State::Deflate(Bounded::new(undo, header.bytes), header)
            }
            Some(bytes) => State::Plain(bytes, header),
            None => State::Search(0, header),
        };
    }

    /// So many bytes of data were given.
    fn behind(&mut self, bytes: u64, header: Header) {
        self.state = if header.descriptor { State::Descriptor(bytes, header) } else { State::Header };
    }

    /// A stream that is not undone, or no further.
    fn as_it_is(&mut self, given: u64, header: Header) {
        self.state = match header.bytes {
            Some(bytes) => State::Plain(bytes.saturating_sub(given), Header { bytes: Some(bytes), ..header }),
            None => State::Search(given, header),
        };
    }

    /// Gives data up to a descriptor. False if the next window is needed.
    fn search(&mut self, walk: &mut Walk<'_, '_>, last: bool, mut given: u64, header: Header) -> bool {
        loop {
            let rest = walk.rest();
            let next = rest.windows(4).position(|w| w == DESCRIPTOR);
            let at = next.unwrap_or(if last { rest.len() } else { rest.len().saturating_sub(3) });
            walk.give(ESSENCE, at);
            given += at as u64;
            self.state = State::Search(given, header);
            let rest = walk.rest();
            if next.is_none() || rest.is_empty() || (!last && !walk.is_fresh() && rest.len() < DESCRIPTOR_MAX + 4) {
                return false;
            }
            if let Some(bytes) = descriptor(rest, given, header.long) {
                self.left = bytes as u64;
                self.state = State::Header;
                return true;
            }
            walk.give(ESSENCE, 1);
            given += 1;
        }
    }

    /// Bytes that must be shown at once.
    fn wanted(&self) -> usize {
        match self.state {
            State::Header => HEADER_MAX,
            State::Descriptor(..) => DESCRIPTOR_MAX + 4,
            _ => 0,
        }
    }
}

impl Splitter for Zip<'_> {
    fn id(&self) -> SplitterId {
        ZIP
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
                State::Header => self.header(&walk),
                State::Stored(member, header) => {
                    let header = *header;
                    let more = member.step(&mut walk, last);
                    if member.left() == 0 {
                        self.member_doubt = self.member_doubt.or(member.doubt());
                        self.behind(header.bytes.unwrap_or_default(), header);
                    } else if !more {
                        break;
                    }
                }
                State::Deflate(stream, header) => {
                    let header = *header;
                    let step = stream.step(&mut walk, last);
                    let given = stream.given();
                    self.joins |= given > 0;
                    match step {
                        Step::Went => {}
                        Step::Wait => break,
                        Step::End => match header.bytes {
                            Some(bytes) if bytes > given => self.as_it_is(given, header),
                            _ => self.behind(given, header),
                        },
                        Step::Stop(reason) => {
                            self.member_doubt.get_or_insert(reason);
                            self.as_it_is(given, header);
                        }
                        Step::Declined => self.as_it_is(given, header),
                    }
                }
                State::Plain(left, header) => {
                    walk.give_some(ESSENCE, left);
                    if *left == 0 {
                        let header = *header;
                        self.behind(header.bytes.unwrap_or_default(), header);
                        walk.cut();
                    }
                }
                State::Search(given, header) => {
                    let (given, header) = (*given, *header);
                    if !self.search(&mut walk, last, given, header) && !walk.rest().is_empty() {
                        if !walk.is_fresh() && !last {
                            break;
                        }
                        let bytes = walk.rest().len(); // no descriptor fits any more
                        walk.give(ESSENCE, bytes);
                    }
                }
                State::Descriptor(data, header) => match descriptor(rest, *data, header.long) {
                    Some(bytes) => {
                        self.left = bytes as u64;
                        self.state = State::Header;
                    }
                    None => self.give_up("zip: a descriptor that is none"),
                },
                State::Directory => walk.give(WRAPPER, rest.len()),
                State::Opaque => walk.give(ESSENCE, rest.len()),
            }
        }
        self.before = before;
        if last && (self.left > 0 || !matches!(self.state, State::Header | State::Directory | State::Opaque)) {
            self.give_up("zip: it is cut short");
        }
    }

    fn doubt(&self) -> Option<&'static str> {
        self.doubt.or(self.member_doubt)
    }
}

#[cfg(test)]
mod tests;
