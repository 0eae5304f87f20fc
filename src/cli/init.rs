//! `init`: a new store.

use super::args;
use super::context::Context;
use super::exit::Exit;
use super::table::{self, Side, Table};
use super::{json, render};
use crate::error::Result;
use crate::ops::init::{self, InitOptions, InitReport};
use serde_json::json;
use std::ffi::OsString;

/// Make a new store
///
/// Makes the store's folder and, on each --disk, the marker, the superblock and the log. A folder that is missing is
/// made. A folder that belongs to a store already, or holds other files, is refused and left as it is. Without --disk
/// the store's folder holds the data too.
///
/// With --parity any M disks may be lost at once without losing a byte: packs are grouped over distinct disks, and each
/// group has M parity packs on other disks. Parity takes M parts of K + M of the room, where K is --group or what the
/// number of disks allows. Where neither is given, 4 to 7 disks get --parity 1 and 8 or more --parity 2. It can be
/// changed later with `onefold disk parity`.
///
/// Chunk sizes and keys are drawn here and hold for as long as the store lives. The store's folder belongs on an SSD;
/// it can be made anew from the disks at any time.
///
/// Exit status: 0 the store is there; 1 a folder is refused, or something failed; 2 wrong usage; 130 stopped by a
/// signal.
#[derive(clap::Args, Debug)]
#[command(after_long_help = EXAMPLES)]
pub struct InitArgs {
    /// Folder on a disk that takes data; repeat it for each disk
    #[arg(long = "disk", value_name = "PATH")]
    disks: Vec<OsString>,

    /// What to call a disk; repeat it in the order of --disk
    #[arg(long = "label", value_name = "LABEL", value_parser = args::label)]
    labels: Vec<String>,

    /// How many disks may be lost at once, 0 to 4
    #[arg(long, value_name = "M")]
    parity: Option<usize>,

    /// Packs of data in a parity group at most: wider takes less room, narrower is rebuilt faster [default: 8]
    #[arg(long, value_name = "K")]
    group: Option<usize>,

    /// How many times to keep metadata (folders, lists of chunks) whole, each on a disk of its own, 1 to 4 [default: 1]
    #[arg(long, value_name = "N")]
    copies: Option<usize>,

    /// Take keys and chunk sizes of another store, so that both can exchange data untouched
    #[arg(long, value_name = "STORE")]
    like: Option<OsString>,

    /// Length of a full pack
    #[arg(long, value_name = "SIZE", value_parser = args::size)]
    pack_size: Option<u64>,
}

const EXAMPLES: &str = "\
Examples:
  onefold --store /srv/store init
  onefold --store /srv/store init --disk /mnt/a --disk /mnt/b --label 'bay 1' --label 'bay 2'
  onefold --store /srv/store init --parity 2 $(printf -- '--disk %s ' /mnt/disk*)";

impl InitArgs {
    pub(super) fn run(self, context: &Context) -> Result<Exit> {
        let options = InitOptions {
            store: context.store_path()?,
            disks: self.disks.iter().map(|d| args::absolute(d)).collect::<Result<_>>()?,
            labels: self.labels,
            like: self.like.as_deref().map(args::absolute).transpose()?,
            pack_bytes: self.pack_size,
            parity: self.parity,
            group: self.group,
            copies: self.copies,
        };
        let report = init::run(&context.io, &options)?;
        report.warnings.iter().for_each(|w| context.warn(w.clone()));
        print(context, &options, &report)?;
        Ok(Exit::Done)
    }
}

fn print(context: &Context, options: &InitOptions, report: &InitReport) -> Result<()> {
    let out = &context.out;
    if context.json {
        let disks: Vec<_> = report
            .disks
            .iter()
            .map(|d| {
                let mut doc = json!({
                    "id": d.id.to_string(),
                    "label": d.label,
                    "total_bytes": d.total_bytes,
                    "free_bytes": d.free_bytes,
                });
                json::put_system_path(&mut doc, "path", &d.path);
                doc
            })
            .collect();
        let mut doc = json!({
            "message_type": "initialized",
            "id": report.store.to_string(),
            "pack_bytes": report.pack_bytes,
            "parity": report.parity,
            "group": report.width,
            "copies": report.copies,
            "disks": disks,
            "warnings": report.warnings,
        });
        json::put_system_path(&mut doc, "repository", &options.store);
        return out.document(&doc);
    }
    let store = render::name(options.store.as_os_str().as_encoded_bytes());
    out.line(format!("store {} made at {store}", report.store.short()))?;
    let mut t = Table::new(&[
        ("  disk", Side::Left),
        ("label", Side::Left),
        ("size", Side::Right),
        ("free", Side::Right),
        ("path", Side::Left),
    ]);
    for d in &report.disks {
        t.row([
            format!("  {}", d.id.short()),
            render::printable(&d.label),
            render::size(d.total_bytes),
            render::size(d.free_bytes),
            render::name(d.path.as_os_str().as_encoded_bytes()),
        ]);
    }
    for line in t.lines() {
        out.line(line)?;
    }
    let parity = match (report.parity, report.disks.len()) {
        (0, 1) => "none: a disk that is lost takes its data along".to_owned(),
        (0, n) => format!("none: any of the {n} disks that is lost takes its data along (--parity 1 prevents it)"),
        (m, _) => format!(
            "any {} may be lost; groups of {} and {m}: {} % of the room holds data",
            render::counted(m as u64, "disk"),
            report.width,
            100 * report.width / (report.width + m)
        ),
    };
    let mut said = vec![("packs of", render::size(report.pack_bytes)), ("parity", parity)];
    if report.copies > 1 {
        let may = render::counted((report.parity + report.copies - 1) as u64, "disk");
        said.push((
            "metadata",
            format!("{} times whole; any {may} may be lost before it is", report.parity + report.copies),
        ));
    }
    for line in table::pairs(said) {
        out.line(line)?;
    }
    out.line(format!("next: onefold --store '{store}' backup PATH"))
}
