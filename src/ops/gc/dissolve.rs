//! Bases that only deltas hold: where it takes less to store those plain, they are, and the base goes.
//!
//! A full mark finds the bases that no snapshot reaches by itself, with the few records that hang on each. The plan codes
//! those plain and compares the lengths; the run writes them. A plain copy stays before a coded one, so the next gc finds
//! the delta and the base dead. The counts are told at once: the chunk is no link to its bases any more.
//!
//! # Invariants
//!
//! 1. A delta is replaced by a record without bases, read and proven through the base and proven again by decoding.
//! 2. From the writer's beginning to the moment after the links were taken away the counts stand for an entry before a
//!    compact that told nothing: a crash makes the next gc a full mark.
//! 3. Work and memory of a plan are bounded; what is left is for the next full mark.

use super::counts::{self, Count, State};
use super::keep::{ROW_BYTES_ABOUT, row_bytes};
use super::{Limits, Superseded};
use crate::chunk::Payload;
use crate::chunk::{Form, Scanner, Sketcher, Squeezer, Unsqueezer};
use crate::error::Result;
use crate::format::record::Codec;
use crate::format::{ChunkId, ChunkKind};
use crate::ops::Control;
use crate::ops::ingest::Ingest;
use crate::ops::share::is_of_one_place;
use crate::pack::write::NewRecord;
use crate::store::{Located, Store};
use std::collections::{BTreeMap, BTreeSet};

/// A base on which more hang is left: together they spare more than it takes.
pub(super) const DELTAS: usize = 4;
/// Bases that a mark hands to the plan, at most: those that may spare most.
const BASES: usize = 4096;
/// Plain bytes that a plan codes to compare.
const TRIED_BYTES: u64 = 256 << 20;
/// What is written must spare this part of itself at least: like the waste that gc leaves.
const WORTH_PART: u64 = 16;

/// A base that only deltas hold.
pub(super) struct Base {
    /// Its record's and row's bytes.
    pub bytes: u64,
    /// What hangs on it, with the bytes of each record and row.
    pub deltas: Vec<(ChunkId, u32)>,
}

impl Base {
    /// What base and deltas take.
    fn coded_bytes(&self) -> u64 {
        self.bytes + self.deltas.iter().map(|(_, b)| u64::from(*b)).sum::<u64>()
    }

    /// What may be spared, if a chunk takes about as much as what it resembles.
    fn may_spare(&self) -> u64 {
        self.coded_bytes().saturating_sub(self.deltas.len() as u64 * self.bytes / 10 * 9)
    }
}

/// The bases that may spare most.
#[derive(Default)]
pub(super) struct Bases(Vec<Base>);

impl Bases {
    pub fn push(&mut self, base: Base) {
        if base.may_spare() == 0 {
            return;
        }
        self.0.push(base);
        if self.0.len() >= 2 * BASES {
            self.cut();
        }
    }

    fn cut(&mut self) {
        self.0.sort_by_key(|b| std::cmp::Reverse(b.may_spare()));
        self.0.truncate(BASES);
    }
}

/// What a plan dissolves.
#[derive(Default)]
pub struct Dissolving {
    /// Bases that go.
    pub bases: u64,
    /// Bytes that are written, and that the next gc frees for them.
    pub written_bytes: u64,
    pub freed_bytes: u64,
    /// What hangs on each of them.
    chunks: Vec<Vec<ChunkId>>,
}

impl Dissolving {
    pub fn is_empty(&self) -> bool {
        self.chunks.is_empty()
    }
}

struct Coder<'s> {
    store: &'s Store,
    squeezer: Squeezer,
    sketcher: Sketcher,
    scanner: Scanner<'s>,
    plain_bytes: u64,
}

impl<'s> Coder<'s> {
    fn new(store: &'s Store) -> Self {
        let (sketcher, scanner) = (Sketcher::new(store.keys()), Scanner::new(store.cutter()));
        Coder { store, squeezer: Squeezer::default(), sketcher, scanner, plain_bytes: 0 }
    }

    /// A chunk's record without bases, proven by decoding; `None` where the chunk cannot be had.
    fn plain(&mut self, id: &ChunkId, at: &Located) -> Result<Option<NewRecord>> {
        let mut unsqueezer = Unsqueezer::default();
        let plain = match self.store.read_at(ChunkKind::Data, id, at, &mut unsqueezer) {
            Ok(plain) => plain,
            Err(e) if is_of_one_place(&e) => return Ok(None),
            Err(e) => return Err(e),
        };
        self.plain_bytes += plain.len() as u64;
        let form = self.store.pcm_form(at).map_or(Form::Bytes, Form::Pcm);
        let (codec, parameters, payload) = match self.squeezer.squeeze(&plain, form) {
            Payload::Raw => (Codec::RAW, Vec::new(), plain.clone()),
            Payload::Coded { codec, parameters, bytes } => (codec, parameters, bytes),
        };
        if codec != Codec::RAW {
            let mut back = Vec::new();
            let length = plain.len() as u32; // a chunk is at most CHUNK_BYTES long
            let opened = unsqueezer.open(codec, &parameters, &payload, length, &[], &mut back);
            if opened.is_err() || back != plain {
                return Ok(None); // it is stored already, so a codec that does not come back is not used
            }
        }
        let sketch = self.sketcher.sketch(&plain, &self.scanner.samples(&plain));
        Ok(Some(NewRecord {
            kind: ChunkKind::Data,
            id: *id,
            codec,
            parameters,
            bases: Vec::new(),
            plain_bytes: plain.len() as u32, // as above
            features: sketch.features.into_iter().collect(),
            payload: payload.into(),
        }))
    }
}

fn taken(record: &NewRecord) -> u64 {
    record.record_bytes() + ROW_BYTES_ABOUT
}

/// Codes what hangs on these bases plain, and chooses those where that takes less.
///
/// # Errors
/// [`crate::Error::Interrupted`], [`crate::Error::Index`].
pub(super) fn plan(store: &Store, control: &Control, mut bases: Bases) -> Result<Dissolving> {
    let mut out = Dissolving::default();
    bases.cut();
    if bases.0.is_empty() {
        return Ok(out);
    }
    control.progress.set_phase("weighing bases");
    let (mut coder, mut chosen) = (Coder::new(store), BTreeSet::new());
    for base in &bases.0 {
        control.proceed()?;
        if coder.plain_bytes >= TRIED_BYTES {
            break;
        }
        // One that another base's end makes plain already.
        if base.deltas.iter().any(|(id, _)| chosen.contains(id)) {
            continue;
        }
        let ids: Vec<ChunkId> = base.deltas.iter().map(|(id, _)| *id).collect();
        let mut plain = 0;
        let mut whole = true;
        for (id, at) in ids.iter().zip(store.locate(&ids)?) {
            let record = match at {
                Some(at) => coder.plain(id, &at)?,
                None => None,
            };
            match record {
                Some(record) => plain += taken(&record),
                None => whole = false,
            }
        }
        if whole && plain + plain / WORTH_PART < base.coded_bytes() {
            out.bases += 1;
            out.written_bytes += plain;
            out.freed_bytes += base.coded_bytes();
            chosen.extend(ids.iter().copied());
            out.chunks.push(ids);
        }
    }
    Ok(out)
}

/// What a run sent.
#[derive(Default)]
pub(super) struct Anew {
    pub chunks: Vec<ChunkId>,
    /// What they take the place of.
    pub superseded: Superseded,
    /// A limit ended it before the plan's end, between two bases: half a base frees nothing.
    pub stopped: bool,
}

/// Writes the chunks of a plan plain.
///
/// # Errors
/// [`crate::Error::Interrupted`], and whatever ends an ingest.
pub(super) fn run(ingest: &Ingest<'_>, plan: &Dissolving, limits: &Limits, moved_bytes: &mut u64) -> Result<Anew> {
    let store = ingest.store();
    let mut coder = Coder::new(store);
    let mut out = Anew::default();
    let mut sent = 0u64;
    let of_bases = plan.chunks.iter().flat_map(|base| base.iter().enumerate());
    for (n, id) in of_bases {
        ingest.proceed()?;
        if n == 0 && limits.are_reached(store, *moved_bytes) {
            out.stopped = true;
            break;
        }
        let Some(at) = store.locate(std::slice::from_ref(id))?.pop().flatten() else { continue };
        let footer = match store.ends(&at.sealed) {
            Ok(ends) => ends.footer,
            Err(e) if is_of_one_place(&e) => continue,
            Err(e) => return Err(e),
        };
        let row = footer.rows.iter().find(|row| row.offset == at.place.offset && row.header.id == *id);
        let Some(row) = row.filter(|row| !row.header.bases.is_empty()) else { continue };
        let Some(record) = coder.plain(id, &at)? else { continue };
        let of_pack = out.superseded.entry(at.place.pack).or_default();
        *of_pack = (of_pack.0 + 1, of_pack.1 + u64::from(row_bytes(row)));
        out.chunks.push(*id);
        let bytes = record.record_bytes();
        ingest.pace(bytes)?;
        (sent, *moved_bytes) = (sent + bytes, *moved_bytes + bytes);
        ingest.send(ingest.lane_for(at.sealed.kind, sent / store.superblock().pack_bytes.max(1)), vec![record])?;
    }
    Ok(out)
}

/// Takes the links of chunks that are plain now from their bases, and tells the tallies. The counts stand for nothing
/// meanwhile; the caller saves the state.
///
/// # Errors
/// [`crate::Error::Index`].
pub(super) fn relink(store: &Store, state: &mut State, anew: &[ChunkId], superseded: &Superseded) -> Result<()> {
    let mut writer = counts::Writer::begin(store, false)?;
    let mut gone: BTreeMap<ChunkId, u32> = BTreeMap::new();
    for (id, value) in anew.iter().zip(store.index().counts(anew)?) {
        let Some(mut count) = value.and_then(|v| Count::decode(&v)) else { continue };
        for base in std::mem::take(&mut count.bases) {
            *gone.entry(base).or_default() += 1;
        }
        writer.put(*id, &count)?;
    }
    let ids: Vec<ChunkId> = gone.keys().copied().collect();
    let mut dead = Vec::new();
    for ((id, links), value) in gone.iter().zip(store.index().counts(&ids)?) {
        let Some(mut count) = value.and_then(|v| Count::decode(&v)) else { continue };
        count.links = count.links.saturating_sub(*links);
        if count.links == 0 {
            dead.push(*id);
        }
        writer.put(*id, &count)?;
    }
    writer.end()?;
    let mut lower = |serial: u32, records: u32, bytes: u64| {
        if let Some(tally) = state.tallies.get_mut(&serial) {
            tally.records = tally.records.saturating_sub(records);
            tally.kept_bytes = tally.kept_bytes.saturating_sub(bytes);
        }
    };
    superseded.iter().for_each(|(serial, (records, bytes))| lower(*serial, *records, *bytes));
    for at in store.locate(&dead)?.into_iter().flatten() {
        lower(at.place.pack, 1, u64::from(at.place.stored) + ROW_BYTES_ABOUT);
    }
    Ok(())
}
