//! `rebalance`: groups made anew where that makes packs safer or takes less room.

use super::context::Context;
use super::exit::Exit;
use super::{args, ask, render, table};
use crate::error::Result;
use crate::format::DiskId;
use crate::ops::shelf::rebalance::{self, RebalancePlan, Rebalanced};
use crate::store::Store;
use serde_json::json;
use std::collections::BTreeMap;
use std::time::Instant;

/// Give packs the parity that the store is set to, join small groups, and even out how full disks are
///
/// Packs without parity get it, groups of another parity than the store is set to are made anew, and so are groups with members
/// that are away or on one disk. Small groups, as short backups leave them, are joined where that takes a tenth less parity. A
/// group lives until the new one does: nothing is less protected meanwhile. Disks that are more than 5 % of their room emptier or
/// fuller than the shelf, as one that was added late, get packs from the others, or give some. The plan is shown first.
///
/// Exit status: 0 done, or nothing to do; 1 failed; 2 wrong usage; 3 some packs are still less redundant than they should be; 10
/// there is no store; 11 another process writes to it; 130 stopped by a signal, start it again to do the rest.
#[derive(clap::Args, Debug)]
#[command(after_long_help = EXAMPLES)]
pub struct RebalanceArgs {
    /// Show the plan only
    #[arg(long)]
    dry_run: bool,

    /// Bytes a second at most that packs move, or are read to make their parity (50M)
    #[arg(long, value_name = "RATE", value_parser = args::size)]
    rate: Option<u64>,

    /// Do it without asking
    #[arg(long)]
    yes: bool,
}

const EXAMPLES: &str = "\
Examples:
  onefold rebalance --dry-run
  onefold disk parity 2 && onefold rebalance --yes";

impl RebalanceArgs {
    pub(super) fn run(self, context: &Context) -> Result<Exit> {
        let begun = Instant::now();
        if self.dry_run {
            let store = context.open()?;
            show(context, &store, &rebalance::plan(&store))?;
            return Ok(Exit::Done);
        }
        let store = context.open_to_write("rebalance")?;
        let plan = rebalance::plan(&store);
        show(context, &store, &plan)?;
        if plan.is_empty() {
            let full = store.redundancy(|_, _| {}).is_full();
            return Ok(if full { Exit::Done } else { Exit::Losses });
        }
        context.control.set_rate(self.rate);
        if !ask::confirm(context, self.yes, "do it?")? {
            return Ok(Exit::Failed);
        }
        let Rebalanced { made, moved } = rebalance::run(&store, &plan, &context.control)?;
        let redundancy = store.redundancy(|_, _| {});
        if context.json {
            context.out.document(&json!({
                "message_type": "summary",
                "groups_made": made.groups,
                "groups_left": made.failed.len(),
                "parity_bytes": made.parity_bytes,
                "packs_moved": moved.packs,
                "bytes_moved": moved.bytes,
                "packs_left": moved.failed.len(),
                "packs_short": redundancy.degraded + redundancy.at_risk + redundancy.lost,
                "total_duration": begun.elapsed().as_secs_f64(),
            }))?;
        } else {
            context.out.line(format!(
                "{} made, {} of parity; {} moved, {}, in {}",
                render::counted(made.groups, "group"),
                render::size(made.parity_bytes),
                render::counted(moved.packs, "pack"),
                render::size(moved.bytes),
                render::duration(begun.elapsed())
            ))?;
        }
        Ok(if redundancy.is_full() && made.failed.is_empty() { Exit::Done } else { Exit::Losses })
    }
}

fn show(context: &Context, store: &Store, p: &RebalancePlan) -> Result<()> {
    let out = &context.out;
    let mut onto: BTreeMap<DiskId, (u64, u64)> = BTreeMap::new();
    for m in &p.moves {
        let (packs, bytes) = onto.entry(m.to).or_default();
        (*packs, *bytes) = (*packs + 1, bytes.saturating_add(m.bytes));
    }
    let label = |id: &DiskId| store.pool().disk(id).map_or_else(|| id.to_string(), |d| d.label.clone());
    let move_bytes: u64 = onto.values().map(|(_, bytes)| bytes).sum();
    if context.json {
        let onto: Vec<_> = onto
            .iter()
            .map(|(id, (packs, bytes))| {
                json!({"id": id.to_string(), "label": label(id), "packs": packs, "bytes": bytes})
            })
            .collect();
        return out.stream_document(&json!({
            "message_type": "plan",
            "packs_without_group": p.alone.len(),
            "groups_made_anew": p.groups.len(),
            "bytes_read": p.read_bytes,
            "parity_bytes_retired": p.retired_bytes,
            "parity_bytes": p.parity_bytes,
            "packs_moved": p.moves.len(),
            "bytes_moved": move_bytes,
            "moved_onto": onto,
        }));
    }
    if p.is_empty() {
        return out.line(
            "nothing to do: every pack has its group, joining them would save no room, and disks are equally full",
        );
    }
    let n = render::counted;
    let mut said = vec![
        ("without parity", n(p.alone.len() as u64, "pack")),
        ("made anew", n(p.groups.len() as u64, "group")),
        ("read", render::size(p.read_bytes)),
        ("parity", format!("about {}, for {} that go", render::size(p.parity_bytes), render::size(p.retired_bytes))),
    ];
    if !p.moves.is_empty() {
        let each = onto
            .iter()
            .map(|(id, (_, bytes))| format!("{} onto {}", render::size(*bytes), render::printable(&label(id))));
        said.push((
            "evens out",
            format!("{}: {}", n(p.moves.len() as u64, "pack"), each.collect::<Vec<_>>().join(", ")),
        ));
    }
    table::pairs(said).into_iter().try_for_each(|line| out.line(line))
}
