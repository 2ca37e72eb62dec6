//! An image's layers: fetched, applied and committed, as much at once as can be.

use futures::future::{self, BoxFuture, FutureExt};
use tokio::sync::oneshot;

use super::fetch;
use super::platform;
use super::progress::BlobProgress;
use super::walk::{Walk, all};
use super::{Error, Result, Unpack, labels};
use crate::registry::{Config, Descriptor, MAX_CONFIG, Manifest, media};
use crate::unpack::{Origin, Staging, Unpacker};

/// A layer that is here: staged, or to be applied when those below it are.
struct Ready {
    staging: Option<Staging>,
    progress: BlobProgress,
}

impl Walk<'_> {
    /// How the manifest is to be unpacked, if it is: by the first unpacking wanted that is for its
    /// machine, or else for its operating system, unless it is here only as one of all machines'.
    pub(super) async fn unpacker(
        &self,
        own: &Descriptor,
        manifest: &Manifest,
    ) -> Result<Option<Unpacker>> {
        if self.want.unpacks.is_empty() || !media::is_config(&manifest.config.media_type) {
            return Ok(None);
        }
        let digest = &manifest.config.digest;
        let config = Config::parse(digest, &self.store.read(digest, MAX_CONFIG).await?)?;
        let host = platform::host();
        let machine = |unpack: &Unpack| unpack.platform.clone().unwrap_or_else(|| host.clone());
        let chosen = !self.want.platforms.is_empty() || own.platform.is_none();
        let mut unpacks = self.want.unpacks.iter();
        let wanted = unpacks
            .clone()
            .find(|unpack| platform::rank(&machine(unpack), &config.platform).is_some())
            .or_else(|| {
                let fits = |unpack: &&Unpack| platform::same_os(&machine(unpack), &config.platform);
                unpacks.find(|unpack| chosen && fits(unpack))
            });
        let Some(wanted) = wanted else {
            let made_for = platform::format(&config.platform);
            tracing::info!(manifest = %own.digest, made_for, "not unpacked: for another machine");
            return Ok(None);
        };
        if !matches!(config.rootfs.kind.as_str(), "" | "layers") {
            return Ok(None);
        }
        let (layers, diff_ids) = (manifest.layers.len(), config.rootfs.diff_ids.len());
        if layers != diff_ids {
            return Err(Error::LayerCount { manifest: own.digest.clone(), layers, diff_ids });
        }
        let (bundle, tasks) = (self.transfers.layers.clone(), self.transfers.tasks.clone());
        let scope = &self.store.scope;
        let diff_ids = config.rootfs.diff_ids;
        let snapshotter = match wanted.snapshotter.as_str() {
            "" => self.transfers.namespaces.default_snapshotter(&scope.namespace)?,
            named => Some(named.to_owned()),
        };
        let snapshotter = snapshotter.unwrap_or_default();
        let reference = self.source.reference().map(ToString::to_string).unwrap_or_default();
        let layers = manifest.layers.iter().map(|layer| layer.digest.clone()).collect();
        let origin = Origin { reference, manifest: own.digest.clone(), layers };
        let made = Unpacker::new(bundle, tasks, scope, &snapshotter, diff_ids, origin).await?;
        Ok(Some(made))
    }

    /// Fetches the layers, applies them and makes them snapshots.
    pub(super) async fn unpack(
        &self,
        unpacker: &Unpacker,
        manifest: &Manifest,
        parents: &[String],
    ) -> Result<()> {
        let layers = &manifest.layers;
        let present = unpacker.present(layers).await?;
        let mut waiting = Vec::new();
        let mut work: Vec<BoxFuture<'_, Result<()>>> = Vec::new();
        for (at, layer) in layers.iter().enumerate() {
            let (ready, wait) = oneshot::channel();
            waiting.push(wait);
            work.push(Box::pin(async move {
                let done = self.layer(unpacker, at, layer, present, parents).await?;
                // The receiver is gone only when the commits failed, which ends all of this.
                let _ = ready.send(done);
                Ok(())
            }));
        }
        let fetch = all(self.transfers.at_once, work);
        let commit = async {
            for (at, waiting) in waiting.into_iter().enumerate() {
                // A sender is dropped when its layer failed; that failure is the one to tell.
                let Ok(ready) = waiting.await else { return future::pending().await };
                if at >= present {
                    self.commit(unpacker, at, &layers[at], ready).await?;
                }
            }
            Ok(())
        };
        future::try_join(fetch, commit).await?;
        if let Some(top) = unpacker.top() {
            let label = labels::snapshot(unpacker.snapshotter(), top.as_str());
            self.store.label(&manifest.config.digest, [label].into()).await?;
        }
        Ok(())
    }

    async fn layer(
        &self,
        unpacker: &Unpacker,
        at: usize,
        layer: &Descriptor,
        present: usize,
        parents: &[String],
    ) -> Result<Ready> {
        let progress = self.progress(layer, parents);
        let here = self.store.find(&layer.digest)?.is_some();
        let fetch = |feed| fetch::blob(&self.store, &self.source, layer, feed, &progress);
        if at < present {
            // The snapshotter may have what nobody has fetched, or needs it no more.
            if here || !unpacker.remote() {
                fetch(None).await?;
            }
            return Ok(Ready { staging: None, progress });
        }
        let mut staging = None;
        if !here && (unpacker.parallel() || at == present) {
            let (feed, live) = unpacker.live(layer)?;
            let applying = unpacker.apply_live(at, layer, live);
            let (fetched, applied) = future::join(fetch(Some(feed)), applying).await;
            // A blob that did not arrive is why its layer could not be applied.
            fetched?;
            staging = applied?;
        } else {
            fetch(None).await?;
        }
        if staging.is_none() && unpacker.parallel() {
            progress.tell("extracting", 0);
            staging = Some(self.apply_file(unpacker, at, layer).await?);
        }
        Ok(Ready { staging, progress })
    }

    async fn apply_file(
        &self,
        unpacker: &Unpacker,
        at: usize,
        layer: &Descriptor,
    ) -> Result<Staging> {
        let open = || {
            let (store, digest) = (self.store.clone(), layer.digest.clone());
            let opened = async move { Ok::<_, Error>(store.open(&digest).await?.0) };
            opened.boxed()
        };
        unpacker.apply_file(at, layer, &open).await
    }

    async fn commit(
        &self,
        unpacker: &Unpacker,
        at: usize,
        layer: &Descriptor,
        ready: Ready,
    ) -> Result<()> {
        let Ready { staging, progress } = ready;
        progress.done("extracting");
        let staging = match staging {
            Some(staging) => staging,
            None => self.apply_file(unpacker, at, layer).await?,
        };
        if !unpacker.commit(at, layer, staging).await? {
            // Bundle was restarted meanwhile and has cleared what was staged.
            let again = self.apply_file(unpacker, at, layer).await?;
            if !unpacker.commit(at, layer, again).await? {
                return Err(Error::Staging(layer.digest.clone()));
            }
        }
        let label = (labels::UNCOMPRESSED.to_owned(), unpacker.diff_id(at).to_string());
        self.store.label(&layer.digest, [label].into()).await?;
        progress.done("extracted");
        Ok(())
    }
}
