//! The shelf: disks come, go, are emptied and replaced; groups are made anew.
//!
//! Each verb has a plan that can be shown and refused before anything moves. A move is a repair onto another
//! disk ([`super::repair`]), so it does not matter whether the disk that a pack leaves still gives it. What was
//! moved is logged as it goes: a verb that is stopped is started again and does the rest.
//!
//! # Invariants
//!
//! 1. A pack's old file, and a group's old parity, are removed only when the log names the new ones.
//! 2. While groups are made anew the old ones live: nothing is less protected meanwhile than it was.
//! 3. Two members of a group come to lie on one disk only where that group is made anew in the same entry.

pub mod add;
#[cfg(test)]
mod copies_tests;
pub mod empty;
pub mod even;
pub mod locate;
pub mod moves;
pub mod plan;
pub mod rebalance;
pub mod regroup;
#[cfg(test)]
mod tests;

use crate::error::{Error, Result};
use crate::format::DiskId;
use crate::format::event::Event;
use crate::pool::{change_known, path_of};
use crate::store::Store;
use std::path::{Path, PathBuf};

pub use add::{AddOptions, Added};
pub use plan::{Plan, Purpose};

/// A disk of the store, as it was named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    pub id: DiskId,
    pub label: String,
    /// Where it is, or was last; empty where that is not known.
    pub path: PathBuf,
    pub is_here: bool,
}

/// Digits of an id that name a disk at least.
const ID_DIGITS_MIN: usize = 4;

/// Finds the disk that a path, a label or the beginning of an id stands for, whether it is here or not. `path` is
/// what was named as an absolute path.
///
/// # Errors
/// [`Error::Argument`] for none, and for more than one.
pub fn find(store: &Store, named: &str, path: &Path) -> Result<Named> {
    let mut all: Vec<Named> = Vec::new();
    let retired = |id: &DiskId| store.with_state(|s| s.disks.get(id).is_some_and(|d| d.retired));
    for d in store.pool().disks() {
        all.push(Named { id: d.id, label: d.label.clone(), path: d.path.clone(), is_here: true });
    }
    for d in store.missing_disks() {
        all.push(Named { id: d.disk, label: d.label.clone(), path: path_of(&d.path), is_here: false });
    }
    for (id, d) in store.with_state(|s| s.disks.clone()) {
        if all.iter().all(|n| n.id != id) {
            all.push(Named { id, label: d.label, path: PathBuf::new(), is_here: false });
        }
    }
    all.retain(|d| !retired(&d.id));
    let is_id = named.len() >= ID_DIGITS_MIN && named.bytes().all(|b| b.is_ascii_hexdigit());
    let ways: [&dyn Fn(&Named) -> bool; 3] =
        [&|d| !d.path.as_os_str().is_empty() && d.path == path, &|d| d.label == named, &|d| {
            is_id && d.id.to_string().starts_with(&named.to_ascii_lowercase())
        }];
    for way in ways {
        let mut found = all.iter().filter(|d| way(d));
        match (found.next(), found.next()) {
            (Some(one), None) => return Ok(one.clone()),
            (Some(_), Some(_)) => {
                let why = "more than one disk of the store is meant by it; give more digits of its id".to_owned();
                return Err(Error::Argument { what: format!("the disk {named:?}"), why });
            }
            _ => {}
        }
    }
    let why = "no disk of the store has this path, label or id; `onefold disk list` names them".to_owned();
    Err(Error::Argument { what: format!("the disk {named:?}"), why })
}

/// Takes a disk out of the store for good: nothing of it counts any more. Packs that are lost with it stay in the log, so that
/// everybody knows of them, until a gc finds that nothing needs them.
///
/// # Errors
/// [`Error::Argument`] while packs lie on it, unless it is `lost`; whatever keeps the log from being written.
pub fn retire(store: &Store, disk: &Named, lost: bool) -> Result<()> {
    let left = plan::standing_on(store, &disk.id).len();
    if left > 0 && !lost {
        let why = format!(
            "{left} packs lie on it; `onefold disk drain` moves them to the others, or, if it is gone for good, \
             `onefold disk remove --lost` rebuilds them there"
        );
        return Err(Error::Argument { what: format!("the disk {:?}", disk.label), why });
    }
    if store.pool().disks().all(|d| d.id == disk.id) {
        let why = "it is the last one that is here".to_owned();
        return Err(Error::Argument { what: format!("the disk {:?}", disk.label), why });
    }
    // What it knows of where packs went must be known elsewhere before it goes: on the disks alone, should STORE be lost.
    if store.pool().disks().all(|d| d.id == disk.id || d.is_suspect()) {
        let why = "no other disk takes the log now, so nobody but this one would know where its packs went; `onefold disk list` \
                   tells which failed"
            .to_owned();
        return Err(Error::Argument { what: format!("the disk {:?}", disk.label), why });
    }
    store.append(|_| vec![Event::DiskRetired { disk: disk.id }])?;
    change_known(store.io(), store.path(), store.pool().known(), |known| known.disks.retain(|d| d.disk != disk.id))
}

/// Sets how many times metadata is kept whole, on disks of their own. New packs are; old ones when the store is rebalanced.
///
/// # Errors
/// [`Error::Argument`] for more than the disks allow.
pub fn set_copies(store: &Store, copies: usize) -> Result<()> {
    use crate::catalog::state::{COPIES_MAX, SETTING_COPIES};
    let disks = store.pool().disks().filter(|d| d.takes_data()).count();
    let bad = |why: String| Error::Argument { what: format!("copies {copies}"), why };
    if !(1..=COPIES_MAX).contains(&copies) {
        return Err(bad(format!("metadata is kept 1 to {COPIES_MAX} times")));
    }
    let needed = store.with_state(|s| s.parity()) + copies;
    if disks < needed {
        return Err(bad(format!(
            "{disks} disks take data; with the parity that is set there must be {needed} or more"
        )));
    }
    store.append(|_| vec![Event::Setting { key: SETTING_COPIES.into(), value: copies.to_string() }]).map(drop)
}

/// Sets how many disks may be lost at once. New packs get so much parity; old ones when the store is rebalanced.
///
/// # Errors
/// [`Error::Argument`] for more than the disks allow.
pub fn set_parity(store: &Store, parity: usize, group: Option<usize>) -> Result<crate::pool::Shape> {
    use crate::catalog::state::{GROUP_WIDTH_MAX, PARITY_MAX, SETTING_GROUP, SETTING_PARITY};
    let disks = store.pool().disks().filter(|d| d.takes_data()).count();
    let bad = |why: String| Error::Argument { what: format!("parity {parity}"), why };
    if parity > PARITY_MAX {
        return Err(bad(format!("a store can be made to lose at most {PARITY_MAX} disks at once")));
    }
    if disks <= parity {
        return Err(bad(format!("{disks} disks take data; to lose any {parity} there must be {} or more", parity + 1)));
    }
    let copies = store.with_state(|s| s.copies());
    if copies > 1 && disks < parity + copies {
        return Err(bad(format!("metadata is kept {copies} times: {disks} disks are too few for both")));
    }
    if store.with_state(|s| s.protects_shared().is_some()) && disks < parity + 2 {
        return Err(bad(format!(
            "what many files share is held so that one disk more may be lost: {disks} disks are too few; \
             `onefold compact --protect-shared 0` gives that up"
        )));
    }
    if group.is_some_and(|k| !(1..=GROUP_WIDTH_MAX).contains(&k)) {
        return Err(bad(format!("a group has 1 to {GROUP_WIDTH_MAX} packs of data")));
    }
    let setting = |key: &str, value: usize| Event::Setting { key: key.into(), value: value.to_string() };
    let mut events = vec![setting(SETTING_PARITY, parity)];
    events.extend(group.map(|k| setting(SETTING_GROUP, k)));
    store.append(|_| events)?;
    Ok(store.with_state(|s| store.pool().shape(s.parity(), s.group_width())))
}
