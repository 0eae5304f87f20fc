//! Deltas whose bases cannot be had: a chunk that is whole and still lost.
//!
//! A base must be had from a record that is no delta itself: a reader follows one level. A chunk that is a base may lie as a delta
//! besides, where it was stored again while its own copy was away.
//!
//! Asked only where something is missing or harmed, since it goes through the tables of all packs again. A delta that no
//! snapshot needs (an interrupted run may leave one) is nobody's loss, so nothing is reported here: the snapshots'
//! check finds what they need.

use crate::error::Result;
use crate::format::ChunkId;
use crate::format::record::{HEADER_BYTES_MAX, Header};
use crate::index::Place;
use crate::ops::Control;
use crate::ops::check::truth::{Judge, Truth};
use crate::store::{Located, Store};
use std::collections::{HashMap, HashSet, VecDeque};

/// Bases that are asked for at once.
const BATCH: usize = 4096;

/// Packs of which it is kept in mind where their deltas are: four bytes each.
const PACKS_KEPT: usize = 1024;

/// Which records are deltas, by the tables of packs that were asked for lately.
struct Deltas<'s> {
    store: &'s Store,
    /// By serial: the offsets of deltas, in order.
    known: HashMap<u32, Vec<u32>>,
    order: VecDeque<u32>,
}

impl<'s> Deltas<'s> {
    fn of(store: &'s Store) -> Self {
        Deltas { store, known: HashMap::new(), order: VecDeque::new() }
    }

    fn has(&mut self, at: &Located) -> bool {
        let serial = at.sealed.serial;
        if !self.known.contains_key(&serial) {
            let Ok(ends) = self.store.ends(&at.sealed) else { return self.says_its_header(at) };
            if self.order.len() >= PACKS_KEPT
                && let Some(oldest) = self.order.pop_front()
            {
                self.known.remove(&oldest);
            }
            let rows = ends.footer.rows.iter().filter(|r| !r.header.bases.is_empty());
            let mut offsets: Vec<u32> = rows.map(|r| r.offset).collect();
            offsets.sort_unstable();
            self.order.push_back(serial);
            self.known.insert(serial, offsets);
        }
        self.known.get(&serial).is_some_and(|offsets| offsets.binary_search(&at.place.offset).is_ok())
    }

    /// Of a pack whose table cannot be had.
    fn says_its_header(&self, at: &Located) -> bool {
        let (offset, most) = (u64::from(at.place.offset), HEADER_BYTES_MAX.min(at.place.stored as usize));
        let mut bytes = vec![0; most];
        let read = self.store.open_pack(&at.sealed).is_ok_and(|f| f.read_exact_at(&mut bytes, offset).is_ok());
        let header = read.then(|| Header::decode(at.sealed.pack, offset, &bytes).ok()).flatten();
        header.is_some_and(|h| !h.bases.is_empty())
    }
}

/// Whether a base can be had, from a record that is no delta.
fn is_had(truth: &Truth<'_>, deltas: &mut Deltas<'_>, id: &ChunkId, found: Option<Located>) -> Result<bool> {
    match found {
        None => Ok(false),
        Some(at) if !deltas.has(&at) => Ok(true),
        Some(_) => truth.has_other(id, &mut |at| !deltas.has(at)),
    }
}

/// Tells the truth which deltas stand without a base.
///
/// # Errors
/// [`crate::Error::Index`], [`crate::Error::Interrupted`].
pub(super) fn find(truth: &mut Truth<'_>, salvaged: &[(Place, Vec<ChunkId>)], control: &Control) -> Result<()> {
    let store = truth.store;
    let packs: Vec<_> = store.with_state(|s| s.packs().map(|p| p.sealed).collect());
    let mut orphans = HashSet::new();
    let mut known = Deltas::of(store);
    for sealed in packs.into_iter().filter(|p| store.reaches(p)) {
        control.proceed()?;
        let Ok(ends) = store.ends(&sealed) else { continue };
        let deltas: Vec<_> = ends.footer.rows.iter().filter(|r| !r.header.bases.is_empty()).collect();
        for rows in deltas.chunks(BATCH) {
            let bases: Vec<ChunkId> = rows.iter().flat_map(|r| r.header.bases.iter().copied()).collect();
            let mut found = truth.find(&bases)?.into_iter();
            for row in rows {
                // As many answers as were asked for, in that order.
                let mut all = true;
                for (id, at) in row.header.bases.iter().zip(found.by_ref().take(row.header.bases.len())) {
                    all &= is_had(truth, &mut known, id, at.ok())?;
                }
                if !all {
                    let place = Place::of(sealed.serial, row);
                    orphans.insert((place.pack, place.offset));
                }
            }
        }
    }
    for (place, bases) in salvaged {
        let mut all = true;
        for (id, at) in bases.iter().zip(truth.find(bases)?) {
            all &= is_had(truth, &mut known, id, at.ok())?;
        }
        if !all {
            orphans.insert((place.pack, place.offset));
        }
    }
    truth.orphans = orphans;
    Ok(())
}
