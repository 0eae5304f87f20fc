//! One entry of the log: the bytes of `log/NNNNNNNNNNNN`.
//!
//! The envelope proves it; the body is:
//!
//! ```text
//!  offset  size  field
//!       0    16  store id
//!      16     8  number       from 1 on, as in the name
//!      24    32  previous     hash of the entry before; zeros for number 1
//!      56     8  time         ns since 1970, signed; always later than the entry before
//!      64     8  checkpoint   number of the newest entry, this one included, from which the state can
//!                             be built without any before it
//!      72     8  features     incompatible feature bits: unknown ones are refused
//!      80     .  events       count:varint, then each
//! ```
//! An entry whose checkpoint is its own number starts from nothing: its events recreate the whole
//! state. The hash of an entry is the envelope's.

use super::envelope;
use super::event::Event;
use super::id::{EntryHash, StoreId};
use super::superblock::KNOWN_FEATURES;
use super::wire::{Put, Reader};
use crate::error::{Error, Result};
use std::path::Path;

const MAGIC: [u8; 8] = *b"OFLOG01\n";
const WHAT: &str = "a log entry";

/// One entry of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogEntry {
    pub store: StoreId,
    pub number: u64,
    pub previous: EntryHash,
    pub time_ns: i64,
    pub checkpoint: u64,
    pub events: Vec<Event>,
}

/// The name of entry `number` in a log folder.
pub fn file_name(number: u64) -> String {
    format!("{number:012}")
}

/// The number that a name in a log folder stands for; `None` for other names.
pub fn number_of(name: &std::ffi::OsStr) -> Option<u64> {
    let name = name.to_str()?;
    let number: u64 = name.parse().ok()?;
    (number > 0 && file_name(number) == name).then_some(number)
}

impl LogEntry {
    /// The bytes and their hash.
    pub fn encode(&self) -> (Vec<u8>, EntryHash) {
        let mut b = Vec::with_capacity(1024);
        b.put(&self.store.0);
        b.put_u64(self.number);
        b.put(&self.previous.0);
        b.put_i64(self.time_ns);
        b.put_u64(self.checkpoint);
        b.put_u64(0);
        b.put_varint(self.events.len() as u64);
        self.events.iter().for_each(|e| e.encode_into(&mut b));
        let sealed = envelope::seal(MAGIC, &b);
        let hash = envelope::hash_of(&sealed).unwrap_or_default(); // a sealed file always ends in its hash
        (sealed, EntryHash(hash))
    }

    /// # Errors
    /// [`Error::Damaged`], [`Error::Malformed`], [`Error::FromTheFuture`].
    pub fn decode(path: &Path, bytes: &[u8]) -> Result<(Self, EntryHash)> {
        let mut r = Reader::new(WHAT, envelope::open(WHAT, MAGIC, path, bytes)?);
        let (store, number, previous) = (StoreId(r.array()?), r.u64()?, EntryHash(r.array()?));
        let (time_ns, checkpoint, features) = (r.i64()?, r.u64()?, r.u64()?);
        if features & !KNOWN_FEATURES != 0 {
            let (needs, ours) = (format!("features {features:#x}"), format!("features {KNOWN_FEATURES:#x}"));
            return Err(Error::FromTheFuture { what: WHAT, path: path.to_owned(), needs, ours });
        }
        if number == 0 || checkpoint == 0 || checkpoint > number {
            return Err(r.bad("its numbers cannot be"));
        }
        let n = r.count(6, usize::MAX)?;
        let events = (0..n).map(|_| Event::decode(&mut r)).collect::<Result<_>>()?;
        r.end()?;
        let hash = EntryHash(envelope::hash_of(bytes).unwrap_or_default()); // proven by the envelope above
        Ok((LogEntry { store, number, previous, time_ns, checkpoint, events }, hash))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry() -> LogEntry {
        LogEntry {
            store: StoreId([1; 16]),
            number: 12,
            previous: EntryHash([2; 32]),
            time_ns: 5,
            checkpoint: 3,
            events: super::super::event::samples(),
        }
    }

    #[test]
    fn an_entry_comes_back_with_its_hash_and_every_bit_flip_is_refused() {
        let (bytes, hash) = entry().encode();
        assert_eq!(LogEntry::decode(Path::new("l"), &bytes).unwrap(), (entry(), hash));
        for bit in 0..bytes.len() * 8 {
            let mut bad = bytes.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(LogEntry::decode(Path::new("l"), &bad).is_err(), "bit {bit} went unnoticed");
        }
    }

    #[test]
    fn only_twelve_digit_names_are_entries() {
        assert_eq!(number_of("000000000012".as_ref()), Some(12));
        assert_eq!(number_of("1000000000000".as_ref()), Some(1_000_000_000_000), "more digits when they are needed");
        for other in ["12", "000000000000", ".000000000012.tmp", "00000000001x", "0000000000012"] {
            assert_eq!(number_of(other.as_ref()), None, "{other}");
        }
    }
}
