//! Opening what is somewhere in a tree, and nothing outside of it.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::io::{Errno, Result};

/// How often the kernel may say that it cannot tell: it does when somebody on the machine renames or mounts something
/// while it follows a `..`, wherever that is (openat2(2)).
const TRIES: usize = 128;

/// Opens `path` as if `root` were the root directory: absolute links and `..` lead back into it.
///
/// # Errors
/// What the kernel answers.
pub fn open_in_root(root: impl AsFd, path: &Path, flags: OFlags) -> Result<OwnedFd> {
    let path = path.strip_prefix("/").unwrap_or(path);
    open(root, path, flags, ResolveFlags::IN_ROOT)
}

/// Opens `path` below `root`.
///
/// # Errors
/// What the kernel answers: [`Errno::XDEV`] where the path or a link on the way leads out, or is absolute.
pub fn open_beneath(root: impl AsFd, path: &Path, flags: OFlags) -> Result<OwnedFd> {
    open(root, path, flags, ResolveFlags::BENEATH)
}

fn open(root: impl AsFd, path: &Path, flags: OFlags, within: ResolveFlags) -> Result<OwnedFd> {
    let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
    let resolve = within | ResolveFlags::NO_MAGICLINKS;
    let flags = flags | OFlags::CLOEXEC;
    let mut left = TRIES;
    loop {
        match rustix::fs::openat2(&root, path, flags, Mode::empty(), resolve) {
            Err(Errno::AGAIN) if left > 0 => left -= 1,
            opened => return opened,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsRawFd;

    use super::*;

    const FOLDER: OFlags = OFlags::PATH.union(OFlags::DIRECTORY);

    #[test]
    fn links_lead_back_into_the_root_or_nowhere() {
        let dir = tempfile::tempdir().unwrap();
        let top = dir.path().canonicalize().unwrap();
        for folder in ["root/etc", "root/a/b", "etc"] {
            fs_err::create_dir_all(top.join(folder)).unwrap();
        }
        for (link, target) in [("abs", "/etc"), ("up", "../../../etc"), ("a/good", "../etc")] {
            fs_err::os::unix::fs::symlink(target, top.join("root").join(link)).unwrap();
        }
        let root = rustix::fs::open(top.join("root"), FOLDER, Mode::empty()).unwrap();
        let place = |opened: Result<OwnedFd>| {
            opened.map(|fd| {
                let link = format!("/proc/self/fd/{}", fd.as_raw_fd());
                let path = fs_err::read_link(link).unwrap();
                path.strip_prefix(&top).unwrap().to_str().unwrap().to_owned()
            })
        };
        for path in ["abs", "/abs", "up", "a/good", "../../etc", "/etc", "a/b/../../etc"] {
            let opened = open_in_root(&root, Path::new(path), FOLDER);
            assert_eq!(place(opened).unwrap(), "root/etc", "{path}");
        }
        assert_eq!(place(open_in_root(&root, Path::new("/"), FOLDER)).unwrap(), "root");
        for path in ["abs", "up", "/etc", "../etc", "a/../../etc"] {
            let opened = open_beneath(&root, Path::new(path), FOLDER);
            assert_eq!(place(opened), Err(Errno::XDEV), "{path}");
        }
        for (path, expected) in [("a/good", "root/etc"), ("a/../a/b", "root/a/b"), ("", "root")] {
            let opened = open_beneath(&root, Path::new(path), FOLDER);
            assert_eq!(place(opened).unwrap(), expected, "{path}");
        }
    }
}
