//! The verbs: plan, run, report. Paced, resumable, silent.
//!
//! A verb takes an open [`crate::store::Store`], its own options and a [`Control`], and returns a report.
//! It prints nothing and asks nothing: the command line does. What is told while it runs goes through
//! [`Control`]: progress as counters, notices and losses as events, in the order in which they happened.
//!
//! # Invariants
//!
//! 1. Everything that makes packs goes through [`ingest`], which alone writes log entries for them.
//! 2. Every queue is bounded in bytes.
//! 3. A verb that is cancelled ends soon, leaves the store as sound as it found it, and says
//!    [`crate::Error::Interrupted`].

pub mod backup;
pub mod bag;
pub mod cat;
pub mod check;
pub mod compact;
pub mod copy;
pub mod diff;
pub mod disks;
pub mod estimate;
pub mod explain;
pub mod export;
pub mod find;
pub mod forget;
pub mod gc;
pub mod ingest;
pub mod init;
pub mod ls;
pub mod manifest;
pub mod map;
pub mod names;
mod pace;
pub mod recover;
pub mod repair;
pub mod restore;
pub mod risk;
pub mod salvage;
pub mod scrub;
mod share;
pub mod shelf;
pub mod similar;
pub mod smart;
pub mod snapshots;
pub mod stats;
pub mod tag;
#[cfg(test)]
mod testing;

use crate::error::{Error, Result};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Something that a person should know while a verb runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// A source's file or folder that could not be kept, by reason. The run goes on.
    Unreadable { path: Vec<u8>, reason: String },
    /// A file that changed while it was read, twice: the second reading was kept.
    Changed { path: Vec<u8> },
    /// A device, socket or FIFO, which is not kept.
    Special { path: Vec<u8>, kind: &'static str },
    /// The store or one of its disks lies inside the source and was left out.
    OwnStore { path: Vec<u8> },
    /// A file of a snapshot that cannot be had whole any more.
    FileLost(FileLost),
    /// Metadata that could not be brought back (an attribute, an owner); the file's bytes were.
    Metadata { path: Vec<u8>, reason: String },
    /// A file of a bag that is not as the bag says, or a line of a manifest that cannot be meant. The path is that below the bag.
    BagFault { path: Vec<u8>, reason: String },
    /// Anything else worth a line.
    Note(String),
}

/// A file that is lost, in whole or in part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileLost {
    pub snapshot: String,
    pub path: Vec<u8>,
    /// Bytes that cannot be had; all of the file's where that is not known.
    pub bytes_lost: u64,
    pub reason: String,
}

/// Counters that a running verb keeps and anyone may read.
#[derive(Debug, Default)]
pub struct Progress {
    /// Files done, and how many there are (0: not known yet).
    pub files_done: AtomicU64,
    pub files_total: AtomicU64,
    /// The same in bytes.
    pub bytes_done: AtomicU64,
    pub bytes_total: AtomicU64,
    /// Bytes that were new and stored.
    pub bytes_new: AtomicU64,
    /// The totals are final.
    pub totals_known: AtomicBool,
    /// What is being done, in a word or two.
    pub phase: Mutex<&'static str>,
}

impl Progress {
    pub fn set_phase(&self, phase: &'static str) {
        if let Ok(mut p) = self.phase.lock() {
            *p = phase;
        }
    }
}

type Sink = Box<dyn FnMut(Notice) + Send>;

/// How the outside follows and stops a verb.
#[derive(Default)]
pub struct Control {
    pub progress: Progress,
    pace: pace::Pace,
    cancelled: AtomicBool,
    /// Called for each notice, from any thread, one at a time.
    sink: Option<Mutex<Sink>>,
}

impl Control {
    /// A control that hands every notice to `sink`.
    pub fn with_sink(sink: impl FnMut(Notice) + Send + 'static) -> Self {
        Control { sink: Some(Mutex::new(Box::new(sink))), ..Default::default() }
    }

    /// Asks the verb to stop.
    pub fn cancel(&self) {
        self.cancelled.store(true, Ordering::Relaxed);
    }

    pub fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Relaxed)
    }

    /// # Errors
    /// [`Error::Interrupted`] after [`Control::cancel`].
    pub fn proceed(&self) -> Result<()> {
        if self.is_cancelled() { Err(Error::Interrupted) } else { Ok(()) }
    }

    /// Lets a verb that moves data for its own sake move so many bytes a second at most; `None` as many as it can.
    pub fn set_rate(&self, rate: Option<u64>) {
        self.pace.set(rate);
    }

    /// As [`Control::proceed`], and waits until so many bytes may be moved.
    ///
    /// # Errors
    /// [`Error::Interrupted`] after [`Control::cancel`], also while it waits.
    pub fn pace(&self, bytes: u64) -> Result<()> {
        self.pace.take(bytes, &|| false, &|| self.proceed())
    }

    /// As [`Control::pace`], by another way to ask whether to go on, and no longer once it `is_urgent`.
    ///
    /// # Errors
    /// What `proceed` returns.
    pub fn pace_unless(
        &self,
        bytes: u64,
        is_urgent: &dyn Fn() -> bool,
        proceed: &dyn Fn() -> Result<()>,
    ) -> Result<()> {
        self.pace.take(bytes, is_urgent, proceed)
    }

    pub fn notice(&self, notice: Notice) {
        if let Some(sink) = &self.sink
            && let Ok(mut sink) = sink.lock()
        {
            sink(notice);
        }
    }
}
