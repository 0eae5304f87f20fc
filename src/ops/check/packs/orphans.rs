//! Deltas whose bases cannot be had: a chunk that is whole and still lost.
//!
//! Asked only where something is missing or harmed, since it goes through the tables of all packs again. A delta that no
//! snapshot needs (an interrupted run may leave one) is nobody's loss, so nothing is reported here: the snapshots'
//! check finds what they need.

use crate::error::Result;
use crate::format::ChunkId;
use crate::index::Place;
use crate::ops::Control;
use crate::ops::check::truth::{Judge, Truth};
use std::collections::HashSet;

/// Bases that are asked for at once.
const BATCH: usize = 4096;

/// Tells the truth which deltas stand without a base.
///
/// # Errors
/// [`crate::Error::Index`], [`crate::Error::Interrupted`].
pub(super) fn find(truth: &mut Truth<'_>, salvaged: &[(Place, Vec<ChunkId>)], control: &Control) -> Result<()> {
    let store = truth.store;
    let packs: Vec<_> = store.with_state(|s| s.packs().map(|p| p.sealed).collect());
    let mut orphans = HashSet::new();
    for sealed in packs.into_iter().filter(|p| store.reaches(p)) {
        control.proceed()?;
        let Ok(ends) = store.ends(&sealed) else { continue };
        let deltas: Vec<_> = ends.footer.rows.iter().filter(|r| !r.header.bases.is_empty()).collect();
        for rows in deltas.chunks(BATCH) {
            let bases: Vec<ChunkId> = rows.iter().flat_map(|r| r.header.bases.iter().copied()).collect();
            let mut found = truth.find(&bases)?.into_iter();
            for row in rows {
                // As many answers as were asked for, in that order.
                let lacking = found.by_ref().take(row.header.bases.len()).filter(|f| f.is_err()).count();
                if lacking > 0 {
                    let place = Place::of(sealed.serial, row);
                    orphans.insert((place.pack, place.offset));
                }
            }
        }
    }
    for (place, bases) in salvaged {
        if truth.find(bases)?.iter().any(std::result::Result::is_err) {
            orphans.insert((place.pack, place.offset));
        }
    }
    truth.orphans = orphans;
    Ok(())
}
