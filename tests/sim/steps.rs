//! What may happen in a store's life. A verb that comes later adds its step here, and what it promises to [`Story`].

use super::faults;
use super::oracle::Oracle;
use super::shelf::{Index, TEN_YEARS_NS};
use super::story::{Story, allowed, line_of};
use onefold::Error;
use onefold::index::{Index as _, MemoryIndex, Place};
use onefold::io::faulty::FaultPlan;
use onefold::io::threads;
use onefold::ops::Control;
use onefold::ops::check;
use onefold::store::Mode;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    Backup,
    /// Errors, short reads, wrong bits that pass.
    BackupUnderFaults,
    BackupCut,
    BackupCancelled,
    /// A thread of it panics.
    BackupPanics,
    /// A disk or `STORE` says that it wrote what it did not.
    BackupOnALiar,
    /// A reader and a second writer beside a writer.
    BackupInCompany,
    /// The power goes while nothing is done.
    PowerCut,
    Check,
    Restore,
    ReadUnderFaults,
    Recover,
    RecoverCut,
    LoseIndex,
    OldIndex,
    LyingIndex,
    LoseHome,
    OldHome,
    /// Harm to packs.
    HarmPacks,
    /// Harm to what stands on every disk alike.
    HarmSmallFile,
    /// A disk goes, a backup runs without it, it comes back as it was or older.
    DiskAway,
    TwoDisksWithOneId,
    Fork,
    /// Everything but the index is put back to an earlier moment.
    Revert,
    Clock,
    Remember,
}

use Step::*;

/// As often as they stand here.
const STEPS: &[Step] = &[
    Backup,
    Backup,
    Backup,
    BackupUnderFaults,
    BackupUnderFaults,
    BackupUnderFaults,
    BackupCut,
    BackupCut,
    BackupCut,
    BackupCut,
    BackupCut,
    BackupCancelled,
    BackupCancelled,
    BackupPanics,
    BackupPanics,
    BackupOnALiar,
    BackupInCompany,
    BackupInCompany,
    PowerCut,
    PowerCut,
    Check,
    Restore,
    ReadUnderFaults,
    ReadUnderFaults,
    Recover,
    RecoverCut,
    LoseIndex,
    OldIndex,
    LyingIndex,
    LoseHome,
    OldHome,
    HarmPacks,
    HarmPacks,
    HarmSmallFile,
    DiskAway,
    DiskAway,
    TwoDisksWithOneId,
    Fork,
    Revert,
    Clock,
    Clock,
    Remember,
    Remember,
    Remember,
];

pub fn draw(story: &mut Story) -> Step {
    *story.chance.pick(STEPS)
}

impl Story {
    fn embedded(&self) -> bool {
        self.shelf.disks.is_empty()
    }

    pub fn step(&mut self, step: Step) {
        self.tell(format!("{step:?}"));
        self.tally.add("steps", 1);
        match step {
            Backup => {
                self.library.edit(&mut self.chance);
                self.backup();
            }
            BackupUnderFaults => {
                self.library.edit(&mut self.chance);
                let plan = faults::passing(&mut self.chance, &self.shelf, true);
                self.tell(format!("  {plan:?}"));
                self.tally.add("runs under faults", 1);
                if let Err(e) = self.backup_under(plan, None) {
                    self.tell(format!("  {}", line_of(&e)));
                }
                self.look();
                if self.chance.one_in(2) {
                    self.backup();
                }
            }
            BackupCut => {
                self.library.edit(&mut self.chance);
                let plan = faults::power_cut(&mut self.chance);
                self.tell(format!("  {plan:?}"));
                if let Err(e) = self.backup_under(plan, None) {
                    self.tell(format!("  {}", line_of(&e)));
                }
                self.look();
                if self.chance.one_in(2) {
                    self.backup();
                }
            }
            BackupCancelled => {
                self.library.edit(&mut self.chance);
                let after = self.chance.some(8);
                match self.backup_under(FaultPlan::new(), Some(after)) {
                    Ok(()) | Err(Error::Interrupted) => {}
                    Err(Error::NoSpace { .. }) if self.tight => {}
                    Err(e) => panic!("a backup that was stopped says: {}", line_of(&e)),
                }
                self.look();
            }
            BackupPanics => {
                self.library.edit(&mut self.chance);
                let plan = faults::panics(&mut self.chance);
                self.tell(format!("  {plan:?}"));
                self.backup_panics(plan);
                self.look();
                if self.chance.one_in(2) {
                    self.backup();
                }
            }
            BackupOnALiar => self.backup_on_a_liar(),
            BackupInCompany => self.backup_in_company(),
            PowerCut => {
                self.tally.add("power cuts", 1);
                self.shelf.power_cut(&mut self.chance);
                self.look();
            }
            Check => self.check_agrees(),
            Restore => self.restore_agrees(),
            ReadUnderFaults => self.read_under_faults(),
            Recover => {
                self.recover();
                self.look();
            }
            RecoverCut => {
                let plan = faults::power_cut(&mut self.chance);
                self.tell(format!("  {plan:?}"));
                let _ = self.recover_under(plan); // what it left is made good by the next one
                self.recover();
                self.look();
            }
            LoseIndex => {
                self.shelf.lose_index();
                self.index_lies = false;
                self.look();
            }
            OldIndex => self.old_index(),
            LyingIndex => self.lying_index(),
            LoseHome if !self.embedded() => {
                let home = self.shelf.home.clone();
                self.shelf.clear(&home);
                self.recover();
                self.look();
            }
            OldHome => self.old_home(),
            HarmPacks => self.harm_packs(),
            HarmSmallFile if !self.embedded() => self.harm_small_file(),
            DiskAway => self.disk_away(),
            TwoDisksWithOneId => self.two_disks_with_one_id(),
            Fork => self.fork(),
            Revert => self.revert(),
            Clock => {
                let by = [TEN_YEARS_NS, -TEN_YEARS_NS, -86_400_000_000_000, 86_400_000_000_000];
                self.shelf.clock_ns += *self.chance.pick(&by);
            }
            Remember => self.keep_image(),
            LoseHome | HarmSmallFile => {}
        }
    }

    /// A mistake of ours, in whichever thread: the run ends, with an error or with the panic, and what it did not acknowledge
    /// is no loss.
    fn backup_panics(&mut self, plan: FaultPlan) {
        let files = self.library.files.clone();
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| self.backup_that_panics(plan)));
        self.tally.add("panics", u64::from(!matches!(outcome, Ok(Ok(())))));
        match outcome {
            Ok(Ok(())) => {}
            Ok(Err(_)) | Err(_) => self.attempted.push(files),
        }
    }

    fn backup_that_panics(&mut self, plan: FaultPlan) -> Result<(), Error> {
        let run = self.shelf.run(plan);
        let opened = self.shelf.open(&run.io, Mode::Write { verb: "backup" })?;
        let source = onefold::ops::backup::Source::Paths(vec![self.library.root().to_owned()]);
        let report =
            onefold::ops::backup::run(&opened.store, crate::support::options(source, false), &Control::default())?;
        // The plan was not met: a backup like any other.
        let files = self.library.files.clone();
        let id = report.snapshot.expect("no dry run");
        if self.acked.iter().all(|a| a.id != id) {
            self.acked.push(super::oracle::Acked { id, files });
        }
        drop(opened);
        self.shelf.ran(&run);
        Ok(())
    }

    /// What check names is what cannot be had.
    fn check_agrees(&mut self) {
        if self.index_lies {
            self.recover();
        }
        let report = self.check();
        let named = self.named(&report.lost);
        assert_eq!(named, self.lost, "check names other files than are lost: {:?}", report.lost);
    }

    fn restore_agrees(&mut self) {
        if self.acked.is_empty() {
            return;
        }
        if self.index_lies {
            self.recover();
        }
        let (info, lost) =
            self.restore_under(FaultPlan::new()).unwrap_or_else(|e| panic!("restore fails: {}", line_of(&e)));
        let named = self.named(&lost);
        let of_it: BTreeSet<_> = self.lost.iter().filter(|(id, _)| *id == info.id).cloned().collect();
        assert_eq!(named, of_it, "restore names other files than are lost: {lost:?}");
    }

    fn read_under_faults(&mut self) {
        if self.acked.is_empty() {
            return;
        }
        let plan = faults::passing(&mut self.chance, &self.shelf, false);
        self.tell(format!("  {plan:?}"));
        self.tally.add("runs under faults", 1);
        if self.chance.one_in(2) {
            let _ = self.restore_under(plan); // whatever could not be read is named; nothing wrong is given
        } else {
            let run = self.shelf.run(plan);
            if let Ok(opened) = self.shelf.open(&run.io, Mode::Read).inspect_err(allowed) {
                let _ = check::run(
                    &opened.store,
                    &check::CheckOptions { read_data: true, rebuild: false },
                    &Control::default(),
                )
                .inspect_err(allowed);
            }
            self.shelf.ran(&run);
        }
        self.look();
    }

    /// A reader sees whole snapshots only, and a second writer is turned away.
    fn backup_in_company(&mut self) {
        self.library.edit(&mut self.chance);
        let (writer, reader) = (self.shelf.run(FaultPlan::new()), self.shelf.run(FaultPlan::new()));
        let files = self.library.files.clone();
        let waits = self.chance.some(8);
        let opened = match self.shelf.open(&writer.io, Mode::Write { verb: "backup" }) {
            Ok(opened) => opened,
            Err(e) => panic!("a writer cannot open: {}", line_of(&e)),
        };
        let before: Vec<_> = self.acked.clone();
        let outcome = threads::scope(|scope| {
            let beside = scope.spawn(|| {
                (0..waits).for_each(|_| threads::pause());
                let second = self.shelf.open(&reader.io, Mode::Write { verb: "backup" });
                assert!(matches!(second, Err(Error::Locked { .. })), "a second writer was let in");
                let store = self.shelf.open(&reader.io, Mode::Read).unwrap_or_else(|e| panic!("{}", line_of(&e))).store;
                let listed = onefold::ops::snapshots::list(&store, &[]);
                for info in &listed {
                    let acked = before.iter().find(|a| a.id == info.id).map(|a| &a.files);
                    // What nobody acknowledged yet is judged when all is done.
                    let Some(want) = acked else { continue };
                    let failing = self.failing(&store, info, want);
                    for (name, why) in failing {
                        let told = self.lost.contains(&(info.id, name.clone())) || self.index_lies;
                        assert!(told, "a reader beside a writer lacks {name}: {why}");
                    }
                }
            });
            let source = onefold::ops::backup::Source::Paths(vec![self.library.root().to_owned()]);
            let outcome =
                onefold::ops::backup::run(&opened.store, crate::support::options(source, false), &Control::default());
            if let Err(panic) = beside.join() {
                std::panic::resume_unwind(panic);
            }
            outcome
        });
        drop(opened);
        self.tally.add("runs in company", 1);
        self.shelf.ran(&writer);
        self.shelf.ran(&reader);
        match outcome {
            Ok(report) => {
                let id = report.snapshot.unwrap();
                if self.acked.iter().all(|a| a.id != id) {
                    self.acked.push(super::oracle::Acked { id, files });
                }
            }
            Err(Error::NoSpace { .. }) if self.tight => self.attempted.push(files),
            Err(e) => panic!("a backup beside a reader fails: {}", line_of(&e)),
        }
    }

    fn old_index(&mut self) {
        let Some(image) = self.images.last() else { return };
        match &image.index {
            Some(old) => self.shelf.index = Index::Memory(Arc::new(old.snapshot())),
            None => self.shelf.lose_index(),
        }
        self.index_lies = false;
        self.look();
    }

    /// An index whose places are mixed up, with some left out. Backups over it are whole all the same.
    fn lying_index(&mut self) {
        let Some(index) = self.shelf.memory_index() else { return };
        let mut rows = Vec::new();
        index
            .for_each(None, &mut |id, place| {
                rows.push((id, place));
                Ok(true)
            })
            .unwrap();
        let reflected = index.reflected().unwrap();
        let lying = MemoryIndex::new();
        for i in 0..rows.len() {
            let (id, place) = rows[i];
            let place = match self.chance.below(8) {
                0 => continue,
                1 => rows[self.chance.below(rows.len() as u64) as usize].1,
                2 => Place { offset: place.offset ^ self.chance.some(20) as u32, ..place },
                3 => Place { pack: place.pack + 1, ..place },
                _ => place,
            };
            lying.apply(&[(id, place)], None).unwrap();
        }
        if self.chance.one_in(2) && !rows.is_empty() {
            self.phantoms(&lying, &rows);
        }
        lying.apply(&[], reflected).unwrap();
        self.shelf.index = Index::Memory(Arc::new(lying));
        self.index_lies = true;
        self.look();
        if self.chance.one_in(2) {
            self.library.edit(&mut self.chance);
            self.backup();
        }
        self.recover();
        self.look();
    }

    /// The index names chunks that no pack holds: those of a backup that never was, at places of others. The library has
    /// them, so the next backup asks for them.
    fn phantoms(&mut self, lying: &MemoryIndex, rows: &[(onefold::format::ChunkId, Place)]) {
        let (before, acked, attempted) = (self.shelf.fs.snapshot(), self.acked.clone(), self.attempted.clone());
        self.library.edit(&mut self.chance);
        let kept = std::mem::replace(&mut self.shelf.index, Index::Memory(Arc::default()));
        self.backup();
        let future = self.shelf.memory_index().expect("it was put there just now");
        future
            .for_each(None, &mut |id, _| {
                if rows.iter().all(|(known, _)| *known != id) {
                    let place = rows[self.chance.below(rows.len() as u64) as usize].1;
                    lying.apply(&[(id, place)], None)?;
                }
                Ok(true)
            })
            .unwrap();
        self.shelf.index = kept;
        (self.shelf.fs, self.acked, self.attempted) = (before, acked, attempted);
        self.tally.add("indexes with phantoms", 1);
    }

    fn old_home(&mut self) {
        if self.embedded() {
            return;
        }
        let Some(image) = self.images.last() else { return };
        let (home, now) = (self.shelf.home.clone(), self.shelf.fs.clone());
        self.shelf.fs = image.fs.snapshot();
        let kept = self.shelf.keep(&home);
        self.shelf.fs = now;
        self.shelf.put_back(&kept, &home);
        self.look();
        self.backup();
    }

    // ---- more is destroyed than the store promises to survive ------------------------------------

    fn oracle(&mut self) -> Oracle {
        if self.index_lies {
            self.recover();
        }
        let run = self.shelf.run(FaultPlan::new());
        let store = self.shelf.open(&run.io, Mode::Read).unwrap_or_else(|e| panic!("{}", line_of(&e))).store;
        let oracle = Oracle::new(&store, &run.io, self.library.root(), &self.acked, &self.lost);
        drop(store);
        self.shelf.ran(&run);
        oracle
    }

    fn pack_bytes(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        self.shelf.packs().into_iter().map(|p| (p.clone(), self.shelf.fs.read(&p).unwrap())).collect()
    }

    /// What can be had and what is named must be just what the bytes on the disks allow; then whatever the library still
    /// holds is healed by a backup.
    fn named_and_healed(&mut self, oracle: &Oracle) {
        self.destroyed = true;
        let mut gone = oracle.lost(&self.pack_bytes());
        self.tally.add("files lost", gone.len() as u64);
        gone.extend(self.lost.iter().cloned());
        let report = self.check();
        let named = self.named(&report.lost);
        if self.parity > 0 {
            gone.retain(|file| named.contains(file)); // the others come out of their groups
        }
        if let Some(file) = gone.difference(&named).next() {
            panic!("{} of {} is lost and not named: {:?}", file.1, file.0.short(), report.problems);
        }
        for file in named.difference(&gone) {
            // a folder that cannot be read names all that is in it
            assert!(
                !self.named_itself(&report.lost, file),
                "{} of {} is named and not lost: {:?}",
                file.1,
                file.0.short(),
                report.lost
            );
        }
        self.lost = gone;
        let run = self.shelf.run(FaultPlan::new());
        let opened =
            self.shelf.open(&run.io, Mode::Write { verb: "check" }).unwrap_or_else(|e| panic!("{}", line_of(&e)));
        check::record(&opened.store, &report.damage, &report.healed).unwrap();
        drop(opened);
        self.shelf.ran(&run);
        self.recover();
        self.exactly_these_are_lost();
        if !self.acked.is_empty() && self.chance.one_in(2) {
            let (info, lost) =
                self.restore_under(FaultPlan::new()).unwrap_or_else(|e| panic!("restore fails: {}", line_of(&e)));
            for file in self.named(&lost) {
                let known = self.lost.contains(&file) || !self.named_itself(&lost, &file);
                assert!(known, "restore names {} of {}, which is not lost", file.1, info.id.short());
            }
        }
        self.heal();
    }

    fn exactly_these_are_lost(&mut self) {
        let run = self.shelf.run(FaultPlan::new());
        let store = self.shelf.open(&run.io, Mode::Read).unwrap_or_else(|e| panic!("{}", line_of(&e))).store;
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
    fn heal(&mut self) {
        self.backup();
        let newest = self.acked.last().map(|a| a.id);
        let held: BTreeSet<&Vec<u8>> = self.library.files.values().map(|b| &**b).collect();
        let run = self.shelf.run(FaultPlan::new());
        let store = self.shelf.open(&run.io, Mode::Read).unwrap().store;
        let listed = self.listed(&store);
        let mut still = BTreeSet::new();
        for acked in &self.acked {
            let info = listed.iter().find(|i| i.id == acked.id).unwrap();
            for (name, why) in self.failing(&store, info, &acked.files) {
                assert!(Some(acked.id) != newest, "{name} was backed up just now, and is lost: {why}");
                let path = super::oracle::path_in(self.library.root(), &name);
                let entry = onefold::catalog::tree::lookup(&store, &info.snapshot.tree, &path);
                let healed = entry.is_ok() && held.contains(&*acked.files[&name]);
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

    fn harm_packs(&mut self) {
        let packs = self.shelf.packs();
        if packs.is_empty() || self.acked.is_empty() {
            return;
        }
        let oracle = self.oracle();
        for _ in 0..=self.chance.below(2) {
            let path = self.chance.pick(&packs).clone();
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
        self.named_and_healed(&oracle);
    }

    fn harm_small_file(&mut self) {
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
        let small: Vec<PathBuf> = self.shelf.fs.paths().into_iter().filter(is_small).collect();
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

    fn backup_on_a_liar(&mut self) {
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
        let store = self.shelf.open(&run.io, Mode::Read).unwrap_or_else(|e| panic!("{}", line_of(&e))).store;
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
        let run = self.shelf.run(FaultPlan::new());
        let opened =
            self.shelf.open(&run.io, Mode::Write { verb: "check" }).unwrap_or_else(|e| panic!("{}", line_of(&e)));
        check::record(&opened.store, &report.damage, &report.healed).unwrap();
        drop(opened);
        self.shelf.ran(&run);
        self.heal();
    }

    fn disk_away(&mut self) {
        if self.shelf.disks.len() < 2 || self.acked.is_empty() {
            return;
        }
        let oracle = self.oracle();
        let disk = self.chance.pick(&self.shelf.disks).clone();
        let kept = self.shelf.keep(&disk);
        self.shelf.clear(&disk);
        let known = self.lost.clone();
        self.away = true;
        // The index has one place of each chunk: made anew, it is one that is here.
        self.recover();
        // While it is away, what lies on it is out of reach, and named.
        let mut away = oracle.lost(&self.pack_bytes());
        away.extend(known.iter().cloned());
        let report = self.check();
        let named = self.named(&report.lost);
        if self.parity > 0 {
            away.retain(|file| named.contains(file));
            assert!(self.destroyed || away.is_empty(), "one disk is away, and files are lost: {:?}", report.lost);
        }
        for file in named.symmetric_difference(&away) {
            let by_folder = named.contains(file) && !self.named_itself(&report.lost, file);
            assert!(by_folder, "disk away: {} of {}: named {}", file.1, file.0.short(), named.contains(file));
        }
        self.lost = away;
        self.exactly_these_are_lost();
        self.library.edit(&mut self.chance);
        self.heal(); // a backup meanwhile is whole without that disk
        let while_away = self.acked.last().unwrap().clone();
        self.tally.add("disks away", 1);
        self.away = false;
        let old = self.images.last().filter(|_| self.chance.one_in(2)).map(|image| image.fs.snapshot());
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
        let mut gone: BTreeSet<_> = oracle.lost(&self.pack_bytes());
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
        let run = self.shelf.run(FaultPlan::new());
        let opened =
            self.shelf.open(&run.io, Mode::Write { verb: "check" }).unwrap_or_else(|e| panic!("{}", line_of(&e)));
        check::record(&opened.store, &report.damage, &report.healed).unwrap();
        drop(opened);
        self.shelf.ran(&run);
        self.recover();
        self.heal();
    }

    fn two_disks_with_one_id(&mut self) {
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
    fn fork(&mut self) {
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
            opened.err().map(|e| line_of(&e))
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
    fn revert(&mut self) {
        let Some(image) = self.images.pop() else { return };
        self.shelf.fs = image.fs;
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
