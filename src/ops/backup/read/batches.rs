//! Batches: a window's chunks, stored by their reader or by another one that has nothing to do, and put into the recipe in
//! the file's order.

use super::super::cut::Cut;
use super::super::survey::Spent;
use super::{Reader, WINDOW_BYTES};
use crate::catalog::recipe::RecipeBuilder;
use crate::chunk::jpeg::Start;
use crate::chunk::{Form, Samples, Technique, Tier};
use crate::error::{Error, Result};
use crate::format::recipe::{self, Reference};
use crate::format::{ChunkId, ChunkKind};
use crate::io::threads::{Mutex, Receiver, RecvTimeoutError, Sender, TrySendError, bounded};
use crate::ops::ingest::locality::Bound;
use crate::ops::ingest::resemble::Asked;
use crate::pack::payload::{Payload, SharedWindow};
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// Batches of one file that may be in work elsewhere.
pub const BATCHES_AHEAD: usize = 4;

/// A batch's chunks by stream, in order.
pub type Stored = Result<Vec<(u8, Reference)>>;

/// Bytes that were cut, and the samples of the chunks, in their order.
pub struct Job {
    pub bytes: Vec<u8>,
    pub chunks: Vec<Cut>,
    pub samples: Samples,
    /// Where in a JPEG file each begins, as far as that is followed; empty where none is.
    pub starts: Vec<Option<Start>>,
    /// Mapped segments take of them; else they stand in the file as they are.
    pub mapped: bool,
    pub file: InWork,
}

/// What is counted over all batches of a file.
#[derive(Clone, Default)]
pub struct InWork {
    /// How scattered the file may come to lie, where that is bounded.
    pub bound: Option<Arc<Mutex<Bound>>>,
    /// What it costs, where that is asked.
    pub spent: Option<Arc<Spent>>,
}

/// What comes next in a recipe.
pub enum Pending {
    /// Chunks that another reader stores, and whether mapped segments take of them.
    Elsewhere(Receiver<Stored>, bool),
    Segment(u64, Box<recipe::Mapped>),
}

/// A window's chunks on the way to another reader.
pub struct Batch {
    pub job: Job,
    pub lane: usize,
    pub done: Sender<Stored>,
}

impl Reader<'_, '_, '_> {
    /// Gives chunks to an idle reader, or stores them here.
    pub fn hand_out(
        &mut self,
        recipe: &mut RecipeBuilder,
        mut job: Job,
        lane: usize,
        waiting: &mut VecDeque<Pending>,
    ) -> Result<()> {
        let mapped = job.mapped;
        job.starts = self.starts(&job);
        let mut mine = Some(job);
        if self.shared.idle.load(Ordering::SeqCst) > 0
            && let Some(job) = mine.take()
        {
            let (done, receiver) = bounded(1);
            match self.shared.batches.0.try_send(Batch { job, lane, done }) {
                Ok(()) => {
                    waiting.push_back(Pending::Elsewhere(receiver, mapped));
                    while waiting.iter().filter(|p| matches!(p, Pending::Elsewhere(..))).count() > BATCHES_AHEAD
                        && let Some(oldest) = waiting.pop_front()
                    {
                        self.collect(recipe, oldest)?;
                    }
                }
                Err(TrySendError::Full(b) | TrySendError::Disconnected(b)) => mine = Some(b.job),
            }
        }
        if let Some(job) = mine {
            let references = self.store(job, lane)?;
            while let Some(pending) = waiting.pop_front() {
                self.collect(recipe, pending)?; // what was handed out comes before this batch
            }
            self.add(recipe, references, mapped)?;
        }
        Ok(())
    }

    /// Follows the JPEG files of a batch: batches of a file come here in its order, those that are stored already too.
    fn starts(&mut self, job: &Job) -> Vec<Option<Start>> {
        let coding = self.shared.ingest.coding();
        let jpeg = |c: &Cut| c.form == Form::Jpeg;
        if coding.tier != Tier::Dense || !coding.uses(Technique::Jpeg) || !job.chunks.iter().any(jpeg) {
            return Vec::new();
        }
        let follow = |c: &Cut| {
            let chunk = job.bytes.get(c.from..c.to).filter(|_| jpeg(c))?;
            self.walkers.entry(c.stream).or_default().follow(chunk)
        };
        job.chunks.iter().map(follow).collect()
    }

    fn add(&mut self, recipe: &mut RecipeBuilder, references: Vec<(u8, Reference)>, mapped: bool) -> Result<()> {
        for (stream, reference) in references {
            if mapped {
                recipe.reference(&mut self.sink, stream, reference)?;
            } else {
                recipe.data(&mut self.sink, stream, reference)?;
            }
        }
        Ok(())
    }

    /// Adds what comes next to the recipe. Waits for a batch that another reader has, doing others' batches meanwhile.
    pub fn collect(&mut self, recipe: &mut RecipeBuilder, pending: Pending) -> Result<()> {
        let (receiver, mapped) = match pending {
            Pending::Segment(bytes, how) => return recipe.mapped(&mut self.sink, bytes, *how),
            Pending::Elsewhere(receiver, mapped) => (receiver, mapped),
        };
        let references = loop {
            match receiver.recv_timeout(Duration::from_millis(1)) {
                Ok(references) => break references?,
                Err(RecvTimeoutError::Timeout) => {
                    self.shared.ingest.proceed()?;
                    if let Ok(batch) = self.shared.batches.1.try_recv() {
                        self.batch(batch);
                    }
                }
                Err(RecvTimeoutError::Disconnected) => return Err(Error::WorkerLost { verb: "backup" }),
            }
        };
        self.add(recipe, references, mapped)
    }

    pub fn batch(&mut self, batch: Batch) {
        let outcome = self.store(batch.job, batch.lane);
        let _ = batch.done.send(outcome); // its owner is gone only if the run ends
    }

    /// Names a window's chunks, and stores the new ones. Where they are most of the window the records share it,
    /// so that raw chunks are not copied; else they are copied, and the window is free at once.
    pub fn store(&mut self, job: Job, lane: usize) -> Stored {
        let Job { bytes, chunks, samples, starts, file, .. } = job;
        let ingest = self.shared.ingest;
        let keys = ingest.store().keys();
        // Only whole windows go back to the pool.
        let pool = if bytes.len() == WINDOW_BYTES { Arc::clone(&self.shared.windows) } else { Arc::default() };
        let window = SharedWindow::new(bytes, pool);
        let ids: Vec<ChunkId> = chunks.iter().map(|c| keys.chunk_id(ChunkKind::Data, &window[c.from..c.to])).collect();
        let mut hits = ingest.claim_hits(&ids)?;
        if let Some(bound) = &file.bound {
            let all = chunks.iter().map(|c| (c.to - c.from) as u64).sum();
            ingest.store_again(bound, &ids, all, &mut hits);
        }
        let new_bytes: usize = chunks.iter().zip(&hits).filter(|(_, hit)| hit.new).map(|(c, _)| c.to - c.from).sum();
        let share = new_bytes / 3 >= window.len() / 4;
        let is_new: Vec<bool> = hits.iter().map(|hit| hit.new).collect();
        let parts: Vec<Asked<'_>> = chunks
            .iter()
            .enumerate()
            .zip(&ids)
            .zip(hits)
            .map(|(((i, c), id), hit)| {
                let plain = match hit.new {
                    true if share => Payload::part(&window, c.from..c.to),
                    true => window[c.from..c.to].to_vec().into(),
                    false => Vec::new().into(), // not looked at
                };
                let start = starts.get(i).and_then(Option::as_ref);
                Asked { stream: c.stream, id: *id, form: c.form, samples: samples.chunk(i), start, plain, hit }
            })
            .collect();
        drop(window);
        let records = self.resembler.records(&mut self.squeezer, &parts);
        drop(parts);
        if let Some(spent) = &file.spent {
            spent.add(&chunks, &is_new, &records);
        }
        ingest.send(lane, records)?;
        let references =
            chunks.iter().zip(ids).map(|(c, id)| (c.stream, Reference { id, bytes: (c.to - c.from) as u64 }));
        Ok(references.collect())
    }
}
