//! An entry: what a snapshot keeps of one file, folder or symlink; and its witness.
//!
//! Both are fields `tag:varint length:varint value` in ascending order of tag, each at most once; an
//! unknown odd tag is passed over, an unknown even one is refused.
//!
//! ```text
//!  entry                                                     witness
//!   2 type       u8: 1 file, 2 folder, 3 symlink              1 ctime     i64 s, u32 ns
//!   4 size       varint, bytes of a file                      3 inode     varint
//!   6 inline     bytes of a small file                        5 device    varint
//!   8 recipe     of a longer one                              7 children  map root, of a folder
//!  10 target     bytes, of a symlink
//!  12 children   map root, of a folder
//!  13 mode       varint, 12 bits
//!  15 mtime      i64 s, u32 ns
//!  17 uid        varint
//!  19 gid        varint
//!  21 user       UTF-8
//!  23 group      UTF-8
//!  24 attributes count, then (name:var value:var) each, names ascending
//!  26 attributes in a stream of their own
//!  27 link       u64: entries of a snapshot with the same link are one file
//!  29 digests    count, then (algorithm:u8 digest:var) each
//! ```

use super::limits;
use super::node::MapRoot;
use super::recipe::{Recipe, Stream};
use super::wire::{Put, Reader, replace_field};
use crate::error::{Error, Result};

/// A point in time with its nanoseconds, as files have it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Time {
    pub seconds: i64,
    pub nanos: u32,
}

/// The bytes of a file, or where they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// At most [`limits::INLINE_FILE_BYTES`].
    Inline(Vec<u8>),
    Recipe(Box<Recipe>),
}

impl Content {
    /// Where the bytes are, if they do not stand in the entry.
    pub fn recipe(&self) -> Option<&Recipe> {
        match self {
            Content::Inline(_) => None,
            Content::Recipe(recipe) => Some(recipe),
        }
    }
}

/// What an entry is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EntryKind {
    File { bytes: u64, content: Content },
    Dir(MapRoot),
    Symlink(Vec<u8>),
}

/// Extended attributes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Attributes {
    #[default]
    None,
    /// `(name, value)`, names ascending.
    Inline(Vec<(Vec<u8>, Vec<u8>)>),
    /// The same, encoded as in the field, in a stream.
    Stream(Stream),
}

/// What a snapshot keeps of one name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub kind: EntryKind,
    /// Permission, setuid, setgid and sticky bits.
    pub mode: u32,
    pub mtime: Time,
    pub uid: u32,
    pub gid: u32,
    pub user: Option<String>,
    pub group: Option<String>,
    pub attributes: Attributes,
    pub link: Option<u64>,
    /// Optional digests of the file's bytes, by [`super::digest::Algorithm`]'s number.
    pub digests: Vec<(u8, Vec<u8>)>,
}

fn put_field(out: &mut Vec<u8>, tag: u64, value: &[u8]) {
    out.put_varint(tag);
    out.put_var(value);
}

fn put_number(out: &mut Vec<u8>, tag: u64, value: u64) {
    let mut v = Vec::with_capacity(10);
    v.put_varint(value);
    put_field(out, tag, &v);
}

fn put_time(out: &mut Vec<u8>, tag: u64, time: Time) {
    let mut v = Vec::with_capacity(12);
    v.put_i64(time.seconds);
    v.put_u32(time.nanos);
    put_field(out, tag, &v);
}

fn put_root(out: &mut Vec<u8>, tag: u64, root: &MapRoot) {
    let mut v = Vec::new();
    root.encode_into(&mut v);
    put_field(out, tag, &v);
}

fn time(r: &mut Reader<'_>) -> Result<Time> {
    let time = Time { seconds: r.i64()?, nanos: r.u32()? };
    if time.nanos >= 1_000_000_000 { Err(r.bad("nanoseconds of more than a second")) } else { Ok(time) }
}

fn bounded(encoded: Vec<u8>) -> Result<Vec<u8>> {
    let (got, max) = (encoded.len() as u64, limits::ENTRY_BYTES as u64);
    if got > max { Err(Error::Limit { what: "the length of an entry", got, max }) } else { Ok(encoded) }
}

/// Goes through `tag length value` fields in order.
fn fields<'a>(
    what: &'static str,
    bytes: &'a [u8],
    mut each: impl FnMut(u64, &mut Reader<'a>) -> Result<bool>,
) -> Result<()> {
    let mut r = Reader::new(what, bytes);
    let mut last = 0;
    while r.left() > 0 {
        let tag = r.varint()?;
        if tag <= last {
            return Err(r.bad("its fields are out of order"));
        }
        last = tag;
        let value = r.var_bytes(usize::MAX)?;
        let mut v = Reader::new(what, value);
        if each(tag, &mut v)? {
            v.end()?;
        } else if tag.is_multiple_of(2) {
            return Err(r.bad("a field that this version does not know"));
        }
    }
    Ok(())
}

/// The bytes of attributes, as the field and the stream have them.
pub fn encode_attributes(attributes: &[(Vec<u8>, Vec<u8>)]) -> Vec<u8> {
    let mut out = Vec::new();
    out.put_varint(attributes.len() as u64);
    for (name, value) in attributes {
        out.put_var(name);
        out.put_var(value);
    }
    out
}

/// # Errors
/// [`Error::Malformed`], [`Error::Limit`].
pub fn decode_attributes(bytes: &[u8]) -> Result<Vec<(Vec<u8>, Vec<u8>)>> {
    if bytes.len() > limits::ATTRIBUTE_BYTES {
        return Err(Error::Limit {
            what: "the length of attributes",
            got: bytes.len() as u64,
            max: limits::ATTRIBUTE_BYTES as u64,
        });
    }
    let mut r = Reader::new("attributes", bytes);
    let n = r.count(2, 1 << 16)?;
    let mut out: Vec<(Vec<u8>, Vec<u8>)> = Vec::with_capacity(n);
    for _ in 0..n {
        let name = r.var_bytes(limits::NAME_BYTES)?.to_vec();
        if name.is_empty() || name.contains(&0) || out.last().is_some_and(|(last, _)| *last >= name) {
            return Err(r.bad("an attribute's name is impossible or out of order"));
        }
        out.push((name, r.var_bytes(limits::ATTRIBUTE_BYTES)?.to_vec()));
    }
    r.end()?;
    Ok(out)
}

impl Entry {
    /// An encoded file with another recipe, all else byte for byte.
    ///
    /// # Errors
    /// [`Error::Malformed`]: it has none; [`Error::Limit`]: it does not fit an entry.
    pub fn with_recipe(encoded: &[u8], recipe: &Recipe) -> Result<Vec<u8>> {
        bounded(replace_field("an entry", encoded, 8, &recipe.encode())?)
    }

    /// An encoded folder with other children, all else byte for byte.
    ///
    /// # Errors
    /// As [`Entry::with_recipe`].
    pub fn with_children(encoded: &[u8], children: &MapRoot) -> Result<Vec<u8>> {
        let mut root = Vec::new();
        children.encode_into(&mut root);
        bounded(replace_field("an entry", encoded, 12, &root)?)
    }

    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(160);
        match &self.kind {
            EntryKind::File { bytes, content } => {
                put_field(&mut out, 2, &[1]);
                put_number(&mut out, 4, *bytes);
                match content {
                    Content::Inline(b) => put_field(&mut out, 6, b),
                    Content::Recipe(recipe) => put_field(&mut out, 8, &recipe.encode()),
                }
            }
            EntryKind::Symlink(target) => {
                put_field(&mut out, 2, &[3]);
                put_field(&mut out, 10, target);
            }
            EntryKind::Dir(root) => {
                put_field(&mut out, 2, &[2]);
                put_root(&mut out, 12, root);
            }
        }
        put_number(&mut out, 13, u64::from(self.mode));
        put_time(&mut out, 15, self.mtime);
        put_number(&mut out, 17, u64::from(self.uid));
        put_number(&mut out, 19, u64::from(self.gid));
        if let Some(user) = &self.user {
            put_field(&mut out, 21, user.as_bytes());
        }
        if let Some(group) = &self.group {
            put_field(&mut out, 23, group.as_bytes());
        }
        match &self.attributes {
            Attributes::None => {}
            Attributes::Inline(list) => put_field(&mut out, 24, &encode_attributes(list)),
            Attributes::Stream(stream) => {
                let mut v = Vec::new();
                stream.encode_into(&mut v);
                put_field(&mut out, 26, &v);
            }
        }
        if let Some(link) = self.link {
            put_field(&mut out, 27, &link.to_le_bytes());
        }
        if !self.digests.is_empty() {
            let mut v = Vec::new();
            v.put_varint(self.digests.len() as u64);
            for (algorithm, digest) in &self.digests {
                v.put_u8(*algorithm);
                v.put_var(digest);
            }
            put_field(&mut out, 29, &v);
        }
        out
    }

    /// # Errors
    /// [`Error::Malformed`], [`Error::Limit`].
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        const WHAT: &str = "an entry";
        let mut kind = 0;
        let (mut size, mut content, mut target, mut root) = (None, None, None, None);
        let mut e = Entry {
            kind: EntryKind::Symlink(Vec::new()),
            mode: 0,
            mtime: Time::default(),
            uid: 0,
            gid: 0,
            user: None,
            group: None,
            attributes: Attributes::None,
            link: None,
            digests: Vec::new(),
        };
        let u32_of =
            |v: &mut Reader<'_>| u32::try_from(v.varint()?).map_err(|_| v.bad("a number of more than 32 bits"));
        let text = |v: &mut Reader<'_>| {
            let b = v.take(v.left())?;
            String::from_utf8(b.to_vec()).map_err(|_| v.bad("a text is not UTF-8"))
        };
        fields(WHAT, bytes, |tag, v| {
            match tag {
                2 => kind = v.u8()?,
                4 => size = Some(v.varint()?).filter(|&n| n <= limits::FILE_BYTES),
                6 => content = Some(Content::Inline(v.take(v.left().min(limits::INLINE_FILE_BYTES))?.to_vec())),
                8 => content = Some(Content::Recipe(Box::new(Recipe::decode(v.take(v.left())?)?))),
                10 => target = Some(v.take(v.left().min(limits::ENTRY_BYTES))?.to_vec()),
                12 => root = Some(MapRoot::decode(v)?),
                13 => e.mode = u32_of(v)? & 0o7777,
                15 => e.mtime = time(v)?,
                17 => e.uid = u32_of(v)?,
                19 => e.gid = u32_of(v)?,
                21 => e.user = Some(text(v)?),
                23 => e.group = Some(text(v)?),
                24 => e.attributes = Attributes::Inline(decode_attributes(v.take(v.left())?)?),
                26 if e.attributes == Attributes::None => e.attributes = Attributes::Stream(Stream::decode(v)?),
                27 => e.link = Some(v.u64()?),
                29 => {
                    let n = v.count(2, 16)?;
                    e.digests = (0..n).map(|_| Ok((v.u8()?, v.var_bytes(64)?.to_vec()))).collect::<Result<_>>()?;
                }
                _ => return Ok(false),
            }
            Ok(true)
        })?;
        e.kind = match (kind, size, content, target, root) {
            (1, Some(bytes), Some(content), None, None) => {
                let fits = !matches!(&content, Content::Inline(b) if b.len() as u64 != bytes);
                if !fits {
                    return Err(Error::Malformed {
                        what: WHAT,
                        offset: 0,
                        why: "its bytes are not as many as its size says",
                    });
                }
                EntryKind::File { bytes, content }
            }
            (2, None, None, None, Some(root)) => EntryKind::Dir(root),
            (3, None, None, Some(target), None) if !target.is_empty() && !target.contains(&0) => {
                EntryKind::Symlink(target)
            }
            _ => return Err(Error::Malformed { what: WHAT, offset: 0, why: "its fields do not fit its type" }),
        };
        Ok(e)
    }
}

/// What serves only to see that a file is unchanged.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Witness {
    pub ctime: Time,
    pub inode: u64,
    pub device: u64,
    /// The witnesses of a folder's entries.
    pub children: Option<MapRoot>,
}

impl Witness {
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(40);
        put_time(&mut out, 1, self.ctime);
        put_number(&mut out, 3, self.inode);
        put_number(&mut out, 5, self.device);
        if let Some(root) = &self.children {
            put_root(&mut out, 7, root);
        }
        out
    }

    /// # Errors
    /// [`Error::Malformed`].
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        let mut w = Witness::default();
        fields("a witness", bytes, |tag, v| {
            match tag {
                1 => w.ctime = time(v)?,
                3 => w.inode = v.varint()?,
                5 => w.device = v.varint()?,
                7 => w.children = Some(MapRoot::decode(v)?),
                _ => return Ok(false),
            }
            Ok(true)
        })?;
        Ok(w)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::{btree_map, vec};
    use proptest::prelude::*;

    fn arbitrary() -> impl Strategy<Value = Entry> {
        let kind = prop_oneof![
            vec(any::<u8>(), 0..=512)
                .prop_map(|b| EntryKind::File { bytes: b.len() as u64, content: Content::Inline(b) }),
            (0..limits::FILE_BYTES, crate::format::recipe::arbitrary())
                .prop_map(|(bytes, r)| EntryKind::File { bytes, content: Content::Recipe(Box::new(r)) }),
            vec(any::<u8>(), 0..100).prop_map(|items| EntryKind::Dir(MapRoot::Inline(items))),
            vec(1u8..=255, 1..100).prop_map(EntryKind::Symlink),
        ];
        let attributes = prop_oneof![
            Just(Attributes::None),
            btree_map(vec(1u8..=255, 1..10), vec(any::<u8>(), 0..30), 0..5)
                .prop_map(|m| Attributes::Inline(m.into_iter().collect())),
            Just(Attributes::Stream(Stream::default())),
        ];
        let times = (any::<i64>(), 0u32..1_000_000_000).prop_map(|(seconds, nanos)| Time { seconds, nanos });
        (
            kind,
            0u32..=0o7777,
            times,
            any::<(u32, u32)>(),
            any::<(Option<String>, Option<u64>)>(),
            attributes,
            any::<bool>(),
        )
            .prop_map(|(kind, mode, mtime, (uid, gid), (user, link), attributes, digest)| Entry {
                kind,
                mode,
                mtime,
                uid,
                gid,
                group: user.clone(),
                user,
                attributes,
                link,
                digests: if digest { vec![(1, vec![7; 32])] } else { vec![] },
            })
    }

    proptest! {
        #[test]
        fn an_entry_comes_back(e in arbitrary()) {
            prop_assert_eq!(Entry::decode(&e.encode()).unwrap(), e);
        }

        #[test]
        fn a_changed_entry_never_panics(e in arbitrary(), at: proptest::sample::Index, value: u8) {
            let mut b = e.encode();
            let at = at.index(b.len());
            b[at] = value;
            let _ = Entry::decode(&b);
            let _ = Witness::decode(&b);
        }

        #[test]
        fn a_witness_comes_back(inode: u64, device: u64, seconds: i64, nanos in 0u32..1_000_000_000, dir: bool) {
            let w = Witness { ctime: Time { seconds, nanos }, inode, device, children: dir.then(MapRoot::empty) };
            prop_assert_eq!(Witness::decode(&w.encode()).unwrap(), w);
        }
    }

    #[test]
    fn fields_that_do_not_fit_the_type_are_refused() {
        let mut b = Vec::new();
        put_field(&mut b, 2, &[1]);
        assert!(Entry::decode(&b).is_err(), "a file without size");
        put_number(&mut b, 4, 3);
        put_field(&mut b, 6, b"four");
        assert!(Entry::decode(&b).is_err(), "a size that is not its bytes'");
        let mut b = Vec::new();
        put_field(&mut b, 2, &[3]);
        put_field(&mut b, 10, b"a\0b");
        assert!(Entry::decode(&b).is_err(), "a target with NUL");
    }
}
