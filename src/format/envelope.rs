//! The wrapping of every small file: superblock, key slot, log entry.
//!
//! ```text
//!  offset  size  field
//!       0     8  magic      of the kind of file
//!       8     2  version    of the format, 1
//!      10     2  reserved   zero
//!      12     4  length     of the body in bytes
//!      16     n  body
//!    16+n    32  hash       BLAKE3 of everything before it
//! ```
//! The file ends there.

use super::wire::Put;
use super::{FORMAT_VERSION, check};
use crate::error::{Error, Result};
use std::path::Path;

/// Bytes before the body.
pub const HEADER_BYTES: usize = 16;
/// Bytes behind the body.
pub const HASH_BYTES: usize = 32;
const _: () = assert!(8 + 2 + 2 + 4 == HEADER_BYTES);

/// Wraps a body. The body is shorter than 4 GiB: its makers keep [`super::limits`].
pub fn seal(magic: [u8; 8], body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len()).expect("bodies are limited to a GiB by their makers");
    let mut out = Vec::with_capacity(HEADER_BYTES + body.len() + HASH_BYTES);
    out.put(&magic);
    out.put_u16(FORMAT_VERSION);
    out.put_u16(0);
    out.put_u32(length);
    out.put(body);
    let hash = check::blake3(&[&out]);
    out.put(&hash);
    out
}

/// The hash of a sealed file: its last bytes.
pub fn hash_of(sealed: &[u8]) -> Option<[u8; 32]> {
    sealed.last_chunk().copied()
}

/// Proves a file's wrapping and gives its body.
///
/// # Errors
/// [`Error::Damaged`] with the place; [`Error::FromTheFuture`] where the version is beyond ours.
pub fn open<'a>(what: &'static str, magic: [u8; 8], path: &Path, bytes: &'a [u8]) -> Result<&'a [u8]> {
    let damaged = |offset: usize, why: &str| Error::Damaged {
        what,
        path: path.to_owned(),
        offset: offset as u64,
        why: why.to_owned(),
    };
    let Some(header) = bytes.first_chunk::<HEADER_BYTES>() else {
        return Err(damaged(bytes.len(), "it ends before its header does"));
    };
    let [m0, m1, m2, m3, m4, m5, m6, m7, v0, v1, r0, r1, l0, l1, l2, l3] = *header;
    if [m0, m1, m2, m3, m4, m5, m6, m7] != magic {
        return Err(damaged(0, "it does not begin as such a file does"));
    }
    let length = u32::from_le_bytes([l0, l1, l2, l3]) as usize;
    let expected = HEADER_BYTES + HASH_BYTES + length;
    if bytes.len() != expected {
        return Err(damaged(
            bytes.len().min(expected),
            &format!("it is {} bytes long and should be {expected}", bytes.len()),
        ));
    }
    let (signed, hash) = bytes.split_at(bytes.len() - HASH_BYTES); // at least header + hash long
    if check::blake3(&[signed]) != hash {
        return Err(damaged(0, "its hash does not fit its bytes"));
    }
    let version = u16::from_le_bytes([v0, v1]);
    if version > FORMAT_VERSION {
        return Err(Error::FromTheFuture {
            what,
            path: path.to_owned(),
            needs: version.to_string(),
            ours: FORMAT_VERSION.to_string(),
        });
    }
    if version == 0 || [r0, r1] != [0, 0] {
        return Err(damaged(8, "its version or reserved field is one that was never written"));
    }
    Ok(&signed[HEADER_BYTES..])
}

#[cfg(test)]
mod tests {
    use super::*;

    const M: [u8; 8] = *b"OFTEST1\n";

    #[test]
    fn every_bit_flip_and_every_truncation_is_refused() {
        let sealed = seal(M, b"a body");
        assert_eq!(open("t", M, Path::new("p"), &sealed).unwrap(), b"a body");
        for bit in 0..sealed.len() * 8 {
            let mut bad = sealed.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(open("t", M, Path::new("p"), &bad).is_err(), "bit {bit} went unnoticed");
        }
        for n in 0..sealed.len() {
            assert!(open("t", M, Path::new("p"), &sealed[..n]).is_err());
        }
        assert!(open("t", *b"OFOTHER\n", Path::new("p"), &sealed).is_err());
    }

    #[test]
    fn a_version_from_the_future_says_so() {
        let mut bytes = seal(M, b"x");
        bytes[8] = 2;
        let end = bytes.len() - HASH_BYTES;
        let hash = check::blake3(&[&bytes[..end]]);
        bytes[end..].copy_from_slice(&hash);
        assert!(matches!(open("t", M, Path::new("p"), &bytes), Err(Error::FromTheFuture { .. })));
    }
}
