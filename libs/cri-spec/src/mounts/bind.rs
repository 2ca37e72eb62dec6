//! One bind mount: what it is of, and how it is made.

use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use berth_runtime_spec::{Mount, base_mount};

use super::Table;
use crate::cri::MountPropagation as Propagation;
use crate::error::{MountFault, bounded};
use crate::facts::Handler;
use crate::namespaces::id_mapping;
use crate::{Error, cri};

/// The propagation of a root whose mounts the node is to see.
pub(super) const SHARED: &str = "rshared";
const SLAVE: &str = "rslave";
const PRIVATE: &str = "rprivate";

/// The rights of a folder that is made because it was missing.
const MODE: u32 = 0o755;

/// How many ranges of ids, and how many options, one mount has.
const MAX_PARTS: usize = 64;

/// Options that say how a mount is used; others would make another mount of it.
const OPTIONS: [&str; 14] = [
    "nosuid",
    "suid",
    "nodev",
    "dev",
    "noexec",
    "exec",
    "noatime",
    "atime",
    "nodiratime",
    "diratime",
    "relatime",
    "norelatime",
    "strictatime",
    "nosymfollow",
];

/// The mount of a spec. A folder of the node that is missing is made; a link is followed there.
pub(super) fn make(
    of: &cri::Mount,
    to: &str,
    handler: &Handler,
    table: &mut Table,
) -> Result<Mount, Error> {
    let source = source(of)?;
    let mut options = vec!["rbind", propagation(of, &source, table)?, access(of, handler)?];
    more_options(of, handler, &mut options)?;
    let mut mount = base_mount(Path::new(to), "bind", &source, &options);
    for ids in [&of.uid_mappings, &of.gid_mappings] {
        bounded("id mappings of a mount", ids.len(), MAX_PARTS)?;
    }
    let mappings = |ids: &[cri::IdMapping]| {
        (!ids.is_empty()).then(|| ids.iter().map(id_mapping).collect::<Vec<_>>())
    };
    mount.set_uid_mappings(mappings(&of.uid_mappings));
    mount.set_gid_mappings(mappings(&of.gid_mappings));
    Ok(mount)
}

/// Gives what is bound a label, with all below it. A link on the way may have been made by who is not to have what it
/// leads to: the path is the one that was asked for.
pub(super) fn relabel(of: &cri::Mount, label: &str) -> Result<(), MountFault> {
    let path = PathBuf::from(&of.host_path);
    let done = berth_selinux::relabel(&path, label, berth_selinux::Bounds::default());
    done.map_err(|source| MountFault::Relabel { path, label: label.to_owned(), source })
}

/// What the root of the container needs for a mount's propagation.
pub(super) fn of_root(of: &cri::Mount) -> Option<&'static str> {
    match of.propagation() {
        Propagation::PropagationPrivate => None,
        Propagation::PropagationHostToContainer => Some(SLAVE),
        Propagation::PropagationBidirectional => Some(SHARED),
    }
}

fn source(of: &cri::Mount) -> Result<PathBuf, MountFault> {
    let host = Path::new(&of.host_path);
    if !host.is_absolute() {
        let (host, container) = (of.host_path.clone(), of.container_path.clone());
        return Err(MountFault::Path { host, container });
    }
    if let Err(cause) = fs_err::metadata(host) {
        if cause.kind() != std::io::ErrorKind::NotFound {
            return Err(MountFault::Stat(host.to_owned(), cause));
        }
        let made = std::fs::DirBuilder::new().recursive(true).mode(MODE).create(host);
        made.map_err(|cause| MountFault::Make(host.to_owned(), cause))?;
    }
    let unresolved = |cause| MountFault::Resolve(host.to_owned(), cause);
    let status = fs_err::symlink_metadata(host).map_err(unresolved)?;
    if status.is_symlink() {
        fs_err::canonicalize(host).map_err(unresolved)
    } else {
        Ok(host.into())
    }
}

/// How later mounts are seen, which has to fit the mount that the source is in.
fn propagation(of: &cri::Mount, source: &Path, table: &mut Table) -> Result<&'static str, Error> {
    let (option, kinds): (_, &[&str]) = match of.propagation() {
        Propagation::PropagationPrivate => return Ok(PRIVATE),
        Propagation::PropagationBidirectional => (SHARED, &["shared:"]),
        Propagation::PropagationHostToContainer => (SLAVE, &["shared:", "master:"]),
    };
    let unresolved = |cause| MountFault::Resolve(source.to_owned(), cause);
    let path = fs_err::canonicalize(source).map_err(unresolved)?;
    let mount = table.of(&path)?;
    let tags = mount.map(|mount| mount.propagation.as_slice()).unwrap_or_default();
    if tags.iter().any(|tag| kinds.iter().any(|kind| tag.starts_with(kind))) {
        return Ok(option);
    }
    let at = mount.map_or_else(|| "/".into(), |mount| mount.mount_point.clone());
    let path = source.to_owned();
    let fault = if option == SHARED {
        MountFault::NotShared { path, at }
    } else {
        MountFault::NotSharedOrSlave { path, at }
    };
    Err(fault.into())
}

fn access(of: &cri::Mount, handler: &Handler) -> Result<&'static str, MountFault> {
    let host = || of.host_path.clone();
    match (of.readonly, of.recursive_read_only) {
        (false, false) => Ok("rw"),
        (true, false) => Ok("ro"),
        (false, true) => Err(MountFault::Writable(host())),
        (true, true) if !handler.recursive_read_only => {
            Err(MountFault::NoRecursiveReadOnly(host()))
        }
        (true, true) if of.propagation != Propagation::PropagationPrivate as i32 => {
            let name = |one: Propagation| one.as_str_name().to_owned();
            let propagation = Propagation::try_from(of.propagation);
            let propagation = propagation.map_or_else(|_| of.propagation.to_string(), name);
            Err(MountFault::Propagation { propagation, host: host() })
        }
        (true, true) => Ok("rro"),
    }
}

/// Adds what else is asked for, where the handler was said to honour it.
fn more_options<'a>(
    of: &'a cri::Mount,
    handler: &Handler,
    options: &mut Vec<&'a str>,
) -> Result<(), Error> {
    bounded("options of a mount", of.mount_options.len(), MAX_PARTS)?;
    for option in &of.mount_options {
        if !handler.mount_options || !OPTIONS.contains(&option.as_str()) {
            let (option, host) = (option.clone(), of.host_path.clone());
            return Err(MountFault::Option { option, host }.into());
        }
        options.push(option);
    }
    Ok(())
}
