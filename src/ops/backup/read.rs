//! Readers: a file's bytes to chunks, and its entry.
//!
//! A file is read once, in a window of [`WINDOW_BYTES`]. The splitter says which stream the bytes belong to,
//! the cutter ends chunks, and a window's chunks are named, asked for, coded and sent as one batch. When
//! other readers have nothing to do they take batches of a file that is in work, so that one huge file
//! uses all cores.

mod batches;

use super::cut::{Cut, Piece, cut};
use super::survey::{Spent, Survey};
use super::walk::{entry_of, reason, witness_of};
use crate::catalog::recipe::RecipeBuilder;
use crate::chunk::jpeg::Walker;
use crate::chunk::{Form, Samples, Scanner, Squeezer, Technique, Tier};
use crate::error::{Error, Result};
use crate::format::digest::{Algorithm, Several};
use crate::format::entry::{Attributes, Content, Entry, EntryKind, Witness, encode_attributes};
use crate::format::limits;
use crate::format::recipe::{self, Range, Stream};
use crate::io::source::{Names, SourceFile};
use crate::io::threads::{Either, Mutex, Receiver, Sender, bounded, recv_either};
use crate::media::{self, Deflate, Hints, Mapped, Part, Run, Splitter};
use crate::ops::Notice;
use crate::ops::ingest::resemble::Resembler;
use crate::ops::ingest::{Ingest, Sink};
use crate::pack::payload::WindowPool;
use batches::{BATCHES_AHEAD, Batch, InWork, Job, Pending};
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

/// Bytes of a reader's window: four times the longest chunk, which keeps it near the processor's
/// second cache (measured: windows of 16 MiB cost a quarter of the speed).
const WINDOW_BYTES: usize = 4 << 20;
/// Parts of a mapped segment, at most. With the longest parameters its place in a list is then half a node.
const SEGMENT_PARTS: usize = 4096;

/// A file to read.
pub(super) struct FileJob {
    pub path: PathBuf,
    /// Of files that should lie together.
    pub run: u64,
    /// What its bytes are digested with while they are stored; mostly nothing.
    pub digest: Arc<[Algorithm]>,
    pub send: Sender<FileOutcome>,
}

/// What became of it.
pub(super) enum FileOutcome {
    Kept {
        entry: Box<Entry>,
        witness: Option<Witness>,
        bytes: u64,
        changed: bool,
        /// Of the bytes that were stored.
        digests: Vec<(Algorithm, Vec<u8>)>,
    },
    Unreadable(String),
    /// The run ends; its own error says why.
    Stopped,
}

/// A window: its buffer keeps its whole length, so that it is zeroed once; `filled` bytes of it count.
struct Window {
    bytes: Vec<u8>,
    filled: usize,
}

/// Bytes that mapped segments gave to a stream and that are in no chunk yet: less than twice the longest chunk, and a
/// segment.
#[derive(Default)]
struct Gathered {
    bytes: Vec<u8>,
    form: Form,
}

/// Whether a mapped segment gives the file's bytes back.
fn comes_back(mapped: &Mapped, file: Option<&[u8]>) -> bool {
    let Some(file) = file else { return true }; // it reaches beyond the window, which ends the run
    let taken: u64 = mapped.parts.iter().map(|p| p.bytes.len() as u64).sum();
    let parts: Vec<&[u8]> = mapped.parts.iter().map(|p| p.bytes.as_slice()).collect();
    mapped.bytes <= limits::SEGMENT_BYTES
        && taken <= 4 * limits::SEGMENT_BYTES
        && mapped.parameters.len() <= limits::SEGMENT_PARAMETER_BYTES
        && mapped.parts.len() <= SEGMENT_PARTS
        && media::inverse(mapped.how, &mapped.parameters, &parts, file.len()).is_ok_and(|back| back == file)
}

/// What all readers share.
pub(in crate::ops) struct Readers<'a, 's> {
    ingest: &'a Ingest<'s>,
    names: &'a Names,
    batches: (Sender<Batch>, Receiver<Batch>),
    idle: AtomicUsize,
    busy: AtomicUsize,
    now_ns: i128,
    windows: Arc<WindowPool>,
    pub bytes_read: AtomicU64,
    pub doubts: Mutex<HashMap<&'static str, u64>>,
    pub survey: Option<Arc<Survey>>,
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
            survey: None,
        }
    }

    /// One reader thread: files first come, first served; between them batches of other readers' files.
    pub(super) fn work(&self, jobs: &Receiver<FileJob>) {
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
            let next = recv_either(&self.batches.1, jobs);
            self.idle.fetch_sub(1, Ordering::SeqCst);
            match next {
                Either::First(batch) => {
                    if let Ok(batch) = batch {
                        reader.batch(batch);
                    }
                }
                Either::Second(Ok(job)) => {
                    let busy = Busy::new(&self.busy);
                    let outcome = reader.file(&job);
                    drop(busy);
                    let _ = job.send.send(outcome); // nobody waits for it if the run ends
                }
                Either::Second(Err(_)) => open = false,
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

    /// Reads a stream as the data of a file with holes: `ranges` are the places of what follows each other in it.
    pub fn sparse_stream(
        &self,
        input: &mut dyn std::io::Read,
        ranges: &[(u64, u64)],
        size: u64,
        lane: usize,
    ) -> Result<Content> {
        let mut reader = Reader::new(self);
        let busy = Busy::new(&self.busy);
        let mut ranges = ranges.iter();
        let next = &mut |_| Ok(ranges.next().map(|(at, bytes)| (*at, at + bytes))); // ranges end within the file
        let reading = reader.sparse(next, &mut |into, _| input.read(into), size, lane, &mut Several::default());
        drop(busy);
        Ok(reading?.map_err(Error::io("read", "standard input"))?.content)
    }
}

impl Readers<'_, '_> {
    /// What an entry says of these attributes; those that are too long for it are stored. `path` is for a notice.
    ///
    /// # Errors
    /// Whatever storing returns.
    pub fn attributes(&self, list: Vec<(Vec<u8>, Vec<u8>)>, path: &[u8], lane: usize) -> Result<Attributes> {
        match self.short_attributes(list, path) {
            Ok(attributes) => Ok(attributes),
            Err(encoded) => Reader::new(self).long_attributes(&encoded, lane),
        }
    }

    /// Attributes as they stand in an entry; the encoded ones where they are too long for that.
    fn short_attributes(
        &self,
        mut list: Vec<(Vec<u8>, Vec<u8>)>,
        path: &[u8],
    ) -> std::result::Result<Attributes, Vec<u8>> {
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
            self.ingest.notice(Notice::Metadata { path: path.to_vec(), reason });
            return Ok(Attributes::None);
        }
        Err(encoded)
    }

    /// Whether the text of a deflate stream is worth what undoing it costs: a chunk of it is stored, or resembles one that
    /// is, or a media codec takes it. `text` is its beginning.
    fn resembles(&self, text: &[u8]) -> bool {
        let store = self.ingest.store();
        let head = &text[..text.len().min(media::HINT_BYTES)];
        let mut parts = Vec::new();
        media::open_text(Hints { head, tail: None }).split(text, true, &mut parts);
        if parts.iter().any(|p| matches!(p, Part::Run(run) if run.form.is_samples())) {
            return true;
        }
        // What the text's own splitter maps is taken as it stands, as when a stream is undone.
        let mut runs: VecDeque<Part> = VecDeque::new();
        for part in parts {
            let plain = Run { stream: media::ESSENCE, bytes: part.bytes(), cut: true, form: Form::Bytes };
            runs.push_back(Part::Run(if let Part::Run(run) = part { run } else { plain }));
        }
        let mut scanner = Scanner::new(store.cutter());
        let (pieces, done) = cut(&mut scanner, text, &mut runs, true);
        let chunks: Vec<Cut> = pieces.iter().filter_map(Piece::chunk).collect();
        let samples = scanner.advance(text, chunks.iter().map(|c| c.from..c.to), done);
        let known = |(i, c): (usize, &Cut)| self.ingest.knows_of(&text[c.from..c.to], samples.chunk(i)); // cuts lie in it
        chunks.iter().enumerate().any(known)
    }
}

/// Either the source could not be read (reported, the run goes on), or the run itself fails.
type Read<T> = Result<std::io::Result<T>>;

/// A thread's own tools.
struct Reader<'r, 'a, 's> {
    shared: &'r Readers<'a, 's>,
    squeezer: Squeezer,
    /// For the file's window.
    scanner: Scanner<'s>,
    /// For the streams that mapped segments fill.
    mapped_scanner: Scanner<'s>,
    resembler: Resembler<'a, 's>,
    sink: Sink<'a, 's>,
    file: InWork,
    /// What is known of the JPEG file in each stream.
    walkers: BTreeMap<u8, Walker>,
}

impl<'r, 'a, 's> Reader<'r, 'a, 's> {
    fn new(shared: &'r Readers<'a, 's>) -> Self {
        Reader {
            shared,
            squeezer: shared.ingest.squeezer(),
            scanner: Scanner::new(shared.ingest.store().cutter()),
            mapped_scanner: Scanner::new(shared.ingest.store().cutter()),
            resembler: Resembler::new(shared.ingest),
            sink: shared.ingest.sink(),
            file: InWork::default(),
            walkers: BTreeMap::new(),
        }
    }

    fn file(&mut self, job: &FileJob) -> FileOutcome {
        match self.try_file(job) {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(e)) => FileOutcome::Unreadable(reason(&e)),
            Err(e) => {
                // What a file's shape ends the run with says where in the store; whose shape it is belongs to it.
                if matches!(e, Error::Malformed { .. } | Error::Limit { .. }) {
                    let path = crate::format::text::escape(job.path.as_os_str().as_bytes());
                    self.shared.ingest.notice(Notice::Note(format!("what follows came up at {path}")));
                }
                self.shared.ingest.stop(e);
                FileOutcome::Stopped
            }
        }
    }

    fn try_file(&mut self, job: &FileJob) -> Read<FileOutcome> {
        let lane = self.shared.ingest.lane_of_file(job.run);
        let mut changed = false;
        let survey = self.shared.survey.as_deref();
        let most = survey.map_or(u64::MAX, |s| s.head(&job.path));
        loop {
            let spent = survey.map(|_| Arc::new(Spent::default()));
            self.file.spent.clone_from(&spent);
            let file = match SourceFile::open(&job.path) {
                Ok(file) => file,
                Err(e) => return Ok(Err(e)),
            };
            let before = match file.metadata() {
                Ok(m) => m,
                Err(e) => return Ok(Err(e)),
            };
            let mut digest = Several::new(&job.digest);
            let reading = match self.content(&file, before.size.min(most), lane, &mut digest)? {
                Ok(reading) => reading,
                Err(e) => return Ok(Err(e)),
            };
            let after = match file.metadata() {
                Ok(m) => m,
                Err(e) => return Ok(Err(e)),
            };
            let steady = (before.size, before.mtime, before.ctime) == (after.size, after.mtime, after.ctime)
                && reading.bytes == before.size.min(most);
            if !steady && !changed {
                changed = true; // once more; then it is kept as it was read, and reported
                continue;
            }
            let keys = self.shared.ingest.store().keys();
            let kind = EntryKind::File { bytes: reading.bytes, content: reading.content };
            let mut entry = entry_of(&before, self.shared.names, kind, keys);
            match file.attributes() {
                Ok(list) => {
                    let path = job.path.as_os_str().as_bytes();
                    entry.attributes = match self.shared.short_attributes(list, path) {
                        Ok(attributes) => attributes,
                        Err(encoded) => self.long_attributes(&encoded, lane)?,
                    };
                }
                Err(e) => return Ok(Err(e)),
            }
            let witness = if steady { witness_of(&before, self.shared.now_ns) } else { None };
            let bytes = reading.bytes;
            let digests = digest.finish();
            if let (Some(survey), Some(spent)) = (survey, spent) {
                survey.tell(&job.path, bytes, &spent);
            }
            return Ok(Ok(FileOutcome::Kept { entry: Box::new(entry), witness, bytes, changed: !steady, digests }));
        }
    }

    /// Attributes that are too long for an entry become a stream of their own.
    fn long_attributes(&mut self, encoded: &[u8], lane: usize) -> Result<Attributes> {
        let mut references = Vec::new();
        for part in encoded.chunks(limits::CHUNK_BYTES / 16) {
            let whole = Cut { stream: 0, from: 0, to: part.len(), form: Form::Bytes };
            let job_of = Job {
                bytes: part.to_vec(),
                chunks: vec![whole],
                samples: Samples::default(),
                starts: Vec::new(),
                mapped: false,
                file: InWork::default(),
            };
            let stored = self.store(job_of, lane)?;
            references.extend(stored.into_iter().map(|(_, r)| r)); // at most four, ATTRIBUTE_BYTES is 4 MiB
        }
        Ok(Attributes::Stream(Stream { level: 0, references }))
    }

    /// Reads and stores a file's bytes; `digest` gets just those that are stored, in their order.
    fn content(&mut self, file: &SourceFile, size: u64, lane: usize, digest: &mut Several) -> Read<Reading> {
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
                digest.update(&bytes);
                self.count(n as u64);
                return Ok(Ok(Reading { bytes: n as u64, content: Content::Inline(bytes) }));
            } // it grew meanwhile: read it as what it is now
        }
        let is_whole = self.shared.survey.is_none();
        let mut bytes = file.in_passing(is_whole); // an estimate reads twice
        let first = match file.next_data(0) {
            Ok(first) => first,
            Err(e) => return Ok(Err(e)),
        };
        let sparse = !matches!(first, Some((0, end)) if end >= size);
        if sparse {
            let next = &mut |at| if at == 0 { Ok(first) } else { file.next_data(at) };
            return self.sparse(next, &mut |into, at| bytes.read_at(into, at), size, lane, digest);
        }
        let read = &mut |into: &mut [u8], at: u64| {
            // What grows meanwhile is read to its end, unless no more than a part is asked for.
            let left = if is_whole { usize::MAX } else { usize::try_from(size - at.min(size)).unwrap_or(usize::MAX) };
            let most = into.len().min(left);
            let n = bytes.read_at(&mut into[..most], at)?; // most is within it
            digest.update(&into[..n]); // windows follow each other, each byte is read once
            Ok(n)
        };
        self.all(read, Some(size), lane)
    }

    fn count(&self, bytes: u64) {
        self.shared.bytes_read.fetch_add(bytes, Ordering::Relaxed);
        self.shared.ingest.progress(bytes);
    }

    /// A file with holes: each run of data on its own, in one stream. `next_data` gives the first run that ends behind a
    /// place, from there on; runs ascend.
    fn sparse(
        &mut self,
        next_data: &mut dyn FnMut(u64) -> std::io::Result<Option<(u64, u64)>>,
        read_at: &mut dyn FnMut(&mut [u8], u64) -> std::io::Result<usize>,
        size: u64,
        lane: usize,
        digest: &mut Several,
    ) -> Read<Reading> {
        self.file.bound = self.shared.ingest.bound().map(Arc::new);
        let mut recipe = RecipeBuilder::new((media::OPAQUE.number, media::OPAQUE.version));
        let mut at = 0;
        loop {
            let (start, end) = match next_data(at) {
                Ok(Some(next)) if next.0 < size => next,
                Ok(_) => break,
                Err(e) => return Ok(Err(e)),
            };
            let end = end.min(size);
            recipe.hole(&mut self.sink, start - at)?; // extents ascend
            digest.zeros(start - at);
            self.shared.ingest.progress(start - at);
            let mut splitter = media::opaque::Opaque::default();
            let read = &mut |into: &mut [u8], offset: u64| {
                let left = usize::try_from(end - (start + offset)).unwrap_or(usize::MAX).min(into.len());
                let n = read_at(&mut into[..left], start + offset)?;
                digest.update(&into[..n]);
                Ok(n)
            };
            let empty = self.window();
            match self.stream_into(&mut recipe, read, &mut splitter, empty, lane)? {
                Ok(n) if start + n == end => at = end,
                Ok(n) => return self.finish(recipe, start + n), // it shrank meanwhile
                Err(e) => return Ok(Err(e)),
            }
        }
        recipe.hole(&mut self.sink, size - at)?;
        digest.zeros(size - at);
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
        self.file.bound = self.shared.ingest.bound().map(Arc::new);
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
        let shared = self.shared;
        let ask = |text: &[u8]| shared.resembles(text);
        let coding = shared.ingest.coding();
        let deflate = match coding.tier {
            _ if !coding.uses(Technique::Deflate) => Deflate::Never,
            Tier::Dense => Deflate::Always,
            _ => Deflate::Ask(&ask),
        };
        let mut splitter = match coding.uses(Technique::Splitters) {
            true => media::open_with(Hints { head, tail: None }, media::Options { deflate }),
            false => Box::new(media::opaque::Opaque::default()),
        };
        let mut recipe = RecipeBuilder::new((splitter.id().number, splitter.id().version));
        let bytes = match self.stream_into(&mut recipe, read, &mut *splitter, first, lane)? {
            Ok(bytes) => bytes,
            Err(e) => return Ok(Err(e)),
        };
        if let Some(doubt) = splitter.doubt() {
            self.doubt(doubt);
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
        self.walkers.clear();
        let mut at = window.filled as u64; // where in the file the window ends
        let mut split = 0; // bytes of the window that have a part
        let mut parts: VecDeque<Part> = VecDeque::new(); // of window[0..split]
        let mut fresh = Vec::new();
        let mut waiting: VecDeque<Pending> = VecDeque::new();
        let mut streams: BTreeMap<u8, Gathered> = BTreeMap::new();
        let decode = self.shared.ingest.coding().uses(Technique::Decode);
        let (mut broken, mut last) = (false, false);
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
                    let from = split;
                    split += part.bytes() as usize; // a part does not reach beyond the window
                    // A splitter that breaks its promise must not lose bytes: what it mapped wrongly is opaque.
                    let part = match part {
                        Part::Mapped(mapped) if !decode && media::decodes(&mapped) => Part::Run(Run {
                            stream: media::ESSENCE,
                            bytes: mapped.bytes,
                            cut: false,
                            form: Form::Bytes,
                        }),
                        Part::Mapped(mapped) if !comes_back(&mapped, window.bytes.get(from..split)) => {
                            if !std::mem::replace(&mut broken, true) {
                                self.doubt("a mapped segment that does not come back"); // files are counted
                            }
                            Part::Run(Run { stream: media::ESSENCE, bytes: mapped.bytes, cut: true, form: Form::Bytes })
                        }
                        other => other,
                    };
                    match (parts.back_mut(), part) {
                        (Some(Part::Run(open)), Part::Run(run))
                            if (open.stream, open.form) == (run.stream, run.form) && !run.cut =>
                        {
                            open.bytes += run.bytes;
                        }
                        (_, part) => parts.push_back(part),
                    }
                }
                if split > filled || (last && split < filled) {
                    return Err(Error::Malformed {
                        what: "a splitter's answer",
                        offset: at,
                        why: "its runs do not cover the file",
                    });
                }
            }
            let (pieces, done) = cut(&mut self.scanner, &window.bytes[..split], &mut parts, last);
            let ranges = pieces.iter().filter_map(Piece::chunk).map(|c| c.from..c.to);
            let samples = self.scanner.advance(&window.bytes[..split], ranges, done);
            split -= done;
            self.count(done as u64);
            if pieces.is_empty() {
                continue;
            }
            let mut next = self.window();
            next.filled = filled - done; // what was cut is at most what was filled
            next.bytes[..filled - done].copy_from_slice(&window.bytes[done..filled]);
            let bytes = std::mem::replace(&mut window, next).bytes;
            let mapped = pieces.iter().any(|p| matches!(p, Piece::Mapped(..)));
            // What mapped segments gave to a stream comes before its chunks of this window.
            let behind = |stream: &u8| pieces.iter().any(|p| p.chunk().is_some_and(|c| c.stream == *stream));
            if !mapped && !streams.keys().any(behind) {
                let chunks = pieces.iter().filter_map(Piece::chunk).collect();
                self.hand_out(
                    recipe,
                    Job { bytes, chunks, samples, starts: Vec::new(), mapped: false, file: self.file.clone() },
                    lane,
                    &mut waiting,
                )?;
                continue;
            }
            let mut nth = 0;
            for piece in pieces {
                match piece {
                    Piece::Chunk(Cut { stream, from, to, form }) => {
                        // What mapped segments gave to the stream comes before it.
                        if let Some(gathered) = streams.remove(&stream) {
                            self.flush(recipe, stream, gathered, lane, &mut waiting)?;
                        }
                        let job = Job {
                            bytes: bytes[from..to].to_vec(),
                            chunks: vec![Cut { stream, from: 0, to: to - from, form }],
                            samples: Samples::one(samples.chunk(nth)),
                            starts: Vec::new(),
                            mapped: false,
                            file: self.file.clone(),
                        };
                        nth += 1;
                        self.hand_out(recipe, job, lane, &mut waiting)?;
                    }
                    Piece::Mapped(mapped, from, to) => {
                        let check = self.shared.ingest.store().keys().keyed_check(&bytes[from..to]);
                        self.map(recipe, *mapped, check, &mut streams, lane, &mut waiting)?;
                    }
                }
            }
            self.shared.windows.give(bytes);
        }
        for (stream, gathered) in streams {
            self.flush(recipe, stream, gathered, lane, &mut waiting)?;
        }
        while let Some(pending) = waiting.pop_front() {
            self.collect(recipe, pending)?;
        }
        self.shared.windows.give(window.bytes);
        Ok(Ok(at))
    }

    fn doubt(&self, why: &'static str) {
        *self.shared.doubts.lock().unwrap_or_else(PoisonError::into_inner).entry(why).or_default() += 1;
    }

    /// Gives a mapped segment's bytes to their streams, and the segment to the recipe.
    fn map(
        &mut self,
        recipe: &mut RecipeBuilder,
        mapped: Mapped,
        check: [u8; 32],
        streams: &mut BTreeMap<u8, Gathered>,
        lane: usize,
        waiting: &mut VecDeque<Pending>,
    ) -> Result<()> {
        let mut ranges = Vec::with_capacity(mapped.parts.len());
        for part in mapped.parts {
            ranges.push(Range { stream: part.stream, bytes: part.bytes.len() as u64 });
            if part.cut
                && let Some(gathered) = streams.remove(&part.stream)
            {
                self.flush(recipe, part.stream, gathered, lane, waiting)?;
            }
            let gathered = streams.entry(part.stream).or_default();
            gathered.form = part.form;
            gathered.bytes.extend_from_slice(&part.bytes);
            self.drain(recipe, part.stream, gathered, false, lane, waiting)?;
        }
        let how = recipe::Mapped {
            transformed: mapped.how != media::PERMUTE,
            splitter: mapped.how.number,
            version: mapped.how.version,
            ranges,
            parameters: mapped.parameters,
            check,
        };
        let segment = Pending::Segment(mapped.bytes, Box::new(how));
        if waiting.is_empty() {
            return self.collect(recipe, segment);
        }
        waiting.push_back(segment);
        Ok(())
    }

    /// Stores all that is gathered of a stream: a border follows.
    fn flush(
        &mut self,
        recipe: &mut RecipeBuilder,
        stream: u8,
        mut gathered: Gathered,
        lane: usize,
        waiting: &mut VecDeque<Pending>,
    ) -> Result<()> {
        self.drain(recipe, stream, &mut gathered, true, lane, waiting)
    }

    /// Cuts what can be cut of a gathered stream, and stores it.
    fn drain(
        &mut self,
        recipe: &mut RecipeBuilder,
        stream: u8,
        gathered: &mut Gathered,
        last: bool,
        lane: usize,
        waiting: &mut VecDeque<Pending>,
    ) -> Result<()> {
        if !last && gathered.bytes.len() < 2 * self.mapped_scanner.max_bytes() {
            return Ok(());
        }
        let (bytes, form) = (gathered.bytes.len() as u64, gathered.form);
        let mut run = VecDeque::from([Part::Run(Run { stream, bytes, cut: true, form })]);
        self.mapped_scanner.restart(); // another stream's bytes, or a moved tail
        let (pieces, done) = cut(&mut self.mapped_scanner, &gathered.bytes, &mut run, last);
        let chunks: Vec<_> = pieces.iter().filter_map(Piece::chunk).collect();
        if chunks.is_empty() {
            return Ok(());
        }
        let samples = self.mapped_scanner.advance(&gathered.bytes, chunks.iter().map(|c| c.from..c.to), done);
        let rest = gathered.bytes.split_off(done);
        let bytes = std::mem::replace(&mut gathered.bytes, rest);
        let (starts, file) = (Vec::new(), self.file.clone());
        self.hand_out(recipe, Job { bytes, chunks, samples, starts, mapped: true, file }, lane, waiting)
    }
}
