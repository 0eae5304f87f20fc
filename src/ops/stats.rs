//! stats: what a store holds, what it saves, and what each snapshot alone keeps.
//!
//! # What is counted
//!
//! ```text
//! logical_bytes     = the bytes of all files of all live snapshots, as often as they are there
//!   saved_whole_file  what files took that equal one counted before, by their check (inline: by their bytes)
//!   saved_holes       of the distinct files left: holes and runs of one value
//!   saved_chunks      of their other bytes: what repeats a chunk
//!   saved_compression of the distinct chunks left: what their payloads are shorter; and files of at most 512
//!                     bytes, which stand in their folders' nodes and take no data chunk
//! = stored data       the payloads of the live data chunks: stored_bytes - overhead_bytes
//! ```
//! The five lines add up exactly. `stored_bytes` are all packs that the log knows; `overhead_bytes` what of
//! them is no payload of a live data chunk: headers and tables, folders and lists, attributes, chunks that no
//! snapshot reaches.
//!
//! *Exclusive bytes* of a snapshot are the whole records (header, payload, check, and their row in the
//! pack's table) of the chunks that it alone reaches, metadata and its witness included.
//!
//! # How
//!
//! A node is coloured with the snapshot that reached it, or with "several". It is entered when it gets a
//! colour, so at most twice, and gives a record (id, colour) for each chunk below. The records are sorted
//! outside of memory; then all colours of a chunk stand together. Files are sorted the same way by their
//! checks. Memory: the sorters' budgets and 24 bytes a node.

use super::snapshots::{self, SnapshotInfo};
use super::{Control, Notice};
use crate::error::{Error, Result};
use crate::format::record::{HEADER_BYTES_MIN, PAYLOAD_CHECK_BYTES};
use crate::format::{ChunkId, DiskId};
use crate::index::{Order, Sorter};
use crate::store::Store;
use std::collections::BTreeMap;
use std::path::PathBuf;

mod colour;
#[cfg(test)]
mod tests;

use colour::{Colours, FILE_RECORD_BYTES, REACHED_RECORD_BYTES};

/// Chunks that are looked up at once.
const BATCH: usize = 1024;
/// Bytes of a record's row in the table of its pack. Records of version 1 name no base and have no
/// parameters, so their headers are all of one length.
const ROW_BYTES: u64 = 4 + HEADER_BYTES_MIN as u64;
/// Bytes of a record beside its payload; see [`ROW_BYTES`].
const RECORD_OVERHEAD_BYTES: u64 = (HEADER_BYTES_MIN + PAYLOAD_CHECK_BYTES) as u64;

/// One disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiskStats {
    pub id: DiskId,
    pub label: String,
    /// `None`: the disk is missing.
    pub path: Option<PathBuf>,
    pub packs: u64,
    pub pack_bytes: u64,
    /// Of the filesystem that the disk lies on; 0 where it cannot be asked.
    pub total_bytes: u64,
    pub free_bytes: u64,
}

/// One snapshot and what it alone keeps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotStats {
    pub info: SnapshotInfo,
    /// Stored bytes that a full gc would free if this snapshot alone were forgotten.
    pub exclusive_bytes: u64,
}

/// See the module's words on what is counted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StatsReport {
    pub snapshots: u64,
    /// Files of all snapshots, as often as they are there.
    pub files: u64,
    pub logical_bytes: u64,
    pub stored_bytes: u64,
    pub saved_whole_file: u64,
    pub saved_holes: u64,
    pub saved_chunks: u64,
    pub saved_compression: u64,
    pub overhead_bytes: u64,
    /// Chunks that a live snapshot reaches, metadata included.
    pub chunks: u64,
    /// Whole records of live folders, lists, witnesses and attributes, with their rows.
    pub metadata_bytes: u64,
    pub disks: Vec<DiskStats>,
    /// Oldest first.
    pub per_snapshot: Vec<SnapshotStats>,
}

/// Counts.
///
/// # Errors
/// [`Error::Interrupted`], [`Error::Index`], [`Error::Io`] where the sort needs room in the store's folder
/// and cannot have it. Damage is noticed and counted as far as it can be seen.
pub fn run(store: &Store, control: &Control) -> Result<StatsReport> {
    control.progress.set_phase("walking snapshots");
    let list = snapshots::list(store, &[]);
    let memory = usize::try_from(store.memory_bytes() / 8).unwrap_or(usize::MAX);
    let reached = Sorter::<REACHED_RECORD_BYTES>::new(store.io(), store.path(), memory, Order::All)?;
    let files = Sorter::<FILE_RECORD_BYTES>::new(store.io(), store.path(), memory, Order::LastOf { key_bytes: 32 })?;
    let mut colours = Colours::new(store, control, reached, files);
    let mut report = StatsReport {
        snapshots: list.len() as u64,
        stored_bytes: store.with_state(|s| s.packs().map(|p| p.sealed.bytes).sum()),
        disks: disks(store),
        ..Default::default()
    };
    for (colour, info) in (0..).zip(&list) {
        report.files += info.snapshot.counts.files;
        report.logical_bytes = report.logical_bytes.saturating_add(info.snapshot.counts.bytes);
        colours.walk(colour, &info.snapshot)?;
    }
    let Colours { reached, files, unreadable, .. } = colours;
    if unreadable > 0 {
        control.notice(Notice::Note(format!(
            "{unreadable} folders or lists cannot be read, and what is below them is not counted; `onefold check` names them"
        )));
    }
    let files = distinct(control, files)?;
    let chunks = chunks(store, control, reached, list.len())?;
    if chunks.missing > 0 {
        control.notice(Notice::Note(format!(
            "{} chunks cannot be had and are not counted; `onefold check` names the files",
            chunks.missing
        )));
    }
    balance(&mut report, &files, &chunks);
    report.chunks = chunks.count;
    report.metadata_bytes = chunks.metadata_bytes;
    let per_snapshot = list.into_iter().zip(chunks.exclusive);
    report.per_snapshot = per_snapshot.map(|(info, exclusive_bytes)| SnapshotStats { info, exclusive_bytes }).collect();
    Ok(report)
}

/// Sums over distinct files.
#[derive(Debug, Default)]
struct Distinct {
    bytes: u64,
    holes: u64,
    inline: u64,
}

fn distinct(control: &Control, files: Sorter<FILE_RECORD_BYTES>) -> Result<Distinct> {
    control.progress.set_phase("sorting files");
    let mut sums = Distinct::default();
    let mut sorted = files.finish()?;
    while let Some(record) = sorted.next()? {
        let file = colour::FileRecord::decode(&record);
        sums.bytes = sums.bytes.saturating_add(file.bytes);
        sums.holes = sums.holes.saturating_add(file.holes.min(file.bytes));
        if file.inline {
            sums.inline = sums.inline.saturating_add(file.bytes);
        }
    }
    Ok(sums)
}

/// Sums over live chunks.
#[derive(Debug, Default)]
struct Chunks {
    count: u64,
    missing: u64,
    /// Of chunks of files.
    plain: u64,
    payload: u64,
    metadata_bytes: u64,
    /// By colour.
    exclusive: Vec<u64>,
}

impl Chunks {
    /// Looks up and adds what has gathered.
    fn add(&mut self, store: &Store, batch: &mut Vec<colour::Reached>) -> Result<()> {
        let ids: Vec<ChunkId> = batch.iter().map(|r| r.id).collect();
        for (reached, at) in batch.drain(..).zip(store.locate(&ids)?) {
            self.count += 1;
            let Some(at) = at else {
                self.missing += 1;
                continue;
            };
            let record = u64::from(at.place.stored) + ROW_BYTES;
            if reached.of_file {
                self.plain += u64::from(at.place.plain);
                self.payload += u64::from(at.place.stored).saturating_sub(RECORD_OVERHEAD_BYTES);
            } else {
                self.metadata_bytes += record;
            }
            if let Some(bytes) = self.exclusive.get_mut(reached.colour as usize) {
                *bytes += record; // the colour of several snapshots is none of theirs
            }
        }
        Ok(())
    }
}

fn chunks(store: &Store, control: &Control, reached: Sorter<REACHED_RECORD_BYTES>, snapshots: usize) -> Result<Chunks> {
    control.progress.set_phase("sorting chunks");
    let mut sums = Chunks { exclusive: vec![0; snapshots], ..Default::default() };
    let mut sorted = reached.finish()?;
    let mut batch: Vec<colour::Reached> = Vec::with_capacity(BATCH);
    while let Some(record) = sorted.next()? {
        let next = colour::Reached::decode(&record);
        match batch.last_mut().filter(|last| last.id == next.id) {
            Some(last) => last.join(&next),
            None => {
                if batch.len() >= BATCH {
                    control.proceed()?;
                    sums.add(store, &mut batch)?;
                }
                batch.push(next);
            }
        }
    }
    sums.add(store, &mut batch)?;
    Ok(sums)
}

/// Splits what is saved so that it adds up: each step takes at most what is left. In a sound store no step
/// is cut short by that; in a damaged one the later steps take what the earlier could not see.
fn balance(report: &mut StatsReport, files: &Distinct, chunks: &Chunks) {
    let payload = chunks.payload.min(report.stored_bytes);
    let mut left = report.logical_bytes.saturating_sub(payload);
    let mut take = |wanted: u64| {
        let taken = wanted.min(left);
        left -= taken;
        taken
    };
    let in_chunks = files.bytes.saturating_sub(files.inline).saturating_sub(files.holes);
    report.saved_whole_file = take(report.logical_bytes.saturating_sub(files.bytes));
    report.saved_holes = take(files.holes);
    report.saved_chunks = take(in_chunks.saturating_sub(chunks.plain));
    report.saved_compression = left;
    // More payload than files would need: a chunk of which only a part is used. Then that is overhead too.
    let stored_data = payload.min(report.logical_bytes);
    report.overhead_bytes = report.stored_bytes - stored_data; // payload is at most stored_bytes
}

fn disks(store: &Store) -> Vec<DiskStats> {
    store.with_state(|state| {
        let mut by_disk: BTreeMap<DiskId, (u64, u64)> = BTreeMap::new();
        for id in state.disks.iter().filter(|(_, d)| !d.retired).map(|(id, _)| *id) {
            by_disk.entry(id).or_default();
        }
        for pack in state.packs().map(|p| p.sealed) {
            let (packs, bytes) = by_disk.entry(pack.disk).or_default();
            (*packs, *bytes) = (*packs + 1, *bytes + pack.bytes);
        }
        let stats = by_disk.into_iter().map(|(id, (packs, pack_bytes))| {
            let here = store.pool().disk(&id);
            let space = here.and_then(|d| store.io().fs.space(&d.path).ok());
            DiskStats {
                id,
                label: state.disks.get(&id).map(|d| d.label.clone()).unwrap_or_default(),
                path: here.map(|d| d.path.clone()),
                packs,
                pack_bytes,
                total_bytes: space.map_or(0, |s| s.total),
                free_bytes: space.map_or(0, |s| s.free),
            }
        });
        stats.collect()
    })
}

/// Whether the walk goes on after this error, which says something of one chunk and not of the run.
fn is_of_one_chunk(e: &Error) -> bool {
    !matches!(e, Error::Interrupted | Error::Index { .. } | Error::FromTheFuture { .. })
}
