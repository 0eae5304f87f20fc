//! map: which parts of which files share storage, as values that can be drawn.
//!
//! A few files are told by ranges of their bytes ([`strips`]), many by sums over files and folders ([`overview`]). How
//! it looks is the command line's affair.
//!
//! # Invariants
//!
//! 1. Memory is bounded: ranges up to [`strips::PIECES_MAX`], else as many files and folders as
//!    [`overview::LEAVES_MAX`], sorting outside of memory.
//! 2. What is shared is told once: a chunk belongs to the first file that has it, in the order of paths; the others
//!    share it with that one.

pub mod overview;
pub mod strips;

use super::Control;
use super::share::walk;
use super::snapshots::SnapshotInfo;
use crate::error::Result;
use crate::format::recipe::Recipe;
use crate::store::Store;
use overview::{Gather, Overview};
use strips::Strips;

pub use super::share::kin::Means;

/// Files that are told by ranges; more are told by sums.
pub const STRIPS_MAX: usize = 12;

/// What to draw.
#[derive(Clone, Debug)]
pub struct MapOptions {
    pub snapshot: SnapshotInfo,
    /// The folder or file below which files are drawn.
    pub path: Vec<u8>,
    /// Further files or folders beside it.
    pub more: Vec<Vec<u8>>,
}

/// What can be drawn.
#[derive(Debug)]
pub enum Picture {
    Strips(Strips),
    Overview(Overview),
}

/// What a map holds.
#[derive(Debug)]
pub struct MapReport {
    pub files: u64,
    pub bytes: u64,
    /// Folders and lists that cannot be read: what is there is not drawn.
    pub unreadable: u64,
    pub picture: Picture,
}

/// One of a few files, before its ranges are known.
struct Few {
    path: Vec<u8>,
    bytes: u64,
    recipe: Option<Recipe>,
}

/// Looks.
///
/// # Errors
/// [`crate::Error::NoPath`], [`crate::Error::Interrupted`], [`crate::Error::Index`], [`crate::Error::Io`] of the sort.
/// Damage is counted.
pub fn run(store: &Store, options: &MapOptions, control: &Control) -> Result<MapReport> {
    control.progress.set_phase("looking at files");
    let mut report = MapReport { files: 0, bytes: 0, unreadable: 0, picture: Picture::Strips(Strips::default()) };
    let mut few: Vec<Few> = Vec::new();
    let mut gather: Option<Gather> = None;
    let mut lists_lost = 0;
    for path in std::iter::once(&options.path).chain(&options.more) {
        let walked = walk::at(store, &options.snapshot, path, control, &mut |met| {
            report.files += 1;
            report.bytes = report.bytes.saturating_add(met.bytes);
            if gather.is_none() {
                few.push(Few { path: met.path.to_vec(), bytes: met.bytes, recipe: met.recipe().cloned() });
                if few.len() <= STRIPS_MAX {
                    return Ok(());
                }
                let mut begun = Gather::new(store)?;
                for f in few.drain(..) {
                    lists_lost += u64::from(!begun.file(store, &f.path, f.bytes, f.recipe.as_ref())?);
                }
                gather = Some(begun);
                return Ok(());
            }
            if let Some(gather) = &mut gather {
                lists_lost += u64::from(!gather.file(store, met.path, met.bytes, met.recipe())?);
            }
            Ok(())
        })?;
        report.unreadable += walked.unreadable;
    }
    let gather = match gather {
        Some(gather) => gather,
        None => match strips::of(store, control, &few)? {
            Ok((strips, lost)) => {
                report.unreadable += lost;
                report.picture = Picture::Strips(strips);
                return Ok(report);
            }
            Err(strips::TooMany) => {
                let mut begun = Gather::new(store)?;
                for f in &few {
                    lists_lost += u64::from(!begun.file(store, &f.path, f.bytes, f.recipe.as_ref())?);
                }
                begun
            }
        },
    };
    report.unreadable += lists_lost;
    report.picture = Picture::Overview(gather.finish(store, control)?);
    Ok(report)
}

#[cfg(test)]
mod tests;
