//! `explain`: what one stored file is made of and what it costs.

use super::args;
use super::context::Context;
use super::exit::Exit;
use super::similar::{no_file, unreadable};
use super::table::{self, Side, Table};
use super::{json, render};
use crate::error::Result;
use crate::format::id::hex;
use crate::ops::explain::{self, ChunkLine, ExplainOptions, ExplainReport};
use crate::ops::names;
use serde_json::{Value, json};
use std::ffi::OsString;

/// Explain what a stored file is made of, what it costs, and what only it keeps
///
/// Tells which splitter looked at the file, its streams and segments, its chunks by codec with plain and stored bytes,
/// what they are coded against, and where they lie. `spent` are the whole records of its chunks, whoever else has them
/// too; `only it` are the bytes that nothing else needs: in this snapshot, and in all of them (where the same file at
/// the same path counts as itself). That last part looks at all other files and takes as long as `stats`; --quick
/// leaves it out. --chunks lists every chunk instead: stream, where in it, length, id, codec, stored bytes, and what it
/// is coded against.
///
/// Exit status: 0 told; 1 no such snapshot or path, or failed; 2 wrong usage; 4 told, but a part could not be looked at
/// because of damage; 10 there is no store; 130 stopped by a signal.
#[derive(clap::Args, Debug)]
#[command(after_long_help = EXAMPLES)]
pub struct ExplainArgs {
    /// `latest`, a name, or the beginning of an id
    #[arg(value_name = "SNAPSHOT[:PATH]")]
    snapshot: OsString,

    /// The file
    path: Option<OsString>,

    /// Do not look at other files
    #[arg(long)]
    quick: bool,

    /// List every chunk of the file instead
    #[arg(long)]
    chunks: bool,
}

const EXAMPLES: &str = "\
Examples:
  onefold explain latest '/library/Artist/Album/01 Title.flac'
  onefold explain --chunks latest:/library/film.mov
  onefold explain --quick latest /library/film.mov --json | jq .spent_bytes";

impl ExplainArgs {
    pub(super) fn run(self, context: &Context) -> Result<Exit> {
        let store = context.open()?;
        let (snapshot, path) = args::snapshot(&store, &self.snapshot, self.path.as_ref())?;
        let path = path.ok_or_else(|| no_file("explain"))?;
        let options = ExplainOptions { snapshot, path, quick: self.quick };
        if self.chunks {
            return chunks(context, &store, &options);
        }
        let report = explain::run(&store, &options, &context.control)?;
        if context.json {
            document(context, &options, &report)?
        } else {
            text(context, &options, &report)?
        }
        if report.missing > 0 {
            context.warn(unreadable(report.missing));
        }
        Ok(if report.missing > 0 { Exit::Damage } else { Exit::Done })
    }
}

/// Digits of an id that a person reads.
const ID_DIGITS: usize = 12;

fn short(id: &crate::format::ChunkId) -> String {
    let mut text = id.to_string();
    text.truncate(ID_DIGITS); // of 64 digits
    text
}

fn chunks(context: &Context, store: &crate::store::Store, options: &ExplainOptions) -> Result<Exit> {
    let out = &context.out;
    let mut missing = 0;
    let header = || {
        let (offset, bytes, stored) = ("offset", "bytes", "stored");
        format!("stream {offset:>16} {bytes:>9}  {:ID_DIGITS$}  {:<8} {stored:>9}  coded against", "chunk", "codec")
    };
    let mut first = true;
    let mut each = |line: &ChunkLine<'_>| {
        missing += u64::from(line.fact.is_none());
        if context.json {
            let mut d = json!({
                "message_type": "chunk",
                "stream": line.stream,
                "offset": line.offset,
                "bytes": line.bytes,
                "id": hex(&line.id.0),
            });
            if let Some(f) = line.fact {
                d["codec"] = names::codec(f.codec).into();
                d["codec_version"] = f.codec.version.into();
                d["stored_bytes"] = f.stored_bytes.into();
                d["bases"] = f.bases.iter().map(|b| Value::from(hex(&b.0))).collect::<Vec<_>>().into();
            }
            return out.stream_document(&d);
        }
        if std::mem::take(&mut first) {
            out.stream_line(&header())?;
        }
        let (codec, stored, bases) = match line.fact {
            Some(f) => (
                names::codec(f.codec),
                render::count(f.stored_bytes.into()),
                f.bases.iter().map(short).collect::<Vec<_>>().join(" "),
            ),
            None => ("lost".into(), "-".into(), String::new()),
        };
        let text = format!(
            "{:>6} {:>16} {:>9}  {}  {codec:<8} {stored:>9}  {bases}",
            line.stream,
            render::count(line.offset),
            render::count(line.bytes),
            short(&line.id),
        );
        out.stream_line(text.trim_end())
    };
    explain::chunks(store, options, &mut each, &context.control)?;
    if first && !context.json {
        out.line("it has no chunks: its bytes stand in its folder's node")?;
    }
    if missing > 0 {
        context.warn(unreadable(missing));
    }
    Ok(if missing > 0 { Exit::Damage } else { Exit::Done })
}

fn section(context: &Context, table: &Table) -> Result<()> {
    if table.is_empty() {
        return Ok(());
    }
    context.out.line("")?;
    table.lines().iter().try_for_each(|line| context.out.line(line))
}

fn text(context: &Context, options: &ExplainOptions, r: &ExplainReport) -> Result<()> {
    let out = &context.out;
    out.line(format!("{} in snapshot {}", render::name(&options.path), options.snapshot.id.short()))?;
    if r.inline {
        out.line(format!("  {}, in its folder's node: it has no chunks", render::size(r.bytes)))?;
        return Ok(());
    }
    let mut said = vec![
        ("size", format!("{} ({} B)", render::size(r.bytes), render::count(r.bytes))),
        ("splitter", format!("{} version {}", r.splitter, r.splitter_version)),
    ];
    let of = |bytes| render::percent(bytes, r.bytes);
    said.push((
        "spent",
        format!(
            "{}, {} of its size: the records of its chunks, whoever else has them{}",
            render::size(r.spent_bytes),
            of(r.spent_bytes),
            match r.lists {
                0 => String::new(),
                n => format!("; and {} in {}", render::size(r.list_bytes), render::counted(n, "list")),
            }
        ),
    ));
    match r.exclusive {
        Some(e) => {
            let store = match r.snapshots {
                1 => " (there is no other)".to_owned(),
                n => format!(", {} in all {n}", render::size(e.in_store)),
            };
            said.push(("only it", format!("{} in this snapshot{store}", render::size(e.in_snapshot))));
        }
        None => said.push(("only it", "not looked for (--quick)".into())),
    }
    let bases = match (r.bases.bases, r.bases.own) {
        (0, _) => "none".to_owned(),
        (n, own) => format!(
            "{} of {}, {} in this file; `onefold similar` names the others' files",
            render::counted(n, "chunk"),
            render::size(r.bases.plain_bytes),
            match own {
                0 => "none".to_owned(),
                own => render::count(own),
            },
        ),
    };
    said.push(("bases", bases));
    table::pairs(said).into_iter().try_for_each(|line| out.line(line))?;
    if r.one_in > 1 {
        context.warn(format!(
            "the file is so long that one chunk in {} was looked at: figures of chunks are estimates",
            r.one_in
        ));
    }
    tables(context, r)
}

fn tables(context: &Context, r: &ExplainReport) -> Result<()> {
    let right = |what| (what, Side::Right);
    let left = |what| (what, Side::Left);
    let mut t = Table::new(&[right("stream"), left("holds"), right("bytes"), right("chunks")]);
    for s in r.streams.iter().filter(|s| s.bytes > 0) {
        t.row([s.number.to_string(), s.role.into(), render::size(s.bytes), render::count(s.chunks)]);
    }
    section(context, &t)?;
    let mut t = Table::new(&[left("segments"), left("rebuilt by"), right("number"), right("bytes")]);
    for s in &r.segments {
        let by = s.splitter.clone().unwrap_or_default();
        t.row([s.kind.into(), by, render::count(s.segments), render::size(s.bytes)]);
    }
    section(context, &t)?;
    let mut t = Table::new(&[left("codec"), right("chunks"), right("plain"), right("stored"), right("saved")]);
    let mut sums = (0, 0, 0);
    for c in &r.codecs {
        sums = (sums.0 + c.chunks, sums.1 + c.plain_bytes, sums.2 + c.stored_bytes);
        t.row(codec_row(&names::codec(c.codec), c.chunks, c.plain_bytes, c.stored_bytes));
    }
    if r.codecs.len() > 1 {
        t.row(codec_row("all", sums.0, sums.1, sums.2));
    }
    section(context, &t)?;
    let mut t = Table::new(&[left("disk"), left("label"), right("packs"), right("chunks"), right("bytes")]);
    for d in &r.disks {
        t.row([
            d.disk.short(),
            render::printable(&d.label),
            render::count(d.packs),
            render::count(d.chunks),
            render::size(d.stored_bytes),
        ]);
    }
    section(context, &t)
}

/// What one codec made of how many chunks; `stats --by-means` has the same columns.
pub(super) fn codec_row(name: &str, chunks: u64, plain: u64, stored: u64) -> [String; 5] {
    let saved = match plain.saturating_sub(stored) {
        0 => "0 B".to_owned(),
        n => format!("{}, {}", render::size(n), render::percent(n, plain)),
    };
    [name.to_owned(), render::count(chunks), render::size(plain), render::size(stored), saved]
}

fn document(context: &Context, options: &ExplainOptions, r: &ExplainReport) -> Result<()> {
    let mut d = json!({
        "message_type": "explain",
        "snapshot_id": options.snapshot.id.to_string(),
        "size": r.bytes,
        "inline": r.inline,
        "splitter": r.splitter,
        "splitter_version": r.splitter_version,
        "streams": r.streams.iter().map(|s| json!({
            "stream": s.number, "role": s.role, "bytes": s.bytes, "chunks": s.chunks,
        })).collect::<Vec<_>>(),
        "segments": r.segments.iter().map(|s| json!({
            "kind": s.kind, "splitter": s.splitter, "segments": s.segments, "bytes": s.bytes,
        })).collect::<Vec<_>>(),
        "codecs": r.codecs.iter().map(|c| json!({
            "codec": names::codec(c.codec), "codec_version": c.codec.version, "chunks": c.chunks,
            "plain_bytes": c.plain_bytes, "stored_bytes": c.stored_bytes,
        })).collect::<Vec<_>>(),
        "bases": { "chunks": r.bases.bases, "plain_bytes": r.bases.plain_bytes, "in_this_file": r.bases.own },
        "spent_bytes": r.spent_bytes,
        "lists": r.lists,
        "list_bytes": r.list_bytes,
        "exclusive_bytes_in_snapshot": r.exclusive.map(|e| e.in_snapshot),
        "exclusive_bytes": r.exclusive.map(|e| e.in_store),
        "snapshots": r.snapshots,
        "disks": r.disks.iter().map(|k| json!({
            "id": k.disk.to_string(), "label": k.label, "packs": k.packs, "chunks": k.chunks,
            "stored_bytes": k.stored_bytes,
        })).collect::<Vec<_>>(),
        "one_in": r.one_in,
        "missing": r.missing,
    });
    json::put_path(&mut d, "path", &options.path);
    context.out.document(&d)
}
