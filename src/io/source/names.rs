//! Names of users and groups, as this system knows them.
//!
//! Owns the door to the system's user directory (files, LDAP, whatever it asks) and a bounded memory of
//! its answers, which are taken to hold for one run.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Mutex, PoisonError};

/// Names that [`Names`] keeps of each kind before it forgets all and begins anew.
const NAMES_MAX: usize = 1 << 16;

/// Names of users and groups, each asked for once.
#[derive(Debug, Default)]
pub struct Names {
    users: Mutex<HashMap<u32, Option<String>>>,
    groups: Mutex<HashMap<u32, Option<String>>>,
    user_ids: Mutex<HashMap<String, Option<u32>>>,
    group_ids: Mutex<HashMap<String, Option<u32>>>,
}

impl Names {
    /// Makes an empty cache.
    pub fn new() -> Names {
        Names::default()
    }

    /// Returns a user's name; `None` where the system knows none, or none in UTF-8.
    pub fn user_name(&self, uid: u32) -> Option<String> {
        cached(&self.users, uid, || uzers::get_user_by_uid(uid).and_then(|u| u.name().to_str().map(String::from)))
    }

    /// Returns a group's name; `None` where the system knows none, or none in UTF-8.
    pub fn group_name(&self, gid: u32) -> Option<String> {
        cached(&self.groups, gid, || uzers::get_group_by_gid(gid).and_then(|g| g.name().to_str().map(String::from)))
    }

    /// Returns the user's id on this system.
    pub fn user_id(&self, name: &str) -> Option<u32> {
        let ask = || if name.contains('\0') { None } else { uzers::get_user_by_name(name).map(|u| u.uid()) };
        cached(&self.user_ids, name.to_owned(), ask)
    }

    /// Returns the group's id on this system.
    pub fn group_id(&self, name: &str) -> Option<u32> {
        let ask = || if name.contains('\0') { None } else { uzers::get_group_by_name(name).map(|g| g.gid()) };
        cached(&self.group_ids, name.to_owned(), ask)
    }
}

/// Answers from `known`, or asks and remembers. The lock is not held while asking: a directory service
/// may take seconds, and to ask twice is harmless.
fn cached<K: Hash + Eq, V: Clone>(known: &Mutex<HashMap<K, V>>, key: K, ask: impl FnOnce() -> V) -> V {
    // A thread that panicked between these lines left the map as it was: each insert stands alone.
    if let Some(value) = known.lock().unwrap_or_else(PoisonError::into_inner).get(&key) {
        return value.clone();
    }
    let value = ask();
    let mut known = known.lock().unwrap_or_else(PoisonError::into_inner);
    if known.len() >= NAMES_MAX {
        known.clear();
    }
    known.insert(key, value.clone());
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_is_called_root_both_ways_and_unknown_ids_have_no_name() {
        let names = Names::new();
        for _ in 0..2 {
            assert_eq!(names.user_name(0).as_deref(), Some("root"));
            assert_eq!(names.user_id("root"), Some(0));
            assert_eq!(names.group_id("root"), names.group_name(0).and(Some(0)));
            assert_eq!(names.user_name(4_123_456_789), None);
            assert_eq!(names.user_id("no such user \0 at all"), None);
        }
        fn shared<T: Send + Sync>() {}
        shared::<Names>();
    }

    #[test]
    fn a_cache_of_names_stays_bounded() {
        let known = Mutex::new(HashMap::new());
        for key in 0..NAMES_MAX * 2 + 5 {
            assert_eq!(cached(&known, key, || key + 1), key + 1);
        }
        assert!(known.lock().unwrap().len() <= NAMES_MAX);
        assert_eq!(cached(&known, NAMES_MAX * 2 + 4, || 0), NAMES_MAX * 2 + 5, "asked again for what is known");
    }
}
