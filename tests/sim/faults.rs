//! What goes wrong in a run: plans of faults drawn from a seed.

use super::chance::Chance;
use super::shelf::Shelf;
use onefold::io::faulty::{Action, Failure, FaultPlan, Op, When};

fn when(chance: &mut Chance) -> When {
    match chance.below(4) {
        0 => When::From(chance.some(7)),
        1 => When::Every(2 + chance.below(20)),
        _ => When::Nth(chance.some(7)),
    }
}

/// Where it happens: anywhere, at one disk, in `STORE`, at packs, at the log.
fn place(chance: &mut Chance, shelf: &Shelf) -> String {
    let of = [
        shelf.home.clone(),
        shelf.disks.first().unwrap_or(&shelf.home).clone(),
        shelf.disks.last().unwrap_or(&shelf.home).clone(),
    ];
    match chance.below(6) {
        0 => String::new(),
        1 => "/packs/".into(),
        2 => "/log/".into(),
        _ => chance.pick(&of).to_string_lossy().into_owned() + "/",
    }
}

/// Errors, short reads and wrong bits, which all go away with the run.
pub fn passing(chance: &mut Chance, shelf: &Shelf, writes: bool) -> FaultPlan {
    let mut plan = FaultPlan::new();
    for _ in 0..=chance.below(2) {
        let (op, action) = match chance.below(if writes { 14 } else { 5 }) {
            0 => (Op::Read, Action::Fail(Failure::Io)),
            1 => (Op::Read, Action::ShortRead),
            2 => (Op::Read, Action::FlipBit(chance.next())),
            3 => (Op::Open, Action::Fail(Failure::Io)),
            4 => (Op::List, Action::Fail(Failure::Io)),
            5 => (Op::Write, Action::Fail(Failure::Full)),
            6 => (Op::Create, Action::Fail(Failure::ReadOnly)),
            7 => (Op::Rename, Action::Fail(Failure::Io)),
            8 => (Op::Remove, Action::Fail(Failure::Io)),
            9 | 10 => (Op::SyncDir, Action::Fail(Failure::Io)),
            11 => (Op::Write, Action::Fail(Failure::Io)),
            _ => (Op::Sync, Action::Fail(Failure::Io)),
        };
        let (when, place) = (when(chance), place(chance, shelf));
        plan = plan.with_path(op, when, &place, action);
    }
    plan
}

/// The power goes somewhere.
pub fn power_cut(chance: &mut Chance) -> FaultPlan {
    let op = *chance.pick(&[
        Op::Sync,
        Op::Sync,
        Op::SyncDir,
        Op::SyncDir,
        Op::Rename,
        Op::Write,
        Op::Create,
        Op::Remove,
        Op::Read,
    ]);
    let action = if chance.one_in(2) { Action::PowerCut } else { Action::PowerCutAfter };
    FaultPlan::new().with(op, When::Nth(chance.some(6)), action)
}

/// A disk dies in the middle of a run: from some operation on nothing goes well there.
pub fn death(chance: &mut Chance, disk: &std::path::Path) -> FaultPlan {
    let place = disk.to_string_lossy().into_owned() + "/";
    let mut plan = FaultPlan::new();
    for op in [Op::Write, Op::Sync, Op::Create, Op::Rename, Op::SyncDir, Op::Open, Op::Read, Op::List] {
        plan = plan.with_path(op, When::From(chance.some(6)), &place, Action::Fail(Failure::Io));
    }
    plan
}

/// Some thread panics.
pub fn panics(chance: &mut Chance) -> FaultPlan {
    let ops = [Op::Sync, Op::Write, Op::Read, Op::Rename, Op::SyncDir, Op::Create, Op::List];
    FaultPlan::new().with(*chance.pick(&ops), When::Nth(chance.some(6)), Action::Panic)
}

/// One place lies: it loses or misplaces what it says that it wrote, or says that it is durable when it is not.
pub fn lies(chance: &mut Chance, place: &str) -> FaultPlan {
    let (op, action) = match chance.below(5) {
        0 => (Op::Write, Action::Misplace(512 * (1 + chance.below(8)))),
        1 => (Op::Sync, Action::Lose),
        2 => (Op::SyncDir, Action::Lose),
        _ => (Op::Write, Action::Lose),
    };
    let when = if chance.one_in(3) { When::From(1) } else { When::Nth(chance.some(4)) };
    FaultPlan::new().with_path(op, when, place, action)
}
