//! Copies between stores that share their keys, and between ones that do not.

use super::super::testing::{HOME, Shelf, noise};
use super::*;
use crate::format::StoreId;
use crate::io::memory::MemFs;
use crate::ops::check::{self, CheckOptions};
use crate::ops::export;
use crate::ops::snapshots::list;

fn library(folder: &std::path::Path, shelf: &Shelf) {
    let base = noise(3, 400_000);
    let mut edited = base.clone();
    edited.splice(100_000..100_010, noise(4, 700)); // a delta in the source
    shelf
        .library(folder, &[("a/base", &base), ("a/copy", &base), ("b/edited", &edited), ("b/small", b"x"), ("e", b"")]);
    std::os::unix::fs::symlink("a/base", folder.join("link")).unwrap();
}

fn tar(shelf: &Shelf, nth: usize) -> Vec<u8> {
    let (store, mut out) = (shelf.read(), Vec::new());
    let info = list(&store, &[]).remove(nth);
    export::run(&store, &info, None, &mut out, &Control::default()).unwrap();
    out
}

fn copied(from: &Shelf, to: &Shelf) -> Result<CopyReport> {
    let source = from.read();
    let snapshots = list(&source, &[]);
    run(&to.write(), &source, &snapshots, "test", &Control::default())
}

fn sound(shelf: &Shelf) {
    let report = check::run(&shelf.read(), &CheckOptions { read_data: true, rebuild: true }, &Control::default());
    let report = report.unwrap();
    assert!(report.files_lost == 0 && report.problems.is_empty(), "{:?}", report.problems);
}

/// Another store: with the same keys unless `secret` says otherwise.
fn other(secret: u8) -> Shelf {
    let disks = [(crate::format::DiskId([99; 16]), std::path::PathBuf::from("/other0"))];
    Shelf::with_keys(MemFs::new(), StoreId([2; 16]), HOME, &disks, crate::format::Keys::new([secret; 32], 5))
}

#[test]
fn snapshots_move_as_they_stand_between_stores_with_the_same_keys() {
    let (from, to) = (Shelf::new(2), other(3));
    let folder = tempfile::tempdir().unwrap();
    library(folder.path(), &from);
    from.back_up(folder.path());
    std::fs::write(folder.path().join("b/new"), noise(9, 90_000)).unwrap();
    from.back_up(folder.path());
    let report = copied(&from, &to).unwrap();
    assert!(report.untouched && report.there == 0);
    assert_eq!(report.copied.len(), 2);
    assert!(report.copied.iter().all(|c| c.source == c.target), "a snapshot keeps its id");
    assert!(report.copied[1].data_added < 100_000, "only what is missing is sent: {:?}", report.copied);
    for nth in 0..2 {
        assert!(tar(&from, nth) == tar(&to, nth), "snapshot {nth}");
    }
    sound(&to);
    let again = copied(&from, &to).unwrap();
    assert_eq!((again.copied.len(), again.there), (0, 2));
    let stored = |s: &Shelf| s.read().with_state(|s| s.packs().map(|p| p.sealed.stored_bytes).sum::<u64>());
    assert!(stored(&to) < stored(&from) * 11 / 10, "deltas stay deltas: {} of {}", stored(&to), stored(&from));
    // What a backup finds there now is not stored again.
    to.back_up(folder.path());
    let last = list(&to.read(), &[]).pop().unwrap();
    assert_eq!(last.snapshot.counts.data_added, 0);
}

#[test]
fn snapshots_are_stored_anew_under_other_keys() {
    let (from, to) = (Shelf::new(1), other(4));
    let folder = tempfile::tempdir().unwrap();
    library(folder.path(), &from);
    from.back_up(folder.path());
    std::fs::write(folder.path().join("b/new"), noise(9, 90_000)).unwrap();
    from.back_up(folder.path());
    let report = copied(&from, &to).unwrap();
    assert!(!report.untouched && report.copied.len() == 2);
    assert!(report.copied.iter().all(|c| c.source != c.target));
    assert!(report.copied[1].data_added < 100_000, "{:?}", report.copied);
    for nth in 0..2 {
        assert!(tar(&from, nth) == tar(&to, nth), "snapshot {nth}");
    }
    sound(&to);
    assert_eq!(copied(&from, &to).unwrap().there, 2);
}

#[test]
fn damage_in_the_source_makes_no_snapshot_and_what_came_before_stays() {
    for secret in [3, 4] {
        let (from, to) = (Shelf::new(1), other(secret));
        from.stream("good", &noise(1, 300_000));
        from.stream("bad", &noise(2, 300_000));
        let store = from.read();
        let is_data = |p: &&crate::catalog::state::PackState| p.sealed.kind == crate::format::footer::PackKind::Data;
        let last = store.with_state(|s| s.packs().filter(is_data).last().map(|p| p.sealed)).unwrap();
        let place = crate::pool::PackStore::place(store.pool(), &last);
        drop(store);
        from.fs.flip(place, 150_000 * 8).unwrap();
        let e = copied(&from, &to).unwrap_err();
        assert!(e.is_damage(), "{e}");
        assert_eq!(list(&to.read(), &[]).len(), 1);
        assert!(tar(&from, 0) == tar(&to, 0));
        sound(&to);
        assert!(matches!(copied(&from, &from), Err(Error::Argument { .. })) || secret == 4);
    }
}

/// Every row of a store's packs: id, pack, whether it is coded against others, and its place.
fn rows(store: &Store) -> Vec<(crate::format::event::SealedPack, crate::format::footer::Row)> {
    let packs: Vec<_> = store.with_state(|s| s.packs().map(|p| p.sealed).collect());
    packs.into_iter().flat_map(|p| store.ends(&p).unwrap().footer.rows.into_iter().map(move |r| (p, r))).collect()
}

/// Bytes, and others of which nearly every chunk resembles one of theirs, by `nth`.
fn alike(nth: u8) -> Vec<u8> {
    let mut bytes = noise(5, 250_000);
    (0..bytes.len()).step_by(8_000).for_each(|i| bytes[i] ^= nth);
    bytes
}

fn copied_one(from: &Shelf, to: &Shelf, nth: usize) {
    let source = from.read();
    run(&to.write(), &source, &list(&source, &[])[nth..=nth], "test", &Control::default()).unwrap();
}

#[test]
fn a_chunk_whose_plain_copy_is_damaged_comes_as_no_delta_for_others_may_be_coded_against_it() {
    let (from, to) = (Shelf::new(1), other(3));
    to.stream("f", &alike(0));
    let plain = rows(&to.read());
    to.stream("f", &alike(1));
    let whole = tar(&to, 1);
    let store = to.read();
    assert!(rows(&store).iter().any(|(_, r)| !r.header.bases.is_empty()), "deltas on what will be damaged");
    let mut events = Vec::new();
    for (pack, row) in plain.iter().filter(|(_, r)| r.header.kind == crate::format::ChunkKind::Data) {
        let (offset, bytes) = (u64::from(row.offset), row.header.record_bytes());
        to.fs.flip(crate::pool::PackStore::place(store.pool(), pack), (offset + bytes / 2) * 8).unwrap();
        events.push(Event::DamageFound { pack: pack.pack, offset, bytes, by: "test".into() });
    }
    drop(store);
    to.write().append(|_| events).unwrap();
    // There, what the target lost is coded against something else.
    from.stream("g", &alike(2));
    from.stream("f", &alike(0));
    assert!(rows(&from.read()).iter().any(|(_, r)| !r.header.bases.is_empty()));
    copied_one(&from, &to, 1);
    assert!(tar(&to, 1) == whole, "the deltas have their bases back");
}

#[test]
fn a_base_that_comes_in_the_same_batch_comes_plain() {
    let (from, to) = (Shelf::new(1), other(3));
    from.stream("f", &alike(0));
    let ids: Vec<_> = rows(&from.read()).iter().map(|(_, r)| r.header.id).collect();
    from.stream("both", &[alike(1), alike(0)].concat());
    // An index that lost them: they are stored again, and now against what came meanwhile.
    crate::index::Index::remove(&*from.index, &ids).unwrap();
    from.stream("h", &alike(2));
    from.stream("f", &alike(0));
    let source = from.read();
    let of_both: Vec<_> = rows(&source).into_iter().filter(|(_, r)| ids.contains(&r.header.id)).collect();
    let bases: Vec<_> = rows(&source).into_iter().flat_map(|(_, r)| r.header.bases).collect();
    let twice = |r: &crate::format::footer::Row| !r.header.bases.is_empty() && bases.contains(&r.header.id);
    assert!(of_both.iter().any(|(_, r)| twice(r)), "a base has a newer copy that is a delta");
    drop(source);
    copied_one(&from, &to, 1);
    assert!(tar(&to, 0) == tar(&from, 1));
    sound(&to);
    let stored = rows(&to.read());
    let is_plain = |id| stored.iter().any(|(_, r)| r.header.id == id && r.header.bases.is_empty());
    assert!(stored.iter().flat_map(|(_, r)| r.header.bases.clone()).all(is_plain));
    assert!(stored.iter().any(|(_, r)| !r.header.bases.is_empty()), "deltas stay deltas");
}

#[test]
fn a_copy_carries_pins_and_no_name_that_another_snapshot_has() {
    use crate::ops::tag;
    for secret in [3, 4] {
        let (from, to) = (Shelf::new(1), other(secret));
        let control = Control::default();
        let called = |shelf: &Shelf, name: &str| {
            let info = shelf.latest(&shelf.read());
            tag::rename(&shelf.write(), &info, Some(name.into()), &control).unwrap();
        };
        to.stream("own", &noise(1, 1000));
        called(&to, "taken");
        from.stream("one", &noise(2, 1000));
        called(&from, "taken");
        from.world.advance(1_000_000_000);
        from.stream("two", &noise(3, 1000));
        called(&from, "free");
        tag::pin(&from.write(), &list(&from.read(), &[]), true, &control).unwrap();
        copied(&from, &to).unwrap();
        let mut got: Vec<_> =
            list(&to.read(), &[]).into_iter().map(|s| (s.number, s.snapshot.name, s.pinned)).collect();
        got.sort();
        let got: Vec<_> = got.into_iter().map(|(_, name, pinned)| (name, pinned)).collect();
        let name = |n: &str| Some(n.to_owned());
        assert_eq!(got, [(name("taken"), false), (None, true), (name("free"), true)], "keys {secret}");
        // What was forgotten there does not come back by itself.
        tag::pin(&to.write(), &list(&to.read(), &[]), false, &control).unwrap();
        let newest = list(&to.read(), &[]).into_iter().filter(|s| s.snapshot.name == name("free")).collect();
        let forgotten = crate::ops::forget::by_name(newest).unwrap();
        crate::ops::forget::run(&to.write(), &forgotten, "t", "t", &control).unwrap();
        assert_eq!(copied(&from, &to).unwrap().there, 2);
    }
}
