//! berth.node.v1.Layers: distribution unpacks layers while it fetches them.

use std::fs::File;
use std::time::Duration;

use berth_grpc::status;
use berth_proto::berth::node::v1 as wire;
use tonic::{Request, Response, Status};
use wire::layers_server::Layers;

use super::Context;
use super::convert::labels_in;
use crate::counts::{LAYERS, unpacked};
use crate::erofs::Packing;
use crate::input::{Patient, Waited};
use crate::processors::{Payloads, through};
use crate::snapshots::{Caller, Proxy, StagedLayer};

#[tonic::async_trait]
impl Layers for Context {
    async fn apply(
        &self,
        request: Request<wire::ApplyLayerRequest>,
    ) -> Result<Response<wire::ApplyLayerResponse>, Status> {
        let r = request.into_inner();
        let caller = self.caller(namespace(&r.namespace)?, None).await?;
        let name = if r.digest.is_empty() { &r.staging } else { &r.digest }.to_owned();
        // Before the wait: the token is good for 30 seconds.
        let claimed = self.distribution.claim(&r.token).await;
        let input = claimed.map_err(|error| status(error.of_layer(&name)))?;
        let layer = StagedLayer {
            caller,
            snapshotter: r.snapshotter,
            staging: r.staging,
            layer: r.digest,
            parent: r.parent,
        };
        let (input, limits) = (File::from(input), self.live.limits());
        let mut waited = Waited::default();
        let mut patient = |input| {
            let input = Patient::new(input);
            waited = input.waited();
            input
        };
        let running = LAYERS.begin();
        let applied = match Packing::of(&r.media_type).map_err(status)? {
            Some(packing) => {
                self.snapshots.stage_image(layer, packing, patient(input), limits).await
            }
            None => {
                let chain = self.processors.chain(&name, &r.media_type).map_err(status)?;
                let stage = |input| self.snapshots.stage(layer, patient(input), limits);
                through(chain, &Payloads::new(), input, stage).await
            }
        };
        running.end(applied.is_ok());
        let applied = applied.map_err(status)?;
        unpacked(applied.size);
        Ok(Response::new(wire::ApplyLayerResponse {
            diff_id: applied.diff_id.to_string(),
            size: applied.size,
            entries: applied.entries,
            waited_us: micros(waited.so_far()),
            synced_us: micros(applied.synced),
        }))
    }

    async fn commit(
        &self,
        request: Request<wire::CommitLayerRequest>,
    ) -> Result<Response<wire::CommitLayerResponse>, Status> {
        let r = request.into_inner();
        let lease = (!r.lease.is_empty()).then_some(r.lease);
        let caller = self.caller(namespace(&r.namespace)?, lease).await?;
        let labels = labels_in(r.labels);
        let committed = self.snapshots.commit_staged(
            caller,
            &r.snapshotter,
            &r.staging,
            &r.chain_id,
            &r.parent,
            labels,
        );
        committed.await.map_err(status)?;
        Ok(Response::new(wire::CommitLayerResponse {}))
    }

    async fn hold(
        &self,
        request: Request<wire::HoldLayerRequest>,
    ) -> Result<Response<wire::HoldLayerResponse>, Status> {
        let r = request.into_inner();
        let lease = (!r.lease.is_empty()).then_some(r.lease);
        let caller = self.caller(namespace(&r.namespace)?, lease).await?;
        let held = self.snapshots.hold_present(caller.clone(), &r.snapshotter, &r.chain_id).await;
        let mut present = held.map_err(status)?;
        if !present && !r.labels.is_empty() {
            let (snapshots, labels) = (self.snapshots.clone(), labels_in(r.labels));
            // A caller that leaves does not leave behind what was made for the question.
            let asking = async move {
                snapshots.ask(caller, &r.snapshotter, &r.chain_id, &r.parent, labels).await
            };
            present = self.to_its_end("ask for layer", asking).await?;
        }
        Ok(Response::new(wire::HoldLayerResponse { present }))
    }

    async fn discard(
        &self,
        request: Request<wire::DiscardLayerRequest>,
    ) -> Result<Response<wire::DiscardLayerResponse>, Status> {
        let r = request.into_inner();
        let caller = Caller { namespace: namespace(&r.namespace)?, lease: None };
        self.snapshots.discard_staged(&caller, &r.snapshotter, &r.staging).map_err(status)?;
        Ok(Response::new(wire::DiscardLayerResponse {}))
    }

    async fn capabilities(
        &self,
        request: Request<wire::LayerCapabilitiesRequest>,
    ) -> Result<Response<wire::LayerCapabilitiesResponse>, Status> {
        let r = request.into_inner();
        let snapshotter = self.snapshots.resolve(&r.snapshotter).map_err(status)?.to_owned();
        let parallel = self.snapshots.is_parallel(&snapshotter).map_err(status)?;
        let proxy = self.snapshots.proxies().find(|proxy| proxy.name == snapshotter);
        let (remote, annotated) = (proxy.is_some(), proxy.is_some_and(Proxy::is_annotated));
        let answer = wire::LayerCapabilitiesResponse { snapshotter, parallel, remote, annotated };
        Ok(Response::new(answer))
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

/// A namespace named in a message.
#[allow(clippy::result_large_err, reason = "handlers return Status")]
pub(super) fn namespace(name: &str) -> Result<berth_ids::Namespace, Status> {
    name.parse().map_err(|error: berth_ids::Error| status(error))
}
