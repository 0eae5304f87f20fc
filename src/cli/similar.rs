//! `similar`: which stored files share storage with one.

use super::args;
use super::context::Context;
use super::exit::Exit;
use super::table::{Side, Table};
use super::{json, render};
use crate::error::{Error, Result};
use crate::ops::similar::{self, By, ROWS_MAX, SimilarOptions, SimilarReport};
use serde_json::json;
use std::ffi::OsString;

/// Show which stored files share storage with one, how much, and by which means
///
/// Lists the files of the snapshot, or of all, that share bytes with the file at PATH, those that share most first. A
/// file shares its whole content (`same content`), whole chunks (`same chunks`), or bytes of chunks that are coded
/// against each other or against one base (`delta` and the other codecs that have bases). Shared bytes are plain bytes
/// of the file at PATH; of a coded chunk those count that its codec spared. The tables of all packs and the snapshot's
/// folders are read, no file's contents. A file of so many chunks that they do not fit an eighth of --memory (some 90
/// GB at the default) is compared by a sample of them, which is then said.
///
/// Exit status: 0 told, also if nothing is shared; 1 no such snapshot or path, or failed; 2 wrong usage; 4 told, but a
/// part could not be looked at because of damage; 10 there is no store; 130 stopped by a signal.
#[derive(clap::Args, Debug)]
#[command(after_long_help = EXAMPLES)]
pub struct SimilarArgs {
    /// `latest`, a name, or the beginning of an id
    #[arg(value_name = "SNAPSHOT[:PATH]")]
    snapshot: OsString,

    /// The file
    path: Option<OsString>,

    /// Look in all snapshots, not in this one alone
    #[arg(long)]
    all: bool,

    /// Show at most so many files
    #[arg(long, value_name = "N", default_value_t = 20)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=ROWS_MAX as i64))]
    limit: u32,
}

const EXAMPLES: &str = "\
Examples:
  onefold similar latest '/library/Artist/Album/01 Title.flac'
  onefold similar --all --limit 100 latest:/library/film.mov
  onefold similar latest /library/film.mov --json | jq 'select(.message_type == \"similar\") | .path'";

impl SimilarArgs {
    pub(super) fn run(self, context: &Context) -> Result<Exit> {
        let store = context.open()?;
        let (snapshot, path) = args::snapshot(&store, &self.snapshot, self.path.as_ref())?;
        let path = path.ok_or_else(|| no_file("similar"))?;
        let options = SimilarOptions { snapshot, path, all: self.all, limit: self.limit as usize };
        let report = similar::run(&store, &options, &context.control)?;
        if context.json {
            documents(context, &options, &report)?
        } else {
            text(context, &options, &report)?
        }
        Ok(if report.unreadable > 0 { Exit::Damage } else { Exit::Done })
    }
}

/// The error of a command that takes one file and was given none.
pub(super) fn no_file(command: &str) -> Error {
    Error::Argument { what: "no file is named".into(), why: format!("give `{command} SNAPSHOT PATH`") }
}

fn text(context: &Context, options: &SimilarOptions, r: &SimilarReport) -> Result<()> {
    let out = &context.out;
    out.line(format!(
        "{} in snapshot {}: {}",
        render::name(&options.path),
        options.snapshot.id.short(),
        render::size(r.bytes)
    ))?;
    if r.files.is_empty() {
        let of = render::counted(r.files_seen, "file");
        out.line(format!("no other of {of} shares storage with it"))?;
    } else {
        let mut t = Table::new(&[
            ("shared", Side::Right),
            ("of it", Side::Right),
            ("by", Side::Left),
            ("size", Side::Right),
            ("snapshot", Side::Left),
            ("path", Side::Left),
        ]);
        for f in &r.files {
            // Without --all it is the one that was asked about.
            let snapshot = if options.all { f.snapshot.id.short() } else { String::new() };
            t.row([
                render::size(f.shared_bytes),
                render::percent(f.shared_bytes, r.stream_bytes),
                means(&f.by),
                render::size(f.bytes),
                snapshot,
                render::name(&f.path),
            ]);
        }
        t.lines().iter().try_for_each(|line| out.stream_line(line))?;
    }
    if r.files_found > r.files.len() as u64 {
        let more = r.files_found - r.files.len() as u64;
        out.line(format!("{} with less are not shown; --limit shows more", render::counted(more, "file")))?;
    }
    if r.one_in > 1 {
        context
            .warn(format!("the file is so long that one chunk in {} was looked at: figures are estimates", r.one_in));
    }
    if r.unreadable > 0 {
        context.warn(unreadable(r.unreadable));
    }
    Ok(())
}

/// What is said where a part could not be looked at.
pub(super) fn unreadable(n: u64) -> String {
    let places = render::counted(n, "folder, list or chunk");
    format!("{places} cannot be read and what is there is not counted; `onefold check` names the files")
}

/// `same chunks 1.00 MiB, delta 3 KiB`; one alone needs no figure.
fn means(by: &[(By, u64)]) -> String {
    match by {
        [(one, _)] => one.name().into_owned(),
        _ => by.iter().map(|(b, n)| format!("{} {}", b.name(), render::size(*n))).collect::<Vec<_>>().join(", "),
    }
}

fn documents(context: &Context, options: &SimilarOptions, r: &SimilarReport) -> Result<()> {
    for f in &r.files {
        let mut by = serde_json::Map::new();
        for (b, n) in &f.by {
            by.insert(b.name().replace(' ', "_"), (*n).into());
        }
        let mut d = json!({
            "message_type": "similar",
            "snapshot_id": f.snapshot.id.to_string(),
            "size": f.bytes,
            "shared_bytes": f.shared_bytes,
            "shared_by": by,
        });
        json::put_path(&mut d, "path", &f.path);
        context.out.stream_document(&d)?;
    }
    let mut d = json!({
        "message_type": "summary",
        "snapshot_id": options.snapshot.id.to_string(),
        "size": r.bytes,
        "stream_bytes": r.stream_bytes,
        "files_found": r.files_found,
        "files_seen": r.files_seen,
        "one_in": r.one_in,
        "unreadable": r.unreadable,
    });
    json::put_path(&mut d, "path", &options.path);
    context.out.document(&d)
}
