//! containerd's Introspection service for the plugins that this process stands for, and the node's
//! uuid, which the gateway hands on.

use std::sync::Arc;

use berth_config::{Config, ProxyKind, Sharing};
use berth_introspection::kind::{
    CONTENT, DIFFER, EVENT, GC, GRPC, IMAGE_VERIFIER, LEASE, METADATA, SERVICE, SNAPSHOTTER,
    STREAMING, TRANSFER, WARNING,
};
use berth_introspection::{Described, plugin, proxy};
use berth_proto::containerd::services::introspection::v1 as wire;
use tonic::{Request, Response, Status};

use super::wire::Answer;
use crate::live::Live;

pub struct Service {
    pub uuid: Arc<str>,
    pub live: Live,
}

#[tonic::async_trait]
impl wire::introspection_server::Introspection for Service {
    async fn plugins(
        &self,
        request: Request<wire::PluginsRequest>,
    ) -> Answer<wire::PluginsResponse> {
        let filters = request.into_inner().filters;
        let plugins = berth_introspection::matching(plugins(&self.live.config()), &filters)?;
        Ok(Response::new(wire::PluginsResponse { plugins }))
    }

    async fn server(&self, _request: Request<()>) -> Answer<wire::ServerResponse> {
        // The rest is the gateway's to tell.
        let uuid = self.uuid.to_string();
        Ok(Response::new(wire::ServerResponse { uuid, ..Default::default() }))
    }

    async fn plugin_info(
        &self,
        request: Request<wire::PluginInfoRequest>,
    ) -> Result<Response<wire::PluginInfoResponse>, Status> {
        berth_introspection::info(plugins(&self.live.config()), &request.into_inner())
    }
}

fn plugins(config: &Config) -> Vec<wire::Plugin> {
    let gc = &config.distribution.gc;
    let root = config.root.join("distribution");
    let policy = match config.distribution.content_sharing_policy {
        Sharing::Shared => "shared",
        Sharing::Isolated => "isolated",
    };
    let mut plugins = vec![
        plugin(METADATA, "bolt", &[CONTENT, EVENT, SNAPSHOTTER])
            .exports("path", root.join("distribution.redb").display())
            .exports("policy", policy),
        plugin(GC, "scheduler", &[METADATA])
            .exports("PauseThreshold", gc.pause_threshold)
            .exports("DeletionThreshold", gc.deletion_threshold)
            .exports("MutationThreshold", gc.mutation_threshold)
            .exports("ScheduleDelay", gc.schedule_delay),
        plugin(LEASE, "manager", &[METADATA, GC]),
        plugin(IMAGE_VERIFIER, "bindir", &[])
            .exports("bin_dir", config.distribution.image_verifiers.bin_dir.display()),
        plugin(TRANSFER, "local", &[LEASE, METADATA, DIFFER, IMAGE_VERIFIER, SNAPSHOTTER]),
        plugin(STREAMING, "manager", &[METADATA]),
        plugin(SERVICE, "content-service", &[METADATA]),
        plugin(SERVICE, "images-service", &[METADATA, GC, WARNING]),
        plugin(SERVICE, "namespaces-service", &[EVENT, METADATA]),
        plugin(GRPC, "content", &[SERVICE]),
        plugin(GRPC, "images", &[SERVICE]),
        plugin(GRPC, "leases", &[LEASE]),
        plugin(GRPC, "namespaces", &[SERVICE]),
        plugin(GRPC, "streaming", &[STREAMING]),
        plugin(GRPC, "transfer", &[TRANSFER, STREAMING]),
    ];
    // What is not used is not there, as with a containerd that has it disabled.
    if config.distribution.content_store.is_none() {
        plugins.push(plugin(CONTENT, "content", &[]).exports("root", root.display()));
    }
    for (name, plugin) in &config.proxy_plugins {
        if plugin.serves() == Some(ProxyKind::Content) {
            let (platform, told, can) = (&plugin.platform, plugin.told(), &plugin.capabilities);
            plugins.push(proxy(CONTENT, name, platform, &told, can));
        }
    }
    plugins
}
