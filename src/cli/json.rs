//! Documents for programs: what several commands print in one shape.
//!
//! Field names are restic's where the thing is the same, so that tools that read its output work. A path that is no
//! UTF-8 is percent-escaped, and its bytes stand beside it in base64.

use super::render;
use crate::format::entry::EntryKind;
use crate::format::id::hex;
use crate::format::node::MapRoot;
use crate::ops::FileLost;
use crate::ops::ls::Listed;
use crate::ops::snapshots::SnapshotInfo;
use serde_json::{Value, json};
use std::path::Path;

/// Bytes in base64 with padding (RFC 4648, section 4).
pub fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let bits = group.iter().fold(0u32, |bits, &b| bits << 8 | u32::from(b)) << (8 * (3 - group.len()));
        for i in 0..4 {
            if i <= group.len() {
                // Six bits: below 64, and an u32 below 64 fits an usize.
                out.push(char::from(ALPHABET[(bits >> (18 - 6 * i) & 63) as usize]));
            } else {
                out.push('=');
            }
        }
    }
    out
}

/// A path as text. UTF-8 stays as it is; of anything else each byte that is none, and the percent sign, is escaped.
pub fn path_text(path: &[u8]) -> String {
    if let Ok(text) = std::str::from_utf8(path) {
        return text.to_owned();
    }
    let mut out = String::with_capacity(path.len() + 8);
    for chunk in path.utf8_chunks() {
        out.push_str(&chunk.valid().replace('%', "%25"));
        chunk.invalid().iter().for_each(|b| out.push_str(&format!("%{b:02x}")));
    }
    out
}

/// Puts a path into a document, and its bytes as `KEY_bytes` where the text is not the path.
pub fn put_path(document: &mut Value, key: &str, path: &[u8]) {
    document[key] = path_text(path).into();
    if std::str::from_utf8(path).is_err() {
        document[format!("{key}_bytes")] = base64(path).into();
    }
}

/// Puts a path of this system into a document.
pub fn put_system_path(document: &mut Value, key: &str, path: &Path) {
    put_path(document, key, path.as_os_str().as_encoded_bytes()); // on Unix the bytes as they are
}

/// A snapshot, as `snapshots` and the head of `ls` print it.
pub fn snapshot(info: &SnapshotInfo) -> Value {
    let s = &info.snapshot;
    let c = &s.counts;
    let mut d = json!({
        "message_type": "snapshot",
        "id": info.id.to_string(),
        "short_id": info.id.short(),
        "time": render::rfc3339(render::split_ns(s.time_ns)),
        "paths": s.roots.iter().map(|p| path_text(p)).collect::<Vec<_>>(),
        "tags": s.tags,
        "hostname": s.host,
        "username": s.user,
        "name": s.name,
        "parent": s.parent.map(|p| p.to_string()),
        "program_version": s.program,
        "filters": s.filters,
        "complete": s.complete,
        "pinned": info.pinned,
        "log_number": info.number,
        "summary": {
            "files_new": c.files_new,
            "files_changed": c.files_changed,
            "files_unmodified": c.files_unmodified,
            "dirs": c.dirs,
            "symlinks": c.symlinks,
            "data_added": c.data_added,
            "data_added_packed": c.data_added_packed,
            "total_files_processed": c.files,
            "total_bytes_processed": c.bytes,
            "skipped_special": c.skipped_special,
            "changed_while_read": c.changed_while_read,
            "errors": c.unreadable.iter().map(|(_, n)| n).sum::<u64>(),
        },
    });
    if let Some(f) = &info.forgotten {
        let time = render::rfc3339(render::split_ns(f.time_ns));
        d["forgotten"] = json!({"time": time, "by": f.who, "why": f.why, "log_number": f.number});
    }
    if s.roots.iter().any(|p| std::str::from_utf8(p).is_err()) {
        d["paths_bytes"] = s.roots.iter().map(|p| base64(p)).collect::<Vec<_>>().into();
    }
    if let MapRoot::Node { id, .. } = &s.tree {
        d["tree"] = hex(&id.0).into();
    }
    d
}

/// An entry of a snapshot, as `ls` and `find` print it.
pub fn node(listed: &Listed) -> Value {
    let e = &listed.entry;
    let (kind, bytes) = match &e.kind {
        EntryKind::File { bytes, .. } => ("file", Some(*bytes)),
        EntryKind::Dir(_) => ("dir", None),
        EntryKind::Symlink(_) => ("symlink", None),
    };
    let name = listed.path.rsplit(|b| *b == b'/').next().unwrap_or_default();
    let mut d = json!({
        "message_type": "node",
        "type": kind,
        "mode": e.mode,
        "permissions": render::mode(e),
        "uid": e.uid,
        "gid": e.gid,
        "user": e.user,
        "group": e.group,
        "mtime": render::rfc3339(e.mtime),
    });
    put_path(&mut d, "name", name);
    put_path(&mut d, "path", &listed.path);
    if let Some(bytes) = bytes {
        d["size"] = bytes.into();
    }
    if let EntryKind::Symlink(target) = &e.kind {
        put_path(&mut d, "linktarget", target);
    }
    if let Some(link) = e.link {
        d["link_id"] = format!("{link:016x}").into();
    }
    d
}

/// A file that cannot be had whole any more: one shape in every command.
pub fn file_lost(lost: &FileLost) -> Value {
    let mut d = json!({
        "message_type": "file_lost",
        "snapshot_id": lost.snapshot,
        "bytes_lost": lost.bytes_lost,
        "reason": lost.reason,
    });
    put_path(&mut d, "path", &lost.path);
    d
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn base64_is_that_of_the_standard() {
        // RFC 4648, section 10.
        for (bytes, text) in
            [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg=="), ("foobar", "Zm9vYmFy")]
        {
            assert_eq!(base64(bytes.as_bytes()), text);
        }
        assert_eq!(base64(&[0xfb, 0xff, 0xfe]), "+//+");
    }

    #[test]
    fn a_path_in_utf_8_is_itself_and_another_has_its_bytes_beside_it() {
        let mut d = json!({});
        put_path(&mut d, "path", "/100 % ü".as_bytes());
        assert_eq!(d, json!({"path": "/100 % ü"}));
        put_path(&mut d, "path", b"/100 %\xe9");
        assert_eq!(d, json!({"path": "/100 %25%e9", "path_bytes": "LzEwMCAl6Q=="}));
    }

    proptest! {
        #[test]
        fn paths_that_differ_are_told_apart(a: Vec<u8>, b: Vec<u8>) {
            let of = |path: &[u8]| {
                let mut d = json!({});
                put_path(&mut d, "path", path);
                d
            };
            prop_assert_eq!(a == b, of(&a) == of(&b));
        }

        #[test]
        fn base64_is_as_long_as_it_must_be(bytes: Vec<u8>) {
            let text = base64(&bytes);
            prop_assert_eq!(text.len(), bytes.len().div_ceil(3) * 4);
            prop_assert_eq!(text.matches('=').count(), (3 - bytes.len() % 3) % 3);
        }
    }
}
