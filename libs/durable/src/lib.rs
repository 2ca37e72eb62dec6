//! Small files that are there whole and durable, or as they were before.
//!
//! Owns: in which order a file is written, named and flushed, its folder too. Must not know: what is in a file,
//! whose it is, or what becomes of one whose bytes arrive bit by bit (layers, blobs, images have ways of their own).
//!
//! A file gets its name when all of it is on the disk; who is killed before that leaves the one of before, and
//! beside it an unfinished one that the next writes over. Every call blocks.
//!
//! Errors name the file and the step, as those of `fs_err` do.

use std::ffi::OsString;
use std::fs::DirBuilder;
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use fs_err::os::unix::fs::OpenOptionsExt;

/// What the name of an unfinished file has at its end.
const UNFINISHED: &str = ".new";
/// Folders are as the process's umask has them.
const ANY: u32 = 0o777;

/// Writes a file in the place of the one at `path`, if there is one. Durable when this returns. `mode` is its
/// permissions, less the umask; folders that are missing are made.
///
/// Two at once of one path would write into one unfinished file, `PATH.new`: callers take turns.
///
/// # Errors
/// Those of the system. The file of before is left then, and nothing beside it; but when it is the folder that
/// cannot be flushed, the new one is there, and may be gone after a crash.
pub fn replace(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    make_folder(folder_of(path), ANY)?;
    let mut unfinished = OsString::from(path);
    unfinished.push(UNFINISHED);
    replace_through(&PathBuf::from(unfinished), path, bytes, mode)
}

/// As [`replace`], with an unfinished file elsewhere in the file system, for folders in which others would take it
/// for one of theirs. Both folders are there.
///
/// # Errors
/// As [`replace`].
pub fn replace_through(unfinished: &Path, path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let named = write(unfinished, bytes, mode).and_then(|()| fs_err::rename(unfinished, path));
    if named.is_err() {
        // The next writes over one that stays.
        let _ = fs_err::remove_file(unfinished);
    }
    named?;
    sync_folder(folder_of(path))
}

/// Makes a folder where there is none, durably, with those above it that are missing. `mode` is its own
/// permissions, less the umask.
///
/// # Errors
/// Those of the system.
pub fn make_folder(folder: &Path, mode: u32) -> io::Result<()> {
    if folder.is_dir() {
        return Ok(());
    }
    let above = folder_of(folder);
    make_folder(above, ANY)?;
    match DirBuilder::new().mode(mode).create(folder) {
        // Somebody else's was first.
        Err(error) if error.kind() == ErrorKind::AlreadyExists && folder.is_dir() => {}
        made => made.map_err(|error| {
            let text = format!("failed to create directory `{}`: {error}", folder.display());
            io::Error::new(error.kind(), text)
        })?,
    }
    sync_folder(above)
}

/// Makes the names in a folder durable.
///
/// # Errors
/// Those of the system.
pub fn sync_folder(folder: &Path) -> io::Result<()> {
    fs_err::File::open(folder)?.sync_all()
}

fn write(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let mut options = fs_err::OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(mode);
    let mut file = options.open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// The folder that a path is in.
fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if folder.as_os_str().is_empty() => Path::new("."),
        folder => folder.unwrap_or(Path::new("/")),
    }
}

#[cfg(test)]
mod tests;
