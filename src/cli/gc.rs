//! `gc`: give space back.

use super::clock;
use super::context::Context;
use super::exit::Exit;
use super::table;
use super::{args, ask, render};
use crate::error::Result;
use crate::ops::gc::{self, GcOptions, GcReport, Plan};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// Give back the space of what no snapshot needs
///
/// Follows what changed since the last gc (the first time, or with --full, walks all snapshots and reads the tables of
/// all packs), and shows what it would do: packs of which nothing is needed are
/// removed; packs of which little is needed are rewritten, and small ones merged. Nothing is removed before what is needed of it stands
/// proven elsewhere. Snapshots that were forgotten are given up when their grace period is over, and can then not be
/// brought back.
///
/// May be stopped, and started again, at any time; every snapshot stays whole. Readers (restore, cat, check) may run beside
/// it; other writers are let in between two packs. It needs room beside the store for about 100 bytes a chunk while it plans.
///
/// Exit status: 0 done, also if there was nothing to do or a limit ended it; 1 failed, or a part of a snapshot cannot be read, so that
/// nothing was removed; 2 wrong usage, or nobody could be asked; 3 done, but a pack could not be read whole and stays;
/// 4 damage that cannot be repaired; 10 there is no store; 11 another process writes to the store; 130 stopped by a signal.
#[derive(clap::Args, Debug)]
#[command(after_long_help = EXAMPLES)]
pub struct GcArgs {
    /// Show the plan and change nothing
    #[arg(long, short = 'n')]
    dry_run: bool,

    /// Do not ask
    #[arg(long)]
    yes: bool,

    /// Keep forgotten snapshots for so long (7d, 36h, 0s)
    #[arg(long, value_name = "DURATION", default_value = "7d", value_parser = clock::duration_ns)]
    grace: i64,

    /// Rewrite packs of which less than this many per cent are needed; by default the sparsest, until 5 % of the store or
    /// less is waste
    #[arg(long, value_name = "PERCENT", value_parser = clap::value_parser!(u8).range(0..=100))]
    threshold: Option<u8>,

    /// Begin no further pack when so much was moved
    #[arg(long, value_name = "SIZE", value_parser = args::size)]
    max_bytes: Option<u64>,

    /// Begin no further pack after this time (90m, 8h)
    #[arg(long, value_name = "DURATION", value_parser = clock::duration_ns)]
    max_duration: Option<i64>,

    /// Move so many bytes a second at most (50M)
    #[arg(long, value_name = "RATE", value_parser = args::size)]
    rate: Option<u64>,

    /// Walk all snapshots and read all packs' tables, instead of following what changed since the last gc
    #[arg(long)]
    full: bool,

    /// Believe the clock, also if it stands more than 7 days after the store's last entry
    #[arg(long)]
    trust_clock: bool,
}

const EXAMPLES: &str = "\
Examples:
  onefold gc --dry-run
  onefold gc --yes
  onefold gc --yes --max-duration 4h --threshold 90
  onefold gc --grace 0s --yes
  onefold gc --full --dry-run";

impl GcArgs {
    pub(super) fn run(self, context: &Context) -> Result<Exit> {
        let store = if self.dry_run { context.open()? } else { context.open_to_write("gc")? };
        let options = GcOptions {
            grace_ns: self.grace,
            trust_clock: self.trust_clock,
            threshold_percent: self.threshold,
            max_bytes: self.max_bytes,
            max_duration_ns: self.max_duration,
            full: self.full,
        };
        context.control.set_rate(self.rate);
        let program = concat!("onefold ", env!("CARGO_PKG_VERSION"));
        let plan = gc::plan(&store, &options, program, &context.control)?;
        if context.json {
            context.out.document(&plan_document(&plan))?;
        } else {
            plan_text(context, &plan)?;
        }
        if self.dry_run || plan.is_empty() {
            if !self.dry_run {
                gc::run(&store, plan, &options, program, &context.control)?; // what was counted is kept for the next one
            }
            return summary(context, &GcReport::default(), self.dry_run);
        }
        let question = match plan.freed_bytes() {
            0 => format!("write {}?", render::size(plan.dissolving.written_bytes + plan.moved_bytes())),
            freed => format!("free {}?", render::size(freed)),
        };
        if !ask::confirm(context, self.yes, &question)? {
            context.warn("nothing was changed".into());
            return Ok(Exit::Done);
        }
        let (begun, mut first, mut report) = (Instant::now(), Some(plan), GcReport::default());
        let until = self.max_duration.and_then(|ns| begun.checked_add(Duration::from_nanos(ns.unsigned_abs())));
        context.in_turns("gc", store, until, &mut |store| {
            let left = options.after(&report, begun.elapsed());
            let plan = match first.take() {
                Some(plan) => plan,
                None => gc::plan(store, &left, program, &context.control)?,
            };
            report.add(&gc::run(store, plan, &left, program, &context.control)?);
            Ok(report.gave_way)
        })?;
        summary(context, &report, false)
    }
}

fn plan_text(context: &Context, p: &Plan) -> Result<()> {
    let n = render::counted;
    let mut said =
        vec![("plan", p.full_because.map_or_else(|| "by what changed".to_owned(), |why| format!("full: {why}")))];
    said.extend([
        ("kept for", {
            let grace = if p.in_grace > 0 {
                format!(", {} in their grace", n(p.in_grace, "forgotten one"))
            } else {
                String::new()
            };
            format!("{}{grace}", n(p.snapshots, "snapshot"))
        }),
        ("store", format!("{} in {}", render::size(p.packs_bytes), n(p.packs, "pack"))),
        ("chunks", format!("{} needed, {} not", render::count(p.chunks_live), render::count(p.chunks_dead))),
    ]);
    if !p.is_empty() {
        if !p.given_up.is_empty() {
            let ids: Vec<String> = p.given_up.iter().take(8).map(|s| s.id.short()).collect();
            let more = if p.given_up.len() > ids.len() { ", ..." } else { "" };
            said.push((
                "give up",
                format!("{} ({}{more})", n(p.given_up.len() as u64, "forgotten snapshot"), ids.join(", ")),
            ));
        }
        said.push(("remove", format!("{}, {}", n(p.dead.len() as u64, "pack"), render::size(p.dead_bytes()))));
        said.push(("rewrite", format!("{}, {} to move", n(p.rewritten(), "pack"), render::size(p.moved_bytes()))));
        said.push(("free", render::size(p.freed_bytes())));
        if !p.dissolving.is_empty() {
            let d = &p.dissolving;
            let (written, freed) = (render::size(d.written_bytes), render::size(d.freed_bytes));
            let what = n(d.bases, "base");
            said.push((
                "dissolve",
                format!("{what} that only deltas hold: {written} to write, {freed} for the next gc to free"),
            ));
        }
    }
    said.push(("left as waste", render::size(p.dead_bytes_left)));
    if p.dead_bytes_in_groups > 0 {
        said.push(("held by parity groups", render::size(p.dead_bytes_in_groups)));
    }
    if p.stuck > 0 {
        said.push((
            "unproven",
            format!("{} stay: something in them cannot be read; see `onefold check`", n(p.stuck, "pack")),
        ));
    }
    if p.missing > 0 {
        said.push(("missing", format!("{} that snapshots need; see `onefold check`", n(p.missing, "chunk"))));
    }
    if p.data_stays() {
        let unreadable = n(p.unreadable, "pack");
        let how = "connect the disks that are away, or see `onefold check`; or back up again what those packs held";
        said.push(("held back", format!("all packs of data, as long as {unreadable} cannot be read: {how}")));
    }
    table::pairs(said).into_iter().try_for_each(|line| context.out.stream_line(&line))?;
    if p.is_empty() {
        context.out.stream_line("there is nothing to do")?;
    }
    Ok(())
}

fn plan_document(p: &Plan) -> Value {
    json!({
        "message_type": "plan",
        "full": p.full_because.is_some(),
        "snapshots": p.snapshots,
        "snapshots_in_grace": p.in_grace,
        "snapshots_given_up": p.given_up.iter().map(|s| s.id.to_string()).collect::<Vec<_>>(),
        "packs": p.packs,
        "stored_bytes": p.packs_bytes,
        "chunks_live": p.chunks_live,
        "chunks_dead": p.chunks_dead,
        "chunks_missing": p.missing,
        "packs_to_remove": p.dead.len(),
        "bytes_to_remove": p.dead_bytes(),
        "packs_to_rewrite": p.rewritten(),
        "bytes_to_move": p.moved_bytes(),
        "bytes_to_free": p.freed_bytes(),
        "bases_to_dissolve": p.dissolving.bases,
        "bytes_dissolved_to_write": p.dissolving.written_bytes,
        "bytes_dissolved_to_free": p.dissolving.freed_bytes,
        "bytes_left_dead": p.dead_bytes_left,
        "bytes_held_by_groups": p.dead_bytes_in_groups,
        "packs_unproven": p.stuck,
        "packs_unreadable": p.unreadable,
    })
}

fn summary(context: &Context, r: &GcReport, dry_run: bool) -> Result<Exit> {
    if context.json {
        context.out.document(&json!({
            "message_type": "summary",
            "dry_run": dry_run,
            "snapshots_dropped": r.snapshots_dropped,
            "packs_removed": r.packs_dropped,
            "packs_rewritten": r.packs_rewritten,
            "packs_damaged": r.packs_damaged,
            "bytes_freed": r.freed_bytes,
            "bytes_moved": r.moved_bytes,
            "bytes_written": r.written_bytes,
            "chunks_moved": r.chunks_moved,
            "chunks_undone": r.chunks_undone,
            "stopped_at_limit": r.stopped_at_limit,
        }))?;
    } else if *r != GcReport::default() {
        let n = render::counted;
        let net = r.freed_bytes.saturating_sub(r.written_bytes);
        context.out.line(format!(
            "{} freed: {} removed, {} rewritten ({} moved)",
            render::size(net),
            n(r.packs_dropped, "pack"),
            n(r.packs_rewritten, "pack"),
            render::size(r.moved_bytes),
        ))?;
        if r.chunks_undone > 0 {
            let chunks = n(r.chunks_undone, "delta");
            context
                .out
                .line(format!("{chunks} stored plain, since only they held their bases; the next gc frees those"))?;
        }
        if r.stopped_at_limit {
            context.out.line("a limit ended it before the plan's end; the next gc goes on")?;
        }
        if r.packs_damaged > 0 {
            context.out.line(format!("{} could not be read whole and stay", n(r.packs_damaged, "pack")))?;
        }
    }
    Ok(if r.packs_damaged > 0 { Exit::Losses } else { Exit::Done })
}
