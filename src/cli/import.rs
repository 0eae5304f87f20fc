//! `import`: a tar archive or a bag becomes a snapshot.

use super::args;
use super::backup::{CodecTier, print};
use super::context::Context;
use super::exit::Exit;
use super::source;
use crate::error::Result;
use crate::ops::backup::{self, BackupOptions, Source};
use crate::ops::bag::Bag;
use std::ffi::OsString;
use std::time::Instant;

/// Make a snapshot of a tar archive that comes through standard input, or of a bag
///
/// Reads the archive once (POSIX/pax, GNU and old formats; not compressed) and stores its files, folders, symlinks and hard
/// links with their times, modes, owners and extended attributes, as if they lay at the root of a disk. A member that leads
/// out of the archive's root is named and left out; so are devices and FIFOs, and a member that no tree can hold, such as one
/// below a file. Holes of sparse files stay holes. An archive that ends before its end marker makes no snapshot.
///
/// With `--bag` it is a folder that is a bag (BagIt 1.0 and 0.93 to 0.97, RFC 8493). The whole bag is stored, tag files too:
/// its payload lies at `/data`, and a restore of the snapshot is a valid bag again. Names are compared with the manifests
/// before anything is stored; digests (sha256, sha512, md5, blake3) are those of the bytes that are stored. A bag that is not
/// complete and valid makes no snapshot, and each fault is named: a file that is missing, not listed, still to be fetched or
/// not as its digest says, a Payload-Oxum that does not agree, a path that leads out of the bag, anything but files and
/// folders. Tag files are read in UTF-8.
///
/// Exit status: 0 the snapshot is saved and complete; 1 failed, or the bag is not valid: no snapshot; 2 wrong usage; 3 the
/// snapshot is saved, but a member was left out, or it is less redundant than it should be; 10 there is no store; 11 another
/// process writes to it; 130 stopped by a signal, no snapshot.
#[derive(clap::Args, Debug)]
#[command(after_long_help = EXAMPLES)]
pub struct ImportArgs {
    /// Import this folder, which is a bag, in place of standard input
    #[arg(long, value_name = "DIR")]
    bag: Option<OsString>,

    /// Mark the snapshot with a tag; may be repeated
    #[arg(long = "tag", value_name = "TAG", value_parser = args::label)]
    tags: Vec<String>,

    /// Name the snapshot, so that it can be called by this name
    #[arg(long, value_name = "NAME", value_parser = args::snapshot_name)]
    name: Option<String>,

    /// How new data is coded: not at all, as fast as disks are, or as small as possible (some MB/s a core)
    #[arg(long, value_name = "TIER", value_enum, default_value_t = CodecTier::Fast)]
    codec: CodecTier,

    /// Host to note in the snapshot, in place of this machine's name
    #[arg(long, value_name = "HOST", value_parser = args::label)]
    host: Option<String>,
}

const EXAMPLES: &str = "\
Examples:
  onefold import --name albums-2019 < albums.tar
  zstd -d < albums.tar.zst | onefold import
  onefold --store /srv/one export latest | onefold --store /srv/other import
  onefold import --bag /mnt/delivery/bag-17 --name from-the-label
  onefold restore from-the-label:/data --target /tmp/payload";

impl ImportArgs {
    pub(super) fn run(self, context: &Context) -> Result<Exit> {
        let begun = Instant::now();
        let store = context.open_to_write("import")?;
        let source = match &self.bag {
            Some(folder) => Source::Bag(Box::new(Bag::open(&store, &args::absolute(folder)?, &context.control)?)),
            None => Source::Archive { input: Box::new(source::Piped::new(std::io::stdin(), context.control.clone())) },
        };
        let options = BackupOptions {
            name: self.name,
            tags: self.tags,
            force: true,
            coding: self.codec.coding(),
            host: self.host,
            user: source::user(),
            ..BackupOptions::of(source, concat!("onefold ", env!("CARGO_PKG_VERSION")))
        };
        let report = backup::run(&store, options, &context.control)?;
        print(context, &report, false, begun.elapsed())?;
        Ok(if report.unreadable > 0 || !report.degraded.is_empty() { Exit::Losses } else { Exit::Done })
    }
}
