//! Who has a file open.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// The first process found that has the file at `path` open, if there is one that may be looked at.
/// What the kernel says of a lock names who took it, which may be gone while a child of it has the
/// file still.
pub(crate) fn holder(path: &Path) -> Option<u32> {
    let file = std::fs::metadata(path).ok()?;
    let path = std::fs::canonicalize(path).ok()?;
    let name = path.file_name()?;
    // Only what is called like it is looked at: a file of another may lie where nobody answers any more.
    let holds = |descriptor: PathBuf| {
        std::fs::read_link(&descriptor).is_ok_and(|target| target.file_name() == Some(name))
            && std::fs::metadata(&descriptor)
                .is_ok_and(|open| (open.dev(), open.ino()) == (file.dev(), file.ino()))
    };
    fs_err::read_dir("/proc").ok()?.flatten().find_map(|process| {
        let pid = process.file_name().to_str()?.parse().ok()?;
        let mut descriptors = std::fs::read_dir(process.path().join("fd")).ok()?.flatten();
        descriptors.any(|descriptor| holds(descriptor.path())).then_some(pid)
    })
}
