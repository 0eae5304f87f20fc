//! A log entry on many disks: its copies are written side by side, and the state can be read meanwhile; the index waits.

use super::{Shelf, disk_path};
use crate::format::event::Event;
use crate::index::Index;
use crate::io::memory::MemFs;
use crate::io::{DirEntry, File, Fs, Kind, Lock, Space};
use crate::store::PackRows;
use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

/// Long enough that only what never comes is missed.
const PATIENCE: Duration = Duration::from_secs(30);

const DISKS: usize = 4;

#[derive(Default)]
struct Gate {
    is_shut: bool,
    /// Folders whose sync waits at it.
    at_it: BTreeSet<PathBuf>,
    /// Folders that were synced since it was shut, in their order.
    passed: Vec<PathBuf>,
    /// Whether no folder can be synced, `STORE`'s neither.
    fails: bool,
}

fn is_on_disk(path: &Path) -> bool {
    (0..DISKS).any(|i| path.starts_with(disk_path(i)))
}

/// Files in memory, with a gate before the syncs of disks' folders.
struct Gated {
    inner: MemFs,
    gate: Mutex<Gate>,
    changed: Condvar,
}

impl Gated {
    fn set(&self, gate: Gate) {
        *self.gate.lock().unwrap() = gate;
        self.changed.notify_all();
    }

    fn passed(&self) -> Vec<PathBuf> {
        self.gate.lock().unwrap().passed.clone()
    }

    /// Waits until `done`, or for too long.
    fn wait(&self, done: impl Fn(&Gate) -> bool) -> bool {
        let gate = self.gate.lock().unwrap();
        let (_gate, waited) = self.changed.wait_timeout_while(gate, PATIENCE, |gate| !done(gate)).unwrap();
        !waited.timed_out()
    }
}

impl Fs for Gated {
    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        let mut gate = self.gate.lock().unwrap();
        if gate.is_shut && is_on_disk(path) {
            gate.at_it.insert(path.to_owned());
            self.changed.notify_all();
            gate = self.changed.wait_timeout_while(gate, PATIENCE, |gate| gate.is_shut).unwrap().0;
        }
        if gate.fails {
            return Err(io::Error::other("the disk is gone"));
        }
        gate.passed.push(path.to_owned());
        drop(gate);
        self.inner.sync_dir(path)
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        self.inner.open(path)
    }

    fn create_new(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        self.inner.create_new(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.inner.rename(from, to)
    }

    fn rename_new(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.inner.rename_new(from, to)
    }

    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.inner.link(from, to)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.inner.remove_file(path)
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        self.inner.remove_dir(path)
    }

    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        self.inner.create_dir_all(path)
    }

    fn list(&self, path: &Path) -> io::Result<Vec<DirEntry>> {
        self.inner.list(path)
    }

    fn stat(&self, path: &Path) -> io::Result<Option<(Kind, u64)>> {
        self.inner.stat(path)
    }

    fn space(&self, path: &Path) -> io::Result<Space> {
        self.inner.space(path)
    }

    fn try_lock(&self, path: &Path) -> io::Result<Option<Box<dyn Lock>>> {
        self.inner.try_lock(path)
    }

    fn write_lock_note(&self, path: &Path, note: &[u8]) -> io::Result<()> {
        self.inner.write_lock_note(path, note)
    }
}

fn gated(disks: usize) -> (Shelf, Arc<Gated>) {
    let mut shelf = Shelf::new(disks);
    let gated = Arc::new(Gated { inner: shelf.fs.clone(), gate: Mutex::default(), changed: Condvar::new() });
    shelf.io.fs = Arc::clone(&gated) as Arc<dyn Fs>;
    (shelf, gated)
}

fn setting() -> Vec<Event> {
    vec![Event::Setting { key: "key".into(), value: "value".into() }]
}

#[test]
fn an_entry_is_written_on_all_disks_at_once_and_the_state_is_read_meanwhile() {
    let (shelf, gated) = gated(DISKS);
    let store = shelf.write();
    let before = store.reflected();
    gated.set(Gate { is_shut: true, ..Gate::default() });
    std::thread::scope(|scope| {
        let append = scope.spawn(|| store.append(|_| setting()));
        let are_all_there = gated.wait(|gate| gate.at_it.len() == DISKS);
        let (tell, told) = std::sync::mpsc::channel();
        let store = &store;
        scope.spawn(move || tell.send(store.reflected().number));
        let seen = told.recv_timeout(PATIENCE / 3);
        // The index is not told of it before it is durable.
        let index = scope.spawn(|| store.index_apply(&PackRows::default(), true));
        std::thread::sleep(Duration::from_millis(20));
        let reflected = shelf.index.reflected().unwrap();
        gated.set(Gate { passed: gated.passed(), ..Gate::default() });
        assert!(are_all_there, "some did not begin before others had ended");
        assert_eq!(seen, Ok(before.number + 1), "it waited for the disks");
        assert_eq!(reflected, Some(before));
        append.join().unwrap().unwrap();
        assert_eq!(index.join().unwrap(), None);
    });
    assert_eq!(shelf.index.reflected().unwrap(), Some(store.reflected()));
    // STORE's came first.
    let passed = gated.passed();
    assert!(passed.first().is_some_and(|p| !is_on_disk(p)), "{passed:?}");
    assert_eq!(passed.iter().filter(|p| is_on_disk(p)).count(), DISKS);
}

#[test]
fn an_entry_that_failed_is_not_told_to_the_index() {
    let (shelf, gated) = gated(DISKS);
    let store = shelf.write();
    let before = store.reflected();
    store.index_apply(&PackRows::default(), true);
    assert_eq!(shelf.index.reflected().unwrap(), Some(before));
    gated.set(Gate { fails: true, ..Gate::default() });
    assert!(store.append(|_| setting()).is_err());
    gated.set(Gate::default());
    assert!(store.append(|_| setting()).is_err(), "what the copies hold is unknown");
    assert_eq!(store.index_apply(&PackRows::default(), true), None);
    assert_eq!(shelf.index.reflected().unwrap(), Some(before));
}
