//! cat: a file's bytes, or a range of them, in order.
//!
//! One thread looks up, reads and proves a window of chunks while the caller's thread writes the window
//! before it. Memory: three windows and the chunks of the last two, at most `WINDOW_BYTES` each and one
//! chunk more.

use super::Control;
use super::ls::{absolute, no_path};
use super::snapshots::SnapshotInfo;
use crate::catalog::recipe::{Piece, Pieces, What};
use crate::catalog::tree::{Found, lookup};
use crate::chunk::Unsqueezer;
use crate::error::{Error, Result};
use crate::format::entry::{Content, EntryKind};
use crate::format::recipe::Recipe;
use crate::format::text::escape;
use crate::format::{ChunkId, ChunkKind};
use crate::io::threads;
use crate::store::Store;
use std::collections::HashMap;
use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Chunks that are looked up and read together.
const WINDOW_CHUNKS: usize = 8;
/// Plain bytes of a window's chunks. Chunks are 1 MiB at most by default; the format allows 16.
const WINDOW_BYTES: u64 = 8 << 20;
/// Pieces of a window: an interleaved file may have many small ones in a few chunks.
const WINDOW_PIECES: usize = 4096;
/// Bytes of holes and fills that are written at once.
const RUN_BYTES: usize = 64 << 10;

/// A piece with its bytes, which are proven.
enum Ready {
    Chunk { plain: Arc<Vec<u8>>, from: usize, to: usize },
    Run { value: u8, bytes: u64 },
}

/// Writes the bytes of the file at `path` to `out`, in order, and returns how many. `range` names the first
/// and the last byte; a last one behind the file's end stands for its end.
///
/// Nothing is written that is not proven. If an error comes after bytes were written, those are right and
/// the rest is missing.
///
/// # Errors
/// [`Error::NoPath`], [`Error::WrongKind`] for what is no file, [`Error::Argument`] for a range that begins
/// behind the file's end or ends before it begins; damage; [`Error::Io`] of `out`; [`Error::Interrupted`].
pub fn run(
    store: &Store,
    snapshot: &SnapshotInfo,
    path: &[u8],
    range: Option<(u64, u64)>,
    out: &mut dyn Write,
    control: &Control,
) -> Result<u64> {
    control.progress.set_phase("reading");
    let wrong =
        |is| Error::WrongKind { snapshot: snapshot.id.short(), path: escape(&absolute(path)), is, wanted: "a file" };
    let entry = match lookup(store, &snapshot.snapshot.tree, path)? {
        None => return Err(no_path(snapshot, path)),
        Some(Found::Root) => return Err(wrong("a folder")),
        Some(Found::Entry(entry)) => entry,
    };
    let (bytes, content) = match &entry.kind {
        EntryKind::File { bytes, content } => (*bytes, content),
        EntryKind::Dir(_) => return Err(wrong("a folder")),
        EntryKind::Symlink(_) => return Err(wrong("a symlink")),
    };
    let (from, to) = bounds(range, bytes)?;
    control.progress.bytes_total.store(to - from, Ordering::Relaxed);
    control.progress.totals_known.store(true, Ordering::Relaxed);
    let mut writer = Writer { out, control, written: 0 };
    match content {
        // A decoded entry's inline bytes are as many as it says; `from <= to <= bytes`, at most 512.
        Content::Inline(all) => writer.bytes(&all[from as usize..to as usize])?,
        Content::Recipe(recipe) => stream(store, recipe, from, to, &mut writer)?,
    }
    writer.out.flush().map_err(Error::io("write to", "the output"))?;
    Ok(writer.written)
}

/// Writes all of a file's bytes to `out`, in order, each proven before it is written.
///
/// # Errors
/// Damage; [`Error::Io`] of `out`; [`Error::Interrupted`]; [`Error::Malformed`] where the recipe makes another number of
/// bytes.
pub(super) fn whole(
    store: &Store,
    content: &Content,
    bytes: u64,
    out: &mut dyn Write,
    control: &Control,
) -> Result<()> {
    let mut writer = Writer { out, control, written: 0 };
    match content {
        Content::Inline(all) => writer.bytes(all)?,
        Content::Recipe(recipe) => stream(store, recipe, 0, bytes, &mut writer)?,
    }
    if writer.written == bytes {
        Ok(())
    } else {
        Err(Error::Malformed { what: "a recipe", offset: writer.written, why: "it makes another number of bytes" })
    }
}

/// The first bytes of a file, `most` at most.
///
/// # Errors
/// As [`whole`].
pub(super) fn head(store: &Store, content: &Content, bytes: u64, most: u64, control: &Control) -> Result<Vec<u8>> {
    let mut out = Vec::new();
    match content {
        Content::Inline(all) => out.extend_from_slice(all),
        Content::Recipe(recipe) => {
            stream(store, recipe, 0, bytes.min(most), &mut Writer { out: &mut out, control, written: 0 })?;
        }
    }
    Ok(out)
}

/// The bytes from..to that a range stands for.
fn bounds(range: Option<(u64, u64)>, bytes: u64) -> Result<(u64, u64)> {
    let Some((first, last)) = range else { return Ok((0, bytes)) };
    let bad = |why: String| Error::Argument { what: format!("the range {first}-{last}"), why };
    if first > last {
        return Err(bad("it ends before it begins".into()));
    }
    if first >= bytes {
        return Err(bad(format!("the file is {bytes} bytes long")));
    }
    Ok((first, last.min(bytes - 1) + 1)) // bytes > first >= 0
}

struct Writer<'o> {
    out: &'o mut dyn Write,
    control: &'o Control,
    written: u64,
}

impl Writer<'_> {
    fn bytes(&mut self, bytes: &[u8]) -> Result<()> {
        self.control.proceed()?;
        self.out.write_all(bytes).map_err(Error::io("write to", "the output"))?;
        self.written += bytes.len() as u64;
        self.control.progress.bytes_done.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        Ok(())
    }

    fn ready(&mut self, piece: &Ready) -> Result<()> {
        match piece {
            Ready::Chunk { plain, from, to } => {
                let short = Error::Malformed { what: "a recipe", offset: 0, why: "a chunk is shorter than it says" };
                self.bytes(plain.get(*from..*to).ok_or(short)?)
            }
            Ready::Run { value, bytes } => {
                let run = [*value; RUN_BYTES];
                let mut left = *bytes;
                while left > 0 {
                    let n = left.min(RUN_BYTES as u64);
                    self.bytes(&run[..n as usize])?; // n <= RUN_BYTES
                    left -= n;
                }
                Ok(())
            }
        }
    }
}

fn stream(store: &Store, recipe: &Recipe, from: u64, to: u64, writer: &mut Writer<'_>) -> Result<()> {
    let (send, receive) = threads::bounded::<Result<Vec<Ready>>>(1);
    threads::scope(|scope| {
        let reader = scope.spawn_named("onefold-cat", move || {
            let mut windows = Windows::new(store, recipe, from, to);
            while let Some(window) = windows.next().transpose() {
                let failed = window.is_err();
                if send.send(window).is_err() || failed {
                    return; // the writer met an error, or this did
                }
            }
        });
        let reader = reader.map_err(Error::io("start a thread for", store.path()))?;
        let mut outcome = Ok(());
        for window in receive.iter() {
            outcome = window.and_then(|pieces| pieces.iter().try_for_each(|p| writer.ready(p)));
            if outcome.is_err() {
                break;
            }
        }
        drop(receive); // a reader that waits to send ends by it
        let lost = reader.join().is_err();
        outcome?;
        if lost { Err(Error::WorkerLost { verb: "cat" }) } else { Ok(()) }
    })
}

/// Reads a file's pieces window by window.
struct Windows<'s> {
    store: &'s Store,
    pieces: Pieces<'s>,
    /// A piece that did not fit the window before.
    waiting: Option<Piece>,
    /// Chunks of the last window: streams that lie interleaved come back to them.
    held: HashMap<ChunkId, Arc<Vec<u8>>>,
    unsqueezer: Unsqueezer,
    /// Where the next piece must begin, and where the last one must end.
    at: u64,
    to: u64,
}

impl<'s> Windows<'s> {
    fn new(store: &'s Store, recipe: &Recipe, from: u64, to: u64) -> Self {
        let pieces = Pieces::new(store, recipe, from, to);
        Windows { store, pieces, waiting: None, held: HashMap::new(), unsqueezer: Unsqueezer::default(), at: from, to }
    }

    fn piece(&mut self) -> Result<Option<Piece>> {
        if let Some(piece) = self.waiting.take() {
            return Ok(Some(piece));
        }
        let piece = self.pieces.next().transpose()?;
        let malformed = |why| Error::Malformed { what: "a recipe", offset: 0, why };
        match &piece {
            Some(p) if p.at != self.at || p.bytes == 0 || p.bytes > self.to - self.at => {
                Err(malformed("its pieces do not follow each other"))
            }
            Some(p) => {
                self.at += p.bytes;
                Ok(piece)
            }
            None if self.at < self.to => Err(malformed("it is shorter than its file")),
            None => Ok(None),
        }
    }

    /// The next window; `None` at the end.
    fn next(&mut self) -> Result<Option<Vec<Ready>>> {
        let mut pieces = Vec::new();
        let mut wanted: Vec<ChunkId> = Vec::new();
        let mut bytes = 0;
        while pieces.len() < WINDOW_PIECES
            && let Some(piece) = self.piece()?
        {
            if let What::Chunk { id, plain_bytes, .. } = piece.what
                && !wanted.contains(&id)
            {
                let more = u64::from(plain_bytes);
                if wanted.len() >= WINDOW_CHUNKS || (!wanted.is_empty() && bytes + more > WINDOW_BYTES) {
                    self.waiting = Some(piece);
                    break;
                }
                bytes += more;
                wanted.push(id);
            }
            if let What::Mapped(segment) = &piece.what {
                if !pieces.is_empty() && bytes + segment.bytes > WINDOW_BYTES {
                    self.waiting = Some(piece);
                    break;
                }
                bytes += segment.bytes;
            }
            pieces.push(piece);
        }
        if pieces.is_empty() {
            return Ok(None);
        }
        self.fetch(&wanted)?;
        pieces.iter().map(|p| self.ready(p)).collect::<Result<_>>().map(Some)
    }

    /// Makes `held` hold exactly these chunks. Those that lie in one pack are read in the pack's order.
    fn fetch(&mut self, wanted: &[ChunkId]) -> Result<()> {
        self.held.retain(|id, _| wanted.contains(id));
        let lacking: Vec<ChunkId> = wanted.iter().filter(|id| !self.held.contains_key(*id)).copied().collect();
        let mut places = Vec::with_capacity(lacking.len());
        for (id, at) in lacking.iter().zip(self.store.find(&lacking)?) {
            places.push((at.ok_or_else(|| Error::ChunkMissing { chunk: id.to_string() })?, *id));
        }
        places.sort_unstable_by_key(|(at, _)| (at.place.pack, at.place.offset));
        for (at, id) in places {
            let plain = self.store.read_at(ChunkKind::Data, &id, &at, &mut self.unsqueezer)?;
            self.held.insert(id, Arc::new(plain));
        }
        Ok(())
    }

    fn ready(&self, piece: &Piece) -> Result<Ready> {
        Ok(match &piece.what {
            What::Hole => Ready::Run { value: 0, bytes: piece.bytes },
            What::Fill(value) => Ready::Run { value: *value, bytes: piece.bytes },
            What::Mapped(segment) => {
                let plain = Arc::new(self.store.rebuilt(segment)?);
                let from = (piece.at - segment.at) as usize; // a piece lies in its segment, which is short
                Ready::Chunk { plain, from, to: from + piece.bytes as usize }
            }
            What::Chunk { id, skip, .. } => {
                let plain = self.held.get(id).ok_or_else(|| Error::ChunkMissing { chunk: id.to_string() })?;
                let from = *skip as usize;
                // beyond the chunk, where a longer piece would end anyway
                let to = usize::try_from(piece.bytes).ok().and_then(|n| from.checked_add(n)).unwrap_or(usize::MAX);
                Ready::Chunk { plain: Arc::clone(plain), from, to }
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Shelf, noise};
    use super::*;

    fn cat(shelf: &Shelf, path: &str, range: Option<(u64, u64)>) -> (Vec<u8>, Result<u64>) {
        let store = shelf.read();
        let mut out = Vec::new();
        let got = run(&store, &shelf.latest(&store), path.as_bytes(), range, &mut out, &Control::default());
        (out, got)
    }

    #[test]
    fn a_file_and_every_kind_of_range_come_back() {
        let shelf = Shelf::new(2);
        let bytes = noise(3, 3_000_000);
        shelf.stream("pipe.bin", &bytes);
        let (out, n) = cat(&shelf, "pipe.bin", None);
        assert!(out == bytes && n.unwrap() == 3_000_000);
        for (first, last) in [(0, 0), (990, 1019), (0, 2_999_999), (1_234_567, 2_345_678), (2_999_999, 2_999_999)] {
            let (out, n) = cat(&shelf, "/pipe.bin", Some((first, last)));
            assert!(out == bytes[first as usize..=last as usize], "{first}-{last}");
            assert_eq!(n.unwrap(), last - first + 1);
        }
        let (out, _) = cat(&shelf, "pipe.bin", Some((2_999_990, u64::MAX)));
        assert_eq!(out, &bytes[2_999_990..], "a range is clamped at the file's end");
        for range in [(3_000_000, 3_000_001), (u64::MAX, u64::MAX), (5, 4)] {
            let (out, got) = cat(&shelf, "pipe.bin", Some(range));
            assert!(out.is_empty() && matches!(got, Err(Error::Argument { .. })), "{range:?}");
        }
    }

    #[test]
    fn holes_small_files_and_empty_ones_come_back() {
        let shelf = Shelf::new(1);
        let library = tempfile::tempdir().unwrap();
        let mut holes = noise(5, 200_000);
        holes.extend(vec![0; 2_000_000]);
        holes.extend(noise(6, 1000));
        let file = library.path().join("holes");
        {
            use std::os::unix::fs::FileExt;
            let f = std::fs::File::create(&file).unwrap();
            f.write_all_at(&holes[..200_000], 0).unwrap();
            f.write_all_at(&holes[2_200_000..], 2_200_000).unwrap();
        }
        shelf.library(library.path(), &[("small", b"abcdef"), ("empty", b"")]);
        std::os::unix::fs::symlink("small", library.path().join("link")).unwrap();
        shelf.back_up(library.path());
        let at = |name: &str| library.path().join(name).to_string_lossy().into_owned();
        assert!(cat(&shelf, &at("holes"), None).0 == holes);
        assert!(cat(&shelf, &at("holes"), Some((199_990, 2_200_010))).0 == holes[199_990..=2_200_010]);
        assert_eq!(cat(&shelf, &at("small"), Some((1, 3))).0, b"bcd");
        let (out, n) = cat(&shelf, &at("empty"), None);
        assert!(out.is_empty() && n.unwrap() == 0);
        assert!(matches!(cat(&shelf, &at("empty"), Some((0, 0))).1, Err(Error::Argument { .. })));
        assert!(matches!(cat(&shelf, &at("link"), None).1, Err(Error::WrongKind { is: "a symlink", .. })));
        assert!(matches!(cat(&shelf, &at(""), None).1, Err(Error::WrongKind { is: "a folder", .. })));
        assert!(matches!(cat(&shelf, "/", None).1, Err(Error::WrongKind { is: "a folder", .. })));
        assert!(matches!(cat(&shelf, &at("none"), None).1, Err(Error::NoPath { .. })));
    }

    /// The ids of a file's chunks, in order.
    fn chunks(shelf: &Shelf, path: &str) -> Vec<(u64, ChunkId)> {
        let store = shelf.read();
        let latest = shelf.latest(&store);
        let Some(Found::Entry(entry)) = lookup(&store, &latest.snapshot.tree, path.as_bytes()).unwrap() else {
            panic!("{path} is there")
        };
        let EntryKind::File { bytes, content: Content::Recipe(recipe) } = entry.kind else { panic!("it is a file") };
        let pieces = Pieces::new(&store, &recipe, 0, bytes).map(Result::unwrap);
        pieces.filter_map(|p| if let What::Chunk { id, .. } = p.what { Some((p.at, id)) } else { None }).collect()
    }

    #[test]
    fn no_byte_that_is_not_proven_is_written() {
        let shelf = Shelf::new(1);
        let bytes = noise(8, 2_000_000);
        shelf.stream("f", &bytes);
        let all = chunks(&shelf, "f");
        let (at, id) = all[all.len() * 2 / 3];
        shelf.spoil(ChunkKind::Data, &id);
        let (out, got) = cat(&shelf, "f", None);
        assert!(matches!(got, Err(Error::ChunkDamaged { .. })), "{got:?}");
        assert!(out == bytes[..out.len()] && out.len() as u64 <= at, "what was written before is right");
        assert!(!out.is_empty(), "windows before the damage were written");
        let (out, got) = cat(&shelf, "f", Some((0, at - 1)));
        assert!(out == bytes[..at as usize] && got.is_ok(), "a range beside the damage is whole");
    }

    #[test]
    fn an_output_that_fails_or_a_stop_ends_the_reader_too() {
        struct Full(usize);
        impl Write for Full {
            fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
                self.0 = self.0.checked_sub(bytes.len()).ok_or(std::io::ErrorKind::BrokenPipe)?;
                Ok(bytes.len())
            }
            fn flush(&mut self) -> std::io::Result<()> {
                Ok(())
            }
        }
        let shelf = Shelf::new(1);
        shelf.stream("f", &noise(9, 3_000_000));
        let store = shelf.read();
        let latest = shelf.latest(&store);
        let got = run(&store, &latest, b"f", None, &mut Full(100_000), &Control::default());
        assert!(matches!(got, Err(Error::Io { source, .. }) if source.kind() == std::io::ErrorKind::BrokenPipe));
        let control = Control::default();
        control.cancel();
        assert!(matches!(run(&store, &latest, b"f", None, &mut Vec::new(), &control), Err(Error::Interrupted)));
    }
}
