//! `X-containerd.mkdir.path=PATH[:MODE[:UID:GID]]`: directories that a mount needs.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use berth_mount::Mount;
use berth_store::failpoint;
use rustix::fs::{AtFlags, Gid, Mode, Uid};
use rustix::io::Errno;

use super::roots::place;
use crate::Error;

const OPTION: &str = "X-containerd.mkdir.";

/// A directory that is asked for.
#[derive(Debug, PartialEq, Eq)]
struct Wanted {
    path: PathBuf,
    mode: u32,
    owner: Option<(u32, u32)>,
}

/// Makes the directories that the mount's options ask for, below one of `roots`, and takes those
/// options away.
pub(super) fn make(mut mount: Mount, roots: &[PathBuf]) -> Result<Mount, Error> {
    let mut options = Vec::with_capacity(mount.options.len());
    for option in mount.options {
        match option.strip_prefix(OPTION) {
            None => options.push(option),
            Some(asked) => directory(&wanted(asked).ok_or_else(|| wrong(&option))?, roots)?,
        }
    }
    mount.options = options;
    Ok(mount)
}

fn wrong(option: &str) -> Error {
    let reason = "it is no path=PATH[:MODE[:UID:GID]]";
    Error::Argument { what: "mount option", value: option.to_owned(), reason }
}

fn wanted(asked: &str) -> Option<Wanted> {
    let parts: Vec<&str> = asked.strip_prefix("path=")?.split(':').collect();
    let mode = |text: &str| u32::from_str_radix(text, 8).ok().filter(|mode| *mode <= 0o777);
    let (mode, owner) = match *parts {
        [_] => (0o700, None),
        [_, bits] => (mode(bits)?, None),
        [_, bits, uid, gid] => (mode(bits)?, Some((uid.parse().ok()?, gid.parse().ok()?))),
        _ => return None,
    };
    let path = PathBuf::from(parts[0]);
    let plain = path.components().all(|part| !matches!(part, std::path::Component::ParentDir));
    (path.is_absolute() && plain).then_some(Wanted { path, mode, owner })
}

fn directory(wanted: &Wanted, roots: &[PathBuf]) -> Result<(), Error> {
    let path = &wanted.path;
    let failed =
        |step| move |errno: Errno| Error::File { step, path: path.clone(), source: errno.into() };
    // A root itself is there.
    let Some((parent, name)) = place(path, "directory", roots)? else { return Ok(()) };
    let name = name.as_os_str();
    match rustix::fs::mkdirat(&parent, name, Mode::from_raw_mode(wanted.mode)) {
        Ok(()) => failpoint::file("mount's directory", "made"),
        Err(Errno::EXIST) => return as_wanted(&parent, name.as_ref(), wanted),
        Err(errno) => return Err(failed("make directory")(errno)),
    }
    let owned = wanted.owner.map_or(Ok(()), |(uid, gid)| {
        let (uid, gid) = (Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)));
        rustix::fs::chownat(&parent, name, uid, gid, AtFlags::SYMLINK_NOFOLLOW)
    });
    owned.map_err(failed("set the owner of"))?;
    let mode = Mode::from_raw_mode(wanted.mode);
    rustix::fs::chmodat(&parent, name, mode, AtFlags::empty()).map_err(failed("set the mode of"))
}

/// Checks a directory that is there already.
fn as_wanted(parent: &OwnedFd, name: &Path, wanted: &Wanted) -> Result<(), Error> {
    let path = &wanted.path;
    let stat = rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW);
    let stat = stat.map_err(|errno| Error::File {
        step: "look at",
        path: path.clone(),
        source: errno.into(),
    })?;
    let directory = rustix::fs::FileType::from_raw_mode(stat.st_mode);
    if directory == rustix::fs::FileType::Directory && stat.st_mode & 0o777 == wanted.mode {
        return Ok(());
    }
    let name = path.display().to_string();
    let reason = "it is there and no directory of that mode, remove it or ask for its mode";
    Err(Error::State { what: "directory", name, reason })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_tell_path_mode_and_owner() {
        let path = |p: &str| PathBuf::from(p);
        let plain = Wanted { path: path("/a/b"), mode: 0o700, owner: None };
        assert_eq!(wanted("path=/a/b"), Some(plain));
        let full = Wanted { path: path("/a"), mode: 0o755, owner: Some((1, 2)) };
        assert_eq!(wanted("path=/a:755:1:2"), Some(full));
        for wrong in ["/a", "path=a", "path=/a/../b", "path=/a:9", "path=/a:7777", "path=/a:7:1"] {
            assert_eq!(wanted(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn directories_are_made_below_the_roots_alone() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("root");
        std::fs::create_dir(&root).unwrap();
        std::os::unix::fs::symlink("/tmp", root.join("link")).unwrap();
        let asked = |path: PathBuf| {
            let option = format!("{OPTION}path={}:750", path.display());
            make(
                Mount { options: vec!["ro".into(), option], ..Mount::default() },
                std::slice::from_ref(&root),
            )
        };
        assert_eq!(asked(root.join("new")).unwrap().options, ["ro"]);
        assert!(root.join("new").is_dir());
        asked(root.join("new")).unwrap();
        assert!(asked(dir.path().join("beside")).is_err());
        assert!(asked(root.join("link/through")).is_err());
        assert!(asked(root.join("link")).is_err());
    }
}
