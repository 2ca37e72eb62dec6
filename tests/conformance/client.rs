//! containerd's snapshots service as its clients call it, each answer an object or a code.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result};
use berth_grpc::{Channel, with_lease, with_namespace};
use berth_ids::Namespace;
use berth_mount::{Mount, TempMount};
use berth_proto::containerd::services::leases::v1 as leases;
use berth_proto::containerd::services::mounts::v1 as mounts;
use berth_proto::containerd::services::snapshots::v1 as wire;
use berth_proto::containerd::types;
use tokio_stream::StreamExt;
use tonic::{Code, Request, Status};

use crate::sockets::Sockets;

pub type Labels = BTreeMap<String, String>;
pub type Answer<T> = std::result::Result<T, Code>;

/// One snapshotter in one namespace. A lease holds all that is made, so that no collection takes
/// part in the test.
pub struct Client {
    snapshots: wire::snapshots_client::SnapshotsClient<Channel>,
    mounts: mounts::mounts_client::MountsClient<Channel>,
    namespace: Namespace,
    snapshotter: String,
}

const LEASE: &str = "conformance";

impl Client {
    pub async fn new(sockets: &Sockets, snapshotter: &str, namespace: &str) -> Result<Self> {
        let namespace: Namespace = namespace.parse().context("parse the namespace")?;
        let lease = leases::CreateRequest { id: LEASE.to_owned(), ..Default::default() };
        let mut client = leases::leases_client::LeasesClient::new(sockets.distribution());
        client.create(with_namespace(lease, &namespace)).await.context("create the lease")?;
        let mounts = mounts::mounts_client::MountsClient::new(sockets.bundle());
        let snapshots = wire::snapshots_client::SnapshotsClient::new(sockets.bundle());
        Ok(Self { snapshots, mounts, namespace, snapshotter: snapshotter.to_owned() })
    }

    fn request<T>(&self, message: T) -> Request<T> {
        with_lease(with_namespace(message, &self.namespace), LEASE).expect("a lease's name")
    }

    fn name(&self) -> String {
        self.snapshotter.clone()
    }

    pub async fn prepare(&mut self, key: &str, parent: &str, labels: &Labels) -> Answer<usize> {
        let request = self.request(wire::PrepareSnapshotRequest {
            snapshotter: self.name(),
            key: key.to_owned(),
            parent: parent.to_owned(),
            labels: labels.clone().into_iter().collect(),
        });
        answer(self.snapshots.prepare(request).await).map(|made| made.mounts.len())
    }

    pub async fn view(&mut self, key: &str, parent: &str, labels: &Labels) -> Answer<usize> {
        let request = self.request(wire::ViewSnapshotRequest {
            snapshotter: self.name(),
            key: key.to_owned(),
            parent: parent.to_owned(),
            labels: labels.clone().into_iter().collect(),
        });
        answer(self.snapshots.view(request).await).map(|made| made.mounts.len())
    }

    pub async fn commit(&mut self, name: &str, key: &str, labels: &Labels) -> Answer<()> {
        let request = self.request(wire::CommitSnapshotRequest {
            snapshotter: self.name(),
            name: name.to_owned(),
            key: key.to_owned(),
            labels: labels.clone().into_iter().collect(),
            ..Default::default()
        });
        answer(self.snapshots.commit(request).await)
    }

    pub async fn remove(&mut self, key: &str) -> Answer<()> {
        let request = wire::RemoveSnapshotRequest { snapshotter: self.name(), key: key.to_owned() };
        answer(self.snapshots.remove(self.request(request)).await)
    }

    pub async fn stat(&mut self, key: &str) -> Answer<wire::Info> {
        let request = wire::StatSnapshotRequest { snapshotter: self.name(), key: key.to_owned() };
        let found = answer(self.snapshots.stat(self.request(request)).await)?;
        found.info.ok_or(Code::DataLoss)
    }

    pub async fn update(
        &mut self,
        key: &str,
        labels: &Labels,
        paths: &[String],
    ) -> Answer<wire::Info> {
        let info = wire::Info {
            name: key.to_owned(),
            labels: labels.clone().into_iter().collect(),
            ..Default::default()
        };
        let mask = prost_types::FieldMask { paths: paths.to_vec() };
        let request = self.request(wire::UpdateSnapshotRequest {
            snapshotter: self.name(),
            info: Some(info),
            update_mask: (!paths.is_empty()).then_some(mask),
        });
        let updated = answer(self.snapshots.update(request).await)?;
        updated.info.ok_or(Code::DataLoss)
    }

    pub async fn walk(&mut self, filters: &[String]) -> Answer<Vec<wire::Info>> {
        let request =
            wire::ListSnapshotsRequest { snapshotter: self.name(), filters: filters.to_vec() };
        let mut stream = answer(self.snapshots.list(self.request(request)).await)?;
        let mut found = Vec::new();
        while let Some(chunk) = stream.next().await {
            found.extend(chunk.map_err(|status| status.code())?.info);
        }
        Ok(found)
    }

    pub async fn usage(&mut self, key: &str) -> Answer<(i64, i64)> {
        let request = wire::UsageRequest { snapshotter: self.name(), key: key.to_owned() };
        let usage = answer(self.snapshots.usage(self.request(request)).await)?;
        Ok((usage.size, usage.inodes))
    }

    pub async fn mounts(&mut self, key: &str) -> Answer<Vec<Mount>> {
        let request = wire::MountsRequest { snapshotter: self.name(), key: key.to_owned() };
        let found = answer(self.snapshots.mounts(self.request(request)).await)?;
        Ok(found.mounts.into_iter().map(here).collect())
    }

    /// Mounts what a snapshot's mounts say below `folder`, those that are not the client's by an
    /// activation called `name`.
    pub async fn show(&mut self, mounts: &[Mount], folder: &Path, name: &str) -> Result<Shown> {
        // Images and templates.
        let activated = |mount: &Mount| mount.kind == "erofs" || mount.kind.contains('/');
        if !mounts.iter().any(activated) {
            return Ok(Shown { top: TempMount::new(mounts, folder, name)?, activation: None });
        }
        let there = |mount: &Mount| types::Mount {
            r#type: mount.kind.clone(),
            source: mount.source.clone(),
            target: mount.target.clone(),
            options: mount.options.clone(),
        };
        let request = mounts::ActivateRequest {
            name: name.to_owned(),
            mounts: mounts.iter().map(there).collect(),
            temporary: true,
            ..Default::default()
        };
        let request = self.request(request);
        let made = self.mounts.activate(request).await.context("activate")?.into_inner();
        let left: Vec<_> = made.info.context("info")?.system.into_iter().map(here).collect();
        let top = TempMount::new(&left, folder, name)?;
        Ok(Shown { top, activation: Some(name.to_owned()) })
    }

    /// Undoes it.
    pub async fn hide(&mut self, shown: Shown) -> Result<()> {
        let Shown { top, activation } = shown;
        drop(top);
        if let Some(name) = activation {
            let request = self.request(mounts::DeactivateRequest { name });
            self.mounts.deactivate(request).await.context("deactivate")?;
        }
        Ok(())
    }
}

/// What is mounted of a snapshot.
pub struct Shown {
    top: TempMount,
    activation: Option<String>,
}

impl Shown {
    pub fn path(&self) -> &Path {
        self.top.path()
    }
}

fn here(mount: types::Mount) -> Mount {
    let types::Mount { r#type: kind, source, target, options } = mount;
    Mount { kind, source, target, options }
}

fn answer<T>(result: std::result::Result<tonic::Response<T>, Status>) -> Answer<T> {
    result.map(tonic::Response::into_inner).map_err(|status| status.code())
}
