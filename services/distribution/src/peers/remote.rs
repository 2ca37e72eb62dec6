//! A neighbour behind a unix socket.

use std::collections::HashSet;
use std::future::Future;
use std::path::Path;
use std::time::Duration;

use berth_epochs::Flat;
use berth_errors::Code;
use berth_grpc::Channel;
use berth_grpc::{NODE_MESSAGE, channel, code_of};
use berth_ids::Namespace;
use berth_proto::berth::node::v1 as wire;
use tonic::{Response, Status};
use wire::collector_client::CollectorClient;
use wire::lease_member_client::LeaseMemberClient;
use wire::namespace_member_client::NamespaceMemberClient;

use crate::error::{Error, Result};
use crate::gc::id::{Id, SNAPSHOTS};
use crate::gc::labels;
use crate::gc::node::Node;
use crate::neighbour::{Answer, LeaseName, Neighbour};
use crate::records::Hold;

/// The most that a small call may take, waiting for a restart included.
const CALL: Duration = Duration::from_secs(15);
/// The most that reading or sweeping a neighbour's part of the graph may take.
const SCAN: Duration = Duration::from_secs(120);
/// Things that flat leases keep, or that are below such, in one message.
const AT_ONCE: usize = 1024;

/// One service, by its socket.
pub struct Remote {
    name: &'static str,
    owns: fn(&str) -> bool,
    channel: Channel,
}

impl Remote {
    pub fn new(name: &'static str, socket: &Path, owns: fn(&str) -> bool) -> Self {
        Self { name, owns, channel: channel(socket) }
    }

    fn collector(&self) -> CollectorClient<Channel> {
        CollectorClient::new(self.channel.clone())
            .max_decoding_message_size(NODE_MESSAGE)
            .max_encoding_message_size(NODE_MESSAGE)
    }

    fn leases(&self) -> LeaseMemberClient<Channel> {
        LeaseMemberClient::new(self.channel.clone())
    }

    fn namespaces(&self) -> NamespaceMemberClient<Channel> {
        NamespaceMemberClient::new(self.channel.clone())
    }

    /// Waits for an answer, not for ever, and says whose and to what.
    async fn ask<T>(
        &self,
        step: &'static str,
        deadline: Duration,
        call: impl Future<Output = Result<T, Status>>,
    ) -> Result<T> {
        let service = self.name;
        match tokio::time::timeout(deadline, call).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(status)) => Err(Error::Neighbour {
                service,
                step,
                code: code_of(&status),
                message: status.message().to_owned(),
            }),
            Err(_) => Err(Error::Neighbour {
                service,
                step,
                code: Code::Unavailable,
                message: format!("no answer within {deadline:?}: {}", Code::Unavailable),
            }),
        }
    }

    async fn small<T>(
        &self,
        step: &'static str,
        call: impl Future<Output = Result<Response<T>, Status>>,
    ) -> Result<T> {
        Ok(self.ask(step, CALL, call).await?.into_inner())
    }

    async fn read_nodes(&self, epoch: u64) -> Result<Vec<Node>, Status> {
        let mut stream = self.collector().nodes(wire::NodesRequest { epoch }).await?.into_inner();
        let mut nodes = Vec::new();
        while let Some(node) = stream.message().await? {
            nodes.push(from_wire(node)?);
        }
        Ok(nodes)
    }
}

impl Neighbour for Remote {
    fn name(&self) -> &'static str {
        self.name
    }

    fn owns(&self, kind: &str) -> bool {
        (self.owns)(kind)
    }

    fn fence<'a>(&'a self, namespace: &'a Namespace, up: bool) -> Answer<'a, ()> {
        Box::pin(async move {
            let request = wire::FenceRequest { namespace: namespace.to_string(), up };
            let mut member = self.namespaces();
            self.small("fence namespace", member.fence(request)).await.map(drop)
        })
    }

    fn usage<'a>(&'a self, namespace: &'a Namespace) -> Answer<'a, Vec<String>> {
        Box::pin(async move {
            let request = wire::NamespaceUsageRequest { namespace: namespace.to_string() };
            let mut member = self.namespaces();
            let used = self.small("count namespace", member.usage(request)).await?;
            let mut kinds: Vec<_> = used
                .counts
                .into_iter()
                .filter(|(_, count)| *count > 0)
                .map(|(kind, _)| kind)
                .collect();
            kinds.sort();
            Ok(kinds.into_iter().map(words).collect())
        })
    }

    fn hold<'a>(&'a self, lease: &'a LeaseName, hold: &'a Hold) -> Answer<'a, ()> {
        Box::pin(async move {
            let request = resource(lease, hold);
            let mut member = self.leases();
            self.small("add lease resource", member.add(request)).await.map(drop)
        })
    }

    fn release<'a>(&'a self, lease: &'a LeaseName, hold: &'a Hold) -> Answer<'a, ()> {
        Box::pin(async move {
            let wire::AddLeaseResourceRequest { namespace, lease, incarnation, kind, id } =
                resource(lease, hold);
            let request =
                wire::RemoveLeaseResourceRequest { namespace, lease, incarnation, kind, id };
            let mut member = self.leases();
            self.small("remove lease resource", member.remove(request)).await.map(drop)
        })
    }

    fn holds<'a>(&'a self, lease: &'a LeaseName) -> Answer<'a, Vec<Hold>> {
        Box::pin(async move {
            let request = wire::ListLeaseResourcesRequest {
                namespace: lease.namespace.to_string(),
                lease: lease.id.clone(),
                incarnation: lease.incarnation,
            };
            let mut member = self.leases();
            let held = self.small("list lease resources", member.list(request)).await?;
            Ok(held.resources.into_iter().map(|found| Hold::new(found.kind, found.id)).collect())
        })
    }

    fn begin(&self, epoch: u64) -> Answer<'_, u64> {
        Box::pin(async move {
            let mut collector = self.collector();
            let begun = collector.begin(wire::BeginRequest { epoch });
            Ok(self.small("begin collection", begun).await?.incarnation)
        })
    }

    fn nodes(&self, epoch: u64) -> Answer<'_, Vec<Node>> {
        Box::pin(async move { self.ask("read references", SCAN, self.read_nodes(epoch)).await })
    }

    fn sweep(&self, epoch: u64, incarnation: u64, dead: Vec<Id>) -> Answer<'_, Vec<Id>> {
        Box::pin(async move {
            let dead = dead.into_iter().map(key).collect();
            let request = wire::SweepRequest { epoch, incarnation, dead, flat: vec![] };
            let mut collector = self.collector();
            let swept = self.ask("sweep", SCAN, collector.sweep(request)).await?.into_inner();
            ids(swept.dropped)
        })
    }

    fn clear(&self) -> Answer<'_, ()> {
        Box::pin(async move {
            let mut collector = self.collector();
            let cleared = collector.clear(wire::ClearRequest {});
            self.ask("clear what was dropped", SCAN, cleared).await.map(drop)
        })
    }

    fn end(&self, epoch: u64) -> Answer<'_, ()> {
        Box::pin(async move {
            let mut collector = self.collector();
            let ended = collector.end(wire::EndRequest { epoch });
            self.small("end collection", ended).await.map(drop)
        })
    }

    fn watch(&self, epoch: u64, incarnation: u64, flat: Flat<Id>) -> Answer<'_, Vec<Id>> {
        Box::pin(async move {
            let kept: HashSet<&Id> = flat.things.iter().collect();
            let told: Vec<_> = flat
                .below
                .iter()
                .map(|(id, refs)| wire::Flat {
                    node: Some(key(id.clone())),
                    refs: refs.iter().cloned().map(key).collect(),
                    kept: kept.contains(id),
                })
                .collect();
            let mut touched = Vec::new();
            for part in told.chunks(AT_ONCE) {
                let (dead, flat) = (vec![], part.to_vec());
                let request = wire::SweepRequest { epoch, incarnation, dead, flat };
                let mut collector = self.collector();
                let told = self.ask("watch flat leases", SCAN, collector.sweep(request)).await?;
                // Each answers for those before it too.
                touched = ids(told.into_inner().touched)?;
            }
            Ok(touched)
        })
    }

    fn pin<'a>(&'a self, id: &'a Id, alone: bool) -> Answer<'a, ()> {
        Box::pin(async move {
            let wire::NodeKey { namespace, kind, key } = key(id.clone());
            let mut collector = self.collector();
            let pinned = collector.pin(wire::PinRequest { namespace, kind, key, alone });
            self.small("pin reference", pinned).await.map(drop)
        })
    }
}

fn resource(lease: &LeaseName, hold: &Hold) -> wire::AddLeaseResourceRequest {
    wire::AddLeaseResourceRequest {
        namespace: lease.namespace.to_string(),
        lease: lease.id.clone(),
        incarnation: lease.incarnation,
        kind: hold.kind.clone(),
        id: hold.id.clone(),
    }
}

fn ids(keys: Vec<wire::NodeKey>) -> Result<Vec<Id>> {
    keys.into_iter().map(|key| Ok(Id::new(&key.namespace.parse()?, key.kind, key.key))).collect()
}

fn key(id: Id) -> wire::NodeKey {
    wire::NodeKey { namespace: id.namespace.to_string(), kind: id.kind, key: id.key }
}

fn from_wire(node: wire::Node) -> Result<Node, Status> {
    let namespace: Namespace =
        node.namespace.parse().map_err(|error: berth_ids::Error| berth_grpc::status(error))?;
    let ids = |refs: Vec<wire::Ref>| {
        refs.into_iter().map(|to| Id::new(&namespace, to.kind, to.key)).collect()
    };
    let (refs, kept_by, structure) = (ids(node.refs), ids(node.kept_by), ids(node.structure));
    let used = node.used_at.iter().filter_map(|text| labels::used_at(text)).collect();
    let id = Id::new(&namespace, node.kind, node.key);
    let (root, touched) = (node.root, node.touched);
    Ok(Node { root, touched, refs, kept_by, structure, used, ..Node::new(id) })
}

/// A kind in containerd's words.
fn words(kind: String) -> String {
    match kind.strip_prefix(SNAPSHOTS) {
        Some(name) => format!("snapshots on {name:?} snapshotter"),
        None => kind,
    }
}
