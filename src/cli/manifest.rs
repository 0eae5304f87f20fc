//! `manifest`: fixity lists that other programs check.

use super::args;
use super::context::Context;
use super::exit::Exit;
use super::{json, render};
use crate::error::Result;
use crate::format::digest::Algorithm;
use crate::format::id::hex;
use crate::ops::Notice;
use crate::ops::manifest::{self, Digests};
use serde_json::json;
use std::ffi::OsString;

/// Print a digest of every file of a snapshot, for sha256sum, md5sum or b3sum to check
///
/// Reads every file as a restore would and prints its digest, with paths relative to PATH. With one algorithm lines are those
/// of `sha256sum`, `sha512sum`, `md5sum` and `b3sum`; with several, each line names its algorithm, as `cksum --tag` prints
/// them. A name with a backslash, a line feed or a carriage return is escaped as those programs do. A file whose bytes cannot
/// be had is named as lost and has no line.
///
/// Exit status: 0 every file is listed; 1 no such snapshot or path, or failed; 2 wrong usage; 4 files are lost, each is named;
/// 10 there is no store; 130 stopped by a signal.
#[derive(clap::Args, Debug)]
#[command(after_long_help = EXAMPLES)]
pub struct ManifestArgs {
    /// `latest`, a name, or the beginning of an id
    #[arg(value_name = "SNAPSHOT[:PATH]")]
    snapshot: OsString,

    /// List only what lies below this folder, or this file
    path: Option<OsString>,

    /// sha256, sha512, md5, blake3; several with commas between them
    #[arg(long, short, value_name = "NAMES", value_delimiter = ',', default_value = "sha256", value_parser = algorithm)]
    algorithm: Vec<Algorithm>,
}

const EXAMPLES: &str = "\
Examples:
  onefold manifest latest:/media/library > library.sha256
  cd /media/library && onefold manifest latest:/media/library | sha256sum -c --quiet
  onefold manifest latest --algorithm blake3,md5";

fn algorithm(name: &str) -> std::result::Result<Algorithm, String> {
    let known = Algorithm::ALL.map(Algorithm::name).join(", ");
    Algorithm::of_name(name).ok_or_else(|| format!("it is none of {known}"))
}

/// A name as `sha256sum` writes it, and whether the line must begin with a backslash to say that it is escaped.
fn escaped(path: &[u8]) -> (Vec<u8>, bool) {
    let mut out = Vec::with_capacity(path.len());
    for &b in path {
        match b {
            b'\\' => out.extend_from_slice(b"\\\\"),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b => out.push(b),
        }
    }
    let changed = out.len() > path.len();
    (out, changed)
}

/// The lines of one file.
fn lines(d: &Digests) -> Vec<u8> {
    let (name, changed) = escaped(&d.path);
    let mut out = Vec::new();
    for (algorithm, digest) in &d.digests {
        out.extend(changed.then_some(b'\\'));
        if d.digests.len() == 1 {
            out.extend_from_slice(hex(digest).as_bytes());
            out.extend_from_slice(b"  ");
            out.extend_from_slice(&name);
        } else {
            out.extend_from_slice(algorithm.tag().as_bytes());
            out.extend_from_slice(b" (");
            out.extend_from_slice(&name);
            out.extend_from_slice(b") = ");
            out.extend_from_slice(hex(digest).as_bytes());
        }
        out.push(b'\n');
    }
    out
}

impl ManifestArgs {
    pub(super) fn run(mut self, context: &Context) -> Result<Exit> {
        let store = context.open()?;
        let (info, path) = args::snapshot(&store, &self.snapshot, self.path.as_ref())?;
        let mut seen = std::collections::HashSet::new();
        self.algorithm.retain(|a| seen.insert(*a));
        let out = &context.out;
        let mut each = |d: Digests| {
            if context.json {
                let mut document = json!({"message_type": "digest", "size": d.bytes});
                json::put_path(&mut document, "path", &d.path);
                for (algorithm, digest) in &d.digests {
                    document[algorithm.name()] = hex(digest).into();
                }
                out.stream_document(&document)
            } else if out.is_terminal() {
                // A person reads it: nothing from a store reaches a terminal as it is.
                d.digests.iter().try_for_each(|(algorithm, digest)| {
                    out.stream_line(&format!("{}  {}  {}", algorithm.name(), hex(digest), render::name(&d.path)))
                })
            } else {
                out.stream(&lines(&d))
            }
        };
        let report = manifest::run(&store, &info, path.as_deref(), &self.algorithm, &mut each, &context.control)?;
        for (path, reason) in &report.unreadable {
            context.control.notice(Notice::Unreadable { path: path.clone(), reason: reason.clone() });
        }
        if context.json {
            out.document(&json!({
                "message_type": "summary",
                "snapshot_id": info.id.to_string(),
                "files": report.files,
                "bytes": report.bytes,
                "files_lost": report.files_lost,
                "bytes_lost": report.bytes_lost,
            }))?;
        }
        Ok(if report.files_lost > 0 || !report.unreadable.is_empty() { Exit::Damage } else { Exit::Done })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_those_of_sha256sum_and_of_cksum() {
        let one = Digests { path: b"a b".to_vec(), bytes: 1, digests: vec![(Algorithm::Sha256, vec![0xab])] };
        assert_eq!(lines(&one), b"ab  a b\n");
        let odd = Digests { path: b"a\\b\nc\xff".to_vec(), ..one.clone() };
        assert_eq!(lines(&odd), b"\\ab  a\\\\b\\nc\xff\n");
        let two = Digests { digests: vec![(Algorithm::Sha256, vec![1]), (Algorithm::Md5, vec![2])], ..one };
        assert_eq!(lines(&two), b"SHA256 (a b) = 01\nMD5 (a b) = 02\n");
    }

    #[test]
    fn an_unknown_algorithm_is_told_what_there_is() {
        assert_eq!(algorithm("md5"), Ok(Algorithm::Md5));
        assert!(algorithm("crc32").is_err_and(|e| e.contains("sha256, sha512, md5, blake3")));
    }
}
