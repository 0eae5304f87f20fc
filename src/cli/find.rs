//! `find`: where something is, over snapshots.

use super::args;
use super::context::Context;
use super::exit::Exit;
use super::{ls, render};
use crate::error::Result;
use crate::ops::find::{self, FindOptions};
use crate::ops::ls::Listed;
use crate::ops::snapshots::{self, SnapshotInfo};
use serde_json::json;
use std::ffi::OsString;

/// Find files by name in one, some or all snapshots
///
/// Prints each path whose name fits the pattern, under its snapshot. A pattern with a slash is compared with the whole
/// path. `*` and `?` stand for characters, `[a-z]` for one of several, `**` for any folders. Only reads; no file's contents
/// are needed.
///
/// Exit status: 0 searched, also if nothing was found; 1 failed; 2 wrong usage; 4 a part cannot be searched because of
/// damage, the rest was; 10 there is no store; 130 stopped by a signal.
#[derive(clap::Args, Debug)]
#[command(after_long_help = EXAMPLES)]
pub struct FindArgs {
    /// What the name, or the whole path, must look like
    pattern: String,

    /// Search only this snapshot; may be repeated [default: all]
    #[arg(long = "snapshot", short, value_name = "SNAPSHOT")]
    snapshots: Vec<OsString>,

    /// Take capital and small letters as the same
    #[arg(long, short)]
    ignore_case: bool,

    /// Print bare paths as they are, unescaped, a zero byte behind each
    #[arg(long, short = '0', conflicts_with_all = ["long", "json"])]
    print0: bool,

    /// Show mode, owner, group, size and time too
    #[arg(long, short)]
    long: bool,
}

const EXAMPLES: &str = "\
Examples:
  onefold find '*.flac'
  onefold find --ignore-case --snapshot latest '/media/library/**/cover.jp*g'
  onefold find -0 --snapshot latest '*.wav' | xargs -0 -n1 echo";

impl FindArgs {
    pub(super) fn run(self, context: &Context) -> Result<Exit> {
        let store = context.open()?;
        let infos = if self.snapshots.is_empty() {
            snapshots::list(&store, &[])
        } else {
            self.snapshots.iter().map(|s| args::whole_snapshot(&store, s)).collect::<Result<_>>()?
        };
        let options = FindOptions { pattern: self.pattern, ignore_case: self.ignore_case, snapshots: infos };
        let out = &context.out;
        let mut within = None;
        let mut each = |info: &SnapshotInfo, listed: Listed| {
            if context.json {
                return out.stream_document(&ls::found(info, &listed));
            }
            if self.print0 {
                let mut bytes = listed.path;
                bytes.push(0);
                return out.stream(&bytes);
            }
            if within != Some(info.id) {
                within = Some(info.id);
                out.stream_line(&format!(
                    "snapshot {} of {}:",
                    info.id.short(),
                    render::time_of_ns(info.snapshot.time_ns)
                ))?;
            }
            let entry = if self.long { ls::long(&listed) } else { render::name(&listed.path) };
            out.stream_line(&format!("  {entry}"))
        };
        let report = find::run(&store, &options, &mut each, &context.control)?;
        if context.json {
            context.out.document(&json!({"message_type": "summary", "matches": report.entries}))?;
        } else if report.entries == 0 && !self.print0 {
            out.line("nothing found")?;
        }
        Ok(ls::end(context, &report))
    }
}
