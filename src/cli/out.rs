//! Standard output: buffered, and quiet about a reader that has gone.
//!
//! # Invariants
//!
//! 1. A closed pipe is remembered, never reported: streams stop there ([`Out::stream`]), while results of
//!    what was done already ([`Out::line`]) are dropped so that the exit status still tells of it.
//! 2. Any other failure to write (a full disk behind a redirection) is an error.

use super::progress::Screen;
use crate::error::{Error, Result};
use serde_json::Value;
use std::io::{self, BufWriter, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// Listings of millions of lines are written in pieces of this many bytes.
const BUFFER_BYTES: usize = 64 << 10;

/// Where results go.
pub struct Out {
    inner: Mutex<BufWriter<Box<dyn Write + Send>>>,
    terminal: bool,
    broken: AtomicBool,
    screen: Arc<Screen>,
}

impl Out {
    /// Makes an output over `inner`. On a terminal each line is shown at once, and takes a progress bar away.
    pub fn new(inner: Box<dyn Write + Send>, terminal: bool, screen: Arc<Screen>) -> Out {
        let inner = Mutex::new(BufWriter::with_capacity(BUFFER_BYTES, inner));
        Out { inner, terminal, broken: AtomicBool::new(false), screen }
    }

    /// Whether the reader has closed the pipe.
    pub fn is_broken(&self) -> bool {
        self.broken.load(Ordering::Relaxed)
    }

    /// Whether a person reads it directly.
    pub fn is_terminal(&self) -> bool {
        self.terminal
    }

    /// Writes raw bytes of a longer output, and fails once the pipe is closed, so that the work behind it stops.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn stream(&self, bytes: &[u8]) -> Result<()> {
        self.write_all(bytes).map_err(Error::io("write to", "standard output"))
    }

    /// Writes a line of a longer listing.
    ///
    /// # Errors
    /// As [`Out::stream`].
    pub fn stream_line(&self, line: &str) -> Result<()> {
        self.stream(format!("{line}\n").as_bytes())
    }

    /// Writes a document of a longer listing as one line.
    ///
    /// # Errors
    /// As [`Out::stream`].
    pub fn stream_document(&self, document: &Value) -> Result<()> {
        self.stream_line(&document.to_string())
    }

    /// Writes a line of the result of something that is done: a closed pipe does not undo it.
    ///
    /// # Errors
    /// [`Error::Io`] for anything but a closed pipe.
    pub fn line(&self, line: impl AsRef<str>) -> Result<()> {
        match self.stream_line(line.as_ref()) {
            Err(_) if self.is_broken() => Ok(()),
            other => other,
        }
    }

    /// Writes a document of a result, as [`Out::line`].
    ///
    /// # Errors
    /// As [`Out::line`].
    pub fn document(&self, document: &Value) -> Result<()> {
        self.line(document.to_string())
    }

    /// Hands everything that is buffered to the system.
    ///
    /// # Errors
    /// As [`Out::line`].
    pub fn flush(&self) -> Result<()> {
        let flushed = self.lock().flush();
        match self.remember(flushed) {
            Err(_) if self.is_broken() => Ok(()),
            other => other.map_err(Error::io("write to", "standard output")),
        }
    }

    fn write_all(&self, bytes: &[u8]) -> io::Result<()> {
        if self.is_broken() {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        if self.terminal {
            self.screen.clear();
        }
        let mut inner = self.lock();
        let written = inner.write_all(bytes).and_then(|()| if self.terminal { inner.flush() } else { Ok(()) });
        drop(inner);
        self.remember(written)
    }

    fn remember(&self, written: io::Result<()>) -> io::Result<()> {
        if written.as_ref().is_err_and(|e| e.kind() == io::ErrorKind::BrokenPipe) {
            self.broken.store(true, Ordering::Relaxed);
        }
        written
    }

    /// A writer that panicked left at worst a broken line behind: the next one may still be written.
    fn lock(&self) -> std::sync::MutexGuard<'_, BufWriter<Box<dyn Write + Send>>> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// [`Out`] for those who write bytes: as [`Out::stream`].
pub struct Raw<'a>(pub &'a Out);

impl Write for Raw<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write_all(bytes).map(|()| bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        let flushed = self.0.lock().flush();
        self.0.remember(flushed)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Bytes that outlive the [`Out`] that writes them.
    #[derive(Clone, Default)]
    pub(crate) struct Shared(pub Arc<Mutex<Vec<u8>>>);

    impl Shared {
        pub(crate) fn text(&self) -> String {
            String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
        }
    }

    impl Write for Shared {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    struct Failing(io::ErrorKind);

    impl Write for Failing {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(self.0.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn out(inner: impl Write + Send + 'static) -> Out {
        Out::new(Box::new(inner), false, Arc::new(Screen::new(false)))
    }

    #[test]
    fn a_closed_pipe_stops_a_stream_and_spares_a_result() {
        let out = out(Failing(io::ErrorKind::BrokenPipe));
        assert!((0..3).any(|_| out.stream(&[b'x'; BUFFER_BYTES]).is_err()));
        assert!(out.is_broken());
        assert!(out.stream_line("more").is_err());
        out.line("saved").unwrap();
        out.flush().unwrap();
    }

    #[test]
    fn a_full_disk_behind_stdout_is_an_error() {
        let out = out(Failing(io::ErrorKind::StorageFull));
        out.line("short").unwrap();
        assert!(out.flush().is_err());
        assert!(!out.is_broken());
    }

    #[test]
    fn each_document_is_one_line() {
        let shared = Shared::default();
        let out = out(shared.clone());
        out.document(&serde_json::json!({"a": "b\nc"})).unwrap();
        out.stream_document(&serde_json::json!(1)).unwrap();
        out.flush().unwrap();
        assert_eq!(shared.text(), "{\"a\":\"b\\nc\"}\n1\n");
    }
}
