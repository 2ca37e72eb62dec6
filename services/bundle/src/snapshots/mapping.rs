//! Labels that ask for a snapshot whose owners are mapped into a user namespace.
//!
//! These snapshotters map no owners (they do not announce `remap-ids`). Clients then make a copy
//! of the parent with its owners changed, and pass the labels nevertheless: a snapshot on such a
//! parent is right as it is. On any other it would belong to users that the container does not
//! have, and is refused.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use berth_ids::Labels;
use rustix::fs::{CWD, Gid, Uid};

use super::driver::Driver;
use crate::Error;

const UID: &str = "containerd.io/snapshot/uidmapping";
const GID: &str = "containerd.io/snapshot/gidmapping";

/// Who owns the root directory: the owner and group that root in the container is mapped to.
pub(super) type Root = (u32, u32);

/// What the labels ask for.
pub(super) fn root(labels: &Labels) -> Result<Option<Root>, Error> {
    if !labels.contains_key(UID) && !labels.contains_key(GID) {
        return Ok(None);
    }
    Ok(Some((host(labels, UID)?, host(labels, GID)?)))
}

/// What 0 is mapped to by a list of `CONTAINER:HOST:SIZE`.
fn host(labels: &Labels, label: &'static str) -> Result<u32, Error> {
    let value = labels.get(label).map_or("", String::as_str);
    let wrong = |reason| Error::Argument { what: label, value: value.to_owned(), reason };
    let mut found = None;
    for range in value.split(',') {
        let numbers: Option<Vec<u32>> = range.split(':').map(|part| part.parse().ok()).collect();
        let Some([container, host, size]) = numbers.as_deref() else {
            return Err(wrong("it is no list of CONTAINER:HOST:SIZE"));
        };
        if *container == 0 && *size > 0 {
            found = Some(*host);
        }
    }
    found.ok_or_else(|| wrong("it does not map 0"))
}

impl Driver {
    /// Gives the new snapshot at `path` the owner that its labels ask for, or refuses.
    pub(super) fn map(
        &self,
        path: &Path,
        parents: &[u64],
        root: Option<Root>,
    ) -> Result<(), Error> {
        let Some((uid, gid)) = root else { return Ok(()) };
        let own = self.content(path);
        let failed = |step, path: &Path| {
            let path = path.to_owned();
            move |source| Error::File { step, path, source }
        };
        let Some(parent) = parents.first() else {
            let (owner, group) = (Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)));
            return rustix::fs::chownat(CWD, &own, owner, group, rustix::fs::AtFlags::empty())
                .map_err(|errno| failed("set the owner of", &own)(errno.into()));
        };
        let parent = self.content(&self.directory(*parent));
        let found = fs_err::metadata(&parent).map_err(failed("look at", &parent))?;
        if (found.uid(), found.gid()) == (uid, gid) {
            return Ok(());
        }
        let reason = "the parent's root is not mapped so and this snapshotter maps no owners, \
                      change the owners of a copy of the parent first";
        Err(Error::State { what: "mapping of", name: format!("0 to {uid}:{gid}"), reason })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(uid: &str, gid: &str) -> Result<Option<Root>, Error> {
        root(&[(UID, uid), (GID, gid)].map(|(k, v)| (k.to_owned(), v.to_owned())).into())
    }

    #[test]
    fn labels_tell_who_root_is() {
        assert_eq!(root(&Labels::new()).unwrap(), None);
        assert_eq!(asked("0:1000:65536", "0:2000:65536").unwrap(), Some((1000, 2000)));
        assert_eq!(asked("1:5:10,0:7:1", "0:0:1").unwrap(), Some((7, 0)));
        for (uid, gid) in [("0:1:1", ""), ("1:1:1", "0:1:1"), ("0:1", "0:1:1"), ("x", "0:1:1")] {
            assert!(asked(uid, gid).is_err(), "{uid} {gid}");
        }
    }
}
