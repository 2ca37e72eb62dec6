//! Deleting a tree of directories.

use std::path::Path;

use super::erofs::thaw;
use crate::Error;

/// Deletes a tree of directories, following nothing.
pub(in crate::snapshots) fn delete_tree(path: &Path) -> Result<(), Error> {
    // Of a layer that was kept from being removed by accident.
    thaw(&path.join(crate::erofs::BLOB));
    match berth_tree::remove(path) {
        Ok(()) => Ok(()),
        Err(errno) => {
            Err(Error::File { step: "delete", path: path.to_owned(), source: errno.into() })
        }
    }
}
