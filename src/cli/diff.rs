//! `diff`: what two snapshots do not share.

use super::args;
use super::context::Context;
use super::exit::Exit;
use super::{json, render};
use crate::error::Result;
use crate::format::entry::{Entry, EntryKind};
use crate::ops::diff::{self, Change, DiffReport};
use crate::ops::snapshots::SnapshotInfo;
use serde_json::json;
use std::ffi::OsString;

/// Show what changed between two snapshots
///
/// Prints a line for each path that differs: + is only in B, - is only in A, M has other contents, U the same contents
/// with other metadata, T is of another kind. Folders that are the same in both are passed over without being read. Only
/// reads; no file's contents are needed.
///
/// Exit status: 0 compared, whether they differ or not; 1 no such snapshot, or failed; 2 wrong usage; 4 damage that cannot
/// be repaired; 10 there is no store; 130 stopped by a signal.
#[derive(clap::Args, Debug)]
#[command(after_long_help = EXAMPLES)]
pub struct DiffArgs {
    /// The older snapshot
    a: OsString,

    /// The newer one
    b: OsString,
}

const EXAMPLES: &str = "\
Examples:
  onefold diff 3f2a latest
  onefold diff 'before the move' latest --json";

impl DiffArgs {
    pub(super) fn run(self, context: &Context) -> Result<Exit> {
        let store = context.open()?;
        let (a, b) = (args::whole_snapshot(&store, &self.a)?, args::whole_snapshot(&store, &self.b)?);
        let out = &context.out;
        let mut each = |path: &[u8], change: Change, of_a: Option<&Entry>, of_b: Option<&Entry>| {
            let sign = sign(&change);
            if !context.json {
                let folder = of_b.or(of_a).is_some_and(|e| matches!(e.kind, EntryKind::Dir(_)));
                return out.stream_line(&format!("{sign} {}{}", render::name(path), if folder { "/" } else { "" }));
            }
            let mut d = json!({"message_type": "change", "modifier": sign.to_string()});
            if let Change::Changed { content, metadata, kind } = change {
                d["content"] = content.into();
                d["metadata"] = metadata.into();
                d["kind"] = kind.into();
            }
            let bytes = |e: Option<&Entry>| match e.map(|e| &e.kind) {
                Some(EntryKind::File { bytes, .. }) => Some(*bytes),
                _ => None,
            };
            d["source_size"] = bytes(of_a).into();
            d["target_size"] = bytes(of_b).into();
            json::put_path(&mut d, "path", path);
            out.stream_document(&d)
        };
        let report = diff::run(&store, &a, &b, &mut each, &context.control)?;
        print(context, &a, &b, &report)?;
        Ok(Exit::Done)
    }
}

fn sign(change: &Change) -> char {
    match change {
        Change::Added => '+',
        Change::Removed => '-',
        Change::Changed { kind: true, .. } => 'T',
        Change::Changed { content: true, .. } => 'M',
        Change::Changed { .. } => 'U',
    }
}

fn print(context: &Context, a: &SnapshotInfo, b: &SnapshotInfo, r: &DiffReport) -> Result<()> {
    if context.json {
        return context.out.document(&json!({
            "message_type": "statistics",
            "source_snapshot": a.id.to_string(),
            "target_snapshot": b.id.to_string(),
            "changed_files": r.changed,
            "added": {"entries": r.added, "bytes": r.bytes_added},
            "removed": {"entries": r.removed, "bytes": r.bytes_removed},
        }));
    }
    context.out.line(format!(
        "{} to {}: {} added ({}), {} removed ({}), {} changed",
        a.id.short(),
        b.id.short(),
        render::count(r.added),
        render::size(r.bytes_added),
        render::count(r.removed),
        render::size(r.bytes_removed),
        render::count(r.changed),
    ))
}
