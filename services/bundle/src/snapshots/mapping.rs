//! Labels that ask for a snapshot whose owners are mapped into a user namespace.
//!
//! Where the kernel can, what the parents have is shown so when the snapshot is mounted, and what
//! is written belongs to the mapped owners. A snapshot that is a copy of its parent has the owners
//! of its files changed. Else clients make a copy with its owners changed and pass the labels
//! nevertheless: a snapshot on such a parent is right as it is, and on any other it would belong to
//! users that the container does not have, and is refused.

use berth_ids::Labels;

use crate::Error;

const UID: &str = "containerd.io/snapshot/uidmapping";
const GID: &str = "containerd.io/snapshot/gidmapping";

/// Numbers inside, outside, and how many.
type Range = (u32, u32, u32);

/// Whom files are to belong to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Owners {
    uids: Vec<Range>,
    gids: Vec<Range>,
    /// Owner and group that root is mapped to.
    pub(super) root: (u32, u32),
}

impl Owners {
    /// What the labels ask for.
    pub(super) fn of(labels: &Labels) -> Result<Option<Self>, Error> {
        if !labels.contains_key(UID) && !labels.contains_key(GID) {
            return Ok(None);
        }
        let (uids, uid) = ranges(labels, UID)?;
        let (gids, gid) = ranges(labels, GID)?;
        Ok(Some(Self { uids, gids, root: (uid, gid) }))
    }

    /// Whom a file of this owner and group is to belong to. Those that are not mapped stay.
    pub(super) fn mapped(&self, uid: u32, gid: u32) -> (u32, u32) {
        (map(&self.uids, uid), map(&self.gids, gid))
    }
}

fn map(ranges: &[Range], id: u32) -> u32 {
    let inside = |(first, outside, size): &Range| {
        let offset = id.checked_sub(*first).filter(|offset| offset < size)?;
        outside.checked_add(offset)
    };
    ranges.iter().find_map(inside).unwrap_or(id)
}

/// The options with which a mount shows the owners that the labels ask for.
pub(super) fn options(labels: &Labels) -> Vec<String> {
    let option = |key: &str, label: &str| Some(format!("{key}={}", labels.get(label)?));
    option("uidmap", UID).into_iter().chain(option("gidmap", GID)).collect()
}

/// A list of `CONTAINER:HOST:SIZE`, and what 0 is mapped to.
fn ranges(labels: &Labels, label: &'static str) -> Result<(Vec<Range>, u32), Error> {
    let value = labels.get(label).map_or("", String::as_str);
    let wrong = |reason| Error::Argument { what: label, value: value.to_owned(), reason };
    let mut ranges = Vec::new();
    let mut root = None;
    for range in value.split(',') {
        let numbers: Option<Vec<u32>> = range.split(':').map(|part| part.parse().ok()).collect();
        let Some([inside, outside, size]) = numbers.as_deref() else {
            return Err(wrong("it is no list of CONTAINER:HOST:SIZE"));
        };
        if *inside == 0 && *size > 0 {
            root = Some(*outside);
        }
        ranges.push((*inside, *outside, *size));
    }
    let root = root.ok_or_else(|| wrong("it does not map 0"))?;
    Ok((ranges, root))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(uid: &str, gid: &str) -> Result<Option<Owners>, Error> {
        Owners::of(&[(UID, uid), (GID, gid)].map(|(k, v)| (k.to_owned(), v.to_owned())).into())
    }

    #[test]
    fn labels_tell_who_root_is() {
        assert_eq!(Owners::of(&Labels::new()).unwrap(), None);
        let root = |uid, gid| asked(uid, gid).unwrap().unwrap().root;
        assert_eq!(root("0:1000:65536", "0:2000:65536"), (1000, 2000));
        assert_eq!(root("1:5:10,0:7:1", "0:0:1"), (7, 0));
        for (uid, gid) in [("0:1:1", ""), ("1:1:1", "0:1:1"), ("0:1", "0:1:1"), ("x", "0:1:1")] {
            assert!(asked(uid, gid).is_err(), "{uid} {gid}");
        }
    }

    #[test]
    fn each_range_maps_its_own() {
        let owners = asked("0:1000:1,1:5000:10", "0:2000:65536").unwrap().unwrap();
        assert_eq!(owners.mapped(0, 0), (1000, 2000));
        assert_eq!(owners.mapped(10, 65535), (5009, 67535));
        assert_eq!(owners.mapped(11, 65536), (11, 65536));
    }
}
