//! The index against the packs' tables: it has each row, and no more than the rows.

use super::{Check, unpoisoned};
use crate::error::{Error, Result};
use crate::format::ChunkId;
use crate::format::event::SealedPack;
use crate::format::record::{HEADER_BYTES_MAX, Header};
use crate::index::Place;
use crate::store::Located;
use std::collections::HashMap;

/// Chunks that are looked up at once.
const BATCH: usize = 1024;
/// Chunks whose places are remembered because the index does not have them: some 150 bytes each.
const OTHERS_MAX: usize = 1 << 20;

impl Check<'_> {
    /// Looks the rows of one pack up: each is in the index here, or where it is as well.
    pub(super) fn compare_with_index(&self, sealed: &SealedPack, rows: &[(ChunkId, Place)]) {
        for rows in rows.chunks(BATCH) {
            if unpoisoned(&self.findings).index_error.is_some() {
                return;
            }
            if let Err(e) = self.compare_batch(sealed, rows) {
                unpoisoned(&self.findings).index_error.get_or_insert(e.line());
            }
        }
    }

    fn compare_batch(&self, sealed: &SealedPack, rows: &[(ChunkId, Place)]) -> Result<()> {
        let ids: Vec<ChunkId> = rows.iter().map(|(id, _)| *id).collect();
        let (mut here, mut lacking, mut others) = (0, 0, Vec::new());
        for (&(id, own), at) in rows.iter().zip(self.store.locate_indexed(&ids)?) {
            match at {
                Some(at) if at.place == own => here += 1,
                Some(at) => {
                    lacking += u64::from(!self.holds(&at, &id));
                    others.push((id, own));
                }
                None => match self.store.index().get(&id)? {
                    // In damage that the log knows: the index may have it, nobody goes by it.
                    Some(place) if place == own => here += 1,
                    elsewhere => {
                        let explained = self.store.with_state(|s| {
                            // A writer may have gone on after our log was read.
                            elsewhere.is_some_and(|place| place.pack >= s.next_serial())
                                || s.is_damaged(&sealed.pack, u64::from(own.offset), u64::from(own.stored))
                        });
                        lacking += u64::from(!explained);
                        others.push((id, own));
                    }
                },
            }
        }
        let mut findings = unpoisoned(&self.findings);
        *findings.indexed.entry(sealed.serial).or_default() += here;
        if lacking > 0 {
            *findings.unindexed.entry(sealed.serial).or_default() += lacking;
        }
        for (id, place) in others {
            if findings.others.len() < OTHERS_MAX {
                findings.others.entry(id).or_default().push(place);
            } else {
                findings.others_left_out += 1;
            }
        }
        Ok(())
    }

    /// Whether the record at this place names the chunk: what the index says of a chunk with two copies.
    fn holds(&self, at: &Located, id: &ChunkId) -> bool {
        let Ok(file) = self.store.open_pack(&at.sealed) else { return false };
        let mut head = vec![0; HEADER_BYTES_MAX];
        let offset = u64::from(at.place.offset);
        let mut n = 0;
        while let Some(rest) = head.get_mut(n..).filter(|r| !r.is_empty()) {
            match file.read_at(rest, offset + n as u64) {
                Ok(0) => break,
                Ok(more) => n += more,
                Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
                Err(_) => return false,
            }
        }
        head.truncate(n);
        Header::decode(at.sealed.pack, offset, &head).is_ok_and(|h| h.id == *id)
    }

    /// Goes through the index: it may not have more chunks in a pack than the pack's table has there.
    pub(super) fn index_holds_no_more(&self) -> Result<()> {
        let mut findings = unpoisoned(&self.findings);
        if findings.index_error.is_some() {
            return Ok(());
        }
        let mut counts: HashMap<u32, u64> = HashMap::new();
        let mut seen = 0u64;
        let visited = self.store.index().for_each(None, &mut |_, place| {
            seen += 1;
            if seen.is_multiple_of(1 << 16) {
                self.proceed()?;
            }
            if findings.indexed.contains_key(&place.pack) {
                *counts.entry(place.pack).or_default() += 1;
            }
            Ok(true)
        });
        match visited {
            Err(e @ Error::Interrupted) => return Err(e),
            Err(e) => findings.index_error = Some(e.line()),
            Ok(()) => {}
        }
        for (serial, n) in counts {
            let more = n.saturating_sub(findings.indexed.get(&serial).copied().unwrap_or(0));
            if more > 0 {
                *findings.unindexed.entry(serial).or_default() += more;
            }
        }
        Ok(())
    }
}
