//! A device of the machine, as a specification has it.

use std::path::PathBuf;

use berth_runtime_spec::LinuxDevice;
use oci_spec::runtime::LinuxDeviceType;
use rustix::fs::{AtFlags, CWD, FileType};

use crate::Error;
use crate::edits::DeviceNode;

/// What is there.
struct Found {
    kind: &'static str,
    major: i64,
    minor: i64,
    mode: u32,
}

/// The node. What a document leaves out is as it is on the machine; a device that it describes whole need not be there.
/// A link is not followed.
pub(crate) fn node(of: &DeviceNode) -> Result<LinuxDevice, Error> {
    let host = if of.host_path.is_empty() { &of.path } else { &of.host_path };
    let host = PathBuf::from(host);
    let is_whole = !of.kind.is_empty() && (of.major != 0 || of.kind == "p");
    let found = match look(&host) {
        Err(_) if is_whole => None,
        found => Some(found?),
    };
    let mut kind = &*of.kind;
    let (mut major, mut minor, mut mode) = (of.major, of.minor, of.file_mode);
    if let Some(found) = &found {
        mode = mode.or(Some(found.mode));
        if !is_whole {
            kind = if kind.is_empty() { found.kind } else { kind };
            let is_same = kind == found.kind || (kind == "u" && found.kind == "c");
            if !is_same {
                let said = kind.to_owned();
                return Err(Error::Kind { path: host, is: found.kind, said });
            }
            if kind != "p" && major == 0 {
                (major, minor) = (found.major, found.minor);
            }
        }
    }
    let mut device = LinuxDevice::default();
    device.set_path(of.path.clone().into()).set_typ(kind_of(kind));
    device.set_major(major).set_minor(minor).set_file_mode(mode);
    device.set_uid(of.uid).set_gid(of.gid);
    Ok(device)
}

fn look(host: &PathBuf) -> Result<Found, Error> {
    let stat = rustix::fs::statat(CWD, host, AtFlags::SYMLINK_NOFOLLOW)
        .map_err(|errno| Error::Stat(host.clone(), errno.into()))?;
    let kind = match FileType::from_raw_mode(stat.st_mode) {
        FileType::BlockDevice => "b",
        FileType::CharacterDevice => "c",
        FileType::Fifo => "p",
        _ => {
            let said = "a device node".to_owned();
            return Err(Error::Kind { path: host.clone(), is: "none", said });
        }
    };
    Ok(Found {
        kind,
        major: rustix::fs::major(stat.st_rdev).into(),
        minor: rustix::fs::minor(stat.st_rdev).into(),
        mode: stat.st_mode & 0o7777,
    })
}

fn kind_of(kind: &str) -> LinuxDeviceType {
    match kind {
        "b" => LinuxDeviceType::B,
        "u" => LinuxDeviceType::U,
        "p" => LinuxDeviceType::P,
        _ => LinuxDeviceType::C,
    }
}
