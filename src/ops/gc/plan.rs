//! What a gc would do: which snapshots it gives up, which packs it drops, which it rewrites.

use super::change::{Change, Stop};
use super::counts::{Count, State, Tally};
use super::dissolve::{self, Bases, Dissolving};
use super::elsewhere::Elsewhere;
use super::exact::Judge;
use super::groups::Members;
use super::keep::{Census, Founding, Kept, Tables};
use super::mark::Mark;
use super::{GRACE_JUMP_NS, GcOptions};
use crate::error::{Error, Result};
use crate::format::event::SealedPack;
use crate::format::footer::PackKind;
use crate::format::{ChunkId, DiskId, SnapshotId, WriterId};
use crate::index::{Order, Sorter};
use crate::ops::snapshots::{self, SnapshotInfo};
use crate::ops::{Control, Notice};
use crate::pool::PackStore;
use crate::store::Store;
use std::collections::{BTreeMap, BTreeSet};

/// Of the store's bytes, in hundredths, what may stay dead where no threshold is given.
const DEAD_PERCENT: u64 = 5;
/// Small packs of one kind are merged when so many have gathered.
const SMALL_PACKS: usize = 8;
/// A pack below this part of the pack size is small.
const SMALL_PART: u64 = 4;

/// A pack that is rewritten: what of it stays.
pub(super) struct Source {
    pub sealed: SealedPack,
    pub kept: Kept,
}

/// Packs that go together: those of a group, or one without.
#[derive(Default)]
struct Unit {
    packs: Vec<Source>,
    /// One of them stays whatever is in it.
    stays: bool,
    /// So many hold what cannot be proven, or cannot be read.
    stuck: u64,
}

impl Unit {
    fn bytes(&self) -> u64 {
        self.packs.iter().map(|s| s.kept.bytes).sum()
    }

    fn kept(&self) -> u64 {
        self.packs.iter().map(|s| s.kept.kept_bytes).sum()
    }

    fn dead(&self) -> u64 {
        self.bytes() - self.kept() // a pack keeps at most what it has
    }
}

/// What a gc would do.
pub struct Plan {
    /// Forgotten for longer than the grace period, oldest first. Given up only if there is anything to do.
    pub given_up: Vec<SnapshotInfo>,
    /// Forgotten, and kept for now.
    pub in_grace: u64,
    pub snapshots: u64,
    /// Packs of which nothing stays.
    pub dead: Vec<SealedPack>,
    pub(super) sources: Vec<Source>,
    pub packs: u64,
    pub packs_bytes: u64,
    pub chunks_live: u64,
    pub chunks_dead: u64,
    /// Records that nothing needs, with their rows, wherever they are.
    pub records_dead_bytes: u64,
    /// Reached chunks of which no proven copy is here.
    pub missing: u64,
    /// Packs whose tables cannot be had, of a full plan. While chunks are missing too, no pack of data goes.
    pub unreadable: u64,
    /// Dead bytes in packs that stay as they are, by reason.
    pub dead_bytes_left: u64,
    pub dead_bytes_in_groups: u64,
    /// Packs that stay since something in them cannot be proven or read.
    pub stuck: u64,
    /// Bases that only deltas hold and that go, of a full plan.
    pub dissolving: Dissolving,
    pub(super) shown: Option<Sorter<40>>,
    /// The same by serial, row and id, of an incremental plan.
    pub(super) shown_rows: Vec<(u32, u32, ChunkId)>,
    pub(super) pending: Pending,
    pub(super) tallies: BTreeMap<u32, Tally>,
    /// Why it is no incremental plan, where it is none.
    pub full_because: Option<&'static str>,
}

impl Plan {
    /// Packs that are rewritten.
    pub fn rewritten(&self) -> u64 {
        self.sources.len() as u64
    }

    /// Bytes of the packs that go as they are.
    pub fn dead_bytes(&self) -> u64 {
        self.dead.iter().map(|p| p.bytes).sum()
    }

    /// Bytes that are copied into new packs.
    pub fn moved_bytes(&self) -> u64 {
        self.sources.iter().map(|s| s.kept.kept_bytes).sum()
    }

    /// Bytes that are free afterwards.
    pub fn freed_bytes(&self) -> u64 {
        // What is dissolved is freed by the next one.
        let rewritten: u64 = self.sources.iter().map(|s| s.sealed.bytes.saturating_sub(s.kept.kept_bytes)).sum();
        self.dead_bytes() + rewritten
    }

    /// Whether no pack of data goes: a chunk that snapshots need may be in a pack that cannot be read, and coded against any
    /// other.
    pub fn data_stays(&self) -> bool {
        self.unreadable > 0 && self.missing > 0
    }

    pub fn is_empty(&self) -> bool {
        self.dead.is_empty() && self.sources.is_empty() && self.dissolving.is_empty()
    }
}

/// Which snapshots are given up, and how many are still in their grace.
///
/// # Errors
/// [`Error::ClockJumped`] where that depends on a clock that stands too far ahead of the log.
fn given_up(store: &Store, options: &GcOptions) -> Result<(Vec<SnapshotInfo>, u64)> {
    let forgotten = snapshots::forgotten(store);
    let (clock, last) = (store.io().world.now_ns(), store.with_state(|s| s.time_ns));
    let now = clock.max(last);
    let is_over = |s: &SnapshotInfo| {
        let since = s.forgotten.as_ref().map_or(now, |f| f.time_ns);
        now.saturating_sub(since) >= options.grace_ns
    };
    let (over, within): (Vec<_>, Vec<_>) = forgotten.into_iter().partition(is_over);
    let jumped = clock.saturating_sub(last);
    if !over.is_empty() && options.grace_ns > 0 && jumped > GRACE_JUMP_NS && !options.trust_clock {
        let days = u64::try_from(jumped / (GRACE_JUMP_NS / 7)).unwrap_or_default(); // it is positive
        return Err(Error::ClockJumped { days });
    }
    Ok((over, within.len() as u64))
}

/// What the counts have to be told when a plan is run.
pub(super) enum Pending {
    /// A full mark summed them up.
    Founding(Box<Founding>, BTreeMap<u32, Tally>),
    /// These changed.
    Changed(BTreeMap<ChunkId, Count>, State),
    /// Nothing is known of them: the next gc makes a full mark.
    Nothing,
}

/// What is kept and why, as far as it is known.
struct Found {
    census: Census,
    pending: Pending,
}

/// Plans. Packs of the writers in `unfinished`, and those with a serial in `adopted`, stay as they are.
///
/// # Errors
/// [`Error::UnreadableTree`], [`Error::ClockJumped`], [`Error::Interrupted`], [`Error::Index`], [`Error::Io`] where the
/// sort needs room in the store's folder and cannot have it.
pub(super) fn make(
    store: &Store,
    options: &GcOptions,
    unfinished: &BTreeSet<WriterId>,
    adopted: &std::ops::Range<u32>,
    control: &Control,
) -> Result<Plan> {
    let (given_up, in_grace) = given_up(store, options)?;
    let gone: BTreeSet<SnapshotId> = given_up.iter().map(|s| s.id).collect();
    let packs: Vec<SealedPack> = store.with_state(|s| s.packs().map(|p| p.sealed).collect());
    let members = store.with_state(Members::of);
    // What lies on a disk that is away comes back with it, but not from one that was given up.
    let given_up_on: BTreeSet<DiskId> =
        store.with_state(|s| s.disks.iter().filter(|(_, d)| d.retired).map(|(id, _)| *id).collect());
    let is_away = |pack: &SealedPack| !store.pool().holds(pack) && !given_up_on.contains(&pack.disk);
    let stays =
        |pack: &SealedPack| unfinished.contains(&pack.pack.writer()) || adopted.contains(&pack.serial) || is_away(pack);
    let pack_bytes = store.superblock().pack_bytes;
    let roots = store.with_state(|s| (s.live_snapshots().len() + s.forgotten_snapshots().len()) as u64);
    let mut plan = match by_change(store, options, &gone, control)? {
        Ok(change) => {
            let small = pack_bytes / SMALL_PART;
            let mut plan = incremental(store, &change, &packs, small, &members, &mut |census| {
                sort_out(census, packs.clone(), &stays, &members, options, pack_bytes)
            })?;
            let (changed, state) = change.into_parts();
            plan.pending = Pending::Changed(changed, state);
            plan
        }
        Err(why) => {
            let Found { mut census, pending } = by_mark(store, &gone, control)?;
            let bases = std::mem::take(&mut census.bases);
            // Where something is missing it may be a better copy; and without counts nobody could be told.
            let sure = census.missing == 0 && census.unreadable == 0 && matches!(pending, Pending::Founding(..));
            let dissolving = if sure { dissolve::plan(store, control, bases)? } else { Dissolving::default() };
            let mut plan = sort_out(census, packs, &stays, &members, options, pack_bytes);
            (plan.full_because, plan.pending, plan.dissolving) = (Some(why), pending, dissolving);
            plan
        }
    };
    (plan.snapshots, plan.in_grace) = (roots - given_up.len() as u64 - in_grace, in_grace);
    plan.given_up = given_up;
    Ok(plan)
}

/// The counts as they would be, or why a full mark has to be made.
fn by_change<'s>(
    store: &'s Store,
    options: &GcOptions,
    gone: &BTreeSet<SnapshotId>,
    control: &'s Control,
) -> Result<std::result::Result<Change<'s>, &'static str>> {
    if options.full {
        return Ok(Err("it was asked for"));
    }
    // The counts name one copy of each chunk, and what it hangs on. Where that one cannot be had another may serve, which
    // hangs on other chunks.
    if store.may_lack_copies() {
        return Ok(Err("copies that the counts rely on may be out of reach"));
    }
    control.progress.set_phase("following what changed");
    match Change::follow(store, control, gone) {
        Ok(change) => Ok(Ok(change)),
        Err(Stop::Full(why)) => Ok(Err(why)),
        Err(Stop::Error(e)) => Err(e),
    }
}

/// Plans by tallies, then judges the packs that are chosen by their own tables.
fn incremental(
    store: &Store,
    change: &Change<'_>,
    packs: &[SealedPack],
    small_bytes: u64,
    members: &Members,
    sort_out: &mut dyn FnMut(Census) -> Plan,
) -> Result<Plan> {
    let mut judge = Judge::new(store, change);
    let mut shown = Vec::new();
    let mut census = Census {
        packs: BTreeMap::new(),
        reached: 0,
        missing: 0,
        shown: None,
        bases: Bases::default(),
        whole: false,
        unreadable: 0,
    };
    for sealed in packs {
        let kept = match change.state.tallies.get(&sealed.serial) {
            Some(tally) => Some(Kept::of_tally(sealed.records, tally)),
            // One that the counts do not know yet.
            None if store.pool().holds(sealed) => judge.judge(sealed, &mut Vec::new())?,
            None => None,
        };
        census.reached += kept.as_ref().map_or(0, |k| u64::from(k.kept_records));
        census.packs.extend(kept.map(|k| (sealed.serial, k)));
    }
    let tallies: BTreeMap<u32, Tally> = census.packs.iter().map(|(serial, kept)| (*serial, kept.tally())).collect();
    let mut plan = sort_out(census);
    plan.tallies = tallies;
    let chosen: Vec<SealedPack> = plan.dead.drain(..).chain(plan.sources.drain(..).map(|s| s.sealed)).collect();
    for sealed in chosen {
        let mut of_pack = Vec::new();
        let Some(kept) = judge.judge(&sealed, &mut of_pack)? else {
            plan.stuck += 1;
            continue;
        };
        plan.tallies.insert(sealed.serial, kept.tally());
        if kept.stuck {
            plan.stuck += 1;
        } else if kept.kept_records == 0 {
            plan.dead.push(sealed);
        } else if kept.kept_records == kept.records
            && sealed.bytes >= small_bytes
            && members.group(&sealed.pack).is_none()
        {
            // its tally was too low
        } else {
            // What is moved is shown to the index by that.
            plan.sources.push(Source { sealed, kept });
            continue;
        }
        shown.extend(of_pack.into_iter().map(|(row, id)| (sealed.serial, row, id)));
    }
    plan.shown_rows = shown;
    // A group of which one turned out to be stuck stays whole.
    let all = plan.dead.iter().chain(plan.sources.iter().map(|s| &s.sealed));
    let lacking = members.incomplete(all.map(|p| p.pack));
    plan.dead.retain(|p| !lacking.contains(&p.pack));
    plan.sources.retain(|s| !lacking.contains(&s.sealed.pack));
    Ok(plan)
}

/// Walks all snapshots, and holds what they reach against all tables.
fn by_mark(store: &Store, gone: &BTreeSet<SnapshotId>, control: &Control) -> Result<Found> {
    control.progress.set_phase("walking snapshots");
    let mut roots = snapshots::list(store, &[]);
    roots.extend(snapshots::forgotten(store).into_iter().filter(|s| !gone.contains(&s.id)));
    // Ten sorters beside the set of nodes, which has a quarter; the index has its own.
    let memory = usize::try_from(store.memory_bytes() / 24).unwrap_or(usize::MAX);
    let reached = Sorter::new(store.io(), store.path(), memory, Order::All)?;
    let mut mark = Mark::new(Elsewhere::new(store, control), control, reached, store.memory_bytes());
    for info in &roots {
        mark.walk(&info.id, &info.snapshot)?;
    }
    let marked = mark.finish();
    if marked.beside_index > 0 {
        let note = "nodes were found only in the packs' own tables; `onefold recover` makes the index anew";
        control.notice(Notice::Note(format!("{} {note}", marked.beside_index)));
    }
    let tables = Tables::read(store, control, memory)?;
    let (census, founding) = tables.choose(control, marked.reached, marked.exact)?;
    // Links from records that nobody could read would be missing, and nothing would tell it once they are back.
    let founding = founding.filter(|_| census.unreadable == 0);
    let tallies = census.packs.iter().map(|(serial, kept)| (*serial, kept.tally())).collect();
    let pending = founding.map_or(Pending::Nothing, |f| Pending::Founding(Box::new(f), tallies));
    Ok(Found { census, pending })
}

/// How many chunks have another count than a full mark gives them; `None` where there are no counts to compare.
///
/// # Errors
/// As [`make`].
pub(super) fn audit(store: &Store, control: &Control) -> Result<Option<u64>> {
    let none = BTreeSet::new();
    let change = match Change::follow(store, control, &none) {
        Ok(change) => change,
        Err(Stop::Full(_)) => return Ok(None),
        Err(Stop::Error(e)) => return Err(e),
    };
    let Pending::Founding(founding, _) = by_mark(store, &none, control)?.pending else { return Ok(None) };
    let (changed, _) = change.into_parts();
    let mut differ = 0u64;
    let mut kept = Vec::new(); // ids and values of a batch
    let mut total = 0u64;
    let mut compare = |batch: &mut Vec<(ChunkId, Count)>| -> Result<()> {
        let ids: Vec<ChunkId> = batch.iter().map(|(id, _)| *id).collect();
        for ((id, want), value) in batch.drain(..).zip(store.index().counts(&ids)?) {
            let have = changed.get(&id).cloned().or_else(|| value.and_then(|v| Count::decode(&v)));
            let sorted = |mut count: Count| {
                count.bases.sort_unstable();
                count
            };
            differ += u64::from(have.map(sorted) != Some(sorted(want)));
        }
        Ok(())
    };
    founding.each(&mut |id, count| {
        total += 1;
        kept.push((id, count));
        if kept.len() >= 4096 { compare(&mut kept) } else { Ok(()) }
    })?;
    compare(&mut kept)?;
    // And none that nothing leads to.
    let mut held = 0u64;
    store.index().for_each_count(&mut |id, _| {
        held += u64::from(changed.get(&id).is_none_or(|c| c.links > 0));
        Ok(true)
    })?;
    let unwritten: Vec<ChunkId> = changed.iter().filter(|(_, c)| c.links > 0).map(|(id, _)| *id).collect();
    for ids in unwritten.chunks(4096) {
        held += store.index().counts(ids)?.iter().filter(|v| v.is_none()).count() as u64;
    }
    Ok(Some(differ + held.abs_diff(total)))
}

/// Decides about each pack.
fn sort_out(
    census: Census,
    packs: Vec<SealedPack>,
    stays: &dyn Fn(&SealedPack) -> bool,
    members: &Members,
    options: &GcOptions,
    pack_bytes: u64,
) -> Plan {
    let Census { packs: mut kept, reached, missing, shown, whole, unreadable, .. } = census;
    let mut plan = Plan {
        given_up: Vec::new(),
        in_grace: 0,
        snapshots: 0,
        dead: Vec::new(),
        sources: Vec::new(),
        packs: packs.len() as u64,
        packs_bytes: packs.iter().map(|p| p.bytes).sum(),
        chunks_live: reached,
        chunks_dead: 0,
        records_dead_bytes: 0,
        missing,
        unreadable,
        dead_bytes_left: 0,
        dead_bytes_in_groups: 0,
        stuck: 0,
        dissolving: Dissolving::default(),
        shown,
        shown_rows: Vec::new(),
        pending: Pending::Nothing,
        tallies: BTreeMap::new(),
        full_because: None,
    };
    let mut units: BTreeMap<(Option<[u8; 16]>, u32), Unit> = BTreeMap::new();
    for sealed in packs {
        let kept = kept.remove(&sealed.serial);
        // One whose table cannot be had is needed by nothing if every reached chunk has a proven copy.
        let kept = kept.or_else(|| (whole && missing == 0).then(|| Kept::of_tally(0, &Tally::default())));
        let group = members.group(&sealed.pack);
        let unit = units.entry((group, if group.is_some() { 0 } else { sealed.serial })).or_default();
        match kept {
            // What an unread record is coded against is not known. Any data may be; metadata is no base.
            Some(_) if plan.data_stays() && sealed.kind.is_data() => unit.stays = true,
            _ if stays(&sealed) => unit.stays = true,
            None => unit.stuck += 1,
            Some(ref k) if k.stuck => unit.stuck += 1,
            Some(_) => {}
        }
        if let Some(kept) = kept {
            plan.chunks_dead += u64::from(kept.records - kept.kept_records);
            plan.records_dead_bytes += kept.bytes - kept.kept_bytes;
            unit.packs.push(Source { sealed, kept });
        }
    }
    let mut candidates = Vec::new();
    for ((group, _), unit) in units {
        if unit.stays || unit.stuck > 0 {
            plan.stuck += unit.stuck;
            let left = if unit.stuck == 0 && group.is_some() && unit.packs.len() > 1 {
                &mut plan.dead_bytes_in_groups
            } else {
                &mut plan.dead_bytes_left
            };
            *left += unit.dead();
        } else if unit.kept() == 0 {
            plan.dead.extend(unit.packs.into_iter().map(|s| s.sealed));
        } else {
            candidates.push(unit);
        }
    }
    // Least of it kept comes first: it frees most for what it moves.
    candidates.sort_by_cached_key(|unit| {
        // in parts of 2^32; sums of packs' bytes are far below 2^96
        let share = (u128::from(unit.kept()) << 32) / u128::from(unit.bytes().max(1));
        (share, unit.packs.first().map(|s| s.sealed.serial))
    });
    let live: u64 = candidates.iter().map(Unit::kept).sum();
    let mut dead_left: u64 = candidates.iter().map(Unit::dead).sum();
    let may_stay = live / 100 * DEAD_PERCENT;
    let mut small: BTreeMap<PackKind, Vec<Unit>> = BTreeMap::new();
    let mut chosen: Vec<Unit> = Vec::new();
    for unit in candidates {
        let sparse = match options.threshold_percent {
            Some(percent) => u128::from(unit.kept()) * 100 < u128::from(unit.bytes()) * u128::from(percent),
            None => unit.dead() > 0 && dead_left > may_stay,
        };
        if sparse {
            dead_left -= unit.dead(); // it is part of the sum
            chosen.push(unit);
        } else if unit.packs.iter().all(|s| s.sealed.bytes < pack_bytes / SMALL_PART) {
            let kind = unit.packs.first().map_or(PackKind::Data, |s| s.sealed.kind);
            small.entry(kind).or_default().push(unit);
        } else if unit.packs.len() > 1 {
            plan.dead_bytes_in_groups += unit.dead();
            dead_left -= unit.dead();
        }
    }
    for list in small.into_values().filter(|list| list.len() >= SMALL_PACKS) {
        dead_left -= list.iter().map(Unit::dead).sum::<u64>(); // parts of the sum
        chosen.extend(list);
    }
    for source in chosen.into_iter().flat_map(|unit| unit.packs) {
        match source.kept.kept_records {
            0 => plan.dead.push(source.sealed), // the others of its group are moved first
            _ => plan.sources.push(source),
        }
    }
    plan.dead_bytes_left += dead_left;
    plan
}
