//! Devices of the host that a container may use.

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

/// Directories under /dev that hold no devices of the host.
const SKIPPED: [&str; 7] = ["pts", "shm", "fd", "mqueue", ".lxc", ".lxd-mounts", ".udev"];

/// Deny everything, then allow the default devices.
pub(crate) fn default_rules() -> Vec<LinuxDeviceCgroup> {
    let mut rules = vec![rule(false, None, None, None, ALL_ACCESS)];
    let character = Some(LinuxDeviceType::C);
    for (major, minor) in DEFAULT {
        rules.push(rule(true, character, Some(major), minor, ALL_ACCESS));
    }
    rules
}

/// Allow everything, for a privileged container.
pub(crate) fn allow_all() -> Vec<LinuxDeviceCgroup> {
    vec![rule(true, None, None, None, ALL_ACCESS)]
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
    let rule =
        rule(true, Some(node.typ()), Some(node.major()), Some(node.minor()), &request.access);
    Ok((node, rule))
}

/// Every device node below `/dev`, for a privileged container.
pub(crate) fn of_host() -> Result<Vec<LinuxDevice>, Error> {
    let mut found = Vec::new();
    walk(Path::new("/dev"), &mut found)?;
    Ok(found)
}

fn walk(dir: &Path, found: &mut Vec<LinuxDevice>) -> Result<(), Error> {
    let unreadable = |cause| Error::StatDevice(dir.to_owned(), cause);
    for entry in fs_err::read_dir(dir).map_err(unreadable)? {
        let entry = entry.map_err(unreadable)?;
        let kind = entry.file_type().map_err(unreadable)?;
        let name = entry.file_name();
        if kind.is_dir() {
            if !SKIPPED.iter().any(|skipped| name == *skipped) {
                walk(&entry.path(), found)?;
            }
        } else if (kind.is_char_device() || kind.is_block_device()) && name != "console" {
            found.extend(node(&entry.path(), &entry.path())?);
        }
    }
    Ok(())
}

/// The node at `source`; `None` when it is no device, or has gone meanwhile.
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

    #[test]
    fn what_is_no_device_is_refused() {
        assert!(matches!(requested(&request("/etc", "/x")), Err(Error::NotADevice(_))));
        assert!(matches!(requested(&request("/nope", "/x")), Err(Error::StatDevice(..))));
        let relative = requested(&request("/dev/null", "x"));
        assert!(matches!(relative, Err(Error::RelativePath { .. })));
    }
}
