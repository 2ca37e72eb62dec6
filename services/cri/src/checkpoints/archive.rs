//! A folder as one file, and back. Blocks.
//!
//! What comes from an archive is checked: only plain files of known names are taken, each once, and none of them is
//! larger than what the archive holds of it.

use std::ffi::OsString;
use std::io::{BufReader, BufWriter, ErrorKind, Read, Write};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Component, Path, PathBuf};

use fs_err::os::unix::fs::OpenOptionsExt;
use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use rustix::io::Errno;
use tar::{Archive, Builder, EntryType, Header};

use super::layout;
use crate::{Error, Result};

/// The most files that an archive may have: criu writes some for each process.
const MOST: usize = 100_000;
/// What is read and written at once.
const PIECE: usize = 256 << 10;

/// Writes all files of a folder, and of folders in it, into an archive, which is there with all of them or not at all.
/// While it is written `mark` says where it is, for whoever comes after a service that died.
///
/// # Errors
/// [`Error::File`]; [`Error::NotReady`] when nobody wants it any more.
pub fn pack(folder: &Path, location: &Path, mark: &Path, is_left: impl Fn() -> bool) -> Result<()> {
    // What a death leaves of the mark itself goes with the folder.
    berth_durable::replace_through(
        &folder.join("mark"),
        mark,
        location.as_os_str().as_bytes(),
        0o600,
    )
    .map_err(Error::file("write", mark))?;
    let packed = pack_marked(folder, location, is_left);
    let unmarked = fs_err::remove_file(mark).map_err(Error::file("remove", mark));
    packed.and(unmarked)
}

/// Removes what is left of an archive that was being written when this service died, and then what says so. What
/// somebody else may have put in its place stays, if it is no file.
///
/// # Errors
/// [`Error::File`]: it is said still.
pub fn clear(mark: &Path) -> Result<()> {
    let location = match fs_err::read(mark) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        read => PathBuf::from(OsString::from_vec(read.map_err(Error::file("read", mark))?)),
    };
    let path = unfinished(&location);
    let removed = remove_unfinished(&path);
    removed.map_err(|errno| Error::file("remove", &path)(errno.into()))?;
    fs_err::remove_file(mark).map_err(Error::file("remove", mark))
}

fn remove_unfinished(path: &Path) -> rustix::io::Result<()> {
    let (Some(above), Some(name)) = (path.parent(), path.file_name()) else { return Ok(()) };
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let gone = |errno| matches!(errno, Errno::NOENT | Errno::NOTDIR);
    let above = match rustix::fs::open(above, flags | OFlags::DIRECTORY, Mode::empty()) {
        Err(errno) if gone(errno) => return Ok(()),
        opened => opened?,
    };
    let file = match rustix::fs::openat(&above, name, flags | OFlags::NOFOLLOW, Mode::empty()) {
        Err(errno) if gone(errno) => return Ok(()),
        opened => opened?,
    };
    let is_file =
        FileType::from_raw_mode(rustix::fs::fstat(file)?.st_mode) == FileType::RegularFile;
    match is_file {
        true => rustix::fs::unlinkat(&above, name, AtFlags::empty()),
        false => Ok(()),
    }
}

/// What an archive is called until it is whole.
fn unfinished(location: &Path) -> PathBuf {
    let mut name = OsString::from(location);
    name.push(".partial");
    name.into()
}

fn pack_marked(folder: &Path, location: &Path, is_left: impl Fn() -> bool) -> Result<()> {
    let unfinished = unfinished(location);
    let packed = write(folder, &unfinished).and_then(|()| match is_left() {
        true => Err(Error::NotReady),
        false => {
            fs_err::rename(&unfinished, location).map_err(Error::file("name", location))?;
            let above = location.parent().unwrap_or(Path::new("/"));
            berth_durable::sync_folder(above).map_err(Error::file("flush", above))
        }
    });
    if packed.is_err() {
        // The failure itself is what is told.
        let _ = fs_err::remove_file(&unfinished);
    }
    packed
}

fn write(folder: &Path, unfinished: &Path) -> Result<()> {
    let faulty = |error| Error::file("write", unfinished)(error);
    // One that another attempt has left; nothing is written through a link.
    let _ = fs_err::remove_file(unfinished);
    let mut options = fs_err::OpenOptions::new();
    options.write(true).create_new(true).mode(0o600);
    let file = options.open(unfinished).map_err(faulty)?;
    let mut builder = Builder::new(BufWriter::with_capacity(PIECE, file));
    builder.follow_symlinks(false);
    builder.append_dir_all("", folder).map_err(faulty)?;
    let mut writer = builder.into_inner().map_err(faulty)?;
    writer.flush().map_err(faulty)?;
    writer.get_ref().sync_all().map_err(faulty)
}

/// Copies a log as it is now, if it is there and a file.
///
/// # Errors
/// [`Error::File`].
pub fn copy_log(log: &Path, to: &Path) -> Result<()> {
    let is_file = fs_err::symlink_metadata(log).is_ok_and(|found| found.is_file());
    if is_file {
        fs_err::copy(log, to).map_err(Error::file("copy", log))?;
    }
    Ok(())
}

/// Writes what an archive has of a container's memory and files into a new folder.
///
/// # Errors
/// [`Error::File`]; [`Error::Unreadable`] for an archive that is none of ours.
pub fn unpack(archive: &Path, folder: &Path) -> Result<()> {
    let file = open(archive)?;
    let unreadable = |why: String| unreadable(archive, why);
    let image = folder.join(layout::IMAGE);
    berth_durable::make_folder(&image, 0o700).map_err(Error::file("make", &image))?;
    let mut reader = Archive::new(BufReader::with_capacity(PIECE, file));
    let entries = reader.entries().map_err(|error| unreadable(error.to_string()))?;
    let mut count = 0;
    for entry in entries {
        let mut entry = entry.map_err(|error| unreadable(error.to_string()))?;
        count += 1;
        if count > MOST {
            return Err(unreadable(format!("it has more than {MOST} files")));
        }
        let Some(name) = wanted(entry.header()).map_err(unreadable)? else { continue };
        let path = folder.join(name);
        let mut options = fs_err::OpenOptions::new();
        let made = options.write(true).create_new(true).mode(0o600).open(&path);
        let mut file = made.map_err(Error::file("make", &path))?;
        std::io::copy(&mut entry, &mut file).map_err(|error| unreadable(error.to_string()))?;
        file.sync_all().map_err(Error::file("flush", &path))?;
    }
    for folder in [&image, folder] {
        berth_durable::sync_folder(folder).map_err(Error::file("flush", folder))?;
    }
    Ok(())
}

/// Opens a file of a checkpoint, which somebody else may have put there.
///
/// # Errors
/// [`Error::NotFound`]; [`Error::File`]; [`Error::Unreadable`] for what is no file.
pub fn open(path: &Path) -> Result<fs_err::File> {
    let mut options = fs_err::OpenOptions::new();
    // A pipe keeps nobody.
    options.read(true).custom_flags((OFlags::NONBLOCK | OFlags::NOFOLLOW).bits() as i32);
    let file = match options.open(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            return Err(Error::NotFound(format!("checkpoint {}", path.display())));
        }
        opened => opened.map_err(Error::file("open", path))?,
    };
    match file.metadata().is_ok_and(|found| found.is_file()) {
        true => Ok(file),
        false => Err(unreadable(path, "it is no file".to_owned())),
    }
}

fn unreadable(path: &Path, why: String) -> Error {
    Error::Unreadable { what: "checkpoint", id: path.display().to_string(), why }
}

/// Where a file of an archive is put, if it is one that is wanted: the layer, or what criu wrote.
fn wanted(header: &Header) -> Result<Option<PathBuf>, String> {
    if header.entry_type() != EntryType::Regular {
        return Ok(None);
    }
    let path = header.path().map_err(|error| error.to_string())?;
    let parts: Vec<_> = path.components().filter(|part| *part != Component::CurDir).collect();
    Ok(match &*parts {
        [Component::Normal(name)] if *name == layout::LAYER => Some(layout::LAYER.into()),
        [Component::Normal(folder), Component::Normal(name)] if *folder == layout::IMAGE => {
            Some(Path::new(layout::IMAGE).join(name))
        }
        _ => None,
    })
}

/// Whether a layer is packed by gzip, as containerd writes it.
///
/// # Errors
/// [`Error::File`].
pub fn is_packed(layer: &Path) -> Result<bool> {
    let mut head = Vec::new();
    let file = fs_err::File::open(layer).map_err(Error::file("open", layer))?;
    file.take(2).read_to_end(&mut head).map_err(Error::file("read", layer))?;
    Ok(head == [0x1f, 0x8b])
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn entry(builder: &mut Builder<Vec<u8>>, path: &str, kind: EntryType, text: &[u8]) {
        let mut header = Header::new_gnu();
        // As bytes: what no writer of archives would write is written, too.
        header.as_old_mut().name[..path.len()].copy_from_slice(path.as_bytes());
        header.set_entry_type(kind);
        header.set_size(text.len() as u64);
        header.set_mode(0o777);
        if matches!(kind, EntryType::Symlink | EntryType::Link) {
            header.set_link_name("/etc").unwrap();
        }
        header.set_cksum();
        builder.append(&header, text).unwrap();
    }

    fn unpacked(entries: &[(&str, EntryType, &[u8])]) -> (tempfile::TempDir, Result<()>) {
        let dir = tempfile::tempdir().unwrap();
        let mut builder = Builder::new(Vec::new());
        for (path, kind, text) in entries {
            entry(&mut builder, path, *kind, text);
        }
        fs_err::write(dir.path().join("a.tar"), builder.into_inner().unwrap()).unwrap();
        let outcome = unpack(&dir.path().join("a.tar"), &dir.path().join("into"));
        (dir, outcome)
    }

    fn below(folder: &Path) -> BTreeSet<String> {
        let mut found = BTreeSet::new();
        for entry in fs_err::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.strip_prefix(folder).unwrap().display().to_string();
            if path.is_dir() {
                found.extend(below(&path).into_iter().map(|inner| format!("{name}/{inner}")));
            } else {
                found.insert(name);
            }
        }
        found
    }

    #[test]
    fn what_is_packed_is_unpacked() {
        let dir = tempfile::tempdir().unwrap();
        let (from, into) = (dir.path().join("from"), dir.path().join("into"));
        fs_err::create_dir_all(from.join(layout::IMAGE)).unwrap();
        for name in ["checkpoint/pages-1.img", "checkpoint/core-1.img", "rootfs-diff.tar", "status"]
        {
            fs_err::write(from.join(name), name).unwrap();
        }
        let archive = dir.path().join("a.tar");
        let mark = dir.path().join("mark");
        pack(&from, &archive, &mark, || false).unwrap();
        assert!(!mark.exists());
        unpack(&archive, &into).unwrap();
        let expected = ["checkpoint/core-1.img", "checkpoint/pages-1.img", "rootfs-diff.tar"];
        assert_eq!(below(&into), expected.map(String::from).into());
        assert_eq!(
            fs_err::read(into.join("checkpoint/pages-1.img")).unwrap(),
            b"checkpoint/pages-1.img"
        );
    }

    #[test]
    fn nobody_gets_an_archive_that_nobody_waits_for() {
        let dir = tempfile::tempdir().unwrap();
        fs_err::create_dir(dir.path().join("from")).unwrap();
        let archive = dir.path().join("a.tar");
        let packed = pack(&dir.path().join("from"), &archive, &dir.path().join("mark"), || true);
        assert!(matches!(packed, Err(Error::NotReady)));
        assert_eq!(below(dir.path()), BTreeSet::new());
    }

    #[test]
    fn what_is_left_of_an_archive_is_removed_if_it_is_a_file() {
        let dir = tempfile::tempdir().unwrap();
        let [file, link, folder, nowhere, other] =
            ["file", "link", "folder", "none/x", "other"].map(|name| dir.path().join(name));
        fs_err::write(unfinished(&file), "x").unwrap();
        fs_err::write(&other, "x").unwrap();
        std::os::unix::fs::symlink(&other, unfinished(&link)).unwrap();
        fs_err::create_dir(unfinished(&folder)).unwrap();
        let mark = dir.path().join("mark");
        for archive in [&file, &link, &folder, &nowhere] {
            fs_err::write(&mark, archive.as_os_str().as_bytes()).unwrap();
            clear(&mark).unwrap();
            assert!(!mark.exists());
        }
        clear(&mark).unwrap();
        assert_eq!(below(dir.path()), ["link.partial", "other"].map(String::from).into());
        assert!(unfinished(&folder).is_dir());
    }

    #[test]
    fn nothing_of_an_archive_comes_to_lie_elsewhere() {
        let (regular, text) = (EntryType::Regular, &b"x"[..]);
        let (dir, outcome) = unpacked(&[
            ("../escaped", regular, text),
            ("/escaped", regular, text),
            ("checkpoint/../../escaped", regular, text),
            ("checkpoint/in/deep", regular, text),
            ("checkpoint", EntryType::Symlink, b""),
            ("checkpoint/link", EntryType::Link, b""),
            ("checkpoint/pipe", EntryType::Fifo, b""),
            ("checkpoint/device", EntryType::Char, b""),
            ("config.dump", regular, text),
            ("./checkpoint/good", regular, text),
        ]);
        outcome.unwrap();
        let found = below(dir.path());
        assert_eq!(found, ["a.tar", "into/checkpoint/good"].map(String::from).into());
    }

    #[test]
    fn a_file_comes_once_and_whole() {
        let twice = ("checkpoint/a", EntryType::Regular, &b"x"[..]);
        assert!(matches!(unpacked(&[twice, twice]).1, Err(Error::File { .. })));
        let dir = tempfile::tempdir().unwrap();
        let mut builder = Builder::new(Vec::new());
        entry(&mut builder, "checkpoint/a", EntryType::Regular, &[7; 5000]);
        let bytes = builder.into_inner().unwrap();
        fs_err::write(dir.path().join("a.tar"), &bytes[..2000]).unwrap();
        let cut = unpack(&dir.path().join("a.tar"), &dir.path().join("into"));
        assert!(matches!(cut, Err(Error::Unreadable { .. })), "{cut:?}");
        let folder = unpack(dir.path(), &dir.path().join("other")).unwrap_err().to_string();
        assert!(folder.contains("it is no file"), "{folder}");
    }
}
