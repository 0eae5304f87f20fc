//! Readers: a file's bytes to chunks, and its entry.
//!
//! A file is read once, in a window of [`WINDOW_BYTES`]. The splitter says which stream the bytes belong to,
//! the cutter ends chunks, and a window's chunks are named, asked for, coded and sent as one batch. When
//! other readers have nothing to do they take batches of a file that is in work, so that one huge file
//! uses all cores.

use super::walk::{entry_of, reason, witness_of};
use crate::catalog::recipe::RecipeBuilder;
use crate::chunk::{Samples, Scanner, Squeezer};
use crate::error::{Error, Result};
use crate::format::entry::{Attributes, Content, Entry, EntryKind, Witness, encode_attributes};
use crate::format::recipe::{Reference, Stream};
use crate::format::{ChunkId, ChunkKind, limits};
use crate::io::source::{Names, SourceFile};
use crate::media::{self, Hints, Run, Splitter};
use crate::ops::Notice;
use crate::ops::ingest::{Ingest, Sink};
use crate::pack::payload::{Payload, SharedWindow, WindowPool};
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, TrySendError, bounded};
use std::collections::{HashMap, VecDeque};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Bytes of a reader's window: four times the longest chunk, which keeps it near the processor's
/// second cache (measured: windows of 16 MiB cost a quarter of the speed).
const WINDOW_BYTES: usize = 4 << 20;
/// Batches of one file that may be in work elsewhere.
const BATCHES_AHEAD: usize = 4;

/// A file to read.
pub(super) struct FileJob {
    pub path: PathBuf,
    pub lane: usize,
    pub send: Sender<FileOutcome>,
}

/// What became of it.
pub(super) enum FileOutcome {
    Kept {
        entry: Box<Entry>,
        witness: Option<Witness>,
        bytes: u64,
        changed: bool,
    },
    Unreadable(String),
    /// The run ends; its own error says why.
    Stopped,
}

/// A batch's chunks by stream, in order.
type Stored = Result<Vec<(u8, Reference)>>;

/// A window: its buffer keeps its whole length, so that it is zeroed once; `filled` bytes of it count.
struct Window {
    bytes: Vec<u8>,
    filled: usize,
}

/// A window's chunks.
struct Batch {
    bytes: Vec<u8>,
    /// Stream, from, to.
    chunks: Vec<(u8, usize, usize)>,
    /// Of each chunk. They travel with it, so that whoever stores it need not look at its bytes for them.
    #[expect(dead_code, reason = "taken by the search for resembling chunks")]
    samples: Samples,
    lane: usize,
}

/// A batch on the way to another reader.
struct Errand {
    batch: Batch,
    done: Sender<Stored>,
}

/// What all readers share.
pub(super) struct Readers<'a, 's> {
    ingest: &'a Ingest<'s>,
    names: &'a Names,
    batches: (Sender<Errand>, Receiver<Errand>),
    idle: AtomicUsize,
    busy: AtomicUsize,
    now_ns: i128,
    windows: Arc<WindowPool>,
    pub bytes_read: AtomicU64,
    pub doubts: Mutex<HashMap<&'static str, u64>>,
}

/// Counts a reader that is at a file, also when it panics: the others wait until none is.
struct Busy<'a>(&'a AtomicUsize);

impl<'a> Busy<'a> {
    fn new(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::SeqCst);
        Busy(count)
    }
}

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// What one file's reading gave.
struct Reading {
    content: Content,
    bytes: u64,
}

impl<'a, 's> Readers<'a, 's> {
    pub fn new(ingest: &'a Ingest<'s>, names: &'a Names, now_ns: i128) -> Self {
        Readers {
            ingest,
            names,
            batches: bounded(BATCHES_AHEAD),
            idle: AtomicUsize::new(0),
            busy: AtomicUsize::new(0),
            now_ns,
            windows: Arc::default(),
            bytes_read: AtomicU64::new(0),
            doubts: Mutex::default(),
        }
    }

    /// One reader thread: files first come, first served; between them batches of other readers' files.
    pub fn work(&self, jobs: &Receiver<FileJob>) {
        let mut reader = Reader::new(self);
        let mut open = true;
        loop {
            if let Ok(batch) = self.batches.1.try_recv() {
                reader.batch(batch);
                continue;
            }
            if !open {
                // No new file comes; a file in work elsewhere may still hand out batches.
                if self.busy.load(Ordering::SeqCst) == 0 {
                    return;
                }
                self.idle.fetch_add(1, Ordering::SeqCst);
                let batch = self.batches.1.recv_timeout(Duration::from_millis(2));
                self.idle.fetch_sub(1, Ordering::SeqCst);
                if let Ok(batch) = batch {
                    reader.batch(batch);
                }
                continue;
            }
            self.idle.fetch_add(1, Ordering::SeqCst);
            let job = crossbeam_channel::select! {
                recv(self.batches.1) -> batch => {
                    self.idle.fetch_sub(1, Ordering::SeqCst);
                    if let Ok(batch) = batch {
                        reader.batch(batch);
                    }
                    continue;
                }
                recv(jobs) -> job => job,
            };
            self.idle.fetch_sub(1, Ordering::SeqCst);
            match job {
                Ok(job) => {
                    let busy = Busy::new(&self.busy);
                    let outcome = reader.file(&job);
                    drop(busy);
                    let _ = job.send.send(outcome); // nobody waits for it if the run ends
                }
                Err(_) => open = false,
            }
        }
    }

    /// Reads a stream of unknown length as one file.
    pub fn stream(&self, input: &mut dyn std::io::Read, lane: usize) -> Result<(Content, u64)> {
        let mut reader = Reader::new(self);
        let busy = Busy::new(&self.busy);
        let reading = reader.all(&mut |into, _| input.read(into), None, lane);
        drop(busy);
        let reading = reading?.map_err(Error::io("read", "standard input"))?;
        Ok((reading.content, reading.bytes))
    }
}

/// Either the source could not be read (reported, the run goes on), or the run itself fails.
type Read<T> = Result<std::io::Result<T>>;

/// A thread's own tools.
struct Reader<'r, 'a, 's> {
    shared: &'r Readers<'a, 's>,
    squeezer: Squeezer,
    scanner: Scanner<'s>,
    sink: Sink<'a, 's>,
}

impl<'r, 'a, 's> Reader<'r, 'a, 's> {
    fn new(shared: &'r Readers<'a, 's>) -> Self {
        let scanner = Scanner::new(shared.ingest.store().cutter());
        Reader { shared, squeezer: Squeezer::default(), scanner, sink: shared.ingest.sink() }
    }

    fn file(&mut self, job: &FileJob) -> FileOutcome {
        match self.try_file(job) {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(e)) => FileOutcome::Unreadable(reason(&e)),
            Err(e) => {
                self.shared.ingest.stop(e);
                FileOutcome::Stopped
            }
        }
    }

    fn try_file(&mut self, job: &FileJob) -> Read<FileOutcome> {
        let mut changed = false;
        loop {
            let file = match SourceFile::open(&job.path) {
                Ok(file) => file,
                Err(e) => return Ok(Err(e)),
            };
            let before = match file.metadata() {
                Ok(m) => m,
                Err(e) => return Ok(Err(e)),
            };
            let reading = match self.content(&file, before.size, job)? {
                Ok(reading) => reading,
                Err(e) => return Ok(Err(e)),
            };
            let after = match file.metadata() {
                Ok(m) => m,
                Err(e) => return Ok(Err(e)),
            };
            let steady = (before.size, before.mtime, before.ctime) == (after.size, after.mtime, after.ctime)
                && reading.bytes == before.size;
            if !steady && !changed {
                changed = true; // once more; then it is kept as it was read, and reported
                continue;
            }
            let keys = self.shared.ingest.store().keys();
            let kind = EntryKind::File { bytes: reading.bytes, content: reading.content };
            let mut entry = entry_of(&before, self.shared.names, kind, keys);
            match file.attributes() {
                Ok(list) => entry.attributes = self.attributes(list, job)?,
                Err(e) => return Ok(Err(e)),
            }
            let witness = if steady { witness_of(&before, self.shared.now_ns) } else { None };
            let bytes = reading.bytes;
            return Ok(Ok(FileOutcome::Kept { entry: Box::new(entry), witness, bytes, changed: !steady }));
        }
    }

    fn attributes(&mut self, mut list: Vec<(Vec<u8>, Vec<u8>)>, job: &FileJob) -> Result<Attributes> {
        list.sort();
        if list.is_empty() {
            return Ok(Attributes::None);
        }
        let encoded = encode_attributes(&list);
        if encoded.len() <= limits::INLINE_ATTRIBUTE_BYTES {
            return Ok(Attributes::Inline(list));
        }
        if encoded.len() > limits::ATTRIBUTE_BYTES {
            let reason = format!("its extended attributes ({} bytes) are longer than the format allows", encoded.len());
            self.shared.ingest.notice(Notice::Metadata { path: job.path.as_os_str().as_bytes().to_vec(), reason });
            return Ok(Attributes::None);
        }
        let mut references = Vec::new();
        for part in encoded.chunks(limits::CHUNK_BYTES / 16) {
            let samples = Samples::default(); // of what is not cut there are none
            let chunks = vec![(0, 0, part.len())];
            let stored = self.store(Batch { bytes: part.to_vec(), chunks, samples, lane: job.lane })?;
            references.extend(stored.into_iter().map(|(_, r)| r)); // at most four, ATTRIBUTE_BYTES is 4 MiB
        }
        Ok(Attributes::Stream(Stream { level: 0, references }))
    }

    fn content(&mut self, file: &SourceFile, size: u64, job: &FileJob) -> Read<Reading> {
        if size <= limits::INLINE_FILE_BYTES as u64 {
            let mut bytes = vec![0; limits::INLINE_FILE_BYTES + 1];
            let mut n = 0;
            loop {
                match file.read_at(&mut bytes[n..], n as u64) {
                    Ok(0) => break,
                    Ok(more) => n += more,
                    Err(e) => return Ok(Err(e)),
                }
                if n == bytes.len() {
                    break;
                }
            }
            if n <= limits::INLINE_FILE_BYTES {
                bytes.truncate(n);
                self.count(n as u64);
                return Ok(Ok(Reading { bytes: n as u64, content: Content::Inline(bytes) }));
            } // it grew meanwhile: read it as what it is now
        }
        let _ = file.advise_sequential(); // a hint
        let first = match file.next_data(0) {
            Ok(first) => first,
            Err(e) => return Ok(Err(e)),
        };
        let sparse = !matches!(first, Some((0, end)) if end >= size);
        if sparse {
            return self.sparse(file, size, first, job.lane);
        }
        self.all(&mut |into, at| file.read_at(into, at), Some(size), job.lane)
    }

    fn count(&self, bytes: u64) {
        self.shared.bytes_read.fetch_add(bytes, Ordering::Relaxed);
        self.shared.ingest.progress(bytes);
    }

    /// A file with holes: each run of data on its own, in one stream.
    fn sparse(&mut self, file: &SourceFile, size: u64, first: Option<(u64, u64)>, lane: usize) -> Read<Reading> {
        let mut recipe = RecipeBuilder::new((media::OPAQUE.number, media::OPAQUE.version));
        let mut next = first;
        let mut at = 0;
        while let Some((start, end)) = next.filter(|(start, _)| *start < size) {
            let end = end.min(size);
            recipe.hole(&mut self.sink, start - at)?; // extents ascend
            self.shared.ingest.progress(start - at);
            let mut splitter = media::opaque::Opaque::default();
            let read = &mut |into: &mut [u8], offset: u64| {
                let left = usize::try_from(end - (start + offset)).unwrap_or(usize::MAX).min(into.len());
                file.read_at(&mut into[..left], start + offset)
            };
            let empty = self.window();
            match self.stream_into(&mut recipe, read, &mut splitter, empty, lane)? {
                Ok(n) if start + n == end => at = end,
                Ok(n) => return self.finish(recipe, start + n), // it shrank meanwhile
                Err(e) => return Ok(Err(e)),
            }
            next = match file.next_data(at) {
                Ok(next) => next,
                Err(e) => return Ok(Err(e)),
            };
        }
        recipe.hole(&mut self.sink, size - at)?;
        self.shared.ingest.progress(size - at);
        self.finish(recipe, size)
    }

    fn finish(&mut self, recipe: RecipeBuilder, bytes: u64) -> Read<Reading> {
        let recipe = recipe.finish(&mut self.sink)?;
        Ok(Ok(Reading { content: Content::Recipe(Box::new(recipe)), bytes }))
    }

    /// A file without holes, or a pipe.
    fn all(
        &mut self,
        read: &mut dyn FnMut(&mut [u8], u64) -> std::io::Result<usize>,
        size: Option<u64>,
        lane: usize,
    ) -> Read<Reading> {
        // The first window is read before the splitter is chosen: it shows the file's own first bytes.
        let mut first = self.window();
        let mut n = 0;
        while n < first.bytes.len() {
            match read(&mut first.bytes[n..], n as u64) {
                Ok(0) => break,
                Ok(more) => n += more,
                Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
                Err(e) => return Ok(Err(e)),
            }
        }
        first.filled = n;
        if size.is_none() && n <= limits::INLINE_FILE_BYTES {
            self.count(n as u64);
            return Ok(Ok(Reading { bytes: n as u64, content: Content::Inline(first.bytes[..n].to_vec()) }));
        }
        let head = &first.bytes[..n.min(media::HINT_BYTES)];
        let mut splitter = media::open(Hints { head, tail: None });
        let mut recipe = RecipeBuilder::new((splitter.id().number, splitter.id().version));
        let bytes = match self.stream_into(&mut recipe, read, &mut *splitter, first, lane)? {
            Ok(bytes) => bytes,
            Err(e) => return Ok(Err(e)),
        };
        if let Some(doubt) = splitter.doubt() {
            *self.shared.doubts.lock().unwrap_or_else(PoisonError::into_inner).entry(doubt).or_default() += 1;
        }
        self.finish(recipe, bytes)
    }

    fn window(&mut self) -> Window {
        Window { bytes: self.shared.windows.take(WINDOW_BYTES), filled: 0 }
    }

    /// Reads to the end, from `filled` on, and adds every chunk to the recipe. Returns the bytes.
    fn stream_into(
        &mut self,
        recipe: &mut RecipeBuilder,
        read: &mut dyn FnMut(&mut [u8], u64) -> std::io::Result<usize>,
        splitter: &mut dyn Splitter,
        mut window: Window,
        lane: usize,
    ) -> Read<u64> {
        self.scanner.restart(); // it may have left another file in the middle
        let mut at = window.filled as u64; // where in the file the window ends
        let mut split = 0; // bytes of the window that have a stream
        let mut runs: VecDeque<Run> = VecDeque::new(); // of window[0..split]
        let mut fresh = Vec::new();
        let mut waiting: VecDeque<Receiver<Stored>> = VecDeque::new();
        let mut last = false;
        while !last {
            self.shared.ingest.proceed()?;
            while window.filled < window.bytes.len() {
                match read(&mut window.bytes[window.filled..], at) {
                    Ok(0) => {
                        last = true;
                        break;
                    }
                    Ok(n) => {
                        window.filled += n;
                        at += n as u64;
                    }
                    Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
                    Err(e) => return Ok(Err(e)),
                }
            }
            let filled = window.filled;
            if split < filled {
                fresh.clear();
                splitter.split(&window.bytes[split..filled], last, &mut fresh);
                for part in fresh.drain(..) {
                    let media::Part::Run(run) = part else {
                        return Err(Error::Malformed { what: "a splitter's answer", offset: at, why: "not yet" });
                    };
                    split += run.bytes as usize; // a run does not reach beyond the window
                    match runs.back_mut() {
                        Some(open) if open.stream == run.stream && !run.cut => open.bytes += run.bytes,
                        _ => runs.push_back(run),
                    }
                }
                // A splitter that breaks its promise must not lose bytes: what it left out is opaque.
                if split > filled || (last && split < filled) {
                    return Err(Error::Malformed {
                        what: "a splitter's answer",
                        offset: at,
                        why: "its runs do not cover the file",
                    });
                }
            }
            let bytes = &window.bytes[..split];
            let (chunks, done) = cut(&mut self.scanner, bytes, &mut runs, last);
            let taken = chunks.last().map_or(0, |(_, _, end)| *end);
            debug_assert!(taken == done);
            let samples = self.scanner.advance(bytes, chunks.iter().map(|&(_, a, b)| a..b), done);
            split -= done;
            self.count(done as u64);
            if chunks.is_empty() {
                continue;
            }
            let mut next = self.window();
            next.filled = filled - done; // what was cut is at most what was filled
            next.bytes[..filled - done].copy_from_slice(&window.bytes[done..filled]);
            let batch = std::mem::replace(&mut window, next);
            self.hand_out(recipe, Batch { bytes: batch.bytes, chunks, samples, lane }, &mut waiting)?;
        }
        while let Some(receiver) = waiting.pop_front() {
            self.collect(recipe, &receiver)?;
        }
        self.shared.windows.give(window.bytes);
        Ok(Ok(at))
    }

    /// Gives a batch to an idle reader, or does it here.
    fn hand_out(
        &mut self,
        recipe: &mut RecipeBuilder,
        batch: Batch,
        waiting: &mut VecDeque<Receiver<Stored>>,
    ) -> Result<()> {
        let mut mine = Some(batch);
        if self.shared.idle.load(Ordering::SeqCst) > 0
            && let Some(batch) = mine.take()
        {
            let (done, receiver) = bounded(1);
            match self.shared.batches.0.try_send(Errand { batch, done }) {
                Ok(()) => {
                    waiting.push_back(receiver);
                    if waiting.len() > BATCHES_AHEAD
                        && let Some(oldest) = waiting.pop_front()
                    {
                        self.collect(recipe, &oldest)?;
                    }
                }
                Err(TrySendError::Full(e) | TrySendError::Disconnected(e)) => mine = Some(e.batch),
            }
        }
        if let Some(batch) = mine {
            let references = self.store(batch)?;
            while let Some(receiver) = waiting.pop_front() {
                self.collect(recipe, &receiver)?; // what was handed out comes before this batch
            }
            for (stream, reference) in references {
                recipe.data(&mut self.sink, stream, reference)?;
            }
        }
        Ok(())
    }

    /// Waits for a batch that another reader has, doing others' batches meanwhile.
    fn collect(&mut self, recipe: &mut RecipeBuilder, receiver: &Receiver<Stored>) -> Result<()> {
        let references = loop {
            match receiver.recv_timeout(Duration::from_millis(1)) {
                Ok(references) => break references?,
                Err(RecvTimeoutError::Timeout) => {
                    self.shared.ingest.proceed()?;
                    if let Ok(batch) = self.shared.batches.1.try_recv() {
                        self.batch(batch);
                    }
                }
                Err(RecvTimeoutError::Disconnected) => return Err(Error::WorkerLost { verb: "backup" }),
            }
        };
        for (stream, reference) in references {
            recipe.data(&mut self.sink, stream, reference)?;
        }
        Ok(())
    }

    fn batch(&mut self, errand: Errand) {
        let outcome = self.store(errand.batch);
        let _ = errand.done.send(outcome); // its owner is gone only if the run ends
    }

    /// Names a window's chunks, and stores the new ones. Where they are most of the window the records share it,
    /// so that raw chunks are not copied; else they are copied, and the window is free at once.
    fn store(&mut self, batch: Batch) -> Stored {
        let Batch { bytes, chunks, samples: _, lane } = batch;
        let ingest = self.shared.ingest;
        let keys = ingest.store().keys();
        let window = SharedWindow::new(bytes, Arc::clone(&self.shared.windows));
        let ids: Vec<ChunkId> = chunks.iter().map(|&(_, a, b)| keys.chunk_id(ChunkKind::Data, &window[a..b])).collect();
        let new = ingest.claim(&ids)?;
        let new_bytes: usize = chunks.iter().zip(&new).filter(|(_, new)| **new).map(|(&(_, a, b), _)| b - a).sum();
        let share = new_bytes / 3 >= window.len() / 4;
        let mut records = Vec::new();
        for ((&(_, a, b), id), new) in chunks.iter().zip(&ids).zip(new) {
            if new {
                let plain = if share { Payload::part(&window, a..b) } else { window[a..b].to_vec().into() };
                records.push(ingest.record(&mut self.squeezer, ChunkKind::Data, *id, &plain));
            }
        }
        drop(window);
        ingest.send(lane, records)?;
        let references = chunks.iter().zip(ids).map(|(&(s, a, b), id)| (s, Reference { id, bytes: (b - a) as u64 }));
        Ok(references.collect())
    }
}

/// Cuts what can be cut of the runs over `bytes`: (stream, from, to) each, and how many bytes that was. A
/// run that may go on is cut only where the longest chunk could not change the cut.
///
/// Within a run whose form has an alignment, a cut is moved back to a multiple of it, counted from the run's start;
/// only the run's end is a cut anywhere.
fn cut(scanner: &mut Scanner, bytes: &[u8], runs: &mut VecDeque<Run>, last: bool) -> (Vec<(u8, usize, usize)>, usize) {
    let mut chunks = Vec::new();
    let mut at = 0;
    while let Some(run) = runs.front() {
        let closed = last || runs.len() > 1;
        let (stream, left) = (run.stream, run.bytes as usize); // runs lie within the window
        if left == 0 {
            if runs.len() == 1 {
                break;
            }
            runs.pop_front();
            continue;
        }
        // One byte more than the longest chunk: whether this chunk is the run's last must be known.
        if !closed && left <= scanner.max_bytes() {
            break;
        }
        let mut n = scanner.next(bytes, at..at + left); // the runs cover `bytes`
        if n < left {
            let align = run.form.align();
            n = if n < align { align.min(left) } else { n - n % align }; // every chunk begins at a multiple
        }
        chunks.push((stream, at, at + n));
        at += n;
        if let Some(run) = runs.front_mut() {
            run.bytes -= n as u64;
        }
    }
    (chunks, at)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chunk::{Cutter, Form, Pcm};
    use crate::format::Keys;
    use crate::format::superblock::ChunkerParameters;

    fn noise(n: usize) -> Vec<u8> {
        let mut x = 88_172_645_463_325_252u64;
        std::iter::repeat_with(|| {
            x ^= x << 13;
            x ^= x >> 7;
            x ^= x << 17;
            (x >> 32) as u8
        })
        .take(n)
        .collect()
    }

    fn cutter() -> Cutter {
        let p = ChunkerParameters { min_bytes: 2 << 10, avg_bytes: 8 << 10, max_bytes: 32 << 10, ..Default::default() };
        Cutter::new(p, &Keys::new([0; 32], 3)).unwrap()
    }

    fn run(stream: u8, bytes: usize, sample_bytes: u8, channels: u8) -> Run {
        let form = match sample_bytes {
            0 => Form::Bytes,
            _ => Form::Pcm(Pcm { sample_bytes, channels, coded: false }),
        };
        Run { stream, bytes: bytes as u64, cut: true, form }
    }

    /// Cuts in windows that grow by `step` bytes, as runs become known.
    fn in_steps(cutter: &Cutter, bytes: &[u8], runs: &[Run], step: usize) -> Vec<(u8, usize, usize)> {
        let mut scanner = Scanner::new(cutter);
        let mut all = Vec::new();
        let mut open: VecDeque<Run> = VecDeque::new();
        let mut rest: VecDeque<Run> = runs.iter().copied().collect();
        let (mut front, mut seen) = (0, 0);
        while front < bytes.len() {
            let mut more = step.min(bytes.len() - seen);
            seen += more;
            while more > 0 {
                let run = &mut rest[0];
                let n = more.min(run.bytes as usize);
                match open.back_mut() {
                    Some(last) if !run.cut => last.bytes += n as u64,
                    _ => open.push_back(Run { bytes: n as u64, ..*run }),
                }
                run.bytes -= n as u64;
                run.cut = false;
                more -= n;
                if run.bytes == 0 {
                    rest.pop_front();
                }
            }
            let window = &bytes[front..seen];
            let (chunks, done) = cut(&mut scanner, window, &mut open, seen == bytes.len());
            scanner.advance(window, chunks.iter().map(|&(_, a, b)| a..b), done);
            all.extend(chunks.into_iter().map(|(s, a, b)| (s, front + a, front + b)));
            front += done;
        }
        all
    }

    #[test]
    fn cuts_within_a_run_stand_on_its_frames_whatever_the_windows() {
        let cutter = cutter();
        let bytes = noise(700_001);
        // One ends where the longest chunk does, one is shorter than a frame, one ends within a frame.
        let lengths = [100_003, 32 << 10, 5, 7, 1, 200_000, 33_000];
        let mut runs = Vec::new();
        let mut at = 0;
        for (i, n) in lengths.into_iter().enumerate() {
            runs.push(run(i as u8, n, [3, 4, 2, 0, 3][i % 5], [2, 16, 2, 0, 32][i % 5]));
            at += n;
        }
        runs.push(run(9, bytes.len() - at, 3, 2));
        let whole = in_steps(&cutter, &bytes, &runs, bytes.len());
        for step in [32 << 10, (32 << 10) + 1, 99_999, 300_000] {
            assert_eq!(in_steps(&cutter, &bytes, &runs, step), whole, "windows grow by {step}");
        }
        let (mut end, mut chunks) = (0, whole.into_iter().peekable());
        for run in runs {
            let start = end;
            end += run.bytes as usize;
            while let Some((stream, from, to)) = chunks.next_if(|c| c.1 < end) {
                assert_eq!(stream, run.stream);
                assert!(from < to && to <= end && (from - start) % run.form.align() == 0);
            }
        }
        assert!(chunks.next().is_none());
    }

    #[test]
    fn a_constant_run_of_frames_is_cut_below_the_maximum() {
        let bytes = vec![0; 100_000];
        let chunks = in_steps(&cutter(), &bytes, &[run(0, bytes.len(), 3, 2)], 50_000);
        assert_eq!(chunks[0], (0, 0, 32_766), "the most frames of 6 bytes in 32 KiB");
    }
}
