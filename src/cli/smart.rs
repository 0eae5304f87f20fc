//! Asking drives how they are, through `smartctl`, for the commands that show disks.

use super::context::Context;
use super::render;
use crate::format::DiskId;
use crate::ops::smart::{self, Smart};
use crate::store::Store;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// How drives are asked for their health.
#[derive(clap::Args, Debug)]
pub(super) struct SmartArgs {
    /// Program that tells the health of drives; empty to ask none
    #[arg(long, value_name = "PROGRAM", env = "ONEFOLD_SMARTCTL", default_value = "smartctl")]
    smartctl: OsString,
}

/// A disk's drive, and what it says.
#[derive(Clone, Debug)]
pub(super) struct Drive {
    pub node: PathBuf,
    /// `None` where it did not say anything that can be read.
    pub smart: Option<Smart>,
}

impl Drive {
    pub fn worries(&self) -> Vec<String> {
        self.smart.as_ref().map(Smart::worries).unwrap_or_default()
    }

    pub fn is_urgent(&self) -> bool {
        self.smart.as_ref().is_some_and(Smart::is_urgent)
    }

    pub fn document(&self) -> Value {
        let smart = self.smart.as_ref().map(|s| {
            json!({
                "passed": s.passed,
                "model": s.model,
                "serial": s.serial,
                "reallocated": s.reallocated,
                "reported_uncorrectable": s.reported,
                "pending": s.pending,
                "offline_uncorrectable": s.uncorrectable,
                "critical_warning": s.warning,
                "media_errors": s.media_errors,
                "percentage_used": s.used_percent,
                "power_on_hours": s.hours,
                "temperature": s.celsius,
                "worries": s.worries(),
            })
        });
        json!({ "node": self.node.to_string_lossy(), "smart": smart })
    }
}

impl SmartArgs {
    /// Asks the drives of all disks that are here.
    pub fn look(&self, store: &Store) -> BTreeMap<DiskId, Drive> {
        let mut of: Vec<(DiskId, PathBuf)> = Vec::new();
        if !self.smartctl.is_empty() {
            let known = store.pool().disks().filter_map(|d| Some((d.id, smart::device(&d.path)?.node)));
            of.extend(known);
        }
        let mut nodes: Vec<PathBuf> = of.iter().map(|(_, node)| node.clone()).collect();
        nodes.sort();
        nodes.dedup();
        let answers = smart::answers(Path::new(&self.smartctl), &nodes);
        let said: BTreeMap<&PathBuf, Option<Smart>> =
            nodes.iter().zip(answers.iter().map(|a| a.as_deref().and_then(read))).collect();
        of.into_iter()
            .map(|(id, node)| {
                let smart = said.get(&node).cloned().flatten();
                (id, Drive { node, smart })
            })
            .collect()
    }
}

/// A line for each disk whose drive gives a reason to worry, in the order of their labels.
pub(super) fn worries(store: &Store, drives: &BTreeMap<DiskId, Drive>) -> Vec<String> {
    let mut out: Vec<String> = Vec::new();
    for disk in store.pool().disks() {
        let Some(drive) = drives.get(&disk.id) else { continue };
        let why = drive.worries();
        if why.is_empty() {
            continue;
        }
        let serial = drive.smart.as_ref().map(|s| s.serial.as_str()).filter(|s| !s.is_empty());
        let serial = serial.map(|s| format!(", serial {s}")).unwrap_or_default();
        let label = render::printable(&disk.label);
        let (what, do_so) = match drive.is_urgent() {
            true => {
                ("may fail soon", format!(" Scrub it, and have a new one ready: `onefold disk replace '{label}' NEW`."))
            }
            false => ("has had errors", " Watch whether it has more.".to_owned()),
        };
        let why = why.join(", ");
        out.push(format!("The drive of disk {label} ({}{serial}) {what}: {why}.{do_so}", drive.node.display()));
    }
    out.sort();
    out
}

/// Tells them as warnings.
pub(super) fn warn(context: &Context, store: &Store, drives: &BTreeMap<DiskId, Drive>) {
    worries(store, drives).into_iter().for_each(|line| context.warn(line));
}

/// What `smartctl -j` wrote; `None` where that is no health of a drive: no JSON, or only why there is none.
fn read(answer: &[u8]) -> Option<Smart> {
    let doc: Value = serde_json::from_slice(answer).ok()?;
    let text = |key: &str| smart::printable(doc.get(key).and_then(Value::as_str).unwrap_or_default());
    let number = |path: &str| doc.pointer(path).and_then(Value::as_u64);
    let mut smart = Smart {
        model: text("model_name"),
        serial: text("serial_number"),
        passed: doc.pointer("/smart_status/passed").and_then(Value::as_bool),
        hours: number("/power_on_time/hours"),
        celsius: number("/temperature/current"),
        ..Smart::default()
    };
    let mut is_told = smart.passed.is_some() || !smart.serial.is_empty();
    for row in doc.pointer("/ata_smart_attributes/table").and_then(Value::as_array).into_iter().flatten() {
        let raw = row.pointer("/raw/value").and_then(Value::as_u64);
        let field = match row.get("id").and_then(Value::as_u64) {
            Some(5) => &mut smart.reallocated,
            Some(187) => &mut smart.reported,
            Some(197) => &mut smart.pending,
            Some(198) => &mut smart.uncorrectable,
            _ => continue,
        };
        if let Some(raw) = raw {
            *field = raw;
            is_told = true;
        }
    }
    const NVME: &str = "/nvme_smart_health_information_log";
    if doc.pointer(NVME).is_some_and(Value::is_object) {
        let of = |key: &str| number(&format!("{NVME}/{key}")).unwrap_or(0);
        (smart.warning, smart.media_errors) = (of("critical_warning"), of("media_errors"));
        smart.used_percent = of("percentage_used");
        is_told = true;
    }
    is_told.then_some(smart)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn what_smartctl_writes_is_read_and_anything_else_is_passed_over() {
        let disk = br#"{"serial_number":"ZR5 01","model_name":"ST8000","smart_status":{"passed":true},
            "ata_smart_attributes":{"table":[{"id":5,"raw":{"value":0}},{"id":197,"raw":{"value":16,"string":"16"}},
            {"id":198,"raw":{}},{"id":"x"},7]},"power_on_time":{"hours":31000},"temperature":{"current":41}}"#;
        let smart = read(disk).unwrap();
        assert_eq!((smart.pending, smart.passed, smart.hours), (16, Some(true), Some(31000)));
        assert_eq!((smart.serial.as_str(), smart.worries().len()), ("ZR5 01", 1));
        let nvme = br#"{"smart_status":{"passed":false},"nvme_smart_health_information_log":{"critical_warning":4,
            "media_errors":2,"percentage_used":103}}"#;
        assert_eq!(read(nvme).unwrap().worries().len(), 4);
        let denied =
            br#"{"smartctl":{"messages":[{"string":"Permission denied","severity":"error"}],"exit_status":2}}"#;
        for odd in
            [&denied[..], b"", b"not JSON", b"[]", b"{\"smart_status\":7}", b"\xff\xfe", b"{\"serial_number\":3}"]
        {
            assert_eq!(read(odd), None, "{}", String::from_utf8_lossy(odd));
        }
    }

    #[test]
    fn a_program_is_asked_for_each_drive_once_and_without_waking_it() {
        let dir = tempfile::tempdir().unwrap();
        let fake = dir.path().join("smartctl");
        let script = "#!/bin/sh\necho \"$@\" >> \"$0.asked\"\ncase \"$*\" in *sdb) echo nonsense;; \
                      *) echo '{\"smart_status\":{\"passed\":false}}'; exit 8;; esac\n";
        fs::write(&fake, script).unwrap();
        fs::set_permissions(&fake, fs::Permissions::from_mode(0o755)).unwrap();
        let answers = smart::answers(&fake, &["/dev/sda".into(), "/dev/sdb".into()]);
        let read: Vec<Option<Smart>> = answers.iter().map(|a| a.as_deref().and_then(read)).collect();
        assert_eq!(read[0].as_ref().and_then(|s| s.passed), Some(false));
        assert_eq!(read[1], None);
        let asked = fs::read_to_string(dir.path().join("smartctl.asked")).unwrap();
        assert!(asked.lines().count() == 2 && asked.lines().all(|l| l.starts_with("-j -i -A -H -n standby /dev/")));
        assert_eq!(smart::answers(Path::new("/nowhere/smartctl"), &["/dev/sda".into()]), [None]);
    }
}
