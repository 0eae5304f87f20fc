//! `stats`: what is kept, what it takes, and what saved the difference.

use super::context::Context;
use super::exit::Exit;
use super::table::{Side, Table};
use super::{json, render, snapshots};
use crate::error::Result;
use crate::ops::stats::{self, DiskStats, StatsReport};
use serde_json::json;

/// Tell what the store holds and what it saves
///
/// Starts from the bytes of all files in all snapshots and goes down to what lies on the disks, naming what saved how
/// much: equal files, holes, equal chunks, compression. Then each disk, and each snapshot with the bytes that it alone
/// holds: what a full gc would free if it were forgotten. Only reads.
///
/// Exit status: 0 counted; 1 failed; 2 wrong usage; 4 damage that cannot be repaired; 10 there is no store; 130 stopped
/// by a signal.
#[derive(clap::Args, Debug)]
#[command(after_long_help = EXAMPLES)]
pub struct StatsArgs {}

const EXAMPLES: &str = "\
Examples:
  onefold stats
  onefold stats --json | jq 'select(.message_type == \"summary\")'";

impl StatsArgs {
    pub(super) fn run(self, context: &Context) -> Result<Exit> {
        let store = context.open()?;
        let report = stats::run(&store, &context.control)?;
        if context.json {
            documents(context, &report)?
        } else {
            text(context, &report)?
        }
        Ok(Exit::Done)
    }
}

/// Bytes of data that are left of the logical ones when all that was saved is taken away.
fn data_bytes(r: &StatsReport) -> u64 {
    let saved = [r.saved_whole_file, r.saved_holes, r.saved_chunks, r.saved_compression];
    saved.iter().fold(r.logical_bytes, |left, saved| left.saturating_sub(*saved))
}

fn text(context: &Context, r: &StatsReport) -> Result<()> {
    let mut t = Table::new(&[("", Side::Left), ("", Side::Right), ("", Side::Left)]);
    let less = |bytes: u64| if bytes == 0 { "0 B".into() } else { format!("- {}", render::size(bytes)) };
    let of_all = |bytes| render::percent(bytes, r.logical_bytes);
    let mut row = |what: &str, bytes: String, note: String| t.row([what.to_owned(), bytes, note]);
    let held = format!("{}, {}", render::counted(r.snapshots, "snapshot"), render::counted(r.files, "file"));
    row("in all snapshots", render::size(r.logical_bytes), held);
    for (what, bytes) in [
        ("  files stored already", r.saved_whole_file),
        ("  holes", r.saved_holes),
        ("  chunks stored already", r.saved_chunks),
        ("  compression", r.saved_compression),
    ] {
        row(what, less(bytes), of_all(bytes));
    }
    let data = data_bytes(r);
    row("data left to store", render::size(data), render::counted(r.chunks, "chunk"));
    let metadata = format!("headers, footers, unused; folders and lists {}", render::size(r.metadata_bytes));
    row("  overhead", format!("+ {}", render::size(r.overhead_bytes)), metadata);
    let ratio = r.logical_bytes as f64 / r.stored_bytes.max(1) as f64; // for the eye
    let share = format!("{} of what is in the snapshots, {ratio:.1} : 1", of_all(r.stored_bytes));
    row("on the disks", render::size(r.stored_bytes), if r.logical_bytes == 0 { String::new() } else { share });
    let lines = t.lines();
    lines.iter().skip(1).try_for_each(|line| context.out.line(line))?; // its header is empty
    section(context, &disks(&r.disks))?;
    section(context, &per_snapshot(r))
}

fn section(context: &Context, table: &Table) -> Result<()> {
    if table.is_empty() {
        return Ok(());
    }
    context.out.line("")?;
    table.lines().iter().try_for_each(|line| context.out.stream_line(line))
}

fn disks(disks: &[DiskStats]) -> Table {
    let mut t = Table::new(&[
        ("disk", Side::Left),
        ("label", Side::Left),
        ("packs", Side::Right),
        ("in packs", Side::Right),
        ("free", Side::Right),
        ("of", Side::Right),
        ("path", Side::Left),
    ]);
    for d in disks {
        let size = |bytes| if d.path.is_some() { render::size(bytes) } else { "-".into() };
        t.row([
            d.id.short(),
            render::printable(&d.label),
            render::count(d.packs),
            render::size(d.pack_bytes),
            size(d.free_bytes),
            size(d.total_bytes),
            d.path.as_ref().map_or("missing".into(), |p| render::name(p.as_os_str().as_encoded_bytes())),
        ]);
    }
    t
}

fn per_snapshot(r: &StatsReport) -> Table {
    let mut t = Table::new(&[
        ("snapshot", Side::Left),
        ("time", Side::Left),
        ("files", Side::Right),
        ("size", Side::Right),
        ("only here", Side::Right),
        ("paths", Side::Left),
    ]);
    for s in &r.per_snapshot {
        let counts = &s.info.snapshot.counts;
        t.row([
            s.info.id.short(),
            render::time_of_ns(s.info.snapshot.time_ns),
            render::count(counts.files),
            render::size(counts.bytes),
            render::size(s.exclusive_bytes),
            snapshots::roots(&s.info),
        ]);
    }
    t
}

fn documents(context: &Context, r: &StatsReport) -> Result<()> {
    for d in &r.disks {
        let mut doc = json!({
            "message_type": "disk_stats",
            "id": d.id.to_string(),
            "label": d.label,
            "missing": d.path.is_none(),
            "packs": d.packs,
            "pack_bytes": d.pack_bytes,
            "total_bytes": d.total_bytes,
            "free_bytes": d.free_bytes,
        });
        if let Some(path) = &d.path {
            json::put_system_path(&mut doc, "path", path);
        }
        context.out.stream_document(&doc)?;
    }
    for s in &r.per_snapshot {
        context.out.stream_document(&json!({
            "message_type": "snapshot_stats",
            "snapshot_id": s.info.id.to_string(),
            "short_id": s.info.id.short(),
            "files": s.info.snapshot.counts.files,
            "logical_bytes": s.info.snapshot.counts.bytes,
            "exclusive_bytes": s.exclusive_bytes,
        }))?;
    }
    context.out.document(&json!({
        "message_type": "summary",
        "snapshots_count": r.snapshots,
        "total_file_count": r.files,
        "total_size": r.logical_bytes,
        "logical_bytes": r.logical_bytes,
        "saved_whole_file": r.saved_whole_file,
        "saved_holes": r.saved_holes,
        "saved_chunks": r.saved_chunks,
        "saved_compression": r.saved_compression,
        "data_bytes": data_bytes(r),
        "overhead_bytes": r.overhead_bytes,
        "metadata_bytes": r.metadata_bytes,
        "stored_bytes": r.stored_bytes,
        "chunks": r.chunks,
    }))
}
