//! `tag`, `rename`, `pin`, `unpin`, `undelete`: what is said of a snapshot after it was made.

use super::context::Context;
use super::exit::Exit;
use super::forget::who;
use super::{args, json, render};
use crate::error::{Error, Result};
use crate::ops::forget::Filter;
use crate::ops::snapshots::{self, SnapshotInfo};
use crate::ops::tag::{self, Change};
use crate::store::Store;
use serde_json::json;
use std::ffi::OsString;

/// Change the tags of snapshots
///
/// Adds tags, takes some away, or sets them anew. With no SNAPSHOT, all snapshots are changed, or those of --host and
/// --with-tag. A snapshot's id stays as it is.
///
/// Exit status: 0 changed, or nothing to change; 1 failed, or a snapshot is not there; 2 wrong usage; 10 there is no store;
/// 11 another process writes to the store.
#[derive(clap::Args, Debug)]
#[command(after_long_help = TAG_EXAMPLES)]
pub struct TagArgs {
    /// Snapshots to change: `latest`, a name, or the beginning of an id
    #[arg(value_name = "SNAPSHOT")]
    snapshots: Vec<OsString>,

    /// Add this tag; repeated
    #[arg(long, value_name = "TAG", value_parser = args::label)]
    add: Vec<String>,

    /// Take this tag away; repeated
    #[arg(long, value_name = "TAG")]
    remove: Vec<String>,

    /// Have these tags and no others; an empty one for none
    #[arg(long, value_name = "TAG", conflicts_with_all = ["add", "remove"])]
    set: Vec<String>,

    /// Look only at snapshots of this host; repeated, of any of them
    #[arg(long = "host", value_name = "HOST")]
    hosts: Vec<String>,

    /// Look only at snapshots with all of these tags (A,B); repeated, with any of the lists
    #[arg(long, value_name = "TAGS")]
    with_tag: Vec<String>,
}

const TAG_EXAMPLES: &str = "\
Examples:
  onefold tag latest --add gold
  onefold tag --with-tag nightly --remove nightly --add old
  onefold tag 4f2a91c0 --set ''";

/// Give a snapshot a name, or take it away
///
/// A name stands for its snapshot in every command, until it is renamed or forgotten. Each name is one snapshot's.
///
/// Exit status: 0 renamed; 1 failed, or the snapshot is not there; 2 wrong usage, or the name is taken; 10 there is no
/// store; 11 another process writes to the store.
#[derive(clap::Args, Debug)]
#[command(after_long_help = RENAME_EXAMPLES)]
pub struct RenameArgs {
    /// The snapshot: `latest`, a name, or the beginning of an id
    #[arg(value_name = "SNAPSHOT")]
    snapshot: OsString,

    /// Its new name; without one it has none
    #[arg(value_name = "NAME", value_parser = args::snapshot_name)]
    name: Option<String>,
}

const RENAME_EXAMPLES: &str = "\
Examples:
  onefold rename latest 'before the move'
  onefold rename 'before the move'";

/// Pin snapshots: no policy forgets them
///
/// A pinned snapshot stays whatever a policy says, and cannot be forgotten by name either, until it is unpinned.
///
/// Exit status: 0 pinned; 1 failed, or a snapshot is not there; 2 wrong usage; 10 there is no store; 11 another process
/// writes to the store.
#[derive(clap::Args, Debug)]
#[command(after_long_help = PIN_EXAMPLES)]
pub struct PinArgs {
    /// Snapshots to pin: `latest`, a name, or the beginning of an id
    #[arg(value_name = "SNAPSHOT", required = true)]
    snapshots: Vec<OsString>,
}

const PIN_EXAMPLES: &str = "\
Examples:
  onefold pin latest
  onefold pin 'before the move' 4f2a91c0";

/// Unpin snapshots: policies decide about them again
///
/// Exit status: 0 unpinned; 1 failed, or a snapshot is not there; 2 wrong usage; 10 there is no store; 11 another process
/// writes to the store.
#[derive(clap::Args, Debug)]
#[command(after_long_help = UNPIN_EXAMPLES)]
pub struct UnpinArgs {
    /// Snapshots to unpin: `latest`, a name, or the beginning of an id
    #[arg(value_name = "SNAPSHOT", required = true)]
    snapshots: Vec<OsString>,
}

const UNPIN_EXAMPLES: &str = "\
Examples:
  onefold unpin 'before the move'";

/// Bring forgotten snapshots back
///
/// A forgotten snapshot is whole until a gc gives it up, which it may do once the grace period is over. From then on it is
/// not there any more, and `snapshots --forgotten` does not list it.
///
/// Exit status: 0 back; 1 failed, or there is no such snapshot among the forgotten ones; 2 wrong usage; 10 there is no store;
/// 11 another process writes to the store.
#[derive(clap::Args, Debug)]
#[command(after_long_help = UNDELETE_EXAMPLES)]
pub struct UndeleteArgs {
    /// Forgotten snapshots: a name, or the beginning of an id
    #[arg(value_name = "SNAPSHOT", required = true)]
    snapshots: Vec<String>,
}

const UNDELETE_EXAMPLES: &str = "\
Examples:
  onefold snapshots --forgotten
  onefold undelete 4f2a91c0";

fn all(store: &Store, named: &[OsString]) -> Result<Vec<SnapshotInfo>> {
    let mut list: Vec<SnapshotInfo> = named.iter().map(|s| args::whole_snapshot(store, s)).collect::<Result<_>>()?;
    list.sort_by_key(|s| s.number);
    list.dedup_by_key(|s| s.id);
    Ok(list)
}

/// One line, or one document, on how many snapshots changed.
fn told(context: &Context, what: &str, changed: u64) -> Result<Exit> {
    if context.json {
        context.out.document(&json!({"message_type": "summary", "changed_snapshots": changed}))?;
    } else {
        context.out.line(format!("{} {what}", render::counted(changed, "snapshot")))?;
    }
    Ok(Exit::Done)
}

impl TagArgs {
    pub(super) fn run(self, context: &Context) -> Result<Exit> {
        let change = if self.set.is_empty() {
            Change::Edit { add: self.add, remove: self.remove }
        } else {
            let tags: Vec<String> = self.set.into_iter().filter(|t| !t.is_empty()).collect();
            if let Some(why) = tags.iter().find_map(|t| args::label(t).err()) {
                return Err(Error::Argument { what: "a tag".into(), why });
            }
            Change::Set(tags)
        };
        if change == (Change::Edit { add: vec![], remove: vec![] }) {
            return Err(Error::Argument { what: "no change is given".into(), why: "--add, --remove or --set".into() });
        }
        let store = context.open_to_write("tag")?;
        let lists = self.with_tag.iter().map(|l| l.split(',').map(|t| t.trim().to_owned()).collect()).collect();
        let filter = Filter { hosts: self.hosts, tags: lists, paths: vec![] };
        let list = if self.snapshots.is_empty() { snapshots::list(&store, &[]) } else { all(&store, &self.snapshots)? };
        let list: Vec<SnapshotInfo> = list.into_iter().filter(|s| filter.lets(s)).collect();
        told(context, "changed", tag::tags(&store, &list, &change, &context.control)?)
    }
}

impl RenameArgs {
    pub(super) fn run(self, context: &Context) -> Result<Exit> {
        let store = context.open_to_write("rename")?;
        let info = args::whole_snapshot(&store, &self.snapshot)?;
        tag::rename(&store, &info, self.name, &context.control)?;
        told(context, "renamed", 1)
    }
}

impl PinArgs {
    pub(super) fn run(self, context: &Context) -> Result<Exit> {
        let store = context.open_to_write("pin")?;
        let list = all(&store, &self.snapshots)?;
        told(context, "pinned", tag::pin(&store, &list, true, &context.control)?)
    }
}

impl UnpinArgs {
    pub(super) fn run(self, context: &Context) -> Result<Exit> {
        let store = context.open_to_write("unpin")?;
        let list = all(&store, &self.snapshots)?;
        told(context, "unpinned", tag::pin(&store, &list, false, &context.control)?)
    }
}

impl UndeleteArgs {
    pub(super) fn run(self, context: &Context) -> Result<Exit> {
        let store = context.open_to_write("undelete")?;
        let mut back = 0;
        for name in &self.snapshots {
            let info = tag::undelete(&store, name, &who(), &context.control)?;
            back += 1;
            if context.json {
                context.out.document(&json::snapshot(&info))?;
            }
        }
        told(context, "brought back", back)
    }
}
