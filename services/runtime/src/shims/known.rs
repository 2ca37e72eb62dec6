//! What was learnt of programs, as long as they are the same files.

use std::collections::HashMap;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::OnceCell;

use crate::error::{Error, Result};

/// Programs that are remembered. A node has a few shims; containers may name any path.
const MOST: usize = 64;

/// One fact about each program. Clones share it.
#[derive(Clone, Debug)]
pub struct Known<T>(Arc<Mutex<HashMap<PathBuf, Entry<T>>>>);

#[derive(Debug)]
struct Entry<T> {
    file: File,
    fact: Arc<OnceCell<T>>,
}

/// Which file a program is. An update replaces it or changes its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct File {
    device: u64,
    inode: u64,
    size: u64,
    changed: (i64, i64),
}

impl<T> Default for Known<T> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl<T: Clone> Known<T> {
    /// The fact about a program, learnt by `ask` if it is not known: once, however many want it.
    ///
    /// # Errors
    /// What `ask` says; it is asked again next time. [`Error::NoRuntime`] when there is no such
    /// file.
    pub async fn of(&self, program: &Path, ask: impl Future<Output = Result<T>>) -> Result<T> {
        let fact = self.fact(program)?;
        fact.get_or_try_init(|| ask).await.cloned()
    }

    fn fact(&self, program: &Path) -> Result<Arc<OnceCell<T>>> {
        let file = File::of(program)?;
        // Its map is changed by single calls: a panic cannot leave it half changed.
        let mut map = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(entry) = map.get(program).filter(|entry| entry.file == file) {
            return Ok(entry.fact.clone());
        }
        if map.len() >= MOST && !map.contains_key(program) {
            map.clear();
        }
        let fact = Arc::new(OnceCell::new());
        map.insert(program.to_owned(), Entry { file, fact: fact.clone() });
        Ok(fact)
    }
}

impl File {
    fn of(program: &Path) -> Result<Self> {
        let found = std::fs::metadata(program);
        let found =
            found.map_err(|error| Error::NoRuntime(format!("{}: {error}", program.display())))?;
        let changed = (found.ctime(), found.ctime_nsec());
        Ok(Self { device: found.dev(), inode: found.ino(), size: found.size(), changed })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_program_is_asked_once_until_it_is_another() {
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("shim");
        let known = Known::default();
        known.of(&program, async { Ok(0) }).await.unwrap_err();
        std::fs::write(&program, "one").unwrap();
        let failed = async { Err(Error::NoRuntime("no".into())) };
        known.of(&program, failed).await.unwrap_err();
        for _ in 0..2 {
            assert_eq!(known.of(&program, async { Ok(1) }).await.unwrap(), 1);
        }
        assert_eq!(known.of(&program, async { panic!("asked again") }).await.unwrap(), 1);
        std::fs::write(folder.path().join("new"), "two").unwrap();
        std::fs::rename(folder.path().join("new"), &program).unwrap();
        assert_eq!(known.of(&program, async { Ok(2) }).await.unwrap(), 2);
    }

    #[tokio::test]
    async fn it_does_not_grow_without_end() {
        let folder = tempfile::tempdir().unwrap();
        let known = Known::default();
        for number in 0..3 * MOST {
            let program = folder.path().join(number.to_string());
            std::fs::write(&program, "").unwrap();
            known.of(&program, async { Ok(number) }).await.unwrap();
        }
        assert!(known.0.lock().unwrap().len() <= MOST);
    }
}
