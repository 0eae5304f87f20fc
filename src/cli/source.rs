//! What `backup` is told to read: lists of paths and patterns, the pipe, and who asks.

use crate::error::{Error, Result};
use crate::io::source::{self as library, Names};
use crate::ops::Control;
use std::ffi::{OsStr, OsString};
use std::io::{self, Read};
use std::os::unix::ffi::OsStringExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::Duration;

/// A list of paths or patterns beyond this is a mistake, such as a film given as the list.
const LIST_BYTES_MAX: u64 = 256 << 20;

/// Reads a list of paths, each ended by `end`. `-` is standard input.
///
/// # Errors
/// [`Error::Io`]; [`Error::Argument`] if the list is longer than 256 MiB or names nothing.
pub fn listed(file: &OsStr, end: u8) -> Result<Vec<OsString>> {
    let bytes = if file == "-" { read(io::stdin().lock(), file)? } else { read_file(file)? };
    let paths = split(&bytes, end);
    if paths.is_empty() {
        return Err(Error::Argument { what: Path::new(file).display().to_string(), why: "it names no path".into() });
    }
    Ok(paths)
}

fn split(bytes: &[u8], end: u8) -> Vec<OsString> {
    bytes.split(|b| *b == end).filter(|p| !p.is_empty()).map(|p| OsString::from_vec(p.to_vec())).collect()
}

/// Reads patterns, one a line; empty lines and those that begin with `#` say nothing.
///
/// # Errors
/// [`Error::Io`]; [`Error::Argument`] if it is longer than 256 MiB or no UTF-8.
pub fn patterns(file: &OsStr) -> Result<Vec<String>> {
    let text = String::from_utf8(read_file(file)?).map_err(|e| Error::Argument {
        what: Path::new(file).display().to_string(),
        why: format!("it is no UTF-8 at byte {}", e.utf8_error().valid_up_to()),
    })?;
    Ok(pattern_lines(&text))
}

fn pattern_lines(text: &str) -> Vec<String> {
    let lines = text.lines().map(|l| l.trim_end_matches('\r'));
    lines.filter(|l| !l.trim().is_empty() && !l.starts_with('#')).map(str::to_owned).collect()
}

fn read_file(file: &OsStr) -> Result<Vec<u8>> {
    read(std::fs::File::open(file).map_err(Error::io("open", file))?, file)
}

fn read(from: impl Read, file: &OsStr) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let n = from.take(LIST_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(Error::io("read", file))?;
    if n as u64 > LIST_BYTES_MAX {
        let what = Path::new(file).display().to_string();
        return Err(Error::Argument { what, why: "a list is at most 256 MiB long".into() });
    }
    Ok(bytes)
}

/// Returns the name of the user whose process this is, else the number; empty where the system tells neither.
pub fn user() -> String {
    match library::lstat(Path::new("/proc/self")) {
        Ok(m) => Names::new().user_name(m.uid).unwrap_or_else(|| m.uid.to_string()),
        Err(_) => String::new(),
    }
}

/// A pipe that can be given up: a read of it waits for the other side, for as long as that likes, unless the verb is
/// asked to stop. Holds at most five buffers of 1 MiB.
pub struct Piped {
    filled: Receiver<io::Result<Vec<u8>>>,
    control: Arc<Control>,
    current: Vec<u8>,
    taken: usize,
    ended: bool,
}

/// Large enough that handing over costs nothing beside copying.
const PIECE_BYTES: usize = 1 << 20;
/// How long a stop may go unnoticed.
const PATIENCE: Duration = Duration::from_millis(100);

impl Piped {
    /// Begins to read `input` on a thread of its own, which ends with the input or after the next piece once this is
    /// dropped.
    pub fn new(input: impl Read + Send + 'static, control: Arc<Control>) -> Piped {
        let (hand_over, filled) = sync_channel(4);
        std::thread::spawn(move || pump(input, &hand_over));
        Piped { filled, control, current: Vec::new(), taken: 0, ended: false }
    }

    /// Waits for the next piece. Leaves `current` empty at the end.
    fn refill(&mut self) -> io::Result<()> {
        (self.current, self.taken) = (Vec::new(), 0);
        while !self.ended {
            if self.control.is_cancelled() {
                return Err(io::Error::other("stopped on request"));
            }
            match self.filled.recv_timeout(PATIENCE) {
                Ok(Ok(piece)) if piece.is_empty() => self.ended = true,
                Ok(Ok(piece)) => {
                    self.current = piece;
                    return Ok(());
                }
                Ok(Err(e)) => return Err(e),
                Err(RecvTimeoutError::Timeout) => {}
                // Without the empty piece that stands for the end, it is not known to be whole.
                Err(RecvTimeoutError::Disconnected) => return Err(io::ErrorKind::UnexpectedEof.into()),
            }
        }
        Ok(())
    }
}

fn pump(mut input: impl Read, hand_over: &SyncSender<io::Result<Vec<u8>>>) {
    loop {
        let mut piece = Vec::with_capacity(PIECE_BYTES);
        let read = input.by_ref().take(PIECE_BYTES as u64).read_to_end(&mut piece);
        let last = read.is_err() || piece.is_empty();
        if hand_over.send(read.map(|_| piece)).is_err() || last {
            return;
        }
    }
}

impl Read for Piped {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.taken == self.current.len() {
            self.refill()?;
        }
        let rest = self.current.get(self.taken..).unwrap_or_default();
        let n = rest.len().min(into.len());
        into[..n].copy_from_slice(&rest[..n]); // `n` is within both
        self.taken += n;
        Ok(n)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_split_at_their_own_end_only() {
        assert_eq!(split(b"/a b\n\n/\xff\n", b'\n'), [OsString::from("/a b"), OsString::from_vec(b"/\xff".to_vec())]);
        assert_eq!(split(b"/a\nb\0/c", 0), ["/a\nb", "/c"]);
    }

    #[test]
    fn comments_and_empty_lines_are_no_patterns() {
        assert_eq!(pattern_lines("# all of it\n*.tmp\r\n\n  \n/a/#b\n"), ["*.tmp", "/a/#b"]);
    }

    #[test]
    fn a_pipe_gives_all_its_bytes_in_order() {
        let bytes: Vec<u8> = (0..3_500_000u32).map(|i| (i % 251) as u8).collect();
        let mut back = Vec::new();
        let mut piped = Piped::new(io::Cursor::new(bytes.clone()), Arc::new(Control::default()));
        piped.read_to_end(&mut back).unwrap();
        assert!(back == bytes);
        assert_eq!(piped.read(&mut [0; 4]).unwrap(), 0, "the end stays the end");
    }

    #[test]
    fn a_pipe_that_fails_is_not_taken_for_its_end() {
        struct Broken(bool);
        impl Read for Broken {
            fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
                if std::mem::replace(&mut self.0, true) {
                    return Err(io::Error::other("broken"));
                }
                into[0] = 1;
                Ok(1)
            }
        }
        let mut piped = Piped::new(Broken(false), Arc::new(Control::default()));
        assert!(piped.read_to_end(&mut Vec::new()).is_err());
    }

    #[test]
    fn a_silent_pipe_does_not_keep_a_verb_that_is_asked_to_stop() {
        struct Silent;
        impl Read for Silent {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                std::thread::sleep(Duration::from_secs(3600));
                Ok(0)
            }
        }
        let control = Arc::new(Control::default());
        control.cancel();
        assert!(Piped::new(Silent, control).read(&mut [0; 4]).is_err());
    }

    #[test]
    fn a_list_that_is_not_there_is_an_error() {
        assert!(matches!(patterns(OsStr::new("/no/such/list")), Err(Error::Io { .. })));
        assert!(matches!(listed(OsStr::new("/dev/null"), b'\n'), Err(Error::Argument { .. })));
    }
}
