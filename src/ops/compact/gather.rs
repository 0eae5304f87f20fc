//! Gathering: chunks of files that lie in too many places are written anew, one behind the other.
//!
//! Files are looked at newest snapshot first. Of one with too many fragments the smallest stretches go together until few
//! enough are left: what lies in long stretches stays there, since a seek costs as much as reading a MiB or two. Only
//! stretches all of whose chunks the file owns ([`owned`](super::owned)) are moved. Records are copied as they stand, so
//! what is coded against what does not change; their old copies are superseded, and the next gc takes them.

use super::CompactReport;
use super::fragments::{Stretch, stretches, windows};
use super::owned::Met;
use crate::error::Result;
use crate::format::event::SealedPack;
use crate::format::footer::{Footer, PackKind};
use crate::format::recipe::Recipe;
use crate::format::{ChunkId, ChunkKind};
use crate::ops::gc::keep::row_bytes;
use crate::ops::gc::{Limits, Superseded, moves};
use crate::ops::ingest::Ingest;
use crate::ops::share::{is_of_one_place, walk};
use crate::ops::{Control, Notice, snapshots};
use crate::pack::write::NewRecord;
use crate::store::{Located, Store};
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

/// Bytes of records that are sent at once: so many lie in one piece for certain.
const BATCH_BYTES: u64 = 8 << 20;
/// A longer stretch stays where it is: writing it anew costs more than many restores' seeks to it.
const LONG_BYTES: u64 = 32 << 20;
/// Tables of packs that are held, at most.
const TABLES: usize = 32;
/// Files in a row that go to one lane, in bytes, at most and at least.
const RUN_BYTES: std::ops::RangeInclusive<u64> = 1 << 20..=64 << 20;

/// A file of which something is moved.
struct Candidate {
    path: Vec<u8>,
    recipe: Recipe,
    bytes: u64,
    /// Fragments beyond what is wanted.
    excess: u64,
    before: u64,
    after: u64,
    move_bytes: u64,
    /// A bit for each chunk, in the order of [`windows`].
    moves: Vec<u64>,
}

impl Candidate {
    fn memory_bytes(&self) -> u64 {
        let streams: usize = self.recipe.streams.iter().map(|s| s.references.len() * 48).sum();
        (512 + self.path.len() + streams + self.moves.len() * 8) as u64
    }

    fn moves(&self, n: usize) -> bool {
        self.moves.get(n / 64).is_some_and(|word| word >> (n % 64) & 1 == 1)
    }
}

/// What would be gathered.
pub struct GatherPlan {
    pub max_fragments: u64,
    /// Files that were looked at, each content at a path once.
    pub files: u64,
    /// Files with more fragments than wanted, and of these such as hold nothing that could be moved for them.
    pub fragmented: u64,
    pub settled: u64,
    /// Files of which something is moved, and their fragments now and then.
    pub chosen: u64,
    pub fragments_before: u64,
    pub fragments_after: u64,
    pub move_bytes: u64,
    /// Files that are left for another run, since memory or `max_bytes` holds no more.
    pub left: u64,
    /// Files that were not looked at as closely: so many chunks could not be told apart in memory.
    pub beyond_memory: u64,
    pub unreadable: u64,
    candidates: Vec<Candidate>,
}

/// What a window's stretches come to: which chunks move, how many fragments are left, bytes to move.
struct Chosen {
    moves: Vec<u32>,
    after: u64,
    bytes: u64,
}

/// Chooses the smallest of the movable stretches until at most `most` are left; `None` where that makes none fewer.
fn choose(stretches: &[Stretch], movable: &[bool], most: u64, pack_bytes: u64) -> Option<Chosen> {
    let mut order: Vec<&Stretch> = stretches.iter().zip(movable).filter(|(_, m)| **m).map(|(s, _)| s).collect();
    order.sort_by_key(|s| (s.bytes, s.pack));
    let all = stretches.len() as u64;
    let (mut moves, mut bytes, mut taken) = (Vec::new(), 0u64, 0u64);
    // What is sent at once lies in one piece; more than that may meet the end of a pack.
    let landing = |bytes: u64| if bytes <= BATCH_BYTES { 1 } else { 1 + bytes.div_ceil(pack_bytes.max(1)) };
    for stretch in order {
        if taken > 0 && all - taken + landing(bytes) <= most {
            break;
        }
        moves.extend_from_slice(&stretch.chunks);
        bytes += stretch.bytes;
        taken += 1; // at most all
    }
    let after = all - taken + landing(bytes);
    (after < all).then_some(Chosen { moves, after, bytes })
}

fn is_safer(at: &Located) -> bool {
    at.sealed.kind == PackKind::Shared
}

struct Planner<'s> {
    store: &'s Store,
    met: Met,
    plan: GatherPlan,
    held_bytes: u64,
    held_max: u64,
}

/// Looks at all files and chooses.
///
/// # Errors
/// [`crate::Error::Interrupted`], [`crate::Error::Index`].
pub fn plan(store: &Store, max_fragments: u64, max_bytes: Option<u64>, control: &Control) -> Result<GatherPlan> {
    control.progress.set_phase("looking at files");
    let chunks = store.with_state(|s| s.packs().map(|p| u64::from(p.sealed.records)).sum());
    let memory = store.memory_bytes();
    let plan = GatherPlan {
        max_fragments,
        files: 0,
        fragmented: 0,
        settled: 0,
        chosen: 0,
        fragments_before: 0,
        fragments_after: 0,
        move_bytes: 0,
        left: 0,
        beyond_memory: 0,
        unreadable: 0,
        candidates: Vec::new(),
    };
    let mut planner = Planner { store, met: Met::new(chunks, memory / 8), plan, held_bytes: 0, held_max: memory / 16 };
    let mut newest_first = snapshots::list(store, &[]);
    newest_first.reverse();
    let walked = walk::each_once(store, &newest_first, control, &mut |met, recipe| planner.file(&met, recipe))?;
    let mut plan = planner.plan;
    (plan.files, plan.unreadable) = (walked.files, plan.unreadable + walked.unreadable);
    // Worst first as far as a limit goes, then in the order of folders.
    plan.candidates.sort_by(|a, b| (b.excess, &a.path).cmp(&(a.excess, &b.path)));
    let mut bytes = 0u64;
    let fits = plan.candidates.iter().take_while(|c| {
        let fits = max_bytes.is_none_or(|max| bytes < max);
        bytes = bytes.saturating_add(c.move_bytes);
        fits
    });
    let n = fits.count();
    plan.left += (plan.candidates.len() - n) as u64; // at most all
    plan.candidates.truncate(n);
    plan.candidates.sort_by(|a, b| a.path.cmp(&b.path));
    plan.chosen = n as u64;
    for c in &plan.candidates {
        plan.fragments_before += c.before;
        plan.fragments_after += c.after;
        plan.move_bytes += c.move_bytes;
    }
    Ok(plan)
}

impl Planner<'_> {
    fn file(&mut self, met: &walk::Met<'_>, recipe: &Recipe) -> Result<()> {
        let (most, pack_bytes) = (self.plan.max_fragments, self.store.superblock().pack_bytes);
        let (store, known) = (self.store, &mut self.met);
        let mut found = Candidate {
            path: met.path.to_vec(),
            recipe: recipe.clone(),
            bytes: met.bytes,
            excess: 0,
            before: 0,
            after: 0,
            move_bytes: 0,
            moves: Vec::new(),
        };
        let (mut first, mut was_full) = (0usize, false);
        let whole = windows(store, recipe, met.bytes, &mut |ids| {
            let located = store.locate(ids)?;
            let safer: Vec<bool> = located.iter().map(|at| at.is_some_and(|at| is_safer(&at))).collect();
            let places: Vec<_> = located.into_iter().map(|at| at.map(|at| at.place)).collect();
            was_full |= known.is_full();
            // What is held safer belongs to many, and would come to lie among other data.
            let owns: Vec<bool> = ids.iter().zip(&safer).map(|(id, safer)| !safer && !known.has(id)).collect();
            ids.iter().for_each(|id| known.add(id));
            let stretches = stretches(&places);
            let n = stretches.len() as u64;
            found.before += n;
            found.moves.resize((first + ids.len()).div_ceil(64), 0);
            let mut after = n;
            if n > most {
                found.excess += n - most;
                let owns = |i: &u32| owns.get(*i as usize).copied().unwrap_or(false);
                let may_move = |s: &Stretch| s.bytes <= LONG_BYTES && s.chunks.iter().all(owns);
                let movable: Vec<bool> = stretches.iter().map(may_move).collect();
                if let Some(chosen) = choose(&stretches, &movable, most, pack_bytes) {
                    for i in chosen.moves {
                        let n = first + i as usize;
                        if let Some(word) = found.moves.get_mut(n / 64) {
                            *word |= 1 << (n % 64);
                        }
                    }
                    after = chosen.after;
                    found.move_bytes += chosen.bytes;
                }
            }
            found.after += after;
            first += ids.len();
            Ok(())
        })?;
        self.plan.beyond_memory += u64::from(was_full);
        if !whole {
            self.plan.unreadable += 1;
            return Ok(());
        }
        if found.excess == 0 {
            return Ok(());
        }
        self.plan.fragmented += 1;
        if found.move_bytes == 0 {
            self.plan.settled += 1;
            return Ok(());
        }
        self.held_bytes += found.memory_bytes();
        self.plan.candidates.push(found);
        if self.held_bytes > self.held_max {
            self.keep_the_worst();
        }
        Ok(())
    }

    /// Lets go of the less fragmented half.
    fn keep_the_worst(&mut self) {
        self.plan.candidates.sort_by_key(|c| std::cmp::Reverse(c.excess));
        let half = self.plan.candidates.len() / 2;
        self.plan.left += (self.plan.candidates.len() - half) as u64;
        self.plan.candidates.truncate(half);
        self.held_bytes = self.plan.candidates.iter().map(Candidate::memory_bytes).sum();
    }
}

/// A few packs' tables.
struct Footers<'s> {
    store: &'s Store,
    held: HashMap<u32, Option<Arc<Footer>>>,
    order: VecDeque<u32>,
}

impl Footers<'_> {
    fn of(&mut self, sealed: &SealedPack) -> Result<Option<Arc<Footer>>> {
        if let Some(held) = self.held.get(&sealed.serial) {
            return Ok(held.clone());
        }
        let footer = match self.store.ends(sealed) {
            Ok(ends) => Some(Arc::new(ends.footer)),
            Err(e) if is_of_one_place(&e) => None,
            Err(e) => return Err(e),
        };
        self.held.insert(sealed.serial, footer.clone());
        self.order.push_back(sealed.serial);
        if self.order.len() > TABLES
            && let Some(oldest) = self.order.pop_front()
        {
            self.held.remove(&oldest);
        }
        Ok(footer)
    }
}

/// Sends what a plan moves. Packs from the serial `first_new` on are those of this run.
///
/// # Errors
/// [`crate::Error::Interrupted`], and whatever ends an ingest. What was moved by then need not be moved again.
pub fn run(
    ingest: &Ingest<'_>,
    control: &Control,
    plan: &GatherPlan,
    first_new: u32,
    limits: &Limits,
    (report, superseded): (&mut CompactReport, &mut Superseded),
) -> Result<()> {
    control.progress.set_phase("gathering files");
    let store = ingest.store();
    let mut footers = Footers { store, held: HashMap::new(), order: VecDeque::new() };
    // With parity all packs of a run are of one length, about; without, few are left part full.
    let run_bytes = match store.with_state(|s| s.parity()) {
        0 => store.superblock().pack_bytes,
        _ => (plan.move_bytes / ingest.data_lanes().max(1)).clamp(*RUN_BYTES.start(), *RUN_BYTES.end()),
    };
    let (mut lane, mut run) = (0u64, 0u64);
    let mut batch: Vec<NewRecord> = Vec::new();
    let mut batch_bytes = 0u64;
    for file in &plan.candidates {
        if report.stopped_at_limit || limits.are_reached(store, report.bytes_handled()) {
            report.stopped_at_limit = true;
            break;
        }
        if run >= run_bytes {
            ingest.send_together(ingest.lane_of(lane), std::mem::take(&mut batch))?;
            (lane, run, batch_bytes) = (lane + 1, 0, 0);
        }
        let mut n = 0;
        windows(store, &file.recipe, file.bytes, &mut |ids| {
            // A file may be as long as a disk. What was moved of it is of use by itself.
            if report.stopped_at_limit || limits.are_reached(store, report.bytes_handled()) {
                report.stopped_at_limit = true;
                return Ok(());
            }
            let wanted: Vec<ChunkId> =
                ids.iter().enumerate().filter(|(i, _)| file.moves(n + i)).map(|(_, id)| *id).collect();
            n += ids.len();
            let places = store.locate(&wanted)?;
            let bytes: u64 = places.iter().flatten().map(|at| u64::from(at.place.stored)).sum();
            // What is sent at once lies in one piece, so a part of a file is not cut where it need not be.
            if batch_bytes + bytes > BATCH_BYTES {
                ingest.send_together(ingest.lane_of(lane), std::mem::take(&mut batch))?;
                batch_bytes = 0;
            }
            for (id, at) in wanted.iter().zip(places) {
                ingest.proceed()?;
                let Some(at) = at.filter(|at| at.place.pack < first_new && !is_safer(at)) else { continue };
                let Some(footer) = footers.of(&at.sealed)? else { continue };
                let Some(record) = record(ingest, &footer, &at, id, superseded)? else {
                    report.chunks_unreadable += 1;
                    continue;
                };
                let bytes = record.record_bytes();
                if batch_bytes + bytes > BATCH_BYTES {
                    ingest.send_together(ingest.lane_of(lane), std::mem::take(&mut batch))?;
                    batch_bytes = 0;
                }
                report.chunks_moved += 1;
                report.moved_bytes += bytes;
                ingest.pace(bytes)?;
                ingest.progress(bytes);
                (batch_bytes, run) = (batch_bytes + bytes, run + bytes);
                batch.push(record);
            }
            Ok(())
        })?;
        if report.stopped_at_limit {
            break; // a part of it
        }
        report.files_gathered += 1;
        report.fragments_before += file.before;
        report.fragments_after += file.after;
    }
    ingest.send_together(ingest.lane_of(lane), batch)
}

/// The record at a place, if the pack's own table has the chunk there. The inner `None` is one that cannot be read, which
/// stays where it is.
fn record(
    ingest: &Ingest<'_>,
    footer: &Footer,
    at: &Located,
    id: &ChunkId,
    superseded: &mut Superseded,
) -> Result<Option<NewRecord>> {
    let Ok(n) = footer.rows.binary_search_by_key(&at.place.offset, |row| row.offset) else { return Ok(None) };
    let row = &footer.rows[n]; // it was found there
    if row.header.id != *id || row.header.kind != ChunkKind::Data {
        return Ok(None);
    }
    let file = match ingest.store().open_pack(&at.sealed) {
        Ok(file) => file,
        Err(e) if is_of_one_place(&e) => return Ok(None),
        Err(e) => return Err(e),
    };
    match moves::record_of(ingest, &*file, &at.sealed, footer, n, row)? {
        Ok(record) => {
            let of_pack = superseded.entry(at.place.pack).or_default();
            *of_pack = (of_pack.0 + 1, of_pack.1 + u64::from(row_bytes(row)));
            Ok(Some(record))
        }
        Err(e) => {
            ingest.notice(Notice::Note(format!("{e}; the chunk stays where it is")));
            Ok(None)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(bytes: &[u64]) -> Vec<Stretch> {
        (0..).zip(bytes).map(|(i, b)| Stretch { pack: i, bytes: *b, chunks: vec![i] }).collect()
    }

    #[test]
    fn the_smallest_stretches_go_until_few_are_left() {
        let chosen = choose(&of(&[50, 1, 40, 2, 3]), &[true; 5], 3, 1 << 30).unwrap();
        assert_eq!((chosen.moves, chosen.after, chosen.bytes), (vec![1, 3, 4], 3, 6));
        let held = choose(&of(&[50, 1, 40, 2, 3]), &[true, false, true, false, true], 1, 1 << 30).unwrap();
        assert_eq!((held.moves, held.after), (vec![4, 2, 0], 3));
    }

    #[test]
    fn nothing_moves_where_that_makes_no_fragment_fewer() {
        assert!(choose(&of(&[1, 2, 3]), &[true, false, false], 1, 1 << 30).is_none());
        assert!(choose(&of(&[1, 2, 3]), &[false; 3], 1, 1 << 30).is_none());
        // what fills packs by itself lies in as many
        assert!(choose(&of(&[256 << 20, 256 << 20, 256 << 20]), &[true; 3], 1, 256 << 20).is_none());
    }
}
