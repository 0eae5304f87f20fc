//! onefold: a deduplicating chunk store for large media, on a shelf of ordinary disks.

pub mod catalog;
pub mod chunk;
pub mod error;
pub mod format;
pub mod index;
pub mod io;
pub mod media;
pub mod ops;
pub mod pack;
pub mod pool;
pub mod store;

pub use error::{Error, Result};
