//! `risk`: what would be lost with some disks, and how redundant everything is.

use super::context::Context;
use super::disk::named;
use super::exit::Exit;
use super::table::{self, Side, Table};
use super::{json, render};
use crate::error::Result;
use crate::ops::risk::{self, Overview, RiskReport};
use serde_json::json;
use std::ffi::OsString;

/// Tell what would be lost if disks died
///
/// With --disk, every file of every snapshot that could not be restored without these disks is named, exactly: as log and
/// disks are now, missing disks counted as missing. Nothing is changed. Without --disk, how many packs may lose how many more
/// disks, and the pairs of disks that would hurt most.
///
/// Exit status: 0 it was told, whatever would be lost; 1 failed; 2 wrong usage; 10 there is no store; 130 stopped by a signal.
#[derive(clap::Args, Debug)]
#[command(after_long_help = EXAMPLES)]
pub struct RiskArgs {
    /// Disk that would be gone: its path, label, or the beginning of its id; repeat it for each disk
    #[arg(long = "disk", value_name = "DISK")]
    disks: Vec<OsString>,
}

const EXAMPLES: &str = "\
Examples:
  onefold risk
  onefold risk --disk 'bay 3' --disk 'bay 7'";

impl RiskArgs {
    pub(super) fn run(self, context: &Context) -> Result<Exit> {
        let store = context.open()?;
        if self.disks.is_empty() {
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
