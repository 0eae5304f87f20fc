//! `disk locate`: which disks a file needs.

use crate::cli::args;
use crate::cli::context::Context;
use crate::cli::exit::Exit;
use crate::cli::table::{Side, Table};
use crate::cli::{json, render};
use crate::error::{Error, Result};
use crate::ops::shelf::locate::{self, Located};
use serde_json::json;
use std::ffi::OsString;

/// Tell on which disks a file, a folder or a snapshot lies
///
/// Counts the bytes of data that a restore would read from each disk, and how many disks it has to wake. What lies on a missing
/// disk and is rebuilt from others is counted at the missing one.
///
/// Exit status: 0 it was told; 1 no such snapshot or path, or failed; 2 wrong usage; 4 some of it lies nowhere; 10 there is no
/// store; 130 stopped by a signal.
#[derive(clap::Args, Debug)]
#[command(after_long_help = EXAMPLES)]
pub(super) struct LocateArgs {
    /// `latest`, a name, or the beginning of an id
    #[arg(value_name = "SNAPSHOT[:PATH]")]
    snapshot: OsString,

    /// The file or folder; all of the snapshot where there is none
    path: Option<OsString>,
}

const EXAMPLES: &str = "\
Examples:
  onefold disk locate latest /media/library/film.mkv
  onefold disk locate latest";

impl LocateArgs {
    pub(super) fn run(self, context: &Context) -> Result<Exit> {
        let store = context.open()?;
        let (info, path) = args::snapshot(&store, &self.snapshot, self.path.as_ref())?;
        let path = path.unwrap_or_else(|| b"/".to_vec());
        let found = locate::run(&store, &info, &path, &context.control)?
            .ok_or_else(|| Error::NoPath { snapshot: info.id.short(), path: render::name(&path) })?;
        print(context, &found)?;
        Ok(if found.nowhere > 0 { Exit::Damage } else { Exit::Done })
    }
}

fn print(context: &Context, found: &Located) -> Result<()> {
    let out = &context.out;
    if context.json {
        for d in &found.disks {
            let mut doc = json!({
                "message_type": "disk",
                "id": d.disk.id.to_string(),
                "label": d.disk.label,
                "is_here": d.disk.is_here,
                "chunks": d.chunks,
                "bytes": d.bytes,
            });
            json::put_system_path(&mut doc, "path", &d.disk.path);
            out.stream_document(&doc)?;
        }
        return out.document(&json!({
            "message_type": "summary",
            "files": found.files,
            "disks": found.disks.len(),
            "chunks_nowhere": found.nowhere,
        }));
    }
    let mut t = Table::new(&[
        ("disk", Side::Left),
        ("label", Side::Left),
        ("chunks", Side::Right),
        ("bytes", Side::Right),
        ("path", Side::Left),
    ]);
    for d in &found.disks {
        let path = render::name(d.disk.path.as_os_str().as_encoded_bytes());
        let place = if d.disk.is_here { path } else { format!("missing, last seen at {path}") };
        let label = render::printable(&d.disk.label);
        t.row([d.disk.id.short(), label, render::count(d.chunks), render::size(d.bytes), place]);
    }
    t.lines().iter().try_for_each(|line| out.line(line))?;
    let n = render::counted;
    out.line(format!("{} on {}", n(found.files, "file"), n(found.disks.len() as u64, "disk")))?;
    if found.nowhere > 0 {
        out.line(format!("{} lie nowhere", n(found.nowhere, "chunk")))?;
    }
    Ok(())
}
