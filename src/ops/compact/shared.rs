//! Holding safer what many files share: chunks that more than so many files need move to packs of a class of their own.
//!
//! The groups of such packs have one parity pack more than those of other data, so one disk more may die before a chunk of
//! theirs is lost; `docs/design/0006-shared.md` has the reasons. Records are copied as they stand, in the order of the packs
//! that they come from; their old copies are superseded, and the next gc takes them.

use super::CompactReport;
use crate::catalog::state::SETTING_SHARED;
use crate::error::{Error, Result};
use crate::format::event::{Event, SealedPack};
use crate::format::footer::Footer;
use crate::io::File;
use crate::ops::gc::keep::row_bytes;
use crate::ops::gc::{Limits, Superseded, moves};
use crate::ops::ingest::Ingest;
use crate::ops::share::is_of_one_place;
use crate::ops::share::needs::{self, Needed};
use crate::ops::{Control, Notice};
use crate::pack::write::NewRecord;
use crate::store::Store;
use std::sync::Arc;

/// Bytes of records that are sent at once, at most.
const BATCH_BYTES: u64 = 4 << 20;
/// What goes to one lane in a row, in bytes, at least and at most.
const RUN_BYTES: std::ops::RangeInclusive<u64> = 1 << 20..=64 << 20;

/// What would be held safer.
pub struct SharedPlan {
    /// `None` where nothing is to be held safer any more.
    pub needed: Option<Needed>,
    /// The store is to be set to this.
    pub sets: Option<u64>,
}

impl SharedPlan {
    pub fn chunks(&self) -> u64 {
        self.needed.as_ref().map_or(0, Needed::rest_chunks)
    }

    /// Bytes of records that would move.
    pub fn move_bytes(&self) -> u64 {
        self.needed.as_ref().map_or(0, Needed::rest_bytes)
    }

    pub fn is_empty(&self) -> bool {
        self.chunks() == 0 && self.sets.is_none()
    }
}

/// Looks which chunks more than `more_than` files need; 0 gives up what is held safer.
///
/// # Errors
/// [`Error::Argument`] where there are too few disks for one more parity pack; those of [`needs::find`].
pub fn plan(store: &Store, more_than: u64, control: &Control) -> Result<SharedPlan> {
    let (set, parity) = store.with_state(|s| (s.protects_shared().unwrap_or(0), s.parity()));
    let sets = (set != more_than).then_some(more_than);
    if more_than == 0 {
        return Ok(SharedPlan { needed: None, sets });
    }
    let disks = store.pool().disks().filter(|d| d.takes_data()).count();
    let wanted = parity + 2; // a pack, its parity, and one parity pack more
    if disks < wanted {
        let why = format!(
            "{disks} disks take data; with the parity that is set there must be {wanted} or more, so that one disk more may \
             be lost"
        );
        return Err(Error::Argument { what: "holding shared chunks safer".into(), why });
    }
    Ok(SharedPlan { needed: Some(needs::find(store, more_than, control)?), sets })
}

/// Sets the store to what a plan says. Before its chunks move: their groups are made by it.
///
/// # Errors
/// Those of the log.
pub fn set(store: &Store, plan: &SharedPlan) -> Result<()> {
    let Some(sets) = plan.sets else { return Ok(()) };
    store.append(|_| vec![Event::Setting { key: SETTING_SHARED.into(), value: sets.to_string() }]).map(drop)
}

/// A pack that is being gone through.
struct Open {
    sealed: SealedPack,
    file: Arc<dyn File>,
    footer: Footer,
}

/// Opens a pack; the inner `None` is one that cannot be read, which is told.
fn open(store: &Store, serial: u32, control: &Control) -> Result<Option<Open>> {
    let Some(sealed) = store.with_state(|s| s.pack(serial).map(|p| p.sealed)) else { return Ok(None) };
    match store.open_pack(&sealed).and_then(|file| Ok((file, store.ends(&sealed)?.footer))) {
        Ok((file, footer)) => Ok(Some(Open { sealed, file, footer })),
        Err(e) if is_of_one_place(&e) => {
            control.notice(Notice::Note(format!("{e}; the pack is left out")));
            Ok(None)
        }
        Err(e) => Err(e),
    }
}

/// Sends what a plan moves. All data of the ingest is held safer.
///
/// # Errors
/// [`Error::Interrupted`], and whatever ends an ingest. What was moved by then need not be moved again.
pub fn run(
    ingest: &Ingest<'_>,
    control: &Control,
    needed: Needed,
    limits: &Limits,
    (report, superseded): (&mut CompactReport, &mut Superseded),
) -> Result<()> {
    control.progress.set_phase("holding shared chunks safer");
    let store = ingest.store();
    // Packs of one length, about: parity is as long as the longest of a group.
    let run_bytes = (needed.rest_bytes() / ingest.data_lanes().max(1)).clamp(*RUN_BYTES.start(), *RUN_BYTES.end());
    let at_once = run_bytes.min(BATCH_BYTES);
    let mut rest = needed.into_rest()?;
    let (mut sent, mut bytes) = (0u64, 0u64);
    let mut batch: Vec<NewRecord> = Vec::new();
    let mut pack: (Option<u32>, Option<Open>) = (None, None);
    while let Some(lies) = rest.next_place()? {
        if bytes >= at_once {
            ingest.proceed()?;
            ingest.send_together(ingest.lane_of(sent / run_bytes), std::mem::take(&mut batch))?;
            (sent, bytes) = (sent + bytes, 0);
        }
        if bytes == 0 && limits.are_reached(store, report.bytes_handled()) {
            report.stopped_at_limit = true;
            break;
        }
        if pack.0 != Some(lies.serial) {
            pack = (Some(lies.serial), open(store, lies.serial, control)?);
        }
        let Some(open) = &pack.1 else {
            report.chunks_unreadable += 1;
            continue;
        };
        let Ok(n) = open.footer.rows.binary_search_by_key(&lies.offset, |row| row.offset) else { continue };
        let row = &open.footer.rows[n]; // it was found there
        match moves::record_of(ingest, &*open.file, &open.sealed, &open.footer, n, row)? {
            Ok(record) => {
                let of_pack = superseded.entry(lies.serial).or_default();
                *of_pack = (of_pack.0 + 1, of_pack.1 + u64::from(row_bytes(row)));
                let length = record.record_bytes();
                report.chunks_protected += 1;
                report.protected_bytes += length;
                ingest.pace(length)?;
                ingest.progress(length);
                bytes += length;
                batch.push(record);
            }
            Err(e) => {
                report.chunks_unreadable += 1;
                control.notice(Notice::Note(format!("{e}; the chunk stays where it is")));
            }
        }
    }
    ingest.send_together(ingest.lane_of(sent / run_bytes), batch)
}

#[cfg(test)]
mod tests;
