//! How a splitter hands out runs: a walk over one window.
//!
//! Owns the bookkeeping that every splitter needs (what is consumed, where the stream changes, which
//! runs join). Knows no format.
//!
//! # Invariants
//!
//! 1. The bytes of the runs given equal the bytes consumed, and never reach beyond the window.
//! 2. A run whose stream differs from the one before, in whichever window that stood, has `cut`.
//! 3. Only runs of the same call are joined: what the caller had in `runs` before stays as it is.

use super::{Mapped, Part, Run, StreamNumber};
use crate::chunk::Form;

/// What a splitter keeps of its runs from one window to the next.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Last {
    /// The stream of the last byte given.
    stream: Option<(StreamNumber, Form)>,
    /// A border that was asked for, but no byte has been given since.
    cut: bool,
}

/// One call of [`super::Splitter::split`]: a position in a window, and the runs given so far.
pub(super) struct Walk<'w, 'r> {
    window: &'w [u8],
    used: usize,
    runs: &'r mut Vec<Part>,
    first: usize,
    before: &'r mut Last,
}

impl<'w, 'r> Walk<'w, 'r> {
    pub fn new(window: &'w [u8], runs: &'r mut Vec<Part>, before: &'r mut Last) -> Walk<'w, 'r> {
        let first = runs.len();
        Walk { window, used: 0, runs, first, before }
    }

    /// The bytes not consumed yet.
    pub fn rest(&self) -> &'w [u8] {
        self.window.get(self.used..).unwrap_or_default()
    }

    /// Whether nothing was consumed yet.
    pub fn is_fresh(&self) -> bool {
        self.used == 0
    }

    /// Does something that must not see more than the next `bytes` bytes.
    pub fn within<T>(&mut self, bytes: usize, act: impl FnOnce(&mut Self) -> T) -> T {
        let whole = self.window;
        self.window = whole.get(..self.used.saturating_add(bytes)).unwrap_or(whole);
        let done = act(self);
        self.window = whole;
        done
    }

    /// Asks for a border before the next byte.
    pub fn cut(&mut self) {
        self.before.cut = true;
    }

    /// Consumes `bytes` bytes (at most what is left) as part of `stream`.
    pub fn give(&mut self, stream: StreamNumber, bytes: usize) {
        self.give_as(stream, Form::Bytes, bytes);
    }

    /// As [`Walk::give`], for bytes of a form.
    pub fn give_as(&mut self, stream: StreamNumber, form: Form, bytes: usize) {
        let bytes = bytes.min(self.rest().len());
        if bytes == 0 {
            return;
        }
        let cut = self.before.cut || self.before.stream != Some((stream, form));
        self.used += bytes;
        // A usize is at most 64 bits wide.
        let bytes = bytes as u64;
        match self.runs.get_mut(self.first..).and_then(<[Part]>::last_mut) {
            Some(Part::Run(last)) if !cut => last.bytes += bytes,
            _ => self.runs.push(Part::Run(Run { stream, bytes, cut, form })),
        }
        *self.before = Last { stream: Some((stream, form)), cut: false };
    }

    /// Consumes the bytes of a mapped segment, which must all be there. A run behind it begins with a cut.
    pub fn map(&mut self, mapped: Mapped) {
        debug_assert!(mapped.bytes as usize <= self.rest().len() && mapped.bytes > 0);
        self.used += mapped.bytes as usize; // within the window
        self.runs.push(Part::Mapped(mapped));
        *self.before = Last::default();
    }

    /// Passes on what another splitter said of the next bytes, which must all be there. A run behind it begins with a cut.
    pub fn part(&mut self, part: Part) {
        debug_assert!(part.bytes() as usize <= self.rest().len());
        self.used += part.bytes() as usize; // within the window
        self.runs.push(part);
        *self.before = Last::default();
    }

    /// Consumes up to `left` bytes as part of `stream` and takes them off `left`.
    pub fn give_some(&mut self, stream: StreamNumber, left: &mut u64) {
        let bytes = usize::try_from(*left).unwrap_or(usize::MAX).min(self.rest().len());
        self.give(stream, bytes);
        // At most `left`, see above.
        *left -= bytes as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn joined(parts: &[Part]) -> impl Iterator<Item = Run> {
        parts.iter().filter_map(|p| if let Part::Run(run) = p { Some(*run) } else { None })
    }

    #[test]
    fn a_stream_that_changes_between_two_windows_is_cut() {
        let (mut before, mut runs) = (Last::default(), Vec::new());
        Walk::new(&[0; 8], &mut runs, &mut before).give(0, 8);
        Walk::new(&[0; 8], &mut runs, &mut before).give(0, 8);
        Walk::new(&[0; 8], &mut runs, &mut before).give(1, 8);
        let cuts: Vec<_> = joined(&runs).map(|r| (r.stream, r.bytes, r.cut)).collect();
        assert_eq!(cuts, [(0, 8, true), (0, 8, false), (1, 8, true)]);
    }

    #[test]
    fn nothing_is_given_beyond_the_window() {
        let (mut before, mut runs) = (Last::default(), Vec::new());
        let mut walk = Walk::new(&[0; 8], &mut runs, &mut before);
        let mut left = u64::MAX;
        walk.give_some(0, &mut left);
        walk.give(1, 5);
        assert_eq!(left, u64::MAX - 8);
        assert_eq!(runs, [Part::Run(Run { stream: 0, bytes: 8, cut: true, form: Form::Bytes })]);
    }

    #[test]
    fn a_border_asked_for_within_a_stream_stands_once() {
        let (mut before, mut runs) = (Last::default(), Vec::new());
        let mut walk = Walk::new(&[0; 8], &mut runs, &mut before);
        walk.give(0, 2);
        walk.cut();
        walk.give(0, 0);
        walk.give(0, 2);
        walk.give(0, 2);
        let cuts: Vec<_> = joined(&runs).map(|r| (r.bytes, r.cut)).collect();
        assert_eq!(cuts, [(2, true), (4, true)]);
    }
}
