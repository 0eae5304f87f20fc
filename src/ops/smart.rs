//! What drives say of their own health (SMART), and what of it is a reason to worry.
//!
//! Asking needs a program (`smartctl`) and rights, so that nothing here depends on an answer: a drive that says nothing is as good
//! as one that was not asked. Who runs the program reads its answer; here is what that means.

use crate::io::device::{self, Device};
use crate::io::threads;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A drive that does not answer for so long is not waited for.
const PATIENCE: Duration = Duration::from_secs(5);
/// The longest answer that is read.
const ANSWER_BYTES: u64 = 1 << 20;

/// What a drive says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Smart {
    pub model: String,
    pub serial: String,
    /// The drive's own judgement.
    pub passed: Option<bool>,
    /// Sectors that were replaced (attribute 5).
    pub reallocated: u64,
    /// Errors that could not be corrected, as told to the host (187).
    pub reported: u64,
    /// Sectors that could not be read and wait for a write (197).
    pub pending: u64,
    /// Sectors that could not be read when the drive looked by itself (198).
    pub uncorrectable: u64,
    /// NVMe: bits of the critical warning.
    pub warning: u64,
    /// NVMe: media and data integrity errors.
    pub media_errors: u64,
    /// NVMe: how much of its rated life is used, in per cent; may be more than 100.
    pub used_percent: u64,
    pub hours: Option<u64>,
    pub celsius: Option<u64>,
}

impl Smart {
    /// Whether something cannot be read now, or the drive gives itself up: what wants somebody to act. What it had to replace
    /// once, or did not correct in its life, stays counted for ever, and is told without that.
    pub fn is_urgent(&self) -> bool {
        self.passed == Some(false) || self.pending > 0 || self.uncorrectable > 0 || self.warning > 0
    }

    /// Why this drive should be looked at and read more often; empty if there is no reason.
    ///
    /// # Source
    /// Four of the five attributes whose raw values, once above 0, went before failures in Backblaze's fleet ("What SMART Stats Tell
    /// Us About Hard Drives", 2016). The fifth, 188 (timeouts of commands), tells of cables as often as of drives.
    pub fn worries(&self) -> Vec<String> {
        let mut out = Vec::new();
        if self.passed == Some(false) {
            out.push("it says itself that it is failing".to_owned());
        }
        let counted = [
            (self.pending, "sectors cannot be read"),
            (self.uncorrectable, "sectors could not be read when the drive tested itself"),
            (self.reported, "errors were not corrected"),
            (self.reallocated, "sectors were replaced"),
            (self.media_errors, "errors of the medium"),
        ];
        out.extend(counted.iter().filter(|(n, _)| *n > 0).map(|(n, what)| format!("{n} {what}")));
        if self.warning > 0 {
            out.push(format!("critical warning 0x{:02x}", self.warning));
        }
        if self.used_percent >= 100 {
            out.push(format!("{} % of its rated life is used", self.used_percent));
        }
        out
    }
}

/// The drive that holds a folder, as far as the system tells.
pub fn device(folder: &Path) -> Option<Device> {
    device::below(folder)
}

/// What `program` answers for each drive, all asked at once: JSON as `smartctl` writes it. A drive that sleeps is not woken.
pub fn answers(program: &Path, nodes: &[PathBuf]) -> Vec<Option<Vec<u8>>> {
    let ask = |node: &PathBuf| {
        let flags = ["-j", "-i", "-A", "-H", "-n", "standby"].map(OsStr::new);
        let arguments: Vec<&OsStr> = flags.into_iter().chain([node.as_os_str()]).collect();
        device::ask(program, &arguments, PATIENCE, ANSWER_BYTES).ok()
    };
    threads::scope(|scope| {
        let asked: Vec<_> = nodes.iter().map(|node| scope.spawn_named("onefold-smart", move || ask(node))).collect();
        asked.into_iter().map(|handle| handle.ok()?.join().ok()?).collect()
    })
}

/// A printable form of what a drive says of itself.
pub fn printable(text: &str) -> String {
    device::printable(text.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_drive_without_a_count_that_went_before_failures_is_no_worry() {
        let well =
            Smart { passed: Some(true), hours: Some(50_000), celsius: Some(48), used_percent: 99, ..Smart::default() };
        assert_eq!((well.worries(), Smart::default().worries()), (vec![], vec![]));
        let ill = Smart { passed: Some(false), pending: 8, used_percent: 120, ..well };
        assert_eq!(ill.worries().len(), 3);
        let old = Smart { reallocated: 1, reported: 2, media_errors: 1, ..Smart::default() };
        assert!(ill.is_urgent() && !old.is_urgent() && old.worries().len() == 3, "what was, is told, and no more");
        assert!(ill.worries()[1].contains('8'));
    }
}
