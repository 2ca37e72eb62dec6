//! One image's layers through staging into snapshots.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use berth_errors::Code;
use berth_ids::{Digest, Labels, MAX_LABEL, Namespace};
use berth_lifecycle::Tasks;

use super::chain::chain_ids;
use super::error::Error;
use super::feed::{Fed, Feed};
use super::layers::{Applied, Apply, Capabilities, Commit, Failure, Layers};
use super::staging::{Owner, Staging};
use crate::registry::Descriptor;
use crate::scope::Scope;

/// How often a layer is applied anew after bundle went away. Each call waits for a restart.
const TRIES: u32 = 3;
/// The most labels that a snapshot takes from its layer.
const MAX_INHERITED: usize = 64;

/// Unpacks one image with one snapshotter.
pub struct Unpacker {
    owner: Arc<Owner>,
    lease: Option<String>,
    parallel: bool,
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
    /// For an image with these layers. Asks bundle what the snapshotter can do.
    ///
    /// # Errors
    /// [`Error::Bundle`].
    pub async fn new(
        layers: Arc<dyn Layers>,
        tasks: Tasks,
        scope: &Scope,
        snapshotter: &str,
        diff_ids: Vec<Digest>,
    ) -> Result<Self, Error> {
        let asked = layers.capabilities(snapshotter).await;
        let Capabilities { snapshotter, parallel } =
            asked.map_err(bundle(|| format!("ask bundle about snapshotter {snapshotter:?}")))?;
        let chain = chain_ids(&diff_ids);
        let owner =
            Arc::new(Owner { layers, tasks, namespace: scope.namespace.clone(), snapshotter });
        Ok(Self { owner, lease: scope.lease.clone(), parallel, diff_ids, chain })
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

    /// How many of the lowest layers are snapshots already. The lease holds those: they stay.
    ///
    /// # Errors
    /// [`Error::Bundle`].
    pub async fn present(&self) -> Result<usize, Error> {
        let Some(top) = self.chain.last() else { return Ok(0) };
        if self.holds(top).await? {
            return Ok(self.chain.len());
        }
        let mut present = 0;
        while present + 1 < self.chain.len() && self.holds(&self.chain[present]).await? {
            present += 1;
        }
        Ok(present)
    }

    async fn holds(&self, chain_id: &Digest) -> Result<bool, Error> {
        let Owner { layers, namespace, snapshotter, .. } = &*self.owner;
        let held = layers.hold(namespace, snapshotter, chain_id, self.lease.as_deref()).await;
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
        open: &(dyn Fn() -> Result<File, E> + Sync),
    ) -> Result<Staging, E> {
        let mut tries = 1;
        loop {
            let staging = Staging::new(&self.owner);
            let file = open()?;
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
        self.owner.layers.apply(apply).await
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
            match self.owner.layers.commit(commit).await {
                Ok(()) => {
                    staging.committed();
                    return Ok(true);
                }
                Err(failure) if failure.code == Code::NotFound => {
                    return self.holds(chain_id).await;
                }
                Err(failure) if is_passing(failure.code) && tries < TRIES => tries += 1,
                Err(failure) => {
                    return Err(bundle(|| format!("commit snapshot {chain_id}"))(failure));
                }
            }
        }
    }

    fn labels(&self, layer: usize, descriptor: &Descriptor) -> Labels {
        let mut labels = inherited(&descriptor.annotations);
        labels.extend([
            ("containerd.io/snapshot.ref".to_owned(), self.chain[layer].to_string()),
            ("containerd.io/snapshot/diff-id".to_owned(), self.diff_ids[layer].to_string()),
        ]);
        if let Some(parent) = self.parent(layer) {
            labels.insert("containerd.io/snapshot/parent-chain-id".to_owned(), parent.to_string());
        }
        labels
    }
}

/// The labels of a snapshot that its layer's annotations give. Whose files they are is not for an
/// image to say.
fn inherited(annotations: &BTreeMap<String, String>) -> Labels {
    let ours = |key: &str| {
        key.strip_prefix("containerd.io/snapshot/")
            .is_some_and(|name| !matches!(name, "uidmapping" | "gidmapping"))
    };
    let fit = |key: &str, value: &str| key.len() + value.len() <= MAX_LABEL;
    let kept = annotations.iter().filter(|(key, value)| ours(key) && fit(key, value));
    kept.take(MAX_INHERITED).map(|(key, value)| (key.clone(), value.clone())).collect()
}

fn bundle(step: impl FnOnce() -> String) -> impl FnOnce(Failure) -> Error {
    move |source| Error::Bundle { step: step(), source }
}

/// Whether bundle may do better when asked again.
fn is_passing(code: Code) -> bool {
    matches!(code, Code::Unavailable | Code::Aborted | Code::Cancelled | Code::DeadlineExceeded)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn snapshots_inherit_what_is_meant_for_them() {
        let long = "x".repeat(MAX_LABEL);
        let annotations = [
            ("containerd.io/snapshot/overlay.x", "1"),
            ("containerd.io/snapshot/uidmapping", "0:1:1"),
            ("containerd.io/snapshot/long", &long),
            ("containerd.io/restart.status", "running"),
            ("org.example", "no"),
        ];
        let annotations = annotations.map(|(k, v)| (k.to_owned(), v.to_owned())).into();
        let labels: Vec<_> = inherited(&annotations).into_keys().collect();
        assert_eq!(labels, ["containerd.io/snapshot/overlay.x"]);
    }
}
