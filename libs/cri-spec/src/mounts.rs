//! What a container sees of the node's files.

mod bind;
mod volumes;

use std::collections::HashSet;
use std::path::Path;

use berth_mount::mountinfo::{self, MountInfo};
use berth_runtime_spec::{Mount, base_mount};
use oci_spec::runtime::LinuxNamespaceType;

use crate::cri::NamespaceMode;
use crate::draft::Draft;
use crate::error::{MountFault, bounded};
use crate::namespaces::container_options;
use crate::paths::clean;
use crate::{ContainerFacts, Error, cri};

pub use volumes::image_volumes;

/// How many mounts one request has.
const MAX_MOUNTS: usize = 4096;

const SHM: &str = "/dev/shm";
const CGROUP: &str = "/sys/fs/cgroup";

/// What a cgroup2 file system has for everybody, and loses where somebody mounts it without.
const KEPT_OF_CGROUP: [&str; 2] = ["nsdelegate", "memory_recursiveprot"];

/// A mount and the cleaned path that it goes to.
struct Placed<'a> {
    to: String,
    of: std::borrow::Cow<'a, cri::Mount>,
}

/// Gives a container its mounts: of the defaults those whose places nothing takes, then the
/// request's, the pod's files and the image's volumes, in this order of who wins a place, and
/// sorted so that none hides another. What asks for it gets the label of the container's files.
pub(crate) fn apply(
    draft: &mut Draft,
    config: &cri::ContainerConfig,
    facts: &ContainerFacts<'_>,
    label: Option<&str>,
) -> Result<(), Error> {
    bounded("mounts", config.mounts.len(), MAX_MOUNTS)?;
    bounded("volumes of the image", facts.volumes.len(), MAX_MOUNTS)?;
    add_control_groups(draft, facts)?;
    let placed = place(draft, config, facts)?;
    let taken: HashSet<&str> = placed.iter().map(|mount| mount.to.as_str()).collect();
    let stays = |mount: &Mount| {
        let to = clean(&mount.destination().to_string_lossy());
        let hidden = taken.contains("/dev") && to.starts_with("/dev/");
        !hidden && !taken.contains(to.as_str())
    };
    draft.mounts.retain(stays);
    let mut table = Table::default();
    for mount in &placed {
        let made = bind::make(&mount.of, &mount.to, facts.handler, &mut table)?;
        if let Some(label) = label.filter(|_| mount.of.selinux_relabel) {
            bind::relabel(&mount.of, label)?;
        }
        if let Some(propagation) = bind::of_root(&mount.of) {
            // What is to be seen on both sides needs a root that is shared, too.
            let have = draft.linux.rootfs_propagation().as_deref();
            if have != Some(bind::SHARED) {
                draft.linux.set_rootfs_propagation(Some(propagation.to_owned()));
            }
        }
        draft.mounts.push(made);
    }
    Ok(())
}

/// All that is bound, in its order.
fn place<'a>(
    draft: &Draft,
    config: &'a cri::ContainerConfig,
    facts: &ContainerFacts<'a>,
) -> Result<Vec<Placed<'a>>, Error> {
    use std::borrow::Cow::{Borrowed, Owned};
    let mut placed = Vec::new();
    for of in &config.mounts {
        placed.push(Placed { to: destination(of)?, of: Borrowed(of) });
    }
    let mut taken: HashSet<String> = placed.iter().map(|mount| mount.to.clone()).collect();
    for of in pod_files(config, facts) {
        let to = of.container_path.clone();
        if taken.insert(to.clone()) {
            placed.push(Placed { to, of: Owned(of) });
        }
    }
    // An image can't hide what we put into a container, nor all of itself.
    taken.extend(draft.mounts.iter().map(|mount| clean(&mount.destination().to_string_lossy())));
    taken.insert("/".to_owned());
    for of in facts.volumes {
        let to = destination(of)?;
        if taken.insert(to.clone()) {
            placed.push(Placed { to, of: Borrowed(of) });
        }
    }
    placed.sort_by_key(|mount| mount.to.matches('/').count());
    Ok(placed)
}

/// Where a mount goes. A relative path is one below the root.
fn destination(of: &cri::Mount) -> Result<String, MountFault> {
    if of.container_path.is_empty() {
        let host = of.host_path.clone();
        return Err(MountFault::Path { host, container: String::new() });
    }
    Ok(clean(&of.container_path))
}

/// The pod's files that are there, as mounts. In a user namespace they are its root's already: not every runtime maps
/// mounts.
fn pod_files(config: &cri::ContainerConfig, facts: &ContainerFacts<'_>) -> Vec<cri::Mount> {
    let options = container_options(config);
    let linux = config.linux.as_ref();
    let security = linux.and_then(|linux| linux.security_context.as_ref());
    let readonly = security.is_some_and(|security| security.readonly_rootfs);
    let files = facts.files;
    let shm = if options.ipc() == NamespaceMode::Node { Path::new(SHM) } else { &files.shm };
    let mut mounts = Vec::new();
    let etc = [
        ("/etc/hostname", files.hostname.as_path()),
        ("/etc/hosts", &files.hosts),
        ("/etc/resolv.conf", &files.resolv_conf),
    ];
    for (container_path, host) in etc {
        mounts.push(cri::Mount {
            container_path: container_path.to_owned(),
            host_path: host.to_string_lossy().into_owned(),
            readonly,
            selinux_relabel: true,
            ..Default::default()
        });
    }
    mounts.push(cri::Mount {
        container_path: SHM.to_owned(),
        host_path: shm.to_string_lossy().into_owned(),
        selinux_relabel: shm != Path::new(SHM),
        ..Default::default()
    });
    mounts.retain(|mount| Path::new(&mount.host_path).exists());
    mounts
}

/// The control groups, as the container may see them.
fn add_control_groups(draft: &mut Draft, facts: &ContainerFacts<'_>) -> Result<(), Error> {
    let access = if facts.handler.cgroup_writable { "rw" } else { "ro" };
    let mut options = vec!["nosuid", "noexec", "nodev", "relatime", access];
    let mut namespaces = draft.linux.namespaces().iter().flatten();
    let own = namespaces.any(|one| one.typ() == LinuxNamespaceType::Cgroup);
    if !own && facts.node.unified {
        let mounts = mountinfo::read()?;
        let of_node = mounts.iter().rfind(|mount| mount.mount_point == Path::new(CGROUP));
        let has = of_node.map_or("", |mount| &mount.super_options);
        options.extend(KEPT_OF_CGROUP.iter().filter(|one| has.split(',').any(|o| o == **one)));
    }
    draft.mounts.push(base_mount(Path::new(CGROUP), "cgroup", Path::new("cgroup"), &options));
    Ok(())
}

/// The node's mounts, read when the first mount asks for them.
#[derive(Default)]
pub(crate) struct Table(Option<Vec<MountInfo>>);

impl Table {
    /// The mount that a path is in, which has no links in it.
    fn of(&mut self, path: &Path) -> Result<Option<&MountInfo>, Error> {
        if self.0.is_none() {
            self.0 = Some(mountinfo::read()?);
        }
        let mounts = self.0.iter().flatten();
        let above = mounts.filter(|mount| path.starts_with(&mount.mount_point));
        // Of several at one place the last is the one that is seen.
        Ok(above.max_by_key(|mount| mount.mount_point.components().count()))
    }
}

#[cfg(test)]
mod tests;
