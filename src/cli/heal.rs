//! Writing back what a command had to rebuild on its way.

use super::context::Context;
use super::render;
use crate::error::Result;
use crate::format::PackId;
use crate::ops::repair;
use crate::store::Store;

/// Mends packs whose own bytes did not do, if the writer's lock can be had, and tells of it. Returns whether there
/// were any. The store that met them is given up first: a writer opens its own.
pub(super) fn harmed(context: &Context, store: Store) -> Result<bool> {
    let packs = store.take_harmed();
    drop(store);
    if packs.is_empty() {
        return Ok(false);
    }
    write_back(context, &packs);
    Ok(true)
}

fn write_back(context: &Context, packs: &[PackId]) {
    let n = render::counted(packs.len() as u64, "damaged pack");
    let mended = context.open_to_write("repair").and_then(|store| repair::mend(&store, packs, &context.control));
    match mended {
        Ok(all) => {
            let failed = all.iter().filter(|m| m.failed.is_some()).count() as u64;
            if failed > 0 {
                context.warn(format!("{n} met: {failed} could not be written anew, `onefold scrub` tells more"));
            } else {
                context.warn(format!("{n} met and written anew from what stands in for it"));
            }
        }
        Err(e) => context
            .warn(format!("{n} met and read around; it could not be written anew now ({e}): run `onefold scrub`")),
    }
}
