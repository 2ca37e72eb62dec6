//! containerd.services.introspection.v1.Introspection: what the services tell, and the gateway's own.

use std::sync::OnceLock;
use std::time::Duration;

use berth_config::{Plugins as Parts, Presence, Service};
use berth_introspection::kind::{CRI, EVENT, GRPC, METRICS, SERVER, SERVICE, TTRPC, WARNING};
use berth_introspection::{Described, plugin};
use berth_proto::containerd::services::introspection::v1::{
    Plugin, PluginInfoRequest, PluginInfoResponse, PluginsRequest, PluginsResponse, ServerResponse,
    introspection_server,
};
use futures::future::{join, join_all};
use tonic::{Code, Request, Response, Status};

use crate::upstreams::{Upstream, Upstreams};
use crate::{Error, peers};

const PID_NAMESPACE: &str = "/proc/self/ns/pid";

/// What the node is made of.
pub struct Introspection {
    upstreams: Upstreams,
    parts: Parts,
    pidns: u64,
    /// Kept once it is known: it never changes, and its service may be away when it is asked for.
    uuid: OnceLock<String>,
}

impl Introspection {
    /// Asks the services each time.
    ///
    /// # Errors
    /// [`Error::PidNamespace`]
    pub fn new(upstreams: Upstreams, parts: Parts) -> Result<Self, Error> {
        let stat = fs_err::metadata(PID_NAMESPACE)
            .map_err(|source| Error::PidNamespace { path: PID_NAMESPACE, source })?;
        let pidns = std::os::unix::fs::MetadataExt::ino(&stat);
        Ok(Self { upstreams, parts, pidns, uuid: OnceLock::new() })
    }

    async fn uuid(&self) -> Result<String, Status> {
        if let Some(known) = self.uuid.get() {
            return Ok(known.clone());
        }
        let told = peers::uuid(self.upstreams.distribution().clone()).await?;
        Ok(self.uuid.get_or_init(|| told).clone())
    }
}

#[tonic::async_trait]
impl introspection_server::Introspection for Introspection {
    async fn plugins(
        &self,
        request: Request<PluginsRequest>,
    ) -> Result<Response<PluginsResponse>, Status> {
        let filters = request.into_inner().filters;
        // Before anybody is asked.
        berth_introspection::matching(Vec::new(), &filters)?;
        let plugins = all(&self.upstreams, &self.parts, peers::DEADLINE).await;
        let plugins = berth_introspection::matching(plugins, &filters)?;
        Ok(Response::new(PluginsResponse { plugins }))
    }

    async fn server(&self, _: Request<()>) -> Result<Response<ServerResponse>, Status> {
        let deprecations = peers::deprecations(self.upstreams.runtime().clone());
        let (uuid, deprecations) = join(self.uuid(), deprecations).await;
        let (pid, pidns) = (u64::from(std::process::id()), self.pidns);
        Ok(Response::new(ServerResponse { uuid: uuid?, pid, pidns, deprecations }))
    }

    /// Whoever knows the plugin answers; one that does not answer may know it.
    async fn plugin_info(
        &self,
        request: Request<PluginInfoRequest>,
    ) -> Result<Response<PluginInfoResponse>, Status> {
        let asked = request.into_inner();
        let own = match self.parts.presence(&asked.r#type, &asked.id) {
            Presence::There => own(),
            Presence::Disabled => Vec::new(),
            // The services do not know that it is not there.
            Presence::Failed(_) => {
                let all = all(&self.upstreams, &self.parts, peers::DEADLINE).await;
                return berth_introspection::info(all, &asked);
            }
        };
        let mut unknown = match berth_introspection::info(own, &asked) {
            Err(status) if self.parts.presence(&asked.r#type, &asked.id) != Presence::There => {
                return Err(status);
            }
            Err(status) if status.code() == Code::NotFound => status,
            answered => return answered,
        };
        let services = &self.upstreams;
        // Nobody waits for who does not know it.
        let cri = is_of_cri(&format!("{}.{}", asked.r#type, asked.id));
        let cri = cri.then(|| services.of(Service::Cri).ok()).flatten();
        let usual = [services.runtime(), services.bundle(), services.distribution()];
        for service in usual.into_iter().chain(cri) {
            match peers::plugin_info(service, asked.clone()).await {
                Err(status) if status.code() == Code::NotFound => {}
                Err(status) if status.code() == Code::Unavailable => unknown = status,
                answered => return answered,
            }
        }
        Err(unknown)
    }
}

/// What the node is made of. All are asked at once, each has so long.
pub(crate) async fn all(upstreams: &Upstreams, parts: &Parts, within: Duration) -> Vec<Plugin> {
    of(upstreams.there(), parts, within).await
}

/// What these services are made of.
pub(crate) async fn of(
    upstreams: impl Iterator<Item = &Upstream>,
    parts: &Parts,
    within: Duration,
) -> Vec<Plugin> {
    let asked = upstreams.map(|upstream| peers::parts(upstream.clone(), within));
    let all = own().into_iter().chain(join_all(asked).await.into_iter().flatten());
    all.filter_map(|plugin| shown(plugin, parts)).collect()
}

/// A plugin as it is told of, if it is: one that is left out is not, and one that needs what is says so.
fn shown(plugin: Plugin, parts: &Parts) -> Option<Plugin> {
    match parts.presence(&plugin.r#type, &plugin.id) {
        Presence::There => Some(plugin),
        Presence::Disabled => None,
        Presence::Failed(why) if plugin.init_err.is_none() => {
            Some(plugin.failed(&Status::unknown(why)))
        }
        Presence::Failed(_) => Some(plugin),
    }
}

/// What configurations call a plugin.
pub(crate) fn uri(plugin: &Plugin) -> String {
    format!("{}.{}", plugin.r#type, plugin.id)
}

/// Whether it is a part of the service that kubelets call.
pub(crate) fn is_of_cri(uri: &str) -> bool {
    let id = |kind| uri.strip_prefix(kind)?.strip_prefix('.');
    id(GRPC) == Some("cri") || id(CRI).is_some()
}

/// What the gateway itself is made of.
fn own() -> Vec<Plugin> {
    vec![
        plugin(EVENT, "exchange", &[]),
        plugin(WARNING, "deprecations", &[]),
        plugin(SERVICE, "introspection-service", &[WARNING]),
        plugin(GRPC, "events", &[EVENT]),
        plugin(GRPC, "healthcheck", &[]),
        plugin(GRPC, "introspection", &[SERVICE]),
        plugin(GRPC, "version", &[]),
        plugin(SERVER, "grpc", &[GRPC, METRICS]),
        plugin(SERVER, "ttrpc", &[TTRPC, GRPC]),
    ]
}
