//! berth.node.v1.Collector: bundle's part in a collection.

use std::pin::Pin;

use berth_grpc::status;
use berth_proto::berth::node::v1 as wire;
use tokio_stream::Stream;
use tonic::{Request, Response, Status};
use wire::collector_server::Collector;

use super::Context;
use crate::mounts::KIND;
use crate::snapshots::Node;

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
        self.check_epoch(request.into_inner().epoch)?;
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
        self.check_epoch(r.epoch)?;
        if r.incarnation != self.snapshots.epochs().incarnation() {
            return Err(Status::aborted("bundle was restarted since the epoch began: aborted"));
        }
        let dead = r.dead.into_iter().map(|node| (node.namespace, node.kind, node.key));
        let (mounts, snapshots): (Vec<_>, Vec<_>) = dead.partition(|node| node.1 == KIND);
        let mut dropped = self.activations.sweep(mounts).await.map_err(status)?;
        dropped.extend(self.snapshots.sweep(snapshots).await.map_err(status)?);
        let dropped = dropped.into_iter();
        let dropped =
            dropped.map(|(namespace, kind, key)| wire::NodeKey { namespace, kind, key }).collect();
        Ok(Response::new(wire::SweepResponse { dropped }))
    }

    async fn end(
        &self,
        request: Request<wire::EndRequest>,
    ) -> Result<Response<wire::EndResponse>, Status> {
        self.snapshots.epochs().close(request.into_inner().epoch);
        Ok(Response::new(wire::EndResponse {}))
    }

    async fn pin(
        &self,
        request: Request<wire::PinRequest>,
    ) -> Result<Response<wire::PinResponse>, Status> {
        let r = request.into_inner();
        let node = (r.namespace, r.kind, r.key);
        let pinned = match node.1 == KIND {
            true => self.activations.pin(node).await,
            false => self.snapshots.pin(node).await,
        };
        pinned.map_err(status)?;
        Ok(Response::new(wire::PinResponse {}))
    }
}

impl Context {
    #[allow(clippy::result_large_err, reason = "handlers return Status")]
    fn check_epoch(&self, epoch: u64) -> Result<(), Status> {
        if self.snapshots.epochs().is_open(epoch) {
            return Ok(());
        }
        Err(Status::aborted(format!("epoch {epoch} is not open here, begin again: aborted")))
    }
}

fn node_out(node: Node) -> wire::Node {
    let (namespace, kind, key) = node.key;
    let out = |refs: Vec<(String, String)>| {
        refs.into_iter().map(|(kind, key)| wire::Ref { kind, key }).collect()
    };
    let (root, touched) = (node.root, node.touched);
    let (refs, kept_by) = (out(node.refs), out(node.kept_by));
    wire::Node { namespace, kind, key, root, refs, touched, kept_by }
}
