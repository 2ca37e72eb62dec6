//! containerd.services.introspection.v1.Introspection: bundle's plugins, for the gateway to merge.

use std::borrow::Cow;
use std::collections::HashMap;

use berth_filters::{Adaptor, Filter};
use berth_grpc::status;
use berth_proto::containerd::services::introspection::v1 as wire;
use berth_proto::containerd::types::Platform;
use berth_proto::google::rpc;
use tonic::{Request, Response, Status};
use wire::introspection_server::Introspection;

use super::Context;

/// The type of snapshotters as plugins. The one that is meant where none is named exports `default`.
const SNAPSHOTTER: &str = "io.containerd.snapshotter.v1";

#[tonic::async_trait]
impl Introspection for Context {
    async fn plugins(
        &self,
        request: Request<wire::PluginsRequest>,
    ) -> Result<Response<wire::PluginsResponse>, Status> {
        let filter = Filter::parse_any(&request.into_inner().filters).map_err(status)?;
        let mut plugins = self.plugins_here()?;
        plugins.retain(|plugin| filter.matches(&Fields(plugin)));
        Ok(Response::new(wire::PluginsResponse { plugins }))
    }

    async fn plugin_info(
        &self,
        request: Request<wire::PluginInfoRequest>,
    ) -> Result<Response<wire::PluginInfoResponse>, Status> {
        let r = request.into_inner();
        let mut plugins = self.plugins_here()?.into_iter();
        match plugins.find(|plugin| plugin.r#type == r.r#type && plugin.id == r.id) {
            Some(plugin) => {
                Ok(Response::new(wire::PluginInfoResponse { plugin: Some(plugin), extra: None }))
            }
            None => Err(Status::not_found(format!("plugin {}.{}: not found", r.r#type, r.id))),
        }
    }

    async fn server(&self, _: Request<()>) -> Result<Response<wire::ServerResponse>, Status> {
        Err(Status::unimplemented("the gateway tells about the server: not implemented"))
    }
}

impl Context {
    #[allow(clippy::result_large_err, reason = "handlers return Status")]
    fn plugins_here(&self) -> Result<Vec<wire::Plugin>, Status> {
        let mut plugins = Vec::new();
        let default = self.snapshots.resolve("").map_err(status)?;
        for name in self.snapshots.names() {
            let root = self.snapshots.root(name).map_err(status)?;
            let mut plugin = plugin(SNAPSHOTTER, name);
            plugin.exports = HashMap::from([("root".to_owned(), root.display().to_string())]);
            if name == default {
                plugin.exports.insert("default".to_owned(), "true".to_owned());
            }
            plugin.platforms = vec![host()];
            plugins.push(plugin);
        }
        for absent in self.snapshots.absent() {
            let why = status(&absent.why);
            let (code, message) = (why.code() as i32, why.message().to_owned());
            let mut plugin = plugin(SNAPSHOTTER, absent.name);
            plugin.init_err = Some(rpc::Status { code, message, details: Vec::new() });
            plugins.push(plugin);
        }
        let mut differ = plugin("io.containerd.differ.v1", "walking");
        differ.platforms = vec![host()];
        plugins.push(differ);
        for (kind, id) in [
            ("io.containerd.service.v1", "diff-service"),
            ("io.containerd.service.v1", "snapshots-service"),
            ("io.containerd.mount-manager.v1", "bundle"),
            ("io.containerd.grpc.v1", "diff"),
            ("io.containerd.grpc.v1", "mounts"),
            ("io.containerd.grpc.v1", "snapshots"),
        ] {
            plugins.push(plugin(kind, id));
        }
        Ok(plugins)
    }
}

fn plugin(kind: &str, id: &str) -> wire::Plugin {
    wire::Plugin { r#type: kind.to_owned(), id: id.to_owned(), ..Default::default() }
}

/// The platform as Go names it.
fn host() -> Platform {
    let architecture = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    Platform {
        os: "linux".to_owned(),
        architecture: architecture.to_owned(),
        ..Platform::default()
    }
}

struct Fields<'a>(&'a wire::Plugin);

impl Adaptor for Fields<'_> {
    fn field(&self, path: &[&str]) -> Option<Cow<'_, str>> {
        match path {
            ["type"] => Some(Cow::Borrowed(&self.0.r#type)),
            ["id"] => Some(Cow::Borrowed(&self.0.id)),
            ["platforms"] => self.0.platforms.first().map(|_| Cow::Borrowed("")),
            ["capabilities"] => Some(Cow::Owned(self.0.capabilities.join(","))),
            _ => None,
        }
    }
}
