//! Errors and notices, as they are told on stderr.
//!
//! An error is its message, then each cause once, then what to do about it; never a Debug output. With
//! `--json` it is restic's `exit_error` document. A panic is a mistake of ours and told as such.

use super::exit::Exit;
use super::json;
use super::out::Out;
use super::progress::Screen;
use super::render;
use crate::error::Error;
use crate::ops::Notice;
use serde_json::{Value, json};
use std::backtrace::{Backtrace, BacktraceStatus};
use std::io::Write;
use std::sync::{Mutex, PoisonError};

/// The first panic of this process, in words.
static PANIC: Mutex<Option<String>> = Mutex::new(None);

/// Keeps the text of a panic for the report, instead of printing it in the midst of a progress bar.
pub fn remember_panics() {
    std::panic::set_hook(Box::new(|info| {
        let what = info.payload_as_str().unwrap_or("no message");
        let place = info.location().map(|l| format!(" at {}:{}", l.file(), l.line())).unwrap_or_default();
        let mut text = format!("{what}{place}");
        let trace = Backtrace::capture();
        if trace.status() == BacktraceStatus::Captured {
            text.push_str(&format!("\n{trace}"));
        }
        PANIC.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(text);
    }));
}

fn panic_text() -> Option<String> {
    PANIC.lock().unwrap_or_else(PoisonError::into_inner).clone()
}

/// Tells of a panic that ended the command.
pub fn panicked(as_json: bool) {
    let cause = panic_text().unwrap_or_else(|| "nothing is known about it".into());
    let message = "onefold stopped over a mistake of its own";
    let hint = "everything acknowledged before is safe; please report this with the lines above";
    if as_json {
        let cause = cause.lines().next().unwrap_or_default(); // a backtrace is for people
        document(Exit::Failed, &format!("{message}: {cause}"), Some(hint));
    } else {
        print(&format!("error: {message}\n  caused by: {cause}\n  hint: {hint}"));
    }
}

/// Tells of an error, and returns the exit status that it ends with.
pub fn error(error: &Error, as_json: bool) -> Exit {
    let exit = Exit::of(error);
    if as_json {
        document(exit, &causes(error).join(": "), error.hint().as_deref());
    } else {
        print(&lines(error).join("\n"));
    }
    exit
}

/// An error as restic tells it to programs: one document on stderr.
pub fn document(exit: Exit, message: &str, hint: Option<&str>) {
    print(&exit_document(exit, message, hint).to_string());
}

fn exit_document(exit: Exit, message: &str, hint: Option<&str>) -> Value {
    let mut document = json!({"message_type": "exit_error", "code": exit.code(), "message": message});
    if let Some(hint) = hint {
        document["hint"] = hint.into();
    }
    document
}

/// Writes to stderr. Where that is closed, the exit status is all that is left.
fn print(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// The message and each cause, from the outside in.
fn causes(error: &Error) -> Vec<String> {
    let mut messages = vec![match error {
        Error::Locked { path, holder } => {
            format!("another process is writing to {}: {}", path.display(), with_local_time(holder))
        }
        other => other.to_string(),
    }];
    let mut next = std::error::Error::source(error);
    while let Some(cause) = next {
        messages.push(cause.to_string());
        next = cause.source();
    }
    if matches!(error, Error::WorkerLost { .. }) {
        messages.extend(panic_text());
    }
    messages
}

fn lines(error: &Error) -> Vec<String> {
    let mut lines = Vec::new();
    for (i, message) in causes(error).iter().enumerate() {
        let before = if i == 0 { "error: " } else { "  caused by: " };
        lines.push(format!("{before}{}", render::printable(message)));
    }
    lines.extend(error.hint().map(|hint| format!("  hint: {}", render::printable(&hint))));
    lines
}

/// A lock's note ends in `since` and nanoseconds since 1970; people read clocks.
fn with_local_time(holder: &str) -> String {
    match holder.trim_end().rsplit_once("since ") {
        Some((before, ns)) if ns.parse::<i64>().is_ok() => {
            let ns = ns.parse().unwrap_or_default(); // it just did
            format!("{before}since {}", render::time_of_ns(ns))
        }
        _ => holder.trim_end().to_owned(),
    }
}

/// Tells of something that was met while a verb runs. Losses are told under `--quiet` too. With `--json` a lost
/// file is part of the result, all else goes to stderr.
pub fn notice(out: &Out, screen: &Screen, as_json: bool, quiet: bool, notice: &Notice) {
    let minor = matches!(notice, Notice::Special { .. } | Notice::OwnStore { .. } | Notice::Note(_));
    if as_json {
        let document = notice_document(notice);
        if matches!(notice, Notice::FileLost(_)) {
            let _ = out.document(&document); // a full disk behind stdout is met again, and told, by the summary
        } else if !(quiet && minor) {
            screen.say(&document.to_string());
        }
    } else if !(quiet && minor) {
        screen.say(&notice_line(notice));
    }
}

fn notice_line(notice: &Notice) -> String {
    match notice {
        Notice::Unreadable { path, reason } => {
            format!("not readable: {}: {}", render::name(path), render::printable(reason))
        }
        Notice::Changed { path } => {
            format!("changed while it was read, twice; the second reading was kept: {}", render::name(path))
        }
        Notice::Special { path, kind } => format!("left out, it is {kind}: {}", render::name(path)),
        Notice::OwnStore { path } => format!("left out, it belongs to this store: {}", render::name(path)),
        Notice::FileLost(lost) => format!(
            "lost: {}: {} ({})",
            render::name(&lost.path),
            render::size(lost.bytes_lost),
            render::printable(&lost.reason)
        ),
        Notice::Metadata { path, reason } => {
            format!("restored without all of its metadata: {}: {}", render::name(path), render::printable(reason))
        }
        Notice::BagFault { path, reason } => {
            format!("in the bag: {}: {}", render::name(path), render::printable(reason))
        }
        Notice::Note(text) => format!("note: {}", render::printable(text)),
    }
}

fn notice_document(notice: &Notice) -> Value {
    let of_path = |kind: &str, path: &[u8], message: &str| {
        let mut d = json!({"message_type": "notice", "kind": kind, "message": message});
        json::put_path(&mut d, "path", path);
        d
    };
    match notice {
        Notice::Unreadable { path, reason } => {
            let mut d = json!({"message_type": "error", "error": {"message": reason}, "during": "archival"});
            json::put_path(&mut d, "item", path);
            d
        }
        Notice::Metadata { path, reason } => {
            let mut d = json!({"message_type": "error", "error": {"message": reason}, "during": "restore"});
            json::put_path(&mut d, "item", path);
            d
        }
        Notice::BagFault { path, reason } => {
            let mut d = json!({"message_type": "error", "error": {"message": reason}, "during": "verification"});
            json::put_path(&mut d, "item", path);
            d
        }
        Notice::Changed { path } => of_path("changed", path, "changed while it was read, twice"),
        Notice::Special { path, kind } => of_path("special", path, kind),
        Notice::OwnStore { path } => of_path("own_store", path, "belongs to this store"),
        Notice::FileLost(lost) => json::file_lost(lost),
        Notice::Note(text) => json!({"message_type": "notice", "kind": "note", "message": text}),
    }
}

#[cfg(test)]
mod tests {
    use super::super::out::tests::Shared;
    use super::*;
    use crate::ops::FileLost;
    use std::sync::Arc;

    #[test]
    fn an_error_is_its_message_each_cause_once_and_a_hint() {
        let source = std::io::Error::from(std::io::ErrorKind::PermissionDenied);
        let e = Error::Io { action: "open", path: "/x\u{1b}[31m".into(), source };
        assert_eq!(
            lines(&e),
            [
                "error: cannot open /x\\x1b[31m",
                "  caused by: permission denied",
                "  hint: run it as a user who may, or mend the permissions",
            ]
        );
        assert_eq!(lines(&Error::Interrupted), ["error: stopped on request"]);
    }

    #[test]
    fn an_error_for_programs_carries_code_and_message() {
        let d = exit_document(Exit::NoStore, "there is no store at /x", Some("make one"));
        assert_eq!(d["message_type"], "exit_error");
        assert_eq!((d["code"].as_u64(), d["hint"].as_str()), (Some(10), Some("make one")));
    }

    #[test]
    fn the_holder_of_a_lock_is_told_with_a_readable_time() {
        let text = with_local_time("pid 7 on box, backup, since 1700000000123456789\n");
        assert!(text.starts_with("pid 7 on box, backup, since 2023-11-1"), "{text}");
        assert_eq!(with_local_time("pid 7"), "pid 7");
        assert_eq!(with_local_time("since ever"), "since ever");
    }

    #[test]
    fn names_in_notices_are_escaped() {
        let line = notice_line(&Notice::Unreadable { path: b"/a\x1b\n\xff".to_vec(), reason: "b\x07".into() });
        assert_eq!(line, "not readable: /a\\x1b\\n\\xff: b\\x07");
    }

    #[test]
    fn a_lost_file_is_part_of_the_json_result() {
        let shared = Shared::default();
        let screen = Arc::new(Screen::new(false));
        let out = Out::new(Box::new(shared.clone()), false, screen.clone());
        let lost = FileLost { snapshot: "ab".into(), path: b"/x\xff%".to_vec(), bytes_lost: 5, reason: "gone".into() };
        notice(&out, &screen, true, true, &Notice::FileLost(lost));
        out.flush().unwrap();
        let d: Value = serde_json::from_str(&shared.text()).unwrap();
        assert_eq!(d["message_type"], "file_lost");
        assert_eq!((d["path"].as_str(), d["path_bytes"].as_str()), (Some("/x%ff%25"), Some("L3j/JQ==")));
        assert_eq!((d["snapshot_id"].as_str(), d["bytes_lost"].as_u64()), (Some("ab"), Some(5)));
    }
}
