//! Files and folders put into few groups: the rows of the matrix.
//!
//! Begins with all files as one group and splits the one within which most is shared, into its folders and files, while
//! there is room. What a folder holds beyond the room is one group of others.

use crate::cli::render;
use crate::ops::map::Means;
use crate::ops::map::overview::Overview;
use std::collections::BTreeMap;

/// Some leaves.
#[derive(Clone, Debug, Default)]
pub struct Group {
    pub label: String,
    pub files: u64,
    pub bytes: u64,
    pub leaves: Vec<u32>,
    /// Names of their paths that are equal.
    depth: usize,
    /// The rest of a folder: not split further.
    rest: bool,
}

fn names(overview: &Overview, leaf: u32) -> Vec<&[u8]> {
    overview.leaves.get(leaf as usize).map(|l| crate::catalog::tree::names(&l.path)).unwrap_or_default()
}

impl Group {
    fn of(overview: &Overview, leaves: Vec<u32>, rest_of: Option<&str>) -> Group {
        let (mut files, mut bytes) = (0, 0u64);
        let first = leaves.first().map(|l| names(overview, *l)).unwrap_or_default();
        let mut depth = first.len();
        for leaf in &leaves {
            if let Some(l) = overview.leaves.get(*leaf as usize) {
                (files, bytes) = (files + l.files, bytes.saturating_add(l.bytes));
            }
            let own = names(overview, *leaf);
            depth = first.iter().zip(&own).take(depth).take_while(|(a, b)| a == b).count();
        }
        let path: Vec<u8> = first.iter().take(depth).flat_map(|n| [b"/", *n].concat()).collect();
        let label = match rest_of {
            Some(folder) => format!("others in {folder}"),
            None if path.is_empty() => "/".to_owned(),
            None => render::name(&path),
        };
        Group { label, files, bytes, leaves, depth, rest: rest_of.is_some() }
    }

    fn children(&self, overview: &Overview) -> Vec<Vec<u32>> {
        let mut by_name: BTreeMap<Vec<u8>, Vec<u32>> = BTreeMap::new();
        for leaf in &self.leaves {
            let name = names(overview, *leaf).get(self.depth).map(|n| n.to_vec()).unwrap_or_default();
            by_name.entry(name).or_default().push(*leaf);
        }
        by_name.into_values().collect()
    }
}

/// The folder that all labels begin with, a slash at its end.
pub fn common(groups: &[Group]) -> String {
    let mut labels = groups.iter().filter(|g| !g.rest).map(|g| g.label.as_str());
    let Some(first) = labels.next() else { return String::new() };
    let mut end = first.rfind('/').map_or(0, |at| at + 1);
    for label in labels {
        while !label.starts_with(first.get(..end).unwrap_or_default()) {
            let before = first.get(..end.saturating_sub(1)).unwrap_or_default();
            end = before.rfind('/').map_or(0, |at| at + 1);
        }
    }
    first.get(..end).unwrap_or_default().to_owned()
}

/// Bytes that pairs of groups share, by means; the lesser number first.
pub fn between(overview: &Overview, groups: &[Group]) -> BTreeMap<(usize, usize), BTreeMap<Means, u64>> {
    let mut of_leaf = vec![usize::MAX; overview.leaves.len()];
    for (i, group) in groups.iter().enumerate() {
        for leaf in &group.leaves {
            if let Some(slot) = of_leaf.get_mut(*leaf as usize) {
                *slot = i;
            }
        }
    }
    let mut out: BTreeMap<(usize, usize), BTreeMap<Means, u64>> = BTreeMap::new();
    for ((a, b), pair) in &overview.pairs {
        let group = |leaf: u32| of_leaf.get(leaf as usize).copied().filter(|g| *g != usize::MAX);
        let (Some(a), Some(b)) = (group(*a), group(*b)) else { continue };
        let sums = out.entry((a.min(b), a.max(b))).or_default();
        for (means, n) in &pair.bytes {
            *sums.entry(*means).or_default() += n;
        }
    }
    out
}

/// Puts the leaves into at most so many groups. Those that share nothing are one group at most, at the end.
pub fn of(overview: &Overview, most: usize) -> Vec<Group> {
    // Bytes that each leaf has a part in.
    let mut involved = vec![0u64; overview.leaves.len()];
    for ((a, b), pair) in &overview.pairs {
        let n: u64 = pair.bytes.values().sum();
        for leaf in [a, b] {
            if let Some(slot) = involved.get_mut(*leaf as usize) {
                *slot = slot.saturating_add(n);
            }
        }
    }
    let weight = |leaves: &[u32]| -> u64 {
        leaves.iter().map(|l| involved.get(*l as usize).copied().unwrap_or(0)).fold(0, u64::saturating_add)
    };
    let related: Vec<u32> = (0..).zip(&involved).filter(|(_, n)| **n > 0).map(|(i, _)| i).collect();
    if related.is_empty() {
        return Vec::new();
    }
    let mut groups = vec![Group::of(overview, related, None)];
    // Each round splits a group, and there are fewer groups than `most`.
    loop {
        let shared = between(overview, &groups);
        let within = |i: usize| shared.get(&(i, i)).map_or(0, |m| m.values().sum::<u64>());
        let may = |i: &usize| groups.get(*i).is_some_and(|g| !g.rest && g.leaves.len() > 1);
        let Some(at) = (0..groups.len()).filter(may).max_by_key(|i| (within(*i), std::cmp::Reverse(*i))) else { break };
        let Some(group) = groups.get(at) else { break };
        let mut children = group.children(overview);
        let room = most.saturating_sub(groups.len()) + 1;
        if room < 2 || children.len() < 2 {
            break;
        }
        let folder = group.label.clone();
        let mut rest = Vec::new();
        if children.len() > room {
            children.sort_by_key(|c| std::cmp::Reverse(weight(c)));
            rest = children.split_off(room - 1).into_iter().flatten().collect();
        }
        let mut new: Vec<Group> = children.into_iter().map(|c| Group::of(overview, c, None)).collect();
        new.sort_by(|a, b| a.leaves.first().cmp(&b.leaves.first()));
        if !rest.is_empty() {
            new.push(Group::of(overview, rest, Some(&folder)));
        }
        groups.splice(at..=at, new);
    }
    groups
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::map::overview::{Leaf, Pair};

    fn overview(paths: &[String], pairs: &[(u32, u32, u64)]) -> Overview {
        let leaf = |p: &String| Leaf { path: p.clone().into_bytes(), files: 1, bytes: 10, ..Default::default() };
        let pair = |(a, b, n): &(u32, u32, u64)| ((*a, *b), Pair { bytes: [(Means::Chunk, *n)].into() });
        Overview {
            leaves: paths.iter().map(leaf).collect(),
            pairs: pairs.iter().map(pair).collect(),
            ..Default::default()
        }
    }

    #[test]
    fn folders_within_which_most_is_shared_are_split_first() {
        let mut paths: Vec<String> = (0..4).map(|i| format!("/lib/a/{i}")).collect();
        paths.extend((0..4).map(|i| format!("/lib/b/{i}")));
        paths.push("/lib/c/alone".into());
        let o = overview(&paths, &[(0, 1, 100), (2, 3, 90), (4, 5, 1), (0, 4, 5)]);
        let labels: Vec<String> = of(&o, 5).into_iter().map(|g| g.label).collect();
        assert_eq!(labels, ["/lib/a/0", "/lib/a/1", "/lib/a/2", "/lib/a/3", "/lib/b"]);
        let groups = of(&o, 5);
        assert_eq!(common(&groups), "/lib/");
        let b = between(&o, &groups);
        assert_eq!(b[&(0, 1)][&Means::Chunk], 100);
        assert_eq!((b[&(0, 4)][&Means::Chunk], b[&(4, 4)][&Means::Chunk]), (5, 1));
    }

    #[test]
    fn a_flat_folder_of_many_keeps_those_that_share_most_and_a_rest() {
        let paths: Vec<String> = (0..100).map(|i| format!("/lib/{i:03}")).collect();
        let pairs: Vec<(u32, u32, u64)> = (0..50).map(|i| (i, 99 - i, u64::from(i) + 1)).collect();
        let o = overview(&paths, &pairs);
        let groups = of(&o, 10);
        assert_eq!(groups.len(), 10);
        assert_eq!(groups.iter().map(|g| g.leaves.len()).sum::<usize>(), 100);
        assert!(groups.iter().any(|g| g.label == "/lib/049") && groups[9].label == "others in /lib", "{groups:?}");
        let total: u64 = between(&o, &groups).values().flat_map(|m| m.values()).sum();
        assert_eq!(total, pairs.iter().map(|p| p.2).sum::<u64>(), "nothing is lost");
        assert!(of(&overview(&paths, &[]), 10).is_empty());
    }
}
