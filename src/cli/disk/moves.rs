//! `disk replace`, `disk drain`, `disk remove`: packs leave a disk.

use super::{add, named};
use crate::cli::context::Context;
use crate::cli::exit::Exit;
use crate::cli::{args, ask, render, table};
use crate::error::{Error, Result};
use crate::ops::shelf::add::AddOptions;
use crate::ops::shelf::moves::{self, Moved};
use crate::ops::shelf::{self, Named, Plan, Purpose, plan};
use crate::store::Store;
use serde_json::{Value, json};
use std::ffi::OsString;
use std::time::{Duration, Instant};

/// Put a new disk in the place of another, dead or alive
///
/// Writes every live pack of OLD to NEW: from OLD where it still gives its bytes, else rebuilt from the other disks, most
/// endangered packs first. NEW is a folder that becomes a disk of the store, or one that is a disk already. Then OLD is retired.
/// The plan is shown first. If it is stopped, start it again with the same words: it does the rest.
///
/// Exit status: 0 all of it stands on NEW; 1 failed; 2 wrong usage; 3 some packs stay where they are, or may lose fewer
/// disks than before; 4 packs are lost: no disk gives them, and OLD is kept in the list; 10 there is no store; 11 another process writes to it; 130 stopped by a signal.
#[derive(clap::Args, Debug)]
#[command(after_long_help = REPLACE_EXAMPLES)]
pub(super) struct ReplaceArgs {
    /// Disk that goes: its path, label, or the beginning of its id
    #[arg(value_name = "OLD")]
    old: OsString,

    /// Folder on the disk that comes
    #[arg(value_name = "NEW")]
    new: OsString,

    /// What to call the new disk
    #[arg(long, value_name = "LABEL", value_parser = args::label)]
    label: Option<String>,

    /// Show the plan only
    #[arg(long)]
    dry_run: bool,

    /// Move so many bytes a second at most (50M)
    #[arg(long, value_name = "RATE", value_parser = args::size)]
    rate: Option<u64>,

    /// Do it without asking
    #[arg(long)]
    yes: bool,
}

const REPLACE_EXAMPLES: &str = "\
Examples:
  onefold disk replace 'bay 3' /mnt/new
  onefold disk replace /mnt/dead /mnt/new --label 'bay 3, 2026' --yes
  onefold disk replace 'bay 3' /mnt/new --rate 50M";

/// Move everything from a disk that still works to the others
///
/// Nothing new is written to the disk meanwhile. Where the remaining disks are too few for a group's width, groups are made
/// anew, narrower; the old ones live until the new ones do. The plan is shown first. The disk stays in the store, empty:
/// `onefold disk remove` takes it out.
///
/// Exit status: 0 the disk is empty; 1 failed; 2 wrong usage; 3 some packs stay where they are; 4 packs of it are lost; 10 there
/// is no store; 11 another process writes to it; 130 stopped by a signal, start it again to do the rest.
#[derive(clap::Args, Debug)]
#[command(after_long_help = DRAIN_EXAMPLES)]
pub(super) struct DrainArgs {
    /// The disk: its path, label, or the beginning of its id
    #[arg(value_name = "DISK")]
    disk: OsString,

    /// Show the plan only
    #[arg(long)]
    dry_run: bool,

    /// Move so many bytes a second at most (50M)
    #[arg(long, value_name = "RATE", value_parser = args::size)]
    rate: Option<u64>,

    /// Do it without asking
    #[arg(long)]
    yes: bool,
}

const DRAIN_EXAMPLES: &str = "\
Examples:
  onefold disk drain 'bay 3'";

/// Take a disk out of the store for good
///
/// The disk must be empty: `onefold disk drain` makes it so. With --lost the disk is gone: what lay on it is rebuilt onto the
/// others first. What cannot be rebuilt is lost with it, which the plan says. The folder itself is left as it is.
///
/// Exit status: 0 the disk is out; 1 packs lie on it, or failed; 2 wrong usage; 3 some packs could not be rebuilt for lack of
/// room: the disk stays; 4 it is out, and packs are lost with it; 10 there is no store; 11 another process writes to it; 130
/// stopped by a signal.
#[derive(clap::Args, Debug)]
#[command(after_long_help = REMOVE_EXAMPLES)]
pub(super) struct RemoveArgs {
    /// The disk: its path, label, or the beginning of its id
    #[arg(value_name = "DISK")]
    disk: OsString,

    /// It is gone for good: rebuild what lay on it onto the others
    #[arg(long)]
    lost: bool,

    /// Show the plan only
    #[arg(long)]
    dry_run: bool,

    /// Move so many bytes a second at most (50M)
    #[arg(long, value_name = "RATE", value_parser = args::size)]
    rate: Option<u64>,

    /// Do it without asking
    #[arg(long)]
    yes: bool,
}

const REMOVE_EXAMPLES: &str = "\
Examples:
  onefold disk remove 'bay 3'
  onefold disk remove 'bay 3' --lost";

impl ReplaceArgs {
    pub(super) fn run(self, context: &Context) -> Result<Exit> {
        let path = args::absolute(&self.new)?;
        let store = open(context, self.dry_run, "disk replace")?;
        let old = named(&store, &self.old)?;
        if old.is_here && old.path == path {
            let why = "the disk that goes and the one that comes are the same".to_owned();
            return Err(Error::Argument { what: format!("the disk {:?}", old.label), why });
        }
        let here = store.pool().disks().find(|d| d.path == path).map(|d| d.id);
        let planned = plan::plan(&store, old.clone(), Purpose::Replace { by: here });
        show(context, &planned, self.rate)?;
        if self.dry_run {
            return Ok(Exit::Done);
        }
        if !ask::confirm(context, self.yes, "replace it?")? {
            return Ok(Exit::Failed);
        }
        let domain = store.with_state(|s| s.disks.get(&old.id).map(|d| d.domain.clone())).unwrap_or_default();
        drop(store);
        let added = add::join(context, &AddOptions { path, label: self.label, domain, reuse: false })?;
        let store = context.open_to_write("disk replace")?;
        let planned = plan::plan(&store, old.clone(), Purpose::Replace { by: Some(added.id) });
        finish(context, store, planned, Retire::IfWhole, self.rate)
    }
}

impl DrainArgs {
    pub(super) fn run(self, context: &Context) -> Result<Exit> {
        let store = open(context, self.dry_run, "disk drain")?;
        let planned = plan::plan(&store, named(&store, &self.disk)?, Purpose::Drain);
        show(context, &planned, self.rate)?;
        if self.dry_run {
            return Ok(Exit::Done);
        }
        if !ask::confirm(context, self.yes, "drain it?")? {
            return Ok(Exit::Failed);
        }
        finish(context, store, planned, Retire::No, self.rate)
    }
}

impl RemoveArgs {
    pub(super) fn run(self, context: &Context) -> Result<Exit> {
        let store = open(context, self.dry_run, "disk remove")?;
        let disk = named(&store, &self.disk)?;
        if self.lost && disk.is_here {
            let why = "it is here: `onefold disk drain` reads what it still gives".to_owned();
            return Err(Error::Argument { what: format!("the disk {:?}", disk.label), why });
        }
        let planned = plan::plan(&store, disk.clone(), Purpose::Drain);
        if self.dry_run {
            show(context, &planned, self.rate)?;
            return Ok(Exit::Done);
        }
        if !self.lost {
            if !planned.moves.is_empty() || !planned.lost.is_empty() {
                shelf::retire(&store, &disk, false)?; // says what to do
            }
            if !ask::confirm(context, self.yes, &format!("take disk {:?} out of the store?", disk.label))? {
                return Ok(Exit::Failed);
            }
            shelf::retire(&store, &disk, false)?;
            summary(context, &disk, &Moved::default(), 0, true, Duration::ZERO)?;
            return Ok(Exit::Done);
        }
        show(context, &planned, self.rate)?;
        if !ask::confirm(context, self.yes, "rebuild it on the others and take it out?")? {
            return Ok(Exit::Failed);
        }
        finish(context, store, planned, Retire::EvenLosing, self.rate)
    }
}

/// A plan alone needs no writer.
fn open(context: &Context, dry_run: bool, verb: &'static str) -> Result<Store> {
    if dry_run { context.open() } else { context.open_to_write(verb) }
}

/// Whether the disk leaves the store in the end.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Retire {
    No,
    /// If nothing is left on it.
    IfWhole,
    /// Unless something that could be had could not be moved.
    EvenLosing,
}

fn finish(context: &Context, store: Store, planned: Plan, retire: Retire, rate: Option<u64>) -> Result<Exit> {
    context.control.set_rate(rate);
    let begun = Instant::now();
    let before = store.redundancy(|_, _| {});
    let moved = moves::run(&store, &planned, &context.control)?;
    let whole = moved.failed.is_empty();
    let retired = match retire {
        Retire::No => false,
        Retire::IfWhole => whole && planned.lost.is_empty(),
        Retire::EvenLosing => whole,
    };
    if retired {
        shelf::retire(&store, &planned.from, retire == Retire::EvenLosing)?;
    }
    let weaker = store.redundancy(|_, _| {}).is_worse_than(&before);
    drop(store);
    summary(context, &planned.from, &moved, planned.lost.len() as u64, retired, begun.elapsed())?;
    if weaker {
        context.warn("some packs may lose fewer disks than before: `onefold disk list` tells how many".into());
    }
    Ok(match (planned.lost.is_empty(), whole && !weaker) {
        (false, _) => Exit::Damage,
        (true, false) => Exit::Losses,
        (true, true) => Exit::Done,
    })
}

/// Shows what would be done, before anything is.
fn show(context: &Context, p: &Plan, rate: Option<u64>) -> Result<()> {
    // What one spinning disk takes, and what is rebuilt in a core: the slower of the two.
    const DISK_BYTES_PER_SECOND: u64 = 150 << 20;
    let unpaced = (p.move_bytes + p.parity_bytes) / DISK_BYTES_PER_SECOND;
    let rate = rate.filter(|r| *r > 0);
    let paced = rate.map_or(0, |rate| p.paced_bytes / rate);
    let seconds = unpaced.max(paced);
    let rate = rate.filter(|_| paced >= unpaced).unwrap_or(DISK_BYTES_PER_SECOND);
    if context.json {
        let to = match &p.purpose {
            Purpose::Replace { by } => by.map_or(Value::Null, |d| Value::from(d.to_string())),
            Purpose::Drain => Value::from("others"),
        };
        return context.out.stream_document(&json!({
            "message_type": "plan",
            "disk": p.from.id.to_string(),
            "label": p.from.label,
            "to": to,
            "packs": p.moves.len(),
            "bytes": p.move_bytes,
            "bytes_rebuilt": p.rebuilt_bytes,
            "bytes_read_to_rebuild": p.read_bytes,
            "groups_made_anew": p.regroup.len(),
            "parity_bytes": p.parity_bytes,
            "packs_lost": p.lost.len(),
            "room_bytes": p.room_bytes,
            "seconds": seconds,
        }));
    }
    let n = render::counted;
    let label = render::printable(&p.from.label);
    let to = match &p.purpose {
        Purpose::Replace { .. } => "to the new disk",
        Purpose::Drain => "to the other disks",
    };
    let out = &context.out;
    out.line(format!("disk {label} ({}):", p.from.id.short()))?;
    let about = render::duration(Duration::from_secs(seconds.max(1)));
    let mut said = vec![("moves", format!("{}, {} {to}", n(p.moves.len() as u64, "pack"), render::size(p.move_bytes)))];
    if p.rebuilt_bytes > 0 {
        let read = render::size(p.read_bytes);
        said.push(("rebuilt", format!("{}, from {read} of the others", render::size(p.rebuilt_bytes))));
    }
    if !p.regroup.is_empty() {
        let parity = render::size(p.parity_bytes);
        said.push(("made anew", format!("{}, {parity} of parity", n(p.regroup.len() as u64, "group"))));
    }
    if !matches!(p.purpose, Purpose::Replace { by: None }) {
        said.push(("room", render::size(p.room_bytes)));
    }
    said.push(("takes about", format!("{about} at {}/s", render::size(rate))));
    if !p.lost.is_empty() {
        said.push(("lost", format!("{}: nothing that is here gives them", n(p.lost.len() as u64, "pack"))));
    }
    table::pairs(said).into_iter().try_for_each(|line| out.line(line))
}

fn summary(context: &Context, disk: &Named, m: &Moved, lost: u64, retired: bool, took: Duration) -> Result<()> {
    let out = &context.out;
    if context.json {
        return out.document(&json!({
            "message_type": "summary",
            "disk": disk.id.to_string(),
            "packs_moved": m.packs,
            "bytes_moved": m.bytes,
            "groups_made": m.groups,
            "parity_bytes": m.parity_bytes,
            "packs_left": m.failed.len(),
            "packs_lost": lost,
            "retired": retired,
            "total_duration": took.as_secs_f64(),
        }));
    }
    let n = render::counted;
    let label = render::printable(&disk.label);
    let rate = render::rate(m.bytes, took).map(|rate| format!(", {rate}")).unwrap_or_default();
    if m.packs + m.groups > 0 {
        out.line(format!(
            "{} moved, {} in {}{rate}; {} made anew",
            n(m.packs, "pack"),
            render::size(m.bytes),
            render::duration(took),
            n(m.groups, "group")
        ))?;
    }
    out.line(match (retired, m.failed.is_empty()) {
        (true, _) => format!("disk {label} is no longer in the store"),
        (false, true) if lost > 0 => format!("disk {label} stays in the list: {} on it are lost", n(lost, "pack")),
        (false, true) => format!("disk {label} holds no pack any more"),
        (false, false) => format!("{} stay on disk {label}: named above", n(m.failed.len() as u64, "pack")),
    })
}
