//! Steps after which more may be gone than the store promises to survive: harm to packs and logs, liars, disks that go and
//! come back old, two histories. What is lost then is named, all of it and nothing else, and what the library still has heals.

use super::faults;
use super::oracle::{FileOf, Losses, Oracle};
use super::shelf::Index;
use super::story::Story;
use onefold::Error;
use onefold::index::Index as _;
use onefold::io::faulty::FaultPlan;
use onefold::ops::check::CheckReport;
use onefold::ops::snapshots;
use onefold::store::Mode;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

impl Story {
    pub fn oracle(&mut self) -> Oracle {
        if self.index_lies {
            self.recover();
        }
        self.see_what_came_back();
        let run = self.shelf.run(FaultPlan::new());
        let store = self.shelf.open(&run.io, Mode::Read).unwrap_or_else(|e| panic!("{}", e.line())).store;
        let root = self.library.root();
        let oracle = Oracle::new(&store, &run.io, root, &self.acked, &self.lost, &mut self.pristine);
        drop(store);
        self.shelf.ran(&run);
        oracle
    }

    /// Files that were lost may come back with others of their bytes that are split anew: into the very chunks that they have.
    /// And an entry of the log that nobody acknowledged may stand on one disk: what snapshots are called must not change when
    /// that one dies, so a writer ends what was begun.
    pub fn see_what_came_back(&mut self) {
        if !self.resplits {
            return;
        }
        let run = self.shelf.run(FaultPlan::new());
        drop(self.shelf.open(&run.io, Mode::Write { verb: "settle" }));
        let store = self.shelf.open(&run.io, Mode::Read).unwrap_or_else(|e| panic!("{}", e.line())).store;
        let listed = self.listed(&store);
        let mut failing = BTreeSet::new();
        if !self.lost.is_empty() {
            for acked in &self.acked {
                let info = listed.iter().find(|i| i.id == acked.id).unwrap();
                failing.extend(self.failing(&store, info, &acked.files).into_keys().map(|name| (acked.id, name)));
            }
        }
        self.lost.retain(|file| failing.contains(file));
        drop(store);
        self.shelf.ran(&run);
    }

    pub fn pack_bytes(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        let all = self.shelf.packs().into_iter().chain(self.shelf.parity());
        all.map(|p| (p.clone(), self.shelf.fs.read(&p).unwrap())).collect()
    }

    /// What a check names as lost must be just what the bytes on the disks allow, and what was lost before.
    pub fn named_exactly(&mut self, oracle: &Oracle) -> (CheckReport, BTreeSet<FileOf>) {
        let Losses { certain, possible } = oracle.lost(&self.pack_bytes());
        self.tally.add("files lost", certain.len() as u64);
        self.tally.add("files whose loss is the engine's to say", possible.difference(&certain).count() as u64);
        let report = self.check();
        let named = self.named(&report.lost);
        if let Some(file) = certain.union(&self.lost).find(|f| !named.contains(f)) {
            let why = oracle.explain(file, &self.pack_bytes());
            let (id, name) = file.clone();
            let root = self.library.root().to_owned();
            let can = self.ask(|store| {
                snapshots::list(store, &[]).into_iter().find(|i| i.id == id).is_some_and(|info| {
                    let mut out = Vec::new();
                    let path = super::oracle::path_in(&root, &name);
                    onefold::ops::cat::run(store, &info, &path, None, &mut out, &onefold::ops::Control::default())
                        .is_ok()
                })
            });
            panic!("{name} of {} is lost and not named (can be had: {can}): {:?}{why}", id.short(), report.problems);
        }
        let may_be = |file: &&FileOf| possible.contains(*file) || self.lost.contains(*file);
        for file in named.iter().filter(|file| !may_be(file)) {
            // a folder that cannot be read names all that is in it
            assert!(
                !self.named_itself(&report.lost, file),
                "{} of {} is named and not lost: {:?}{}",
                file.1,
                file.0.short(),
                report.lost,
                oracle.explain(file, &self.pack_bytes())
            );
        }
        let gone = named.iter().filter(may_be).cloned().collect();
        (report, gone)
    }

    /// What can be had and what is named must be just what the bytes on the disks allow; then whatever the library still
    /// holds is healed by a backup.
    pub fn named_and_healed(&mut self, oracle: &Oracle) {
        self.destroyed = true;
        let (report, gone) = self.named_exactly(oracle);
        self.lost = gone;
        self.note(&report);
        self.recover();
        self.exactly_these_are_lost();
        if !self.acked.is_empty() && self.chance.one_in(2) {
            let (info, lost) =
                self.restore_under(FaultPlan::new()).unwrap_or_else(|e| panic!("restore fails: {}", e.line()));
            for file in self.named(&lost) {
                let known = self.lost.contains(&file) || !self.named_itself(&lost, &file);
                assert!(known, "restore names {} of {}, which is not lost", file.1, info.id.short());
            }
        }
        self.heal();
    }

    pub fn exactly_these_are_lost(&mut self) {
        let run = self.shelf.run(FaultPlan::new());
        let store = self.shelf.open(&run.io, Mode::Read).unwrap_or_else(|e| panic!("{}", e.line())).store;
        let listed = self.listed(&store);
        let mut failing = BTreeSet::new();
        let mut why = String::new();
        for acked in &self.acked {
            let info = listed.iter().find(|i| i.id == acked.id).unwrap();
            for (name, e) in self.failing(&store, info, &acked.files) {
                if !self.lost.contains(&(acked.id, name.clone())) {
                    why = format!("{name} of {}: {e}", info.id.short());
                }
                failing.insert((acked.id, name));
            }
        }
        drop(store);
        self.shelf.ran(&run);
        assert!(why.is_empty(), "more is lost than was destroyed: {why}");
        if let Some(file) = self.lost.difference(&failing).next() {
            panic!("{} of {} was called lost and can be had", file.1, file.0.short());
        }
    }

    /// A backup stores again what its sources hold: then older snapshots have it too.
    pub fn heal(&mut self) {
        self.backup();
        let run = self.shelf.run(FaultPlan::new());
        let store = self.shelf.open(&run.io, Mode::Read).unwrap().store;
        let listed = self.listed(&store);
        let newest = self.acked.last().map(|a| a.id);
        let held: BTreeSet<&Vec<u8>> = self.library.files.values().map(|b| &**b).collect();
        let mut still = BTreeSet::new();
        for acked in &self.acked {
            let info = listed.iter().find(|i| i.id == acked.id).unwrap();
            for (name, why) in self.failing(&store, info, &acked.files) {
                assert!(Some(acked.id) != newest, "{name} was backed up just now, and is lost: {why}");
                let path = super::oracle::path_in(self.library.root(), &name);
                let entry = onefold::catalog::tree::lookup(&store, &info.snapshot.tree, &path);
                // Split in another way it has other chunks.
                let healed = !self.resplits && entry.is_ok() && held.contains(&*acked.files[&name]);
                assert!(!healed, "{name} of {} was stored again, and is still lost: {why}", info.id.short());
                still.insert((acked.id, name));
            }
        }
        drop(store);
        self.shelf.ran(&run);
        if let Some(file) = still.difference(&self.lost).next() {
            panic!("{} of {} was lost by a backup", file.1, file.0.short());
        }
        self.tally.add("files healed", self.lost.difference(&still).count() as u64);
        self.lost = still;
    }

    pub fn harm_packs(&mut self) {
        let mut packs = self.shelf.packs();
        packs.extend(self.shelf.parity());
        if packs.is_empty() || self.acked.is_empty() {
            return;
        }
        let oracle = self.oracle();
        let was_whole = !self.destroyed;
        let mut harmed = BTreeSet::new();
        let spare = self.spare();
        for _ in 0..=self.chance.below(2) {
            let path = self.chance.pick(&packs).clone();
            harmed.insert(path.clone());
            let Ok(mut bytes) = self.shelf.fs.read(&path) else { continue };
            if bytes.is_empty() {
                continue;
            }
            let at = self.chance.below(bytes.len() as u64) as usize;
            let how = self.chance.below(9);
            self.tell(format!("  harm {how} to {} at {at} of {}", path.display(), bytes.len()));
            match how {
                0 | 1 => bytes[at] ^= 1 << self.chance.below(8),
                2 => {
                    let from = at & !511;
                    let to = bytes.len().min(from + 512);
                    bytes[from..to].fill(0);
                }
                3 => bytes.truncate(at),
                4 => {
                    let to = bytes.len().min(at + 40_000);
                    let noise = self.chance.bytes((to - at) as u64);
                    bytes[at..to].copy_from_slice(&noise);
                }
                5 => {
                    // another pack under its name
                    let other = self.chance.pick(&packs).clone();
                    bytes = self.shelf.fs.read(&other).unwrap_or_default();
                }
                6 => {
                    // what belongs elsewhere in it
                    let from = self.chance.below(bytes.len() as u64) as usize & !511;
                    let part = bytes[from..bytes.len().min(from + 4096)].to_vec();
                    let to = at & !511;
                    let n = part.len().min(bytes.len() - to);
                    bytes[to..to + n].copy_from_slice(&part[..n]);
                }
                7 => bytes.extend(self.chance.bytes(700)),
                _ => {
                    self.shelf.fs.remove(&path).unwrap();
                    continue;
                }
            }
            self.shelf.fs.write(&path, &bytes).unwrap();
        }
        self.tally.add("harms", 1);
        if was_whole && (1..=spare).contains(&harmed.len()) {
            self.tally.add("harms that parity makes good", 1);
            let report = self.check();
            assert_eq!(report.files_lost, 0, "parity was to make it good: {:?} {:?}", report.lost, report.problems);
        }
        self.named_and_healed(&oracle);
    }

    /// How many packs may be harmed before a file is lost, by the log.
    pub fn spare(&mut self) -> usize {
        let run = self.shelf.run(FaultPlan::new());
        let store = self.shelf.open(&run.io, Mode::Read).unwrap_or_else(|e| panic!("{}", e.line())).store;
        let spare = store.with_state(|s| {
            let of_group =
                |g| onefold::store::tolerance(s, &s.members(g), g.data(), &|d| store.is_sound(d)).unwrap_or(0);
            let least = s.groups().map(of_group).min().unwrap_or(0);
            if s.packs().all(|p| s.group_of(&p.sealed.pack).is_some()) { least } else { 0 }
        });
        drop(store);
        self.shelf.ran(&run);
        spare
    }

    pub fn harm_small_file(&mut self) {
        let disk = self.chance.pick(&self.shelf.disks).clone();
        let place = if self.chance.one_in(3) { self.shelf.home.clone() } else { disk };
        let is_small = |p: &PathBuf| {
            // The list of disks and the lock are no truth: `recover --disk` writes them anew.
            let is_cache = p.parent() == Some(&self.shelf.home) && !p.ends_with("superblock");
            p.starts_with(&place)
                && !is_cache
                && p.extension().is_none_or(|e| e == "txt")
                && p.file_name().is_some_and(|n| n != "onefold-disk")
        };
        // An entry that nobody acknowledged may stand in one copy alone; with that one damaged, nothing is written before a person
        // has decided.
        let has_twin = |p: &PathBuf| {
            let name = p.file_name().filter(|_| p.parent().is_some_and(|d| d.ends_with("log")));
            let twins = self.shelf.fs.paths().into_iter().filter(|q| q.file_name() == name && q.parent() != p.parent());
            name.is_none() || twins.count() > 0
        };
        let small: Vec<PathBuf> = self.shelf.fs.paths().into_iter().filter(is_small).filter(has_twin).collect();
        if small.is_empty() {
            return;
        }
        let path = self.chance.pick(&small).clone();
        let mut bytes = self.shelf.fs.read(&path).unwrap();
        let at = self.chance.below(bytes.len() as u64) as usize;
        let how = self.chance.below(5);
        self.tell(format!("  harm {how} to {} at {at}", path.display()));
        match how {
            0 if !bytes.is_empty() => bytes[at] ^= 1 << self.chance.below(8),
            1 => bytes.truncate(at),
            2 => bytes.clear(),
            3 => bytes.extend(self.chance.bytes(100)),
            _ => bytes = self.chance.bytes(200),
        }
        self.shelf.fs.write(&path, &bytes).unwrap();
        self.tally.add("harms", 1);
        let report = self.check();
        let is_truth = path.extension().is_none();
        assert!(!is_truth || !report.problems.is_empty(), "check says nothing");
        self.recover();
        self.look();
    }

    pub fn backup_on_a_liar(&mut self) {
        if self.shelf.disks.len() < 2 {
            return;
        }
        self.library.edit(&mut self.chance);
        let liar = self.chance.pick(&self.shelf.disks).clone();
        let plan = faults::lies(&mut self.chance, &(liar.to_string_lossy().into_owned() + "/"));
        self.tell(format!("  {plan:?}"));
        self.tally.add("runs on liars", 1);
        let _ = self.backup_under(plan, None); // acknowledged or not: what lacks is named below
        self.shelf.power_cut(&mut self.chance); // what it kept to itself is gone
        self.destroyed = true;
        // Now it is a disk like others, with what it has. What lacks is lost; all of it, and nothing else, is named.
        self.recover();
        let run = self.shelf.run(FaultPlan::new());
        let store = self.shelf.open(&run.io, Mode::Read).unwrap_or_else(|e| panic!("{}", e.line())).store;
        let listed = self.listed(&store);
        let mut gone = BTreeSet::new();
        for acked in &self.acked {
            let info = listed.iter().find(|i| i.id == acked.id).unwrap();
            gone.extend(self.failing(&store, info, &acked.files).into_keys().map(|name| (acked.id, name)));
        }
        drop(store);
        self.shelf.ran(&run);
        let report = self.check();
        let named = self.named(&report.lost);
        for file in named.symmetric_difference(&gone) {
            let by_folder = named.contains(file) && !self.named_itself(&report.lost, file);
            assert!(
                by_folder,
                "{} of {}: can be had {}, named {}",
                file.1,
                file.0.short(),
                !gone.contains(file),
                named.contains(file)
            );
        }
        self.lost = gone;
        self.note(&report);
        self.heal();
    }

    pub fn disk_away(&mut self) {
        if self.shelf.disks.len() < 2 || self.acked.is_empty() {
            return;
        }
        let (oracle, spare) = (self.oracle(), self.spare());
        let disk = self.chance.pick(&self.shelf.disks).clone();
        let kept = self.shelf.keep(&disk);
        self.shelf.clear(&disk);
        let known = self.lost.clone();
        self.away = true;
        // The index has one place of each chunk: made anew, it is one that is here.
        self.recover();
        // While it is away, what lies on it alone is out of reach, and named.
        let (report, away) = self.named_exactly(&oracle);
        assert!(spare == 0 || away == known, "one disk is away, and files are lost: {:?}", report.lost);
        self.lost = away;
        self.exactly_these_are_lost();
        self.library.edit(&mut self.chance);
        self.heal(); // a backup meanwhile is whole without that disk
        let while_away = self.acked.last().unwrap().clone();
        self.tally.add("disks away", 1);
        self.away = false;
        let old = self.images.last().filter(|image| image.disks.contains(&disk)).map(|image| image.fs.snapshot());
        let old = old.filter(|_| self.chance.one_in(2));
        match old {
            Some(fs) => {
                let now = std::mem::replace(&mut self.shelf.fs, fs);
                let kept = self.shelf.keep(&disk);
                self.shelf.fs = now;
                self.shelf.put_back(&kept, &disk);
                self.tell("  it comes back old");
                self.destroyed = true;
            }
            None => self.shelf.put_back(&kept, &disk),
        }
        self.index_lies = self.chance.one_in(2);
        if self.index_lies {
            self.recover();
        }
        let mut gone: BTreeSet<_> = oracle.lost(&self.pack_bytes()).possible;
        gone.extend(known);
        let report = self.check();
        let named = self.named(&report.lost);
        for file in &named {
            let fits = gone.contains(file) || !self.named_itself(&report.lost, file);
            assert!(fits, "disk back: {} of {} is named and not lost", file.1, file.0.short());
            assert!(file.0 != while_away.id, "{} was stored without that disk", file.1);
        }
        // The backup meanwhile may have healed what the disk lacks now.
        self.lost = named;
        self.note(&report);
        self.recover();
        self.heal();
    }

    pub fn two_disks_with_one_id(&mut self) {
        if self.shelf.disks.len() < 2 {
            return;
        }
        let (one, other) = (self.shelf.disks[0].clone(), self.shelf.disks[1].clone());
        let kept = self.shelf.keep(&other);
        let twin = self.shelf.keep(&one);
        self.shelf.put_back(&twin, &other);
        for mode in [Mode::Read, Mode::Write { verb: "backup" }] {
            let run = self.shelf.run(FaultPlan::new());
            let opened = self.shelf.open(&run.io, mode);
            assert!(matches!(opened, Err(Error::DiskForeign { .. })), "two disks with one id are used");
            self.shelf.ran(&run);
        }
        self.shelf.put_back(&kept, &other);
        self.look();
    }

    /// Two histories of one store: nothing is written over them, and nothing wrong is read.
    pub fn fork(&mut self) {
        if self.shelf.disks.len() < 2 || self.index_lies {
            return;
        }
        self.backup();
        let disk = self.shelf.disks[1].clone();
        let before = self.shelf.fs.snapshot();
        let (acked, lost, attempted) = (self.acked.clone(), self.lost.clone(), self.attempted.clone());
        self.library.edit(&mut self.chance);
        self.backup(); // the other history
        let (of_other, theirs) = (self.shelf.keep(&disk), std::mem::replace(&mut self.acked, acked));
        self.attempted = attempted;
        self.lost = lost;
        self.shelf.fs = before;
        self.shelf.lose_index();
        self.shelf.clock_ns += 1_000_000_000;
        self.library.edit(&mut self.chance);
        self.backup(); // this one
        let kept = self.shelf.keep(&disk);
        self.shelf.put_back(&of_other, &disk);
        self.tally.add("forks", 1);
        let run = self.shelf.run(FaultPlan::new());
        let opened = self.shelf.open(&run.io, Mode::Write { verb: "backup" });
        assert!(
            matches!(opened, Err(Error::LogFork { .. })),
            "a fork is written to: {:?}",
            opened.err().map(|e| e.line())
        );
        self.shelf.ran(&run);
        let run = self.shelf.run(FaultPlan::new());
        if let Ok(opened) = self.shelf.open(&run.io, Mode::Read) {
            let all: Vec<_> = self.acked.iter().chain(&theirs).cloned().collect();
            for info in onefold::ops::snapshots::list(&opened.store, &[]) {
                if let Some(acked) = all.iter().find(|a| a.id == info.id) {
                    self.failing(&opened.store, &info, &acked.files); // nothing wrong
                }
            }
        }
        self.shelf.ran(&run);
        self.shelf.put_back(&kept, &disk);
        self.shelf.lose_index();
        self.look();
    }

    /// The disks and `STORE` go back to an earlier moment, and the index does not: it is newer than they are. It may even
    /// claim to stand for the log as it is now.
    pub fn revert(&mut self) {
        let Some(image) = self.images.pop() else { return };
        self.shelf.fs = image.fs;
        self.shelf.disks = image.disks;
        self.shelf.retired = image.retired;
        self.shelf.dead = image.dead;
        self.acked = image.acked;
        self.lost = image.lost;
        self.images.clear();
        let claims = self.chance.one_in(2);
        if let (Some(index), true) = (self.shelf.memory_index(), claims) {
            let run = self.shelf.run(FaultPlan::new());
            let newer = std::mem::replace(&mut self.shelf.index, Index::Memory(Arc::default()));
            let head = self.shelf.open(&run.io, Mode::Read).unwrap().store.reflected();
            self.shelf.index = newer;
            index.apply(&[], Some(head)).unwrap();
            self.index_lies = true;
            self.shelf.ran(&run);
        }
        self.look();
        self.backup();
        if claims {
            self.recover();
        }
        self.look();
    }
}
