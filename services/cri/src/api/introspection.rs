//! containerd.services.introspection.v1.Introspection: the CRI as containerd's plugins, for the gateway to merge.

use berth_introspection::kind::{
    CRI, EVENT, GRPC, LEASE, METADATA, SANDBOX_CONTROLLER, SANDBOX_STORE, SERVICE, SHIM,
    SNAPSHOTTER, TRANSFER, WARNING,
};
use berth_introspection::{Described, plugin};
use berth_proto::containerd::services::introspection::v1 as wire;
use tonic::{Request, Response, Status};

/// The version of the kubelets' interface that is served.
const VERSION: &str = "v1";

/// What this service is made of.
pub struct Introspection;

#[tonic::async_trait]
impl wire::introspection_server::Introspection for Introspection {
    async fn plugins(
        &self,
        request: Request<wire::PluginsRequest>,
    ) -> Result<Response<wire::PluginsResponse>, Status> {
        let plugins = berth_introspection::matching(here(), &request.into_inner().filters)?;
        Ok(Response::new(wire::PluginsResponse { plugins }))
    }

    async fn plugin_info(
        &self,
        request: Request<wire::PluginInfoRequest>,
    ) -> Result<Response<wire::PluginInfoResponse>, Status> {
        berth_introspection::info(here(), &request.into_inner())
    }

    async fn server(&self, _: Request<()>) -> Result<Response<wire::ServerResponse>, Status> {
        Err(Status::unimplemented("the gateway tells about the server: not implemented"))
    }
}

fn here() -> Vec<wire::Plugin> {
    let images = [LEASE, METADATA, SANDBOX_STORE, SERVICE, SNAPSHOTTER, TRANSFER, WARNING];
    let served =
        [CRI, SANDBOX_CONTROLLER, EVENT, SERVICE, LEASE, SANDBOX_STORE, TRANSFER, WARNING, SHIM];
    vec![
        plugin(CRI, "images", &images),
        plugin(CRI, "runtime", &[WARNING]).on_host().exports("CRIVersion", VERSION),
        plugin(GRPC, "cri", &served),
    ]
}
