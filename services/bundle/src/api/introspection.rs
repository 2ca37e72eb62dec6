//! containerd.services.introspection.v1.Introspection: bundle's plugins, for the gateway to merge.

use berth_grpc::status;
use berth_introspection::kind::{
    DIFFER, GRPC, METADATA, MOUNT_HANDLER, MOUNT_MANAGER, SERVICE, SNAPSHOTTER,
};
use berth_introspection::{Described, plugin, proxy};
use berth_proto::containerd::services::introspection::v1 as wire;
use tonic::{Request, Response, Status};
use wire::introspection_server::Introspection;

use super::Context;
use crate::snapshots::EROFS;
use crate::walking;

#[tonic::async_trait]
impl Introspection for Context {
    async fn plugins(
        &self,
        request: Request<wire::PluginsRequest>,
    ) -> Result<Response<wire::PluginsResponse>, Status> {
        let filters = request.into_inner().filters;
        let plugins = berth_introspection::matching(self.plugins_here()?, &filters)?;
        Ok(Response::new(wire::PluginsResponse { plugins }))
    }

    async fn plugin_info(
        &self,
        request: Request<wire::PluginInfoRequest>,
    ) -> Result<Response<wire::PluginInfoResponse>, Status> {
        berth_introspection::info(self.plugins_here()?, &request.into_inner())
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
            let mut found =
                plugin(SNAPSHOTTER, name, &[]).on_host().exports("root", root.display());
            // The one that is meant where none is named.
            if name == default {
                found = found.exports("default", true);
            }
            let capabilities = self.snapshots.capabilities(name).map_err(status)?;
            plugins.push(found.can(&capabilities));
        }
        for theirs in self.snapshots.proxies() {
            let (exports, capabilities) = (&theirs.exports, &theirs.capabilities);
            let mut found =
                proxy(SNAPSHOTTER, theirs.name, &theirs.platform, exports, capabilities);
            if theirs.name == default {
                found = found.exports("default", true);
            }
            plugins.push(found);
        }
        for absent in self.snapshots.absent() {
            let absent = plugin(SNAPSHOTTER, absent.name, &[]).failed(&status(&absent.why));
            plugins.push(absent.on_host());
        }
        for differ in self.differs.proxies() {
            let (exports, capabilities) = (&differ.exports, &differ.capabilities);
            plugins.push(proxy(DIFFER, &differ.name, &differ.platform, exports, capabilities));
        }
        // The snapshotter takes layers that are images, and has its own way with others.
        let differ = plugin(DIFFER, EROFS, &[METADATA]).on_host();
        let absent = self.snapshots.absent().iter().find(|absent| absent.name == EROFS);
        plugins.push(match absent {
            Some(absent) => differ.failed(&status(&absent.why)),
            None => differ.takes("erofs"),
        });
        plugins.extend([
            plugin(DIFFER, walking::NAME, &[METADATA, MOUNT_MANAGER]).on_host(),
            plugin(MOUNT_HANDLER, "erofs", &[]),
            plugin(MOUNT_MANAGER, "bolt", &[METADATA, MOUNT_HANDLER]),
            plugin(SERVICE, "diff-service", &[DIFFER]),
            plugin(SERVICE, "snapshots-service", &[METADATA]),
            plugin(GRPC, "diff", &[SERVICE]),
            plugin(GRPC, "mounts", &[MOUNT_MANAGER]),
            plugin(GRPC, "snapshots", &[SERVICE]),
        ]);
        Ok(plugins)
    }
}
