//! What is said of a snapshot after it was made: tags, name, pin; and bringing a forgotten one back.
//!
//! Each is one log entry. The snapshot's id does not change: it is the hash of the record as it was added.

use super::snapshots::{self, SnapshotInfo};
use super::{Control, Notice};
use crate::error::{Error, Result};
use crate::format::event::{Event, Tagged};
use crate::store::Store;

/// How tags change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// These and no others.
    Set(Vec<String>),
    /// First away, then to it.
    Edit { add: Vec<String>, remove: Vec<String> },
}

impl Change {
    fn applied(&self, tags: &[String]) -> Vec<String> {
        let mut out: Vec<String> = match self {
            Change::Set(tags) => tags.clone(),
            Change::Edit { add, remove } => tags.iter().filter(|t| !remove.contains(t)).chain(add).cloned().collect(),
        };
        let mut seen = std::collections::BTreeSet::new();
        out.retain(|t| seen.insert(t.clone()));
        out
    }
}

fn append(store: &Store, events: Vec<Event>, control: &Control) -> Result<()> {
    if events.is_empty() {
        return Ok(());
    }
    let notes = store.append_indexed(events)?;
    notes.into_iter().for_each(|note| control.notice(Notice::Note(note)));
    Ok(())
}

/// Changes tags, and returns how many snapshots have others now.
///
/// # Errors
/// Those of the log.
pub fn tags(store: &Store, list: &[SnapshotInfo], change: &Change, control: &Control) -> Result<u64> {
    let mut events = Vec::new();
    for info in list {
        let tags = change.applied(&info.snapshot.tags);
        if tags != info.snapshot.tags {
            let name = info.snapshot.name.clone();
            events.push(Event::SnapshotTagged { id: info.id, tagged: Tagged { name, tags } });
        }
    }
    let changed = events.len() as u64;
    append(store, events, control)?;
    Ok(changed)
}

/// Gives a snapshot a name, or takes it away.
///
/// # Errors
/// [`Error::Argument`] for a name that another snapshot has; those of the log.
pub fn rename(store: &Store, info: &SnapshotInfo, name: Option<String>, control: &Control) -> Result<()> {
    if let Some(name) = &name
        && snapshots::list(store, &[]).iter().any(|s| s.id != info.id && s.snapshot.name.as_ref() == Some(name))
    {
        let why = "another snapshot is called so".to_owned();
        return Err(Error::Argument { what: format!("the name {name:?}"), why });
    }
    if info.snapshot.name == name {
        return Ok(());
    }
    let tags = info.snapshot.tags.clone();
    append(store, vec![Event::SnapshotTagged { id: info.id, tagged: Tagged { name, tags } }], control)
}

/// Pins snapshots, or unpins them; returns how many that changed.
///
/// # Errors
/// Those of the log.
pub fn pin(store: &Store, list: &[SnapshotInfo], pinned: bool, control: &Control) -> Result<u64> {
    let others = list.iter().filter(|s| s.pinned != pinned);
    let events: Vec<Event> = others.map(|s| Event::SnapshotPinned { id: s.id, pinned }).collect();
    let changed = events.len() as u64;
    append(store, events, control)?;
    Ok(changed)
}

/// Brings a forgotten snapshot back, by its name or the beginning of its id. All its chunks are there: what gc gave up
/// is not among the forgotten ones any more.
///
/// # Errors
/// [`Error::NoForgotten`] where none is called so; [`Error::AmbiguousSnapshot`]; those of the log.
pub fn undelete(store: &Store, name: &str, who: &str, control: &Control) -> Result<SnapshotInfo> {
    let mut all = snapshots::forgotten(store);
    store.with_state(|s| all.retain(|info| s.now(&info.id) == info.id)); // the others have a successor, which is brought back
    let found = match snapshots::one_of(all.clone(), name) {
        Err(Error::NoSnapshot { .. }) => snapshots::formerly(store, all, name),
        found => found,
    };
    let mut info = found.map_err(|e| match e {
        Error::NoSnapshot { name } => Error::NoForgotten { name },
        e => e,
    })?;
    append(store, vec![Event::SnapshotUndeleted { id: info.id, who: who.to_owned() }], control)?;
    info.forgotten = None;
    Ok(info)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_set_added_and_removed_once_each() {
        let tags = |list: &[&str]| list.iter().map(|t| (*t).to_owned()).collect::<Vec<_>>();
        let edit = Change::Edit { add: tags(&["c", "a", "c"]), remove: tags(&["b"]) };
        assert_eq!(edit.applied(&tags(&["a", "b"])), tags(&["a", "c"]));
        assert_eq!(Change::Set(tags(&["x", "x"])).applied(&tags(&["a"])), tags(&["x"]));
        let swap = Change::Edit { add: tags(&["a"]), remove: tags(&["a"]) };
        assert_eq!(swap.applied(&tags(&["a", "b"])), tags(&["b", "a"]), "first away, then to it");
    }
}
