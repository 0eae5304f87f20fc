//! Sorted records that begin with a chunk's id, for merges by id.

use super::{Sorted, Sorter};
use crate::error::Result;
use crate::format::ChunkId;
use std::cmp::Ordering;

const ID_BYTES: usize = ChunkId::BYTES;

/// Sorted records with a look at the next one. A record is at least as long as an id.
pub struct Ahead<const N: usize> {
    sorted: Sorted<N>,
    next: Option<[u8; N]>,
}

impl<const N: usize> Ahead<N> {
    const LONG_ENOUGH: () = assert!(N >= ID_BYTES);

    /// # Errors
    /// [`crate::Error::Io`] of the sort.
    pub fn new(sorter: Sorter<N>) -> Result<Self> {
        let () = Self::LONG_ENOUGH;
        let mut sorted = sorter.finish()?;
        let next = sorted.next()?;
        Ok(Ahead { sorted, next })
    }

    /// The next record's id.
    pub fn id(&self) -> Option<[u8; ID_BYTES]> {
        self.next.as_ref().and_then(|record| record.first_chunk().copied())
    }

    /// The next record if it is of this id; those of smaller ids are passed over.
    ///
    /// # Errors
    /// [`crate::Error::Io`], [`crate::Error::Damaged`] of the sort.
    pub fn take(&mut self, id: &[u8; ID_BYTES]) -> Result<Option<[u8; N]>> {
        while let Some(record) = self.next {
            match record[..ID_BYTES].cmp(&id[..]) {
                // `new` compiles for records that are as long
                Ordering::Less => self.next = self.sorted.next()?,
                Ordering::Equal => {
                    self.next = self.sorted.next()?;
                    return Ok(Some(record));
                }
                Ordering::Greater => return Ok(None),
            }
        }
        Ok(None)
    }
}
