//! A snapshot's record, as the log keeps it. Its id is the BLAKE3 of these bytes.
//!
//! Fields are `tag:varint length:varint value`, in ascending order of tag, each at most once. A field
//! with an unknown odd tag is passed over, one with an unknown even tag is refused: later versions
//! choose by whether an old reader may go on without it. The fields of version 1 are listed at
//! `Field`.

use super::check;
use super::id::SnapshotId;
use super::limits::TEXT_BYTES;
use super::node::MapRoot;
use super::wire::{Put, Reader, replace_field};
use crate::error::Result;

/// What was met and what became of it. All exact.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub files: u64,
    pub dirs: u64,
    pub symlinks: u64,
    /// Sum of the files' lengths.
    pub bytes: u64,
    pub files_new: u64,
    pub files_changed: u64,
    pub files_unmodified: u64,
    /// New plain bytes of data chunks.
    pub data_added: u64,
    /// Bytes written for them, metadata included.
    pub data_added_packed: u64,
    /// Devices, sockets and FIFOs, which are not kept.
    pub skipped_special: u64,
    /// Files that changed while they were read, twice.
    pub changed_while_read: u64,
    /// Files and folders that could not be read, by reason.
    pub unreadable: Vec<(String, u64)>,
}

/// One snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    pub time_ns: i64,
    pub host: String,
    pub user: String,
    /// The sources as they were named, made absolute. Raw bytes.
    pub roots: Vec<Vec<u8>>,
    /// The filters, as the command line spells them.
    pub filters: Vec<String>,
    pub program: String,
    pub parent: Option<SnapshotId>,
    pub name: Option<String>,
    pub tags: Vec<String>,
    /// The folder `/`.
    pub tree: MapRoot,
    /// What serves only to see what is unchanged. May be dropped.
    pub witness: Option<MapRoot>,
    pub counts: Counts,
    /// Everything asked for is in it.
    pub complete: bool,
}

/// The fields' tags.
struct Field;
impl Field {
    const TIME: u64 = 2; // i64, ns since 1970
    const HOST: u64 = 4; // UTF-8
    const USER: u64 = 5; // UTF-8
    const ROOTS: u64 = 6; // count, then var bytes each
    const FILTERS: u64 = 7; // count, then UTF-8 each
    const PROGRAM: u64 = 9; // UTF-8
    const PARENT: u64 = 11; // snapshot id
    const NAME: u64 = 13; // UTF-8
    const TAGS: u64 = 15; // count, then UTF-8 each
    const TREE: u64 = 16; // map root
    const WITNESS: u64 = 17; // map root
    const COUNTS: u64 = 19; // eleven varints, then count and (UTF-8, varint) each
    const COMPLETE: u64 = 20; // 0 or 1
}

fn put_field(out: &mut Vec<u8>, tag: u64, value: &[u8]) {
    out.put_varint(tag);
    out.put_var(value);
}

const WHAT: &str = "a snapshot";

/// A record's fields, as they stand in it.
fn fields(record: &[u8]) -> Result<Vec<(u64, Vec<u8>)>> {
    let (mut r, mut out) = (Reader::new(WHAT, record), Vec::new());
    while r.left() > 0 {
        out.push((r.varint()?, r.var_bytes(usize::MAX)?.to_vec()));
    }
    Ok(out)
}

impl Snapshot {
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(512);
        let texts = |list: &[String]| {
            let mut v = Vec::new();
            v.put_varint(list.len() as u64);
            list.iter().for_each(|t| v.put_var(t.as_bytes()));
            v
        };
        put_field(&mut out, Field::TIME, &self.time_ns.to_le_bytes());
        put_field(&mut out, Field::HOST, self.host.as_bytes());
        put_field(&mut out, Field::USER, self.user.as_bytes());
        let mut roots = Vec::new();
        roots.put_varint(self.roots.len() as u64);
        self.roots.iter().for_each(|p| roots.put_var(p));
        put_field(&mut out, Field::ROOTS, &roots);
        put_field(&mut out, Field::FILTERS, &texts(&self.filters));
        put_field(&mut out, Field::PROGRAM, self.program.as_bytes());
        if let Some(parent) = &self.parent {
            put_field(&mut out, Field::PARENT, &parent.0);
        }
        if let Some(name) = &self.name {
            put_field(&mut out, Field::NAME, name.as_bytes());
        }
        put_field(&mut out, Field::TAGS, &texts(&self.tags));
        let root = |root: &MapRoot| {
            let mut v = Vec::new();
            root.encode_into(&mut v);
            v
        };
        put_field(&mut out, Field::TREE, &root(&self.tree));
        if let Some(witness) = &self.witness {
            put_field(&mut out, Field::WITNESS, &root(witness));
        }
        let c = &self.counts;
        let mut counts = Vec::new();
        for n in [
            c.files,
            c.dirs,
            c.symlinks,
            c.bytes,
            c.files_new,
            c.files_changed,
            c.files_unmodified,
            c.data_added,
            c.data_added_packed,
            c.skipped_special,
            c.changed_while_read,
        ] {
            counts.put_varint(n);
        }
        counts.put_varint(c.unreadable.len() as u64);
        for (reason, n) in &c.unreadable {
            counts.put_var(reason.as_bytes());
            counts.put_varint(*n);
        }
        put_field(&mut out, Field::COUNTS, &counts);
        put_field(&mut out, Field::COMPLETE, &[u8::from(self.complete)]);
        out
    }

    /// The record of the same snapshot with another tree, made by another program. All else stays byte for byte, fields of
    /// later versions included.
    ///
    /// # Errors
    /// [`crate::Error::Malformed`].
    pub fn with_tree(record: &[u8], tree: &MapRoot, program: &str) -> Result<Vec<u8>> {
        let mut root = Vec::new();
        tree.encode_into(&mut root);
        let record = replace_field(WHAT, record, Field::TREE, &root)?;
        if fields(&record)?.iter().any(|(tag, _)| *tag == Field::PROGRAM) {
            return replace_field(WHAT, &record, Field::PROGRAM, program.as_bytes());
        }
        Ok(record)
    }

    /// Whether two records differ in nothing but tree and program: one snapshot, its files split in two ways.
    ///
    /// # Errors
    /// [`crate::Error::Malformed`].
    pub fn is_resplit(one: &[u8], other: &[u8]) -> Result<bool> {
        let rest = |record| -> Result<Vec<(u64, Vec<u8>)>> {
            let mut all = fields(record)?;
            all.retain(|(tag, _)| ![Field::TREE, Field::PROGRAM].contains(tag));
            Ok(all)
        };
        Ok(rest(one)? == rest(other)?)
    }

    /// The id of a record's bytes.
    pub fn id_of(encoded: &[u8]) -> SnapshotId {
        SnapshotId(check::blake3(&[encoded]))
    }

    /// # Errors
    /// [`crate::Error::Malformed`].
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        let mut r = Reader::new(WHAT, bytes);
        let mut s = Snapshot {
            time_ns: 0,
            host: String::new(),
            user: String::new(),
            roots: Vec::new(),
            filters: Vec::new(),
            program: String::new(),
            parent: None,
            name: None,
            tags: Vec::new(),
            tree: MapRoot::empty(),
            witness: None,
            counts: Counts::default(),
            complete: false,
        };
        let (mut last, mut seen) = (0, 0u32);
        while r.left() > 0 {
            let tag = r.varint()?;
            if tag <= last {
                return Err(r.bad("its fields are out of order"));
            }
            last = tag;
            let value = r.var_bytes(usize::MAX)?;
            let mut v = Reader::new(WHAT, value);
            let text = |value: &[u8]| String::from_utf8(value.to_vec()).map_err(|_| r.bad("a text is not UTF-8"));
            let texts = |v: &mut Reader<'_>| -> Result<Vec<String>> {
                let n = v.count(1, 1 << 16)?;
                (0..n).map(|_| v.text(TEXT_BYTES)).collect()
            };
            match tag {
                Field::TIME => s.time_ns = v.i64()?,
                Field::HOST => s.host = text(v.take(value.len())?)?,
                Field::USER => s.user = text(v.take(value.len())?)?,
                Field::ROOTS => {
                    let n = v.count(1, 1 << 16)?;
                    s.roots = (0..n).map(|_| v.var_bytes(TEXT_BYTES).map(<[u8]>::to_vec)).collect::<Result<_>>()?;
                }
                Field::FILTERS => s.filters = texts(&mut v)?,
                Field::PROGRAM => s.program = text(v.take(value.len())?)?,
                Field::PARENT => s.parent = Some(SnapshotId(v.array()?)),
                Field::NAME => s.name = Some(text(v.take(value.len())?)?),
                Field::TAGS => s.tags = texts(&mut v)?,
                Field::TREE => s.tree = MapRoot::decode(&mut v)?,
                Field::WITNESS => s.witness = Some(MapRoot::decode(&mut v)?),
                Field::COUNTS => s.counts = Self::decode_counts(&mut v)?,
                Field::COMPLETE => s.complete = v.flag()?,
                unknown if unknown % 2 == 1 => {
                    v.take(value.len())?;
                }
                _ => return Err(r.bad("a field that this version does not know")),
            }
            v.end()?;
            seen |= match tag {
                Field::TIME => 1,
                Field::HOST => 2,
                Field::ROOTS => 4,
                Field::TREE => 8,
                Field::COMPLETE => 16,
                _ => 0,
            };
        }
        if seen != 31 {
            return Err(r.bad("a field is missing"));
        }
        Ok(s)
    }

    fn decode_counts(v: &mut Reader<'_>) -> Result<Counts> {
        let mut n = [0; 11];
        for slot in &mut n {
            *slot = v.varint()?;
        }
        let [
            files,
            dirs,
            symlinks,
            bytes,
            files_new,
            files_changed,
            files_unmodified,
            data_added,
            data_added_packed,
            skipped_special,
            changed_while_read,
        ] = n;
        let reasons = v.count(2, 1 << 16)?;
        let unreadable = (0..reasons).map(|_| Ok((v.text(TEXT_BYTES)?, v.varint()?))).collect::<Result<_>>()?;
        Ok(Counts {
            files,
            dirs,
            symlinks,
            bytes,
            files_new,
            files_changed,
            files_unmodified,
            data_added,
            data_added_packed,
            skipped_special,
            changed_while_read,
            unreadable,
        })
    }
}

#[cfg(test)]
pub(crate) fn sample() -> Snapshot {
    Snapshot {
        time_ns: 1_234_567_890_123_456_789,
        host: "studio".into(),
        user: "ann".into(),
        roots: vec![b"/media/a".to_vec(), b"/media/\xff".to_vec()],
        filters: vec!["--exclude=*.tmp".into()],
        program: "onefold 0.1.0".into(),
        parent: Some(SnapshotId([1; 32])),
        name: Some("before the move".into()),
        tags: vec!["nightly".into()],
        tree: MapRoot::Inline(vec![1, 2, 3]),
        witness: Some(MapRoot::empty()),
        counts: Counts {
            files: 3,
            bytes: 1 << 40,
            unreadable: vec![("permission denied".into(), 2)],
            ..Default::default()
        },
        complete: true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_snapshot_comes_back() {
        let s = sample();
        assert_eq!(Snapshot::decode(&s.encode()).unwrap(), s);
        for n in 0..s.encode().len() {
            assert!(Snapshot::decode(&s.encode()[..n]).is_err(), "{n} bytes were enough");
        }
    }

    #[test]
    fn an_unknown_odd_field_is_passed_over_and_an_even_one_refused() {
        for (tag, fine) in [(99, true), (100, false)] {
            let mut b = sample().encode();
            put_field(&mut b, tag, b"later");
            assert_eq!(Snapshot::decode(&b).is_ok(), fine);
        }
        let mut twice = sample().encode();
        put_field(&mut twice, Field::COMPLETE, &[1]);
        assert!(Snapshot::decode(&twice).is_err(), "a field twice");
    }

    #[test]
    fn another_tree_changes_nothing_else_and_anything_else_is_told() {
        let mut old = sample().encode();
        put_field(&mut old, 99, b"of a later version");
        let tree = MapRoot::Inline(vec![9; 40]);
        let new = Snapshot::with_tree(&old, &tree, "onefold 9").unwrap();
        let decoded = Snapshot::decode(&new).unwrap();
        assert_eq!(decoded, Snapshot { tree, program: "onefold 9".into(), ..sample() });
        assert!(new.windows(18).any(|w| w == b"of a later version"));
        assert!(Snapshot::is_resplit(&old, &new).unwrap());
        assert!(!Snapshot::is_resplit(&sample().encode(), &new).unwrap(), "a field of a later version is missing");
        let others: [fn(&mut Snapshot); 9] = [
            |s| s.time_ns += 1,
            |s| s.host.push('x'),
            |s| s.roots.push(b"/x".to_vec()),
            |s| s.filters.clear(),
            |s| s.parent = None,
            |s| s.name = None,
            |s| s.witness = None,
            |s| s.counts.files += 1,
            |s| s.complete = false,
        ];
        for change in others {
            let mut other = sample();
            change(&mut other);
            assert!(!Snapshot::is_resplit(&sample().encode(), &other.encode()).unwrap());
        }
    }

    proptest! {
        #[test]
        fn flipped_bytes_never_panic(at in 0usize..300, value: u8) {
            let mut b = sample().encode();
            let at = at % b.len();
            b[at] = value;
            let _ = Snapshot::decode(&b);
        }
    }
}
