//! What of single packs is kept, by their own tables and the counts: what an incremental gc decides by.
//!
//! Tallies say which packs are worth a look. A pack is then judged row by row: a row is kept if anything leads to its
//! chunk, unless the index has another copy of it, that copy's own pack confirms it, and this one is not the plain
//! copy of a chunk that is coded there. Doubt keeps.

use super::change::Change;
use super::keep::{Kept, row_bytes};
use crate::error::Result;
use crate::format::ChunkId;
use crate::format::event::SealedPack;
use crate::format::footer::Row;
use crate::ops::share::is_of_one_place;
use crate::store::{Located, Store};
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

/// Rows that are looked up at once.
const BATCH: usize = 4096;
/// Tables of other packs that are held, at most.
const TABLES: usize = 32;

/// Judges packs.
pub(super) struct Judge<'s, 'c> {
    store: &'s Store,
    change: &'c Change<'s>,
    tables: HashMap<u32, Option<Arc<Vec<Row>>>>,
    order: VecDeque<u32>,
}

impl<'s, 'c> Judge<'s, 'c> {
    pub fn new(store: &'s Store, change: &'c Change<'s>) -> Self {
        Judge { store, change, tables: HashMap::new(), order: VecDeque::new() }
    }

    /// What of a pack is kept; `None` where its table cannot be had. Chunks that are to be shown to the index go to `shown`:
    /// row, and id.
    ///
    /// # Errors
    /// [`crate::Error::Index`].
    pub fn judge(&mut self, sealed: &SealedPack, shown: &mut Vec<(u32, ChunkId)>) -> Result<Option<Kept>> {
        let rows = match self.store.ends(sealed) {
            Ok(ends) => ends.footer.rows,
            Err(e) if is_of_one_place(&e) => return Ok(None),
            Err(e) => return Err(e),
        };
        let mut kept = Kept::new(rows.len() as u32); // at most PACK_RECORDS
        let mut n = 0u32;
        for rows in rows.chunks(BATCH) {
            let ids: Vec<ChunkId> = rows.iter().map(|r| r.header.id).collect();
            let (live, places) = (self.change.live(&ids)?, self.store.locate(&ids)?);
            for ((row, live), at) in rows.iter().zip(live).zip(places) {
                kept.bytes += u64::from(row_bytes(row));
                if live {
                    let here = |at: &Located| at.place.pack == sealed.serial && at.place.offset == row.offset;
                    let other = at.filter(|at| !here(at)).and_then(|at| self.confirmed(&at, &row.header.id));
                    let stays = match &other {
                        None => true,
                        Some(coded) => row.header.bases.is_empty() && *coded,
                    };
                    if stays {
                        kept.keep(n, row_bytes(row));
                        let damaged = self.store.with_state(|s| {
                            s.is_damaged(&sealed.pack, u64::from(row.offset), row.header.record_bytes())
                        });
                        kept.stuck |= damaged;
                        if other.is_some() && !damaged {
                            shown.push((n, row.header.id));
                        }
                    }
                }
                n += 1;
            }
        }
        Ok(Some(kept))
    }

    /// Whether the copy at a place is coded against others, if the pack's own table has it there.
    fn confirmed(&mut self, at: &Located, id: &ChunkId) -> Option<bool> {
        if !self.tables.contains_key(&at.place.pack) {
            let rows = self.store.ends(&at.sealed).ok().map(|ends| Arc::new(ends.footer.rows));
            self.tables.insert(at.place.pack, rows);
            self.order.push_back(at.place.pack);
            if self.order.len() > TABLES
                && let Some(oldest) = self.order.pop_front()
            {
                self.tables.remove(&oldest);
            }
        }
        let rows = self.tables.get(&at.place.pack)?.as_ref()?;
        let i = rows.binary_search_by_key(&at.place.offset, |row| row.offset).ok()?;
        let row = rows.get(i).filter(|row| row.header.id == *id)?;
        Some(!row.header.bases.is_empty())
    }
}
