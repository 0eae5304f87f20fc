//! A snapshot of another store, stored anew: what `copy` does where the keys differ.
//!
//! The tree of the source is gone through in order; each file's bytes come out of it proven and go through the same
//! readers as those of a backup. A recipe that was met before in the same copy is not read again, within a bound.

use super::read::Readers;
use super::tree::Builder;
use super::walk::Step;
use crate::catalog::tree::{self, Step as Walked, Walk};
use crate::error::{Error, Result};
use crate::format::entry::{Content, Entry, EntryKind, Witness};
use crate::format::event::Event;
use crate::format::node::MapRoot;
use crate::format::snapshot::Snapshot;
use crate::io::source::Names;
use crate::io::threads::{Receiver, Sender, bounded};
use crate::ops::copy::{Copied, count};
use crate::ops::ingest::{self, Counters, Ingest, Purpose};
use crate::ops::snapshots::SnapshotInfo;
use crate::ops::{Control, cat};
use crate::store::Store;
use std::collections::HashMap;
use std::io::{Read, Write};
use std::sync::atomic::Ordering;

/// Pieces that may be on the way between reading and storing: each is at most a chunk.
const AHEAD: usize = 8;
/// Bytes of files that lie together.
const RUN_BYTES: u64 = 64 << 20;
/// What a remembered recipe takes beside its content.
const KNOWN_BYTES: u64 = 128;

/// What one copy remembers from snapshot to snapshot.
pub(in crate::ops) struct Anew<'f> {
    from: &'f Store,
    /// Content in the target, by the keyed check of the source's recipe.
    known: HashMap<[u8; 32], Content>,
    known_bytes: u64,
    known_max: u64,
}

impl<'f> Anew<'f> {
    pub(in crate::ops) fn new(from: &'f Store, memory_bytes: u64) -> Self {
        Anew { from, known: HashMap::new(), known_bytes: 0, known_max: memory_bytes }
    }
}

/// The writing end of a pipe between two threads.
struct Giver(Sender<Vec<u8>>);

impl Write for Giver {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.send(bytes.to_vec()).map_err(|_| std::io::ErrorKind::BrokenPipe)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// The reading end.
struct Taker {
    from: Receiver<Vec<u8>>,
    held: Vec<u8>,
    at: usize,
}

impl Read for Taker {
    fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
        while self.at == self.held.len() {
            match self.from.recv() {
                Ok(bytes) => (self.held, self.at) = (bytes, 0),
                Err(_) => return Ok(0),
            }
        }
        let rest = self.held.get(self.at..).unwrap_or_default();
        let n = rest.len().min(out.len());
        out[..n].copy_from_slice(&rest[..n]); // n is at most both lengths
        self.at += n;
        Ok(n)
    }
}

/// Stores a snapshot of `anew`'s store in this one, under a name.
///
/// # Errors
/// Damage in the source, those of an ingest, [`Error::Interrupted`].
pub(in crate::ops) fn copy_anew(
    store: &Store,
    anew: &mut Anew<'_>,
    (info, name): (&SnapshotInfo, Option<String>),
    program: &str,
    control: &Control,
) -> Result<Copied> {
    let pinned = info.pinned;
    ingest::run(store, control, Purpose::copying(program), |ingest| {
        let names = Names::new();
        let readers = Readers::new(ingest, &names, i128::from(store.io().world.now_ns()));
        let mut builder = Builder::new(ingest, control);
        anew.tree(ingest, &readers, &mut builder, &info.snapshot, control)?;
        let built = builder.finish(&readers)?;
        let mut snapshot = Snapshot { tree: built.tree, witness: None, parent: None, name, ..info.snapshot.clone() };
        Ok((Copied::nothing_of(info.id), move |copied: &mut Copied, counters: &Counters| {
            count(copied, counters);
            snapshot.counts.data_added = counters.data_added.load(Ordering::Relaxed);
            snapshot.counts.data_added_packed = counters.bytes_written.load(Ordering::Relaxed);
            let record = snapshot.encode();
            copied.target = Snapshot::id_of(&record);
            let pin = pinned.then_some(Event::SnapshotPinned { id: copied.target, pinned });
            std::iter::once(Event::SnapshotAdded { record }).chain(pin).collect()
        }))
    })
}

impl Anew<'_> {
    fn tree(
        &mut self,
        ingest: &Ingest<'_>,
        readers: &Readers<'_, '_>,
        builder: &mut Builder<'_, '_>,
        snapshot: &Snapshot,
        control: &Control,
    ) -> Result<()> {
        let (mut run, mut run_bytes) = (0, 0);
        for step in Walk::new(self.from, &snapshot.tree, b"") {
            control.proceed()?;
            let (path, mut entry) = match step {
                Walked::Unreadable(_, e) => return Err(e),
                Walked::Leave(_) => {
                    builder.step(Step::Leave)?;
                    continue;
                }
                Walked::Entry(path, entry) => (path, entry),
            };
            let name = tree::names(&path).last().map(|n| n.to_vec()).unwrap_or_default();
            if run_bytes >= RUN_BYTES {
                (run, run_bytes) = (run + 1, 0);
            }
            let lane = ingest.lane_of(run);
            let attributes = tree::attributes(self.from, &entry)?;
            entry.attributes = readers.attributes(attributes, &path, lane)?;
            match &entry.kind {
                EntryKind::Dir(_) => {
                    entry.kind = EntryKind::Dir(MapRoot::empty());
                    builder.step(Step::Enter { name, entry: Box::new(entry), witness: Witness::default() })?;
                    continue;
                }
                EntryKind::File { bytes, content: content @ Content::Recipe(_) } => {
                    let bytes = *bytes;
                    let content = self.content(readers, content, &entry, bytes, lane, control)?;
                    entry.kind = EntryKind::File { bytes, content };
                    run_bytes += bytes;
                    ingest.progress(bytes);
                }
                EntryKind::File { .. } | EntryKind::Symlink(_) => {}
            }
            builder.member(&name, &entry)?;
        }
        Ok(())
    }

    /// A file's content in the target.
    fn content(
        &mut self,
        readers: &Readers<'_, '_>,
        content: &Content,
        entry: &Entry,
        bytes: u64,
        lane: usize,
        control: &Control,
    ) -> Result<Content> {
        // Two files with one content have one recipe, whatever their names and times are.
        let bare = Entry {
            kind: entry.kind.clone(),
            mode: 0,
            mtime: Default::default(),
            uid: 0,
            gid: 0,
            user: None,
            group: None,
            attributes: Default::default(),
            link: None,
            digests: Vec::new(),
        };
        let key = self.from.keys().keyed_check(&bare.encode());
        if let Some(known) = self.known.get(&key) {
            return Ok(known.clone());
        }
        let (give, take) = bounded(AHEAD);
        let from = self.from;
        // The reader's progress counts nothing here: the copy's own does.
        let quiet = Control::default();
        let (stored, read) = crate::io::threads::scope(|scope| {
            let giver = scope.spawn(|| cat::whole(from, content, bytes, &mut Giver(give), &quiet));
            let stored = readers.stream(&mut Taker { from: take, held: Vec::new(), at: 0 }, lane);
            if stored.is_err() || control.is_cancelled() {
                quiet.cancel();
            }
            (stored, giver.join().unwrap_or(Err(Error::WorkerLost { verb: "copy" })))
        });
        // What could not be read ends the stream early, and is the cause.
        if let Err(e) = read
            && !(stored.is_err() && matches!(e, Error::Interrupted | Error::Io { .. }))
        {
            return Err(e);
        }
        let (content, got) = stored?;
        if got != bytes {
            return Err(Error::Malformed { what: "a recipe", offset: got, why: "it makes another number of bytes" });
        }
        if self.known_bytes < self.known_max {
            self.known_bytes += KNOWN_BYTES + bare.encode().len() as u64;
            self.known.insert(key, content.clone());
        }
        Ok(content)
    }
}
