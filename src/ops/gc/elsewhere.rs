//! Metadata chunks wherever they lie: by the index, or, where it lies or lacks, by the packs' own tables.
//!
//! A gc that stopped at the first node that the index does not know would be no use when it is needed; one that took such
//! a node's children for dead would be worse. So the tables of all metadata packs are read at the first node that
//! cannot be had, and each copy of it is tried.

use crate::chunk::Unsqueezer;
use crate::error::{Error, Result};
use crate::format::event::SealedPack;
use crate::format::footer::PackKind;
use crate::format::{ChunkId, ChunkKind};
use crate::index::Place;
use crate::io::threads::Mutex;
use crate::ops::Control;
use crate::ops::share::tables;
use crate::pack::ReadChunks;
use crate::store::{Located, Store};
use std::collections::HashMap;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicU64, Ordering};

/// What a row takes in the map, its slack included.
const ROW_BYTES: u64 = 96;

/// Where the rows of metadata packs are, by sixteen bytes of their ids.
type Copies = HashMap<u128, Vec<Place>>;

/// Reads chunks of a store.
pub(super) struct Elsewhere<'s> {
    store: &'s Store,
    control: &'s Control,
    copies: Mutex<Option<Copies>>,
    found: AtomicU64,
}

impl<'s> Elsewhere<'s> {
    pub fn new(store: &'s Store, control: &'s Control) -> Self {
        Elsewhere { store, control, copies: Mutex::new(None), found: AtomicU64::new(0) }
    }

    /// How many chunks were had only by the tables.
    pub fn found(&self) -> u64 {
        self.found.load(Ordering::Relaxed)
    }

    fn read(&self) -> Result<Copies> {
        let most = self.store.memory_bytes() / 4 / ROW_BYTES;
        let (mut copies, mut rows_held) = (Copies::new(), 0u64);
        let is_metadata = |pack: &SealedPack| pack.kind == PackKind::Metadata;
        tables::each(self.store, self.control, is_metadata, &|_| true, &mut |pack, rows| {
            rows_held += rows.len() as u64;
            if rows_held > most {
                let why =
                    "it lacks nodes, and the packs' tables do not fit into the memory budget; run `onefold recover`";
                let path = self.store.path().join(crate::store::INDEX_DIR);
                return Err(Error::Index { action: "be used", path, why: why.into() });
            }
            for row in rows {
                copies.entry(row.header.id.half()).or_default().push(Place::of(pack.serial, &row));
            }
            Ok(())
        })?;
        Ok(copies)
    }

    fn copies_of(&self, id: &ChunkId) -> Result<Vec<Place>> {
        let mut copies = self.copies.lock().unwrap_or_else(PoisonError::into_inner);
        if copies.is_none() {
            *copies = Some(self.read()?);
        }
        Ok(copies.as_ref().and_then(|c| c.get(&id.half())).cloned().unwrap_or_default())
    }
}

impl ReadChunks for Elsewhere<'_> {
    fn chunk(&self, kind: ChunkKind, id: &ChunkId) -> Result<Vec<u8>> {
        let first = match self.store.chunk(kind, id) {
            Ok(bytes) => return Ok(bytes),
            Err(e) if crate::ops::share::is_of_one_place(&e) => e,
            Err(e) => return Err(e),
        };
        for place in self.copies_of(id)? {
            let Some(sealed) = self.store.with_state(|s| s.pack(place.pack).map(|p| p.sealed)) else { continue };
            let at = Located { sealed, place };
            if let Ok(bytes) = self.store.read_at(kind, id, &at, &mut Unsqueezer::default()) {
                self.found.fetch_add(1, Ordering::Relaxed);
                return Ok(bytes);
            }
        }
        Err(first)
    }
}
