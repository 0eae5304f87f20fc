//! `demo`: the whole promise on a store that is removed again.
//!
//! Makes a store with four disks in a temporary folder, backs up a library and a second generation of it, restores both and
//! compares every byte. Uses the verbs as any command does.
//!
//! # Invariants
//!
//! 1. The library is only read; the temporary folder never lies inside it.
//! 2. What was made is removed however the demo ends, unless `--keep` was given.
//! 3. Exit status 0 only if every byte compared equal.

mod files;
pub mod media;
pub mod retag;

use super::args;
use super::context::Context;
use super::exit::Exit;
use super::{json, render, source, table};
use crate::error::{Error, Result};
use crate::format::id::hex;
use crate::ops::backup::{self, BackupOptions, BackupReport, Source};
use crate::ops::init::{self, InitOptions};
use crate::ops::restore::{self, RestoreOptions};
use crate::ops::snapshots;
use crate::store::{Mode, OpenOptions, Store};
use files::{Comparison, Generation};
use serde_json::{Value, json};
use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// The disks of the demo's store.
const DISKS: usize = 4;
/// Room for the store's own files beside the library's copies: index, logs, an unfilled pack a disk.
const SPARE_BYTES: u64 = 256 << 20;

/// Show it all at work: back up, re-tag, back up again, restore, compare
///
/// Makes a store with four disk folders in a temporary place, backs up a library (yours at PATH, else a small set of real media
/// files that is built in), makes a second generation of it (top folder and files renamed, FLAC, MP3, WAV, PNG and JPEG
/// files re-tagged), backs that up, restores both, compares every byte, and tells what was stored, what was new and how fast.
///
/// PATH is only read. The temporary place is $TMPDIR, else /tmp, needs about three times the size of the library, and is
/// removed at the end. Files over 64 MiB are copied without other tags.
///
/// Exit status: 0 every byte compared equal; 1 a byte differs, something of PATH cannot be read, or failed; 2 wrong usage;
/// 130 stopped by a signal, everything made is removed.
#[derive(clap::Args, Debug)]
#[command(after_long_help = EXAMPLES)]
pub struct DemoArgs {
    /// Library to show it with [default: the files that are built in]
    path: Option<OsString>,

    /// Keep the temporary folder, and say where it is
    #[arg(long)]
    keep: bool,
}

const EXAMPLES: &str = "\
Examples:
  onefold demo
  TMPDIR=/mnt/scratch onefold demo --keep ~/Music";

/// A folder that goes when this goes.
struct Scratch {
    path: PathBuf,
    keep: bool,
}

impl Scratch {
    /// Makes a folder of a new name that only this user may enter.
    fn make(context: &Context, within: &Path, keep: bool) -> Result<Scratch> {
        let mut random = [0; 8];
        context.io.world.random(&mut random);
        let path = within.join(format!("onefold-demo-{}", hex(&random)));
        std::fs::DirBuilder::new().mode(0o700).create(&path).map_err(Error::io("make", &path))?;
        Ok(Scratch { path, keep })
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if !self.keep {
            let _ = std::fs::remove_dir_all(&self.path); // told by `remove` where that is possible
        }
    }
}

/// One generation: what its backup and its restore came to.
struct Shown {
    backup: BackupReport,
    backup_took: Duration,
    restored_bytes: u64,
    restore_took: Duration,
    compared: Comparison,
}

impl DemoArgs {
    pub(super) fn run(self, context: &Context) -> Result<Exit> {
        let library = self.path.as_deref().map(args::absolute).transpose()?;
        if let Some(library) = &library {
            let m = std::fs::metadata(library).map_err(Error::io("look at", library))?;
            if !m.is_dir() {
                let what = library.display().to_string();
                return Err(Error::Argument { what, why: "the demo takes a folder".into() });
            }
        }
        let temporary = temporary(library.as_deref())?;
        let scratch = Scratch::make(context, &temporary, self.keep)?;
        let done = tell(context, library.as_deref(), &scratch.path);
        let told = end(context, scratch);
        let exit = done?;
        told.map(|()| exit)
    }
}

/// Says where the folder is, or removes it.
fn end(context: &Context, scratch: Scratch) -> Result<()> {
    let path = &scratch.path;
    if scratch.keep {
        let store = render::name(path.join("store").as_os_str().as_bytes());
        context.screen.say(&format!("kept: onefold --store '{store}' snapshots"));
        return Ok(());
    }
    std::fs::remove_dir_all(path).map_err(Error::io("remove", path))
}

/// The system's temporary folder, which must not lie inside the library: the store would be its own source.
fn temporary(library: Option<&Path>) -> Result<PathBuf> {
    let real = |p: &Path| std::fs::canonicalize(p).map_err(Error::io("find", p));
    let temporary = real(&std::env::temp_dir())?;
    if let Some(library) = library
        && temporary.starts_with(real(library)?)
    {
        return Err(Error::Argument {
            what: format!("the temporary folder {} lies inside the library", temporary.display()),
            why: "set TMPDIR to a place outside of it".into(),
        });
    }
    Ok(temporary)
}

fn tell(context: &Context, library: Option<&Path>, scratch: &Path) -> Result<Exit> {
    let begun = Instant::now();
    let say = |line: &str| if context.json { Ok(()) } else { context.out.line(line) };
    let first = match library {
        Some(library) => library.to_owned(),
        None => {
            let own = scratch.join("library");
            media::write(&own)?;
            own
        }
    };
    let items = files::walk(&first, &context.control)?;
    let bytes = files::bytes(&items);
    room(context, scratch, bytes)?;

    let what =
        if library.is_some() { render::name(first.as_os_str().as_bytes()) } else { "the built-in media set".into() };
    let count = items.iter().filter(|i| matches!(i.kind, files::Kind::File { .. })).count() as u64;
    say(&format!("library: {what}, {} in {}", render::size(bytes), render::counted(count, "file")))?;

    let store = scratch.join("store");
    let disks: Vec<_> = (1..=DISKS).map(|n| scratch.join(format!("disk{n}"))).collect();
    let labels = (1..=DISKS).map(|n| format!("disk {n}")).collect();
    let options = InitOptions { store: store.clone(), disks, labels, parity: Some(0), ..Default::default() };
    let made = init::run(&context.io, &options)?;
    // That the four folders lie on one filesystem is no news here.
    say(&format!("store {} made with {DISKS} disks", made.store.short()))?;

    say("")?;
    say("first generation: as it is")?;
    let one = show(context, &store, &first, &scratch.join("restored 1"))?;
    generation(context, &one)?;

    let second = scratch.join("library, second edition");
    let made = files::second_generation(&first, &items, &second, &context.control)?;
    say("")?;
    say(&format!(
        "second generation: top folder and {} renamed, {} of them re-tagged",
        render::counted(made.files, "file"),
        render::count(made.retagged)
    ))?;
    let two = show(context, &store, &second, &scratch.join("restored 2"))?;
    generation(context, &two)?;

    verdict(context, &made, &one, &two, begun.elapsed())
}

/// Refuses where there is too little room: the second generation, what is stored of both, one restored copy at a time.
fn room(context: &Context, scratch: &Path, bytes: u64) -> Result<()> {
    let needed = bytes.saturating_mul(3).saturating_add(SPARE_BYTES);
    let space = context.io.fs.space(scratch).map_err(Error::io("ask for the room at", scratch))?;
    if space.free >= needed {
        return Ok(());
    }
    context.warn(format!(
        "the demo needs {} in its temporary folder, three times the library and some; set TMPDIR to a place with more",
        render::size(needed)
    ));
    Err(Error::NoSpace { needed, disks: format!("{} has {} free", scratch.display(), render::size(space.free)) })
}

/// Backs `library` up, restores it, compares, and removes what was restored.
fn show(context: &Context, store: &Path, library: &Path, target: &Path) -> Result<Shown> {
    let begun = Instant::now();
    begin_phase(context, "backing up");
    let backup = {
        let store = open(context, store, Mode::Write { verb: "demo" })?;
        let options = BackupOptions {
            tags: vec!["demo".into()],
            user: source::user(),
            ..BackupOptions::of(Source::Paths(vec![library.to_owned()]), concat!("onefold ", env!("CARGO_PKG_VERSION")))
        };
        backup::run(&store, options, &context.control)?
    };
    let backup_took = begun.elapsed();
    let begun = Instant::now();
    begin_phase(context, "restoring");
    let restored = {
        let store = open(context, store, Mode::Read)?;
        let snapshot = snapshots::resolve(&store, "latest")?;
        let options = RestoreOptions {
            snapshot,
            path: Some(library.as_os_str().as_bytes().to_vec()),
            target: target.to_owned(),
            includes: vec![],
            overwrite: false,
            owner: false,
            partial: false,
        };
        restore::run(&store, &options, &context.control)?
    };
    let restore_took = begun.elapsed();
    begin_phase(context, "comparing every byte");
    let compared = files::compare(library, target, &context.control)?;
    std::fs::remove_dir_all(target).map_err(Error::io("remove", target))?;
    Ok(Shown { backup, backup_took, restored_bytes: restored.bytes, restore_took, compared })
}

fn open(context: &Context, path: &Path, mode: Mode) -> Result<Store> {
    Ok(Store::open(&context.io, path, &OpenOptions::new(mode, context.memory_bytes))?.store)
}

/// Several verbs share one set of counters; each begins at nothing.
fn begin_phase(context: &Context, phase: &'static str) {
    let p = &context.control.progress;
    p.totals_known.store(false, Ordering::Relaxed);
    for counter in [&p.files_done, &p.files_total, &p.bytes_done, &p.bytes_total, &p.bytes_new] {
        counter.store(0, Ordering::Relaxed);
    }
    p.set_phase(phase);
}

fn generation(context: &Context, shown: &Shown) -> Result<()> {
    if context.json {
        return Ok(());
    }
    let c = &shown.backup.counts;
    let with_rate = |bytes: u64, took: Duration| {
        let rate = render::rate(bytes, took).map(|r| format!(", {r}")).unwrap_or_default();
        format!("{} in {}{rate}", render::size(bytes), render::duration(took))
    };
    let compared = match shown.compared.differences.len() {
        0 => format!(
            "{}, {}: all equal",
            render::counted(shown.compared.files, "file"),
            render::size(shown.compared.bytes)
        ),
        n if n < files::DIFFERENCES_MAX => format!("{} DIFFERENT", render::counted(n as u64, "path")),
        n => format!("{n} paths and more DIFFERENT"),
    };
    let said = [
        ("backed up", with_rate(c.bytes, shown.backup_took)),
        ("new", format!("{}, {}", render::size(c.data_added), render::counted(shown.backup.chunks_new, "chunk"))),
        (
            "stored",
            format!(
                "{}: {} of the library",
                render::size(c.data_added_packed),
                render::percent(c.data_added_packed, c.bytes)
            ),
        ),
        ("restored", with_rate(shown.restored_bytes, shown.restore_took)),
        ("compared", compared),
    ];
    table::pairs(said).into_iter().try_for_each(|line| context.out.line(line))?;
    for (path, how) in &shown.compared.differences {
        context.out.line(format!("  {how}: {}", render::name(path.as_os_str().as_bytes())))?;
    }
    Ok(())
}

fn verdict(context: &Context, made: &Generation, one: &Shown, two: &Shown, took: Duration) -> Result<Exit> {
    let both = [one, two];
    let equal = both.iter().all(|s| s.compared.differences.is_empty());
    let unreadable: u64 = both.iter().map(|s| s.backup.unreadable).sum();
    let logical: u64 = both.iter().map(|s| s.backup.counts.bytes).sum();
    let stored: u64 = both.iter().map(|s| s.backup.counts.data_added_packed).sum();
    let exit = if equal && unreadable == 0 { Exit::Done } else { Exit::Failed };
    if context.json {
        context.out.document(&json!({
            "message_type": "summary",
            "equal": equal,
            "generations": both.map(document),
            "files_retagged": made.retagged,
            "total_bytes_processed": logical,
            "data_added_packed": stored,
            "errors": unreadable,
            "total_duration": took.as_secs_f64(),
        }))?;
        return Ok(exit);
    }
    context.out.line("")?;
    context.out.line(format!(
        "together: {} of files kept in {}, {}",
        render::size(logical),
        render::size(stored),
        render::percent(stored, logical)
    ))?;
    if unreadable > 0 {
        context.out.line(format!("{} could not be read: named above", render::counted(unreadable, "file")))?;
    }
    let took = render::duration(took);
    context.out.line(if equal {
        format!("every byte came back as it was; the whole demo took {took}")
    } else {
        format!("NOT every byte came back as it was; the whole demo took {took}")
    })?;
    Ok(exit)
}

fn document(shown: &Shown) -> Value {
    let c = &shown.backup.counts;
    let differences = shown.compared.differences.iter().map(|(path, how)| {
        let mut d = json!({"reason": how});
        json::put_system_path(&mut d, "path", path);
        d
    });
    json!({
        "snapshot_id": shown.backup.snapshot.map(|id| id.to_string()),
        "total_files_processed": c.files,
        "total_bytes_processed": c.bytes,
        "data_added": c.data_added,
        "data_added_packed": c.data_added_packed,
        "backup_seconds": shown.backup_took.as_secs_f64(),
        "bytes_restored": shown.restored_bytes,
        "restore_seconds": shown.restore_took.as_secs_f64(),
        "files_compared": shown.compared.files,
        "bytes_compared": shown.compared.bytes,
        "differences": differences.collect::<Vec<_>>(),
    })
}
