//! The way back of splitters that only move bytes: it knows no format.
//!
//! ```text
//! parameters := (part:varint bytes:varint)*
//! ```
//! The file's bytes are those of the parts, taken piece by piece: each pair takes the next `bytes` of that part.
//! Together the pairs use every part up.
//!
//! # Invariants
//!
//! 1. What [`parameters`] wrote, [`inverse`] reads; anything else is refused or gives bytes of the asked length.
//! 2. Memory is that of the segment; work is linear in its bytes and its parameters.

use crate::error::Result;
use crate::format::wire::{Put, Reader};

/// Writes the order in which parts follow each other in the file.
pub fn parameters(order: impl IntoIterator<Item = (usize, usize)>) -> Vec<u8> {
    let mut out = Vec::new();
    for (part, bytes) in order {
        out.put_varint(part as u64);
        out.put_varint(bytes as u64);
    }
    out
}

/// Puts the parts into the file's order.
///
/// # Errors
/// [`crate::Error::Malformed`] where the parameters ask for what the parts do not have, or leave something over.
pub fn inverse(parameters: &[u8], parts: &[&[u8]], bytes: usize) -> Result<Vec<u8>> {
    let mut r = Reader::new("a permuted segment", parameters);
    let mut left: Vec<&[u8]> = parts.to_vec();
    // At most what the parts hold, whatever the recipe says.
    let mut out = Vec::with_capacity(bytes.min(parts.iter().map(|p| p.len()).sum()));
    while r.left() > 0 {
        let (part, n) = (r.varint()?, r.varint()?);
        let from = usize::try_from(part).ok().and_then(|i| left.get_mut(i));
        let from = from.ok_or_else(|| r.bad("a part that there is not"))?;
        let (taken, rest) = usize::try_from(n)
            .ok()
            .and_then(|n| from.split_at_checked(n))
            .ok_or_else(|| r.bad("more of a part than there is"))?;
        out.extend_from_slice(taken);
        *from = rest;
    }
    if left.iter().all(|l| l.is_empty()) { Ok(out) } else { Err(r.bad("bytes of a part are left over")) }
}

/// As [`inverse`], with the order as the first part and no parameters: it is long, and compressed as a stream is.
///
/// # Errors
/// As [`inverse`].
pub fn inverse_by_part(parameters: &[u8], parts: &[&[u8]], bytes: usize) -> Result<Vec<u8>> {
    let r = Reader::new("an interleaved segment", parameters);
    r.end()?;
    let (order, parts) = parts.split_first().ok_or_else(|| r.bad("it has no order"))?;
    inverse(order, parts, bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn version_1_is_read_for_ever() {
        let order = [1, 2, 0, 3, 1, 0x81, 1];
        let parts: [&[u8]; 3] = [&order, b"abc", &[b'x'; 131]];
        let file = [b"xxabc", &[b'x'; 129][..]].concat();
        assert_eq!(inverse_by_part(&[], &parts, file.len()).unwrap(), file);
        assert_eq!(inverse(&order, &parts[1..], file.len()).unwrap(), file);
        assert_eq!(parameters([(1, 2), (0, 3), (1, 129)]), order);
    }

    proptest! {
        #[test]
        fn what_was_taken_apart_comes_back(pieces in prop::collection::vec((0..4_usize, prop::collection::vec(any::<u8>(), 0..40)), 0..30)) {
            let mut parts = vec![Vec::new(); 4];
            for (part, bytes) in &pieces {
                parts[*part].extend_from_slice(bytes);
            }
            let file: Vec<u8> = pieces.iter().flat_map(|(_, b)| b.clone()).collect();
            let parameters = parameters(pieces.iter().map(|(p, b)| (*p, b.len())));
            let parts: Vec<&[u8]> = parts.iter().map(Vec::as_slice).collect();
            prop_assert_eq!(inverse(&parameters, &parts, file.len()).unwrap(), &file[..]);
            let parts = [&[&parameters[..]], &parts[..]].concat();
            prop_assert_eq!(inverse_by_part(&[], &parts, file.len()).unwrap(), file);
            prop_assert!(inverse_by_part(&[0], &parts, 0).is_err());
        }

        #[test]
        fn arbitrary_parameters_never_panic(parameters: Vec<u8>, parts: Vec<Vec<u8>>, bytes: usize) {
            let parts: Vec<&[u8]> = parts.iter().map(Vec::as_slice).collect();
            let _ = inverse(&parameters, &parts, bytes);
            let _ = inverse_by_part(&[], &parts, bytes);
        }
    }
}
