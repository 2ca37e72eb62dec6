//! Giving a new snapshot the owners that its labels ask for.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Gid, Uid};

use super::Driver;
use crate::Error;
use crate::snapshots::mapping::Owners;
use crate::snapshots::owners::change_owners;

impl Driver {
    /// Gives the new snapshot at `path` the owners that its labels ask for, or refuses.
    pub(in crate::snapshots) fn map(
        &self,
        path: &Path,
        parents: &[u64],
        wanted: Option<&Owners>,
    ) -> Result<(), Error> {
        let Some(wanted) = wanted else { return Ok(()) };
        let shown = self.show_own(path, parents)?;
        self.map_shown(shown.path(), parents, wanted)?;
        shown.close()
    }

    fn map_shown(&self, own: &Path, parents: &[u64], wanted: &Owners) -> Result<(), Error> {
        let (uid, gid) = wanted.root;
        let failed = |step, path: &Path| {
            let path = path.to_owned();
            move |source| Error::File { step, path, source }
        };
        let Some(parent) = parents.first().filter(|_| !self.maps()) else {
            let (owner, group) = (Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)));
            return rustix::fs::chownat(CWD, own, owner, group, AtFlags::empty())
                .map_err(|errno| failed("set the owner of", own)(errno.into()));
        };
        // A copy has the owners of its parent.
        let parent = match self.is_copied() {
            true => own.to_owned(),
            false => self.content(&self.directory(*parent)),
        };
        let found = fs_err::metadata(&parent).map_err(failed("look at", &parent))?;
        if (found.uid(), found.gid()) == wanted.root {
            return Ok(());
        }
        if self.is_whole() {
            return change_owners(own, wanted);
        }
        let reason = "the parent's root is not mapped so and the kernel cannot show it so, \
                      change the owners of a copy of the parent first";
        Err(Error::State { what: "mapping of", name: format!("0 to {uid}:{gid}"), reason })
    }
}
