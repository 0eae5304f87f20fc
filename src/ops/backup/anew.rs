//! A snapshot of another store, stored anew: what `copy` does where the keys differ.
//!
//! The tree of the source is gone through in order; each file's bytes come out of it proven and go through the same
//! readers as those of a backup. A recipe that was met before in the same copy is not read again, within a bound.

use super::read::Readers;
use super::tree::Builder;
use super::walk::Step;
use crate::catalog::tree::{self, Step as Walked, Walk};
use crate::error::{Error, Result};
use crate::format::Keys;
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

/// Whether a reader ended because nobody takes its bytes any more, or was asked to: why is for the other side to say.
fn is_of_the_pipe(e: &Error) -> bool {
    match e {
        Error::Io { source, .. } => source.kind() == std::io::ErrorKind::BrokenPipe,
        e => matches!(e, Error::Interrupted),
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
            let lane = ingest.lane_of_file(run);
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
        let encoded = bare(&entry.kind);
        let key = self.from.keys().keyed_check(&encoded);
        if let Some(known) = self.known.get(&key) {
            return Ok(known.clone());
        }
        let content = split_anew(self.from, readers, content, bytes, lane, control)??;
        if self.known_bytes < self.known_max {
            self.known_bytes += KNOWN_BYTES + encoded.len() as u64;
            self.known.insert(key, content.clone());
        }
        Ok(content)
    }
}

/// An entry of this kind without a name's own facts. Two files with one content have one recipe, whatever their times are.
fn bare(kind: &EntryKind) -> Vec<u8> {
    let entry = Entry {
        kind: kind.clone(),
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
    entry.encode()
}

/// What a file's content is known by, whatever it is called.
pub(in crate::ops) fn content_key(keys: &Keys, kind: &EntryKind) -> [u8; 32] {
    keys.keyed_check(&bare(kind))
}

/// Runs `work` while so many threads store batches of the file that is in work.
///
/// # Errors
/// [`Error::WorkerLost`]; else what `work` returns.
pub(in crate::ops) fn with_helpers<T>(
    readers: &Readers<'_, '_>,
    helpers: usize,
    work: impl FnOnce() -> Result<T>,
) -> Result<T> {
    let (files, none) = bounded(1); // they take no files of their own
    crate::io::threads::scope(|scope| {
        let helpers: Vec<_> =
            (0..helpers).map(|_| none.clone()).map(|none| scope.spawn(move || readers.work(&none))).collect();
        drop(none);
        let done = work();
        drop(files);
        let lost = helpers.into_iter().map(|h| h.join().is_err()).fold(false, |a, b| a | b);
        if lost { Err(Error::WorkerLost { verb: "compact" }) } else { done }
    })
}

/// Stores the bytes that a content in `from` stands for as a backup would store them today. The inner error: those bytes
/// cannot be had.
///
/// # Errors
/// Those of an ingest, [`Error::Interrupted`].
pub(in crate::ops) fn split_anew(
    from: &Store,
    readers: &Readers<'_, '_>,
    content: &Content,
    bytes: u64,
    lane: usize,
    control: &Control,
) -> Result<Result<Content>> {
    // The reader's progress counts nothing here: the run's own does.
    let quiet = Control::default();
    let (stored, read) = while_read(from, content, bytes, &quiet, |taker| {
        let stored = readers.stream(taker, lane);
        if stored.is_err() || control.is_cancelled() {
            quiet.cancel();
        }
        stored
    });
    // What could not be read ends the stream early, and is the cause.
    if let Err(e) = read
        && !(stored.is_err() && is_of_the_pipe(&e))
    {
        control.proceed()?;
        return Ok(Err(e));
    }
    let (content, got) = stored?;
    if got != bytes {
        let why = "it makes another number of bytes";
        return Ok(Err(Error::Malformed { what: "a recipe", offset: got, why }));
    }
    Ok(Ok(content))
}

/// Runs `work` with the bytes of a content, which another thread reads and proves. They end early where that fails.
fn while_read<T>(
    from: &Store,
    content: &Content,
    bytes: u64,
    quiet: &Control,
    work: impl FnOnce(&mut Taker) -> T,
) -> (T, Result<()>) {
    let (give, take) = bounded(AHEAD);
    crate::io::threads::scope(|scope| {
        let giver = scope.spawn(|| cat::whole(from, content, bytes, &mut Giver(give), quiet));
        let mut taker = Taker { from: take, held: Vec::new(), at: 0 };
        let done = work(&mut taker);
        drop(taker); // a giver that waits ends by it
        (done, giver.join().unwrap_or(Err(Error::WorkerLost { verb: "copy" })))
    })
}

/// Compares what is written with what a taker gives.
struct Compare<'t> {
    with: &'t mut Taker,
    held: Vec<u8>,
    control: &'t Control,
}

impl Write for Compare<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        if self.control.is_cancelled() {
            return Err(std::io::ErrorKind::Other.into()); // `Interrupted` would be tried again
        }
        self.held.resize(bytes.len(), 0);
        self.with.read_exact(&mut self.held)?;
        if self.held == bytes {
            Ok(bytes.len())
        } else {
            Err(std::io::Error::new(std::io::ErrorKind::InvalidData, "the bytes differ"))
        }
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Reads two contents back, side by side, and compares all of their bytes. The inner error says why they are not known to be
/// the same. Memory: what two readers of a file take.
///
/// # Errors
/// [`Error::Interrupted`].
pub(in crate::ops) fn are_the_same(
    store: &Store,
    old: &Content,
    new: &Content,
    bytes: u64,
    control: &Control,
) -> Result<Result<()>> {
    let quiet = Control::default();
    let (same, read) = while_read(store, old, bytes, &quiet, |taker| {
        let ours = Control::default();
        let same = cat::whole(store, new, bytes, &mut Compare { with: taker, held: Vec::new(), control }, &ours);
        if same.is_err() {
            quiet.cancel();
        }
        same
    });
    control.proceed()?;
    // Old bytes that cannot be had end early, which is the cause; a reader that nobody listens to any more is none.
    Ok(match read {
        Err(e) if !(same.is_err() && is_of_the_pipe(&e)) => Err(e),
        _ => same,
    })
}
