//! The drive below a folder: its node and serial number, and a program that is asked about it.
//!
//! The kernel tells which block device holds a filesystem, and the device's folder in `/sys` which drive a partition, or a mapping
//! over one drive, lies on. Where that is not told (a filesystem of several drives, one in memory, over the network, a
//! container without `/sys`) there is no answer, or less of one: nothing depends on it.

use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::{Component, Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

/// Steps from a partition to its drive at most: a mapping over a mapping over a partition.
const STEPS_MAX: usize = 6;
/// A serial number is no longer than this.
const SERIAL_BYTES_MAX: usize = 64;
/// What is read of a small file of the kernel's.
const SMALL_BYTES: u64 = 1 << 20;

/// A drive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    /// Its node, such as `/dev/sda`.
    pub node: PathBuf,
    /// As the drive says; empty where that is not known.
    pub serial: String,
}

/// The drive that holds a folder, as far as the kernel tells.
pub fn below(folder: &Path) -> Option<Device> {
    below_in(Path::new("/"), folder)
}

/// As [`below`], with the kernel's files below `root`.
fn below_in(root: &Path, folder: &Path) -> Option<Device> {
    let number = std::fs::metadata(folder).ok()?.dev();
    match drive(root, number) {
        Drive::One(device) => return Some(device),
        Drive::Several => return None, // none of them is the disk
        Drive::Unknown => {}
    }
    // A filesystem of its own numbers (btrfs), or no such folder in /sys: what was mounted is at least a node.
    let table = small(&root.join("proc/self/mountinfo"))?;
    let source = mounted(&table, &folder.canonicalize().ok()?)?;
    match std::fs::metadata(&source).map(|m| drive(root, m.rdev())) {
        Ok(Drive::One(device)) => Some(device),
        Ok(Drive::Several) => None,
        Ok(Drive::Unknown) | Err(_) => Some(Device { node: source, serial: String::new() }),
    }
}

/// What a device number stands for.
enum Drive {
    One(Device),
    Several,
    Unknown,
}

/// The drive of a device number.
fn drive(root: &Path, number: u64) -> Drive {
    let (major, minor) = (rustix::fs::major(number), rustix::fs::minor(number));
    let Ok(mut at) = root.join(format!("sys/dev/block/{major}:{minor}")).canonicalize() else { return Drive::Unknown };
    for _ in 0..STEPS_MAX {
        if at.join("partition").exists() {
            let Some(above) = at.parent() else { return Drive::Unknown };
            at = above.to_owned();
            continue;
        }
        let below: Vec<PathBuf> = match std::fs::read_dir(at.join("slaves")) {
            Ok(names) => names.take(2).filter_map(|n| n.ok().map(|n| n.path())).collect(),
            Err(_) => Vec::new(),
        };
        match below.as_slice() {
            [] => {
                let Some(name) = at.file_name() else { return Drive::Unknown };
                let node = Path::new("/dev").join(name.to_string_lossy().replace('!', "/"));
                return Drive::One(Device { node, serial: serial(&at) });
            }
            [one] => match one.canonicalize() {
                Ok(below) => at = below,
                Err(_) => return Drive::Unknown,
            },
            _ => return Drive::Several,
        }
    }
    Drive::Unknown
}

fn serial(device: &Path) -> String {
    let files = ["device/serial", "serial", "device/wwid", "wwid"];
    files
        .iter()
        .filter_map(|f| small(&device.join(f)))
        .map(|bytes| printable(&bytes))
        .find(|s| !s.is_empty())
        .unwrap_or_default()
}

/// What a drive says of itself, made fit for a line: printable ASCII, single spaces, no longer than a serial number is.
pub fn printable(bytes: &[u8]) -> String {
    let plain: String = bytes.iter().map(|b| if b.is_ascii_graphic() { char::from(*b) } else { ' ' }).collect();
    let mut words = plain.split_whitespace().collect::<Vec<_>>().join(" ");
    words.truncate(SERIAL_BYTES_MAX); // all ASCII
    words
}

fn small(path: &Path) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    std::fs::File::open(path).ok()?.take(SMALL_BYTES).read_to_end(&mut bytes).ok()?;
    Some(bytes)
}

/// The node that `/proc/self/mountinfo` names for the longest mount point above a folder.
fn mounted(table: &[u8], folder: &Path) -> Option<PathBuf> {
    let mut best: Option<(usize, PathBuf)> = None;
    for line in table.split(|b| *b == b'\n') {
        let fields: Vec<&[u8]> = line.split(|b| *b == b' ').collect();
        let dash = fields.iter().position(|f| *f == b"-");
        let (Some(point), Some(source)) = (fields.get(4), dash.and_then(|i| fields.get(i + 2))) else { continue };
        let point = PathBuf::from(std::ffi::OsStr::from_bytes(&unescaped(point)));
        let source = PathBuf::from(std::ffi::OsStr::from_bytes(&unescaped(source)));
        let depth = point.components().count();
        // A later mount hides an earlier one at the same place.
        if folder.starts_with(&point) && best.as_ref().is_none_or(|(d, _)| depth >= *d) {
            best = Some((depth, source));
        }
    }
    let is_node = |p: &Path| p.starts_with("/dev/") && p.components().all(|c| c != Component::ParentDir);
    best.map(|(_, source)| source).filter(|p| is_node(p))
}

/// Undoes the kernel's octal escapes.
fn unescaped(field: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((first, tail)) = rest.split_first() {
        let digits = tail.get(..3).filter(|d| *first == b'\\' && d.iter().all(|b| (b'0'..=b'7').contains(b)));
        match digits {
            Some(digits) => {
                let value = digits.iter().fold(0u32, |v, b| v * 8 + u32::from(b - b'0')); // at most 0o777
                out.push(value as u8); // the kernel writes bytes
                rest = tail.get(3..).unwrap_or_default();
            }
            None => {
                out.push(*first);
                rest = tail;
            }
        }
    }
    out
}

/// Runs a program for at most so long and gives the first `most` bytes of what it says, whatever its exit status is. It is
/// killed with all that it began when its time is over, and not waited for: who hangs in the kernel over a drive that does
/// not answer cannot be killed, and goes when that answers.
///
/// # Errors
/// The system's where it cannot be run; [`io::ErrorKind::TimedOut`].
pub fn ask(program: &Path, arguments: &[&std::ffi::OsStr], patience: Duration, most: u64) -> io::Result<Vec<u8>> {
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .process_group(0)
        .spawn()?;
    let group = i32::try_from(child.id()).ok().and_then(rustix::process::Pid::from_raw);
    let out = child.stdout.take();
    let (tell, told) = std::sync::mpsc::channel();
    // Neither thread is waited for: one reads what whoever inherited the pipe may hold open, the other one takes the end of
    // a program that may not end for long.
    let read = std::thread::Builder::new().name("onefold-ask".into()).spawn(move || {
        let mut bytes = Vec::new();
        let read = out.map_or(Ok(0), |out| out.take(most).read_to_end(&mut bytes));
        let _ = tell.send(read.map(|_| bytes)); // nobody waits any more
    });
    let said = match read {
        Ok(_) => told.recv_timeout(patience).unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())),
        Err(e) => Err(e),
    };
    if said.is_err() || !matches!(child.try_wait(), Ok(Some(_))) {
        // It has said all that is wanted, or its time is over.
        if let Some(group) = group {
            let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL); // gone already, or beyond us
        }
        let _ = std::thread::Builder::new().name("onefold-reap".into()).spawn(move || child.wait());
    }
    said
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;
    use std::time::Instant;

    /// A `/sys` of a partition on a drive, and of a mapping over it.
    fn sys() -> (tempfile::TempDir, u64) {
        let dir = tempfile::tempdir().unwrap();
        let number = fs::metadata(dir.path()).unwrap().dev();
        let drive = dir.path().join("sys/devices/pci/sdq");
        fs::create_dir_all(drive.join("sdq1/slaves")).unwrap();
        fs::create_dir_all(drive.join("device")).unwrap();
        fs::create_dir_all(drive.join("slaves")).unwrap();
        fs::write(drive.join("sdq1/partition"), "1\n").unwrap();
        fs::write(drive.join("device/serial"), "  WD-WX 11\u{0}A\n").unwrap();
        fs::create_dir_all(dir.path().join("sys/dev/block")).unwrap();
        (dir, number)
    }

    fn block(root: &Path, number: u64) -> PathBuf {
        root.join(format!("sys/dev/block/{}:{}", rustix::fs::major(number), rustix::fs::minor(number)))
    }

    #[test]
    fn the_drive_of_a_partition_and_of_a_mapping_over_it_is_found() {
        let (dir, number) = sys();
        let root = dir.path();
        let known = Some(Device { node: "/dev/sdq".into(), serial: "WD-WX 11 A".into() });
        symlink("../../devices/pci/sdq/sdq1", block(root, number)).unwrap();
        assert_eq!(below_in(root, root), known);
        fs::remove_file(block(root, number)).unwrap();
        let mapping = root.join("sys/devices/virtual/dm-0");
        fs::create_dir_all(mapping.join("slaves")).unwrap();
        symlink("../../../pci/sdq/sdq1", mapping.join("slaves/sdq1")).unwrap();
        symlink("../../devices/virtual/dm-0", block(root, number)).unwrap();
        assert_eq!(below_in(root, root), known);
        symlink("../../../pci/sdq", mapping.join("slaves/sdr")).unwrap();
        fs::create_dir_all(root.join("proc/self")).unwrap();
        fs::write(root.join("proc/self/mountinfo"), "1 0 8:1 / / rw - ext4 /dev/mapper/both rw\n").unwrap();
        assert_eq!(below_in(root, root), None, "several drives are no drive, whatever is mounted");
        assert_eq!(below_in(root, &root.join("nothing")), None);
    }

    #[test]
    fn what_is_mounted_is_told_by_the_longest_mount_point() {
        let table = b"1 0 8:1 / / rw shared:1 - ext4 /dev/root rw\n2 1 0:31 / /mnt/a\\040b rw - btrfs /dev/sdb1 rw\n\
                      3 1 0:5 / /tmp rw - tmpfs tmpfs rw\nhalf a line\n";
        let of = |folder: &str| mounted(table, Path::new(folder));
        assert_eq!(of("/mnt/a b/x"), Some("/dev/sdb1".into()));
        assert_eq!(of("/mnt/a"), Some("/dev/root".into()));
        assert_eq!(of("/tmp/x"), None, "in memory");
        assert_eq!(mounted(b"", Path::new("/")), None);
    }

    #[test]
    fn a_program_that_is_slow_silent_or_away_does_not_keep_anyone() {
        let shell = Path::new("/bin/sh");
        let run = |script: &str, patience| {
            ask(shell, &["-c".as_ref(), script.as_ref()], Duration::from_millis(patience), 10).map_err(|e| e.kind())
        };
        assert_eq!(run("echo hello; exit 4", 5000), Ok(b"hello\n".to_vec()));
        assert_eq!(run("echo 0123456789abc", 5000), Ok(b"0123456789".to_vec()));
        let begun = Instant::now();
        assert_eq!(run("sleep 20", 100), Err(io::ErrorKind::TimedOut));
        assert_eq!(run("sleep 20 & echo x; wait", 100), Err(io::ErrorKind::TimedOut));
        // What it began goes with it, and who ignores being asked to end too.
        let left = tempfile::tempdir().unwrap();
        let mark = left.path().join("ran on");
        let script = format!("trap '' TERM; (sleep 2; touch '{}') & sleep 20", mark.display());
        assert_eq!(run(&script, 100), Err(io::ErrorKind::TimedOut));
        assert!(begun.elapsed() < Duration::from_secs(10));
        std::thread::sleep(Duration::from_secs(3));
        assert!(!mark.exists(), "what it began ran on");
        assert!(ask(Path::new("/nowhere/smartctl"), &[], Duration::from_secs(1), 10).is_err());
    }
}
