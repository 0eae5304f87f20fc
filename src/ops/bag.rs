//! Bags: folders with a manifest, as archives exchange them (BagIt 1.0, RFC 8493).
//!
//! ```text
//! DIR/bagit.txt              version and encoding: without it the folder is no bag
//! DIR/bag-info.txt           labels and values: Payload-Oxum is "bytes.files" of the payload
//! DIR/manifest-ALG.txt       digest and path of each payload file
//! DIR/tagmanifest-ALG.txt    the same of the other files, but for these
//! DIR/fetch.txt              what of the payload is still to be fetched (not made here)
//! DIR/data/...               the payload
//! ```
//!
//! [`mod@write`] makes a bag of a snapshot; [`verify`] proves one while a backup stores it.
//!
//! # Invariants
//!
//! 1. A bag that was cut short has no `bagit.txt`: that name appears after everything else is durable.
//! 2. What is proven is what is stored: digests are of the bytes that went to the store, of tag files too, and the snapshot
//!    is only written when all agree.
//! 3. No path out of a manifest is ever opened: files are found by listing folders, and compared with manifests.
//! 4. Memory does not grow with a manifest: lines are sorted in runs by a hash of their path.

mod lines;
#[cfg(test)]
mod tests;
pub mod verify;
pub mod write;

pub use verify::{Bag, Verdict};

/// Where the payload lies.
const PAYLOAD: &[u8] = b"data";
const DECLARATION: &str = "bagit.txt";
const INFO: &str = "bag-info.txt";
const FETCH: &str = "fetch.txt";

/// Whether a path below the bag is one of the payload.
fn is_payload(path: &[u8]) -> bool {
    path.strip_prefix(PAYLOAD).is_some_and(|rest| rest.starts_with(b"/"))
}

/// A path as manifests have it: CR, LF and `%` percent-encoded, nothing else (RFC 8493, 2.1.3).
fn encoded(path: &str) -> String {
    let mut out = String::with_capacity(path.len());
    for c in path.chars() {
        match c {
            '%' => out.push_str("%25"),
            '\r' => out.push_str("%0D"),
            '\n' => out.push_str("%0A"),
            c => out.push(c),
        }
    }
    out
}

/// The path that a manifest's text stands for, without empty and `.` components.
///
/// Only the three encodings that are asked for are taken back, so that writers that leave a `%` as it is are understood too;
/// before version 1.0 a `%` was not encoded.
///
/// # Errors
/// Why it can be no file of a bag.
fn decoded(text: &str, encodes_percent: bool) -> Result<Vec<u8>, &'static str> {
    if text.starts_with('/') || text.starts_with('~') {
        return Err("the path leads out of the bag");
    }
    let mut path = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, behind)) = rest.split_first() {
        let code = behind.get(..2).filter(|_| byte == b'%').map(<[u8]>::to_ascii_uppercase);
        let meant = match code.as_deref() {
            Some(b"0A") => Some(b'\n'),
            Some(b"0D") => Some(b'\r'),
            Some(b"25") if encodes_percent => Some(b'%'),
            _ => None,
        };
        path.push(meant.unwrap_or(byte));
        rest = if meant.is_some() { &behind[2..] } else { behind }; // two were looked at
    }
    if path.contains(&0) {
        return Err("the path has a zero byte");
    }
    let names = crate::catalog::tree::names(&path);
    if names.contains(&&b".."[..]) {
        return Err("the path leads out of the bag");
    }
    if names.is_empty() {
        return Err("a line without a path");
    }
    Ok(names.join(&b'/'))
}
