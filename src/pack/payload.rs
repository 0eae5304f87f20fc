//! The bytes of a record on its way into a pack: its own, or a part of a reader's window.
//!
//! A raw chunk is not copied: the record holds its window until the pack was synced. A window goes back
//! to its pool when the last record lets go of it.

use std::ops::{Deref, Range};
use std::sync::{Arc, Mutex, PoisonError};

/// Windows that wait to be used again. Their number is bounded by those that were ever in use at once.
#[derive(Default)]
pub struct WindowPool(Mutex<Vec<Vec<u8>>>);

impl WindowPool {
    /// A window of `bytes`, zeroed if it is new.
    pub fn take(&self, bytes: usize) -> Vec<u8> {
        let free = self.0.lock().unwrap_or_else(PoisonError::into_inner).pop();
        free.filter(|w| w.len() == bytes).unwrap_or_else(|| vec![0; bytes])
    }

    /// Takes a window back.
    pub fn give(&self, window: Vec<u8>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(window);
    }
}

/// A window that several records share.
pub struct SharedWindow {
    bytes: Vec<u8>,
    pool: Arc<WindowPool>,
}

impl SharedWindow {
    pub fn new(bytes: Vec<u8>, pool: Arc<WindowPool>) -> Arc<SharedWindow> {
        Arc::new(SharedWindow { bytes, pool })
    }
}

impl Deref for SharedWindow {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for SharedWindow {
    fn drop(&mut self) {
        self.pool.give(std::mem::take(&mut self.bytes));
    }
}

/// A record's payload.
#[derive(Clone)]
pub enum Payload {
    Own(Vec<u8>),
    /// The range lies within the window: [`Payload::part`] makes it so.
    Part(Arc<SharedWindow>, Range<usize>),
}

impl Payload {
    /// A part of a window; an empty one where the range is not in it.
    pub fn part(window: &Arc<SharedWindow>, range: Range<usize>) -> Payload {
        match window.get(range.clone()) {
            Some(_) => Payload::Part(Arc::clone(window), range),
            None => Payload::Own(Vec::new()),
        }
    }
}

impl Deref for Payload {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        match self {
            Payload::Own(bytes) => bytes,
            Payload::Part(window, range) => &window[range.clone()], // checked when it was made
        }
    }
}

impl From<Vec<u8>> for Payload {
    fn from(bytes: Vec<u8>) -> Payload {
        Payload::Own(bytes)
    }
}

impl PartialEq for Payload {
    fn eq(&self, other: &Payload) -> bool {
        **self == **other
    }
}

impl Eq for Payload {}

impl std::fmt::Debug for Payload {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} bytes", self.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_goes_back_when_its_last_part_is_dropped() {
        let pool = Arc::new(WindowPool::default());
        let mut bytes = pool.take(100);
        bytes[7] = 7;
        let window = SharedWindow::new(bytes, Arc::clone(&pool));
        let (a, b) = (Payload::part(&window, 5..10), Payload::part(&window, 90..101));
        drop(window);
        assert_eq!((&*a, &*b), (&[0, 0, 7, 0, 0][..], &[][..]), "a range beyond the window is nothing");
        assert!(pool.0.lock().unwrap().is_empty());
        drop(a);
        assert_eq!(pool.take(100)[7], 7, "the very same window");
    }
}
