//! `copy`: snapshots of another store into this one.

use super::args;
use super::context::Context;
use super::exit::Exit;
use super::{render, table};
use crate::error::Result;
use crate::ops::copy::{self, CopyReport};
use crate::ops::snapshots;
use crate::store::{Mode, OpenOptions, Store};
use serde_json::json;
use std::ffi::OsString;
use std::time::{Duration, Instant};

/// Copy snapshots of another store into this one
///
/// Sends what this store lacks of the snapshots named, or of all. Between stores that share their keys (`init --like`) chunks move
/// as they are stored and a snapshot keeps its id; else every file is read, split and stored anew. Everything is proven before
/// it is sent. The other store is only read. Each snapshot is acknowledged by itself: a copy that was cut short goes on where
/// it was. Tags, pin and name come along; a name that another snapshot here has does not. What was forgotten here stays so.
///
/// Exit status: 0 all are here; 1 failed; 2 wrong usage; 4 damage in the other store keeps a snapshot from being copied, those
/// before it are here; 10 there is no store; 11 another process writes to this store; 130 stopped by a signal, what was
/// acknowledged stays.
#[derive(clap::Args, Debug)]
#[command(after_long_help = EXAMPLES)]
pub struct CopyArgs {
    /// Folder of the store to copy from
    #[arg(long, value_name = "STORE")]
    from: OsString,

    /// Snapshots of that store; all where none is named
    #[arg(value_name = "SNAPSHOT")]
    snapshots: Vec<OsString>,

    /// The same, as an option; may be repeated
    #[arg(long = "snapshot", value_name = "SNAPSHOT")]
    also: Vec<OsString>,

    /// Of all snapshots only those with this tag; may be repeated
    #[arg(long = "tag", value_name = "TAG", conflicts_with_all = ["snapshots", "also"])]
    tags: Vec<String>,
}

const EXAMPLES: &str = "\
Examples:
  onefold --store /srv/second init --like /srv/first --disk /mnt/x --disk /mnt/y
  onefold --store /srv/second copy --from /srv/first
  onefold --store /srv/second copy --from /srv/first latest albums-2019";

impl CopyArgs {
    pub(super) fn run(self, context: &Context) -> Result<Exit> {
        let begun = Instant::now();
        let store = context.open_to_write("copy")?;
        // Two stores share the budget.
        let options = OpenOptions::new(Mode::Read, context.memory_bytes / 2);
        let opened = Store::open(&context.io, &args::absolute(&self.from)?, &options)?;
        opened
            .notices
            .into_iter()
            .for_each(|text| context.warn(format!("{}: {text}", render::name(self.from.as_encoded_bytes()))));
        let from = opened.store;
        let named: Vec<_> = self.snapshots.iter().chain(&self.also).collect();
        let mut chosen = match named.is_empty() {
            true => snapshots::list(&from, &self.tags),
            false => named.into_iter().map(|name| args::whole_snapshot(&from, name)).collect::<Result<_>>()?,
        };
        chosen.sort_by_key(|s| s.number);
        chosen.dedup_by_key(|s| s.number);
        let program = concat!("onefold ", env!("CARGO_PKG_VERSION"));
        let report = copy::run(&store, &from, &chosen, program, &context.control)?;
        print(context, &report, begun.elapsed())?;
        Ok(Exit::Done)
    }
}

fn print(context: &Context, report: &CopyReport, took: Duration) -> Result<()> {
    let out = &context.out;
    let sum = |f: fn(&copy::Copied) -> u64| report.copied.iter().map(f).sum::<u64>();
    let (added, packed) = (sum(|c| c.data_added), sum(|c| c.data_added_packed));
    if context.json {
        for c in &report.copied {
            out.document(&json!({
                "message_type": "snapshot_copied",
                "source_id": c.source.to_string(),
                "snapshot_id": c.target.to_string(),
                "data_blobs": c.chunks_new,
                "data_added": c.data_added,
                "data_added_packed": c.data_added_packed,
            }))?;
        }
        return out.document(&json!({
            "message_type": "summary",
            "snapshots_copied": report.copied.len(),
            "snapshots_there": report.there,
            "records_untouched": report.untouched,
            "data_added": added,
            "data_added_packed": packed,
            "total_duration": took.as_secs_f64(),
        }));
    }
    for c in &report.copied {
        let id = match c.source == c.target {
            true => c.source.short(),
            false => format!("{} as {}", c.source.short(), c.target.short()),
        };
        out.line(format!(
            "snapshot {id} copied: {} new, {} stored",
            render::size(c.data_added),
            render::size(c.data_added_packed)
        ))?;
    }
    let rate = render::rate(packed, took).map(|rate| format!(", {rate}")).unwrap_or_default();
    let how = if report.untouched {
        "as they were stored: the stores share their keys"
    } else {
        "stored anew: the keys differ"
    };
    let said = vec![
        ("copied", render::counted(report.copied.len() as u64, "snapshot")),
        ("there before", render::counted(report.there, "snapshot")),
        ("stored", format!("{} in {}{rate}", render::size(packed), render::duration(took))),
        ("chunks", how.to_owned()),
    ];
    table::pairs(said).into_iter().try_for_each(|line| out.line(line))
}
