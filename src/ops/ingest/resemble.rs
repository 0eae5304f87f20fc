//! Near-duplicates: which stored chunks a new one may be coded against, and whether that pays.
//!
//! Candidates come from the features (of the index, and of this run's packs that are not published yet) and from the
//! stream: what lies in the pack behind the chunk that the one before was found as, or was coded against, and before the
//! one that the next was found as. Each candidate's anchors are compared with the chunk's; the best, and what others add
//! to it, become the bases of a delta.
//!
//! # Invariants
//!
//! 1. A base is a record that is no delta, in a sealed pack or in an open one of this run, and was read and proven.
//! 2. What is offered depends on what the store holds and on timing; what comes out is proven by decoding, so that decides
//!    about space only.
//! 3. Memory: a cache bounded in bytes, and a bounded number of entries for this run's chunks.

use super::Ingest;
use crate::chunk::{
    Form, Landmarker, Landmarks, Pcm, Predictor, Scanner, Sketch, Sketcher, Sound, Squeezer, Technique, jpeg, pcm,
};
use crate::format::footer::{Features, Row};
use crate::format::record::Codec;
use crate::format::{ChunkId, ChunkKind, PackId};
use crate::io::File;
use crate::io::threads::Mutex;
use crate::pack::payload::Payload as Bytes;
use crate::pack::read;
use crate::pack::write::NewRecord;
use crate::store::{Located, Store};
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, OnceLock, PoisonError};

/// Shorter chunks are not sketched: a delta's record would be half of what it saves.
const PLAIN_MIN: usize = 2 << 10;
/// Chunks of this run that may serve as bases before they are published, at most.
const FRESH_MAX: usize = 1 << 17;
/// Candidates that are read for one chunk, at most.
const CANDIDATES: usize = 12;
/// Deltas that hang on one base, at most: what is lost with it is bounded. The next chunk that resembles it is stored whole,
/// and becomes a base in its place.
const FAN_OUT: u32 = 256;
/// A base must have so many hundredths of the chunk's anchors, and the second and further ones so many that no
/// other has.
const SHARE_PERCENT: usize = 6;

/// A chunk in a pack of this run.
#[derive(Clone)]
struct Fresh {
    pack: PackId,
    row: Row,
    file: Arc<dyn File>,
    /// The record before it in the pack, and the one behind it.
    before: Option<ChunkId>,
    after: Option<ChunkId>,
}

#[derive(Default)]
struct FreshChunks {
    /// Deltas of this run that the index does not count yet, by base.
    deltas: HashMap<ChunkId, u32>,
    by_id: HashMap<ChunkId, Fresh>,
    by_feature: HashMap<u64, ChunkId>,
}

/// A chunk that may be a base.
struct Base {
    id: ChunkId,
    plain: Arc<Vec<u8>>,
    sketch: Sketch,
    /// Where its record tells that it is sound.
    pcm: Option<Pcm>,
    landmarks: OnceLock<Landmarks>,
}

#[derive(Default)]
struct Held {
    by_id: HashMap<ChunkId, Arc<Base>>,
    order: VecDeque<ChunkId>,
    bytes: u64,
}

/// What one run knows of resemblance.
#[derive(Default)]
pub(super) struct Resemblance {
    fresh: Mutex<FreshChunks>,
    held: Mutex<Held>,
}

impl Resemblance {
    /// Records `rows[from..]` were appended to an open pack.
    pub(super) fn appended(&self, pack: PackId, file: &Arc<dyn File>, rows: &[Row], features: &[Vec<Features>]) {
        let mut fresh = self.fresh.lock().unwrap_or_else(PoisonError::into_inner);
        let first = rows.len().saturating_sub(features.len());
        for ((i, row), features) in rows.iter().enumerate().skip(first).zip(features) {
            if fresh.by_id.len() >= FRESH_MAX {
                return;
            }
            let before = i.checked_sub(1).and_then(|i| rows.get(i)).map(|r| r.header.id);
            if let Some(before) = before.and_then(|b| fresh.by_id.get_mut(&b)).filter(|f| f.pack == pack) {
                before.after = Some(row.header.id);
            }
            for feature in features.iter().flatten() {
                fresh.by_feature.insert(*feature, row.header.id);
            }
            let entry = Fresh { pack, row: row.clone(), file: Arc::clone(file), before, after: None };
            fresh.by_id.insert(row.header.id, entry);
        }
    }

    /// A pack of this run was published: the index knows its chunks now.
    pub(super) fn published(&self, rows: &[Row], features: &[(u32, Features)]) {
        let mut fresh = self.fresh.lock().unwrap_or_else(PoisonError::into_inner);
        for row in rows {
            fresh.by_id.remove(&row.header.id);
            for base in &row.header.bases {
                if let Some(count) = fresh.deltas.get_mut(base) {
                    *count -= 1;
                    if *count == 0 {
                        fresh.deltas.remove(base);
                    }
                }
            }
        }
        for (row, features) in features {
            let Some(row) = rows.get(*row as usize) else { continue };
            for feature in features {
                if fresh.by_feature.get(feature) == Some(&row.header.id) {
                    fresh.by_feature.remove(feature);
                }
            }
        }
    }

    /// Counts a delta that is about to be written.
    fn count(&self, bases: &[ChunkId]) {
        let mut fresh = self.fresh.lock().unwrap_or_else(PoisonError::into_inner);
        for base in bases {
            *fresh.deltas.entry(*base).or_default() += 1;
        }
    }

    /// Whether a chunk shares a feature with one that is stored or on its way.
    pub(super) fn knows_of(&self, store: &Store, plain: &[u8], samples: &[u32]) -> bool {
        let Some(features) = Sketcher::new(store.keys()).sketch(plain, samples).features else { return false };
        {
            let fresh = self.fresh.lock().unwrap_or_else(PoisonError::into_inner);
            if features.iter().any(|f| fresh.by_feature.contains_key(f)) {
                return true;
            }
        }
        store.resembling(&features).is_ok_and(|at| at.iter().any(Option::is_some))
    }

    fn fresh(&self, id: &ChunkId) -> Option<Fresh> {
        self.fresh.lock().unwrap_or_else(PoisonError::into_inner).by_id.get(id).cloned()
    }
}

/// Where a chunk of a window was found.
#[derive(Clone, Copy, Debug, Default)]
pub struct Hit {
    /// In a published pack.
    pub at: Option<Located>,
    /// The chunk must be stored.
    pub new: bool,
    /// It must be stored as no delta: a copy that is out of reach may be a base.
    pub plain: bool,
}

/// A chunk of a window that records are asked for.
pub struct Asked<'a> {
    pub stream: u8,
    pub id: ChunkId,
    pub form: Form,
    /// Where in it the samples are ([`Scanner::advance`]).
    pub samples: &'a [u32],
    /// Where in a JPEG file it begins, if that is known.
    pub start: Option<&'a jpeg::Start>,
    /// Its plain bytes if it is new.
    pub plain: Bytes,
    pub hit: Hit,
}

/// What a chunk of sound is found by, and what was found.
struct Heard {
    landmarks: Landmarks,
    alike: Vec<ChunkId>,
}

/// Codes chunks against others. One a thread.
pub struct Resembler<'i, 's> {
    ingest: &'i Ingest<'s>,
    sketcher: Sketcher,
    /// For chunks that were read back.
    scanner: Scanner<'s>,
    landmarker: Landmarker,
    predictor: Predictor,
    /// Of the chunks that were asked for last.
    heard: [Option<(ChunkId, Arc<Heard>)>; 2],
}

impl<'i, 's> Resembler<'i, 's> {
    pub fn new(ingest: &'i Ingest<'s>) -> Self {
        let (sketcher, scanner) = (Sketcher::new(ingest.store.keys()), Scanner::new(ingest.store.cutter()));
        let landmarker = Landmarker::new(ingest.store.keys());
        Resembler { ingest, sketcher, scanner, landmarker, predictor: Predictor::default(), heard: [None, None] }
    }

    /// Makes the records of those chunks of a window that are new. `chunks` come in the order of the file.
    pub fn records(&mut self, squeezer: &mut Squeezer, chunks: &[Asked<'_>]) -> Vec<NewRecord> {
        let sketches: Vec<Option<Sketch>> = chunks
            .iter()
            .map(|c| (c.hit.new && c.plain.len() >= PLAIN_MIN).then(|| self.sketcher.sketch(&c.plain, c.samples)))
            .collect();
        let by_feature = self.by_feature(&sketches);
        let mut records = Vec::new();
        // By stream: what the last chunk was found as, or coded against.
        let mut last: HashMap<u8, Vec<ChunkId>> = HashMap::new();
        for (i, chunk) in chunks.iter().enumerate() {
            let Asked { stream, id, form, start, plain, hit, .. } = chunk;
            if !hit.new {
                last.insert(*stream, vec![*id]);
                continue;
            }
            let Some(sketch) = sketches.get(i).and_then(Option::as_ref) else {
                records.push(self.ingest.record_within(squeezer, *id, *form, *start, plain));
                continue;
            };
            let mut candidates: Vec<ChunkId> = Vec::new();
            if !hit.plain && !sketch.anchors.is_empty() && squeezer.coding().uses(Technique::Delta) {
                let mut add = |candidate: Option<ChunkId>| {
                    if let Some(c) = candidate
                        && c != *id
                        && !candidates.contains(&c)
                    {
                        candidates.push(c);
                    }
                };
                by_feature.get(i).into_iter().flatten().for_each(|c| add(Some(*c)));
                for before in last.get(stream).into_iter().flatten() {
                    // The chunk itself, if a cut that moved halved it; then what follows.
                    add(Some(*before));
                    let next = self.neighbour(before, chunks, true);
                    add(next);
                    add(next.and_then(|n| self.neighbour(&n, chunks, true)));
                }
                if let Some(behind) = chunks.iter().skip(i + 1).find(|c| c.stream == *stream && !c.hit.new) {
                    add(Some(behind.id));
                    let next = self.neighbour(&behind.id, chunks, false);
                    add(next);
                    add(next.and_then(|n| self.neighbour(&n, chunks, false)));
                }
                // What the next one resembles, where nothing else is known: this one may lie before it.
                if let (true, Some(n)) = (candidates.is_empty(), next_new(chunks, i)) {
                    for like in by_feature.get(n).into_iter().flatten().take(2) {
                        candidates.push(*like);
                        candidates.extend(self.neighbour(like, chunks, false));
                    }
                }
                candidates.truncate(CANDIDATES);
            }
            let bases = self.choose(sketch, &candidates);
            let record = match form {
                Form::Pcm(pcm) if squeezer.coding().uses(Technique::Predict) => {
                    let next = next_new(chunks, i).and_then(|n| chunks.get(n));
                    self.sound_record(squeezer, (chunk, next), *pcm, sketch, &bases, &candidates)
                }
                _ => self.record(squeezer, chunk, sketch, &bases),
            };
            let found: Vec<ChunkId> = match record.bases.is_empty() {
                true => bases.iter().map(|b| b.id).collect(),
                false => record.bases.clone(),
            };
            if !found.is_empty() {
                last.insert(*stream, found);
            }
            if !record.bases.is_empty() {
                self.ingest.resemblance.count(&record.bases);
            }
            records.push(record);
        }
        records
    }

    /// A chunk's landmarks, and the ids of chunks that share features with it. Those of the last two are kept.
    fn heard(&mut self, chunk: &Asked<'_>, form: Pcm) -> Arc<Heard> {
        if let Some((_, heard)) = self.heard.iter().flatten().find(|(id, _)| *id == chunk.id) {
            return Arc::clone(heard);
        }
        let landmarks = self.landmarker.landmarks(&chunk.plain, form);
        let alike =
            if landmarks.marks.is_empty() { Vec::new() } else { self.candidates_by(landmarks.features.as_slice()) };
        let heard = Arc::new(Heard { landmarks, alike });
        self.heard.rotate_right(1);
        self.heard[0] = Some((chunk.id, Arc::clone(&heard))); // there are two
        heard
    }

    /// The record of a chunk of sound: as what samples that line up with it do not tell, where that is more than a tenth
    /// below what it would be else. `candidates` are those that its bytes and its neighbours led to. The next chunk is the
    /// one that follows in the stream, if it is new.
    fn sound_record(
        &mut self,
        squeezer: &mut Squeezer,
        (chunk, next): (&Asked<'_>, Option<&Asked<'_>>),
        form: Pcm,
        sketch: &Sketch,
        bases: &[Arc<Base>],
        candidates: &[ChunkId],
    ) -> NewRecord {
        let mut own = self.record(squeezer, chunk, sketch, bases);
        // Near enough already: nothing else saves much.
        if own.payload.len() < chunk.plain.len() / 32 {
            return own;
        }
        let heard = self.heard(chunk, form);
        let (landmarks, by_sound) = (&heard.landmarks, &heard.alike);
        if own.bases.is_empty() {
            own.features.extend(landmarks.features);
        }
        if chunk.hit.plain || landmarks.marks.is_empty() {
            return own;
        }
        let mut pool: Vec<(usize, Arc<Base>)> = Vec::new();
        let neighbours: Vec<ChunkId> = by_sound
            .iter()
            .flat_map(|c| [self.neighbour(c, &[], false), self.neighbour(c, &[], true)])
            .flatten()
            .collect();
        for candidate in by_sound.iter().chain(&neighbours).chain(candidates).take(2 * CANDIDATES) {
            self.listen(candidate, chunk.id, landmarks, &mut pool);
        }
        // What the next one sounds like, where nothing else does: this one may lie before it.
        if let (true, Some((next, form))) = (pool.is_empty(), next.and_then(|n| Some((n, n.form.pcm()?)))) {
            for like in self.heard(next, form).alike.iter().take(2) {
                self.listen(like, chunk.id, landmarks, &mut pool);
                if let Some(before) = self.neighbour(like, &[], false) {
                    self.listen(&before, chunk.id, landmarks, &mut pool);
                }
            }
        }
        pool.sort_by_key(|(shared, _)| std::cmp::Reverse(*shared));
        pool.truncate(crate::format::limits::BASES);
        let none = Landmarks::default();
        let sounds: Vec<Sound<'_>> = pool
            .iter()
            .filter_map(|(_, b)| {
                let marks = &b.landmarks.get().unwrap_or(&none).marks;
                Some(Sound { form: b.pcm?, plain: &b.plain, marks })
            })
            .collect();
        if sounds.is_empty() {
            return own;
        }
        let asked = Sound { form, plain: &chunk.plain, marks: &landmarks.marks };
        let Some(predicted) = self.predictor.encode(asked, &sounds) else { return own };
        let cost = predicted.payload.len() + 2 * 32 * predicted.bases.len(); // ids stand in record and footer
        let own_cost = own.payload.len() + 2 * 32 * own.bases.len();
        if cost * 10 >= own_cost * 9 {
            return own;
        }
        let bases = predicted.bases.iter().filter_map(|b| pool.get(*b)).map(|(_, b)| b.id).collect();
        let (codec, payload) = (Codec::PREDICTED, predicted.payload.into());
        NewRecord { codec, bases, payload, parameters: Vec::new(), features: Vec::new(), ..own }
    }

    /// Adds those bases of a candidate to the pool that share landmarks with a chunk, and may bear one more delta.
    fn listen(&mut self, candidate: &ChunkId, own: ChunkId, landmarks: &Landmarks, pool: &mut Vec<(usize, Arc<Base>)>) {
        for base in self.bases(candidate) {
            let Some(pcm) = base.pcm else { continue };
            if base.id == own || pool.iter().any(|(_, b)| b.id == base.id) {
                continue;
            }
            let marks = base.landmarks.get_or_init(|| self.landmarker.landmarks(&base.plain, pcm));
            let shared = shared_marks(landmarks, marks);
            if shared > 0 && self.may_bear_one_more(&base.id) {
                pool.push((shared, base));
            }
        }
    }

    /// Ids of chunks that share a feature with one chunk.
    fn candidates_by(&self, features: &[Features]) -> Vec<ChunkId> {
        let asked: Vec<u64> = features.iter().flatten().copied().collect();
        let mut found: Vec<ChunkId> = {
            let fresh = self.ingest.resemblance.fresh.lock().unwrap_or_else(PoisonError::into_inner);
            asked.iter().filter_map(|f| fresh.by_feature.get(f)).copied().collect()
        };
        let places = self.ingest.store.resembling(&asked).unwrap_or_default(); // a help, not a promise
        for at in places.into_iter().flatten() {
            if let Some(table) = self.ingest.table(&at.sealed)
                && let Ok(n) = table.binary_search_by_key(&at.place.offset, |row| row.offset)
            {
                found.push(table[n].id); // found at n
            }
        }
        let mut each = Vec::new();
        for id in found {
            if !each.contains(&id) {
                each.push(id);
            }
        }
        each.truncate(CANDIDATES);
        each
    }

    /// Ids of chunks that share a feature, for each sketch.
    fn by_feature(&self, sketches: &[Option<Sketch>]) -> Vec<Vec<ChunkId>> {
        let asked: Vec<(usize, u64)> = sketches
            .iter()
            .enumerate()
            .filter_map(|(i, s)| Some((i, s.as_ref()?.features?)))
            .flat_map(|(i, features)| features.map(|f| (i, f)))
            .collect();
        let mut found = vec![Vec::new(); sketches.len()];
        if asked.is_empty() {
            return found;
        }
        {
            let fresh = self.ingest.resemblance.fresh.lock().unwrap_or_else(PoisonError::into_inner);
            for (i, feature) in &asked {
                found[*i].extend(fresh.by_feature.get(feature)); // i < sketches.len()
            }
        }
        let features: Vec<u64> = asked.iter().map(|(_, f)| *f).collect();
        let places = self.ingest.store.resembling(&features).unwrap_or_default(); // a help, not a promise
        for ((i, _), at) in asked.iter().zip(places) {
            if let Some(at) = at
                && let Some(table) = self.ingest.table(&at.sealed)
                && let Ok(n) = table.binary_search_by_key(&at.place.offset, |row| row.offset)
            {
                found[*i].push(table[n].id); // found at n
            }
        }
        found
    }

    /// What lies behind (or before) a chunk in its pack.
    fn neighbour(&self, id: &ChunkId, chunks: &[Asked<'_>], behind: bool) -> Option<ChunkId> {
        if let Some(fresh) = self.ingest.resemblance.fresh(id) {
            return if behind { fresh.after } else { fresh.before };
        }
        let known = chunks.iter().find(|c| c.id == *id).and_then(|c| c.hit.at);
        let at = match known {
            Some(at) => at,
            None => self.ingest.store.locate(std::slice::from_ref(id)).ok()?.pop().flatten()?,
        };
        let table = self.ingest.table(&at.sealed)?;
        let n = table.binary_search_by_key(&at.place.offset, |row| row.offset).ok()?;
        let n = if behind { n.checked_add(1)? } else { n.checked_sub(1)? };
        table.get(n).map(|row| row.id)
    }

    /// A chunk's plain bytes and sketch, or those of what it is coded against.
    fn bases(&mut self, id: &ChunkId) -> Vec<Arc<Base>> {
        if let Some(held) = self.held(id) {
            return vec![held];
        }
        match self.whole(id) {
            Ok(own) => vec![own],
            Err(others) => others
                .iter()
                .filter_map(|other| match self.held(other) {
                    Some(held) => Some(held),
                    None => self.whole(other).ok(),
                })
                .collect(),
        }
    }

    /// A chunk that stands on no other; else those it stands on.
    fn whole(&mut self, id: &ChunkId) -> Result<Arc<Base>, Vec<ChunkId>> {
        let (plain, pcm) = match self.ingest.resemblance.fresh(id) {
            Some(fresh) if fresh.row.header.bases.is_empty() => self.read_fresh(&fresh).ok_or_else(Vec::new)?,
            Some(fresh) => return Err(fresh.row.header.bases),
            None => match self.stored(id) {
                Some((at, row)) if row.bases.is_empty() => {
                    let plain = self.ingest.store.base_at(id, &at).map_err(|_| Vec::new())?;
                    (plain, self.ingest.store.pcm_form(&at))
                }
                Some((_, row)) => return Err(row.bases.to_vec()),
                None => return Err(Vec::new()),
            },
        };
        Ok(self.hold(*id, plain, pcm))
    }

    /// The confirmed place and row of a chunk in a published pack.
    fn stored(&self, id: &ChunkId) -> Option<(Located, super::TableRow)> {
        let at = self.ingest.store.locate(std::slice::from_ref(id)).ok()?.pop().flatten()?;
        let row = self.ingest.row(&at, id)?;
        (at.place.pack >= self.ingest.bases_from).then_some((at, row))
    }

    fn read_fresh(&self, fresh: &Fresh) -> Option<(Arc<Vec<u8>>, Option<Pcm>)> {
        let record = read::record_at(&*fresh.file, fresh.pack, &fresh.row).ok()?;
        let plain = match record.codec {
            Codec::RAW => record.payload.to_vec(),
            codec => {
                let mut plain = Vec::new();
                let parameters = &record.parameters;
                let mut unsqueezer = crate::chunk::Unsqueezer::default();
                unsqueezer.open(codec, parameters, &record.payload, record.plain_bytes, &[], &mut plain).ok()?;
                plain
            }
        };
        (self.ingest.store.keys().chunk_id(ChunkKind::Data, &plain) == record.id)
            .then(|| (Arc::new(plain), pcm::form_of(record.codec, &record.payload)))
    }

    fn held(&self, id: &ChunkId) -> Option<Arc<Base>> {
        self.ingest.resemblance.held.lock().unwrap_or_else(PoisonError::into_inner).by_id.get(id).cloned()
    }

    fn hold(&mut self, id: ChunkId, plain: Arc<Vec<u8>>, pcm: Option<Pcm>) -> Arc<Base> {
        let sketch = self.sketcher.sketch(&plain, &self.scanner.samples(&plain));
        let base = Arc::new(Base { id, plain, sketch, pcm, landmarks: OnceLock::new() });
        let budget = self.ingest.store.memory_bytes() / 16;
        let mut held = self.ingest.resemblance.held.lock().unwrap_or_else(PoisonError::into_inner);
        if held.by_id.insert(id, Arc::clone(&base)).is_none() {
            held.bytes += base.plain.len() as u64;
            held.order.push_back(id);
        }
        while held.bytes > budget
            && let Some(oldest) = held.order.pop_front()
        {
            let gone = held.by_id.remove(&oldest).map_or(0, |b| b.plain.len() as u64);
            held.bytes -= gone;
        }
        base
    }

    /// The candidates that together have most of the chunk's anchors, the best one first.
    fn choose(&mut self, sketch: &Sketch, candidates: &[ChunkId]) -> Vec<Arc<Base>> {
        let mut pool: Vec<Arc<Base>> = Vec::new();
        for candidate in candidates {
            for base in self.bases(candidate) {
                if !pool.iter().any(|b| b.id == base.id) {
                    pool.push(base);
                }
            }
        }
        pool.retain(|base| self.may_bear_one_more(&base.id));
        let least = (sketch.anchors.len() * SHARE_PERCENT / 100).max(1);
        let (mut left, mut chosen) = (sketch.clone(), Vec::<Arc<Base>>::new());
        while chosen.len() < crate::format::limits::BASES {
            let best = pool.iter().map(|base| (left.shared(&base.sketch), base)).max_by_key(|(n, _)| *n);
            let Some((n, base)) = best.filter(|(n, _)| *n >= least) else { break };
            debug_assert!(n > 0);
            left.without(&base.sketch);
            chosen.push(Arc::clone(base));
        }
        chosen
    }

    /// Whether the deltas on a base are fewer than [`FAN_OUT`]. Threads that ask at once may pass it by their number.
    fn may_bear_one_more(&self, base: &ChunkId) -> bool {
        let stored = self.ingest.store.deltas_on(std::slice::from_ref(base)).unwrap_or_default();
        let fresh = self.ingest.resemblance.fresh.lock().unwrap_or_else(PoisonError::into_inner);
        let counted = stored.first().copied().unwrap_or(0);
        counted.saturating_add(fresh.deltas.get(base).copied().unwrap_or(0)) < FAN_OUT
    }

    fn record(&self, squeezer: &mut Squeezer, chunk: &Asked<'_>, sketch: &Sketch, bases: &[Arc<Base>]) -> NewRecord {
        let Asked { id, form, start, plain, .. } = chunk;
        let (id, form, start) = (*id, *form, *start);
        let delta = |payload: Vec<u8>| {
            let bases: Vec<ChunkId> = bases.iter().map(|b| b.id).collect();
            NewRecord {
                kind: ChunkKind::Data,
                id,
                codec: Codec::DELTA,
                parameters: Vec::new(),
                bases,
                plain_bytes: plain.len() as u32, // a chunk is at most CHUNK_BYTES long
                features: Vec::new(),
                payload: payload.into(),
            }
        };
        let mut coded = None;
        if !bases.is_empty() {
            let plains: Vec<&[u8]> = bases.iter().map(|b| b.plain.as_slice()).collect();
            coded = squeezer.delta(plain, &plains);
        }
        let cost = |payload: &[u8]| payload.len() + 2 * 32 * bases.len(); // ids stand in record and footer
        match coded {
            // So small that nothing else can be near it.
            Some(payload) if cost(&payload) < plain.len() / 32 => delta(payload),
            Some(payload) => {
                let own = self.ingest.record_within(squeezer, id, form, start, plain);
                if cost(&payload) * 10 < own.payload.len() * 9 {
                    delta(payload)
                } else {
                    NewRecord { features: sketch.features.into_iter().collect(), ..own }
                }
            }
            None => {
                let own = self.ingest.record_within(squeezer, id, form, start, plain);
                NewRecord { features: sketch.features.into_iter().collect(), ..own }
            }
        }
    }
}

/// The place of the chunk that follows the `i`th in its stream, if it is new.
fn next_new(chunks: &[Asked<'_>], i: usize) -> Option<usize> {
    let stream = chunks.get(i)?.stream;
    let (n, next) = chunks.iter().enumerate().skip(i + 1).find(|(_, c)| c.stream == stream)?;
    next.hit.new.then_some(n)
}

/// How many landmarks of one are those of the other, by their keys.
fn shared_marks(a: &Landmarks, b: &Landmarks) -> usize {
    a.marks.iter().filter(|m| b.marks.binary_search_by_key(&m.key, |o| o.key).is_ok()).count()
}

#[cfg(test)]
mod tests;
