//! What this service answers: one file per gRPC or ttrpc service. Each takes the namespace, turns
//! the request into the domain's terms, makes one call and turns its answer back.

mod check;
mod checkpoint;
mod collector;
mod containers;
mod events;
mod holdings;
mod introspection;
mod leases;
mod namespaces;
mod networks;
mod recent;
mod sandbox_controller;
mod sandboxes;
mod tasks;
mod wire;

pub use events::{Forwarder, RingSink};

use std::sync::Arc;

use berth_events::Ring;
use berth_grpc::NODE_MESSAGE;
use berth_proto::berth::node::v1::collector_server::CollectorServer;
use berth_proto::berth::node::v1::container_holdings_server::ContainerHoldingsServer;
use berth_proto::berth::node::v1::lease_member_server::LeaseMemberServer;
use berth_proto::berth::node::v1::namespace_member_server::NamespaceMemberServer;
use berth_proto::berth::node::v1::networks_server::NetworksServer;
use berth_proto::berth::node::v1::runtime_check_server::RuntimeCheckServer;
use berth_proto::berth::node::v1::runtime_recent_server::RuntimeRecentServer;
use berth_proto::containerd::services::containers::v1::containers_server::ContainersServer;
use berth_proto::containerd::services::events::v1::events_server::EventsServer;
use berth_proto::containerd::services::introspection::v1::introspection_server::IntrospectionServer;
use berth_proto::containerd::services::sandbox::v1::controller_server::ControllerServer;
use berth_proto::containerd::services::sandbox::v1::store_server::StoreServer;
use berth_proto::containerd::services::tasks::v1::tasks_server::TasksServer;
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;

use crate::check::Runtime;
use crate::containers::Containers;
use crate::gate::Gate;
use crate::holdings::Holdings;
use crate::networks::Networks;
use crate::sandboxes::{Sandboxers, Sandboxes};
use crate::shims::Launcher;
use crate::tasks::Tasks;
use crate::warnings::Warnings;

/// What the services are made of.
#[derive(Clone)]
pub struct Domain {
    /// Containers.
    pub containers: Containers,
    /// Tasks.
    pub tasks: Tasks,
    /// Records of sandboxes.
    pub sandboxes: Sandboxes,
    /// All who run sandboxes.
    pub sandboxers: Sandboxers,
    /// Networks, and what is attached to them.
    pub networks: Networks,
    /// Fences and epochs.
    pub gate: Arc<Gate>,
    /// Events.
    pub ring: Ring,
    /// Whether there are tasks or sandboxes of an earlier run.
    pub recovered: bool,
    /// What is compared with what is there.
    pub check: Runtime,
    /// Programs of shims.
    pub launcher: Launcher,
    /// Cancelled when the service ends.
    pub stop: CancellationToken,
}

/// All gRPC services, on one port.
#[must_use]
pub fn routes(domain: &Domain) -> Routes {
    macro_rules! service {
        ($server:ident, $served:expr) => {
            $server::new($served)
                .max_decoding_message_size(NODE_MESSAGE)
                .max_encoding_message_size(NODE_MESSAGE)
        };
    }
    let Domain { containers, tasks, sandboxes, sandboxers, .. } = domain.clone();
    let Domain { networks, gate, ring, recovered, check, launcher, stop, .. } = domain.clone();
    let warnings = Warnings::of_machine();
    let described = introspection::Service {
        launcher,
        sandboxers: sandboxers.clone(),
        warnings: warnings.clone(),
    };
    let counted = namespaces::Service {
        gate: gate.clone(),
        containers: containers.clone(),
        sandboxes: sandboxes.clone(),
        sandboxers: sandboxers.clone(),
        tasks: tasks.clone(),
        networks: networks.clone(),
    };
    let collected = collector::Service {
        gate: gate.clone(),
        containers: containers.clone(),
        sandboxes: sandboxes.clone(),
    };
    let held = holdings::Service(Holdings::new(containers.clone(), tasks.clone()));
    let health = berth_grpc::health(stop.clone());
    let told = match recovered {
        true => berth_node_events::successor(ring.clone(), stop),
        false => berth_node_events::service(ring.clone(), stop),
    };
    Routes::new(service!(ContainersServer, containers::Service(containers)))
        .add_service(service!(TasksServer, tasks::Service(tasks, warnings.clone())))
        .add_service(service!(StoreServer, sandboxes::Service(sandboxes)))
        .add_service(service!(ControllerServer, sandbox_controller::Service(sandboxers)))
        .add_service(service!(EventsServer, events::Service(ring.clone())))
        .add_service(service!(IntrospectionServer, described))
        .add_service(service!(NamespaceMemberServer, counted))
        .add_service(service!(LeaseMemberServer, leases::Service))
        .add_service(service!(CollectorServer, collected))
        .add_service(service!(RuntimeCheckServer, check::Service(check)))
        .add_service(service!(ContainerHoldingsServer, held))
        .add_service(service!(NetworksServer, networks::Service(networks)))
        .add_service(RuntimeRecentServer::new(recent::Service))
        .add_service(health)
        .add_service(told)
}
