//! The blobs and ingests of all namespaces.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use berth_config::Sharing;
use berth_filters::Filter;
use berth_ids::{Digest, Labels, Namespace};
use berth_store::failpoint;
use bytes::Bytes;

use super::files::read_at;
use super::info::{Info, Status};
use super::ingests::Ingest;
use super::there::There;
use crate::error::{Error, Result};
use crate::events::Event;
use crate::gc::id::{CONTENT as KIND, Id};
use crate::records::{self, Blob, CONTENT, HOLDERS, Hold, LEASES, NAMESPACES};
use crate::scope::Scope;
use crate::shared::{LabelChange, Shared};

/// The label of a namespace whose blobs others may have, whatever the policy.
const SHAREABLE: &str = "containerd.io/namespace.shareable";

/// The content store. Clones are the same store.
#[derive(Clone)]
pub struct Content(pub(crate) Arc<Shared>);

impl Content {
    /// What a namespace knows of a blob.
    ///
    /// # Errors
    /// [`Error::ContentNotFound`], [`Error::Store`].
    pub fn info(&self, namespace: &Namespace, digest: &Digest) -> Result<Info> {
        self.find(namespace, digest)?.ok_or_else(|| Error::ContentNotFound(digest.clone()))
    }

    /// As [`Content::info`], `None` when there is no such blob.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub fn find(&self, namespace: &Namespace, digest: &Digest) -> Result<Option<Info>> {
        let key = (namespace.as_str(), digest.as_str());
        let blob = self.0.store.read(|txn| Ok::<_, Error>(txn.get(&CONTENT, &key)?))?;
        Ok(blob.map(|blob| blob.into_info(digest.clone())))
    }

    /// The blobs of a namespace that match.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn list(&self, namespace: &Namespace, filter: Filter) -> Result<Vec<Info>> {
        let namespace = namespace.clone();
        let list = move |shared: &Shared| {
            shared.store.read(|txn| {
                let mut found = Vec::new();
                for record in txn.range(&CONTENT, (namespace.as_str(),))? {
                    let ((_, digest), blob) = record?;
                    let info = blob.into_info(digest.parse()?);
                    if filter.matches(&info) {
                        found.push(info);
                    }
                }
                Ok(found)
            })
        };
        self.0.blocking("list content", list).await
    }

    /// Opens a blob's file, with its size.
    ///
    /// # Errors
    /// [`Error::ContentNotFound`], [`Error::ShortBlob`], [`Error::Io`], [`Error::Store`].
    pub async fn open(&self, namespace: &Namespace, digest: &Digest) -> Result<(File, u64)> {
        let info = self.info(namespace, digest)?;
        Ok((self.open_file(digest, info.size).await?, info.size))
    }

    /// The file of a blob, or of a copy of it.
    pub(crate) async fn open_file(&self, digest: &Digest, size: u64) -> Result<File> {
        match &self.0.there {
            None => self.0.files.open_blob(digest, size),
            Some(there) => there.open(digest, size).await,
        }
    }

    /// A whole blob of at most `max` bytes.
    ///
    /// # Errors
    /// As [`Content::open`], and [`Error::TooLarge`].
    pub async fn read_bounded(
        &self,
        namespace: &Namespace,
        digest: &Digest,
        max: u64,
    ) -> Result<Bytes> {
        let size = self.info(namespace, digest)?.size;
        if size > max {
            return Err(Error::TooLarge { digest: digest.clone(), size, max });
        }
        let file = self.open_file(digest, size).await?;
        let path = self.0.files.blob(digest);
        let read = move |_: &Shared| {
            let length = usize::try_from(size).map_err(|_| Error::PastEnd(size))?;
            read_at(&file, 0, length).map_err(Error::io("read blob", &path))
        };
        self.0.blocking("read blob", read).await
    }

    /// Changes a blob's labels.
    ///
    /// # Errors
    /// [`Error::ContentNotFound`], [`Error::Label`], [`Error::Store`].
    pub async fn update(
        &self,
        scope: &Scope,
        digest: &Digest,
        labels: LabelChange,
    ) -> Result<Info> {
        let (content, scope, digest) = (self.clone(), scope.clone(), digest.clone());
        let update = async move { content.update_counted(&scope, &digest, labels).await };
        self.0.to_its_end("update content", update).await
    }

    async fn update_counted(
        &self,
        scope: &Scope,
        digest: &Digest,
        labels: LabelChange,
    ) -> Result<Info> {
        let new = crate::shared::clean_labels("info", labels.new_labels())?;
        let id = Id::new(&scope.namespace, KIND, digest.as_str());
        let change = self.0.change(scope, &[id], &new).await?;
        let (namespace, digest) = (scope.namespace.clone(), digest.clone());
        let info = self.0.store.commit("content.update", move |txn| {
            let _until_committed = &change;
            let key = (namespace.as_str(), digest.as_str());
            let Some(mut blob) = txn.get(&CONTENT, &key)? else {
                return Err(Error::ContentNotFound(digest.clone()));
            };
            labels.apply(&mut blob.labels);
            blob.updated = SystemTime::now();
            txn.put(&CONTENT, &key, &blob)?;
            Ok(blob.into_info(digest.clone()))
        });
        let info = info.await?;
        self.0.demand.changed();
        Ok(info)
    }

    /// Takes a blob from a namespace; its file goes with the last namespace that has it.
    ///
    /// # Errors
    /// [`Error::ContentNotFound`], [`Error::Io`], [`Error::Store`].
    pub async fn delete(&self, scope: &Scope, digest: &Digest) -> Result<()> {
        let (content, scope, digest) = (self.clone(), scope.clone(), digest.clone());
        let delete = async move { content.delete_told(&scope, &digest).await };
        self.0.to_its_end("delete content", delete).await
    }

    /// The record, the event, and the file: what is one to whoever deletes.
    async fn delete_told(&self, scope: &Scope, digest: &Digest) -> Result<()> {
        let _change = self.0.epochs.enter();
        let (at, gone) = (scope.clone(), digest.clone());
        let deleted = self.0.store.commit("content.delete", move |txn| {
            records::release(txn, &at, &Hold::new(KIND, gone.as_str()))?;
            if records::drop_blob(txn, at.namespace.as_str(), gone.as_str())? {
                Ok(())
            } else {
                Err(Error::ContentNotFound(gone.clone()))
            }
        });
        deleted.await?;
        self.0.tell(scope, &Event::ContentDeleted { digest: digest.clone() });
        self.0.demand.deleted();
        self.reclaim(digest).await
    }

    /// An ingest's state.
    ///
    /// # Errors
    /// [`Error::IngestNotFound`].
    pub fn status(&self, namespace: &Namespace, reference: &str) -> Result<Status> {
        Ok(self.0.ingests.get(namespace, reference)?.status())
    }

    /// The ingests of a namespace that match, by reference.
    #[must_use]
    pub fn statuses(&self, namespace: &Namespace, filter: &Filter) -> Vec<Status> {
        let ingests = self.0.ingests.list(|ingest| ingest.namespace() == namespace);
        let mut found: Vec<_> = ingests.iter().map(|ingest| ingest.status()).collect();
        found.retain(|status| filter.matches(status));
        found.sort_by(|a, b| a.reference.cmp(&b.reference));
        found
    }

    /// Ends an ingest and throws its bytes away. A writer that has it open cannot commit it any more.
    /// Once it is forgotten its folder goes, whether or not anybody waits for that.
    ///
    /// # Errors
    /// [`Error::IngestNotFound`], [`Error::Io`].
    pub async fn abort(&self, namespace: &Namespace, reference: &str) -> Result<()> {
        let ingest = self.0.ingests.get(namespace, reference)?;
        self.discard(&ingest).await
    }

    /// Forgets an ingest and deletes its folder.
    pub(crate) async fn discard(&self, ingest: &Arc<Ingest>) -> Result<()> {
        self.0.ingests.remove(ingest);
        let folder = ingest.folder.clone();
        self.0.blocking("delete ingest", move |_| remove_folder(&folder)).await
    }

    /// Puts a blob that the namespace has under the scope's lease, before anybody relies on it: it is
    /// in use from now on, no collection takes it. `None` when there is no such blob.
    ///
    /// # Errors
    /// [`Error::LeaseMissing`], [`Error::Store`].
    pub(crate) async fn claim(&self, scope: &Scope, digest: &Digest) -> Result<Option<Info>> {
        if self.find(&scope.namespace, digest)?.is_none() {
            return Ok(None);
        }
        let id = Id::new(&scope.namespace, KIND, digest.as_str());
        let change = self.0.change(scope, &[id], &Labels::new()).await?;
        let (scope, digest) = (scope.clone(), digest.clone());
        let claimed = self.0.store.commit("content.hold", move |txn| {
            let _until_committed = &change;
            let key = (scope.namespace.as_str(), digest.as_str());
            let Some(blob) = txn.get(&CONTENT, &key)? else { return Ok(None) };
            records::enter(txn, &scope, &[Hold::new(KIND, digest.as_str())])?;
            Ok(Some(blob.into_info(digest.clone())))
        });
        claimed.await
    }

    /// Deletes a blob's file if no namespace has the blob. What a process of others keeps goes when it
    /// can be reached; nobody waits for that.
    pub(crate) async fn reclaim(&self, digest: &Digest) -> Result<()> {
        if let Some(there) = &self.0.there {
            there.unused(digest);
            return Ok(());
        }
        let _lock = self.0.blob_locks.alone(digest).await;
        self.unlink_if_unused(digest).await
    }

    /// As [`Content::reclaim`], for callers that hold the blob's lock.
    pub(super) async fn unlink_if_unused(&self, digest: &Digest) -> Result<()> {
        if let Some(there) = &self.0.there {
            there.unused(digest);
            return Ok(());
        }
        let digest = digest.clone();
        let unlink = move |shared: &Shared| match is_held(shared, &digest)? {
            true => Ok(()),
            false => shared.files.remove_blob(&digest),
        };
        self.0.blocking("delete blob", unlink).await
    }

    /// Whether a namespace has a blob.
    pub(crate) fn is_held(&self, digest: &Digest) -> Result<bool> {
        is_held(&self.0, digest)
    }

    /// Removes a blob from the process that keeps it, if no namespace has the blob.
    pub(super) async fn remove_if_unused(&self, there: &There, digest: &Digest) -> Result<()> {
        let _lock = self.0.blob_locks.alone(digest).await;
        if is_held(&self.0, digest)? { Ok(()) } else { there.remove(digest).await }
    }

    /// The blob's file, if a namespace that shares its blobs has this one in the size wanted.
    pub(super) async fn elsewhere(
        &self,
        digest: &Digest,
        size: u64,
    ) -> Result<Option<(File, u64)>> {
        let sharing = self.0.sharing;
        let held = self.0.store.read(|txn| {
            for holder in txn.range(&HOLDERS, (digest.as_str(),))? {
                let ((_, namespace), size) = holder?;
                if sharing == Sharing::Shared || is_shareable(txn, &namespace)? {
                    return Ok::<_, Error>(Some(size));
                }
            }
            Ok(None)
        })?;
        let Some(held) = held.filter(|held| size == 0 || size == *held) else { return Ok(None) };
        // Gone since it was read, or damaged: it is written anew.
        Ok(self.open_file(digest, held).await.ok().map(|file| (file, held)))
    }

    pub(super) fn check_lease(&self, scope: &Scope) -> Result<()> {
        let Some(lease) = &scope.lease else { return Ok(()) };
        let found = self.has_lease(&scope.namespace, lease)?;
        if found { Ok(()) } else { Err(Error::LeaseMissing(lease.clone())) }
    }

    pub(super) fn has_lease(&self, namespace: &Namespace, lease: &str) -> Result<bool> {
        let key = (namespace.as_str(), lease);
        let found = self.0.store.read(|txn| Ok::<_, Error>(txn.get(&LEASES, &key)?))?;
        Ok(found.is_some())
    }
}

/// Whether a namespace has a blob.
fn is_held(shared: &Shared, digest: &Digest) -> Result<bool> {
    let read = |txn: &berth_store::Read| {
        Ok::<_, Error>(txn.range(&HOLDERS, (digest.as_str(),))?.next().is_some())
    };
    shared.store.read(read)
}

fn is_shareable(txn: &berth_store::Read, namespace: &str) -> Result<bool> {
    let space = txn.get(&NAMESPACES, namespace)?;
    Ok(space.is_some_and(|space| space.labels.get(SHAREABLE).is_some_and(|is| is == "true")))
}

impl Blob {
    fn into_info(self, digest: Digest) -> Info {
        Info {
            digest,
            size: self.size,
            created: self.created,
            updated: self.updated,
            labels: self.labels,
        }
    }
}

pub(crate) fn remove_folder(folder: &Path) -> Result<()> {
    match fs_err::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(Error::io("delete ingest", folder)(error))
        }
        _ => {
            failpoint::file("ingest", "removed");
            Ok(())
        }
    }
}
