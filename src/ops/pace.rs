//! Pacing: what moves data for its own sake leaves the disks to others in between.

use crate::error::Result;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long one wait is at most before it is asked whether to stop.
const NAP: Duration = Duration::from_millis(100);

/// So many bytes a second at most, by all threads of a run together.
#[derive(Debug, Default)]
pub struct Pace {
    /// 0: as fast as it goes.
    rate: AtomicU64,
    /// When what was taken so far is paid for.
    paid: Mutex<Option<Instant>>,
    /// All that was asked for.
    #[cfg(test)]
    pub taken: AtomicU64,
}

impl Pace {
    /// Sets the rate; `None` or 0 is none.
    pub fn set(&self, rate: Option<u64>) {
        self.rate.store(rate.unwrap_or(0), Ordering::Relaxed);
    }

    /// Takes so many bytes, once those that were taken before are paid for. Time in which nothing was taken earns nothing:
    /// what follows a pause is no faster. The wait ends early where `is_urgent`: what was begun is to end soon.
    ///
    /// # Errors
    /// What `proceed` returns. Both are asked ten times a second.
    pub fn take(&self, bytes: u64, is_urgent: &dyn Fn() -> bool, proceed: &dyn Fn() -> Result<()>) -> Result<()> {
        proceed()?;
        #[cfg(test)]
        self.taken.fetch_add(bytes, Ordering::Relaxed);
        let rate = self.rate.load(Ordering::Relaxed);
        if rate == 0 {
            return Ok(());
        }
        let from = {
            let mut paid = self.paid.lock().unwrap_or_else(PoisonError::into_inner); // it is set in one step
            let now = Instant::now();
            let from = paid.map_or(now, |paid| paid.max(now));
            let takes = Duration::try_from_secs_f64(bytes as f64 / rate as f64).unwrap_or(Duration::MAX);
            *paid = from.checked_add(takes).or(Some(from)); // beyond the clock's end nothing is waited for
            from
        };
        while let Some(early) = from.checked_duration_since(Instant::now()).filter(|d| !d.is_zero()) {
            proceed()?;
            if is_urgent() {
                break;
            }
            std::thread::sleep(early.min(NAP));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Error;
    use crate::ops::compact::{self, CompactOptions};
    use crate::ops::gc::{self, GcOptions};
    use crate::ops::shelf::plan::{self, Purpose};
    use crate::ops::shelf::{find, moves, rebalance, set_parity};
    use crate::ops::testing::{Shelf, disk_id, noise};
    use crate::ops::{Control, forget, snapshots};
    use std::path::Path;

    fn take(pace: &Pace, bytes: u64) {
        pace.take(bytes, &|| false, &|| Ok(())).unwrap();
    }

    #[test]
    fn what_is_taken_is_waited_for_by_who_comes_next_and_pauses_earn_nothing() {
        let pace = Pace::default();
        let begun = Instant::now();
        take(&pace, u64::MAX);
        assert!(begun.elapsed() < Duration::from_secs(60), "no rate is set");
        pace.set(Some(1_000_000));
        let begun = Instant::now();
        take(&pace, 150_000);
        take(&pace, 50_000);
        assert!(begun.elapsed() >= Duration::from_millis(150));
        std::thread::sleep(Duration::from_millis(300));
        let begun = Instant::now();
        take(&pace, 150_000);
        take(&pace, 1);
        assert!(begun.elapsed() >= Duration::from_millis(150), "300 ms of nothing pay for nothing");
    }

    #[test]
    fn threads_share_one_rate() {
        let pace = Pace::default();
        pace.set(Some(1_000_000));
        let begun = Instant::now();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| take(&pace, 100_000));
            }
        });
        assert!(begun.elapsed() >= Duration::from_millis(290));
    }

    /// A control by which so many bytes take a second.
    fn in_a_second(bytes: u64) -> Control {
        assert!(bytes > 0);
        let control = Control::default();
        control.set_rate(Some(bytes));
        control
    }

    /// What was asked for by this control.
    fn asked(control: &Control) -> u64 {
        control.pace.taken.load(Ordering::Relaxed)
    }

    /// Whether at least `part` of a second went by: what is taken last is waited for by nobody.
    fn took(begun: Instant, part: f64) {
        assert!(begun.elapsed().as_secs_f64() >= part, "{:?}", begun.elapsed());
    }

    #[test]
    fn packs_that_leave_a_disk_and_groups_that_are_made_anew_keep_to_the_rate() {
        let shelf = Shelf::with_parity(4, 0);
        for seed in 0..3 {
            shelf.stream(&format!("s{seed}"), &noise(seed, 4 << 20));
        }
        let store = shelf.write();
        let from = find(&store, &disk_id(0).to_string(), Path::new("")).unwrap();
        let planned = plan::plan(&store, from, Purpose::Drain);
        assert!(planned.moves.len() > 2);
        let begun = Instant::now();
        let control = in_a_second(planned.paced_bytes);
        let moved = moves::run(&store, &planned, &control).unwrap();
        took(begun, 0.4);
        assert_eq!(asked(&control), planned.paced_bytes);
        assert_eq!((moved.bytes, moved.failed), (planned.move_bytes, vec![]));
        set_parity(&store, 1, Some(2)).unwrap();
        let planned = rebalance::plan(&store);
        let begun = Instant::now();
        let control = in_a_second(planned.read_bytes);
        rebalance::run(&store, &planned, &control).unwrap();
        took(begun, 0.4);
        assert_eq!(asked(&control), planned.read_bytes);
        // What gives up its parity is read, too.
        set_parity(&store, 0, None).unwrap();
        let control = Control::default();
        rebalance::run(&store, &rebalance::plan(&store), &control).unwrap();
        assert_eq!(asked(&control), planned.read_bytes);
    }

    #[test]
    fn gc_and_compact_keep_to_the_rate() {
        let shelf = Shelf::new(1);
        // Each part lies beside bytes that its own snapshot alone has, and the last snapshot has all parts.
        let parts: Vec<Vec<u8>> = (0..6).map(|i| noise(i, 300_000)).collect();
        for (i, part) in (100u64..).zip(&parts) {
            shelf.stream("f", &[part.clone(), noise(i, 300_000)].concat());
        }
        shelf.stream("f", &parts.concat());
        let store = shelf.write();
        let options = CompactOptions { max_fragments: Some(2), ..CompactOptions::default() };
        let planned = compact::plan(&store, &options, "test", &Control::default()).unwrap();
        let bytes = planned.gather.as_ref().unwrap().move_bytes;
        let begun = Instant::now();
        let control = in_a_second(bytes);
        let report = compact::run(&store, planned, &options, "test", &control).unwrap();
        took(begun, 0.4);
        assert_eq!(asked(&control), report.moved_bytes);
        assert!(report.moved_bytes > 0, "{report:?}");
        let options = CompactOptions { recompress: true, ..CompactOptions::default() };
        let planned = compact::plan(&store, &options, "test", &Control::default()).unwrap();
        let control = Control::default();
        let report = compact::run(&store, planned, &options, "test", &control).unwrap();
        assert_eq!(asked(&control), report.tried_bytes);
        assert!(report.tried_bytes > 0);

        let list: Vec<_> = snapshots::list(&store, &[]).into_iter().take(6).collect();
        forget::run(&store, &forget::by_name(list).unwrap(), "t", "t", &Control::default()).unwrap();
        let options = GcOptions { grace_ns: 0, threshold_percent: Some(100), ..GcOptions::default() };
        let planned = gc::plan(&store, &options, "test", &Control::default()).unwrap();
        let bytes = planned.moved_bytes();
        let begun = Instant::now();
        let control = in_a_second(bytes);
        let report = gc::run(&store, planned, &options, "test", &control).unwrap();
        took(begun, 0.2);
        // Those have the rows of tables in them.
        assert!((report.moved_bytes * 9 / 10..=report.moved_bytes).contains(&asked(&control)), "{report:?}");
        assert!(report.packs_rewritten > 1, "{report:?}");
    }

    #[test]
    fn who_waits_stops_when_asked_to() {
        let pace = Pace::default();
        pace.set(Some(1));
        take(&pace, 1 << 40);
        assert!(matches!(pace.take(1, &|| false, &|| Err(Error::Interrupted)), Err(Error::Interrupted)));
        let asked = std::cell::Cell::new(0);
        let later = || {
            asked.set(asked.get() + 1);
            if asked.get() > 3 { Err(Error::Interrupted) } else { Ok(()) }
        };
        assert!(pace.take(1, &|| false, &later).is_err() && asked.get() == 4);
        let begun = Instant::now();
        pace.take(1, &|| true, &|| Ok(())).unwrap();
        assert!(begun.elapsed() < Duration::from_secs(60), "somebody waits for it to end");
    }
}
