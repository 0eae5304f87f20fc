//! `snapshots`: what there is to go back to.

use super::context::Context;
use super::exit::Exit;
use super::table::{Side, Table};
use super::{json, render};
use crate::error::Result;
use crate::ops::snapshots::{self, SnapshotInfo};

/// List the snapshots, oldest first
///
/// Shows each snapshot's id, time, host, tags, name, number of files, size and paths. Only reads; runs beside a backup.
///
/// Exit status: 0 listed, also if there is none; 1 failed; 2 wrong usage; 4 damage that cannot be repaired; 10 there is
/// no store.
#[derive(clap::Args, Debug)]
#[command(after_long_help = EXAMPLES)]
pub struct SnapshotsArgs {
    /// Only those with this tag; repeated, with all of them
    #[arg(long = "tag", value_name = "TAG")]
    tags: Vec<String>,

    /// Those that are forgotten and can still be brought back
    #[arg(long)]
    forgotten: bool,
}

const EXAMPLES: &str = "\
Examples:
  onefold snapshots
  onefold snapshots --tag nightly --json
  onefold snapshots --forgotten";

impl SnapshotsArgs {
    pub(super) fn run(self, context: &Context) -> Result<Exit> {
        let store = context.open()?;
        let mut list = snapshots::list(&store, &self.tags);
        if self.forgotten {
            list = snapshots::forgotten(&store);
            list.retain(|s| self.tags.iter().all(|t| s.snapshot.tags.contains(t)));
        }
        if context.json {
            list.iter().try_for_each(|info| context.out.stream_document(&json::snapshot(info)))?;
        } else if list.is_empty() {
            context.out.line(if self.forgotten { "no forgotten snapshots" } else { "no snapshots" })?;
        } else {
            table(&list).lines().iter().try_for_each(|line| context.out.stream_line(line))?;
            context.out.line(render::counted(list.len() as u64, "snapshot"))?;
        }
        Ok(Exit::Done)
    }
}

fn table(list: &[SnapshotInfo]) -> Table {
    let mut t = Table::new(&[
        ("id", Side::Left),
        ("time", Side::Left),
        ("host", Side::Left),
        ("tags", Side::Left),
        ("name", Side::Left),
        ("", Side::Left),
        ("files", Side::Right),
        ("size", Side::Right),
        ("paths", Side::Left),
    ]);
    for info in list {
        let s = &info.snapshot;
        t.row([
            info.id.short(),
            render::time_of_ns(s.time_ns),
            render::printable(&s.host),
            render::printable(&s.tags.join(", ")),
            render::printable(s.name.as_deref().unwrap_or_default()),
            notes(info),
            render::count(s.counts.files),
            render::size(s.counts.bytes),
            roots(info),
        ]);
    }
    t
}

fn notes(info: &SnapshotInfo) -> String {
    let notes = [(!info.snapshot.complete, "incomplete"), (info.pinned, "pinned")];
    let mut notes: Vec<String> = notes.iter().filter(|(is, _)| *is).map(|(_, word)| (*word).to_owned()).collect();
    notes.extend(info.forgotten.as_ref().map(|f| format!("forgotten {}", render::time_of_ns(f.time_ns))));
    notes.join(", ")
}

/// The paths that a snapshot was made of, for people.
pub(super) fn roots(info: &SnapshotInfo) -> String {
    info.snapshot.roots.iter().map(|p| render::name(p)).collect::<Vec<_>>().join("  ")
}
