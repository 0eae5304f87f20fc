//! `disk add`: a folder becomes a disk of the store.

use crate::cli::context::Context;
use crate::cli::exit::Exit;
use crate::cli::{args, ask, json, render, table};
use crate::error::Result;
use crate::ops::shelf::add::{self, AddOptions, Added};
use crate::ops::shelf::empty::Held;
use serde_json::json;
use std::ffi::OsString;
use std::path::Path;

/// Give the store another disk
///
/// The folder gets the marker, the superblock, the keys and the log, and takes new packs from then on. Old packs stay where
/// they are. A disk that belongs to the store already is only noted at its new place. A folder that holds other files is
/// refused, and so is a disk of another store or one that was retired, unless --reuse empties it: what that removes is shown
/// and asked first. A folder without a disk marker is never emptied.
///
/// Exit status: 0 the disk is there; 1 the folder is refused, or failed; 2 wrong usage; 10 there is no store; 11 another
/// process writes to it, or to the disk that was to be emptied; 130 stopped by a signal.
#[derive(clap::Args, Debug)]
#[command(after_long_help = EXAMPLES)]
pub(super) struct AddArgs {
    /// Folder on the new disk
    #[arg(value_name = "PATH")]
    path: OsString,

    /// What to call it; the folder's name where it is not given
    #[arg(long, value_name = "LABEL", value_parser = args::label)]
    label: Option<String>,

    /// What fails together with it: its enclosure, its controller
    #[arg(long, value_name = "NAME", value_parser = args::label)]
    domain: Option<String>,

    /// Empty the folder if its marker says that it was a disk: everything that was stored on it is gone
    #[arg(long)]
    reuse: bool,

    /// With --reuse: empty it without asking
    #[arg(long, requires = "reuse")]
    yes: bool,
}

const EXAMPLES: &str = "\
Examples:
  onefold disk add /mnt/new
  onefold disk add /mnt/new --label 'bay 9' --domain 'lower enclosure'";

impl AddArgs {
    pub(super) fn run(self, context: &Context) -> Result<Exit> {
        let path = args::absolute(&self.path)?;
        let options = AddOptions {
            path: path.clone(),
            label: self.label,
            domain: self.domain.unwrap_or_default(),
            reuse: self.reuse,
        };
        if self.reuse {
            // Whether it is a disk of the store is for the log to say: opening puts the list in `STORE` right, if that is older.
            let _ = context.open_to_write("disk add");
        }
        if self.reuse && add::note_place(&context.io, &context.store_path()?, &path)?.is_none() {
            let store = context.open_to_write("disk add")?;
            if let Some(held) = add::removes(&store, &options)? {
                show(context, &path, &held)?;
                if !ask::confirm(context, self.yes, "remove all of that?")? {
                    return Ok(Exit::Failed);
                }
            }
        }
        let added = join(context, &options)?;
        told(context, &path, &added)?;
        Ok(Exit::Done)
    }
}

/// Adds a disk, and opens the store once more, so that the log stands on it.
pub(super) fn join(context: &Context, options: &AddOptions) -> Result<Added> {
    let added = add::join(&mut || context.open_to_write("disk add"), &context.io, &context.store_path()?, options)?;
    added.warnings.iter().for_each(|w| context.warn(w.clone()));
    Ok(added)
}

/// Shows what would be removed, before it is.
fn show(context: &Context, path: &Path, held: &Held) -> Result<()> {
    let marker = &held.marker;
    if context.json {
        let mut doc = json!({
            "message_type": "plan",
            "id": marker.disk.to_string(),
            "label": marker.label,
            "store": marker.store.to_string(),
            "packs_removed": held.packs,
            "bytes_removed": held.bytes,
        });
        json::put_system_path(&mut doc, "path", path);
        return context.out.stream_document(&doc);
    }
    let said = vec![
        ("empty", render::name(path.as_os_str().as_encoded_bytes())),
        ("disk", format!("{} ({})", render::printable(&marker.label), marker.disk.short())),
        ("of store", marker.store.to_string()),
        ("removes", format!("{}, {}", render::counted(held.packs, "pack"), render::size(held.bytes))),
    ];
    table::pairs(said).into_iter().try_for_each(|line| context.out.line(line))
}

fn told(context: &Context, path: &Path, added: &Added) -> Result<()> {
    if context.json {
        let mut doc = json!({
            "message_type": "disk_added",
            "id": added.id.to_string(),
            "label": added.label,
            "known": added.known,
            "warnings": added.warnings,
        });
        json::put_system_path(&mut doc, "path", path);
        return context.out.document(&doc);
    }
    let place = render::name(path.as_os_str().as_encoded_bytes());
    let label = render::printable(&added.label);
    context.out.line(match added.known {
        true => format!("disk {label} ({}) belongs to the store; it is now at {place}", added.id.short()),
        false => format!("disk {label} ({}) at {place} takes data now", added.id.short()),
    })
}
