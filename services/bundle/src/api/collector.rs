//! berth.node.v1.Collector: bundle's part in a collection.

use std::pin::Pin;

use berth_epochs::Flat;
use berth_grpc::status;
use berth_proto::berth::node::v1 as wire;
use tokio_stream::Stream;
use tonic::{Request, Response, Status};
use wire::collector_server::Collector;

use super::{Context, closing};
use crate::Error;
use crate::gc::NodeKey;
use crate::snapshots::Node;
use crate::sweep::sweep;

type Nodes = Pin<Box<dyn Stream<Item = Result<wire::Node, Status>> + Send>>;

#[tonic::async_trait]
impl Collector for Context {
    type NodesStream = Nodes;

    async fn begin(
        &self,
        request: Request<wire::BeginRequest>,
    ) -> Result<Response<wire::BeginResponse>, Status> {
        self.snapshots.begin(request.into_inner().epoch).await;
        let incarnation = self.snapshots.epochs().incarnation();
        Ok(Response::new(wire::BeginResponse { incarnation }))
    }

    async fn nodes(&self, request: Request<wire::NodesRequest>) -> Result<Response<Nodes>, Status> {
        let epoch = request.into_inner().epoch;
        self.snapshots.epochs().opened(epoch).ok_or(Error::Epoch(epoch)).map_err(status)?;
        let mut nodes = self.snapshots.nodes().map_err(status)?;
        nodes.extend(self.activations.nodes().map_err(status)?);
        let nodes = nodes.into_iter().map(|node| Ok(node_out(node)));
        Ok(Response::new(Box::pin(tokio_stream::iter(nodes))))
    }

    async fn sweep(
        &self,
        request: Request<wire::SweepRequest>,
    ) -> Result<Response<wire::SweepResponse>, Status> {
        let r = request.into_inner();
        if r.incarnation != self.snapshots.epochs().incarnation() {
            return Err(status(Error::Epoch(r.epoch)));
        }
        let touched = match r.flat.is_empty() {
            true => Vec::new(),
            false => self.watch(r.epoch, r.flat).map_err(status)?,
        };
        let dead = r.dead.into_iter().map(key_in).collect();
        let (snapshots, activations) = (self.snapshots.clone(), self.activations.clone());
        // What has lost its record is cleared away even if nobody waits for the answer any more.
        let swept = async move { sweep(&snapshots, &activations, r.epoch, dead).await };
        let dropped = self.tasks.spawn("sweep", swept).await.map_err(|_| closing())?;
        let dropped = dropped.map_err(status)?.into_iter().map(key_out).collect();
        let touched = touched.into_iter().map(key_out).collect();
        Ok(Response::new(wire::SweepResponse { dropped, touched }))
    }

    async fn clear(
        &self,
        _request: Request<wire::ClearRequest>,
    ) -> Result<Response<wire::ClearResponse>, Status> {
        self.snapshots.cleared().await;
        Ok(Response::new(wire::ClearResponse {}))
    }

    async fn end(
        &self,
        request: Request<wire::EndRequest>,
    ) -> Result<Response<wire::EndResponse>, Status> {
        self.snapshots.end(request.into_inner().epoch).await.map_err(status)?;
        Ok(Response::new(wire::EndResponse {}))
    }

    async fn pin(
        &self,
        request: Request<wire::PinRequest>,
    ) -> Result<Response<wire::PinResponse>, Status> {
        let r = request.into_inner();
        self.snapshots.pin((r.namespace, r.kind, r.key), r.alone).await.map_err(status)?;
        Ok(Response::new(wire::PinResponse {}))
    }
}

impl Context {
    /// Takes in what flat leases keep; answers which of it is used.
    fn watch(&self, number: u64, told: Vec<wire::Flat>) -> Result<Vec<NodeKey>, Error> {
        let mut flat = Flat::default();
        for wire::Flat { node, refs, kept } in told {
            let node = key_in(node.unwrap_or_default());
            flat.things.extend(kept.then(|| node.clone()));
            flat.below.push((node, refs.into_iter().map(key_in).collect()));
        }
        let epoch = self.snapshots.epochs().opened(number).ok_or(Error::Epoch(number))?;
        Ok(epoch.watch(flat))
    }
}

fn key_in(node: wire::NodeKey) -> NodeKey {
    (node.namespace, node.kind, node.key)
}

fn key_out((namespace, kind, key): NodeKey) -> wire::NodeKey {
    wire::NodeKey { namespace, kind, key }
}

fn node_out(node: Node) -> wire::Node {
    let (namespace, kind, key) = node.key;
    let out = |refs: Vec<(String, String)>| {
        refs.into_iter().map(|(kind, key)| wire::Ref { kind, key }).collect()
    };
    let (root, touched) = (node.root, node.touched);
    let (refs, kept_by, structure) = (out(node.refs), out(node.kept_by), out(node.structure));
    let used_at = node.used_at;
    wire::Node { namespace, kind, key, root, refs, touched, kept_by, structure, used_at }
}
