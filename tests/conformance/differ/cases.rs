//! Trees, what becomes of them, and layers that say so.

use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::path::Path;

use anyhow::Result;
use berth_testkit::run;
use fs_err as fs;
use rustix::fs::{AtFlags, CWD, FileType, Mode, Timespec, Timestamps, XattrFlags};

/// A tree and a change of it; or a tree, a layer as a folder, and what is to be there then.
pub struct Case {
    pub name: &'static str,
    pub build: fn(&Path) -> Result<()>,
    pub change: fn(&Path) -> Result<()>,
    pub expected: fn(&Path) -> Result<()>,
}

const fn case(
    name: &'static str,
    build: fn(&Path) -> Result<()>,
    change: fn(&Path) -> Result<()>,
) -> Case {
    Case { name, build, change, expected: |_| Ok(()) }
}

/// Changes of trees.
pub const CASES: &[Case] = &[
    case("nothing", small, |_| Ok(())),
    case("files", small, files),
    case("directories", small, directories),
    case("symbolic links", small, symbolic_links),
    case("hard links", small, hard_links),
    case("devices", small, devices),
    case("attributes", small, attributes),
    case("names", small, names),
];

/// Layers of others.
pub const LAYERS: &[Case] = &[
    Case {
        name: "whiteouts",
        build: small,
        change: |layer| {
            fs::create_dir(layer.join("d"))?;
            for gone in [".wh.file", "d/.wh.e", ".wh.never-was"] {
                fs::write(layer.join(gone), "")?;
            }
            Ok(())
        },
        expected: |root| {
            small(root)?;
            fs::remove_file(root.join("file"))?;
            Ok(fs::remove_dir_all(root.join("d/e"))?)
        },
    },
    Case {
        name: "an opaque directory",
        build: small,
        change: |layer| {
            fs::create_dir(layer.join("d"))?;
            fs::write(layer.join("d/.wh..wh..opq"), "")?;
            Ok(fs::write(layer.join("d/new"), "n")?)
        },
        expected: |root| {
            small(root)?;
            fs::remove_dir_all(root.join("d"))?;
            fs::create_dir(root.join("d"))?;
            Ok(fs::write(root.join("d/new"), "n")?)
        },
    },
    Case {
        name: "kinds in place of others",
        build: small,
        change: |layer| {
            fs::write(layer.join("d"), "a file now")?;
            fs::create_dir(layer.join("file"))?;
            fs::write(layer.join("file/f"), "f")?;
            Ok(symlink("file/f", layer.join("link"))?)
        },
        expected: |root| {
            small(root)?;
            fs::remove_dir_all(root.join("d"))?;
            fs::remove_file(root.join("file"))?;
            fs::remove_file(root.join("link"))?;
            fs::write(root.join("d"), "a file now")?;
            fs::create_dir(root.join("file"))?;
            fs::write(root.join("file/f"), "f")?;
            Ok(symlink("file/f", root.join("link"))?)
        },
    },
];

/// Every change is at another time than what was there.
fn at(path: &Path, seconds: i64) -> Result<()> {
    let time = Timespec { tv_sec: seconds, tv_nsec: 0 };
    let times = Timestamps { last_access: time, last_modification: time };
    Ok(rustix::fs::utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW)?)
}

const CHANGED: i64 = 2_000_000;

fn small(root: &Path) -> Result<()> {
    fs::create_dir_all(root.join("d/e"))?;
    for name in ["file", "other", "d/f", "d/e/g", "one"] {
        fs::write(root.join(name), format!("content of {name}"))?;
    }
    fs::hard_link(root.join("one"), root.join("two"))?;
    symlink("d/f", root.join("link"))?;
    for name in ["file", "other", "d/f", "d/e/g", "one", "link", "d/e", "d"] {
        at(&root.join(name), 1_000_000)?;
    }
    Ok(())
}

fn files(root: &Path) -> Result<()> {
    fs::write(root.join("file"), "longer content than before")?;
    fs::remove_file(root.join("other"))?;
    fs::write(root.join("d/empty"), "")?;
    fs::write(root.join("d/large"), vec![42; 3 << 20])?;
    run(&format!("chmod 4711 {}", root.join("d/f").display()))?;
    run(&format!("chown 1000:3000000000 {}", root.join("d/e/g").display()))?;
    for name in ["file", "d/empty", "d/large"] {
        at(&root.join(name), CHANGED)?;
    }
    Ok(())
}

fn directories(root: &Path) -> Result<()> {
    fs::create_dir_all(root.join("new/deep/deeper"))?;
    fs::write(root.join("new/deep/deeper/f"), "f")?;
    run(&format!("chmod 1777 {}", root.join("new").display()))?;
    run(&format!("chown 7:8 {}", root.join("new/deep").display()))?;
    fs::remove_dir_all(root.join("d/e"))?;
    fs::create_dir(root.join("d/e"))?;
    fs::write(root.join("d/e/in its place"), "x")?;
    fs::remove_file(root.join("file"))?;
    fs::create_dir(root.join("file"))?;
    for name in ["new/deep/deeper", "new/deep", "new", "d/e/in its place", "d/e", "d", "file"] {
        at(&root.join(name), CHANGED)?;
    }
    Ok(())
}

fn symbolic_links(root: &Path) -> Result<()> {
    fs::remove_file(root.join("link"))?;
    symlink("/nowhere", root.join("link"))?;
    symlink("../file", root.join("d/up"))?;
    fs::remove_dir_all(root.join("d/e"))?;
    symlink("/d", root.join("d/e"))?;
    fs::remove_file(root.join("file"))?;
    symlink("x".repeat(200), root.join("file"))?;
    for name in ["link", "d/up", "d/e", "file"] {
        at(&root.join(name), CHANGED)?;
    }
    Ok(())
}

fn hard_links(root: &Path) -> Result<()> {
    fs::write(root.join("d/first"), "shared")?;
    fs::hard_link(root.join("d/first"), root.join("second"))?;
    fs::hard_link(root.join("d/first"), root.join("d/e/third"))?;
    at(&root.join("second"), CHANGED)?;
    fs::hard_link(root.join("other"), root.join("another name"))?;
    fs::remove_file(root.join("two"))?;
    Ok(())
}

fn devices(root: &Path) -> Result<()> {
    let node = |name: &str, kind, mode, (major, minor)| -> Result<()> {
        let device = rustix::fs::makedev(major, minor);
        let mode = Mode::from_raw_mode(mode);
        rustix::fs::mknodat(CWD, root.join(name), kind, mode, device)?;
        at(&root.join(name), CHANGED)
    };
    node("null", FileType::CharacterDevice, 0o666, (1, 3))?;
    node("d/disk", FileType::BlockDevice, 0o660, (7, 300))?;
    node("d/e/fifo", FileType::Fifo, 0o600, (0, 0))?;
    fs::remove_file(root.join("file"))?;
    node("file", FileType::CharacterDevice, 0o600, (1, 5))
}

fn attributes(root: &Path) -> Result<()> {
    const CAPABILITY: &[u8] = &[1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let set = |name: &str, key: &str, value: &[u8]| -> Result<()> {
        let path = root.join(name);
        Ok(rustix::fs::setxattr(path, key, value, XattrFlags::empty())?)
    };
    fs::write(root.join("ping"), "binary")?;
    set("ping", "security.capability", CAPABILITY)?;
    set("file", "security.capability", CAPABILITY)?;
    set("ping", "user.x", b"a\nb=\0")?;
    fs::create_dir(root.join("noted"))?;
    set("noted", "user.note", b"of a directory")?;
    for name in ["file", "ping", "noted"] {
        at(&root.join(name), CHANGED)?;
    }
    Ok(())
}

fn names(root: &Path) -> Result<()> {
    let long = "n".repeat(250);
    let deep = format!("{}/{}", "a".repeat(200), "b".repeat(200));
    fs::create_dir(root.join("a".repeat(200)))?;
    let odd = std::ffi::OsStr::from_bytes(b"\xff not text");
    for name in
        [&*long, &deep, "mit Umlaut \u{e4}", " spaces ", "new\nline", "-dash", "back\\slash"]
    {
        fs::write(root.join(name), name)?;
        at(&root.join(name), CHANGED)?;
    }
    fs::write(root.join(odd), "odd")?;
    at(&root.join(odd), CHANGED)?;
    at(&root.join("a".repeat(200)), CHANGED)
}
