//! `completions`: what a shell needs to complete our commands.

use super::context::Context;
use super::exit::Exit;
use crate::error::Result;
use clap::CommandFactory;
use clap_complete::Shell;

/// Print completions for a shell
///
/// Writes a script to stdout that the shell reads when it starts. Touches no store.
///
/// Exit status: 0 printed; 1 could not be written; 2 wrong usage.
#[derive(clap::Args, Debug)]
#[command(after_long_help = EXAMPLES)]
pub struct CompletionsArgs {
    /// The shell
    shell: Shell,
}

const EXAMPLES: &str = "\
Examples:
  onefold completions bash > ~/.local/share/bash-completion/completions/onefold
  onefold completions zsh > ~/.zfunc/_onefold
  onefold completions fish > ~/.config/fish/completions/onefold.fish";

impl CompletionsArgs {
    pub(super) fn run(self, context: &Context) -> Result<Exit> {
        let mut script = Vec::new(); // clap_complete panics where a write fails
        clap_complete::generate(self.shell, &mut super::Cli::command(), "onefold", &mut script);
        context.out.stream(&script)?;
        Ok(Exit::Done)
    }
}
