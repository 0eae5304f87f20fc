//! The protocol of `docs/design/0004-reclaim.md` as a small machine, and every state it can come to.
//!
//! One pack `0` holds two chunks: X, which a live snapshot reaches, and Y, which only a forgotten one does. Writers (gcs and
//! backups, one at a time, each of which may be killed before any of its steps), a reader that looks at the log and at
//! the index at one moment and reads at later ones, an undelete, and an index that is lost, happen in every order. A
//! search goes through all states and asks in each: can the reader be told that X is nowhere? is a snapshot there that
//! lacks a chunk? does a file go that the log did not drop? The real code is held to the same by `tests/reclaim.rs`.

use std::collections::{BTreeSet, HashSet};

/// Packs that may be made, besides the first.
const PACKS: u8 = 3;
/// Gcs and backups that may begin.
const RUNS: u8 = 3;

type Chunks = BTreeSet<char>;

/// What the log says.
#[derive(Clone, PartialEq, Eq, Hash, Default, Debug)]
struct Log {
    entries: u8,
    live: BTreeSet<u8>,
    dropped_by_unfinished: BTreeSet<u8>,
    unfinished_gc: bool,
    forgotten: bool,
    given_up: bool,
    /// A later backup's snapshot needs Y.
    another: bool,
}

impl Log {
    fn needs(&self, grace_is_over: bool) -> Chunks {
        let y = self.another || !self.forgotten || !(grace_is_over || self.given_up);
        if y { ['x', 'y'].into() } else { ['x'].into() }
    }
}

/// A gc at work: what it decided, and its next step.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
struct Gc {
    step: u8,
    kept: Chunks,
    source: Option<u8>,
    made: Option<u8>,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
enum Reader {
    /// It has not opened the store yet.
    Away,
    /// What it saw of the log and of the index, and the pack that it means to open.
    Open {
        log: Log,
        index: Vec<(char, u8)>,
        pack: Option<u8>,
    },
    Done,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
struct State {
    log: Log,
    /// Sealed packs on the disks, by number.
    files: Vec<(u8, Chunks)>,
    index: Vec<(char, u8)>,
    /// Packs that the index stands for; a reader adds what its log has beyond them.
    covered: BTreeSet<u8>,
    gc: Option<Gc>,
    reader: Reader,
    runs: u8,
    next_pack: u8,
}

impl State {
    fn begin() -> State {
        let log = Log { entries: 1, live: [0].into(), forgotten: true, ..Default::default() };
        State {
            log,
            files: vec![(0, ['x', 'y'].into())],
            index: vec![('x', 0), ('y', 0)],
            covered: [0].into(),
            gc: None,
            reader: Reader::Away,
            runs: 0,
            next_pack: 1,
        }
    }

    fn holds(&self, pack: u8, chunk: char) -> bool {
        self.files.iter().any(|(p, chunks)| *p == pack && chunks.contains(&chunk))
    }

    fn show(&mut self, chunk: char, pack: u8) {
        self.index.retain(|(c, _)| *c != chunk);
        self.index.push((chunk, pack));
        self.index.sort_unstable();
    }

    /// What the next writer does first: it ends a gc that died.
    fn take_over(&mut self) {
        let dropped = std::mem::take(&mut self.log.dropped_by_unfinished);
        self.files.retain(|(p, _)| !dropped.contains(p));
        let unlogged: Vec<(u8, Chunks)> =
            self.files.iter().filter(|(p, _)| !self.log.live.contains(p)).cloned().collect();
        for (pack, chunks) in unlogged {
            self.log.live.insert(pack);
            self.covered.insert(pack);
            chunks.into_iter().for_each(|c| self.show(c, pack));
        }
        self.log.unfinished_gc = false;
        self.log.entries += 1;
    }

    /// All that may happen next.
    fn next(&self) -> Vec<State> {
        let mut out = Vec::new();
        let mut push = |change: &dyn Fn(&mut State)| {
            let mut next = self.clone();
            change(&mut next);
            out.push(next);
        };
        match &self.gc {
            None => {
                if self.runs < RUNS {
                    push(&|s| {
                        s.runs += 1;
                        s.take_over();
                        // the plan: what the log needs now, by the trees; which pack is rewritten, by the tables
                        let kept = s.log.needs(true);
                        let wasteful = |p: &&u8| {
                            let chunks =
                                s.files.iter().find(|(n, _)| n == *p).map(|(_, c)| c.clone()).unwrap_or_default();
                            let newer = |c: &char| s.log.live.iter().any(|q| q > *p && s.holds(*q, *c));
                            chunks.iter().any(|c| !kept.contains(c) || newer(c))
                        };
                        let source = s.log.live.iter().find(wasteful).copied();
                        s.gc = Some(Gc { step: 0, kept, source, made: None });
                    });
                    // a backup whose file is Y: a hit counts if the index has it and the pack's table confirms it
                    push(&|s| {
                        s.runs += 1;
                        s.take_over();
                        let hit = s.index.iter().find(|(c, _)| *c == 'y').map(|(_, p)| *p);
                        if !hit.is_some_and(|p| s.log.live.contains(&p) && s.holds(p, 'y')) {
                            let pack = s.next_pack;
                            s.next_pack += 1;
                            s.files.push((pack, ['y'].into()));
                            s.log.live.insert(pack);
                            s.show('y', pack);
                            s.covered.insert(pack);
                        }
                        s.log.another = true;
                        s.log.entries += 1;
                    });
                }
                if self.log.forgotten && !self.log.given_up {
                    push(&|s| {
                        s.log.forgotten = false;
                        s.log.entries += 1;
                    });
                }
                // the index is lost, and made anew from the tables of live packs
                push(&|s| {
                    s.index.clear();
                    s.covered = s.log.live.clone();
                    let mut live = s.files.clone();
                    live.retain(|(p, _)| s.log.live.contains(p));
                    for (pack, chunks) in live {
                        chunks.into_iter().for_each(|c| s.show(c, pack));
                    }
                });
            }
            Some(gc) => {
                push(&|s| s.gc = None); // killed
                push(&|s| s.step(gc));
            }
        }
        self.read(&mut out);
        out
    }

    fn step(&mut self, gc: &Gc) {
        let mut gc = gc.clone();
        let Some(source) = gc.source else {
            self.gc = None; // there is nothing to do
            return;
        };
        match gc.step {
            0 => {
                // it begins, and gives up what its grace allows, in one entry
                self.log.unfinished_gc = true;
                self.log.given_up |= self.log.forgotten && !gc.kept.contains(&'y');
                self.log.given_up |= self.log.forgotten && !self.log.needs(true).contains(&'y');
                self.log.entries += 1;
            }
            1 => {
                // what stays of it and is in no newer pack is sealed in another
                let of_source =
                    self.files.iter().find(|(p, _)| *p == source).map(|(_, c)| c.clone()).unwrap_or_default();
                let newer = |c: &char| self.log.live.iter().any(|q| *q > source && self.holds(*q, *c));
                let moved: Chunks = of_source.into_iter().filter(|c| gc.kept.contains(c) && !newer(c)).collect();
                if !moved.is_empty() && self.next_pack <= PACKS {
                    gc.made = Some(self.next_pack);
                    self.files.push((self.next_pack, moved));
                    self.next_pack += 1;
                }
            }
            2 => {
                if let Some(made) = gc.made {
                    self.log.live.insert(made);
                    self.log.entries += 1;
                }
            }
            3 => {
                for (pack, chunks) in self.files.clone() {
                    if self.log.live.contains(&pack) && pack > source {
                        self.covered.insert(pack);
                        chunks.into_iter().for_each(|c| self.show(c, pack));
                    }
                }
            }
            4 => {
                // only if all that stays of it is elsewhere, by tables of logged packs
                let of_source =
                    self.files.iter().find(|(p, _)| *p == source).map(|(_, c)| c.clone()).unwrap_or_default();
                let elsewhere = |c: &char| self.log.live.iter().any(|q| *q != source && self.holds(*q, *c));
                if !of_source.iter().filter(|c| gc.kept.contains(c)).all(elsewhere) {
                    self.log.unfinished_gc = false;
                    self.log.entries += 1;
                    self.gc = None;
                    return;
                }
                self.log.live.remove(&source);
                self.log.dropped_by_unfinished.insert(source);
                self.log.entries += 1;
            }
            5 => self.index.retain(|(_, p)| *p != source),
            6 => self.files.retain(|(p, _)| *p != source),
            _ => {
                self.log.unfinished_gc = false;
                self.log.dropped_by_unfinished.clear();
                self.log.entries += 1;
                self.gc = None;
                return;
            }
        }
        gc.step += 1;
        self.gc = Some(gc);
    }

    /// The reader wants X: it opens the store, looks up, opens the pack; each at a moment of its own.
    fn read(&self, out: &mut Vec<State>) {
        match &self.reader {
            Reader::Away => {
                let mut next = self.clone();
                let mut seen = self.clone();
                for (pack, chunks) in self.files.iter().filter(|(p, _)| self.log.live.contains(p)) {
                    if !self.covered.contains(pack) {
                        chunks.iter().for_each(|c| seen.show(*c, *pack));
                    }
                }
                next.reader = Reader::Open { log: self.log.clone(), index: seen.index, pack: None };
                out.push(next);
            }
            Reader::Open { log, index, pack: None } => {
                let at = index.iter().find(|(c, _)| *c == 'x').map(|(_, p)| *p).filter(|p| log.live.contains(p));
                let (log, at) = match at {
                    Some(at) => (log.clone(), Some(at)),
                    None => (self.log.clone(), self.followed(log, index)),
                };
                assert!(at.is_some(), "the reader finds X nowhere: {self:?}");
                let mut next = self.clone();
                next.reader = Reader::Open { log, index: index.clone(), pack: at };
                out.push(next);
            }
            Reader::Open { log, index, pack: Some(pack) } => {
                let mut next = self.clone();
                if self.holds(*pack, 'x') {
                    next.reader = Reader::Done; // an open file stays readable
                } else {
                    let at = self.followed(log, index);
                    assert!(at.is_some_and(|p| p != *pack), "the pack is gone and the log does not say so: {self:?}");
                    next.reader = Reader::Open { log: self.log.clone(), index: index.clone(), pack: at };
                }
                out.push(next);
            }
            Reader::Done => {}
        }
    }

    /// Where X is by the log of now: in a pack that was sealed since `log`, by its footer, or where the index had it.
    fn followed(&self, log: &Log, index: &[(char, u8)]) -> Option<u8> {
        let since = self.log.live.iter().rev().filter(|p| !log.live.contains(p)).find(|p| self.holds(**p, 'x'));
        let had = index.iter().find(|(c, _)| *c == 'x').map(|(_, p)| *p);
        since.copied().or(had.filter(|p| self.log.live.contains(p)))
    }

    fn prove(&self) {
        for pack in &self.log.live {
            assert!(self.files.iter().any(|(p, _)| p == pack), "a live pack has no file: {self:?}");
        }
        for chunk in self.log.needs(false) {
            let found = self.log.live.iter().any(|p| self.holds(*p, chunk));
            assert!(found, "a snapshot that is there, or can be brought back, lacks {chunk}: {self:?}");
        }
    }
}

#[test]
fn no_order_of_steps_and_kills_loses_a_chunk_or_misleads_a_reader() {
    let mut seen = HashSet::from([State::begin()]);
    let mut todo: Vec<State> = seen.iter().cloned().collect();
    let mut ended_clean = 0;
    while let Some(state) = todo.pop() {
        state.prove();
        let no_waste = state.files.iter().map(|(_, c)| c.len()).sum::<usize>() == state.log.needs(false).len();
        ended_clean += usize::from(state.gc.is_none() && state.log.given_up && no_waste);
        for next in state.next() {
            if seen.insert(next.clone()) {
                todo.push(next);
            }
        }
    }
    println!("{} states", seen.len());
    assert!(seen.len() > 1_000, "only {} states", seen.len());
    assert!(ended_clean > 0, "in no order is what was given up gone");
}
