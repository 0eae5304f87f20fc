//! One store's life by one seed: what was promised so far, and whether it holds.

use super::chance::Chance;
use super::library::{Files, Library};
use super::oracle::{Acked, FileOf, Pristine, path_in};
use super::shelf::{Kept, Run, Shelf};
use onefold::format::SnapshotId;
use onefold::io::faulty::FaultPlan;
use onefold::io::memory::MemFs;
use onefold::ops::backup::{self, Source};
use onefold::ops::check::{self, CheckOptions, CheckReport};
use onefold::ops::recover::{self, RecoverOptions};
use onefold::ops::restore::{self, RestoreOptions};
use onefold::ops::snapshots::{self, SnapshotInfo};
use onefold::ops::{Control, FileLost, Notice, cat};
use onefold::store::{MEMORY_MIN, Mode, Store};
use onefold::{Error, index::MemoryIndex};
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

/// A moment of a store's life.
pub struct Image {
    pub fs: MemFs,
    pub index: Option<MemoryIndex>,
    pub disks: Vec<PathBuf>,
    pub dead: Vec<Kept>,
    pub retired: Vec<PathBuf>,
    pub acked: Vec<Acked>,
    pub lost: BTreeSet<FileOf>,
}

/// What a seed did, for the record.
#[derive(Default)]
pub struct Tally(pub BTreeMap<&'static str, u64>);

impl Tally {
    pub fn add(&mut self, what: &'static str, n: u64) {
        *self.0.entry(what).or_default() += n;
    }
}

pub struct Story {
    pub chance: Chance,
    pub shelf: Shelf,
    pub library: Library,
    /// Snapshots that must be there, oldest first.
    pub acked: Vec<Acked>,
    /// What backups held that were not acknowledged: a snapshot of one may be there, and then must be right.
    pub attempted: Vec<Files>,
    /// Files whose loss was found and named, because more was destroyed than the store promises to survive.
    pub lost: BTreeSet<FileOf>,
    /// Snapshots that were split anew: what each was before.
    pub was: BTreeMap<SnapshotId, SnapshotId>,
    /// Files are stored without splitters now and then, and split anew later.
    pub resplits: bool,
    /// The index says things that are not so: files may be out of reach until it is made anew.
    pub index_lies: bool,
    /// More was destroyed than the store promises to survive, also of snapshots that nobody acknowledged.
    pub destroyed: bool,
    /// A disk is away.
    pub away: bool,
    /// Packs as they were sealed.
    pub pristine: Pristine,
    /// Disks have little room.
    pub tight: bool,
    pub images: Vec<Image>,
    pub tally: Tally,
    /// What was done, in words, for whoever reads why it failed.
    pub told: Vec<String>,
}

/// The error of an operation that may fail, if it is one of the world's and not of ours.
pub fn allowed(e: &Error) {
    assert!(!matches!(e, Error::WorkerLost { .. }), "a worker panicked: {e}");
}

impl Story {
    pub fn tell(&mut self, what: impl Into<String>) {
        self.told.push(what.into());
    }

    /// Reads one file of a snapshot.
    pub fn cat(
        &self,
        store: &Store,
        info: &SnapshotInfo,
        name: &str,
        range: Option<(u64, u64)>,
    ) -> onefold::Result<Vec<u8>> {
        let mut out = Vec::new();
        let path = path_in(self.library.root(), name);
        match cat::run(store, info, &path, range, &mut out, &Control::default()) {
            Ok(_) => Ok(out),
            Err(e) => {
                allowed(&e);
                // What came before the error must be right all the same: the caller compares.
                Err(e)
            }
        }
    }

    /// Reads every file of a snapshot. Wrong bytes are the end; what cannot be had comes back.
    pub fn failing(&self, store: &Store, info: &SnapshotInfo, files: &Files) -> BTreeMap<String, String> {
        let mut failing = BTreeMap::new();
        for (name, want) in files {
            match self.cat(store, info, name, None) {
                Ok(got) => assert!(got == **want, "{name} of {} came back wrong", info.id.short()),
                Err(e) => drop(failing.insert(name.clone(), e.line())),
            }
        }
        failing
    }

    /// How this library is backed up. Without splitters by its edits, so that no chance is drawn for it.
    pub fn options(&self, source: onefold::ops::backup::Source, force: bool) -> onefold::ops::backup::BackupOptions {
        let mut options = crate::support::options(source, force);
        if self.resplits && self.library.writes % 4 != 0 {
            options.coding = options.coding.without(onefold::chunk::Technique::Splitters);
        }
        options
    }

    /// Follows acknowledged snapshots to what they are since their files were split anew; or back, where that was not
    /// acknowledged and is not known any more.
    fn follow(&mut self, store: &Store, listed: &[SnapshotInfo]) {
        let is_live = |id: &SnapshotId| listed.iter().any(|i| i.id == *id);
        for acked in &mut self.acked {
            let old = acked.id;
            let mut now = store.with_state(|s| s.now(&old));
            while !is_live(&now)
                && let Some(before) = self.was.get(&now)
            {
                now = *before;
            }
            if now == old || !is_live(&now) {
                continue;
            }
            if store.with_state(|s| s.now(&old)) == now {
                self.was.insert(now, old);
            }
            acked.id = now;
            let lost = std::mem::take(&mut self.lost);
            self.lost = lost.into_iter().map(|(id, name)| (if id == old { now } else { id }, name)).collect();
        }
    }

    /// Every acknowledged snapshot is listed, and what is listed besides is what someone tried to store.
    pub fn listed(&mut self, store: &Store) -> Vec<SnapshotInfo> {
        let listed = snapshots::list(store, &[]);
        self.follow(store, &listed);
        for acked in &self.acked {
            assert!(
                listed.iter().any(|i| i.id == acked.id),
                "snapshot {} was acknowledged and is not there",
                acked.id.short()
            );
        }
        listed
    }

    /// A snapshot that nobody acknowledged is there: it must be one that was tried, and right.
    /// Whether all of it can be had comes with it.
    fn known_attempt(&self, store: &Store, info: &SnapshotInfo) -> (Files, bool) {
        let harmed = self.away || self.index_lies || self.destroyed;
        let mut whole = true;
        let holds = |files: &&Files| {
            files.len() as u64 == info.snapshot.counts.files
                && files.iter().all(|(name, want)| match self.cat(store, info, name, None) {
                    Ok(got) => got == **want,
                    Err(_) => harmed,
                })
        };
        let found = self.attempted.iter().rev().find(holds).cloned();
        if let Some(files) = &found {
            whole = self.failing(store, info, files).is_empty();
        }
        found
            .map(|files| (files, whole))
            .unwrap_or_else(|| panic!("snapshot {} is there, and is none that was ever tried", info.id.short()))
    }

    /// Opens, and reads a file here and there.
    pub fn look(&mut self) {
        let run = self.shelf.run(FaultPlan::new());
        let opened =
            self.shelf.open(&run.io, Mode::Read).unwrap_or_else(|e| panic!("it cannot be opened: {}", e.line()));
        self.told.extend(opened.notices.iter().map(|n| format!("    look: {n}")));
        let store = opened.store;
        let listed = self.listed(&store);
        if !self.acked.is_empty() {
            let nth = self.chance.below(self.acked.len() as u64) as usize;
            let acked = self.acked[nth].clone();
            let info = listed.iter().find(|i| i.id == acked.id).unwrap();
            let names: Vec<&String> = acked.files.keys().collect();
            for _ in 0..names.len().min(3) {
                let name = *self.chance.pick(&names);
                let want = &acked.files[name];
                let range = (self.chance.one_in(2) && !want.is_empty()).then(|| {
                    let from = self.chance.below(want.len() as u64);
                    (from, from + self.chance.below(20_000))
                });
                let wanted = range.map_or(&want[..], |(a, b)| &want[a as usize..want.len().min(b as usize + 1)]);
                match self.cat(&store, info, name, range) {
                    Ok(got) => assert!(got == wanted, "{name} of {} came back wrong", info.id.short()),
                    Err(e) if self.index_lies || self.lost.contains(&(acked.id, name.clone())) => allowed(&e),
                    Err(e) => {
                        let (name, id, why) = (name.clone(), info.id, e.line());
                        let nth = self.acked.iter().position(|a| a.id == id);
                        drop(store);
                        self.recover();
                        let run = self.shelf.run(FaultPlan::new());
                        let store = self.shelf.open(&run.io, Mode::Read).unwrap().store;
                        let info = self.listed(&store).into_iter().find(|i| i.id == id).unwrap();
                        let then = self.cat(&store, &info, &name, None).is_ok();
                        panic!("{name} of {} (snapshot {nth:?}) is lost: {why}; after recover: {then}", id.short());
                    }
                }
            }
        }
        drop(store);
        self.shelf.ran(&run);
    }

    /// Everything that was promised, bit for bit.
    pub fn look_at_all(&mut self) {
        if self.index_lies {
            self.recover();
        }
        let run = self.shelf.run(FaultPlan::new());
        let store =
            self.shelf.open(&run.io, Mode::Read).unwrap_or_else(|e| panic!("it cannot be opened: {}", e.line())).store;
        let listed = self.listed(&store);
        for info in &listed {
            let Some(acked) = self.acked.iter().find(|a| a.id == info.id) else {
                self.known_attempt(&store, info);
                continue;
            };
            for (name, why) in self.failing(&store, info, &acked.files) {
                assert!(self.lost.contains(&(acked.id, name.clone())), "{name} of {} is lost: {why}", info.id.short());
            }
        }
        let report =
            check::run(&store, &CheckOptions { read_data: true, rebuild: false }, &Control::default()).unwrap();
        self.tally.add("files proven", report.files);
        let named = self.named(&report.lost);
        for file in &named {
            assert!(self.lost.contains(file), "check calls {} of {} lost: {:?}", file.1, file.0.short(), report.lost);
        }
        if !self.destroyed {
            assert_eq!(report.files_lost, 0, "{:?}", report.lost);
        }
        drop(store);
        self.shelf.ran(&run);
    }

    /// The files that a report names: itself, or by a folder that cannot be read.
    pub fn named(&self, lost: &[FileLost]) -> BTreeSet<FileOf> {
        let mut named = BTreeSet::new();
        for l in lost {
            for acked in self.acked.iter().filter(|a| a.id.to_string() == l.snapshot) {
                for name in acked.files.keys() {
                    let path = path_in(self.library.root(), name);
                    let below = path.strip_prefix(l.path.as_slice());
                    if l.path == b"/" || below.is_some_and(|b| b.is_empty() || b.starts_with(b"/")) {
                        named.insert((acked.id, name.clone()));
                    }
                }
            }
        }
        named
    }

    /// Whether a file is named by itself, and not by a folder above it.
    pub fn named_itself(&self, lost: &[FileLost], file: &FileOf) -> bool {
        let path = path_in(self.library.root(), &file.1);
        lost.iter().any(|l| l.snapshot == file.0.to_string() && l.path == path)
    }

    /// A run is over: if the power went in it, what was not synced is left to chance.
    pub fn ended(&mut self, run: &Run) {
        if run.fs.is_cut() {
            self.tally.add("power cuts", 1);
            self.shelf.power_cut(&mut self.chance);
        }
        self.shelf.ran(run);
    }

    /// Logs what a check found, as the command does.
    pub fn note(&mut self, report: &CheckReport) {
        let run = self.shelf.run(FaultPlan::new());
        let opened = self.shelf.open(&run.io, Mode::Write { verb: "check" }).unwrap_or_else(|e| panic!("{}", e.line()));
        check::record(&opened.store, &report.damage, &report.healed).unwrap();
        drop(opened);
        self.shelf.ran(&run);
    }

    /// Backs up under a plan of faults. True where it was acknowledged.
    pub fn backup_under(&mut self, plan: FaultPlan, cancel_after: Option<u64>) -> Result<(), Error> {
        let run = self.shelf.run(plan);
        let outcome = self.backup_in(&run.io, cancel_after);
        self.ended(&run);
        if let Err(e) = &outcome {
            allowed(e);
        }
        outcome
    }

    fn backup_in(&mut self, io: &onefold::io::Io, cancel_after: Option<u64>) -> Result<(), Error> {
        let files = self.library.files.clone();
        let force = self.chance.one_in(8);
        let noticed = Arc::new(Mutex::new(Vec::new()));
        let mut open = || {
            let opened = self.shelf.open(io, Mode::Write { verb: "backup" })?;
            noticed.lock().unwrap().extend(opened.notices.iter().map(|n| format!("    open: {n}")));
            Ok(opened.store)
        };
        let options = self.options(Source::Paths(vec![self.library.root().to_owned()]), force);
        let sink = Arc::clone(&noticed);
        let control = Control::with_sink(move |n| sink.lock().unwrap().push(format!("    {n:?}")));
        let outcome = onefold::io::threads::scope(|scope| {
            if let Some(n) = cancel_after {
                let control = &control;
                scope.spawn(move || {
                    (0..n).for_each(|_| onefold::io::threads::pause());
                    control.cancel();
                });
            }
            backup::over::run(&mut open, options, &control)
        });
        self.told.append(&mut noticed.lock().unwrap());
        match outcome {
            Ok(report) => {
                assert!(report.complete, "sources were unreadable: {report:?}");
                let id = report.snapshot.unwrap();
                self.tally.add("backups acknowledged", 1);
                if self.acked.iter().all(|a| a.id != id) {
                    self.acked.push(Acked { id, files });
                }
                Ok(())
            }
            Err(e) => {
                self.tally.add("backups failed", 1);
                self.attempted.push(files);
                Err(e)
            }
        }
    }

    /// A backup that nothing hinders. What is there besides, from backups that were not acknowledged, stays from now on.
    pub fn backup(&mut self) {
        loop {
            match self.backup_under(FaultPlan::new(), None) {
                Ok(()) => break,
                Err(Error::NoSpace { .. }) if self.tight => {
                    self.tally.add("full shelves", 1);
                    self.tight = false;
                    self.shelf.room = None;
                    for path in self.shelf.disks.iter().chain([&self.shelf.home]) {
                        self.shelf.fs.set_capacity(path, 1 << 40).unwrap();
                    }
                }
                Err(e) => panic!("a backup that nothing hinders fails: {}", e.line()),
            }
        }
        let run = self.shelf.run(FaultPlan::new());
        let store = self.shelf.open(&run.io, Mode::Read).unwrap().store;
        let extra: Vec<SnapshotInfo> =
            self.listed(&store).into_iter().filter(|i| self.acked.iter().all(|a| a.id != i.id)).collect();
        if !self.index_lies {
            for info in extra {
                let (files, whole) = self.known_attempt(&store, &info);
                if whole {
                    self.tally.add("snapshots that outlived their backup", 1);
                    self.acked.push(Acked { id: info.id, files });
                }
            }
        }
        drop(store);
        self.shelf.ran(&run);
    }

    /// Makes the index, and what of `STORE` is missing, anew.
    pub fn recover(&mut self) {
        self.recover_under(FaultPlan::new()).unwrap_or_else(|e| panic!("recover fails: {}", e.line()));
    }

    pub fn recover_under(&mut self, plan: FaultPlan) -> Result<(), Error> {
        let run = self.shelf.run(plan);
        self.shelf.lose_index();
        let here = |p: &&PathBuf| self.shelf.fs.read(p.join("onefold-disk")).is_ok();
        let disks: Vec<PathBuf> = self.shelf.disks.iter().filter(here).cloned().collect();
        let options = RecoverOptions { store: self.shelf.home.clone(), disks, memory_bytes: MEMORY_MIN };
        let outcome = recover::run_with(&run.io, &options, self.shelf.kind(), &Control::default());
        self.tally.add("recovers", 1);
        self.ended(&run);
        self.index_lies = outcome.is_err();
        outcome.map(drop).inspect_err(allowed)
    }

    /// Checks with all data read.
    pub fn check(&mut self) -> CheckReport {
        let run = self.shelf.run(FaultPlan::new());
        let store =
            self.shelf.open(&run.io, Mode::Read).unwrap_or_else(|e| panic!("it cannot be opened: {}", e.line())).store;
        let report =
            check::run(&store, &CheckOptions { read_data: true, rebuild: false }, &Control::default()).unwrap();
        drop(store);
        self.tally.add("checks", 1);
        self.shelf.ran(&run);
        report
    }

    /// Restores a snapshot into real files under a plan of faults, and compares them. Returns what was named as lost.
    pub fn restore_under(&mut self, plan: FaultPlan) -> Result<(SnapshotInfo, Vec<FileLost>), Error> {
        let run = self.shelf.run(plan);
        let nth = self.chance.below(self.acked.len() as u64) as usize;
        let acked = self.acked[nth].clone();
        let target = tempfile::tempdir().unwrap();
        let opened = self.shelf.open(&run.io, Mode::Read)?;
        let info = snapshots::list(&opened.store, &[]).into_iter().find(|i| i.id == acked.id);
        let Some(snapshot) = info else {
            // under faults the log may be read as it was earlier; without, this is a loss
            return Err(Error::NoSnapshot { name: acked.id.to_string() });
        };
        let lost = Arc::new(Mutex::new(Vec::new()));
        let sink = Arc::clone(&lost);
        let control = Control::with_sink(move |n| {
            if let Notice::FileLost(l) = n {
                sink.lock().unwrap().push(l);
            }
        });
        let options = RestoreOptions {
            snapshot: snapshot.clone(),
            path: Some(self.library.root().as_os_str().as_encoded_bytes().to_vec()),
            target: target.path().to_owned(),
            includes: vec![],
            overwrite: false,
            owner: false,
            partial: false,
        };
        let outcome = restore::run(&opened.store, &options, &control);
        drop(opened);
        self.tally.add("restores", 1);
        self.shelf.ran(&run);
        let report = outcome.inspect_err(allowed)?;
        let lost = std::mem::take(&mut *lost.lock().unwrap());
        assert_eq!(report.files_lost, lost.len() as u64);
        let named: BTreeSet<String> =
            self.named(&lost).into_iter().filter(|(id, _)| *id == acked.id).map(|(_, name)| name).collect();
        for (name, want) in &acked.files {
            match std::fs::read(target.path().join(name)) {
                Ok(got) => assert!(got == **want, "{name} was restored wrong"),
                Err(_) => assert!(named.contains(name), "{name} was not restored, and is not named: {lost:?}"),
            }
        }
        Ok((snapshot, lost))
    }

    /// Keeps this moment, to be put back later.
    pub fn keep_image(&mut self) {
        let index = self.shelf.memory_index().map(|index| index.snapshot());
        let image = Image {
            fs: self.shelf.fs.snapshot(),
            index,
            disks: self.shelf.disks.clone(),
            dead: self.shelf.dead.clone(),
            retired: self.shelf.retired.clone(),
            acked: self.acked.clone(),
            lost: self.lost.clone(),
        };
        self.images.push(image);
    }
}
