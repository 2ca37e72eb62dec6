//! What could not be deleted from the trash: the next deletion that succeeds tries it again.
//!
//! Without that it would lie there until the next start, though what was in the way (no file
//! descriptors, a full disk) is long gone.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use super::driver::Deletion;

/// Deletions that have failed.
#[derive(Clone, Default)]
pub(super) struct Undeleted(Arc<Mutex<Vec<(Deletion, PathBuf)>>>);

impl Undeleted {
    /// Deletes; what cannot be deleted now is by a later call.
    pub(super) fn delete(&self, deletion: Deletion, path: PathBuf) {
        if self.tried(deletion, path) {
            // Not in the loop's head, where the lock would be held to its end.
            let left = std::mem::take(&mut *self.lock());
            for (deletion, path) in left {
                self.tried(deletion, path);
            }
        }
    }

    fn tried(&self, deletion: Deletion, path: PathBuf) -> bool {
        let deleted = deletion(&path);
        if let Err(error) = &deleted {
            tracing::warn!(error = berth_errors::chain(error), "deletion will be tried again");
            self.lock().push((deletion, path));
        }
        deleted.is_ok()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<(Deletion, PathBuf)>> {
        // Changed by single calls: a panic cannot have torn it.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::Error;

    fn unless_kept(path: &Path) -> Result<(), Error> {
        let deleted = match path.join("kept").exists() {
            true => Err(std::io::ErrorKind::Other.into()),
            false => fs_err::remove_dir_all(path),
        };
        deleted.map_err(|source| Error::File { step: "delete", path: path.to_owned(), source })
    }

    #[test]
    fn what_could_not_be_deleted_goes_with_the_next_that_can() {
        let trash = tempfile::tempdir().unwrap();
        let names = || fs_err::read_dir(trash.path()).unwrap().count();
        let directory = |name: &str| {
            let path = trash.path().join(name);
            fs_err::create_dir(&path).unwrap();
            path
        };
        let (undeleted, first, second) =
            (Undeleted::default(), directory("first"), directory("second"));
        for path in [&first, &second] {
            fs_err::write(path.join("kept"), "").unwrap();
            undeleted.delete(unless_kept, path.clone());
        }
        undeleted.delete(unless_kept, directory("third"));
        assert_eq!(names(), 2);
        for path in [first, second] {
            fs_err::remove_file(path.join("kept")).unwrap();
        }
        undeleted.delete(unless_kept, directory("fourth"));
        assert_eq!(names(), 0);
    }
}
