//! `export`: a snapshot as a tar archive on stdout.

use super::args;
use super::context::Context;
use super::exit::Exit;
use super::out::Raw;
use crate::error::{Error, Result};
use crate::ops::export;
use std::ffi::OsString;

/// Write a snapshot, or a part of it, to stdout as a tar archive
///
/// The archive is a POSIX one (pax): names of any length, times with nanoseconds, modes, owners, symlinks, hard links and
/// extended attributes. Paths are relative to PATH. Holes are written as zeros. Every byte is proven before it is written;
/// where that fails the archive ends, since it could not say otherwise that a file is not whole.
///
/// Exit status: 0 written whole; 1 no such snapshot or path, or failed; 2 wrong usage; 3 written whole, but some attributes
/// are not in it; 4 damage that cannot be repaired, the archive ends early; 10 there is no store; 130 stopped by a signal.
#[derive(clap::Args, Debug)]
#[command(after_long_help = EXAMPLES)]
pub struct ExportArgs {
    /// `latest`, a name, or the beginning of an id
    #[arg(value_name = "SNAPSHOT[:PATH]")]
    snapshot: OsString,

    /// Export only what lies below this folder, or this file
    path: Option<OsString>,
}

const EXAMPLES: &str = "\
Examples:
  onefold export latest:/media/library | tar -x -C /mnt/other
  onefold export latest | zstd > library.tar.zst";

impl ExportArgs {
    pub(super) fn run(self, context: &Context) -> Result<Exit> {
        if context.out.is_terminal() {
            return Err(Error::Argument {
                what: "an archive on a terminal".into(),
                why: "redirect it into a file or a program".into(),
            });
        }
        let store = context.open()?;
        let (info, path) = args::snapshot(&store, &self.snapshot, self.path.as_ref())?;
        let report = export::run(&store, &info, path.as_deref(), &mut Raw(&context.out), &context.control)?;
        Ok(if report.metadata_failures > 0 { Exit::Losses } else { Exit::Done })
    }
}
