//! explain: what one stored file is made of, what it costs, and what only it keeps.
//!
//! The first part reads the file's recipe and a header for each of its chunks. What only the file keeps is known after
//! all other files were looked at; that can be left out.
//!
//! # What only it keeps
//!
//! A chunk counts unless another file has it, or has a chunk that is coded against it; and so does a base that neither
//! another file nor anything that another file has needs. In other snapshots an entry of the same path and content is
//! the file itself: so the second figure is what a full gc would free if it were gone from all of them. Lists and
//! folders are not counted.

use super::share::facts::{self, Fact};
use super::share::is_of_one_place;
use super::share::kin::{Holds, Kin};
use super::share::own::Own;
use super::share::walk::{self, Met};
use super::similar::{file_at, order, same};
use super::snapshots::SnapshotInfo;
use super::{Control, Notice, names};
use crate::catalog::recipe;
use crate::error::Result;
use crate::format::entry::Content;
use crate::format::node::{SegmentNode, decode_segment_node};
use crate::format::recipe::{Recipe, Segment, Segments};
use crate::format::record::Codec;
use crate::format::{ChunkId, ChunkKind, DiskId};
use crate::pack::ReadChunks;
use crate::store::Store;
use std::collections::{BTreeMap, BTreeSet, HashSet};

/// Which file, and how much of the story.
#[derive(Clone, Debug)]
pub struct ExplainOptions {
    pub snapshot: SnapshotInfo,
    pub path: Vec<u8>,
    /// Do not look at other files: what only this one keeps is not known then.
    pub quick: bool,
}

/// A stream of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamPart {
    pub number: u8,
    pub role: &'static str,
    pub bytes: u64,
    /// References, repeats included.
    pub chunks: u64,
}

/// Segments of one kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SegmentPart {
    pub kind: &'static str,
    /// Who rebuilds them, where they are not plain bytes of a stream.
    pub splitter: Option<String>,
    pub segments: u64,
    /// Bytes of the file.
    pub bytes: u64,
}

/// Distinct chunks of one codec.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CodecPart {
    pub codec: Codec,
    pub chunks: u64,
    pub plain_bytes: u64,
    pub stored_bytes: u64,
}

/// What the file's chunks are coded against.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BasePart {
    pub bases: u64,
    pub plain_bytes: u64,
    /// Of them, those that are chunks of this file too.
    pub own: u64,
}

/// Where chunks lie.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiskPart {
    pub disk: DiskId,
    pub label: String,
    pub packs: u64,
    pub chunks: u64,
    pub stored_bytes: u64,
}

/// What only the file keeps, in bytes of whole records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exclusive {
    pub in_snapshot: u64,
    pub in_store: u64,
}

/// The story of one file.
#[derive(Clone, Debug, Default)]
pub struct ExplainReport {
    pub bytes: u64,
    /// The file stands in its folder's node: it has no chunks of its own.
    pub inline: bool,
    pub splitter: String,
    pub splitter_version: u8,
    pub streams: Vec<StreamPart>,
    pub segments: Vec<SegmentPart>,
    pub codecs: Vec<CodecPart>,
    pub bases: BasePart,
    /// Whole records of its distinct chunks, their rows included, whoever else has them too.
    pub spent_bytes: u64,
    pub lists: u64,
    pub list_bytes: u64,
    /// `None`: not looked for.
    pub exclusive: Option<Exclusive>,
    pub snapshots: u64,
    pub disks: Vec<DiskPart>,
    /// Chunks and lists of the file that cannot be had.
    pub missing: u64,
    /// The figures of chunks are estimates from one in so many.
    pub one_in: u64,
}

/// One chunk of the file, for [`chunks`].
#[derive(Clone, Debug)]
pub struct ChunkLine<'a> {
    pub stream: u8,
    /// Where in the stream.
    pub offset: u64,
    pub bytes: u64,
    pub id: ChunkId,
    /// `None`: it cannot be had.
    pub fact: Option<&'a Fact>,
}

/// Hands out the references of a file's streams, in order, with what the chunks' records say.
///
/// # Errors
/// As [`run`], and what `each` returns.
pub fn chunks(
    store: &Store,
    options: &ExplainOptions,
    each: &mut dyn FnMut(&ChunkLine<'_>) -> Result<()>,
    control: &Control,
) -> Result<()> {
    let (_, content) = file_at(store, &options.snapshot, &options.path)?;
    let Content::Recipe(recipe) = content else { return Ok(()) };
    let mut waiting: Vec<(u8, u64, ChunkId, u64)> = Vec::with_capacity(facts::BATCH);
    let mut flush = |waiting: &mut Vec<(u8, u64, ChunkId, u64)>| -> Result<()> {
        control.proceed()?;
        let ids: Vec<ChunkId> = waiting.iter().map(|w| w.2).collect();
        for ((stream, offset, id, bytes), fact) in waiting.drain(..).zip(facts::of(store, &ids)?) {
            each(&ChunkLine { stream, offset, bytes, id, fact: fact.as_ref() })?;
        }
        Ok(())
    };
    let whole = walk::references(store, &recipe, &mut |stream, offset, reference| {
        waiting.push((stream, offset, reference.id, reference.bytes));
        if waiting.len() >= facts::BATCH { flush(&mut waiting) } else { Ok(()) }
    })?;
    flush(&mut waiting)?;
    if !whole {
        control.notice(Notice::Note("a list of this file's chunks cannot be read; `onefold check` tells more".into()));
    }
    Ok(())
}

/// Tells.
///
/// # Errors
/// [`crate::Error::NoPath`], [`crate::Error::WrongKind`] for what is no file, [`crate::Error::Interrupted`],
/// [`crate::Error::Index`], damage of the file's own entry. Other damage is counted.
pub fn run(store: &Store, options: &ExplainOptions, control: &Control) -> Result<ExplainReport> {
    control.progress.set_phase("looking at the file");
    let (bytes, content) = file_at(store, &options.snapshot, &options.path)?;
    let mut report = ExplainReport { bytes, one_in: 1, ..Default::default() };
    let recipe = match &content {
        Content::Recipe(recipe) => recipe,
        Content::Inline(_) => {
            report.inline = true;
            report.splitter = "none".into();
            return Ok(report);
        }
    };
    report.splitter = names::splitter(recipe.splitter.0).into_owned();
    report.splitter_version = recipe.splitter.1;
    streams(store, recipe, &mut report)?;
    segments(store, recipe, &mut report)?;
    lists(store, recipe, &mut report)?;
    let own = Own::of(store, recipe)?;
    report.one_in = 1 << own.thinned;
    own_chunks(store, &own, &mut report)?;
    if options.quick {
        return Ok(report);
    }
    let kin = Kin::of(store, control, own)?;
    report.exclusive = Some(exclusive(store, options, &content, &kin, &mut report, control)?);
    Ok(report)
}

fn streams(store: &Store, recipe: &Recipe, report: &mut ExplainReport) -> Result<()> {
    let mut counts = vec![0u64; recipe.streams.len()];
    let whole = walk::references(store, recipe, &mut |stream, _, _| {
        if let Some(n) = counts.get_mut(usize::from(stream)) {
            *n += 1;
        }
        Ok(())
    })?;
    report.missing += u64::from(!whole);
    for ((number, stream), chunks) in (0..).zip(&recipe.streams).zip(counts) {
        let role = names::role(recipe.splitter.0, number);
        report.streams.push(StreamPart { number, role, bytes: stream.bytes(), chunks });
    }
    Ok(())
}

fn segments(store: &Store, recipe: &Recipe, report: &mut ExplainReport) -> Result<()> {
    let mut sums: BTreeMap<(u8, u16), (u64, u64)> = BTreeMap::new();
    let mut add = |segment: &Segment| {
        let key = match segment {
            Segment::Data { .. } => (1, 0),
            Segment::Hole { .. } => (2, 0),
            Segment::Fill { .. } => (3, 0),
            Segment::Mapped { how, .. } => (4 + u8::from(how.transformed), how.splitter),
        };
        let (n, bytes) = sums.entry(key).or_default();
        (*n, *bytes) = (*n + 1, bytes.saturating_add(segment.bytes()));
    };
    match &recipe.segments {
        Segments::Inline(list) => list.iter().for_each(&mut add),
        Segments::List { level, id } => {
            let mut todo = vec![(*level, *id)];
            while let Some((level, id)) = todo.pop() {
                let read = store.chunk(ChunkKind::List, &id).and_then(|b| decode_segment_node(level, &b));
                match read {
                    Ok(SegmentNode::Leaf(list)) => list.iter().for_each(&mut add),
                    Ok(SegmentNode::Inner(children)) => {
                        todo.extend(children.into_iter().map(|c| (level - 1, c.id))); // level 2 or above
                    }
                    Err(e) if is_of_one_place(&e) => report.missing += 1,
                    Err(e) => return Err(e),
                }
            }
        }
    }
    let kinds = ["", "data", "hole", "fill", "permuted", "transformed"];
    for ((kind, splitter), (segments, bytes)) in sums {
        let splitter = (kind >= 4).then(|| names::splitter(splitter).into_owned());
        let kind = kinds.get(usize::from(kind)).copied().unwrap_or_default();
        report.segments.push(SegmentPart { kind, splitter, segments, bytes });
    }
    Ok(())
}

fn lists(store: &Store, recipe: &Recipe, report: &mut ExplainReport) -> Result<()> {
    let mut ids: Vec<ChunkId> = Vec::new();
    let mut seen = HashSet::new();
    let found = recipe::each_list(store, recipe, &mut |id| {
        // 40 bytes for some 190 chunks: below what the chunks themselves take
        let new = seen.insert(*id);
        if new {
            ids.push(*id);
        }
        Ok(new)
    });
    match found {
        Err(e) if !is_of_one_place(&e) => return Err(e),
        Err(_) => report.missing += 1,
        Ok(()) => {}
    }
    report.lists = ids.len() as u64;
    for batch in ids.chunks(facts::BATCH) {
        for at in store.locate(batch)?.into_iter().flatten() {
            report.list_bytes += u64::from(at.place.stored);
        }
    }
    Ok(())
}

fn own_chunks(store: &Store, own: &Own, report: &mut ExplainReport) -> Result<()> {
    let mut codecs: BTreeMap<Codec, CodecPart> = BTreeMap::new();
    let mut disks: BTreeMap<DiskId, (BTreeSet<u32>, u64, u64)> = BTreeMap::new();
    let mut bases: BTreeSet<ChunkId> = BTreeSet::new();
    for chunk in &own.chunks {
        let Some(fact) = &chunk.fact else {
            report.missing += 1;
            continue;
        };
        let none = CodecPart { codec: fact.codec, chunks: 0, plain_bytes: 0, stored_bytes: 0 };
        let part = codecs.entry(fact.codec).or_insert(none);
        part.chunks += 1;
        part.plain_bytes += u64::from(fact.plain_bytes);
        part.stored_bytes += u64::from(fact.stored_bytes);
        report.spent_bytes += fact.record_bytes;
        let (packs, chunks, stored) = disks.entry(fact.disk).or_default();
        packs.insert(fact.pack);
        (*chunks, *stored) = (*chunks + 1, *stored + fact.record_bytes);
        bases.extend(&fact.bases);
    }
    report.spent_bytes = own.scale(report.spent_bytes);
    for part in codecs.values_mut() {
        for n in [&mut part.chunks, &mut part.plain_bytes, &mut part.stored_bytes] {
            *n = own.scale(*n);
        }
    }
    report.codecs = codecs.into_values().collect();
    report.bases.bases = bases.len() as u64;
    report.bases.own = bases.iter().filter(|id| own.find(id).is_some()).count() as u64;
    let bases: Vec<ChunkId> = bases.into_iter().collect();
    for batch in bases.chunks(facts::BATCH) {
        for at in store.locate(batch)?.into_iter().flatten() {
            report.bases.plain_bytes += u64::from(at.place.plain);
        }
    }
    report.disks = store.with_state(|state| {
        let label = |disk: &DiskId| state.disks.get(disk).map(|d| d.label.clone()).unwrap_or_default();
        let parts = disks.into_iter().map(|(disk, (packs, chunks, stored))| DiskPart {
            disk,
            label: label(&disk),
            packs: packs.len() as u64,
            chunks: own.scale(chunks),
            stored_bytes: own.scale(stored),
        });
        parts.collect()
    });
    Ok(())
}

fn exclusive(
    store: &Store,
    options: &ExplainOptions,
    content: &Content,
    kin: &Kin,
    report: &mut ExplainReport,
    control: &Control,
) -> Result<Exclusive> {
    control.progress.set_phase("looking at other files");
    control.progress.files_done.store(0, std::sync::atomic::Ordering::Relaxed);
    let path = super::ls::absolute(&options.path);
    let order = order(store, &options.snapshot, true);
    report.snapshots = order.len() as u64;
    let (first, others) = order.split_at(1); // it holds the snapshot itself
    let mut holds = kin.holds();
    let mut lost = 0;
    let mut look = |holds: &mut Holds<'_>, snapshots: &[SnapshotInfo]| -> Result<()> {
        let walked = walk::each(store, snapshots, control, &mut |met: Met<'_>| {
            if met.path == path && same(met.content, content) {
                return Ok(());
            }
            let Some(recipe) = met.recipe() else { return Ok(()) };
            let whole = walk::references(store, recipe, &mut |_, _, reference| {
                holds.needed(&reference.id);
                control.proceed()
            })?;
            lost += u64::from(!whole);
            Ok(())
        })?;
        lost += walked.unreadable;
        Ok(())
    };
    look(&mut holds, first)?;
    let in_snapshot = holds.exclusive_bytes(store)?;
    look(&mut holds, others)?;
    let in_store = holds.exclusive_bytes(store)?;
    if lost > 0 {
        control.notice(Notice::Note(format!(
            "{lost} folders or lists cannot be read: what only this file keeps may be less than is told"
        )));
    }
    Ok(Exclusive { in_snapshot, in_store })
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Shelf, noise};
    use super::*;
    use std::os::unix::ffi::OsStrExt;
    use std::path::Path;

    fn options(shelf: &Shelf, store: &Store, path: &Path) -> ExplainOptions {
        ExplainOptions { snapshot: shelf.latest(store), path: path.as_os_str().as_bytes().to_vec(), quick: false }
    }

    fn explain(shelf: &Shelf, path: &Path) -> ExplainReport {
        let store = shelf.read();
        run(&store, &options(shelf, &store, path), &Control::default()).unwrap()
    }

    /// Checks what holds for every file, and that the lines of chunks say the same as the sums.
    fn agrees(shelf: &Shelf, path: &Path) -> ExplainReport {
        let r = explain(shelf, path);
        let store = shelf.read();
        let (mut n, mut bytes, mut distinct) = (0, 0, BTreeMap::new());
        let mut each = |line: &ChunkLine<'_>| {
            n += 1;
            bytes += line.bytes;
            distinct.insert(line.id, line.fact.unwrap().clone());
            Ok(())
        };
        chunks(&store, &options(shelf, &store, path), &mut each, &Control::default()).unwrap();
        assert_eq!(r.streams.iter().map(|s| s.chunks).sum::<u64>(), n);
        assert_eq!(r.streams.iter().map(|s| s.bytes).sum::<u64>(), bytes);
        assert_eq!(r.segments.iter().map(|s| s.bytes).sum::<u64>(), r.bytes);
        assert_eq!(r.codecs.iter().map(|c| c.chunks).sum::<u64>(), distinct.len() as u64);
        assert_eq!(r.spent_bytes, distinct.values().map(|f| f.record_bytes).sum::<u64>());
        assert_eq!(r.disks.iter().map(|d| d.stored_bytes).sum::<u64>(), r.spent_bytes);
        let e = r.exclusive.unwrap();
        assert!(e.in_store <= e.in_snapshot);
        r
    }

    fn edited(bytes: &[u8], at: usize) -> Vec<u8> {
        let mut out = bytes.to_vec();
        out.splice(at..at, *b"inserted");
        out
    }

    #[test]
    fn what_only_a_file_keeps_is_what_no_other_needs_bases_included() {
        let shelf = Shelf::new(2);
        let library = tempfile::tempdir().unwrap();
        let at = library.path();
        let one = noise(1, 400_000);
        shelf.library(at, &[("one", &one), ("alone", &noise(2, 300_000))]);
        shelf.back_up(at);
        let alone = agrees(&shelf, &at.join("alone"));
        let e = alone.exclusive.unwrap();
        assert_eq!((e.in_snapshot, e.in_store), (alone.spent_bytes, alone.spent_bytes));
        assert_eq!(alone.codecs.len(), 1);
        assert_eq!(alone.codecs[0].codec, Codec::RAW);

        shelf.library(at, &[("edited", &edited(&one, 200_000)), ("d/copy", &noise(2, 300_000))]);
        shelf.back_up(at);
        let e = agrees(&shelf, &at.join("alone")).exclusive.unwrap();
        assert_eq!((e.in_snapshot, e.in_store), (0, 0), "the copy keeps it all");
        let r = agrees(&shelf, &at.join("edited"));
        let delta = r.codecs.iter().find(|c| c.codec == Codec::DELTA).expect("the insertion made a delta");
        assert!(delta.stored_bytes < 5_000, "{r:?}");
        assert!(r.bases.bases >= 1 && r.bases.own == 0, "{r:?}");
        let e = r.exclusive.unwrap();
        assert!(e.in_store > 0 && e.in_store < 5_000, "its deltas alone: {r:?}");
        let r = agrees(&shelf, &at.join("one"));
        let e = r.exclusive.unwrap();
        assert_eq!(e.in_store, 0, "the chunk that is not in `edited` is the base of one that is: {r:?}");

        // Without `one` the delta's base is kept by `edited` alone.
        std::fs::remove_file(at.join("one")).unwrap();
        shelf.back_up(at);
        let e = agrees(&shelf, &at.join("edited")).exclusive.unwrap();
        assert!(e.in_snapshot > 400_000, "its own chunks, and the base: {e:?}");
        assert!(e.in_store < 5_000, "older snapshots still have the rest: {e:?}");
    }

    #[test]
    fn the_same_file_in_other_snapshots_is_itself() {
        let shelf = Shelf::new(1);
        let library = tempfile::tempdir().unwrap();
        let at = library.path();
        shelf.library(at, &[("a", &noise(1, 200_000))]);
        for i in 0..3u64 {
            shelf.library(at, &[("b", &noise(5 + i, 2_000))]);
            shelf.back_up(at);
        }
        let r = agrees(&shelf, &at.join("a"));
        let e = r.exclusive.unwrap();
        assert_eq!((e.in_snapshot, e.in_store, r.snapshots), (r.spent_bytes, r.spent_bytes, 3));
    }

    #[test]
    fn repeats_holes_and_inline_files_are_told_apart() {
        let shelf = Shelf::new(1);
        let library = tempfile::tempdir().unwrap();
        let at = library.path();
        let sparse = std::fs::File::create(at.join("sparse")).unwrap();
        sparse.set_len(4 << 20).unwrap();
        std::os::unix::fs::FileExt::write_all_at(&sparse, &noise(3, 50_000), 1 << 20).unwrap();
        shelf.library(at, &[("zeros", &vec![0x55; 1 << 20]), ("inline", b"few bytes")]);
        shelf.back_up(at);
        let r = agrees(&shelf, &at.join("sparse"));
        let holes = r.segments.iter().find(|s| s.kind == "hole").unwrap();
        assert!(holes.bytes > 3 << 20, "{r:?}");
        let r = agrees(&shelf, &at.join("zeros"));
        let distinct: u64 = r.codecs.iter().map(|c| c.chunks).sum();
        assert!(distinct < r.streams.iter().map(|s| s.chunks).sum::<u64>(), "{r:?}");
        let inline = explain(&shelf, &at.join("inline"));
        assert!(inline.inline && inline.spent_bytes == 0 && inline.exclusive.is_none());
    }
}
