//! `restore`: files back from a snapshot.

use super::args;
use super::context::Context;
use super::exit::Exit;
use super::table;
use super::{heal, json, render};
use crate::error::Result;
use crate::ops::restore::{self, RestoreOptions, RestoreReport};
use serde_json::json;
use std::ffi::OsString;
use std::time::{Duration, Instant};

/// Restore a snapshot, or a part of it, into a folder
///
/// Writes files, folders, links, times, modes and attributes of the snapshot below the target. With SNAPSHOT:PATH what
/// lies below PATH goes straight into the target. Every chunk is proven before it is written: what cannot be proven is
/// not written, but named as lost, and the rest goes on. A file that lost a part does not get its name, so that nothing
/// broken is taken for whole; with --partial it does, if that name is free, and at the end the file onefold-holes.txt in the
/// target lists for each hole the path and the first and last byte.
///
/// A target that holds something is refused without --overwrite; with it, files of the same name are replaced and others
/// stay. Nothing outside the target is written, whatever names and symlinks the snapshot holds. Owners and setuid bits
/// come back with --owner only.
///
/// Exit status: 0 everything was restored; 1 no such snapshot or path, the target is refused, or failed; 2 wrong usage;
/// 3 every byte was restored, but some metadata was not, a file could not be written, or damage was met and repaired; 4 files are lost in whole or in
/// part, each is named; 10 there is no store; 130 stopped by a signal, what was restored stays.
#[derive(clap::Args, Debug)]
#[command(after_long_help = EXAMPLES)]
pub struct RestoreArgs {
    /// `latest`, a name, or the beginning of an id
    #[arg(value_name = "SNAPSHOT[:PATH]")]
    snapshot: OsString,

    /// Folder to restore into; is made if it is missing
    #[arg(long, short, value_name = "DIR")]
    target: OsString,

    /// Restore only what fits the pattern; may be repeated
    #[arg(long = "include", value_name = "GLOB")]
    includes: Vec<String>,

    /// Replace what is there
    #[arg(long)]
    overwrite: bool,

    /// Bring owners, groups and setuid bits back (needs root)
    #[arg(long)]
    owner: bool,

    /// Leave files that lost a part under their names, zeros in the holes, and list the holes in onefold-holes.txt
    #[arg(long)]
    partial: bool,
}

const EXAMPLES: &str = "\
Examples:
  onefold restore latest --target /tmp/all
  onefold restore latest:/media/library/Artist --target /media/library/Artist --overwrite
  onefold restore 'before the move:/media' --target /mnt/new --include '*.flac'
  onefold restore latest --target /tmp/what-is-left --partial";

impl RestoreArgs {
    pub(super) fn run(self, context: &Context) -> Result<Exit> {
        let begun = Instant::now();
        let target = args::absolute(&self.target)?;
        let store = context.open()?;
        let (snapshot, path) = args::snapshot(&store, &self.snapshot, None)?;
        let options = RestoreOptions {
            snapshot,
            path,
            target,
            includes: self.includes,
            overwrite: self.overwrite,
            owner: self.owner,
            partial: self.partial,
        };
        let report = restore::run(&store, &options, &context.control)?;
        print(context, &options, &report, begun.elapsed())?;
        let healed = heal::harmed(context, store)?;
        Ok(match &report {
            r if r.files_lost > 0 => Exit::Damage,
            r if r.failed > 0 || r.metadata_failures > 0 || healed => Exit::Losses,
            _ => Exit::Done,
        })
    }
}

fn print(context: &Context, options: &RestoreOptions, r: &RestoreReport, took: Duration) -> Result<()> {
    let out = &context.out;
    if context.json {
        let mut d = json!({
            "message_type": "summary",
            "snapshot_id": options.snapshot.id.to_string(),
            "files_restored": r.files,
            "dirs_restored": r.dirs,
            "symlinks_restored": r.symlinks,
            "hard_links_restored": r.hard_links,
            "bytes_restored": r.bytes,
            "files_lost": r.files_lost,
            "files_partial": r.files_partial,
            "bytes_lost": r.bytes_lost,
            "files_failed": r.failed,
            "metadata_failures": r.metadata_failures,
            "seconds_elapsed": took.as_secs(),
            "total_duration": took.as_secs_f64(),
        });
        json::put_system_path(&mut d, "target", &options.target);
        if let Some(holes) = &r.holes {
            json::put_system_path(&mut d, "holes", &options.target.join(holes));
        }
        return out.document(&d);
    }
    out.line(format!(
        "snapshot {} restored to {}",
        options.snapshot.id.short(),
        render::name(options.target.as_os_str().as_encoded_bytes())
    ))?;
    let n = render::counted;
    let mut held = vec![n(r.files, "file"), n(r.dirs, "folder")];
    held.extend((r.symlinks > 0).then(|| n(r.symlinks, "symlink")));
    held.extend((r.hard_links > 0).then(|| n(r.hard_links, "hard link")));
    let rate = render::rate(r.bytes, took).map(|rate| format!(", {rate}")).unwrap_or_default();
    let mut said = vec![
        ("restored", held.join(", ")),
        ("bytes", format!("{} in {}{rate}", render::size(r.bytes), render::duration(took))),
    ];
    if r.files_lost > 0 {
        said.push(("lost", format!("{}, {}: named above", n(r.files_lost, "file"), render::size(r.bytes_lost))));
    }
    if r.files_partial > 0 {
        let list = r.holes.as_deref().unwrap_or(restore::HOLES_FILE);
        said.push(("with holes", format!("{} of them, listed in {list}", n(r.files_partial, "file"))));
    }
    if r.failed > 0 {
        said.push(("not written", format!("{}: named above", n(r.failed, "file"))));
    }
    if r.metadata_failures > 0 {
        said.push((
            "metadata",
            format!("{} could not be brought back: named above", render::count(r.metadata_failures)),
        ));
    }
    table::pairs(said).into_iter().try_for_each(|line| out.line(line))
}
