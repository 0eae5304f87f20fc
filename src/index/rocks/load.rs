//! Fills an empty index with sorted files.
//!
//! Files are written with the settings of the column family, so that filters and checks are those of
//! any other, and become part of the database in one step: all or none. What was written before a
//! failure is removed, and what a killed process left goes with [`super::RocksIndex::destroy`].

use std::path::PathBuf;

use rocksdb::{IngestExternalFileOptions, SstFileWriter};

use super::{CHUNK, Mode, READ_ONLY, RocksIndex, UNFINISHED_PREFIX, failed, refused, settings};
use crate::error::Result;
use crate::format::id::ChunkId;
use crate::index::{Index, NextEntry, Place, Reflected};
use crate::io::Fs;
use crate::io::real::RealFs;

const ACTION: &str = "load chunks";
/// How many chunks are written between two looks at a file's size.
const CHUNKS_PER_LOOK: u64 = 4096;

/// Files that go with their owner, best effort. Those that were moved into the database are gone by then.
struct Unfinished(Vec<PathBuf>);

impl Drop for Unfinished {
    fn drop(&mut self) {
        for path in &self.0 {
            let _ = RealFs.remove_file(path);
        }
    }
}

/// See [`Index::load_sorted`].
pub(super) fn load_sorted(index: &RocksIndex, next: NextEntry<'_>, reflected: Reflected) -> Result<u64> {
    load(index, next, reflected, settings::TABLE_BYTES)
}

pub(super) fn load(index: &RocksIndex, next: NextEntry<'_>, reflected: Reflected, table_bytes: u64) -> Result<u64> {
    if index.mode == Mode::ReadOnly {
        return Err(refused(&index.path, ACTION, READ_ONLY));
    }
    let mut walk = index.walk()?;
    walk.seek_to_first();
    walk.status().map_err(failed(&index.path, ACTION))?;
    if walk.valid() {
        return Err(refused(&index.path, ACTION, "it is not empty"));
    }
    drop(walk);

    let mut files = Unfinished(Vec::new());
    let mut last = None;
    let mut count = 0;
    let mut entry = next()?;
    while let Some(first) = entry {
        let path = index.path.join(format!("{UNFINISHED_PREFIX}{}.sst", files.0.len()));
        files.0.push(path.clone());
        let mut table = Table { index, path, last, count: 0 };
        entry = table.write(first, next, table_bytes)?;
        last = table.last;
        count += table.count;
    }

    if !files.0.is_empty() {
        let mut how = IngestExternalFileOptions::default();
        how.set_move_files(true);
        let paths = files.0.clone();
        let family = index.family(CHUNK)?;
        index.db.ingest_external_file_cf_opts(family, &how, paths).map_err(failed(&index.path, ACTION))?;
    }
    drop(files);
    index.apply(&[], Some(reflected))?;
    // Chunks are durable now, and so shall be what they stand for: else the next start loads them again.
    index.flush()?;
    Ok(count)
}

/// One sorted file while it is written.
struct Table<'a> {
    index: &'a RocksIndex,
    path: PathBuf,
    last: Option<ChunkId>,
    count: u64,
}

impl Table<'_> {
    /// Writes entries from `first` on until the file is large enough; returns the first that is left.
    fn write(
        &mut self,
        first: (ChunkId, Place),
        next: NextEntry<'_>,
        table_bytes: u64,
    ) -> Result<Option<(ChunkId, Place)>> {
        let at = &self.index.path;
        let options = settings::chunks(&self.index.budget, &self.index.cache);
        let mut writer = SstFileWriter::create(&options);
        writer.open(&self.path).map_err(failed(at, ACTION))?;
        let mut entry = Some(first);
        while let Some((id, place)) = entry {
            if self.count > 0 && self.count.is_multiple_of(CHUNKS_PER_LOOK) && writer.file_size() >= table_bytes {
                break;
            }
            if self.last.is_some_and(|last| last >= id) {
                return Err(refused(at, ACTION, "the chunks do not come in ascending order"));
            }
            writer.put(id.0, place.encode()).map_err(failed(at, ACTION))?;
            self.last = Some(id);
            self.count += 1;
            entry = next()?;
        }
        writer.finish().map_err(failed(at, ACTION))?;
        Ok(entry)
    }
}
