//! Blobs whose bytes are kept by a process of others, in place of files here.
//!
//! Owns: which blobs were put there by this node, when one is, and when it goes. Must not know: the
//! wire; a [`Backend`] does.
//!
//! Ingests are files here as ever: what arrives is hashed and can be resumed without the process.
//! A blob is put there as a whole when it is committed, and got as a whole into a file that has no
//! name when somebody reads it, which is checked against its digest.
//!
//! Invariants:
//! - What is put there was not there, and has a row first ([`THERE`]): nothing of anybody else is
//!   removed.
//! - A row goes after the process has said that what it names is gone.
//! - What is kept there has been read and checked, or was sent by this node.
//! - Nobody waits for a removal: those are made one after another beside everything else.

use std::collections::HashSet;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use berth_ids::Digest;
use berth_store::Store;
use futures::future::BoxFuture;
use tokio::sync::Notify;

use super::files::Files;
use crate::error::{Error, Result};
use crate::records::THERE;

/// What the process is asked for. Each call ends in time.
pub type Work<'a, T> = BoxFuture<'a, Result<T>>;

/// A content store behind a socket.
pub trait Backend: Send + Sync {
    /// Keeps a blob, durably. False: it was there already.
    fn put<'a>(&'a self, digest: &'a Digest, size: u64, file: File) -> Work<'a, bool>;
    /// Writes a blob of this size to a file.
    fn get<'a>(&'a self, digest: &'a Digest, size: u64, into: Arc<File>) -> Work<'a, ()>;
    /// The size of a blob, if it is there.
    fn size<'a>(&'a self, digest: &'a Digest) -> Work<'a, Option<u64>>;
    /// Removes a blob, also one that is half put there; it is fine if there is none.
    fn remove<'a>(&'a self, digest: &'a Digest) -> Work<'a, ()>;
}

/// The process and what was put there.
#[derive(Clone)]
pub struct There {
    backend: Arc<dyn Backend>,
    store: Store,
    /// Where files without a name are made.
    folder: PathBuf,
    unused: Arc<Unused>,
}

/// What is to be removed, unless it is used again.
#[derive(Default)]
struct Unused {
    digests: Mutex<HashSet<Digest>>,
    told: Notify,
}

impl Unused {
    fn digests(&self) -> MutexGuard<'_, HashSet<Digest>> {
        // Each change is one call.
        self.digests.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl There {
    /// Blobs at a backend, with their rows in `store`.
    #[must_use]
    pub fn new(backend: Arc<dyn Backend>, store: Store, files: &Files) -> Self {
        Self { backend, store, folder: files.ingests(), unused: Arc::default() }
    }

    /// Puts a finished file there. Durable when this returns. The caller holds the blob's lock.
    ///
    /// # Errors
    /// [`Error::Store`], [`Error::ShortBlob`] if somebody else keeps other bytes there by this name,
    /// what the process says.
    pub async fn put(&self, digest: &Digest, size: u64, file: File) -> Result<()> {
        let is_ours = self.is_ours(digest)?;
        let mut was_damaged = false;
        if self.backend.size(digest).await?.is_some() {
            match self.open(digest, size).await {
                // Somebody else's stays theirs.
                Ok(_) => return Ok(()),
                Err(Error::ShortBlob { .. }) if is_ours => was_damaged = true,
                Err(error) => return Err(error),
            }
        }
        if was_damaged {
            self.backend.remove(digest).await?;
        }
        if !is_ours {
            self.own(digest).await?;
        }
        match self.backend.put(digest, size, file).await {
            Ok(true) if was_damaged => self.check_again(digest, size).await,
            Ok(true) => Ok(()),
            Ok(false) => {
                // Somebody else's, who has put it there just now.
                if !is_ours {
                    self.disown(digest).await?;
                }
                self.open(digest, size).await.map(drop)
            }
            Err(error) => {
                // It may be there, in whole or in part.
                self.unused(digest);
                Err(error)
            }
        }
    }

    /// Whether the process has let go of bytes that were wrong, as containerd does not until it
    /// collects. So that it can, nothing names them if not.
    async fn check_again(&self, digest: &Digest, size: u64) -> Result<()> {
        let checked = self.open(digest, size).await;
        if let Err(Error::ShortBlob { .. }) = &checked {
            self.backend.remove(digest).await?;
        }
        checked.map(drop)
    }

    /// A blob of this size in a file.
    ///
    /// # Errors
    /// [`Error::ShortBlob`], [`Error::Io`], what the process says.
    pub async fn open(&self, digest: &Digest, size: u64) -> Result<File> {
        let folder = self.folder.clone();
        let made = tokio::task::spawn_blocking(move || unnamed(&folder)).await;
        let file = Arc::new(made.map_err(|_| Error::Worker("make file"))??);
        self.backend.get(digest, size, file.clone()).await?;
        file.try_clone().map_err(Error::io("open blob", &self.folder))
    }

    /// Whether a blob is there in this size.
    ///
    /// # Errors
    /// What the process says.
    pub async fn has(&self, digest: &Digest, size: u64) -> Result<bool> {
        Ok(self.backend.size(digest).await? == Some(size))
    }

    /// Says that a blob may be used by nobody now. It is [`There::next_unused`] then.
    pub fn unused(&self, digest: &Digest) {
        self.unused.digests().insert(digest.clone());
        self.unused.told.notify_one();
    }

    /// Waits for a blob that may be used by nobody. For one caller at a time.
    pub async fn next_unused(&self) -> Digest {
        loop {
            let told = self.unused.told.notified();
            let next = self.unused.digests().iter().next().cloned();
            if let Some(digest) = next {
                self.unused.digests().remove(&digest);
                return digest;
            }
            told.await;
        }
    }

    /// Removes a blob if this node has put it there. The caller holds the blob's lock.
    ///
    /// # Errors
    /// [`Error::Store`], what the process says.
    pub async fn remove(&self, digest: &Digest) -> Result<()> {
        if self.is_ours(digest)? {
            self.backend.remove(digest).await?;
            self.disown(digest).await?;
        }
        Ok(())
    }

    /// All that this node has put there.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub fn list(&self) -> Result<Vec<Digest>> {
        self.store.read(|txn| {
            let mut found = Vec::new();
            for row in txn.range(&THERE, ())? {
                let (digest, ()) = row?;
                found.extend(digest.parse::<Digest>());
            }
            Ok(found)
        })
    }

    fn is_ours(&self, digest: &Digest) -> Result<bool> {
        let row = self.store.read(|txn| Ok::<_, Error>(txn.get(&THERE, digest.as_str())?))?;
        Ok(row.is_some())
    }

    async fn own(&self, digest: &Digest) -> Result<()> {
        let row = digest.to_string();
        let note = move |txn: &berth_store::Write| {
            txn.put(&THERE, row.as_str(), &())?;
            Ok::<_, Error>(())
        };
        self.store.commit("content.there", note).await
    }

    async fn disown(&self, digest: &Digest) -> Result<()> {
        let row = digest.to_string();
        let forget = move |txn: &berth_store::Write| {
            txn.delete(&THERE, row.as_str())?;
            Ok::<_, Error>(())
        };
        self.store.commit("content.there", forget).await
    }
}

/// A file that is gone when nobody has it open.
fn unnamed(folder: &Path) -> Result<File> {
    use rustix::fs::{Mode, OFlags};
    let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
    let made = rustix::fs::open(folder, flags, Mode::RUSR | Mode::WUSR);
    made.map(File::from).map_err(|errno| Error::io("make file in", folder)(errno.into()))
}
