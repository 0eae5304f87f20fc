//! What can go wrong, by who must act.
//!
//! One variant per thing that can fail, with the fields that are needed to find the place. A message
//! leaves its cause to [`std::error::Error::source`], so that a reporter which walks the chain prints
//! each cause once. What to do about it ([`Error::hint`]) stands here too, beside the variant that it
//! explains; how it is printed and which exit status it gets is the command line's affair.

use std::path::PathBuf;

/// The result of everything in this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    // ---- the operating system -------------------------------------------------------------------
    /// The operating system refused an operation on a file or folder.
    #[error("cannot {action} {}", path.display())]
    Io { action: &'static str, path: PathBuf, source: std::io::Error },

    /// Too little room on every disk that may take new data.
    #[error("no disk has room for another {needed} bytes: {disks}")]
    NoSpace { needed: u64, disks: String },

    /// A group's parity needs more disks than there are, beside those of its data.
    #[error("too few disks for parity {parity}: beside the packs of a group only {disks} take it")]
    TooFewDisks { parity: usize, disks: usize },

    // ---- the user -------------------------------------------------------------------------------
    /// The folder is no store.
    #[error("there is no store at {}", path.display())]
    NoStore { path: PathBuf },

    /// `init` was given a folder that holds something already.
    #[error("{} cannot become a {what}: {why}", path.display())]
    NotEmpty { path: PathBuf, what: &'static str, why: String },

    /// A restore's target holds files already.
    #[error("the target {} is not empty", path.display())]
    TargetNotEmpty { path: PathBuf },

    /// A snapshot was named that is not there.
    #[error("there is no snapshot {name:?}")]
    NoSnapshot { name: String },

    /// A snapshot was named that is not among the forgotten ones that can be brought back.
    #[error("there is no forgotten snapshot {name:?} that can be brought back")]
    NoForgotten { name: String },

    /// The clock ran ahead of the log by so much that nothing is given up on its word.
    #[error("the clock stands {days} days after the log's last entry")]
    ClockJumped { days: u64 },

    /// What a snapshot needs cannot be read, so what may be given up is not known.
    #[error("nothing is dropped, since a part of snapshot {snapshot} cannot be read")]
    UnreadableTree { snapshot: String, source: Box<Error> },

    /// A snapshot's name or id prefix fits more than one.
    #[error("{name:?} fits {} snapshots: {}", matches.len(), matches.join(", "))]
    AmbiguousSnapshot { name: String, matches: Vec<String> },

    /// A path was named that the snapshot does not hold.
    #[error("snapshot {snapshot} holds no {path}")]
    NoPath { snapshot: String, path: String },

    /// What was named is not of the kind that the verb needs.
    #[error("{path} in snapshot {snapshot} is {is}, not {wanted}")]
    WrongKind { snapshot: String, path: String, is: &'static str, wanted: &'static str },

    /// A folder that is no complete and valid bag (BagIt). What is wrong with it was told by file.
    #[error("{} is no valid bag: {why}", path.display())]
    BadBag { path: PathBuf, why: String },

    /// An argument that parses but cannot be meant.
    #[error("{what}: {why}")]
    Argument { what: String, why: String },

    /// None of the sources could be found.
    #[error("nothing to back up: {}", paths.join(", "))]
    NoSource { paths: Vec<String> },

    /// Another process writes to this store.
    #[error("another process is writing to {}: {holder}", path.display())]
    Locked { path: PathBuf, holder: String },

    /// The user asked to stop.
    #[error("stopped on request")]
    Interrupted,

    // ---- the shelf ------------------------------------------------------------------------------
    /// A disk that belongs to the store is not where it was.
    #[error("disk {label} ({id}) is missing; it was last seen at {}", last_path.display())]
    DiskMissing { label: String, id: String, last_path: PathBuf },

    /// No disk of the store can be reached at all.
    #[error("none of the store's {known} disks can be reached")]
    NoDisks { known: usize },

    /// A folder carries a marker of another store, or a second one with the same disk id.
    #[error("{} is disk {id} of store {store}: {why}", path.display())]
    DiskForeign { path: PathBuf, id: String, store: String, why: &'static str },

    /// A disk is written to no more, after a write or sync on it failed.
    #[error("disk {label} failed and takes no more data")]
    DiskSuspect { label: String },

    // ---- whoever owns the software --------------------------------------------------------------
    /// Written by a later version in a way that this one cannot handle.
    #[error("{what} in {} needs onefold with format {needs}; this one knows {ours}", path.display())]
    FromTheFuture { what: &'static str, path: PathBuf, needs: String, ours: String },

    /// A worker thread ended with a panic: a mistake of ours.
    #[error("a worker of {verb} ended unexpectedly")]
    WorkerLost { verb: &'static str },

    // ---- damage ---------------------------------------------------------------------------------
    /// A file of the store is damaged. `offset` is in bytes from its start.
    #[error("{what} is damaged: {} at byte {offset}: {why}", path.display())]
    Damaged { what: &'static str, path: PathBuf, offset: u64, why: String },

    /// Bytes without a file (a node, a recipe) that do not decode.
    #[error("{what} does not decode at byte {offset}: {why}")]
    Malformed { what: &'static str, offset: u64, why: &'static str },

    /// A number beyond the format's table of limits.
    #[error("{what} is {got}, the format allows {max}")]
    Limit { what: &'static str, got: u64, max: u64 },

    /// A chunk that nothing holds.
    #[error("chunk {chunk} is in no pack that can be read")]
    ChunkMissing { chunk: String },

    /// A chunk that is there but cannot be proven.
    #[error("chunk {chunk} in pack {pack} at byte {offset} is damaged: {why}")]
    ChunkDamaged { chunk: String, pack: String, offset: u64, why: String },

    /// Two log entries with one number: two writers went separate ways.
    #[error("the log forks at entry {number}: {} and {} differ", one.display(), other.display())]
    LogFork { number: u64, one: PathBuf, other: PathBuf },

    /// The log breaks off or is unreadable in every copy.
    #[error("log entry {number} is damaged in every copy ({})", places.iter().map(|p| p.display().to_string()).collect::<Vec<_>>().join(", "))]
    LogDamaged { number: u64, places: Vec<PathBuf> },

    /// The index refused an operation. It is a cache: it can be made anew.
    #[error("the index at {} failed to {action}: {why}", path.display())]
    Index { action: &'static str, path: PathBuf, why: String },
}

impl Error {
    /// Wraps an operating system's error with what was tried and where.
    pub fn io(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Error {
        let path = path.into();
        move |source| Error::Io { action, path, source }
    }

    /// The error and its causes in one line.
    pub fn line(&self) -> String {
        let mut line = self.to_string();
        let mut cause = std::error::Error::source(self);
        while let Some(e) = cause {
            line.push_str(&format!(": {e}"));
            cause = e.source();
        }
        line
    }

    /// What the person in front of it can do, where there is something.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Error::NoStore { .. } => "make one with `onefold init`, or name another with --store or ONEFOLD_STORE; if only STORE was lost, `onefold --store PATH recover --disk DISK...` makes it anew from the disks".into(),
            Error::NotEmpty { .. } => "give an empty folder, or one that does not exist yet".into(),
            Error::TargetNotEmpty { .. } => "give an empty or new folder, or add --overwrite to replace what is there".into(),
            Error::BadBag { .. } => "no snapshot was made; get what is missing or damaged anew from where the bag came from".into(),
            Error::NoSnapshot { .. } => "`onefold snapshots` lists them; an id prefix, a name or `latest` will do".into(),
            Error::NoForgotten { .. } => "`onefold snapshots --forgotten` lists them; what gc has given up is gone".into(),
            Error::ClockJumped { .. } => "see that the clock is right; then add --trust-clock, or write anything to the store (a backup, a tag)".into(),
            Error::UnreadableTree { .. } => "`onefold check` names what is lost; attach missing disks, back the sources up again, or forget that snapshot".into(),
            Error::AmbiguousSnapshot { .. } => "give more digits of the id".into(),
            Error::Locked { .. } => "wait for it to end, or stop it; the lock dies with its process".into(),
            Error::DiskMissing { .. } => "attach the disk and mount it; if it is mounted elsewhere, name it with `onefold disk add PATH`".into(),
            Error::NoDisks { .. } => "mount the disks; `onefold disk list` names where each was last seen".into(),
            Error::NoSpace { .. } => "free some room, or give the store another disk".into(),
            Error::TooFewDisks { parity, .. } => {
                format!("add a disk, or `onefold disk parity {}` and then this again", parity.saturating_sub(1))
            }
            Error::FromTheFuture { .. } => "update onefold; nothing was changed".into(),
            Error::LogFork { .. } => "nothing is written while the log forks; keep the disks as they are and decide which history to follow".into(),
            Error::LogDamaged { .. } => "attach every disk of the store: any one good copy is enough; if all are attached and only STORE is damaged, no disk has that entry and nothing in it was acknowledged: put STORE away and make it anew with `onefold --store PATH recover --disk DISK...`".into(),
            Error::Index { .. } => "`onefold recover` rebuilds the index from the disks; no data depends on it".into(),
            Error::WorkerLost { .. } => "this is a mistake in onefold; everything acknowledged before is safe".into(),
            Error::Io { source, .. } if source.kind() == std::io::ErrorKind::PermissionDenied => "run it as a user who may, or mend the permissions".into(),
            Error::Io { source, .. } if source.kind() == std::io::ErrorKind::StorageFull => "free some room there".into(),
            Error::Io { source, .. } if source.kind() == std::io::ErrorKind::ReadOnlyFilesystem => "the filesystem is read-only: remount it, or look into the kernel's log why it became so".into(),
            _ => return None,
        })
    }

    /// Whether the store's own bytes are at fault, rather than the world around it.
    pub fn is_damage(&self) -> bool {
        matches!(
            self,
            Error::Damaged { .. }
                | Error::Malformed { .. }
                | Error::Limit { .. }
                | Error::ChunkMissing { .. }
                | Error::ChunkDamaged { .. }
                | Error::LogDamaged { .. }
                | Error::LogFork { .. }
        )
    }
}
