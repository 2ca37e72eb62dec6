//! containerd.services.introspection.v1.Introspection, but for PluginInfo, which is the runtime's.

use std::borrow::Cow;

use berth_config::Service;
use berth_filters::{Adaptor, Filter};
use berth_grpc::status;
use berth_proto::containerd::services::introspection::v1::{
    Plugin, PluginInfoRequest, PluginInfoResponse, PluginsRequest, PluginsResponse, ServerResponse,
    introspection_server,
};
use futures::future::join_all;
use tonic::{Request, Response, Status};

use crate::upstreams::Upstreams;
use crate::{Error, peers};

const PID_NAMESPACE: &str = "/proc/self/ns/pid";

/// What the node is made of.
pub struct Introspection {
    upstreams: Upstreams,
    pidns: u64,
}

impl Introspection {
    /// Asks the services each time.
    ///
    /// # Errors
    /// [`Error::PidNamespace`]
    pub fn new(upstreams: Upstreams) -> Result<Self, Error> {
        let stat = fs_err::metadata(PID_NAMESPACE)
            .map_err(|source| Error::PidNamespace { path: PID_NAMESPACE, source })?;
        Ok(Self { upstreams, pidns: std::os::unix::fs::MetadataExt::ino(&stat) })
    }
}

#[tonic::async_trait]
impl introspection_server::Introspection for Introspection {
    async fn plugins(
        &self,
        request: Request<PluginsRequest>,
    ) -> Result<Response<PluginsResponse>, Status> {
        let filter = Filter::parse_any(&request.into_inner().filters)
            .map_err(|error| status(Error::from(error)))?;
        let asked = self.upstreams.all().cloned().map(peers::parts);
        let mut plugins: Vec<_> = join_all(asked).await.into_iter().flatten().collect();
        plugins.retain(|plugin| filter.matches(&Fields(plugin)));
        Ok(Response::new(PluginsResponse { plugins }))
    }

    async fn server(&self, _: Request<()>) -> Result<Response<ServerResponse>, Status> {
        let uuid = peers::uuid(self.upstreams.of(Service::Distribution).clone()).await?;
        let (pid, pidns) = (u64::from(std::process::id()), self.pidns);
        Ok(Response::new(ServerResponse { uuid, pid, pidns, deprecations: Vec::new() }))
    }

    /// Not reached through the socket: the path is routed to the runtime.
    async fn plugin_info(
        &self,
        _: Request<PluginInfoRequest>,
    ) -> Result<Response<PluginInfoResponse>, Status> {
        Err(Status::unimplemented("plugin info is answered by the runtime: not implemented"))
    }
}

struct Fields<'a>(&'a Plugin);

impl Adaptor for Fields<'_> {
    fn field(&self, path: &[&str]) -> Option<Cow<'_, str>> {
        let Fields(plugin) = self;
        let text = match path {
            ["type"] => Cow::Borrowed(plugin.r#type.as_str()),
            ["id"] => Cow::Borrowed(plugin.id.as_str()),
            ["capabilities"] => Cow::Owned(plugin.capabilities.join(",")),
            _ => return None,
        };
        (!text.is_empty()).then_some(text)
    }
}
