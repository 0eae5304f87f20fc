//! What every command is given: the options of all commands, where output goes, how it is followed.

use super::Global;
use super::args;
use super::out::Out;
use super::progress::Screen;
use super::report;
use crate::error::{Error, Result};
use crate::io::Io;
use crate::ops::gc::MOVING_VERBS;
use crate::ops::{Control, Notice};
use crate::store::{self, Mode, OpenOptions, Store};
use std::ffi::OsString;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long a lock that another process holds is waited for: readers that bring the index up to date and checks that note
/// damage take it for a moment, and shall not fail a nightly backup.
const LOCK_PATIENCE: Duration = Duration::from_millis(300);
/// How long it is waited for where its holder gives way: it ends what it has begun first, a pack or a few.
const LOCK_PATIENCE_FOR_MOVES: Duration = Duration::from_secs(300);
/// How often it is looked, within [`LOCK_PATIENCE`] and behind it.
const LOOK: Duration = Duration::from_millis(10);
const LOOK_LATER: Duration = Duration::from_millis(100);

/// One run of the program.
pub struct Context {
    store: Option<OsString>,
    pub json: bool,
    pub quiet: bool,
    /// The memory budget in bytes.
    pub memory_bytes: u64,
    /// How long the lock of another writer is waited for, if that is longer than it is by itself.
    retry_lock: Duration,
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
            retry_lock: global.retry_lock,
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

    /// Opens the store for writing on behalf of `verb`. Another writer is waited for as long as `--retry-lock` says, and longer
    /// if it gives way.
    ///
    /// # Errors
    /// [`Store::open`]'s, [`Error::Locked`] among them.
    pub fn open_to_write(&self, verb: &'static str) -> Result<Store> {
        self.open_as(Mode::Write { verb })
    }

    /// Calls `turn` until it returns that it did not give way, or `until` is over. In between the store is left to others that
    /// wait for it.
    ///
    /// # Errors
    /// What `turn` returns, [`Error::Interrupted`], and [`Store::open`]'s.
    pub fn in_turns(
        &self,
        verb: &'static str,
        store: Store,
        until: Option<Instant>,
        turn: &mut dyn FnMut(&Store) -> Result<bool>,
    ) -> Result<()> {
        let mut next = Some(store);
        while let Some(store) = next.take() {
            if turn(&store)? {
                drop(store);
                self.control.progress.set_phase("waiting for another process that writes");
                next = self.open_after_others(verb, until)?;
            }
        }
        Ok(())
    }

    fn open_after_others(&self, verb: &'static str, until: Option<Instant>) -> Result<Option<Store>> {
        let path = self.store_path()?;
        while until.is_none_or(|until| Instant::now() < until) {
            self.control.proceed()?;
            if !store::is_asked_for(&self.io, &path) {
                match self.open_once(&path, Mode::Write { verb }) {
                    Err(Error::Locked { .. }) => {}
                    other => return other.map(Some),
                }
            }
            std::thread::sleep(LOOK_LATER);
        }
        Ok(None)
    }

    fn open_as(&self, mode: Mode) -> Result<Store> {
        let path = self.store_path()?;
        let begun = Instant::now();
        let (mut asked, mut told) = (None, false);
        loop {
            let e = match self.open_once(&path, mode) {
                Err(e @ Error::Locked { .. }) => e,
                other => return other,
            };
            let Error::Locked { holder, .. } = &e else { return Err(e) };
            let gives_way = store::verb_of_note(holder).is_some_and(|verb| MOVING_VERBS.contains(&verb));
            let by_itself = if gives_way { LOCK_PATIENCE_FOR_MOVES } else { LOCK_PATIENCE };
            let waited = begun.elapsed();
            if waited >= by_itself.max(self.retry_lock) {
                return Err(e);
            }
            if waited >= LOCK_PATIENCE && !told {
                told = true;
                let note = format!("waiting for another process that writes to the store: {holder}");
                self.control.notice(Notice::Note(note));
            }
            if asked.is_none() && mode != Mode::Read {
                asked = store::ask_for_lock(&self.io, &path);
            }
            self.control.proceed()?;
            std::thread::sleep(if waited < LOCK_PATIENCE { LOOK } else { LOOK_LATER });
        }
    }

    fn open_once(&self, path: &Path, mode: Mode) -> Result<Store> {
        let opened = Store::open(&self.io, path, &OpenOptions::new(mode, self.memory_bytes))?;
        opened.notices.into_iter().for_each(|text| self.warn(text));
        Ok(opened.store)
    }

    /// Tells a line that a person should know, also under `--quiet`: a disk is missing, a redundancy incomplete.
    pub fn warn(&self, text: String) {
        report::notice(&self.out, &self.screen, self.json, false, &Notice::Note(text));
    }
}
