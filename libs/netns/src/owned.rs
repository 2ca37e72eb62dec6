//! A network namespace that a user namespace of its own owns: who is root there may change it, and nothing else.

use std::os::fd::AsFd;
use std::path::Path;

use rustix::fs::{Mode, OFlags, open};

use crate::entered::{inside, step};
use crate::held::{Held, Maps};
use crate::{Error, NetNs, loopback};

/// Both, each pinned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owned {
    /// The network namespace.
    pub network: NetNs,
    /// The user namespace: of such a pin only its path, and removing it, are of use.
    pub users: NetNs,
}

impl Owned {
    /// Makes both and pins them under one name: the network namespace in `folder`, the other in `users`. The folders are
    /// made (0755) where they are missing. A kill leaves what it leaves of [`NetNs::make`].
    ///
    /// # Errors
    /// [`Error::Thread`] for maps that are none; as [`NetNs::make`].
    pub fn make(folder: &Path, users: &Path, name: &str, maps: &Maps) -> Result<Self, Error> {
        let network = NetNs::in_folder(folder, name)?;
        let users = NetNs::in_folder(users, name)?;
        let held = Held::new(maps, true).map_err(step("make a user namespace"))?;
        let own = held.namespace("net");
        let fd = open(&own, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
            .map_err(step("open a network namespace"))?;
        inside(fd.as_fd(), loopback::up)?.map_err(step("set up the loopback device"))?;
        // Whoever finds a network namespace finds its owner.
        users.pin(&held.namespace("user"))?;
        if let Err(error) = network.pin(&own) {
            // What made it fail is told; a pin that stays is a leftover like any other.
            let _ = users.remove();
            return Err(error);
        }
        Ok(Self { network, users })
    }
}
