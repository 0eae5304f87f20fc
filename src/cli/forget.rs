//! `forget`: which snapshots are still wanted.

use super::clock::{self, WallClock};
use super::context::Context;
use super::exit::Exit;
use super::snapshots::roots;
use super::stats::tell_freed;
use super::table::{Side, Table};
use super::{args, ask, json, render, source};
use crate::error::{Error, Result};
use crate::ops::forget::{self, Filter, Group, GroupBy, Keep, Plan, Policy, Span};
use crate::ops::snapshots::{self, SnapshotInfo};
use crate::ops::stats::{self, Wanted};
use serde_json::{Value, json};
use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;

/// Forget snapshots, by policy or by name
///
/// A policy says what is kept; all other snapshots of its group are forgotten. Snapshots are put into groups by host and
/// paths (--group-by), and the policy holds for each group alone. --keep-daily 7 keeps the newest snapshot of each of the last
/// seven days that have one, and so on; the oldest snapshot of all also stays while a rule has counts left. Rules add up.
/// Days, weeks, months and years are those of this machine's time zone. What the policy would keep if the incomplete
/// snapshots were not there stays, and pinned snapshots stay whatever it says.
///
/// Forgetting frees nothing: `gc` gives the space back when the grace period is over, and until then `undelete` brings a
/// snapshot back. Shows its plan and asks first.
///
/// Exit status: 0 forgotten, or nothing to forget; 1 failed, or a snapshot is not there; 2 wrong usage, or nobody could be
/// asked; 10 there is no store; 11 another process writes to the store.
#[derive(clap::Args, Debug)]
#[command(after_long_help = EXAMPLES)]
pub struct ForgetArgs {
    /// Snapshots to forget: `latest`, a name, or the beginning of an id
    #[arg(value_name = "SNAPSHOT")]
    snapshots: Vec<OsString>,

    /// Keep the N newest snapshots (`unlimited`: all)
    #[arg(long, short = 'l', value_name = "N", value_parser = keep, help_heading = POLICY)]
    keep_last: Option<Keep>,

    /// Keep the newest of each of the last N hours that have one
    #[arg(long, short = 'H', value_name = "N", value_parser = keep, help_heading = POLICY)]
    keep_hourly: Option<Keep>,

    /// Keep the newest of each of the last N days that have one
    #[arg(long, short = 'd', value_name = "N", value_parser = keep, help_heading = POLICY)]
    keep_daily: Option<Keep>,

    /// Keep the newest of each of the last N ISO weeks that have one
    #[arg(long, short = 'w', value_name = "N", value_parser = keep, help_heading = POLICY)]
    keep_weekly: Option<Keep>,

    /// Keep the newest of each of the last N months that have one
    #[arg(long, short = 'm', value_name = "N", value_parser = keep, help_heading = POLICY)]
    keep_monthly: Option<Keep>,

    /// Keep the newest of each of the last N years that have one
    #[arg(long, short = 'y', value_name = "N", value_parser = keep, help_heading = POLICY)]
    keep_yearly: Option<Keep>,

    /// Keep all that are younger than this against the newest (1y5m7d2h)
    #[arg(long, value_name = "SPAN", value_parser = clock::span, help_heading = POLICY)]
    keep_within: Option<Span>,

    /// Keep one an hour of those that are younger than this
    #[arg(long, value_name = "SPAN", value_parser = clock::span, help_heading = POLICY)]
    keep_within_hourly: Option<Span>,

    /// Keep one a day of those that are younger than this
    #[arg(long, value_name = "SPAN", value_parser = clock::span, help_heading = POLICY)]
    keep_within_daily: Option<Span>,

    /// Keep one a week of those that are younger than this
    #[arg(long, value_name = "SPAN", value_parser = clock::span, help_heading = POLICY)]
    keep_within_weekly: Option<Span>,

    /// Keep one a month of those that are younger than this
    #[arg(long, value_name = "SPAN", value_parser = clock::span, help_heading = POLICY)]
    keep_within_monthly: Option<Span>,

    /// Keep one a year of those that are younger than this
    #[arg(long, value_name = "SPAN", value_parser = clock::span, help_heading = POLICY)]
    keep_within_yearly: Option<Span>,

    /// Keep those with all of these tags (A,B); repeated, with any of the lists
    #[arg(long = "keep-tag", value_name = "TAGS", help_heading = POLICY)]
    keep_tags: Vec<String>,

    /// Look only at snapshots of this host; repeated, of any of them
    #[arg(long = "host", value_name = "HOST")]
    hosts: Vec<String>,

    /// Look only at snapshots with all of these tags (A,B); repeated, with any of the lists
    #[arg(long = "tag", value_name = "TAGS")]
    tags: Vec<String>,

    /// Look only at snapshots of this source; repeated, of all of them
    #[arg(long = "path", value_name = "PATH")]
    paths: Vec<OsString>,

    /// What makes a group: host, paths, tags in any number, or nothing
    #[arg(long, short, value_name = "LIST", default_value = "host,paths", value_parser = group_by)]
    group_by: GroupBy,

    /// Tell what forgetting it would free: walks all snapshots and reads all packs' tables
    #[arg(long)]
    would_free: bool,

    /// Show the plan and change nothing
    #[arg(long, short = 'n')]
    dry_run: bool,

    /// Do not ask
    #[arg(long)]
    yes: bool,
}

const POLICY: &str = "Policy";
const EXAMPLES: &str = "\
Examples:
  onefold forget --keep-daily 14 --keep-weekly 8 --keep-monthly 12 --keep-yearly 10 --dry-run
  onefold forget --keep-last 30 --dry-run --would-free
  onefold forget --keep-last 30 --keep-tag gold --yes && onefold gc --yes
  onefold forget 4f2a91c0";

fn keep(text: &str) -> std::result::Result<Keep, String> {
    match text {
        "unlimited" | "-1" => Ok(Keep::All),
        n => n.parse().map(Keep::Last).map_err(|_| "a number, or `unlimited`".into()),
    }
}

fn group_by(text: &str) -> std::result::Result<GroupBy, String> {
    let mut by = GroupBy { host: false, paths: false, tags: false };
    for word in text.split(',').map(str::trim).filter(|w| !w.is_empty()) {
        match word {
            "host" | "hosts" => by.host = true,
            "path" | "paths" => by.paths = true,
            "tag" | "tags" => by.tags = true,
            other => return Err(format!("{other:?} is none of host, paths and tags")),
        }
    }
    Ok(by)
}

fn tag_lists(lists: &[String]) -> Vec<Vec<String>> {
    lists.iter().map(|list| list.split(',').map(|t| t.trim().to_owned()).collect()).collect()
}

/// Who does it, for the log.
pub(super) fn who() -> String {
    format!("{}@{}", source::user(), crate::io::source::hostname())
}

impl ForgetArgs {
    pub(super) fn run(self, context: &Context) -> Result<Exit> {
        let policy = self.policy();
        if !policy.is_empty() && !self.snapshots.is_empty() {
            return Err(Error::Argument {
                what: "both a policy and snapshots are given".into(),
                why: "forget by one of them at a time".into(),
            });
        }
        let store = if self.dry_run { context.open()? } else { context.open_to_write("forget")? };
        let (plan, why) = if self.snapshots.is_empty() {
            let filter = self.filter()?;
            let (list, now) = (snapshots::list(&store, &[]), context.io.world.now_ns());
            let plan = forget::by_policy(list, &filter, self.group_by, &policy, &WallClock::local(), now)?;
            (plan, "by policy")
        } else {
            let named: Result<Vec<SnapshotInfo>> =
                self.snapshots.iter().map(|s| args::whole_snapshot(&store, s)).collect();
            (forget::by_name(named?)?, "by name")
        };
        if context.json {
            plan.groups.iter().try_for_each(|g| context.out.stream_document(&document(g)))?;
        } else {
            plan.groups.iter().try_for_each(|g| text(context, g))?;
        }
        if self.would_free {
            let snapshots = plan.groups.iter().flat_map(|g| g.remove.clone()).collect();
            let freed = stats::freed(&store, &Wanted { snapshots, ..Default::default() }, &context.control)?;
            tell_freed(context, &freed)?;
        }
        let (going, staying) = (plan.removed().len() as u64, plan.groups.iter().map(|g| g.keep.len() as u64).sum());
        if self.dry_run || going == 0 {
            return summary(context, &plan, 0, staying, self.dry_run);
        }
        let question = format!("forget {}?", render::counted(going, "snapshot"));
        if !ask::confirm(context, self.yes, &question)? {
            context.warn("nothing was forgotten".into());
            return Ok(Exit::Done);
        }
        let done = forget::run(&store, &plan, &who(), why, &context.control)?;
        summary(context, &plan, done, staying, false)
    }

    fn policy(&self) -> Policy {
        let keep = |k: Option<Keep>| k.unwrap_or_default();
        let span = |s: Option<Span>| s.unwrap_or_default();
        Policy {
            last: keep(self.keep_last),
            hourly: keep(self.keep_hourly),
            daily: keep(self.keep_daily),
            weekly: keep(self.keep_weekly),
            monthly: keep(self.keep_monthly),
            yearly: keep(self.keep_yearly),
            within: span(self.keep_within),
            within_hourly: span(self.keep_within_hourly),
            within_daily: span(self.keep_within_daily),
            within_weekly: span(self.keep_within_weekly),
            within_monthly: span(self.keep_within_monthly),
            within_yearly: span(self.keep_within_yearly),
            tags: tag_lists(&self.keep_tags),
        }
    }

    fn filter(&self) -> Result<Filter> {
        let paths: Result<Vec<_>> = self.paths.iter().map(|p| args::absolute(p)).collect();
        let paths = paths?.into_iter().map(|p| p.as_os_str().as_bytes().to_vec()).collect();
        Ok(Filter { hosts: self.hosts.clone(), tags: tag_lists(&self.tags), paths })
    }
}

fn text(context: &Context, group: &Group) -> Result<()> {
    let mut of = Vec::new();
    of.extend(group.host.as_ref().map(|h| format!("host {}", render::printable(h))));
    let path_list = |paths: &Vec<Vec<u8>>| paths.iter().map(|p| render::name(p)).collect::<Vec<_>>().join("  ");
    of.extend(group.paths.as_ref().map(|p| format!("paths {}", path_list(p))));
    of.extend(group.tags.as_ref().map(|t| format!("tags [{}]", render::printable(&t.join(", ")))));
    if !of.is_empty() {
        context.out.stream_line(&of.join(", "))?;
    }
    let mut t = Table::new(&[
        ("", Side::Left),
        ("id", Side::Left),
        ("time", Side::Left),
        ("tags", Side::Left),
        ("size", Side::Right),
        ("paths", Side::Left),
        ("why", Side::Left),
    ]);
    let mut row = |word: &str, info: &SnapshotInfo, why: String| {
        let s = &info.snapshot;
        t.row([
            word.to_owned(),
            info.id.short(),
            render::time_of_ns(s.time_ns),
            render::printable(&s.tags.join(", ")),
            render::size(s.counts.bytes),
            roots(info),
            why,
        ]);
    };
    for (info, reasons) in &group.keep {
        let why: Vec<&str> = reasons.iter().map(|r| r.0.as_str()).collect();
        row("keep", info, render::printable(&why.join(", ")));
    }
    group.remove.iter().for_each(|info| row("forget", info, String::new()));
    t.lines().iter().try_for_each(|line| context.out.stream_line(line))?;
    context.out.stream_line("")
}

fn document(group: &Group) -> Value {
    let path_list = |paths: &Vec<Vec<u8>>| paths.iter().map(|p| json::path_text(p)).collect::<Vec<_>>();
    json!({
        "message_type": "group",
        "host": group.host,
        "paths": group.paths.as_ref().map(path_list),
        "tags": group.tags,
        "keep": group.keep.iter().map(|(info, _)| json::snapshot(info)).collect::<Vec<_>>(),
        "remove": group.remove.iter().map(json::snapshot).collect::<Vec<_>>(),
        "reasons": group.keep.iter().map(|(info, reasons)| json!({
            "snapshot": info.id.to_string(),
            "matches": reasons.iter().map(|r| r.0.as_str()).collect::<Vec<_>>(),
        })).collect::<Vec<_>>(),
    })
}

fn summary(context: &Context, plan: &Plan, done: u64, kept: u64, dry_run: bool) -> Result<Exit> {
    let going = plan.removed();
    if context.json {
        context.out.document(&json!({
            "message_type": "summary",
            "dry_run": dry_run,
            "snapshots_kept": kept,
            "snapshots_forgotten": if dry_run { going.len() as u64 } else { done },
            "forgotten": going.iter().map(ToString::to_string).collect::<Vec<_>>(),
        }))?;
    } else if dry_run {
        let n = render::counted(going.len() as u64, "snapshot");
        context.out.line(format!("{n} would be forgotten, {kept} kept"))?;
    } else {
        let n = render::counted(done, "snapshot");
        let then = if done > 0 { "; `onefold gc` gives their space back when the grace period is over" } else { "" };
        context.out.line(format!("{n} forgotten{then}"))?;
    }
    Ok(Exit::Done)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_and_counts_are_read_as_restic_reads_them() {
        assert_eq!(group_by("host,paths"), Ok(GroupBy::default()));
        assert_eq!(group_by(""), Ok(GroupBy { host: false, paths: false, tags: false }));
        assert_eq!(group_by("tags"), Ok(GroupBy { host: false, paths: false, tags: true }));
        assert!(group_by("host;paths").is_err());
        assert_eq!((keep("7"), keep("unlimited"), keep("0")), (Ok(Keep::Last(7)), Ok(Keep::All), Ok(Keep::Last(0))));
        assert!(keep("some").is_err());
    }
}
