//! How much a directory takes on disk.

use std::collections::HashSet;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::Usage;
use crate::Error;

/// Counts every file once, however many names it has, by the blocks that it takes.
pub(super) fn of(root: &Path) -> Result<Usage, Error> {
    let mut usage = Usage::default();
    // Only files with several names need to be remembered.
    let mut seen = HashSet::new();
    let mut todo = vec![root.to_owned()];
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| Error::File { step: "count the usage of", path, source }
    };
    let mut count = |metadata: &std::fs::Metadata| {
        let several = !metadata.is_dir() && metadata.nlink() > 1;
        if !several || seen.insert((metadata.dev(), metadata.ino())) {
            usage.inodes += 1;
            usage.size += metadata.blocks() * 512;
        }
    };
    count(&std::fs::symlink_metadata(root).map_err(failed(root))?);
    while let Some(directory) = todo.pop() {
        let entries = match std::fs::read_dir(&directory) {
            // Removed while it was counted.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            other => other.map_err(failed(&directory))?,
        };
        for entry in entries {
            let entry = entry.map_err(failed(&directory))?;
            match entry.metadata() {
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(error) => return Err(failed(&entry.path())(error)),
                Ok(metadata) => {
                    count(&metadata);
                    if metadata.is_dir() {
                        todo.push(entry.path());
                    }
                }
            }
        }
    }
    Ok(usage)
}
