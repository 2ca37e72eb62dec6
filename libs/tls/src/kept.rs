//! What was made of files, made again when they change.
//!
//! The files are looked at when somebody asks for it. Those that cannot be used leave what was made of the
//! earlier ones in force; that is told once, and tried again when they change again.

use std::sync::{Mutex, PoisonError};

use berth_errors::chain;

use crate::files::Stamps;
use crate::{Error, Files};

/// Makes something of the files of one side, for whom it says.
pub(crate) type Make<T> = fn(&Files, &'static str) -> Result<T, Error>;

pub(crate) struct Kept<T> {
    whom: &'static str,
    make: Make<T>,
    current: Mutex<Current<T>>,
}

struct Current<T> {
    files: Files,
    read: Stamps,
    made: T,
}

impl<T: Clone> Kept<T> {
    pub(crate) fn new(files: Files, whom: &'static str, make: Make<T>) -> Result<Self, Error> {
        let current = Mutex::new(Current::of(files, whom, make)?);
        Ok(Self { whom, make, current })
    }

    /// Other files from now on, unless they cannot be used.
    pub(crate) fn replace(&self, files: Files) -> Result<(), Error> {
        let next = Current::of(files, self.whom, self.make)?;
        *self.current.lock().unwrap_or_else(PoisonError::into_inner) = next;
        Ok(())
    }

    /// What is in force now.
    pub(crate) fn current(&self) -> T {
        let whom = self.whom;
        // Each field is set by itself, and any of them is whole.
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        let there = current.files.stamps();
        if there != current.read {
            current.read = there;
            match (self.make)(&current.files, whom) {
                Ok(made) => {
                    let cert = current.files.cert.display();
                    tracing::info!(%cert, whom, "read certificates again");
                    current.made = made;
                }
                Err(error) => {
                    let error = chain(&error);
                    tracing::error!(error, "the earlier certificates stay in force");
                }
            }
        }
        current.made.clone()
    }
}

impl<T> Current<T> {
    fn of(files: Files, whom: &'static str, make: Make<T>) -> Result<Self, Error> {
        Ok(Self { read: files.stamps(), made: make(&files, whom)?, files })
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::path::Path;

    use super::*;
    use crate::files::unusable;

    thread_local! {
        static TRIED: Cell<u32> = const { Cell::new(0) };
    }

    fn make(files: &Files, whom: &'static str) -> Result<u32, Error> {
        TRIED.set(TRIED.get() + 1);
        let text = std::fs::read_to_string(&files.cert).map_err(unusable(&files.cert, whom))?;
        text.parse().map_err(unusable(&files.cert, whom))
    }

    fn write(path: &Path, text: &str) {
        // Another inode each time: a clock may be too coarse to tell two writes apart.
        let beside = path.with_extension("beside");
        std::fs::write(&beside, text).unwrap();
        std::fs::rename(&beside, path).unwrap();
    }

    #[test]
    fn what_cannot_be_used_is_tried_once_and_leaves_the_earlier() {
        let dir = tempfile::tempdir().unwrap();
        let cert = dir.path().join("cert");
        write(&cert, "1");
        let none = dir.path().join("none");
        let files = Files { ca: none.clone(), cert: cert.clone(), key: none };
        let kept = Kept::new(files, "tests", make).unwrap();
        let after = |text: &str| {
            write(&cert, text);
            let seen = [kept.current(), kept.current(), kept.current()];
            (seen, TRIED.take())
        };
        assert_eq!(TRIED.take(), 1);
        assert_eq!(kept.current(), 1);
        assert_eq!(TRIED.take(), 0, "nothing has changed");
        assert_eq!(after("2"), ([2; 3], 1));
        assert_eq!(after("two"), ([2; 3], 1));
        std::fs::remove_file(&cert).unwrap();
        assert_eq!([kept.current(), kept.current()], [2; 2]);
        assert_eq!(TRIED.take(), 1);
        assert_eq!(after("3"), ([3; 3], 1));
    }
}
