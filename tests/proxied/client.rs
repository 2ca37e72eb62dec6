//! containerd's snapshots service as its clients call it, each answer an object or a status.

use std::collections::HashMap;
use std::future::Future;
use std::path::Path;

use anyhow::{Context, Result, bail};
use berth_grpc::{Channel, with_namespace};
use berth_ids::Namespace;
use berth_proto::containerd::services::snapshots::v1 as wire;
use tokio::runtime::Runtime;
use tonic::{Code, Response, Status};
use wire::snapshots_client::SnapshotsClient;

/// A code and a message.
pub type Refused = (Code, String);

/// One snapshotter in one namespace.
pub struct Client {
    runtime: Runtime,
    channel: Channel,
    namespace: Namespace,
    snapshotter: String,
}

pub type Pairs<'a> = &'a [(&'a str, &'a str)];

pub fn labels(pairs: Pairs<'_>) -> HashMap<String, String> {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

impl Client {
    pub fn new(address: &Path, snapshotter: &str, namespace: &str) -> Result<Self> {
        let runtime = Runtime::new().context("start a runtime")?;
        let channel = runtime.block_on(async { berth_grpc::channel(address) });
        let namespace = namespace.parse().context("parse the namespace")?;
        Ok(Self { runtime, channel, namespace, snapshotter: snapshotter.to_owned() })
    }

    fn call<M, T, F>(
        &self,
        message: M,
        call: impl FnOnce(SnapshotsClient<Channel>, tonic::Request<M>) -> F,
    ) -> Result<T, Refused>
    where
        F: Future<Output = Result<Response<T>, Status>>,
    {
        let client = SnapshotsClient::new(self.channel.clone());
        let answered =
            self.runtime.block_on(call(client, with_namespace(message, &self.namespace)));
        answered
            .map(Response::into_inner)
            .map_err(|status| (status.code(), status.message().to_owned()))
    }

    pub fn try_prepare(&self, key: &str, parent: &str, pairs: Pairs<'_>) -> Result<(), Refused> {
        let message = wire::PrepareSnapshotRequest {
            snapshotter: self.snapshotter.clone(),
            key: key.to_owned(),
            parent: parent.to_owned(),
            labels: labels(pairs),
        };
        self.call(message, async |mut c, r| c.prepare(r).await).map(drop)
    }

    pub fn prepare(&self, key: &str, parent: &str, pairs: Pairs<'_>) -> Result<()> {
        fine("prepare", self.try_prepare(key, parent, pairs))
    }

    pub fn view(&self, key: &str, parent: &str) -> Result<()> {
        let message = wire::ViewSnapshotRequest {
            snapshotter: self.snapshotter.clone(),
            key: key.to_owned(),
            parent: parent.to_owned(),
            labels: HashMap::new(),
        };
        fine("view", self.call(message, async |mut c, r| c.view(r).await).map(drop))
    }

    pub fn try_commit(&self, name: &str, key: &str, pairs: Pairs<'_>) -> Result<(), Refused> {
        let message = wire::CommitSnapshotRequest {
            snapshotter: self.snapshotter.clone(),
            name: name.to_owned(),
            key: key.to_owned(),
            labels: labels(pairs),
            parent: String::new(),
        };
        self.call(message, async |mut c, r| c.commit(r).await).map(drop)
    }

    pub fn commit(&self, name: &str, key: &str, pairs: Pairs<'_>) -> Result<()> {
        fine("commit", self.try_commit(name, key, pairs))
    }

    pub fn remove(&self, key: &str) -> Result<(), Refused> {
        let (snapshotter, key) = (self.snapshotter.clone(), key.to_owned());
        let message = wire::RemoveSnapshotRequest { snapshotter, key };
        self.call(message, async |mut c, r| c.remove(r).await).map(drop)
    }

    pub fn stat(&self, key: &str) -> Result<wire::Info> {
        let (snapshotter, key) = (self.snapshotter.clone(), key.to_owned());
        let message = wire::StatSnapshotRequest { snapshotter, key };
        let found = fine("stat", self.call(message, async |mut c, r| c.stat(r).await))?;
        found.info.context("info")
    }

    pub fn usage(&self, key: &str) -> Result<i64> {
        let (snapshotter, key) = (self.snapshotter.clone(), key.to_owned());
        let message = wire::UsageRequest { snapshotter, key };
        Ok(fine("usage", self.call(message, async |mut c, r| c.usage(r).await))?.size)
    }

    pub fn cleanup(&self) -> Result<(), Refused> {
        let message = wire::CleanupRequest { snapshotter: self.snapshotter.clone() };
        self.call(message, async |mut c, r| c.cleanup(r).await).map(drop)
    }
}

fn fine<T>(what: &str, answer: Result<T, Refused>) -> Result<T> {
    match answer {
        Ok(answer) => Ok(answer),
        Err((code, message)) => bail!("{what}: {code:?}: {message}"),
    }
}
