//! `disk parity`: how many disks may be lost.

use crate::cli::context::Context;
use crate::cli::exit::Exit;
use crate::cli::render;
use crate::error::Result;
use crate::ops::shelf;
use serde_json::json;

/// Set how many disks may be lost at once
///
/// New packs get so many parity packs a group from then on. Old ones keep what they have until `onefold rebalance` gives them
/// new groups.
///
/// Exit status: 0 it is set; 1 there are too few disks, or failed; 2 wrong usage; 10 there is no store; 11 another process
/// writes to it.
#[derive(clap::Args, Debug)]
#[command(after_long_help = EXAMPLES)]
pub(super) struct ParityArgs {
    /// Disks that may be lost, 0 to 4
    #[arg(value_name = "M")]
    parity: usize,

    /// Packs of data in a group at most
    #[arg(long, value_name = "K")]
    group: Option<usize>,
}

const EXAMPLES: &str = "\
Examples:
  onefold disk parity 2
  onefold disk parity 1 --group 4";

impl ParityArgs {
    pub(super) fn run(self, context: &Context) -> Result<Exit> {
        let store = context.open_to_write("disk parity")?;
        let shape = shelf::set_parity(&store, self.parity, self.group)?;
        let redundancy = store.redundancy(|_, _| {});
        let short = redundancy.degraded + redundancy.at_risk + redundancy.lost;
        if context.json {
            context.out.document(&json!({
                "message_type": "parity",
                "parity": shape.parity,
                "group": shape.width,
                "packs_short": short,
            }))?;
            return Ok(Exit::Done);
        }
        context.out.line(match shape.parity {
            0 => "new packs get no parity".to_owned(),
            m => format!("new packs come in groups of {} with {m} of parity", shape.width),
        })?;
        if short > 0 {
            let n = render::counted(short, "pack");
            context.out.line(format!("{n} have less: `onefold rebalance` gives them new groups"))?;
        }
        Ok(Exit::Done)
    }
}
