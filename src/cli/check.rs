//! `check`: whether everything that is promised is there.

use super::context::Context;
use super::exit::Exit;
use super::table;
use super::{heal, json, render};
use crate::error::Result;
use crate::ops::check::{self, CheckOptions, CheckReport};
use crate::store::{Mode, OpenOptions, Store};
use serde_json::json;
use std::time::{Duration, Instant};

/// Check that every snapshot can be restored
///
/// Compares log, packs, footers, index and snapshots with one another: every chunk that a snapshot needs must lie in a
/// pack that is there. With --read-data every byte of every pack is read and proven too, which takes as long as reading
/// the disks. With --rebuild every file that is stored in another shape than its own (FLAC as samples, containers as
/// streams) is put together as a restore would, and compared; that reads them file by file. Files that are lost are named. Repairs nothing; damage that was found is noted in the log, so that the next
/// backup stores those chunks anew.
///
/// Exit status: 0 all is well; 1 failed; 2 wrong usage; 3 something is wrong that can be repaired, no file is lost; 4 files
/// are lost, or something cannot be repaired; 10 there is no store; 130 stopped by a signal.
#[derive(clap::Args, Debug)]
#[command(after_long_help = EXAMPLES)]
pub struct CheckArgs {
    /// Read and prove every byte of every pack
    #[arg(long)]
    read_data: bool,

    /// Rebuild and compare every file that is not stored as it stands
    #[arg(long)]
    rebuild: bool,
}

const EXAMPLES: &str = "\
Examples:
  onefold check
  onefold check --read-data --quiet || mail -s 'the store needs you' ann";

impl CheckArgs {
    pub(super) fn run(self, context: &Context) -> Result<Exit> {
        let begun = Instant::now();
        let store = context.open()?;
        let report =
            check::run(&store, &CheckOptions { read_data: self.read_data, rebuild: self.rebuild }, &context.control)?;
        let healed = heal::harmed(context, store)?;
        remember(context, &report);
        if context.json {
            documents(context, &report, begun.elapsed())?;
        } else {
            text(context, &report, self.read_data, begun.elapsed())?;
        }
        Ok(match verdict(&report) {
            Exit::Done if healed => Exit::Losses,
            exit => exit,
        })
    }
}

/// Logs the damage that was found, what has healed, and disks that are trusted again, so that the next backup stores damaged chunks anew. That needs
/// the writer's lock; a check beside a writer, or of a store that cannot be written, only says so.
fn remember(context: &Context, report: &CheckReport) {
    if report.damage.is_empty() && report.healed.is_empty() && report.looked_at.is_empty() {
        return;
    }
    let recorded = Store::open(
        &context.io,
        match context.store_path() {
            Ok(path) => path,
            Err(_) => return, // it was just opened there
        }
        .as_path(),
        &OpenOptions::new(Mode::Write { verb: "check" }, context.memory_bytes),
    )
    .and_then(|opened| {
        let mut notes = check::record(&opened.store, &report.damage, &report.healed)?;
        notes.extend(check::record_looked_at(&opened.store, &report.looked_at)?);
        Ok(notes)
    });
    match recorded {
        Ok(notes) => notes.into_iter().for_each(|note| context.warn(note)),
        Err(e) => context.warn(format!("what was found could not be recorded for the next backup: {e}")),
    }
}

fn verdict(r: &CheckReport) -> Exit {
    if r.files_lost > 0 || r.problems.iter().any(|p| !p.repairable) {
        Exit::Damage
    } else if r.problems.is_empty() {
        Exit::Done
    } else {
        Exit::Losses
    }
}

fn text(context: &Context, r: &CheckReport, read_data: bool, took: Duration) -> Result<()> {
    let out = &context.out;
    for p in &r.problems {
        let kind = if p.repairable { "repairable" } else { "damage" };
        out.stream_line(&format!("{kind}: {}", render::printable(&p.what)))?;
    }
    for lost in &r.lost {
        out.stream_line(&render::lost(lost))?;
    }
    let unnamed = r.files_lost.saturating_sub(r.lost.len() as u64);
    if unnamed > 0 && !r.lost.is_empty() {
        out.line(format!("and {} more", render::counted(unnamed, "lost file")))?;
    }
    out.line(match verdict(r) {
        Exit::Done if read_data => "all is well: every stored byte was read and proven",
        Exit::Done => "all is well: everything is in its place (--read-data reads every byte too)",
        Exit::Losses => "something is wrong; no file is lost",
        _ if r.files_lost > 0 => "files are lost",
        _ => "there is damage that cannot be repaired",
    })?;
    let n = render::counted;
    let rate = render::rate(r.bytes_read, took).map(|rate| format!(", {rate}")).unwrap_or_default();
    let mut said = vec![
        (
            "checked",
            [n(r.snapshots, "snapshot"), n(r.files, "file"), n(r.chunks, "chunk"), n(r.packs, "pack")].join(", "),
        ),
        ("read", format!("{} in {}{rate}", render::size(r.bytes_read), render::duration(took))),
    ];
    if r.rebuilt.0 > 0 {
        said.push(("rebuilt", format!("{}, {}", n(r.rebuilt.0, "file"), render::size(r.rebuilt.1))));
    }
    if !r.problems.is_empty() {
        said.push(("problems", render::count(r.problems.len() as u64)));
    }
    if r.files_lost > 0 {
        said.push(("lost", format!("{}, {}", n(r.files_lost, "file"), render::size(r.bytes_lost))));
    }
    table::pairs(said).into_iter().try_for_each(|line| out.line(line))
}

fn documents(context: &Context, r: &CheckReport, took: Duration) -> Result<()> {
    for p in &r.problems {
        let d = json!({"message_type": "error", "message": p.what, "repairable": p.repairable});
        context.out.stream_document(&d)?;
    }
    r.lost.iter().try_for_each(|lost| context.out.stream_document(&json::file_lost(lost)))?;
    context.out.document(&json!({
        "message_type": "summary",
        "num_errors": r.problems.len(),
        "packs": r.packs,
        "chunks": r.chunks,
        "snapshots": r.snapshots,
        "files": r.files,
        "bytes_read": r.bytes_read,
        "files_rebuilt": r.rebuilt.0,
        "bytes_rebuilt": r.rebuilt.1,
        "files_lost": r.files_lost,
        "bytes_lost": r.bytes_lost,
        "total_duration": took.as_secs_f64(),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::check::Problem;

    #[test]
    fn what_can_be_repaired_is_3_and_what_cannot_is_4() {
        let report = |problems: Vec<bool>, files_lost| CheckReport {
            packs: 0,
            bytes_read: 0,
            chunks: 0,
            snapshots: 0,
            files: 0,
            problems: problems.into_iter().map(|repairable| Problem { what: String::new(), repairable }).collect(),
            rebuilt: (0, 0),
            lost: vec![],
            files_lost,
            bytes_lost: 0,
            damage: vec![],
            healed: vec![],
            looked_at: vec![],
        };
        assert_eq!(verdict(&report(vec![], 0)), Exit::Done);
        assert_eq!(verdict(&report(vec![true], 0)), Exit::Losses);
        assert_eq!(verdict(&report(vec![true, false], 0)), Exit::Damage);
        assert_eq!(verdict(&report(vec![true], 1)), Exit::Damage);
    }
}
