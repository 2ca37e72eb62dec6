//! Looking into a container's root file system without mounting it.
//!
//! A view is the directories that a snapshot's mounts name, topmost first, read as overlayfs
//! would: whiteouts and opaque directories hide what is below. Every lookup is confined to its
//! layer by the kernel (`openat2` with `RESOLVE_IN_ROOT`), and what is read is bounded.

use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Component, Path, PathBuf};

use rustix::fs::{CWD, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use crate::Error;

/// How many symbolic links may stand between a name and its file.
const MAX_LINKS: usize = 8;

/// The layers of a root file system, topmost first.
#[derive(Debug)]
pub struct RootView {
    layers: Vec<(PathBuf, OwnedFd)>,
}

/// What a layer has to say of a path.
enum Found {
    Regular(OwnedFd),
    Link(PathBuf),
    /// A pipe, a socket or a device.
    Special,
    Hidden,
    Nothing,
}

impl RootView {
    /// A view of directories, topmost first.
    ///
    /// # Errors
    /// [`Error::OpenLayer`] for the first that cannot be opened.
    pub fn of_layers(layers: impl IntoIterator<Item = PathBuf>) -> Result<Self, Error> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let open = |path: PathBuf| match rustix::fs::openat(CWD, &path, flags, Mode::empty()) {
            Ok(fd) => Ok((path, fd)),
            Err(cause) => Err(Error::OpenLayer(path, cause.into())),
        };
        Ok(Self { layers: layers.into_iter().map(open).collect::<Result<_, _>>()? })
    }

    /// A view of what one mount of a snapshotter would show: an overlay's directories or a
    /// bind's source.
    ///
    /// # Errors
    /// [`Error::OpenLayer`] when a directory cannot be opened.
    pub fn of_mount(kind: &str, source: &str, options: &[String]) -> Result<Self, Error> {
        if kind != "overlay" {
            return Self::of_layers([PathBuf::from(source)]);
        }
        let value = |name: &str| options.iter().find_map(|option| option.strip_prefix(name));
        let upper = value("upperdir=").map(unescape);
        let lower = value("lowerdir=").map(split_lower).unwrap_or_default();
        Self::of_layers(upper.into_iter().chain(lower))
    }

    /// The bytes of a regular file, `None` when there is none.
    pub(crate) fn read(&self, name: &'static str, limit: u64) -> Result<Option<Vec<u8>>, Error> {
        let (Found::Regular(fd), layer) = self.lookup(name)? else { return Ok(None) };
        let failed = |cause| Error::ReadFile(layer.to_owned(), name, cause);
        let mut bytes = Vec::new();
        File::from(fd).take(limit + 1).read_to_end(&mut bytes).map_err(failed)?;
        if bytes.len() as u64 > limit {
            return Err(Error::OversizedFile(name, limit));
        }
        Ok(Some(bytes))
    }

    /// Whether a name leads to a pipe, a socket or a device: whoever reads these may wait for ever.
    pub(crate) fn is_special(&self, name: &'static str) -> Result<bool, Error> {
        Ok(matches!(self.lookup(name)?, (Found::Special, _)))
    }

    /// What a name leads to, and the layer that has it.
    fn lookup(&self, name: &'static str) -> Result<(Found, &Path), Error> {
        let mut path = PathBuf::from(name);
        for _ in 0..MAX_LINKS {
            match self.find(&path, name)? {
                (Found::Link(target), _) => path = follow(&path, &target),
                found => return Ok(found),
            }
        }
        Ok((Found::Nothing, Path::new("")))
    }

    /// The topmost layer's word on `path`.
    fn find(&self, path: &Path, name: &'static str) -> Result<(Found, &Path), Error> {
        for (dir, fd) in &self.layers {
            let found = look(fd, path);
            match found.map_err(|cause| Error::ReadFile(dir.clone(), name, cause.into()))? {
                Found::Nothing => {}
                found => return Ok((found, dir)),
            }
        }
        Ok((Found::Nothing, Path::new("")))
    }
}

/// Looks for `path` in one layer.
fn look(layer: &OwnedFd, path: &Path) -> Result<Found, Errno> {
    let entry = match open(layer, path, OFlags::PATH | OFlags::NOFOLLOW) {
        Ok(entry) => entry,
        Err(Errno::NOENT) => {
            return Ok(if hides(layer, path) { Found::Hidden } else { Found::Nothing });
        }
        // A whiteout or a file in place of a directory hides what is below it.
        Err(Errno::NOTDIR) => return Ok(Found::Hidden),
        Err(errno) => return Err(errno),
    };
    let status = rustix::fs::fstat(&entry)?;
    match FileType::from_raw_mode(status.st_mode) {
        FileType::RegularFile => {
            open(layer, path, OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK)
                .map(Found::Regular)
        }
        FileType::Symlink => {
            let target = rustix::fs::readlinkat(&entry, "", Vec::new())?;
            Ok(Found::Link(target.to_string_lossy().into_owned().into()))
        }
        FileType::Directory => Ok(Found::Hidden),
        // A whiteout.
        FileType::CharacterDevice if status.st_rdev == 0 => Ok(Found::Hidden),
        _ => Ok(Found::Special),
    }
}

/// Whether a directory above `path` is opaque in this layer.
fn hides(layer: &OwnedFd, path: &Path) -> bool {
    let above = path.ancestors().skip(1).filter(|dir| !dir.as_os_str().is_empty());
    above.into_iter().any(|dir| {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY;
        let Ok(dir) = open(layer, dir, flags) else { return false };
        let mut value = [0_u8; 1];
        let read = rustix::fs::fgetxattr(&dir, "trusted.overlay.opaque", &mut value);
        read == Ok(1) && value == *b"y"
    })
}

fn open(layer: impl AsFd, path: &Path, flags: OFlags) -> Result<OwnedFd, Errno> {
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    rustix::fs::openat2(layer, path, flags | OFlags::CLOEXEC, Mode::empty(), resolve)
}

/// Where a link at `path` leads, as a path below the root.
fn follow(path: &Path, target: &Path) -> PathBuf {
    let mut result = match path.parent() {
        Some(parent) if target.is_relative() => parent.to_owned(),
        _ => PathBuf::new(),
    };
    for component in target.components() {
        match component {
            Component::Normal(part) => result.push(part),
            Component::ParentDir => {
                result.pop();
            }
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
        }
    }
    result
}

/// Takes an overlay's `lowerdir` apart at the colons that no backslash precedes.
fn split_lower(value: &str) -> Vec<PathBuf> {
    let mut parts = vec![String::new()];
    let mut chars = value.chars();
    while let Some(char) = chars.next() {
        match (char, parts.last_mut()) {
            (':', _) => parts.push(String::new()),
            ('\\', Some(part)) => part.extend(chars.next()),
            (char, Some(part)) => part.push(char),
            (_, None) => {}
        }
    }
    parts.into_iter().filter(|part| !part.is_empty()).map(PathBuf::from).collect()
}

fn unescape(value: &str) -> PathBuf {
    value.replace("\\,", ",").into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(dir: &Path, name: &str, text: &str) {
        let path = dir.join(name);
        fs_err::create_dir_all(path.parent().unwrap()).unwrap();
        fs_err::write(path, text).unwrap();
    }

    fn view(layers: &[&tempfile::TempDir]) -> RootView {
        RootView::of_layers(layers.iter().map(|layer| layer.path().to_owned())).unwrap()
    }

    #[test]
    fn the_upper_layer_wins_and_the_lower_shows_through() {
        let (upper, lower) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        write(lower.path(), "etc/passwd", "low");
        write(lower.path(), "etc/group", "low");
        write(upper.path(), "etc/passwd", "up");
        let view = view(&[&upper, &lower]);
        assert_eq!(view.read("etc/passwd", 9).unwrap().unwrap(), b"up");
        assert_eq!(view.read("etc/group", 9).unwrap().unwrap(), b"low");
        assert_eq!(view.read("etc/none", 9).unwrap(), None);
    }

    #[test]
    fn a_link_does_not_leave_the_root() {
        let (root, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        write(outside.path(), "secret", "secret");
        fs_err::create_dir(root.path().join("etc")).unwrap();
        let link = root.path().join("etc/passwd");
        fs_err::os::unix::fs::symlink(outside.path().join("secret"), &link).unwrap();
        assert_eq!(view(&[&root]).read("etc/passwd", 9).unwrap(), None);
        fs_err::remove_file(&link).unwrap();
        fs_err::os::unix::fs::symlink("../../../usr/passwd", &link).unwrap();
        write(root.path(), "usr/passwd", "inside");
        assert_eq!(view(&[&root]).read("etc/passwd", 9).unwrap().unwrap(), b"inside");
    }

    #[test]
    fn a_link_round_in_a_circle_and_a_fifo_are_nothing() {
        let root = tempfile::tempdir().unwrap();
        fs_err::create_dir(root.path().join("etc")).unwrap();
        fs_err::os::unix::fs::symlink("passwd", root.path().join("etc/passwd")).unwrap();
        assert_eq!(view(&[&root]).read("etc/passwd", 9).unwrap(), None);
        let fifo = root.path().join("etc/group");
        rustix::fs::mknodat(CWD, &fifo, FileType::Fifo, Mode::RUSR, 0).unwrap();
        assert_eq!(view(&[&root]).read("etc/group", 9).unwrap(), None);
        assert!(view(&[&root]).is_special("etc/group").unwrap());
        assert!(!view(&[&root]).is_special("etc/passwd").unwrap());
    }

    #[test]
    fn a_huge_file_is_refused() {
        let root = tempfile::tempdir().unwrap();
        write(root.path(), "etc/passwd", "0123456789");
        let refused = view(&[&root]).read("etc/passwd", 9);
        assert!(matches!(refused, Err(Error::OversizedFile("etc/passwd", 9))));
    }

    #[test]
    fn an_overlays_options_are_taken_apart() {
        assert_eq!(split_lower("/a:/b\\:c::/d"), ["/a", "/b:c", "/d"].map(PathBuf::from));
        let (upper, lower) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        write(lower.path(), "etc/passwd", "low");
        let options = [
            format!("lowerdir={}", lower.path().display()),
            format!("upperdir={}", upper.path().display()),
            "workdir=/nowhere".to_owned(),
        ];
        let view = RootView::of_mount("overlay", "overlay", &options).unwrap();
        assert_eq!(view.read("etc/passwd", 9).unwrap().unwrap(), b"low");
    }
}
