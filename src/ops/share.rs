//! What files share: the facts of chunks, the packs' tables, walks over other files.
//!
//! [`super::similar`], [`super::explain`], [`super::map`] and [`super::stats`] stand on this. Nothing here is a verb,
//! and nothing here believes the index more than the packs' own headers.
//!
//! # Invariants
//!
//! 1. Memory is bounded by the budget, never by the store: what is watched for is thinned where it would grow beyond
//!    its share (see [`own::Own`]), and what was passed over is counted.
//! 2. Damage of one chunk, folder or pack ends nothing: it is counted and told.

pub mod facts;
pub mod kin;
pub mod needs;
pub mod own;
pub mod tables;
pub mod walk;

use crate::error::Error;

/// Whether work goes on after this error, which says something of one chunk or pack and not of the run.
pub(super) fn is_of_one_place(e: &Error) -> bool {
    e.is_damage() || matches!(e, Error::Io { .. } | Error::DiskMissing { .. })
}
