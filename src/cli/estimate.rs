//! `estimate`: what a backup would take, forecast from a sample.

use super::args;
use super::context::Context;
use super::exit::Exit;
use super::{render, table};
use crate::error::{Error, Result};
use crate::format::id::hex;
use crate::ops::estimate::{self, EstimateOptions, EstimateReport, SAMPLE_BYTES};
use crate::store::IndexKind;
use serde_json::json;
use std::ffi::OsString;
use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;
use std::time::Duration;

/// Forecast what a backup would store, from a sample; store nothing
///
/// Looks at all files below the paths, and backs the beginnings of all of them up into a store of their own in a
/// temporary folder, which is removed. Where --sample has no room for at least 128 KiB of half of the files, some are
/// picked by the hash of their names (the same ones each time; files of one name, with whatever ending and in whatever
/// folder, together). From that follow the bytes that all would take, with a range (nineteen of twenty samples lie in it),
/// and the time at the measured rate. Where a store is named (--store or ONEFOLD_STORE), what it
/// holds already is not counted (near-duplicates among new files then are, mostly); nothing is written to it, but its
/// lock is taken.
///
/// Copies and near-duplicates under other names are seen only if both are in the sample or the store has one, and
/// likewise what begins elsewhere than its relatives (a part of a recording, a member of an archive): a library full of
/// them takes less than is forecast, and a larger --sample comes nearer. The temporary folder is $TMPDIR, else /tmp, and
/// needs half as much room again as the sample, at most.
///
/// Exit status: 0 told; 1 failed; 2 wrong usage; 3 told, but something cannot be read; 10 there is no store at the
/// named place; 11 another process writes to it; 130 stopped by a signal.
#[derive(clap::Args, Debug)]
#[command(after_long_help = EXAMPLES)]
pub struct EstimateArgs {
    /// Files and folders that would be backed up
    #[arg(required = true)]
    paths: Vec<OsString>,

    /// Read about so many bytes [default: 1GiB]
    #[arg(long, value_name = "SIZE", default_value_t = SAMPLE_BYTES, value_parser = args::size)]
    #[arg(hide_default_value = true)]
    sample: u64,

    /// Compare with no store, also if one is named
    #[arg(long)]
    alone: bool,
}

const EXAMPLES: &str = "\
Examples:
  onefold estimate /library
  onefold --store /ssd/onefold estimate --sample 10G /library /media/new
  onefold estimate --alone /library --json | jq .stored_bytes";

/// A folder that goes when this goes.
struct Scratch(PathBuf);

impl Scratch {
    fn make(context: &Context) -> Result<Scratch> {
        let mut random = [0; 8];
        context.io.world.random(&mut random);
        let path = std::env::temp_dir().join(format!("onefold-estimate-{}", hex(&random)));
        std::fs::DirBuilder::new().mode(0o700).create(&path).map_err(Error::io("make", &path))?;
        Ok(Scratch(path))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0); // a folder in the temporary one: the system clears what stays
    }
}

impl EstimateArgs {
    pub(super) fn run(self, context: &Context) -> Result<Exit> {
        let paths = self.paths.iter().map(|p| args::absolute(p)).collect::<Result<Vec<_>>>()?;
        let against = match self.alone || !context.names_a_store() {
            true => None,
            false => Some(context.open_to_write("estimate")?),
        };
        let scratch = Scratch::make(context)?;
        let options = EstimateOptions {
            paths,
            sample_bytes: self.sample,
            scratch: scratch.0.join("store"),
            memory_bytes: context.memory_bytes,
            index: IndexKind::default(),
            program: concat!("onefold ", env!("CARGO_PKG_VERSION")).into(),
        };
        let report = estimate::run(&context.io, against.as_ref(), options, &context.control)?;
        drop(scratch);
        if context.json {
            document(context, &report)?
        } else {
            text(context, &report)?
        }
        Ok(if report.unreadable > 0 { Exit::Losses } else { Exit::Done })
    }
}

fn text(context: &Context, r: &EstimateReport) -> Result<()> {
    let out = &context.out;
    out.line(format!("{} in {}", render::size(r.bytes), render::counted(r.files, "file")))?;
    let of_all = |n| render::percent(n, r.bytes);
    let range = match r.whole {
        true => "all of it was tried".to_owned(),
        false => format!(
            "probably {} to {} ({} to {})",
            render::size(r.stored_bytes_low),
            render::size(r.stored_bytes_high),
            of_all(r.stored_bytes_low),
            of_all(r.stored_bytes_high)
        ),
    };
    let mut said = vec![
        ("would store", format!("{}, {} of it; {range}", render::size(r.stored_bytes), of_all(r.stored_bytes))),
        ("packs", format!("{} of {}", render::count(r.packs), render::size(r.pack_bytes))),
    ];
    if let Some(usable) = r.usable_bytes {
        let fits = match usable {
            n if n >= r.stored_bytes_high => "it fits",
            n if n >= r.stored_bytes => "it fits, if the forecast is right",
            _ => "it does not fit",
        };
        said.push(("room", format!("{} on the store's disks: {fits}", render::size(usable))));
    }
    let seconds = |s: f64| Duration::try_from_secs_f64(s).unwrap_or(Duration::MAX);
    let rate = render::rate(r.sample_bytes, seconds(r.sample_seconds)).unwrap_or_else(|| "an unknown rate".into());
    said.push(("time", format!("{} at {rate}", render::duration(seconds(r.seconds)))));
    said.push((
        "sample",
        format!(
            "{} in {}, {} of the bytes",
            render::size(r.sample_bytes),
            render::counted(r.sample_files, "file"),
            of_all(r.sample_bytes)
        ),
    ));
    table::pairs(said).into_iter().try_for_each(|line| out.line(line))?;
    match r.whole {
        true => Ok(()),
        false if r.sample_files < r.files => out
            .line("copies and near-duplicates under other names outside the sample are not seen: with many it takes less"),
        false => out.line("beginnings were tried: what begins elsewhere than its relatives is not seen, with much of that it takes less"),
    }
}

fn document(context: &Context, r: &EstimateReport) -> Result<()> {
    context.out.document(&json!({
        "message_type": "summary",
        "total_files": r.files,
        "total_bytes": r.bytes,
        "sample_files": r.sample_files,
        "sample_bytes": r.sample_bytes,
        "sample_is_all": r.whole,
        "stored_bytes": r.stored_bytes,
        "stored_bytes_low": r.stored_bytes_low,
        "stored_bytes_high": r.stored_bytes_high,
        "packs": r.packs,
        "pack_bytes": r.pack_bytes,
        "usable_bytes": r.usable_bytes,
        "sample_seconds": r.sample_seconds,
        "seconds": r.seconds,
        "errors": r.unreadable,
    }))
}
