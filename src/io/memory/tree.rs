//! The names of a disk in memory: folders, what readers see in them, and what of it is durable.

use super::super::{DirEntry, Kind};
use super::file::{FileNode, Volume};
use rustix::io::Errno;
use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Room of a filesystem that was given no capacity. Memory ends long before.
const UNLIMITED_BYTES: u64 = 1 << 40;

/// The folder that every path begins in.
pub(super) const ROOT: u64 = 0;

/// What a name stands for. Folders are numbers, so that two folders can be changed at once.
#[derive(Clone, Debug)]
pub(super) enum Entry {
    File(Arc<FileNode>),
    Dir(u64),
}

pub(super) type Names = BTreeMap<OsString, Entry>;

/// A change of one folder's names that is not durable yet: all of it is kept by a crash, or nothing.
/// A rename within a folder is one change, one between two folders is a change in each.
#[derive(Clone, Debug)]
pub(super) struct NameChange {
    pub moment: u64,
    pub edits: Vec<(OsString, Option<Entry>)>,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Dir {
    pub volatile: Names,
    pub durable: Names,
    pub pending: Vec<NameChange>,
}

impl Dir {
    fn change(&mut self, moment: u64, edits: Vec<(OsString, Option<Entry>)>) {
        apply(&mut self.volatile, &edits);
        self.pending.push(NameChange { moment, edits });
    }

    /// Makes what stands under one name durable, without the folder's other names.
    fn settle(&mut self, name: &OsStr) {
        self.pending.iter_mut().for_each(|change| change.edits.retain(|(of, _)| of != name));
        apply(&mut self.durable, &[(name.to_owned(), self.volatile.get(name).cloned())]);
    }
}

pub(super) fn apply(names: &mut Names, edits: &[(OsString, Option<Entry>)]) {
    for (name, entry) in edits {
        match entry {
            Some(entry) => names.insert(name.clone(), entry.clone()),
            None => names.remove(name),
        };
    }
}

/// All folders of a disk. One that was removed stays here as long as the disk does, for a crash may
/// bring it back.
#[derive(Debug)]
pub(super) struct Tree {
    pub dirs: BTreeMap<u64, Dir>,
    /// Prefixes that are filesystems of their own, and the one of everything else first.
    pub volumes: Vec<(Vec<OsString>, Arc<Volume>)>,
    clock: Arc<AtomicU64>,
}

/// The names along a path. `/a/b`, `a/b` and `a/./b` are the same place.
pub(super) fn names_of(path: &Path) -> io::Result<Vec<OsString>> {
    let mut names = Vec::new();
    for component in path.components() {
        match component {
            Component::Normal(name) => names.push(name.to_owned()),
            Component::RootDir | Component::CurDir => {}
            Component::ParentDir | Component::Prefix(_) => return Err(Errno::INVAL.into()),
        }
    }
    Ok(names)
}

impl Tree {
    pub fn new() -> Tree {
        Tree::with_volumes(vec![(Vec::new(), Volume::new(0, UNLIMITED_BYTES))], 1)
    }

    /// An empty tree over empty filesystems, whose clock stands at `moment`.
    pub fn with_volumes(volumes: Vec<(Vec<OsString>, Arc<Volume>)>, moment: u64) -> Tree {
        Tree { dirs: BTreeMap::from([(ROOT, Dir::default())]), volumes, clock: Arc::new(AtomicU64::new(moment)) }
    }

    pub fn clock(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.clock)
    }

    /// The next moment: changes are told apart by it, and ordered as far as one thread made them.
    pub fn tick(&self) -> u64 {
        self.clock.fetch_add(1, Ordering::Relaxed)
    }

    pub fn add_dir(&mut self) -> u64 {
        let id = self.dirs.keys().next_back().map_or(ROOT, |last| last + 1);
        self.dirs.insert(id, Dir::default());
        id
    }

    /// The filesystem that a path lies on: the one with the longest prefix of it.
    pub fn volume(&self, names: &[OsString]) -> &Arc<Volume> {
        let (first, others) = self.volumes.split_first().expect("every constructor gives one for the root");
        let fits = others.iter().filter(|(prefix, _)| names.starts_with(prefix));
        &fits.max_by_key(|(prefix, _)| prefix.len()).unwrap_or(first).1
    }

    pub fn set_capacity(&mut self, prefix: Vec<OsString>, bytes: u64) {
        if let Some((_, volume)) = self.volumes.iter().find(|(of, _)| *of == prefix) {
            return volume.set_total(bytes);
        }
        let made = Volume::new(self.volumes.len() as u64, bytes); // usize is at most 64 bits
        self.volumes.push((prefix, Arc::clone(&made)));
        for (names, node) in self.files() {
            if self.volume(&names).id == made.id {
                node.data().move_to(&made);
            }
        }
    }

    fn dir(&self, id: u64) -> io::Result<&Dir> {
        self.dirs.get(&id).ok_or_else(|| Errno::NOENT.into())
    }

    fn dir_mut(&mut self, id: u64) -> io::Result<&mut Dir> {
        self.dirs.get_mut(&id).ok_or_else(|| Errno::NOENT.into())
    }

    fn find_names(&self, names: &[OsString]) -> io::Result<Option<Entry>> {
        let mut at = Entry::Dir(ROOT);
        for name in names {
            let Entry::Dir(id) = at else { return Err(Errno::NOTDIR.into()) };
            match self.dir(id)?.volatile.get(name) {
                Some(entry) => at = entry.clone(),
                None => return Ok(None),
            }
        }
        Ok(Some(at))
    }

    pub fn find(&self, path: &Path) -> io::Result<Option<Entry>> {
        self.find_names(&names_of(path)?)
    }

    pub fn file(&self, path: &Path) -> io::Result<Arc<FileNode>> {
        match self.find(path)? {
            Some(Entry::File(node)) => Ok(node),
            Some(Entry::Dir(_)) => Err(Errno::ISDIR.into()),
            None => Err(Errno::NOENT.into()),
        }
    }

    fn dir_at(&self, names: &[OsString]) -> io::Result<u64> {
        match self.find_names(names)? {
            Some(Entry::Dir(id)) => Ok(id),
            Some(Entry::File(_)) => Err(Errno::NOTDIR.into()),
            None => Err(Errno::NOENT.into()),
        }
    }

    /// The folder that a path's last name stands in, and that name. The root has none.
    fn parent<'a>(&self, names: &'a [OsString]) -> io::Result<(u64, &'a OsString)> {
        let (name, folder) = names.split_last().ok_or(Errno::BUSY)?;
        Ok((self.dir_at(folder)?, name))
    }

    pub fn create_new(&mut self, path: &Path) -> io::Result<Arc<FileNode>> {
        let names = names_of(path)?;
        let (folder, name) = self.parent(&names)?;
        if self.dir(folder)?.volatile.contains_key(name) {
            return Err(Errno::EXIST.into());
        }
        let node = FileNode::new(self.volume(&names), Vec::new(), Vec::new(), Vec::new());
        node.data().add_name();
        let moment = self.tick();
        self.dir_mut(folder)?.change(moment, vec![(name.clone(), Some(Entry::File(Arc::clone(&node))))]);
        Ok(node)
    }

    pub fn create_dir_all(&mut self, path: &Path) -> io::Result<()> {
        let names = names_of(path)?;
        let mut at = ROOT;
        for (depth, name) in names.iter().enumerate() {
            at = match self.dir(at)?.volatile.get(name) {
                Some(Entry::Dir(id)) => *id,
                Some(Entry::File(_)) if depth + 1 == names.len() => return Err(Errno::EXIST.into()),
                Some(Entry::File(_)) => return Err(Errno::NOTDIR.into()),
                None => {
                    let (id, moment) = (self.add_dir(), self.tick());
                    self.dir_mut(at)?.change(moment, vec![(name.clone(), Some(Entry::Dir(id)))]);
                    id
                }
            };
        }
        Ok(())
    }

    pub fn remove_file(&mut self, path: &Path) -> io::Result<()> {
        let names = names_of(path)?;
        let node = self.file(path)?;
        let (folder, name) = self.parent(&names)?;
        let moment = self.tick();
        self.dir_mut(folder)?.change(moment, vec![(name.clone(), None)]);
        node.data().drop_name();
        Ok(())
    }

    pub fn remove_dir(&mut self, path: &Path) -> io::Result<()> {
        let names = names_of(path)?;
        let (folder, name) = self.parent(&names)?;
        let id = self.dir_at(&names)?;
        if self.volumes.iter().any(|(prefix, _)| *prefix == names) {
            return Err(Errno::BUSY.into());
        }
        if !self.dir(id)?.volatile.is_empty() {
            return Err(Errno::NOTEMPTY.into());
        }
        let moment = self.tick();
        self.dir_mut(folder)?.change(moment, vec![(name.clone(), None)]);
        Ok(())
    }

    pub fn rename(&mut self, from: &Path, to: &Path, replace: bool) -> io::Result<()> {
        let (from, to) = (names_of(from)?, names_of(to)?);
        let moved = self.find_names(&from)?.ok_or(Errno::NOENT)?;
        let ((from_dir, from_name), (to_dir, to_name)) = (self.parent(&from)?, self.parent(&to)?);
        let old = self.find_names(&to)?;
        if old.is_some() && !replace {
            return Err(Errno::EXIST.into());
        }
        if from == to {
            return Ok(());
        }
        if self.volumes.iter().any(|(prefix, _)| prefix.starts_with(&from)) {
            return Err(Errno::BUSY.into());
        }
        if self.volume(&from).id != self.volume(&to).id {
            return Err(Errno::XDEV.into());
        }
        match (&moved, &old) {
            (Entry::Dir(_), _) if to.starts_with(&from) => return Err(Errno::INVAL.into()),
            (Entry::Dir(_), Some(Entry::File(_))) => return Err(Errno::NOTDIR.into()),
            (Entry::File(_), Some(Entry::Dir(_))) => return Err(Errno::ISDIR.into()),
            (Entry::Dir(_), Some(Entry::Dir(id))) if !self.dir(*id)?.volatile.is_empty() => {
                return Err(Errno::NOTEMPTY.into());
            }
            // POSIX: two names of one file, which a link or a crash leaves, both stay.
            (Entry::File(a), Some(Entry::File(b))) if Arc::ptr_eq(a, b) => return Ok(()),
            _ => {}
        }
        let moment = self.tick();
        let (gone, come) = ((from_name.clone(), None), (to_name.clone(), Some(moved)));
        if from_dir == to_dir {
            self.dir_mut(from_dir)?.change(moment, vec![gone, come]);
        } else {
            self.dir_mut(to_dir)?.change(moment, vec![come]);
            self.dir_mut(from_dir)?.change(moment, vec![gone]);
        }
        if let Some(Entry::File(node)) = old {
            node.data().drop_name();
        }
        Ok(())
    }

    pub fn link(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        let (from, to) = (names_of(from)?, names_of(to)?);
        let Entry::File(node) = self.find_names(&from)?.ok_or(Errno::NOENT)? else { return Err(Errno::PERM.into()) };
        let (folder, name) = self.parent(&to)?;
        if self.dir(folder)?.volatile.contains_key(name) {
            return Err(Errno::EXIST.into());
        }
        if self.volume(&from).id != self.volume(&to).id {
            return Err(Errno::XDEV.into());
        }
        node.data().add_name();
        let moment = self.tick();
        self.dir_mut(folder)?.change(moment, vec![(name.clone(), Some(Entry::File(node)))]);
        Ok(())
    }

    pub fn list(&self, path: &Path) -> io::Result<Vec<DirEntry>> {
        let dir = self.dir(self.dir_at(&names_of(path)?)?)?;
        let kind = |entry: &Entry| if matches!(entry, Entry::Dir(_)) { Kind::Dir } else { Kind::File };
        Ok(dir.volatile.iter().map(|(name, entry)| DirEntry { name: name.clone(), kind: kind(entry) }).collect())
    }

    pub fn sync_dir(&mut self, path: &Path) -> io::Result<()> {
        let id = self.dir_at(&names_of(path)?)?;
        let dir = self.dir_mut(id)?;
        for change in std::mem::take(&mut dir.pending) {
            apply(&mut dir.durable, &change.edits);
        }
        Ok(())
    }

    /// Makes one name durable, or that it is gone.
    pub fn settle_name(&mut self, path: &Path) -> io::Result<()> {
        let names = names_of(path)?;
        let (folder, name) = self.parent(&names)?;
        self.dir_mut(folder)?.settle(name);
        Ok(())
    }

    /// Makes one name and those of all folders above it durable.
    pub fn settle_names(&mut self, path: &Path) -> io::Result<()> {
        let names = names_of(path)?;
        for end in 1..=names.len() {
            let (folder, name) = self.parent(&names[..end])?;
            self.dir_mut(folder)?.settle(name);
        }
        Ok(())
    }

    /// All files that readers see, with the names along their paths, in order of path.
    fn files(&self) -> Vec<(Vec<OsString>, Arc<FileNode>)> {
        let mut found = Vec::new();
        let mut open = vec![(Vec::new(), ROOT)];
        while let Some((names, id)) = open.pop() {
            for (name, entry) in self.dirs.get(&id).into_iter().flat_map(|dir| &dir.volatile) {
                let mut names: Vec<OsString> = names.clone();
                names.push(name.clone());
                match entry {
                    Entry::File(node) => found.push((names, Arc::clone(node))),
                    Entry::Dir(id) => open.push((names, *id)),
                }
            }
        }
        found.sort_by(|a, b| a.0.cmp(&b.0));
        found
    }

    pub fn paths(&self) -> Vec<PathBuf> {
        let path = |names: Vec<OsString>| std::iter::once(OsString::from("/")).chain(names).collect();
        self.files().into_iter().map(|(names, _)| path(names)).collect()
    }
}
