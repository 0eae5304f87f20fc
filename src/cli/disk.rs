//! `disk`: the shelf, its disks and what is done with them. Also how a disk is printed by `status`.

use super::context::Context;
use super::exit::Exit;
use super::smart::{self, Drive, SmartArgs};
use super::table::{Side, Table};
use super::{args, json, render};
use crate::error::Result;
use crate::format::DiskId;
use crate::ops::disks::{self, DiskInfo, DiskState, Health};
use crate::ops::shelf::{self, Named};
use crate::store::Store;
use clap::Subcommand;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::ffi::OsStr;

mod add;
mod copies;
mod locate;
mod moves;
mod parity;

/// Manage the store's disks
///
/// Exit status: that of the subcommand; 2 wrong usage.
#[derive(clap::Args, Debug)]
#[command(after_long_help = EXAMPLES)]
pub struct DiskArgs {
    #[command(subcommand)]
    command: DiskCommand,
}

#[derive(Subcommand, Debug)]
enum DiskCommand {
    List(ListArgs),
    Add(add::AddArgs),
    Replace(moves::ReplaceArgs),
    Drain(moves::DrainArgs),
    Remove(moves::RemoveArgs),
    Locate(locate::LocateArgs),
    Parity(parity::ParityArgs),
    Copies(copies::CopiesArgs),
}

/// The disk of the store that an argument names: by path, label, or the beginning of its id.
pub(super) fn named(store: &Store, argument: &OsStr) -> Result<Named> {
    shelf::find(store, &argument.to_string_lossy(), &args::absolute(argument)?)
}

/// List the disks, their state and their room
///
/// A disk that is missing is named with its label and the place where it was last seen; what can still be read is read.
/// `usable` is what new data may take: free space less the reserve that repairs need. `onefold status` tells how much data still
/// fits, parity taken off. Drives that say that they fail (SMART, through smartctl, where it is there and may ask) are named; none is
/// woken for it. Only reads.
///
/// Exit status: 0 every disk is healthy and every pack as redundant as the store is set to; 1 failed; 2 wrong usage; 3 a disk
/// is missing, suspect or stale, or packs may lose fewer disks than they should; 4 so much is missing that data cannot be read;
/// 10 there is no store.
#[derive(clap::Args, Debug)]
#[command(after_long_help = LIST_EXAMPLES)]
struct ListArgs {
    #[command(flatten)]
    smart: SmartArgs,
}

const EXAMPLES: &str = "\
Examples:
  onefold disk list
  onefold disk add /mnt/new --domain 'upper enclosure'
  onefold disk replace 'bay 3' /mnt/new";

const LIST_EXAMPLES: &str = "\
Examples:
  onefold disk list
  onefold disk list --json";

impl DiskArgs {
    pub(super) fn run(self, context: &Context) -> Result<Exit> {
        match self.command {
            DiskCommand::List(args) => list(context, &args),
            DiskCommand::Add(args) => args.run(context),
            DiskCommand::Replace(args) => args.run(context),
            DiskCommand::Drain(args) => args.run(context),
            DiskCommand::Remove(args) => args.run(context),
            DiskCommand::Locate(args) => args.run(context),
            DiskCommand::Parity(args) => args.run(context),
            DiskCommand::Copies(args) => args.run(context),
        }
    }
}

fn list(context: &Context, args: &ListArgs) -> Result<Exit> {
    let store = context.open()?;
    let list = disks::list(&store)?;
    let drives = args.smart.look(&store);
    smart::warn(context, &store, &drives);
    if context.json {
        list.iter().try_for_each(|d| context.out.stream_document(&document(d, &drives)))?;
    } else {
        table(&list).lines().iter().try_for_each(|line| context.out.line(line))?;
    }
    let redundancy = store.redundancy(|_, _| {});
    let whole = list.iter().all(|d| matches!(d.state, DiskState::Healthy | DiskState::Full)) && redundancy.is_full();
    if store.with_state(|s| s.promises_redundancy()) && redundancy.lost > 0 {
        return Ok(Exit::Damage);
    }
    Ok(match (whole, disks::status(&store)?.health) {
        (true, _) => Exit::Done,
        (false, Health::Lost) => Exit::Damage,
        (false, _) => Exit::Losses,
    })
}

pub(super) fn word(state: &DiskState) -> &'static str {
    match state {
        DiskState::Healthy => "healthy",
        DiskState::Missing => "missing",
        DiskState::Suspect => "suspect",
        DiskState::Stale => "stale",
        DiskState::Full => "full",
    }
}

pub(super) fn table(list: &[DiskInfo]) -> Table {
    let mut t = Table::new(&[
        ("disk", Side::Left),
        ("label", Side::Left),
        ("state", Side::Left),
        ("packs", Side::Right),
        ("in packs", Side::Right),
        ("usable", Side::Right),
        ("free", Side::Right),
        ("of", Side::Right),
        ("path", Side::Left),
        ("serial", Side::Left),
    ]);
    for d in list {
        let missing = matches!(d.state, DiskState::Missing);
        let room = |bytes| if missing { "-".into() } else { render::size(bytes) };
        let path = render::name(d.path.as_os_str().as_encoded_bytes());
        t.row([
            d.id.short(),
            render::printable(&d.label),
            word(&d.state).into(),
            render::count(d.packs),
            render::size(d.pack_bytes),
            room(d.usable_bytes),
            room(d.free_bytes),
            room(d.total_bytes),
            if missing { format!("last seen at {path}") } else { path },
            render::printable(&d.serial),
        ]);
    }
    t
}

pub(super) fn document(d: &DiskInfo, drives: &BTreeMap<DiskId, Drive>) -> Value {
    let mut doc = json!({
        "message_type": "disk",
        "id": d.id.to_string(),
        "label": d.label,
        "state": word(&d.state),
        "serial": d.serial,
        "drive": drives.get(&d.id).map(Drive::document),
        "packs": d.packs,
        "pack_bytes": d.pack_bytes,
        "total_bytes": d.total_bytes,
        "free_bytes": d.free_bytes,
        "usable_bytes": d.usable_bytes,
    });
    json::put_system_path(&mut doc, "path", &d.path);
    doc
}
