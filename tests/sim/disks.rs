//! Steps of the shelf: disks die and come back, are added, replaced, drained and given up; another parity is set, and groups are
//! made anew. Each of them whole, cut by the power, or under faults; one that was stopped is begun again with the same words.
//!
//! What a death costs is what the bytes on the other disks do not give, and nothing where the store says that so many disks may be
//! lost. What moves disks about costs nothing.

use super::faults;
use super::oracle::FileOf;
use super::steps::Step;
use super::story::{Story, allowed};
use onefold::Error;
use onefold::format::DiskId;
use onefold::io::faulty::FaultPlan;
use onefold::ops::shelf::add::{self, AddOptions};
use onefold::ops::shelf::moves::{self, Moved};
use onefold::ops::shelf::plan::{self, Plan, Purpose};
use onefold::ops::shelf::{self, Named, rebalance};
use onefold::ops::{Control, Notice, risk};
use onefold::store::{Mode, Redundancy, Store};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

/// What became of a disk whose packs were to leave it.
struct Emptied {
    moved: Moved,
    plan: Plan,
    before: Redundancy,
    after: Redundancy,
    retired: bool,
}

/// When a disk leaves the store.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Retire {
    No,
    IfWhole,
    EvenLosing,
}

impl Story {
    /// Half of the runs are hindered, by a cut or by faults that pass.
    fn hindrance(&mut self) -> Option<FaultPlan> {
        let plan = match self.chance.below(4) {
            0 => faults::power_cut(&mut self.chance),
            1 => faults::passing(&mut self.chance, &self.shelf, true),
            _ => return None,
        };
        self.tell(format!("  {plan:?}"));
        self.tally.add("disk verbs hindered", 1);
        Some(plan)
    }

    /// Parity packs of the groups that have most, as the store is set.
    fn most_parity(&mut self) -> usize {
        self.ask(|s| s.with_state(|s| s.parity() + usize::from(s.protects_shared().is_some())))
    }

    /// Asks the store as it is now.
    pub fn ask<T>(&mut self, what: impl FnOnce(&Store) -> T) -> T {
        let run = self.shelf.run(FaultPlan::new());
        let store = self.shelf.open(&run.io, Mode::Read).unwrap_or_else(|e| panic!("{}", e.line())).store;
        let told = what(&store);
        drop(store);
        self.shelf.ran(&run);
        told
    }

    /// Disks that the log counts on and that are not here.
    fn missing(&mut self) -> Vec<DiskId> {
        self.ask(|store| {
            let all = store.with_state(|s| s.disks.clone());
            let away = all.into_iter().filter(|(id, d)| !d.retired && store.pool().disk(id).is_none());
            away.map(|(id, _)| id).collect()
        })
    }

    /// Takes in what the log says of the disks: after a cut it may say the one thing or the other.
    fn settle(&mut self) {
        let here: Vec<PathBuf> = self.ask(|store| store.pool().disks().map(|d| d.path.clone()).collect());
        let shelf = &mut self.shelf;
        shelf.retired.extend(shelf.disks.iter().filter(|d| !here.contains(d)).cloned());
        shelf.retired.retain(|d| !here.contains(d));
        shelf.disks.retain(|d| here.contains(d));
        shelf.disks.extend(here.iter().filter(|d| !shelf.disks.contains(d)).cloned().collect::<Vec<_>>());
        let missing = self.missing();
        let ids: BTreeSet<String> = missing.iter().map(ToString::to_string).collect();
        self.shelf.dead.retain(|kept| kept.marker().is_none_or(|m| ids.contains(&m.disk.to_string())));
    }

    /// Tells a `STORE` that is older than the shelf where the disks are that joined since.
    pub fn tell_places(&mut self) {
        let here: Vec<PathBuf> = self.ask(|store| store.pool().disks().map(|d| d.path.clone()).collect());
        for path in self.shelf.disks.clone().into_iter().filter(|d| !here.contains(d)) {
            self.tell(format!("  {} is told anew", path.display()));
            self.join(FaultPlan::new(), &AddOptions { path, ..Default::default() })
                .unwrap_or_else(|e| panic!("a disk of the store is not taken: {}", e.line()));
        }
    }

    /// The files that the store says would be lost with these disks.
    fn risk_of(&mut self, disks: &[PathBuf]) -> BTreeSet<FileOf> {
        let told = self.ask(|store| {
            let ids: Vec<DiskId> = store.pool().disks().filter(|d| disks.contains(&d.path)).map(|d| d.id).collect();
            risk::without(store, &ids, &Control::default()).unwrap_or_else(|e| panic!("{}", e.line()))
        });
        self.named(&told.lost)
    }

    /// One disk dies, or some, seldom more than parity makes good. All that is lost by it is named, and nothing else.
    pub fn disks_die(&mut self) {
        let here = self.shelf.disks.len();
        if here < 2 || self.acked.is_empty() {
            return;
        }
        let (oracle, spare) = (self.oracle(), self.spare());
        let n = if self.chance.one_in(4) { spare + 1 } else { 1 + self.chance.below(spare as u64) as usize };
        let n = n.min(here - 1);
        let mut dying = Vec::new();
        for _ in 0..n {
            let nth = self.chance.below(self.shelf.disks.len() as u64) as usize;
            dying.push(self.shelf.disks.remove(nth));
        }
        let told = self.risk_of(&dying);
        for disk in dying {
            self.tell(format!("  {} dies; {spare} may", disk.display()));
            let kept = self.shelf.keep(&disk);
            self.shelf.clear(&disk);
            self.shelf.dead.push(kept);
        }
        self.tally.add("disks that died", n as u64);
        let before = self.lost.clone();
        let was_destroyed = self.destroyed;
        self.destroyed |= n > spare;
        self.away = true;
        self.recover();
        let (report, lost) = self.named_exactly(&oracle);
        // What the log knows of damage is coarser than damage is, and risk goes by the log.
        if !was_destroyed {
            assert_eq!(told, self.named(&report.lost), "risk names other files than are lost");
            self.tally.add("losses that risk foretold", 1);
        }
        if n <= spare {
            self.tally.add("deaths that parity makes good", 1);
            assert!(lost == before, "{n} of {spare} disks died, and files are lost: {:?}", report.lost);
        }
        self.lost = lost;
        self.exactly_these_are_lost();
        self.away = false;
        self.heal();
        // A dead disk is not left for long.
        match self.chance.below(6) {
            0 | 1 => self.step(Step::DiskReplace),
            2 => self.step(Step::DiskRemoveLost),
            3 => self.step(Step::DeadDiskReturns),
            _ => {}
        }
    }

    /// A disk dies in the middle of a backup, which goes on to its end without it. Later it works again, or is dead.
    pub fn disk_dies_in_backup(&mut self) {
        if self.shelf.disks.len() < 2 {
            return;
        }
        self.library.edit(&mut self.chance);
        let disk = self.chance.pick(&self.shelf.disks).clone();
        let spare = self.spare();
        let plan = faults::death(&mut self.chance, &disk);
        self.tell(format!("  {} of {spare} dies: {plan:?}", disk.display()));
        self.tally.add("disks that died in a backup", 1);
        match self.backup_under(plan, None) {
            Ok(()) => self.tally.add("backups that went on without a disk", 1),
            Err(e) => {
                self.tell(format!("  {}", e.line()));
                assert!(spare == 0 || self.tight, "{spare} disks may die, and the backup fails: {}", e.line());
            }
        }
        self.look_at_all();
    }

    /// A disk that was dead comes back as it was: what lay on it alone can be had again, and nothing is taken from it that
    /// the store has moved since.
    pub fn dead_disk_returns(&mut self) {
        if self.shelf.dead.is_empty() {
            return;
        }
        let nth = self.chance.below(self.shelf.dead.len() as u64) as usize;
        let kept = self.shelf.dead.remove(nth);
        let folder = kept.folder.clone();
        self.tell(format!("  {} is back", folder.display()));
        self.shelf.put_back(&kept, &folder);
        self.settle();
        if !self.shelf.disks.contains(&folder) {
            // Where it was is no longer known, since `STORE` was made anew meanwhile.
            self.join(FaultPlan::new(), &AddOptions { path: folder.clone(), ..Default::default() })
                .unwrap_or_else(|e| panic!("a disk that comes back is not taken: {}", e.line()));
            self.settle();
        }
        self.tally.add("dead disks that came back", 1);
        self.recover();
        let report = self.check();
        let named = self.named(&report.lost);
        for file in &named {
            let known = self.lost.contains(file) || !self.named_itself(&report.lost, file);
            assert!(known, "a disk came back, and {} of {} is lost", file.1, file.0.short());
        }
        self.lost = named;
        self.note(&report);
        self.recover();
        self.exactly_these_are_lost();
    }

    /// Adds a disk, as the command does.
    fn join(&mut self, plan: FaultPlan, options: &AddOptions) -> onefold::Result<DiskId> {
        let world = self.shelf.run(plan);
        let shelf = &self.shelf;
        let mut writer = || Ok(shelf.open(&world.io, Mode::Write { verb: "disk add" })?.store);
        let outcome = add::join(&mut writer, &world.io, &shelf.home, options).map(|added| added.id);
        self.ended(&world);
        outcome.inspect_err(allowed)
    }

    /// Adds a disk; where that was stopped, once more.
    fn joined(&mut self, path: &Path, reuse: bool, plan: Option<FaultPlan>) -> DiskId {
        let options = AddOptions { path: path.to_owned(), reuse, ..Default::default() };
        if let Some(plan) = plan {
            match self.join(plan, &options) {
                Ok(id) => return id,
                Err(e) => self.tell(format!("  {}", e.line())),
            }
            self.settle();
            self.look();
        }
        self.join(FaultPlan::new(), &options).unwrap_or_else(|e| panic!("a disk cannot be added: {}", e.line()))
    }

    /// A disk joins: a new one, or one that was taken out.
    pub fn disk_add(&mut self) {
        if self.shelf.disks.len() >= 8 {
            return;
        }
        let reused = (!self.shelf.retired.is_empty() && self.chance.one_in(2)).then(|| self.shelf.retired.remove(0));
        let (path, reuse) = match reused {
            Some(path) => (path, true),
            None => (self.shelf.new_folder(), false),
        };
        let plan = self.hindrance();
        let is_unhindered = plan.is_none();
        let id = self.joined(&path, reuse, plan);
        self.settle();
        assert!(self.shelf.disks.contains(&path), "a disk that was added is not there");
        let (head, on_it) =
            self.ask(|store| (store.reflected().number, store.pool().disk(&id).map(|d| d.path.clone())));
        let name = format!("log/{head:012}");
        let on_it = on_it.expect("it is there");
        let stands = self.shelf.fs.read(on_it.join(name)).is_ok();
        assert!(stands || !is_unhindered, "the log does not stand on the new disk");
        self.tally.add("disks added", 1);
        self.look();
    }

    /// Moves all packs off a disk, and takes it out of the store, as the commands do.
    fn empty(&mut self, plan: FaultPlan, id: DiskId, purpose: Purpose, retire: Retire) -> onefold::Result<Emptied> {
        let world = self.shelf.run(plan);
        let notices = Arc::new(Mutex::new(Vec::new()));
        let sink = Arc::clone(&notices);
        let control = Control::with_sink(move |n: Notice| sink.lock().unwrap().push(format!("    {n:?}")));
        let outcome = self.shelf.open(&world.io, Mode::Write { verb: "disk" }).and_then(|opened| {
            let store = opened.store;
            let from: Named = shelf::find(&store, &id.to_string(), Path::new(""))?;
            let plan = plan::plan(&store, from, purpose);
            let before = store.redundancy(|_, _| {});
            let moved = moves::run(&store, &plan, &control)?;
            let whole = moved.failed.is_empty();
            let retired = match retire {
                Retire::No => false,
                Retire::IfWhole => whole && plan.lost.is_empty(),
                Retire::EvenLosing => whole,
            };
            if retired {
                shelf::retire(&store, &plan.from, retire == Retire::EvenLosing)?;
            }
            let after = store.redundancy(|_, _| {});
            Ok(Emptied { moved, plan, before, after, retired })
        });
        self.told.append(&mut notices.lock().unwrap());
        self.ended(&world);
        outcome.inspect_err(allowed)
    }

    /// As [`Self::empty`]; where that was stopped, once more. What was to move has moved, if it could be had.
    fn emptied(&mut self, plan: Option<FaultPlan>, id: DiskId, purpose: Purpose, retire: Retire) -> Option<Emptied> {
        if let Some(plan) = plan {
            match self.empty(plan, id, purpose.clone(), retire) {
                Ok(done) if done.retired => return None, // a disk that failed meanwhile counts for less
                Ok(done) => self.tell(format!("  {:?}", done.moved)),
                Err(e) => self.tell(format!("  {}", e.line())),
            }
            self.settle();
            self.look();
            if self.chance.one_in(3) {
                self.library.edit(&mut self.chance);
                self.backup();
            }
            // It may have been taken out just before it was stopped.
            let is_out = self.ask(|s| s.with_state(|s| s.disks.get(&id).is_none_or(|d| d.retired)));
            if is_out {
                return None;
            }
        }
        match self.empty(FaultPlan::new(), id, purpose, retire) {
            Ok(done) => Some(done),
            Err(Error::NoSpace { .. }) if self.tight => None,
            Err(e) => panic!("packs cannot be moved: {}", e.line()),
        }
    }

    /// What an emptied disk must have come to, where nothing hindered it.
    fn is_right(&mut self, done: &Emptied) {
        let enough = self.shelf.disks.len() > self.most_parity() + 1;
        let is_clear = !self.destroyed && !self.tight && enough;
        if is_clear {
            assert!(done.plan.lost.is_empty(), "packs are called lost: {:?}", done.plan.lost);
            assert!(done.moved.failed.is_empty(), "packs were not moved: {:?}", done.moved.failed);
            assert!(
                !done.after.is_worse_than(&done.before),
                "packs may lose fewer disks than before: {:?}, {:?}",
                done.before,
                done.after
            );
        }
        self.tally.add("packs moved", done.moved.packs);
        self.tally.add("groups made anew", done.moved.groups);
    }

    /// A dead disk, or one that still lives, is replaced by a new one, or by one of the others.
    pub fn disk_replace(&mut self) {
        let missing = self.missing();
        let old = if !missing.is_empty() && !self.chance.one_in(4) {
            *self.chance.pick(&missing)
        } else if self.shelf.disks.len() >= 2 {
            let path = self.chance.pick(&self.shelf.disks).clone();
            self.ask(|s| s.pool().disks().find(|d| d.path == path).map(|d| d.id)).expect("it is here")
        } else {
            return;
        };
        let others = self.ask(|s| s.pool().disks().map(|d| d.id).filter(|d| *d != old).collect::<Vec<_>>());
        let parity = self.most_parity();
        let mut plan = self.hindrance();
        let by = if others.len() > parity + 1 && self.chance.one_in(4) {
            *self.chance.pick(&others)
        } else {
            let path = self.shelf.new_folder();
            let of_join = plan.take_if(|_| self.chance.one_in(3));
            let id = self.joined(&path, false, of_join);
            self.settle();
            id
        };
        self.tell(format!("  {} by {}", old.short(), by.short()));
        let done = self.emptied(plan, old, Purpose::Replace { by: Some(by) }, Retire::IfWhole);
        self.settle();
        if let Some(done) = done {
            self.is_right(&done);
            self.tally.add("disks replaced", u64::from(done.retired));
        }
        self.look_at_all();
    }

    /// A disk that lives is emptied onto the others, and mostly taken out.
    pub fn disk_drain(&mut self) {
        if self.shelf.disks.len() < 2 {
            return;
        }
        let path = self.chance.pick(&self.shelf.disks).clone();
        let id = self.ask(|s| s.pool().disks().find(|d| d.path == path).map(|d| d.id)).expect("it is here");
        let plan = self.hindrance();
        let retire = if self.chance.one_in(4) { Retire::No } else { Retire::IfWhole };
        self.tell(format!("  {}", path.display()));
        let done = self.emptied(plan, id, Purpose::Drain, retire);
        self.settle();
        if let Some(done) = done {
            self.is_right(&done);
            self.tally.add("disks drained", u64::from(done.moved.failed.is_empty()));
        }
        self.look_at_all();
    }

    /// A dead disk is given up: what lay on it is rebuilt onto the others.
    pub fn disk_remove_lost(&mut self) {
        let missing = self.missing();
        if missing.is_empty() {
            return;
        }
        let id = *self.chance.pick(&missing);
        let plan = self.hindrance();
        self.tell(format!("  {}", id.short()));
        let done = self.emptied(plan, id, Purpose::Drain, Retire::EvenLosing);
        self.settle();
        if let Some(done) = done {
            self.is_right(&done);
            self.tally.add("disks given up", u64::from(done.retired));
        }
        self.look_at_all();
    }

    /// Another number of disks may be lost from now on.
    pub fn set_parity(&mut self) {
        let here = self.shelf.disks.len();
        if here < 2 {
            return;
        }
        let parity = self.chance.below(here.min(4) as u64) as usize;
        let group = self.chance.one_in(4).then(|| 1 + self.chance.below(6) as usize);
        self.tell(format!("  {parity}, group {group:?}"));
        let plan = self.hindrance();
        let is_unhindered = plan.is_none();
        let world = self.shelf.run(plan.unwrap_or_default());
        let opened = self.shelf.open(&world.io, Mode::Write { verb: "disk parity" });
        let outcome = opened.and_then(|o| shelf::set_parity(&o.store, parity, group));
        self.ended(&world);
        match outcome.inspect_err(allowed) {
            Ok(_) => assert!(self.ask(|s| s.with_state(|s| s.parity())) == parity, "the setting was acknowledged"),
            Err(e) => {
                let protects = self.ask(|s| s.with_state(|s| s.protects_shared().is_some()));
                let may_be = protects && here < parity + 2;
                assert!(!is_unhindered || may_be, "parity cannot be set: {}", e.line());
            }
        }
        self.look();
        if self.chance.one_in(2) {
            self.step(Step::Rebalance);
        }
    }

    /// All packs get the parity that is set. Nothing but room or the number of disks keeps a pack from it.
    pub fn rebalance(&mut self) {
        let plan = self.hindrance();
        let mut hindered = plan.is_some();
        if let Some(plan) = plan
            && let Err(e) = self.rebalanced(plan)
        {
            self.tell(format!("  {}", e.line()));
            self.look();
            if self.chance.one_in(2) {
                hindered = false;
            }
        }
        if !hindered {
            match self.rebalanced(FaultPlan::new()) {
                Ok(after) => {
                    let parity = self.ask(|s| s.with_state(|s| s.parity()));
                    let enough = self.shelf.disks.len() > self.most_parity() && self.missing().is_empty();
                    let is_clear = !self.destroyed && !self.tight && enough;
                    assert!(!is_clear || after.is_full(), "packs have less parity than is set: {after:?}");
                    self.tally.add("rebalanced to full redundancy", u64::from(parity > 0 && after.is_full()));
                }
                Err(Error::NoSpace { .. }) if self.tight => {}
                Err(e) => panic!("groups cannot be made anew: {}", e.line()),
            }
        }
        self.look_at_all();
    }

    fn rebalanced(&mut self, plan: FaultPlan) -> onefold::Result<Redundancy> {
        let world = self.shelf.run(plan);
        let opened = self.shelf.open(&world.io, Mode::Write { verb: "rebalance" });
        let mut groups = 0;
        let outcome = opened.and_then(|opened| {
            let planned = rebalance::plan(&opened.store);
            if !planned.is_empty() {
                groups = rebalance::run(&opened.store, &planned, &Control::default())?.made.groups;
            }
            Ok(opened.store.redundancy(|_, _| {}))
        });
        self.ended(&world);
        self.tally.add("rebalances", 1);
        self.tally.add("groups made anew", groups);
        outcome.inspect_err(allowed)
    }
}
