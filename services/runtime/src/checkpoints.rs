//! Checkpoints on their way: what ran in a task, from the shim into the content store and back.
//!
//! Owns: the folders that they pass through, under `root/runtime/checkpoints`: dumps until they are
//! blobs, and what tasks are restored from until they have started. Must not know: criu; the wire.

use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use berth_ids::{Digest, Namespace};
use berth_store::failpoint;
use bytes::Bytes;
use futures::future::BoxFuture;

use crate::error::{Error, Result};
use crate::work::in_folder;

/// How long a caller that works under no lease has to refer to what it was answered.
const HELD: Duration = Duration::from_secs(3600);
const DUMPS: &str = "dumps";
/// Dumps that tasks end with, until they are blobs.
const KEPT: &str = "kept";
const RESTORES: &str = "restores";

/// A blob of the content store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blob {
    /// Its digest.
    pub digest: Digest,
    /// Its size in bytes.
    pub size: u64,
}

/// The content store, as far as checkpoints need it.
pub trait Blobs: Send + Sync {
    /// Makes a lease that ends at a time by itself; answers its name.
    fn hold<'a>(
        &'a self,
        namespace: &'a Namespace,
        until: SystemTime,
    ) -> BoxFuture<'a, Result<String>>;
    /// Makes a blob, held by a lease, of the tar of a folder.
    fn pack<'a>(
        &'a self,
        namespace: &'a Namespace,
        lease: &'a str,
        folder: &'a Path,
    ) -> BoxFuture<'a, Result<Blob>>;
    /// Makes a blob, held by a lease, of some bytes.
    fn write<'a>(
        &'a self,
        namespace: &'a Namespace,
        lease: &'a str,
        bytes: Bytes,
    ) -> BoxFuture<'a, Result<Blob>>;
    /// Extracts a tar into a folder. What it may hold is bounded as what a layer may.
    fn unpack<'a>(
        &'a self,
        namespace: &'a Namespace,
        tar: &'a Blob,
        folder: &'a Path,
    ) -> BoxFuture<'a, Result<()>>;
}

/// Their folders, and the store. Clones share them.
#[derive(Clone)]
pub struct Checkpoints(Arc<Shared>);

struct Shared {
    folder: PathBuf,
    blobs: Arc<dyn Blobs>,
}

impl Checkpoints {
    /// Checkpoints pass through `folder`, which need not be there.
    #[must_use]
    pub fn new(folder: PathBuf, blobs: Arc<dyn Blobs>) -> Self {
        Self(Arc::new(Shared { folder, blobs }))
    }

    /// The store.
    #[must_use]
    pub fn blobs(&self) -> &dyn Blobs {
        &*self.0.blobs
    }

    /// The caller's lease, or one that lasts long enough to refer to what it will hold.
    ///
    /// # Errors
    /// [`Error::Peer`].
    pub async fn lease(&self, ns: &Namespace, given: Option<String>) -> Result<String> {
        match given {
            Some(lease) => Ok(lease),
            None => self.0.blobs.hold(ns, SystemTime::now() + HELD).await,
        }
    }

    /// A new folder for a dump. One that a task ends with lies where only [`Checkpoints::done`]
    /// removes it, and no later run of the service: there will be nothing else.
    ///
    /// # Errors
    /// [`Error::Bundle`].
    pub async fn dump(&self, exit: bool) -> Result<PathBuf> {
        let all = self.0.folder.join(if exit { KEPT } else { DUMPS });
        made(all.join(unique())).await
    }

    /// Removes the folder of a dump.
    pub async fn done(&self, dump: PathBuf) {
        removed(dump).await;
    }

    /// Fetches what a task is to be restored from; answers where it lies until
    /// [`Checkpoints::forget`].
    ///
    /// # Errors
    /// [`Error::Peer`], with NOT_FOUND for a blob that is not there; [`Error::Bundle`].
    pub async fn fetch(&self, ns: &Namespace, id: &str, tar: &Blob) -> Result<PathBuf> {
        let folder = made(self.place(ns, id)).await?;
        if let Err(error) = self.0.blobs.unpack(ns, tar, &folder).await {
            removed(folder).await;
            return Err(error);
        }
        Ok(folder)
    }

    /// Whether something lies there for a task.
    #[must_use]
    pub fn holds(&self, ns: &Namespace, id: &str) -> bool {
        self.place(ns, id).exists()
    }

    /// Removes what a task was to be restored from.
    pub async fn forget(&self, ns: &Namespace, id: &str) {
        removed(self.place(ns, id)).await;
    }

    /// Removes what an earlier run has left, but for tasks that are there, and but for dumps that
    /// are all that is left of a task.
    pub async fn clear(&self, tasks: &[(Namespace, String)]) {
        removed(self.0.folder.join(DUMPS)).await;
        for dump in inside(&self.0.folder.join(KEPT)) {
            let dump = dump.display();
            tracing::warn!(%dump, "a task ended, or was to end, with this checkpoint, which was not stored");
        }
        let kept: Vec<_> = tasks.iter().map(|(ns, id)| self.place(ns, id)).collect();
        let restores = self.0.folder.join(RESTORES);
        let cleared = in_folder("checkpoints-clear", move || {
            let left = inside(&restores).into_iter().flat_map(|space| inside(&space));
            left.filter(|folder| !kept.contains(folder)).for_each(|folder| remove(&folder));
            Ok(())
        });
        if let Err(error) = cleared.await {
            tracing::warn!(error = berth_errors::chain(&error), "clear checkpoints");
        }
    }

    fn place(&self, ns: &Namespace, id: &str) -> PathBuf {
        self.0.folder.join(RESTORES).join(ns.as_str()).join(id)
    }
}

/// Makes a folder that is empty.
async fn made(folder: PathBuf) -> Result<PathBuf> {
    in_folder("checkpoint-folder", move || {
        remove(&folder);
        let failed = |source| Error::Bundle { step: "make", path: folder.clone(), source };
        private(&folder).map_err(failed)?;
        failpoint::file("checkpoint's folder", "made");
        Ok(folder)
    })
    .await
}

/// Makes a folder that nobody else looks into, with those above it.
fn private(folder: &Path) -> io::Result<()> {
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)
}

/// A name that no other run has used or will use.
fn unique() -> String {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    format!("{}-{}-{count}", now.as_nanos(), std::process::id())
}

/// What cannot be removed now goes when the service is started the next time.
async fn removed(folder: PathBuf) {
    let work = move || {
        remove(&folder);
        Ok(())
    };
    if let Err(error) = in_folder("checkpoint-remove", work).await {
        tracing::warn!(error = berth_errors::chain(&error), "remove checkpoint");
    }
}

fn remove(folder: &Path) {
    match std::fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            tracing::warn!(folder = %folder.display(), %error, "remove checkpoint");
        }
        Ok(()) => failpoint::file("checkpoint's folder", "removed"),
        Err(_) => {}
    }
}

fn inside(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIGEST: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    /// Extracts a file, or fails half way.
    struct Store;

    impl Blobs for Store {
        fn hold<'a>(&'a self, _: &'a Namespace, _: SystemTime) -> BoxFuture<'a, Result<String>> {
            Box::pin(async { Ok("held".to_owned()) })
        }

        fn pack<'a>(
            &'a self,
            _: &'a Namespace,
            _: &'a str,
            _: &'a Path,
        ) -> BoxFuture<'a, Result<Blob>> {
            unreachable!("nothing is packed here")
        }

        fn write<'a>(
            &'a self,
            _: &'a Namespace,
            _: &'a str,
            _: Bytes,
        ) -> BoxFuture<'a, Result<Blob>> {
            unreachable!("nothing is written here")
        }

        fn unpack<'a>(
            &'a self,
            _: &'a Namespace,
            tar: &'a Blob,
            folder: &'a Path,
        ) -> BoxFuture<'a, Result<()>> {
            Box::pin(async {
                std::fs::write(folder.join("pages"), "memory").unwrap();
                if tar.size == 0 {
                    return Err(Error::Invalid("half".into()));
                }
                Ok(())
            })
        }
    }

    #[tokio::test]
    async fn what_nobody_will_restore_from_is_removed() {
        let root = tempfile::tempdir().unwrap();
        let open = || Checkpoints::new(root.path().join("c"), Arc::new(Store));
        let ns: Namespace = "n".parse().unwrap();
        let tar = |size| Blob { digest: DIGEST.parse().unwrap(), size };
        let first = open();
        assert_eq!(first.lease(&ns, None).await.unwrap(), "held");
        assert_eq!(first.lease(&ns, Some("given".into())).await.unwrap(), "given");
        let dump = first.dump(false).await.unwrap();
        let only = first.dump(true).await.unwrap();
        std::fs::write(only.join("pages"), "memory").unwrap();
        let kept = first.fetch(&ns, "kept", &tar(1)).await.unwrap();
        let left = first.fetch(&ns, "left", &tar(1)).await.unwrap();
        assert!(kept.join("pages").exists() && first.holds(&ns, "left"));
        first.fetch(&ns, "half", &tar(0)).await.unwrap_err();
        assert!(!first.holds(&ns, "half"));
        let second = open();
        second.clear(&[(ns.clone(), "kept".into())]).await;
        assert_eq!([&dump, &kept, &left].map(|folder| folder.exists()), [false, true, false]);
        assert_eq!(std::fs::read(only.join("pages")).unwrap(), b"memory");
        let later = second.dump(false).await.unwrap();
        assert!(later.exists() && later.file_name() != dump.file_name(), "{}", later.display());
        second.done(only.clone()).await;
        assert!(!only.exists());
        second.forget(&ns, "kept").await;
        assert!(!kept.exists());
    }
}
