//! What goes in comes out, and what is there already is not stored again.

use crate::support::{Shelf, assert_same, copy, library, noise, touch};
use onefold::store::Mode;
use std::fs;

#[test]
fn a_library_comes_back_bit_for_bit_and_costs_nothing_twice() {
    let shelf = Shelf::new(3);
    let source = shelf.path("library");
    library(&source, 1);
    let first = shelf.backup(&source);
    assert!(first.complete && first.degraded.is_empty());
    let (restored, notices) = shelf.restore("latest", &source, "out");
    assert_eq!((restored.files_lost, restored.failed, restored.metadata_failures), (0, 0, 0), "{notices:?}");
    assert_same(&source, &shelf.path("out"));

    std::thread::sleep(std::time::Duration::from_millis(60)); // past the racy window of witnesses
    shelf.backup(&source);
    let again = shelf.backup(&source);
    assert_eq!(
        (again.counts.files_new, again.counts.files_changed, again.bytes_read),
        (0, 0, 0),
        "unchanged files are not read"
    );
    assert_eq!(again.chunks_new, 0);
    let (forced, _) = shelf.backup_with(&source, true);
    assert!(
        forced.bytes_read > 0 && forced.chunks_new == 0,
        "a forced reading finds every chunk: {} new",
        forced.chunks_new
    );
}

#[test]
fn an_edit_that_keeps_size_and_mtime_is_noticed() {
    let shelf = Shelf::new(1);
    let source = shelf.path("library");
    fs::create_dir(&source).unwrap();
    let file = source.join("a.bin");
    fs::write(&file, noise(1, 100_000)).unwrap();
    touch(&file, 1_500_000_000, 0);
    std::thread::sleep(std::time::Duration::from_millis(60));
    shelf.backup(&source);
    fs::write(&file, noise(2, 100_000)).unwrap();
    touch(&file, 1_500_000_000, 0);
    let second = shelf.backup(&source);
    assert_eq!(second.counts.files_changed, 1);
    shelf.restore("latest", &source, "out");
    assert_same(&source, &shelf.path("out"));
}

#[test]
fn a_renamed_and_retagged_generation_stores_little() {
    let shelf = Shelf::new(2);
    let (one, two) = (shelf.path("one"), shelf.path("two"));
    library(&one, 3);
    shelf.backup(&one);
    library(&two, 3);
    fs::rename(two.join("Artist"), two.join("The Artist")).unwrap();
    let track = two.join("The Artist/Album [1979] – ünïcode/03 track.bin");
    let mut bytes = fs::read(&track).unwrap();
    bytes.splice(100..100, *b"a new tag");
    fs::write(&track, bytes).unwrap();
    let second = shelf.backup(&two);
    assert!(
        second.counts.data_added_packed < 2 << 20,
        "{} bytes for a rename and a tag",
        second.counts.data_added_packed
    );
    shelf.restore("latest", &two, "out");
    assert_same(&two, &shelf.path("out"));
}

#[test]
fn an_index_that_is_gone_or_old_is_made_good_at_open() {
    let shelf = Shelf::new(2);
    let source = shelf.path("library");
    library(&source, 5);
    shelf.backup(&source);
    let old = shelf.path("old index");
    let index = shelf.store().join("index");
    copy(&index, &old);
    let more = shelf.path("more");
    fs::create_dir(&more).unwrap();
    fs::write(more.join("new.bin"), noise(9, 3 << 20)).unwrap();
    shelf.backup(&more);
    fs::remove_dir_all(&index).unwrap();
    copy(&old, &index);
    let (_, notices) = shelf.open(Mode::Read);
    assert!(notices.iter().any(|n| n.contains("behind")), "{notices:?}");
    shelf.restore("latest", &more, "out1");
    assert_same(&more, &shelf.path("out1"));
    fs::remove_dir_all(&index).unwrap();
    let (_, notices) = shelf.open(Mode::Read);
    assert!(notices.iter().any(|n| n.contains("rebuilt")), "{notices:?}");
    shelf.restore("latest", &more, "out2");
    assert_same(&more, &shelf.path("out2"));
    let (forced, _) = shelf.backup_with(&source, true);
    assert_eq!(forced.counts.data_added, 0, "nothing is stored again after a rebuild");
}
