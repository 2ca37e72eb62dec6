//! What an image may hold, and what becomes of it. Owners and devices need root.

use std::os::unix::fs::{FileTypeExt, MetadataExt, symlink};
use std::path::PathBuf;

use rustix::fs::CWD;

use super::*;

const BOUNDS: Bounds =
    Bounds { entries: 1000, bytes: 1 << 30, depth: 20, time: Duration::from_secs(60) };

struct Stage {
    dir: tempfile::TempDir,
}

impl Stage {
    fn new() -> Self {
        let stage = Self { dir: tempfile::tempdir().unwrap() };
        for folder in ["image/data", "to"] {
            fs_err::create_dir_all(stage.path(folder)).unwrap();
        }
        stage
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        fs_err::write(self.path(name), text).unwrap();
    }

    fn copy(&self, inside: &str, bounds: Bounds) -> Result<bool, Error> {
        copy_folder(&self.path("image"), Path::new(inside), &self.path("to"), bounds)
    }
}

#[test]
fn a_folder_is_copied_as_it_is() {
    let stage = Stage::new();
    stage.write("image/data/one", "text");
    fs_err::create_dir(stage.path("image/data/inner")).unwrap();
    fs_err::hard_link(stage.path("image/data/one"), stage.path("image/data/inner/two")).unwrap();
    symlink("/etc/passwd", stage.path("image/data/link")).unwrap();
    let sparse = fs_err::File::create(stage.path("image/data/sparse")).unwrap();
    sparse.set_len(1 << 29).unwrap();
    let name = stage.path("image/data/one");
    rustix::fs::setxattr(&name, "user.kept", b"v", XattrFlags::empty()).unwrap();
    let is_root = rustix::process::geteuid().is_root();
    if is_root {
        std::os::unix::fs::chown(stage.path("image/data"), Some(1000), Some(1001)).unwrap();
        std::os::unix::fs::chown(&name, Some(7), Some(8)).unwrap();
    }
    rustix::fs::chmod(&name, Mode::from_raw_mode(0o4751)).unwrap();
    rustix::fs::chmod(stage.path("image/data"), Mode::from_raw_mode(0o1770)).unwrap();

    assert!(stage.copy("/data", BOUNDS).unwrap());
    assert_eq!(fs_err::read(stage.path("to/inner/two")).unwrap(), b"text");
    let (top, one) = (stage.path("to").metadata().unwrap(), stage.path("to/one"));
    let two = stage.path("to/inner/two").metadata().unwrap();
    let status = one.metadata().unwrap();
    assert_eq!((top.mode() & 0o7777, status.mode() & 0o7777), (0o1770, 0o4751));
    assert_eq!((status.ino(), status.nlink()), (two.ino(), 2), "one file with two names");
    assert_eq!(status.mtime(), name.metadata().unwrap().mtime());
    if is_root {
        assert_eq!((top.uid(), top.gid(), status.uid(), status.gid()), (1000, 1001, 7, 8));
    }
    let mut value = [0; 8];
    assert_eq!(rustix::fs::getxattr(&one, "user.kept", &mut value), Ok(1));
    let link = fs_err::read_link(stage.path("to/link")).unwrap();
    assert_eq!(link, Path::new("/etc/passwd"), "a link stays one");
    let sparse = stage.path("to/sparse").metadata().unwrap();
    assert!(sparse.len() == 1 << 29 && sparse.blocks() * 512 < 1 << 20, "{sparse:?}");
}

#[test]
fn no_path_of_an_image_leads_out_of_it() {
    let stage = Stage::new();
    fs_err::create_dir_all(stage.path("outside/data")).unwrap();
    stage.write("outside/data/secret", "secret");
    stage.write("image/data/own", "own");
    let outside = stage.path("outside");
    symlink(&outside, stage.path("image/absolute")).unwrap();
    symlink("../../outside", stage.path("image/up")).unwrap();
    symlink("/data", stage.path("image/good")).unwrap();
    let out = outside.display().to_string();
    for path in ["/absolute", "/absolute/data", "/up/data", "../outside", &out, "/none", "/a/b"] {
        assert!(!stage.copy(path, BOUNDS).unwrap(), "{path}");
    }
    assert!(fs_err::read_dir(stage.path("to")).unwrap().next().is_none());
    assert!(stage.copy("/good/../good", BOUNDS).unwrap());
    assert_eq!(fs_err::read(stage.path("to/own")).unwrap(), b"own");
}

#[test]
fn fifos_and_devices_are_made_and_not_opened() {
    let stage = Stage::new();
    let fifo = stage.path("image/data/fifo");
    rustix::fs::mknodat(CWD, &fifo, FileType::Fifo, Mode::RUSR, 0).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(stage.path("image/data/sock")).unwrap();
    let is_root = rustix::process::geteuid().is_root();
    if is_root {
        // One that nobody has: to open it would fail.
        let device = rustix::fs::makedev(511, 511);
        let path = stage.path("image/data/device");
        rustix::fs::mknodat(CWD, &path, FileType::CharacterDevice, Mode::RUSR, device).unwrap();
    }
    // A fifo in the place of the folder itself, and a file.
    rustix::fs::mknodat(CWD, stage.path("image/pipe"), FileType::Fifo, Mode::RUSR, 0).unwrap();
    stage.write("image/file", "");
    for path in ["/pipe", "/file", "/file/below"] {
        let refused = stage.copy(path, BOUNDS).unwrap_err();
        assert!(matches!(refused, Error::NotAFolder(_)), "{refused:?}");
    }
    assert!(stage.copy("/data", BOUNDS).unwrap());
    assert!(stage.path("to/fifo").symlink_metadata().unwrap().file_type().is_fifo());
    assert!(!stage.path("to/sock").exists());
    assert_eq!(stage.path("to/device").exists(), is_root);
}

#[test]
fn more_than_the_bounds_allow_is_refused() {
    let stage = Stage::new();
    for n in 0..6 {
        stage.write(&format!("image/data/{n}"), "0123456789");
    }
    let refused = |bounds| match stage.copy("/data", bounds).unwrap_err() {
        Error::TooMuch { what, .. } => what,
        other => panic!("{other:?}"),
    };
    assert_eq!(refused(Bounds { entries: 5, ..BOUNDS }), "entries");
    assert_eq!(refused(Bounds { bytes: 9, ..BOUNDS }), "bytes");
    let deep = (0..22).fold(stage.path("image/deep"), |path, _| path.join("d"));
    fs_err::create_dir_all(deep).unwrap();
    let refused = stage.copy("/deep", BOUNDS).unwrap_err();
    assert_eq!(refused.to_string(), "it has more than 20 folders in one another");
}

#[test]
fn what_takes_too_long_ends() {
    let stage = Stage::new();
    stage.write("image/data/one", "text");
    let bounds = Bounds { time: Duration::ZERO, ..BOUNDS };
    match stage.copy("/data", bounds) {
        // The file system shares blocks: nothing took any time.
        Ok(shared) => assert!(shared),
        Err(refused) => assert!(refused.to_string().contains("one"), "{refused}"),
    }
}
