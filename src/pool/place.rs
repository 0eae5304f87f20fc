//! Which disks: for the packs of a group, and for its parity.
//!
//! Members of a group lie on distinct disks, and no more than m of them in one failure domain where there are
//! domains enough. Among the disks that may be taken the one with the most room comes first, so that unequal
//! disks fill evenly.

use super::disk::{Disk, Room};
use super::{InWork, Pool};
use crate::format::DiskId;
use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// How groups are made now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Parity packs of a group, as the store is set.
    pub parity: usize,
    /// Data packs of a group at most, as the store is set and disks are here.
    pub width: usize,
}

/// Whether the reserve of a disk may be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// For new data: the reserve stays.
    Ordinary,
    /// For repair, which may use the reserve.
    Repair,
}

/// By so much the last records may make a pack longer than it is to be.
const PACK_EXCESS_BYTES: u64 = 1 << 20;

/// A disk that takes data, with its room, and how many packs of the run lie there that have no parity yet.
pub(super) struct Candidate<'p> {
    pub disk: &'p Arc<Disk>,
    pub room: Room,
    pub open: u64,
}

impl Pool {
    /// Groups as they are made with these settings on the disks that take data.
    pub fn shape(&self, parity: usize, width: usize) -> Shape {
        let disks = self.disks.values().filter(|d| d.takes_data()).count();
        Shape { parity, width: width.min(disks.saturating_sub(parity)).max(1) }
    }

    /// Tells the pool in which failure domain each disk lies. An empty name is a domain of its own.
    pub fn set_domains(&mut self, domains: impl IntoIterator<Item = (DiskId, String)>) {
        self.domains = domains.into_iter().filter(|(_, d)| !d.is_empty()).collect();
    }

    fn domain(&self, disk: &DiskId) -> String {
        self.domains.get(disk).cloned().unwrap_or_else(|| disk.to_string())
    }

    /// How many members of a group may lie in one domain: m, or as few as the domains that are here allow.
    fn domain_limit(&self, width: usize, parity: usize) -> usize {
        let here = self.disks.values().filter(|d| d.takes_data()).map(|d| self.domain(&d.id));
        let domains = here.collect::<std::collections::BTreeSet<_>>().len().max(1);
        parity.max((width + parity).div_ceil(domains)).max(1)
    }

    /// Whether groups of this shape can keep at most m members in each domain.
    pub fn domains_suffice(&self, shape: Shape) -> bool {
        shape.parity == 0 || self.domain_limit(shape.width, shape.parity) <= shape.parity
    }

    /// Whether a member of a group of this shape may lie on this disk when the others lie, or may lie, on those.
    pub fn may_lie_beside(&self, disk: &DiskId, others: &[DiskId], shape: Shape) -> bool {
        let domain = self.domain(disk);
        let in_domain = others.iter().filter(|d| self.domain(d) == domain).count();
        let limit = self.domain_limit(shape.width, shape.parity);
        !others.contains(disk) && in_domain < limit
    }

    /// Puts packs, each with its disk and length, into groups of at most `width`: the longest together, since parity
    /// is as long as the longest member. Returns their places in `packs`.
    ///
    /// Of packs about as long those come first of whose disk the most are left: that makes the fewest groups. Parity comes to
    /// lie on the disks that a group leaves out, so `parity_on` a disk, in work, counts like packs that are left: no disk gets
    /// that of many groups one after the other.
    pub fn plan_groups(
        &self,
        packs: &[(DiskId, u64)],
        width: usize,
        parity: usize,
        parity_on: &dyn Fn(&DiskId) -> usize,
    ) -> Vec<Vec<usize>> {
        let limit = self.domain_limit(width, parity);
        // Of each disk the longest last.
        let mut left: BTreeMap<DiskId, Vec<(u64, usize)>> = BTreeMap::new();
        for (i, (disk, bytes)) in packs.iter().enumerate() {
            left.entry(*disk).or_default().push((*bytes, i));
        }
        left.values_mut().for_each(|of| of.sort_by_key(|&(bytes, i)| (bytes, Reverse(i))));
        let mut groups = Vec::new();
        loop {
            let next = |(disk, of): (&DiskId, &Vec<(u64, usize)>)| {
                of.last().map(|(bytes, _)| (*disk, of.len() + parity_on(disk), *bytes))
            };
            let mut heads: Vec<(DiskId, usize, u64)> = left.iter().filter_map(next).collect();
            let Some(longest) = heads.iter().map(|head| head.2).max() else { return groups };
            let is_about_as_long = |bytes: u64| bytes >= longest - longest / 4;
            heads.sort_by_key(|&(disk, count, bytes)| (!is_about_as_long(bytes), Reverse(count), Reverse(bytes), disk));
            let (mut group, mut domains) = (Vec::new(), HashMap::<String, usize>::new());
            for (disk, ..) in heads {
                let in_domain = domains.entry(self.domain(&disk)).or_default();
                if group.len() < width.max(1) && *in_domain < limit {
                    *in_domain += 1;
                    group.extend(left.get_mut(&disk).and_then(Vec::pop).map(|(_, i)| i));
                }
            }
            groups.push(group);
        }
    }

    /// Whether, with one more pack on this disk, every pack that has no parity yet would find room for it on other disks, in
    /// at least `groups` groups. Where disks are away, what is here has to do.
    pub(super) fn has_room_for_parity_of(
        &self,
        at: &Candidate<'_>,
        all: &[Candidate<'_>],
        bytes: u64,
        groups: u64,
        parity: usize,
    ) -> bool {
        let here = self.disks.values().filter(|d| !d.is_suspect()).count();
        let parity = parity.min(here.saturating_sub(1));
        // Packs of one disk are in groups of their own.
        let crowd = all.iter().map(|c| c.open).max().unwrap_or(0).max(at.open + 1);
        let open = |c: &Candidate<'_>| c.open + u64::from(c.disk.id == at.disk.id);
        let has_room = |other: &&Candidate<'_>| {
            let free = other.room.free.saturating_sub(other.room.total / 100);
            free > (bytes + PACK_EXCESS_BYTES).saturating_mul(open(other) + groups.max(crowd))
        };
        // The new pack takes room that those on other disks may have been counting on.
        all.iter().filter(|c| open(c) > 0).all(|c| {
            all.iter().filter(|other| other.disk.id != c.disk.id).filter(has_room).take(parity).count() == parity
        })
    }

    /// Up to `wanted` disks for packs of `bytes` beside members on `taken`: others than those, the least used domains first, then
    /// those with the most room that is promised to nothing in work, shared by the parity packs that are being written there and
    /// this one. Fewer come back where no more have room.
    pub fn parity_disks(
        &self,
        taken: &[DiskId],
        bytes: u64,
        wanted: usize,
        place: Place,
        run: &InWork,
    ) -> Vec<Arc<Disk>> {
        let mut in_domain: BTreeMap<String, usize> = BTreeMap::new();
        for disk in taken {
            *in_domain.entry(self.domain(disk)).or_default() += 1;
        }
        let mut chosen: Vec<Arc<Disk>> = Vec::new();
        let mut rooms: Vec<(u64, &Arc<Disk>)> = Vec::new();
        for disk in self.disks.values().filter(|d| d.takes_data() && !taken.contains(&d.id)) {
            let Ok(room) = disk.room(&self.io, bytes) else { continue };
            let usable = match place {
                Place::Ordinary => room.free.saturating_sub(room.total / 100),
                Place::Repair => room.free,
            };
            let usable = usable.saturating_sub(run.promised(&disk.id));
            if usable > bytes {
                rooms.push((usable / (run.parity_on(&disk.id) as u64 + 1), disk));
            }
        }
        while chosen.len() < wanted {
            let best = rooms
                .iter()
                .enumerate()
                .min_by_key(|(_, (usable, disk))| {
                    let crowd = in_domain.get(&self.domain(&disk.id)).copied().unwrap_or(0);
                    (crowd, Reverse(*usable), disk.id)
                })
                .map(|(i, _)| i);
            let Some(i) = best else { break };
            let (_, disk) = rooms.swap_remove(i); // a place in it
            *in_domain.entry(self.domain(&disk.id)).or_default() += 1;
            chosen.push(Arc::clone(disk));
        }
        chosen
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::StoreId;
    use crate::format::text::{KnownDisk, MARKER_FILE, Marker};
    use crate::io::memory::{ManualWorld, MemFs};
    use crate::io::{Fs, Io};
    use std::path::Path;

    fn id(n: u8) -> DiskId {
        DiskId([n; 16])
    }

    fn pool(domains: &[&str]) -> Pool {
        let fs = MemFs::new();
        let io = Io { fs: Arc::new(fs.clone()), world: Arc::new(ManualWorld::new(1, 1)) };
        let mut known = Vec::new();
        for n in 0..domains.len() as u8 {
            let path = format!("/{n}");
            let marker = Marker { store: StoreId([1; 16]), disk: id(n), label: format!("d{n}") };
            fs.create_dir_all(Path::new(&path)).unwrap();
            fs.write(Path::new(&path).join(MARKER_FILE), &marker.encode()).unwrap();
            known.push(KnownDisk { disk: id(n), label: marker.label, path: path.into_bytes(), serial: String::new() });
        }
        let (mut pool, _) = Pool::join(&io, StoreId([1; 16]), &known).unwrap();
        pool.set_domains(domains.iter().enumerate().map(|(n, d)| (id(n as u8), (*d).to_owned())));
        pool
    }

    #[test]
    fn members_lie_on_distinct_disks_and_parity_beside_them() {
        let pool = pool(&[""; 8]);
        let shape = pool.shape(2, 8);
        assert_eq!(shape, Shape { parity: 2, width: 6 });
        let packs: Vec<(DiskId, u64)> = (0..14).map(|i| (id(i % 8), 100 - u64::from(i))).collect();
        let groups = pool.plan_groups(&packs, shape.width, 2, &|_| 0);
        assert_eq!(groups.iter().map(Vec::len).sum::<usize>(), 14);
        for group in &groups {
            let disks: Vec<DiskId> = group.iter().map(|i| packs[*i].0).collect();
            let parity = pool.parity_disks(&disks, 1000, 2, Place::Ordinary, &InWork::default());
            assert_eq!(parity.len(), 2);
            let mut all: Vec<DiskId> = disks.into_iter().chain(parity.iter().map(|d| d.id)).collect();
            let n = all.len();
            all.sort();
            all.dedup();
            assert_eq!(all.len(), n, "two members on one disk");
        }
    }

    #[test]
    fn groups_are_as_few_as_can_be_and_leave_out_one_disk_as_often_as_another() {
        let pool = pool(&[""; 8]);
        let mut length = 0x9e37_u64; // in any order, and about as long
        let mut next = || {
            length = length.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            1000 + (length >> 33) % 100
        };
        let packs: Vec<(DiskId, u64)> = (0..24).map(|i| (id(i % 8), next())).collect();
        let groups = pool.plan_groups(&packs, 6, 2, &|_| 0);
        assert_eq!(groups.iter().map(Vec::len).collect::<Vec<_>>(), [6; 4]);
        for disk in 0..8 {
            let in_groups = groups.iter().filter(|g| g.iter().any(|i| packs[*i].0 == id(disk))).count();
            assert_eq!(in_groups, 3, "disk {disk}");
        }
        // One disk has four: it is in all four groups.
        let packs: Vec<(DiskId, u64)> = [0, 1, 2, 3, 0, 1, 2, 0, 1, 0].map(|d| (id(d), next())).into();
        assert_eq!(pool.plan_groups(&packs, 3, 2, &|_| 0).iter().map(Vec::len).collect::<Vec<_>>(), [3, 3, 3, 1]);
        // Three of them have parity in work: they are in the next group.
        let packs: Vec<(DiskId, u64)> = (0..12).map(|i| (id(i % 6), next())).collect();
        let groups = pool.plan_groups(&packs, 3, 2, &|d| usize::from(d.0[0] > 2));
        assert!(groups[0].iter().all(|i| packs[*i].0.0[0] > 2), "{groups:?}");
        // What is much shorter does not make a group's parity as long as the longest for nothing.
        let packs: Vec<(DiskId, u64)> = (0..12).map(|i| (id(i % 6), if i < 6 { 1000 } else { 10 })).collect();
        for group in pool.plan_groups(&packs, 3, 2, &|_| 0) {
            assert!(group.iter().all(|i| packs[*i].1 == packs[group[0]].1));
        }
    }

    #[test]
    fn no_domain_holds_more_of_a_group_than_its_parity_where_domains_suffice() {
        let enough = pool(&["a", "a", "a", "b", "b", "b", "c", "c", "c", "d", "d", "d"]);
        let shape = Shape { parity: 2, width: 6 };
        assert!(enough.domains_suffice(shape));
        let packs: Vec<(DiskId, u64)> = (0..12).map(|i| (id(i), 5)).collect();
        for group in enough.plan_groups(&packs, 6, 2, &|_| 0) {
            let disks: Vec<DiskId> = group.iter().map(|i| packs[*i].0).collect();
            let parity = enough.parity_disks(&disks, 10, 2, Place::Ordinary, &InWork::default());
            for domain in 0..4u8 {
                let of = |d: &DiskId| d.0[0] / 3 == domain;
                let n = disks.iter().filter(|d| of(d)).count() + parity.iter().filter(|d| of(&d.id)).count();
                assert!(n <= 2, "{n} members in one domain");
            }
        }
        let few = pool(&["a", "a", "a", "a", "b", "b", "b", "b"]);
        assert!(!few.domains_suffice(few.shape(2, 8)));
        assert_eq!(few.plan_groups(&(0..8).map(|i| (id(i), 5)).collect::<Vec<_>>(), 6, 2, &|_| 0)[0].len(), 6);
    }
}
