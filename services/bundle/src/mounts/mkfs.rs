//! `X-containerd.mkfs.{size,fs,uuid}`: a file with a file system of its own, that a mount needs.

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use berth_lifecycle::child;
use berth_mount::Mount;
use berth_store::failpoint;
use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags};
use rustix::io::Errno;

use super::roots::place;
use crate::Error;

const OPTION: &str = "X-containerd.mkfs.";

/// How long one program may take. File systems of any size are sparse at first.
const DEADLINE: Duration = Duration::from_secs(120);

/// No file system here carries a larger file.
const LARGEST: f64 = (1_u64 << 60) as f64;

/// What is asked for.
#[derive(Debug, PartialEq, Eq)]
struct Wanted {
    size: u64,
    kind: String,
    uuid: Option<String>,
}

/// Makes the mount's source, unless it is there, and takes the options for that away.
///
/// The file gets its name when it is whole: what is there under it was made to the end.
pub(super) fn make(mut mount: Mount, roots: &[PathBuf]) -> Result<Mount, Error> {
    let path = PathBuf::from(&mount.source);
    let Some((parent, name)) = place(&path, "file", roots)? else {
        return Err(wrong("source", &mount.source, "it is a directory of the node's own"));
    };
    let (ours, options): (Vec<_>, Vec<_>) =
        mount.options.into_iter().partition(|option| option.starts_with(OPTION));
    mount.options = options;
    let wanted = wanted(&ours)?;
    match rustix::fs::statat(&parent, &name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile => {}
        Ok(_) => return Err(wrong("source", &mount.source, "it is there, and is no file")),
        Err(Errno::NOENT) => create(&parent, &name, &path, &wanted)?,
        Err(errno) => return Err(failed("look at", &path)(errno)),
    }
    Ok(mount)
}

fn wrong(what: &'static str, value: &str, reason: &'static str) -> Error {
    Error::Argument { what, value: value.to_owned(), reason }
}

fn failed(step: &'static str, path: &Path) -> impl Fn(Errno) -> Error {
    move |errno| Error::File { step, path: path.to_owned(), source: errno.into() }
}

fn wanted(options: &[String]) -> Result<Wanted, Error> {
    let mut wanted = Wanted { size: 0, kind: "ext4".to_owned(), uuid: None };
    for option in options {
        let refused = |reason| wrong("mount option", option, reason);
        let (key, value) = option[OPTION.len()..].split_once('=').unwrap_or((option, ""));
        match key {
            "size" => {
                wanted.size = bytes(value).ok_or_else(|| refused("it is no size like 100MiB"))?;
            }
            "fs" => {
                if !matches!(value, "ext2" | "ext3" | "ext4" | "xfs") {
                    return Err(refused("unsupported filesystem, ext2, ext3, ext4 and xfs are"));
                }
                value.clone_into(&mut wanted.kind);
            }
            "uuid" => {
                let plain = |b: u8| b.is_ascii_hexdigit() || b == b'-';
                if value.len() != 36 || !value.bytes().all(plain) {
                    return Err(refused("it is no UUID"));
                }
                wanted.uuid = Some(value.to_owned());
            }
            _ => return Err(refused("unknown mount option")),
        }
    }
    if wanted.size == 0 {
        return Err(wrong("mount options", "", "mkfs requires mkfs.size option"));
    }
    Ok(wanted)
}

/// `100MiB`, `1g`, `1.5 GB`: units are powers of 1024, however they are written.
fn bytes(text: &str) -> Option<u64> {
    let end = text.rfind(|c: char| c.is_ascii_digit() || matches!(c, '.' | ' '))? + 1;
    let (number, unit) = (text[..end].trim_end(), text[end..].to_ascii_lowercase());
    let shift = match unit.strip_suffix("ib").or(unit.strip_suffix('b')).unwrap_or(&unit) {
        "" if unit != "ib" => 0,
        "k" => 10,
        "m" => 20,
        "g" => 30,
        "t" => 40,
        "p" => 50,
        _ => return None,
    };
    let number: f64 = number.parse().ok()?;
    let size = number * (1_u64 << shift) as f64;
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is checked")]
    (0.0..LARGEST).contains(&size).then_some(size as u64)
}

fn create(parent: &OwnedFd, name: &OsStr, path: &Path, wanted: &Wanted) -> Result<(), Error> {
    // Without a name nothing is left of it by a crash.
    let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
    let file = rustix::fs::openat(parent, ".", flags, Mode::from_raw_mode(0o640));
    let file = file.map_err(failed("make", path))?;
    rustix::fs::ftruncate(&file, wanted.size).map_err(failed("set the size of", path))?;
    format(&file, path, wanted)?;
    rustix::fs::fsync(&file).map_err(failed("make durable", path))?;
    failpoint::file("mount's file system", "made");
    let open = format!("/proc/self/fd/{}", file.as_raw_fd());
    match rustix::fs::linkat(CWD, open, parent, name, AtFlags::SYMLINK_FOLLOW) {
        // By somebody who was faster: it is as whole as this one.
        Ok(()) | Err(Errno::EXIST) => {}
        Err(errno) => return Err(failed("name", path)(errno)),
    }
    let directory = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::openat(parent, ".", directory, Mode::empty())
        .and_then(rustix::fs::fsync)
        .map_err(failed("make durable the directory of", path))?;
    failpoint::file("mount's file system", "named");
    Ok(())
}

/// Runs the program that makes the file system.
fn format(file: &OwnedFd, path: &Path, wanted: &Wanted) -> Result<(), Error> {
    let refused = |source| Error::File { step: "make a file system in", path: path.into(), source };
    let mut command = child::command(format!("mkfs.{}", wanted.kind));
    command.env("LC_ALL", "C").arg("-q");
    match (&wanted.uuid, &*wanted.kind) {
        (Some(uuid), "xfs") => command.args(["-m", &format!("uuid={uuid}")]),
        (Some(uuid), _) => command.args(["-U", uuid]),
        (None, _) => &mut command,
    };
    let passed = file.try_clone().map_err(refused)?;
    let number = child::pass(&mut command, passed);
    command.arg(format!("/proc/self/fd/{number}"));
    // This thread is one that may block, of a runtime that runs.
    let runtime = tokio::runtime::Handle::current();
    let output = runtime.block_on(child::output(command, DEADLINE))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let text = format!("mkfs.{} failed: {}: {}", wanted.kind, said.trim(), output.status);
    Err(refused(io::Error::other(text)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(options: &[&str]) -> Result<Wanted, Error> {
        let options: Vec<_> = options.iter().map(|o| format!("{OPTION}{o}")).collect();
        wanted(&options)
    }

    #[test]
    fn sizes_are_read_as_containerds() {
        let mib = 1 << 20;
        for (text, size) in [
            ("0", Some(0)),
            ("8192", Some(8192)),
            ("1k", Some(1024)),
            ("100MiB", Some(100 * mib)),
            ("100MB", Some(100 * mib)),
            ("1.5 m", Some(mib + mib / 2)),
            ("2Gb", Some(2048 * mib)),
            ("1b", Some(1)),
        ] {
            assert_eq!(bytes(text), size, "{text}");
        }
        for wrong in ["", "m", "-1m", "1x", "1mibb", "1ib", "9999p", "nan", "1 2"] {
            assert_eq!(bytes(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn options_tell_size_kind_and_uuid() {
        let uuid = "550e8400-e29b-41d4-a716-446655440000";
        let full = parsed(&["size=1g", "fs=xfs", &format!("uuid={uuid}")]).unwrap();
        assert_eq!(full, Wanted { size: 1 << 30, kind: "xfs".into(), uuid: Some(uuid.into()) });
        assert_eq!(parsed(&["size=1g"]).unwrap().kind, "ext4");
        for wrong in [
            &["fs=ext4"][..],
            &["size=1g", "fs=btrfs"],
            &["size=big"],
            &["size=1g", "uuid=x,crc=0"],
            &["size=1g", "label=x"],
            &["size"],
        ] {
            let error = parsed(wrong).unwrap_err();
            assert!(error.to_string().ends_with("invalid argument"), "{error}");
        }
    }

    #[tokio::test]
    async fn files_get_a_file_system_once() {
        let dir = tempfile::tempdir().unwrap();
        let roots = vec![dir.path().to_owned()];
        let uuid = "550e8400-e29b-41d4-a716-446655440000";
        let asked = move |file: &str, kind: &str| {
            let size = if kind == "xfs" { "320m" } else { "2m" };
            let options = [format!("size={size}"), format!("fs={kind}"), format!("uuid={uuid}")];
            let options = options.iter().map(|option| format!("{OPTION}{option}"));
            let options = std::iter::once("ro".to_owned()).chain(options).collect();
            let source = roots[0].join(file).display().to_string();
            make(Mount { source, options, ..Mount::default() }, &roots)
        };
        let root = dir.path().to_owned();
        let work = move || {
            for (kind, at) in [("ext2", 1128), ("ext4", 1128), ("xfs", 32)] {
                assert_eq!(asked(kind, kind).unwrap().options, ["ro"]);
                let bytes = std::fs::read(root.join(kind)).unwrap();
                assert_eq!(bytes[at..at + 4], [0x55, 0x0e, 0x84, 0x00], "{kind}");
            }
            std::fs::write(root.join("there"), "x").unwrap();
            asked("there", "ext4").unwrap();
            assert_eq!(std::fs::read(root.join("there")).unwrap(), b"x");
            std::os::unix::fs::symlink("/etc/hostname", root.join("link")).unwrap();
            assert!(asked("link", "ext4").is_err());
            assert!(asked("../beside", "ext4").is_err());
            assert!(asked("link/x", "ext4").is_err());
            let left = std::fs::read_dir(&root).unwrap().count();
            assert_eq!(left, 5, "nothing else is left");
        };
        tokio::task::spawn_blocking(work).await.unwrap();
    }
}
