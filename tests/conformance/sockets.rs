//! Where the services under test are served.

use std::path::PathBuf;

use berth_grpc::{Channel, channel};
use berth_testkit::{Containerd, Node};

/// The sockets of one implementation: the same one for all, or each service's own.
#[derive(Clone, Debug)]
pub struct Sockets {
    /// Content, images, leases and namespaces.
    distribution: PathBuf,
    /// Snapshots and differences.
    bundle: PathBuf,
    /// Containers.
    runtime: PathBuf,
}

impl Sockets {
    /// The reference's.
    pub fn of_containerd(containerd: &Containerd) -> Self {
        Self::all(containerd.address())
    }

    /// A node's gateway.
    pub fn of_gateway(node: &Node) -> Self {
        Self::all(node.address())
    }

    /// Those of a node's services, without the gateway. Not there: version, health, introspection of
    /// the whole node and events of all services, which the gateway answers itself.
    pub fn of_services(node: &Node) -> Self {
        let [distribution, bundle, runtime] =
            ["distribution", "bundle", "runtime"].map(|service| node.socket(service));
        Self { distribution, bundle, runtime }
    }

    /// A node's gateway, with the content and leases of the reference, which its differ works on.
    pub fn of_proxied_differ(node: &Node, containerd: &Containerd) -> Self {
        Self { distribution: containerd.address(), ..Self::of_gateway(node) }
    }

    fn all(address: PathBuf) -> Self {
        Self { distribution: address.clone(), bundle: address.clone(), runtime: address }
    }

    pub fn distribution(&self) -> Channel {
        channel(&self.distribution)
    }

    pub fn bundle(&self) -> Channel {
        channel(&self.bundle)
    }

    pub fn runtime(&self) -> Channel {
        channel(&self.runtime)
    }
}
