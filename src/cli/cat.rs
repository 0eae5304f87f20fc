//! `cat`: the bytes of one file.

use super::args;
use super::context::Context;
use super::exit::Exit;
use super::heal;
use super::out::Raw;
use crate::error::{Error, Result};
use crate::ops::cat;
use std::ffi::OsString;

/// Print a file of a snapshot, or a range of it
///
/// Writes the file's bytes to stdout as they are. Each chunk is proven before it is printed; where that fails, the output
/// ends before it. A range is found without reading what lies before it.
///
/// Exit status: 0 printed whole; 1 no such snapshot or file, or failed; 2 wrong usage; 3 printed whole, and damage that was met
/// was repaired; 4 damage that cannot be repaired,
/// the output ends early; 10 there is no store; 130 stopped by a signal.
#[derive(clap::Args, Debug)]
#[command(after_long_help = EXAMPLES)]
pub struct CatArgs {
    /// `latest`, a name, or the beginning of an id
    #[arg(value_name = "SNAPSHOT[:PATH]")]
    snapshot: OsString,

    /// The file
    path: Option<OsString>,

    /// First and last byte to print, both inclusive
    #[arg(long, value_name = "FIRST-LAST", value_parser = args::range)]
    range: Option<(u64, u64)>,
}

const EXAMPLES: &str = "\
Examples:
  onefold cat latest /media/library/film.mkv | mpv -
  onefold cat latest /media/library/film.mkv --range 0-1023 | xxd";

impl CatArgs {
    pub(super) fn run(self, context: &Context) -> Result<Exit> {
        let store = context.open()?;
        let (info, path) = args::snapshot(&store, &self.snapshot, self.path.as_ref())?;
        let path = path.ok_or_else(|| Error::Argument {
            what: "no file is named".into(),
            why: "give SNAPSHOT PATH or SNAPSHOT:PATH".into(),
        })?;
        cat::run(&store, &info, &path, self.range, &mut Raw(&context.out), &context.control)?;
        Ok(if heal::harmed(context, store)? { Exit::Losses } else { Exit::Done })
    }
}
