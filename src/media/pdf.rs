//! PDF: what its streams hold apart from objects (ISO 32000-1, 7.3.8).
//!
//! ```text
//!  objects, text, tables       wrapper
//!  stream, DCTDecode alone     a JPEG, as a file of its own, if it is 64 KiB or more
//!  stream, FlateDecode alone   zlib's header: wrapper; deflate: see `deflate`, where it is undone; check: wrapper
//!  other streams of 64 KiB     essence
//!  smaller streams             wrapper
//!  ...                         to the file's end; what later saves append is more of the same
//! ```
//! Objects are not looked up: a stream is where the keyword stands behind a dictionary. How long it is its dictionary says, or
//! else the next `endstream` does.
//!
//! # Invariants
//!
//! 1. A stream that has its own splitter begins and ends on borders, and is split as a file of its own would be.
//! 2. What is a stream depends on the bytes before it, up to [`DICTIONARY_MAX`], and on those behind it, up to [`AHEAD`].
//! 3. State: a few numbers, and the stream's own splitter or `Bounded`.

use super::deflate::{Bounded, Step, Undo};
use super::nested::{ALONE, Member, Text};
use super::runs::{Last, Walk};
use super::{
    Deflate, ESSENCE, Hints, Options, PDF, Part, Splitter, SplitterId, WINDOW_MIN, WRAPPER, open_member, open_plain,
};

const MAGIC: &[u8] = b"%PDF-";
const STREAM: &[u8] = b"stream";
const END: &[u8] = b"endstream";
const OBJECT: &[u8] = b"obj";

/// A dictionary is looked for in so many bytes before the keyword.
const DICTIONARY_MAX: usize = 4096;
/// The keyword and the line's end behind it.
const KEYWORD_MAX: usize = STREAM.len() + 2;
/// Bytes of a stream in which its end is looked for, if its dictionary does not tell.
const AHEAD: usize = 1 << 20;
/// Bytes that must be shown at once between streams.
const WANTED: usize = DICTIONARY_MAX + KEYWORD_MAX + AHEAD + END.len();

const _: () = assert!(WANTED <= WINDOW_MIN);

/// A compressed stream below is not undone: a segment costs some hundred bytes.
const UNDONE_MIN: u64 = 16 << 10;
/// Bytes of zlib's header (RFC 1950).
const ZLIB: u64 = 2;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Filter {
    Flate,
    Jpeg,
    Other,
}

/// What a dictionary says of its stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Dictionary {
    filter: Filter,
    /// Where it stands in the dictionary itself.
    bytes: Option<u64>,
}

fn is_white(byte: u8) -> bool {
    matches!(byte, 0 | b'\t' | b'\n' | 0x0c | b'\r' | b' ')
}

fn trimmed(bytes: &[u8]) -> &[u8] {
    bytes.get(bytes.iter().take_while(|b| is_white(**b)).count()..).unwrap_or_default()
}

/// The name that starts `bytes`, without its slash, and what is behind it.
fn name(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let bytes = bytes.strip_prefix(b"/")?;
    let ends = |b: &u8| is_white(*b) || b"()<>[]{}/%".contains(b);
    bytes.split_at_checked(bytes.iter().position(ends).unwrap_or(bytes.len()))
}

/// The number that starts `bytes`, and what is behind it.
fn number(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let digits = bytes.iter().take_while(|b| b.is_ascii_digit()).count();
    let (digits, rest) = bytes.split_at_checked(digits)?;
    Some((std::str::from_utf8(digits).ok()?.parse().ok()?, rest))
}

impl Dictionary {
    /// Reads what stands between an object's keyword and its stream's. `None` if that is no dictionary.
    fn read(object: &[u8]) -> Option<Dictionary> {
        let end = object.iter().rposition(|b| !is_white(*b))? + 1;
        let mut rest = trimmed(object.get(..end)?.strip_suffix(b">>")?).strip_prefix(b"<<")?;
        let mut found = Dictionary { filter: Filter::Other, bytes: None };
        while let Some(at) = rest.iter().position(|b| *b == b'/') {
            let Some((key, value)) = name(rest.get(at..)?) else { break };
            rest = value;
            let value = trimmed(value);
            match key {
                b"Filter" => {
                    let (is_list, value) = value.strip_prefix(b"[").map_or((false, value), |v| (true, trimmed(v)));
                    let Some((filter, behind)) = name(value) else { continue };
                    if is_list && !trimmed(behind).starts_with(b"]") {
                        continue; // several, or none
                    }
                    found.filter = match filter {
                        b"FlateDecode" | b"Fl" => Filter::Flate,
                        b"DCTDecode" | b"DCT" => Filter::Jpeg,
                        _ => Filter::Other,
                    };
                }
                b"Length" => {
                    let Some((bytes, behind)) = number(value) else { continue };
                    // `12 0 R` says where the length stands.
                    let is_reference = number(trimmed(behind)).is_some_and(|(_, r)| trimmed(r).starts_with(b"R"));
                    found.bytes = Some(bytes).filter(|n| !is_reference && *n < 1 << 62);
                }
                _ => {}
            }
        }
        Some(found)
    }
}

/// Where the first stream's bytes begin in `bytes`, and what is known of it. One pass: what looks like many streams costs no more.
fn find(bytes: &[u8]) -> Option<(usize, Dictionary)> {
    let mut object = None;
    for (at, byte) in bytes.iter().enumerate() {
        let from_here = || bytes.get(at..).unwrap_or_default();
        match byte {
            b'o' if from_here().starts_with(OBJECT) => object = Some(at + OBJECT.len()),
            b's' if from_here().starts_with(STREAM) => {
                let begin = at + STREAM.len();
                let line_end = match bytes.get(begin..).unwrap_or_default() {
                    [b'\r', b'\n', ..] => 2,
                    [b'\n', ..] => 1,
                    _ => continue, // `endstream` among others
                };
                let Some(from) = object.filter(|from| at - from <= DICTIONARY_MAX) else { continue };
                if let Some(dictionary) = bytes.get(from..at).and_then(Dictionary::read) {
                    return Some((begin + line_end, dictionary));
                }
                object = None; // it is no stream's, so it is none behind the next keyword either
            }
            _ => {}
        }
    }
    None
}

/// Bytes of a stream that starts `bytes` and whose end shows, without the line's end before the keyword.
fn ended(bytes: &[u8]) -> Option<u64> {
    let shown = bytes.get(..AHEAD + END.len()).unwrap_or(bytes);
    let data = shown.get(..shown.windows(END.len()).position(|w| w == END)?)?;
    let data = data.strip_suffix(b"\n").unwrap_or(data);
    Some(data.strip_suffix(b"\r").unwrap_or(data).len() as u64)
}

/// Opens a PDF: its header at the start.
pub(super) fn open<'a>(hints: Hints<'_>, options: Options<'a>) -> Option<Box<dyn Splitter + 'a>> {
    hints.head.starts_with(MAGIC).then(|| -> Box<dyn Splitter + 'a> {
        Box::new(Pdf {
            when: options.deflate,
            state: State::Objects,
            left: 0,
            joins: false,
            before: Last::default(),
            doubt: None,
            stream_doubt: None,
        })
    })
}

enum State<'a> {
    /// Between streams.
    Objects,
    Jpeg(Member<'a>),
    Deflate(Bounded<'a>),
    /// As it is: so many bytes to go.
    Plain(u64),
    /// Up to the keyword behind it.
    Search,
}

/// The splitter of one PDF.
struct Pdf<'a> {
    when: Deflate<'a>,
    state: State<'a>,
    /// Bytes of the wrapper still to pass before `state` holds.
    left: u64,
    /// A stream was undone, and no other splitter gave to that stream since.
    joins: bool,
    before: Last,
    doubt: Option<&'static str>,
    stream_doubt: Option<&'static str>,
}

impl Pdf<'_> {
    /// Goes to the next stream. False if the next window is needed.
    fn objects(&mut self, walk: &mut Walk<'_, '_>, last: bool) -> bool {
        let rest = walk.rest();
        let Some((begin, dictionary)) = find(rest) else {
            // What is kept may be a dictionary, and the keyword's start.
            let given = if last { rest.len() } else { rest.len().saturating_sub(DICTIONARY_MAX + KEYWORD_MAX) };
            let given = if given == 0 && walk.is_fresh() { rest.len() } else { given };
            walk.give(WRAPPER, given);
            return given > 0;
        };
        let data = rest.get(begin..).unwrap_or_default();
        if !last && !walk.is_fresh() && data.len() < AHEAD + END.len() {
            return false;
        }
        if !last && data.len() < AHEAD + END.len() && begin > DICTIONARY_MAX + KEYWORD_MAX {
            // The next window shows what is behind the keyword.
            walk.give(WRAPPER, begin - DICTIONARY_MAX - KEYWORD_MAX);
            return true;
        }
        let bytes = dictionary.bytes.or_else(|| ended(data));
        self.left = begin as u64;
        let is_zlib =
            matches!(data, [a, b, ..] if a & 15 == 8 && b & 32 == 0 && (u16::from(*a) << 8 | u16::from(*b)) % 31 == 0);
        let undone = dictionary.filter == Filter::Flate && is_zlib && !matches!(self.when, Deflate::Never);
        self.state = match bytes {
            Some(bytes) if dictionary.filter == Filter::Jpeg && bytes >= ALONE => {
                self.joins = false;
                State::Jpeg(Member::new(bytes, open_member, WINDOW_MIN))
            }
            Some(bytes) if bytes < ALONE && !(undone && bytes >= UNDONE_MIN) => {
                self.left += bytes;
                State::Objects
            }
            _ if undone => {
                self.left += ZLIB;
                let undo = Undo::new(self.when, Text::new(open_plain), self.joins);
                State::Deflate(Bounded::new(undo, bytes.map(|n| n.saturating_sub(ZLIB))))
            }
            Some(bytes) => State::Plain(bytes),
            None => State::Search,
        };
        true
    }
}

impl Splitter for Pdf<'_> {
    fn id(&self) -> SplitterId {
        PDF
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
                State::Objects => {
                    if (!last && !walk.is_fresh() && rest.len() < WANTED) || !self.objects(&mut walk, last) {
                        break;
                    }
                }
                State::Jpeg(member) => {
                    let more = member.step(&mut walk, last);
                    if member.left() == 0 {
                        self.stream_doubt = self.stream_doubt.or(member.doubt());
                        self.state = State::Objects;
                    } else if !more {
                        break;
                    }
                }
                State::Deflate(stream) => {
                    let step = stream.step(&mut walk, last);
                    self.joins |= stream.given() > 0;
                    let as_it_is = stream.left().map_or(State::Search, State::Plain);
                    match step {
                        Step::Went => {}
                        Step::Wait => break,
                        // Behind it: its check, and the line's end.
                        Step::End => self.state = State::Objects,
                        Step::Stop(reason) => {
                            self.stream_doubt.get_or_insert(reason);
                            self.state = as_it_is;
                        }
                        Step::Declined => self.state = as_it_is,
                    }
                }
                State::Plain(left) => {
                    walk.give_some(ESSENCE, left);
                    if *left == 0 {
                        self.state = State::Objects;
                        walk.cut();
                    }
                }
                State::Search => {
                    let next = rest.windows(END.len()).position(|w| w == END);
                    let kept = if last { 0 } else { END.len() - 1 };
                    let given = next.unwrap_or(rest.len().saturating_sub(kept));
                    let given = if given == 0 && next.is_none() && walk.is_fresh() { rest.len() } else { given };
                    walk.give(ESSENCE, given);
                    match next {
                        Some(_) => {
                            self.state = State::Objects;
                            walk.cut();
                        }
                        None if given == 0 => break,
                        None => {}
                    }
                }
            }
        }
        self.before = before;
        if last && (self.left > 0 || !matches!(self.state, State::Objects)) {
            self.doubt.get_or_insert("pdf: it is cut short");
        }
    }

    fn doubt(&self) -> Option<&'static str> {
        self.doubt.or(self.stream_doubt)
    }
}

#[cfg(test)]
mod tests;
