//! The services of this process.
//!
//! One file per service: from wire, one domain call, to wire.

mod cluster;
mod convert;
mod introspection;
pub mod peer;

use berth_proto::containerd::services::introspection::v1::introspection_server::IntrospectionServer;
use tonic::service::Routes;

pub use cluster::Service;

/// All of them, for the node's own clients.
#[must_use]
pub fn routes(cluster: Service) -> Routes {
    Routes::new(IntrospectionServer::new(introspection::Introspection))
        .add_service(cluster.into_server())
        .prepare()
}
