//! `recover`: the index, or all of STORE, from the disks.

use super::args;
use super::context::Context;
use super::exit::Exit;
use super::table;
use super::{json, render};
use crate::error::Result;
use crate::ops::recover::{self, RecoverOptions, RecoverReport};
use serde_json::{Value, json};
use std::ffi::OsString;
use std::time::{Duration, Instant};

/// Rebuild the store's index, or the whole store folder, from the disks
///
/// Reads log and pack footers of all disks and makes the index anew. The disks are the truth: data on them is not
/// changed. With --disk the store's folder is made anew from these disks alone, on a bare machine or after disks were
/// mounted elsewhere; without it the disks are looked for where they were last.
///
/// Exit status: 0 recovered; 1 failed; 2 wrong usage; 3 recovered, but a disk is missing or something was found wrong; 4
/// damage that cannot be repaired; 10 there is no store, and no disk was named; 11 another process writes to it; 130
/// stopped by a signal, start it again.
#[derive(clap::Args, Debug)]
#[command(after_long_help = EXAMPLES)]
pub struct RecoverArgs {
    /// Folder on a disk of the store; repeat it for each disk
    #[arg(long = "disk", value_name = "PATH")]
    disks: Vec<OsString>,
}

const EXAMPLES: &str = "\
Examples:
  onefold recover
  onefold --store /srv/new recover --disk /mnt/a --disk /mnt/b";

impl RecoverArgs {
    pub(super) fn run(self, context: &Context) -> Result<Exit> {
        let begun = Instant::now();
        let options = RecoverOptions {
            store: context.store_path()?,
            disks: self.disks.iter().map(|d| args::absolute(d)).collect::<Result<_>>()?,
            memory_bytes: context.memory_bytes,
        };
        let report = recover::run(&context.io, &options, &context.control)?;
        if context.json {
            context.out.document(&document(&report, begun.elapsed()))?;
        } else {
            text(context, &options, &report, begun.elapsed())?;
        }
        let whole = report.missing.is_empty() && report.problems.is_empty();
        Ok(if whole { Exit::Done } else { Exit::Losses })
    }
}

fn text(context: &Context, options: &RecoverOptions, r: &RecoverReport, took: Duration) -> Result<()> {
    let n = render::counted;
    let place = render::name(options.store.as_os_str().as_encoded_bytes());
    context.out.line(format!("store {} recovered at {place} in {}", r.store.short(), render::duration(took)))?;
    let mut said = vec![
        ("log", format!("up to entry {}", render::count(r.log_number))),
        ("found", [n(r.snapshots, "snapshot"), n(r.packs, "pack"), n(r.chunks, "chunk")].join(", ")),
    ];
    let disk = |label: &str, path: &[u8]| format!("{} at {}", render::printable(label), render::name(path));
    said.extend(r.disks.iter().map(|(label, path)| ("disk", disk(label, path.as_os_str().as_encoded_bytes()))));
    said.extend(r.missing.iter().map(|d| ("missing", format!("{}, when last seen", disk(&d.label, &d.path)))));
    said.extend(r.problems.iter().map(|p| ("problem", render::printable(p))));
    table::pairs(said).into_iter().try_for_each(|line| context.out.line(line))
}

fn document(r: &RecoverReport, took: Duration) -> Value {
    let disk = |label: &str, path: &[u8]| {
        let mut d = json!({"label": label});
        json::put_path(&mut d, "path", path);
        d
    };
    let missing = r.missing.iter().map(|known| {
        let mut d = disk(&known.label, &known.path);
        d["id"] = known.disk.to_string().into();
        d
    });
    json!({
        "message_type": "summary",
        "id": r.store.to_string(),
        "log_number": r.log_number,
        "snapshots": r.snapshots,
        "packs": r.packs,
        "chunks": r.chunks,
        "disks": r.disks.iter().map(|(l, p)| disk(l, p.as_os_str().as_encoded_bytes())).collect::<Vec<_>>(),
        "missing": missing.collect::<Vec<_>>(),
        "problems": r.problems,
        "total_duration": took.as_secs_f64(),
    })
}
