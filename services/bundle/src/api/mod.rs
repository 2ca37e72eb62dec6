//! The gRPC services of bundle: one file each. Namespace, from wire, one domain call, to wire.

mod check;
mod collector;
mod convert;
mod diff;
mod events;
mod introspection;
mod layers;
mod leases;
mod mounts;
mod namespaces;
mod snapshots;

pub use events::listener;

use berth_events::Ring;
use berth_grpc::{NODE_MESSAGE, lease, namespace, status};
use berth_lifecycle::Tasks;
use berth_proto::berth::node::v1 as node;
use berth_proto::containerd::services as containerd;
use tonic::service::{Routes, RoutesBuilder};
use tonic::{Request, Status};

use crate::Error;
use crate::differs::Differs;
use crate::live::Live;
use crate::mounts::Activations;
use crate::peers::Distribution;
use crate::processors::Processors;
use crate::snapshots::{Caller, Snapshots};

/// What every handler works with.
#[derive(Clone)]
pub struct Context {
    /// The domain.
    pub snapshots: Snapshots,
    /// Activated mounts.
    pub activations: Activations,
    /// The other service.
    pub distribution: Distribution,
    /// What happened, for subscribers.
    pub ring: Ring,
    /// What layers go through that are none yet.
    pub processors: Processors,
    /// What a layer may ask for.
    pub live: Live,
    /// Who applies and makes layers for clients.
    pub differs: Differs,
    /// The process's tasks: streams without an end of their own end with them.
    pub tasks: Tasks,
}

impl Context {
    /// In whose name a call is made that makes nothing.
    #[allow(clippy::result_large_err, reason = "handlers return Status")]
    fn reader<T>(request: &Request<T>) -> Result<Caller, Status> {
        Ok(Caller { namespace: namespace(request)?, lease: None })
    }

    /// Makes a change to its end, also when its client leaves meanwhile: what is on record was told of,
    /// and no directory is left that belongs to nothing.
    async fn to_its_end<T: Send + 'static>(
        &self,
        name: &'static str,
        change: impl Future<Output = Result<T, Error>> + Send + 'static,
    ) -> Result<T, Status> {
        let done = self.tasks.spawn(name, change).await.map_err(|_| closing())?;
        done.map_err(status)
    }

    /// In whose name a call is made, its namespace registered and its lease resolved.
    async fn writer<T>(&self, request: &Request<T>) -> Result<Caller, Status> {
        let namespace = namespace(request)?;
        self.caller(namespace, lease(request)).await
    }

    /// The same from parts.
    async fn caller(
        &self,
        namespace: berth_ids::Namespace,
        lease: Option<String>,
    ) -> Result<Caller, Status> {
        self.distribution.register(&namespace).await.map_err(status)?;
        let lease = match lease {
            Some(lease) => {
                let incarnation = self.distribution.lease(&namespace, &lease).await;
                Some((lease, incarnation.map_err(status)?))
            }
            None => None,
        };
        Ok(Caller { namespace, lease })
    }
}

/// The process is ending.
fn closing() -> Status {
    Status::unavailable("bundle is stopping, try again: unavailable")
}

/// Every service on one socket.
#[must_use]
pub fn routes(context: &Context) -> Routes {
    macro_rules! serve {
        ($routes:ident, $($server:path),+ $(,)?) => {
            $($routes.add_service(
                <$server>::new(context.clone())
                    .max_decoding_message_size(NODE_MESSAGE)
                    .max_encoding_message_size(NODE_MESSAGE),
            );)+
        };
    }
    let mut routes = RoutesBuilder::default();
    serve!(
        routes,
        containerd::snapshots::v1::snapshots_server::SnapshotsServer<Context>,
        containerd::diff::v1::diff_server::DiffServer<Context>,
        containerd::mounts::v1::mounts_server::MountsServer<Context>,
        containerd::introspection::v1::introspection_server::IntrospectionServer<Context>,
        node::layers_server::LayersServer<Context>,
        node::namespace_member_server::NamespaceMemberServer<Context>,
        node::lease_member_server::LeaseMemberServer<Context>,
        node::collector_server::CollectorServer<Context>,
        node::bundle_check_server::BundleCheckServer<Context>,
    );
    let stop = context.tasks.token();
    routes.add_service(berth_grpc::health(stop.clone()));
    routes.add_service(berth_node_events::service(context.ring.clone(), stop));
    routes.routes()
}
