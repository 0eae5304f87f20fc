//! Appending to a pack and sealing it.

use super::payload::Payload;
use super::{open_path, read, sealed_path};
use crate::error::{Error, Result};
use crate::format::check::{Units, blake3};
use crate::format::event::SealedPack;
use crate::format::footer::{
    Features, Footer, PACK_HEADER_BYTES, PackHeader, PackKind, PackStatistics, Row, TRAILER_BYTES, Trailer,
};
use crate::format::limits;
use crate::format::record::{Codec, Header, PAYLOAD_CHECK_BYTES, payload_check};
use crate::format::{ChunkId, ChunkKind, DiskId, PackId, StoreId};
use crate::io::threads::{self, Receiver, Sender, simulated_or};
use crate::io::{File, Io};
use std::io::IoSlice;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// An open pack is synced whenever so many bytes were written since the last time.
pub const SYNC_BYTES: u64 = 16 << 20;

/// A chunk on its way into a pack.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewRecord {
    pub kind: ChunkKind,
    pub id: ChunkId,
    pub codec: Codec,
    pub parameters: Vec<u8>,
    pub bases: Vec<ChunkId>,
    pub plain_bytes: u32,
    /// Resemblance features of the plain bytes, and of the sound in them, where they were computed and the record has no bases.
    pub features: Vec<Features>,
    pub payload: Payload,
}

impl NewRecord {
    /// A data chunk as it stands.
    #[cfg(test)]
    pub fn raw(id: ChunkId, plain: Vec<u8>) -> NewRecord {
        NewRecord {
            kind: ChunkKind::Data,
            id,
            codec: Codec::RAW,
            parameters: vec![],
            bases: vec![],
            plain_bytes: plain.len() as u32, // at most CHUNK_BYTES, asserted in `append`
            features: Vec::new(),
            payload: plain.into(),
        }
    }

    fn header(&self) -> Header {
        Header {
            kind: self.kind,
            codec: self.codec,
            plain_bytes: self.plain_bytes,
            stored_bytes: self.payload.len() as u32, // at most CHUNK_BYTES, asserted in `append`
            id: self.id,
            bases: self.bases.clone(),
            parameters: self.parameters.clone(),
        }
    }

    /// Bytes of the record in a pack.
    pub fn record_bytes(&self) -> u64 {
        self.header().record_bytes()
    }

    /// Bytes that it holds in memory, for budgets.
    pub fn memory_bytes(&self) -> usize {
        self.payload.len() + self.parameters.capacity() + std::mem::size_of::<Self>()
    }
}

/// A pack that was sealed, with its table.
#[derive(Debug)]
pub struct Sealed {
    pub pack: PackId,
    pub kind: PackKind,
    pub disk: DiskId,
    pub bytes: u64,
    pub root: [u8; 32],
    pub footer: Footer,
}

impl Sealed {
    /// What the log says of it under this serial.
    pub fn event(&self, serial: u32) -> SealedPack {
        let s = self.footer.statistics;
        SealedPack {
            serial,
            pack: self.pack,
            kind: self.kind,
            disk: self.disk,
            bytes: self.bytes,
            records: s.records,
            plain_bytes: s.plain_bytes,
            stored_bytes: s.stored_bytes,
            root: self.root,
        }
    }
}

/// What is left of a pack whose disk failed it: first the records that were synced, read again past the page cache
/// and proven, then those that were not, from memory.
pub struct Abandoned {
    pub error: Option<Error>,
    io: Io,
    disk: PathBuf,
    file: Arc<dyn File>,
    pack: PackId,
    synced: std::vec::IntoIter<Row>,
    unsynced: Vec<NewRecord>,
}

impl Abandoned {
    /// The next records, some MiB of them; `None` when all were given out.
    ///
    /// # Errors
    /// The failure that the pack was abandoned for, if a synced record cannot be read back: its chunk is lost with
    /// the pack and must be read from its source again.
    pub fn next_batch(&mut self) -> Result<Option<Vec<NewRecord>>> {
        const BATCH_BYTES: u64 = 4 << 20;
        let mut batch = Vec::new();
        let mut bytes = 0;
        while bytes < BATCH_BYTES {
            let Some(row) = self.synced.next() else { break };
            let Ok(record) = read::record_at(&*self.file, self.pack, &row) else {
                let lost = || Error::ChunkMissing { chunk: row.header.id.to_string() };
                return Err(self.error.take().unwrap_or_else(lost));
            };
            bytes += record.payload.len() as u64;
            batch.push(record);
        }
        if batch.is_empty() {
            batch = std::mem::take(&mut self.unsynced);
        }
        Ok((!batch.is_empty()).then_some(batch))
    }
}

impl Drop for Abandoned {
    fn drop(&mut self) {
        for path in [open_path(&self.disk, self.pack), sealed_path(&self.disk, self.pack)] {
            let _ = self.io.fs.remove_file(&path); // the disk failed; a leftover is salvaged or ignored later
        }
    }
}

/// Lets a thread of its own sync: while it waits for the disk, its caller writes what the disk gets next.
#[derive(Clone)]
pub struct Syncer(Sender<SyncJob>);

/// That thread's end.
pub struct SyncerEnd(Receiver<SyncJob>);

struct SyncJob {
    file: Arc<dyn File>,
    done: Sender<std::io::Result<()>>,
}

impl Syncer {
    pub fn new() -> (Syncer, SyncerEnd) {
        let (jobs, end) = threads::bounded(1);
        (Syncer(jobs), SyncerEnd(end))
    }
}

impl SyncerEnd {
    /// Syncs what it is given until nobody can give more.
    pub fn run(&self) {
        while let Ok(job) = self.0.recv() {
            let _ = job.done.send(job.file.sync()); // who does not wait any more gave the pack up
        }
    }
}

/// A sync that a [`Syncer`] is at.
struct Syncing {
    /// Rows of the pack that it covers, and the first so many records that are held.
    rows: usize,
    records: usize,
    done: Receiver<std::io::Result<()>>,
}

/// An open pack.
pub struct PackWriter {
    io: Io,
    disk: PathBuf,
    disk_id: DiskId,
    file: Arc<dyn File>,
    pack: PackId,
    kind: PackKind,
    at: u64,
    units: Units,
    rows: Vec<Row>,
    features: Vec<(u32, Features)>,
    statistics: PackStatistics,
    /// Records before this one are synced.
    synced_rows: usize,
    unsynced: Vec<NewRecord>,
    /// Bytes for which no sync was begun.
    unsynced_bytes: u64,
    syncer: Option<Syncer>,
    syncing: Option<Syncing>,
}

impl PackWriter {
    /// Creates an open pack on a disk and writes its header.
    ///
    /// # Errors
    /// [`Error::Io`]. Nothing is lost then: the pack held no record.
    pub fn create(io: &Io, store: StoreId, disk: &Path, disk_id: DiskId, pack: PackId, kind: PackKind) -> Result<Self> {
        let path = open_path(disk, pack);
        if let Some(dir) = path.parent() {
            io.fs.create_dir_all(dir).map_err(Error::io("create the folder", dir))?;
        }
        let file = io.fs.create_new(&path).map_err(Error::io("create the pack", &path))?;
        let header = PackHeader { kind, store, pack }.encode();
        file.write_all_at(&[IoSlice::new(&header)], 0).map_err(Error::io("write to the pack", &path))?;
        let mut units = Units::default();
        units.update(&header);
        Ok(PackWriter {
            io: io.clone(),
            disk: disk.to_owned(),
            disk_id,
            file,
            pack,
            kind,
            at: PACK_HEADER_BYTES as u64,
            units,
            rows: Vec::new(),
            features: Vec::new(),
            statistics: PackStatistics::default(),
            synced_rows: 0,
            unsynced: Vec::new(),
            unsynced_bytes: 0,
            syncer: None,
            syncing: None,
        })
    }

    /// As it is, but syncs are left to this thread.
    pub fn with_syncer(mut self, syncer: Option<Syncer>) -> Self {
        self.syncer = syncer;
        self
    }

    pub fn pack(&self) -> PackId {
        self.pack
    }

    pub fn disk_id(&self) -> DiskId {
        self.disk_id
    }

    /// Bytes so far, the end not counted.
    pub fn bytes(&self) -> u64 {
        self.at
    }

    /// The table so far.
    pub fn rows(&self) -> &[Row] {
        &self.rows
    }

    /// The open file, for reading what was appended.
    pub fn file(&self) -> &Arc<dyn File> {
        &self.file
    }

    pub fn records(&self) -> usize {
        self.rows.len()
    }

    /// Whether the pack has reached its size, and is to be sealed.
    pub fn is_full(&self, pack_bytes: u64) -> bool {
        self.at >= simulated_or(128 << 10, pack_bytes) || self.rows.len() as u32 >= limits::PACK_RECORDS - 1024
    }

    /// Appends records, one behind the other. Syncs when [`SYNC_BYTES`] have gathered.
    ///
    /// # Errors
    /// The pack is at its end: call [`PackWriter::abandon`]. All records given so far, these included, are
    /// accounted for there.
    ///
    /// # Panics
    /// For a record longer than the format allows: a mistake of the caller.
    pub fn append(&mut self, records: Vec<NewRecord>) -> Result<()> {
        let mut ends = Vec::with_capacity(records.len());
        let mut headers: Vec<u8> = Vec::with_capacity(records.len() * 72);
        let mut at = self.at;
        for record in &records {
            assert!(
                record.payload.len() <= limits::CHUNK_BYTES && record.plain_bytes > 0,
                "records are made of chunks"
            );
            let header = record.header();
            let start = headers.len();
            header.encode_into(self.pack, at, &mut headers);
            ends.push((start..headers.len(), payload_check(self.pack, at, &record.payload)));
            self.statistics.records += 1;
            self.statistics.plain_bytes += u64::from(header.plain_bytes);
            self.statistics.stored_bytes += u64::from(header.stored_bytes);
            let next = at + header.record_bytes();
            for &features in &record.features {
                self.features.push((self.rows.len() as u32, features)); // at most PACK_RECORDS rows
            }
            // `at` stays below 2^32: a pack is sealed at `pack_bytes` <= PACK_BYTES / 2, a batch is far smaller
            self.rows.push(Row { offset: at as u32, header });
            at = next;
        }
        let mut parts = Vec::with_capacity(records.len() * 3);
        for (record, (header, check)) in records.iter().zip(&ends) {
            let header = &headers[header.clone()]; // ranges of this very buffer
            self.units.update(header);
            self.units.update(&record.payload);
            self.units.update(check);
            parts.extend([IoSlice::new(header), IoSlice::new(&record.payload), IoSlice::new(check)]);
        }
        let from = self.at;
        let written = self.file.write_all_at(&parts, from);
        drop(parts);
        self.unsynced_bytes += at - self.at;
        self.at = at;
        self.unsynced.extend(records); // kept until synced, whatever happened
        written.map_err(|e| self.failed("write to the pack", e))?;
        let most = threads::simulated_or(48 << 10, SYNC_BYTES);
        if self.syncer.is_some() {
            // The disk begins at once. A sync is begun at half the length, and the one before has ended then: no more is held.
            let _ = self.file.begin_to_write(from, self.at - from); // a hint
            if self.unsynced_bytes >= most / 2 { self.begin_sync() } else { Ok(()) }
        } else if self.unsynced_bytes >= most {
            self.sync()
        } else {
            Ok(())
        }
    }

    fn failed(&self, action: &'static str, source: std::io::Error) -> Error {
        Error::Io { action, path: open_path(&self.disk, self.pack), source }
    }

    /// Begins a sync of all that was appended, behind the one that was begun before.
    fn begin_sync(&mut self) -> Result<()> {
        self.end_sync()?;
        let (done, wait) = threads::bounded(1);
        let job = SyncJob { file: Arc::clone(&self.file), done };
        if self.syncer.as_ref().is_none_or(|s| s.0.send(job).is_err()) {
            return self.sync(); // its thread is gone
        }
        self.syncing = Some(Syncing { rows: self.rows.len(), records: self.unsynced.len(), done: wait });
        self.unsynced_bytes = 0;
        Ok(())
    }

    /// Waits for the sync that was begun beside the caller, if one was.
    ///
    /// # Errors
    /// As [`PackWriter::append`].
    pub fn end_sync(&mut self) -> Result<()> {
        let Some(syncing) = self.syncing.take() else { return Ok(()) };
        // Where its thread is gone nothing is known of it; an error that it met would not be told to anyone else.
        let gone = || std::io::Error::other("the thread that synced it has ended");
        let outcome = syncing.done.recv().unwrap_or_else(|_| Err(gone()));
        outcome.map_err(|e| self.failed("sync the pack", e))?;
        self.synced_rows = syncing.rows;
        self.unsynced.drain(..syncing.records.min(self.unsynced.len()));
        Ok(())
    }

    fn sync(&mut self) -> Result<()> {
        self.end_sync()?;
        self.file.sync().map_err(|e| self.failed("sync the pack", e))?;
        self.synced_rows = self.rows.len();
        self.unsynced.clear();
        self.unsynced_bytes = 0;
        Ok(())
    }

    /// Writes the end, syncs, names the pack `.pack`, syncs its folder, and reads a sample back past the
    /// page cache.
    ///
    /// # Errors
    /// As [`PackWriter::append`]: the writer comes back with the error, to be abandoned.
    pub fn seal(mut self) -> std::result::Result<Sealed, (Box<PackWriter>, Error)> {
        let footer = Footer { rows: self.rows.clone(), statistics: self.statistics, features: self.features.clone() };
        let footer_offset = self.at;
        let mut end = footer.encode(self.pack, footer_offset);
        let mut units = std::mem::take(&mut self.units);
        units.update(&end);
        let units_offset = footer_offset + end.len() as u64;
        let table = units.finish();
        let root = blake3(&[&table]);
        let file_bytes = units_offset + table.len() as u64 + TRAILER_BYTES as u64;
        end.extend_from_slice(&table);
        let trailer = Trailer {
            pack: self.pack,
            records: self.statistics.records,
            footer_offset,
            units_offset,
            file_bytes,
            root,
        };
        end.extend_from_slice(&trailer.encode());
        match self.finish(&end, &trailer) {
            Ok(()) => {
                Ok(Sealed { pack: self.pack, kind: self.kind, disk: self.disk_id, bytes: file_bytes, root, footer })
            }
            Err(e) => Err((Box::new(self), e)),
        }
    }

    fn finish(&mut self, end: &[u8], trailer: &Trailer) -> Result<()> {
        self.end_sync()?; // an error is told once: the next sync would know nothing of it
        self.file.write_all_at(&[IoSlice::new(end)], self.at).map_err(|e| self.failed("write to the pack", e))?;
        // The canary: a pack that is named before its bytes are durable.
        if !cfg!(feature = "canary-sync") {
            self.file.sync().map_err(|e| self.failed("sync the pack", e))?;
        }
        let (from, to) = (open_path(&self.disk, self.pack), sealed_path(&self.disk, self.pack));
        self.io.fs.rename_new(&from, &to).map_err(Error::io("name the sealed pack", &to))?;
        for dir in to.ancestors().skip(1).take(2) {
            self.io.fs.sync_dir(dir).map_err(Error::io("sync the folder", dir))?;
        }
        read::prove_sample(&*self.file, &to, trailer)
    }

    /// Gives up on the file; what it held comes back batch by batch. The file is removed behind that, as far as its
    /// disk lets it.
    pub fn abandon(mut self, error: Error) -> Abandoned {
        let _ = self.end_sync(); // what it did not sync is held
        let _ = self.file.drop_cache(0, 0); // a hint; what cannot be dropped is proven all the same
        self.rows.truncate(self.synced_rows);
        Abandoned {
            error: Some(error),
            io: self.io,
            disk: self.disk,
            file: self.file,
            pack: self.pack,
            synced: self.rows.into_iter(),
            unsynced: self.unsynced,
        }
    }

    /// Drops an open pack without any record, and its file.
    pub fn discard(self) {
        debug_assert!(self.rows.is_empty());
        let _ = self.io.fs.remove_file(&open_path(&self.disk, self.pack)); // a leftover is salvaged as empty later
    }

    /// The overhead that a record adds beside its payload, in bytes, its row in the footer included.
    pub fn overhead(record: &NewRecord) -> u64 {
        let header = record.header().header_bytes() as u64;
        2 * header + 4 + PAYLOAD_CHECK_BYTES as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::{Keys, WriterId};
    use crate::io::Fs;
    use crate::io::faulty::{Action, Failure, FaultPlan, FaultyFs, Op, When};
    use crate::io::memory::{ManualWorld, MemFs};

    const MIB: usize = 1 << 20;

    fn record(keys: &Keys, n: u8) -> NewRecord {
        let plain = vec![n; MIB / 2];
        NewRecord::raw(keys.chunk_id(ChunkKind::Data, &plain), plain)
    }

    /// A writer over a thread that syncs, whose `n`th sync fails.
    fn with_a_sync_that_fails<T>(n: u64, work: impl FnOnce(&Keys, PackWriter) -> T) -> T {
        let memory = MemFs::new();
        memory.create_dir_all(Path::new("/d")).unwrap();
        let plan = FaultPlan::new().with(Op::Sync, When::Nth(n), Action::Fail(Failure::Io));
        let fs = FaultyFs::new(Arc::new(memory), plan);
        let io = Io { fs: Arc::new(fs), world: Arc::new(ManualWorld::new(1, 1)) };
        let (store, disk, pack) = (StoreId([1; 16]), DiskId([2; 16]), PackId::new(WriterId([4; 8]), 1));
        threads::scope(|scope| {
            let (syncer, end) = Syncer::new();
            scope.spawn(move || end.run());
            let w = PackWriter::create(&io, store, Path::new("/d"), disk, pack, PackKind::Data).unwrap();
            work(&Keys::new([1; 32], 0), w.with_syncer(Some(syncer)))
        })
    }

    fn given_back(mut left: Abandoned) -> Vec<ChunkId> {
        let mut back = Vec::new();
        while let Some(batch) = left.next_batch().unwrap() {
            back.extend(batch.iter().map(|r| r.id));
        }
        back
    }

    #[test]
    fn a_sync_beside_the_writer_that_fails_loses_no_record_and_is_told_by_the_next_one() {
        for n in 1..4 {
            let (given, back) = with_a_sync_that_fails(n, |keys, mut w| {
                let mut given = Vec::new();
                let error = loop {
                    assert!(given.len() < 200, "no sync failed");
                    let one = record(keys, given.len() as u8); // fewer than 200
                    given.push(one.id);
                    if let Err(e) = w.append(vec![one]) {
                        break e;
                    }
                    let held: usize = w.unsynced.iter().map(|r| r.payload.len()).sum();
                    assert!(held <= SYNC_BYTES as usize + MIB, "{held} bytes are held");
                };
                assert!(matches!(error, Error::Io { action: "sync the pack", .. }), "{error}");
                (given, given_back(w.abandon(error)))
            });
            assert!(back == given, "{} of {} came back", back.len(), given.len());
            // A sync is begun every 8 MiB, and how it ended is asked when the next one begins.
            let each = (SYNC_BYTES / 2) as usize / (MIB / 2);
            let late = given.len().abs_diff((n as usize + 1) * each);
            assert!(late <= n as usize + 1, "sync {n} was told after {}", given.len());
        }
    }

    #[test]
    fn the_last_sync_beside_the_writer_is_asked_for_at_the_seal() {
        with_a_sync_that_fails(1, |keys, mut w| {
            for n in 0..17 {
                w.append(vec![record(keys, n)]).unwrap(); // 8 MiB and a half: one sync was begun
            }
            // The disk says by the next sync that all is well. It is not asked: an error is told once.
            let Err((writer, e)) = w.seal() else { panic!("it was sealed over a sync that failed") };
            assert!(matches!(e, Error::Io { action: "sync the pack", .. }), "{e}");
            assert_eq!(given_back(writer.abandon(e)).len(), 17);
        });
    }
}
