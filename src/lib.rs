//! onefold: a deduplicating chunk store for large media, on a shelf of ordinary disks.
//!
//! This page is the map. The words are those of `docs/GLOSSARY.md`, the bytes those of `docs/FORMAT.md`,
//! the promises those of `docs/INVARIANTS.md`.
//!
//! # Floors
//!
//! A module uses only those above it; `tests/tidy.rs` checks it, and that each foreign crate has one owner.
//!
//! | module | owns | foreign crates |
//! | --- | --- | --- |
//! | [`error`] | what can go wrong, by who must act | thiserror |
//! | [`format`](mod@format) | every persistent byte: ids, checks, records, footers, log entries, keys | blake3, twox-hash |
//! | [`io`] | the one door to the system: files, sync, clock, chance; real, in memory, faulty | rustix, uzers |
//! | [`chunk`] | bytes to chunks: cut, sketch, squeeze; codecs of sound and pictures | fastcdc, zstd |
//! | [`media`] | splitters: which bytes of a file belong together, and the ways back | |
//! | [`pack`] | append, seal, read and prove, salvage | |
//! | [`index`] | chunk id to place: a cache; external sort | rocksdb |
//! | [`catalog`] | recipes, trees, snapshots, what the log means | |
//! | [`pool`] | disks: join, place; parity; the copies of the log | reed-solomon-simd |
//! | [`store`] | open, lock, bring the index up to date; hands out the parts | |
//! | [`ops`] | the verbs: plan, run, report | globset, crossbeam-channel |
//! | [`cli`] | one file a command; text and JSON; progress; exit status | clap, indicatif, serde_json, jiff, tokio |
//!
//! # From a file's bytes to a payload
//!
//! `docs/MEDIA.md` tells it for each format.
//!
//! | module | owns |
//! | --- | --- |
//! | [`media`] | the choice of a splitter by a file's first bytes; numbers, versions, [`media::inverse`] |
//! | [`media::flac`], [`media::words`] | sound: samples apart from how they stand in the file, and back |
//! | [`media::mp3`], [`media::adts`], [`media::tags`] | coded sound apart from tags and headers |
//! | [`media::ogg`], [`media::ts`] | packets out of pages and transport packets, and back |
//! | [`media::isobmff`], [`media::matroska`], [`media::avi`], [`media::flv`], [`media::mxf`], [`media::ps`] | tracks apart |
//! | [`media::permute`] | the way back of what was only moved |
//! | [`media::image`], [`media::y4m`], [`media::picture`] | pictures apart from headers |
//! | [`media::tar`], [`media::zip`], [`media::gzip`], [`media::deflate`] | archives; deflate undone |
//! | [`chunk::form`] | what a stream's bytes are: plain, samples of sound, of a picture |
//! | [`chunk::sketch`], [`chunk::landmark`] | what a chunk resembles, by its bytes and by its sound |
//! | [`chunk::squeeze`] | which codec a chunk gets; deltas; tiers |
//! | [`chunk::pcm`], [`chunk::raster`], [`chunk::predict`], [`chunk::jpeg`] | codecs: sound, pictures, sound from stored sound, JPEG |
//!
//! # Files on disk and their owners
//!
//! | file | owner |
//! | --- | --- |
//! | `DISK/onefold-disk`, `STORE/disks` | [`format::text`], read and written by [`pool`] |
//! | `DISK/superblock`, `keys/`, `FORMAT.txt` | [`pool::disk`] |
//! | `DISK/log/`, `STORE/log/` | [`pool::log`] |
//! | `DISK/packs/xx/` | [`pack`] |
//! | `DISK/parity/xx/` | [`pool::parity`] |
//! | `DISK/bad/` | [`ops::repair`] |
//! | `STORE/index/` | [`index::rocks`] |
//! | `STORE/lock`, `STORE/unindexed` | [`store`] |
//! | `STORE/dense`, `STORE/split` | [`ops::compact`] |
//!
//! # Flows
//!
//! - **backup** ([`ops::backup`]): walk → unchanged? reuse → read once → splitter → mapped segments proven → cut →
//!   name → claim → bases, codec → lane → seal → parity → log → index ([`ops::ingest`] from claim on).
//! - **restore** ([`ops::restore`]): tree → recipes → a window of pieces → located at once → sorted by disk, pack
//!   and offset → read, prove, decode → mapped segments put together and proven → written in place → named.
//! - **a pack that is away or damaged** ([`store`], [`pool::parity`]): its group's other members → units proven →
//!   rebuilt → proven by the pack's own root → the reader; written back by [`ops::repair`].
//! - **gc** ([`ops::gc`]): what changed since the counts, or all trees → links → chunks that nothing leads to → packs → what
//!   stays moved, logged, indexed → packs dropped (`docs/design/0004-reclaim.md`).
//! - **compact** ([`ops::compact`]): files → where their chunks lie → those of scattered ones, or of the fast tier → written anew
//!   → logged, indexed; the old copies wait for gc (`docs/design/0005-compact.md`, `0006-shared.md`).
//! - **open** ([`store`]): disks by their markers → constants → the longest valid log → the index brought
//!   forward, or rebuilt from footers.

#[cfg(all(any(feature = "canary-sync", feature = "canary-check"), not(debug_assertions)))]
compile_error!("the canary features lose data on purpose: they are for tests of the simulation only");

pub mod catalog;
pub mod chunk;
pub mod cli;
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
