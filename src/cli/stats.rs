//! `stats`: what is kept, what it takes, and what saved the difference.

use super::context::Context;
use super::exit::Exit;
use super::explain::codec_row;
use super::table::{self, Side, Table};
use super::{args, json, render, snapshots};
use crate::error::Result;
use crate::ops::names;
use crate::ops::stats::{self, DiskStats, FormatStats, Freed, Locality, StatsReport, Wanted};
use crate::store::Store;
use serde_json::json;
use std::ffi::OsString;

/// Tell what the store holds and what it saves
///
/// Starts from the bytes of all files in all snapshots and goes down to what lies on the disks, naming what saved how
/// much: equal files, holes, bytes that splitters compute, equal chunks, compression (deltas included). Then each disk,
/// and each snapshot with the bytes that it alone holds: what a full gc would free if it were forgotten. --by-means
/// splits compression by codec and tells how many chunks hang on one base; --by-format tells what files of each format
/// cost: a chunk counts for the format that had it first. --fragmentation tells instead in how many places files lie: stretches of
/// packs that a restore reads without a seek, as `compact` counts them; it looks every chunk up. With --without or --without-pattern tells only what a full gc would
/// free if that were not there, to the byte, before anything is forgotten. Reads the folders of all snapshots and the tables of all
/// packs, no file's contents, and needs room beside the store for about 150 bytes a chunk while it runs.
///
/// Exit status: 0 counted; 1 failed; 2 wrong usage; 4 damage that cannot be repaired; 10 there is no store; 130 stopped
/// by a signal.
#[derive(clap::Args, Debug)]
#[command(after_long_help = EXAMPLES)]
pub struct StatsArgs {
    /// Tell what each format costs
    #[arg(long)]
    by_format: bool,

    /// Tell what each codec saved, and what hangs on bases
    #[arg(long)]
    by_means: bool,

    /// Tell how scattered files lie: in how many places a restore has to look for one
    #[arg(long, conflicts_with_all = ["by_format", "by_means", "without", "without_pattern"])]
    fragmentation: bool,

    /// Tell what would be free without this: SNAPSHOT, or SNAPSHOT:PATH; repeated, without all of it together
    #[arg(long, value_name = "SNAPSHOT[:PATH]")]
    without: Vec<OsString>,

    /// Tell what would be free without the files and folders that fit, in all snapshots; repeated, and with --without,
    /// together
    #[arg(long, value_name = "GLOB")]
    without_pattern: Vec<String>,
}

const EXAMPLES: &str = "\
Examples:
  onefold stats
  onefold stats --by-format --by-means
  onefold stats --fragmentation
  onefold stats --without 4f2a91c0 --without latest:/library/raw
  onefold stats --without-pattern '*.wav'
  onefold stats --json | jq 'select(.message_type == \"summary\")'";

impl StatsArgs {
    pub(super) fn run(self, context: &Context) -> Result<Exit> {
        let store = context.open()?;
        if !self.without.is_empty() || !self.without_pattern.is_empty() {
            return self.freed(context, &store);
        }
        if self.fragmentation {
            return fragmentation(context, &stats::locality(&store, &context.control)?);
        }
        let report = stats::run(&store, &context.control)?;
        if context.json {
            self.documents(context, &report)?
        } else {
            self.text(context, &report)?
        }
        Ok(Exit::Done)
    }

    fn freed(self, context: &Context, store: &Store) -> Result<Exit> {
        let mut wanted = Wanted { patterns: self.without_pattern, ..Default::default() };
        for spec in &self.without {
            match args::snapshot(store, spec, None)? {
                (info, None) => wanted.snapshots.push(info),
                (info, Some(path)) => wanted.paths.push((info, path)),
            }
        }
        let freed = stats::freed(store, &wanted, &context.control)?;
        tell_freed(context, &freed)?;
        Ok(Exit::Done)
    }

    fn text(&self, context: &Context, r: &StatsReport) -> Result<()> {
        balance(context, r)?;
        if self.by_means {
            section(context, &by_means(r))?;
        }
        if self.by_format {
            section(context, &by_format(r))?;
        }
        section(context, &disks(&r.disks))?;
        section(context, &per_snapshot(r))
    }

    fn documents(&self, context: &Context, r: &StatsReport) -> Result<()> {
        if self.by_means {
            for (codec, sums) in &r.by_codec {
                context.out.stream_document(&json!({
                    "message_type": "codec_stats",
                    "codec": names::codec(*codec),
                    "codec_version": codec.version,
                    "chunks": sums.chunks,
                    "plain_bytes": sums.plain_bytes,
                    "stored_bytes": sums.stored_bytes,
                }))?;
            }
        }
        if self.by_format {
            for f in &r.by_format {
                context.out.stream_document(&json!({
                    "message_type": "format_stats",
                    "splitter": format_name(f),
                    "files": f.files,
                    "logical_bytes": f.bytes,
                    "stream_bytes": f.stream_bytes,
                    "chunks": f.chunks.chunks,
                    "new_bytes": f.chunks.plain_bytes,
                    "stored_bytes": f.chunks.stored_bytes,
                }))?;
            }
        }
        documents(context, r)
    }
}

/// What would be free, as `stats --without` and `forget --would-free` print it.
pub(super) fn tell_freed(context: &Context, freed: &Freed) -> Result<()> {
    if context.json {
        return context.out.document(&json!({
            "message_type": "freed",
            "bytes_freed": freed.bytes,
            "snapshots": freed.snapshots,
            "entries": freed.entries,
        }));
    }
    let of = render::counted(freed.snapshots, "snapshot");
    let entries = match freed.entries {
        0 => String::new(),
        n => format!(", {n} folders or files"),
    };
    context.out.line(format!("{} would be free ({of}{entries})", render::size(freed.bytes)))
}

/// How scattered files lie.
fn fragmentation(context: &Context, l: &Locality) -> Result<Exit> {
    // Over all files; a sum that is no promise about any.
    let per_gib = (u128::from(l.fragments) << 30) / u128::from(l.bytes.max(1));
    if context.json {
        let mut doc = json!({
            "message_type": "fragmentation",
            "files": l.files,
            "logical_bytes": l.bytes,
            "fragments": l.fragments,
            "fragments_per_gib": u64::try_from(per_gib).unwrap_or(u64::MAX),
            "fragments_median": l.median,
            "fragments_p90": l.p90,
            "fragments_p99": l.p99,
            "fragments_max": l.most,
            "long_files": l.long_files,
            "long_fragments_per_gib_median": l.long_median_per_gib,
            "long_fragments_per_gib_p90": l.long_p90_per_gib,
            "long_fragments_per_gib_p99": l.long_p99_per_gib,
            "unreadable": l.unreadable,
        });
        if let Some(path) = &l.worst {
            json::put_path(&mut doc, "worst", path);
        }
        context.out.document(&doc)?;
        return Ok(Exit::Done);
    }
    let places = |n: u64| render::counted(n, "place");
    let mut said = vec![
        ("files", format!("{}, {}", render::count(l.files), render::size(l.bytes))),
        ("places", format!("{}, {per_gib} for each GiB", render::count(l.fragments))),
        ("half of them lie in", format!("{} or fewer", places(l.median))),
        ("nine of ten", format!("{} or fewer", places(l.p90))),
        ("99 of 100", format!("{} or fewer", places(l.p99))),
    ];
    if let Some(worst) = &l.worst {
        said.push(("the most", format!("{}: {}", places(l.most), render::name(worst))));
    }
    if l.long_files > 0 {
        let long = [l.long_median_per_gib, l.long_p90_per_gib, l.long_p99_per_gib].map(render::count);
        let of = format!("{}, of {}", long.join(", "), render::counted(l.long_files, "file"));
        said.push(("for each GiB, from 64 MiB on", format!("{of} (half, 9 of 10, 99 of 100)")));
    }
    if l.unreadable > 0 {
        said.push(("unreadable", format!("{}; see `onefold check`", render::counted(l.unreadable, "file or folder"))));
    }
    table::pairs(said).into_iter().try_for_each(|line| context.out.line(line))?;
    Ok(Exit::Done)
}

/// Bytes of data that are left of the logical ones when all that was saved is taken away.
fn data_bytes(r: &StatsReport) -> u64 {
    r.stored_bytes.saturating_sub(r.overhead_bytes)
}

fn less(bytes: u64) -> String {
    if bytes == 0 { "0 B".into() } else { format!("- {}", render::size(bytes)) }
}

fn balance(context: &Context, r: &StatsReport) -> Result<()> {
    let mut t = Table::new(&[("", Side::Left), ("", Side::Right), ("", Side::Left)]);
    let of_all = |bytes| render::percent(bytes, r.logical_bytes);
    let mut row = |what: &str, bytes: String, note: String| t.row([what.to_owned(), bytes, note]);
    let held = format!("{}, {}", render::counted(r.snapshots, "snapshot"), render::counted(r.files, "file"));
    row("in all snapshots", render::size(r.logical_bytes), held);
    row("  files stored already", less(r.saved_whole_file), of_all(r.saved_whole_file));
    row("  holes", less(r.saved_holes), of_all(r.saved_holes));
    let computed = r.saved_splitters.unsigned_abs();
    match r.saved_splitters {
        0 => {}
        1.. => row("  computed by splitters", less(computed), of_all(computed)),
        _ => {
            let note = format!("{} samples in place of coded frames", of_all(computed));
            row("  decoded by splitters", format!("+ {}", render::size(computed)), note);
        }
    }
    row("  chunks stored already", less(r.saved_chunks), of_all(r.saved_chunks));
    row("  compression", less(r.saved_compression), of_all(r.saved_compression));
    row("data left to store", render::size(data_bytes(r)), render::counted(r.chunks, "chunk"));
    let metadata = format!("headers, footers, unused; folders and lists {}", render::size(r.metadata_bytes));
    row("  overhead", format!("+ {}", render::size(r.overhead_bytes)), metadata);
    if r.superseded_bytes > 0 {
        let note = "of that: older copies of chunks that were stored again; a full gc takes them".to_owned();
        row("    stored again", render::size(r.superseded_bytes), note);
    }
    let ratio = r.logical_bytes as f64 / r.stored_bytes.max(1) as f64; // for the eye
    let share = format!("{} of what is in the snapshots, {ratio:.1} : 1", of_all(r.stored_bytes));
    row("on the disks", render::size(r.stored_bytes), if r.logical_bytes == 0 { String::new() } else { share });
    let f = &r.fanout;
    if f.coded > 0 {
        let note = format!("on {}, at most {} on one", render::counted(f.bases, "base"), render::count(f.most));
        row("coded against others", render::counted(f.coded, "chunk"), note);
    }
    let lines = t.lines();
    lines.iter().skip(1).try_for_each(|line| context.out.line(line)) // its header is empty
}

/// What compression is made of.
fn by_means(r: &StatsReport) -> Table {
    let right = |what| (what, Side::Right);
    let mut t =
        Table::new(&[("compression by", Side::Left), right("chunks"), right("plain"), right("stored"), right("saved")]);
    for (codec, sums) in &r.by_codec {
        t.row(codec_row(&names::codec(*codec), sums.chunks, sums.plain_bytes, sums.stored_bytes));
    }
    if r.inline_bytes > 0 {
        let bytes = render::size(r.inline_bytes);
        t.row(["in folders' nodes".into(), String::new(), bytes.clone(), String::new(), bytes]);
    }
    if r.base_only_bytes > 0 {
        let bytes = render::size(r.base_only_bytes);
        t.row(["kept as bases only".into(), String::new(), String::new(), bytes.clone(), format!("+ {bytes}")]);
    }
    t
}

fn format_name(f: &FormatStats) -> String {
    f.splitter.map_or_else(|| "inline".to_owned(), |n| names::splitter(n).into_owned())
}

fn by_format(r: &StatsReport) -> Table {
    let right = |what| (what, Side::Right);
    let mut t = Table::new(&[
        ("format", Side::Left),
        right("files"),
        right("size"),
        right("new"),
        right("stored"),
        right("of size"),
    ]);
    for f in &r.by_format {
        t.row([
            format_name(f),
            render::count(f.files),
            render::size(f.bytes),
            render::size(f.chunks.plain_bytes),
            render::size(f.chunks.stored_bytes),
            render::percent(f.chunks.stored_bytes, f.bytes),
        ]);
    }
    t
}

fn section(context: &Context, table: &Table) -> Result<()> {
    if table.is_empty() {
        return Ok(());
    }
    context.out.line("")?;
    table.lines().iter().try_for_each(|line| context.out.stream_line(line))
}

fn disks(disks: &[DiskStats]) -> Table {
    let mut t = Table::new(&[
        ("disk", Side::Left),
        ("label", Side::Left),
        ("packs", Side::Right),
        ("in packs", Side::Right),
        ("free", Side::Right),
        ("of", Side::Right),
        ("path", Side::Left),
    ]);
    for d in disks {
        let size = |bytes| if d.path.is_some() { render::size(bytes) } else { "-".into() };
        t.row([
            d.id.short(),
            render::printable(&d.label),
            render::count(d.packs),
            render::size(d.pack_bytes),
            size(d.free_bytes),
            size(d.total_bytes),
            d.path.as_ref().map_or("missing".into(), |p| render::name(p.as_os_str().as_encoded_bytes())),
        ]);
    }
    t
}

fn per_snapshot(r: &StatsReport) -> Table {
    let mut t = Table::new(&[
        ("snapshot", Side::Left),
        ("time", Side::Left),
        ("files", Side::Right),
        ("size", Side::Right),
        ("only here", Side::Right),
        ("paths", Side::Left),
    ]);
    for s in &r.per_snapshot {
        let counts = &s.info.snapshot.counts;
        t.row([
            s.info.id.short(),
            render::time_of_ns(s.info.snapshot.time_ns),
            render::count(counts.files),
            render::size(counts.bytes),
            render::size(s.exclusive_bytes),
            snapshots::roots(&s.info),
        ]);
    }
    t
}

fn documents(context: &Context, r: &StatsReport) -> Result<()> {
    for d in &r.disks {
        let mut doc = json!({
            "message_type": "disk_stats",
            "id": d.id.to_string(),
            "label": d.label,
            "missing": d.path.is_none(),
            "packs": d.packs,
            "pack_bytes": d.pack_bytes,
            "total_bytes": d.total_bytes,
            "free_bytes": d.free_bytes,
        });
        if let Some(path) = &d.path {
            json::put_system_path(&mut doc, "path", path);
        }
        context.out.stream_document(&doc)?;
    }
    for s in &r.per_snapshot {
        context.out.stream_document(&json!({
            "message_type": "snapshot_stats",
            "snapshot_id": s.info.id.to_string(),
            "short_id": s.info.id.short(),
            "files": s.info.snapshot.counts.files,
            "logical_bytes": s.info.snapshot.counts.bytes,
            "exclusive_bytes": s.exclusive_bytes,
        }))?;
    }
    context.out.document(&json!({
        "message_type": "summary",
        "snapshots_count": r.snapshots,
        "total_file_count": r.files,
        "total_size": r.logical_bytes,
        "logical_bytes": r.logical_bytes,
        "saved_whole_file": r.saved_whole_file,
        "saved_holes": r.saved_holes,
        "saved_splitters": r.saved_splitters,
        "saved_chunks": r.saved_chunks,
        "saved_compression": r.saved_compression,
        "inline_bytes": r.inline_bytes,
        "base_only_bytes": r.base_only_bytes,
        "superseded_bytes": r.superseded_bytes,
        "data_bytes": data_bytes(r),
        "overhead_bytes": r.overhead_bytes,
        "metadata_bytes": r.metadata_bytes,
        "stored_bytes": r.stored_bytes,
        "chunks": r.chunks,
        "coded_chunks": r.fanout.coded,
        "bases": r.fanout.bases,
        "coded_on_one_base_max": r.fanout.most,
        "coded_on_one_base_max_id": r.fanout.most_on.map(|id| id.to_string()),
    }))
}
