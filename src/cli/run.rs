//! The runner: a verb's synchronous body on a thread of its own, beside signals and the progress display.
//!
//! # Invariants
//!
//! 1. The first signal asks the verb to stop and says what is safe; the second ends the process at once.
//! 2. A panic of the body becomes an error message and exit status 1.
//! 3. What the body printed is handed to the system before its status is believed.

use super::context::Context;
use super::exit::Exit;
use super::progress::{Display, TICK};
use super::report;
use crate::error::{Error, Result};
use std::sync::Arc;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;
use tokio::time::MissedTickBehavior;

enum Ending {
    Done(Result<Exit>),
    Panicked,
    /// The second signal: the body may still be running.
    Abandoned,
}

/// Runs `body` to its end or to the second signal, tells what went wrong, and returns the exit status. `safe` is told
/// when it is asked to stop.
pub fn run(
    context: &Arc<Context>,
    name: &'static str,
    safe: &'static str,
    body: impl FnOnce(&Context) -> Result<Exit> + Send + 'static,
) -> Exit {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(e) => return report::error(&Error::io("start", "the runtime")(e), context.json),
    };
    let ending = runtime.block_on(async {
        let (tell, stops) = mpsc::channel(2);
        tokio::spawn(forward_signals(tell));
        wait(context, name, safe, stops, body).await
    });
    runtime.shutdown_background(); // an abandoned body does not keep the process
    context.screen.clear();
    finish(context, ending)
}

fn finish(context: &Context, ending: Ending) -> Exit {
    match ending {
        Ending::Abandoned => Exit::Signal,
        Ending::Panicked => {
            report::panicked(context.json);
            Exit::Failed
        }
        Ending::Done(result) => match result.and_then(|exit| context.out.flush().map(|()| exit)) {
            Ok(exit) => exit,
            // Whoever read the output has seen enough.
            Err(_) if context.out.is_broken() => Exit::Done,
            Err(e) => {
                let _ = context.out.flush(); // what was printed before the error; the error itself is told next
                // A verb that was asked to stop may fail over what it was waiting for, such as a pipe.
                let waited = context.control.is_cancelled() && matches!(e, Error::Io { .. });
                let e = if waited { Error::Interrupted } else { e };
                report::error(&e, context.json)
            }
        },
    }
}

async fn wait(
    context: &Arc<Context>,
    name: &'static str,
    safe: &'static str,
    mut stops: mpsc::Receiver<()>,
    body: impl FnOnce(&Context) -> Result<Exit> + Send + 'static,
) -> Ending {
    let its = context.clone();
    let mut job = tokio::task::spawn_blocking(move || body(&its));
    let mut display = Display::new(name, context.quiet, context.json, context.screen.clone());
    let mut clock = tokio::time::interval(TICK);
    clock.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let (mut asked, mut listening) = (false, true);
    loop {
        tokio::select! {
            biased;
            done = &mut job => return match done {
                Ok(result) => Ending::Done(result),
                Err(_) => Ending::Panicked,
            },
            stop = stops.recv(), if listening => match stop {
                None => listening = false,
                Some(()) if asked => {
                    context.screen.say("stopped at once");
                    return Ending::Abandoned;
                }
                Some(()) => {
                    asked = true;
                    context.control.cancel();
                    context.screen.say(&format!("stopping: {safe} (once more to stop at once)"));
                }
            },
            _ = clock.tick() => display.tick(&context.control.progress),
        }
    }
}

/// Passes ^C and SIGTERM on. SIGHUP is left alone, so that `nohup` keeps its meaning: to end without warning is safe.
async fn forward_signals(tell: mpsc::Sender<()>) {
    // Where the system refuses a handler, the signal ends the process as it would without one.
    let mut interrupt = signal(SignalKind::interrupt()).ok();
    let mut terminate = signal(SignalKind::terminate()).ok();
    loop {
        tokio::select! {
            () = next(&mut interrupt) => {}
            () = next(&mut terminate) => {}
        }
        if tell.send(()).await.is_err() {
            return;
        }
    }
}

async fn next(signal: &mut Option<Signal>) {
    if let Some(signal) = signal
        && signal.recv().await.is_some()
    {
        return;
    }
    std::future::pending().await
}

#[cfg(test)]
mod tests {
    use super::super::Global;
    use super::super::out::tests::Shared;
    use super::super::out::{Out, Raw};
    use super::super::progress::Screen;
    use super::*;
    use std::io::{self, Write};
    use std::time::Duration;

    fn context(inner: impl Write + Send + 'static) -> Arc<Context> {
        let global = Global { store: None, json: false, quiet: true, memory: 1 << 30, retry_lock: Default::default() };
        let screen = Arc::new(Screen::new(false));
        let out = Arc::new(Out::new(Box::new(inner), false, screen.clone()));
        Arc::new(Context::with(&global, out, screen))
    }

    fn drive(
        context: &Arc<Context>,
        signals: usize,
        body: impl FnOnce(&Context) -> Result<Exit> + Send + 'static,
    ) -> Exit {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let ending = runtime.block_on(async {
            let (tell, stops) = mpsc::channel(2);
            for _ in 0..signals {
                tell.send(()).await.unwrap();
            }
            wait(context, "test", "all is", stops, body).await
        });
        runtime.shutdown_background();
        finish(context, ending)
    }

    #[test]
    fn a_panic_is_exit_1_and_not_101() {
        assert_eq!(drive(&context(Shared::default()), 0, |_| panic!("on purpose")), Exit::Failed);
    }

    #[test]
    fn the_first_signal_asks_and_the_second_does_not_wait() {
        let until_cancelled = |c: &Context| loop {
            c.control.proceed()?;
            std::thread::sleep(Duration::from_millis(1));
        };
        assert_eq!(drive(&context(Shared::default()), 1, until_cancelled), Exit::Signal);
        let deaf = |_: &Context| {
            std::thread::sleep(Duration::from_secs(2));
            Ok(Exit::Done)
        };
        let begun = std::time::Instant::now();
        assert_eq!(drive(&context(Shared::default()), 2, deaf), Exit::Signal);
        assert!(begun.elapsed() < Duration::from_secs(2));
    }

    #[test]
    fn a_verb_that_ends_well_although_it_was_asked_to_stop_has_ended_well() {
        assert_eq!(drive(&context(Shared::default()), 1, |_| Ok(Exit::Losses)), Exit::Losses);
    }

    #[test]
    fn a_closed_pipe_ends_a_listing_with_0_and_keeps_the_status_of_what_was_done() {
        struct Closed;
        impl Write for Closed {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::BrokenPipe.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let listing = |c: &Context| loop {
            Raw(&c.out).write_all(&[0; 4096]).map_err(Error::io("write to", "standard output"))?;
        };
        assert_eq!(drive(&context(Closed), 0, listing), Exit::Done);
        let summary = |c: &Context| c.out.line("saved, but").map(|()| Exit::Losses);
        assert_eq!(drive(&context(Closed), 0, summary), Exit::Losses);
    }

    #[test]
    fn what_was_printed_reaches_stdout_before_the_end() {
        let shared = Shared::default();
        assert_eq!(drive(&context(shared.clone()), 0, |c| c.out.line("result").map(|()| Exit::Done)), Exit::Done);
        assert_eq!(shared.text(), "result\n");
    }
}
