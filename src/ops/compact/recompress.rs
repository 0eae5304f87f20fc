//! Recompression: chunks that the fast tier coded are tried with the dense one, and kept where that is smaller.
//!
//! Only records without bases are tried, and what comes out has none: a base stays a base, and what is coded against it
//! reads the same plain bytes. A new record is decoded and compared before it is sent. Packs that were gone through are
//! listed ([`tried`](super::tried)), so that a chunk is tried once and not at every run.

use super::{CompactReport, tried};
use crate::chunk::{Coding, Form, Payload, Squeezer, Tier, Unsqueezer, pcm, raster};
use crate::error::Result;
use crate::format::event::SealedPack;
use crate::format::footer::Row;
use crate::format::record::Codec;
use crate::format::{ChunkId, ChunkKind};
use crate::io::threads;
use crate::ops::gc::keep::row_bytes;
use crate::ops::gc::{self, Limits, Superseded, moves};
use crate::ops::ingest::Ingest;
use crate::ops::share::{is_of_one_place, tables};
use crate::ops::{Control, Notice};
use crate::pack::write::NewRecord;
use crate::pool::PackStore;
use crate::store::{Located, Store};
use std::collections::{BTreeSet, BinaryHeap};

/// Plain bytes that are tried at once, by all threads together.
const BATCH_BYTES: u64 = 16 << 20;
/// Rows that are looked up at once.
const ROWS: usize = 4096;
/// A record must become smaller by this part: else writing it anew, and the rest of its pack with the next gc, costs more
/// than it spares.
const WORTH_PART: u64 = 32;
/// Chunks that a plan tries to tell what may come of it.
const SAMPLE: usize = 48;
/// What a thread needs: zstd's tables at a high level, a chunk and what comes of it.
const THREAD_MEMORY_BYTES: u64 = 64 << 20;

/// What would be tried.
pub struct RecompressPlan {
    pub packs: u64,
    pub chunks: u64,
    /// Their records' bytes, and those of the plain chunks.
    pub stored_bytes: u64,
    pub plain_bytes: u64,
    /// Packs of data that were tried before.
    pub packs_tried: u64,
    /// Packs whose tables cannot be had.
    pub unreadable: u64,
    /// Of a sample that was tried: records' bytes before and after, plain bytes, and how long one thread took.
    pub sample: Sample,
    serials: BTreeSet<u32>,
}

/// What was tried for the plan.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sample {
    pub chunks: u64,
    pub before_bytes: u64,
    pub after_bytes: u64,
    pub plain_bytes: u64,
    pub took_ns: u64,
}

impl RecompressPlan {
    /// Bytes that may be spared, by the sample.
    pub fn spares_bytes(&self) -> u64 {
        let spared = self.sample.before_bytes.saturating_sub(self.sample.after_bytes);
        scaled(spared, self.stored_bytes, self.sample.before_bytes)
    }

    /// How long it may take on so many threads, by the sample.
    pub fn takes_ns(&self, threads: u64) -> u64 {
        scaled(self.sample.took_ns, self.plain_bytes, self.sample.plain_bytes) / threads.max(1)
    }
}

fn scaled(n: u64, by: u64, of: u64) -> u64 {
    u64::try_from(u128::from(n) * u128::from(by) / u128::from(of.max(1))).unwrap_or(u64::MAX)
}

/// Threads that try chunks.
pub fn threads(store: &Store) -> usize {
    let by_memory = usize::try_from(store.memory_bytes() / 4 / THREAD_MEMORY_BYTES).unwrap_or(usize::MAX);
    threads::parallelism().min(by_memory).max(1)
}

fn may_shrink(row: &Row) -> bool {
    let h = &row.header;
    let fast = [Codec::RAW, Codec::ZSTD, Codec::PCM, Codec::RASTER].contains(&h.codec);
    h.kind == ChunkKind::Data && h.bases.is_empty() && fast
}

/// Reads tables and tries a sample.
///
/// # Errors
/// [`crate::Error::Interrupted`], [`crate::Error::Index`].
pub fn plan(store: &Store, control: &Control) -> Result<RecompressPlan> {
    let mut plan = RecompressPlan {
        packs: 0,
        chunks: 0,
        stored_bytes: 0,
        plain_bytes: 0,
        packs_tried: 0,
        unreadable: 0,
        sample: Sample::default(),
        serials: BTreeSet::new(),
    };
    let known = tried::load(store);
    // Ids are as good as random: those with the least are a fair sample.
    let mut least: BinaryHeap<ChunkId> = BinaryHeap::new();
    let is_data = |pack: &SealedPack| pack.kind.is_data();
    let is_known = |pack: &SealedPack| known.contains(&pack.serial);
    plan.packs_tried =
        store.with_state(|s| s.packs().filter(|p| is_data(&p.sealed) && is_known(&p.sealed)).count()) as u64;
    let is_new = |pack: &SealedPack| is_data(pack) && !is_known(pack);
    let passed = tables::each(store, control, is_new, &may_shrink, &mut |pack, rows| {
        plan.packs += 1;
        plan.serials.insert(pack.serial);
        for row in rows {
            plan.chunks += 1;
            plan.stored_bytes += row.header.record_bytes();
            plan.plain_bytes += u64::from(row.header.plain_bytes);
            least.push(row.header.id);
            if least.len() > SAMPLE {
                least.pop();
            }
        }
        Ok(())
    })?;
    plan.unreadable = passed.unreadable;
    control.progress.set_phase("trying a sample");
    let mut tries = Tries::new(store);
    let ids = least.into_vec();
    for (id, at) in ids.iter().zip(store.locate(&ids)?) {
        control.proceed()?;
        let Some(at) = at else { continue };
        let begun = store.io().world.now_ns();
        // One that cannot be read says nothing of the others.
        let Ok(plain) = store.read_at(ChunkKind::Data, id, &at, &mut Unsqueezer::default()) else { continue };
        let Some((header, form)) = header_of(store, &at) else { continue };
        let after = tries.squeeze(&plain, form);
        let before = u64::from(at.place.stored);
        let took = store.io().world.now_ns().saturating_sub(begun);
        let overhead = before.saturating_sub(u64::from(header));
        let after = after.map_or(before, |payload| overhead + payload);
        let s = &mut plan.sample;
        s.chunks += 1;
        s.before_bytes += before;
        s.after_bytes += if is_worth_it(before, after) { after } else { before };
        s.plain_bytes += plain.len() as u64;
        s.took_ns += u64::try_from(took).unwrap_or_default();
    }
    Ok(plan)
}

fn is_worth_it(before: u64, after: u64) -> bool {
    after + before / WORTH_PART < before
}

/// The payload's length and the form of a record.
fn header_of(store: &Store, at: &Located) -> Option<(u32, Form)> {
    let file = store.open_pack(&at.sealed).ok()?;
    let mut bytes = vec![0; at.place.stored as usize]; // `locate` bounds it
    file.read_exact_at(&mut bytes, u64::from(at.place.offset)).ok()?;
    let (header, payload) = crate::format::record::open(at.sealed.pack, u64::from(at.place.offset), &bytes).ok()?;
    Some((header.stored_bytes, form_of(header.codec, payload)))
}

/// What a payload tells of the chunk's form.
fn form_of(codec: Codec, payload: &[u8]) -> Form {
    if let Some(form) = pcm::form_of(codec, payload) {
        Form::Pcm(form)
    } else if let Some(form) = raster::form_of(codec, payload) {
        Form::Raster(form)
    } else {
        Form::Bytes
    }
}

/// A thread's codecs.
struct Tries<'s> {
    store: &'s Store,
    squeezer: Squeezer,
    unsqueezer: Unsqueezer,
    plain: Vec<u8>,
    back: Vec<u8>,
}

impl<'s> Tries<'s> {
    fn new(store: &'s Store) -> Self {
        let squeezer = Squeezer::new(Coding::from(Tier::Dense));
        Tries { store, squeezer, unsqueezer: Unsqueezer::default(), plain: Vec::new(), back: Vec::new() }
    }

    /// The length of the dense tier's payload.
    fn squeeze(&mut self, plain: &[u8], form: Form) -> Option<u64> {
        match self.squeezer.squeeze(plain, form) {
            Payload::Raw => None,
            Payload::Coded { bytes, .. } => Some(bytes.len() as u64),
        }
    }

    /// The same chunk as the dense tier codes it, decoded and compared; `None` where that is not worth it.
    ///
    /// # Errors
    /// [`crate::Error::Malformed`]: what is stored does not decode to what its name says.
    fn denser(&mut self, record: &NewRecord) -> Result<Option<NewRecord>> {
        self.plain.clear();
        let bad = |why| crate::Error::Malformed { what: "a chunk", offset: 0, why };
        match record.codec {
            Codec::RAW => self.plain.extend_from_slice(&record.payload),
            codec => self.unsqueezer.open(
                codec,
                &record.parameters,
                &record.payload,
                record.plain_bytes,
                &[],
                &mut self.plain,
            )?,
        }
        if self.store.keys().chunk_id(ChunkKind::Data, &self.plain) != record.id {
            return Err(bad("its bytes do not hash to its name"));
        }
        let form = form_of(record.codec, &record.payload);
        let Payload::Coded { codec, parameters, bytes } = self.squeezer.squeeze(&self.plain, form) else {
            return Ok(None);
        };
        let features = record.features.clone();
        let payload = bytes.into();
        let denser = NewRecord { codec, parameters, features, payload, bases: Vec::new(), ..record.clone() };
        if !is_worth_it(record.record_bytes(), denser.record_bytes()) {
            return Ok(None);
        }
        self.back.clear();
        let opened =
            self.unsqueezer.open(codec, &denser.parameters, &denser.payload, denser.plain_bytes, &[], &mut self.back);
        // A codec that does not come back is not used: the chunk is stored already.
        Ok((opened.is_ok() && self.back == self.plain).then_some(denser))
    }
}

/// A pack that was gone through: which of its rows were coded anew.
struct Done {
    sealed: SealedPack,
    anew: Vec<ChunkId>,
}

/// What a run went through, for [`note`].
#[derive(Default)]
pub struct Gone(Vec<Done>);

/// Tries what a plan names. Packs from the serial `first_new` on are those of this run.
///
/// # Errors
/// [`crate::Error::Interrupted`], and whatever ends an ingest. What was coded anew by then is not tried again.
pub fn run(
    ingest: &Ingest<'_>,
    control: &Control,
    plan: &RecompressPlan,
    limits: &Limits,
    (report, superseded, gone): (&mut CompactReport, &mut Superseded, &mut Gone),
) -> Result<()> {
    control.progress.set_phase("coding chunks anew");
    let store = ingest.store();
    let counted = gc::counted_until(store)?;
    let mut tries: Vec<Tries<'_>> = (0..threads(store)).map(|_| Tries::new(store)).collect();
    let packs: Vec<SealedPack> =
        store.with_state(|s| plan.serials.iter().filter_map(|serial| s.pack(*serial)).map(|p| p.sealed).collect());
    let pack_bytes = match store.with_state(|s| s.parity()) {
        0 => store.superblock().pack_bytes,
        _ => 1 << 20, // round and round: packs of one length
    };
    let mut sent = 0u64;
    for sealed in packs {
        if limits.are_reached(store, report.bytes_handled()) {
            report.stopped_at_limit = true;
            break;
        }
        if !store.pool().holds(&sealed) {
            continue;
        }
        let opened = store.open_pack(&sealed).and_then(|file| Ok((file, store.ends(&sealed)?.footer)));
        let (file, footer) = match opened {
            Ok(opened) => opened,
            Err(e) if is_of_one_place(&e) => {
                control.notice(Notice::Note(format!("{e}; the pack is left out")));
                continue;
            }
            Err(e) => return Err(e),
        };
        let mut done = Done { sealed, anew: Vec::new() };
        let mut wanted: Vec<(usize, &Row)> = Vec::new();
        let rows: Vec<(usize, &Row)> = footer.rows.iter().enumerate().filter(|(_, row)| may_shrink(row)).collect();
        for rows in rows.chunks(ROWS) {
            let ids: Vec<ChunkId> = rows.iter().map(|(_, row)| row.header.id).collect();
            let places = store.locate(&ids)?;
            // What nothing needed when the counts were kept is not worth the time.
            let lives: Vec<bool> = match counted {
                Some(until) if sealed.serial < until => {
                    store.index().counts(&ids)?.iter().map(Option::is_some).collect()
                }
                _ => vec![true; ids.len()],
            };
            for ((row, at), lives) in rows.iter().zip(places).zip(lives) {
                let is_here = |at: Located| at.place.pack == sealed.serial && at.place.offset == row.1.offset;
                if lives && at.is_some_and(is_here) {
                    wanted.push(*row);
                }
            }
        }
        let mut batch: Vec<(usize, NewRecord)> = Vec::new();
        let mut plain_bytes = 0u64;
        let mut rest = wanted.into_iter().peekable();
        while let Some((n, row)) = rest.next() {
            ingest.proceed()?;
            match moves::record_of(ingest, &*file, &sealed, &footer, n, row)? {
                Ok(record) => batch.push((n, record)),
                Err(e) => {
                    report.chunks_unreadable += 1;
                    control.notice(Notice::Note(format!("{e}; the chunk stays as it is")));
                }
            }
            plain_bytes += u64::from(row.header.plain_bytes);
            if plain_bytes < BATCH_BYTES && rest.peek().is_some() {
                continue;
            }
            plain_bytes = 0;
            let tried = std::mem::take(&mut batch);
            let mut records = Vec::new();
            for ((n, old), outcome) in tried.iter().zip(in_parallel(&mut tries, &tried)) {
                let old_bytes = old.record_bytes();
                report.chunks_tried += 1;
                report.tried_bytes += old_bytes;
                match outcome {
                    Ok(None) => {}
                    Ok(Some(new)) => {
                        report.chunks_recoded += 1;
                        report.saved_bytes += old_bytes - new.record_bytes().min(old_bytes); // it is smaller
                        let of_pack = superseded.entry(sealed.serial).or_default();
                        let row = footer.rows.get(*n).map_or(0, |row| u64::from(row_bytes(row)));
                        *of_pack = (of_pack.0 + 1, of_pack.1 + row);
                        done.anew.push(new.id);
                        sent += new.record_bytes();
                        records.push(new);
                    }
                    Err(e) => {
                        report.chunks_unreadable += 1;
                        control.notice(Notice::Note(format!("{e}; the chunk stays as it is")));
                    }
                }
            }
            let tried_bytes = tried.iter().map(|(_, r)| r.record_bytes()).sum();
            ingest.pace(tried_bytes)?;
            ingest.progress(tried_bytes);
            ingest.send_together(ingest.lane_for(sealed.kind, sent / pack_bytes.max(1)), records)?;
        }
        gone.0.push(done);
    }
    Ok(())
}

/// Tries records on all threads, and answers in their order.
fn in_parallel(tries: &mut [Tries<'_>], records: &[(usize, NewRecord)]) -> Vec<Result<Option<NewRecord>>> {
    let part = records.len().div_ceil(tries.len().max(1)).max(1);
    threads::scope(|scope| {
        let handles: Vec<_> = tries
            .iter_mut()
            .zip(records.chunks(part))
            .map(|(tries, records)| {
                scope.spawn(move || records.iter().map(|(_, r)| tries.denser(r)).collect::<Vec<_>>())
            })
            .collect();
        let lost = || crate::Error::WorkerLost { verb: "compact" };
        // A thread that broke off leaves its records as they are.
        let ends = handles.into_iter().zip(records.chunks(part));
        let all = ends.flat_map(|(h, r)| h.join().unwrap_or_else(|_| r.iter().map(|_| Err(lost())).collect()));
        all.collect()
    })
}

/// Notes the packs that need not be tried again: those that were gone through and whose new records stand in the index,
/// and those that the run made. `whole` says that the run came to its end.
pub fn note(store: &Store, gone: &Gone, first_new: u32, whole: bool, control: &Control) {
    let stands = |done: &Done| -> Result<bool> {
        if whole {
            return Ok(true);
        }
        let at = store.locate(&done.anew)?;
        Ok(at.iter().all(|at| at.is_some_and(|at| at.place.pack >= first_new)))
    };
    let noted = || -> Result<()> {
        let mut all = tried::made_since(store, first_new);
        for done in &gone.0 {
            if stands(done)? {
                all.insert(done.sealed.serial);
            }
        }
        tried::add(store, &all)
    };
    if let Err(e) = noted() {
        control.notice(Notice::Note(format!("{e}; the next recompression will try those chunks once more")));
    }
}
