//! What a transfer does with our own store: everything in one scope, under one lease.

use std::fs::File;
use std::time::Duration;

use berth_filters::Filter;
use berth_ids::{Digest, Labels};
use bytes::Bytes;

use super::progress::ingest_key;
use super::{Caller, Error, Result, Transfers, labels};
use crate::Error as StoreError;
use crate::content::{Content, Expected, Info, Writer};
use crate::images::{Change, Images};
use crate::records::Descriptor as Target;
use crate::registry::{Descriptor, Document, MAX_MANIFEST, Reference, media};
use crate::scope::Scope;
use crate::shared::LabelChange;

/// How often somebody else's ingest is looked at. Another transfer wakes us by ending; a client
/// that writes the blob through the API does not.
const LOOK: Duration = Duration::from_millis(50);

/// Tells leases of transfers, which end with this process, from those of clients.
const TRANSFER_LABEL: &str = "io.berth.transfer";

/// The store during one transfer.
#[derive(Clone)]
pub(super) struct Store {
    content: Content,
    images: Images,
    pub(super) scope: Scope,
}

impl Transfers {
    /// Runs a transfer under the caller's lease, or else under one of its own that ends with it.
    pub(super) async fn leased<T, F>(
        &self,
        caller: &Caller,
        run: impl FnOnce(Store) -> F,
    ) -> Result<T>
    where
        F: Future<Output = Result<T>>,
    {
        let scope = Scope { namespace: caller.namespace.clone(), lease: caller.lease.clone() };
        let store =
            |scope| Store { content: self.content.clone(), images: self.images.clone(), scope };
        if scope.lease.is_some() {
            return run(store(scope)).await;
        }
        let lease = Temporary::create(self, scope).await?;
        let done = run(store(lease.scope())).await;
        lease.end().await?;
        done
    }
}

impl Transfers {
    /// Ends the leases of transfers that ended with an earlier run of the process.
    ///
    /// # Errors
    /// [`StoreError::Store`].
    pub async fn end_left(&self) -> std::result::Result<(), StoreError> {
        self.leases.delete_left(TRANSFER_LABEL).await
    }
}

/// A lease that ends with the transfer, also one that is dropped on its way.
struct Temporary {
    transfers: Transfers,
    scope: Option<Scope>,
}

impl Temporary {
    async fn create(transfers: &Transfers, mut scope: Scope) -> Result<Self> {
        let id = format!("transfer-{}", uuid::Uuid::new_v4().simple());
        // Should nobody be left to end it, the collector does.
        let until = time::OffsetDateTime::now_utc() + Duration::from_secs(24 * 60 * 60);
        let until = until.format(&time::format_description::well_known::Rfc3339);
        let expire = ("containerd.io/gc.expire".to_owned(), until.unwrap_or_default());
        let ours = (TRANSFER_LABEL.to_owned(), id.clone());
        scope.lease = Some(id.clone());
        let namespace = scope.namespace.clone();
        // Before it is made: it ends also if nobody waits for that any more.
        let lease = Self { transfers: transfers.clone(), scope: Some(scope) };
        transfers.leases.create(&namespace, &id, Labels::from([expire, ours])).await?;
        Ok(lease)
    }

    fn scope(&self) -> Scope {
        self.scope.clone().expect("it has not ended")
    }

    async fn end(mut self) -> Result<()> {
        match self.scope.take() {
            Some(scope) => delete(&self.transfers, &scope).await,
            None => Ok(()),
        }
    }
}

async fn delete(transfers: &Transfers, scope: &Scope) -> Result<()> {
    let id = scope.lease.as_deref().unwrap_or_default();
    match transfers.leases.delete(&scope.namespace, id, false).await {
        Ok(()) | Err(StoreError::LeaseNotFound(_)) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        let Some(scope) = self.scope.take() else { return };
        let transfers = self.transfers.clone();
        self.transfers.tasks.spawn("end-transfer-lease", async move {
            if let Err(error) = delete(&transfers, &scope).await {
                let error = berth_errors::chain(&error);
                tracing::warn!(lease = scope.lease, error, "lease of a transfer is left to expire");
            }
        });
    }
}

impl Store {
    /// What is known of a blob that is here already, and is held from now on.
    pub(super) async fn claim(&self, digest: &Digest) -> Result<Option<Info>> {
        Ok(self.content.claim(&self.scope, digest).await?)
    }

    /// What is known of a blob, if it is here.
    pub(super) fn find(&self, digest: &Digest) -> Result<Option<Info>> {
        Ok(self.content.find(&self.scope.namespace, digest)?)
    }

    /// The blobs that have this label.
    pub(super) async fn labelled(&self, key: &str) -> Result<Vec<Info>> {
        let mut all = self.content.list(&self.scope.namespace, Filter::default()).await?;
        all.retain(|info| info.labels.contains_key(key));
        Ok(all)
    }

    /// Opens a blob at its begin.
    pub(super) async fn open(&self, digest: &Digest) -> Result<(File, u64)> {
        Ok(self.content.open(&self.scope.namespace, digest).await?)
    }

    /// A small blob whole.
    pub(super) async fn read(&self, digest: &Digest, max: u64) -> Result<Bytes> {
        Ok(self.content.read_bounded(&self.scope.namespace, digest, max).await?)
    }

    /// The manifest or index that an image here begins with.
    pub(super) async fn document(&self, descriptor: &Descriptor) -> Result<Document> {
        let media_type = &descriptor.media_type;
        if !media::is_index(media_type) && !media::is_manifest(media_type) {
            return Err(Error::MediaType {
                digest: descriptor.digest.clone(),
                media_type: media_type.clone(),
                wanted: "only manifests and indexes can be pushed or exported",
            });
        }
        let bytes = self.read(&descriptor.digest, MAX_MANIFEST).await?;
        Ok(Document::parse(descriptor, &bytes)?)
    }

    /// A writer for the blob, `None` when the namespace has it. Waits for whoever writes it now.
    pub(super) async fn writer(&self, descriptor: &Descriptor) -> Result<Option<Writer>> {
        let expected = Expected {
            digest: Some(descriptor.digest.clone()),
            size: descriptor.size,
            media_type: descriptor.media_type.clone(),
        };
        self.writer_by(&ingest_key(descriptor), expected).await
    }

    /// As [`Store::writer`], for a blob whose digest may not be known yet.
    pub(super) async fn writer_by(&self, key: &str, expected: Expected) -> Result<Option<Writer>> {
        loop {
            match self.content.writer(&self.scope, key, expected.clone()).await {
                Ok(writer) => return Ok(Some(writer)),
                Err(StoreError::ContentExists(_)) => return Ok(None),
                Err(StoreError::RefLocked { .. }) => tokio::time::sleep(LOOK).await,
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Throws away what was written of a blob.
    pub(super) async fn abort(&self, descriptor: &Descriptor) -> Result<()> {
        match self.content.abort(&self.scope.namespace, &ingest_key(descriptor)).await {
            Ok(()) | Err(StoreError::IngestNotFound(_)) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Stores bytes at hand.
    pub(super) async fn put(
        &self,
        descriptor: &Descriptor,
        bytes: Bytes,
        labels: Labels,
    ) -> Result<()> {
        let Some(mut writer) = self.writer(descriptor).await? else {
            return self.label(&descriptor.digest, labels).await;
        };
        if writer.offset() > 0 && writer.offset() < descriptor.size {
            writer.reset().await?;
        }
        if writer.offset() == 0 {
            writer.write(bytes).await?;
        }
        self.commit(writer, descriptor, labels).await
    }

    /// Makes what was written a blob; one that came to be meanwhile is as good.
    pub(super) async fn commit(
        &self,
        mut writer: Writer,
        descriptor: &Descriptor,
        labels: Labels,
    ) -> Result<()> {
        let digest = Some(descriptor.digest.clone());
        match writer.commit(descriptor.size, digest, labels.clone()).await {
            Ok(_) => Ok(()),
            Err(StoreError::ContentExists(digest)) => self.label(&digest, labels).await,
            Err(error) => Err(error.into()),
        }
    }

    /// Sets labels of a blob, unless it has them.
    pub(super) async fn label(&self, digest: &Digest, labels: Labels) -> Result<()> {
        let info = self.content.info(&self.scope.namespace, digest)?;
        if labels.iter().all(|(key, value)| info.labels.get(key) == Some(value)) {
            return Ok(());
        }
        self.content.update(&self.scope, digest, LabelChange::Set(labels)).await?;
        Ok(())
    }

    /// Labels of a blob that is here already, its new source among them.
    pub(super) async fn label_present(
        &self,
        info: &Info,
        mut labels: Labels,
        source: Option<&Reference>,
    ) -> Result<()> {
        if let Some(reference) = source
            && let Some(value) = labels::source_value(&info.labels, reference)
        {
            labels.insert(labels::source_key(reference), value);
        }
        self.label(&info.digest, labels).await
    }

    /// An image's target.
    pub(super) fn image(&self, name: &str) -> Result<Descriptor> {
        let image = self.images.get(&self.scope.namespace, name)?;
        let Target { media_type, digest, size, annotations } = image.target;
        let mut target = Descriptor::new(&media_type, digest, size);
        target.annotations = annotations;
        Ok(target)
    }

    /// Makes an image or points it to a new target.
    pub(super) async fn save_image(
        &self,
        name: &str,
        target: &Descriptor,
        labels: Labels,
    ) -> Result<()> {
        let target = Target {
            media_type: target.media_type.clone(),
            digest: target.digest.clone(),
            size: target.size,
            annotations: target.annotations.clone(),
        };
        loop {
            let (made, with) = (target.clone(), labels.clone());
            match self.images.create(&self.scope, name, made, with, None).await {
                Err(StoreError::ImageExists(_)) => {}
                other => return Ok(other.map(drop)?),
            }
            let change = Change {
                target: Some(target.clone()),
                labels: LabelChange::Replace(labels.clone()),
                annotations: LabelChange::Keep,
            };
            match self.images.update(&self.scope, name, change, None).await {
                // Deleted meanwhile: it is made again.
                Err(StoreError::ImageNotFound(_)) => {}
                other => return Ok(other.map(drop)?),
            }
        }
    }
}
