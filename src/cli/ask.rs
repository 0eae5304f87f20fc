//! Asking before something is destroyed.

use super::context::Context;
use crate::error::{Error, Result};
use std::io::{BufRead, IsTerminal};

/// Asks on the terminal, whether to go on; `yes` answers for whoever is not there.
///
/// # Errors
/// [`Error::Argument`] where nobody can be asked; [`Error::Io`].
pub(super) fn confirm(context: &Context, yes: bool, question: &str) -> Result<bool> {
    if yes {
        return Ok(true);
    }
    let stdin = std::io::stdin();
    if context.json || !stdin.is_terminal() || !std::io::stderr().is_terminal() {
        return Err(Error::Argument {
            what: "nobody can be asked here".into(),
            why: "add --yes to do it, or --dry-run to see the plan only".into(),
        });
    }
    context.out.flush()?; // the plan is read before the question
    context.screen.say(&format!("{question} [y/N]"));
    let mut answer = String::new();
    stdin.lock().read_line(&mut answer).map_err(Error::io("read from", "standard input"))?;
    Ok(matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes"))
}
