//! `export`: a snapshot as a tar archive on stdout, or as a bag in a folder.

use super::clock::WallClock;
use super::context::Context;
use super::exit::Exit;
use super::out::Raw;
use super::{args, json, render, table};
use crate::error::{Error, Result};
use crate::format::digest::Algorithm;
use crate::ops::bag::write::{self, BagOptions, BagReport};
use crate::ops::export;
use crate::ops::forget::Calendar;
use serde_json::json;
use std::ffi::{OsStr, OsString};
use std::time::{Duration, Instant};

/// Write a snapshot, or a part of it, to stdout as a tar archive, or into a folder as a bag
///
/// The archive is a POSIX one (pax): names of any length, times with nanoseconds, modes, owners, symlinks, hard links and
/// extended attributes. Paths are relative to PATH. Holes are written as zeros. Every byte is proven before it is written;
/// where that fails the archive ends, since it could not say otherwise that a file is not whole.
///
/// With `--bag` the files go into a new or empty folder as a bag (BagIt 1.0, RFC 8493): below `data/`, with a manifest of
/// their digests, as archives exchange them. A bag holds regular files with names in UTF-8 and nothing else: owners, modes,
/// extended attributes, symlinks and folders without a file are not in it, and names of hard-linked files become files of
/// their own; a note counts them. Holes are written as zeros. A file whose name a bag or the folder's filesystem cannot hold is named and left out. A
/// file that is lost is named, and the bag is not finished. A bag is synced, and `bagit.txt` is written last: a folder
/// without it is no bag.
///
/// Exit status: 0 written whole; 1 no such snapshot or path, or failed; 2 wrong usage; 3 written whole, but some attributes
/// are not in the archive, or files whose names it cannot hold not in the bag; 4 damage that cannot be repaired: the archive
/// ends early, the bag is not finished; 10 there is no store; 130 stopped by a signal.
#[derive(clap::Args, Debug)]
#[command(after_long_help = EXAMPLES)]
pub struct ExportArgs {
    /// `latest`, a name, or the beginning of an id
    #[arg(value_name = "SNAPSHOT[:PATH]")]
    snapshot: OsString,

    /// Export only what lies below this folder, or this file
    path: Option<OsString>,

    /// Write a bag into this folder, which is empty or does not exist yet
    #[arg(long, value_name = "DIR")]
    bag: Option<OsString>,

    /// Digests of the bag's manifests: sha256, sha512, md5; several with commas between them
    #[arg(long, short, value_name = "NAMES", value_delimiter = ',', default_value = "sha256,sha512", value_parser = algorithm, requires = "bag")]
    algorithm: Vec<Algorithm>,

    /// A label and its value for the bag's bag-info.txt, as in `Source-Organization=Our Archive`; may be repeated
    #[arg(long, value_name = "LABEL=VALUE", value_parser = info, requires = "bag")]
    info: Vec<(String, String)>,
}

const EXAMPLES: &str = "\
Examples:
  onefold export latest:/media/library | tar -x -C /mnt/other
  onefold export latest | zstd > library.tar.zst
  onefold export latest:/media/library/Artist --bag /mnt/handover/artist --info 'Source-Organization=Our Archive'
  onefold export latest --bag /mnt/handover/all --algorithm sha512,md5";

/// The algorithms that other programs look for in bags.
const IN_BAGS: [Algorithm; 3] = [Algorithm::Sha256, Algorithm::Sha512, Algorithm::Md5];

fn algorithm(name: &str) -> std::result::Result<Algorithm, String> {
    let known = IN_BAGS.map(Algorithm::name).join(", ");
    IN_BAGS.into_iter().find(|a| a.name() == name).ok_or_else(|| format!("it is none of {known}"))
}

fn info(text: &str) -> std::result::Result<(String, String), String> {
    let (label, value) = text.split_once('=').ok_or("it is not LABEL=VALUE")?;
    Ok((label.to_owned(), value.to_owned()))
}

impl ExportArgs {
    pub(super) fn run(self, context: &Context) -> Result<Exit> {
        if let Some(folder) = &self.bag {
            return self.write_bag(folder, context);
        }
        if context.out.is_terminal() {
            return Err(Error::Argument {
                what: "an archive on a terminal".into(),
                why: "redirect it into a file or a program".into(),
            });
        }
        let store = context.open()?;
        let (info, path) = args::snapshot(&store, &self.snapshot, self.path.as_ref())?;
        let report = export::run(&store, &info, path.as_deref(), &mut Raw(&context.out), &context.control)?;
        Ok(if report.metadata_failures > 0 { Exit::Losses } else { Exit::Done })
    }

    fn write_bag(&self, folder: &OsStr, context: &Context) -> Result<Exit> {
        let begun = Instant::now();
        let store = context.open()?;
        let (snapshot, path) = args::snapshot(&store, &self.snapshot, self.path.as_ref())?;
        let mut algorithms = self.algorithm.clone();
        algorithms.sort();
        algorithms.dedup();
        let options = BagOptions {
            snapshot,
            path,
            target: args::absolute(folder)?,
            algorithms,
            info: self.info.clone(),
            date: today(store.io().world.now_ns()),
            program: concat!("onefold ", env!("CARGO_PKG_VERSION")).into(),
        };
        let report = write::run(&store, &options, &context.control)?;
        print(context, &options, &report, begun.elapsed())?;
        Ok(match report {
            BagReport { finished: false, .. } => Exit::Damage,
            BagReport { left_out: 1.., .. } => Exit::Losses,
            _ => Exit::Done,
        })
    }
}

/// The day by this machine's clock and zone.
fn today(now_ns: i64) -> String {
    let civil = WallClock::local().civil(now_ns);
    format!("{:04}-{:02}-{:02}", civil.year, civil.month, civil.day)
}

fn print(context: &Context, options: &BagOptions, r: &BagReport, took: Duration) -> Result<()> {
    let out = &context.out;
    if context.json {
        let mut d = json!({
            "message_type": "summary",
            "snapshot_id": options.snapshot.id.to_string(),
            "finished": r.finished,
            "algorithms": options.algorithms.iter().map(|a| a.name()).collect::<Vec<_>>(),
            "files": r.files,
            "bytes": r.bytes,
            "files_lost": r.files_lost,
            "bytes_lost": r.bytes_lost,
            "files_left_out": r.left_out,
            "symlinks_left_out": r.symlinks,
            "empty_dirs_left_out": r.empty_dirs,
            "hard_links_made_files": r.hard_links,
            "entries_with_attributes": r.with_attributes,
            "total_duration": took.as_secs_f64(),
        });
        json::put_system_path(&mut d, "target", &options.target);
        return out.document(&d);
    }
    let shown = render::name(options.target.as_os_str().as_encoded_bytes());
    let id = options.snapshot.id.short();
    out.line(match r.finished {
        true => format!("snapshot {id} written as a bag to {shown}"),
        false => format!("the bag in {shown} is not finished: files of snapshot {id} are lost"),
    })?;
    let n = render::counted;
    let rate = render::rate(r.bytes, took).map(|rate| format!(", {rate}")).unwrap_or_default();
    let mut said = vec![
        ("payload", format!("{}, {} in {}{rate}", n(r.files, "file"), render::size(r.bytes), render::duration(took))),
        ("manifests", options.algorithms.iter().map(|a| a.name()).collect::<Vec<_>>().join(", ")),
    ];
    if r.left_out > 0 {
        said.push(("left out", format!("{}: named above", n(r.left_out, "file"))));
    }
    if r.files_lost > 0 {
        said.push(("lost", format!("{}, {}: named above", n(r.files_lost, "file"), render::size(r.bytes_lost))));
    }
    table::pairs(said).into_iter().try_for_each(|line| out.line(line))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_and_algorithms_are_taken_as_they_are_typed() {
        assert_eq!(info("A=b=c"), Ok(("A".into(), "b=c".into())));
        assert!(info("A").is_err());
        assert_eq!(algorithm("md5"), Ok(Algorithm::Md5));
        assert!(algorithm("blake3").is_err_and(|e| e.contains("sha256, sha512, md5")));
        assert_eq!(today(0).len(), "1970-01-01".len());
    }
}
