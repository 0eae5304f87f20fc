//! The schedule of a simulation: who runs, who waits for what, and who is next.

use crate::io::memory::SplitMix;
use std::cell::RefCell;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

/// What a simulation's threads do where there is a choice.
#[derive(Clone, Copy, Debug)]
pub struct Schedule {
    pub seed: u64,
    /// What [`super::parallelism`] says.
    pub parallelism: usize,
    /// Of so many [`pause`]s one gives the turn to whoever is drawn; 0: none does.
    pub pauses: u64,
}

/// Something that threads wait for: a queue, a lock, another thread's end. Told when it is dropped, unless it is quiet.
#[derive(Debug)]
pub(super) struct Note {
    id: u64,
    loud: bool,
}

/// Ids of queues have this bit; those of locks are addresses, which do not.
const COUNTED: u64 = 1 << 63;
/// Ids of threads' ends have this bit and their number.
const ENDS: u64 = 1 << 62;

impl Note {
    pub fn new() -> Note {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Note { id: COUNTED | NEXT.fetch_add(1, Ordering::Relaxed), loud: true }
    }

    /// The same, for waiting only.
    pub fn quiet(mut self) -> Note {
        self.loud = false;
        self
    }

    /// Whoever waits for it looks again when its turn comes.
    pub fn tell(&self) {
        if let Some(thread) = current() {
            thread.shared.state().tell(self.id);
        }
    }
}

impl Clone for Note {
    fn clone(&self) -> Note {
        Note { id: self.id, loud: self.loud }
    }
}

impl Drop for Note {
    fn drop(&mut self) {
        if self.loud {
            self.tell();
        }
    }
}

/// The note of a thing that does not move while anyone waits for it.
pub(super) fn note_of<T>(thing: &T) -> Note {
    Note { id: std::ptr::from_ref(thing).addr() as u64, loud: true } // an address is at most 64 bits
}

enum Doing {
    /// Runs, or may.
    Ready,
    /// Until one of these is told; with `timed` also if nothing else can go on.
    Waits {
        ids: [u64; 2],
        timed: bool,
    },
    Ended,
}

struct Slot {
    doing: Doing,
    timed_out: bool,
    turn: Arc<Condvar>,
}

struct State {
    chance: SplitMix,
    slots: Vec<Slot>,
    running: usize,
    /// Nobody is scheduled any more.
    over: bool,
    /// That is so because all wait for each other.
    stuck: bool,
}

/// Nobody is scheduled any more.
pub(super) struct Over;

impl State {
    fn tell(&mut self, id: u64) {
        for slot in &mut self.slots {
            if matches!(&slot.doing, Doing::Waits { ids, .. } if ids.contains(&id)) {
                slot.doing = Doing::Ready;
            }
        }
    }

    fn draw(&mut self, which: impl Fn(&Slot) -> bool) -> Option<usize> {
        let fit: Vec<usize> = self.slots.iter().enumerate().filter(|(_, s)| which(s)).map(|(i, _)| i).collect();
        fit.get(self.chance.below(fit.len() as u64) as usize).copied() // below a usize; no item of an empty list
    }

    /// Chooses who is next. False where all wait for each other.
    fn choose(&mut self) -> bool {
        if let Some(next) = self.draw(|s| matches!(s.doing, Doing::Ready)) {
            self.running = next;
        } else if let Some(next) = self.draw(|s| matches!(s.doing, Doing::Waits { timed: true, .. })) {
            self.running = next;
            if let Some(slot) = self.slots.get_mut(next) {
                slot.doing = Doing::Ready;
                slot.timed_out = true;
            }
        } else {
            return false;
        }
        if let Some(slot) = self.slots.get(self.running) {
            slot.turn.notify_one();
        }
        true
    }

    fn end_all(&mut self) {
        self.over = true;
        self.slots.iter().for_each(|slot| slot.turn.notify_one());
    }
}

struct Shared {
    state: Mutex<State>,
    schedule: Schedule,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner) // no change here panics half-way
    }
}

/// A thread of a simulation.
#[derive(Clone)]
pub(super) struct Thread {
    shared: Arc<Shared>,
    me: usize,
}

thread_local! {
    static CURRENT: RefCell<Option<Thread>> = const { RefCell::new(None) };
}

/// This thread's place in the simulation that it belongs to.
pub(super) fn current() -> Option<Thread> {
    // In a thread that is being taken down there is none.
    CURRENT.try_with(|current| current.borrow().clone()).ok().flatten()
}

/// Whether this thread belongs to a simulation.
pub fn is_simulated() -> bool {
    CURRENT.try_with(|current| current.borrow().is_some()).unwrap_or(false)
}

/// Lets others go on, in a simulation and where its schedule says so.
pub fn pause() {
    if let Some(thread) = current() {
        thread.pause();
    }
}

impl Thread {
    pub fn parallelism(&self) -> usize {
        self.shared.schedule.parallelism.max(1)
    }

    fn pause(&self) {
        let of = self.shared.schedule.pauses;
        let mut state = self.shared.state();
        if of == 0 || state.over || state.slots.len() < 2 || state.chance.below(of) != 0 {
            return;
        }
        state.choose(); // this one is ready itself
        drop(self.until_turn(state));
    }

    fn until_turn<'s>(&self, mut state: MutexGuard<'s, State>) -> MutexGuard<'s, State> {
        let Some(turn) = state.slots.get(self.me).map(|s| Arc::clone(&s.turn)) else { return state };
        while state.running != self.me && !state.over {
            state = turn.wait(state).unwrap_or_else(PoisonError::into_inner); // as in `state`
        }
        state
    }

    /// Waits until one of the notes is told. True: it timed out.
    ///
    /// # Errors
    /// [`Over`].
    ///
    /// # Panics
    /// Where all threads wait for each other.
    pub fn wait(&self, notes: &[&Note], timed: bool) -> Result<bool, Over> {
        let first = notes.first().map_or(0, |n| n.id);
        let ids = [first, notes.get(1).map_or(first, |n| n.id)];
        let mut state = self.shared.state();
        if state.over {
            let stuck = state.stuck;
            drop(state);
            assert!(!stuck || std::thread::panicking(), "all threads of the simulation wait for each other");
            return Err(Over);
        }
        if let Some(slot) = state.slots.get_mut(self.me) {
            slot.doing = Doing::Waits { ids, timed };
            slot.timed_out = false;
        }
        if state.choose() {
            state = self.until_turn(state);
        } else {
            state.stuck = true;
            state.end_all();
        }
        let (over, stuck) = (state.over, state.stuck);
        let timed_out = state.slots.get(self.me).is_some_and(|s| s.timed_out);
        drop(state);
        // A second panic in the middle of one would end the process.
        assert!(!stuck || std::thread::panicking(), "all threads of the simulation wait for each other");
        if over { Err(Over) } else { Ok(timed_out) }
    }

    fn child(&self) -> Child {
        let mut state = self.shared.state();
        state.slots.push(Slot { doing: Doing::Ready, timed_out: false, turn: Arc::default() });
        let me = state.slots.len() - 1;
        Child(Thread { shared: Arc::clone(&self.shared), me })
    }

    /// Waits for a thread's end.
    pub fn wait_for(&self, child: &Child) {
        let ended = || matches!(self.shared.state().slots.get(child.0.me).map(|s| &s.doing), Some(Doing::Ended));
        let end = Note { id: ENDS | child.0.me as u64, loud: false }; // a number of threads
        while !ended() && self.wait(&[&end], false).is_ok() {}
    }
}

impl fmt::Debug for Thread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "thread {} of {:?}", self.me, self.shared.schedule)
    }
}

/// A thread that another one begins.
#[derive(Clone, Debug)]
pub(super) struct Child(Thread);

impl Child {
    /// Takes the place in the new thread itself, when its turn comes.
    pub fn run(self) -> Running {
        let thread = self.0.clone();
        CURRENT.with(|current| *current.borrow_mut() = Some(self.0));
        drop(thread.until_turn(thread.shared.state()));
        Running(thread)
    }

    /// For a thread that the system did not give.
    pub fn run_never(self) -> Running {
        Running(self.0)
    }
}

/// Ends a thread when it is dropped, and gives its turn on.
pub(super) struct Running(Thread);

impl Drop for Running {
    fn drop(&mut self) {
        let mut state = self.0.shared.state();
        if let Some(slot) = state.slots.get_mut(self.0.me) {
            slot.doing = Doing::Ended;
        }
        state.tell(ENDS | self.0.me as u64); // a number of threads
        if state.running == self.0.me && !state.over && !state.choose() {
            // Whoever waits is told by its own panic; with nobody left this was the last one.
            state.stuck = state.slots.iter().any(|s| matches!(s.doing, Doing::Waits { .. }));
            state.end_all();
        }
        drop(state);
        let _ = CURRENT.try_with(|current| {
            let mut current = current.borrow_mut();
            if current.as_ref().is_some_and(|c| c.me == self.0.me) {
                *current = None;
            }
        });
    }
}

/// Threads of one scope: waited for when it ends.
#[derive(Default)]
pub(super) struct Children(Mutex<Vec<Child>>);

impl Children {
    /// Makes the place of a new thread.
    pub fn begin(&self, by: &Thread) -> Child {
        let child = by.child();
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(child.clone()); // a push leaves a list whole
        child
    }
}

impl Drop for Children {
    fn drop(&mut self) {
        if let Some(thread) = current() {
            for child in self.0.get_mut().unwrap_or_else(PoisonError::into_inner).drain(..) {
                thread.wait_for(&child);
            }
        }
    }
}

/// Runs `f` as the first thread of a simulation.
///
/// # Panics
/// With `f`, and where all threads wait for each other.
pub fn simulate<T>(schedule: Schedule, f: impl FnOnce() -> T) -> T {
    /// Puts back what was there, also behind a panic.
    struct Leave(Option<Thread>);
    impl Drop for Leave {
        fn drop(&mut self) {
            let left = CURRENT.try_with(|current| current.replace(self.0.take())).ok().flatten();
            if let Some(thread) = left {
                thread.shared.state().end_all();
            }
        }
    }
    let first = Slot { doing: Doing::Ready, timed_out: false, turn: Arc::default() };
    let state = State { chance: SplitMix(schedule.seed), slots: vec![first], running: 0, over: false, stuck: false };
    let shared = Arc::new(Shared { state: Mutex::new(state), schedule });
    let _leave = Leave(CURRENT.with(|current| current.replace(Some(Thread { shared, me: 0 }))));
    f()
}
