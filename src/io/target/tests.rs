//! The target keeps within itself, whatever names it is given and whatever it holds already.

use super::super::source::{self, FileKind};
use super::*;
use proptest::prelude::*;
use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

const PLAIN: SetMetadata<'_> = SetMetadata { mode: 0o640, mtime: (1_000_000_000, 5), owner: None, attributes: &[] };

/// A target with a folder beside it that nothing may touch.
struct Place {
    dir: tempfile::TempDir,
    target: Target,
}

impl Place {
    fn new() -> Place {
        let dir = tempfile::tempdir().unwrap();
        stdfs::create_dir(dir.path().join("outside")).unwrap();
        stdfs::write(dir.path().join("outside/file"), b"untouched").unwrap();
        let target = Target::open_or_create(&dir.path().join("target")).unwrap();
        Place { dir, target }
    }

    fn at(&self, path: &str) -> std::path::PathBuf {
        self.dir.path().join("target").join(path)
    }

    fn put(&self, path: &[&[u8]], bytes: &[u8]) {
        let file = self.target.create_file(path).unwrap();
        file.write_at(bytes, 0).unwrap();
        assert_eq!(self.target.finish(file, &PLAIN, false).unwrap().len(), 0);
    }

    fn names(&self, path: &str) -> Vec<String> {
        source::list(&self.at(path)).unwrap().into_iter().map(|n| String::from_utf8(n).unwrap()).collect()
    }

    /// Everything that an attack could have changed beside the target.
    fn outside(&self) -> impl PartialEq + std::fmt::Debug + use<> {
        let dir = self.dir.path().join("outside");
        let (of_dir, of_file) = (source::lstat(&dir).unwrap(), source::lstat(&dir.join("file")).unwrap());
        (
            source::list(&dir).unwrap(),
            stdfs::read(dir.join("file")).unwrap(),
            of_dir.mode,
            of_file.mode,
            of_dir.mtime,
            of_file.nlink,
        )
    }
}

fn kind<T>(answer: io::Result<T>) -> ErrorKind {
    answer.err().expect("it was refused").kind()
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

#[test]
fn a_file_appears_under_its_name_only_when_it_is_finished() {
    let place = Place::new();
    assert!(place.target.is_empty().unwrap());
    assert!(place.target.create_dir(&[b"d"]).unwrap());
    assert!(!place.target.create_dir(&[b"d"]).unwrap());
    assert!(!place.target.is_empty().unwrap());
    let file = place.target.create_file(&[b"d", b"f"]).unwrap();
    file.set_len(10).unwrap();
    file.write_at(b"world", 5).unwrap();
    file.sync().unwrap();
    let partial = place.names("d");
    assert!(
        partial.len() == 1
            && partial[0].starts_with(".onefold-")
            && partial[0].ends_with(".partial")
            && partial[0].len() == 25
    );
    assert_eq!(stdfs::metadata(place.at("d").join(&partial[0])).unwrap().mode() & 0o7777, 0o600);
    assert_eq!(place.target.exists(&[b"d", b"f"]).unwrap(), None);
    place.target.finish(file, &PLAIN, false).unwrap();
    assert_eq!(place.names("d"), ["f"]);
    assert_eq!(stdfs::read(place.at("d/f")).unwrap(), b"\0\0\0\0\0world");
    let found = place.target.exists(&[b"d", b"f"]).unwrap().unwrap();
    assert_eq!((found.kind, found.size, found.mode, found.mtime), (FileKind::File, 10, 0o640, (1_000_000_000, 5)));
    assert_eq!(place.target.exists(&[]).unwrap().unwrap().kind, FileKind::Dir);
    assert_eq!(place.target.exists(&[b"none", b"f"]).unwrap(), None);
}

#[test]
fn what_is_abandoned_or_dropped_or_cannot_be_finished_leaves_nothing() {
    let place = Place::new();
    place.target.abandon(place.target.create_file(&[b"f"]).unwrap()).unwrap();
    assert!(place.target.is_empty().unwrap());
    drop(place.target.create_file(&[b"f"]).unwrap());
    assert!(place.target.is_empty().unwrap());
    let impossible = [
        SetMetadata { mtime: (0, 1_000_000_000), ..PLAIN },
        SetMetadata { mtime: (0, 0x3fff_ffff), ..PLAIN }, // UTIME_NOW
        SetMetadata { mtime: (0, 0x3fff_fffe), ..PLAIN }, // UTIME_OMIT
        SetMetadata { owner: Some((u32::MAX, 0)), ..PLAIN },
        SetMetadata { owner: Some((0, u32::MAX)), ..PLAIN },
    ];
    for metadata in impossible {
        let file = place.target.create_file(&[b"f"]).unwrap();
        assert_eq!(kind(place.target.finish(file, &metadata, false)), ErrorKind::InvalidInput);
        assert_eq!(kind(place.target.symlink(&[b"l"], b"x", &metadata)), ErrorKind::InvalidInput);
        assert_eq!(kind(place.target.set_dir_metadata(&[], &metadata)), ErrorKind::InvalidInput);
        assert!(place.target.is_empty().unwrap(), "{metadata:?}");
    }
}

#[test]
fn a_name_that_is_taken_is_replaced_only_when_told() {
    let place = Place::new();
    place.put(&[b"f"], b"old");
    let begun = || {
        let file = place.target.create_file(&[b"f"]).unwrap();
        file.write_at(b"new", 0).unwrap();
        file
    };
    assert_eq!(kind(place.target.finish(begun(), &PLAIN, false)), ErrorKind::AlreadyExists);
    assert_eq!((stdfs::read(place.at("f")).unwrap(), place.names("")), (b"old".to_vec(), vec!["f".to_owned()]));
    place.target.finish(begun(), &PLAIN, true).unwrap();
    assert_eq!((stdfs::read(place.at("f")).unwrap(), place.names("")), (b"new".to_vec(), vec!["f".to_owned()]));
    // The way of filesystems that cannot exclude.
    let folder = place.target.folders.folder(&[]).unwrap();
    place.put(&[b"g"], b"2");
    assert_eq!(kind(rename_if_absent(&folder, b"g", b"f")), ErrorKind::AlreadyExists);
    rename_if_absent(&folder, b"g", b"h").unwrap();
    assert_eq!(place.names(""), ["f", "h"]);
    // A folder is never replaced by a file.
    place.target.create_dir(&[b"d"]).unwrap();
    assert_eq!(
        kind(place.target.finish(place.target.create_file(&[b"d"]).unwrap(), &PLAIN, true)),
        ErrorKind::IsADirectory
    );
    assert_eq!(place.names(""), ["d", "f", "h"]);
}

#[test]
fn many_threads_write_one_file() {
    fn shared<T: Send + Sync>() {}
    shared::<OutFile>();
    shared::<Target>();
    let place = Place::new();
    let file = place.target.create_file(&[b"f"]).unwrap();
    std::thread::scope(|scope| {
        for part in 0..8_u8 {
            let file = &file;
            scope.spawn(move || {
                (0..100_u64).for_each(|i| file.write_at(&[part; 10], (i * 8 + u64::from(part)) * 10).unwrap())
            });
        }
    });
    place.target.finish(file, &PLAIN, false).unwrap();
    let expected: Vec<u8> = (0..8000).map(|at| (at / 10 % 8) as u8).collect();
    assert_eq!(stdfs::read(place.at("f")).unwrap(), expected);
}

#[test]
fn names_that_are_no_names_are_refused_everywhere() {
    let place = Place::new();
    place.put(&[b"f"], b"1");
    let before = place.outside();
    for bad in [&b""[..], b".", b"..", b"/", b"a/b", b"../outside", b"/etc", b"a\0b"] {
        for path in [&[bad][..], &[bad, b"file"], &[b"d", bad]] {
            let t = &place.target;
            assert_eq!(kind(t.create_dir(path)), ErrorKind::InvalidInput, "{}", escaped(path));
            assert_eq!(kind(t.create_file(path)), ErrorKind::InvalidInput);
            assert_eq!(kind(t.symlink(path, b"x", &PLAIN)), ErrorKind::InvalidInput);
            assert_eq!(kind(t.hard_link(&[b"f"], path)), ErrorKind::InvalidInput);
            assert_eq!(kind(t.hard_link(path, &[b"g"])), ErrorKind::InvalidInput);
            assert_eq!(kind(t.set_dir_metadata(path, &PLAIN)), ErrorKind::InvalidInput);
            assert_eq!(kind(t.exists(path)), ErrorKind::InvalidInput);
            assert_eq!(kind(t.remove(path)), ErrorKind::InvalidInput);
        }
    }
    assert_eq!(kind(place.target.create_file(&[])), ErrorKind::InvalidInput);
    assert_eq!(kind(place.target.remove(&[])), ErrorKind::InvalidInput);
    assert_eq!((place.outside(), place.names("")), (before, vec!["f".to_owned()]));
}

#[test]
fn a_symlink_planted_as_a_folder_is_followed_by_nothing() {
    for link in ["../outside", "/", "."] {
        let place = Place::new();
        place.put(&[b"mine"], b"1");
        symlink(link, place.at("planted")).unwrap();
        let before = place.outside();
        let t = &place.target;
        for path in [&[&b"planted"[..], b"file"][..], &[b"planted", b"new"], &[b"planted", b"deeper", b"new"]] {
            let name = escaped(path);
            assert_eq!(kind(t.create_dir(path)), ErrorKind::NotADirectory, "{link} {name}");
            assert_eq!(kind(t.create_file(path)), ErrorKind::NotADirectory, "{link} {name}");
            assert_eq!(kind(t.symlink(path, b"x", &PLAIN)), ErrorKind::NotADirectory, "{link} {name}");
            assert_eq!(kind(t.hard_link(path, &[b"stolen"])), ErrorKind::NotADirectory, "{link} {name}");
            assert_eq!(kind(t.hard_link(&[b"mine"], path)), ErrorKind::NotADirectory, "{link} {name}");
            assert_eq!(kind(t.set_dir_metadata(path, &PLAIN)), ErrorKind::NotADirectory, "{link} {name}");
            assert_eq!(kind(t.remove(path)), ErrorKind::NotADirectory, "{link} {name}");
            assert_eq!(kind(t.exists(path)), ErrorKind::NotADirectory, "{link} {name}");
        }
        assert_eq!(kind(t.create_dir(&[b"planted"])), ErrorKind::NotADirectory);
        assert_eq!(kind(t.set_dir_metadata(&[b"planted"], &PLAIN)), ErrorKind::NotADirectory);
        let refused = t.create_file(&[b"planted", b"new"]).unwrap_err().to_string();
        assert!(refused.contains("planted"), "{refused}");
        assert_eq!((place.outside(), place.names("")), (before, vec!["mine".to_owned(), "planted".to_owned()]));
    }
}

#[test]
fn a_symlink_planted_as_a_file_is_replaced_or_refused_but_never_followed() {
    let place = Place::new();
    symlink("../outside/file", place.at("planted")).unwrap();
    symlink("../outside/dangling", place.at("dangling")).unwrap();
    let before = place.outside();
    let t = &place.target;
    for name in [&b"planted"[..], b"dangling"] {
        assert_eq!(t.exists(&[name]).unwrap().unwrap().kind, FileKind::Symlink);
        assert_eq!(kind(t.hard_link(&[name], &[b"stolen"])), ErrorKind::InvalidInput);
        assert_eq!(kind(t.symlink(&[name], b"x", &PLAIN)), ErrorKind::AlreadyExists);
        let file = t.create_file(&[name]).unwrap();
        file.write_at(b"ours", 0).unwrap();
        assert_eq!(kind(t.finish(file, &PLAIN, false)), ErrorKind::AlreadyExists);
        let file = t.create_file(&[name]).unwrap();
        file.write_at(b"ours", 0).unwrap();
        t.finish(file, &PLAIN, true).unwrap();
        assert_eq!(t.exists(&[name]).unwrap().unwrap().kind, FileKind::File);
    }
    symlink("../outside/file", place.at("again")).unwrap();
    t.remove(&[b"again"]).unwrap();
    assert_eq!((place.outside(), place.names("")), (before, vec!["dangling".to_owned(), "planted".to_owned()]));
}

#[test]
fn a_folder_that_is_exchanged_for_a_symlink_is_not_followed_though_it_was_open() {
    let place = Place::new();
    let before = place.outside();
    place.target.create_dir(&[b"d"]).unwrap();
    place.put(&[b"d", b"one"], b"1");
    stdfs::rename(place.at("d"), place.at("moved")).unwrap();
    symlink("../outside", place.at("d")).unwrap();
    // The kept descriptor still means the folder that we made.
    place.put(&[b"d", b"two"], b"2");
    assert_eq!(place.names("moved"), ["one", "two"]);
    place.target.folders.forget(&[b"d"]);
    assert_eq!(kind(place.target.create_file(&[b"d", b"three"])), ErrorKind::NotADirectory);
    assert_eq!(kind(place.target.set_dir_metadata(&[b"d"], &PLAIN)), ErrorKind::NotADirectory);
    assert_eq!(place.outside(), before);
}

#[test]
fn the_targets_own_path_may_be_a_symlink() {
    let place = Place::new();
    symlink("target", place.dir.path().join("way")).unwrap();
    let target = Target::open_or_create(&place.dir.path().join("way")).unwrap();
    target.create_dir(&[b"d"]).unwrap();
    assert_eq!(place.names(""), ["d"]);
    assert_eq!(kind(Target::open(&place.dir.path().join("outside/file"))), ErrorKind::NotADirectory);
}

#[test]
fn symlinks_keep_their_bytes_and_time_and_leave_what_they_lead_to_alone() {
    let place = Place::new();
    let before = source::lstat(&place.dir.path().join("outside/file")).unwrap();
    for (name, to) in [(&b"l"[..], &b"../outside/file"[..]), (b"m", b"\xff\xfe nowhere")] {
        place.target.symlink(&[name], to, &SetMetadata { mtime: (-5, 999_999_999), ..PLAIN }).unwrap();
        let path = place.at("").join(std::ffi::OsStr::from_bytes(name));
        assert_eq!(source::read_link(&path).unwrap(), to);
        assert_eq!(source::lstat(&path).unwrap().mtime, (-5, 999_999_999));
    }
    assert_eq!(source::lstat(&place.dir.path().join("outside/file")).unwrap(), before);
    assert_eq!(kind(place.target.symlink(&[b"l"], b"x", &PLAIN)), ErrorKind::AlreadyExists);
    assert!(place.target.symlink(&[b"n"], b"", &PLAIN).is_err());
}

#[test]
fn hard_links_are_further_names_of_one_file() {
    let place = Place::new();
    place.target.create_dir(&[b"d"]).unwrap();
    place.put(&[b"d", b"f"], b"1");
    place.target.hard_link(&[b"d", b"f"], &[b"g"]).unwrap();
    let inode = |path: &str| source::lstat(&place.at(path)).unwrap().inode;
    assert_eq!(inode("d/f"), inode("g"));
    assert_eq!(kind(place.target.hard_link(&[b"d", b"f"], &[b"g"])), ErrorKind::AlreadyExists);
    assert_eq!(kind(place.target.hard_link(&[b"d"], &[b"h"])), ErrorKind::InvalidInput);
    assert_eq!(kind(place.target.hard_link(&[b"none"], &[b"h"])), ErrorKind::NotFound);
}

#[test]
fn folders_get_their_metadata_and_are_removed_only_when_empty() {
    let place = Place::new();
    place.target.create_dir(&[b"d"]).unwrap();
    place.target.create_dir(&[b"d", b"e"]).unwrap();
    assert_eq!(source::lstat(&place.at("d")).unwrap().mode, 0o700);
    place.put(&[b"d", b"e", b"f"], b"");
    for path in [&[][..], &[&b"d"[..]], &[b"d", b"e"]] {
        place.target.set_dir_metadata(path, &SetMetadata { mode: 0o7750, ..PLAIN }).unwrap();
        let found = place.target.exists(path).unwrap().unwrap();
        assert_eq!((found.mode, found.mtime), (0o750, (1_000_000_000, 5)), "no setgid or sticky without an owner");
    }
    assert_eq!(kind(place.target.set_dir_metadata(&[b"d", b"e", b"f"], &PLAIN)), ErrorKind::NotADirectory);
    assert_eq!(kind(place.target.remove(&[b"d", b"e"])), ErrorKind::DirectoryNotEmpty);
    place.target.remove(&[b"d", b"e", b"f"]).unwrap();
    place.target.remove(&[b"d", b"e"]).unwrap();
    assert_eq!(kind(place.target.remove(&[b"d", b"e"])), ErrorKind::NotFound);
    // What was kept open is forgotten: a new folder of that name is a new folder.
    place.target.create_dir(&[b"d", b"e"]).unwrap();
    place.put(&[b"d", b"e", b"g"], b"");
    assert_eq!(place.names("d/e"), ["g"]);
}

#[test]
fn a_file_in_place_of_a_folder_is_named_as_the_reason() {
    let place = Place::new();
    place.put(&[b"f"], b"");
    let refused = place.target.create_file(&[b"f", b"g"]).unwrap_err();
    assert_eq!(
        (refused.kind(), refused.to_string()),
        (ErrorKind::NotADirectory, "\"f\" is a symlink or no folder".to_owned())
    );
    assert_eq!(kind(place.target.create_dir(&[b"f"])), ErrorKind::NotADirectory);
}

#[test]
fn special_bits_and_other_namespaces_need_an_owner_that_was_asked_for() {
    let place = Place::new();
    let attributes =
        [(b"user.a".to_vec(), b"1".to_vec()), (b"trusted.b".to_vec(), b"2".to_vec()), (b"nonsense".to_vec(), vec![])];
    let metadata = SetMetadata { mode: 0o6755, attributes: &attributes, ..PLAIN };
    let warnings = place.target.finish(place.target.create_file(&[b"f"]).unwrap(), &metadata, false).unwrap();
    assert_eq!(source::lstat(&place.at("f")).unwrap().mode, 0o755);
    let found = source::attributes(&place.at("f"), true).unwrap();
    assert!(!found.iter().any(|(name, _)| name == b"trusted.b"));
    assert!(warnings.iter().all(|w| w.name == b"user.a"), "{warnings:?}");
    assert_eq!(found.iter().any(|(name, _)| name == b"user.a"), warnings.is_empty(), "neither set nor told");
    let owner = rustix::process::geteuid().as_raw();
    let group = rustix::process::getegid().as_raw();
    let asked = SetMetadata { owner: Some((owner, group)), ..metadata };
    let warnings = place.target.finish(place.target.create_file(&[b"g"]).unwrap(), &asked, false).unwrap();
    assert_eq!(source::lstat(&place.at("g")).unwrap().mode, 0o6755);
    assert!(warnings.iter().any(|w| w.name == b"nonsense"), "{warnings:?}");
}

#[test]
fn attributes_are_set_before_the_mode_forbids_it() {
    let place = Place::new();
    let attributes = [(b"user.a".to_vec(), vec![7; 200])];
    let metadata = SetMetadata { mode: 0o400, attributes: &attributes, ..PLAIN };
    let warnings = place.target.finish(place.target.create_file(&[b"f"]).unwrap(), &metadata, false).unwrap();
    place.target.create_dir(&[b"d"]).unwrap();
    let of_dir = place.target.set_dir_metadata(&[b"d"], &SetMetadata { mode: 0o500, ..metadata }).unwrap();
    for (path, warnings) in [("f", warnings), ("d", of_dir)] {
        let set = source::attributes(&place.at(path), true).unwrap().contains(&attributes[0]);
        // A filesystem without attributes is the only excuse.
        assert!(
            set != warnings.iter().any(|w| w.error.raw_os_error() == Some(Errno::NOTSUP.raw_os_error())),
            "{path}: {warnings:?}"
        );
    }
}

#[test]
fn root_sets_owners_of_files_folders_and_symlinks_and_others_are_refused() {
    let place = Place::new();
    let trusted = [(b"trusted.onefold".to_vec(), b"1".to_vec())];
    let metadata = SetMetadata { mode: 0o4711, owner: Some((4_001, 4_002)), attributes: &trusted, ..PLAIN };
    let file = place.target.create_file(&[b"f"]).unwrap();
    let finished = place.target.finish(file, &metadata, false);
    if !is_root() {
        assert_eq!(kind(finished), ErrorKind::PermissionDenied);
        assert_eq!(kind(place.target.symlink(&[b"l"], b"x", &metadata)), ErrorKind::PermissionDenied);
        return assert!(place.target.is_empty().unwrap());
    }
    finished.unwrap();
    place.target.create_dir(&[b"d"]).unwrap();
    place.target.set_dir_metadata(&[b"d"], &metadata).unwrap();
    let before = source::lstat(&place.dir.path().join("outside/file")).unwrap();
    let warnings = place.target.symlink(&[b"l"], b"../outside/file", &metadata).unwrap();
    for name in ["f", "d", "l"] {
        let found = source::lstat(&place.at(name)).unwrap();
        assert_eq!((found.uid, found.gid, found.mtime), (4_001, 4_002, PLAIN.mtime), "{name}");
        assert!(name == "l" || found.mode == 0o4711, "setuid was lost with the change of owner");
    }
    let of_link = source::attributes(&place.at("l"), true).unwrap();
    assert_eq!(of_link.contains(&trusted[0]), warnings.is_empty(), "{warnings:?}");
    assert_eq!(source::lstat(&place.dir.path().join("outside/file")).unwrap(), before);
    assert_eq!(
        source::attributes(&place.dir.path().join("outside/file"), true).unwrap(),
        source::attributes(&place.dir.path().join("outside"), true).unwrap()
    );
}

#[test]
fn temporary_names_that_are_taken_are_passed_over_and_planted_ones_not_followed() {
    let place = Place::new();
    let before = place.outside();
    place.target.next_name.store(u32::MAX - 1, Ordering::Relaxed);
    symlink("../outside/file", place.at(".onefold-fffffffe.partial")).unwrap();
    stdfs::write(place.at(".onefold-ffffffff.partial"), b"theirs").unwrap();
    place.put(&[b"f"], b"ours");
    assert_eq!(place.names(""), [".onefold-fffffffe.partial", ".onefold-ffffffff.partial", "f"]);
    assert_eq!(stdfs::read(place.at(".onefold-ffffffff.partial")).unwrap(), b"theirs");
    for n in 1..=NAME_ATTEMPTS_MAX {
        stdfs::write(place.at(&format!(".onefold-{n:08x}.partial")), b"").unwrap();
    }
    place.target.next_name.store(1, Ordering::Relaxed);
    assert_eq!(kind(place.target.create_file(&[b"g"])), ErrorKind::AlreadyExists);
    assert_eq!(place.outside(), before);
}

#[test]
fn folders_kept_open_stay_bounded_and_deep_paths_work() {
    let place = Place::new();
    let names: Vec<Vec<u8>> = (0..150).map(|i| format!("level{i}").into_bytes()).collect();
    let path: Vec<&[u8]> = names.iter().map(Vec::as_slice).collect();
    (1..=path.len()).for_each(|n| assert!(place.target.create_dir(&path[..n]).unwrap()));
    let file = [&path[..], &[b"f"]].concat();
    place.put(&file, b"deep");
    assert!(place.target.folders.kept_count() <= 64);
    place.target.folders.forget(&[b"level0"]);
    assert_eq!(place.target.folders.kept_count(), 0);
    assert_eq!(place.target.exists(&file).unwrap().unwrap().size, 4);
    // A sibling whose name begins alike is another folder.
    place.target.create_dir(&[b"level"]).unwrap();
    place.put(&[b"level", b"f"], b"");
    place.target.folders.forget(&[b"leve"]);
    assert!(place.target.folders.kept_count() > 0);
}

#[test]
fn a_folder_without_read_permission_can_still_be_written_into() {
    let place = Place::new();
    place.target.create_dir(&[b"d"]).unwrap();
    stdfs::set_permissions(place.at("d"), stdfs::Permissions::from_mode(0o300)).unwrap();
    place.put(&[b"d", b"f"], b"1");
    assert_eq!(stdfs::read(place.at("d/f")).unwrap(), b"1");
    stdfs::set_permissions(place.at("d"), stdfs::Permissions::from_mode(0o700)).unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_are_a_name_or_are_refused_and_nothing_leaves_the_folder(name in prop::collection::vec(any::<u8>(), 0..300)) {
        let place = Place::new();
        let before = place.outside();
        let plain = !name.is_empty() && name != b"." && name != b".." && !name.contains(&b'/') && !name.contains(&0);
        let begun = place.target.create_file(&[&name]);
        prop_assert_eq!(begun.is_ok(), plain);
        if let Ok(file) = begun {
            let finished = place.target.finish(file, &PLAIN, false);
            prop_assert_eq!(finished.is_ok(), name.len() <= 255);
        }
        let listed: BTreeSet<Vec<u8>> = source::list(&place.at("")).unwrap().into_iter().collect();
        prop_assert_eq!(listed, if plain && name.len() <= 255 { BTreeSet::from([name]) } else { BTreeSet::new() });
        prop_assert_eq!(place.outside(), before);
    }
}
