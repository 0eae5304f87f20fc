//! `salvage`: files from disks alone.

use super::context::Context;
use super::exit::Exit;
use super::{args, json, render};
use crate::error::Result;
use crate::ops::salvage::{self, SalvageOptions, Salvaged};
use serde_json::json;
use std::ffi::OsString;

/// Take every file that can be had from these disks, without the store's folder
///
/// For when all else is gone: reads superblock, keys, log and packs of the disks that are named, and restores what lies on them,
/// or can be rebuilt from them, into a folder for each snapshot below the target. The disks are only read; no RocksDB is needed,
/// but memory: about 100 bytes for each chunk on the disks. Files that do not lie wholly on them are named.
///
/// Exit status: 0 every file came back; 1 failed; 2 wrong usage; 3 some metadata did not come back; 4 files are lost in whole or
/// in part, each is named; 130 stopped by a signal.
#[derive(clap::Args, Debug)]
#[command(after_long_help = EXAMPLES)]
pub struct SalvageArgs {
    /// Folders on disks of the store
    #[arg(value_name = "DISK", required = true)]
    disks: Vec<OsString>,

    /// Folder to restore into; is made if it is missing
    #[arg(long, short, value_name = "DIR")]
    target: OsString,

    /// Snapshot to take; repeat it. Without it the newest of each host and its sources
    #[arg(long = "snapshot", value_name = "SNAPSHOT")]
    snapshots: Vec<String>,
}

const EXAMPLES: &str = "\
Examples:
  onefold salvage /mnt/disk7 --target /tmp/what-is-left
  onefold salvage /mnt/a /mnt/b /mnt/c --target /tmp/back --snapshot 'before the move'";

impl SalvageArgs {
    pub(super) fn run(self, context: &Context) -> Result<Exit> {
        let options = SalvageOptions {
            disks: self.disks.iter().map(|d| args::absolute(d)).collect::<Result<_>>()?,
            target: args::absolute(&self.target)?,
            snapshots: self.snapshots,
            memory_bytes: context.memory_bytes,
        };
        let all = salvage::run(&context.io, &options, &context.control)?;
        all.iter().try_for_each(|s| print(context, s))?;
        let any = |of: &dyn Fn(&Salvaged) -> bool| all.iter().any(of);
        Ok(if any(&|s| s.report.files_lost > 0) {
            Exit::Damage
        } else if any(&|s| s.report.failed > 0 || s.report.metadata_failures > 0) {
            Exit::Losses
        } else {
            Exit::Done
        })
    }
}

fn print(context: &Context, s: &Salvaged) -> Result<()> {
    let r = &s.report;
    if context.json {
        let mut doc = json!({
            "message_type": "salvaged",
            "snapshot_id": s.snapshot.id.to_string(),
            "files_restored": r.files,
            "bytes_restored": r.bytes,
            "files_lost": r.files_lost,
            "bytes_lost": r.bytes_lost,
        });
        json::put_system_path(&mut doc, "target", &s.folder);
        return context.out.document(&doc);
    }
    let lost = match r.files_lost {
        0 => String::new(),
        n => format!("; {} lost, {}", render::counted(n, "file"), render::size(r.bytes_lost)),
    };
    context.out.line(format!(
        "snapshot {} to {}: {}, {}{lost}",
        s.snapshot.id.short(),
        render::name(s.folder.as_os_str().as_encoded_bytes()),
        render::counted(r.files, "file"),
        render::size(r.bytes)
    ))
}
