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
//!      72     8  features: incompatible          in use from here on; unknown bits: no reading
//!      80     8  features: read-only-compatible  in use from here on; unknown bits: no writing
//!      88     .  events       count:varint, then each
//! ```
//! A feature, once in use, is in every later entry. Whoever begins to write a kind, codec, flag or event that
//! version 1 does not know sets a bit first: that is how an older program tells the future from damage.
//! An entry whose checkpoint is its own number starts from nothing: its events recreate the whole
//! state. The hash of an entry is the envelope's.

use super::envelope;
use super::event::Event;
use super::id::{EntryHash, StoreId};
use super::superblock::KNOWN_INCOMPATIBLE;
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
    /// Feature bits in use: incompatible, read-only-compatible.
    pub features: (u64, u64),
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
        b.put_u64(self.features.0);
        b.put_u64(self.features.1);
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
        let (time_ns, checkpoint, features) = (r.i64()?, r.u64()?, (r.u64()?, r.u64()?));
        if features.0 & !KNOWN_INCOMPATIBLE != 0 {
            let (needs, ours) = (format!("features {:#x}", features.0), format!("features {KNOWN_INCOMPATIBLE:#x}"));
            return Err(Error::FromTheFuture { what: WHAT, path: path.to_owned(), needs, ours });
        }
        if number == 0 || checkpoint == 0 || checkpoint > number {
            return Err(r.bad("its numbers cannot be"));
        }
        let n = r.count(6, usize::MAX)?;
        let mut events = Vec::with_capacity(n.min(1 << 16));
        for _ in 0..n {
            events.push(Event::decode(&mut r).map_err(|e| match e {
                Error::FromTheFuture { what, needs, ours, .. } => {
                    Error::FromTheFuture { what, path: path.to_owned(), needs, ours }
                }
                other => other,
            })?);
        }
        r.end()?;
        let hash = EntryHash(envelope::hash_of(bytes).unwrap_or_default()); // proven by the envelope above
        Ok((LogEntry { store, number, previous, time_ns, checkpoint, features, events }, hash))
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
            features: (0, 1 << 9),
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
    fn an_unknown_incompatible_feature_or_event_is_the_future_and_no_damage() {
        let future =
            |e: &LogEntry| matches!(LogEntry::decode(Path::new("l"), &e.encode().0), Err(Error::FromTheFuture { .. }));
        assert!(future(&LogEntry { features: (1 << 1, 0), ..entry() }));
        assert!(!future(&entry()), "a read-only-compatible one is no obstacle to reading");
        let unknown = Event::Unknown { kind: 0x7000, payload: vec![1] };
        assert!(future(&LogEntry { events: vec![unknown], ..entry() }));
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
