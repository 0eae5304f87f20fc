//! Packs whose tables cannot be had: what may hang on them stays.

use super::*;
use crate::format::event::SealedPack;
use crate::format::footer::PackKind;
use crate::pool::PackStore;

/// Bytes, and nearly the same ones: chunk by chunk they are coded against the first.
fn near(seed: u64) -> (Vec<u8>, Vec<u8>) {
    let a = noise(seed, 300_000);
    let mut b = a.clone();
    (0..b.len()).step_by(10_000).for_each(|i| b[i] ^= 1);
    (a, b)
}

/// The packs of data that came from a serial on.
fn data_from(shelf: &Shelf, first: u32) -> Vec<SealedPack> {
    let store = shelf.read();
    let packs: Vec<SealedPack> = store.with_state(|s| s.packs_from(first).map(|p| p.sealed).collect());
    packs.into_iter().filter(|p| p.kind == PackKind::Data).collect()
}

fn next_serial(shelf: &Shelf) -> u32 {
    shelf.read().with_state(|s| s.next_serial())
}

/// Two snapshots of near-duplicates on one disk; the packs of the second one's deltas.
fn with_deltas() -> (Shelf, Vec<SealedPack>, Vec<u8>) {
    let shelf = Shelf::new(1);
    let (a, b) = near(1);
    shelf.stream("f", &a);
    let first = next_serial(&shelf);
    shelf.stream("f", &b);
    let packs = data_from(&shelf, first);
    assert!(has_deltas(&shelf.read(), &packs));
    (shelf, packs, b)
}

fn has_deltas(store: &Store, packs: &[SealedPack]) -> bool {
    packs.iter().any(|p| store.ends(p).unwrap().footer.rows.iter().any(|r| !r.header.bases.is_empty()))
}

/// Spoils the tables of packs, or makes them good again.
fn flip_tables(shelf: &Shelf, packs: &[SealedPack]) {
    let store = shelf.read();
    for pack in packs {
        shelf.fs.flip(store.pool().place(pack), (pack.bytes - 8) * 8).unwrap();
    }
}

fn latest_is(shelf: &Shelf, bytes: &[u8]) {
    let store = shelf.read();
    assert!(content(&store, &shelf.latest(&store), "f") == bytes);
}

#[test]
fn bases_of_deltas_in_a_pack_whose_table_rotted_are_not_dropped() {
    let (shelf, packs, b) = with_deltas();
    flip_tables(&shelf, &packs);
    forget(&shelf, &ids(&shelf)[..1]);
    let (plan, report) = gc(&shelf, &FULL).unwrap();
    assert!(plan.missing > 0 && plan.unreadable == packs.len() as u64);
    assert_eq!(report.chunks_moved, 0);
    flip_tables(&shelf, &packs);
    latest_is(&shelf, &b);
    gc(&shelf, &NOW).unwrap();
    latest_is(&shelf, &b);
    is_sound(&shelf);
}

#[test]
fn a_pack_whose_table_rotted_holds_nothing_up_once_all_of_it_is_stored_anew() {
    let (shelf, packs, b) = with_deltas();
    flip_tables(&shelf, &packs);
    shelf.stream("f", &b);
    forget(&shelf, &ids(&shelf)[..2]);
    let (plan, _) = gc(&shelf, &FULL).unwrap();
    assert_eq!((plan.missing, plan.stuck), (0, 0));
    let store = shelf.read();
    assert!(store.with_state(|s| packs.iter().all(|p| s.pack_by_id(&p.pack).is_none())));
    latest_is(&shelf, &b);
}

#[test]
fn no_counts_are_founded_while_a_table_cannot_be_read() {
    let (shelf, packs, b) = with_deltas();
    flip_tables(&shelf, &packs);
    gc(&shelf, &FULL).unwrap();
    flip_tables(&shelf, &packs);
    forget(&shelf, &ids(&shelf)[..1]);
    let (plan, _) = gc(&shelf, &NOW).unwrap();
    assert!(plan.full_because.is_some(), "counts that lack links were believed");
    latest_is(&shelf, &b);
    is_sound(&shelf);
}

#[test]
fn counts_follow_no_deltas_that_are_on_a_disk_that_is_away() {
    let shelf = Shelf::new(3);
    let room = |disk: usize, bytes: u64| shelf.fs.set_capacity(disk_path(disk), bytes).unwrap();
    (0..3).for_each(|disk| room(disk, if disk == 0 { 1 << 40 } else { 1 << 20 }));
    let (a, b) = near(1);
    shelf.stream("f", &a);
    gc(&shelf, &FULL).unwrap();
    // Of the second snapshot, metadata go to one of the others, and deltas to the third.
    (1..3).for_each(|disk| room(disk, 1 << 50));
    let first = next_serial(&shelf);
    shelf.stream("f", &b);
    let deltas = data_from(&shelf, first);
    assert!(has_deltas(&shelf.read(), &deltas) && deltas.len() == 1);
    let away = (1..3).find(|disk| disk_id(*disk) == deltas[0].disk).unwrap();
    let marker = disk_path(away).join("onefold-disk");
    let held = shelf.fs.read(&marker).unwrap();
    shelf.fs.remove(&marker).unwrap();
    let (plan, _) = gc(&shelf, &NOW).unwrap();
    assert!(plan.full_because.is_some() && plan.unreadable == 1);
    shelf.fs.write(&marker, &held).unwrap();
    forget(&shelf, &ids(&shelf)[..1]);
    gc(&shelf, &NOW).unwrap();
    latest_is(&shelf, &b);
    is_sound(&shelf);
}
