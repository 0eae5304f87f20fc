//! `scrub`: every pack read and proven, in the order of the disks.

use super::context::Context;
use super::exit::Exit;
use super::smart::{self, SmartArgs};
use super::{args, json, render, table};
use crate::error::{Error, Result};
use crate::ops::scrub::{self, ScrubOptions, ScrubReport};
use serde_json::json;
use std::time::{Duration, Instant};

/// Read every pack, prove it, and repair what is damaged
///
/// Disks lose bytes without telling. Scrub reads all packs of data and parity in the order in which they lie, one worker a
/// disk, and compares every MiB with its check. What is damaged is rebuilt from the pack's group, written to a new file under
/// the same name, proven, and noted; the damaged file stays in `bad/` on its disk, so that those sectors are not used again.
/// More packs of a group than it has parity come back if they are damaged at different places.
///
/// A scrub that is stopped, by a signal or --max-duration, goes on where it was when it is started again. It reads beside
/// backups, and takes the store for writing only for the moment of a repair or a note. Without parity it can only tell.
///
/// Disks whose drives say that they fail (SMART, through smartctl, where it is there and may ask) are named, and read whatever
/// --older-than says.
///
/// Exit status: 0 everything proved; 1 failed; 2 wrong usage; 3 damage was found and repaired, or disks are missing; 4
/// damage that cannot be repaired: the files are named; 10 there is no store; 11 what was found could not be noted, since
/// another process writes; 130 stopped by a signal, what was proven is noted.
#[derive(clap::Args, Debug)]
#[command(after_long_help = EXAMPLES)]
pub struct ScrubArgs {
    /// Read at most so much a second from each disk (50M)
    #[arg(long, value_name = "SIZE", value_parser = args::size)]
    rate: Option<u64>,

    /// Stop after so long; the next scrub goes on from there (8h)
    #[arg(long, value_name = "SPAN", value_parser = args::span)]
    max_duration: Option<Duration>,

    /// Leave out packs that were proven within so long (30d)
    #[arg(long, value_name = "SPAN", value_parser = args::span)]
    older_than: Option<Duration>,

    #[command(flatten)]
    smart: SmartArgs,
}

const EXAMPLES: &str = "\
Examples:
  onefold scrub
  onefold scrub --rate 80M --max-duration 6h
  onefold scrub --older-than 30d --quiet || mail -s 'the store needs you' ann";

impl ScrubArgs {
    pub(super) fn run(self, context: &Context) -> Result<Exit> {
        let begun = Instant::now();
        let store = context.open()?;
        let drives = self.smart.look(&store);
        smart::warn(context, &store, &drives);
        let options = ScrubOptions {
            rate: self.rate,
            max_duration: self.max_duration,
            older_than: self.older_than,
            worried: drives.iter().filter(|(_, d)| d.is_urgent()).map(|(id, _)| *id).collect(),
        };
        let (pass, _) = scrub::pass_of(&store);
        let mut report = scrub::run(&store, &options, &context.control, &mut |found, at| {
            match context.open_to_write("scrub") {
                Ok(writer) => scrub::settle(&writer, found, pass, at.complete, &context.control),
                // A backup is at work: what was found waits for the next time.
                Err(Error::Locked { .. }) if !at.last => Ok(Vec::new()),
                Err(e) => {
                    for pack in found.damaged.keys() {
                        context.warn(format!(
                            "pack {pack} is damaged, which could not be noted; scrub again to repair it"
                        ));
                    }
                    Err(e)
                }
            }
        })?;
        drop(store);
        if report.mended.iter().any(|m| m.failed.is_some()) {
            scrub::name_losses(&context.open()?, &mut report, &context.control)?;
        }
        print(context, &report, begun.elapsed())?;
        let failed = report.mended.iter().any(|m| m.failed.is_some());
        Ok(match (failed, report.mended.is_empty() && report.away == 0) {
            (true, _) => Exit::Damage,
            (false, true) => Exit::Done,
            (false, false) => Exit::Losses,
        })
    }
}

fn print(context: &Context, r: &ScrubReport, took: Duration) -> Result<()> {
    let out = &context.out;
    let repaired = r.mended.iter().filter(|m| m.failed.is_none());
    let failed = r.mended.len() - repaired.clone().count();
    if context.json {
        for m in &r.mended {
            out.stream_document(&json!({
                "message_type": "pack_damaged",
                "pack": m.pack.to_string(),
                "repaired": m.failed.is_none(),
                "bytes_written": m.bytes,
                "reason": m.failed,
            }))?;
        }
        r.lost.iter().try_for_each(|l| out.stream_document(&json::file_lost(l)))?;
        return out.document(&json!({
            "message_type": "summary",
            "packs": r.packs,
            "bytes_read": r.bytes_read,
            "packs_left_out": r.left_out,
            "packs_away": r.away,
            "packs_repaired": repaired.count(),
            "packs_not_repaired": failed,
            "complete": r.complete,
            "files_lost": r.files_lost,
            "bytes_lost": r.bytes_lost,
            "total_duration": took.as_secs_f64(),
        }));
    }
    for m in &r.mended {
        match &m.failed {
            None => out.stream_line(&format!("repaired: pack {}", m.pack))?,
            Some(why) => out.stream_line(&format!("damaged: pack {}: {}", m.pack, render::printable(why)))?,
        }
    }
    for lost in &r.lost {
        out.stream_line(&render::lost(lost))?;
    }
    out.line(match (failed > 0, r.mended.is_empty(), r.complete) {
        (true, ..) => "there is damage that cannot be repaired",
        (_, false, _) => "damage was found and repaired",
        (_, _, true) => "all is well: every pack was read and proven",
        (_, _, false) => "nothing wrong so far; the next scrub goes on from here",
    })?;
    let n = render::counted;
    let rate = render::rate(r.bytes_read, took).map(|rate| format!(", {rate}")).unwrap_or_default();
    let mut said = vec![(
        "read",
        format!("{}, {} in {}{rate}", n(r.packs, "pack"), render::size(r.bytes_read), render::duration(took)),
    )];
    if r.left_out > 0 {
        said.push(("left out", format!("{}: proven before", n(r.left_out, "pack"))));
    }
    if r.away > 0 {
        said.push(("away", format!("{} on disks that are missing", n(r.away, "pack"))));
    }
    if r.files_lost > 0 {
        said.push(("lost", format!("{}, {}", n(r.files_lost, "file"), render::size(r.bytes_lost))));
    }
    table::pairs(said).into_iter().try_for_each(|line| out.line(line))
}
