//! Random lives of a shelf over disks in memory: backups, deaths, returns, rot, scrubs, replacements, drains. After each
//! act everything that was acknowledged comes back; with one disk too many gone just the files that `risk` named are lost.
//!
//! A life is played from a seed, which a failure prints; to play it again: [`live`] with that seed.

use super::add::{self, AddOptions};
use super::moves;
use super::plan::{self, Purpose};
use super::{find, rebalance, retire};
use crate::format::DiskId;
use crate::ops::Control;
use crate::ops::check::{self, CheckOptions, CheckReport};
use crate::ops::risk;
use crate::ops::scrub::{self, Found, Moment, ScrubOptions};
use crate::ops::testing::{Shelf, noise};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

struct Chance(u64);

impl Chance {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 33) as usize) % n
    }
}

/// One shelf and what befell it.
struct Life {
    shelf: Shelf,
    chance: Chance,
    parity: usize,
    /// Disks that are away: where they were, and where what stood on them is kept.
    away: BTreeMap<PathBuf, PathBuf>,
    /// Packs that rotted since they were last proven: no more than parity may hide in one group with the disks away.
    rotten: usize,
    next: u64,
    told: Vec<String>,
}

impl Life {
    fn new(seed: u64) -> Life {
        let mut chance = Chance(seed);
        let parity = 1 + chance.below(2);
        let disks = parity + 3 + chance.below(4);
        Life {
            shelf: Shelf::with_parity(disks, parity),
            chance,
            parity,
            away: BTreeMap::new(),
            rotten: 0,
            next: 0,
            told: vec![format!("{disks} disks, parity {parity}")],
        }
    }

    fn here(&self) -> Vec<(DiskId, PathBuf)> {
        self.shelf.read().pool().disks().map(|d| (d.id, d.path.clone())).collect()
    }

    /// How many more disks, or packs, may be harmed.
    fn spare(&self) -> usize {
        let store = self.shelf.read();
        let parity = self.parity;
        store
            .with_state(|s| {
                let of = |g| crate::store::tolerance(s, &s.members(g), g.data(), &|d| store.is_sound(d));
                s.groups().map(|g| of(g).unwrap_or(0)).min().unwrap_or(parity)
            })
            .saturating_sub(self.rotten)
    }

    fn back_up(&mut self) {
        self.next += 1;
        // half of it is what the backup before had
        let bytes = [noise(self.next / 2, 400_000), noise(1000 + self.next, 300_000 + self.next as usize)].concat();
        self.shelf.stream(&format!("s{}", self.next), &bytes);
        self.told.push(format!("backup {}", self.next));
    }

    fn lose(&mut self) {
        let here = self.here();
        if self.spare() == 0 || here.len() <= self.parity + 1 {
            return;
        }
        let (_, path) = here[self.chance.below(here.len())].clone();
        let kept = PathBuf::from(format!("/kept{}", self.told.len()));
        self.shelf.io.fs.rename(&path, &kept).unwrap();
        self.told.push(format!("{} is lost", path.display()));
        self.away.insert(path, kept);
    }

    fn come_back(&mut self) {
        let Some(path) = self.away.keys().nth(self.chance.below(self.away.len().max(1))).cloned() else { return };
        let kept = self.away.remove(&path).unwrap();
        self.shelf.io.fs.rename(&kept, &path).unwrap();
        self.told.push(format!("{} is back", path.display()));
    }

    fn replace(&mut self) {
        let Some(path) = self.away.keys().next().cloned() else { return };
        let here = self.here();
        // One that is a disk already takes it as well, where enough are left for the groups.
        let (by, new) = if here.len() > self.parity + 1 && self.chance.below(3) == 0 {
            here[self.chance.below(here.len())].clone()
        } else {
            let new = PathBuf::from(format!("/new{}", self.told.len()));
            let added = add::run(&self.shelf.write(), &AddOptions { path: new.clone(), ..Default::default() }).unwrap();
            drop(self.shelf.write());
            (added.id, new)
        };
        let store = self.shelf.write();
        let from = find(&store, &path.to_string_lossy(), &path).unwrap();
        let planned = plan::plan(&store, from.clone(), Purpose::Replace { by: Some(by) });
        let before = store.redundancy(|_, _| {});
        assert_eq!(planned.lost, []);
        let moved = moves::run(&store, &planned, &Control::default()).unwrap();
        assert_eq!(moved.failed, []);
        assert!(!store.redundancy(|_, _| {}).is_worse_than(&before));
        retire(&store, &from, false).unwrap();
        drop(store);
        // the old one may come back later: nobody knows it any more
        self.away.remove(&path);
        self.told.push(format!("{} is replaced by {}", path.display(), new.display()));
    }

    fn drain(&mut self) {
        let here = self.here();
        if here.len() <= self.parity + 2 || !self.away.is_empty() {
            return;
        }
        let (id, path) = here[self.chance.below(here.len())].clone();
        let store = self.shelf.write();
        let from = find(&store, &id.to_string(), Path::new("")).unwrap();
        let planned = plan::plan(&store, from.clone(), Purpose::Drain);
        let moved = moves::run(&store, &planned, &Control::default()).unwrap();
        assert_eq!(moved.failed, []);
        retire(&store, &from, false).unwrap();
        drop(store);
        self.told.push(format!("{} is drained and retired", path.display()));
        self.scrub(); // what had rotted and was not moved is still there
    }

    fn rot(&mut self) {
        if self.spare() == 0 {
            return;
        }
        let store = self.shelf.read();
        let files: Vec<PathBuf> = store.with_state(|s| {
            let members = s.groups().flat_map(|g| s.members(g));
            let on = |d: &DiskId| store.pool().disk(d).map(|d| d.path.clone());
            members.filter_map(|m| Some(crate::ops::repair::path_on(&on(&m.disk)?, m.pack, m.parity))).collect()
        });
        drop(store);
        if files.is_empty() {
            return;
        }
        let path = &files[self.chance.below(files.len())];
        let mut bytes = self.shelf.fs.read(path).unwrap();
        if self.chance.below(4) == 0 {
            self.shelf.fs.remove(path).unwrap();
            self.told.push(format!("{} is gone", path.display()));
        } else {
            for _ in 0..1 + self.chance.below(5) {
                let at = self.chance.below(bytes.len());
                bytes[at] ^= 1 << self.chance.below(8);
            }
            self.shelf.fs.write(path, &bytes).unwrap();
            self.told.push(format!("{} has rotted", path.display()));
        }
        self.rotten += 1;
    }

    fn scrub(&mut self) {
        let store = self.shelf.read();
        let (pass, _) = scrub::pass_of(&store);
        let shelf = &self.shelf;
        let mut settle = |found: &mut Found, at: Moment| {
            scrub::settle(&shelf.write(), found, pass, at.complete, &Control::default())
        };
        let report = scrub::run(&store, &ScrubOptions::default(), &Control::default(), &mut settle).unwrap();
        assert!(report.mended.iter().all(|m| m.failed.is_none()), "{:?}", report.mended);
        drop(store);
        if self.away.is_empty() {
            self.rotten = 0; // else packs that rotted may be away
        }
        self.told.push(format!("scrub mended {}", report.mended.len()));
    }

    fn rebalance(&mut self) {
        let store = self.shelf.write();
        let planned = rebalance::plan(&store);
        if !planned.is_empty() {
            rebalance::run(&store, &planned, None, &Control::default()).unwrap();
            drop(store);
            self.told.push("rebalanced".into());
            self.scrub();
        }
    }

    fn checked(&self) -> CheckReport {
        let options = CheckOptions { read_data: true, rebuild: false };
        check::run(&self.shelf.read(), &options, &Control::default()).unwrap()
    }

    fn whole(&mut self) {
        let report = self.checked();
        assert_eq!(report.files_lost, 0, "{:?}", report.lost);
        assert!(report.problems.iter().all(|p| p.repairable), "{:?}", report.problems);
    }

    fn act(&mut self) {
        match self.chance.below(12) {
            0..3 => self.back_up(),
            3 | 4 => self.lose(),
            5 => self.come_back(),
            6 => self.replace(),
            7 => self.drain(),
            8 | 9 => self.rot(),
            10 => self.scrub(),
            _ => self.rebalance(),
        }
        self.whole();
    }

    /// Takes away one disk more than any group may lose.
    fn end(&mut self) {
        self.scrub();
        let here = self.here();
        let gone: BTreeSet<usize> = (0..=self.parity).map(|_| self.chance.below(here.len())).collect();
        let gone: Vec<&(DiskId, PathBuf)> = gone.iter().map(|i| &here[*i]).collect();
        let ids: Vec<DiskId> = gone.iter().map(|(id, _)| *id).collect();
        let told = risk::without(&self.shelf.read(), &ids, &Control::default()).unwrap();
        for (i, (_, path)) in gone.iter().enumerate() {
            self.shelf.io.fs.rename(path, Path::new(&format!("/end{i}"))).unwrap();
        }
        let names = |r: &[crate::ops::FileLost]| {
            r.iter().map(|l| (l.snapshot.clone(), l.path.clone())).collect::<BTreeSet<_>>()
        };
        assert_eq!(names(&told.lost), names(&self.checked().lost));
    }
}

fn live(seed: u64, acts: usize) {
    let mut life = Life::new(seed);
    let lived = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        life.back_up();
        (0..acts).for_each(|_| life.act());
        life.end();
    }));
    if let Err(e) = lived {
        panic!("seed {seed}: {:#?}: {:?}", life.told, e.downcast_ref::<String>());
    }
}

#[test]
fn whatever_happens_to_the_shelf_everything_acknowledged_comes_back() {
    for seed in 0..12 {
        live(seed, 25);
    }
}
