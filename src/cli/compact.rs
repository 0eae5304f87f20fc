//! `compact`: write chunks anew, so that files lie together and take less room; split files anew.

use super::clock;
use super::context::Context;
use super::exit::Exit;
use super::table;
use super::{args, ask, render};
use crate::error::Result;
use crate::ops::compact::{
    self, CompactOptions, CompactReport, GatherPlan, MAX_FRAGMENTS, Needed, Plan, RecompressPlan, ResplitPlan,
    SharedPlan, Split,
};
use crate::ops::names;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// Write chunks anew, so that files lie together, take less room, or outlive more disks
///
/// Gathers files that lie in more than --max-fragments places: their scattered chunks are written one behind the other,
/// worst files first, newest snapshots before older ones. A place is what a restore reads without a seek: records of a pack
/// with at most 1 MiB between them. Of files longer than about 1 GiB each GiB counts by itself. A chunk that several files
/// share is moved for one of them only, so that runs come to an end.
///
/// With --recompress, chunks that were stored with the fast tier are tried with the dense one (some MB/s a core) and kept
/// where that is a thirty-second smaller; each is decoded and compared first. What was tried is not tried again.
///
/// With --resplit, files that were stored as one stream although a splitter takes them today, or that an older version of
/// their splitter took, are split as a backup would split them now. --resplit=all asks this of every file that a splitter
/// took: what may have changed are members of archives, deflate, and sound that was stored by backup --without decode. What
/// was stored is read back and compared, byte by byte, before it counts; a file that differs or cannot be read stays as it
/// is. Every snapshot that has such a file gets a new id and keeps all else; the old id finds it as well. What it was before
/// counts as forgotten, and its room comes back with the first gc after the grace (gc --grace). With --recompress, too, the
/// dense tier codes these files, and deflate is always undone. A program that cannot do this does not open the store any more
/// once it was done.
///
/// With --protect-shared, chunks that more than so many files need move to packs whose groups have one parity pack more than
/// those of other data, so that one disk more may die before they are lost. Files are counted by content: copies, hard links
/// and unchanged files of many snapshots count once, and a chunk that others are coded against is needed by the files of those,
/// too. The store keeps the number, so that `risk` and `rebalance` know it; what comes to be shared later is moved by the next
/// such run, and 0 gives it up (`rebalance` then takes the further parity away).
///
/// Nothing is removed: old copies are free with the next gc, and until then the new ones take room beside them, as much as
/// the plan says. May be stopped, and started again, at any time; every snapshot stays whole. Readers may run beside it,
/// other writers wait.
///
/// Exit status: 0 done, also if there was nothing to do or a limit ended it; 1 failed; 2 wrong usage, or nobody could be
/// asked; 3 done, but a chunk or file could not be read or proven and stays as it is; 4 damage that cannot be repaired; 10 there is no store;
/// 11 another process writes to the store; 130 stopped by a signal.
#[derive(clap::Args, Debug)]
#[command(after_long_help = EXAMPLES)]
pub struct CompactArgs {
    /// Gather files that lie in more places than this (8 if nothing else is asked for)
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    max_fragments: Option<u64>,

    /// Code chunks anew with the dense tier where that is smaller
    #[arg(long)]
    recompress: bool,

    /// Split files anew: those that older splitters took or none, or all that any took
    #[arg(long, value_name = "FILES", num_args = 0..=1, require_equals = true, default_missing_value = "older")]
    resplit: Option<Which>,

    /// Hold safer the chunks that more than this many files need; 0 gives that up
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(0..=1_000_000))]
    protect_shared: Option<u64>,

    /// Show the plan and change nothing
    #[arg(long, short = 'n')]
    dry_run: bool,

    /// Do not ask
    #[arg(long)]
    yes: bool,

    /// Begin nothing further when records of so many bytes were moved, or tried, or files split
    #[arg(long, value_name = "SIZE", value_parser = args::size)]
    max_bytes: Option<u64>,

    /// Begin nothing further after this time (90m, 8h)
    #[arg(long, value_name = "DURATION", value_parser = clock::duration_ns)]
    max_duration: Option<i64>,

    /// Move, or try, so many bytes a second at most (50M)
    #[arg(long, value_name = "RATE", value_parser = args::size)]
    rate: Option<u64>,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Which {
    /// Files that no splitter took and one would today, or that an older version took
    Older,
    /// Those that any splitter took, too
    All,
}

const EXAMPLES: &str = "\
Examples:
  onefold compact --dry-run
  onefold compact --max-fragments 4 --yes && onefold gc --yes
  onefold compact --recompress --max-duration 6h --yes
  onefold compact --resplit --dry-run
  onefold compact --resplit --max-bytes 500G --yes && onefold gc --yes
  onefold compact --protect-shared 10 --dry-run";

impl CompactArgs {
    pub(super) fn run(self, context: &Context) -> Result<Exit> {
        let store = if self.dry_run { context.open()? } else { context.open_to_write("compact")? };
        let is_other = self.recompress || self.resplit.is_some() || self.protect_shared.is_some();
        let most = self.max_fragments.or((!is_other).then_some(MAX_FRAGMENTS));
        let resplit = self.resplit.map(|which| match which {
            Which::Older => Split::Older,
            Which::All => Split::All,
        });
        let options = CompactOptions {
            max_fragments: most,
            recompress: self.recompress,
            resplit,
            protect_shared: self.protect_shared,
            max_bytes: self.max_bytes,
            max_duration_ns: self.max_duration,
        };
        context.control.set_rate(self.rate);
        let program = concat!("onefold ", env!("CARGO_PKG_VERSION"));
        let plan = compact::plan(&store, &options, program, &context.control)?;
        let threads = compact::threads(&store) as u64;
        if context.json {
            context.out.document(&plan_document(&plan, threads))?;
        } else {
            plan_text(context, &plan, threads)?;
        }
        if self.dry_run {
            return summary(context, &CompactReport::default(), true);
        }
        if plan.is_empty() {
            // What was looked at is remembered, and what cannot be read told.
            let report = compact::run(&store, plan, &options, program, &context.control)?;
            return summary(context, &report, false);
        }
        if !ask::confirm(context, self.yes, "write these chunks anew?")? {
            context.warn("nothing was changed".into());
            return Ok(Exit::Done);
        }
        let (begun, mut first, mut report) = (Instant::now(), Some(plan), CompactReport::default());
        let until = self.max_duration.and_then(|ns| begun.checked_add(Duration::from_nanos(ns.unsigned_abs())));
        context.in_turns("compact", store, until, &mut |store| {
            let left = options.after(&report, begun.elapsed());
            let plan = match first.take() {
                Some(plan) => plan,
                None => compact::plan(store, &left, program, &context.control)?,
            };
            report.add(&compact::run(store, plan, &left, program, &context.control)?);
            Ok(report.gave_way)
        })?;
        summary(context, &report, false)
    }
}

fn plan_text(context: &Context, p: &Plan, threads: u64) -> Result<()> {
    let mut said = Vec::new();
    if let Some(r) = &p.resplit {
        said.extend(resplit_rows(r));
    }
    if let Some(s) = &p.shared {
        said.extend(shared_rows(s));
    }
    if let Some(r) = &p.recompress {
        said.extend(recompress_rows(r, threads));
    }
    if let Some(g) = &p.gather {
        said.extend(gather_rows(g));
    }
    table::pairs(said).into_iter().try_for_each(|line| context.out.stream_line(&line))?;
    if p.is_empty() {
        context.out.stream_line("there is nothing to do")?;
    }
    Ok(())
}

fn shared_rows(s: &SharedPlan) -> Vec<(&'static str, String)> {
    let n = render::counted;
    let Some(needed) = &s.needed else {
        let what = "the next rebalance takes the further parity away";
        return s.sets.map(|_| ("hold nothing safer", what.to_owned())).into_iter().collect();
    };
    let of = |chunks, bytes| format!("{}, {}", n(chunks, "chunk"), render::size(bytes));
    let shared = format!("more than {}", n(needed.more_than, "file"));
    let mut said = vec![
        ("shared", format!("{}, needed by {shared}", of(needed.chunks, needed.bytes))),
        ("held safer already", of(needed.safer_chunks, needed.safer_bytes)),
    ];
    if s.chunks() > 0 {
        said.push(("hold safer", format!("{} to move", of(s.chunks(), s.move_bytes()))));
        said.push(("room it takes", format!("{} until the next gc, and parity", render::size(s.move_bytes()))));
    }
    if needed.missing > 0 {
        said.push(("missing", format!("{} cannot be had; see `onefold check`", n(needed.missing, "chunk"))));
    }
    if needed.unreadable + needed.packs_unreadable > 0 {
        let (folders, packs) = (n(needed.unreadable, "folder or list"), n(needed.packs_unreadable, "pack"));
        said.push(("unreadable", format!("{folders}, {packs}: what they need is not counted; see `onefold check`")));
    }
    said
}

fn gather_rows(g: &GatherPlan) -> Vec<(&'static str, String)> {
    let n = render::counted;
    let mut said = vec![
        ("files looked at", render::count(g.files)),
        ("in too many places", format!("{} in more than {}", n(g.fragmented, "file"), g.max_fragments)),
    ];
    if g.settled > 0 {
        said.push((
            "  left as they are",
            format!("{}: what is scattered belongs to other files, or is long", n(g.settled, "file")),
        ));
    }
    if g.chosen > 0 {
        said.push(("gather", format!("{}, {} to move", n(g.chosen, "file"), render::size(g.move_bytes))));
        said.push((
            "places",
            format!("{} now, {} then", render::count(g.fragments_before), render::count(g.fragments_after)),
        ));
        said.push(("room it takes", format!("{} until the next gc", render::size(g.move_bytes))));
    }
    if g.left > 0 {
        said.push(("left for another run", n(g.left, "file")));
    }
    if g.beyond_memory > 0 {
        said.push(("beyond memory", format!("{} stay as they are; give --memory more", n(g.beyond_memory, "file"))));
    }
    if g.unreadable > 0 {
        said.push(("unreadable", format!("{}; see `onefold check`", n(g.unreadable, "folder or list"))));
    }
    said
}

fn resplit_rows(r: &ResplitPlan) -> Vec<(&'static str, String)> {
    let n = render::counted;
    let mut said = vec![("split anew", format!("{}, {}", n(r.files, "file"), render::size(r.bytes)))];
    for (splitter, (files, bytes)) in &r.by_splitter {
        said.push(("", format!("{}: {}, {}", names::splitter(*splitter), n(*files, "file"), render::size(*bytes))));
    }
    if r.files > 0 {
        said.push(("room it takes", "what is new in them, until the first gc after the grace".to_owned()));
    }
    if r.left > 0 {
        said.push(("left for another run", n(r.left, "file")));
    }
    if r.unreadable > 0 {
        said.push(("unreadable", format!("{}; see `onefold check`", n(r.unreadable, "folder or file"))));
    }
    said
}

fn recompress_rows(r: &RecompressPlan, threads: u64) -> Vec<(&'static str, String)> {
    let n = render::counted;
    let mut said = vec![("try again", {
        let of = format!("{} in {}", n(r.chunks, "chunk"), n(r.packs, "pack"));
        format!("{of}, {} stored for {}", render::size(r.stored_bytes), render::size(r.plain_bytes))
    })];
    if r.packs_tried > 0 {
        said.push(("tried before", n(r.packs_tried, "pack")));
    }
    if r.sample.chunks > 0 {
        let time = render::duration(Duration::from_nanos(r.takes_ns(threads)));
        let share = render::percent(r.spares_bytes(), r.stored_bytes);
        let spares = render::size(r.spares_bytes());
        said.push(("may spare", format!("{spares} ({share}), by a sample of {}", n(r.sample.chunks, "chunk"))));
        said.push(("may take", format!("{time} on {}", n(threads, "core"))));
        let room = r.stored_bytes.saturating_sub(r.spares_bytes());
        said.push(("room it takes", format!("{} until the next gc, at most", render::size(room))));
    }
    if r.unreadable > 0 {
        said.push(("unreadable", format!("{}; see `onefold check`", n(r.unreadable, "pack"))));
    }
    said
}

fn plan_document(p: &Plan, threads: u64) -> Value {
    json!({
        "message_type": "plan",
        "resplit": p.resplit.as_ref().map(|r| json!({
            "files_looked_at": r.looked_at,
            "files": r.files,
            "bytes": r.bytes,
            "by_splitter": r.by_splitter.iter().map(|(splitter, (files, bytes))| json!({
                "splitter": names::splitter(*splitter), "files": files, "bytes": bytes,
            })).collect::<Vec<_>>(),
            "files_left": r.left,
            "unreadable": r.unreadable,
        })),
        "shared": p.shared.as_ref().map(shared_document),
        "gather": p.gather.as_ref().map(|g| json!({
            "max_fragments": g.max_fragments,
            "files": g.files,
            "files_fragmented": g.fragmented,
            "files_settled": g.settled,
            "files_to_gather": g.chosen,
            "fragments_before": g.fragments_before,
            "fragments_after": g.fragments_after,
            "bytes_to_move": g.move_bytes,
            "files_left": g.left,
            "files_beyond_memory": g.beyond_memory,
            "unreadable": g.unreadable,
        })),
        "recompress": p.recompress.as_ref().map(|r| json!({
            "packs": r.packs,
            "packs_tried_before": r.packs_tried,
            "packs_unreadable": r.unreadable,
            "chunks": r.chunks,
            "stored_bytes": r.stored_bytes,
            "plain_bytes": r.plain_bytes,
            "sample_chunks": r.sample.chunks,
            "bytes_to_spare_estimate": r.spares_bytes(),
            "duration_seconds_estimate": r.takes_ns(threads) as f64 / 1e9,
        })),
    })
}

fn shared_document(s: &SharedPlan) -> Value {
    let n = |of: fn(&Needed) -> u64| s.needed.as_ref().map_or(0, of);
    json!({
        "protect_shared": s.needed.as_ref().map_or(0, |needed| needed.more_than),
        "setting_changes": s.sets.is_some(),
        "chunks_shared": n(|s| s.chunks),
        "bytes_shared": n(|s| s.bytes),
        "chunks_held_safer": n(|s| s.safer_chunks),
        "bytes_held_safer": n(|s| s.safer_bytes),
        "chunks_to_move": s.chunks(),
        "bytes_to_move": s.move_bytes(),
        "chunks_missing": n(|s| s.missing),
        "unreadable": n(|s| s.unreadable),
        "packs_unreadable": n(|s| s.packs_unreadable),
    })
}

fn summary(context: &Context, r: &CompactReport, dry_run: bool) -> Result<Exit> {
    if context.json {
        context.out.document(&json!({
            "message_type": "summary",
            "dry_run": dry_run,
            "chunks_protected": r.chunks_protected,
            "bytes_protected": r.protected_bytes,
            "files_gathered": r.files_gathered,
            "fragments_before": r.fragments_before,
            "fragments_after": r.fragments_after,
            "chunks_moved": r.chunks_moved,
            "bytes_moved": r.moved_bytes,
            "chunks_tried": r.chunks_tried,
            "bytes_tried": r.tried_bytes,
            "chunks_recoded": r.chunks_recoded,
            "bytes_saved": r.saved_bytes,
            "files_resplit": r.files_resplit,
            "bytes_resplit": r.resplit_bytes,
            "files_resplit_same": r.resplit_same,
            "bytes_resplit_same": r.resplit_same_bytes,
            "files_resplit_kept": r.resplit_kept,
            "bytes_resplit_kept": r.resplit_kept_bytes,
            "files_resplit_unreadable": r.resplit_unreadable,
            "snapshots_resplit": r.snapshots_resplit,
            "snapshots_kept": r.snapshots_kept,
            "bytes_written": r.written_bytes,
            "bytes_superseded": r.superseded_bytes,
            "chunks_unreadable": r.chunks_unreadable,
            "stopped_at_limit": r.stopped_at_limit,
        }))?;
    } else if *r != CompactReport::default() {
        let n = render::counted;
        if r.chunks_protected > 0 {
            let moved = render::size(r.protected_bytes);
            context.out.line(format!("{} held safer now ({moved} moved)", n(r.chunks_protected, "chunk")))?;
        }
        resplit_summary(context, r)?;
        if r.files_gathered > 0 {
            let places =
                format!("{} places, now {}", render::count(r.fragments_before), render::count(r.fragments_after));
            let moved = render::size(r.moved_bytes);
            context
                .out
                .line(format!("{} gathered: they lay in {places} ({moved} moved)", n(r.files_gathered, "file")))?;
        }
        if r.chunks_tried > 0 {
            let anew = n(r.chunks_recoded, "chunk");
            let saved = render::size(r.saved_bytes);
            context.out.line(format!("{anew} of {} coded anew, {saved} smaller", render::count(r.chunks_tried)))?;
        }
        if r.written_bytes + r.superseded_bytes + r.snapshots_resplit > 0 {
            let written = render::size(r.written_bytes);
            let freed = render::size(r.superseded_bytes);
            match r.snapshots_resplit {
                0 => context.out.line(format!("{written} written; the next gc frees {freed}"))?,
                _ => context
                    .out
                    .line(format!("{written} written; what is not needed any more goes with a gc after the grace"))?,
            }
        }
        if r.stopped_at_limit {
            context.out.line("a limit ended it before the plan's end; the next compact goes on")?;
        }
        if r.chunks_unreadable > 0 {
            let chunks = n(r.chunks_unreadable, "chunk");
            context.out.line(format!("{chunks} could not be read and stay as they are; see `onefold check`"))?;
        }
    }
    Ok(if r.has_losses() { Exit::Losses } else { Exit::Done })
}

fn resplit_summary(context: &Context, r: &CompactReport) -> Result<()> {
    let n = render::counted;
    if r.files_resplit + r.resplit_same + r.resplit_kept > 0 {
        let files = format!("{} ({})", n(r.files_resplit, "file"), render::size(r.resplit_bytes));
        context.out.line(format!("{files} split anew and compared, in {}", n(r.snapshots_resplit, "snapshot")))?;
    }
    if r.resplit_same > 0 {
        context.out.line(format!("{} came out as before", n(r.resplit_same, "file")))?;
    }
    if r.resplit_kept > 0 {
        let files = format!("{} ({})", n(r.resplit_kept, "file"), render::size(r.resplit_kept_bytes));
        context.out.line(format!("{files} could not be read or proven and stay as they are"))?;
    }
    if r.snapshots_kept > 0 {
        let snapshots = n(r.snapshots_kept, "snapshot");
        context.out.line(format!("{snapshots} cannot be read whole and stay as they are; see `onefold check`"))?;
    }
    if r.resplit_unreadable > 0 {
        let places = n(r.resplit_unreadable, "folder or file");
        context.out.line(format!("{places} could not be looked at; see `onefold check`"))?;
    }
    Ok(())
}
