//! gzip: the text apart from headers (RFC 1952), where deflate is undone.
//!
//! ```text
//!  header    wrapper   1f 8b 08, flags, time, extra field, name, comment, check
//!  deflate   see `deflate`: the text by its own splitter, which may be tar's
//!  trailer   wrapper   CRC-32 and length
//!  ...                 more members, or zeros
//! ```
//! Where deflate stays as it is, this splitter is not used: nothing tells where a member ends. Members from the first one
//! on that is not undone are opaque.
//!
//! # Invariants
//!
//! State: that of `Undo`, and a few numbers.

use super::deflate::{Step, Undo};
use super::nested::Text;
use super::runs::{Last, Walk};
use super::{Deflate, ESSENCE, GZIP, Hints, Options, Part, Splitter, SplitterId, WRAPPER, open_text};

/// Bytes of a header that are looked at.
const HEADER_MAX: usize = 128 << 10;
const TRAILER: u64 = 8;

/// Bytes of the header that starts `bytes`. `None`: it is none, or is not there as a whole.
fn header(bytes: &[u8]) -> Option<usize> {
    let &[0x1f, 0x8b, 8, flags, _, _, _, _, _, _] = bytes.first_chunk()? else { return None };
    if flags & 0xe0 != 0 {
        return None;
    }
    let mut at = 10;
    if flags & 4 != 0 {
        let n = u16::from_le_bytes(*bytes.get(at..)?.first_chunk()?);
        at += 2 + usize::from(n);
    }
    for flag in [8, 16] {
        if flags & flag != 0 {
            at += bytes.get(at..HEADER_MAX.min(bytes.len()))?.iter().position(|b| *b == 0)? + 1;
        }
    }
    at += if flags & 2 != 0 { 2 } else { 0 };
    (at <= bytes.len()).then_some(at)
}

/// Opens a gzip file: a whole header at its start.
pub(super) fn open<'a>(hints: Hints<'_>, options: Options<'a>) -> Option<Box<dyn Splitter + 'a>> {
    if matches!(options.deflate, Deflate::Never) {
        return None;
    }
    header(hints.head)?;
    let state = State::Header;
    Some(Box::new(Gzip { when: options.deflate, state, left: 0, joins: false, before: Last::default(), doubt: None }))
}

enum State<'a> {
    Header,
    Deflate(Box<Undo<'a>>),
    Opaque,
}

/// The splitter of one gzip file.
struct Gzip<'a> {
    when: Deflate<'a>,
    state: State<'a>,
    /// Bytes of the wrapper still to pass before `state` holds.
    left: u64,
    /// A member was undone.
    joins: bool,
    before: Last,
    doubt: Option<&'static str>,
}

impl Gzip<'_> {
    fn give_up(&mut self, reason: Option<&'static str>) {
        self.state = State::Opaque;
        self.doubt = self.doubt.or(reason);
    }
}

impl Splitter for Gzip<'_> {
    fn id(&self) -> SplitterId {
        GZIP
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
            match &mut self.state {
                State::Header => {
                    if !last && !walk.is_fresh() && rest.len() < HEADER_MAX {
                        break;
                    }
                    let zeros = rest.iter().take_while(|b| **b == 0).count();
                    if zeros > 0 {
                        walk.give(WRAPPER, zeros);
                    } else if let Some(bytes) = header(rest) {
                        self.left = bytes as u64;
                        self.state = State::Deflate(Box::new(Undo::new(self.when, Text::new(open_text), self.joins)));
                    } else {
                        self.give_up(Some("gzip: a header that is none"));
                    }
                }
                State::Deflate(undo) => match undo.step(&mut walk, last) {
                    Step::Went => {}
                    Step::Wait => break,
                    Step::End => {
                        self.left = TRAILER;
                        self.joins = true;
                        self.state = State::Header;
                    }
                    Step::Stop(reason) => self.give_up(Some(reason)),
                    Step::Declined => self.give_up(None),
                },
                State::Opaque => walk.give(ESSENCE, rest.len()),
            }
        }
        self.before = before;
        if last && (self.left > 0 || matches!(self.state, State::Deflate(_))) {
            self.give_up(Some("gzip: it is cut short"));
        }
    }

    fn doubt(&self) -> Option<&'static str> {
        self.doubt
    }
}

#[cfg(test)]
mod tests;
