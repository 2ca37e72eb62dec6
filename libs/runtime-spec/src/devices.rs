//! Devices of the host that a container may use.

use std::io::ErrorKind;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use oci_spec::runtime::{LinuxDevice, LinuxDeviceCgroup, LinuxDeviceType};

use crate::{DeviceRequest, Error};

/// What may be done with a device unless fewer letters are asked for: read, write, make.
const ALL_ACCESS: &str = "rwm";

/// Character devices that every container may use: number and minor (`None` is any).
const DEFAULT: [(i64, Option<i64>); 9] = [
    (1, Some(3)), // null
    (1, Some(8)), // random
    (1, Some(7)), // full
    (5, Some(0)), // tty
    (1, Some(5)), // zero
    (1, Some(9)), // urandom
    (5, Some(1)), // console
    (136, None),  // pts
    (5, Some(2)), // ptmx
];

/// How many devices of a folder are taken, and how deep folders lie in each other.
const MAX_DEVICES: usize = 4096;
const MAX_DEPTH: usize = 16;

/// Directories under /dev that hold no devices of the host.
const SKIPPED: [&str; 7] = ["pts", "shm", "fd", "mqueue", ".lxc", ".lxd-mounts", ".udev"];

/// Deny everything, then allow the default devices.
pub(crate) fn default_rules() -> Vec<LinuxDeviceCgroup> {
    let mut rules = none_allowed();
    let character = Some(LinuxDeviceType::C);
    for (major, minor) in DEFAULT {
        rules.push(rule(true, character, Some(major), minor, ALL_ACCESS));
    }
    rules
}

/// Allow everything, for a privileged container.
#[must_use]
pub fn all_devices_allowed() -> Vec<LinuxDeviceCgroup> {
    vec![rule(true, None, None, None, ALL_ACCESS)]
}

/// Deny everything, which the runtime follows with the devices that every container has.
pub(crate) fn none_allowed() -> Vec<LinuxDeviceCgroup> {
    vec![rule(false, None, None, None, ALL_ACCESS)]
}

/// The rule that allows a device what the letters (of `rwm`) say.
#[must_use]
pub fn device_rule(node: &LinuxDevice, access: &str) -> LinuxDeviceCgroup {
    rule(true, Some(node.typ()), Some(node.major()), Some(node.minor()), access)
}

/// The node and the rule for one requested device.
pub(crate) fn requested(
    request: &DeviceRequest,
) -> Result<(LinuxDevice, LinuxDeviceCgroup), Error> {
    if !request.target.is_absolute() {
        return Err(Error::RelativePath { what: "device", path: request.target.clone() });
    }
    let node = node(&request.source, &request.target)?
        .ok_or_else(|| Error::NotADevice(request.source.clone()))?;
    let rule = device_rule(&node, &request.access);
    Ok((node, rule))
}

/// Every device node below `/dev`, for a privileged container.
///
/// # Errors
/// [`Error::StatDevice`] and [`Error::ManyDevices`].
pub fn host_devices() -> Result<Vec<LinuxDevice>, Error> {
    device_nodes(Path::new("/dev"), Path::new("/dev"))
}

/// The device at `source`, to be seen at `target`; of a folder all devices below it, but for
/// those of file systems that have their own, the console, and what is behind links.
///
/// # Errors
/// [`Error::NotADevice`], [`Error::StatDevice`], [`Error::ManyDevices`].
pub fn device_nodes(source: &Path, target: &Path) -> Result<Vec<LinuxDevice>, Error> {
    let status = fs_err::metadata(source);
    let status = status.map_err(|cause| Error::StatDevice(source.to_owned(), cause))?;
    let mut found = Vec::new();
    if status.is_dir() {
        walk(source, target, MAX_DEPTH, &mut found)?;
    } else {
        let node = node(source, target)?;
        found.push(node.ok_or_else(|| Error::NotADevice(source.to_owned()))?);
    }
    Ok(found)
}

fn walk(
    dir: &Path,
    target: &Path,
    depth: usize,
    found: &mut Vec<LinuxDevice>,
) -> Result<(), Error> {
    let unreadable = |cause| Error::StatDevice(dir.to_owned(), cause);
    for entry in fs_err::read_dir(dir).map_err(unreadable)? {
        let entry = entry.map_err(unreadable)?;
        let kind = entry.file_type().map_err(unreadable)?;
        let name = entry.file_name();
        let target = target.join(&name);
        if found.len() >= MAX_DEVICES || depth == 0 {
            return Err(Error::ManyDevices { path: dir.to_owned(), most: MAX_DEVICES });
        }
        if kind.is_dir() {
            if !SKIPPED.iter().any(|skipped| name == *skipped) {
                walk(&entry.path(), &target, depth - 1, found)?;
            }
        } else if (kind.is_char_device() || kind.is_block_device()) && name != "console" {
            match node(&entry.path(), &target) {
                // It has gone since the folder was read.
                Err(Error::StatDevice(_, cause)) if cause.kind() == ErrorKind::NotFound => {}
                node => found.extend(node?),
            }
        }
    }
    Ok(())
}

/// The node at `source`; `None` when it is no device.
fn node(source: &Path, target: &Path) -> Result<Option<LinuxDevice>, Error> {
    let status = match fs_err::metadata(source) {
        Ok(status) => status,
        Err(cause) => return Err(Error::StatDevice(source.to_owned(), cause)),
    };
    let kind = if status.file_type().is_block_device() {
        LinuxDeviceType::B
    } else if status.file_type().is_char_device() {
        LinuxDeviceType::C
    } else {
        return Ok(None);
    };
    let mut device = LinuxDevice::default();
    device
        .set_path(target.to_owned())
        .set_typ(kind)
        .set_major(rustix::fs::major(status.rdev()).into())
        .set_minor(rustix::fs::minor(status.rdev()).into())
        .set_file_mode(Some(status.mode() & 0o7777))
        .set_uid(Some(status.uid()))
        .set_gid(Some(status.gid()));
    Ok(Some(device))
}

fn rule(
    allow: bool,
    kind: Option<LinuxDeviceType>,
    major: Option<i64>,
    minor: Option<i64>,
    access: &str,
) -> LinuxDeviceCgroup {
    let mut rule = LinuxDeviceCgroup::default();
    rule.set_allow(allow).set_typ(kind).set_major(major).set_minor(minor);
    rule.set_access(Some(access.to_owned()));
    rule
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(source: &str, target: &str) -> DeviceRequest {
        DeviceRequest { source: source.into(), target: target.into(), access: "rw".into() }
    }

    #[test]
    fn a_device_keeps_its_numbers_under_another_name() {
        let (node, rule) = requested(&request("/dev/null", "/dev/nothing")).unwrap();
        assert_eq!((node.major(), node.minor()), (1, 3));
        assert_eq!(node.path(), Path::new("/dev/nothing"));
        assert_eq!(rule.access().as_deref(), Some("rw"));
    }

    fn make(path: &Path) {
        let device = rustix::fs::makedev(1, 3);
        let kind = rustix::fs::FileType::CharacterDevice;
        let mode = rustix::fs::Mode::from_raw_mode(0o600);
        rustix::fs::mknodat(rustix::fs::CWD, path, kind, mode, device).unwrap();
    }

    #[test]
    fn a_folder_is_all_devices_below_it_and_no_links() {
        let dir = tempfile::tempdir().unwrap();
        for folder in ["sub", "pts"] {
            fs_err::create_dir(dir.path().join(folder)).unwrap();
        }
        for name in ["a", "sub/b", "pts/0", "console"] {
            make(&dir.path().join(name));
        }
        fs_err::write(dir.path().join("file"), "").unwrap();
        fs_err::os::unix::fs::symlink("/dev/zero", dir.path().join("link")).unwrap();
        let nodes = device_nodes(dir.path(), Path::new("/dev/mine")).unwrap();
        let mut paths: Vec<_> = nodes.iter().map(|node| node.path().clone()).collect();
        paths.sort();
        assert_eq!(paths, [Path::new("/dev/mine/a"), Path::new("/dev/mine/sub/b")]);
    }

    #[test]
    fn folders_within_folders_have_an_end() {
        let dir = tempfile::tempdir().unwrap();
        let deep = dir.path().join("d/".repeat(MAX_DEPTH + 1));
        fs_err::create_dir_all(deep).unwrap();
        let refused = device_nodes(dir.path(), Path::new("/dev/x"));
        assert!(matches!(refused, Err(Error::ManyDevices { .. })));
    }

    #[test]
    fn what_is_no_device_is_refused() {
        assert!(matches!(requested(&request("/etc", "/x")), Err(Error::NotADevice(_))));
        assert!(matches!(requested(&request("/nope", "/x")), Err(Error::StatDevice(..))));
        let relative = requested(&request("/dev/null", "x"));
        assert!(matches!(relative, Err(Error::RelativePath { .. })));
    }
}
