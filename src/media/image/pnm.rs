//! PNM: PGM (P5), PPM (P6) and PAM (P7); a text header, then rows of samples of one or two bytes, the higher first.

use super::{Piece, Plan, samples};

/// Bytes that a header may have, comments included.
pub const HEADER_MAX: usize = 4096;
const SIDE_MAX: u64 = 1 << 24;

const NONE: &str = "pnm: a header that is none";

pub fn read(bytes: &[u8]) -> Result<Plan, &'static str> {
    let bytes = bytes.get(..HEADER_MAX).unwrap_or(bytes);
    let (header, width, height, depth, most) = match bytes {
        [b'P', kind @ (b'5' | b'6'), rest @ ..] => {
            let mut at = Words { rest };
            let [width, height, most] = [at.number()?, at.number()?, at.number()?];
            // One blank stands between the header and the picture.
            let [blank, rest @ ..] = at.rest else { return Err(NONE) };
            if !blank.is_ascii_whitespace() {
                return Err(NONE);
            }
            (bytes.len() - rest.len(), width, height, if *kind == b'6' { 3 } else { 1 }, most)
        }
        [b'P', b'7', b'\n', rest @ ..] => pam(bytes.len(), rest)?,
        _ => return Err(NONE),
    };
    if width == 0 || height == 0 || width > SIDE_MAX || height > SIDE_MAX || !(1..=65535).contains(&most) {
        return Err(NONE);
    }
    let sample = if most > 255 { 2 } else { 1 };
    let row = width * depth * sample; // below 2^24 * 2^8 * 2
    Ok(vec![Piece::wrapper(header as u64), Piece::picture(samples(sample, depth, true, row), row * height)])
}

/// Words between blanks and comments.
struct Words<'a> {
    rest: &'a [u8],
}

impl Words<'_> {
    /// The next number; at least one blank or comment before it.
    fn number(&mut self) -> Result<u64, &'static str> {
        let mut blank = false;
        loop {
            match self.rest {
                [b, rest @ ..] if b.is_ascii_whitespace() => (self.rest, blank) = (rest, true),
                [b'#', ..] => {
                    let end = self.rest.iter().position(|&b| b == b'\n').ok_or(NONE)?;
                    (self.rest, blank) = (&self.rest[end..], true); // a position within it
                }
                _ => break,
            }
        }
        let digits = self.rest.iter().take_while(|b| b.is_ascii_digit()).count();
        if !blank || !(1..=9).contains(&digits) {
            return Err(NONE);
        }
        let (number, rest) = self.rest.split_at(digits); // counted in it
        self.rest = rest;
        Ok(number.iter().fold(0, |n, b| n * 10 + u64::from(b - b'0'))) // nine digits
    }
}

/// A PAM's header, line by line: bytes of it, width, height, depth, greatest sample.
fn pam(all: usize, mut rest: &[u8]) -> Result<(usize, u64, u64, u64, u64), &'static str> {
    let [mut width, mut height, mut depth, mut most] = [0; 4];
    loop {
        let end = rest.iter().position(|&b| b == b'\n').ok_or(NONE)?;
        let (line, behind) = (&rest[..end], &rest[end + 1..]); // `end` is a position within it
        rest = behind;
        let mut words = line.split(u8::is_ascii_whitespace).filter(|w| !w.is_empty());
        let (name, value) = (words.next().unwrap_or_default(), words.next());
        let number = || {
            let text = value.and_then(|v| std::str::from_utf8(v).ok()).ok_or(NONE)?;
            text.parse::<u32>().map(u64::from).map_err(|_| NONE)
        };
        match name {
            b"WIDTH" => width = number()?,
            b"HEIGHT" => height = number()?,
            b"DEPTH" => depth = number()?,
            b"MAXVAL" => most = number()?,
            b"ENDHDR" => break,
            _ => {}
        }
    }
    if (1..=255).contains(&depth) { Ok((all - rest.len(), width, height, depth, most)) } else { Err(NONE) }
}
