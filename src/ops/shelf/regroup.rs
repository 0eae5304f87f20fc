//! Groups made anew: packs get other companions and new parity; the old groups are retired in the same entry.
//!
//! Until that entry the old groups live, and the packs' old files stand: nothing is less protected meanwhile.

use crate::catalog::state::{GroupMember, LogState};
use crate::error::{Error, Result};
use crate::format::event::{Event, Outcome};
use crate::format::footer::PackKind;
use crate::format::group::{CODE_REED_SOLOMON_16, Group, Member};
use crate::format::{DiskId, PackId, WriterId};
use crate::ops::repair::NotPlaced;
use crate::ops::{Control, Notice, repair};
use crate::pack::sealed_path;
use crate::pool::log::VERB_REGROUP;
use crate::pool::parity::parity_path;
use crate::pool::parity::read::GroupReader;
use crate::pool::parity::write::{self, Failed, Target};
use crate::pool::{InWork, Place, Shape};
use crate::store::Store;
use std::collections::BTreeSet;

/// Packs that are regrouped in one entry.
const AT_ONCE: usize = 48;

/// What was made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Regrouped {
    pub groups: u64,
    pub parity_bytes: u64,
    /// Groups that stay as they are, with why.
    pub failed: Vec<([u8; 16], String)>,
}

/// A writer that makes parity: its leavings are found by the log if it dies.
struct Writer<'a> {
    store: &'a Store,
    id: WriterId,
    sequence: u32,
}

impl<'a> Writer<'a> {
    fn begin(store: &'a Store) -> Result<Self> {
        let mut random = [0; 8];
        store.io().world.random(&mut random);
        let id = WriterId(random);
        let began = Event::WriterBegan {
            writer: id,
            time_ns: store.io().world.now_ns(),
            verb: VERB_REGROUP.into(),
            host: crate::io::source::hostname(),
            pid: crate::io::source::process_id(),
            program: concat!("onefold ", env!("CARGO_PKG_VERSION")).into(),
            parent: None,
        };
        store.append(|_| vec![began])?;
        Ok(Writer { store, id, sequence: 0 })
    }

    fn next(&mut self) -> PackId {
        self.sequence += 1; // far fewer than 2^32 packs a run
        PackId::new(self.id, self.sequence)
    }

    fn end(self) -> Result<()> {
        self.store.append(|_| vec![Event::WriterEnded { writer: self.id, outcome: Outcome::Done }]).map(drop)
    }
}

/// Makes these groups anew, of their packs of data. What lies on a disk of `leave` moves to another one.
///
/// # Errors
/// [`Error::Interrupted`], and whatever keeps the log from being written.
pub fn of_groups(store: &Store, groups: &[[u8; 16]], leave: &[DiskId], control: &Control) -> Result<Regrouped> {
    of(store, groups, &[], leave, control)
}

/// As [`of_groups`], and takes packs without a group in.
///
/// # Errors
/// As [`of_groups`].
pub fn of(
    store: &Store,
    groups: &[[u8; 16]],
    alone: &[PackId],
    leave: &[DiskId],
    control: &Control,
) -> Result<Regrouped> {
    let mut done = Regrouped::default();
    if groups.is_empty() && alone.is_empty() {
        return Ok(done);
    }
    let mut writer = Writer::begin(store)?;
    let (mut packs, mut old): (Vec<PackId>, Vec<[u8; 16]>) = (Vec::new(), Vec::new());
    let mut flush = |packs: &mut Vec<PackId>, old: &mut Vec<[u8; 16]>, writer: &mut Writer<'_>| -> Result<()> {
        let (packs, old) = (std::mem::take(packs), std::mem::take(old));
        let mut tried = |packs: &[PackId], old: &[[u8; 16]]| -> Result<std::result::Result<(), String>> {
            control.proceed()?;
            match batch(store, writer, packs, old, leave, control) {
                Ok(made) => {
                    done.groups += made.groups;
                    done.parity_bytes += made.parity_bytes;
                    Ok(Ok(()))
                }
                Err(Stopped::Here(e)) => Err(e),
                Err(Stopped::Group(e)) => {
                    Ok(Err(e.hint().map_or_else(|| e.to_string(), |hint| format!("{e}; {hint}"))))
                }
            }
        };
        if tried(&packs, &old)?.is_ok() {
            return Ok(());
        }
        // One that cannot be made anew does not keep the others from it.
        let mut rest: Vec<PackId> = packs;
        let mut failed = Vec::new();
        for id in old {
            let data = data_of(store, &id);
            rest.retain(|p| !data.contains(p));
            if let Err(why) = tried(&data, &[id])? {
                control.notice(Notice::Note(format!("{} packs keep their group: {why}", data.len())));
                failed.push((id, why));
            }
        }
        if !rest.is_empty()
            && let Err(why) = tried(&rest, &[])?
        {
            control.notice(Notice::Note(format!("{} packs stay without a group: {why}", rest.len())));
        }
        done.failed.extend(failed);
        Ok(())
    };
    for id in groups {
        let data = data_of(store, id);
        if data.is_empty() {
            continue; // retired since
        }
        packs.extend(data);
        old.push(*id);
        if packs.len() >= AT_ONCE {
            flush(&mut packs, &mut old, &mut writer)?;
        }
    }
    for pack in alone {
        packs.push(*pack);
        if packs.len() >= AT_ONCE {
            flush(&mut packs, &mut old, &mut writer)?;
        }
    }
    if !packs.is_empty() {
        flush(&mut packs, &mut old, &mut writer)?;
    }
    writer.end()?;
    Ok(done)
}

/// Whether a pack is lost for good: its disk was taken out of the store, and nothing gives it, nor would if all disks came
/// back that are only away.
pub(super) fn is_gone(store: &Store, state: &LogState, m: &GroupMember) -> bool {
    let may_come = |disk: &DiskId| store.pool().disk(disk).is_some() || !state.is_retired(disk);
    !may_come(&m.disk) && !store.would_rebuild(state, &m.pack, (0, m.bytes), &may_come)
}

/// The packs of data of a group that new groups can be made of.
fn data_of(store: &Store, group: &[u8; 16]) -> Vec<PackId> {
    store.with_state(|s| {
        let members = s.group(group).map(|g| s.members(g)).unwrap_or_default();
        members.into_iter().filter(|m| !m.parity && !is_gone(store, s, m)).map(|m| m.pack).collect()
    })
}

/// Why a batch was not made.
enum Stopped {
    /// All of it ends: the user asked to, or the log cannot be written.
    Here(Error),
    /// These packs are to blame, or the room for them. Nothing of it is left.
    Group(Error),
}

/// A pack and where it will lie.
struct Seat {
    kind: PackKind,
    member: Member,
    from: DiskId,
    to: DiskId,
}

/// What a batch has written, and the log does not name yet.
#[derive(Default)]
struct Unlogged {
    seats: Vec<Seat>,
    parity: Vec<Target>,
}

impl Unlogged {
    /// Removes it: nothing counts on it, and the next attempt writes elsewhere.
    fn remove(&self, store: &Store) {
        let fs = &store.io().fs;
        for seat in self.seats.iter().filter(|s| s.from != s.to) {
            // A repair on the way may have put it there, and the log says so.
            let now = store.with_state(|s| s.pack_by_id(&seat.member.pack).map(|p| p.sealed.disk));
            if let Some(disk) = store.pool().disk(&seat.to).filter(|_| now != Some(seat.to)) {
                let _ = fs.remove_file(&sealed_path(&disk.path, seat.member.pack)); // what stays is told by check
            }
        }
        for target in &self.parity {
            let _ = fs.remove_file(&parity_path(&target.disk, target.pack)); // as above, while its writer lives
        }
    }
}

/// Moves what has to leave, without logging it.
fn seat(store: &Store, packs: &[PackId], leave: &[DiskId], control: &Control, seats: &mut Vec<Seat>) -> Result<()> {
    let known: Vec<_> = packs.iter().filter_map(|p| store.with_state(|s| s.pack_by_id(p).map(|p| p.sealed))).collect();
    let mut crowd: Vec<DiskId> = known.iter().map(|p| p.disk).filter(|d| !leave.contains(d)).collect();
    for p in known {
        control.proceed()?;
        let member = Member { pack: p.pack, parity: false, bytes: p.bytes, root: p.root };
        let stays = !leave.contains(&p.disk) && store.pool().disk(&p.disk).is_some();
        if stays {
            seats.push(Seat { kind: p.kind, member, from: p.disk, to: p.disk });
            continue;
        }
        // The disk that holds the fewest of these packs: they shall not meet in one group.
        let count = |disk: &DiskId| crowd.iter().filter(|d| *d == disk).count();
        let standing = repair::standing(store, &p.pack)?;
        let to = loop {
            let mut but = leave.to_vec();
            but.push(p.disk);
            let mut disks = store.pool().parity_disks(&but, p.bytes, usize::MAX, Place::Repair, &InWork::default());
            disks.sort_by_key(|d| count(&d.id)); // stable: else the most room first
            let Some(to) = disks.first() else {
                return Err(Error::NoSpace { needed: p.bytes, disks: store.pool().why_full(p.bytes) });
            };
            match repair::place(store, &standing, to, control) {
                Ok(()) => break to.id,
                Err(NotPlaced::Target(_)) => {} // it takes no more data: another is chosen
                Err(e) => return Err(e.into_error()),
            }
        };
        crowd.push(to);
        seats.push(Seat { kind: p.kind, member, from: p.disk, to });
    }
    Ok(())
}

/// Which packs become groups, and of what shape. Metadata that is kept in further copies has groups of its own, and so has
/// data that is held safer.
fn planned<'a>(store: &Store, seats: &'a [Seat]) -> Vec<(Shape, Vec<&'a Seat>)> {
    let mut out = Vec::new();
    for (shape, kinds) in store.shapes().classes().into_iter().filter(|(shape, _)| shape.parity > 0) {
        let own: Vec<&Seat> = seats.iter().filter(|s| kinds.contains(&s.kind)).collect();
        let places: Vec<(DiskId, u64)> = own.iter().map(|s| (s.to, s.member.bytes)).collect();
        for group in store.pool().plan_groups(&places, shape.width, shape.parity, &|_| 0) {
            out.push((shape, group.into_iter().filter_map(|i| own.get(i).copied()).collect()));
        }
    }
    out
}

/// Makes the groups of a batch, and returns what the log is to say of them.
fn made(
    store: &Store,
    writer: &mut Writer<'_>,
    packs: &[PackId],
    leave: &[DiskId],
    control: &Control,
    unlogged: &mut Unlogged,
) -> Result<(Regrouped, Vec<Event>)> {
    let (pool, io) = (store.pool(), store.io());
    let Unlogged { seats, parity } = unlogged;
    seat(store, packs, leave, control, seats)?;
    let mut made = Regrouped::default();
    let mut events = Vec::new();
    for (shape, chosen) in planned(store, seats) {
        control.proceed()?;
        let members: Vec<Member> = chosen.iter().map(|s| s.member).collect();
        let on: Vec<DiskId> = chosen.iter().map(|s| s.to).chain(leave.iter().copied()).collect();
        let paths = chosen.iter().map(|s| pool.disk(&s.to).map(|d| sealed_path(&d.path, s.member.pack))).collect();
        let bare = Group { id: [0; 16], code: CODE_REED_SOLOMON_16, members: members.clone() };
        let source = GroupReader::new(io, bare, paths)?;
        control.pace(members.iter().map(|m| m.bytes).sum())?; // all of it is read
        let longest = members.iter().map(|m| m.bytes).max().unwrap_or(0);
        let mut mended = BTreeSet::new();
        let (group, disks) = loop {
            let disks = pool.parity_disks(&on, longest, shape.parity, Place::Repair, &InWork::default());
            if disks.len() < shape.parity {
                let others = pool.disks().filter(|d| d.takes_data() && !on.contains(&d.id)).count();
                return Err(match others < shape.parity {
                    true => Error::TooFewDisks { parity: shape.parity, disks: others },
                    false => Error::NoSpace { needed: longest, disks: pool.why_full(longest) },
                });
            }
            let targets: Vec<Target> =
                disks.iter().map(|d| Target { pack: writer.next(), disk: d.path.clone() }).collect();
            let mut id = [0; 16];
            io.world.random(&mut id);
            let new = write::make(io, store.superblock().store, id, &source, &members, &targets);
            match new.and_then(|group| write::prove(io, group, &targets)) {
                Ok(group) => {
                    parity.extend(targets);
                    break (group, disks);
                }
                Err(Failed::Target(i, e)) => {
                    if let Some(disk) = disks.get(i) {
                        disk.failed(&e);
                        control.notice(Notice::Note(format!("disk {} takes no more data: {e}", disk.name())));
                    }
                }
                // Its old group stands yet: what has rotted is mended from that first.
                Err(Failed::Member(i, e)) => {
                    let Some(seat) = chosen.get(i).filter(|s| mended.insert(s.member.pack)) else { return Err(e) };
                    repair::mend(store, &[seat.member.pack], control)?;
                    let now = store.with_state(|s| s.pack_by_id(&seat.member.pack).map(|p| p.sealed.disk));
                    if now != Some(seat.from) {
                        return Err(e); // it had to be mended elsewhere: the next attempt begins with that
                    }
                    source.forget(i);
                }
            }
        };
        made.groups += 1;
        made.parity_bytes += group.members.iter().filter(|m| m.parity).map(|m| m.bytes).sum::<u64>();
        events.push(Event::GroupMade { group, disks: disks.iter().map(|d| d.id).collect() });
    }
    // What gets no group is not read for one. Parity that is given up goes only when nothing needs it any more.
    let planned: BTreeSet<PackId> = planned(store, seats).iter().flat_map(|(_, g)| g).map(|s| s.member.pack).collect();
    let has_group = |s: &&Seat| store.with_state(|state| state.group_of(&s.member.pack).is_some());
    for seat in seats.iter().filter(|s| s.from == s.to && !planned.contains(&s.member.pack)).filter(has_group) {
        control.pace(seat.member.bytes)?; // all of it is read
        let stands = || repair::standing(store, &seat.member.pack).and_then(|s| s.reader.prove(s.slot));
        if stands().is_err() {
            repair::mend(store, &[seat.member.pack], control)?;
            stands()?;
            if store.with_state(|s| s.pack_by_id(&seat.member.pack).map(|p| p.sealed.disk)) != Some(seat.from) {
                let why = "it was mended elsewhere".to_owned(); // the next attempt begins with that
                return Err(Error::Argument { what: format!("pack {}", seat.member.pack), why });
            }
        }
    }
    Ok((made, events))
}

fn batch(
    store: &Store,
    writer: &mut Writer<'_>,
    packs: &[PackId],
    old: &[[u8; 16]],
    leave: &[DiskId],
    control: &Control,
) -> std::result::Result<Regrouped, Stopped> {
    let (pool, io) = (store.pool(), store.io());
    let mut unlogged = Unlogged::default();
    let (made, groups) = match made(store, writer, packs, leave, control, &mut unlogged) {
        Ok(made) => made,
        Err(e) => {
            unlogged.remove(store);
            return Err(match e {
                Error::Interrupted | Error::LogDamaged { .. } | Error::LogFork { .. } => Stopped::Here(e),
                e => Stopped::Group(e),
            });
        }
    };
    let seats = unlogged.seats;
    let gone: Vec<_> = store.with_state(|s| {
        let groups = old.iter().filter_map(|id| s.group(id));
        groups.flat_map(|g| s.members(g)).filter(|m| m.parity).collect()
    });
    let retired: BTreeSet<[u8; 16]> = old.iter().copied().collect();
    let logged = store.append(|state| {
        let moved = || seats.iter().filter(|s| s.from != s.to);
        let mut events: Vec<Event> =
            moved().map(|s| Event::PackMoved { pack: s.member.pack, from: s.from, to: s.to }).collect();
        events.extend(groups);
        events.extend(retired.into_iter().map(|group| Event::GroupRetired { group }));
        let healed = moved().filter(|s| repair::units_heal(state, &s.member.pack));
        events.extend(healed.map(|s| Event::DamageHealed { pack: s.member.pack }));
        events
    });
    logged.map_err(Stopped::Here)?;
    store.forget_files();
    for member in &gone {
        repair::remove_old(store, member);
    }
    for seat in seats.iter().filter(|s| s.from != s.to) {
        if let Some(disk) = pool.disk(&seat.from) {
            let _ = io.fs.remove_file(&sealed_path(&disk.path, seat.member.pack)); // what stays costs space until check names it
        }
    }
    Ok(made)
}
