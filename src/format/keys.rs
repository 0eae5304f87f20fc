//! The store's secret and what is derived from it.
//!
//! One secret and a gear seed are drawn at `init`. They stand in a key slot: in plain text in format 1,
//! under a passphrase later. The id keys are derived per kind, so a data chunk and a tree node of equal
//! bytes have different ids, and whoever sees ids without the secret can confirm no file.

use super::envelope;
use super::id::{ChunkId, ChunkKind};
use super::wire::{Put, Reader};
use crate::error::Result;
use std::path::Path;

const MAGIC: [u8; 8] = *b"OFKEYS1\n";
const SLOT_PLAIN: u8 = 0;

/// The keys of a store.
#[derive(Clone)]
pub struct Keys {
    secret: [u8; 32],
    gear_seed: u64,
    data: [u8; 32],
    list: [u8; 32],
    tree: [u8; 32],
    name: [u8; 32],
    check: [u8; 32],
    key_id: [u8; 16],
}

impl Keys {
    /// Derives everything from the secret. `gear_seed` alters the chunker's table.
    pub fn new(secret: [u8; 32], gear_seed: u64) -> Self {
        let derive = |context| blake3::derive_key(context, &secret);
        let mut key_id = [0; 16];
        key_id.copy_from_slice(&derive("onefold v1 key id")[..16]);
        Keys {
            secret,
            gear_seed,
            data: derive("onefold v1 chunk id: data"),
            list: derive("onefold v1 chunk id: list"),
            tree: derive("onefold v1 chunk id: tree"),
            name: derive("onefold v1 entry name"),
            check: derive("onefold v1 check"),
            key_id,
        }
    }

    /// The id of a chunk of these plain bytes.
    pub fn chunk_id(&self, kind: ChunkKind, bytes: &[u8]) -> ChunkId {
        let key = match kind {
            ChunkKind::Data => &self.data,
            ChunkKind::List => &self.list,
            ChunkKind::Tree => &self.tree,
        };
        ChunkId(*blake3::keyed_hash(key, bytes).as_bytes())
    }

    /// The keyed hash of an entry's name, which alone decides where nodes are cut.
    pub fn name_hash(&self, name: &[u8]) -> u64 {
        let mut low = [0; 8];
        low.copy_from_slice(&blake3::keyed_hash(&self.name, name).as_bytes()[..8]);
        u64::from_le_bytes(low)
    }

    /// The keyed BLAKE3 of a segment's file bytes, or of the chunker's table.
    pub fn keyed_check(&self, bytes: &[u8]) -> [u8; 32] {
        *blake3::keyed_hash(&self.check, bytes).as_bytes()
    }

    pub fn gear_seed(&self) -> u64 {
        self.gear_seed
    }

    /// Tells which keys these are without telling them.
    pub fn key_id(&self) -> [u8; 16] {
        self.key_id
    }

    /// The bytes of a key slot that holds the secret in plain text.
    pub fn encode_plain_slot(&self) -> Vec<u8> {
        let mut body = Vec::with_capacity(64);
        body.put_u8(SLOT_PLAIN);
        body.put(&self.key_id);
        body.put(&self.secret);
        body.put_u64(self.gear_seed);
        envelope::seal(MAGIC, &body)
    }

    /// Reads a key slot.
    ///
    /// # Errors
    /// Damage, a slot kind of a later version, or a secret that does not fit its own id.
    pub fn decode_slot(path: &Path, bytes: &[u8]) -> Result<Self> {
        let body = envelope::open("the key slot", MAGIC, path, bytes)?;
        let mut r = Reader::new("the key slot", body);
        if r.u8()? != SLOT_PLAIN {
            return Err(r.bad("a kind of key slot that this version does not know"));
        }
        let key_id: [u8; 16] = r.array()?;
        let keys = Keys::new(r.array()?, r.u64()?);
        r.end()?;
        if keys.key_id != key_id {
            return Err(r.bad("the secret does not fit the key id"));
        }
        Ok(keys)
    }
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Keys({})", super::id::hex(&self.key_id)) // never the secret
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_comes_back_and_every_bit_flip_is_refused() {
        let keys = Keys::new([9; 32], 77);
        let bytes = keys.encode_plain_slot();
        let back = Keys::decode_slot(Path::new("k"), &bytes).unwrap();
        assert_eq!((back.secret, back.gear_seed), ([9; 32], 77));
        for bit in 0..bytes.len() * 8 {
            let mut bad = bytes.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(Keys::decode_slot(Path::new("k"), &bad).is_err(), "bit {bit} went unnoticed");
        }
    }

    #[test]
    fn equal_bytes_of_different_kinds_have_different_ids() {
        let keys = Keys::new([1; 32], 0);
        assert_ne!(keys.chunk_id(ChunkKind::Data, b"x"), keys.chunk_id(ChunkKind::Tree, b"x"));
        assert_ne!(keys.chunk_id(ChunkKind::Data, b"x"), Keys::new([2; 32], 0).chunk_id(ChunkKind::Data, b"x"));
        assert!(!format!("{keys:?}").contains("0101"), "a secret is never printed");
    }
}
