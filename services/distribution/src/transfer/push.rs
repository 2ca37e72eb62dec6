//! An image to a registry: blobs, then manifests, the named one last.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use berth_ids::{Digest, Labels};
use berth_recent as recent;
use futures::future::{self, BoxFuture};
use http::StatusCode;

use super::choose::choose;
use super::progress::{BlobProgress, ingest_key};
use super::store::Store;
use super::walk::{all, check_depth};
use super::{Caller, Error, ImageStore, Remote, Result, Transfers, labels};
use crate::content::Info;
use crate::counts;
use crate::registry::{
    Descriptor, Document, Error as RegistryError, Index, MAX_MANIFEST, Outgoing, Pushed, Reference,
    Repository, media,
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

/// Where blobs of an image came from, by the labels and annotations of what lists them.
type Sources = BTreeMap<String, String>;

impl Transfers {
    /// Pushes an image.
    ///
    /// # Errors
    /// Any of [`super::Error`].
    pub async fn push(&self, caller: &Caller, from: &ImageStore, to: Remote) -> Result<()> {
        let push = self.leased(caller, |store| async move {
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
        });
        let push = counts::PUSHES.of(push);
        recent::operation("push", caller.namespace.as_str(), &from.name, push).await
    }
}

impl Push<'_> {
    /// Pushes what the image names, under the reference's tag; answers what got the tag.
    ///
    /// Of an index that is not all here, nor at the registry, one manifest gets it: a registry
    /// refuses an index whose manifests it does not have.
    async fn named(&self, target: &Descriptor) -> Result<Descriptor> {
        let Document::Index(index) = self.store.document(target).await? else {
            self.tagged(target).await?;
            return Ok(target.clone());
        };
        if !self.want.platforms.is_empty() {
            let chosen = choose(self.want, target, &index)?;
            return self.part(target, &chosen).await;
        }
        match self.missing(target, &Sources::new(), 0, &mut HashSet::new()).await? {
            None => {
                self.tagged(target).await?;
                Ok(target.clone())
            }
            Some(digest) => self.of_this_machine(target, &index, digest).await,
        }
    }

    async fn tagged(&self, target: &Descriptor) -> Result<()> {
        let progress = self.caller.progress.blob(target, std::slice::from_ref(&self.want.name));
        self.below(target, &Sources::new(), 0, &mut HashSet::new()).await?;
        progress.done(word(self.manifest(target, true).await?));
        Ok(())
    }

    /// Pushes the index with only these entries, or the one of them where the registry wants the
    /// others too.
    async fn part(&self, target: &Descriptor, chosen: &[Descriptor]) -> Result<Descriptor> {
        let progress = self.caller.progress.blob(target, std::slice::from_ref(&self.want.name));
        let sources = self.sources(target, &Sources::new())?;
        let seen = &mut HashSet::new();
        for entry in chosen {
            self.entry(entry, &[ingest_key(target)], &sources, 1, seen).await?;
        }
        match self.manifest(target, true).await {
            Ok(pushed) => {
                progress.done(word(pushed));
                Ok(target.clone())
            }
            Err(Error::References(refused)) => {
                let images = chosen.iter().filter(|entry| media::is_manifest(&entry.media_type));
                let [one] = images.collect::<Vec<_>>()[..] else {
                    return Err(Error::References(refused));
                };
                tracing::info!(index = %target.digest, manifest = %one.digest, "registry wants the whole index, pushing one manifest of it");
                self.tagged(one).await?;
                Ok(one.clone())
            }
            Err(error) => Err(error),
        }
    }

    /// Pushes the manifest for this machine, if that is whole.
    async fn of_this_machine(
        &self,
        target: &Descriptor,
        index: &Index,
        missing: Digest,
    ) -> Result<Descriptor> {
        let mut want = self.want.clone();
        want.platforms = vec![super::platform::host()];
        for entry in choose(&want, target, index)? {
            let is_image = media::is_manifest(&entry.media_type);
            if is_image && self.store.find(&entry.digest)?.is_some() {
                tracing::info!(index = %target.digest, manifest = %entry.digest, %missing, "index is not complete here, pushing one manifest of it");
                self.tagged(&entry).await?;
                return Ok(entry);
            }
        }
        Err(self.nothing_to_push(&missing))
    }

    /// The first object below that is neither here nor at the registry, where blobs of its other
    /// repositories are mounted. Those in `seen` were looked at.
    fn missing<'s>(
        &'s self,
        descriptor: &'s Descriptor,
        above: &'s Sources,
        depth: usize,
        seen: &'s mut HashSet<Digest>,
    ) -> BoxFuture<'s, Result<Option<Digest>>> {
        Box::pin(async move {
            if !seen.insert(descriptor.digest.clone()) {
                return Ok(None);
            }
            let is_here = self.store.find(&descriptor.digest)?.is_some();
            if !is_document(descriptor) {
                let is_there = || async {
                    let outgoing = self.outgoing(descriptor, None, above);
                    Ok::<_, Error>(self.repository.push_blob(&outgoing).await? != Pushed::Missing)
                };
                let found = is_here || is_there().await?;
                return Ok((!found).then(|| descriptor.digest.clone()));
            }
            if !is_here {
                let found = self.repository.has_manifest(descriptor).await?;
                return Ok((!found).then(|| descriptor.digest.clone()));
            }
            let sources = self.sources(descriptor, above)?;
            let below = match self.store.document(descriptor).await? {
                Document::Index(index) => {
                    check_depth(descriptor, depth)?;
                    index.manifests
                }
                Document::Manifest(manifest) => {
                    let manifest = *manifest;
                    std::iter::once(manifest.config).chain(manifest.layers).collect()
                }
            };
            for child in &below {
                if let Some(missing) = self.missing(child, &sources, depth + 1, seen).await? {
                    return Ok(Some(missing));
                }
            }
            Ok(None)
        })
    }

    /// All that a document lists, but for the documents in `seen`: they are there.
    fn below<'s>(
        &'s self,
        descriptor: &'s Descriptor,
        above: &'s Sources,
        depth: usize,
        seen: &'s mut HashSet<Digest>,
    ) -> BoxFuture<'s, Result<()>> {
        Box::pin(async move {
            let below = vec![ingest_key(descriptor)];
            let sources = self.sources(descriptor, above)?;
            match self.store.document(descriptor).await? {
                Document::Index(index) => {
                    check_depth(descriptor, depth)?;
                    for entry in &index.manifests {
                        self.entry(entry, &below, &sources, depth + 1, seen).await?;
                    }
                }
                Document::Manifest(manifest) => {
                    let mut work: Vec<BoxFuture<'_, Result<()>>> = Vec::new();
                    for blob in std::iter::once(&manifest.config).chain(&manifest.layers) {
                        work.push(Box::pin(self.blob(blob, &below, &sources)));
                    }
                    all(self.at_once, work).await?;
                }
            }
            Ok(())
        })
    }

    /// An entry of an index.
    async fn entry(
        &self,
        entry: &Descriptor,
        parents: &[String],
        above: &Sources,
        depth: usize,
        seen: &mut HashSet<Digest>,
    ) -> Result<()> {
        if is_document(entry) && !seen.insert(entry.digest.clone()) {
            Ok(())
        } else if is_document(entry) && self.store.find(&entry.digest)?.is_some() {
            let progress = self.caller.progress.blob(entry, parents);
            self.below(entry, above, depth, seen).await?;
            progress.done(word(self.manifest(entry, false).await?));
            Ok(())
        } else if is_document(entry) && self.repository.has_manifest(entry).await? {
            self.caller.progress.blob(entry, parents).done("already exists");
            Ok(())
        } else {
            self.blob(entry, parents, above).await
        }
    }

    /// The document alone. What it lists is there.
    async fn manifest(&self, descriptor: &Descriptor, tagged: bool) -> Result<Pushed> {
        let bytes = self.store.read(&descriptor.digest, MAX_MANIFEST).await?;
        let stage = recent::stage("upload", descriptor.digest.as_str()).bytes(descriptor.size);
        let pushed = stage.of(self.repository.push_manifest(descriptor, bytes, tagged)).await;
        pushed.map_err(|error| match error {
            RegistryError::Status { status: StatusCode::BAD_REQUEST, .. }
                if media::is_index(&descriptor.media_type) =>
            {
                Error::References(error)
            }
            other => other.into(),
        })
    }

    async fn blob(
        &self,
        descriptor: &Descriptor,
        parents: &[String],
        above: &Sources,
    ) -> Result<()> {
        let progress = self.caller.progress.blob(descriptor, parents);
        let info = self.store.find(&descriptor.digest)?;
        let mut outgoing = self.outgoing(descriptor, info.as_ref(), above);
        if let Some(info) = &info {
            outgoing.file = Some(Arc::new(self.store.open(&info.digest).await?.0));
        }
        let push = counts::UPLOAD.of(self.repository.push_blob(&outgoing));
        let stage = recent::stage("upload", descriptor.digest.as_str()).bytes(descriptor.size);
        let push = stage.of(push);
        let watch = watch(&outgoing.sent, &progress);
        futures::pin_mut!(push, watch);
        let pushed = match future::select(push, watch).await {
            future::Either::Left((pushed, _)) => pushed?,
            future::Either::Right((never, _)) => match never {},
        };
        if pushed == Pushed::Missing {
            return Err(self.nothing_to_push(&descriptor.digest));
        }
        progress.done(word(pushed));
        match info {
            Some(info) => {
                self.store.label_present(&info, Labels::new(), Some(self.reference())).await
            }
            None => Ok(()),
        }
    }

    /// The blob without its bytes.
    fn outgoing(&self, descriptor: &Descriptor, info: Option<&Info>, above: &Sources) -> Outgoing {
        let own = info.map(|info| &info.labels);
        let known: Vec<_> = own.into_iter().chain([above]).collect();
        Outgoing {
            descriptor: descriptor.clone(),
            file: None,
            mount_from: labels::mountable(&known, self.reference()),
            sent: Arc::new(AtomicU64::new(0)),
        }
    }

    /// Where what is listed by `descriptor` may have come from.
    fn sources(&self, descriptor: &Descriptor, above: &Sources) -> Result<Sources> {
        let mut sources = above.clone();
        let info = self.store.find(&descriptor.digest)?;
        for labels in [Some(&descriptor.annotations), info.as_ref().map(|info| &info.labels)] {
            for (key, value) in labels.into_iter().flat_map(labels::sources) {
                let known = sources.entry(key.clone()).or_default();
                if !known.is_empty() {
                    known.push(',');
                }
                known.push_str(value);
            }
        }
        Ok(sources)
    }

    fn nothing_to_push(&self, digest: &Digest) -> Error {
        let host = self.reference().host().to_owned();
        Error::NothingToPush { digest: digest.clone(), host }
    }

    fn reference(&self) -> &Reference {
        self.repository.reference()
    }
}

fn is_document(descriptor: &Descriptor) -> bool {
    media::is_index(&descriptor.media_type) || media::is_manifest(&descriptor.media_type)
}

/// The words that containerd's clients know.
fn word(pushed: Pushed) -> &'static str {
    match pushed {
        Pushed::Existed | Pushed::Mounted => "already exists",
        Pushed::Sent | Pushed::Missing => "complete",
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
