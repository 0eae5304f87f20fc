//! What is reached, held against what the packs' tables say.
//!
//! ```text
//!  reached (walk)    id, colour, splitter      -+
//!  rows    (tables)  id, place, codec, bytes   -+-> by id: counted, or, of a base, deferred ->+
//!  edges   (tables)  id, place, base           -+-> the base is reached in the colour, too ->+-> by id: counted
//!  bases   (tables)  id                        -+
//! ```
//! All are sorted outside of memory. A chunk that is needed only since others are coded against it is told apart: it is
//! stored, but no file has its bytes. Of several copies of a chunk the newest counts, as in the index.

use super::colour::{NO_SPLITTER, REACHED_RECORD_BYTES, Reached, SEVERAL};
use crate::error::Result;
use crate::format::ChunkId;
use crate::format::record::Codec;
use crate::index::{Ahead, Order, Sorter};
use crate::ops::share::facts::Fact;
use crate::ops::share::tables::{self, Passed};
use crate::ops::stats::Fanout;
use crate::ops::{Control, Notice};
use crate::store::Store;
use std::collections::BTreeMap;

/// `id:32 serial:u32 offset:u32 codec:u16 version:u8 plain:u32 stored:u32 record:u32`, numbers big-endian.
const ROW_BYTES: usize = 55;
/// `id:32 serial:u32 offset:u32 base:32`
const EDGE_BYTES: usize = 72;
/// `id:32`, once for each chunk coded against it.
const BASE_BYTES: usize = 32;
/// A [`Reached`], one byte that says which of its parts count, and a row's facts.
const DEFERRED_BYTES: usize = REACHED_RECORD_BYTES + 1 + FACT_BYTES;
const FACT_BYTES: usize = ROW_BYTES - 32;
/// Parts of a deferred record that count: it is reached by a file or folder; it has facts; by what is coded against it.
const DIRECT: u8 = 1;
const FACTS: u8 = 2;
const AS_BASE: u8 = 4;

/// What a row says that counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Facts {
    place: [u8; 8],
    codec: Codec,
    plain_bytes: u32,
    stored_bytes: u32,
    /// The record's and the row's.
    record_bytes: u32,
}

impl Facts {
    fn of(fact: &Fact) -> Facts {
        let mut place = [0; 8];
        place[..4].copy_from_slice(&fact.pack.to_be_bytes());
        place[4..].copy_from_slice(&fact.offset.to_be_bytes());
        Facts {
            place,
            codec: fact.codec,
            plain_bytes: fact.plain_bytes,
            stored_bytes: fact.stored_bytes,
            record_bytes: u32::try_from(fact.record_bytes).unwrap_or(u32::MAX), // bounded by RECORD_BYTES
        }
    }

    fn encode(&self) -> [u8; FACT_BYTES] {
        let mut out = [0; FACT_BYTES];
        out[..8].copy_from_slice(&self.place);
        out[8..10].copy_from_slice(&self.codec.number.to_be_bytes());
        out[10] = self.codec.version;
        out[11..15].copy_from_slice(&self.plain_bytes.to_be_bytes());
        out[15..19].copy_from_slice(&self.stored_bytes.to_be_bytes());
        out[19..].copy_from_slice(&self.record_bytes.to_be_bytes());
        out
    }

    fn decode(bytes: &[u8; FACT_BYTES]) -> Facts {
        let number = |at: usize| {
            let mut b = [0; 4];
            b.copy_from_slice(&bytes[at..at + 4]); // 11, 15 or 19 of 23
            u32::from_be_bytes(b)
        };
        let mut place = [0; 8];
        place.copy_from_slice(&bytes[..8]);
        Facts {
            place,
            codec: Codec { number: u16::from_be_bytes([bytes[8], bytes[9]]), version: bytes[10] },
            plain_bytes: number(11),
            stored_bytes: number(15),
            record_bytes: number(19),
        }
    }
}

fn id_of(record: &[u8]) -> ChunkId {
    let mut id = [0; 32];
    id.copy_from_slice(&record[..32]); // every record begins with one
    ChunkId(id)
}

/// The rest of a record behind its id.
fn behind_id<const N: usize, const M: usize>(record: &[u8; N]) -> [u8; M] {
    let mut out = [0; M];
    out.copy_from_slice(&record[32..32 + M]); // callers name the lengths
    out
}

/// Chunks of one codec.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sums {
    pub chunks: u64,
    pub plain_bytes: u64,
    pub stored_bytes: u64,
}

impl Sums {
    fn add(&mut self, facts: &Facts) {
        self.chunks += 1;
        self.plain_bytes += u64::from(facts.plain_bytes);
        self.stored_bytes += u64::from(facts.stored_bytes);
    }
}

/// Sums over live chunks.
#[derive(Debug, Default)]
pub(super) struct Chunks {
    pub count: u64,
    pub missing: u64,
    /// Of chunks that files have.
    pub plain: u64,
    /// Of those, and of bases.
    pub payload: u64,
    /// Payloads of chunks that are kept only as bases.
    pub base_only: u64,
    pub metadata_bytes: u64,
    /// Records and rows of copies of needed chunks beside the newest.
    pub superseded: u64,
    /// By colour.
    pub exclusive: Vec<u64>,
    /// Chunks that files have.
    pub by_codec: BTreeMap<Codec, Sums>,
    /// The same, bases included, by the splitter of the file that had it first.
    pub by_splitter: BTreeMap<u16, Sums>,
    pub fanout: Fanout,
}

impl Chunks {
    fn add(&mut self, reached: &Reached, direct: bool, facts: &Facts) {
        self.count += 1;
        if reached.of_file {
            self.payload += u64::from(facts.stored_bytes);
            let of_splitter = self.by_splitter.entry(reached.splitter).or_default();
            if direct {
                self.plain += u64::from(facts.plain_bytes);
                self.by_codec.entry(facts.codec).or_default().add(facts);
                of_splitter.add(facts);
            } else {
                self.base_only += u64::from(facts.stored_bytes);
                of_splitter.stored_bytes += u64::from(facts.stored_bytes);
            }
        } else {
            self.metadata_bytes += u64::from(facts.record_bytes);
        }
        if let Some(bytes) = self.exclusive.get_mut(reached.colour as usize) {
            *bytes += u64::from(facts.record_bytes); // the colour of several snapshots is none of theirs
        }
    }
}

/// What the packs' tables say, to be sorted.
pub(super) struct Tables {
    rows: Sorter<ROW_BYTES>,
    edges: Sorter<EDGE_BYTES>,
    bases: Sorter<BASE_BYTES>,
    deferred: Sorter<DEFERRED_BYTES>,
    deltas: u64,
    pub passed: Passed,
}

impl Tables {
    /// Reads the tables of all packs.
    ///
    /// # Errors
    /// [`crate::Error::Interrupted`], [`crate::Error::Io`] of the sort.
    pub fn read(store: &Store, control: &Control, memory: usize) -> Result<Tables> {
        let (io, folder) = (store.io(), store.path());
        let mut t = Tables {
            rows: Sorter::new(io, folder, memory, Order::All)?,
            edges: Sorter::new(io, folder, memory, Order::All)?,
            bases: Sorter::new(io, folder, memory, Order::All)?,
            deferred: Sorter::new(io, folder, memory, Order::All)?,
            deltas: 0,
            passed: Passed::default(),
        };
        let passed = tables::each(store, control, |_| true, &|_| true, &mut |pack, rows| {
            for row in rows {
                let fact = Fact::of(&row.header, pack.serial, pack.disk, row.offset);
                let facts = Facts::of(&fact);
                let mut record = [0; ROW_BYTES];
                record[..32].copy_from_slice(&row.header.id.0);
                record[32..].copy_from_slice(&facts.encode());
                t.rows.push(&record)?;
                t.deltas += u64::from(!fact.bases.is_empty());
                for base in &fact.bases {
                    let mut edge = [0; EDGE_BYTES];
                    edge[..32].copy_from_slice(&row.header.id.0);
                    edge[32..40].copy_from_slice(&facts.place);
                    edge[40..].copy_from_slice(&base.0);
                    t.edges.push(&edge)?;
                    t.bases.push(&base.0)?;
                }
            }
            Ok(())
        })?;
        t.passed = passed;
        Ok(t)
    }

    /// Counts. `snapshots` is how many colours there are.
    ///
    /// # Errors
    /// As [`Tables::read`].
    pub fn count(self, control: &Control, reached: Sorter<REACHED_RECORD_BYTES>, snapshots: usize) -> Result<Chunks> {
        control.progress.set_phase("sorting chunks");
        let mut sums = Chunks { exclusive: vec![0; snapshots], ..Default::default() };
        sums.fanout.coded = self.deltas;
        let mut deferred = self.deferred;
        let mut reached = Ahead::new(reached)?;
        let (mut rows, mut edges) = (Ahead::new(self.rows)?, Ahead::new(self.edges)?);
        let mut bases = Bases { ahead: Ahead::new(self.bases)?, sums: Fanout { coded: self.deltas, ..sums.fanout } };
        let mut n = 0u64;
        while let Some(id) = reached.id().map(ChunkId).into_iter().chain(rows.id().map(ChunkId)).min() {
            n += 1;
            if n.is_multiple_of(4096) {
                control.proceed()?;
            }
            let way = group(&mut reached, &id)?;
            let (mut facts, mut older) = (None::<Facts>, 0u64);
            while let Some(row) = rows.take(&id.0)? {
                let newer = Facts::decode(&behind_id(&row)); // the last: the newest pack's
                older += facts.replace(newer).map_or(0, |f| u64::from(f.record_bytes));
            }
            let is_base = bases.is_one(&id)?;
            if way.is_some() || is_base {
                sums.superseded += older;
            }
            let Some(facts) = facts else {
                sums.missing += u64::from(way.is_some());
                continue;
            };
            if let Some(way) = &way {
                while let Some(edge) = edges.take(&id.0)? {
                    if edge[32..40] == facts.place {
                        let base = Reached { id: id_of(&edge[40..]), ..*way };
                        deferred.push(&defer(&base, AS_BASE, None))?;
                    }
                }
            }
            match (way, is_base) {
                (Some(way), false) => sums.add(&way, true, &facts),
                (Some(way), true) => deferred.push(&defer(&way, DIRECT | FACTS, Some(&facts)))?,
                (None, true) => {
                    let nobody = Reached { id, colour: SEVERAL, splitter: NO_SPLITTER, of_file: false };
                    deferred.push(&defer(&nobody, FACTS, Some(&facts)))?;
                }
                (None, false) => {}
            }
        }
        sums.fanout = bases.finish()?;
        drop((reached, rows, edges));
        let lost = settle(deferred, &mut sums)?;
        if lost > 0 {
            control.notice(Notice::Note(format!(
                "{lost} chunks that others are coded against cannot be had; `onefold check` names the files"
            )));
        }
        Ok(sums)
    }
}

/// Joins all ways to a chunk.
fn group(reached: &mut Ahead<REACHED_RECORD_BYTES>, id: &ChunkId) -> Result<Option<Reached>> {
    let mut way: Option<Reached> = None;
    while let Some(record) = reached.take(&id.0)? {
        let next = Reached::decode(&record);
        match &mut way {
            Some(way) => way.join(&next),
            None => way = Some(next),
        }
    }
    Ok(way)
}

/// The chunks that others are coded against, in order of id, and how many each has.
struct Bases {
    ahead: Ahead<BASE_BYTES>,
    sums: Fanout,
}

impl Bases {
    /// Whether it is one. Ids are asked for in order.
    fn is_one(&mut self, id: &ChunkId) -> Result<bool> {
        while let Some(next) = self.ahead.id().map(ChunkId).filter(|next| next <= id) {
            self.count(&next)?;
            if next == *id {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn count(&mut self, id: &ChunkId) -> Result<()> {
        let mut n = 0;
        while self.ahead.take(&id.0)?.is_some() {
            n += 1;
        }
        self.sums.bases += 1;
        if n > self.sums.most {
            (self.sums.most, self.sums.most_on) = (n, Some(*id));
        }
        Ok(())
    }

    fn finish(mut self) -> Result<Fanout> {
        while let Some(next) = self.ahead.id().map(ChunkId) {
            self.count(&next)?;
        }
        Ok(self.sums)
    }
}

fn defer(reached: &Reached, parts: u8, facts: Option<&Facts>) -> [u8; DEFERRED_BYTES] {
    let mut out = [0; DEFERRED_BYTES];
    out[..REACHED_RECORD_BYTES].copy_from_slice(&reached.encode());
    out[REACHED_RECORD_BYTES] = parts;
    if let Some(facts) = facts {
        out[REACHED_RECORD_BYTES + 1..].copy_from_slice(&facts.encode());
    }
    out
}

/// Counts the bases, and returns how many are needed and not there.
fn settle(deferred: Sorter<DEFERRED_BYTES>, sums: &mut Chunks) -> Result<u64> {
    let mut deferred = Ahead::new(deferred)?;
    let mut lost = 0;
    while let Some(id) = deferred.id().map(ChunkId) {
        let (mut way, mut facts, mut direct): (Option<Reached>, Option<Facts>, bool) = (None, None, false);
        while let Some(record) = deferred.take(&id.0)? {
            let parts = record[REACHED_RECORD_BYTES];
            if parts & FACTS != 0 {
                let mut bytes = [0; FACT_BYTES];
                bytes.copy_from_slice(&record[REACHED_RECORD_BYTES + 1..]); // DEFERRED_BYTES adds up
                facts = Some(Facts::decode(&bytes));
            }
            if parts & (DIRECT | AS_BASE) == 0 {
                continue;
            }
            direct |= parts & DIRECT != 0;
            let mut bytes = [0; REACHED_RECORD_BYTES];
            bytes.copy_from_slice(&record[..REACHED_RECORD_BYTES]); // as above
            let next = Reached::decode(&bytes);
            match &mut way {
                Some(way) => way.join(&next),
                None => way = Some(next),
            }
        }
        match (way, facts) {
            (Some(way), Some(facts)) => sums.add(&way, direct, &facts),
            (Some(_), None) => lost += 1,
            (None, _) => {}
        }
    }
    Ok(lost)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn facts_come_back(place: [u8; 8], number: u16, version: u8, sizes: [u32; 3]) {
            let (codec, [plain_bytes, stored_bytes, record_bytes]) = (Codec { number, version }, sizes);
            let facts = Facts { place, codec, plain_bytes, stored_bytes, record_bytes };
            prop_assert_eq!(Facts::decode(&facts.encode()), facts);
        }
    }
}
