//! Bytes to chunks: cut ([`cut`]), name ([`crate::format::Keys::chunk_id`]), squeeze ([`squeeze`]).
//!
//! This floor is pure computation: no file, no index, no clock. `fastcdc` and `zstd` are used here and
//! nowhere else.
//!
//! # Invariants
//!
//! 1. Cuts depend on the bytes, the superblock's chunker and the gear seed alone. They equal those of
//!    the pinned crate; golden vectors hold them.
//! 2. `open(squeeze(bytes)) == bytes`. What a codec does not make smaller stays raw.
//! 3. The choice of a codec depends on the bytes, and for a delta on the bases offered, never on load, cores or budget.
//! 4. A decoder writes at most the plain length that the record's header names, which is bounded.

pub mod cut;
pub mod form;
pub mod jpeg;
pub mod landmark;
mod log2;
pub mod pcm;
pub mod predict;
mod proofs;
mod rans;
pub mod raster;
mod scan;
pub mod sketch;
pub mod squeeze;
mod wide;

pub use cut::Cutter;
pub use form::{Form, Packing, Pcm, Raster};
pub use landmark::{Landmarker, Landmarks};
pub use predict::{Predicted, Predictor, Sound};
pub use scan::{Samples, Scanner};
pub use sketch::{Sketch, Sketcher};
pub use squeeze::{Coding, Payload, Squeezer, Technique, Tier, Unsqueezer};
