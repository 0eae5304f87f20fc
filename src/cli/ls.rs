//! `ls`: what a snapshot holds. Also prints the entries of `find`.

use super::args;
use super::context::Context;
use super::exit::Exit;
use super::{json, render};
use crate::error::Result;
use crate::format::entry::EntryKind;
use crate::ops::Notice;
use crate::ops::ls::{self, Listed, LsReport};
use crate::ops::snapshots::SnapshotInfo;
use serde_json::json;
use std::ffi::OsString;

/// List the files of a snapshot
///
/// Lists everything below PATH, or the whole snapshot, one path a line. Control characters and bytes that are no UTF-8
/// are printed escaped. Only reads; no file's contents are needed.
///
/// Exit status: 0 listed; 1 no such snapshot or path, or failed; 2 wrong usage; 4 a part cannot be listed because of
/// damage, the rest was; 10 there is no store; 130 stopped by a signal.
#[derive(clap::Args, Debug)]
#[command(after_long_help = EXAMPLES)]
pub struct LsArgs {
    /// `latest`, a name, or the beginning of an id
    #[arg(value_name = "SNAPSHOT[:PATH]")]
    snapshot: OsString,

    /// List only this folder or file
    path: Option<OsString>,

    /// Show mode, owner, group, size and time too
    #[arg(long, short)]
    long: bool,
}

const EXAMPLES: &str = "\
Examples:
  onefold ls latest
  onefold ls -l latest /media/library/Artist
  onefold ls latest:/media/library --json";

impl LsArgs {
    pub(super) fn run(self, context: &Context) -> Result<Exit> {
        let store = context.open()?;
        let (info, path) = args::snapshot(&store, &self.snapshot, self.path.as_ref())?;
        let out = &context.out;
        if context.json {
            out.stream_document(&json::snapshot(&info))?;
        }
        let mut each = |listed: Listed| match (context.json, self.long) {
            (true, _) => out.stream_document(&json::node(&listed)),
            (_, true) => out.stream_line(&long(&listed)),
            _ => out.stream_line(&render::name(&listed.path)),
        };
        let report = ls::run(&store, &info, path.as_deref(), &mut each, &context.control)?;
        Ok(end(context, &report))
    }
}

/// An entry as `ls -l` shows it.
pub(super) fn long(listed: &Listed) -> String {
    let e = &listed.entry;
    let (size, target) = match &e.kind {
        EntryKind::File { bytes, .. } => (render::count(*bytes), String::new()),
        EntryKind::Dir(_) => ("-".into(), String::new()),
        EntryKind::Symlink(target) => ("-".into(), format!(" -> {}", render::name(target))),
    };
    format!(
        "{} {:<8} {:<8} {size:>15} {} {}{target}",
        render::mode(e),
        render::owner(&e.user, e.uid),
        render::owner(&e.group, e.gid),
        render::time(e.mtime),
        render::name(&listed.path),
    )
}

/// A match as `find --json` prints it.
pub(super) fn found(info: &SnapshotInfo, listed: &Listed) -> serde_json::Value {
    let mut d = json::node(listed);
    d["message_type"] = json!("match");
    d["snapshot_id"] = info.id.to_string().into();
    d
}

/// Tells what could not be listed, and the exit status that this means.
pub(super) fn end(context: &Context, report: &LsReport) -> Exit {
    for (path, reason) in &report.unreadable {
        context.control.notice(Notice::Unreadable { path: path.clone(), reason: reason.clone() });
    }
    if report.unreadable.is_empty() { Exit::Done } else { Exit::Damage }
}
