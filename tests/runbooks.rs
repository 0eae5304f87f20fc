//! The runbooks of docs/OPERATIONS.md, executed: each command line of the chapter is taken out of the page and run by a shell against the
//! built program, in a folder that stands in for the root of the machine. What happened before is done by the test, and after
//! it everything that was backed up is restored and compared. So the page and the program cannot drift apart.

use crate::support::{assert_same, noise};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/OPERATIONS.md");
const CHAPTER: &str = "## Runbooks";

/// A line to type, and the exit status that the page gives it.
#[derive(Clone, Debug)]
struct Line {
    command: String,
    exit: i32,
}

/// The fenced blocks of commands below each heading of the chapter.
fn runbooks() -> BTreeMap<String, Vec<Vec<Line>>> {
    let page = fs::read_to_string(PAGE).unwrap();
    let (mut in_chapter, mut heading, mut in_block) = (false, None, false);
    let mut books: BTreeMap<String, Vec<Vec<Line>>> = BTreeMap::new();
    for line in page.lines() {
        if let Some(title) = line.strip_prefix("### ").filter(|_| in_chapter) {
            heading = Some(title.to_owned());
            books.insert(title.to_owned(), Vec::new());
        } else if line.starts_with("## ") && !in_block {
            in_chapter = line == CHAPTER;
            heading = None;
        } else if line.starts_with("```") && in_chapter {
            in_block = line == "```sh";
            if let (true, Some(h)) = (in_block, &heading) {
                books.get_mut(h).unwrap().push(Vec::new());
            }
        } else if let (true, Some(h)) = (in_block, &heading) {
            let (command, comment) = line.split_once(" #").unwrap_or((line, ""));
            let digits = comment.trim().strip_prefix("exit ").unwrap_or("0");
            let exit = digits.split(|c: char| !c.is_ascii_digit()).next().unwrap().parse().unwrap();
            books.get_mut(h).unwrap().last_mut().unwrap().push(Line { command: command.trim().to_owned(), exit });
        }
    }
    books
}

/// A folder that stands in for a machine.
struct Machine {
    dir: tempfile::TempDir,
    /// What each command is run under: a namespace that has more filesystems.
    under: Vec<String>,
    keeper: Option<Child>,
    /// Snapshots by name, with a copy of what they must give.
    kept: Vec<(String, PathBuf)>,
}

impl Drop for Machine {
    fn drop(&mut self) {
        if let Some(keeper) = &mut self.keeper {
            let _ = keeper.kill();
            let _ = keeper.wait();
        }
    }
}

const DISKS: [&str; 6] = ["a", "b", "c", "d", "e", "f"];

impl Machine {
    fn new() -> Machine {
        let dir = tempfile::tempdir().unwrap();
        for folder in ["mnt", "ssd", "library", "kept"] {
            fs::create_dir_all(dir.path().join(folder)).unwrap();
        }
        Machine { dir, under: Vec::new(), keeper: None, kept: Vec::new() }
    }

    /// With a store of these disks, and two snapshots in it, of which something lies on each of the disks that the runbook is about.
    fn with(disks: &[&str], parity: usize, about: &[&str]) -> Machine {
        Machine::holding(about, |m| {
            m.init(disks, parity);
            m.fill(1, 6, 900_000);
            m.back_up("first");
            m.fill(2, 3, 900_000);
            m.back_up("second");
        })
    }

    /// Makes one until something lies on each of these disks: all disks have the same room here, so chance chooses, and what befalls
    /// one that holds nothing would be no trial.
    fn holding(disks: &[&str], make: impl Fn(&mut Machine)) -> Machine {
        for _ in 0..30 {
            let mut m = Machine::new();
            make(&mut m);
            if disks.iter().all(|disk| m.holds_something(disk)) {
                return m;
            }
        }
        panic!("{disks:?} hold nothing");
    }

    fn at(&self, path: &str) -> PathBuf {
        self.dir.path().join(path.trim_start_matches('/'))
    }

    fn init(&self, disks: &[&str], parity: usize) {
        let disks: String = disks.iter().map(|d| format!(" --disk /mnt/{d}")).collect();
        self.type_in(&Line { command: format!("onefold init --parity {parity} --pack-size 4MiB{disks}"), exit: 0 });
    }

    fn output(&self, command: &str) -> Output {
        let root = self.dir.path().to_str().unwrap();
        let command = command.replace("/mnt/", &format!("{root}/mnt/")).replace("/library", &format!("{root}/library"));
        let command = command.replace("/target", &format!("{root}/target"));
        let program = Path::new(env!("CARGO_BIN_EXE_onefold")).parent().unwrap();
        let path = format!("{}:{}", program.display(), std::env::var("PATH").unwrap());
        let mut words = self.under.iter().map(String::as_str).chain(["sh", "-c", &command]);
        let mut run = Command::new(words.next().unwrap());
        run.args(words).env("PATH", path).env("ONEFOLD_STORE", self.at("ssd/onefold")).env("NO_COLOR", "1");
        run.current_dir(self.dir.path()).stdin(Stdio::null()).output().unwrap()
    }

    /// Runs a line, and expects what the page says of it.
    fn type_in(&self, line: &Line) -> String {
        let out = self.output(&line.command);
        let (stdout, stderr) = (String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
        assert_eq!(out.status.code(), Some(line.exit), "{}\n{stdout}\n{stderr}", line.command);
        assert!(!stderr.contains("panicked"), "{stderr}");
        format!("{stdout}{stderr}")
    }

    /// Follows a block of a runbook. Returns what each line said.
    fn follow(&self, heading: &str, block: usize) -> Vec<String> {
        let lines = runbooks()[heading][block].clone();
        assert!(!lines.is_empty());
        lines.iter().map(|line| self.type_in(line)).collect()
    }

    /// Puts files into the library that no other call with another seed makes.
    fn fill(&self, seed: u64, files: u64, bytes: usize) {
        for n in 0..files {
            let album = self.at(&format!("library/Album {}", n % 3));
            fs::create_dir_all(&album).unwrap();
            fs::write(album.join(format!("{n:02}")), noise(1000 * seed + n, bytes)).unwrap();
        }
    }

    fn back_up(&mut self, name: &str) {
        self.type_in(&Line { command: format!("onefold --quiet backup --name {name} /library"), exit: 0 });
        self.keep(name);
    }

    fn keep(&mut self, name: &str) {
        let copy = self.at(&format!("kept/{name}"));
        let copied = Command::new("cp").arg("-a").arg(self.at("library")).arg(&copy).status().unwrap();
        assert!(copied.success());
        self.kept.push((name.to_owned(), copy));
    }

    fn holds_something(&self, disk: &str) -> bool {
        let disk = self.at(&format!("mnt/{disk}"));
        !files(&disk, "pack").is_empty() || !files(&disk, "parity").is_empty()
    }

    /// Everything that was backed up comes back, and no byte of the store is amiss.
    fn all_is_well(&self) {
        self.type_in(&Line { command: "onefold --quiet check --read-data".into(), exit: 0 });
        self.everything_restores();
    }

    fn everything_restores(&self) {
        for (name, copy) in &self.kept {
            let target = self.at("target");
            let _ = fs::remove_dir_all(&target); // it may not be there yet
            let command = format!("onefold --quiet restore {name}:/library --target /target");
            self.type_in(&Line { command, exit: 0 });
            assert_same(copy, &target);
        }
    }

    fn dies(&self, disk: &str) {
        fs::remove_dir_all(self.at(&format!("mnt/{disk}"))).unwrap();
    }
}

/// Every file below a folder that has this ending.
fn files(folder: &Path, ending: &str) -> Vec<PathBuf> {
    let mut out = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => folders.push(path),
                false if path.extension().is_some_and(|e| e == ending) => out.push(path),
                false => {}
            }
        }
    }
    out.sort();
    out
}

/// The headings that have a test here.
const TESTED: [&str; 11] = [
    "A disk died",
    "A disk died and there is no new one",
    "A disk died and there was no parity",
    "Two disks died",
    "A disk is dying",
    "The SSD with STORE died",
    "Add a disk",
    "Retire a disk",
    "Everything is full",
    "Moved to a new machine",
    "A disk is somewhere else",
];

#[test]
fn every_runbook_of_the_page_has_a_test_that_runs_it() {
    let books = runbooks();
    let tested: BTreeSet<&str> = TESTED.into();
    assert_eq!(books.keys().map(String::as_str).collect::<BTreeSet<_>>(), tested);
    for (heading, blocks) in books {
        assert!(blocks.iter().flatten().any(|l| l.command.starts_with("onefold ")), "{heading} has no command");
    }
}

#[test]
fn a_disk_died() {
    let m = Machine::with(&DISKS, 2, &["c"]);
    m.dies("c");
    let said = m.follow("A disk died", 0);
    assert!(said[0].contains("missing") && said[1].contains("degraded"), "{said:?}");
    m.all_is_well();
    // What the new disk holds is what the old one held: two others may die now.
    m.dies("a");
    m.dies("e");
    m.everything_restores();
}

#[test]
fn a_disk_died_and_there_is_no_new_one() {
    let m = Machine::with(&DISKS, 2, &["c"]);
    m.dies("c");
    m.follow("A disk died and there is no new one", 0);
    m.all_is_well();
}

#[test]
fn a_disk_died_and_there_was_no_parity() {
    // One snapshot: the sources must have all of it.
    let m = Machine::holding(&["c"], |m| {
        m.init(&DISKS[..3], 0);
        m.fill(1, 12, 1_500_000);
        m.back_up("first");
    });
    m.dies("c");
    let said = m.follow("A disk died and there was no parity", 0);
    assert!(said[0].contains("/library/Album "), "the files are named: {}", said[0]);
    m.all_is_well();
}

#[test]
fn two_disks_died() {
    let m = Machine::with(&DISKS, 2, &["c", "d"]);
    m.dies("c");
    m.dies("d");
    let said = m.follow("Two disks died", 0);
    assert!(said[1].contains("at risk") || said[1].contains("degraded"), "{}", said[1]);
    m.all_is_well();
}

#[test]
fn a_disk_is_dying() {
    for block in 0..2 {
        let m = Machine::with(&DISKS, 2, &["b"]);
        // It gives some wrong bytes and some nothing at all.
        for (n, path) in files(&m.at("mnt/b"), "pack").into_iter().chain(files(&m.at("mnt/b"), "parity")).enumerate() {
            let mut bytes = fs::read(&path).unwrap();
            let at = bytes.len() / 2;
            match n % 3 {
                0 => bytes[at] ^= 1,
                1 => bytes.truncate(at),
                _ => {}
            }
            fs::write(&path, &bytes).unwrap();
        }
        m.follow("A disk is dying", block);
        m.all_is_well();
    }
}

#[cfg(feature = "rocksdb")]
#[test]
fn the_ssd_with_store_died() {
    let m = Machine::with(&DISKS, 2, &[]);
    fs::remove_dir_all(m.at("ssd")).unwrap();
    fs::create_dir(m.at("ssd")).unwrap();
    m.follow("The SSD with STORE died", 0);
    m.all_is_well();
}

#[test]
fn add_a_disk() {
    let m = Machine::with(&DISKS[..3], 1, &[]);
    let said = m.follow("Add a disk", 0);
    assert!(said.last().unwrap().contains("bay 9"), "{said:?}");
    m.all_is_well();
}

#[test]
fn retire_a_disk() {
    let m = Machine::with(&DISKS, 2, &["b"]);
    m.follow("Retire a disk", 0);
    assert_eq!(files(&m.at("mnt/b"), "pack").len() + files(&m.at("mnt/b"), "parity").len(), 0, "packs lie on it");
    m.dies("b");
    m.all_is_well();
}

#[cfg(feature = "rocksdb")]
#[test]
fn moved_to_a_new_machine() {
    let m = Machine::with(&DISKS, 2, &[]);
    for (n, disk) in DISKS.iter().rev().enumerate() {
        fs::rename(m.at(&format!("mnt/{disk}")), m.at(&format!("mnt/{}", n + 1))).unwrap();
    }
    fs::remove_dir_all(m.at("ssd")).unwrap();
    m.follow("Moved to a new machine", 0);
    m.all_is_well();
}

#[test]
fn a_disk_is_somewhere_else() {
    let m = Machine::with(&DISKS, 2, &["c"]);
    fs::rename(m.at("mnt/c"), m.at("mnt/elsewhere")).unwrap();
    m.follow("A disk is somewhere else", 0);
    m.all_is_well();
}

/// Gives a machine little filesystems for its disks, in a namespace of their own; `None`, with a word, where the kernel does not
/// let us.
fn with_little_disks(m: &mut Machine, bytes: u64) -> Option<()> {
    let mounts: String = DISKS
        .iter()
        .map(|d| {
            let path = m.at(&format!("mnt/{d}"));
            fs::create_dir_all(&path).unwrap();
            format!("mount -t tmpfs -o size={bytes} tmpfs {} && ", path.display())
        })
        .collect();
    let ready = m.at("ready");
    let script = format!("{mounts}echo > {} && exec sleep 600", ready.display());
    // Without root a user namespace gives the right to mount what only it sees.
    let is_root = rustix::process::geteuid().is_root();
    let how: &[&str] = if is_root { &["-m"] } else { &["-U", "-r", "-m"] };
    let mut keeper =
        Command::new("unshare").args(how).args(["sh", "-c", &script]).stderr(Stdio::null()).spawn().ok()?;
    while !ready.exists() {
        if keeper.try_wait().unwrap().is_some() {
            eprintln!("SKIPPED: no filesystem can be mounted in a namespace here");
            return None;
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    let id = keeper.id().to_string();
    let join: &[&str] = if is_root { &["-m"] } else { &["-U", "-m", "--preserve-credentials"] };
    m.under = ["nsenter", "-t", &id].iter().chain(join).map(|w| (*w).to_owned()).collect();
    m.keeper = Some(keeper);
    Some(())
}

#[test]
fn everything_is_full() {
    let mut m = Machine::new();
    if with_little_disks(&mut m, 20 << 20).is_none() {
        return;
    }
    m.init(&DISKS, 2);
    for n in 0.. {
        assert!(n < 30, "the shelf does not fill");
        m.fill(n, 6, 1_500_000);
        let out = m.output(&format!("onefold --quiet backup --name s{n} /library"));
        match out.status.code() {
            Some(0 | 3) => m.keep(&format!("s{n}")),
            code => {
                assert_eq!(code, Some(1), "{}", String::from_utf8_lossy(&out.stderr));
                break;
            }
        }
    }
    assert!(m.kept.len() > 1, "it was full at once");
    m.kept.drain(..m.kept.len() - 1); // the others are forgotten
    let said = m.follow("Everything is full", 0);
    assert!(said[0].contains("reserve"), "{}", said[0]);
    m.all_is_well();
}
