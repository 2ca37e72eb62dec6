//! The other services of the node.

use std::path::Path;

use berth_grpc::Channel;
use berth_grpc::{code_of, with_namespace};
use berth_ids::Namespace;
use berth_mount::Mount;
use berth_proto::berth::node::v1 as wire;
use berth_proto::containerd::services::snapshots::v1::MountsRequest;
use berth_proto::containerd::services::snapshots::v1::snapshots_client::SnapshotsClient;
use futures::future::BoxFuture;
use wire::collector_client::CollectorClient;
use wire::lease_directory_client::LeaseDirectoryClient;
use wire::namespaces_client::NamespacesClient;

use crate::error::{Error, Result};
use crate::gate::Neighbours;
use crate::refs::Ref;

/// Connections to distribution and bundle, made when they are needed.
#[derive(Clone)]
pub struct Services {
    distribution: Channel,
    bundle: Channel,
}

impl Services {
    /// Will connect to these sockets.
    #[must_use]
    pub fn new(distribution: &Path, bundle: &Path) -> Self {
        Self {
            distribution: berth_grpc::channel(distribution),
            bundle: berth_grpc::channel(bundle),
        }
    }
}

impl Neighbours for Services {
    fn register<'a>(&'a self, namespace: &'a Namespace) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            let answer = twice(|| async {
                let mut client = NamespacesClient::new(self.distribution.clone());
                let namespace = namespace.to_string();
                client.register(wire::RegisterNamespaceRequest { namespace }).await
            });
            answer.await.map_err(refused("register namespace"))?;
            Ok(())
        })
    }

    fn lease<'a>(&'a self, namespace: &'a Namespace, lease: &'a str) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            let answer = twice(|| async {
                let mut client = LeaseDirectoryClient::new(self.distribution.clone());
                let (namespace, lease) = (namespace.to_string(), lease.to_owned());
                client.resolve(wire::ResolveLeaseRequest { namespace, lease }).await
            });
            answer.await.map_err(refused("resolve lease"))?;
            Ok(())
        })
    }

    fn pin<'a>(&'a self, namespace: &'a Namespace, to: &'a Ref) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            let owner = match to.kind.starts_with("snapshots/") || to.kind == "mounts" {
                true => &self.bundle,
                false => &self.distribution,
            };
            let answer = twice(|| async {
                let (kind, key) = (to.kind.clone(), to.key.clone());
                let request = wire::PinRequest { namespace: namespace.to_string(), kind, key };
                CollectorClient::new(owner.clone()).pin(request).await
            });
            answer.await.map(drop).map_err(refused("announce reference"))
        })
    }

    fn mounts<'a>(
        &'a self,
        namespace: &'a Namespace,
        snapshotter: &'a str,
        key: &'a str,
    ) -> BoxFuture<'a, Result<Vec<Mount>>> {
        Box::pin(async move {
            let answer = twice(|| async {
                let (snapshotter, key) = (snapshotter.to_owned(), key.to_owned());
                let request = with_namespace(MountsRequest { snapshotter, key }, namespace);
                SnapshotsClient::new(self.bundle.clone()).mounts(request).await
            });
            let answer = answer.await.map_err(refused("ask for mounts"))?;
            Ok(answer.into_inner().mounts.into_iter().map(mount).collect())
        })
    }
}

fn mount(mount: berth_proto::containerd::types::Mount) -> Mount {
    let berth_proto::containerd::types::Mount { r#type, source, target, options } = mount;
    Mount { kind: r#type, source, target, options }
}

/// Makes a call that may be repeated, a second time when the connection broke under the first:
/// its service was restarted, and the next connection waits for it.
async fn twice<T, F>(call: impl Fn() -> F) -> std::result::Result<T, tonic::Status>
where
    F: Future<Output = std::result::Result<T, tonic::Status>>,
{
    match call().await {
        Err(status) if berth_grpc::broke_off(&status) => call().await,
        answer => answer,
    }
}

fn refused(step: &'static str) -> impl Fn(tonic::Status) -> Error {
    move |status| Error::Peer { step, message: status.message().to_owned(), code: code_of(&status) }
}
