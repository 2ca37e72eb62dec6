//! The kernel's list of this process's mounts (proc(5), `/proc/PID/mountinfo`).

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use crate::Error;

const FILE: &str = "/proc/self/mountinfo";

/// One line of mountinfo.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MountInfo {
    /// Number of the mount, reused after it is gone.
    pub id: u32,
    /// Number of the mount that this one is on.
    pub parent: u32,
    /// Device numbers of the file system.
    pub device: (u32, u32),
    /// The directory of the file system that is shown, `/` unless it is a bind mount.
    pub root: PathBuf,
    /// Where it is, seen from this process's root.
    pub mount_point: PathBuf,
    /// Options of this mount, comma-separated.
    pub options: String,
    /// `shared:N`, `master:N`, `propagate_from:N`, `unbindable`.
    pub propagation: Vec<String>,
    /// The file system's type.
    pub kind: String,
    /// The file system's source.
    pub source: String,
    /// Options of the file system, comma-separated.
    pub super_options: String,
}

/// All mounts, in the kernel's order: a mount comes after the one it is on.
///
/// # Errors
/// [`Error::List`] and [`Error::Malformed`].
pub fn read() -> Result<Vec<MountInfo>, Error> {
    let text =
        std::fs::read(FILE).map_err(|source| Error::List { path: PathBuf::from(FILE), source })?;
    parse(&text)
}

/// The mounts at or below `root`, in the kernel's order.
///
/// # Errors
/// [`Error::List`] and [`Error::Malformed`].
pub fn beneath(root: &Path) -> Result<Vec<MountInfo>, Error> {
    let mut mounts = read()?;
    mounts.retain(|mount| mount.mount_point.starts_with(root));
    Ok(mounts)
}

/// Parses the whole file.
///
/// # Errors
/// [`Error::Malformed`] for a line with too few fields.
pub fn parse(text: &[u8]) -> Result<Vec<MountInfo>, Error> {
    let lines = text.split(|b| *b == b'\n').filter(|line| !line.is_empty());
    lines
        .map(|line| {
            parse_line(line)
                .ok_or_else(|| Error::Malformed(String::from_utf8_lossy(line).into_owned()))
        })
        .collect()
}

fn parse_line(line: &[u8]) -> Option<MountInfo> {
    let mut fields = line.split(|b| *b == b' ');
    let mut next = || fields.next();
    let id = number(next()?)?;
    let parent = number(next()?)?;
    let device = std::str::from_utf8(next()?).ok()?.split_once(':')?;
    let device = (device.0.parse().ok()?, device.1.parse().ok()?);
    let root = path(next()?);
    let mount_point = path(next()?);
    let options = text(next()?);
    let mut propagation = Vec::new();
    loop {
        match next()? {
            b"-" => break,
            tag => propagation.push(text(tag)),
        }
    }
    let kind = text(next()?);
    let source = text(next()?);
    let super_options = text(next()?);
    Some(MountInfo {
        id,
        parent,
        device,
        root,
        mount_point,
        options,
        propagation,
        kind,
        source,
        super_options,
    })
}

fn number(field: &[u8]) -> Option<u32> {
    std::str::from_utf8(field).ok()?.parse().ok()
}

fn path(field: &[u8]) -> PathBuf {
    PathBuf::from(OsString::from_vec(unescape(field)))
}

fn text(field: &[u8]) -> String {
    String::from_utf8_lossy(&unescape(field)).into_owned()
}

/// The kernel writes space, tab, newline and backslash as three octal digits.
fn unescape(field: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((&byte, after)) = rest.split_first() {
        let octal = |b: &u8| (b'0'..=b'7').contains(b);
        if byte == b'\\' && after.len() >= 3 && after[..3].iter().all(octal) {
            let value = after[..3].iter().fold(0_u32, |n, d| n * 8 + u32::from(d - b'0'));
            plain.push(u8::try_from(value & 0xff).unwrap_or_default());
            rest = &after[3..];
        } else {
            plain.push(byte);
            rest = after;
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_and_optional_fields_are_read() {
        let text = br"36 35 98:0 /mnt1 /mnt/a\040b\134c rw,noatime shared:1 master:2 - ext3 /dev/root rw,errors=continue
22 27 0:21 / /proc rw - proc proc rw
";
        let mounts = parse(text).unwrap();
        assert_eq!(mounts[0].mount_point, Path::new(r"/mnt/a b\c"));
        assert_eq!(mounts[0].propagation, ["shared:1", "master:2"]);
        assert_eq!((mounts[0].device, mounts[0].parent), ((98, 0), 35));
        assert_eq!(mounts[1].kind, "proc");
        assert!(mounts[1].propagation.is_empty());
    }

    #[test]
    fn a_short_line_is_refused() {
        assert!(matches!(parse(b"36 35 98:0 / /mnt rw"), Err(Error::Malformed(_))));
    }

    #[test]
    fn this_process_has_a_proc() {
        assert!(read().unwrap().iter().any(|mount| mount.mount_point == Path::new("/proc")));
    }
}
