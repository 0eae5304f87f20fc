//! Lines of tag files, whatever ends them, in bounded memory.

use super::verify::OWN;
use crate::format::digest::Hasher;
use crate::io::source::SourceFile;
use std::io;
use std::path::Path;

/// The longest line that is taken: a path of 4096 bytes of which each is encoded, and the longest digest, are less.
const LINE_BYTES: usize = 64 << 10;
const BUFFER_BYTES: usize = 64 << 10;

/// A file's lines. Read to its end, it also knows the digest of the bytes that they were in.
pub(super) struct Lines {
    file: SourceFile,
    at: u64,
    buffer: Vec<u8>,
    /// What of the buffer was not given out.
    from: usize,
    digest: Hasher,
    pub number: u64,
    /// The last line ended with a CR: an LF that follows belongs to it.
    after_cr: bool,
}

/// One line.
pub(super) enum Line {
    Text(String),
    TooLong,
    NotUtf8,
}

impl Lines {
    pub fn open(path: &Path) -> io::Result<Lines> {
        let file = SourceFile::open(path)?;
        let digest = Hasher::new(OWN);
        Ok(Lines { file, at: 0, buffer: Vec::new(), from: 0, digest, number: 0, after_cr: false })
    }

    fn fill(&mut self) -> io::Result<bool> {
        self.buffer.resize(BUFFER_BYTES, 0);
        self.from = 0;
        let n = loop {
            match self.file.read_at(&mut self.buffer, self.at) {
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                answer => break answer?,
            }
        };
        self.buffer.truncate(n);
        self.digest.update(&self.buffer);
        self.at += n as u64;
        Ok(n > 0)
    }

    /// The next line, without what ends it: LF, CR or CRLF.
    pub fn next(&mut self) -> io::Result<Option<Line>> {
        let (mut line, mut any, mut too_long) = (Vec::new(), false, false);
        loop {
            if self.from >= self.buffer.len() && !self.fill()? {
                if !any {
                    return Ok(None);
                }
                break;
            }
            if std::mem::take(&mut self.after_cr) && self.buffer[self.from] == b'\n' {
                self.from += 1; // the buffer is not empty here
                continue;
            }
            any = true;
            let rest = &self.buffer[self.from..];
            let end = rest.iter().position(|b| matches!(b, b'\n' | b'\r'));
            let part = &rest[..end.unwrap_or(rest.len())];
            if line.len() + part.len() > LINE_BYTES {
                too_long = true;
            } else {
                line.extend_from_slice(part);
            }
            self.from += part.len();
            if end.is_some() {
                self.after_cr = self.buffer[self.from] == b'\r'; // an end was found there
                self.from += 1;
                break;
            }
        }
        self.number += 1;
        Ok(Some(match String::from_utf8(line) {
            _ if too_long => Line::TooLong,
            Ok(text) => Line::Text(text),
            Err(_) => Line::NotUtf8,
        }))
    }

    /// The digest of the whole file, after its last line.
    pub fn digest(self) -> Vec<u8> {
        self.digest.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(bytes: &[u8]) -> Vec<String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("f");
        std::fs::write(&path, bytes).unwrap();
        let mut lines = Lines::open(&path).unwrap();
        let mut out = Vec::new();
        while let Some(line) = lines.next().unwrap() {
            out.push(match line {
                Line::Text(text) => text,
                Line::TooLong => "too long".into(),
                Line::NotUtf8 => "not UTF-8".into(),
            });
        }
        assert_eq!(lines.number, out.len() as u64);
        let mut whole = Hasher::new(OWN);
        whole.update(bytes);
        assert_eq!(lines.digest(), whole.finish());
        out
    }

    #[test]
    fn a_line_ends_with_any_of_the_three() {
        assert_eq!(lines(b"a\nb\rc\r\n\r\nd"), ["a", "b", "c", "", "d"]);
        assert_eq!(lines(b"a\n"), ["a"]);
        assert_eq!(lines(b"\r\r\n\n"), ["", "", ""]);
        assert!(lines(b"").is_empty());
        assert_eq!(lines(b"\xff\nx"), ["not UTF-8", "x"]);
    }

    #[test]
    fn a_line_across_buffers_is_whole_and_one_without_end_is_bounded() {
        for before in BUFFER_BYTES - 3..BUFFER_BYTES + 2 {
            let first = "x".repeat(before - 10);
            let text = format!("{}\r\n{first}\r\nend", "y".repeat(8));
            assert_eq!(lines(text.as_bytes()), ["y".repeat(8), first, "end".into()]);
        }
        let long = [vec![b'z'; 3 * BUFFER_BYTES], b"\nnext".to_vec()].concat();
        assert_eq!(lines(&long), ["too long", "next"]);
    }
}
