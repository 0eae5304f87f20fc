//! What of a segment's blocks cannot be guessed: its corrections.
//!
//! ```text
//! corrections := blocks trees right_literals right_matches wrong_matches wrong_literals hops far    lists, see `coder`
//! blocks      := (kind tokens){..}      kind: 1 last · 2 x {0 stored, 1 fixed, 2 dynamic as zlib, 3 dynamic otherwise}
//!                                       stored: bytes instead of tokens
//! trees       := bits byte*             for each block of kind 3: its header's bits; a stored one: the padding in front alone
//! right_literals, right_matches         how many literals, or matches, were guessed right between two that were not; what
//!                                       follows the last wrong one is not told
//! wrong_matches                         for each match guessed wrongly: 0 a literal, else zigzag(length - guessed) + 1
//! wrong_literals                        for each literal guessed wrongly: length - 3
//! hops                                  for each match so told: 0 far, else its place in the chain
//! far                                   for each far one: distance - 1
//! ```
//!
//! # Invariants
//!
//! What [`encode`] wrote, [`decode`] reads to the same blocks and tokens, or refuses; both are bounded by the text and by
//! [`steps_max`].

use super::bits::Writer;
use super::coder::{Decoder, Encoder};
use super::inflate::{self, Bits, Block, DISTANCE_CODES, END, Kind, LENGTHS, Token};
use super::predict::{Match, Predictor, Settings};
use super::tree::{self, Counts};
use crate::media::signed::{unzigzag, zigzag};

/// Steps of all searches of a segment: what a file may cost.
pub fn steps_max(file_bytes: usize, text_bytes: usize) -> u64 {
    (file_bytes as u64).saturating_mul(2048).saturating_add((text_bytes as u64).saturating_mul(64))
}

/// Blocks, what they say, and what that means.
#[derive(Clone, Copy, Debug)]
pub struct Content<'a> {
    pub text: &'a [u8],
    pub blocks: &'a [Block],
    pub tokens: &'a [Token],
    /// The deflate stream begins here.
    pub first: bool,
}

impl<'a> Content<'a> {
    /// Each block with its own text and tokens; ends where they do not fit.
    fn parts(self) -> impl Iterator<Item = (&'a Block, &'a [u8], &'a [Token])> {
        let (mut text, mut tokens) = (self.text, self.tokens);
        self.blocks.iter().map_while(move |block| {
            let (these, rest) = tokens.split_at_checked(block.tokens)?;
            tokens = rest;
            let bytes = match block.kind {
                Kind::Stored { bytes, .. } => bytes as usize,
                _ => these.iter().map(|t| Match::of(*t).bytes()).sum(),
            };
            let (said, rest) = text.split_at_checked(bytes)?;
            text = rest;
            Some((block, said, these))
        })
    }

    /// The first blocks, until they mean so many bytes.
    pub fn front(self, bytes: usize) -> Content<'a> {
        let (mut said, mut tokens, mut blocks) = (0, 0, 0);
        for (block, text, these) in self.parts() {
            if said >= bytes {
                break;
            }
            (said, tokens, blocks) = (said + text.len(), tokens + block.tokens, blocks + 1);
            debug_assert_eq!(block.tokens, these.len());
        }
        let some = |n: usize, of: &'a [u8]| of.get(..n).unwrap_or(of);
        Content {
            text: some(said, self.text),
            blocks: self.blocks.get(..blocks).unwrap_or(self.blocks),
            tokens: self.tokens.get(..tokens).unwrap_or(self.tokens),
            first: self.first,
        }
    }
}

/// What is told of the guesses.
#[derive(Debug, Default)]
struct Told {
    right_literals: Vec<u32>,
    right_matches: Vec<u32>,
    wrong_matches: Vec<u32>,
    wrong_literals: Vec<u32>,
    hops: Vec<u32>,
    far: Vec<u32>,
    steps: u64,
}

/// Goes through the tokens; `None` where the text does not have them, or for too many steps.
fn tell(content: Content<'_>, settings: Settings, steps_max: u64) -> Option<Told> {
    let mut p = Predictor::new(content.text, settings, content.first);
    let mut told = Told::default();
    let (mut literals, mut matches) = (0, 0);
    for (block, said, tokens) in content.parts() {
        if let Kind::Stored { .. } = block.kind {
            said.iter().all(|_| p.pass(Match::default())).then_some(())?;
            continue;
        }
        for &token in tokens {
            let (guess, is) = (p.next(), Match::of(token));
            if p.steps > steps_max {
                return None;
            }
            if guess == is {
                *if guess.length == 0 { &mut literals } else { &mut matches } += 1;
            } else {
                if guess.length == 0 {
                    told.right_literals.push(std::mem::take(&mut literals));
                    told.wrong_literals.push(u32::try_from(is.length.checked_sub(3)?).ok()?);
                } else {
                    told.right_matches.push(std::mem::take(&mut matches));
                    // Both are at most 258.
                    let differ = zigzag(is.length as i64 - guess.length as i64);
                    told.wrong_matches.push(if is.length == 0 { 0 } else { u32::try_from(differ + 1).ok()? });
                }
                if is.length > 0 {
                    let hops = p.hops(is);
                    told.hops.push(hops.unwrap_or(0));
                    if hops.is_none() {
                        told.far.push(u32::try_from(is.distance.checked_sub(1)?).ok()?);
                    }
                }
            }
            p.pass(is).then_some(())?;
        }
    }
    told.steps = p.steps;
    (p.left() == 0).then_some(told)
}

/// Writes the corrections under these settings; `None` where they cost too many steps.
pub fn encode(content: Content<'_>, settings: Settings, steps_max: u64) -> Option<Vec<u8>> {
    let told = tell(content, settings, steps_max)?;
    let (mut head, mut trees) = (Vec::new(), Vec::new());
    for (block, said, tokens) in content.parts() {
        let last = u32::from(block.last);
        let count = u32::try_from(tokens.len()).ok()?;
        match &block.kind {
            Kind::Stored { padding, bytes } => {
                head.extend([last, *bytes]);
                trees.push(*padding);
            }
            Kind::Fixed => head.extend([last | 2, count]),
            Kind::Dynamic { header, bits } => {
                let zlib = tree::header(&counts(said, tokens));
                if (&zlib.0, zlib.1) == (header, *bits) {
                    head.extend([last | 4, count]);
                } else {
                    head.extend([last | 6, count]);
                    trees.push(*bits);
                    trees.extend(header.iter().map(|b| u32::from(*b)));
                }
            }
        }
    }
    let mut out = Encoder::default();
    for list in [
        &head,
        &trees,
        &told.right_literals,
        &told.right_matches,
        &told.wrong_matches,
        &told.wrong_literals,
        &told.hops,
        &told.far,
    ] {
        out.list(list);
    }
    Some(out.finish())
}

/// About how many bits the corrections take, and how many steps: to choose between settings.
pub fn cost(content: Content<'_>, settings: Settings, steps_max: u64) -> Option<(u64, u64)> {
    let told = tell(content, settings, steps_max)?;
    let count = |l: &Vec<u32>| l.len() as u64;
    let wrong = count(&told.right_literals) + count(&told.right_matches);
    Some((wrong * 9 + count(&told.hops) * 4 + count(&told.far) * 14, told.steps))
}

fn counts(said: &[u8], tokens: &[Token]) -> Counts {
    let mut counts = Counts::default();
    let mut said = said.iter();
    for &token in tokens {
        let m = Match::of(token);
        let (literal, distance) = if m.length == 0 {
            (said.next().map(|b| usize::from(*b)), None)
        } else {
            said.nth(m.length - 1);
            (Some(END + 1 + length_code(m.length)), Some(distance_code(m.distance)))
        };
        for (of, list) in [(literal, &mut counts.literals[..]), (distance, &mut counts.distances[..])] {
            if let Some(n) = of.and_then(|i| list.get_mut(i)) {
                *n += 1; // a segment has less than 2^32 tokens
            }
        }
    }
    counts
}

/// The code for a length.
fn length_code(length: usize) -> usize {
    match length {
        0..=10 => length.saturating_sub(3),
        258.. => 28,
        _ => {
            // Four codes for each power of two.
            let n = length - 3;
            let bits = n.ilog2() as usize; // 3 to 7
            4 * (bits - 1) + (n >> (bits - 2) & 3)
        }
    }
}

/// The code for a distance.
fn distance_code(distance: usize) -> usize {
    match distance {
        0..=4 => distance.saturating_sub(1),
        _ => {
            // Two codes for each power of two.
            let n = distance - 1;
            let bits = n.ilog2() as usize; // 2 or more
            2 * bits + (n >> (bits - 1) & 1)
        }
    }
}

/// How many guesses are right until one is not.
struct Right {
    left: Option<u32>,
    more: std::vec::IntoIter<u32>,
}

impl Right {
    fn new(list: Vec<u32>) -> Right {
        let mut more = list.into_iter();
        Right { left: more.next(), more }
    }

    fn next(&mut self) -> bool {
        match &mut self.left {
            None => true,
            Some(0) => {
                self.left = self.more.next();
                false
            }
            Some(n) => {
                *n -= 1;
                true
            }
        }
    }
}

/// Writes the blocks that text and corrections stand for, about `bytes` bytes; `None` for what was never written.
pub fn decode(
    text: &[u8],
    corrections: &[u8],
    settings: Settings,
    first: bool,
    out: &mut Writer,
    bytes: usize,
) -> Option<()> {
    let mut r = Decoder::new(corrections);
    // Nothing comes more often than tokens; blocks and their headers come from the file's bytes.
    let (of_text, of_file) = (text.len().min(super::LIMITS.tokens), bytes.saturating_mul(2).saturating_add(64));
    let mut head = r.list(of_file)?.into_iter();
    let mut trees = r.list(of_file)?.into_iter();
    let (mut literals, mut matches) = (Right::new(r.list(of_text)?), Right::new(r.list(of_text)?));
    let mut wrong_matches = r.list(of_text)?.into_iter();
    let mut wrong_literals = r.list(of_text)?.into_iter();
    let (mut hops, mut far) = (r.list(of_text)?.into_iter(), r.list(of_text)?.into_iter());
    let steps_max = steps_max(bytes, text.len());
    let mut p = Predictor::new(text, settings, first);
    let mut rest = text;
    let mut tokens = Vec::new();
    while let Some(kind) = head.next() {
        let count = head.next()? as usize;
        if count > rest.len() || out.bytes() > bytes {
            return None;
        }
        out.put(kind & 1, 1);
        out.put((kind >> 1).min(2), 2);
        if kind >> 1 == 0 {
            let (said, after) = rest.split_at_checked(count)?;
            rest = after;
            let padding = trees.next().filter(|p| *p < 128)?;
            out.put(padding, (8 - out.bits() % 8) % 8);
            let n = u32::from(u16::try_from(count).ok()?);
            out.put(n | (n ^ 0xffff) << 16, 32);
            out.put_bytes(said);
            said.iter().all(|_| p.pass(Match::default())).then_some(())?;
            continue;
        }
        tokens.clear();
        for _ in 0..count {
            let guess = p.next();
            if p.steps > steps_max {
                return None;
            }
            let right = if guess.length == 0 { literals.next() } else { matches.next() };
            let is = if right {
                guess
            } else {
                let length = if guess.length == 0 {
                    wrong_literals.next()?.checked_add(3)? as usize
                } else {
                    match wrong_matches.next()? {
                        0 => 0,
                        n => usize::try_from(unzigzag(u64::from(n) - 1) + guess.length as i64).ok()?, // 258 and 2^31
                    }
                };
                if length == 0 {
                    Match::default()
                } else {
                    (3..=258).contains(&length).then_some(())?;
                    match hops.next()? {
                        0 => {
                            let distance = far.next()?.checked_add(1)? as usize;
                            (distance <= 1 << 15).then_some(Match { length, distance })?
                        }
                        hops => p.hop(length, hops)?,
                    }
                }
            };
            p.pass(is).then_some(())?;
            tokens.push(is.token());
        }
        let said_bytes = tokens.iter().map(|t| Match::of(*t).bytes()).sum::<usize>();
        let (said, after) = rest.split_at_checked(said_bytes)?;
        rest = after;
        let lengths = match kind >> 1 {
            1 => inflate::fixed(),
            kind => {
                let (header, bits) = if kind == 2 {
                    tree::header(&counts(said, &tokens))
                } else {
                    let bits = trees.next().filter(|b| *b < 1 << 12)?;
                    let header =
                        (0..bits.div_ceil(8)).map(|_| u8::try_from(trees.next()?).ok()).collect::<Option<_>>()?;
                    (header, bits)
                };
                for (byte, at) in header.iter().zip((0..bits).step_by(8)) {
                    let n = 8.min(bits - at);
                    out.put(u32::from(*byte) & ((1 << n) - 1), n);
                }
                inflate::read_lengths(&mut Bits::new(&header, 0, 0)).ok()?
            }
        };
        write(said, &tokens, &lengths, out, bytes)?;
    }
    rest.is_empty().then_some(())
}

/// Writes a block's tokens and its end.
fn write(
    said: &[u8],
    tokens: &[Token],
    (literals, distances): &(Vec<u8>, Vec<u8>),
    out: &mut Writer,
    bytes: usize,
) -> Option<()> {
    let with = |lengths: &[u8]| -> Vec<(u32, u32)> {
        inflate::codes(lengths).iter().zip(lengths).map(|(c, l)| (u32::from(*c), u32::from(*l))).collect()
    };
    let (literals, distances) = (with(literals), with(distances));
    // A symbol without a code cannot be written.
    let of = |codes: &[(u32, u32)], symbol: usize| codes.get(symbol).copied().filter(|c| c.1 > 0);
    let mut said = said.iter();
    for &token in tokens {
        let m = Match::of(token);
        if m.length == 0 {
            let (code, n) = of(&literals, usize::from(*said.next()?))?;
            out.put(code, n);
            continue;
        }
        said.nth(m.length - 1);
        let symbol = length_code(m.length);
        let &(base, extra) = LENGTHS.get(symbol)?;
        let (code, n) = of(&literals, END + 1 + symbol)?;
        let more = (m.length - usize::from(base)) as u32; // its code begins at or below it
        out.put(code | (more << n), n + u32::from(extra)); // at most 15 + 5 bits
        let symbol = distance_code(m.distance);
        let &(base, extra) = DISTANCE_CODES.get(symbol)?;
        let (code, n) = of(&distances, symbol)?;
        let more = (m.distance - usize::from(base)) as u32; // as above
        out.put(code | (more << n), n + u32::from(extra)); // at most 15 + 13 bits
        if out.bytes() > bytes + 16 {
            return None;
        }
    }
    let (code, n) = of(&literals, END)?;
    out.put(code, n);
    (out.bytes() <= bytes + 16).then_some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_length_and_distance_has_the_code_that_begins_at_or_below_it() {
        for length in 3..=258 {
            let code = LENGTHS.iter().rposition(|(base, _)| usize::from(*base) <= length).unwrap();
            assert_eq!(length_code(length), code, "{length}");
        }
        for distance in 1..=1 << 15 {
            let code = DISTANCE_CODES.iter().rposition(|(base, _)| usize::from(*base) <= distance).unwrap();
            assert_eq!(distance_code(distance), code, "{distance}");
        }
    }
}
