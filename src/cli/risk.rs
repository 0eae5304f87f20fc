//! `risk`: what would be lost with some disks, and how redundant everything is.

use super::context::Context;
use super::disk::named;
use super::exit::Exit;
use super::table::{self, Side, Table};
use super::{args, json, render};
use crate::error::Result;
use crate::ops::risk::model::{Forecast, Model};
use crate::ops::risk::{self, Needed, Overview, RiskReport, needs};
use serde_json::json;
use std::ffi::OsString;

/// Tell what would be lost if disks died
///
/// With --disk, every file of every snapshot that could not be restored without these disks is named, exactly: as log and
/// disks are now, missing disks counted as missing. Nothing is changed. Without --disk, how many packs may lose how many more
/// disks, and the pairs of disks that would hurt most; with --shared-by also, how many chunks many files need, and how many of
/// those are held safer (`onefold compact --protect-shared`), which looks at all folders and packs. With --model, how likely a
/// shelf of such disks loses data within a year, by a model of disks that die independently.
///
/// Exit status: 0 it was told, whatever would be lost; 1 failed; 2 wrong usage; 10 there is no store; 130 stopped by a signal.
#[derive(clap::Args, Debug)]
#[command(after_long_help = EXAMPLES)]
pub struct RiskArgs {
    /// Disk that would be gone: its path, label, or the beginning of its id; repeat it for each disk
    #[arg(long = "disk", value_name = "DISK")]
    disks: Vec<OsString>,

    /// Tell as well how many chunks more than this many files need, and how many of those are held safer
    #[arg(long, value_name = "N", conflicts_with_all = ["disks", "model"], value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    shared_by: Option<u64>,

    /// Tell from a model how likely a shelf loses data within a year, by parity; no store is needed
    #[arg(long, conflicts_with = "disks")]
    model: bool,

    /// For --model: number of disks
    #[arg(long, value_name = "N", default_value_t = 24, value_parser = clap::value_parser!(u32).range(1..=4096))]
    model_disks: u32,

    /// For --model: bytes stored on a disk
    #[arg(long, value_name = "SIZE", default_value = "20TB", value_parser = args::size)]
    model_disk_bytes: u64,

    /// For --model: disks of a thousand that die in a year
    #[arg(long, value_name = "PER MILLE", default_value_t = 14, value_parser = clap::value_parser!(u32).range(1..=999))]
    model_deaths: u32,

    /// For --model: hours until a dead disk is replaced
    #[arg(long, value_name = "HOURS", default_value_t = 24)]
    model_hours: u32,
}

const EXAMPLES: &str = "\
Examples:
  onefold risk
  onefold risk --shared-by 10
  onefold risk --disk 'bay 3' --disk 'bay 7'
  onefold risk --model --model-disks 12";

impl RiskArgs {
    pub(super) fn run(self, context: &Context) -> Result<Exit> {
        if self.model {
            let model = Model {
                disks: self.model_disks,
                disk_bytes: self.model_disk_bytes,
                failure_rate: f64::from(self.model_deaths) / 1000.0,
                response_hours: f64::from(self.model_hours),
                ..Default::default()
            };
            forecasts(context, &model)?;
            return Ok(Exit::Done);
        }
        let store = context.open()?;
        if self.disks.is_empty() {
            if let Some(n) = self.shared_by {
                shared(context, &needs::find(&store, n, &context.control)?)?;
            }
            overview(context, &risk::overview(&store))?;
            return Ok(Exit::Done);
        }
        let disks = self.disks.iter().map(|d| named(&store, d)).collect::<Result<Vec<_>>>()?;
        let ids: Vec<_> = disks.iter().map(|d| d.id).collect();
        let report = risk::without(&store, &ids, &context.control)?;
        without(context, &report)?;
        Ok(Exit::Done)
    }
}

/// One line for each number of parity packs.
fn forecasts(context: &Context, model: &Model) -> Result<()> {
    let out = &context.out;
    let parities = (0..=4).filter(|m| *m < model.disks);
    let all: Vec<(u32, Forecast)> = parities.map(|m| (m, Model { parity: m, ..*model }.forecast())).collect();
    if context.json {
        return all.iter().try_for_each(|(m, f)| {
            out.document(&json!({
                "message_type": "forecast",
                "parity": m,
                "disks": model.disks,
                "repair_hours": f.repair_hours,
                "loss_probability": f.loss,
                "share_lost": f.share_lost,
                "latent_loss_probability": f.latent,
            }))
        });
    }
    let mut t = Table::new(&[
        ("parity", Side::Right),
        ("too many dead, a year", Side::Right),
        ("share lost then", Side::Right),
        ("a latent error costs a MiB, a year", Side::Right),
    ]);
    for (m, f) in &all {
        t.row([m.to_string(), format!("{:.1e}", f.loss), format!("{:.1e}", f.share_lost), format!("{:.1e}", f.latent)]);
    }
    t.lines().iter().try_for_each(|line| out.line(line))?;
    let hours = all.first().map_or(0.0, |(_, f)| f.repair_hours);
    out.line(format!(
        "{} disks, each dead for {hours:.0} hours until it is rebuilt; docs/RELIABILITY.md tells the model",
        model.disks
    ))
}

fn without(context: &Context, r: &RiskReport) -> Result<()> {
    let out = &context.out;
    r.problems.iter().for_each(|p| context.warn(p.clone()));
    if context.json {
        r.lost.iter().try_for_each(|l| out.stream_document(&json::file_lost(l)))?;
        return out.document(&json!({
            "message_type": "summary",
            "files": r.files,
            "snapshots": r.snapshots,
            "files_lost": r.files_lost,
            "bytes_lost": r.bytes_lost,
        }));
    }
    r.lost.iter().try_for_each(|l| out.stream_line(&render::lost(l)))?;
    let n = render::counted;
    if r.files_lost == 0 {
        return out.line(format!("nothing would be lost: {} in {}", n(r.files, "file"), n(r.snapshots, "snapshot")));
    }
    out.line(format!(
        "{} of {} in {} would be lost, {}",
        render::count(r.files_lost),
        n(r.files, "file"),
        n(r.snapshots, "snapshot"),
        render::size(r.bytes_lost)
    ))
}

fn shared(context: &Context, needed: &Needed) -> Result<()> {
    if context.json {
        let document = json!({
            "message_type": "shared",
            "more_than_files": needed.more_than,
            "chunks_shared": needed.chunks,
            "bytes_shared": needed.bytes,
            "chunks_held_safer": needed.safer_chunks,
            "bytes_held_safer": needed.safer_bytes,
            "chunks_missing": needed.missing,
            "unreadable": needed.unreadable,
            "packs_unreadable": needed.packs_unreadable,
        });
        return context.out.stream_document(&document);
    }
    let n = render::counted;
    let of = |chunks, bytes| format!("{}, {}", n(chunks, "chunk"), render::size(bytes));
    let mut said = vec![
        ("shared", format!("{}, needed by more than {}", of(needed.chunks, needed.bytes), n(needed.more_than, "file"))),
        ("of these held safer", of(needed.safer_chunks, needed.safer_bytes)),
    ];
    if needed.missing > 0 {
        said.push(("missing", format!("{} cannot be had; see `onefold check`", n(needed.missing, "chunk"))));
    }
    if needed.unreadable + needed.packs_unreadable > 0 {
        let (folders, packs) = (n(needed.unreadable, "folder or list"), n(needed.packs_unreadable, "pack"));
        said.push(("unreadable", format!("{folders}, {packs}: what they need is not counted; see `onefold check`")));
    }
    table::pairs(said).into_iter().try_for_each(|line| context.out.stream_line(&line))
}

fn overview(context: &Context, o: &Overview) -> Result<()> {
    let (out, r) = (&context.out, &o.redundancy);
    if context.json {
        for p in &o.pairs {
            out.stream_document(&json!({
                "message_type": "pair",
                "disks": p.disks.map(|d| d.to_string()),
                "labels": p.labels,
                "packs_lost": p.packs,
                "pack_bytes_lost": p.bytes,
            }))?;
        }
        return out.document(&json!({
            "message_type": "summary",
            "parity": o.parity,
            "protect_shared": o.protect_shared.unwrap_or(0),
            "packs_held_safer": o.packs_safer,
            "pack_bytes_held_safer": o.pack_bytes_safer,
            "packs_fully_redundant": r.full,
            "packs_degraded": r.degraded,
            "packs_at_risk": r.at_risk,
            "packs_lost": r.lost,
            "pack_bytes_short": r.short_bytes,
        }));
    }
    let n = render::counted;
    let parity = match o.parity {
        0 => "none: a disk that dies takes its packs along".to_owned(),
        m => format!("any {} may die", n(m as u64, "disk")),
    };
    let mut said = vec![("set to", parity), ("fully redundant", n(r.full, "pack"))];
    if let Some(files) = o.protect_shared {
        let (packs, bytes) = (n(o.packs_safer, "pack"), render::size(o.pack_bytes_safer));
        let may = n(o.parity as u64 + 1, "disk");
        let what = format!("any {may} may die, for what more than {} share", n(files, "file"));
        said.insert(1, ("held safer", format!("{packs}, {bytes}: {what}")));
    }
    let short = |count, what: &str| format!("{}: {what}", n(count, "pack"));
    said.extend((r.degraded > 0).then(|| ("degraded", short(r.degraded, "fewer disks may die"))));
    said.extend((r.at_risk > 0).then(|| ("at risk", short(r.at_risk, "the next disk may take them along"))));
    said.extend((r.lost > 0).then(|| ("lost", short(r.lost, "too many disks are missing"))));
    table::pairs(said).into_iter().try_for_each(|line| out.line(line))?;
    if o.pairs.is_empty() {
        return out.line("no two disks that died would lose anything");
    }
    out.line("two disks that would hurt most:")?;
    let mut t =
        Table::new(&[("  disk", Side::Left), ("and", Side::Left), ("packs", Side::Right), ("bytes", Side::Right)]);
    for p in &o.pairs {
        let [a, b] = &p.labels;
        let first = format!("  {}", render::printable(a));
        t.row([first, render::printable(b), render::count(p.packs), render::size(p.bytes)]);
    }
    t.lines().iter().try_for_each(|line| out.line(line))
}
