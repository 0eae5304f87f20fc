//! Which chunks of data many files need.
//!
//! ```text
//!  needs  (trees)   chunk, file            -+
//!  rows   (tables)  chunk, place           -+-> by chunk: its files -> more than n? -> found
//!  edges  (tables)  chunk, base            -+-> its files are its bases' files ------->+
//!  bases  (tables)  base                   -+-> a base's own files, and its row ------>+-> by base: the same question
//! ```
//! All are sorted outside memory, and a record that comes twice counts once. A *file* is a content: names, snapshots and hard
//! links of one content are one file, and each version of a file that is kept is another. A chunk's bases are needed by
//! whatever needs the chunk, as the copy that the index has is coded. Lists and nodes are not looked at: metadata has copies
//! of its own.
//!
//! # Invariants
//!
//! 1. The answer is exact for what can be read: folders, lists and tables that cannot be are counted, and nothing of them is
//!    guessed. More than n files of one chunk are never held or handed on: n + 1 say as much as all.
//! 2. Memory: seven sorters of a twenty-fourth of the budget each, and 16 bytes for each of n + 1 files.

use super::{tables, walk};
use crate::error::Result;
use crate::format::ChunkId;
use crate::format::footer::PackKind;
use crate::index::{Ahead, Order, Sorted, Sorter};
use crate::ops::{Control, snapshots};
use crate::store::Store;

const ID_BYTES: usize = ChunkId::BYTES;
/// Of a content's check: enough to tell files apart.
const FILE_BYTES: usize = 16;
/// `chunk:32 file:16`
const NEED_BYTES: usize = ID_BYTES + FILE_BYTES;
/// `chunk:32 serial:u32 offset:u32 bytes:u32 safer:u8`, numbers big-endian.
const ROW_BYTES: usize = ID_BYTES + PLACE_BYTES + 1;
/// `chunk:32 base:32`
const EDGE_BYTES: usize = 2 * ID_BYTES;
/// `serial:u32 offset:u32 bytes:u32`, big-endian: in the order of packs and of places in them.
const PLACE_BYTES: usize = 12;
/// Rows that are looked up at once.
const ROWS: usize = 4096;

/// Where a record lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lies {
    /// Of its pack.
    pub serial: u32,
    pub offset: u32,
    pub bytes: u32,
}

/// Chunks that more than so many files need.
pub struct Needed {
    pub more_than: u64,
    pub chunks: u64,
    /// Of their records.
    pub bytes: u64,
    /// Those of them that lie in packs that are held safer.
    pub safer_chunks: u64,
    pub safer_bytes: u64,
    /// Those of which no copy can be had now.
    pub missing: u64,
    /// Folders and lists that could not be read: the files below them are not counted.
    pub unreadable: u64,
    /// Packs whose tables could not be had: what their records are coded against is not counted.
    pub packs_unreadable: u64,
    /// Where the others lie.
    rest: Sorter<PLACE_BYTES>,
}

impl Needed {
    pub fn rest_chunks(&self) -> u64 {
        self.chunks - self.safer_chunks // a part of them
    }

    pub fn rest_bytes(&self) -> u64 {
        self.bytes - self.safer_bytes // as above
    }

    /// Where those lie that are not held safer yet, in the order of packs and of places in them.
    ///
    /// # Errors
    /// [`crate::Error::Io`] of the sort.
    pub fn into_rest(self) -> Result<Rest> {
        Ok(Rest(self.rest.finish()?))
    }

    fn add(&mut self, row: &[u8; ROW_BYTES]) -> Result<()> {
        let place: [u8; PLACE_BYTES] = part(row, ID_BYTES);
        let bytes = u64::from(decode(&place).bytes);
        self.chunks += 1;
        self.bytes += bytes;
        if row[ROW_BYTES - 1] == 1 {
            self.safer_chunks += 1;
            self.safer_bytes += bytes;
            return Ok(());
        }
        self.rest.push(&place)
    }
}

/// See [`Needed::into_rest`].
pub struct Rest(Sorted<PLACE_BYTES>);

impl Rest {
    /// # Errors
    /// [`crate::Error::Io`], [`crate::Error::Damaged`] of the sort.
    pub fn next_place(&mut self) -> Result<Option<Lies>> {
        Ok(self.0.next()?.map(|place| decode(&place)))
    }
}

/// The bytes from `at` on of a record that is long enough by its layout.
fn part<const N: usize>(record: &[u8], at: usize) -> [u8; N] {
    let mut out = [0; N];
    out.copy_from_slice(&record[at..at + N]); // callers name parts of fixed layouts
    out
}

/// Two parts that make a record together.
fn joined<const N: usize>(first: &[u8], second: &[u8]) -> [u8; N] {
    let mut out = [0; N];
    out[..first.len()].copy_from_slice(first); // callers name parts of fixed layouts
    out[first.len()..].copy_from_slice(second);
    out
}

fn decode(place: &[u8; PLACE_BYTES]) -> Lies {
    let number = |at| u32::from_be_bytes(part(place, at));
    Lies { serial: number(0), offset: number(4), bytes: number(8) }
}

/// What the packs' tables say of the copies that the index has.
struct Tables {
    rows: Sorter<ROW_BYTES>,
    edges: Sorter<EDGE_BYTES>,
    bases: Sorter<ID_BYTES>,
    unreadable: u64,
}

impl Tables {
    fn read(store: &Store, control: &Control, memory: usize) -> Result<Tables> {
        let (io, folder) = (store.io(), store.path());
        let mut t = Tables {
            rows: Sorter::new(io, folder, memory, Order::LastOf { key_bytes: ID_BYTES })?,
            edges: Sorter::new(io, folder, memory, Order::LastOf { key_bytes: EDGE_BYTES })?,
            bases: Sorter::new(io, folder, memory, Order::LastOf { key_bytes: ID_BYTES })?,
            unreadable: 0,
        };
        let is_data = |row: &crate::format::footer::Row| row.header.kind.is_data();
        let passed = tables::each(store, control, |pack| pack.kind.is_data(), &is_data, &mut |pack, rows| {
            let safer = u8::from(pack.kind == PackKind::Shared);
            for rows in rows.chunks(ROWS) {
                let ids: Vec<ChunkId> = rows.iter().map(|row| row.header.id).collect();
                for (row, at) in rows.iter().zip(store.locate(&ids)?) {
                    if !at.is_some_and(|at| at.place.pack == pack.serial && at.place.offset == row.offset) {
                        continue; // another copy is the one that is read
                    }
                    let bytes = u32::try_from(row.header.record_bytes()).unwrap_or(u32::MAX); // at most RECORD_BYTES
                    let place = [pack.serial, row.offset, bytes].map(u32::to_be_bytes);
                    t.rows.push(&joined(&row.header.id.0, &[place.as_flattened(), &[safer]].concat()))?;
                    for base in &row.header.bases {
                        t.edges.push(&joined(&row.header.id.0, &base.0))?;
                        t.bases.push(&base.0)?;
                    }
                }
            }
            Ok(())
        })?;
        t.unreadable = passed.unreadable;
        Ok(t)
    }
}

/// Finds the chunks that more than `more_than` files of the live snapshots need.
///
/// # Errors
/// [`crate::Error::Interrupted`], [`crate::Error::Index`], [`crate::Error::Io`] where the sort needs room in the store's folder
/// and cannot have it.
pub fn find(store: &Store, more_than: u64, control: &Control) -> Result<Needed> {
    let memory = usize::try_from(store.memory_bytes() / 24).unwrap_or(usize::MAX);
    let (io, folder) = (store.io(), store.path());
    let unique = Order::LastOf { key_bytes: NEED_BYTES };
    let mut needs: Sorter<NEED_BYTES> = Sorter::new(io, folder, memory, unique)?;
    control.progress.set_phase("looking which files need what");
    let mut unreadable = 0;
    let walked = walk::each_content(store, &snapshots::list(store, &[]), control, &mut |recipe| {
        let file: [u8; FILE_BYTES] = part(&recipe.check, 0);
        let whole = walk::references(store, recipe, &mut |_, _, r| needs.push(&joined(&r.id.0, &file)))?;
        unreadable += u64::from(!whole);
        Ok(())
    })?;
    let tables = Tables::read(store, control, memory)?;
    control.progress.set_phase("sorting chunks");
    let mut found = Needed {
        more_than,
        chunks: 0,
        bytes: 0,
        safer_chunks: 0,
        safer_bytes: 0,
        missing: 0,
        unreadable: unreadable + walked.unreadable,
        packs_unreadable: tables.unreadable,
        rest: Sorter::new(io, folder, memory, Order::All)?,
    };
    let mut of_bases: Sorter<NEED_BYTES> = Sorter::new(io, folder, memory, unique)?;
    let mut base_rows: Sorter<ROW_BYTES> = Sorter::new(io, folder, memory, Order::All)?;
    let enough = usize::try_from(more_than).unwrap_or(usize::MAX).saturating_add(1);
    let (mut needs, mut rows) = (Ahead::new(needs)?, Ahead::new(tables.rows)?);
    let (mut edges, mut bases) = (Ahead::new(tables.edges)?, Ahead::new(tables.bases)?);
    let mut files: Vec<[u8; FILE_BYTES]> = Vec::new();
    let mut n = 0u64;
    while let Some(id) = needs.id().into_iter().chain(rows.id()).min() {
        n += 1;
        if n.is_multiple_of(ROWS as u64) {
            control.proceed()?;
        }
        files.clear();
        while let Some(need) = needs.take(&id)? {
            if files.len() < enough {
                files.push(part(&need, ID_BYTES));
            }
        }
        while let Some(edge) = edges.take(&id)? {
            files.iter().try_for_each(|file| of_bases.push(&joined(&edge[ID_BYTES..], file)))?;
        }
        let (row, is_base) = (rows.take(&id)?, bases.take(&id)?.is_some());
        match row {
            Some(row) if files.len() >= enough => found.add(&row)?,
            Some(row) if is_base => {
                files.iter().try_for_each(|file| of_bases.push(&joined(&id, file)))?;
                base_rows.push(&row)?;
            }
            Some(_) => {}
            None => found.missing += u64::from(files.len() >= enough),
        }
    }
    drop((needs, rows, edges, bases));
    let (mut of_bases, mut base_rows) = (Ahead::new(of_bases)?, Ahead::new(base_rows)?);
    while let Some(id) = base_rows.id() {
        let mut files = 0usize;
        while of_bases.take(&id)?.is_some() {
            files += 1;
        }
        while let Some(row) = base_rows.take(&id)? {
            if files >= enough {
                found.add(&row)?;
            }
        }
    }
    Ok(found)
}
