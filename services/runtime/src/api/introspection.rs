//! `containerd.services.introspection.v1.Introspection`: this service's part of the node's plugins.

use std::borrow::Cow;

use berth_filters::{Adaptor, Filter};
use berth_grpc::status;
use berth_proto::containerd::services::introspection::v1 as wire;
use berth_proto::containerd::types::{Platform, RuntimeInfo, RuntimeRequest};
use berth_proto::{pack, unpack};
use prost::Message;
use tonic::{Request, Response, Status};

use crate::error::Error;
use crate::shims::Launcher;

/// Serves plugins.
pub(super) struct Service(pub(super) Launcher);

type Answer<T> = Result<Response<T>, Status>;

const RUNTIME: (&str, &str) = ("io.containerd.runtime.v2", "task");

const PLUGINS: [(&str, &str); 10] = [
    RUNTIME,
    ("io.containerd.shim.v1", "manager"),
    ("io.containerd.sandbox.store.v1", "local"),
    ("io.containerd.sandbox.controller.v1", "shim"),
    ("io.containerd.grpc.v1", "sandbox-controllers"),
    ("io.containerd.monitor.container.v1", "restart"),
    ("io.containerd.grpc.v1", "containers"),
    ("io.containerd.grpc.v1", "tasks"),
    ("io.containerd.grpc.v1", "sandboxes"),
    ("io.containerd.ttrpc.v1", "events"),
];

#[tonic::async_trait]
impl wire::introspection_server::Introspection for Service {
    async fn plugins(
        &self,
        request: Request<wire::PluginsRequest>,
    ) -> Answer<wire::PluginsResponse> {
        let filter = Filter::parse_any(&request.into_inner().filters);
        let filter = filter.map_err(|error| status(Error::from(error)))?;
        let plugins = PLUGINS.iter().map(plugin).filter(|p| filter.matches(&View(p))).collect();
        Ok(Response::new(wire::PluginsResponse { plugins }))
    }

    async fn plugin_info(
        &self,
        request: Request<wire::PluginInfoRequest>,
    ) -> Answer<wire::PluginInfoResponse> {
        let wire::PluginInfoRequest { r#type, id, options } = request.into_inner();
        let asked = PLUGINS.iter().find(|(kind, name)| *kind == r#type && *name == id);
        let unknown = || Status::not_found(format!("plugin {type}.{id}: not found"));
        let asked = asked.ok_or_else(unknown)?;
        let extra = match options.as_ref().and_then(unpack::<RuntimeRequest>) {
            Some(request) if *asked == RUNTIME => {
                let request = request.map_err(|e| {
                    status(Error::Invalid(format!("decode options of plugin info: {e}")))
                })?;
                Some(pack(&self.runtime(&request).await.map_err(status)?))
            }
            _ => None,
        };
        Ok(Response::new(wire::PluginInfoResponse { plugin: Some(plugin(asked)), extra }))
    }

    async fn server(&self, _request: Request<()>) -> Answer<wire::ServerResponse> {
        Err(status(Error::Unimplemented("server information of one service, ask the gateway")))
    }
}

impl Service {
    async fn runtime(&self, request: &RuntimeRequest) -> Result<RuntimeInfo, Error> {
        let options = request.options.as_ref().map(Message::encode_to_vec).unwrap_or_default();
        let program = self.0.resolve(&request.runtime_path)?;
        let printed = self.0.ask(&program, "-info", &options).await?;
        RuntimeInfo::decode(printed)
            .map_err(|e| Error::Invalid(format!("decode runtime information: {e}")))
    }
}

struct View<'a>(&'a wire::Plugin);

impl Adaptor for View<'_> {
    fn field(&self, path: &[&str]) -> Option<Cow<'_, str>> {
        match path {
            ["type"] => Some(Cow::Borrowed(&self.0.r#type)),
            ["id"] => Some(Cow::Borrowed(&self.0.id)),
            _ => None,
        }
    }
}

fn plugin((kind, id): &(&str, &str)) -> wire::Plugin {
    let platform = Platform {
        os: "linux".into(),
        architecture: match std::env::consts::ARCH {
            "x86_64" => "amd64".into(),
            "aarch64" => "arm64".into(),
            other => other.into(),
        },
        ..Platform::default()
    };
    let platforms = if *kind == RUNTIME.0 { vec![platform] } else { Vec::new() };
    wire::Plugin { r#type: (*kind).into(), id: (*id).into(), platforms, ..Default::default() }
}
