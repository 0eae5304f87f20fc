//! stats: what a store holds, what it saves, and what each snapshot alone keeps.
//!
//! # What is counted
//!
//! ```text
//! logical_bytes     = the bytes of all files of all live snapshots, as often as they are there
//!   saved_whole_file  what files took that equal one counted before, by their check (inline: by their bytes)
//!   saved_holes       of the distinct files left: holes and runs of one value
//!   saved_splitters   of their other bytes: what is computed on the way back (page headers, checksums), less what
//!                     streams have beyond the file (samples in the place of a FLAC's frames). May be below zero
//!   saved_chunks      of their streams' bytes: what repeats a chunk
//!   saved_compression of the distinct chunks left: what their payloads are shorter, deltas included; and files of at
//!                     most 512 bytes, which stand in their folders' nodes and take no data chunk; less the
//!                     payloads of chunks that no file has any more and that others are coded against
//! = stored data       the payloads of the live data chunks: stored_bytes - overhead_bytes
//! ```
//! The six lines add up exactly. `stored_bytes` are all packs that the log knows; `overhead_bytes` what of
//! them is no payload of a live data chunk: headers and tables, folders and lists, attributes, chunks that no
//! snapshot reaches.
//!
//! *Exclusive bytes* of a snapshot are the whole records (header, payload, check, and their row in the
//! pack's table) of the chunks that it alone reaches, metadata and its witness included. What is coded against a chunk
//! reaches that chunk.
//!
//! *By format* counts distinct files by the splitter that looked at them, and a chunk once: for the oldest snapshot
//! that has it, there for the splitter with the lowest number, for an opaque file only if no other has it.
//!
//! # How
//!
//! A node is coloured with the snapshot that reached it, or with "several". It is entered when it gets a
//! colour, so at most twice, and gives a record (id, colour, splitter) for each chunk below. The records are sorted
//! outside of memory; then all colours of a chunk stand together, beside what the tables of the packs say of it
//! (`merge`). The index is not asked. Files are sorted the same way by their checks. Memory: the sorters' budgets and
//! 24 bytes a node; room beside `STORE`: about 150 bytes a chunk of the store, for the time of the run.

use super::snapshots::{self, SnapshotInfo};
use super::{Control, Notice};
use crate::error::{Error, Result};
use crate::format::record::Codec;
use crate::format::{ChunkId, DiskId};
use crate::index::{Order, Sorter};
use crate::store::Store;
use std::collections::BTreeMap;
use std::path::PathBuf;

mod colour;
mod freed;
mod locality;
mod merge;
#[cfg(test)]
mod tests;

use colour::{Colours, FILE_RECORD_BYTES, NO_SPLITTER, REACHED_RECORD_BYTES};
use merge::{Chunks, Tables};

pub use freed::{Freed, Wanted, run as freed};
pub use locality::{Locality, run as locality};
pub use merge::Sums;

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

/// Files that one splitter looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FormatStats {
    /// The splitter's number; `None` for files that stand in their folders' nodes.
    pub splitter: Option<u16>,
    /// Distinct files, by content, and their bytes.
    pub files: u64,
    pub bytes: u64,
    /// Bytes of their streams.
    pub stream_bytes: u64,
    /// Distinct chunks that such a file had first.
    pub chunks: Sums,
}

/// Chunks that are coded against others, in all packs, and what they are coded against.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fanout {
    /// Records that have bases.
    pub coded: u64,
    pub bases: u64,
    /// The most records that hang on one base, and which.
    pub most: u64,
    pub most_on: Option<ChunkId>,
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
    pub saved_splitters: i64,
    pub saved_chunks: u64,
    pub saved_compression: u64,
    /// Of that: files that stand in their folders' nodes, and (taken from it) chunks that are kept only as bases.
    pub inline_bytes: u64,
    pub base_only_bytes: u64,
    pub overhead_bytes: u64,
    /// Of that: older copies of chunks that are needed, with their rows. What compact and bounded backups wrote again for
    /// locality, and what was stored again while a disk was away or damaged; a full gc takes them.
    pub superseded_bytes: u64,
    /// Chunks that a live snapshot reaches, metadata included.
    pub chunks: u64,
    /// Whole records of live folders, lists, witnesses and attributes, with their rows.
    pub metadata_bytes: u64,
    /// Distinct chunks that files have, by codec.
    pub by_codec: Vec<(Codec, Sums)>,
    pub by_format: Vec<FormatStats>,
    pub fanout: Fanout,
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
    // Six sorters beside the map of colours, which has a quarter; the index has its own.
    let memory = usize::try_from(store.memory_bytes() / 16).unwrap_or(usize::MAX);
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
    let chunks = Tables::read(store, control, memory)?.count(control, reached, list.len())?;
    if chunks.missing > 0 {
        control.notice(Notice::Note(format!(
            "{} chunks cannot be had and are not counted; `onefold check` names the files",
            chunks.missing
        )));
    }
    balance(&mut report, &files, &chunks);
    report.chunks = chunks.count;
    report.superseded_bytes = chunks.superseded;
    report.metadata_bytes = chunks.metadata_bytes;
    report.inline_bytes = files.inline;
    report.base_only_bytes = chunks.base_only;
    report.by_codec = chunks.by_codec.iter().map(|(codec, sums)| (*codec, *sums)).collect();
    report.by_format = by_format(files, &chunks);
    report.fanout = chunks.fanout;
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
    streams: u64,
    by_splitter: BTreeMap<u16, FormatStats>,
}

fn distinct(control: &Control, files: Sorter<FILE_RECORD_BYTES>) -> Result<Distinct> {
    control.progress.set_phase("sorting files");
    let mut sums = Distinct::default();
    let mut sorted = files.finish()?;
    while let Some(record) = sorted.next()? {
        let file = colour::FileRecord::decode(&record);
        sums.bytes = sums.bytes.saturating_add(file.bytes);
        sums.holes = sums.holes.saturating_add(file.holes.min(file.bytes));
        sums.streams = sums.streams.saturating_add(file.streams);
        if file.splitter == NO_SPLITTER {
            sums.inline = sums.inline.saturating_add(file.bytes);
        }
        let of = sums.by_splitter.entry(file.splitter).or_insert_with(|| empty_format(file.splitter));
        of.files += 1;
        of.bytes = of.bytes.saturating_add(file.bytes);
        of.stream_bytes = of.stream_bytes.saturating_add(file.streams);
    }
    Ok(sums)
}

fn empty_format(splitter: u16) -> FormatStats {
    let splitter = (splitter != NO_SPLITTER).then_some(splitter);
    FormatStats { splitter, files: 0, bytes: 0, stream_bytes: 0, chunks: Sums::default() }
}

fn by_format(files: Distinct, chunks: &Chunks) -> Vec<FormatStats> {
    let mut by_splitter = files.by_splitter;
    for (splitter, sums) in &chunks.by_splitter {
        by_splitter.entry(*splitter).or_insert_with(|| empty_format(*splitter)).chunks = *sums;
    }
    by_splitter.into_values().collect()
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
    let in_streams = files.bytes.saturating_sub(files.inline).saturating_sub(files.holes);
    report.saved_whole_file = take(report.logical_bytes.saturating_sub(files.bytes));
    report.saved_holes = take(files.holes);
    let computed = take(in_streams.saturating_sub(files.streams));
    let beyond = files.streams.saturating_sub(in_streams);
    left = left.saturating_add(beyond);
    let signed = |n: u64| i64::try_from(n).unwrap_or(i64::MAX); // one of the two is 0
    report.saved_splitters = signed(computed) - signed(beyond);
    report.saved_chunks = files.streams.saturating_sub(chunks.plain).min(left);
    report.saved_compression = left - report.saved_chunks;
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
