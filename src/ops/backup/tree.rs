//! The tree: entries in the order of the walk, folders as they are left.

use super::archive::Members;
use super::read::{FileOutcome, Readers};
use super::walk::{Digests, Excludes, Ready, Step, Walker};
use super::{AHEAD, BackupOptions, Source, tell};
use crate::catalog::map::MapBuilder;
use crate::catalog::tree::names;
use crate::error::{Error, Result};
use crate::format::entry::{Attributes, Entry, EntryKind, Time, Witness};
use crate::format::node::MapRoot;
use crate::format::snapshot::{Counts, Snapshot};
use crate::io::source::{self, Names};
use crate::io::threads::{self, Receiver, bounded};
use crate::ops::bag::{Bag, Verdict};
use crate::ops::ingest::{Ingest, Sink};
use crate::ops::{Control, Notice};
use std::collections::BTreeMap;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;

/// What was built.
pub(super) struct Built {
    pub tree: MapRoot,
    pub witness: MapRoot,
    pub counts: Counts,
    pub unreadable: u64,
    pub bytes_read: u64,
    pub doubts: Vec<(String, u64)>,
    pub bag: Option<Verdict>,
}

/// A folder that is being filled.
struct Frame {
    name: Vec<u8>,
    entry: Option<Box<Entry>>,
    own_witness: Witness,
    tree: MapBuilder,
    witness: MapBuilder,
}

pub(super) struct Builder<'i, 's> {
    pub(super) ingest: &'i Ingest<'s>,
    sink: Sink<'i, 's>,
    control: &'i Control,
    stack: Vec<Frame>,
    pub(super) counts: Counts,
    reasons: BTreeMap<String, u64>,
    /// What is told of every file while a bag is stored.
    bag: Option<Box<Bag>>,
}

/// Walks, reads and builds; returns when every chunk was handed to a lane.
pub(super) fn build(
    ingest: &Ingest<'_>,
    options: &BackupOptions,
    source: Source,
    parent: Option<&Snapshot>,
    control: &Control,
) -> Result<Built> {
    let names = Names::new();
    let now_ns = i128::from(ingest.store().io().world.now_ns());
    let mut readers = Readers::new(ingest, &names, now_ns);
    readers.survey = options.survey.clone();
    let mut builder = Builder::new(ingest, control);
    let mut verdict = None;
    match source {
        Source::Paths(_) | Source::Bag(_) => {
            let (paths, bag) = match source {
                Source::Paths(paths) => (paths, None),
                Source::Bag(bag) => (Vec::new(), Some(bag)),
                _ => (Vec::new(), None), // only these two come here
            };
            let folder = bag.as_ref().map(|bag| bag.root().to_owned());
            let digests = match &bag {
                Some(bag) => Digests {
                    payload: Some((bag.root().join("data"), bag.algorithms(true))),
                    others: bag.algorithms(false),
                },
                None => Digests::default(),
            };
            builder.bag = bag;
            let excludes = Excludes::new(&options.excludes)?;
            let own = ingest
                .store()
                .own_folders()
                .iter()
                .filter_map(|p| source::stat(p).ok())
                .map(|m| (m.device, m.inode))
                .collect();
            // Where disks are slower than cores, readers wait for lanes: one for each keeps all disks at work.
            let readers_wanted = threads::parallelism().max(ingest.data_lanes() as usize); // few
            // A reader holds a few windows of 4 MiB.
            let by_memory = (ingest.store().memory_bytes() / (64 << 20)).max(1) as usize; // a small number
            let ahead = threads::simulated_or(4, AHEAD);
            let (steps, receive) = bounded(ahead);
            let (jobs, todo) = bounded(ahead);
            let parent = parent.and_then(|s| Some((s.tree.clone(), s.witness.clone()?)));
            let mut walker = Walker {
                ingest,
                one_file_system: options.one_file_system,
                control,
                steps,
                jobs,
                excludes,
                names: &names,
                parent,
                own,
                run: 0,
                run_bytes: 0,
                now_ns,
                digests,
                survey: options.survey.clone(),
            };
            threads::scope(|scope| {
                let walk = scope.spawn(move || {
                    let outcome = match &folder {
                        Some(folder) => walker.walk_as_root(folder),
                        None => walker.walk(&paths),
                    };
                    control.progress.totals_known.store(true, Ordering::Relaxed);
                    outcome
                });
                let workers: Vec<_> = (0..readers_wanted.min(by_memory))
                    .map(|_| (todo.clone(), &readers))
                    .map(|(todo, r)| scope.spawn(move || r.work(&todo)))
                    .collect();
                drop(todo);
                let built = builder.follow(&receive);
                drop(receive); // the walk stops at its next step, if it has not ended
                let walked = walk.join().unwrap_or(Err(Error::WorkerLost { verb: "backup" }));
                let lost = workers.into_iter().map(|w| w.join().is_err()).fold(false, |a, b| a | b);
                match (built, walked) {
                    _ if lost => Err(Error::WorkerLost { verb: "backup" }),
                    (_, Err(e)) if !matches!(e, Error::Interrupted) => Err(e),
                    (Err(e), _) | (_, Err(e)) => Err(e),
                    (Ok(()), Ok(())) => Ok(()),
                }
            })?;
            if let Some(bag) = builder.bag.take() {
                verdict = Some(bag.judge(ingest.store(), control)?);
            }
        }
        Source::Stream { name, mut input } => {
            builder.stream(&readers, &name, &mut *input, &names, now_ns)?;
        }
        Source::Archive { mut input } => {
            let mut members = Members::new(ingest.store().memory_bytes());
            members.read(&mut builder, &readers, &mut *input)?;
            members.build(&mut builder)?;
        }
    }
    ingest.proceed()?;
    Ok(Built { bag: verdict, ..builder.finish(&readers)? })
}

impl<'i, 's> Builder<'i, 's> {
    pub(super) fn new(ingest: &'i Ingest<'s>, control: &'i Control) -> Self {
        let root = Frame {
            name: Vec::new(),
            entry: None,
            own_witness: Witness::default(),
            tree: MapBuilder::default(),
            witness: MapBuilder::default(),
        };
        let (counts, reasons) = (Counts::default(), BTreeMap::new());
        Builder { ingest, sink: ingest.sink(), control, stack: vec![root], counts, reasons, bag: None }
    }
}

impl Builder<'_, '_> {
    fn follow(&mut self, steps: &Receiver<Step>) -> Result<()> {
        while let Ok(step) = steps.recv() {
            self.ingest.proceed()?;
            self.step(step)?;
        }
        Ok(())
    }

    pub(super) fn step(&mut self, step: Step) -> Result<()> {
        let progress = &self.control.progress;
        match step {
            Step::Enter { name, entry, witness } => {
                let (tree, inner) = (MapBuilder::default(), MapBuilder::default());
                self.stack.push(Frame { name, entry: Some(entry), own_witness: witness, tree, witness: inner });
            }
            Step::Leave => self.leave()?,
            Step::Ready { name, entry, witness, what } => {
                if let Some(mut bag) = self.bag.take() {
                    // No parent, so nothing is unmodified: this is a symlink.
                    let folders = self.stack.iter().map(|f| f.name.as_slice()).filter(|n| !n.is_empty());
                    let path: Vec<&[u8]> = folders.chain([name.as_slice()]).collect();
                    bag.fault(&path.join(&b'/'), "a symlink, which a bag cannot hold");
                    self.bag = Some(bag);
                }
                match what {
                    Ready::Symlink => self.counts.symlinks += 1,
                    Ready::Unmodified { bytes } => {
                        self.counts.files += 1;
                        self.counts.files_unmodified += 1;
                        self.counts.bytes += bytes;
                        progress.files_done.fetch_add(1, Ordering::Relaxed);
                        progress.bytes_done.fetch_add(bytes, Ordering::Relaxed);
                    }
                }
                self.push(&name, &entry, witness.as_deref())?;
            }
            Step::Pending { name, path, had_parent, outcome } => {
                let outcome = outcome.recv().map_err(|_| Error::Interrupted)?;
                progress.files_done.fetch_add(1, Ordering::Relaxed);
                match outcome {
                    FileOutcome::Kept { entry, witness, bytes, changed, digests } => {
                        if let Some(bag) = &mut self.bag {
                            bag.see(bag.relative(&path).to_vec().as_slice(), bytes, &digests)?;
                        }
                        self.counts.files += 1;
                        self.counts.bytes += bytes;
                        *(if had_parent { &mut self.counts.files_changed } else { &mut self.counts.files_new }) += 1;
                        if changed {
                            self.counts.changed_while_read += 1;
                            tell(self.control, Notice::Changed { path });
                        }
                        self.push(&name, &entry.encode(), witness.map(|w| w.encode()).as_deref())?;
                    }
                    FileOutcome::Unreadable(reason) => self.unreadable(path, reason),
                    FileOutcome::Stopped => return Err(Error::Interrupted),
                }
            }
            Step::Unreadable { path, reason } => self.unreadable(path, reason),
            Step::Special { path, kind } => {
                if let Some(bag) = &mut self.bag {
                    bag.fault(bag.relative(&path).to_vec().as_slice(), format!("a {kind}, which a bag cannot hold"));
                }
                self.counts.skipped_special += 1;
                tell(self.control, Notice::Special { path, kind });
            }
        }
        Ok(())
    }

    pub(super) fn unreadable(&mut self, path: Vec<u8>, reason: String) {
        if let Some(bag) = &mut self.bag {
            return bag.fault(bag.relative(&path).to_vec().as_slice(), format!("it cannot be read: {reason}"));
        }
        *self.reasons.entry(reason.clone()).or_default() += 1;
        tell(self.control, Notice::Unreadable { path, reason });
    }

    pub(super) fn push(&mut self, name: &[u8], entry: &[u8], witness: Option<&[u8]>) -> Result<()> {
        let keys = self.ingest.store().keys();
        let Some(frame) = self.stack.last_mut() else { return Ok(()) }; // the root's frame always stands
        frame.tree.push(keys, &mut self.sink, name, entry)?;
        if let Some(witness) = witness {
            frame.witness.push(keys, &mut self.sink, name, witness)?;
        }
        Ok(())
    }

    fn leave(&mut self) -> Result<()> {
        let Some(frame) = self.stack.pop() else { return Ok(()) };
        let keys = self.ingest.store().keys();
        let tree = frame.tree.finish(keys, &mut self.sink)?;
        let children = Some(frame.witness.finish(keys, &mut self.sink)?);
        let Some(mut entry) = frame.entry else { return Ok(()) };
        self.counts.dirs += 1;
        entry.kind = EntryKind::Dir(tree);
        let witness = Witness { children, ..frame.own_witness };
        self.push(&frame.name, &entry.encode(), Some(&witness.encode()))
    }

    /// One file from a pipe, with the folders above it.
    fn stream(
        &mut self,
        readers: &Readers<'_, '_>,
        path: &[u8],
        input: &mut dyn std::io::Read,
        users: &Names,
        now_ns: i128,
    ) -> Result<()> {
        let all = names(path);
        let Some((name, parents)) = all.split_last() else {
            return Err(Error::Argument { what: "--path".into(), why: "it names no file".into() });
        };
        let now = Time { seconds: (now_ns / 1_000_000_000) as i64, nanos: (now_ns.rem_euclid(1_000_000_000)) as u32 }; // now fits both
        let bare = |kind| Entry {
            kind,
            mode: 0o644,
            mtime: now,
            uid: 0,
            gid: 0,
            user: users.user_name(0),
            group: users.group_name(0),
            attributes: Attributes::None,
            link: None,
            digests: Vec::new(),
        };
        for parent in parents {
            let entry = Box::new(Entry { mode: 0o755, ..bare(EntryKind::Dir(MapRoot::empty())) });
            self.step(Step::Enter { name: parent.to_vec(), entry, witness: Witness::default() })?;
        }
        let (content, bytes) = readers.stream(input, self.ingest.lane_of(0))?;
        self.counts.files += 1;
        self.counts.files_new += 1;
        self.counts.bytes += bytes;
        self.push(name, &bare(EntryKind::File { bytes, content }).encode(), None)?;
        for _ in parents {
            self.leave()?;
        }
        Ok(())
    }

    pub(super) fn finish(mut self, readers: &Readers<'_, '_>) -> Result<Built> {
        let keys = self.ingest.store().keys();
        let Some(root) = self.stack.pop() else { return Err(Error::Interrupted) };
        let tree = root.tree.finish(keys, &mut self.sink)?;
        let witness = root.witness.finish(keys, &mut self.sink)?;
        let unreadable = self.reasons.values().sum();
        self.counts.unreadable = self.reasons.into_iter().collect();
        let doubts = readers.doubts.lock().unwrap_or_else(PoisonError::into_inner);
        let mut doubts: Vec<(String, u64)> = doubts.iter().map(|(why, n)| ((*why).to_owned(), *n)).collect();
        doubts.sort();
        let bytes_read = readers.bytes_read.load(Ordering::Relaxed);
        Ok(Built { tree, witness, counts: self.counts, unreadable, bytes_read, doubts, bag: None })
    }
}
