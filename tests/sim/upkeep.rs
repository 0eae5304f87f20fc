//! Steps of upkeep: forget and gc, which take away what is no longer wanted and nothing else; compact; scrub, which mends.

use super::story::{Story, allowed};
use onefold::Error;
use onefold::io::faulty::FaultPlan;
use onefold::ops::compact::{self, CompactOptions, Split};
use onefold::ops::gc::{self, GcOptions, GcReport};
use onefold::ops::scrub::{self, ScrubOptions};
use onefold::ops::{Control, forget, snapshots};
use onefold::store::{Mode, Store};
use std::collections::BTreeSet;

impl Story {
    /// Runs a verb that writes, under a plan of faults.
    fn under<T>(
        &mut self,
        plan: FaultPlan,
        verb: &'static str,
        run: impl FnOnce(&Store) -> onefold::Result<T>,
    ) -> onefold::Result<T> {
        let world = self.shelf.run(plan);
        let outcome = self.shelf.open(&world.io, Mode::Write { verb }).and_then(|opened| run(&opened.store));
        self.ended(&world);
        outcome.inspect_err(allowed)
    }

    /// Forgets some snapshots, never all. One whose forgetting was acknowledged does not come back; where it was not, both will
    /// do.
    pub fn forget(&mut self, plan: Option<FaultPlan>) {
        if self.acked.len() < 2 {
            return;
        }
        let is_unhindered = plan.is_none();
        let n = self.chance.some(self.acked.len().ilog2().max(1).into()) as usize;
        let mut ids = BTreeSet::new();
        for _ in 0..n.min(self.acked.len() - 1) {
            let nth = self.chance.below(self.acked.len() as u64) as usize;
            ids.insert(self.acked[nth].id);
        }
        let outcome = self.under(plan.unwrap_or_default(), "forget", |store| {
            let list = snapshots::list(store, &[]).into_iter().filter(|s| ids.contains(&s.id)).collect();
            forget::run(store, &forget::by_name(list)?, "simulation", "by name", &Control::default())
        });
        let gone = self.acked.iter().filter(|a| ids.contains(&a.id)).map(|a| a.files.clone());
        match outcome {
            Ok(done) => {
                assert_eq!(done, ids.len() as u64);
                self.tally.add("snapshots forgotten", done);
            }
            Err(e) if is_unhindered => match e {
                Error::NoSpace { .. } if self.tight => self.attempted.extend(gone),
                e => panic!("a forget that nothing hinders fails: {}", e.line()),
            },
            Err(_) => self.attempted.extend(gone),
        }
        self.acked.retain(|a| !ids.contains(&a.id));
        self.lost.retain(|(id, _)| !ids.contains(id));
        self.look();
    }

    /// Gives space back. What is live is as whole as before, whatever stops it, and all of it is read.
    pub fn gc(&mut self, plan: Option<FaultPlan>) {
        let is_unhindered = plan.is_none();
        let options = GcOptions {
            grace_ns: if self.chance.one_in(4) { 86_400_000_000_000 } else { 0 },
            trust_clock: !self.chance.one_in(4),
            threshold_percent: *self.chance.pick(&[None, Some(50), Some(100)]),
            max_bytes: self.chance.one_in(5).then_some(100_000),
            full: self.chance.one_in(4),
            ..Default::default()
        };
        let outcome = self.under(plan.unwrap_or_default(), "gc", |store| {
            let control = Control::default();
            let plan = gc::plan(store, &options, "simulation", &control)?;
            gc::run(store, plan, &options, "simulation", &control)
        });
        match outcome {
            Ok(GcReport { packs_dropped, packs_rewritten, .. }) => {
                self.tally.add("gcs", 1);
                self.tally.add("packs given back", packs_dropped + packs_rewritten);
            }
            Err(e) => {
                self.tally.add("gcs that failed", 1);
                let has_lost = !self.lost.is_empty() || self.destroyed || self.index_lies;
                let may_be = match &e {
                    Error::NoSpace { .. } => self.tight,
                    Error::ClockJumped { .. } => !options.trust_clock,
                    Error::UnreadableTree { .. } => has_lost,
                    _ => false,
                };
                assert!(may_be || !is_unhindered, "a gc that nothing hinders fails: {}", e.line());
            }
        }
        self.look_at_all();
    }

    /// Writes chunks anew, or splits files anew. Whatever stops it, nothing of what is live is less whole than before.
    pub fn compact(&mut self, plan: Option<FaultPlan>, split: Option<Split>) {
        let is_unhindered = plan.is_none();
        let options = CompactOptions {
            max_fragments: (!self.chance.one_in(3)).then(|| 1 + self.chance.below(3)),
            recompress: self.chance.one_in(3),
            resplit: split,
            protect_shared: self.chance.one_in(2).then(|| [0, 1, 1, 1, 1, 2][self.chance.below(6) as usize]),
            max_bytes: self.chance.one_in(5).then_some(100_000),
            max_duration_ns: None,
        };
        let outcome = self.under(plan.unwrap_or_default(), "compact", |store| {
            let control = Control::default();
            // One more parity pack wants one more disk.
            let takes = store.pool().disks().filter(|d| d.takes_data()).count();
            let enough = takes >= store.with_state(|s| s.parity()) + 2;
            let protect_shared = options.protect_shared.filter(|n| *n == 0 || enough);
            let options = CompactOptions { protect_shared, ..options };
            let plan = compact::plan(store, &options, "simulation", &control)?;
            let report = compact::run(store, plan, &options, "simulation", &control)?;
            // Where reads fail now and then, the next plan may read what this one could not.
            let is_whole = is_unhindered && !report.stopped_at_limit && report.chunks_unreadable == 0;
            if protect_shared.is_some() && is_whole {
                let only = CompactOptions { protect_shared, ..CompactOptions::default() };
                let again = compact::plan(store, &only, "simulation", &control)?;
                assert!(again.is_empty(), "what many files share is held safer now");
            }
            Ok(report)
        });
        match outcome {
            Ok(report) => {
                self.tally.add("compacts", 1);
                self.tally.add("files split anew", report.files_resplit);
                self.tally.add("chunks held safer", report.chunks_protected);
                self.tally.add("chunks written anew", report.chunks_moved + report.chunks_recoded);
            }
            Err(e) => {
                self.tally.add("compacts that failed", 1);
                let may_be = self.tight && matches!(e, Error::NoSpace { .. });
                assert!(may_be || !is_unhindered, "a compact that nothing hinders fails: {}", e.line());
            }
        }
        self.look_at_all();
    }

    /// Proves every pack and mends what its group makes good. One that nothing hinders comes to its end, and what it could not mend is
    /// what was called lost before.
    pub fn scrub(&mut self, plan: Option<FaultPlan>) {
        let is_unhindered = plan.is_none();
        let world = self.shelf.run(plan.unwrap_or_default());
        let (control, shelf) = (Control::default(), &self.shelf);
        let outcome = shelf.open(&world.io, Mode::Read).and_then(|opened| {
            let (pass, _) = scrub::pass_of(&opened.store);
            scrub::run(&opened.store, &ScrubOptions::default(), &control, &mut |found, at| {
                let writer = shelf.open(&world.io, Mode::Write { verb: "scrub" })?;
                scrub::settle(&writer.store, found, pass, at.complete, &control)
            })
        });
        self.ended(&world);
        match outcome.inspect_err(allowed) {
            Ok(report) => {
                self.tally.add("scrubs", 1);
                self.tally.add("packs mended", report.mended.iter().filter(|m| m.failed.is_none()).count() as u64);
                assert!(report.complete || !is_unhindered, "a scrub that nothing hinders does not come to its end");
                let hopeless = report.mended.iter().find(|m| m.failed.is_some());
                assert!(hopeless.is_none() || !is_unhindered || self.destroyed, "nothing was destroyed: {hopeless:?}");
            }
            Err(Error::NoSpace { .. }) if self.tight => {}
            Err(e) => assert!(!is_unhindered, "a scrub that nothing hinders fails: {}", e.line()),
        }
        self.look_at_all();
    }
}
