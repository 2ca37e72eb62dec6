//! Calls to a snapshotter in a process of its own: containerd's Snapshots service on its socket.

use std::future::Future;
use std::path::Path;
use std::time::{Duration, SystemTime};

use berth_errors::Code;
use berth_grpc::{Channel, MAX_MESSAGE, Settings, with_namespace};
use berth_ids::{Labels, Namespace};
use berth_mount::Mount;
use berth_proto::containerd::services::snapshots::v1 as wire;
use berth_proto::containerd::types;
use tokio_stream::StreamExt;
use tonic::{Request, Response, Status};
use wire::snapshots_client::SnapshotsClient;

use super::WAIT;
use crate::Error;
use crate::snapshots::{Backend, Info, Kind, Usage, Work};

/// Most snapshots of one list.
const MOST_LISTED: usize = 65_536;

/// The namespace of calls that are about none.
const NOBODYS: &str = "default";

/// A snapshotter behind a socket.
pub struct Snapshotter {
    name: String,
    channel: Channel,
    timeout: Duration,
}

impl Snapshotter {
    /// The snapshotter that is configured as `name` behind a socket and calls itself `own`; each call
    /// may take so long. Connects when needed.
    #[must_use]
    pub fn new(name: &str, own: &str, socket: &Path, timeout: Duration) -> Self {
        let service = format!("snapshotter {name}");
        // So that what is said is that it is away, and not that it is slow.
        let wait = WAIT.min(timeout / 2);
        let advice = "is its process running?".to_owned();
        let settings = Settings { service, wait, advice, greeted: false, ..Settings::of(socket) };
        Self { name: own.to_owned(), channel: Channel::new(socket, settings), timeout }
    }

    fn client(&self) -> SnapshotsClient<Channel> {
        SnapshotsClient::new(self.channel.clone())
            .max_decoding_message_size(MAX_MESSAGE)
            .max_encoding_message_size(MAX_MESSAGE)
    }

    fn failed(&self, code: Code, reason: &str) -> Error {
        let message = format!("list snapshots of {}: {reason}: {code}", self.name);
        Error::Snapshotter { code, message }
    }

    fn request<T>(&self, namespace: &Namespace, message: T) -> Request<T> {
        let mut request = with_namespace(message, namespace);
        request.set_timeout(self.timeout);
        request
    }

    /// What it answered.
    async fn answer<T>(
        &self,
        call: impl Future<Output = Result<Response<T>, Status>>,
    ) -> Result<T, Error> {
        call.await.map(Response::into_inner).map_err(|status| self.refused(&status))
    }

    /// Its own words, which clients compare, or what kept it from answering.
    fn refused(&self, status: &Status) -> Error {
        let (code, message) = berth_grpc::told(status, &format!("snapshotter {}", self.name));
        Error::Snapshotter { code, message }
    }
}

impl Backend for Snapshotter {
    fn create<'a>(
        &'a self,
        namespace: &'a Namespace,
        kind: Kind,
        key: &'a str,
        parent: &'a str,
        labels: Labels,
    ) -> Work<'a, Vec<Mount>> {
        let snapshotter = self.name.clone();
        let (key, parent) = (key.to_owned(), parent.to_owned());
        let labels = labels.into_iter().collect();
        Box::pin(async move {
            let mut client = self.client();
            let mounts = match kind {
                Kind::View => {
                    let ask = wire::ViewSnapshotRequest { snapshotter, key, parent, labels };
                    self.answer(client.view(self.request(namespace, ask))).await?.mounts
                }
                _ => {
                    let ask = wire::PrepareSnapshotRequest { snapshotter, key, parent, labels };
                    self.answer(client.prepare(self.request(namespace, ask))).await?.mounts
                }
            };
            Ok(mounts_in(mounts))
        })
    }

    fn commit<'a>(
        &'a self,
        namespace: &'a Namespace,
        name: &'a str,
        key: &'a str,
        parent: &'a str,
        labels: Labels,
    ) -> Work<'a, ()> {
        let ask = wire::CommitSnapshotRequest {
            snapshotter: self.name.clone(),
            name: name.to_owned(),
            key: key.to_owned(),
            labels: labels.into_iter().collect(),
            parent: parent.to_owned(),
        };
        Box::pin(
            async move { self.answer(self.client().commit(self.request(namespace, ask))).await },
        )
    }

    fn remove<'a>(&'a self, namespace: &'a Namespace, key: &'a str) -> Work<'a, ()> {
        let (snapshotter, key) = (self.name.clone(), key.to_owned());
        let ask = wire::RemoveSnapshotRequest { snapshotter, key };
        Box::pin(
            async move { self.answer(self.client().remove(self.request(namespace, ask))).await },
        )
    }

    fn stat<'a>(&'a self, namespace: &'a Namespace, key: &'a str) -> Work<'a, Info> {
        let (snapshotter, key) = (self.name.clone(), key.to_owned());
        let ask = wire::StatSnapshotRequest { snapshotter, key };
        Box::pin(async move {
            let found = self.answer(self.client().stat(self.request(namespace, ask))).await?;
            Ok(info_in(found.info.unwrap_or_default()))
        })
    }

    fn update<'a>(
        &'a self,
        namespace: &'a Namespace,
        key: &'a str,
        labels: Labels,
        paths: Vec<String>,
    ) -> Work<'a, Info> {
        let (name, labels) = (key.to_owned(), labels.into_iter().collect());
        let ask = wire::UpdateSnapshotRequest {
            snapshotter: self.name.clone(),
            info: Some(wire::Info { name, labels, ..Default::default() }),
            update_mask: Some(prost_types::FieldMask { paths }),
        };
        Box::pin(async move {
            let updated = self.answer(self.client().update(self.request(namespace, ask))).await?;
            Ok(info_in(updated.info.unwrap_or_default()))
        })
    }

    fn list<'a>(&'a self, namespace: &'a Namespace, filter: String) -> Work<'a, Vec<Info>> {
        let (snapshotter, filters) = (self.name.clone(), vec![filter]);
        let ask = wire::ListSnapshotsRequest { snapshotter, filters };
        Box::pin(async move {
            let gather = async {
                let mut answers =
                    self.answer(self.client().list(self.request(namespace, ask))).await?;
                let mut found = Vec::new();
                while let Some(part) = answers.next().await {
                    let part = part.map_err(|status| self.refused(&status))?;
                    if found.len() + part.info.len() > MOST_LISTED {
                        return Err(self.failed(Code::ResourceExhausted, "it lists too many"));
                    }
                    found.extend(part.info.into_iter().map(info_in));
                }
                Ok(found)
            };
            // The call's own deadline ends with its headers.
            let slow = |_| self.failed(Code::DeadlineExceeded, "it does not end its list");
            tokio::time::timeout(self.timeout, gather).await.map_err(slow)?
        })
    }

    fn mounts<'a>(&'a self, namespace: &'a Namespace, key: &'a str) -> Work<'a, Vec<Mount>> {
        let (snapshotter, key) = (self.name.clone(), key.to_owned());
        let ask = wire::MountsRequest { snapshotter, key };
        Box::pin(async move {
            let found = self.answer(self.client().mounts(self.request(namespace, ask))).await?;
            Ok(mounts_in(found.mounts))
        })
    }

    fn usage<'a>(&'a self, namespace: &'a Namespace, key: &'a str) -> Work<'a, Usage> {
        let (snapshotter, key) = (self.name.clone(), key.to_owned());
        let ask = wire::UsageRequest { snapshotter, key };
        Box::pin(async move {
            let found = self.answer(self.client().usage(self.request(namespace, ask))).await?;
            let count = |number: i64| u64::try_from(number).unwrap_or(0);
            Ok(Usage { inodes: count(found.inodes), size: count(found.size) })
        })
    }

    fn cleanup(&self) -> Work<'_, ()> {
        let ask = wire::CleanupRequest { snapshotter: self.name.clone() };
        Box::pin(async move {
            let namespace: Namespace = NOBODYS.parse()?;
            self.answer(self.client().cleanup(self.request(&namespace, ask))).await
        })
    }
}

fn mounts_in(mounts: Vec<types::Mount>) -> Vec<Mount> {
    let mount = |m: types::Mount| Mount {
        kind: m.r#type,
        source: m.source,
        target: m.target,
        options: m.options,
    };
    mounts.into_iter().map(mount).collect()
}

fn info_in(info: wire::Info) -> Info {
    let kind = match info.kind() {
        wire::Kind::View => Kind::View,
        wire::Kind::Committed => Kind::Committed,
        _ => Kind::Active,
    };
    let time = |time: Option<prost_types::Timestamp>| {
        berth_grpc::time::from_wire(time.as_ref()).unwrap_or(SystemTime::UNIX_EPOCH)
    };
    Info {
        kind,
        created: time(info.created_at),
        updated: time(info.updated_at),
        name: info.name,
        parent: info.parent,
        labels: info.labels.into_iter().collect(),
    }
}
