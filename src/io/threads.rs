//! Threads, queues and locks of the floors above, and a schedule that a simulation owns.
//!
//! What shares state between threads takes it from here: [`scope`], [`bounded`], [`Mutex`] and so on are those of the
//! standard library and of crossbeam, and cost a look at a thread's own variable more. Within [`simulate`] they are something
//! else: of all threads that were begun there one runs at a time, and which one goes on where one waits, or asks for it by
//! [`pause`], is drawn from a seed. So a run with many threads repeats exactly, other seeds are other interleavings, and
//! threads that wait for each other for ever are found and named instead of hanging.
//!
//! # Invariants
//!
//! 1. One seed, one order: nothing here depends on time, load or the number of cores.
//! 2. Nobody waits in the operating system while others of its simulation are to run, as long as every lock that is held
//!    over a wait or a [`pause`] is a [`Mutex`] of this module.
//! 3. Outside of a simulation nothing is different from the originals.

mod schedule;
#[cfg(test)]
mod tests;

pub use crossbeam_channel::{RecvError, RecvTimeoutError, SendError, TryRecvError, TrySendError};
pub use schedule::{Schedule, is_simulated, pause, simulate};

use schedule::{Child, Children, Note, current, note_of};
use std::io;
use std::num::NonZero;
use std::ops::{Deref, DerefMut};
use std::sync::{LockResult, PoisonError, TryLockError};
use std::time::Duration;

/// How many threads do work at once: the cores that this process may use; in a simulation what its schedule says.
pub fn parallelism() -> usize {
    match current() {
        Some(thread) => thread.parallelism(),
        None => std::thread::available_parallelism().map_or(1, NonZero::get),
    }
}

/// A size or number at which something happens now and then: small stores of a simulation are to meet it too.
pub fn simulated_or<T>(simulated: T, real: T) -> T {
    if is_simulated() { simulated } else { real }
}

/// Threads that end before [`scope`] returns.
pub struct Scope<'scope, 'env: 'scope> {
    inner: &'scope std::thread::Scope<'scope, 'env>,
    children: Children,
}

/// A thread of a [`Scope`].
pub struct ScopedJoinHandle<'scope, T> {
    inner: std::thread::ScopedJoinHandle<'scope, T>,
    child: Option<Child>,
}

/// As [`std::thread::scope`].
pub fn scope<'env, T>(f: impl for<'a, 'scope> FnOnce(&'a Scope<'scope, 'env>) -> T) -> T {
    std::thread::scope(|inner| {
        // Its drop waits as a simulation waits, also while a panic passes; the library's own wait then finds all ended.
        let scope = Scope { inner, children: Children::default() };
        f(&scope)
    })
}

impl<'scope> Scope<'scope, '_> {
    /// Begins a thread.
    ///
    /// # Errors
    /// The system's, where it has none to give.
    pub fn spawn_named<T: Send + 'scope>(
        &self,
        name: &str,
        f: impl FnOnce() -> T + Send + 'scope,
    ) -> io::Result<ScopedJoinHandle<'scope, T>> {
        let child = current().map(|thread| self.children.begin(&thread));
        let place = child.clone();
        let body = move || {
            let _running = place.map(Child::run); // waits for its turn, and gives it on when all is done
            f()
        };
        match std::thread::Builder::new().name(name.to_owned()).spawn_scoped(self.inner, body) {
            Ok(inner) => Ok(ScopedJoinHandle { inner, child }),
            Err(e) => {
                drop(child.map(Child::run_never));
                Err(e)
            }
        }
    }

    /// Begins a thread.
    ///
    /// # Panics
    /// As [`std::thread::Scope::spawn`]: where the system has no thread to give.
    pub fn spawn<T: Send + 'scope>(&self, f: impl FnOnce() -> T + Send + 'scope) -> ScopedJoinHandle<'scope, T> {
        self.spawn_named("onefold", f).expect("the system gives a thread")
    }
}

impl<T> ScopedJoinHandle<'_, T> {
    /// Waits for its end.
    ///
    /// # Errors
    /// What it panicked with.
    pub fn join(self) -> std::thread::Result<T> {
        if let (Some(thread), Some(child)) = (current(), &self.child) {
            thread.wait_for(child);
        }
        self.inner.join()
    }
}

/// The sending side of a queue.
pub struct Sender<T> {
    inner: crossbeam_channel::Sender<T>,
    note: Note,
}

/// The receiving side of a queue. What is sent is received once, by whoever comes first.
pub struct Receiver<T> {
    inner: crossbeam_channel::Receiver<T>,
    note: Note,
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Self {
        Sender { inner: self.inner.clone(), note: self.note.clone() }
    }
}

impl<T> Clone for Receiver<T> {
    fn clone(&self) -> Self {
        Receiver { inner: self.inner.clone(), note: self.note.clone() }
    }
}

fn queue<T>(
    (sender, receiver): (crossbeam_channel::Sender<T>, crossbeam_channel::Receiver<T>),
) -> (Sender<T>, Receiver<T>) {
    let note = Note::new();
    (Sender { inner: sender, note: note.clone() }, Receiver { inner: receiver, note })
}

/// A queue that holds `most` things.
pub fn bounded<T>(most: usize) -> (Sender<T>, Receiver<T>) {
    queue(crossbeam_channel::bounded(most))
}

/// A queue that holds whatever is sent: its user bounds it.
pub fn unbounded<T>() -> (Sender<T>, Receiver<T>) {
    queue(crossbeam_channel::unbounded())
}

impl<T> Sender<T> {
    /// Sends, and waits for room.
    ///
    /// # Errors
    /// The thing itself, if nobody receives any more.
    pub fn send(&self, thing: T) -> Result<(), SendError<T>> {
        let Some(thread) = current() else { return self.inner.send(thing) };
        let mut thing = thing;
        loop {
            match self.try_send(thing) {
                Ok(()) => return Ok(()),
                Err(TrySendError::Disconnected(back)) => return Err(SendError(back)),
                Err(TrySendError::Full(back)) => thing = back,
            }
            if thread.wait(&[&self.note], false).is_err() {
                return self.inner.send(thing);
            }
        }
    }

    /// Sends if there is room.
    ///
    /// # Errors
    /// The thing itself, and why it was not taken.
    pub fn try_send(&self, thing: T) -> Result<(), TrySendError<T>> {
        let sent = self.inner.try_send(thing);
        if sent.is_ok() {
            self.note.tell();
        }
        sent
    }
}

impl<T> Receiver<T> {
    /// Waits for the next thing.
    ///
    /// # Errors
    /// Nothing is left, and nobody sends any more.
    pub fn recv(&self) -> Result<T, RecvError> {
        let Some(thread) = current() else { return self.inner.recv() };
        loop {
            match self.try_recv() {
                Ok(thing) => return Ok(thing),
                Err(TryRecvError::Disconnected) => return Err(RecvError),
                Err(TryRecvError::Empty) => {}
            }
            if thread.wait(&[&self.note], false).is_err() {
                return self.inner.recv();
            }
        }
    }

    /// Takes what is there.
    ///
    /// # Errors
    /// Nothing is there.
    pub fn try_recv(&self) -> Result<T, TryRecvError> {
        let received = self.inner.try_recv();
        if received.is_ok() {
            self.note.tell();
        }
        received
    }

    /// Waits for the next thing, at most so long. In a simulation that is as long as anyone else can do something.
    ///
    /// # Errors
    /// Nothing came in time, or nobody sends any more.
    pub fn recv_timeout(&self, most: Duration) -> Result<T, RecvTimeoutError> {
        let Some(thread) = current() else { return self.inner.recv_timeout(most) };
        let mut late = false;
        loop {
            match self.try_recv() {
                Ok(thing) => return Ok(thing),
                Err(TryRecvError::Disconnected) => return Err(RecvTimeoutError::Disconnected),
                Err(TryRecvError::Empty) if late => return Err(RecvTimeoutError::Timeout),
                Err(TryRecvError::Empty) => {}
            }
            match thread.wait(&[&self.note], true) {
                Ok(timed_out) => late = timed_out,
                Err(_) => return self.inner.recv_timeout(most),
            }
        }
    }

    /// All that comes, until nobody sends any more.
    pub fn iter(&self) -> impl Iterator<Item = T> + '_ {
        std::iter::from_fn(|| self.recv().ok())
    }
}

/// What came by one of two queues.
pub enum Either<A, B> {
    First(Result<A, RecvError>),
    Second(Result<B, RecvError>),
}

/// Waits for the next thing of either queue, or for the end of either.
pub fn recv_either<A, B>(first: &Receiver<A>, second: &Receiver<B>) -> Either<A, B> {
    if let Some(thread) = current() {
        loop {
            match first.try_recv() {
                Ok(thing) => return Either::First(Ok(thing)),
                Err(TryRecvError::Disconnected) => return Either::First(Err(RecvError)),
                Err(TryRecvError::Empty) => {}
            }
            match second.try_recv() {
                Ok(thing) => return Either::Second(Ok(thing)),
                Err(TryRecvError::Disconnected) => return Either::Second(Err(RecvError)),
                Err(TryRecvError::Empty) => {}
            }
            if thread.wait(&[&first.note, &second.note], false).is_err() {
                break; // the simulation is over
            }
        }
    }
    crossbeam_channel::select! {
        recv(first.inner) -> thing => Either::First(thing),
        recv(second.inner) -> thing => Either::Second(thing),
    }
}

/// A lock, as [`std::sync::Mutex`].
#[derive(Debug, Default)]
pub struct Mutex<T> {
    inner: std::sync::Mutex<T>,
}

/// Holds a [`Mutex`].
pub struct MutexGuard<'a, T> {
    inner: std::sync::MutexGuard<'a, T>,
    /// Told when the guard is dropped. The others run only later, so that it may come before the lock is free.
    _note: Note,
    lock: &'a Mutex<T>,
}

impl<T> Mutex<T> {
    pub const fn new(value: T) -> Self {
        Mutex { inner: std::sync::Mutex::new(value) }
    }

    fn guard<'a>(&'a self, inner: std::sync::MutexGuard<'a, T>) -> MutexGuard<'a, T> {
        MutexGuard { inner, _note: note_of(self), lock: self }
    }

    /// As [`std::sync::Mutex::lock`].
    ///
    /// # Errors
    /// A thread panicked while it held the lock; the guard comes with the error.
    pub fn lock(&self) -> LockResult<MutexGuard<'_, T>> {
        if let Some(thread) = current() {
            loop {
                match self.inner.try_lock() {
                    Ok(inner) => return Ok(self.guard(inner)),
                    Err(TryLockError::Poisoned(e)) => return Err(PoisonError::new(self.guard(e.into_inner()))),
                    Err(TryLockError::WouldBlock) => {}
                }
                if thread.wait(&[&note_of(self).quiet()], false).is_err() {
                    break; // the simulation is over
                }
            }
        }
        match self.inner.lock() {
            Ok(inner) => Ok(self.guard(inner)),
            Err(e) => Err(PoisonError::new(self.guard(e.into_inner()))),
        }
    }

    /// The lock, if it is free; also where a thread panicked while it held it.
    pub fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
        match self.inner.try_lock() {
            Ok(inner) => Some(self.guard(inner)),
            Err(TryLockError::Poisoned(e)) => Some(self.guard(e.into_inner())),
            Err(TryLockError::WouldBlock) => None,
        }
    }

    /// As [`std::sync::Mutex::get_mut`].
    ///
    /// # Errors
    /// As [`Mutex::lock`].
    pub fn get_mut(&mut self) -> LockResult<&mut T> {
        self.inner.get_mut()
    }

    /// As [`std::sync::Mutex::into_inner`].
    ///
    /// # Errors
    /// As [`Mutex::lock`].
    pub fn into_inner(self) -> LockResult<T> {
        self.inner.into_inner()
    }
}

impl<T> Deref for MutexGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.inner
    }
}

impl<T> DerefMut for MutexGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.inner
    }
}

/// Waits for what another thread tells, as [`std::sync::Condvar`].
#[derive(Debug, Default)]
pub struct Condvar {
    inner: std::sync::Condvar,
}

impl Condvar {
    pub const fn new() -> Self {
        Condvar { inner: std::sync::Condvar::new() }
    }

    /// Gives the lock back, waits to be notified, and takes it again. May return without.
    ///
    /// # Errors
    /// As [`Mutex::lock`].
    pub fn wait<'a, T>(&self, guard: MutexGuard<'a, T>) -> LockResult<MutexGuard<'a, T>> {
        let lock = guard.lock;
        if let Some(thread) = current() {
            drop(guard);
            let _ = thread.wait(&[&note_of(self).quiet()], false); // waking without a reason is allowed
            return lock.lock();
        }
        let MutexGuard { inner, .. } = guard;
        match self.inner.wait(inner) {
            Ok(inner) => Ok(lock.guard(inner)),
            Err(e) => Err(PoisonError::new(lock.guard(e.into_inner()))),
        }
    }

    /// Wakes all that wait.
    pub fn notify_all(&self) {
        note_of(self).tell();
        self.inner.notify_all();
    }
}
