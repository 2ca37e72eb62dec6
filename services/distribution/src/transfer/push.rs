//! An image to a registry: blobs, then manifests, the named one last.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use berth_ids::Labels;
use futures::future::{self, BoxFuture};

use super::choose::choose;
use super::progress::{BlobProgress, ingest_key};
use super::store::Store;
use super::walk::all;
use super::{Caller, Error, ImageStore, Remote, Result, Transfers, labels};
use crate::registry::{
    Descriptor, Document, Index, MAX_MANIFEST, Outgoing, Pushed, Reference, Repository, media,
};

/// How often the bytes sent are looked at.
const LOOK: Duration = Duration::from_millis(100);

struct Push<'a> {
    at_once: usize,
    caller: &'a Caller,
    store: Store,
    repository: Repository,
    want: &'a ImageStore,
}

impl Transfers {
    /// Pushes an image.
    ///
    /// # Errors
    /// Any of [`super::Error`].
    pub async fn push(&self, caller: &Caller, from: &ImageStore, to: Remote) -> Result<()> {
        self.leased(caller, |store| async move {
            let target = store.image(&from.name)?;
            let label = format!("OCI Registry ({})", to.reference);
            let progress = &caller.progress;
            progress.step(format!("Pushing to {label}"));
            progress.image("pushing content", &from.name, &target);
            let repository = self.open(to)?;
            let push =
                Push { at_once: self.uploads_at_once, caller, store, repository, want: from };
            let pushed = push.named(&target).await?;
            progress.image("pushed content", &from.name, &pushed);
            progress.step(format!("Completed push to {label}"));
            Ok(())
        })
        .await
    }
}

impl Push<'_> {
    /// Pushes what the image names, under the reference's tag; answers what got the tag.
    async fn named(&self, target: &Descriptor) -> Result<Descriptor> {
        let parents = vec![self.repository.reference().to_string()];
        let chosen = match self.store.document(target).await? {
            Document::Index(index) => self.complete_part(target, &index)?,
            Document::Manifest(_) => target.clone(),
        };
        self.bring(&chosen, parents, true).await?;
        Ok(chosen)
    }

    /// The index if all that it lists is here, or else the one manifest of it that is wanted: a
    /// registry refuses an index whose manifests it does not have.
    fn complete_part(&self, target: &Descriptor, index: &Index) -> Result<Descriptor> {
        let is_here =
            |entry: &Descriptor| Ok::<_, Error>(self.store.find(&entry.digest)?.is_some());
        let mut missing = None;
        for entry in &index.manifests {
            if !is_here(entry)? {
                missing = Some(entry.digest.clone());
            }
        }
        let Some(missing) = missing else { return Ok(target.clone()) };
        let mut want = self.want.clone();
        if want.platforms.is_empty() {
            want.platforms = vec![super::platform::host()];
        }
        for entry in choose(&want, target, index)? {
            if is_here(&entry)? {
                tracing::info!(index = %target.digest, manifest = %entry.digest, "index is not complete here, pushing one manifest of it");
                return Ok(entry);
            }
        }
        Err(Error::Missing(missing))
    }

    fn bring<'s>(
        &'s self,
        descriptor: &'s Descriptor,
        parents: Vec<String>,
        tagged: bool,
    ) -> BoxFuture<'s, Result<()>> {
        Box::pin(async move {
            let progress = self.caller.progress.blob(descriptor, &parents);
            let below = vec![ingest_key(descriptor)];
            match self.store.document(descriptor).await? {
                Document::Index(index) => {
                    for entry in &index.manifests {
                        if media::is_index(&entry.media_type)
                            || media::is_manifest(&entry.media_type)
                        {
                            self.bring(entry, below.clone(), false).await?;
                        } else {
                            self.blob(entry, &below).await?;
                        }
                    }
                }
                Document::Manifest(manifest) => {
                    let mut work: Vec<BoxFuture<'_, Result<()>>> = Vec::new();
                    for blob in std::iter::once(&manifest.config).chain(&manifest.layers) {
                        work.push(Box::pin(self.blob(blob, &below)));
                    }
                    all(self.at_once, work).await?;
                }
            }
            let bytes = self.store.read(&descriptor.digest, MAX_MANIFEST).await?;
            let pushed = self.repository.push_manifest(descriptor, bytes, tagged).await?;
            progress.done(word(pushed));
            Ok(())
        })
    }

    async fn blob(&self, descriptor: &Descriptor, parents: &[String]) -> Result<()> {
        let progress = self.caller.progress.blob(descriptor, parents);
        let info = self.store.find(&descriptor.digest)?;
        let info = info.ok_or_else(|| Error::Missing(descriptor.digest.clone()))?;
        let (file, _) = self.store.open(&descriptor.digest)?;
        let outgoing = Outgoing {
            descriptor: descriptor.clone(),
            file: Arc::new(file),
            mount_from: labels::mountable(&info.labels, self.reference()),
            sent: Arc::new(AtomicU64::new(0)),
        };
        let push = self.repository.push_blob(&outgoing);
        let watch = watch(&outgoing.sent, &progress);
        futures::pin_mut!(push, watch);
        let pushed = match future::select(push, watch).await {
            future::Either::Left((pushed, _)) => pushed?,
            future::Either::Right((never, _)) => match never {},
        };
        progress.done(word(pushed));
        self.store.label_present(&info, Labels::new(), Some(self.reference())).await
    }

    fn reference(&self) -> &Reference {
        self.repository.reference()
    }
}

/// The words that containerd's clients know.
fn word(pushed: Pushed) -> &'static str {
    match pushed {
        Pushed::Existed | Pushed::Mounted => "already exists",
        Pushed::Sent => "complete",
    }
}

async fn watch(sent: &AtomicU64, progress: &BlobProgress) -> std::convert::Infallible {
    loop {
        tokio::time::sleep(LOOK).await;
        let sent = sent.load(Ordering::Relaxed);
        if sent > 0 {
            progress.tick("uploading", sent);
        }
    }
}
