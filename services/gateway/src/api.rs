//! The gRPC services that the gateway answers itself, one per file.

mod event_fields;
mod events;
mod health;
pub(crate) mod introspection;
mod reflection;
pub(crate) mod version;

use std::convert::Infallible;
use std::sync::OnceLock;

use berth_config::Plugins;
use berth_grpc::{Bounded, Calls, NODE_MESSAGE, Refusals};
use berth_lifecycle::Tasks;
use berth_proto::containerd::services::events::v1::events_server::EventsServer;
use berth_proto::containerd::services::introspection::v1::introspection_server::IntrospectionServer;
use berth_proto::containerd::services::version::v1::version_server::VersionServer;
use berth_proto::grpc::health::v1::health_server::HealthServer;
use http::{Request, Response};
use hyper::body::Incoming;
use tonic::body::Body;
use tonic::service::Routes;
use tower::{Layer, ServiceExt};

use crate::Error;
use crate::upstreams::Upstreams;

/// All of them.
#[derive(Debug)]
pub struct Own {
    routes: Routes,
    /// Indexing the descriptors takes memory that a node without curious clients need not spend.
    reflection: OnceLock<Routes>,
}

impl Own {
    /// Services that ask `upstreams` where they need to.
    ///
    /// # Errors
    /// [`Error::PidNamespace`] when this process cannot tell where it runs.
    pub fn new(upstreams: &Upstreams, plugins: &Plugins, tasks: &Tasks) -> Result<Self, Error> {
        let introspection = introspection::Introspection::new(upstreams.clone(), plugins.clone())?;
        let events = events::Events::new(upstreams.clone(), tasks.clone());
        let health = health::Health::new(upstreams.clone(), tasks.clone());
        macro_rules! service {
            ($server:ident, $served:expr) => {
                $server::new($served)
                    .max_decoding_message_size(NODE_MESSAGE)
                    .max_encoding_message_size(NODE_MESSAGE)
            };
        }
        let routes = Routes::new(service!(VersionServer, version::Version))
            .add_service(service!(IntrospectionServer, introspection))
            .add_service(service!(EventsServer, events))
            .add_service(service!(HealthServer, health))
            .prepare();
        Ok(Self { routes, reflection: OnceLock::new() })
    }

    /// Answers one call.
    pub async fn call(&self, request: Request<Bounded<Incoming>>) -> Response<Body> {
        let routes = if request.uri().path().starts_with("/grpc.reflection.") {
            self.reflection.get_or_init(|| {
                reflection::routes().expect("descriptor sets are embedded by the build")
            })
        } else {
            &self.routes
        };
        let services = Calls::answered().untraced().layer(Refusals.layer(routes.clone()));
        let answered: Result<_, Infallible> = services.oneshot(request).await;
        answered.unwrap_or_else(|never| match never {}).map(Body::new)
    }
}
