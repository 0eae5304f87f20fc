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
use crate::index::Place;
use crate::ops::Control;
use crate::ops::check::deltas::Deltas;
use crate::ops::check::truth::{Judge, Truth};
use crate::store::Located;
use std::collections::HashSet;

/// Bases that are asked for at once.
const BATCH: usize = 4096;

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
