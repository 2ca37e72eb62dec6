//! From an image's target down to its blobs.

use berth_ids::Labels;
use berth_recent as recent;
use berth_trace::stage;
use futures::future::BoxFuture;
use futures::stream::{self, StreamExt, TryStreamExt};
use tracing::Instrument;

use super::choose::choose;
use super::fetch::{self, Source};
use super::progress::{BlobProgress, ingest_key};
use super::store::Store;
use super::{Caller, Error, ImageStore, Result, Transfers, labels};
use crate::counts;
use crate::registry::{
    Descriptor, Document, Error as RegistryError, MAX_CONFIG, MAX_MANIFEST, Manifest, media,
};

/// How deep indexes may nest.
const MAX_DEPTH: usize = 4;

/// Refuses an index this deep below the image's target, which itself is at 0.
pub(super) fn check_depth(index: &Descriptor, depth: usize) -> Result<()> {
    if depth < MAX_DEPTH { Ok(()) } else { Err(Error::TooDeep(index.digest.clone(), MAX_DEPTH)) }
}

/// Does all of it, at most `at_once` things at a time; the first failure ends the rest.
pub(super) async fn all(at_once: usize, work: Vec<BoxFuture<'_, Result<()>>>) -> Result<()> {
    stream::iter(work).map(Ok).try_for_each_concurrent(at_once, |one| one).await
}

/// One image on its way here.
pub(super) struct Walk<'a> {
    pub(super) transfers: &'a Transfers,
    pub(super) caller: &'a Caller,
    pub(super) store: Store,
    pub(super) source: Source,
    pub(super) want: &'a ImageStore,
}

impl Walk<'_> {
    /// Brings everything below `descriptor` here that is wanted, and unpacks it where that is.
    pub(super) fn bring<'s>(
        &'s self,
        descriptor: &'s Descriptor,
        parents: Vec<String>,
        depth: usize,
    ) -> BoxFuture<'s, Result<()>> {
        Box::pin(async move {
            let below = vec![ingest_key(descriptor)];
            let media_type = descriptor.media_type.as_str();
            if media::is_index(media_type) {
                check_depth(descriptor, depth)?;
                let Document::Index(index) = self.document(descriptor, &parents).await? else {
                    return Ok(());
                };
                for entry in choose(self.want, descriptor, &index)? {
                    self.bring(&entry, below.clone(), depth + 1).await?;
                }
                return self.metadata(&index.manifests, &below, depth).await;
            }
            if !media::is_manifest(media_type) {
                return self.blob(descriptor, &parents).await;
            }
            match self.document(descriptor, &parents).await? {
                Document::Manifest(manifest) => self.manifest(descriptor, &manifest, &below).await,
                Document::Index(_) => Ok(()),
            }
        })
    }

    async fn manifest(
        &self,
        own: &Descriptor,
        manifest: &Manifest,
        parents: &[String],
    ) -> Result<()> {
        self.config(&manifest.config, parents).await?;
        match self.unpacker(own, manifest).await? {
            Some(unpacker) => self.unpack(&unpacker, manifest, parents).await,
            None => self.blobs(&manifest.layers, parents).await,
        }
    }

    /// The manifests and configurations of machines whose layers are not wanted.
    fn metadata<'s>(
        &'s self,
        entries: &'s [Descriptor],
        parents: &'s [String],
        depth: usize,
    ) -> BoxFuture<'s, Result<()>> {
        Box::pin(async move {
            if !self.want.all_metadata || depth >= MAX_DEPTH {
                return Ok(());
            }
            let documents = |entry: &&Descriptor| {
                media::is_manifest(&entry.media_type) || media::is_index(&entry.media_type)
            };
            for entry in entries.iter().filter(documents) {
                let below = [ingest_key(entry)];
                match self.document(entry, parents).await? {
                    Document::Manifest(manifest) => self.config(&manifest.config, &below).await?,
                    Document::Index(index) => {
                        self.metadata(&index.manifests, &below, depth + 1).await?;
                    }
                }
            }
            Ok(())
        })
    }

    /// A configuration; an image's is refused before it is fetched when nobody would read it.
    async fn config(&self, config: &Descriptor, parents: &[String]) -> Result<()> {
        if media::is_config(&config.media_type) && config.size > MAX_CONFIG {
            let what = format!("image configuration {}", config.digest);
            return Err(
                RegistryError::TooLarge { what, size: config.size, limit: MAX_CONFIG }.into()
            );
        }
        self.blob(config, parents).await
    }

    /// A manifest or index, with the labels by which it keeps what it lists.
    async fn document(&self, descriptor: &Descriptor, parents: &[String]) -> Result<Document> {
        let progress = self.caller.progress.blob(descriptor, parents);
        if let Some(info) = self.store.claim(&descriptor.digest).await? {
            let bytes = self.store.read(&descriptor.digest, MAX_MANIFEST).await?;
            let document = Document::parse(descriptor, &bytes)?;
            let labels = labels::references(&document);
            self.store.label_present(&info, labels, self.source.reference()).await?;
            progress.done("already exists");
            return Ok(document);
        }
        let fetched = self.source.registry(descriptor)?.manifest(descriptor);
        let span = stage!("fetch", digest = %descriptor.digest, size = descriptor.size);
        let fetched = counts::FETCH.of(fetched.instrument(span));
        let stage = recent::stage("fetch", descriptor.digest.as_str()).bytes(descriptor.size);
        let bytes = stage.of(fetched).await?;
        let document = Document::parse(descriptor, &bytes)?;
        let mut labels = labels::references(&document);
        labels.extend(self.source.labels());
        self.store.put(descriptor, bytes, labels).await?;
        progress.done("complete");
        Ok(document)
    }

    async fn blob(&self, descriptor: &Descriptor, parents: &[String]) -> Result<()> {
        let progress = self.progress(descriptor, parents);
        // Whoever made an archive may have kept what may not be given away; only who unpacks needs it.
        let kept = matches!(self.source, Source::Here)
            && media::is_non_distributable(&descriptor.media_type)
            && self.store.find(&descriptor.digest)?.is_none();
        if kept {
            progress.done("not here");
            return Ok(());
        }
        fetch::blob(&self.store, &self.source, descriptor, None, &progress).await
    }

    async fn blobs(&self, descriptors: &[Descriptor], parents: &[String]) -> Result<()> {
        let mut work: Vec<BoxFuture<'_, Result<()>>> = Vec::new();
        for descriptor in descriptors {
            work.push(Box::pin(self.blob(descriptor, parents)));
        }
        all(self.transfers.at_once, work).await
    }

    pub(super) fn progress(&self, descriptor: &Descriptor, parents: &[String]) -> BlobProgress {
        self.caller.progress.blob(descriptor, parents)
    }

    /// Makes the images, last of all.
    pub(super) async fn save(
        &self,
        names: Vec<(String, Labels)>,
        target: &Descriptor,
    ) -> Result<()> {
        for (name, labels) in names {
            let saved = self.store.save_image(&name, target, labels);
            recent::stage("save", &name).of(saved).await?;
            self.caller.progress.image("saved", &name, target);
        }
        Ok(())
    }
}
