//! The diff, content and snapshots services as this suite calls them.

use std::collections::HashMap;
use std::path::Path;

use anyhow::{Context, Result};
use berth_grpc::{Channel, with_lease, with_namespace};
use berth_ids::Namespace;
use berth_mount::Mount;
use berth_proto::containerd::services::content::v1 as content;
use berth_proto::containerd::services::diff::v1 as diff;
use berth_proto::containerd::types::{self, Descriptor};
use content::content_client::ContentClient;
use diff::diff_client::DiffClient;
use tokio_stream::StreamExt;
use tonic::{Request, Status};

use crate::client::{Client as Snapshots, Labels, Shown};
use crate::sockets::Sockets;

pub const TAR: &str = "application/vnd.oci.image.layer.v1.tar";
pub const GZIP: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
pub const ZSTD: &str = "application/vnd.oci.image.layer.v1.tar+zstd";

/// One namespace of a node. A lease holds all that is made.
pub struct Client {
    diff: DiffClient<Channel>,
    content: ContentClient<Channel>,
    snapshots: Snapshots,
    namespace: Namespace,
}

impl Client {
    pub async fn new(sockets: &Sockets, snapshotter: &str, namespace: &str) -> Result<Self> {
        let snapshots = Snapshots::new(sockets, snapshotter, namespace).await?;
        Ok(Self {
            diff: DiffClient::new(sockets.bundle()),
            content: ContentClient::new(sockets.distribution()),
            snapshots,
            namespace: namespace.parse().context("parse the namespace")?,
        })
    }

    fn request<T>(&self, message: T) -> Request<T> {
        with_lease(with_namespace(message, &self.namespace), "conformance").expect("a lease's name")
    }

    pub async fn diff(
        &mut self,
        left: &[Mount],
        right: &[Mount],
        media_type: &str,
    ) -> Result<Descriptor, Status> {
        let request = self.request(diff::DiffRequest {
            left: wire(left),
            right: wire(right),
            media_type: media_type.to_owned(),
            ..Default::default()
        });
        let made = self.diff.diff(request).await?.into_inner();
        made.diff.ok_or_else(|| Status::internal("no descriptor"))
    }

    pub async fn apply(
        &mut self,
        layer: &Descriptor,
        mounts: &[Mount],
    ) -> Result<Descriptor, Status> {
        self.apply_with(layer, mounts, HashMap::new()).await
    }

    /// Applies a layer, with payloads for stream processors.
    pub async fn apply_with(
        &mut self,
        layer: &Descriptor,
        mounts: &[Mount],
        payloads: HashMap<String, prost_types::Any>,
    ) -> Result<Descriptor, Status> {
        let request = self.request(diff::ApplyRequest {
            diff: Some(layer.clone()),
            mounts: wire(mounts),
            payloads,
            ..Default::default()
        });
        let made = self.diff.apply(request).await?.into_inner();
        made.applied.ok_or_else(|| Status::internal("no descriptor"))
    }

    /// Stores a blob.
    pub async fn put(&mut self, bytes: &[u8], media_type: &str) -> Result<Descriptor> {
        let reference = format!("{:p}-{}", bytes, bytes.len());
        let total = i64::try_from(bytes.len())?;
        let write = content::WriteContentRequest {
            action: content::WriteAction::Commit.into(),
            r#ref: reference,
            total,
            data: bytes.to_vec().into(),
            ..Default::default()
        };
        let request = self.request(tokio_stream::iter([write]));
        let mut answers = self.content.write(request).await?.into_inner();
        let mut digest = String::new();
        while let Some(answer) = answers.next().await {
            digest = answer?.digest;
        }
        let media_type = media_type.to_owned();
        Ok(Descriptor { media_type, digest, size: total, ..Default::default() })
    }

    pub async fn read(&mut self, blob: &Descriptor) -> Result<Vec<u8>> {
        let digest = blob.digest.clone();
        let read = content::ReadContentRequest { digest, ..Default::default() };
        let request = self.request(read);
        let mut chunks = self.content.read(request).await?.into_inner();
        let mut bytes = Vec::new();
        while let Some(chunk) = chunks.next().await {
            bytes.extend_from_slice(&chunk?.data);
        }
        Ok(bytes)
    }

    /// What a blob's label says its tar's digest is.
    pub async fn uncompressed(&mut self, blob: &Descriptor) -> Result<Option<String>> {
        let request = self.request(content::InfoRequest { digest: blob.digest.clone() });
        let info = self.content.info(request).await?.into_inner().info.context("an answer")?;
        Ok(info.labels.get("containerd.io/uncompressed").cloned())
    }

    pub async fn prepare(&mut self, key: &str, parent: &str) -> Result<Vec<Mount>> {
        let made = self.snapshots.prepare(key, parent, &Labels::new()).await;
        made.map_err(|code| anyhow::anyhow!("prepare {key}: {code:?}"))?;
        self.mounts(key).await
    }

    pub async fn view(&mut self, key: &str, parent: &str) -> Result<Vec<Mount>> {
        let made = self.snapshots.view(key, parent, &Labels::new()).await;
        made.map_err(|code| anyhow::anyhow!("view {key}: {code:?}"))?;
        self.mounts(key).await
    }

    pub async fn commit(&mut self, name: &str, key: &str) -> Result<()> {
        let made = self.snapshots.commit(name, key, &Labels::new()).await;
        made.map_err(|code| anyhow::anyhow!("commit {key}: {code:?}"))
    }

    /// Mounts what a snapshot's mounts say below `folder`.
    pub async fn show(&mut self, mounts: &[Mount], folder: &Path, name: &str) -> Result<Shown> {
        self.snapshots.show(mounts, folder, name).await
    }

    /// Undoes it.
    pub async fn hide(&mut self, shown: Shown) -> Result<()> {
        self.snapshots.hide(shown).await
    }

    async fn mounts(&mut self, key: &str) -> Result<Vec<Mount>> {
        let mounts = self.snapshots.mounts(key).await;
        mounts.map_err(|code| anyhow::anyhow!("mounts of {key}: {code:?}"))
    }
}

fn wire(mounts: &[Mount]) -> Vec<types::Mount> {
    let mount = |mount: &Mount| types::Mount {
        r#type: mount.kind.clone(),
        source: mount.source.clone(),
        target: mount.target.clone(),
        options: mount.options.clone(),
    };
    mounts.iter().map(mount).collect()
}
