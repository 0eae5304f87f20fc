//! What may happen in a store's life. A verb that comes later adds its step here, and what it promises to [`Story`].

use super::faults;
use super::shelf::{Index, TEN_YEARS_NS};
use super::story::{Story, allowed};
use onefold::Error;
use onefold::index::{Index as _, MemoryIndex, Place};
use onefold::io::faulty::FaultPlan;
use onefold::io::threads;
use onefold::ops::Control;
use onefold::ops::check;
use onefold::ops::compact::Split;
use onefold::store::Mode;
use std::collections::BTreeSet;
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
    Forget,
    ForgetCut,
    Gc,
    GcCut,
    GcUnderFaults,
    Compact,
    CompactCut,
    CompactUnderFaults,
    /// Files are split anew. In lives alone that store some without splitters.
    Resplit,
    ResplitCut,
    ResplitUnderFaults,
    Scrub,
    ScrubCut,
    ScrubUnderFaults,
    /// Disks die for good, or until they come back. What follows is whole, cut, or under faults, by chance.
    DisksDie,
    DiskDiesInBackup,
    DeadDiskReturns,
    DiskAdd,
    DiskReplace,
    DiskDrain,
    DiskRemoveLost,
    SetParity,
    Rebalance,
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
    Forget,
    Forget,
    ForgetCut,
    Gc,
    Gc,
    GcCut,
    GcCut,
    GcUnderFaults,
    GcUnderFaults,
    Compact,
    Compact,
    CompactCut,
    CompactCut,
    CompactUnderFaults,
    CompactUnderFaults,
    Scrub,
    Scrub,
    ScrubCut,
    ScrubUnderFaults,
    DisksDie,
    DisksDie,
    DiskDiesInBackup,
    DiskDiesInBackup,
    DeadDiskReturns,
    DiskAdd,
    DiskAdd,
    DiskReplace,
    DiskReplace,
    DiskReplace,
    DiskDrain,
    DiskDrain,
    DiskRemoveLost,
    DiskRemoveLost,
    SetParity,
    Rebalance,
    Rebalance,
];

pub fn draw(story: &mut Story) -> Step {
    if story.resplits && story.chance.one_in(4) {
        return *story.chance.pick(&[Resplit, Resplit, ResplitCut, ResplitCut, ResplitUnderFaults]);
    }
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
                    self.tell(format!("  {}", e.line()));
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
                    self.tell(format!("  {}", e.line()));
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
                    Err(e) => panic!("a backup that was stopped says: {}", e.line()),
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
            Forget => self.forget(None),
            ForgetCut => {
                let plan = faults::power_cut(&mut self.chance);
                self.tell(format!("  {plan:?}"));
                self.forget(Some(plan));
            }
            Gc => self.gc(None),
            GcCut => {
                let plan = faults::power_cut(&mut self.chance);
                self.tell(format!("  {plan:?}"));
                self.forget(None);
                self.gc(Some(plan));
                if self.chance.one_in(2) {
                    self.gc(None);
                }
            }
            Compact => self.compact(None, None),
            Resplit => {
                let split = Some(*self.chance.pick(&[Split::Older, Split::Older, Split::All]));
                self.compact(None, split);
                if self.chance.one_in(2) {
                    self.gc(None);
                }
            }
            CompactCut | CompactUnderFaults | ResplitCut | ResplitUnderFaults => {
                let split = matches!(step, ResplitCut | ResplitUnderFaults).then_some(Split::Older);
                let plan = match step {
                    CompactCut | ResplitCut => faults::power_cut(&mut self.chance),
                    _ => faults::passing(&mut self.chance, &self.shelf, true),
                };
                self.tell(format!("  {plan:?}"));
                self.compact(Some(plan), split);
                if self.chance.one_in(2) {
                    self.gc(None);
                }
            }
            Scrub => self.scrub(None),
            ScrubCut => {
                let plan = faults::power_cut(&mut self.chance);
                self.tell(format!("  {plan:?}"));
                self.scrub(Some(plan));
            }
            ScrubUnderFaults => {
                let plan = faults::passing(&mut self.chance, &self.shelf, true);
                self.tell(format!("  {plan:?}"));
                self.tally.add("runs under faults", 1);
                self.scrub(Some(plan));
                if self.chance.one_in(2) {
                    self.scrub(None);
                }
            }
            GcUnderFaults => {
                let plan = faults::passing(&mut self.chance, &self.shelf, true);
                self.tell(format!("  {plan:?}"));
                self.tally.add("runs under faults", 1);
                self.forget(None);
                self.gc(Some(plan));
                if self.chance.one_in(2) {
                    self.backup();
                }
            }
            DisksDie => self.disks_die(),
            DiskDiesInBackup => self.disk_dies_in_backup(),
            DeadDiskReturns => self.dead_disk_returns(),
            DiskAdd if !self.embedded() => self.disk_add(),
            DiskReplace if !self.embedded() => self.disk_replace(),
            DiskDrain => self.disk_drain(),
            DiskRemoveLost => self.disk_remove_lost(),
            SetParity => self.set_parity(),
            Rebalance => self.rebalance(),
            LoseHome | HarmSmallFile | DiskAdd | DiskReplace => {}
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
        let report = onefold::ops::backup::run(&opened.store, self.options(source, false), &Control::default())?;
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
        self.see_what_came_back();
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
        self.see_what_came_back();
        let (info, lost) =
            self.restore_under(FaultPlan::new()).unwrap_or_else(|e| panic!("restore fails: {}", e.line()));
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
            Err(e) => panic!("a writer cannot open: {}", e.line()),
        };
        let before: Vec<_> = self.acked.clone();
        let outcome = threads::scope(|scope| {
            let beside = scope.spawn(|| {
                (0..waits).for_each(|_| threads::pause());
                let second = self.shelf.open(&reader.io, Mode::Write { verb: "backup" });
                assert!(matches!(second, Err(Error::Locked { .. })), "a second writer was let in");
                let store = self.shelf.open(&reader.io, Mode::Read).unwrap_or_else(|e| panic!("{}", e.line())).store;
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
            let outcome = onefold::ops::backup::run(&opened.store, self.options(source, false), &Control::default());
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
            Err(e) => panic!("a backup beside a reader fails: {}", e.line()),
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
        let has_phantoms = self.chance.one_in(2) && !rows.is_empty();
        if has_phantoms {
            self.phantoms(&lying, &rows);
        }
        lying.apply(&[], reflected).unwrap();
        self.shelf.index = Index::Memory(Arc::new(lying));
        self.index_lies = true;
        self.look();
        if has_phantoms {
            self.backup(); // of just what the index claims to have
        } else if self.chance.one_in(2) {
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
        self.tell_places();
        self.look();
        self.backup();
    }
}
