//! Lives of stores by chance, in which files are split anew.

use super::super::CompactOptions;
use super::super::tests::is_sound;
use super::Split;
use super::tests::{Facts, OLDER, back_up_opaque, flac, gc, held, mp3, try_resplit};
use crate::format::SnapshotId;
use crate::io::Io;
use crate::io::faulty::{Action, FaultPlan, Op, When};
use crate::ops::testing::{DAY_NS, Shelf, noise};
use crate::ops::{Control, forget, snapshots, tag};
use std::collections::BTreeMap;
use std::sync::Arc;

/// A store's life by chance, beside a model that knows files by snapshots' times.
struct Life {
    shelf: Shelf,
    folder: tempfile::TempDir,
    live: BTreeMap<i64, Facts>,
    /// Forgotten ones that no gc has given up, as far as the model knows; their ids.
    forgotten: BTreeMap<i64, (Facts, SnapshotId)>,
    picks: Vec<u8>,
    split: u64,
}

impl Life {
    fn pick(&mut self, below: usize) -> usize {
        usize::from(self.picks.pop().unwrap_or_default()) % below.max(1)
    }

    fn agree(&mut self, what: &str) {
        let now: BTreeMap<i64, Facts> = held(&self.shelf).into_iter().map(|f| (f.0.time_ns, f)).collect();
        assert!(now == self.live, "{what}");
        let state = |s: &crate::catalog::state::LogState| {
            let bad = s
                .aliases()
                .any(|(old, new)| s.snapshot(old).is_some_and(|s| s.forgotten.is_none()) || s.snapshot(new).is_none());
            (bad, s.live_snapshots().len())
        };
        assert_eq!(self.shelf.read().with_state(state), (false, self.live.len()), "{what}");
    }

    fn step(&mut self) {
        self.shelf.world.advance(1_000_000_000);
        match self.pick(10) {
            0..=2 => {
                let (name, seed) = (self.pick(9), self.pick(200) as u64);
                let bytes = match self.pick(4) {
                    0 => flac(seed, 20_000),
                    1 => noise(seed, 7_000),
                    _ => mp3(seed, 9_000, Some(20)),
                };
                let path = format!("{}/{name}", name % 3);
                let _ = std::fs::remove_file(self.folder.path().join(&path)); // one of several links stays
                self.shelf.library(self.folder.path(), &[(&path, &bytes)]);
                if self.pick(4) == 0 {
                    let other = self.folder.path().join(format!("1/link{name}"));
                    let _ = std::fs::hard_link(self.folder.path().join(&path), other); // there already
                }
                match self.pick(3) {
                    0 => self.shelf.back_up(self.folder.path()),
                    _ => back_up_opaque(&self.shelf, self.folder.path()),
                }
                let newest = held(&self.shelf).pop().unwrap();
                self.live.insert(newest.0.time_ns, newest);
            }
            3 | 4 if self.live.len() > 1 => {
                let store = self.shelf.write();
                let nth = self.pick(self.live.len());
                let info = snapshots::list(&store, &[])[nth].clone();
                let (time, id) = (info.snapshot.time_ns, info.id);
                if info.pinned {
                    return;
                }
                forget::run(&store, &forget::by_name(vec![info]).unwrap(), "t", "t", &Control::default()).unwrap();
                self.forgotten.insert(time, (self.live.remove(&time).unwrap(), id));
            }
            5 if !self.forgotten.is_empty() => {
                let nth = self.pick(self.forgotten.len());
                let (time, (_, id)) = self.forgotten.iter().nth(nth).map(|(t, f)| (*t, f.clone())).unwrap();
                tag::undelete(&self.shelf.write(), &id.to_string(), "t", &Control::default()).unwrap();
                self.live.insert(time, self.forgotten.remove(&time).unwrap().0);
            }
            6 => {
                let grace = if self.pick(2) == 0 { 7 * DAY_NS } else { 0 };
                let full = self.pick(2) == 0;
                gc(&self.shelf, grace, full);
                let left = snapshots::forgotten(&self.shelf.read());
                self.forgotten.retain(|_, (_, id)| left.iter().any(|s| s.id == *id));
            }
            7 => {
                let op = [Op::Sync, Op::SyncDir, Op::Rename, Op::Create, Op::Write][self.pick(5)];
                let nth = 1 + self.pick(40) as u64;
                let plan = FaultPlan::new().with(op, When::Nth(nth), Action::PowerCut);
                let (hurt, _) = self.shelf.with_faults(plan);
                let hurt = Shelf { index: Arc::clone(&self.shelf.index), ..hurt };
                let _ = try_resplit(&hurt, &OLDER); // cut, or done
                let fs = hurt.fs.crash_strict();
                let index = if self.pick(2) == 0 { Arc::default() } else { hurt.index };
                let io = Io { fs: Arc::new(fs.clone()), world: hurt.io.world };
                self.shelf =
                    Shelf { io, fs, index, world: hurt.world, keys: hurt.keys, memory_bytes: hurt.memory_bytes };
            }
            _ => {
                let max_bytes = (self.pick(3) == 0).then_some(10_000);
                let which = if self.pick(3) == 0 { Split::All } else { Split::Older };
                let options = CompactOptions { resplit: Some(which), max_bytes, ..OLDER };
                let report = try_resplit(&self.shelf, &options).unwrap();
                assert!(!report.has_losses(), "{report:?}");
                self.split += report.files_resplit;
            }
        }
    }
}

#[test]
fn lives_by_chance_lose_nothing() {
    let mut split = 0;
    for seed in 1..=12 {
        let (shelf, folder) = (Shelf::new(1 + seed as usize % 2), tempfile::tempdir().unwrap());
        shelf.world.advance(10 * 365 * DAY_NS);
        let (live, forgotten) = Default::default();
        let mut life = Life { shelf, folder, live, forgotten, picks: noise(seed, 400), split: 0 };
        for step in 0..25 {
            life.step();
            life.agree(&format!("seed {seed}, step {step}"));
        }
        is_sound(&life.shelf);
        gc(&life.shelf, 0, true);
        gc(&life.shelf, 0, true);
        life.agree(&format!("seed {seed}, at the end"));
        is_sound(&life.shelf);
        split += life.split;
    }
    assert!(split > 20, "{split}");
}
