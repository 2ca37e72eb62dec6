//! The other services of the node.

use std::path::Path;
use std::time::Duration;

use berth_epochs::{Counts, News};
use berth_grpc::Channel;
use berth_grpc::{code_of, with_namespace};
use berth_ids::Namespace;
use berth_mount::Mount;
use berth_proto::berth::node::v1 as wire;
use berth_proto::containerd::services::mounts::v1::mounts_client::MountsClient;
use berth_proto::containerd::services::mounts::v1::{
    ActivateRequest, DeactivateRequest, InfoRequest,
};
use berth_proto::containerd::services::snapshots::v1::MountsRequest;
use berth_proto::containerd::services::snapshots::v1::snapshots_client::SnapshotsClient;
use berth_proto::containerd::types::ActivationInfo;
use futures::future::BoxFuture;
use wire::collection_client::CollectionClient;
use wire::collector_client::CollectorClient;
use wire::lease_directory_client::LeaseDirectoryClient;
use wire::namespaces_client::NamespacesClient;

use super::shim::wire_mount;
use crate::error::{Error, Result};
use crate::gate::{Activated, Neighbours};
use crate::refs::Ref;

/// Under this label an activation names the container that it is kept for.
const OF_CONTAINER: &str = "containerd.io/gc.bref.container";
/// How long a report may take, a restart of distribution included.
const REPORT: Duration = Duration::from_secs(20);
/// How long mounts may take: a file system may have to be made or checked first.
const MOUNTING: Duration = Duration::from_secs(120);
/// How long what is quick may take.
const QUICK: Duration = Duration::from_secs(20);

/// Connections to distribution and bundle, made when they are needed.
#[derive(Clone)]
pub struct Services {
    pub(super) distribution: Channel,
    pub(super) bundle: Channel,
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

    async fn activated(
        &self,
        namespace: &Namespace,
        container: &str,
    ) -> Result<Option<ActivationInfo>> {
        let answer = twice(|| async {
            let mut request = with_namespace(InfoRequest { name: container.to_owned() }, namespace);
            request.set_timeout(QUICK);
            MountsClient::new(self.bundle.clone()).info(request).await
        });
        let answer = answer.await.map_err(refused("ask for activated mounts"))?;
        Ok(answer.into_inner().info)
    }
}

impl Services {
    /// Tells distribution what has been changed here, for ever: enough of it causes a collection.
    pub async fn report(self, news: &News) {
        let told = |Counts { changes, deletions }| {
            let mut client = CollectionClient::new(self.distribution.clone());
            let mut request = tonic::Request::new(wire::ReportRequest { changes, deletions });
            request.set_timeout(REPORT);
            async move {
                let told = client.report(request).await;
                told.inspect_err(|s| tracing::debug!(message = s.message(), "report changes"))
                    .is_ok()
            }
        };
        news.tell(told).await;
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
                let namespace = namespace.to_string();
                let request = wire::PinRequest { namespace, kind, key, alone: false };
                CollectorClient::new(owner.clone()).pin(request).await
            });
            answer.await.map(drop).map_err(refused("announce reference"))
        })
    }

    fn activate<'a>(
        &'a self,
        namespace: &'a Namespace,
        container: &'a str,
        mounts: &'a [Mount],
    ) -> BoxFuture<'a, Result<Option<Activated>>> {
        Box::pin(async move {
            let mounts: Vec<_> = mounts.iter().map(wire_mount).collect();
            let answer = twice(|| async {
                let request = ActivateRequest {
                    name: container.to_owned(),
                    mounts: mounts.clone(),
                    labels: [(OF_CONTAINER.to_owned(), container.to_owned())].into(),
                    temporary: false,
                };
                let mut request = with_namespace(request, namespace);
                request.set_timeout(MOUNTING);
                MountsClient::new(self.bundle.clone()).activate(request).await
            });
            let (info, made) = match answer.await {
                Ok(answer) => (answer.into_inner().info, true),
                Err(status) if status.code() == tonic::Code::Unimplemented => return Ok(None),
                Err(status) if status.code() == tonic::Code::AlreadyExists => {
                    (self.activated(namespace, container).await?, false)
                }
                Err(status) => return Err(refused("activate mounts")(status)),
            };
            let mounts = info.unwrap_or_default().system.into_iter().map(mount).collect();
            Ok(Some(Activated { mounts, made }))
        })
    }

    fn deactivate<'a>(
        &'a self,
        namespace: &'a Namespace,
        container: &'a str,
    ) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            let answer = twice(|| async {
                let request = DeactivateRequest { name: container.to_owned() };
                let mut request = with_namespace(request, namespace);
                request.set_timeout(QUICK);
                MountsClient::new(self.bundle.clone()).deactivate(request).await
            });
            answer.await.map(drop).map_err(refused("deactivate mounts"))
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
                let mut request = with_namespace(MountsRequest { snapshotter, key }, namespace);
                request.set_timeout(QUICK);
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

pub(super) fn refused(step: &'static str) -> impl Fn(tonic::Status) -> Error {
    move |status| Error::Peer { step, message: status.message().to_owned(), code: code_of(&status) }
}
