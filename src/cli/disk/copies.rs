//! `disk copies`: how many times metadata is kept.

use crate::cli::context::Context;
use crate::cli::exit::Exit;
use crate::cli::render;
use crate::error::Result;
use crate::format::footer::PackKind;
use crate::ops::shelf;
use serde_json::json;

/// Set how many times metadata is kept whole
///
/// Metadata are folders and the lists of what files are made of: little, and much is lost with it. With N copies each of its packs
/// stands whole on N disks more than parity needs, so N - 1 disks more may be lost before it is. New packs are kept so from then
/// on; old ones when `onefold rebalance` gives them new groups.
///
/// Exit status: 0 it is set; 1 there are too few disks, or failed; 2 wrong usage; 10 there is no store; 11 another process
/// writes to it.
#[derive(clap::Args, Debug)]
#[command(after_long_help = EXAMPLES)]
pub(super) struct CopiesArgs {
    /// Copies, 1 to 4
    #[arg(value_name = "N")]
    copies: usize,
}

const EXAMPLES: &str = "\
Examples:
  onefold disk copies 2 && onefold rebalance";

impl CopiesArgs {
    pub(super) fn run(self, context: &Context) -> Result<Exit> {
        let store = context.open_to_write("disk copies")?;
        shelf::set_copies(&store, self.copies)?;
        let may_be_lost = store.with_state(|s| s.wanted(PackKind::Metadata).parity);
        let redundancy = store.redundancy(|_, _| {});
        let short = redundancy.degraded + redundancy.at_risk + redundancy.lost;
        if context.json {
            context.out.document(&json!({
                "message_type": "copies",
                "copies": self.copies,
                "metadata_disks_may_be_lost": may_be_lost,
                "packs_short": short,
            }))?;
            return Ok(Exit::Done);
        }
        let disks = render::counted(may_be_lost as u64, "disk");
        context.out.line(match self.copies {
            1 => "new metadata has no copies beyond parity".to_owned(),
            _ => format!("new metadata is kept so that any {disks} may be lost before it is"),
        })?;
        if short > 0 {
            let n = render::counted(short, "pack");
            context.out.line(format!("{n} have less: `onefold rebalance` gives them new groups"))?;
        }
        Ok(Exit::Done)
    }
}
