//! Exit statuses: what they are and which error gets which, in one place.
//!
//! clap answers a usage error with 2 as well; 101, a panic's, is never ours.

use crate::error::Error;
use std::process::ExitCode;

/// How a command ended, for whoever called it. The numbers are promised and never change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Exit {
    /// Done, nothing to report.
    Done = 0,
    /// Failed; the error says why.
    Failed = 1,
    /// The command line cannot be meant.
    Usage = 2,
    /// Done, with losses reported: a file unreadable, damage found and healed, redundancy incomplete.
    Losses = 3,
    /// Damage that cannot be repaired.
    Damage = 4,
    /// There is no store.
    NoStore = 10,
    /// Another process writes to the store.
    Locked = 11,
    /// The key does not open the store.
    WrongKey = 12,
    /// Stopped by a signal.
    Signal = 130,
}

impl Exit {
    /// Chooses the status that an error ends with.
    pub fn of(error: &Error) -> Exit {
        match error {
            Error::NoStore { .. } => Exit::NoStore,
            Error::Locked { .. } => Exit::Locked,
            Error::Interrupted => Exit::Signal,
            Error::Argument { .. } => Exit::Usage,
            e if e.is_damage() => Exit::Damage,
            _ => Exit::Failed,
        }
    }

    /// Returns the number that the system is given.
    pub fn code(self) -> u8 {
        self as u8 // `repr(u8)`: the discriminant itself
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(exit.code())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::PathBuf;

    #[test]
    fn each_error_ends_with_the_promised_status() {
        let path = || PathBuf::from("/x");
        let refused = std::io::Error::from(std::io::ErrorKind::PermissionDenied);
        for (error, code) in [
            (Error::NoStore { path: path() }, 10),
            (Error::Locked { path: path(), holder: String::new() }, 11),
            (Error::Interrupted, 130),
            (Error::Argument { what: String::new(), why: String::new() }, 2),
            (Error::NoSnapshot { name: String::new() }, 1),
            (Error::NotEmpty { path: path(), what: "disk", why: String::new() }, 1),
            (Error::TargetNotEmpty { path: path() }, 1),
            (Error::Io { action: "read", path: path(), source: refused }, 1),
            (Error::WorkerLost { verb: "backup" }, 1),
            (Error::BadBag { path: path(), why: String::new() }, 1),
            (Error::ChunkMissing { chunk: String::new() }, 4),
            (Error::Damaged { what: "a pack", path: path(), offset: 0, why: String::new() }, 4),
            (Error::LogFork { number: 1, one: path(), other: path() }, 4),
        ] {
            assert_eq!(Exit::of(&error).code(), code, "{error}");
        }
        assert_eq!(Exit::WrongKey.code(), 12);
    }
}
