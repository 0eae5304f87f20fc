//! The command line: one file per command, text and JSON, progress, exit statuses.
//!
//! Owns everything that a person or a script meets: what is asked (clap), what is printed and where, and
//! the number that the process ends with ([`exit`]). It decides nothing about stores: [`crate::ops`] does.
//!
//! # Invariants
//!
//! 1. A result goes to stdout; progress, notices and errors go to stderr. With `--json` each line of
//!    stdout is one document.
//! 2. Nothing from a store, a source or an argument reaches a terminal unescaped (`cat`, `export` and
//!    `find --print0` excepted, whose output is for programs).
//! 3. A panic below ends as an error message and exit status 1.
//! 4. A reader that closes the pipe ends a command quietly.

pub mod args;
pub mod clock;
pub mod context;
pub mod demo;
pub mod exit;
pub mod json;
pub mod out;
pub mod progress;
pub mod render;
pub mod report;
pub mod run;
pub mod source;
pub mod table;

mod ask;
mod backup;
mod cat;
mod check;
mod compact;
mod completions;
mod copy;
mod diff;
mod disk;
mod estimate;
mod explain;
mod export;
mod find;
mod forget;
mod gc;
mod heal;
mod import;
mod init;
mod ls;
mod man;
mod manifest;
mod map;
mod rebalance;
mod recover;
mod restore;
mod risk;
mod salvage;
mod scrub;
mod similar;
mod smart;
mod snapshots;
mod stats;
mod status;
mod tag;

pub use exit::Exit;

use crate::error::Result;
use clap::error::ErrorKind;
use clap::{Parser, Subcommand};
use context::Context;
use std::ffi::OsString;
use std::sync::Arc;

/// Keep large media libraries so that every piece of content takes up space once
///
/// onefold backs up media libraries into a store on one or many ordinary disks. Re-tagged, renamed and trimmed
/// copies share their bytes with what is there already. A snapshot that was acknowledged survives a crash at any
/// instant, and whatever is read back is proven before it is returned.
///
/// Every command writes its result to stdout, progress and notices to stderr. SNAPSHOT is `latest`, a name, or the
/// beginning of an id.
///
/// Exit status: 0 done; 1 failed; 2 wrong usage; 3 done with losses reported (a file unreadable, damage found and
/// healed, redundancy incomplete); 4 damage that cannot be repaired; 10 there is no store; 11 another process writes
/// to the store; 12 wrong key; 130 stopped by a signal.
#[derive(Parser, Debug)]
#[command(name = "onefold", version, max_term_width = 100, after_long_help = EXAMPLES)]
pub struct Cli {
    #[command(flatten)]
    pub global: Global,
    #[command(subcommand)]
    pub command: Command,
}

const EXAMPLES: &str = "\
Examples:
  onefold demo                                        see it work, on a store that is removed again
  onefold --store /srv/store init --disk /mnt/a --disk /mnt/b
  export ONEFOLD_STORE=/srv/store
  onefold backup /media/library
  onefold snapshots
  onefold restore latest:/media/library --target /tmp/back";

/// Options of every command, taken before and after its name.
#[derive(clap::Args, Clone, Debug)]
#[command(next_help_heading = "Global options")]
pub struct Global {
    /// Folder of the store
    #[arg(long, global = true, value_name = "PATH", env = "ONEFOLD_STORE", hide_env_values = true)]
    pub store: Option<OsString>,

    /// Print one JSON document a line on stdout
    #[arg(long, global = true)]
    pub json: bool,

    /// Print no progress, and notices only of losses and of the store's state
    #[arg(long, short, global = true)]
    pub quiet: bool,

    /// Use at most about this much memory (256M, 1.5GiB)
    #[arg(long, global = true, value_name = "SIZE", default_value = "1GiB", value_parser = args::size)]
    pub memory: u64,

    /// Wait so long for another process that writes to the store (30m, 2h); gc and compact give way by themselves
    #[arg(long, global = true, value_name = "SPAN", default_value = "0s", value_parser = args::span, hide_default_value = true)]
    pub retry_lock: std::time::Duration,
}

/// The verbs. Each command's help stands on its own arguments, in its own file.
#[derive(Subcommand, Debug)]
pub enum Command {
    Init(init::InitArgs),
    Backup(Box<backup::BackupArgs>),
    Snapshots(snapshots::SnapshotsArgs),
    Ls(ls::LsArgs),
    Find(find::FindArgs),
    Cat(cat::CatArgs),
    Restore(restore::RestoreArgs),
    Copy(copy::CopyArgs),
    Export(export::ExportArgs),
    Import(import::ImportArgs),
    Manifest(manifest::ManifestArgs),
    Diff(diff::DiffArgs),
    Forget(Box<forget::ForgetArgs>),
    Undelete(tag::UndeleteArgs),
    Tag(tag::TagArgs),
    Rename(tag::RenameArgs),
    Pin(tag::PinArgs),
    Unpin(tag::UnpinArgs),
    #[command(visible_alias = "prune")]
    Gc(gc::GcArgs),
    Compact(compact::CompactArgs),
    Stats(stats::StatsArgs),
    Similar(similar::SimilarArgs),
    Explain(explain::ExplainArgs),
    Map(map::MapArgs),
    Estimate(estimate::EstimateArgs),
    Check(check::CheckArgs),
    Scrub(scrub::ScrubArgs),
    Recover(recover::RecoverArgs),
    Salvage(salvage::SalvageArgs),
    Risk(risk::RiskArgs),
    Rebalance(rebalance::RebalanceArgs),
    Disk(disk::DiskArgs),
    Status(status::StatusArgs),
    Demo(demo::DemoArgs),
    Completions(completions::CompletionsArgs),
    Man(man::ManArgs),
}

impl Command {
    /// The command's name, as it is typed.
    fn name(&self) -> &'static str {
        match self {
            Command::Init(_) => "init",
            Command::Backup(_) => "backup",
            Command::Snapshots(_) => "snapshots",
            Command::Ls(_) => "ls",
            Command::Find(_) => "find",
            Command::Cat(_) => "cat",
            Command::Restore(_) => "restore",
            Command::Copy(_) => "copy",
            Command::Export(_) => "export",
            Command::Import(_) => "import",
            Command::Manifest(_) => "manifest",
            Command::Diff(_) => "diff",
            Command::Forget(_) => "forget",
            Command::Undelete(_) => "undelete",
            Command::Tag(_) => "tag",
            Command::Rename(_) => "rename",
            Command::Pin(_) => "pin",
            Command::Unpin(_) => "unpin",
            Command::Gc(_) => "gc",
            Command::Compact(_) => "compact",
            Command::Stats(_) => "stats",
            Command::Similar(_) => "similar",
            Command::Explain(_) => "explain",
            Command::Map(_) => "map",
            Command::Estimate(_) => "estimate",
            Command::Check(_) => "check",
            Command::Scrub(_) => "scrub",
            Command::Recover(_) => "recover",
            Command::Salvage(_) => "salvage",
            Command::Risk(_) => "risk",
            Command::Rebalance(_) => "rebalance",
            Command::Disk(_) => "disk",
            Command::Status(_) => "status",
            Command::Demo(_) => "demo",
            Command::Completions(_) => "completions",
            Command::Man(_) => "man",
        }
    }

    /// What is safe when the command is stopped half-way.
    fn safe(&self) -> &'static str {
        match self {
            Command::Backup(args) if args.dry_run => "a dry run stores nothing",
            Command::Backup(_) | Command::Import(_) | Command::Copy(_) => {
                "every snapshot acknowledged before stays; what was sealed is kept and will not be stored twice"
            }
            Command::Init(_) => "nothing is kept in a store whose init did not end; start it again with empty folders",
            Command::Restore(_) => {
                "the store is unchanged; what was restored stays in the target, start again with --overwrite"
            }
            Command::Recover(_) => "the disks' data is untouched; start it again to rebuild the index",
            Command::Scrub(_) => "what was proven and repaired is noted; the next scrub goes on from here",
            Command::Disk(_) | Command::Rebalance(_) => {
                "what was moved is moved, the rest is where it was; start it again to do the rest"
            }
            Command::Salvage(_) => "the disks are unchanged; what was taken from them stays in the target",
            Command::Estimate(_) => "an estimate stores nothing; what it made for the sample is being removed",
            Command::Gc(_) => "every snapshot is whole; what was moved so far need not be moved again",
            Command::Compact(_) => {
                "every snapshot is whole; what was written anew so far is used, and the next gc frees the old"
            }
            Command::Demo(_) => "what the demo made is being removed; the library was only read",
            _ => "the store is unchanged",
        }
    }

    fn run(self, context: &Context) -> Result<Exit> {
        match self {
            Command::Init(args) => args.run(context),
            Command::Backup(args) => args.run(context),
            Command::Snapshots(args) => args.run(context),
            Command::Ls(args) => args.run(context),
            Command::Find(args) => args.run(context),
            Command::Cat(args) => args.run(context),
            Command::Restore(args) => args.run(context),
            Command::Copy(args) => args.run(context),
            Command::Export(args) => args.run(context),
            Command::Import(args) => args.run(context),
            Command::Manifest(args) => args.run(context),
            Command::Diff(args) => args.run(context),
            Command::Forget(args) => args.run(context),
            Command::Undelete(args) => args.run(context),
            Command::Tag(args) => args.run(context),
            Command::Rename(args) => args.run(context),
            Command::Pin(args) => args.run(context),
            Command::Unpin(args) => args.run(context),
            Command::Gc(args) => args.run(context),
            Command::Compact(args) => args.run(context),
            Command::Stats(args) => args.run(context),
            Command::Similar(args) => args.run(context),
            Command::Explain(args) => args.run(context),
            Command::Map(args) => args.run(context),
            Command::Estimate(args) => args.run(context),
            Command::Check(args) => args.run(context),
            Command::Scrub(args) => args.run(context),
            Command::Recover(args) => args.run(context),
            Command::Salvage(args) => args.run(context),
            Command::Risk(args) => args.run(context),
            Command::Rebalance(args) => args.run(context),
            Command::Disk(args) => args.run(context),
            Command::Status(args) => args.run(context),
            Command::Demo(args) => args.run(context),
            Command::Completions(args) => args.run(context),
            Command::Man(args) => args.run(context),
        }
    }
}

/// Runs the command that the process was called with, and returns its exit status. Never panics.
pub fn main() -> Exit {
    report::remember_panics();
    std::panic::catch_unwind(|| start(std::env::args_os().collect())).unwrap_or_else(|_| {
        report::panicked(false);
        Exit::Failed
    })
}

fn start(arguments: Vec<OsString>) -> Exit {
    match Cli::try_parse_from(&arguments) {
        Ok(cli) => {
            let (name, safe) = (cli.command.name(), cli.command.safe());
            let context = Arc::new(Context::new(&cli.global));
            run::run(&context, name, safe, move |context| cli.command.run(context))
        }
        Err(e) if matches!(e.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) => {
            let _ = e.print(); // a reader that closed the pipe has seen enough
            Exit::Done
        }
        Err(e) => {
            // What was meant is not known, so the raw arguments tell who reads the error.
            if arguments.iter().take_while(|a| *a != "--").any(|a| a == "--json") {
                let text = e.render().to_string();
                report::document(Exit::Usage, text.trim_start_matches("error: ").trim_end(), None);
            } else {
                let _ = e.print(); // stderr closed: the exit status is all that is left
            }
            Exit::Usage
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    fn parse(line: &str) -> std::result::Result<Cli, clap::Error> {
        Cli::try_parse_from(std::iter::once("onefold").chain(line.split(' ')))
    }

    fn every(command: &clap::Command, path: &str, each: &mut dyn FnMut(&str, &clap::Command)) {
        for sub in command.get_subcommands().filter(|s| s.get_name() != "help") {
            let path = format!("{path} {}", sub.get_name());
            each(&path, sub);
            every(sub, &path, each);
        }
    }

    #[test]
    fn the_parser_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_commands_help_tells_its_exit_status_and_shows_an_example() {
        let mut seen = 0;
        every(&Cli::command(), "onefold", &mut |path, command| {
            seen += 1;
            let help = command.clone().render_long_help().to_string();
            assert!(help.contains("Exit status:"), "{path} --help does not tell its exit status");
            assert!(help.contains("Examples:"), "{path} --help shows no example");
            let shown = help
                .lines()
                .skip_while(|l| *l != "Examples:")
                .any(|l| l.contains("onefold") && l.contains(path.trim_start_matches("onefold")));
            assert!(shown, "{path} --help shows no example of itself");
            let about = command.get_about().map(ToString::to_string).unwrap_or_default();
            assert!(!about.is_empty() && !about.ends_with('.'), "{path}: {about:?}");
            assert!(about.starts_with(char::is_uppercase), "{path}: {about:?}");
        });
        assert!(seen > 20, "every command is visited");
    }

    #[test]
    fn every_command_is_called_by_its_own_name() {
        for line in [
            "init",
            "backup x",
            "snapshots",
            "ls latest",
            "find x",
            "cat latest x",
            "restore latest --target x",
            "copy --from x",
            "export latest",
            "export latest:x --bag d --algorithm md5,sha256 --info A=b",
            "import",
            "import --bag d",
            "manifest latest",
            "diff a b",
            "forget latest",
            "undelete x",
            "tag --add x",
            "rename latest x",
            "pin latest",
            "unpin latest",
            "gc",
            "stats",
            "similar latest x",
            "explain latest:x",
            "map latest --svg x",
            "estimate x",
            "check",
            "recover",
            "scrub --rate 50M --max-duration 8h",
            "salvage x --target y",
            "risk --disk a --disk b",
            "rebalance",
            "disk list",
            "status",
            "demo",
            "completions bash",
            "man",
        ] {
            assert_eq!(parse(line).unwrap().command.name(), line.split(' ').next().unwrap());
        }
    }

    #[test]
    fn global_options_are_taken_before_and_after_the_command() {
        for line in ["--store /s --json -q --memory 256M stats", "stats --store /s --json -q --memory 256M"] {
            let g = parse(line).unwrap().global;
            assert_eq!((g.store.as_deref(), g.json, g.quiet, g.memory), (Some("/s".as_ref()), true, true, 256 << 20));
        }
        let g = parse("disk list --json").unwrap().global;
        assert_eq!((g.json, g.memory), (true, 1 << 30));
    }

    #[test]
    fn what_cannot_be_meant_is_a_usage_error() {
        for line in [
            "frobnicate",
            "backup",
            "backup --stdin",
            "backup --stdin --path x y",
            "backup --path x",
            "cat latest",
            "cat latest x --range 5",
            "restore latest",
            "--memory lots stats",
            "diff a",
            "export latest --algorithm md5",
            "export latest --bag d --algorithm crc32",
            "export latest --bag d --info label",
            "pin",
            "undelete",
            "tag latest --set x --add y",
            "rename latest a:b",
            "forget --keep-last some",
            "forget --group-by what",
            "gc --grace soon",
            "gc --threshold 101",
            "backup --name a:b x",
            "backup --name latest x",
            "disk",
            "completions tcsh-like",
            "init --pack-size 1 --label",
        ] {
            // `cat latest` is refused when it runs, since `cat SNAPSHOT:PATH` is fine.
            assert!(parse(line).is_err() || line == "cat latest", "{line}");
        }
    }

    #[test]
    fn arguments_need_not_be_utf_8() {
        use std::os::unix::ffi::OsStringExt;
        let odd = OsString::from_vec(b"/media/\xff".to_vec());
        let cli = Cli::try_parse_from(["onefold".into(), "--store".into(), odd.clone(), "backup".into(), odd.clone()]);
        let cli = cli.unwrap();
        assert_eq!(cli.global.store, Some(odd.clone()));
        assert!(matches!(cli.command, Command::Backup(args) if args.paths == [odd]));
    }

    #[test]
    fn what_stands_behind_two_dashes_is_no_option() {
        let cli = parse("backup -- --json").unwrap();
        assert!(!cli.global.json);
        assert!(matches!(cli.command, Command::Backup(args) if args.paths == ["--json"]));
    }
}
