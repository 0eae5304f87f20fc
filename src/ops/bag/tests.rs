//! Bags of every kind: round trips, bags as other programs make them, each way in which one can be bad.

use super::write::{BagOptions, BagReport};
use super::{Bag, decoded, encoded, write};
use crate::error::{Error, Result};
use crate::format::digest::{Algorithm, Several};
use crate::format::id::hex;
use crate::ops::backup::BackupReport;
use crate::ops::restore::{self, RestoreOptions};
use crate::ops::testing::{Shelf, noise};
use crate::ops::{Control, FileLost, Notice, snapshots};
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::{Arc, Mutex};

const BOTH: [Algorithm; 2] = [Algorithm::Sha256, Algorithm::Sha512];

fn listening() -> (Control, Arc<Mutex<Vec<Notice>>>) {
    let told: Arc<Mutex<Vec<Notice>>> = Arc::default();
    let hears = Arc::clone(&told);
    (Control::with_sink(move |n| hears.lock().unwrap().push(n)), told)
}

fn import(shelf: &Shelf, bag: &Path) -> (Result<BackupReport>, Vec<Notice>) {
    let (control, told) = listening();
    let store = shelf.read();
    let report = Bag::open(&store, bag, &control).and_then(|bag| shelf.back_up_bag(bag, &control));
    let told = told.lock().unwrap().clone();
    (report, told)
}

fn export(shelf: &Shelf, path: &str, target: &Path, info: &[(&str, &str)]) -> (Result<BagReport>, Vec<Notice>) {
    let (control, told) = listening();
    let store = shelf.read();
    let options = BagOptions {
        snapshot: shelf.latest(&store),
        path: Some(path.as_bytes().to_vec()),
        target: target.to_owned(),
        algorithms: BOTH.to_vec(),
        info: info.iter().map(|(a, b)| (a.to_string(), b.to_string())).collect(),
        date: "2024-05-06".into(),
        program: "test 1".into(),
    };
    let report = write::run(&store, &options, &control);
    let told = told.lock().unwrap().clone();
    (report, told)
}

/// Every file below a folder: path and bytes. A symlink's are where it leads.
fn files(root: &Path) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let mut out = BTreeMap::new();
    let mut todo = vec![root.to_owned()];
    while let Some(folder) = todo.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                todo.push(path);
            } else {
                let name = path.strip_prefix(root).unwrap().as_os_str().as_bytes().to_vec();
                out.insert(name, fs::read(&path).unwrap());
            }
        }
    }
    out
}

fn digest(algorithm: Algorithm, bytes: &[u8]) -> String {
    let mut several = Several::new(&[algorithm]);
    several.update(bytes);
    hex(&several.finish()[0].1)
}

fn put(root: &Path, name: &str, bytes: impl AsRef<[u8]>) {
    let path = root.join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, bytes).unwrap();
}

/// A bag as the example in RFC 8493, 4.2 has it, with two payload manifests.
fn by_hand(root: &Path) {
    for (name, bytes) in PAYLOAD {
        put(root, &format!("data/{name}"), bytes);
    }
    put(root, "bagit.txt", "BagIt-Version: 1.0\nTag-File-Character-Encoding: UTF-8\n");
    put(root, "bag-info.txt", "Source-Organization: A\n continued\nPayload-Oxum: 24.3\n");
    put(root, "readme/notes.txt", "a tag file below a folder");
    for algorithm in [Algorithm::Sha256, Algorithm::Md5] {
        let lines: String = PAYLOAD
            .iter()
            .map(|(name, bytes)| format!("{} data/{name}\n", digest(algorithm, bytes.as_bytes())))
            .collect();
        put(root, &format!("manifest-{}.txt", algorithm.name()), lines);
    }
    seal(root);
}

const PAYLOAD: [(&str, &str); 3] =
    [("27613-h/images/q172.png", "picture"), ("27613-h/images/q172.txt", "words"), ("top level.txt", "at the root.")];

/// Makes the tag manifest of a bag.
fn seal(root: &Path) {
    let _ = fs::remove_file(root.join("tagmanifest-sha256.txt"));
    let mut lines = Vec::new();
    for (name, bytes) in files(root) {
        if !name.starts_with(b"data/") {
            lines.extend_from_slice(format!("{}  ", digest(Algorithm::Sha256, &bytes)).as_bytes());
            lines.extend_from_slice(&name);
            lines.push(b'\n');
        }
    }
    fs::write(root.join("tagmanifest-sha256.txt"), lines).unwrap();
}

fn restored(shelf: &Shelf, path: Option<&str>) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let folder = tempfile::tempdir().unwrap();
    let store = shelf.read();
    let options = RestoreOptions {
        snapshot: shelf.latest(&store),
        path: path.map(|p| p.as_bytes().to_vec()),
        target: folder.path().join("to"),
        includes: Vec::new(),
        overwrite: false,
        owner: false,
        partial: false,
    };
    restore::run(&store, &options, &Control::default()).unwrap();
    files(&options.target)
}

#[test]
fn paths_are_encoded_as_asked_and_come_back() {
    for (path, text) in [("data/a b", "data/a b"), ("data/50%", "data/50%25"), ("data/\r\n%0A", "data/%0D%0A%250A")] {
        assert_eq!(encoded(path), text);
        assert_eq!(decoded(text, true), Ok(path.as_bytes().to_vec()));
    }
    for (text, strict, path) in [
        ("./data//x/.", true, "data/x"),
        ("data/%0a%0d%41%2", true, "data/\n\r%41%2"),
        ("data/50%25", false, "data/50%25"),
        ("data/..x", true, "data/..x"),
    ] {
        assert_eq!(decoded(text, strict), Ok(path.as_bytes().to_vec()), "{text}");
    }
    for bad in ["/data/x", "~/x", "data/../x", "..", "data/x\0", "", "."] {
        assert!(decoded(bad, true).is_err(), "{bad:?}");
    }
}

#[test]
fn what_is_written_as_a_bag_is_valid_and_comes_back() {
    let shelf = Shelf::new(2);
    let library = tempfile::tempdir().unwrap();
    let long = noise(7, 900_001);
    let odd = ["a b", "50%", "x%0Ay", "cr\rlf\n", "ünï/ß", " lead", "empty"];
    for name in odd {
        put(library.path(), name, if name == "empty" { b"" } else { name.as_bytes() });
    }
    put(library.path(), "deep/er/long", &long);
    fs::File::create(library.path().join("holes")).unwrap().set_len(3 << 20).unwrap();
    fs::write(library.path().join(OsStr::from_bytes(b"\xff")), b"no name for a bag").unwrap();
    fs::create_dir_all(library.path().join("hollow/inner")).unwrap();
    std::os::unix::fs::symlink("a b", library.path().join("link")).unwrap();
    fs::hard_link(library.path().join("a b"), library.path().join("again")).unwrap();
    shelf.back_up(library.path());
    let out = tempfile::tempdir().unwrap();
    let bag = out.path().join("new/bag");
    let (report, told) =
        export(&shelf, &library.path().to_string_lossy(), &bag, &[("Source-Organization", "An: Archive")]);
    let report = report.unwrap();
    let want = BagReport {
        finished: true,
        files: odd.len() as u64 + 3,
        left_out: 1,
        symlinks: 1,
        empty_dirs: 2,
        hard_links: 2,
        ..report.clone()
    };
    assert_eq!(report, want);
    let named = |n: &Notice| matches!(n, Notice::BagFault { path, .. } if path.ends_with(b"/\xff"));
    assert_eq!(told.iter().filter(|n| named(n)).count(), 1);
    let notes: Vec<_> =
        told.iter().filter_map(|n| if let Notice::Note(text) = n { Some(text) } else { None }).collect();
    assert_eq!(notes.len(), 2);
    assert!(notes[0].contains("1 symlink") && notes[0].contains("2 folders without a file"), "{notes:?}");

    let made = files(&bag);
    assert!(made[&b"data/deep/er/long"[..]] == long && made[&b"data/again"[..]] == b"a b");
    assert_eq!(made[&b"data/cr\rlf\n"[..]], b"cr\rlf\n");
    assert_eq!(made.keys().filter(|k| k.starts_with(b"data/")).count() as u64, report.files);
    let text = |name: &str| String::from_utf8(made[name.as_bytes()].clone()).unwrap();
    let line = |path: &str, bytes: &[u8]| format!("{}  {path}\n", digest(Algorithm::Sha512, bytes));
    let manifest = text("manifest-sha512.txt");
    assert_eq!(manifest.lines().count() as u64, report.files);
    for (path, bytes) in
        [("data/50%25", "50%"), ("data/x%250Ay", "x%0Ay"), ("data/cr%0Dlf%0A", "cr\rlf\n"), ("data/empty", "")]
    {
        assert!(manifest.contains(&line(path, bytes.as_bytes())), "{path}");
    }
    let id = shelf.latest(&shelf.read()).id;
    let info = format!(
        "Source-Organization: An: Archive\nBagging-Date: 2024-05-06\nPayload-Oxum: {}.{}\nExternal-Identifier: {id}\n\
         Bag-Software-Agent: test 1\n",
        report.bytes, report.files
    );
    assert_eq!(text("bag-info.txt"), info);
    assert_eq!(text("bagit.txt"), "BagIt-Version: 1.0\nTag-File-Character-Encoding: UTF-8\n");
    let tags = ["bag-info.txt", "bagit.txt", "manifest-sha256.txt", "manifest-sha512.txt"];
    let tag_lines: String = tags.iter().map(|name| line(name, text(name).as_bytes())).collect();
    assert_eq!(text("tagmanifest-sha512.txt"), tag_lines);
    assert_eq!(made.keys().filter(|k| !k.starts_with(b"data/")).count(), 6, "no temporary file is left");

    let other = Shelf::new(1);
    let (imported, told) = import(&other, &bag);
    let imported = imported.unwrap();
    assert!(imported.complete && told.is_empty(), "{told:?}");
    let verdict = imported.bag.unwrap();
    assert_eq!((verdict.files, verdict.bytes, verdict.algorithms), (report.files, report.bytes, BOTH.to_vec()));
    assert!(restored(&other, None) == made, "a restore is the bag again");
    assert!(restored(&other, Some("/data")).contains_key(&b"deep/er/long"[..]));
    // The same once more: proven anew, not taken as unchanged.
    fs::write(bag.join("data/a b"), b"a B").unwrap();
    assert!(matches!(import(&other, &bag).0, Err(Error::BadBag { .. })));
}

#[test]
fn an_empty_payload_and_a_single_file_are_bags() {
    let (shelf, out) = (Shelf::new(1), tempfile::tempdir().unwrap());
    let library = tempfile::tempdir().unwrap();
    fs::create_dir(library.path().join("none")).unwrap();
    put(library.path(), "one", b"1");
    shelf.back_up(library.path());
    let at = library.path().to_string_lossy();
    for (path, files) in [("none", 0), ("one", 1)] {
        let bag = out.path().join(path);
        assert_eq!(export(&shelf, &format!("{at}/{path}"), &bag, &[]).0.unwrap().files, files);
        assert_eq!(import(&Shelf::new(1), &bag).0.unwrap().bag.unwrap().files, files);
    }
    assert_eq!(fs::read(out.path().join("one/data/one")).unwrap(), b"1");
}

#[test]
fn a_bag_is_not_finished_where_bytes_are_lost() {
    let (shelf, out) = (Shelf::new(1), tempfile::tempdir().unwrap());
    shelf.stream("f", &noise(5, 500_000));
    let store = shelf.read();
    let is_data = |p: &&crate::catalog::state::PackState| p.sealed.kind == crate::format::footer::PackKind::Data;
    let sealed = store.with_state(|s| s.packs().find(is_data).map(|p| p.sealed)).unwrap();
    let place = crate::pool::PackStore::place(store.pool(), &sealed);
    drop(store);
    shelf.fs.flip(place, 100_000 * 8).unwrap();
    let bag = out.path().join("bag");
    let (report, told) = export(&shelf, "/", &bag, &[]);
    let report = report.unwrap();
    assert_eq!((report.finished, report.files_lost, report.bytes_lost), (false, 1, 500_000));
    assert!(matches!(&told[..], [Notice::FileLost(FileLost { path, .. })] if path == b"/f"), "{told:?}");
    assert!(files(&bag).is_empty(), "no manifest, no bagit.txt, no part of the file");
    let (again, _) = import(&Shelf::new(1), &bag);
    assert!(again.is_err_and(|e| e.to_string().contains("bagit.txt")));
}

#[test]
fn a_bag_that_is_stopped_is_none() {
    let (shelf, out) = (Shelf::new(1), tempfile::tempdir().unwrap());
    shelf.stream("f", &noise(5, 500_000));
    let bag = out.path().join("bag");
    let store = shelf.read();
    let options = BagOptions {
        snapshot: shelf.latest(&store),
        path: None,
        target: bag.clone(),
        algorithms: BOTH.to_vec(),
        info: Vec::new(),
        date: "2024-05-06".into(),
        program: "test 1".into(),
    };
    let control = Control::default();
    control.cancel();
    assert!(matches!(write::run(&store, &options, &control), Err(Error::Interrupted)));
    assert!(bag.join("data").is_dir() && files(&bag).is_empty(), "no manifest, no bagit.txt");
}

#[test]
fn a_folder_that_holds_something_and_labels_that_mean_something_else_are_refused() {
    let (shelf, out) = (Shelf::new(1), tempfile::tempdir().unwrap());
    shelf.stream("f", b"x");
    for (label, value) in [("", "x"), ("a:b", "x"), (" a", "x"), ("a", "x\ny"), ("a\r", "x"), ("payload-oxum", "1.1")] {
        let refused = export(&shelf, "/", &out.path().join("bag"), &[(label, value)]).0;
        assert!(matches!(refused, Err(Error::Argument { .. })), "{label:?}");
    }
    put(out.path(), "bag/x", b"");
    assert!(matches!(export(&shelf, "/", &out.path().join("bag"), &[]).0, Err(Error::NotEmpty { .. })));
}

#[test]
fn bags_of_other_programs_and_older_versions_are_taken() {
    type Case = (&'static str, fn(&Path));
    let cases: [Case; 6] = [
        ("as it is", |_| {}),
        ("no tag manifest, no bag-info", |bag| {
            fs::remove_file(bag.join("tagmanifest-sha256.txt")).unwrap();
            fs::remove_file(bag.join("bag-info.txt")).unwrap();
        }),
        ("CRLF, asterisks, dots, tabs, digits of either case", |bag| {
            for name in ["manifest-sha256.txt", "manifest-md5.txt"] {
                let text = fs::read_to_string(bag.join(name)).unwrap();
                let (upper, lower) = text.split_once('\n').unwrap();
                let upper = upper.replacen(' ', "\t ./", 1);
                let (digits, rest) = upper.split_once('\t').unwrap();
                let text = format!("{}\t{rest}\n\n{}", digits.to_uppercase(), lower.replace(" data", " *data"));
                put(bag, name, text.replace('\n', "\r\n"));
            }
            seal(bag);
        }),
        ("everything was fetched", |bag| {
            put(bag, "fetch.txt", "http://x/y%20z - data/top level.txt\nhttp://x/y 7 data/27613-h/images/q172.png\n");
            seal(bag);
        }),
        ("an algorithm that is not known here beside ones that are", |bag| {
            let text = fs::read_to_string(bag.join("manifest-md5.txt")).unwrap();
            put(bag, "manifest-whirlpool.txt", text);
        }),
        ("0.97: a file in one manifest alone, a line twice, a percent sign as it is", |bag| {
            put(bag, "bagit.txt", "BagIt-Version: 0.97\nTag-File-Character-Encoding: utf-8\n");
            put(bag, "data/1%25", "");
            put(bag, "bag-info.txt", "payload-oxum : 24.4");
            let mut text = fs::read_to_string(bag.join("manifest-md5.txt")).unwrap();
            text += &format!("{} data/1%25\n", digest(Algorithm::Md5, b"")).repeat(2);
            put(bag, "manifest-md5.txt", text);
            seal(bag);
        }),
    ];
    for (what, change) in cases {
        let folder = tempfile::tempdir().unwrap();
        by_hand(folder.path());
        change(folder.path());
        let shelf = Shelf::new(1);
        let (report, told) = import(&shelf, folder.path());
        assert!(report.is_ok(), "{what}: {told:?}");
        assert!(restored(&shelf, None) == files(folder.path()), "{what}");
    }
}

/// What is done to a good bag, whether its tag manifest is made anew, and the path and a part of the reason that are told;
/// without a path the error itself says it.
type Bad = (&'static str, fn(&Path), bool, &'static str, &'static str);

fn append(bag: &Path, name: &str, line: &str) {
    let mut text = fs::read(bag.join(name)).unwrap_or_default();
    text.extend_from_slice(line.as_bytes());
    put(bag, name, text);
}

const BAD: &[Bad] = &[
    ("missing", |b| fs::remove_file(b.join("data/top level.txt")).unwrap(), false, "data/top level.txt", "not there"),
    ("extra", |b| put(b, "data/new", ""), false, "data/new", "no payload manifest lists it"),
    (
        "extra, not UTF-8",
        |b| fs::write(b.join(OsStr::from_bytes(b"data/\xff")), b"").unwrap(),
        false,
        "data/\u{fffd}",
        "lists",
    ),
    (
        "changed",
        |b| put(b, "data/top level.txt", "at the root!"),
        false,
        "data/top level.txt",
        "not the one in manifest-",
    ),
    (
        "changed tag",
        |b| put(b, "readme/notes.txt", "x"),
        false,
        "readme/notes.txt",
        "not the one in tagmanifest-sha256.txt",
    ),
    ("missing tag", |b| fs::remove_file(b.join("readme/notes.txt")).unwrap(), false, "readme/notes.txt", "not there"),
    (
        "changed manifest",
        |b| append(b, "manifest-md5.txt", "\n"),
        false,
        "manifest-md5.txt",
        "not the one in tagmanifest",
    ),
    ("oxum bytes", |b| put(b, "bag-info.txt", "Payload-Oxum: 25.3\n"), true, "bag-info.txt", "the payload is 24.3"),
    ("oxum files", |b| put(b, "bag-info.txt", "Payload-Oxum: 24.2\n"), true, "bag-info.txt", "the payload is 24.3"),
    ("oxum words", |b| put(b, "bag-info.txt", "Payload-Oxum: many\n"), true, "bag-info.txt", "BYTES.FILES"),
    (
        "to fetch",
        |b| {
            fs::remove_file(b.join("data/top level.txt")).unwrap();
            put(b, "fetch.txt", "http://x/y - data/top level.txt\n");
        },
        true,
        "data/top level.txt",
        "still to be fetched",
    ),
    ("fetch only", |b| put(b, "fetch.txt", "http://x - data/z\n"), true, "data/z", "fetch.txt lists it"),
    ("fetch leads out", |b| put(b, "fetch.txt", "http://x - data/../../z\n"), true, "fetch.txt", "leads out"),
    ("fetch a tag file", |b| put(b, "fetch.txt", "http://x - bagit.txt\n"), true, "fetch.txt", "not below data/"),
    ("fetch without path", |b| put(b, "fetch.txt", "http://x -\n"), true, "fetch.txt", "line 1"),
    (
        "leads out",
        |b| append(b, "manifest-md5.txt", "00000000000000000000000000000000 data/../../x\n"),
        true,
        "manifest-md5.txt",
        "line 4: the path leads out",
    ),
    (
        "absolute",
        |b| append(b, "manifest-md5.txt", "00000000000000000000000000000000 /etc/passwd\n"),
        true,
        "manifest-md5.txt",
        "leads out",
    ),
    (
        "home",
        |b| append(b, "tagmanifest-md5.txt", "00000000000000000000000000000000 ~root/x\n"),
        false,
        "tagmanifest-md5.txt",
        "leads out",
    ),
    (
        "tag in a payload manifest",
        |b| append(b, "manifest-md5.txt", "00000000000000000000000000000000 bagit.txt\n"),
        true,
        "manifest-md5.txt",
        "not below data/",
    ),
    (
        "payload in a tag manifest",
        |b| append(b, "tagmanifest-md5.txt", "00000000000000000000000000000000 data/x\n"),
        false,
        "tagmanifest-md5.txt",
        "a path of the payload",
    ),
    ("short digest", |b| append(b, "manifest-md5.txt", "00 data/x\n"), true, "manifest-md5.txt", "too short"),
    ("no digest", |b| append(b, "manifest-md5.txt", "zz data/x\n"), true, "manifest-md5.txt", "no hexadecimal"),
    ("half a digit", |b| append(b, "manifest-md5.txt", "000 data/x\n"), true, "manifest-md5.txt", "no hexadecimal"),
    (
        "no path",
        |b| append(b, "manifest-md5.txt", "00000000000000000000000000000000\n"),
        true,
        "manifest-md5.txt",
        "without a path",
    ),
    (
        "not UTF-8",
        |b| fs::write(b.join("manifest-md5.txt"), b"00 data/\xff\n").unwrap(),
        true,
        "manifest-md5.txt",
        "not UTF-8",
    ),
    ("a long line", |b| append(b, "manifest-md5.txt", &"0".repeat(70_000)), true, "manifest-md5.txt", "longer than"),
    (
        "in one manifest alone",
        |b| {
            put(b, "data/new", "");
            append(b, "manifest-md5.txt", &format!("{} data/new\n", digest(Algorithm::Md5, b"")));
            put(b, "bag-info.txt", "");
        },
        true,
        "data/new",
        "manifest-sha256.txt does not list it",
    ),
    (
        "twice",
        |b| {
            let text = fs::read_to_string(b.join("manifest-md5.txt")).unwrap();
            append(b, "manifest-md5.txt", &text.replace(" data", " ./data"));
        },
        true,
        "data/top level.txt",
        "manifest-md5.txt lists it twice",
    ),
    (
        "twice, unlike",
        |b| append(b, "manifest-md5.txt", "00000000000000000000000000000000 data/top level.txt\n"),
        true,
        "data/top level.txt",
        "manifest-md5.txt",
    ),
    (
        "symlink",
        |b| std::os::unix::fs::symlink("top level.txt", b.join("data/l")).unwrap(),
        false,
        "data/l",
        "cannot hold",
    ),
    (
        "a folder elsewhere",
        |b| {
            fs::rename(b.join("data/27613-h"), b.join("readme/27613-h")).unwrap();
            std::os::unix::fs::symlink("../readme/27613-h", b.join("data/27613-h")).unwrap();
        },
        true,
        "data/27613-h/images/q172.png",
        "not there",
    ),
    (
        "socket",
        |b| drop(std::os::unix::net::UnixListener::bind(b.join("data/s")).unwrap()),
        false,
        "data/s",
        "cannot hold",
    ),
    ("no bagit.txt", |b| fs::remove_file(b.join("bagit.txt")).unwrap(), false, "", "no bagit.txt"),
    (
        "BOM",
        |b| put(b, "bagit.txt", "\u{feff}BagIt-Version: 1.0\nTag-File-Character-Encoding: UTF-8\n"),
        true,
        "",
        "BagIt-Version",
    ),
    (
        "space",
        |b| put(b, "bagit.txt", "BagIt-Version : 1.0\nTag-File-Character-Encoding : UTF-8\n"),
        true,
        "",
        "BagIt-Version",
    ),
    (
        "version",
        |b| put(b, "bagit.txt", "BagIt-Version: 2.0\nTag-File-Character-Encoding: UTF-8\n"),
        true,
        "",
        "\"2.0\"",
    ),
    (
        "encoding",
        |b| put(b, "bagit.txt", "BagIt-Version: 1.0\nTag-File-Character-Encoding: UTF-16\n"),
        true,
        "",
        "UTF-16",
    ),
    ("no encoding", |b| put(b, "bagit.txt", "BagIt-Version: 1.0\n"), true, "", "encoding"),
    ("more lines", |b| append(b, "bagit.txt", "x\n"), true, "", "two short lines"),
    ("no payload", |b| fs::rename(b.join("data"), b.join("date")).unwrap(), false, "", "no folder data"),
    (
        "no manifest",
        |b| ["md5", "sha256"].iter().for_each(|a| fs::remove_file(b.join(format!("manifest-{a}.txt"))).unwrap()),
        true,
        "",
        "no payload manifest",
    ),
    (
        "no manifest that is known here",
        |b| {
            fs::remove_file(b.join("manifest-md5.txt")).unwrap();
            fs::rename(b.join("manifest-sha256.txt"), b.join("manifest-sha3-256.txt")).unwrap();
        },
        true,
        "",
        "none of its payload manifests",
    ),
];

/// Whether the import failed as it should, and left no snapshot.
fn assert_refused(
    what: &str,
    shelf: &Shelf,
    (report, told): (Result<BackupReport>, Vec<Notice>),
    path: &str,
    reason: &str,
) {
    let Err(error @ Error::BadBag { .. }) = report else { panic!("{what}: {report:?}") };
    let says = |n: &Notice| matches!(n, Notice::BagFault { path: of, reason: why } if String::from_utf8_lossy(of) == path && why.contains(reason));
    if path.is_empty() {
        assert!(error.to_string().contains(reason), "{what}: {error}");
    } else {
        assert!(told.iter().any(says), "{what}: {told:?}");
        assert!(error.to_string().contains("named above"), "{what}: {error}");
    }
    assert!(snapshots::list(&shelf.read(), &[]).is_empty(), "{what}: no snapshot");
}

#[test]
fn a_bag_that_is_not_valid_makes_no_snapshot_and_is_told_why() {
    for (what, change, seals, path, reason) in BAD {
        let folder = tempfile::tempdir().unwrap();
        by_hand(folder.path());
        change(folder.path());
        if *seals {
            seal(folder.path());
        }
        let shelf = Shelf::new(1);
        assert_refused(what, &shelf, import(&shelf, folder.path()), path, reason);
    }
}

#[test]
fn what_changes_after_names_were_compared_makes_no_snapshot_either() {
    const LATE: &[Bad] = &[
        (
            "changed",
            |b| put(b, "data/top level.txt", "at the root!"),
            false,
            "data/top level.txt",
            "not the one in manifest-",
        ),
        ("gone", |b| fs::remove_file(b.join("data/top level.txt")).unwrap(), false, "data/top level.txt", "not there"),
        ("new", |b| put(b, "data/new", ""), false, "data/new", "no payload manifest lists it"),
        (
            "a link",
            |b| std::os::unix::fs::symlink("x", b.join("data/27613-h/l")).unwrap(),
            false,
            "data/27613-h/l",
            "a symlink",
        ),
        (
            "a socket",
            |b| drop(std::os::unix::net::UnixListener::bind(b.join("data/s")).unwrap()),
            false,
            "data/s",
            "a socket",
        ),
        (
            "another bag in its place",
            |b| {
                put(b, "data/top level.txt", "at the root!");
                for a in [Algorithm::Md5, Algorithm::Sha256] {
                    let name = format!("manifest-{}.txt", a.name());
                    let text = fs::read_to_string(b.join(&name)).unwrap();
                    put(b, &name, text.replace(&digest(a, b"at the root."), &digest(a, b"at the root!")));
                }
            },
            true,
            "manifest-md5.txt",
            "changed while the bag was read",
        ),
        ("bagit.txt gone", |b| fs::remove_file(b.join("bagit.txt")).unwrap(), false, "bagit.txt", "not there"),
    ];
    for (what, change, seals, path, reason) in LATE {
        let folder = tempfile::tempdir().unwrap();
        by_hand(folder.path());
        let shelf = Shelf::new(1);
        let (control, told) = listening();
        let bag = Bag::open(&shelf.read(), folder.path(), &control).unwrap();
        change(folder.path());
        if *seals {
            seal(folder.path());
        }
        let report = shelf.back_up_bag(bag, &control);
        let told = told.lock().unwrap().clone();
        assert_refused(what, &shelf, (report, told), path, reason);
    }
}

#[test]
fn faults_are_named_up_to_a_bound_and_then_counted() {
    let folder = tempfile::tempdir().unwrap();
    by_hand(folder.path());
    for i in 0..1100 {
        put(folder.path(), &format!("data/extra{i}"), "");
    }
    put(folder.path(), "bag-info.txt", "");
    seal(folder.path());
    let shelf = Shelf::new(1);
    let (report, told) = import(&shelf, folder.path());
    assert!(report.is_err_and(|e| e.to_string().contains("1100 faults, of which 1000 are named above")));
    assert_eq!(told.len(), 1000);
}
