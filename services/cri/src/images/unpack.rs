//! Layers that are here made into snapshots, where a pull by others has left them packed.

use super::documents::Documents;
use super::{Images, Resolved};
use crate::peers::unpack::{Layer, layer};
use crate::peers::{content, leases, snapshots};
use crate::{Error, Result};

impl Images {
    /// Sees to it that the image's layers are snapshots of this snapshotter. Answers the one of all of them; without
    /// layers it is empty.
    ///
    /// # Errors
    /// [`Error::Peer`]; [`Error::Unreadable`] of layers that are not what the config says; [`Error::NotFound`] if parts
    /// of the image have gone.
    pub async fn ensure_unpacked(&self, image: &Resolved, snapshotter: &str) -> Result<String> {
        let node = &self.0.node;
        let there =
            image.chain.is_empty() || snapshots::exists(node, snapshotter, &image.chain).await?;
        if there {
            return Ok(image.chain.clone());
        }
        let key = (snapshotter.to_owned(), image.chain.clone());
        let (images, snapshotter) = (self.clone(), snapshotter.to_owned());
        let (name, target) = (image.name.clone(), image.target.clone());
        let unpack = || async move {
            let lease = leases::create_short(&images.0.node).await?;
            let unpacked = images.unpack(&target, &snapshotter, &lease).await;
            if let Err(error) = leases::delete(&images.0.node, &lease).await {
                tracing::warn!(lease, %error, "the lease of an unpacked image ends by itself later");
            }
            unpacked.map_err(Error::within(format!("failed to unpack image {name:?}")))
        };
        self.0.unpacking.join(key, unpack).await
    }

    async fn unpack(&self, target: &str, snapshotter: &str, lease: &str) -> Result<String> {
        let node = &self.0.node;
        let gone = || Error::NotFound(format!("a manifest or config of {target}"));
        let documents = Documents::read(node, target).await?.ok_or_else(gone)?;
        let mut parent = String::new();
        for chained in layers(&documents)? {
            parent.clone_from(&chained.chain);
            if !snapshots::exists(node, snapshotter, &chained.chain).await? {
                layer(node, snapshotter, lease, &chained).await?;
            }
        }
        // By it the image holds its snapshot, as with containerd's clients.
        let label = (format!("containerd.io/gc.ref.snapshot.{snapshotter}"), parent.clone());
        content::label(node, documents.config.as_str(), label).await?;
        Ok(parent)
    }
}

/// The layers, the lowest first.
fn layers(documents: &Documents) -> Result<Vec<Layer>> {
    let Documents { layers, diff_ids, config, .. } = documents;
    if layers.len() != diff_ids.len() {
        let why = format!("it has {} layers, its manifest {}", diff_ids.len(), layers.len());
        return Err(Error::Unreadable { what: "config", id: config.to_string(), why });
    }
    let mut parent = String::new();
    let chained = layers.iter().zip(diff_ids).zip(documents.chain());
    Ok(chained
        .map(|((blob, diff_id), chain)| Layer {
            media_type: blob.media_type.clone(),
            digest: blob.digest.to_string(),
            size: blob.size,
            diff_id: diff_id.to_string(),
            parent: std::mem::replace(&mut parent, chain.clone()),
            chain,
        })
        .collect())
}
