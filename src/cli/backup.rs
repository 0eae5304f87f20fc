//! `backup`: a new snapshot of paths, or of what comes through a pipe.

use super::args;
use super::context::Context;
use super::exit::Exit;
use super::table;
use super::{render, source};
use crate::chunk::{Coding, Technique, Tier};
use crate::error::{Error, Result};
use crate::io::source as library;
use crate::ops::Notice;
use crate::ops::backup::{self, BackupOptions, BackupReport, Source};
use serde_json::json;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Back up files and folders as a new snapshot
///
/// Reads what is new or changed under each PATH, stores what the store does not hold yet, and ends with a snapshot. A file
/// whose size, times and inode are those of the last snapshot is not read again. Sources are only read; the store and its
/// disks are left out of them. Devices, sockets and FIFOs are named and left out.
///
/// The snapshot is acknowledged once it is durable on the disks: from then on it survives a crash at any instant.
/// An interrupted backup leaves the store sound; started again, it does not store twice what was sealed. One process
/// writes at a time; readers run beside it.
///
/// Exit status: 0 the snapshot is saved and complete; 1 failed, no snapshot; 2 wrong usage; 3 the snapshot is saved, but
/// something could not be read, changed while it was read, or is not as redundant as asked; 4 damage that cannot be
/// repaired; 10 there is no store; 11 another process writes to it; 130 stopped by a signal, no snapshot.
#[derive(clap::Args, Debug)]
#[command(after_long_help = EXAMPLES)]
pub struct BackupArgs {
    /// Files and folders to back up
    #[arg(value_name = "PATH", required_unless_present_any = ["stdin", "files_from", "files_from0"])]
    pub(super) paths: Vec<OsString>,

    /// Mark the snapshot with a tag; may be repeated
    #[arg(long = "tag", value_name = "TAG", value_parser = args::label)]
    tags: Vec<String>,

    /// Name the snapshot, so that it can be called by this name
    #[arg(long, value_name = "NAME", value_parser = args::snapshot_name)]
    name: Option<String>,

    /// Leave out what fits the pattern; may be repeated
    #[arg(long = "exclude", value_name = "GLOB")]
    excludes: Vec<String>,

    /// Leave out what fits a pattern of this file: one a line, lines with # are comments; may be repeated
    #[arg(long = "exclude-file", value_name = "FILE")]
    exclude_files: Vec<OsString>,

    /// Also back up the paths of this file, one a line (- is stdin); may be repeated
    #[arg(long, value_name = "FILE")]
    files_from: Vec<OsString>,

    /// The same with a zero byte behind each path, as `find -print0` writes them
    #[arg(long, value_name = "FILE")]
    files_from0: Vec<OsString>,

    /// Stay on the filesystem of each PATH
    #[arg(long, short = 'x')]
    one_file_system: bool,

    /// Read every file, also those that seem unchanged
    #[arg(long, short)]
    force: bool,

    /// Read and compare, but store nothing
    #[arg(long, short = 'n')]
    pub(super) dry_run: bool,

    /// How new data is coded: not at all, as fast as disks are, or as small as possible (some MB/s a core)
    #[arg(long, value_name = "TIER", value_enum, default_value_t = CodecTier::Fast)]
    codec: CodecTier,

    /// Store a duplicate again where a file would else lie in more than N places for each GiB of it, and 8 more (and one for each
    /// pack that it fills); by default no
    /// duplicate is stored again
    #[arg(long, value_name = "N")]
    max_fragments_per_gib: Option<u64>,

    /// Leave out a technique, to measure what it is worth; may be repeated
    #[arg(long, value_name = "TECHNIQUE", value_enum, value_delimiter = ',', hide = true)]
    without: Vec<LeftOut>,

    /// Host to note in the snapshot, in place of this machine's name
    #[arg(long, value_name = "HOST", value_parser = args::label)]
    host: Option<String>,

    /// Back up what comes through standard input, as one file
    #[arg(long, requires = "path", conflicts_with_all = ["paths", "files_from", "files_from0", "excludes", "exclude_files", "one_file_system"])]
    stdin: bool,

    /// Where that file lies in the snapshot
    #[arg(long, value_name = "NAME", requires = "stdin")]
    path: Option<OsString>,
}

/// What `--codec` takes.
#[derive(clap::ValueEnum, Clone, Copy, Debug)]
pub(super) enum CodecTier {
    None,
    Fast,
    Dense,
}

impl CodecTier {
    pub(super) fn coding(self) -> Coding {
        Coding::from(match self {
            CodecTier::None => Tier::None,
            CodecTier::Fast => Tier::Fast,
            CodecTier::Dense => Tier::Dense,
        })
    }
}

/// What `--without` takes.
#[derive(clap::ValueEnum, Clone, Copy, Debug)]
enum LeftOut {
    Splitters,
    Decode,
    Deflate,
    Delta,
    Predict,
    Pcm,
    Raster,
    Jpeg,
}

impl From<LeftOut> for Technique {
    fn from(left_out: LeftOut) -> Technique {
        match left_out {
            LeftOut::Splitters => Technique::Splitters,
            LeftOut::Decode => Technique::Decode,
            LeftOut::Deflate => Technique::Deflate,
            LeftOut::Delta => Technique::Delta,
            LeftOut::Predict => Technique::Predict,
            LeftOut::Pcm => Technique::Pcm,
            LeftOut::Raster => Technique::Raster,
            LeftOut::Jpeg => Technique::Jpeg,
        }
    }
}

const EXAMPLES: &str = "\
Examples:
  onefold backup /media/library
  onefold backup --tag nightly --exclude '*.tmp' --exclude '/media/cache' /media ~/music
  find /media -name '*.flac' -newer last -print0 | onefold backup --files-from0 -
  pg_dump everything | onefold backup --stdin --path everything.sql";

impl BackupArgs {
    pub(super) fn run(self: Box<Self>, context: &Context) -> Result<Exit> {
        let begun = Instant::now();
        let mut excludes = self.excludes.clone();
        for file in &self.exclude_files {
            excludes.extend(source::patterns(file)?);
        }
        let dry_run = self.dry_run;
        // The lock comes first, a dry run's too: it goes through the same ingest. Who is second learns it at once.
        let store = context.open_to_write("backup")?;
        let from = self.source(context)?;
        let options = BackupOptions {
            source: from,
            filters_as_typed: self.filters(),
            name: self.name,
            tags: self.tags,
            excludes,
            one_file_system: self.one_file_system,
            force: self.force,
            dry_run,
            coding: self
                .without
                .into_iter()
                .fold(self.codec.coding(), |coding, left_out| coding.without(left_out.into())),
            max_fragments_per_gib: self.max_fragments_per_gib,
            survey: None,
            host: self.host,
            program: concat!("onefold ", env!("CARGO_PKG_VERSION")).into(),
            user: source::user(),
        };
        let mut first = Some(store);
        let mut open = || first.take().map_or_else(|| context.open_to_write("backup"), Ok);
        let report = backup::over::run(&mut open, options, &context.control)?;
        print(context, &report, dry_run, begun.elapsed())?;
        let losses = report.unreadable > 0 || report.counts.changed_while_read > 0 || !report.degraded.is_empty();
        Ok(if losses { Exit::Losses } else { Exit::Done })
    }

    /// What to read. That none of the paths is there is told at once; what else is missing is told, and counted, by the
    /// backup.
    fn source(&self, context: &Context) -> Result<Source> {
        if let (true, Some(path)) = (self.stdin, &self.path) {
            let name = args::inside(path.as_bytes()).split_off(1); // behind the slash that it begins with
            if name.is_empty() {
                return Err(Error::Argument { what: "--path".into(), why: "it names no file".into() });
            }
            let input = Box::new(source::Piped::new(std::io::stdin(), context.control.clone()));
            return Ok(Source::Stream { name, input });
        }
        let mut named = self.paths.clone();
        for file in &self.files_from {
            named.extend(source::listed(file, b'\n')?);
        }
        for file in &self.files_from0 {
            named.extend(source::listed(file, 0)?);
        }
        let paths = named.iter().map(|p| args::absolute(p)).collect::<Result<Vec<_>>>()?;
        let is_missing = |p: &PathBuf| library::lstat(p).is_err_and(|e| e.kind() == std::io::ErrorKind::NotFound);
        if paths.iter().all(is_missing) {
            let paths = paths.iter().map(|p| render::name(p.as_os_str().as_bytes())).collect();
            return Err(Error::NoSource { paths });
        }
        Ok(Source::Paths(paths))
    }

    /// The filters as they were typed, for the snapshot's record.
    fn filters(&self) -> Vec<String> {
        let mut out: Vec<_> = self.excludes.iter().map(|e| format!("--exclude={e}")).collect();
        let of_file = |option: &str, file: &OsStr| format!("--{option}={}", render::name(file.as_bytes()));
        out.extend(self.exclude_files.iter().map(|f| of_file("exclude-file", f)));
        if self.one_file_system {
            out.push("--one-file-system".into());
        }
        out
    }
}

/// Prints what a backup or an import did.
pub(super) fn print(context: &Context, report: &BackupReport, dry_run: bool, took: Duration) -> Result<()> {
    let c = &report.counts;
    let out = &context.out;
    let errors = report.unreadable;
    for (what, n) in &report.doubts {
        context.control.notice(Notice::Note(format!("{}: {what}", render::counted(*n, "file"))));
    }
    for manifest in report.bag.iter().flat_map(|bag| &bag.not_computed) {
        let note = format!("{manifest} was compared by its names alone: its algorithm is not known here");
        context.control.notice(Notice::Note(note));
    }
    let bag = report.bag.as_ref().map(|bag| (bag.algorithms.iter().map(|a| a.name()).collect::<Vec<_>>(), bag));
    if context.json {
        let mut summary = json!({
            "message_type": "summary",
            "dry_run": dry_run,
            "files_new": c.files_new,
            "files_changed": c.files_changed,
            "files_unmodified": c.files_unmodified,
            "dirs": c.dirs,
            "symlinks": c.symlinks,
            "data_blobs": report.chunks_new,
            "data_added": c.data_added,
            "data_added_packed": c.data_added_packed,
            "data_added_redundancy": report.data_added_redundancy,
            "chunks_stored_again": report.chunks_again,
            "bytes_stored_again": report.bytes_again,
            "total_files_processed": c.files,
            "total_bytes_processed": c.bytes,
            "total_bytes_read": report.bytes_read,
            "total_duration": took.as_secs_f64(),
            "packs_sealed": report.packs_sealed,
            "skipped_special": c.skipped_special,
            "changed_while_read": c.changed_while_read,
            "errors": errors,
            "complete": report.complete,
            "degraded": report.degraded,
            "snapshot_id": report.snapshot.map(|id| id.to_string()),
            "parent": report.parent.map(|id| id.to_string()),
        });
        if let Some((algorithms, bag)) = bag {
            summary["bag"] = json!({
                "files": bag.files,
                "bytes": bag.bytes,
                "algorithms": algorithms,
                "not_computed": bag.not_computed,
            });
        }
        return out.document(&summary);
    }
    out.line(match &report.snapshot {
        Some(id) if report.complete => format!("snapshot {} saved", id.short()),
        Some(id) => format!("snapshot {} saved, incomplete", id.short()),
        None => "dry run: this is what a backup would store".into(),
    })?;
    let n = render::count;
    let mut said = vec![
        (
            "files",
            format!("{} new, {} changed, {} unmodified", n(c.files_new), n(c.files_changed), n(c.files_unmodified)),
        ),
        ("holds", format!("{} in {}", render::size(c.bytes), render::counted(c.files, "file"))),
        ("new", format!("{} in {}", render::size(c.data_added), render::counted(report.chunks_new, "chunk"))),
        (
            if dry_run { "to store" } else { "stored" },
            match report.data_added_redundancy {
                0 => render::size(c.data_added_packed),
                more => format!("{}, and {} of redundancy", render::size(c.data_added_packed), render::size(more)),
            },
        ),
        (
            "read",
            format!(
                "{} in {}{}",
                render::size(report.bytes_read),
                render::duration(took),
                render::rate(report.bytes_read, took).map(|r| format!(", {r}")).unwrap_or_default()
            ),
        ),
    ];
    if report.chunks_again > 0 {
        let bytes = render::size(report.bytes_again);
        said.push((
            "for locality",
            format!("{} stored again ({bytes})", render::counted(report.chunks_again, "chunk")),
        ));
    }
    if let Some((algorithms, bag)) = bag {
        let payload = format!("{} of payload, {}", render::counted(bag.files, "file"), render::size(bag.bytes));
        said.push(("valid bag", format!("{payload}, by {}", algorithms.join(" and "))));
    }
    if c.skipped_special > 0 {
        said.push((
            "left out",
            format!("{} (devices, sockets, FIFOs)", render::counted(c.skipped_special, "special file")),
        ));
    }
    if errors > 0 {
        said.push(("unreadable", format!("{}: named above", n(errors))));
    }
    if c.changed_while_read > 0 {
        said.push((
            "changed",
            format!("{} while being read: named above", render::counted(c.changed_while_read, "file")),
        ));
    }
    said.extend(report.degraded.iter().map(|why| ("degraded", render::printable(why))));
    table::pairs(said).into_iter().try_for_each(|line| out.line(line))
}
