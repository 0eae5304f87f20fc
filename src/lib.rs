//! onefold: a deduplicating chunk store for large media, on a shelf of ordinary disks.

pub mod error;
pub mod format;

pub use error::{Error, Result};
