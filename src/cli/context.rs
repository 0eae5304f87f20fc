//! What every command is given: the options of all commands, where output goes, how it is followed.

use super::Global;
use super::args;
use super::out::Out;
use super::progress::Screen;
use super::report;
use crate::error::{Error, Result};
use crate::io::Io;
use crate::ops::{Control, Notice};
use crate::store::{Mode, OpenOptions, Store};
use std::ffi::OsString;
use std::io::IsTerminal;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long a lock that another process holds is waited for.
const LOCK_PATIENCE: Duration = Duration::from_millis(300);

/// One run of the program.
pub struct Context {
    store: Option<OsString>,
    pub json: bool,
    pub quiet: bool,
    /// The memory budget in bytes.
    pub memory_bytes: u64,
    pub io: Io,
    pub control: Arc<Control>,
    pub out: Arc<Out>,
    pub screen: Arc<Screen>,
}

impl Context {
    /// Connects a run with this process's stdout and stderr and the machine's own files.
    pub fn new(global: &Global) -> Context {
        let screen = Arc::new(Screen::new(std::io::stderr().is_terminal()));
        let stdout = std::io::stdout();
        let out = Arc::new(Out::new(Box::new(stdout), std::io::stdout().is_terminal(), screen.clone()));
        Context::with(global, out, screen)
    }

    /// The same with an output of the caller's.
    pub fn with(global: &Global, out: Arc<Out>, screen: Arc<Screen>) -> Context {
        let (json, quiet) = (global.json, global.quiet);
        let sink = {
            let (out, screen) = (out.clone(), screen.clone());
            move |notice: Notice| report::notice(&out, &screen, json, quiet, &notice)
        };
        Context {
            store: global.store.clone().filter(|s| !s.is_empty()),
            json,
            quiet,
            memory_bytes: global.memory,
            io: Io::real(),
            control: Arc::new(Control::with_sink(sink)),
            out,
            screen,
        }
    }

    /// Whether a store was named at all.
    pub fn names_a_store(&self) -> bool {
        self.store.is_some()
    }

    /// Returns the store's folder, absolute.
    ///
    /// # Errors
    /// [`Error::Argument`] where none was named.
    pub fn store_path(&self) -> Result<PathBuf> {
        match &self.store {
            Some(path) => args::absolute(path),
            None => Err(Error::Argument {
                what: "no store is named".into(),
                why: "give --store PATH, or set ONEFOLD_STORE".into(),
            }),
        }
    }

    /// Opens the store for reading; what was noticed on the way goes to stderr.
    ///
    /// # Errors
    /// [`Store::open`]'s.
    pub fn open(&self) -> Result<Store> {
        self.open_as(Mode::Read)
    }

    /// Opens the store for writing on behalf of `verb`.
    ///
    /// # Errors
    /// [`Store::open`]'s, [`Error::Locked`] among them.
    pub fn open_to_write(&self, verb: &'static str) -> Result<Store> {
        self.open_as(Mode::Write { verb })
    }

    fn open_as(&self, mode: Mode) -> Result<Store> {
        let (path, options) = (self.store_path()?, OpenOptions::new(mode, self.memory_bytes));
        let begun = Instant::now();
        let opened = loop {
            match Store::open(&self.io, &path, &options) {
                // The lock is also taken for a moment by a reader that brings the index up to date, and by a check
                // that notes damage: neither shall fail a nightly backup.
                Err(Error::Locked { .. }) if begun.elapsed() < LOCK_PATIENCE => std::thread::sleep(LOCK_PATIENCE / 30),
                other => break other?,
            }
        };
        opened.notices.into_iter().for_each(|text| self.warn(text));
        Ok(opened.store)
    }

    /// Tells a line that a person should know, also under `--quiet`: a disk is missing, a redundancy incomplete.
    pub fn warn(&self, text: String) {
        report::notice(&self.out, &self.screen, self.json, false, &Notice::Note(text));
    }
}
