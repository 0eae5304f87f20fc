//! Sorting more than memory holds.
//!
//! [`Sorter`] takes fixed-size records in any order and [`Sorted`] gives them back in ascending order of
//! their bytes, through sorted runs in a temporary folder. The bulk load of the index uses it, and
//! every verb that compares two sets too large for memory (gc's mark, check, stats). It knows nothing
//! of what the records mean.
//!
//! # A run's file
//!
//! ```text
//! page*:  records (as many as a page holds; the last page of a run may hold fewer)
//!         check   8 bytes: XXH3-64 of the records, seeded with sorter, run and number of the page
//! ```
//!
//! How many records a run has is kept in memory only: its files are worth nothing to another process.
//!
//! # Invariants
//!
//! 1. Buffers, in all phases, take at most the budget that the caller gave.
//! 2. At most [`RUNS_OPEN_MAX`] files are open, and at most four times that many runs exist (and one
//!    more while they are merged).
//! 3. A page whose bytes are not those that were written is an error, never another order.
//! 4. Names begin with [`TEMPORARY_PREFIX`] and go when their owner is dropped. Those of a killed
//!    process stay until [`sweep`].
//! 5. Runs are kept in the order in which their records were fed, and only neighbours are merged: so
//!    "fed last" is well defined across runs.

use std::collections::BinaryHeap;
use std::io::{ErrorKind, IoSlice};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::error::{Error, Result};
use crate::format::check::check64;
use crate::io::{File, Io};

/// How the names of all temporary files of sorters begin.
pub const TEMPORARY_PREFIX: &str = ".sort-";
/// Budgets below this are taken as this.
pub const MEMORY_BYTES_MIN: usize = 16 << 10;
/// Runs that are read at once, at most. Far below the usual limit of 1024 open files.
pub const RUNS_OPEN_MAX: usize = 256;
/// Records longer than this are refused when the program is compiled.
pub const RECORD_BYTES_MAX: usize = 1024;

/// Bytes of a page, at most: from there on larger reads gain nothing even on a disk that seeks.
const PAGE_BYTES_MAX: usize = 1 << 20;
/// Pages that a budget is split into, at least: as many runs (less one) can be merged at once.
const PAGES_PER_BUDGET: usize = 64;
/// Runs that may exist, in multiples of those that are merged at once. It bounds the number of files, and
/// waiting for more than one merge's worth lets the end decide how few have to be written twice.
const RUNS_PER_FAN_IN: usize = 4;
const CHECK_BYTES: usize = 8;

/// What is sorted by, and what becomes of duplicates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// By all bytes of the record. Duplicates stay.
    All,
    /// By the first `key_bytes` of the record (at most all of them). Of those with one key the one that
    /// was fed last stays.
    LastOf { key_bytes: usize },
}

/// A record and when it was fed, counted within its buffer.
type Fed<const N: usize> = ([u8; N], u32);

/// Sorts records of `N` bytes.
pub struct Sorter<const N: usize> {
    runs: Runs<N>,
    plan: Plan,
    key_bytes: usize,
    unique: bool,
    buffer: Vec<Fed<N>>,
    memory_peak_bytes: usize,
}

/// How a budget is spent.
#[derive(Clone, Copy, Debug)]
struct Plan {
    /// Records in a page.
    page_records: usize,
    /// Records that are collected before they become a run.
    buffer_records: usize,
    /// Runs that are merged at once; at least two.
    fan_in: usize,
}

impl Plan {
    fn new<const N: usize>(memory_bytes: usize) -> Plan {
        let memory = memory_bytes.max(MEMORY_BYTES_MIN);
        let page_records = ((memory / PAGES_PER_BUDGET).min(PAGE_BYTES_MAX) / N).max(1);
        let page = page_records * N + CHECK_BYTES;
        // What merging one run takes: its page, its reader and path, its record in the heap.
        let source = page + size_of::<Reader<N>>() + 256 + size_of::<Head<N>>();
        Plan {
            page_records,
            // One page is kept for writing; positions in the buffer are kept in 32 bits.
            buffer_records: ((memory - page) / size_of::<Fed<N>>()).clamp(1, u32::MAX as usize),
            fan_in: (memory / source).saturating_sub(1).clamp(2, RUNS_OPEN_MAX),
        }
    }
}

impl<const N: usize> Sorter<N> {
    /// Makes a sorter that keeps its runs in `folder`, which exists, and its buffers within
    /// `memory_bytes` ([`MEMORY_BYTES_MIN`] at least). Nothing is written before the memory is full.
    ///
    /// # Errors
    /// [`Error::Argument`] for a key that is longer than the record or empty.
    pub fn new(io: &Io, folder: &Path, memory_bytes: usize, order: Order) -> Result<Sorter<N>> {
        const { assert!(N > 0 && N <= RECORD_BYTES_MAX) };
        let (key_bytes, unique) = match order {
            Order::All => (N, false),
            Order::LastOf { key_bytes } => (key_bytes, true),
        };
        if key_bytes == 0 || key_bytes > N {
            return Err(Error::Argument {
                what: "a sort key".into(),
                why: format!("{key_bytes} bytes of a record of {N}"),
            });
        }
        let plan = Plan::new::<N>(memory_bytes);
        let mut token = [0; 8];
        io.world.random(&mut token);
        let runs = Runs {
            io: io.clone(),
            folder: folder.to_path_buf(),
            token: u64::from_le_bytes(token),
            page_records: plan.page_records,
            live: Vec::new(),
            next: 0,
        };
        Ok(Sorter { runs, plan, key_bytes, unique, buffer: Vec::new(), memory_peak_bytes: 0 })
    }

    /// Takes one record in.
    ///
    /// # Errors
    /// [`Error::Io`] if a run cannot be written, [`Error::Damaged`] if one that is merged has changed.
    /// The sorter is then of no further use.
    pub fn push(&mut self, record: &[u8; N]) -> Result<()> {
        if self.buffer.len() >= self.plan.buffer_records {
            self.spill()?;
        }
        if self.buffer.capacity() == 0 {
            // All at once: growing by doubling would hold one and a half times the budget.
            self.buffer.try_reserve_exact(self.plan.buffer_records).map_err(|_| {
                Error::io("reserve memory to sort in", &self.runs.folder)(ErrorKind::OutOfMemory.into())
            })?;
        }
        // The plan keeps the buffer's length within 32 bits.
        self.buffer.push((*record, self.buffer.len() as u32));
        Ok(())
    }

    /// Ends the input and gives everything back in order.
    ///
    /// # Errors
    /// As [`Sorter::push`].
    pub fn finish(mut self) -> Result<Sorted<N>> {
        if self.runs.live.is_empty() {
            self.sort_buffer();
            let (key_bytes, memory_peak_bytes) = (self.key_bytes, self.memory_peak_bytes);
            let source = Source::Memory(self.buffer.into_iter());
            return Ok(Sorted { source, _runs: self.runs, key_bytes, unique: self.unique, memory_peak_bytes });
        }
        if !self.buffer.is_empty() {
            self.spill()?;
        }
        self.buffer = Vec::new();
        let fan_in = self.plan.fan_in;
        while self.runs.live.len() > fan_in {
            // Just as many as must go, so that the last merge is a full one and little is written twice.
            self.merge_neighbours(fan_in.min(self.runs.live.len() - fan_in + 1))?;
        }
        let merge = Merge::open(&self.runs, &self.runs.live, self.key_bytes, self.unique)?;
        let memory_peak_bytes = self.memory_peak_bytes.max(merge.memory_bytes());
        let source = Source::Merge(merge);
        Ok(Sorted { source, _runs: self.runs, key_bytes: self.key_bytes, unique: self.unique, memory_peak_bytes })
    }

    /// Sorts the buffer and drops what it holds twice. In place: no more memory is taken.
    fn sort_buffer(&mut self) {
        let key = self.key_bytes; // at most N: checked when the sorter was made
        self.buffer.sort_unstable_by(|a, b| a.0[..key].cmp(&b.0[..key]).then(b.1.cmp(&a.1)));
        if self.unique {
            self.buffer.dedup_by(|later, kept| later.0[..key] == kept.0[..key]); // the youngest comes first
        }
        self.memory_peak_bytes = self.memory_peak_bytes.max(self.buffer.capacity() * size_of::<Fed<N>>());
    }

    /// Makes a run of the buffer, and room for further runs where there is none.
    fn spill(&mut self) -> Result<()> {
        self.sort_buffer();
        let buffer_bytes = self.buffer.capacity() * size_of::<Fed<N>>();
        let mut writer = self.runs.begin()?;
        for (record, _) in &self.buffer {
            writer.push(record)?;
        }
        self.memory_peak_bytes = self.memory_peak_bytes.max(buffer_bytes + writer.page.capacity());
        let run = writer.finish()?;
        self.runs.live.push(run);
        self.buffer.clear();
        if self.runs.live.len() >= self.plan.fan_in * RUNS_PER_FAN_IN {
            self.buffer = Vec::new(); // the merge needs its memory
            self.merge_neighbours(self.plan.fan_in)?;
        }
        Ok(())
    }

    /// Merges those `width` neighbouring runs that have the fewest records into one in their place.
    fn merge_neighbours(&mut self, width: usize) -> Result<()> {
        let sizes = self.runs.live.windows(width).map(|w| w.iter().map(|run| run.records).sum::<u64>());
        let Some((start, _)) = sizes.enumerate().min_by_key(|(_, records)| *records) else {
            return Ok(()); // fewer runs than asked for: nothing has to go
        };
        // `start` is the place of a window, so the range lies within.
        let mut merge = Merge::open(&self.runs, &self.runs.live[start..start + width], self.key_bytes, self.unique)?;
        let mut writer = self.runs.begin()?;
        while let Some(record) = merge.next()? {
            writer.push(&record)?;
        }
        self.memory_peak_bytes = self.memory_peak_bytes.max(merge.memory_bytes() + writer.page.capacity());
        let merged = writer.finish()?;
        drop(merge);
        for gone in self.runs.live.splice(start..start + width, [merged]).collect::<Vec<_>>() {
            self.runs.remove(gone.number);
        }
        Ok(())
    }
}

/// What was fed to a [`Sorter`], in ascending order.
pub struct Sorted<const N: usize> {
    source: Source<N>,
    /// Keeps the runs' files until the last record is out.
    _runs: Runs<N>,
    key_bytes: usize,
    unique: bool,
    memory_peak_bytes: usize,
}

enum Source<const N: usize> {
    Memory(std::vec::IntoIter<Fed<N>>),
    Merge(Merge<N>),
}

impl<const N: usize> Sorted<N> {
    /// The next record; `None` at the end, and from then on.
    ///
    /// # Errors
    /// [`Error::Io`] if a run cannot be read, [`Error::Damaged`] if its bytes have changed.
    #[expect(clippy::should_implement_trait, reason = "an Iterator of Results goes on after an error")]
    pub fn next(&mut self) -> Result<Option<[u8; N]>> {
        match &mut self.source {
            Source::Memory(records) => Ok(records.next().map(|(record, _)| record)),
            Source::Merge(merge) => merge.next(),
        }
    }

    /// The most bytes that buffers took at any time, for whoever has to account for a budget.
    pub fn memory_peak_bytes(&self) -> usize {
        self.memory_peak_bytes
    }

    /// What the records are sorted by.
    pub fn order(&self) -> Order {
        if self.unique { Order::LastOf { key_bytes: self.key_bytes } } else { Order::All }
    }
}

/// Removes the temporary files that killed processes left in `folder`, and returns how many. The caller
/// makes sure that no sorter uses the folder: it holds the lock of the store that the folder is in.
///
/// # Errors
/// [`Error::Io`] if the folder cannot be listed or a file not be removed.
pub fn sweep(io: &Io, folder: &Path) -> Result<u64> {
    let mut removed = 0;
    for entry in io.fs.list(folder).map_err(Error::io("list", folder))? {
        if entry.name.to_string_lossy().starts_with(TEMPORARY_PREFIX) {
            let path = folder.join(&entry.name);
            io.fs.remove_file(&path).map_err(Error::io("remove", &path))?;
            removed += 1;
        }
    }
    Ok(removed)
}

/// A sorted run, of which only the file's number and length are kept.
#[derive(Clone, Copy, Debug)]
struct Run {
    number: u64,
    records: u64,
}

/// The runs of one sorter, in the order in which they were fed. Owns their files.
struct Runs<const N: usize> {
    io: Io,
    folder: PathBuf,
    /// Random: tells the files of several sorters in one folder apart.
    token: u64,
    page_records: usize,
    live: Vec<Run>,
    next: u64,
}

impl<const N: usize> Runs<N> {
    fn path(&self, number: u64) -> PathBuf {
        self.folder.join(format!("{TEMPORARY_PREFIX}{:016x}-{number}", self.token))
    }

    fn seed(&self, number: u64) -> u64 {
        let mut place = [0; 16];
        let (token, run) = place.split_at_mut(8);
        token.copy_from_slice(&self.token.to_le_bytes());
        run.copy_from_slice(&number.to_le_bytes());
        u64::from_le_bytes(check64(0, &place))
    }

    fn begin(&mut self) -> Result<Writer<N>> {
        let number = self.next;
        self.next += 1;
        let path = self.path(number);
        let file = self.io.fs.create_new(&path).map_err(Error::io("create", &path))?;
        Ok(Writer {
            io: self.io.clone(),
            path,
            complete: false,
            file,
            seed: self.seed(number),
            run: Run { number, records: 0 },
            page: Vec::with_capacity(self.page_records * N),
            page_bytes: self.page_records * N,
            pages: 0,
        })
    }

    /// Removes a run's file. Best effort: what stays is swept later.
    fn remove(&self, number: u64) {
        let _ = self.io.fs.remove_file(&self.path(number));
    }
}

impl<const N: usize> Drop for Runs<N> {
    fn drop(&mut self) {
        for run in &self.live {
            self.remove(run.number);
        }
    }
}

/// Where the page with this number begins, in bytes.
fn page_offset(page: u64, page_bytes: usize) -> u64 {
    page * (page_bytes + CHECK_BYTES) as u64
}

/// Writes one run. Its file goes with it unless it came to the end.
struct Writer<const N: usize> {
    io: Io,
    path: PathBuf,
    complete: bool,
    file: Arc<dyn File>,
    seed: u64,
    run: Run,
    page: Vec<u8>,
    page_bytes: usize,
    pages: u64,
}

impl<const N: usize> Writer<N> {
    fn push(&mut self, record: &[u8; N]) -> Result<()> {
        if self.page.len() >= self.page_bytes {
            self.write_page()?;
        }
        self.page.extend_from_slice(record);
        self.run.records += 1;
        Ok(())
    }

    fn write_page(&mut self) -> Result<()> {
        let check = check64(self.seed.wrapping_add(self.pages), &self.page);
        let parts = [IoSlice::new(&self.page), IoSlice::new(&check)];
        let offset = page_offset(self.pages, self.page_bytes);
        self.file.write_all_at(&parts, offset).map_err(Error::io("write", &self.path))?;
        self.pages += 1;
        self.page.clear();
        Ok(())
    }

    fn finish(mut self) -> Result<Run> {
        if !self.page.is_empty() {
            self.write_page()?;
        }
        self.complete = true; // from here on the run's owner removes the file
        Ok(self.run)
    }
}

impl<const N: usize> Drop for Writer<N> {
    fn drop(&mut self) {
        if !self.complete {
            let _ = self.io.fs.remove_file(&self.path); // best effort: what stays is swept later
        }
    }
}

struct Reader<const N: usize> {
    file: Arc<dyn File>,
    path: PathBuf,
    seed: u64,
    /// Records that are not in a page that was read already.
    records_left: u64,
    page: Vec<u8>,
    at: usize,
    page_bytes: usize,
    pages: u64,
}

impl<const N: usize> Reader<N> {
    fn open(runs: &Runs<N>, run: Run) -> Result<Reader<N>> {
        let path = runs.path(run.number);
        let file = runs.io.fs.open(&path).map_err(Error::io("open", &path))?;
        let page_bytes = runs.page_records * N;
        let page = Vec::with_capacity(page_bytes + CHECK_BYTES);
        let seed = runs.seed(run.number);
        Ok(Reader { file, path, seed, records_left: run.records, page, at: 0, page_bytes, pages: 0 })
    }

    fn next(&mut self) -> Result<Option<[u8; N]>> {
        if self.at >= self.page.len() {
            if self.records_left == 0 {
                return Ok(None);
            }
            if let Err(e) = self.read_page() {
                self.page.clear(); // it cannot be trusted; who asks again gets the error again
                return Err(e);
            }
        }
        let record = self.page.get(self.at..).and_then(|rest| rest.first_chunk::<N>()).copied();
        self.at += N;
        match record {
            Some(record) => Ok(Some(record)),
            None => Err(self.damaged("it ends within a record")),
        }
    }

    fn read_page(&mut self) -> Result<()> {
        let records = self.records_left.min((self.page_bytes / N) as u64);
        let bytes = records as usize * N; // at most a page: the number fits
        self.page.resize(bytes + CHECK_BYTES, 0);
        let offset = page_offset(self.pages, self.page_bytes);
        match self.file.read_exact_at(&mut self.page, offset) {
            Err(e) if e.kind() == ErrorKind::UnexpectedEof => return Err(self.damaged("it ends too early")),
            other => other.map_err(Error::io("read", &self.path))?,
        }
        let (data, check) = self.page.split_at(bytes);
        if check != check64(self.seed.wrapping_add(self.pages), data) {
            return Err(self.damaged("its check does not match"));
        }
        self.page.truncate(bytes);
        self.records_left -= records;
        self.pages += 1;
        self.at = 0;
        Ok(())
    }

    fn damaged(&self, why: &str) -> Error {
        Error::Damaged {
            what: "a temporary file of a sort",
            path: self.path.clone(),
            offset: page_offset(self.pages, self.page_bytes),
            why: why.into(),
        }
    }
}

/// The next record of one run, ordered so that the heap's greatest is the one to come next: smallest key
/// first, and of one key the run that was fed last.
struct Head<const N: usize> {
    record: [u8; N],
    key_bytes: usize,
    source: usize,
}

impl<const N: usize> Head<N> {
    fn key(&self) -> &[u8] {
        &self.record[..self.key_bytes] // at most N: checked when the sorter was made
    }
}

impl<const N: usize> Ord for Head<N> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        other.key().cmp(self.key()).then(self.source.cmp(&other.source))
    }
}

impl<const N: usize> PartialOrd for Head<N> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl<const N: usize> PartialEq for Head<N> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl<const N: usize> Eq for Head<N> {}

struct Merge<const N: usize> {
    readers: Vec<Reader<N>>,
    heads: BinaryHeap<Head<N>>,
    last: Option<[u8; N]>,
    key_bytes: usize,
    unique: bool,
}

impl<const N: usize> Merge<N> {
    fn open(runs: &Runs<N>, which: &[Run], key_bytes: usize, unique: bool) -> Result<Merge<N>> {
        let mut readers = Vec::with_capacity(which.len());
        let mut heads = BinaryHeap::with_capacity(which.len());
        for (source, run) in which.iter().enumerate() {
            let mut reader = Reader::open(runs, *run)?;
            if let Some(record) = reader.next()? {
                heads.push(Head { record, key_bytes, source });
            }
            readers.push(reader);
        }
        Ok(Merge { readers, heads, last: None, key_bytes, unique })
    }

    fn next(&mut self) -> Result<Option<[u8; N]>> {
        loop {
            let Some(mut head) = self.heads.peek_mut() else {
                return Ok(None);
            };
            let (record, source) = (head.record, head.source);
            // A head's source is the place of its reader.
            match self.readers[source].next() {
                Ok(Some(following)) => {
                    head.record = following;
                    drop(head); // the heap is put in order here
                }
                Ok(None) => drop(std::collections::binary_heap::PeekMut::pop(head)),
                Err(e) => return Err(e), // nothing was taken: who asks again gets the error again
            }
            let key = self.key_bytes;
            if self.unique && self.last.is_some_and(|last| last[..key] == record[..key]) {
                continue; // one that was fed later is out already
            }
            self.last = Some(record);
            return Ok(Some(record));
        }
    }

    fn memory_bytes(&self) -> usize {
        let pages: usize = self.readers.iter().map(|r| r.page.capacity() + r.path.capacity()).sum();
        pages + self.readers.capacity() * size_of::<Reader<N>>() + self.heads.capacity() * size_of::<Head<N>>()
    }
}

#[cfg(test)]
mod tests;
