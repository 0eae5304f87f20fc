//! Which token an encoder of zlib's kind would write next.
//!
//! Owns the hash chains of three bytes and the two ways to choose a match (zlib's `deflate_fast` and `deflate_slow`), with
//! their settings. Another encoder's tokens are guessed less often, which costs space.
//!
//! # Invariants
//!
//! 1. A prediction depends on the settings, the text of the segment and the tokens before it alone. It is part of version 1
//!    of the way back, so it never changes.
//! 2. Steps along chains are counted; who asks ends where there are too many. Memory: two tables of 128 KiB.

use super::inflate::Token;
use crate::error::Result;
use crate::format::wire::{Put, Reader};

const HASH: usize = 1 << 15;
const WINDOW: usize = 1 << 15;
const MIN: usize = 3;
const MAX: usize = 258;

/// Steps that a reference's place in its chain may cost.
const HOPS: u32 = 1 << 12;

/// Settings of an encoder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Looks whether a longer match begins a byte later.
    pub lazy: bool,
    /// A match of so many bytes makes the next search shorter.
    pub good: u16,
    /// Lazy: a match of so many bytes is taken at once. Else: bytes within a longer match are not searched for.
    pub longest_lazy: u16,
    /// A match of so many bytes ends a search.
    pub nice: u16,
    /// Steps of a search.
    pub chain: u16,
    /// Lazy: a match of three bytes is not worth it from beyond.
    pub far: u16,
    /// The first match of a search may be so far away; others are nearer.
    pub window: u16,
}

const fn zlib(lazy: bool, good: u16, longest_lazy: u16, nice: u16, chain: u16) -> Settings {
    Settings { lazy, good, longest_lazy, nice, chain, far: 4096, window: 32_768 - 262 }
}

const fn other(lazy: bool, longest_lazy: u16, nice: u16, chain: u16, far: u16) -> Settings {
    Settings { lazy, good: 258, longest_lazy, nice, chain, far, window: 32_768 }
}

/// What is tried, in this order: zlib's levels 6, 1 to 5 and 7 to 9, then what resembles others. Settings stand in each
/// segment: this list may grow.
pub const KNOWN: [Settings; 16] = [
    zlib(true, 8, 16, 128, 128),
    zlib(false, 4, 4, 8, 4),
    zlib(false, 4, 5, 16, 8),
    zlib(false, 4, 6, 32, 32),
    zlib(true, 4, 4, 16, 16),
    zlib(true, 8, 16, 32, 32),
    zlib(true, 8, 32, 128, 256),
    zlib(true, 32, 128, 258, 1024),
    zlib(true, 32, 258, 258, 4096),
    // libdeflate's lazy levels, about.
    other(true, 258, 65, 35, 8192),
    other(true, 258, 258, 150, 8192),
    // What weighs each token by its bits: 7-Zip, Zopfli, libdeflate's highest levels.
    other(true, 258, 258, 256, 512),
    other(true, 258, 258, 256, 2048),
    other(true, 258, 258, 1024, 32_768),
    other(true, 2, 258, 256, 32_768),
    other(false, 258, 258, 32, 32_768),
];

impl Settings {
    pub fn encode_into(&self, out: &mut Vec<u8>) {
        out.put_u8(u8::from(self.lazy));
        for v in [self.good, self.longest_lazy, self.nice, self.chain, self.far, self.window] {
            out.put_varint(v.into());
        }
    }

    /// # Errors
    /// [`crate::Error::Malformed`].
    pub fn decode(r: &mut Reader<'_>) -> Result<Settings> {
        let lazy = r.flag()?;
        let mut values = [0; 6];
        for v in &mut values {
            *v = u16::try_from(r.varint()?).map_err(|_| r.bad("a setting that cannot be"))?;
        }
        let [good, longest_lazy, nice, chain, far, window] = values;
        Ok(Settings { lazy, good, longest_lazy, nice, chain, far, window })
    }
}

/// A match: its length, at least 3, and its distance. Length 0: a literal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Match {
    pub length: usize,
    pub distance: usize,
}

impl Match {
    pub fn of(token: Token) -> Match {
        Match { length: (token >> 16) as usize, distance: (token & 0xffff) as usize }
    }

    pub fn token(self) -> Token {
        // At most 258 and 32768.
        (self.length as u32) << 16 | self.distance as u32
    }

    /// Bytes of the text.
    pub fn bytes(self) -> usize {
        self.length.max(1)
    }
}

/// Goes through a segment's text, token by token.
#[derive(Debug)]
pub struct Predictor<'t> {
    text: &'t [u8],
    settings: Settings,
    /// The stream begins with this text: zlib never refers to its first byte.
    first: bool,
    /// By hash, and by place in the window: place + 1 of the last, and of the one before; 0 is none.
    head: Vec<u32>,
    before: Vec<u32>,
    /// The next place.
    at: usize,
    /// Places before this one are in the tables, or never will be.
    known: usize,
    /// A match found at `at` while the token before was looked for.
    found: Option<Match>,
    pub steps: u64,
}

/// How many bytes two places have in common, at most `most`.
fn common(text: &[u8], a: usize, b: usize, most: usize) -> usize {
    let (Some(a), Some(b)) = (text.get(a..a + most), text.get(b..b + most)) else { return 0 };
    let mut n = 0;
    let mut eights = a.chunks_exact(8).zip(b.chunks_exact(8));
    for (x, y) in eights.by_ref() {
        // Both have eight bytes.
        let word = |s: &[u8]| s.first_chunk().map_or(0, |c| u64::from_le_bytes(*c));
        let differ = word(x) ^ word(y);
        if differ != 0 {
            return n + (differ.trailing_zeros() / 8) as usize;
        }
        n += 8;
    }
    n + a.iter().skip(n).zip(b.iter().skip(n)).take_while(|(x, y)| x == y).count()
}

/// The four bytes that end `longest` behind a place, or those that there are before.
#[inline]
fn probe(text: &[u8], at: usize, longest: usize) -> Option<u32> {
    match longest.checked_sub(3) {
        Some(n) => text.get(at + n..)?.first_chunk().map(|b| u32::from_le_bytes(*b)),
        None => text.get(at..)?.first_chunk().map(|b: &[u8; 3]| {
            let &[a, b, c] = b;
            u32::from_le_bytes([a, b, c, 0])
        }),
    }
}

impl<'t> Predictor<'t> {
    pub fn new(text: &'t [u8], settings: Settings, first: bool) -> Predictor<'t> {
        Predictor {
            text,
            settings,
            first,
            head: vec![0; HASH],
            before: vec![0; WINDOW],
            at: 0,
            known: 0,
            found: None,
            steps: 0,
        }
    }

    /// Bytes that are left.
    pub fn left(&self) -> usize {
        self.text.len() - self.at // `at` never passes the end
    }

    fn hash(&self, at: usize) -> Option<usize> {
        let &[a, b, c] = self.text.get(at..)?.first_chunk()?;
        Some((usize::from(a) << 10 ^ usize::from(b) << 5 ^ usize::from(c)) & (HASH - 1))
    }

    fn insert(&mut self, to: usize) {
        for at in self.known..to {
            let Some(hash) = self.hash(at) else { break };
            // Both are below the tables' lengths; a text is shorter than 2^32.
            self.before[at % WINDOW] = self.head[hash];
            self.head[hash] = at as u32 + 1;
        }
        self.known = self.known.max(to);
    }

    /// The nearest place before `at` with its hash.
    fn newest(&self, at: usize) -> Option<usize> {
        let place = if self.known > at { self.before[at % WINDOW] } else { self.head[self.hash(at)?] }; // as above
        self.usable(place, at)
    }

    /// The next place on the chain.
    fn older(&self, than: usize) -> Option<usize> {
        self.usable(self.before[than % WINDOW], than) // as above
    }

    fn usable(&self, place: u32, before: usize) -> Option<usize> {
        let place = (place as usize).checked_sub(1)?;
        (place < before && !(self.first && place == 0)).then_some(place)
    }

    /// The longest match at `at` that is longer than `longest`.
    fn search(&mut self, at: usize, longest: usize) -> Option<Match> {
        let s = self.settings;
        let most = MAX.min(self.text.len().checked_sub(at)?);
        let window = usize::from(s.window);
        let mut place = self.newest(at).filter(|p| at - p <= window)?; // a place before `at`
        let mut chain = if longest >= usize::from(s.good) { s.chain >> 2 } else { s.chain };
        let nice = usize::from(s.nice).min(most);
        let mut best = Match { length: longest, distance: 0 };
        let mut wanted = probe(self.text, at, longest);
        while best.length < most {
            self.steps += 1;
            // A longer match has the same bytes there.
            if probe(self.text, place, best.length) == wanted {
                let length = common(self.text, place, at, most);
                if length > best.length {
                    best = Match { length, distance: at - place };
                    if length >= nice {
                        break;
                    }
                    wanted = probe(self.text, at, length);
                }
            }
            chain = chain.saturating_sub(1);
            match self.older(place).filter(|p| at - p < window) {
                Some(older) if chain > 0 => place = older,
                _ => break,
            }
        }
        (best.distance > 0).then_some(best)
    }

    /// The next token as the encoder would write it.
    pub fn next(&mut self) -> Match {
        let (at, s) = (self.at, self.settings);
        let found = match self.found.take() {
            Some(found) => Some(found),
            None => self.search(at, MIN - 1),
        };
        let Some(found) = found else { return Match::default() };
        if !s.lazy {
            return found;
        }
        if found.length == MIN && found.distance > usize::from(s.far) {
            return Match::default();
        }
        if found.length < usize::from(s.longest_lazy) {
            self.insert(at + 1);
            let later = self.search(at + 1, found.length);
            if later.is_some() {
                self.found = later;
                return Match::default();
            }
        }
        found
    }

    /// Passes the token that was written: one byte for a literal. False where the text does not have so much.
    pub fn pass(&mut self, token: Match) -> bool {
        let bytes = token.bytes();
        if bytes > self.left() {
            return false;
        }
        let end = self.at + bytes;
        if self.settings.lazy || token.length <= usize::from(self.settings.longest_lazy) {
            self.insert(end);
        } else {
            self.insert(self.at + 1);
            self.known = end;
        }
        if token.length > 0 {
            self.found = None;
        }
        self.at = end;
        true
    }

    /// Where in its chain a match is found: the how many-th of its length, from 1 on.
    pub fn hops(&mut self, wanted: Match) -> Option<u32> {
        let mut count = 0;
        self.walk(wanted.length, |distance| {
            count += 1;
            if distance == wanted.distance { Some(Some(count)) } else { (distance > wanted.distance).then_some(None) }
        })
        .flatten()
    }

    /// The way back of [`Predictor::hops`].
    pub fn hop(&mut self, length: usize, hops: u32) -> Option<Match> {
        let mut count = 0;
        self.walk(length, |distance| {
            count += 1;
            (count == hops).then_some(Match { length, distance })
        })
    }

    fn walk<T>(&mut self, length: usize, mut each: impl FnMut(usize) -> Option<T>) -> Option<T> {
        if length > self.left() {
            return None;
        }
        let mut place = self.newest(self.at);
        for _ in 0..HOPS {
            let from = place.filter(|p| self.at - p <= WINDOW)?; // a place before `at`
            self.steps += 1;
            if common(self.text, from, self.at, length) == length
                && let Some(answer) = each(self.at - from)
            {
                return Some(answer);
            }
            place = self.older(from);
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_come_back() {
        for settings in KNOWN {
            let mut out = Vec::new();
            settings.encode_into(&mut out);
            let mut r = Reader::new("t", &out);
            assert_eq!(Settings::decode(&mut r).unwrap(), settings);
            r.end().unwrap();
        }
    }

    #[test]
    fn a_repetition_is_found_and_its_hops_lead_back_to_it() {
        let text = b"abcdX-abcdY-abcdZ-abcd".repeat(3);
        let mut p = Predictor::new(&text, KNOWN[0], true);
        while p.left() > 0 {
            let token = p.next();
            if token.length > 0 {
                let hops = p.hops(token).unwrap();
                assert_eq!(p.hop(token.length, hops), Some(token));
            }
            assert!(p.pass(token));
        }
        assert!(p.steps > 0);
    }
}
