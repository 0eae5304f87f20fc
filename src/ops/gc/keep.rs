//! Which copy of each reached chunk stays: what is reached, held against the tables of all packs.
//!
//! ```text
//!  reached (mark)    id                     -+
//!  rows    (tables)  id, rank, place        -+-> by id: the first row stays; its bases are needed ->+
//!  edges   (tables)  id, row, base          -+                                                      +-> by id: as before
//!  bases   (tables)  id                     -+-> rows of chunks that others are coded against ----->+
//! ```
//! All are sorted outside memory. A row's *rank* orders the copies of a chunk: proven and without bases; proven; on known
//! damage. Among equals the newest pack comes first, as in the index.
//!
//! # Invariants
//!
//! 1. Of a reached chunk with a proven copy exactly one proven copy stays; only where all of them are coded, and against
//!    other bases, does one of each kind stay, for nobody knows here which of them can be read.
//! 2. Of a reached chunk without one, every row stays, and its pack is stuck.
//! 3. What a kept row names as base is reached.

use super::counts::{Count, Tally};
use super::dissolve::{Base, Bases, DELTAS};
use super::mark::Reached;
use crate::error::Result;
use crate::format::ChunkId;
use crate::format::footer::Row;
use crate::format::record::HEADER_BYTES_MIN;
use crate::index::{Ahead, Order, Sorter};
use crate::ops::Control;
use crate::ops::share::tables;
use crate::store::Store;
use std::collections::{BTreeMap, BTreeSet};

/// `id:32 rank:u8 newness:u32 row:u32 bytes:u32`, numbers big-endian; newness is the complement of the serial.
const ROW_BYTES: usize = 45;
/// `id:32 newness:u32 row:u32 base:32`
const EDGE_BYTES: usize = 72;
/// `newness:u32 row:u32 id:32`: a chunk with several copies, by the pack of the one that stays.
const SHOWN_BYTES: usize = 40;
/// `base:32 id:32 bytes:u32`: a kept record that hangs on a base; more bytes than a record has where several are kept.
const HANG_BYTES: usize = 68;
const ID_BYTES: usize = ChunkId::BYTES;
/// What a row takes in its pack beside its record, at least: its offset in the table; the header is repeated.
const ROW_OFFSET_BYTES: u64 = 4;

/// What a row without bases and parameters takes.
pub(in crate::ops) const ROW_BYTES_ABOUT: u64 = ROW_OFFSET_BYTES + HEADER_BYTES_MIN as u64;

/// What a record and its row in the table take.
pub(in crate::ops) fn row_bytes(row: &Row) -> u32 {
    let bytes = row.header.record_bytes() + ROW_OFFSET_BYTES + row.header.header_bytes() as u64;
    u32::try_from(bytes).unwrap_or(u32::MAX) // bounded by RECORD_BYTES
}

const PLAIN: u8 = 0;
const CODED: u8 = 1;
const DAMAGED: u8 = 2;
/// No row: behind the rows of a base that was counted as reached by a snapshot.
const COUNTED: u8 = 3;

/// What of one pack stays.
#[derive(Debug, Default)]
pub(super) struct Kept {
    /// A bit a row.
    rows: Vec<u64>,
    pub records: u32,
    pub kept_records: u32,
    /// Records and their rows in the table, of all rows and of those that stay.
    pub bytes: u64,
    pub kept_bytes: u64,
    /// It holds a copy that cannot be proven and that there is no better one of.
    pub stuck: bool,
}

impl Kept {
    /// The numbers of a tally; which rows stay is not known.
    pub fn of_tally(records: u32, tally: &Tally) -> Kept {
        Kept {
            records,
            kept_records: tally.records.min(records),
            bytes: tally.bytes,
            kept_bytes: tally.kept_bytes.min(tally.bytes),
            ..Default::default()
        }
    }

    pub fn tally(&self) -> Tally {
        Tally { records: self.kept_records, kept_bytes: self.kept_bytes, bytes: self.bytes }
    }

    pub fn new(records: u32) -> Kept {
        Kept { rows: vec![0; (records as usize).div_ceil(64)], records, ..Default::default() }
    }

    /// Whether a row stays.
    pub fn keeps(&self, row: usize) -> bool {
        self.rows.get(row / 64).is_some_and(|word| word >> (row % 64) & 1 == 1)
    }

    pub fn keep(&mut self, row: u32, bytes: u32) {
        let (word, bit) = (row as usize / 64, 1 << (row % 64));
        let Some(word) = self.rows.get_mut(word) else { return }; // rows are those of the table that it was made for
        if *word & bit == 0 {
            *word |= bit;
            self.kept_records += 1;
            self.kept_bytes += u64::from(bytes);
        }
    }
}

/// What stays, by pack.
pub(super) struct Census {
    /// By serial; packs without a readable table are not here.
    pub packs: BTreeMap<u32, Kept>,
    /// Reached chunks.
    pub reached: u64,
    /// Reached chunks without a proven copy here.
    pub missing: u64,
    /// Chunks of which a copy does not stay: the index may have that one.
    pub shown: Option<Sorter<SHOWN_BYTES>>,
    /// Bases that nothing but a few records needs.
    pub bases: Bases,
    /// All was looked at: a pack that is not here has no readable table.
    pub whole: bool,
    /// Packs whose tables cannot be had: what their records are coded against is not known.
    pub unreadable: u64,
}

/// One copy.
#[derive(Clone, Copy)]
struct Copy {
    rank: u8,
    newness: [u8; 4],
    row: u32,
    bytes: u32,
}

impl Copy {
    fn decode(record: &[u8; ROW_BYTES]) -> Copy {
        let number = |at: usize| {
            let mut b = [0; 4];
            b.copy_from_slice(&record[at..at + 4]); // 33, 37 or 41 of 45
            b
        };
        let (row, bytes) = (u32::from_be_bytes(number(37)), u32::from_be_bytes(number(41)));
        Copy { rank: record[32], newness: number(33), row, bytes }
    }

    /// Newness and row: which copy it is.
    fn place(&self) -> [u8; 8] {
        let mut place = [0; 8];
        place[..4].copy_from_slice(&self.newness);
        place[4..].copy_from_slice(&self.row.to_be_bytes());
        place
    }

    fn serial(&self) -> u32 {
        !u32::from_be_bytes(self.newness)
    }
}

fn id_of(record: &[u8]) -> [u8; ID_BYTES] {
    let mut id = [0; ID_BYTES];
    id.copy_from_slice(&record[..ID_BYTES]); // every record begins with one, or is handed in from there on
    id
}

/// What the packs' tables say, to be sorted.
pub(super) struct Tables {
    rows: Sorter<ROW_BYTES>,
    edges: Sorter<EDGE_BYTES>,
    bases: Sorter<ID_BYTES>,
    base_rows: Sorter<ROW_BYTES>,
    needed: Sorter<ID_BYTES>,
    hangs: Sorter<HANG_BYTES>,
    shown: Sorter<SHOWN_BYTES>,
    founding: Founding,
    packs: BTreeMap<u32, Kept>,
    unreadable: u64,
}

impl Tables {
    /// Reads the tables of all packs; nine sorters take `memory` bytes each.
    ///
    /// # Errors
    /// [`crate::Error::Interrupted`], [`crate::Error::Io`] of the sort.
    pub fn read(store: &Store, control: &Control, memory: usize) -> Result<Tables> {
        let (io, folder) = (store.io(), store.path());
        let unique = Order::LastOf { key_bytes: ID_BYTES };
        let mut t = Tables {
            rows: Sorter::new(io, folder, memory, Order::All)?,
            edges: Sorter::new(io, folder, memory, Order::All)?,
            bases: Sorter::new(io, folder, memory, unique)?,
            base_rows: Sorter::new(io, folder, memory, Order::All)?,
            needed: Sorter::new(io, folder, memory, Order::All)?,
            hangs: Sorter::new(io, folder, memory, Order::All)?,
            shown: Sorter::new(io, folder, memory, Order::All)?,
            founding: Founding {
                links: Sorter::new(io, folder, memory, Order::All)?,
                bases: Sorter::new(io, folder, memory, Order::All)?,
            },
            packs: BTreeMap::new(),
            unreadable: 0,
        };
        let passed = tables::each_whole(store, control, &mut |pack, rows| {
            let damaged: Vec<bool> = store.with_state(|s| {
                let known = s.damage.contains_key(&pack.pack);
                let on = |r: &Row| known && s.is_damaged(&pack.pack, u64::from(r.offset), r.header.record_bytes());
                rows.iter().map(on).collect()
            });
            let newness = (!pack.serial).to_be_bytes();
            let mut kept = Kept::new(rows.len() as u32); // at most PACK_RECORDS
            for ((n, row), damaged) in (0u32..).zip(&rows).zip(damaged) {
                let header = &row.header;
                let bytes = row_bytes(row);
                kept.bytes += u64::from(bytes);
                let rank = match (damaged, header.bases.is_empty()) {
                    (true, _) => DAMAGED,
                    (false, true) => PLAIN,
                    (false, false) => CODED,
                };
                let mut record = [0; ROW_BYTES];
                record[..32].copy_from_slice(&header.id.0);
                record[32] = rank;
                record[33..37].copy_from_slice(&newness);
                record[37..41].copy_from_slice(&n.to_be_bytes());
                record[41..].copy_from_slice(&bytes.to_be_bytes());
                t.rows.push(&record)?;
                for base in &header.bases {
                    let mut edge = [0; EDGE_BYTES];
                    edge[..32].copy_from_slice(&header.id.0);
                    edge[32..36].copy_from_slice(&newness);
                    edge[36..40].copy_from_slice(&n.to_be_bytes());
                    edge[40..].copy_from_slice(&base.0);
                    t.edges.push(&edge)?;
                    t.bases.push(&base.0)?;
                }
            }
            t.packs.insert(pack.serial, kept);
            Ok(())
        })?;
        t.unreadable = passed.unreadable;
        Ok(t)
    }

    /// Chooses what stays; with `found` also sums up the links that lead to each chunk.
    ///
    /// # Errors
    /// As [`Tables::read`].
    pub fn choose(self, control: &Control, reached: Reached, found: bool) -> Result<(Census, Option<Founding>)> {
        control.progress.set_phase("sorting chunks");
        let Tables { rows, edges, bases, mut base_rows, mut needed, mut hangs, shown, packs, mut founding, unreadable } =
            self;
        let shown = Some(shown);
        let bases_held = Bases::default();
        let mut census = Census { packs, reached: 0, missing: 0, shown, bases: bases_held, whole: true, unreadable };
        let (mut reached, mut rows) = (Ahead::new(reached)?, Ahead::new(rows)?);
        let (mut edges, mut bases) = (Ahead::new(edges)?, Ahead::new(bases)?);
        let mut n = 0u64;
        while let Some(id) = reached.id().into_iter().chain(rows.id()).min() {
            n += 1;
            if n.is_multiple_of(4096) {
                control.proceed()?;
            }
            let mut links = 0u32;
            while reached.take(&id)?.is_some() {
                links = links.saturating_add(1);
            }
            let is_base = bases.take(&id)?.is_some();
            let mut copies = Vec::new(); // of one chunk: a few
            while let Some(row) = rows.take(&id)? {
                copies.push(Copy::decode(&row));
                if is_base {
                    base_rows.push(&row)?;
                }
            }
            if links == 0 {
                continue;
            }
            if is_base {
                let mut counted = [0; ROW_BYTES];
                counted[..ID_BYTES].copy_from_slice(&id);
                counted[ID_BYTES] = COUNTED;
                base_rows.push(&counted)?;
            }
            if found {
                founding.count(&id, links)?;
            }
            let mut coded = BTreeMap::new(); // by copy: its bases
            while let Some(edge) = edges.take(&id)? {
                let of: [u8; 8] = copied(&edge[32..40]);
                coded.entry(of).or_insert_with(BTreeSet::new).insert(id_of(&edge[40..]));
            }
            let bytes = match copies.as_slice() {
                [one, rest @ ..] if rest.first().is_none_or(|c| c.rank != one.rank) => one.bytes,
                _ => u32::MAX,
            };
            for base in census.keep(&id, &copies, &coded, true)? {
                needed.push(&base)?;
                let mut hang = [0; HANG_BYTES];
                hang[..32].copy_from_slice(&base);
                hang[32..64].copy_from_slice(&id);
                hang[64..].copy_from_slice(&bytes.to_be_bytes());
                hangs.push(&hang)?;
                if found {
                    founding.base(&id, &base)?;
                }
            }
        }
        drop((reached, rows, edges, bases));
        let (mut needed, mut base_rows, mut hangs) = (Ahead::new(needed)?, Ahead::new(base_rows)?, Ahead::new(hangs)?);
        while let Some(id) = needed.id() {
            let mut links = 0u32;
            while needed.take(&id)?.is_some() {
                links = links.saturating_add(1);
            }
            if found {
                founding.count(&id, links)?;
            }
            let mut copies = Vec::new();
            while let Some(row) = base_rows.take(&id)? {
                copies.push(Copy::decode(&row));
            }
            let counted = copies.pop_if(|c| c.rank == COUNTED).is_some();
            if let (false, Some(own)) = (counted, copies.first().filter(|c| c.rank == PLAIN)) {
                let mut deltas = Vec::new();
                while let Some(hang) = hangs.take(&id)? {
                    deltas.truncate(DELTAS); // one more than are looked at is enough to know
                    deltas.push((ChunkId(id_of(&hang[32..])), u32::from_be_bytes(copied(&hang[64..]))));
                }
                if deltas.len() <= DELTAS && deltas.iter().all(|(_, bytes)| *bytes < u32::MAX) {
                    census.bases.push(Base { bytes: u64::from(own.bytes), deltas });
                }
            }
            census.keep(&id, &copies, &BTreeMap::new(), !counted)?;
            // A base without a plain copy: whoever is coded against it cannot be read, unless it is elsewhere.
            census.missing += u64::from(copies.first().is_some_and(|c| c.rank == CODED));
        }
        Ok((census, found.then_some(founding)))
    }
}

impl Census {
    /// Marks the copies of a reached chunk that stay, and returns what they are coded against. `copies` are in the order of
    /// rank and newness; `coded` has the bases of each by its newness and row. A chunk
    /// that comes twice, as reached and as a base, is to `count` once.
    fn keep(
        &mut self,
        id: &[u8; ID_BYTES],
        copies: &[Copy],
        coded: &BTreeMap<[u8; 8], BTreeSet<[u8; ID_BYTES]>>,
        count: bool,
    ) -> Result<BTreeSet<[u8; ID_BYTES]>> {
        self.reached += u64::from(count);
        let of_best_rank = match copies.first().map(|c| c.rank) {
            Some(PLAIN) => &copies[..1], // there is a first
            Some(rank) => &copies[..copies.iter().take_while(|c| c.rank == rank).count()], // at most all
            None => copies,
        };
        let unproven = of_best_rank.first().is_none_or(|c| c.rank == DAMAGED);
        self.missing += u64::from(unproven && count);
        let (mut needed, mut seen) = (BTreeSet::new(), BTreeSet::new());
        let mut staying = 0;
        for copy in of_best_rank {
            let bases = coded.get(&copy.place()).cloned().unwrap_or_default();
            // Two copies with the same bases can be read alike: the newer one is enough. One on damage is not.
            if !unproven && !seen.insert(bases.clone()) {
                continue;
            }
            staying += 1;
            needed.extend(bases);
            if let Some(kept) = self.packs.get_mut(&copy.serial()) {
                kept.keep(copy.row, copy.bytes);
                kept.stuck |= unproven;
            }
        }
        if let (Some(first), Some(shown)) = (of_best_rank.first(), &mut self.shown)
            && copies.len() > staying
        {
            let mut record = [0; SHOWN_BYTES];
            record[..8].copy_from_slice(&first.place());
            record[8..].copy_from_slice(id);
            shown.push(&record)?;
        }
        Ok(needed)
    }
}

/// `id:32 links:u32`, big-endian.
const LINKS_BYTES: usize = 36;
/// `id:32 base:32`
const BASE_OF_BYTES: usize = 64;

/// The links that lead to each chunk, summed up by a full mark.
pub(super) struct Founding {
    links: Sorter<LINKS_BYTES>,
    bases: Sorter<BASE_OF_BYTES>,
}

impl Founding {
    fn count(&mut self, id: &[u8; ID_BYTES], links: u32) -> Result<()> {
        let mut record = [0; LINKS_BYTES];
        record[..32].copy_from_slice(id);
        record[32..].copy_from_slice(&links.to_be_bytes());
        self.links.push(&record)
    }

    fn base(&mut self, id: &[u8; ID_BYTES], base: &[u8; ID_BYTES]) -> Result<()> {
        let mut record = [0; BASE_OF_BYTES];
        record[..32].copy_from_slice(id);
        record[32..].copy_from_slice(base);
        self.bases.push(&record)
    }

    /// Hands out every chunk that something leads to, in order of id.
    ///
    /// # Errors
    /// [`crate::Error::Io`] of the sort; what `each` returns.
    pub fn each(self, each: &mut dyn FnMut(ChunkId, Count) -> Result<()>) -> Result<()> {
        let (mut links, mut bases) = (Ahead::new(self.links)?, Ahead::new(self.bases)?);
        while let Some(id) = links.id() {
            let mut count = Count::default();
            while let Some(record) = links.take(&id)? {
                count.links = count.links.saturating_add(u32::from_be_bytes(copied(&record[32..])));
            }
            while let Some(record) = bases.take(&id)? {
                count.bases.push(ChunkId(copied(&record[32..])));
            }
            each(ChunkId(id), count)?;
        }
        Ok(())
    }
}

/// The first bytes of a slice that is long enough by the layout of its record.
fn copied<const N: usize>(bytes: &[u8]) -> [u8; N] {
    let mut out = [0; N];
    out.copy_from_slice(&bytes[..N]); // callers name parts of fixed layouts
    out
}

/// The serial, the row and the id of a record of [`Census::shown`].
pub(super) fn decode_shown(record: &[u8; SHOWN_BYTES]) -> (u32, usize, ChunkId) {
    let number = |at: usize| {
        let mut b = [0; 4];
        b.copy_from_slice(&record[at..at + 4]); // 0 or 4 of 40
        u32::from_be_bytes(b)
    };
    (!number(0), number(4) as usize, ChunkId(id_of(&record[8..])))
}
