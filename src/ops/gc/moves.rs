//! Rewriting packs: what stays of them goes into new packs as it stands, and only then they go.

use super::groups::Waiting;
use super::plan::Source;
use super::sweep::{self, Gone};
use super::{GcReport, Limits};
use crate::error::Result;
use crate::format::ChunkId;
use crate::format::event::{Event, SealedPack};
use crate::format::footer::{Footer, Row};
use crate::io::File;
use crate::ops::ingest::Ingest;
use crate::ops::{Control, Notice};
use crate::pack::read;
use crate::pack::write::NewRecord;

/// Bytes of records that are sent at once.
const BATCH_BYTES: u64 = 4 << 20;

/// A pack whose kept records are on their way.
struct Pending {
    sealed: SealedPack,
    ids: Vec<ChunkId>,
}

/// Moves what stays of these packs, and drops them as soon as each is replaced. Packs that are sealed from the serial
/// `first_new` on are those of this run.
///
/// # Errors
/// [`Error::Interrupted`], and whatever ends an ingest. What was moved by then need not be moved again.
pub(super) fn run(
    ingest: &Ingest<'_>,
    control: &Control,
    sources: &[Source],
    first_new: u32,
    waiting: &mut Waiting,
    limits: &Limits,
    (report, gone): (&mut GcReport, &mut Gone),
) -> Result<()> {
    let store = ingest.store();
    let mut pending: Vec<Pending> = Vec::new();
    let mut sent = 0u64;
    for source in sources {
        if limits.are_reached(store, report.moved_bytes) {
            report.stopped_at_limit = true;
            break;
        }
        match send(ingest, source, &mut sent)? {
            Ok(ids) => {
                report.moved_bytes += source.kept.kept_bytes;
                report.chunks_moved += ids.len() as u64;
                pending.push(Pending { sealed: source.sealed, ids });
            }
            // One that cannot be read whole stays; what it still holds is found by a check, and healed by a backup.
            Err(e) => {
                report.packs_damaged += 1;
                control.notice(Notice::Note(format!("{e}; pack {} stays", source.sealed.pack)));
            }
        }
        // Not only the first ones: what goes to a lane of few packs may wait for long, and the others' room is needed.
        let mut done = Vec::new();
        let mut still = Vec::with_capacity(pending.len());
        for source in pending {
            // Cheap, and mostly the one that is missing; publishers go on in any order, so all are asked behind it.
            let last = source.ids.last().map(std::slice::from_ref).unwrap_or_default();
            if ingest.stands_in_new(last, first_new)? && ingest.stands_in_new(&source.ids, first_new)? {
                done.push(source.sealed);
            } else {
                still.push(source);
            }
        }
        pending = still;
        sweep::drop_packs(store, control, waiting, &done, None, gone)?;
    }
    if pending.is_empty() {
        return Ok(());
    }
    ingest.settle()?;
    let mut done = Vec::new();
    for source in pending {
        if ingest.stands_in_new(&source.ids, first_new)? {
            done.push(source.sealed);
        } else {
            let note = "not all that was moved out of it is found again";
            control.notice(Notice::Note(format!("pack {} stays: {note}", source.sealed.pack)));
        }
    }
    sweep::drop_packs(store, control, waiting, &done, None, gone)?;
    Ok(())
}

/// Sends what stays of a pack, batch by batch. The inner error is the pack's own: it cannot be read whole.
fn send(ingest: &Ingest<'_>, source: &Source, sent: &mut u64) -> Result<Result<Vec<ChunkId>>> {
    let store = ingest.store();
    let sealed = &source.sealed;
    let opened = store.open_pack(sealed).and_then(|file| Ok((file, store.ends(sealed)?)));
    let (file, ends) = match opened {
        Ok(opened) => opened,
        Err(e) => return Ok(Err(e)),
    };
    // A run of packs goes to one lane, so that few packs are left part full.
    let lane = ingest.lane_for(sealed.kind, *sent / store.superblock().pack_bytes.max(1));
    let (mut ids, mut batch, mut bytes) = (Vec::new(), Vec::<NewRecord>::new(), 0u64);
    for (n, row) in ends.footer.rows.iter().enumerate() {
        if !source.kept.keeps(n) {
            continue;
        }
        let record = match record_of(ingest, &*file, sealed, &ends.footer, n, row)? {
            Ok(record) => record,
            Err(e) => return Ok(Err(e)),
        };
        ids.push(record.id);
        bytes += record.record_bytes();
        batch.push(record);
        if bytes >= BATCH_BYTES {
            ingest.pace(bytes)?;
            ingest.send(lane, std::mem::take(&mut batch))?;
            *sent += bytes;
            bytes = 0;
        }
    }
    *sent += bytes;
    ingest.pace(bytes)?;
    ingest.send(lane, batch)?;
    Ok(Ok(ids))
}

/// A record as it stands in a pack, with its features: from the pack's own file, or as its group makes it. The inner error
/// is the record's own, which is then on the log's list of damage.
pub(in crate::ops) fn record_of(
    ingest: &Ingest<'_>,
    file: &dyn File,
    sealed: &SealedPack,
    footer: &Footer,
    n: usize,
    row: &Row,
) -> Result<Result<NewRecord>> {
    let store = ingest.store();
    let own = read::record_at(file, sealed.pack, row);
    // Its group may have what its own file lacks.
    let record = own.or_else(|e| match store.proven(sealed)? {
        Some(proven) => read::record_at(&*proven, sealed.pack, row).map_err(|_| e),
        None => Err(e),
    });
    let mut record = match record {
        Ok(record) => record,
        Err(e) => {
            let (offset, bytes) = (u64::from(row.offset), row.header.record_bytes());
            let found = Event::DamageFound { pack: sealed.pack, offset, bytes, by: ingest.verb().into() };
            for note in store.append(|_| vec![found])? {
                ingest.notice(Notice::Note(note));
            }
            return Ok(Err(e));
        }
    };
    if record.bases.is_empty() {
        let first = footer.features.partition_point(|(row, _)| (*row as usize) < n);
        let of_row = footer.features.iter().skip(first).take_while(|(row, _)| *row as usize == n);
        record.features = of_row.map(|(_, f)| *f).collect();
    }
    Ok(Ok(record))
}
