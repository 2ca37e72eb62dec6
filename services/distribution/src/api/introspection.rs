//! containerd's Introspection service for the plugins that this process stands for, and the node's
//! uuid, which the gateway hands on.

use std::sync::Arc;

use berth_filters::Adaptor;
use berth_proto::containerd::services::introspection::v1 as wire;
use tonic::{Request, Response, Status};

use super::wire::{Answer, filter};

pub struct Service(pub Arc<str>);

/// Type, id and what it needs.
const PLUGINS: &[(&str, &str, &[&str])] = &[
    ("io.containerd.content.v1", "content", &[]),
    ("io.containerd.metadata.v1", "bolt", &["io.containerd.content.v1"]),
    ("io.containerd.gc.v1", "scheduler", &["io.containerd.metadata.v1"]),
    ("io.containerd.lease.v1", "manager", &["io.containerd.metadata.v1"]),
    ("io.containerd.service.v1", "content-service", &["io.containerd.metadata.v1"]),
    ("io.containerd.service.v1", "images-service", &["io.containerd.metadata.v1"]),
    ("io.containerd.service.v1", "namespaces-service", &["io.containerd.metadata.v1"]),
    ("io.containerd.service.v1", "introspection-service", &[]),
    ("io.containerd.image-verifier.v1", "bindir", &[]),
    ("io.containerd.transfer.v1", "local", &["io.containerd.metadata.v1"]),
    ("io.containerd.streaming.v1", "manager", &["io.containerd.metadata.v1"]),
    ("io.containerd.grpc.v1", "content", &["io.containerd.service.v1"]),
    ("io.containerd.grpc.v1", "images", &["io.containerd.service.v1"]),
    ("io.containerd.grpc.v1", "introspection", &["io.containerd.service.v1"]),
    ("io.containerd.grpc.v1", "leases", &["io.containerd.lease.v1"]),
    ("io.containerd.grpc.v1", "namespaces", &["io.containerd.service.v1"]),
    ("io.containerd.grpc.v1", "streaming", &["io.containerd.streaming.v1"]),
    ("io.containerd.grpc.v1", "transfer", &["io.containerd.transfer.v1"]),
];

struct Listed(wire::Plugin);

impl Adaptor for Listed {
    fn field(&self, path: &[&str]) -> Option<std::borrow::Cow<'_, str>> {
        match path {
            ["type"] => Some(self.0.r#type.as_str().into()),
            ["id"] => Some(self.0.id.as_str().into()),
            _ => None,
        }
    }
}

#[tonic::async_trait]
impl wire::introspection_server::Introspection for Service {
    async fn plugins(
        &self,
        request: Request<wire::PluginsRequest>,
    ) -> Answer<wire::PluginsResponse> {
        let filter = filter(&request.get_ref().filters)?;
        let plugins = plugins().filter(|plugin| filter.matches(plugin)).map(|p| p.0).collect();
        Ok(Response::new(wire::PluginsResponse { plugins }))
    }

    async fn server(&self, _request: Request<()>) -> Answer<wire::ServerResponse> {
        let pidns = fs_err::read_link("/proc/self/ns/pid").ok().and_then(|link| {
            // `pid:[4026531836]`
            let text = link.to_string_lossy().into_owned();
            text.split(['[', ']']).nth(1)?.parse().ok()
        });
        Ok(Response::new(wire::ServerResponse {
            uuid: self.0.to_string(),
            pid: std::process::id().into(),
            pidns: pidns.unwrap_or_default(),
            deprecations: vec![],
        }))
    }

    async fn plugin_info(
        &self,
        request: Request<wire::PluginInfoRequest>,
    ) -> Answer<wire::PluginInfoResponse> {
        let wanted = request.into_inner();
        let is_it = |p: &Listed| p.0.r#type == wanted.r#type && p.0.id == wanted.id;
        let Some(plugin) = plugins().find(is_it) else {
            let name = format!("plugin {}.{}: not found", wanted.r#type, wanted.id);
            return Err(Status::not_found(name));
        };
        Ok(Response::new(wire::PluginInfoResponse { plugin: Some(plugin.0), extra: None }))
    }
}

fn plugins() -> impl Iterator<Item = Listed> {
    PLUGINS.iter().map(|(kind, id, requires)| {
        Listed(wire::Plugin {
            r#type: (*kind).to_owned(),
            id: (*id).to_owned(),
            requires: requires.iter().map(|kind| (*kind).to_owned()).collect(),
            ..Default::default()
        })
    })
}
