//! The built program, as a user or a script sees it: exit statuses, JSON, messages.

use crate::support::{assert_same, library, noise};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

struct Program {
    dir: tempfile::TempDir,
}

impl Program {
    fn new() -> Program {
        Program { dir: tempfile::tempdir().unwrap() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn run(&self, args: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_onefold"));
        command.env("ONEFOLD_STORE", self.path("store")).env("NO_COLOR", "1").current_dir(self.dir.path());
        command.args(args).output().unwrap()
    }

    /// Runs and expects an exit status; gives stdout.
    fn expect(&self, code: i32, args: &[&str]) -> String {
        let out = self.run(args);
        let (stdout, stderr) = (String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
        assert_eq!(out.status.code(), Some(code), "{args:?}\n{stdout}\n{stderr}");
        assert!(!stderr.contains("panicked"), "{stderr}");
        stdout.into_owned()
    }

    /// The same, and its stderr holds these words.
    fn complains(&self, code: i32, args: &[&str], words: &[&str]) {
        self.expect(code, args);
        let stderr = String::from_utf8_lossy(&self.run(args).stderr).into_owned();
        for word in words {
            assert!(stderr.contains(word), "{args:?} does not say {word:?}:\n{stderr}");
        }
    }

    fn init(&self) {
        self.expect(0, &["init", "--disk", "disk0", "--disk", "disk1", "--pack-size", "4MiB"]);
    }

    fn packs(&self) -> Vec<PathBuf> {
        let mut out = Vec::new();
        for disk in ["disk0", "disk1"] {
            for folder in fs::read_dir(self.path(disk).join("packs")).unwrap() {
                out.extend(fs::read_dir(folder.unwrap().path()).unwrap().map(|e| e.unwrap().path()));
            }
        }
        out.sort();
        out
    }
}

fn flip(path: &Path, at: usize) {
    let mut bytes = fs::read(path).unwrap();
    bytes[at] ^= 4;
    fs::write(path, bytes).unwrap();
}

#[test]
fn the_whole_life_of_a_small_store() {
    let p = Program::new();
    p.init();
    library(&p.path("lib"), 1);
    let summary = p.expect(0, &["backup", "--json", "--name", "first", "--tag", "a", "lib"]);
    let last = summary.lines().last().unwrap();
    for field in [
        "\"message_type\":\"summary\"",
        "\"snapshot_id\"",
        "\"data_added_packed\"",
        "\"files_new\"",
        "\"total_bytes_processed\"",
    ] {
        assert!(last.contains(field), "{field} is missing: {last}");
    }
    let root = p.path("lib");
    let below = format!("first:{}", root.display());
    p.expect(0, &["restore", &below, "--target", "out"]);
    assert_same(&root, &p.path("out"));
    assert!(p.expect(0, &["snapshots", "--tag", "a"]).contains("first"));
    assert!(p.expect(0, &["ls", "latest", "--json"]).contains("text.log"));
    assert!(p.expect(0, &["find", "*.log"]).contains("text.log"));
    let one = p.path("lib/edited 01.bin");
    let cat = p.run(&["cat", "first", one.to_str().unwrap(), "--range", "990-1019"]);
    assert!(cat.stdout == fs::read(&one).unwrap()[990..1020]);
    assert!(p.expect(0, &["stats"]).contains("on the disks"));
    p.expect(0, &["check", "--read-data"]);
    p.expect(0, &["disk", "list"]);
    p.expect(0, &["status"]);
    fs::write(p.path("lib/one"), b"y").unwrap();
    p.expect(0, &["backup", "lib"]);
    assert!(p.expect(0, &["diff", "first", "latest"]).contains("/one"));
    fs::remove_dir_all(p.path("store/index")).unwrap();
    p.expect(0, &["recover"]);
    fs::remove_dir_all(p.path("store")).unwrap();
    p.expect(0, &["recover", "--disk", "disk0", "--disk", "disk1"]);
    p.expect(0, &["check", "--read-data"]);
}

/// Near-duplicates shown: who shares what, what it costs, a picture, a forecast.
#[test]
fn what_is_shared_is_shown_in_text_json_and_a_picture() {
    let p = Program::new();
    let forecast = p.expect(0, &["estimate", "--alone", "."]);
    assert!(forecast.contains("would store"), "a store is not needed: {forecast}");
    p.init();
    fs::create_dir(p.path("lib")).unwrap();
    let one = noise(1, 3_000_000);
    let mut edited = one.clone();
    edited.splice(1_500_000..1_500_000, *b"inserted <tag> & \"more\"");
    fs::write(p.path("lib/one"), &one).unwrap();
    fs::write(p.path("lib/unrelated"), noise(2, 900_000)).unwrap();
    p.expect(0, &["backup", "lib"]);
    fs::write(p.path("lib/edited"), &edited).unwrap();
    fs::write(p.path("lib/copy <&>"), &one).unwrap();
    let forecast = p.expect(0, &["estimate", "lib", "--json"]);
    assert!(forecast.contains("\"sample_is_all\":true"), "{forecast}");
    p.expect(0, &["backup", "lib"]);
    let at = |name: &str| p.path("lib").join(name).to_str().unwrap().to_owned();

    let said = p.expect(0, &["similar", "latest", &at("one")]);
    assert!(said.contains("same content") && said.contains("delta") && !said.contains("unrelated"), "{said}");
    let said = p.expect(0, &["similar", "--all", "--limit", "1", &format!("latest:{}", at("one")), "--json"]);
    assert_eq!(said.matches("\"message_type\":\"similar\"").count(), 1, "{said}");
    assert!(said.lines().last().unwrap().contains("\"files_found\":2"), "{said}");
    p.complains(2, &["similar", "latest"], &["no file is named"]);
    p.complains(1, &["similar", "latest", &at("")], &["a folder", "not a file"]);

    let said = p.expect(0, &["explain", "latest", &at("edited")]);
    for word in ["opaque", "delta", "only it", "in all 2", "everything", "disk"] {
        assert!(said.contains(word), "{word:?} is missing:\n{said}");
    }
    let chunks = p.expect(0, &["explain", "--chunks", "latest", &at("edited"), "--json"]);
    assert!(chunks.lines().count() > 5 && chunks.contains("\"codec\":\"delta\""), "{chunks}");
    assert!(p.expect(0, &["explain", "--quick", "latest", &at("one"), "--json"]).contains("\"exclusive_bytes\":null"));

    let said = p.expect(0, &["stats", "--by-means", "--by-format"]);
    assert!(said.contains("coded against others") && said.contains("compression by"), "{said}");
    let said = p.expect(0, &["stats", "--by-means", "--by-format", "--json"]);
    for field in ["codec_stats", "format_stats", "\"coded_on_one_base_max\":1"] {
        assert!(said.contains(field), "{field} is missing: {said}");
    }

    p.expect(0, &["map", "latest", "--svg", "few.svg"]);
    let picture = fs::read_to_string(p.path("few.svg")).unwrap();
    assert!(picture.starts_with("<svg ") && picture.contains("copy &lt;&amp;&gt;") && picture.contains("<path"));
    for i in 0..20 {
        fs::write(p.path("lib").join(format!("{i}")), noise(100 + i % 15, 70_000)).unwrap();
    }
    p.expect(0, &["backup", "lib"]);
    let picture = p.expect(0, &["map", "latest", &at(""), "--svg", "-"]);
    assert!(picture.contains("What is shared with what") && picture.trim_end().ends_with("</svg>"));
    p.complains(2, &["map", "latest"], &["--svg"]);
    p.complains(1, &["map", "latest", "/nowhere", "--svg", "x.svg"], &["/nowhere"]);
}

#[test]
fn each_bad_input_has_its_own_message_and_exit_status() {
    let p = Program::new();
    p.complains(10, &["snapshots"], &["no store", "onefold init"]);
    p.complains(2, &["frobnicate"], &["frobnicate"]);
    p.init();
    p.complains(1, &["restore", "nothing", "--target", "x"], &["no snapshot", "onefold snapshots"]);
    p.complains(1, &["backup", "not there"], &["not there"]);
    p.complains(1, &["init", "--disk", "disk0"], &["disk0"]);
    p.complains(1, &["--store", "other", "init", "--disk", "disk0"], &["disk0", "store"]);
    fs::create_dir(p.path("full")).unwrap();
    fs::write(p.path("full/film.mov"), b"x").unwrap();
    p.complains(1, &["--store", "other", "init", "--disk", "full"], &["film.mov"]);
    fs::create_dir(p.path("lib")).unwrap();
    fs::write(p.path("lib/a"), noise(1, 300_000)).unwrap();
    p.expect(0, &["backup", "--name", "same", "lib"]);
    p.expect(0, &["backup", "--name", "same", "--force", "lib"]);
    p.complains(1, &["ls", "same"], &["fits 2 snapshots"]);
    p.expect(0, &["restore", "latest", "--target", "out"]);
    p.complains(1, &["restore", "latest", "--target", "out"], &["not empty", "--overwrite"]);
    p.expect(0, &["restore", "latest", "--target", "out", "--overwrite"]);
    p.expect(3, &["backup", "lib", "gone"]);
    p.complains(1, &["cat", "latest", "/nowhere"], &["/nowhere"]);
}

#[test]
fn a_store_from_the_future_says_so() {
    let p = Program::new();
    p.init();
    for place in ["store/superblock", "disk0/superblock", "disk1/superblock"] {
        let path = p.path(place);
        let bytes = fs::read(&path).unwrap();
        let mut body = bytes[16..bytes.len() - 32].to_vec();
        body[26] = 9; // the minimum reader version
        let mut sealed = bytes[..16].to_vec();
        sealed.extend(body);
        let hash = onefold::format::check::blake3(&[&sealed]);
        sealed.extend(hash);
        fs::write(&path, sealed).unwrap();
    }
    p.complains(1, &["snapshots"], &["format 9", "update onefold"]);
}

#[test]
fn a_damaged_pack_costs_exactly_its_files_and_is_healed_by_the_next_backup() {
    let p = Program::new();
    p.init();
    fs::create_dir(p.path("lib")).unwrap();
    for i in 0..6 {
        fs::write(p.path(&format!("lib/{i}.bin")), noise(i, 400_000)).unwrap();
    }
    p.expect(0, &["backup", "lib"]);
    let data = p.packs().into_iter().max_by_key(|path| fs::metadata(path).unwrap().len()).unwrap();
    flip(&data, 1000); // inside the first chunk
    let said = p.expect(4, &["check", "--read-data", "--json"]);
    assert_eq!(said.matches("\"file_lost\"").count(), 1, "{said}");
    let said = p.expect(4, &["restore", "latest", "--target", "out", "--json"]);
    assert_eq!(said.matches("\"file_lost\"").count(), 1, "{said}");
    let back = fs::read_dir(p.path("out").join(p.path("lib").strip_prefix("/").unwrap())).unwrap().count();
    assert_eq!(back, 5, "the other files came back, the lost one is not there");
    p.expect(0, &["backup", "lib"]); // reads the file again, since the damage is on record
    p.expect(0, &["restore", "latest", "--target", "again"]);
    assert_same(&p.path("lib"), &p.path("again").join(p.path("lib").strip_prefix("/").unwrap()));
}

#[test]
fn a_missing_disk_is_named_and_the_rest_goes_on() {
    let p = Program::new();
    p.init();
    fs::create_dir(p.path("lib")).unwrap();
    for i in 0..8 {
        fs::write(p.path(&format!("lib/{i}.bin")), noise(i, 2_000_000)).unwrap();
    }
    p.expect(0, &["backup", "lib"]);
    fs::rename(p.path("disk1"), p.path("away")).unwrap();
    p.complains(3, &["status"], &["disk1"]);
    p.expect(3, &["disk", "list"]);
    let code = p.run(&["restore", "latest", "--target", "part"]).status.code();
    assert!(code == Some(4) || code == Some(0), "{code:?}");
    fs::rename(p.path("away"), p.path("disk1")).unwrap();
    p.expect(0, &["restore", "latest", "--target", "whole"]);
    // exchanged mount points are no matter
    for (a, b) in [("disk0", "x"), ("disk1", "disk0"), ("x", "disk1")] {
        fs::rename(p.path(a), p.path(b)).unwrap();
    }
    p.expect(0, &["check"]);
}

#[test]
fn names_are_printed_escaped() {
    use std::os::unix::ffi::OsStrExt;
    let p = Program::new();
    p.init();
    fs::create_dir(p.path("lib")).unwrap();
    fs::write(p.path("lib").join(std::ffi::OsStr::from_bytes(b"evil\x1b[31m\n\xff")), b"x").unwrap();
    p.expect(0, &["backup", "lib"]);
    for command in [&["ls", "latest"][..], &["find", "evil*"], &["ls", "latest", "--json"]] {
        let out = p.run(command).stdout;
        assert!(!out.contains(&0x1b) && out.windows(4).any(|w| w == b"evil"), "{command:?}");
    }
}

#[test]
fn every_command_tells_its_exit_status() {
    let p = Program::new();
    for command in [
        "init",
        "backup",
        "snapshots",
        "ls",
        "find",
        "cat",
        "restore",
        "diff",
        "stats",
        "similar",
        "explain",
        "map",
        "estimate",
        "check",
        "recover",
        "disk list",
        "status",
        "demo",
        "completions",
        "man",
    ] {
        let args: Vec<&str> = command.split(' ').chain(["--help"]).collect();
        assert!(p.expect(0, &args).contains("xit status"), "{command}");
    }
}

#[test]
fn snapshots_are_forgotten_brought_back_pinned_and_reclaimed() {
    let p = Program::new();
    p.init();
    let lib = p.path("lib");
    fs::create_dir(&lib).unwrap();
    for i in 0..4u64 {
        fs::write(lib.join("kept.bin"), noise(1, 3_000_000)).unwrap();
        fs::write(lib.join("churn.bin"), noise(10 + i, 3_000_000)).unwrap();
        p.expect(0, &["backup", "--name", &format!("n{i}"), "--tag", "t", "lib"]);
    }
    let stored = |p: &Program| p.packs().iter().map(|f| fs::metadata(f).unwrap().len()).sum::<u64>();
    let before = stored(&p);
    p.complains(2, &["forget"], &["no policy"]);
    p.complains(2, &["forget", "--keep-last", "1"], &["--yes"]);
    let plan = p.expect(0, &["forget", "--keep-last", "2", "--dry-run", "--json", "--would-free"]);
    assert!(plan.contains("\"snapshots_forgotten\":2") && plan.contains("\"reasons\""), "{plan}");
    assert!(plan.contains("\"message_type\":\"freed\""), "{plan}");
    p.expect(0, &["pin", "n0"]);
    p.complains(2, &["forget", "n0", "--yes"], &["pinned"]);
    p.expect(0, &["forget", "--keep-last", "1", "--yes"]);
    assert_eq!(p.expect(0, &["snapshots"]).matches(" t ").count(), 2, "the pinned one and the newest");
    assert_eq!(p.expect(0, &["snapshots", "--forgotten"]).matches("forgotten 2").count(), 2);
    p.expect(0, &["undelete", "n1"]);
    p.complains(1, &["undelete", "n3"], &["n3"]);
    p.expect(0, &["rename", "n1", "first"]);
    p.complains(2, &["rename", "n3", "first"], &["called so"]);
    p.expect(0, &["tag", "first", "--add", "gold", "--remove", "t"]);
    assert_eq!(p.expect(0, &["snapshots", "--tag", "gold"]).matches("first").count(), 1);
    let free = p.expect(0, &["stats", "--json", "--without", "first"]);
    let bytes: u64 = free.split("\"bytes_freed\":").nth(1).unwrap().split(',').next().unwrap().parse().unwrap();
    assert!((3_000_000..3_100_000).contains(&bytes), "{free}");
    // n2 is still in its grace
    p.expect(0, &["gc", "--yes"]);
    assert_eq!(stored(&p), before);
    p.expect(0, &["gc", "--dry-run", "--grace", "0s"]);
    p.complains(2, &["gc", "--grace", "0s"], &["--yes"]);
    assert_eq!(stored(&p), before);
    p.expect(0, &["prune", "--grace", "0s", "--yes", "--json"]);
    assert!(stored(&p) + 2_900_000 < before, "{} of {before}", stored(&p));
    p.complains(1, &["undelete", "n2"], &["gc"]);
    p.expect(0, &["check", "--read-data"]);
    p.expect(0, &["restore", "first:", "--target", "out"]);
}

#[test]
fn who_meets_a_writer_waits_as_it_was_told_and_longer_for_one_that_gives_way() {
    use onefold::io::Io;
    use onefold::store;
    use std::time::{Duration, Instant};

    let p = Program::new();
    p.init();
    fs::write(p.path("file"), noise(5, 100_000)).unwrap();
    let (io, home) = (Io::real(), p.path("store"));
    let held = store::lock(&io, &home, "backup").unwrap();
    p.complains(11, &["backup", "file"], &["backup"]);
    // Held until somebody says that it waits, and a while longer than it is waited for by itself.
    let wait = |held: Box<dyn onefold::io::Lock>, args: &[&str]| {
        std::thread::scope(|scope| {
            let release = scope.spawn(|| {
                let begun = Instant::now();
                while !store::is_asked_for(&io, &home) {
                    assert!(begun.elapsed() < Duration::from_secs(60), "nobody asks");
                    std::thread::sleep(Duration::from_millis(5));
                }
                std::thread::sleep(Duration::from_secs(1));
                drop(held);
            });
            let out = p.run(args);
            release.join().unwrap();
            out
        })
    };
    let out = wait(held, &["--retry-lock", "5m", "backup", "file"]);
    let stderr = String::from_utf8_lossy(&out.stderr).into_owned();
    assert_eq!(out.status.code(), Some(0), "{stderr}");
    assert!(stderr.contains("waiting for another process") && stderr.contains("backup, since"), "{stderr}");
    let out = wait(store::lock(&io, &home, "gc").unwrap(), &["backup", "file"]);
    assert_eq!(out.status.code(), Some(0), "{}", String::from_utf8_lossy(&out.stderr));
    assert!(!store::is_asked_for(&io, &home), "it asks no longer");
}

#[test]
fn a_gc_that_finds_nothing_keeps_what_it_counted() {
    if !cfg!(feature = "rocksdb") {
        return; // the counts are kept in the index
    }
    let p = Program::new();
    p.init();
    fs::write(p.path("file"), noise(6, 3_000_000)).unwrap();
    p.expect(0, &["backup", "file"]);
    let is_full = || {
        let out = p.expect(0, &["gc", "--yes", "--json"]);
        let plan: serde_json::Value = serde_json::from_str(out.lines().next().unwrap()).unwrap();
        assert_eq!(plan["bytes_to_free"], 0, "{plan}");
        plan["full"].as_bool().unwrap()
    };
    assert!(is_full() && !is_full(), "the second follows what changed");
    fs::write(p.path("file"), noise(7, 3_000_000)).unwrap();
    p.expect(0, &["backup", "file"]);
    assert!(!is_full());
}
