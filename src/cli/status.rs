//! `status`: one screen for a person, one number for cron.

use super::context::Context;
use super::exit::Exit;
use super::smart::{self, Drive, SmartArgs};
use super::{disk, json, render, table};
use crate::error::Result;
use crate::format::DiskId;
use crate::ops::disks::{self, Health, StatusReport};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::Duration;

/// Tell on one screen how the store is and what to do next
///
/// Shows the newest snapshot, the redundancy, every disk, what is stored and what still fits, known damage, who is writing,
/// and what to do next. Only reads, and no more than a few small files: it is cheap enough for cron. Drives are asked for their
/// health (SMART) where smartctl is there and may ask; none is woken for it.
///
/// Exit status: 0 nothing needs attention; 1 failed; 2 wrong usage; 3 something needs attention, everything can still be
/// read; 4 data is lost or cannot be reached; 10 there is no store.
#[derive(clap::Args, Debug)]
#[command(after_long_help = EXAMPLES)]
pub struct StatusArgs {
    #[command(flatten)]
    smart: SmartArgs,
}

const EXAMPLES: &str = "\
Examples:
  onefold status
  onefold status --json --quiet    in cron: the exit status tells, the document explains";

impl StatusArgs {
    pub(super) fn run(self, context: &Context) -> Result<Exit> {
        let store = context.open()?;
        let mut report = disks::status(&store)?;
        let drives = self.smart.look(&store);
        let worries = smart::worries(&store, &drives);
        if drives.values().any(Drive::is_urgent) {
            report.health = report.health.max(Health::Attention);
        }
        report.next.extend(worries);
        if context.json {
            context.out.document(&document(&report, &drives))?;
        } else {
            text(context, &report, store.path())?;
        }
        Ok(match report.health {
            Health::Good => Exit::Done,
            Health::Attention => Exit::Losses,
            Health::Lost => Exit::Damage,
        })
    }
}

fn word(health: &Health) -> &'static str {
    match health {
        Health::Good => "good",
        Health::Attention => "needs attention",
        Health::Lost => "data is lost or cannot be reached",
    }
}

/// What may be lost, as it is now and not as it is set.
fn redundancy(r: &StatusReport) -> String {
    let now = match (r.parity, r.tolerates) {
        (_, None) => "none: packs are lost or cannot be reached now".to_owned(),
        (0, _) => "none: a disk that dies takes its packs with it".into(),
        (_, Some(0)) => "none at the moment: another disk that dies takes packs with it".into(),
        (_, Some(1)) => "any 1 disk may die".into(),
        (_, Some(n)) => format!("any {n} disks may die"),
    };
    match r.short_packs {
        0 => now,
        n => format!("{now}; {} short of the {} that the store is set to", render::counted(n, "pack"), r.parity),
    }
}

fn text(context: &Context, r: &StatusReport, store: &std::path::Path) -> Result<()> {
    let out = &context.out;
    out.line(format!("{}: {}", render::name(store.as_os_str().as_encoded_bytes()), word(&r.health)))?;
    let age = |ns: i64| {
        let seconds = context.io.world.now_ns().saturating_sub(ns) / 1_000_000_000;
        match u64::try_from(seconds) {
            Ok(0) => "just now".into(),
            Ok(s) => format!("{} ago", render::duration(Duration::from_secs(s))),
            Err(_) => "in the future".into(),
        }
    };
    let newest = match &r.newest {
        Some(info) => {
            let s = &info.snapshot;
            let incomplete = if s.complete { "" } else { ", incomplete" };
            format!("{} of {} ({}){incomplete}", info.id.short(), render::time_of_ns(s.time_ns), age(s.time_ns))
        }
        None => "none yet".into(),
    };
    let mut said = vec![
        ("newest", newest),
        ("snapshots", render::count(r.snapshots)),
        ("redundancy", redundancy(r)),
        ("space", format!("{} stored, {} still fit", render::size(r.stored_bytes), render::size(r.fits_bytes))),
        (
            "damage",
            match r.damage {
                0 => "none known".into(),
                n => format!("{} known to be damaged", render::counted(n, "pack")),
            },
        ),
    ];
    said.push(("memory", format!("at least {}", render::size(r.memory_floor_bytes))));
    said.extend(r.running.iter().map(|who| ("writing", render::printable(who))));
    table::pairs(said).into_iter().try_for_each(|line| out.line(line))?;
    out.line("")?;
    disk::table(&r.disks).lines().iter().try_for_each(|line| out.line(format!("  {line}")))?;
    if !r.next.is_empty() {
        out.line("")?;
        out.line("next:")?;
        r.next.iter().try_for_each(|step| out.line(format!("  - {}", render::printable(step))))?;
    }
    Ok(())
}

fn document(r: &StatusReport, drives: &BTreeMap<DiskId, Drive>) -> Value {
    json!({
        "message_type": "status_report",
        "memory_floor": r.memory_floor_bytes,
        "health": match r.health {
            Health::Good => "good",
            Health::Attention => "attention",
            Health::Lost => "lost",
        },
        "newest": r.newest.as_ref().map(json::snapshot),
        "snapshots": r.snapshots,
        "stored_bytes": r.stored_bytes,
        "fits_bytes": r.fits_bytes,
        "parity": r.parity,
        "disks_that_may_die": r.tolerates,
        "packs_short_of_parity": r.short_packs,
        "damaged_packs": r.damage,
        "running": r.running,
        "next": r.next,
        "disks": r.disks.iter().map(|d| disk::document(d, drives)).collect::<Vec<_>>(),
    })
}
