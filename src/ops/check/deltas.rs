//! Which records are deltas: a base must be had from one that is none.

use crate::format::record::{HEADER_BYTES_MAX, Header};
use crate::store::{Located, Store};
use std::collections::{HashMap, VecDeque};

/// The part of the memory budget in which it is kept in mind where packs' deltas are.
const MEMORY_PART: u64 = 16;
/// What a pack takes beside its offsets, in offsets.
const PACK_OFFSETS: usize = 16;

/// Which records are deltas, by the tables of packs that were asked for lately.
pub(in crate::ops) struct Deltas<'s> {
    store: &'s Store,
    /// By serial: the offsets of deltas, in order.
    known: HashMap<u32, Vec<u32>>,
    order: VecDeque<u32>,
    /// Offsets that are held, and may be.
    held: usize,
    held_max: usize,
}

impl<'s> Deltas<'s> {
    pub fn of(store: &'s Store) -> Self {
        let held_max = usize::try_from(store.memory_bytes() / MEMORY_PART / 4).unwrap_or(usize::MAX);
        Deltas { store, known: HashMap::new(), order: VecDeque::new(), held: 0, held_max }
    }

    /// Whether a record is a delta.
    pub fn has(&mut self, at: &Located) -> bool {
        let serial = at.sealed.serial;
        if !self.known.contains_key(&serial) {
            let Ok(ends) = self.store.ends(&at.sealed) else { return self.says_its_header(at) };
            let rows = ends.footer.rows.iter().filter(|r| !r.header.bases.is_empty());
            let mut offsets: Vec<u32> = rows.map(|r| r.offset).collect();
            offsets.sort_unstable();
            self.held += offsets.len() + PACK_OFFSETS;
            while self.held > self.held_max
                && let Some(oldest) = self.order.pop_front()
            {
                self.held -= self.known.remove(&oldest).map_or(0, |gone| gone.len() + PACK_OFFSETS);
            }
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
