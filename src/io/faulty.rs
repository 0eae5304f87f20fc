//! Faults by plan: any filesystem, with errors, lies and a power cut at chosen operations.
//!
//! Owns the counting of operations and the rules that spoil them. It holds no bytes: what a power cut
//! leaves is for [`super::memory`] to say, so a crash test runs over `FaultyFs` over `MemFs`, counts the
//! syncs of a whole run by [`FaultyFs::counts`], and then cuts a fresh run at each of them.
//!
//! # Invariants
//!
//! 1. The n-th operation of a class is the same one in every run that asks for the same things in the
//!    same order. Nothing here depends on time or chance.
//! 2. After a power cut nothing gets through any more, neither by the filesystem nor by an open file.

use super::threads::pause;
use super::{DirEntry, File, Fs, Kind, Lock, Space};
use rustix::io::Errno;
use std::io::{self, IoSlice};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Classes that operations are counted in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Op {
    /// [`Fs::open`] and [`Fs::try_lock`].
    Open,
    /// [`Fs::create_new`] and [`Fs::create_dir_all`].
    Create,
    /// [`File::read_at`].
    Read,
    /// [`File::write_all_at`] and [`Fs::write_lock_note`].
    Write,
    /// [`File::sync`].
    Sync,
    SyncDir,
    /// [`Fs::rename`], [`Fs::rename_new`] and [`Fs::link`].
    Rename,
    /// [`Fs::remove_file`] and [`Fs::remove_dir`].
    Remove,
    /// What asks the filesystem without opening: [`Fs::list`], [`Fs::stat`] and [`Fs::space`].
    List,
}

impl Op {
    /// All classes.
    pub const ALL: [Op; 9] =
        [Op::Open, Op::Create, Op::Read, Op::Write, Op::Sync, Op::SyncDir, Op::Rename, Op::Remove, Op::List];
}

/// Which operations a rule is about, counted from 1 among those of its class whose path fits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// This one.
    Nth(u64),
    /// Each whose number this divides; 1 is all, 0 none.
    Every(u64),
    /// This one and all later ones.
    From(u64),
}

impl When {
    fn is(self, number: u64) -> bool {
        match self {
            When::Nth(n) => number == n,
            When::Every(n) => n != 0 && number.is_multiple_of(n),
            When::From(n) => number >= n,
        }
    }
}

/// The errors that disks give.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// `EIO`: the medium or its cable.
    Io,
    /// `ENOSPC`.
    Full,
    /// `EROFS`: what Linux makes of a filesystem with errors.
    ReadOnly,
}

impl Failure {
    fn error(self) -> io::Error {
        io::Error::from_raw_os_error(match self {
            Failure::Io => Errno::IO.raw_os_error(),
            Failure::Full => Errno::NOSPC.raw_os_error(),
            Failure::ReadOnly => Errno::ROFS.raw_os_error(),
        })
    }
}

/// What happens to an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// It is not carried out and fails.
    Fail(Failure),
    /// The power goes before it: it and every later operation fail.
    PowerCut,
    /// The power goes behind it: it is carried out, but its caller and every later one get an error.
    PowerCutAfter,
    /// Reads: at most half of what was asked for comes back, one byte at least.
    ShortRead,
    /// Reads: one bit of what comes back is wrong, by its number modulo the bits that were read.
    FlipBit(u64),
    /// Writes, syncs, renames, removals: it says that all is well and does nothing, as a disk whose
    /// cache lies.
    Lose,
    /// The thread that asks for it panics, as a mistake of ours would make it.
    Panic,
    /// Writes: the bytes land so many bytes behind their place, and it says that all is well.
    Misplace(u64),
}

impl Action {
    /// Whether it means something for a class.
    fn suits(self, op: Op) -> bool {
        match self {
            Action::Fail(_) | Action::PowerCut | Action::PowerCutAfter | Action::Panic => true,
            Action::ShortRead | Action::FlipBit(_) => op == Op::Read,
            Action::Misplace(_) => op == Op::Write,
            Action::Lose => matches!(op, Op::Write | Op::Sync | Op::SyncDir | Op::Rename | Op::Remove),
        }
    }
}

/// Rules, tried in their order; the first that fits an operation decides it.
#[derive(Debug, Default)]
pub struct FaultPlan {
    rules: Vec<Rule>,
}

#[derive(Debug)]
struct Rule {
    op: Op,
    when: When,
    path: Option<String>,
    action: Action,
    /// Operations so far that fitted by class and path.
    met: AtomicU64,
}

impl FaultPlan {
    /// Makes a plan without faults: operations are counted only.
    pub fn new() -> FaultPlan {
        FaultPlan::default()
    }

    /// Adds a rule for operations on any path.
    ///
    /// # Panics
    /// Where the action means nothing for the class, as a short read for a rename: a test that asks for
    /// it would pass without a fault.
    #[must_use]
    pub fn with(self, op: Op, when: When, action: Action) -> FaultPlan {
        self.add(op, when, None, action)
    }

    /// Adds a rule for operations whose path contains `path`. For a rename either path counts; for an
    /// open file the one that it was opened by.
    ///
    /// # Panics
    /// As [`FaultPlan::with`].
    #[must_use]
    pub fn with_path(self, op: Op, when: When, path: &str, action: Action) -> FaultPlan {
        self.add(op, when, Some(path.to_owned()), action)
    }

    fn add(mut self, op: Op, when: When, path: Option<String>, action: Action) -> FaultPlan {
        assert!(action.suits(op), "{action:?} means nothing for {op:?}");
        self.rules.push(Rule { op, when, path, action, met: AtomicU64::new(0) });
        self
    }
}

/// Operations so far, by class. What a power cut refused is not counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts([u64; Op::ALL.len()]);

impl Counts {
    /// Returns the number of one class.
    pub fn of(&self, op: Op) -> u64 {
        self.0[op as usize] // `Counts` has a place for each class
    }
}

/// A filesystem with faults. Clones are the same one, with one count and one power supply.
#[derive(Clone)]
pub struct FaultyFs {
    inner: Arc<dyn Fs>,
    faults: Arc<Faults>,
}

struct Faults {
    plan: FaultPlan,
    counts: [AtomicU64; Op::ALL.len()],
    digest: AtomicU64,
    cut: AtomicBool,
}

fn no_power() -> io::Error {
    io::Error::other("the power is cut")
}

impl Faults {
    /// Counts an operation and returns what is to happen to it.
    fn meet(&self, op: Op, paths: &[&Path]) -> io::Result<Option<Action>> {
        pause(); // in a simulation the others may go on at each operation
        self.powered()?;
        self.counts[op as usize].fetch_add(1, Ordering::Relaxed); // a place for each class
        self.digested(op as u64, paths);
        let mut decided = None;
        // Every rule counts what fits it, also where an earlier one decides.
        for rule in self.plan.rules.iter().filter(|rule| rule.op == op) {
            let fits = |part: &String| paths.iter().any(|path| path.to_string_lossy().contains(part.as_str()));
            if rule.path.as_ref().is_none_or(fits) {
                let number = rule.met.fetch_add(1, Ordering::Relaxed) + 1;
                if rule.when.is(number) && decided.is_none() {
                    decided = Some(rule.action);
                }
            }
        }
        match decided {
            Some(Action::Fail(failure)) => Err(failure.error()),
            Some(Action::PowerCut) => {
                self.cut.store(true, Ordering::SeqCst);
                Err(no_power())
            }
            Some(Action::Panic) => panic!("a panic by plan"),
            other => Ok(other),
        }
    }

    /// FNV-1a over what was asked for. Threads that ask at the same time may leave one another out: then there was no
    /// order to speak of.
    fn digested(&self, op: u64, paths: &[&Path]) {
        let step = |d: u64, byte: u8| (d ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        let mut digest = (self.digest.load(Ordering::Relaxed) ^ op).wrapping_mul(0x0000_0100_0000_01b3);
        for path in paths {
            digest = path.as_os_str().as_encoded_bytes().iter().fold(digest, |d, b| step(d, *b));
        }
        self.digest.store(digest, Ordering::Relaxed);
    }

    fn powered(&self) -> io::Result<()> {
        if self.cut.load(Ordering::SeqCst) { Err(no_power()) } else { Ok(()) }
    }

    /// Carries an operation out as its action says.
    fn run<T>(&self, action: Option<Action>, operation: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        let answer = operation();
        if action == Some(Action::PowerCutAfter) {
            self.cut.store(true, Ordering::SeqCst);
            return Err(no_power());
        }
        answer
    }

    fn meet_and_run<T>(&self, op: Op, paths: &[&Path], operation: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        let action = self.meet(op, paths)?;
        self.run(action, operation)
    }

    /// As `meet_and_run`, for what can be lost.
    fn meet_or_lose(&self, op: Op, paths: &[&Path], operation: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
        match self.meet(op, paths)? {
            Some(Action::Lose) => Ok(()),
            action => self.run(action, operation),
        }
    }
}

impl FaultyFs {
    /// Puts a plan over a filesystem.
    pub fn new(inner: Arc<dyn Fs>, plan: FaultPlan) -> FaultyFs {
        let counts = std::array::from_fn(|_| AtomicU64::new(0));
        FaultyFs {
            inner,
            faults: Arc::new(Faults {
                plan,
                counts,
                digest: AtomicU64::new(0xcbf2_9ce4_8422_2325),
                cut: AtomicBool::new(false),
            }),
        }
    }

    /// Returns how many operations were asked for so far.
    pub fn counts(&self) -> Counts {
        Counts(std::array::from_fn(|i| self.faults.counts[i].load(Ordering::Relaxed)))
    }

    /// Returns a number that depends on all operations so far, their paths and their order.
    pub fn digest(&self) -> u64 {
        self.faults.digest.load(Ordering::Relaxed)
    }

    /// Tells whether the power is cut.
    pub fn is_cut(&self) -> bool {
        self.faults.cut.load(Ordering::SeqCst)
    }

    /// Cuts the power now.
    pub fn cut(&self) {
        self.faults.cut.store(true, Ordering::SeqCst);
    }

    fn file(&self, inner: Arc<dyn File>, path: &Path) -> Arc<dyn File> {
        Arc::new(FaultyFile { inner, path: path.to_owned(), faults: Arc::clone(&self.faults) })
    }
}

struct FaultyFile {
    inner: Arc<dyn File>,
    path: PathBuf,
    faults: Arc<Faults>,
}

impl File for FaultyFile {
    fn read_at(&self, into: &mut [u8], offset: u64) -> io::Result<usize> {
        let action = self.faults.meet(Op::Read, &[&self.path])?;
        let wanted = if action == Some(Action::ShortRead) { into.len().div_ceil(2) } else { into.len() };
        let into = &mut into[..wanted]; // at most its length
        let n = self.faults.run(action, || self.inner.read_at(into, offset))?;
        if let Some(Action::FlipBit(bit)) = action {
            let bit = bit.checked_rem(n as u64 * 8).unwrap_or(0); // a buffer has less than 2^61 bytes
            if let Some(byte) = usize::try_from(bit / 8).ok().and_then(|at| into[..n].get_mut(at)) {
                *byte ^= 1 << (bit % 8);
            }
        }
        Ok(n)
    }

    fn write_all_at(&self, parts: &[IoSlice<'_>], offset: u64) -> io::Result<()> {
        let action = self.faults.meet(Op::Write, &[&self.path])?;
        match action {
            Some(Action::Lose) => Ok(()),
            Some(Action::Misplace(by)) => self.inner.write_all_at(parts, offset.saturating_add(by)),
            action => self.faults.run(action, || self.inner.write_all_at(parts, offset)),
        }
    }

    fn sync(&self) -> io::Result<()> {
        self.faults.meet_or_lose(Op::Sync, &[&self.path], || self.inner.sync())
    }

    fn len(&self) -> io::Result<u64> {
        self.faults.powered()?;
        self.inner.len()
    }

    fn drop_cache(&self, offset: u64, len: u64) -> io::Result<()> {
        self.faults.powered()?;
        self.inner.drop_cache(offset, len)
    }

    fn begin_to_write(&self, offset: u64, len: u64) -> io::Result<()> {
        self.faults.powered()?;
        self.inner.begin_to_write(offset, len)
    }

    fn will_need(&self, offset: u64, len: u64) -> io::Result<()> {
        self.faults.powered()?;
        self.inner.will_need(offset, len)
    }
}

impl Fs for FaultyFs {
    fn open(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        Ok(self.file(self.faults.meet_and_run(Op::Open, &[path], || self.inner.open(path))?, path))
    }

    fn create_new(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        Ok(self.file(self.faults.meet_and_run(Op::Create, &[path], || self.inner.create_new(path))?, path))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.faults.meet_or_lose(Op::Rename, &[from, to], || self.inner.rename(from, to))
    }

    fn rename_new(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.faults.meet_or_lose(Op::Rename, &[from, to], || self.inner.rename_new(from, to))
    }

    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.faults.meet_or_lose(Op::Rename, &[from, to], || self.inner.link(from, to))
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.faults.meet_or_lose(Op::Remove, &[path], || self.inner.remove_file(path))
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        self.faults.meet_or_lose(Op::Remove, &[path], || self.inner.remove_dir(path))
    }

    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        self.faults.meet_and_run(Op::Create, &[path], || self.inner.create_dir_all(path))
    }

    fn list(&self, path: &Path) -> io::Result<Vec<DirEntry>> {
        self.faults.meet_and_run(Op::List, &[path], || self.inner.list(path))
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.faults.meet_or_lose(Op::SyncDir, &[path], || self.inner.sync_dir(path))
    }

    fn stat(&self, path: &Path) -> io::Result<Option<(Kind, u64)>> {
        self.faults.meet_and_run(Op::List, &[path], || self.inner.stat(path))
    }

    fn serial(&self, path: &Path) -> Option<String> {
        self.inner.serial(path)
    }

    fn space(&self, path: &Path) -> io::Result<Space> {
        self.faults.meet_and_run(Op::List, &[path], || self.inner.space(path))
    }

    fn try_lock(&self, path: &Path) -> io::Result<Option<Box<dyn Lock>>> {
        self.faults.meet_and_run(Op::Open, &[path], || self.inner.try_lock(path))
    }

    fn write_lock_note(&self, path: &Path, note: &[u8]) -> io::Result<()> {
        self.faults.meet_or_lose(Op::Write, &[path], || self.inner.write_lock_note(path, note))
    }
}

#[cfg(test)]
mod tests {
    use super::super::Io;
    use super::super::memory::{ManualWorld, MemFs};
    use super::*;
    use std::io::ErrorKind;

    fn over(fs: &MemFs, plan: FaultPlan) -> FaultyFs {
        FaultyFs::new(Arc::new(fs.clone()), plan)
    }

    fn holding(bytes: &[u8]) -> MemFs {
        let fs = MemFs::new();
        fs.write("/d/f", bytes).unwrap();
        fs
    }

    fn read(fs: &FaultyFs, len: usize) -> io::Result<Vec<u8>> {
        let mut into = vec![0; len];
        let n = fs.open(Path::new("/d/f"))?.read_at(&mut into, 0)?;
        into.truncate(n);
        Ok(into)
    }

    /// Two durable writes, one over the other.
    fn commit(fs: &FaultyFs) -> io::Result<()> {
        let io = Io { fs: Arc::new(fs.clone()), world: Arc::new(ManualWorld::new(0, 1)) };
        io.write_durable(Path::new("/d/head"), b"one", false)?;
        io.write_durable(Path::new("/d/head"), b"two", true)
    }

    #[test]
    fn operations_are_counted_by_class() {
        let fs = over(&holding(b"0123"), FaultPlan::new());
        commit(&fs).unwrap();
        read(&fs, 4).unwrap();
        fs.stat(Path::new("/d")).unwrap();
        drop(fs.try_lock(Path::new("/d/f")).unwrap().unwrap());
        fs.remove_file(Path::new("/d/f")).unwrap();
        let counted = Op::ALL.map(|op| fs.counts().of(op));
        assert_eq!(counted, [2, 2, 1, 2, 2, 2, 2, 1, 1]);
    }

    #[test]
    fn rules_hit_the_nth_every_nth_or_all_from_the_nth_on_their_path_only() {
        let hits = |when, path: &str| {
            let plan = FaultPlan::new().with_path(Op::List, when, path, Action::Fail(Failure::Io));
            let fs = over(&holding(b""), plan);
            (1..=7).filter(|_| fs.stat(Path::new("/d/f")).is_err()).collect::<Vec<_>>()
        };
        assert_eq!(hits(When::Nth(3), "d/f"), [3]);
        assert_eq!(hits(When::Every(3), "f"), [3, 6]);
        assert_eq!(hits(When::From(5), ""), [5, 6, 7]);
        assert_eq!(hits(When::Every(0), ""), [0; 0]);
        assert_eq!(hits(When::Every(1), "g"), [0; 0]);
    }

    #[test]
    fn the_first_rule_that_fits_decides_and_all_rules_count() {
        let fail = |failure| Action::Fail(failure);
        let plan = FaultPlan::new().with(Op::List, When::Nth(1), fail(Failure::Io)).with(
            Op::List,
            When::From(1),
            fail(Failure::Full),
        );
        let fs = over(&holding(b""), plan.with(Op::List, When::Nth(2), fail(Failure::ReadOnly)));
        let errors = [(); 3].map(|()| fs.stat(Path::new("/d")).unwrap_err().raw_os_error());
        assert_eq!(errors, [Some(5), Some(28), Some(28)]);
    }

    #[test]
    fn failures_are_those_of_the_system_and_leave_the_disk_alone() {
        for (failure, kind) in
            [(Failure::Full, ErrorKind::StorageFull), (Failure::ReadOnly, ErrorKind::ReadOnlyFilesystem)]
        {
            for op in [Op::Create, Op::Write, Op::Sync, Op::Rename] {
                let disk = holding(b"");
                let fs = over(&disk, FaultPlan::new().with(op, When::Nth(1), Action::Fail(failure)));
                assert_eq!(commit(&fs).unwrap_err().kind(), kind, "{op:?}");
                assert_eq!(disk.paths(), [Path::new("/d/f")], "{op:?}: a temporary name was left");
                commit(&fs).unwrap();
            }
        }
    }

    #[test]
    fn reads_come_short_or_with_one_wrong_bit() {
        let disk = holding(&[0; 5]);
        let fs = over(
            &disk,
            FaultPlan::new().with(Op::Read, When::Nth(1), Action::ShortRead).with(
                Op::Read,
                When::From(3),
                Action::FlipBit(41),
            ),
        );
        assert_eq!(read(&fs, 5).unwrap(), [0; 3]);
        assert_eq!(read(&fs, 5).unwrap(), [0; 5]);
        assert_eq!(read(&fs, 5).unwrap(), [2, 0, 0, 0, 0]);
        assert_eq!(read(&fs, 9).unwrap(), [2, 0, 0, 0, 0]);
        assert_eq!(read(&fs, 0).unwrap(), Vec::<u8>::new());
        assert_eq!(disk.read("/d/f").unwrap(), [0; 5]);
        let short = over(&disk, FaultPlan::new().with(Op::Read, When::Every(1), Action::ShortRead));
        let mut into = [1; 5];
        short.open(Path::new("/d/f")).unwrap().read_exact_at(&mut into, 0).unwrap();
        assert_eq!((into, short.counts().of(Op::Read)), ([0; 5], 3));
    }

    #[test]
    fn lost_operations_say_that_all_is_well() {
        for op in [Op::Write, Op::Sync, Op::SyncDir] {
            let disk = holding(b"");
            let fs = over(&disk, FaultPlan::new().with(op, When::Every(1), Action::Lose));
            commit(&fs).unwrap();
            assert_ne!(disk.crash_strict().read("/d/head").ok().as_deref(), Some(&b"two"[..]), "{op:?}");
        }
        let disk = holding(b"kept");
        let fs = over(&disk, FaultPlan::new().with(Op::Remove, When::Every(1), Action::Lose));
        fs.remove_file(Path::new("/d/f")).unwrap();
        assert_eq!(disk.read("/d/f").unwrap(), b"kept");
    }

    #[test]
    #[should_panic(expected = "means nothing")]
    fn a_rule_that_could_never_spoil_anything_is_refused() {
        let _ = FaultPlan::new().with(Op::Rename, When::Nth(1), Action::ShortRead);
    }

    #[test]
    fn after_the_power_is_cut_nothing_gets_through() {
        let disk = holding(b"0123");
        let fs = over(&disk, FaultPlan::new().with(Op::Remove, When::Nth(1), Action::PowerCut));
        let (path, new) = (Path::new("/d/f"), Path::new("/d/new"));
        let file = fs.create_new(new).unwrap();
        let before = fs.counts();
        assert!(!fs.is_cut());
        assert!(fs.remove_file(path).is_err());
        assert!(fs.clone().is_cut());
        let part = [IoSlice::new(b"x")];
        assert!(file.read_at(&mut [0], 0).is_err() && file.write_all_at(&part, 0).is_err());
        assert!(file.sync().is_err() && file.len().is_err() && file.drop_cache(0, 0).is_err());
        assert!(fs.open(path).is_err() && fs.create_new(Path::new("/d/g")).is_err());
        assert!(fs.rename(path, new).is_err() && fs.rename_new(path, Path::new("/d/g")).is_err());
        assert!(
            fs.remove_file(path).is_err()
                && fs.remove_dir(path).is_err()
                && fs.create_dir_all(Path::new("/e")).is_err()
        );
        assert!(fs.list(Path::new("/d")).is_err() && fs.stat(path).is_err() && fs.space(path).is_err());
        assert!(
            fs.sync_dir(Path::new("/d")).is_err()
                && fs.try_lock(path).is_err()
                && fs.write_lock_note(path, b"x").is_err()
        );
        assert_eq!(disk.paths(), [path, new]);
        assert_eq!((disk.read(path).unwrap(), disk.read(new).unwrap()), (b"0123".to_vec(), vec![]));
        assert_eq!(fs.counts().of(Op::Remove), before.of(Op::Remove) + 1);
        assert_eq!(fs.counts().of(Op::Open), before.of(Op::Open));
    }

    #[test]
    fn a_cut_before_and_behind_a_sync_differ_in_what_is_durable() {
        for (action, durable) in [(Action::PowerCut, None), (Action::PowerCutAfter, Some(b"one".to_vec()))] {
            let disk = holding(b"");
            let fs = over(&disk, FaultPlan::new().with(Op::SyncDir, When::Nth(1), action));
            assert!(commit(&fs).is_err() && fs.is_cut());
            assert_eq!(disk.crash_strict().read("/d/head").ok(), durable);
        }
    }

    #[test]
    fn a_durable_write_is_whole_whenever_the_power_goes() {
        let whole = over(&holding(b""), FaultPlan::new());
        commit(&whole).unwrap();
        let mut outcomes = std::collections::BTreeSet::new();
        for op in [Op::Create, Op::Write, Op::Sync, Op::Rename, Op::SyncDir] {
            for (nth, action) in
                (1..=whole.counts().of(op)).flat_map(|n| [(n, Action::PowerCut), (n, Action::PowerCutAfter)])
            {
                for seed in 0..40 {
                    let disk = holding(b"");
                    let fs = over(&disk, FaultPlan::new().with(op, When::Nth(nth), action));
                    assert!(commit(&fs).is_err());
                    let left = disk.crash(seed).read("/d/head").ok();
                    let expected = [None, Some(b"one".to_vec()), Some(b"two".to_vec())];
                    assert!(expected.contains(&left), "{op:?} {nth} {action:?} seed {seed}: {left:?}");
                    // Once acknowledged, it is there: the second write begins behind the first one's end.
                    assert!(nth == 1 || left.is_some(), "{op:?} {nth} {action:?} seed {seed}: lost");
                    outcomes.insert(left);
                }
            }
        }
        assert_eq!(outcomes.len(), 3);
    }
}
