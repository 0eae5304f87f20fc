//! `man`: our help as manual pages.

use super::context::Context;
use super::exit::Exit;
use super::{args, json, render};
use crate::error::{Error, Result};
use clap::CommandFactory;
use serde_json::json;
use std::ffi::OsString;
use std::path::Path;

/// Print the manual page, or write the pages of all commands
///
/// Without --out the main page goes to stdout. With --out each command's page is written into that folder, which is made if
/// it is missing; pages of the same name are replaced. Touches no store.
///
/// Exit status: 0 printed or written; 1 could not be written; 2 wrong usage.
#[derive(clap::Args, Debug)]
#[command(after_long_help = EXAMPLES)]
pub struct ManArgs {
    /// Write `onefold.1`, `onefold-backup.1` and so on into this folder
    #[arg(long, value_name = "DIR")]
    out: Option<OsString>,
}

const EXAMPLES: &str = "\
Examples:
  onefold man | man -l -
  onefold man --out ~/.local/share/man/man1";

impl ManArgs {
    pub(super) fn run(self, context: &Context) -> Result<Exit> {
        let Some(dir) = &self.out else {
            context.out.stream(&page(super::Cli::command())?)?;
            return Ok(Exit::Done);
        };
        let dir = args::absolute(dir)?;
        std::fs::create_dir_all(&dir).map_err(Error::io("make", &dir))?;
        let mut command = super::Cli::command().disable_help_subcommand(true);
        command.build();
        let written = write(&command, &dir)?;
        if context.json {
            let mut d = json!({"message_type": "summary", "pages": written});
            json::put_system_path(&mut d, "path", &dir);
            context.out.document(&d)?;
        } else {
            let dir = render::name(dir.as_os_str().as_encoded_bytes());
            context.out.line(format!("{} written to {dir}", render::counted(written, "page")))?;
        }
        Ok(Exit::Done)
    }
}

fn page(command: clap::Command) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    clap_mangen::Man::new(command).render(&mut bytes).map_err(Error::io("make", "the manual page"))?;
    Ok(bytes)
}

/// Writes a command's page and those of its subcommands, and returns how many.
fn write(command: &clap::Command, dir: &Path) -> Result<u64> {
    let man = clap_mangen::Man::new(command.clone());
    man.generate_to(dir).map_err(Error::io("write", dir.join(man.get_filename())))?;
    command.get_subcommands().try_fold(1, |written, sub| Ok(written + write(sub, dir)?))
}
