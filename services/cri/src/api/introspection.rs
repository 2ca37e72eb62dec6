//! containerd.services.introspection.v1.Introspection: what of containerd's plugins is here.

use berth_proto::containerd::services::introspection::v1 as wire;
use tonic::{Request, Response, Status};

/// What this service is made of.
pub struct Introspection;

#[tonic::async_trait]
impl wire::introspection_server::Introspection for Introspection {
    async fn plugins(
        &self,
        _: Request<wire::PluginsRequest>,
    ) -> Result<Response<wire::PluginsResponse>, Status> {
        Ok(Response::new(wire::PluginsResponse::default()))
    }

    async fn plugin_info(
        &self,
        request: Request<wire::PluginInfoRequest>,
    ) -> Result<Response<wire::PluginInfoResponse>, Status> {
        let wire::PluginInfoRequest { r#type, id, .. } = request.into_inner();
        Err(Status::not_found(format!("plugin {}.{id}: not found", r#type)))
    }

    async fn server(&self, _: Request<()>) -> Result<Response<wire::ServerResponse>, Status> {
        Err(Status::unimplemented("the gateway tells about the server: not implemented"))
    }
}
