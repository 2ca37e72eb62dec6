//! From a configuration to a service that answers: wiring only.

use berth_config::{Config, Service};
use berth_lifecycle::Tasks;

use crate::api;
use crate::settings::Settings;

/// Serves until the token of `tasks` is cancelled. Returns as soon as the socket answers, whether etcd does
/// or not.
///
/// # Errors
/// The socket cannot be bound, or the configuration names what is not there.
pub fn serve(config: &Config, tasks: &Tasks) -> anyhow::Result<()> {
    let settings = Settings::of(config)?;
    let (cluster, node) = (&settings.cluster, &settings.name);
    tracing::info!(%cluster, %node, etcd = settings.etcd.endpoints.join(", "), "shows this node");
    // What is to be wired here, none of which may hold up the socket: the truth of the node's services, the
    // publisher with its session (`settings.identity`, `settings.node`), the views, the listener for peers.
    // Their gRPC services go into `api::routes`.
    let routes = api::routes();
    berth_grpc::server::serve(&config.socket(Service::Cluster), 0o600, routes, tasks)?;
    Ok(())
}
