//! One image's layers through staging into snapshots.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use berth_errors::Code;
use berth_ids::{Digest, Labels, Namespace};
use berth_lifecycle::Tasks;
use berth_recent as recent;
use berth_trace::stage;
use futures::future::BoxFuture;
use tracing::Instrument;

use super::chain::chain_ids;
use super::error::Error;
use super::feed::{Fed, Feed};
use super::labels::{self, Origin};
use super::layers::{Applied, Apply, Capabilities, Commit, Failure, Hold, Layers};
use super::staging::{Owner, Staging};
use crate::counts;
use crate::registry::Descriptor;
use crate::scope::Scope;

/// How often a layer is applied anew after bundle went away. Each call waits for a restart.
const TRIES: u32 = 3;

/// Unpacks one image with one snapshotter.
pub struct Unpacker {
    owner: Arc<Owner>,
    lease: Option<String>,
    parallel: bool,
    remote: bool,
    /// What the snapshotter is told of the image, if it wants to be.
    origin: Option<Origin>,
    diff_ids: Vec<Digest>,
    chain: Vec<Digest>,
}

/// A layer that is being applied while it arrives.
pub struct Live {
    staging: Staging,
    read: OwnedFd,
    fed: Fed,
}

impl Unpacker {
    /// For an image with these layers, which `origin` has as many of. Asks bundle what the snapshotter can do.
    ///
    /// # Errors
    /// [`Error::Bundle`].
    pub async fn new(
        layers: Arc<dyn Layers>,
        tasks: Tasks,
        scope: &Scope,
        snapshotter: &str,
        diff_ids: Vec<Digest>,
        origin: Origin,
    ) -> Result<Self, Error> {
        let asked = layers.capabilities(snapshotter).await;
        let Capabilities { snapshotter, parallel, remote, annotated } =
            asked.map_err(bundle(|| format!("ask bundle about snapshotter {snapshotter:?}")))?;
        let chain = chain_ids(&diff_ids);
        let owner =
            Arc::new(Owner { layers, tasks, namespace: scope.namespace.clone(), snapshotter });
        let (lease, origin) = (scope.lease.clone(), annotated.then_some(origin));
        Ok(Self { owner, lease, parallel, remote, origin, diff_ids, chain })
    }

    /// The snapshotter's name.
    #[must_use]
    pub fn snapshotter(&self) -> &str {
        &self.owner.snapshotter
    }

    /// Whether layers can be extracted before those below them.
    #[must_use]
    pub fn parallel(&self) -> bool {
        self.parallel
    }

    /// Whether layers may be snapshots that nobody has fetched.
    #[must_use]
    pub fn remote(&self) -> bool {
        self.remote
    }

    /// The digest of a layer's plain tar.
    #[must_use]
    pub fn diff_id(&self, layer: usize) -> &Digest {
        &self.diff_ids[layer]
    }

    /// The name of the snapshot with all layers, if there are any.
    #[must_use]
    pub fn top(&self) -> Option<&Digest> {
        self.chain.last()
    }

    fn parent(&self, layer: usize) -> Option<&Digest> {
        layer.checked_sub(1).map(|below| &self.chain[below])
    }

    fn namespace(&self) -> &Namespace {
        &self.owner.namespace
    }

    /// How many of the lowest layers are snapshots already. The lease holds those: they stay. A
    /// snapshotter that may have them without anybody having fetched them is asked for one after the
    /// other.
    ///
    /// # Errors
    /// [`Error::Bundle`].
    pub async fn present(&self, layers: &[Descriptor]) -> Result<usize, Error> {
        let Some(top) = self.chain.len().checked_sub(1) else { return Ok(0) };
        if self.look(top, Labels::new()).await? {
            return Ok(self.chain.len());
        }
        let most = self.chain.len() - usize::from(!self.remote);
        let mut present = 0;
        while present < most && self.has(present, &layers[present]).await? {
            present += 1;
        }
        Ok(present)
    }

    async fn has(&self, layer: usize, descriptor: &Descriptor) -> Result<bool, Error> {
        match self.remote {
            true => self.look(layer, self.labels(layer, descriptor)).await,
            false => self.look(layer, Labels::new()).await,
        }
    }

    async fn look(&self, layer: usize, labels: Labels) -> Result<bool, Error> {
        let Owner { layers, namespace, snapshotter, .. } = &*self.owner;
        let (chain_id, parent) = (&self.chain[layer], self.parent(layer));
        let lease = self.lease.as_deref();
        let held =
            layers.hold(Hold { namespace, snapshotter, chain_id, parent, labels, lease }).await;
        held.map_err(bundle(|| format!("look for snapshot {chain_id}")))
    }

    /// Makes the pipe for a layer about to arrive.
    ///
    /// # Errors
    /// [`Error::Pipe`].
    pub fn live(&self, layer: &Descriptor) -> Result<(Feed, Live), Error> {
        let (read, feed, fed) =
            Feed::new().map_err(|source| Error::Pipe { layer: layer.digest.clone(), source })?;
        Ok((feed, Live { staging: Staging::new(&self.owner), read, fed }))
    }

    /// Applies what arrives. `None`: it did not work out for reasons that may not be the layer's,
    /// so that it is to be applied from its file.
    ///
    /// # Errors
    /// [`Error`] when the layer itself is at fault.
    pub async fn apply_live(
        &self,
        layer: usize,
        descriptor: &Descriptor,
        live: Live,
    ) -> Result<Option<Staging>, Error> {
        let Live { staging, read, fed } = live;
        match self.apply(layer, descriptor, &staging, read).await {
            Ok(applied) if fed.whole() => {
                self.check(layer, descriptor, &applied)?;
                Ok(Some(staging))
            }
            // What bundle took for the end was none.
            Ok(_) => Ok(None),
            // A reader that finds the layer at fault closes the pipe early; so does one that dies.
            // Only a layer that was read whole has been judged.
            Err(failure) if fed.whole() && !is_passing(failure.code) => {
                Err(bundle(|| format!("apply layer {}", descriptor.digest))(failure))
            }
            Err(failure) => {
                tracing::warn!(layer = %descriptor.digest, %failure, "applying from the blob instead");
                Ok(None)
            }
        }
    }

    /// Applies a layer whose blob is here. `open` gives a descriptor of it at its begin.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn apply_file<E: From<Error>>(
        &self,
        layer: usize,
        descriptor: &Descriptor,
        open: &(dyn Fn() -> BoxFuture<'static, Result<File, E>> + Sync),
    ) -> Result<Staging, E> {
        let mut tries = 1;
        loop {
            let staging = Staging::new(&self.owner);
            let file = open().await?;
            match self.apply(layer, descriptor, &staging, file.into()).await {
                Ok(applied) => {
                    self.check(layer, descriptor, &applied)?;
                    return Ok(staging);
                }
                Err(failure) if is_passing(failure.code) && tries < TRIES => tries += 1,
                Err(failure) => {
                    let step = || format!("apply layer {}", descriptor.digest);
                    return Err(bundle(step)(failure).into());
                }
            }
        }
    }

    async fn apply(
        &self,
        layer: usize,
        descriptor: &Descriptor,
        staging: &Staging,
        bytes: OwnedFd,
    ) -> Result<Applied, Failure> {
        let apply = Apply {
            namespace: self.namespace(),
            snapshotter: self.snapshotter(),
            staging: staging.name(),
            media_type: &descriptor.media_type,
            bytes,
            parent: self.parent(layer).filter(|_| !self.parallel),
            size: descriptor.size,
            digest: &descriptor.digest,
        };
        let span = stage!("unpack", digest = %descriptor.digest);
        let applied = counts::UNPACK.of(self.owner.layers.apply(apply).instrument(span));
        let stage = recent::stage("unpack", descriptor.digest.as_str()).bytes(descriptor.size);
        let applied = async {
            let applied = applied.await?;
            recent::part("wait for bytes", applied.waited);
            recent::part("sync", applied.synced);
            Ok(applied)
        };
        stage.of(applied).await
    }

    fn check(&self, layer: usize, descriptor: &Descriptor, applied: &Applied) -> Result<(), Error> {
        let expected = &self.diff_ids[layer];
        if applied.diff_id == expected.as_str() {
            return Ok(());
        }
        Err(Error::DiffId {
            layer: descriptor.digest.clone(),
            actual: applied.diff_id.clone(),
            expected: expected.clone(),
        })
    }

    /// Makes a staged layer the snapshot that its chain ID names. `false`: bundle no longer has
    /// the staging folder, so that the layer is to be applied anew.
    ///
    /// # Errors
    /// [`Error::Bundle`].
    pub async fn commit(
        &self,
        layer: usize,
        descriptor: &Descriptor,
        staging: Staging,
    ) -> Result<bool, Error> {
        let chain_id = &self.chain[layer];
        let mut tries = 1;
        loop {
            let commit = Commit {
                namespace: self.namespace(),
                snapshotter: self.snapshotter(),
                staging: staging.name(),
                chain_id,
                parent: self.parent(layer),
                labels: self.labels(layer, descriptor),
                lease: self.lease.as_deref(),
            };
            let committed = self.owner.layers.commit(commit);
            let committed = committed.instrument(stage!("commit", snapshot = %chain_id));
            let stage = recent::stage("commit", chain_id.as_str());
            match stage.of(counts::COMMIT.of(committed)).await {
                Ok(()) => {
                    staging.committed();
                    return Ok(true);
                }
                Err(failure) if failure.code == Code::NotFound => {
                    return self.look(layer, Labels::new()).await;
                }
                Err(failure) if is_passing(failure.code) && tries < TRIES => tries += 1,
                Err(failure) => {
                    return Err(bundle(|| format!("commit snapshot {chain_id}"))(failure));
                }
            }
        }
    }

    fn labels(&self, layer: usize, descriptor: &Descriptor) -> Labels {
        let (chain_id, diff_id) = (&self.chain[layer], &self.diff_ids[layer]);
        let parent = self.parent(layer);
        let mut labels = labels::of_snapshot(descriptor, chain_id, diff_id, parent);
        labels.extend(self.origin.iter().flat_map(|origin| origin.labels(layer)));
        labels
    }
}

fn bundle(step: impl FnOnce() -> String) -> impl FnOnce(Failure) -> Error {
    move |source| Error::Bundle { step: step(), source }
}

/// Whether bundle may do better when asked again.
fn is_passing(code: Code) -> bool {
    matches!(code, Code::Unavailable | Code::Aborted | Code::Cancelled | Code::DeadlineExceeded)
}
